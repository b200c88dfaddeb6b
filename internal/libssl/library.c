#include "library.h"

#include <strings.h>

#include <openssl/conf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/provider.h>

struct osl_library {
	OSSL_LIB_CTX *libctx;
	char *properties;   /* NULL for none */
	CONF *conf;         /* until it is loaded */
	EVP_CIPHER *ticket; /* that encrypts tickets */
};

/* The two arguments of most functions whose names end in _ex. */
#define OSL_IN(l) (l) ? (l)->libctx : NULL, (l) ? (l)->properties : NULL

/* osl_library_drop frees a library that no other thread has used. OSSL_LIB_CTX_free. */
void osl_library_drop(osl_library *l) {
	osl_enter();
	if (l) {
		NCONF_free(l->conf);
		EVP_CIPHER_free(l->ticket);
		OSSL_LIB_CTX_free(l->libctx);
		OPENSSL_free(l->properties);
		OPENSSL_free(l);
	}
	osl_sweep();
}

/* osl_is_module compares a name of the file, which may have a suffix behind a dot. */
static int osl_is_module(const char *name, const char *module) {
	size_t n = strlen(module);

	return strncmp(name, module, n) == 0 && (name[n] == 0 || name[n] == '.');
}

/* osl_library_global finds a module of the file that changes the whole process,
 * whichever OSSL_LIB_CTX loads it. */
static int osl_library_global(const CONF *conf, const char *section, char *name, size_t size) {
	STACK_OF(CONF_VALUE) *modules = NCONF_get_section(conf, section);
	int i;

	for (i = 0; i < sk_CONF_VALUE_num(modules); i++) {
		const char *module = sk_CONF_VALUE_value(modules, i)->name;
		if (osl_is_module(module, "ssl_conf") || osl_is_module(module, "engines")) {
			snprintf(name, size, "%s", module);
			return 1;
		}
	}
	return 0;
}

/* osl_conf_value is a value, NULL for none, which leaves no reason. NCONF_get_string. */
static const char *osl_conf_value(const CONF *conf, const char *section, const char *name) {
	const char *value;

	ERR_set_mark();
	value = NCONF_get_string(conf, section, name);
	ERR_pop_to_mark();
	return value;
}

/* osl_library_idle finds a provider of a section that the file activates and that is
 * not active: for libcrypto that is no failure, and it would take what the others
 * have. The name may have a prefix before a dot.
 * OSSL_PROVIDER_available. */
static int osl_library_idle(const osl_library *l, const char *section, char *found, size_t size) {
	STACK_OF(CONF_VALUE) *providers = NCONF_get_section(l->conf, section);
	int i;

	for (i = 0; i < sk_CONF_VALUE_num(providers); i++) {
		const CONF_VALUE *v = sk_CONF_VALUE_value(providers, i);
		const char *dot = strchr(v->name, '.'), *name = osl_conf_value(l->conf, v->value, "identity");
		const char *active = osl_conf_value(l->conf, v->value, "activate");
		const char *module = osl_conf_value(l->conf, v->value, "module");

		if (!active || osl_conf_value(l->conf, v->value, "soft_load") || !strcmp(active, "0") ||
		    !strcasecmp(active, "no") || !strcasecmp(active, "off") || !strcasecmp(active, "false"))
			continue;
		if (!name)
			name = dot ? dot + 1 : v->name;
		if (OSSL_PROVIDER_available(l->libctx, name))
			continue;
		ERR_clear_error();
		if (module || !OSSL_PROVIDER_load(l->libctx, name)) { /* which tells the reason */
			snprintf(found, size, "%s", name);
			return 1;
		}
	}
	return 0;
}

/* osl_library_load_modules runs the modules of the file: 0, or what has failed. */
static int osl_library_load_modules(const osl_library *l, char *name, size_t size) {
	STACK_OF(CONF_VALUE) *modules;
	int i;

	if (CONF_modules_load(l->conf, NULL, 0) <= 0)
		return OSL_LIBRARY_LOAD;
	modules = NCONF_get_section(l->conf, NCONF_get_string(l->conf, NULL, "openssl_conf"));
	for (i = 0; i < sk_CONF_VALUE_num(modules); i++) {
		const CONF_VALUE *v = sk_CONF_VALUE_value(modules, i);
		if (osl_is_module(v->name, "providers") && osl_library_idle(l, v->value, name, size))
			return OSL_LIBRARY_PROVIDER;
	}
	return 0;
}

/* osl_put_string appends a text behind a 32-bit length. */
static int osl_put_string(BIO *b, const char *text) {
	unsigned char length[4], *p = length;
	int n = text ? (int)strlen(text) : 0;

	osl_put_be(&p, (uint64_t)n, sizeof length);
	return BIO_write(b, length, sizeof length) == sizeof length && BIO_write(b, text ? text : "", n) == n;
}

/* osl_library_section appends a section behind a 32-bit length: its name, then
 * each name and value in order. */
