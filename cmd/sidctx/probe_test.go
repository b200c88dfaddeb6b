package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	engine "github.com/sidctx/openssl/probe"
)

// serving is "sidctx serve" at work in this process.
type serving struct {
	addr, dir string
	said      *said
	stop      func() error // ends it, and gives what it returned
}

// startServe runs serve until stop is called, or the test ends.
func startServe(t *testing.T, args ...string) serving {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	out := &said{line: make(chan string, 1)}
	var errOut bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, out, &errOut, append([]string{"serve"}, args...))
		close(out.line)
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { stop() })
	line := <-out.line
	found := regexp.MustCompile(`^listening on (\S+), certificates in (.+)\n$`).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("serve: %q, %v: %s", line, stop(), errOut.String())
	}
	return serving{found[1], found[2], out, stop}
}

// said is what is written; it sends what was written first.
type said struct {
	line chan string
	mu   sync.Mutex
	all  []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.line <- string(p)
	}
	s.all = append(s.all, p...)
	return len(p), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// client is the flags that introduce the client of a serve to b.test.
func (s serving) client() []string {
	return []string{"-cert", "b.test=" + filepath.Join(s.dir, "client.crt") + "," + filepath.Join(s.dir, "client.key")}
}

func (s serving) probe(t *testing.T, more ...string) (out, errOut string, err error) {
	t.Helper()
	args := append([]string{"probe", s.addr, "-host", "a.test", "-host", "b.test"}, s.client()...)
	var o, e bytes.Buffer
	err = run(t.Context(), &o, &e, append(args, more...))
	return o.String(), e.String(), err
}

const probeHeader = "protocol  mechanism  session of  offered under  name     outcome                        verdict\n"

// Hosts that are apart: the whole table, and exit status 0.
func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{{"tickets", nil}, {"cache", []string{"-no-ticket"}}} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, err := startServe(t, tt.args...).probe(t)
			if err != nil || errOut != "" {
				t.Fatalf("%v\n%s%s", err, out, errOut)
			}
			const tickets = `TLS 1.2   ticket     a.test      a.test         same     resumed                        ok
TLS 1.2   ticket     a.test      b.test         other    refused: handshake failure     ok
TLS 1.2   ticket     a.test      -              absent   refused: unrecognized name     ok
TLS 1.2   ticket     a.test      nobody.a.test  unknown  refused: unrecognized name     ok
TLS 1.2   ticket     a.test      A.TEST         odd      resumed                        ok
TLS 1.2   ticket     b.test      b.test         same     resumed                        ok
TLS 1.2   ticket     b.test      a.test         other    full                           ok
TLS 1.2   ticket     b.test      -              absent   refused: unrecognized name     ok
TLS 1.2   ticket     b.test      nobody.b.test  unknown  refused: unrecognized name     ok
TLS 1.2   ticket     b.test      B.TEST         odd      resumed                        ok
`
			id := strings.ReplaceAll(tickets, "ticket", "id    ")
			psk := strings.ReplaceAll(strings.ReplaceAll(id, "1.2   id ", "1.3   psk"), "refused: handshake failure   ", "refused: certificate required")
			want := probeHeader + id + psk
			if tt.args == nil {
				want = probeHeader + tickets + id + psk
			}
			if out != want {
				t.Errorf("%s\ninstead of\n%s", out, want)
			}
		})
	}
}

// Hosts that share a context: each crossing is named, and the command fails.
func TestProbeCrossing(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		args       []string
	}{
		{"tickets", "6 of 30", nil},
		{"cache", "4 of 20", []string{"-no-ticket"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, _, err := startServe(t, append(tt.args, "-same-context")...).probe(t)
			if err == nil || errors.Is(err, errUsage) || err.Error() != "sidctx probe: "+tt.says+" offers crossed from one host to another" {
				t.Errorf("%v", err)
			}
			for line := range strings.Lines(out) {
				crosses := strings.Contains(line, " other ")
				if crosses != strings.Contains(line, "  CROSSING: that ") || crosses && !strings.Contains(line, " resumed ") {
					t.Error(line)
				}
			}
		})
	}
}

