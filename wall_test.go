//go:build cgo

package openssl_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
)

// source is every Go file and header of the package itself, by name.
func source(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.go", "*.h"} {
		names, err := filepath.Glob(pattern)
		must(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			must(t, err)
			files[name] = string(text)
		}
	}
	if len(files) < 20 || files["ctx.go"] == "" || files["sidctx_cgo.h"] == "" {
		t.Fatalf("only %d files: this is not the package", len(files))
	}
	return files
}

func isWall(name string) bool {
	return strings.HasSuffix(name, "_cgo.go") || strings.HasSuffix(name, "_cgo.h")
}

// Only the wall knows C.
func TestWall(t *testing.T) {
	files := source(t)
	t.Run("imports", func(t *testing.T) {
		walls := 0
		for name, text := range files {
			if !strings.HasSuffix(name, ".go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
			must(t, err)
			imports := map[string]bool{}
			for _, spec := range f.Imports {
				imports[strings.Trim(spec.Path.Value, `"`)] = true
			}
			if isWall(name) {
				walls++
				if !imports["C"] {
					t.Errorf("%s has no use for its name", name)
				}
				continue
			}
			for _, forbidden := range []string{"C", "unsafe", "runtime/cgo", "plugin"} {
				if imports[forbidden] {
					t.Errorf("%s imports %q", name, forbidden)
				}
			}
		}
		if walls == 0 {
			t.Error("there is no wall")
		}
	})
	t.Run("headers", func(t *testing.T) {
		for name := range files {
			if strings.HasSuffix(name, ".h") && !isWall(name) {
				t.Errorf("%s is C outside the wall", name)
			}
		}
		for _, pattern := range []string{"*.c", "*.cc", "*.cpp", "*.S", "*.syso", "*.a"} {
			if names, _ := filepath.Glob(pattern); len(names) > 0 {
				t.Errorf("%v: everything of C is static, in headers", names)
			}
		}
	})
	t.Run("words", func(t *testing.T) {
		for name, text := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, word := range []string{"//export", "//go:linkname", "LockOSThread", "SetFinalizer", "cgo.NewHandle", "ERR_print_errors(", "dlopen"} {
				if strings.Contains(text, word) {
					t.Errorf("%s says %s", name, word)
				}
			}
		}
	})
	t.Run("KeepAlive", func(t *testing.T) {
		n := 0
		for name, text := range files {
			if !strings.HasSuffix(name, "_test.go") {
				n += strings.Count(text, "runtime.KeepAlive(")
			}
		}
		if n > 1 {
			t.Errorf("%d places keep something alive, at most one may", n)
		}
	})
	t.Run("pkg-config", func(t *testing.T) {
		var lines []string
		for name, text := range files {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); strings.Contains(line, "#cgo") && strings.Contains(line, "pkg-config") && !strings.HasSuffix(name, "_test.go") {
					lines = append(lines, line)
				}
			}
		}
		if len(lines) != 1 || lines[0] != "#cgo pkg-config: libssl libcrypto" {
			t.Errorf("%q", lines)
		}
	})
	t.Run("build tags", func(t *testing.T) {
		for name, text := range files {
			if !strings.HasSuffix(name, ".go") || isWall(name) {
				continue
			}
			first, _, _ := strings.Cut(text, "\n")
			switch name {
			case "doc.go":
			case "nocgo.go":
				if first != "//go:build !cgo" {
					t.Errorf("%s begins with %q", name, first)
				}
			default:
				if !strings.HasPrefix(first, "//go:build cgo") {
					t.Errorf("%s begins with %q", name, first)
				}
			}
		}
	})
	t.Run("exported names have a comment", func(t *testing.T) {
		for name, text := range files {
			if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
			must(t, err)
			for _, decl := range f.Decls {
				if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.IsExported() && fn.Doc == nil && exportedReceiver(fn) {
					t.Errorf("%s: %s has no comment", name, fn.Name)
				}
			}
		}
	})
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	id, ok := of.(*ast.Ident)
	return ok && id.IsExported()
}

// A build without cgo says what to do, in one line.
func TestBuildWithoutCgo(t *testing.T) {
	tool, err := exec.LookPath("go")
	must(t, err)
	cmd := exec.Command(tool, "build", "-o", os.DevNull, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "# ") { // the package's name
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "CGO_ENABLED_1") || !strings.Contains(lines[0], "C_compiler") {
		t.Errorf("it says\n%s", out)
	}
}

// What nobody closed is freed by the net, and counted there. It runs in a
// process of its own: in this one nothing may fall into the net.
func TestForgottenClose(t *testing.T) {
	if !again(t, forgets+"=1") {
		return
	}
	certs(t)
	live, caught := libssl.LiveHandles(), libssl.CaughtHandles()
	func() {
		c, err := openssl.NewServerCtx()
		must(t, err)
		must(t, c.UseCertificate(fixtures.serverCert, fixtures.serverKey))
		if _, err := openssl.NewSSL(c); err != nil {
			t.Fatal(err)
		}
	}()
	for range 1000 {
		if libssl.CaughtHandles() == caught+2 {
			break
		}
		runtime.GC()
		runtime.Gosched()
	}
	if got := libssl.CaughtHandles() - caught; got != 2 || libssl.LiveHandles() != live {
		t.Fatalf("%d were caught, %d are alive", got, libssl.LiveHandles()-live)
	}
}
