//go:build cgo

package libssl_test

import (
	"runtime"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// What is not closed is freed by the garbage collector, and counted. It runs in a
// process of its own: in this one everything must be closed.
func TestForgottenClose(t *testing.T) {
	if !tlstest.Again(t, tlstest.Forgets+"=1") {
		return
	}
	tlstest.Certs(t)
	live, caught := libssl.LiveHandles(), libssl.CaughtHandles()
	func() {
		c, err := openssl.NewServerCtx()
		must(t, err)
		must(t, c.UseCertificate(tlstest.Fixtures.ServerCert, tlstest.Fixtures.ServerKey))
		if _, err := openssl.NewSSL(c); err != nil {
			t.Fatalf("NewSSL: %v", err)
		}
	}()
	for range 1000 {
		if libssl.CaughtHandles() == caught+2 {
			break
		}
		runtime.GC()
		runtime.Gosched()
	}
	if got := libssl.CaughtHandles() - caught; got != 2 || libssl.LiveHandles() != live {
		t.Fatalf("%d were caught, %d are alive", got, libssl.LiveHandles()-live)
	}
}
