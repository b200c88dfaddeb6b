/*
 * The session corner: session id contexts, sessions, the cache, ticket keys and
 * the callbacks that go with them. See queue_cgo.h for how an act is built.
 */
#ifndef OSL_SIDCTX_CGO_H
#define OSL_SIDCTX_CGO_H

#include "queue_cgo.h"
#include "machine_cgo.h"
#include "pem_cgo.h"

#ifndef SSL_SESS_CACHE_UPDATE_TIME /* 3.0 */
#define SSL_SESS_CACHE_UPDATE_TIME 0
#endif

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/core_names.h>
#include <openssl/params.h>
#else
#include <openssl/hmac.h>
#endif

/* libssl takes an unsigned int: a length of 2^32 must not arrive as 0. It
 * refuses every length above 32 without reading the bytes. */
static inline unsigned int osl_sidctx_len(size_t n) {
	return n > UINT_MAX ? UINT_MAX : (unsigned int)n;
}

static osl_fail *osl_ctx_set_sidctx(SSL_CTX *c, const unsigned char *sid, size_t n) {
	osl_enter();
	return osl_result(SSL_CTX_set_session_id_context(c, sid, osl_sidctx_len(n)) == 1);
}

static osl_fail *osl_ssl_set_sidctx(osl_ssl *t, const unsigned char *sid, size_t n) {
	osl_enter();
	return osl_result(osl_ssl_name_sidctx(t, sid, osl_sidctx_len(n)));
}

typedef struct {
	SSL_SESSION *session;
	osl_fail *fail;
} osl_session_made;

static void osl_session_free(SSL_SESSION *s) {
	osl_enter();
	SSL_SESSION_free(s);
	osl_leave();
}

/* osl_session_parse reads one DER session and nothing behind it. d2i_SSL_SESSION. */
static osl_session_made osl_session_parse(const unsigned char *der, size_t n) {
	osl_session_made made = {NULL, NULL};
	const unsigned char *p = der;

	osl_enter();
	if (n <= LONG_MAX)
		made.session = d2i_SSL_SESSION(NULL, &p, (long)n);
	if (!made.session || p != der + n) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_sweep();
	return made;
}

/* osl_session_der writes a session. i2d_SSL_SESSION. */
static osl_bytes osl_session_der(SSL_SESSION *s) {
	osl_bytes r = {NULL, 0, NULL};
	unsigned char *p = NULL;
	int n;

	osl_enter();
	n = i2d_SSL_SESSION(s, &p);
	if (n <= 0) {
		r.fail = osl_take(0);
		return r;
	}
	r.p = p;
	r.n = (size_t)n;
	osl_leave();
	return r;
}

typedef struct {
	unsigned char id[SSL_MAX_SSL_SESSION_ID_LENGTH];
	size_t id_n;
	unsigned char sidctx[SSL_MAX_SID_CTX_LENGTH];
	size_t sidctx_n;
	int version, resumable;
	int64_t time, timeout; /* seconds */
} osl_session_info;

static void osl_session_read(const SSL_SESSION *s, osl_session_info *info) {
	const unsigned char *p;
	unsigned int n;

	osl_enter();
	p = SSL_SESSION_get_id(s, &n);
	memcpy(info->id, p, n);
	info->id_n = n;
	p = SSL_SESSION_get0_id_context(s, &n);
	memcpy(info->sidctx, p, n);
	info->sidctx_n = n;
	info->version = SSL_SESSION_get_protocol_version(s);
	info->resumable = SSL_SESSION_is_resumable(s);
	info->time = osl_session_time(s);
	info->timeout = SSL_SESSION_get_timeout(s);
	osl_leave();
}

/* osl_ssl_session is the connection's session if it can be resumed, NULL else. SSL_get1_session. */
static SSL_SESSION *osl_ssl_session(osl_ssl *t) {
	SSL_SESSION *s;

	osl_enter();
	s = SSL_get1_session(t->ssl);
	if (s && !SSL_SESSION_is_resumable(s)) {
		SSL_SESSION_free(s);
		s = NULL;
	}
	osl_leave();
	return s;
}

/* osl_ssl_set_session offers a copy of a session in the next handshake: libssl
 * writes into what it resumes, and others may offer the same session. NULL takes
 * the offer back. SSL_set_session. */
