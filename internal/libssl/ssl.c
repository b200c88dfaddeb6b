#include "ssl.h"
#include "refusal.h"
#include "resumption.h"
#include "session.h"
#include "state.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

static int osl_bio_read(BIO *b, char *p, int n) {
	osl_ssl *t = BIO_get_data(b);
	size_t k = n > 0 ? (size_t)n : 0;

	BIO_clear_retry_flags(b);
	if (k > t->in_n)
		k = t->in_n;
	if (k == 0) {
		/* When the handshake is done osl_call_end knows what the end means: to libssl
		 * from 3.0 on it would be the end of writing, too. */
		if (t->eof && (!SSL_is_init_finished(t->ssl) || SSL_get_options(t->ssl) & SSL_OP_IGNORE_UNEXPECTED_EOF)) {
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
	/* Order is kept: once something has spilled, everything spills. Room that was
	 * drained is used again, if that moves no more than was drained. */
	if (t->spill_cap - t->spill_n < k && t->spill_r > 0 && t->spill_r >= t->spill_n - t->spill_r) {
		t->spill_n -= t->spill_r;
		memmove(t->spill, t->spill + t->spill_r, t->spill_n);
		t->spill_r = 0;
	}
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

/* osl_ssl_note_sidctx remembers the context that was set: libssl has no getter. */
void osl_ssl_note_sidctx(osl_ssl *t, const unsigned char *sid, size_t n) {
	if (n)
		memcpy(t->sidctx, sid, n);
	t->sidctx_n = n;
}

/* osl_ssl_name_sidctx sets a context and remembers it. SSL_set_session_id_context. */
static int osl_ssl_name_sidctx(osl_ssl *t, const unsigned char *sid, unsigned int n) {
	if (SSL_set_session_id_context(t->ssl, sid, n) != 1)
		return 0;
	osl_ssl_note_sidctx(t, sid, n);
	return 1;
}

void osl_ssl_free(osl_ssl *t) {
	osl_enter();
	SSL_SESSION_free(t->last);
	while (t->tickets_n)
		SSL_SESSION_free(t->tickets[--t->tickets_n]);
	SSL_free(t->ssl);
	SSL_SESSION_free(t->offered);
	OPENSSL_free(t->ip);
	while (t->answers_n)
		SSL_SESSION_free(t->answers[--t->answers_n]);
	OPENSSL_clear_free(t->new_sessions, t->new_sessions_n);
	free(t->spill);
	OPENSSL_clear_free(t->keylog, t->keylog_n);
	osl_psks_free(&t->psks);
	OPENSSL_free(t->hello);
	OPENSSL_free(t);
	osl_sweep();
}

/* osl_ssl_new makes an SSL; with suspends it stops at every ClientHello. SSL_new. */
osl_ssl_result osl_ssl_new(SSL_CTX *c, int server, int suspends, const unsigned char *sid, size_t sid_n) {
	osl_ssl_result made = {NULL, NULL};
	BIO_METHOD *m = NULL;
	osl_ssl *t;
	BIO *b;

	osl_enter();
	if (!(m = osl_first(&osl_bio_methods, osl_bio_meth_new, osl_bio_meth_free)) || !(t = OPENSSL_zalloc(sizeof *t))) {
		made.fail = osl_take(0);
		return made;
	}
	t->refuse = t->alert = -1;
	t->timeouts = -1;
	t->suspends = suspends;
	t->first_ctx = c;
	/* The context is set for each SSL: Revoke may have changed it since c was frozen. */
	if (!(t->ssl = SSL_new(c)) || !SSL_set_app_data(t->ssl, t) || !osl_ssl_name_sidctx(t, sid, (unsigned int)sid_n) ||
	    !(b = BIO_new(m))) {
		made.fail = osl_take(0);
		osl_ssl_free(t);
		return made;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	/* Not before the handshake's end: it would take and give back 16 KiB for each of its records. */
	t->releases = (SSL_get_mode(t->ssl) & SSL_MODE_RELEASE_BUFFERS) != 0;
	SSL_clear_mode(t->ssl, SSL_MODE_RELEASE_BUFFERS);
	if (server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	osl_leave();
	made.t = t;
	return made;
}

void osl_call_begin(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, unsigned char *out, size_t out_cap) {
	osl_enter();
	t->in = in;
	t->in_n = in_n;
	t->eof = eof;
	t->saw_eof = 0;
	t->out = out;
	t->out_n = 0;
	t->out_cap = out_cap;
}

/* osl_ssl_end frees the SSL before the rest of t, and reports what that has done to
 * the session that a client offers. SSL_free. */
int osl_ssl_end(osl_ssl *t) {
	osl_enter();
	SSL_free(t->ssl);
	t->ssl = NULL;
	osl_sweep();
	return osl_ssl_offer_invalid(t);
}

/* What crypto/tls takes in a row; libssl takes any number of them. Of empty records and
 * warnings it takes 32 and 5. */
#define OSL_MAX_KEY_UPDATES 16

static int osl_is_flooded(const osl_ssl *t) {
	return t->key_updates > OSL_MAX_KEY_UPDATES;
}

/* osl_message_cb counts KeyUpdates. After too many of them it puts a record in place
 * of the input that libssl answers with unexpected_message. */
static void osl_message_cb(int sent, int version, int type, const void *p, size_t n, SSL *ssl, void *arg) {
	static const unsigned char misplaced[] = {SSL3_RT_HANDSHAKE, 3, 3, 0, 1, 0};
	osl_ssl *t = arg;

	(void)version, (void)ssl;
	if (sent || type != SSL3_RT_HANDSHAKE || n == 0 || *(const unsigned char *)p != SSL3_MT_KEY_UPDATE)
		return;
	t->key_updates++;
	if (osl_is_flooded(t)) {
		t->in = misplaced;
		t->in_n = sizeof misplaced;
	}
}

/* osl_say_flooded puts the reason in place of what libssl says of that record. */
static void osl_say_flooded(void) {
	ERR_clear_error();
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	ERR_raise(ERR_LIB_SSL, SSL_R_TOO_MANY_KEY_UPDATES);
#else
	SSLerr(0, SSL_R_TOO_MANY_KEY_UPDATES); /* 3.0 deprecates it */
#endif
}

/* osl_call_end gives back what was lent and reports what ret, of the libssl call just made, means. */
osl_call_result osl_call_end(osl_ssl *t, int ret, size_t n, size_t in_n) {
	osl_call_result r = {0};
	int code = ret > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ret);

	switch (code) {
	case SSL_ERROR_NONE:
		r.want = OSL_DONE;
		break;
	case SSL_ERROR_WANT_READ:
		r.want = OSL_INPUT;
		if (t->eof && SSL_is_init_finished(t->ssl)) {
			r.want = OSL_EOF;
			osl_ssl_invalidate_cut(t);
		}
		break;
	case SSL_ERROR_WANT_CLIENT_HELLO_CB:
		r.want = OSL_HELLO;
		break;
	case SSL_ERROR_ZERO_RETURN:
		r.want = OSL_CLOSE_NOTIFY;
		break;
	default:
		r.want = OSL_FAILED;
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING /* 3.0; 1.1.1 says SSL_ERROR_SYSCALL with an empty queue */
		if (t->saw_eof && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			r.want = OSL_EOF;
#endif
		if (t->saw_eof && code == SSL_ERROR_SYSCALL && !ERR_peek_error())
			r.want = OSL_EOF;
		if (r.want == OSL_EOF) {
			ERR_clear_error();
			break;
		}
		if (osl_is_flooded(t))
			osl_say_flooded();
		r.fail = osl_take(code);
		if (r.fail->n)
			r.fail->verify = (int)SSL_get_verify_result(t->ssl);
	}
	if (t->last && SSL_get_session(t->ssl) != t->last) {
		SSL_SESSION_free(t->last);
		t->last = SSL_get1_session(t->ssl);
		t->got_ticket = r.new_session = 1;
	}
	r.n = n;
	r.used = osl_is_flooded(t) ? in_n : in_n - t->in_n;
	r.out = t->out_n;
	r.spilled = t->spill_n - t->spill_r;
	r.pending = SSL_pending(t->ssl) > 0;
	r.hellos = t->hellos;
	r.got_ticket = t->got_ticket;
	r.resumption = (unsigned char)t->resumption;
	r.keylog = t->keylog_n != 0;
	r.has_new_sessions = t->new_sessions_n != 0;
	r.offer_invalid = osl_ssl_offer_invalid(t);
	r.refused = (unsigned char)t->refused;
	r.tickets_held = t->held_tickets != 0;
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
	return SSL_get_peer_certificate(ssl);  /* renamed in 3.0 */
#endif
}

/* osl_name_verified reports whether libssl has looked for the name that a client
 * expects: it verifies a chain with a copy of what is expected, and without, if
 * there was no memory for the copy. SSL_get0_peername, X509_check_ip_asc. */
static int osl_name_verified(osl_ssl *t) {
	osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));
	X509 *leaf;
	int ok;

	if (!t->name_set || r->any_name || SSL_session_reused(t->ssl) || !(SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER) ||
	    SSL_get_verify_result(t->ssl) != X509_V_OK)
		return 1;
	if (SSL_get_psk_identity(t->ssl) && !SSL_SESSION_get0_peer(SSL_get_session(t->ssl)))
		return 1; /* a server that has the PSK needs no certificate */
	if (!t->ip)
		return SSL_get0_peername(t->ssl) != NULL;
	leaf = osl_ssl_leaf(t->ssl);
	ok = leaf && X509_check_ip_asc(leaf, t->ip, 0) == 1;
	X509_free(leaf);
	return ok;
}

/* osl_asks_peer says whether a client is asked for a certificate, which Go may not be
 * able to read. Without a context newer versions make no tickets then. */
static int osl_asks_peer(const osl_ssl *t) {
	return t->sidctx_n && SSL_get_verify_mode(t->ssl) & SSL_VERIFY_PEER;
}

/* osl_handshake goes on with the handshake. decides says that Go may refuse the
 * connection at its end; a resumed one may always be refused. SSL_do_handshake. */
osl_call_result osl_handshake(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, int decides,
                              unsigned char *out, size_t out_cap) {
	osl_call_result r;
	int ret, resuming;

	osl_call_begin(t, in, in_n, eof, out, out_cap);
	if (t->suspended) {
		t->suspended = 0;
		t->resume = 1;
	}
	if (!SSL_is_server(t->ssl))
		t->hellos = 1; /* a client has sent its offer */
	ret = SSL_do_handshake(t->ssl);
	if (ret == 1) {
		osl_classify_resumption(t);
		if (t->releases) { /* SSL_CTX_get_mode writes to the SSL_CTX, which others share */
			SSL_set_mode(t->ssl, SSL_MODE_RELEASE_BUFFERS);
			/* Older versions free what a record is still read from (CVE-2024-4741). */
			if (!SSL_has_pending(t->ssl))
				SSL_free_buffers(t->ssl);
		}
		SSL_set_msg_callback(t->ssl, osl_message_cb);
		SSL_set_msg_callback_arg(t->ssl, t);
	}
	if (ret == 1 && !SSL_is_server(t->ssl)) {
		t->last = SSL_get1_session(t->ssl);
		if (!osl_name_verified(t))
			t->refused = OSL_NAME_NOT_VERIFIED;
	} else if (t->timeouts >= 0 && t->hellos)
		osl_classify_timeout(t);
	resuming = ret != 1 && SSL_is_server(t->ssl) && t->hellos && SSL_session_reused(t->ssl);
	if (ret != 1 && SSL_is_server(t->ssl) && t->hellos && (decides || resuming || osl_asks_peer(t)))
		osl_hold_tickets(t);
	r = osl_call_end(t, ret, 0, in_n);
	r.has_peer = ret == 1 && SSL_SESSION_get0_peer(SSL_get_session(t->ssl)) != NULL;
	if (resuming && r.want == OSL_INPUT && SSL_version(t->ssl) < TLS1_3_VERSION) {
		r.resuming = 1;
		r.resumption = OSL_RESUMED;
		r.refused = (unsigned char)osl_session_check(t, SSL_get_session(t->ssl));
	}
	osl_sweep();
	return r;
}

/* osl_has_record reports whether a whole record is at hand, so that reading on costs no wait. */
static int osl_has_record(const osl_ssl *t) {
	return t->in_n >= 5 && t->in_n - 5 >= ((size_t)t->in[3] << 8 | t->in[4]);
}

/* osl_send_key_update sends the answer to a KeyUpdate, which libssl leaves to the next
 * write: that may never come. A write of nothing sends it and nothing else. */
static void osl_send_key_update(osl_ssl *t, osl_call_result *r) {
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
osl_call_result osl_read(osl_ssl *t, unsigned char *p, size_t n, const unsigned char *in, size_t in_n, int eof) {
	size_t got = 0, k;
	osl_call_result r;
	int ret;

	osl_call_begin(t, in, in_n, eof, NULL, 0);
	while ((ret = SSL_read_ex(t->ssl, p + got, n - got, &k)) == 1) {
		got += k;
		t->key_updates = 0;
		if (got == n || !osl_has_record(t))
			break;
	}
	r = osl_call_end(t, ret, got, in_n);
	osl_send_key_update(t, &r);
	osl_leave();
	return r;
}

/* osl_write encrypts all of p. SSL_write_ex. */
osl_call_result osl_write(osl_ssl *t, const unsigned char *p, size_t n, unsigned char *out, size_t out_cap) {
	size_t put = 0, k;
	osl_call_result r;
	int ret = 1;

	osl_call_begin(t, NULL, 0, 0, out, out_cap);
	while (put < n && (ret = SSL_write_ex(t->ssl, p + put, n - put, &k)) == 1)
		put += k;
	r = osl_call_end(t, ret, put, 0);
	osl_leave();
	return r;
}

/* osl_shutdown sends close_notify, and when it has been sent reads on for the
 * peer's. SSL_shutdown. */
osl_call_result osl_shutdown(osl_ssl *t, const unsigned char *in, size_t in_n, int eof, unsigned char *out,
                             size_t out_cap) {
	osl_call_result r;
	int ret;

	osl_call_begin(t, in, in_n, eof, out, out_cap);
	ret = SSL_shutdown(t->ssl);
	r = osl_call_end(t, ret == 0 ? 1 : ret, 0, in_n);
	if (ret == 0)
		r.want = OSL_INPUT; /* said; the peer's is not here yet */
	osl_sweep();
	return r;
}

int osl_ssl_version(osl_ssl *t) {
	return SSL_version(t->ssl);
}

/* osl_keep_session marks both directions as shut, without which SSL_free takes
 * the session out of the cache and marks it not resumable. SSL_set_shutdown. */
void osl_keep_session(osl_ssl *t) {
	osl_enter();
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	osl_leave();
}

/* osl_drain takes what spilled. */
size_t osl_drain(osl_ssl *t, unsigned char *p, size_t n) {
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
 * SSL_CTX that the SSL was made from. */
osl_fail *osl_ssl_set_ctx(osl_ssl *t, SSL_CTX *c, const unsigned char *sid, size_t sid_n) {
	X509_VERIFY_PARAM *to, *from;
	SSL *ssl = t->ssl;
	uint64_t options;
	osl_ctx_data *r;

	osl_enter();
	if (!(c = SSL_set_SSL_CTX(ssl, c)))
		return osl_take(0);
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(c), SSL_CTX_get_verify_callback(c));
	SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(c));
	to = SSL_get0_param(ssl);
	from = SSL_CTX_get0_param(c);
	X509_VERIFY_PARAM_clear_flags(to, X509_VERIFY_PARAM_get_flags(to));
	X509_VERIFY_PARAM_set_flags(to, X509_VERIFY_PARAM_get_flags(from));
	X509_VERIFY_PARAM_set_hostflags(to, X509_VERIFY_PARAM_get_hostflags(from));
	options = SSL_CTX_get_options(c);
	SSL_clear_options(ssl, SSL_get_options(ssl) & ~options);
	SSL_set_options(ssl, options);
	osl_psk_switch(t);
	SSL_set_max_cert_list(ssl, SSL_CTX_get_max_cert_list(c));
	/* A server's ALPN is chosen by the new SSL_CTX; what a client offers and asks for is the SSL's own. */
	r = SSL_CTX_get_app_data(c);
	if (!SSL_is_server(ssl) && (SSL_set_alpn_protos(ssl, r->alpn, (unsigned int)r->alpn_n) != 0 ||
	                            SSL_set_tlsext_status_type(ssl, SSL_CTX_get_tlsext_status_type(c)) != 1))
		return osl_take(0);
	return osl_result(SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(c)) == 1 &&
	                  SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(c)) == 1 &&
	                  osl_ssl_name_sidctx(t, sid, (unsigned int)sid_n));
}

/* osl_ssl_set_name asks for a server by name and expects that name, or that
 * address, in its certificate. After a failure the SSL may expect neither: it must
 * not be used until a name was set. SSL_set_tlsext_host_name, X509_VERIFY_PARAM_set1_host. */
osl_fail *osl_ssl_set_name(osl_ssl *t, const char *name, int is_ip) {
	X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);

	osl_enter();
	t->name_set = 1;
	OPENSSL_free(t->ip);
	t->ip = NULL;
	/* What was asked for before must go: libssl would expect both. */
	if (is_ip) /* RFC 6066: an address is no server name */
		return osl_result((t->ip = OPENSSL_strdup(name)) && X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 &&
		                  X509_VERIFY_PARAM_set1_host(param, NULL, 0) == 1 &&
		                  SSL_set_tlsext_host_name(t->ssl, NULL) == 1);
	X509_VERIFY_PARAM_set_hostflags(param, X509_VERIFY_PARAM_get_hostflags(SSL_CTX_get0_param(
											   SSL_get_SSL_CTX(t->ssl)))); /* early 1.1.1 inherits none */
	return osl_result(SSL_set_tlsext_host_name(t->ssl, name) == 1 && X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 &&
	                  X509_VERIFY_PARAM_set1_ip(param, NULL, 0) == 1);
}

