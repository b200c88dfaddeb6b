package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// report is the JSON file: what ran where, and every round.
type report struct {
	Go         string       `json:"go"`
	OpenSSL    string       `json:"openssl"`
	CPU        string       `json:"cpu"`
	Kernel     string       `json:"kernel"`
	Date       string       `json:"date"`
	GOMAXPROCS int          `json:"gomaxprocs"`
	Pinned     bool         `json:"pinned"` // TCP cases: server to CPU 0, client to CPU 1
	Load       string       `json:"load"`   // of the machine before and after
	Seconds    float64      `json:"seconds"`
	Cases      []caseReport `json:"cases"`
}

type caseReport struct {
	ID      string             `json:"id"`
	Row     int                `json:"row,omitempty"`
	Name    string             `json:"name"`
	Unit    string             `json:"unit"`
	Median  map[string]float64 `json:"median"` // per operation or connection
	Ratios  []ratio            `json:"ratios"`
	Without map[string]string  `json:"without,omitempty"`
	Rounds  series             `json:"rounds"`

	lower bool // is better
}

// ratio compares ours with a peer, round by round. Above 1 ours is cheaper,
// except for memory, where it is how many times as much ours needs.
type ratio struct {
	Against string    `json:"against"`
	Median  float64   `json:"median"`
	Low     float64   `json:"low"` // quartiles
	High    float64   `json:"high"`
	Target  float64   `json:"target,omitempty"`
	Stretch float64   `json:"stretch,omitempty"`
	Met     string    `json:"met,omitempty"` // stretch, target, missed or noisy
	First   float64   `json:"first"`         // medians of the two halves of the rounds
	Second  float64   `json:"second"`
	Values  []float64 `json:"values"`
}

// quantile of values, which it leaves alone.
func quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

func newCaseReport(c *benchCase, rounds series) (caseReport, error) {
	r := caseReport{ID: c.id, Row: c.row, Name: c.name, Unit: c.unit, Without: c.without, Rounds: rounds, lower: c.memory || c.latency,
		Median: map[string]float64{}}
	costs := map[string][]float64{}
	for _, p := range c.peers() {
		for _, s := range rounds[p] {
			costs[p] = append(costs[p], s.perOp(c))
		}
		if len(costs[p]) == 0 || len(costs[p]) != len(costs[ours]) {
			return r, fmt.Errorf("%s: the column of %s is missing or short", c.id, p)
		}
		if slices.Min(costs[p]) <= 0 {
			return r, fmt.Errorf("%s: %s cost nothing in some round: too few operations to measure", c.id, p)
		}
		r.Median[p] = quantile(costs[p], 0.5)
	}
	for _, p := range c.peers()[1:] {
		q := ratio{Against: p}
		for i, mine := range costs[ours] {
			v := costs[p][i] / mine
			if r.lower {
				v = 1 / v
			}
			q.Values = append(q.Values, v)
		}
		q.Median, q.Low, q.High = quantile(q.Values, 0.5), quantile(q.Values, 0.25), quantile(q.Values, 0.75)
		half := len(q.Values) / 2
		q.First, q.Second = quantile(q.Values[:max(half, 1)], 0.5), quantile(q.Values[half:], 0.5)
		for _, t := range c.targets {
			if t.against == p {
				q.Target, q.Stretch, q.Met = t.target, t.stretch, met(q.Median, t, r.lower)
			}
		}
		if q.noisy() && q.Met != "" {
			q.Met = "noisy"
		}
		r.Ratios = append(r.Ratios, q)
	}
	return r, nil
}

func met(v float64, t target, lower bool) string {
	reached := func(goal float64) bool {
		if lower {
			return v <= goal
		}
		return v >= goal
	}
	switch {
	case reached(t.stretch):
		return "stretch"
	case reached(t.target):
		return "target"
	}
	return "missed"
}

// tables writes what a reader looks at, in Markdown.
func (r *report) tables(w io.Writer) {
	fmt.Fprintf(w, "%s, %s, %s, Linux %s, GOMAXPROCS=%d, %s, load %s.\n", r.OpenSSL, r.Go, r.CPU, r.Kernel, r.GOMAXPROCS,
		map[bool]string{true: "TCP cases pinned (server CPU 0, client CPU 1)", false: "nothing pinned"}[r.Pinned], r.Load)
	fmt.Fprintf(w, "\nRatios are medians over paired rounds of the CPU time of the whole process (quartiles in brackets): above 1 this library is cheaper.\nMemory and latency (≤): how many times as much it needs.\n\n")
	table := [][]string{{"#", "case", "against", "measured", "target", "stretch", "met"}}
	for _, c := range r.Cases {
		for _, q := range c.Ratios {
			if q.Target != 0 {
				sign := "≥"
				if c.lower {
					sign = "≤"
				}
				table = append(table, []string{fmt.Sprint(c.Row), c.Name, q.Against, q.String(),
					fmt.Sprintf("%s %.2f", sign, q.Target), fmt.Sprintf("%.2f", q.Stretch), q.Met})
			}
		}
	}
	markdown(w, table)
	fmt.Fprintf(w, "\nCost of one operation or connection (median), and how this library compares with that peer.\n\n")
	table = [][]string{append([]string{"case", "unit"}, peers...)}
	noisyCells := 0
	for _, c := range r.Cases {
		line := []string{c.Name, c.Unit, figure(c.Median[ours])}
		for _, p := range peers[1:] {
			cell := "– (" + c.Without[p] + ")"
			for _, q := range c.Ratios {
				if q.Against == p && q.noisy() {
					cell, noisyCells = figure(c.Median[p])+" [noisy]", noisyCells+1
				} else if q.Against == p {
					cell = fmt.Sprintf("%s [%s]", figure(c.Median[p]), figure(q.Median))
				}
			}
			line = append(line, cell)
		}
		table = append(table, line)
	}
	markdown(w, table)
	if noisyCells > 0 {
		fmt.Fprintf(w, "\n%d comparisons are noisy: the two halves of their rounds are more than %.0f %% apart. Run it again on a quiet machine.\n", noisyCells, 100*noise)
	}
}

// noise is how far the two halves of the rounds may be apart.
const noise = 0.15

// noisy reports whether the machine was too busy with something else to compare anything.
func (q ratio) noisy() bool { return math.Abs(q.First-q.Second) > noise*q.Median }

func (q ratio) String() string {
	if q.noisy() {
		return fmt.Sprintf("%.2f, then %.2f", q.First, q.Second)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", q.Median, q.Low, q.High)
}

func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// markdown pads the columns, so that the text can be read as it is.
func markdown(w io.Writer, table [][]string) {
	width := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	rule := make([]string, len(width))
	for i := range rule {
		rule[i] = strings.Repeat("-", width[i])
	}
	for _, line := range slices.Insert(slices.Clone(table), 1, rule) {
		for k, cell := range line {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", width[k]-len([]rune(cell))))
		}
		fmt.Fprintln(w, "|")
	}
}
