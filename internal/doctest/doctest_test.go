// Package doctest checks the documents of the repository: that their Go code
// builds as printed and that their links lead to files.
package doctest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// documents returns the text of every Markdown file, by its path below the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, path)
		texts[filepath.ToSlash(below)] = string(text)
		return err
	})
	if err != nil {
		t.Fatalf("reading the documents: %v", err)
	}
	for _, name := range []string{"README.md", "SECURITY.md", "docs/ATTACKS.md"} {
		if texts[name] == "" {
			t.Fatalf("there is no %s among %d documents", name, len(texts))
		}
	}
	return texts
}

// block is a fenced block of a document.
type block struct {
	where, language, text string
}

var fence = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

func blocks(name, text string) (all []block) {
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		line := 1 + strings.Count(text[:m[0]], "\n")
		all = append(all, block{fmt.Sprintf("%s:%d", name, line), text[m[2]:m[3]], text[m[4]:m[5]]})
	}
	return all
}

// TestGoBlocks builds and vets each Go block as printed, in a module that
// requires this one.
func TestGoBlocks(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it compiles each example of the documents")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH")
	}
	dir := t.TempDir()
	n := 0
	for name, text := range documents(t) {
		for _, b := range blocks(name, text) {
			switch {
			case b.language == "":
				t.Errorf("%s: a block without a language: write ```text for output and fragments", b.where)
			case b.language != "go":
			case !strings.HasPrefix(b.text, "package "):
				t.Errorf("%s: a Go block that is no complete file: write ```text for a fragment", b.where)
			default:
				n++
				write(t, filepath.Join(dir, fmt.Sprintf("block%d", n), "main.go"), fmt.Sprintf("//line %s:1\n%s", b.where, b.text))
			}
		}
	}
	if n < 3 {
		t.Errorf("%d Go blocks, want README.md's and two of docs", n)
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatalf("Abs: %v", err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	const module = "github.com/sidctx/openssl"
	write(t, filepath.Join(dir, "go.mod"), strings.Replace(string(mod), "module "+module, "module documents", 1)+
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %[1]s => %q\n", module, here))
	for _, args := range [][]string{{"build", "./..."}, {"vet", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestDependent has a program that imports every package for users fetch nothing else
// when its modules are tidied, not for tests of this module either.
func TestDependent(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it builds a module that depends on this one")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH")
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatalf("Abs: %v", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module dependent\n\ngo 1.26.0\n\nrequire github.com/sidctx/openssl v0.0.0\n\n"+
		fmt.Sprintf("replace github.com/sidctx/openssl => %q\n", here))
	write(t, filepath.Join(dir, "main.go"), `package main

import (
	_ "github.com/sidctx/openssl"
	_ "github.com/sidctx/openssl/httpx"
	_ "github.com/sidctx/openssl/probe"
	_ "github.com/sidctx/openssl/sessiontest"
)

func main() {}
`)
	cmd := exec.CommandContext(t.Context(), "go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOMODCACHE="+filepath.Join(dir, "cache"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go mod tidy of a dependent, with an empty module cache and no proxy: %v, want nothing to be fetched\n%s", err, out)
	}
	if sum, err := os.ReadFile(filepath.Join(dir, "go.sum")); err == nil && len(sum) > 0 {
		t.Errorf("go.sum of a dependent: %q, want none", sum)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatalf("MkdirAll: %v", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("WriteFile: %v", err)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks looks for the file, and the heading, that each relative link names.
func TestLinks(t *testing.T) {
	texts := documents(t)
	for name, text := range texts {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue
			}
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !headings(texts[path])[anchor] {
				t.Errorf("%s links to %s: there is no such heading", name, m[1])
			}
		}
	}
}

// headings returns the anchors of a document's headings, as GitHub makes them.
func headings(text string) map[string]bool {
	anchors := make(map[string]bool)
	for line := range strings.Lines(fence.ReplaceAllString(text, "")) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			anchor := strings.ToLower(strings.TrimSpace(heading))
			anchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(anchor, "")
			anchors[strings.ReplaceAll(anchor, " ", "-")] = true
		}
	}
	return anchors
}
