package libssl

/*
#cgo noescape osl_ctx_add_trust
#cgo nocallback osl_ctx_add_trust
#cgo noescape osl_roots_new
#cgo nocallback osl_roots_new
#include "roots.h"
*/
import "C"

import "unsafe"

// Roots are the system's roots, in a store that is shared.
type Roots struct{ p *C.osl_roots }

// RootPaths is where they are read: SSL_CERT_FILE and SSL_CERT_DIR, or OpenSSL's own places.
func RootPaths() (file, dir string) {
	return C.GoString(C.osl_roots_file()), C.GoString(C.osl_roots_dir())
}

// RootsRead is what came of reading roots.
type RootsRead struct {
	Blocks  int // of PEM
	Damaged int // that could not be read
	First   int // the number of the first of them
	Fail    *Failure
}

// NewRoots reads roots in a library, and has folders looked into later. Without roots Fail is the
// reason, else that of the first damaged block.
func NewRoots(l Library, pem []byte, dir string) (Roots, RootsRead) {
	cDir := C.CString(dir)
	defer C.free(unsafe.Pointer(cDir))
	made := C.osl_roots_new(l.p, bytesPtr(pem), C.size_t(len(pem)), cDir)
	return Roots{made.roots}, RootsRead{int(made.blocks), int(made.damaged), int(made.first), failure("PEM_X509_INFO_read_bio", made.fail)}
}

// Free frees r; the store lives on in each CTX that shares it.
func (r Roots) Free() { C.osl_roots_free(r.p) }

// ShareRoots has c trust the roots, and nothing else.
func (c CTX) ShareRoots(r Roots) { C.osl_ctx_share_roots(c.p, r.p) }

// AddRoots adds the roots to what c trusts.
func (c CTX) AddRoots(r Roots) *Failure {
	return failure("X509_STORE_add_cert", C.osl_ctx_add_roots(c.p, r.p))
}

// AddTrust adds CAs to what c trusts.
func (c CTX) AddTrust(pem []byte) Changed {
	return changed("PEM_read_bio_X509", C.osl_ctx_add_trust(c.p, bytesPtr(pem), C.size_t(len(pem))))
}
