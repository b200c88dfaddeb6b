//go:build cgo

package openssl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a TLS connection over any [net.Conn], which it owns from then on. All
// methods may be called from any goroutine; Read and Write may run at once. It
// starts no goroutine of its own.
type Conn struct {
	wire net.Conn
	ssl  *SSL // its lock is held for the length of an act, never across a wait

	// These may be held across a wait. Whoever wants both takes reading first.
	reading slot // the wire's reading side, and what feeds the machine
	writing slot // the wire's writing side, unsent and writeErr

	unsent   buffer // sealed, and goes out before anything later
	writeErr error  // the wire's writing side is broken for good
	bulk     bool   // under reading: the last read was large, so the next buffer is
	dry      bool   // under reading: the machine has nothing to read from

	shaken     atomic.Bool
	shakeErr   error        // under both locks: why there will be no handshake any more
	storeAsked bool         // under both locks
	answered   *helloAnswer // under both locks: to the first ClientHello

	readUntil, writeUntil deadline

	mu          sync.Mutex // guards what follows; not held across a wait
	closing     atomic.Bool
	cancelHello context.CancelFunc
}

// closeTimeout bounds what a peer that has stalled can cost Close.
const closeTimeout = 5 * time.Second

// lingerBytes bounds what Close reads and throws away.
const lingerBytes = 64 << 10

// deadline is a moment in Unix nanoseconds, 0 for none.
type deadline struct{ at atomic.Int64 }

func (d *deadline) set(t time.Time) {
	const most = 1<<63 - 1
	switch {
	case t.IsZero() || t.After(time.Unix(0, most)):
		d.at.Store(0)
	case t.Before(time.Unix(0, 1)):
		d.at.Store(1)
	default:
		d.at.Store(t.UnixNano())
	}
}

func (d *deadline) passed() bool {
	at := d.at.Load()
	return at != 0 && time.Now().UnixNano() >= at
}

func newConn(wire net.Conn, c *Ctx) (*Conn, error) {
	if wire == nil {
		return nil, errNilWire
	}
	s, err := NewSSL(c)
	if err != nil {
		return nil, err
	}
	return &Conn{
		wire:    wire,
		ssl:     s,
		reading: slot{wake: make(chan struct{}, 1)},
		writing: slot{wake: make(chan struct{}, 1)},
	}, nil
}

// missing says whether c is nil, or no constructor has made it.
func (c *Conn) missing() bool { return c == nil || c.ssl == nil }

// SetSessionIDContext gives this connection a session id context of its own,
// before the handshake. See [SSL.SetSessionIDContext].
//
// It is SSL_set_session_id_context.
func (c *Conn) SetSessionIDContext(sidCtx []byte) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetSessionIDContext(sidCtx)
}

// SetSession offers a session in a client's handshake. See [SSL.SetSession].
//
// It is SSL_set_session.
func (c *Conn) SetSession(sess *Session) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetSession(sess)
}

// SetServerName says whom a client calls. See [SSL.SetServerName].
//
// It is SSL_set_tlsext_host_name and X509_VERIFY_PARAM_set1_host.
func (c *Conn) SetServerName(name string) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetServerName(name)
}

// ConnectionState says what the connection has come to; it does not shake
// hands. That of a closed Conn is empty.
func (c *Conn) ConnectionState() ConnectionState {
	if c.missing() {
		return ConnectionState{}
	}
	return c.ssl.ConnectionState()
}

// Session is the newest resumable session. See [SSL.Session].
//
// It is SSL_get1_session.
func (c *Conn) Session() (*Session, error) {
	if c.missing() {
		return nil, errNilConn
	}
	return c.ssl.Session()
}

// ExportKeyingMaterial derives bytes that both ends agree on. See
// [SSL.ExportKeyingMaterial].
//
// It is SSL_export_keying_material.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if c.missing() {
		return nil, errNilConn
	}
	return c.ssl.ExportKeyingMaterial(label, context, length)
}

