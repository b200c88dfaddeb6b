/* The same, and then a switch: the copy in the SSL no longer equals its SSL_CTX's,
 * so it counts as the connection's own. */
#include "pair.h"

int main(void) {
	size_t i;

	for (i = 0; i < 2; i++) {
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A"), *b = server(versions[i], "B");
		pair p = meet(c, s, NULL);

		name_context(s, "late");
		MUST(SSL_set_SSL_CTX(p.s, b) == b && shake(&p));
		say(path(protocol(versions[i]), "libssl alone", NULL), "%s", context_of(SSL_get_session(p.s)));
		part(&p);
		SSL_CTX_free(c);
		SSL_CTX_free(s);
		SSL_CTX_free(b);
	}
	return 0;
}
