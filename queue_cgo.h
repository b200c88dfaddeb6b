/*
 * The version floor, and the error queue as a value.
 *
 * Every function of these headers is one act: drop foreign residue, act, copy
 * the queue, return. Everything here is static: each *_cgo.go file that
 * includes a header gets its own copy and shares no state with the others.
 */
#ifndef OSL_QUEUE_CGO_H
#define OSL_QUEUE_CGO_H

#include <openssl/opensslv.h>

#if defined(LIBRESSL_VERSION_NUMBER) || defined(OPENSSL_IS_BORINGSSL)
#error "openssl: this package binds OpenSSL's libssl; LibreSSL and BoringSSL decide resumption by other rules"
#endif
#if OPENSSL_VERSION_NUMBER < 0x10101000L
#error "openssl: this package needs the headers of OpenSSL 1.1.1 or later (Debian and Ubuntu: libssl-dev)"
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
 * osl_fail is a copy of this thread's error queue, made in the act that failed.
 * text holds three NUL-terminated strings for each entry: function, file, data;
 * the library and the reason follow from the code. Whoever receives one gives it
 * back: to home, if that is empty, or to osl_fail_free.
 */
typedef struct osl_fail {
	int code;   /* SSL_get_error's answer, 0 for calls that have none */
	int verify; /* X509_V_ERR_... when the peer's certificate is why, else 0 */
	int n;
	struct osl_fail **home; /* NULL for the one below, which nobody frees */
	uint64_t codes[OSL_QUEUE_SLOTS];
	int lines[OSL_QUEUE_SLOTS];
	size_t len, cap;
	char *text;
} osl_fail;

/* Without memory for a copy a failure is still a failure. */
static osl_fail osl_fail_no_memory;

/* One that was given back: a setter that is refused time and again allocates nothing here. */
static osl_fail *osl_fail_spare;

/* osl_bytes is memory that the receiver frees with osl_bytes_free, or a failure. */
typedef struct {
	unsigned char *p;
	size_t n;
	osl_fail *fail;
} osl_bytes;

static void osl_bytes_free(unsigned char *p, size_t n) {
	OPENSSL_clear_free(p, n);
}

/* osl_enter drops what other users of this thread left. A bare ERR_clear_error
 * walks every slot; a peek is seven times cheaper. */
static inline void osl_enter(void) {
	if (ERR_peek_error())
		ERR_clear_error();
}

/* osl_leave is the end of every act that succeeded or copied its failure. */
static inline void osl_leave(void) {
#ifdef OSL_QUEUECHECK
	if (ERR_peek_error()) {
		fputs("openssl: an act left residue in the error queue\n", stderr);
		ERR_print_errors_fp(stderr);
		abort();
	}
#endif
}

/* osl_sweep drops what a successful act left: libssl reports some things that
 * it then gets over, a PEM file's end among them. */
static inline void osl_sweep(void) {
	if (ERR_peek_error())
		ERR_clear_error();
	osl_leave();
}

static unsigned long osl_next_error(const char **file, int *line, const char **func, const char **data) {
	int flags = 0;
	unsigned long e;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	e = ERR_get_error_all(file, line, func, data, &flags);
#else
	/* 1.1.1 packs the function into the code and has no ERR_get_error_all. */
	e = ERR_get_error_line_data(file, line, data, &flags);
	*func = e ? ERR_func_error_string(e) : NULL;
#endif
	if (!(flags & ERR_TXT_STRING))
		*data = NULL;
	return e;
}

static int osl_fail_put(osl_fail *f, const char *s) {
	size_t n = s ? strlen(s) + 1 : 1;

	if (f->cap - f->len < n) {
		size_t cap = 2 * (f->cap + n) + 256;
		char *text = realloc(f->text, cap);
		if (!text)
			return 0;
		f->text = text;
		f->cap = cap;
	}
	memcpy(f->text + f->len, s ? s : "", n);
	f->len += n;
	return 1;
}

static void osl_fail_free(osl_fail *f) {
	if (f && f->home) {
		free(f->text);
		free(f);
	}
}

/* osl_take moves the queue into a failure. It never returns NULL: some libssl
 * functions fail with an empty queue, and then the failure is empty too. */
static osl_fail *osl_take(int code) {
	osl_fail *f = __atomic_exchange_n(&osl_fail_spare, NULL, __ATOMIC_ACQ_REL);
	const char *file, *func, *data;
	unsigned long e;
	int line;

	if (!f && !(f = calloc(1, sizeof *f))) {
		ERR_clear_error();
		return &osl_fail_no_memory;
	}
	f->home = &osl_fail_spare;
	f->code = code;
	f->verify = f->n = 0;
	f->len = 0;
	while ((e = osl_next_error(&file, &line, &func, &data)) != 0) {
		size_t len = f->len;

		if (f->n == OSL_QUEUE_SLOTS)
			continue;
		if (!osl_fail_put(f, func) || !osl_fail_put(f, file) || !osl_fail_put(f, data)) {
			f->len = len;
			continue;
		}
		f->codes[f->n] = e;
		f->lines[f->n] = line;
		f->n++;
	}
	osl_leave();
	return f;
}

static const char *osl_code_library(unsigned long code) {
	return ERR_lib_error_string(code);
}

static const char *osl_code_text(unsigned long code) {
	const char *reason = ERR_reason_error_string(code);
#ifdef ERR_SYSTEM_ERROR
	/* From 3.0 on an errno stands in the code and has no string of its own. */
	if (!reason && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
#endif
	return reason;
}

/* osl_result is NULL for success, what is in the queue for a failure. */
static inline osl_fail *osl_result(int ok) {
	if (!ok)
		return osl_take(0);
	osl_leave();
	return NULL;
}

/* osl_first is what make has made when it was first called, for all callers; NULL
 * after a failure, which the next caller tries again. CRYPTO_THREAD_run_once would
 * keep a failure for the life of the process. Of two that are made at the same
 * time unmake gets one. */
static inline void *osl_first(void **slot, void *(*make)(void), void (*unmake)(void *)) {
	void *first = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *mine;

	if (first || !(mine = make()))
		return first;
	if (__atomic_compare_exchange_n(slot, &first, mine, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return mine;
	unmake(mine);
	return first;
}

/* ERR_GET_LIB and ERR_GET_REASON are macros in 1.1.1 and inline functions later. */
static int osl_code_lib(unsigned long code) { return ERR_GET_LIB(code); }
static int osl_code_reason(unsigned long code) { return ERR_GET_REASON(code); }

#endif
