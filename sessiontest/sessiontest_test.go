//go:build cgo

package sessiontest_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/sessiontest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a certificate and its key, in PEM.
type pair struct{ cert, key []byte }

// certs is a CA, leaves for a.test and b.test, and one for a client; made once.
var certs = sync.OnceValue(func() (p struct {
	ca           []byte
	a, b, client pair
}) {
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		mustNot(err)
		return key
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: name},
			DNSNames:     []string{name},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(24 * time.Hour),
		}
	}
	ca, caKey := template(1, "test CA"), newKey()
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	mustNot(err)
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	leaf := func(serial int64, name string) pair {
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, template(serial, name), ca, key.Public(), caKey)
		mustNot(err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		mustNot(err)
		return pair{
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		}
	}
	p.a, p.b, p.client = leaf(2, "a.test"), leaf(3, "b.test"), leaf(4, "client.test")
	return p
})

// mustNot is for what is made before there is a test to fail.
func mustNot(err error) {
	if err != nil {
		panic(err)
	}
}

// newHost is a server Ctx for one of the two hosts; b.test requires a client
// certificate. Its session id context is for the caller to choose.
func newHost(t testing.TB, name string) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	p := certs().a
	if name == "b.test" {
		p = certs().b
		must(t, c.SetClientCAs(certs().ca))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	}
	must(t, c.UseCertificate(p.cert, p.key))
	return c
}

// apart are the hosts as they should be: each has a context derived from its
// policy. change, if not nil, edits each first.
func apart(t testing.TB, change func(*openssl.Ctx) error) *openssl.Ctx {
	t.Helper()
	hosts := openssl.NewHosts()
	for _, name := range []string{"a.test", "b.test"} {
		c := newHost(t, name)
		if change != nil {
			must(t, change(c))
		}
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "sessiontest"}))
		must(t, hosts.Add(name, c))
	}
	return front(t, hosts.Route)
}

// together are the hosts as they should not be: one context for both, and
// nothing that looks at a session again.
func together(t testing.TB) *openssl.Ctx {
	t.Helper()
	byName := make(map[string]*openssl.Ctx)
	for _, name := range []string{"a.test", "b.test"} {
		c := newHost(t, name)
		must(t, c.SetSessionIDContext([]byte("one for all")))
		must(t, c.SetResumptionChecks(false))
		must(t, c.SetMaxAuthAge(0))
		byName[name] = c
	}
	return front(t, func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		if c := byName[hello.ServerName]; c != nil {
			return c, nil
		}
		return byName["a.test"], nil // as most servers do
	})
}

func front(t testing.TB, route func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error)) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetClientHelloFunc(route))
	return c
}

// serve answers each request on c with as little HTTP as there can be, until
// the test ends.
func serve(t testing.TB, c *openssl.Ctx) (addr string) {
	t.Helper()
	return serveSaying(t, c, func(openssl.ConnectionState) string { return "204 No Content" })
}

// serveSaying is serve with another status.
func serveSaying(t testing.TB, c *openssl.Ctx, status func(openssl.ConnectionState) string) (addr string) {
	t.Helper()
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	must(t, err)
	return serveOn(t, l, status)
}

func serveOn(t testing.TB, l net.Listener, status func(openssl.ConnectionState) string) (addr string) {
	t.Helper()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			conns.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if strings.TrimSpace(line) == "" {
						break
					}
				}
				fmt.Fprintf(conn, "HTTP/1.1 %s\r\nConnection: close\r\n\r\n", status(conn.(*openssl.Conn).ConnectionState()))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

// patience is what a test waits for that should happen at once.
const patience = 20 * time.Second

// hosts is what the tests' servers serve, with what b.test asks for.
func hosts() []sessiontest.Host {
	c := certs().client
	return []sessiontest.Host{{Name: "a.test"}, {Name: "b.test", CertPEM: c.cert, KeyPEM: c.key}}
}

