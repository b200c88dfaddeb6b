// Evidence runs the targets of the Makefile that look for faults, one after another, and
// writes what each has come to.
//
// Usage, in the module's root: go run ./internal/evidence [-only regexp] [-o file]
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"github.com/sidctx/openssl"
)

// outcome is what a detector has come to.
type outcome struct {
	ran    bool
	err    error
	figure string
	took   time.Duration
}

func main() {
	only := flag.String("only", "", "run the targets that match this, all if it is empty")
	file := flag.String("o", "EVIDENCE.md", "the file to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *file); err != nil {
		fmt.Fprintln(os.Stderr, "evidence:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, file string) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	outcomes := make([]outcome, len(detectors))
	var failed []string
	for i, d := range detectors {
		if !wanted.MatchString(d.target) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "make %s\n", d.target)
		outcomes[i] = d.run(ctx)
		if outcomes[i].err != nil {
			failed = append(failed, d.target)
		}
		fmt.Fprintf(os.Stderr, "make %s: %s\n", d.target, outcomes[i])
	}
	var b bytes.Buffer
	write(&b, outcomes)
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return ctx.Err()
}

// run calls make. Of a target that fails the end of its output is printed.
func (d *detector) run(ctx context.Context) outcome {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "make", strings.Fields(d.target)...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = os.Environ()
	if d.figure == nil {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -v"))
	}
	out, err := cmd.CombinedOutput()
	o := outcome{ran: true, err: err, took: time.Since(began)}
	if d.figure == nil {
		o.figure = countTests(out)
	} else {
		o.figure = d.find(out)
	}
	if err != nil {
		os.Stderr.Write(out[max(0, len(out)-20000):])
	}
	return o
}

// find returns what the figure's expression finds in the output, each time.
func (d *detector) find(out []byte) string {
	var found []string
	for _, m := range d.figure.FindAllSubmatch(out, -1) {
		found = append(found, strings.TrimSpace(string(bytes.Join(m[1:], []byte(" ")))))
	}
	return strings.Join(found, "; ")
}

var verdicts = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): `)

func countTests(out []byte) string {
	counts := make(map[string]int)
	for _, m := range verdicts.FindAllSubmatch(out, -1) {
		counts[string(m[1])]++
	}
	return fmt.Sprintf("%d tests passed, %d failed, %d skipped", counts["PASS"], counts["FAIL"], counts["SKIP"])
}

func (o outcome) String() string {
	switch {
	case !o.ran:
		return "not run"
	case o.err != nil:
		return fmt.Sprintf("**failed** (%v): %s", o.err, cmp.Or(o.figure, "no figure"))
	}
	return fmt.Sprintf("%s, in %v", cmp.Or(o.figure, "passed"), o.took.Round(time.Second))
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return name + ": " + err.Error()
	}
	return strings.TrimSpace(string(out))
}

func write(w io.Writer, outcomes []outcome) {
	fmt.Fprintf(w, "# Evidence\n\nMade by `make evidence`, of commit %s with %s and %s. The targets run by themselves, too: `make` lists them.\n"+
		"What the library claims, and the test of each claim: [docs/CLAIMS.md](docs/CLAIMS.md).\n\n",
		output("git", "describe", "--always", "--dirty"), openssl.Version().Linked, output("go", "env", "GOVERSION"))
	fmt.Fprintf(w, "| Command | Looks for | Result | Seen to fail on |\n| --- | --- | --- | --- |\n")
	for i, d := range detectors {
		fmt.Fprintf(w, "| `make %s` | %s | %s | %s |\n", d.target, d.looks, outcomes[i], d.seeded)
	}
}
