#include "resumption.h"
#include "session.h"

static const unsigned char osl_ticket_data_tag[8] = {'s', 'i', 'd', 'c', 't', 'x', 0, 1};

int osl_ticket_data_read(SSL_SESSION *s, osl_ticket_data *m) {
	void *p;
	size_t n;

	if (SSL_SESSION_get0_ticket_appdata(s, &p, &n) != 1 || n != sizeof *m)
		return 0;
	memcpy(m, p, n);
	return memcmp(m->tag, osl_ticket_data_tag, sizeof m->tag) == 0;
}

static int osl_ticket_data_write(SSL_SESSION *s, const osl_ticket_data *m) {
	osl_session_private(s);
	return SSL_SESSION_set1_ticket_appdata(s, m, sizeof *m);
}

/* osl_session_authenticated is when the peer was first authenticated, or without a
 * ticket data, of a session made where nothing bounds its life, when it was made. */
int64_t osl_session_authenticated(SSL_SESSION *s) {
	osl_ticket_data m;

	return osl_ticket_data_read(s, &m) ? m.authenticated : osl_session_time(s);
}

/* osl_add is a + b within what 64 bits hold: times come out of DER, too. */
int64_t osl_add(int64_t a, int64_t b) {
	int64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return b > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

/* osl_sub is a - b within what 64 bits hold. */
int64_t osl_sub(int64_t a, int64_t b) {
	int64_t difference;

	if (__builtin_sub_overflow(a, b, &difference))
		return b < 0 ? INT64_MAX : INT64_MIN;
	return difference;
}

/* osl_from_the_future reports whether a time is further ahead than the clocks of
 * two machines are apart: an age that is counted from it bounds nothing. */
int osl_from_the_future(int64_t made, int64_t now) {
	return made > osl_add(now, 60);
}

int osl_limits_lifetime(const osl_ctx_data *r) {
	return r->checks || r->max_age;
}

/* osl_ends_soon reports whether a session ends within a second: to libssl it may have
 * ended, by a clock that is ahead of time(2) by a tick. */
int osl_ends_soon(const SSL_SESSION *s, int64_t now) {
	return osl_sub(now, osl_session_time(s)) >= osl_sub(SSL_SESSION_get_timeout(s), 1);
}

/* osl_not_after is when a certificate ends; one whose date cannot be read has ended. */
static int64_t osl_not_after(X509 *x, int64_t now) {
	int days, seconds;

	if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)))
		return now;
	return (int64_t)time(NULL) + (int64_t)days * 86400 + seconds; /* counted from this moment */
}

/* osl_session_ends is when a session is not accepted any more that
 * was first authenticated then. */
int64_t osl_session_ends(const osl_ctx_data *r, SSL_SESSION *s, int64_t authenticated, int64_t now) {
	int64_t ends = r->max_age ? osl_add(authenticated, r->max_age) : INT64_MAX;
	X509 *peer = r->checks ? SSL_SESSION_get0_peer(s) : NULL;

	if (peer && osl_not_after(peer, now) < ends)
		ends = osl_not_after(peer, now);
	return ends;
}

/* osl_requires_peer reports whether a certificate is required; without
 * SSL_VERIFY_PEER the other bit means nothing. */
static int osl_requires_peer(SSL *ssl) {
	const int both = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

	return (SSL_get_verify_mode(ssl) & both) == both;
}

/* osl_decided_at is the moment that a resumed session is held against: a session that
 * ends while the handshake runs was good. A client can make a handshake last, so it is
 * no longer ago than a minute. */
static int64_t osl_decided_at(const osl_ssl *t) {
	int64_t earliest = (int64_t)time(NULL) - 60;

	return t->hello_done_at < earliest ? earliest : t->hello_done_at;
}

/* osl_checks_psk says whether a session must not outlive its PSK. That of a PSK which a
 * connection has for itself is in no context. */
static int osl_checks_psk(const osl_ssl *t) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));

	return r->checks || t->psks.n;
}

