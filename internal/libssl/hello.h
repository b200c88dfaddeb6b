/* The ClientHello: copied while libssl is suspended in its callback. */
#ifndef OSL_HELLO_H
#define OSL_HELLO_H

#include "error.h"

typedef struct osl_ssl osl_ssl; /* ssl.h */

enum { OSL_MAX_IDS = 4 }; /* libssl's clients offer one; others are not looked up without end */

/* What a ClientHello offers for resumption. */
typedef struct {
	int tls13;    /* it speaks TLS 1.3 */
	int psk;      /* it has a pre-shared key, or a ticket of TLS 1.3 */
	int psk_here; /* one that this server has, too */
	int tickets;  /* it takes tickets of TLS 1.2 */
	int ticket;   /* it has one */
	size_t sid_n; /* the session id of TLS 1.2; a TLS 1.3 client's is random */
	unsigned char sid[SSL_MAX_SSL_SESSION_ID_LENGTH];
	size_t ids_n; /* the identities of a session id's length */
	unsigned char ids[OSL_MAX_IDS][SSL_MAX_SSL_SESSION_ID_LENGTH];
} osl_offer;

int osl_hello_cb(SSL *ssl, int *alert, void *arg);
osl_bytes osl_ssl_hello(osl_ssl *t);
void osl_ssl_refuse(osl_ssl *t, int alert);
void osl_ssl_name_unused(osl_ssl *t);
size_t osl_offered_ids(osl_ssl *t, const unsigned char **ids, size_t *id_n);
size_t osl_ssl_offered(osl_ssl *t, unsigned char *p, size_t *id_n);

#endif