static osl_fail *osl_ssl_set_session(osl_ssl *t, SSL_SESSION *s) {
	SSL_SESSION *copy = NULL;

	osl_enter();
	if (s && !(copy = SSL_SESSION_dup(s)))
		return osl_take(0);
	if (SSL_set_session(t->ssl, copy) != 1) {
		SSL_SESSION_free(copy);
		return osl_take(0);
	}
	SSL_SESSION_free(t->offered);
	t->offered = copy;
	t->offered_good = copy && SSL_SESSION_is_resumable(copy);
	osl_leave();
	return NULL;
}

/* osl_session_set_sidctx names the context of a copy: a session may be shared,
 * with a cache among others, and libssl takes no lock. SSL_SESSION_set1_id_context. */
static osl_session_made osl_session_set_sidctx(SSL_SESSION *s, const unsigned char *sid, size_t n) {
	osl_session_made made = {NULL, NULL};

	osl_enter();
	made.session = SSL_SESSION_dup(s);
	if (made.session)
		osl_session_private(made.session);
	if (!made.session || SSL_SESSION_set1_id_context(made.session, sid, osl_sidctx_len(n)) != 1) {
		made.fail = osl_take(0);
		SSL_SESSION_free(made.session);
		made.session = NULL;
	}
	osl_leave();
	return made;
}

/* ---- sessions in PEM ---- */

/* osl_session_parse_pem reads one PEM session, and nothing behind it within its
 * block: PEM_read_bio_SSL_SESSION would not notice, and would ask for a password
 * on the terminal. PEM_bytes_read_bio. */
static osl_session_made osl_session_parse_pem(const unsigned char *pem, size_t n) {
	osl_session_made made = {NULL, NULL};
	unsigned char *der = NULL;
	int asked = 0;
	long der_n = 0;
	BIO *b;

	osl_enter();
	b = n <= INT_MAX ? BIO_new_mem_buf(pem, (int)n) : NULL;
	if (b && PEM_bytes_read_bio(&der, &der_n, NULL, PEM_STRING_SSL_SESSION, b, osl_no_password, &asked))
		made = osl_session_parse(der, (size_t)der_n);
	else
		made.fail = osl_take(0);
	OPENSSL_clear_free(der, (size_t)der_n);
	BIO_free(b);
	osl_sweep();
	return made;
}

/* osl_session_pem writes a session. PEM_write_bio_SSL_SESSION. */
static osl_bytes osl_session_pem(SSL_SESSION *s) {
	osl_bytes r = {NULL, 0, NULL};
	BIO *b;
	char *p;
	long n;

	osl_enter();
	b = BIO_new(BIO_s_secmem());
	if (!b || !PEM_write_bio_SSL_SESSION(b, s) || (n = BIO_get_mem_data(b, &p)) <= 0 ||
	    !(r.p = OPENSSL_memdup(p, (size_t)n)))
		r.fail = osl_take(0);
	else
		r.n = (size_t)n;
	BIO_free(b);
	osl_sweep();
	return r;
}

/* osl_session_share is the same session once more. SSL_SESSION_up_ref. */
static SSL_SESSION *osl_session_share(SSL_SESSION *s) {
	SSL_SESSION_up_ref(s);
	return s;
}

/* ---- the session cache ---- */

/* osl_ctx_set_cache_mode has osl_new_session_cb put a server's sessions into the
 * cache: libssl would do so before a callback can bound their lives. Nor does it
 * add there what the store has found, with a new clock. SSL_CTX_set_session_cache_mode. */
static void osl_ctx_set_cache_mode(SSL_CTX *c, long mode) {
	osl_recipe *r = SSL_CTX_get_app_data(c);

	osl_enter();
	r->cache_mode = mode;
	SSL_CTX_set_session_cache_mode(c, r->ring ? mode | SSL_SESS_CACHE_NO_INTERNAL_STORE : mode);
	osl_leave();
}

static long osl_ctx_cache_mode(SSL_CTX *c) {
	return ((osl_recipe *)SSL_CTX_get_app_data(c))->cache_mode;
}

static void osl_ctx_set_cache_size(SSL_CTX *c, long n) {
	osl_enter();
	SSL_CTX_sess_set_cache_size(c, n);
	osl_leave();
}

static void osl_ctx_set_timeout(SSL_CTX *c, long seconds) {
	osl_enter();
	SSL_CTX_set_timeout(c, seconds);
	osl_leave();
}

static long osl_ctx_timeout(SSL_CTX *c) {
	return SSL_CTX_get_timeout(c);
}

