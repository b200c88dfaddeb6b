//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// VersionInfo says which OpenSSL a program runs on.
type VersionInfo struct {
	Linked         string   // "OpenSSL 3.0.19 27 Jan 2026", of the library that runs
	LinkedNumber   uint64   // OPENSSL_VERSION_NUMBER's form
	Compiled       string   // of the headers that the program was built with
	CompiledNumber uint64   //
	FIPS           bool     // only approved algorithms are fetched
	Providers      []string // that are loaded; none before 3.0
}

// Version says which OpenSSL is linked.
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
