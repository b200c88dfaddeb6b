package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/hooks"
)

// ServerOption is an option of [ConfigureServer].
type ServerOption func(*serverOptions)

type serverOptions struct {
	onHandshakeError func(addr net.Addr, err error)
	hosts            *openssl.Hosts // nil for none
}

// OnHandshakeError has f called after each handshake that has failed, with the client's
// address and the error. It is called on the goroutine of the connection, which is closed
// when f returns. A panic of f is written to the server's ErrorLog.
func OnHandshakeError(f func(addr net.Addr, err error)) ServerOption {
	return func(o *serverOptions) { o.onHandshakeError = f }
}

// RequireALPN has ConfigureServer return an error that names a host of hosts whose Ctx does
// not offer, with SetALPN, what the server speaks: "h2" for HTTP/2, and, beside that, "http/1.1".
// Clients of such a host would speak HTTP/1.1, or be refused. Hosts that are added
// later are not checked.
func RequireALPN(hosts *openssl.Hosts) ServerOption {
	return func(o *serverOptions) { o.hosts = hosts }
}

// checkALPN returns an error if a host does not offer what is spoken.
func checkALPN(hosts *openssl.Hosts, spoken *http.Protocols) error {
	if hosts == nil {
		return nil
	}
	offers := hooks.ALPN(hosts)
	for _, pattern := range slices.Sorted(maps.Keys(offers)) {
		offered := offers[pattern]
		var want []string
		if spoken.HTTP2() {
			want = append(want, "h2")
		}
		if spoken.HTTP1() && (spoken.HTTP2() || len(offered) > 0) {
			want = append(want, "http/1.1")
		}
		for _, name := range want {
			if slices.Contains(offered, name) {
				continue
			}
			host := fmt.Sprintf("the host %q", pattern)
			if pattern == "" {
				host = "the default host"
			}
			return fmt.Errorf("openssl: httpx: %s does not offer %q, which the server speaks: call SetALPN(\"%s\") on its Ctx, or change the server's Protocols",
				host, name, strings.Join(want, `", "`))
		}
	}
	return nil
}

// ConfigureServer prepares s to serve a listener of [openssl.Listen] or
// [openssl.NewListener]. For HTTP/2 call SetALPN("h2", "http/1.1") on the listener's Ctx and,
// with [openssl.Hosts], on every Ctx that is added: the host's Ctx answers ALPN, and without it
// clients speak HTTP/1.1. [RequireALPN] checks that. Call ConfigureServer once, before Serve
// and after setting s.Handler, s.ConnContext and s.Protocols. The first two continue to work;
// HTTP/2 is spoken unless s.Protocols excludes it. Handlers find the connection with
// [FromRequest] and its state in r.TLS. A request in a version of HTTP that ALPN has not
// chosen gets 421, and its connection is closed; where ALPN has chosen h2 and the client does
// not begin with HTTP/2's preface, the connection is closed without an answer.
//
// As with net/http's own TLS, each failed handshake is a line in s.ErrorLog, and a client
// that sends HTTP without TLS gets 400.
//
// s.ReadHeaderTimeout, or else s.ReadTimeout, limits the time for the handshake and the
// first request. Without either, a slow client can hold a connection open forever. To wrap
// connections, wrap the net.Listener that is passed to [openssl.NewListener], not the one
// that it returns. On a listener without TLS, s also accepts HTTP/2.
func ConfigureServer(s *http.Server, opts ...ServerOption) error {
	if s == nil {
		return errors.New("openssl: httpx: ConfigureServer was given no Server")
	}
	if _, ok := s.Handler.(handler); ok {
		return errors.New("openssl: httpx: ConfigureServer was called before for this Server: once is enough")
	}
	var options serverOptions
	for _, set := range opts {
		if set != nil {
			set(&options)
		}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(s.Protocols == nil || s.Protocols.HTTP1())
	protocols.SetHTTP2(s.Protocols == nil || s.Protocols.HTTP2())
	if err := checkALPN(options.hosts, &protocols); err != nil {
		return err
	}
	protocols.SetUnencryptedHTTP2(protocols.HTTP2() || s.Protocols.UnencryptedHTTP2()) // on conns not crypto/tls's
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		c, ours := conn.(*openssl.Conn)
		w := wire{c, sync.OnceValue(func() *tls.ConnectionState { return stateOf(c) }), new(atomic.Bool)}
		if ours {
			watch(s, &options, w, protocols.HTTP2())
		}
		if before != nil {
			ctx = before(ctx, conn)
		}
		if ours {
			ctx = context.WithValue(ctx, key("wire"), w)
		}
		return ctx
	}
	s.Protocols, s.Handler = &protocols, handler{s.Handler}
	return nil
}

