/*
 * The two calls that this package is about: SSL_CTX_set_session_id_context and
 * SSL_set_session_id_context. Their 0 becomes a failure that holds the error queue,
 * in the same call into C.
 */
#ifndef OSL_SIDCTX_CGO_H
#define OSL_SIDCTX_CGO_H

#include "ssl.h" /* internal/libssl */

/* libssl takes an unsigned int: a length of 2^32 must not arrive as 0. It refuses
 * every length above 32 without reading the bytes. */
static unsigned int osl_sidctx_len(size_t n) {
	return n > UINT_MAX ? UINT_MAX : (unsigned int)n;
}

static osl_fail *osl_ctx_set_sidctx(SSL_CTX *c, const unsigned char *sid, size_t n) {
	osl_enter();
	return osl_result(SSL_CTX_set_session_id_context(c, sid, osl_sidctx_len(n)) == 1);
}

static osl_fail *osl_ssl_set_sidctx(osl_ssl *t, const unsigned char *sid, size_t n) {
	osl_enter();
	if (SSL_set_session_id_context(t->ssl, sid, osl_sidctx_len(n)) != 1)
		return osl_take(0);
	osl_ssl_note_sidctx(t, sid, n);
	osl_leave();
	return NULL;
}

#endif
