package openssl

/*
#cgo noescape osl_ctx_set_sidctx
#cgo nocallback osl_ctx_set_sidctx
#cgo noescape osl_ssl_set_sidctx
#cgo nocallback osl_ssl_set_sidctx
#cgo noescape osl_session_parse
#cgo nocallback osl_session_parse
#cgo noescape osl_session_set_sidctx
#cgo nocallback osl_session_set_sidctx
#cgo noescape osl_session_read
#cgo nocallback osl_session_read
#include "sidctx_cgo.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// maxSIDCtx is how many bytes a session id context holds at most.
const maxSIDCtx = C.SSL_MAX_SID_CTX_LENGTH

func (c ctxPtr) setSessionIDContext(sidCtx []byte) error {
	return takeError("SSL_CTX_set_session_id_context",
		C.osl_ctx_set_sidctx(c.p, lend(sidCtx), C.size_t(len(sidCtx))))
}

func (s sslPtr) setSessionIDContext(sidCtx []byte) error {
	return takeError("SSL_set_session_id_context",
		C.osl_ssl_set_sidctx(s.p, lend(sidCtx), C.size_t(len(sidCtx))))
}

// session is the session that could be resumed, zero without one.
func (s sslPtr) session() sessionPtr { return sessionPtr{C.osl_ssl_session(s.p)} }

func (s sslPtr) setSession(sess sessionPtr) error {
	return takeError("SSL_set_session", C.osl_ssl_set_session(s.p, sess.p))
}

// sessionPtr is an SSL_SESSION. Its owner holds a lock around every act.
type sessionPtr struct{ p *C.SSL_SESSION }

func (s sessionPtr) free() { C.osl_session_free(s.p) }

func parseSessionPtr(der []byte) (sessionPtr, error) {
	made := C.osl_session_parse(lend(der), C.size_t(len(der)))
	return sessionPtr{made.session}, takeError("d2i_SSL_SESSION", made.fail)
}

func (s sessionPtr) der() ([]byte, error) {
	return takeBytes("i2d_SSL_SESSION", C.osl_session_der(s.p))
}

// withSessionIDContext is a copy with another context.
func (s sessionPtr) withSessionIDContext(sidCtx []byte) (sessionPtr, error) {
	made := C.osl_session_set_sidctx(s.p, lend(sidCtx), C.size_t(len(sidCtx)))
	return sessionPtr{made.session}, takeError("SSL_SESSION_set1_id_context", made.fail)
}

// sessionInfo is what a session says of itself.
type sessionInfo struct {
	id, sidCtx []byte
	version    uint16
	resumable  bool
	time       time.Time
	timeout    time.Duration
}

func (s sessionPtr) info() sessionInfo {
	var info C.osl_session_info
	C.osl_session_read(s.p, &info)
	return sessionInfo{
		id:        C.GoBytes(unsafe.Pointer(&info.id[0]), C.int(info.id_n)),
		sidCtx:    C.GoBytes(unsafe.Pointer(&info.sidctx[0]), C.int(info.sidctx_n)),
		version:   uint16(info.version),
		resumable: info.resumable != 0,
		time:      time.Unix(int64(info.time), 0),
		timeout:   time.Duration(info.timeout) * time.Second,
	}
}
