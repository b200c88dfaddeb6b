/* An SSL_CTX whose context changes after SSL_new. */
#include "pair.h"

int main(void) {
	size_t i;

	for (i = 0; i < 2; i++) {
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
		pair p = meet(c, s, NULL);

		name_context(s, "late");
		MUST(shake(&p));
		say(path(protocol(versions[i]), "libssl alone, made before the change", NULL), "%s", context_of(SSL_get_session(p.s)));
		part(&p);
		p = meet(c, s, NULL);
		MUST(shake(&p));
		say(path(protocol(versions[i]), "libssl alone, made after it", NULL), "%s", context_of(SSL_get_session(p.s)));
		part(&p);
		SSL_CTX_free(c);
		SSL_CTX_free(s);
	}
	return 0;
}
