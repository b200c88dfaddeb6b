package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:embed peers/c/cbench.c
var cSource []byte

// opensslConf gives every libssl program the same ciphers and groups, also the
// one whose API cannot name them.
const opensslConf = `openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = tls
[tls]
MinProtocol = TLSv1.2
CipherString = ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519:P-256
`

// lab is a folder with the built peers and what they share.
type lab struct {
	dir     string
	profile string // where Go peers leave CPU profiles, if anywhere
	pin     bool   // taskset is there, and two processors
}

// newLab builds every peer. One that does not build is an error: a table with
// a column missing would not be the comparison that it says it is.
func newLab(dir string) (*lab, error) {
	l := &lab{dir: dir}
	if _, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() >= 2 {
		l.pin = true
	}
	if err := os.WriteFile(l.file("openssl.cnf"), []byte(opensslConf), 0o600); err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.certificate("rsa", rsaKey), l.certificate("ecdsa", ecKey)); err != nil {
		return nil, err
	}
	return l, errors.Join(l.buildC(), l.buildGo("sidctx"), l.buildGo("cryptotls"), l.buildGo("libp2p"))
}

func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) certificate(name string, key crypto.Signer) error {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "bench"},
		DNSNames:     []string{"bench.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(48 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(l.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(l.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func (l *lab) buildC() error {
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libssl", "libcrypto").Output()
	if err != nil {
		return fmt.Errorf("the C peer needs pkg-config and OpenSSL's headers: %w", err)
	}
	if err := os.WriteFile(l.file("cbench.c"), cSource, 0o600); err != nil {
		return err
	}
	args := append([]string{"-O2", "-pthread", "-o", l.file("cbench"), l.file("cbench.c")}, strings.Fields(string(flags))...)
	return output(exec.Command("cc", args...), "the C peer")
}

func (l *lab) buildGo(name string) error {
	cmd := exec.Command("go", "build", "-o", l.file(name), "github.com/sidctx/openssl/bench/peers/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	return output(cmd, "the peer "+name)
}

func output(cmd *exec.Cmd, what string) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not build: %w\n%s", what, err, out)
	}
	return nil
}

// process is a worker, or the client at the far end of TCP cases.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	port  string
}

// launch is how a program is started.
type launch struct {
	cpu  int      // where it is pinned, negative for anywhere
	env  []string // more of the environment
	wrap []string // what is started in its place, with it as the argument
}

// start runs a program of the lab and waits until it is ready.
func (l *lab) start(ctx context.Context, how launch, program string, args ...string) (*process, error) {
	argv := slices.Concat(how.wrap, []string{l.file(program)}, args)
	if l.pin && how.cpu >= 0 {
		argv = append([]string{"taskset", "-c", fmt.Sprint(how.cpu)}, argv...)
	}
	p := &process{name: strings.Join(append([]string{program}, args[:min(len(args), 4)]...), " "), lines: make(chan string)}
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Env = append(append(os.Environ(), "GOMAXPROCS=2", "OPENSSL_CONF="+l.file("openssl.cnf")), how.env...)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	line, err := p.hear()
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(line, "ready %s", &p.port); err != nil {
		return nil, fmt.Errorf("%s: %q instead of ready", p.name, line)
	}
	return p, nil
}

// patience is how long a worker may take for one round.
const patience = 2 * time.Minute

func (p *process) hear() (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("%s has ended before its answer", p.name)
		}
		return line, nil
	case <-time.After(patience):
		return "", fmt.Errorf("%s has not answered in %v", p.name, patience)
	}
}

func (p *process) say(format string, args ...any) error {
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	return err
}

// sample is what one round has cost one peer.
type sample struct {
	CPU   int64 `json:"cpu_ns"`
	Wall  int64 `json:"wall_ns"`
	Ops   int64 `json:"ops"`
	Bytes int64 `json:"bytes,omitempty"`
}

func (s sample) perOp(c *benchCase) float64 {
	switch {
	case c.memory:
		return float64(s.Bytes) / float64(s.Ops) / 1024
	case c.latency:
		return float64(s.Wall) / 1000
	}
	return float64(s.CPU) / float64(s.Ops) / 1000
}

func (p *process) ok() (s sample, err error) {
	line, err := p.hear()
	if err != nil {
		return s, err
	}
	if _, err := fmt.Sscanf(line, "ok %d %d %d %d", &s.CPU, &s.Wall, &s.Ops, &s.Bytes); err != nil {
		return s, fmt.Errorf("%s: %q instead of ok", p.name, line)
	}
	return s, nil
}

func (p *process) stop() error {
	p.in.Close()
	for range p.lines {
	}
	return p.cmd.Wait()
}

// stand is one case with its peers at work.
type stand struct {
	lab     *lab
	c       *benchCase
	client  *process // the far end of a TCP case
	workers map[string]*process
	n       map[string]int // operations per round
}

