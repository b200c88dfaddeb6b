package httpx_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
)

// HTTP/2 for two hosts: each host's Ctx offers ALPN, and a request for a host of another
// policy than that of its connection gets 421.
func ExampleConfigureServer() {
	p := testPKI() // certificates
	var hosts openssl.Hosts
	for _, name := range []string{"localhost", "other.test"} {
		c, err := openssl.NewServerCtx()
		check(err)
		defer c.Close()
		check(c.UseCertificate(p.serverCert, p.serverKey))
		check(c.SetALPN("h2", "http/1.1"))
		check(c.DeriveSessionIDContext(openssl.SessionPolicy{Label: name}))
		check(hosts.Add(name, c))
	}
	front, err := openssl.NewServerCtx()
	check(err)
	defer front.Close()
	check(front.SetClientHelloFunc(hosts.Route))
	l, err := openssl.Listen("tcp", "127.0.0.1:0", front)
	check(err)
	s := &http.Server{Handler: httpx.RequireHost(&hosts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.Host)
	}))}
	check(httpx.ConfigureServer(s, httpx.RequireALPN(&hosts)))
	go s.Serve(l)
	defer s.Close()

	client, err := openssl.NewClientCtx()
	check(err)
	defer client.Close()
	check(client.SetVerifyCAs(p.ca))
	check(client.SetALPN("h2", "http/1.1"))
	transport := httpx.NewTransport(&openssl.Dialer{Ctx: client})
	transport.HTTP.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
	defer transport.CloseIdleConnections()
	for _, host := range []string{"localhost", "other.test"} {
		r, err := http.NewRequest("GET", "https://localhost/", nil)
		check(err)
		r.Host = host
		response, err := (&http.Client{Transport: transport}).Do(r)
		check(err)
		body, err := io.ReadAll(response.Body)
		check(err)
		response.Body.Close()
		fmt.Printf("%d %.20s\n", response.StatusCode, body)
	}
	// Output:
	// 200 HTTP/2.0 localhost
	// 421 this connection was
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
