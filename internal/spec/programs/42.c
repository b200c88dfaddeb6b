/* A client with an external key and a session id context. */
#include "psk.h"

static void attempt(const char *key, SSL_CTX *s, int old, const char *sid, const char *session_sid) {
	SSL_CTX *c = psk_suite(client(TLS1_3_VERSION));

	if (old)
		SSL_CTX_set_psk_client_callback(c, psk_old);
	else
		SSL_CTX_set_psk_use_session_callback(c, psk_use);
	if (sid)
		name_context(c, sid);
	psk_context = session_sid;
	say(key, "%s", try_session(c, s, NULL));
	SSL_CTX_free(c);
}

int main(void) {
	SSL_CTX *s = psk_suite(server(TLS1_3_VERSION, "A"));

	SSL_CTX_set_psk_find_session_callback(s, psk_find);
	attempt("TLS1.3/external PSK/old callback, client unset", s, 1, NULL, NULL);
	attempt("TLS1.3/external PSK/old callback, client X", s, 1, "X", NULL);
	attempt("TLS1.3/external PSK/use_session, client unset", s, 0, NULL, NULL);
	attempt("TLS1.3/external PSK/use_session, client X", s, 0, "X", NULL);
	attempt("TLS1.3/external PSK/use_session that names X, client X", s, 0, "X", "X");
	SSL_CTX_free(s);
	return 0;
}
