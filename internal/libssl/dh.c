#include "dh.h"
#include "pem.h"

#include <openssl/dh.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

/* osl_ctx_set_dh sets the parameters in pem, DH PARAMETERS or X9.42 DH PARAMETERS. SSL_CTX_set0_tmp_dh_pkey. */
osl_fail *osl_ctx_set_dh(SSL_CTX *c, const unsigned char *pem, size_t n) {
	int asked = 0, ok = 0;
	BIO *b;

	osl_enter();
	b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	unsigned char *der = NULL;
	const unsigned char *p;
	EVP_PKEY *params;
	char *type = NULL;
	long len;

	/* PEM_read_bio_Parameters would ask on the terminal for a password. */
	if (b && PEM_bytes_read_bio(&der, &len, &type, PEM_STRING_DHPARAMS, b, osl_no_password, &asked)) {
		p = der;
		params = d2i_KeyParams(strcmp(type, PEM_STRING_DHXPARAMS) == 0 ? EVP_PKEY_DHX : EVP_PKEY_DH, NULL, &p, len);
		ok = params && SSL_CTX_set0_tmp_dh_pkey(c, params) == 1;
		if (!ok)
			EVP_PKEY_free(params);
	}
	OPENSSL_free(type);
	OPENSSL_free(der);
#else
	/* 1.1.1 has no EVP_PKEY here; 3.0 deprecates DH. */
	DH *params = b ? PEM_read_bio_DHparams(b, NULL, osl_no_password, &asked) : NULL;

	ok = params && SSL_CTX_set_tmp_dh(c, params) == 1;
	DH_free(params);
#endif
	BIO_free(b);
	if (!ok)
		return osl_take(0);
	osl_sweep();
	return NULL;
}

/* osl_ctx_set_dh_auto has libssl choose parameters as strong as the certificate, and for
 * anonymous suites as the cipher. SSL_CTX_set_dh_auto. */
osl_fail *osl_ctx_set_dh_auto(SSL_CTX *c, int on) {
	osl_enter();
	return osl_result(SSL_CTX_set_dh_auto(c, on) == 1);
}
