//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
)

const forgets = "OPENSSL_TEST_FORGETS"

// TestMain fails a run whose tests left a C object behind, or had a cleanup free it.
func TestMain(m *testing.M) {
	code := m.Run()
	// The other end of an Example's connection may still be closing.
	for end := time.Now().Add(5 * time.Second); libssl.LiveHandles() != 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if os.Getenv(forgets) != "" { // TestForgottenClose, in a process of its own
		os.Exit(code)
	}
	if live, caught := libssl.LiveHandles(), libssl.CaughtHandles(); code == 0 && (live != 0 || caught != 0) {
		fmt.Fprintf(os.Stderr, "after all tests %d C objects are alive and %d were left to a cleanup\n", live, caught)
		code = 1
	}
	os.Exit(code)
}

// accounts is which tests hold C objects at the moment.
var accounts struct {
	sync.Mutex
	open map[string]*account
}

type account struct {
	keeps        bool // sessions, for subtests
	live, caught int64
	shared       bool // another test ran at the same time: only TestMain can tell
}

// accounted fails the test if it leaves a C object behind, or one to a cleanup.
// Every fixture that makes one calls it first.
func accounted(t testing.TB) {
	t.Helper()
	name := t.Name()
	accounts.Lock()
	defer accounts.Unlock()
	if accounts.open[name] != nil {
		return
	}
	if accounts.open == nil {
		accounts.open = map[string]*account{}
	}
	mine := &account{live: libssl.LiveHandles(), caught: libssl.CaughtHandles()}
	for other, a := range accounts.open {
		switch {
		case !strings.HasPrefix(name, other+"/"):
			a.shared, mine.shared = true, true
		case a.keeps:
			mine.shared = true
		}
	}
	accounts.open[name] = mine
	t.Cleanup(func() {
		accounts.Lock()
		shared := mine.shared
		accounts.Unlock()
		// The other end of a connection may still be closing.
		for end := time.Now().Add(5 * time.Second); !shared && libssl.LiveHandles() > mine.live && time.Now().Before(end); {
			runtime.Gosched()
		}
		accounts.Lock()
		defer accounts.Unlock()
		delete(accounts.open, name)
		live, caught := libssl.LiveHandles()-mine.live, libssl.CaughtHandles()-mine.caught
		if !mine.shared && !t.Failed() && (live > 0 || caught != 0) {
			t.Errorf("%d C objects are alive and %d were left to a cleanup", live, caught)
		}
	})
}

// holds says that a test's fixture holds sessions for its subtests, whose own
// accounts then say nothing.
func holds(t testing.TB) {
	t.Helper()
	accounted(t)
	accounts.Lock()
	defer accounts.Unlock()
	accounts.open[t.Name()].keeps = true
}

// authority is a CA made for one test run.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

var serials struct {
	sync.Mutex
	n int64
}

func nextSerial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.n++
	return big.NewInt(serials.n)
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rsaKey is made once: it takes longer than most tests.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// newAuthority makes a CA; under another one it is an intermediate.
func newAuthority(t testing.TB, name string, under *authority) *authority {
	t.Helper()
	a := &authority{key: ecKey(t)}
	template := &x509.Certificate{
		SerialNumber:          nextSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	parent, signer := template, a.key
	if under != nil {
		parent, signer = under.cert, under.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, a.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = certPEM(der)
	return a
}

// leaf is a certificate for name, good for both roles, and its key, in PEM.
// change, if not nil, edits the template first.
func (a *authority) leaf(t testing.TB, name string, key crypto.Signer, change func(*x509.Certificate)) (certificate, private []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: nextSerial(),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(der), keyPEM(t, key)
}

// ca signs what most tests use; server.test and client.test are its leaves.
var fixtures struct {
	once                  sync.Once
	ca                    *authority
	serverCert, serverKey []byte
	clientCert, clientKey []byte
}

func certs(t testing.TB) *authority {
	t.Helper()
	f := &fixtures
	f.once.Do(func() {
		f.ca = newAuthority(t, "test CA", nil)
		f.serverCert, f.serverKey = f.ca.leaf(t, "server.test", ecKey(t), nil)
		f.clientCert, f.clientKey = f.ca.leaf(t, "client.test", ecKey(t), nil)
	})
	return f.ca
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bareServer is NewServerCtx, closed with the test.
func bareServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	accounted(t)
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// bareClient is NewClientCtx, closed with the test.
func bareClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	accounted(t)
	c, err := openssl.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// newServer is a server Ctx with a certificate for server.test; it is closed with the test.
func newServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	certs(t)
	c := bareServer(t)
	must(t, c.UseCertificate(fixtures.serverCert, fixtures.serverKey))
	return c
}

// newMutualServer is a newServer that requires a client certificate, within a context.
func newMutualServer(t testing.TB, sidCtx string) *openssl.Ctx {
	t.Helper()
	c := newServer(t)
	must(t, c.SetClientCAs(certs(t).pem))
	must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, c.SetSessionIDContext([]byte(sidCtx)))
	return c
}

// newClient is a client Ctx that trusts the test CA and has a certificate.
func newClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	ca := certs(t)
	c := bareClient(t)
	must(t, c.SetVerifyCAs(ca.pem))
	must(t, c.UseCertificate(fixtures.clientCert, fixtures.clientKey))
	return c
}