// -json is the report and nothing else, with the same exit status.
func TestProbeJSON(t *testing.T) {
	for _, tt := range []struct {
		name      string
		args      []string
		crossings int
	}{{"apart", nil, 0}, {"together", []string{"-same-context"}, 6}} {
		t.Run(tt.name, func(t *testing.T) {
			out, _, err := startServe(t, tt.args...).probe(t, "-json")
			if (err != nil) != (tt.crossings > 0) {
				t.Errorf("probe: %v", err)
			}
			var report engine.Report
			decoder := json.NewDecoder(strings.NewReader(out))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&report); err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if _, err := decoder.Token(); err != io.EOF {
				t.Errorf("behind the report: %v", err)
			}
			if len(report.Rows) != 30 || !report.Resumes || len(report.Crossings()) != tt.crossings {
				t.Errorf("%s", out)
			}
			want := engine.Row{
				Version: "TLS 1.2", Mechanism: "ticket", From: "a.test", To: "b.test", Kind: "other",
				Outcome: "refused: handshake failure",
			}
			if tt.crossings > 0 {
				want.Outcome, want.Crossing = "resumed", true
				want.Why = "that host refuses a client without a certificate, and has been entered by one"
			}
			if report.Rows[1] != want {
				t.Errorf("%+v instead of %+v", report.Rows[1], want)
			}
		})
	}
}

// A host that refuses every visit is named; the offers of the others are no proof.
func TestProbeNotes(t *testing.T) {
	s := startServe(t)
	out, errOut, err := sidctx(t, "probe", s.addr, "-host", "a.test", "-host", "b.test")
	if !errors.Is(err, errInconclusive) || strings.Contains(out, "CROSSING") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.HasPrefix(errOut, "note: host \"b.test\" has refused every visit") || !strings.HasSuffix(errOut, "-cert b.test=cert.pem,key.pem)\n") {
		t.Errorf("%s", errOut)
	}
}

// junit is what -junit writes, as another program would read it.
type junit struct {
	Suites []struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			Out     string `xml:"system-out"`
			Failure *struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
			Error *struct {
				Message string `xml:"message,attr"`
			} `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// -junit has a test case for each offer, beside -json, and one more for each other
// reason not to exit with 0.
func TestProbeJUnit(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	closed.Close()
	apart := startServe(t)
	for _, tt := range []struct {
		name                    string
		args                    []string
		tests, failures, errors int
		says                    string
	}{
		{"apart", append([]string{apart.addr}, apart.client()...), 30, 0, 0, ""},
		{"crossing", nil, 30, 6, 0, "that host refuses a client without a certificate, and has been entered by one"},
		{"refused", []string{apart.addr}, 15 + 1, 0, 1, `host "b.test" has refused every visit`},
		{"undecided", []string{oneCertificate(t)}, 42 + 2, 0, 12 + 2, "it cannot be seen which of them is the default"},
		{"not connected", []string{closed.Addr().String()}, 1, 0, 1, "no TLS server has answered at 127.0.0.1:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.args == nil {
				s := startServe(t, "-same-context")
				tt.args = append([]string{s.addr}, s.client()...)
			}
			file := filepath.Join(t.TempDir(), "junit.xml")
			args := append([]string{"probe"}, tt.args...)
			out, errOut, err := sidctx(t, append(args, "-host", "a.test", "-host", "b.test", "-json", "-junit", file)...)
			if (err != nil) != (tt.failures+tt.errors > 0) {
				t.Errorf("%v\n%s", err, errOut)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("ReadFile: %v", err)
			}
			var got junit
			if err := xml.Unmarshal(b, &got); err != nil || len(got.Suites) != 1 {
				t.Fatalf("%v\n%s", err, b)
			}
			suite := got.Suites[0]
			if suite.Tests != tt.tests || len(suite.Cases) != tt.tests || suite.Failures != tt.failures || suite.Errors != tt.errors {
				t.Errorf("tests %d (%d), failures %d, errors %d", suite.Tests, len(suite.Cases), suite.Failures, suite.Errors)
			}
			if !strings.Contains(string(b), strings.ReplaceAll(tt.says, `"`, "&#34;")) {
				t.Errorf("%q is missing", tt.says)
			}
			var report engine.Report
			if err := json.Unmarshal([]byte(out), &report); err != nil && tt.tests > 1 {
				t.Fatalf("Unmarshal: %v\n%s", err, out)
			}
			names := make(map[string]bool)
			failures, errs := 0, 0
			for i, c := range suite.Cases {
				names[c.Name] = true
				if i < len(report.Rows) && (c.Name+": "+c.Out != strings.TrimSuffix(report.Rows[i].String(), ": "+report.Rows[i].Why) || report.Rows[i].Crossing != (c.Failure != nil)) {
					t.Errorf("case %+v of %v", c, report.Rows[i])
				}
				if c.Failure != nil {
					failures++
				}
				if c.Error != nil {
					errs++
				}
			}
			if len(names) != tt.tests || failures != tt.failures || errs != tt.errors {
				t.Errorf("%d names, %d failures, %d errors", len(names), failures, errs)
			}
			if t.Failed() {
				t.Logf("%s", b)
			}
		})
	}
}

