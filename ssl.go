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

// SSL is a TLS connection over memory: ciphertext is fed in and drained out, and the
// methods report what is needed to continue. It does no input or output and never blocks.
// Use it for a transport that is not a [net.Conn]; [Conn] drives one over a net.Conn.
//
// An SSL must be used by one goroutine at a time. The caller must close it.
//
// It is an SSL with memory BIOs.
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
	resuming        bool // a server resumes a TLS 1.2 session, and has sent nothing yet
	ticketsHeld     bool // a server's tickets wait until it was
	closeNotifySent bool

	keyLog []byte // lines that unlock hands over

	readErr error // what every later Read returns
	fatal   error // what every later call returns

	sidCtx    sidContext
	ownSIDCtx bool        // it was set on this connection
	decidedIn sidContext  // sidCtx when libssl decided about resumption
	hellos    int32       // ClientHellos that libssl has let through
	offered   *sidContext // of the session that a client offers
	name      string      // that a client expects, or ""
	nameErr   error       // what the last SetServerName failed with: no name is in force

	offerInvalid  *atomic.Bool // of the Session that a client offers a copy of
	offeredCached bool         // it is the cache's, for this name
	hello         *ClientHello
	helloErr      error
	helloAnswer   *helloAnswer      // to the first ClientHello
	resumption    Resumption        // of a finished handshake
	peer          *peerCertificates // of a finished handshake
	state         *ConnectionState  // of a finished handshake
	psks          pskTable          // of this connection alone
}

// Want tells what an [SSL] needs to continue.
type Want int

const (
	WantNothing     Want = iota // nothing: the call is complete
	WantInput                   // drain its output, feed it more ciphertext, and call again
	WantClientHello             // examine ClientHello, answer it, and call Handshake again
)

// String returns a description of w.
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

// NewSSL returns a new SSL, for a server or a client depending on c, and freezes c. It
// returns an error if c is not completely configured. The caller must close the SSL; c
// may be closed before it.
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
		present := c.presentLocked()
		made, fail := libssl.NewSSL(p, c.server, c.hello != nil || c.store != nil, present.bytes())
		if err := asError(fail); err != nil {
			return err
		}
		s.client, s.wantsInput, s.sidCtx = !c.server, c.server, present
		s.h.Own(made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// lock locks s.h.Mu, or returns an error if s is nil or closed. The caller calls
// unlock after a nil error.
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

// unlock unlocks s.h.Mu, and then writes the lines for a key log that were collected
// under the lock.
func (s *SSL) unlock() {
	lines, first, c := s.keyLog, s.first, s.ctx
	s.keyLog = nil
	s.h.Mu.Unlock()
	if lines != nil {
		writeKeyLog(lines, first, c)
	}
}

// SetSessionIDContext sets a session id context for this connection alone. sidCtx has at
// most 32 bytes and is copied. A server may call it until the ClientHello is answered, in
// WantClientHello at the latest, a client until its first Handshake; after that it returns
// [ErrTooLate]. On a client that already offers a session of another context it returns
// [ErrSessionContextMismatch]. On failure the previous context remains in force.
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

// SessionIDContext returns a copy of the context in force for this connection: the one
// set on it, else that of its Ctx at the time when the SSL was made or switched to it. It
// returns nil if s is closed.
func (s *SSL) SessionIDContext() []byte {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	return append([]byte(nil), s.sidCtx.bytes()...)
}

// SetCtx switches the connection to another Ctx of the same role, and freezes that. The
// certificates, cipher suites, trusted CAs, verify mode and depth, options, versions and
// ALPN protocols of c are used from then on, and its PSKs; those set on s are removed. A nil c switches back to the Ctx that s was
// made from. After the ClientHello was answered SetCtx returns [ErrTooLate].
//
// The session id context becomes that of c, unless one was set on s that differs from the
// context of the previous Ctx. The session cache, its timeout, the ticket keys and the
// number of tickets remain those of the Ctx that s was made from; a Ctx on which they
// were set is refused, and one of another [Library] too. If libssl runs out of memory in the middle of the switch, the
// connection has failed.
//
// It is SSL_set_SSL_CTX, followed by SSL_set_verify, SSL_set_verify_depth,
// SSL_set_options, SSL_set_min_proto_version, SSL_set_max_proto_version,
// SSL_set_alpn_protos and SSL_set_session_id_context for what that leaves out.
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
	if c.library != s.first.library {
		return errOtherLibrary
	}
	kept := s.ownSIDCtx && s.sidCtx != s.ctx.configuredSIDContext()
	if c == s.ctx { // it may be closed, s holds the SSL_CTX
		s.ownSIDCtx = kept
		return s.applyRevocationLocked()
	}
	logs := s.first.hasKeyLogWriter()
	return c.useUntilFreed(func(p libssl.CTX) error {
		if err := c.freeze(p); err != nil {
			return err
		}
		if c == s.first {
			p = libssl.CTX{}
		} else if err := c.checkRoutable(); err != nil {
			return err
		}
		if logs && !c.logsKeys {
			p.SetKeyLog(true)
			c.logsKeys = true
		}
		next := s.sidCtx
		if !kept {
			next = c.presentLocked()
		}
		if err := asError(s.h.P.SetCtx(p, next.bytes())); err != nil {
			// It may be half there, with what one Ctx trusts and the other's verify mode.
			s.fatal, s.readErr = err, err
			return err
		}
		s.ctx, s.sidCtx, s.ownSIDCtx, s.psks = c, next, kept, nil
		return nil
	})
}

