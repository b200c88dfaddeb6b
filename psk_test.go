//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

var pskKey = []byte("0123456789abcdef0123456789abcdef")

// pskServer is a server of one version with the key of alice, and no certificate.
func pskServer(t testing.TB, version uint16) *openssl.Ctx {
	t.Helper()
	c := tlstest.BareServer(t)
	tlstest.SetVersion(t, c, version)
	must(t, c.UsePSK("alice", pskKey))
	return c
}

// pskClient is a client with alice's key, and no certificate.
func pskClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	c := tlstest.BareClient(t)
	must(t, c.SetVerifyCAs(tlstest.Certs(t).PEM))
	must(t, c.UsePSK("alice", pskKey))
	return c
}

// wantPSK looks at both ends of a handshake with alice's key.
func wantPSK(t testing.TB, e tlstest.Result) {
	t.Helper()
	if e.ClientErr != nil || e.ServerErr != nil {
		t.Fatalf("a handshake with a PSK: client %v, server %v", e.ClientErr, e.ServerErr)
	}
	for end, state := range map[string]openssl.ConnectionState{"client": e.Client, "server": e.Server} {
		// In TLS 1.2 a PSK is a matter of the key exchange alone.
		isPSK := state.Resumption == openssl.ResumptionPSK
		if state.PSKIdentity != "alice" || state.DidResume || isPSK != (state.Version == tls.VersionTLS13) || len(state.PeerCertificatesDER) != 0 || state.VerifyError != nil {
			t.Errorf("the %s's identity is %q, DidResume %v, Resumption %v, %d certificates, VerifyError %v; want alice, false, PSK in TLS 1.3, none, none",
				end, state.PSKIdentity, state.DidResume, state.Resumption, len(state.PeerCertificatesDER), state.VerifyError)
		}
	}
}

// wantResumedPSK looks at both ends of a resumption of a session of alice.
func wantResumedPSK(t testing.TB, e tlstest.Result) {
	t.Helper()
	if e.ClientErr != nil || e.ServerErr != nil {
		t.Fatalf("a resumption of a session with a PSK: client %v, server %v", e.ClientErr, e.ServerErr)
	}
	for end, state := range map[string]openssl.ConnectionState{"client": e.Client, "server": e.Server} {
		if state.PSKIdentity != "alice" || !state.DidResume || state.Resumption != openssl.ResumptionResumed {
			t.Errorf("the %s's identity is %q, DidResume %v, Resumption %v; want alice, true, resumed",
				end, state.PSKIdentity, state.DidResume, state.Resumption)
		}
	}
}

// wantNoPSK looks at both ends of a handshake that must fail.
func wantNoPSK(t testing.TB, what string, e tlstest.Result) {
	t.Helper()
	if e.ServerErr == nil || e.Server.HandshakeComplete {
		t.Errorf("%s: let in as %q: client %v, server %v", what, e.Server.PSKIdentity, e.ClientErr, e.ServerErr)
	}
}

func TestPSK(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, by := range tlstest.Transports {
			t.Run(by.Name, func(t *testing.T) {
				server := pskServer(t, v.ID)
				must(t, server.UsePSK("bob", []byte("another key of bob's")))
				must(t, server.UsePSK("a", []byte("a third key")))
				wantPSK(t, by.Connect(t, tlstest.Pair{Client: pskClient(t), Server: server}))
				stats := server.Stats()
				if stats.Resumptions[openssl.ResumptionResumed] != 0 || stats.ResumptionsRefused != 0 {
					t.Errorf("a PSK counts as a resumption: %v, %d refused", stats.Resumptions, stats.ResumptionsRefused)
				}
			})
		}
	})
}

// TestPSKWrong has clients that the server must not let in.
func TestPSKWrong(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server := pskServer(t, v.ID)
		for what, use := range map[string]func(c *openssl.Ctx) error{
			"another key":      func(c *openssl.Ctx) error { return c.UsePSK("alice", []byte("0123456789abcdef0123456789abcdeX")) },
			"a key cut short":  func(c *openssl.Ctx) error { return c.UsePSK("alice", pskKey[:31]) },
			"another identity": func(c *openssl.Ctx) error { return c.UsePSK("bob", pskKey) },
			"a longer one":     func(c *openssl.Ctx) error { return c.UsePSK("alice2", pskKey) },
			"no PSK":           func(c *openssl.Ctx) error { return nil },
		} {
			client := tlstest.NewClient(t)
			must(t, use(client))
			wantNoPSK(t, what, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}))
		}
	})
}

