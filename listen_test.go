//go:build cgo

package openssl_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// local is a server for localhost's address.
func local(t *testing.T) *openssl.Ctx {
	t.Helper()
	c := tlstest.BareServer(t)
	must(t, c.UseCertificate(tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})))
	return c
}

// echoes is a listener whose connections send back what they read. Its end waits for them.
func echoes(t *testing.T, c *openssl.Ctx) net.Listener {
	t.Helper()
	tlstest.CheckLeaks(t)
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	must(t, err)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			tlstest.Echo(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-over
	})
	return l
}

func TestWrongRole(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	near, far := tlstest.TCPPair(t)
	defer near.Close()
	defer far.Close()
	for _, x := range []struct {
		name string
		do   func() error
		says string
	}{
		{"Client", func() error { _, err := openssl.Client(near, server); return err }, "NewClientCtx"},
		{"Server", func() error { _, err := openssl.Server(far, client); return err }, "NewServerCtx"},
		{"Listen", func() error { _, err := openssl.Listen("tcp", "127.0.0.1:0", client); return err }, "NewServerCtx"},
		// It is not dialled: the address is one that never answers.
		{"Dial", func() error { _, err := openssl.Dial("tcp", "192.0.2.1:443", server); return err }, "NewClientCtx"},
		{"DialContext", func() error {
			_, err := (&openssl.Dialer{Ctx: server}).DialContext(t.Context(), "tcp", "192.0.2.1:443")
			return err
		}, "NewClientCtx"},
		{"Accept", func() error {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			l := openssl.NewListener(inner, client)
			defer l.Close()
			caller, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			defer caller.Close()
			conn, err := l.Accept()
			if conn != nil {
				t.Error("a connection beside the error")
			}
			if n, rerr := caller.Read(make([]byte, 1)); n != 0 || rerr != io.EOF {
				t.Errorf("the wire stays open: %d, %v", n, rerr)
			}
			return err
		}, "NewServerCtx"},
		{"SetServerName on a server", func() error {
			_, s := tlstest.Conns(t, client, server)
			return s.SetServerName("server.test")
		}, "a server has no server name"},
	} {
		t.Run(x.name, func(t *testing.T) { tlstest.Sentence(t, x.do(), x.says) })
	}
	// After an error the wire is the caller's still.
	if _, err := near.Write([]byte("x")); err != nil {
		t.Errorf("Write: %v", err)
	}
}

