// Package residue leaves entries in OpenSSL's error queue, as other C code in a
// process does. Tests use it to show that no call mistakes such entries for its own, and
// pass its functions to Raw.
package residue

/*
#cgo pkg-config: libssl libcrypto
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

static void leave(void) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	ERR_raise(ERR_LIB_USER, 99);
#else
	ERR_put_error(ERR_LIB_USER, 0, 99, "residue", 1); // ERR_raise came with 3.0
#endif
}

static int left(void) {
	return ERR_peek_error() != 0;
}

// What a function for Raw answers: 1, or what arg points to.
static int answer(const void *arg, int clean) {
	if (ERR_peek_error() != 0)
		return 17; // what others left is still there
	leave();
	if (clean)
		ERR_clear_error();
	return arg ? *(const int *)arg : 1;
}

// They are not static: their addresses are taken.
int residue_ctx_raw(SSL_CTX *c, void *arg) { return SSL_CTX_get_timeout(c) > 0 ? answer(arg, 0) : 18; }
int residue_ssl_raw(SSL *ssl, void *arg) { return SSL_get_SSL_CTX(ssl) ? answer(arg, 0) : 18; }
int residue_ctx_raw_silent(SSL_CTX *c, void *arg) { return c ? answer(arg, 1) : 18; }

int residue_add_certificate(SSL_CTX *c, void *arg) { return X509_STORE_add_cert(SSL_CTX_get_cert_store(c), arg); }
*/
import "C"

import "unsafe"

// Functions for Raw. They want an empty error queue and leave an entry in it, CtxSilent
// none; arg points to the C int that they return, 1 for nil.
var (
	CtxRaw    = unsafe.Pointer(C.residue_ctx_raw)
	CtxSilent = unsafe.Pointer(C.residue_ctx_raw_silent)
	SSLRaw    = unsafe.Pointer(C.residue_ssl_raw)
)

// AddCertificate is a function for Raw that has an SSL_CTX trust a Certificate.
var AddCertificate = unsafe.Pointer(C.residue_add_certificate)

// Certificate is an X509, to be freed.
func Certificate(der []byte) (x unsafe.Pointer, free func()) {
	p := (*C.uchar)(C.CBytes(der))
	defer C.free(unsafe.Pointer(p))
	at := p
	made := C.d2i_X509(nil, &at, C.long(len(der)))
	return unsafe.Pointer(made), func() { C.X509_free(made) }
}

// Answer is an arg for such a function.
func Answer(n int32) unsafe.Pointer { return unsafe.Pointer(&n) }

// Leave puts an entry into the queue of the thread that the goroutine is on.
func Leave() { C.leave() }

// Left reports whether that thread's queue holds anything.
func Left() bool { return C.left() != 0 }
