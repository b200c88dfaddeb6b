//go:build cgo

package openssl

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/sidctx/openssl/internal/libssl"
)

// Hosts routes connections to a Ctx by the server name in the ClientHello. Pass its Route
// method to [Ctx.SetClientHelloFunc] of the listener's Ctx.
//
// It is strict: it refuses names that were not added, and it refuses to add two hosts
// whose sessions could be resumed at each other although their policies differ. The zero
// value is a router without hosts. Hosts may be added at any time; all methods may be called
// from any goroutine.
type Hosts struct {
	mu       sync.RWMutex
	exact    map[string]*Ctx
	wildcard map[string]*Ctx // by what follows "*."
	fallback *Ctx
}

// NewHosts returns a router without hosts.
func NewHosts() *Hosts { return new(Hosts) }

// Add routes connections for a host name to c, and freezes c. The pattern
// "*.example.com" matches names with one label in its place, unless the name itself was
// added. c remains the caller's; see [Hosts.Replace] and [Hosts.Remove] for its end.
//
// Add returns an error and changes nothing if pattern was added before; if c has a
// setting that libssl reads from the listener's Ctx only, for example SetSessionTimeout;
// if c is of another [Library] than other hosts; and if c shares its session id context with another host that differs in certificates,
// CAs, verify mode or depth, ALPN or versions.
func (h *Hosts) Add(pattern string, c *Ctx) error {
	return h.change("Add", pattern, c, func(names map[string]*Ctx, name string) error {
		if names[name] != nil {
			return errors.New("it has been added before: call Replace")
		}
		return nil
	})
}

// Replace routes connections for a pattern that was added to c from now on, for example to
// one with a renewed certificate. Handshakes that have begun continue with the Ctx that
// they were given. The Ctx that was replaced may be closed when Replace has returned.
//
// Replace returns an error and changes nothing if pattern was not added, and in the cases
// that are described at [Hosts.Add]. The host that is replaced counts as another one: its
// sessions would be resumed under a policy that they were not made under.
func (h *Hosts) Replace(pattern string, c *Ctx) error {
	return h.change("Replace", pattern, c, func(names map[string]*Ctx, name string) error {
		if names[name] == nil {
			return errors.New("it was not added: call Add")
		}
		return nil
	})
}

// change routes a pattern to c if may, which gets what the pattern's kind is routed by and
// its name, has no objection.
func (h *Hosts) change(op, pattern string, c *Ctx, may func(names map[string]*Ctx, name string) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	names, name, err := h.slotLocked(pattern)
	if err == nil {
		err = may(*names, name)
	}
	if err == nil {
		err = h.admit(c)
	}
	if err != nil {
		return explain(fmt.Sprintf("Hosts.%s: %q", op, pattern), err)
	}
	if *names == nil {
		*names = make(map[string]*Ctx)
	}
	(*names)[name] = c
	return nil
}

// Remove ends the routing of a pattern: connections for it are refused, or go to the
// default Ctx, from now on. Connections that were routed to its Ctx continue, and the Ctx
// may be closed. Remove returns an error if pattern was not added.
func (h *Hosts) Remove(pattern string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	names, name, err := h.slotLocked(pattern)
	if err == nil && (*names)[name] == nil {
		err = errors.New("it was not added")
	}
	if err != nil {
		return explain(fmt.Sprintf("Hosts.Remove: %q", pattern), err)
	}
	delete(*names, name)
	return nil
}

// slotLocked returns where a pattern is kept.
func (h *Hosts) slotLocked(pattern string) (names *map[string]*Ctx, name string, err error) {
	name, isWildcard := strings.CutPrefix(pattern, "*.")
	name, err = normalHost(name)
	if isWildcard {
		return &h.wildcard, name, err
	}
	return &h.exact, name, err
}

// SetDefault routes to c the connections without a server name and those for names that
// were not added, and freezes c. Without a default they are refused with
// unrecognized_name. Choose the strictest policy, or one that serves nothing. It returns
// an error, and changes nothing, in the cases that are described at [Hosts.Add].
func (h *Hosts) SetDefault(c *Ctx) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admit(c); err != nil {
		return explain("Hosts.SetDefault", err)
	}
	h.fallback = c
	return nil
}

// admit freezes c and compares it with the other hosts.
func (h *Hosts) admit(c *Ctx) error {
	if err := c.requireServer(); err != nil {
		return err
	}
	err := c.use(func(p libssl.CTX) error {
		if c.lacksCertificate(p.Settings()) {
			return errors.New("openssl: a host needs a certificate: UseCertificate")
		}
		if err := c.freeze(p); err != nil {
			return err
		}
		return c.checkRoutable()
	})
	if err != nil {
		return err
	}
	for _, other := range h.all() {
		if other.library != c.library {
			return errOtherLibrary
		}
		if other != c && other.sharesSessions(c) {
			return errors.New("openssl: it shares its session id context with a host of another policy: " +
				"sessions of one would be resumed at the other; see DeriveSessionIDContext")
		}
	}
	return nil
}

