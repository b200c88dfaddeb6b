/*
 * The machine: one SSL over memory. See queue_cgo.h for how an act is built.
 *
 * Ciphertext and plaintext are lent by the caller for the length of one act.
 * The BIO reads from what was lent and asks for more; its write side always
 * accepts, so no act ever wants to write.
 */
#ifndef OSL_MACHINE_CGO_H
#define OSL_MACHINE_CGO_H

#include "queue_cgo.h"

#include <openssl/bio.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

typedef struct osl_ring osl_ring; /* ticket keys, see sidctx_cgo.h */

/* What a callback needs to know of the SSL_CTX it is called for. */
typedef struct {
	unsigned char *alpn;
	size_t alpn_n;
	int asked; /* libssl wanted a password */
	osl_ring *ring;

	/* What the program asked for; a server's sessions are published by osl_new_session_cb alone. */
	long cache_mode;
	int store; /* sessions are kept outside */

	/* What this package checks on a resumption and libssl does not. */
	int checks;      /* the peer's certificate again */
	int deferred;    /* whether it is verified is for Go to say */
	int64_t max_age; /* seconds since the first authentication, 0 for no bound */
} osl_recipe;

/* Why a connection that libssl has accepted is refused. */
enum {
	OSL_FINE,
	OSL_NO_CERTIFICATE,
	OSL_CERTIFICATE_EXPIRED,
	OSL_NOT_VERIFIED,
	OSL_TOO_OLD,
	OSL_NAME_NOT_VERIFIED /* no resumption: libssl has verified the chain without the name */
};

/* What a client has offered to resume, and what became of it. */
enum {
	OSL_NOT_OFFERED,
	OSL_RESUMED,
	OSL_CONTEXT_MISMATCH,
	OSL_NOT_FOUND,
	OSL_EXPIRED,
	OSL_UNDECRYPTABLE,
	OSL_OTHER
};

enum { OSL_MAX_IDS = 4 }; /* libssl's clients offer one; others are not looked up without end */

/* What a ClientHello says about resumption. */
typedef struct {
	int tls13;    /* it speaks TLS 1.3 */
	int psk;      /* it has a pre-shared key */
	int ticket;   /* it has a ticket of TLS 1.2 */
	size_t sid_n; /* the session id of TLS 1.2; a TLS 1.3 client's is random */
	unsigned char sid[SSL_MAX_SSL_SESSION_ID_LENGTH];
	size_t ids_n; /* the identities of a session id's length */
	unsigned char ids[OSL_MAX_IDS][SSL_MAX_SSL_SESSION_ID_LENGTH];
} osl_offer;

typedef struct {
	SSL *ssl;

	/* Lent for the length of one act, NULL between acts. */
	const unsigned char *in;
	size_t in_n;
	unsigned char *out;
	size_t out_n, out_cap;

	int eof;     /* the wire has ended behind what is lent */
	int saw_eof; /* and libssl has met that end in this act */

	/* Ciphertext that found no room in what was lent. */
	unsigned char *spill;
	size_t spill_r, spill_n, spill_cap;

	/* The suspended ClientHello. */
	int asks;     /* the machine has somebody to ask */
	int asking;   /* suspended: hello holds a copy */
	int answered; /* go on, until a HelloRetryRequest brings another one */
	int decided;  /* a ClientHello has gone through: contexts are too late */
	int64_t decided_at; /* seconds; what is checked afterwards is held against that moment */
	int refuse;   /* the alert to refuse with, -1 for none */
	unsigned char *hello;
	size_t hello_n;

	SSL_SESSION *offered; /* a client's own copy of what it offers */
	int offered_good;     /* it could be resumed when it was set */

	int named;   /* a client expects a name in the certificate, or an address */
	char *ip;    /* the address, NULL for a name */

	SSL_SESSION *last; /* a client's, held so that its address stays taken while it is compared */
	int ticketed;      /* a newer session has arrived since the handshake */
	int fresh;         /* or in this act */

	/* The resumption that a client asks a server for. */
	SSL_CTX *listener; /* that the machine was made from; its cache, keys and counters hold throughout */
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH]; /* in force; libssl has no getter */
	size_t sidctx_n;
	osl_offer offer;
	const SSL_SESSION *decrypted; /* the session of the client's ticket, which no other connection has */
	int resumption;
	int refused;
	int forget; /* the session that was offered, in TLS 1.3 */
	long timeouts; /* of the listener, before the decision */

	/* An external store's side. */
	SSL_SESSION *answers[OSL_MAX_IDS]; /* what it has found, kept for the whole handshake */
	size_t answers_n;
	const SSL_SESSION *found; /* the one of them that libssl was given */
	unsigned char *made; /* new sessions since they were last collected, see osl_new_session_cb */
	size_t made_n;

	unsigned char *keylog; /* lines since they were last collected */
	size_t keylog_n;
} osl_ssl;

/* osl_ssl_name_sidctx sets a context and remembers it. SSL_set_session_id_context. */
static int osl_ssl_name_sidctx(osl_ssl *t, const unsigned char *sid, unsigned int n) {
	if (SSL_set_session_id_context(t->ssl, sid, n) != 1)
		return 0;
	if (n)
		memcpy(t->sidctx, sid, n);
	t->sidctx_n = n;
	return 1;
}

/* ---- the wire's end of the machine ---- */

