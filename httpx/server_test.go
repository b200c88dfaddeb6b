package httpx_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestConfigureServerMisuse(t *testing.T) {
	if err := httpx.ConfigureServer(nil); err == nil || !strings.HasPrefix(err.Error(), "openssl: ") {
		t.Errorf("no Server: %v", err)
	}
	s := &http.Server{}
	must(t, httpx.ConfigureServer(s))
	if err := httpx.ConfigureServer(s); err == nil || !strings.Contains(err.Error(), "once") {
		t.Errorf("twice: %v", err)
	}
	if httpx.FromRequest(nil) != nil {
		t.Error("a connection of no request")
	}
	r, err := http.NewRequest("GET", "https://localhost/", nil)
	must(t, err)
	if httpx.FromRequest(r) != nil {
		t.Error("a connection of a request that came over none")
	}
}

// What a handler sees, for both protocols and versions: the same Conn in every
// request of a connection, its state in r.TLS, and a resumed session on the next.
func TestServerHandlerSeesConnection(t *testing.T) {
	for _, p := range protocols {
		for _, v := range versions {
			t.Run(p.name+"/"+v.name, func(t *testing.T) {
				type seen struct {
					conn  *openssl.Conn
					state openssl.ConnectionState
					tls   *tls.ConnectionState
					proto int
				}
				requests := make(chan seen, 3)
				s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn := httpx.FromRequest(r)
					requests <- seen{conn, conn.ConnectionState(), r.TLS, r.ProtoMajor}
				}), nil)
				ctx := clientCtx(t, p.alpn)
				setVersion(t, ctx, v.id)
				check := func(got seen, resumed bool) {
					t.Helper()
					switch {
					case got.proto != p.major:
						t.Errorf("HTTP/%d", got.proto)
					case got.tls == nil:
						t.Error("r.TLS is nil")
					case got.tls.Version != v.id || got.tls.NegotiatedProtocol != p.alpn || !got.tls.HandshakeComplete:
						t.Errorf("r.TLS: %+v", got.tls)
					case len(got.tls.PeerCertificates) != 1 || got.tls.PeerCertificates[0].Subject.CommonName != "client.test":
						t.Errorf("r.TLS.PeerCertificates: %v", got.tls.PeerCertificates)
					case got.tls.DidResume != resumed || got.state.DidResume != resumed:
						t.Errorf("resumed: %v and %v, not %v", got.tls.DidResume, got.state.DidResume, resumed)
					case string(got.state.SessionIDContext) != sidCtx:
						t.Errorf("session id context %q", got.state.SessionIDContext)
					}
				}

				c := client(t, &openssl.Dialer{Ctx: ctx})
				_, _, conn := get(t, c, s.url)
				get(t, c, s.url)
				first, second := <-requests, <-requests
				check(first, false)
				check(second, false)
				if first.conn == nil || first.conn != second.conn {
					t.Error("not the same Conn in two requests of a connection")
				}
				session, err := conn.(*openssl.Conn).Session()
				must(t, err)
				defer session.Close()
				c.CloseIdleConnections()

				get(t, client(t, &openssl.Dialer{Ctx: ctx, Session: session}), s.url)
				third := <-requests
				check(third, true)
				if third.conn == first.conn {
					t.Error("the same Conn in two connections")
				}
			})
		}
	}
}

// Where ALPN says nothing, HTTP/1.1 is served, with r.TLS.
func TestServerWithoutALPN(t *testing.T) {
	s := serve(t, serverCtx(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %v", r.Proto, r.TLS.HandshakeComplete)
	}), nil)
	if _, body, _ := get(t, client(t, &openssl.Dialer{Ctx: clientCtx(t)}), s.url); body != "HTTP/1.1 true" {
		t.Errorf("%s", body)
	}
}

