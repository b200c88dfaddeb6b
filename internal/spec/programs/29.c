/* A ticket that allows early data is spent by the wrong context. */
#include "pair.h"

static int removed;

static void on_remove(SSL_CTX *c, SSL_SESSION *s) {
	(void)c, (void)s;
	removed++;
}

int main(void) {
	SSL_CTX *c = client(TLS1_3_VERSION), *s = server(TLS1_3_VERSION, "A");
	SSL_SESSION *session;
	pair p;

	MUST(SSL_CTX_set_max_early_data(s, 1024) == 1);
	SSL_CTX_sess_set_remove_cb(s, on_remove);

	session = visit(c, s, NULL, NULL, 0);
	say("TLS1.3/early data/offered to A", "%s", try_session(c, s, session));
	SSL_SESSION_free(session);

	session = visit(c, s, NULL, NULL, 0);
	p = meet(c, s, session);
	name_own(p.s, "B");
	removed = 0;
	shake(&p);
	say("TLS1.3/early data/offered to B", "%s", outcome(&p));
	say("TLS1.3/early data/remove_session_cb at B", "%d", removed);
	part(&p);
	say("TLS1.3/early data/offered to A after B", "%s", try_session(c, s, session));
	SSL_SESSION_free(session);
	SSL_CTX_free(c);
	SSL_CTX_free(s);
	return 0;
}
