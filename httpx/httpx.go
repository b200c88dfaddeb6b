// Package httpx connects net/http with openssl: a server and a transport that speak
// HTTP/2 or HTTP/1.1, as ALPN chooses. It depends on the standard library alone.
package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl"
)

// ConfigureServer prepares s to serve a listener of [openssl.Listen] or
// [openssl.NewListener]. For HTTP/2 call SetALPN("h2", "http/1.1") on the listener's Ctx and,
// with [openssl.Hosts], on every Ctx that is added. Call ConfigureServer once, before Serve
// and after setting s.Handler, s.ConnContext and s.Protocols. The first two continue to work;
// HTTP/2 is spoken unless s.Protocols excludes it. Handlers find the connection with
// [FromRequest] and its state in r.TLS. A request in a version of HTTP that ALPN has not
// chosen gets 421, and its connection is closed.
//
// s.ReadHeaderTimeout, or else s.ReadTimeout, limits the time for the handshake and the
// first request. Without either, a slow client can hold a connection open forever. To wrap
// connections, wrap the net.Listener that is passed to [openssl.NewListener], not the one
// that it returns. On a listener without TLS, s also accepts HTTP/2.
func ConfigureServer(s *http.Server) error {
	if s == nil {
		return errors.New("openssl: httpx: ConfigureServer was given no Server")
	}
	if _, ok := s.Handler.(handler); ok {
		return errors.New("openssl: httpx: ConfigureServer was called before for this Server: once is enough")
	}
	var protocols http.Protocols
	protocols.SetHTTP1(s.Protocols == nil || s.Protocols.HTTP1())
	protocols.SetHTTP2(s.Protocols == nil || s.Protocols.HTTP2())
	protocols.SetUnencryptedHTTP2(protocols.HTTP2() || s.Protocols.UnencryptedHTTP2()) // on conns not crypto/tls's
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, conn)
		}
		if c, ok := conn.(*openssl.Conn); ok {
			state := sync.OnceValue(func() *tls.ConnectionState { return stateOf(c) })
			ctx = context.WithValue(ctx, key("wire"), wire{c, state})
		}
		return ctx
	}
	s.Protocols, s.Handler = &protocols, handler{s.Handler}
	return nil
}

type key string // of a context's values: a server's wire, a client's trip

type wire struct {
	conn  *openssl.Conn
	state func() *tls.ConnectionState // read once, by the first request
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

// handler sets r.TLS and turns away who does not speak what ALPN has chosen.
type handler struct{ next http.Handler }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if wire, ok := r.Context().Value(key("wire")).(wire); ok {
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

// NewTransport returns a [http.RoundTripper] for https URLs that uses connections dialed by
// d. It speaks what ALPN chooses: call SetALPN("h2", "http/1.1") on d.Ctx; without that it
// speaks HTTP/1.1. Connections are kept and reused as by [http.DefaultTransport]; each offers
// d.Session. The TLS field of a response describes its connection; GotConn of a
// [httptrace.ClientTrace] receives the [*openssl.Conn]. A dial takes 30 seconds at most.
// Proxies are not supported. Upgrades, for example to a WebSocket, need a Ctx that offers
// "http/1.1" alone.
func NewTransport(d *openssl.Dialer) http.RoundTripper {
	t := &transport{dialer: d}
	t.h1.Protocols, t.h2.Protocols = new(http.Protocols), new(http.Protocols)
	t.h1.Protocols.SetHTTP1(true)
	t.h2.Protocols.SetUnencryptedHTTP2(true)
	for _, inner := range []*http.Transport{&t.h1, &t.h2} {
		inner.MaxIdleConns, inner.IdleConnTimeout, inner.ExpectContinueTimeout = 100, 90*time.Second, time.Second
		inner.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("openssl: httpx: this transport speaks TLS: use an https URL")
		}
		inner.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return t.dial(ctx, network, addr, inner == &t.h2)
		}
	}
	return t
}

// transport is two of net/http's, one for each protocol: a request that dialled in
// the wrong one takes the connection along to the other.
type transport struct {
	dialer *openssl.Dialer
	h1, h2 http.Transport
	hosts  sync.Map // of *host, by a URL's host
}

type host struct {
	asking context.Context // ends when the first request has its connection, or has failed
	h1     atomic.Bool     // it spoke HTTP/1.1 when it was last dialled
}

var errOther = errors.New("openssl: httpx: the server now speaks another version of HTTP: send the request again")

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil {
		return t.h2.RoundTrip(r) // returns the error
	}
	// The first request finds out what a host speaks; others wait, for they may share its connection.
	asking, asked := context.WithCancel(context.Background())
	defer asked()
	v, known := t.hosts.LoadOrStore(r.URL.Host, &host{asking: asking})
	h := v.(*host)
	if known {
		select {
		case <-h.asking.Done():
		case <-r.Context().Done(): // net/http says so, too
		}
	}
	var state *tls.ConnectionState
	trip := &trip{ReadCloser: r.Body}
	defer trip.end()
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		state = stateOf(got.Conn.(*openssl.Conn))
		trip.begin()
		asked()
	}}
	out := r.WithContext(httptrace.WithClientTrace(context.WithValue(r.Context(), key("trip"), trip), trace))
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = trip
	}
	inner, other := &t.h2, &t.h1
	if h.h1.Load() {
		inner, other = other, inner
	}
	resp, err := inner.RoundTrip(out)
	if errors.Is(err, errOther) {
		h.h1.Store(other == &t.h1)
		if state == nil { // nothing was sent yet
			trip.closed = false
			resp, err = other.RoundTrip(out)
		}
	}
	if err == nil {
		resp.Request, resp.TLS = r, state
	} else if state == nil {
		t.hosts.CompareAndDelete(r.URL.Host, h)
	}
	return resp, err
}

// CloseIdleConnections closes connections that no request uses, and forgets which
// version of HTTP each host speaks.
func (t *transport) CloseIdleConnections() {
	t.hosts.Clear()
	t.h1.CloseIdleConnections()
	t.h2.CloseIdleConnections()
}

// dial is bounded because net/http goes on with it when the request has given up.
func (t *transport) dial(ctx context.Context, network, addr string, h2 bool) (net.Conn, error) {
	trip := ctx.Value(key("trip")).(*trip)
	conn := trip.other.Load()
	if conn == nil || conn == over || !trip.other.CompareAndSwap(conn, nil) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		c, err := t.dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conn = c.(*openssl.Conn)
	}
	if h2 == (conn.ConnectionState().NegotiatedProtocol == "h2") {
		return conn, nil
	}
	if !trip.other.CompareAndSwap(nil, conn) {
		conn.Close()
	}
	return nil, errOther
}

// trip is a request on its way through one transport and perhaps the other, and its
// body. It puts Close off until there is a connection: a failed dial closes, too.
type trip struct {
	io.ReadCloser
	begun, closed bool
	other         atomic.Pointer[openssl.Conn] // for the other transport; over when the trip has ended
}

var over = new(openssl.Conn)

func (t *trip) Close() error {
	if t.begun {
		return t.ReadCloser.Close()
	}
	t.closed = true
	return nil
}

func (t *trip) begin() {
	if t.begun {
		return
	}
	t.begun = true
	if t.closed {
		t.ReadCloser.Close()
	}
}

func (t *trip) end() {
	t.begin()
	if conn := t.other.Swap(over); conn != nil {
		go conn.Close()
	}
}