static osl_fail *osl_ctx_set_num_tickets(SSL_CTX *c, size_t n) {
	osl_enter();
	return osl_result(SSL_CTX_set_num_tickets(c, n) == 1);
}

/* osl_ctx_flush takes out what has expired at that time. SSL_CTX_flush_sessions. */
static void osl_ctx_flush(SSL_CTX *c, int64_t at) {
	osl_enter();
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
	SSL_CTX_flush_sessions_ex(c, (time_t)at); /* the older one ends in 2038 */
#else
	SSL_CTX_flush_sessions(c, (long)at);
#endif
	osl_sweep();
}

/* The twelve counters of an SSL_CTX. */
typedef struct {
	long number, connect, connect_good, connect_renegotiate;
	long accept, accept_good, accept_renegotiate;
	long hits, cb_hits, misses, timeouts, cache_full;
} osl_counters;

static osl_counters osl_ctx_counters(SSL_CTX *c) {
	osl_counters n;

	osl_enter();
	n.number = SSL_CTX_sess_number(c);
	n.connect = SSL_CTX_sess_connect(c);
	n.connect_good = SSL_CTX_sess_connect_good(c);
	n.connect_renegotiate = SSL_CTX_sess_connect_renegotiate(c);
	n.accept = SSL_CTX_sess_accept(c);
	n.accept_good = SSL_CTX_sess_accept_good(c);
	n.accept_renegotiate = SSL_CTX_sess_accept_renegotiate(c);
	n.hits = SSL_CTX_sess_hits(c);
	n.cb_hits = SSL_CTX_sess_cb_hits(c);
	n.misses = SSL_CTX_sess_misses(c);
	n.timeouts = SSL_CTX_sess_timeouts(c);
	n.cache_full = SSL_CTX_sess_cache_full(c);
	osl_leave();
	return n;
}

/* ---- ticket keys ---- */

typedef struct {
	unsigned char name[16], aes[32], hmac[32];
} osl_ticket_key;

typedef struct {
	osl_ticket_key key;
	int64_t born;
} osl_aged_key;

/* osl_ring is the keys of one SSL_CTX, the one that seals first. Until somebody
 * sets keys it makes its own: a new one each day, and old ones open for as long
 * as a session that they sealed may live. */
struct osl_ring {
	CRYPTO_RWLOCK *lock;
	int set; /* by somebody */
	size_t n;
	osl_aged_key *keys;
};

enum { OSL_KEY_LIFE = 24 * 60 * 60 };

static void osl_ring_free(osl_ring *r) {
	if (!r)
		return;
	CRYPTO_THREAD_lock_free(r->lock);
	OPENSSL_clear_free(r->keys, r->n * sizeof *r->keys);
	OPENSSL_free(r);
}

static osl_ring *osl_ring_new(void) {
	osl_ring *r = OPENSSL_zalloc(sizeof *r);

	if (r && !(r->lock = CRYPTO_THREAD_lock_new())) {
		OPENSSL_free(r);
		return NULL;
	}
	return r;
}

/* osl_ring_turn puts a fresh key first and drops those that no living session
 * needs; the ring's lock is held for writing. */
static int osl_ring_turn(osl_ring *r, int64_t now, int64_t timeout) {
	size_t keep = 0, i;
	osl_aged_key *keys;

	for (i = 0; i < r->n; i++)
		if (now - r->keys[i].born < OSL_KEY_LIFE + timeout)
			keep = i + 1;
	if (!(keys = OPENSSL_malloc((keep + 1) * sizeof *keys)))
		return 0;
	if (RAND_bytes((unsigned char *)&keys[0].key, sizeof keys[0].key) != 1) {
		OPENSSL_free(keys);
		return 0;
	}
	keys[0].born = now;
	if (keep)
		memcpy(keys + 1, r->keys, keep * sizeof *keys);
	OPENSSL_clear_free(r->keys, r->n * sizeof *r->keys);
	r->keys = keys;
	r->n = keep + 1;
	return 1;
}

