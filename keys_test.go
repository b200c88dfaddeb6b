//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestUseCertificateRefuses(t *testing.T) {
	ca := tlstest.Certs(t)
	rsaCert, rsaPEM := ca.Leaf(t, "server.test", tlstest.RSAKey(), nil)
	other := tlstest.KeyPEM(t, tlstest.ECKey(t))
	broken := bytes.Replace(tlstest.Fixtures.ServerCert, []byte("MII"), []byte("AAA"), 1)
	cases := []struct {
		name      string
		cert, key []byte
		says      []string
	}{
		{"nothing", nil, nil, []string{"certificate"}},
		{"empty", []byte{}, []byte{}, []string{"certificate", "no start line"}},
		{"no certificate", nil, tlstest.Fixtures.ServerKey, []string{"certificate"}},
		{"no key", tlstest.Fixtures.ServerCert, nil, []string{"private key"}},
		{"empty key", tlstest.Fixtures.ServerCert, []byte{}, []string{"private key"}},
		{"garbage", []byte("garbage"), tlstest.Fixtures.ServerKey, []string{"certificate", "no start line"}},
		{"garbage for a key", tlstest.Fixtures.ServerCert, []byte("garbage"), []string{"private key"}},
		{"key in the certificate's place", tlstest.Fixtures.ServerKey, tlstest.Fixtures.ServerKey, []string{"certificate", "no start line"}},
		{"certificate in the key's place", tlstest.Fixtures.ServerCert, tlstest.Fixtures.ServerCert, []string{"private key"}},
		{"swapped", tlstest.Fixtures.ServerKey, tlstest.Fixtures.ServerCert, []string{"certificate"}},
		{"a broken certificate", broken, tlstest.Fixtures.ServerKey, []string{"certificate"}},
		{"a certificate cut short", tlstest.Fixtures.ServerCert[:len(tlstest.Fixtures.ServerCert)/2], tlstest.Fixtures.ServerKey, []string{"certificate"}},
		{"a broken one in the chain", append(bytes.Clone(tlstest.Fixtures.ServerCert), broken...), tlstest.Fixtures.ServerKey, []string{"certificate"}},
		{"another's key", tlstest.Fixtures.ServerCert, other, []string{"certificate and private key", "mismatch"}},
		{"a key of another type", tlstest.Fixtures.ServerCert, rsaPEM, []string{"certificate and private key", "mismatch"}},
		{"an EC key for an RSA certificate", rsaCert, tlstest.Fixtures.ServerKey, []string{"certificate and private key", "mismatch"}},
		{"an encrypted key, traditional", tlstest.Fixtures.ServerCert, encryptedEC(t), []string{"the private key is encrypted", "decrypted"}},
		{"an encrypted key, PKCS #8", tlstest.Fixtures.ServerCert, encryptedPKCS8(t), []string{"the private key is encrypted", "decrypted"}},
		{"a public key", tlstest.Fixtures.ServerCert, publicPEM(t), []string{"private key"}},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			err := c.UseCertificate(x.cert, x.key)
			tlstest.Sentence(t, err, x.says...)
			if _, ok := tlstest.AsType[*openssl.Error](err); !ok {
				t.Errorf("%v holds no *Error", err)
			}
			// The certificate from before is in force.
			e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: c})
			if got := e.Client.PeerCertificates; len(got) != 1 || !bytes.Equal(tlstest.CertPEM(got[0].Raw), tlstest.Fixtures.ServerCert) {
				t.Errorf("the client saw %d certificates, not the one from before", len(got))
			}
		})
		t.Run(x.name+", on an empty Ctx", func(t *testing.T) {
			c := tlstest.BareServer(t)
			if c.UseCertificate(x.cert, x.key) == nil {
				t.Fatal("taken")
			}
			_, err := openssl.NewSSL(c)
			tlstest.Sentence(t, err, "UseCertificate")
		})
	}
}

// encryptedEC is a key in the older PEM form, which says so in headers. The
// password is asked for before the bytes matter.
func encryptedEC(t *testing.T) []byte {
	t.Helper()
	sealed := make([]byte, 128)
	rand.Read(sealed)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sealed, Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED",
		"DEK-Info":  "AES-128-CBC," + strings.ToUpper(hex.EncodeToString(sealed[:16])),
	}})
}

