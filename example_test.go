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
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// Two tenants, each with clients of its own: a session that one has granted is
// resumed there and nowhere else.
func Example_tenants() {
	hosts := openssl.NewHosts()
	for _, name := range []string{"a.example", "b.example"} {
		tenant, err := openssl.NewServerCtx()
		check(err)
		check(tenant.UseCertificateFiles(name+".crt", name+".key"))
		check(tenant.LoadVerifyLocations(name+"-clients.crt", "")) // the CA of its clients
		check(tenant.SetVerify(openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert))
		check(tenant.DeriveSessionIDContext(openssl.SessionPolicy{Label: name})) // a hash of all of this
		check(hosts.Add(name, tenant))
	}
	front, err := openssl.NewServerCtx()
	check(err)
	check(front.SetClientHelloFunc(hosts.Route)) // called before resumption is decided
	serveTenants(front)
}

// serveTenants accepts connections.
var serveTenants = func(front *openssl.Ctx) {
	l, err := openssl.Listen("tcp", ":8443", front)
	check(err)
	log.Fatal(http.Serve(l, nil))
}

// A server that requires client certificates and resumes sessions within its
// own context alone.
func Example() {
	c, err := openssl.NewServerCtx()
	check(err)
	check(c.UseCertificateFiles("server.crt", "server.key"))
	check(c.LoadVerifyLocations("clients-ca.crt", "")) // the CA of the clients' certificates
	check(c.SetVerify(openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert))
	check(c.SetSessionIDContext([]byte("payroll/1"))) // where its sessions may be resumed
	l, err := openssl.Listen("tcp", ":8443", c)
	check(err)
	log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	})))
}

// A client with a certificate, which resumes its sessions: net/http connects through it.
func ExampleDialer() {
	c, err := openssl.NewClientCtx()
	check(err)
	check(c.LoadVerifyLocations("server-ca.crt", "")) // without this call: the system's roots
	check(c.UseCertificateFiles("client.crt", "client.key"))
	check(c.SetClientSessionCache(openssl.NewLRUClientSessionCache(64)))
	dialer := &openssl.Dialer{Ctx: c, ServerName: "payroll.example"} // without a name: that of the address
	client := &http.Client{Transport: &http.Transport{DialTLSContext: dialer.DialContext}}
	response, err := client.Get("https://127.0.0.1:8443/")
	check(err)
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
}

// TestExampleTenants: a session is resumed by its tenant and not by the other one.
func TestExampleTenants(t *testing.T) {
	t.Chdir(t.TempDir())
	tlstest.CheckLeaks(t)
	clients := map[string]*tlstest.Authority{}
	for _, name := range []string{"a.example", "b.example"} {
		clients[name] = tlstest.NewAuthority(t, "clients of "+name, nil)
		cert, key := tlstest.Certs(t).Leaf(t, name, tlstest.ECKey(t), nil)
		must(t, os.WriteFile(name+".crt", cert, 0o600))
		must(t, os.WriteFile(name+".key", key, 0o600))
		must(t, os.WriteFile(name+"-clients.crt", clients[name].PEM, 0o600))
	}
	var front *openssl.Ctx
	defer func(before func(*openssl.Ctx)) { serveTenants = before }(serveTenants)
	serveTenants = func(c *openssl.Ctx) { front = c }
	Example_tenants()
	defer front.Close()

	tenants := map[*openssl.Ctx]bool{} // as connections were routed to them
	defer func() {
		for c := range tenants {
			c.Close()
		}
	}()
	visit := func(t *testing.T, client *openssl.Ctx, tenant string, offer *openssl.Session) (state openssl.ConnectionState, session *openssl.Session, err error) {
		c, s := tlstest.Conns(t, client, front)
		must(t, c.SetServerName(tenant))
		if offer != nil {
			must(t, c.SetSession(offer))
		}
		clientErr, serverErr := tlstest.Both(func() error {
			err := tlstest.RoundTrip(c, []byte("hello"))
			if err == nil {
				session = tlstest.SessionOf(t, c)
			}
			c.Close()
			return err
		}, func() error {
			defer s.Close()
			err := s.Handshake()
			state = s.ConnectionState()
			tenants[s.Ctx()] = true
			if err == nil {
				err = tlstest.Echo(s)
			}
			return err
		})
		return state, session, errors.Join(clientErr, serverErr)
	}
	for _, version := range tlstest.Versions {
		t.Run(version.Name, func(t *testing.T) {
			client := tlstest.BareClient(t)
			must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
			must(t, client.UseCertificate(clients["a.example"].Leaf(t, "client.test", tlstest.ECKey(t), nil)))
			tlstest.SetVersion(t, client, version.ID)
			state, session, err := visit(t, client, "a.example", nil)
			if err != nil || state.DidResume {
				t.Fatalf("the first visit: resumed %v, %v", state.DidResume, err)
			}
			if state, _, err = visit(t, client, "a.example", session); err != nil || !state.DidResume {
				t.Errorf("again: resumed %v, %v", state.DidResume, err)
			}
			if state, _, err = visit(t, client, "b.example", session); err == nil || state.DidResume {
				t.Errorf("the other tenant: resumed %v, %v", state.DidResume, err)
			}
		})
	}
}

// Renewing a certificate on a listener that goes on: the listener's Ctx has no
// certificate, and its ClientHello function routes to the newest Ctx. Sessions
// survive, because the derived context holds the names and the issuer of a
// certificate, not the certificate.
func ExampleHosts_Replace() {
	issue, roots := exampleIssuer()

	// serving makes the Ctx of one certificate.
	serving := func() *openssl.Ctx {
		c, err := openssl.NewServerCtx()
		check(err)
		check(c.UseCertificate(issue("a.test")))
		check(c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "shop"}))
		return c
	}
	hosts := openssl.NewHosts()
	newest := serving()
	check(hosts.Add("a.test", newest))

	listener, err := openssl.NewServerCtx()
	check(err)
	defer listener.Close()
	check(listener.SetClientHelloFunc(hosts.Route))
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
			old := newest
			newest = serving()
			check(hosts.Replace("a.test", newest))
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
	newest.Close()
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