// SetSession makes a client offer a session in its handshake; the server decides whether
// to resume it. It must be called before the first Handshake, else it returns
// [ErrTooLate]. If the session was made under another session id context, it returns
// [ErrSessionContextMismatch] and nothing is sent. A session that a connection of another
// [Library] has made is refused, too. A session that cannot be resumed any
// more, because a connection that used it has failed, is not offered; that is no error.
// A nil sess withdraws the offer.
//
// A server that resumes sess shows no certificate: neither its chain nor its name is
// verified again. Offer a session to no other server than its own.
//
// The connection uses a copy: sess may be closed afterwards, and many connections may
// offer one Session at the same time.
//
// It is SSL_set_session with an SSL_SESSION_dup.
func (s *SSL) SetSession(sess *Session) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	return s.setSessionLocked(sess)
}

func (s *SSL) setSessionLocked(sess *Session) error {
	switch {
	case !s.client:
		return errors.New("openssl: SSL_set_session: a server does not offer sessions, its clients do")
	case s.phase != phaseNew:
		return ErrTooLate
	case sess == nil:
		s.offered, s.offerInvalid, s.offeredCached = nil, nil, false
		return asError(s.h.P.SetSession(libssl.Session{}))
	}
	return sess.use(func(p libssl.Session) error {
		if sess.library != anyLibrary && sess.library != s.first.library {
			return errOtherLibrarySession
		}
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
		s.offered, s.offerInvalid, s.offeredCached = &made, sess.invalid, false
		return nil
	})
}

// SetServerName sets the name of the server that a client connects to. The name is sent
// to the server, and the server's certificate must be valid for it, unless the verify mode
// is VerifyAnyName. An IP address is verified but not sent. A client that verifies
// certificates with VerifyPeer alone must call it before its first Handshake; after that it
// returns [ErrTooLate]. A later call replaces the name. If libssl runs out of memory, the
// handshake is refused until a name was set.
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
	if s.offeredCached && name != s.name { // it is of another server
		if err := s.setSessionLocked(nil); err != nil {
			return err
		}
	}
	if s.nameErr = asError(s.h.P.SetServerName(name, isIP)); s.nameErr != nil {
		s.name = ""
		var e *Error
		if errors.As(s.nameErr, &e) && len(e.Stack) == 0 { // 4.0 looks at it
			s.nameErr = explain(fmt.Sprintf("SSL_set_tlsext_host_name: %q is not the name of a host", name), s.nameErr)
		}
		return s.nameErr
	}
	s.name = name
	return nil
}

const maxServerName = 255 // TLSEXT_MAXLEN_host_name

// Handshake continues the handshake as far as the input allows. If it returns
// WantNothing, the handshake is complete. If it returns WantInput, drain the output, feed
// more input and call it again. WantClientHello is returned on a server whose Ctx has a
// ClientHello function: examine [SSL.ClientHello], optionally call [SSL.SetCtx],
// [SSL.SetSessionIDContext] or [SSL.Refuse], and call Handshake again. An error is final;
// an alert for the peer may remain to be drained.
//
// It is SSL_do_handshake.
func (s *SSL) Handshake() (Want, error) { return s.handshake(nil) }

// handshake is Handshake with a slot that the caller has taken from held, unless that is
// nil. It is put back before a function of the caller's runs.
func (s *SSL) handshake(held *slots) (Want, error) {
	if err := s.lock(); err != nil {
		held.putBack()
		return WantNothing, err
	}
	w, err := s.handshakeLocked(held != nil)
	held.putBack()
	if err != nil || s.verified || w != WantNothing && !s.resuming {
		s.unlock()
		return w, err
	}
	verify := s.verifyConnectionLocked()
	if verify == nil {
		if s.verified = w == WantNothing; s.verified {
			err = s.issueTicketsLocked()
		}
		s.unlock()
		return w, err
	}
	state := s.readStateLocked() // here: Close may come before the lock is taken again
	state.HandshakeComplete = true
	if w == WantInput {
		state.DidResume, state.Resumption = true, ResumptionResumed
	}
	s.unlock()
	if err := s.runVerifyConnection(verify, state); err != nil {
		return WantNothing, err
	}
	return w, nil
}

