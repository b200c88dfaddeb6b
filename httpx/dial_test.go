package httpx_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
	"github.com/sidctx/openssl/internal/tlstest"
)

// tuned is client with other settings.
func tuned(t testing.TB, d *openssl.Dialer, change func(h *http.Transport)) *http.Client {
	t.Helper()
	c := client(t, d)
	change(c.Transport.(*httpx.Transport).HTTP)
	return c
}

func silent(http.ResponseWriter, *http.Request) {}

// Of several requests at once all connections are kept, if there may be as many.
func TestTransportIdleConnsPerHost(t *testing.T) {
	const requests = 8
	for _, test := range []struct{ perHost, accepted int }{{requests, requests}, {0, 2*requests - http.DefaultMaxIdleConnsPerHost}} {
		var together sync.WaitGroup
		s := serve(t, serverCtx(t, "http/1.1"), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			together.Done()
			together.Wait()
		}), nil)
		c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t)}, func(h *http.Transport) { h.MaxIdleConnsPerHost = test.perHost })
		for range 2 {
			together.Add(requests)
			var wg sync.WaitGroup
			for range requests {
				wg.Go(func() {
					var idle sync.WaitGroup
					idle.Add(1)
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(error) { idle.Done() }})
					r, err := http.NewRequestWithContext(ctx, "GET", s.url, nil)
					if err == nil {
						var resp *http.Response
						if resp, err = c.Do(r); err == nil {
							resp.Body.Close()
							idle.Wait()
						}
					}
					if err != nil {
						t.Errorf("one of %d requests: %v", requests, err)
					}
				})
			}
			wg.Wait()
		}
		if n := s.accepted.Load(); n != int64(test.accepted) {
			t.Errorf("MaxIdleConnsPerHost = %d: %d connections for twice %d requests, want %d", test.perHost, n, requests, test.accepted)
		}
	}
}

func TestTransportResponseHeaderTimeout(t *testing.T) {
	for _, p := range protocols {
		done := make(chan struct{})
		s := serve(t, serverCtx(t, p.alpn), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }), nil)
		c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t, p.alpn)}, func(h *http.Transport) { h.ResponseHeaderTimeout = 50 * time.Millisecond })
		resp, err := c.Get(s.url)
		close(done)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: a server without an answer: %v, %v, want a timeout", p.name, resp, err)
		}
	}
}

// deafWire reads nothing more once deaf is closed.
type deafWire struct {
	net.Conn
	deaf, closed chan struct{}
	close        func()
}

func (w *deafWire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	select {
	case <-w.deaf:
		<-w.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (w *deafWire) Close() error {
	w.close()
	return w.Conn.Close()
}

// A connection that does not answer pings is given up.
func TestTransportPings(t *testing.T) {
	tlstest.NeedsSpeed(t, "a server that answers may need longer than the 50 ms that a ping is given")
	s := serve(t, serverCtx(t, "h2"), http.HandlerFunc(silent), nil)
	wire := &deafWire{deaf: make(chan struct{}), closed: make(chan struct{})}
	wire.close = sync.OnceFunc(func() { close(wire.closed) })
	c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t, "h2")}, func(h *http.Transport) {
		h.HTTP2 = &http.HTTP2Config{SendPingTimeout: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond}
		h.DialContext = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			wire.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return wire, err
		}
	})
	get(t, c, s.url)
	close(wire.deaf)
	wait(t, wire.closed, "the connection to be closed after a ping without an answer")
}

