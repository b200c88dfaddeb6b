#include "pem.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

/* osl_no_password is a pem_password_cb that has no password, and notes that one
 * was needed. */
int osl_no_password(char *buf, int size, int rwflag, void *asked) {
	(void)buf, (void)size, (void)rwflag;
	*(int *)asked = 1;
	return -1;
}

/* osl_pem_end reports whether the reader stopped at the end of the input, rather
 * than at a block that it could not read. */
static int osl_pem_end(void) {
	unsigned long e = ERR_peek_last_error();

	return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

/* osl_pem_certs reads every certificate, in OpenSSL's form TRUSTED CERTIFICATE too;
 * NULL for none and for one that cannot be read. PEM_read_bio_X509_AUX. */
STACK_OF(X509) *osl_pem_certs(const osl_library *l, const unsigned char *pem, size_t n, int *asked) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	STACK_OF(X509) *certs = sk_X509_new_null();
	int ok = b && certs;
	X509 *x = NULL;

	while (ok && (ok = (x = osl_library_cert(l)) != NULL) && PEM_read_bio_X509_AUX(b, &x, osl_no_password, asked)) {
		ok = sk_X509_push(certs, x) > 0;
		if (ok)
			x = NULL;
	}
	X509_free(x);
	BIO_free(b);
	if (ok && sk_X509_num(certs) > 0 && osl_pem_end()) {
		ERR_clear_error();
		return certs;
	}
	sk_X509_pop_free(certs, X509_free);
	return NULL;
}

/* osl_pem_crls adds every revocation list to a store; none is a failure.
 * PEM_read_bio_X509_CRL, X509_STORE_add_crl. */
int osl_pem_crls(const osl_library *l, X509_STORE *store, const unsigned char *pem, size_t n, int *asked) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	int ok = b != NULL, some = 0;
	X509_CRL *crl = NULL;

	while (ok && (ok = (crl = osl_library_crl(l)) != NULL) && PEM_read_bio_X509_CRL(b, &crl, osl_no_password, asked)) {
		ok = X509_STORE_add_crl(store, crl);
		X509_CRL_free(crl);
		crl = NULL;
		some = 1;
	}
	X509_CRL_free(crl);
	BIO_free(b);
	ok = ok && some && osl_pem_end();
	if (ok)
		ERR_clear_error();
	return ok;
}

/* osl_pem_encrypted finds the first encrypted block of a file, private keys
 * apart: what reads certificates does not decrypt those. A file that cannot be
 * opened has none, and libssl says why. It reads with the same BIO as libssl, so
 * that it finds the same blocks. PEM_read_bio, PEM_get_EVP_CIPHER_INFO. */
osl_pem_block osl_pem_encrypted(const char *path) {
	static const char key[] = "PRIVATE KEY";
	osl_pem_block r = {"", NULL};
	EVP_CIPHER_INFO cipher;
	unsigned char *data;
	char *name, *header;
	size_t n;
	long len;
	BIO *b;

	osl_enter();
	b = BIO_new_file(path, "r");
	while (b && !r.type[0] && PEM_read_bio(b, &name, &header, &data, &len)) {
		n = strlen(name);
		if (PEM_get_EVP_CIPHER_INFO(header, &cipher) && cipher.cipher &&
		    (n < sizeof key - 1 || strcmp(name + n - (sizeof key - 1), key) != 0))
			snprintf(r.type, sizeof r.type, "%s", n ? name : "unnamed");
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(data, (size_t)len);
	}
	BIO_free(b);
	/* Without memory it has not seen everything. */
	if (!r.type[0] && ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE)
		r.fail = osl_take(0);
	osl_sweep();
	return r;
}