/* osl_session_check asks of a resumed session what libssl does not. */
int osl_session_check(osl_ssl *t, SSL_SESSION *s) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));
	X509 *peer = SSL_SESSION_get0_peer(s);
	int64_t now = osl_decided_at(t);
	int64_t authenticated = osl_session_authenticated(s);

	if (osl_checks_psk(t) && osl_psk_of_session(t, s) == OSL_PSK_GONE)
		return OSL_PSK_REMOVED;
	if (r->checks && !peer && osl_requires_peer(t->ssl) && osl_psk_of_session(t, s) == OSL_PSK_NONE)
		return OSL_NO_CERTIFICATE;
	if (r->checks && peer && osl_not_after(peer, now) <= now)
		return OSL_CERTIFICATE_EXPIRED;
	if (r->checks && peer && !r->accept_any && SSL_get_verify_result(t->ssl) != X509_V_OK)
		return OSL_NOT_VERIFIED;
	if (r->max_age && (osl_from_the_future(authenticated, now) || osl_sub(now, authenticated) >= r->max_age))
		return OSL_TOO_OLD;
	return OSL_ACCEPTED;
}

/* osl_session_limit_ticket bounds the life of a session that goes into a ticket. Its
 * clock is that of the first handshake in TLS 1.2, of the ticket in TLS 1.3. Never
 * below a second: libssl takes 0 badly. One with nothing left is declined for its ticket data. */
static void osl_session_limit_ticket(SSL_SESSION *s, int64_t ends) {
	int64_t timeout = osl_sub(ends, osl_session_time(s));

	if (timeout < SSL_SESSION_get_timeout(s))
		osl_session_set_timeout(s, timeout < 1 ? 1 : timeout);
}

/* osl_session_limit_by_id bounds the life of a session that is looked up by its id,
 * where no callback can decline it: libssl itself has to. Before 3.5 it resumes
 * in the last second, too, so that one is taken off. A session with nothing left
 * has been made long ago. */
static void osl_session_limit_by_id(SSL_SESSION *s, int64_t ends) {
	int64_t left = osl_sub(ends, osl_session_time(s));

	if (left > SSL_SESSION_get_timeout(s))
		return;
	osl_session_set_timeout(s, left < 3 ? 1 : left - 1);
	if (left < 2)
		osl_session_set_time(s, osl_session_time(s) - 3);
}

/* osl_session_limit_new bounds the life of a TLS 1.2 session that is looked up by its
 * id, and notes when its owner was authenticated: libssl moves a session's own
 * time when the mode asks for it. In TLS 1.3 osl_ticket_generate_cb has done both. */
int osl_session_limit_new(SSL *ssl, SSL_SESSION *s) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	osl_ticket_data m;

	if (!osl_limits_lifetime(r) || SSL_version(ssl) >= TLS1_3_VERSION)
		return 1;
	memcpy(m.tag, osl_ticket_data_tag, sizeof m.tag);
	m.authenticated = osl_session_time(s);
	m.ends = osl_session_ends(r, s, m.authenticated, (int64_t)time(NULL));
	osl_session_limit_by_id(s, m.ends);
	return osl_ticket_data_write(s, &m);
}

/* osl_classify_timeout notes that a session had expired: libssl counts it in the call that
 * decides, after it has compared the contexts. The counter is the SSL_CTX's, and
 * another connection's timeout in the same moment moves it, too. So the session
 * has to be where an expired one is: in TLS 1.2 libssl has taken it out of the
 * cache, in TLS 1.3 it stays. */
void osl_classify_timeout(osl_ssl *t) {
	int stays = SSL_version(t->ssl) >= TLS1_3_VERSION;
	const unsigned char *id;
	size_t id_n;

	if (osl_offered_ids(t, &id, &id_n) && SSL_CTX_sess_timeouts(t->first_ctx) != t->timeouts &&
	    (t->answers_n || SSL_has_matching_session_id(t->ssl, id, (unsigned int)id_n) == stays))
		t->resumption = OSL_EXPIRED;
	t->timeouts = -1;
}

/* osl_classify_resumption records, at a handshake's end, what became of the client's offer. A
 * session that is looked up by its id passes no callback; if it is there still,
 * and no timeout was counted, it was made within another context. One thing
 * looks the same: a session whose context was right and that the
 * connection could not take up, for a suite with another hash in TLS 1.3 or for
 * the extended master secret in TLS 1.2. A store's answer is at hand and is asked. */
void osl_classify_resumption(osl_ssl *t) {
	const unsigned char *id, *sid;
	size_t id_n, i;
	unsigned int n;

	if (osl_psk_used(t)) {
		t->resumption = OSL_PSK;
		return;
	}
	if (SSL_session_reused(t->ssl)) {
		t->resumption = OSL_RESUMED;
		if (SSL_is_server(t->ssl))
			t->refused = osl_session_check(t, SSL_get_session(t->ssl));
		return;
	}
	if (t->timeouts >= 0)
		osl_classify_timeout(t);
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
	else if (SSL_version(t->ssl) < TLS1_3_VERSION && t->offer.tickets && !(SSL_get_options(t->ssl) & SSL_OP_NO_TICKET))
		t->resumption = OSL_NOT_OFFERED; /* it would have a ticket: the id is made up, see RFC 5077, 3.4 */
	else
		t->resumption = OSL_NOT_FOUND;
}

