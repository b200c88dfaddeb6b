/* Diffie-Hellman of TLS 1.2: parameters, and a choice of them. */
#ifndef OSL_DH_H
#define OSL_DH_H

#include "ctx.h"

osl_fail *osl_ctx_set_dh(SSL_CTX *c, const unsigned char *pem, size_t n);
osl_fail *osl_ctx_set_dh_auto(SSL_CTX *c, int on);

#endif
