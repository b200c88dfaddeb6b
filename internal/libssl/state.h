/* What a connection has come to, beyond osl_ssl_state. */
#ifndef OSL_STATE_H
#define OSL_STATE_H

#include "ssl.h"

/* osl_finished is the Finished messages of both ends. */
typedef struct {
	unsigned char local[EVP_MAX_MD_SIZE], peer[EVP_MAX_MD_SIZE];
	size_t local_n, peer_n;
	int extended_master_secret; /* or TLS 1.3, which needs none */
} osl_finished;

void osl_ssl_group(SSL *ssl, osl_state *s);
osl_bytes osl_ssl_verified_chain(osl_ssl *t);
osl_bytes osl_ssl_ocsp_response(osl_ssl *t);
void osl_ssl_finished(osl_ssl *t, osl_finished *f);

#endif
