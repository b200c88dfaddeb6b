// This library as a peer of the bench.
package main

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/bench/worker"
)

func main() {
	worker.Main(worker.Peer{
		Server: server,
		Client: client,
		Cipher: func(c worker.Conn) string { return c.(*openssl.Conn).ConnectionState().CipherName },
		SetSID: func() (func([]byte) error, error) {
			c, err := openssl.NewServerCtx()
			if err != nil {
				return nil, err
			}
			return c.SetSessionIDContext, nil
		},
	})
}

func version(c *openssl.Ctx, cfg worker.Config) error {
	v := uint16(tls.VersionTLS12)
	if cfg.TLS13 {
		v = tls.VersionTLS13
	}
	return errors.Join(c.SetMinVersion(v), c.SetMaxVersion(v))
}

// server keeps the package's defaults, SSL_MODE_RELEASE_BUFFERS among them.
func server(cfg worker.Config) (worker.Maker, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	err = errors.Join(version(c, cfg), c.UseCertificateFiles(cfg.CertFile, cfg.KeyFile),
		c.SetSessionIDContext([]byte("bench")))
	if err == nil && cfg.NoTickets {
		err = c.SetOptions(openssl.OptionNoTicket)
	}
	return func(wire net.Conn) (worker.Conn, error) { return openssl.Server(wire, c) }, err
}

func client(cfg worker.Config) (worker.Maker, error) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		return nil, err
	}
	err = errors.Join(version(c, cfg), c.SetVerify(openssl.VerifyNone))
	return func(wire net.Conn) (worker.Conn, error) { return openssl.Client(wire, c) }, err
}