func setVersion(t testing.TB, c *openssl.Ctx, v uint16) {
	t.Helper()
	must(t, c.SetMinVersion(v))
	must(t, c.SetMaxVersion(v))
}

var versions = []struct {
	name string
	id   uint16
}{
	{"TLS1.2", tls.VersionTLS12},
	{"TLS1.3", tls.VersionTLS13},
}

// machines is a pair of machines joined by nothing yet; both are closed with the test.
func machines(t testing.TB, client, server *openssl.Ctx) (c, s *openssl.SSL) {
	t.Helper()
	accounted(t)
	c, err := openssl.NewSSL(client)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	s, err = openssl.NewSSL(server)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, c.SetServerName("server.test"))
	return c, s
}

// carry moves what from has made to to, and says whether there was anything.
func carry(t testing.TB, from, to *openssl.SSL) bool {
	t.Helper()
	var moved bool
	for p := make([]byte, 32<<10); from.Pending() > 0; {
		n := from.Drain(p)
		if _, err := to.Feed(p[:n]); err != nil {
			t.Fatal(err)
		}
		moved = true
	}
	return moved
}

// shake does a handshake between two machines and has the client read the
// tickets. It returns each end's error.
func shake(t testing.TB, c, s *openssl.SSL) (clientErr, serverErr error) {
	t.Helper()
	return shakeAnswering(t, c, s, nil)
}

// shakeAnswering is a shake whose server is asked about the ClientHello.
func shakeAnswering(t testing.TB, c, s *openssl.SSL, answer func(s *openssl.SSL)) (clientErr, serverErr error) {
	t.Helper()
	var cw, sw openssl.Want = openssl.WantInput, openssl.WantInput
	for range 20 {
		if cw != openssl.WantNothing && clientErr == nil {
			cw, clientErr = c.Handshake()
		}
		carry(t, c, s)
		if sw != openssl.WantNothing && serverErr == nil {
			sw, serverErr = s.Handshake()
			if sw == openssl.WantClientHello && answer != nil {
				answer(s)
			}
		}
		moved := carry(t, s, c)
		if (cw == openssl.WantNothing || clientErr != nil) && (sw == openssl.WantNothing || serverErr != nil) && !moved {
			break
		}
		if cw == openssl.WantNothing && clientErr == nil && moved {
			if _, _, err := c.Read(make([]byte, 1)); err != nil {
				clientErr = err
			}
		}
	}
	return clientErr, serverErr
}

// mustShake is a handshake that must succeed on both ends.
func mustShake(t testing.TB, c, s *openssl.SSL) {
	t.Helper()
	if clientErr, serverErr := shake(t, c, s); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
}

// goodbye ends a connection of two machines so that its session lives on.
func goodbye(t testing.TB, c, s *openssl.SSL) {
	t.Helper()
	for _, m := range []*openssl.SSL{c, s} {
		if _, err := m.Shutdown(); err != nil {
			t.Fatal(err)
		}
		must(t, m.Close())
	}
}

