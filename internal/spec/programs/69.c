/* Renegotiation that asks to resume, after the context has changed or not. */
#include "pair.h"

static void attempt(const char *mechanism, const char *sid, const char *key) {
	SSL_CTX *c = client(TLS1_2_VERSION), *s = server(TLS1_2_VERSION, "A");
	char byte;
	pair p;
	int i;

	remember(s, mechanism);
#ifdef SSL_OP_ALLOW_CLIENT_RENEGOTIATION /* 3.0 */
	SSL_CTX_set_options(s, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
#endif
	p = meet(c, s, NULL);
	MUST(shake(&p));
	name_own(p.s, sid);
	MUST(SSL_renegotiate_abbreviated(p.c) == 1);
	for (i = 0; i < 10; i++) {
		ERR_clear_error();
		SSL_do_handshake(p.c);
		SSL_read(p.s, &byte, 1);
		SSL_read(p.c, &byte, 1);
	}
	ERR_clear_error();
	MUST(!SSL_renegotiate_pending(p.c) && SSL_is_init_finished(p.c) && SSL_num_renegotiations(p.s) + SSL_num_renegotiations(p.c) > 0);
	say(path("TLS1.2", mechanism, key), "%s, session context %s", outcome(&p), context_of(SSL_get_session(p.s)));
	part(&p);
	store_clear();
	SSL_CTX_free(c);
	SSL_CTX_free(s);
}

int main(void) {
	int m;

	for (m = 0; m < 3; m++) {
		attempt(mechanisms[m], "A", "A->A");
		attempt(mechanisms[m], "B", "A->B");
	}
	return 0;
}