// A connection is made over what DialContext returns, for the name in the URL.
func TestTransportDialContext(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "socket")
			inner, err := net.Listen("unix", path)
			must(t, err)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.Proto, " ", r.Host, " ", r.TLS.ServerName)
			})}
			must(t, httpx.ConfigureServer(server))
			run(t, server, openssl.NewListener(inner, serverCtx(t, p.alpn)), nil)
			var asked []string
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				asked = append(asked, network+" "+addr)
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
			c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1")}, func(h *http.Transport) { h.DialContext = dial })
			_, body, conn := get(t, c, "https://localhost/")
			if want := fmt.Sprintf("HTTP/%d.%d localhost localhost", p.major, 2-p.major); body != want {
				t.Errorf("over a Unix socket: %q, want %q", body, want)
			}
			if _, _, again := get(t, c, "https://localhost/"); again != conn || len(asked) != 1 || asked[0] != "tcp localhost:443" {
				t.Errorf("two requests: dials %q, want tcp localhost:443 once", asked)
			}
			other := tuned(t, &openssl.Dialer{Ctx: clientCtx(t), ServerName: "other.test"}, func(h *http.Transport) { h.DialContext = dial })
			var e *openssl.Error
			if _, err := other.Get("https://localhost/"); !errors.As(err, &e) {
				t.Errorf("the Dialer's name is another: %v, want a failed verification", err)
			}
		})
	}
	c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t)}, func(h *http.Transport) {
		h.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
	})
	if _, err := c.Get("https://localhost/"); err == nil || !strings.Contains(err.Error(), "neither a connection nor an error") {
		t.Errorf("DialContext returns nothing: %v", err)
	}
}

// connectProxy answers CONNECT as the function says, and connects if that is 200. It returns its URL.
func connectProxy(t testing.TB, answer func(r *http.Request) int) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { near.Close() })
			go carry(near, answer)
		}
	}()
	return &url.URL{Scheme: "http", Host: l.Addr().String()}
}

func carry(near net.Conn, answer func(r *http.Request) int) {
	r, err := http.ReadRequest(bufio.NewReader(near))
	if err != nil {
		return
	}
	status := answer(r)
	if status == 0 { // nothing at all
		return
	}
	fmt.Fprintf(near, "HTTP/1.1 %d %s\r\nX-Proxy: yes\r\n\r\n", status, http.StatusText(status))
	defer near.Close()
	if status != http.StatusOK {
		return
	}
	far, err := net.Dial("tcp", r.Host)
	if err != nil {
		return
	}
	go func() {
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, far)
}

func TestTransportProxy(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			s := serve(t, serverCtx(t, p.alpn), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }), nil)
			asked := make(chan string, 9)
			proxy := connectProxy(t, func(r *http.Request) int {
				user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
				asked <- strings.Join([]string{r.Method, r.Host, user, password, r.Header.Get("X-Tenant")}, " ")
				return http.StatusOK
			})
			proxy.User = url.UserPassword("me", "secret")
			var answered string
			var dialled atomic.Int32
			dialer := &net.Dialer{Control: func(string, string, syscall.RawConn) error { dialled.Add(1); return nil }}
			c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t, "h2", "http/1.1"), NetDialer: dialer}, func(h *http.Transport) {
				h.Proxy = http.ProxyURL(proxy)
				h.ProxyConnectHeader = http.Header{"X-Tenant": {"a"}}
				h.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
					answered = resp.Header.Get("X-Proxy")
					return nil
				}
			})
			for range 2 {
				resp, err := c.Post(s.url, "text/plain", newOnceBody("hello"))
				must(t, err)
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(body) != "hello" || err != nil || resp.ProtoMajor != p.major || resp.TLS.NegotiatedProtocol != p.alpn {
					t.Errorf("through a proxy: %q over HTTP/%d, %v", body, resp.ProtoMajor, err)
				}
			}
			if got, want := <-asked, "CONNECT "+s.addr+" me secret a"; got != want || answered != "yes" || len(asked) != 0 {
				t.Errorf("the proxy was asked %q and %d times more, its answer %q; want %q once", got, len(asked), answered, want)
			}
			if got := dialled.Load(); got != 1 {
				t.Errorf("the NetDialer has dialled %d times, want once", got)
			}
		})
	}
}

