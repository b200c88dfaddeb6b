/* The system's roots: one store for all clients. */
#ifndef OSL_ROOTS_H
#define OSL_ROOTS_H

#include "ctx.h"

/* osl_roots is a store with the certificates of a file and with a folder. It is shared,
 * and libcrypto adds to it what it looks up in the folder; certs and crls never change. */
typedef struct {
	X509_STORE *store;
	STACK_OF(X509) *certs;
	STACK_OF(X509_CRL) *crls;
	char *dir;
} osl_roots;

/* osl_roots_result is roots, or the reason why there are none. With roots fail is the
 * reason of the first damaged block. */
typedef struct {
	osl_roots *roots;
	int blocks;  /* of the file */
	int damaged; /* that could not be read */
	int first;   /* the number of the first of them */
	osl_fail *fail;
} osl_roots_result;

const char *osl_roots_file(void);
const char *osl_roots_dir(void);
osl_roots_result osl_roots_new(const osl_library *l, const unsigned char *pem, size_t n, const char *dir);
void osl_roots_free(osl_roots *roots);
void osl_ctx_share_roots(SSL_CTX *c, osl_roots *roots);
osl_fail *osl_ctx_add_roots(SSL_CTX *c, osl_roots *roots);
osl_change_result osl_ctx_add_trust(SSL_CTX *c, const unsigned char *pem, size_t n);

#endif
