// Package mongo is the TLS layer that mongo-tools up to 4.2 and mongosqld have on
// 10gen/openssl (db/openssl). Its options keep their names.
//
// It replaces NewCtxWithVersion(AnyVersion), SetOptions(SSL_OP_ALL), SetCipherList,
// UseCertificateChainFile, UsePrivateKeyFile, UsePrivateKeyFileWithPassword,
// LoadVerifyLocations, SetupSystemCA, the CRLCheck flag of the store, SetVerify,
// SetSessionCacheMode, Dial with InsecureSkipHostVerification, and FIPSModeSet, for which
// there is a Library.
package mongo

import (
	"bytes"
	"errors"
	"os"

	"github.com/sidctx/openssl"
)

// Options are the --ssl options of the tools.
type Options struct {
	SSLPEMKeyFile       string // key and certificates, in any order
	SSLPEMKeyPassword   string
	SSLCAFile           string // else the system's roots
	SSLCRLFile          string // the lists of those that issue servers' certificates
	SSLAllowInvalidCert bool
	SSLAllowInvalidHost bool
	Library             *openssl.Library // for sslFIPSMode one of NewLibrary(conf, "fips=yes"); else nil
}

// Dialer returns what makes connections, and the Ctx in it, which the caller closes.
func (o Options) Dialer() (*openssl.Dialer, error) {
	newCtx := openssl.NewClientCtx
	if o.Library != nil {
		newCtx = o.Library.NewClientCtx
	}
	c, err := newCtx()
	if err != nil {
		return nil, err
	}
	verify := openssl.VerifyPeer
	if o.SSLAllowInvalidHost { // the chain is verified all the same
		verify |= openssl.VerifyAnyName
	}
	if o.SSLAllowInvalidCert {
		verify = openssl.VerifyNone
	}
	err = errors.Join(c.SetCipherList("HIGH:!EXPORT:!aNULL@STRENGTH"), c.SetVerify(verify),
		c.SetSessionCacheMode(openssl.SessionCacheOff))
	if o.SSLCAFile != "" {
		err = errors.Join(err, c.LoadVerifyLocations(o.SSLCAFile, ""))
	}
	if o.SSLCRLFile != "" {
		pem, readErr := os.ReadFile(o.SSLCRLFile)
		err = errors.Join(err, readErr)
		if readErr == nil { // of the CAs above the leaf there is no list
			err = errors.Join(err, c.SetCRLs(pem), c.SetVerifyFlags(openssl.VerifyCRLCheck))
		}
	}
	if err = errors.Join(err, o.useKey(c)); err != nil {
		c.Close()
		return nil, err
	}
	return &openssl.Dialer{Ctx: c}, nil
}

func (o Options) useKey(c *openssl.Ctx) error {
	if o.SSLPEMKeyFile == "" {
		return nil
	}
	all, err := os.ReadFile(o.SSLPEMKeyFile)
	if err != nil {
		return err
	}
	defer clear(all)
	if bytes.Contains(all, []byte("ENCRYPTED")) {
		return c.UseEncryptedCertificate(all, all, []byte(o.SSLPEMKeyPassword))
	}
	return c.UseCertificate(all, all)
}
