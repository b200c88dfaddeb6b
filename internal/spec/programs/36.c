/* Verify peer, post handshake: what it means for resumption. */
#include "pair.h"

int main(void) {
	static const char *const contexts[] = {NULL, "A"};
	int m, k;

	for (m = 0; m < 3; m++)
		for (k = 0; k < 2; k++) {
			const char *at = path(protocol(TLS1_3_VERSION), mechanisms[m], contexts[k] ? contexts[k] : "unset");
			SSL_CTX *c = client(TLS1_3_VERSION), *s = server(TLS1_3_VERSION, contexts[k]);
			SSL_SESSION *session;
			pair p;

			identity(c, "client.test");
			remember(s, mechanisms[m]);
			SSL_CTX_set_verify(s, SSL_VERIFY_PEER | SSL_VERIFY_POST_HANDSHAKE, accept_all);
			p = meet(c, s, NULL);
			shake(&p);
			say(path(at, "first", NULL), "%s", outcome(&p));
			say(path(at, "certificates of the client", NULL), "%d", SSL_get_peer_cert_chain(p.s) ? sk_X509_num(SSL_get_peer_cert_chain(p.s)) : 0);
			session = SSL_get1_session(p.c);
			part(&p);
			say(path(at, "second", NULL), "%s", try_session(c, s, session));
			SSL_SESSION_free(session);
			store_clear();
			SSL_CTX_free(c);
			SSL_CTX_free(s);
		}
	return 0;
}
