/* Early data and contexts. */
#include "pair.h"

/* early offers a session and sends five bytes with it. */
static void early(const char *key, SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer, const char *sid) {
	pair p = meet(c, s, offer);
	size_t n, seen = 0;
	char buf[64];
	int i, r, reading = 1, c_done = 0, s_done = 0;

	name_own(p.s, sid);
	MUST(SSL_write_early_data(p.c, "hello", 5, &n) == 1);
	for (i = 0; i < 20 && !(c_done && s_done); i++) {
		while (reading && (r = SSL_read_early_data(p.s, buf, sizeof buf, &n)) != SSL_READ_EARLY_DATA_ERROR) {
			seen += n;
			reading = r != SSL_READ_EARLY_DATA_FINISH;
		}
		ERR_clear_error();
		if (!reading)
			s_done = step(p.s, &p.s_reason);
		c_done = step(p.c, &p.c_reason);
	}
	MUST(c_done && s_done && !p.c_reason && !p.s_reason);
	read_tickets(&p);
	say(key, "%s, client %s, server %s, server read %d bytes", outcome(&p),
	    SSL_get_early_data_status(p.c) == SSL_EARLY_DATA_ACCEPTED ? "accepted" : SSL_get_early_data_status(p.c) == SSL_EARLY_DATA_REJECTED ? "rejected" : "not sent",
	    SSL_get_early_data_status(p.s) == SSL_EARLY_DATA_ACCEPTED ? "accepted" : SSL_get_early_data_status(p.s) == SSL_EARLY_DATA_REJECTED ? "rejected" : "not sent",
	    (int)seen);
	part(&p);
}

int main(void) {
	int replay;

	for (replay = 0; replay < 2; replay++) {
		const char *at = path("TLS1.3", replay ? "no anti-replay" : "anti-replay", NULL);
		SSL_CTX *c = client(TLS1_3_VERSION), *s = server(TLS1_3_VERSION, "A");
		SSL_SESSION *session;

		MUST(SSL_CTX_set_max_early_data(s, 1024) == 1);
		if (replay)
			SSL_CTX_set_options(s, SSL_OP_NO_ANTI_REPLAY);
		session = visit(c, s, NULL, NULL, 0);
		early(path(at, "A->A", NULL), c, s, session, "A");
		SSL_SESSION_free(session);
		session = visit(c, s, NULL, NULL, 0);
		early(path(at, "A->B", NULL), c, s, session, "B");
		early(path(at, "A->B then A", NULL), c, s, session, "A");
		SSL_SESSION_free(session);
		SSL_CTX_free(c);
		SSL_CTX_free(s);
	}
	return 0;
}
