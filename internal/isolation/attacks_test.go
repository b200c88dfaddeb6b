//go:build cgo

package isolation_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// attack is a row of docs/ATTACKS.md. Every refusal in it is an ordinary full
// handshake for a client that may enter.
type attack struct {
	id   string
	name string
	in   where
	run  func(a *env)

	waits bool // for the clock: all at once
}

// where is which attackMechanisms an attack is about.
type where int

const (
	everywhere where = iota
	once             // it is about the API, or makes its own rounds
	onTickets
	stateful
	tls13
)

func (w where) includes(m mechanism) bool {
	switch w {
	case once:
		return m == mechanisms[0]
	case onTickets:
		return !m.stateful
	case stateful:
		return m.stateful
	case tls13:
		return m.version == tls.VersionTLS13
	}
	return true
}

var attacks = []attack{
	{id: "A01", name: "control_same_policy", run: controlSamePolicy},
	{id: "A02", name: "context_changed_between_connections", run: contextChangedBetweenConnections},
	{id: "A03", name: "shared_keys_open_to_required", run: sharedKeysOpenToRequired},
	{id: "A04", name: "shared_keys_distinct_contexts_open_to_required", run: sharedKeysDistinctContextsOpenToRequired},
	{id: "A05", name: "shared_keys_CA_A_to_CA_B", run: sharedKeysToAnotherCA},
	{id: "A06", name: "shared_keys_distinct_contexts_CA_A_to_CA_B", run: sharedKeysDistinctContextsToAnotherCA},
	{id: "A07", name: "no_context_and_certificates_required", in: once, run: noContextAndCertificatesRequired},
	{id: "A08", name: "no_context_on_two_hosts", run: noContextOnTwoHosts},
	{id: "A09", name: "no_context_to_context", run: func(a *env) { contextPair(a, "", "b") }},
	{id: "A10", name: "context_to_no_context", run: func(a *env) { contextPair(a, "b", "") }},
	{id: "A11", name: "prefixes_and_boundaries", run: prefixesAndBoundaries},
	{id: "A12", name: "contexts_that_differ_after_a_NUL", run: func(a *env) { contextPair(a, "x\x00a", "x\x00b") }},
	{id: "A13", name: "oversize", run: oversize},
	{id: "A14", name: "route_to_another_Ctx", run: routeToAnotherCtx},
	{id: "A15", name: "route_by_context_alone", run: routeByContextAlone},
	{id: "A16", name: "route_by_Ctx_and_context", run: routeByCtxAndContext},
	{id: "A17", name: "same_policy_other_name", run: samePolicyOtherName},
	{id: "A18", name: "open_hosts_by_context_and_Ctx", run: openHostsByContextAndCtx},
	{id: "A19", name: "no_name_to_required", run: noNameToRequired},
	{id: "A20", name: "name_to_no_name", run: nameToNoName},
	{id: "A21", name: "unknown_name", run: unknownName},
	{id: "A22", name: "spellings_of_a_name", run: spellingsOfAName},
	{id: "A23", name: "malformed_names", run: malformedNames},
	{id: "A24", name: "hello_in_crumbs", run: helloInCrumbs},
	{id: "A25", name: "Host_of_another_policy", run: hostOfAnotherPolicy},
	{id: "A26", name: "HelloRetryRequest", in: tls13, run: helloRetryRequest},
	{id: "A27", name: "second_hello_says_otherwise", in: tls13, run: secondHelloSaysOtherwise},
	{id: "A28", name: "private_keys_same_context", run: privateKeysSameContext},
	{id: "A29", name: "broken_tickets", in: onTickets, run: brokenTickets},
	{id: "A30", name: "keys_rotated_or_forged", in: onTickets, run: keysRotatedOrForged},
	{id: "A31", name: "ticket_of_another_version", in: onTickets, run: ticketOfAnotherVersion},
	{id: "A32", name: "store_shared_same_label", in: stateful, run: storeSharedSameLabel},
	{id: "A33", name: "store_shared_lookups", in: stateful, run: storeSharedLookups},
	{id: "A34", name: "store_returns_another_session", in: stateful, run: storeReturnsAnotherSession},
	{id: "A35", name: "store_rewrites_the_context", in: stateful, run: storeRewritesTheContext},
	{id: "A36", name: "store_flips_each_bit", in: stateful, run: storeFlipsEachBit},
	{id: "A37", name: "store_truncates_and_invents", in: stateful, run: storeTruncatesAndInvents},
	{id: "A38", name: "sessions_that_are_none", in: stateful, run: sessionsThatAreNone},
	{id: "A39", name: "store_that_fails", in: stateful, run: storeThatFails},
	{id: "A40", name: "store_rolls_back", in: stateful, run: storeRollsBack},
	{id: "A41", name: "replay", run: replay},
	{id: "A44", name: "flushed_cache_and_Revoke", run: flushedCacheAndRevoke},
	{id: "A45", name: "CA_rotated", run: caRotated},
	{id: "A46", name: "optional_to_required", run: optionalToRequired},
	{id: "A47", name: "depth_CRL_and_rules_changed", run: depthCRLAndRulesChanged},
	{id: "A48", name: "client_certificate_expires", run: clientCertificateExpires, waits: true},
	{id: "A49", name: "chain_of_renewals", run: chainOfRenewals, waits: true},
	{id: "A50", name: "clocks", run: clocks},
	{id: "A51", name: "session_fixation_of_a_client", run: sessionFixationOfAClient},
	{id: "A52", name: "client_of_another_policy", run: clientOfAnotherPolicy},
	{id: "A53", name: "client_context", run: clientContext},
	{id: "A54", name: "hostile_server", run: hostileServer},
	{id: "A55", name: "sessions_of_failed_handshakes", run: sessionsOfFailedHandshakes},
	{id: "A56", name: "renegotiation", in: once, run: renegotiation},
	{id: "A57", name: "PSK_of_another_policy", run: pskOfAnotherPolicy},
	{id: "A59", name: "context_after_the_handshake", run: contextAfterTheHandshake},
	{id: "A60", name: "extended_master_secret", run: extendedMasterSecret},
	{id: "A61", name: "configured_while_in_use", in: once, run: configuredWhileInUse},
	{id: "A62", name: "use_after_Close", run: useAfterClose},
	{id: "A63", name: "machine_used_again", in: once, run: machineUsedAgain},
	{id: "A64", name: "hostile_names_in_the_digest", in: once, run: hostileNamesInTheDigest},
	{id: "A65", name: "errors_of_another_connection", run: errorsOfAnotherConnection},
	{id: "A66", name: "PSK_removed", run: pskRemoved},
	{id: "A67", name: "PSK_and_HelloRetryRequest", in: tls13, run: pskAndHelloRetryRequest},
	{id: "A68", name: "PSK_identity_as_session_id", in: stateful, run: pskIdentityAsSessionID},
	{id: "A69", name: "session_of_any_name", run: sessionOfAnyName},
}

// notOffered is the rows about what this library does not offer; SECURITY.md
// says so.
var notOffered = []string{"A42", "A43", "A58"}

var attackWires = []struct {
	name string
	pair func(testing.TB) (near, far net.Conn)
}{
	{"memory", memoryWire},
	{"tcp", tcpWire},
}

// TestAttacks runs every row, in every mechanism that it is about, over memory
// and over TCP. With -short it is memory alone.
func TestAttacks(t *testing.T) {
	for _, row := range attacks {
		t.Run(row.id+"_"+row.name, func(t *testing.T) {
			t.Parallel()
			row.everywhere(t)
		})
	}
}

// everywhere runs a row in its mechanisms, over memory and over TCP.
func (row attack) everywhere(t *testing.T) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for _, m := range mechanisms {
		for _, w := range attackWires {
			if !row.in.includes(m) || w.name != "memory" && (testing.Short() || row.in == once) {
				continue
			}
			run := func() {
				t.Run(m.name+"/"+w.name, func(t *testing.T) { row.run(newEnv(t, m, w.pair)) })
			}
			if row.waits {
				waiting.Go(run)
			} else {
				run()
			}
		}
	}
}

// TestAttacksAfterRevoke runs A01 to A26 again after a Revoke of the listener's
// Ctx, of the host's and of both.
func TestAttacksAfterRevoke(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it tries every attack once more")
	}
	for _, revoked := range []string{"listener", "host", "both"} {
		t.Run(revoked, func(t *testing.T) {
			for _, row := range attacks {
				if row.id > "A26" || row.in == once {
					continue
				}
				t.Run(row.id+"_"+row.name, func(t *testing.T) {
					t.Parallel()
					row.afterRevoke(t, revoked)
				})
			}
		})
	}
}

// afterRevoke runs a row in its mechanisms, after a Revoke.
func (row attack) afterRevoke(t *testing.T, revoked string) {
	for _, m := range mechanisms {
		if !row.in.includes(m) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			a := newEnv(t, m, memoryWire)
			a.revoke = revoked
			row.run(a)
		})
	}
}

