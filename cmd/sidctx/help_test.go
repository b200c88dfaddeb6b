package main

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

func TestVersion(t *testing.T) {
	out, errOut, err := sidctx(t, "version")
	if err != nil || errOut != "" {
		t.Fatalf("version: %v, %s", err, errOut)
	}
	v := openssl.Version()
	for _, line := range []string{"linked     " + v.Linked + "\n", "compiled   " + v.Compiled + "\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("version prints no line %q:\n%s", line, out)
		}
	}
}

// Help is on standard error, exits with 0, and ends with what the exit statuses mean and an
// example.
func TestHelp(t *testing.T) {
	for _, c := range commands {
		out, errOut, err := sidctx(t, c.name, "-h")
		for _, status := range []string{"\nexit status:\n  0  ", "\n  1  ", "\n  2  " + badUsage + "\n"} {
			if !strings.Contains(errOut, status) {
				t.Errorf("%s -h has no %q:\n%s", c.name, status, errOut)
			}
		}
		if c.name == "probe" && (!strings.Contains(errOut, "\n  3  inconclusive: ") || !strings.Contains(errOut, "\n  4  no TLS server ")) {
			t.Errorf("probe -h does not list statuses 3 and 4:\n%s", errOut)
		}
		if _, same, err := sidctx(t, "help", c.name); err != nil || same != errOut {
			t.Errorf("help %s: %v\n%s", c.name, err, same)
		}
		_, example, found := strings.Cut(errOut, "\nexample:\n")
		if err != nil || out != "" || !strings.HasPrefix(errOut, "usage: sidctx "+c.name) || !found || !strings.HasPrefix(example, "  sidctx "+c.name) {
			t.Errorf("%s -h: %v\n%s%s", c.name, err, out, errOut)
		}
	}
	for _, arg := range []string{"-h", "--help", "help"} {
		_, errOut, err := sidctx(t, arg)
		if err != nil || !strings.HasPrefix(errOut, "usage: sidctx COMMAND") {
			t.Errorf("%s: %v\n%s", arg, err, errOut)
		}
	}
}

// The command is no test: it must not link package testing, nor take its flags.
func TestLinksNoTesting(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	deps := strings.Fields(string(bytes.TrimSpace(out)))
	if slices.Contains(deps, "testing") || !slices.Contains(deps, "github.com/sidctx/openssl/probe") {
		t.Errorf("the command links %v", deps)
	}
}
