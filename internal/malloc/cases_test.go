//go:build malloc && cgo

package malloc_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// mallocScenarios is what TestMalloc tries.
func mallocScenarios() []mallocScenario {
	all := slices.Concat(ctxScenarios, acceptUnusable(setterScenarios), ticketKeyScenarios, policyScenarios, sslScenarios, namingScenarios())
	for _, v := range tlstest.Versions {
		all = slices.Concat(all, handshakeScenarios(v.Name, v.ID), resumptionScenarios(v.Name, v.ID), connectionScenarios(v.Name, v.ID), pskScenarios(v.Name, v.ID))
	}
	return all
}

// mallocExemptions is where OpenSSL has faults that this package cannot prevent:
// allocations of file do not fail within function. The lines are those of 3.0.22.
var mallocExemptions = []mallocExemption{
	{
		"crypto/store/store_lib.c", "OSSL_STORE_open_ex",
		"crypto/store/store_lib.c:218 and :220 both give up the one reference to the loader if there is no memory for the context: " +
			"UseCertificateURI crashes, or what opens a store next does",
	},
	{
		"crypto/lhash/lhash.c", "SSL_CTX_add_session",
		"ssl/ssl_sess.c:812 adds a session to the cache's list although the hash table had no memory for it, and :820 " +
			"gives up its reference: the list points at memory that is freed, and SSL_CTX_free does not end or crashes",
	},
	{
		"crypto/evp/pmeth_lib.c", "SSL_CTX_new_ex",
		"ssl/t1_lib.c:1154 takes a signature algorithm for unavailable if there is no memory to try it, and SSL_CTX_new succeeds: " +
			"the SSL_CTX refuses what it should accept, for good, and no function tells",
	},
	{"crypto/core_namemap.c", "OSSL_STORE_load", whyStore},
	{"crypto/stack/stack.c", "OSSL_STORE_load", whyStore},
	{"crypto/encode_decode/decoder_lib.c", "OSSL_STORE_load", whyStore},
	{"crypto/encode_decode/decoder_meth.c", "OSSL_STORE_load", whyStore},
	{"crypto/encode_decode/decoder_pkey.c", "OSSL_STORE_load", whyStore},
	{"implementations/encode_decode/decode_der2key.c", "OSSL_STORE_load", whyStore},
}

type mallocExemption struct{ file, function, why string }

const whyStore = "try_key_value of crypto/store/store_result.c uses what OSSL_DECODER_CTX_new_for_pkey returns without a look, " +
	"which is NULL if there was no memory for one of its parts"

// ---- what scenarios share ----

// identity is a certificate and its key, in PEM.
type identity struct{ cert, key []byte }

func newIdentity(t testing.TB, ca *tlstest.Authority, name string) *identity {
	cert, key := ca.Leaf(t, name, tlstest.ECKey(t), nil)
	return &identity{cert, key}
}

// ticketKeys are the first n.
func ticketKeys(n int) (keys []openssl.TicketKey) {
	for seed := range n {
		keys = append(keys, tlstest.TicketKey(byte(seed)))
	}
	return keys
}

// noStore is a store that is not asked: an SSL leaves that to its caller.
type noStore struct{}

func (noStore) Get(context.Context, []byte) ([]byte, error)          { return nil, openssl.ErrSessionNotFound }
func (noStore) Put(context.Context, []byte, []byte, time.Time) error { return nil }
func (noStore) Delete(context.Context, []byte) error                 { return nil }

// callers makes x's callers.
func (x *attempt) callers() {
	x.caA, x.caB = tlstest.NewAuthority(x, "CA A", nil), tlstest.NewAuthority(x, "CA B", nil)
	x.cliA, x.cliB = newIdentity(x, x.caA, "client A"), newIdentity(x, x.caB, "client B")
	bad := newIdentity(x, tlstest.Certs(x), "revoked.test")
	x.crls = slices.Concat(
		tlstest.RevocationList(x, tlstest.Certs(x), 1, tlstest.ParseCert(x, bad.cert).SerialNumber),
		tlstest.RevocationList(x, x.caA, 1))
	x.honest = caller{"a client with a certificate", tlstest.NewClient(x)}
	x.nobody = caller{"a client without a certificate", x.clientOf(nil)}
	x.stranger = caller{"a client of another CA", x.clientOf(x.cliA)}
	x.revoked = caller{"a client whose certificate is revoked", x.clientOf(bad)}
}

// clientOf is a client Ctx that trusts the test CA, with a certificate unless id is nil.
func (x *attempt) clientOf(id *identity) *openssl.Ctx {
	c := tlstest.BareClient(x)
	must(x, c.SetVerifyCAs(tlstest.Certs(x).PEM))
	if id != nil {
		must(x, c.UseCertificate(id.cert, id.key))
	}
	return c
}

// admits complains unless server lets the caller in, or the attempt fails closed.
func (x *attempt) admits(server *openssl.Ctx, who caller) tlstest.Result {
	e := tlstest.ConnectMachines(x, tlstest.Pair{Client: who.Ctx, Server: server})
	if e.ClientErr != nil || e.ServerErr != nil {
		if x.closed = x.closed || x.mayBeClosed; !x.mayBeClosed {
			x.Errorf("%s is refused: client %v, server %v", who.name, e.ClientErr, e.ServerErr)
		}
	}
	return e
}

// refuses complains if server lets the caller in.
func (x *attempt) refuses(server *openssl.Ctx, who caller) {
	if e := tlstest.ConnectMachines(x, tlstest.Pair{Client: who.Ctx, Server: server}); e.ServerErr == nil || e.Server.HandshakeComplete {
		x.Errorf("%s is let in", who.name)
	}
}

// replaces complains unless server admits one of the two and refuses the other:
// after a failure the one of the old setting, else the one of the new.
func (x *attempt) replaces(server *openssl.Ctx, err error, before, after caller) {
	if err != nil {
		x.admits(server, before)
		x.refuses(server, after)
	} else {
		x.admits(server, after)
		x.refuses(server, before)
	}
}

// open makes x.server: it requires client certificates of the test CA, within the
// context "a", and can still be changed.
func (x *attempt) open() { x.server = tlstest.NewMutualServer(x, "a") }

// openVersion is open for one version.
func openVersion(v uint16) func(x *attempt) {
	return func(x *attempt) {
		x.open()
		tlstest.SetVersion(x, x.server, v)
	}
}

// acceptUnusable has setters that fail leave a Ctx that makes no connections.
func acceptUnusable(setters []mallocScenario) (all []mallocScenario) {
	for _, s := range setters {
		check := s.check
		s.check = func(x *attempt, err error) {
			unusable := x.newServerSSL()
			if err == nil || unusable == nil {
				check(x, err)
			} else if !strings.Contains(unusable.Error(), "failed with a part of its change in place") {
				x.Errorf("the Ctx makes no connections: %v", unusable)
			}
		}
		all = append(all, s)
	}
	return all
}

// negotiates complains unless a connection has the old value after a failure and
// the new one after a success.
func (x *attempt) negotiates(err error, value func(tlstest.Result) string, before, after string) {
	want := after
	if err != nil {
		want = before
	}
	if got := value(x.admits(x.server, x.honest)); got != want && !x.closed {
		x.Errorf("%s is negotiated, want %s", got, want)
	}
}

func cipherOf(e tlstest.Result) string { return e.Client.CipherName }
func stapleOf(e tlstest.Result) string { return string(e.Client.OCSPResponse) }
func alpnOf(e tlstest.Result) string   { return e.Client.NegotiatedProtocol }

// withGroups is a client that is capable of these groups only.
func (x *attempt) withGroups(list string) caller {
	c := x.clientOf(&identity{cert: tlstest.Fixtures.ClientCert, key: tlstest.Fixtures.ClientKey})
	must(x, c.SetGroups(list))
	return caller{"a client that is capable of " + list, c}
}

// ---- making a Ctx ----

