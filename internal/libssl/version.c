#include "version.h"

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/provider.h>

typedef struct {
	char *p;
	size_t n;
} osl_names;

static int osl_provider_name(OSSL_PROVIDER *provider, void *arg) {
	osl_names *names = arg;
	const char *name = OSSL_PROVIDER_get0_name(provider);
	size_t n = strlen(name) + 1;
	char *p = OPENSSL_realloc(names->p, names->n + n);

	if (!p)
		return 0;
	memcpy(p + names->n, name, n);
	names->p = p;
	names->n += n;
	return 1;
}
#endif

/* osl_providers is the names of the loaded providers, a NUL behind each; there
 * are none before 3.0. OSSL_PROVIDER_do_all. */
osl_bytes osl_providers(void) {
	osl_bytes r = {NULL, 0, NULL};
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	osl_names names = {NULL, 0};

	osl_enter();
	(void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL); /* if openssl.cnf is broken, what is loaded without it */
	if (OSSL_PROVIDER_do_all(NULL, osl_provider_name, &names) == 1) {
		r.p = (unsigned char *)names.p;
		r.n = names.n;
	} else {
		r.fail = osl_take(0);
		OPENSSL_free(names.p);
	}
	osl_sweep();
#endif
	return r;
}

int osl_fips(void) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return EVP_default_properties_is_fips_enabled(NULL);
#else
	return FIPS_mode(); /* gone in 3.0 */
#endif
}
