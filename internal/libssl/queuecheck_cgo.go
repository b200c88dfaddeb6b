//go:build queuecheck

package libssl

// Built with -tags queuecheck every call aborts the process if it leaves something
// in OpenSSL's error queue, or if it changes a session that other connections see.

// #cgo CFLAGS: -DOSL_QUEUECHECK
import "C"
