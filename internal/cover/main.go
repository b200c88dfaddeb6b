// Command cover runs the tests and reports which Go statements of the library and which
// C lines of internal/libssl they reach. It fails below its bounds, and if a function
// with something that is not reached has no reason in docs/COVERAGE.md, or a reason is
// there for nothing. Run it by "make cover" in the repository's root.
//
// Usage: go run ./internal/cover [-v]
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Percentages below which the command fails.
const (
	leastGo = 92.0
	leastC  = 90.0
)

const (
	module  = "github.com/sidctx/openssl"
	reasons = "docs/COVERAGE.md"
)

// libraries is what is counted of Go.
var libraries = []string{module, module + "/httpx", module + "/probe", module + "/sessiontest", module + "/redisstore"}

// suites is what is run: a folder of a module, and more arguments. The run of "make malloc"
// is what reaches the paths on which memory runs out.
var suites = []struct {
	dir  string
	args []string
}{
	{".", []string{"-tags", "gcov", "./..."}},
	{".", []string{"-tags", "gcov,malloc", "./internal/malloc"}},
	{"redisstore", []string{"-tags", "gcov", "./..."}},
}

// function is one of Go or C, and what of it was reached: Go statements or C lines.
type function struct {
	name           string // with its file
	reached, total int
	missed         []int // lines
}

var verbose = flag.Bool("v", false, "print the lines that are not reached of functions with a reason, too")

func main() {
	flag.Parse()
	work, err := os.MkdirTemp("", "cover")
	if err == nil {
		err = run(work)
		os.RemoveAll(work)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "make cover: %v\n", err)
		os.Exit(1)
	}
}

func run(work string) error {
	build, data, children := filepath.Join(work, "build"), filepath.Join(work, "data"), filepath.Join(work, "children")
	if err := errors.Join(os.Mkdir(build, 0o700), os.Mkdir(children, 0o700)); err != nil {
		return err
	}
	var profiles []string
	for i, s := range suites {
		profile := filepath.Join(work, fmt.Sprintf("%d.prof", i))
		profiles = append(profiles, profile)
		args := append([]string{"test", "-work", "-vet=off", "-count=1", "-parallel=12", "-timeout=30m",
			"-coverpkg=" + strings.Join(libraries, ","), "-coverprofile=" + profile}, s.args...)
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stdout = s.dir, os.Stdout
		// The macro has the C compiled again: what describes it is beside the object, in a
		// folder that the next build does not have.
		cmd.Env = append(os.Environ(), "GOTMPDIR="+build, "COVER_PROFILES="+children, "GCOV_PREFIX="+data, "CGO_LDFLAGS=--coverage",
			fmt.Sprintf("CGO_CFLAGS=-g -O0 --coverage -fprofile-update=atomic -Wno-unused-parameter -DOSL_COVER=%d", time.Now().UnixNano()))
		var noise bytes.Buffer
		cmd.Stderr = &noise
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), s.dir, err, noise.Bytes())
		}
	}
	// Of tests that run in processes of their own, but for those that crashed.
	more, err := filepath.Glob(filepath.Join(children, "*.prof"))
	if err != nil {
		return err
	}
	goFunctions, err := ofGo(append(profiles, more...))
	if err != nil {
		return err
	}
	cFunctions, err := ofC(build, data)
	if err != nil {
		return err
	}
	shareGo, shareC := share(goFunctions), share(cFunctions)
	fmt.Printf("Go statements of the library: %.1f %% (at least %.0f)\nC lines of internal/libssl:   %.1f %% (at least %.0f)\n",
		shareGo, leastGo, shareC, leastC)
	if shareGo < leastGo || shareC < leastC {
		return fmt.Errorf("less is covered than the bounds allow")
	}
	return compare(append(goFunctions, cFunctions...))
}

func share(functions []*function) float64 {
	reached, total := 0, 0
	for _, f := range functions {
		reached += f.reached
		total += f.total
	}
	if total == 0 {
		return 0
	}
	return 100 * float64(reached) / float64(total)
}

// ---- Go ----

var profileLine = regexp.MustCompile(`^` + module + `/(\S+):(\d+)\.(\d+),\d+\.\d+ (\d+) (\d+)$`)

// ofGo merges profiles, whose blocks are the same in all of them.
func ofGo(profiles []string) ([]*function, error) {
	type block struct{ statements, count int }
	blocks := make(map[string]map[string]*block) // by file and place
	for _, name := range profiles {
		p, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(p)) {
			m := profileLine.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			if blocks[m[1]] == nil {
				blocks[m[1]] = make(map[string]*block)
			}
			place := m[2] + "." + m[3]
			b := blocks[m[1]][place]
			if b == nil {
				b = new(block)
				blocks[m[1]][place] = b
			}
			n := 0
			fmt.Sscan(m[4], &b.statements)
			fmt.Sscan(m[5], &n)
			b.count += n
		}
	}
	var all []*function
	for file, in := range blocks {
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		of := make(map[string]*function)
		for place, b := range in {
			line := 0
			fmt.Sscanf(place, "%d.", &line)
			name := file + ": " + goFunction(set, parsed, line)
			if of[name] == nil {
				of[name] = &function{name: name}
				all = append(all, of[name])
			}
			of[name].total += b.statements
			if b.count > 0 {
				of[name].reached += b.statements
			} else if b.statements > 0 {
				of[name].missed = append(of[name].missed, line)
			}
		}
	}
	return all, nil
}

