/*
 * The recipe: SSL_CTX. See queue_cgo.h for how an act is built.
 */
#ifndef OSL_LIBSSL_CGO_H
#define OSL_LIBSSL_CGO_H

#include "queue_cgo.h"
#include "machine_cgo.h"
#include "sidctx_cgo.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

/* Options that a version does not know are no bits there. */
#ifndef SSL_OP_IGNORE_UNEXPECTED_EOF /* 3.0 */
#define SSL_OP_IGNORE_UNEXPECTED_EOF 0
#endif
#ifndef SSL_OP_NO_EXTENDED_MASTER_SECRET /* 3.0 */
#define SSL_OP_NO_EXTENDED_MASTER_SECRET 0
#endif

static int osl_alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned int inlen, void *arg) {
	osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	unsigned char *chosen;

	(void)arg; /* the listener's, also after a switch */
	if (SSL_select_next_proto(&chosen, outlen, r->alpn, (unsigned int)r->alpn_n, in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301: no_application_protocol */
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* Too late to choose anything: it only acknowledges the name. */
static int osl_servername_cb(SSL *ssl, int *alert, void *arg) {
	(void)ssl, (void)alert, (void)arg;
	return SSL_TLSEXT_ERR_OK;
}

static void osl_recipe_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp) {
	osl_recipe *r = p;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (r) {
		OPENSSL_free(r->alpn);
		osl_ring_free(r->ring);
		OPENSSL_free(r);
	}
}

static CRYPTO_ONCE osl_recipe_once = CRYPTO_ONCE_STATIC_INIT;
static int osl_recipe_idx = -1;

static void osl_recipe_init(void) {
	osl_recipe_idx = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, osl_recipe_free);
}

typedef struct {
	SSL_CTX *ctx;
	osl_fail *fail;
} osl_ctx_made;

/* osl_ctx_new makes an SSL_CTX with this package's defaults. SSL_CTX_new. */
static int osl_verify_cb(X509_STORE_CTX *x, void *arg);

static osl_ctx_made osl_ctx_new(int server) {
	osl_ctx_made made = {NULL, NULL};
	osl_recipe *r = NULL;
	SSL_CTX *c;

	osl_enter();
	c = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!c || !CRYPTO_THREAD_run_once(&osl_recipe_once, osl_recipe_init) || osl_recipe_idx < 0 ||
	    !(r = OPENSSL_zalloc(sizeof *r)) || !SSL_CTX_set_ex_data(c, osl_recipe_idx, r)) {
		OPENSSL_free(r);
		made.fail = osl_take(0);
		SSL_CTX_free(c);
		return made;
	}
	/* Slot 0 is for finding it from a callback, the other one for freeing it. */
	SSL_CTX_set_app_data(c, r);
	if (!osl_ctx_install(c, server)) {
		made.fail = osl_take(0);
		SSL_CTX_free(c);
		return made;
	}
	SSL_CTX_set_cert_verify_callback(c, osl_verify_cb, NULL);
	SSL_CTX_set_default_passwd_cb(c, osl_no_password);
	SSL_CTX_set_default_passwd_cb_userdata(c, &r->asked);

	/* SSL_CTX_new has applied openssl.cnf; a floor that is higher there stays. */
	if (SSL_CTX_get_min_proto_version(c) < TLS1_2_VERSION)
		SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (server) {
		/* On every server SSL_CTX: after a switch libssl asks the new one. */
		SSL_CTX_set_client_hello_cb(c, osl_hello_cb, NULL);
		SSL_CTX_set_tlsext_servername_callback(c, osl_servername_cb);
	} else {
		SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	}
	osl_sweep();
	made.ctx = c;
	return made;
}

static void osl_ctx_free(SSL_CTX *c) {
	osl_enter();
	SSL_CTX_free(c);
	osl_sweep();
}

/* osl_pem_end says whether the reader stopped at the end, rather than at something broken. */
static int osl_pem_end(void) {
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* osl_pem_certs reads every certificate; NULL, with the queue filled, for none or a broken one. */
static STACK_OF(X509) *osl_pem_certs(const unsigned char *pem, size_t n) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	STACK_OF(X509) *certs = sk_X509_new_null();
	X509 *x;

	while (b && certs && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL) {
		if (!sk_X509_push(certs, x)) {
			X509_free(x);
			break;
		}
	}
	BIO_free(b);
	if (certs && sk_X509_num(certs) > 0 && osl_pem_end()) {
		ERR_clear_error();
		return certs;
	}
	sk_X509_pop_free(certs, X509_free);
	return NULL;
}

