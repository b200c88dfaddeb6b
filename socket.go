//go:build cgo

package openssl

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socket is a TCP connection whose descriptor is used itself, for what net.Conn has no method
// for: to wait for input without memory to read it into, and to write what is taken at once.
type socket struct {
	raw     syscall.RawConn // nil for other wires
	wire    *net.TCPConn
	tryRead func(fd uintptr) bool

	// Of a read, which the lock of the reading side covers.
	bulk bool
	got  buffer
	n    int
	err  error
}

// init leaves raw nil for what is no TCP connection, and for one that a type of the caller's
// embeds: its own methods must be called.
func (s *socket) init(wire net.Conn) {
	tcp, ok := wire.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		s.raw, s.wire, s.tryRead = raw, tcp, s.readOnce
	}
}

// readWire reads into a buffer that it takes, of a socket only when there is something.
func (c *Conn) readWire(got *buffer) (n int, err error) {
	if c.socket.raw != nil {
		return c.socket.read(c.bulk, got)
	}
	if got.b == nil {
		*got = newBuffer(c.bulk)
	}
	return c.wire.Read(got.b)
}

func (s *socket) read(bulk bool, got *buffer) (int, error) {
	s.bulk, s.got = bulk, buffer{}
	err := s.raw.Read(s.tryRead)
	var op *net.OpError
	switch {
	case errors.As(err, &op): // a deadline, or it is closed
		return 0, s.readError(op.Net, op.Err)
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.readError("tcp", os.NewSyscallError("read", s.err))
	case s.n == 0:
		return 0, io.EOF
	}
	*got, s.got = s.got, buffer{}
	return s.n, nil
}

// readError is an error as Read of a net.Conn has it.
func (s *socket) readError(network string, err error) error {
	return &net.OpError{Op: "read", Net: network, Source: s.wire.LocalAddr(), Addr: s.wire.RemoteAddr(), Err: err}
}

// readOnce is read(2), unless it would wait. It reports whether it has read.
func (s *socket) readOnce(fd uintptr) bool {
	s.got = newBuffer(s.bulk)
	for {
		s.n, s.err = syscall.Read(int(fd), s.got.b)
		switch s.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			s.got.release()
			return false
		}
		if s.n = max(s.n, 0); s.n == 0 {
			s.got.release()
		}
		return true
	}
}

// tryWrite is write(2), unless it would wait. What was not taken stays in b.
func (s *socket) tryWrite(b *buffer) {
	s.raw.Write(func(fd uintptr) bool {
		n, _ := syscall.Write(int(fd), b.bytes())
		b.take(max(n, 0))
		return true
	})
}