// oneCertificate serves a.test and b.test with one certificate; other names lead to
// a.test.
func oneCertificate(t *testing.T) (addr string) {
	t.Helper()
	s := &site{dir: t.TempDir()}
	certs, err := newPKI(s.dir)
	if err != nil {
		t.Fatalf("making certificates: %v", err)
	}
	byName := make(map[string]*openssl.Ctx)
	front, err := s.newCtx()
	if err == nil {
		err = certs.leaf("all.test")
	}
	for _, name := range []string{"a.test", "b.test"} {
		c, cerr := s.newCtx()
		byName[name] = c
		err = errors.Join(err, cerr, c.UseCertificateFiles(certs.certFile("all.test"), certs.keyFile("all.test")), c.SetSessionIDContext([]byte(name)))
	}
	err = errors.Join(err, front.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return cmp.Or(byName[hello.ServerName], byName["a.test"]), nil
	}))
	l, lerr := openssl.Listen("tcp", "127.0.0.1:0", front)
	if err = errors.Join(err, lerr); err != nil {
		t.Fatalf("a server with one certificate for two hosts: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		s.close()
	})
	return l.Addr().String()
}

// What cannot be judged is no success, and says what to give; with that it is one.
func TestProbeUndecided(t *testing.T) {
	addr := oneCertificate(t)
	args := []string{"probe", addr, "-host", "a.test", "-host", "b.test"}
	out, errOut, err := sidctx(t, args...)
	if !errors.Is(err, errInconclusive) || !strings.Contains(err.Error(), "12 of 42 offers are undecided: ") || !strings.Contains(err.Error(), "-default name") {
		t.Errorf("without -default: %v\n%s%s", err, out, errOut)
	}
	if strings.Count(out, "  UNDECIDED: ") != 12 || strings.Contains(out, "CROSSING") || !strings.Contains(out, "  -               a.test ") {
		t.Errorf("without -default:\n%s", out)
	}
	if out, errOut, err := sidctx(t, append(args, "-default", "a.test")...); err != nil || errOut != "" || strings.Contains(out, "UNDECIDED") {
		t.Errorf("-default a.test: %v\n%s%s", err, out, errOut)
	}
	if out, _, err := sidctx(t, append(args, "-default", "b.test")...); err == nil || errors.Is(err, errInconclusive) || strings.Count(out, "  CROSSING: ") != 12 {
		t.Errorf("-default b.test, which it is not: %v\n%s", err, out)
	}
}

