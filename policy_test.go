//go:build cgo

package openssl_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// policied is everything that goes into a derived context, before it is derived.
type policied struct {
	label      string
	generation uint64
	extra      []string
	names      []string
	issuer     *tlstest.Authority
	verify     openssl.VerifyMode
	depth      int
	cas        []*tlstest.Authority
	caNames    bool
	crls       []byte
	alpn       []string
	versions   [2]uint16
	security   string
	conf       [2]string
	early      bool // derived before anything else is said
}

func (p policied) ctx(t testing.TB) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	policy := openssl.SessionPolicy{Label: p.label, Generation: p.generation}
	for _, e := range p.extra {
		policy.Extra = append(policy.Extra, []byte(e))
	}
	if p.early {
		must(t, c.DeriveSessionIDContext(policy))
	}
	if p.conf[0] != "" {
		must(t, c.Conf(p.conf[0], p.conf[1]))
	}
	if p.security != "" {
		must(t, c.SetCipherList(p.security))
	}
	if p.versions[0] != 0 {
		must(t, c.SetMinVersion(p.versions[0]))
	}
	if p.versions[1] != 0 {
		must(t, c.SetMaxVersion(p.versions[1]))
	}
	var pem []byte
	for _, ca := range p.cas {
		pem = append(pem, ca.PEM...)
	}
	if p.caNames {
		must(t, c.SetClientCAs(pem))
	} else {
		must(t, c.SetVerifyCAs(pem))
	}
	must(t, c.SetVerify(p.verify))
	must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { return nil }))
	if p.depth != 0 {
		must(t, c.SetVerifyDepth(p.depth))
	}
	if p.crls != nil {
		must(t, c.SetCRLs(p.crls))
	}
	must(t, c.SetALPN(p.alpn...))
	cert, key := p.issuer.Leaf(t, p.names[0], tlstest.ECKey(t), func(c *x509.Certificate) { c.DNSNames = p.names })
	must(t, c.UseCertificate(cert, key))
	if !p.early {
		must(t, c.DeriveSessionIDContext(policy))
	}
	return c
}

// effective is the context that connections get.
func effective(t testing.TB, c *openssl.Ctx) string {
	t.Helper()
	s, err := openssl.NewSSL(c)
	must(t, err)
	defer s.Close()
	if got := string(s.SessionIDContext()); got != string(c.SessionIDContext()) || len(got) != 32 {
		t.Fatalf("the connection is of %x, the Ctx of %x", got, c.SessionIDContext())
	}
	return string(c.SessionIDContext())
}

