package httpx_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
)

// stockServer is net/http's own, on crypto/tls.
func stockServer(t testing.TB, h2 bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	p := testPKI()
	pair, err := tls.X509KeyPair(p.serverCert, p.serverKey)
	must(t, err)
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.pool}
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTransportStockServer(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			s := stockServer(t, p.major == 2, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.TLS.NegotiatedProtocol, r.TLS.PeerCertificates[0].Subject.CommonName, r.Host)
			})
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
			resp, body, conn := get(t, c, s.URL+"/path?query")
			if want := fmt.Sprintf("HTTP/%d.%d %s client.test %s", p.major, 2-p.major, p.alpn, s.Listener.Addr()); body != want {
				t.Errorf("%q, not %q", body, want)
			}
			if resp.ProtoMajor != p.major || resp.Request.URL.String() != s.URL+"/path?query" {
				t.Errorf("HTTP/%d, %s", resp.ProtoMajor, resp.Request.URL)
			}
			if resp.TLS == nil || resp.TLS.NegotiatedProtocol != p.alpn || resp.TLS.PeerCertificates[0].Subject.CommonName != "localhost" {
				t.Errorf("resp.TLS: %+v", resp.TLS)
			}
			if _, _, again := get(t, c, s.URL); again != conn {
				t.Error("the connection was not reused")
			}
		})
	}
}

// A response belongs to the request that was made, not to what went through net/http for it.
func TestTransportResponseRequest(t *testing.T) {
	for _, p := range protocols {
		s := serve(t, serverCtx(t, p.alpn), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
		c := client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)})
		r, err := http.NewRequest("POST", s.url, newOnceBody("hello"))
		must(t, err)
		resp, err := c.Transport.RoundTrip(r)
		must(t, err)
		resp.Body.Close()
		if resp.Request != r {
			t.Errorf("%s: another request", p.name)
		}
	}
}

// A dial is bounded though the request is not.
func TestTransportDialIsBounded(t *testing.T) {
	s := serve(t, serverCtx(t, "h2"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
	bounds := make(chan time.Duration, 1)
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2"), NetDialer: &net.Dialer{
		ControlContext: func(ctx context.Context, _, _ string, _ syscall.RawConn) error {
			until, _ := ctx.Deadline()
			bounds <- time.Until(until)
			return nil
		},
	}})
	resp, err := c.Get(s.url)
	must(t, err)
	resp.Body.Close()
	if bound := <-bounds; bound <= 0 || bound > 30*time.Second {
		t.Errorf("bounded by %v", bound)
	}
}

// The first request to a host may have a body that can be read but once.
func TestTransportFirstRequestHasBody(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			s := serve(t, serverCtx(t, p.alpn), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(w, r.Body)
			}), nil)
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
			body := newOnceBody("hello")
			resp, err := c.Post(s.url, "text/plain", body)
			must(t, err)
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); string(got) != "hello" || err != nil || resp.ProtoMajor != p.major {
				t.Errorf("%q over HTTP/%d, %v", got, resp.ProtoMajor, err)
			}
			wait(t, body.closed, "the body to be closed")
			if n := s.accepted.Load(); n != 1 {
				t.Errorf("%d connections for one request", n)
			}
		})
	}
}

// onceBody is a body without GetBody, which cannot be read once it is closed.
type onceBody struct {
	text   io.Reader
	closed chan struct{}
	close  func()
}

func newOnceBody(text string) *onceBody {
	b := &onceBody{text: strings.NewReader(text), closed: make(chan struct{})}
	b.close = sync.OnceFunc(func() { close(b.closed) })
	return b
}

func (b *onceBody) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, errors.New("the body was closed before it was read")
	default:
		return b.text.Read(p)
	}
}

func (b *onceBody) Close() error {
	b.close()
	return nil
}

