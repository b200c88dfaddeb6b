//go:build queuecheck

package openssl

// Built with -tags queuecheck every act aborts the process if it leaves residue
// in OpenSSL's error queue.

// #cgo CFLAGS: -DOSL_QUEUECHECK
import "C"
