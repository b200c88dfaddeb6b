package main

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/sidctx/openssl"
)

// Versions that differ end in the alert that the C has chosen.
func TestVersions(t *testing.T) {
	for ofClient := range uint8(4) {
		for ofServer := range uint8(4) {
			err := run(ofClient, ofServer)
			if ofClient == ofServer {
				if err != nil {
					t.Errorf("both speak version %d: %v", ofClient, err)
				}
				continue
			}
			const illegalParameter = 47
			if alert, ok := errors.AsType[tls.AlertError](err); !ok || alert != illegalParameter {
				t.Errorf("versions %d and %d: %v, want the alert %d", ofClient, ofServer, err, illegalParameter)
			}
		}
	}
}

// A function of Raw comes before the first connection, and an extension once.
func TestTooLate(t *testing.T) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		t.Fatalf("NewClientCtx: %v", err)
	}
	defer c.Close()
	if err := speaks(c, 1); err != nil {
		t.Fatalf("speaks: %v", err)
	}
	failed, ok := errors.AsType[*openssl.Error](speaks(c, 1))
	if !ok || failed.Op != "SSL_CTX_add_custom_ext" {
		t.Errorf("the same extension again: %v, want an Error of SSL_CTX_add_custom_ext", failed)
	}
	s, err := openssl.NewSSL(c)
	if err != nil {
		t.Fatalf("NewSSL: %v", err)
	}
	defer s.Close()
	if err := speaks(c, 1); err != openssl.ErrCtxInUse {
		t.Errorf("on a Ctx in use: %v, want ErrCtxInUse", err)
	}
}
