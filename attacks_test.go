//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
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
)

// attack is a row of docs/ATTACKS.md. Every refusal in it is an ordinary full
// handshake for whoever may enter.
type attack struct {
	id   string
	name string
	in   where
	run  func(a *arena)

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

func (w where) holds(m mechanism) bool {
	switch w {
	case once:
		return m == attackMechanisms[0]
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
	{"A01", "control_same_policy", everywhere, a01, false},
	{"A02", "context_changed_between_connections", everywhere, a02, false},
	{"A03", "shared_keys_open_to_required", everywhere, a03, false},
	{"A04", "shared_keys_distinct_contexts_open_to_required", everywhere, a04, false},
	{"A05", "shared_keys_CA_A_to_CA_B", everywhere, a05, false},
	{"A06", "shared_keys_distinct_contexts_CA_A_to_CA_B", everywhere, a06, false},
	{"A07", "no_context_and_certificates_required", once, a07, false},
	{"A08", "no_context_on_two_hosts", everywhere, a08, false},
	{"A09", "no_context_to_context", everywhere, func(a *arena) { contextPair(a, "", "b") }, false},
	{"A10", "context_to_no_context", everywhere, func(a *arena) { contextPair(a, "b", "") }, false},
	{"A11", "prefixes_and_boundaries", everywhere, a11, false},
	{"A12", "contexts_that_differ_after_a_NUL", everywhere, func(a *arena) { contextPair(a, "x\x00a", "x\x00b") }, false},
	{"A13", "oversize", everywhere, a13, false},
	{"A14", "route_to_another_Ctx", everywhere, a14, false},
	{"A15", "route_by_context_alone", everywhere, a15, false},
	{"A16", "route_by_Ctx_and_context", everywhere, a16, false},
	{"A17", "same_policy_other_name", everywhere, a17, false},
	{"A18", "open_hosts_by_context_and_Ctx", everywhere, a18, false},
	{"A19", "no_name_to_required", everywhere, a19, false},
	{"A20", "name_to_no_name", everywhere, a20, false},
	{"A21", "unknown_name", everywhere, a21, false},
	{"A22", "spellings_of_a_name", everywhere, a22, false},
	{"A23", "malformed_names", everywhere, a23, false},
	{"A24", "hello_in_crumbs", everywhere, a24, false},
	{"A25", "Host_of_another_policy", everywhere, a25, false},
	{"A26", "HelloRetryRequest", tls13, a26, false},
	{"A27", "second_hello_says_otherwise", tls13, a27, false},
	{"A28", "private_keys_same_context", everywhere, a28, false},
	{"A29", "broken_tickets", onTickets, a29, false},
	{"A30", "keys_rotated_or_forged", onTickets, a30, false},
	{"A31", "ticket_of_another_version", onTickets, a31, false},
	{"A32", "store_shared_same_label", stateful, a32, false},
	{"A33", "store_shared_lookups", stateful, a33, false},
	{"A34", "store_returns_another_session", stateful, a34, false},
	{"A35", "store_rewrites_the_context", stateful, a35, false},
	{"A36", "store_flips_each_bit", stateful, a36, false},
	{"A37", "store_truncates_and_invents", stateful, a37, false},
	{"A38", "sessions_that_are_none", stateful, a38, false},
	{"A39", "store_that_fails", stateful, a39, false},
	{"A40", "store_rolls_back", stateful, a40, false},
	{"A41", "replay", everywhere, a41, false},
	{"A44", "flushed_cache_and_Revoke", everywhere, a44, false},
	{"A45", "CA_rotated", everywhere, a45, false},
	{"A46", "optional_to_required", everywhere, a46, false},
	{"A47", "depth_CRL_and_rules_changed", everywhere, a47, false},
	{"A48", "client_certificate_expires", everywhere, a48, true},
	{"A49", "chain_of_renewals", everywhere, a49, true},
	{"A50", "clocks", everywhere, a50, false},
	{"A51", "session_fixation_of_a_client", everywhere, a51, false},
	{"A52", "client_of_another_policy", everywhere, a52, false},
	{"A53", "client_context", everywhere, a53, false},
	{"A54", "hostile_server", everywhere, a54, false},
	{"A55", "sessions_of_failed_handshakes", everywhere, a55, false},
	{"A56", "renegotiation", once, a56, false},
	{"A59", "context_after_the_handshake", everywhere, a59, false},
	{"A60", "extended_master_secret", everywhere, a60, false},
	{"A61", "configured_while_in_use", once, a61, false},
	{"A62", "use_after_Close", everywhere, a62, false},
	{"A63", "machine_used_again", once, a63, false},
	{"A64", "hostile_names_in_the_digest", once, a64, false},
	{"A65", "errors_of_another_connection", everywhere, a65, false},
}

// notOffered is the rows about what this library does not offer; SECURITY.md
// says so.
var notOffered = []string{"A42", "A43", "A57", "A58"}

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
			var waiting sync.WaitGroup
			defer waiting.Wait()
			for _, m := range attackMechanisms {
				if !row.in.holds(m) {
					continue
				}
				for _, w := range attackWires {
					if testing.Short() && w.name != "memory" || row.in == once && w.name != "memory" {
						continue
					}
					run := func() {
						t.Run(m.name+"/"+w.name, func(t *testing.T) { row.run(newArena(t, m, w.pair)) })
					}
					if row.waits {
						waiting.Go(run)
					} else {
						run()
					}
				}
			}
		})
	}
}

// TestAttacksAfterRevoke runs A01 to A26 again after a Revoke of the listener's
// Ctx, of the host's and of both.
func TestAttacksAfterRevoke(t *testing.T) {
	for _, revoked := range []string{"listener", "host", "both"} {
		t.Run(revoked, func(t *testing.T) {
			for _, row := range attacks {
				if row.id > "A26" || row.in == once {
					continue
				}
				t.Run(row.id+"_"+row.name, func(t *testing.T) {
					t.Parallel()
					for _, m := range attackMechanisms {
						if !row.in.holds(m) {
							continue
						}
						t.Run(m.name, func(t *testing.T) {
							a := newArena(t, m, memoryWire)
							a.revoke = revoked
							row.run(a)
						})
					}
				})
			}
		})
	}
}

// TestAttacksAreAllThere counts the rows: implemented, or listed in
// docs/ATTACKS.md as about something that is not offered.
func TestAttacksAreAllThere(t *testing.T) {
	text, err := os.ReadFile("docs/ATTACKS.md")
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
	for n := 1; n <= 65; n++ {
		id := fmt.Sprintf("A%02d", n)
		if !seen[id] {
			t.Errorf("%s is neither implemented nor listed", id)
		}
		if !regexp.MustCompile(`(?m)^\| ` + id + ` \|`).Match(text) {
			t.Errorf("docs/ATTACKS.md has no row %s", id)
		}
	}
	if len(seen) != 65 {
		t.Errorf("%d rows, not 65", len(seen))
	}
}

