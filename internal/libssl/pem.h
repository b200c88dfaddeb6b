/*
 * PEM, read without a password. A reader of libcrypto that is given no callback
 * asks on the terminal for the password of an encrypted block, and waits for it.
 * Every reader of this package is given osl_no_password. Files that libssl reads
 * by itself are looked at before, with osl_pem_encrypted.
 */
#ifndef OSL_PEM_H
#define OSL_PEM_H

#include "library.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

/* osl_pem_block is what osl_pem_encrypted has found. */
typedef struct {
	char type[64]; /* "CERTIFICATE" for one, empty for none */
	osl_fail *fail;
} osl_pem_block;

int osl_no_password(char *buf, int size, int rwflag, void *asked);
STACK_OF(X509) *osl_pem_certs(const osl_library *l, const unsigned char *pem, size_t n, int *asked);
int osl_pem_crls(const osl_library *l, X509_STORE *store, const unsigned char *pem, size_t n, int *asked);
osl_pem_block osl_pem_encrypted(const char *path);

#endif
