//go:build !cgo

package openssl

// The name is the message that the compiler prints.
var _ = openssl_needs_cgo_set_CGO_ENABLED_1_and_install_a_C_compiler
