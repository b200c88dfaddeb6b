// Package sessiontest checks, in a Go test, that a TLS server does not let
// sessions cross from one virtual host to another. It connects as an ordinary
// client, takes a session at each host, and offers it under every other name: those
// of the other hosts, no name at all, an unknown name, and the same name in other
// letters. It also takes sessions under no name and under an unknown one, without a
// certificate, and offers them at each host. The server may be written in any language.
//
//	func TestSessionsDoNotCross(t *testing.T) {
//		sessiontest.Test(t, sessiontest.Target{
//			Addr:  server.Addr().String(),
//			Hosts: []sessiontest.Host{{Name: "a.example"}, {Name: "b.example", CertPEM: cert, KeyPEM: key}},
//		})
//	}
//
// Package probe does the work. It does not import package testing, and the command
// sidctx probe uses it too.
package sessiontest

import (
	"context"
	"testing"

	"github.com/sidctx/openssl/probe"
)

// These are the types of package probe, where their fields and methods are
// described.
type (
	Target  = probe.Target  // a server and the hosts that it must keep apart
	Host    = probe.Host    // one virtual host
	Row     = probe.Row     // one offer of a session and its outcome
	Report  = probe.Report  // the results of one probe
	Refusal = probe.Refusal // a host that refused every connection
)

// Probe offers sessions of each host of target at the others and reports what came
// of each offer. It is [probe.Run].
func Probe(ctx context.Context, target Target) (*Report, error) { return probe.Run(ctx, target) }

// Test runs [Probe] and reports each crossing as a failure of t. It also fails if
// an offer is undecided (see Default of [Target]), or if the report is inconclusive
// (see [Report]), since the absence of crossings proves nothing then.
func Test(t testing.TB, target Target) {
	t.Helper()
	report, err := Probe(t.Context(), target)
	if err != nil {
		t.Fatal("sessiontest: " + err.Error())
	}
	for _, row := range report.Crossings() {
		t.Errorf("crossing: %v", row)
	}
	for _, row := range report.Undecided() {
		t.Errorf("undecided: %v", row)
	}
	for _, why := range report.Inconclusive {
		t.Error("sessiontest: " + why)
	}
}
