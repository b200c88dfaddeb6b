/*
 * A multi-threaded driver over this package's C, for the sanitizers of C: Go's
 * race detector does not see memory of C, and a Go test reaches only those
 * interleavings that the scheduler happens to give it.
 *
 *	driver [-s seconds] [-n handshakes] [-t threads] mode...
 *
 * A mode is one or more runs. In a run a number of threads make connections to
 * one server SSL_CTX, both ends of each in memory, while one more thread does
 * what a program does at the same time: it flushes the cache, rotates ticket keys,
 * reads the counters. A run ends after -s seconds or -n handshakes, whichever
 * comes first, and is reported in one line. The exit status is 1 if a handshake
 * failed, or if a run has resumed nothing, or removed nothing from the cache,
 * where that is what it is to test.
 *
 * See sanitize.sh for how it is compiled and called.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>
#include <openssl/x509v3.h>

/* ---- what the driver uses of the package ----
 *
 * No name of the package's C occurs outside of this part of the file.
 */
#include "refusal.h"
#include "resumption.h"
#include "session.h"
#include "sidctx_cgo.h"
#include "store.h"
#include "tickets.h"

static const unsigned char sidctx[] = {'d', 'r', 'i', 'v', 'e', 'r'};

/* identity is a certificate and its key in PEM. */
typedef struct {
	unsigned char *cert, *key;
	size_t cert_n, key_n;
} identity;

/* settings is how the server of a run is configured. */
typedef struct {
	int version;     /* TLS1_2_VERSION or TLS1_3_VERSION, and no other */
	int stateful;    /* SSL_OP_NO_TICKET: sessions are kept in libssl's cache alone */
	int caps;        /* sessions end with the client's certificate, at the latest */
	int64_t max_age; /* and so many seconds after the handshake; 0 for no bound */
	int defer;       /* client certificates that do not verify are accepted */
	long cache_size; /* 0 for libssl's default */
} settings;

/* endpoint is one end of a connection. */
typedef struct {
	osl_ssl *t;
	unsigned char out[16384]; /* ciphertext for the other endpoint */
	size_t out_n;
	int done, failed, refused;
} endpoint;

