/* From 3.0 on engines are deprecated, and nothing else serves a token without a provider. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "keys.h"
#include "ctx.h"
#include "pem.h"

#include <strings.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>

/* 4.0 has none. */
#if !defined(OPENSSL_NO_ENGINE) && OPENSSL_VERSION_NUMBER < 0x40000000L
#define OSL_ENGINES
#include <openssl/engine.h>
#endif

/* osl_secret is a passphrase or a PIN, which is lent for one act, and what came of it. */
typedef struct {
	const unsigned char *p;
	size_t n;
	int from;
	int asked;    /* libcrypto, or what it calls, wanted it */
	int too_long; /* for the buffer that it was wanted in */
} osl_secret;

/* osl_secret_cb is the pem_password_cb of all keys. Where there is none for a URI it
 * answers with an empty one: after an error pkcs11-provider asks on the terminal. */
static int osl_secret_cb(char *buf, int size, int rwflag, void *arg) {
	osl_secret *s = arg;

	(void)rwflag;
	s->asked = 1;
	if (s->from == OSL_KEY_PLAIN)
		return -1;
	if (size < 0 || s->n > (size_t)size) { /* libcrypto's own would cut it */
		s->too_long = 1;
		return s->from == OSL_KEY_URI ? 0 : -1;
	}
	if (s->n)
		memcpy(buf, s->p, s->n);
	return (int)s->n;
}

/* osl_wipe_stack overwrites what the functions that have returned had on the stack: from 3.0
 * on ui_read of crypto/ui/ui_util.c leaves a copy of each passphrase there. */
static __attribute__((noinline)) void osl_wipe_stack(void) {
	unsigned char used[32 << 10];

	OPENSSL_cleanse(used, sizeof used);
}

/* osl_ui is osl_secret_cb for what asks by a UI_METHOD, once there is one. Without
 * one an engine would ask on the terminal. UI_UTIL_wrap_read_pem_callback. */
static void *osl_ui;

static void *osl_ui_new(void) {
	return UI_UTIL_wrap_read_pem_callback(osl_secret_cb, 0);
}

static void osl_ui_free(void *ui) {
	UI_destroy_method(ui);
}

/* osl_pem_key reads a private key. PEM_read_bio_PrivateKey. */
static EVP_PKEY *osl_pem_key(const osl_library *l, const unsigned char *pem, size_t n, osl_secret *s,
                             osl_certificate_result *r) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	EVP_PKEY *key = b ? osl_library_key(l, b, osl_secret_cb, s) : NULL;

	r->op = "PEM_read_bio_PrivateKey";
	BIO_free(b);
	if (key && s->from == OSL_KEY_ENCRYPTED && !s->asked) {
		r->part = OSL_PART_KEY_PLAIN;
		EVP_PKEY_free(key);
		return NULL;
	}
	return key;
}

/* osl_is_scheme reports whether a URI is of a scheme. */
static int osl_is_scheme(const char *uri, const char *scheme) {
	size_t n = strlen(scheme);

	return strncasecmp(uri, scheme, n) == 0 && uri[n] == ':';
}

/* osl_served reports whether a provider serves the scheme of a URI. */
static int osl_served(const osl_library *l, const char *uri) {
	const char *end = strchr(uri, ':');
	char scheme[32] = "file"; /* without a scheme it is a path */

	if (end && (size_t)(end - uri) < sizeof scheme) {
		memcpy(scheme, uri, (size_t)(end - uri));
		scheme[end - uri] = '\0';
	}
	return osl_library_serves(l, scheme);
}

/* osl_store_key is the first private key that a URI names. OSSL_STORE_open, OSSL_STORE_load. */
static EVP_PKEY *osl_store_key(const osl_library *l, const char *uri, osl_secret *s, osl_certificate_result *r) {
	OSSL_STORE_CTX *store = osl_library_open(l, uri, osl_ui, s);
	OSSL_STORE_INFO *info;
	EVP_PKEY *key = NULL;

	r->op = "OSSL_STORE_open";
	if (!store)
		return NULL;
	r->op = "OSSL_STORE_load";
	OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY); /* an optimisation: others are skipped here, too */
	while (!key && !OSSL_STORE_eof(store)) {
		info = OSSL_STORE_load(store);
		if (!info && OSSL_STORE_error(store))
			break;
		if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
			key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	OSSL_STORE_close(store);
	return key;
}

#ifdef OSL_ENGINES
/* osl_engine is the engine for tokens, once it was found: it is kept initialised until
 * the process ends, since its keys depend on its module, and a module that is finished and
 * loaded again on each key is logged out in between. */
static void *osl_engine;

static void *osl_engine_new(void) {
	ENGINE *e;

	ENGINE_load_dynamic();
	if (!(e = ENGINE_by_id("pkcs11")))
		return NULL;
	ENGINE_ctrl_cmd_string(e, "QUIET", NULL, 1); /* it prints URIs on stderr, with the PIN that is in one */
	if (!ENGINE_init(e)) {
		ENGINE_free(e);
		return NULL;
	}
	ENGINE_free(e); /* a second reference is that of ENGINE_init */
	return e;
}

