//go:build cgo

package openssl

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
)

// ClientHello is what a client says first, as the function of
// [Ctx.SetClientHelloFunc] sees it.
type ClientHello struct {
	ServerName        string   // lower case, without a trailing dot; empty if the client named none
	ALPNProtocols     []string // in the client's order
	SupportedVersions []uint16 // in the client's order, [crypto/tls.VersionTLS13] for instance
	CipherSuites      []uint16 // in the client's order
	Conn              net.Conn // the wire; nil for a bare SSL. Leave its bytes alone.

	ssl *SSL
}

// SetSessionIDContext gives the connection a session id context of its own, in
// time for the decision whether a session is resumed. It outlasts a change of
// Ctx. See [SSL.SetSessionIDContext].
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
	extSupportedVersions = 43
)

// parts reads bodies behind big-endian lengths; bad is sticky.
type parts struct {
	b   []byte
	bad bool
}

func (p *parts) uint(size int) (v int) {
	if len(p.b) < size {
		p.bad = true
		return 0
	}
	for _, c := range p.b[:size] {
		v = v<<8 | int(c)
	}
	p.b = p.b[size:]
	return v
}

func (p *parts) body(size int) []byte {
	n := p.uint(size)
	if len(p.b) < n {
		p.bad = true
		return nil
	}
	body := p.b[:n]
	p.b = p.b[n:]
	return body
}

// all says whether everything was read, and nothing beyond it.
func (p *parts) all() bool { return !p.bad && len(p.b) == 0 }

// parseClientHello reads what osl_hello_copy wrote.
func parseClientHello(raw []byte, s *SSL) (*ClientHello, error) {
	p := parts{b: raw}
	h := &ClientHello{ssl: s}
	legacy := uint16(p.uint(2))
	p.body(2) // session id
	h.CipherSuites = uint16s(p.body(2))
	for len(p.b) > 0 {
		kind := p.uint(2)
		ext := parts{b: p.body(2)}
		var err error
		switch kind {
		case extServerName:
			h.ServerName, err = parseServerName(ext)
		case extALPN:
			names := parts{b: ext.body(2)}
			for len(names.b) > 0 && !names.bad {
				h.ALPNProtocols = append(h.ALPNProtocols, string(names.body(1)))
			}
			if names.bad || !ext.all() {
				err = malformed("ALPN", alertDecodeError)
			}
		case extSupportedVersions:
			h.SupportedVersions = uint16s(ext.body(1))
			if !ext.all() {
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
func parseServerName(ext parts) (string, error) {
	const what = "server_name"
	list := parts{b: ext.body(2)}
	kind := list.uint(1)
	name := list.body(2)
	if !ext.all() || !list.all() {
		return "", malformed(what, alertDecodeError)
	}
	if kind != 0 || len(name) == 0 || len(name) > 255 || bytes.IndexByte(name, 0) >= 0 {
		return "", malformed(what, alertIllegalParameter)
	}
	host, err := hostName(string(name))
	if err != nil {
		return "", fmt.Errorf("%w: %w", malformed(what, alertIllegalParameter), err)
	}
	return host, nil
}