static int osl_bio_read(BIO *b, char *p, int n) {
	osl_ssl *t = BIO_get_data(b);
	size_t k = n > 0 ? (size_t)n : 0;

	BIO_clear_retry_flags(b);
	if (k > t->in_n)
		k = t->in_n;
	if (k == 0) {
		if (t->eof) {
			t->saw_eof = 1;
			return 0;
		}
		BIO_set_retry_read(b);
		return -1;
	}
	memcpy(p, t->in, k);
	t->in += k;
	t->in_n -= k;
	return (int)k;
}

static int osl_bio_write(BIO *b, const char *p, int n) {
	osl_ssl *t = BIO_get_data(b);
	size_t k = n > 0 ? (size_t)n : 0;

	BIO_clear_retry_flags(b);
	if (t->spill_n == 0 && t->out_cap - t->out_n >= k) {
		if (k)
			memcpy(t->out + t->out_n, p, k);
		t->out_n += k;
		return (int)k;
	}
	/* Order is kept: once something has spilled, everything spills. */
	if (t->spill_cap - t->spill_n < k) {
		size_t cap = 2 * (t->spill_n + k);
		unsigned char *spill = realloc(t->spill, cap);
		if (!spill)
			return -1;
		t->spill = spill;
		t->spill_cap = cap;
	}
	memcpy(t->spill + t->spill_n, p, k);
	t->spill_n += k;
	return (int)k;
}

static long osl_bio_ctrl(BIO *b, int cmd, long num, void *ptr) {
	osl_ssl *t = BIO_get_data(b);

	(void)num, (void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return t->eof && t->in_n == 0;
	default:
		return 0;
	}
}

static void *osl_bio_methods;

static void osl_bio_meth_free(void *m) {
	BIO_meth_free(m);
}

static void *osl_bio_meth_new(void) {
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory lent for one call");

	if (m && BIO_meth_set_read(m, osl_bio_read) && BIO_meth_set_write(m, osl_bio_write) &&
	    BIO_meth_set_ctrl(m, osl_bio_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* ---- the ClientHello ---- */

static unsigned char *osl_put16(unsigned char *p, size_t v) {
	*p++ = (unsigned char)(v >> 8);
	*p++ = (unsigned char)v;
	return p;
}

static unsigned char *osl_put(unsigned char *p, const unsigned char *from, size_t n) {
	p = osl_put16(p, n);
	if (n)
		memcpy(p, from, n);
	return p + n;
}

/* osl_hello_copy flattens the ClientHello, whose parts are libssl's and only
 * valid inside the callback: legacy version, session id, cipher suites, then
 * each extension's type and body; bodies behind 16-bit lengths. */
static int osl_hello_copy(osl_ssl *t, SSL *ssl) {
	const unsigned char *sid, *ciphers, *body;
	size_t sid_n = SSL_client_hello_get0_session_id(ssl, &sid);
	size_t ciphers_n = SSL_client_hello_get0_ciphers(ssl, &ciphers);
	size_t i, body_n, types_n = 0, n = 2 + 2 + sid_n + 2 + ciphers_n;
	int *types = NULL;
	unsigned char *p;

	if (!SSL_client_hello_get1_extensions_present(ssl, &types, &types_n))
		return 0;
	for (i = 0; i < types_n; i++)
		if (SSL_client_hello_get0_ext(ssl, (unsigned int)types[i], &body, &body_n))
			n += 4 + body_n;
	OPENSSL_free(t->hello);
	t->hello_n = 0;
	if ((t->hello = p = OPENSSL_malloc(n)) != NULL) {
		p = osl_put16(p, SSL_client_hello_get0_legacy_version(ssl));
		p = osl_put(p, sid, sid_n);
		p = osl_put(p, ciphers, ciphers_n);
		for (i = 0; i < types_n; i++)
			if (SSL_client_hello_get0_ext(ssl, (unsigned int)types[i], &body, &body_n))
				p = osl_put(osl_put16(p, (size_t)types[i]), body, body_n);
		t->hello_n = n;
	}
	OPENSSL_free(types);
	return t->hello != NULL;
}

/* osl_hello_offer notes what the client wants to resume. */
static void osl_hello_offer(osl_ssl *t, SSL *ssl) {
	osl_offer *o = &t->offer;
	const unsigned char *p;
	size_t n, k;

	memset(o, 0, sizeof *o);
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &p, &n))
		for (k = 1; k + 1 < n; k += 2)
			if ((p[k] << 8 | p[k + 1]) == TLS1_3_VERSION)
				o->tls13 = 1;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &p, &n) && n > 0)
		o->ticket = 1;
	n = SSL_client_hello_get0_session_id(ssl, &p);
	if (n > 0 && n <= sizeof o->sid)
		memcpy(o->sid, p, o->sid_n = n);
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &p, &n) || n < 2)
		return;
	o->psk = 1;
	k = (size_t)p[0] << 8 | p[1]; /* the list: 16-bit length, identity, 32-bit age, each */
	n = k < n - 2 ? k : n - 2;
	for (p += 2; n >= 6 && o->ids_n < OSL_MAX_IDS; p += 6 + k, n -= 6 + k) {
		k = (size_t)p[0] << 8 | p[1];
		if (k > n - 6)
			return;
		if (k == sizeof o->ids[0])
			memcpy(o->ids[o->ids_n++], p + 2, k);
	}
}

/* osl_offered_ids points at the ids that libssl is going to look up, by the
 * options and versions that now hold. */
