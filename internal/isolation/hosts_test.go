//go:build cgo

package isolation_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// eachMechanism runs f in an env per mechanism.
func eachMechanism(t *testing.T, f func(a *env)) {
	t.Helper()
	for _, m := range mechanisms {
		t.Run(m.name, func(t *testing.T) { f(newEnv(t, m, memoryWire)) })
	}
}

func anEnv(t *testing.T) *env { return newEnv(t, mechanisms[2], memoryWire) }

func TestHostsRefuses(t *testing.T) {
	a := anEnv(t)
	plain := func(name string, settings ...setting) *openssl.Ctx {
		return a.server(append([]setting{named(name)}, settings...)...)
	}
	base := []setting{within("same"), asks(fixtures.caA)}
	for what, c := range map[string]struct {
		add  func() *openssl.Ctx
		says string
	}{
		"nothing":        {func() *openssl.Ctx { return nil }, "nil"},
		"a client":       {func() *openssl.Ctx { return tlstest.NewClient(t) }, "NewServerCtx"},
		"no certificate": {func() *openssl.Ctx { return a.listener(nil) }, "UseCertificate"},
		"other names":    {func() *openssl.Ctx { return plain("b.test", base...) }, "DeriveSessionIDContext"},
		"other CAs":      {func() *openssl.Ctx { return plain("a.test", within("same"), asks(fixtures.caB)) }, "DeriveSessionIDContext"},
		"other mode":     {func() *openssl.Ctx { return plain("a.test", within("same"), requires(fixtures.caA)) }, "DeriveSessionIDContext"},
		"other depth":    {func() *openssl.Ctx { c := plain("a.test", base...); must(t, c.SetVerifyDepth(3)); return c }, "DeriveSessionIDContext"},
		"other ALPN":     {func() *openssl.Ctx { c := plain("a.test", base...); must(t, c.SetALPN("h2")); return c }, "DeriveSessionIDContext"},
		"a store":        {func() *openssl.Ctx { return a.host("b.test", a.storing()) }, "SetSessionStore"},
		"a timeout":      {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetSessionTimeout(time.Hour)); return c }, "SetSessionTimeout"},
		"a cache size":   {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetSessionCacheSize(5)); return c }, "SetSessionCacheSize"},
		"a cache mode": {func() *openssl.Ctx {
			c := a.host("b.test")
			must(t, c.SetSessionCacheMode(openssl.SessionCacheOff))
			return c
		}, "SetSessionCacheMode"},
		"ticket keys":     {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetTicketKeys(tlstest.TicketKey(1))); return c }, "SetTicketKeys"},
		"a ticket count":  {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetNumTickets(1)); return c }, "SetNumTickets"},
		"groups":          {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetGroups("P-256")); return c }, "SetGroups"},
		"no context":      {func() *openssl.Ctx { return plain("b.test", requires(fixtures.caA)) }, "SetSessionIDContext"},
		"deferred to nil": {func() *openssl.Ctx { c := a.host("b.test"); must(t, c.SetVerify(openssl.VerifyDefer)); return c }, "SetVerifyConnection"},
	} {
		hosts := openssl.NewHosts()
		must(t, hosts.Add("a.test", plain("a.test", base...)))
		next := c.add()
		for name, err := range map[string]error{"Add": hosts.Add("b.test", next), "SetDefault": hosts.SetDefault(next)} {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
		if hosts.Lookup("b.test") != nil {
			t.Errorf("%s: refused, and served", what)
		}
	}
}

// storing is a store of its own.
func (a *env) storing() setting {
	return func(t testing.TB, c *openssl.Ctx) { must(t, c.SetSessionStore(newMemStore())) }
}

// TestSwitchRefuses: what Hosts.Add refuses, a ClientHello function cannot do either.
func TestSwitchRefuses(t *testing.T) {
	a := anEnv(t)
	host := a.host("a.test")
	must(t, host.SetSessionTimeout(time.Hour))
	o := a.refused(a.connect(a.listener(map[string]*openssl.Ctx{"a.test": host}), client{name: "a.test"}))
	if !strings.Contains(o.serverErr.Error(), "SetSessionTimeout") {
		t.Fatalf("server: %v, want it to name SetSessionTimeout", o.serverErr)
	}
	routed := a.host("b.test")
	a.full(a.connect(a.listener(map[string]*openssl.Ctx{"b.test": routed}), client{name: "b.test"}))
	if err := routed.SetTicketKeys(tlstest.TicketKey(1)); err == nil {
		t.Fatal("a routed Ctx takes ticket keys")
	}
	if err := routed.SetSessionTimeout(time.Hour); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatalf("SetSessionTimeout: %v", err)
	}
}

