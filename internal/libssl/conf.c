#include "conf.h"
#include "ctx.h"
#include "pem.h"

#include <strings.h>
#include <openssl/pem.h>

/* osl_use_store has certificates verified against a store, which it takes over,
 * and against no other: the one that SSL_CONF_cmd loads CAs into would prevail.
 * SSL_CTX_set_cert_store, SSL_CTX_set0_verify_cert_store. */
void osl_use_store(SSL_CTX *c, X509_STORE *store) {
	SSL_CTX_set0_verify_cert_store(c, NULL);
	SSL_CTX_set_cert_store(c, store);
}

/* osl_names_size is how many bytes names take in a message if that is more than it
 * holds, else 0. i2d_X509_NAME. */
size_t osl_names_size(const STACK_OF(X509_NAME) *names) {
	size_t size = 0;
	int i, n;

	for (i = 0; i < sk_X509_NAME_num(names); i++) {
		n = i2d_X509_NAME(sk_X509_NAME_value(names, i), NULL);
		size += 2 + (n > 0 ? (size_t)n : 0);
	}
	return size > OSL_MAX_CA_NAMES ? size : 0;
}

/* osl_store_objects is the certificates and revocation lists of a store, until
 * osl_store_objects_free. X509_STORE_get0_objects. */
STACK_OF(X509_OBJECT) *osl_store_objects(X509_STORE *store) {
#if OPENSSL_VERSION_NUMBER >= 0x40000000L
	return X509_STORE_get1_objects(store); /* get0 is deprecated there */
#else
	return X509_STORE_get0_objects(store);
#endif
}

void osl_store_objects_free(STACK_OF(X509_OBJECT) *objects) {
#if OPENSSL_VERSION_NUMBER >= 0x40000000L
	sk_X509_OBJECT_pop_free(objects, X509_OBJECT_free);
#else
	(void)objects; /* the store's */
#endif
}

/* osl_trial_ctx is an SSL_CTX like c on which a command or a list can be tried:
 * of its library, method and security level, with neither certificates nor trust. */
SSL_CTX *osl_trial_ctx(SSL_CTX *c) {
	SSL_CTX *trial = osl_library_ctx(osl_ctx_library(c), SSL_CTX_get_ssl_method(c));

	if (trial) {
		SSL_CTX_set_security_level(trial, SSL_CTX_get_security_level(c));
		SSL_CTX_set_default_passwd_cb(trial, SSL_CTX_get_default_passwd_cb(c));
		SSL_CTX_set_default_passwd_cb_userdata(trial, SSL_CTX_get_default_passwd_cb_userdata(c));
	}
	return trial;
}

/* osl_trial_ssl is an SSL of c, with copies of what c holds: certificates, keys
 * and chains among them. Commands for stores go to verify, and to an empty store
 * for chains: those of c would be shared. */
static SSL *osl_trial_ssl(SSL_CTX *c, X509_STORE *verify) {
	X509_STORE *chains = X509_STORE_new();
	SSL *ssl = SSL_new(c);

	if (ssl && chains && verify && SSL_set1_chain_cert_store(ssl, chains) == 1 &&
	    SSL_set1_verify_cert_store(ssl, verify) == 1) {
		X509_STORE_free(chains); /* ssl's now */
		return ssl;
	}
	X509_STORE_free(chains);
	SSL_free(ssl);
	return NULL;
}

/* osl_conf_new is an SSL_CONF_CTX for a command of openssl.cnf or, with a dash,
 * of the command line. */
static SSL_CONF_CTX *osl_conf_new(int server, const char *cmd) {
	unsigned int flags = SSL_CONF_FLAG_CERTIFICATE | SSL_CONF_FLAG_SHOW_ERRORS;
	SSL_CONF_CTX *conf = SSL_CONF_CTX_new();

	flags |= server ? SSL_CONF_FLAG_SERVER : SSL_CONF_FLAG_CLIENT;
	flags |= cmd[0] == '-' ? SSL_CONF_FLAG_CMDLINE : SSL_CONF_FLAG_FILE;
	if (conf && SSL_CONF_CTX_set_flags(conf, flags) != flags) {
		SSL_CONF_CTX_free(conf);
		return NULL;
	}
	return conf;
}

/* osl_conf_run runs a command on ssl or, if that is NULL, on c: SSL_CONF_cmd's
 * answer, and 0 if what is left for the end failed. SSL_CONF_CTX_finish. */
static int osl_conf_run(int server, SSL_CTX *c, SSL *ssl, const char *cmd, const char *value) {
	SSL_CONF_CTX *conf = osl_conf_new(server, cmd);
	int answer;

	if (!conf)
		return 0;
	if (ssl)
		SSL_CONF_CTX_set_ssl(conf, ssl);
	else
		SSL_CONF_CTX_set_ssl_ctx(conf, c);
	answer = SSL_CONF_cmd(conf, cmd, value);
	if (answer > 0 && SSL_CONF_CTX_finish(conf) != 1)
		answer = 0;
	SSL_CONF_CTX_free(conf);
	return answer;
}

/* osl_store_empty reports whether nothing is in a store: of a folder nothing is
 * loaded, which is a failure in some versions only. */
static int osl_store_empty(X509_STORE *store) {
	STACK_OF(X509_OBJECT) *objects = osl_store_objects(store);
	int empty = sk_X509_OBJECT_num(objects) <= 0;

	osl_store_objects_free(objects);
	return empty;
}

/* osl_conf_type is what the value of a command names, SSL_CONF_TYPE_...; 0 for an
 * unknown command. SSL_CONF_cmd_value_type. */