// Requests that come at once to a host without a connection share one HTTP/2 connection.
func TestTransportMultiplexes(t *testing.T) {
	const requests = 100
	var together sync.WaitGroup
	together.Add(requests)
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		together.Done()
		together.Wait() // all 100 are in their handlers at once
		fmt.Fprintf(w, "%d %p %s", r.ProtoMajor, httpx.FromRequest(r), r.URL.Path)
	}), nil)
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a first request that fails finds nothing out
	r, err := http.NewRequestWithContext(ctx, "GET", s.url, nil)
	must(t, err)
	if _, err := c.Do(r); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do: %v", err)
	}
	var wg sync.WaitGroup
	conns := make(chan string, requests)
	for i := range requests {
		wg.Go(func() {
			resp, err := c.Get(fmt.Sprint(s.url, "/", i))
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			defer resp.Body.Close()
			var major int
			var conn, path string
			if _, err := fmt.Fscan(resp.Body, &major, &conn, &path); err != nil || major != 2 || path != fmt.Sprint("/", i) {
				t.Errorf("HTTP/%d, %s, %v", major, path, err)
			}
			conns <- conn
		})
	}
	wg.Wait()
	close(conns)
	first := <-conns
	for conn := range conns {
		if conn != first {
			t.Fatal("more than one connection in the handlers")
		}
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// With HTTP/1.1 requests that come at once get a connection each, and no more.
func TestTransportHTTP1AtOnce(t *testing.T) {
	const requests = 20
	var together sync.WaitGroup
	together.Add(requests)
	s := serve(t, serverCtx(t, "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		together.Done()
		together.Wait()
	}), nil)
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			resp, err := c.Get(s.url)
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			resp.Body.Close()
		})
	}
	wg.Wait()
	if n := s.accepted.Load(); n != requests {
		t.Errorf("%d connections for %d requests", n, requests)
	}
}

func TestLargeBodies(t *testing.T) {
	const size = 8 << 20
	sent := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(sent)
	sum := sha256.Sum256(sent)
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got, err := io.ReadAll(r.Body)
				if err != nil || sha256.Sum256(got) != sum {
					t.Errorf("the server has read %d bytes, %v", len(got), err)
				}
				w.Write(got)
			}), nil)
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)})
			resp, err := c.Post(s.url, "application/octet-stream", bytes.NewReader(sent))
			must(t, err)
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || sha256.Sum256(got) != sum {
				t.Errorf("the client has read %d bytes, %v", len(got), err)
			}
		})
	}
}

// A cancelled request ends at once, in its handler too; HTTP/2's connection lives on.
func TestTransportCancel(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			running, ended := make(chan struct{}), make(chan error, 1)
			s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/wait" {
					return
				}
				close(running)
				<-r.Context().Done()
				ended <- r.Context().Err()
			}), nil)
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)})
			get(t, c, s.url)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/wait", nil)
			must(t, err)
			failed := make(chan error, 1)
			go func() {
				resp, err := c.Do(r)
				if err == nil {
					resp.Body.Close()
				}
				failed <- err
			}()
			wait(t, running, "the handler")
			cancel()
			if err := wait(t, failed, "the request to fail"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			if err := wait(t, ended, "the handler to hear of it"); !errors.Is(err, context.Canceled) {
				t.Errorf("in the handler: %v", err)
			}
			get(t, c, s.url)
			if n, want := s.accepted.Load(), int64(3-p.major); n != want {
				t.Errorf("%d connections, not %d", n, want)
			}
		})
	}
}

// A request that is cancelled while it dials returns at once, and so do those
// that have waited for it.
func TestTransportCancelDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // says nothing to a ClientHello
	must(t, err)
	defer l.Close()
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	bodies := []*onceBody{newOnceBody("x"), newOnceBody("x")}
	for _, body := range bodies {
		r, err := http.NewRequestWithContext(ctx, "POST", "https://"+l.Addr().String(), body)
		must(t, err)
		go func() {
			_, err := c.Do(r)
			failed <- err
		}()
	}
	wire, err := l.Accept()
	must(t, err)
	cancel()
	for range bodies {
		if err := wait(t, failed, "the request to fail"); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	for _, body := range bodies {
		wait(t, body.closed, "a body to be closed")
	}
	must(t, wire.Close()) // the dial, which net/http goes on with, fails
}

// A host that has changed its protocol is spoken to in the new one.
func TestTransportHostChanges(t *testing.T) {
	for _, p := range protocols {
		t.Run("to"+p.name, func(t *testing.T) {
			before := protocols[p.major-1] // the other one
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			addr := l.Addr().String()
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
			first := &http.Server{Handler: handler}
			must(t, httpx.ConfigureServer(first))
			run(t, first, openssl.NewListener(l, serverCtx(t, before.alpn)), nil)
			transport := httpx.NewTransport(&openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
			c := &http.Client{Transport: transport}
			t.Cleanup(c.CloseIdleConnections)
			resp, _, conn := get(t, c, "https://"+addr)
			if resp.ProtoMajor != before.major {
				t.Fatalf("HTTP/%d first", resp.ProtoMajor)
			}
			must(t, first.Shutdown(t.Context()))
			for until := time.Now().Add(patience); conn.(*openssl.Conn).ConnectionState().HandshakeComplete; runtime.Gosched() {
				if time.Now().After(until) { // a closed Conn has no state
					t.Fatal("the client has not noticed the end of its connection")
				}
			}

			l, err = net.Listen("tcp", addr)
			must(t, err)
			second := &http.Server{Handler: handler}
			must(t, httpx.ConfigureServer(second))
			run(t, second, openssl.NewListener(l, serverCtx(t, p.alpn)), nil)
			resp, err = c.Post("https://"+addr, "text/plain", newOnceBody("hello"))
			must(t, err)
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); string(got) != "hello" || resp.ProtoMajor != p.major {
				t.Errorf("%q over HTTP/%d, %v", got, resp.ProtoMajor, err)
			}
		})
	}
}