static void fatal(const char *what) {
	fprintf(stderr, "driver: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(2);
}

/* print_fail prints a failure and releases it. */
static void print_fail(const char *what, osl_fail *f) {
	const char *text = f->n ? osl_code_text((unsigned long)f->codes[0]) : NULL;

	fprintf(stderr, "driver: %s: %s\n", what, text ? text : "failed");
	osl_fail_free(f);
}

/* must_succeed ends the process if there is a failure. */
static void must_succeed(const char *what, osl_fail *f) {
	if (f) {
		print_fail(what, f);
		exit(2);
	}
}

static SSL_CTX *new_ctx(int server, const identity *ca, const identity *id) {
	osl_ctx_result made = osl_ctx_new(server);

	must_succeed("osl_ctx_new", made.fail);
	must_succeed("osl_ctx_set_trust", osl_ctx_set_trust(made.ctx, ca->cert, ca->cert_n, server, NULL, 0).fail);
	if (id)
		must_succeed("osl_ctx_use_certificate",
		             osl_ctx_use_certificate(made.ctx, id->cert, id->cert_n, id->key, id->key_n).fail);
	return made.ctx;
}

static SSL_CTX *new_server(const identity *ca, const identity *id, const settings *s) {
	SSL_CTX *c = new_ctx(1, ca, id);

	must_succeed("osl_ctx_set_sidctx", osl_ctx_set_sidctx(c, sidctx, sizeof sidctx));
	must_succeed("osl_ctx_set_min_version", osl_ctx_set_min_version(c, s->version));
	must_succeed("osl_ctx_set_max_version", osl_ctx_set_max_version(c, s->version));
	osl_ctx_set_verify(c, SSL_VERIFY_PEER, s->defer, 0);
	osl_ctx_set_checks(c, s->caps, s->max_age);
	if (s->stateful)
		osl_ctx_set_options(c, SSL_OP_NO_TICKET, 0);
	if (s->cache_size)
		osl_ctx_set_cache_size(c, s->cache_size);
	return c;
}

/* new_client makes a client's SSL_CTX. One that knows no tickets leaves
 * session_ticket out of its TLS 1.2 ClientHello. */
static SSL_CTX *new_client(const identity *ca, const identity *id, int tickets) {
	SSL_CTX *c = new_ctx(0, ca, id);

	if (!tickets)
		osl_ctx_set_options(c, SSL_OP_NO_TICKET, 0);
	return c;
}

static void free_ctx(SSL_CTX *c) { osl_ctx_free(c); }

/* new_endpoint makes an endpoint. A server that suspends stops at every ClientHello. */
static void new_endpoint(endpoint *e, SSL_CTX *c, int server, int suspends) {
	osl_ssl_result made = osl_ssl_new(c, server, suspends, sidctx, server ? sizeof sidctx : 0);

	must_succeed("osl_ssl_new", made.fail);
	e->t = made.t;
	e->out_n = 0;
	e->done = e->failed = e->refused = 0;
}

static void offer_session(endpoint *client, SSL_SESSION *s) {
	must_succeed("osl_ssl_set_name", osl_ssl_set_name(client->t, "server.test", 0));
	if (s)
		must_succeed("osl_ssl_set_session", osl_ssl_set_session(client->t, s));
}

/* update accounts for a call: what it read of the peer's ciphertext, what it wrote,
 * and whether it failed. */
static void update(endpoint *e, endpoint *peer, osl_call_result r, const char *what) {
	peer->out_n -= r.used;
	memmove(peer->out, peer->out + r.used, peer->out_n);
	e->out_n += r.out;
	e->refused = r.refused;
	if (r.spilled)
		fatal("a flight is longer than the buffer for it");
	if (r.want == OSL_FAILED || r.want == OSL_EOF || r.want == OSL_CLOSE_NOTIFY) {
		e->failed = 1;
		if (r.fail)
			print_fail(what, r.fail);
		else
			fprintf(stderr, "driver: %s: the connection has ended\n", what);
	}
}

/* do_handshake continues a handshake. A suspended ClientHello is answered with host. */
static void do_handshake(endpoint *e, endpoint *peer, SSL_CTX *host) {
	osl_call_result r = osl_handshake(e->t, peer->out, peer->out_n, 0, 0, e->out + e->out_n, sizeof e->out - e->out_n);

	update(e, peer, r, "osl_handshake");
	if (r.want == OSL_HELLO) {
		osl_bytes hello = osl_ssl_hello(e->t);

		osl_bytes_free(hello.p, hello.n);
		must_succeed("osl_ssl_set_ctx", osl_ssl_set_ctx(e->t, host, sidctx, sizeof sidctx));
		r = osl_handshake(e->t, peer->out, peer->out_n, 0, 0, e->out + e->out_n, sizeof e->out - e->out_n);
		update(e, peer, r, "osl_handshake");
	}
	if (r.want == OSL_DONE && r.tickets_held) {
		r = osl_issue_tickets(e->t, e->out + e->out_n, sizeof e->out - e->out_n);
		update(e, peer, r, "osl_issue_tickets");
	}
	e->done = r.want == OSL_DONE;
}

/* send_byte sends one byte of data. The receiver reads what comes before it, too: a
 * TLS 1.3 client its tickets. */
static void send_byte(endpoint *from, endpoint *to) {
	unsigned char byte = 42, got = 0;
	osl_call_result r;

	r = osl_write(from->t, &byte, 1, from->out + from->out_n, sizeof from->out - from->out_n);
	update(from, to, r, "osl_write");
	r = osl_read(to->t, &got, 1, from->out, from->out_n, 0);
	update(to, from, r, "osl_read");
	if (r.want != OSL_DONE || got != byte)
		to->failed = 1;
}

static void close_notify(endpoint *e, endpoint *peer) {
	update(e, peer, osl_shutdown(e->t, NULL, 0, 0, e->out + e->out_n, sizeof e->out - e->out_n), "osl_shutdown");
}

/* mark_closed has libssl keep the session when the connection is freed. */
static void mark_closed(endpoint *e) { osl_keep_session(e->t); }

/* invalidate_session removes the connection's session from the cache. */
static void invalidate_session(endpoint *e) { osl_ssl_invalidate_session(e->t); }

static void free_endpoint(endpoint *e) { osl_ssl_free(e->t); }

/* was_resumed reports whether a server's connection was resumed. One that the
 * package would refuse then has failed. */
static int was_resumed(endpoint *server) {
	osl_state s;
	osl_bytes certs = osl_ssl_peer_certs(server->t);

	osl_bytes_free(certs.p, certs.n);
	osl_ssl_state(server->t, &s);
	if (server->refused != OSL_ACCEPTED) {
		fprintf(stderr, "driver: a resumption is refused, reason %d\n", server->refused);
		server->failed = 1;
	}
	return s.reused;
}

static SSL_SESSION *session_of(endpoint *client) { return osl_ssl_session(client->t); }

static SSL_SESSION *share_session(SSL_SESSION *s) { return osl_session_share(s); }

static void free_session(SSL_SESSION *s) { osl_session_free(s); }

/* copy_session makes a copy that shares nothing with the original. */
static SSL_SESSION *copy_session(SSL_SESSION *s) {
	osl_bytes der = osl_session_der(s);
	osl_session_result made;

	must_succeed("osl_session_der", der.fail);
	made = osl_session_parse(der.p, der.n);
	must_succeed("osl_session_parse", made.fail);
	osl_bytes_free(der.p, der.n);
	return made.session;
}

/* read_session makes the calls that a program may make on a session it shares. */
static void read_session(SSL_SESSION *s) {
	osl_session_result renamed = osl_session_set_sidctx(s, sidctx, sizeof sidctx);
	osl_session_info info;

	must_succeed("osl_session_set_sidctx", renamed.fail);
	osl_session_free(renamed.session);
	osl_session_get_info(s, &info);
}

static void flush(SSL_CTX *server, int64_t at) { osl_ctx_flush(server, at); }

/* cache_state is what the counters of an SSL_CTX say of its cache. */
typedef struct {
	long sessions, evicted;
	long removed; /* by a flush, by an eviction, or one by one */
} cache_state;

static cache_state read_cache(SSL_CTX *c) {
	osl_counters n = osl_ctx_counters(c);

	return (cache_state){n.number, n.cache_full, n.accept_good - n.hits - n.number};
}

enum { KEYS = 8 };
static osl_ticket_key keys[KEYS]; /* the maintenance thread's */

/* rotate_keys has tickets sealed by a new key; those of the last keys still open. */
static void rotate_keys(SSL_CTX *server) {
	memmove(keys + 1, keys, sizeof keys - sizeof keys[0]);
	if (RAND_bytes((unsigned char *)&keys[0], sizeof keys[0]) != 1)
		fatal("RAND_bytes");
	must_succeed("osl_ctx_set_ticket_keys", osl_ctx_set_ticket_keys(server, (const unsigned char *)keys, KEYS));
}

/* refused_setter calls a setter that must fail. */
static void refused_setter(SSL_CTX *c) {
	static const unsigned char long_sidctx[SSL_MAX_SID_CTX_LENGTH + 1];
	osl_fail *f = osl_ctx_set_sidctx(c, long_sidctx, sizeof long_sidctx);

	if (!f)
		fatal("a session id context of 33 bytes was accepted");
	osl_fail_free(f);
}

/* ---- certificates ---- */

static identity ca, server_id, client_id, expired_id;

static EVP_PKEY *new_key(void) {
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	if (!c || EVP_PKEY_keygen_init(c) != 1 ||
	    EVP_PKEY_CTX_set_ec_paramgen_curve_nid(c, NID_X9_62_prime256v1) != 1 || EVP_PKEY_keygen(c, &key) != 1)
		fatal("EVP_PKEY_keygen");
	EVP_PKEY_CTX_free(c);
	return key;
}

static void add_extension(X509 *x, int nid, const char *value) {
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	if (!e || X509_add_ext(x, e, -1) != 1)
		fatal("X509_add_ext");
	X509_EXTENSION_free(e);
}

static X509_NAME *new_name(const char *common_name) {
	X509_NAME *name = X509_NAME_new();

	if (!name || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) != 1)
		fatal("X509_NAME_add_entry_by_txt");
	return name;
}

