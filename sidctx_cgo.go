package openssl

/*
#cgo noescape osl_ctx_set_sidctx
#cgo nocallback osl_ctx_set_sidctx
#cgo noescape osl_ssl_set_sidctx
#cgo nocallback osl_ssl_set_sidctx
#cgo noescape osl_session_parse
#cgo nocallback osl_session_parse
#cgo noescape osl_session_set_sidctx
#cgo nocallback osl_session_set_sidctx
#cgo noescape osl_session_read
#cgo nocallback osl_session_read
#cgo noescape osl_session_parse_pem
#cgo nocallback osl_session_parse_pem
#cgo noescape osl_ssl_answer
#cgo nocallback osl_ssl_answer
#cgo noescape osl_ssl_offered
#cgo nocallback osl_ssl_offered
#cgo noescape osl_ssl_spoilt
#cgo nocallback osl_ssl_spoilt
#cgo noescape osl_ctx_set_ticket_keys
#cgo nocallback osl_ctx_set_ticket_keys
#include "sidctx_cgo.h"
*/
import "C"

import (
	"math"
	"time"
	"unsafe"
)

// maxSIDCtx is how many bytes a session id context holds at most.
const maxSIDCtx = C.SSL_MAX_SID_CTX_LENGTH

func (c ctxPtr) setSessionIDContext(sidCtx []byte) error {
	return takeError("SSL_CTX_set_session_id_context",
		C.osl_ctx_set_sidctx(c.p, lend(sidCtx), C.size_t(len(sidCtx))))
}

func (s sslPtr) setSessionIDContext(sidCtx []byte) error {
	return takeError("SSL_set_session_id_context",
		C.osl_ssl_set_sidctx(s.p, lend(sidCtx), C.size_t(len(sidCtx))))
}

// session is the session that could be resumed, zero without one.
func (s sslPtr) session() sessionPtr { return sessionPtr{C.osl_ssl_session(s.p)} }

func (s sslPtr) setSession(sess sessionPtr) error {
	return takeError("SSL_set_session", C.osl_ssl_set_session(s.p, sess.p))
}

// sessionPtr is an SSL_SESSION. Its owner holds a lock around every act.
type sessionPtr struct{ p *C.SSL_SESSION }

func (s sessionPtr) free() { C.osl_session_free(s.p) }

func parseSessionPtr(der []byte) (sessionPtr, error) {
	made := C.osl_session_parse(lend(der), C.size_t(len(der)))
	return sessionPtr{made.session}, takeError("d2i_SSL_SESSION", made.fail)
}

func (s sessionPtr) der() ([]byte, error) {
	return takeBytes("i2d_SSL_SESSION", C.osl_session_der(s.p))
}

// withSessionIDContext is a copy with another context.
func (s sessionPtr) withSessionIDContext(sidCtx []byte) (sessionPtr, error) {
	made := C.osl_session_set_sidctx(s.p, lend(sidCtx), C.size_t(len(sidCtx)))
	return sessionPtr{made.session}, takeError("SSL_SESSION_set1_id_context", made.fail)
}

// sessionInfo is what a session says of itself.
type sessionInfo struct {
	id, sidCtx []byte
	version    uint16
	resumable  bool
	time       time.Time
	timeout    time.Duration
}

// singleUse says whether offering the session twice would tell on its owner.
func (i sessionInfo) singleUse() bool { return i.version > C.TLS1_2_VERSION }

func (s sessionPtr) info() sessionInfo {
	var info C.osl_session_info
	C.osl_session_read(s.p, &info)
	return sessionInfo{
		id:        C.GoBytes(unsafe.Pointer(&info.id[0]), C.int(info.id_n)),
		sidCtx:    C.GoBytes(unsafe.Pointer(&info.sidctx[0]), C.int(info.sidctx_n)),
		version:   uint16(info.version),
		resumable: info.resumable != 0,
		time:      time.Unix(int64(info.time), 0),
		timeout:   seconds(int64(info.timeout)),
	}
}

// seconds is n seconds, or as many as a Duration holds: n may be anything that
// stood in a session's DER.
func seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(n, -most), most)) * time.Second
}

func parseSessionPEMPtr(pem []byte) (sessionPtr, error) {
	made := C.osl_session_parse_pem(lend(pem), C.size_t(len(pem)))
	return sessionPtr{made.session}, takeError("PEM_read_bio_SSL_SESSION", made.fail)
}

func (s sessionPtr) pem() ([]byte, error) {
	return takeBytes("PEM_write_bio_SSL_SESSION", C.osl_session_pem(s.p))
}

// share is the same session once more, to be freed by itself.
func (s sessionPtr) share() sessionPtr { return sessionPtr{C.osl_session_share(s.p)} }

// ---- the session cache ----

func (c ctxPtr) setCacheMode(m SessionCacheMode) { C.osl_ctx_set_cache_mode(c.p, C.long(m)) }

func (c ctxPtr) cacheMode() SessionCacheMode { return SessionCacheMode(C.osl_ctx_cache_mode(c.p)) }

func (c ctxPtr) setCacheSize(n int) { C.osl_ctx_set_cache_size(c.p, C.long(n)) }

func (c ctxPtr) setTimeout(seconds int64) { C.osl_ctx_set_timeout(c.p, C.long(seconds)) }

func (c ctxPtr) setNumTickets(n int) error {
	return takeError("SSL_CTX_set_num_tickets", C.osl_ctx_set_num_tickets(c.p, C.size_t(n)))
}

func (c ctxPtr) flush(at int64) { C.osl_ctx_flush(c.p, C.int64_t(at)) }