/* osl_ring_seal copies the key that seals now. */
static int osl_ring_seal(osl_ring *r, int64_t timeout, osl_ticket_key *key) {
	int64_t now = (int64_t)time(NULL);
	int ok, stale;

	if (!CRYPTO_THREAD_read_lock(r->lock))
		return 0;
	stale = r->n == 0 || (!r->set && now - r->keys[0].born >= OSL_KEY_LIFE);
	if (!stale)
		*key = r->keys[0].key;
	CRYPTO_THREAD_unlock(r->lock);
	if (!stale)
		return 1;
	if (!CRYPTO_THREAD_write_lock(r->lock))
		return 0;
	ok = (r->n && (r->set || now - r->keys[0].born < OSL_KEY_LIFE)) || osl_ring_turn(r, now, timeout);
	if (ok)
		*key = r->keys[0].key;
	CRYPTO_THREAD_unlock(r->lock);
	return ok;
}

/* osl_ring_open finds a key by its name: 0 for none, 1 for the first, 2 for an older one. */
static int osl_ring_open(osl_ring *r, const unsigned char *name, osl_ticket_key *key) {
	int found = 0;
	size_t i;

	if (!CRYPTO_THREAD_read_lock(r->lock))
		return 0;
	for (i = 0; i < r->n && !found; i++) {
		if (memcmp(r->keys[i].key.name, name, sizeof key->name) != 0)
			continue;
		*key = r->keys[i].key;
		found = i == 0 ? 1 : 2;
	}
	CRYPTO_THREAD_unlock(r->lock);
	return found;
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
typedef EVP_MAC_CTX osl_ticket_mac;

static int osl_ticket_mac_key(osl_ticket_mac *mac, osl_ticket_key *key) {
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof key->hmac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_MAC_CTX_set_params(mac, params);
}
#else
/* 1.1.1 has no EVP_MAC; 3.0 deprecates HMAC_CTX. */
typedef HMAC_CTX osl_ticket_mac;

static int osl_ticket_mac_key(osl_ticket_mac *mac, osl_ticket_key *key) {
	return HMAC_Init_ex(mac, key->hmac, sizeof key->hmac, EVP_sha256(), NULL);
}
#endif

static int osl_ticket_key_cb(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                             osl_ticket_mac *mac, int seal) {
	osl_ssl *t = SSL_get_app_data(ssl);
	osl_recipe *recipe = SSL_CTX_get_app_data(t->listener);
	osl_ticket_key key;
	int r;

	if (seal) {
		if (!osl_ring_seal(recipe->ring, SSL_CTX_get_timeout(t->listener), &key))
			return -1;
		memcpy(name, key.name, sizeof key.name);
		r = RAND_bytes(iv, EVP_CIPHER_iv_length(EVP_aes_256_cbc())) == 1 &&
		    EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv) && osl_ticket_mac_key(mac, &key)
		        ? 1 : -1;
	} else {
		r = osl_ring_open(recipe->ring, name, &key);
		/* 2 renews: in TLS 1.3 a resumption that brought no ticket would be the last. */
		if (r == 1 && SSL_version(ssl) >= TLS1_3_VERSION)
			r = 2;
		if (r && (!EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv) || !osl_ticket_mac_key(mac, &key)))
			r = -1;
	}
	OPENSSL_cleanse(&key, sizeof key);
	return r;
}

/* osl_ticket_sealing writes into a ticket when its owner was first authenticated,
 * and bounds its life by that: a renewed ticket has a fresh clock. A session
 * with nothing left gets a second, and a memo that osl_ticket_opened declines. */
static int osl_ticket_sealing(SSL *ssl, void *arg) {
	osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	const osl_ssl *t = SSL_get_app_data(ssl);
	SSL_SESSION *s = SSL_get_session(ssl);
	int64_t now = (int64_t)time(NULL);
	osl_memo m;

	(void)arg;
	if (!osl_recipe_caps(r))
		return 1;
	/* In TLS 1.2 libssl makes a ticket of a session that was looked up by its id, too,
	 * and many connections resume it at once. It was capped when it was made. */
	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_session_reused(ssl) && s != t->decrypted)
		return 1;
	if (!SSL_session_reused(ssl))
		m.authenticated = now;
	else if (!osl_memo_read(s, &m)) /* in TLS 1.3 libssl has set the clock of this copy to now */
		m.authenticated = SSL_version(ssl) < TLS1_3_VERSION ? osl_session_time(s) : t->found ? osl_session_time(t->found) : 0;
	memcpy(m.tag, osl_memo_tag, sizeof m.tag);
	m.ends = osl_session_ends(r, s, m.authenticated, now);
	if (SSL_version(ssl) >= TLS1_3_VERSION && SSL_get_options(ssl) & SSL_OP_NO_TICKET)
		osl_session_shorten(s, m.ends);
	else
		osl_session_limit(s, m.ends);
	return osl_memo_write(s, &m);
}