// encryptedPKCS8 is an EncryptedPrivateKeyInfo.
func encryptedPKCS8(t *testing.T) []byte {
	t.Helper()
	sealed := make([]byte, 128)
	rand.Read(sealed)
	der, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Sealed    []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}}, sealed})
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
}

func publicPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(tlstest.ECKey(t).Public())
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func TestUseCertificateChain(t *testing.T) {
	ca := tlstest.Certs(t)
	inter := tlstest.NewAuthority(t, "intermediate", ca)
	leaf, key := inter.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	t.Run("sent and verified", func(t *testing.T) {
		c := tlstest.BareServer(t)
		must(t, c.UseCertificate(append(bytes.Clone(leaf), inter.PEM...), key))
		e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: c})
		got := e.Client.PeerCertificates
		if len(got) != 2 || got[0].DNSNames[0] != "server.test" || got[1].Subject.CommonName != "intermediate" {
			t.Errorf("the client saw %d certificates", len(got))
		}
	})
	t.Run("left out", func(t *testing.T) {
		c := tlstest.BareServer(t)
		must(t, c.UseCertificate(leaf, key))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: c})
		verify, ok := tlstest.AsType[*openssl.VerifyError](e.ClientErr)
		if !ok {
			t.Fatalf("client: %v, want a VerifyError", e.ClientErr)
		}
		tlstest.Sentence(t, e.ClientErr, "certificate verify failed", verify.Reason, "unable to get local issuer certificate")
		if alert, _ := tlstest.AsType[tls.AlertError](e.ServerErr); alert != 48 {
			t.Errorf("server: %v, want unknown_ca", e.ServerErr)
		}
	})
	t.Run("a client's, seen by the server", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
		clientLeaf, clientKey := inter.Leaf(t, "client.test", tlstest.ECKey(t), nil)
		must(t, client.UseCertificate(append(bytes.Clone(clientLeaf), inter.PEM...), clientKey))
		e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
		if got := e.Server.PeerCertificates; len(got) != 2 || got[1].Subject.CommonName != "intermediate" {
			t.Errorf("the server saw %d certificates", len(got))
		}
	})
	t.Run("too deep", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.BareServer(t)
		deep := tlstest.NewAuthority(t, "deeper", inter)
		deepLeaf, deepKey := deep.Leaf(t, "server.test", tlstest.ECKey(t), nil)
		must(t, server.UseCertificate(bytes.Join([][]byte{deepLeaf, deep.PEM, inter.PEM}, nil), deepKey))
		must(t, client.SetVerifyDepth(1))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
		if _, ok := tlstest.AsType[*openssl.VerifyError](e.ClientErr); !ok {
			t.Errorf("client: %v, want a VerifyError", e.ClientErr)
		}
	})
}