// TestDerivedContext changes each part alone: the context changes with every
// one, and no two changes lead to the same.
func TestDerivedContext(t *testing.T) {
	tlstest.CheckLeaks(t)
	firstCA, secondCA, thirdCA := tlstest.NewAuthority(t, "CA A", nil), tlstest.NewAuthority(t, "CA B", nil), tlstest.NewAuthority(t, "CA C", nil)
	base := policied{
		label: "app", extra: []string{"ab", "c"}, names: []string{"a.test", "b.test"}, issuer: tlstest.Certs(t),
		verify: openssl.VerifyPeer, depth: 5, cas: []*tlstest.Authority{firstCA, secondCA}, caNames: true,
		crls: tlstest.RevocationList(t, firstCA, 1), alpn: []string{"h2", "http/1.1"},
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, firstCA.PEM, 0o600))
	changes := map[string]func(p *policied){
		"label":            func(p *policied) { p.label = "app2" },
		"no label":         func(p *policied) { p.label = "" },
		"generation":       func(p *policied) { p.generation = 1 },
		"last generation":  func(p *policied) { p.generation = 1<<64 - 1 },
		"boundary":         func(p *policied) { p.extra = []string{"a", "bc"} },
		"boundary gone":    func(p *policied) { p.extra = []string{"abc"} },
		"order of extra":   func(p *policied) { p.extra = []string{"c", "ab"} },
		"empty extra":      func(p *policied) { p.extra = []string{"ab", "c", ""} },
		"no extra":         func(p *policied) { p.extra = nil },
		"into the label":   func(p *policied) { p.label, p.extra = "appab", []string{"c"} },
		"a name more":      func(p *policied) { p.names = []string{"a.test", "b.test", "c.test"} },
		"a name fewer":     func(p *policied) { p.names = []string{"a.test"} },
		"another name":     func(p *policied) { p.names = []string{"a.test", "c.test"} },
		"issuer":           func(p *policied) { p.issuer = secondCA },
		"verify mode":      func(p *policied) { p.verify = openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert },
		"once":             func(p *policied) { p.verify = openssl.VerifyPeer | openssl.VerifyClientOnce },
		"no verification":  func(p *policied) { p.verify = openssl.VerifyNone },
		"deferred":         func(p *policied) { p.verify = openssl.VerifyPeer | openssl.VerifyDefer },
		"depth":            func(p *policied) { p.depth = 6 },
		"a CA more":        func(p *policied) { p.cas = append(p.cas[:2:2], thirdCA) },
		"a CA fewer":       func(p *policied) { p.cas = p.cas[:1] },
		"another CA":       func(p *policied) { p.cas = []*tlstest.Authority{firstCA, thirdCA} },
		"CA names":         func(p *policied) { p.caNames = false },
		"no CRLs":          func(p *policied) { p.crls = nil },
		"a newer CRL":      func(p *policied) { p.crls = tlstest.RevocationList(t, firstCA, 2) },
		"another CRL":      func(p *policied) { p.crls = tlstest.RevocationList(t, secondCA, 1) },
		"ALPN":             func(p *policied) { p.alpn = []string{"h2"} },
		"order of ALPN":    func(p *policied) { p.alpn = []string{"http/1.1", "h2"} },
		"boundary of ALPN": func(p *policied) { p.alpn = []string{"h2h", "ttp/1.1"} },
		"no ALPN":          func(p *policied) { p.alpn = nil },
		"lowest version":   func(p *policied) { p.versions[0] = tls.VersionTLS13 },
		"highest version":  func(p *policied) { p.versions[1] = tls.VersionTLS12 },
		"security level":   func(p *policied) { p.security = "DEFAULT@SECLEVEL=3" },
		"signature algos":  func(p *policied) { p.conf = [2]string{"ClientSignatureAlgorithms", "ECDSA+SHA256"} },
		"CAs by Conf":      func(p *policied) { p.conf = [2]string{"VerifyCAFile", file} },
	}
	seen := map[string]string{effective(t, base.ctx(t)): "nothing"}
	for what, change := range changes {
		p := base
		change(&p)
		sidCtx := effective(t, p.ctx(t))
		if other := seen[sidCtx]; other != "" {
			t.Errorf("%s and %s lead to the same context", what, other)
		}
		seen[sidCtx] = what
	}
	same := map[string]func(p *policied){
		"nothing, and a new certificate": func(*policied) {},
		"the order of CAs":               func(p *policied) { p.cas = []*tlstest.Authority{secondCA, firstCA} },
		"a CA twice":                     func(p *policied) { p.cas = []*tlstest.Authority{firstCA, secondCA} },
		"the order of names":             func(p *policied) { p.names = []string{"a.test", "b.test"} },
		"derived before all else":        func(p *policied) { p.early = true },
	}
	for what, change := range same {
		p := base
		change(&p)
		if effective(t, p.ctx(t)) != effective(t, base.ctx(t)) {
			t.Errorf("%s changes the context", what)
		}
	}
	// A file that Conf has read, with another CA in it.
	p := base
	p.conf = [2]string{"VerifyCAFile", file}
	before := effective(t, p.ctx(t))
	must(t, os.WriteFile(file, secondCA.PEM, 0o600))
	if effective(t, p.ctx(t)) == before {
		t.Error("another CA in the file of VerifyCAFile does not change the context")
	}
}

func TestDeriveCopiesItsPolicy(t *testing.T) {
	extra := [][]byte{[]byte("one")}
	c, d := tlstest.NewServer(t), tlstest.NewServer(t)
	must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Extra: extra}))
	must(t, d.DeriveSessionIDContext(openssl.SessionPolicy{Extra: [][]byte{[]byte("one")}}))
	extra[0][0] = 'x'
	if effective(t, c) != effective(t, d) {
		t.Error("the caller's slice is read later")
	}
}

func TestDeriveRefuses(t *testing.T) {
	if err := tlstest.NewClient(t).DeriveSessionIDContext(openssl.SessionPolicy{}); err == nil {
		t.Error("a client derives")
	}
	host := tlstest.NewServer(t)
	must(t, host.DeriveSessionIDContext(openssl.SessionPolicy{}))
	effective(t, host)
	if err := host.DeriveSessionIDContext(openssl.SessionPolicy{}); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Errorf("DeriveSessionIDContext: %v", err)
	}
	by := tlstest.NewServer(t)
	must(t, by.SetSessionIDContext([]byte("by hand")))
	if _, err := by.Revoke(); err == nil || !strings.Contains(err.Error(), "DeriveSessionIDContext") {
		t.Errorf("Revoke of a context by hand: %v", err)
	}
	last := tlstest.NewServer(t)
	must(t, last.DeriveSessionIDContext(openssl.SessionPolicy{Generation: 1<<64 - 1}))
	if _, err := last.Revoke(); err == nil {
		t.Error("there is a generation after the last")
	}
}
