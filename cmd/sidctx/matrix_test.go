package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/sidctx/openssl/internal/spec"
)

func TestMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: TestSpec tries the same rows")
	}
	var out, errOut bytes.Buffer
	if err := matrix(t.Context(), &out, &errOut, nil); err != nil {
		t.Fatalf("matrix: %v", err)
	}
	if text := out.String(); !strings.Contains(text, " 0 differ from the specification\n") || strings.Contains(text, "!") {
		t.Error(text)
	}
	if errOut.Len() != 0 {
		t.Errorf("a progress line where no terminal is: %q", errOut.String())
	}
}

func TestMatrixJSON(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: TestSpec tries the same rows")
	}
	var out bytes.Buffer
	if err := matrix(t.Context(), &out, io.Discard, []string{"-json"}); err != nil {
		t.Fatalf("matrix: %v", err)
	}
	var report struct {
		OpenSSL string
		Differ  int
		Rows    []struct{ Protocol, Mechanism, First, Second, Outcome, Specification string }
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("Unmarshal: %v", err)
	}
	tables, err := spec.Tables()
	if err != nil {
		t.Fatalf("Tables: %v", err)
	}
	if report.OpenSSL == "" || report.Differ != 0 || len(report.Rows) != len(spec.Rows(tables)) {
		t.Errorf("%s, %d rows, %d differ", report.OpenSSL, len(report.Rows), report.Differ)
	}
	for _, r := range report.Rows {
		if r.Outcome == "" || r.Outcome != r.Specification {
			t.Errorf("%+v", r)
		}
	}
}

func TestMatrixSpec(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: TestSpec tries the same rows")
	}
	var out bytes.Buffer
	if err := matrix(t.Context(), &out, io.Discard, []string{"-spec"}); err != nil {
		t.Fatalf("matrix: %v", err)
	}
	stored, err := os.ReadFile("../../SPEC.md")
	if err != nil {
		t.Fatalf("ReadFile: %v", err)
	}
	if !bytes.Equal(stored, out.Bytes()) {
		t.Error("SPEC.md is not what sidctx matrix -spec prints")
	}
}

// TestMatrixDiffers puts a wrong word into the specification.
func TestMatrixDiffers(t *testing.T) {
	tables, err := spec.Tables()
	if err != nil {
		t.Fatalf("Tables: %v", err)
	}
	wrong, err := spec.ParseValue("f[TLS1.3=R-]")
	if err != nil {
		t.Fatalf("ParseValue: %v", err)
	}
	tables[0].Lines[0].Cells[0] = wrong
	results, err := holdAgainst(t.Context(), spec.Rows(tables[:1]), nil)
	if err != nil {
		t.Fatalf("holdAgainst: %v", err)
	}
	const text = "1 of 90 rows differ from the specification:\n" +
		"  TLS1.2 ticket, A->A, verify none>none, client with a certificate: R-, the specification says f"
	if err := differing(results); err == nil || err.Error() != text {
		t.Errorf("%v, want %s", err, text)
	}
	var out bytes.Buffer
	printTables(&out, tables[:1], results)
	if !strings.Contains(out.String(), "R-! ") {
		t.Error(out.String())
	}
}
