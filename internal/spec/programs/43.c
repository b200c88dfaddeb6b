/* A server that is shown an external key. */
#include "psk.h"

static void attempt(const char *key, const char *sid, int verify) {
	SSL_CTX *c = psk_suite(client(TLS1_3_VERSION)), *s = psk_suite(server(TLS1_3_VERSION, sid));
	pair p;

	SSL_CTX_set_psk_use_session_callback(c, psk_use);
	SSL_CTX_set_psk_find_session_callback(s, psk_find);
	SSL_CTX_set_verify(s, verify, accept_all);
	p = meet(c, s, NULL);
	if (shake(&p)) {
		X509 *peer = SSL_get_peer_certificate(p.s);
		say(key, "%s, session context %s, client certificate %s",
		    outcome(&p), context_of(SSL_get_session(p.s)), peer ? "seen" : "none");
		X509_free(peer);
	} else {
		say(key, "%s", outcome(&p));
	}
	part(&p);
	SSL_CTX_free(c);
	SSL_CTX_free(s);
}

int main(void) {
	attempt("TLS1.3/external PSK/server A", "A", SSL_VERIFY_NONE);
	attempt("TLS1.3/external PSK/server unset", NULL, SSL_VERIFY_NONE);
	attempt("TLS1.3/external PSK/server unset, verify peer", NULL, SSL_VERIFY_PEER);
	attempt("TLS1.3/external PSK/server A, verify required", "A", SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT);
	return 0;
}
