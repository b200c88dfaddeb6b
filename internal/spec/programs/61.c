/* An external cache with early data: libssl's guard against replays needs the
 * internal store. What remove_session_cb names is taken out of the external one. */
#include "pair.h"

static void on_remove(SSL_CTX *c, SSL_SESSION *s) {
	unsigned int n, m;
	const unsigned char *id = SSL_SESSION_get_id(s, &n);
	int i;

	(void)c;
	for (i = 0; i < stored_n; i++) {
		const unsigned char *p = SSL_SESSION_get_id(stored[i], &m);
		if (n == m && memcmp(id, p, n) == 0) {
			SSL_SESSION_free(stored[i]);
			stored[i] = stored[--stored_n];
			return;
		}
	}
}

static void attempt(const char *name, long mode) {
	SSL_CTX *c = client(TLS1_3_VERSION), *s = server(TLS1_3_VERSION, "A");
	SSL_SESSION *session;

	remember(s, "external");
	SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_SERVER | mode);
	SSL_CTX_sess_set_remove_cb(s, on_remove);
	MUST(SSL_CTX_set_max_early_data(s, 1024) == 1);
	session = visit(c, s, NULL, NULL, 0);
	say(path("TLS1.3/external", name, "first use"), "%s", try_session(c, s, session));
	say(path("TLS1.3/external", name, "second use"), "%s", try_session(c, s, session));
	SSL_SESSION_free(session);
	SSL_CTX_free(c);
	SSL_CTX_free(s);
	store_clear();
}

int main(void) {
	attempt("NO_INTERNAL", SSL_SESS_CACHE_NO_INTERNAL);
	attempt("NO_INTERNAL_STORE", SSL_SESS_CACHE_NO_INTERNAL_STORE);
	attempt("NO_INTERNAL_LOOKUP", SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
	attempt("SERVER", 0);
	return 0;
}
