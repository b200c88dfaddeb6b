#include "ctx.h"
#include "ocsp.h"
#include "pem.h"
#include "refusal.h"
#include "resumption.h"
#include "ssl.h"
#include "store.h"

#include <openssl/pem.h>

/* osl_ctx_data_index is the ex_data index that frees an osl_ctx_data, once there is one. */
static void *osl_ctx_data_index;

static void osl_ctx_data_free(void *parent, void *p, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp) {
	osl_ctx_data *r = p;

	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	if (r) {
		OPENSSL_free(r->alpn);
		osl_keyring_free(r->keyring);
		osl_psks_free(&r->psks);
		osl_staple_free(r->staple);
		OPENSSL_free(r);
	}
}

static void *osl_ctx_data_index_new(void) {
	int idx = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, osl_ctx_data_free);

	return idx > 0 ? (void *)(intptr_t)idx : NULL; /* 0 is for SSL_CTX_set_app_data */
}

static void osl_ctx_data_index_free(void *slot) {
	CRYPTO_free_ex_index(CRYPTO_EX_INDEX_SSL_CTX, (int)(intptr_t)slot);
}

static int osl_alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
                       unsigned int inlen, void *arg) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	unsigned char *chosen;

	(void)arg; /* the listener's, also after a switch */
	if (SSL_select_next_proto(&chosen, outlen, r->alpn, (unsigned int)r->alpn_n, in, inlen) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301: no_application_protocol */
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* osl_servername_cb comes too late to choose anything: it says whether the name is
 * acknowledged. RFC 6066 allows that where it was used, and not when a session is
 * resumed. */
static int osl_servername_cb(SSL *ssl, int *alert, void *arg) {
	const osl_ssl *t = SSL_get_app_data(ssl);

	(void)alert, (void)arg;
	return SSL_session_reused(ssl) || t->name_unused ? SSL_TLSEXT_ERR_NOACK : SSL_TLSEXT_ERR_OK;
}

/* osl_spares_anchor says whether all that libcrypto misses is a revocation list for a
 * CA that is trusted itself, below a root that is not: with X509_V_FLAG_CRL_CHECK_ALL it
 * wants one there too, and could not verify it without the root. A list that was given
 * and names the CA counts. X509_STORE_CTX_get1_crls, X509_CRL_get0_by_cert. */
static int osl_spares_anchor(X509_STORE_CTX *x) {
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(x);
	int top = sk_X509_num(chain) - 1, i, listed = 0;
	STACK_OF(X509_CRL) *lists;
	X509_REVOKED *entry;
	X509 *anchor;

	if (X509_STORE_CTX_get_error(x) != X509_V_ERR_UNABLE_TO_GET_CRL || X509_STORE_CTX_get_error_depth(x) != top ||
	    !(X509_VERIFY_PARAM_get_flags(X509_STORE_CTX_get0_param(x)) & X509_V_FLAG_PARTIAL_CHAIN))
		return 0;
	anchor = sk_X509_value(chain, top);
	if (X509_check_issued(anchor, anchor) == X509_V_OK) /* a root needs its own list */
		return 0;
	lists = X509_STORE_CTX_get1_crls(x, X509_get_issuer_name(anchor));
	for (i = 0; i < sk_X509_CRL_num(lists); i++)
		listed |= X509_CRL_get0_by_cert(sk_X509_CRL_value(lists, i), &entry, anchor) == 1;
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	if (listed)
		X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_REVOKED);
	return !listed;
}

/* osl_verify_step_cb is called for each fault. Where Go decides after the handshake,
 * all are accepted, and the last one is the verify result. */
