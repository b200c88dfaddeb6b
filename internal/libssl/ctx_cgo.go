package libssl

/*
#cgo noescape osl_ctx_set_crls
#cgo nocallback osl_ctx_set_crls
#cgo noescape osl_ctx_set_trust
#cgo nocallback osl_ctx_set_trust
#include "ctx.h"
*/
import "C"

import (
	"strings"
	"unsafe"

	"github.com/sidctx/openssl/internal/wire"
)

// CTX is an SSL_CTX.
type CTX struct{ p *C.SSL_CTX }

// Pointer is the SSL_CTX itself, for C of the package above.
func (c CTX) Pointer() unsafe.Pointer { return unsafe.Pointer(c.p) }

// NewCTX makes an SSL_CTX in a library, with this package's defaults.
func NewCTX(l Library, server bool) (CTX, *Failure) {
	made := C.osl_ctx_new(l.p, cBool(server))
	return CTX{made.ctx}, failure("SSL_CTX_new", made.fail)
}

// Free frees the SSL_CTX.
func (c CTX) Free() { C.osl_ctx_free(c.p) }

// Changed is how a call ended that changes an SSL_CTX in more than one step.
type Changed struct {
	Half      bool // it failed with a part of the change in place
	Encrypted bool // it failed for want of a password
	Names     int  // it failed for so many bytes of CA names, more than MaxCANames
	Fail      *Failure
}

func changed(op string, r C.osl_change_result) Changed {
	return Changed{r.half != 0, r.asked != 0, int(r.names), failure(op, r.fail)}
}

func (c CTX) SetTrust(pem []byte, names bool, crls []byte) Changed {
	return changed("PEM_read_bio_X509",
		C.osl_ctx_set_trust(c.p, bytesPtr(pem), C.size_t(len(pem)), cBool(names), bytesPtr(crls), C.size_t(len(crls))))
}

func (c CTX) SetCRLs(pem []byte) Changed {
	return changed("PEM_read_bio_X509_CRL", C.osl_ctx_set_crls(c.p, bytesPtr(pem), C.size_t(len(pem))))
}

func (c CTX) LoadVerify(file, dir string) Changed {
	cFile, cDir := optionalString(file), optionalString(dir)
	defer C.free(unsafe.Pointer(cFile))
	defer C.free(unsafe.Pointer(cDir))
	return changed("SSL_CTX_load_verify_locations", C.osl_ctx_load_verify(c.p, cFile, cDir))
}

// MaxCANames is how many bytes of CA names are sent.
const MaxCANames = C.OSL_MAX_CA_NAMES

// SetVerify sets OpenSSL's bits. With acceptAny every certificate is accepted, and
// the verify result is kept. With anyName the chain is verified, and no name.
func (c CTX) SetVerify(bits int, acceptAny, anyName bool) {
	C.osl_ctx_set_verify(c.p, C.int(bits), cBool(acceptAny), cBool(anyName))
}

// SetVerifyFlags replaces the X509_V_FLAG bits.
func (c CTX) SetVerifyFlags(bits uint32) Changed {
	return changed("X509_VERIFY_PARAM_set_flags", C.osl_ctx_set_verify_flags(c.p, C.ulong(bits)))
}

// SetHostFlags replaces the X509_CHECK_FLAG bits.
func (c CTX) SetHostFlags(bits uint32) { C.osl_ctx_set_host_flags(c.p, C.uint(bits)) }

func (c CTX) SetVerifyDepth(depth int) { C.osl_ctx_set_verify_depth(c.p, C.int(depth)) }

// SetMaxCertList limits the bytes of a peer's chain.
func (c CTX) SetMaxCertList(n int) { C.osl_ctx_set_max_cert_list(c.p, C.long(n)) }

func (c CTX) SetMinVersion(v uint16) *Failure {
	return failure("SSL_CTX_set_min_proto_version", C.osl_ctx_set_min_version(c.p, C.int(v)))
}

func (c CTX) SetMaxVersion(v uint16) *Failure {
	return failure("SSL_CTX_set_max_proto_version", C.osl_ctx_set_max_version(c.p, C.int(v)))
}

func (c CTX) SetCipherList(list string) Changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return changed("SSL_CTX_set_cipher_list", C.osl_ctx_set_cipher_list(c.p, s))
}

