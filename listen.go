//go:build cgo

package openssl

import (
	"context"
	"errors"
	"net"
)

// Client returns the client end of a TLS connection over wire. The Conn owns wire; if
// Client returns an error, wire remains the caller's. Call [Conn.SetServerName] before
// the handshake. c must come from [NewClientCtx].
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

// Server returns the server end of a TLS connection over wire. The Conn owns wire; if
// Server returns an error, wire remains the caller's. c must come from [NewServerCtx].
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

// NewListener returns a listener that accepts TLS connections from inner. Its Accept
// returns a [*Conn] and does not perform the handshake: the first Handshake, Read or Write
// of the Conn does. The listener owns inner; c remains the caller's.
//
// If a connection cannot be made, because memory has run out for instance, Accept closes
// the underlying connection and waits for the next one. It returns an error if inner does,
// and when the first client comes if c can never serve: if c is nil, closed, not a
// server's, or not completely configured. Close the listener before c: once c is closed
// Accept returns an error that wraps [net.ErrClosed], as it does of a closed listener.
func NewListener(inner net.Listener, c *Ctx) net.Listener { return &listener{inner, c} }

type listener struct {
	net.Listener
	ctx *Ctx
}

func (l *listener) Accept() (net.Conn, error) {
	if l.Listener == nil {
		return nil, errNilListener
	}
	for {
		wire, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if wire == nil {
			return nil, errNilWire
		}
		conn, err := Server(wire, l.ctx)
		if err == nil {
			return conn, nil
		}
		wire.Close()
		if !l.ctx.canServe() {
			return nil, err
		}
	}
}

// canServe reports whether connections can be made from c: what fails all the same
// concerns one connection.
func (c *Ctx) canServe() bool {
	if c.lock() != nil {
		return false
	}
	defer c.h.Mu.Unlock()
	return c.server && c.frozen
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

// Listen is like [net.Listen], but the listener accepts TLS connections as that of
// [NewListener] does. It first makes an SSL from c and closes it, which freezes c as a first
// connection would. If that fails because c is not completely configured, Listen returns the
// error, and c can still be changed. If the address cannot be listened on, c is frozen.
func Listen(network, addr string, c *Ctx) (net.Listener, error) {
	if err := c.requireServer(); err != nil {
		return nil, err
	}
	trial, err := NewSSL(c)
	if err != nil {
		return nil, err
	}
	trial.Close()
	inner, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	return NewListener(inner, c), nil
}

// Dialer dials TLS connections. Ctx must be set; the zero values of the other fields are
// ready to use. A Dialer may be used by many goroutines at once if it is not modified.
type Dialer struct {
	NetDialer  *net.Dialer // nil means the zero net.Dialer; its Timeout and Deadline also limit the handshake
	Ctx        *Ctx        // made by NewClientCtx
	ServerName string      // the name to request and to verify; empty means the host of the address
	Session    *Session    // the session to offer, or nil; it remains the caller's
}

// DialContext connects to addr and performs the handshake. The net.Conn that it returns
// is a [*Conn], which the caller must close. If ctx ends before the handshake is complete,
// DialContext returns an error and closes the connection.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Dial connects to addr, performs the handshake and verifies the server's certificate for
// the host of addr, as configured by c. The caller must close the Conn.
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

// call sets the name and the session of a new connection and performs the handshake.
func (d *Dialer) call(ctx context.Context, conn *Conn, addr string) error {
	name := d.ServerName
	if name == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			name = host
		}
	}
	if name != "" { // without one the handshake returns an error
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