static void osl_engine_free(void *e) {
	ENGINE_finish(e);
}
#endif

/* osl_engine_key is the private key that a URI names in a token. ENGINE_load_private_key. */
static EVP_PKEY *osl_engine_key(const char *uri, osl_secret *s, osl_certificate_result *r) {
#ifdef OSL_ENGINES
	ENGINE *e = osl_first(&osl_engine, osl_engine_new, osl_engine_free);

	r->op = "ENGINE_by_id";
	if (e) {
		r->op = "ENGINE_load_private_key";
		return ENGINE_load_private_key(e, uri, osl_ui, s);
	}
#else
	(void)uri, (void)s;
	r->op = "OSSL_STORE_open";
#endif
	r->part = OSL_PART_SCHEME;
	return NULL;
}

/* osl_uri_key is the private key that a URI names: by a provider, or where none serves
 * tokens by the engine. It is never tried twice: a token counts wrong PINs. */
static EVP_PKEY *osl_uri_key(const osl_library *l, const char *uri, osl_secret *s, osl_certificate_result *r) {
	int served = osl_served(l, uri);
	EVP_PKEY *key;

	ERR_clear_error(); /* osl_served says what it says */
	if (!osl_first(&osl_ui, osl_ui_new, osl_ui_free)) {
		r->op = "UI_UTIL_wrap_read_pem_callback";
		return NULL;
	}
	if (!served && osl_is_scheme(uri, "pkcs11"))
		return osl_engine_key(uri, s, r);
	key = osl_store_key(l, uri, s, r);
	if (!key && !served)
		r->part = OSL_PART_SCHEME;
	return key;
}

/* osl_key_fault is why a key could not be had that libcrypto asked a passphrase or PIN for. */
static int osl_key_fault(const osl_secret *s, const osl_fail *f) {
	int i, lib, reason;

	if (s->from == OSL_KEY_PLAIN || (s->from == OSL_KEY_URI && !s->n))
		return OSL_PART_KEY_ENCRYPTED;
	if (s->too_long)
		return OSL_PART_SECRET_LONG;
	if (!f->n && s->from == OSL_KEY_ENCRYPTED) /* there was no memory for a reason */
		return OSL_PART_KEY;
	for (i = 0; i < f->n; i++) {
		lib = ERR_GET_LIB(f->codes[i]);
		reason = ERR_GET_REASON(f->codes[i]);
		if (reason == ERR_R_MALLOC_FAILURE)
			return OSL_PART_KEY;
		if (lib == ERR_LIB_EVP && (reason == EVP_R_UNSUPPORTED_ALGORITHM || reason == EVP_R_UNKNOWN_PBE_ALGORITHM))
			return OSL_PART_KEY_UNSUPPORTED;
#ifdef ERR_R_UNSUPPORTED /* 3.0: a cipher of the legacy provider, or one that is not approved */
		if (lib == ERR_LIB_EVP && reason == ERR_R_UNSUPPORTED)
			return OSL_PART_KEY_UNSUPPORTED;
#endif
	}
	return OSL_PART_SECRET;
}

/* osl_ctx_use_certificate installs a leaf, its chain and its key, or nothing. The key is
 * PEM, or the URI of one, which a NUL ends. SSL_CTX_use_cert_and_key. */
osl_certificate_result osl_ctx_use_certificate(SSL_CTX *c, const unsigned char *cert, size_t cert_n, int from,
                                               const unsigned char *key, size_t key_n, const unsigned char *secret,
                                               size_t secret_n) {
	osl_secret s = {secret, secret_n, from, 0, 0};
	osl_certificate_result r = {OSL_PART_CERTIFICATE, "PEM_read_bio_X509", NULL};
	const osl_library *l = osl_ctx_library(c);
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *pkey = NULL;
	X509 *leaf = NULL;
	int asked = 0, ok = 0;

	osl_enter();
	if (!(certs = osl_pem_certs(l, cert, cert_n, &asked))) {
		if (asked)
			r.part = OSL_PART_CERTIFICATE_ENCRYPTED;
		goto out;
	}
	r.part = OSL_PART_KEY;
	pkey = from == OSL_KEY_URI ? osl_uri_key(l, (const char *)key, &s, &r) : osl_pem_key(l, key, key_n, &s, &r);
	if (s.asked)
		osl_wipe_stack();
	if (!pkey)
		goto out;
	/* A decoder that gave up before the right one may have left its reason. */
	ERR_clear_error();
	leaf = sk_X509_shift(certs);
	r.part = OSL_PART_PAIR;
	r.op = "SSL_CTX_use_cert_and_key";
	ok = SSL_CTX_use_cert_and_key(c, leaf, pkey, certs, 1) == 1;
out:
	if (!ok) {
		r.fail = osl_take(0);
		if (r.part == OSL_PART_KEY && s.asked)
			r.part = osl_key_fault(&s, r.fail);
	}
	X509_free(leaf);
	EVP_PKEY_free(pkey);
	sk_X509_pop_free(certs, X509_free);
	osl_sweep();
	return r;
}
