//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
						if alert, ok := tlstest.AsType[tls.AlertError](err); !ok || alert != 43 || state.HandshakeComplete {
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
			if _, refused := tlstest.AsType[tls.AlertError](e.ClientErr); refused == on {
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
		if alert, ok := tlstest.AsType[tls.AlertError](e.ServerErr); !ok || alert != 43 {
			t.Errorf("%s: resumed %v: %v, want unsupported_certificate", v.Name, e.Server.DidResume, e.ServerErr)
		}
	}
}

// groupsOf is the groups that a test tries, by number, and libssl's names from 3.0 on.
func groupsOf() map[string]tls.CurveID {
	groups := map[string]tls.CurveID{"secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384, "x25519": tls.X25519}
	if openssl.Version().LinkedNumber >= 0x30500000 {
		groups["X25519MLKEM768"] = tls.X25519MLKEM768
	}
	return groups
}

// The group of the key exchange is what both ends and crypto/tls see, also after a
// resumption.
func TestGroup(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for name, id := range groupsOf() {
			if v.ID == tls.VersionTLS12 && id == tls.X25519MLKEM768 {
				continue // it is of TLS 1.3 alone
			}
			client, server := tlstest.NewClient(t), rsaServer(t)
			tlstest.SetVersion(t, client, v.ID)
			group := name
			if known := map[string]string{"secp256r1": "P-256", "secp384r1": "P-384", "x25519": "X25519"}[name]; known != "" {
				group = known // also to 1.1.1
			}
			must(t, client.SetGroups(group))
			must(t, server.SetGroups(group))
			check := func(what string, state openssl.ConnectionState) {
				if !strings.EqualFold(state.GroupName, name) || state.Group != id || state.TLS().CurveID != id {
					t.Errorf("%s: group %d %q, in TLS() %v, want %d %q", what, state.Group, state.GroupName, state.TLS().CurveID, id, name)
				}
			}
			serverKnows := tlstest.IsOpenSSL3() || v.ID == tls.VersionTLS13
			e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
			check("client", e.Client)
			if serverKnows {
				check("server", e.Server)
			}
			if e = tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session}); !e.Client.DidResume {
				t.Fatalf("resumption: %v, want it resumed", e.Server.Resumption)
			}
			if tlstest.IsOpenSSL3() {
				check("client, resumed", e.Client)
				check("server, resumed", e.Server)
			}
			if got := groupOfCryptoTLS(t, v.ID, id, server); got != id {
				t.Errorf("crypto/tls has agreed on %v, want %v", got, id)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		client := tlstest.NewClient(t)
		tlstest.SetVersion(t, client, tls.VersionTLS12)
		must(t, client.SetCipherList("AES128-GCM-SHA256"))
		e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: rsaServer(t)})
		for _, state := range []openssl.ConnectionState{e.Client, e.Server} {
			if state.Group != 0 || state.GroupName != "" {
				t.Errorf("group %d %q of a key exchange by RSA, want none", state.Group, state.GroupName)
			}
		}
	})
}

// rsaServer is a server of server.test with an RSA key, which no group limits.
func rsaServer(t testing.TB) *openssl.Ctx {
	t.Helper()
	server := tlstest.BareServer(t)
	must(t, server.UseCertificate(tlstest.Certs(t).Leaf(t, "server.test", tlstest.RSAKey(), func(c *x509.Certificate) {
		c.KeyUsage |= x509.KeyUsageKeyEncipherment
	})))
	return server
}

// groupOfCryptoTLS is the group that a client of crypto/tls agrees on, if it is capable of
// id alone.
func groupOfCryptoTLS(t *testing.T, version uint16, id tls.CurveID, server *openssl.Ctx) tls.CurveID {
	t.Helper()
	config := tlstest.GoClient(t)
	config.MinVersion, config.MaxVersion, config.CurvePreferences = version, version, []tls.CurveID{id}
	near, far := tlstest.TCPPair(t)
	c := tls.Client(near, config)
	s, err := openssl.Server(far, server)
	must(t, err)
	defer s.Close()
	defer c.Close()
	clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
	if clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
	return c.ConnectionState().CurveID
}

