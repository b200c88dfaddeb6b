//go:build cgo

package openssl

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// Session is what a later handshake can resume: an SSL_SESSION. It holds the
// session's secret, in clear also in its DER form. All methods may be called
// from any goroutine. Whoever receives a Session closes it; connections that
// use it go on.
type Session struct {
	h libssl.Handle[libssl.Session]

	// invalid is set when a connection that has offered the session, in a copy of
	// its own, has invalid it. Clones share it.
	invalid *atomic.Bool
}

func newSession(p libssl.Session) *Session { return shareSession(p, new(atomic.Bool)) }

func shareSession(p libssl.Session, invalid *atomic.Bool) *Session {
	s := &Session{invalid: invalid}
	s.h.Own(p)
	return s
}

// ParseSession reads what [Session.MarshalBinary] or any program on OpenSSL has
// written: one session in DER with nothing behind it.
//
// It is d2i_SSL_SESSION.
func ParseSession(der []byte) (*Session, error) {
	p, fail := libssl.ParseSession(der)
	if err := asError(fail); err != nil {
		return nil, explain(fmt.Sprintf("%d bytes are not one session", len(der)), err)
	}
	return newSession(p), nil
}

// MarshalBinary writes the session in DER, secret included. A session that has
// been invalid (its connection failed) becomes resumable again by this way out
// and back: OpenSSL does not write the mark down.
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

// ParseSessionPEM reads one session in PEM, as `openssl s_client -sess_out`
// writes it.
//
// It is PEM_read_bio_SSL_SESSION.
func ParseSessionPEM(pem []byte) (*Session, error) {
	p, fail := libssl.ParseSessionPEM(pem)
	if err := asError(fail); err != nil {
		return nil, fmt.Errorf("openssl: %d bytes hold no session: %w", len(pem), err)
	}
	return newSession(p), nil
}

// MarshalPEM is [Session.MarshalBinary] in PEM.
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

// Clone is the same session once more, closed by itself: for a cache that hands
// one out and keeps it. A connection that spoils one spoils both.
//
// It is SSL_SESSION_up_ref.
func (s *Session) Clone() (clone *Session, err error) {
	err = s.use(func(p libssl.Session) error {
		clone = shareSession(p.Share(), s.invalid)
		return nil
	})
	return clone, err
}

func (s *Session) use(act func(p libssl.Session) error) error {
	if s == nil {
		return errNilSession
	}
	s.h.Mu.Lock()
	defer s.h.Mu.Unlock()
	if s.h.ClosedLocked() {
		return errSessionClosed
	}
	return act(s.h.P)
}

func (s *Session) info() (info libssl.SessionInfo) {
	s.use(func(p libssl.Session) error {
		info = p.Info()
		info.Resumable = info.Resumable && !s.invalid.Load()
		return nil
	})
	return info
}

// ID is a copy of the session id, empty for a closed Session.
//
// It is SSL_SESSION_get_id.
func (s *Session) ID() []byte { return s.info().ID }

// IDContext is a copy of the session id context that the session was made
// within: on a server the server's, on a client the client's own (usually
// none). It is never sent.
//
// It is SSL_SESSION_get0_id_context.
func (s *Session) IDContext() []byte { return s.info().SIDCtx }

// SetIDContext moves the session into another context: at most 32 bytes,
// copied. Only this Session changes; connections and caches that hold the same
// session keep the old one. On failure the old context stays.
//
// It is SSL_SESSION_set1_id_context on an SSL_SESSION_dup.
func (s *Session) SetIDContext(sidCtx []byte) error {
	return s.use(func(p libssl.Session) error {
		moved, fail := p.WithSessionIDContext(sidCtx)
		if err := asError(fail); err != nil {
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

// Time is when the session was made, to the second.
//
// It is SSL_SESSION_get_time.
func (s *Session) Time() time.Time { return s.info().Time }

// Timeout is how long after Time it may be resumed.
//
// It is SSL_SESSION_get_timeout.
func (s *Session) Timeout() time.Duration { return s.info().Timeout }

// Version is the protocol version, [crypto/tls.VersionTLS13] for instance; a
// session is only resumed in its own. 0 for a closed Session.
//
// It is SSL_SESSION_get_protocol_version.
func (s *Session) Version() uint16 { return s.info().Version }

// Resumable says whether the session can be offered at all: it has an id or a
// ticket and no failed connection has invalid it. Whether it has expired is the
// server's business.
//
// It is SSL_SESSION_is_resumable.
func (s *Session) Resumable() bool { return s.info().Resumable }

// Close frees the session at once and is harmless twice.
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