var ctxScenarios = []mallocScenario{
	{
		name: "NewServerCtx",
		act:  func(x *attempt) error { return x.makeCtx(openssl.NewServerCtx) },
		check: func(x *attempt, err error) {
			if err != nil {
				return
			}
			if x.server.Options()&openssl.OptionNoRenegotiation == 0 {
				x.Errorf("renegotiation is on")
			}
			must(x, x.server.UseCertificate(tlstest.Fixtures.ServerCert, tlstest.Fixtures.ServerKey))
			must(x, x.server.SetClientCAs(tlstest.Certs(x).PEM))
			must(x, x.server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(x, x.server.SetSessionIDContext([]byte("a")))
			x.resumes(x.server)
		},
	},
	{
		name: "NewClientCtx",
		act:  func(x *attempt) error { return x.makeCtx(openssl.NewClientCtx) },
		check: func(x *attempt, err error) {
			if err != nil {
				return
			}
			must(x, x.server.SetVerifyCAs(x.caA.PEM)) // which is not the server's
			if e := tlstest.ConnectMachines(x, tlstest.Pair{Client: x.server, Server: tlstest.NewServer(x)}); e.ClientErr == nil {
				x.Errorf("a new client does not verify")
			}
		},
	},
	{
		// NewLibrary itself is not here: it is libcrypto's providers that load then.
		name: "Library.NewServerCtx",
		act: func(x *attempt) error {
			if !tlstest.IsOpenSSL3() {
				return nil
			}
			if err := x.makeCtx(x.library.NewServerCtx); err != nil {
				return err
			}
			return x.server.UseCertificate(tlstest.Fixtures.ServerCert, tlstest.Fixtures.ServerKey)
		},
		failsClosed: true,
		prepare: func(x *attempt) {
			if tlstest.IsOpenSSL3() {
				x.library = mallocLibrary(x)
			}
		},
		check: func(x *attempt, err error) {
			if err != nil || x.server == nil {
				return
			}
			must(x, x.server.SetClientCAs(tlstest.Certs(x).PEM))
			must(x, x.server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(x, x.server.SetSessionIDContext([]byte("a")))
			x.resumes(x.server)
		},
	},
	{
		name: "NewServerCtx/first of a process",
		cold: true, stride: 301,
		act:   func(x *attempt) error { return x.makeCtx(openssl.NewServerCtx) },
		check: func(x *attempt, err error) {},
	},
	{
		name: "NewSSL/first of a process",
		cold: true, stride: 1,
		prepare: func(x *attempt) { x.server = tlstest.NewServer(x) },
		act:     func(x *attempt) error { return x.newServerSSL() },
		check: func(x *attempt, _ error) {
			// What failed once must not fail for ever.
			s, err := openssl.NewSSL(x.server)
			if err != nil {
				x.Fatalf("no machine can be made any more: %v", err)
			}
			must(x, s.Close())
		},
	},
}

func (x *attempt) makeCtx(make func() (*openssl.Ctx, error)) (err error) {
	if x.server, err = make(); err == nil {
		x.Cleanup(func() { x.server.Close() })
	}
	return err
}

// mallocLibrary is a Library, which is loaded with the first call and kept.
func mallocLibrary(t testing.TB) *openssl.Library {
	l, err := openssl.NewLibrary("", "provider=default")
	must(t, err)
	return l
}

// resumes complains unless server makes sessions that it resumes, with the
// certificate and the context of the first handshake.
func (x *attempt) resumes(server *openssl.Ctx) {
	first := x.admits(server, x.honest)
	if x.closed {
		return
	}
	if first.Session == nil {
		x.Errorf("there is no session")
		return
	}
	e := tlstest.ConnectMachines(x, tlstest.Pair{Client: x.nobody.Ctx, Server: server, Offer: first.Session})
	if !e.Server.DidResume || !bytes.Equal(e.Server.SessionIDContext, server.SessionIDContext()) || len(e.Server.PeerCertificates) != 1 {
		x.Errorf("resumed %v (%v, %v), context %q, %d certificates", e.Server.DidResume, e.Server.Resumption, e.ServerErr,
			e.Server.SessionIDContext, len(e.Server.PeerCertificates))
	}
	x.refuses(server, x.nobody)
}

func (x *attempt) newServerSSL() (err error) {
	if x.s, err = openssl.NewSSL(x.server); err == nil {
		x.Cleanup(func() { x.s.Close() })
	}
	return err
}

func (x *attempt) newClientSSL() (err error) {
	if x.c, err = openssl.NewSSL(x.client); err == nil {
		x.Cleanup(func() { x.c.Close() })
	}
	return err
}

// ---- setters of Ctx ----

var setterScenarios = []mallocScenario{
	{
		name:        "Ctx.UseCertificate",
		failsClosed: true,
		prepare:     (*attempt).open,
		setup: func(x *attempt) {
			between := tlstest.NewAuthority(x, "an intermediate CA", tlstest.Certs(x))
			cert, key := between.Leaf(x, "server.test", tlstest.ECKey(x), nil)
			x.identity = &identity{cert: append(cert, between.PEM...), key: key}
			x.before = caller{"a client of TLS 1.2", tlstest.NewClient(x)}
			tlstest.SetVersion(x, x.before.Ctx, tls.VersionTLS12)
		},
		act: func(x *attempt) error { return x.server.UseCertificate(x.identity.cert, x.identity.key) },
		check: func(x *attempt, err error) {
			want := x.identity.cert
			if err != nil {
				want = tlstest.Fixtures.ServerCert
			}
			for _, who := range []caller{x.honest, x.before} {
				e := x.admits(x.server, who)
				got := e.Client.PeerCertificates
				if len(got) > 0 && !got[0].Equal(tlstest.ParseCert(x, want)) || len(got) == 0 && !x.closed {
					x.Errorf("another certificate is shown")
				}
			}
		},
	},
	useScenario("Ctx.UseEncryptedCertificate", func(x *attempt) error {
		return x.server.UseEncryptedCertificate(x.identity.cert, x.pem, []byte("secret"))
	}),
	useScenario("Ctx.UseCertificateURI", func(x *attempt) error {
		return x.server.UseCertificateURI(x.identity.cert, "file:"+x.path, []byte("secret"))
	}),
	{
		name:        "Ctx.SetClientCAs",
		failsClosed: true,
		prepare:     (*attempt).open,
		act:         func(x *attempt) error { return x.server.SetClientCAs(x.caA.PEM) },
		check:       func(x *attempt, err error) { x.replaces(x.server, err, x.honest, x.stranger) },
	},
	{
		name:        "Ctx.SetClientCAs/with CRLs",
		failsClosed: true,
		prepare: func(x *attempt) {
			x.open()
			must(x, x.server.SetCRLs(x.crls))
		},
		act:   func(x *attempt) error { return x.server.SetClientCAs(tlstest.Certs(x).PEM) },
		check: func(x *attempt, err error) { x.revokesUnless(nil) },
	},
	{
		name:        "Ctx.SetVerifyCAs",
		failsClosed: true,
		prepare:     (*attempt).open,
		act:         func(x *attempt) error { return x.server.SetVerifyCAs(x.caA.PEM) },
		check:       func(x *attempt, err error) { x.replaces(x.server, err, x.honest, x.stranger) },
	},
	{
		name:        "Ctx.AddVerifyCAs",
		failsClosed: true,
		prepare:     (*attempt).open,
		act:         func(x *attempt) error { return x.server.AddVerifyCAs(x.caA.PEM) },
		check: func(x *attempt, err error) {
			x.admits(x.server, x.honest)
			if err != nil {
				x.refuses(x.server, x.stranger)
			} else {
				x.admits(x.server, x.stranger)
			}
		},
	},
	{
		name: "Ctx.SetDHParameters",
		setup: func(x *attempt) {
			cert, key := tlstest.Certs(x).Leaf(x, "server.test", tlstest.RSAKey(), nil)
			x.identity = &identity{cert, key}
			x.after = caller{"a client of DHE", x.clientOf(&identity{cert: tlstest.Fixtures.ClientCert, key: tlstest.Fixtures.ClientKey})}
			must(x, x.after.SetCipherList("DHE-RSA-AES128-GCM-SHA256"))
		},
		prepare: func(x *attempt) {
			openVersion(tls.VersionTLS12)(x)
			must(x, x.server.UseCertificate(x.identity.cert, x.identity.key))
		},
		act: func(x *attempt) error { return x.server.SetDHParameters([]byte(tlstest.FFDHE2048)) },
		check: func(x *attempt, err error) {
			if err != nil {
				x.refuses(x.server, x.after)
			} else {
				x.admits(x.server, x.after)
			}
		},
	},
	{
		name: "Ctx.SetOCSPResponse",
		setup: func(x *attempt) {
			must(x, x.honest.SetOCSPRequest(true))
		},
		prepare: func(x *attempt) {
			x.open()
			must(x, x.server.SetOCSPResponse(oldStaple))
		},
		act:   func(x *attempt) error { return x.server.SetOCSPResponse(newStaple) },
		check: func(x *attempt, err error) { x.negotiates(err, stapleOf, string(oldStaple), string(newStaple)) },
	},
	{
		name:        "Ctx.LoadVerifyLocations",
		failsClosed: true,
		prepare:     (*attempt).open,
		setup: func(x *attempt) {
			x.before = caller{"a client of a third CA", x.clientOf(x.cliB)}
			x.want = filepath.Join(x.TempDir(), "ca.pem")
			must(x, os.WriteFile(x.want, slices.Concat(x.caA.PEM, x.caB.PEM), 0o600))
		},
		act: func(x *attempt) error { return x.server.LoadVerifyLocations(x.want, "") },
		check: func(x *attempt, err error) {
			for _, who := range []caller{x.stranger, x.before} {
				if err != nil {
					x.refuses(x.server, who)
				} else {
					x.admits(x.server, who)
				}
			}
		},
	},
	{
		name:    "Ctx.SetCRLs",
		prepare: (*attempt).open,
		act:     func(x *attempt) error { return x.server.SetCRLs(x.crls) },
		check:   (*attempt).revokesUnless,
	},
	{
		name: "Ctx.SetCRLs/newer",
		prepare: func(x *attempt) {
			x.open()
			must(x, x.server.SetCRLs(tlstest.RevocationList(x, tlstest.Certs(x), 0)))
		},
		act:   func(x *attempt) error { return x.server.SetCRLs(x.crls) },
		check: (*attempt).revokesUnless,
	},
	{
		name:    "Ctx.SetCipherList",
		prepare: openWithOldCipher,
		act:     func(x *attempt) error { return x.server.SetCipherList(newCipher) },
		check:   func(x *attempt, err error) { x.negotiates(err, cipherOf, oldCipher, newCipher) },
	},
	{
		name: "Ctx.SetCipherSuites",
		prepare: func(x *attempt) {
			openVersion(tls.VersionTLS13)(x)
			must(x, x.server.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
		},
		act: func(x *attempt) error { return x.server.SetCipherSuites("TLS_AES_256_GCM_SHA384") },
		check: func(x *attempt, err error) {
			x.negotiates(err, cipherOf, "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384")
		},
	},
	{
		name:    "Ctx.SetGroups",
		setup:   oldAndNewGroup,
		prepare: openWithOldGroup,
		act:     func(x *attempt) error { return x.server.SetGroups("P-384") },
		check:   func(x *attempt, err error) { x.replaces(x.server, err, x.before, x.after) },
	},
	{
		name: "Ctx.SetALPN/server",
		setup: func(x *attempt) {
			must(x, x.honest.SetALPN("old", "new"))
		},
		prepare: func(x *attempt) {
			x.open()
			must(x, x.server.SetALPN("old"))
		},
		act:   func(x *attempt) error { return x.server.SetALPN("new") },
		check: func(x *attempt, err error) { x.negotiates(err, alpnOf, "old", "new") },
	},
	{
		name: "Ctx.SetALPN/client",
		setup: func(x *attempt) {
			x.open()
			must(x, x.server.SetALPN("old", "new"))
		},
		prepare: func(x *attempt) {
			x.honest.Ctx = tlstest.NewClient(x)
			must(x, x.honest.SetALPN("old"))
		},
		act:   func(x *attempt) error { return x.honest.SetALPN("new") },
		check: func(x *attempt, err error) { x.negotiates(err, alpnOf, "old", "new") },
	},
	{
		name:    "Ctx.Conf/CipherString",
		prepare: openWithOldCipher,
		act:     func(x *attempt) error { return x.server.Conf("CipherString", newCipher) },
		check:   func(x *attempt, err error) { x.negotiates(err, cipherOf, oldCipher, newCipher) },
	},
	{
		name:    "Ctx.Conf/Groups",
		setup:   oldAndNewGroup,
		prepare: openWithOldGroup,
		act:     func(x *attempt) error { return x.server.Conf("Groups", "P-384") },
		check:   func(x *attempt, err error) { x.replaces(x.server, err, x.before, x.after) },
	},
	{
		name: "Ctx.Conf/SignatureAlgorithms",
		setup: func(x *attempt) {
			x.before = caller{"a client that is capable of SHA-256", tlstest.NewClient(x)}
			must(x, x.before.Conf("SignatureAlgorithms", "ECDSA+SHA256"))
			x.after = caller{"a client that is capable of SHA-384", tlstest.NewClient(x)}
			must(x, x.after.Conf("SignatureAlgorithms", "ECDSA+SHA384"))
		},
		prepare: func(x *attempt) {
			openVersion(tls.VersionTLS12)(x)
			must(x, x.server.Conf("SignatureAlgorithms", "ECDSA+SHA256"))
		},
		act:   func(x *attempt) error { return x.server.Conf("SignatureAlgorithms", "ECDSA+SHA384") },
		check: func(x *attempt, err error) { x.replaces(x.server, err, x.before, x.after) },
	},
	{
		// The other setters allocate nothing in C. If that changes one of them may fail.
		name: "Ctx.Set/the others",
		prepare: func(x *attempt) {
			x.open()
			x.client = tlstest.BareClient(x)
		},
		act: func(x *attempt) error {
			for _, s := range settersWithoutMalloc {
				if err := s.set(x, x.server); err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
			}
			return nil
		},
		check: func(x *attempt, err error) {
			if err != nil {
				x.Errorf("a setter allocates and has no scenario: %v", err)
			}
			x.admits(x.server, x.honest)
			x.refuses(x.server, x.nobody)
		},
	},
}

// useScenario is a setter of a certificate whose key is encrypted.
func useScenario(name string, act func(x *attempt) error) mallocScenario {
	return mallocScenario{
		name:        name,
		failsClosed: true,
		prepare:     (*attempt).open,
		setup: func(x *attempt) {
			x.identity = newIdentity(x, tlstest.Certs(x), "server.test")
			block, _ := pem.Decode(x.identity.key)
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			must(x, err)
			der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
			must(x, err)
			//lint:ignore SA1019 OpenSSL still reads it
			sealed, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte("secret"), x509.PEMCipherAES256)
			must(x, err)
			x.pem = pem.EncodeToMemory(sealed)
			x.path = tlstest.File(x, "key.pem", x.pem)
		},
		act: act,
		check: func(x *attempt, err error) {
			want := x.identity.cert
			if err != nil {
				want = tlstest.Fixtures.ServerCert
			}
			got := x.admits(x.server, x.honest).Client.PeerCertificates
			if len(got) > 0 && !got[0].Equal(tlstest.ParseCert(x, want)) || len(got) == 0 && !x.closed {
				x.Errorf("another certificate is shown")
			}
			// OSSL_STORE_load drops the reason.
			if name == "Ctx.UseEncryptedCertificate" && errors.Is(err, x509.IncorrectPasswordError) {
				x.Errorf("a lack of memory is taken for a wrong passphrase: %v", err)
			}
		},
	}
}

// revokesUnless complains unless x.server refuses x.revoked, or admits it after a
// failure.
func (x *attempt) revokesUnless(err error) {
	x.admits(x.server, x.honest)
	if err != nil {
		x.admits(x.server, x.revoked)
	} else {
		x.refuses(x.server, x.revoked)
	}
}

// OCSP responses that are a status alone.
var oldStaple, newStaple = []byte{0x30, 3, 0x0a, 1, 1}, []byte{0x30, 3, 0x0a, 1, 3}

const (
	oldCipher = "ECDHE-ECDSA-AES128-GCM-SHA256"
	newCipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
)

func openWithOldCipher(x *attempt) {
	openVersion(tls.VersionTLS12)(x)
	must(x, x.server.SetCipherList(oldCipher))
}

func oldAndNewGroup(x *attempt) {
	x.before, x.after = x.withGroups("P-256"), x.withGroups("P-384")
}

func openWithOldGroup(x *attempt) {
	x.open()
	must(x, x.server.SetGroups("P-256"))
}

// settersWithoutMalloc is the setters of a server Ctx that allocate nothing in C.
var settersWithoutMalloc = []struct {
	name string
	set  func(x *attempt, c *openssl.Ctx) error
}{
	{"SetSessionIDContext", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionIDContext([]byte("b")) }},
	{"SetVerify", func(x *attempt, c *openssl.Ctx) error {
		return c.SetVerify(openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert)
	}},
	{"SetVerifyFlags", func(x *attempt, c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyX509Strict) }},
	{"SetHostFlags", func(x *attempt, c *openssl.Ctx) error { return x.client.SetHostFlags(openssl.HostNoWildcards) }},
	{"SetOpaqueCertificates", func(x *attempt, c *openssl.Ctx) error { return c.SetOpaqueCertificates(true) }},
	{"SetVerifyDepth", func(x *attempt, c *openssl.Ctx) error { return c.SetVerifyDepth(3) }},
	{"SetMaxCertList", func(x *attempt, c *openssl.Ctx) error { return c.SetMaxCertList(100000) }},
	{"SetDHAuto", func(x *attempt, c *openssl.Ctx) error { return c.SetDHAuto(true) }},
	{"SetOCSPRequest", func(x *attempt, c *openssl.Ctx) error { return x.client.SetOCSPRequest(true) }},
	{"SetMinVersion", func(x *attempt, c *openssl.Ctx) error { return c.SetMinVersion(tls.VersionTLS12) }},
	{"SetMaxVersion", func(x *attempt, c *openssl.Ctx) error { return c.SetMaxVersion(tls.VersionTLS13) }},
	{"SetOptions", func(x *attempt, c *openssl.Ctx) error { return c.SetOptions(openssl.OptionNoTicket) }},
	{"ClearOptions", func(x *attempt, c *openssl.Ctx) error { return c.ClearOptions(openssl.OptionNoTicket) }},
	{"SetSessionCacheMode", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionCacheMode(openssl.SessionCacheServer) }},
	{"SetSessionCacheSize", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionCacheSize(10) }},
	{"SetSessionTimeout", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionTimeout(time.Minute) }},
	{"SetNumTickets", func(x *attempt, c *openssl.Ctx) error { return c.SetNumTickets(1) }},
	{"SetMaxAuthAge", func(x *attempt, c *openssl.Ctx) error { return c.SetMaxAuthAge(time.Minute) }},
	{"SetResumptionChecks", func(x *attempt, c *openssl.Ctx) error { return c.SetResumptionChecks(true) }},
	{"SetVerifyConnection", func(x *attempt, c *openssl.Ctx) error { return c.SetVerifyConnection(nil) }},
	{"SetClientHelloFunc", func(x *attempt, c *openssl.Ctx) error { return c.SetClientHelloFunc(nil) }},
	{"SetKeyLogWriter", func(x *attempt, c *openssl.Ctx) error { return c.SetKeyLogWriter(io.Discard) }},
	{"SetSessionStore", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionStore(noStore{}) }},
	{"SetSessionStoreTimeout", func(x *attempt, c *openssl.Ctx) error { return c.SetSessionStoreTimeout(time.Second) }},
	{"SetClientSessionCache", func(x *attempt, c *openssl.Ctx) error {
		return x.client.SetClientSessionCache(openssl.NewLRUClientSessionCache(1))
	}},
	{"FlushSessions", func(x *attempt, c *openssl.Ctx) error { return c.FlushSessions(time.Now()) }},
}

