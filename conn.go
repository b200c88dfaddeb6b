//go:build cgo

package openssl

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sidctx/openssl/internal/hooks"
)

// Conn is a TLS connection over a [net.Conn], which it owns. All methods may be called
// from any goroutine; Read and Write may run at the same time. A Conn starts no goroutine
// of its own before Close. The caller must close it.
type Conn struct {
	wire   net.Conn
	socket socket // of wire
	ssl    *SSL   // its lock is held for the length of an act, never across a wait

	// These may be held across a wait, and are taken in this order. Functions of
	// the caller run with handshaking alone, which neither Close nor a finished
	// handshake waits for.
	handshaking tryMutex // the handshake, until it is done
	reading     tryMutex // the wire's reading side, and what feeds the SSL
	writing     tryMutex // the wire's writing side, unsent and writeErr

	unsent    buffer // sealed, and goes out before anything later
	writeErr  error  // the wire's writing side is broken for good
	bulk      bool   // under reading: the last read was large, so the next buffer is
	needsRead bool   // under reading: the SSL has nothing to read from
	held      int    // under reading: bytes that reading has made and that were not sent

	handshakeDone atomic.Bool
	handshakeErr  error // under handshaking: why there will be no handshake any more
	verdict       bool  // under handshaking: it is of the machine
	storeAsked    bool  // under handshaking

	sentWanted atomic.Bool   // a Read waits until what it has made was sent
	room       chan struct{} // one token: it should look again

	readUntil, writeUntil deadline

	hooks *hooks.Conn // of package httpx, or nil; final before the first use

	mu          sync.Mutex // guards what follows; not held across a wait
	closing     atomic.Bool
	cancelHello context.CancelFunc
	driver      side          // the call that works in both directions of the wire
	bounded     bool          // and its deadline stands for both
	changed     chan struct{} // closed by the next change of a deadline and by Close; nil if no goroutine waits
}

// maxEmptyReads is how many Reads of the wire in a row may return nothing.
const maxEmptyReads = 100

// maxHeld bounds what reading leaves unsent: answers to KeyUpdates, alerts.
// Beyond it Read takes nothing more from the peer.
const maxHeld = 16 << 10

func newConn(wire net.Conn, c *Ctx) (*Conn, error) {
	if wire == nil {
		return nil, errNilWire
	}
	s, err := NewSSL(c)
	if err != nil {
		return nil, err
	}
	conn := &Conn{
		wire: wire,
		ssl:  s,
		room: make(chan struct{}, 1),
	}
	conn.socket.init(wire)
	return conn, nil
}

// missing reports whether c is nil or was not made by a constructor.
func (c *Conn) missing() bool { return c == nil || c.ssl == nil }

// SetSessionIDContext sets a session id context for this connection alone. It must be
// called before the handshake. See [SSL.SetSessionIDContext].
//
// It is SSL_set_session_id_context.
func (c *Conn) SetSessionIDContext(sidCtx []byte) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetSessionIDContext(sidCtx)
}

// SetSession makes a client offer a session in its handshake. It must be called before
// the handshake. See [SSL.SetSession].
//
// It is SSL_set_session.
func (c *Conn) SetSession(sess *Session) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetSession(sess)
}

// SetServerName sets the name of the server that a client connects to. It must be called
// before the handshake. See [SSL.SetServerName].
//
// It is SSL_set_tlsext_host_name and X509_VERIFY_PARAM_set1_host.
func (c *Conn) SetServerName(name string) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.SetServerName(name)
}

// ConnectionState returns the present state of the connection. It never starts a
// handshake. The state of a closed Conn is empty.
func (c *Conn) ConnectionState() ConnectionState {
	if c.missing() {
		return ConnectionState{}
	}
	return c.ssl.ConnectionState()
}

// Session returns the newest resumable session, which the caller must close. See
// [SSL.Session].
//
// It is SSL_get1_session.
func (c *Conn) Session() (*Session, error) {
	if c.missing() {
		return nil, errNilConn
	}
	return c.ssl.Session()
}