/* osl_ticket_opened notes why a ticket will not be resumed, and decides as libssl
 * does without a callback, but for what a recipe checks. A ticket that it
 * declines costs a full handshake, and is renewed. */
static SSL_TICKET_RETURN osl_ticket_opened(SSL *ssl, SSL_SESSION *s, const unsigned char *name, size_t name_n,
                                           SSL_TICKET_STATUS status, void *arg) {
	osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	osl_ssl *t = SSL_get_app_data(ssl);
	int64_t now = (int64_t)time(NULL);
	const unsigned char *sid;
	unsigned int n;
	osl_memo m;

	(void)name, (void)name_n, (void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
		/* libssl may have left why in the queue, where it would pass for a failure of the handshake. */
		ERR_clear_error();
		if (status == SSL_TICKET_NO_DECRYPT)
			t->resumption = OSL_UNDECRYPTABLE;
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
	sid = SSL_SESSION_get0_id_context(s, &n);
	if (n != t->sidctx_n || memcmp(sid, t->sidctx, n) != 0)
		t->resumption = OSL_CONTEXT_MISMATCH;
	else if (osl_sub(now, osl_session_time(s)) >= SSL_SESSION_get_timeout(s))
		t->resumption = OSL_EXPIRED;
	if (osl_recipe_caps(r)) {
		/* Without a memo it was made elsewhere, with the same keys. */
		if (!osl_memo_read(s, &m))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		if (osl_from_the_future(m.authenticated, now))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		if (m.ends <= now || osl_session_ends(r, s, m.authenticated, now) <= now) {
			t->resumption = OSL_EXPIRED;
			return SSL_TICKET_RETURN_IGNORE_RENEW;
		}
		if (r->checks && osl_requires_peer(ssl) && !SSL_SESSION_get0_peer(s))
			return SSL_TICKET_RETURN_IGNORE_RENEW;
	}
	t->decrypted = s;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* osl_ctx_set_checks says what is checked on a resumption. */
static void osl_ctx_set_checks(SSL_CTX *c, int checks, int64_t max_age) {
	osl_recipe *r = SSL_CTX_get_app_data(c);

	r->checks = checks;
	r->max_age = max_age;
}

/* ---- an external store ---- */

/* osl_get_session_cb answers from memory, and again after a HelloRetryRequest:
 * the store was asked while the ClientHello was suspended. Only the session
 * with exactly that id will do. One of the right context that is too old for the
 * recipe in force costs a full handshake. */
static SSL_SESSION *osl_get_session_cb(SSL *ssl, const unsigned char *id, int id_n, int *copy) {
	const osl_recipe *r = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)); /* of the host, not the listener's */
	osl_ssl *t = SSL_get_app_data(ssl);
	int64_t now = (int64_t)time(NULL);
	const unsigned char *p;
	SSL_SESSION *s = NULL;
	unsigned int n;
	size_t i;

	*copy = 0;
	for (i = 0; i < t->answers_n && !s; i++) {
		p = SSL_SESSION_get_id(t->answers[i], &n);
		if (id_n == (int)n && memcmp(p, id, n) == 0)
			s = t->answers[i];
	}
	if (!s)
		return NULL;
	p = SSL_SESSION_get0_id_context(s, &n);
	if (osl_recipe_caps(r) && n == t->sidctx_n && memcmp(p, t->sidctx, n) == 0 &&
	    osl_session_ends(r, s, osl_session_authenticated(s), now) <= now) {
		t->resumption = OSL_EXPIRED;
		return NULL;
	}
	t->found = s;
	return SSL_SESSION_up_ref(s) ? s : NULL;
}

static void osl_put_be(unsigned char **p, uint64_t v, int size) {
	while (size-- > 0)
		*(*p)++ = (unsigned char)(v >> (8 * size));
}

/* osl_session_write_down appends a session for Go: its id and its context behind
 * 8-bit lengths, when it expires in 64 bits, its DER behind a 32-bit length. */
