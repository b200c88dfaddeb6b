//go:build cgo

package openssl

import (
	"context"
	"errors"
	"net"

	"github.com/sidctx/openssl/internal/libssl"
)

// Client makes the client's end of a TLS connection over wire, which it owns
// from then on. Say [Conn.SetServerName] before the handshake. On an error wire
// is the caller's still.
func Client(wire net.Conn, c *Ctx) (*Conn, error) {
	if err := c.requireClient(); err != nil {
		return nil, err
	}
	return newConn(wire, c)
}

func (c *Ctx) requireClient() error {
	if c != nil && c.server {
		return errors.New("openssl: a client needs a Ctx made by NewClientCtx, this one was made by NewServerCtx")
	}
	return nil
}

// Server makes the server's end of a TLS connection over wire, which it owns
// from then on. On an error wire is the caller's still.
func Server(wire net.Conn, c *Ctx) (*Conn, error) {
	if err := c.requireServer(); err != nil {
		return nil, err
	}
	return newConn(wire, c)
}

func (c *Ctx) requireServer() error {
	if c != nil && !c.server {
		return errors.New("openssl: a server needs a Ctx made by NewServerCtx, this one was made by NewClientCtx")
	}
	return nil
}

// NewListener accepts TLS connections from inner. Accept does not shake hands:
// the first Handshake, Read or Write of the [*Conn] that it returns does.
func NewListener(inner net.Listener, c *Ctx) net.Listener { return &listener{inner, c} }

type listener struct {
	net.Listener
	ctx *Ctx
}

func (l *listener) Accept() (net.Conn, error) {
	if l.Listener == nil {
		return nil, errNilListener
	}
	wire, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn, err := Server(wire, l.ctx)
	if err != nil {
		wire.Close()
		return nil, err
	}
	return conn, nil
}

func (l *listener) Close() error {
	if l.Listener == nil {
		return errNilListener
	}
	return l.Listener.Close()
}

func (l *listener) Addr() net.Addr {
	if l.Listener == nil {
		return nil
	}
	return l.Listener.Addr()
}

// Listen is [net.Listen] with TLS. A Ctx that cannot serve is an error here.
func Listen(network, addr string, c *Ctx) (net.Listener, error) {
	if err := c.requireServer(); err != nil {
		return nil, err
	}
	if err := c.use(func(p libssl.CTX) error { return c.ready(p.Settings()) }); err != nil {
		return nil, err
	}
	inner, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	return NewListener(inner, c), nil
}

// Dialer dials TLS connections. The zero value of every field but Ctx is
// useful. It may be used from any goroutine as long as nobody changes it.
type Dialer struct {
	NetDialer  *net.Dialer // nil for the zero Dialer; its Timeout and Deadline bound the handshake, too
	Ctx        *Ctx        // from NewClientCtx
	ServerName string      // to ask for and to verify; empty for the host of the address
	Session    *Session    // to offer; nil for none. It stays the caller's.
}

// DialContext connects and shakes hands; what it returns is a [*Conn].
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Dial connects to addr, verifies its host and shakes hands.
func Dial(network, addr string, c *Ctx) (*Conn, error) {
	return (&Dialer{Ctx: c}).dial(context.Background(), network, addr)
}

func (d *Dialer) dial(ctx context.Context, network, addr string) (*Conn, error) {
	switch {
	case d == nil:
		return nil, errors.New("openssl: DialContext was called on a nil Dialer")
	case d.Ctx == nil: // nothing is worth a connection then
		return nil, errNilCtx
	case ctx == nil:
		return nil, errNilContext
	}
	if err := d.Ctx.requireClient(); err != nil {
		return nil, err
	}
	dialer := d.NetDialer
	if dialer == nil {
		dialer = new(net.Dialer)
	}
	if dialer.Timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
	}
	if !dialer.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, dialer.Deadline)
		defer cancel()
	}
	wire, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn, err := Client(wire, d.Ctx)
	if err != nil {
		wire.Close()
		return nil, err
	}
	if err := d.call(ctx, conn, addr); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// call says whom and what a new connection is for, and shakes hands.
func (d *Dialer) call(ctx context.Context, conn *Conn, addr string) error {
	name := d.ServerName
	if name == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			name = host
		}
	}
	if name != "" { // without one the handshake says what is missing
		if err := conn.SetServerName(name); err != nil {
			return err
		}
	}
	if d.Session != nil {
		if err := conn.SetSession(d.Session); err != nil {
			return err
		}
	}
	return conn.HandshakeContext(ctx)
}