static size_t osl_offered_ids(osl_ssl *t, const unsigned char **ids, size_t *id_n) {
	uint64_t options = SSL_get_options(t->ssl);
	int max = (int)SSL_get_max_proto_version(t->ssl);

	if (t->offer.tls13 && !(options & SSL_OP_NO_TLSv1_3) && (max == 0 || max >= TLS1_3_VERSION)) {
		*ids = t->offer.ids[0];
		*id_n = sizeof t->offer.ids[0];
		return options & SSL_OP_NO_TICKET ? t->offer.ids_n : 0;
	}
	*ids = t->offer.sid;
	*id_n = t->offer.sid_n;
	return t->offer.sid_n && (options & SSL_OP_NO_TICKET || !t->offer.ticket);
}

static int osl_hello_cb(SSL *ssl, int *alert, void *arg) {
	osl_ssl *t = SSL_get_app_data(ssl);

	(void)arg; /* the listener's, also after a switch */
	if (t->refuse >= 0) {
		*alert = t->refuse;
		return SSL_CLIENT_HELLO_ERROR;
	}
	osl_hello_offer(t, ssl);
	if (t->asks && !t->answered) {
		if (!osl_hello_copy(t, ssl)) {
			*alert = SSL_AD_INTERNAL_ERROR;
			return SSL_CLIENT_HELLO_ERROR;
		}
		t->asking = 1;
		return SSL_CLIENT_HELLO_RETRY;
	}
	t->timeouts = SSL_CTX_sess_timeouts(t->listener);
	t->resumption = t->offer.psk || t->offer.sid_n ? OSL_OTHER : OSL_NOT_OFFERED; /* until somebody knows better */
	t->answered = 0; /* the answer to a HelloRetryRequest is asked about again */
	t->decided = 1;
	t->decided_at = (int64_t)time(NULL);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- acts ---- */

typedef struct {
	osl_ssl *t;
	osl_fail *fail;
} osl_ssl_made;

static void osl_ssl_free(osl_ssl *t) {
	osl_enter();
	SSL_SESSION_free(t->last);
	SSL_free(t->ssl);
	SSL_SESSION_free(t->offered);
	OPENSSL_free(t->ip);
	while (t->answers_n)
		SSL_SESSION_free(t->answers[--t->answers_n]);
	OPENSSL_clear_free(t->made, t->made_n);
	free(t->spill);
	OPENSSL_clear_free(t->keylog, t->keylog_n);
	OPENSSL_free(t->hello);
	OPENSSL_free(t);
	osl_sweep();
}

/* osl_ssl_new makes a machine; asks suspends it at every ClientHello. SSL_new. */
static osl_ssl_made osl_ssl_new(SSL_CTX *c, int server, int asks, const unsigned char *sid, size_t sid_n) {
	osl_ssl_made made = {NULL, NULL};
	BIO_METHOD *m = NULL;
	osl_ssl *t;
	BIO *b;

	osl_enter();
	if (!(m = osl_first(&osl_bio_methods, osl_bio_meth_new, osl_bio_meth_free)) || !(t = OPENSSL_zalloc(sizeof *t))) {
		made.fail = osl_take(0);
		return made;
	}
	t->refuse = -1;
	t->timeouts = -1;
	t->asks = asks;
	t->listener = c;
	/* The context is named for each machine: it may have moved on since c froze. */
	if (!(t->ssl = SSL_new(c)) || !SSL_set_app_data(t->ssl, t) ||
	    !osl_ssl_name_sidctx(t, sid, (unsigned int)sid_n) || !(b = BIO_new(m))) {
		made.fail = osl_take(0);
		osl_ssl_free(t);
		return made;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	if (server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	osl_leave();
	made.t = t;
	return made;
}

enum {
	OSL_DONE,    /* did what was asked */
	OSL_INPUT,   /* wants ciphertext */
	OSL_HELLO,   /* wants an answer to a ClientHello */
	OSL_GOODBYE, /* the peer said close_notify */
	OSL_CUT,     /* the wire ended without one */
	OSL_FAILED   /* fail says why */
};

/* osl_turn is what one act of the machine came to. Bytes that were read or
 * written count also when want is not OSL_DONE. */
typedef struct {
	size_t n;       /* plaintext read or written */
	size_t used;    /* ciphertext taken from in */
	size_t out;     /* ciphertext left in out */
	size_t spilled; /* more of it waits for osl_drain */
	int want;
	int pending;  /* plaintext waits in libssl */
	int decided;  /* contexts are too late */
	int ticketed; /* a session has arrived after the handshake */
	int fresh;    /* a client's connection has another session than before */
	int keylog;   /* lines wait for osl_ssl_keylog */
	int refused;  /* why a resumption is refused, OSL_FINE if it is not */
	int made;     /* sessions wait for osl_ssl_sessions_made */
	int spoilt;   /* the session that a client offers cannot be resumed any more */
	int resumption;
	osl_fail *fail;
} osl_turn;

static void osl_lend(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, unsigned char *out, size_t out_cap) {
	osl_enter();
	t->in = in;
	t->in_n = in_n;
	t->eof = eof;
	t->saw_eof = 0;
	t->out = out;
	t->out_n = 0;
	t->out_cap = out_cap;
}

/* osl_ssl_spoilt_offer says whether libssl has made the session that a client
 * offers one that cannot be resumed. */
static int osl_ssl_spoilt_offer(const osl_ssl *t) {
	return t->offered_good && !SSL_SESSION_is_resumable(t->offered);
}

/* osl_ssl_end frees the SSL before the rest of t, and says what that has done to
 * the session that a client offers. SSL_free. */
static int osl_ssl_end(osl_ssl *t) {
	osl_enter();
	SSL_free(t->ssl);
	t->ssl = NULL;
	osl_sweep();
	return osl_ssl_spoilt_offer(t);
}

/* osl_end gives back what was lent and says what ret, of the libssl call just made, means. */
static osl_turn osl_end(osl_ssl *t, int ret, size_t n, size_t in_n) {
	osl_turn r = {0};
	int code = ret > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ret);

	switch (code) {
	case SSL_ERROR_NONE:
		r.want = OSL_DONE;
		break;
	case SSL_ERROR_WANT_READ:
		r.want = OSL_INPUT;
		break;
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		r.want = OSL_HELLO;
		break;
	case SSL_ERROR_ZERO_RETURN:
		r.want = OSL_GOODBYE;
		break;
	default:
		r.want = OSL_FAILED;
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING /* 3.0; 1.1.1 says SSL_ERROR_SYSCALL with an empty queue */
		if (t->saw_eof && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			r.want = OSL_CUT;
#endif
		if (t->saw_eof && code == SSL_ERROR_SYSCALL && !ERR_peek_error())
			r.want = OSL_CUT;
		if (r.want == OSL_CUT) {
			ERR_clear_error();
			break;
		}
		r.fail = osl_take(code);
		if (r.fail->home)
			r.fail->verify = (int)SSL_get_verify_result(t->ssl);
	}
	if (t->last && SSL_get_session(t->ssl) != t->last) {
		SSL_SESSION_free(t->last);
		t->last = SSL_get1_session(t->ssl);
		t->ticketed = r.fresh = 1;
	}
	r.n = n;
	r.used = in_n - t->in_n;
	r.out = t->out_n;
	r.spilled = t->spill_n - t->spill_r;
	r.pending = SSL_pending(t->ssl) > 0;
	r.decided = t->decided;
	r.ticketed = t->ticketed;
	r.resumption = t->resumption;
	r.keylog = t->keylog_n != 0;
	r.made = t->made_n != 0;
	r.spoilt = osl_ssl_spoilt_offer(t);
	r.refused = t->refused;
	t->in = NULL;
	t->out = NULL;
	t->in_n = t->out_n = t->out_cap = 0;
	return r;
}

/* osl_ssl_leaf is the peer's certificate, to be freed. SSL_get1_peer_certificate. */
static X509 *osl_ssl_leaf(const SSL *ssl) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return SSL_get1_peer_certificate(ssl);
#else
	return SSL_get_peer_certificate(ssl); /* renamed in 3.0 */
#endif
}

static int64_t osl_session_time(const SSL_SESSION *s) {
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
	return (int64_t)SSL_SESSION_get_time_ex(s); /* the older one ends in 2038 */
#else
	return SSL_SESSION_get_time(s);
#endif
}

/* The application data of a ticket, and of a TLS 1.3 session: a tag, when the
 * peer was first authenticated, and when nothing of that holds any more. */
typedef struct {
	unsigned char tag[8];
	int64_t authenticated, ends;
} osl_memo;

static const unsigned char osl_memo_tag[8] = {'s', 'i', 'd', 'c', 't', 'x', 0, 1};

static int osl_memo_read(SSL_SESSION *s, osl_memo *m) {
	void *p;
	size_t n;

	if (SSL_SESSION_get0_ticket_appdata(s, &p, &n) != 1 || n != sizeof *m)
		return 0;
	memcpy(m, p, n);
	return memcmp(m->tag, osl_memo_tag, sizeof m->tag) == 0;
}

/* osl_session_authenticated is when the peer was first authenticated, or without a
 * memo, of a session that was made where nothing bounds its life, when it was made. */
static int64_t osl_session_authenticated(SSL_SESSION *s) {
	osl_memo m;

	return osl_memo_read(s, &m) ? m.authenticated : osl_session_time(s);
}

/* osl_add is a + b within what 64 bits hold: times come out of DER, too. */
static int64_t osl_add(int64_t a, int64_t b) {
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

/* osl_sub is a - b within what 64 bits hold. */
static int64_t osl_sub(int64_t a, int64_t b) {
	int64_t difference;

	if (__builtin_sub_overflow(a, b, &difference))
		return b < 0 ? INT64_MAX : INT64_MIN;
	return difference;
}

/* osl_from_the_future says whether a time is further ahead than the clocks of
 * two machines are apart: an age that is counted from it bounds nothing. */
static int osl_from_the_future(int64_t made, int64_t now) {
	return made > osl_add(now, 60);
}

static int osl_recipe_caps(const osl_recipe *r) {
	return r->checks || r->max_age;
}

/* osl_not_after is when a certificate ends; one whose date cannot be read has ended. */
static int64_t osl_not_after(X509 *x, int64_t now) {
	int days, seconds;

	if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)))
		return now;
	return (int64_t)time(NULL) + (int64_t)days * 86400 + seconds; /* counted from this moment */
}

