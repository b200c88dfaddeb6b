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

	// These may be held across a wait, and are taken in this order. Functions of
	// the caller run with handshaking alone, which neither Close nor a finished
	// handshake waits for.
	handshaking slot // the handshake, until it is done
	reading     slot // the wire's reading side, and what feeds the machine
	writing     slot // the wire's writing side, unsent and writeErr

	unsent   buffer // sealed, and goes out before anything later
	writeErr error  // the wire's writing side is broken for good
	bulk     bool   // under reading: the last read was large, so the next buffer is
	dry      bool   // under reading: the machine has nothing to read from
	held     int    // under reading: bytes that reading has made and that were not sent

	shaken     atomic.Bool
	shakeErr   error        // under handshaking: why there will be no handshake any more
	storeAsked bool         // under handshaking
	answered   *helloAnswer // under handshaking: to the first ClientHello

	roomWanted atomic.Bool   // a Read waits until what it has made was sent
	room       chan struct{} // one token: it should look again

	readUntil, writeUntil deadline

	mu          sync.Mutex // guards what follows; not held across a wait
	closing     atomic.Bool
	cancelHello context.CancelFunc
	driver      side          // the call that works in both directions of the wire
	bounded     bool          // and its deadline stands for both
	changed     chan struct{} // closed by the next change of a deadline and by Close; nil if nobody waits
}

// side is a Read or a Write, by the deadline that it has.
type side int

const (
	neither side = iota
	reads
	writes
)

// maxHeld bounds what reading leaves unsent: answers to KeyUpdates, alerts.
// Beyond it Read takes nothing more from the peer.
const maxHeld = 16 << 10

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

func (d *deadline) isSet() bool { return d.at.Load() != 0 }

// time is zero for none.
func (d *deadline) time() time.Time {
	if at := d.at.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
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
		wire: wire,
		ssl:  s,

		handshaking: slot{wake: make(chan struct{}, 1)},
		reading:     slot{wake: make(chan struct{}, 1)},
		writing:     slot{wake: make(chan struct{}, 1)},
		room:        make(chan struct{}, 1),
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
	c.wakeLocked()
	if c.driver != neither {
		return c.boundLocked()
	}
	return set(c.wire, t)
}

// wakeLocked has those that wait for one of c's locks look at their deadline again.
func (c *Conn) wakeLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// boundLocked has the wire's deadlines be what was set, and for both directions
// that of the call which works in both.
func (c *Conn) boundLocked() error {
	read, write := c.readUntil.time(), c.writeUntil.time()
	c.bounded = c.driver != neither
	switch c.driver {
	case reads:
		write = earlier(write, read)
	case writes:
		read = earlier(read, write)
	}
	if err := c.wire.SetReadDeadline(read); err != nil {
		return err
	}
	return c.wire.SetWriteDeadline(write)
}

// earlier is the earlier of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// drive says that the call of that side begins to work in both directions of the
// wire, a Write that does the handshake for one, or with neither that it has ended.
func (c *Conn) drive(by side) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.driver = by
	if c.closing.Load() {
		return // Close has set the wire's deadlines
	}
	if c.bounded || by == reads && c.readUntil.isSet() || by == writes && c.writeUntil.isSet() {
		c.boundLocked()
	}
}

// wait waits until got has something to say, or with the reason why it must not
// go on: ctx has ended, the deadline of that side has passed, c is closed.
func (c *Conn) wait(ctx context.Context, got <-chan struct{}, by side) error {
	for {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		var passed <-chan time.Time
		if until := c.deadline(by); until != nil {
			if err := c.may(until); err != nil {
				return err
			}
			if until.isSet() {
				passed = time.After(time.Until(until.time()))
			}
		} else if c.closing.Load() {
			return net.ErrClosed
		}
		select {
		case <-got:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-passed:
		case <-changed:
		}
	}
}

// deadline is the one of a side, nil for neither.
func (c *Conn) deadline(by side) *deadline {
	switch by {
	case reads:
		return &c.readUntil
	case writes:
		return &c.writeUntil
	}
	return nil
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
// is final; libssl's reason and the peer's alert are in it. It waits for a
// handshake that another goroutine does, and for no Read or Write beyond that.
//
// It is SSL_do_handshake.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	switch {
	case c.missing():
		return errNilConn
	case ctx == nil:
		return errNilContext
	}
	return c.handshake(ctx, neither)
}

// handshake does the handshake for a Read, a Write or neither, and tells the
// session cache when no lock is held.
func (c *Conn) handshake(ctx context.Context, by side) error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case c.shaken.Load():
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done, err := c.handshakeOnce(ctx, by)
	switch {
	case !done:
	case err == nil:
		c.keepFresh()
	case !isTimeout(err):
		c.dropCached()
	}
	return c.verdict(err)
}

