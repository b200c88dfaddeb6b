//go:build cgo

package openssl_test

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// wire is one end of a connection in memory that behaves like a socket: bytes
// wait in a buffer of fixed size, deadlines wake whoever waits, and each half
// closes by itself. Reading and writing allocate nothing, and waiting is done
// in ways that testing/synctest knows.
type wire struct {
	in, out *stream

	reads, writes atomic.Int64 // calls
	refuse        atomic.Bool  // every later Write fails
}

// stream is one direction.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	ring     []byte
	start, n int

	ended bool // the writing end has closed its half
	gone  bool // the reading end has closed

	readLimit, writeLimit limit
}

// limit is a deadline of one end of a stream.
type limit struct {
	passed bool
	timer  *time.Timer
}

// wirePair is the two ends of a connection that holds capacity bytes each way.
func wirePair(capacity int) (near, far *wire) {
	there, back := newStream(capacity), newStream(capacity)
	return &wire{in: back, out: there}, &wire{in: there, out: back}
}

func newStream(capacity int) *stream {
	s := &stream{ring: make([]byte, capacity)}
	s.changed.L = &s.mu
	return s
}

// Read waits for at least one byte.
func (w *wire) Read(p []byte) (n int, err error) {
	w.reads.Add(1)
	s := w.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.gone:
			return 0, net.ErrClosed
		case s.readLimit.passed:
			return 0, os.ErrDeadlineExceeded
		case s.n > 0 || len(p) == 0:
			for s.n > 0 && n < len(p) {
				k := copy(p[n:], s.ring[s.start:min(s.start+s.n, len(s.ring))])
				s.start = (s.start + k) % len(s.ring)
				s.n -= k
				n += k
			}
			s.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

// Write waits until the buffer has taken all of p.
func (w *wire) Write(p []byte) (n int, err error) {
	w.writes.Add(1)
	s := w.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.writeLimit.passed:
			return n, os.ErrDeadlineExceeded
		case s.gone || w.refuse.Load():
			return n, syscall.EPIPE
		}
		for s.n < len(s.ring) && n < len(p) {
			end := (s.start + s.n) % len(s.ring)
			k := copy(s.ring[end:min(end+len(s.ring)-s.n, len(s.ring))], p[n:])
			s.n += k
			n += k
			s.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		s.changed.Wait()
	}
}

// CloseWrite lets the other end read io.EOF behind what was written.
func (w *wire) CloseWrite() error {
	w.out.change(func() { w.out.ended = true })
	return nil
}

// CloseRead fails every Write of the other end, those that wait, too.
func (w *wire) CloseRead() error {
	w.in.change(func() { w.in.gone = true })
	return nil
}

// Close closes both halves; what was written can still be read at the other end.
func (w *wire) Close() error {
	w.CloseWrite()
	w.CloseRead()
	w.SetDeadline(time.Time{}) // no timer outlives the connection
	return nil
}

// waiting is how many bytes the other end has written and this one has not read.
func (w *wire) waiting() int {
	s := w.in
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.changed.Broadcast()
}

func (w *wire) SetDeadline(t time.Time) error {
	w.SetReadDeadline(t)
	return w.SetWriteDeadline(t)
}

func (w *wire) SetReadDeadline(t time.Time) error {
	w.in.change(func() { w.in.readLimit.set(w.in, t) })
	return nil
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	w.out.change(func() { w.out.writeLimit.set(w.out, t) })
	return nil
}

// set is called with s.mu held.
func (l *limit) set(s *stream, t time.Time) {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.passed = !t.IsZero() && !time.Now().Before(t)
	if t.IsZero() || l.passed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		s.change(func() {
			if l.timer == timer { // not another deadline's by now
				l.passed = true
			}
		})
	})
	l.timer = timer
}

func (w *wire) LocalAddr() net.Addr  { return wireAddr{} }
func (w *wire) RemoteAddr() net.Addr { return wireAddr{} }

type wireAddr struct{}

func (wireAddr) Network() string { return "memory" }
func (wireAddr) String() string  { return "wire" }

// wireConns is a pair of connections over a wire that holds capacity bytes each
// way, with their wires; both are closed with the test, the server's first.
func wireConns(t testing.TB, client, server *openssl.Ctx, capacity int) (c, s *openssl.Conn, near, far *wire) {
	t.Helper()
	near, far = wirePair(capacity)
	c, s = connsOver(t, client, server, near, far)
	return c, s, near, far
}

// connsOver is a pair of connections over the two ends of a wire.
func connsOver(t testing.TB, client, server *openssl.Ctx, near, far net.Conn) (c, s *openssl.Conn) {
	t.Helper()
	c, err := openssl.Client(near, client)
	must(t, err)
	s, err = openssl.Server(far, server)
	must(t, err)
	must(t, c.SetServerName("server.test"))
	t.Cleanup(func() {
		s.Close()
		c.Close()
	})
	return c, s
}

// mustHandshake shakes hands on both ends.
func mustHandshake(t testing.TB, c, s *openssl.Conn) {
	t.Helper()
	if clientErr, serverErr := both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
}
