package redisstore_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/redisstore"
)

// serverKey in the environment has this program be a server of a fleet.
const serverKey = "REDISSTORE_TEST_SERVER"

func TestMain(m *testing.M) {
	if order := os.Getenv(serverKey); order != "" {
		if err := serve(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ---- a server, in a process of its own ----

// order configures a server process.
type order struct {
	Cert, Key  []byte
	Version    uint16
	SIDContext string // empty: derived, with the generation
	Generation uint64

	Redis     []string // addresses; none: no store
	Cluster   bool
	SingleUse bool
	Hurried   bool // the store has as long as it has by default, else time enough on a machine with other work

	Tickets bool
	Secret  []byte // of the fleet's ticket keys; none: the process's own
	Cache   bool   // libssl's cache in the place of a store
}

// report is a server's answer to a line on its standard input.
type report struct {
	Stats      openssl.Stats
	Failed     int64 // handshakes
	Why        string
	Generation uint64 // after a revocation
	Error      string
}

func serve(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	c, err := o.ctx()
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var mu sync.Mutex
	var r report
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := conn.(*openssl.Conn).Handshake(); err != nil {
					mu.Lock()
					r.Failed, r.Why = r.Failed+1, err.Error()
					mu.Unlock()
					return
				}
				io.Copy(conn, conn)
			}()
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		mu.Lock()
		answer := r
		mu.Unlock()
		if lines.Text() == "revoke" {
			if answer.Generation, err = c.Revoke(); err != nil {
				answer.Error = err.Error()
			}
		}
		answer.Stats = c.Stats()
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			return err
		}
	}
	return l.Close()
}

// ctx is a Ctx made to order.
func (o *order) ctx() (*openssl.Ctx, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	errs := []error{c.UseCertificate(o.Cert, o.Key), c.SetMinVersion(o.Version), c.SetMaxVersion(o.Version)}
	if o.SIDContext != "" {
		errs = append(errs, c.SetSessionIDContext([]byte(o.SIDContext)))
	} else {
		errs = append(errs, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "fleet", Generation: o.Generation}))
	}
	if !o.Tickets {
		errs = append(errs, c.SetOptions(openssl.OptionNoTicket))
	}
	if len(o.Secret) > 0 {
		errs = append(errs, c.SetFleetTicketKeys(o.Secret, 10*time.Minute))
	}
	switch {
	case len(o.Redis) > 0:
		client := redis.NewUniversalClient(o.redisOptions())
		errs = append(errs, c.SetSessionStore(redisstore.New(client, redisstore.Options{SingleUse: o.SingleUse})))
		if !o.Hurried {
			errs = append(errs, c.SetSessionStoreTimeout(10*time.Second))
		}
	case !o.Cache:
		errs = append(errs, c.SetSessionCacheMode(openssl.SessionCacheOff))
	}
	return c, errors.Join(errs...)
}

func (o *order) redisOptions() *redis.UniversalOptions {
	return &redis.UniversalOptions{Addrs: o.Redis, IsClusterMode: o.Cluster, ContextTimeoutEnabled: true}
}

// server is a process that runs serve.
type server struct {
	addr  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	err   bytes.Buffer
	ended bool
}

func start(t testing.TB, o order) *server {
	t.Helper()
	o.Cert, o.Key = certificate().cert, certificate().key
	text, err := json.Marshal(o)
	must(t, err)
	s := &server{cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), serverKey+"="+string(text))
	s.cmd.Stderr = &s.err
	s.in, err = s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	s.out = bufio.NewScanner(out)
	must(t, s.cmd.Start())
	t.Cleanup(func() { s.stop(t) })
	if !s.out.Scan() {
		s.stop(t)
		t.Fatalf("a server has not begun: %s", s.err.String())
	}
	s.addr = s.out.Text()
	return s
}

// ask is the server's answer to a word.
func (s *server) ask(t testing.TB, word string) (r report) {
	t.Helper()
	_, err := io.WriteString(s.in, word+"\n")
	must(t, err)
	if !s.out.Scan() {
		t.Fatalf("no answer to %q: %s", word, s.err.String())
	}
	must(t, json.Unmarshal(s.out.Bytes(), &r))
	if r.Error != "" {
		t.Fatalf("%s: %s", word, r.Error)
	}
	return r
}

// stop ends the process and waits for it.
func (s *server) stop(t testing.TB) {
	if s.ended {
		return
	}
	s.ended = true
	s.in.Close()
	if err := s.cmd.Wait(); err != nil { // go-redis has words of its own for an engine that is gone
		t.Errorf("a server has ended with %v: %s", err, s.err.String())
	}
}

type pair struct{ cert, key []byte }

// certificate is one for server.test, its own CA, made for this run.
var certificate = sync.OnceValue(func() pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server.test"}, DNSNames: []string{"server.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})}
})

// ---- a client ----

func newClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetVerifyCAs(certificate().cert))
	return c
}