static int osl_verify_step_cb(int ok, X509_STORE_CTX *x) {
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	osl_ssl *t = SSL_get_app_data(ssl);

	if (ok)
		return 1;
	if (osl_spares_anchor(x)) {
		X509_STORE_CTX_set_error(x, t->verify_fault);
		return 1;
	}
	t->verify_fault = X509_STORE_CTX_get_error(x);
	return ((osl_ctx_data *)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->accept_any;
}

/* osl_verify_cb verifies as libssl does, and leaves no reason behind when it
 * accepts: a server's handshake that has to wait for more input then would fail
 * for it. What was accepted while memory ran out is not: of several revocation
 * lists libcrypto then takes one that is older. SSL_CTX_set_cert_verify_callback,
 * X509_verify_cert. */
static int osl_verify_cb(X509_STORE_CTX *x, void *arg) {
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(x); /* of this verification alone */
	unsigned long e;
	int ok;

	(void)arg;
	((osl_ssl *)SSL_get_app_data(ssl))->verify_fault = X509_V_OK;
	X509_STORE_CTX_set_verify_cb(x, osl_verify_step_cb);
	if (((osl_ctx_data *)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->any_name) {
		X509_VERIFY_PARAM_set1_host(param, NULL, 0);
		X509_VERIFY_PARAM_set1_ip(param, NULL, 0);
	}
	ok = X509_verify_cert(x) > 0;
	while (ok && (e = ERR_get_error()) != 0) {
		if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE) {
			X509_STORE_CTX_set_error(x, X509_V_ERR_OUT_OF_MEM);
			ok = 0;
		}
	}
	return ok;
}

/* osl_ctx_install gives a server's SSL_CTX its callbacks, for good: after a switch
 * libssl asks those of the new SSL_CTX. */
static int osl_ctx_install(SSL_CTX *c) {
	SSL_CTX_sess_set_get_cb(c, osl_get_session_cb);
	SSL_CTX_sess_set_new_cb(c, osl_new_session_cb);
	SSL_CTX_set_client_hello_cb(c, osl_hello_cb, NULL);
	SSL_CTX_set_tlsext_servername_callback(c, osl_servername_cb);
	osl_psk_install(c);
	return osl_tickets_install(c) && osl_staple_install(c) &&
	       SSL_CTX_set_session_ticket_cb(c, osl_ticket_generate_cb, osl_ticket_decrypt_cb, NULL);
}

/* osl_ctx_new makes an SSL_CTX in a library, with this package's defaults. SSL_CTX_new_ex. */
osl_ctx_result osl_ctx_new(const osl_library *l, int server) {
	osl_ctx_result made = {NULL, NULL};
	osl_ctx_data *r = NULL;
	void *slot;
	SSL_CTX *c;

	osl_enter();
	c = osl_library_ctx(l, server ? TLS_server_method() : TLS_client_method());
	if (!c || !(slot = osl_first(&osl_ctx_data_index, osl_ctx_data_index_new, osl_ctx_data_index_free)) ||
	    !(r = OPENSSL_zalloc(sizeof *r)) || !SSL_CTX_set_ex_data(c, (int)(intptr_t)slot, r)) {
		OPENSSL_free(r);
		goto failed;
	}
	r->library = l;
	/* That slot frees it, from here on; the one for applications finds it from a callback. */
	if (!SSL_CTX_set_app_data(c, r) || (server && !osl_ctx_install(c)))
		goto failed;
	if (SSL_CTX_add_custom_ext(c, OSL_ALERT_EXTENSION, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_3_NEW_SESSION_TICKET,
	                           osl_alert_cb, NULL, NULL, NULL, NULL) != 1)
		goto failed;
	osl_ctx_set_cache_mode(c, SSL_CTX_get_session_cache_mode(c));
	SSL_CTX_set_cert_verify_callback(c, osl_verify_cb, NULL);
	X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(c),
	                                X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	SSL_CTX_set_default_passwd_cb(c, osl_no_password);
	SSL_CTX_set_default_passwd_cb_userdata(c, &r->asked);

	/* SSL_CTX_new has applied openssl.cnf; a floor that is higher there stays. */
	if (SSL_CTX_get_min_proto_version(c) < TLS1_2_VERSION && SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1)
		goto failed;
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (!server)
		SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	osl_sweep();
	made.ctx = c;
	return made;
failed:
	made.fail = osl_take(0);
	SSL_CTX_free(c);
	osl_sweep();
	return made;
}

void osl_ctx_free(SSL_CTX *c) {
	osl_enter();
	SSL_CTX_free(c);
	osl_sweep();
}

/* osl_ctx_set_crls adds revocation lists. X509_STORE_add_crl. */
osl_change_result osl_ctx_set_crls(SSL_CTX *c, const unsigned char *pem, size_t n) {
	const osl_library *l = osl_ctx_library(c);
	osl_change_result r = {0};
	X509_STORE *trial;

	osl_enter();
	/* A throw-away store goes first, so that a broken list changes nothing. */
	trial = X509_STORE_new();
	if (!trial || !osl_pem_crls(l, trial, pem, n, &r.asked)) {
		r.fail = osl_take(0);
	} else if (!osl_pem_crls(l, SSL_CTX_get_cert_store(c), pem, n, &r.asked)) {
		r.half = 1;
		r.fail = osl_take(0);
	}
	X509_STORE_free(trial);
	osl_sweep();
	return r;
}

/* osl_ctx_set_trust replaces what is trusted by the certificates in pem and, for
 * names, the list that a server sends in its CertificateRequest. Revocation
 * lists that were set stay. SSL_CTX_set_cert_store, SSL_CTX_set_client_CA_list. */
osl_change_result osl_ctx_set_trust(SSL_CTX *c, const unsigned char *pem, size_t n, int names,
                                    const unsigned char *crls, size_t crls_n) {
	const osl_library *l = osl_ctx_library(c);
	STACK_OF(X509_NAME) *list = NULL;
	osl_change_result r = {0};
	STACK_OF(X509) *certs;
	X509_STORE *store = NULL;
	int i, ok = 0;

	osl_enter();
	if (!(certs = osl_pem_certs(l, pem, n, &r.asked)) || !(store = X509_STORE_new()) ||
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
	if (crls_n && !osl_pem_crls(l, store, crls, crls_n, &r.asked))
		goto out;
	if ((r.names = osl_names_size(list)) > 0)
		goto out;
	ok = 1;
	osl_use_store(c, store);
	store = NULL;
	if (names) {
		SSL_CTX_set_client_CA_list(c, list);
		list = NULL;
	}
out:
	if (!ok)
		r.fail = osl_take(0);
	X509_STORE_free(store);
	sk_X509_NAME_pop_free(list, X509_NAME_free);
	sk_X509_pop_free(certs, X509_free);
	osl_sweep();
	return r;
}

/* osl_ctx_load_verify adds the certificates of a file, a hashed folder, or both.
 * A throw-away store goes first, so that a broken file changes nothing.
 * SSL_CTX_load_verify_locations. */
osl_change_result osl_ctx_load_verify(SSL_CTX *c, const char *file, const char *dir) {
	osl_change_result r = {0};
	X509_STORE *trial;

	osl_enter();
	trial = X509_STORE_new();
	if (!trial || osl_library_load_locations(osl_ctx_library(c), trial, file, dir) != 1) {
		r.fail = osl_take(0);
	} else if (SSL_CTX_load_verify_locations(c, file, dir) != 1) {
		r.half = 1;
		r.fail = osl_take(0);
	}
	X509_STORE_free(trial);
	osl_sweep();
	return r;
}

/* osl_ctx_set_verify sets the mode, and whether any certificate is accepted, or any
 * name. SSL_CTX_set_verify. */
void osl_ctx_set_verify(SSL_CTX *c, int mode, int accept_any, int any_name) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);

	osl_enter();
	r->accept_any = accept_any;
	r->any_name = any_name;
	SSL_CTX_set_verify(c, mode, NULL);
	osl_leave();
}

