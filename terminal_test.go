//go:build cgo && linux

package openssl_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// terminalProgram runs a command with a terminal of its own, on which nobody
// types, and copies to descriptor 3 what appears there.
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

// compile makes a program of C, or with more flags something else, for one test.
func compile(t testing.TB, name, source string, flags ...string) string {
	t.Helper()
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	must(t, os.WriteFile(from, []byte(source), 0o600))
	args := append([]string{"-Wall", "-Wextra", "-Werror", "-o", to, from}, flags...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", cc, name, err, out)
	}
	return to
}

const onTerminalMark = "OPENSSL_TEST_TERMINAL"

// newTerminal is the program for onTerminal; it is made once, by the parent.
func newTerminal(t *testing.T) string {
	t.Helper()
	if os.Getenv(onTerminalMark) != "" {
		return ""
	}
	return compile(t, "terminal", terminalProgram)
}

// onTerminal runs this one test once more in a process of its own that has a
// terminal, on which nobody types. It fails if the test fails there, if anything
// appears on the terminal, or if it takes too long. Over there child is true.
func onTerminal(t *testing.T, terminal string) (child bool) {
	t.Helper()
	if os.Getenv(onTerminalMark) == t.Name() {
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, terminal, os.Args[0], "-test.run="+pattern, "-test.count=1", "-test.v")
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
