#include "roots.h"
#include "pem.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* osl_roots_env is the value of a variable, as libcrypto takes it: a program that
 * runs with more rights than its caller ignores it. */
static const char *osl_roots_env(const char *name, const char *otherwise) {
	const char *value = OPENSSL_issetugid() ? NULL : getenv(name);

	return value ? value : otherwise;
}

/* X509_get_default_cert_file. */
const char *osl_roots_file(void) {
	return osl_roots_env(X509_get_default_cert_file_env(), X509_get_default_cert_file());
}

/* X509_get_default_cert_dir. */
const char *osl_roots_dir(void) {
	return osl_roots_env(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
}

/* osl_no_memory reports whether a failure is for want of memory. */
static int osl_no_memory(const osl_fail *f) {
	int i;

	for (i = 0; i < f->n; i++)
		if (osl_code_reason((unsigned long)f->codes[i]) == ERR_R_MALLOC_FAILURE)
			return 1;
	return 0;
}

/* osl_roots_find is where the next block begins, end if there is none. */
static const char *osl_roots_find(const char *p, const char *end) {
	static const char begin[] = "-----BEGIN ";

	for (; (size_t)(end - p) >= sizeof begin - 1; p++)
		if (memcmp(p, begin, sizeof begin - 1) == 0)
			return p;
	return end;
}

/* osl_roots_usable reports whether libcrypto has understood a certificate. It keeps what it
 * makes of the key and the extensions, also that there was no memory for them: as the
 * certificate is shared, that is found out here. X509_get0_pubkey, X509_check_purpose. */
static int osl_roots_usable(X509 *x) {
	return X509_get0_pubkey(x) != NULL && X509_check_purpose(x, -1, 0) == 1;
}

/* osl_roots_block adds what one block holds. PEM_X509_INFO_read_bio, as libcrypto reads
 * such a file: at the first damaged block it stops. */
static int osl_roots_block(const osl_library *l, osl_roots *roots, const char *p, size_t n) {
	BIO *b = n <= INT_MAX ? BIO_new_mem_buf(p, (int)n) : NULL;
	STACK_OF(X509_INFO) *all = NULL;
	int i, asked = 0, ok;

	ok = b && (all = osl_library_infos(l, b, osl_no_password, &asked)) != NULL;
	for (i = 0; ok && i < sk_X509_INFO_num(all); i++) {
		X509_INFO *info = sk_X509_INFO_value(all, i);

		if (info->x509) {
			ok = osl_roots_usable(info->x509) && X509_STORE_add_cert(roots->store, info->x509) &&
			     sk_X509_push(roots->certs, info->x509);
			if (ok)
				info->x509 = NULL;
		}
		if (ok && info->crl) {
			ok = X509_STORE_add_crl(roots->store, info->crl) && sk_X509_CRL_push(roots->crls, info->crl);
			if (ok)
				info->crl = NULL;
		}
	}
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	BIO_free(b);
	return ok;
}

void osl_roots_free(osl_roots *roots) {
	if (!roots)
		return;
	osl_enter();
	X509_STORE_free(roots->store);
	sk_X509_pop_free(roots->certs, X509_free);
	sk_X509_CRL_pop_free(roots->crls, X509_CRL_free);
	OPENSSL_free(roots->dir);
	OPENSSL_free(roots);
	osl_sweep();
}

/* osl_roots_add_dir has a store look into a folder when it verifies. An empty name is none. */
static int osl_roots_add_dir(X509_STORE *store, const char *dir) {
	X509_LOOKUP *lookup;

	if (!dir[0])
		return 1;
	lookup = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
	return lookup && X509_LOOKUP_add_dir(lookup, dir, X509_FILETYPE_PEM) == 1;
}

/* osl_roots_new reads pem block by block, and has what follows a damaged block, too.
 * X509_STORE_add_cert, X509_LOOKUP_add_dir. */
osl_roots_result osl_roots_new(const osl_library *l, const unsigned char *pem, size_t n, const char *dir) {
	const char *p, *next, *end = (const char *)pem + n;
	osl_roots_result r = {0};
	osl_fail *fail;

	osl_enter();
	if (!(r.roots = OPENSSL_zalloc(sizeof *r.roots)) || !(r.roots->store = X509_STORE_new()) ||
	    !(r.roots->certs = sk_X509_new_null()) || !(r.roots->crls = sk_X509_CRL_new_null()) ||
	    !(r.roots->dir = OPENSSL_strdup(dir)) || !osl_roots_add_dir(r.roots->store, dir)) {
		r.fail = osl_take(0);
		osl_roots_free(r.roots);
		r.roots = NULL;
		return r;
	}
	for (p = osl_roots_find((const char *)pem, end); p < end; p = next) {
		next = osl_roots_find(p + 1, end);
		r.blocks++;
		ERR_clear_error();
		if (osl_roots_block(l, r.roots, p, (size_t)(next - p)))
			continue;
		fail = osl_take(0);
		if (osl_no_memory(fail)) {
			osl_fail_free(r.fail);
			r.fail = fail;
			osl_roots_free(r.roots);
			r.roots = NULL;
			return r;
		}
		if (r.damaged++ == 0) {
			r.first = r.blocks;
			r.fail = fail;
		} else {
			osl_fail_free(fail);
		}
	}
	osl_sweep();
	return r;
}

/* osl_ctx_share_roots has c trust the roots, and what others look up in the folder:
 * nothing may be added to its store from then on. SSL_CTX_set1_cert_store. */
void osl_ctx_share_roots(SSL_CTX *c, osl_roots *roots) {
	osl_enter();
	SSL_CTX_set1_cert_store(c, roots->store);
	osl_sweep();
}

/* osl_ctx_add_roots adds the roots to what is in c's own store. X509_STORE_add_cert. */
osl_fail *osl_ctx_add_roots(SSL_CTX *c, osl_roots *roots) {
	X509_STORE *own = SSL_CTX_get_cert_store(c);
	osl_fail *fail = NULL;
	int i, ok;

	osl_enter();
	ok = osl_roots_add_dir(own, roots->dir);
	for (i = 0; ok && i < sk_X509_num(roots->certs); i++)
		ok = X509_STORE_add_cert(own, sk_X509_value(roots->certs, i));
	for (i = 0; ok && i < sk_X509_CRL_num(roots->crls); i++)
		ok = X509_STORE_add_crl(own, sk_X509_CRL_value(roots->crls, i));
	if (!ok)
		fail = osl_take(0);
	osl_sweep();
	return fail;
}

/* osl_ctx_add_trust adds the certificates in pem to what is trusted. X509_STORE_add_cert. */
osl_change_result osl_ctx_add_trust(SSL_CTX *c, const unsigned char *pem, size_t n) {
	osl_change_result r = {0};
	STACK_OF(X509) *certs;
	int i;

	osl_enter();
	certs = osl_pem_certs(osl_ctx_library(c), pem, n, &r.asked);
	if (!certs)
		r.fail = osl_take(0);
	for (i = 0; !r.fail && i < sk_X509_num(certs); i++) {
		if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(c), sk_X509_value(certs, i))) {
			r.half = 1;
			r.fail = osl_take(0);
		}
	}
	sk_X509_pop_free(certs, X509_free);
	osl_sweep();
	return r;
}
