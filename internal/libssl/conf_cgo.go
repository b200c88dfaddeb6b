package libssl

/*
#cgo noescape osl_ctx_conf_trust
#cgo nocallback osl_ctx_conf_trust
#cgo noescape osl_ctx_conf_try
#cgo nocallback osl_ctx_conf_try
#cgo noescape osl_serverinfo
#cgo nocallback osl_serverinfo
#include "conf.h"
#include "pem.h"
*/
import "C"

import (
	"unsafe"
)

// ConfType is what the value of a command names.
type ConfType int

const (
	ConfUnknown ConfType = C.SSL_CONF_TYPE_UNKNOWN
	ConfFile    ConfType = C.SSL_CONF_TYPE_FILE
	ConfDir     ConfType = C.SSL_CONF_TYPE_DIR
	ConfStore   ConfType = C.SSL_CONF_TYPE_STORE
)

// ConfTypeOf is SSL_CONF_cmd_value_type.
func ConfTypeOf(server bool, cmd string) (ConfType, *Failure) {
	cCmd := C.CString(cmd)
	defer C.free(unsafe.Pointer(cCmd))
	r := C.osl_conf_type(cBool(server), cCmd)
	return ConfType(r._type), failure("SSL_CONF_CTX_new", r.fail)
}

// ConfTrial is what came of trying a command.
type ConfTrial struct {
	Result    int  // SSL_CONF_cmd's
	Loads     bool // false if it names another store whose CAs cannot be loaded
	Encrypted bool
	Verify    int // the bits that it would set
	Names     int // the bytes of CA names that it would send, if they are more than MaxCANames
	Fail      *Failure
}

// Results of SSL_CONF_cmd; its manual gives them as numbers only.
const (
	ConfUnknownCommand = -2
	ConfNeedsValue     = -3
)

// TryConf runs a command where it changes nothing. another says that it names one
// more store, extensions is what ServerInfoFile has registered.
func (c CTX) TryConf(server bool, cmd, value string, another bool, extensions []uint16) ConfTrial {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	r := C.osl_ctx_conf_try(c.p, cBool(server), cCmd, cValue, cBool(another),
		(*C.uint16_t)(unsafe.SliceData(extensions)), C.size_t(len(extensions)))
	return ConfTrial{int(r.answer), r.loads != 0, r.asked != 0, int(r.mode), int(r.names), failure("SSL_CONF_cmd", r.fail)}
}

// Conf runs a command that TryConf has passed.
func (c CTX) Conf(server bool, cmd, value string) Changed {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	return changed("SSL_CONF_cmd", C.osl_ctx_conf(c.p, cBool(server), cCmd, cValue))
}

// ConfTrust is Conf for a command that names CAs, which add to those of before or
// take their place.
func (c CTX) ConfTrust(server bool, cmd, value string, replace, another bool, crls []byte) Changed {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	return changed("SSL_CONF_cmd",
		C.osl_ctx_conf_trust(c.p, cBool(server), cCmd, cValue, cBool(replace), cBool(another), bytesPtr(crls), C.size_t(len(crls))))
}

// ServerInfo is the types of the extensions in a file for ServerInfoFile.
func ServerInfo(path string) []uint16 {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	extensions := make([]uint16, 64) // more than a server sends
	n := C.osl_serverinfo(cPath, (*C.uint16_t)(unsafe.SliceData(extensions)), C.size_t(len(extensions)))
	return extensions[:n]
}

// EncryptedBlock is the type of the first PEM block in a file that is encrypted
// and no private key, empty without one.
func EncryptedBlock(path string) (string, *Failure) {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	r := C.osl_pem_encrypted(cPath)
	return C.GoString(&r._type[0]), failure("PEM_read_bio", r.fail)
}
