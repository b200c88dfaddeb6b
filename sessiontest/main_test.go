//go:build cgo

package sessiontest_test

import (
	"testing"

	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }
