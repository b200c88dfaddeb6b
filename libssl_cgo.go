package openssl

/*
#cgo pkg-config: libssl libcrypto
#cgo noescape osl_ctx_use_certificate
#cgo nocallback osl_ctx_use_certificate
#cgo noescape osl_ctx_set_trust
#cgo nocallback osl_ctx_set_trust
#cgo noescape osl_ctx_set_crls
#cgo nocallback osl_ctx_set_crls
#cgo noescape osl_ctx_conf_try
#cgo nocallback osl_ctx_conf_try
#cgo noescape osl_ctx_conf_trust
#cgo nocallback osl_ctx_conf_trust
#cgo noescape osl_serverinfo
#cgo nocallback osl_serverinfo
#include "libssl_cgo.h"
*/
import "C"

import (
	"bytes"
	"strings"
	"sync/atomic"
	"unsafe"
)

// This file and its header are the wall: the error queue and SSL_CTX. Go values
// in, Go values out; no pointer leaves.

// ---- errors ----

// Reason codes of the headers, which are what errors are compared by.
const (
	libSSL                        = C.ERR_LIB_SSL
	reasonSIDCtxTooLong           = C.SSL_R_SSL_SESSION_ID_CONTEXT_TOO_LONG
	reasonSIDCtxUninitialized     = C.SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED
	reasonSessionContextMismatch  = C.SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT
	reasonAlertOffset             = C.SSL_AD_REASON_OFFSET
	reasonAlertLast               = C.SSL_AD_REASON_OFFSET + 255
	reasonCertificateVerifyFailed = C.SSL_R_CERTIFICATE_VERIFY_FAILED
)

// takeError makes an Error of a failure and gives it back: the only door for errors.
func takeError(op string, f *C.osl_fail) error {
	if f == nil {
		return nil
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(f.text)), int(f.len))
	var err *Error
	if f.n == 1 && f.verify == 0 {
		err = takeKnown(op, f, text)
	} else {
		err = newError(op, f, text)
	}
	if f.home == nil || !atomic.CompareAndSwapPointer((*unsafe.Pointer)(unsafe.Pointer(f.home)), nil, unsafe.Pointer(f)) {
		C.osl_fail_free(f)
	}
	return err
}

// newError copies a failure.
func newError(op string, f *C.osl_fail, text []byte) *Error {
	e := &Error{Op: op, Code: int(f.code), verify: int(f.verify)}
	for i := range int(f.n) {
		function, rest, _ := bytes.Cut(text, nul)
		file, rest, _ := bytes.Cut(rest, nul)
		data, rest, _ := bytes.Cut(rest, nul)
		text = rest
		code := f.codes[i]
		e.Stack = append(e.Stack, ErrorEntry{
			Code:     uint64(code),
			Library:  C.GoString(C.osl_code_library(C.ulong(code))),
			Function: string(function),
			Reason:   C.GoString(C.osl_code_text(C.ulong(code))),
			File:     string(file),
			Line:     int(f.lines[i]),
			Data:     string(data),
		})
	}
	return e
}

// knownErrors remembers refusals of one entry: the same one again is the same
// Error, and costs no memory. Any of them may be forgotten at any time.
var knownErrors [256]atomic.Pointer[knownError]

type knownError struct {
	*Error
	text string // function, file and data as C has written them
}

func takeKnown(op string, f *C.osl_fail, text []byte) *Error {
	code := uint64(f.codes[0])
	slot := &knownErrors[(code^uint64(len(op)))%uint64(len(knownErrors))]
	known := slot.Load()
	if known == nil || known.text != string(text) || known.Op != op || known.Code != int(f.code) ||
		known.Stack[0].Code != code || known.Stack[0].Line != int(f.lines[0]) {
		known = &knownError{newError(op, f, text), string(text)}
		slot.Store(known)
	}
	return known.Error
}

var nul = []byte{0}

// splitCode is ERR_GET_LIB and ERR_GET_REASON.
func splitCode(code uint64) (lib, reason int) {
	return int(C.osl_code_lib(C.ulong(code))), int(C.osl_code_reason(C.ulong(code)))
}

// verifyText is X509_verify_cert_error_string.
func verifyText(code int) string {
	return C.GoString(C.X509_verify_cert_error_string(C.long(code)))
}

