/* SSL_CTX: the configuration that connections share. */
#ifndef OSL_CTX_H
#define OSL_CTX_H

#include "conf.h"
#include "library.h"
#include "psk.h"
#include "tickets.h"

#include <openssl/x509v3.h>

#ifndef SSL_OP_NO_EXTENDED_MASTER_SECRET /* 3.0 */
#define SSL_OP_NO_EXTENDED_MASTER_SECRET 0
#endif

/* Options that a version does not know are no bits there. */
#ifndef SSL_OP_IGNORE_UNEXPECTED_EOF /* 3.0 */
#define SSL_OP_IGNORE_UNEXPECTED_EOF 0
#endif

typedef struct osl_staple osl_staple;

/* What callbacks need to know of an SSL_CTX. */
typedef struct {
	unsigned char *alpn;
	size_t alpn_n;
	int asked; /* libssl wanted a password */
	osl_keyring *keyring;
	const osl_library *library;
	osl_staple *staple;

	/* What the program asked for; a server's sessions are published by osl_new_session_cb alone. */
	long cache_mode;
	int store;        /* sessions are kept outside */
	int keep_tickets; /* a client keeps each TLS 1.3 session for osl_ssl_ticket */

	/* What this package checks on a resumption and libssl does not. */
	int checks;      /* the peer's certificate again */
	int accept_any;  /* whether it is verified is for Go to say */
	int any_name;    /* its chain is verified, its name is not */
	int64_t max_age; /* seconds since the first authentication, 0 for no bound */

	osl_psks psks;
} osl_ctx_data;

/* osl_ctx_library is the library that an SSL_CTX was made in. */
static inline const osl_library *osl_ctx_library(const SSL_CTX *c) {
	return ((const osl_ctx_data *)SSL_CTX_get_app_data(c))->library;
}

typedef struct {
	SSL_CTX *ctx;
	osl_fail *fail;
} osl_ctx_result;

enum { OSL_DER_LEAF, OSL_DER_CA, OSL_DER_CRL, OSL_DER_CA_NAME, OSL_CIPHERS };

/* What decides whether an SSL_CTX may be used, read from itself:
 * openssl.cnf and SSL_CONF_cmd may have set it too. */
typedef struct {
	int verify_mode, verify_depth, has_certificate, anonymous, min_version, max_version, security_level;
	unsigned long verify_flags;
	unsigned int host_flags;
	long cache_mode;
	uint64_t options;
} osl_ctx_settings;

osl_ctx_result osl_ctx_new(const osl_library *l, int server);
void osl_ctx_free(SSL_CTX *c);
osl_change_result osl_ctx_set_crls(SSL_CTX *c, const unsigned char *pem, size_t n);
osl_change_result osl_ctx_set_trust(SSL_CTX *c, const unsigned char *pem, size_t n, int names,
                                    const unsigned char *crls, size_t crls_n);
osl_change_result osl_ctx_load_verify(SSL_CTX *c, const char *file, const char *dir);
void osl_ctx_set_verify(SSL_CTX *c, int mode, int accept_any, int any_name);
osl_change_result osl_ctx_set_verify_flags(SSL_CTX *c, unsigned long flags);
void osl_ctx_set_host_flags(SSL_CTX *c, unsigned int flags);
void osl_ctx_set_verify_depth(SSL_CTX *c, int depth);
void osl_ctx_set_max_cert_list(SSL_CTX *c, long n);
osl_fail *osl_ctx_set_min_version(SSL_CTX *c, int v);
osl_fail *osl_ctx_set_max_version(SSL_CTX *c, int v);
osl_change_result osl_ctx_set_cipher_list(SSL_CTX *c, const char *list);
osl_change_result osl_ctx_set_ciphersuites(SSL_CTX *c, const char *list);
osl_change_result osl_ctx_set_groups(SSL_CTX *c, const char *list);
osl_fail *osl_ctx_set_alpn(SSL_CTX *c, int server, const unsigned char *p, size_t n);
uint64_t osl_ctx_set_options(SSL_CTX *c, uint64_t set, uint64_t clear);
osl_bytes osl_ctx_identity(SSL_CTX *c);
osl_bytes osl_ctx_cipher_names(SSL_CTX *c);
osl_ctx_settings osl_ctx_get_settings(SSL_CTX *c);
void osl_ctx_set_keylog(SSL_CTX *c, int on);

#endif
