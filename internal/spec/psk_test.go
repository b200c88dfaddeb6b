//go:build cgo

package spec_test

import (
	"errors"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/spec"
	"github.com/sidctx/openssl/internal/tlstest"
)

// ---- pre-shared keys ----

func usePSK(t testing.TB, c *openssl.Ctx) *openssl.Ctx {
	t.Helper()
	must(t, c.UsePSK("alice", []byte("a key of thirty-two random bytes")))
	return c
}

// pskSite is a site whose server has a PSK, and prefers it to its certificate.
func (k specKind) pskSite(t testing.TB, sidCtx, verify string) *spec.Site {
	t.Helper()
	c := usePSK(t, k.ctx(t, sidCtx, verify))
	preferPSK(t, c)
	site, err := spec.NewSite(c, k.mechanism)
	must(t, err)
	return site
}

func preferPSK(t testing.TB, c *openssl.Ctx) {
	t.Helper()
	must(t, c.SetCipherList("PSK:HIGH"))
	must(t, c.SetOptions(openssl.OptionCipherServerPreference))
}

// pskClient has the PSK, and no certificate.
func (k specKind) pskClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	return usePSK(t, k.bareClient(t))
}

// pskOutcome is what a connection came to: PSK, a letter of decisions.txt with the
// identity, or that letter alone.
func pskOutcome(m *spec.Meeting) string {
	got := m.Outcome()
	switch {
	case m.Client.PSKIdentity != m.Server.PSKIdentity:
		return got + ", as " + m.Server.PSKIdentity + " and to the client as " + m.Client.PSKIdentity
	case m.Server.PSKIdentity == "":
		return got
	case m.Server.PSKIdentity == "alice" && got == "f":
		return "PSK"
	}
	return got + " " + m.Server.PSKIdentity
}

func pskConnect(t *testing.T, site *spec.Site, client *openssl.Ctx, o spec.Offer, want string) *spec.Meeting {
	t.Helper()
	m, err := site.Connect(client, o)
	must(t, err)
	t.Cleanup(m.Close)
	if got := pskOutcome(m); got != want {
		t.Errorf("%s, want %s (client %v, server %v)", got, want, m.ClientErr, m.ServerErr)
	}
	return m
}

func specPSK(t *testing.T, c spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		bare := usePSK(t, tlstest.BareServer(t))
		tlstest.SetVersion(t, bare, k.version())
		site, err := spec.NewSite(bare, k.mechanism)
		must(t, err)
		for _, site := range []*spec.Site{site, k.pskSite(t, "A", "peer"), k.pskSite(t, "A", "required")} {
			m := pskConnect(t, site, k.pskClient(t), spec.Offer{}, "PSK")
			if got, want := m.Server.Resumption.String(), specWant(t, c, k.protocol+"/resumption"); got != want {
				t.Errorf("resumption: %s, want %s", got, want)
			}
			if stats := site.Ctx.Stats(); stats.Resumptions[openssl.ResumptionResumed] != 0 || stats.ResumptionsRefused != 0 {
				t.Errorf("it is counted as a resumption: %v, %d refused", stats.Resumptions, stats.ResumptionsRefused)
			}
		}
	})
}

func specPSKContexts(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		for _, sidCtx := range []string{"unset", "A"} {
			for _, own := range []string{"unset", "B"} {
				client := k.pskClient(t)
				must(t, client.SetSessionIDContext(specContext(own)))
				m := pskConnect(t, k.pskSite(t, sidCtx, "none"), client, spec.Offer{}, "PSK")
				server, ends := string(m.Server.SessionIDContext), string(m.Client.SessionIDContext)
				if server != string(specContext(sidCtx)) || ends != string(specContext(own)) {
					t.Errorf("the server's session is of %q, want %s; the client's of %q, want %s", server, sidCtx, ends, own)
				}
			}
		}
	})
}

func specPSKVerify(t *testing.T, c spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		unsaid := usePSK(t, tlstest.BareServer(t))
		must(t, unsaid.SetVerify(openssl.VerifyPeer))
		if _, err := openssl.NewSSL(unsaid); !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
			t.Errorf("a Ctx that was never given a context: %v", err)
		}
		pskConnect(t, k.pskSite(t, "unset", "peer"), k.pskClient(t), spec.Offer{}, specWant(t, c, k.protocol+"/the empty context"))
	})
}

func specPSKSessions(t *testing.T, c spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		site, client := k.pskSite(t, "A", "none"), k.pskClient(t)
		other := func(s *openssl.SSL) error { return s.SetSessionIDContext([]byte("B")) }
		for _, x := range []struct {
			server func(*openssl.SSL) error
			want   string
		}{{nil, "R- alice"}, {other, specWant(t, c, k.String()+"/A->B")}} {
			first, err := site.First(client, spec.Offer{})
			must(t, err)
			t.Cleanup(first.Close)
			if got := pskOutcome(first); got != "PSK" {
				t.Errorf("the first connection: %s, want PSK", got)
			}
			pskConnect(t, site, client, spec.Offer{Session: first.Session, Server: x.server}, x.want)
		}
	})
}

func specPSKHash(t *testing.T, _ spec.Case) {
	k := specKind{"TLS1.3", spec.Ticket}
	const sha384 = "TLS_AES_256_GCM_SHA384"
	site := k.pskSite(t, "A", "none")
	pskConnect(t, site, k.pskClient(t), spec.Offer{}, "PSK")
	if m := pskConnect(t, site, k.bareClient(t), spec.Offer{}, "f"); m.Server.CipherName != sha384 {
		t.Errorf("without a PSK the suite is %s, want %s", m.Server.CipherName, sha384)
	}
	only := k.pskClient(t)
	must(t, only.SetCipherSuites(sha384))
	pskConnect(t, site, only, spec.Offer{}, "f")
}

func specPSKSwitches(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		for _, x := range []struct {
			listener, host bool
			want           string
		}{{true, false, "f"}, {false, true, "PSK"}, {true, true, "PSK"}, {false, false, "f"}} {
			made := func(psk bool) *openssl.Ctx {
				c := k.ctx(t, "A", "none")
				preferPSK(t, c)
				if psk {
					usePSK(t, c)
				}
				return c
			}
			site, err := spec.NewSite(made(x.listener), k.mechanism)
			must(t, err)
			host := made(x.host)
			pskConnect(t, site, k.pskClient(t), spec.Offer{Server: func(s *openssl.SSL) error { return s.SetCtx(host) }}, x.want)
		}
	})
}