static void osl_session_write_down(osl_ssl *t, SSL_SESSION *s) {
	const unsigned char *id, *sid;
	unsigned int id_n, sid_n;
	unsigned char *p, *der = NULL;
	int der_n;
	size_t n;

	id = SSL_SESSION_get_id(s, &id_n);
	sid = SSL_SESSION_get0_id_context(s, &sid_n);
	if ((der_n = i2d_SSL_SESSION(s, &der)) <= 0)
		return;
	n = 1 + id_n + 1 + sid_n + 8 + 4 + (size_t)der_n;
	if (!(p = OPENSSL_clear_realloc(t->made, t->made_n, t->made_n + n))) {
		OPENSSL_clear_free(der, (size_t)der_n);
		return;
	}
	t->made = p;
	p += t->made_n;
	t->made_n += n;
	osl_put_be(&p, id_n, 1);
	memcpy(p, id, id_n);
	p += id_n;
	osl_put_be(&p, sid_n, 1);
	memcpy(p, sid, sid_n);
	p += sid_n;
	osl_put_be(&p, (uint64_t)osl_add(osl_session_time(s), SSL_SESSION_get_timeout(s)), 8);
	osl_put_be(&p, (uint64_t)der_n, 4);
	memcpy(p, der, (size_t)der_n);
	OPENSSL_clear_free(der, (size_t)der_n);
}

/* osl_session_ended says whether a session has nothing left to live:
 * SSL_SESS_CACHE_UPDATE_TIME would give it a new clock. */
static int osl_session_ended(const SSL_SESSION *s) {
	return osl_sub((int64_t)time(NULL), osl_session_time(s)) >= SSL_SESSION_get_timeout(s);
}

/* osl_new_session_cb publishes a session that a handshake has made: for a store,
 * or in libssl's cache. Until then only this connection knows it, and its life is
 * bounded. No reference is kept. */
static int osl_new_session_cb(SSL *ssl, SSL_SESSION *s) {
	osl_ssl *t = SSL_get_app_data(ssl);
	const osl_recipe *r = SSL_CTX_get_app_data(t->listener);

	/* A TLS 1.3 ticket that is no id is never looked up. */
	if (SSL_version(ssl) >= TLS1_3_VERSION && !(SSL_get_options(ssl) & SSL_OP_NO_TICKET))
		return 0;
	if (!osl_session_cap(ssl, s))
		return 0;
	osl_session_publish(s);
	if (r->store)
		osl_session_write_down(t, s);
	else if (!(r->cache_mode & SSL_SESS_CACHE_NO_INTERNAL_STORE) &&
	         !(r->cache_mode & SSL_SESS_CACHE_UPDATE_TIME && osl_session_ended(s)))
		SSL_CTX_add_session(t->listener, s);
	return 0;
}

/* osl_ctx_use_store has sessions kept outside, and nowhere else; or, with on 0,
 * as the mode says. */
static void osl_ctx_use_store(SSL_CTX *c, int on, long mode) {
	((osl_recipe *)SSL_CTX_get_app_data(c))->store = on;
	osl_ctx_set_cache_mode(c, mode);
}

/* osl_ssl_sessions_made gives the new sessions away. */
static osl_bytes osl_ssl_sessions_made(osl_ssl *t) {
	osl_bytes r = {t->made, t->made_n, NULL};

	t->made = NULL;
	t->made_n = 0;
	return r;
}

/* osl_ssl_offered copies the ids that a store can be asked for. */
static size_t osl_ssl_offered(osl_ssl *t, unsigned char *p, size_t *id_n) {
	const unsigned char *ids;
	size_t n = osl_offered_ids(t, &ids, id_n);

	if (n)
		memcpy(p, ids, n * *id_n);
	return n;
}

/* What osl_ssl_answer has done with an answer. */
enum { OSL_ANSWER_TAKEN, OSL_ANSWER_NO_SESSION, OSL_ANSWER_OTHER_ID, OSL_ANSWER_BAD_TIME };

typedef struct {
	int outcome;
	osl_fail *fail; /* of OSL_ANSWER_NO_SESSION */
} osl_answered;

/* osl_session_times_ok says whether a session that comes from outside has times
 * that libssl counts with on every version: from 3.5 on a negative timeout is
 * read as hundreds of years. */
static int osl_session_times_ok(SSL_SESSION *s) {
	int64_t now = (int64_t)time(NULL);
	osl_memo m;

	if (osl_memo_read(s, &m) && osl_from_the_future(m.authenticated, now))
		return 0;
	return osl_session_time(s) >= 0 && !osl_from_the_future(osl_session_time(s), now) &&
	       SSL_SESSION_get_timeout(s) >= 0 && SSL_SESSION_get_timeout(s) <= INT32_MAX;
}

/* osl_ssl_answer is what the store has found: a session that may be resumed, with
 * that id if one is given. */
