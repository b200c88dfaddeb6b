#include "psk.h"
#include "ssl.h"

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static void osl_psk_free(osl_psk *psk) {
	if (psk)
		OPENSSL_clear_free(psk, sizeof *psk + psk->identity_n + psk->key_n);
}

void osl_psks_free(osl_psks *psks) {
	while (psks->n)
		osl_psk_free(psks->p[--psks->n]);
	OPENSSL_free(psks->p);
	psks->p = NULL;
}

/* osl_psks_at is the place of an identity in a table: of its entry if *found, else of a new one. */
static size_t osl_psks_at(const osl_psks *psks, const unsigned char *identity, size_t n, int *found) {
	size_t low = 0, high = psks->n;

	*found = 0;
	while (low < high && !*found) {
		size_t middle = low + (high - low) / 2;
		const osl_psk *psk = psks->p[middle];
		int order = psk->identity_n != n ? (psk->identity_n < n ? -1 : 1) : memcmp(psk->bytes, identity, n);

		if (order < 0)
			low = middle + 1;
		else if (order > 0)
			high = middle;
		else {
			*found = 1;
			low = middle;
		}
	}
	return low;
}

static int osl_psks_add(osl_psks *psks, int server, osl_psk *psk) {
	int found = !server && psks->n; /* a client has one */
	size_t at = found ? 0 : osl_psks_at(psks, psk->bytes, psk->identity_n, &found);
	osl_psk **p;

	if (found) {
		osl_psk_free(psks->p[at]);
		psks->p[at] = psk;
		return 1;
	}
	if (!(p = OPENSSL_realloc(psks->p, (psks->n + 1) * sizeof *p)))
		return 0;
	psks->p = p;
	memmove(p + at + 1, p + at, (psks->n - at) * sizeof *p);
	p[at] = psk;
	psks->n++;
	return 1;
}

/* osl_psks_use adds a PSK to a table, or changes nothing. HMAC. */
static osl_psk_result osl_psks_use(osl_psks *psks, int server, const unsigned char *identity, size_t identity_n,
                                   const unsigned char *key, size_t key_n) {
	static const unsigned char label[] = "github.com/sidctx/openssl PSK";
	osl_psk_result r = {{0}, NULL};
	osl_psk *psk;

	osl_enter();
	if (!(psk = OPENSSL_malloc(sizeof *psk + identity_n + key_n))) {
		r.fail = osl_take(0);
		return r;
	}
	psk->identity_n = identity_n;
	psk->key_n = key_n;
	memcpy(psk->bytes, identity, identity_n);
	memcpy(psk->bytes + identity_n, key, key_n);
	if (!HMAC(EVP_sha256(), psk->bytes + identity_n, (int)key_n, label, sizeof label, r.print, NULL) ||
	    !osl_psks_add(psks, server, psk)) {
		r.fail = osl_take(0);
		osl_psk_free(psk);
	}
	osl_sweep();
	return r;
}

/* osl_psk_find is the PSK of an identity: the connection's own, or that of the SSL_CTX in
 * force; after a switch libssl passes the callbacks nothing else to find it by. */
const osl_psk *osl_psk_find(const osl_ssl *t, const unsigned char *identity, size_t n) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));
	const osl_psks *tables[] = {&t->psks, &r->psks};
	size_t i, at;
	int found;

	for (i = 0; i < 2; i++) {
		at = osl_psks_at(tables[i], identity, n, &found);
		if (found)
			return tables[i]->p[at];
	}
	return NULL;
}

/* osl_psk_any says whether a connection can use a PSK at all. */
int osl_psk_any(const osl_ssl *t) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));

	return t->psks.n || r->psks.n;
}

/* osl_psk_own is what a client uses. */
static const osl_psk *osl_psk_own(const osl_ssl *t) {
	const osl_ctx_data *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(t->ssl));

	return t->psks.n ? t->psks.p[0] : r->psks.n ? r->psks.p[0] : NULL;
}

/* RFC 8446, 4.2.11: a PSK that comes without a hash is for SHA-256. */
static int osl_psk_hash_fits(const SSL_CIPHER *cipher) {
	const EVP_MD *md = cipher ? SSL_CIPHER_get_handshake_digest(cipher) : NULL;

	return md && EVP_MD_type(md) == NID_sha256;
}