// The Protocols that were set are kept to, whatever ALPN allows.
func TestServerProtocols(t *testing.T) {
	for _, p := range protocols {
		t.Run("only"+p.name, func(t *testing.T) {
			var only http.Protocols
			only.SetHTTP1(p.major == 1)
			only.SetHTTP2(p.major == 2)
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, r.Proto)
			}), func(s *http.Server) { s.Protocols = &only })
			if only.UnencryptedHTTP2() {
				t.Error("the caller's Protocols were changed")
			}
			if resp, _, _ := get(t, client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)}), s.url); resp.ProtoMajor != p.major {
				t.Errorf("HTTP/%d", resp.ProtoMajor)
			}
			other := protocols[p.major-1]
			if resp, err := client(t, &openssl.Dialer{Ctx: clientCtx(t, other.alpn)}).Get(s.url); err == nil {
				resp.Body.Close()
				t.Errorf("%s: %s", resp.Proto, resp.Status)
			}
		})
	}
}

// A connection that ended before its request was handled has no state to go by: refused.
func TestServerEndedConnection(t *testing.T) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("the handler was reached")
	})}
	must(t, httpx.ConfigureServer(s))
	near, far := net.Pipe()
	defer far.Close()
	conn, err := openssl.Server(near, serverCtx(t))
	must(t, err)
	must(t, conn.Close())
	r := httptest.NewRequest("GET", "https://localhost/", nil)
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, r.WithContext(s.ConnContext(r.Context(), conn)))
	if w.Code != http.StatusMisdirectedRequest {
		t.Errorf("status %d", w.Code)
	}
}

// A Handler and a ConnContext that are there go on working.
func TestServerChains(t *testing.T) {
	type key struct{}
	const pattern = "/httpx-chains"
	mux := http.DefaultServeMux
	defer func() { http.DefaultServeMux = mux }()
	http.DefaultServeMux = http.NewServeMux()
	http.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(key{}), " ", httpx.FromRequest(r) != nil)
	})
	s := serve(t, serverCtx(t, "h2", "http/1.1"), nil, func(s *http.Server) {
		s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			if _, ok := c.(*openssl.Conn); !ok {
				t.Errorf("ConnContext was given a %T", c)
			}
			return context.WithValue(ctx, key{}, "kept")
		}
	})
	for _, p := range protocols {
		if _, body, _ := get(t, client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)}), s.url+pattern); body != "kept true" {
			t.Errorf("%s: %s", p.name, body)
		}
	}
}

// A configured server on a listener that is not openssl's serves as before.
func TestServerOtherListener(t *testing.T) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, httpx.FromRequest(r) == nil, r.TLS == nil)
	})}
	must(t, httpx.ConfigureServer(server))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := run(t, server, l, nil)
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	if _, body, _ := get(t, c, "http://"+s.addr); body != "true true" {
		t.Errorf("%s", body)
	}
}

// net/http's own client, on crypto/tls.
func TestServerStockClient(t *testing.T) {
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.TLS.NegotiatedProtocol, r.TLS.PeerCertificates[0].Subject.CommonName)
	}), nil)
	for _, test := range []struct {
		h2   bool
		want string
	}{{true, "HTTP/2.0 h2 client.test"}, {false, "HTTP/1.1  client.test"}} {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: stockConfig(t), ForceAttemptHTTP2: test.h2}}
		_, body, _ := get(t, c, s.url)
		c.CloseIdleConnections()
		if body != test.want {
			t.Errorf("%q, not %q", body, test.want)
		}
	}
}

func TestServerCurl(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it starts curl")
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("REQUIRE_PEERS") == "1" {
			t.Fatal("curl is missing and REQUIRE_PEERS is set")
		}
		t.Skip("curl is not on PATH, so that nothing can be said about it")
	}
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Proto, " ", r.TLS.NegotiatedProtocol, " ", n, " ", err)
	}), nil)
	dir, p := t.TempDir(), testPKI()
	for name, content := range map[string][]byte{
		"ca": p.ca, "cert": p.clientCert, "key": p.clientKey, "body": make([]byte, 1<<20),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	for flag, want := range map[string]string{
		"--http2":   "HTTP/2.0 h2 1048576 <nil>",
		"--http1.1": "HTTP/1.1 http/1.1 1048576 <nil>",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, curl, "-sS", flag, "--noproxy", "*", "--cacert", "ca", "--cert", "cert", "--key", "key",
			"--data-binary", "@body", s.url)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("curl %s: %q, %v", flag, out, err)
		}
	}
}

