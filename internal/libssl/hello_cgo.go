package libssl

/*
#cgo noescape osl_ssl_offered
#cgo nocallback osl_ssl_offered
#include "hello.h"
*/
import "C"

// Hello takes the copy of the ClientHello that libssl is suspended in.
func (s SSL) Hello() ([]byte, *Failure) {
	return takeBytes("SSL_client_hello_get0_ext", C.osl_ssl_hello(s.p))
}

// ServerNameUnused has the name that the client asks for not be acknowledged.
func (s SSL) ServerNameUnused() { C.osl_ssl_name_unused(s.p) }

// Refuse has the suspended ClientHello answered with an alert.
func (s SSL) Refuse(alert uint8) { C.osl_ssl_refuse(s.p, C.int(alert)) }

// OfferedIDs is the session ids that libssl will look up.
func (s SSL) OfferedIDs() (ids [][]byte) {
	var flat [C.OSL_MAX_IDS * C.SSL_MAX_SSL_SESSION_ID_LENGTH]byte
	var size C.size_t
	n := int(C.osl_ssl_offered(s.p, bytesPtr(flat[:]), &size))
	for i := range n {
		ids = append(ids, append([]byte(nil), flat[i*int(size):(i+1)*int(size)]...))
	}
	return ids
}
