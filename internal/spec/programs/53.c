/* Virtual hosts that are chosen in the servername callback: distinct contexts do
 * not keep a session of the open host away from the one that requires certificates. */
#include "pair.h"

static SSL_CTX *open_host, *mtls_host;

static int on_name(SSL *ssl, int *alert, void *arg) {
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	SSL_CTX *host = name && strcmp(name, "mtls.test") == 0 ? mtls_host : open_host;

	(void)alert, (void)arg;
	MUST(SSL_set_SSL_CTX(ssl, host) == host);
	SSL_set_verify(ssl, SSL_CTX_get_verify_mode(host), SSL_CTX_get_verify_callback(host));
	return SSL_TLSEXT_ERR_OK;
}

int main(void) {
	int i, m;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++) {
			const char *key = path(protocol(versions[i]), mechanisms[m], "open then mtls");
			SSL_CTX *c = client(versions[i]), *s = server(versions[i], "default");
			SSL_SESSION *session;
			X509 *peer;
			pair p;

			open_host = server(versions[i], "open");
			mtls_host = server(versions[i], "mtls");
			SSL_CTX_set_verify(mtls_host, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, accept_all);
			remember(s, mechanisms[m]);
			SSL_CTX_set_tlsext_servername_callback(s, on_name);

			p = meet(c, s, NULL);
			MUST(SSL_set_tlsext_host_name(p.c, "open.test") == 1 && shake(&p));
			session = SSL_get1_session(p.c);
			part(&p);
			p = meet(c, s, session);
			MUST(SSL_set_tlsext_host_name(p.c, "mtls.test") == 1);
			shake(&p);
			peer = SSL_get_peer_certificate(p.s);
			say(key, "%s, served by %s, certificate %s, session context %s", outcome(&p),
			    SSL_get_SSL_CTX(p.s) == mtls_host ? "mtls" : SSL_get_SSL_CTX(p.s) == open_host ? "open" : "default",
			    peer ? "seen" : "none", context_of(SSL_get_session(p.s)));
			X509_free(peer);
			part(&p);
			SSL_SESSION_free(session);
			store_clear();
			SSL_CTX_free(c);
			SSL_CTX_free(s);
			SSL_CTX_free(open_host);
			SSL_CTX_free(mtls_host);
		}
	return 0;
}
