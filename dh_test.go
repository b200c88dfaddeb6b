//go:build cgo

package openssl_test

import (
	"crypto/tls"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

const dheSuite = "DHE-RSA-AES128-GCM-SHA256"

// dhServer is a server of one DHE suite, with an RSA key.
func dhServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	server := rsaServer(t)
	must(t, server.SetCipherList(dheSuite))
	tlstest.SetVersion(t, server, tls.VersionTLS12)
	return server
}

// DHE needs parameters, of the Ctx in force.
func TestDHParameters(t *testing.T) {
	params := func(c *openssl.Ctx) error { return c.SetDHParameters([]byte(tlstest.FFDHE2048)) }
	auto := func(c *openssl.Ctx) error { return c.SetDHAuto(true) }
	for _, x := range []struct {
		name string
		set  func(t *testing.T, c *openssl.Ctx)
		dhe  bool
	}{
		{"nothing", func(t *testing.T, c *openssl.Ctx) {}, false},
		{"SetDHParameters", func(t *testing.T, c *openssl.Ctx) { must(t, params(c)) }, true},
		{"SetDHAuto", func(t *testing.T, c *openssl.Ctx) { must(t, auto(c)) }, true},
		{"SetDHAuto and back", func(t *testing.T, c *openssl.Ctx) {
			must(t, auto(c))
			must(t, c.SetDHAuto(false))
		}, false},
		{"SetDHParameters, failing", func(t *testing.T, c *openssl.Ctx) {
			for _, bad := range []string{"", "garbage", tlstest.FFDHE2048[:200], string(tlstest.Fixtures.ServerCert), string(tlstest.Fixtures.ServerKey)} {
				tlstest.Sentence(t, c.SetDHParameters([]byte(bad)), "DH parameters")
			}
		}, false},
		{"SetDHParameters, failing, leaves the old", func(t *testing.T, c *openssl.Ctx) {
			must(t, params(c))
			tlstest.Sentence(t, c.SetDHParameters([]byte("garbage")), "DH parameters")
		}, true},
		{"SetDHParameters, too small for the level", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetCipherList(dheSuite+":@SECLEVEL=3"))
			tlstest.Sentence(t, params(c), "dh key too small")
			must(t, c.SetCipherList(dheSuite+":@SECLEVEL=2"))
		}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			tlstest.Certs(t)
			for _, where := range []string{"server", "host", "listener of a host without"} {
				server, host := dhServer(t), dhServer(t)
				pair, dhe := tlstest.Pair{Client: tlstest.NewClient(t), Server: server}, x.dhe
				if where == "server" {
					x.set(t, server)
				} else {
					must(t, server.SetClientHelloFunc(tlstest.Stay))
					pair.Answer = func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(host)) }
					if where == "host" {
						x.set(t, host)
					} else {
						x.set(t, server)
						dhe = false
					}
				}
				if openssl.Version().LinkedNumber >= 0x40000000 {
					dhe = true // both ends have the groups of RFC 7919
				}
				e := tlstest.ConnectMachines(t, pair)
				if got := e.ServerErr == nil && e.Server.CipherName == dheSuite; got != dhe {
					t.Errorf("%s: %s negotiated: %v (%v), want %v", where, dheSuite, got, e.ServerErr, dhe)
				}
				if !dhe {
					tlstest.Sentence(t, e.ServerErr, "no shared cipher")
				}
			}
		})
	}
	t.Run("a client", func(t *testing.T) {
		for _, err := range []error{params(tlstest.NewClient(t)), auto(tlstest.NewClient(t))} {
			tlstest.Sentence(t, err, "for servers")
		}
	})
	t.Run("encrypted", func(t *testing.T) {
		terminal := tlstest.NewTerminal(t)
		if !tlstest.OnTerminal(t, terminal) {
			return
		}
		encrypted := "-----BEGIN DH PARAMETERS-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00000000000000000000000000000000\n\nAAAAAAAAAAAAAAAAAAAAAA==\n-----END DH PARAMETERS-----\n"
		tlstest.Sentence(t, dhServer(t).SetDHParameters([]byte(encrypted)), "DH parameters")
	})
}

// A server without a certificate serves where every suite is anonymous, and is refused
// where one is not.
func TestAnonymousServer(t *testing.T) {
	const anonymous = "ADH-AES128-SHA256:AECDH-AES256-SHA:@SECLEVEL=0"
	limited := func(c *openssl.Ctx) error { return c.SetMaxVersion(tls.VersionTLS12) }
	list := func(list string) func(c *openssl.Ctx) error {
		return func(c *openssl.Ctx) error { return c.SetCipherList(list) }
	}
	for _, x := range []struct {
		name  string
		set   []func(c *openssl.Ctx) error
		ready bool
	}{
		{"anonymous suites, TLS 1.2", []func(c *openssl.Ctx) error{list(anonymous), limited}, true},
		{"anonymous suites, no TLS 1.3", []func(c *openssl.Ctx) error{list(anonymous), func(c *openssl.Ctx) error {
			return c.SetOptions(openssl.OptionNoTLSv13)
		}}, true},
		{"anonymous suites, all versions", []func(c *openssl.Ctx) error{list(anonymous)}, false},
		{"TLS 1.2", []func(c *openssl.Ctx) error{limited}, false},
		{"one suite with a certificate", []func(c *openssl.Ctx) error{list("ECDHE-ECDSA-AES128-GCM-SHA256:" + anonymous), limited}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			server := tlstest.BareServer(t)
			for _, set := range x.set {
				must(t, set(server))
			}
			must(t, server.SetDHAuto(true))
			s, err := openssl.NewSSL(server)
			if !x.ready {
				tlstest.Sentence(t, err, "UseCertificate", "SetClientHelloFunc", "anonymous")
				return
			}
			must(t, err)
			must(t, s.Close())
			for _, suite := range []string{"ADH-AES128-SHA256", "AECDH-AES256-SHA"} {
				client := tlstest.BareClient(t)
				must(t, client.SetCipherList(suite+":@SECLEVEL=0"))
				must(t, client.SetVerify(openssl.VerifyNone))
				e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
				if e.Client.CipherName != suite || len(e.Client.PeerCertificatesDER) != 0 || e.Client.VerifiedChains != nil {
					t.Errorf("%s with %d certificates, want %s with none", e.Client.CipherName, len(e.Client.PeerCertificatesDER), suite)
				}
				host := tlstest.BareServer(t)
				must(t, host.SetClientHelloFunc(tlstest.Stay))
				e = tlstest.Connect(t, tlstest.Pair{Client: client, Server: host, Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(server)) }})
				if e.Client.CipherName != suite {
					t.Errorf("%s after a switch, want %s", e.Client.CipherName, suite)
				}
			}
		})
	}
	t.Run("a client that verifies", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.BareServer(t)
		for _, c := range []*openssl.Ctx{client, server} {
			must(t, c.SetCipherList(anonymous))
			must(t, limited(c))
		}
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
		tlstest.Sentence(t, e.ClientErr, "anonymous suite", "VerifyNone")
	})
}