func TestUseCertificateTwoKeyTypes(t *testing.T) {
	ca := tlstest.Certs(t)
	server := tlstest.NewServer(t)
	rsaCert, rsaPEM := ca.Leaf(t, "server.test", tlstest.RSAKey(), nil)
	must(t, server.UseCertificate(rsaCert, rsaPEM))
	for list, want := range map[string]x509.PublicKeyAlgorithm{"aRSA": x509.RSA, "aECDSA": x509.ECDSA} {
		t.Run(list, func(t *testing.T) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, tls.VersionTLS12)
			must(t, client.SetCipherList(list))
			e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
			if got := e.Client.PeerCertificates[0].PublicKeyAlgorithm; got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestUseCertificateReplaces(t *testing.T) {
	ca := tlstest.Certs(t)
	server := tlstest.NewServer(t)
	inter := tlstest.NewAuthority(t, "intermediate", ca)
	old, oldKey := inter.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	must(t, server.UseCertificate(append(bytes.Clone(old), inter.PEM...), oldKey))
	cert, key := ca.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	must(t, server.UseCertificate(cert, key))
	e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
	if got := e.Client.PeerCertificates; len(got) != 1 || !bytes.Equal(tlstest.CertPEM(got[0].Raw), cert) {
		t.Errorf("the client saw %d certificates, not the new one alone", len(got))
	}
}

// UseCertificate copies: what the caller does to its bytes afterwards is its own.
func TestUseCertificateCopies(t *testing.T) {
	tlstest.Certs(t)
	server := tlstest.BareServer(t)
	cert, key := bytes.Clone(tlstest.Fixtures.ServerCert), bytes.Clone(tlstest.Fixtures.ServerKey)
	must(t, server.UseCertificate(cert, key))
	clear(cert)
	clear(key)
	tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
}

func TestUseCertificateFiles(t *testing.T) {
	tlstest.Certs(t)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	cert, key := write("cert.pem", tlstest.Fixtures.ServerCert), write("key.pem", tlstest.Fixtures.ServerKey)
	one := write("both.pem", append(bytes.Clone(tlstest.Fixtures.ServerKey), tlstest.Fixtures.ServerCert...))
	garbage, missing := write("garbage.pem", []byte("garbage")), filepath.Join(dir, "missing.pem")

	for name, files := range map[string][2]string{"two files": {cert, key}, "one file": {one, one}} {
		t.Run(name, func(t *testing.T) {
			c := tlstest.BareServer(t)
			must(t, c.UseCertificateFiles(files[0], files[1]))
			tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: c})
		})
	}
	for _, x := range []struct {
		name, cert, key string
		is              error
		says            []string
	}{
		{"no certificate file", missing, key, fs.ErrNotExist, []string{"certificate", missing}},
		{"no key file", cert, missing, fs.ErrNotExist, []string{"private key", missing}},
		{"no names", "", "", fs.ErrNotExist, []string{"certificate"}},
		{"a folder", dir, key, nil, []string{"certificate", dir}},
		{"garbage", garbage, key, nil, []string{"certificate", garbage}},
		{"a garbage key", cert, garbage, nil, []string{"private key", garbage}},
		{"swapped", key, cert, nil, []string{"certificate", key}},
		{"a NUL byte", "a\x00b", key, nil, []string{"certificate"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			err := tlstest.NewServer(t).UseCertificateFiles(x.cert, x.key)
			tlstest.Sentence(t, err, x.says...)
			if x.is != nil && !errors.Is(err, x.is) {
				t.Errorf("%v is not %v", err, x.is)
			}
		})
	}
}

// ---- encrypted keys ----

// opensslCommand is what the openssl command prints about input.
func opensslCommand(t testing.TB, input []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = bytes.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &said)
	}
	return out
}

// rfc1423 encrypts a key as openssl did before 1.0.
func rfc1423(t testing.TB, keyPEM, passphrase []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(keyPEM)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	must(t, err)
	//lint:ignore SA1019 OpenSSL still reads it
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, passphrase, x509.PEMCipherAES256)
	must(t, err)
	return pem.EncodeToMemory(sealed)
}

// pkcs8 encrypts a key in one of the ways of openssl pkcs8.
func pkcs8(t testing.TB, keyPEM []byte, passphrase string, args ...string) []byte {
	t.Helper()
	return opensslCommand(t, keyPEM, append([]string{"pkcs8", "-topk8", "-passout", "pass:" + passphrase}, args...)...)
}

// shows fails unless a server shows a certificate.
func shows(t testing.TB, server *openssl.Ctx, cert []byte) {
	t.Helper()
	e := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
	if got := e.Client.PeerCertificates; len(got) != 1 || !bytes.Equal(tlstest.CertPEM(got[0].Raw), cert) {
		t.Errorf("the client saw %d certificates, not the one in force", len(got))
	}
}

// refusedPassphrase looks at an error for a passphrase that is not the key's.
func refusedPassphrase(t testing.TB, err error, parts ...string) {
	t.Helper()
	tlstest.Sentence(t, err, parts...)
	if _, ok := tlstest.AsType[*openssl.Error](err); !ok || !errors.Is(err, x509.IncorrectPasswordError) {
		t.Errorf("%v holds no *Error, or is not x509.IncorrectPasswordError", err)
	}
}