// Each misuse has a sentence of its own, and is answered before anybody is called.
func TestProbeUsage(t *testing.T) {
	dir := t.TempDir()
	certs, err := newPKI(dir)
	if err != nil {
		t.Fatalf("newPKI: %v", err)
	}
	if err := certs.leaf("client"); err != nil {
		t.Fatalf("leaf: %v", err)
	}
	cert, key := certs.certFile("client"), certs.keyFile("client")
	const nobody = "192.0.2.1:443" // of a network for documentation
	for _, tt := range []struct {
		name, says string
		args       []string
	}{
		{"no address", "no address: give host:port first", []string{"-host", "a", "-host", "b"}},
		{"no port", `"a.test" is not host:port`, []string{"a.test", "-host", "a", "-host", "b"}},
		{"address behind flags", `"` + nobody + `" is no flag`, []string{"-host", "a", "-host", "b", nobody}},
		{"no hosts", "give -host for two names or more", []string{nobody}},
		{"one host", "give -host for two names or more", []string{nobody, "-host", "a"}},
		{"a host twice", `"A" is named twice`, []string{nobody, "-host", "a", "-host", "A"}},
		{"no host name", `host "a b": give a name`, []string{nobody, "-host", "a b", "-host", "b"}},
		{"a host with a port", "a port is no part of a name", []string{nobody, "-host", "a:443", "-host", "b"}},
		{"an address as host", "addresses are never sent", []string{nobody, "-host", "192.0.2.1", "-host", "b"}},
		{"cert without files", `-cert "b" is not name=cert.pem,key.pem`, []string{nobody, "-host", "a", "-host", "b", "-cert", "b"}},
		{"cert without key", `-cert "b=c.pem" is not name=cert.pem,key.pem`, []string{nobody, "-host", "a", "-host", "b", "-cert", "b=c.pem"}},
		{"cert of nobody", `-cert for "c", which is no -host`, []string{nobody, "-host", "a", "-host", "b", "-cert", "c=" + cert + "," + key}},
		{"no cert file", "no such file", []string{nobody, "-host", "a", "-host", "b", "-cert", "b=" + filepath.Join(dir, "none") + "," + key}},
		{"no key file", "no such file", []string{nobody, "-host", "a", "-host", "b", "-cert", "b=" + cert + "," + filepath.Join(dir, "none")}},
		{"cert for key", `host "b": give a certificate and its key in PEM`, []string{nobody, "-host", "a", "-host", "b", "-cert", "b=" + cert + "," + cert}},
		{"a default that is no host", `default host "c" is none of the hosts`, []string{nobody, "-host", "a", "-host", "b", "-default", "c"}},
		{"no version", "give 1.2 or 1.3", []string{nobody, "-host", "a", "-host", "b", "-tls", "1.1"}},
		{"no place for the report", "no such file", []string{nobody, "-host", "a", "-host", "b", "-junit", filepath.Join(dir, "none", "junit.xml")}},
		{"no time", "-timeout 0s is no time", []string{nobody, "-host", "a", "-host", "b", "-timeout", "0"}},
		{"unknown flag", "-hosts", []string{nobody, "-hosts", "a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, err := sidctx(t, append([]string{"probe"}, tt.args...)...)
			if !errors.Is(err, errUsage) || out != "" || !strings.Contains(errOut, tt.says) {
				t.Errorf("%v\n%s%s", err, out, errOut)
			}
		})
	}
}

// A port without a listener is neither a usage error nor a clean server.
func TestProbeNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	addr := l.Addr().String()
	l.Close()
	_, _, err = sidctx(t, "probe", addr, "-host", "a.test", "-host", "b.test")
	if err == nil || errors.Is(err, errUsage) || !errors.Is(err, engine.ErrConnect) || !strings.Contains(err.Error(), "give the address of a TLS server") {
		t.Errorf("sidctx: %v", err)
	}
}

// startSServer is "openssl s_server" with the certificates of a.test and, unless it is
// the only one, b.test: one context for both.
func startSServer(t *testing.T, certs *pki, args ...string) (addr string) {
	t.Helper()
	args = append([]string{
		"s_server", "-accept", "127.0.0.1:0", "-www", "-cert", certs.certFile("a.test"), "-key", certs.keyFile("a.test"),
		"-servername", "b.test", "-cert2", certs.certFile("b.test"), "-key2", certs.keyFile("b.test"),
	}, args...)
	cmd := exec.Command(peer(t, "openssl"), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("StdoutPipe: %v", err)
	}
	start(t, cmd)
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("s_server has ended: %v", err)
		}
		if found := regexp.MustCompile(`^ACCEPT .*:(\d+)`).FindStringSubmatch(line); found != nil {
			go io.Copy(io.Discard, lines)
			return net.JoinHostPort("127.0.0.1", found[1])
		}
	}
}