func TestHostsTakes(t *testing.T) {
	a := anEnv(t)
	hosts := openssl.NewHosts()
	one, wild, deep, fallback := a.host("a.test"), a.host("w.test"), a.host("x.w.test"), a.host("default.test")
	must(t, hosts.Add("a.test", one))
	must(t, hosts.Add("also.test", one))
	must(t, hosts.Add("*.w.test", wild))
	must(t, hosts.Add("x.w.test", deep))
	look := func(want map[string]*openssl.Ctx) {
		t.Helper()
		for name, c := range want {
			if got := hosts.Lookup(name); got != c {
				t.Errorf("%q is served by another", name)
			}
			got, err := hosts.Route(context.Background(), &openssl.ClientHello{ServerName: name})
			var alert tls.AlertError
			if got != c || (c == nil) != (err != nil) || c == nil && (!errors.As(err, &alert) || alert != 112) {
				t.Errorf("%q is routed to another: %v", name, err)
			}
		}
	}
	look(map[string]*openssl.Ctx{
		"a.test": one, "ALSO.test.": one, "y.w.test": wild, "x.w.test": deep, "w.test": nil, "z.y.w.test": nil, "b.test": nil, "": nil, "a\x00.test": nil,
	})
	must(t, hosts.SetDefault(fallback))
	look(map[string]*openssl.Ctx{"a.test": one, "w.test": fallback, "z.y.w.test": fallback, "": fallback, "a\x00.test": fallback})
	for _, pattern := range []string{"a.test", "A.TEST.", "*.W.test", "x.w.test", "", "*", "*.", "*.*.test", "a.*.test", "a test"} {
		if err := hosts.Add(pattern, one); err == nil {
			t.Errorf("%q is added again, or at all", pattern)
		}
	}
	if err := one.SetALPN("h2"); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Errorf("an added Ctx is open to change: %v", err)
	}
	// One name, one context, one policy, two certificates: a renewal.
	must(t, openssl.NewHosts().Add("a.test", a.host("a.test", within("same"))))
}

// TestHostsAtOnce adds while others look up.
func TestHostsAtOnce(t *testing.T) {
	a := anEnv(t)
	hosts := openssl.NewHosts()
	host := a.host("a.test")
	must(t, hosts.Add("a.test", host))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 100 {
				hosts.Add(fmt.Sprintf("n%d-%d.test", i, j), host)
				if hosts.Lookup("a.test") != host {
					t.Error("lost")
				}
			}
		})
	}
	wg.Wait()
}

func TestClientHelloFuncSees(t *testing.T) {
	for _, v := range tlstest.Versions {
		a := newEnv(t, mechanism{v.Name, v.ID, false}, memoryWire)
		var seen openssl.ClientHello
		host := a.host("a.test")
		must(t, host.SetALPN("h2"))
		must(t, host.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
			seen = *hello
			return nil, nil
		}))
		ctx := a.caching(nil, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetALPN("spdy", "h2")) })
		o := a.full(a.connect(host, client{name: "A.test", client: ctx}))
		if seen.ServerName != "a.test" || fmt.Sprint(seen.ALPNProtocols) != "[spdy h2]" || len(seen.SupportedVersions) == 0 ||
			seen.SupportedVersions[0] != v.ID || len(seen.CipherSuites) == 0 || seen.Conn == nil {
			t.Errorf("%s: %+v", v.Name, seen)
		}
		if o.client.NegotiatedProtocol != "h2" {
			t.Errorf("%s: %q", v.Name, o.client.NegotiatedProtocol)
		}
	}
}