// preface is how HTTP/2 begins, with empty SETTINGS, and a GET of / on stream 1:
// the static table's :method GET, :path /, :scheme https, and :authority x.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
	"\x00\x00\x06\x01\x05\x00\x00\x00\x01" + "\x82\x84\x87\x41\x01x"

// status421 is 421 in HPACK's Huffman code, behind its length.
const status421 = "\x82\x68\x41"

// What a connection speaks must be what ALPN has chosen: nothing else reaches the handler.
func TestServerDisagreement(t *testing.T) {
	for _, test := range []struct {
		name, alpn string
		send       string
		want       string
	}{
		{"HTTP2 after http/1.1", "http/1.1", preface, status421},
		{"HTTP2 without ALPN", "", preface, status421},
		{"HTTP1 after another protocol", "other", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 421 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, serverCtx(t, "h2", "http/1.1", "other"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				t.Error("the handler was reached")
			}), nil)
			var offer []string
			if test.alpn != "" {
				offer = []string{test.alpn}
			}
			conn, err := openssl.Dial("tcp", s.addr, clientCtx(t, offer...))
			must(t, err)
			defer conn.Close()
			must(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(conn, test.send)
			must(t, err)
			got, err := io.ReadAll(conn) // until the server ends the connection
			must(t, err)
			if !bytes.Contains(got, []byte(test.want)) {
				t.Errorf("%q", got)
			}
		})
	}
}

// The two that agree, by the same raw bytes: what is refused above is refused for disagreeing.
func TestServerAgreement(t *testing.T) {
	reached := make(chan string, 1)
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached <- r.Proto
	}), nil)
	for alpn, send := range map[string]string{"h2": preface, "http/1.1": "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := openssl.Dial("tcp", s.addr, clientCtx(t, alpn))
		must(t, err)
		_, err = io.WriteString(conn, send)
		must(t, err)
		wait(t, reached, alpn)
		must(t, conn.Close())
	}
}

// Shutdown lets what is running end, and nothing new begin.
func TestServerShutdown(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			const streams = 3
			running, goOn := make(chan struct{}, streams), make(chan struct{})
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "begin ")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Errorf("Flush: %v", err)
				}
				running <- struct{}{}
				<-goOn
				io.WriteString(w, "end")
			}), nil)
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)})
			bodies := make(chan string, streams)
			var begun sync.WaitGroup
			for range streams {
				begun.Add(1)
				go func() {
					resp, err := c.Get(s.url)
					begun.Done()
					if err != nil {
						bodies <- err.Error()
						return
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						body = fmt.Append(body, err)
					}
					bodies <- string(body)
				}()
			}
			for range streams {
				wait(t, running, "handlers")
			}
			begun.Wait()
			shut := make(chan error, 1)
			stopped := make(chan struct{})
			s.server.RegisterOnShutdown(func() { close(stopped) })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			go func() { shut <- s.server.Shutdown(ctx) }()
			wait(t, stopped, "Shutdown to begin")
			if err := wait(t, s.done, "Serve to return"); !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("Serve: %v", err)
			}
			select {
			case err := <-shut:
				t.Fatalf("Shutdown did not wait for the handlers: %v", err)
			default:
			}
			close(goOn)
			for range streams {
				if body := wait(t, bodies, "bodies"); body != "begin end" {
					t.Errorf("body %q", body)
				}
			}
			must(t, wait(t, shut, "Shutdown"))
		})
	}
}

