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
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl"
)

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
