//go:build cgo

package openssl_test

import (
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"golang.org/x/net/nettest"
)

// wires are the kinds of net.Conn that connections are tested over.
var wires = []struct {
	name string
	pair func(t testing.TB) (near, far net.Conn)
}{
	{"tcp", tcpPair},
	{"unix", unixPair},
	{"memory", func(testing.TB) (near, far net.Conn) { return wirePair(64 << 10) }},
}

// unixPair is two ends of a connection over a Unix socket.
func unixPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer l.Close()
	if near, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// TestNettest has the Go project's own suite for net.Conn look at both ends, over
// every kind of wire, in both versions.
func TestNettest(t *testing.T) {
	for _, v := range versions {
		client, server := newClient(t), newServer(t)
		setVersion(t, client, v.id)
		setVersion(t, server, v.id)
		for _, w := range wires {
			for _, role := range []string{"client", "server"} {
				t.Run(v.name+"/"+w.name+"/"+role, func(t *testing.T) {
					t.Parallel()
					nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
						near, far := w.pair(t)
						c, s := connsOver(t, client, server, near, far)
						stop = func() { closeBoth(c, s) }
						if err = errors.Join(both(c.Handshake, s.Handshake)); err != nil {
							stop()
							return nil, nil, nil, err
						}
						if role == "client" {
							return c, s, stop, nil
						}
						return s, c, stop, nil
					})
				})
			}
		}
	}
}

// closeBoth closes both ends at once: neither has to wait for the other.
func closeBoth(c, s *openssl.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { c.Close() })
	wg.Go(func() { s.Close() })
	wg.Wait()
}