func TestUseEncryptedCertificate(t *testing.T) {
	const passphrase = "a passphrase"
	cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
	for name, sealed := range map[string][]byte{
		"RFC 1423":             rfc1423(t, key, []byte(passphrase)),
		"PKCS #8, PBES2":       pkcs8(t, key, passphrase, "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"),
		"PKCS #8, scrypt":      pkcs8(t, key, passphrase, "-scrypt"),
		"PKCS #8, PBES1":       pkcs8(t, key, passphrase, "-v1", "PBE-SHA1-3DES"),
		"beside a certificate": append(bytes.Clone(cert), pkcs8(t, key, passphrase)...),
	} {
		t.Run(name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			refusedPassphrase(t, c.UseEncryptedCertificate(cert, sealed, []byte("another passphrase")), "the passphrase does not decrypt the private key")
			refusedPassphrase(t, c.UseEncryptedCertificate(cert, sealed, nil), "the passphrase is empty")
			refusedPassphrase(t, c.UseEncryptedCertificate(cert, sealed, []byte{}), "the passphrase is empty")
			tlstest.Sentence(t, c.UseCertificate(cert, sealed), "the private key is encrypted", "UseEncryptedCertificate")
			shows(t, c, tlstest.Fixtures.ServerCert)

			c = tlstest.NewServer(t)
			must(t, c.UseEncryptedCertificate(cert, sealed, []byte(passphrase)))
			shows(t, c, cert)
		})
	}
}

// What padding makes of a wrong passphrase looks right once in 256 times.
func TestUseEncryptedCertificateLuckyPadding(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it tries a thousand passphrases")
	}
	sealed := rfc1423(t, tlstest.KeyPEM(t, tlstest.ECKey(t)), []byte("secret"))
	c := tlstest.NewServer(t)
	for i := range 1000 {
		if err := c.UseEncryptedCertificate(tlstest.Fixtures.ServerCert, sealed, []byte(strconv.Itoa(i))); !errors.Is(err, x509.IncorrectPasswordError) {
			t.Fatalf("passphrase %d: %v", i, err)
		}
	}
}

func TestUseEncryptedCertificatePassphrases(t *testing.T) {
	cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
	for name, passphrase := range map[string]string{
		"empty":      "",
		"NUL bytes":  "a\x00b\x00",
		"no text":    "\xff\xfe",
		"1024 bytes": strings.Repeat("x", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			sealed := rfc1423(t, key, []byte(passphrase))
			refusedPassphrase(t, c.UseEncryptedCertificate(cert, sealed, []byte("another")))
			must(t, c.UseEncryptedCertificate(cert, sealed, []byte(passphrase)))
			shows(t, c, cert)
		})
	}
	t.Run("empty, PKCS #8", func(t *testing.T) {
		c := tlstest.NewServer(t)
		must(t, c.UseEncryptedCertificate(cert, pkcs8(t, key, ""), nil))
		shows(t, c, cert)
	})
	t.Run("too long", func(t *testing.T) {
		// OpenSSL's own callback would cut it, and the key would open.
		long := []byte(strings.Repeat("x", 1025))
		err := tlstest.NewServer(t).UseEncryptedCertificate(cert, rfc1423(t, key, long[:1024]), long)
		tlstest.Sentence(t, err, "1025 bytes", "at most 1024")
	})
}

