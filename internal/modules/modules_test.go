// Package modules tests that each module of the repository can be fetched by itself.
package modules

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	root    = "github.com/sidctx/openssl"
	version = "v0.1.0" // that the modules require of each other
)

// published is the modules that users fetch, and a package of each.
var published = map[string]string{"": "/sessiontest", "/redisstore": "", "/grpccreds": ""}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// publish writes a module as a proxy serves it. Modules below it are not part of it.
func publish(t *testing.T, proxy, module string) {
	t.Helper()
	source := filepath.Join("..", "..", filepath.FromSlash(module))
	at := filepath.Join(proxy, filepath.FromSlash(root+module), "@v")
	must(t, os.MkdirAll(at, 0o755))
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(at, version+".mod"), mod, 0o644))
	must(t, os.WriteFile(filepath.Join(at, version+".info"), fmt.Appendf(nil, `{"Version":%q}`, version), 0o644))
	file, err := os.Create(filepath.Join(at, version+".zip"))
	must(t, err)
	defer file.Close()
	z := zip.NewWriter(file)
	must(t, filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if path != source && (err == nil || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		w, err := z.Create(root + module + "@" + version + "/" + filepath.ToSlash(name))
		if err != nil {
			return err
		}
		r, err := os.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	}))
	must(t, z.Close())
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// Each module is fetched by an empty one, with what it requires, and every package that a
// program needs of it is there. What it requires was verified when it was first fetched.
func TestGoGet(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it builds programs that use each module")
	}
	proxy := t.TempDir()
	for module := range published {
		publish(t, proxy, module)
	}
	cache := t.TempDir()
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw", "GOSUMDB=off", "GOMODCACHE="+cache,
		"GOPROXY=file://"+filepath.ToSlash(proxy)+",file://"+filepath.ToSlash(goEnv(t, "GOMODCACHE"))+"/cache/download,"+goEnv(t, "GOPROXY"))
	for module, pkg := range published {
		t.Run(root+module, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir, cmd.Env = dir, env
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
			run("mod", "init", "example.test/program")
			run("mod", "edit", "-require="+root+module+"@"+version) // go get would ask for versions that no build needs
			program := fmt.Sprintf("package main\n\nimport _ %q\n\nfunc main() {}\n", root+module+pkg)
			must(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o644))
			run("list", "-mod=mod", "-deps", "./...")
			if module == "" { // users of the core fetch nothing else
				sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
				must(t, err)
				for line := range strings.Lines(string(sums)) {
					if !strings.HasPrefix(line, root+" ") {
						t.Errorf("the root module brings %s", line)
					}
				}
			}
		})
	}
}
