package libssl

/*
#cgo noescape osl_ssl_finished
#cgo nocallback osl_ssl_finished
#include "state.h"
*/
import "C"

import "unsafe"

// VerifiedChain is each certificate's DER of the chain that libssl has verified, the leaf first.
func (s SSL) VerifiedChain() ([][]byte, *Failure) {
	b, fail := takeBytes("SSL_get0_verified_chain", C.osl_ssl_verified_chain(s.p))
	return splitCertificates(b), fail
}

// OCSPResponse is what the server has stapled.
func (s SSL) OCSPResponse() ([]byte, *Failure) {
	return takeBytes("SSL_get_tlsext_status_ocsp_resp", C.osl_ssl_ocsp_response(s.p))
}

// Finished is the Finished messages of both ends, and whether they stand for one
// connection alone.
func (s SSL) Finished() (local, peer []byte, unique bool) {
	var f C.osl_finished
	C.osl_ssl_finished(s.p, &f)
	return C.GoBytes(unsafe.Pointer(&f.local[0]), C.int(f.local_n)), C.GoBytes(unsafe.Pointer(&f.peer[0]), C.int(f.peer_n)),
		f.extended_master_secret != 0
}
