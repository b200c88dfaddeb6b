/* What else copies a session id context: SSL_clear, SSL_dup, SSL_copy_session_id. */
#include "pair.h"

int main(void) {
	size_t i;

	for (i = 0; i < 2; i++) {
		const char *v = protocol(versions[i]);
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A"), *other = server(versions[i], "B");
		SSL *ssl = SSL_new(s), *twin;
		pair p;

		name_own(ssl, "own");
		MUST(SSL_clear(ssl) == 1);
		p = join(SSL_new(c), ssl);
		MUST(shake(&p));
		say(path(v, "SSL_clear keeps", NULL), "%s", context_of(SSL_get_session(p.s)));
		twin = SSL_dup(p.s);
		say(path(v, "SSL_dup after the handshake", NULL), "%s", twin == p.s ? "the same object" : "another object");
		SSL_free(twin);
		part(&p);

		ssl = SSL_new(s);
		name_own(ssl, "own");
		twin = SSL_dup(ssl);
		SSL_free(ssl);
		p = join(SSL_new(c), twin);
		MUST(shake(&p));
		say(path(v, "SSL_dup before the handshake copies", NULL), "%s", context_of(SSL_get_session(p.s)));
		part(&p);

		p = meet(c, s, NULL);
		MUST(shake(&p));
		twin = SSL_new(other);
		MUST(SSL_copy_session_id(twin, p.s) == 1);
		say(path(v, "SSL_copy_session_id shares", NULL), "session %s, certificate %s",
		    SSL_get_session(twin) == SSL_get_session(p.s) ? "yes" : "no",
		    SSL_get_certificate(twin) == SSL_get_certificate(p.s) ? "yes" : "no");
		SSL_free(twin);
		part(&p);

		ssl = SSL_new(s);
		name_own(ssl, "own");
		twin = SSL_new(other);
		MUST(SSL_copy_session_id(twin, ssl) == 1);
		SSL_free(ssl);
		p = join(SSL_new(c), twin);
		MUST(shake(&p));
		say(path(v, "SSL_copy_session_id copies", NULL), "%s", context_of(SSL_get_session(p.s)));
		part(&p);

		SSL_CTX_free(c);
		SSL_CTX_free(s);
		SSL_CTX_free(other);
	}
	return 0;
}
