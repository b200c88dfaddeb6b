/* A server's sessions: libssl's cache and its counters, and an external store. */
#ifndef OSL_STORE_H
#define OSL_STORE_H

#include "session.h"

#ifndef SSL_SESS_CACHE_UPDATE_TIME /* 3.0 */
#define SSL_SESS_CACHE_UPDATE_TIME 0
#endif

/* The twelve counters of an SSL_CTX. */
typedef struct {
	long number, connect, connect_good, accept, accept_good;
	long hits, cb_hits, misses, timeouts, cache_full;
} osl_counters;

/* What osl_ssl_answer_session has done with an answer. */
enum { OSL_ANSWER_TAKEN, OSL_ANSWER_NO_SESSION, OSL_ANSWER_OTHER_ID, OSL_ANSWER_BAD_TIME };

typedef struct {
	int outcome;
	osl_fail *fail; /* of OSL_ANSWER_NO_SESSION */
} osl_answer_result;

void osl_ctx_set_cache_mode(SSL_CTX *c, long mode);
long osl_ctx_cache_mode(SSL_CTX *c);
void osl_ctx_set_cache_size(SSL_CTX *c, long n);
void osl_ctx_set_timeout(SSL_CTX *c, long seconds);
long osl_ctx_timeout(SSL_CTX *c);
osl_fail *osl_ctx_set_num_tickets(SSL_CTX *c, size_t n);
void osl_ctx_flush(SSL_CTX *c, int64_t at);
osl_counters osl_ctx_counters(SSL_CTX *c);
void osl_ctx_use_store(SSL_CTX *c, int on, long mode);
osl_bytes osl_ssl_sessions_made(osl_ssl *t);
osl_answer_result osl_ssl_answer_session(osl_ssl *t, const unsigned char *der, size_t n, const unsigned char *id,
                                         size_t id_n);
size_t osl_ssl_invalidated_id(osl_ssl *t, unsigned char *id);
SSL_SESSION *osl_get_session_cb(SSL *ssl, const unsigned char *id, int id_n, int *copy);
int osl_new_session_cb(SSL *ssl, SSL_SESSION *s);

#endif