// ExportKeyingMaterial returns keying material that both ends derive from the connection.
// See [SSL.ExportKeyingMaterial].
//
// It is SSL_export_keying_material.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if c.missing() {
		return nil, errNilConn
	}
	return c.ssl.ExportKeyingMaterial(label, context, length)
}

// Finished returns the Finished messages that this end and the peer have sent. See
// [SSL.Finished].
//
// It is SSL_get_finished and SSL_get_peer_finished.
func (c *Conn) Finished() (local, peer []byte, err error) {
	if c.missing() {
		return nil, nil, errNilConn
	}
	return c.ssl.Finished()
}

// NetConn returns the underlying connection. Reading from it or writing to it breaks the
// TLS connection.
func (c *Conn) NetConn() net.Conn {
	if c.missing() {
		return nil
	}
	return c.wire
}

// LocalAddr returns the local address of the underlying connection.
func (c *Conn) LocalAddr() net.Addr {
	if c.missing() {
		return nil
	}
	return c.wire.LocalAddr()
}

// RemoteAddr returns the remote address of the underlying connection.
func (c *Conn) RemoteAddr() net.Addr {
	if c.missing() {
		return nil
	}
	return c.wire.RemoteAddr()
}

// mapError returns net.ErrClosed for errors that Close itself caused.
func (c *Conn) mapError(err error) error {
	if err != nil && c.closing.Load() {
		return net.ErrClosed
	}
	return err
}

// checkOpen returns an error if a Read or Write must not begin.
func (c *Conn) checkOpen(until *deadline) error {
	switch {
	case c.closing.Load():
		return net.ErrClosed
	case until.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Handshake calls HandshakeContext with [context.Background].
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext performs the handshake unless it is complete. The first Read or Write
// also performs it. If another goroutine is performing the handshake, HandshakeContext
// waits for that, but not for a Read or Write beyond it.
//
// If ctx ends first, the underlying connection is closed and ctx.Err is returned. A
// handshake that a deadline has interrupted can be continued after a new deadline was
// set, and one that failed before a client's first byte, without a server name for
// instance, can be begun again. Any other failure is final; the error holds libssl's
// reason, or the peer's alert.
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
	case c.handshakeDone.Load():
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ended, err := c.handshakeOnce(ctx, by)
	switch {
	case !ended:
	case err == nil:
		c.cacheNewSessions()
	default:
		c.dropCachedSession()
	}
	if err = c.mapError(err); err != nil {
		c.reportFailure(err)
	}
	return err
}

// handshakeOnce does what is left of the handshake, or waits for the call that does;
// ended reports whether it was this call that has brought it to its end, good or bad.
func (c *Conn) handshakeOnce(ctx context.Context, by side) (ended bool, err error) {
	if err := c.lock(ctx, &c.handshaking, by); err != nil {
		return false, err
	}
	defer c.handshaking.unlock()
	switch {
	case c.handshakeDone.Load():
		return false, nil
	case c.closing.Load():
		return false, net.ErrClosed
	case c.handshakeErr != nil && c.verdict:
		return false, again(c.handshakeErr)
	case c.handshakeErr != nil:
		return false, c.handshakeErr
	case ctx.Err() != nil: // while it waited: the wire is not its to close
		return false, ctx.Err()
	}
	err = c.boundHandshake(ctx, by)
	switch {
	case err == nil && c.closing.Load(): // what was left to send has not been sent
		return false, net.ErrClosed
	case err == nil:
		c.handshakeDone.Store(true)
	case !isTimeout(err) && c.ssl.hasBegun():
		c.handshakeErr = err
	}
	return err == nil || c.handshakeErr != nil, err
}

// boundHandshake is runHandshake within the bounds of the call that does it. When it
// returns neither the call's deadline nor its context has an effect on the wire any more.
func (c *Conn) boundHandshake(ctx context.Context, by side) (err error) {
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.wire.Close() })
		defer func() {
			if !stop() {
				c.handshakeErr = ctx.Err() // also when it is a timeout
				err = c.handshakeErr
			}
		}()
	}
	if by != neither {
		c.drive(by)
		defer c.drive(neither)
	}
	c.offerCachedSession()
	return c.runHandshake(ctx, by)
}

