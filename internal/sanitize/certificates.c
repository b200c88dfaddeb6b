#include "certificates.h"

#include <stdio.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

identity ca, server_id, client_id, expired_id;

static EVP_PKEY *new_key(void) {
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	if (!c || EVP_PKEY_keygen_init(c) != 1 || EVP_PKEY_CTX_set_ec_paramgen_curve_nid(c, NID_X9_62_prime256v1) != 1 ||
	    EVP_PKEY_keygen(c, &key) != 1)
		fatal("EVP_PKEY_keygen");
	EVP_PKEY_CTX_free(c);
	return key;
}

static void add_extension(X509 *x, int nid, const char *value) {
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	if (!e || X509_add_ext(x, e, -1) != 1)
		fatal("X509_add_ext");
	X509_EXTENSION_free(e);
}

static X509_NAME *new_name(const char *common_name) {
	X509_NAME *name = X509_NAME_new();

	if (!name ||
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) != 1)
		fatal("X509_NAME_add_entry_by_txt");
	return name;
}

/* take_pem moves what a BIO holds into memory. */
static unsigned char *take_pem(BIO *b, size_t *n) {
	char *p;
	long k = BIO_get_mem_data(b, &p);
	unsigned char *pem = k > 0 ? OPENSSL_memdup(p, (size_t)k) : NULL;

	if (!pem)
		fatal("OPENSSL_memdup");
	*n = (size_t)k;
	BIO_free(b);
	return pem;
}

/* issue makes a certificate that is signed by the CA, whose key it returns if it
 * is the CA's own. It ends so many seconds from now. */
static EVP_PKEY *issue(identity *id, const char *common_name, EVP_PKEY *ca_key, long ends) {
	static long serial;
	EVP_PKEY *key = new_key();
	X509_NAME *subject = new_name(common_name), *issuer = new_name("test CA");
	BIO *cert = BIO_new(BIO_s_mem()), *pkey = BIO_new(BIO_s_mem());
	X509 *x = X509_new();
	char san[64];

	if (!x || !cert || !pkey || X509_set_version(x, 2) != 1 ||
	    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial) != 1 || !X509_gmtime_adj(X509_getm_notBefore(x), -3600) ||
	    !X509_gmtime_adj(X509_getm_notAfter(x), ends) || X509_set_subject_name(x, subject) != 1 ||
	    X509_set_issuer_name(x, issuer) != 1 || X509_set_pubkey(x, key) != 1)
		fatal("X509_new");
	snprintf(san, sizeof san, "DNS:%s", common_name);
	if (ca_key)
		add_extension(x, NID_subject_alt_name, san);
	else
		add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
	if (X509_sign(x, ca_key ? ca_key : key, EVP_sha256()) <= 0 || PEM_write_bio_X509(cert, x) != 1 ||
	    PEM_write_bio_PrivateKey(pkey, key, NULL, NULL, 0, NULL, NULL) != 1)
		fatal("X509_sign");
	id->cert = take_pem(cert, &id->cert_n);
	id->key = take_pem(pkey, &id->key_n);
	X509_NAME_free(subject);
	X509_NAME_free(issuer);
	X509_free(x);
	if (!ca_key)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

void issue_all(void) {
	EVP_PKEY *ca_key = issue(&ca, "test CA", NULL, 86400);

	issue(&server_id, "server.test", ca_key, 86400);
	issue(&client_id, "client.test", ca_key, 86400);
	issue(&expired_id, "expired.test", ca_key, -60);
	EVP_PKEY_free(ca_key);
}

static void free_identity(identity *id) {
	OPENSSL_free(id->cert);
	OPENSSL_clear_free(id->key, id->key_n);
}

void free_identities(void) {
	free_identity(&ca);
	free_identity(&server_id);
	free_identity(&client_id);
	free_identity(&expired_id);
}