/* osl_ssl_state reads what a connection has come to. */
void osl_ssl_state(osl_ssl *t, osl_state *s) {
	const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
	const SSL_SESSION *session = SSL_get_session(t->ssl);
	const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	const char *psk = SSL_get_psk_identity(t->ssl);
	const unsigned char *alpn, *sid;
	unsigned int n;

	osl_enter();
	s->version = SSL_version(t->ssl);
	s->reused = SSL_session_reused(t->ssl);
	s->done = SSL_is_init_finished(t->ssl);
	s->verify_result = (int)SSL_get_verify_result(t->ssl);
	s->cipher = cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0;
	snprintf(s->cipher_name, sizeof s->cipher_name, "%s", cipher ? SSL_CIPHER_get_name(cipher) : "");
	osl_ssl_group(t->ssl, s);
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
	snprintf(s->psk_identity, sizeof s->psk_identity, "%s", psk ? psk : "");
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

/* osl_put_certs is a leaf, unless it is NULL, and the chain from one on, DER behind 32-bit lengths. */
osl_bytes osl_put_certs(X509 *leaf, STACK_OF(X509) *chain, int from) {
	osl_bytes r = {NULL, 0, NULL};
	unsigned char *p = NULL;
	int i, pass, ok = 1;
	size_t n;

	for (pass = 0; ok && pass < 2; pass++) {
		if (pass == 1 && !(r.p = p = OPENSSL_malloc(r.n)))
			break;
		r.n = 0;
		if (leaf)
			ok = (r.n = osl_put_cert(leaf, &p)) != 0;
		for (i = from; ok && i < sk_X509_num(chain); i++) {
			r.n += n = osl_put_cert(sk_X509_value(chain, i), &p);
			ok = n != 0;
		}
	}
	if (!ok || !r.p) {
		OPENSSL_free(r.p);
		r = (osl_bytes){NULL, 0, osl_take(0)};
	}
	return r;
}

/* osl_ssl_peer_certs is the peer's leaf and then its chain.
 * SSL_get1_peer_certificate, SSL_get_peer_cert_chain. */
osl_bytes osl_ssl_peer_certs(osl_ssl *t) {
	osl_bytes r = {NULL, 0, NULL};
	X509 *leaf;

	osl_enter();
	if (!(leaf = osl_ssl_leaf(t->ssl))) {
		osl_leave();
		return r;
	}
	/* The chain is with the leaf on a client, without on a server. */
	r = osl_put_certs(leaf, SSL_get_peer_cert_chain(t->ssl), SSL_is_server(t->ssl) ? 0 : 1);
	X509_free(leaf);
	osl_sweep();
	return r;
}

/* osl_ssl_keylog gives the collected lines away. */
osl_bytes osl_ssl_keylog(osl_ssl *t) {
	osl_bytes r = {t->keylog, t->keylog_n, NULL};

	t->keylog = NULL;
	t->keylog_n = 0;
	return r;
}

/* osl_ssl_export derives keying material. SSL_export_keying_material. */
osl_fail *osl_ssl_export(osl_ssl *t, unsigned char *p, size_t n, const char *label, size_t label_n,
                         const unsigned char *context, size_t context_n, int use_context) {
	osl_enter();
	return osl_result(SSL_export_keying_material(t->ssl, p, n, label, label_n, context, context_n, use_context) == 1);
}
