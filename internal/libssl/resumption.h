/*
 * What this package decides about resumption inside libssl's callbacks, where no
 * Go code can run: how long a session may live, whether one may be resumed, and
 * why one was not.
 */
#ifndef OSL_RESUMPTION_H
#define OSL_RESUMPTION_H

#include "ssl.h"

/* Why a connection that libssl has accepted is refused. */
enum {
	OSL_ACCEPTED,
	OSL_NO_CERTIFICATE,
	OSL_CERTIFICATE_EXPIRED,
	OSL_NOT_VERIFIED,
	OSL_TOO_OLD,
	OSL_PSK_REMOVED,
	OSL_NAME_NOT_VERIFIED /* no resumption: libssl has verified the chain without the name */
};

/* What a client has offered to resume, and what became of it. */
enum {
	OSL_NOT_OFFERED,
	OSL_RESUMED,
	OSL_CONTEXT_MISMATCH,
	OSL_NOT_FOUND,
	OSL_EXPIRED,
	OSL_UNDECRYPTABLE,
	OSL_OTHER,
	OSL_PSK /* it was an external PSK, which is no session */
};

/* The application data of a ticket, and of a TLS 1.3 session: a tag, when the
 * peer was first authenticated, and when nothing of that holds any more. */
typedef struct {
	unsigned char tag[8];
	int64_t authenticated, ends;
} osl_ticket_data;

int osl_ticket_data_read(SSL_SESSION *s, osl_ticket_data *m);
int64_t osl_session_authenticated(SSL_SESSION *s);
int64_t osl_add(int64_t a, int64_t b);
int64_t osl_sub(int64_t a, int64_t b);
int osl_from_the_future(int64_t made, int64_t now);
int osl_ends_soon(const SSL_SESSION *s, int64_t now);
int osl_limits_lifetime(const osl_ctx_data *r);
int64_t osl_session_ends(const osl_ctx_data *r, SSL_SESSION *s, int64_t authenticated, int64_t now);
int osl_session_limit_new(SSL *ssl, SSL_SESSION *s);
void osl_classify_timeout(osl_ssl *t);
void osl_classify_resumption(osl_ssl *t);
int osl_session_check(osl_ssl *t, SSL_SESSION *s);
int osl_ticket_generate_cb(SSL *ssl, void *arg);
SSL_TICKET_RETURN osl_ticket_decrypt_cb(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t name_n,
                                        SSL_TICKET_STATUS status, void *arg);
void osl_ctx_set_checks(SSL_CTX *c, int checks, int64_t max_age);

#endif
