/* A client that offers a session of another context. */
#ifndef MOVES_H
#define MOVES_H

#include "pair.h"

static inline void moves(const char *server_second) {
	static const char *const contexts[][2] = {{"X", "Y"}, {"", "Y"}, {"X", ""}};
	int i, m, k;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++)
			for (k = 0; k < 3; k++) {
				const char *first = contexts[k][0], *second = contexts[k][1];
				SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
				SSL_SESSION *session;
				char move[64];
				pair p;

				remember(s, mechanisms[m]);
				name_context(c, first);
				session = visit(c, s, NULL, NULL, 0);
				p = meet(c, s, session);
				name_own(p.c, second);
				name_own(p.s, server_second);
				snprintf(move, sizeof move, "libssl alone, %s->%s", first[0] ? first : "unset", second[0] ? second : "unset");
				if (shake(&p))
					say(path(protocol(versions[i]), mechanisms[m], move), "%s, new session context %s", outcome(&p), context_of(SSL_get_session(p.c)));
				else
					say(path(protocol(versions[i]), mechanisms[m], move), "%s, and the session is %s", outcome(&p),
					    SSL_SESSION_is_resumable(session) ? "resumable" : "invalidated");
				part(&p);
				SSL_SESSION_free(session);
				store_clear();
				SSL_CTX_free(c);
				SSL_CTX_free(s);
			}
}

#endif