/* osl_session_ends is when the recipe in force stops believing a session that
 * was first authenticated then. */
static int64_t osl_session_ends(const osl_recipe *r, SSL_SESSION *s, int64_t authenticated, int64_t now) {
	int64_t ends = r->max_age ? osl_add(authenticated, r->max_age) : INT64_MAX;
	X509 *peer = r->checks ? SSL_SESSION_get0_peer(s) : NULL;

	if (peer && osl_not_after(peer, now) < ends)
		ends = osl_not_after(peer, now);
	return ends;
}

/* osl_requires_peer says whether a certificate is required; without
 * SSL_VERIFY_PEER the other bit means nothing. */
static int osl_requires_peer(SSL *ssl) {
	const int both = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

	return (SSL_get_verify_mode(ssl) & both) == both;
}

/* osl_session_check asks of a resumed session what libssl does not. */
static int osl_session_check(osl_ssl *t, SSL_SESSION *s) {
	osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));
	X509 *peer = SSL_SESSION_get0_peer(s);
	int64_t now = t->decided_at; /* a session that ends while the handshake runs was good */
	int64_t authenticated = osl_session_authenticated(s);

	if (r->checks && !peer && osl_requires_peer(t->ssl))
		return OSL_NO_CERTIFICATE;
	if (r->checks && peer && osl_not_after(peer, now) <= now)
		return OSL_CERTIFICATE_EXPIRED;
	if (r->checks && peer && !r->deferred && SSL_get_verify_result(t->ssl) != X509_V_OK)
		return OSL_NOT_VERIFIED;
	if (r->max_age && (osl_from_the_future(authenticated, now) || osl_sub(now, authenticated) >= r->max_age))
		return OSL_TOO_OLD;
	return OSL_FINE;
}

