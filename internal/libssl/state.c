#include "state.h"

#include <openssl/ec.h>
#include <openssl/objects.h>

/* The groups of RFC 8422, 7027, 8734 and 7919 by number, with libssl's names from 3.0 on. */
static const struct {
	int nid, id;
	const char *name;
} osl_groups[] = {
	{NID_secp256k1, 22, "secp256k1"},
	{NID_X9_62_prime256v1, 23, "secp256r1"},
	{NID_secp384r1, 24, "secp384r1"},
	{NID_secp521r1, 25, "secp521r1"},
	{NID_brainpoolP256r1, 26, "brainpoolP256r1"},
	{NID_brainpoolP384r1, 27, "brainpoolP384r1"},
	{NID_brainpoolP512r1, 28, "brainpoolP512r1"},
	{NID_X25519, 29, "x25519"},
	{NID_X448, 30, "x448"},
	{NID_ffdhe2048, 256, "ffdhe2048"},
	{NID_ffdhe3072, 257, "ffdhe3072"},
	{NID_ffdhe4096, 258, "ffdhe4096"},
	{NID_ffdhe6144, 259, "ffdhe6144"},
	{NID_ffdhe8192, 260, "ffdhe8192"},
};

/* osl_group_nid is the group's NID, or its number with TLSEXT_nid_unknown; 0 for none. */
static int osl_group_nid(SSL *ssl) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return (int)SSL_get_negotiated_group(ssl);
#else
	/* 1.1.1 has the peer's key alone, and of TLS 1.2 on a client alone. */
	EVP_PKEY *key;
	int nid = 0;

	if (!SSL_get_peer_tmp_key(ssl, &key))
		return 0;
	switch (EVP_PKEY_id(key)) {
	case EVP_PKEY_EC:
		nid = EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)));
		break;
	case EVP_PKEY_X25519:
	case EVP_PKEY_X448:
		nid = EVP_PKEY_id(key);
	}
	EVP_PKEY_free(key);
	return nid;
#endif
}

/* osl_ssl_group is the group of the key exchange, by number and name.
 * SSL_get_negotiated_group, SSL_get0_group_name. */
void osl_ssl_group(SSL *ssl, osl_state *s) {
	const char *name = NULL;
	size_t i;
	int nid;

	s->group = 0;
	s->group_name[0] = 0;
	if (!SSL_get_session(ssl) || (nid = osl_group_nid(ssl)) == 0)
		return;
	if (nid & TLSEXT_nid_unknown)
		s->group = nid & 0xffff;
	for (i = 0; i < sizeof osl_groups / sizeof osl_groups[0]; i++) {
		if (osl_groups[i].nid == nid) {
			s->group = osl_groups[i].id;
			name = osl_groups[i].name;
		}
	}
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
	name = SSL_get0_group_name(ssl);
#elif OPENSSL_VERSION_NUMBER >= 0x30000000L
	name = SSL_group_to_name(ssl, nid); /* SSL_get0_group_name came with 3.2 */
#endif
	snprintf(s->group_name, sizeof s->group_name, "%s", name ? name : "");
}

/* osl_ssl_verified_chain is the chain that libssl has built and found good, DER behind
 * 32-bit lengths, up to the trusted CA. SSL_get0_verified_chain. */
osl_bytes osl_ssl_verified_chain(osl_ssl *t) {
	STACK_OF(X509) *chain = SSL_get0_verified_chain(t->ssl);
	osl_bytes r = {NULL, 0, NULL};

	if (!chain || SSL_get_verify_result(t->ssl) != X509_V_OK)
		return r;
	osl_enter();
	r = osl_put_certs(NULL, chain, 0);
	osl_sweep();
	return r;
}

/* osl_ssl_ocsp_response is what a server has stapled for a client. SSL_get_tlsext_status_ocsp_resp. */
osl_bytes osl_ssl_ocsp_response(osl_ssl *t) {
	osl_bytes r = {NULL, 0, NULL};
	unsigned char *p = NULL;
	long n;

	osl_enter();
	n = SSL_is_server(t->ssl) ? 0 : SSL_get_tlsext_status_ocsp_resp(t->ssl, &p);
	if (n > 0 && p) {
		if ((r.p = OPENSSL_memdup(p, (size_t)n)) != NULL)
			r.n = (size_t)n;
		else
			r.fail = osl_take(0);
	}
	osl_sweep();
	return r;
}

/* SSL_get_finished, SSL_get_peer_finished. */
void osl_ssl_finished(osl_ssl *t, osl_finished *f) {
	osl_enter();
	f->local_n = SSL_get_finished(t->ssl, f->local, sizeof f->local);
	f->peer_n = SSL_get_peer_finished(t->ssl, f->peer, sizeof f->peer);
	f->extended_master_secret = SSL_version(t->ssl) >= TLS1_3_VERSION || SSL_get_extms_support(t->ssl) == 1;
	osl_leave();
}