static void osl_put_octets(unsigned char **p, const unsigned char *bytes, size_t n) {
	ASN1_put_object(p, 0, (int)n, V_ASN1_OCTET_STRING, V_ASN1_UNIVERSAL);
	memcpy(*p, bytes, n);
	*p += n;
}

/* osl_psk_session is the session that stands for a PSK in TLS 1.3. It is made of its DER,
 * the one way to give it an identity, which its tickets hold then, as in TLS 1.2. Its clock
 * starts now: libssl declines one that has expired. d2i_SSL_SESSION. */
static SSL_SESSION *osl_psk_session(const osl_ssl *t, const osl_psk *psk) {
	/* SSL_SESSION's version, that of the protocol, TLS_AES_128_GCM_SHA256, no session id */
	static const unsigned char head[] = {2, 1, 1, 2, 2, 3, 4, 4, 2, 0x13, 1, 4, 0};
	enum { OSL_IDENTITY_TAG = 8, OSL_HEADERS = 64 };
	unsigned char body[OSL_HEADERS + PSK_MAX_PSK_LEN + PSK_MAX_IDENTITY_LEN], der[8 + sizeof body], *p = body;
	const unsigned char *q = der;
	long timeout = SSL_CTX_get_timeout(t->first_ctx);
	SSL_SESSION *s;
	int n;

	memcpy(p, head, sizeof head);
	p += sizeof head;
	osl_put_octets(&p, psk->bytes + psk->identity_n, psk->key_n);
	ASN1_put_object(&p, 1, ASN1_object_size(0, (int)psk->identity_n, V_ASN1_OCTET_STRING), OSL_IDENTITY_TAG,
	                V_ASN1_CONTEXT_SPECIFIC);
	osl_put_octets(&p, psk->bytes, psk->identity_n);
	n = (int)(p - body);
	p = der;
	ASN1_put_object(&p, 1, n, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
	memcpy(p, body, (size_t)n);
	s = d2i_SSL_SESSION(NULL, &q, (long)(p - der) + n);
	OPENSSL_cleanse(body, sizeof body);
	OPENSSL_cleanse(der, sizeof der);
	if (s)
		SSL_SESSION_set_timeout(s, timeout ? timeout : SSL_get_default_timeout(t->ssl));
	return s;
}

/* osl_psk_find_cb is a server's, for each identity in a TLS 1.3 ClientHello; libssl stops
 * at the first session that it can use. A PSK for another hash than the suite's is not
 * given: libssl would verify the ticket behind it as if that were external. */
static int osl_psk_find_cb(SSL *ssl, const unsigned char *identity, size_t n, SSL_SESSION **s) {
	osl_ssl *t = SSL_get_app_data(ssl);
	const osl_psk *psk = osl_psk_find(t, identity, n);

	*s = NULL;
	t->psk_found = 0;
	if (!psk || !osl_psk_hash_fits(SSL_get_pending_cipher(ssl)))
		return 1;
	*s = osl_psk_session(t, psk);
	t->psk_found = *s != NULL;
	return *s != NULL;
}

/* osl_psk_slot is the ex_data index of a client's sessions that stand for a PSK, once there
 * is one. A handshake uses a copy of such a session, and that has the mark, too: it tells
 * which connection gave it to libssl. */
static void *osl_psk_slot;
static uintptr_t osl_psk_marks; /* that were given */

static void *osl_psk_slot_new(void) {
	int idx = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);

	return idx > 0 ? (void *)(intptr_t)idx : NULL; /* 0 is for SSL_SESSION_set_app_data */
}

static void osl_psk_slot_free(void *slot) {
	CRYPTO_free_ex_index(CRYPTO_EX_INDEX_SSL_SESSION, (int)(intptr_t)slot);
}

static int osl_psk_index(void) {
	return (int)(intptr_t)osl_first(&osl_psk_slot, osl_psk_slot_new, osl_psk_slot_free);
}

/* osl_psk_use_cb is a client's in TLS 1.3. The session is the connection's, and of its
 * context: libssl compares the two. md is given after a HelloRetryRequest. */