/* osl_ctx_set_verify_flags replaces the X509_V_FLAG bits. X509_VERIFY_PARAM_set_flags. */
osl_change_result osl_ctx_set_verify_flags(SSL_CTX *c, unsigned long flags) {
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c);
	osl_change_result r = {0};

	osl_enter();
	if (!X509_VERIFY_PARAM_clear_flags(param, X509_VERIFY_PARAM_get_flags(param)) ||
	    !X509_VERIFY_PARAM_set_flags(param, flags)) {
		r.half = 1;
		r.fail = osl_take(0);
	}
	osl_sweep();
	return r;
}

/* osl_ctx_set_host_flags replaces the X509_CHECK_FLAG bits. X509_VERIFY_PARAM_set_hostflags. */
void osl_ctx_set_host_flags(SSL_CTX *c, unsigned int flags) {
	osl_enter();
	X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(c), flags);
	osl_leave();
}

void osl_ctx_set_verify_depth(SSL_CTX *c, int depth) {
	osl_enter();
	SSL_CTX_set_verify_depth(c, depth);
	osl_leave();
}

/* SSL_CTX_set_max_cert_list. */
void osl_ctx_set_max_cert_list(SSL_CTX *c, long n) {
	osl_enter();
	SSL_CTX_set_max_cert_list(c, n);
	osl_leave();
}