osl_conf_type_result osl_conf_type(int server, const char *cmd) {
	osl_conf_type_result r = {SSL_CONF_TYPE_UNKNOWN, NULL};
	SSL_CONF_CTX *conf;

	osl_enter();
	if (!(conf = osl_conf_new(server, cmd))) {
		r.fail = osl_take(0);
		return r;
	}
	r.type = SSL_CONF_cmd_value_type(conf, cmd);
	SSL_CONF_CTX_free(conf);
	osl_sweep();
	return r;
}

/* osl_ctx_conf_try runs a command where it changes nothing: on an SSL, for what
 * depends on c's certificates, and on a fresh SSL_CTX, for what an SSL leaves out.
 * another is whether the command names another store, ext the extensions that
 * ServerInfoFile has registered on c. libssl itself applies the first half of some
 * commands before it refuses the second. SSL_CONF_cmd. */
osl_conf_trial osl_ctx_conf_try(SSL_CTX *c, int server, const char *cmd, const char *value, int another,
                                const uint16_t *ext, size_t ext_n) {
	osl_ctx_data *data = SSL_CTX_get_app_data(c);
	osl_conf_trial r = {0, 1, 0, 0, 0, NULL};
	X509_STORE *verify = NULL;
	SSL_CTX *fresh = NULL;
	SSL *ssl = NULL;

	osl_enter();
	data->asked = 0;
	if ((verify = X509_STORE_new()) != NULL && (ssl = osl_trial_ssl(c, verify)) != NULL &&
	    (fresh = osl_trial_ctx(c)) != NULL) {
		int ok = 1;

		while (ok && ext_n)
			ok = SSL_CTX_add_server_custom_ext(fresh, ext[--ext_n], NULL, NULL, NULL, NULL, NULL);
		if (ok && (r.answer = osl_conf_run(server, NULL, ssl, cmd, value)) > 0) {
			r.mode = SSL_get_verify_mode(ssl);
			r.names = osl_names_size(SSL_get0_CA_list(ssl));
			r.answer = osl_conf_run(server, fresh, NULL, cmd, value);
		}
		if (r.answer > 0 && another)
			r.loads = osl_library_load_store(osl_ctx_library(c), verify, value) && !osl_store_empty(verify);
	}
	r.asked = data->asked;
	if (r.answer <= 0 || !r.loads)
		r.fail = osl_take(0);
	SSL_free(ssl);
	SSL_CTX_free(fresh);
	X509_STORE_free(verify);
	osl_sweep();
	return r;
}

/* osl_ctx_conf runs a command that osl_ctx_conf_try has passed. SSL_CONF_cmd. */
osl_change_result osl_ctx_conf(SSL_CTX *c, int server, const char *cmd, const char *value) {
	const STACK_OF(X509_NAME) *names = SSL_CTX_get0_CA_list(c);
	osl_change_result r = {0};

	osl_enter();
	if (osl_conf_run(server, c, NULL, cmd, value) <= 0) {
		r.half = 1;
		r.fail = osl_take(0);
		return r;
	}
	/* The names of CAs that it has set are sent only without those of SSL_CTX_set_client_CA_list. */
	if (SSL_CTX_get0_CA_list(c) != names)
		SSL_CTX_set_client_CA_list(c, NULL);
	osl_sweep();
	return r;
}

/* osl_ctx_conf_trust runs a command that names CAs, and that osl_ctx_conf_try has
 * passed. libssl would put them into a store of their own, which prevails over
 * that of SSL_CTX_set_cert_store; here there is that one store. With replace they
 * alone are trusted, and revocation lists that were set stay. SSL_CONF_cmd. */
osl_change_result osl_ctx_conf_trust(SSL_CTX *c, int server, const char *cmd, const char *value, int replace,
                                     int another, const unsigned char *crls, size_t crls_n) {
	X509_STORE *store = replace ? X509_STORE_new() : SSL_CTX_get_cert_store(c);
	osl_change_result r = {0};
	SSL *ssl = NULL;
	int ok;

	osl_enter();
	ok = store && (ssl = osl_trial_ssl(c, store)) != NULL;
	if (ok && (osl_conf_run(server, NULL, ssl, cmd, value) <= 0 ||
	           (another && !osl_library_load_store(osl_ctx_library(c), store, value)))) {
		ok = 0;
		r.half = !replace;
	}
	if (ok && replace) {
		ok = !crls_n || osl_pem_crls(osl_ctx_library(c), store, crls, crls_n, &r.asked);
		if (ok) {
			osl_use_store(c, store);
			store = NULL; /* c's now */
		}
	}
	if (!ok)
		r.fail = osl_take(0);
	if (replace)
		X509_STORE_free(store);
	SSL_free(ssl);
	osl_sweep();
	return r;
}

/* osl_serverinfo is the types of the extensions in a file for ServerInfoFile; the
 * answer is how many there are. The first form of a block begins with the type,
 * the second has a 32-bit context in front. PEM_read_bio. */
size_t osl_serverinfo(const char *path, uint16_t *ext, size_t max) {
	static const char first[] = "SERVERINFO FOR ", second[] = "SERVERINFOV2 FOR ";
	unsigned char *data, *p;
	char *name, *header;
	size_t n = 0;
	long len;
	BIO *b;

	osl_enter();
	b = BIO_new_file(path, "r");
	while (b && n < max && PEM_read_bio(b, &name, &header, &data, &len)) {
		p = data;
		if (strncmp(name, second, sizeof second - 1) == 0)
			p += 4;
		if ((p > data || strncmp(name, first, sizeof first - 1) == 0) && len >= p - data + 2)
			ext[n++] = (uint16_t)(p[0] << 8 | p[1]);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(data);
	}
	BIO_free(b);
	osl_sweep();
	return n;
}
