/* A server with every callback that libssl has, each of which calls hook. */
#ifndef CALLBACKS_H
#define CALLBACKS_H

#include "pair.h"

#include <openssl/hmac.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/core_names.h>
#include <openssl/params.h>
#endif

/* hook is what a program wants done in a callback. */
static void hook(SSL *ssl, const char *callback);

static int cb_hello(SSL *ssl, int *alert, void *arg) {
	(void)alert, (void)arg;
	hook(ssl, "client_hello");
	return SSL_CLIENT_HELLO_SUCCESS;
}

static int cb_servername(SSL *ssl, int *alert, void *arg) {
	(void)alert, (void)arg;
	hook(ssl, "servername");
	return SSL_TLSEXT_ERR_OK;
}

static int cb_cert(SSL *ssl, void *arg) {
	(void)arg;
	hook(ssl, "cert");
	return 1;
}

static int cb_status(SSL *ssl, void *arg) {
	(void)arg;
	hook(ssl, "status");
	return SSL_TLSEXT_ERR_NOACK;
}

static int cb_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned int in_n, void *arg) {
	(void)in_n, (void)arg;
	hook(ssl, "alpn_select");
	*out = in + 1;
	*n = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static int cb_verify(int ok, X509_STORE_CTX *store) {
	(void)ok;
	hook(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()), "verify");
	return 1;
}

static int cb_gen_ticket(SSL *ssl, void *arg) {
	(void)arg;
	hook(ssl, "generate_ticket");
	return 1;
}

static SSL_TICKET_RETURN cb_dec_ticket(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t n,
                                       SSL_TICKET_STATUS status, void *arg) {
	(void)s, (void)name, (void)n, (void)arg;
	hook(ssl, "decrypt_ticket");
	return status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW
	           ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
}

static int cb_psk_find(SSL *ssl, const unsigned char *id, size_t n, SSL_SESSION **s) {
	(void)id, (void)n;
	hook(ssl, "psk_find_session");
	*s = NULL;
	return 1;
}

static int cb_new(SSL *ssl, SSL_SESSION *s) {
	hook(ssl, "new_session");
	return store_new(ssl, s);
}

static SSL_SESSION *cb_get(SSL *ssl, const unsigned char *id, int n, int *copy) {
	hook(ssl, "get_session");
	return store_get(ssl, id, n, copy);
}

static int cb_generate_id(SSL *ssl, unsigned char *id, unsigned int *n) {
	static unsigned char serial;

	hook(ssl, "generate_session_id");
	memset(id, 7, *n);
	id[0] = ++serial;
	return 1;
}

static void cb_info(const SSL *ssl, int where, int ret) {
	(void)ret;
	if (where & (SSL_CB_HANDSHAKE_START | SSL_CB_HANDSHAKE_DONE))
		hook((SSL *)ssl, where & SSL_CB_HANDSHAKE_START ? "START" : "DONE");
}

static int cb_early(SSL *ssl, void *arg) {
	(void)arg;
	hook(ssl, "allow_early_data");
	return 1;
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
static int cb_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal) {
#else
static int cb_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, HMAC_CTX *mac, int seal) {
#endif
	static unsigned char key[33] = "a key for the tickets of one run";

	hook(ssl, seal ? "ticket_key(seal)" : "ticket_key(open)");
	if (seal) {
		memset(name, 'n', 16);
		memset(iv, 'i', 16);
		MUST(EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv) == 1);
	} else {
		MUST(EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key, iv) == 1);
	}
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	{
		char digest[] = "SHA256";
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, 32),
			OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
			OSSL_PARAM_construct_end(),
		};
		MUST(EVP_MAC_CTX_set_params(mac, params) == 1);
	}
#else
	MUST(HMAC_Init_ex(mac, key, 32, EVP_sha256(), NULL) == 1);
#endif
	return seal ? 1 : 2;
}

static SSL_CTX *cb_server(int version, const char *mechanism) {
	SSL_CTX *s = server(version, "A");

	remember(s, mechanism);
	SSL_CTX_set_verify(s, SSL_VERIFY_PEER, cb_verify);
	SSL_CTX_set_client_hello_cb(s, cb_hello, NULL);
	SSL_CTX_set_tlsext_servername_callback(s, cb_servername);
	SSL_CTX_set_cert_cb(s, cb_cert, NULL);
	SSL_CTX_set_tlsext_status_cb(s, cb_status);
	SSL_CTX_set_alpn_select_cb(s, cb_alpn, NULL);
	SSL_CTX_set_session_ticket_cb(s, cb_gen_ticket, cb_dec_ticket, NULL);
	SSL_CTX_set_psk_find_session_callback(s, cb_psk_find);
	SSL_CTX_set_generate_session_id(s, cb_generate_id);
	SSL_CTX_set_info_callback(s, cb_info);
	SSL_CTX_set_allow_early_data_cb(s, cb_early, NULL);
	SSL_CTX_sess_set_new_cb(s, cb_new);
	SSL_CTX_set_num_tickets(s, 1);
	if (strcmp(mechanism, "external") == 0)
		SSL_CTX_sess_set_get_cb(s, cb_get);
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	SSL_CTX_set_tlsext_ticket_key_evp_cb(s, cb_ticket_key);
#else
	SSL_CTX_set_tlsext_ticket_key_cb(s, cb_ticket_key);
#endif
	return s;
}

/* cb_client asks for everything that makes a server's callbacks run. */
static SSL_CTX *cb_client(int version) {
	SSL_CTX *c = client(version);

	identity(c, "client.test");
	MUST(SSL_CTX_set_alpn_protos(c, (const unsigned char *)"\2h2", 3) == 0);
	SSL_CTX_set_tlsext_status_type(c, TLSEXT_STATUSTYPE_ocsp);
	return c;
}

static pair cb_meet(SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer) {
	pair p = meet(c, s, offer);

	MUST(SSL_set_tlsext_host_name(p.c, "server.test") == 1);
	return p;
}

#endif
