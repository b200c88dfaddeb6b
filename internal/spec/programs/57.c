/* SSL_set_SSL_CTX without SSL_set_verify: the host is another one, the verify mode is not. */
#include "pair.h"

static SSL_CTX *mtls_host;
static int verify_too;

static int on_hello(SSL *ssl, int *alert, void *arg) {
	(void)alert, (void)arg;
	MUST(SSL_set_SSL_CTX(ssl, mtls_host) == mtls_host);
	if (verify_too)
		SSL_set_verify(ssl, SSL_CTX_get_verify_mode(mtls_host), SSL_CTX_get_verify_callback(mtls_host));
	return SSL_CLIENT_HELLO_SUCCESS;
}

int main(void) {
	int i;

	for (i = 0; i < 2; i++)
		for (verify_too = 0; verify_too < 2; verify_too++) {
			SSL_CTX *c = client(versions[i]), *s = server(versions[i], "default");
			pair p;

			mtls_host = server(versions[i], "mtls");
			SSL_CTX_set_verify(mtls_host, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_all);
			SSL_CTX_set_client_hello_cb(s, on_hello, NULL);
			p = meet(c, s, NULL);
			shake(&p);
			say(path(protocol(versions[i]), verify_too ? "libssl alone, with SSL_set_verify" : "libssl alone, without SSL_set_verify", NULL),
			    "%s, verify mode %d", outcome(&p), SSL_get_verify_mode(p.s));
			part(&p);
			SSL_CTX_free(c);
			SSL_CTX_free(s);
			SSL_CTX_free(mtls_host);
		}
	return 0;
}
