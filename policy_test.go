//go:build cgo

package openssl_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// policied is everything that goes into a derived context, before it is derived.
type policied struct {
	label      string
	generation uint64
	extra      []string
	names      []string
	emails     []string
	uri        string
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
	cert, key := p.issuer.Leaf(t, p.names[0], tlstest.ECKey(t), func(c *x509.Certificate) {
		c.DNSNames, c.EmailAddresses = p.names, p.emails
		if p.uri != "" {
			uri, err := url.Parse(p.uri)
			must(t, err)
			c.URIs = []*url.URL{uri}
		}
	})
	must(t, c.UseCertificate(cert, key))
	if !p.early {
		must(t, c.DeriveSessionIDContext(policy))
	}
	return c
}

// uniqueLabel is a label that no other policy of the process has: generations are the
// policy's, whichever Ctx has it.
func uniqueLabel(t testing.TB) string { return fmt.Sprint(t.Name(), " ", tlstest.NextSerial()) }

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
		"boundary":         func(p *policied) { p.extra = []string{"a", "bc"} },
		"boundary gone":    func(p *policied) { p.extra = []string{"abc"} },
		"order of extra":   func(p *policied) { p.extra = []string{"c", "ab"} },
		"empty extra":      func(p *policied) { p.extra = []string{"ab", "c", ""} },
		"no extra":         func(p *policied) { p.extra = nil },
		"into the label":   func(p *policied) { p.label, p.extra = "appab", []string{"c"} },
		"a name more":      func(p *policied) { p.names = []string{"a.test", "b.test", "c.test"} },
		"a name fewer":     func(p *policied) { p.names = []string{"a.test"} },
		"another name":     func(p *policied) { p.names = []string{"a.test", "c.test"} },
		"an email address": func(p *policied) { p.emails = []string{"b.test"} },
		"a URI":            func(p *policied) { p.uri = "spiffe://a.test/b.test" },
		"another URI":      func(p *policied) { p.uri = "spiffe://a.test/c.test" },
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

