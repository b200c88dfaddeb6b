package oldpeer_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// exported is what the old package exports: functions, types, values, and methods and
// fields behind a dot. It is read from its source, which no OpenSSL of today compiles.
func exported(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/spacemonkeygo/openssl").Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Skipf("the old package is not in the module cache (go mod download): %v", err)
	}
	names := make(map[string]bool)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		in := ""
		if file.Name.Name != "openssl" {
			in = file.Name.Name + "."
		}
		for _, d := range file.Decls {
			for _, name := range declared(d) {
				names[in+name] = true
			}
		}
		return nil
	})
	if err != nil || len(names) < 500 {
		t.Fatalf("reading %s: %d names, %v, want some hundred", dir, len(names), err)
	}
	return slices.Sorted(maps.Keys(names))
}

func declared(d ast.Decl) (names []string) {
	add := func(in string, name *ast.Ident) {
		if name.IsExported() && (in == "" || ast.IsExported(in)) {
			names = append(names, strings.TrimPrefix(in+"."+name.Name, "."))
		}
	}
	if f, ok := d.(*ast.FuncDecl); ok {
		in := ""
		if f.Recv != nil {
			in = typeName(f.Recv.List[0].Type)
		}
		add(in, f.Name)
		return names
	}
	for _, s := range d.(*ast.GenDecl).Specs {
		switch s := s.(type) {
		case *ast.ValueSpec:
			for _, name := range s.Names {
				add("", name)
			}
		case *ast.TypeSpec:
			add("", s.Name)
			for _, m := range members(s.Type) {
				for _, name := range m.Names {
					add(s.Name.Name, name)
				}
			}
		}
	}
	return names
}

func typeName(t ast.Expr) string {
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	return t.(*ast.Ident).Name
}

func members(t ast.Expr) []*ast.Field {
	switch t := t.(type) {
	case *ast.StructType:
		return t.Fields.List
	case *ast.InterfaceType:
		return t.Methods.List
	}
	return nil
}

var quoted = regexp.MustCompile("`([^`]+)`")

// TestMigrating looks for each identifier of the old package in the first column of a
// table of docs/MIGRATING.md. There a leading dot stands for the type of before, and an
// ellipsis at the end for every name that begins so.
func TestMigrating(t *testing.T) {
	text, err := os.ReadFile("../../docs/MIGRATING.md")
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	told := make(map[string]bool)
	var prefixes []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		in := ""
		for _, m := range quoted.FindAllStringSubmatch(strings.Split(line, " | ")[0], -1) {
			name := m[1]
			if prefix, ok := strings.CutSuffix(name, "…"); ok {
				prefixes = append(prefixes, prefix)
				continue
			}
			if strings.HasPrefix(name, ".") {
				name = in + name
			} else if i := strings.LastIndex(name, "."); i >= 0 {
				in = name[:i]
			}
			told[name] = true
		}
	}
	all := exported(t)
	for _, name := range all {
		if !told[name] && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s has no row", name)
		}
	}
	for name := range told {
		if !slices.Contains(all, name) {
			t.Errorf("a row names %s, which the old package does not have", name)
		}
	}
}