// The exit statuses, each from servers of several makes. A name that a server does not know is
// never a success, whether the server refuses it or answers it as any other.
func TestExitStatus(t *testing.T) {
	if args := os.Getenv("SIDCTX_ARGS"); args != "" {
		os.Args = append([]string{"sidctx"}, strings.Split(args, " ")...)
		main()
		os.Exit(0)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	closed.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer mute.Close()
	certs := peerCerts(t)
	cert := " -cert b.test=" + certs.certFile("client") + "," + certs.keyFile("client")
	const both = " -host a.test -host b.test"
	serve := func(args ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			s := startServe(t, args...)
			return s.addr + " " + strings.Join(s.client(), " ")
		}
	}
	sServer := func(args ...string) func(*testing.T) string {
		return func(t *testing.T) string { return startSServer(t, certs, args...) }
	}
	nginx := func(t *testing.T) string { return startNginx(t, certs) }
	apache := func(t *testing.T) string { return startApache(t, certs) }
	at := func(addr string) func(*testing.T) string { return func(*testing.T) string { return addr } }
	for _, tt := range []struct {
		name   string
		server func(*testing.T) string
		args   string
		codes  []int // one of them
	}{
		{"serve apart", serve(), both, []int{0}},
		{"serve apart in one version", serve(), both + " -tls 1.3", []int{0}},
		{"Apache", apache, both + cert, []int{0}},
		{"serve crossing", serve("-same-context"), both, []int{1}},
		{"s_server crossing", sServer(), both, []int{1}},
		{"s_server crossing, one version not spoken", sServer("-tls1_3"), both, []int{1}},
		{"no arguments", nil, "probe", []int{2}},
		{"misuse of serve", nil, "serve -host ca", []int{2}},
		{"undecided", func(t *testing.T) string { return oneCertificate(t) }, both, []int{3}},
		{"serve refuses", func(t *testing.T) string { return startServe(t).addr }, both, []int{3}},
		{"serve does not know a name", serve(), " -host a.tset -host b.test", []int{3}},
		{"serve knows none", func(t *testing.T) string { return startServe(t).addr }, " -host a.tset -host b.tset", []int{3}},
		{"s_server resumes nothing", sServer("-no_ticket", "-no_cache", "-num_tickets", "0"), both, []int{3}},
		{"s_server speaks TLS 1.2", sServer("-tls1_2", "-no_ticket", "-no_cache"), both, []int{3}},
		{"nginx does not know a name", nginx, " -host a.test -host c.tset" + " -tls 1.3 -tls 1.2", []int{1, 3}},
		{"Apache does not know a name", apache, " -host b.test -host c.tset" + cert, []int{3}},
		{"s_server does not know a name", sServer(), " -host b.test -host c.tset", []int{1, 3}},
		{"nobody listens", at(closed.Addr().String()), both, []int{4}},
		{"nobody answers", at(mute.Addr().String()), both + " -timeout 100ms", []int{4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.server != nil {
				addr, client, _ := strings.Cut(tt.server(t), " ")
				args = "probe " + addr + args
				if client != "" && strings.Contains(args, "b.test") {
					args += " " + client
				}
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestExitStatus$")
			cmd.Env = append(os.Environ(), "SIDCTX_ARGS="+args)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); !slices.Contains(tt.codes, got) {
				t.Errorf("%d, not %v: sidctx %s\n%s", got, tt.codes, args, out)
			}
		})
	}
}

// serve answers by host, and ends on a signal, with nothing left on disk
// and whatever clients are connected.
func TestServe(t *testing.T) {
	s := startServe(t)
	idle, err := net.Dial("tcp", s.addr) // says nothing
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer idle.Close()
	begun := time.Now()
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if conn, err := net.Dial("tcp", s.addr); err == nil {
		conn.Close()
		t.Error("it listens still")
	}
}

