/* What a fatal 277 leaves in the cache, and whom it tells. */
#include "pair.h"

static int removed;

static void on_remove(SSL_CTX *c, SSL_SESSION *s) {
	(void)c, (void)s;
	removed++;
}

int main(void) {
	int i;

	for (i = 0; i < 2; i++) {
		const char *at = path(protocol(versions[i]), "stateful", NULL);
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], NULL);
		SSL_SESSION *session;
		pair p;

		remember(s, "stateful");
		SSL_CTX_set_num_tickets(s, 1);
		SSL_CTX_sess_set_remove_cb(s, on_remove);
		session = visit(c, s, NULL, NULL, 0);
		p = meet(c, s, session);
		SSL_set_verify(p.s, SSL_VERIFY_PEER, accept_all);
		removed = 0;
		shake(&p);
		say(path(at, "first none, then peer", NULL), "%s", outcome(&p));
		part(&p);
		say(path(at, "remove_session_cb", NULL), "%d", removed);
		say(path(at, "left in the cache", NULL), "%ld", SSL_CTX_sess_number(s));
		say(path(at, "the client's session can be resumed", NULL), "%s", SSL_SESSION_is_resumable(session) ? "yes" : "no");
		SSL_SESSION_free(session);
		SSL_CTX_free(c);
		SSL_CTX_free(s);
	}
	return 0;
}