func TestUseEncryptedCertificateRefuses(t *testing.T) {
	cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
	sealed := pkcs8(t, key, "secret")
	for _, x := range []struct {
		name      string
		cert, key []byte
		says      []string
	}{
		{"a key that is not encrypted", cert, key, []string{"the private key is not encrypted", "UseCertificate"}},
		{"no key", cert, nil, []string{"private key"}},
		{"garbage", cert, []byte("garbage"), []string{"private key"}},
		{"no certificate", nil, sealed, []string{"certificate"}},
		{"an encrypted certificate", encrypted(t, cert), sealed, []string{"the certificate is encrypted"}},
		{"another's certificate", tlstest.Fixtures.ServerCert, sealed, []string{"certificate and private key", "mismatch"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			err := c.UseEncryptedCertificate(x.cert, x.key, []byte("secret"))
			tlstest.Sentence(t, err, x.says...)
			if errors.Is(err, x509.IncorrectPasswordError) {
				t.Errorf("%v is x509.IncorrectPasswordError", err)
			}
			shows(t, c, tlstest.Fixtures.ServerCert)
		})
	}
	t.Run("an algorithm that the default provider has not", func(t *testing.T) {
		if !tlstest.IsOpenSSL3() {
			t.Skip("1.1.1 has no provider for what is legacy")
		}
		weak := pkcs8(t, key, "secret", "-v1", "PBE-SHA1-RC2-40", "-provider", "legacy", "-provider", "default")
		err := tlstest.NewServer(t).UseEncryptedCertificate(cert, weak, []byte("secret"))
		tlstest.Sentence(t, err, "algorithm that OpenSSL does not offer here", "legacy provider")
		if errors.Is(err, x509.IncorrectPasswordError) {
			t.Errorf("%v is x509.IncorrectPasswordError", err)
		}
	})
}

// No digest holds a passphrase, or that there was one.
func TestPassphraseInNoContext(t *testing.T) {
	cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
	uses := []func(c *openssl.Ctx) error{func(c *openssl.Ctx) error { return c.UseCertificate(cert, key) }}
	for _, passphrase := range []string{"one", "another"} {
		sealed := pkcs8(t, key, passphrase)
		uses = append(uses, func(c *openssl.Ctx) error { return c.UseEncryptedCertificate(cert, sealed, []byte(passphrase)) })
		uri := "file:" + tlstest.File(t, "key.pem", sealed)
		uses = append(uses, func(c *openssl.Ctx) error { return c.UseCertificateURI(cert, uri, []byte(passphrase)) })
	}
	sidCtx, ofClient := derivedFrom(t, uses[0]), cacheKey(t, uses[0])
	for i, use := range uses {
		if derivedFrom(t, use) != sidCtx || cacheKey(t, use) != ofClient {
			t.Errorf("the same certificate, given in way %d, leads to another context or key", i)
		}
	}
}

// ---- keys that a URI names ----

func TestUseCertificateURI(t *testing.T) {
	cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
	plain, sealed := tlstest.File(t, "plain.pem", key), tlstest.File(t, "sealed.pem", pkcs8(t, key, "secret"))
	for name, x := range map[string]struct{ uri, pin string }{
		"a file":            {"file:" + plain, ""},
		"a path":            {plain, ""},
		"a PIN for nothing": {"file:" + plain, "secret"},
		"an encrypted file": {"file:" + sealed, "secret"},
		"behind others":     {"file:" + tlstest.File(t, "both.pem", append(bytes.Clone(cert), key...)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			must(t, c.UseCertificateURI(cert, x.uri, []byte(x.pin)))
			shows(t, c, cert)
		})
	}
	for _, x := range []struct {
		name, uri, pin string
		says           []string
	}{
		{"no PIN", "file:" + sealed, "", []string{"needs a PIN or passphrase, and none was given", sealed}},
		{"another PIN", "file:" + sealed, "another", []string{"with this PIN or passphrase there is no private key", sealed}},
		{"a long PIN", "file:" + sealed, strings.Repeat("x", 4096), []string{"a PIN of 4096 bytes is longer than is taken"}},
		{"no file", "file:" + plain + "x", "", []string{"there is no private key file:", "o such file"}},
		{"no key", "file:" + tlstest.File(t, "cert.pem", cert), "", []string{"there is no private key file:"}},
		{"another's key", "file:" + tlstest.File(t, "other.pem", tlstest.KeyPEM(t, tlstest.ECKey(t))), "", []string{"certificate and private key", "mismatch"}},
		{"a scheme", "handle:0x81000001", "secret", []string{"nothing serves handle: here", "openssl.cnf", "OpenSSL 3.0"}},
		{"empty", "", "", []string{"no URI"}},
		{"a NUL byte", "file:" + plain + "\x00", "", []string{"no URI"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			err := c.UseCertificateURI(cert, x.uri, []byte(x.pin))
			tlstest.Sentence(t, err, x.says...)
			if got := errors.Is(err, x509.IncorrectPasswordError); got != (x.name == "another PIN") {
				t.Errorf("%v is x509.IncorrectPasswordError: %v", err, got)
			}
			shows(t, c, tlstest.Fixtures.ServerCert)
		})
	}
	t.Run("the certificate first", func(t *testing.T) { // a token would count the PIN
		tlstest.Sentence(t, tlstest.NewServer(t).UseCertificateURI(nil, "file:"+sealed, []byte("another")), "certificate")
	})
	t.Run("frozen", func(t *testing.T) {
		c := tlstest.NewServer(t)
		shows(t, c, tlstest.Fixtures.ServerCert)
		for _, err := range []error{c.UseCertificateURI(cert, "file:"+plain, nil), c.UseEncryptedCertificate(cert, key, nil)} {
			if !errors.Is(err, openssl.ErrCtxInUse) {
				t.Errorf("%v, want ErrCtxInUse", err)
			}
		}
	})
}

