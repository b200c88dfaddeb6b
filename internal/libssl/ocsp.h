/* OCSP responses: stapled by a server, kept by a client. */
#ifndef OSL_OCSP_H
#define OSL_OCSP_H

#include "ctx.h"

/* osl_staple is the response that a server's SSL_CTX sends. It may be replaced while
 * handshakes run. */
struct osl_staple {
	CRYPTO_RWLOCK *lock;
	unsigned char *der;
	size_t n;
};

int osl_staple_install(SSL_CTX *c);
void osl_staple_free(osl_staple *s);
osl_fail *osl_ctx_set_ocsp_response(SSL_CTX *c, const unsigned char *der, size_t n);
osl_fail *osl_ctx_set_ocsp_request(SSL_CTX *c, int on);

#endif