func (c CTX) SetCipherSuites(list string) Changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return changed("SSL_CTX_set_ciphersuites", C.osl_ctx_set_ciphersuites(c.p, s))
}

func (c CTX) SetGroups(list string) Changed {
	s := C.CString(list)
	defer C.free(unsafe.Pointer(s))
	return changed("SSL_CTX_set1_groups_list", C.osl_ctx_set_groups(c.p, s))
}

func (c CTX) SetALPN(server bool, wire []byte) *Failure {
	op := "SSL_CTX_set_alpn_protos"
	if server {
		op = "SSL_CTX_set_alpn_select_cb"
	}
	return failure(op, C.osl_ctx_set_alpn(c.p, cBool(server), bytesPtr(wire), C.size_t(len(wire))))
}

// SetOptions clears, then sets, and returns the options that are set now.
func (c CTX) SetOptions(set, clear uint64) uint64 {
	return uint64(C.osl_ctx_set_options(c.p, C.uint64_t(set), C.uint64_t(clear)))
}

func (c CTX) SetKeyLog(on bool) { C.osl_ctx_set_keylog(c.p, cBool(on)) }

// Settings is what stands in the SSL_CTX itself, whether this program has set it
// or openssl.cnf.
type Settings struct {
	Verify         int // OpenSSL's bits
	Depth          int
	VerifyFlags    uint32
	HostFlags      uint32
	MinVersion     int
	MaxVersion     int
	SecurityLevel  int // which keys and digests are good enough, in certificates too
	HasCertificate bool
	Anonymous      bool // of the suites before TLS 1.3 none needs a certificate
	ServerCache    bool
	Options        uint64
}

// Settings reads them.
func (c CTX) Settings() Settings {
	f := C.osl_ctx_get_settings(c.p)
	return Settings{
		Verify:         int(f.verify_mode),
		Depth:          int(f.verify_depth),
		VerifyFlags:    uint32(f.verify_flags),
		HostFlags:      uint32(f.host_flags),
		MinVersion:     int(f.min_version),
		MaxVersion:     int(f.max_version),
		SecurityLevel:  int(f.security_level),
		HasCertificate: f.has_certificate != 0,
		Anonymous:      f.anonymous != 0,
		ServerCache:    f.cache_mode&C.SSL_SESS_CACHE_SERVER != 0,
		Options:        uint64(f.options),
	}
}

// Identity is who a server is and whom it trusts, in DER, and its ciphers, two bytes each.
type Identity struct {
	Leaves, CAs, CRLs, CANames [][]byte
	Ciphers                    []byte
}

// Identity reads it.
func (c CTX) Identity() (id Identity, fail *Failure) {
	b, fail := takeBytes("X509_STORE_get0_objects", C.osl_ctx_identity(c.p))
	for r := (wire.Reader{B: b}); len(r.B) > 0; {
		kind, der := r.Uint(1), r.Bytes(4)
		switch kind {
		case C.OSL_DER_LEAF:
			id.Leaves = append(id.Leaves, der)
		case C.OSL_DER_CA:
			id.CAs = append(id.CAs, der)
		case C.OSL_DER_CRL:
			id.CRLs = append(id.CRLs, der)
		case C.OSL_DER_CA_NAME:
			id.CANames = append(id.CANames, der)
		case C.OSL_CIPHERS:
			id.Ciphers = der
		}
	}
	return id, fail
}

// CipherNames is OpenSSL's name of each cipher, in order.
func (c CTX) CipherNames() []string {
	b, _ := takeBytes("SSL_CTX_get_ciphers", C.osl_ctx_cipher_names(c.p))
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == 0 })
}