static int osl_psk_use_cb(SSL *ssl, const EVP_MD *md, const unsigned char **identity, size_t *n, SSL_SESSION **s) {
	osl_ssl *t = SSL_get_app_data(ssl);
	const osl_psk *psk = osl_psk_own(t);
	uintptr_t mark = __atomic_add_fetch(&osl_psk_marks, 1, __ATOMIC_RELAXED);
	int idx;

	*s = NULL;
	if (!psk || (md && EVP_MD_type(md) != NID_sha256))
		return 1;
	if (!(*s = osl_psk_session(t, psk)) || SSL_SESSION_set1_id_context(*s, t->sidctx, (unsigned int)t->sidctx_n) != 1 ||
	    !(idx = osl_psk_index()) || !SSL_SESSION_set_ex_data(*s, idx, (void *)mark))
		return 0; /* libssl frees it */
	t->psk_mark = mark;
	*identity = psk->bytes;
	*n = psk->identity_n;
	return 1;
}

static unsigned int osl_psk_key(const osl_psk *psk, unsigned char *key, unsigned int max) {
	if (!psk || psk->key_n > max)
		return 0;
	memcpy(key, psk->bytes + psk->identity_n, psk->key_n);
	return (unsigned int)psk->key_n;
}

/* osl_psk_server_cb is a server's in TLS 1.2. It is asked in TLS 1.3, too, where osl_psk_find_cb has
 * answered. */
static unsigned int osl_psk_server_cb(SSL *ssl, const char *identity, unsigned char *key, unsigned int max) {
	if (SSL_version(ssl) >= TLS1_3_VERSION)
		return 0;
	return osl_psk_key(osl_psk_find(SSL_get_app_data(ssl), (const unsigned char *)identity, strlen(identity)), key,
	                   max);
}

/* osl_psk_client_cb is a client's in TLS 1.2. It is asked for the ClientHello of TLS 1.3, too, where
 * osl_psk_use_cb has answered. */
static unsigned int osl_psk_client_cb(SSL *ssl, const char *hint, char *identity, unsigned int max, unsigned char *key,
                                      unsigned int key_max) {
	const osl_psk *psk = osl_psk_own(SSL_get_app_data(ssl));

	(void)hint;
	if (SSL_get_state(ssl) == TLS_ST_CW_CLNT_HELLO || !psk || psk->identity_n > max)
		return 0;
	memcpy(identity, psk->bytes, psk->identity_n); /* max zeros stand there, and one more */
	return osl_psk_key(psk, key, key_max);
}

/* osl_psk_install stands on every server's SSL_CTX: an SSL has its callbacks from SSL_new,
 * and may be switched to an SSL_CTX with PSKs. Those of TLS 1.2 stand only where there
 * are PSKs: with them libssl chooses suites that need one.
 * SSL_CTX_set_psk_find_session_callback. */
void osl_psk_install(SSL_CTX *c) {
	SSL_CTX_set_psk_find_session_callback(c, osl_psk_find_cb);
}

/* osl_psk_apply gives an SSL what it needs to use PSKs, or to use none.
 * SSL_set_psk_server_callback, SSL_set_psk_client_callback, SSL_set_psk_use_session_callback. */
static void osl_psk_apply(SSL *ssl, int on) {
	if (SSL_is_server(ssl)) {
		SSL_set_psk_server_callback(ssl, on ? osl_psk_server_cb : NULL);
		return;
	}
	SSL_set_psk_client_callback(ssl, on ? osl_psk_client_cb : NULL);
	SSL_set_psk_use_session_callback(ssl, on ? osl_psk_use_cb : NULL);
}

/* osl_psk_switch follows SSL_set_SSL_CTX, which leaves an SSL's callbacks as they are.
 * The PSKs of the connection were for the SSL_CTX before. */
void osl_psk_switch(osl_ssl *t) {
	osl_psks_free(&t->psks);
	osl_psk_apply(t->ssl, osl_psk_any(t));
}

/* SSL_CTX_set_psk_server_callback, SSL_CTX_set_psk_client_callback,
 * SSL_CTX_set_psk_use_session_callback. */