// takeBytes copies what an act allocated and frees it.
func takeBytes(op string, b C.osl_bytes) ([]byte, error) {
	if b.fail != nil {
		return nil, takeError(op, b.fail)
	}
	if b.p == nil {
		return nil, nil
	}
	defer C.osl_bytes_free(b.p, b.n)
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(b.p)), int(b.n))...), nil
}

// lend is b for the length of one call.
func lend(b []byte) *C.uchar { return (*C.uchar)(unsafe.SliceData(b)) }

// ---- SSL_CTX ----

// ctxPtr is an SSL_CTX. Its owner holds a lock around every act.
type ctxPtr struct{ p *C.SSL_CTX }

func newCtxPtr(server bool) (ctxPtr, error) {
	made := C.osl_ctx_new(cBool(server))
	return ctxPtr{made.ctx}, takeError("SSL_CTX_new", made.fail)
}

// changed is how an act ended that changes an SSL_CTX in more than one step.
type changed struct {
	half      bool // it failed with a part of the change in place
	encrypted bool // it failed for want of a password
	err       error
}

func takeChanged(op string, r C.osl_changed) changed {
	return changed{r.half != 0, r.asked != 0, takeError(op, r.fail)}
}

func (c ctxPtr) free() { C.osl_ctx_free(c.p) }

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// useCertificate says which part was to blame.
func (c ctxPtr) useCertificate(certPEM, keyPEM []byte) (part certificatePart, err error) {
	r := C.osl_ctx_use_certificate(c.p, lend(certPEM), C.size_t(len(certPEM)), lend(keyPEM), C.size_t(len(keyPEM)))
	op := "SSL_CTX_use_cert_and_key"
	switch r.part {
	case C.OSL_PART_CERTIFICATE:
		part, op = partCertificate, "PEM_read_bio_X509"
	case C.OSL_PART_CERTIFICATE_ENCRYPTED:
		part, op = partEncryptedCertificate, "PEM_read_bio_X509"
	case C.OSL_PART_KEY:
		part, op = partKey, "PEM_read_bio_PrivateKey"
	case C.OSL_PART_KEY_ENCRYPTED:
		part, op = partEncryptedKey, "PEM_read_bio_PrivateKey"
	}
	return part, takeError(op, r.fail)
}

func (c ctxPtr) setTrust(pem []byte, names bool, crls []byte) changed {
	return takeChanged("PEM_read_bio_X509",
		C.osl_ctx_set_trust(c.p, lend(pem), C.size_t(len(pem)), cBool(names), lend(crls), C.size_t(len(crls))))
}

func (c ctxPtr) setCRLs(pem []byte) changed {
	return takeChanged("PEM_read_bio_X509_CRL", C.osl_ctx_set_crls(c.p, lend(pem), C.size_t(len(pem))))
}

// encryptedBlock is the type of the first PEM block in a file that is encrypted
// and no private key, empty without one.
func encryptedBlock(path string) (string, error) {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	r := C.osl_pem_encrypted(cPath)
	return C.GoString(&r._type[0]), takeError("PEM_read_bio", r.fail)
}

// identity is who a server is and whom it believes, in DER.
type identity struct{ leaves, cas, crls, caNames [][]byte }

func (c ctxPtr) identity() (id identity, err error) {
	b, err := takeBytes("X509_STORE_get0_objects", C.osl_ctx_identity(c.p))
	for p := (parts{b: b}); len(p.b) > 0; {
		kind, der := p.uint(1), p.body(4)
		switch kind {
		case C.OSL_DER_LEAF:
			id.leaves = append(id.leaves, der)
		case C.OSL_DER_CA:
			id.cas = append(id.cas, der)
		case C.OSL_DER_CRL:
			id.crls = append(id.crls, der)
		case C.OSL_DER_CA_NAME:
			id.caNames = append(id.caNames, der)
		}
	}
	return id, err
}

func (c ctxPtr) loadVerify(file, dir string) changed {
	cFile, cDir := optionalString(file), optionalString(dir)
	defer C.free(unsafe.Pointer(cFile))
	defer C.free(unsafe.Pointer(cDir))
	return takeChanged("SSL_CTX_load_verify_locations", C.osl_ctx_load_verify(c.p, cFile, cDir))
}

// optionalString is a C string, NULL for an empty one. The caller frees it.
func optionalString(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}

func (c ctxPtr) systemRoots() error {
	return takeError("SSL_CTX_set_default_verify_paths", C.osl_ctx_system_roots(c.p))
}