// TestPSKReplaced has a client that was given two keys, and a server that was given
// another key for the same identity.
func TestPSKReplaced(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server := tlstest.BareServer(t)
		tlstest.SetVersion(t, server, v.ID)
		must(t, server.UsePSK("alice", []byte("an older key")))
		must(t, server.UsePSK("alice", pskKey))
		client := tlstest.NewClient(t)
		must(t, client.UsePSK("bob", []byte("the client's first")))
		must(t, client.UsePSK("alice", pskKey))
		wantPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}))
	})
}

// TestPSKLimits has the longest and the shortest of each, and what is beyond.
func TestPSKLimits(t *testing.T) {
	longest := 256
	if !tlstest.IsOpenSSL3() {
		longest = 128
	}
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, n := range []int{1, 32, longest} {
			identity, key := strings.Repeat("é", n)[:n], bytes.Repeat([]byte{0}, 2*n)
			server, client := tlstest.BareServer(t), tlstest.NewClient(t)
			tlstest.SetVersion(t, server, v.ID)
			must(t, server.UsePSK(identity, key))
			must(t, client.UsePSK(identity, key))
			e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
			if e.Server.PSKIdentity != identity || e.Client.PSKIdentity != identity {
				t.Errorf("an identity of %d bytes arrives as %q, and %q on the client", n, e.Server.PSKIdentity, e.Client.PSKIdentity)
			}
		}
	})
	c := pskServer(t, tls.VersionTLS13)
	client := pskClient(t)
	conn := func() (s *openssl.SSL) {
		_, s = tlstest.Machines(t, pskClient(t), pskServer(t, tls.VersionTLS13))
		return s
	}
	for _, use := range []func(string, []byte) error{c.UsePSK, client.UsePSK, conn().UsePSK} {
		tlstest.Sentence(t, use("", pskKey), "UsePSK", "empty", "give")
		tlstest.Sentence(t, use("a\x00b", pskKey), "NUL")
		tlstest.Sentence(t, use(strings.Repeat("a", longest+1), pskKey), fmt.Sprint(longest), fmt.Sprint(longest+1))
		tlstest.Sentence(t, use("alice", nil), "key is empty", "give")
		secret := bytes.Repeat([]byte("secret"), longest)
		err := use("alice", secret)
		tlstest.Sentence(t, err, fmt.Sprint(len(secret)), fmt.Sprint(2*longest))
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the key is in the error: %v", err)
		}
	}
	wantPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: c})) // what was set before is in force
	for _, use := range []func(string, []byte) error{c.UsePSK, client.UsePSK} {
		if err := use("bob", pskKey); !errors.Is(err, openssl.ErrCtxInUse) {
			t.Errorf("UsePSK on a Ctx in use: %v", err)
		}
	}
}

// TestPSKSuites has every kind of PSK suite of TLS 1.2.
func TestPSKSuites(t *testing.T) {
	dh := tlstest.File(t, "dh.pem", []byte(tlstest.FFDHE2048))
	for _, suite := range []string{"PSK-AES128-GCM-SHA256", "PSK-AES256-CBC-SHA384", "ECDHE-PSK-CHACHA20-POLY1305", "ECDHE-PSK-AES128-CBC-SHA256",
		"DHE-PSK-AES128-GCM-SHA256", "RSA-PSK-AES128-GCM-SHA256"} {
		t.Run(suite, func(t *testing.T) {
			server, client := pskServer(t, tls.VersionTLS12), pskClient(t)
			must(t, server.Conf("DHParameters", dh))
			if strings.HasPrefix(suite, "RSA") {
				must(t, server.UseCertificate(tlstest.Certs(t).Leaf(t, "server.test", tlstest.RSAKey(), nil)))
			}
			must(t, server.SetCipherList(suite))
			must(t, client.SetCipherList(suite))
			e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
			if e.Server.PSKIdentity != "alice" || e.Client.PSKIdentity != "alice" || e.Server.CipherName != suite {
				t.Errorf("%s as %q and %q", e.Server.CipherName, e.Server.PSKIdentity, e.Client.PSKIdentity)
			}
		})
	}
}

// TestPSKNameOfServer has a client whose server proves the PSK with a certificate of
// another name besides.
func TestPSKNameOfServer(t *testing.T) {
	server, client := pskServer(t, tls.VersionTLS12), pskClient(t)
	must(t, server.UseCertificate(tlstest.Certs(t).Leaf(t, "other.test", tlstest.RSAKey(), nil)))
	must(t, server.SetCipherList("RSA-PSK-AES128-GCM-SHA256"))
	if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); e.ClientErr == nil {
		t.Error("the client accepts the certificate of another server")
	}
}