/* A session is changed only while no other connection can see it: libssl takes
 * no lock for it, neither to read nor to write. osl_session_publish stands before
 * a session goes into a cache, osl_session_private before each change. */
#ifdef OSL_QUEUECHECK
static void *osl_published_slot;

/* A copy is private again. */
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
static int osl_published_dup(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **value, int idx, long l, void *p) {
	(void)to, (void)from, (void)idx, (void)l, (void)p;
	*value = NULL;
	return 1;
}
#else
static int osl_published_dup(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void *value, int idx, long l, void *p) {
	(void)to, (void)from, (void)idx, (void)l, (void)p;
	*(void **)value = NULL;
	return 1;
}
#endif

static void *osl_published_slot_new(void) {
	int idx = SSL_SESSION_get_ex_new_index(0, NULL, NULL, osl_published_dup, NULL);

	return idx > 0 ? (void *)(intptr_t)idx : NULL;
}

static void osl_published_slot_free(void *slot) {
	CRYPTO_free_ex_index(CRYPTO_EX_INDEX_SSL_SESSION, (int)(intptr_t)slot);
}

static int osl_published_index(void) {
	return (int)(intptr_t)osl_first(&osl_published_slot, osl_published_slot_new, osl_published_slot_free);
}

static void osl_session_publish(SSL_SESSION *s) {
	SSL_SESSION_set_ex_data(s, osl_published_index(), s);
}

static void osl_session_private(const SSL_SESSION *s) {
	if (SSL_SESSION_get_ex_data(s, osl_published_index())) {
		fputs("openssl: a session is changed that other connections can see\n", stderr);
		abort();
	}
}
#else
static inline void osl_session_publish(SSL_SESSION *s) { (void)s; }
static inline void osl_session_private(const SSL_SESSION *s) { (void)s; }
#endif

static void osl_session_set_timeout(SSL_SESSION *s, int64_t seconds) {
	osl_session_private(s);
	SSL_SESSION_set_timeout(s, (long)seconds);
}

static void osl_session_set_time(SSL_SESSION *s, int64_t at) {
	osl_session_private(s);
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
	SSL_SESSION_set_time_ex(s, (time_t)at);
#else
	SSL_SESSION_set_time(s, (long)at);
#endif
}

static int osl_memo_write(SSL_SESSION *s, const osl_memo *m) {
	osl_session_private(s);
	return SSL_SESSION_set1_ticket_appdata(s, m, sizeof *m);
}

/* osl_session_limit bounds the life of a session that goes into a ticket. Its
 * clock is that of the first handshake in TLS 1.2, of the ticket in TLS 1.3. Never
 * below a second: libssl takes 0 badly. What is left then is declined by its memo. */
static void osl_session_limit(SSL_SESSION *s, int64_t ends) {
	int64_t timeout = osl_sub(ends, osl_session_time(s));

	if (timeout < SSL_SESSION_get_timeout(s))
		osl_session_set_timeout(s, timeout < 1 ? 1 : timeout);
}

/* osl_session_shorten bounds the life of a session that is looked up by its id,
 * where no callback can decline it: libssl itself has to. Before 3.5 it resumes
 * in the last second, too, so that one is taken off. A session with nothing left
 * has been made long ago. */
static void osl_session_shorten(SSL_SESSION *s, int64_t ends) {
	int64_t left = osl_sub(ends, osl_session_time(s));

	if (left > SSL_SESSION_get_timeout(s))
		return;
	osl_session_set_timeout(s, left < 3 ? 1 : left - 1);
	if (left < 2)
		osl_session_set_time(s, osl_session_time(s) - 3);
}

/* osl_session_cap bounds the life of a TLS 1.2 session that is looked up by its
 * id, and notes when its owner was authenticated: libssl moves a session's own
 * time when it is told to. In TLS 1.3 osl_ticket_sealing has done both. */
static int osl_session_cap(SSL *ssl, SSL_SESSION *s) {
	osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	osl_memo m;

	if (!osl_recipe_caps(r) || SSL_version(ssl) >= TLS1_3_VERSION)
		return 1;
	memcpy(m.tag, osl_memo_tag, sizeof m.tag);
	m.authenticated = osl_session_time(s);
	m.ends = osl_session_ends(r, s, m.authenticated, (int64_t)time(NULL));
	osl_session_shorten(s, m.ends);
	return osl_memo_write(s, &m);
}

