/* A HelloRetryRequest, which a client can provoke, makes the servername callback
 * of the first ClientHello early enough for the second. */
#include "pair.h"

static int on_name(SSL *ssl, int *alert, void *arg) {
	(void)alert, (void)arg;
	name_own(ssl, "B");
	return SSL_TLSEXT_ERR_OK;
}

static SSL_SESSION *named(const char *key, SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer) {
	pair p = meet(c, s, offer);
	SSL_SESSION *session;

	MUST(SSL_set_tlsext_host_name(p.c, "b.test") == 1 && shake(&p));
	say(key, "%s, session context %s", outcome(&p), context_of(SSL_get_session(p.s)));
	session = SSL_get1_session(p.c);
	part(&p);
	return session;
}

int main(void) {
	int m;

	for (m = 0; m < 3; m++) {
		SSL_CTX *wrong = client(TLS1_3_VERSION), *right = client(TLS1_3_VERSION), *s = server(TLS1_3_VERSION, "A");
		SSL_SESSION *first, *second;

		remember(s, mechanisms[m]);
		SSL_CTX_set_tlsext_servername_callback(s, on_name);
		ask_again(wrong, s);
		MUST(SSL_CTX_set1_groups_list(right, "P-256") == 1);
		first = named(path("TLS1.3", mechanisms[m], "1 with HelloRetryRequest"), wrong, s, NULL);
		second = named(path("TLS1.3", mechanisms[m], "2 with HelloRetryRequest"), wrong, s, first);
		SSL_SESSION_free(named(path("TLS1.3", mechanisms[m], "3 without"), right, s, second));
		SSL_SESSION_free(first);
		SSL_SESSION_free(second);
		store_clear();
		SSL_CTX_free(wrong);
		SSL_CTX_free(right);
		SSL_CTX_free(s);
	}
	return 0;
}
