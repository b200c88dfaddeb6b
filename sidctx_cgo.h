/*
 * The session corner: session id contexts and sessions. See queue_cgo.h for
 * how an act is built.
 */
#ifndef OSL_SIDCTX_CGO_H
#define OSL_SIDCTX_CGO_H

#include "queue_cgo.h"
#include "machine_cgo.h"

/* libssl takes an unsigned int: a length of 2^32 must not arrive as 0. It
 * refuses every length above 32 without reading the bytes. */
static inline unsigned int osl_sidctx_len(size_t n) {
	return n > UINT_MAX ? UINT_MAX : (unsigned int)n;
}

static osl_fail *osl_ctx_set_sidctx(SSL_CTX *c, const unsigned char *sid, size_t n) {
	osl_enter();
	return osl_result(SSL_CTX_set_session_id_context(c, sid, osl_sidctx_len(n)) == 1);
}

static osl_fail *osl_ssl_set_sidctx(osl_ssl *t, const unsigned char *sid, size_t n) {
	osl_enter();
	return osl_result(SSL_set_session_id_context(t->ssl, sid, osl_sidctx_len(n)) == 1);
}

typedef struct {
	SSL_SESSION *session;
	osl_fail *fail;
} osl_session_made;

static void osl_session_free(SSL_SESSION *s) {
	osl_enter();
	SSL_SESSION_free(s);
	osl_leave();
}

/* osl_session_parse reads one DER session and nothing behind it. d2i_SSL_SESSION. */
static osl_session_made osl_session_parse(const unsigned char *der, size_t n) {
	osl_session_made made = {NULL, NULL};
	const unsigned char *p = der;

	osl_enter();
	if (n <= LONG_MAX)
		made.session = d2i_SSL_SESSION(NULL, &p, (long)n);
	if (!made.session || p != der + n) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_sweep();
	return made;
}

/* osl_session_der writes a session. i2d_SSL_SESSION. */
static osl_bytes osl_session_der(SSL_SESSION *s) {
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

typedef struct {
	unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
	size_t id_n;
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH];
	size_t sidctx_n;
	int version, resumable;
	int64_t time, timeout; /* seconds */
} osl_session_info;

static void osl_session_read(const SSL_SESSION *s, osl_session_info *info) {
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
#if OPENSSL_VERSION_NUMBER >= 0x30300000L
	info->time = (int64_t)SSL_SESSION_get_time_ex(s); /* the older one ends in 2038 */
#else
	info->time = SSL_SESSION_get_time(s);
#endif
	info->timeout = SSL_SESSION_get_timeout(s);
	osl_leave();
}

/* osl_ssl_session is the connection's session if it can be resumed, NULL else. SSL_get1_session. */
static SSL_SESSION *osl_ssl_session(osl_ssl *t) {
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

/* osl_ssl_set_session offers a session in the next handshake. SSL_set_session. */
static osl_fail *osl_ssl_set_session(osl_ssl *t, SSL_SESSION *s) {
	osl_enter();
	return osl_result(SSL_set_session(t->ssl, s) == 1);
}

/* osl_session_set_sidctx names the context of a copy: a session may be shared,
 * with a cache among others, and libssl takes no lock. SSL_SESSION_set1_id_context. */
static osl_session_made osl_session_set_sidctx(SSL_SESSION *s, const unsigned char *sid, size_t n) {
	osl_session_made made = {NULL, NULL};

	osl_enter();
	made.session = SSL_SESSION_dup(s);
	if (!made.session || SSL_SESSION_set1_id_context(made.session, sid, osl_sidctx_len(n)) != 1) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_leave();
	return made;
}

#endif
