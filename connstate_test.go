//go:build cgo

package openssl_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// oddSAN is a certificate for name that libssl reads and crypto/x509 does not: one of its
// names is an IP address of five bytes.
func oddSAN(t testing.TB, ca *tlstest.Authority, name string) (cert, key []byte) {
	t.Helper()
	names, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)},
		{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: []byte{1, 2, 3, 4, 5}},
	})
	must(t, err)
	return ca.Leaf(t, name, tlstest.ECKey(t), func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}
	})
}

// negativeSerial is another: its serial number is below zero.
func negativeSerial(t testing.TB, ca *tlstest.Authority, name string) (cert, key []byte) {
	t.Helper()
	cert, key = ca.Leaf(t, name, tlstest.ECKey(t), nil)
	var whole struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	block, _ := pem.Decode(cert)
	_, err := asn1.Unmarshal(block.Bytes, &whole)
	must(t, err)
	// The version takes five bytes, then comes the serial number.
	tbs := whole.TBS.FullBytes
	serial := tbs[len(tbs)-len(whole.TBS.Bytes)+5:]
	if serial[0] != asn1.TagInteger || serial[1] == 0 {
		t.Fatalf("%x is no serial number", serial[:4])
	}
	serial[2] |= 0x80
	sum := sha256.Sum256(tbs)
	whole.Signature.Bytes, err = ca.Key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(t, err)
	whole.Signature.BitLength = 8 * len(whole.Signature.Bytes)
	der, err := asn1.Marshal(whole)
	must(t, err)
	return tlstest.CertPEM(der), key
}

// A peer whose certificate libssl accepts and crypto/x509 cannot read is refused, with an
// alert, unless the Ctx says that such certificates will do. It is never somebody else.
func TestOpaqueCertificates(t *testing.T) {
	ca := tlstest.Certs(t)
	opaque := func(c *openssl.Ctx) { must(t, c.SetOpaqueCertificates(true)) }
	verify := func(mode openssl.VerifyMode) func(c *openssl.Ctx) {
		return func(c *openssl.Ctx) {
			must(t, c.SetVerify(mode))
			must(t, c.SetVerifyConnection(func(cs openssl.ConnectionState) error {
				if len(cs.PeerCertificatesDER) == 0 || len(cs.PeerCertificates) != 0 {
					t.Errorf("SetVerifyConnection: %d certificates, %d in DER", len(cs.PeerCertificates), len(cs.PeerCertificatesDER))
				}
				return nil
			}))
		}
	}
	asked := 0
	for kind, leaf := range map[string]func(testing.TB, *tlstest.Authority, string) ([]byte, []byte){"odd name": oddSAN, "negative serial": negativeSerial} {
		inter := tlstest.NewAuthority(t, "intermediate", ca)
		cert, key := leaf(t, inter, "server.test")
		p := tenant{chain: slices.Concat(cert, inter.PEM), key: key}
		for how, x := range map[string]struct {
			change  func(c *openssl.Ctx)
			accepts bool
		}{
			"by default":         {func(c *openssl.Ctx) {}, false},
			"switched off again": {func(c *openssl.Ctx) { opaque(c); must(t, c.SetOpaqueCertificates(false)) }, false},
			"SetVerifyConnection": {func(c *openssl.Ctx) {
				must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { asked++; return nil }))
			}, false},
			"opaque":        {opaque, true},
			"opaque, asked": {func(c *openssl.Ctx) { opaque(c); verify(openssl.VerifyPeer)(c) }, true},
			"VerifyDefer":   {verify(openssl.VerifyDefer), true},
		} {
			t.Run(kind+"/"+how, func(t *testing.T) {
				eachRole(t, func(t *testing.T, role string, version uint16) {
					client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
					tlstest.SetVersion(t, client, version)
					if role == "server" {
						must(t, client.UseCertificate(p.chain, p.key))
						x.change(server)
					} else {
						must(t, server.SetVerify(openssl.VerifyNone))
						must(t, server.UseCertificate(p.chain, p.key))
						x.change(client)
					}
					e := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server})
					state, err := e.Client, e.ClientErr
					if role == "server" {
						state, err = e.Server, e.ServerErr
					}
					if x.accepts {
						if err != nil || !state.HandshakeComplete {
							t.Fatalf("refused: %v", err)
						}
					} else {
						if alert, ok := errors.AsType[tls.AlertError](err); !ok || alert != 43 || state.HandshakeComplete {
							t.Fatalf("%v, want unsupported_certificate", err)
						}
						tlstest.Sentence(t, err, "SetOpaqueCertificates", "x509")
					}
					block, _ := pem.Decode(cert)
					ders := state.PeerCertificatesDER
					if len(ders) != 2 || string(ders[0]) != string(block.Bytes) || string(ders[1]) != string(inter.Cert.Raw) {
						t.Errorf("%d certificates in DER, want the leaf and its CA", len(ders))
					}
					if len(state.PeerCertificates) != 0 || len(state.TLS().PeerCertificates) != 0 {
						t.Errorf("the peer is %v", state.PeerCertificates[0].Subject)
					}
					if state.VerifyError != nil {
						t.Errorf("libssl's verdict is %v, and it has accepted", state.VerifyError)
					}
				})
			})
		}
	}
	t.Run("VerifyNone sees nobody either", func(t *testing.T) {
		for _, on := range []bool{false, true} {
			client, server := tlstest.BareClient(t), tlstest.BareServer(t)
			must(t, server.UseCertificate(oddSAN(t, ca, "server.test")))
			must(t, client.SetVerify(openssl.VerifyNone))
			must(t, client.SetOpaqueCertificates(on))
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
			if _, refused := errors.AsType[tls.AlertError](e.ClientErr); refused == on {
				t.Errorf("SetOpaqueCertificates(%v): %v", on, e.ClientErr)
			}
		}
	})
	if asked != 0 {
		t.Errorf("SetVerifyConnection was asked %d times about a peer that nobody can see", asked)
	}
}

