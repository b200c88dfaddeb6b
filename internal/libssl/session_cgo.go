package libssl

/*
#cgo noescape osl_session_parse
#cgo nocallback osl_session_parse
#cgo noescape osl_session_parse_pem
#cgo nocallback osl_session_parse_pem
#cgo noescape osl_session_get_info
#cgo nocallback osl_session_get_info
#cgo noescape osl_session_set_sidctx
#cgo nocallback osl_session_set_sidctx
#include "session.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// MaxSIDCtx is the greatest length of a session id context.
const MaxSIDCtx = C.SSL_MAX_SID_CTX_LENGTH

// Session is an SSL_SESSION; the zero Session is none.
type Session struct{ p *C.SSL_SESSION }

// Free frees the SSL_SESSION.
func (s Session) Free() { C.osl_session_free(s.p) }

// ParseSession reads one session in DER.
func ParseSession(der []byte) (Session, *Failure) {
	made := C.osl_session_parse(nil, bytesPtr(der), C.size_t(len(der)))
	return Session{made.session}, failure("d2i_SSL_SESSION", made.fail)
}

// DER is the session in DER, its secret included.
func (s Session) DER() ([]byte, *Failure) {
	return takeBytes("i2d_SSL_SESSION", C.osl_session_der(s.p))
}

// ParseSessionPEM reads one session in PEM.
func ParseSessionPEM(pem []byte) (Session, *Failure) {
	made := C.osl_session_parse_pem(bytesPtr(pem), C.size_t(len(pem)))
	return Session{made.session}, failure("PEM_read_bio_SSL_SESSION", made.fail)
}

// PEM is the same in PEM.
func (s Session) PEM() ([]byte, *Failure) {
	return takeBytes("PEM_write_bio_SSL_SESSION", C.osl_session_pem(s.p))
}

// Share is the same session once more, to be freed by itself.
func (s Session) Share() Session { return Session{C.osl_session_share(s.p)} }

// WithSessionIDContext is a copy with another context.
func (s Session) WithSessionIDContext(sidCtx []byte) (Session, *Failure) {
	made := C.osl_session_set_sidctx(s.p, bytesPtr(sidCtx), C.size_t(len(sidCtx)))
	return Session{made.session}, failure("SSL_SESSION_set1_id_context", made.fail)
}

// SessionInfo is what can be read of a session.
type SessionInfo struct {
	ID, SIDCtx []byte
	Version    uint16
	Resumable  bool
	Time       time.Time
	Timeout    time.Duration
}

// SingleUse reports whether offering the session twice would let an observer link
// the two connections.
func (i SessionInfo) SingleUse() bool { return i.Version > C.TLS1_2_VERSION }

// Info reads it.
func (s Session) Info() SessionInfo {
	var info C.osl_session_info
	C.osl_session_get_info(s.p, &info)
	return SessionInfo{
		ID:        C.GoBytes(unsafe.Pointer(&info.id[0]), C.int(info.id_n)),
		SIDCtx:    C.GoBytes(unsafe.Pointer(&info.sidctx[0]), C.int(info.sidctx_n)),
		Version:   uint16(info.version),
		Resumable: info.resumable != 0,
		Time:      time.Unix(int64(info.time), 0),
		Timeout:   max(0, seconds(int64(info.timeout))), // a long of 32 bits makes more than 68 years negative
	}
}

// Session is the session that could be resumed, zero without one.
func (s SSL) Session() Session { return Session{C.osl_ssl_session(s.p)} }

// KeepTickets has clients keep the sessions of TLS 1.3 servers for Ticket.
func (c CTX) KeepTickets(on bool) { C.osl_ctx_keep_tickets(c.p, cBool(on)) }

// Ticket is the oldest TLS 1.3 session that has come to a client and that was not taken
// yet, none after the newest.
func (s SSL) Ticket() Session { return Session{C.osl_ssl_ticket(s.p)} }

// SetSession offers a copy of a session in a client's handshake.
func (s SSL) SetSession(sess Session) *Failure {
	return failure("SSL_set_session", C.osl_ssl_set_session(s.p, sess.p))
}

// MayOffer reports whether the server's certificate in a session has not expired and is
// valid for the name that s asks for, as far as s verifies them.
func (s SSL) MayOffer(sess Session) bool { return C.osl_ssl_may_offer(s.p, sess.p) != 0 }

// InvalidateSession takes the connection's session out of the cache and marks it
// as one that cannot be resumed.
func (s SSL) InvalidateSession() { C.osl_ssl_invalidate_session(s.p) }