/* What osl_ctx_use_certificate stumbled over. */
enum { OSL_PART_CERTIFICATE = 1, OSL_PART_KEY, OSL_PART_KEY_ENCRYPTED, OSL_PART_PAIR };

typedef struct {
	int part;
	osl_fail *fail;
} osl_pair;

/* osl_ctx_use_certificate installs a leaf, its chain and its key, or nothing. SSL_CTX_use_cert_and_key. */
static osl_pair osl_ctx_use_certificate(SSL_CTX *c, const unsigned char *cert, size_t cert_n,
                                        const unsigned char *key, size_t key_n) {
	osl_pair r = {0, NULL};
	STACK_OF(X509) *certs = NULL;
	EVP_PKEY *pkey = NULL;
	X509 *leaf = NULL;
	BIO *b = NULL;
	int asked = 0, ok = 0;

	osl_enter();
	r.part = OSL_PART_CERTIFICATE;
	if (!(certs = osl_pem_certs(cert, cert_n)))
		goto out;
	r.part = OSL_PART_KEY;
	if (key_n > INT_MAX || !(b = BIO_new_mem_buf(key, (int)key_n)))
		goto out;
	if (!(pkey = PEM_read_bio_PrivateKey(b, NULL, osl_no_password, &asked))) {
		if (asked)
			r.part = OSL_PART_KEY_ENCRYPTED;
		goto out;
	}
	/* A decoder that gave up before the right one may have left its reason. */
	ERR_clear_error();
	leaf = sk_X509_shift(certs);
	r.part = OSL_PART_PAIR;
	ok = SSL_CTX_use_cert_and_key(c, leaf, pkey, certs, 1) == 1;
out:
	if (!ok)
		r.fail = osl_take(0);
	X509_free(leaf);
	EVP_PKEY_free(pkey);
	sk_X509_pop_free(certs, X509_free);
	BIO_free(b);
	osl_sweep();
	return r;
}

/* osl_pem_crls adds every revocation list to a store; none is a failure. */
static int osl_pem_crls(X509_STORE *store, const unsigned char *pem, size_t n) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	int ok = b != NULL, some = 0;
	X509_CRL *crl;

	while (ok && (crl = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL)) != NULL) {
		ok = X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
		some = 1;
	}
	BIO_free(b);
	ok = ok && some && osl_pem_end();
	if (ok)
		ERR_clear_error();
	return ok;
}

/* osl_ctx_set_crls adds revocation lists and has every certificate of a chain
 * looked up in them. X509_STORE_add_crl, X509_V_FLAG_CRL_CHECK_ALL. */
static osl_fail *osl_ctx_set_crls(SSL_CTX *c, const unsigned char *pem, size_t n) {
	osl_fail *fail = NULL;
	X509_STORE *trial;

	osl_enter();
	/* A throw-away store goes first, so that a broken list changes nothing. */
	trial = X509_STORE_new();
	if (!trial || !osl_pem_crls(trial, pem, n) || !osl_pem_crls(SSL_CTX_get_cert_store(c), pem, n))
		fail = osl_take(0);
	else
		X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	X509_STORE_free(trial);
	osl_sweep();
	return fail;
}

/* osl_ctx_set_trust replaces what is trusted by the certificates in pem and, for
 * names, the list that a server sends in its CertificateRequest. Revocation
 * lists that were set stay. SSL_CTX_set_cert_store, SSL_CTX_set_client_CA_list. */
static osl_fail *osl_ctx_set_trust(SSL_CTX *c, const unsigned char *pem, size_t n, int names,
                                   const unsigned char *crls, size_t crls_n) {
	STACK_OF(X509_NAME) *list = NULL;
	STACK_OF(X509) *certs;
	X509_STORE *store = NULL;
	osl_fail *fail = NULL;
	int i, ok = 0;

	osl_enter();
	if (!(certs = osl_pem_certs(pem, n)) || !(store = X509_STORE_new()) ||
	    (names && !(list = sk_X509_NAME_new_null())))
		goto out;
	for (i = 0; i < sk_X509_num(certs); i++) {
		X509 *x = sk_X509_value(certs, i);
		X509_NAME *name;

		if (!X509_STORE_add_cert(store, x))
			goto out;
		if (!names)
			continue;
		if (!(name = X509_NAME_dup(X509_get_subject_name(x))) || !sk_X509_NAME_push(list, name)) {
			X509_NAME_free(name);
			goto out;
		}
	}
	if (crls_n && !osl_pem_crls(store, crls, crls_n))
		goto out;
	ok = 1;
	SSL_CTX_set_cert_store(c, store);
	store = NULL;
	if (names) {
		SSL_CTX_set_client_CA_list(c, list);
		list = NULL;
	}
out:
	if (!ok)
		fail = osl_take(0);
	X509_STORE_free(store);
	sk_X509_NAME_pop_free(list, X509_NAME_free);
	sk_X509_pop_free(certs, X509_free);
	osl_sweep();
	return fail;
}