// A client that does not go on with its handshake is cut off by
// ReadHeaderTimeout, and the others do not notice it.
func TestServerSlowHandshake(t *testing.T) {
	tlstest.NeedsSpeed(t, "a client that does go on may need longer than the 300 ms that a handshake is given")
	states := make(chan http.ConnState, 16)
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}),
		func(s *http.Server) {
			s.ReadHeaderTimeout = 300 * time.Millisecond
			s.ConnState = func(_ net.Conn, state http.ConnState) { states <- state }
		})
	wire, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer wire.Close()
	if state := wait(t, states, "a new connection"); state != http.StateNew {
		t.Fatal(state)
	}
	_, err = wire.Write([]byte{22, 3, 1}) // the beginning of a record
	must(t, err)
	must(t, wire.SetReadDeadline(time.Now().Add(patience)))
	begin := time.Now()
	if n, err := wire.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read %d, %v", n, err)
	}
	t.Logf("cut off after %v", time.Since(begin))
	if state := wait(t, states, "its end"); state != http.StateClosed {
		t.Error(state)
	}
	get(t, client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2")}), s.url)
}

// Where ALPN has chosen h2 and the client does not begin with HTTP/2's preface, the
// connection ends, with no page of HTTP/1.1 (RFC 9113, 3.4).
func TestServerWithoutPreface(t *testing.T) {
	for _, test := range []struct {
		name, send string
		http1      bool // the server speaks that alone
		cut        bool // the client ends its side behind what it sends
	}{
		{name: "a request of HTTP/1.1", send: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "a request without a host", send: "GET / HTTP/1.1\r\n\r\n"},
		{name: "no HTTP", send: "hello, world\r\n\r\n"},
		{name: "two bytes", send: "\r\n"},
		{name: "another second half", send: "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "another last byte", send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"},
		{name: "half a preface", send: "PRI * HTTP/2.0\r\n\r\n", cut: true},
		{name: "a few bytes of a preface", send: "PRI", cut: true},
		{name: "nothing", cut: true},
		{name: "a preface for a server of HTTP/1.1", send: preface, http1: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ended := make(chan struct{}, 1)
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				t.Error("the handler was reached")
			}), func(s *http.Server) {
				s.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						ended <- struct{}{}
					}
				}
				if test.http1 {
					s.Protocols = new(http.Protocols)
					s.Protocols.SetHTTP1(true)
				}
			})
			conn, err := openssl.Dial("tcp", s.addr, clientCtx(t, "h2"))
			must(t, err)
			defer conn.Close()
			must(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(conn, test.send)
			must(t, err)
			if test.cut {
				must(t, conn.CloseWrite())
			}
			if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
				t.Errorf("after %q the server has sent %q, %v; want the end of the connection", test.send, got, err)
			}
			wait(t, ended, "the end of the server's side")
		})
	}
}

// A preface that comes in pieces is one.
func TestServerPrefaceInPieces(t *testing.T) {
	reached := make(chan string, 1)
	s := serve(t, serverCtx(t, "h2"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r.Proto }), nil)
	conn, err := openssl.Dial("tcp", s.addr, clientCtx(t, "h2"))
	must(t, err)
	defer conn.Close()
	for i := range preface {
		_, err := io.WriteString(conn, preface[i:i+1])
		must(t, err)
	}
	if proto := wait(t, reached, "the handler"); proto != "HTTP/2.0" {
		t.Errorf("a preface byte by byte leads to %s, not HTTP/2.0", proto)
	}
}