// A PIN in a URI is in no error, neither in its text nor in what libcrypto quotes.
func TestPINInNoError(t *testing.T) {
	// libp11's engine leaks 16 bytes, which AddressSanitizer would report of all tests.
	if !tlstest.Again(t, "ASAN_OPTIONS=detect_leaks=0") {
		return
	}
	for _, uri := range []string{
		"file:/nowhere?pin-value=73517351",
		"/nowhere;pin-value=73517351;x",
		"handle:0x1?pin-value=73517351",
		"pkcs11:token=nowhere?module-name=x&pin-value=73517351",
	} {
		err := tlstest.NewServer(t).UseCertificateURI(tlstest.Fixtures.ServerCert, uri, []byte("73517351"))
		e, ok := tlstest.AsType[*openssl.Error](err)
		if !ok {
			t.Errorf("%s: %v holds no *Error", uri, err)
		} else if text := fmt.Sprintf("%v %+v", err, e.Stack); strings.Contains(text, "7351") {
			t.Errorf("%s: the PIN is in %s", uri, text)
		}
	}
}

// Without a provider and without an engine an error names both.
func TestUseCertificateURIWithoutTokens(t *testing.T) {
	if !tlstest.Again(t, "OPENSSL_CONF=/dev/null", "OPENSSL_ENGINES="+t.TempDir()) {
		return
	}
	for range 2 { // what was not found is looked for again
		err := tlstest.NewServer(t).UseCertificateURI(tlstest.Fixtures.ServerCert, "pkcs11:token=x", []byte("1234"))
		tlstest.Sentence(t, err, "nothing serves pkcs11: here", "pkcs11-provider", "OpenSSL 3.0", "engine", "before 4.0")
	}
}

// ---- a slow token ----

// slowEngine is an engine pkcs11 whose keys are RSA in PEM files. Each signature writes how
// many are under way to one descriptor, and waits for a byte from another.
const slowEngine = `
#define OPENSSL_SUPPRESS_DEPRECATED
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/engine.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

static RSA_METHOD *method;
static unsigned char running;

static int sign(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding) {
	unsigned char b = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);

	if (write(atoi(getenv("SLOW_SAYS")), &b, 1) != 1 || read(atoi(getenv("SLOW_WAITS")), &b, 1) != 1)
		return -1;
	__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
	return RSA_meth_get_priv_enc(RSA_PKCS1_OpenSSL())(n, from, to, rsa, padding);
}

static EVP_PKEY *load(ENGINE *e, const char *id, UI_METHOD *ui, void *data) {
	BIO *b = BIO_new_file(strchr(id, ':') + 1, "r");
	RSA *rsa = PEM_read_bio_RSAPrivateKey(b, NULL, NULL, NULL);
	EVP_PKEY *key = EVP_PKEY_new();

	(void)e, (void)ui, (void)data;
	BIO_free(b);
	RSA_set_method(rsa, method);
	EVP_PKEY_assign_RSA(key, rsa);
	return key;
}

static int bind(ENGINE *e, const char *id) {
	(void)id;
	method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
	RSA_meth_set_priv_enc(method, sign);
	return ENGINE_set_id(e, "pkcs11") && ENGINE_set_name(e, "slow") && ENGINE_set_load_privkey_function(e, load);
}

IMPLEMENT_DYNAMIC_CHECK_FN()
IMPLEMENT_DYNAMIC_BIND_FN(bind)
`

