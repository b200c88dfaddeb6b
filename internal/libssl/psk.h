/* Pre-shared keys: libssl's callbacks answer from tables in C memory. */
#ifndef OSL_PSK_H
#define OSL_PSK_H

#include "error.h"

typedef struct osl_ssl osl_ssl; /* ssl.h */

typedef struct {
	size_t identity_n, key_n;
	unsigned char bytes[]; /* the identity, then the key */
} osl_psk;

/* A server's table, in the order of its identities. A client has one entry. */
typedef struct {
	osl_psk **p;
	size_t n;
} osl_psks;

enum { OSL_PSK_PRINT = 32 };

typedef struct {
	unsigned char print[OSL_PSK_PRINT]; /* it is the same for the same key */
	osl_fail *fail;
} osl_psk_result;

/* Which PSK a session was made with. */
enum {
	OSL_PSK_NONE,  /* none, or none can be used here */
	OSL_PSK_KNOWN, /* one that can be used here, too */
	OSL_PSK_GONE   /* one that cannot */
};

void osl_psks_free(osl_psks *psks);
void osl_psk_install(SSL_CTX *c);
void osl_psk_switch(osl_ssl *t);
osl_psk_result osl_ctx_use_psk(SSL_CTX *c, int server, const unsigned char *identity, size_t identity_n,
                               const unsigned char *key, size_t key_n);
osl_psk_result osl_ssl_use_psk(osl_ssl *t, const unsigned char *identity, size_t identity_n, const unsigned char *key,
                               size_t key_n);
int osl_psk_any(const osl_ssl *t);
const osl_psk *osl_psk_find(const osl_ssl *t, const unsigned char *identity, size_t n);
int osl_psk_prefer_hash(osl_ssl *t);
int osl_psk_used(const osl_ssl *t);
int osl_psk_of_session(const osl_ssl *t, SSL_SESSION *s);

#endif
