/*
 * SSL over memory. The caller lends ciphertext and plaintext for the length of
 * one call. The BIO reads from what was lent and asks for more; its write side
 * always accepts, so that no call ever wants to write.
 */
#ifndef OSL_SSL_H
#define OSL_SSL_H

#include "ctx.h"
#include "hello.h"

#include <stdbool.h>
#include <openssl/bio.h>

enum { OSL_MAX_TICKETS = 4 }; /* that wait for osl_ssl_ticket: libssl's servers send two */

struct osl_ssl {
	SSL *ssl;

	/* Lent for the length of one call, NULL between calls. */
	const unsigned char *in;
	size_t in_n;
	unsigned char *out;
	size_t out_n, out_cap;

	int eof;     /* the input has ended behind what is lent */
	int saw_eof; /* and libssl has met that end in this call */

	int key_updates; /* since data was last read */
	int releases;    /* the SSL_CTX has SSL_MODE_RELEASE_BUFFERS, for the time after the handshake */

	/* Ciphertext that found no room in what was lent. */
	unsigned char *spill;
	size_t spill_r, spill_n, spill_cap;

	/* The suspended ClientHello. */
	int suspends;          /* libssl is suspended at each ClientHello */
	int suspended;         /* suspended: hello holds a copy */
	int resume;            /* it may go on, until a HelloRetryRequest brings another one */
	int hellos;            /* ClientHellos that have gone through: contexts are too late */
	int64_t hello_done_at; /* seconds; what is checked afterwards is held against that moment */
	int refuse;            /* the alert to refuse with, -1 for none */
	unsigned char *hello;
	size_t hello_n;

	SSL_SESSION *offered; /* a client's own copy of what it offers */
	int offer_was_good;   /* it could be resumed when it was set */

	int verify_fault; /* the last fault of the peer's chain */

	int name_set; /* a client expects a name in the certificate, or an address */
	char *ip;     /* the address, NULL for a name */

	int name_unused; /* a server serves the client under no name that it has asked for */

	SSL_SESSION *last; /* a client's, held so that its address stays taken while it is compared */
	int got_ticket;    /* a newer session has arrived since the handshake */
	int new_session;   /* or in this call */

	/* A client's TLS 1.3 sessions that wait for osl_ssl_ticket, the oldest first. */
	SSL_SESSION *tickets[OSL_MAX_TICKETS];
	size_t tickets_n;

	/* The resumption that a client asks a server for. */
	SSL_CTX *first_ctx; /* that ssl was made from; its cache, keys and counters hold throughout */
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH]; /* in force; libssl has no getter */
	size_t sidctx_n;
	osl_offer offer;
	const SSL_SESSION *decrypted; /* the session of the client's ticket, which no other connection has */
	int resumption;
	int refused;
	int alert;           /* that osl_alert_cb refuses with, -1 for none */
	size_t held_tickets; /* that wait for osl_issue_tickets */
	int forget_offer;    /* the session that was offered, in TLS 1.3 */
	long timeouts;       /* of the listener, before the decision */

	/* An external store's side. */
	SSL_SESSION *answers[OSL_MAX_IDS]; /* what it has found, kept for the whole handshake */
	size_t answers_n;
	const SSL_SESSION *found;    /* the one of them that libssl was given */
	unsigned char *new_sessions; /* new sessions since they were last collected, see osl_new_session_cb */
	size_t new_sessions_n;

	osl_psks psks;      /* of this connection alone */
	int psk_found;      /* a server has given libssl a PSK for the last identity that it was asked for */
	uintptr_t psk_mark; /* of the session that a client has given libssl for its PSK, 0 for none */

	unsigned char *keylog; /* lines since they were last collected */
	size_t keylog_n;
};

typedef struct {
	osl_ssl *t;
	osl_fail *fail;
} osl_ssl_result;

enum {
	OSL_DONE,         /* did what was asked */
	OSL_INPUT,        /* wants ciphertext */
	OSL_HELLO,        /* wants an answer to a ClientHello */
	OSL_CLOSE_NOTIFY, /* the peer has sent close_notify */
	OSL_EOF,          /* the input ended without one */
	OSL_FAILED        /* fail says why */
};

/* osl_call_result is what one call has done. Bytes that were read or
 * written count also when want is not OSL_DONE. */
typedef struct {
	size_t n;       /* plaintext read or written */
	size_t used;    /* ciphertext taken from in */
	size_t out;     /* ciphertext left in out */
	size_t spilled; /* more of it waits for osl_drain */
	osl_fail *fail;
	int hellos; /* ClientHellos that have gone through: contexts are too late */
	unsigned char want;
	bool pending;          /* plaintext waits in libssl */
	bool got_ticket;       /* a session has arrived after the handshake */
	bool new_session;      /* a client's connection has another session than before */
	bool keylog;           /* lines wait for osl_ssl_keylog */
	unsigned char refused; /* why the connection is refused, or OSL_ACCEPTED */
	bool resuming;         /* a server that resumes a TLS 1.2 session has sent nothing of its side yet */
	bool tickets_held;     /* osl_issue_tickets is to be called */
	bool has_new_sessions; /* sessions wait for osl_ssl_sessions_made */
	bool offer_invalid;    /* the session that a client offers cannot be resumed any more */
	bool has_peer;         /* at a handshake's end: the peer has presented a certificate */
	unsigned char resumption;
} osl_call_result;

typedef struct {
	int version, reused, done, verify_result, cipher;
	int group; /* the protocol's number of it, 0 for none and for an unknown one */
	char cipher_name[64];
	char group_name[64];
	unsigned char alpn[256];
	size_t alpn_n;
	char server_name[256];
	size_t server_name_n;
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH];
	size_t sidctx_n;
	char psk_identity[PSK_MAX_IDENTITY_LEN + 1];
} osl_state;

void osl_ssl_free(osl_ssl *t);
void osl_ssl_note_sidctx(osl_ssl *t, const unsigned char *sid, size_t n);
osl_ssl_result osl_ssl_new(SSL_CTX *c, int server, int suspends, const unsigned char *sid, size_t sid_n);
int osl_ssl_end(osl_ssl *t);
void osl_call_begin(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, unsigned char *out, size_t out_cap);
osl_call_result osl_call_end(osl_ssl *t, int ret, size_t n, size_t in_n);
osl_call_result osl_handshake(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, int decides,
                              unsigned char *out, size_t out_cap);
osl_call_result osl_read(osl_ssl *t, unsigned char *p, size_t n, const unsigned char *in, size_t in_n, int eof);
osl_call_result osl_write(osl_ssl *t, const unsigned char *p, size_t n, unsigned char *out, size_t out_cap);
osl_call_result osl_shutdown(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, unsigned char *out,
                             size_t out_cap);
int osl_ssl_version(osl_ssl *t);
void osl_keep_session(osl_ssl *t);
size_t osl_drain(osl_ssl *t, unsigned char *p, size_t n);
osl_fail *osl_ssl_set_ctx(osl_ssl *t, SSL_CTX *c, const unsigned char *sid, size_t sid_n);
osl_fail *osl_ssl_set_name(osl_ssl *t, const char *name, int is_ip);
void osl_ssl_state(osl_ssl *t, osl_state *s);
osl_bytes osl_put_certs(X509 *leaf, STACK_OF(X509) *chain, int from);
osl_bytes osl_ssl_peer_certs(osl_ssl *t);
osl_bytes osl_ssl_keylog(osl_ssl *t);
osl_fail *osl_ssl_export(osl_ssl *t, unsigned char *p, size_t n, const char *label, size_t label_n,
                         const unsigned char *context, size_t context_n, int use_context);

#endif
