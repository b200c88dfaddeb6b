/* An external pre-shared key of TLS 1.3, on both ends. */
#ifndef PSK_H
#define PSK_H

#include "pair.h"

static const unsigned char psk_key[32] = "a key that both ends were given";
static const char psk_identity[] = "the client";
static const char *psk_context; /* that use_session gives to its session, or NULL */

/* The suite whose hash is the key's: a server that prefers another one declines the key. */
static inline SSL_CTX *psk_suite(SSL_CTX *c) {
	MUST(SSL_CTX_set_ciphersuites(c, "TLS_AES_128_GCM_SHA256") == 1);
	return c;
}

static inline SSL_SESSION *psk_session(SSL *ssl) {
	const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
	SSL_SESSION *s = SSL_SESSION_new();

	MUST(s && SSL_SESSION_set1_master_key(s, psk_key, sizeof psk_key) == 1);
	MUST(SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, aes_128_gcm_sha256)) == 1);
	MUST(SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1);
	return s;
}

static inline int psk_use(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *n, SSL_SESSION **s) {
	*s = NULL;
	if (md && EVP_MD_size(md) != 32)
		return 1; /* a HelloRetryRequest has chosen another hash */
	*s = psk_session(ssl);
	if (psk_context)
		MUST(SSL_SESSION_set1_id_context(*s, (const unsigned char *)psk_context, (unsigned int)strlen(psk_context)) == 1);
	*id = (const unsigned char *)psk_identity;
	*n = strlen(psk_identity);
	return 1;
}

static inline int psk_find(SSL *ssl, const unsigned char *id, size_t n, SSL_SESSION **s) {
	*s = n == strlen(psk_identity) && memcmp(id, psk_identity, n) == 0 ? psk_session(ssl) : NULL;
	return 1;
}

/* The callback from before TLS 1.3. */
static inline unsigned int psk_old(SSL *ssl, const char *hint, char *id, unsigned int id_max,
                                   unsigned char *key, unsigned int key_max) {
	(void)ssl, (void)hint;
	MUST(id_max > strlen(psk_identity) && key_max >= sizeof psk_key);
	strcpy(id, psk_identity);
	memcpy(key, psk_key, sizeof psk_key);
	return sizeof psk_key;
}

#endif