// An extra certificate that crypto/x509 cannot read spoils nothing: the leaf and its chain
// are there.
func TestOpaqueExtraCertificate(t *testing.T) {
	ca := tlstest.Certs(t)
	inter := tlstest.NewAuthority(t, "intermediate", ca)
	leaf, key := inter.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	extra, _ := oddSAN(t, ca, "extra.test")
	p := tenant{chain: slices.Concat(leaf, extra, inter.PEM), key: key}
	eachRole(t, func(t *testing.T, role string, version uint16) {
		client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, client, version)
		must(t, client.UseCertificate(p.chain, p.key))
		must(t, server.UseCertificate(p.chain, p.key))
		e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		state := e.Client
		if role == "server" {
			state = e.Server
		}
		got := state.PeerCertificates
		if len(got) != 2 || got[0].DNSNames[0] != "server.test" || got[1].Subject.CommonName != "intermediate" {
			t.Errorf("%d certificates, want the leaf and its CA", len(got))
		}
		if len(state.PeerCertificatesDER) != 3 || state.VerifyError != nil {
			t.Errorf("%d certificates in DER, want 3; the verdict is %v", len(state.PeerCertificatesDER), state.VerifyError)
		}
	})
}

// A session whose certificate cannot be read is resumed where it could be made, and the
// state has the same certificates.
func TestOpaqueCertificateResumed(t *testing.T) {
	for _, v := range tlstest.Versions {
		client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, client, v.ID)
		must(t, client.UseCertificate(oddSAN(t, tlstest.Certs(t), "client.test")))
		must(t, server.SetOpaqueCertificates(true))
		first := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		again := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: first.Session})
		if !again.Server.DidResume || len(again.Server.PeerCertificatesDER) != 1 || again.Server.VerifyError != nil {
			t.Errorf("%s: resumed %v, %d certificates in DER, %v", v.Name, again.Server.DidResume, len(again.Server.PeerCertificatesDER), again.Server.VerifyError)
		}
		// Another server of the same context and keys, which does not take them.
		strict := tlstest.NewMutualServer(t, "tenant")
		must(t, server.SetTicketKeys(tlstest.TicketKey(1)))
		must(t, strict.SetTicketKeys(tlstest.TicketKey(1)))
		first = tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: strict, Offer: first.Session})
		if alert, ok := errors.AsType[tls.AlertError](e.ServerErr); !ok || alert != 43 {
			t.Errorf("%s: resumed %v: %v, want unsupported_certificate", v.Name, e.Server.DidResume, e.ServerErr)
		}
	}
}
