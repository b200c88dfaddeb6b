package libssl

/*
#cgo noescape osl_ctx_use_certificate
#cgo nocallback osl_ctx_use_certificate
#include "keys.h"
*/
import "C"

// CertificatePart is what UseCertificate and its like have failed at.
type CertificatePart int

const (
	PartPair                 CertificatePart = C.OSL_PART_PAIR
	PartCertificate          CertificatePart = C.OSL_PART_CERTIFICATE
	PartEncryptedCertificate CertificatePart = C.OSL_PART_CERTIFICATE_ENCRYPTED
	PartKey                  CertificatePart = C.OSL_PART_KEY
	PartEncryptedKey         CertificatePart = C.OSL_PART_KEY_ENCRYPTED
	PartPlainKey             CertificatePart = C.OSL_PART_KEY_PLAIN
	PartUnsupportedKey       CertificatePart = C.OSL_PART_KEY_UNSUPPORTED
	PartSecret               CertificatePart = C.OSL_PART_SECRET
	PartLongSecret           CertificatePart = C.OSL_PART_SECRET_LONG
	PartScheme               CertificatePart = C.OSL_PART_SCHEME
)

// UseCertificate sets a leaf, its chain and its key.
func (c CTX) UseCertificate(certPEM, keyPEM []byte) (CertificatePart, *Failure) {
	return c.useCertificate(certPEM, C.OSL_KEY_PLAIN, keyPEM, nil)
}

// UseEncryptedCertificate is the same for a key that a passphrase, possibly empty, encrypts.
func (c CTX) UseEncryptedCertificate(certPEM, keyPEM, passphrase []byte) (CertificatePart, *Failure) {
	return c.useCertificate(certPEM, C.OSL_KEY_ENCRYPTED, keyPEM, passphrase)
}

// UseCertificateURI is the same for a key that a URI names. Without a pin none is given.
func (c CTX) UseCertificateURI(certPEM []byte, uri string, pin []byte) (CertificatePart, *Failure) {
	key := append([]byte(uri), 0)
	defer clear(key) // it may hold a PIN
	return c.useCertificate(certPEM, C.OSL_KEY_URI, key, pin)
}

func (c CTX) useCertificate(certPEM []byte, from C.int, key, secret []byte) (CertificatePart, *Failure) {
	r := C.osl_ctx_use_certificate(c.p, bytesPtr(certPEM), C.size_t(len(certPEM)), from, bytesPtr(key), C.size_t(len(key)),
		bytesPtr(secret), C.size_t(len(secret)))
	if r.fail == nil {
		return PartPair, nil
	}
	return CertificatePart(r.part), failure(C.GoString(r.op), r.fail)
}