// lines is a log whose lines can be waited for.
func lines(s *http.Server) <-chan string {
	c := make(chan string, 16)
	s.ErrorLog = log.New(lineWriter(c), "", 0)
	return c
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// failure is what OnHandshakeError was given.
type failure struct {
	addr net.Addr
	err  error
}

// A client that fails the handshake costs its connection and nothing else. It is a
// line in the log, in net/http's form, and one call of the hook.
func TestServerFailedHandshake(t *testing.T) {
	const plain = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n" // net/http's own
	for _, test := range []struct {
		name, send, answer string
		line               string // behind the address
		is                 error
	}{
		{"GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", plain, "client sent an HTTP request to an HTTPS server", nil},
		{"POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", plain, "client sent an HTTP request to an HTTPS server", nil},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", plain, "client sent an HTTP request to an HTTPS server", nil},
		{"HTTP2", preface, "", "openssl: SSL_do_handshake: ", nil},
		{"nothing", "", "", "unexpected EOF", io.ErrUnexpectedEOF},
		{"half a record", "\x16\x03\x01", "", "unexpected EOF", io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged <-chan string
			failures := make(chan failure, 16)
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				t.Error("the handler was reached")
			}), func(s *http.Server) { logged = lines(s) }, httpx.OnHandshakeError(func(addr net.Addr, err error) {
				failures <- failure{addr, err}
			}))
			wire, err := net.Dial("tcp", s.addr)
			must(t, err)
			defer wire.Close()
			must(t, wire.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(wire, test.send)
			must(t, err)
			must(t, wire.(*net.TCPConn).CloseWrite())
			answer, err := io.ReadAll(wire)
			if err != nil || test.answer != "" && string(answer) != test.answer || test.answer == "" && bytes.Contains(answer, []byte("HTTP")) {
				t.Errorf("the client of %q reads %q, %v; want %q", test.send, answer, err, test.answer)
			}
			want := "http: TLS handshake error from " + wire.LocalAddr().String() + ": "
			if line := wait(t, logged, "a line in the log"); !strings.HasPrefix(line, want) || !strings.Contains(line, test.line) || strings.Count(line, "\n") != 1 {
				t.Errorf("the log says %q; want %q, with %q", line, want, test.line)
			}
			f := wait(t, failures, "the hook")
			if f.addr.String() != wire.LocalAddr().String() || f.err == nil || test.is != nil && !errors.Is(f.err, test.is) {
				t.Errorf("the hook was given %v, %v; want %v and %v", f.addr, f.err, wire.LocalAddr(), test.is)
			}
		})
	}
}

// A refusal that the peer hears of is a line, too: of the client's certificate, and by
// a client that refuses the server's.
func TestServerRefusedHandshake(t *testing.T) {
	for _, v := range versions {
		for _, test := range []struct {
			name   string
			client func(t *testing.T, c *openssl.Ctx)
		}{
			{"no certificate", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetVerifyCAs(testPKI().ca)) }},
			{"an unknown CA", func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetVerifyCAs(testPKI().clientCert))
				must(t, c.UseCertificate(testPKI().clientCert, testPKI().clientKey))
			}},
		} {
			t.Run(v.name+"/"+test.name, func(t *testing.T) {
				var logged <-chan string
				failures := make(chan failure, 16)
				s := serve(t, serverCtx(t), http.NotFoundHandler(), func(s *http.Server) { logged = lines(s) },
					httpx.OnHandshakeError(func(addr net.Addr, err error) { failures <- failure{addr, err} }))
				c, err := openssl.NewClientCtx()
				must(t, err)
				defer c.Close()
				setVersion(t, c, v.id)
				test.client(t, c)
				resp, err := client(t, &openssl.Dialer{Ctx: c}).Get(s.url)
				if err == nil {
					resp.Body.Close()
					t.Fatalf("the request has succeeded: %s", resp.Status)
				}
				f := wait(t, failures, "the hook")
				want := "http: TLS handshake error from " + f.addr.String() + ": " + f.err.Error() + "\n"
				if line := wait(t, logged, "a line in the log"); line != want {
					t.Errorf("the log says %q; want %q", line, want)
				}
				var e *openssl.Error
				if !errors.As(f.err, &e) || len(e.Stack) == 0 {
					t.Errorf("the hook was given %v; want libssl's reason", f.err)
				}
			})
		}
	}
}

// A client that stalls is a line when its time is over.
func TestServerHandshakeTimeout(t *testing.T) {
	var logged <-chan string
	s := serve(t, serverCtx(t), http.NotFoundHandler(), func(s *http.Server) {
		logged = lines(s)
		s.ReadHeaderTimeout = 100 * time.Millisecond
	})
	wire, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer wire.Close()
	if line := wait(t, logged, "a line in the log"); !strings.Contains(line, "TLS handshake error from "+wire.LocalAddr().String()) || !strings.Contains(line, "timeout") {
		t.Errorf("the log says %q; want the client's address and its timeout", line)
	}
}