/* osl_ticket_generate_cb writes into a ticket when its owner was first authenticated,
 * and bounds its life by that: a renewed ticket has a fresh clock. A session
 * with nothing left gets a second, and ticket data that osl_ticket_decrypt_cb declines. */
int osl_ticket_generate_cb(SSL *ssl, void *arg) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	const osl_ssl *t = SSL_get_app_data(ssl);
	SSL_SESSION *s = SSL_get_session(ssl);
	int64_t now = (int64_t)time(NULL);
	osl_ticket_data m;

	(void)arg;
	if (!osl_limits_lifetime(r))
		return 1;
	/* In TLS 1.2 libssl makes a ticket of a session that was looked up by its id, too,
	 * and many connections resume it at once. It was capped when it was made. */
	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_session_reused(ssl) && s != t->decrypted)
		return 1;
	if (!SSL_session_reused(ssl) || osl_psk_used(t)) /* by libssl's clock, which time(2) lags behind by a tick */
		m.authenticated = osl_session_time(s);
	else if (!osl_ticket_data_read(s, &m)) /* in TLS 1.3 libssl has set the clock of this copy to now */
		m.authenticated = SSL_version(ssl) < TLS1_3_VERSION ? osl_session_time(s)
		                  : t->found                        ? osl_session_time(t->found)
		                                                    : 0;
	memcpy(m.tag, osl_ticket_data_tag, sizeof m.tag);
	m.ends = osl_session_ends(r, s, m.authenticated, now);
	if (SSL_version(ssl) >= TLS1_3_VERSION && SSL_get_options(ssl) & SSL_OP_NO_TICKET)
		osl_session_limit_by_id(s, m.ends);
	else
		osl_session_limit_ticket(s, m.ends);
	return osl_ticket_data_write(s, &m);
}

/* osl_ticket_decrypt_cb notes why a ticket will not be resumed, and decides as libssl
 * does without a callback, but for what this package checks. A ticket that it
 * declines costs a full handshake, and is renewed. */
SSL_TICKET_RETURN osl_ticket_decrypt_cb(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t name_n,
                                        SSL_TICKET_STATUS status, void *arg) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	osl_ssl *t = SSL_get_app_data(ssl);
	int64_t now = (int64_t)time(NULL);
	const unsigned char *sid;
	unsigned int n;
	int why = 0;
	osl_ticket_data m;

	(void)name, (void)name_n, (void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
		/* libssl may have left why in the queue, where it would pass for a failure of the handshake. */
		ERR_clear_error();
		if (status == SSL_TICKET_NO_DECRYPT)
			t->resumption = OSL_UNDECRYPTABLE;
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
	sid = SSL_SESSION_get0_id_context(s, &n);
	if (n != t->sidctx_n || memcmp(sid, t->sidctx, n) != 0)
		why = OSL_CONTEXT_MISMATCH;
	else if (osl_sub(now, osl_session_time(s)) >= SSL_SESSION_get_timeout(s))
		why = OSL_EXPIRED;
	if (why)
		t->resumption = why;
	/* libssl would look no further, and would decline this ticket and the PSK behind it. */
	if (t->offer.psk_here && (why || osl_ends_soon(s, now)))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (osl_checks_psk(t) && osl_psk_of_session(t, s) == OSL_PSK_GONE)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (osl_limits_lifetime(r)) {
		/* Without ticket data it was made elsewhere, with the same keys. */
		if (!osl_ticket_data_read(s, &m))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		if (osl_from_the_future(m.authenticated, now))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		if (m.ends <= now || osl_session_ends(r, s, m.authenticated, now) <= now) {
			t->resumption = OSL_EXPIRED;
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		}
		if (r->checks && osl_requires_peer(ssl) && !SSL_SESSION_get0_peer(s) &&
		    osl_psk_of_session(t, s) == OSL_PSK_NONE)
			return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
	t->decrypted = s;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* osl_ctx_set_checks sets what is checked on a resumption. */
void osl_ctx_set_checks(SSL_CTX *c, int checks, int64_t max_age) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);

	r->checks = checks;
	r->max_age = max_age;
}
