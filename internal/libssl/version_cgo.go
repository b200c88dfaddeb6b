package libssl

/*
#include "version.h"
*/
import "C"

import (
	"strings"
)

// Of the headers.
const (
	CompiledVersion = C.OPENSSL_VERSION_NUMBER
	CompiledText    = C.OPENSSL_VERSION_TEXT
)

// LinkedVersion is that of the library that runs.
func LinkedVersion() (number uint64, text string) {
	return uint64(C.OpenSSL_version_num()), C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))
}

// FIPS reports whether only approved algorithms are fetched.
func FIPS() bool { return C.osl_fips() != 0 }

// Providers are the names of those that are loaded.
func Providers() []string {
	b, err := takeBytes("OSSL_PROVIDER_do_all", C.osl_providers())
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