// NetConn is the wire. Reading from it or writing to it breaks the connection.
func (c *Conn) NetConn() net.Conn {
	if c.missing() {
		return nil
	}
	return c.wire
}

// LocalAddr is the wire's.
func (c *Conn) LocalAddr() net.Addr {
	if c.missing() {
		return nil
	}
	return c.wire.LocalAddr()
}

// RemoteAddr is the wire's.
func (c *Conn) RemoteAddr() net.Addr {
	if c.missing() {
		return nil
	}
	return c.wire.RemoteAddr()
}

// SetDeadline sets both deadlines. A connection can be used on after one has
// passed, given a new one: nothing of the stream is lost.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetDeadline, true, true)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetReadDeadline, true, false)
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetWriteDeadline, false, true)
}

func (c *Conn) setDeadline(t time.Time, set func(net.Conn, time.Time) error, read, write bool) error {
	if c.missing() {
		return errNilConn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() {
		return net.ErrClosed // Close has set its own
	}
	if read {
		c.readUntil.set(t)
	}
	if write {
		c.writeUntil.set(t)
	}
	return set(c.wire, t)
}

// verdict is what a caller hears of an error of the wire.
func (c *Conn) verdict(err error) error {
	if err != nil && c.closing.Load() {
		return net.ErrClosed
	}
	return err
}

// may says whether a Read or Write may begin.
func (c *Conn) may(until *deadline) error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case until.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// Handshake is HandshakeContext without a context.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext shakes hands, unless that is done; the first Read or Write
// does so, too. A handshake that a deadline cuts can go on after a new one. If
// ctx ends first, the wire is closed and ctx.Err is returned. Any other failure
// is final; libssl's reason and the peer's alert are in it.
//
// It is SSL_do_handshake.
func (c *Conn) HandshakeContext(ctx context.Context) (err error) {
	if c.missing() {
		return errNilConn
	}
	switch {
	case ctx == nil:
		return errNilContext
	case c.closing.Load():
		return net.ErrClosed
	case c.shaken.Load():
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !lockUnless(&c.reading, ctx.Done()) {
		return ctx.Err()
	}
	defer c.reading.unlock()
	if !lockUnless(&c.writing, ctx.Done()) {
		return ctx.Err()
	}
	defer c.unlockWriting()
	switch {
	case c.shaken.Load():
		return nil
	case c.closing.Load():
		return net.ErrClosed
	case c.shakeErr != nil:
		return c.shakeErr
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.wire.Close() })
		defer func() {
			if !stop() {
				c.shaken.Store(false)
				c.shakeErr = ctx.Err()
				err = c.shakeErr
			}
		}()
	}
	err = c.shake(ctx)
	switch {
	case err == nil:
		c.shaken.Store(true)
		c.keepFresh()
	case !isTimeout(err):
		c.shakeErr = err
		c.dropCached()
	}
	return c.verdict(err)
}

// shake drives the machine's handshake over the wire, with both locks held.
func (c *Conn) shake(ctx context.Context) error {
	c.offerCached()
	for {
		w, err := c.ssl.Handshake()
		if w == WantNothing && err == nil {
			c.storeMade() // before the client hears of them and comes back
		}
		sent := c.flush()
		switch {
		case err != nil:
			return err // the machine's verdict outranks the wire's
		case w == WantNothing && sent != nil && c.ssl.sendsOnlyTickets():
			return nil // they go out later, or nobody is there to want them
		case sent != nil:
			return sent
		case w == WantNothing:
			return nil
		case w == WantClientHello:
			err = c.answerHello(ctx)
		default:
			err = c.fill()
		}
		if err != nil {
			return err
		}
	}
}

// sendsOnlyTickets says whether what a finished handshake leaves to be sent is
// no part of it.
func (s *SSL) sendsOnlyTickets() bool {
	return !s.client && s.ConnectionState().Version >= tls.VersionTLS13
}

