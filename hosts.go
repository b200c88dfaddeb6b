//go:build cgo

package openssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// Hosts chooses the Ctx of a connection by the server name of its ClientHello.
// Give its Route to [Ctx.SetClientHelloFunc] of the listener's Ctx. It is strict:
// a name that nobody has added is refused, and so are two hosts whose sessions
// could meet although their policies differ. Add what there is before the first
// connection, or at any time; all methods may be called from any goroutine.
type Hosts struct {
	mu       sync.RWMutex
	exact    map[string]*Ctx
	wildcard map[string]*Ctx // by what follows "*."
	fallback *Ctx
}

// NewHosts is an empty router.
func NewHosts() *Hosts {
	return &Hosts{exact: make(map[string]*Ctx), wildcard: make(map[string]*Ctx)}
}

// Add routes a name to c, which freezes. "*.example.com" stands for every name
// with one more label, unless a name is added itself. It is an error to add a
// pattern twice; to add a Ctx with a setting that counts on the listener's only,
// SetSessionTimeout for one; or one that shares its session id context with
// another that differs in certificates, CAs, verify mode or depth, ALPN or
// versions.
func (h *Hosts) Add(pattern string, c *Ctx) error {
	name, isWildcard := strings.CutPrefix(pattern, "*.")
	name, err := NormalizeHost(name)
	if err != nil {
		return fmt.Errorf("openssl: Hosts.Add: %q: %w", pattern, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	names := h.exact
	if isWildcard {
		names = h.wildcard
	}
	if names[name] != nil {
		return fmt.Errorf("openssl: Hosts.Add: %q has been added before", pattern)
	}
	if err := h.admit(c); err != nil {
		return fmt.Errorf("openssl: Hosts.Add: %q: %w", pattern, err)
	}
	names[name] = c
	return nil
}

// SetDefault routes to c what has no server name and what nobody has added.
// Without one such connections are refused with unrecognized_name. Choose the
// strictest policy, or one that serves nothing.
func (h *Hosts) SetDefault(c *Ctx) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admit(c); err != nil {
		return fmt.Errorf("openssl: Hosts.SetDefault: %w", err)
	}
	h.fallback = c
	return nil
}

// admit freezes c and holds it against the others.
func (h *Hosts) admit(c *Ctx) error {
	if err := c.mustServe(); err != nil {
		return err
	}
	err := c.use(func(p ctxPtr) error {
		if !p.facts().hasCertificate {
			return errors.New("openssl: a host needs a certificate: UseCertificate")
		}
		if err := c.freeze(p); err != nil {
			return err
		}
		return c.mayBeRouted()
	})
	if err != nil {
		return err
	}
	for _, other := range h.all() {
		if other != c && other.sharesSessions(c) {
			return errors.New("openssl: it shares its session id context with a host of another policy: " +
				"sessions of one would be resumed at the other; see DeriveSessionIDContext")
		}
	}
	return nil
}

// sharesSessions says whether sessions of one would be resumed at the other
// although their policies differ.
func (c *Ctx) sharesSessions(other *Ctx) bool {
	return bytes.Equal(c.SessionIDContext(), other.SessionIDContext()) && !bytes.Equal(c.policy, other.policy)
}

func (h *Hosts) all() []*Ctx {
	var all []*Ctx
	for _, c := range h.exact {
		all = append(all, c)
	}
	for _, c := range h.wildcard {
		all = append(all, c)
	}
	if h.fallback != nil {
		all = append(all, h.fallback)
	}
	return all
}

// alertUnrecognizedName refuses a name that is not served.
const alertUnrecognizedName tls.AlertError = 112

// Route is the function for [Ctx.SetClientHelloFunc].
func (h *Hosts) Route(_ context.Context, hello *ClientHello) (*Ctx, error) {
	if c := h.Lookup(hello.ServerName); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("openssl: no host serves %q: %w", hello.ServerName, alertUnrecognizedName)
}

// Lookup is the Ctx that serves a name, the default included; nil for none. The
// name may be that of an HTTP request, with a port.
func (h *Hosts) Lookup(name string) *Ctx {
	h.mu.RLock()
	defer h.mu.RUnlock()
	name, err := NormalizeHost(name)
	if err != nil {
		return h.fallback
	}
	if c := h.exact[name]; c != nil {
		return c
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if c := h.wildcard[parent]; c != nil {
			return c
		}
	}
	return h.fallback
}

// Serves says whether requests for name may be answered over conn: whether the
// Ctx that conn was made with is the one that serves name, or one of the same
// policy and session id context, before its certificate was renewed for one. If
// not, HTTP's answer is 421.
func (h *Hosts) Serves(conn *Conn, name string) bool {
	c, in := h.Lookup(name), conn.Ctx()
	if c == nil || in == nil {
		return false
	}
	sidCtx := c.SessionIDContext()
	return c == in || len(sidCtx) > 0 && bytes.Equal(sidCtx, in.SessionIDContext()) && bytes.Equal(c.policy, in.policy)
}

// Ctx is the one in force for the connection: after a ClientHello function has
// chosen another, that one.
//
// It is SSL_get_SSL_CTX.
func (c *Conn) Ctx() *Ctx {
	if c == nil || c.ssl.lock() != nil {
		return nil
	}
	defer c.ssl.unlock()
	return c.ssl.ctx
}

// NormalizeHost is the one form of a host's name: lower case, without a trailing
// dot, without the port that an HTTP request may add. Names beyond ASCII are
// given as A-labels ("xn--..."). What is no name of a host is an error.
func NormalizeHost(name string) (string, error) {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return hostName(name)
}

// hostName is NormalizeHost for what has no port.
func hostName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("openssl: %q is no host name: it has 1 to 253 bytes", name)
	}
	if net.ParseIP(name) != nil {
		return name, nil
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("openssl: %q is no host name: a label has 1 to 63 bytes", name)
		}
		for _, b := range []byte(label) {
			if !(b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_') {
				return "", fmt.Errorf("openssl: %q is no host name: %q is no part of one (beyond ASCII give the A-label)", name, b)
			}
		}
	}
	return name, nil
}