/* osl_judge_timeout sees an expired session go: libssl counts it in the act that
 * decides, after it has compared the contexts. The counter is the SSL_CTX's, and
 * another connection's timeout in the same moment moves it, too. So the session
 * has to be where an expired one is: in TLS 1.2 libssl has taken it out of the
 * cache, in TLS 1.3 it stays. */
static void osl_judge_timeout(osl_ssl *t) {
	int stays = SSL_version(t->ssl) >= TLS1_3_VERSION;
	const unsigned char *id;
	size_t id_n;

	if (osl_offered_ids(t, &id, &id_n) && SSL_CTX_sess_timeouts(t->listener) != t->timeouts &&
	    (t->answers_n || SSL_has_matching_session_id(t->ssl, id, (unsigned int)id_n) == stays))
		t->resumption = OSL_EXPIRED;
	t->timeouts = -1;
}

/* osl_judge says, at a handshake's end, what became of the client's offer. A
 * session that is looked up by its id passes no callback; if it is there still,
 * and no timeout was counted, it was made within another context. One thing
 * cannot be told from that: a session whose context was right and that the
 * connection could not take up, for a suite with another hash in TLS 1.3 or for
 * the extended master secret in TLS 1.2. A store's answer is at hand and is asked. */
static void osl_judge(osl_ssl *t) {
	const unsigned char *id, *sid;
	size_t id_n, i;
	unsigned int n;

	if (SSL_session_reused(t->ssl)) {
		t->resumption = OSL_RESUMED;
		if (SSL_is_server(t->ssl))
			t->refused = osl_session_check(t, SSL_get_session(t->ssl));
		return;
	}
	if (t->timeouts >= 0)
		osl_judge_timeout(t);
	if (t->resumption != OSL_OTHER)
		return;
	if (SSL_version(t->ssl) >= TLS1_3_VERSION && !t->offer.psk) {
		t->resumption = OSL_NOT_OFFERED; /* the legacy session id is random */
		return;
	}
	if (!osl_offered_ids(t, &id, &id_n))
		return;
	for (i = 0; i < t->answers_n; i++) {
		sid = SSL_SESSION_get0_id_context(t->answers[i], &n);
		if (n != t->sidctx_n || memcmp(sid, t->sidctx, n) != 0)
			t->resumption = OSL_CONTEXT_MISMATCH;
	}
	if (t->answers_n)
		return;
	if (SSL_has_matching_session_id(t->ssl, id, (unsigned int)id_n))
		t->resumption = OSL_CONTEXT_MISMATCH;
	else
		t->resumption = OSL_NOT_FOUND;
}

/* osl_name_verified says whether libssl has looked for the name that a client
 * expects: it verifies a chain with a copy of what is expected, and without, if
 * there was no memory for the copy. SSL_get0_peername, X509_check_ip_asc. */
static int osl_name_verified(osl_ssl *t) {
	X509 *leaf;
	int ok;

	if (!t->named || SSL_session_reused(t->ssl) || !(SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) ||
	    SSL_get_verify_result(t->ssl) != X509_V_OK)
		return 1;
	if (!t->ip)
		return SSL_get0_peername(t->ssl) != NULL;
	leaf = osl_ssl_leaf(t->ssl);
	ok = leaf && X509_check_ip_asc(leaf, t->ip, 0) == 1;
	X509_free(leaf);
	return ok;
}

/* osl_handshake goes on with the handshake. SSL_do_handshake. */
static osl_turn osl_handshake(osl_ssl *t, const unsigned char *in, size_t in_n, int eof,
                              unsigned char *out, size_t out_cap) {
	osl_turn r;
	int ret;

	osl_lend(t, in, in_n, eof, out, out_cap);
	if (t->asking) {
		t->asking = 0;
		t->answered = 1;
	}
	if (!SSL_is_server(t->ssl))
		t->decided = 1; /* a client has said what it offers */
	ret = SSL_do_handshake(t->ssl);
	if (ret == 1)
		osl_judge(t);
	if (ret == 1 && !SSL_is_server(t->ssl)) {
		t->last = SSL_get1_session(t->ssl);
		if (!osl_name_verified(t))
			t->refused = OSL_NAME_NOT_VERIFIED;
	} else if (t->timeouts >= 0 && t->decided)
		osl_judge_timeout(t);
	r = osl_end(t, ret, 0, in_n);
	osl_sweep();
	return r;
}

/* osl_record_waits says whether a whole record is at hand, so that reading on costs no wait. */
static int osl_record_waits(const osl_ssl *t) {
	return t->in_n >= 5 && t->in_n - 5 >= ((size_t)t->in[3] << 8 | t->in[4]);
}

/* osl_answer sends the answer to a KeyUpdate, which libssl leaves to the next
 * write: that may never come. A write of nothing sends it and nothing else. */
