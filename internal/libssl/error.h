/*
 * The oldest version that this package supports, and OpenSSL's error queue as a
 * value.
 *
 * Each function that Go calls is one call into C: it drops what other users of the
 * thread left in the error queue (osl_enter), acts, copies the queue if that failed
 * (osl_take), and leaves the queue empty (osl_leave, osl_sweep).
 */
#ifndef OSL_ERROR_H
#define OSL_ERROR_H

#if defined(__has_include)
#if !__has_include(<openssl/opensslv.h>)
#error "openssl: OpenSSL's headers are missing: install libssl-dev (Fedora: openssl-devel, Alpine: openssl-dev)"
#endif
#endif
#include <openssl/opensslv.h>

#if defined(LIBRESSL_VERSION_NUMBER) || defined(OPENSSL_IS_BORINGSSL)
#error "openssl: these are headers of LibreSSL or BoringSSL: point PKG_CONFIG_PATH at OpenSSL's libssl.pc"
#endif
#if OPENSSL_VERSION_NUMBER < 0x10101000L
#error "openssl: OpenSSL 1.1.1 or later is needed: install its libssl-dev, or point PKG_CONFIG_PATH at its libssl.pc"
#endif

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define OSL_QUEUE_SLOTS 16 /* libcrypto's ring; ERR_NUM_ERRORS left the headers in 4.0 */

/*
 * osl_fail is a copy of this thread's error queue, made in the call that failed.
 * text holds three NUL-terminated strings for each entry: function, file, data;
 * the library and the reason follow from the code. The receiver frees it with
 * osl_fail_free.
 */
typedef struct osl_fail {
	int code;   /* SSL_get_error's answer, 0 for calls that have none */
	int verify; /* X509_V_ERR_... when the peer's certificate is why, else 0 */
	int n;
	uint64_t codes[OSL_QUEUE_SLOTS];
	int lines[OSL_QUEUE_SLOTS];
	size_t len, cap;
	char *text;
} osl_fail;

/* osl_bytes is memory that the receiver frees with osl_bytes_free, or a failure. */
typedef struct {
	unsigned char *p;
	size_t n;
	osl_fail *fail;
} osl_bytes;

/* osl_enter drops what other users of this thread left. A bare ERR_clear_error
 * walks every slot; a peek is seven times cheaper. */
static inline void osl_enter(void) {
	if (ERR_peek_error())
		ERR_clear_error();
}

/* osl_leave is the end of every call that succeeded or copied its failure. */
static inline void osl_leave(void) {
#ifdef OSL_QUEUECHECK
	if (ERR_peek_error()) {
		fputs("openssl: a call left something in the error queue\n", stderr);
		ERR_print_errors_fp(stderr);
		abort();
	}
#endif
}

/* osl_sweep drops what a successful call left: libssl reports some things that
 * it then gets over, a PEM file's end among them. */
static inline void osl_sweep(void) {
	if (ERR_peek_error())
		ERR_clear_error();
	osl_leave();
}

/* osl_take moves the queue into a failure. It never returns NULL: some libssl
 * functions fail with an empty queue, and then the failure is empty, too. */
osl_fail *osl_take(int code);

/* osl_result is NULL for success, what is in the queue for a failure. */
static inline osl_fail *osl_result(int ok) {
	if (!ok)
		return osl_take(0);
	osl_leave();
	return NULL;
}

void osl_bytes_free(unsigned char *p, size_t n);
void osl_fail_free(osl_fail *f);
const char *osl_code_library(unsigned long code);
const char *osl_code_text(unsigned long code);
int osl_code_lib(unsigned long code);
int osl_code_reason(unsigned long code);
void osl_put_be(unsigned char **p, uint64_t v, int size);
unsigned char *osl_put16(unsigned char *p, size_t v);
unsigned char *osl_put(unsigned char *p, const unsigned char *from, size_t n);
void *osl_first(void **slot, void *(*make)(void), void (*unmake)(void *));

#endif