// sharesSessions reports whether sessions of one would be resumed at the other although
// their policies differ.
func (c *Ctx) sharesSessions(other *Ctx) bool {
	return c.presentSIDContext() == other.presentSIDContext() && !bytes.Equal(c.policy, other.policy)
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

// alpn returns the protocols of each host, by its pattern; "" is the default.
func (h *Hosts) alpn() map[string][]string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	protocols := make(map[string][]string)
	for name, c := range h.exact {
		protocols[name] = c.protocols
	}
	for name, c := range h.wildcard {
		protocols["*."+name] = c.protocols
	}
	if h.fallback != nil {
		protocols[""] = h.fallback.protocols
	}
	return protocols
}

// alertUnrecognizedName refuses a name that is not served.
const alertUnrecognizedName tls.AlertError = 112

// Route returns the Ctx for a ClientHello. It is a function for [Ctx.SetClientHelloFunc].
// If there is no Ctx for the name, it returns an error that wraps the alert
// unrecognized_name. The server_name extension is acknowledged if the name was added, and
// no session is resumed.
func (h *Hosts) Route(_ context.Context, hello *ClientHello) (*Ctx, error) {
	c, named := h.lookup(hello.ServerName)
	if c == nil {
		return nil, fmt.Errorf("openssl: no host serves %q: %w", hello.ServerName, alertUnrecognizedName)
	}
	if !named && hello.ssl != nil {
		hello.ssl.serverNameUnused()
	}
	return c, nil
}

// Lookup returns the Ctx that serves a host name, which may have a port as in an HTTP
// request. It returns the default Ctx for other names, or nil if there is none.
func (h *Hosts) Lookup(name string) *Ctx {
	c, _ := h.lookup(name)
	return c
}

// lookup is Lookup; named reports that it is not the default.
func (h *Hosts) lookup(name string) (c *Ctx, named bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	name, err := NormalizeHost(name)
	if err != nil {
		return h.fallback, false
	}
	if c := h.exact[name]; c != nil {
		return c, true
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if c := h.wildcard[parent]; c != nil {
			return c, true
		}
	}
	return h.fallback, false
}

// Serves reports whether requests for the host name may be answered over conn: whether
// name is served by the Ctx that is in force for conn, or by one with the same policy and
// session id context, for example with a renewed certificate. The Ctx in force may have
// been replaced and closed. If it returns false, an HTTP server should answer 421
// Misdirected Request.
func (h *Hosts) Serves(conn *Conn, name string) bool {
	c, in := h.Lookup(name), conn.Ctx()
	if c == nil || in == nil {
		return false
	}
	return c == in || c.helloAnswer() == in.helloAnswer()
}

// Ctx returns the Ctx in force for the connection: the one that a ClientHello function
// has chosen, else the one that the Conn was made from. It remains its owner's.
//
// It is SSL_get_SSL_CTX.
func (c *Conn) Ctx() *Ctx {
	if c.missing() {
		return nil
	}
	return c.ssl.currentCtx()
}

// NormalizeHost returns a host name in its canonical form: lower case, without a trailing
// dot, and without the port that an HTTP request may have. An IP address is returned in its
// shortest form, without brackets and zone; an IPv4 address mapped to IPv6 is the IPv4
// address. Names outside of ASCII must be given as A-labels ("xn--..."). It returns an error
// if name is not the name of a host.
func NormalizeHost(name string) (string, error) {
	host, err := normalHost(name)
	if err != nil {
		return "", fmt.Errorf("openssl: %q is %w", name, err)
	}
	return host, nil
}

// normalHost is NormalizeHost, whose errors do not begin with the name.
func normalHost(name string) (string, error) {
	bracketed := strings.HasPrefix(name, "[") // an IPv6 address, whether or not a port follows
	host, port, err := net.SplitHostPort(name)
	switch {
	case err == nil:
		if strings.Trim(port, "0123456789") != "" {
			return "", errors.New("no host name: a port is a number, and a URL is no name")
		}
	case bracketed && strings.HasSuffix(name, "]"):
		host = name[1 : len(name)-1]
	default:
		host = name
	}
	if bracketed {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return "", errors.New("no host name: brackets are for IPv6 addresses")
		}
	}
	return hostName(host)
}

// hostName is normalHost for what has no port.
func hostName(name string) (string, error) {
	name = lowerASCII(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > 253 {
		return "", errors.New("no host name: it has 1 to 253 bytes")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.WithZone("").Unmap().String(), nil
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("no host name: a label has 1 to 63 bytes")
		}
		for _, r := range label {
			if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
				return "", fmt.Errorf("no host name: %q is no part of one (beyond ASCII give the A-label)", r)
			}
		}
	}
	return name, nil
}

// lowerASCII folds the letters of ASCII and no others: strings.ToLower makes an ASCII k
// of the Kelvin sign.
func lowerASCII(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