// slowToken is what a child process of a test talks to slowEngine with.
type slowToken struct {
	says, waits *os.File
	bound       int // of the signatures at the same moment, as of all handshakes
}

// newSlowToken runs the test in a child process; there child is true.
func newSlowToken(t *testing.T) (token slowToken, child bool) {
	t.Helper()
	if openssl.Version().LinkedNumber >= 0x40000000 {
		t.Skip("the slow key is an engine's, and OpenSSL 4.0 has none")
	}
	const mark = "SLOW_ENGINE"
	if os.Getenv(mark) == "" {
		engine := tlstest.Compile(t, "pkcs11.so", slowEngine, "-shared", "-fPIC", "-lcrypto")
		tlstest.Again(t, mark+"=1", "OPENSSL_CONF=/dev/null", "OPENSSL_ENGINES="+filepath.Dir(engine))
		return token, false
	}
	for name, end := range map[string]func(r, w *os.File) (ours, its *os.File){
		"SLOW_SAYS":  func(r, w *os.File) (*os.File, *os.File) { token.says = r; return r, w },
		"SLOW_WAITS": func(r, w *os.File) (*os.File, *os.File) { token.waits = w; return w, r },
	} {
		r, w, err := os.Pipe()
		must(t, err)
		ours, its := end(r, w)
		t.Cleanup(func() { ours.Close(); its.Close() })
		t.Setenv(name, strconv.Itoa(int(its.Fd())))
	}
	token.bound = max(4, 2*runtime.GOMAXPROCS(0))
	return token, true
}

// ctx is a server whose key is in the token.
func (s slowToken) ctx(t *testing.T) *openssl.Ctx {
	t.Helper()
	cert, _ := tlstest.Certs(t).Leaf(t, "server.test", tlstest.RSAKey(), nil)
	der := x509.MarshalPKCS1PrivateKey(tlstest.RSAKey().(*rsa.PrivateKey))
	c := tlstest.BareServer(t)
	must(t, c.UseCertificateURI(cert, "pkcs11:"+tlstest.File(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})), nil))
	return c
}

// within fails unless f returns within a time that no machine is too slow for.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("%s waits for the token", what)
		return nil
	}
}

// TestSlowToken has every signature of a token under way, and more handshakes waiting: those
// of other Ctx go on, also where a ClientHello has chosen them, and those that wait can be
// given up.
func TestSlowToken(t *testing.T) {
	token, child := newSlowToken(t)
	if !child {
		return
	}
	slow, listener, quick, client := token.ctx(t), tlstest.NewServer(t), tlstest.BareServer(t), tlstest.NewClient(t)
	must(t, quick.UseCertificate(tlstest.Certs(t).Leaf(t, "quick.test", tlstest.ECKey(t), nil)))
	// The listener switches to the token's Ctx, and that away from it.
	must(t, listener.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return slow, nil }))
	must(t, slow.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		if hello.ServerName == "quick.test" {
			return quick, nil
		}
		return nil, nil
	}))

	var wg sync.WaitGroup
	handshakes := 3 * token.bound
	for i := range handshakes {
		server := slow
		if i%2 == 1 {
			server = listener
		}
		c, s := tlstest.Conns(t, client, server)
		wg.Go(func() {
			if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
				t.Errorf("with a slow signature: client %v, server %v", clientErr, serverErr)
			}
		})
	}
	most, p := byte(0), make([]byte, 1)
	sign := func() {
		_, err := token.says.Read(p)
		must(t, err)
		most = max(most, p[0])
	}
	for range token.bound {
		sign()
	}
	for name, server := range map[string]*openssl.Ctx{"a key in a file": quick, "a switch away from the token": slow} {
		c, s := tlstest.Conns(t, client, server)
		must(t, c.SetServerName("quick.test"))
		must(t, within(t, name, func() error {
			clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
			return errors.Join(clientErr, serverErr)
		}))
	}
	for name, x := range map[string]struct {
		end  func(s *openssl.Conn) error
		want error
	}{
		"a deadline": {func(s *openssl.Conn) error {
			must(t, s.SetDeadline(time.Now().Add(50*time.Millisecond)))
			return s.Handshake()
		}, os.ErrDeadlineExceeded},
		"a context": {func(s *openssl.Conn) error {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			return s.HandshakeContext(ctx)
		}, context.DeadlineExceeded},
		"Close": {func(s *openssl.Conn) error {
			time.AfterFunc(50*time.Millisecond, func() { s.Close() })
			return s.Handshake()
		}, net.ErrClosed},
	} {
		c, s := tlstest.Conns(t, client, slow)
		wg.Go(func() { c.Handshake() }) // which fails
		if err := within(t, name, func() error { return x.end(s) }); !errors.Is(err, x.want) {
			t.Errorf("%s ends the wait with %v, want %v", name, err, x.want)
		}
		s.Close()
	}
	for i := range handshakes {
		if i < handshakes-token.bound {
			_, err := token.waits.Write(p)
			must(t, err)
			sign()
		} else if _, err := token.waits.Write(p); err != nil {
			t.Fatalf("the token: %v", err)
		}
	}
	wg.Wait()
	if int(most) > token.bound {
		t.Errorf("%d signatures were under way at the same moment, want at most %d", most, token.bound)
	}
}

