package libssl

/*
#cgo noescape osl_ctx_set_ocsp_response
#cgo nocallback osl_ctx_set_ocsp_response
#include "ocsp.h"
*/
import "C"

// SetOCSPResponse replaces the response that a server sends; an empty one is none.
func (c CTX) SetOCSPResponse(der []byte) *Failure {
	return failure("SSL_set_tlsext_status_ocsp_resp", C.osl_ctx_set_ocsp_response(c.p, bytesPtr(der), C.size_t(len(der))))
}

// SetOCSPRequest has a client ask for a response.
func (c CTX) SetOCSPRequest(on bool) *Failure {
	return failure("SSL_CTX_set_tlsext_status_type", C.osl_ctx_set_ocsp_request(c.p, cBool(on)))
}