func (c ctxPtr) setVerify(mode VerifyMode) {
	bits := mode &^ VerifyDefer
	if mode&VerifyDefer != 0 {
		bits |= VerifyPeer // to be shown a certificate at all
	}
	C.osl_ctx_set_verify(c.p, C.int(bits), cBool(mode&VerifyDefer != 0))
}

func (c ctxPtr) setVerifyDepth(depth int) { C.osl_ctx_set_verify_depth(c.p, C.int(depth)) }

func (c ctxPtr) setMinVersion(v uint16) error {
	return takeError("SSL_CTX_set_min_proto_version", C.osl_ctx_set_min_version(c.p, C.int(v)))
}

func (c ctxPtr) setMaxVersion(v uint16) error {
	return takeError("SSL_CTX_set_max_proto_version", C.osl_ctx_set_max_version(c.p, C.int(v)))
}

func (c ctxPtr) setCipherList(list string) changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return takeChanged("SSL_CTX_set_cipher_list", C.osl_ctx_set_cipher_list(c.p, s))
}

func (c ctxPtr) setCipherSuites(list string) changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return takeChanged("SSL_CTX_set_ciphersuites", C.osl_ctx_set_ciphersuites(c.p, s))
}

func (c ctxPtr) setGroups(list string) changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return takeChanged("SSL_CTX_set1_groups_list", C.osl_ctx_set_groups(c.p, s))
}

func (c ctxPtr) setALPN(server bool, wire []byte) error {
	op := "SSL_CTX_set_alpn_protos"
	if server {
		op = "SSL_CTX_set_alpn_select_cb"
	}
	return takeError(op, C.osl_ctx_set_alpn(c.p, cBool(server), lend(wire), C.size_t(len(wire))))
}

// setOptions clears, then sets, and reports what holds now.
func (c ctxPtr) setOptions(set, clear Options) Options {
	return Options(C.osl_ctx_set_options(c.p, C.uint64_t(set), C.uint64_t(clear)))
}

// ctxFacts is what the SSL_CTX itself says, whoever set it.
type ctxFacts struct {
	verify         VerifyMode // without VerifyDefer
	depth          int
	minVersion     int
	maxVersion     int
	securityLevel  int // which keys and digests are good enough, in certificates too
	hasCertificate bool
	serverCache    bool
	options        Options
}

func (c ctxPtr) facts() ctxFacts {
	f := C.osl_ctx_read(c.p)
	return ctxFacts{
		verify:         VerifyMode(f.verify_mode),
		depth:          int(f.verify_depth),
		minVersion:     int(f.min_version),
		maxVersion:     int(f.max_version),
		securityLevel:  int(f.security_level),
		hasCertificate: f.has_certificate != 0,
		serverCache:    f.cache_mode&C.SSL_SESS_CACHE_SERVER != 0,
		options:        Options(f.options),
	}
}

// confType is what the value of a command names.
type confType int

const (
	confUnknownType confType = C.SSL_CONF_TYPE_UNKNOWN
	confFile        confType = C.SSL_CONF_TYPE_FILE
	confDir         confType = C.SSL_CONF_TYPE_DIR
	confStore       confType = C.SSL_CONF_TYPE_STORE
)

func confTypeOf(server bool, cmd string) (confType, error) {
	cCmd := C.CString(cmd)
	defer C.free(unsafe.Pointer(cCmd))
	r := C.osl_conf_type(cBool(server), cCmd)
	return confType(r._type), takeError("SSL_CONF_CTX_new", r.fail)
}

// confTried is what came of trying a command.
type confTried struct {
	answer    int  // SSL_CONF_cmd's
	loads     bool // false if it names another store whose CAs cannot be loaded
	encrypted bool
	verify    VerifyMode // that it would set
	err       error
}

// tryConf changes nothing. another says that the command names one more store,
// extensions is what ServerInfoFile has registered.
func (c ctxPtr) tryConf(server bool, cmd, value string, another bool, extensions []uint16) confTried {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	r := C.osl_ctx_conf_try(c.p, cBool(server), cCmd, cValue, cBool(another),
		(*C.uint16_t)(unsafe.SliceData(extensions)), C.size_t(len(extensions)))
	return confTried{int(r.answer), r.loads != 0, r.asked != 0, VerifyMode(r.mode), takeError("SSL_CONF_cmd", r.fail)}
}