// conns is a pair of connections over loopback TCP, closed with the test, the server's first.
func conns(t testing.TB, client, server *openssl.Ctx) (c, s *openssl.Conn) {
	t.Helper()
	accounted(t)
	near, far := tcpPair(t)
	c, err := openssl.Client(near, client)
	must(t, err)
	s, err = openssl.Server(far, server)
	must(t, err)
	must(t, c.SetServerName("server.test"))
	t.Cleanup(func() {
		s.Close()
		c.Close()
	})
	return c, s
}

// tcpPair is two ends of a loopback connection.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// both runs two sides of a conversation and returns each one's error.
func both(client, server func() error) (clientErr, serverErr error) {
	var wg sync.WaitGroup
	wg.Go(func() { serverErr = server() })
	clientErr = client()
	wg.Wait()
	return clientErr, serverErr
}

// echo has s send back what it reads, until the end.
func echo(s io.ReadWriter) error {
	_, err := io.Copy(s, s)
	return err
}

// roundTrip sends a message to an echoing peer and reads it back.
func roundTrip(c io.ReadWriter, message []byte) error {
	if _, err := c.Write(message); err != nil {
		return err
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if !bytes.Equal(back, message) {
		return fmt.Errorf("%d bytes came back as others", len(message))
	}
	return nil
}

// ends is what both ends of one connection came to.
type ends struct {
	client, server       openssl.ConnectionState
	clientErr, serverErr error
	session              *openssl.Session // the client's, nil if it got none; closed with the test
}

// call is one connection: who, what the client offers, and what is said to
// either end before the handshake or when the server is asked.
type call struct {
	client, server *openssl.Ctx
	offer          *openssl.Session
	atServer       func(t testing.TB, s sidSetter)
	answer         func(t testing.TB, s *openssl.SSL) // machines only; Conn has SetClientHelloFunc
}

// sidSetter is an SSL or a Conn.
type sidSetter interface{ SetSessionIDContext([]byte) error }

// transports do one call from end to end; the session lives on.
var transports = []struct {
	name string
	make func(t testing.TB, x call) ends
}{
	{"machines", overMemory},
	{"TCP", overTCP},
}

func overMemory(t testing.TB, x call) (e ends) {
	t.Helper()
	c, s := machines(t, x.client, x.server)
	if x.offer != nil {
		must(t, c.SetSession(x.offer))
	}
	if x.atServer != nil {
		x.atServer(t, s)
	}
	var answer func(s *openssl.SSL)
	if x.answer != nil {
		answer = func(s *openssl.SSL) { x.answer(t, s) }
	}
	e.clientErr, e.serverErr = shakeAnswering(t, c, s, answer)
	e.client, e.server = c.ConnectionState(), s.ConnectionState()
	if e.clientErr == nil && e.serverErr == nil {
		e.session = keep(t, c)
		goodbye(t, c, s)
	}
	must(t, c.Close())
	must(t, s.Close())
	return e
}

func overTCP(t testing.TB, x call) (e ends) {
	t.Helper()
	c, s := conns(t, x.client, x.server)
	if x.offer != nil {
		must(t, c.SetSession(x.offer))
	}
	if x.atServer != nil {
		x.atServer(t, s)
	}
	return converse(t, c, s)
}

// converse is a conversation that the client begins and ends, as each end sees it.
func converse(t testing.TB, c, s *openssl.Conn) (e ends) {
	t.Helper()
	e.clientErr, e.serverErr = both(func() error {
		err := roundTrip(c, []byte("hello"))
		e.client = c.ConnectionState()
		if err == nil {
			e.session = keep(t, c)
		}
		return errors.Join(err, c.Close())
	}, func() error {
		err := s.Handshake()
		e.server = s.ConnectionState()
		if err == nil {
			err = echo(s)
		}
		return errors.Join(err, s.Close())
	})
	return e
}

// keep is the newest session of an end, closed with the test, nil if there is none.
func keep(t testing.TB, from interface {
	Session() (*openssl.Session, error)
}) *openssl.Session {
	t.Helper()
	sess, err := from.Session()
	if errors.Is(err, openssl.ErrSessionNotFound) {
		return nil
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { sess.Close() })
	return sess
}

// mustConnect is a call over memory that must succeed.
func mustConnect(t testing.TB, x call) ends {
	t.Helper()
	e := overMemory(t, x)
	if e.clientErr != nil || e.serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", e.clientErr, e.serverErr)
	}
	return e
}

