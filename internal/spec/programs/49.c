/* Until which callback a session id context counts. In each of them in turn it
 * is changed to B, in a full handshake and in one that offers a session of A. */
#include "callbacks.h"

static const char *where;
static int ran;

static void hook(SSL *ssl, const char *callback) {
	if (where && strcmp(where, callback) == 0) {
		ran++;
		name_own(ssl, "B");
	}
}

static void attempt(int version, const char *mechanism, const char *callback) {
	SSL_CTX *c = cb_client(version), *s = cb_server(version, mechanism);
	const char *key = path(protocol(version), mechanism, callback);
	SSL_SESSION *session;
	char full[64];
	pair p;

	where = callback;
	ran = 0;
	p = cb_meet(c, s, NULL);
	MUST(shake(&p));
	if (ran)
		snprintf(full, sizeof full, "the new session %s", context_of(SSL_get_session(p.s)));
	else
		snprintf(full, sizeof full, "does not run in a full handshake");
	part(&p);

	where = NULL;
	p = cb_meet(c, s, NULL);
	MUST(shake(&p));
	session = SSL_get1_session(p.c);
	part(&p);

	where = callback;
	ran = 0;
	p = cb_meet(c, s, session);
	MUST(shake(&p));
	say(key, "%s, a session of A %s", full, ran ? outcome(&p) : "is resumed without it");
	part(&p);
	SSL_SESSION_free(session);
	store_clear();
	SSL_CTX_free(c);
	SSL_CTX_free(s);
}

int main(void) {
	static const char *const ticket[] = {"START", "client_hello", "ticket_key(open)", "decrypt_ticket", "servername", "alpn_select",
	                                     "cert", "status", "verify", "generate_ticket", "ticket_key(seal)"};
	static const char *const external[] = {"START", "client_hello", "get_session", "generate_session_id", "servername", "alpn_select",
	                                       "cert", "status", "verify", "new_session"};
	size_t i, k;

	for (i = 0; i < 2; i++) {
		for (k = 0; k < sizeof ticket / sizeof ticket[0]; k++)
			attempt(versions[i], "ticket", ticket[k]);
		if (versions[i] == TLS1_3_VERSION)
			attempt(versions[i], "ticket", "psk_find_session");
		for (k = 0; k < sizeof external / sizeof external[0]; k++)
			attempt(versions[i], "external", external[k]);
	}
	return 0;
}
