/* Why a switch of SSL_CTX from the ALPN or the status callback must be refused:
 * the certificate, which the switch frees, has been chosen already. (The switch
 * itself is a use after free, which no specification covers: it is not run.) */
#include "callbacks.h"

static int chosen; /* the certificate callback, the last one that may switch, has run */
static const char *alpn_sees, *status_sees;

static void hook(SSL *ssl, const char *callback) {
	const char *sees = chosen ? "chosen" : "not chosen yet";

	(void)ssl;
	if (strcmp(callback, "cert") == 0)
		chosen = 1;
	else if (strcmp(callback, "alpn_select") == 0)
		alpn_sees = sees;
	else if (strcmp(callback, "status") == 0)
		status_sees = sees;
}

int main(void) {
	int i, m;

	for (i = 0; i < 2; i++)
		for (m = 0; m < 3; m++) {
			SSL_CTX *c = cb_client(versions[i]), *s = cb_server(versions[i], mechanisms[m]);
			pair p = cb_meet(c, s, NULL);

			chosen = 0;
			alpn_sees = status_sees = "did not run";
			MUST(shake(&p));
			say(path(protocol(versions[i]), mechanisms[m], "in alpn_select the certificate is"), "%s", alpn_sees);
			say(path(protocol(versions[i]), mechanisms[m], "in status the certificate is"), "%s", status_sees);
			part(&p);
			store_clear();
			SSL_CTX_free(c);
			SSL_CTX_free(s);
		}
	return 0;
}
