//go:build !cgo

package openssl

var _ = openssl_needs_CGO_ENABLED_1_and_a_C_compiler