/* osl_ctx_load_verify adds the certificates of a file, a hashed folder, or both.
 * A throw-away store goes first, so that a broken file changes nothing.
 * SSL_CTX_load_verify_locations. */
static osl_fail *osl_ctx_load_verify(SSL_CTX *c, const char *file, const char *dir) {
	X509_STORE *trial;
	osl_fail *fail = NULL;

	osl_enter();
	trial = X509_STORE_new();
	if (!trial || X509_STORE_load_locations(trial, file, dir) != 1 ||
	    SSL_CTX_load_verify_locations(c, file, dir) != 1)
		fail = osl_take(0);
	X509_STORE_free(trial);
	osl_sweep();
	return fail;
}

/* osl_ctx_system_roots trusts what the system trusts. SSL_CTX_set_default_verify_paths. */
static osl_fail *osl_ctx_system_roots(SSL_CTX *c) {
	osl_fail *fail = NULL;

	osl_enter();
	if (SSL_CTX_set_default_verify_paths(c) != 1)
		fail = osl_take(0);
	osl_sweep();
	return fail;
}

/* Accepts what chain verification does not: Go decides after the handshake. The
 * verify result is kept. */
static int osl_defer_cb(int ok, X509_STORE_CTX *x) {
	(void)ok, (void)x;
	return 1;
}

/* osl_verify_cb verifies as libssl does, and leaves no reason behind when it
 * accepts: a server's handshake that has to wait for more input then would fail
 * for it. SSL_CTX_set_cert_verify_callback, X509_verify_cert. */
static int osl_verify_cb(X509_STORE_CTX *x, void *arg) {
	int ok;

	(void)arg;
	ERR_set_mark();
	ok = X509_verify_cert(x) > 0;
	if (ok)
		ERR_pop_to_mark();
	else
		ERR_clear_last_mark();
	return ok;
}

static void osl_ctx_set_verify(SSL_CTX *c, int mode, int defer) {
	osl_enter();
	((osl_recipe *)SSL_CTX_get_app_data(c))->deferred = defer;
	SSL_CTX_set_verify(c, mode, defer ? osl_defer_cb : NULL);
	osl_leave();
}

static void osl_ctx_set_verify_depth(SSL_CTX *c, int depth) {
	osl_enter();
	SSL_CTX_set_verify_depth(c, depth);
	osl_leave();
}

static osl_fail *osl_ctx_set_min_version(SSL_CTX *c, int v) {
	osl_enter();
	return osl_result(SSL_CTX_set_min_proto_version(c, v) == 1);
}

static osl_fail *osl_ctx_set_max_version(SSL_CTX *c, int v) {
	osl_enter();
	return osl_result(SSL_CTX_set_max_proto_version(c, v) == 1);
}

/* osl_ctx_set_cipher_list tries a throw-away SSL_CTX first: libssl puts a list
 * without a known cipher in place before it refuses it. SSL_CTX_set_cipher_list. */
static osl_fail *osl_ctx_set_cipher_list(SSL_CTX *c, const char *list) {
	SSL_CTX *trial;
	osl_fail *fail = NULL;

	osl_enter();
	trial = SSL_CTX_new(SSL_CTX_get_ssl_method(c));
	if (!trial || SSL_CTX_set_cipher_list(trial, list) != 1 || SSL_CTX_set_cipher_list(c, list) != 1)
		fail = osl_take(0);
	SSL_CTX_free(trial);
	osl_sweep();
	return fail;
}

static osl_fail *osl_ctx_set_ciphersuites(SSL_CTX *c, const char *list) {
	osl_enter();
	return osl_result(SSL_CTX_set_ciphersuites(c, list) == 1);
}

static osl_fail *osl_ctx_set_groups(SSL_CTX *c, const char *list) {
	osl_enter();
	return osl_result(SSL_CTX_set1_groups_list(c, list) == 1);
}

