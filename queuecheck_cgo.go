//go:build queuecheck

package openssl

// As in internal/libssl.

// #cgo CFLAGS: -DOSL_QUEUECHECK
import "C"