// OpenSSL's bits, by OpenSSL's names. One that the linked version does not know is 0.
const (
	SSL_VERIFY_NONE                  = C.SSL_VERIFY_NONE
	SSL_VERIFY_PEER                  = C.SSL_VERIFY_PEER
	SSL_VERIFY_FAIL_IF_NO_PEER_CERT  = C.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	SSL_VERIFY_CLIENT_ONCE           = C.SSL_VERIFY_CLIENT_ONCE
	SSL_VERIFY_POST_HANDSHAKE        = C.SSL_VERIFY_POST_HANDSHAKE
	SSL_OP_NO_TICKET                 = C.SSL_OP_NO_TICKET
	SSL_OP_NO_RENEGOTIATION          = C.SSL_OP_NO_RENEGOTIATION
	SSL_OP_CIPHER_SERVER_PREFERENCE  = C.SSL_OP_CIPHER_SERVER_PREFERENCE
	SSL_OP_PRIORITIZE_CHACHA         = C.SSL_OP_PRIORITIZE_CHACHA
	SSL_OP_NO_TLSv1_2                = C.SSL_OP_NO_TLSv1_2
	SSL_OP_NO_TLSv1_3                = C.SSL_OP_NO_TLSv1_3
	SSL_OP_NO_COMPRESSION            = C.SSL_OP_NO_COMPRESSION
	SSL_OP_NO_ENCRYPT_THEN_MAC       = C.SSL_OP_NO_ENCRYPT_THEN_MAC
	SSL_OP_NO_EXTENDED_MASTER_SECRET = C.SSL_OP_NO_EXTENDED_MASTER_SECRET
	SSL_OP_ALLOW_NO_DHE_KEX          = C.SSL_OP_ALLOW_NO_DHE_KEX
	SSL_OP_ENABLE_MIDDLEBOX_COMPAT   = C.SSL_OP_ENABLE_MIDDLEBOX_COMPAT
	SSL_OP_IGNORE_UNEXPECTED_EOF     = C.SSL_OP_IGNORE_UNEXPECTED_EOF
	SSL_OP_LEGACY_SERVER_CONNECT     = C.SSL_OP_LEGACY_SERVER_CONNECT

	X509_V_FLAG_CRL_CHECK            = C.X509_V_FLAG_CRL_CHECK
	X509_V_FLAG_CRL_CHECK_ALL        = C.X509_V_FLAG_CRL_CHECK_ALL
	X509_V_FLAG_IGNORE_CRITICAL      = C.X509_V_FLAG_IGNORE_CRITICAL
	X509_V_FLAG_X509_STRICT          = C.X509_V_FLAG_X509_STRICT
	X509_V_FLAG_ALLOW_PROXY_CERTS    = C.X509_V_FLAG_ALLOW_PROXY_CERTS
	X509_V_FLAG_POLICY_CHECK         = C.X509_V_FLAG_POLICY_CHECK
	X509_V_FLAG_EXPLICIT_POLICY      = C.X509_V_FLAG_EXPLICIT_POLICY
	X509_V_FLAG_INHIBIT_ANY          = C.X509_V_FLAG_INHIBIT_ANY
	X509_V_FLAG_INHIBIT_MAP          = C.X509_V_FLAG_INHIBIT_MAP
	X509_V_FLAG_EXTENDED_CRL_SUPPORT = C.X509_V_FLAG_EXTENDED_CRL_SUPPORT
	X509_V_FLAG_USE_DELTAS           = C.X509_V_FLAG_USE_DELTAS
	X509_V_FLAG_CHECK_SS_SIGNATURE   = C.X509_V_FLAG_CHECK_SS_SIGNATURE
	X509_V_FLAG_TRUSTED_FIRST        = C.X509_V_FLAG_TRUSTED_FIRST
	X509_V_FLAG_SUITEB_128_LOS_ONLY  = C.X509_V_FLAG_SUITEB_128_LOS_ONLY
	X509_V_FLAG_SUITEB_192_LOS       = C.X509_V_FLAG_SUITEB_192_LOS
	X509_V_FLAG_SUITEB_128_LOS       = C.X509_V_FLAG_SUITEB_128_LOS
	X509_V_FLAG_PARTIAL_CHAIN        = C.X509_V_FLAG_PARTIAL_CHAIN
	X509_V_FLAG_NO_ALT_CHAINS        = C.X509_V_FLAG_NO_ALT_CHAINS
	X509_V_FLAG_NO_CHECK_TIME        = C.X509_V_FLAG_NO_CHECK_TIME

	X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT  = C.X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT
	X509_CHECK_FLAG_NO_WILDCARDS          = C.X509_CHECK_FLAG_NO_WILDCARDS
	X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS  = C.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
	X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS = C.X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS
	X509_CHECK_FLAG_NEVER_CHECK_SUBJECT   = C.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
)
