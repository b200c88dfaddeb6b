//go:build cgo

package openssl

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// SSL is a TLS machine over memory: ciphertext is fed in and drained out, and
// the machine says what it wants. It knows no network and never waits. Use it
// for a transport that is no [net.Conn]; for one that is, [Conn] drives it.
//
// A machine is for one goroutine at a time. Whoever makes it closes it.
//
// It is an SSL with a memory BIO.
type SSL struct {
	h libssl.Handle[libssl.SSL] // its Mu guards the rest, too

	client bool
	first  *Ctx // that s was made from
	ctx    *Ctx // in force: after a switch another one

	in        buffer      // ciphertext that was fed and not taken yet
	out       buffer      // ciphertext that is to be drained
	spilled   int         // more of it, in C
	hasOutput atomic.Bool // there is some of either; read without the lock
	eof       bool        // the input ends behind in

	phase           phase
	wantsInput      bool // the last call wanted input
	hasPlaintext    bool // plaintext waits in libssl
	gotPlaintext    bool // some has been read
	gotTicket       bool // a session has arrived since the handshake
	newSession      bool // a client has a session that was not put into a cache yet
	stored          bool // a server's session is, or is going to be, in a store
	verified        bool // SetVerifyConnection's function has been called
	closeNotifySent bool

	keyLog []byte // lines that unlock hands over

	readErr error // what every later Read returns
	fatal   error // what every later call returns

	sidCtx    sidContext
	ownSIDCtx bool        // it was set on this connection
	offered   *sidContext // of the session that a client offers
	name      string      // that a client expects, or ""
	nameErr   error       // what the last SetServerName failed with: no name is in force

	offerInvalid *atomic.Bool // of the Session that a client offers a copy of
	hello        *ClientHello
	helloErr     error
	helloAnswer  *helloAnswer     // to the first ClientHello
	resumption   Resumption       // of a finished handshake
	state        *ConnectionState // of a finished handshake
}

// Want is what a machine needs to go on.
type Want int

const (
	WantNothing     Want = iota // done
	WantInput                   // feed it ciphertext, once what it made is drained
	WantClientHello             // look at ClientHello, answer, and call Handshake again
)

// String names the want.
func (w Want) String() string {
	switch w {
	case WantNothing:
		return "nothing"
	case WantInput:
		return "input"
	case WantClientHello:
		return "an answer to the ClientHello"
	}
	return fmt.Sprintf("Want(%d)", int(w))
}

