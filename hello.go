//go:build cgo

package openssl

import (
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sort"
	"sync"

	"github.com/sidctx/openssl/internal/wire"
)

// ClientHello holds what a client has sent in its first message. The function of
// [Ctx.SetClientHelloFunc] receives it, and may use it until it returns.
type ClientHello struct {
	ServerName        string   // the requested host in lower case, without a trailing dot; empty if there is none
	ALPNProtocols     []string // in the client's order
	SupportedVersions []uint16 // in the client's order, [crypto/tls.VersionTLS13] for instance
	CipherSuites      []uint16 // in the client's order
	Conn              net.Conn // the underlying connection, nil for a bare SSL; do not read from it or write to it

	ssl *SSL
	psk []byte // the body of pre_shared_key
}

// SetSessionIDContext sets a session id context for this connection alone, in time for
// the decision about resumption. It remains in force if the connection is switched to
// another Ctx. See [SSL.SetSessionIDContext].
func (h *ClientHello) SetSessionIDContext(sidCtx []byte) error {
	if h == nil || h.ssl == nil {
		return errNoHello
	}
	return h.ssl.SetSessionIDContext(sidCtx)
}

// Extensions of the ClientHello, by IANA's numbers.
const (
	extServerName        = 0
	extALPN              = 16
	extPSK               = 41
	extSupportedVersions = 43
)

// parseClientHello reads what osl_hello_copy wrote.
func parseClientHello(raw []byte, s *SSL) (*ClientHello, error) {
	p := wire.Reader{B: raw}
	h := &ClientHello{ssl: s}
	legacy := uint16(p.Uint(2))
	p.Bytes(2) // session id
	h.CipherSuites = uint16s(p.Bytes(2))
	for len(p.B) > 0 {
		kind := p.Uint(2)
		ext := wire.Reader{B: p.Bytes(2)}
		var err error
		switch kind {
		case extServerName:
			h.ServerName, err = parseServerName(ext)
		case extALPN:
			names := wire.Reader{B: ext.Bytes(2)}
			for len(names.B) > 0 && !names.Bad {
				h.ALPNProtocols = append(h.ALPNProtocols, string(names.Bytes(1)))
			}
			if names.Bad || !ext.Done() {
				err = malformed("ALPN", alertDecodeError)
			}
		case extPSK:
			h.psk = ext.B
		case extSupportedVersions:
			h.SupportedVersions = uint16s(ext.Bytes(1))
			if !ext.Done() {
				err = malformed("supported_versions", alertDecodeError)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if len(h.SupportedVersions) == 0 {
		for v := min(legacy, tls.VersionTLS12); v >= tls.VersionTLS10; v-- {
			h.SupportedVersions = append(h.SupportedVersions, v)
		}
	}
	return h, nil
}

func uint16s(b []byte) (v []uint16) {
	for ; len(b) >= 2; b = b[2:] {
		v = append(v, binary.BigEndian.Uint16(b))
	}
	return v
}

// Alerts, by IANA's numbers.
const (
	alertHandshakeFailure       tls.AlertError = 40
	alertBadCertificate         tls.AlertError = 42
	alertUnsupportedCertificate tls.AlertError = 43
	alertCertificateRevoked     tls.AlertError = 44
	alertCertificateExpired     tls.AlertError = 45
	alertCertificateUnknown     tls.AlertError = 46
	alertIllegalParameter       tls.AlertError = 47
	alertUnknownCA              tls.AlertError = 48
	alertAccessDenied           tls.AlertError = 49
	alertDecodeError            tls.AlertError = 50
	alertInternalError          tls.AlertError = 80
	alertCertificateRequired    tls.AlertError = 116
)

func malformed(what string, alert tls.AlertError) error {
	return fmt.Errorf("openssl: ClientHello: %s: malformed: %w", what, alert)
}

// parseServerName reads a list of exactly one host name.
func parseServerName(ext wire.Reader) (string, error) {
	const what = "server_name"
	list := wire.Reader{B: ext.Bytes(2)}
	kind := list.Uint(1)
	name := list.Bytes(2)
	if !ext.Done() || !list.Done() {
		return "", malformed(what, alertDecodeError)
	}
	if kind != 0 || len(name) == 0 || len(name) > 255 || bytes.IndexByte(name, 0) >= 0 {
		return "", malformed(what, alertIllegalParameter)
	}
	host, err := hostName(string(name))
	if err != nil {
		return "", fmt.Errorf("%w: %q is %v", malformed(what, alertIllegalParameter), name, err)
	}
	return host, nil
}

// answerHello asks the ClientHello function and follows its answer.
func (c *Conn) answerHello(ctx context.Context) error {
	c.handshakeErr = errNoAnswer // if the function never returns: libssl would go on without it
	err := c.switchCtx(ctx)
	if err == nil {
		err = c.ssl.sameHelloAnswer()
	}
	c.handshakeErr = err // also when it is a timeout of the function's own
	if err == nil {
		c.askStore(ctx)
		return nil
	}
	alert := alertInternalError
	errors.As(err, &alert)
	if c.ssl.Refuse(alert) == nil {
		c.ssl.Handshake() // makes the alert; why is in err
		c.lockAndFlush()
	}
	return err
}

// switchCtx asks the function for a Ctx and switches to that. Without a function the
// ClientHello is suspended for the store alone: it is libssl that judges the message.
func (c *Conn) switchCtx(ctx context.Context) error {
	if !c.ssl.asksHello() {
		return nil
	}
	hello, err := c.ssl.ClientHello()
	if err != nil {
		return err
	}
	hello.Conn = c.wire
	defer helloCalls.end(helloCalls.begin()) // until then what it returns is not freed
	next, err := c.askHello(ctx, hello)
	if err != nil || next == nil {
		return err
	}
	return c.ssl.SetCtx(next)
}

// helloCalls is the calls of ClientHello functions that are running, with the switch to
// the Ctx that they return.
var helloCalls runningCalls

type runningCalls struct {
	mu      sync.Mutex
	begun   uint64
	running list.List     // of the numbers of those calls, in order
	closed  []deferredCtx // in the order of Close
}

// deferredCtx is a closed Ctx that calls up to a number may still return.
type deferredCtx struct {
	c    *Ctx
	upTo uint64
}

func (r *runningCalls) begin() *list.Element {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	return r.running.PushBack(r.begun)
}

// end frees what was closed while the call ran, and no other call may return.
func (r *runningCalls) end(call *list.Element) {
	r.mu.Lock()
	r.running.Remove(call)
	n := len(r.closed)
	if oldest := r.running.Front(); oldest != nil {
		n = sort.Search(n, func(i int) bool { return r.closed[i].upTo >= oldest.Value.(uint64) })
	}
	free := r.closed[:n:n]
	r.closed = r.closed[n:]
	r.mu.Unlock()
	for _, d := range free {
		d.c.free()
	}
}

// defers reports whether c, which was closed, may still be returned by a call. Then it is
// freed when that ends.
func (r *runningCalls) defers(c *Ctx) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running.Len() == 0 {
		return false
	}
	r.closed = append(r.closed, deferredCtx{c, r.begun})
	return true
}

// askHello calls the function. Its context ends with the handshake's, and with Close.
func (c *Conn) askHello(ctx context.Context, hello *ClientHello) (*Ctx, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.cancelHello = cancel
	closing := c.closing.Load()
	c.mu.Unlock()
	if closing {
		return nil, net.ErrClosed
	}
	return c.ssl.askHello(ctx, hello)
}