// TestGenerationsOfEqualPolicies freezes Ctx of one policy: each has the highest
// generation that any of them was given.
func TestGenerationsOfEqualPolicies(t *testing.T) {
	tlstest.CheckLeaks(t)
	p := policied{label: uniqueLabel(t), names: []string{"a.test"}, issuer: tlstest.Certs(t), cas: []*tlstest.Authority{tlstest.Certs(t)}}
	first := p.ctx(t)
	contexts := []string{effective(t, first)}
	for _, generation := range []uint64{1, 7, 1<<64 - 1} {
		p.generation = generation
		sidCtx := effective(t, p.ctx(t))
		if slices.Contains(contexts, sidCtx) {
			t.Errorf("generation %d leads to the context of a lower one", generation)
		}
		contexts = append(contexts, sidCtx)
		p.generation = generation - 1
		if effective(t, p.ctx(t)) != sidCtx {
			t.Errorf("a Ctx of generation %d, made after one of %d, is not at that", generation-1, generation)
		}
		if effective(t, first) != sidCtx {
			t.Errorf("a Ctx of generation 0 in use is not at %d", generation)
		}
	}
	if _, err := first.Revoke(); err == nil {
		t.Error("there is a generation after the last")
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

// interrupted is a server that something happens to before one of its calls of Handshake.
type interrupted struct {
	*openssl.SSL
	calls, at int
	act       func()
}

func (i *interrupted) Handshake() (openssl.Want, error) {
	if i.calls++; i.calls == i.at {
		i.act()
	}
	return i.SSL.Handshake()
}

// moment is when a Revoke meets a handshake that offers a session of before.
type moment struct {
	name string
	at   int // before which call of the server's Handshake
	// hello is what happens to the ClientHello: libssl is not suspended, the server
	// stays with its Ctx, or it switches to the host's.
	hello   string
	inHello bool // and Revoke comes after that
	retry   bool // the client sends a second ClientHello
	refused bool // libssl has decided before: the connection fails, instead of a full handshake
}

var moments = []moment{
	{name: "before the ClientHello", at: 1},
	{name: "after the decision", at: 2, refused: true},
	{name: "before the ClientHello that stays", at: 1, hello: "stays"},
	{name: "while the ClientHello stays", hello: "stays", inHello: true},
	{name: "after the ClientHello that stays", at: 3, hello: "stays", refused: true},
	{name: "before the ClientHello that switches", at: 1, hello: "switches"},
	{name: "after the switch", hello: "switches", inHello: true},
	{name: "after the switch and the decision", at: 3, hello: "switches", refused: true},
	{name: "between the ClientHellos", at: 2, retry: true},
	{name: "between the ClientHellos that stay", at: 3, hello: "stays", retry: true},
	{name: "between the ClientHellos that switch", at: 3, hello: "switches", retry: true},
	{name: "after the second ClientHello", at: 3, retry: true, refused: true},
}

// TestRevokeInFlight revokes a session while a handshake that offers it is under way: no
// handshake that ends afterwards resumes it, whichever Ctx of the policy Revoke or a
// higher generation came through, and an honest client gets a full one where libssl has
// not decided yet.
func TestRevokeInFlight(t *testing.T) {
	revocations := map[string]func(t *testing.T, host *openssl.Ctx, again func(generation uint64) *openssl.Ctx){
		"its own Revoke":    func(t *testing.T, host *openssl.Ctx, _ func(uint64) *openssl.Ctx) { mustRevoke(t, host) },
		"another's Revoke":  func(t *testing.T, _ *openssl.Ctx, again func(uint64) *openssl.Ctx) { mustRevoke(t, again(0)) },
		"a renewed Ctx":     func(t *testing.T, _ *openssl.Ctx, again func(uint64) *openssl.Ctx) { effective(t, again(1)) },
		"Revoke, and Close": func(t *testing.T, host *openssl.Ctx, _ func(uint64) *openssl.Ctx) { mustRevoke(t, host); host.Close() },
	}
	each := func(v tlstest.Version, stateful bool, m moment) {
		if m.retry && v.ID < tls.VersionTLS13 {
			return
		}
		for by, revoke := range revocations {
			if by == "Revoke, and Close" && !m.refused {
				continue // the next connection could not be made
			}
			t.Run(fmt.Sprintf("%s/stateful %v/%s/%s", v.Name, stateful, m.name, by), func(t *testing.T) {
				revokeAt(t, v.ID, stateful, m, revoke)
			})
		}
	}
	for _, v := range tlstest.Versions {
		for _, m := range moments {
			each(v, false, m)
			each(v, true, m)
		}
	}
}

func mustRevoke(t *testing.T, c *openssl.Ctx) {
	t.Helper()
	if _, err := c.Revoke(); err != nil {
		t.Fatal("Revoke: ", err)
	}
}

func revokeAt(t *testing.T, version uint16, stateful bool, m moment, revoke func(*testing.T, *openssl.Ctx, func(uint64) *openssl.Ctx)) {
	tlstest.CheckLeaks(t)
	label := uniqueLabel(t)
	made := func(generation uint64) *openssl.Ctx {
		c := tlstest.NewServer(t)
		tlstest.SetVersion(t, c, version)
		must(t, c.SetClientCAs(tlstest.Certs(t).PEM))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: label, Generation: generation}))
		if stateful {
			must(t, c.SetOptions(openssl.OptionNoTicket))
		}
		return c
	}
	host := made(0)
	listener := host
	if m.hello == "switches" {
		listener = tlstest.NewServer(t)
		tlstest.SetVersion(t, listener, version)
		must(t, listener.DeriveSessionIDContext(openssl.SessionPolicy{Label: label + "listener"}))
	}
	if m.hello != "" {
		must(t, listener.SetClientHelloFunc(tlstest.Stay))
	}
	client := tlstest.NewClient(t)
	if m.retry {
		must(t, listener.SetGroups("P-256"))
		must(t, client.SetGroups("X25519:P-256"))
	}
	answer := func(s *interrupted) {
		if m.hello == "switches" {
			must(t, s.SetCtx(host))
		}
		if m.inHello {
			s.act()
		}
	}
	connect := func(sess *openssl.Session, act func()) (e tlstest.Result) {
		c, s := tlstest.Machines(t, client, listener)
		if sess != nil {
			must(t, c.SetSession(sess))
		}
		e.ClientErr, e.ServerErr = tlstest.ShakeAnswering(t, c, &interrupted{SSL: s, at: m.at, act: act}, answer)
		e.Server = s.ConnectionState()
		if e.ClientErr == nil && e.ServerErr == nil {
			e.Session = tlstest.SessionOf(t, c)
			tlstest.Goodbye(t, c, s)
		}
		return e
	}
	nothing := func() {}
	before := connect(nil, nothing)
	if before.ClientErr != nil || before.ServerErr != nil || before.Session == nil {
		t.Fatalf("the first handshake: client %v, server %v, session %v", before.ClientErr, before.ServerErr, before.Session)
	}
	if e := connect(tlstest.Reparse(t, before.Session), nothing); !e.Server.DidResume {
		t.Fatalf("the session is not resumed before it is revoked: %v, client %v, server %v", e.Server.Resumption, e.ClientErr, e.ServerErr)
	}
	e := connect(tlstest.Reparse(t, before.Session), func() { revoke(t, host, made) })
	if m.refused {
		if !errors.Is(e.ServerErr, openssl.ErrResumptionRefused) {
			t.Errorf("the server's error is %v, want ErrResumptionRefused", e.ServerErr)
		}
		return
	}
	if e.ClientErr != nil || e.ServerErr != nil || e.Server.DidResume {
		t.Fatalf("resumed %v, want a full handshake: client %v, server %v", e.Server.DidResume, e.ClientErr, e.ServerErr)
	}
	if host == listener {
		if e := connect(e.Session, nothing); !e.Server.DidResume {
			t.Errorf("a session made since is not resumed: %v, client %v, server %v", e.Server.Resumption, e.ClientErr, e.ServerErr)
		}
	}
}

