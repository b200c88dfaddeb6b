package openssl

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -I${SRCDIR}/internal/libssl -Wall -Wextra
#cgo noescape osl_ctx_set_sidctx
#cgo nocallback osl_ctx_set_sidctx
#cgo noescape osl_ssl_set_sidctx
#cgo nocallback osl_ssl_set_sidctx
#include "sidctx_cgo.h"
*/
import "C"

import (
	"unsafe"

	"github.com/sidctx/openssl/internal/libssl"
)

// setCtxSIDContext calls SSL_CTX_set_session_id_context.
func setCtxSIDContext(c libssl.CTX, sidCtx []byte) error {
	f := C.osl_ctx_set_sidctx((*C.SSL_CTX)(c.Pointer()), bytesPtr(sidCtx), C.size_t(len(sidCtx)))
	return asSIDContextError(libssl.TakeFailure("SSL_CTX_set_session_id_context", unsafe.Pointer(f)), len(sidCtx))
}

// setSSLSIDContext calls SSL_set_session_id_context.
func setSSLSIDContext(s libssl.SSL, sidCtx []byte) error {
	f := C.osl_ssl_set_sidctx((*C.osl_ssl)(s.Pointer()), bytesPtr(sidCtx), C.size_t(len(sidCtx)))
	return asSIDContextError(libssl.TakeFailure("SSL_set_session_id_context", unsafe.Pointer(f)), len(sidCtx))
}

// bytesPtr is b for the length of one call.
func bytesPtr(b []byte) *C.uchar { return (*C.uchar)(unsafe.SliceData(b)) }