// recorder is a testing.TB that writes down how a test fails.
type recorder struct {
	testing.TB
	errors []string
	fatal  string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Error(args ...any)         { r.errors = append(r.errors, fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(args ...any) {
	r.fatal = fmt.Sprint(args...)
	runtime.Goexit()
}

// record is what sessiontest.Test says of a target.
func record(t testing.TB, target sessiontest.Target) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { sessiontest.Test(r, target) })
	wg.Wait()
	return r
}

// A server that keeps its hosts apart passes, and it was asked everything: each
// way of resuming, each host, each name; at home it resumed.
func TestApart(t *testing.T) {
	target := sessiontest.Target{Addr: serve(t, apart(t, nil)), Hosts: hosts()}
	sessiontest.Test(t, target)

	report, err := sessiontest.Probe(t.Context(), target)
	must(t, err)
	want := map[string]string{
		"same":    "resumed",
		"absent":  "refused: unrecognized name",
		"unknown": "refused: unrecognized name",
		"odd":     "resumed", // the same name in other letters
	}
	var got []string
	for _, row := range report.Rows {
		expected := want[row.Kind]
		if row.Kind == "other" {
			expected = "full"
			if row.To == "b.test" {
				expected = "refused: "
				if row.Version == "TLS 1.3" {
					expected += "certificate required"
				} else {
					expected += "handshake failure"
				}
			}
		}
		if row.Outcome != expected || row.Crossing || row.Why != "" {
			t.Errorf("%v, not %s", row, expected)
		}
		got = append(got, fmt.Sprint(row.Version, row.Mechanism, row.From, row.Kind, row.To))
	}
	var all []string
	for _, way := range []string{"TLS 1.2ticket", "TLS 1.2id", "TLS 1.3psk"} {
		for _, home := range []string{"a.test", "b.test"} {
			other := "b.test"
			if home == "b.test" {
				other = "a.test"
			}
			for _, offer := range []string{"same" + home, "other" + other, "absent", "unknownnobody." + home, "odd" + strings.ToUpper(home)} {
				all = append(all, way+home+offer)
			}
		}
	}
	if !slices.Equal(got, all) {
		t.Errorf("rows:\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(all, "\n"))
	}
}

// A server with one context for both hosts fails by each crossing, and by
// nothing else.
func TestTogether(t *testing.T) {
	target := sessiontest.Target{Addr: serve(t, together(t)), Hosts: hosts()}
	r := record(t, target)

	if r.fatal != "" {
		t.Fatal(r.fatal)
	}
	var want []string
	for _, way := range []string{"TLS 1.2 ticket", "TLS 1.2 id", "TLS 1.3 psk"} {
		const leads = "resumed: without a session that name leads to another certificate"
		want = append(want,
			`crossing: `+way+`: a session of "a.test" offered under "b.test": resumed: that host refuses a client without a certificate, and has been entered by one`,
			`crossing: `+way+`: a session of "b.test" offered under "a.test": resumed: that is another host`,
			`crossing: `+way+`: a session of "b.test" offered under no server name: `+leads,
			`crossing: `+way+`: a session of "b.test" offered under "nobody.b.test": `+leads,
			`crossing: `+way+`: a session of no server name offered under "b.test": resumed: that host refuses a client without a certificate, and has been entered by one`,
			`crossing: `+way+`: a session of "nobody.invalid" offered under "b.test": resumed: that host refuses a client without a certificate, and has been entered by one`,
		)
	}
	if !slices.Equal(r.errors, want) {
		t.Errorf("failures:\n%s\ninstead of\n%s", strings.Join(r.errors, "\n"), strings.Join(want, "\n"))
	}
}

// routes is a front whose other names lead to fallback.
func routes(t testing.TB, byName map[string]*openssl.Ctx, fallback *openssl.Ctx) *openssl.Ctx {
	t.Helper()
	return front(t, func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		if c := byName[hello.ServerName]; c != nil {
			return c, nil
		}
		return fallback, nil
	})
}

// within is a host that looks at no session again: its context alone decides.
func within(t testing.TB, name, sidCtx string) *openssl.Ctx {
	t.Helper()
	c := newHost(t, name)
	must(t, c.SetSessionIDContext([]byte(sidCtx)))
	must(t, c.SetResumptionChecks(false))
	must(t, c.SetMaxAuthAge(0))
	return c
}

// An open default that shares a context with a host that requires certificates: the
// sessions that it gives to clients that no host knows are entries to that host. It
// makes no difference which certificate the default has.
func TestOpenDefault(t *testing.T) {
	for _, tt := range []struct {
		name string
		cert pair
	}{{"its own certificate", certs().client}, {"the host's certificate", certs().b}} {
		t.Run(tt.name, func(t *testing.T) {
			fallback := within(t, "a.test", "shared")
			must(t, fallback.UseCertificate(tt.cert.cert, tt.cert.key))
			c := routes(t, map[string]*openssl.Ctx{"a.test": within(t, "a.test", "a"), "b.test": within(t, "b.test", "shared")}, fallback)
			target := sessiontest.Target{Addr: serve(t, c), Hosts: hosts()}
			r := record(t, target)
			if r.fatal != "" {
				t.Fatal(r.fatal)
			}
			for _, way := range []string{"TLS 1.2 ticket", "TLS 1.2 id", "TLS 1.3 psk"} {
				for _, from := range []string{"no server name", `"nobody.invalid"`} {
					want := "crossing: " + way + ": a session of " + from + ` offered under "b.test": resumed: that host refuses a client without a certificate, and has been entered by one`
					if !slices.Contains(r.errors, want) {
						t.Errorf("missing: %s", want)
					}
				}
			}
			for _, failure := range r.errors {
				if !strings.Contains(failure, `"b.test"`) || !strings.HasPrefix(failure, "crossing: ") {
					t.Errorf("beyond what is wrong with the server: %s", failure)
				}
			}
		})
	}
}

// One certificate for all: which host is the default cannot be seen, and is asked for.
// What is given is believed, except where the server shows that it is wrong.
func TestOneCertificate(t *testing.T) {
	newHost := func(sidCtx string) *openssl.Ctx { return within(t, "a.test", sidCtx) }
	names := []sessiontest.Host{{Name: "a.test"}, {Name: "b.test"}}
	one := newHost("one")
	two := newHost("two")
	for _, tt := range []struct {
		name     string
		fallback *openssl.Ctx
		hosts    []sessiontest.Host
		given    string
		says     []string // each failure begins with the first, or is the second
	}{
		{"nothing given", one, names, "", []string{"undecided: ", `sessiontest: host "b.test" is answered as an unknown name is, by a certificate that does not name it: if it is spelt as the server knows it, give the host that answers unknown names (Default, -default name)`}},
		{"the default given", one, names, "a.test", nil},
		{"in other letters", one, names, "A.Test.", nil},
		{"the other host given", one, names, "b.test", []string{"crossing: "}},
		{"another host of that context", newHost("one"), append(names, sessiontest.Host{Name: "default.test"}), "default.test", []string{"crossing: "}},
		{"a host apart", newHost("three"), append(names, sessiontest.Host{Name: "default.test"}), "default.test", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := routes(t, map[string]*openssl.Ctx{"a.test": one, "b.test": two}, tt.fallback)
			target := sessiontest.Target{Addr: serve(t, c), Hosts: tt.hosts, Default: tt.given}
			r := record(t, target)
			if r.fatal != "" || (len(r.errors) > 0) != (tt.says != nil) {
				t.Fatalf("%q, %d failures:\n%s", r.fatal, len(r.errors), strings.Join(r.errors, "\n"))
			}
			for _, failure := range r.errors {
				if !strings.HasPrefix(failure, tt.says[0]) && !slices.Contains(tt.says, failure) {
					t.Errorf("%q; want only failures that begin with %q", failure, tt.says[0])
				}
				if strings.HasPrefix(failure, "undecided: ") && !strings.Contains(failure, `hosts "a.test" and "b.test" present one certificate`) {
					t.Errorf("%q does not say why and what to give", failure)
				}
			}
			if tt.says == nil || tt.says[0] != "undecided: " {
				return
			}
			report, err := sessiontest.Probe(t.Context(), target)
			must(t, err)
			for _, row := range report.Rows {
				undecided := row.Outcome == "resumed" && (row.Kind == "absent" || row.Kind == "unknown" || row.Kind == "host")
				if row.Undecided != undecided || row.Crossing {
					t.Errorf("%v: undecided %v, want %v", row, row.Undecided, undecided)
				}
			}
			if n := len(report.Undecided()); n != 12 { // to the default and back, for no name and an unknown one
				t.Errorf("%d undecided rows, not 12", n)
			}
		})
	}
}