// keyRecorder is a session cache that holds nothing.
type keyRecorder struct{ key string }

func (r *keyRecorder) Get(key string) (*openssl.Session, bool) {
	r.key = key
	return nil, false
}

func (r *keyRecorder) Put(_ string, s *openssl.Session) { s.Close() }

// cacheKey is the key that a client's connections have in its session cache.
func cacheKey(t testing.TB, change func(c *openssl.Ctx) error) string {
	t.Helper()
	client := tlstest.NewClient(t)
	must(t, change(client))
	return cacheKeyOf(t, client)
}

// cacheKeyOf is the key that a client's connections use.
func cacheKeyOf(t testing.TB, client *openssl.Ctx) string {
	t.Helper()
	var r keyRecorder
	must(t, client.SetClientSessionCache(&r))
	near, far := tlstest.WirePair(1 << 10)
	must(t, far.Close())
	c, err := openssl.Client(near, client)
	must(t, err)
	defer c.Close()
	must(t, c.SetServerName("server.test"))
	if err := c.Handshake(); err == nil || r.key == "" {
		t.Fatalf("a handshake without a peer: %v, key %q", err, r.key)
	}
	return r.key
}

// derivedFrom is the context of a server after a change.
func derivedFrom(t testing.TB, change func(c *openssl.Ctx) error) string {
	t.Helper()
	server := tlstest.NewServer(t)
	must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
	must(t, server.SetVerify(openssl.VerifyPeer))
	must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "setters"}))
	must(t, change(server))
	return effective(t, server)
}