osl_fail *osl_ctx_set_min_version(SSL_CTX *c, int v) {
	osl_enter();
	return osl_result(SSL_CTX_set_min_proto_version(c, v) == 1);
}

osl_fail *osl_ctx_set_max_version(SSL_CTX *c, int v) {
	osl_enter();
	return osl_result(SSL_CTX_set_max_proto_version(c, v) == 1);
}

/* osl_set_list tries a list on a throw-away SSL_CTX first: libssl puts a list of
 * ciphers without a known one in place before it refuses it. */
static osl_change_result osl_set_list(SSL_CTX *c, const char *list, int (*set)(SSL_CTX *, const char *)) {
	osl_change_result r = {0};
	SSL_CTX *trial;

	osl_enter();
	trial = osl_trial_ctx(c);
	if (!trial || !set(trial, list)) {
		r.fail = osl_take(0);
	} else if (!set(c, list)) {
		r.half = 1;
		r.fail = osl_take(0);
	}
	SSL_CTX_free(trial);
	osl_sweep();
	return r;
}

static int osl_set_cipher_list(SSL_CTX *c, const char *list) {
	return SSL_CTX_set_cipher_list(c, list) == 1;
}

static int osl_set_ciphersuites(SSL_CTX *c, const char *list) {
	return SSL_CTX_set_ciphersuites(c, list) == 1;
}

static int osl_set_groups(SSL_CTX *c, const char *list) {
	return SSL_CTX_set1_groups_list(c, list) == 1;
}

/* SSL_CTX_set_cipher_list. */
osl_change_result osl_ctx_set_cipher_list(SSL_CTX *c, const char *list) {
	return osl_set_list(c, list, osl_set_cipher_list);
}

/* SSL_CTX_set_ciphersuites. */
osl_change_result osl_ctx_set_ciphersuites(SSL_CTX *c, const char *list) {
	return osl_set_list(c, list, osl_set_ciphersuites);
}

/* SSL_CTX_set1_groups_list. */
osl_change_result osl_ctx_set_groups(SSL_CTX *c, const char *list) {
	return osl_set_list(c, list, osl_set_groups);
}

/* osl_ctx_set_alpn takes names each behind its length, as they are sent.
 * SSL_CTX_set_alpn_protos on a client, SSL_CTX_set_alpn_select_cb on a server. */
osl_fail *osl_ctx_set_alpn(SSL_CTX *c, int server, const unsigned char *p, size_t n) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);
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

