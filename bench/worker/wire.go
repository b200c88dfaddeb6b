package worker

import (
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sidctx/openssl"
)

// half is one direction of a buffered wire in memory. A write never waits.
type half struct {
	mu     sync.Mutex
	more   sync.Cond
	b      []byte
	r      int
	closed bool
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, net.ErrClosed
	}
	h.b = append(h.b, p...)
	h.more.Signal()
	return len(p), nil
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.r == len(h.b) {
		if h.closed {
			return 0, io.EOF
		}
		h.more.Wait()
	}
	n := copy(p, h.b[h.r:])
	if h.r += n; h.r == len(h.b) {
		h.b, h.r = h.b[:0], 0
	}
	return n, nil
}

func (h *half) close() {
	h.mu.Lock()
	h.closed = true
	h.more.Broadcast()
	h.mu.Unlock()
}

// end is one end of a wire. Its deadlines do nothing: no case needs them.
type end struct {
	noDeadlines
	in, out *half
}

func newWire() (near, far net.Conn) {
	a, b := new(half), new(half)
	a.more.L, b.more.L = &a.mu, &b.mu
	return &end{in: a, out: b}, &end{in: b, out: a}
}

func (e *end) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.write(p) }

func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

type noDeadlines struct{}

func (noDeadlines) LocalAddr() net.Addr              { return memory{} }
func (noDeadlines) RemoteAddr() net.Addr             { return memory{} }
func (noDeadlines) SetDeadline(time.Time) error      { return nil }
func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

type memory struct{}

func (memory) Network() string { return "memory" }
func (memory) String() string  { return "memory" }

// caller is a wire whose far end is a client that works whenever the server
// would have to wait: a handshake then costs no change of goroutines that the
// server does not cause itself.
type caller struct {
	noDeadlines
	mu       sync.Mutex
	more     sync.Cond
	toClient []byte
	toServer []byte
	client   *openssl.SSL
	done     bool // the client's handshake is
	err      error
	closed   bool
}

func newCaller(client *openssl.SSL) *caller {
	c := &caller{client: client}
	c.more.L = &c.mu
	return c
}

func (c *caller) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.toClient = append(c.toClient, p...)
	c.more.Signal()
	return len(p), nil
}

func (c *caller) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.toServer) == 0 {
		if c.closed {
			return 0, io.EOF
		}
		if c.step(); c.err != nil {
			return 0, c.err
		}
		if len(c.toServer) == 0 {
			c.more.Wait()
		}
	}
	n := copy(p, c.toServer)
	c.toServer = append(c.toServer[:0], c.toServer[n:]...)
	return n, nil
}

// step lets the client work on what the server has sent.
func (c *caller) step() {
	if _, err := c.client.Feed(c.toClient); err != nil {
		c.err = err
		return
	}
	c.toClient = c.toClient[:0]
	if !c.done {
		w, err := c.client.Handshake()
		c.err, c.done = err, err == nil && w == openssl.WantNothing
	}
	if n := c.client.Pending(); n > 0 {
		had := len(c.toServer)
		c.toServer = slices.Grow(c.toServer, n)[:had+n]
		c.client.Drain(c.toServer[had:])
	}
}

// finish waits until the client's handshake is done and, if tickets are to
// come, one has been read.
func (c *caller) finish(tickets bool) (*openssl.Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b [1]byte
	for {
		if len(c.toClient) > 0 || !c.done {
			c.step()
		}
		switch {
		case c.err != nil:
			return nil, c.err
		case c.done && !tickets:
			return nil, nil
		case c.done:
			if _, _, err := c.client.Read(b[:]); err != nil {
				return nil, err
			}
			if s, err := c.client.Session(); err == nil {
				return s, nil
			}
		}
		if len(c.toClient) == 0 {
			c.more.Wait()
		}
	}
}

func (c *caller) Close() error {
	c.mu.Lock()
	c.closed = true
	c.more.Broadcast()
	c.mu.Unlock()
	return nil
}
