// Package residue leaves entries in OpenSSL's error queue, as other C code in a
// process does. Tests use it to show that no call mistakes such entries for its own.
package residue

/*
#cgo pkg-config: libcrypto
#include <openssl/err.h>

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
*/
import "C"

// Leave puts an entry into the queue of the thread that the goroutine is on.
func Leave() { C.leave() }

// Left reports whether that thread's queue holds anything.
func Left() bool { return C.left() != 0 }