func TestDial(t *testing.T) {
	l := echoes(t, local(t))
	addr := l.Addr().String()
	client := tlstest.NewClient(t)
	use := func(t *testing.T, conn net.Conn) {
		t.Helper()
		must(t, tlstest.RoundTrip(conn, []byte("hello")))
		must(t, conn.Close())
	}
	t.Run("the host of the address is verified", func(t *testing.T) {
		c, err := openssl.Dial("tcp", addr, client)
		must(t, err)
		if !c.ConnectionState().HandshakeComplete {
			t.Error("Dial returned before the handshake")
		}
		use(t, c)
	})
	t.Run("a name of its own", func(t *testing.T) {
		conn, err := (&openssl.Dialer{Ctx: client, ServerName: "server.test"}).DialContext(t.Context(), "tcp", addr)
		must(t, err)
		c, ok := conn.(*openssl.Conn)
		if !ok || c.ConnectionState().ServerName != "server.test" {
			t.Errorf("%T", conn)
		}
		use(t, conn)
	})
	t.Run("a wrong name", func(t *testing.T) {
		conn, err := (&openssl.Dialer{Ctx: client, ServerName: "other.test"}).DialContext(t.Context(), "tcp", addr)
		if conn != nil {
			t.Error("a connection beside the error")
		}
		tlstest.Sentence(t, err, "ostname mismatch")
	})
	t.Run("a session", func(t *testing.T) {
		d := &openssl.Dialer{Ctx: client}
		for _, want := range []bool{false, true} {
			conn, err := d.DialContext(t.Context(), "tcp", addr)
			must(t, err)
			c := conn.(*openssl.Conn)
			must(t, tlstest.RoundTrip(c, []byte("hello")))
			if got := c.ConnectionState().DidResume; got != want {
				t.Errorf("resumed: %v, want %v", got, want)
			}
			d.Session = tlstest.SessionOf(t, c)
			must(t, c.Close())
		}
	})
	t.Run("a session of another context", func(t *testing.T) {
		other := tlstest.NewClient(t)
		must(t, other.SetSessionIDContext([]byte("other")))
		conn, err := openssl.Dial("tcp", addr, client)
		must(t, err)
		must(t, tlstest.RoundTrip(conn, []byte("hello")))
		_, err = (&openssl.Dialer{Ctx: other, Session: tlstest.SessionOf(t, conn)}).DialContext(t.Context(), "tcp", addr)
		must(t, conn.Close())
		if !errors.Is(err, openssl.ErrSessionContextMismatch) {
			t.Errorf("DialContext: %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		gone, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, gone.Close())
		if _, err := openssl.Dial("tcp", gone.Addr().String(), client); err == nil {
			t.Error("somebody there")
		}
	})
}

// A server that accepts and says nothing cannot hold a caller for longer than it wants.
func TestDialGivesUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	addr, client := silent.Addr().String(), tlstest.NewClient(t)
	t.Run("when its context is cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			wire, err := silent.Accept()
			if err != nil {
				t.Errorf("Accept: %v", err)
				return
			}
			wire.Read(make([]byte, 1)) // the ClientHello is here: the handshake waits
			cancel()
			io.Copy(io.Discard, wire)
			wire.Close()
		}()
		conn, err := (&openssl.Dialer{Ctx: client}).DialContext(ctx, "tcp", addr)
		if conn != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("DialContext: conn %v, err %v", conn, err)
		}
	})
	for name, d := range map[string]*net.Dialer{
		"after its Timeout":  {Timeout: 20 * time.Millisecond},
		"after its Deadline": {Deadline: time.Now().Add(20 * time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&openssl.Dialer{Ctx: client, NetDialer: d}).DialContext(t.Context(), "tcp", addr)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%v is no timeout", err)
			}
		})
	}
	t.Run("before it begins", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := (&openssl.Dialer{Ctx: client}).DialContext(ctx, "tcp", addr); !errors.Is(err, context.Canceled) {
			var op *net.OpError
			if !errors.As(err, &op) {
				t.Errorf("DialContext after cancel: %v", err)
			}
		}
	})
}

func TestListener(t *testing.T) {
	t.Run("Accept does not shake hands", func(t *testing.T) {
		l, err := openssl.Listen("tcp", "127.0.0.1:0", tlstest.NewServer(t))
		must(t, err)
		defer l.Close()
		silent, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		defer silent.Close()
		conn, err := l.Accept() // would wait for ever
		must(t, err)
		c, ok := conn.(*openssl.Conn)
		if !ok || c.ConnectionState().HandshakeComplete || c.RemoteAddr().String() != silent.LocalAddr().String() ||
			c.LocalAddr().String() != l.Addr().String() {
			t.Errorf("%T from %v at %v", conn, conn.RemoteAddr(), conn.LocalAddr())
		}
		must(t, conn.Close())
	})
	t.Run("closed", func(t *testing.T) {
		l, err := openssl.Listen("tcp", "127.0.0.1:0", tlstest.NewServer(t))
		must(t, err)
		must(t, l.Close())
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	})
	t.Run("an address that is no address", func(t *testing.T) {
		if _, err := openssl.Listen("tcp", "127.0.0.1:no-such-port", tlstest.NewServer(t)); err == nil {
			t.Error("taken")
		}
	})
	t.Run("a Ctx that was closed", func(t *testing.T) {
		server := tlstest.NewServer(t)
		must(t, server.Close())
		_, err := openssl.Listen("tcp", "127.0.0.1:0", server)
		tlstest.Sentence(t, err, "closed Ctx")
	})
	t.Run("a Ctx in use still listens", func(t *testing.T) {
		server := local(t)
		for range 2 {
			c, err := openssl.Dial("tcp", echoes(t, server).Addr().String(), tlstest.NewClient(t))
			must(t, err)
			must(t, tlstest.RoundTrip(c, []byte("hello")))
			must(t, c.Close())
		}
	})
}

// net/http serves over a listener of this package and dials with its Dialer.
func TestHTTP(t *testing.T) {
	l, err := openssl.Listen("tcp", "127.0.0.1:0", local(t))
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })}
	over := make(chan struct{})
	go func() {
		defer close(over)
		server.Serve(l)
	}()
	transport := &http.Transport{DialTLSContext: (&openssl.Dialer{Ctx: tlstest.NewClient(t)}).DialContext}
	for i := range 3 {
		path := fmt.Sprintf("/%d", i)
		response, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String() + path)
		must(t, err)
		body, err := io.ReadAll(response.Body)
		must(t, err)
		must(t, response.Body.Close())
		if string(body) != path {
			t.Errorf("%q", body)
		}
	}
	// The client hangs up first: Close of a server's connection does not wait for it.
	transport.CloseIdleConnections()
	must(t, server.Shutdown(t.Context()))
	<-over
}