func (c ctxPtr) counters() SessionCounters {
	n := C.osl_ctx_counters(c.p)
	return SessionCounters{
		Number:             int64(n.number),
		Connect:            int64(n.connect),
		ConnectGood:        int64(n.connect_good),
		ConnectRenegotiate: int64(n.connect_renegotiate),
		Accept:             int64(n.accept),
		AcceptGood:         int64(n.accept_good),
		AcceptRenegotiate:  int64(n.accept_renegotiate),
		Hits:               int64(n.hits),
		CallbackHits:       int64(n.cb_hits),
		Misses:             int64(n.misses),
		Timeouts:           int64(n.timeouts),
		CacheFull:          int64(n.cache_full),
	}
}

// SessionCacheMode says which sessions libssl keeps. The values are OpenSSL's
// bits and may be combined.
type SessionCacheMode int

const (
	SessionCacheOff              SessionCacheMode = C.SSL_SESS_CACHE_OFF
	SessionCacheClient           SessionCacheMode = C.SSL_SESS_CACHE_CLIENT
	SessionCacheServer           SessionCacheMode = C.SSL_SESS_CACHE_SERVER
	SessionCacheBoth             SessionCacheMode = C.SSL_SESS_CACHE_BOTH
	SessionCacheNoAutoClear      SessionCacheMode = C.SSL_SESS_CACHE_NO_AUTO_CLEAR
	SessionCacheNoInternalLookup SessionCacheMode = C.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
	SessionCacheNoInternalStore  SessionCacheMode = C.SSL_SESS_CACHE_NO_INTERNAL_STORE
	SessionCacheNoInternal       SessionCacheMode = C.SSL_SESS_CACHE_NO_INTERNAL
	SessionCacheUpdateTime       SessionCacheMode = C.SSL_SESS_CACHE_UPDATE_TIME
)

// ---- ticket keys ----

func (c ctxPtr) setTicketKeys(keys []TicketKey) error {
	flat := make([]byte, 0, len(keys)*int(unsafe.Sizeof(TicketKey{})))
	for i := range keys {
		flat = append(flat, keys[i].Name[:]...)
		flat = append(flat, keys[i].AES[:]...)
		flat = append(flat, keys[i].HMAC[:]...)
	}
	defer clear(flat)
	return takeError("SSL_CTX_set_tlsext_ticket_key_cb",
		C.osl_ctx_set_ticket_keys(c.p, lend(flat), C.size_t(len(keys))))
}

// ageTicketKeys is for tests: no clock of C's can be turned.
func (c ctxPtr) ageTicketKeys(seconds int64) { C.osl_ctx_age_ticket_keys(c.p, C.int64_t(seconds)) }

// setChecks says what is checked on a resumption that libssl does not check.
func (c ctxPtr) setChecks(on bool, maxAge time.Duration) {
	C.osl_ctx_set_checks(c.p, cBool(on), C.int64_t(maxAge/time.Second))
}

// refusalText says why a resumption was refused.
var refusalText = map[int]string{
	C.OSL_NO_CERTIFICATE:      "its session holds no client certificate, and one is required",
	C.OSL_CERTIFICATE_EXPIRED: "the client's certificate has expired since",
	C.OSL_NOT_VERIFIED:        "the client's certificate was not verified when the session was made",
	C.OSL_TOO_OLD:             "its first authentication is older than SetMaxAuthAge allows",
}

// nameNotVerified is among the refusals, but not about a resumption.
const nameNotVerified = C.OSL_NAME_NOT_VERIFIED

// ---- an external store ----

func (c ctxPtr) useStore(on bool, m SessionCacheMode) { C.osl_ctx_use_store(c.p, cBool(on), C.long(m)) }

func (c ctxPtr) timeout() time.Duration {
	return seconds(int64(C.osl_ctx_timeout(c.p)))
}

// offeredIDs is what libssl is going to look up.
func (s sslPtr) offeredIDs() (ids [][]byte) {
	var flat [C.OSL_MAX_IDS * C.SSL_MAX_SSL_SESSION_ID_LENGTH]byte
	var size C.size_t
	n := int(C.osl_ssl_offered(s.p, lend(flat[:]), &size))
	for i := range n {
		ids = append(ids, append([]byte(nil), flat[i*int(size):(i+1)*int(size)]...))
	}
	return ids
}

// answer takes a session in DER, of that id unless it is nil.
func (s sslPtr) answer(der, id []byte) error {
	r := C.osl_ssl_answer(s.p, lend(der), C.size_t(len(der)), lend(id), C.size_t(len(id)))
	switch r.outcome {
	case C.OSL_ANSWER_OTHER_ID:
		return errAnswerOtherID
	case C.OSL_ANSWER_BAD_TIME:
		return errAnswerBadTime
	}
	return takeError("d2i_SSL_SESSION", r.fail)
}

// madeSession is a new session on its way to a store.
type madeSession struct {
	id, sidCtx, der []byte
	expires         time.Time
}

func (s sslPtr) madeSessions() (made []madeSession, err error) {
	b, err := takeBytes("i2d_SSL_SESSION", C.osl_ssl_sessions_made(s.p))
	for p := (parts{b: b}); len(p.b) > 0; {
		made = append(made, madeSession{
			id:      p.body(1),
			sidCtx:  p.body(1),
			expires: time.Unix(int64(p.uint(8)), 0),
			der:     p.body(4),
		})
	}
	return made, err
}

// spoiltID is the id of a session that libssl has spoilt, nil without one.
func (s sslPtr) spoiltID() []byte {
	var id [C.SSL_MAX_SSL_SESSION_ID_LENGTH]byte
	n := int(C.osl_ssl_spoilt(s.p, lend(id[:])))
	return append([]byte(nil), id[:n]...)
}
