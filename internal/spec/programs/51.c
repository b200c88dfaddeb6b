/* A ClientHello callback that answers RETRY several times. */
#include "pair.h"

static int calls, retries;

static int on_hello(SSL *ssl, int *alert, void *arg) {
	(void)ssl, (void)alert, (void)arg;
	return calls++ < retries ? SSL_CLIENT_HELLO_RETRY : SSL_CLIENT_HELLO_SUCCESS;
}

int main(void) {
	static const int times[] = {0, 1, 3, 20};
	size_t i, k;

	for (i = 0; i < 2; i++)
		for (k = 0; k < sizeof times / sizeof times[0]; k++) {
			SSL_CTX *c = client(versions[i]), *s = server(versions[i], "A");
			int wanted = 0, residue = 0, reads = 0;
			char key[64];
			pair p = meet(c, s, NULL);

			calls = 0;
			retries = times[k];
			SSL_CTX_set_client_hello_cb(s, on_hello, NULL);
			MUST(SSL_do_handshake(p.c) == -1);
			for (;;) {
				uint64_t before = BIO_number_read(SSL_get_rbio(p.s));
				int r;

				ERR_clear_error();
				r = SSL_do_handshake(p.s);
				if (SSL_get_error(p.s, r) != SSL_ERROR_WANT_CLIENT_HELLO_CB)
					break;
				residue += ERR_peek_error() != 0;
				if (wanted++)
					reads += BIO_number_read(SSL_get_rbio(p.s)) != before;
			}
			MUST(shake(&p));
			snprintf(key, sizeof key, "libssl alone, RETRY %d times", times[k]);
			say(path(protocol(versions[i]), key, NULL), "called %d times, wanted %d times, %d with an error queued, %d with a read",
			    calls, wanted, residue, reads);
			part(&p);
			SSL_CTX_free(c);
			SSL_CTX_free(s);
		}
	return 0;
}
