//go:build cgo

package tlstest

import (
	"errors"
	"strings"
	"testing"
)

// Sentence looks at an error's text: one line, openssl: once and in front, and
// each of the parts in it.
func Sentence(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	text := err.Error()
	if !strings.HasPrefix(text, "openssl: ") || strings.Count(text, "openssl: ") != 1 || strings.Contains(text, "\n") {
		t.Errorf("%q is not one line with openssl: once in front", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

// Says fails unless there is an error with each of the parts in its text.
func Says(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// AsType is errors.As with the type in place of a variable. The errors.AsType of Go 1.26
// is newer than what the module needs.
func AsType[E error](err error) (e E, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}
