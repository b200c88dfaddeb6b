/* The keys of session tickets. */
#ifndef OSL_TICKETS_H
#define OSL_TICKETS_H

#include "library.h"

/* ---- ticket keys ---- */

typedef struct {
	unsigned char name[16], aes[32], hmac[32];
} osl_ticket_key;

typedef struct {
	osl_ticket_key key;
	int64_t born;
} osl_dated_key;

/* osl_keyring is the keys of one SSL_CTX, the one that encrypts first. Until somebody
 * sets keys it makes its own: a new one each day, and old ones decrypt for as long
 * as a session that they encrypted may live. */
typedef struct osl_keyring {
	const osl_library *library;
	CRYPTO_RWLOCK *lock;
	int set; /* by somebody */
	size_t n;
	osl_dated_key *keys;
} osl_keyring;

enum { OSL_KEY_LIFE = 24 * 60 * 60 };

void osl_keyring_free(osl_keyring *r);
osl_keyring *osl_keyring_new(const osl_library *l);
osl_fail *osl_ctx_set_ticket_keys(SSL_CTX *c, const unsigned char *keys, size_t n);
void osl_ctx_age_ticket_keys(SSL_CTX *c, int64_t seconds);
int osl_tickets_install(SSL_CTX *c);

#endif