static int osl_library_section(BIO *to, const CONF *conf, const char *section) {
	STACK_OF(CONF_VALUE) *values = NCONF_get_section(conf, section);
	BIO *b = BIO_new(BIO_s_mem());
	unsigned char length[4], *p = length;
	int i, ok = b && osl_put_string(b, section);
	char *text;
	long n;

	for (i = 0; ok && i < sk_CONF_VALUE_num(values); i++) {
		const CONF_VALUE *v = sk_CONF_VALUE_value(values, i);
		ok = osl_put_string(b, v->name) && osl_put_string(b, v->value);
	}
	if (ok) {
		n = BIO_get_mem_data(b, &text);
		osl_put_be(&p, (uint64_t)n, sizeof length);
		ok = BIO_write(to, length, sizeof length) == sizeof length && BIO_write(to, text, (int)n) == n;
	}
	BIO_free(b);
	return ok;
}

/* osl_library_content is all that a configuration holds, with what it includes. */
static int osl_library_content(const CONF *conf, osl_bytes *content) {
	STACK_OF(OPENSSL_CSTRING) *sections = NCONF_get_section_names(conf);
	BIO *b = BIO_new(BIO_s_mem());
	int i, ok = sections && b;
	char *text;

	for (i = 0; ok && i < sk_OPENSSL_CSTRING_num(sections); i++)
		ok = osl_library_section(b, conf, sk_OPENSSL_CSTRING_value(sections, i));
	if (ok) {
		content->n = (size_t)BIO_get_mem_data(b, &text);
		ok = (content->p = OPENSSL_memdup(text, content->n)) != NULL;
	}
	BIO_free(b);
	sk_OPENSSL_CSTRING_free(sections);
	return ok;
}

/* osl_library_new makes an OSSL_LIB_CTX and reads its configuration, once: what is
 * loaded is what its content was told of. Nothing is loaded yet. conf and
 * properties may be NULL. OSSL_LIB_CTX_new, NCONF_load. */
osl_library_result osl_library_new(const char *conf, const char *properties) {
	osl_library_result r = {NULL, {NULL, 0, NULL}, 0, 0, "", NULL};
	osl_library *l;
	char *section;

	osl_enter();
	/* libcrypto's list of loaded modules has no lock before 3.2: openssl.cnf goes first. */
	(void)OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG, NULL);
	ERR_clear_error();
	if (!(l = OPENSSL_zalloc(sizeof *l)) || !(l->libctx = OSSL_LIB_CTX_new()) ||
	    (properties && !(l->properties = OPENSSL_strdup(properties))))
		goto failed;
	if (conf) {
		r.part = OSL_LIBRARY_CONF;
		if (!(l->conf = NCONF_new_ex(l->libctx, NULL)) || NCONF_load(l->conf, conf, &r.line) <= 0)
			goto failed;
		r.part = OSL_LIBRARY_NO_MODULES;
		if (!(section = NCONF_get_string(l->conf, NULL, "openssl_conf")) || !NCONF_get_section(l->conf, section))
			goto failed;
		r.part = OSL_LIBRARY_GLOBAL;
		if (osl_library_global(l->conf, section, r.name, sizeof r.name))
			goto failed;
		r.part = 0;
		if (!osl_library_content(l->conf, &r.content))
			goto failed;
	}
	r.library = l;
	osl_sweep();
	return r;
failed:
	r.fail = osl_take(0);
	osl_library_drop(l);
	return r;
}

/* osl_library_load loads what the configuration names, or drops the library; the
 * caller has one thread at a time do that. OSSL_LIB_CTX_load_config, EVP_CIPHER_fetch. */
osl_library_load_result osl_library_load(osl_library *l) {
	osl_library_load_result r = {0, "", NULL};

	osl_enter();
	if (l->conf && (r.part = osl_library_load_modules(l, r.name, sizeof r.name)) != 0)
		goto failed;
	NCONF_free(l->conf);
	l->conf = NULL;
	ERR_clear_error();
	/* It stands for the rest of what TLS needs: SSL_CTX_new_ex has a reason of its
	 * own for none of it. */
	r.part = OSL_LIBRARY_FETCH;
	if (!(l->ticket = EVP_CIPHER_fetch(l->libctx, "AES-256-CBC", l->properties)))
		goto failed;
	r.part = 0;
	osl_sweep();
	return r;
failed:
	r.fail = osl_take(0);
	osl_library_drop(l);
	return r;
}

/* ---- what is made in a library ---- */

SSL_CTX *osl_library_ctx(const osl_library *l, const SSL_METHOD *method) {
	return SSL_CTX_new_ex(OSL_IN(l), method);
}

X509 *osl_library_cert(const osl_library *l) {
	return X509_new_ex(OSL_IN(l));
}

X509_CRL *osl_library_crl(const osl_library *l) {
	return X509_CRL_new_ex(OSL_IN(l));
}

/* osl_library_key reads a private key in PEM. PEM_read_bio_PrivateKey_ex. */
EVP_PKEY *osl_library_key(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg) {
	return PEM_read_bio_PrivateKey_ex(b, NULL, ask, arg, OSL_IN(l));
}

