package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	health_v1 "google.golang.org/grpc/health/grpc_health_v1"
)

const patience = 20 * time.Second

// lockedBuffer is written to by the server's goroutines and the client's.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out lockedBuffer
	if err := run(ctx, &out); err != nil {
		t.Fatalf("run: %v", err)
	}
	want := []string{
		`server: called by client.example, resumed: false, session id context: "grpc-example"`,
		`client: answered by server.example, resumed: false, session id context: ""`,
		`server: called by client.example, resumed: true, session id context: "grpc-example"`,
		`client: answered by server.example, resumed: true, session id context: ""`,
	}
	if got := strings.Split(strings.TrimSpace(out.b.String()), "\n"); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// parts is what the failures are made of: a client's and a server's Ctx that
// would do, but for what change alters.
func parts(t *testing.T, change func(server, client *openssl.Ctx) error) (addr string, c *creds) {
	t.Helper()
	server, err := openssl.NewServerCtx()
	if err != nil {
		t.Fatalf("NewServerCtx: %v", err)
	}
	client, err := openssl.NewClientCtx()
	if err != nil {
		t.Fatalf("NewClientCtx: %v", err)
	}
	ca, key, caPEM, _ := certificate("CA", nil, nil)
	_, _, cert, certKey := certificate("server.example", ca, key)
	for _, err := range []error{
		server.UseCertificate(cert, certKey), server.SetALPN("h2"), client.SetVerifyCAs(caPEM), client.SetALPN("h2"),
		change(server, client),
	} {
		if err != nil {
			t.Fatalf("configuring server and client: %v", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	s := grpc.NewServer(grpc.Creds(&creds{ctx: server}))
	go s.Serve(l)
	t.Cleanup(func() {
		s.Stop()
		server.Close()
		client.Close()
	})
	return l.Addr().String(), &creds{ctx: client}
}

// check calls once, and does not wait for a server that cannot be had.
func check(t *testing.T, addr string, c credentials.TransportCredentials, authority string) error {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithAuthority(authority), grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatalf("NewClient: %v", err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = health_v1.NewHealthClient(cc).Check(ctx, &health_v1.HealthCheckRequest{})
	return err
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		name, authority, want string
		change                func(server, client *openssl.Ctx) error
	}{
		{"nothing is wrong", "server.example:443", "unknown service", func(_, _ *openssl.Ctx) error { return nil }},
		{"another name", "other.example", "hostname mismatch", func(_, _ *openssl.Ctx) error { return nil }},
		{"no ALPN", "server.example", "SetALPN", func(_, c *openssl.Ctx) error { return c.SetALPN() }},
		{"an untrusted server", "server.example", "certificate verify failed", func(_, c *openssl.Ctx) error {
			_, _, other, _ := certificate("another CA", nil, nil)
			return c.SetVerifyCAs(other)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, c := parts(t, test.change)
			if err := check(t, addr, c, test.authority); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, not %s", err, test.want)
			}
		})
	}
}

// gRPC's own credentials, on crypto/tls, at the other end.
func TestStockClient(t *testing.T) {
	addr, _ := parts(t, func(server, client *openssl.Ctx) error { return nil })
	stock := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) // whom it trusts is not the question here
	if err := check(t, addr, stock, "server.example"); err == nil || !strings.Contains(err.Error(), "unknown service") {
		t.Errorf("check: %v", err)
	}
}