// sentence looks at an error's text: one line, openssl: once and in front, and
// each of the parts in it.
func sentence(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, "openssl: ") || strings.Count(text, "openssl: ") != 1 || strings.Contains(text, "\n") {
		t.Errorf("%q is not one line with openssl: once in front", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// again runs this one test once more in a process of its own, with more in its
// environment, and fails if that fails. Over there child is true.
func again(t *testing.T, env ...string) (child bool) {
	t.Helper()
	const mark = "OPENSSL_TEST_CHILD"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.count=1")
	cmd.Env = append(append(os.Environ(), mark+"="+t.Name()), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v in a process of its own:\n%s", err, out)
	}
	return false
}

// stay is a ClientHello function that changes nothing.
func stay(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return nil, nil }

// goCertificate is client.test's certificate for crypto/tls.
func goCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	certs(t)
	pair, err := tls.X509KeyPair(fixtures.clientCert, fixtures.clientKey)
	must(t, err)
	return &pair
}

// goClient is crypto/tls's client of server.test, without a certificate.
func goClient(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certs(t).cert)
	return &tls.Config{RootCAs: roots, ServerName: "server.test"}
}

// goServer is crypto/tls's server.test.
func goServer(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certs(t).cert)
	pair, err := tls.X509KeyPair(fixtures.serverCert, fixtures.serverKey)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots}
}

// callArgs is what callAll passes where a plausible value of the type is not enough.
var callArgs = map[string][]any{
	"UseCertificateFiles": {"go.mod", "go.mod"},
	"LoadVerifyLocations": {"", "."},
	"SetSessionTimeout":   {time.Minute},
	"SetMaxAuthAge":       {time.Minute},
	"FlushSessions":       {time.Unix(1<<30, 0)},
	"SetTicketKeys":       {openssl.TicketKey{Name: [16]byte{1}, AES: [32]byte{2}, HMAC: [32]byte{3}}},
	"SetFleetTicketKeys":  {make([]byte, 32), time.Hour},
}

// callAll calls every method of v, those of later days, too, and has check look
// at what comes back from each that returns an error. A panic fails the test.
func callAll(t *testing.T, v any, args map[string][]any, check func(method string, err error), skip ...string) {
	t.Helper()
	value := reflect.ValueOf(v)
	for i := range value.NumMethod() {
		name := value.Type().Method(i).Name
		if slices.Contains(skip, name) {
			continue
		}
		method := value.Method(i)
		var in []reflect.Value
		for k := range method.Type().NumIn() {
			if given := args[name]; given != nil {
				in = append(in, reflect.ValueOf(given[k]))
			} else {
				in = append(in, plausible(method.Type().In(k), method.Type().IsVariadic() && k == method.Type().NumIn()-1))
			}
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s panics: %v", name, r)
				}
			}()
			out := method.Call(in)
			if n := len(out); n > 0 && method.Type().Out(n-1) == reflect.TypeFor[error]() {
				err, _ := out[n-1].Interface().(error)
				check(name, err)
			}
		}()
	}
}

// plausible is an argument that a method has no quarrel with.
func plausible(of reflect.Type, variadic bool) reflect.Value {
	if variadic {
		of = of.Elem()
	}
	switch {
	case of == reflect.TypeFor[context.Context]():
		return reflect.ValueOf(context.Background())
	case of == reflect.TypeFor[[]byte]():
		return reflect.ValueOf([]byte("x"))
	case of.Kind() == reflect.String:
		return reflect.ValueOf("x").Convert(of)
	case of.Kind() == reflect.Uint16:
		return reflect.ValueOf(uint16(tls.VersionTLS12)).Convert(of)
	case of.ConvertibleTo(reflect.TypeFor[int]()):
		return reflect.ValueOf(1).Convert(of)
	}
	return reflect.Zero(of)
}
