/* A session id context that is set in the servername callback comes too late. */
#include "pair.h"

static SSL_CTX *other; /* to switch to, or NULL: then the context alone changes */

static int on_name(SSL *ssl, int *alert, void *arg) {
	(void)alert, (void)arg;
	if (other)
		MUST(SSL_set_SSL_CTX(ssl, other) == other);
	else
		name_own(ssl, "B");
	return SSL_TLSEXT_ERR_OK;
}

int main(void) {
	int i, m, by_ctx;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++)
			for (by_ctx = 0; by_ctx < 2; by_ctx++) {
				SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A"), *b = server(versions[i], "B");
				SSL_SESSION *session;
				pair p;

				remember(s, mechanisms[m]);
				SSL_CTX_set_tlsext_servername_callback(s, on_name);
				other = by_ctx ? b : NULL;
				p = meet(c, s, NULL);
				MUST(SSL_set_tlsext_host_name(p.c, "b.test") == 1 && shake(&p));
				session = SSL_get1_session(p.c);
				say(path(path(protocol(versions[i]), mechanisms[m], NULL), by_ctx ? "SSL_set_SSL_CTX" : "SSL_set_session_id_context", "the session carries"),
				    "%s", context_of(SSL_get_session(p.s)));
				part(&p);

				p = meet(c, s, session);
				MUST(SSL_set_tlsext_host_name(p.c, "b.test") == 1 && shake(&p));
				say(path(path(protocol(versions[i]), mechanisms[m], NULL), by_ctx ? "SSL_set_SSL_CTX" : "SSL_set_session_id_context", "offered again"),
				    "%s", outcome(&p));
				part(&p);
				SSL_SESSION_free(session);
				store_clear();
				SSL_CTX_free(c);
				SSL_CTX_free(s);
				SSL_CTX_free(b);
			}
	return 0;
}