// VerifiedChains is the chain up to the trusted CA, which no peer sends, where libssl has
// verified one on this connection.
func TestVerifiedChains(t *testing.T) {
	root := tlstest.NewAuthority(t, "root", nil)
	inter := tlstest.NewAuthority(t, "intermediate", root)
	leaf, key := inter.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	chain := slices.Concat(leaf, inter.PEM)
	stranger := tlstest.NewAuthority(t, "stranger", nil)
	eachRole(t, func(t *testing.T, role string, version uint16) {
		pair := func(trust func(c *openssl.Ctx)) tlstest.Pair {
			client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
			tlstest.SetVersion(t, client, version)
			must(t, client.UseCertificate(chain, key))
			must(t, server.UseCertificate(chain, key))
			must(t, client.SetVerifyCAs(root.PEM))
			must(t, server.SetVerifyCAs(root.PEM))
			trust(map[string]*openssl.Ctx{"client": client, "server": server}[role])
			return tlstest.Pair{Client: client, Server: server}
		}
		state := func(e tlstest.Result) openssl.ConnectionState {
			return map[string]openssl.ConnectionState{"client": e.Client, "server": e.Server}[role]
		}
		x := pair(func(c *openssl.Ctx) {})
		e := tlstest.Connect(t, x)
		want := []*x509.Certificate{tlstest.ParseCert(t, leaf), inter.Cert, root.Cert}
		got := state(e).VerifiedChains
		if len(got) != 1 || !slices.EqualFunc(got[0], want, (*x509.Certificate).Equal) {
			t.Fatalf("%d chains, want the leaf, the intermediate CA and the root: %v", len(got), got)
		}
		if len(state(e).TLS().VerifiedChains) != 1 {
			t.Errorf("TLS() has %d chains, want 1", len(state(e).TLS().VerifiedChains))
		}
		x.Offer = e.Session
		e = tlstest.Connect(t, x)
		if !state(e).DidResume || state(e).VerifiedChains != nil || len(state(e).PeerCertificates) == 0 {
			t.Errorf("resumed %v with %d chains and %d certificates, want no chain", state(e).DidResume, len(state(e).VerifiedChains), len(state(e).PeerCertificates))
		}
		accept := func(cs openssl.ConnectionState) error {
			if cs.VerifiedChains != nil {
				t.Errorf("SetVerifyConnection has a chain of a certificate that does not verify")
			}
			return nil
		}
		for what, mode := range map[string]openssl.VerifyMode{"VerifyDefer": openssl.VerifyDefer, "VerifyNone": openssl.VerifyNone} {
			e = tlstest.Connect(t, pair(func(c *openssl.Ctx) {
				must(t, c.SetVerifyCAs(stranger.PEM))
				must(t, c.SetVerify(mode))
				must(t, c.SetVerifyConnection(accept))
			}))
			if state(e).VerifiedChains != nil {
				t.Errorf("%s: a chain of a certificate that does not verify", what)
			}
		}
	})
}

// Finished is what the other end and crypto/tls see, and is refused where it stands for more
// than one connection.
func TestFinished(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		c, s := tlstest.Conns(t, client, server)
		for _, conn := range []*openssl.Conn{c, s} {
			_, _, err := conn.Finished()
			tlstest.Sentence(t, err, "SSL_get_finished", "the handshake is not done")
		}
		tlstest.MustHandshake(t, c, s)
		ofClient, ofServer, err := c.Finished()
		must(t, err)
		local, peer, err := s.Finished()
		must(t, err)
		if len(ofClient) < 12 || len(ofServer) < 12 || bytes.Equal(ofClient, ofServer) {
			t.Errorf("Finished is %x and %x", ofClient, ofServer)
		}
		if !bytes.Equal(local, ofServer) || !bytes.Equal(peer, ofClient) {
			t.Errorf("the ends differ: %x %x, %x %x", ofClient, ofServer, peer, local)
		}
	})
	t.Run("without extended master secret", func(t *testing.T) {
		if openssl.OptionNoExtendedMasterSecret == 0 {
			t.Skip("this OpenSSL cannot do without")
		}
		client := tlstest.NewClient(t)
		tlstest.SetVersion(t, client, tls.VersionTLS12)
		must(t, client.SetOptions(openssl.OptionNoExtendedMasterSecret))
		c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
		tlstest.MustShake(t, c, s)
		for _, ssl := range []*openssl.SSL{c, s} {
			local, peer, err := ssl.Finished()
			tlstest.Sentence(t, err, "extended master secret", "RFC 7627")
			if local != nil || peer != nil {
				t.Errorf("it returns %x and %x", local, peer)
			}
		}
	})
}

