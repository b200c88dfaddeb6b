// Package peer runs the programs that the tests in this folder talk to.
package peer

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Patience is far beyond what one conversation on this machine takes.
const Patience = 30 * time.Second

// Program is the path of a program. With REQUIRE_PEERS=1 its absence is a failure.
func Program(t testing.TB, name, debian string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts " + name)
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("REQUIRE_PEERS") == "1" {
		t.Fatalf("%s is missing and REQUIRE_PEERS is set", name)
	}
	if err != nil {
		t.Skipf("%s is not on PATH: it is the peer of this test (Debian and Ubuntu: apt-get install %s)", name, debian)
	}
	return path
}

// OpenSSL runs a command of openssl, with something to read, and returns what it prints.
func OpenSSL(t testing.TB, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(Program(t, "openssl", "openssl"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return out
}

// Server starts s_server, until the end of the test, and returns its address.
func Server(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(Program(t, "openssl", "openssl"), append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("starting s_server: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go func() { // until it is killed; else it waits when the pipe is full
				for lines.Scan() {
				}
			}()
			return address
		}
	}
	cmd.Wait()
	t.Fatalf("s_server %s accepts nothing:\n%s", strings.Join(args, " "), said.String())
	return ""
}

// Client has s_client visit an address, send a line, and leave when the server does. It
// returns what it has said, and whether it has failed.
func Client(t testing.TB, address string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	args = append([]string{"s_client", "-connect", address, "-ign_eof", "-verify_return_error"}, args...)
	cmd := exec.CommandContext(ctx, Program(t, "openssl", "openssl"), args...)
	cmd.Stdin = strings.NewReader("hello\n")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("s_client %s does not end:\n%s", strings.Join(args, " "), out)
	}
	return string(out), err
}