// TestPSKNeedsContext has servers that request certificates besides.
func TestPSKNeedsContext(t *testing.T) {
	made := func() *openssl.Ctx {
		c := tlstest.BareServer(t)
		must(t, c.UsePSK("alice", pskKey))
		must(t, c.SetVerify(openssl.VerifyPeer))
		must(t, c.SetOptions(openssl.OptionNoTicket)) // it never resumes, and libssl wants a context all the same
		must(t, c.SetSessionCacheMode(openssl.SessionCacheOff))
		return c
	}
	_, err := openssl.NewSSL(made())
	if !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
		t.Errorf("a server with PSK and VerifyPeer without a context: %v", err)
	}
	tlstest.Sentence(t, err, "PSK", "DeriveSessionIDContext")
	with := made()
	must(t, with.SetSessionIDContext([]byte("x")))
	wantPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: with}))
	// The explicit empty one is libssl's own behaviour: 277 where its check knows no PSKs.
	empty := made()
	must(t, empty.SetSessionIDContext(nil))
	e := tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: empty})
	if e.ServerErr != nil && !errors.Is(e.ServerErr, openssl.ErrSessionIDContextUninitialized) {
		t.Errorf("a server with PSK, VerifyPeer and the empty context: %v", e.ServerErr)
	}
}

// TestPSKServerNeedsNothingElse has servers without a certificate.
func TestPSKServerNeedsNothingElse(t *testing.T) {
	_, err := openssl.NewSSL(tlstest.BareServer(t))
	tlstest.Sentence(t, err, "certificate", "UsePSK")
}

// TestPSKClientContext has a client with a context of its own.
func TestPSKClientContext(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server, client := pskServer(t, v.ID), pskClient(t)
		must(t, client.SetSessionIDContext([]byte("client")))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
		wantPSK(t, e)
		if got := string(e.Client.SessionIDContext); got != "client" {
			t.Errorf("the client's session is of context %q", got)
		}
		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSessionIDContext([]byte("connection")))
		tlstest.MustShake(t, c, s)
	})
}

// TestPSKBesideCertificates has a server that requires certificates and has a PSK: a client
// needs either, and a PSK is held against nothing that sessions are.
func TestPSKBesideCertificates(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, stateful := range []bool{false, true} {
			server := tlstest.NewMutualServer(t, "x")
			tlstest.SetVersion(t, server, v.ID)
			must(t, server.UsePSK("alice", pskKey))
			must(t, server.SetMaxAuthAge(time.Hour))
			must(t, server.SetCipherList("PSK:HIGH")) // in TLS 1.2 the list decides
			must(t, server.SetOptions(openssl.OptionCipherServerPreference))
			if stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: server})
			wantPSK(t, e)
			wantResumedPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: server, Offer: e.Session}))
			e = tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
			if e.Server.PSKIdentity != "" || len(e.Server.PeerCertificates) == 0 {
				t.Errorf("a client with a certificate: %q, %d certificates", e.Server.PSKIdentity, len(e.Server.PeerCertificates))
			}
			nobody := tlstest.BareClient(t)
			must(t, nobody.SetVerifyCAs(tlstest.Certs(t).PEM))
			wantNoPSK(t, "a client with neither", tlstest.ConnectMachines(t, tlstest.Pair{Client: nobody, Server: server}))
			if got := server.Stats().ResumptionsRefused; got != 0 {
				t.Errorf("%d refused resumptions", got)
			}
		}
	})
}

// TestPSKNotConfigured has a server without PSKs, which a client's PSK changes nothing for.
func TestPSKNotConfigured(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server := tlstest.NewServer(t)
		tlstest.SetVersion(t, server, v.ID)
		client := pskClient(t)
		must(t, client.SetCipherList("PSK:HIGH")) // first, and a server with the callback would choose it
		e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		if e.Server.PSKIdentity != "" || len(e.Client.PeerCertificates) == 0 || strings.Contains(e.Server.CipherName, "PSK") {
			t.Errorf("%s as %q, %d certificates of the server", e.Server.CipherName, e.Server.PSKIdentity, len(e.Client.PeerCertificates))
		}
		wantNoPSK(t, "a server that requires certificates", tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: mutualOf(t, v.ID)}))
	})
}

