#include "session.h"
#include "pem.h"
#include "resumption.h"
#include "store.h"

#include <openssl/pem.h>

void osl_session_free(SSL_SESSION *s) {
	osl_enter();
	SSL_SESSION_free(s);
	osl_leave();
}

/* osl_session_parse reads one DER session and nothing behind it. d2i_SSL_SESSION. */
osl_session_result osl_session_parse(const osl_library *l, const unsigned char *der, size_t n) {
	osl_session_result made = {NULL, NULL};
	const unsigned char *p = der;

	osl_enter();
	if (n <= LONG_MAX)
		made.session = osl_library_session(l, &p, (long)n);
	if (!made.session || p != der + n) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_sweep();
	return made;
}

/* osl_session_der writes a session. i2d_SSL_SESSION. */
osl_bytes osl_session_der(SSL_SESSION *s) {
	osl_bytes r = {NULL, 0, NULL};
	unsigned char *p = NULL;
	int n;

	osl_enter();
	n = i2d_SSL_SESSION(s, &p);
	if (n <= 0) {
		r.fail = osl_take(0);
		return r;
	}
	r.p = p;
	r.n = (size_t)n;
	osl_leave();
	return r;
}

void osl_session_get_info(const SSL_SESSION *s, osl_session_info *info) {
	const unsigned char *p;
	unsigned int n;

	osl_enter();
	p = SSL_SESSION_get_id(s, &n);
	memcpy(info->id, p, n);
	info->id_n = n;
	p = SSL_SESSION_get0_id_context(s, &n);
	memcpy(info->sidctx, p, n);
	info->sidctx_n = n;
	info->version = SSL_SESSION_get_protocol_version(s);
	info->resumable = SSL_SESSION_is_resumable(s);
	info->time = osl_session_time(s);
	info->timeout = SSL_SESSION_get_timeout(s);
	osl_leave();
}

/* osl_ssl_session is the connection's session if it can be resumed, NULL else. SSL_get1_session. */
SSL_SESSION *osl_ssl_session(osl_ssl *t) {
	SSL_SESSION *s;

	osl_enter();
	s = SSL_get1_session(t->ssl);
	if (s && !SSL_SESSION_is_resumable(s)) {
		SSL_SESSION_free(s);
		s = NULL;
	}
	osl_leave();
	return s;
}

/* osl_new_ticket_cb keeps a session that a TLS 1.3 server has sent: libssl itself has
 * only the newest one, and one record may bring several. */
static int osl_new_ticket_cb(SSL *ssl, SSL_SESSION *s) {
	osl_ssl *t = SSL_get_app_data(ssl);

	if (SSL_version(ssl) < TLS1_3_VERSION)
		return 0;
	if (t->tickets_n == OSL_MAX_TICKETS) {
		SSL_SESSION_free(t->tickets[0]);
		memmove(t->tickets, t->tickets + 1, --t->tickets_n * sizeof *t->tickets);
	}
	t->tickets[t->tickets_n++] = s;
	return 1; /* the reference is kept */
}

/* osl_ctx_keep_tickets has a client keep its TLS 1.3 sessions for osl_ssl_ticket.
 * SSL_CTX_sess_set_new_cb. */
void osl_ctx_keep_tickets(SSL_CTX *c, int on) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);

	r->keep_tickets = on;
	SSL_CTX_sess_set_new_cb(c, on ? osl_new_ticket_cb : NULL);
	osl_ctx_set_cache_mode(c, r->cache_mode);
}

/* osl_ssl_ticket is the oldest of the sessions that are kept, NULL if there is none. */
SSL_SESSION *osl_ssl_ticket(osl_ssl *t) {
	SSL_SESSION *s = NULL;

	osl_enter();
	while (!s && t->tickets_n) {
		s = t->tickets[0];
		memmove(t->tickets, t->tickets + 1, --t->tickets_n * sizeof *t->tickets);
		if (!SSL_SESSION_is_resumable(s)) {
			SSL_SESSION_free(s);
			s = NULL;
		}
	}
	osl_leave();
	return s;
}

/* osl_ssl_set_session offers a copy of a session in the next handshake: libssl
 * writes into what it resumes, and others may offer the same session. NULL takes
 * the offer back. SSL_set_session. */
osl_fail *osl_ssl_set_session(osl_ssl *t, SSL_SESSION *s) {
	SSL_SESSION *copy = NULL;

	osl_enter();
	if (s && !(copy = SSL_SESSION_dup(s)))
		return osl_take(0);
	if (SSL_set_session(t->ssl, copy) != 1) {
		SSL_SESSION_free(copy);
		return osl_take(0);
	}
	SSL_SESSION_free(t->offered);
	t->offered = copy;
	t->offer_was_good = copy && SSL_SESSION_is_resumable(copy);
	osl_leave();
	return NULL;
}

/* osl_ssl_offer_invalid reports whether libssl has made the session that a client
 * offers one that cannot be resumed. */
int osl_ssl_offer_invalid(const osl_ssl *t) {
	return t->offer_was_good && !SSL_SESSION_is_resumable(t->offered);
}

/* osl_session_set_sidctx names the context of a copy: a session may be shared,
 * with a cache among others, and libssl takes no lock. SSL_SESSION_set1_id_context. */
osl_session_result osl_session_set_sidctx(SSL_SESSION *s, const unsigned char *sid, size_t n) {
	osl_session_result made = {NULL, NULL};

	osl_enter();
	made.session = SSL_SESSION_dup(s);
	if (made.session)
		osl_session_private(made.session);
	if (!made.session ||
	    SSL_SESSION_set1_id_context(made.session, sid, n > UINT_MAX ? UINT_MAX : (unsigned int)n) != 1) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_leave();
	return made;
}

