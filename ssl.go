//go:build cgo

package openssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SSL is a TLS machine over memory: ciphertext is fed in and drained out, and
// the machine says what it wants. It knows no network and never waits. Use it
// for a transport that is no [net.Conn]; for one that is, [Conn] drives it.
//
// A machine is for one goroutine at a time. Whoever makes it closes it.
//
// It is an SSL with a memory BIO.
type SSL struct {
	h handle[sslPtr] // its lock guards the rest, too

	client bool
	first  *Ctx // made from
	ctx    *Ctx // in use, after a switch another one

	in       buffer      // ciphertext that was fed and not taken yet
	out      buffer      // ciphertext that is to be drained
	spilled  int         // more of it, in C
	outgoing atomic.Bool // there is some of either; read without the lock
	eof      bool        // the wire ended behind in

	starved   bool // the last act wanted input
	pending   bool // plaintext waits in libssl
	done      bool // the handshake is over
	decided   bool // the ClientHello is through: contexts are too late
	suspended bool // in WantClientHello
	ticketed  bool // a session has arrived since the handshake
	saidBye   bool // close_notify is out
	heard     bool // plaintext has been read
	accepted  bool // SetVerifyConnection has had its say
	mute      bool // the connection is refused: nothing more is sent
	fresh     bool // a client has a session that nobody has taken for a cache
	stored    bool // a server's session is, or is going to be, in a store

	resumption Resumption // of a finished handshake

	keyLog []byte // lines that unlock hands over

	readErr error // what every later Read returns
	fatal   error // what every later act returns

	sidCtx  sidContext
	own     bool        // sidCtx was set on this connection
	offered *sidContext // of the session that a client offers
	name    string      // that a client expects; empty for nobody
	nameErr error       // what the last SetServerName failed with: no name is in force

	offeredSpoilt *atomic.Bool // of the Session that a client offers a copy of
	hello         *ClientHello
	helloErr      error
	state         *ConnectionState // of a finished handshake
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

// buffer is ciphertext between the wire and libssl: b[r:w].
type buffer struct {
	b    []byte
	r, w int
}

const (
	maxPlaintext = 64 << 10            // sealed in one act: longer calls into C make the scheduler take the processor away
	largeBuffer  = maxPlaintext + 4096 // sealed, with what every record adds
	smallBuffer  = 4 << 10             // what a reader holds while it waits
)

var (
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
)

func newBuffer(large bool) buffer {
	if large {
		return buffer{b: largeBuffers.Get().(*[largeBuffer]byte)[:]}
	}
	return buffer{b: smallBuffers.Get().(*[smallBuffer]byte)[:]}
}

// release gives the memory back.
func (b *buffer) release() {
	switch len(b.b) {
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b.b))
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b.b))
	}
	*b = buffer{}
}

func (b *buffer) empty() bool   { return b.r == b.w }
func (b *buffer) bytes() []byte { return b.b[b.r:b.w] }

// take moves past what was used; an empty buffer holds no memory.
func (b *buffer) take(n int) {
	if b.r += n; b.r == b.w && b.b != nil {
		b.release()
	}
}

// room is space behind what is there, at least something if n is not 0.
func (b *buffer) room(n int) []byte {
	if b.b == nil {
		*b = newBuffer(n > smallBuffer)
	}
	return b.b[b.w:]
}

// append adds a copy, in more memory if need be.
func (b *buffer) append(p []byte) {
	if len(b.room(len(p))) < len(p) {
		grown := buffer{b: make([]byte, 2*(b.w-b.r+len(p)))}
		grown.w = copy(grown.b, b.bytes())
		b.release()
		*b = grown
	}
	b.w += copy(b.b[b.w:], p)
}