/* take_pem moves what a BIO holds into memory. */
static unsigned char *take_pem(BIO *b, size_t *n) {
	char *p;
	long k = BIO_get_mem_data(b, &p);
	unsigned char *pem = k > 0 ? OPENSSL_memdup(p, (size_t)k) : NULL;

	if (!pem)
		fatal("OPENSSL_memdup");
	*n = (size_t)k;
	BIO_free(b);
	return pem;
}

/* issue makes a certificate that is signed by the CA, whose key it returns if it
 * is the CA's own. It ends so many seconds from now. */
static EVP_PKEY *issue(identity *id, const char *common_name, EVP_PKEY *ca_key, long ends) {
	static long serial;
	EVP_PKEY *key = new_key();
	X509_NAME *subject = new_name(common_name), *issuer = new_name("test CA");
	BIO *cert = BIO_new(BIO_s_mem()), *pkey = BIO_new(BIO_s_mem());
	X509 *x = X509_new();
	char san[64];

	if (!x || !cert || !pkey || X509_set_version(x, 2) != 1 || ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial) != 1 ||
	    !X509_gmtime_adj(X509_getm_notBefore(x), -3600) || !X509_gmtime_adj(X509_getm_notAfter(x), ends) ||
	    X509_set_subject_name(x, subject) != 1 || X509_set_issuer_name(x, issuer) != 1 || X509_set_pubkey(x, key) != 1)
		fatal("X509_new");
	snprintf(san, sizeof san, "DNS:%s", common_name);
	if (ca_key)
		add_extension(x, NID_subject_alt_name, san);
	else
		add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
	if (X509_sign(x, ca_key ? ca_key : key, EVP_sha256()) <= 0 || PEM_write_bio_X509(cert, x) != 1 ||
	    PEM_write_bio_PrivateKey(pkey, key, NULL, NULL, 0, NULL, NULL) != 1)
		fatal("X509_sign");
	id->cert = take_pem(cert, &id->cert_n);
	id->key = take_pem(pkey, &id->key_n);
	X509_NAME_free(subject);
	X509_NAME_free(issuer);
	X509_free(x);
	if (!ca_key)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

