//go:build cgo

package spec_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/spec"
	"github.com/sidctx/openssl/internal/tlstest"
)

// TestSpec runs the specification: the cases of cases.txt, each
// through the public API or, where that does not offer what the case is about,
// by a C program. Lifetime caps and re-checks are off: what is specified is
// what libssl decides.
func TestSpec(t *testing.T) {
	cases, err := spec.Cases()
	must(t, err)
	ran := make(map[int]bool)
	for _, c := range cases {
		run := specCases[c.Number]
		switch {
		case ran[c.Number]:
			t.Errorf("%s stands twice in the list", c.Name)
		case c.Go != (run != nil):
			t.Errorf("%s: through the public API by the list: %v, here: %v", c.Name, c.Go, run != nil)
		}
		ran[c.Number] = true
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			switch {
			case !c.C:
			case !testing.Short():
				specProgram(t, c)
			case run == nil:
				t.Skip("left out by -short: it compiles a C program")
			}
			if run != nil {
				run(t, c)
			}
		})
	}
	for n := range specCases {
		if !ran[n] {
			t.Errorf("case %d is run, and does not stand in the list", n)
		}
	}
}

// specCases is what is shown through the public API.
var specCases = map[int]func(*testing.T, spec.Case){
	1: specLengthOfCtx, 2: specLengthOfConnection, 3: specLengthOfSession, 4: specLengthsBeyondInt,
	5: specNilAndEmpty, 6: specExactBytes, 7: specCallersSlice, 8: specForeignErrors, 9: specAfterAnError,
	10: specUseAfterClose, 11: specThousandGoroutines,

	12: specSetBefore, 13: specSetAfter, 14: specOverride, 15: specSwitch, 16: specOverrideEqual,
	17: specOverrideEmpty, 18: specSwitchesInARow, 19: specChangedThenSwitched,
	21: specEncodings, 22: specOtherVersions,

	23: specSameContext, 24: specOtherContext,
	25: specDecision("unset", "unset", "none"), 26: specDecision("A", "unset", "none"), 27: specDecision("unset", "A", "none"),
	28: specRefusalDoesNotInvalidate,

	30: specCertificateComesBack, 31: specCertificatesNeedContext,
	32: specDecision("unset", "unset", "none>peer", "none>required"), 33: specDecision("A", "unset", "peer", "required"),
	34: specWeakerVerify, 35: specDecision("A", "A", "peer>none"), 36: specPostHandshake,
	37: specAfterTheFatalOne, 38: specEveryDoor,

	39: specClientSame, 40: specClientOther, 41: specClientOtherDeclined, 44: specClientsVerifyNothing,

	46: specInTheHello, 50: specTooLateToSwitch, 51: specSuspendedOnce, 52: specAsynchronousLookup,

	54: specHosts, 55: specHostsOneContext, 56: specHostsNoName, 57: specVerifyModeOfHost,

	59: specSharedKeys, 63: specClosing, 64: specTickets13, 65: specRenewedTicket, 67: specCapacity,
	68: specExpiry, 70: specCacheOff, 71: specVersionCrossings, 72: specUndecryptable,

	73: specPSK, 74: specPSKContexts, 75: specPSKVerify, 76: specPSKSessions, 77: specPSKHash, 78: specPSKSwitches,
}

// TestSpecCount pins what the specification promises.
func TestSpecCount(t *testing.T) {
	cases, err := spec.Cases()
	must(t, err)
	throughGo, inC := 0, 0
	for i, c := range cases {
		if c.Number != i+1 {
			t.Fatalf("case %d stands where %d belongs", c.Number, i+1)
		}
		if c.Text == "" {
			t.Errorf("%s says nothing", c.Name)
		}
		if c.Go {
			throughGo++
		}
		if c.C {
			inC++
			if len(c.Lines) == 0 {
				t.Errorf("%s expects nothing of its program", c.Name)
			}
		}
	}
	if len(cases) != 78 || throughGo < 62 {
		t.Fatalf("%d cases, %d of them through the public API and %d in C", len(cases), throughGo, inC)
	}
}

