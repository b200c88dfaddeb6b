//go:build cgo

package openssl

import (
	"errors"

	"github.com/sidctx/openssl/internal/libssl"
)

// SetDHParameters sets the Diffie-Hellman parameters of a server's DHE and anonymous suites
// in TLS 1.2 and earlier, from the first block DH PARAMETERS in pem. Without it and
// [Ctx.SetDHAuto] a server has no such suites: a client of no others fails with "no shared
// cipher". Parameters that are too small for the security level are refused, and so are
// encrypted ones. After a switch to another Ctx the parameters of that one are used. On
// failure the previous parameters remain in force. From OpenSSL 4.0 on a client that offers
// groups of RFC 7919, as OpenSSL's does, is served with one of those before all else.
//
// It is SSL_CTX_set0_tmp_dh_pkey, in OpenSSL 1.1.1 SSL_CTX_set_tmp_dh.
func (c *Ctx) SetDHParameters(pem []byte) error {
	return c.changeDH(func(p libssl.CTX) error {
		if err := asError(p.SetDHParameters(pem)); err != nil {
			return explain("DH parameters", err)
		}
		return nil
	})
}

// SetDHAuto sets whether libssl chooses Diffie-Hellman parameters itself, for each
// handshake as strong as the server's certificate. With true the parameters of
// [Ctx.SetDHParameters] are not used. The default is false. On failure nothing has changed.
//
// It is SSL_CTX_set_dh_auto.
func (c *Ctx) SetDHAuto(on bool) error {
	return c.changeDH(func(p libssl.CTX) error { return asError(p.SetDHAuto(on)) })
}

func (c *Ctx) changeDH(f func(p libssl.CTX) error) error {
	return c.change(func(p libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: DH parameters are for servers: this Ctx was made by NewClientCtx")
		}
		return f(p)
	})
}