// Read decrypts input into p, from as many records as are available. It performs the
// handshake first. n may be greater than 0 even if w is not WantNothing. Read may also
// produce output, for example the answer to a KeyUpdate: drain it before feeding more,
// or a peer that never reads makes s buffer without limit. After the peer's close_notify
// it returns [io.EOF]; after FeedEOF without a close_notify, [io.ErrUnexpectedEOF].
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

// Write encrypts all of p; the output must be drained. It performs the handshake first:
// while that is not complete, nothing is encrypted and w tells what is needed. On an
// error n bytes of p were encrypted.
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

// Shutdown produces a close_notify alert, which must be drained. WantInput means that
// the peer's close_notify has not been received; it need not be waited for. A connection
// that is closed without Shutdown makes its session impossible to resume, on either end.
//
// It is SSL_shutdown.
func (s *SSL) Shutdown() (Want, error) {
	if err := s.lock(); err != nil {
		return WantNothing, err
	}
	defer s.unlock()
	return s.shutdownLocked()
}

// Feed adds ciphertext that was received from the peer. It copies all of p. After
// [SSL.FeedEOF] it returns an error.
func (s *SSL) Feed(p []byte) (n int, err error) {
	if err := s.lock(); err != nil {
		return 0, err
	}
	defer s.unlock()
	if s.eof {
		return 0, errors.New("openssl: Feed after FeedEOF")
	}
	if len(p) > 0 {
		s.in.append(p)
	}
	return len(p), nil
}

// FeedEOF reports that the peer will send nothing more.
func (s *SSL) FeedEOF() error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	s.eof = true
	return nil
}

// Drain moves ciphertext that is to be sent to the peer into p and returns its length. It
// returns 0 if there is none or if s is closed.
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

// Pending returns the number of bytes that [SSL.Drain] can return.
func (s *SSL) Pending() int {
	if s.lock() != nil {
		return 0
	}
	defer s.unlock()
	return s.unsentLocked()
}

// ClientHello returns the client's ClientHello. It may be called after Handshake has
// returned WantClientHello and before it is called again; at other times it returns an
// error. A malformed server name is an error that wraps the alert to refuse it with.
//
// It is SSL_client_hello_get0_ext and its relatives.
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

var errNotAsked = errors.New("openssl: there is no ClientHello to answer: the last Handshake did not return WantClientHello")

// Refuse answers the ClientHello with an alert: the next Handshake fails, and the alert
// must be drained. It may be called while Handshake returns WantClientHello.
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

// OfferedSessionIDs returns the ids to look up in a session store, while Handshake
// returns WantClientHello: at most four session ids that libssl will look up, given the
// versions and options in force. Tickets are not among them. At other times it returns
// nil.
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

// AnswerSession passes on a session, in DER, that a store has found, while Handshake
// returns WantClientHello. libssl resumes it if its id was offered and if it was made
// under the connection's session id context.
//
// It is SSL_CTX_sess_set_get_cb with a prepared answer.
func (s *SSL) AnswerSession(der []byte) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	return s.answerSessionLocked(der, nil)
}

// ExportKeyingMaterial returns length bytes of keying material that both ends derive from
// the connection, as described in RFC 5705. In TLS 1.2 a nil context differs from an empty
// one. The handshake must be complete.
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

// ConnectionState returns the present state of the connection. It may be called at any
// time. The state of a closed SSL is empty.
func (s *SSL) ConnectionState() ConnectionState {
	if s.lock() != nil {
		return ConnectionState{}
	}
	defer s.unlock()
	if s.state != nil {
		return *s.state
	}
	state := s.readStateLocked()
	if state.HandshakeComplete {
		s.state = &state
	}
	return state
}

// Session returns the newest resumable session of the connection, or
// [ErrSessionNotFound] if there is none. In TLS 1.3 the server sends sessions after the
// handshake: a client has one after its first Read. The caller must close the Session.
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
	return newSession(p, s.first.library), nil
}

// Close releases the SSL. Later calls return an error that wraps [net.ErrClosed]. Close
// may be called more than once. Without a [SSL.Shutdown] before it the session cannot be
// resumed.
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