// TestClientHelloFuncFails: its own error is the handshake's, for good; the
// client hears the alert; the next connection is none the worse.
func TestClientHelloFuncFails(t *testing.T) {
	own := errors.New("no such tenant")
	slow := timeoutError{}
	for what, c := range map[string]struct {
		f     func() (*openssl.Ctx, error)
		is    error
		says  string
		alert tls.AlertError
	}{
		"an error":   {func() (*openssl.Ctx, error) { return nil, own }, own, "", 80},
		"an alert":   {func() (*openssl.Ctx, error) { return nil, tls.AlertError(112) }, tls.AlertError(112), "", 112},
		"both":       {func() (*openssl.Ctx, error) { return nil, fmt.Errorf("%w: %w", own, tls.AlertError(49)) }, own, "", 49},
		"a panic":    {func() (*openssl.Ctx, error) { panic("nil map") }, nil, "panicked: nil map", 80},
		"a timeout":  {func() (*openssl.Ctx, error) { return nil, slow }, slow, "", 80},
		"a client's": {func() (*openssl.Ctx, error) { return tlstest.NewClient(t), nil }, nil, "SSL_set_SSL_CTX", 80},
	} {
		eachMechanism(t, func(a *env) {
			var fail atomic.Bool
			fail.Store(true)
			host := a.host("a.test")
			listener := a.routing(func(*openssl.ClientHello) (*openssl.Ctx, error) {
				if fail.Load() {
					return c.f()
				}
				return host, nil
			})
			near, far := a.wire(a)
			s, err := openssl.Server(far, listener)
			must(a, err)
			conn, err := openssl.Client(near, a.client(nil, true))
			must(a, err)
			must(a, conn.SetServerName("a.test"))
			clientErr, serverErr := tlstest.Both(conn.Handshake, s.Handshake)
			for range 2 {
				if c.is != nil && !errors.Is(serverErr, c.is) || serverErr == nil || !strings.Contains(serverErr.Error(), c.says) {
					a.Errorf("%s: the server's error is %v", what, serverErr)
				}
				serverErr = s.Handshake()
			}
			var alert tls.AlertError
			if !errors.As(clientErr, &alert) || alert != c.alert {
				a.Errorf("%s: the client hears %v", what, clientErr)
			}
			s.Close()
			conn.Close()
			fail.Store(false)
			a.full(a.connect(listener, client{name: "a.test"}))
		})
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "lookup: timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

var _ net.Error = timeoutError{}

// TestClientHelloFuncEnds: its context ends with the handshake's and with Close.
func TestClientHelloFuncEnds(t *testing.T) {
	a := anEnv(t)
	asked := make(chan struct{}, 2)
	listener := a.server(withPolicy(openssl.SessionPolicy{}))
	must(t, listener.SetClientHelloFunc(func(ctx context.Context, _ *openssl.ClientHello) (*openssl.Ctx, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	hello := a.hello("a.test", nil).record()
	for what, end := range map[string]func(s *openssl.Conn, cancel func()){
		"the context": func(_ *openssl.Conn, cancel func()) { cancel() },
		"Close":       func(s *openssl.Conn, _ func()) { s.Close() },
	} {
		near, far := a.wire(t)
		s, err := openssl.Server(far, listener)
		must(t, err)
		near.Write(hello)
		ctx, cancel := context.WithCancel(context.Background())
		_, serverErr := tlstest.Both(func() error {
			<-asked
			end(s, cancel)
			return nil
		}, func() error { return s.HandshakeContext(ctx) })
		if !errors.Is(serverErr, context.Canceled) && !errors.Is(serverErr, net.ErrClosed) {
			t.Errorf("%s: %v", what, serverErr)
		}
		cancel()
		s.Close()
		near.Close()
	}
}

// TestSwitchTakesAllWithIt: verify mode, depth, options, versions and the
// context, also where the connection has a context of its own or the listener
// is of a later generation.
func TestSwitchTakesAllWithIt(t *testing.T) {
	eachMechanism(t, func(a *env) {
		intermediate := tlstest.NewAuthority(a, "intermediate", fixtures.caA)
		deep := member(a, intermediate, "deep", nil)
		deep.cert = append(deep.cert, intermediate.PEM...)
		strict := a.host("a.test", requires(fixtures.caA), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyDepth(0)) })
		loose := a.host("b.test", requires(fixtures.caA))
		listener := a.listener(map[string]*openssl.Ctx{"a.test": strict, "b.test": loose})
		generation := func() {
			_, err := listener.Revoke()
			must(a, err)
		}
		for range 2 {
			a.refused(a.connect(listener, client{name: "a.test"}))             // the mode
			a.refused(a.connect(listener, client{name: "a.test", cert: deep})) // the depth
			a.full(a.connect(listener, client{name: "b.test", cert: deep}))    // not another's
			o := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
			if string(o.server.SessionIDContext) != string(strict.SessionIDContext()) {
				a.Errorf("the session is of %x", o.server.SessionIDContext)
			}
			a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
			generation()
		}
	})
	// Versions and options.
	a := newEnv(t, mechanisms[0], memoryWire)
	old := a.host("old.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetOptions(openssl.OptionNoTicket)) })
	listener, err := openssl.NewServerCtx()
	must(t, err)
	defer listener.Close()
	must(t, listener.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return old, nil }))
	o := a.full(a.connect(listener, client{name: "old.test", client: a.both()}))
	if o.server.Version != tls.VersionTLS12 {
		t.Errorf("version %x", o.server.Version)
	}
	for _, f := range tlstest.SessionFields(t, o.session) {
		if f.Class == 2 && f.Tag == tlstest.FieldTicket {
			t.Error("a ticket in spite of OptionNoTicket")
		}
	}
}

// TestSwitchKeepsAnOwnContext: one that was set on the connection outlasts the
// change of Ctx, unless it is what the Ctx left behind was configured with.
func TestSwitchKeepsAnOwnContext(t *testing.T) {
	a := anEnv(t)
	for own, want := range map[string]string{"own": "own", "first": "second"} {
		first, second := a.host("a.test", within("first")), a.host("a.test", within("second"))
		s, err := openssl.NewSSL(first)
		must(t, err)
		must(t, s.SetSessionIDContext([]byte(own)))
		must(t, s.SetCtx(second))
		if got := s.SessionIDContext(); string(got) != want {
			t.Errorf("%s becomes %q", own, got)
		}
		must(t, s.Close())
	}
}

// TestBareSSLIsAsked: a machine without Conn says WantClientHello and is
// answered by hand.
func TestBareSSLIsAsked(t *testing.T) {
	a := anEnv(t)
	host := a.host("a.test", requires(fixtures.caA))
	listener := a.listener(nil)
	c, err := openssl.NewSSL(a.client(fixtures.cliA, true))
	must(t, err)
	defer c.Close()
	s, err := openssl.NewSSL(listener)
	must(t, err)
	defer s.Close()
	must(t, c.SetServerName("a.test"))
	if err := s.Refuse(40); err == nil {
		t.Error("there is nothing to refuse")
	}
	if _, err := c.Handshake(); err != nil {
		t.Fatalf("Handshake: %v", err)
	}
	tlstest.Carry(t, c, s)
	w, err := s.Handshake()
	if w != openssl.WantClientHello || err != nil {
		t.Fatalf("Handshake: w %v, err %v", w, err)
	}
	hello, err := s.ClientHello()
	if err != nil || hello.ServerName != "a.test" || hello.Conn != nil {
		t.Fatalf("%+v, %v", hello, err)
	}
	must(t, s.SetCtx(host))
	tlstest.MustShake(t, c, s)
	if len(s.ConnectionState().PeerCertificates) != 1 {
		t.Error("the host's verify mode is not in force")
	}
	tlstest.Goodbye(t, c, s)
}

// TestRenewedCertificateKeepsSessions: names and issuer are hashed, so a session
// outlives the certificate, in every mechanism, on a listener that goes on.
func TestRenewedCertificateKeepsSessions(t *testing.T) {
	eachMechanism(t, func(a *env) {
		was := a.host("a.test", requires(fixtures.caA))
		renewed := func(c *openssl.Ctx) *openssl.Ctx {
			cert, key := tlstest.Certs(a).Leaf(a, "a.test", tlstest.ECKey(a), nil)
			must(a, c.UseCertificate(cert, key))
			return c
		}
		now := renewed(a.host("a.test", requires(fixtures.caA)))
		newest := was
		listener := a.routing(func(*openssl.ClientHello) (*openssl.Ctx, error) { return newest, nil })
		o := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
		newest = now
		a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		next := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
		if bytes.Equal(next.client.PeerCertificates[0].Raw, o.client.PeerCertificates[0].Raw) {
			a.Error("the certificate is the old one")
		}
		hosts := openssl.NewHosts()
		must(a, hosts.Add("a.test", now))
		newest = was
		a.connect(listener, client{name: "a.test", cert: fixtures.cliA, look: func(s *openssl.Conn) {
			if !hosts.Serves(s, "a.test") {
				a.Error("a connection from before the renewal is misdirected")
			}
		}})
	})
}
