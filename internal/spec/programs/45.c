/* The order in which libssl calls a server's callbacks. A callback that runs
 * several times in a row is named once. */
#include "callbacks.h"

static char log_text[1024];
static const char *last;

static void hook(SSL *ssl, const char *callback) {
	(void)ssl;
	if (last == callback)
		return;
	last = callback;
	snprintf(log_text + strlen(log_text), sizeof log_text - strlen(log_text), "%s%s", log_text[0] ? " " : "", callback);
}

static SSL_SESSION *logged(const char *key, SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer) {
	pair p = cb_meet(c, s, offer);
	SSL_SESSION *session;

	log_text[0] = 0;
	last = NULL;
	MUST(shake(&p));
	say(key, "%s %s", outcome(&p), log_text);
	session = SSL_get1_session(p.c);
	part(&p);
	return session;
}

int main(void) {
	int i, m, retry;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++)
			for (retry = 0; retry <= i; retry++) {
				SSL_CTX *c = cb_client(versions[i]), *s = cb_server(versions[i], mechanisms[m]);
				SSL_SESSION *session;

				if (retry)
					ask_again(c, s);
				session = logged(path(protocol(versions[i]), mechanisms[m], retry ? "full, HelloRetryRequest" : "full"), c, s, NULL);
				SSL_SESSION_free(logged(path(protocol(versions[i]), mechanisms[m], retry ? "resumed, HelloRetryRequest" : "resumed"), c, s, session));
				SSL_SESSION_free(session);
				SSL_CTX_free(c);
				SSL_CTX_free(s);
				store_clear();
			}
	return 0;
}
