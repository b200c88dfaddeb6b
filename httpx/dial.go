package httpx

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/sidctx/openssl"
)

// connect makes a connection to addr and performs the handshake. It is bounded because
// net/http goes on with it when the request has given up.
func (t *Transport) connect(ctx context.Context, network, addr string, proxy *url.URL) (*openssl.Conn, error) {
	if t.HTTP.TLSHandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.HTTP.TLSHandshakeTimeout)
		defer cancel()
	}
	d := openssl.Dialer{}
	if t.dialer != nil {
		d = *t.dialer
	}
	if t.HTTP.DialContext == nil && proxy == nil || d.Ctx == nil { // which is an error
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c.(*openssl.Conn), nil
	}
	wire, err := t.wire(ctx, d.NetDialer, network, addr, proxy)
	if err != nil {
		return nil, err
	}
	if d.ServerName == "" {
		d.ServerName, _, _ = net.SplitHostPort(addr)
	}
	conn, err := openssl.Client(wire, d.Ctx)
	if err != nil {
		wire.Close()
		return nil, err
	}
	if err = conn.SetServerName(d.ServerName); err == nil && d.Session != nil {
		err = conn.SetSession(d.Session)
	}
	if err == nil {
		err = conn.HandshakeContext(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// wire makes the connection that TLS is spoken over.
func (t *Transport) wire(ctx context.Context, dialer *net.Dialer, network, addr string, proxy *url.URL) (net.Conn, error) {
	dial := t.HTTP.DialContext
	if dial == nil && dialer != nil {
		dial = dialer.DialContext
	} else if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if proxy == nil {
		return dialed(dial(ctx, network, addr))
	}
	to := proxy.Host
	if proxy.Port() == "" {
		to = net.JoinHostPort(proxy.Hostname(), "80")
	}
	wire, err := dialed(dial(ctx, network, to))
	if err != nil {
		return nil, fmt.Errorf("openssl: httpx: the proxy %s: %w", proxy.Redacted(), err)
	}
	// A CONNECT ends with the dial.
	stop := context.AfterFunc(ctx, func() { wire.Close() })
	err = t.tunnel(ctx, wire, addr, proxy)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		wire.Close()
		return nil, fmt.Errorf("openssl: httpx: the proxy %s: CONNECT %s: %w", proxy.Redacted(), addr, err)
	}
	return wire, nil
}

func dialed(wire net.Conn, err error) (net.Conn, error) {
	if err == nil && wire == nil {
		err = errors.New("openssl: httpx: HTTP.DialContext has returned neither a connection nor an error")
	}
	return wire, err
}

// tunnel asks a proxy for a connection to addr.
func (t *Transport) tunnel(ctx context.Context, wire net.Conn, addr string, proxy *url.URL) error {
	header := t.HTTP.ProxyConnectHeader
	if get := t.HTTP.GetProxyConnectHeader; get != nil {
		var err error
		if header, err = get(ctx, proxy, addr); err != nil {
			return err
		}
	}
	if header = header.Clone(); header == nil {
		header = make(http.Header)
	}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: header}
	if err := r.Write(wire); err != nil {
		return err
	}
	limit := t.HTTP.MaxResponseHeaderBytes
	if limit == 0 {
		limit = 1 << 20
	}
	// What is read ahead is nothing: a TLS server does not speak first.
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(wire, limit)), r)
	if err != nil {
		return err
	}
	if check := t.HTTP.OnProxyConnectResponse; check != nil {
		if err := check(ctx, proxy, r, resp); err != nil {
			return err
		}
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("the proxy has answered " + resp.Status)
	}
	return nil
}
