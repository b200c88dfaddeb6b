//go:build cgo

package openssl_test

import (
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

func TestNormalizeHost(t *testing.T) {
	for name, want := range map[string]string{
		"a.test":             "a.test",
		"A.Test":             "a.test",
		"a.test.":            "a.test",
		"a.test:443":         "a.test",
		"A.TEST.:8443":       "a.test",
		"xn--BCHER-kva.test": "xn--bcher-kva.test",
		"_service.a.test":    "_service.a.test",
		"192.0.2.1":          "192.0.2.1",
		"192.0.2.1:443":      "192.0.2.1",
		"[2001:db8::1]:443":  "2001:db8::1",
	} {
		if got, err := openssl.NormalizeHost(name); err != nil || got != want {
			t.Errorf("%q is %q, %v", name, got, err)
		}
		if got, err := openssl.NormalizeHost(want); err != nil || got != want {
			t.Errorf("%q again is %q, %v", want, got, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "a..test", ".a.test", "a.test..", "a test", "a\x00.test", "b\u00fccher.test", "a/b", "*.test",
		strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "a",
	} {
		if got, err := openssl.NormalizeHost(name); err == nil {
			t.Errorf("%q is taken as %q", name, got)
		}
	}
}
