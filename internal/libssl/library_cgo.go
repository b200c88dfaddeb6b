package libssl

/*
#include "library.h"
*/
import "C"

import (
	"unsafe"

	"github.com/sidctx/openssl/internal/wire"
)

// Library is an OSSL_LIB_CTX and a property query. The zero Library is the default
// one. It is never freed: see library.h.
type Library struct{ p *C.osl_library }

// LibraryPart is what NewLibrary and Load have failed at.
type LibraryPart int

const (
	LibraryVersion   LibraryPart = C.OSL_LIBRARY_VERSION
	LibraryConf      LibraryPart = C.OSL_LIBRARY_CONF
	LibraryNoModules LibraryPart = C.OSL_LIBRARY_NO_MODULES
	LibraryGlobal    LibraryPart = C.OSL_LIBRARY_GLOBAL
	LibraryLoad      LibraryPart = C.OSL_LIBRARY_LOAD
	LibraryProvider  LibraryPart = C.OSL_LIBRARY_PROVIDER
	LibraryFetch     LibraryPart = C.OSL_LIBRARY_FETCH
)

// LibraryFault says more about a failure.
type LibraryFault struct {
	Part LibraryPart // 0 for want of memory
	Line int         // of the configuration, if it is known
	Name string      // of the module for LibraryGlobal, the provider for LibraryProvider
}

// NewLibrary makes a library and reads its configuration, which content is the
// sections of. Load loads it.
func NewLibrary(conf, properties string) (l Library, content [][]byte, fault LibraryFault, fail *Failure) {
	cConf, cProperties := optionalString(conf), optionalString(properties)
	defer C.free(unsafe.Pointer(cConf))
	defer C.free(unsafe.Pointer(cProperties))
	r := C.osl_library_new(cConf, cProperties)
	if r.fail != nil {
		fault = LibraryFault{LibraryPart(r.part), int(r.line), C.GoString(&r.name[0])}
		return l, nil, fault, failure("NCONF_load", r.fail)
	}
	b, _ := takeBytes("", r.content)
	for sections := (wire.Reader{B: b}); len(sections.B) > 0; {
		content = append(content, sections.Bytes(4))
	}
	return Library{r.library}, content, fault, nil
}

// Load loads what the configuration names; after a failure l is gone. One
// goroutine at a time may call it.
func (l Library) Load() (LibraryFault, *Failure) {
	r := C.osl_library_load(l.p)
	op := "OSSL_LIB_CTX_load_config"
	if r.part == C.OSL_LIBRARY_FETCH {
		op = "EVP_CIPHER_fetch"
	}
	return LibraryFault{Part: LibraryPart(r.part), Name: C.GoString(&r.name[0])}, failure(op, r.fail)
}

// Drop frees a library that was not loaded.
func (l Library) Drop() { C.osl_library_drop(l.p) }