func mutualOf(t testing.TB, version uint16) *openssl.Ctx {
	c := tlstest.NewMutualServer(t, "x")
	tlstest.SetVersion(t, c, version)
	return c
}

// TestPSKRemoved ends a PSK: sessions made with it are not resumed by a server without
// it, or with another key for its identity.
func TestPSKRemoved(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		label := uniqueLabel(t)
		made := func(sidCtx string, psks ...string) *openssl.Ctx {
			c := tlstest.NewServer(t)
			tlstest.SetVersion(t, c, v.ID)
			must(t, c.SetTicketKeys(tlstest.TicketKey(7)))
			must(t, c.SetOptions(openssl.OptionCipherServerPreference))
			must(t, c.SetCipherList("PSK:HIGH"))
			for i := 0; i < len(psks); i += 2 {
				must(t, c.UsePSK(psks[i], []byte(psks[i+1])))
			}
			if sidCtx == "" {
				must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: label}))
			} else {
				must(t, c.SetSessionIDContext([]byte(sidCtx)))
			}
			return c
		}
		const key = "0123456789abcdef0123456789abcdef"
		client, without := pskClient(t), tlstest.NewClient(t) // the second has nothing that helps but the session
		must(t, without.UsePSK("stranger", pskKey))
		must(t, without.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
		for _, sidCtx := range []string{"", "by hand"} {
			before := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: made(sidCtx, "alice", key, "bob", "b")})
			wantPSK(t, before)
			wantResumedPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: without, Server: made(sidCtx, "bob", "b", "alice", key), Offer: tlstest.Reparse(t, before.Session)}))
			for what, after := range map[string]*openssl.Ctx{
				"removed":       made(sidCtx, "bob", "b"),
				"another added": made(sidCtx, "alice", key, "bob", "b", "eve", "e"),
				"replaced":      made(sidCtx, "alice", "another", "bob", "b"),
				"renamed":       made(sidCtx, "alicf", key, "bob", "b"),
				"all removed":   made(sidCtx),
			} {
				if sidCtx != "" && what != "removed" && what != "renamed" {
					continue // the context is the same by the caller's word
				}
				// In TLS 1.2 the server selects a PSK suite then, and finds no PSK.
				e := tlstest.ConnectMachines(t, tlstest.Pair{Client: without, Server: after, Offer: tlstest.Reparse(t, before.Session)})
				if e.Server.DidResume || e.Server.PSKIdentity != "" || e.ServerErr != nil && v.ID == tls.VersionTLS13 {
					t.Errorf("context %q: a session of a PSK that was %s is resumed as %q", sidCtx, what, e.Server.PSKIdentity)
				}
			}
		}
	})
}

// TestPSKRemovedStateful has a session in a cache that two policies share by hand.
func TestPSKRemovedStateful(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		made := func(identity string) *openssl.Ctx {
			c := pskServer(t, v.ID)
			if identity != "alice" {
				c = tlstest.BareServer(t)
				tlstest.SetVersion(t, c, v.ID)
				must(t, c.UsePSK(identity, pskKey))
			}
			must(t, c.SetOptions(openssl.OptionNoTicket))
			must(t, c.SetSessionIDContext([]byte("by hand")))
			return c
		}
		first, second := made("alice"), made("bob")
		must(t, first.SetClientHelloFunc(tlstest.Stay))
		client := pskClient(t)
		before := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: first})
		wantPSK(t, before)
		wantNoPSK(t, "a session of a removed PSK", tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: first, Offer: before.Session,
			Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(second)) }}))
	})
}

// TestPSKBehindTicket has a client that offers a ticket of another context, or of before a Revoke, and a
// PSK behind it: that is used.
func TestPSKBehindTicket(t *testing.T) {
	for _, external := range []bool{false, true} {
		server := pskServer(t, tls.VersionTLS13)
		must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: uniqueLabel(t)}))
		client := pskClient(t)
		answer := func(testing.TB, *openssl.SSL) {}
		if external {
			must(t, server.SetOptions(openssl.OptionNoTicket))
			must(t, server.SetClientHelloFunc(tlstest.Stay))
			must(t, server.SetSessionCacheMode(openssl.SessionCacheOff))
		}
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Answer: answer})
		wantPSK(t, e)
		if external {
			der := tlstest.SessionDER(t, e.Session)
			answer = func(t testing.TB, s *openssl.SSL) { must(t, s.AnswerSession(der)) }
		}
		if !external {
			wantResumedPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Offer: tlstest.Reparse(t, e.Session), Answer: answer}))
		}
		mustRevoke(t, server)
		wantPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session, Answer: answer}))
	}
}