// One certificate for all, and a default that lets in whom the host of the session
// refuses: that is no question.
func TestOneCertificateOpenDefault(t *testing.T) {
	secret := within(t, "b.test", "shared")
	must(t, secret.UseCertificate(certs().a.cert, certs().a.key))
	c := routes(t, map[string]*openssl.Ctx{"a.test": within(t, "a.test", "a"), "b.test": secret}, within(t, "a.test", "shared"))
	report, err := sessiontest.Probe(t.Context(), sessiontest.Target{Addr: serve(t, c), Hosts: hosts()})
	must(t, err)
	for _, row := range report.Rows {
		crosses := row.Outcome == "resumed" && (row.Kind == "host" && row.To == "b.test" || row.From == "b.test" && row.Kind != "same" && row.Kind != "odd")
		if row.Crossing != crosses || row.Undecided {
			t.Errorf("%v: crossing %v, want %v", row, row.Crossing, crosses)
		}
	}
	if n := len(report.Crossings()); n != 12 {
		t.Errorf("%d crossings, not 12", n)
	}
}

// A server whose HTTP turns away with 421 what TLS has resumed has admitted
// no client; any other answer has.
func TestMisdirected(t *testing.T) {
	for _, tt := range []struct {
		status, outcome string
		crosses         bool
	}{
		{"421 Misdirected Request", "resumed, then 421", false},
		{"421", "resumed, then 421", false},
		{"404 Not Found", "resumed", true},
		{"4210 Much", "resumed", true},
	} {
		t.Run(tt.status, func(t *testing.T) {
			addr := serveSaying(t, together(t), func(state openssl.ConnectionState) string {
				if state.DidResume {
					return tt.status
				}
				return "204 No Content"
			})
			report, err := sessiontest.Probe(t.Context(), sessiontest.Target{Addr: addr, Hosts: hosts()})
			must(t, err)
			for _, row := range report.Rows {
				if row.Outcome != tt.outcome || row.Kind == "other" && row.Crossing != tt.crosses {
					t.Errorf("%v, not %s", row, tt.outcome)
				}
			}
			if tt.crosses != (len(report.Crossings()) > 0) {
				t.Errorf("%d crossings", len(report.Crossings()))
			}
		})
	}
}