static void issue_all(void) {
	EVP_PKEY *ca_key = issue(&ca, "test CA", NULL, 86400);

	issue(&server_id, "server.test", ca_key, 86400);
	issue(&client_id, "client.test", ca_key, 86400);
	issue(&expired_id, "expired.test", ca_key, -60);
	EVP_PKEY_free(ca_key);
}

static void free_identity(identity *id) {
	OPENSSL_free(id->cert);
	OPENSSL_clear_free(id->key, id->key_n);
}

static void free_identities(void) {
	free_identity(&ca);
	free_identity(&server_id);
	free_identity(&client_id);
	free_identity(&expired_id);
}

/* ---- runs ---- */

typedef struct run run;

/* A worker is one thread that makes connections. */
typedef struct {
	const run *run;
	int index;
	SSL_SESSION *own;
	pthread_t thread;
} worker;

struct run {
	const char *mode, *about;
	settings server;
	void (*connect)(worker *w); /* the connections of one round */
	void (*maintain)(void);     /* what the maintenance thread repeats; NULL for nothing */
	int must_resume;            /* so many of 100 handshakes, at least */
	int must_remove;            /* sessions must have left the cache before their time */
};

static SSL_CTX *server, *host;               /* of this run; host has the same settings */
static SSL_CTX *no_cert, *no_cert_no_ticket; /* clients without a certificate */
static SSL_CTX *with_cert, *cert_no_ticket;  /* with one */
static SSL_CTX *expired_cert;                /* with one that has expired, without tickets */
static SSL_SESSION *shared;                  /* the session that all threads offer */
static SSL_SESSION *last;                    /* the last one in a mix, of any thread */
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static double seconds = 5;
static long limit; /* of handshakes in a run, 0 for none */
static int threads = 8;