// The channel bindings that the documentation of Finished names are those of crypto/tls.
func TestChannelBindings(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server, config := tlstest.NewServer(t), tlstest.GoClient(t)
		config.MinVersion, config.MaxVersion = v.ID, v.ID
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true} {
			near, far := tlstest.TCPPair(t)
			c := tls.Client(near, config)
			s, err := openssl.Server(far, server)
			must(t, err)
			clientErr, serverErr := tlstest.Both(func() error {
				return tlstest.RoundTrip(c, []byte("ping"))
			}, func() error {
				_, err := io.CopyN(s, s, 4)
				return err
			})
			if clientErr != nil || serverErr != nil {
				t.Fatalf("connection: client %v, server %v", clientErr, serverErr)
			}
			state := c.ConnectionState()
			if state.DidResume != resumed {
				t.Fatalf("resumed %v, want %v", state.DidResume, resumed)
			}
			local, peer, err := s.Finished()
			must(t, err)
			first := peer
			if resumed {
				first = local
			}
			if v.ID == tls.VersionTLS12 && !bytes.Equal(first, state.TLSUnique) {
				t.Errorf("resumed %v: tls-unique is %x, crypto/tls has %x", resumed, first, state.TLSUnique)
			}
			want, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			must(t, err)
			got, err := s.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
			must(t, err)
			if v.ID == tls.VersionTLS13 && !bytes.Equal(got, want) {
				t.Errorf("resumed %v: tls-exporter is %x, crypto/tls has %x", resumed, got, want)
			}
			must(t, c.Close())
			must(t, s.Close())
		}
	})
}

// The value that TLS returns has no connection to export from, as its documentation says;
// no code of the module asks it to.
func TestTLSExportsNothing(t *testing.T) {
	e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: tlstest.NewServer(t)})
	state := e.Client.TLS()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("ExportKeyingMaterial of TLS() does not panic: correct its documentation")
			}
		}()
		state.ExportKeyingMaterial("EXPORTER-test", nil, 32)
	}()
	for _, dir := range []string{"httpx", "examples", "cmd"} {
		files := 0
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte("TLS.ExportKeyingMaterial")) || bytes.Contains(text, []byte("TLS().ExportKeyingMaterial")) {
				t.Errorf("%s exports from a value of TLS()", path)
			}
			return err
		}))
		if files == 0 {
			t.Errorf("there is no Go file in %s", dir)
		}
	}
}

// A peer that comes again is not parsed again; one with another certificate is.
func TestPeerCertificatesAreParsedOnce(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server, other := tlstest.NewClient(t), tlstest.NewServer(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
		must(t, other.UseCertificate(cert, key))
		presented := func(server *openssl.Ctx) []*x509.Certificate {
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
			if e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("client %v, server %v", e.ClientErr, e.ServerErr)
			}
			return e.Client.PeerCertificates
		}
		first := presented(server)
		leaf := first[0]
		first[0] = nil // the slice is the caller's
		if again := presented(server); again[0] != leaf {
			t.Errorf("the second connection has parsed the same certificate again")
		}
		if third := presented(other); string(third[0].Raw) == string(leaf.Raw) {
			t.Errorf("another server's certificate is that of the first")
		}
		if fourth := presented(server); string(fourth[0].Raw) != string(leaf.Raw) {
			t.Errorf("the first server's certificate is that of another")
		}
	})
}
