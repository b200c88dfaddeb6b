package libssl

/*
#cgo noescape osl_ctx_set_dh
#cgo nocallback osl_ctx_set_dh
#include "dh.h"
*/
import "C"

// SetDHParameters sets the parameters in PEM.
func (c CTX) SetDHParameters(pem []byte) *Failure {
	return failure("SSL_CTX_set0_tmp_dh_pkey", C.osl_ctx_set_dh(c.p, bytesPtr(pem), C.size_t(len(pem))))
}

// SetDHAuto has libssl choose parameters.
func (c CTX) SetDHAuto(on bool) *Failure {
	return failure("SSL_CTX_set_dh_auto", C.osl_ctx_set_dh_auto(c.p, cBool(on)))
}
