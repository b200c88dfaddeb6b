//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// asking is a server whose connections ask f, and a connection to it.
func asking(t *testing.T, v uint16, f func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error)) (c, s *openssl.Conn) {
	t.Helper()
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	must(t, client.SetMaxVersion(v))
	must(t, client.SetALPN("one", "two"))
	must(t, server.SetClientHelloFunc(f))
	return tlstest.Conns(t, client, server)
}

// nilMap panics as programs do, at run time.
func nilMap() error {
	m := map[bool]map[string]int{}
	m[true]["x"]++
	return nil
}

func TestClientHelloFunc(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			type key struct{}
			var seen *openssl.ClientHello
			var inside context.Context
			calls := 0
			c, s := asking(t, v.ID, func(ctx context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
				calls++
				seen, inside = hello, ctx
				if ctx.Err() != nil || ctx.Value(key{}) != "value" {
					t.Errorf("its context: %v, %v", ctx.Err(), ctx.Value(key{}))
				}
				return nil, nil
			})
			must(t, c.SetServerName("SERVER.test."))
			clientErr, serverErr := tlstest.Both(c.Handshake, func() error {
				return s.HandshakeContext(context.WithValue(t.Context(), key{}, "value"))
			})
			if clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			if seen.ServerName != "server.test" || len(seen.ALPNProtocols) != 2 || seen.Conn != s.NetConn() || calls != 1 {
				t.Errorf("%+v, %d calls", seen, calls)
			}
			if inside.Err() == nil {
				t.Error("its context goes on after it has answered")
			}
		})
	}
}

func TestClientHelloFuncRefuses(t *testing.T) {
	own := errors.New("no such tenant")
	closed := tlstest.NewServer(t)
	must(t, closed.Close())
	type row struct {
		name  string
		f     func(t *testing.T) (*openssl.Ctx, error)
		alert tls.AlertError
		is    error
		says  string
	}
	test := func(t *testing.T, x row) {
		tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
			calls := 0
			tlstest.CheckLeaks(t)
			c, s := asking(t, v.ID, func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
				calls++
				return x.f(t)
			})
			clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
			if alert, _ := tlstest.AsType[tls.AlertError](clientErr); alert != x.alert {
				t.Errorf("client: %v, want alert %d", clientErr, x.alert)
			}
			if serverErr == nil || x.is != nil && !errors.Is(serverErr, x.is) {
				t.Errorf("server: %v, want %v", serverErr, x.is)
			}
			if x.says != "" {
				tlstest.Sentence(t, serverErr, x.says)
			}
			// It is final, and the function is not called twice.
			for name, err := range map[string]error{"Handshake": s.Handshake(), "Read": readErr(s), "Write": writeErr(s)} {
				if err != serverErr {
					t.Errorf("%s afterwards: %v, want the same", name, err)
				}
			}
			if calls != 1 {
				t.Errorf("asked %d times", calls)
			}
			if s.ConnectionState().HandshakeComplete {
				t.Error("complete all the same")
			}
		})
	}
	for _, x := range []row{
		{"an error", func(*testing.T) (*openssl.Ctx, error) { return nil, own }, 80, own, ""},
		{"an alert", func(*testing.T) (*openssl.Ctx, error) { return nil, tls.AlertError(112) }, 112, tls.AlertError(112), ""},
		{"an error with an alert", func(*testing.T) (*openssl.Ctx, error) {
			return nil, fmt.Errorf("%w: %w", own, tls.AlertError(49))
		}, 49, own, ""},
		{"a Ctx and an error", func(t *testing.T) (*openssl.Ctx, error) { return tlstest.NewServer(t), own }, 80, own, ""},
		{"a panic", func(*testing.T) (*openssl.Ctx, error) { panic("at the disco") }, 80, nil, "panicked: at the disco"},
		{"a panic with an error", func(*testing.T) (*openssl.Ctx, error) { panic(own) }, 80, nil, "panicked: no such tenant"},
		{"a nil map", func(*testing.T) (*openssl.Ctx, error) {
			return nil, nilMap()
		}, 80, nil, "nil map"},
		{"a client's Ctx", func(t *testing.T) (*openssl.Ctx, error) { return tlstest.NewClient(t), nil }, 80, nil, "SSL_set_SSL_CTX"},
		{"a Ctx that was closed before", func(*testing.T) (*openssl.Ctx, error) { return closed, nil }, 80, net.ErrClosed, "closed Ctx"},
		{"a Ctx without a certificate", func(t *testing.T) (*openssl.Ctx, error) { return tlstest.BareServer(t), nil }, 80, nil, "UseCertificate"},
		{"a Ctx without a context", func(t *testing.T) (*openssl.Ctx, error) {
			c := tlstest.NewServer(t)
			return c, c.SetVerify(openssl.VerifyPeer)
		}, 80, openssl.ErrSessionIDContextUninitialized, "SetSessionIDContext"},
		{"a context that is too long", func(t *testing.T) (*openssl.Ctx, error) {
			return nil, tlstest.NewServer(t).SetSessionIDContext(sidBytes(33))
		}, 80, openssl.ErrSessionIDContextTooLong, ""},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

func readErr(r io.Reader) error  { _, err := r.Read(make([]byte, 1)); return err }
func writeErr(w io.Writer) error { _, err := w.Write([]byte{1}); return err }

// A goroutine that ends inside the function leaves a connection that can be closed.
func TestClientHelloFuncGoexit(t *testing.T) {
	c, s := asking(t, tls.VersionTLS13, func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
		runtime.Goexit()
		return nil, nil
	})
	clientErr, _ := tlstest.Both(c.Handshake, func() error {
		over := make(chan struct{})
		go func() {
			defer close(over)
			s.Handshake()
		}()
		<-over
		return s.Close()
	})
	if clientErr == nil {
		t.Error("the client shook hands with nobody")
	}
}