// answerHello asks the ClientHello function and does what it says.
func (c *Conn) answerHello(ctx context.Context) error {
	hello, err := c.ssl.ClientHello()
	if err == nil {
		hello.Conn = c.wire
		var next *Ctx
		if next, err = c.askHello(ctx, hello); err == nil && next != nil {
			err = c.ssl.SetCtx(next)
		}
	}
	if err == nil {
		err = c.agrees()
	}
	if err == nil {
		c.askStore(ctx)
		return nil
	}
	c.shakeErr = err // also when it is a timeout of the function's own
	alert := alertInternalError
	errors.As(err, &alert)
	if c.ssl.Refuse(alert) == nil {
		c.ssl.Handshake() // makes the alert; why is in err
		c.flush()
	}
	return err
}

// helloAnswer is what a ClientHello led to.
type helloAnswer struct {
	ctx    *Ctx
	sidCtx sidContext
}

// agrees holds the answer to the ClientHello that follows a HelloRetryRequest
// against the first: a client decides whether there is one, so it must decide
// nothing.
func (c *Conn) agrees() error {
	s := c.ssl
	if err := s.lock(); err != nil {
		return err
	}
	defer s.h.mu.Unlock()
	answer := &helloAnswer{s.ctx, s.sidCtx}
	if c.answered == nil {
		c.answered = answer
	}
	if *c.answered != *answer {
		return fmt.Errorf("openssl: the ClientHello after a HelloRetryRequest leads elsewhere than the first: %w", alertIllegalParameter)
	}
	return nil
}

// askHello calls the function. Its context ends with the handshake's, and with Close.
func (c *Conn) askHello(ctx context.Context, hello *ClientHello) (next *Ctx, err error) {
	if c.ssl.first.hello == nil {
		return nil, nil // it is the store's question alone
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.cancelHello = cancel
	closing := c.closing.Load()
	c.mu.Unlock()
	if closing {
		return nil, net.ErrClosed
	}
	err = contained("SetClientHelloFunc", func() (err error) {
		next, err = c.ssl.first.hello(ctx, hello)
		return err
	})
	return next, err
}

// receive waits for ciphertext, with reading held, or for the end of the wire.
func (c *Conn) receive() (got buffer, eof bool, err error) {
	got = newBuffer(c.bulk)
	n, err := c.wire.Read(got.b)
	c.bulk = n >= smallBuffer
	got.w = n
	if n > 0 {
		return got, false, nil // an error comes again
	}
	got.release()
	if err == io.EOF {
		return got, true, nil // what that means is for the machine to say
	}
	return got, false, err
}

// fill feeds the machine, which has taken all that it had.
func (c *Conn) fill() error {
	got, eof, err := c.receive()
	if err != nil {
		return err
	}
	if c.ssl.lock() != nil {
		got.release()
		return net.ErrClosed
	}
	defer c.ssl.h.mu.Unlock()
	c.ssl.feed(got, eof)
	return nil
}

// feed takes a buffer over, with the machine's lock held.
func (s *SSL) feed(got buffer, eof bool) {
	if !got.empty() {
		s.in = got
	}
	s.eof = s.eof || eof
}

// flush sends what the machine has made, with writing held. What the wire did
// not take stays first in line.
func (c *Conn) flush() error {
	if c.writeErr != nil {
		return c.writeErr
	}
	for !c.unsent.empty() || c.ssl.outgoing.Load() && c.ssl.takeOutput(&c.unsent) {
		n, err := c.wire.Write(c.unsent.bytes())
		c.unsent.take(n)
		if err != nil {
			if !isTimeout(err) {
				c.writeErr = err
				c.unsent.release()
			}
			return err
		}
	}
	return nil
}

// takeOutput moves ciphertext that is to be drained into b, which is empty.
func (s *SSL) takeOutput(b *buffer) bool {
	if s.lock() != nil {
		return false
	}
	defer s.h.mu.Unlock()
	return s.moveOutput(b)
}

// moveOutput is takeOutput with the machine's lock held.
func (s *SSL) moveOutput(b *buffer) bool {
	switch {
	case !s.out.empty():
		*b, s.out = s.out, buffer{}
	case s.spilled > 0:
		*b = newBuffer(true)
		b.w = s.h.p.drain(b.b)
		s.spilled -= b.w
	}
	s.noteOutput()
	return !b.empty()
}

// answer sends what reading made, the reply to a KeyUpdate for one, unless a
// writer is there: then that one looks again when it has done.
func (c *Conn) answer() {
	for c.ssl.outgoing.Load() && c.writing.tryLock() {
		err := c.flush()
		c.writing.unlock()
		if err != nil {
			return
		}
	}
}

func (c *Conn) unlockWriting() {
	c.writing.unlock()
	if !c.closing.Load() {
		c.answer()
	}
}

// Read decrypts into p. It returns [io.EOF] after the peer's close_notify,
// [io.ErrUnexpectedEOF] after the end of the wire without one, and
// [net.ErrClosed] after Close. A Read that a deadline cut can be repeated.
//
// It is SSL_read_ex.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	c.reading.lock()
	defer c.reading.unlock()
	for {
		if err := c.may(&c.readUntil); err != nil {
			return 0, err
		}
		var got buffer
		var eof bool
		if c.dry && len(p) > 0 {
			var err error
			if got, eof, err = c.receive(); err != nil {
				return 0, c.verdict(err)
			}
			if c.closing.Load() { // it is Close that has made the wire end
				got.release()
				return 0, net.ErrClosed
			}
		}
		n, w, dry, err := c.ssl.readForConn(p, got, eof)
		c.dry = dry
		c.answer()
		c.keepFresh()
		if n > 0 || w == WantNothing {
			return n, err
		}
	}
}

