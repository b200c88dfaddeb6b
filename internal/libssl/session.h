/* SSL_SESSION. A session is changed only while no other connection can see it. */
#ifndef OSL_SESSION_H
#define OSL_SESSION_H

#include "ssl.h"

typedef struct {
	SSL_SESSION *session;
	osl_fail *fail;
} osl_session_result;

typedef struct {
	unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
	size_t id_n;
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH];
	size_t sidctx_n;
	int version, resumable;
	int64_t time, timeout; /* seconds */
} osl_session_info;

void osl_session_free(SSL_SESSION *s);
osl_session_result osl_session_parse(const osl_library *l, const unsigned char *der, size_t n);
osl_bytes osl_session_der(SSL_SESSION *s);
void osl_session_get_info(const SSL_SESSION *s, osl_session_info *info);
SSL_SESSION *osl_ssl_session(osl_ssl *t);
void osl_ctx_keep_tickets(SSL_CTX *c, int on);
SSL_SESSION *osl_ssl_ticket(osl_ssl *t);
osl_fail *osl_ssl_set_session(osl_ssl *t, SSL_SESSION *s);
int osl_ssl_offer_invalid(const osl_ssl *t);
int osl_ssl_may_offer(osl_ssl *t, SSL_SESSION *s);
osl_session_result osl_session_set_sidctx(SSL_SESSION *s, const unsigned char *sid, size_t n);
osl_session_result osl_session_parse_pem(const unsigned char *pem, size_t n);
osl_bytes osl_session_pem(SSL_SESSION *s);
SSL_SESSION *osl_session_share(SSL_SESSION *s);
void osl_session_publish(SSL_SESSION *s);
void osl_session_private(const SSL_SESSION *s);
int64_t osl_session_time(const SSL_SESSION *s);
void osl_session_set_timeout(SSL_SESSION *s, int64_t seconds);
void osl_session_set_time(SSL_SESSION *s, int64_t at);
void osl_ssl_invalidate_session(osl_ssl *t);
void osl_ssl_invalidate_cut(osl_ssl *t);

#endif