// runHandshake drives the SSL's handshake over the wire, with handshaking held.
func (c *Conn) runHandshake(ctx context.Context, by side) error {
	for {
		slot, err := c.takeSlot(ctx, by)
		if err != nil {
			return err
		}
		w, err := c.ssl.handshake(slot)
		if w == WantNothing && err == nil {
			c.storeNewSessions() // before the client receives them and offers one
			if by == writes && c.ssl.ticketsRemain() {
				return nil // they go out with what is to be written
			}
		}
		sent := c.lockAndFlush()
		switch {
		case err != nil:
			c.verdict = true
			return err // libssl's error comes before the transport's
		case w == WantNothing && sent != nil && c.ssl.ticketsRemain():
			return nil // they are sent later, or the client has gone
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

// lockAndFlush is flush, which takes writing for it.
func (c *Conn) lockAndFlush() error {
	c.writing.lock()
	defer c.writing.unlock()
	return c.flush()
}

// receive waits for ciphertext, with reading held, or for the end of the wire.
func (c *Conn) receive() (got buffer, eof bool, err error) {
	n := 0
	for range maxEmptyReads {
		if n, err = c.readWire(&got); n != 0 || err != nil {
			break
		}
		err = io.ErrNoProgress
	}
	c.bulk = n > 0 && n == len(got.b) // else nothing is left, and the next Read may wait for long
	if got.w = n; n > 0 {
		return got, false, nil // an error comes again
	}
	got.release()
	if err == io.EOF {
		return got, true, nil // what that means is for the SSL to decide
	}
	return got, false, err
}

// fill feeds the SSL, which has taken all that it had.
func (c *Conn) fill() error {
	c.reading.lock()
	defer c.reading.unlock()
	got, eof, err := c.receive()
	if err != nil {
		return err
	}
	if !c.ssl.feed(got, eof) {
		return net.ErrClosed
	}
	return nil
}

// flush sends what the SSL has made, with writing held. What the wire did
// not take stays first in line.
func (c *Conn) flush() error {
	if c.writeErr != nil {
		return c.writeErr
	}
	for !c.unsent.empty() || c.takeOutput() {
		n, err := c.wire.Write(c.unsent.bytes())
		if n <= 0 && err == nil {
			err = io.ErrNoProgress
		}
		c.unsent.take(max(n, 0))
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

// takeOutput takes ciphertext to be sent next.
func (c *Conn) takeOutput() bool {
	if !c.ssl.takeOutput(&c.unsent) {
		return false
	}
	c.wakeReader()
	return true
}

// wakeReader has a Read that waits for what it has made to be sent look again: some
// was taken to be sent, or no other call does that now.
func (c *Conn) wakeReader() {
	if c.sentWanted.Load() {
		select {
		case c.room <- struct{}{}:
		default: // it has been notified
		}
	}
}

// sendAnswers sends what reading made, the reply to a KeyUpdate for one, unless a
// writer is there: then that one looks again when it has done. It is called by a
// Read, whose deadline holds, or by a writer.
func (c *Conn) sendAnswers(by side) (err error) {
	for err == nil && c.ssl.hasOutput.Load() && c.writing.tryLock() {
		if by == answers {
			c.drive(answers)
		}
		err = c.flush()
		if by == answers {
			c.drive(neither)
		}
		c.writing.unlock()
	}
	return err
}

func (c *Conn) unlockWriting() {
	c.writing.unlock()
	if !c.closing.Load() {
		c.sendAnswers(writes)
	}
	c.wakeReader()
}

// awaitSent waits, with reading held, until no more than maxHeld bytes of what
// reading has made are unsent. Where the write deadline has passed it waits for
// another one, or for its own to pass.
func (c *Conn) awaitSent() error {
	if c.held <= maxHeld {
		return nil
	}
	c.sentWanted.Store(true)
	defer c.sentWanted.Store(false)
	for {
		err := c.sendAnswers(answers)
		if c.held = c.ssl.unsent(); c.held <= maxHeld {
			return nil
		}
		if err != nil && !(isTimeout(err) && c.writeUntil.passed()) {
			return c.mapError(err) // it was this Read that could not send
		}
		if err := c.wait(context.Background(), c.room, reads); err != nil {
			return err
		}
	}
}

// Read decrypts data into p. It performs the handshake first. It returns [io.EOF] after
// the peer's close_notify, [io.ErrUnexpectedEOF] if the underlying connection ends without
// one, and [net.ErrClosed] after Close. After a deadline was exceeded, Read may be called
// again with a new one. After [io.ErrUnexpectedEOF] Write goes on. While more than 16 KiB of
// answers to the peer could not be sent, Read takes nothing more from it; more than 16
// KeyUpdates without data between them end the connection.
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
		c.cacheNewSessions() // with reading released
	}
	return c.reportRead(p, n, err)
}

// read reports in fresh whether a session has come for the session cache.
func (c *Conn) read(p []byte, fresh *bool) (int, error) {
	if err := c.lock(context.Background(), &c.reading, reads); err != nil {
		return 0, err
	}
	defer c.reading.unlock()
	for {
		if err := c.checkOpen(&c.readUntil); err != nil {
			return 0, err
		}
		if len(p) > 0 {
			if err := c.awaitSent(); err != nil {
				return 0, err
			}
		}
		var got buffer
		var eof bool
		if c.needsRead && len(p) > 0 {
			var err error
			if got, eof, err = c.receive(); err != nil {
				return 0, c.mapError(err)
			}
			if c.closing.Load() { // it is Close that has made the wire end
				got.release()
				return 0, net.ErrClosed
			}
		}
		r := c.ssl.readForConn(p, got, eof)
		c.needsRead, c.held, *fresh = r.needsRead, r.unsent, *fresh || r.newSession
		c.sendAnswers(answers)
		if r.n > 0 || r.want == WantNothing {
			return r.n, r.err
		}
	}
}

// Write encrypts p and sends it. It performs the handshake first. On an error n bytes of
// p were encrypted; they are sent before anything that is written later. If the deadline
// had been exceeded before Write was called, n is 0.
//
// It is SSL_write_ex.
func (c *Conn) Write(p []byte) (n int, err error) {
	if c.missing() {
		return 0, errNilConn
	}
	if err := c.handshake(context.Background(), writes); err != nil {
		return 0, err
	}
	if err := c.lock(context.Background(), &c.writing, writes); err != nil {
		return 0, err
	}
	defer c.unlockWriting()
	for n < len(p) {
		if err := c.checkOpen(&c.writeUntil); err != nil {
			return n, err
		}
		if !c.unsent.empty() { // of a Write that a deadline cut
			if err := c.flush(); err != nil {
				return n, c.mapError(err)
			}
		}
		k, err := c.ssl.encryptForConn(p[n:], &c.unsent)
		c.wakeReader()
		n += k
		sent := c.flush()
		if err != nil {
			return n, err
		}
		if sent != nil {
			return n, c.mapError(sent)
		}
	}
	return n, nil
}

// CloseWrite sends close_notify: the peer reads [io.EOF], and this end can continue to
// read. It returns an error if the handshake is not complete.
//
// It is SSL_shutdown.
func (c *Conn) CloseWrite() error {
	if c.missing() {
		return errNilConn
	}
	if c.closing.Load() {
		return net.ErrClosed
	}
	if !c.handshakeDone.Load() {
		return errors.New("openssl: SSL_shutdown: CloseWrite before the handshake is done")
	}
	if err := c.lock(context.Background(), &c.writing, writes); err != nil {
		return err
	}
	defer c.unlockWriting()
	if err := c.checkOpen(&c.writeUntil); err != nil {
		return err
	}
	if err := c.ssl.sendCloseNotify(); err != nil {
		return err
	}
	return c.mapError(c.flush())
}