// TestSpecMarkdown compares SPEC.md with the data that it is made of, and counts
// what it says is left out.
func TestSpecMarkdown(t *testing.T) {
	got, err := os.ReadFile("../../SPEC.md")
	must(t, err)
	var made strings.Builder
	must(t, spec.WriteMarkdown(&made))
	if string(got) != made.String() {
		t.Fatal("SPEC.md is not what its data says: run go generate ./internal/spec")
	}

	cases, err := spec.Cases()
	must(t, err)
	_, table, _ := strings.Cut(string(got), "\n## What is left out\n\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	datagrams, left := 0, 0
	for _, c := range cases {
		for _, what := range c.Left {
			if strings.HasPrefix(what, "DTLS 1.2: ") {
				datagrams++
			}
			if left >= len(rows) || !strings.HasPrefix(rows[left], "| "+c.Name+" | ") || strings.HasSuffix(rows[left], "|  |") {
				t.Fatalf("%s leaves out %q, and the table does not say what and why: %v", c.Name, what, rows)
			}
			left++
		}
	}
	// DTLS has a part in cases 12, 23 and 31.
	if left != len(rows) || datagrams != 3 {
		t.Errorf("the table has %d rows for %d things that are left out, %d of them of DTLS", len(rows), left, datagrams)
	}
}

// specProgram compares what a C program prints, line by line.
func specProgram(t *testing.T, c spec.Case) {
	got, err := spec.RunProgram(t.Context(), t.TempDir(), c.Number)
	must(t, err)
	for _, e := range c.Lines {
		t.Run(e.Key, func(t *testing.T) {
			if want := e.For(openssl.Version().LinkedNumber); got[e.Key] != want {
				t.Errorf("%s, want %s", got[e.Key], want)
			}
		})
		delete(got, e.Key)
	}
	for key, value := range got {
		t.Errorf("the program prints what nobody expects: %s: %s", key, value)
	}
}

// ---- what the cases are made of ----

// specKind is where a case is run.
type specKind struct{ protocol, mechanism string }

func (k specKind) version() uint16 {
	for _, v := range tlstest.Versions {
		if v.Name == k.protocol {
			return v.ID
		}
	}
	panic("no such protocol: " + k.protocol)
}

func (k specKind) String() string { return k.protocol + "/" + k.mechanism }

// eachKind runs f for every kind that keep does not refuse; nil keeps all.
func eachKind(t *testing.T, keep func(specKind) bool, f func(t *testing.T, k specKind)) {
	t.Helper()
	for _, protocol := range spec.Protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			for _, mechanism := range spec.Mechanisms {
				k := specKind{protocol, mechanism}
				if keep != nil && !keep(k) {
					continue
				}
				t.Run(mechanism, func(t *testing.T) {
					t.Parallel()
					f(t, k)
				})
			}
		})
	}
}

// eachProtocol runs f for both protocols, by tickets.
func eachProtocol(t *testing.T, f func(t *testing.T, k specKind)) {
	t.Helper()
	for _, protocol := range spec.Protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			f(t, specKind{protocol, spec.Ticket})
		})
	}
}

func notExternal(k specKind) bool { return k.mechanism != spec.External }

func isTLS13(k specKind) bool { return k.protocol == "TLS1.3" }

// specContext is a context by its name in the specification.
func specContext(name string) []byte {
	if name == "unset" {
		return nil
	}
	return []byte(name)
}

// ctx is a server Ctx with a context and a verify mode.
func (k specKind) ctx(t testing.TB, sidCtx, verify string) *openssl.Ctx {
	t.Helper()
	c := tlstest.NewServer(t)
	tlstest.SetVersion(t, c, k.version())
	must(t, c.SetClientCAs(tlstest.Certs(t).PEM))
	must(t, c.SetVerify(spec.VerifyModes[verify]))
	must(t, c.SetSessionIDContext(specContext(sidCtx)))
	must(t, spec.Plain(c))
	return c
}

func (k specKind) site(t testing.TB, sidCtx, verify string) *spec.Site {
	t.Helper()
	site, err := spec.NewSite(k.ctx(t, sidCtx, verify), k.mechanism)
	must(t, err)
	site.Forgets = sidCtx == "unset" && verify != "none"
	return site
}