// ---- ticket keys ----

var ticketKeyScenarios = []mallocScenario{
	{
		name:    "Ctx.SetTicketKeys",
		setup:   func(x *attempt) { x.keys = ticketKeys(2) },
		prepare: (*attempt).openWithTicket,
		act:     func(x *attempt) error { return x.server.SetTicketKeys(x.keys[1]) },
		check:   (*attempt).oldSessionAfter,
	},
	{
		name:    "Ctx.SetFleetTicketKeys",
		setup:   func(x *attempt) { x.keys = ticketKeys(1) },
		prepare: (*attempt).openWithTicket,
		act:     func(x *attempt) error { return x.server.SetFleetTicketKeys(fleetSecret, time.Hour) },
		check:   (*attempt).oldSessionAfter,
	},
	{
		// After a failure the fleet's keys still follow the context.
		name: "Ctx.SetTicketKeys/instead of a fleet's",
		setup: func(x *attempt) {
			x.keys = ticketKeys(1)
			twin := tlstest.NewMutualServer(x, "b")
			must(x, twin.SetFleetTicketKeys(fleetSecret, time.Hour))
			x.session = x.admits(twin, x.honest).Session
		},
		prepare: func(x *attempt) {
			x.open()
			must(x, x.server.SetFleetTicketKeys(fleetSecret, time.Hour))
		},
		act: func(x *attempt) error { return x.server.SetTicketKeys(x.keys...) },
		check: func(x *attempt, err error) {
			must(x, x.server.SetSessionIDContext([]byte("b")))
			x.oldSessionAfter(err)
		},
	},
}

