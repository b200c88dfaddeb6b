#include "tickets.h"
#include "ssl.h"

#include <openssl/evp.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/core_names.h>
#include <openssl/params.h>
#else
#include <openssl/hmac.h>
#endif

void osl_keyring_free(osl_keyring *r) {
	if (!r)
		return;
	CRYPTO_THREAD_lock_free(r->lock);
	OPENSSL_clear_free(r->keys, r->n * sizeof *r->keys);
	OPENSSL_free(r);
}

osl_keyring *osl_keyring_new(const osl_library *l) {
	osl_keyring *r = OPENSSL_zalloc(sizeof *r);

	if (r && !(r->lock = CRYPTO_THREAD_lock_new())) {
		OPENSSL_free(r);
		return NULL;
	}
	if (r)
		r->library = l;
	return r;
}

/* osl_keyring_rotate puts a fresh key first and drops those that no living session
 * needs; the keyring's lock is held for writing. */
static int osl_keyring_rotate(osl_keyring *r, int64_t now, int64_t timeout) {
	size_t keep = 0, i;
	osl_dated_key *keys;

	for (i = 0; i < r->n; i++)
		if (now - r->keys[i].born < OSL_KEY_LIFE + timeout)
			keep = i + 1;
	if (!(keys = OPENSSL_malloc((keep + 1) * sizeof *keys)))
		return 0;
	if (!osl_library_random(r->library, (unsigned char *)&keys[0].key, sizeof keys[0].key)) {
		OPENSSL_free(keys);
		return 0;
	}
	keys[0].born = now;
	if (keep)
		memcpy(keys + 1, r->keys, keep * sizeof *keys);
	OPENSSL_clear_free(r->keys, r->n * sizeof *r->keys);
	r->keys = keys;
	r->n = keep + 1;
	return 1;
}

/* osl_keyring_encrypt copies the key that encrypts now. */
static int osl_keyring_encrypt(osl_keyring *r, int64_t timeout, osl_ticket_key *key) {
	int64_t now = (int64_t)time(NULL);
	int ok, stale;

	if (!CRYPTO_THREAD_read_lock(r->lock))
		return 0;
	stale = r->n == 0 || (!r->set && now - r->keys[0].born >= OSL_KEY_LIFE);
	if (!stale)
		*key = r->keys[0].key;
	CRYPTO_THREAD_unlock(r->lock);
	if (!stale)
		return 1;
	if (!CRYPTO_THREAD_write_lock(r->lock))
		return 0;
	ok = (r->n && (r->set || now - r->keys[0].born < OSL_KEY_LIFE)) || osl_keyring_rotate(r, now, timeout);
	if (ok)
		*key = r->keys[0].key;
	CRYPTO_THREAD_unlock(r->lock);
	return ok;
}

/* osl_keyring_decrypt finds a key by its name: 0 for none, 1 for the first, 2 for an older one. */
static int osl_keyring_decrypt(osl_keyring *r, const unsigned char *name, osl_ticket_key *key) {
	int found = 0;
	size_t i;

	if (!CRYPTO_THREAD_read_lock(r->lock))
		return 0;
	for (i = 0; i < r->n && !found; i++) {
		if (memcmp(r->keys[i].key.name, name, sizeof key->name) != 0)
			continue;
		*key = r->keys[i].key;
		found = i == 0 ? 1 : 2;
	}
	CRYPTO_THREAD_unlock(r->lock);
	return found;
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
typedef EVP_MAC_CTX osl_ticket_mac;

static int osl_ticket_mac_key(osl_ticket_mac *mac, osl_ticket_key *key) {
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_MAC_CTX_set_params(mac, params);
}
#else
/* 1.1.1 has no EVP_MAC; 3.0 deprecates HMAC_CTX. */
typedef HMAC_CTX osl_ticket_mac;

static int osl_ticket_mac_key(osl_ticket_mac *mac, osl_ticket_key *key) {
	return HMAC_Init_ex(mac, key->hmac, sizeof key->hmac, EVP_sha256(), NULL);
}
#endif

static int osl_ticket_key_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                             osl_ticket_mac *mac, int encrypt) {
	osl_ssl *t = SSL_get_app_data(ssl);
	osl_ctx_data *data = SSL_CTX_get_app_data(t->first_ctx);
	const EVP_CIPHER *aes = osl_library_ticket_cipher(data->library);
	osl_ticket_key key;
	int r;

	if (encrypt) {
		if (!osl_keyring_encrypt(data->keyring, SSL_CTX_get_timeout(t->first_ctx), &key))
			return -1;
		memcpy(name, key.name, sizeof key.name);
		r = osl_library_random(data->library, iv, (size_t)EVP_CIPHER_iv_length(aes)) &&
		            EVP_EncryptInit_ex(cipher, aes, NULL, key.aes, iv) && osl_ticket_mac_key(mac, &key)
		        ? 1
		        : -1;
	} else {
		r = osl_keyring_decrypt(data->keyring, name, &key);
		/* 2 renews: in TLS 1.3 a resumption that brought no ticket would be the last. */
		if (r == 1 && SSL_version(ssl) >= TLS1_3_VERSION)
			r = 2;
		if (r && (!EVP_DecryptInit_ex(cipher, aes, NULL, key.aes, iv) || !osl_ticket_mac_key(mac, &key)))
			r = -1;
	}
	OPENSSL_cleanse(&key, sizeof key);
	return r;
}

/* osl_ctx_set_ticket_keys swaps all keys at once, also under load. */
osl_fail *osl_ctx_set_ticket_keys(SSL_CTX *c, const unsigned char *keys, size_t n) {
	osl_keyring *r = ((osl_ctx_data *)SSL_CTX_get_app_data(c))->keyring;
	osl_dated_key *aged;
	size_t i, old_n;

	osl_enter();
	if (!(aged = OPENSSL_zalloc(n * sizeof *aged)))
		return osl_take(0);
	for (i = 0; i < n; i++)
		memcpy(&aged[i].key, keys + i * sizeof aged->key, sizeof aged->key);
	if (!CRYPTO_THREAD_write_lock(r->lock)) {
		OPENSSL_clear_free(aged, n * sizeof *aged);
		return osl_take(0);
	}
	old_n = r->n;
	osl_dated_key *old = r->keys;
	r->keys = aged;
	r->n = n;
	r->set = 1;
	CRYPTO_THREAD_unlock(r->lock);
	OPENSSL_clear_free(old, old_n * sizeof *old);
	osl_leave();
	return NULL;
}

/* osl_ctx_age_ticket_keys moves the birth of every key back, for tests of their turn. */
void osl_ctx_age_ticket_keys(SSL_CTX *c, int64_t seconds) {
	osl_keyring *r = ((osl_ctx_data *)SSL_CTX_get_app_data(c))->keyring;
	size_t i;

	if (CRYPTO_THREAD_write_lock(r->lock)) {
		for (i = 0; i < r->n; i++)
			r->keys[i].born -= seconds;
		CRYPTO_THREAD_unlock(r->lock);
	}
}

/* osl_tickets_install gives a server's SSL_CTX a keyring. SSL_CTX_set_tlsext_ticket_key_evp_cb. */
int osl_tickets_install(SSL_CTX *c) {
	osl_ctx_data *data = SSL_CTX_get_app_data(c);

	if (!(data->keyring = osl_keyring_new(data->library)))
		return 0;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(c, osl_ticket_key_cb) == 1;
#else
	return SSL_CTX_set_tlsext_ticket_key_cb(c, osl_ticket_key_cb) == 1;
#endif
}