static void osl_answer(osl_ssl *t, osl_turn *r) {
	size_t none;

	if (SSL_get_key_update_type(t->ssl) == SSL_KEY_UPDATE_NONE || r->fail ||
	    SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
		return;
	if (SSL_write_ex(t->ssl, "", 0, &none) != 1) {
		r->want = OSL_FAILED;
		r->fail = osl_take(SSL_ERROR_SSL);
	}
	r->spilled = t->spill_n - t->spill_r;
}

/* osl_read fills p from as many records as are at hand. SSL_read_ex. */
static osl_turn osl_read(osl_ssl *t, unsigned char *p, size_t n, const unsigned char *in, size_t in_n, int eof) {
	size_t got = 0, k;
	osl_turn r;
	int ret;

	osl_lend(t, in, in_n, eof, NULL, 0);
	while ((ret = SSL_read_ex(t->ssl, p + got, n - got, &k)) == 1) {
		got += k;
		if (got == n || !osl_record_waits(t))
			break;
	}
	r = osl_end(t, ret, got, in_n);
	osl_answer(t, &r);
	osl_leave();
	return r;
}

/* osl_write seals all of p. SSL_write_ex. */
static osl_turn osl_write(osl_ssl *t, const unsigned char *p, size_t n, unsigned char *out, size_t out_cap) {
	size_t put = 0, k;
	osl_turn r;
	int ret = 1;

	osl_lend(t, NULL, 0, 0, out, out_cap);
	while (put < n && (ret = SSL_write_ex(t->ssl, p + put, n - put, &k)) == 1)
		put += k;
	r = osl_end(t, ret, put, 0);
	osl_leave();
	return r;
}

/* osl_shutdown says close_notify, and when it has been said reads on for the
 * peer's. SSL_shutdown. */
static osl_turn osl_shutdown(osl_ssl *t, const unsigned char *in, size_t in_n, int eof,
                             unsigned char *out, size_t out_cap) {
	osl_turn r;
	int ret;

	osl_lend(t, in, in_n, eof, out, out_cap);
	ret = SSL_shutdown(t->ssl);
	r = osl_end(t, ret == 0 ? 1 : ret, 0, in_n);
	if (ret == 0)
		r.want = OSL_INPUT; /* said; the peer's is not here yet */
	osl_sweep();
	return r;
}

static int osl_ssl_version(osl_ssl *t) {
	return SSL_version(t->ssl);
}

/* osl_keep_session marks both directions as shut, without which SSL_free takes
 * the session out of the cache and spoils it. SSL_set_shutdown. */
static void osl_keep_session(osl_ssl *t) {
	osl_enter();
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	osl_leave();
}

/* osl_drain takes what spilled. */
static size_t osl_drain(osl_ssl *t, unsigned char *p, size_t n) {
	size_t k = t->spill_n - t->spill_r;

	if (k > n)
		k = n;
	if (k)
		memcpy(p, t->spill + t->spill_r, k);
	t->spill_r += k;
	if (t->spill_r == t->spill_n) {
		free(t->spill);
		t->spill = NULL;
		t->spill_r = t->spill_n = t->spill_cap = 0;
	}
	return k;
}

/* osl_ssl_set_ctx switches to another SSL_CTX, with all that SSL_set_SSL_CTX
 * leaves behind, and names the session id context itself: libssl's inheritance
 * ends where a connection's context differs from its SSL_CTX's. c NULL is the
 * SSL_CTX that the machine was made from. */
static osl_fail *osl_ssl_set_ctx(osl_ssl *t, SSL_CTX *c, const unsigned char *sid, size_t sid_n) {
	X509_VERIFY_PARAM *to, *from;
	SSL *ssl = t->ssl;
	uint64_t options;
	osl_recipe *r;

	osl_enter();
	if (!(c = SSL_set_SSL_CTX(ssl, c)))
		return osl_take(0);
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(c), SSL_CTX_get_verify_callback(c));
	SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(c));
	to = SSL_get0_param(ssl);
	from = SSL_CTX_get0_param(c);
	X509_VERIFY_PARAM_clear_flags(to, X509_VERIFY_PARAM_get_flags(to));
	X509_VERIFY_PARAM_set_flags(to, X509_VERIFY_PARAM_get_flags(from));
	options = SSL_CTX_get_options(c);
	SSL_clear_options(ssl, SSL_get_options(ssl) & ~options);
	SSL_set_options(ssl, options);
	/* A server's ALPN is chosen by the new SSL_CTX; what a client offers is the SSL's own. */
	r = SSL_CTX_get_app_data(c);
	if (!SSL_is_server(ssl) && SSL_set_alpn_protos(ssl, r->alpn, (unsigned int)r->alpn_n) != 0)
		return osl_take(0);
	return osl_result(SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(c)) == 1 &&
	                  SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(c)) == 1 &&
	                  osl_ssl_name_sidctx(t, sid, (unsigned int)sid_n));
}

/* osl_ssl_set_name asks for a server by name and expects that name, or that
 * address, in its certificate. After a failure the SSL may expect neither: it must
 * not be used until a name was set. SSL_set_tlsext_host_name, X509_VERIFY_PARAM_set1_host. */
static osl_fail *osl_ssl_set_name(osl_ssl *t, const char *name, int is_ip) {
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);

	osl_enter();
	t->named = 1;
	OPENSSL_free(t->ip);
	t->ip = NULL;
	/* What was asked for before must go: libssl would expect both. */
	if (is_ip) /* RFC 6066: an address is no server name */
		return osl_result((t->ip = OPENSSL_strdup(name)) && X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 &&
		                  X509_VERIFY_PARAM_set1_host(param, NULL, 0) == 1 &&
		                  SSL_set_tlsext_host_name(t->ssl, NULL) == 1);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return osl_result(SSL_set_tlsext_host_name(t->ssl, name) == 1 &&
	                  X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
	                  X509_VERIFY_PARAM_set1_ip(param, NULL, 0) == 1);
}

/* osl_ssl_spoil has the connection's session forgotten: nobody resumes it any
 * more. SSL_CTX_remove_session. */