// What a proxy refuses is told, with the proxy and without its password.
func TestTransportProxyErrors(t *testing.T) {
	s := serve(t, serverCtx(t), http.HandlerFunc(silent), nil)
	refuses := connectProxy(t, func(*http.Request) int { return http.StatusForbidden })
	refuses.User = url.UserPassword("me", "secret")
	mute := connectProxy(t, func(*http.Request) int { return 0 })
	no := errors.New("not this one")
	for _, test := range []struct {
		what   string
		change func(h *http.Transport)
		want   string
	}{
		{"a refusal", func(h *http.Transport) { h.Proxy = http.ProxyURL(refuses) }, "CONNECT " + s.addr + ": the proxy has answered 403 Forbidden"},
		{"no answer", func(h *http.Transport) {
			h.Proxy, h.TLSHandshakeTimeout = http.ProxyURL(mute), 50*time.Millisecond
		}, "deadline exceeded"},
		{"SOCKS", func(h *http.Transport) { h.Proxy = http.ProxyURL(&url.URL{Scheme: "socks5", Host: "a.test"}) }, "HTTP.DialContext"},
		{"https", func(h *http.Transport) { h.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: "a.test"}) }, "http proxies alone"},
		{"Proxy fails", func(h *http.Transport) { h.Proxy = func(*http.Request) (*url.URL, error) { return nil, no } }, no.Error()},
		{"the headers fail", func(h *http.Transport) {
			h.Proxy = http.ProxyURL(mute)
			h.GetProxyConnectHeader = func(context.Context, *url.URL, string) (http.Header, error) { return nil, no }
		}, no.Error()},
		{"the answer fails", func(h *http.Transport) {
			h.Proxy = http.ProxyURL(refuses)
			h.OnProxyConnectResponse = func(context.Context, *url.URL, *http.Request, *http.Response) error { return no }
		}, no.Error()},
		{"no port", func(h *http.Transport) {
			h.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})
			h.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return nil, errors.New("dialled " + addr) }
		}, "dialled proxy.test:80"},
		{"no proxy there", func(h *http.Transport) {
			h.Proxy = http.ProxyURL(refuses)
			h.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, no }
		}, no.Error()},
	} {
		c := tuned(t, &openssl.Dialer{Ctx: clientCtx(t)}, test.change)
		body := newOnceBody("x")
		_, err := c.Post(s.url, "text/plain", body)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
		wait(t, body.closed, "the body to be closed after "+test.what)
	}
	if n := s.accepted.Load(); n != 0 {
		t.Errorf("the server has got %d connections, want none", n)
	}
}

// What would speak another TLS is refused, before anything is dialed.
func TestTransportMisuse(t *testing.T) {
	for what, change := range map[string]func(tr *httpx.Transport){
		"HTTP":            func(tr *httpx.Transport) { tr.HTTP = nil },
		"TLSClientConfig": func(tr *httpx.Transport) { tr.HTTP.TLSClientConfig = new(tls.Config) },
		"DialTLSContext": func(tr *httpx.Transport) {
			tr.HTTP.DialTLSContext = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
		},
		"Protocols": func(tr *httpx.Transport) { tr.HTTP.ForceAttemptHTTP2 = true },
		//lint:ignore SA1019 it is what is to be refused
		"HTTP.Dial": func(tr *httpx.Transport) { tr.HTTP.Dial = net.Dial },
	} {
		tr := httpx.NewTransport(&openssl.Dialer{Ctx: clientCtx(t)})
		change(tr)
		body := newOnceBody("x")
		r, err := http.NewRequest("POST", "https://localhost/", body)
		must(t, err)
		if _, err := tr.RoundTrip(r); err == nil || !strings.Contains(err.Error(), "openssl: httpx: ") || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		wait(t, body.closed, "the body to be closed")
		tr.CloseIdleConnections()
	}
}

// A program that asks ever more hosts remembers a bounded number of them.
func TestTransportHostsAreBounded(t *testing.T) {
	tr := httpx.NewTransport(&openssl.Dialer{Ctx: clientCtx(t)})
	if n := tr.Remember(5000); n == 0 || n > 1000 {
		t.Errorf("%d of 5000 hosts are remembered, want 1000 at most", n)
	}
	tr.CloseIdleConnections()
	if n := tr.Remember(0); n != 0 {
		t.Errorf("%d hosts are remembered after CloseIdleConnections", n)
	}
}