func (c ctxPtr) conf(server bool, cmd, value string) changed {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	return takeChanged("SSL_CONF_cmd", C.osl_ctx_conf(c.p, cBool(server), cCmd, cValue))
}

// confTrust is conf for a command that names CAs, which add to those of before or
// take their place.
func (c ctxPtr) confTrust(server bool, cmd, value string, replace, another bool, crls []byte) changed {
	cCmd, cValue := C.CString(cmd), C.CString(value)
	defer C.free(unsafe.Pointer(cCmd))
	defer C.free(unsafe.Pointer(cValue))
	return takeChanged("SSL_CONF_cmd",
		C.osl_ctx_conf_trust(c.p, cBool(server), cCmd, cValue, cBool(replace), cBool(another), lend(crls), C.size_t(len(crls))))
}

// serverInfo is the types of the extensions in a file for ServerInfoFile.
func serverInfo(path string) []uint16 {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	extensions := make([]uint16, 64) // far beyond what anybody sends
	n := C.osl_serverinfo(cPath, (*C.uint16_t)(unsafe.SliceData(extensions)), C.size_t(len(extensions)))
	return extensions[:n]
}

func (c ctxPtr) setKeyLog(on bool) { C.osl_ctx_set_keylog(c.p, cBool(on)) }

// ---- which libssl ----

const (
	compiledVersion = C.OPENSSL_VERSION_NUMBER
	compiledText    = C.OPENSSL_VERSION_TEXT
)

func linkedVersion() (number uint64, text string) {
	return uint64(C.OpenSSL_version_num()), C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION))
}

func fips() bool { return C.osl_fips() != 0 }

func providers() []string {
	b, err := takeBytes("OSSL_PROVIDER_do_all", C.osl_providers())
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// VerifyMode says whether the peer is asked for a certificate, and what happens
// without a good one. The values are OpenSSL's bits and may be combined.
type VerifyMode int

const (
	VerifyNone             VerifyMode = C.SSL_VERIFY_NONE
	VerifyPeer             VerifyMode = C.SSL_VERIFY_PEER
	VerifyFailIfNoPeerCert VerifyMode = C.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	VerifyClientOnce       VerifyMode = C.SSL_VERIFY_CLIENT_ONCE

	// VerifyPostHandshake would have libssl ask after the handshake, when it is
	// told to, and nothing here tells it: SetVerify refuses it.
	VerifyPostHandshake VerifyMode = C.SSL_VERIFY_POST_HANDSHAKE

	// VerifyDefer asks for a certificate, accepts any, and leaves it to the
	// function of SetVerifyConnection to decide: for pinned and self-signed
	// ones. It is this package's, beyond OpenSSL's bits.
	VerifyDefer VerifyMode = 1 << 16
)

// Options are OpenSSL's SSL_OP bits, 64 of them. One that the linked version
// does not know is 0.
type Options uint64

const (
	OptionNoTicket                           Options = C.SSL_OP_NO_TICKET
	OptionNoRenegotiation                    Options = C.SSL_OP_NO_RENEGOTIATION
	OptionCipherServerPreference             Options = C.SSL_OP_CIPHER_SERVER_PREFERENCE
	OptionPrioritizeChaCha                   Options = C.SSL_OP_PRIORITIZE_CHACHA
	OptionNoTLSv12                           Options = C.SSL_OP_NO_TLSv1_2
	OptionNoTLSv13                           Options = C.SSL_OP_NO_TLSv1_3
	OptionNoCompression                      Options = C.SSL_OP_NO_COMPRESSION
	OptionNoEncryptThenMAC                   Options = C.SSL_OP_NO_ENCRYPT_THEN_MAC
	OptionNoExtendedMasterSecret             Options = C.SSL_OP_NO_EXTENDED_MASTER_SECRET
	OptionAllowNoDHEKeyExchange              Options = C.SSL_OP_ALLOW_NO_DHE_KEX
	OptionNoAntiReplay                       Options = C.SSL_OP_NO_ANTI_REPLAY
	OptionEnableMiddleboxCompat              Options = C.SSL_OP_ENABLE_MIDDLEBOX_COMPAT
	OptionIgnoreUnexpectedEOF                Options = C.SSL_OP_IGNORE_UNEXPECTED_EOF
	OptionLegacyServerConnect                Options = C.SSL_OP_LEGACY_SERVER_CONNECT
	OptionNoSessionResumptionOnRenegotiation Options = C.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
)