// A TLS 1.3 client learns only at its first Read that its certificate was refused.
func TestCertificateRefusedLate(t *testing.T) {
	ca := tlstest.Certs(t)
	stranger := tlstest.NewAuthority(t, "stranger", nil)
	type row struct {
		name  string
		cert  func(t *testing.T, c *openssl.Ctx)
		alert map[uint16]tls.AlertError
	}
	test := func(t *testing.T, x row, v tlstest.Version) {
		client := tlstest.BareClient(t)
		must(t, client.SetVerifyCAs(ca.PEM))
		x.cert(t, client)
		tlstest.SetVersion(t, client, v.ID)
		c, s := tlstest.Conns(t, client, tlstest.NewMutualServer(t, "tenant"))
		var handshakeErr error
		clientErr, serverErr := tlstest.Both(func() error {
			if handshakeErr = c.Handshake(); handshakeErr != nil {
				return handshakeErr
			}
			return readErr(c)
		}, s.Handshake)
		if serverErr == nil {
			t.Fatal("taken")
		}
		tlstest.Sentence(t, serverErr, "SSL_do_handshake")
		if alert, ok := tlstest.AsType[tls.AlertError](clientErr); !ok || alert != x.alert[v.ID] {
			t.Errorf("client: %v, want alert %d", clientErr, x.alert[v.ID])
		}
		if v.ID == tls.VersionTLS12 {
			if handshakeErr == nil {
				t.Error("the client's handshake went well")
			}
			return
		}
		if handshakeErr != nil {
			t.Errorf("the client's handshake: %v", handshakeErr)
		}
		tlstest.Sentence(t, clientErr, "the server has refused the client's certificate", "only after its handshake")
	}
	for _, x := range []row{
		{"none", func(*testing.T, *openssl.Ctx) {}, map[uint16]tls.AlertError{tls.VersionTLS12: 40, tls.VersionTLS13: 116}},
		{"a stranger's", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.UseCertificate(stranger.Leaf(t, "client.test", tlstest.ECKey(t), nil)))
		}, map[uint16]tls.AlertError{tls.VersionTLS12: 48, tls.VersionTLS13: 48}},
		{"an expired one", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.UseCertificate(ca.Leaf(t, "client.test", tlstest.ECKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })))
		}, map[uint16]tls.AlertError{tls.VersionTLS12: 45, tls.VersionTLS13: 45}},
	} {
		for _, v := range tlstest.Versions {
			t.Run(x.name+"/"+v.Name, func(t *testing.T) { test(t, x, v) })
		}
	}
	t.Run("an alert for another reason", func(t *testing.T) {
		// ... is not blamed on the certificate.
		c, s := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
		clientErr, _ := tlstest.Both(func() error {
			if err := c.Handshake(); err != nil {
				return err
			}
			return readErr(c)
		}, func() error {
			if err := s.Handshake(); err != nil {
				return err
			}
			// A record that does not decrypt: this end answers bad_record_mac.
			if _, err := c.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)); err != nil {
				return err
			}
			return readErr(s)
		})
		tlstest.Sentence(t, clientErr, "SSL_read_ex", "bad record mac")
	})
}

// ---- crypto/tls as the other end ----

