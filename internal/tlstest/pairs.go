//go:build cgo

package tlstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
)

// BareServer is NewServerCtx, closed with the test.
func BareServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	CheckLeaks(t)
	c, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// BareClient is NewClientCtx, closed with the test.
func BareClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	CheckLeaks(t)
	c, err := openssl.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// NewServer is a server Ctx with a certificate for server.test; it is closed with the test.
func NewServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	Certs(t)
	c := BareServer(t)
	must(t, c.UseCertificate(Fixtures.ServerCert, Fixtures.ServerKey))
	return c
}

// NewMutualServer is a newServer that requires a client certificate, within a context.
func NewMutualServer(t testing.TB, sidCtx string) *openssl.Ctx {
	t.Helper()
	c := NewServer(t)
	must(t, c.SetClientCAs(Certs(t).PEM))
	must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, c.SetSessionIDContext([]byte(sidCtx)))
	return c
}

// NewClient is a client Ctx that trusts the test CA and has a certificate.
func NewClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	ca := Certs(t)
	c := BareClient(t)
	must(t, c.SetVerifyCAs(ca.PEM))
	must(t, c.UseCertificate(Fixtures.ClientCert, Fixtures.ClientKey))
	return c
}

// SetVersion has a Ctx speak one version and no other.
func SetVersion(t testing.TB, c *openssl.Ctx, v uint16) {
	t.Helper()
	must(t, c.SetMinVersion(v))
	must(t, c.SetMaxVersion(v))
}

// Version is a protocol version.
type Version struct {
	Name string
	ID   uint16
}

// Versions are those that the library speaks by default.
var Versions = []Version{
	{"TLS1.2", tls.VersionTLS12},
	{"TLS1.3", tls.VersionTLS13},
}

// EachVersion runs a subtest for each of Versions.
func EachVersion(t *testing.T, test func(t *testing.T, v Version)) {
	for _, v := range Versions {
		t.Run(v.Name, func(t *testing.T) { test(t, v) })
	}
}

// Machines is a pair of machines joined by nothing yet; both are closed with the test.
func Machines(t testing.TB, client, server *openssl.Ctx) (c, s *openssl.SSL) {
	t.Helper()
	CheckLeaks(t)
	c, err := openssl.NewSSL(client)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	s, err = openssl.NewSSL(server)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, c.SetServerName("server.test"))
	return c, s
}

// Machine is an SSL, or what a test has put around one.
type Machine interface {
	Handshake() (openssl.Want, error)
	Read(p []byte) (int, openssl.Want, error)
	Feed(p []byte) (int, error)
	Drain(p []byte) int
	Pending() int
}

// Carry moves what from has made to to, and reports whether there was anything.
func Carry(t testing.TB, from, to Machine) bool {
	t.Helper()
	var moved bool
	for p := make([]byte, 32<<10); from.Pending() > 0; {
		n := from.Drain(p)
		if _, err := to.Feed(p[:n]); err != nil {
			t.Fatalf("Feed: %v", err)
		}
		moved = true
	}
	return moved
}

// Shake does a handshake between two machines and has the client read the
// tickets. It returns each end's error.
func Shake(t testing.TB, c, s *openssl.SSL) (clientErr, serverErr error) {
	t.Helper()
	return ShakeAnswering(t, c, s, nil)
}

// ShakeAnswering is a shake whose server is asked about the ClientHello.
func ShakeAnswering[S Machine](t testing.TB, c Machine, s S, answer func(s S)) (clientErr, serverErr error) {
	t.Helper()
	var cw, sw openssl.Want = openssl.WantInput, openssl.WantInput
	for range 20 {
		if cw != openssl.WantNothing && clientErr == nil {
			cw, clientErr = c.Handshake()
		}
		Carry(t, c, s)
		if sw != openssl.WantNothing && serverErr == nil {
			sw, serverErr = s.Handshake()
			if sw == openssl.WantClientHello && answer != nil {
				answer(s)
			}
		}
		moved := Carry(t, s, c)
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

// MustShake is a handshake that must succeed on both ends.
func MustShake(t testing.TB, c, s *openssl.SSL) {
	t.Helper()
	if clientErr, serverErr := Shake(t, c, s); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
}

// Goodbye ends a connection of two machines so that its session lives on.
func Goodbye(t testing.TB, c, s *openssl.SSL) {
	t.Helper()
	for _, m := range []*openssl.SSL{c, s} {
		if _, err := m.Shutdown(); err != nil {
			t.Fatalf("Shutdown: %v", err)
		}
		must(t, m.Close())
	}
}

// Conns is a pair of connections over loopback TCP, closed with the test, the server's first.
func Conns(t testing.TB, client, server *openssl.Ctx) (c, s *openssl.Conn) {
	t.Helper()
	CheckLeaks(t)
	near, far := TCPPair(t)
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

// TCPPair is two ends of a loopback connection.
func TCPPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatalf("Dial: %v", err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return near, far
}

// Both runs two sides of a conversation and returns each one's error.
func Both(client, server func() error) (clientErr, serverErr error) {
	var wg sync.WaitGroup
	wg.Go(func() { serverErr = server() })
	clientErr = client()
	wg.Wait()
	return clientErr, serverErr
}

// Echo has s send back what it reads, until the end.
func Echo(s io.ReadWriter) error {
	_, err := io.Copy(s, s)
	return err
}

// RoundTrip sends a message to an echoing peer and reads it back.
func RoundTrip(c io.ReadWriter, message []byte) error {
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

// Stay is a ClientHello function that changes nothing.
func Stay(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return nil, nil }

// WireConns is a pair of connections over a wire that holds capacity bytes each
// way, with their wires; both are closed with the test, the server's first.
func WireConns(t testing.TB, client, server *openssl.Ctx, capacity int) (c, s *openssl.Conn, near, far *Wire) {
	t.Helper()
	near, far = WirePair(capacity)
	c, s = ConnsOver(t, client, server, near, far)
	return c, s, near, far
}

// ConnsOver is a pair of connections over the two ends of a wire.
func ConnsOver(t testing.TB, client, server *openssl.Ctx, near, far net.Conn) (c, s *openssl.Conn) {
	t.Helper()
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

// MustHandshake shakes hands on both ends.
func MustHandshake(t testing.TB, c, s *openssl.Conn) {
	t.Helper()
	if clientErr, serverErr := Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
}