// TestSettersInTheContext knows every setter of Ctx: either it changes what a derived
// context and a client's cache key depend on, or sessions may cross it.
func TestSettersInTheContext(t *testing.T) {
	other := tlstest.NewAuthority(t, "another CA", nil)
	cert, key := tlstest.Certs(t).Leaf(t, "other.test", tlstest.ECKey(t), nil)
	certFile, keyFile := tlstest.File(t, "cert.pem", cert), tlstest.File(t, "key.pem", key)
	caFile := tlstest.File(t, "ca.pem", other.PEM)
	in := map[string]func(c *openssl.Ctx) error{
		"UseCertificate":      func(c *openssl.Ctx) error { return c.UseCertificate(cert, key) },
		"UseCertificateFiles": func(c *openssl.Ctx) error { return c.UseCertificateFiles(certFile, keyFile) },
		"UseEncryptedCertificate": func(c *openssl.Ctx) error {
			return c.UseEncryptedCertificate(cert, rfc1423(t, key, []byte("secret")), []byte("secret"))
		},
		"UseCertificateURI":      func(c *openssl.Ctx) error { return c.UseCertificateURI(cert, "file:"+keyFile, nil) },
		"UsePSK":                 func(c *openssl.Ctx) error { return c.UsePSK("alice", pskKey) },
		"SetVerify":              func(c *openssl.Ctx) error { return c.SetVerify(openssl.VerifyNone) },
		"SetVerifyDepth":         func(c *openssl.Ctx) error { return c.SetVerifyDepth(3) },
		"SetVerifyCAs":           func(c *openssl.Ctx) error { return c.SetVerifyCAs(other.PEM) },
		"AddVerifyCAs":           func(c *openssl.Ctx) error { return c.AddVerifyCAs(other.PEM) },
		"SetClientCAs":           func(c *openssl.Ctx) error { return c.SetClientCAs(other.PEM) },
		"SetVerifyFlags":         func(c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyX509Strict) },
		"SetHostFlags":           func(c *openssl.Ctx) error { return c.SetHostFlags(0) },
		"SetOpaqueCertificates":  func(c *openssl.Ctx) error { return c.SetOpaqueCertificates(true) },
		"SetCRLs":                func(c *openssl.Ctx) error { return c.SetCRLs(tlstest.RevocationList(t, other, 1)) },
		"LoadVerifyLocations":    func(c *openssl.Ctx) error { return c.LoadVerifyLocations(caFile, "") },
		"SetMinVersion":          func(c *openssl.Ctx) error { return c.SetMinVersion(tls.VersionTLS13) },
		"SetMaxVersion":          func(c *openssl.Ctx) error { return c.SetMaxVersion(tls.VersionTLS12) },
		"SetCipherList":          func(c *openssl.Ctx) error { return c.SetCipherList("ECDHE-ECDSA-AES128-GCM-SHA256") },
		"SetCipherSuites":        func(c *openssl.Ctx) error { return c.SetCipherSuites("TLS_AES_128_GCM_SHA256") },
		"SetALPN":                func(c *openssl.Ctx) error { return c.SetALPN("h2") },
		"Conf":                   func(c *openssl.Ctx) error { return c.Conf("SignatureAlgorithms", "ECDSA+SHA256") },
		"SetSessionIDContext":    func(c *openssl.Ctx) error { return c.SetSessionIDContext([]byte("by hand")) },
		"DeriveSessionIDContext": nil, // of servers alone: TestDerivedContext
		"SetOCSPRequest":         nil, // of clients alone: TestOCSPRequestInTheCacheKey
	}
	const connection, listener = "it decides nothing about a peer", "it is the listener's, for all hosts"
	const function = "a function cannot be compared: SessionPolicy.Extra is for its version"
	out := map[string]string{
		"SetGroups": connection, "SetOptions": connection, "ClearOptions": connection, "SetKeyLogWriter": connection,
		"SetMaxCertList": connection, "SetDHParameters": connection, "SetDHAuto": connection,
		"SetOCSPResponse": "it is about the server's certificate", "Raw": "what it does is not known: SessionPolicy.Extra is for it",
		"SetNumTickets": listener, "SetTicketKeys": listener, "SetFleetTicketKeys": listener,
		"SetSessionCacheMode": listener, "SetSessionCacheSize": listener, "SetSessionTimeout": listener,
		"SetSessionStore": listener, "SetSessionStoreTimeout": listener, "FlushSessions": listener,
		"SetClientHelloFunc": listener, "SetClientSessionCache": "it is what the key is for",
		"SetVerifyConnection": function,
		"SetMaxAuthAge":       "each server applies its own when it resumes", "SetResumptionChecks": "each server applies its own when it resumes",
		"Revoke": "it is the generation", "Close": "it sets nothing",
	}
	same := func(*openssl.Ctx) error { return nil }
	sidCtx, ofClient := derivedFrom(t, same), cacheKey(t, same)
	ctx := reflect.TypeFor[*openssl.Ctx]()
	for i := range ctx.NumMethod() {
		m := ctx.Method(i)
		change, isIn := in[m.Name]
		n := m.Type.NumOut()
		switch {
		case n == 0 || m.Type.Out(n-1) != reflect.TypeFor[error]() || out[m.Name] != "":
		case !isIn:
			t.Errorf("%s is in neither list: must sessions cross it?", m.Name)
		case change == nil:
		default:
			if m.Name != "SetSessionIDContext" && derivedFrom(t, change) == sidCtx {
				t.Errorf("%s does not change a derived context", m.Name)
			}
			if cacheKey(t, change) == ofClient {
				t.Errorf("%s does not change the key of a client's session cache", m.Name)
			}
		}
	}
}