// joined is another Ctx for a site, to be switched to.
func (k specKind) joined(t testing.TB, site *spec.Site, sidCtx, verify string) *openssl.Ctx {
	t.Helper()
	c := k.ctx(t, sidCtx, verify)
	must(t, site.Join(c))
	return c
}

func (k specKind) client(t testing.TB) *openssl.Ctx {
	t.Helper()
	c := tlstest.NewClient(t)
	tlstest.SetVersion(t, c, k.version())
	return c
}

// bareClient has no certificate and verifies nothing.
func (k specKind) bareClient(t testing.TB) *openssl.Ctx {
	t.Helper()
	c, err := openssl.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetVerify(openssl.VerifyNone))
	tlstest.SetVersion(t, c, k.version())
	return c
}

// specConnect is one connection whose outcome, in the letters of decisions.txt, is
// known; specDial is the same with Conns.
func specConnect(t testing.TB, site *spec.Site, client *openssl.Ctx, o spec.Offer, want string) *spec.Meeting {
	t.Helper()
	m, err := site.Connect(client, o)
	return specChecked(t, m, err, want)
}

func specDial(t testing.TB, site *spec.Site, client *openssl.Ctx, o spec.Offer, want string) *spec.Meeting {
	t.Helper()
	m, err := site.Dial(client, o)
	return specChecked(t, m, err, want)
}

func specChecked(t testing.TB, m *spec.Meeting, err error, want string) *spec.Meeting {
	t.Helper()
	must(t, err)
	t.Cleanup(m.Close)
	if got := m.Outcome(); got != want {
		t.Fatalf("outcome %s, want %s", got, want)
	}
	return m
}

// firstSession is a full handshake that leaves the client a session.
func firstSession(t testing.TB, site *spec.Site, client *openssl.Ctx) *openssl.Session {
	t.Helper()
	m, err := site.First(client, spec.Offer{})
	specChecked(t, m, err, "f")
	if m.Session == nil {
		t.Fatal("the client has no session")
	}
	return m.Session
}

// serverWithin puts the server's end of a connection into a context.
func serverWithin(sidCtx string) func(*openssl.SSL) error {
	return func(s *openssl.SSL) error { return s.SetSessionIDContext(specContext(sidCtx)) }
}

// switchTo switches it to another Ctx.
func switchTo(c *openssl.Ctx) func(*openssl.SSL) error {
	return func(s *openssl.SSL) error { return s.SetCtx(c) }
}

// carries checks the context of the session that a connection runs in.
func carries(t testing.TB, m *spec.Meeting, want string) {
	t.Helper()
	if got := m.Server.SessionIDContext; !bytes.Equal(got, specContext(want)) {
		t.Fatalf("the session carries %q, want %s", got, want)
	}
}

// decided is the outcome in the decision tables, for a client with a certificate.
func decided(t testing.TB, k specKind, firstSid, secondSid, before, after string) string {
	t.Helper()
	tables, err := spec.Tables()
	must(t, err)
	for _, r := range spec.Rows(tables) {
		if r.Protocol == k.protocol && r.Mechanism == k.mechanism && r.First == firstSid && r.Second == secondSid &&
			r.VerifyFirst == before && r.Verify == after && r.Certificate {
			return r.Expected(openssl.Version().LinkedNumber)
		}
	}
	t.Fatalf("the tables say nothing of %v, %s->%s, %s>%s", k, firstSid, secondSid, before, after)
	return ""
}

// specWant is an expectation of a case, for the linked version.
func specWant(t testing.TB, c spec.Case, key string) string {
	t.Helper()
	text, err := c.Want(key, openssl.Version().LinkedNumber)
	must(t, err)
	return text
}

func specCount(t testing.TB, c spec.Case, key string, got int64) {
	t.Helper()
	if text := specWant(t, c, key); fmt.Sprint(got) != text {
		t.Errorf("%s: %d, want %s", key, got, text)
	}
}

// refusedTooLong checks that an error is libssl's 273 and nothing besides.
func refusedTooLong(t testing.TB, err error) *openssl.Error {
	t.Helper()
	e, ok := tlstest.AsType[*openssl.Error](err)
	if !ok || !errors.Is(err, openssl.ErrSessionIDContextTooLong) || len(e.Stack) != 1 {
		t.Fatalf("not refused as too long, and as nothing else: %v", err)
	}
	return e
}