/* osl_ctx_set_alpn takes the wire's form: each name behind its length.
 * SSL_CTX_set_alpn_protos on a client, SSL_CTX_set_alpn_select_cb on a server. */
static osl_fail *osl_ctx_set_alpn(SSL_CTX *c, int server, const unsigned char *p, size_t n) {
	osl_recipe *r = SSL_CTX_get_app_data(c);
	unsigned char *copy = NULL;

	osl_enter();
	if (n > UINT_MAX || (n && !(copy = OPENSSL_memdup(p, n))))
		return osl_take(0);
	/* The one libssl setter that answers 0 for success. */
	if (!server && SSL_CTX_set_alpn_protos(c, p, (unsigned int)n) != 0) {
		OPENSSL_free(copy);
		return osl_take(0);
	}
	OPENSSL_free(r->alpn);
	r->alpn = copy;
	r->alpn_n = n;
	if (server)
		SSL_CTX_set_alpn_select_cb(c, n ? osl_alpn_cb : NULL, NULL);
	osl_leave();
	return NULL;
}

static uint64_t osl_ctx_set_options(SSL_CTX *c, uint64_t set, uint64_t clear) {
	osl_enter();
	SSL_CTX_clear_options(c, clear);
	set = SSL_CTX_set_options(c, set);
	osl_leave();
	return set;
}

/* osl_put_der appends DER behind a kind and a 32-bit length. */
static int osl_put_der(osl_bytes *b, int kind, unsigned char *der, int n) {
	unsigned char *p;

	if (n <= 0 || !(p = OPENSSL_realloc(b->p, b->n + 5 + (size_t)n))) {
		OPENSSL_free(der);
		return 0;
	}
	b->p = p;
	p += b->n;
	*p++ = (unsigned char)kind;
	osl_put_be(&p, (uint64_t)n, 4);
	memcpy(p, der, (size_t)n);
	b->n += 5 + (size_t)n;
	OPENSSL_free(der);
	return 1;
}

enum { OSL_DER_LEAF, OSL_DER_CA, OSL_DER_CRL, OSL_DER_CA_NAME };

/* osl_ctx_identity is all that says who a server is and whom it believes: its
 * leaves, the certificates and revocation lists of its store, and the names
 * that it sends. SSL_CTX_get0_certificate, X509_STORE_get0_objects. */
static osl_bytes osl_ctx_identity(SSL_CTX *c) {
	const STACK_OF(X509_NAME) *names = SSL_CTX_get_client_CA_list(c);
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c));
	osl_bytes b = {NULL, 0, NULL};
	unsigned char *der;
	int i, n, ok = 1;
	long more;

	osl_enter();
	for (more = SSL_CTX_set_current_cert(c, SSL_CERT_SET_FIRST); ok && more == 1;
	     more = SSL_CTX_set_current_cert(c, SSL_CERT_SET_NEXT)) {
		der = NULL;
		n = i2d_X509(SSL_CTX_get0_certificate(c), &der);
		ok = osl_put_der(&b, OSL_DER_LEAF, der, n);
	}
	for (i = 0; ok && i < sk_X509_OBJECT_num(objects); i++) {
		X509_OBJECT *o = sk_X509_OBJECT_value(objects, i);
		der = NULL;
		if (X509_OBJECT_get_type(o) == X509_LU_X509) {
			n = i2d_X509(X509_OBJECT_get0_X509(o), &der);
			ok = osl_put_der(&b, OSL_DER_CA, der, n);
		} else if (X509_OBJECT_get_type(o) == X509_LU_CRL) {
			n = i2d_X509_CRL(X509_OBJECT_get0_X509_CRL(o), &der);
			ok = osl_put_der(&b, OSL_DER_CRL, der, n);
		}
	}
	for (i = 0; ok && i < sk_X509_NAME_num(names); i++) {
		der = NULL;
		n = i2d_X509_NAME(sk_X509_NAME_value(names, i), &der);
		ok = osl_put_der(&b, OSL_DER_CA_NAME, der, n);
	}
	if (!ok) {
		OPENSSL_free(b.p);
		b = (osl_bytes){NULL, 0, osl_take(0)};
	}
	osl_sweep();
	return b;
}

/* What decides whether a recipe may be used, read from the SSL_CTX itself:
 * openssl.cnf and SSL_CONF_cmd may have set it too. */