func TestInterop(t *testing.T) {
	for _, v := range tlstest.Versions {
		for _, withCert := range []bool{false, true} {
			name := v.Name + "/without client certificate"
			if withCert {
				name = v.Name + "/with client certificate"
			}
			seen := func(t *testing.T, round int, ours openssl.ConnectionState, theirs tls.ConnectionState) {
				t.Helper()
				if ours.DidResume != (round > 0) || theirs.DidResume != (round > 0) {
					t.Errorf("round %d: this package says resumed: %v, crypto/tls: %v", round, ours.DidResume, theirs.DidResume)
				}
				if ours.Version != v.ID || theirs.Version != v.ID || ours.CipherSuite != theirs.CipherSuite ||
					ours.NegotiatedProtocol != "proto" || theirs.NegotiatedProtocol != "proto" || ours.ServerName != "server.test" {
					t.Errorf("round %d: %+v, crypto/tls: %#04x, %#04x, %q", round, ours, theirs.Version, theirs.CipherSuite, theirs.NegotiatedProtocol)
				}
			}
			message := make([]byte, 100_000)
			t.Run(name+"/crypto/tls client", func(t *testing.T) {
				server := tlstest.NewServer(t)
				must(t, server.SetALPN("proto"))
				if withCert {
					must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
					must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
				}
				must(t, server.SetSessionIDContext([]byte("tenant")))
				config := tlstest.GoClient(t)
				config.NextProtos = []string{"proto"}
				config.MinVersion, config.MaxVersion = v.ID, v.ID
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				if withCert {
					config.Certificates = []tls.Certificate{*tlstest.GoCertificate(t)}
				}
				for round := range 3 {
					near, far := tlstest.TCPPair(t)
					s, err := openssl.Server(far, server)
					must(t, err)
					c := tls.Client(near, config)
					var ours openssl.ConnectionState
					clientErr, serverErr := tlstest.Both(func() error {
						return errors.Join(tlstest.RoundTrip(c, message), c.Close())
					}, func() error {
						err := tlstest.Echo(s)
						ours = s.ConnectionState()
						return errors.Join(err, s.Close())
					})
					if clientErr != nil || serverErr != nil {
						t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
					}
					seen(t, round, ours, c.ConnectionState())
					if got := len(ours.PeerCertificates); (got == 1) != withCert || string(ours.SessionIDContext) != "tenant" {
						t.Errorf("round %d: %d certificates, within %q", round, got, ours.SessionIDContext)
					}
				}
			})
			t.Run(name+"/crypto/tls server", func(t *testing.T) {
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.ID)
				must(t, client.SetALPN("proto"))
				config := tlstest.GoServer(t)
				config.NextProtos = []string{"proto"}
				if withCert {
					config.ClientAuth = tls.RequireAndVerifyClientCert
				}
				var sess *openssl.Session
				for round := range 3 {
					near, far := tlstest.TCPPair(t)
					c, err := openssl.Client(near, client)
					must(t, err)
					must(t, c.SetServerName("server.test"))
					if sess != nil {
						must(t, c.SetSession(sess))
					}
					s := tls.Server(far, config)
					var ours openssl.ConnectionState
					clientErr, serverErr := tlstest.Both(func() error {
						err := tlstest.RoundTrip(c, message)
						ours = c.ConnectionState()
						sess = tlstest.SessionOf(t, c)
						return errors.Join(err, c.Close())
					}, func() error {
						return errors.Join(tlstest.Echo(s), s.Close())
					})
					if clientErr != nil || serverErr != nil {
						t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
					}
					seen(t, round, ours, s.ConnectionState())
					if got := len(s.ConnectionState().PeerCertificates); (got == 1) != withCert {
						t.Errorf("round %d: crypto/tls sees %d certificates", round, got)
					}
				}
			})
			t.Run(name+"/this package at both ends", func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				tlstest.SetVersion(t, client, v.ID)
				if withCert {
					server = tlstest.NewMutualServer(t, "tenant")
				}
				var e tlstest.Result
				for round := range 3 {
					e = tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session})
					if e.ClientErr != nil || e.ServerErr != nil || e.Client.DidResume != (round > 0) || e.Server.DidResume != (round > 0) {
						t.Fatalf("round %d: %v, %v, %+v", round, e.ClientErr, e.ServerErr, e.Server)
					}
				}
			})
		}
	}
	t.Run("crypto/tls refuses the certificate", func(t *testing.T) {
		near, far := tlstest.TCPPair(t)
		s, err := openssl.Server(far, tlstest.NewServer(t))
		must(t, err)
		config := tlstest.GoClient(t)
		config.ServerName = "other.test"
		_, serverErr := tlstest.Both(tls.Client(near, config).Handshake, s.Handshake)
		near.Close()
		s.Close()
		if alert, _ := tlstest.AsType[tls.AlertError](serverErr); alert != 42 {
			t.Errorf("server: %v, want bad_certificate", serverErr)
		}
	})
	t.Run("crypto/tls is refused", func(t *testing.T) {
		near, far := tlstest.TCPPair(t)
		s, err := openssl.Server(far, tlstest.NewMutualServer(t, "tenant"))
		must(t, err)
		c := tls.Client(near, tlstest.GoClient(t))
		clientErr, serverErr := tlstest.Both(func() error { return tlstest.RoundTrip(c, []byte("x")) }, s.Handshake)
		near.Close()
		s.Close()
		tlstest.Sentence(t, serverErr, "peer did not return a certificate")
		// crypto/tls keeps the type of a peer's alert to itself.
		if clientErr == nil || !strings.Contains(clientErr.Error(), "certificate required") {
			t.Errorf("client: %v, want certificate_required", clientErr)
		}
	})
}

