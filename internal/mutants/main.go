// Mutants shows that the tests see what they are for: it builds the library with
// one fault at a time and runs the attacks, or the tests that are named with the
// fault. A fault is killed if a row that it is listed with goes red while the rest
// of the attacks stays green, or if each named test fails or crashes. The faults
// are overlays for the compiler; the library has no branches for them.
//
// Usage, in the module's root: go run ./internal/mutants [-v] [-j n] [name ...]
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// attacks is the package of the rows.
const attacks = "isolation"

// folder is where a package is, by its name.
func folder(name string) string {
	switch name {
	case "openssl":
		return "."
	case "sessiontest", "httpx":
		return name
	}
	return "internal/" + name
}

// edit replaces one text, which must be there exactly once, in one file.
type edit struct{ file, from, to string }

// fault is one way to get it wrong.
type fault struct {
	name  string
	rows  string // of which at least one must go red
	also  string // rows about the same property: they may
	edits []edit
	after bool // it shows after a Revoke: the rows run again then, too

	tests string // instead of rows: each of these tests, of a package, must fail
	tags  string // that they are built with
	race  bool   // with the race detector
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: TestAttacks(?:AfterRevoke/\w+)?/(A\d\d)_`)

// skipped is a test that has not run. Parts of one may be skipped.
var skipped = regexp.MustCompile(`(?m)^--- SKIP: `)

// verdict is what became of a fault.
type verdict struct {
	red, output string
	err         error
	took        time.Duration
}

func main() {
	verbose := flag.Bool("v", false, "print what the tests say")
	jobs := flag.Int("j", 2, "faults at a time")
	flag.Parse()
	chosen := faults
	if names := flag.Args(); len(names) > 0 {
		chosen = nil
		for _, f := range faults {
			if slices.Contains(names, f.name) {
				chosen = append(chosen, f)
			}
		}
	}
	root, err := os.Getwd()
	if err != nil {
		fatal(err)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		fatal(err)
	}
	defer os.RemoveAll(dir)

	began := time.Now()
	verdicts := make([]verdict, len(chosen)+1)
	slots := make(chan struct{}, max(*jobs, 1))
	var running sync.WaitGroup
	for i := range verdicts {
		f := fault{name: "none"} // the last one: without a fault everything is green
		if i < len(chosen) {
			f = chosen[i]
		}
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			at := time.Now()
			verdicts[i] = try(f, root, filepath.Join(dir, fmt.Sprint(i)))
			verdicts[i].took = time.Since(at)
		})
	}
	running.Wait()

	killed := 0
	fmt.Printf("%-46s %-24s %-24s %-28s %s\n", "fault", "listed with", "killed by", "same property, red too", "rest green")
	for i, f := range chosen {
		v := verdicts[i]
		if v.err == nil && f.tests != "" {
			if v.red == f.tests {
				killed++
			}
			fmt.Printf("%-46s %-24s %s\n", f.name, f.tests, cmp.Or(v.red, "NOBODY"))
			if *verbose || v.red != f.tests {
				fmt.Println(v.output)
			}
			continue
		}
		if v.err != nil {
			fmt.Printf("%-46s %v\n", f.name, v.err)
			continue
		}
		var by, also, beyond []string
		for _, row := range strings.Fields(v.red) {
			switch {
			case strings.Contains(f.rows, row):
				by = append(by, row)
			case strings.Contains(f.also, row):
				also = append(also, row)
			default:
				beyond = append(beyond, row)
			}
		}
		green := "yes"
		if len(beyond) > 0 {
			green = "NO: " + strings.Join(beyond, " ")
		}
		if len(by) == 0 {
			by = []string{"NOBODY"}
		} else if len(beyond) == 0 {
			killed++
		}
		fmt.Printf("%-46s %-24s %-24s %-28s %s\n", f.name, f.rows, strings.Join(by, " "), strings.Join(also, " "), green)
		if *verbose || len(beyond) > 0 {
			fmt.Println(v.output)
		}
	}
	clean := verdicts[len(chosen)]
	if clean.err != nil || clean.red != "" {
		fmt.Printf("without a fault: %v, red: %s\n%s", clean.err, clean.red, clean.output)
	}
	fmt.Printf("killed %d of %d seeded faults in %v\n", killed, len(chosen), time.Since(began).Round(time.Second))
	if killed != len(chosen) || clean.err != nil || clean.red != "" {
		os.RemoveAll(dir)
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "mutants:", err)
	os.Exit(1)
}

// apply makes the edits of a fault to copies in dir, and returns which file each of
// them replaces.
func apply(f fault, root, dir string) (replace map[string]string, err error) {
	replace = make(map[string]string)
	for _, e := range f.edits {
		path := filepath.Join(root, e.file)
		from := cmp.Or(replace[path], path) // edited before
		text, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if n := bytes.Count(text, []byte(e.from)); n != 1 {
			return nil, fmt.Errorf("%s holds %d times what is to be replaced: %q; adapt internal/mutants", e.file, n, e.from)
		}
		to := filepath.Join(dir, e.file)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, bytes.Replace(text, []byte(e.from), []byte(e.to), 1), 0o600); err != nil {
			return nil, err
		}
		replace[path] = to
	}
	return replace, nil
}

// try builds the suite with a fault and runs it.
func try(f fault, root, dir string) (v verdict) {
	if v.err = os.MkdirAll(dir, 0o700); v.err != nil {
		return v
	}
	var overlay struct{ Replace map[string]string }
	if overlay.Replace, v.err = apply(f, root, dir); v.err != nil {
		return v
	}
	description, err := json.Marshal(overlay)
	if err != nil {
		v.err = err
		return v
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if v.err = os.WriteFile(overlayFile, description, 0o600); v.err != nil {
		return v
	}
	// build makes the test binary of a package, which runs in the package's folder.
	build := func(name string) (binary string, err error) {
		binary = filepath.Join(dir, name+".test")
		if _, err := os.Stat(binary); err == nil {
			return binary, nil
		}
		cmd := exec.Command("go", "test", "-vet=off", fmt.Sprintf("-race=%v", f.race), "-tags", f.tags, "-overlay", overlayFile, "-c", "-o", binary, "./"+folder(name))
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("it does not build: %v\n%s", err, out)
		}
		return binary, nil
	}
	defer os.RemoveAll(dir)
	if f.tests != "" {
		return runNamed(f, root, build)
	}
	tests := "TestAttacks$"
	if f.after {
		tests = "TestAttacks(AfterRevoke)?$"
	}
	binary, err := build(attacks)
	if err != nil {
		v.err = err
		return v
	}
	run := exec.Command(binary, "-test.short", "-test.run", tests, "-test.timeout", "120s")
	run.Dir = filepath.Join(root, folder(attacks))
	out, err := run.CombinedOutput()
	v.output = string(out)
	rows := make(map[string]bool)
	for _, m := range failed.FindAllStringSubmatch(v.output, -1) {
		rows[m[1]] = true
	}
	var red []string
	for row := range rows {
		red = append(red, row)
	}
	slices.Sort(red)
	v.red = strings.Join(red, " ")
	if err != nil && len(red) == 0 {
		v.err = fmt.Errorf("the suite ended without a row: %v\n%s", err, out)
	}
	return v
}

// runNamed runs each of a fault's tests in a process of its own: some crash.
func runNamed(f fault, root string, build func(name string) (binary string, err error)) (v verdict) {
	var red []string
	for _, test := range strings.Fields(f.tests) {
		in, name, _ := strings.Cut(test, ".")
		binary, err := build(in)
		if err != nil {
			v.err = err
			return v
		}
		run := exec.Command(binary, "-test.v", "-test.run", "^"+name+"$", "-test.timeout", "120s")
		run.Dir = filepath.Join(root, folder(in))
		out, err := run.CombinedOutput()
		v.output += string(out)
		if bytes.Contains(out, []byte("no tests to run")) {
			v.err = fmt.Errorf("there is no test %s; adapt internal/mutants", test)
			return v
		}
		if m := skipped.Find(out); m != nil {
			v.err = fmt.Errorf("%s is skipped here, and sees nothing", test)
			return v
		}
		if err != nil {
			red = append(red, test)
		}
	}
	v.red = strings.Join(red, " ")
	return v
}