/* ---- sessions in PEM ---- */

/* osl_session_parse_pem reads one PEM session, and nothing behind it within its
 * block: PEM_read_bio_SSL_SESSION would not notice, and would ask for a password
 * on the terminal. PEM_bytes_read_bio. */
osl_session_result osl_session_parse_pem(const unsigned char *pem, size_t n) {
	osl_session_result made = {NULL, NULL};
	unsigned char *der = NULL;
	int asked = 0;
	long der_n = 0;
	BIO *b;

	osl_enter();
	b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	if (b && PEM_bytes_read_bio(&der, &der_n, NULL, PEM_STRING_SSL_SESSION, b, osl_no_password, &asked))
		made = osl_session_parse(NULL, der, (size_t)der_n);
	else
		made.fail = osl_take(0);
	OPENSSL_clear_free(der, (size_t)der_n);
	BIO_free(b);
	osl_sweep();
	return made;
}

/* osl_session_pem writes a session. PEM_write_bio_SSL_SESSION. */
osl_bytes osl_session_pem(SSL_SESSION *s) {
	osl_bytes r = {NULL, 0, NULL};
	BIO *b;
	char *p;
	long n;

	osl_enter();
	b = BIO_new(BIO_s_secmem());
	if (!b || !PEM_write_bio_SSL_SESSION(b, s) || (n = BIO_get_mem_data(b, &p)) <= 0 ||
	    !(r.p = OPENSSL_memdup(p, (size_t)n)))
		r.fail = osl_take(0);
	else
		r.n = (size_t)n;
	BIO_free(b);
	osl_sweep();
	return r;
}

/* osl_session_share is the same session once more. SSL_SESSION_up_ref. */
SSL_SESSION *osl_session_share(SSL_SESSION *s) {
	SSL_SESSION_up_ref(s);
	return s;
}

int64_t osl_session_time(const SSL_SESSION *s) {
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
	return (int64_t)SSL_SESSION_get_time_ex(s); /* the older one ends in 2038 */
#else
	return SSL_SESSION_get_time(s);
#endif
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

void osl_session_publish(SSL_SESSION *s) {
	SSL_SESSION_set_ex_data(s, osl_published_index(), s);
}

void osl_session_private(const SSL_SESSION *s) {
	if (SSL_SESSION_get_ex_data(s, osl_published_index())) {
		fputs("openssl: a session is changed that other connections can see\n", stderr);
		abort();
	}
}
#else
void osl_session_publish(SSL_SESSION *s) {
	(void)s;
}
void osl_session_private(const SSL_SESSION *s) {
	(void)s;
}
#endif

void osl_session_set_timeout(SSL_SESSION *s, int64_t seconds) {
	osl_session_private(s);
	SSL_SESSION_set_timeout(s, (long)seconds);
}

void osl_session_set_time(SSL_SESSION *s, int64_t at) {
	osl_session_private(s);
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
	SSL_SESSION_set_time_ex(s, (time_t)at);
#else
	SSL_SESSION_set_time(s, (long)at);
#endif
}

/* osl_ssl_invalidate_session makes libssl forget the session of the connection: it is not resumed any
 * more. SSL_CTX_remove_session. */
void osl_ssl_invalidate_session(osl_ssl *t) {
	SSL_SESSION *s = SSL_get_session(t->ssl);

	osl_enter();
	if (s)
		SSL_CTX_remove_session(t->first_ctx, s);
	/* TLS 1.3 has made a new one out of what the client has offered. */
	if (s && SSL_is_server(t->ssl) && SSL_session_reused(t->ssl) && SSL_version(t->ssl) >= TLS1_3_VERSION) {
		SSL_SESSION *offered = SSL_SESSION_dup(s);
		size_t i;

		if (offered)
			osl_session_private(offered);
		for (i = 0; offered && i < t->offer.ids_n; i++)
			if (SSL_SESSION_set1_id(offered, t->offer.ids[i], sizeof t->offer.ids[i]))
				SSL_CTX_remove_session(t->first_ctx, offered);
		SSL_SESSION_free(offered);
		t->forget_offer = t->offer.ids_n > 0;
	}
	osl_sweep();
}

/* osl_ssl_invalidate_cut does that for a connection whose input has ended without
 * close_notify, as libssl does when it reads such an end, which it is not shown
 * after the handshake, so that this side can go on writing: 1.1.1 does not. */
void osl_ssl_invalidate_cut(osl_ssl *t) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	osl_ssl_invalidate_session(t);
#else
	(void)t;
#endif
}

/* osl_ssl_may_offer says whether a client that verifies its server may offer a session
 * which another connection has made: the certificate in it has not expired, and is valid
 * for the name asked for. libssl does not look again. X509_check_host, X509_check_ip_asc. */
int osl_ssl_may_offer(osl_ssl *t, SSL_SESSION *s) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));
	const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	X509 *peer = SSL_SESSION_get0_peer(s);
	int ok;

	if (!(SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) || r->accept_any)
		return 1;
	osl_enter();
	if (!peer) {
		ok = osl_psk_of_session(t, s) == OSL_PSK_KNOWN;
		osl_sweep();
		return ok;
	}
	ok = X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
	if (ok && t->ip && !r->any_name)
		ok = X509_check_ip_asc(peer, t->ip, 0) == 1;
	else if (ok && name && !r->any_name)
		ok = X509_check_host(peer, name, 0, X509_VERIFY_PARAM_get_hostflags(SSL_get0_param(t->ssl)), NULL) == 1;
	osl_sweep();
	return ok;
}
