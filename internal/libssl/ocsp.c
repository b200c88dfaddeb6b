#include "ocsp.h"

#include <openssl/ocsp.h>

void osl_staple_free(osl_staple *s) {
	if (!s)
		return;
	CRYPTO_THREAD_lock_free(s->lock);
	OPENSSL_free(s->der);
	OPENSSL_free(s);
}

/* osl_status_cb gives a client that asks the response of the SSL_CTX in force, which
 * after a switch is not the listener's. SSL_set_tlsext_status_ocsp_resp. */
static int osl_status_cb(SSL *ssl, void *arg) {
	osl_staple *s = ((osl_ctx_data *)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->staple;
	unsigned char *copy = NULL;
	size_t n;

	(void)arg; /* the listener's */
	if (!CRYPTO_THREAD_read_lock(s->lock))
		return SSL_TLSEXT_ERR_NOACK;
	n = s->n;
	if (n)
		copy = OPENSSL_memdup(s->der, n);
	CRYPTO_THREAD_unlock(s->lock);
	if (!n)
		return SSL_TLSEXT_ERR_NOACK;
	if (!copy)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	if (SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)n) != 1) {
		OPENSSL_free(copy);
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return SSL_TLSEXT_ERR_OK;
}

/* osl_staple_install gives a server's SSL_CTX room for a response. SSL_CTX_set_tlsext_status_cb. */
int osl_staple_install(SSL_CTX *c) {
	osl_ctx_data *data = SSL_CTX_get_app_data(c);

	if (!(data->staple = OPENSSL_zalloc(sizeof *data->staple)) || !(data->staple->lock = CRYPTO_THREAD_lock_new()))
		return 0;
	return SSL_CTX_set_tlsext_status_cb(c, osl_status_cb) == 1;
}

/* osl_ctx_set_ocsp_response replaces the response, also under load; n is 0 for none. d2i_OCSP_RESPONSE
 * says whether it is one. */
osl_fail *osl_ctx_set_ocsp_response(SSL_CTX *c, const unsigned char *der, size_t n) {
	osl_staple *s = ((osl_ctx_data *)SSL_CTX_get_app_data(c))->staple;
	unsigned char *copy = NULL, *old;
	const unsigned char *p = der;
	OCSP_RESPONSE *parsed;

	osl_enter();
	if (n) {
		parsed = n <= INT_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)n) : NULL;
		OCSP_RESPONSE_free(parsed);
		if (!parsed || p != der + n || !(copy = OPENSSL_memdup(der, n)))
			return osl_take(0);
	}
	if (!CRYPTO_THREAD_write_lock(s->lock)) {
		OPENSSL_free(copy);
		return osl_take(0);
	}
	old = s->der;
	s->der = copy;
	s->n = n;
	CRYPTO_THREAD_unlock(s->lock);
	OPENSSL_free(old);
	osl_leave();
	return NULL;
}

/* osl_ctx_set_ocsp_request has a client ask; -1 is OpenSSL's value for not asking.
 * SSL_CTX_set_tlsext_status_type. */
osl_fail *osl_ctx_set_ocsp_request(SSL_CTX *c, int on) {
	osl_enter();
	return osl_result(SSL_CTX_set_tlsext_status_type(c, on ? TLSEXT_STATUSTYPE_ocsp : -1) == 1);
}
