package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// A host that refuses every visit leaves the probe inconclusive, and is no crossing.
func TestProbeRefused(t *testing.T) {
	s := startServe(t)
	out, _, err := sidctx(t, "probe", s.addr, "-host", "a.test", "-host", "b.test")
	if strings.Contains(out, "CROSSING") {
		t.Errorf("%s", out)
	}
	if !errors.Is(err, errInconclusive) || !strings.Contains(err.Error(), "host \"b.test\" has refused every visit") || !strings.HasSuffix(err.Error(), "-cert b.test=cert.pem,key.pem") {
		t.Errorf("%v", err)
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
	if !errors.Is(err, errInconclusive) || !strings.Contains(err.Error(), "12 of 42 offers: give -default name") {
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

// nowhere is an address without a listener.
func nowhere(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// -junit has a test case for each offer, and one more for what proves nothing.
func TestProbeJUnit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serve  []string
		failed bool
	}{
		{"apart", []string{"-host", "a.test", "-host", "b.test"}, false},
		{"crossing", []string{"-host", "a.test", "-host", "b.test", "-same-context"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "probe.xml")
			s := startServe(t, tt.serve...)
			sidctx(t, "probe", s.addr, "-host", "a.test", "-host", "b.test", "-junit", file)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("ReadFile: %v", err)
			}
			var got struct {
				Tests    int `xml:"tests,attr"`
				Failures int `xml:"failures,attr"`
				Cases    []struct {
					Failure *struct{} `xml:"failure"`
				} `xml:"testcase"`
			}
			if err := xml.Unmarshal(b, &got); err != nil {
				t.Fatalf("Unmarshal: %v", err)
			}
			failed := 0
			for _, c := range got.Cases {
				if c.Failure != nil {
					failed++
				}
			}
			if got.Tests < 30 || got.Tests != len(got.Cases) || got.Failures != failed || (failed > 0) != tt.failed {
				t.Errorf("%d tests, %d cases, %d failures, %d failed cases", got.Tests, len(got.Cases), got.Failures, failed)
			}
		})
	}
}

// A port without a listener is neither a usage error nor a clean server.
func TestProbeNobody(t *testing.T) {
	_, _, err := sidctx(t, "probe", nowhere(t), "-host", "a.test", "-host", "b.test")
	if !errors.Is(err, errNoConnection) || !strings.Contains(err.Error(), "give the address of a TLS server") {
		t.Errorf("sidctx: %v", err)
	}
}

// The exit status: 0, 1 for a crossing, 2 for a usage error, 3 for what proves nothing, 4 for
// a server that is not there.
func TestExitStatus(t *testing.T) {
	if args := os.Getenv("SIDCTX_ARGS"); args != "" {
		os.Args = append([]string{"sidctx"}, strings.Split(args, " ")...)
		main()
		os.Exit(0)
	}
	probe := func(s serving) string {
		return "probe " + s.addr + " -host a.test -host b.test"
	}
	apart := startServe(t, "-host", "a.test", "-host", "b.test")
	for _, tt := range []struct {
		name, args string
		code       int
	}{
		{"apart", probe(apart), 0},
		{"crossing", probe(startServe(t, "-same-context")), 1},
		{"undecided", "probe " + oneCertificate(t) + " -host a.test -host b.test", 3},
		{"a host that the server does not know", "probe " + apart.addr + " -host a.test -host c.test", 3},
		{"no host that the server knows", "probe " + apart.addr + " -host c.test -host d.test", 3},
		{"a version left out", probe(apart) + " -versions 1.3", 0},
		{"a version that is none", probe(apart) + " -versions 1.1", 2},
		{"no listener", "probe " + nowhere(t) + " -host a.test -host b.test", 4},
		{"misuse", "probe", 2},
		{"misuse of serve", "serve -host ca", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestExitStatus$")
			cmd.Env = append(os.Environ(), "SIDCTX_ARGS="+tt.args)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("%d, not %d\n%s", got, tt.code, out)
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
