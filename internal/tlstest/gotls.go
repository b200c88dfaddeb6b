//go:build cgo

package tlstest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// GoCertificate is client.test's certificate for crypto/tls.
func GoCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	Certs(t)
	pair, err := tls.X509KeyPair(Fixtures.ClientCert, Fixtures.ClientKey)
	must(t, err)
	return &pair
}

// GoClient is crypto/tls's client of server.test, without a certificate.
func GoClient(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(Certs(t).Cert)
	return &tls.Config{RootCAs: roots, ServerName: "server.test"}
}

// GoServer is crypto/tls's server.test.
func GoServer(t testing.TB) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(Certs(t).Cert)
	pair, err := tls.X509KeyPair(Fixtures.ServerCert, Fixtures.ServerKey)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots}
}