// startPeer starts the worker of a peer; how has no processor yet.
func (l *lab) startPeer(ctx context.Context, c *benchCase, peer string, how launch) (*process, error) {
	how.cpu = -1
	if c.verb() != "" {
		how.cpu = 0
	}
	args := c.args(l.dir)
	switch peer {
	case idleC:
		how.env = append(how.env, "BENCH_IDLE_THREAD=1")
		fallthrough
	case plainC:
		return l.start(ctx, how, "cbench", append([]string{"worker"}, args...)...)
	}
	program := map[string]string{ours: "sidctx", goTLS: "cryptotls", libp2p: "libp2p"}[peer]
	if l.profile != "" {
		how.env = append(how.env, "BENCH_CPUPROFILE="+filepath.Join(l.profile, c.id+"."+program+".pprof"))
	}
	return l.start(ctx, how, program, args...)
}

// run has one peer do n operations.
func (s *stand) run(peer string, n int) (sample, error) {
	w, verb := s.workers[peer], s.c.verb()
	if err := w.say("run %d", n); err != nil {
		return sample{}, err
	}
	if verb == "" {
		return w.ok()
	}
	if err := s.client.say("%s %s %d %d", verb, w.port, s.c.size, n); err != nil {
		return sample{}, err
	}
	if s.c.kind == idle {
		if _, err := s.client.ok(); err != nil {
			return sample{}, err
		}
		got, err := w.ok()
		if err != nil {
			return sample{}, err
		}
		if err := s.client.say("release 0 0 0"); err != nil {
			return sample{}, err
		}
		_, err = s.client.ok()
		return got, err
	}
	got, err := w.ok()
	if err != nil {
		return sample{}, err
	}
	_, err = s.client.ok()
	return got, err
}

// series is every round of one case: the same index is the same round.
type series map[string][]sample

func (c *benchCase) peers() []string {
	return slices.DeleteFunc(slices.Clone(peers), func(p string) bool { return c.without[p] != "" })
}

// measure runs one case, peer by peer within each round, in an order that
// turns round after round.
func (l *lab) measure(ctx context.Context, c *benchCase, sc scale, progress func(string)) (got series, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // kills what a failure has left
	s := &stand{lab: l, c: c, workers: map[string]*process{}, n: map[string]int{}}
	if c.verb() != "" {
		if s.client, err = l.start(ctx, launch{cpu: 1}, "cbench", "client"); err != nil {
			return nil, err
		}
		defer s.client.stop()
	}
	order, rounds := c.peers(), sc.rounds
	switch {
	case c.memory:
		rounds = sc.memoryRounds
	case c.latency:
		rounds = sc.memoryRounds
		for _, p := range order {
			if s.workers[p], err = l.startPeer(ctx, c, p, launch{}); err != nil {
				return nil, err
			}
			if _, err := s.run(p, 1); err != nil {
				return nil, err
			}
		}
	default:
		for _, p := range order {
			if err := s.warm(ctx, p, sc.sample); err != nil {
				return nil, err
			}
		}
	}
	got = series{}
	for round := range rounds {
		progress(fmt.Sprintf("%s: round %d of %d", c.id, round+1, rounds))
		for _, p := range order {
			var one sample
			if c.memory {
				one, err = s.fresh(ctx, p, sc.connections)
			} else if c.latency {
				one, err = underLoad(ctx, s.workers[p].port, c.mode, min(sc.connections, 100), sc.mixed)
			} else {
				one, err = s.run(p, s.n[p])
			}
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", c.id, p, err)
			}
			got[p] = append(got[p], one)
		}
		slices.Reverse(order)
	}
	for p, w := range s.workers {
		if err := w.stop(); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c.id, p, err)
		}
	}
	return got, nil
}

// warm starts a peer and finds out how many operations fill a round.
func (s *stand) warm(ctx context.Context, peer string, want time.Duration) (err error) {
	if s.workers[peer], err = s.lab.startPeer(ctx, s.c, peer, launch{}); err != nil {
		return fmt.Errorf("%s, %s: %w", s.c.id, peer, err)
	}
	for n := 8; ; {
		got, err := s.run(peer, n)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.c.id, peer, err)
		}
		spent := time.Duration(max(got.CPU, 1000))
		if spent >= want/4 {
			s.n[peer] = max(1, int(float64(n)*float64(want)/float64(spent)))
			return nil
		}
		n = int(float64(n) * min(8, max(1.5, float64(want)/2/float64(spent))))
	}
}

// fresh measures memory in a process that has done nothing but a warm-up.
func (s *stand) fresh(ctx context.Context, peer string, n int) (got sample, err error) {
	w, err := s.lab.startPeer(ctx, s.c, peer, launch{})
	if err != nil {
		return got, err
	}
	s.workers[peer] = w
	defer delete(s.workers, peer)
	if _, err := s.run(peer, 20); err != nil {
		return got, err
	}
	if got, err = s.run(peer, n); err != nil {
		return got, err
	}
	return got, w.stop()
}
