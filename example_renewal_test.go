//go:build cgo

package openssl_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl"
)

// Renewing a certificate on a listener that goes on: the listener's Ctx has no
// certificate, and its ClientHello function hands out the newest Ctx. Sessions
// survive, because the derived context holds the names and the issuer of a
// certificate, not the certificate.
func ExampleCtx_SetClientHelloFunc_renewal() {
	issue, roots := exampleIssuer()

	// serving makes the Ctx of one certificate.
	serving := func() *openssl.Ctx {
		c, err := openssl.NewServerCtx()
		check(err)
		check(c.UseCertificate(issue("a.test")))
		check(c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "shop"}))
		return c
	}
	var newest atomic.Pointer[openssl.Ctx]
	newest.Store(serving())

	listener, err := openssl.NewServerCtx()
	check(err)
	defer listener.Close()
	check(listener.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
		return newest.Load(), nil
	}))
	l, err := openssl.Listen("tcp", "127.0.0.1:0", listener)
	check(err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, "hello\n")
				io.Copy(io.Discard, conn)
			}()
		}
	}()

	client, err := openssl.NewClientCtx()
	check(err)
	defer client.Close()
	check(client.SetVerifyCAs(roots))
	var session *openssl.Session
	for _, when := range []string{"first", "again", "renewed"} {
		if when == "renewed" {
			old := newest.Swap(serving())
			old.Close() // its connections go on
		}
		dialer := openssl.Dialer{Ctx: client, ServerName: "a.test", Session: session}
		wire, err := dialer.DialContext(context.Background(), "tcp", l.Addr().String())
		check(err)
		conn := wire.(*openssl.Conn)
		_, err = io.ReadFull(conn, make([]byte, len("hello\n")))
		check(err)
		fmt.Println(when, "resumed:", conn.ConnectionState().DidResume)
		session.Close()
		session, err = conn.Session()
		check(err)
		conn.Close()
	}
	session.Close()
	newest.Load().Close()
	// Output:
	// first resumed: false
	// again resumed: true
	// renewed resumed: true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// exampleIssuer is a CA for one run.
func exampleIssuer() (issue func(name string) (cert, key []byte), roots []byte) {
	serial := int64(0)
	sign := func(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
		serial++
		template.SerialNumber = big.NewInt(serial)
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		check(err)
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		return key
	}
	inPEM := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "example CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey := newKey()
	roots = inPEM("CERTIFICATE", sign(ca, ca, caKey, caKey))
	return func(name string) (cert, key []byte) {
		private := newKey()
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		check(err)
		return inPEM("CERTIFICATE", sign(leaf, ca, private, caKey)), inPEM("PRIVATE KEY", der)
	}, roots
}
