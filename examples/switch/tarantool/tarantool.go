// Package tarantool is the TLS backend of tarantool/go-tlsdialer, whose own one is written
// with tarantool/go-openssl. Opts and Backend are declared here with the names, fields and
// method that v2 of that module has for them, so that its users need one line:
//
//	func (a adapter) DialTLS(ctx context.Context, network, address string, o tlsdialer.Opts) (net.Conn, error) {
//		return a.Backend.DialTLS(ctx, network, address, tarantool.Opts(o))
//	}
//
// It replaces NewCtxWithVersion(TLSv1_2), SplitPEM, LoadCertificateFromPEM, UseCertificate,
// AddChainCertificate, LoadPrivateKeyFromPEMWithPassword, UsePrivateKey,
// LoadVerifyLocations, SetVerify, SetCipherList, DialContext and Listen.
package tarantool

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"

	"github.com/sidctx/openssl"
)

// Opts are the settings of a dialer: paths, and a cipher list in OpenSSL's syntax. The
// passwords are Password, then the lines of PasswordFile.
type Opts struct {
	KeyFile, CertFile, CaFile string
	Ciphers                   string
	Password, PasswordFile    string
}

// Backend makes the connections of a dialer.
type Backend interface {
	DialTLS(ctx context.Context, network, address string, opts Opts) (net.Conn, error)
}

type backend struct{}

// New returns the backend.
func New() Backend { return backend{} }

func (backend) DialTLS(ctx context.Context, network, address string, o Opts) (net.Conn, error) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		return nil, err
	}
	defer c.Close() // the connection keeps what it needs
	verify := openssl.VerifyNone
	if o.CaFile != "" {
		verify = openssl.VerifyPeer
	}
	if err := errors.Join(c.SetVerify(verify), o.configure(c)); err != nil {
		return nil, err
	}
	return (&openssl.Dialer{Ctx: c}).DialContext(ctx, network, address)
}

// listener has a Ctx of its own.
type listener struct {
	net.Listener
	c *openssl.Ctx
}

func (l listener) Close() error { return errors.Join(l.Listener.Close(), l.c.Close()) }

// Listen returns a listener with the same settings. With a CaFile it requires certificates.
func Listen(network, address string, o Opts) (net.Listener, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	err = errors.Join(c.SetDHAuto(true), c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "tarantool"}))
	if o.CaFile != "" {
		err = errors.Join(err, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	}
	var l net.Listener
	if err = errors.Join(err, o.configure(c)); err == nil {
		l, err = openssl.Listen(network, address, c)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return listener{l, c}, nil
}

func (o Opts) configure(c *openssl.Ctx) error {
	err := errors.Join(c.SetMaxVersion(tls.VersionTLS12), o.useCertificate(c)) // GOST's suites are of TLS 1.2
	if o.CaFile != "" {
		err = errors.Join(err, c.LoadVerifyLocations(o.CaFile, ""))
	}
	if o.Ciphers != "" {
		err = errors.Join(err, c.SetCipherList(o.Ciphers))
	}
	return err
}

func (o Opts) useCertificate(c *openssl.Ctx) error {
	if o.CertFile == "" {
		return nil
	}
	cert, certErr := os.ReadFile(o.CertFile)
	key, keyErr := os.ReadFile(o.KeyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return err
	}
	if !bytes.Contains(key, []byte("ENCRYPTED")) {
		return c.UseCertificate(cert, key)
	}
	passwords := []string{o.Password}
	if o.PasswordFile != "" {
		list, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return err
		}
		passwords = append(passwords, strings.Split(strings.TrimSuffix(string(list), "\n"), "\n")...)
	}
	var err error
	for _, password := range passwords {
		err = c.UseEncryptedCertificate(cert, key, []byte(strings.TrimSpace(password)))
		if !errors.Is(err, x509.IncorrectPasswordError) {
			break
		}
	}
	return err
}
