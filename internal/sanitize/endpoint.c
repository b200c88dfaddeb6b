#include "endpoint.h"

#include "keys.h"
#include "refusal.h"
#include "resumption.h"
#include "sidctx_cgo.h"
#include "store.h"
#include "tickets.h"

#include <openssl/rand.h>

static const unsigned char sidctx[] = {'d', 'r', 'i', 'v', 'e', 'r'};

_Noreturn void fatal(const char *what) {
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
	osl_ctx_result made = osl_ctx_new(NULL, server);

	must_succeed("osl_ctx_new", made.fail);
	must_succeed("osl_ctx_set_trust", osl_ctx_set_trust(made.ctx, ca->cert, ca->cert_n, server, NULL, 0).fail);
	if (id)
		must_succeed(
			"osl_ctx_use_certificate",
			osl_ctx_use_certificate(made.ctx, id->cert, id->cert_n, OSL_KEY_PLAIN, id->key, id->key_n, NULL, 0).fail);
	return made.ctx;
}

SSL_CTX *new_server(const identity *ca, const identity *id, const settings *s) {
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
SSL_CTX *new_client(const identity *ca, const identity *id, int tickets) {
	SSL_CTX *c = new_ctx(0, ca, id);

	if (!tickets)
		osl_ctx_set_options(c, SSL_OP_NO_TICKET, 0);
	return c;
}

void free_ctx(SSL_CTX *c) {
	osl_ctx_free(c);
}

/* new_endpoint makes an endpoint. A server that suspends stops at every ClientHello. */
void new_endpoint(endpoint *e, SSL_CTX *c, int server, int suspends) {
	osl_ssl_result made = osl_ssl_new(c, server, suspends, sidctx, server ? sizeof sidctx : 0);

	must_succeed("osl_ssl_new", made.fail);
	e->t = made.t;
	e->out_n = 0;
	e->done = e->failed = e->refused = 0;
}

void offer_session(endpoint *client, SSL_SESSION *s) {
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
void do_handshake(endpoint *e, endpoint *peer, SSL_CTX *host) {
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
void send_byte(endpoint *from, endpoint *to) {
	unsigned char byte = 42, got = 0;
	osl_call_result r;

	r = osl_write(from->t, &byte, 1, from->out + from->out_n, sizeof from->out - from->out_n);
	update(from, to, r, "osl_write");
	r = osl_read(to->t, &got, 1, from->out, from->out_n, 0);
	update(to, from, r, "osl_read");
	if (r.want != OSL_DONE || got != byte)
		to->failed = 1;
}

void close_notify(endpoint *e, endpoint *peer) {
	update(e, peer, osl_shutdown(e->t, NULL, 0, 0, e->out + e->out_n, sizeof e->out - e->out_n), "osl_shutdown");
}

/* mark_closed has libssl keep the session when the connection is freed. */
void mark_closed(endpoint *e) {
	osl_keep_session(e->t);
}

/* invalidate_session removes the connection's session from the cache. */
void invalidate_session(endpoint *e) {
	osl_ssl_invalidate_session(e->t);
}

void free_endpoint(endpoint *e) {
	osl_ssl_free(e->t);
}

/* was_resumed reports whether a server's connection was resumed. One that the
 * package would refuse then has failed. */
int was_resumed(endpoint *server) {
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

SSL_SESSION *session_of(endpoint *client) {
	return osl_ssl_session(client->t);
}

SSL_SESSION *share_session(SSL_SESSION *s) {
	return osl_session_share(s);
}

void free_session(SSL_SESSION *s) {
	osl_session_free(s);
}

/* copy_session makes a copy that shares nothing with the original. */
SSL_SESSION *copy_session(SSL_SESSION *s) {
	osl_bytes der = osl_session_der(s);
	osl_session_result made;

	must_succeed("osl_session_der", der.fail);
	made = osl_session_parse(NULL, der.p, der.n);
	must_succeed("osl_session_parse", made.fail);
	osl_bytes_free(der.p, der.n);
	return made.session;
}

/* read_session makes the calls that a program may make on a session it shares. */
void read_session(SSL_SESSION *s) {
	osl_session_result renamed = osl_session_set_sidctx(s, sidctx, sizeof sidctx);
	osl_session_info info;

	must_succeed("osl_session_set_sidctx", renamed.fail);
	osl_session_free(renamed.session);
	osl_session_get_info(s, &info);
}

void flush(SSL_CTX *server, int64_t at) {
	osl_ctx_flush(server, at);
}

cache_state read_cache(SSL_CTX *c) {
	osl_counters n = osl_ctx_counters(c);

	return (cache_state){n.number, n.cache_full, n.accept_good - n.hits - n.number};
}

enum { KEYS = 8 };
static osl_ticket_key keys[KEYS]; /* the maintenance thread's */

/* new_keys makes all of them, for a new run. */
void new_keys(void) {
	if (RAND_bytes((unsigned char *)keys, sizeof keys) != 1)
		fatal("RAND_bytes");
}

/* rotate_keys has tickets sealed by a new key; those of the last keys still open. */
void rotate_keys(SSL_CTX *server) {
	memmove(keys + 1, keys, sizeof keys - sizeof keys[0]);
	if (RAND_bytes((unsigned char *)&keys[0], sizeof keys[0]) != 1)
		fatal("RAND_bytes");
	must_succeed("osl_ctx_set_ticket_keys", osl_ctx_set_ticket_keys(server, (const unsigned char *)keys, KEYS));
}

/* refused_setter calls a setter that must fail. */
void refused_setter(SSL_CTX *c) {
	static const unsigned char long_sidctx[SSL_MAX_SID_CTX_LENGTH + 1];
	osl_fail *f = osl_ctx_set_sidctx(c, long_sidctx, sizeof long_sidctx);

	if (!f)
		fatal("a session id context of 33 bytes was accepted");
	osl_fail_free(f);
}