osl_psk_result osl_ctx_use_psk(SSL_CTX *c, int server, const unsigned char *identity, size_t identity_n,
                               const unsigned char *key, size_t key_n) {
	osl_ctx_data *r = SSL_CTX_get_app_data(c);
	osl_psk_result used = osl_psks_use(&r->psks, server, identity, identity_n, key, key_n);

	if (used.fail)
		return used;
	if (server) {
		SSL_CTX_set_psk_server_callback(c, osl_psk_server_cb);
	} else {
		SSL_CTX_set_psk_client_callback(c, osl_psk_client_cb);
		SSL_CTX_set_psk_use_session_callback(c, osl_psk_use_cb);
	}
	return used;
}

osl_psk_result osl_ssl_use_psk(osl_ssl *t, const unsigned char *identity, size_t identity_n, const unsigned char *key,
                               size_t key_n) {
	osl_psk_result used = osl_psks_use(&t->psks, SSL_is_server(t->ssl), identity, identity_n, key, key_n);

	if (!used.fail)
		osl_psk_apply(t->ssl, 1);
	return used;
}

/* osl_psk_prefer_hash leaves, of the suites of TLS 1.3 that a client has offered beside an
 * identity of this server, those that its PSK is for, if there are any: libssl chooses
 * the suite first, and declines the PSK if that has another hash. SSL_set_ciphersuites. */
int osl_psk_prefer_hash(osl_ssl *t) {
	STACK_OF(SSL_CIPHER) *ciphers = SSL_get_ciphers(t->ssl);
	const unsigned char *offered;
	size_t n = SSL_client_hello_get0_ciphers(t->ssl, &offered), k, used = 0;
	char list[256] = "";
	int i;

	for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
		const SSL_CIPHER *c = sk_SSL_CIPHER_value(ciphers, i);
		unsigned int id = SSL_CIPHER_get_protocol_id(c);
		const char *name = SSL_CIPHER_get_name(c);

		if (id >> 8 != 0x13 || !osl_psk_hash_fits(c) || used + strlen(name) + 2 > sizeof list)
			continue;
		for (k = 0; k + 1 < n && (unsigned int)(offered[k] << 8 | offered[k + 1]) != id; k += 2)
			;
		if (k + 1 < n)
			used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ":" : "", name);
	}
	return !used || SSL_set_ciphersuites(t->ssl, list) == 1;
}

/* osl_psk_used says whether a TLS 1.3 handshake has used a PSK that is no ticket: libssl
 * reports both as a resumption. */
int osl_psk_used(const osl_ssl *t) {
	if (!SSL_session_reused(t->ssl) || SSL_version(t->ssl) < TLS1_3_VERSION)
		return 0;
	if (SSL_is_server(t->ssl))
		return t->psk_found;
	return t->psk_mark && (uintptr_t)SSL_SESSION_get_ex_data(SSL_get_session(t->ssl), osl_psk_index()) == t->psk_mark;
}

/* osl_psk_of_session says which PSK a session was made with. libssl tells its identity of
 * the session of an SSL alone, so it is read from the DER. i2d_SSL_SESSION. */
int osl_psk_of_session(const osl_ssl *t, SSL_SESSION *s) {
	enum { OSL_IDENTITY_TAG = 8, OSL_ASN1_ERROR = 0x80 };
	int n, tag, class, r = OSL_PSK_GONE;
	unsigned char *der = NULL;
	const unsigned char *p, *end;
	long size;

	if (!osl_psk_any(t))
		return OSL_PSK_NONE;
	if ((n = i2d_SSL_SESSION(s, &der)) <= 0) {
		ERR_clear_error(); /* it would pass for a failure of the handshake */
		return OSL_PSK_GONE;
	}
	p = der;
	end = p + n;
	if (ASN1_get_object(&p, &size, &tag, &class, n) & OSL_ASN1_ERROR)
		goto out;
	r = OSL_PSK_NONE;
	while (p < end && !(ASN1_get_object(&p, &size, &tag, &class, end - p) & OSL_ASN1_ERROR)) {
		if (tag == OSL_IDENTITY_TAG && class == V_ASN1_CONTEXT_SPECIFIC) {
			r = OSL_PSK_GONE;
			if (!(ASN1_get_object(&p, &size, &tag, &class, end - p) & OSL_ASN1_ERROR) &&
			    osl_psk_find(t, p, (size_t)size))
				r = OSL_PSK_KNOWN;
			break;
		}
		p += size;
	}
out:
	OPENSSL_clear_free(der, (size_t)n);
	return r;
}
