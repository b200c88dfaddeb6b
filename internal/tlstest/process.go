//go:build cgo

package tlstest

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// Again runs this one test once more in a process of its own, with more in its
// environment, and fails if that fails. Over there child is true.
func Again(t *testing.T, env ...string) (child bool) {
	t.Helper()
	const mark = "OPENSSL_TEST_CHILD"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], ThisTest(t)...)
	cmd.Env = append(append(os.Environ(), mark+"="+t.Name()), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v in a process of its own:\n%s", err, out)
	}
	return false
}

// ThisTest is the arguments with which the test binary runs this one test and no other.
// What it reaches is counted, too, where make cover counts.
func ThisTest(t testing.TB) []string {
	t.Helper()
	// Each part of a subtest's name is a pattern of its own.
	args := []string{"-test.run=^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$", "-test.count=1"}
	if dir := os.Getenv("COVER_PROFILES"); dir != "" {
		f, err := os.CreateTemp(dir, "*.prof")
		must(t, err)
		must(t, f.Close())
		args = append(args, "-test.coverprofile="+f.Name())
	}
	return args
}

// IsOpenSSL3 reports whether there are commands for stores.
func IsOpenSSL3() bool { return openssl.Version().LinkedNumber >= 0x30000000 }

// terminalProgram runs a command with a terminal of its own, without
// input, and copies to descriptor 3 what appears there.
const terminalProgram = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int status, master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char p[512];
	ssize_t n;
	pid_t pid;

	if (argc < 2 || master < 0 || grantpt(master) || unlockpt(master) ||
	    (slave = open(ptsname(master), O_RDWR | O_NOCTTY)) < 0 || (pid = fork()) < 0)
		return 125;
	if (pid == 0) {
		close(master);
		close(3);
		if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) || dup2(slave, 0) < 0)
			_exit(126);
		close(slave);
		execv(argv[1], argv + 1);
		_exit(127);
	}
	close(slave);
	while ((n = read(master, p, sizeof p)) > 0)
		if (write(3, p, (size_t)n) != n)
			return 125;
	if (waitpid(pid, &status, 0) != pid)
		return 125;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}
`

// Compile makes a program of C, or with more flags something else, for one test. CC
// is as for the go command. A library for the test's own program is of no use to one that
// is linked statically: such a test is skipped.
func Compile(t testing.TB, name, source string, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it compiles " + name)
	}
	if slices.Contains(flags, "-shared") {
		NeedsLibraries(t)
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	must(t, os.WriteFile(from, []byte(source), 0o600))
	args := slices.Concat(strings.Fields(cmp.Or(os.Getenv("CC"), "cc")), []string{"-Wall", "-Wextra", "-Werror", "-o", to, from}, flags)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", args[0], name, err, out)
	}
	return to
}

// NeedsLibraries skips a test in which libcrypto, or the test's program, loads a library.
func NeedsLibraries(t testing.TB) {
	t.Helper()
	if isStatic(t) {
		t.Skip("this program is linked statically and loads no libraries")
	}
}

// NeedsSpeed skips a test where programs run under QEMU, many times slower: why tells which
// time the test depends on. internal/portable sets EMULATED.
func NeedsSpeed(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("EMULATED") == "1" {
		t.Skip("this program runs under QEMU: " + why)
	}
}

// isStatic reports whether the running program has no dynamic linker.
func isStatic(t testing.TB) bool {
	t.Helper()
	if runtime.GOOS != "linux" {
		return false
	}
	program, err := os.Executable()
	must(t, err)
	f, err := elf.Open(program)
	must(t, err)
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

const onTerminalMark = "OPENSSL_TEST_TERMINAL"

// NewTerminal is the program for onTerminal; it is made once, by the parent.
func NewTerminal(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("terminals are made as on Linux")
	}
	if os.Getenv(onTerminalMark) != "" {
		return ""
	}
	return Compile(t, "terminal", terminalProgram)
}

// OnTerminal runs this one test once more in a process of its own that has a
// terminal without input. It fails if the test fails there, if anything
// appears on the terminal, or if it takes too long. Over there child is true.
func OnTerminal(t *testing.T, terminal string) (child bool) {
	t.Helper()
	if os.Getenv(onTerminalMark) == t.Name() {
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, terminal, append([]string{os.Args[0], "-test.v"}, ThisTest(t)...)...)
	cmd.Env = append(os.Environ(), onTerminalMark+"="+t.Name())
	cmd.WaitDelay = 10 * time.Second
	appears, w, err := os.Pipe()
	must(t, err)
	cmd.ExtraFiles = []*os.File{w}
	var out, screen bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	w.Close()
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(&screen, appears) })
	err = cmd.Wait()
	appears.SetReadDeadline(time.Now().Add(10 * time.Second))
	wg.Wait()
	appears.Close()
	switch {
	case ctx.Err() != nil:
		t.Errorf("it waits; on the terminal is %q, and it has said:\n%s", &screen, &out)
	case err != nil:
		t.Errorf("%v on a terminal:\n%s", err, &out)
	case screen.Len() > 0:
		t.Errorf("on the terminal appears %q", &screen)
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()+" "):
		t.Errorf("it has not run on the terminal:\n%s", &out)
	}
	return false
}
