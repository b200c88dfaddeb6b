#include "store.h"
#include "resumption.h"

/* ---- the session cache ---- */

/* osl_ctx_set_cache_mode has osl_new_session_cb put a server's sessions into the
 * cache: libssl would do so before a callback can bound their lives. Nor does it
 * add there what the store has found, with a new clock. A client's sessions go to
 * osl_new_ticket_cb if the SSL_CTX keeps them. SSL_CTX_set_session_cache_mode. */
void osl_ctx_set_cache_mode(SSL_CTX *c, long mode) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);

	osl_enter();
	r->cache_mode = mode;
	if (r->keyring)
		mode |= SSL_SESS_CACHE_NO_INTERNAL_STORE;
	if (r->keep_tickets && !(mode & SSL_SESS_CACHE_CLIENT))
		mode |= SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE;
	SSL_CTX_set_session_cache_mode(c, mode);
	osl_leave();
}

long osl_ctx_cache_mode(SSL_CTX *c) {
	return ((osl_ctx_data *)SSL_CTX_get_app_data(c))->cache_mode;
}

void osl_ctx_set_cache_size(SSL_CTX *c, long n) {
	osl_enter();
	SSL_CTX_sess_set_cache_size(c, n);
	osl_leave();
}

void osl_ctx_set_timeout(SSL_CTX *c, long seconds) {
	osl_enter();
	SSL_CTX_set_timeout(c, seconds);
	osl_leave();
}

long osl_ctx_timeout(SSL_CTX *c) {
	return SSL_CTX_get_timeout(c);
}

osl_fail *osl_ctx_set_num_tickets(SSL_CTX *c, size_t n) {
	osl_enter();
	return osl_result(SSL_CTX_set_num_tickets(c, n) == 1);
}

/* osl_ctx_flush takes out what has expired at that time. SSL_CTX_flush_sessions. */
void osl_ctx_flush(SSL_CTX *c, int64_t at) {
	osl_enter();
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
	SSL_CTX_flush_sessions_ex(c, (time_t)at); /* the older one ends in 2038 */
#else
	SSL_CTX_flush_sessions(c, (long)at);
#endif
	osl_sweep();
}

osl_counters osl_ctx_counters(SSL_CTX *c) {
	osl_counters n;

	osl_enter();
	n.number = SSL_CTX_sess_number(c);
	n.connect = SSL_CTX_sess_connect(c);
	n.connect_good = SSL_CTX_sess_connect_good(c);
	n.accept = SSL_CTX_sess_accept(c);
	n.accept_good = SSL_CTX_sess_accept_good(c);
	n.hits = SSL_CTX_sess_hits(c);
	n.cb_hits = SSL_CTX_sess_cb_hits(c);
	n.misses = SSL_CTX_sess_misses(c);
	n.timeouts = SSL_CTX_sess_timeouts(c);
	n.cache_full = SSL_CTX_sess_cache_full(c);
	osl_leave();
	return n;
}

/* ---- an external store ---- */

/* osl_get_session_cb answers from memory, and again after a HelloRetryRequest:
 * the store was asked while the ClientHello was suspended. Only the session
 * with exactly that id will do. One of the right context that is too old for the
 * limits in force costs a full handshake. */
SSL_SESSION *osl_get_session_cb(SSL *ssl, const unsigned char *id, int id_n, int *copy) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	osl_ssl *t = SSL_get_app_data(ssl);
	int64_t now = (int64_t)time(NULL);
	const unsigned char *p;
	SSL_SESSION *s = NULL;
	unsigned int n;
	size_t i;

	*copy = 0;
	for (i = 0; i < t->answers_n && !s; i++) {
		p = SSL_SESSION_get_id(t->answers[i], &n);
		if (id_n == (int)n && memcmp(p, id, n) == 0)
			s = t->answers[i];
	}
	if (!s)
		return NULL;
	p = SSL_SESSION_get0_id_context(s, &n);
	/* libssl would look no further, and would decline this session and the PSK behind it. */
	if (t->offer.psk_here && (n != t->sidctx_n || memcmp(p, t->sidctx, n) != 0 || osl_ends_soon(s, now)))
		return NULL;
	if (osl_limits_lifetime(r) && n == t->sidctx_n && memcmp(p, t->sidctx, n) == 0 &&
	    osl_session_ends(r, s, osl_session_authenticated(s), now) <= now) {
		t->resumption = OSL_EXPIRED;
		return NULL;
	}
	t->found = s;
	return SSL_SESSION_up_ref(s) ? s : NULL;
}

/* osl_session_record appends a session for Go: its id and its context behind
 * 8-bit lengths, when it expires in 64 bits, its DER behind a 32-bit length. */
static void osl_session_record(osl_ssl *t, SSL_SESSION *s) {
	const unsigned char *id, *sid;
	unsigned int id_n, sid_n;
	unsigned char *p, *der = NULL;
	int der_n;
	size_t n;

	id = SSL_SESSION_get_id(s, &id_n);
	sid = SSL_SESSION_get0_id_context(s, &sid_n);
	if ((der_n = i2d_SSL_SESSION(s, &der)) <= 0)
		return;
	n = 1 + id_n + 1 + sid_n + 8 + 4 + (size_t)der_n;
	if (!(p = OPENSSL_clear_realloc(t->new_sessions, t->new_sessions_n, t->new_sessions_n + n))) {
		OPENSSL_clear_free(der, (size_t)der_n);
		return;
	}
	t->new_sessions = p;
	p += t->new_sessions_n;
	t->new_sessions_n += n;
	osl_put_be(&p, id_n, 1);
	memcpy(p, id, id_n);
	p += id_n;
	osl_put_be(&p, sid_n, 1);
	memcpy(p, sid, sid_n);
	p += sid_n;
	osl_put_be(&p, (uint64_t)osl_add(osl_session_time(s), SSL_SESSION_get_timeout(s)), 8);
	osl_put_be(&p, (uint64_t)der_n, 4);
	memcpy(p, der, (size_t)der_n);
	OPENSSL_clear_free(der, (size_t)der_n);
}

