//go:build cgo

package isolation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

const pskKey = "a key of thirty-two random bytes"

// knows gives a server a PSK, which it prefers to its certificate: in TLS 1.2 its list
// of suites decides.
func knows(identity, key string) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.UsePSK(identity, []byte(key)))
		must(t, c.SetCipherList("PSK:HIGH"))
		must(t, c.SetOptions(openssl.OptionCipherServerPreference))
	}
}

// holder is a client with a PSK and no certificate, of the suites that it is for: tickets
// made with it resume without it.
func (a *env) holder(identity, key string) *openssl.Ctx {
	a.Helper()
	c := tlstest.BareClient(a)
	tlstest.SetVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(tlstest.Certs(a).PEM))
	must(a, c.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
	must(a, c.UsePSK(identity, []byte(key)))
	return c
}

// byPSK fails the test unless the visit was a handshake with alice's PSK, which is no
// resumption.
func (a *env) byPSK(o result) result {
	a.Helper()
	if o.clientErr != nil || o.serverErr != nil || !o.served || o.server.PSKIdentity != "alice" || o.client.PSKIdentity != "alice" ||
		o.server.DidResume || o.client.DidResume {
		a.Fatalf("%v: as %q, resumed %v: client %v, server %v", o, o.server.PSKIdentity, o.server.DidResume, o.clientErr, o.serverErr)
	}
	return o
}

// notByPSK fails the test if a PSK, or a session made with one, has let the client in. A
// session that no callback can decline is refused at the handshake's end.
func (a *env) notByPSK(o result) {
	a.Helper()
	if errors.Is(o.serverErr, openssl.ErrResumptionRefused) && !o.served {
		return
	}
	if o.server.PSKIdentity != "" || o.server.DidResume || o.client.DidResume {
		a.Fatalf("%v got in as %q, resumed %v", o, o.server.PSKIdentity, o.server.DidResume)
	}
}

// pskOfAnotherPolicy: a host of certificates alone is entered neither by the PSK of another
// host nor by a session that was made with it, not even where the contexts are one by hand.
func pskOfAnotherPolicy(a *env) {
	for _, sidCtx := range []string{"", "same"} {
		var settings []setting
		if sidCtx != "" {
			settings = append(settings, within(sidCtx))
		}
		with := a.host("a.test", append(settings, knows("alice", pskKey))...)
		strict := a.host("b.test", append(settings, requires(fixtures.caB))...)
		open := a.host("c.test", settings...)
		both := a.host("d.test", append(settings, requires(fixtures.caB), knows("alice", pskKey))...)
		listener := a.listener(map[string]*openssl.Ctx{"a.test": with, "b.test": strict, "c.test": open, "d.test": both})
		a.ready(listener, with, strict, open, both)
		alice := a.holder("alice", pskKey)
		first := a.byPSK(a.connect(listener, client{name: "a.test", client: alice}))
		a.resumed(a.connect(listener, client{name: "a.test", client: alice, session: first.session}))
		a.refused(a.connect(listener, client{name: "b.test", client: alice}))
		if o := a.connect(listener, client{name: "b.test", client: alice, session: first.session}); o.serverErr == nil || o.served {
			a.Fatalf("%v got in by the session of a PSK: client %v, server %v", o, o.clientErr, o.serverErr)
		}
		if o := a.connect(listener, client{name: "c.test", client: alice}); o.server.PSKIdentity != "" || o.serverErr != nil {
			a.Fatalf("%v: as %q, %v", o, o.server.PSKIdentity, o.serverErr)
		}
		// A session without a certificate or a PSK opens no host that wants either.
		nobody := a.full(a.connect(listener, client{name: "c.test"}))
		if o := a.connect(listener, client{name: "d.test", session: nobody.session}); o.serverErr == nil || o.served {
			a.Fatalf("%v got in by the session of nobody: client %v, server %v", o, o.clientErr, o.serverErr)
		}
		a.byPSK(a.connect(listener, client{name: "d.test", client: alice}))
		if sidCtx != "" { // Hosts does not start
			hosts := openssl.NewHosts()
			must(a, hosts.Add("a.test", with))
			if err := hosts.Add("c.test", open); err == nil {
				a.Fatal("Hosts takes two policies in one context")
			}
		}
	}
}

