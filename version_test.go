//go:build cgo

package openssl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

func TestVersion(t *testing.T) {
	v := openssl.Version()
	for _, test := range []struct {
		text   string
		number uint64
	}{{v.Linked, v.LinkedNumber}, {v.Compiled, v.CompiledNumber}} {
		// 0xMNN00PP0L from 3.0 on, 0xMNNFFPPS before.
		n := test.number
		want := fmt.Sprintf("OpenSSL %d.%d.%d", n>>28, n>>20&0xff, n>>4&0xff)
		if n < 0x30000000 {
			want = fmt.Sprintf("OpenSSL %d.%d.%d%c", n>>28, n>>20&0xff, n>>12&0xff, 'a'+rune(n>>4&0xff)-1)
		}
		if !strings.HasPrefix(test.text, want+" ") {
			t.Errorf("%#x is %q, not %q", n, want, test.text)
		}
	}
	if v.LinkedNumber>>28 != v.CompiledNumber>>28 {
		t.Errorf("linked %s, compiled with %s: another ABI", v.Linked, v.Compiled)
	}
	if old := v.LinkedNumber < 0x30000000; old != (len(v.Providers) == 0) {
		t.Errorf("providers of %s: %v", v.Linked, v.Providers)
	} else if !old && !v.FIPS && !slices.Contains(v.Providers, "default") {
		t.Errorf("there is no default provider among %v", v.Providers)
	}
}