// readForConn is Read behind a feed, and says whether the next one needs
// another: one lock, one crossing.
func (s *SSL) readForConn(p []byte, got buffer, eof bool) (n int, w Want, dry bool, err error) {
	if s.lock() != nil {
		got.release()
		return 0, WantNothing, false, net.ErrClosed
	}
	defer s.h.mu.Unlock()
	s.feed(got, eof)
	n, w, err = s.read(p)
	if n > 0 {
		s.heard = true
	} else if err != nil {
		err = s.refusedLate(err)
	}
	return n, w, s.in.empty() && !s.pending && !s.eof && s.readErr == nil, err
}

// refusedLate explains an alert that a TLS 1.3 client meets at its first Read:
// the server looks at the client's certificate only when the client's handshake
// is over.
func (s *SSL) refusedLate(err error) error {
	var alert tls.AlertError
	if !s.client || s.heard || !errors.As(err, &alert) {
		return err
	}
	switch alert {
	case alertHandshakeFailure, alertBadCertificate, alertUnsupportedCertificate, alertCertificateRevoked,
		alertCertificateExpired, alertCertificateUnknown, alertUnknownCA, alertAccessDenied, alertCertificateRequired:
		return explain("the server has refused the client's certificate, "+
			"which a TLS 1.3 client hears only after its handshake", err)
	}
	return err
}

// Write seals p and sends it. On an error n says how much was sealed: with a
// deadline that has passed at the start it is 0, and what was sealed goes out
// before anything later.
//
// It is SSL_write_ex.
func (c *Conn) Write(p []byte) (n int, err error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	c.writing.lock()
	defer c.unlockWriting()
	for n < len(p) {
		if err := c.may(&c.writeUntil); err != nil {
			return n, err
		}
		if !c.unsent.empty() { // of a Write that a deadline cut
			if err := c.flush(); err != nil {
				return n, c.verdict(err)
			}
		}
		k, err := c.ssl.sealForConn(p[n:], &c.unsent)
		n += k
		sent := c.flush()
		if err != nil {
			return n, err
		}
		if sent != nil {
			return n, c.verdict(sent)
		}
	}
	return n, nil
}

