/*
 * OSSL_LIB_CTX: a library context, with the property query for what is fetched in
 * it. NULL stands for the default one, which openssl.cnf configures and which is
 * the only one before 3.0.
 *
 * A library is never freed once it is loaded: libcrypto keeps random generators
 * for each thread that has used it, and reads the OSSL_LIB_CTX when such a thread
 * ends. OPENSSL_thread_stop_ex would have to be called on each of these threads.
 */
#ifndef OSL_LIBRARY_H
#define OSL_LIBRARY_H

#include "error.h"

#include <openssl/evp.h>
#include <openssl/store.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

typedef struct osl_library osl_library;

/* What osl_library_new and osl_library_load have failed at. */
enum {
	OSL_LIBRARY_VERSION = 1, /* there is none before 3.0 */
	OSL_LIBRARY_CONF,        /* the file cannot be read */
	OSL_LIBRARY_NO_MODULES,  /* it has no section of modules */
	OSL_LIBRARY_GLOBAL,      /* it has a module that changes the whole process */
	OSL_LIBRARY_LOAD,        /* a module has failed */
	OSL_LIBRARY_PROVIDER,    /* a provider is not active that should be */
	OSL_LIBRARY_FETCH        /* no provider has what TLS needs */
};

typedef struct {
	osl_library *library;
	osl_bytes content; /* each section: a length, then names and values behind their lengths */
	int part;
	long line;     /* of the file, if it is known */
	char name[64]; /* of the module, for OSL_LIBRARY_GLOBAL */
	osl_fail *fail;
} osl_library_result;

typedef struct {
	int part;
	char name[64]; /* of the provider, for OSL_LIBRARY_PROVIDER */
	osl_fail *fail;
} osl_library_load_result;

osl_library_result osl_library_new(const char *conf, const char *properties);
osl_library_load_result osl_library_load(osl_library *l);
void osl_library_drop(osl_library *l);

SSL_CTX *osl_library_ctx(const osl_library *l, const SSL_METHOD *method);
X509 *osl_library_cert(const osl_library *l);
X509_CRL *osl_library_crl(const osl_library *l);
EVP_PKEY *osl_library_key(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg);
STACK_OF(X509_INFO) *osl_library_infos(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg);
int osl_library_serves(const osl_library *l, const char *scheme);
OSSL_STORE_CTX *osl_library_open(const osl_library *l, const char *uri, const UI_METHOD *ui, void *arg);
SSL_SESSION *osl_library_session(const osl_library *l, const unsigned char **der, long n);
int osl_library_load_locations(const osl_library *l, X509_STORE *store, const char *file, const char *dir);
int osl_library_load_store(const osl_library *l, X509_STORE *store, const char *uri);
int osl_library_random(const osl_library *l, unsigned char *p, size_t n);
const EVP_CIPHER *osl_library_ticket_cipher(const osl_library *l);

#endif