var fleetSecret = bytes.Repeat([]byte("s"), 32)

// openWithTicket is open with the first of x.keys, in use, and a session sealed by it.
func (x *attempt) openWithTicket() {
	x.open()
	must(x, x.server.SetTicketKeys(x.keys[0]))
	x.session = x.admits(x.server, x.honest).Session
}

// oldSessionAfter complains unless x.session is resumed after a failure of what is
// to end it, and only then. Sessions made from now on are resumed.
func (x *attempt) oldSessionAfter(err error) {
	e := tlstest.ConnectMachines(x, tlstest.Pair{Client: x.nobody.Ctx, Server: x.server, Offer: x.session})
	if resumed := e.ServerErr == nil && e.Server.DidResume; resumed != (err != nil) {
		x.Errorf("resumed: %v (%v, %v)", resumed, e.Server.Resumption, e.ServerErr)
	}
	x.resumes(x.server)
}

// ---- derived contexts ----

var policyScenarios = []mallocScenario{
	{
		name:    "Ctx.DeriveSessionIDContext",
		setup:   (*attempt).deriveTwin,
		prepare: (*attempt).open,
		act:     (*attempt).derive,
		check: func(x *attempt, err error) {
			want := x.want
			if err != nil {
				want = "a"
			}
			x.within(want)
		},
	},
	{
		name:  "NewSSL/with a derived context",
		setup: (*attempt).deriveTwin,
		prepare: func(x *attempt) {
			x.open()
			must(x, x.derive())
		},
		act: (*attempt).newServerSSL,
		check: func(x *attempt, err error) {
			if err == nil {
				x.refusesNobody()
			}
			x.within(x.want)
		},
	},
	{
		name: "Ctx.Revoke/before its first connection",
		prepare: func(x *attempt) {
			x.label = fmt.Sprint("app ", tlstest.NextSerial()) // others are not revoked with it
			x.deriveTwin()
			x.open()
			must(x, x.derive())
		},
		act: (*attempt).revoke,
		check: func(x *attempt, err error) {
			if now := string(x.server.SessionIDContext()); (now == x.want) != (err != nil) {
				x.Errorf("the context is %x", now)
			}
			if err != nil {
				x.within(x.want)
			}
		},
	},
	{
		name: "Ctx.Revoke/in use",
		prepare: func(x *attempt) {
			x.open()
			must(x, x.derive())
			x.session = x.admits(x.server, x.honest).Session
		},
		act:   (*attempt).revoke,
		check: (*attempt).oldSessionAfter,
	},
	{
		name: "Hosts.Add",
		prepare: func(x *attempt) {
			x.open()
			must(x, x.derive())
		},
		setup: (*attempt).deriveTwin,
		act: func(x *attempt) error {
			x.hosts = openssl.NewHosts()
			return x.hosts.Add("server.test", x.server)
		},
		check: func(x *attempt, err error) {
			if (x.hosts.Lookup("server.test") != nil) != (err == nil) {
				x.Errorf("Lookup finds %v", x.hosts.Lookup("server.test"))
			}
			x.within(x.want)
		},
	},
}

func (x *attempt) derive() error {
	return x.server.DeriveSessionIDContext(openssl.SessionPolicy{Label: x.label})
}

// deriveTwin notes the context that open's server derives.
func (x *attempt) deriveTwin() {
	twin := tlstest.NewMutualServer(x, "a")
	must(x, twin.DeriveSessionIDContext(openssl.SessionPolicy{Label: x.label}))
	s, err := openssl.NewSSL(twin)
	must(x, err)
	must(x, s.Close())
	x.want = string(twin.SessionIDContext())
}

func (x *attempt) revoke() error {
	_, err := x.server.Revoke()
	return err
}

