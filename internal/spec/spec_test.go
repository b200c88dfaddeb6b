//go:build cgo

package spec_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl/internal/spec"
)

func TestValue(t *testing.T) {
	v, err := spec.ParseValue("2[<3.0=3][>=3.6.5=four][TLS1.3=5]")
	must(t, err)
	for _, at := range []struct {
		protocol string
		version  uint64
		want     string
	}{
		{"TLS1.2", 0x1010117f, "3"}, {"TLS1.3", 0x1010117f, "3"},
		{"TLS1.2", 0x30000130, "2"}, {"TLS1.3", 0x30000130, "5"},
		{"TLS1.2", 0x30600040, "2"}, {"TLS1.2", 0x30600050, "four"}, {"TLS1.3", 0x40000030, "four"},
	} {
		if got := v.For(at.protocol, at.version); got != at.want {
			t.Errorf("%s on %#x: %s, want %s", at.protocol, at.version, got, at.want)
		}
	}
	for _, broken := range []string{"2[", "2[<3.0=3", "2[<3.0]", "2[3.0=3]", "2[<3=3]", "2[<3.x=3]", "2[<3.0=3]4"} {
		if _, err := spec.ParseValue(broken); err == nil {
			t.Errorf("%q was taken", broken)
		}
	}
}

// TestRows compares what the tables unroll to with what must be there.
func TestRows(t *testing.T) {
	tables, err := spec.Tables()
	must(t, err)
	want := make(map[string]bool)
	for _, protocol := range spec.Protocols {
		for _, mechanism := range spec.Mechanisms {
			for _, contexts := range []string{"A->A", "A->B", "unset->unset", "A->unset", "unset->A"} {
				for _, column := range []string{"none>none", "peer>peer", "required>required", "none>peer", "none>required", "peer>none"} {
					want[fmt.Sprintf("%s %s, %s, verify %s, client with a certificate", protocol, mechanism, contexts, column)] = true
				}
				for _, column := range []string{"peer>peer", "none>peer", "none>required", "peer>none"} {
					want[fmt.Sprintf("%s %s, %s, verify %s, client without a certificate", protocol, mechanism, contexts, column)] = true
				}
			}
		}
	}
	rows := spec.Rows(tables)
	if len(rows) != len(want) {
		t.Errorf("%d rows, want %d", len(rows), len(want))
	}
	for _, r := range rows {
		if !want[r.String()] {
			t.Errorf("%v stands there twice, or should not", r)
		}
		delete(want, r.String())
		for _, s := range spec.Series {
			if !slices.Contains([]string{"R+", "R-", "f", "X", "N"}, r.Expected(s.Number)) {
				t.Errorf("%v on %s: %q", r, s.Name, r.Expected(s.Number))
			}
		}
	}
}

// TestMarkdownColumn shows that a difference between versions becomes text.
func TestMarkdownColumn(t *testing.T) {
	var b strings.Builder
	must(t, spec.WriteMarkdown(&b))
	for _, text := range []string{
		"DER of 3.0: refused (1.1.1), read (3.0 to 4.0)",
		"kept of 3: 3 (1.1.1), 2 (3.0 to 4.0)",
		"TLS1.2/stateful/a full cache: held (1.1.1 to 3.5), free (3.6 to 4.0)",
	} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("SPEC.md does not say %q", text)
		}
	}
}