// sealForConn is one act of writing, and takes what it made: one lock, one crossing.
func (s *SSL) sealForConn(p []byte, made *buffer) (int, error) {
	if s.lock() != nil {
		return 0, net.ErrClosed
	}
	defer s.h.mu.Unlock()
	n, err := s.seal(p)
	s.moveOutput(made)
	return n, err
}

// CloseWrite says close_notify: the peer reads [io.EOF], and this end can read
// on. The handshake must be done.
//
// It is SSL_shutdown.
func (c *Conn) CloseWrite() error {
	if c.missing() {
		return errNilConn
	}
	if c.closing.Load() {
		return net.ErrClosed
	}
	if !c.shaken.Load() {
		return errors.New("openssl: SSL_shutdown: CloseWrite before the handshake is done")
	}
	c.writing.lock()
	defer c.unlockWriting()
	if err := c.may(&c.writeUntil); err != nil {
		return err
	}
	if err := c.ssl.sayGoodbye(); err != nil {
		return err
	}
	return c.verdict(c.flush())
}

// sayGoodbye says close_notify once.
func (s *SSL) sayGoodbye() error {
	if s.lock() != nil {
		return net.ErrClosed
	}
	defer s.h.mu.Unlock()
	if s.saidBye {
		return nil
	}
	_, err := s.shutdown()
	return err
}

// Close ends the connection: blocked Reads and Writes return [net.ErrClosed] at
// once, what was sealed goes out, then close_notify, and the session stays
// resumable. A TLS 1.3 client that has read no session ticket yet goes on
// reading what the server has sent, up to 64 KiB, until the wire ends: closing
// a socket with unread bytes would destroy what was sent. All that takes 5
// seconds at most; then the wire is cut. Close is harmless twice. It is not for the
// ClientHello function, which its handshake waits for: return an error there.
//
// It is SSL_shutdown and SSL_free.
func (c *Conn) Close() error {
	if c.missing() {
		return errNilConn
	}
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return nil
	}
	c.closing.Store(true)
	if c.cancelHello != nil {
		c.cancelHello()
	}
	until := time.Now().Add(closeTimeout)
	c.wire.SetDeadline(time.Unix(1, 0)) // wakes whoever waits; they see closing
	c.mu.Unlock()

	if lockUntil(&c.writing, until) {
		c.goodbye(until)
		c.writing.unlock()
	}
	err := c.wire.Close()
	c.ssl.closeKept()
	return err
}

// lockUntil takes a lock, or gives up at a time.
func lockUntil(l *slot, until time.Time) bool {
	if l.tryLock() {
		return true
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	return lockUnless(l, timer.C)
}

// goodbye says what is left to say, with writing held.
func (c *Conn) goodbye(until time.Time) {
	defer c.unsent.release()
	if !c.shaken.Load() {
		return
	}
	c.wire.SetWriteDeadline(until)
	if c.ssl.sayGoodbye() != nil || c.flush() != nil {
		return
	}
	if half, ok := c.wire.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	if c.ssl.mayHaveUnreadTickets() && lockUntil(&c.reading, until) {
		c.wire.SetReadDeadline(until)
		io.CopyN(io.Discard, c.wire, lingerBytes)
		c.reading.unlock()
	}
}

func (s *SSL) mayHaveUnreadTickets() bool {
	if s.lock() != nil {
		return false
	}
	defer s.h.mu.Unlock()
	return s.client && !s.ticketed && s.readErr == nil && !s.eof && s.h.p.version() >= tls.VersionTLS13
}

// closeKept frees the machine and keeps the session of a connection that has
// not failed.
func (s *SSL) closeKept() {
	s.h.mu.Lock()
	if !s.h.closed() {
		if s.done && s.fatal == nil && !s.saidBye {
			s.h.p.keepSession()
		}
		s.storeForget()
	}
	s.h.mu.Unlock()
	s.Close()
}
