/*
 * What the C programs share: certificates made at run time, a client and a
 * server over memory, and lines "key: value" for the test to compare.
 */
#ifndef PAIR_H
#define PAIR_H

#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x) must((x), #x, __LINE__)

static inline void must(int ok, const char *what, int line) {
	if (ok)
		return;
	fprintf(stderr, "line %d: %s\n", line, what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* say prints one line. */
static inline void say(const char *key, const char *format, ...) {
	va_list args;

	printf("%s: ", key);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* path joins parts to a key; it is good until it has been called 64 times more. */
static inline const char *path(const char *a, const char *b, const char *c) {
	static char keys[64][128];
	static int n;
	char *key = keys[n++ % 64];

	snprintf(key, sizeof keys[0], "%s%s%s%s%s", a, b ? "/" : "", b ? b : "", c ? "/" : "", c ? c : "");
	return key;
}

static inline const char *protocol(int version) {
	return version == TLS1_2_VERSION ? "TLS1.2" : "TLS1.3";
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* ---- certificates ---- */

static inline void identity(SSL_CTX *c, const char *name) {
	EVP_PKEY_CTX *gen = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	X509 *x = X509_new();
	EVP_PKEY *key = NULL;
	X509_NAME *subject = X509_NAME_new();

	MUST(gen && x && subject && EVP_PKEY_keygen_init(gen) == 1);
	MUST(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(gen, NID_X9_62_prime256v1) == 1);
	MUST(EVP_PKEY_keygen(gen, &key) == 1);
	MUST(X509_set_version(x, 2) && ASN1_INTEGER_set(X509_get_serialNumber(x), 1));
	MUST(X509_gmtime_adj(X509_getm_notBefore(x), -3600) && X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	MUST(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
	MUST(X509_set_subject_name(x, subject) && X509_set_issuer_name(x, subject));
	MUST(X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()));
	MUST(SSL_CTX_use_certificate(c, x) == 1 && SSL_CTX_use_PrivateKey(c, key) == 1);
	X509_NAME_free(subject);
	X509_free(x);
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(gen);
}

static inline int accept_all(int ok, X509_STORE_CTX *store) {
	(void)ok, (void)store;
	return 1;
}

/* ---- recipes ---- */

static inline SSL_CTX *recipe(const SSL_METHOD *method, int version) {
	SSL_CTX *c = SSL_CTX_new(method);

	MUST(c != NULL);
	MUST(SSL_CTX_set_min_proto_version(c, version) == 1 && SSL_CTX_set_max_proto_version(c, version) == 1);
	return c;
}

static inline void name_context(SSL_CTX *c, const char *sid) {
	MUST(SSL_CTX_set_session_id_context(c, (const unsigned char *)sid, (unsigned int)strlen(sid)) == 1);
}

/* server has a certificate and, unless it is NULL, a session id context. */
static inline SSL_CTX *server(int version, const char *sid) {
	SSL_CTX *c = recipe(TLS_server_method(), version);

	identity(c, "server.test");
	if (sid)
		name_context(c, sid);
	return c;
}

/* client verifies nothing and has no certificate. */
static inline SSL_CTX *client(int version) {
	return recipe(TLS_client_method(), version);
}

/* ---- the mechanisms ---- */

static const char *const mechanisms[] = {"ticket", "stateful", "external"};

static SSL_SESSION *stored[16];
static int stored_n;

static inline int store_new(SSL *ssl, SSL_SESSION *s) {
	(void)ssl;
	MUST(stored_n < 16);
	stored[stored_n++] = s;
	return 1; /* the reference is ours */
}

static inline SSL_SESSION *store_get(SSL *ssl, const unsigned char *id, int n, int *copy) {
	unsigned int len;
	int i;

	(void)ssl;
	*copy = 1;
	for (i = 0; i < stored_n; i++) {
		const unsigned char *p = SSL_SESSION_get_id(stored[i], &len);
		if ((int)len == n && memcmp(p, id, len) == 0)
			return stored[i];
	}
	return NULL;
}

static inline void store_clear(void) {
	while (stored_n > 0)
		SSL_SESSION_free(stored[--stored_n]);
}

/* remember gives a server one of the mechanisms. */
static inline void remember(SSL_CTX *c, const char *mechanism) {
	if (strcmp(mechanism, "ticket") == 0)
		return;
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
	if (strcmp(mechanism, "external") != 0)
		return;
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c, store_new);
	SSL_CTX_sess_set_get_cb(c, store_get);
}

/* ---- a connection ---- */

typedef struct {
	SSL *c, *s;
	int c_reason, s_reason; /* 0 for none */
	char text[64];          /* see outcome */
} pair;

/* join makes the wire between two machines. */
static inline pair join(SSL *c, SSL *s) {
	BIO *there = BIO_new(BIO_s_mem()), *back = BIO_new(BIO_s_mem());
	pair p = {c, s, 0, 0, ""};

	MUST(c && s && there && back);
	BIO_set_mem_eof_return(there, -1);
	BIO_set_mem_eof_return(back, -1);
	MUST(BIO_up_ref(there) && BIO_up_ref(back));
	SSL_set_bio(c, back, there);
	SSL_set_bio(s, there, back);
	SSL_set_connect_state(c);
	SSL_set_accept_state(s);
	return p;
}

static inline pair meet(SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer) {
	pair p = join(SSL_new(c), SSL_new(s));

	if (offer)
		MUST(SSL_set_session(p.c, offer) == 1);
	return p;
}

/* step goes on with one end's handshake and reports whether it is over. */
static inline int step(SSL *ssl, int *reason) {
	int r;

	if (*reason)
		return 1;
	ERR_clear_error();
	r = SSL_do_handshake(ssl);
	if (r == 1)
		return 1;
	switch (SSL_get_error(ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		break;
	default:
		*reason = ERR_peek_error() ? (int)ERR_GET_REASON(ERR_peek_error()) : -1;
	}
	ERR_clear_error();
	return *reason != 0;
}

/* read_tickets has the client read what stands behind the handshake. */
static inline void read_tickets(pair *p) {
	char byte;

	ERR_clear_error();
	if (SSL_read(p->c, &byte, 1) <= 0 && ERR_peek_error())
		p->c_reason = ERR_GET_REASON(ERR_peek_error());
	ERR_clear_error();
}

/* shake does the handshake and reports whether both ends are content. */
static inline int shake(pair *p) {
	int i, c = 0, s = 0;

	for (i = 0; i < 20 && !(c && s); i++) {
		c = step(p->c, &p->c_reason);
		s = step(p->s, &p->s_reason);
	}
	MUST(c && s);
	if (!p->c_reason)
		read_tickets(p);
	return !p->c_reason && !p->s_reason;
}

/* outcome is R, f, or each end's reason. */
static inline const char *outcome(pair *p) {
	if (p->c_reason || p->s_reason)
		snprintf(p->text, sizeof p->text, "server %d client %d", p->s_reason, p->c_reason);
	else if (SSL_session_reused(p->c) != SSL_session_reused(p->s))
		snprintf(p->text, sizeof p->text, "the ends do not agree");
	else
		snprintf(p->text, sizeof p->text, "%s", SSL_session_reused(p->s) ? "R" : "f");
	return p->text;
}

/* part ends a connection so that its session lives on. */
static inline void part(pair *p) {
	if (!p->c_reason && !p->s_reason) {
		SSL_shutdown(p->c);
		SSL_shutdown(p->s);
	}
	SSL_free(p->c);
	SSL_free(p->s);
	ERR_clear_error();
}

/* visit does all of it and returns the client's session, which the caller frees. */
static inline SSL_SESSION *visit(SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer, char *result, size_t n) {
	pair p = meet(c, s, offer);
	SSL_SESSION *session;

	shake(&p);
	if (result)
		snprintf(result, n, "%s", outcome(&p));
	session = SSL_get1_session(p.c);
	part(&p);
	return session;
}

/* try_session is visit for those who only want to know. */
static inline const char *try_session(SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer) {
	static char result[64];

	SSL_SESSION_free(visit(c, s, offer, result, sizeof result));
	return result;
}

/* context_of is the session id context of a session, good until the fourth call after. */
static inline const char *context_of(const SSL_SESSION *s) {
	static char names[4][SSL_MAX_SID_CTX_LENGTH + 1];
	static int i;
	const unsigned char *p;
	unsigned int n;
	char *name = names[i++ % 4];

	if (!s)
		return "no session";
	p = SSL_SESSION_get0_id_context(s, &n);
	memcpy(name, p, n);
	name[n] = 0;
	return n ? name : "empty";
}

static inline void name_own(SSL *ssl, const char *sid) {
	MUST(SSL_set_session_id_context(ssl, (const unsigned char *)sid, (unsigned int)strlen(sid)) == 1);
}

/* A client that is sent a HelloRetryRequest: it guesses a group that the server does not take. */
static inline void ask_again(SSL_CTX *c, SSL_CTX *s) {
	MUST(SSL_CTX_set1_groups_list(c, "X25519:P-256") == 1 && SSL_CTX_set1_groups_list(s, "P-256") == 1);
}

#endif
