//go:build cgo

package openssl

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Session is what a later handshake can resume: an SSL_SESSION. It holds the
// session's secret, in clear also in its DER form. All methods may be called
// from any goroutine. Whoever receives a Session closes it; connections that
// use it go on.
type Session struct {
	h handle[sessionPtr]

	// spoilt is set when a connection that has offered the session, in a copy of
	// its own, has spoilt it. Clones share it.
	spoilt *atomic.Bool
}

func newSession(p sessionPtr) *Session { return shareSession(p, new(atomic.Bool)) }

func shareSession(p sessionPtr, spoilt *atomic.Bool) *Session {
	s := &Session{spoilt: spoilt}
	s.h.own(p)
	return s
}

// ParseSession reads what [Session.MarshalBinary] or any program on OpenSSL has
// written: one session in DER with nothing behind it.
//
// It is d2i_SSL_SESSION.
func ParseSession(der []byte) (*Session, error) {
	p, err := parseSessionPtr(der)
	if err != nil {
		return nil, explain(fmt.Sprintf("%d bytes are not one session", len(der)), err)
	}
	return newSession(p), nil
}

// MarshalBinary writes the session in DER, secret included. A session that has
// been spoilt (its connection failed) becomes resumable again by this way out
// and back: OpenSSL does not write the mark down.
//
// It is i2d_SSL_SESSION.
func (s *Session) MarshalBinary() (der []byte, err error) {
	err = s.use(func(p sessionPtr) error {
		der, err = p.der()
		return err
	})
	return der, err
}

// ParseSessionPEM reads one session in PEM, as `openssl s_client -sess_out`
// writes it.
//
// It is PEM_read_bio_SSL_SESSION.
func ParseSessionPEM(pem []byte) (*Session, error) {
	p, err := parseSessionPEMPtr(pem)
	if err != nil {
		return nil, fmt.Errorf("openssl: %d bytes hold no session: %w", len(pem), err)
	}
	return newSession(p), nil
}

// MarshalPEM is [Session.MarshalBinary] in PEM.
//
// It is PEM_write_bio_SSL_SESSION.
func (s *Session) MarshalPEM() (pem []byte, err error) {
	err = s.use(func(p sessionPtr) error {
		pem, err = p.pem()
		return err
	})
	return pem, err
}

// Clone is the same session once more, closed by itself: for a cache that hands
// one out and keeps it. A connection that spoils one spoils both.
//
// It is SSL_SESSION_up_ref.
func (s *Session) Clone() (clone *Session, err error) {
	err = s.use(func(p sessionPtr) error {
		clone = shareSession(p.share(), s.spoilt)
		return nil
	})
	return clone, err
}

func (s *Session) use(act func(p sessionPtr) error) error {
	if s == nil {
		return errNilSession
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.closed() {
		return errSessionClosed
	}
	return act(s.h.p)
}

func (s *Session) info() (info sessionInfo) {
	s.use(func(p sessionPtr) error {
		info = p.info()
		info.resumable = info.resumable && !s.spoilt.Load()
		return nil
	})
	return info
}

// ID is a copy of the session id, empty for a closed Session.
//
// It is SSL_SESSION_get_id.
func (s *Session) ID() []byte { return s.info().id }

// IDContext is a copy of the session id context that the session was made
// within: on a server the server's, on a client the client's own (usually
// none). It is never sent.
//
// It is SSL_SESSION_get0_id_context.
func (s *Session) IDContext() []byte { return s.info().sidCtx }

// SetIDContext moves the session into another context: at most 32 bytes,
// copied. Only this Session changes; connections and caches that hold the same
// session keep the old one. On failure the old context stays.
//
// It is SSL_SESSION_set1_id_context on an SSL_SESSION_dup.
func (s *Session) SetIDContext(sidCtx []byte) error {
	return s.use(func(p sessionPtr) error {
		moved, err := p.withSessionIDContext(sidCtx)
		if err != nil {
			return err
		}
		s.h.close()
		s.h.own(moved)
		spoilt := new(atomic.Bool)
		spoilt.Store(s.spoilt.Load())
		s.spoilt = spoilt // a copy goes its own way
		return nil
	})
}

// Time is when the session was made, to the second.
//
// It is SSL_SESSION_get_time.
func (s *Session) Time() time.Time { return s.info().time }

// Timeout is how long after Time it may be resumed.
//
// It is SSL_SESSION_get_timeout.
func (s *Session) Timeout() time.Duration { return s.info().timeout }

// Version is the protocol version, [crypto/tls.VersionTLS13] for instance; a
// session is only resumed in its own. 0 for a closed Session.
//
// It is SSL_SESSION_get_protocol_version.
func (s *Session) Version() uint16 { return s.info().version }

// Resumable says whether the session can be offered at all: it has an id or a
// ticket and no failed connection has spoilt it. Whether it has expired is the
// server's business.
//
// It is SSL_SESSION_is_resumable.
func (s *Session) Resumable() bool { return s.info().resumable }

// Close frees the session at once and is harmless twice.
//
// It is SSL_SESSION_free.
func (s *Session) Close() error {
	if s == nil {
		return errNilSession
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.close()
	return nil
}
