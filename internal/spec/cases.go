package spec

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed cases.txt
var casesText string

// Case is one entry of the specification.
type Case struct {
	Number int
	Name   string // "34_same_context_weaker_verify"
	Part   string // the heading that it stands under
	Go, C  bool   // how it is run: through the public API, as a C program, or both
	Text   string // what holds
	Lines  []Expectation
	Left   []string // what of it is left out, and why
}

// Expectation is one value of a case. Where keys begin with a protocol, that
// is the protocol that they are about.
type Expectation struct {
	Key   string
	Value Value
}

// Want is an expected value, for the version of libssl that is given.
func (c Case) Want(key string, version uint64) (string, error) {
	for _, e := range c.Lines {
		if e.Key == key {
			return e.For(version), nil
		}
	}
	return "", fmt.Errorf("spec: case %s expects nothing of %q", c.Name, key)
}

// For is the value for a version.
func (e Expectation) For(version uint64) string {
	protocol, _, _ := strings.Cut(e.Key, "/")
	return e.Value.For(protocol, version)
}

// Cases reads the list of cases.
func Cases() ([]Case, error) { return parseCases(casesText) }

func parseCases(text string) (cases []Case, err error) {
	part := ""
	for i, line := range strings.Split(text, "\n") {
		fail := func(format string, args ...any) error {
			return fmt.Errorf("spec: cases, line %d: %w", i+1, fmt.Errorf(format, args...))
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "part" {
			part = rest
			continue
		}
		if word == "case" {
			fields := strings.Fields(rest)
			if len(fields) < 2 {
				return nil, fail("a case has a number and a name")
			}
			n, err := strconv.Atoi(fields[0])
			if err != nil {
				return nil, fail("%w", err)
			}
			c := Case{Number: n, Name: fmt.Sprintf("%02d_%s", n, fields[1]), Part: part, Go: true}
			switch strings.Join(fields[2:], " ") {
			case "":
			case "both":
				c.C = true
			case "program":
				c.Go, c.C = false, true
			default:
				return nil, fail("%q is no way to run a case", fields[2:])
			}
			cases = append(cases, c)
			continue
		}
		if len(cases) == 0 {
			return nil, fail("before the first case")
		}
		c := &cases[len(cases)-1]
		switch word {
		case "=":
			at := strings.LastIndex(rest, ": ") // a key may hold a colon of its own
			if at < 0 {
				return nil, fail("%q is no expectation", rest)
			}
			v, err := ParseValue(rest[at+2:])
			if err != nil {
				return nil, fail("%w", err)
			}
			c.Lines = append(c.Lines, Expectation{rest[:at], v})
		case "left":
			c.Left = append(c.Left, rest)
		default:
			c.Text = strings.TrimSpace(c.Text + " " + line)
		}
	}
	return cases, nil
}

//go:embed programs
var programs embed.FS

// programFile is the name of a case's program.
func programFile(number int) string { return fmt.Sprintf("%d.c", number) }

var quoted = regexp.MustCompile(`(?m)^#include "(.*)"$`)

// RunProgram compiles the C program of a case in dir, against the libssl that
// pkg-config names, and returns what it prints, by key. CC and PKG_CONFIG are as for the
// go command: a test of another architecture needs its compiler.
func RunProgram(ctx context.Context, dir string, number int) (map[string]string, error) {
	source := programFile(number)
	if err := unpack(dir, source); err != nil {
		return nil, err
	}
	flags, err := exec.CommandContext(ctx, cmp.Or(os.Getenv("PKG_CONFIG"), "pkg-config"), "--cflags", "--libs", "libssl", "libcrypto").Output()
	if err != nil {
		return nil, fmt.Errorf("spec: pkg-config: %w", err)
	}
	program := filepath.Join(dir, "program")
	args := slices.Concat(strings.Fields(cmp.Or(os.Getenv("CC"), "cc")), []string{"-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-variable", "-Werror", "-pthread",
		"-o", program, filepath.Join(dir, source)}, strings.Fields(string(flags)))
	if text, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("spec: %s %s: %w\n%s", args[0], source, err, text)
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("spec: the program of %s: %w\n%s%s", source, err, &out, &errOut)
	}
	lines := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		at := strings.LastIndex(line, ": ")
		if at < 0 {
			return nil, fmt.Errorf("spec: the program of %s prints %q", source, line)
		}
		lines[line[:at]] = line[at+2:]
	}
	return lines, nil
}

// unpack writes a source file and what it includes.
func unpack(dir, name string) error {
	text, err := programs.ReadFile("programs/" + name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		return err
	}
	for _, include := range quoted.FindAllSubmatch(text, -1) {
		if err := unpack(dir, string(include[1])); err != nil {
			return err
		}
	}
	return nil
}
