package httpx_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
)

const sidCtx = "tenant"

// patience is what a test waits for that should happen at once.
const patience = 20 * time.Second

// pki is a CA and its leaves for localhost and for a client, made once.
type pki struct {
	ca                                           []byte
	pool                                         *x509.CertPool
	serverCert, serverKey, clientCert, clientKey []byte
}

var testPKI = sync.OnceValue(func() *pki {
	p := &pki{pool: x509.NewCertPool()}
	caKey := newKey()
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(24 * time.Hour),
		}
	}
	ca := template(1, "test CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	mustNot(err)
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	p.pool.AppendCertsFromPEM(p.ca)
	leaf := func(c *x509.Certificate, use x509.ExtKeyUsage) (certPEM, keyPEM []byte) {
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
		mustNot(err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		mustNot(err)
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	}
	server := template(2, "localhost")
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	p.serverCert, p.serverKey = leaf(server, x509.ExtKeyUsageServerAuth)
	p.clientCert, p.clientKey = leaf(template(3, "client.test"), x509.ExtKeyUsageClientAuth)
	return p
})

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mustNot(err)
	return key
}

// mustNot is for what is made before there is a test to fail.
func mustNot(err error) {
	if err != nil {
		panic(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serverCtx requires a client certificate within a session id context.
func serverCtx(t testing.TB, alpn ...string) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	p := testPKI()
	must(t, c.UseCertificate(p.serverCert, p.serverKey))
	must(t, c.SetClientCAs(p.ca))
	must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, c.SetSessionIDContext([]byte(sidCtx)))
	must(t, c.SetALPN(alpn...))
	return c
}

func clientCtx(t testing.TB, alpn ...string) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	p := testPKI()
	must(t, c.SetVerifyCAs(p.ca))
	must(t, c.UseCertificate(p.clientCert, p.clientKey))
	must(t, c.SetALPN(alpn...))
	return c
}

func setVersion(t testing.TB, c *openssl.Ctx, v uint16) {
	t.Helper()
	must(t, c.SetMinVersion(v))
	must(t, c.SetMaxVersion(v))
}

// stockConfig is crypto/tls's client, with the same certificates.
func stockConfig(t testing.TB) *tls.Config {
	t.Helper()
	p := testPKI()
	pair, err := tls.X509KeyPair(p.clientCert, p.clientKey)
	must(t, err)
	return &tls.Config{RootCAs: p.pool, Certificates: []tls.Certificate{pair}}
}

// protocols is every combination that the tests run over.
var protocols = []struct {
	name  string
	alpn  string
	major int
}{
	{"HTTP2", "h2", 2},
	{"HTTP1", "http/1.1", 1},
}

var versions = []struct {
	name string
	id   uint16
}{
	{"TLS1.2", tls.VersionTLS12},
	{"TLS1.3", tls.VersionTLS13},
}

// countingListener counts what it accepts.
type countingListener struct {
	net.Listener
	n atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return conn, err
}

// served is a running server.
type served struct {
	url, addr string
	accepted  *atomic.Int64
	server    *http.Server
	done      chan error // what Serve returned
}

// serve runs h on this library behind ConfigureServer; change, if not nil, edits the server first.
func serve(t testing.TB, c *openssl.Ctx, h http.Handler, change func(*http.Server), opts ...httpx.ServerOption) *served {
	t.Helper()
	server := &http.Server{Handler: h}
	if change != nil {
		change(server)
	}
	must(t, httpx.ConfigureServer(server, opts...))
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	counting := &countingListener{Listener: inner}
	return run(t, server, openssl.NewListener(counting, c), &counting.n)
}

func run(t testing.TB, server *http.Server, l net.Listener, accepted *atomic.Int64) *served {
	t.Helper()
	addr := l.Addr().String()
	s := &served{url: "https://" + addr, addr: addr, accepted: accepted, server: server, done: make(chan error, 1)}
	go func() { s.done <- server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return s
}

// client is an http.Client on NewTransport, closed with the test.
func client(t testing.TB, d *openssl.Dialer) *http.Client {
	t.Helper()
	c := &http.Client{Transport: httpx.NewTransport(d)}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get does a request that must succeed, and says over which connection.
func get(t testing.TB, c *http.Client, url string) (resp *http.Response, body string, conn net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { conn = got.Conn },
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	resp, err = c.Do(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(b), conn
}

// wait fails a test when c does not become ready.
func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
	return v
}
