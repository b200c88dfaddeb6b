// Evidence runs the targets of the Makefile that look for faults, one after another, and
// writes what each has come to. Of the targets that are left out it keeps what the file
// had of them, with the commit that they were run on.
//
// Usage, in the module's root: go run ./internal/evidence [-only regexp] [-o file]
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
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
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var failed []string
	text := []byte(head)
	for _, d := range detectors {
		if !wanted.MatchString(d.target) || ctx.Err() != nil {
			text = append(text, d.kept(before)...)
			continue
		}
		fmt.Fprintf(os.Stderr, "make %s\n", d.target)
		o := d.run(ctx)
		if o.err != nil {
			failed = append(failed, d.target)
		}
		fmt.Fprintf(os.Stderr, "make %s: %s\n", d.target, o)
		text = append(text, d.row(o.String(), with())...)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return ctx.Err()
}

// run calls make. Of a target that fails the end of its output is printed, and where all
// of it is.
func (d *detector) run(ctx context.Context) outcome {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "make", strings.Fields(d.target)...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = os.Environ()
	if d.figure == nil {
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -v"))
	}
	out, err := cmd.CombinedOutput()
	o := outcome{err: err, took: time.Since(began)}
	if d.figure == nil {
		o.figure = countTests(out)
	} else {
		o.figure = d.find(out)
	}
	if err != nil {
		os.Stderr.Write(out[max(0, len(out)-20000):])
		if f, err := os.CreateTemp("", "evidence-*.log"); err == nil {
			f.Write(out)
			f.Close()
			fmt.Fprintf(os.Stderr, "make %s: all of its output: %s\n", d.target, f.Name())
		}
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
	if o.err != nil {
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

const head = `# Evidence

Written by "make evidence". The targets run by themselves, too: "make" lists them. What the library claims, and the
test of each claim: [docs/CLAIMS.md](docs/CLAIMS.md).

| Command | Looks for | Result | Of | Seen to fail on |
| --- | --- | --- | --- | --- |
`

// with is what a target has run on: the commit, or what it was made of, and the versions.
func with() string {
	commit := output("git", "rev-parse", "--short", "HEAD")
	if exec.Command("git", "diff", "--quiet", "HEAD", "--", ".", ":!EVIDENCE.md").Run() != nil {
		commit += " and changes"
	}
	return commit + ", " + openssl.Version().Linked + ", " + output("go", "env", "GOVERSION")
}

func (d *detector) row(result, with string) string {
	return fmt.Sprintf("| `make %s` | %s | %s | %s | %s |\n", d.target, d.looks, result, with, d.seeded)
}

// kept is the row with what the file before says of a target.
func (d *detector) kept(before []byte) string {
	for line := range strings.Lines(string(before)) {
		if cells := strings.Split(line, " | "); len(cells) == 5 && cells[0] == fmt.Sprintf("| `make %s`", d.target) {
			return d.row(cells[2], cells[3])
		}
	}
	return d.row("not run", "")
}