static double run_ends;
static atomic_long handshakes, resumed, failed;
static atomic_int working;

static double now(void) {
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int goes_on(void) {
	return now() < run_ends && (!limit || atomic_load(&handshakes) < limit);
}

/* How a connection is closed. */
enum {
	CLOSED,  /* by close_notify on both sides */
	DROPPED, /* without, but marked as if */
	BROKEN,  /* without: libssl then removes the session from the cache */
	REFUSED  /* the server refuses the client, and removes its session */
};

/* connect_pair makes one connection and counts it. It returns the client's session,
 * which the caller frees, or NULL. */
static SSL_SESSION *connect_pair(SSL_CTX *client, SSL_SESSION *offered, int suspends, int closing) {
	SSL_SESSION *got = NULL;
	endpoint c, s;
	int i;

	new_endpoint(&c, client, 0, 0);
	new_endpoint(&s, server, 1, suspends);
	offer_session(&c, offered);
	for (i = 0; i < 4 && !(c.done && s.done) && !c.failed && !s.failed; i++) {
		if (!c.done)
			do_handshake(&c, &s, NULL);
		if (!s.done)
			do_handshake(&s, &c, host);
	}
	if (!c.failed && !s.failed && c.done && s.done) {
		send_byte(&s, &c);
		send_byte(&c, &s);
	}
	atomic_fetch_add(&handshakes, 1);
	if (c.done && s.done && was_resumed(&s))
		atomic_fetch_add(&resumed, 1);
	if (c.failed || s.failed || !c.done || !s.done)
		atomic_fetch_add(&failed, 1);
	else
		got = session_of(&c);
	switch (closing) {
	case CLOSED:
		close_notify(&c, &s);
		close_notify(&s, &c);
		break;
	case DROPPED:
		mark_closed(&c);
		mark_closed(&s);
		break;
	case REFUSED:
		invalidate_session(&s);
	}
	free_endpoint(&c);
	free_endpoint(&s);
	return got;
}

/* connect_and_close makes a connection and frees its session. */
static void connect_and_close(SSL_CTX *client, SSL_SESSION *offered) {
	free_session(connect_pair(client, offered, 0, DROPPED));
}

/* Clients offer a session that is in the server's cache, by its id, and an empty
 * session_ticket extension. Each thread has a copy of its own; on the server all of
 * them are one SSL_SESSION. */
static void connect_empty_ticket(worker *w) {
	if (!w->own)
		w->own = copy_session(shared);
	connect_and_close(no_cert, w->own);
}

/* New sessions enter the cache all the time. */
static void connect_new(worker *w) {
	(void)w;
	connect_and_close(no_cert_no_ticket, NULL);
}

/* flush_all takes every session out of the cache, whenever it ends. */
static void flush_all(void) {
	flush(server, (int64_t)time(NULL) + 2 * 86400);
	usleep(200);
}

/* A quarter of the clients have an expired certificate: their sessions have expired
 * when they are made, and are the first to be evicted. The others fill the cache, and
 * one of them resumes. */
static void connect_full_cache(worker *w) {
	SSL_SESSION *s;

	switch (w->index % 4) {
	case 0:
		connect_and_close(expired_cert, NULL);
		break;
	case 1:
		if ((s = connect_pair(cert_no_ticket, NULL, 0, DROPPED)) != NULL && w->index == 1)
			connect_and_close(cert_no_ticket, s);
		free_session(s);
		break;
	default:
		connect_and_close(no_cert_no_ticket, NULL);
	}
}

/* Connections of many threads offer one and the same SSL_SESSION. */
static void connect_shared(worker *w) {
	connect_and_close(w->index % 2 || !w->run->server.stateful ? with_cert : cert_no_ticket, shared);
	read_session(shared);
	if (w->index == 0)
		free_session(copy_session(shared));
}

/* replace_last replaces the session that the threads of a mix offer. It returns the
 * old one, which the caller frees. */
static SSL_SESSION *replace_last(SSL_SESSION *s) {
	SSL_SESSION *old;

	pthread_mutex_lock(&last_lock);
	old = last;
	last = s;
	pthread_mutex_unlock(&last_lock);
	return old;
}

/* get_last returns the session that the threads of a mix offer, which the caller
 * frees, or NULL. */
static SSL_SESSION *get_last(void) {
	SSL_SESSION *s;

	pthread_mutex_lock(&last_lock);
	s = last ? share_session(last) : NULL;
	pthread_mutex_unlock(&last_lock);
	return s;
}

/* Clients that do and do not know tickets connect to servers that do and do not
 * suspend the ClientHello. They offer what they or another thread were given last,
 * and close the connection in one of four ways. */
static void connect_mix(worker *w) {
	SSL_CTX *client = w->index % 2 ? with_cert : cert_no_ticket;
	int suspends = w->index / 2 % 2;
	SSL_SESSION *s;

	free_session(replace_last(connect_pair(client, NULL, suspends, CLOSED)));
	s = get_last();
	free_session(connect_pair(client, s, suspends, w->index % 4));
	free_session(s);
}

/* maintain makes the calls that a program makes on a server that is in use, and
 * configures another one. */
static void maintain(void) {
	static const settings any = {.version = TLS1_3_VERSION, .caps = 1};
	static int n;

	free_ctx(new_server(&ca, &server_id, &any));
	refused_setter(no_cert);
	rotate_keys(server);
	flush(server, (int64_t)time(NULL) + (++n % 10 ? 0 : 2 * 86400)); /* what has ended, or everything */
	read_cache(server);
	usleep(20000);
}

static const run runs[] = {
	{"empty-ticket", "TLS 1.2", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
	 connect_empty_ticket, NULL, 90, 0},
	{"flush", "TLS 1.2", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 60},
	 connect_new, flush_all, 0, 1},
	{"flush", "TLS 1.3", {.version = TLS1_3_VERSION, .stateful = 1, .caps = 1, .max_age = 60},
	 connect_new, flush_all, 0, 1},
	{"full-cache", "TLS 1.2", {.version = TLS1_2_VERSION, .caps = 1, .defer = 1, .cache_size = 10},
	 connect_full_cache, NULL, 0, 1},
	{"full-cache", "TLS 1.3", {.version = TLS1_3_VERSION, .stateful = 1, .caps = 1, .defer = 1, .cache_size = 10},
	 connect_full_cache, NULL, 0, 1},
	{"shared", "TLS 1.2 tickets", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
	 connect_shared, NULL, 90, 0},
	{"shared", "TLS 1.2 cache", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
	 connect_shared, NULL, 90, 0},
	{"shared", "TLS 1.3 tickets", {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400},
	 connect_shared, NULL, 90, 0},
	{"shared", "TLS 1.3 cache", {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
	 connect_shared, NULL, 90, 0},
	{"mix", "TLS 1.2 tickets, caps", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400},
	 connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.2 cache, caps", {.version = TLS1_2_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
	 connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 tickets, caps", {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400},
	 connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 cache, caps", {.version = TLS1_3_VERSION, .caps = 1, .max_age = 86400, .stateful = 1},
	 connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.2 tickets", {.version = TLS1_2_VERSION}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.2 cache", {.version = TLS1_2_VERSION, .stateful = 1}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 tickets", {.version = TLS1_3_VERSION}, connect_mix, maintain, 20, 0},
	{"mix", "TLS 1.3 cache", {.version = TLS1_3_VERSION, .stateful = 1}, connect_mix, maintain, 20, 0},
};

static void *work(void *arg) {
	worker *w = arg;

	do
		w->run->connect(w);
	while (goes_on());
	free_session(w->own);
	atomic_fetch_sub(&working, 1);
	return NULL;
}

static void *run_maintenance(void *arg) {
	const run *r = arg;

	while (atomic_load(&working) > 0)
		r->maintain();
	return NULL;
}

/* complain prints why a run has failed, and returns 1. */
static int complain(const run *r, const char *why) {
	printf("FAIL %s, %s: %s\n", r->mode, r->about, why);
	return 1;
}

/* execute does one run, and returns 1 if it has failed, else 0. */
static int execute(const run *r) {
	pthread_t maintenance;
	cache_state cache;
	worker *w = calloc((size_t)threads, sizeof *w);
	int i, bad = 0;

	if (!w)
		fatal("calloc");
	server = new_server(&ca, &server_id, &r->server);
	host = new_server(&ca, &server_id, &r->server);
	if (RAND_bytes((unsigned char *)keys, sizeof keys) != 1)
		fatal("RAND_bytes");
	shared = NULL;
	if (r->connect == connect_empty_ticket)
		shared = connect_pair(no_cert_no_ticket, NULL, 0, DROPPED);
	if (r->connect == connect_shared)
		shared = connect_pair(with_cert, NULL, 0, DROPPED);
	if (!shared && (r->connect == connect_empty_ticket || r->connect == connect_shared))
		fatal("there is no session to offer");
	atomic_store(&handshakes, 0);
	atomic_store(&resumed, 0);
	atomic_store(&failed, 0);
	atomic_store(&working, threads);
	run_ends = now() + seconds;
	for (i = 0; i < threads; i++) {
		w[i].run = r;
		w[i].index = i;
		if (pthread_create(&w[i].thread, NULL, work, &w[i]) != 0)
			fatal("pthread_create");
	}
	if (r->maintain && pthread_create(&maintenance, NULL, run_maintenance, (void *)r) != 0)
		fatal("pthread_create");
	for (i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	if (r->maintain)
		pthread_join(maintenance, NULL);
	free(w);
	cache = read_cache(server);
	printf("%s, %s: %ld handshakes, %ld resumed, %ld failed, %ld in the cache, %ld evicted\n", r->mode, r->about,
	       handshakes, resumed, failed, cache.sessions, cache.evicted);
	if (failed)
		bad = complain(r, "a handshake failed");
	if (resumed * 100 < handshakes * r->must_resume)
		bad = complain(r, "too little was resumed");
	if (r->must_remove && cache.removed <= 0)
		bad = complain(r, "no session was taken out of the cache");
	if (r->server.cache_size && cache.evicted <= 0)
		bad = complain(r, "the cache was never full");
	fflush(stdout);
	free_session(shared);
	free_session(replace_last(NULL));
	free_ctx(server);
	free_ctx(host);
	return bad;
}

static void usage(void) {
	size_t i;

	fputs("usage: driver [-s seconds] [-n handshakes] [-t threads] mode...\nmodes:", stderr);
	for (i = 0; i < sizeof runs / sizeof *runs; i++)
		if (i == 0 || strcmp(runs[i].mode, runs[i - 1].mode) != 0)
			fprintf(stderr, " %s", runs[i].mode);
	fputs("\n", stderr);
	exit(2);
}

int main(int argc, char **argv) {
	int bad = 0, some, o;
	size_t i;

	while ((o = getopt(argc, argv, "s:n:t:")) != -1) {
		if (o == 's')
			seconds = atof(optarg);
		else if (o == 'n')
			limit = atol(optarg);
		else if (o == 't')
			threads = atoi(optarg);
		else
			usage();
	}
	if (optind == argc || seconds <= 0 || limit < 0 || threads < 1)
		usage();
	issue_all();
	no_cert = new_client(&ca, NULL, 1);
	no_cert_no_ticket = new_client(&ca, NULL, 0);
	with_cert = new_client(&ca, &client_id, 1);
	cert_no_ticket = new_client(&ca, &client_id, 0);
	expired_cert = new_client(&ca, &expired_id, 0);
	for (; optind < argc; optind++) {
		for (some = 0, i = 0; i < sizeof runs / sizeof *runs; i++) {
			if (strcmp(runs[i].mode, argv[optind]) != 0)
				continue;
			some = 1;
			alarm((unsigned)seconds + 120); /* threads that wait for each other end the process */
			bad |= execute(&runs[i]);
		}
		if (!some)
			usage();
	}
	free_ctx(no_cert);
	free_ctx(no_cert_no_ticket);
	free_ctx(with_cert);
	free_ctx(cert_no_ticket);
	free_ctx(expired_cert);
	free_identities();
	return bad;
}
