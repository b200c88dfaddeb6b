//go:build cgo

package nettest_test

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// wires are the kinds of net.Conn that connections are tested over.
var wires = []struct {
	name string
	pair func(t testing.TB) (near, far net.Conn)
}{
	{"tcp", tlstest.TCPPair},
	{"unix", unixPair},
	{"memory", func(testing.TB) (near, far net.Conn) { return tlstest.WirePair(64 << 10) }},
}

// unixPair is two ends of a connection over a Unix socket.
func unixPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	if near, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatalf("Dial: %v", err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return near, far
}

// TestNettest has the Go project's own suite for net.Conn look at both ends, over
// every kind of wire, in both versions.
func TestNettest(t *testing.T) {
	for _, v := range tlstest.Versions {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		tlstest.SetVersion(t, server, v.ID)
		for _, w := range wires {
			for _, role := range []string{"client", "server"} {
				t.Run(v.Name+"/"+w.name+"/"+role, func(t *testing.T) {
					t.Parallel()
					nettest.TestConn(t, pipe(t, client, server, w.pair, role))
				})
			}
		}
	}
}

// pipe makes the pairs of a role: its end first.
func pipe(t *testing.T, client, server *openssl.Ctx, pair func(t testing.TB) (near, far net.Conn), role string) nettest.MakePipe {
	return func() (c1, c2 net.Conn, stop func(), err error) {
		near, far := pair(t)
		c, s := tlstest.ConnsOver(t, client, server, near, far)
		stop = func() { closeBoth(c, s) }
		if err = errors.Join(tlstest.Both(c.Handshake, s.Handshake)); err != nil {
			stop()
			return nil, nil, nil, err
		}
		if role == "client" {
			return c, s, stop, nil
		}
		return s, c, stop, nil
	}
}

// closeBoth closes both ends at once: neither has to wait for the other.
func closeBoth(c, s *openssl.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { c.Close() })
	wg.Go(func() { s.Close() })
	wg.Wait()
}