typedef struct {
	int verify_mode, verify_depth, has_certificate, min_version, max_version, security_level;
	long cache_mode;
	uint64_t options;
} osl_ctx_facts;

static osl_ctx_facts osl_ctx_read(SSL_CTX *c) {
	osl_ctx_facts f;

	osl_enter();
	f.verify_mode = SSL_CTX_get_verify_mode(c);
	f.verify_depth = SSL_CTX_get_verify_depth(c);
	f.min_version = (int)SSL_CTX_get_min_proto_version(c);
	f.max_version = (int)SSL_CTX_get_max_proto_version(c);
	f.security_level = SSL_CTX_get_security_level(c);
	f.has_certificate = SSL_CTX_get0_certificate(c) != NULL;
	f.cache_mode = SSL_CTX_get_session_cache_mode(c);
	f.options = SSL_CTX_get_options(c);
	osl_leave();
	return f;
}

/* osl_ctx_conf runs one command of openssl.cnf or, with a dash, of the command
 * line. SSL_CONF_cmd. */
typedef struct {
	int answer; /* SSL_CONF_cmd's: -2 unknown, -3 needs a value */
	osl_fail *fail;
} osl_confed;

static osl_confed osl_ctx_conf(SSL_CTX *c, int server, const char *cmd, const char *value) {
	unsigned int flags = SSL_CONF_FLAG_CERTIFICATE | SSL_CONF_FLAG_SHOW_ERRORS;
	osl_confed r = {0, NULL};
	SSL_CONF_CTX *conf;

	osl_enter();
	if (!(conf = SSL_CONF_CTX_new())) {
		r.fail = osl_take(0);
		return r;
	}
	flags |= server ? SSL_CONF_FLAG_SERVER : SSL_CONF_FLAG_CLIENT;
	flags |= cmd[0] == '-' ? SSL_CONF_FLAG_CMDLINE : SSL_CONF_FLAG_FILE;
	SSL_CONF_CTX_set_flags(conf, flags);
	SSL_CONF_CTX_set_ssl_ctx(conf, c);
	r.answer = SSL_CONF_cmd(conf, cmd, value);
	if (r.answer <= 0 || SSL_CONF_CTX_finish(conf) != 1)
		r.fail = osl_take(0);
	SSL_CONF_CTX_free(conf);
	osl_sweep();
	return r;
}

static void osl_keylog_cb(const SSL *ssl, const char *line) {
	osl_ssl *t = SSL_get_app_data(ssl);
	size_t n = strlen(line);
	unsigned char *p = OPENSSL_clear_realloc(t->keylog, t->keylog_n, t->keylog_n + n + 1);

	if (!p)
		return;
	memcpy(p + t->keylog_n, line, n);
	p[t->keylog_n + n] = '\n';
	t->keylog = p;
	t->keylog_n += n + 1;
}

/* osl_ctx_set_keylog has every machine collect its secrets' lines. SSL_CTX_set_keylog_callback. */
static void osl_ctx_set_keylog(SSL_CTX *c, int on) {
	osl_enter();
	SSL_CTX_set_keylog_callback(c, on ? osl_keylog_cb : NULL);
	osl_leave();
}

/* ---- which libssl ---- */

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/provider.h>

typedef struct {
	char *p;
	size_t n;
} osl_names;

static int osl_provider_name(OSSL_PROVIDER *provider, void *arg) {
	osl_names *names = arg;
	const char *name = OSSL_PROVIDER_get0_name(provider);
	size_t n = strlen(name) + 1;
	char *p = OPENSSL_realloc(names->p, names->n + n);

	if (!p)
		return 0;
	memcpy(p + names->n, name, n);
	names->p = p;
	names->n += n;
	return 1;
}
#endif

/* osl_providers is the names of the loaded providers, a NUL behind each; there
 * are none before 3.0. OSSL_PROVIDER_do_all. */
static osl_bytes osl_providers(void) {
	osl_bytes r = {NULL, 0, NULL};
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	osl_names names = {NULL, 0};

	osl_enter();
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	if (OSSL_PROVIDER_do_all(NULL, osl_provider_name, &names) != 1)
		r.fail = osl_take(0);
	r.p = (unsigned char *)names.p;
	r.n = names.n;
	osl_sweep();
#endif
	return r;
}

static int osl_fips(void) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return EVP_default_properties_is_fips_enabled(NULL);
#else
	return FIPS_mode(); /* gone in 3.0 */
#endif
}

#endif
