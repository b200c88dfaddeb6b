package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// needOpenssl: half of the rows are s_client's.
func needOpenssl(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts openssl s_client")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("REQUIRE_PEERS") != "" {
			t.Fatalf("REQUIRE_PEERS is set, and the openssl command is not on PATH: %v", err)
		}
		t.Skip("the openssl command is not on PATH: it is one of the demo's two clients")
	}
}

// sidctx runs the command in this process; what it makes on disk goes with the test.
func sidctx(t *testing.T, args ...string) (out, errOut string, err error) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var o, e bytes.Buffer
	err = run(t.Context(), &o, &e, args)
	return o.String(), e.String(), err
}

// rows are the table's lines.
func rows(out string) (rows []string) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "TLS1.") {
			rows = append(rows, strings.TrimSuffix(line, "\n"))
		}
	}
	return rows
}

func TestDemo(t *testing.T) {
	needOpenssl(t)
	out, _, err := sidctx(t, "demo")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := rows(out); len(got) != 32 {
		t.Fatalf("%d rows:\n%s", len(got), out)
	}
	for _, row := range rows(out) {
		f := strings.Fields(row) // protocol mechanism client a -> b expected client server verdict
		want := "full"
		if f[3] == f[5] {
			want = "resumed"
		}
		if got := strings.Join(f[6:], " "); got != want+" "+want+" "+want+" ok" {
			t.Errorf("%s", row)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours for something that is no terminal")
	}
}

func TestDemoLeavesNothing(t *testing.T) {
	needOpenssl(t)
	if _, _, err := sidctx(t, "demo"); err != nil {
		t.Fatalf("sidctx: %v", err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v %v", left, err)
	}
}

func TestDemoBreak(t *testing.T) {
	needOpenssl(t)
	out, _, err := sidctx(t, "demo", "-break")
	if err == nil {
		t.Fatalf("tenants that share a context have passed:\n%s", out)
	}
	named := strings.Split(err.Error(), "\n")[1:]
	var crossing []attempt
	for _, a := range attempts() {
		if a.first != a.second {
			crossing = append(crossing, a)
		}
	}
	if len(named) != len(crossing) {
		t.Fatalf("%d rows are named, %d cross: %v", len(named), len(crossing), err)
	}
	for i, a := range crossing {
		want := "  " + a.String() + ": expected full, the client says resumed, the server says resumed"
		if named[i] != want {
			t.Errorf("%q, not %q", named[i], want)
		}
	}
	for _, row := range rows(out) {
		crosses := strings.Contains(row, "a -> b") || strings.Contains(row, "b -> a")
		if crosses != strings.HasSuffix(row, "DIFFERS") {
			t.Errorf("%s", row)
		}
	}
}

func TestDemoDocument(t *testing.T) {
	needOpenssl(t)
	document, err := os.ReadFile("../../docs/DEMO.md")
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	out, _, err := sidctx(t, "demo")
	if err != nil {
		t.Fatalf("sidctx: %v", err)
	}
	_, table, _ := strings.Cut(out, "\n\n")
	if !strings.Contains(string(document), table) {
		t.Fatalf("docs/DEMO.md does not hold what the demo prints:\n%s", table)
	}
}

func TestDemoWithoutOpenssl(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, _, err := sidctx(t, "demo")
	if !errors.Is(err, errNoOpenssl) {
		t.Fatalf("sidctx: %v", err)
	}
}

func TestDemoStops(t *testing.T) {
	needOpenssl(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Setenv("TMPDIR", t.TempDir())
	out := stopAt{"a -> b", cancel, new(bytes.Buffer)}
	if err := run(ctx, out, out, []string{"demo"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v\n%s", err, out.Buffer)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v %v", left, err)
	}
}

// stopAt calls stop when text is written.
type stopAt struct {
	text string
	stop func()
	*bytes.Buffer
}

func (s stopAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.stop()
	}
	return s.Buffer.Write(p)
}

func TestRunUsage(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		says string
		err  error
	}{
		{"nothing", nil, "usage: sidctx", errUsage},
		{"unknown command", []string{"demonstrate"}, `no command "demonstrate"`, errUsage},
		{"unknown flag", []string{"demo", "-brake"}, "-brake", errUsage},
		{"argument", []string{"demo", "now"}, `"now" is no flag`, errUsage},
		{"help", []string{"demo", "-h"}, "-break", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, says, err := sidctx(t, tt.args...)
			if !errors.Is(err, tt.err) || !strings.Contains(says, tt.says) {
				t.Fatalf("%v: %s", err, says)
			}
		})
	}
}

func TestParseExpected(t *testing.T) {
	const line = "TLS1.2      ticket     library   a      b       full\n"
	for _, tt := range []struct{ name, replace, says string }{
		{"missing", "", "TLS1.2 ticket library a -> b is missing"},
		{"twice", line + line, "stands there twice"},
		{"unknown outcome", "TLS1.2 ticket library a b maybe\n", `"maybe"`},
		{"unknown attempt", "TLS1.1 ticket library a b full\n", "no attempt"},
		{"cut", "TLS1.2 ticket library a b\n", "5 words"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseExpected(strings.Replace(expectedText, line, tt.replace, 1))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("parseExpected: %v", err)
			}
		})
	}
}

// What s_client says of a handshake, in the same words since 1.1.1.
func TestSClientResumed(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		resumed    bool
		fails      bool
	}{
		{"new", "Verification: OK\n---\nNew, TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384\nServer public key is 256 bit\n", false, false},
		{"reused", "---\nReused, TLSv1.2, Cipher is ECDHE-ECDSA-AES256-GCM-SHA384\n", true, false},
		{"failed", "---\nNew, (NONE), Cipher is (NONE)\n", false, true},
		{"nothing", "", false, true},
		{"both", "New, TLSv1.3, Cipher is X\nReused, TLSv1.3, Cipher is X\n", false, true},
		{"the server's words", "welcome to Reused, TLSv1.3, Cipher is X\n", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resumed, err := sClientResumed([]byte(tt.said))
			if resumed != tt.resumed || (err != nil) != tt.fails {
				t.Fatalf("sClientResumed: resumed %v, err %v", resumed, err)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  reported
		err  error
		says string
	}{
		{"as expected", reported{full, full}, nil, ""},
		{"the client differs", reported{resumed, full}, nil, "the client says resumed"},
		{"the server differs", reported{full, resumed}, nil, "the server says resumed"},
		{"an error outranks agreement", reported{full, full}, errors.New("cut"), "cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := differs(full, tt.got, tt.err)
			if tt.says == "" && got != "" || !strings.Contains(got, tt.says) {
				t.Fatal(got)
			}
		})
	}
}