// within complains unless x.server works, and within this context.
func (x *attempt) within(want string) {
	x.resumes(x.server)
	if got := x.server.SessionIDContext(); string(got) != want {
		x.Errorf("the context is %x, want %x", got, want)
	}
}

// ---- machines ----

var sslScenarios = []mallocScenario{
	{
		name:    "NewSSL/server",
		prepare: (*attempt).open,
		act:     (*attempt).newServerSSL,
		check: func(x *attempt, err error) {
			if err == nil {
				x.refusesNobody()
			}
			x.within("a")
		},
	},
	{
		name:    "NewSSL/client",
		setup:   (*attempt).serveWithCAA,
		prepare: func(x *attempt) { x.client = tlstest.NewClient(x) },
		act:     (*attempt).newClientSSL,
		check: func(x *attempt, err error) {
			if err == nil {
				must(x, x.c.SetServerName("server.test"))
				x.clientRefuses(x.server)
			}
		},
	},
	{
		name:        "NewSSL/client with the system's roots",
		failsClosed: true,
		setup:       (*attempt).setSystemRoots,
		times:       3,
		prepare: func(x *attempt) {
			forgetSystemRoots(x)
			x.client = tlstest.BareClient(x)
		},
		act: (*attempt).newClientSSL,
		check: func(x *attempt, err error) {
			// If err, the roots are read again.
			x.admits(x.server, caller{"a client that trusts the system's roots", x.client})
		},
	},
	{
		name:        "NewSSL/client that trusts others beside the system's roots",
		failsClosed: true,
		setup:       (*attempt).setSystemRoots,
		times:       3,
		prepare: func(x *attempt) {
			x.client = tlstest.BareClient(x)
			must(x, x.client.AddVerifyCAs(x.caA.PEM))
		},
		act: (*attempt).newClientSSL,
		check: func(x *attempt, err error) {
			x.admits(x.server, caller{"a client that trusts another CA beside the system's roots", x.client})
		},
	},
	{
		name:  "SSL.SetSessionIDContext",
		setup: (*attempt).open,
		prepare: func(x *attempt) {
			x.c, x.s = tlstest.Machines(x, x.honest.Ctx, x.server)
		},
		act: func(x *attempt) error { return x.s.SetSessionIDContext([]byte("b")) },
		check: func(x *attempt, err error) {
			want := "b"
			if err != nil {
				want = "a"
			}
			tlstest.MustShake(x, x.c, x.s)
			if got := x.s.ConnectionState().SessionIDContext; string(got) != want {
				x.Errorf("the context is %q, want %q", got, want)
			}
		},
	},
	{
		name: "SSL.SetSession",
		setup: func(x *attempt) {
			x.open()
			x.session = x.admits(x.server, x.honest).Session
		},
		prepare: func(x *attempt) { x.c, x.s = tlstest.Machines(x, x.nobody.Ctx, x.server) },
		act:     func(x *attempt) error { return x.c.SetSession(x.session) },
		check: func(x *attempt, err error) {
			tlstest.Shake(x, x.c, x.s)
			if got := x.s.ConnectionState().DidResume; got != (err == nil) {
				x.Errorf("resumed: %v", got)
			}
		},
	},
	{
		// libcrypto reads a CA's extensions in the first handshake, and remembers them.
		name: "handshake/first of a server Ctx",
		prepare: func(x *attempt) {
			openVersion(tls.VersionTLS12)(x)
			x.c, x.s = tlstest.Machines(x, x.honest.Ctx, x.server)
		},
		act: func(x *attempt) error { return x.shake(serverSide, 0, nil) },
		check: func(x *attempt, err error) {
			x.mayBeClosed = err != nil // see failsClosed
			x.admits(x.server, x.honest)
			x.refuses(x.server, x.nobody)
		},
	},
	{
		name:    "SSL.SetCtx/a client without a certificate",
		prepare: func(x *attempt) { x.front(x.nobody) },
		act:     func(x *attempt) error { return x.s.SetCtx(x.server) },
		check:   (*attempt).switched,
	},
	{
		name:    "SSL.SetCtx/a client with a certificate",
		prepare: func(x *attempt) { x.front(x.honest) },
		act:     func(x *attempt) error { return x.s.SetCtx(x.server) },
		check:   (*attempt).switched,
	},
}

// connect makes machines of x.honest and x.server and does their handshake.
func (x *attempt) connect() {
	x.c, x.s = tlstest.Machines(x, x.honest.Ctx, x.server)
	tlstest.MustShake(x, x.c, x.s)
}

// setSystemRoots has the system's roots be the test CA, of a server.
func (x *attempt) setSystemRoots() {
	file := filepath.Join(x.TempDir(), "roots.pem")
	must(x, os.WriteFile(file, tlstest.Certs(x).PEM, 0o600))
	x.Setenv("SSL_CERT_FILE", file)
	x.Setenv("SSL_CERT_DIR", filepath.Join(x.TempDir(), "0"))
	x.server = tlstest.NewServer(x)
}

// forgetSystemRoots has them read again: it names another folder, which does not exist either.
func forgetSystemRoots(x *attempt) {
	parent, last := filepath.Split(os.Getenv("SSL_CERT_DIR"))
	next := map[string]string{"0": "1", "1": "0"}[last]
	must(x, os.Setenv("SSL_CERT_DIR", filepath.Join(parent, next)))
}

// serveWithCAA makes a server.test that honest clients do not trust.
func (x *attempt) serveWithCAA() {
	x.server = tlstest.BareServer(x)
	cert, key := x.caA.Leaf(x, "server.test", tlstest.ECKey(x), nil)
	must(x, x.server.UseCertificate(cert, key))
}

// refusesNobody complains if x.s, which has no connection yet, admits a client
// without a certificate.
func (x *attempt) refusesNobody() {
	c, err := openssl.NewSSL(x.nobody.Ctx)
	must(x, err)
	defer c.Close()
	must(x, c.SetServerName("server.test"))
	tlstest.Shake(x, c, x.s)
	if x.s.ConnectionState().HandshakeComplete {
		x.Errorf("%s is let in", x.nobody.name)
	}
}

// clientRefuses complains if x.c completes a handshake with server.
func (x *attempt) clientRefuses(server *openssl.Ctx) {
	s, err := openssl.NewSSL(server)
	must(x, err)
	defer s.Close()
	tlstest.Shake(x, x.c, s)
	if x.c.ConnectionState().HandshakeComplete {
		x.Errorf("the client goes on with a server that it does not trust")
	}
}

// front makes machines whose server, of x.other, asks for no certificate, and
// can be switched to x.server.
func (x *attempt) front(who caller) {
	x.open()
	x.other = tlstest.NewServer(x)
	x.c, x.s = tlstest.Machines(x, who.Ctx, x.other)
	x.who = who
}

// switched complains unless x.s does as x.server says, or after a failure as x.other.
func (x *attempt) switched(err error) {
	tlstest.Shake(x, x.c, x.s)
	state := x.s.ConnectionState()
	switch {
	case err != nil:
		if state.HandshakeComplete && len(state.SessionIDContext) > 0 {
			x.Errorf("the context is %q", state.SessionIDContext)
		}
	case x.who == x.nobody && state.HandshakeComplete:
		x.Errorf("%s is let in", x.nobody.name)
	case x.who == x.honest && (!state.HandshakeComplete || string(state.SessionIDContext) != "a" || len(state.PeerCertificates) != 1):
		x.Errorf("complete: %v, context %q, %d certificates", state.HandshakeComplete, state.SessionIDContext, len(state.PeerCertificates))
	}
}

// ---- SetServerName ----

// naming is a call of SetServerName, perhaps after another one, and the server
// that the client meets then.
type naming struct {
	name          string
	before, after string
	meets         []string
}

var namings = []naming{
	{name: "first", after: "b.test", meets: []string{"b.test", "c.test"}},
	{name: "second", before: "a.test", after: "b.test", meets: []string{"a.test", "b.test", "c.test"}},
	{name: "address", before: "a.test", after: "127.0.0.1", meets: []string{"a.test", "127.0.0.1", "c.test"}},
	{name: "name after an address", before: "127.0.0.1", after: "b.test", meets: []string{"127.0.0.1", "b.test", "c.test"}},
}

