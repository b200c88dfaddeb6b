package libssl

/*
#cgo noescape osl_ctx_use_psk
#cgo nocallback osl_ctx_use_psk
#cgo noescape osl_ssl_use_psk
#cgo nocallback osl_ssl_use_psk
#include "psk.h"
#include "ctx.h"
#include "ssl.h"
*/
import "C"

// What libssl takes of a PSK, in bytes.
const (
	MaxPSKIdentity = C.PSK_MAX_IDENTITY_LEN
	MaxPSK         = C.PSK_MAX_PSK_LEN
)

// PSKPrint is the same for the same key.
type PSKPrint [C.OSL_PSK_PRINT]byte

func pskPrint(op string, r C.osl_psk_result) (print PSKPrint, fail *Failure) {
	for i, b := range r.print {
		print[i] = byte(b)
	}
	return print, failure(op, r.fail)
}

// UsePSK gives a client its PSK, or adds one to a server's.
func (c CTX) UsePSK(server bool, identity, key []byte) (PSKPrint, *Failure) {
	op := "SSL_CTX_set_psk_client_callback"
	if server {
		op = "SSL_CTX_set_psk_server_callback"
	}
	return pskPrint(op, C.osl_ctx_use_psk(c.p, cBool(server),
		bytesPtr(identity), C.size_t(len(identity)), bytesPtr(key), C.size_t(len(key))))
}

// UsePSK gives a client's connection its PSK, or adds one to those of a server's.
func (s SSL) UsePSK(identity, key []byte) (PSKPrint, *Failure) {
	return pskPrint("SSL_set_psk_use_session_callback", C.osl_ssl_use_psk(s.p,
		bytesPtr(identity), C.size_t(len(identity)), bytesPtr(key), C.size_t(len(key))))
}