// TestPSKExpiredTicket has a client that offers an expired ticket, and a PSK behind it.
func TestPSKExpiredTicket(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits for libssl's clock")
	}
	server, client := pskServer(t, tls.VersionTLS13), pskClient(t)
	must(t, server.SetSessionTimeout(2*time.Second))
	e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
	wantPSK(t, e)
	if got := e.Session.Timeout(); got > 2*time.Hour {
		t.Errorf("the client's session lives for %v", got)
	}
	// The client would not offer what it knows to be expired: the hint is field 9.
	sess := tlstest.WithField(t, e.Session, 9, 1000)
	for deadline := time.Now().Add(20 * time.Second); ; {
		e = tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Offer: tlstest.Reparse(t, sess)})
		if e.Server.Resumption != openssl.ResumptionResumed || time.Now().After(deadline) {
			break
		}
	}
	wantPSK(t, e)
}

// TestPSKHash has servers whose suites have another hash than a PSK.
func TestPSKHash(t *testing.T) {
	const sha384 = "TLS_AES_256_GCM_SHA384"
	client := pskClient(t)
	// The first suite of the default list is that, and the server has a certificate.
	server := tlstest.NewServer(t)
	tlstest.SetVersion(t, server, tls.VersionTLS13)
	must(t, server.UsePSK("alice", pskKey))
	wantPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}))
	e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
	if e.Server.CipherName != sha384 {
		t.Errorf("without a PSK the suite is %s, want %s", e.Server.CipherName, sha384)
	}
	stranger := tlstest.NewClient(t)
	must(t, stranger.UsePSK("eve", pskKey))
	if e := tlstest.Connect(t, tlstest.Pair{Client: stranger, Server: server}); e.Server.CipherName != sha384 {
		t.Errorf("with an unknown PSK the suite is %s, want %s", e.Server.CipherName, sha384)
	}
	// A client, and a server, that have no other.
	only := tlstest.NewClient(t)
	must(t, only.SetCipherSuites(sha384))
	must(t, only.UsePSK("alice", pskKey))
	if e := tlstest.Connect(t, tlstest.Pair{Client: only, Server: server}); e.Server.PSKIdentity != "" || len(e.Client.PeerCertificates) == 0 {
		t.Errorf("a client of SHA-384 alone: %q", e.Server.PSKIdentity)
	}
	strict := pskServer(t, tls.VersionTLS13)
	must(t, strict.SetCipherSuites(sha384))
	wantNoPSK(t, "a server of SHA-384 alone", tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: strict}))
}

// TestPSKIdentityIsNoSessionID has an identity of a session id's length.
func TestPSKIdentityIsNoSessionID(t *testing.T) {
	const identity = "0123456789abcdef0123456789ABCDEF"
	made := func(psk bool) *openssl.Ctx {
		c := tlstest.NewServer(t)
		tlstest.SetVersion(t, c, tls.VersionTLS13)
		must(t, c.SetOptions(openssl.OptionNoTicket))
		must(t, c.SetClientHelloFunc(tlstest.Stay))
		if psk {
			must(t, c.UsePSK(identity, pskKey))
		}
		return c
	}
	client := pskClient(t)
	must(t, client.UsePSK(identity, pskKey))
	host := tlstest.NewServer(t)
	tlstest.SetVersion(t, host, tls.VersionTLS13)
	must(t, host.SetOptions(openssl.OptionNoTicket))
	must(t, host.UsePSK(identity, pskKey))
	for what, x := range map[string]struct {
		server, to *openssl.Ctx
		ids        int
	}{
		"a server that has it":            {made(true), nil, 0},
		"a server that does not":          {made(false), nil, 1},
		"a server that switches to a Ctx": {made(false), host, 0},
	} {
		tlstest.Connect(t, tlstest.Pair{Client: client, Server: x.server, Answer: func(t testing.TB, s *openssl.SSL) {
			if x.to != nil {
				must(t, s.SetCtx(x.to))
			}
			if ids := s.OfferedSessionIDs(); len(ids) != x.ids {
				t.Errorf("%s: %d ids to look up, want %d: %q", what, len(ids), x.ids, ids)
			}
		}})
	}
	store := &memStore{}
	server := made(true)
	must(t, server.SetSessionStore(store))
	wantIdentity := func(e tlstest.Result) {
		t.Helper()
		if e.ClientErr != nil || e.ServerErr != nil || e.Server.PSKIdentity != identity {
			t.Errorf("as %q: client %v, server %v", e.Server.PSKIdentity, e.ClientErr, e.ServerErr)
		}
	}
	wantIdentity(tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server}))
	if asked := store.asked(); len(asked) != 0 {
		t.Errorf("the store was asked for %q", asked)
	}
}

