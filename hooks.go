//go:build cgo

package openssl

import (
	"errors"
	"net"

	"github.com/sidctx/openssl/internal/hooks"
	"github.com/sidctx/openssl/internal/libssl"
)

func init() {
	hooks.Watch = func(conn net.Conn, h *hooks.Conn) { conn.(*Conn).hooks = h }
	hooks.ALPN = func(hosts any) map[string][]string { return hosts.(*Hosts).alpn() }
}

// reportFailure calls the hook for a failed handshake, with no lock held.
func (c *Conn) reportFailure(err error) {
	if c.hooks == nil {
		return
	}
	var e *Error
	ok := errors.As(err, &e)
	c.hooks.HandshakeFailed(err, ok && e.has(libssl.SSL_R_HTTP_REQUEST))
}

// reportRead calls the hook for what a Read has come to, with no lock held.
func (c *Conn) reportRead(p []byte, n int, err error) (int, error) {
	if c.hooks != nil {
		if instead := c.hooks.Read(p[:n], err); instead != nil {
			return 0, instead
		}
	}
	return n, err
}