// TestContextKnowsNoPaths has machines with the same files under other names, and
// one with another file under the same.
func TestContextKnowsNoPaths(t *testing.T) {
	ca, other := tlstest.Certs(t), tlstest.NewAuthority(t, "another CA", nil)
	folder := func(content []byte, name string) string { return filepath.Dir(tlstest.File(t, name, content)) }
	conf := func(cmd string) func(c *openssl.Ctx, path string) error {
		return func(c *openssl.Ctx, path string) error { return c.Conf(cmd, path) }
	}
	file := func(content []byte, name string) string { return tlstest.File(t, name, content) }
	for what, x := range map[string]struct {
		set  func(c *openssl.Ctx, path string) error
		make func(content []byte, name string) string
	}{
		"a file":        {func(c *openssl.Ctx, path string) error { return c.LoadVerifyLocations(path, "") }, file},
		"a folder":      {func(c *openssl.Ctx, path string) error { return c.LoadVerifyLocations("", path) }, folder},
		"VerifyCAFile":  {conf("VerifyCAFile"), file},
		"VerifyCAPath":  {conf("VerifyCAPath"), folder},
		"VerifyCAStore": {conf("VerifyCAStore"), file},
		"ChainCAFile":   {conf("ChainCAFile"), file},
		"RequestCAFile": {conf("RequestCAFile"), file},
	} {
		if what == "VerifyCAStore" && !tlstest.IsOpenSSL3() {
			continue // 1.1.1 has no such command
		}
		t.Run(what, func(t *testing.T) {
			set := func(path string) func(c *openssl.Ctx) error {
				return func(c *openssl.Ctx) error { return x.set(c, path) }
			}
			one, again, another := set(x.make(ca.PEM, "one.pem")), set(x.make(ca.PEM, "two.pem")), set(x.make(other.PEM, "one.pem"))
			if derivedFrom(t, one) != derivedFrom(t, again) || cacheKey(t, one) != cacheKey(t, again) {
				t.Error("the same content in another place leads to another context or key")
			}
			if derivedFrom(t, one) == derivedFrom(t, another) {
				t.Error("another content leads to the same context")
			}
			if cacheKey(t, one) == cacheKey(t, another) {
				t.Error("another content leads to the same key")
			}
		})
	}
}

// clockSource is a time() that runs ahead by as many seconds as the environment has.
const clockSource = `
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

time_t time(time_t *t) {
	const char *ahead = getenv("TEST_CLOCK_AHEAD");
	struct timeval now;

	gettimeofday(&now, NULL);
	if (ahead)
		now.tv_sec += atol(ahead);
	if (t)
		*t = now.tv_sec;
	return now.tv_sec;
}
`

