/* Whose reference it is: new_session_cb's answer and get_session_cb's copy. A
 * counter in every session's ex_data says which of them are alive. */
#include "pair.h"

static int alive, idx, keep, copies;
static SSL_SESSION *kept;

static void born(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int i, long argl, void *argp) {
	(void)parent, (void)ptr, (void)ad, (void)i, (void)argl, (void)argp;
	alive++;
}

static void gone(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int i, long argl, void *argp) {
	(void)parent, (void)ptr, (void)ad, (void)i, (void)argl, (void)argp;
	alive--;
}

static int on_new(SSL *ssl, SSL_SESSION *s) {
	(void)ssl;
	if (!keep || kept)
		return 0;
	kept = s;
	return 1;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n, int *copy) {
	(void)ssl, (void)id, (void)n;
	*copy = copies;
	if (kept && !copies)
		MUST(SSL_SESSION_up_ref(kept) == 1);
	return kept;
}

int main(void) {
	int i;

	idx = SSL_SESSION_get_ex_new_index(0, NULL, born, NULL, gone);
	MUST(idx >= 0);
	for (i = 0; i < 2; i++) {
		const char *at = path(protocol(versions[i]), "external", NULL);
		SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
		SSL_SESSION *session;
		pair p;

		remember(s, "external");
		SSL_CTX_sess_set_new_cb(s, on_new);
		SSL_CTX_sess_set_get_cb(s, on_get);
		SSL_CTX_set_num_tickets(s, 1);

		keep = 0;
		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		say(path(at, "new_session_cb answers 0: alive", NULL), "%d", alive);

		keep = 1;
		SSL_SESSION_free(visit(c, s, NULL, NULL, 0));
		say(path(at, "new_session_cb answers 1: alive", NULL), "%d", alive);
		SSL_SESSION_free(kept);
		kept = NULL;
		say(path(at, "and after SSL_SESSION_free", NULL), "%d", alive);

		for (copies = 0; copies < 2; copies++) {
			session = visit(c, s, NULL, NULL, 0);
			say(path(at, copies ? "get_session_cb leaves copy at 1" : "get_session_cb sets copy to 0", NULL), "%s",
			    try_session(c, s, session));
			SSL_SESSION_free(session);
			SSL_SESSION_free(kept);
			kept = NULL;
			say(path(at, copies ? "copy 1: alive" : "copy 0: alive", NULL), "%d", alive);
		}

		/* A connection that ends without close_notify invalidates its session. */
		p = meet(c, s, NULL);
		MUST(shake(&p));
		session = SSL_get1_session(p.c);
		SSL_set_shutdown(p.c, SSL_SENT_SHUTDOWN);
		SSL_free(p.c);
		SSL_free(p.s);
		say(path(at, "an invalidated session can be resumed", NULL), "%s", SSL_SESSION_is_resumable(kept) ? "yes" : "no");
		say(path(at, "get_session_cb answers with it", NULL), "%s", try_session(c, s, session));
		SSL_SESSION_free(session);
		SSL_SESSION_free(kept);
		kept = NULL;
		SSL_CTX_free(c);
		SSL_CTX_free(s);
		say(path(at, "at the end: alive", NULL), "%d", alive);
	}
	return 0;
}