func namingScenarios() (all []mallocScenario) {
	for _, n := range namings {
		for _, meets := range n.meets {
			all = append(all, mallocScenario{
				name: "SSL.SetServerName/" + n.name + "/met by " + meets,
				setup: func(x *attempt) {
					x.server = tlstest.BareServer(x)
					must(x, x.server.UseCertificate(tlstest.Certs(x).Leaf(x, meets, tlstest.ECKey(x), func(c *x509.Certificate) {
						if ip := net.ParseIP(meets); ip != nil {
							c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
						}
					})))
				},
				prepare: func(x *attempt) {
					x.client = x.honest.Ctx
					must(x, x.newClientSSL())
					if n.before != "" {
						must(x, x.c.SetServerName(n.before))
					}
				},
				act: func(x *attempt) error { return x.c.SetServerName(n.after) },
				check: func(x *attempt, err error) {
					must(x, x.newServerSSL())
					tlstest.Shake(x, x.c, x.s)
					want := n.after
					if err != nil {
						want = n.before
					}
					complete := x.c.ConnectionState().HandshakeComplete
					if complete && meets != want {
						x.Errorf("the client goes on with %s, want %q", meets, want)
					}
					if err == nil && meets == want && !complete {
						x.Errorf("the client refuses %s", meets)
					}
				},
			})
		}
	}
	return all
}

// ---- handshakes ----

// mallocHandshake is a handshake of a client that has a certificate with a server
// that requires one, within the context "a". Both look into revocation lists: one
// that is empty, and a newer one.
type mallocHandshake struct {
	name   string
	only13 bool
	setup  func(x *attempt) // changes x.client or x.server, which are not in use yet
	calls  string           // the name that the client expects; server.test if empty

	fails  side // whose allocations fail
	pieces int  // as many bytes are fed at a time; 0 for all that there are
	staple bool // the client asks for an OCSP response, and gets oldStaple
	front  bool // the server is switched to x.server in its ClientHello

	// The side that must not complete the handshake. Without one both must, or
	// there must be an error.
	refuses side
}

type side int

const (
	neitherSide side = 0
	clientSide  side = 1
	serverSide  side = 2
	bothSides   side = clientSide | serverSide
)

var mallocHandshakes = []mallocHandshake{
	{name: "good", fails: bothSides},
	{name: "good in pieces", fails: serverSide, pieces: 50},
	{name: "good with a HelloRetryRequest", only13: true, fails: serverSide, setup: func(x *attempt) { must(x, x.server.SetGroups("P-256")) }},
	{name: "good through a front", fails: serverSide, front: true},
	{name: "good with an OCSP response", fails: bothSides, staple: true},
	{
		name: "good with a session id", fails: serverSide,
		setup: func(x *attempt) { must(x, x.server.SetOptions(openssl.OptionNoTicket)) },
	},
	{
		name: "no client certificate", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) { x.client = x.nobody.Ctx },
	},
	{
		name: "no client certificate, through a front", fails: serverSide, refuses: serverSide, front: true,
		setup: func(x *attempt) { x.client = x.nobody.Ctx },
	},
	{
		name: "a client of another CA", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) { x.client = x.stranger.Ctx },
	},
	{
		name: "a client that the function refuses", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) { x.pin(tlstest.Fixtures.ServerCert) },
	},
	{
		name: "a revoked client", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) { x.client = x.revoked.Ctx },
	},
	{
		name: "a client of a revoked issuing CA", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) {
			root := tlstest.NewAuthority(x, "root", nil)
			issuing := tlstest.NewAuthority(x, "issuing CA", root)
			x.client = x.clientOf(newIdentity(x, issuing, "client of it"))
			must(x, x.client.SetALPN("h2"))
			must(x, x.server.SetClientCAs(issuing.PEM))
			must(x, x.server.SetCRLs(slices.Concat(
				tlstest.RevocationList(x, root, 1, issuing.Cert.SerialNumber), tlstest.RevocationList(x, issuing, 1))))
		},
	},
	{
		name: "no common protocol", fails: serverSide, refuses: serverSide,
		setup: func(x *attempt) { must(x, x.client.SetALPN("other")) },
	},
	{
		name: "a server of another name", calls: "other.test", fails: clientSide, refuses: clientSide,
	},
	{
		name: "a server of another address", calls: "127.0.0.1", fails: clientSide, refuses: clientSide,
	},
	{
		name: "a server of another CA", fails: clientSide, refuses: clientSide,
		setup: func(x *attempt) { must(x, x.client.SetVerifyCAs(x.caA.PEM)) },
	},
	{
		name: "a revoked server", fails: clientSide, refuses: clientSide,
		setup: func(x *attempt) {
			cert, key := tlstest.Certs(x).Leaf(x, "server.test", tlstest.ECKey(x), nil)
			must(x, x.server.UseCertificate(cert, key))
			must(x, x.client.SetCRLs(tlstest.RevocationList(x, tlstest.Certs(x), 2, tlstest.ParseCert(x, cert).SerialNumber)))
		},
	},
}

// pin has a function alone decide on client certificates, and accept one.
func (x *attempt) pin(cert []byte) {
	good := tlstest.ParseCert(x, cert)
	must(x, x.server.SetVerify(openssl.VerifyDefer|openssl.VerifyPeer))
	must(x, x.server.SetVerifyConnection(func(state openssl.ConnectionState) error {
		if len(state.PeerCertificates) == 1 && state.PeerCertificates[0].Equal(good) {
			return nil
		}
		return errors.New("openssl: another certificate is expected")
	}))
}

func handshakeScenarios(version string, v uint16) (all []mallocScenario) {
	for _, h := range mallocHandshakes {
		if h.only13 && v < tls.VersionTLS13 {
			continue
		}
		all = append(all, mallocScenario{
			name: "handshake/" + version + "/" + h.name,
			setup: func(x *attempt) {
				x.open()
				older := tlstest.RevocationList(x, tlstest.Certs(x), 0)
				must(x, x.server.SetCRLs(slices.Concat(older, x.crls)))
				must(x, x.server.SetKeyLogWriter(io.Discard))
				must(x, x.server.SetALPN("h2"))
				tlstest.SetVersion(x, x.server, v)
				for _, who := range []caller{x.honest, x.nobody, x.stranger, x.revoked} {
					must(x, who.SetALPN("h2"))
					tlstest.SetVersion(x, who.Ctx, v)
				}
				x.client = x.honest.Ctx
				must(x, x.client.SetCRLs(slices.Concat(older, x.crls)))
				if h.setup != nil {
					h.setup(x)
				}
				if h.staple {
					must(x, x.client.SetOCSPRequest(true))
					must(x, x.server.SetOCSPResponse(oldStaple))
				}
				x.other = x.server
				if h.front {
					x.other = tlstest.NewServer(x)
					must(x, x.other.SetClientHelloFunc(tlstest.Stay))
				}
			},
			prepare: func(x *attempt) {
				x.c, x.s = tlstest.Machines(x, x.client, x.other)
				x.Cleanup(func() { x.server.FlushSessions(endOfTime) })
				if h.calls != "" {
					must(x, x.c.SetServerName(h.calls))
				}
			},
			act:     func(x *attempt) error { return x.shake(h.fails, h.pieces, x.answerFront) },
			refused: h.refuses != neitherSide,
			check: func(x *attempt, err error) {
				client, server := x.c.ConnectionState(), x.s.ConnectionState()
				switch {
				case h.refuses == clientSide && client.HandshakeComplete:
					x.Errorf("the client goes on with this server")
				case h.refuses == serverSide && server.HandshakeComplete:
					x.Errorf("the server lets this client in")
				case h.refuses == neitherSide:
					x.wellConnected(err, client, server)
					if h.staple && err == nil && !bytes.Equal(client.OCSPResponse, oldStaple) {
						x.Errorf("the client has the OCSP response %q", client.OCSPResponse)
					}
				}
			},
		})
	}
	return all
}

// answerFront switches a front to x.server.
func (x *attempt) answerFront() {
	_, err := x.s.ClientHello()
	if err == nil {
		err = x.s.SetCtx(x.server)
	}
	if err != nil {
		x.s.Refuse(80)
	}
}

// wellConnected complains about a connection that lacks what its ends ask for.
func (x *attempt) wellConnected(err error, client, server openssl.ConnectionState) {
	if err == nil && !(client.HandshakeComplete && server.HandshakeComplete) {
		x.Errorf("there is neither an error nor a connection")
	}
	if server.HandshakeComplete && (string(server.SessionIDContext) != "a" || len(server.PeerCertificates) != 1 || server.NegotiatedProtocol != "h2") {
		x.Errorf("the server has context %q, %d certificates, protocol %q",
			server.SessionIDContext, len(server.PeerCertificates), server.NegotiatedProtocol)
	}
	if client.HandshakeComplete && (client.VerifyError != nil || len(client.PeerCertificates) != 1) {
		x.Errorf("the client has %v, %d certificates", client.VerifyError, len(client.PeerCertificates))
	}
}