// watch does for a connection of this library what net/http does for one of crypto/tls.
func watch(s *http.Server, options *serverOptions, w wire, speaksHTTP2 bool) {
	var once sync.Once
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // what is left of it
	hooks.Watch(w.conn, &hooks.Conn{
		HandshakeFailed: func(err error, plainHTTP bool) {
			once.Do(func() { handshakeFailed(s, options, w.conn, err, plainHTTP) })
		},
		Read: func(p []byte, err error) error {
			if preface == "" {
				return nil
			}
			if w.state().NegotiatedProtocol != "h2" {
				preface = ""
				return nil
			}
			n := min(len(p), len(preface))
			if err == nil && speaksHTTP2 && string(p[:n]) == preface[:n] {
				preface = preface[n:]
				return nil
			}
			// RFC 9113, 3.4. net/http would serve in HTTP/1.1 what it has read so far.
			w.ended.Store(true)
			w.conn.Close()
			return net.ErrClosed
		},
	})
}

// handshakeFailed writes what net/http writes to the client and to the log.
func handshakeFailed(s *http.Server, options *serverOptions, conn *openssl.Conn, err error, plainHTTP bool) {
	defer func() { recover() }() // of a log that panics: there is no other place to say so
	logf := log.Printf
	if s.ErrorLog != nil {
		logf = s.ErrorLog.Printf
	}
	var reason any = err
	if plainHTTP {
		conn.NetConn().SetWriteDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn.NetConn(), "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		reason = "client sent an HTTP request to an HTTPS server"
	}
	addr := conn.RemoteAddr()
	logf("http: TLS handshake error from %v: %v", addr, reason)
	if options.onHandshakeError == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			logf("http: panic in the function of OnHandshakeError: %v\n%s", r, debug.Stack())
		}
	}()
	options.onHandshakeError(addr, err)
}

type key string // of a context's values: a server's wire, a client's trip

type wire struct {
	conn  *openssl.Conn
	state func() *tls.ConnectionState // read once, with the first byte
	ended *atomic.Bool                // it was to be HTTP/2 and has begun in another way
}

func stateOf(c *openssl.Conn) *tls.ConnectionState {
	state := c.ConnectionState().TLS()
	return &state
}

// FromRequest returns the connection that r came over. It returns nil if that is not a
// connection of package openssl or if its server was not passed to [ConfigureServer]. Do
// not read from it, write to it, close it or set its deadlines.
func FromRequest(r *http.Request) *openssl.Conn {
	if r == nil {
		return nil
	}
	w, _ := r.Context().Value(key("wire")).(wire)
	return w.conn
}

// handler sets r.TLS and turns away who does not speak what ALPN has chosen, as far as
// watch has let it come.
type handler struct{ next http.Handler }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if wire, ok := r.Context().Value(key("wire")).(wire); ok {
		if wire.ended.Load() {
			panic(http.ErrAbortHandler)
		}
		r.TLS = wire.state()
		chosen := []string{"", "http/1.0", "http/1.1"}
		if r.ProtoMajor == 2 {
			chosen = []string{"h2"}
		}
		if !r.TLS.HandshakeComplete || !slices.Contains(chosen, r.TLS.NegotiatedProtocol) {
			w.Header().Set("Connection", "close")
			http.Error(w, r.Proto+" is not what ALPN has chosen", http.StatusMisdirectedRequest)
			return
		}
	}
	if h.next == nil {
		h.next = http.DefaultServeMux
	}
	h.next.ServeHTTP(w, r)
}