// TestWhatIsNotOffered: early data, external PSKs, authentication after the
// handshake, a servername callback, renegotiation, and a machine for a second
// connection have no way in.
func TestWhatIsNotOffered(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)early|psk|posthandshake|servernamefunc|servernamecallback|renegotiate|^clear$|^reset$|newsessionticket`)
	for _, v := range []any{&openssl.Ctx{}, &openssl.SSL{}, &openssl.Conn{}, &openssl.Session{}, &openssl.ClientHello{}} {
		typ := reflect.TypeOf(v)
		for m := range typ.Methods() {
			if forbidden.MatchString(m.Name) {
				t.Errorf("%v.%s", typ, m.Name)
			}
		}
	}
	a := newArena(t, attackMechanisms[2], memoryWire)
	o := a.full(a.visit(a.host("a.test"), guest{name: "a.test"}))
	for _, f := range fieldsOf(t, o.session) {
		if f.Class == 2 && f.Tag == 15 {
			t.Error("a session allows early data")
		}
	}
}

func a01(a *arena) {
	host := a.host("a.test", requires(cast.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
	one, two := a.host("a.test", requires(cast.caA), a.sharing()), a.host("a.test", requires(cast.caA), a.sharing())
	a.ready(listener, host)
	a.ready(nil, one, two)
	for _, pair := range [][2]*openssl.Ctx{{listener, listener}, {one, two}} {
		o := a.full(a.visit(pair[0], guest{name: "a.test", cert: cast.cliA}))
		o = a.resumed(a.visit(pair[1], guest{name: "a.test", cert: cast.cliA, session: o.session}))
		if len(o.server.PeerCertificates) == 0 || o.server.PeerCertificates[0].Subject.CommonName != "client A" {
			a.Fatalf("resumed as %v", o.server.PeerCertificates)
		}
	}
}

func a02(a *arena) {
	was, now := a.host("a.test", within("was"), a.sharing()), a.host("a.test", within("now"), a.sharing())
	a.crossing(place{was, "a.test", nil}, place{now, "a.test", nil}, false)
	if err := was.SetSessionIDContext([]byte("now")); !errors.Is(err, openssl.ErrCtxInUse) {
		a.Fatalf("changed in use: %v", err)
	}
	if got := was.SessionIDContext(); string(got) != "was" {
		a.Fatalf("the context is %q", got)
	}
}

func a03(a *arena) {
	open, strict := a.host("a.test", a.sharing()), a.host("a.test", requires(cast.caB), a.sharing())
	a.ready(nil, open, strict)
	a.crossing(place{open, "a.test", nil}, place{strict, "a.test", cast.cliB}, true)

	// By hand one context for both: Hosts does not start.
	hosts := openssl.NewHosts()
	must(a, hosts.Add("a.test", a.host("a.test", within("same"))))
	if err := hosts.Add("b.test", a.host("b.test", requires(cast.caB), within("same"))); err == nil {
		a.Fatal("Hosts takes two policies in one context")
	}
}

func a04(a *arena) {
	open, strict := a.host("a.test", within("a"), a.sharing()), a.host("b.test", requires(cast.caB), within("b"), a.sharing())
	a.crossing(place{open, "a.test", nil}, place{strict, "b.test", cast.cliB}, true)
}

func a05(a *arena) {
	one, two := a.host("a.test", requires(cast.caA), a.sharing()), a.host("a.test", requires(cast.caB), a.sharing())
	a.ready(nil, one, two)
	a.crossing(place{one, "a.test", cast.cliA}, place{two, "a.test", cast.cliB}, true)
}

func a06(a *arena) {
	one := a.host("a.test", requires(cast.caA), within("a"), a.sharing())
	two := a.host("b.test", requires(cast.caB), within("b"), a.sharing())
	a.crossing(place{one, "a.test", cast.cliA}, place{two, "b.test", cast.cliB}, true)
}

func a07(a *arena) {
	for name, use := range map[string]func(c *openssl.Ctx) error{
		"NewSSL":    func(c *openssl.Ctx) error { _, err := openssl.NewSSL(c); return err },
		"Listen":    func(c *openssl.Ctx) error { _, err := openssl.Listen("tcp", "127.0.0.1:0", c); return err },
		"Hosts.Add": func(c *openssl.Ctx) error { return openssl.NewHosts().Add("a.test", c) },
		"Server":    func(c *openssl.Ctx) error { near, _ := a.wire(a); _, err := openssl.Server(near, c); return err },
	} {
		if err := use(a.server(named("a.test"), requires(cast.caA))); !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
			a.Errorf("%s: %v", name, err)
		}
	}
}

func a08(a *arena) {
	hosts := openssl.NewHosts()
	must(a, hosts.Add("a.test", a.server(named("a.test"))))
	if err := hosts.Add("b.test", a.server(named("b.test"))); err == nil {
		a.Fatal("Hosts takes two hosts without a context")
	}
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.crossing(place{listener, "a.test", nil}, place{listener, "b.test", nil}, false)
}

// contextPair holds two contexts against each other, both ways.
func contextPair(a *arena, one, two string) {
	a.Helper()
	c, d := a.host("a.test", within(one), a.sharing()), a.host("b.test", within(two), a.sharing())
	a.crossing(place{c, "a.test", nil}, place{d, "b.test", nil}, false)
	a.crossing(place{d, "b.test", nil}, place{c, "a.test", nil}, false)
}

func a11(a *arena) {
	contextPair(a, "tenant", "tenant1")
	pairs := [][2]openssl.SessionPolicy{
		{{Extra: [][]byte{[]byte("ab"), []byte("c")}}, {Extra: [][]byte{[]byte("a"), []byte("bc")}}},
		{{Extra: [][]byte{[]byte("a")}}, {Extra: [][]byte{[]byte("a"), nil}}},
	}
	for _, p := range pairs {
		one, two := a.host("a.test", withPolicy(p[0]), a.sharing()), a.host("a.test", withPolicy(p[1]), a.sharing())
		a.ready(nil, one, two)
		a.crossing(place{one, "a.test", nil}, place{two, "a.test", nil}, false)
	}
}

func a13(a *arena) {
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
	o := a.full(a.visit(c, guest{name: "a.test"}))
	if string(o.server.SessionIDContext) != long+"1" {
		a.Fatalf("the session is of %q", o.server.SessionIDContext)
	}
	a.resumed(a.visit(c, guest{name: "a.test", session: o.session}))
}

func a14(a *arena) {
	one, two := a.host("a.test", requires(cast.caA)), a.host("b.test", requires(cast.caB))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.crossing(place{listener, "a.test", cast.cliA}, place{listener, "b.test", cast.cliB}, true)
	a.crossing(place{listener, "b.test", cast.cliB}, place{listener, "a.test", cast.cliA}, true)
}

func a15(a *arena) {
	c := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return nil, hello.SetSessionIDContext([]byte(hello.ServerName))
	}, named("a.test", "b.test"))
	a.ready(c)
	a.crossing(place{c, "a.test", nil}, place{c, "b.test", nil}, false)
}

func a16(a *arena) {
	one, two := a.host("a.test", requires(cast.caA)), a.host("b.test", requires(cast.caB))
	listener := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		err := hello.SetSessionIDContext([]byte("of " + hello.ServerName))
		return map[string]*openssl.Ctx{"a.test": one, "b.test": two}[hello.ServerName], err
	})
	a.ready(listener, one, two)
	a.crossing(place{listener, "a.test", cast.cliA}, place{listener, "b.test", cast.cliB}, true)
}

func a17(a *arena) {
	one, two := a.host("a.test", requires(cast.caA)), a.host("b.test", requires(cast.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	a.ready(listener, one, two)
	a.crossing(place{listener, "a.test", cast.cliA}, place{listener, "b.test", cast.cliA}, false)
}

func a18(a *arena) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two}, named("a.test"))
	a.ready(listener, one, two)
	a.crossing(place{listener, "a.test", nil}, place{listener, "b.test", nil}, false)
	o := a.full(a.visit(listener, guest{name: "a.test"}))
	if got, want := o.server.SessionIDContext, one.SessionIDContext(); !bytes.Equal(got, want) {
		a.Fatalf("the session is of context %x, the host of %x", got, want)
	}
}

func a19(a *arena) {
	open, strict := a.host("a.test"), a.host("b.test", requires(cast.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": open, "b.test": strict})
	a.ready(listener, open, strict)
	a.crossing(place{listener, "", nil}, place{listener, "b.test", cast.cliB}, true)
}

func a20(a *arena) {
	open, strict := a.host("a.test"), a.host("b.test", requires(cast.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": strict, "a.test": open})
	a.ready(listener, open, strict)
	a.crossing(place{listener, "a.test", nil}, place{listener, "", cast.cliB}, true)
}

// hosted is a listener with Hosts.
func (a *arena) hosted(hosts *openssl.Hosts) *openssl.Ctx {
	return a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return hosts.Route(context.Background(), hello)
	})
}

func a21(a *arena) {
	hosts := openssl.NewHosts()
	one := a.host("a.test")
	must(a, hosts.Add("a.test", one))
	listener := a.hosted(hosts)
	a.ready(listener, one)
	first := a.full(a.visit(listener, guest{name: "a.test"}))
	for _, name := range []string{"x.test", ""} {
		o := a.refused(a.visit(listener, guest{name: name, session: first.session}))
		var alert tls.AlertError
		if !errors.As(o.clientErr, &alert) || alert != 112 {
			a.Fatalf("%q: the client hears %v", name, o.clientErr)
		}
	}
	fallback := a.server(named("x.test", "y.test"), withPolicy(openssl.SessionPolicy{Label: "default"}))
	must(a, hosts.SetDefault(fallback))
	a.ready(nil, fallback)
	a.crossing(place{listener, "x.test", nil}, place{listener, "a.test", nil}, false)
	o := a.full(a.visit(listener, guest{name: "x.test"}))
	a.resumed(a.visit(listener, guest{name: "y.test", session: o.session}))
	a.full(a.visit(listener, guest{name: "a.test", session: o.session}))
}

func a22(a *arena) {
	hosts := openssl.NewHosts()
	strict := a.server(named("b.test", "m.w.test", "xn--bcher-kva.test"), withPolicy(openssl.SessionPolicy{Label: "b"}), requires(cast.caB))
	open := a.host("open.test")
	for _, pattern := range []string{"B.Test.", "*.w.test", "xn--bcher-kva.test"} {
		must(a, hosts.Add(pattern, strict))
	}
	must(a, hosts.SetDefault(open))
	listener := a.hosted(hosts)
	a.ready(listener, strict, open)
	for _, name := range []string{"b.test", "B.TEST", "m.w.test", "M.W.tEsT", "XN--BCHER-KVA.test"} {
		a.refused(a.visit(listener, guest{name: name}))
		o := a.full(a.visit(listener, guest{name: name, cert: cast.cliB}))
		a.resumed(a.visit(listener, guest{name: "b.TEST", cert: cast.cliB, session: o.session}))
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

func a23(a *arena) {
	one := a.host("a.test")
	listener := a.listener(map[string]*openssl.Ctx{"": one, "a.test": one})
	a.ready(listener, one)
	first := a.full(a.visit(listener, guest{name: "a.test"}))
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
	a.full(a.visit(listener, guest{name: "a.test"}))
}

func a24(a *arena) {
	open, strict := a.host("a.test"), a.host("b.test", requires(cast.caB))
	listener := a.listener(map[string]*openssl.Ctx{"": open, "b.test": strict})
	a.ready(listener, open, strict)
	for _, records := range []bool{true, false} {
		crumbs := func(w net.Conn) net.Conn { return &splitWire{Conn: w, records: records} }
		a.refused(a.visit(listener, guest{name: "b.test", wrap: crumbs}))
		o := a.full(a.visit(listener, guest{name: "b.test", cert: cast.cliB, wrap: crumbs}))
		a.resumed(a.visit(listener, guest{name: "b.test", cert: cast.cliB, session: o.session, wrap: crumbs}))
	}
}

func a25(a *arena) {
	hosts := openssl.NewHosts()
	b, c := a.host("b.test", requires(cast.caB)), a.host("c.test")
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
	o := a.full(a.visit(listener, guest{name: "c.test", look: look}))
	a.resumed(a.visit(listener, guest{name: "c.test", session: o.session, look: look}))
	if hosts.Serves(nil, "c.test") {
		a.Error("no connection serves")
	}
}

// retrying is a client whose first key share a listener of P-384 does not take.
func (a *arena) retrying(cert *identity, retry bool) *openssl.Ctx {
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	setVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(certs(a).pem))
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

func a26(a *arena) {
	asked := 0
	one, two := a.host("a.test"), a.host("b.test", requires(cast.caB))
	listener := a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		asked++
		return map[string]*openssl.Ctx{"a.test": one, "b.test": two}[hello.ServerName], nil
	}, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) })
	a.ready(listener, one, two)
	go1 := func(v guest, retry bool) encounter {
		asked = 0
		v.client = a.retrying(v.cert, retry)
		o := a.visit(listener, v)
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
		first := a.full(go1(guest{name: "a.test"}, retry[0]))
		a.resumed(go1(guest{name: "a.test", session: first.session}, retry[1]))
		a.refused(go1(guest{name: "b.test", session: first.session}, retry[1]))
		o := a.full(go1(guest{name: "b.test", cert: cast.cliB, session: first.session}, retry[1]))
		a.resumed(go1(guest{name: "b.test", cert: cast.cliB, session: o.session}, retry[1]))
	}
}

func a27(a *arena) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two},
		func(t testing.TB, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) })
	first := a.full(a.visit(listener, guest{name: "a.test", client: a.retrying(nil, false)}))
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
			p := make([]byte, 1<<16)
			clientErr, serverErr := both(func() error {
				defer near.Close()
				if _, err := c.Handshake(); err != nil {
					return err
				}
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
				if bytes.Count(second, edit.from) != 1 {
					return fmt.Errorf("the second hello has no %x", edit.from)
				}
				near.Write(bytes.Replace(second, edit.from, edit.to, 1))
				for {
					n, err := near.Read(p)
					if err != nil {
						return nil // the server has hung up
					}
					c.Feed(p[:n])
					if w, err := c.Handshake(); err == nil && w == openssl.WantNothing {
						return errors.New("a handshake with two minds")
					}
				}
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

func a28(a *arena) {
	one, two := a.host("a.test", within("same")), a.host("a.test", within("same"))
	o := a.full(a.visit(one, guest{name: "a.test"}))
	a.resumed(a.visit(one, guest{name: "a.test", session: o.session}))
	o = a.full(a.visit(one, guest{name: "a.test"}))
	a.full(a.visit(two, guest{name: "a.test", session: o.session}))
}

func a29(a *arena) {
	host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetNumTickets(1)) })
	o := a.full(a.visit(host, guest{name: "a.test"}))
	ticket := ticketIn(a, o.session)
	step := 1
	if a.wireIsSlow() {
		step = 16
	}
	offer := func(what string, bad []byte) {
		a.Helper()
		next := a.visit(host, guest{name: "a.test", session: withTicket(a, o.session, bad)})
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
	a.resumed(a.visit(host, guest{name: "a.test", session: o.session}))
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

// wireIsSlow says whether to spare it.
func (a *arena) wireIsSlow() bool { return testing.Short() || strings.HasSuffix(a.Name(), "/tcp") }

func a30(a *arena) {
	host := a.host("a.test")
	must(a, host.SetTicketKeys(ticketKey(1)))
	o := a.full(a.visit(host, guest{name: "a.test"}))
	must(a, host.SetTicketKeys(ticketKey(2), ticketKey(1)))
	a.resumed(a.visit(host, guest{name: "a.test", session: o.session}))
	must(a, host.SetTicketKeys(ticketKey(3), ticketKey(2)))
	a.full(a.visit(host, guest{name: "a.test", session: o.session}))

	// The name of a key that is there, on a ticket of another's.
	ticket := ticketIn(a, o.session)
	name := ticketKey(3).Name
	a.full(a.visit(host, guest{name: "a.test", session: withTicket(a, o.session, append(name[:], ticket[16:]...))}))

	if err := host.SetTicketKeys(openssl.TicketKey{}); err == nil {
		a.Fatal("keys of zeros are taken")
	}
	// Forged with keys of zeros: on a server with keys, and on one that has never used any.
	fresh := a.host("a.test")
	forged := withTicket(a, o.session, forgeTicket(a, openssl.TicketKey{}, o.session, host.SessionIDContext()))
	a.full(a.visit(host, guest{name: "a.test", session: forged}))
	a.full(a.visit(fresh, guest{name: "a.test", session: forged}))
	// The forger's craft is good: with the server's keys it works.
	real := withTicket(a, o.session, forgeTicket(a, ticketKey(3), o.session, host.SessionIDContext()))
	a.resumed(a.visit(host, guest{name: "a.test", session: real}))
}

// forgeTicket seals a client's session as a server's of that context.
func forgeTicket(t testing.TB, key openssl.TicketKey, session, sidCtx []byte) []byte {
	t.Helper()
	sess, err := openssl.ParseSession(session)
	must(t, err)
	defer sess.Close()
	must(t, sess.SetIDContext(sidCtx))
	der, err := sess.MarshalBinary()
	must(t, err)
	pad := aes.BlockSize - len(der)%aes.BlockSize
	der = append(der, bytes.Repeat([]byte{byte(pad)}, pad)...)
	block, err := aes.NewCipher(key.AES[:])
	must(t, err)
	iv := make([]byte, aes.BlockSize)
	ticket := append(bytes.Clone(key.Name[:]), iv...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(der, der)
	ticket = append(ticket, der...)
	mac := hmac.New(sha256.New, key.HMAC[:])
	mac.Write(ticket)
	return mac.Sum(ticket)
}

func a31(a *arena) {
	other := uint16(tls.VersionTLS12)
	if a.m.version == other {
		other = tls.VersionTLS13
	}
	was := a.host("a.test", within("same"), a.sharing())
	o := a.full(a.visit(was, guest{name: "a.test"}))
	now := a.host("a.test", within("same"), a.sharing(), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetMinVersion(tls.VersionTLS12))
		must(t, c.SetMaxVersion(tls.VersionTLS13))
		setVersionTo(t, c, other)
	})
	client := a.both()
	next := a.visit(now, guest{name: "a.test", session: o.session, client: client})
	if next.clientErr != nil || next.serverErr != nil || next.server.DidResume || next.server.Version != other {
		a.Fatalf("resumed %v in version %x: client %v, server %v", next.server.DidResume, next.server.Version, next.clientErr, next.serverErr)
	}
	a.resumed(a.visit(was, guest{name: "a.test", session: o.session, client: client}))
}

// both is a client of both versions.
func (a *arena) both() *openssl.Ctx {
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	must(a, c.SetVerifyCAs(certs(a).pem))
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

func a32(a *arena) {
	one, two := a.host("a.test", a.sharing()), a.host("b.test", requires(cast.caB), a.sharing())
	a.crossing(place{one, "a.test", nil}, place{two, "b.test", cast.cliB}, true)
}

func a33(a *arena) {
	one, two := a.host("a.test", within("a"), a.sharing()), a.host("a.test", within("b"), a.sharing())
	o := a.full(a.visit(one, guest{name: "a.test"}))
	a.full(a.visit(two, guest{name: "a.test", session: o.session}))
	a.shelf.mu.Lock()
	defer a.shelf.mu.Unlock()
	if len(a.shelf.gets) == 0 {
		a.Fatal("the store was not asked")
	}
	theirs := storeKey([]byte("a"), a.lookup(o.session))
	for _, id := range a.shelf.gets {
		if bytes.Equal(id, theirs) {
			a.Fatal("one tenant's lookup names another's session")
		}
	}
	// And if the store gives it out all the same, libssl compares.
	blob := a.shelf.blobs[string(theirs)]
	a.shelf.get = func(context.Context, []byte) ([]byte, error) { return blob, nil }
	a.shelf.mu.Unlock()
	a.full(a.visit(two, guest{name: "a.test", session: o.session}))
	a.shelf.mu.Lock()
}

// sealing is sharing over a store that cannot be trusted.
func (a *arena) sealing(keys ...[32]byte) setting {
	if len(keys) == 0 {
		keys = [][32]byte{{1}}
	}
	return func(t testing.TB, c *openssl.Ctx) {
		sealed, err := openssl.SealStore(a.shelf, keys...)
		must(t, err)
		must(t, c.SetNumTickets(1))
		must(t, c.SetSessionStore(sealed))
		a.sharers[c] = true
	}
}

// unopened fails the test if the sealed store opens anything.
func (a *arena) unopened(what string) {
	a.Helper()
	sealed, err := openssl.SealStore(a.shelf, [32]byte{1})
	must(a, err)
	for id := range a.shelf.copy() {
		if got, err := sealed.Get(context.Background(), []byte(id)); !errors.Is(err, openssl.ErrSessionNotFound) {
			a.Fatalf("%s: opened %d bytes, %v", what, len(got), err)
		}
	}
}

// storeRefused is what the Ctx has counted.
func storeRefused(c *openssl.Ctx) int64 { return c.Stats().Store.Refused }

func a34(a *arena) {
	host := a.host("a.test", requires(cast.caA), a.sealing())
	victim := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	blob := a.shelf.copy()[string(storeKey(host.SessionIDContext(), a.lookup(victim.session)))]
	other := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	a.resumed(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: other.session}))

	a.shelf.mu.Lock()
	a.shelf.blobs = map[string][]byte{string(storeKey(host.SessionIDContext(), a.lookup(other.session))): blob}
	a.shelf.mu.Unlock()
	a.unopened("another session's blob")
	before := storeRefused(host)
	a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: other.session}))
	if storeRefused(host) != before+1 {
		a.Error("the refused blob was not counted")
	}
}

func a35(a *arena) {
	one := a.host("a.test", requires(cast.caA), within("A"), a.sealing())
	two := a.host("a.test", requires(cast.caB), within("B"), a.sealing())
	o := a.full(a.visit(one, guest{name: "a.test", cert: cast.cliA}))
	a.resumed(a.visit(one, guest{name: "a.test", cert: cast.cliA, session: o.session}))
	id := a.lookup(o.session)
	blob := a.shelf.copy()[string(storeKey([]byte("A"), id))]

	// Moved to where B looks for it.
	a.shelf.mu.Lock()
	a.shelf.blobs = map[string][]byte{string(storeKey([]byte("B"), id)): blob}
	a.shelf.mu.Unlock()
	a.unopened("a blob under another context's id")
	a.refused(a.visit(two, guest{name: "a.test", cert: cast.cliA, session: o.session}))
	a.full(a.visit(two, guest{name: "a.test", cert: cast.cliB, session: o.session}))

	// Rewritten: the context is one byte of it, wherever that is.
	step := 1
	if a.wireIsSlow() {
		step = 7
	}
	for i := 0; i < len(blob); i += step {
		bad := bytes.Clone(blob)
		bad[i] ^= 'A' ^ 'B'
		a.shelf.mu.Lock()
		a.shelf.blobs = map[string][]byte{string(storeKey([]byte("B"), id)): bad}
		a.shelf.mu.Unlock()
		a.unopened("rewritten")
	}
}

func a36(a *arena) {
	host := a.host("a.test", requires(cast.caA), a.sealing())
	o := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	id := string(storeKey(host.SessionIDContext(), a.lookup(o.session)))
	blob := a.shelf.copy()[id]
	for bit := range 8 * len(blob) {
		bad := bytes.Clone(blob)
		bad[bit/8] ^= 1 << (bit % 8)
		a.shelf.mu.Lock()
		a.shelf.blobs = map[string][]byte{id: bad}
		a.shelf.mu.Unlock()
		a.unopened(fmt.Sprintf("bit %d flipped", bit))
		if bit%211 == 0 {
			a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: o.session}))
		}
	}
	a.shelf.mu.Lock()
	a.shelf.blobs = map[string][]byte{id: blob}
	a.shelf.mu.Unlock()
	a.resumed(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: o.session}))
}

func a37(a *arena) {
	host := a.host("a.test", requires(cast.caA), a.sealing())
	o := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	id := string(storeKey(host.SessionIDContext(), a.lookup(o.session)))
	blob := a.shelf.copy()[id]
	random := make([]byte, 1<<20)
	rand.Read(random)
	otherVersion := bytes.Clone(blob)
	otherVersion[0]++
	bad := [][]byte{{}, random, random[:len(blob)], append(bytes.Clone(blob), 0), otherVersion}
	for n := range blob {
		bad = append(bad, blob[:n])
	}
	for i, b := range bad {
		a.shelf.mu.Lock()
		a.shelf.blobs = map[string][]byte{id: b}
		a.shelf.mu.Unlock()
		a.unopened(fmt.Sprintf("%d bytes", len(b)))
		if i < 5 || i%53 == 0 {
			a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: o.session}))
		}
	}
	a.resumed(a.visit(host, guest{name: "a.test", cert: cast.cliA,
		session: a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA})).session}))
}

func a38(a *arena) {
	host := a.host("a.test", a.sharing())
	o := a.full(a.visit(host, guest{name: "a.test"}))
	der := a.shelf.copy()[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))]
	long := octets(a, make([]byte, 33))
	bad := map[string][]byte{
		"a context of 33 bytes":      editSession(a, der, fieldContext, long),
		"a length beyond the end":    append([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}, der[4:]...),
		"a length that is negative":  append([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, der[4:]...),
		"a string beyond the end":    editSession(a, der, fieldContext, []byte{0x04, 0x84, 0x7f, 0xff, 0xff, 0xff, 1}),
		"something behind the end":   append(bytes.Clone(der), 0),
		"an integer for the context": editSession(a, der, fieldContext, integer(a, 5)),
		"nothing":                    {},
	}
	for what, b := range bad {
		if sess, err := openssl.ParseSession(b); err == nil {
			sess.Close()
			a.Errorf("%s: parsed", what)
		}
		a.shelf.mu.Lock()
		a.shelf.get = func(context.Context, []byte) ([]byte, error) { return b, nil }
		a.shelf.mu.Unlock()
		a.full(a.visit(host, guest{name: "a.test", session: o.session}))
	}
}

func a39(a *arena) {
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
	o := a.full(a.visit(good, guest{name: "a.test"}))
	for what, get := range bad {
		host := a.host("a.test", a.sharing()) // a store that failed is left alone for a while,
		delete(a.sharers, host)               // and may not be told of new sessions
		a.shelf.mu.Lock()
		a.shelf.get = get
		a.shelf.mu.Unlock()
		next := a.visit(host, guest{name: "a.test", session: o.session})
		if next.clientErr != nil || next.serverErr != nil || next.server.DidResume {
			a.Errorf("%s: resumed %v, client %v, server %v", what, next.server.DidResume, next.clientErr, next.serverErr)
		}
	}
	a.shelf.mu.Lock()
	a.shelf.get = nil
	a.shelf.mu.Unlock()
	a.resumed(a.visit(good, guest{name: "a.test", session: o.session}))
}

func a40(a *arena) {
	host := a.host("a.test", a.sealing())
	o := a.full(a.visit(host, guest{name: "a.test"}))
	old := a.shelf.copy()
	a.shelf.mu.Lock()
	a.shelf.blobs = make(map[string][]byte)
	a.shelf.mu.Unlock()
	a.full(a.visit(host, guest{name: "a.test", session: o.session}))
	_, err := host.Revoke()
	must(a, err)
	// Whatever the store keeps or brings back is of a generation that is gone.
	a.shelf.mu.Lock()
	a.shelf.blobs = old
	for id, blob := range old {
		_ = id
		a.shelf.blobs[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))] = blob
	}
	a.shelf.mu.Unlock()
	a.full(a.visit(host, guest{name: "a.test", session: o.session}))
}

func a41(a *arena) {
	one, two := a.host("a.test"), a.host("b.test")
	listener := a.listener(map[string]*openssl.Ctx{"a.test": one, "b.test": two})
	o := a.full(a.visit(listener, guest{name: "a.test"}))
	for range 5 {
		a.resumed(a.visit(listener, guest{name: "a.test", session: o.session})) // not promised otherwise, see SECURITY.md
		a.full(a.visit(listener, guest{name: "b.test", session: o.session}))
	}
}

func a44(a *arena) {
	host := a.host("a.test", requires(cast.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
	o := a.full(a.visit(listener, guest{name: "a.test", cert: cast.cliA}))
	must(a, listener.FlushSessions(time.Now().Add(240*time.Hour)))
	next := a.visit(listener, guest{name: "a.test", cert: cast.cliA, session: o.session})
	if next.server.DidResume == a.m.stateful { // a ticket outlives a cache
		a.Fatalf("after a flush resumed: %v", next.server.DidResume)
	}
	o = a.full(a.visit(listener, guest{name: "a.test", cert: cast.cliA}))
	generation, err := host.Revoke()
	must(a, err)
	if generation != 1 {
		a.Fatalf("generation %d", generation)
	}
	for range 3 {
		a.full(a.visit(listener, guest{name: "a.test", cert: cast.cliA, session: o.session}))
	}
	o = a.full(a.visit(listener, guest{name: "a.test", cert: cast.cliA}))
	a.resumed(a.visit(listener, guest{name: "a.test", cert: cast.cliA, session: o.session}))
}

// trusting requires certificates of a CA and does not send its name.
func trusting(ca *authority) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetVerifyCAs(ca.pem))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	}
}

func a45(a *arena) {
	was, now := a.host("a.test", trusting(cast.caA), a.sharing()), a.host("a.test", trusting(cast.caB), a.sharing())
	a.crossing(place{was, "a.test", cast.cliA}, place{now, "a.test", cast.cliB}, true)
}

func a46(a *arena) {
	optional, required := a.host("a.test", asks(cast.caA), a.sharing()), a.host("a.test", requires(cast.caA), a.sharing())
	a.crossing(place{optional, "a.test", nil}, place{required, "a.test", cast.cliA}, true)
}

func a47(a *arena) {
	was := a.host("a.test", requires(cast.caA), a.sharing())
	leaf := parsePEM(a, cast.cliA.cert)
	for what, change := range map[string]setting{
		"depth": func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyDepth(3)) },
		"CRL": func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetCRLs(revocationList(t, cast.caA, 1)))
		},
		"rules": withPolicy(openssl.SessionPolicy{Label: "app", Extra: [][]byte{[]byte("rules 2")}}),
	} {
		now := a.host("a.test", requires(cast.caA), change, a.sharing())
		o := a.full(a.visit(was, guest{name: "a.test", cert: cast.cliA}))
		next := a.full(a.visit(now, guest{name: "a.test", cert: cast.cliA, session: o.session}))
		if what == "CRL" {
			continue
		}
		a.resumed(a.visit(now, guest{name: "a.test", cert: cast.cliA, session: next.session}))
	}
	revoked := a.host("a.test", requires(cast.caA), a.sharing(), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetCRLs(revocationList(t, cast.caA, 2, leaf.SerialNumber)))
	})
	o := a.full(a.visit(was, guest{name: "a.test", cert: cast.cliA}))
	a.refused(a.visit(revoked, guest{name: "a.test", cert: cast.cliA, session: o.session}))
}

func parsePEM(t testing.TB, p []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return cert
}

// revocationList is a CA's, in PEM.
func revocationList(t testing.TB, ca *authority, number int64, serials ...*big.Int) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Hour + time.Duration(number)*time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func a48(a *arena) {
	host := a.host("a.test", requires(cast.caA), a.sharing())
	ends := time.Now().Truncate(time.Second).Add(4 * time.Second)
	short := member(a, cast.caA, "short-lived", func(c *x509.Certificate) { c.NotAfter = ends })
	o := a.full(a.visit(host, guest{name: "a.test", cert: short}))
	next := a.resumed(a.visit(host, guest{name: "a.test", cert: short, session: o.session}))
	if next.session != nil {
		o.session = next.session
	}
	if a.m.version == tls.VersionTLS13 { // an honest client would not offer it any more
		o.session = editSession(a, o.session, fieldLifetime, integer(a, 7200))
	}
	// Its last second counts in 4.0, and C's clock is read without its last milliseconds.
	a.until(10*time.Second, "the certificate's end", func() bool { return time.Now().After(ends.Add(1100 * time.Millisecond)) })
	a.refused(a.visit(host, guest{name: "a.test", cert: short, session: o.session}))
	a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: o.session}))
}

func a49(a *arena) {
	const most = 2 * time.Second
	host := a.host("a.test", requires(cast.caA), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(most)) })
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host}) // its own lifetime is two hours
	began := time.Now()
	o := a.full(a.visit(listener, guest{name: "a.test", cert: cast.cliA}))
	session, resumed := o.session, 0
	a.until(10*time.Second, "the chain's end", func() bool {
		next := a.visit(listener, guest{name: "a.test", cert: cast.cliA, session: session})
		if next.clientErr != nil || next.serverErr != nil {
			a.Fatalf("%v: client %v, server %v", time.Since(began), next.clientErr, next.serverErr)
		}
		if !next.server.DidResume {
			return true
		}
		if resumed++; time.Since(began) > most+time.Second {
			a.Fatalf("resumed %v after the first authentication", time.Since(began))
		}
		session = next.session
		return false
	})
	if resumed == 0 && time.Since(began) < time.Second {
		a.Fatal("never resumed")
	}
}

func a50(a *arena) {
	host := a.host("a.test", requires(cast.caA), a.sharing())
	o := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	if !a.m.stateful {
		// Sealed by a machine whose clock is wrong.
		for _, at := range []int64{time.Now().Add(time.Hour).Unix(), 0, 1 << 40} {
			bad := editSession(a, o.session, fieldTime, integer(a, at))
			bad = withTicket(a, o.session, forgeTicket(a, a.key, bad, host.SessionIDContext()))
			a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: bad}))
		}
		for _, timeout := range []int64{0, -1, 1 << 31} {
			bad := editSession(a, o.session, fieldTimeout, integer(a, timeout))
			sess, err := openssl.ParseSession(bad)
			if err != nil {
				continue // this version does not read it
			}
			must(a, sess.Close())
			bad = withTicket(a, o.session, forgeTicket(a, a.key, bad, host.SessionIDContext()))
			a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA, session: bad}))
		}
		return
	}
	der := a.shelf.copy()[string(storeKey(host.SessionIDContext(), a.lookup(o.session)))]
	for what, bad := range map[string][]byte{
		"the future":   editSession(a, der, fieldTime, integer(a, time.Now().Add(time.Hour).Unix())),
		"a far future": editSession(a, der, fieldTime, integer(a, 1<<40)),
		"1970":         editSession(a, der, fieldTime, integer(a, 1)),
		// libssl takes 0 for three seconds
		"a timeout of 0":     editSession(a, editSession(a, der, fieldTimeout, integer(a, 0)), fieldTime, integer(a, time.Now().Unix()-10)),
		"a negative timeout": editSession(a, der, fieldTimeout, integer(a, -1)),
	} {
		a.shelf.mu.Lock()
		a.shelf.get = func(context.Context, []byte) ([]byte, error) { return bad, nil }
		a.shelf.mu.Unlock()
		next := a.visit(host, guest{name: "a.test", cert: cast.cliA, session: o.session})
		if next.clientErr != nil || next.serverErr != nil || next.server.DidResume {
			a.Errorf("%s: resumed %v, client %v, server %v", what, next.server.DidResume, next.clientErr, next.serverErr)
		}
	}
}

// caching is a client with a cache.
func (a *arena) caching(cache openssl.ClientSessionCache, settings ...setting) *openssl.Ctx {
	a.Helper()
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	setVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(certs(a).pem))
	must(a, c.SetClientSessionCache(cache))
	for _, s := range settings {
		s(a, c)
	}
	return c
}

// jar is a ClientSessionCache that closes what is left in it.
func (a *arena) jar() *jar {
	j := &jar{ClientSessionCache: openssl.NewLRUClientSessionCache(8), keys: make(map[string]bool)}
	a.Cleanup(func() {
		for key := range j.keys {
			j.Put(key, nil)
		}
	})
	return j
}

type jar struct {
	openssl.ClientSessionCache
	mu   sync.Mutex
	keys map[string]bool
	puts int
}

func (j *jar) Put(key string, s *openssl.Session) {
	j.mu.Lock()
	j.keys[key] = true
	j.puts++
	j.mu.Unlock()
	j.ClientSessionCache.Put(key, s)
}

// notOffered fails the test if a client has offered a session.
func (a *arena) notOffered(o encounter) {
	a.Helper()
	if o.server.DidResume || o.client.DidResume || o.server.Resumption != openssl.ResumptionNotOffered {
		a.Fatalf("%v has offered a session: %v", o, o.server.Resumption)
	}
}

func a51(a *arena) {
	// A hostile server for a.test knows its own session's secret. The same
	// wire's end is called b.test next.
	host := a.host("a.test")
	client := a.caching(a.jar())
	a.full(a.visit(host, guest{name: "a.test", client: client, wrap: samePlace}))
	o := a.visit(host, guest{name: "b.test", client: client, wrap: samePlace})
	var failed *openssl.VerifyError
	if !errors.As(o.clientErr, &failed) || o.client.DidResume {
		a.Fatalf("b.test was taken for a.test: resumed %v, %v", o.client.DidResume, o.clientErr)
	}
	a.resumed(a.visit(host, guest{name: "a.test", client: client, wrap: samePlace}))
}

func a52(a *arena) {
	host := a.server(named("a.test"), withPolicy(openssl.SessionPolicy{Label: "app"}), asks(cast.caA),
		func(t testing.TB, c *openssl.Ctx) { must(t, c.SetALPN("h2", "http/1.1")) })
	cache := a.jar()
	plain := a.caching(cache)
	a.full(a.visit(host, guest{name: "a.test", client: plain, wrap: samePlace}))
	extra := newAuthority(a, "another root", nil)
	for what, s := range map[string]setting{
		"other roots": func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(append(bytes.Clone(certs(t).pem), extra.pem...)))
		},
		"a certificate":    func(t testing.TB, c *openssl.Ctx) { must(t, c.UseCertificate(cast.cliA.cert, cast.cliA.key)) },
		"no verification":  func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyNone)) },
		"ALPN":             func(t testing.TB, c *openssl.Ctx) { must(t, c.SetALPN("h2")) },
		"another depth":    func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyDepth(5)) },
		"another security": func(t testing.TB, c *openssl.Ctx) { must(t, c.Conf("SignatureAlgorithms", "ECDSA+SHA256:RSA+SHA256")) },
	} {
		o := a.visit(host, guest{name: "a.test", client: a.caching(cache, s), cert: cast.cliA, wrap: samePlace})
		if o.clientErr != nil || o.serverErr != nil {
			a.Fatalf("%s: client %v, server %v", what, o.clientErr, o.serverErr)
		}
		a.notOffered(o)
	}
	a.resumed(a.visit(host, guest{name: "a.test", client: plain, wrap: samePlace}))
	// Another port of the same host.
	other := func(w net.Conn) net.Conn { return placeWire{w, "192.0.2.1:444"} }
	a.notOffered(a.visit(host, guest{name: "a.test", client: plain, wrap: other}))
}

func a53(a *arena) {
	host := a.host("a.test")
	o := a.full(a.visit(host, guest{name: "a.test"}))
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
		a.Fatal(err)
	}
	if c.Pending() != 0 {
		a.Fatal("something was said")
	}
}

func a54(a *arena) {
	host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetNumTickets(255)) })
	cache := a.jar()
	client := a.caching(cache)
	before := libssl.LiveHandles()
	for range 4 {
		a.visit(host, guest{name: "a.test", client: client})
	}
	if more := libssl.LiveHandles() - before; testing.Short() && more > 1000 {
		a.Errorf("%d more objects", more) // others run at the same time
	}
	small := openssl.NewLRUClientSessionCache(2)
	o := a.full(a.visit(host, guest{name: "a.test"}))
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
	old := editSession(a, o.session, fieldTimeout, integer(a, 1<<31-1))
	old = editSession(a, old, fieldTime, integer(a, time.Now().Add(-8*24*time.Hour).Unix()))
	small.Put("old", parse(old))
	if sess, ok := small.Get("old"); ok {
		sess.Close()
		a.Error("a session of eight days ago is offered")
	}
}

func a55(a *arena) {
	kept := func(what string, c *openssl.Ctx) {
		a.Helper()
		if n := c.Stats().Number; n != 0 {
			a.Errorf("%s: %d sessions are kept", what, n)
		}
	}
	strict := a.host("a.test", requires(cast.caB))
	a.refused(a.visit(strict, guest{name: "a.test", cert: cast.cliA}))
	a.refused(a.visit(strict, guest{name: "a.test"}))
	kept("a refused certificate", strict)

	no := errors.New("not you")
	// One ticket: what else TLS 1.3 has made stays until it expires. Nobody was
	// told its id.
	deciding := a.host("a.test", requires(cast.caA), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetNumTickets(1))
		must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { return no }))
	})
	o := a.refused(a.visit(deciding, guest{name: "a.test", cert: cast.cliA}))
	if !errors.Is(o.serverErr, no) {
		a.Errorf("the error is %v", o.serverErr)
	}
	kept("a refusing VerifyConnection", deciding)

	aborted := a.host("a.test", requires(cast.caA))
	hello := a.hello("a.test", nil).record()
	if _, err := a.say(aborted, hello); err == nil {
		a.Error("half a handshake succeeded")
	}
	kept("an aborted handshake", aborted)

	// A client keeps nothing of a server that it does not believe.
	cache := a.jar()
	o = a.visit(a.host("b.test"), guest{name: "a.test", client: a.caching(cache)})
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

func a56(a *arena) {
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
	a.visit(listener, guest{name: "a.test", look: func(s *openssl.Conn) {
		if s.Ctx().Options()&openssl.OptionNoRenegotiation == 0 {
			a.Error("renegotiation is possible after a switch")
		}
	}})
}

func a59(a *arena) {
	host := a.host("a.test", within("mine"))
	o := a.full(a.visit(host, guest{name: "a.test", look: func(s *openssl.Conn) {
		if err := s.SetSessionIDContext([]byte("other")); !errors.Is(err, openssl.ErrTooLate) {
			a.Errorf("after the handshake: %v", err)
		}
	}}))
	if string(o.server.SessionIDContext) != "mine" {
		a.Errorf("the context is %q", o.server.SessionIDContext)
	}
	a.resumed(a.visit(host, guest{name: "a.test", session: o.session}))
}

func a60(a *arena) {
	if openssl.OptionNoExtendedMasterSecret == 0 {
		a.Skip("this libssl cannot leave the extended master secret out")
	}
	host := a.host("a.test", within("mine"))
	without := a.caching(nil, func(t testing.TB, c *openssl.Ctx) { must(t, c.SetOptions(openssl.OptionNoExtendedMasterSecret)) })
	secure := a.full(a.visit(host, guest{name: "a.test"}))
	plain := a.full(a.visit(host, guest{name: "a.test", client: without}))
	down := a.visit(host, guest{name: "a.test", client: without, session: secure.session})
	up := a.visit(host, guest{name: "a.test", session: plain.session})
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
		"SetVerifyCAs":           func() error { return c.SetVerifyCAs(cast.caA.pem) },
		"SetClientCAs":           func() error { return c.SetClientCAs(cast.caA.pem) },
		"LoadVerifyLocations":    func() error { return c.LoadVerifyLocations(certFile, "") },
		"SetCRLs":                func() error { return c.SetCRLs(revocationList(t, cast.caA, 1)) },
		"SetMinVersion":          func() error { return c.SetMinVersion(tls.VersionTLS12) },
		"SetMaxVersion":          func() error { return c.SetMaxVersion(tls.VersionTLS13) },
		"SetCipherList":          func() error { return c.SetCipherList("HIGH") },
		"SetCipherSuites":        func() error { return c.SetCipherSuites("TLS_AES_128_GCM_SHA256") },
		"SetGroups":              func() error { return c.SetGroups("P-256") },
		"SetALPN":                func() error { return c.SetALPN("h2") },
		"Conf":                   func() error { return c.Conf("SignatureAlgorithms", "ECDSA+SHA256") },
		"SetSessionTimeout":      func() error { return c.SetSessionTimeout(time.Minute) },
		"SetMaxAuthAge":          func() error { return c.SetMaxAuthAge(time.Minute) },
		"SetSessionStoreTimeout": nil, // of a store that is not there
	}
	v := reflect.ValueOf(c)
	for m := range reflect.TypeOf(c).Methods() {
		if !regexp.MustCompile(`^(Set|Use|Load|Clear|Conf|Derive)`).MatchString(m.Name) {
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
			for arg := range f.Type().Ins() {
				in = append(in, reflect.Zero(arg))
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

func a61(a *arena) {
	host := a.host("a.test", within("one"), requires(cast.caA))
	a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	calls := setters(a, host)
	if len(calls) < 25 {
		a.Fatalf("only %d setters", len(calls))
	}
	rotation := regexp.MustCompile(`TicketKeys$`) // the one that is meant for a Ctx in use
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
					a.Error(err)
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
	o := a.full(a.visit(host, guest{name: "a.test", cert: cast.cliA}))
	if string(o.server.SessionIDContext) != "one" {
		a.Errorf("the context is %x", o.server.SessionIDContext)
	}
}

func a62(a *arena) {
	host, err := openssl.NewServerCtx()
	must(a, err)
	named("a.test")(a, host)
	within("mine")(a, host)
	setVersion(a, host, a.m.version)
	if a.m.stateful {
		must(a, host.SetOptions(openssl.OptionNoTicket))
	}
	c, err := openssl.NewSSL(a.client(nil, true))
	must(a, err)
	s, err := openssl.NewSSL(host)
	must(a, err)
	must(a, c.SetServerName("a.test"))
	must(a, host.Close()) // its machines go on
	mustShake(a, c, s)
	sess, err := c.Session()
	must(a, err)
	goodbye(a, c, s)
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

func a63(a *arena) {
	host := a.host("a.test", within("mine"))
	c, err := openssl.NewSSL(a.client(nil, true))
	must(a, err)
	s, err := openssl.NewSSL(host)
	must(a, err)
	must(a, c.SetServerName("a.test"))
	mustShake(a, c, s)
	if err := s.SetCtx(a.host("b.test")); !errors.Is(err, openssl.ErrTooLate) {
		a.Errorf("a machine changes its tenant: %v", err)
	}
	goodbye(a, c, s)
	if _, err := s.Handshake(); err == nil {
		a.Error("a machine begins anew")
	}
	// That nothing clears one is TestWhatIsNotOffered's.
}

func a64(a *arena) {
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

func a65(a *arena) {
	strict, open := a.host("a.test", requires(cast.caB)), a.host("b.test")
	for range 5 {
		a.refused(a.visit(strict, guest{name: "a.test", cert: cast.cliA}))
		o := a.full(a.visit(open, guest{name: "b.test"}))
		a.resumed(a.visit(open, guest{name: "b.test", session: o.session}))
		// Its own error, and nothing else.
		o = a.visit(open, guest{name: "a.test"})
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