// "openssl s_server" gives both of its certificates one context, as most
// servers once did: a server that was not written here.
func TestSServer(t *testing.T) {
	openssl := peer(t, "openssl")
	dir := t.TempDir()
	args := []string{"s_server", "-accept", "127.0.0.1:0", "-www", "-servername", "b.test"}
	for name, p := range map[string]pair{"": certs().a, "2": certs().b} {
		cert, key := filepath.Join(dir, "cert"+name), filepath.Join(dir, "key"+name)
		must(t, os.WriteFile(cert, p.cert, 0o600))
		must(t, os.WriteFile(key, p.key, 0o600))
		args = append(args, "-cert"+name, cert, "-key"+name, key)
	}
	cmd := exec.Command(openssl, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr := ""
	lines := bufio.NewReader(out)
	for addr == "" {
		line, err := lines.ReadString('\n')
		must(t, err)
		if found := regexp.MustCompile(`^ACCEPT .*:(\d+)`).FindStringSubmatch(line); found != nil {
			addr = net.JoinHostPort("127.0.0.1", found[1])
		}
	}
	go io.Copy(io.Discard, lines)

	r := record(t, sessiontest.Target{Addr: addr, Hosts: []sessiontest.Host{{Name: "a.test"}, {Name: "b.test"}}})

	if r.fatal != "" {
		t.Fatal(r.fatal)
	}
	for _, way := range []string{"TLS 1.2 ticket", "TLS 1.2 id", "TLS 1.3 psk"} {
		for _, pair := range []string{`"a.test" offered under "b.test"`, `"b.test" offered under "a.test"`} {
			want := "crossing: " + way + ": a session of " + pair + ": resumed: that is another host"
			if !slices.Contains(r.errors, want) {
				t.Errorf("missing: %s", want)
			}
		}
	}
	for _, failure := range r.errors {
		if !strings.HasPrefix(failure, "crossing: ") {
			t.Error(failure)
		}
	}
	if t.Failed() {
		t.Logf("all failures:\n%s", strings.Join(r.errors, "\n"))
	}
}

// peer is a program that a test needs.
func peer(t testing.TB, name string) (path string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts " + name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("REQUIRE_PEERS") == "1" {
			t.Fatalf("%s is missing and REQUIRE_PEERS is set", name)
		}
		t.Skipf("%s is not on PATH: it is the server that this test probes", name)
	}
	return path
}

