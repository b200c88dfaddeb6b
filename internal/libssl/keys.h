/* Certificates with their private keys: in PEM, encrypted or not, and in tokens. */
#ifndef OSL_KEYS_H
#define OSL_KEYS_H

#include "error.h"

/* Where osl_ctx_use_certificate has the private key from. */
enum { OSL_KEY_PLAIN, OSL_KEY_ENCRYPTED, OSL_KEY_URI };

/* What osl_ctx_use_certificate failed at. */
enum {
	OSL_PART_PAIR,
	OSL_PART_CERTIFICATE,
	OSL_PART_CERTIFICATE_ENCRYPTED,
	OSL_PART_KEY,
	OSL_PART_KEY_ENCRYPTED,   /* and there is no passphrase or PIN */
	OSL_PART_KEY_PLAIN,       /* and there is a passphrase */
	OSL_PART_KEY_UNSUPPORTED, /* encrypted as this libcrypto cannot decrypt */
	OSL_PART_SECRET,          /* a passphrase or PIN that is not the key's */
	OSL_PART_SECRET_LONG,     /* longer than libcrypto or the token takes */
	OSL_PART_SCHEME           /* of the URI: there is nothing that serves it */
};

typedef struct {
	int part;
	const char *op; /* the function that failed */
	osl_fail *fail;
} osl_certificate_result;

osl_certificate_result osl_ctx_use_certificate(SSL_CTX *c, const unsigned char *cert, size_t cert_n, int from,
                                               const unsigned char *key, size_t key_n, const unsigned char *secret,
                                               size_t secret_n);

#endif