static osl_answered osl_ssl_answer(osl_ssl *t, const unsigned char *der, size_t n, const unsigned char *id, size_t id_n) {
	osl_session_made made = osl_session_parse(der, n);
	osl_answered r = {OSL_ANSWER_NO_SESSION, made.fail};
	const unsigned char *p;
	unsigned int has;

	if (made.fail)
		return r;
	p = SSL_SESSION_get_id(made.session, &has);
	if (id_n && (id_n != has || memcmp(p, id, has) != 0))
		r.outcome = OSL_ANSWER_OTHER_ID;
	else if (!osl_session_times_ok(made.session))
		r.outcome = OSL_ANSWER_BAD_TIME;
	else
		r.outcome = OSL_ANSWER_TAKEN;
	if (r.outcome != OSL_ANSWER_TAKEN) {
		SSL_SESSION_free(made.session);
		return r;
	}
	if (t->answers_n == OSL_MAX_IDS)
		SSL_SESSION_free(t->answers[--t->answers_n]);
	t->answers[t->answers_n++] = made.session;
	return r;
}

/* osl_ssl_spoilt is the id of the session that libssl has spoilt, because of an
 * alert or an unclean end; that is what a store must forget. */
static size_t osl_ssl_spoilt(osl_ssl *t, unsigned char *id) {
	SSL_SESSION *s = SSL_get_session(t->ssl);
	const unsigned char *p;
	unsigned int n;

	if (t->forget) {
		memcpy(id, t->offer.ids[0], sizeof t->offer.ids[0]);
		return sizeof t->offer.ids[0];
	}
	if (!s || !(p = SSL_SESSION_get_id(s, &n)) || !n || SSL_SESSION_is_resumable(s))
		return 0;
	memcpy(id, p, n);
	return n;
}

/* osl_ctx_install gives an SSL_CTX the callbacks of this corner, from birth on. */
static int osl_ctx_install(SSL_CTX *c, int server) {
	osl_recipe *recipe = SSL_CTX_get_app_data(c);

	recipe->cache_mode = SSL_CTX_get_session_cache_mode(c);
	if (!server)
		return 1;
	SSL_CTX_sess_set_get_cb(c, osl_get_session_cb);
	SSL_CTX_sess_set_new_cb(c, osl_new_session_cb);
	if (!(recipe->ring = osl_ring_new()) || !SSL_CTX_set_session_ticket_cb(c, osl_ticket_sealing, osl_ticket_opened, NULL))
		return 0;
	osl_ctx_set_cache_mode(c, recipe->cache_mode);
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(c, osl_ticket_key_cb);
#else
	return SSL_CTX_set_tlsext_ticket_key_cb(c, osl_ticket_key_cb);
#endif
}

/* osl_ctx_set_ticket_keys swaps all keys at once, also under load. */
static osl_fail *osl_ctx_set_ticket_keys(SSL_CTX *c, const unsigned char *keys, size_t n) {
	osl_ring *r = ((osl_recipe *)SSL_CTX_get_app_data(c))->ring;
	osl_aged_key *aged;
	size_t i, old_n;

	osl_enter();
	if (!(aged = OPENSSL_zalloc(n * sizeof *aged)))
		return osl_take(0);
	for (i = 0; i < n; i++)
		memcpy(&aged[i].key, keys + i * sizeof aged->key, sizeof aged->key);
	if (!CRYPTO_THREAD_write_lock(r->lock)) {
		OPENSSL_clear_free(aged, n * sizeof *aged);
		return osl_take(0);
	}
	old_n = r->n;
	osl_aged_key *old = r->keys;
	r->keys = aged;
	r->n = n;
	r->set = 1;
	CRYPTO_THREAD_unlock(r->lock);
	OPENSSL_clear_free(old, old_n * sizeof *old);
	osl_leave();
	return NULL;
}

/* osl_ctx_age_ticket_keys moves the birth of every key back, for tests of their turn. */
static void osl_ctx_age_ticket_keys(SSL_CTX *c, int64_t seconds) {
	osl_ring *r = ((osl_recipe *)SSL_CTX_get_app_data(c))->ring;
	size_t i;

	if (CRYPTO_THREAD_write_lock(r->lock)) {
		for (i = 0; i < r->n; i++)
			r->keys[i].born -= seconds;
		CRYPTO_THREAD_unlock(r->lock);
	}
}

#endif