static void osl_ssl_spoil(osl_ssl *t) {
	SSL_SESSION *s = SSL_get_session(t->ssl);

	osl_enter();
	if (s)
		SSL_CTX_remove_session(t->listener, s);
	/* TLS 1.3 has made a new one out of what the client has offered. */
	if (s && SSL_is_server(t->ssl) && SSL_session_reused(t->ssl) && SSL_version(t->ssl) >= TLS1_3_VERSION) {
		SSL_SESSION *offered = SSL_SESSION_dup(s);
		size_t i;

		if (offered)
			osl_session_private(offered);

		for (i = 0; offered && i < t->offer.ids_n; i++)
			if (SSL_SESSION_set1_id(offered, t->offer.ids[i], sizeof t->offer.ids[i]))
				SSL_CTX_remove_session(t->listener, offered);
		SSL_SESSION_free(offered);
		t->forget = t->offer.ids_n > 0;
	}
	osl_sweep();
}

static void osl_ssl_refuse(osl_ssl *t, int alert) {
	t->refuse = alert;
}

typedef struct {
	int version, reused, done, verify_result, cipher;
	char cipher_name[64];
	unsigned char alpn[256];
	size_t alpn_n;
	char server_name[256];
	size_t server_name_n;
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH];
	size_t sidctx_n;
} osl_state;

/* osl_ssl_state reads what a connection has come to. */
static void osl_ssl_state(osl_ssl *t, osl_state *s) {
	const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
	const SSL_SESSION *session = SSL_get_session(t->ssl);
	const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	const unsigned char *alpn, *sid;
	unsigned int n;

	osl_enter();
	s->version = SSL_version(t->ssl);
	s->reused = SSL_session_reused(t->ssl);
	s->done = SSL_is_init_finished(t->ssl);
	s->verify_result = (int)SSL_get_verify_result(t->ssl);
	s->cipher = cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0;
	snprintf(s->cipher_name, sizeof s->cipher_name, "%s", cipher ? SSL_CIPHER_get_name(cipher) : "");
	SSL_get0_alpn_selected(t->ssl, &alpn, &n);
	s->alpn_n = n;
	memcpy(s->alpn, n ? alpn : (const unsigned char *)"", n);
	s->server_name_n = (size_t)snprintf(s->server_name, sizeof s->server_name, "%s", name ? name : "");
	if (s->server_name_n >= sizeof s->server_name)
		s->server_name_n = sizeof s->server_name - 1;
	s->sidctx_n = 0;
	if (session) {
		sid = SSL_SESSION_get0_id_context(session, &n);
		memcpy(s->sidctx, sid, n);
		s->sidctx_n = n;
	}
	osl_leave();
}

/* osl_put_cert writes a certificate behind its length, or only counts if *p is
 * NULL. 0 is a failure. */
static size_t osl_put_cert(X509 *x, unsigned char **p) {
	unsigned char *size = *p;
	int n = i2d_X509(x, NULL);

	if (n <= 0)
		return 0;
	if (!size)
		return 4 + (size_t)n;
	*p += 4;
	if (i2d_X509(x, p) != n)
		return 0;
	size[0] = (unsigned char)(n >> 24), size[1] = (unsigned char)(n >> 16);
	size[2] = (unsigned char)(n >> 8), size[3] = (unsigned char)n;
	return 4 + (size_t)n;
}

/* osl_ssl_peer_certs is the peer's leaf and then its chain, DER behind 32-bit
 * lengths. SSL_get1_peer_certificate, SSL_get_peer_cert_chain. */
static osl_bytes osl_ssl_peer_certs(osl_ssl *t) {
	STACK_OF(X509) *chain;
	osl_bytes r = {NULL, 0, NULL};
	unsigned char *p = NULL;
	int i, pass, ok = 1;
	X509 *leaf;
	size_t n;

	osl_enter();
	if (!(leaf = osl_ssl_leaf(t->ssl))) {
		osl_leave();
		return r;
	}
	chain = SSL_get_peer_cert_chain(t->ssl); /* with the leaf on a client, without on a server */
	for (pass = 0; ok && pass < 2; pass++) {
		if (pass == 1 && !(r.p = p = OPENSSL_malloc(r.n)))
			break;
		r.n = n = osl_put_cert(leaf, &p);
		for (i = SSL_is_server(t->ssl) ? 0 : 1; n && i < sk_X509_num(chain); i++)
			r.n += n = osl_put_cert(sk_X509_value(chain, i), &p);
		ok = n != 0;
	}
	if (!ok || !r.p) {
		OPENSSL_free(r.p);
		r = (osl_bytes){NULL, 0, osl_take(0)};
	}
	X509_free(leaf);
	osl_sweep();
	return r;
}

/* osl_ssl_hello gives the copy of the suspended ClientHello away. */
static osl_bytes osl_ssl_hello(osl_ssl *t) {
	osl_bytes r = {t->hello, t->hello_n, NULL};

	t->hello = NULL;
	t->hello_n = 0;
	return r;
}

/* osl_ssl_keylog gives the collected lines away. */
static osl_bytes osl_ssl_keylog(osl_ssl *t) {
	osl_bytes r = {t->keylog, t->keylog_n, NULL};

	t->keylog = NULL;
	t->keylog_n = 0;
	return r;
}

/* osl_ssl_export derives keying material. SSL_export_keying_material. */
static osl_fail *osl_ssl_export(osl_ssl *t, unsigned char *p, size_t n, const char *label, size_t label_n,
                                const unsigned char *context, size_t context_n, int use_context) {
	osl_enter();
	return osl_result(SSL_export_keying_material(t->ssl, p, n, label, label_n, context, context_n, use_context) == 1);
}

#endif