/* osl_library_infos reads all that is in PEM. PEM_X509_INFO_read_bio_ex. */
STACK_OF(X509_INFO) *osl_library_infos(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg) {
	return PEM_X509_INFO_read_bio_ex(b, NULL, ask, arg, OSL_IN(l));
}

/* osl_library_serves reports whether a provider serves the scheme of a URI. OSSL_STORE_LOADER_fetch. */
int osl_library_serves(const osl_library *l, const char *scheme) {
	OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(l ? l->libctx : NULL, scheme, l ? l->properties : NULL);

	OSSL_STORE_LOADER_free(loader);
	return loader != NULL;
}

/* osl_library_open opens what a URI names. OSSL_STORE_open_ex. */
OSSL_STORE_CTX *osl_library_open(const osl_library *l, const char *uri, const UI_METHOD *ui, void *arg) {
	return OSSL_STORE_open_ex(uri, OSL_IN(l), ui, arg, NULL, NULL, NULL);
}

/* osl_library_session reads a session, whose certificates are the library's. d2i_SSL_SESSION. */
SSL_SESSION *osl_library_session(const osl_library *l, const unsigned char **der, long n) {
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
	return d2i_SSL_SESSION_ex(NULL, der, n, OSL_IN(l));
#else
	(void)l; /* d2i_SSL_SESSION_ex is 3.2's; nothing is verified with these certificates */
	return d2i_SSL_SESSION(NULL, der, n);
#endif
}

int osl_library_load_locations(const osl_library *l, X509_STORE *store, const char *file, const char *dir) {
	return X509_STORE_load_locations_ex(store, file, dir, OSL_IN(l));
}

/* osl_library_load_store loads what the name of a store stands for, now: of several
 * stores libcrypto later looks into the first one that can be read. X509_LOOKUP_load_store_ex. */
int osl_library_load_store(const osl_library *l, X509_STORE *store, const char *uri) {
	X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_store());

	return lookup && X509_LOOKUP_ctrl_ex(lookup, X509_L_LOAD_STORE, uri, 0, NULL, OSL_IN(l)) > 0;
}

int osl_library_random(const osl_library *l, unsigned char *p, size_t n) {
	return RAND_bytes_ex(l ? l->libctx : NULL, p, n, 0) == 1;
}

const EVP_CIPHER *osl_library_ticket_cipher(const osl_library *l) {
	return l ? l->ticket : EVP_aes_256_cbc();
}

#else /* 1.1.1 has one library context, without a name */

osl_library_result osl_library_new(const char *conf, const char *properties) {
	osl_library_result r = {NULL, {NULL, 0, NULL}, OSL_LIBRARY_VERSION, 0, "", NULL};

	(void)conf, (void)properties;
	osl_enter();
	r.fail = osl_take(0);
	return r;
}

osl_library_load_result osl_library_load(osl_library *l) {
	osl_library_load_result r = {OSL_LIBRARY_VERSION, "", NULL};

	(void)l;
	osl_enter();
	r.fail = osl_take(0);
	return r;
}

void osl_library_drop(osl_library *l) {
	(void)l;
}

SSL_CTX *osl_library_ctx(const osl_library *l, const SSL_METHOD *method) {
	(void)l;
	return SSL_CTX_new(method);
}

X509 *osl_library_cert(const osl_library *l) {
	(void)l;
	return X509_new();
}

X509_CRL *osl_library_crl(const osl_library *l) {
	(void)l;
	return X509_CRL_new();
}

EVP_PKEY *osl_library_key(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg) {
	(void)l;
	return PEM_read_bio_PrivateKey(b, NULL, ask, arg);
}

STACK_OF(X509_INFO) *osl_library_infos(const osl_library *l, BIO *b, pem_password_cb *ask, void *arg) {
	(void)l;
	return PEM_X509_INFO_read_bio(b, NULL, ask, arg);
}

int osl_library_serves(const osl_library *l, const char *scheme) {
	(void)l;
	return strcmp(scheme, "file") == 0;
}

OSSL_STORE_CTX *osl_library_open(const osl_library *l, const char *uri, const UI_METHOD *ui, void *arg) {
	(void)l;
	return OSSL_STORE_open(uri, ui, arg, NULL, NULL);
}

SSL_SESSION *osl_library_session(const osl_library *l, const unsigned char **der, long n) {
	(void)l;
	return d2i_SSL_SESSION(NULL, der, n);
}

int osl_library_load_locations(const osl_library *l, X509_STORE *store, const char *file, const char *dir) {
	(void)l;
	return X509_STORE_load_locations(store, file, dir);
}

int osl_library_load_store(const osl_library *l, X509_STORE *store, const char *uri) {
	(void)l, (void)store, (void)uri;
	return 0; /* there are none before 3.0 */
}

int osl_library_random(const osl_library *l, unsigned char *p, size_t n) {
	(void)l;
	return RAND_bytes(p, (int)n) == 1;
}

const EVP_CIPHER *osl_library_ticket_cipher(const osl_library *l) {
	(void)l;
	return EVP_aes_256_cbc();
}
#endif