// The function's context ends with Close, and with the handshake's own.
func TestClientHelloFuncIsCancelled(t *testing.T) {
	for _, x := range []struct {
		name string
		end  func(s *openssl.Conn, cancel func())
		want error
	}{
		{"by Close", func(s *openssl.Conn, _ func()) { s.Close() }, net.ErrClosed},
		{"by the handshake's context", func(_ *openssl.Conn, cancel func()) { cancel() }, context.Canceled},
	} {
		t.Run(x.name, func(t *testing.T) {
			entered := make(chan struct{})
			c, s := asking(t, tls.VersionTLS13, func(ctx context.Context, _ *openssl.ClientHello) (*openssl.Ctx, error) {
				close(entered)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				<-entered
				x.end(s, cancel)
			}()
			clientErr, serverErr := tlstest.Both(c.Handshake, func() error { return s.HandshakeContext(ctx) })
			<-ended
			if !errors.Is(serverErr, x.want) {
				t.Errorf("server: %v, want %v", serverErr, x.want)
			}
			if clientErr == nil {
				t.Error("the client shook hands with nobody")
			}
		})
	}
}

// The function may look at its own connection.
func TestClientHelloFuncMayUseConn(t *testing.T) {
	var s *openssl.Conn
	var c *openssl.Conn
	c, s = asking(t, tls.VersionTLS13, func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
		if s.ConnectionState().HandshakeComplete {
			return nil, errors.New("complete already")
		}
		return nil, s.SetSessionIDContext([]byte("by Conn"))
	})
	if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
	if got := s.ConnectionState().SessionIDContext; string(got) != "by Conn" {
		t.Errorf("%q", got)
	}
}

// A listener without a certificate may go on with a Ctx that has one.
func TestClientHelloFuncBringsCertificate(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, listener, host := tlstest.NewClient(t), tlstest.BareServer(t), tlstest.NewMutualServer(t, "host")
			tlstest.SetVersion(t, client, v.ID)
			must(t, listener.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return host, nil }))
			first := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: listener})
			second := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: listener, Offer: first.Session})
			for _, e := range []tlstest.Result{first, second} {
				if e.ClientErr != nil || e.ServerErr != nil || string(e.Server.SessionIDContext) != "host" || len(e.Server.PeerCertificates) != 1 {
					t.Errorf("%v, %v, %+v", e.ClientErr, e.ServerErr, e.Server)
				}
			}
			if !second.Server.DidResume {
				t.Error("not resumed")
			}
		})
	}
	t.Run("nobody brings one", func(t *testing.T) {
		listener := tlstest.BareServer(t)
		must(t, listener.SetClientHelloFunc(tlstest.Stay))
		e := tlstest.ConnectTCP(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: listener})
		tlstest.Sentence(t, e.ServerErr, "no suitable signature algorithm")
	})
}

// clientHello is the first flight of a client, one record.
func clientHello(t *testing.T) []byte {
	t.Helper()
	client := tlstest.NewClient(t)
	must(t, client.SetALPN("one", "two"))
	c, _ := tlstest.Machines(t, client, tlstest.NewServer(t))
	if _, err := c.Handshake(); err != nil {
		t.Fatalf("Handshake: %v", err)
	}
	p := make([]byte, c.Pending())
	c.Drain(p)
	return p
}