// TestAttacksAreAllThere counts the rows: implemented, or listed in
// docs/ATTACKS.md as about something that is not offered.
func TestAttacksAreAllThere(t *testing.T) {
	text, err := os.ReadFile("../../docs/ATTACKS.md")
	must(t, err)
	seen := make(map[string]bool)
	for _, row := range attacks {
		seen[row.id] = true
	}
	if len(seen) != len(attacks) {
		t.Errorf("%d rows have %d ids", len(attacks), len(seen))
	}
	for _, id := range notOffered {
		if seen[id] {
			t.Errorf("%s is implemented and not offered", id)
		}
		seen[id] = true
	}
	for n := 1; n <= 69; n++ {
		id := fmt.Sprintf("A%02d", n)
		if !seen[id] {
			t.Errorf("%s is neither implemented nor listed", id)
		}
		if !regexp.MustCompile(`(?m)^\| ` + id + ` \|`).Match(text) {
			t.Errorf("docs/ATTACKS.md has no row %s", id)
		}
	}
	if len(seen) != 69 {
		t.Errorf("%d rows, not 69", len(seen))
	}
}

// TestWhatIsNotOffered: early data, sessions that a function gives for an external PSK,
// authentication after the handshake, a servername callback, renegotiation, and a machine for a second
// connection have no way in.
func TestWhatIsNotOffered(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)early|pskfunc|psksession|pskcallback|posthandshake|servernamefunc|servernamecallback|renegotiate|^clear$|^reset$|newsessionticket`)
	for _, v := range []any{&openssl.Ctx{}, &openssl.SSL{}, &openssl.Conn{}, &openssl.Session{}, &openssl.ClientHello{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumMethod() {
			if name := typ.Method(i).Name; forbidden.MatchString(name) {
				t.Errorf("%v.%s", typ, name)
			}
		}
	}
	a := newEnv(t, mechanisms[2], memoryWire)
	o := a.full(a.connect(a.host("a.test"), client{name: "a.test"}))
	for _, f := range tlstest.SessionFields(t, o.session) {
		if f.Class == 2 && f.Tag == 15 {
			t.Error("a session allows early data")
		}
	}
}

func controlSamePolicy(a *env) {
	host := a.host("a.test", requires(fixtures.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
	one, two := a.host("a.test", requires(fixtures.caA), a.sharing()), a.host("a.test", requires(fixtures.caA), a.sharing())
	a.ready(listener, host)
	a.ready(nil, one, two)
	for _, pair := range [][2]*openssl.Ctx{{listener, listener}, {one, two}} {
		o := a.full(a.connect(pair[0], client{name: "a.test", cert: fixtures.cliA}))
		o = a.resumed(a.connect(pair[1], client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		if len(o.server.PeerCertificates) == 0 || o.server.PeerCertificates[0].Subject.CommonName != "client A" {
			a.Fatalf("resumed as %v", o.server.PeerCertificates)
		}
	}
}

func contextChangedBetweenConnections(a *env) {
	was, now := a.host("a.test", within("was"), a.sharing()), a.host("a.test", within("now"), a.sharing())
	a.assertIsolated(endpoint{was, "a.test", nil}, endpoint{now, "a.test", nil}, false)
	if err := was.SetSessionIDContext([]byte("now")); !errors.Is(err, openssl.ErrCtxInUse) {
		a.Fatalf("changed in use: %v", err)
	}
	if got := was.SessionIDContext(); string(got) != "was" {
		a.Fatalf("the context is %q", got)
	}
}

func sharedKeysOpenToRequired(a *env) {
	open, strict := a.host("a.test", a.sharing()), a.host("a.test", requires(fixtures.caB), a.sharing())
	a.ready(nil, open, strict)
	a.assertIsolated(endpoint{open, "a.test", nil}, endpoint{strict, "a.test", fixtures.cliB}, true)

	// By hand one context for both: Hosts does not start.
	hosts := openssl.NewHosts()
	must(a, hosts.Add("a.test", a.host("a.test", within("same"))))
	if err := hosts.Add("b.test", a.host("b.test", requires(fixtures.caB), within("same"))); err == nil {
		a.Fatal("Hosts takes two policies in one context")
	}
}

func sharedKeysDistinctContextsOpenToRequired(a *env) {
	open, strict := a.host("a.test", within("a"), a.sharing()), a.host("b.test", requires(fixtures.caB), within("b"), a.sharing())
	a.assertIsolated(endpoint{open, "a.test", nil}, endpoint{strict, "b.test", fixtures.cliB}, true)
}

func sharedKeysToAnotherCA(a *env) {
	one, two := a.host("a.test", requires(fixtures.caA), a.sharing()), a.host("a.test", requires(fixtures.caB), a.sharing())
	a.ready(nil, one, two)
	a.assertIsolated(endpoint{one, "a.test", fixtures.cliA}, endpoint{two, "a.test", fixtures.cliB}, true)
}

func sharedKeysDistinctContextsToAnotherCA(a *env) {
	one := a.host("a.test", requires(fixtures.caA), within("a"), a.sharing())
	two := a.host("b.test", requires(fixtures.caB), within("b"), a.sharing())
	a.assertIsolated(endpoint{one, "a.test", fixtures.cliA}, endpoint{two, "b.test", fixtures.cliB}, true)
}

func noContextAndCertificatesRequired(a *env) {
	for name, use := range map[string]func(c *openssl.Ctx) error{
		"NewSSL":    func(c *openssl.Ctx) error { _, err := openssl.NewSSL(c); return err },
		"Listen":    func(c *openssl.Ctx) error { _, err := openssl.Listen("tcp", "127.0.0.1:0", c); return err },
		"Hosts.Add": func(c *openssl.Ctx) error { return openssl.NewHosts().Add("a.test", c) },
		"Server":    func(c *openssl.Ctx) error { near, _ := a.wire(a); _, err := openssl.Server(near, c); return err },
	} {
		if err := use(a.server(named("a.test"), requires(fixtures.caA))); !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
			a.Errorf("%s: %v", name, err)
		}
	}
}

func noContextOnTwoHosts(a *env) {
	hosts := openssl.NewHosts()
	must(a, hosts.Add("a.test", a.server(named("a.test"))))
	if err := hosts.Add("b.test", a.server(named("b.test"))); err == nil {
		a.Fatal("Hosts takes two hosts without a context")
	}
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.assertIsolated(endpoint{listener, "a.test", nil}, endpoint{listener, "b.test", nil}, false)
}

// contextPair holds two contexts against each other, both ways.
func contextPair(a *env, one, two string) {
	a.Helper()
	c, d := a.host("a.test", within(one), a.sharing()), a.host("b.test", within(two), a.sharing())
	a.assertIsolated(endpoint{c, "a.test", nil}, endpoint{d, "b.test", nil}, false)
	a.assertIsolated(endpoint{d, "b.test", nil}, endpoint{c, "a.test", nil}, false)
}

func prefixesAndBoundaries(a *env) {
	contextPair(a, "tenant", "tenant1")
	pairs := [][2]openssl.SessionPolicy{
		{{Extra: [][]byte{[]byte("ab"), []byte("c")}}, {Extra: [][]byte{[]byte("a"), []byte("bc")}}},
		{{Extra: [][]byte{[]byte("a")}}, {Extra: [][]byte{[]byte("a"), nil}}},
	}
	for _, p := range pairs {
		one, two := a.host("a.test", withPolicy(p[0]), a.sharing()), a.host("a.test", withPolicy(p[1]), a.sharing())
		a.ready(nil, one, two)
		a.assertIsolated(endpoint{one, "a.test", nil}, endpoint{two, "a.test", nil}, false)
	}
}

func oversize(a *env) {
	long := strings.Repeat("x", 31)
	contextPair(a, long+"1", long+"2")
	c := a.host("a.test", within(long+"1"))
	for _, n := range []int{33, 64, 1 << 20} {
		if err := c.SetSessionIDContext(make([]byte, n)); !errors.Is(err, openssl.ErrSessionIDContextTooLong) {
			a.Fatalf("%d bytes: %v", n, err)
		}
	}
	if got := c.SessionIDContext(); string(got) != long+"1" {
		a.Fatalf("a refused context has left %q", got)
	}
	o := a.full(a.connect(c, client{name: "a.test"}))
	if string(o.server.SessionIDContext) != long+"1" {
		a.Fatalf("the session is of %q", o.server.SessionIDContext)
	}
	a.resumed(a.connect(c, client{name: "a.test", session: o.session}))
}

func routeToAnotherCtx(a *env) {
	one, two := a.host("a.test", requires(fixtures.caA)), a.host("b.test", requires(fixtures.caB))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.assertIsolated(endpoint{listener, "a.test", fixtures.cliA}, endpoint{listener, "b.test", fixtures.cliB}, true)
	a.assertIsolated(endpoint{listener, "b.test", fixtures.cliB}, endpoint{listener, "a.test", fixtures.cliA}, true)
}

func routeByContextAlone(a *env) {
	c := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return nil, hello.SetSessionIDContext([]byte(hello.ServerName))
	}, named("a.test", "b.test"))
	a.ready(c)
	a.assertIsolated(endpoint{c, "a.test", nil}, endpoint{c, "b.test", nil}, false)
}

func routeByCtxAndContext(a *env) {
	one, two := a.host("a.test", requires(fixtures.caA)), a.host("b.test", requires(fixtures.caB))
	listener := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		err := hello.SetSessionIDContext([]byte("of " + hello.ServerName))
		return map[string]*openssl.Ctx{"a.test": one, "b.test": two}[hello.ServerName], err
	})
	a.ready(listener, one, two)
	a.assertIsolated(endpoint{listener, "a.test", fixtures.cliA}, endpoint{listener, "b.test", fixtures.cliB}, true)
}

func samePolicyOtherName(a *env) {
	one, two := a.host("a.test", requires(fixtures.caA)), a.host("b.test", requires(fixtures.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.assertIsolated(endpoint{listener, "a.test", fixtures.cliA}, endpoint{listener, "b.test", fixtures.cliA}, false)
}

func openHostsByContextAndCtx(a *env) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two}, named("a.test"))
	a.ready(listener, one, two)
	a.assertIsolated(endpoint{listener, "a.test", nil}, endpoint{listener, "b.test", nil}, false)
	o := a.full(a.connect(listener, client{name: "a.test"}))
	if got, want := o.server.SessionIDContext, one.SessionIDContext(); !bytes.Equal(got, want) {
		a.Fatalf("the session is of context %x, the host of %x", got, want)
	}
}

func noNameToRequired(a *env) {
	open, strict := a.host("a.test"), a.host("b.test", requires(fixtures.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": open, "b.test": strict})
	a.ready(listener, open, strict)
	a.assertIsolated(endpoint{listener, "", nil}, endpoint{listener, "b.test", fixtures.cliB}, true)
}

func nameToNoName(a *env) {
	open, strict := a.host("a.test"), a.host("b.test", requires(fixtures.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": strict, "a.test": open})
	a.ready(listener, open, strict)
	a.assertIsolated(endpoint{listener, "a.test", nil}, endpoint{listener, "", fixtures.cliB}, true)
}

// hosted is a listener with Hosts.
func (a *env) hosted(hosts *openssl.Hosts) *openssl.Ctx {
	return a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return hosts.Route(context.Background(), hello)
	})
}

func unknownName(a *env) {
	hosts := openssl.NewHosts()
	one := a.host("a.test")
	must(a, hosts.Add("a.test", one))
	listener := a.hosted(hosts)
	a.ready(listener, one)
	first := a.full(a.connect(listener, client{name: "a.test"}))
	for _, name := range []string{"x.test", ""} {
		o := a.refused(a.connect(listener, client{name: name, session: first.session}))
		var alert tls.AlertError
		if !errors.As(o.clientErr, &alert) || alert != 112 {
			a.Fatalf("%q: the client hears %v", name, o.clientErr)
		}
	}
	fallback := a.server(named("x.test", "y.test"), withPolicy(openssl.SessionPolicy{Label: "default"}))
	must(a, hosts.SetDefault(fallback))
	a.ready(nil, fallback)
	a.assertIsolated(endpoint{listener, "x.test", nil}, endpoint{listener, "a.test", nil}, false)
	o := a.full(a.connect(listener, client{name: "x.test"}))
	a.resumed(a.connect(listener, client{name: "y.test", session: o.session}))
	a.full(a.connect(listener, client{name: "a.test", session: o.session}))
}

func spellingsOfAName(a *env) {
	hosts := openssl.NewHosts()
	strict := a.server(named("b.test", "m.w.test", "xn--bcher-kva.test"), withPolicy(openssl.SessionPolicy{Label: "b"}), requires(fixtures.caB))
	open := a.host("open.test")
	for _, pattern := range []string{"B.Test.", "*.w.test", "xn--bcher-kva.test"} {
		must(a, hosts.Add(pattern, strict))
	}
	must(a, hosts.SetDefault(open))
	listener := a.hosted(hosts)
	a.ready(listener, strict, open)
	for _, name := range []string{"b.test", "B.TEST", "m.w.test", "M.W.tEsT", "XN--BCHER-KVA.test"} {
		a.refused(a.connect(listener, client{name: name}))
		o := a.full(a.connect(listener, client{name: name, cert: fixtures.cliB}))
		a.resumed(a.connect(listener, client{name: "b.TEST", cert: fixtures.cliB, session: o.session}))
	}
	// A trailing dot, which this library's own client takes off.
	answer, err := a.say(listener, a.hello("b.test", nil).with(0, sniList("b.test.")).record())
	if _, isAlert := alertOf(answer); isAlert {
		a.Fatalf("b.test. is refused: %v", err)
	}
	if got := hosts.Lookup("B.test.:443"); got != strict {
		a.Fatal("the name of a request is looked up in another way")
	}
}

func malformedNames(a *env) {
	one := a.host("a.test")
	listener := a.listener(map[string]*openssl.Ctx{"": one, "a.test": one})
	a.ready(listener, one)
	first := a.full(a.connect(listener, client{name: "a.test"}))
	const decode, illegal tls.AlertError = 50, 47
	for what, c := range map[string]struct {
		body  []byte
		alert tls.AlertError
	}{
		"NUL":             {sniList("a.test\x00.evil"), illegal},
		"empty":           {sniList(""), illegal},
		"dot":             {sniList("."), illegal},
		"two names":       {sniList("a.test", "b.test"), decode},
		"same name twice": {sniList("a.test", "a.test"), decode},
		"256 bytes":       {sniList(strings.Repeat("a", 256)), illegal},
		"255 bytes":       {sniList(strings.Repeat("a.", 127) + "a"), illegal},
		"label too long":  {sniList(strings.Repeat("a", 64) + ".test"), illegal},
		"no list":         {[]byte{}, decode},
		"empty list":      {[]byte{0, 0}, decode},
		"short list":      {append(sniList("a.test"), 0), decode},
		"long list":       {sniList("a.test")[:8], decode},
		"another type":    {append([]byte{0, 9, 1}, sniList("a.test")[3:]...), illegal},
		"space":           {sniList("a test"), illegal},
		"not ASCII":       {sniList("b\u00fccher.test"), illegal},
	} {
		for _, session := range [][]byte{nil, first.session} {
			answer, err := a.say(listener, a.hello("a.test", session).with(0, c.body).record())
			if alert, ok := alertOf(answer); !ok || alert != c.alert {
				a.Errorf("%s (resuming: %v): answer %x, %v", what, session != nil, answer, err)
			}
			var alert tls.AlertError
			if !errors.As(err, &alert) || alert != c.alert {
				a.Errorf("%s: the error is %v", what, err)
			}
		}
	}
	// The extension twice: libssl's own refusal.
	h := a.hello("a.test", nil)
	h.exts = append([]rawExt{{0, sniList("a.test")}}, h.exts...)
	answer, err := a.say(listener, h.record())
	if _, ok := alertOf(answer); !ok || err == nil {
		a.Errorf("two extensions: answer %x, %v", answer, err)
	}
	a.full(a.connect(listener, client{name: "a.test"}))
}

func helloInCrumbs(a *env) {
	open, strict := a.host("a.test"), a.host("b.test", requires(fixtures.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": open, "b.test": strict})
	a.ready(listener, open, strict)
	for _, records := range []bool{true, false} {
		crumbs := func(w net.Conn) net.Conn { return &splitWire{Conn: w, records: records} }
		a.refused(a.connect(listener, client{name: "b.test", wrap: crumbs}))
		o := a.full(a.connect(listener, client{name: "b.test", cert: fixtures.cliB, wrap: crumbs}))
		a.resumed(a.connect(listener, client{name: "b.test", cert: fixtures.cliB, session: o.session, wrap: crumbs}))
	}
}

func hostOfAnotherPolicy(a *env) {
	hosts := openssl.NewHosts()
	b, c := a.host("b.test", requires(fixtures.caB)), a.host("c.test")
	must(a, hosts.Add("b.test", b))
	must(a, hosts.Add("c.test", c))
	listener := a.hosted(hosts)
	a.ready(listener, b, c)
	look := func(conn *openssl.Conn) {
		for name, want := range map[string]bool{
			"c.test": true, "C.test:443": true, "c.test.": true,
			"b.test": false, "B.TEST:8443": false, "x.test": false, "": false, "c.test\x00": false,
		} {
			if got := hosts.Serves(conn, name); got != want {
				a.Errorf("resumed %v: a request for %q may be answered: %v", conn.ConnectionState().DidResume, name, got)
			}
		}
	}
	o := a.full(a.connect(listener, client{name: "c.test", look: look}))
	a.resumed(a.connect(listener, client{name: "c.test", session: o.session, look: look}))
	if hosts.Serves(nil, "c.test") {
		a.Error("no connection serves")
	}
}

// retrying is a client whose first key share a listener of P-384 does not take.
func (a *env) retrying(cert *identity, retry bool) *openssl.Ctx {
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	tlstest.SetVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(tlstest.Certs(a).PEM))
	if retry {
		must(a, c.SetGroups("P-256:P-384"))
	} else {
		must(a, c.SetGroups("P-384:P-256"))
	}
	if cert != nil {
		must(a, c.UseCertificate(cert.cert, cert.key))
	}
	return c
}

func helloRetryRequest(a *env) {
	asked := 0
	one, two := a.host("a.test"), a.host("b.test", requires(fixtures.caB))
	listener := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		asked++
		return map[string]*openssl.Ctx{"a.test": one, "b.test": two}[hello.ServerName], nil
	}, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) })
	a.ready(listener, one, two)
	connectRetrying := func(v client, retry bool) result {
		asked = 0
		v.client = a.retrying(v.cert, retry)
		o := a.connect(listener, v)
		want := 1
		if retry {
			want = 2
		}
		if asked != want {
			a.Fatalf("the function was asked %d times", asked)
		}
		return o
	}
	for _, retry := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		first := a.full(connectRetrying(client{name: "a.test"}, retry[0]))
		a.resumed(connectRetrying(client{name: "a.test", session: first.session}, retry[1]))
		a.refused(connectRetrying(client{name: "b.test", session: first.session}, retry[1]))
		o := a.full(connectRetrying(client{name: "b.test", cert: fixtures.cliB, session: first.session}, retry[1]))
		a.resumed(connectRetrying(client{name: "b.test", cert: fixtures.cliB, session: o.session}, retry[1]))
	}
}

func secondHelloSaysOtherwise(a *env) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two},
		func(t testing.TB, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) })
	first := a.full(a.connect(listener, client{name: "a.test", client: a.retrying(nil, false)}))
	for what, edit := range map[string]struct{ from, to []byte }{
		"name":     {[]byte("a.test"), []byte("b.test")},
		"version":  {[]byte{0, 43, 0, 3, 2, 3, 4}, []byte{0, 43, 0, 3, 2, 3, 3}},
		"no name ": {append([]byte{0, 0, 0, 11}, sniList("a.test")...), append([]byte{0, 99, 0, 11}, sniList("a.test")...)},
	} {
		for _, session := range [][]byte{nil, first.session} {
			c, err := openssl.NewSSL(a.retrying(nil, true))
			must(a, err)
			must(a, c.SetServerName("a.test"))
			if session != nil {
				sess, err := openssl.ParseSession(session)
				must(a, err)
				must(a, c.SetSession(sess))
				must(a, sess.Close())
			}
			near, far := a.wire(a)
			s, err := openssl.Server(far, listener)
			must(a, err)
			must(a, near.SetDeadline(time.Now().Add(10*time.Second)))
			clientErr, serverErr := tlstest.Both(func() error {
				return editSecondHello(c, near, edit.from, edit.to)
			}, func() error {
				defer s.Close()
				return s.Handshake()
			})
			c.Close()
			if clientErr != nil || serverErr == nil {
				a.Errorf("%s (resuming: %v): client %v, server %v", what, session != nil, clientErr, serverErr)
			}
			if what == "name" && !strings.Contains(fmt.Sprint(serverErr), "selects another Ctx or context") {
				a.Errorf("the server's error is %v", serverErr)
			}
		}
	}
}

// editSecondHello is a client's handshake that replaces from by to in its second
// ClientHello. It returns nil if the server ends the connection.
func editSecondHello(c *openssl.SSL, near net.Conn, from, to []byte) error {
	defer near.Close()
	if _, err := c.Handshake(); err != nil {
		return err
	}
	p := make([]byte, 1<<16)
	near.Write(p[:c.Drain(p)])
	for c.Pending() == 0 { // until the retry has been answered
		n, err := near.Read(p)
		if err != nil {
			return err
		}
		c.Feed(p[:n])
		if _, err := c.Handshake(); err != nil {
			return err
		}
	}
	second := bytes.Clone(p[:c.Drain(p)])
	if bytes.Count(second, from) != 1 {
		return fmt.Errorf("the second hello has no %x", from)
	}
	near.Write(bytes.Replace(second, from, to, 1))
	for {
		n, err := near.Read(p)
		if err != nil {
			return nil
		}
		c.Feed(p[:n])
		if w, err := c.Handshake(); err == nil && w == openssl.WantNothing {
			return errors.New("a handshake with two minds")
		}
	}
}

func privateKeysSameContext(a *env) {
	one, two := a.host("a.test", within("same")), a.host("a.test", within("same"))
	o := a.full(a.connect(one, client{name: "a.test"}))
	a.resumed(a.connect(one, client{name: "a.test", session: o.session}))
	o = a.full(a.connect(one, client{name: "a.test"}))
	a.full(a.connect(two, client{name: "a.test", session: o.session}))
}

func brokenTickets(a *env) {
	host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetNumTickets(1)) })
	o := a.full(a.connect(host, client{name: "a.test"}))
	ticket := tlstest.TicketIn(a, o.session)
	step := 1
	if a.wireIsSlow() {
		step = 16
	}
	offer := func(what string, bad []byte) {
		a.Helper()
		next := a.connect(host, client{name: "a.test", session: tlstest.WithTicket(a, o.session, bad)})
		if next.clientErr != nil || next.serverErr != nil || next.client.DidResume || next.server.DidResume {
			a.Fatalf("%s: resumed %v, client %v, server %v", what, next.server.DidResume, next.clientErr, next.serverErr)
		}
	}
	for i := 0; i < len(ticket); i += step {
		bad := bytes.Clone(ticket)
		bad[i] ^= 1 << (i % 8)
		offer(fmt.Sprintf("byte %d flipped", i), bad)
		if i > 0 {
			offer(fmt.Sprintf("truncated to %d", i), ticket[:i])
		}
	}
	offer("a byte more", append(bytes.Clone(ticket), 0))
	offer("60,000 bytes", make([]byte, 60000))
	a.resumed(a.connect(host, client{name: "a.test", session: o.session}))
	if a.m.version != tls.VersionTLS13 {
		return
	}
	// A thousand identities: answered with a full handshake.
	var ids, binders []byte
	for range 1000 {
		ids = append(ids, 0, 8)
		ids = append(ids, "identity\x00\x00\x00\x00"...)
		binders = append(binders, 32)
		binders = append(binders, make([]byte, 32)...)
	}
	psk := append([]byte{byte(len(ids) >> 8), byte(len(ids))}, ids...)
	psk = append(psk, byte(len(binders)>>8), byte(len(binders)))
	psk = append(psk, binders...)
	answer, err := a.say(host, a.hello("a.test", o.session).with(41, psk).record())
	if len(answer) == 0 || answer[0] != 22 {
		a.Fatalf("a thousand identities: %x, %v", answer, err)
	}
}

// wireIsSlow reports whether to spare it.
func (a *env) wireIsSlow() bool { return testing.Short() || strings.HasSuffix(a.Name(), "/tcp") }

func keysRotatedOrForged(a *env) {
	host := a.host("a.test")
	must(a, host.SetTicketKeys(tlstest.TicketKey(1)))
	o := a.full(a.connect(host, client{name: "a.test"}))
	must(a, host.SetTicketKeys(tlstest.TicketKey(2), tlstest.TicketKey(1)))
	a.resumed(a.connect(host, client{name: "a.test", session: o.session}))
	must(a, host.SetTicketKeys(tlstest.TicketKey(3), tlstest.TicketKey(2)))
	a.full(a.connect(host, client{name: "a.test", session: o.session}))

	// The name of a key that is there, on a ticket of another's.
	ticket := tlstest.TicketIn(a, o.session)
	name := tlstest.TicketKey(3).Name
	a.full(a.connect(host, client{name: "a.test", session: tlstest.WithTicket(a, o.session, append(name[:], ticket[16:]...))}))

	if err := host.SetTicketKeys(openssl.TicketKey{}); err == nil {
		a.Fatal("keys of zeros are taken")
	}
	// Forged with keys of zeros: on a server with keys, and on one that has never used any.
	fresh := a.host("a.test")
	forged := tlstest.WithTicket(a, o.session, tlstest.ForgeTicket(a, openssl.TicketKey{}, tlstest.WithContext(a, o.session, host.SessionIDContext())))
	a.full(a.connect(host, client{name: "a.test", session: forged}))
	a.full(a.connect(fresh, client{name: "a.test", session: forged}))
	// The forger's craft is good: with the server's keys it works.
	real := tlstest.WithTicket(a, o.session, tlstest.ForgeTicket(a, tlstest.TicketKey(3), tlstest.WithContext(a, o.session, host.SessionIDContext())))
	a.resumed(a.connect(host, client{name: "a.test", session: real}))
}

func ticketOfAnotherVersion(a *env) {
	other := uint16(tls.VersionTLS12)
	if a.m.version == other {
		other = tls.VersionTLS13
	}
	was := a.host("a.test", within("same"), a.sharing())
	o := a.full(a.connect(was, client{name: "a.test"}))
	now := a.host("a.test", within("same"), a.sharing(), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetMinVersion(tls.VersionTLS12))
		must(t, c.SetMaxVersion(tls.VersionTLS13))
		setVersionTo(t, c, other)
	})
	ctx := a.both()
	next := a.connect(now, client{name: "a.test", session: o.session, client: ctx})
	if next.clientErr != nil || next.serverErr != nil || next.server.DidResume || next.server.Version != other {
		a.Fatalf("resumed %v in version %x: client %v, server %v", next.server.DidResume, next.server.Version, next.clientErr, next.serverErr)
	}
	a.resumed(a.connect(was, client{name: "a.test", session: o.session, client: ctx}))
}

// both is a client of both versions.
func (a *env) both() *openssl.Ctx {
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	must(a, c.SetVerifyCAs(tlstest.Certs(a).PEM))
	return c
}

func setVersionTo(t testing.TB, c *openssl.Ctx, v uint16) {
	t.Helper()
	if v == tls.VersionTLS13 {
		must(t, c.SetMaxVersion(v))
		must(t, c.SetMinVersion(v))
	} else {
		must(t, c.SetMinVersion(v))
		must(t, c.SetMaxVersion(v))
	}
}

func storeSharedSameLabel(a *env) {
	one, two := a.host("a.test", a.sharing()), a.host("b.test", requires(fixtures.caB), a.sharing())
	a.assertIsolated(endpoint{one, "a.test", nil}, endpoint{two, "b.test", fixtures.cliB}, true)
}

func storeSharedLookups(a *env) {
	one, two := a.host("a.test", within("a"), a.sharing()), a.host("a.test", within("b"), a.sharing())
	o := a.full(a.connect(one, client{name: "a.test"}))
	a.full(a.connect(two, client{name: "a.test", session: o.session}))
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if len(a.store.gets) == 0 {
		a.Fatal("the store was not asked")
	}
	theirs := storeKey([]byte("a"), a.lookup(o.session))
	for _, id := range a.store.gets {
		if bytes.Equal(id, theirs) {
			a.Fatal("one tenant's lookup names another's session")
		}
	}
	// And if the store gives it out all the same, libssl compares.
	blob := a.store.blobs[string(theirs)]
	a.store.get = func(context.Context, []byte) ([]byte, error) { return blob, nil }
	a.store.mu.Unlock()
	a.full(a.connect(two, client{name: "a.test", session: o.session}))
	a.store.mu.Lock()
}

// untrustedStore is sharing over a store that cannot be trusted.
func (a *env) untrustedStore(keys ...[32]byte) setting {
	if len(keys) == 0 {
		keys = [][32]byte{{1}}
	}
	return func(t testing.TB, c *openssl.Ctx) {
		sealed, err := openssl.SealStore(a.store, keys...)
		must(t, err)
		must(t, c.SetNumTickets(1))
		must(t, c.SetSessionStore(sealed))
		must(t, c.SetSessionStoreTimeout(time.Minute)) // a busy machine is no slow store
		a.sharers[c] = true
	}
}

// unopened fails the test if the sealed store opens anything.
func (a *env) unopened(what string) {
	a.Helper()
	sealed, err := openssl.SealStore(a.store, [32]byte{1})
	must(a, err)
	for id := range a.store.copy() {
		if got, err := sealed.Get(context.Background(), []byte(id)); !errors.Is(err, openssl.ErrSessionNotFound) {
			a.Fatalf("%s: opened %d bytes, %v", what, len(got), err)
		}
	}
}

// storeRefused is what the Ctx has counted.
func storeRefused(c *openssl.Ctx) int64 { return c.Stats().Store.Refused }

func storeReturnsAnotherSession(a *env) {
	host := a.host("a.test", requires(fixtures.caA), a.untrustedStore())
	victim := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	blob := a.store.copy()[string(storeKey(host.SessionIDContext(), a.lookup(victim.session)))]
	other := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	a.resumed(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: other.session}))

	a.store.mu.Lock()
	a.store.blobs = map[string][]byte{string(storeKey(host.SessionIDContext(), a.lookup(other.session))): blob}
	a.store.mu.Unlock()
	a.unopened("another session's blob")
	before := storeRefused(host)
	a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: other.session}))
	if storeRefused(host) != before+1 {
		a.Error("the refused blob was not counted")
	}
}

func storeRewritesTheContext(a *env) {
	one := a.host("a.test", requires(fixtures.caA), within("A"), a.untrustedStore())
	two := a.host("a.test", requires(fixtures.caB), within("B"), a.untrustedStore())
	o := a.full(a.connect(one, client{name: "a.test", cert: fixtures.cliA}))
	a.resumed(a.connect(one, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
	id := a.lookup(o.session)
	blob := a.store.copy()[string(storeKey([]byte("A"), id))]

	// Moved to where B looks for it.
	a.store.mu.Lock()
	a.store.blobs = map[string][]byte{string(storeKey([]byte("B"), id)): blob}
	a.store.mu.Unlock()
	a.unopened("a blob under another context's id")
	a.refused(a.connect(two, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
	a.full(a.connect(two, client{name: "a.test", cert: fixtures.cliB, session: o.session}))

	// Rewritten: the context is one byte of it, wherever that is.
	step := 1
	if a.wireIsSlow() {
		step = 7
	}
	for i := 0; i < len(blob); i += step {
		bad := bytes.Clone(blob)
		bad[i] ^= 'A' ^ 'B'
		a.store.mu.Lock()
		a.store.blobs = map[string][]byte{string(storeKey([]byte("B"), id)): bad}
		a.store.mu.Unlock()
		a.unopened("rewritten")
	}
}

func storeFlipsEachBit(a *env) {
	host := a.host("a.test", requires(fixtures.caA), a.untrustedStore())
	o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	id := string(storeKey(host.SessionIDContext(), a.lookup(o.session)))
	blob := a.store.copy()[id]
	for bit := range 8 * len(blob) {
		bad := bytes.Clone(blob)
		bad[bit/8] ^= 1 << (bit % 8)
		a.store.mu.Lock()
		a.store.blobs = map[string][]byte{id: bad}
		a.store.mu.Unlock()
		a.unopened(fmt.Sprintf("bit %d flipped", bit))
		if bit%211 == 0 {
			a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		}
	}
	a.store.mu.Lock()
	a.store.blobs = map[string][]byte{id: blob}
	a.store.mu.Unlock()
	a.resumed(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
}

func storeTruncatesAndInvents(a *env) {
	host := a.host("a.test", requires(fixtures.caA), a.untrustedStore())
	o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	id := string(storeKey(host.SessionIDContext(), a.lookup(o.session)))
	blob := a.store.copy()[id]
	random := make([]byte, 1<<20)
	rand.Read(random)
	otherVersion := bytes.Clone(blob)
	otherVersion[0]++
	bad := [][]byte{{}, random, random[:len(blob)], append(bytes.Clone(blob), 0), otherVersion}
	for n := range blob {
		bad = append(bad, blob[:n])
	}
	for i, b := range bad {
		a.store.mu.Lock()
		a.store.blobs = map[string][]byte{id: b}
		a.store.mu.Unlock()
		a.unopened(fmt.Sprintf("%d bytes", len(b)))
		if i < 5 || i%53 == 0 {
			a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		}
	}
	a.resumed(a.connect(host, client{name: "a.test", cert: fixtures.cliA,
		session: a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA})).session}))
}

func sessionsThatAreNone(a *env) {
	host := a.host("a.test", a.sharing())
	o := a.full(a.connect(host, client{name: "a.test"}))
	der := a.store.copy()[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))]
	long := tlstest.Octets(a, make([]byte, 33))
	bad := map[string][]byte{
		"a context of 33 bytes":      tlstest.EditSession(a, der, tlstest.FieldContext, long),
		"a length beyond the end":    append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, der[4:]...),
		"a length that is negative":  append([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, der[4:]...),
		"a string beyond the end":    tlstest.EditSession(a, der, tlstest.FieldContext, []byte{0x04, 0x84, 0x7f, 0xff, 0xff, 0xff, 1}),
		"something behind the end":   append(bytes.Clone(der), 0),
		"an integer for the context": tlstest.EditSession(a, der, tlstest.FieldContext, tlstest.Integer(a, 5)),
		"nothing":                    {},
	}
	for what, b := range bad {
		if sess, err := openssl.ParseSession(b); err == nil {
			sess.Close()
			a.Errorf("%s: parsed", what)
		}
		a.store.mu.Lock()
		a.store.get = func(context.Context, []byte) ([]byte, error) { return b, nil }
		a.store.mu.Unlock()
		a.full(a.connect(host, client{name: "a.test", session: o.session}))
	}
}

func storeThatFails(a *env) {
	forever := make(chan struct{})
	a.Cleanup(func() { close(forever) })
	bad := map[string]func(ctx context.Context, id []byte) ([]byte, error){
		"an error":         func(context.Context, []byte) ([]byte, error) { return nil, errors.New("store: down") },
		"nil":              func(context.Context, []byte) ([]byte, error) { return nil, nil },
		"until the end":    func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() },
		"a deadline's end": func(context.Context, []byte) ([]byte, error) { return nil, os.ErrDeadlineExceeded },
		"a panic":          func(context.Context, []byte) ([]byte, error) { panic("store") },
		"not at all":       func(context.Context, []byte) ([]byte, error) { <-forever; return nil, nil },
	}
	good := a.host("a.test", a.sharing())
	o := a.full(a.connect(good, client{name: "a.test"}))
	for what, get := range bad {
		// A store that failed is left alone for a while, and may not be sent new sessions.
		host := a.host("a.test", a.sharing(), func(t testing.TB, c *openssl.Ctx) {
			if a.m.stateful {
				must(t, c.SetSessionStoreTimeout(250*time.Millisecond))
			}
		})
		delete(a.sharers, host)
		a.store.mu.Lock()
		a.store.get = get
		a.store.mu.Unlock()
		next := a.connect(host, client{name: "a.test", session: o.session})
		if next.clientErr != nil || next.serverErr != nil || next.server.DidResume {
			a.Errorf("%s: resumed %v, client %v, server %v", what, next.server.DidResume, next.clientErr, next.serverErr)
		}
	}
	a.store.mu.Lock()
	a.store.get = nil
	a.store.mu.Unlock()
	a.resumed(a.connect(good, client{name: "a.test", session: o.session}))
}

func storeRollsBack(a *env) {
	host := a.host("a.test", a.untrustedStore())
	o := a.full(a.connect(host, client{name: "a.test"}))
	old := a.store.copy()
	a.store.mu.Lock()
	a.store.blobs = make(map[string][]byte)
	a.store.mu.Unlock()
	a.full(a.connect(host, client{name: "a.test", session: o.session}))
	_, err := host.Revoke()
	must(a, err)
	// Whatever the store keeps or brings back is of a generation that is gone.
	a.store.mu.Lock()
	a.store.blobs = old
	for id, blob := range old {
		_ = id
		a.store.blobs[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))] = blob
	}
	a.store.mu.Unlock()
	a.full(a.connect(host, client{name: "a.test", session: o.session}))
}

func replay(a *env) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	o := a.full(a.connect(listener, client{name: "a.test"}))
	for range 5 {
		a.resumed(a.connect(listener, client{name: "a.test", session: o.session})) // not promised otherwise, see SECURITY.md
		a.full(a.connect(listener, client{name: "b.test", session: o.session}))
	}
}

func flushedCacheAndRevoke(a *env) {
	host := a.host("a.test", requires(fixtures.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
	o := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
	must(a, listener.FlushSessions(time.Now().Add(240*time.Hour)))
	next := a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session})
	if next.server.DidResume == a.m.stateful { // a ticket outlives a cache
		a.Fatalf("after a flush resumed: %v", next.server.DidResume)
	}
	o = a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
	generation, err := host.Revoke()
	must(a, err)
	if generation != 1 {
		a.Fatalf("generation %d", generation)
	}
	for range 3 {
		a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
	}
	o = a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
	a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
}

// trusting requires certificates of a CA and does not send its name.
func trusting(ca *tlstest.Authority) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetVerifyCAs(ca.PEM))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	}
}

func caRotated(a *env) {
	was, now := a.host("a.test", trusting(fixtures.caA), a.sharing()), a.host("a.test", trusting(fixtures.caB), a.sharing())
	a.assertIsolated(endpoint{was, "a.test", fixtures.cliA}, endpoint{now, "a.test", fixtures.cliB}, true)
}

func optionalToRequired(a *env) {
	optional, required := a.host("a.test", asks(fixtures.caA), a.sharing()), a.host("a.test", requires(fixtures.caA), a.sharing())
	a.assertIsolated(endpoint{optional, "a.test", nil}, endpoint{required, "a.test", fixtures.cliA}, true)
}

func depthCRLAndRulesChanged(a *env) {
	was := a.host("a.test", requires(fixtures.caA), a.sharing())
	leaf := tlstest.ParseCert(a, fixtures.cliA.cert)
	for what, change := range map[string]setting{
		"depth": func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyDepth(3)) },
		"CRL": func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetCRLs(tlstest.RevocationList(t, fixtures.caA, 1)))
		},
		"rules": withPolicy(openssl.SessionPolicy{Label: "app", Extra: [][]byte{[]byte("rules 2")}}),
	} {
		now := a.host("a.test", requires(fixtures.caA), change, a.sharing())
		o := a.full(a.connect(was, client{name: "a.test", cert: fixtures.cliA}))
		next := a.full(a.connect(now, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		if what == "CRL" {
			continue
		}
		a.resumed(a.connect(now, client{name: "a.test", cert: fixtures.cliA, session: next.session}))
	}
	revoked := a.host("a.test", requires(fixtures.caA), a.sharing(), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetCRLs(tlstest.RevocationList(t, fixtures.caA, 2, leaf.SerialNumber)))
	})
	o := a.full(a.connect(was, client{name: "a.test", cert: fixtures.cliA}))
	a.refused(a.connect(revoked, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
}

func clientCertificateExpires(a *env) {
	host := a.host("a.test", requires(fixtures.caA), a.sharing())
	ends := time.Now().Truncate(time.Second).Add(4 * time.Second)
	short := member(a, fixtures.caA, "short-lived", func(c *x509.Certificate) { c.NotAfter = ends })
	o := a.full(a.connect(host, client{name: "a.test", cert: short}))
	next := a.resumed(a.connect(host, client{name: "a.test", cert: short, session: o.session}))
	if next.session != nil {
		o.session = next.session
	}
	if a.m.version == tls.VersionTLS13 { // an honest client would not offer it any more
		o.session = tlstest.EditSession(a, o.session, tlstest.FieldLifetime, tlstest.Integer(a, 7200))
	}
	// Its last second counts in 4.0, and C's clock is read without its last milliseconds.
	a.until(10*time.Second, "the certificate's end", func() bool { return time.Now().After(ends.Add(1100 * time.Millisecond)) })
	a.refused(a.connect(host, client{name: "a.test", cert: short, session: o.session}))
	a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
}

func chainOfRenewals(a *env) {
	const most = 2 * time.Second
	host := a.host("a.test", requires(fixtures.caA), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(most)) })
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host}) // its own lifetime is two hours
	began := time.Now()
	o := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA}))
	authenticated := time.Now() // or before
	session, resumed := o.session, 0
	a.until(10*time.Second, "the chain's end", func() bool {
		age := time.Since(authenticated) // at the visit's beginning: what it takes itself is not counted
		next := a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: session})
		if next.clientErr != nil || next.serverErr != nil {
			a.Fatalf("%v: client %v, server %v", age, next.clientErr, next.serverErr)
		}
		if !next.server.DidResume {
			return true
		}
		if resumed++; age > most+time.Second {
			a.Fatalf("resumed %v after the first authentication", age)
		}
		session = next.session
		return false
	})
	if resumed == 0 && time.Since(began) < time.Second {
		a.Fatal("never resumed")
	}
}

func clocks(a *env) {
	host := a.host("a.test", requires(fixtures.caA), a.sharing())
	o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	if !a.m.stateful {
		// Sealed by a machine whose clock is wrong.
		for _, at := range []int64{time.Now().Add(time.Hour).Unix(), 0, 1 << 40} {
			bad := tlstest.EditSession(a, o.session, tlstest.FieldTime, tlstest.Integer(a, at))
			bad = tlstest.WithTicket(a, o.session, tlstest.ForgeTicket(a, a.key, tlstest.WithContext(a, bad, host.SessionIDContext())))
			a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: bad}))
		}
		for _, timeout := range []int64{0, -1, 1 << 31} {
			bad := tlstest.EditSession(a, o.session, tlstest.FieldTimeout, tlstest.Integer(a, timeout))
			sess, err := openssl.ParseSession(bad)
			if err != nil {
				continue // this version does not read it
			}
			must(a, sess.Close())
			bad = tlstest.WithTicket(a, o.session, tlstest.ForgeTicket(a, a.key, tlstest.WithContext(a, bad, host.SessionIDContext())))
			a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: bad}))
		}
		return
	}
	der := a.store.copy()[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))]
	for what, bad := range map[string][]byte{
		"the future":   tlstest.EditSession(a, der, tlstest.FieldTime, tlstest.Integer(a, time.Now().Add(time.Hour).Unix())),
		"a far future": tlstest.EditSession(a, der, tlstest.FieldTime, tlstest.Integer(a, 1<<40)),
		"1970":         tlstest.EditSession(a, der, tlstest.FieldTime, tlstest.Integer(a, 1)),
		// libssl takes 0 for three seconds
		"a timeout of 0":     tlstest.EditSession(a, tlstest.EditSession(a, der, tlstest.FieldTimeout, tlstest.Integer(a, 0)), tlstest.FieldTime, tlstest.Integer(a, time.Now().Unix()-10)),
		"a negative timeout": tlstest.EditSession(a, der, tlstest.FieldTimeout, tlstest.Integer(a, -1)),
	} {
		a.store.mu.Lock()
		a.store.get = func(context.Context, []byte) ([]byte, error) { return bad, nil }
		a.store.mu.Unlock()
		next := a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session})
		if next.clientErr != nil || next.serverErr != nil || next.server.DidResume {
			a.Errorf("%s: resumed %v, client %v, server %v", what, next.server.DidResume, next.clientErr, next.serverErr)
		}
	}
}

// caching is a client with a cache.
func (a *env) caching(cache openssl.ClientSessionCache, settings ...setting) *openssl.Ctx {
	a.Helper()
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	tlstest.SetVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(tlstest.Certs(a).PEM))
	must(a, c.SetClientSessionCache(cache))
	for _, s := range settings {
		s(a, c)
	}
	return c
}

// sessionCache is a ClientSessionCache that closes what is left in it.
func (a *env) sessionCache() *sessionCache {
	j := &sessionCache{ClientSessionCache: openssl.NewLRUClientSessionCache(8), keys: make(map[string]bool)}
	a.Cleanup(func() {
		for key := range j.keys {
			j.Put(key, nil)
		}
	})
	return j
}

type sessionCache struct {
	openssl.ClientSessionCache
	mu   sync.Mutex
	keys map[string]bool
	puts int
}

func (j *sessionCache) Put(key string, s *openssl.Session) {
	j.mu.Lock()
	j.keys[key] = true
	j.puts++
	j.mu.Unlock()
	j.ClientSessionCache.Put(key, s)
}

// notOffered fails the test if a client has offered a session.
func (a *env) notOffered(o result) {
	a.Helper()
	if o.server.DidResume || o.client.DidResume || o.server.Resumption != openssl.ResumptionNotOffered {
		a.Fatalf("%v has offered a session: %v", o, o.server.Resumption)
	}
}

func sessionFixationOfAClient(a *env) {
	// A hostile server for a.test knows its own session's secret. The same
	// wire's end is called b.test next.
	host := a.host("a.test")
	ctx := a.caching(a.sessionCache())
	a.full(a.connect(host, client{name: "a.test", client: ctx, wrap: sameEndpoint}))
	o := a.connect(host, client{name: "b.test", client: ctx, wrap: sameEndpoint})
	var failed *openssl.VerifyError
	if !errors.As(o.clientErr, &failed) || o.client.DidResume {
		a.Fatalf("b.test was taken for a.test: resumed %v, %v", o.client.DidResume, o.clientErr)
	}
	a.resumed(a.connect(host, client{name: "a.test", client: ctx, wrap: sameEndpoint}))
}

func clientOfAnotherPolicy(a *env) {
	host := a.server(named("a.test"), withPolicy(openssl.SessionPolicy{Label: "app"}), asks(fixtures.caA),
		func(t testing.TB, c *openssl.Ctx) { must(t, c.SetALPN("h2", "http/1.1")) })
	cache := a.sessionCache()
	plain := a.caching(cache)
	a.full(a.connect(host, client{name: "a.test", client: plain, wrap: sameEndpoint}))
	extra := tlstest.NewAuthority(a, "another root", nil)
	for what, s := range map[string]setting{
		"other roots": func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(append(bytes.Clone(tlstest.Certs(t).PEM), extra.PEM...)))
		},
		"a certificate":    func(t testing.TB, c *openssl.Ctx) { must(t, c.UseCertificate(fixtures.cliA.cert, fixtures.cliA.key)) },
		"no verification":  func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyNone)) },
		"ALPN":             func(t testing.TB, c *openssl.Ctx) { must(t, c.SetALPN("h2")) },
		"another depth":    func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyDepth(5)) },
		"another security": func(t testing.TB, c *openssl.Ctx) { must(t, c.Conf("SignatureAlgorithms", "ECDSA+SHA256:RSA+SHA256")) },
	} {
		o := a.connect(host, client{name: "a.test", client: a.caching(cache, s), cert: fixtures.cliA, wrap: sameEndpoint})
		if o.clientErr != nil || o.serverErr != nil {
			a.Fatalf("%s: client %v, server %v", what, o.clientErr, o.serverErr)
		}
		a.notOffered(o)
	}
	a.resumed(a.connect(host, client{name: "a.test", client: plain, wrap: sameEndpoint}))
	// Another port of the same host.
	other := func(w net.Conn) net.Conn { return endpointWire{w, "192.0.2.1:444"} }
	a.notOffered(a.connect(host, client{name: "a.test", client: plain, wrap: other}))
}

// sessionOfAnyName has a client that verifies no name meet a server under a name that is not
// its own: a client that verifies names must not be offered that session.
func sessionOfAnyName(a *env) {
	host := a.host("a.test")
	cache := a.sessionCache()
	anyName := a.caching(cache, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName)) })
	a.full(a.connect(host, client{name: "other.test", client: anyName, wrap: sameEndpoint}))
	a.resumed(a.connect(host, client{name: "other.test", client: anyName, wrap: sameEndpoint}))
	var verify *openssl.VerifyError
	for range 2 {
		o := a.connect(host, client{name: "other.test", client: a.caching(cache), wrap: sameEndpoint})
		if o.server.DidResume || !errors.As(o.clientErr, &verify) {
			a.Errorf("resumed %v, want a certificate for another name: client %v", o.server.DidResume, o.clientErr)
		}
	}
	a.full(a.connect(host, client{name: "a.test", client: a.caching(cache), wrap: sameEndpoint}))
}

func clientContext(a *env) {
	host := a.host("a.test")
	o := a.full(a.connect(host, client{name: "a.test"}))
	sess, err := openssl.ParseSession(o.session)
	must(a, err)
	defer sess.Close()
	if len(sess.IDContext()) != 0 {
		a.Fatalf("a client's session has the context %q", sess.IDContext())
	}
	must(a, sess.SetIDContext([]byte("other")))
	c, err := openssl.NewSSL(a.client(nil, true))
	must(a, err)
	defer c.Close()
	must(a, c.SetServerName("a.test"))
	if err := c.SetSession(sess); !errors.Is(err, openssl.ErrSessionContextMismatch) {
		a.Fatalf("SetSession: %v", err)
	}
	if c.Pending() != 0 {
		a.Fatal("something was said")
	}
}

func hostileServer(a *env) {
	host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetNumTickets(255)) })
	cache := a.sessionCache()
	ctx := a.caching(cache)
	before := libssl.LiveHandles()
	for range 4 {
		a.connect(host, client{name: "a.test", client: ctx})
	}
	if more := libssl.LiveHandles() - before; testing.Short() && more > 1000 {
		a.Errorf("%d more objects", more) // others run at the same time
	}
	small := openssl.NewLRUClientSessionCache(2)
	o := a.full(a.connect(host, client{name: "a.test"}))
	parse := func(der []byte) *openssl.Session {
		sess, err := openssl.ParseSession(der)
		must(a, err)
		return sess
	}
	for i := range 10000 / 50 {
		small.Put(fmt.Sprint("key ", i), parse(o.session))
	}
	kept := 0
	for i := range 10000 / 50 {
		if sess, ok := small.Get(fmt.Sprint("key ", i)); ok {
			sess.Close()
			kept++
		}
		small.Put(fmt.Sprint("key ", i), nil)
	}
	if kept != 2 {
		a.Errorf("a cache for 2 keeps %d", kept)
	}
	// A promise of 136 years ends after seven days.
	old := tlstest.EditSession(a, o.session, tlstest.FieldTimeout, tlstest.Integer(a, 1<<31-1))
	old = tlstest.EditSession(a, old, tlstest.FieldTime, tlstest.Integer(a, time.Now().Add(-8*24*time.Hour).Unix()))
	small.Put("old", parse(old))
	if sess, ok := small.Get("old"); ok {
		sess.Close()
		a.Error("a session of eight days ago is offered")
	}
}

func sessionsOfFailedHandshakes(a *env) {
	kept := func(what string, c *openssl.Ctx) {
		a.Helper()
		if n := c.Stats().Number; n != 0 {
			a.Errorf("%s: %d sessions are kept", what, n)
		}
	}
	strict := a.host("a.test", requires(fixtures.caB))
	a.refused(a.connect(strict, client{name: "a.test", cert: fixtures.cliA}))
	a.refused(a.connect(strict, client{name: "a.test"}))
	kept("a refused certificate", strict)

	no := errors.New("not you")
	// One ticket: what else TLS 1.3 has made stays until it expires. No client
	// knows its id.
	deciding := a.host("a.test", requires(fixtures.caA), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetNumTickets(1))
		must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { return no }))
	})
	o := a.refused(a.connect(deciding, client{name: "a.test", cert: fixtures.cliA}))
	if !errors.Is(o.serverErr, no) {
		a.Errorf("the error is %v", o.serverErr)
	}
	kept("a refusing VerifyConnection", deciding)

	aborted := a.host("a.test", requires(fixtures.caA))
	hello := a.hello("a.test", nil).record()
	if _, err := a.say(aborted, hello); err == nil {
		a.Error("half a handshake succeeded")
	}
	kept("an aborted handshake", aborted)

	// A client keeps nothing of a server that it does not believe.
	cache := a.sessionCache()
	o = a.connect(a.host("b.test"), client{name: "a.test", client: a.caching(cache)})
	if o.clientErr == nil || cache.puts != 0 && cache.keys == nil {
		a.Errorf("the wrong server: %v, %d sessions", o.clientErr, cache.puts)
	}
	for key := range cache.keys {
		if sess, ok := cache.Get(key); ok {
			sess.Close()
			a.Error("a session of the wrong server is kept")
		}
	}
}

func renegotiation(a *env) {
	c := a.host("a.test")
	if c.Options()&openssl.OptionNoRenegotiation == 0 {
		a.Error("renegotiation is possible")
	}
	if err := c.ClearOptions(openssl.OptionNoRenegotiation); err == nil {
		a.Error("renegotiation can be allowed")
	}
	if err := c.Conf("Options", "ClientRenegotiation"); err == nil {
		c.SetOptions(0)
	}
	listener := a.listener(map[string]*openssl.Ctx{"a.test": a.host("a.test")})
	a.connect(listener, client{name: "a.test", look: func(s *openssl.Conn) {
		if s.Ctx().Options()&openssl.OptionNoRenegotiation == 0 {
			a.Error("renegotiation is possible after a switch")
		}
	}})
}

func contextAfterTheHandshake(a *env) {
	host := a.host("a.test", within("mine"))
	o := a.full(a.connect(host, client{name: "a.test", look: func(s *openssl.Conn) {
		if err := s.SetSessionIDContext([]byte("other")); !errors.Is(err, openssl.ErrTooLate) {
			a.Errorf("after the handshake: %v", err)
		}
	}}))
	if string(o.server.SessionIDContext) != "mine" {
		a.Errorf("the context is %q", o.server.SessionIDContext)
	}
	a.resumed(a.connect(host, client{name: "a.test", session: o.session}))
}

func extendedMasterSecret(a *env) {
	if openssl.OptionNoExtendedMasterSecret == 0 {
		a.Skip("this libssl cannot leave the extended master secret out")
	}
	host := a.host("a.test", within("mine"))
	without := a.caching(nil, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetOptions(openssl.OptionNoExtendedMasterSecret)) })
	secure := a.full(a.connect(host, client{name: "a.test"}))
	plain := a.full(a.connect(host, client{name: "a.test", client: without}))
	down := a.connect(host, client{name: "a.test", client: without, session: secure.session})
	up := a.connect(host, client{name: "a.test", session: plain.session})
	if a.m.version == tls.VersionTLS13 { // which always has what it adds
		a.resumed(down)
		a.resumed(up)
		return
	}
	a.refused(down) // RFC 7627: abort
	a.full(up)
}

// setters is every setter of a Ctx, ready to be called.
func setters(t testing.TB, c *openssl.Ctx) map[string]func() error {
	id := serverIdentity(t, "a.test")
	calls := make(map[string]func() error)
	dir := t.TempDir()
	certFile, keyFile := dir+"/cert", dir+"/key"
	must(t, os.WriteFile(certFile, id.cert, 0o600))
	must(t, os.WriteFile(keyFile, id.key, 0o600))
	special := map[string]func() error{
		"UseCertificate":         func() error { return c.UseCertificate(id.cert, id.key) },
		"UseCertificateFiles":    func() error { return c.UseCertificateFiles(certFile, keyFile) },
		"SetVerifyCAs":           func() error { return c.SetVerifyCAs(fixtures.caA.PEM) },
		"SetClientCAs":           func() error { return c.SetClientCAs(fixtures.caA.PEM) },
		"LoadVerifyLocations":    func() error { return c.LoadVerifyLocations(certFile, "") },
		"SetCRLs":                func() error { return c.SetCRLs(tlstest.RevocationList(t, fixtures.caA, 1)) },
		"SetMinVersion":          func() error { return c.SetMinVersion(tls.VersionTLS12) },
		"SetMaxVersion":          func() error { return c.SetMaxVersion(tls.VersionTLS13) },
		"SetCipherList":          func() error { return c.SetCipherList("HIGH") },
		"SetCipherSuites":        func() error { return c.SetCipherSuites("TLS_AES_128_GCM_SHA256") },
		"SetGroups":              func() error { return c.SetGroups("P-256") },
		"SetALPN":                func() error { return c.SetALPN("h2") },
		"Conf":                   func() error { return c.Conf("SignatureAlgorithms", "ECDSA+SHA256") },
		"SetMaxCertList":         func() error { return c.SetMaxCertList(100000) },
		"SetSessionTimeout":      func() error { return c.SetSessionTimeout(time.Minute) },
		"SetMaxAuthAge":          func() error { return c.SetMaxAuthAge(time.Minute) },
		"SetSessionStoreTimeout": nil, // of a store that is not there
	}
	v := reflect.ValueOf(c)
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if !regexp.MustCompile(`^(Set|Use|Load|Clear|Conf|Derive|Add|Raw)`).MatchString(m.Name) {
			continue
		}
		if call, ok := special[m.Name]; ok {
			if call != nil {
				calls[m.Name] = call
			}
			continue
		}
		calls[m.Name] = func() error {
			f := v.MethodByName(m.Name)
			var in []reflect.Value
			for i := range f.Type().NumIn() {
				in = append(in, reflect.Zero(f.Type().In(i)))
			}
			var out []reflect.Value
			if f.Type().IsVariadic() {
				out = f.CallSlice(in)
			} else {
				out = f.Call(in)
			}
			err, _ := out[len(out)-1].Interface().(error)
			return err
		}
	}
	return calls
}

func configuredWhileInUse(a *env) {
	host := a.host("a.test", within("one"), requires(fixtures.caA))
	a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	calls := setters(a, host)
	if len(calls) < 25 {
		a.Fatalf("only %d setters", len(calls))
	}
	rotation := regexp.MustCompile(`TicketKeys$|OCSPResponse$`) // those that are meant for a Ctx in use
	for name, call := range calls {
		if err := call(); !errors.Is(err, openssl.ErrCtxInUse) && !rotation.MatchString(name) {
			a.Errorf("%s on a Ctx in use: %v", name, err)
		}
	}
	// A writer at work while others accept: no session of a torn context.
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				host.SetSessionIDContext(bytes.Repeat([]byte{byte(i)}, 32))
			}
		}
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				c, err := openssl.NewSSL(host)
				if err != nil {
					a.Errorf("NewSSL: %v", err)
					return
				}
				if got := c.SessionIDContext(); string(got) != "one" {
					a.Errorf("the context is %x", got)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	<-done
	o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	if string(o.server.SessionIDContext) != "one" {
		a.Errorf("the context is %x", o.server.SessionIDContext)
	}
}

func useAfterClose(a *env) {
	host, err := openssl.NewServerCtx()
	must(a, err)
	named("a.test")(a, host)
	within("mine")(a, host)
	tlstest.SetVersion(a, host, a.m.version)
	if a.m.stateful {
		must(a, host.SetOptions(openssl.OptionNoTicket))
	}
	c, err := openssl.NewSSL(a.client(nil, true))
	must(a, err)
	s, err := openssl.NewSSL(host)
	must(a, err)
	must(a, c.SetServerName("a.test"))
	must(a, host.Close()) // its machines go on
	tlstest.MustShake(a, c, s)
	sess, err := c.Session()
	must(a, err)
	tlstest.Goodbye(a, c, s)
	must(a, host.Close())
	must(a, s.Close())
	if _, err := s.Handshake(); !errors.Is(err, net.ErrClosed) {
		a.Errorf("a closed machine: %v", err)
	}
	if err := host.SetSessionIDContext(nil); !errors.Is(err, net.ErrClosed) {
		a.Errorf("a closed Ctx: %v", err)
	}
	if sess.ID() == nil {
		a.Error("the session went with its connection")
	}
	must(a, sess.Close())
	must(a, sess.Close())
	if _, err := sess.MarshalBinary(); !errors.Is(err, net.ErrClosed) {
		a.Errorf("a closed session: %v", err)
	}
}

func machineUsedAgain(a *env) {
	host := a.host("a.test", within("mine"))
	c, err := openssl.NewSSL(a.client(nil, true))
	must(a, err)
	s, err := openssl.NewSSL(host)
	must(a, err)
	must(a, c.SetServerName("a.test"))
	tlstest.MustShake(a, c, s)
	if err := s.SetCtx(a.host("b.test")); !errors.Is(err, openssl.ErrTooLate) {
		a.Errorf("a machine changes its tenant: %v", err)
	}
	tlstest.Goodbye(a, c, s)
	if _, err := s.Handshake(); err == nil {
		a.Error("a machine begins anew")
	}
	// That nothing clears one is TestWhatIsNotOffered's.
}

func hostileNamesInTheDigest(a *env) {
	many := make([][]byte, 100000)
	for i := range many {
		many[i] = []byte(fmt.Sprint("name ", i))
	}
	seen := make(map[string]string)
	for what, p := range map[string]openssl.SessionPolicy{
		"many":          {Label: "app", Extra: many},
		"one fewer":     {Label: "app", Extra: many[1:]},
		"a separator":   {Label: "app", Extra: [][]byte{[]byte("a,b")}},
		"two":           {Label: "app", Extra: [][]byte{[]byte("a"), []byte("b")}},
		"a NUL":         {Label: "app", Extra: [][]byte{[]byte("a\x00b")}},
		"in the label":  {Label: "app\x00a", Extra: [][]byte{[]byte("b")}},
		"a length":      {Label: "app", Extra: [][]byte{[]byte("a\x00\x00\x00\x00\x00\x00\x00\x01b")}},
		"a megabyte":    {Label: strings.Repeat("x", 1<<20)},
		"nothing":       {},
		"an empty part": {Extra: [][]byte{nil}},
	} {
		c := a.host("a.test", withPolicy(p))
		sidCtx := string(c.SessionIDContext())
		if len(sidCtx) != 32 {
			a.Errorf("%s: %d bytes", what, len(sidCtx))
		}
		if other := seen[sidCtx]; other != "" {
			a.Errorf("%s and %s share a context", what, other)
		}
		seen[sidCtx] = what
	}
}

func errorsOfAnotherConnection(a *env) {
	strict, open := a.host("a.test", requires(fixtures.caB)), a.host("b.test")
	for range 5 {
		a.refused(a.connect(strict, client{name: "a.test", cert: fixtures.cliA}))
		o := a.full(a.connect(open, client{name: "b.test"}))
		a.resumed(a.connect(open, client{name: "b.test", session: o.session}))
		// Its own error, and nothing else.
		o = a.connect(open, client{name: "a.test"})
		var failed *openssl.VerifyError
		if !errors.As(o.clientErr, &failed) || !strings.Contains(failed.Reason, "ostname mismatch") {
			a.Fatalf("the client's error is %v", o.clientErr)
		}
		var theirs *openssl.Error
		if errors.As(o.serverErr, &theirs) && len(theirs.Stack) > 1 {
			a.Fatalf("the server's error holds %d entries: %+v", len(theirs.Stack), theirs.Stack)
		}
	}
}