// NewSSL makes a machine from a recipe, which freezes; it is a server's or a
// client's by the Ctx.
//
// It is SSL_new.
func NewSSL(c *Ctx) (*SSL, error) {
	s := &SSL{first: c, ctx: c}
	err := c.use(func(p libssl.CTX) error {
		if err := c.freeze(p); err != nil {
			return err
		}
		if err := c.rotateFleetKeys(p, time.Now()); err != nil {
			return err
		}
		made, fail := libssl.NewSSL(p, c.server, c.hello != nil || c.store != nil, c.present.bytes())
		if err := asError(fail); err != nil {
			return err
		}
		s.client, s.wantsInput, s.sidCtx = !c.server, c.server, c.present
		s.h.Own(made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// lock is the door of every method; the caller unlocks s.h.Mu after a nil error.
func (s *SSL) lock() error {
	if s == nil {
		return errNilSSL
	}
	s.h.Mu.Lock()
	if s.h.ClosedLocked() {
		s.h.Mu.Unlock()
		return errSSLClosed
	}
	return nil
}

// unlock is the end of every method. Lines for a key log that were collected
// under the lock are handed over behind it.
func (s *SSL) unlock() {
	lines, c := s.keyLog, s.ctx
	s.keyLog = nil
	s.h.Mu.Unlock()
	if lines != nil {
		c.writeKeyLog(lines)
	}
}

// SetSessionIDContext gives this connection a session id context of its own. At
// most 32 bytes, copied. A server may do so until the ClientHello has been let
// through, in WantClientHello at the latest; a client until its first
// Handshake; later it is [ErrTooLate]. A client that already offers a session
// of another context gets [ErrSessionContextMismatch]. On failure the old
// context stays.
//
// It is SSL_set_session_id_context.
func (s *SSL) SetSessionIDContext(sidCtx []byte) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	if s.tooLateLocked() {
		return ErrTooLate
	}
	if s.offered != nil && len(sidCtx) <= libssl.MaxSIDCtx && !bytes.Equal(sidCtx, s.offered.bytes()) {
		return mismatch(sidCtx, s.offered.bytes())
	}
	if err := setSSLSIDContext(s.h.P, sidCtx); err != nil {
		return err
	}
	s.sidCtx, s.ownSIDCtx = newSIDContext(sidCtx), true
	return nil
}

// SessionIDContext is a copy of the context in force for this connection:
// what was set on it, else what its Ctx had when it was made or switched to.
func (s *SSL) SessionIDContext() []byte {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	return append([]byte(nil), s.sidCtx.bytes()...)
}

// SetCtx goes on with another Ctx of the same role, which freezes: its
// certificates, ciphers, trust, verify mode and depth, options, versions and what
// a client offers by ALPN.
// nil goes back to the Ctx that s was made from. The session id context becomes
// c's, unless one was set on s that differs from the context of the Ctx left
// behind. The session cache, its timeout, ticket keys and ticket count stay
// those of the first Ctx. After the ClientHello it is [ErrTooLate].
//
// It is SSL_set_SSL_CTX, and SSL_set_verify, SSL_set_verify_depth,
// SSL_set_options, SSL_set_min_proto_version, SSL_set_max_proto_version,
// SSL_set_alpn_protos and SSL_set_session_id_context for what that forgets. If one
// of these fails, for want of memory, the connection has failed.
func (s *SSL) SetCtx(c *Ctx) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	if c == nil {
		c = s.first
	}
	if s.tooLateLocked() {
		return ErrTooLate
	}
	if c.server == s.client {
		return errors.New("openssl: SSL_set_SSL_CTX: a server's Ctx cannot serve a client, nor a client's a server")
	}
	kept := s.ownSIDCtx && s.sidCtx != s.ctx.configuredSIDContext()
	return c.use(func(p libssl.CTX) error {
		if err := c.freeze(p); err != nil {
			return err
		}
		if c != s.first {
			if err := c.checkRoutable(); err != nil {
				return err
			}
		}
		next := s.sidCtx
		if !kept {
			next = c.present
		}
		if err := asError(s.h.P.SetCtx(p, next.bytes())); err != nil {
			// It may be half there, with what one Ctx trusts and the other's verify mode.
			s.fatal, s.readErr = err, err
			return err
		}
		s.ctx, s.sidCtx, s.ownSIDCtx = c, next, kept
		return nil
	})
}

// SetSession offers a session in a client's handshake; the server decides. The
// session may be closed afterwards. A session that was made within another
// session id context is [ErrSessionContextMismatch], before a byte is sent. One
// that has expired, or that a failed connection has spoilt, is quietly not
// offered. nil takes the offer back.
//
// The connection resumes a copy: many connections may offer one Session at once.
//
// It is SSL_set_session with an SSL_SESSION_dup.
func (s *SSL) SetSession(sess *Session) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	switch {
	case !s.client:
		return errors.New("openssl: SSL_set_session: a server does not offer sessions, its clients do")
	case s.phase != phaseNew:
		return ErrTooLate
	case sess == nil:
		s.offered, s.offerInvalid = nil, nil
		return asError(s.h.P.SetSession(libssl.Session{}))
	}
	return sess.use(func(p libssl.Session) error {
		made := newSIDContext(p.Info().SIDCtx)
		if made != s.sidCtx {
			return mismatch(s.sidCtx.bytes(), made.bytes())
		}
		if sess.invalid.Load() {
			p = libssl.Session{} // its copy would not know
		}
		if err := asError(s.h.P.SetSession(p)); err != nil {
			return err
		}
		s.offered, s.offerInvalid = &made, sess.invalid
		return nil
	})
}

// SetServerName says whom a client calls: the name is sent to the server, and
// the server's certificate must hold it. An IP address is only expected, not
// sent. It takes the place of what was said before, and must be said before the
// first Handshake unless nothing is verified. After a failure of libssl, for want
// of memory, the connection does not start until a name was set.
//
// It is SSL_set_tlsext_host_name and X509_VERIFY_PARAM_set1_host.
func (s *SSL) SetServerName(name string) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	name = strings.TrimSuffix(name, ".")
	switch {
	case !s.client:
		return errors.New("openssl: SSL_set_tlsext_host_name: a server has no server name to ask for")
	case s.phase != phaseNew:
		return ErrTooLate
	case name == "" || len(name) > maxServerName || name[0] == '.' || strings.IndexByte(name, 0) >= 0:
		// To OpenSSL a leading dot means "any name below".
		return fmt.Errorf("openssl: SSL_set_tlsext_host_name: %q is no server name", name)
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	isIP := err == nil
	if isIP {
		name = ip.WithZone("").Unmap().String() // as certificates have it
	}
	if s.nameErr = asError(s.h.P.SetServerName(name, isIP)); s.nameErr != nil {
		s.name = ""
		return s.nameErr
	}
	s.name = name
	return nil
}

const maxServerName = 255 // TLSEXT_MAXLEN_host_name

// Handshake goes on with the handshake as far as what was fed allows.
// WantNothing: it is done. WantInput: drain what it made, feed it more, call it
// again. WantClientHello: a server whose Ctx has a ClientHello function asks; look at
// [SSL.ClientHello], answer with [SSL.SetCtx], [SSL.SetSessionIDContext] or
// [SSL.Refuse], or not at all, and call it again. An error is final; an alert for
// the peer may wait to be drained.
//
// It is SSL_do_handshake.
func (s *SSL) Handshake() (Want, error) {
	if err := s.lock(); err != nil {
		return WantNothing, err
	}
	w, err := s.handshakeLocked()
	verify := s.ctx.verifyConnection
	if w != WantNothing || err != nil || s.verified {
		verify = nil
	}
	s.unlock()
	if verify == nil {
		return w, err
	}
	return WantNothing, s.runVerifyConnection(verify)
}

// Read decrypts into p what was fed, from as many records as are at hand. It
// does the handshake first. n counts also when w is not WantNothing. It may make
// something for the peer, the answer to a KeyUpdate for one: drain it before you
// feed more, or a peer that never reads makes s hold it without a bound. After the
// peer's close_notify it returns [io.EOF], after the end of the wire without
// one [io.ErrUnexpectedEOF].
//
// It is SSL_read_ex.
func (s *SSL) Read(p []byte) (n int, w Want, err error) {
	if w, err := s.Handshake(); w != WantNothing || err != nil {
		return 0, w, err
	}
	if err := s.lock(); err != nil {
		return 0, WantNothing, err
	}
	defer s.unlock()
	return s.readLocked(p)
}

// Write seals all of p; the ciphertext waits to be drained. It does the
// handshake first: while that wants something, nothing is sealed. Write never
// wants output.
//
// It is SSL_write_ex.
func (s *SSL) Write(p []byte) (n int, w Want, err error) {
	if w, err := s.Handshake(); w != WantNothing || err != nil {
		return 0, w, err
	}
	if err := s.lock(); err != nil {
		return 0, WantNothing, err
	}
	defer s.unlock()
	for n < len(p) {
		k, err := s.encryptLocked(p[n:])
		n += k
		if err != nil {
			return n, WantNothing, err
		}
	}
	return n, WantNothing, nil
}

// Shutdown says close_notify; drain it. WantInput: the peer has not said its
// own yet; it need not be waited for. A connection that is closed without
// Shutdown leaves a session that cannot be resumed, on either end.
//
// It is SSL_shutdown.
func (s *SSL) Shutdown() (Want, error) {
	if err := s.lock(); err != nil {
		return WantNothing, err
	}
	defer s.unlock()
	return s.shutdownLocked()
}

// Feed takes ciphertext from the wire: all of p, copied. After [SSL.FeedEOF] it
// is an error.
func (s *SSL) Feed(p []byte) (n int, err error) {
	if err := s.lock(); err != nil {
		return 0, err
	}
	defer s.unlock()
	if s.eof {
		return 0, errors.New("openssl: ciphertext fed behind the end of the wire")
	}
	if len(p) > 0 {
		s.in.append(p)
	}
	return len(p), nil
}

// FeedEOF says that the wire has ended.
func (s *SSL) FeedEOF() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	s.eof = true
	return nil
}