// A server that resumes nothing proves nothing, whether it gives out no
// sessions or does not take them back.
func TestNothingResumed(t *testing.T) {
	const want = "sessiontest: the server has resumed no session at all, not even at home: that none has crossed proves nothing"
	for _, tt := range []struct {
		name string
		make func(c *openssl.Ctx) error
		rows bool
	}{
		{"none given", func(c *openssl.Ctx) error {
			return errors.Join(c.SetSessionCacheMode(openssl.SessionCacheOff), c.SetOptions(openssl.OptionNoTicket), c.SetNumTickets(0))
		}, false},
		{"none taken", func(c *openssl.Ctx) error {
			// Every connection is a context of its own.
			n := 0
			var mu sync.Mutex
			return c.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
				mu.Lock()
				defer mu.Unlock()
				n++
				return nil, hello.SetSessionIDContext(fmt.Append(nil, n))
			})
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newHost(t, "a.test")
			must(t, c.SetSessionIDContext([]byte("a")))
			must(t, tt.make(c))
			target := sessiontest.Target{Addr: serve(t, c), Hosts: []sessiontest.Host{{Name: "a.test"}, {Name: "b.test"}}, Default: "a.test"}
			r := record(t, target)
			if r.fatal != "" || !slices.Equal(r.errors, []string{want}) {
				t.Errorf("%q %q", r.fatal, r.errors)
			}
			report, err := sessiontest.Probe(t.Context(), target)
			must(t, err)
			if got := len(report.Rows) > 0; got != tt.rows || report.Resumes {
				t.Errorf("%d rows, resumes: %v", len(report.Rows), report.Resumes)
			}
		})
	}
}

// A server that speaks one version has rows for that one.
func TestOneVersion(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			c := apart(t, func(c *openssl.Ctx) error {
				return errors.Join(c.SetMinVersion(version), c.SetMaxVersion(version))
			})
			target := sessiontest.Target{Addr: serve(t, c), Hosts: hosts()}
			other := tls.VersionTLS12 + tls.VersionTLS13 - version
			want := `sessiontest: visits in ` + tls.VersionName(other) + ` have failed at "a.test" and "b.test" (refused: protocol version not supported): `
			if r := record(t, target); r.fatal != "" || len(r.errors) != 1 || !strings.HasPrefix(r.errors[0], want) {
				t.Errorf("without Versions: %q %q", r.fatal, r.errors)
			}
			target.Versions = []uint16{version}
			sessiontest.Test(t, target)
			report, err := sessiontest.Probe(t.Context(), target)
			must(t, err)
			if len(report.Rows) == 0 || len(report.Refused) != 0 {
				t.Errorf("%d rows, refused: %v", len(report.Rows), report.Refused)
			}
			for _, row := range report.Rows {
				if row.Version != tls.VersionName(version) {
					t.Error(row)
				}
			}
		})
	}
}

// ends is a listener that is closed with the connection that it accepts last.
type ends struct {
	net.Listener
	left int
}

func (l *ends) Accept() (net.Conn, error) {
	l.left--
	if l.left == 0 {
		defer l.Close()
	}
	return l.Listener.Accept()
}

// A server that ends while it is probed has not refused what is offered to it then.
func TestServerEnds(t *testing.T) {
	// The offers of a.test are two connections each, and one more to judge a resumption
	// elsewhere: the server ends before an offer, and before a session is taken.
	for _, n := range []int{1, 2, 3, 4, 7} {
		wire, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		addr := serveOn(t, openssl.NewListener(&ends{wire, n}, apart(t, nil)), func(openssl.ConnectionState) string { return "204 No Content" })
		report, err := sessiontest.Probe(t.Context(), sessiontest.Target{Addr: addr, Hosts: hosts()})
		must(t, err)
		if len(report.Inconclusive) == 0 {
			t.Errorf("a server that ended after %d connections: the report is conclusive: %v", n, report.Rows)
		}
		for _, row := range report.Rows {
			if row.Crossing || row.Undecided != strings.Contains(row.Outcome, "connection refused") {
				t.Errorf("a server that ended after %d connections: %v, undecided: %v", n, row, row.Undecided)
			}
		}
	}
}

