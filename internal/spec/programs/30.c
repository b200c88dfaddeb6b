/* Whether a verify callback hears of a resumption. */
#include "pair.h"

static int called;

static int on_verify(int ok, X509_STORE_CTX *store) {
	(void)ok, (void)store;
	called = 1;
	return 1;
}

int main(void) {
	int i, m;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++) {
			SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
			SSL_SESSION *session;

			identity(c, "client.test");
			remember(s, mechanisms[m]);
			SSL_CTX_set_verify(s, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
			called = 0;
			session = visit(c, s, NULL, NULL, 0);
			say(path(protocol(versions[i]), mechanisms[m], "verify callback, full"), "%s", called ? "called" : "not called");
			called = 0;
			MUST(strcmp(try_session(c, s, session), "R") == 0);
			say(path(protocol(versions[i]), mechanisms[m], "verify callback, resumed"), "%s", called ? "called" : "not called");
			SSL_SESSION_free(session);
			store_clear();
			SSL_CTX_free(c);
			SSL_CTX_free(s);
		}
	return 0;
}
