/* SSL_CONF_cmd: a command is tried where it changes nothing, and then run. */
#ifndef OSL_CONF_H
#define OSL_CONF_H

#include "error.h"

#include <openssl/x509_vfy.h>

#ifndef SSL_CONF_TYPE_STORE /* 3.0 */
#define SSL_CONF_TYPE_STORE 0x5
#endif

/* osl_change_result is how a call ended that changes an SSL_CTX in more than one step. */
typedef struct {
	int half;     /* it failed with a part of the change in place */
	int asked;    /* a block is encrypted */
	size_t names; /* the bytes of CA names, if they are too many to send */
	osl_fail *fail;
} osl_change_result;

/* osl_conf_type is what the value of a command names, SSL_CONF_TYPE_...; 0 for an
 * unknown command. SSL_CONF_cmd_value_type. */
typedef struct {
	int type;
	osl_fail *fail;
} osl_conf_type_result;

typedef struct {
	int answer;   /* SSL_CONF_cmd's: -2 unknown, -3 needs a value */
	int loads;    /* and what another store stands for can be loaded now */
	int asked;    /* it wanted a password */
	int mode;     /* the verify mode that the SSL_CTX would have */
	size_t names; /* the bytes of CA names, if they are too many to send */
	osl_fail *fail;
} osl_conf_trial;

/* The names of CAs share the 64 KiB of a CertificateRequest with other extensions, the
 * signature algorithms for one. */
#define OSL_MAX_CA_NAMES (63 * 1024)

size_t osl_names_size(const STACK_OF(X509_NAME) *names);
void osl_use_store(SSL_CTX *c, X509_STORE *store);
SSL_CTX *osl_trial_ctx(SSL_CTX *c);
osl_conf_type_result osl_conf_type(int server, const char *cmd);
osl_conf_trial osl_ctx_conf_try(SSL_CTX *c, int server, const char *cmd, const char *value, int another,
                                const uint16_t *ext, size_t ext_n);
osl_change_result osl_ctx_conf(SSL_CTX *c, int server, const char *cmd, const char *value);
osl_change_result osl_ctx_conf_trust(SSL_CTX *c, int server, const char *cmd, const char *value, int replace,
                                     int another, const unsigned char *crls, size_t crls_n);
size_t osl_serverinfo(const char *path, uint16_t *ext, size_t max);
STACK_OF(X509_OBJECT) *osl_store_objects(X509_STORE *store);
void osl_store_objects_free(STACK_OF(X509_OBJECT) *objects);

#endif
