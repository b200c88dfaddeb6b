//go:build cgo

package tlstest

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Wire is one end of a connection in memory that behaves like a socket: bytes
// wait in a buffer of fixed size, deadlines wake calls that wait, and each half
// closes by itself. Reading and writing allocate nothing, and waiting is done
// in ways that testing/synctest knows.
type Wire struct {
	in, out *stream

	Reads, Writes atomic.Int64 // calls
	Refuse        atomic.Bool  // every later Write fails
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

// WirePair is the two ends of a connection that holds capacity bytes each way.
func WirePair(capacity int) (near, far *Wire) {
	there, back := newStream(capacity), newStream(capacity)
	return &Wire{in: back, out: there}, &Wire{in: there, out: back}
}

func newStream(capacity int) *stream {
	s := &stream{ring: make([]byte, capacity)}
	s.changed.L = &s.mu
	return s
}

// Read waits for at least one byte.
func (w *Wire) Read(p []byte) (n int, err error) {
	w.Reads.Add(1)
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
func (w *Wire) Write(p []byte) (n int, err error) {
	w.Writes.Add(1)
	s := w.out
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.writeLimit.passed:
			return n, os.ErrDeadlineExceeded
		case s.gone || w.Refuse.Load():
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
func (w *Wire) CloseWrite() error {
	w.out.change(func() { w.out.ended = true })
	return nil
}

// CloseRead fails every Write of the other end, those that wait, too.
func (w *Wire) CloseRead() error {
	w.in.change(func() { w.in.gone = true })
	return nil
}

// Close closes both halves; what was written can still be read at the other end.
func (w *Wire) Close() error {
	w.CloseWrite()
	w.CloseRead()
	w.SetDeadline(time.Time{}) // no timer outlives the connection
	return nil
}

// Waiting is how many bytes the other end has written and this one has not read.
func (w *Wire) Waiting() int {
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

func (w *Wire) SetDeadline(t time.Time) error {
	w.SetReadDeadline(t)
	return w.SetWriteDeadline(t)
}

func (w *Wire) SetReadDeadline(t time.Time) error {
	w.in.change(func() { w.in.readLimit.set(w.in, t) })
	return nil
}

func (w *Wire) SetWriteDeadline(t time.Time) error {
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

func (w *Wire) LocalAddr() net.Addr  { return wireAddr{} }
func (w *Wire) RemoteAddr() net.Addr { return wireAddr{} }

type wireAddr struct{}

func (wireAddr) Network() string { return "memory" }
func (wireAddr) String() string  { return "wire" }