// A host that admits no client is named, with what to give; the other's sessions
// are offered nevertheless.
func TestRefused(t *testing.T) {
	target := sessiontest.Target{Addr: serve(t, apart(t, nil)), Hosts: []sessiontest.Host{{Name: "a.test"}, {Name: "b.test"}}}
	r := record(t, target)
	const want = `sessiontest: host "b.test" has refused every visit (refused: certificate required): no session of it could be made; give a client certificate that it accepts, or the name as the server knows it (CertPEM, -cert b.test=cert.pem,key.pem)`
	if r.fatal != "" || !slices.Equal(r.errors, []string{want}) {
		t.Errorf("%q %q", r.fatal, r.errors)
	}
	report, err := sessiontest.Probe(t.Context(), target)
	must(t, err)
	if !report.Resumes || len(report.Crossings()) != 0 {
		t.Errorf("%+v", report)
	}
}

// What cannot be probed is an error that names what to give.
func TestTargetErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := l.Addr().String()
	must(t, l.Close())
	client := certs().client
	two := hosts()
	with := func(h sessiontest.Host) []sessiontest.Host { return []sessiontest.Host{two[0], h} }
	for _, tt := range []struct {
		name   string
		target sessiontest.Target
		says   string
	}{
		{"no address", sessiontest.Target{Hosts: two}, "give host:port"},
		{"no hosts", sessiontest.Target{Addr: nobody}, "give the names that must be kept apart"},
		{"one host", sessiontest.Target{Addr: nobody, Hosts: two[:1]}, "give the names that must be kept apart"},
		{"empty name", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{})}, `host "": give a name`},
		{"no name", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "b test"})}, `host "b test": give a name`},
		{"address", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "127.0.0.1"})}, "addresses are never sent"},
		{"port", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "b.test:443"})}, "give it in the address"},
		{"twice", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "A.test"})}, `"A.test" is named twice`},
		{"no key", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "b.test", CertPEM: client.cert})}, `host "b.test": give a certificate and its key`},
		{"no certificate", sessiontest.Target{Addr: nobody, Hosts: with(sessiontest.Host{Name: "b.test", KeyPEM: client.key})}, `host "b.test": give a certificate and its key`},
		{"default that is no host", sessiontest.Target{Addr: nobody, Hosts: two, Default: "c.test"}, `default host "c.test" is none of the hosts`},
		{"default that is no name", sessiontest.Target{Addr: nobody, Hosts: two, Default: "c test"}, `default host "c test" is none of the hosts`},
		{"no version", sessiontest.Target{Addr: nobody, Hosts: two, Versions: []uint16{}}, "no protocol version"},
		{"another version", sessiontest.Target{Addr: nobody, Hosts: two, Versions: []uint16{tls.VersionTLS13, tls.VersionTLS11}}, "TLS 1.1 cannot be probed"},
		{"negative timeout", sessiontest.Target{Addr: nobody, Hosts: two, Timeout: -1}, "give 0"},
		{"nobody there", sessiontest.Target{Addr: nobody, Hosts: two}, "give the address of a TLS server"},
		{"unknown network", sessiontest.Target{Network: "tin", Addr: nobody, Hosts: two}, "unknown network tin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := record(t, tt.target)
			if !strings.HasPrefix(r.fatal, "sessiontest: ") || !strings.Contains(r.fatal, tt.says) || strings.Contains(r.fatal, "\n") || len(r.errors) != 0 {
				t.Errorf("%q %q", r.fatal, r.errors)
			}
		})
	}
}

// The greeting is the caller's where a server does not speak HTTP.
func TestGreeting(t *testing.T) {
	c := apart(t, nil)
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	must(t, err)
	said := make(chan string, 100)
	var server sync.WaitGroup
	server.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				said <- line
				io.WriteString(conn, "220 well\n")
			}
			conn.Close()
		}
	})
	sessiontest.Test(t, sessiontest.Target{
		Addr: l.Addr().String(), Hosts: hosts(),
		Greeting: func(host string) []byte { return []byte("EHLO " + host + "\n") },
	})
	must(t, l.Close())
	server.Wait()
	close(said)
	seen := map[string]bool{}
	for line := range said {
		seen[line] = true
	}
	if len(seen) != 4 || !seen["EHLO a.test\n"] || !seen["EHLO b.test\n"] || !seen["EHLO A.TEST\n"] || !seen["EHLO B.TEST\n"] {
		t.Errorf("%v", seen)
	}
}

// A probe ends with its context, even against a server that says nothing.
func TestCancel(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		cancel()
		if err == nil {
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	_, err = sessiontest.Probe(ctx, sessiontest.Target{Addr: l.Addr().String(), Hosts: hosts()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