// visit is one connection that offers a session, or nil, and says a word. The
// session that it brings is the caller's; what it offered stays his.
func visit(ctx context.Context, client *openssl.Ctx, addr string, offer *openssl.Session) (got *openssl.Session, resumed bool, err error) {
	if offer != nil { // a copy: libssl takes a TLS 1.3 session for used after one handshake
		der, err := offer.MarshalBinary()
		if err != nil {
			return nil, false, err
		}
		if offer, err = openssl.ParseSession(der); err != nil {
			return nil, false, err
		}
		defer offer.Close()
	}
	d := openssl.Dialer{Ctx: client, ServerName: "server.test", Session: offer}
	wire, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, false, err
	}
	conn := wire.(*openssl.Conn)
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		return nil, false, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		return nil, false, err
	}
	got, err = conn.Session()
	return got, conn.ConnectionState().DidResume, err
}

// caller is a client that remembers its newest session.
type caller struct {
	client *openssl.Ctx
	last   *openssl.Session
}

func newCaller(t testing.TB, client *openssl.Ctx) *caller {
	c := &caller{client: client}
	t.Cleanup(func() { c.keep(nil) })
	return c
}

func (c *caller) keep(s *openssl.Session) {
	if c.last != nil {
		c.last.Close()
	}
	c.last = s
}

// call visits with the newest session.
func (c *caller) call(ctx context.Context, addr string) (resumed bool, err error) {
	got, resumed, err := visit(ctx, c.client, addr, c.last)
	if err == nil {
		c.keep(got)
	}
	return resumed, err
}

// mustCall is a call that must succeed, and reports whether it was resumed.
func (c *caller) mustCall(t testing.TB, addr string) bool {
	t.Helper()
	resumed, err := c.call(t.Context(), addr)
	must(t, err)
	return resumed
}

// ---- the engines ----

// engine is a redis-server or one that speaks like it, in a process of its own.
type engine struct {
	program, dir, port string
	extra              []string
	cmd                *exec.Cmd
	client             *redis.Client // for the test to look in
}

// engines are the programs that a fleet may run on. Debian's bookworm has no
// Valkey, so that it is not demanded where others are.
type engineProgram struct {
	name, program string
	wanted        bool
}

var engines = []engineProgram{{"Redis", "redis-server", true}, {"Valkey", "valkey-server", false}}

// program looks for a program, which is demanded where peers are.
func program(t testing.TB, name string, wanted bool) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts " + name)
	}
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if wanted && os.Getenv("REQUIRE_PEERS") != "" {
		t.Fatalf("%s is not on PATH, and REQUIRE_PEERS asks for it", name)
	}
	t.Skipf("%s is not on PATH", name)
}

// freePort is a port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func newEngine(t testing.TB, name string, extra ...string) *engine {
	t.Helper()
	e := &engine{program: name, dir: t.TempDir(), port: freePort(t), extra: extra}
	e.client = redis.NewClient(&redis.Options{Addr: e.addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { e.client.Close() })
	e.start(t)
	t.Cleanup(e.kill)
	return e
}

func (e *engine) addr() string { return "127.0.0.1:" + e.port }

// start runs the program until it answers.
func (e *engine) start(t testing.TB) {
	t.Helper()
	log := filepath.Join(e.dir, "log")
	args := append([]string{"--port", e.port, "--bind", "127.0.0.1", "--dir", e.dir, "--logfile", log,
		"--save", "", "--appendonly", "no", "--enable-debug-command", "local"}, e.extra...)
	e.cmd = exec.Command(e.program, args...)
	must(t, e.cmd.Start())
	eventually(t, "the engine answers", func() bool { return e.client.Ping(t.Context()).Err() == nil })
}

// kill ends the program as a crash would.
func (e *engine) kill() {
	if e.cmd != nil {
		e.cmd.Process.Kill()
		e.cmd.Wait()
		e.cmd = nil
	}
}

// eventually looks again and again until it is so, for 30 seconds.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !so(); <-tick.C {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it has not come so far within 30 s: %s", what)
		}
	}
}

// holds waits until the engine has that many sessions.
func (e *engine) holds(t testing.TB, sessions int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d sessions are in the store", sessions), func() bool {
		n, err := e.client.DBSize(t.Context()).Result()
		return err == nil && n >= sessions
	})
}

// newCluster is three engines that share the keys.
func newCluster(t testing.TB) (nodes []*engine) {
	t.Helper()
	program(t, "redis-cli", true)
	args := []string{"--cluster", "create"}
	for range 3 {
		// The bus has a port of its own, which is found the same way.
		e := newEngine(t, "redis-server", "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "5000")
		nodes = append(nodes, e)
		args = append(args, e.addr())
	}
	out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", "0", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, e := range nodes {
		eventually(t, "the cluster is whole", func() bool {
			info, err := e.client.ClusterInfo(t.Context()).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok")
		})
	}
	return nodes
}

type version struct {
	name string
	id   uint16
}

var versions = []version{{"TLS1.2", tls.VersionTLS12}, {"TLS1.3", tls.VersionTLS13}}