// shake is the handshake of x.c and x.s, in which the allocations of one side or
// both fail.
func (x *attempt) shake(fails side, pieces int, answer func()) error {
	var c, s tlstest.Machine = x.c, x.s
	if fails&clientSide == 0 {
		c = unfailing{x.c}
	}
	if fails&serverSide == 0 {
		s = unfailing{x.s}
	}
	if pieces > 0 {
		c, s = piecewise{c, pieces}, piecewise{s, pieces}
	}
	clientErr, serverErr := tlstest.ShakeAnswering(x, c, s, func(tlstest.Machine) {
		if answer != nil {
			answer()
		}
	})
	return errors.Join(clientErr, serverErr)
}

// unfailing is a machine whose allocations do not fail.
type unfailing struct{ *openssl.SSL }

func (m unfailing) Handshake() (w openssl.Want, err error) {
	libssl.WithoutMalloc(func() { w, err = m.SSL.Handshake() })
	return w, err
}

func (m unfailing) Read(p []byte) (n int, w openssl.Want, err error) {
	libssl.WithoutMalloc(func() { n, w, err = m.SSL.Read(p) })
	return n, w, err
}

// piecewise is a machine that gets most bytes at a time.
type piecewise struct {
	tlstest.Machine
	most int
}

func (m piecewise) Feed(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, m.most) {
		k, err := m.Machine.Feed(piece)
		if n += k; err != nil {
			return n, err
		}
		m.Handshake() // what it says, it says again
	}
	return n, nil
}

// ---- resumption ----

// mallocResumption is a session that a client without a certificate offers to a
// server that requires one.
type mallocResumption struct {
	name    string
	fails   side
	refused bool // the client must not be let in
	ignored bool // nor the session be resumed: a full handshake follows, in which the client has no certificate

	atMaker   func(t testing.TB, s tlstest.SidSetter) // told to the server's connection that makes the session
	elsewhere func(t testing.TB, other *openssl.Ctx)  // told to the other Ctx that makes the session
	lax       bool                                    // that is, by a client without a certificate
	edit      func(x *attempt)                        // changes x.der: for stores, and TLS 1.2 alone
}

