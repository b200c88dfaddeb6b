// Package httpx connects net/http with openssl: a server and a transport that speak
// HTTP/2 or HTTP/1.1, as ALPN chooses. It depends on the standard library alone.
package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl"
)

// Transport is a [http.RoundTripper] for https URLs whose connections are made by package
// openssl. It speaks HTTP/2 or HTTP/1.1, as ALPN chooses. [NewTransport] makes one.
type Transport struct {
	// HTTP holds the settings of net/http, for HTTP/1.1 and HTTP/2 each. They may be
	// changed until the first request, and are copied by it. Three are used in
	// another way than by net/http:
	//
	// DialContext, if it is set, makes the connection that TLS is spoken over, instead of
	// the NetDialer of the openssl.Dialer. It may go through SSH, a SOCKS proxy or a Unix
	// socket; the server name is that of the URL or of the Dialer, whatever is dialed.
	//
	// Proxy returns the http URL of a proxy that CONNECT is sent to. It must give the same
	// answer for all requests to a host, which share connections. For other proxies, set
	// DialContext.
	//
	// TLSHandshakeTimeout limits a dial as a whole, with its handshake.
	//
	// TLSClientConfig, DialTLSContext, Protocols and what they replace must not be set:
	// the Ctx of the openssl.Dialer has the settings of TLS.
	HTTP *http.Transport

	dialer *openssl.Dialer
	once   sync.Once
	err    error // in HTTP
	h1, h2 *http.Transport

	mu    sync.Mutex
	hosts map[string]*host // by a URL's host
}

// maxHosts is how many hosts are remembered: more than a program talks to at once, and a
// forgotten one costs a connection.
const maxHosts = 1000

// NewTransport returns a Transport that uses connections dialed by d. It speaks what ALPN
// chooses: call SetALPN("h2", "http/1.1") on d.Ctx; without that it speaks HTTP/1.1.
// Connections are kept and reused as by [http.DefaultTransport], and each offers d.Session. The
// TLS field of a response describes its connection; GotConn of a [httptrace.ClientTrace]
// receives the [*openssl.Conn]. A dial takes 30 seconds at most, and no proxy is used, unless
// the field HTTP is changed. Upgrades, for example to a WebSocket, need a Ctx that offers
// "http/1.1" alone.
//
// d and what it holds must not be changed while the Transport is in use.
func NewTransport(d *openssl.Dialer) *Transport {
	return &Transport{dialer: d, HTTP: &http.Transport{
		MaxIdleConns: 100, IdleConnTimeout: 90 * time.Second, ExpectContinueTimeout: time.Second, TLSHandshakeTimeout: 30 * time.Second,
	}}
}

// configure makes two transports of net/http, one for each protocol: a request that dialled
// in the wrong one takes the connection along to the other.
func (t *Transport) configure() {
	var set string
	switch h := t.HTTP; {
	case h == nil:
		t.err = errors.New("openssl: httpx: the field HTTP of a Transport is nil: make it with NewTransport")
		return
	case h.TLSClientConfig != nil || h.TLSNextProto != nil:
		set = "TLSClientConfig"
	//lint:ignore SA1019 it is what is to be refused
	case h.DialTLSContext != nil || h.DialTLS != nil:
		set = "DialTLSContext"
	case h.Protocols != nil || h.ForceAttemptHTTP2:
		set = "Protocols"
	//lint:ignore SA1019 it is what is to be refused
	case h.Dial != nil:
		set = "Dial"
	}
	if set != "" {
		t.err = errors.New("openssl: httpx: HTTP." + set + " of a Transport is set: TLS and ALPN are configured on the Dialer's Ctx, " +
			"and HTTP.DialContext dials")
		return
	}
	t.h1, t.h2 = t.HTTP.Clone(), t.HTTP.Clone()
	t.h1.Protocols, t.h2.Protocols = new(http.Protocols), new(http.Protocols)
	t.h1.Protocols.SetHTTP1(true)
	t.h2.Protocols.SetUnencryptedHTTP2(true)
	for _, inner := range []*http.Transport{t.h1, t.h2} {
		inner.Proxy = nil // it would speak crypto/tls behind one
		inner.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("openssl: httpx: this transport speaks TLS: use an https URL")
		}
		inner.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return t.dial(ctx, network, addr, inner == t.h2)
		}
	}
}

