// Package ports checks the table in docs/MIGRATING.md of what programs need.
package ports

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named    = regexp.MustCompile("`([a-z]+\\.Test[A-Za-z0-9]+)`")
	declared = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
)

// TestTable looks for each test that the table names, and for a row of each of the 17
// programs.
func TestTable(t *testing.T) {
	const root = "../.."
	tests := make(map[string]bool)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		folder := filepath.Base(filepath.Dir(path))
		if filepath.Dir(path) == root {
			folder = "openssl"
		}
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[folder+"."+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading the tests: %v", err)
	}
	text, err := os.ReadFile(root + "/docs/MIGRATING.md")
	if err != nil {
		t.Fatalf("reading the table: %v", err)
	}
	_, table, found := strings.Cut(string(text), "| Program | What it needs | Test |\n| --- | --- | --- |\n")
	programs := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if !strings.HasPrefix(line, "| |") {
			programs++
		}
		names := named.FindAllStringSubmatch(line, -1)
		if len(names) == 0 && !strings.Contains(line, "| none: ") {
			t.Errorf("no test, and no word why, in %s", line)
		}
		for _, m := range names {
			if !tests[m[1]] {
				t.Errorf("there is no %s, which is named in %s", m[1], line)
			}
		}
	}
	if !found || programs != 17 {
		t.Errorf("%d programs in the table, want 17", programs)
	}
}
