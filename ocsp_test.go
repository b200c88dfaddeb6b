//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"slices"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// ocspStatus is the DER of an OCSPResponse that is a status alone: 1 is malformedRequest,
// 2 internalError, 3 tryLater.
func ocspStatus(status byte) []byte { return []byte{0x30, 3, 0x0a, 1, status} }

// askingClient is a client that asks for an OCSP response.
func askingClient(t testing.TB, version uint16) *openssl.Ctx {
	t.Helper()
	client := tlstest.NewClient(t)
	tlstest.SetVersion(t, client, version)
	must(t, client.SetOCSPRequest(true))
	return client
}

// wantStaple fails unless the client of a connection has this response, nil for none.
func wantStaple(t testing.TB, what string, e tlstest.Result, want []byte) {
	t.Helper()
	if !bytes.Equal(e.Client.OCSPResponse, want) || !bytes.Equal(e.Client.TLS().OCSPResponse, want) {
		t.Errorf("%s: the response is %x, want %x", what, e.Client.OCSPResponse, want)
	}
	if e.Server.OCSPResponse != nil {
		t.Errorf("%s: the server has a response of its client: %x", what, e.Server.OCSPResponse)
	}
}

// A response is sent to clients that ask, and replaced under way.
func TestOCSPResponse(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server, client := tlstest.NewServer(t), askingClient(t, v.ID)
		connect := func(client *openssl.Ctx) tlstest.Result {
			return tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		}
		wantStaple(t, "before one is set", connect(client), nil)
		der := ocspStatus(1)
		must(t, server.SetOCSPResponse(der))
		der[4] = 2 // it was copied
		first := connect(client)
		wantStaple(t, "on a live Ctx", first, ocspStatus(1))
		quiet := tlstest.NewClient(t)
		tlstest.SetVersion(t, quiet, v.ID)
		wantStaple(t, "to a client that does not ask", connect(quiet), nil)
		must(t, server.SetOCSPResponse(ocspStatus(3)))
		wantStaple(t, "replaced", connect(client), ocspStatus(3))
		for what, bad := range map[string][]byte{
			"PEM":            tlstest.Fixtures.ServerCert,
			"two of them":    slices.Concat(ocspStatus(1), ocspStatus(1)),
			"cut short":      ocspStatus(1)[:4],
			"no response":    {0x30, 0},
			"one byte extra": append(ocspStatus(1), 0),
		} {
			if err := server.SetOCSPResponse(bad); err == nil {
				t.Errorf("%s is taken for a response", what)
			} else {
				tlstest.Sentence(t, err, "SSL_set_tlsext_status_ocsp_resp", "DER of an OCSPResponse")
			}
		}
		tlstest.Sentence(t, server.SetOCSPResponse(make([]byte, 1<<16)), "65536 bytes")
		wantStaple(t, "after others were refused", connect(client), ocspStatus(3))
		e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: first.Session})
		if !e.Client.DidResume {
			t.Fatalf("resumption: %v, want it resumed", e.Server.Resumption)
		}
		wantStaple(t, "in a resumed handshake", e, nil)
		must(t, server.SetOCSPResponse(nil))
		wantStaple(t, "removed", connect(client), nil)
		must(t, quiet.Close())
	})
}

// After a switch the response of the Ctx in force is sent, none if that has none; a client
// asks as the Ctx in force says.
func TestOCSPResponseAfterSwitch(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, x := range []struct{ listener, host []byte }{
			{ocspStatus(1), ocspStatus(2)}, {nil, ocspStatus(2)}, {ocspStatus(1), nil},
		} {
			listener, host := tlstest.NewServer(t), tlstest.NewServer(t)
			must(t, listener.SetOCSPResponse(x.listener))
			must(t, host.SetOCSPResponse(x.host))
			must(t, listener.SetClientHelloFunc(tlstest.Stay))
			e := tlstest.Connect(t, tlstest.Pair{Client: askingClient(t, v.ID), Server: listener, Answer: func(t testing.TB, s *openssl.SSL) {
				must(t, s.SetCtx(host))
			}})
			wantStaple(t, "switched", e, x.host)
		}
		for _, first := range []bool{false, true} {
			server, client, other := tlstest.NewServer(t), tlstest.NewClient(t), tlstest.NewClient(t)
			must(t, server.SetOCSPResponse(ocspStatus(2)))
			must(t, client.SetOCSPRequest(first))
			must(t, other.SetOCSPRequest(!first))
			c, s := tlstest.Machines(t, client, server)
			must(t, c.SetCtx(other))
			tlstest.MustShake(t, c, s)
			if got := c.ConnectionState().OCSPResponse; (got != nil) == first {
				t.Errorf("a client switched from SetOCSPRequest(%v) has the response %x", first, got)
			}
		}
	})
}

// A response that is replaced while handshakes run is always a whole one.
func TestOCSPResponseConcurrently(t *testing.T) {
	server, client := tlstest.NewServer(t), askingClient(t, tls.VersionTLS13)
	must(t, server.SetOCSPResponse(ocspStatus(1)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
				if got := e.Client.OCSPResponse; e.ClientErr != nil || !bytes.Equal(got, ocspStatus(1)) && !bytes.Equal(got, ocspStatus(3)) {
					t.Errorf("the response is %x: %v", got, e.ClientErr)
				}
			}
		})
		wg.Go(func() {
			for i := range 200 {
				if err := server.SetOCSPResponse(ocspStatus(1 + 2*byte(i%2))); err != nil {
					t.Errorf("SetOCSPResponse: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestOCSPRoles(t *testing.T) {
	tlstest.Sentence(t, tlstest.NewClient(t).SetOCSPResponse(ocspStatus(1)), "sent by servers")
	tlstest.Sentence(t, tlstest.NewServer(t).SetOCSPRequest(true), "requested by clients")
}

// A function of SetVerifyConnection may look for a response, which a resumption does not
// bring: sessions made without asking are kept apart.
func TestOCSPRequestInTheCacheKey(t *testing.T) {
	asks := func(on bool) func(c *openssl.Ctx) error {
		return func(c *openssl.Ctx) error { return c.SetOCSPRequest(on) }
	}
	if cacheKey(t, asks(true)) == cacheKey(t, asks(false)) {
		t.Error("SetOCSPRequest does not change the key of a client's session cache")
	}
}