// TestPSKSwitch has listeners and hosts with and without PSKs: those of the host count.
func TestPSKSwitch(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		plain := func() *openssl.Ctx {
			c := tlstest.NewServer(t)
			tlstest.SetVersion(t, c, v.ID)
			must(t, c.SetCipherList("PSK:HIGH"))
			must(t, c.SetOptions(openssl.OptionCipherServerPreference))
			return c
		}
		with := func(identity string) *openssl.Ctx {
			c := plain()
			must(t, c.UsePSK(identity, pskKey))
			return c
		}
		mutual := mutualOf(t, v.ID)
		for what, x := range map[string]struct {
			listener, host *openssl.Ctx
			own            bool // the connection has alice's key before the switch
			want           string
		}{
			"to a PSK":                {listener: plain(), host: with("alice"), want: "alice"},
			"away from a PSK":         {listener: with("alice"), host: plain()},
			"between PSKs":            {listener: with("bob"), host: with("alice"), want: "alice"},
			"between PSKs, away":      {listener: with("alice"), host: with("bob")},
			"of the connection":       {listener: plain(), host: plain(), own: true},
			"of the connection, kept": {listener: plain(), own: true, want: "alice"},
		} {
			must(t, x.listener.SetClientHelloFunc(tlstest.Stay))
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: x.listener, Answer: func(t testing.TB, s *openssl.SSL) {
				if x.own {
					must(t, s.UsePSK("alice", pskKey))
				}
				if x.host != nil {
					must(t, s.SetCtx(x.host))
				}
			}})
			unknown := what == "between PSKs, away" && v.ID == tls.VersionTLS12 // the suite is selected first
			if e.Server.PSKIdentity != x.want || e.Client.PSKIdentity != x.want || (e.ServerErr != nil) != unknown {
				t.Errorf("%s: %q, want %q: client %v, server %v", what, e.Server.PSKIdentity, x.want, e.ClientErr, e.ServerErr)
			}
		}
		listener := with("alice")
		must(t, listener.SetClientHelloFunc(tlstest.Stay))
		wantNoPSK(t, "a switch to a host that requires certificates", tlstest.ConnectMachines(t, tlstest.Pair{Client: pskClient(t), Server: listener,
			Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(mutual)) }}))
		// A client that is switched.
		c, s := tlstest.Machines(t, tlstest.NewClient(t), pskServer(t, v.ID))
		must(t, c.SetCtx(pskClient(t)))
		tlstest.MustShake(t, c, s)
		c, s = tlstest.Machines(t, pskClient(t), pskServer(t, v.ID))
		must(t, c.SetCtx(tlstest.NewClient(t)))
		if _, err := tlstest.Shake(t, c, s); err == nil {
			t.Error("a client switched away from its PSK uses it")
		}
	})
}

// TestPSKRetry has a HelloRetryRequest between.
func TestPSKRetry(t *testing.T) {
	for _, asked := range []bool{false, true} {
		server, client := pskServer(t, tls.VersionTLS13), pskClient(t)
		must(t, server.SetGroups("P-256"))
		must(t, client.SetGroups("X25519:P-256"))
		calls := 0
		if asked {
			must(t, server.SetClientHelloFunc(tlstest.Stay))
		}
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Answer: func(t testing.TB, s *openssl.SSL) {
			if calls++; calls == 2 {
				if err := s.UsePSK("bob", pskKey); !errors.Is(err, openssl.ErrTooLate) {
					t.Errorf("UsePSK for the second ClientHello: %v", err)
				}
			}
		}})
		wantPSK(t, e)
		if asked && calls != 2 {
			t.Errorf("the server was asked about %d ClientHellos, want 2", calls)
		}
		wantResumedPSK(t, tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session}))
	}
	// It chooses a hash that the client's PSK is not for.
	server := tlstest.NewServer(t)
	must(t, server.SetGroups("P-256"))
	must(t, server.SetCipherSuites("TLS_AES_256_GCM_SHA384"))
	client := pskClient(t)
	must(t, client.SetGroups("X25519:P-256"))
	if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}); e.Server.PSKIdentity != "" || len(e.Client.PeerCertificates) == 0 {
		t.Errorf("a HelloRetryRequest with SHA-384: %q", e.Server.PSKIdentity)
	}
}