/* osl_session_ended reports whether a session has expired:
 * SSL_SESS_CACHE_UPDATE_TIME would give it a new clock. */
static int osl_session_ended(const SSL_SESSION *s) {
	return osl_sub((int64_t)time(NULL), osl_session_time(s)) >= SSL_SESSION_get_timeout(s);
}

/* osl_new_session_cb publishes a session that a handshake has made: for a store,
 * or in libssl's cache. Until then only this connection knows it, and its life is
 * bounded. No reference is kept. */
int osl_new_session_cb(SSL *ssl, SSL_SESSION *s) {
	osl_ssl *t = SSL_get_app_data(ssl);
	const osl_ctx_data *r = SSL_CTX_get_app_data(t->first_ctx);

	/* A TLS 1.3 ticket that is no id is never looked up. */
	if (SSL_version(ssl) >= TLS1_3_VERSION && !(SSL_get_options(ssl) & SSL_OP_NO_TICKET))
		return 0;
	if (!osl_session_limit_new(ssl, s))
		return 0;
	osl_session_publish(s);
	if (r->store)
		osl_session_record(t, s);
	else if (!(r->cache_mode & SSL_SESS_CACHE_NO_INTERNAL_STORE) &&
	         !(r->cache_mode & SSL_SESS_CACHE_UPDATE_TIME && osl_session_ended(s)))
		SSL_CTX_add_session(t->first_ctx, s);
	return 0;
}

/* osl_ctx_use_store has sessions kept outside, and nowhere else; or, with on 0,
 * as the mode says. */
void osl_ctx_use_store(SSL_CTX *c, int on, long mode) {
	((osl_ctx_data *)SSL_CTX_get_app_data(c))->store = on;
	osl_ctx_set_cache_mode(c, mode);
}

/* osl_ssl_sessions_made gives the new sessions away. */
osl_bytes osl_ssl_sessions_made(osl_ssl *t) {
	osl_bytes r = {t->new_sessions, t->new_sessions_n, NULL};

	t->new_sessions = NULL;
	t->new_sessions_n = 0;
	return r;
}

/* osl_session_times_ok reports whether a session that comes from outside has times
 * that libssl counts with on every version: from 3.5 on a negative timeout is
 * read as hundreds of years. */
static int osl_session_times_ok(SSL_SESSION *s) {
	int64_t now = (int64_t)time(NULL);
	osl_ticket_data m;

	if (osl_ticket_data_read(s, &m) && osl_from_the_future(m.authenticated, now))
		return 0;
	return osl_session_time(s) >= 0 && !osl_from_the_future(osl_session_time(s), now) &&
	       SSL_SESSION_get_timeout(s) >= 0 && SSL_SESSION_get_timeout(s) <= INT32_MAX;
}

/* osl_ssl_answer_session is what the store has found: a session that may be resumed, with
 * that id if one is given. */
osl_answer_result osl_ssl_answer_session(osl_ssl *t, const unsigned char *der, size_t n, const unsigned char *id,
                                         size_t id_n) {
	osl_session_result made = osl_session_parse(osl_ctx_library(t->first_ctx), der, n);
	osl_answer_result r = {OSL_ANSWER_NO_SESSION, made.fail};
	const unsigned char *p;
	unsigned int has;

	if (made.fail)
		return r;
	p = SSL_SESSION_get_id(made.session, &has);
	if (id_n && (id_n != has || memcmp(p, id, has) != 0))
		r.outcome = OSL_ANSWER_OTHER_ID;
	else if (!osl_session_times_ok(made.session))
		r.outcome = OSL_ANSWER_BAD_TIME;
	else
		r.outcome = OSL_ANSWER_TAKEN;
	if (r.outcome != OSL_ANSWER_TAKEN) {
		SSL_SESSION_free(made.session);
		return r;
	}
	if (t->answers_n == OSL_MAX_IDS)
		SSL_SESSION_free(t->answers[--t->answers_n]);
	t->answers[t->answers_n++] = made.session;
	return r;
}

/* osl_ssl_invalidated_id is the id of the session that libssl has marked not resumable, because of an
 * alert or an unclean end; that is what a store must forget. */
size_t osl_ssl_invalidated_id(osl_ssl *t, unsigned char *id) {
	SSL_SESSION *s = SSL_get_session(t->ssl);
	const unsigned char *p;
	unsigned int n;

	if (t->forget_offer) {
		memcpy(id, t->offer.ids[0], sizeof t->offer.ids[0]);
		return sizeof t->offer.ids[0];
	}
	if (!s || !(p = SSL_SESSION_get_id(s, &n)) || !n || SSL_SESSION_is_resumable(s))
		return 0;
	memcpy(id, p, n);
	return n;
}
