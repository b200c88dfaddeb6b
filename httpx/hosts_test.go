package httpx_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
)

// tenants are three names under two policies: open.test and alias.test ask for
// nothing, closed.test requires a client certificate. What is not named is refused.
func tenants(t testing.TB) (front *openssl.Ctx, hosts *openssl.Hosts) {
	t.Helper()
	p := testPKI()
	newHost := func(label string) *openssl.Ctx {
		c, err := openssl.NewServerCtx()
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, c.UseCertificate(p.serverCert, p.serverKey))
		must(t, c.SetALPN("h2", "http/1.1"))
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: label}))
		return c
	}
	open, closed := newHost("open"), newHost("closed")
	must(t, closed.SetClientCAs(p.ca))
	must(t, closed.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	hosts = openssl.NewHosts()
	must(t, hosts.Add("open.test", open))
	must(t, hosts.Add("alias.test", open))
	must(t, hosts.Add("closed.test", closed))
	front, err := openssl.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { front.Close() })
	must(t, front.SetClientHelloFunc(hosts.Route))
	return front, hosts
}

// TestA25HostOfAnotherPolicy: SNI open.test, Host closed.test, on a fresh
// connection and on a resumed one, in both versions of HTTP and of TLS. Hosts of
// the connection's own policy are served all along.
func TestA25HostOfAnotherPolicy(t *testing.T) {
	for _, p := range protocols {
		for _, v := range versions {
			t.Run(p.name+"/"+v.name, func(t *testing.T) {
				front, hosts := tenants(t)
				var resumed bool
				s := serve(t, front, httpx.RequireHost(hosts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					resumed = r.TLS.DidResume
					io.WriteString(w, "served "+r.Host)
				})), nil)
				ctx := clientCtx(t, p.alpn)
				must(t, ctx.SetVerify(openssl.VerifyNone)) // the certificate is for localhost
				setVersion(t, ctx, v.id)

				for _, sni := range []string{"open.test", "closed.test"} {
					var session *openssl.Session
					for _, resume := range []bool{false, true} {
						c := client(t, &openssl.Dialer{Ctx: ctx, ServerName: sni, Session: session})
						var conn net.Conn
						for _, tt := range []struct{ host, policy string }{
							{"open.test", "open.test"},
							{"alias.test", "open.test"},
							{"closed.test", "closed.test"},
							{"CLOSED.test.:443", "closed.test"},
							{"Open.Test:8443", "open.test"},
							{"nobody.test", ""},
							{"127.0.0.1", ""},
							{sni, sni}, // a 421 is of the request, not of the connection
						} {
							status, body, over := ask(t, c, s.url, tt.host)
							want := http.StatusMisdirectedRequest
							if tt.policy == sni {
								want = http.StatusOK
							}
							if status != want || (want == http.StatusOK) != (body == "served "+tt.host) {
								t.Errorf("SNI %s, Host %s, resumed %v: %d, not %d: %s", sni, tt.host, resume, status, want, body)
							}
							if conn != nil && over != conn {
								t.Errorf("SNI %s, Host %s: another connection", sni, tt.host)
							}
							conn = over
						}
						if resumed != resume {
							t.Errorf("SNI %s: resumed %v, not %v", sni, resumed, resume)
						}
						if session == nil {
							var err error
							session, err = conn.(*openssl.Conn).Session()
							must(t, err)
							defer session.Close()
						}
						c.CloseIdleConnections()
					}
				}
				if n := s.accepted.Load(); n != 4 {
					t.Errorf("%d connections, not 4", n)
				}
			})
		}
	}
}

