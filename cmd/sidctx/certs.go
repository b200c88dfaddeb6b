package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// pki is a certificate authority of one day, and the folder that holds what it
// signs: NAME.crt and NAME.key.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64 // serial numbers
}

// newPKI makes an authority, ca.crt, in dir.
func newPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	err := p.sign("ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid = true, true
		c.KeyUsage = x509.KeyUsageCertSign
	})
	return p, err
}

// leaf signs a certificate for name; it serves both roles.
func (p *pki) leaf(name string) error {
	return p.sign(name, func(c *x509.Certificate) {
		c.DNSNames = []string{name}
		c.KeyUsage = x509.KeyUsageDigitalSignature
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	})
}

func (p *pki) certFile(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p *pki) keyFile(name string) string  { return filepath.Join(p.dir, name+".key") }

func (p *pki) sign(name string, fill func(*x509.Certificate)) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	p.made++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(p.made),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	fill(template)
	parent, signer := p.cert, p.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if p.cert == nil {
		if p.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		p.key = key
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(p.keyFile(name), "PRIVATE KEY", private); err != nil {
		return err
	}
	return writePEM(p.certFile(name), "CERTIFICATE", der)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