// handshakeOnce does what is left of the handshake, or waits for who does; done
// says that it was this call which went on with it.
func (c *Conn) handshakeOnce(ctx context.Context, by side) (done bool, err error) {
	if err := c.lockHandshake(ctx, by); err != nil {
		return false, err
	}
	defer c.handshaking.unlock()
	switch {
	case c.shaken.Load():
		return false, nil
	case c.closing.Load():
		return false, net.ErrClosed
	case c.shakeErr != nil:
		return false, c.shakeErr
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
	if by != neither {
		c.drive(by)
		defer c.drive(neither)
	}
	c.offerCached()
	err = c.shake(ctx)
	switch {
	case err == nil:
		c.shaken.Store(true)
	case !isTimeout(err):
		c.shakeErr = err
	}
	return true, err
}

// lockHandshake takes handshaking, unless there is a reason not to wait for it.
func (c *Conn) lockHandshake(ctx context.Context, by side) error {
	if c.handshaking.tryLock() {
		return nil
	}
	for !c.handshaking.tryWait() {
		if err := c.wait(ctx, c.handshaking.wake, by); err != nil {
			return err
		}
	}
	return nil
}

// shake drives the machine's handshake over the wire, with handshaking held.
func (c *Conn) shake(ctx context.Context) error {
	for {
		w, err := c.ssl.Handshake()
		if w == WantNothing && err == nil {
			c.storeMade() // before the client hears of them and comes back
		}
		sent := c.flushAlone()
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

// flushAlone is flush, which takes writing for it.
func (c *Conn) flushAlone() error {
	c.writing.lock()
	defer c.writing.unlock()
	return c.flush()
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
		c.flushAlone()
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
	defer s.unlock()
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
	c.reading.lock()
	defer c.reading.unlock()
	got, eof, err := c.receive()
	if err != nil {
		return err
	}
	if c.ssl.lock() != nil {
		got.release()
		return net.ErrClosed
	}
	defer c.ssl.unlock()
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
		c.wakeReader()
	}
	return nil
}

// wakeReader has a Read that waits for what it has made to be sent look again.
func (c *Conn) wakeReader() {
	if c.roomWanted.Load() {
		select {
		case c.room <- struct{}{}:
		default: // it has been told
		}
	}
}

// takeOutput moves ciphertext that is to be drained into b, which is empty.
func (s *SSL) takeOutput(b *buffer) bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
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
// writer is there: then that one looks again when it has done. It is called by a
// Read, whose deadline holds, or by a writer.
func (c *Conn) answer(by side) (err error) {
	for err == nil && c.ssl.outgoing.Load() && c.writing.tryLock() {
		if by == reads {
			c.drive(reads)
		}
		err = c.flush()
		if by == reads {
			c.drive(neither)
		}
		c.writing.unlock()
	}
	return err
}

func (c *Conn) unlockWriting() {
	c.writing.unlock()
	if !c.closing.Load() {
		c.answer(writes)
	}
	c.wakeReader()
}

// awaitRoom waits, with reading held, until no more than maxHeld bytes of what
// reading has made are unsent.
func (c *Conn) awaitRoom() error {
	if c.held <= maxHeld {
		return nil
	}
	c.roomWanted.Store(true)
	defer c.roomWanted.Store(false)
	for {
		err := c.answer(reads)
		if c.held = c.ssl.unsent(); c.held <= maxHeld {
			return nil
		}
		if err != nil { // it was this Read which could not send
			return c.verdict(err)
		}
		if err := c.wait(context.Background(), c.room, reads); err != nil {
			return err
		}
	}
}

// unsent is how many bytes wait to be drained.
func (s *SSL) unsent() int {
	if s.lock() != nil {
		return 0
	}
	defer s.unlock()
	return s.unsentLocked()
}

func (s *SSL) unsentLocked() int { return s.out.w - s.out.r + s.spilled }

// Read decrypts into p. It returns [io.EOF] after the peer's close_notify,
// [io.ErrUnexpectedEOF] after the end of the wire without one, and
// [net.ErrClosed] after Close. A Read that a deadline cut can be repeated.
// While more than 16 KiB of answers to the peer, to its KeyUpdates for one, could
// not be sent, Read takes nothing more from it.
//
// It is SSL_read_ex.
func (c *Conn) Read(p []byte) (int, error) {
	if c.missing() {
		return 0, errNilConn
	}
	if err := c.handshake(context.Background(), reads); err != nil {
		return 0, err
	}
	fresh := false
	n, err := c.read(p, &fresh)
	if fresh {
		c.keepFresh() // with reading released
	}
	return n, err
}

// read says in fresh whether a session has come for the session cache.
func (c *Conn) read(p []byte, fresh *bool) (int, error) {
	c.reading.lock()
	defer c.reading.unlock()
	for {
		if err := c.may(&c.readUntil); err != nil {
			return 0, err
		}
		if err := c.awaitRoom(); err != nil {
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
		r := c.ssl.readForConn(p, got, eof)
		c.dry, c.held, *fresh = r.dry, r.unsent, *fresh || r.fresh
		c.answer(reads)
		if r.n > 0 || r.want == WantNothing {
			return r.n, r.err
		}
	}
}

// connRead is what a Read has come to.
type connRead struct {
	n      int
	want   Want
	err    error
	dry    bool // the next one needs ciphertext
	fresh  bool // a session has come for the session cache
	unsent int  // bytes wait to be drained
}

// readForConn is Read behind a feed: one lock, one crossing.
func (s *SSL) readForConn(p []byte, got buffer, eof bool) (r connRead) {
	if s.lock() != nil {
		got.release()
		r.err = net.ErrClosed
		return r
	}
	defer s.unlock()
	s.feed(got, eof)
	r.n, r.want, r.err = s.read(p)
	if r.n > 0 {
		s.heard = true
	} else if r.err != nil {
		r.err = s.refusedLate(r.err)
	}
	r.dry = s.in.empty() && !s.pending && !s.eof && s.readErr == nil
	r.fresh = s.fresh && s.ctx.sessions != nil
	r.unsent = s.unsentLocked()
	return r
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
	if c.missing() {
		return 0, errNilConn
	}
	if err := c.handshake(context.Background(), writes); err != nil {
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
	defer s.unlock()
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
	defer s.unlock()
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
// seconds at most; then the wire is cut. Close is harmless twice. It does not wait
// for the caller's functions: a handshake that is in one of them ends with
// [net.ErrClosed] when that returns.
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
	c.wakeLocked()
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
	defer s.unlock()
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
