//go:build cgo

package openssl

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// Session is a TLS session that a later handshake can resume: an SSL_SESSION. It holds the
// secret of the session, which its DER form contains unencrypted. All methods may be
// called from any goroutine. The caller must close a Session that it receives; connections
// that use it continue to work.
type Session struct {
	h libssl.Handle[libssl.Session]

	// invalid is set when a connection has offered a copy of the session and failed,
	// so that it must not be resumed any more. Clones share it.
	invalid *atomic.Bool

	library *library // of the connection that made it, anyLibrary if it was parsed
}

func newSession(p libssl.Session, l *library) *Session { return shareSession(p, l, new(atomic.Bool)) }

func shareSession(p libssl.Session, l *library, invalid *atomic.Bool) *Session {
	s := &Session{library: l, invalid: invalid}
	s.h.Own(p)
	return s
}

// ParseSession parses one session in DER, as written by [Session.MarshalBinary] or by
// other programs that use OpenSSL. Trailing data is an error. The caller must close the
// Session.
//
// It is d2i_SSL_SESSION.
func ParseSession(der []byte) (*Session, error) {
	p, fail := libssl.ParseSession(der)
	if err := asError(fail); err != nil {
		return nil, explain(fmt.Sprintf("%d bytes are not one session", len(der)), err)
	}
	return newSession(p, anyLibrary), nil
}

// MarshalBinary returns the session in DER, including its secret. The mark of a session
// that must not be resumed any more, because a connection that used it has failed, is not
// part of it: the parsed session can be offered again.
//
// It is i2d_SSL_SESSION.
func (s *Session) MarshalBinary() (der []byte, err error) {
	err = s.use(func(p libssl.Session) error {
		b, fail := p.DER()
		der = b
		return asError(fail)
	})
	return der, err
}

// ParseSessionPEM parses one session in PEM, as written by "openssl s_client -sess_out".
// The caller must close the Session.
//
// It is PEM_read_bio_SSL_SESSION.
func ParseSessionPEM(pem []byte) (*Session, error) {
	p, fail := libssl.ParseSessionPEM(pem)
	if err := asError(fail); err != nil {
		return nil, explain(fmt.Sprintf("%d bytes hold no session", len(pem)), err)
	}
	return newSession(p, anyLibrary), nil
}

// MarshalPEM is like [Session.MarshalBinary], but returns PEM.
//
// It is PEM_write_bio_SSL_SESSION.
func (s *Session) MarshalPEM() (pem []byte, err error) {
	err = s.use(func(p libssl.Session) error {
		b, fail := p.PEM()
		pem = b
		return asError(fail)
	})
	return pem, err
}

// Clone returns another Session for the same SSL_SESSION. Each is closed separately, so
// that a cache can return one and keep the other. If a failed connection makes one of them
// impossible to resume, that holds for both.
//
// It is SSL_SESSION_up_ref.
func (s *Session) Clone() (clone *Session, err error) {
	err = s.use(func(p libssl.Session) error {
		clone = shareSession(p.Share(), s.library, s.invalid)
		return nil
	})
	return clone, err
}

func (s *Session) use(f func(p libssl.Session) error) error {
	if s == nil {
		return errNilSession
	}
	s.h.Mu.Lock()
	defer s.h.Mu.Unlock()
	if s.h.ClosedLocked() {
		return errSessionClosed
	}
	return f(s.h.P)
}

func (s *Session) info() (info libssl.SessionInfo) {
	s.use(func(p libssl.Session) error {
		info = p.Info()
		info.Resumable = info.Resumable && !s.invalid.Load()
		return nil
	})
	return info
}

// ID returns a copy of the session id. It is empty for a closed Session.
//
// It is SSL_SESSION_get_id.
func (s *Session) ID() []byte { return s.info().ID }

// IDContext returns a copy of the session id context under which the session was made:
// the server's on a server, the client's own, which is usually empty, on a client. It is
// never sent.
//
// It is SSL_SESSION_get0_id_context.
func (s *Session) IDContext() []byte { return s.info().SIDCtx }

// SetIDContext moves the session to another session id context of at most 32 bytes, which
// are copied. Only this Session changes, not those of connections and caches that hold the
// same SSL_SESSION. On failure the previous context remains.
//
// It is SSL_SESSION_set1_id_context on an SSL_SESSION_dup.
func (s *Session) SetIDContext(sidCtx []byte) error {
	return s.use(func(p libssl.Session) error {
		moved, fail := p.WithSessionIDContext(sidCtx)
		if err := asSIDContextError(fail, len(sidCtx)); err != nil {
			return err
		}
		s.h.CloseLocked()
		s.h.Own(moved)
		invalid := new(atomic.Bool)
		invalid.Store(s.invalid.Load())
		s.invalid = invalid // a copy goes its own way
		return nil
	})
}

// Time returns the time when the session was made, in seconds.
//
// It is SSL_SESSION_get_time.
func (s *Session) Time() time.Time { return s.info().Time }

// Timeout returns how long after Time the session may be resumed, in whole seconds. It is never
// negative: a session with a negative timeout has expired, and so has one with a timeout
// of more than 68 years where C's long has 32 bits.
//
// It is SSL_SESSION_get_timeout.
func (s *Session) Timeout() time.Duration { return s.info().Timeout }

// Version returns the protocol version of the session, for example
// [crypto/tls.VersionTLS13]. A session is resumed in this version only. It is 0 for a
// closed Session.
//
// It is SSL_SESSION_get_protocol_version.
func (s *Session) Version() uint16 { return s.info().Version }

// Resumable reports whether the session can be offered: whether it has an id or a ticket,
// and no connection that used it has failed. It does not look at the time.
//
// It is SSL_SESSION_is_resumable.
func (s *Session) Resumable() bool { return s.info().Resumable }

// Close releases the session. Close may be called more than once.
//
// It is SSL_SESSION_free.
func (s *Session) Close() error {
	if s == nil {
		return errNilSession
	}
	s.h.Mu.Lock()
	defer s.h.Mu.Unlock()
	s.h.CloseLocked()
	return nil
}