// A ClientHello that libssl lets through to the function, and that is malformed
// all the same, is refused before the function sees it.
func TestClientHelloMalformed(t *testing.T) {
	replace := func(old, new string) func([]byte) []byte {
		return func(p []byte) []byte { return bytes.Replace(p, []byte(old), []byte(new), 1) }
	}
	for _, x := range []struct {
		name   string
		change func([]byte) []byte
		alert  byte
	}{
		{"a NUL in the name", replace("server.test", "server\x00test"), 47},
		{"an unknown kind of name", replace("\x00\x00\x0bserver.test", "\x01\x00\x0bserver.test"), 47},
		{"a name longer than its list", replace("\x00\x00\x0bserver.test", "\x00\x00\x0cserver.test"), 50},
		{"a name shorter than its list", replace("\x00\x00\x0bserver.test", "\x00\x00\x0aserver.test"), 50},
		{"a protocol longer than its list", replace("\x03one\x03two", "\x03one\x04two"), 50},
		{"supported versions of odd length", replace("\x00\x2b\x00\x05\x04", "\x00\x2b\x00\x05\x05"), 50},
	} {
		t.Run(x.name, func(t *testing.T) {
			hello := clientHello(t)
			bad := x.change(bytes.Clone(hello))
			if bytes.Equal(bad, hello) {
				t.Fatal("there was nothing to change")
			}
			server := tlstest.NewServer(t)
			must(t, server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
				t.Error("asked")
				return nil, nil
			}))
			near, far := tlstest.TCPPair(t)
			defer near.Close()
			s, err := openssl.Server(far, server)
			must(t, err)
			defer s.Close()
			if _, err := near.Write(bad); err != nil {
				t.Fatalf("Write: %v", err)
			}
			err = s.Handshake()
			if alert, ok := tlstest.AsType[tls.AlertError](err); !ok || byte(alert) != x.alert {
				t.Errorf("server: %v, want alert %d", err, x.alert)
			}
			tlstest.Sentence(t, err, "ClientHello", "malformed")
			must(t, s.Close())
			answer, err := io.ReadAll(near)
			if err != nil || len(answer) != 7 || answer[0] != 21 || answer[6] != x.alert {
				t.Errorf("on the wire: %x, %v, want alert %d", answer, err, x.alert)
			}
		})
	}
}

// A store costs full handshakes and no connection: a server without a ClientHello
// function takes every name that libssl takes, with a store or without one.
func TestStoreRefusesNoServerName(t *testing.T) {
	for _, v := range tlstest.Versions {
		for _, name := range []string{
			"server.test", "SERVER.test", "host:443", "h.test\n", "a b.test", "b\xc3\xbccher.test", "x..test", "-", "\u212a.test", "[::1",
			strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "a",
		} {
			for _, stored := range []bool{false, true} {
				client, server := tlstest.BareClient(t), tlstest.NewServer(t)
				must(t, client.SetVerify(openssl.VerifyNone))
				tlstest.SetVersion(t, client, v.ID)
				if stored {
					must(t, server.SetSessionStore(new(memStore)))
				}
				c, s := tlstest.Conns(t, client, server)
				if err := c.SetServerName(name); err != nil && openssl.Version().LinkedNumber >= 0x40000000 {
					tlstest.Says(t, err, "is not the name of a host")
					continue // a client of 4.0 does not ask for what is no name
				} else if err != nil {
					t.Fatalf("SetServerName(%q): %v", name, err)
				}
				if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
					t.Errorf("%s, name %q, store %v: client %v, server %v", v.Name, name, stored, clientErr, serverErr)
				}
			}
		}
	}
}

// A ClientHello in the form of SSL 2 that asks for TLS 1.2 has suites of three bytes.
// Those of SSL 2 itself are not among CipherSuites.
func TestClientHelloOfSSLv2(t *testing.T) {
	want := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	specs := []byte{0x07, 0x00, 0xc0, 0x01, 0x00, 0x80} // of SSL 2
	for _, suite := range want {
		specs = append(specs, 0, byte(suite>>8), byte(suite))
	}
	hello := append([]byte{1, 3, 3, 0, byte(len(specs)), 0, 0, 0, 32}, specs...)
	hello = append(hello, bytes.Repeat([]byte{7}, 32)...) // the challenge
	hello = append([]byte{0x80, byte(len(hello))}, hello...)
	server := tlstest.NewServer(t)
	must(t, server.SetClientHelloFunc(tlstest.Stay)) // so that the machine asks
	_, s := tlstest.Machines(t, tlstest.NewClient(t), server)
	if _, err := s.Feed(hello); err != nil {
		t.Fatalf("Feed of a ClientHello of SSL 2: %v", err)
	}
	w, err := s.Handshake()
	if err != nil && openssl.Version().LinkedNumber >= 0x40000000 {
		return // OpenSSL 4 knows this form no more
	}
	if err != nil || w != openssl.WantClientHello {
		t.Fatalf("Handshake with a ClientHello of SSL 2: wants %v, %v; want %v", w, err, openssl.WantClientHello)
	}
	got, err := s.ClientHello()
	if err != nil || !slices.Equal(got.CipherSuites, want) || got.ServerName != "" || len(got.SupportedVersions) == 0 || got.SupportedVersions[0] != tls.VersionTLS12 {
		t.Errorf("a ClientHello of SSL 2 with suites %04x: %+v, %v", want, got, err)
	}
}
