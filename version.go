//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// VersionInfo describes the OpenSSL that a program uses.
type VersionInfo struct {
	Linked         string   // "OpenSSL 3.0.19 27 Jan 2026", the library in use
	LinkedNumber   uint64   // OPENSSL_VERSION_NUMBER's form
	Compiled       string   // the headers that the program was compiled with
	CompiledNumber uint64   //
	FIPS           bool     // whether only FIPS-approved algorithms are used by default
	Providers      []string // the loaded providers; none before OpenSSL 3.0
}

// Version returns the versions of OpenSSL that the program was compiled for and that it is
// linked with.
//
// It is OpenSSL_version.
func Version() VersionInfo {
	number, text := libssl.LinkedVersion()
	return VersionInfo{
		Linked:         text,
		LinkedNumber:   number,
		Compiled:       libssl.CompiledText,
		CompiledNumber: libssl.CompiledVersion,
		FIPS:           libssl.FIPS(),
		Providers:      libssl.Providers(),
	}
}
