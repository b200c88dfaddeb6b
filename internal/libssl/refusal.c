#include "refusal.h"

/* osl_hold_tickets keeps the TLS 1.3 tickets of a server back whose connection may
 * still be refused: they would be encrypted before the alert. 1.1.1 can make none afterwards. */
void osl_hold_tickets(osl_ssl *t) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	if (SSL_version(t->ssl) < TLS1_3_VERSION || t->held_tickets || SSL_get_num_tickets(t->ssl) == 0)
		return;
	t->held_tickets = SSL_get_num_tickets(t->ssl);
	SSL_set_num_tickets(t->ssl, 0);
#else
	(void)t;
#endif
}

/* osl_issue_tickets makes the tickets that were held back. SSL_new_session_ticket. */
osl_call_result osl_issue_tickets(osl_ssl *t, unsigned char *out, size_t out_cap) {
	osl_call_result r;
	int ret = 1;

	osl_call_begin(t, NULL, 0, 0, out, out_cap);
#if OPENSSL_VERSION_NUMBER >= 0x30000000L /* in 1.1.1 none are held back */
	if (SSL_session_reused(t->ssl))
		t->held_tickets = 1; /* as libssl does */
	while (ret == 1 && t->held_tickets) {
		ret = SSL_new_session_ticket(t->ssl);
		t->held_tickets--;
	}
	if (ret == 1)
		ret = SSL_do_handshake(t->ssl);
#endif
	r = osl_call_end(t, ret, 0, 0);
	osl_sweep();
	return r;
}

/* osl_alert_cb has libssl send the alert of osl_end_with_alert when it asks for an extension.
 * It never adds one. */
int osl_alert_cb(SSL *ssl, unsigned int type, unsigned int context, const unsigned char **out, size_t *out_n, X509 *x,
                 size_t chain, int *alert, void *arg) {
	const osl_ssl *t = SSL_get_app_data(ssl);

	(void)type, (void)context, (void)out, (void)out_n, (void)x, (void)chain, (void)arg;
	if (!t || t->alert < 0)
		return 0;
	*alert = t->alert;
	return -1;
}

/* osl_end_with_alert makes a fatal alert, in place of all that was made and not sent, and
 * returns its length. libssl has no call for that:
 *
 *   - Where what was not sent holds this end's first encrypted record, the peer still
 *     reads plaintext, and the alert is that: but for a TLS 1.3 client's, whose
 *     server expects encrypted records, and takes a plaintext alert all the same.
 *   - Where libssl can be brought to make a message with extensions, a ticket or the
 *     ClientHello of a renegotiation, osl_alert_cb has it send the alert.
 *   - Else libssl is given a record that it cannot decrypt, and sends bad_record_mac.
 */
size_t osl_end_with_alert(osl_ssl *t, int alert, unsigned char *out, size_t out_cap) {
	static const unsigned char undecryptable[5 + 64] = {23, 3, 3, 0, 64};
	const unsigned char plaintext[] = {21, 3, 3, 0, 2, 2, (unsigned char)alert};
	int tls13 = SSL_version(t->ssl) >= TLS1_3_VERSION, server = SSL_is_server(t->ssl);
	int reused = SSL_session_reused(t->ssl), done = SSL_is_init_finished(t->ssl);
	unsigned char none;
	size_t k;

	osl_call_begin(t, undecryptable, sizeof undecryptable, 0, out, out_cap);
	t->alert = alert;
	t->spill_r = t->spill_n = 0;
	if (done && server && tls13) {
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
		if (SSL_new_session_ticket(t->ssl) == 1)
			SSL_do_handshake(t->ssl);
#endif
	} else if (done && !server && !tls13 && !reused) {
		SSL_clear_options(t->ssl, SSL_OP_NO_RENEGOTIATION);
		if (SSL_renegotiate(t->ssl) == 1)
			SSL_do_handshake(t->ssl);
	} else if (!(done && server && reused) && out_cap >= sizeof plaintext) {
		memcpy(out, plaintext, sizeof plaintext);
		t->out_n = sizeof plaintext;
	}
	if (t->out_n == 0)
		SSL_read_ex(t->ssl, &none, 1, &k);
	k = t->out_n;
	osl_call_end(t, 1, 0, sizeof undecryptable);
	ERR_clear_error();
	osl_leave();
	return k;
}