// What serve suggests works as it stands: curl gets in at each host, and probe
// finds nothing.
func TestServeSuggests(t *testing.T) {
	peer(t, "curl")
	s := startServe(t)
	// Its suggestions stand behind the line that startServe has read: a visit
	// begins after they were written.
	if _, _, err := s.probe(t); err != nil {
		t.Fatalf("probe: %v", err)
	}
	var ran []string
	for line := range strings.Lines(s.said.String()) {
		args := strings.Fields(line)
		if !strings.HasPrefix(line, "  ") {
			continue
		}
		ran = append(ran, args[0])
		if args[0] == "sidctx" {
			var out, errOut bytes.Buffer
			if err := run(t.Context(), &out, &errOut, args[1:]); err != nil || errOut.Len() > 0 {
				t.Errorf("%s%v\n%s%s", line, err, out.String(), errOut.String())
			}
			continue
		}
		out, err := exec.CommandContext(t.Context(), args[0], append([]string{"--silent", "--show-error", "--noproxy", "*"}, args[1:]...)...).CombinedOutput()
		who := "client nobody"
		if strings.Contains(line, "--cert ") {
			who = "client client"
		}
		if err != nil || !strings.HasPrefix(string(out), "host ") || !strings.Contains(string(out), who) {
			t.Errorf("%s%v\n%s", line, err, out)
		}
	}
	if strings.Join(ran, " ") != "curl curl sidctx" {
		t.Errorf("it suggests %v", ran)
	}
}

// Hosts of one's own, and a folder of one's own, which stays.
func TestServeHosts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by it")
	s := startServe(t, "-dir", dir, "-host", "One.test", "-host", "two.test:cert", "-host", "three.test")
	client := "two.test=" + filepath.Join(dir, "client.crt") + "," + filepath.Join(dir, "client.key")
	out, errOut, err := sidctx(t, "probe", s.addr, "-host", "one.test", "-host", "two.test", "-host", "three.test", "-cert", client)
	if err != nil || errOut != "" || strings.Count(out, "\n") != 1+3*3*6 {
		t.Errorf("%v\n%s%s", err, out, errOut)
	}
	if err := s.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if ignored, err := os.ReadFile(filepath.Join(dir, ".gitignore")); err != nil || string(ignored) != "*\n" {
		t.Errorf("the .gitignore of the folder that it has made: %q %v", ignored, err)
	}
	there := t.TempDir()
	startServe(t, "-dir", there)
	if _, err := os.Stat(filepath.Join(there, ".gitignore")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a .gitignore in a folder that was there: %v", err)
	}
	for _, name := range []string{"ca.crt", "client.crt", "client.key", "one.test.crt", "two.test.crt", "three.test.key"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("Stat: %v", err)
		}
	}
}

func TestServeUsage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatalf("WriteFile: %v", err)
	}
	for _, tt := range []struct {
		name, says string
		args       []string
		usage      bool
	}{
		{"no name", `-host "" is not a name`, []string{"-host", ""}, true},
		{"a path", `-host "../x" is not a name`, []string{"-host", "../x"}, true},
		{"a wildcard", `-host "*.test" is not a name`, []string{"-host", "*.test"}, true},
		{"a port", `-host "a.test:443" is not a name`, []string{"-host", "a.test:443"}, true},
		{"twice", `-host "A.test:cert": a.test.crt is another host's`, []string{"-host", "a.test", "-host", "A.test:cert"}, true},
		{"the client's files", `client.crt is the client's`, []string{"-host", "client"}, true},
		{"the authority's files", `ca.crt is the authority's`, []string{"-host", "ca"}, true},
		{"argument", `"now" is no flag`, []string{"now"}, true},
		{"no folder", "not a directory", []string{"-dir", filepath.Join(file, "below")}, false},
		{"taken", "address already in use", []string{"-addr", l.Addr().String()}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, err := sidctx(t, append([]string{"serve"}, tt.args...)...)
			said := errOut
			if err != nil && !tt.usage {
				said += err.Error()
			}
			if err == nil || errors.Is(err, errUsage) != tt.usage || !strings.Contains(said, tt.says) || out != "" {
				t.Errorf("%v\n%s%s", err, out, errOut)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}
