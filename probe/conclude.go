package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// conclude writes into the report what could not be seen. It fails if no TLS server
// has answered.
func (p *run) conclude(ctx context.Context) error {
	answered := len(p.in) > 0
	var last error
	for _, out := range p.out {
		alert := errors.As(out.err, new(tls.AlertError))
		answered = answered || alert
		last = out.err
	}
	if !answered {
		return fmt.Errorf("probe: %w at %s: "+
			"give the address of a TLS server, names that it serves, and client certificates that they accept: %w",
			ErrConnect, p.Addr, last)
	}
	because := func(format string, args ...any) {
		p.report.Inconclusive = append(p.report.Inconclusive, fmt.Sprintf(format, args...))
	}
	unspoken := make(map[uint16][]string)
	why := make(map[uint16]string)
	for _, h := range p.Hosts {
		var refused visited
		for _, w := range ways {
			out, ok := p.out[door{w, h.Name}]
			if !ok {
				continue
			}
			refused = out
			if name := strconv.Quote(h.Name); !slices.Contains(unspoken[w.version], name) && p.in[h.Name] {
				unspoken[w.version] = append(unspoken[w.version], name)
				why[w.version] = out.outcome()
			}
		}
		if !p.in[h.Name] {
			r := Refusal{h.Name, refused.outcome()}
			p.report.Refused = append(p.report.Refused, r)
			because("%v (CertPEM, -cert %s=cert.pem,key.pem)", r, h.Name)
			continue
		}
		if p.unserved(ctx, h) {
			because("host %q is answered as an unknown name is, by a certificate that does not name it: "+
				"if it is spelt as the server knows it, give the host that answers unknown names (Default, -default name)", h.Name)
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if hosts := unspoken[version]; hosts != nil {
			because("visits in %s have failed at %s (%s): if that version is not meant to be spoken, give those that are (Versions, -tls version)",
				tls.VersionName(version), strings.Join(hosts, " and "), why[version])
		}
	}
	for at, out := range p.out {
		if errors.As(out.err, new(unreachable)) && (at.name == "" || at.name == unknown) {
			because("%s %s: a visit under no name or an unknown one was not answered: %v", tls.VersionName(at.w.version), at.w.mechanism, out.err)
		}
	}
	if !p.report.Resumes {
		because("the server has resumed no session at all, not even at home: that none has crossed proves nothing")
	}
	return ctx.Err()
}

// unserved reports whether the server seems not to know h: it answers an unknown name
// in the same way, with a certificate that does not name h. With a Default that is not
// asked: sessions of the default that are resumed under h are crossings then.
func (p *run) unserved(ctx context.Context, h Host) bool {
	if p.Default != "" {
		return false
	}
	for _, w := range ways {
		leaf := p.leaves[door{w, h.Name}]
		if leaf == nil || names(leaf, h.Name) {
			continue
		}
		v := p.visit(ctx, w, unknown, &h, nil)
		v.session.Close()
		if v.err == nil && bytes.Equal(v.leaf, leaf) {
			return true
		}
	}
	return false
}

// names reports whether a certificate names a host itself. A wildcard does not: it
// stands for misspelt names, too.
func names(leaf []byte, host string) bool {
	cert, err := x509.ParseCertificate(leaf)
	return err == nil && slices.ContainsFunc(cert.DNSNames, func(name string) bool { return normal(name) == normal(host) })
}