// Drain moves ciphertext for the wire into p and says how much; 0 when there is
// none, or when s is closed.
func (s *SSL) Drain(p []byte) (n int) {
	if s.lock() != nil {
		return 0
	}
	defer s.unlock()
	n = copy(p, s.out.bytes())
	s.out.take(n)
	if s.spilled > 0 && n < len(p) {
		k := s.h.P.Drain(p[n:])
		s.spilled -= k
		n += k
	}
	s.noteOutputLocked()
	return n
}

// Pending is how many bytes [SSL.Drain] has waiting.
func (s *SSL) Pending() int {
	if s.lock() != nil {
		return 0
	}
	defer s.unlock()
	return s.unsentLocked()
}

// ClientHello is what the client said. It can be asked for while the machine
// is in WantClientHello. A server name that is malformed is an error that
// unwraps to the alert to refuse it with.
//
// It is SSL_client_hello_get0_ext and its kin.
func (s *SSL) ClientHello() (*ClientHello, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.unlock()
	if s.phase != phaseAsked {
		return nil, errNotAsked
	}
	if s.hello == nil && s.helloErr == nil {
		raw, fail := s.h.P.Hello()
		if s.helloErr = asError(fail); fail == nil {
			s.hello, s.helloErr = parseClientHello(raw, s)
		}
	}
	return s.hello, s.helloErr
}

