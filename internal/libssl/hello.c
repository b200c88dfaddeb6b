#include "hello.h"
#include "ssl.h"
#include "resumption.h"

/* osl_hello_copy flattens the ClientHello, whose parts are libssl's and only
 * valid inside the callback: legacy version, session id, cipher suites, then
 * each extension's type and body; bodies behind 16-bit lengths. In SSLv2's form
 * of a ClientHello a suite has three bytes; of those for later versions the first
 * is 0. */
static int osl_hello_copy(osl_ssl *t, SSL *ssl) {
	const unsigned char *sid, *ciphers, *body;
	size_t sid_n = SSL_client_hello_get0_session_id(ssl, &sid);
	size_t ciphers_n = SSL_client_hello_get0_ciphers(ssl, &ciphers);
	size_t i, body_n, types_n = 0, n = 2 + 2 + sid_n + 2 + ciphers_n;
	int *types = NULL;
	unsigned char *p;

	if (!SSL_client_hello_get1_extensions_present(ssl, &types, &types_n))
		return 0;
	for (i = 0; i < types_n; i++)
		if (SSL_client_hello_get0_ext(ssl, (unsigned int)types[i], &body, &body_n))
			n += 4 + body_n;
	OPENSSL_free(t->hello);
	t->hello_n = 0;
	if ((t->hello = p = OPENSSL_malloc(n)) != NULL) {
		p = osl_put16(p, SSL_client_hello_get0_legacy_version(ssl));
		p = osl_put(p, sid, sid_n);
		p = osl_put(p, ciphers, ciphers_n);
#if OPENSSL_VERSION_NUMBER < 0x40000000L /* 4.0 does not take that form */
		if (SSL_client_hello_isv2(ssl)) {
			unsigned char *suites = p - ciphers_n - 2;

			p = suites + 2;
			for (i = 0; i + 2 < ciphers_n; i += 3)
				if (ciphers[i] == 0)
					p = osl_put16(p, (size_t)ciphers[i + 1] << 8 | ciphers[i + 2]);
			osl_put16(suites, (size_t)(p - suites) - 2);
		}
#endif
		for (i = 0; i < types_n; i++)
			if (SSL_client_hello_get0_ext(ssl, (unsigned int)types[i], &body, &body_n))
				p = osl_put(osl_put16(p, (size_t)types[i]), body, body_n);
		t->hello_n = (size_t)(p - t->hello);
	}
	OPENSSL_free(types);
	return t->hello != NULL;
}

/* osl_hello_offer notes what the client wants to resume. */
static void osl_hello_offer(osl_ssl *t, SSL *ssl) {
	osl_offer *o = &t->offer;
	const unsigned char *p;
	size_t n, k;

	memset(o, 0, sizeof *o);
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &p, &n))
		for (k = 1; k + 1 < n; k += 2)
			if ((p[k] << 8 | p[k + 1]) == TLS1_3_VERSION)
				o->tls13 = 1;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_session_ticket, &p, &n)) {
		o->tickets = 1;
		o->ticket = n > 0;
	}
	n = SSL_client_hello_get0_session_id(ssl, &p);
	if (n > 0 && n <= sizeof o->sid)
		memcpy(o->sid, p, o->sid_n = n);
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &p, &n) || n < 2)
		return;
	o->psk = 1;
	k = (size_t)p[0] << 8 | p[1]; /* the list: 16-bit length, identity, 32-bit age, each */
	n = k < n - 2 ? k : n - 2;
	for (p += 2; n >= 6 && o->ids_n < OSL_MAX_IDS; p += 6 + k, n -= 6 + k) {
		k = (size_t)p[0] << 8 | p[1];
		if (k > n - 6)
			return;
		if (osl_psk_find(t, p + 2, k))
			o->psk_here = 1;
		else if (k == sizeof o->ids[0])
			memcpy(o->ids[o->ids_n++], p + 2, k);
	}
}

int osl_hello_cb(SSL *ssl, int *alert, void *arg) {
	osl_ssl *t = SSL_get_app_data(ssl);

	(void)arg; /* the listener's, also after a switch */
	if (t->refuse >= 0) {
		*alert = t->refuse;
		return SSL_CLIENT_HELLO_ERROR;
	}
	osl_hello_offer(t, ssl);
	if (t->suspends && !t->resume) {
		if (!osl_hello_copy(t, ssl)) {
			*alert = SSL_AD_INTERNAL_ERROR;
			return SSL_CLIENT_HELLO_ERROR;
		}
		t->suspended = 1;
		return SSL_CLIENT_HELLO_RETRY;
	}
	if (t->offer.psk_here && !osl_psk_prefer_hash(t)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	t->timeouts = SSL_CTX_sess_timeouts(t->first_ctx);
	t->resumption = t->offer.psk || t->offer.sid_n ? OSL_OTHER : OSL_NOT_OFFERED; /* until the reason is found */
	t->resume = 0; /* the answer to a HelloRetryRequest is asked about again */
	t->hellos++;
	t->hello_done_at = (int64_t)time(NULL);
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* osl_ssl_hello gives the copy of the suspended ClientHello away. */
osl_bytes osl_ssl_hello(osl_ssl *t) {
	osl_bytes r = {t->hello, t->hello_n, NULL};

	t->hello = NULL;
	t->hello_n = 0;
	return r;
}

void osl_ssl_refuse(osl_ssl *t, int alert) {
	t->refuse = alert;
}

/* osl_ssl_name_unused has the name that the client asks for not be acknowledged. */
void osl_ssl_name_unused(osl_ssl *t) {
	t->name_unused = 1;
}

/* osl_offered_ids points at the ids that libssl is going to look up, by the
 * options and versions that now hold. */
size_t osl_offered_ids(osl_ssl *t, const unsigned char **ids, size_t *id_n) {
	uint64_t options = SSL_get_options(t->ssl);
	int max = (int)SSL_get_max_proto_version(t->ssl);

	if (t->offer.tls13 && !(options & SSL_OP_NO_TLSv1_3) && (max == 0 || max >= TLS1_3_VERSION)) {
		*ids = t->offer.ids[0];
		*id_n = sizeof t->offer.ids[0];
		return options & SSL_OP_NO_TICKET ? t->offer.ids_n : 0;
	}
	*ids = t->offer.sid;
	*id_n = t->offer.sid_n;
	return t->offer.sid_n && (options & SSL_OP_NO_TICKET || !t->offer.ticket);
}

/* osl_ssl_offered copies the ids that a store can be asked for. */
size_t osl_ssl_offered(osl_ssl *t, unsigned char *p, size_t *id_n) {
	const unsigned char *ids;
	size_t n = osl_offered_ids(t, &ids, id_n), kept = 0;

	for (; n > 0; n--, ids += *id_n)
		if (!osl_psk_find(t, ids, *id_n)) /* after a switch it may be a PSK's */
			memcpy(p + kept++ * *id_n, ids, *id_n);
	return kept;
}