// TestPassphraseIsWiped looks through the memory of a process for a passphrase that was
// used there, and of which its own copy is gone.
func TestPassphraseIsWiped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read as on Linux")
	}
	const mark = "WIPED" // the folder of the key, and of the passphrase with its bits turned
	dir := os.Getenv(mark)
	if dir == "" {
		passphrase := []byte(rand.Text() + rand.Text())
		cert, key := tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), nil)
		dir = t.TempDir()
		for name, content := range map[string][]byte{
			"cert": cert, "hidden": turned(passphrase),
			"RFC 1423": rfc1423(t, key, passphrase), "PKCS #8": pkcs8(t, key, string(passphrase)),
		} {
			must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
		tlstest.Again(t, mark+"="+dir)
		return
	}
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		return content
	}
	cert, hidden := read("cert"), read("hidden")
	for what, use := range map[string]func(c *openssl.Ctx, passphrase []byte) error{
		"RFC 1423": func(c *openssl.Ctx, p []byte) error { return c.UseEncryptedCertificate(cert, read("RFC 1423"), p) },
		"PKCS #8":  func(c *openssl.Ctx, p []byte) error { return c.UseEncryptedCertificate(cert, read("PKCS #8"), p) },
		"a URI": func(c *openssl.Ctx, p []byte) error {
			return c.UseCertificateURI(cert, filepath.Join(dir, "PKCS #8"), p)
		},
	} {
		passphrase := turned(hidden)
		if where := holding(t, hidden); where == nil {
			t.Fatal("the passphrase is not found where it is")
		}
		must(t, use(tlstest.BareServer(t), passphrase))
		clear(passphrase)
		if where := holding(t, hidden); where != nil {
			t.Errorf("%s: a copy of the passphrase is left in %q", what, where)
		}
	}
}

// turned is p with all bits turned.
func turned(p []byte) []byte {
	q := make([]byte, len(p))
	for i := range p {
		q[i] = ^p[i]
	}
	return q
}

// holding is the parts of this process's memory that hold the bytes which hidden is turned from.
func holding(t *testing.T, hidden []byte) (where []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	mem, err := os.Open("/proc/self/mem")
	must(t, err)
	defer mem.Close()
	p, ones := make([]byte, 1<<20), bytes.Repeat([]byte{0xff}, 1<<20)
	defer clear(p)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || !strings.HasPrefix(access, "rw") || to-from > 1<<30 {
			continue
		}
		for ; from < to; from += int64(len(p) - len(hidden)) {
			n, _ := mem.ReadAt(p[:min(int64(len(p)), to-from)], from)
			subtle.XORBytes(p[:n], p[:n], ones[:n]) // else the buffer would be found, too
			if bytes.Contains(p[:n], hidden) {
				where = append(where, strings.TrimSpace(line))
			}
			clear(p)
		}
	}
	return where
}