// NewSSL makes a machine from a recipe, which freezes; it is a server's or a
// client's by the Ctx.
//
// It is SSL_new.
func NewSSL(c *Ctx) (*SSL, error) {
	s := &SSL{first: c, ctx: c}
	err := c.use(func(p ctxPtr) error {
		if err := c.freeze(p); err != nil {
			return err
		}
		if err := c.turnFleetKeys(p, time.Now()); err != nil {
			return err
		}
		made, err := newSSLPtr(p, c.server, c.hello != nil || c.store != nil, c.present.bytes())
		if err != nil {
			return err
		}
		s.client, s.starved, s.sidCtx = !c.server, c.server, c.present
		s.h.own(made)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// lock is the door of every method; the caller unlocks s.h.mu after a nil error.
func (s *SSL) lock() error {
	if s == nil {
		return errNilSSL
	}
	s.h.mu.Lock()
	if s.h.closed() {
		s.h.mu.Unlock()
		return errSSLClosed
	}
	return nil
}

// unlock is the end of every method. Lines for a key log that were collected
// under the lock are handed over behind it.
func (s *SSL) unlock() {
	lines, c := s.keyLog, s.ctx
	s.keyLog = nil
	s.h.mu.Unlock()
	if lines != nil {
		c.writeKeyLog(lines)
	}
}

// settle keeps the books after an act.
func (s *SSL) settle(t turn) turn {
	s.in.take(t.used)
	s.out.w += t.out
	if s.out.empty() && s.out.b != nil {
		s.out.release()
	}
	if s.spilled = t.spilled; s.mute {
		s.spilled = 0
	}
	s.noteOutput()
	s.pending = t.pending
	s.decided = s.decided || t.decided
	s.ticketed = t.ticketed
	s.fresh = s.fresh || t.fresh
	if t.keylog {
		lines, _ := s.h.p.keyLog() // without memory for them they are lost
		s.keyLog = append(s.keyLog, lines...)
	}
	if t.spoilt && s.offeredSpoilt != nil {
		s.offeredSpoilt.Store(true)
	}
	s.starved = t.want == wantInput
	switch t.want {
	case wireCut:
		s.readErr = io.ErrUnexpectedEOF
	case saidGoodbye:
		s.readErr = io.EOF
	case actFailed:
		s.readErr, s.fatal = t.err, t.err
	}
	return t
}

// noteOutput keeps outgoing true.
func (s *SSL) noteOutput() {
	if some := s.unsentLocked() > 0; some != s.outgoing.Load() {
		s.outgoing.Store(some)
	}
}

// waiting says whether an act that reads could only ask for input again.
func (s *SSL) waiting() bool { return s.starved && s.in.empty() && !s.eof }

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
	if s.tooLate() {
		return ErrTooLate
	}
	if s.offered != nil && len(sidCtx) <= maxSIDCtx && !bytes.Equal(sidCtx, s.offered.bytes()) {
		return mismatch(sidCtx, s.offered.bytes())
	}
	if err := s.h.p.setSessionIDContext(sidCtx); err != nil {
		return err
	}
	s.sidCtx, s.own = newSIDContext(sidCtx), true
	return nil
}

func (s *SSL) tooLate() bool { return s.decided && !s.suspended }

func mismatch(own, session []byte) error {
	return explain(fmt.Sprintf("a session made within context %q cannot be offered within %q", session, own),
		ErrSessionContextMismatch)
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
	if s.tooLate() {
		return ErrTooLate
	}
	if c.server == s.client {
		return errors.New("openssl: SSL_set_SSL_CTX: a server's Ctx cannot serve a client, nor a client's a server")
	}
	kept := s.own && s.sidCtx != s.ctx.configuredSIDContext()
	return c.use(func(p ctxPtr) error {
		if err := c.freeze(p); err != nil {
			return err
		}
		if c != s.first {
			if err := c.mayBeRouted(); err != nil {
				return err
			}
		}
		next := s.sidCtx
		if !kept {
			next = c.present
		}
		if err := s.h.p.setCtx(p, next.bytes()); err != nil {
			// It may be half there, with what one Ctx trusts and the other's verify mode.
			s.fatal, s.readErr = err, err
			return err
		}
		s.ctx, s.sidCtx, s.own = c, next, kept
		return nil
	})
}

// mayBeRouted refuses a Ctx with settings that a switch would leave behind. It
// is called by use.
func (c *Ctx) mayBeRouted() error {
	if len(c.listenOnly) > 0 {
		return fmt.Errorf("openssl: %s has been called on a Ctx that connections are switched to: "+
			"it counts on the listener's Ctx only", c.listenOnly[0])
	}
	c.routed = true
	return nil
}

// presentSIDContext holds for a closed Ctx, too.
func (c *Ctx) presentSIDContext() sidContext {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.present
}

// configuredSIDContext holds for a closed Ctx, too: a connection may leave one.
func (c *Ctx) configuredSIDContext() sidContext {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	return c.sidCtx
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
	case s.decided:
		return ErrTooLate
	case sess == nil:
		s.offered, s.offeredSpoilt = nil, nil
		return s.h.p.setSession(sessionPtr{})
	}
	return sess.use(func(p sessionPtr) error {
		made := newSIDContext(p.info().sidCtx)
		if made != s.sidCtx {
			return mismatch(s.sidCtx.bytes(), made.bytes())
		}
		if sess.spoilt.Load() {
			p = sessionPtr{} // its copy would not know
		}
		if err := s.h.p.setSession(p); err != nil {
			return err
		}
		s.offered, s.offeredSpoilt = &made, sess.spoilt
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
	case s.decided:
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
	if s.nameErr = s.h.p.setServerName(name, isIP); s.nameErr != nil {
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
	w, err := s.handshake()
	ask := s.ctx.verifyConnection
	if w != WantNothing || err != nil || s.accepted {
		ask = nil
	}
	s.unlock()
	if ask == nil {
		return w, err
	}
	return WantNothing, s.accept(contained("SetVerifyConnection", func() error { return ask(s.ConnectionState()) }))
}

// contained turns a panic of a caller's function into an error.
func contained(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("openssl: the function of %s panicked: %v", what, r)
		}
	}()
	return f()
}

// accept records what the function of SetVerifyConnection says.
func (s *SSL) accept(err error) error {
	if lockErr := s.lock(); lockErr != nil {
		return lockErr
	}
	defer s.unlock()
	s.accepted = true
	if err != nil {
		s.refuse(err)
	}
	return err
}

// refuse ends a connection that libssl has accepted. What it has made for the
// peer, tickets among it, is not sent, and its session is forgotten.
func (s *SSL) refuse(err error) {
	s.h.p.spoilSession()
	s.fatal, s.readErr, s.mute = err, err, true
	if s.state != nil {
		s.state.HandshakeComplete = false
	}
	s.out.release()
	s.spilled = 0
	s.noteOutput()
}

// inHandshake bounds the handshakes that libssl works on at the same moment: it
// never waits for a peer, only for a processor. Without a bound each of those
// that the system has taken its processor from keeps a thread, and a storm of
// connections makes hundreds.
var inHandshake = make(chan struct{}, max(4, 2*runtime.GOMAXPROCS(0)))

func (s *SSL) handshake() (Want, error) {
	switch {
	case s.fatal != nil:
		return WantNothing, s.fatal
	case s.done:
		return WantNothing, nil
	case s.readErr != nil:
		return WantNothing, s.readErr
	case s.client && !s.decided:
		if err := s.mayCall(); err != nil {
			return WantNothing, err
		}
	case s.waiting():
		return WantInput, nil
	}
	if err := s.keepUp(); err != nil {
		return WantNothing, err
	}
	s.suspended, s.hello, s.helloErr = false, nil, nil
	room := s.out.room(largeBuffer)
	inHandshake <- struct{}{}
	did := s.h.p.handshake(s.in.bytes(), s.eof, room)
	<-inHandshake
	t := s.settle(did)
	switch t.want {
	case wantInput:
		return WantInput, nil
	case wantHello:
		s.suspended = true
		return WantClientHello, nil
	case wantNothing:
		return WantNothing, s.finish(t)
	}
	return WantNothing, s.readErr
}

// keepUp has a server that was made before Revoke follow it, until it has a
// ClientHello: a client that keeps connections waiting must not outlast it.
func (s *SSL) keepUp() error {
	if s.client || s.own || s.decided || s.suspended {
		return nil
	}
	present := s.ctx.presentSIDContext()
	if present == s.sidCtx {
		return nil
	}
	if err := s.h.p.setSessionIDContext(present.bytes()); err != nil {
		return err
	}
	s.sidCtx = present
	return nil
}

// finish is the end of the handshake.
func (s *SSL) finish(t turn) error {
	s.done = true
	s.resumption = t.resumption
	s.fresh = s.client && s.h.p.version() < tls.VersionTLS13 // later ones come as tickets; what was resumed is used up
	if s.offered != nil && s.resumption == ResumptionNotOffered {
		s.resumption = ResumptionOther
	}
	s.first.resumptions[s.resumption].Add(1)
	if t.refused == nameNotVerified {
		s.refuse(errNameNotVerified)
	} else if why := refusalText[t.refused]; why != "" {
		s.first.refused.Add(1)
		s.refuse(fmt.Errorf("%w: %s", ErrResumptionRefused, why))
	}
	return s.fatal
}

// mayCall is what a client is asked before its first byte.
func (s *SSL) mayCall() error {
	if s.offered != nil && *s.offered != s.sidCtx {
		return mismatch(s.sidCtx.bytes(), s.offered.bytes())
	}
	if s.nameErr != nil {
		return explain("the server name could not be set: call SetServerName again", s.nameErr)
	}
	if s.name != "" {
		return nil
	}
	return s.ctx.use(func(p ctxPtr) error {
		if p.facts().verify&VerifyPeer != 0 {
			return errors.New("openssl: no server name to verify: call SetServerName, or say SetVerify(VerifyNone) on the Ctx")
		}
		return nil
	})
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
	return s.read(p)
}

func (s *SSL) read(p []byte) (int, Want, error) {
	switch {
	case s.readErr != nil:
		return 0, WantNothing, s.readErr
	case len(p) == 0:
		return 0, WantNothing, nil
	case s.in.empty() && !s.eof && !s.pending:
		return 0, WantInput, nil
	}
	t := s.settle(s.h.p.read(p, s.in.bytes(), s.eof))
	if t.n > 0 {
		return t.n, WantNothing, nil // a failure behind it waits in readErr
	}
	if t.want == wantInput {
		return 0, WantInput, nil
	}
	return 0, WantNothing, s.readErr
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
		k, err := s.seal(p[n:])
		n += k
		if err != nil {
			return n, WantNothing, err
		}
	}
	return n, WantNothing, nil
}

// seal is one act of writing.
func (s *SSL) seal(p []byte) (int, error) {
	switch {
	case s.fatal != nil:
		return 0, s.fatal
	case s.saidBye:
		return 0, errShutdown
	}
	p = p[:min(len(p), maxPlaintext)]
	room := s.out.room(largeBuffer)
	t := s.settle(s.h.p.write(p, room))
	return t.n, t.err
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
	return s.shutdown()
}

func (s *SSL) shutdown() (Want, error) {
	if s.fatal != nil {
		return WantNothing, s.fatal
	}
	var in []byte
	if s.saidBye { // now the peer's is read for
		if s.readErr != nil {
			return WantNothing, nil
		}
		if s.waiting() {
			return WantInput, nil
		}
		in = s.in.bytes()
	}
	room := s.out.room(smallBuffer)
	t := s.settle(s.h.p.shutdown(in, s.eof, room))
	if t.err != nil {
		return WantNothing, t.err
	}
	s.saidBye = true
	if t.want == wantInput {
		return WantInput, nil
	}
	return WantNothing, nil
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
		k := s.h.p.drain(p[n:])
		s.spilled -= k
		n += k
	}
	s.noteOutput()
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
	if !s.suspended {
		return nil, errNotAsked
	}
	if s.hello == nil && s.helloErr == nil {
		var raw []byte
		if raw, s.helloErr = s.h.p.hello(); s.helloErr == nil {
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
	if !s.suspended {
		return errNotAsked
	}
	s.h.p.refuse(uint8(alert))
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
	if !s.suspended {
		return nil
	}
	return s.h.p.offeredIDs()
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
	if !s.suspended {
		return errNotAsked
	}
	return s.h.p.answer(der, nil)
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
	case !s.done:
		return nil, errors.New("openssl: SSL_export_keying_material: the handshake is not done")
	case length <= 0 || length > most:
		return nil, fmt.Errorf("openssl: SSL_export_keying_material: a length of %d is not between 1 and %d", length, most)
	case strings.IndexByte(label, 0) >= 0:
		return nil, errors.New("openssl: SSL_export_keying_material: a label with a NUL byte")
	}
	p := make([]byte, length)
	if err := s.h.p.exportKeyingMaterial(p, label, context); err != nil {
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
	state := s.readState()
	if state.HandshakeComplete {
		s.state = &state
	}
	return state
}

func (s *SSL) readState() ConnectionState {
	st := s.h.p.state()
	cs := ConnectionState{
		Version:            st.version,
		HandshakeComplete:  s.done && !s.mute,
		DidResume:          s.done && st.reused,
		CipherSuite:        st.cipher,
		CipherName:         st.cipherName,
		NegotiatedProtocol: st.alpn,
		ServerName:         st.serverName,
		SessionIDContext:   st.sidCtx,
		Resumption:         s.resumption,
	}
	ders, err := s.h.p.peerCertificates()
	for _, der := range ders {
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(der); err != nil {
			err = fmt.Errorf("openssl: libssl has taken a certificate that crypto/x509 cannot read: %w", err)
			break
		}
		cs.PeerCertificates = append(cs.PeerCertificates, cert)
	}
	cs.VerifyError = err
	if st.verifyResult != 0 {
		cs.VerifyError = newVerifyError(st.verifyResult)
	}
	return cs
}

// ConnectionState is what a connection has come to, by crypto/tls's names where
// the notion is the same.
type ConnectionState struct {
	Version            uint16 // [crypto/tls.VersionTLS13] for instance
	HandshakeComplete  bool
	DidResume          bool // libssl resumed a session. SSL_session_reused
	CipherSuite        uint16
	CipherName         string // OpenSSL's name of it
	NegotiatedProtocol string // by ALPN

	// ServerName is the one that the client asked for; after a resumption in TLS
	// 1.2 that of the first handshake, as OpenSSL has it. Decide by
	// ClientHello.ServerName. SSL_get_servername
	ServerName string

	// PeerCertificates is what the peer has shown, the leaf first, in both
	// roles. After a resumption it is what the first handshake saw: a ticket
	// remembers the leaf alone.
	PeerCertificates []*x509.Certificate

	// VerifyError is why the peer's certificate was not accepted, where the
	// verify mode let that pass. It is nil as well for a peer that has shown none.
	VerifyError error

	// SessionIDContext is the context that the connection's session was made within.
	SessionIDContext []byte

	// Resumption says why a session was, or was not, resumed. A server knows; a
	// client whose offer was declined only knows that (ResumptionOther).
	Resumption Resumption
}

// TLS is the state as crypto/tls shows it, for code that is written for that,
// http.Request.TLS for one. VerifiedChains and what libssl does not report
// stay empty.
func (cs ConnectionState) TLS() tls.ConnectionState {
	return tls.ConnectionState{
		Version:            cs.Version,
		HandshakeComplete:  cs.HandshakeComplete,
		DidResume:          cs.DidResume,
		CipherSuite:        cs.CipherSuite,
		NegotiatedProtocol: cs.NegotiatedProtocol,
		//lint:ignore SA1019 always true, says crypto/tls; code that is older than that asks
		NegotiatedProtocolIsMutual: true,
		ServerName:                 cs.ServerName,
		PeerCertificates:           cs.PeerCertificates,
	}
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
	if !s.done { // until then libssl writes to it
		return nil, ErrSessionNotFound
	}
	p := s.h.p.session()
	if p == (sessionPtr{}) {
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
	s.h.mu.Lock()
	defer s.unlock()
	if !s.h.closed() && s.offeredSpoilt != nil && s.h.p.end() {
		s.offeredSpoilt.Store(true)
	}
	s.h.close()
	s.in.release()
	s.out.release()
	s.spilled = 0
	s.noteOutput()
	return nil
}