// TestMaxAuthAgeOfASlowClient has a client hold its last message back after libssl has
// accepted its session: what becomes too old meanwhile is good for one minute more.
func TestMaxAuthAgeOfASlowClient(t *testing.T) {
	const preload = "LD_PRELOAD"
	clock := "is loaded"
	if os.Getenv(preload) == "" {
		clock = tlstest.Compile(t, "clock.so", clockSource, "-shared", "-fPIC")
	}
	// AddressSanitizer wants to be loaded first.
	if !tlstest.Again(t, preload+"="+clock, "ASAN_OPTIONS=verify_asan_link_order=0") {
		return
	}
	const maxAge = 100
	for _, v := range tlstest.Versions {
		for _, x := range []struct {
			ahead   int // seconds that the client waits
			refused bool
		}{{0, false}, {maxAge + 30, false}, {maxAge + 90, true}} {
			t.Run(fmt.Sprintf("%s/%d s", v.Name, x.ahead), func(t *testing.T) {
				server, client := tlstest.NewServer(t), tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.ID)
				must(t, server.SetMaxAuthAge(maxAge*time.Second))
				before := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
				c, s := tlstest.Machines(t, client, server)
				must(t, c.SetSession(before.Session))
				t.Setenv("TEST_CLOCK_AHEAD", "0")
				slow := &interrupted{SSL: s, at: 2, act: func() { t.Setenv("TEST_CLOCK_AHEAD", fmt.Sprint(x.ahead)) }}
				_, err := tlstest.ShakeAnswering(t, c, slow, nil)
				if errors.Is(err, openssl.ErrResumptionRefused) != x.refused || err != nil && !x.refused || !s.ConnectionState().DidResume {
					t.Errorf("refused %v, want %v; resumed %v: %v", err != nil, x.refused, s.ConnectionState().DidResume, err)
				}
			})
		}
	}
}

// TestBetweenClientHellos has a client that offers a session meet a Revoke, or a renewed
// Ctx of equal policy, between its two ClientHellos: it gets a full handshake, or resumes.
func TestBetweenClientHellos(t *testing.T) {
	for _, x := range []struct {
		what    string
		happens func(t *testing.T, host, renewed *openssl.Ctx) *openssl.Ctx // what the second ClientHello is routed to
		resumes bool
	}{
		{"nothing", func(_ *testing.T, host, _ *openssl.Ctx) *openssl.Ctx { return host }, true},
		{"Revoke", func(t *testing.T, host, _ *openssl.Ctx) *openssl.Ctx { mustRevoke(t, host); return host }, false},
		{"a renewed Ctx", func(_ *testing.T, _, renewed *openssl.Ctx) *openssl.Ctx { return renewed }, true},
		{"both", func(t *testing.T, host, renewed *openssl.Ctx) *openssl.Ctx { mustRevoke(t, host); return renewed }, false},
	} {
		for _, stateful := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stateful %v", x.what, stateful), func(t *testing.T) {
				again := renewable(t, "server.test", true)
				front, host, renewed := tlstest.BareServer(t), again(), again()
				must(t, front.SetGroups("P-256"))
				if stateful {
					for _, c := range []*openssl.Ctx{front, host, renewed} {
						must(t, c.SetOptions(openssl.OptionNoTicket))
					}
				}
				hellos := 0
				meet := false
				must(t, front.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
					if hellos++; hellos == 2 && meet {
						return x.happens(t, host, renewed), nil
					}
					return host, nil
				}))
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, tls.VersionTLS13)
				must(t, client.SetGroups("X25519:P-256"))
				connect := func(sess *openssl.Session) tlstest.Result {
					hellos = 0
					c, s := tlstest.Conns(t, client, front)
					if sess != nil {
						must(t, c.SetSession(sess))
					}
					e := tlstest.Converse(t, c, s)
					if e.ClientErr != nil || e.ServerErr != nil || hellos != 2 {
						t.Fatalf("%d ClientHellos: client %v, server %v", hellos, e.ClientErr, e.ServerErr)
					}
					return e
				}
				before := connect(nil)
				meet = true
				if e := connect(before.Session); e.Server.DidResume != x.resumes {
					t.Errorf("resumed %v, want %v: %v", e.Server.DidResume, x.resumes, e.Server.Resumption)
				}
			})
		}
	}
}
