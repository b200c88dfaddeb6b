/* What a session remembers of the name that was asked for. */
#include "pair.h"

static int on_name(SSL *ssl, int *alert, void *arg) {
	(void)ssl, (void)alert, (void)arg;
	return SSL_TLSEXT_ERR_OK;
}

static const char *or_none(const char *name) {
	return name ? name : "none";
}

static SSL_SESSION *named(const char *key, SSL_CTX *c, SSL_CTX *s, SSL_SESSION *offer, const char *name) {
	pair p = meet(c, s, offer);
	SSL_SESSION *session;

	MUST(SSL_set_tlsext_host_name(p.c, name) == 1 && shake(&p));
	say(key, "%s, session %s, SSL_get_servername %s", outcome(&p),
	    or_none(SSL_SESSION_get0_hostname(SSL_get_session(p.s))),
	    or_none(SSL_get_servername(p.s, TLSEXT_NAMETYPE_host_name)));
	session = SSL_get1_session(p.c);
	part(&p);
	return session;
}

int main(void) {
	int i, m;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++) {
			const char *at = path(protocol(versions[i]), mechanisms[m], NULL);
			SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
			SSL_SESSION *first, *second;

			remember(s, mechanisms[m]);
			SSL_SESSION_free(named(path(at, "no callback", NULL), c, s, NULL, "a.test"));
			SSL_CTX_set_tlsext_servername_callback(s, on_name);
			first = named(path(at, "1 asks for a.test", NULL), c, s, NULL, "a.test");
			second = named(path(at, "2 asks for b.test", NULL), c, s, first, "b.test");
			SSL_SESSION_free(named(path(at, "3 asks for c.test", NULL), c, s, second, "c.test"));
			SSL_SESSION_free(first);
			SSL_SESSION_free(second);
			store_clear();
			SSL_CTX_free(c);
			SSL_CTX_free(s);
		}
	return 0;
}
