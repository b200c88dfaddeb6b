package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
)

// Every case runs once with every peer, none of them missing, and what comes
// out is a table and a drawing.
func TestEveryCaseWithEveryPeer(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it compiles and runs a peer in C")
	}
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatalf("newLab: %v", err)
	}
	r := &report{GOMAXPROCS: 2}
	for i := range cases {
		c := &cases[i]
		t.Run(c.id, func(t *testing.T) {
			rounds, err := l.measure(t.Context(), c, quickScale, func(string) {})
			if err != nil {
				t.Fatalf("measure: %v", err)
			}
			one, err := newCaseReport(c, rounds) // refuses what is not positive
			if err != nil {
				t.Fatalf("newCaseReport: %v", err)
			}
			if got, want := len(one.Median), len(peers)-len(c.without); got != want {
				t.Errorf("%d peers in the report, not %d", got, want)
			}
			r.Cases = append(r.Cases, one)
		})
	}
	var text, drawing bytes.Buffer
	r.tables(&text)
	r.plot(&drawing)
	for _, c := range cases {
		if !strings.Contains(text.String(), "| "+c.name+" ") {
			t.Errorf("no line for %s", c.id)
		}
	}
	for d := xml.NewDecoder(&drawing); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the drawing is no XML: %v", err)
		}
	}
}

// A peer that is missing from the rounds is an error, not an empty column.
func TestMissingPeerIsAnError(t *testing.T) {
	one := sample{CPU: 1000, Ops: 1}
	c := &benchCase{id: "x"}
	all := series{}
	for _, p := range peers {
		all[p] = []sample{one}
	}
	if _, err := newCaseReport(c, all); err != nil {
		t.Fatalf("newCaseReport: %v", err)
	}
	for _, p := range peers[1:] {
		less := series{}
		for q := range all {
			if q != p {
				less[q] = all[q]
			}
		}
		if _, err := newCaseReport(c, less); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("without %s: %v", p, err)
		}
	}
}

// A ratio is that of the same round: a machine that slows down in one round
// slows both.
func TestRatiosArePaired(t *testing.T) {
	rounds := series{}
	for _, p := range peers {
		for _, slow := range []int64{1, 5, 2} {
			cost := int64(1000)
			if p == plainC {
				cost = 800
			}
			rounds[p] = append(rounds[p], sample{CPU: cost * slow, Ops: 1})
		}
	}
	c := &benchCase{id: "x", targets: []target{{plainC, 0.8, 0.9}, {goTLS, 1.01, 2}}}
	r, err := newCaseReport(c, rounds)
	if err != nil {
		t.Fatalf("newCaseReport: %v", err)
	}
	for i, want := range []struct {
		median float64
		met    string
	}{{0.8, "target"}, {1, "missed"}, {1, ""}} {
		q := r.Ratios[i]
		if q.Median != want.median || q.Low != want.median || q.High != want.median || q.Met != want.met {
			t.Errorf("%s: %v, %q, not %v, %q", q.Against, q, q.Met, want.median, want.met)
		}
	}
}

func TestLessMemoryMeetsTheTarget(t *testing.T) {
	for v, want := range map[float64]string{1.05: "stretch", 1.1: "stretch", 1.2: "target", 1.25: "target", 1.3: "missed"} {
		if got := met(v, target{plainC, 1.25, 1.1}, true); got != want {
			t.Errorf("%v is %s, not %s", v, got, want)
		}
	}
}

// Where the two halves of the rounds are far apart there is no figure to trust.
func TestNoisyRoundsAreNoFigure(t *testing.T) {
	rounds := series{}
	for i := range 10 {
		for _, p := range peers {
			cost := int64(1000)
			if p == ours && i >= 5 {
				cost = 1500
			}
			rounds[p] = append(rounds[p], sample{CPU: cost, Ops: 1})
		}
	}
	c, err := newCaseReport(&benchCase{id: "x", name: "x", targets: []target{{plainC, 0.5, 0.9}}}, rounds)
	if err != nil {
		t.Fatalf("newCaseReport: %v", err)
	}
	if q := c.Ratios[0]; q.Met != "noisy" || q.String() != "1.00, then 0.67" {
		t.Errorf("rounds of which half were slower: %q, %s", q.Met, q)
	}
	var text bytes.Buffer
	(&report{Cases: []caseReport{c}}).tables(&text)
	if !strings.Contains(text.String(), "Run it again on a quiet machine") {
		t.Errorf("the table does not say that it is noisy:\n%s", &text)
	}
}

// An account has its lines, and those of C are of this run.
func TestAccount(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it compiles and runs a peer in C")
	}
	l, err := newLab(t.TempDir())
	if err != nil {
		t.Fatalf("newLab: %v", err)
	}
	var text bytes.Buffer
	if err := l.account(t.Context(), &text, regexp.MustCompile("hs-sid-12|growth|scale"), 16); err != nil {
		t.Fatalf("account: %v", err)
	}
	for _, want := range []string{"| malloc, calloc, realloc ", "| page faults ", "| read locks ", "growth", "at once, ms"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in the account:\n%s", want, &text)
		}
	}
}
