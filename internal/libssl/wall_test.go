//go:build cgo

package libssl_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder.
const root = "../.."

// source is every Go file, header and C file of the module that is not a test's, by
// its path; nested modules, C programs of the specification and folders that go
// leaves out are not in it.
func source(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		must(t, err)
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if name != "." && (nested == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) || name == "internal/spec/programs" {
				return fs.SkipDir
			}
			return nil
		}
		if isC(name) || strings.HasSuffix(name, ".go") {
			text, err := os.ReadFile(path)
			must(t, err)
			files[name] = string(text)
		}
		return nil
	}))
	for _, name := range []string{"ctx.go", "sidctx_cgo.h", "internal/libssl/ssl.c", "internal/libssl/handle.go", "httpx/httpx.go"} {
		if files[name] == "" {
			t.Fatalf("%d files, and %s is not among them: this is not the module", len(files), name)
		}
	}
	return files
}

// isC reports whether the go command gives a file to a compiler that is not Go's, or
// to the linker.
func isC(name string) bool {
	return slices.Contains([]string{".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".m", ".s", ".S", ".sx", ".swig", ".swigcxx", ".f", ".F", ".f90", ".syso", ".a"}, filepath.Ext(name))
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// isWall reports whether a file may know C: all of internal/libssl that says so in its
// name, and at the root the two calls that the package is about and the call of a
// caller's own C. The residue is an instrument of the specification's, which looks at
// OpenSSL's own error queue.
func isWall(name string) bool {
	switch name {
	case "sidctx_cgo.go", "raw_cgo.go", "queuecheck_cgo.go", "internal/spec/residue/residue_cgo.go":
		return true
	}
	return filepath.Dir(name) == "internal/libssl" && strings.HasSuffix(name, "_cgo.go")
}

// isLibrary reports whether a file is of the packages that others build.
func isLibrary(name string) bool {
	dir := filepath.Dir(name)
	return !isTest(name) && (dir == "." || dir == "internal/libssl")
}

// Only the wall knows C.
func TestWall(t *testing.T) {
	files := source(t)
	t.Run("imports", func(t *testing.T) {
		walls := 0
		for name, text := range files {
			if isC(name) {
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
		if walls < 10 {
			t.Errorf("there are %d files in the wall", walls)
		}
	})
	t.Run("C", func(t *testing.T) {
		for name := range files {
			switch {
			case !isC(name), name == "sidctx_cgo.h", filepath.Dir(name) == "internal/sanitize": // a program over it
			case filepath.Dir(name) != "internal/libssl" || filepath.Ext(name) != ".c" && filepath.Ext(name) != ".h":
				t.Errorf("%s is C outside the wall", name)
			case filepath.Ext(name) == ".c" && files[strings.TrimSuffix(name, ".c")+".h"] == "":
				t.Errorf("%s has no header", name)
			}
		}
	})
	t.Run("words", func(t *testing.T) {
		for name, text := range files {
			if isTest(name) || strings.HasPrefix(name, "internal/mutants/") {
				continue
			}
			for _, word := range []string{"//export", "_cgo_export", "//go:linkname", "LockOSThread", "SetFinalizer", "cgo.NewHandle", "ERR_print_errors(", "dlopen"} {
				if strings.Contains(text, word) {
					t.Errorf("%s says %s", name, word)
				}
			}
		}
	})
	t.Run("KeepAlive", func(t *testing.T) {
		n := 0
		for name, text := range files {
			if isLibrary(name) {
				n += strings.Count(text, "runtime.KeepAlive(")
			}
		}
		if n > 1 {
			t.Errorf("%d places keep something alive, at most one may", n)
		}
	})
	t.Run("pkg-config", func(t *testing.T) {
		lines := map[string][]string{}
		for name, text := range files {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); isLibrary(name) && strings.Contains(line, "#cgo") && strings.Contains(line, "pkg-config") {
					lines[filepath.Dir(name)] = append(lines[filepath.Dir(name)], line)
				}
			}
		}
		want := []string{"#cgo pkg-config: libssl libcrypto"}
		if len(lines) != 2 || !slices.Equal(lines["."], want) || !slices.Equal(lines["internal/libssl"], want) {
			t.Errorf("%q", lines)
		}
	})
	t.Run("build tags", func(t *testing.T) {
		for name, text := range files {
			if isC(name) || isWall(name) || filepath.Dir(name) != "." {
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
			if isC(name) || isTest(name) || filepath.Dir(name) != "." {
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

// A build without cgo fails with one line, which names what to do.
func TestBuildWithoutCgo(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it builds the package once more")
	}
	tool, err := exec.LookPath("go")
	must(t, err)
	cmd := exec.Command(tool, "build", "-o", os.DevNull, "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=") // with -v in it more lines are printed
	out, err := cmd.CombinedOutput()
	if !errors.As(err, new(*exec.ExitError)) {
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

// Where libssl.pc is found and the headers are not, the compiler names what to install.
func TestBuildWithoutHeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it runs the C compiler")
	}
	tool, err := exec.LookPath("go")
	must(t, err)
	cc, err := exec.Command(tool, "env", "CC").Output()
	must(t, err)
	cmd := exec.Command(strings.TrimSpace(string(cc)), "-nostdinc", "-I"+t.TempDir(), "-fsyntax-only", "error.h")
	out, err := cmd.CombinedOutput()
	if !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%s: %v, want a failure: %s", cmd, err, out)
	}
	if want := "OpenSSL's headers are missing: install libssl-dev"; !strings.Contains(string(out), want) {
		t.Errorf("%s does not say %q:\n%s", cmd, want, out)
	}
}