uint64_t osl_ctx_set_options(SSL_CTX *c, uint64_t set, uint64_t clear) {
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

/* osl_put_ciphers appends the protocol's numbers of ciphers, in order. */
static int osl_put_ciphers(osl_bytes *b, const STACK_OF(SSL_CIPHER) *ciphers) {
	int i, n = sk_SSL_CIPHER_num(ciphers);
	unsigned char *ids, *p;

	if (n <= 0)
		return 1;
	if (!(ids = p = OPENSSL_malloc(2 * (size_t)n)))
		return 0;
	for (i = 0; i < n; i++)
		osl_put_be(&p, SSL_CIPHER_get_protocol_id(sk_SSL_CIPHER_value(ciphers, i)), 2);
	return osl_put_der(b, OSL_CIPHERS, ids, 2 * n);
}

/* osl_ctx_identity is all that identifies a server and the CAs it trusts: its
 * leaves, the certificates and revocation lists of its store, the names that it
 * sends, and its ciphers. SSL_get_certificate, X509_STORE_get0_objects,
 * SSL_CTX_get_ciphers. */
osl_bytes osl_ctx_identity(SSL_CTX *c) {
	STACK_OF(X509_OBJECT) *objects;
	const STACK_OF(X509_NAME) *names = SSL_CTX_get_client_CA_list(c);
	osl_bytes b = {NULL, 0, NULL};
	unsigned char *der;
	int i, n, ok = 1;
	long more;
	SSL *ssl;

	osl_enter();
	if (sk_X509_NAME_num(names) <= 0) /* as libssl decides which of its lists to send */
		names = SSL_CTX_get0_CA_list(c);
	/* An SSL has the same leaves; on c it would change which one is the current. */
	if (!(ssl = SSL_new(c)) || !(objects = osl_store_objects(SSL_CTX_get_cert_store(c)))) {
		b.fail = osl_take(0);
		SSL_free(ssl);
		return b;
	}
	for (more = SSL_set_current_cert(ssl, SSL_CERT_SET_FIRST); ok && more == 1;
	     more = SSL_set_current_cert(ssl, SSL_CERT_SET_NEXT)) {
		der = NULL;
		n = i2d_X509(SSL_get_certificate(ssl), &der);
		ok = osl_put_der(&b, OSL_DER_LEAF, der, n);
	}
	SSL_free(ssl);
	for (i = 0; ok && i < sk_X509_OBJECT_num(objects); i++) {
		X509_OBJECT *o = sk_X509_OBJECT_value(objects, i);
		der = NULL;
		if (X509_OBJECT_get_type(o) == X509_LU_X509) {
			n = i2d_X509_AUX(X509_OBJECT_get0_X509(o), &der); /* with what it is trusted for */
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
	osl_store_objects_free(objects);
	ok = ok && osl_put_ciphers(&b, SSL_CTX_get_ciphers(c));
	if (!ok) {
		OPENSSL_free(b.p);
		b = (osl_bytes){NULL, 0, osl_take(0)};
	}
	osl_sweep();
	return b;
}

/* osl_ctx_cipher_names is a name and a NUL for each cipher, in order. SSL_CTX_get_ciphers. */
osl_bytes osl_ctx_cipher_names(SSL_CTX *c) {
	const STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(c);
	osl_bytes b = {NULL, 0, NULL};
	unsigned char *p = NULL;
	const char *name;
	int i;

	osl_enter();
	for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++)
		b.n += strlen(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i))) + 1;
	if (b.n && !(b.p = p = OPENSSL_malloc(b.n)))
		return (osl_bytes){NULL, 0, osl_take(0)};
	for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
		name = SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i));
		memcpy(p, name, strlen(name) + 1);
		p += strlen(name) + 1;
	}
	osl_leave();
	return b;
}

/* osl_ciphers_anonymous reports whether there are suites before TLS 1.3, and none of them needs a
 * certificate. SSL_CIPHER_get_auth_nid. */
static int osl_ciphers_anonymous(const STACK_OF(SSL_CIPHER) *ciphers) {
	int i, nid, some = 0;

	for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
		nid = SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(ciphers, i));
		if (nid == NID_auth_any) /* of TLS 1.3 */
			continue;
		if (nid != NID_auth_null)
			return 0;
		some = 1;
	}
	return some;
}

osl_ctx_settings osl_ctx_get_settings(SSL_CTX *c) {
	osl_ctx_settings f;

	osl_enter();
	f.verify_mode = SSL_CTX_get_verify_mode(c);
	f.verify_depth = SSL_CTX_get_verify_depth(c);
	f.min_version = (int)SSL_CTX_get_min_proto_version(c);
	f.max_version = (int)SSL_CTX_get_max_proto_version(c);
	f.security_level = SSL_CTX_get_security_level(c);
	f.verify_flags = X509_VERIFY_PARAM_get_flags(SSL_CTX_get0_param(c));
	f.host_flags = X509_VERIFY_PARAM_get_hostflags(SSL_CTX_get0_param(c));
	f.anonymous = osl_ciphers_anonymous(SSL_CTX_get_ciphers(c));
	f.has_certificate = SSL_CTX_get0_certificate(c) != NULL;
	f.cache_mode = SSL_CTX_get_session_cache_mode(c);
	f.options = SSL_CTX_get_options(c);
	osl_leave();
	return f;
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

/* osl_ctx_set_keylog has every SSL collect its key log lines. SSL_CTX_set_keylog_callback. */
void osl_ctx_set_keylog(SSL_CTX *c, int on) {
	osl_enter();
	SSL_CTX_set_keylog_callback(c, on ? osl_keylog_cb : NULL);
	osl_leave();
}

/* ---- which libssl ---- */
