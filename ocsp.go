//go:build cgo

package openssl

import (
	"errors"
	"fmt"

	"github.com/sidctx/openssl/internal/libssl"
)

// SetOCSPResponse sets the OCSP response, in DER, that a server sends with its certificate
// to clients that ask for it. It may be called at any time, also on a Ctx in use: handshakes
// that come to the certificate after it send the new response. der is copied, and not
// compared with the certificate, whose CA must have signed it: use a Ctx for each
// certificate. An empty der removes the response. After a switch to another Ctx the response
// of that one is sent. On failure the previous response remains in force.
//
// It is SSL_CTX_set_tlsext_status_cb with SSL_set_tlsext_status_ocsp_resp.
func (c *Ctx) SetOCSPResponse(der []byte) error {
	const most = 1<<16 - 1 - 4 // an extension of TLS 1.3
	if len(der) > most {
		return fmt.Errorf("openssl: SSL_set_tlsext_status_ocsp_resp: a response of %d bytes does not fit into the %d of a TLS 1.3 extension", len(der), most)
	}
	return c.use(func(p libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: SSL_set_tlsext_status_ocsp_resp: a response is sent by servers: this Ctx was made by NewClientCtx")
		}
		if err := asError(p.SetOCSPResponse(der)); err != nil {
			return explain("an OCSP response is the DER of an OCSPResponse", err)
		}
		return nil
	})
}

// SetOCSPRequest sets whether a client asks the server for an OCSP response, which is
// ConnectionState.OCSPResponse then. libssl does not look into it: a function of
// [Ctx.SetVerifyConnection] can, with golang.org/x/crypto/ocsp for example, and must expect
// that there is none, as on every connection that resumes a session. The default is false.
// On failure nothing has changed.
//
// It is SSL_CTX_set_tlsext_status_type.
func (c *Ctx) SetOCSPRequest(on bool) error {
	return c.change(func(p libssl.CTX) error {
		if c.server {
			return errors.New("openssl: SSL_CTX_set_tlsext_status_type: a response is requested by clients: this Ctx was made by NewServerCtx")
		}
		if err := asError(p.SetOCSPRequest(on)); err != nil {
			return err
		}
		c.ocspRequest = on
		return nil
	})
}