// ask is a request whose Host is not the URL's.
func ask(t testing.TB, c *http.Client, url, host string) (status int, body string, conn net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { conn = got.Conn },
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	r.Host = host
	resp, err := c.Do(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(b), conn
}

// A connection that went to the default is its policy's, whatever it is asked for.
func TestRequireHostDefault(t *testing.T) {
	front, hosts := tenants(t)
	must(t, hosts.SetDefault(hosts.Lookup("closed.test")))
	s := serve(t, front, httpx.RequireHost(hosts, http.NotFoundHandler()), nil)
	ctx := clientCtx(t, "http/1.1")
	must(t, ctx.SetVerify(openssl.VerifyNone))
	c := client(t, &openssl.Dialer{Ctx: ctx, ServerName: "nobody.test"})
	for host, want := range map[string]int{
		"nobody.test": http.StatusNotFound,
		"closed.test": http.StatusNotFound,
		"open.test":   http.StatusMisdirectedRequest,
	} {
		if status, _, _ := ask(t, c, s.url, host); status != want {
			t.Errorf("%s: %d, not %d", host, status, want)
		}
	}
}

// A request that came over no connection of this library, or is checked against no
// hosts, belongs to no host.
func TestRequireHostWithout(t *testing.T) {
	_, hosts := tenants(t)
	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
	for name, h := range map[string]http.Handler{
		"clear":    httpx.RequireHost(hosts, served),
		"no hosts": httpx.RequireHost(nil, served),
		"nothing":  httpx.RequireHost(hosts, nil),
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://open.test/", nil))
			if w.Code != http.StatusMisdirectedRequest {
				t.Error(w.Code)
			}
		})
	}
}

// Without a handler of one's own it is http.DefaultServeMux, as elsewhere in net/http.
func TestRequireHostDefaultMux(t *testing.T) {
	http.HandleFunc("/require-host", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the mux") })
	front, hosts := tenants(t)
	s := serve(t, front, httpx.RequireHost(hosts, nil), nil)
	ctx := clientCtx(t, "h2")
	must(t, ctx.SetVerify(openssl.VerifyNone))
	c := client(t, &openssl.Dialer{Ctx: ctx, ServerName: "open.test"})
	if status, body, _ := ask(t, c, s.url+"/require-host", "open.test"); status != http.StatusOK || body != "the mux" {
		t.Error(status, body)
	}
}

func TestRequireALPN(t *testing.T) {
	p := testPKI()
	with := func(pattern string, protocols ...string) *openssl.Hosts {
		c, err := openssl.NewServerCtx()
		must(t, err)
		t.Cleanup(func() { c.Close() })
		must(t, c.UseCertificate(p.serverCert, p.serverKey))
		must(t, c.SetALPN(protocols...))
		hosts := new(openssl.Hosts)
		if pattern == "" {
			must(t, hosts.SetDefault(c))
		} else {
			must(t, hosts.Add(pattern, c))
		}
		return hosts
	}
	var both, one, two http.Protocols
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	for _, test := range []struct {
		name   string
		hosts  *openssl.Hosts
		spoken *http.Protocols
		want   string // in the error; "" for none
	}{
		{"both", with("a.test", "h2", "http/1.1"), nil, ""},
		{"both, and another", with("a.test", "spdy", "http/1.1", "h2"), &both, ""},
		{"no ALPN", with("a.test"), nil, `the host "a.test" does not offer "h2"`},
		{"HTTP/1.1 alone", with("*.a.test", "http/1.1"), &both, `the host "*.a.test" does not offer "h2"`},
		{"HTTP/2 alone", with("", "h2"), nil, `the default host does not offer "http/1.1"`},
		{"no ALPN, a server of HTTP/1.1", with("a.test"), &one, ""},
		{"HTTP/2 alone, a server of HTTP/1.1", with("a.test", "h2"), &one, `does not offer "http/1.1"`},
		{"HTTP/2 alone, a server of HTTP/2", with("a.test", "h2"), &two, ""},
		{"no hosts", new(openssl.Hosts), nil, ""},
		{"nil", nil, nil, ""},
	} {
		s := &http.Server{Protocols: test.spoken, Handler: http.NotFoundHandler()}
		err := httpx.ConfigureServer(s, httpx.RequireALPN(test.hosts))
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "SetALPN(\"") {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err := httpx.ConfigureServer(s); err != nil {
			t.Errorf("%s: the server was changed by the call that failed: %v", test.name, err)
		}
	}
}