var mallocResumptions = []mallocResumption{
	{name: "its own", fails: bothSides},
	{
		name: "another context's", fails: serverSide, refused: true,
		atMaker: func(t testing.TB, s tlstest.SidSetter) { must(t, s.SetSessionIDContext([]byte("b"))) },
	},
	{
		name: "a client's without a certificate", fails: serverSide, refused: true, lax: true,
		elsewhere: func(t testing.TB, other *openssl.Ctx) { must(t, other.SetVerify(openssl.VerifyPeer)) },
	},
	{
		name: "a client's whose authentication is too old", fails: serverSide, refused: true, ignored: true,
		elsewhere: withoutChecks,
		edit: func(x *attempt) {
			const age = 25 * 60 * 60 // an hour more than is accepted by default
			x.der = tlstest.EditSession(x, x.der, tlstest.FieldTime, tlstest.Integer(x, time.Now().Unix()-age))
			x.der = tlstest.EditSession(x, x.der, tlstest.FieldTimeout, tlstest.Integer(x, 2*age))
		},
	},
	{
		name: "a client's whose certificate has expired", fails: serverSide, refused: true,
		elsewhere: withoutChecks,
		edit: func(x *attempt) {
			expired, _ := tlstest.Certs(x).Leaf(x, "client.test", tlstest.ECKey(x), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			x.der = tlstest.EditSession(x, x.der, tlstest.FieldPeer, tlstest.ParseCert(x, expired).Raw)
		},
	},
}

// withoutChecks has sessions made that do not say when they end.
func withoutChecks(t testing.TB, other *openssl.Ctx) {
	must(t, other.SetMaxAuthAge(0))
	must(t, other.SetResumptionChecks(false))
}

// rememberings is how a session is remembered.
var rememberings = []string{"ticket", "id", "store", "store and cache"}

// endOfTime is when all sessions have expired.
var endOfTime = time.Now().Add(1000 * time.Hour)

func resumptionScenarios(version string, v uint16) (all []mallocScenario) {
	for _, how := range rememberings {
		for _, r := range mallocResumptions {
			switch {
			case how == "id" && r.elsewhere != nil: // one Ctx has one cache
				continue
			case r.edit != nil && (!strings.HasPrefix(how, "store") || v > tls.VersionTLS12):
				continue
			}
			all = append(all, mallocScenario{
				name: "resumption/" + version + "/" + how + "/" + r.name,
				setup: func(x *attempt) {
					tlstest.SetVersion(x, x.honest.Ctx, v)
					tlstest.SetVersion(x, x.nobody.Ctx, v)
					x.keys = ticketKeys(1)
					x.openFor(how)
					if how != "id" {
						x.remember(how, r)
					}
				},
				prepare: func(x *attempt) {
					if how == "id" { // is good for one resumption
						x.remember(how, r)
					}
					x.Cleanup(func() { x.server.FlushSessions(endOfTime) })
					x.c, x.s = tlstest.Machines(x, x.nobody.Ctx, x.server)
					offer, err := openssl.ParseSession(x.offer)
					must(x, err)
					defer offer.Close()
					must(x, x.c.SetSession(offer))
				},
				act: func(x *attempt) error {
					return x.shake(r.fails, 0, func() {
						if x.der != nil {
							x.s.AnswerSession(x.der)
						}
					})
				},
				refused: r.refused,
				check: func(x *attempt, err error) {
					state := x.s.ConnectionState()
					switch {
					case r.refused && state.HandshakeComplete:
						x.Errorf("the server lets this client in")
					case r.ignored && state.DidResume:
						x.Errorf("the server resumes this session")
					case !r.refused && err == nil && !state.HandshakeComplete:
						x.Errorf("there is neither an error nor a connection")
					case !r.refused && state.HandshakeComplete &&
						(!state.DidResume || string(state.SessionIDContext) != "a" || len(state.PeerCertificates) != 1):
						x.Errorf("the server has resumed: %v, context %q, %d certificates", state.DidResume,
							state.SessionIDContext, len(state.PeerCertificates))
					}
					x.parses(x.s.MadeSessions())
				},
			})
		}
	}
	return all
}

// openFor is open for sessions that are remembered like this.
func (x *attempt) openFor(how string) {
	x.open()
	switch how {
	case "ticket":
		must(x, x.server.SetTicketKeys(x.keys...))
	case "id":
		must(x, x.server.SetOptions(openssl.OptionNoTicket))
	case "store":
		must(x, x.server.SetOptions(openssl.OptionNoTicket))
		must(x, x.server.SetSessionStore(noStore{}))
	case "store and cache": // a caller of AnswerSession without SetSessionStore
		must(x, x.server.SetOptions(openssl.OptionNoTicket))
		must(x, x.server.SetClientHelloFunc(tlstest.Stay))
	}
}

// remember makes a session: x.offer is the client's, x.der what a store keeps.
func (x *attempt) remember(how string, r mallocResumption) {
	maker, who := x.server, x.honest
	if r.elsewhere != nil {
		x.openFor(how)
		maker, x.server = x.server, maker
		r.elsewhere(x, maker)
	}
	if r.lax {
		who = x.nobody
	}
	c, s := tlstest.Machines(x, who.Ctx, maker)
	if r.atMaker != nil {
		r.atMaker(x, s)
	}
	tlstest.MustShake(x, c, s)
	x.offer = x.derOf(c)
	switch how {
	case "store":
		all := s.MadeSessions()
		x.der = all[len(all)-1] // the client offers its newest
	case "store and cache":
		x.der = x.derOf(s)
		must(x, maker.FlushSessions(endOfTime))
	}
	if r.edit != nil {
		r.edit(x)
		sess, err := openssl.ParseSession(x.der)
		must(x, err)
		must(x, sess.Close())
	}
	tlstest.Goodbye(x, c, s)
}

// derOf is a machine's session.
func (x *attempt) derOf(m *openssl.SSL) []byte {
	sess, err := m.Session()
	must(x, err)
	defer sess.Close()
	der, err := sess.MarshalBinary()
	must(x, err)
	return der
}

// parses complains about what is no session of the context "a".
func (x *attempt) parses(ders [][]byte) {
	for _, der := range ders {
		sess, err := openssl.ParseSession(der)
		if err != nil {
			x.Errorf("what the store would get is no session: %v", err)
			continue
		}
		if got := sess.IDContext(); string(got) != "a" {
			x.Errorf("the store would get a session of context %q", got)
		}
		must(x, sess.Close())
	}
}

// ---- connections and sessions ----

func connectionScenarios(version string, v uint16) []mallocScenario {
	connect := (*attempt).connect
	setup := func(x *attempt) {
		tlstest.SetVersion(x, x.honest.Ctx, v)
		x.open()
	}
	// Sessions of either version have parts that those of the other have not.
	setupSession := func(x *attempt) {
		setup(x)
		connect(x)
		x.der = x.derOf(x.c)
		var err error
		x.session, err = openssl.ParseSession(x.der)
		must(x, err)
		x.Cleanup(func() { x.session.Close() })
		x.pem, err = x.session.MarshalPEM()
		must(x, err)
	}
	message := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	all := []mallocScenario{
		{
			name: "handshake/with a store",
			setup: func(x *attempt) {
				tlstest.SetVersion(x, x.honest.Ctx, v)
				x.openFor("store")
			},
			prepare: func(x *attempt) { x.c, x.s = tlstest.Machines(x, x.honest.Ctx, x.server) },
			act:     func(x *attempt) error { return x.shake(serverSide, 0, nil) },
			check:   func(x *attempt, err error) { x.parses(x.s.MadeSessions()) },
		},
		{
			name: "handshake/after Revoke",
			setup: func(x *attempt) {
				tlstest.SetVersion(x, x.honest.Ctx, v)
				tlstest.SetVersion(x, x.nobody.Ctx, v)
				x.open()
				must(x, x.derive())
				connect(x)
				x.session = tlstest.SessionOf(x, x.c)
			},
			prepare: func(x *attempt) {
				x.c, x.s = tlstest.Machines(x, x.nobody.Ctx, x.server)
				must(x, x.c.SetSession(x.session))
				must(x, x.revoke())
			},
			act:     func(x *attempt) error { return x.shake(serverSide, 0, nil) },
			refused: true,
			check: func(x *attempt, err error) {
				if x.s.ConnectionState().HandshakeComplete {
					x.Errorf("a revoked session is resumed")
				}
			},
		},
		{
			name: "SSL.Write", setup: setup, prepare: connect,
			act: func(x *attempt) error {
				n, _, err := x.c.Write(message)
				if err == nil && n != len(message) {
					x.Errorf("%d bytes of %d are written, and there is no error", n, len(message))
				}
				return err
			},
			check: func(x *attempt, err error) {
				tlstest.Carry(x, x.c, x.s)
				x.gets(message, err == nil)
			},
		},
		{
			name: "SSL.Read", setup: setup,
			prepare: func(x *attempt) {
				connect(x)
				_, _, err := x.c.Write(message)
				must(x, err)
				tlstest.Carry(x, x.c, x.s)
			},
			act:   func(x *attempt) error { return x.read(len(message)) },
			check: func(x *attempt, err error) { x.gets(message, err == nil) },
		},
		{
			name: "SSL.Shutdown", setup: setup, prepare: connect,
			act: func(x *attempt) error {
				_, err := x.s.Shutdown()
				return err
			},
			check: func(x *attempt, err error) {
				tlstest.Carry(x, x.s, x.c)
				if _, _, got := x.c.Read(make([]byte, 1)); err == nil && got != io.EOF {
					x.Errorf("the peer reads %v", got)
				}
			},
		},
		{
			name: "SSL.ExportKeyingMaterial", setup: setup, prepare: connect,
			act: func(x *attempt) (err error) {
				x.got, err = x.c.ExportKeyingMaterial("label", nil, 32)
				return err
			},
			check: func(x *attempt, err error) {
				want, wantErr := x.s.ExportKeyingMaterial("label", nil, 32)
				must(x, wantErr)
				if err == nil && !bytes.Equal(x.got, want) {
					x.Errorf("the ends have different keying material")
				}
			},
		},
		{
			name: "SSL.ConnectionState", setup: setup, prepare: connect,
			act: func(x *attempt) error {
				x.state = x.s.ConnectionState()
				return x.state.VerifyError
			},
			check: func(x *attempt, err error) {
				if n := len(x.state.PeerCertificates); err == nil && n != 1 {
					x.Errorf("%d certificates, and no error", n)
				}
				if state := x.s.ConnectionState(); len(state.PeerCertificates) != 1 || state.VerifyError != nil {
					x.Errorf("ConnectionState has failed once, and now it is %d certificates, %v", len(state.PeerCertificates), state.VerifyError)
				}
			},
		},
		{
			name: "ParseSession", setup: setupSession,
			act:   func(x *attempt) error { return x.parse(openssl.ParseSession(x.der)) },
			check: func(x *attempt, err error) { x.equals(x.parsed, err, "") },
		},
		{
			name: "ParseSessionPEM", setup: setupSession,
			act:   func(x *attempt) error { return x.parse(openssl.ParseSessionPEM(x.pem)) },
			check: func(x *attempt, err error) { x.equals(x.parsed, err, "") },
		},
		{
			name: "Session.MarshalBinary", setup: setupSession,
			act: func(x *attempt) (err error) {
				x.got, err = x.session.MarshalBinary()
				return err
			},
			check: func(x *attempt, err error) {
				if err == nil && !bytes.Equal(x.got, x.der) {
					x.Errorf("MarshalBinary has lost something")
				}
			},
		},
		{
			name: "Session.MarshalPEM", setup: setupSession,
			act: func(x *attempt) (err error) {
				x.got, err = x.session.MarshalPEM()
				return err
			},
			check: func(x *attempt, err error) {
				if err == nil && !bytes.Equal(x.got, x.pem) {
					x.Errorf("MarshalPEM has lost something")
				}
			},
		},
		{
			name: "Session.Clone", setup: setupSession,
			act:   func(x *attempt) error { return x.parse(x.session.Clone()) },
			check: func(x *attempt, err error) { x.equals(x.parsed, err, "") },
		},
		{
			name: "Session.SetIDContext", setup: setupSession,
			prepare: func(x *attempt) { must(x, x.parse(openssl.ParseSession(x.der))) },
			act:     func(x *attempt) error { return x.parsed.SetIDContext([]byte("b")) },
			check: func(x *attempt, err error) {
				if err != nil {
					x.equals(x.parsed, nil, "")
				} else {
					x.equals(x.parsed, nil, "b")
				}
			},
		},
	}
	for i := range all {
		name, rest, _ := strings.Cut(all[i].name, "/")
		all[i].name = name + "/" + version
		if rest != "" {
			all[i].name += "/" + rest
		}
	}
	return all
}

// read has x.s read n bytes into x.got.
func (x *attempt) read(n int) error {
	for p := make([]byte, n); len(x.got) < n; {
		k, w, err := x.s.Read(p)
		if x.got = append(x.got, p[:k]...); err != nil {
			return err
		}
		if k == 0 {
			return fmt.Errorf("openssl: a read wants %v", w)
		}
	}
	return nil
}

// gets complains unless x.s has read the beginning of message, and what is left of it.
func (x *attempt) gets(message []byte, whole bool) {
	err := x.read(len(message))
	if !bytes.HasPrefix(message, x.got) {
		x.Errorf("what is read is not what was written")
	}
	if whole && err != nil {
		x.Errorf("after %d bytes: %v", len(x.got), err)
	}
}

// parse takes x.parsed.
func (x *attempt) parse(sess *openssl.Session, err error) error {
	if err == nil {
		x.parsed = sess
		x.Cleanup(func() { sess.Close() })
	}
	return err
}

// equals complains unless sess is x.session in this context.
func (x *attempt) equals(sess *openssl.Session, err error, sidCtx string) {
	if err != nil {
		return
	}
	if got := sess.IDContext(); string(got) != sidCtx {
		x.Errorf("the session's context is %q, want %q", got, sidCtx)
		return
	}
	must(x, sess.SetIDContext(nil))
	der, err := sess.MarshalBinary()
	must(x, err)
	if !bytes.Equal(der, x.der) {
		x.Errorf("the session is another one")
	}
}
