package libssl

/*
#cgo noescape osl_ssl_answer_session
#cgo nocallback osl_ssl_answer_session
#cgo noescape osl_ssl_invalidated_id
#cgo nocallback osl_ssl_invalidated_id
#include "store.h"
*/
import "C"

import (
	"time"

	"github.com/sidctx/openssl/internal/wire"
)

// SetCacheMode sets OpenSSL's bits.
func (c CTX) SetCacheMode(m int) { C.osl_ctx_set_cache_mode(c.p, C.long(m)) }

// CacheMode is the bits that were set.
func (c CTX) CacheMode() int { return int(C.osl_ctx_cache_mode(c.p)) }

// SetCacheSize bounds the sessions in the cache.
func (c CTX) SetCacheSize(n int) { C.osl_ctx_set_cache_size(c.p, C.long(n)) }

// SetTimeout sets how long sessions live.
func (c CTX) SetTimeout(seconds int64) { C.osl_ctx_set_timeout(c.p, C.long(seconds)) }

// Timeout is how long sessions live.
func (c CTX) Timeout() time.Duration {
	return seconds(int64(C.osl_ctx_timeout(c.p)))
}

// SetNumTickets sets how many tickets follow a full TLS 1.3 handshake.
func (c CTX) SetNumTickets(n int) *Failure {
	return failure("SSL_CTX_set_num_tickets", C.osl_ctx_set_num_tickets(c.p, C.size_t(n)))
}

// Flush takes out of the cache what has expired at a Unix time.
func (c CTX) Flush(at int64) { C.osl_ctx_flush(c.p, C.int64_t(at)) }

// Counters are libssl's own, SSL_CTX_sess_number to SSL_CTX_sess_cache_full.
type Counters struct {
	Number                     int64
	Connect, ConnectGood       int64
	Accept, AcceptGood         int64
	Hits, CallbackHits, Misses int64
	Timeouts, CacheFull        int64
}

// Counters reads them.
func (c CTX) Counters() Counters {
	n := C.osl_ctx_counters(c.p)
	return Counters{
		Number:       int64(n.number),
		Connect:      int64(n.connect),
		ConnectGood:  int64(n.connect_good),
		Accept:       int64(n.accept),
		AcceptGood:   int64(n.accept_good),
		Hits:         int64(n.hits),
		CallbackHits: int64(n.cb_hits),
		Misses:       int64(n.misses),
		Timeouts:     int64(n.timeouts),
		CacheFull:    int64(n.cache_full),
	}
}

// UseStore has sessions kept outside and nowhere else, or as the mode says.
func (c CTX) UseStore(on bool, m int) { C.osl_ctx_use_store(c.p, cBool(on), C.long(m)) }

// Outcome is what Answer has done.
type Outcome int

const (
	AnswerTaken     Outcome = C.OSL_ANSWER_TAKEN
	AnswerNoSession Outcome = C.OSL_ANSWER_NO_SESSION // there is a failure, too
	AnswerOtherID   Outcome = C.OSL_ANSWER_OTHER_ID
	AnswerBadTime   Outcome = C.OSL_ANSWER_BAD_TIME
)

// Answer hands over a session in DER for libssl to find, of that id unless it is nil.
func (s SSL) Answer(der, id []byte) (Outcome, *Failure) {
	r := C.osl_ssl_answer_session(s.p, bytesPtr(der), C.size_t(len(der)), bytesPtr(id), C.size_t(len(id)))
	return Outcome(r.outcome), failure("d2i_SSL_SESSION", r.fail)
}

// NewSession is a session that a handshake has made, on its way to a store.
type NewSession struct {
	ID, SIDCtx, DER []byte
	Expires         time.Time
}

// NewSessions takes those that were made.
func (s SSL) NewSessions() (made []NewSession, fail *Failure) {
	b, fail := takeBytes("i2d_SSL_SESSION", C.osl_ssl_sessions_made(s.p))
	for r := (wire.Reader{B: b}); len(r.B) > 0; {
		made = append(made, NewSession{
			ID:      r.Bytes(1),
			SIDCtx:  r.Bytes(1),
			Expires: time.Unix(int64(r.Uint(8)), 0),
			DER:     r.Bytes(4),
		})
	}
	return made, fail
}

// InvalidatedID is the id of a session that libssl has marked as one that cannot
// be resumed, nil without one.
func (s SSL) InvalidatedID() []byte {
	var id [C.SSL_MAX_SSL_SESSION_ID_LENGTH]byte
	n := int(C.osl_ssl_invalidated_id(s.p, bytesPtr(id[:])))
	return append([]byte(nil), id[:n]...)
}

// OpenSSL's bits, by OpenSSL's names.
const (
	SSL_SESS_CACHE_OFF                = C.SSL_SESS_CACHE_OFF
	SSL_SESS_CACHE_CLIENT             = C.SSL_SESS_CACHE_CLIENT
	SSL_SESS_CACHE_SERVER             = C.SSL_SESS_CACHE_SERVER
	SSL_SESS_CACHE_BOTH               = C.SSL_SESS_CACHE_BOTH
	SSL_SESS_CACHE_NO_AUTO_CLEAR      = C.SSL_SESS_CACHE_NO_AUTO_CLEAR
	SSL_SESS_CACHE_NO_INTERNAL_LOOKUP = C.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
	SSL_SESS_CACHE_NO_INTERNAL_STORE  = C.SSL_SESS_CACHE_NO_INTERNAL_STORE
	SSL_SESS_CACHE_NO_INTERNAL        = C.SSL_SESS_CACHE_NO_INTERNAL
	SSL_SESS_CACHE_UPDATE_TIME        = C.SSL_SESS_CACHE_UPDATE_TIME
)
