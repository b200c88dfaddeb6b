/* The keys of session tickets. */
#ifndef OSL_TICKETS_H
#define OSL_TICKETS_H

#include "error.h"

/* ---- ticket keys ---- */

typedef struct {
	unsigned char name[16], aes[32], hmac[32];
} osl_ticket_key;

typedef struct {
	osl_ticket_key key;
	int64_t born;
} osl_aged_key;

/* osl_ring is the keys of one SSL_CTX, the one that seals first. Until somebody
 * sets keys it makes its own: a new one each day, and old ones open for as long
 * as a session that they sealed may live. */
typedef struct osl_ring {
	CRYPTO_RWLOCK *lock;
	int set; /* by somebody */
	size_t n;
	osl_aged_key *keys;
} osl_ring;

enum { OSL_KEY_LIFE = 24 * 60 * 60 };

void osl_ring_free(osl_ring *r);
osl_ring *osl_ring_new(void);
osl_fail *osl_ctx_set_ticket_keys(SSL_CTX *c, const unsigned char *keys, size_t n);
void osl_ctx_age_ticket_keys(SSL_CTX *c, int64_t seconds);
int osl_tickets_install(SSL_CTX *c);

#endif