type host struct {
	asking context.Context // ends when the first request has its connection, or has failed
	h1     atomic.Bool     // it spoke HTTP/1.1 when it was last dialled
}

var errOther = errors.New("openssl: httpx: the server now speaks another version of HTTP: send the request again")

// host returns what is known of a host, or, if that is nothing, begins with fresh.
func (t *Transport) host(name string, fresh *host) (h *host, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[name]; h != nil {
		return h, true
	}
	if t.hosts == nil {
		t.hosts = make(map[string]*host)
	}
	for other := range t.hosts { // any
		if len(t.hosts) < maxHosts {
			break
		}
		delete(t.hosts, other)
	}
	t.hosts[name] = fresh
	return fresh, false
}

// forget forgets a host, if h is what is known of it.
func (t *Transport) forget(name string, h *host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[name] == h {
		delete(t.hosts, name)
	}
}

// RoundTrip sends a request and returns its response, as described at [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	proxy, err := t.prepare(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	if r.URL == nil {
		return t.h2.RoundTrip(r) // returns the error
	}
	// The first request finds out what a host speaks; others wait, for they may share its connection.
	asking, asked := context.WithCancel(context.Background())
	defer asked()
	h, known := t.host(r.URL.Host, &host{asking: asking})
	if known {
		select {
		case <-h.asking.Done():
		case <-r.Context().Done(): // net/http says so, too
		}
	}
	var state *tls.ConnectionState
	trip := &trip{ReadCloser: r.Body, proxy: proxy}
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
	inner, other := t.h2, t.h1
	if h.h1.Load() {
		inner, other = other, inner
	}
	resp, err := inner.RoundTrip(out)
	if errors.Is(err, errOther) {
		h.h1.Store(other == t.h1)
		if state == nil { // nothing was sent yet
			trip.closed = false
			resp, err = other.RoundTrip(out)
		}
	}
	if err == nil {
		resp.Request, resp.TLS = r, state
	} else if state == nil {
		t.forget(r.URL.Host, h)
	}
	return resp, err
}

// prepare configures t once, and finds the proxy for a request.
func (t *Transport) prepare(r *http.Request) (proxy *url.URL, err error) {
	t.once.Do(t.configure)
	if t.err != nil || t.HTTP.Proxy == nil || r.URL == nil {
		return nil, t.err
	}
	if proxy, err = t.HTTP.Proxy(r); err != nil {
		return nil, fmt.Errorf("openssl: httpx: HTTP.Proxy: %w", err)
	}
	if proxy != nil && proxy.Scheme != "http" {
		return nil, fmt.Errorf("openssl: httpx: the proxy %s: CONNECT is sent to http proxies alone: dial another kind in HTTP.DialContext", proxy.Redacted())
	}
	return proxy, nil
}

// CloseIdleConnections closes connections that no request uses, and forgets which
// version of HTTP each host speaks.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	clear(t.hosts)
	t.mu.Unlock()
	if t.once.Do(t.configure); t.err == nil {
		t.h1.CloseIdleConnections()
		t.h2.CloseIdleConnections()
	}
}

// dial returns a connection that speaks the protocol of its transport, or keeps it for the
// other one.
func (t *Transport) dial(ctx context.Context, network, addr string, h2 bool) (net.Conn, error) {
	trip := ctx.Value(key("trip")).(*trip)
	conn := trip.other.Load()
	if conn == nil || conn == over || !trip.other.CompareAndSwap(conn, nil) {
		var err error
		if conn, err = t.connect(ctx, network, addr, trip.proxy); err != nil {
			return nil, err
		}
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
	proxy         *url.URL // nil for none
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