// Neither a hook nor a log takes the server down, and none delays another connection.
func TestServerHookIsContained(t *testing.T) {
	release := make(chan struct{})
	ended := make(chan struct{}, 16)
	for _, test := range []struct {
		name string
		hook func()
		log  func(s *http.Server) <-chan string
		says string
	}{
		{"panics", func() { panic("at the disco") }, lines, "panic in the function of OnHandshakeError: at the disco"},
		{"ends its goroutine", runtime.Goexit, lines, ""},
		{"stays", func() { <-release }, lines, ""},
		{"log panics", func() { panic("at the disco") }, func(s *http.Server) <-chan string {
			s.ErrorLog = log.New(panickyWriter{}, "", 0)
			return nil
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged <-chan string
			s := serve(t, serverCtx(t, "h2"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(s *http.Server) {
				logged = test.log(s)
				s.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						ended <- struct{}{}
					}
				}
			}, httpx.OnHandshakeError(func(net.Addr, error) { test.hook() }), nil, httpx.OnHandshakeError(func(net.Addr, error) { test.hook() }))
			wire, err := net.Dial("tcp", s.addr)
			must(t, err)
			defer wire.Close()
			_, err = io.WriteString(wire, "GET / HTTP/1.1\r\n\r\n")
			must(t, err)
			if logged != nil {
				wait(t, logged, "a line in the log")
			}
			if test.says != "" {
				if line := wait(t, logged, "the panic in the log"); !strings.Contains(line, test.says) || !strings.Contains(line, "httpx_test") {
					t.Errorf("the log says %q; want %q and where it was", line, test.says)
				}
			}
			get(t, client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2")}), s.url)
			if test.name == "stays" {
				close(release)
			}
			wait(t, ended, "the end of the connection that failed")
		})
	}
}

type panickyWriter struct{}

func (panickyWriter) Write([]byte) (int, error) { panic("log after the test has completed") }

// A handler may take an HTTP/1.1 connection over.
func TestServerHijack(t *testing.T) {
	s := serve(t, serverCtx(t, "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		if conn != net.Conn(httpx.FromRequest(r)) {
			t.Errorf("hijacked a %T", conn)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, err := buf.ReadString('\n')
		if err != nil {
			t.Errorf("ReadString: %v", err)
		}
		io.WriteString(conn, line)
	}), nil)
	r, err := http.NewRequest("GET", s.url, nil)
	must(t, err)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	resp, err := client(t, &openssl.Dialer{Ctx: clientCtx(t, "http/1.1")}).Do(r)
	must(t, err)
	defer resp.Body.Close()
	both, ok := resp.Body.(io.ReadWriter)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("%s, %T", resp.Status, resp.Body)
	}
	_, err = io.WriteString(both, "hello\n")
	must(t, err)
	if line, err := bufio.NewReader(both).ReadString('\n'); line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// TestServerCloseDoesNotWait closes a server while 100 clients read none of their
// responses. One that waited for each of them would take minutes.
func TestServerCloseDoesNotWait(t *testing.T) {
	const clients = 100
	writing := make(chan struct{}, clients)
	s := serve(t, serverCtx(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writing <- struct{}{}
		for chunk := make([]byte, 1<<20); ; { // until no buffer takes more
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}), nil)
	d := &openssl.Dialer{Ctx: clientCtx(t)}
	for range clients {
		conn, err := d.DialContext(t.Context(), "tcp", s.addr)
		must(t, err)
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatalf("the request: %v", err)
		}
		wait(t, writing, "a handler")
	}
	began := time.Now()
	must(t, s.server.Close())
	if took := time.Since(began); took > patience {
		t.Errorf("Close took %v for %d connections", took, clients)
	}
}