var errNotAsked = errors.New("openssl: there is no ClientHello to answer: the machine is not in WantClientHello")

// Refuse answers the ClientHello with an alert: the next Handshake fails and
// leaves it to be drained.
//
// It is SSL_CLIENT_HELLO_ERROR.
func (s *SSL) Refuse(alert tls.AlertError) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	if s.phase != phaseAsked {
		return errNotAsked
	}
	s.h.P.Refuse(uint8(alert))
	return nil
}

// OfferedSessionIDs is what a session store is to be asked for, while the
// machine is in WantClientHello: the session ids, four at most, that libssl
// will look up by the versions and options in force. Tickets are not among them.
//
// It is SSL_client_hello_get0_session_id and the pre_shared_key extension.
func (s *SSL) OfferedSessionIDs() [][]byte {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	if s.phase != phaseAsked {
		return nil
	}
	return s.h.P.OfferedIDs()
}

// AnswerSession gives the machine a session that a store has found, in DER,
// while it is in WantClientHello. libssl resumes it if its id was offered and
// its context is the connection's.
//
// It is SSL_CTX_sess_set_get_cb with the answer prepared.
func (s *SSL) AnswerSession(der []byte) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	return s.answerSessionLocked(der, nil)
}

// ExportKeyingMaterial derives length bytes that both ends agree on; TLS 1.2
// tells a nil context from an empty one. The handshake must be done.
//
// It is SSL_export_keying_material.
func (s *SSL) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.unlock()
	const most = 1 << 16
	switch {
	case s.phase < phaseDone:
		return nil, errors.New("openssl: SSL_export_keying_material: the handshake is not done")
	case length <= 0 || length > most:
		return nil, fmt.Errorf("openssl: SSL_export_keying_material: a length of %d is not between 1 and %d", length, most)
	case strings.IndexByte(label, 0) >= 0:
		return nil, errors.New("openssl: SSL_export_keying_material: a label with a NUL byte")
	}
	p := make([]byte, length)
	if err := asError(s.h.P.ExportKeyingMaterial(p, label, context)); err != nil {
		return nil, err
	}
	return p, nil
}

// ConnectionState says what the connection has come to. It can be asked for at
// any time; that of a closed SSL is empty.
func (s *SSL) ConnectionState() ConnectionState {
	if s.lock() != nil {
		return ConnectionState{}
	}
	defer s.unlock()
	if s.state != nil {
		return *s.state
	}
	state, err := s.readStateLocked()
	if state.HandshakeComplete && err == nil {
		s.state = &state
	}
	return state
}

// Session is the connection's newest resumable session, [ErrSessionNotFound]
// while there is none: TLS 1.3 sends it after the handshake, so that a client
// has one after its first Read. The caller closes it.
//
// It is SSL_get1_session.
func (s *SSL) Session() (*Session, error) {
	if err := s.lock(); err != nil {
		return nil, err
	}
	defer s.unlock()
	if s.phase < phaseDone { // until then libssl writes to it
		return nil, ErrSessionNotFound
	}
	p := s.h.P.Session()
	if p == (libssl.Session{}) {
		return nil, ErrSessionNotFound
	}
	return newSession(p), nil
}

// Close frees the machine at once and is harmless twice. Without
// [SSL.Shutdown] before it the session is spoilt.
//
// It is SSL_free.
func (s *SSL) Close() error {
	if s == nil {
		return errNilSSL
	}
	s.h.Mu.Lock()
	defer s.unlock()
	s.closeLocked()
	return nil
}