// CloseIdleConnections closes them: the server sees their end.
func TestTransportCloseIdle(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			closed := make(chan struct{}, 1)
			s := serve(t, serverCtx(t, p.alpn), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
				func(s *http.Server) {
					s.ConnState = func(_ net.Conn, state http.ConnState) {
						if state == http.StateClosed {
							closed <- struct{}{}
						}
					}
				})
			c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
			get(t, c, s.url)
			c.CloseIdleConnections()
			wait(t, closed, "the connection to be closed")
			get(t, c, s.url)
		})
	}
}

// The handshake's own words come through, and a failed one is no obstacle to the next.
func TestTransportErrors(t *testing.T) {
	s := serve(t, serverCtx(t, "h2", "http/1.1"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
	transport := httpx.NewTransport(&openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1"), ServerName: "other.test"})
	for range 2 {
		body := newOnceBody("x")
		r, err := http.NewRequest("POST", s.url, body)
		must(t, err)
		var e *openssl.Error
		if _, err := transport.RoundTrip(r); !errors.As(err, &e) || !strings.Contains(strings.ToLower(err.Error()), "hostname mismatch") {
			t.Errorf("another name: %v", err)
		}
		wait(t, body.closed, "the body to be closed")
	}
	for _, test := range []struct {
		what, url string
		d         *openssl.Dialer
		want      string
	}{
		{"no Dialer", s.url, nil, "openssl: "},
		{"no Ctx", s.url, &openssl.Dialer{}, "openssl: "},
		{"http", "http://" + s.addr, &openssl.Dialer{Ctx: clientCtx(t)}, "use an https URL"},
		{"another scheme", "ftp://" + s.addr, &openssl.Dialer{Ctx: clientCtx(t)}, "unsupported protocol scheme"},
	} {
		r, err := http.NewRequest("GET", test.url, nil)
		must(t, err)
		if _, err := httpx.NewTransport(test.d).RoundTrip(r); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	if _, err := httpx.NewTransport(nil).RoundTrip(&http.Request{}); err == nil {
		t.Error("a request without a URL")
	}
}

// More requests than one HTTP/2 connection takes go over further ones.
func TestTransportStreamLimit(t *testing.T) {
	const limit, requests = 5, 40
	s := serve(t, serverCtx(t, "h2"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}), func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: limit} })
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")})
	get(t, c, s.url)
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			resp, err := c.Post(s.url, "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Errorf("Post: %v", err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != "hello" {
				t.Errorf("%q, %v", body, err)
			}
		})
	}
	wg.Wait()
}

// TestTransportCancelWithoutTickets cancels a request to a TLS 1.3 server that sends no
// tickets: the client has read nothing, and does not wait for more.
func TestTransportCancelWithoutTickets(t *testing.T) {
	running, release := make(chan struct{}), make(chan struct{})
	ctx := serverCtx(t, "http/1.1")
	must(t, ctx.SetMinVersion(tls.VersionTLS13))
	must(t, ctx.SetNumTickets(0))
	s := serve(t, ctx, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(running)
		<-release // the server does not hear of it
	}), nil)
	t.Cleanup(func() { close(release) })
	c := client(t, &openssl.Dialer{Ctx: clientCtx(t, "http/1.1")})
	requestCtx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(requestCtx, "GET", s.url, nil)
	must(t, err)
	failed := make(chan error, 1)
	go func() {
		resp, err := c.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	wait(t, running, "the handler")
	cancel()
	began := time.Now()
	if err := wait(t, failed, "the request to fail"); !errors.Is(err, context.Canceled) {
		t.Errorf("the request: %v, want %v", err, context.Canceled)
	}
	c.CloseIdleConnections()
	if took := time.Since(began); took > 4*time.Second { // it once waited for 5
		t.Errorf("the request returned %v after it was cancelled", took)
	}
}