// TestPSKSessions resumes sessions made with a PSK by way of a cache, and by a client that
// verifies its servers.
func TestPSKSessions(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, stateful := range []bool{false, true} {
			server, client := pskServer(t, v.ID), pskClient(t)
			if stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			must(t, client.SetClientSessionCache(newWatchedCache(t, 8)))
			connect := func() tlstest.Result {
				c, s, _, _ := tlstest.WireConns(t, client, server, 1<<16) // the same address again
				return tlstest.Converse(t, c, s)
			}
			wantPSK(t, connect())
			wantResumedPSK(t, connect())
			stats := server.Stats()
			if stats.Resumptions[openssl.ResumptionResumed] != 1 {
				t.Errorf("the server has counted %v", stats.Resumptions)
			}
		}
	})
}

// TestPSKSessionLimits bounds the life of a session by its first handshake.
func TestPSKSessionLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits for libssl's clock")
	}
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server, client := pskServer(t, v.ID), pskClient(t)
		must(t, server.SetSessionTimeout(time.Hour))
		must(t, server.SetMaxAuthAge(2*time.Second))
		sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session
		start, resumed := time.Now(), 0
		for time.Since(start) < 20*time.Second {
			e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: tlstest.Reparse(t, sess)})
			if !e.Server.DidResume {
				break
			}
			resumed++
			if e.Session != nil {
				sess = e.Session
			}
		}
		if took := time.Since(start); resumed == 0 && took < time.Second || took > 15*time.Second {
			t.Errorf("resumed %d times, for %v", resumed, took)
		}
	})
}

// TestPSKOfConnection has keys of single connections.
func TestPSKOfConnection(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client := tlstest.NewClient(t)
		server := tlstest.NewServer(t)
		tlstest.SetVersion(t, server, v.ID)
		must(t, server.SetCipherList("PSK:HIGH"))
		must(t, server.SetOptions(openssl.OptionCipherServerPreference))
		connect := func(clients, servers string, offer *openssl.Session) tlstest.Result {
			c, s := tlstest.Conns(t, client, server)
			if offer != nil {
				must(t, c.SetSession(offer))
			}
			if clients != "" {
				must(t, c.UsePSK(clients, pskKey))
			}
			if servers != "" {
				must(t, s.UsePSK("else", []byte("another key")))
				must(t, s.UsePSK(servers, pskKey))
			}
			e := tlstest.Converse(t, c, s)
			unknown := clients != servers && v.ID == tls.VersionTLS12 // the suite is selected first
			if err := errors.Join(e.ClientErr, e.ServerErr); err != nil && !unknown {
				t.Fatalf("client %q, server %q: %v", clients, servers, err)
			}
			if err := s.UsePSK("late", pskKey); err == nil {
				t.Error("UsePSK after Close")
			}
			return e
		}
		e := connect("alice", "alice", nil)
		wantPSK(t, e)
		wantResumedPSK(t, connect("alice", "alice", tlstest.Reparse(t, e.Session)))
		if e := connect("alice", "bob", tlstest.Reparse(t, e.Session)); e.Server.DidResume || e.Server.PSKIdentity != "" {
			t.Errorf("a connection with bob's key alone resumes alice's session: %q", e.Server.PSKIdentity)
		}
		if e := connect("", "alice", nil); e.Server.PSKIdentity != "" {
			t.Errorf("a client without a PSK is %q", e.Server.PSKIdentity)
		}
		c, s := tlstest.Machines(t, client, server)
		tlstest.MustShake(t, c, s)
		for _, end := range []*openssl.SSL{c, s} {
			if err := end.UsePSK("alice", pskKey); !errors.Is(err, openssl.ErrTooLate) {
				t.Errorf("UsePSK after the handshake: %v", err)
			}
		}
	})
}

// TestPSKOfConnectionInCache has a cache whose sessions must not cross PSKs of connections.
func TestPSKOfConnectionInCache(t *testing.T) {
	keys := make(map[string]string)
	for _, use := range [][2]string{{"", ""}, {"alice", "one"}, {"alice", "two"}, {"bob", "one"}} {
		var r keyRecorder
		client := tlstest.NewClient(t)
		must(t, client.SetClientSessionCache(&r))
		near, far := tlstest.WirePair(1 << 10)
		must(t, far.Close())
		c, err := openssl.Client(near, client)
		must(t, err)
		must(t, c.SetServerName("server.test"))
		if use[0] != "" {
			must(t, c.UsePSK(use[0], []byte(use[1])))
		}
		if err := c.Handshake(); err == nil || r.key == "" {
			t.Fatalf("a handshake without a peer: %v, key %q", err, r.key)
		}
		must(t, c.Close())
		if other, ok := keys[r.key]; ok {
			t.Errorf("%v and %v have the same key in the cache", use, other)
		}
		keys[r.key] = fmt.Sprint(use)
	}
}

