package grpccreds_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	health_v1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/grpccreds"
	"github.com/sidctx/openssl/internal/tlstest"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { tlstest.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// peers keeps who has called a server.
type peers struct {
	mu  sync.Mutex
	all []openssl.ConnectionState
}

func (p *peers) note(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	from, _ := peer.FromContext(ctx)
	p.mu.Lock()
	p.all = append(p.all, from.AuthInfo.(grpccreds.AuthInfo).Conn.ConnectionState())
	p.mu.Unlock()
	return next(ctx, req)
}

// parts is a server that runs and a client's Ctx; both would do, but for what change alters.
func parts(t *testing.T, change func(server, client *openssl.Ctx)) (addr string, client *openssl.Ctx, called *peers) {
	t.Helper()
	server, client := tlstest.NewServer(t), tlstest.NewClient(t)
	must(t, errors.Join(server.SetALPN("h2"), client.SetALPN("h2")))
	change(server, client)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	called = new(peers)
	s := grpc.NewServer(grpc.Creds(grpccreds.New(server)), grpc.UnaryInterceptor(called.note))
	health_v1.RegisterHealthServer(s, health.NewServer())
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		must(t, <-done)
	})
	return l.Addr().String(), client, called
}

// call calls once over a connection of its own, and returns what the client knows of it.
func call(t *testing.T, addr string, c credentials.TransportCredentials, authority string) (p peer.Peer, err error) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithAuthority(authority), grpc.WithTransportCredentials(c))
	must(t, err)
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = health_v1.NewHealthClient(cc).Check(ctx, &health_v1.HealthCheckRequest{}, grpc.Peer(&p))
	return p, err
}

func TestCreds(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			cache := openssl.NewLRUClientSessionCache(1)
			keys := make(map[string]bool)
			addr, client, called := parts(t, func(server, client *openssl.Ctx) {
				tlstest.SetVersion(t, client, v.ID)
				must(t, server.SetSessionIDContext([]byte("grpc")))
				must(t, client.SetClientSessionCache(noting{cache, keys}))
			})
			for i := range 2 {
				p, err := call(t, addr, grpccreds.New(client), "server.test")
				must(t, err)
				info := p.AuthInfo.(grpccreds.AuthInfo)
				if info.State.PeerCertificates[0].Subject.CommonName != "server.test" || info.SecurityLevel != credentials.PrivacyAndIntegrity {
					t.Errorf("call %d: the client knows %+v", i, info.TLSInfo)
				}
				if info.State.DidResume != (i == 1) {
					t.Errorf("call %d: resumed %v", i, info.State.DidResume)
				}
			}
			for key := range keys {
				cache.Put(key, nil)
			}
			called.mu.Lock()
			defer called.mu.Unlock()
			for i, state := range called.all {
				if state.DidResume != (i == 1) || string(state.SessionIDContext) != "grpc" {
					t.Errorf("call %d: the server knows %+v", i, state)
				}
			}
			if len(called.all) != 2 {
				t.Errorf("the server was called %d times", len(called.all))
			}
		})
	}
}

// noting notes the keys that a cache is asked for.
type noting struct {
	openssl.ClientSessionCache
	keys map[string]bool
}

func (n noting) Put(key string, s *openssl.Session) {
	n.keys[key] = true
	n.ClientSessionCache.Put(key, s)
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		name, authority, want string
		change                func(server, client *openssl.Ctx)
	}{
		{"nothing is wrong", "server.test:443", "", func(_, _ *openssl.Ctx) {}},
		{"another name", "other.test", "hostname mismatch", func(_, _ *openssl.Ctx) {}},
		{"no ALPN", "server.test", "SetALPN", func(_, c *openssl.Ctx) { must(t, c.SetALPN()) }},
		{"an untrusted server", "server.test", "certificate verify failed", func(_, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
		}},
		{"a server's Ctx that cannot serve", "server.test", "handshake failed", func(s, _ *openssl.Ctx) { must(t, s.Close()) }},
		{"a client's Ctx that is closed", "server.test", "closed Ctx", func(_, c *openssl.Ctx) { must(t, c.Close()) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, client, _ := parts(t, test.change)
			_, err := call(t, addr, grpccreds.New(client), test.authority)
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, not %q", err, test.want)
			}
		})
	}
}

// gRPC's own credentials, on crypto/tls, at the other end.
func TestStockClient(t *testing.T) {
	addr, _, _ := parts(t, func(_, _ *openssl.Ctx) {})
	stock := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) // which CAs it trusts is not the question here
	_, err := call(t, addr, stock, "server.test")
	must(t, err)
}