// goFunction is the name of the function around a line, with its receiver's type.
func goFunction(set *token.FileSet, file *ast.File, line int) string {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || line < set.Position(f.Pos()).Line || line > set.Position(f.End()).Line {
			continue
		}
		if f.Recv == nil {
			return f.Name.Name
		}
		t := f.Recv.List[0].Type
		if star, ok := t.(*ast.StarExpr); ok {
			t = star.X
		}
		if id, ok := t.(*ast.Ident); ok {
			return id.Name + "." + f.Name.Name
		}
		return f.Name.Name
	}
	return "variables"
}

// ---- C ----

// ofC merges what gcov says of each object of each build.
func ofC(build, data string) ([]*function, error) {
	type line struct {
		function string
		number   int
		reached  bool
	}
	lines := make(map[string]*line)
	err := filepath.WalkDir(build, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".gcno" {
			return err
		}
		counts := filepath.Join(data, strings.TrimSuffix(path, ".gcno")+".gcda")
		if _, err := os.Stat(counts); err != nil {
			return nil // of a build that was not run
		}
		here := strings.TrimSuffix(path, ".gcno") + ".gcda"
		if err := os.Link(counts, here); err != nil && !os.IsExist(err) {
			return err
		}
		cmd := exec.Command("gcov", "--stdout", "--json-format", here)
		cmd.Dir = filepath.Dir(path)
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("gcov %s: %w", here, err)
		}
		var r struct {
			Files []struct {
				File  string
				Lines []struct {
					Line     int    `json:"line_number"`
					Count    int    `json:"count"`
					Function string `json:"function_name"`
				}
			}
		}
		if err := json.Unmarshal(out, &r); err != nil {
			return fmt.Errorf("gcov %s: %w", here, err)
		}
		for _, f := range r.Files {
			name := filepath.Join("internal/libssl", filepath.Base(f.File))
			if _, err := os.Stat(name); err != nil || filepath.Ext(name) == ".go" || name == "internal/libssl/alloc.c" {
				continue // not the package's own; alloc.c is a part of the tests
			}
			for _, l := range f.Lines {
				key := fmt.Sprint(name, ":", l.Line)
				if lines[key] == nil {
					lines[key] = &line{function: name + ": " + l.Function, number: l.Line}
				}
				lines[key].reached = lines[key].reached || l.Count > 0
			}
		}
		return nil
	})
	of := make(map[string]*function)
	var all []*function
	for _, l := range lines {
		if of[l.function] == nil {
			of[l.function] = &function{name: l.function}
			all = append(all, of[l.function])
		}
		of[l.function].total++
		if l.reached {
			of[l.function].reached++
		} else {
			of[l.function].missed = append(of[l.function].missed, l.number)
		}
	}
	return all, err
}

// ---- reasons ----

var reasonLine = regexp.MustCompile("^\\* `([^`]+)`: (.+)$")

// compare holds the functions that are not covered whole against the document, which has a
// line for each file, with the functions in it.
func compare(functions []*function) error {
	document, err := os.ReadFile(reasons)
	if err != nil {
		return err
	}
	listed := make(map[string]bool)
	for s := bufio.NewScanner(bytes.NewReader(document)); s.Scan(); {
		if m := reasonLine.FindStringSubmatch(s.Text()); m != nil {
			for name := range strings.SplitSeq(m[2], ", ") {
				listed[m[1]+": "+name] = true
			}
		}
	}
	slices.SortFunc(functions, func(a, b *function) int { return strings.Compare(a.name, b.name) })
	missing := 0
	for _, f := range functions {
		slices.Sort(f.missed)
		if f.reached < f.total && !listed[f.name] {
			fmt.Printf("no reason in %s: %s (%d of %d, not lines %d)\n", reasons, f.name, f.reached, f.total, f.missed)
			missing++
		} else if f.reached < f.total && *verbose {
			fmt.Printf("%s (%d of %d, not lines %d)\n", f.name, f.reached, f.total, f.missed)
		}
		if f.reached == f.total && listed[f.name] {
			fmt.Printf("covered, take it out of %s: %s\n", reasons, f.name)
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d functions are not covered whole, and %s has no reason for it", missing, reasons)
	}
	return nil
}