// TestPSKIdentities chooses a Ctx by what the client offers.
func TestPSKIdentities(t *testing.T) {
	server := tlstest.NewServer(t)
	host := pskServer(t, tls.VersionTLS13)
	var offered [][]byte
	must(t, server.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		offered = hello.PSKIdentities()
		for _, identity := range offered {
			if string(identity) == "alice" {
				return host, nil
			}
		}
		return nil, nil
	}))
	client := pskClient(t)
	e := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server})
	wantPSK(t, e)
	if len(offered) != 1 {
		t.Errorf("offered %q, want alice alone", offered)
	}
	ticket := tlstest.TicketOf(t, e.Session)
	e = tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session})
	wantResumedPSK(t, e)
	if len(offered) != 2 || !bytes.Equal(offered[0], ticket) || string(offered[1]) != "alice" {
		t.Errorf("offered %d identities, want a ticket and alice: %q", len(offered), offered)
	}
	if e := tlstest.ConnectTCP(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server}); len(offered) != 0 || e.Server.PSKIdentity != "" {
		t.Errorf("a client without a PSK offers %q", offered)
	}
	var none *openssl.ClientHello
	if got := none.PSKIdentities(); got != nil {
		t.Errorf("no ClientHello offers %q", got)
	}
}

// A list of identities that ends too early has none.
func TestPSKIdentitiesCutOff(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetClientHelloFunc(tlstest.Stay))
	psk := slices.Concat(block(append(block([]byte("alice")), 0, 0, 0, 0)), block(append([]byte{32}, make([]byte, 32)...)))
	for _, cut := range []int{0, 3, 1} {
		body := slices.Clone(psk)
		body[1] -= byte(cut) // the length of the identities
		hello, err := helloAt(t, server, helloWith(extension(43, []byte{2, 3, 4}), extension(41, body)))
		must(t, err)
		if hello == nil {
			t.Fatal("libssl has refused before it was asked")
		}
		if got := hello.PSKIdentities(); (len(got) == 1 && string(got[0]) == "alice") != (cut == 0) || len(got) > 0 && cut != 0 {
			t.Errorf("%d bytes cut off: %q", cut, got)
		}
	}
}

// TestPSKInTheContext pins what a PSK changes in contexts, and that another order does not.
func TestPSKInTheContext(t *testing.T) {
	use := func(psks ...string) func(c *openssl.Ctx) error {
		return func(c *openssl.Ctx) (err error) {
			for i := 0; i < len(psks); i += 2 {
				err = errors.Join(err, c.UsePSK(psks[i], []byte(psks[i+1])))
			}
			return err
		}
	}
	seen := make(map[string][]string)
	for _, psks := range [][]string{{}, {"a", "one"}, {"a", "two"}, {"b", "one"}, {"a", "one", "b", "two"}, {"a", "two", "b", "one"}} {
		sidCtx := derivedFrom(t, use(psks...))
		if other, ok := seen[sidCtx]; ok {
			t.Errorf("PSKs %q and %q lead to the same context", psks, other)
		}
		seen[sidCtx] = psks
	}
	if derivedFrom(t, use("a", "one", "b", "two")) != derivedFrom(t, use("b", "zero", "b", "two", "a", "one")) {
		t.Error("the order of PSKs, or a key that was replaced, changes the context")
	}
}

// TestPSKManyIdentities has a table that is not in order.
func TestPSKManyIdentities(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server := tlstest.BareServer(t)
		tlstest.SetVersion(t, server, v.ID)
		name := func(i int) string { return fmt.Sprintf("device %d", i*7919%1000) }
		for i := range 1000 {
			must(t, server.UsePSK(name(i), []byte(name(i)+"'s key")))
		}
		for _, i := range []int{0, 1, 500, 999} {
			client := tlstest.NewClient(t)
			must(t, client.UsePSK(name(i), []byte(name(i)+"'s key")))
			if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}); e.Server.PSKIdentity != name(i) {
				t.Errorf("%s arrives as %q", name(i), e.Server.PSKIdentity)
			}
		}
	})
}