// Listen makes a connection: what keeps c from serving is found before a client comes,
// and can be mended.
func TestListenMakesAConnection(t *testing.T) {
	server := local(t)
	must(t, server.SetFleetTicketKeys(secret, time.Minute))
	must(t, server.SetSessionTimeout(48*time.Hour))
	_, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	tlstest.Sentence(t, err, "ticket keys of a fleet", "1000 slots")
	must(t, server.SetSessionTimeout(time.Hour)) // it is not in use
	c, err := openssl.Dial("tcp", echoes(t, server).Addr().String(), tlstest.NewClient(t))
	must(t, err)
	must(t, tlstest.RoundTrip(c, []byte("hello")))
	must(t, c.Close())
	if err := server.SetSessionTimeout(time.Hour); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Errorf("a setter after Listen: %v, want %v", err, openssl.ErrCtxInUse)
	}
}

// A connection that cannot be made is closed, and the next one is accepted.
func TestAcceptGoesOn(t *testing.T) {
	server := local(t)
	l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	must(t, err)
	defer l.Close()
	call := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		return c
	}
	type accepted struct {
		conn net.Conn
		err  error
	}
	results := make(chan accepted, 1)
	mend := openssl.SpoilFleetKeys(server)
	go func() {
		conn, err := l.Accept()
		results <- accepted{conn, err}
	}()
	for range 3 {
		if n, err := call().Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("a connection that could not be made: read %d bytes, %v; want %v", n, err, io.EOF)
		}
		select {
		case r := <-results:
			t.Fatalf("Accept returned %v, %v for a connection that could not be made; want it to wait for another", r.conn, r.err)
		default:
		}
	}
	mend()
	good := call()
	r := <-results
	if r.err != nil || r.conn.RemoteAddr().String() != good.LocalAddr().String() {
		t.Fatalf("Accept: %v, %v; want the connection from %v", r.conn, r.err, good.LocalAddr())
	}
	must(t, r.conn.Close())
}

// nothing is a listener that accepts no connection and reports no error.
type nothing struct{ net.Listener }

func (nothing) Accept() (net.Conn, error) { return nil, nil }

// Where no connection can ever be made, Accept says so instead of going on for ever.
func TestAcceptEnds(t *testing.T) {
	listen := func(t *testing.T, c *openssl.Ctx) net.Listener {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		l := openssl.NewListener(inner, c)
		t.Cleanup(func() { l.Close() })
		return l
	}
	for _, x := range []struct {
		name string
		make func(t *testing.T) net.Listener
		says string
	}{
		{"no Ctx", func(t *testing.T) net.Listener { return listen(t, nil) }, "the Ctx is nil"},
		{"a closed Ctx", func(t *testing.T) net.Listener {
			c := local(t)
			l := listen(t, c)
			must(t, c.Close())
			return l
		}, "closed Ctx"},
		{"a Ctx that was closed in use", func(t *testing.T) net.Listener {
			c := local(t)
			s, err := openssl.NewSSL(c)
			must(t, err)
			must(t, s.Close())
			must(t, c.Close())
			return listen(t, c)
		}, "closed Ctx"},
		{"a client's Ctx in use", func(t *testing.T) net.Listener {
			c := tlstest.NewClient(t)
			s, err := openssl.NewSSL(c)
			must(t, err)
			must(t, s.Close())
			return listen(t, c)
		}, "NewServerCtx"},
		{"a Ctx without a certificate", func(t *testing.T) net.Listener { return listen(t, tlstest.BareServer(t)) }, "UseCertificate"},
		{"a listener of nothing", func(t *testing.T) net.Listener { return openssl.NewListener(nothing{}, local(t)) }, "the net.Conn is nil"},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := x.make(t)
			if x.name != "a listener of nothing" {
				c, err := net.Dial("tcp", l.Addr().String())
				must(t, err)
				defer c.Close()
			}
			conn, err := l.Accept()
			if conn != nil {
				t.Errorf("Accept returned a connection: %v", conn)
			}
			tlstest.Sentence(t, err, x.says)
		})
	}
}
