package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/spec"
)

// matrix runs the decision tables of the specification against the libssl that
// is linked. It fails, and names the rows, where that does something else.
func matrix(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "matrix", "[-json | -spec]", "sidctx matrix -json > matrix.json",
		"libssl does what the specification says", "a row differs, or could not be tried", badUsage)
	asJSON := flags.Bool("json", false, "print one JSON object")
	asSpec := flags.Bool("spec", false, "print SPEC.md, if the linked libssl agrees with it")
	if done, err := parse(flags, errOut, args); done || err != nil {
		return err
	}
	tables, err := spec.Tables()
	if err != nil {
		return err
	}
	start, rows := time.Now(), spec.Rows(tables)
	results, err := holdAgainst(ctx, rows, progress(errOut, len(rows)))
	if err != nil {
		return err
	}
	took := time.Since(start)

	wrong := differing(results)
	switch {
	case *asJSON:
		err = printJSON(out, results, took)
	case *asSpec && wrong == nil:
		err = spec.WriteMarkdown(out)
	case !*asSpec:
		printTables(out, tables, results)
		fmt.Fprintf(out, "%s: %d rows in %.1f s, %d differ from the specification\n",
			openssl.Version().Linked, len(results), took.Seconds(), countDiffering(results))
	}
	if err != nil {
		return err
	}
	return wrong
}

// holdAgainst runs rows against the linked libssl.
func holdAgainst(ctx context.Context, rows []spec.Row, done func(n int)) ([]spec.Result, error) {
	runner, err := spec.NewRunner()
	if err != nil {
		return nil, err
	}
	defer runner.Close()
	return runner.RunAll(ctx, rows, done)
}

// differing is an error that names the rows where libssl does something else,
// nil if there are none.
func differing(results []spec.Result) error {
	n := countDiffering(results)
	if n == 0 {
		return nil
	}
	var b strings.Builder
	for _, r := range results {
		if !r.OK() {
			fmt.Fprintf(&b, "\n  %v: %s, the specification says %s", r.Row, r.Outcome, r.Want)
		}
	}
	return fmt.Errorf("%d of %d rows differ from the specification:%s", n, len(results), b.String())
}

func countDiffering(results []spec.Result) (n int) {
	for _, r := range results {
		if !r.OK() {
			n++
		}
	}
	return n
}

// progress draws a line on terminals, and nothing elsewhere.
func progress(errOut io.Writer, total int) func(n int) {
	if !paintFor(errOut) {
		return nil
	}
	return func(n int) {
		fmt.Fprintf(errOut, "\r%d of %d", n, total)
		if n == total {
			fmt.Fprint(errOut, "\r\x1b[K")
		}
	}
}

func printJSON(out io.Writer, results []spec.Result, took time.Duration) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "\t")
	return e.Encode(struct {
		OpenSSL string        `json:"openssl"`
		Seconds float64       `json:"seconds"`
		Differ  int           `json:"differ"`
		Rows    []spec.Result `json:"rows"`
	}{openssl.Version().Linked, took.Seconds(), countDiffering(results), results})
}

// printTables prints what libssl did, with an exclamation mark behind what
// differs. Results stand in the order of the tables.
func printTables(out io.Writer, tables []spec.Table, results []spec.Result) {
	colour := paintFor(out)
	for _, t := range tables {
		fmt.Fprintln(out, colour.in(bold, t.Title))
		fmt.Fprintf(out, "  %-9s%-10s%-14s", "protocol", "mechanism", "context")
		for _, column := range t.Columns {
			fmt.Fprintf(out, " %-13s", column)
		}
		fmt.Fprintln(out)
		for _, protocol := range spec.Protocols {
			for _, l := range t.Lines {
				fmt.Fprintf(out, "  %-9s%-10s%-14s", protocol, l.Mechanism, l.Contexts)
				for range t.Columns {
					r := results[0]
					results = results[1:]
					cell, ink := r.Outcome, green
					if !r.OK() {
						cell, ink = cell+"!", red
					}
					fmt.Fprint(out, " "+colour.in(ink, fmt.Sprintf("%-13s", cell)))
				}
				fmt.Fprintln(out)
			}
		}
		fmt.Fprintln(out)
	}
	for _, line := range spec.Legend {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out)
}