// pskRemoved: a session ends with the PSK that it was made with, by a derived context or,
// where the context is by hand, by its identity.
func pskRemoved(a *env) {
	for _, sidCtx := range []string{"", "by hand"} {
		made := func(settings ...setting) *openssl.Ctx {
			if sidCtx != "" {
				settings = append(settings, within(sidCtx))
			}
			return a.host("a.test", append(settings, a.sharing())...)
		}
		before := made(knows("bob", "bob's"), knows("alice", pskKey))
		same := made(knows("alice", pskKey), knows("bob", "bob's"))
		removed, replaced := made(knows("bob", "bob's")), made(knows("alice", "another"), knows("bob", "bob's"))
		a.ready(nil, before, same, removed, replaced)
		alice, without := a.holder("alice", pskKey), a.holder("nobody", pskKey)
		first := a.byPSK(a.connect(before, client{name: "a.test", client: alice}))
		o := a.resumed(a.connect(same, client{name: "a.test", client: without, session: first.session}))
		if o.server.PSKIdentity != "alice" {
			a.Fatalf("%v: resumed as %q", o, o.server.PSKIdentity)
		}
		a.notByPSK(a.connect(removed, client{name: "a.test", client: without, session: first.session}))
		if sidCtx == "" {
			a.notByPSK(a.connect(replaced, client{name: "a.test", client: without, session: first.session}))
		}
	}
}

// pskAndHelloRetryRequest: the second ClientHello brings another PSK than the first, or
// goes to another host: it is held against what the host in force has.
func pskAndHelloRetryRequest(a *env) {
	asked := 0
	with, strict := a.host("a.test", knows("alice", pskKey)), a.host("b.test", requires(fixtures.caB))
	listener := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		asked++
		return map[string]*openssl.Ctx{"a.test": with, "b.test": strict}[hello.ServerName], nil
	}, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) })
	a.ready(listener, with, strict)
	for _, retry := range []bool{false, true} {
		alice := a.holder("alice", pskKey)
		groups := "P-384"
		if retry {
			groups = "X25519:P-384"
		}
		must(a, alice.SetGroups(groups))
		asked = 0
		first := a.byPSK(a.connect(listener, client{name: "a.test", client: alice}))
		if want := map[bool]int{false: 1, true: 2}[retry]; asked != want {
			a.Fatalf("the function was asked %d times, want %d", asked, want)
		}
		a.resumed(a.connect(listener, client{name: "a.test", client: alice, session: first.session}))
		a.refused(a.connect(listener, client{name: "b.test", client: alice}))
		a.refused(a.connect(listener, client{name: "b.test", client: alice, session: first.session}))
	}
	// The second ClientHello names the other host.
	alice := a.holder("alice", pskKey)
	must(a, alice.SetGroups("X25519:P-384"))
	c, err := openssl.NewSSL(alice)
	must(a, err)
	must(a, c.SetServerName("a.test"))
	near, far := a.wire(a)
	s, err := openssl.Server(far, listener)
	must(a, err)
	must(a, near.SetDeadline(time.Now().Add(10*time.Second)))
	clientErr, serverErr := tlstest.Both(func() error {
		return editSecondHello(c, near, []byte("a.test"), []byte("b.test"))
	}, func() error {
		defer s.Close()
		return s.Handshake()
	})
	c.Close()
	if clientErr != nil || serverErr == nil || s.ConnectionState().PSKIdentity != "" {
		a.Fatalf("a second ClientHello for another host: client %v, server %v", clientErr, serverErr)
	}
}

// pskIdentityAsSessionID: an identity of a session id's length is no key into the store
// and no session id of another client.
func pskIdentityAsSessionID(a *env) {
	victim := a.host("a.test", asks(fixtures.caA), a.sharing())
	a.ready(nil, victim)
	first := a.full(a.connect(victim, client{name: "a.test", cert: fixtures.cliA}))
	id := string(a.lookup(first.session))
	if len(id) != 32 {
		a.Fatalf("a session id of %d bytes", len(id))
	}
	for i := range id {
		if id[i] == 0 {
			a.Logf("the session id holds a NUL, which no identity can")
			return
		}
	}
	// A stranger with a key of its own for the id of the victim's session.
	a.notByPSK(a.connect(victim, client{name: "a.test", client: a.holder(id, "the stranger's")}))
	// A server that has a PSK by that name asks no store for it, and deletes nothing there.
	with := a.host("a.test", asks(fixtures.caA), knows(id, pskKey), a.sharing())
	looked := func() (gets, held int) {
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		return len(a.store.gets), len(a.store.blobs)
	}
	gets, held := looked()
	o := a.connect(with, client{name: "a.test", client: a.holder(id, pskKey)})
	if o.serverErr != nil || o.server.PSKIdentity != id || o.server.DidResume || len(o.server.PeerCertificates) != 0 {
		a.Fatalf("%v: as %q, resumed %v: %v", o, o.server.PSKIdentity, o.server.DidResume, o.serverErr)
	}
	if g, h := looked(); g != gets || h < held {
		a.Fatalf("the store was asked %d times for it, and %d sessions are left of %d", g-gets, h, held)
	}
	a.resumed(a.connect(victim, client{name: "a.test", cert: fixtures.cliA, session: first.session}))
}
