//go:build cgo && linux

package openssl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// encrypted is the first block of pemText with its content encrypted.
func encrypted(t testing.TB, pemText []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(pemText)
	kind := block.Type
	if kind == "PRIVATE KEY" {
		kind = "EC PRIVATE KEY" // PKCS #8 has an encryption of its own
	}
	//lint:ignore SA1019 it is what is to be refused
	sealed, err := x509.EncryptPEMBlock(rand.Reader, kind, block.Bytes, []byte("password"), x509.PEMCipherAES256)
	must(t, err)
	return pem.EncodeToMemory(sealed)
}

// folder is a folder with one file.
func folder(t testing.TB, name string, content []byte) string {
	t.Helper()
	return filepath.Dir(file(t, name, content))
}

// isOpenSSL3 says whether there are commands for stores.
func isOpenSSL3() bool { return openssl.Version().LinkedNumber >= 0x30000000 }

// A block that is encrypted is refused by every setter that reads PEM, with a word
// on what to do, and nobody is asked for its password: a prompt would wait for a
// terminal for ever.
func TestNoPasswordPrompt(t *testing.T) {
	ca := certs(t)
	other := newAuthority(t, "other CA", nil)
	cert, crl := encrypted(t, ca.pem), encrypted(t, revocationList(t, ca, 1))
	leaf := encrypted(t, fixtures.serverCert)
	after := bytes.Join([][]byte{other.pem, cert}, nil)
	dh := encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS", Bytes: []byte{0x30, 0}}))
	info := encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "SERVERINFO FOR a test", Bytes: []byte{0xff, 0xf0, 0, 0}}))
	confFile := func(cmd string, content []byte) func(t *testing.T, c *openssl.Ctx) error {
		return func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, file(t, "x.pem", content)) }
	}
	confDir := func(cmd string) func(t *testing.T, c *openssl.Ctx) error {
		return func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, folder(t, "x.pem", cert)) }
	}
	calls := map[string]func(t *testing.T, c *openssl.Ctx) error{
		"UseCertificate, certificate": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(leaf, fixtures.serverKey)
		},
		"UseCertificate, chain": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(append(bytes.Clone(fixtures.serverCert), cert...), fixtures.serverKey)
		},
		"UseCertificate, key": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(fixtures.serverCert, encrypted(t, fixtures.serverKey))
		},
		"UseCertificateFiles, certificate": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificateFiles(file(t, "cert.pem", leaf), file(t, "key.pem", fixtures.serverKey))
		},
		"UseCertificateFiles, key": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificateFiles(file(t, "cert.pem", fixtures.serverCert), file(t, "key.pem", encrypted(t, fixtures.serverKey)))
		},
		"SetVerifyCAs":        func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(cert) },
		"SetVerifyCAs, after": func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(after) },
		"SetClientCAs":        func(t *testing.T, c *openssl.Ctx) error { return c.SetClientCAs(cert) },
		"SetClientCAs, after": func(t *testing.T, c *openssl.Ctx) error { return c.SetClientCAs(after) },
		"SetCRLs":             func(t *testing.T, c *openssl.Ctx) error { return c.SetCRLs(crl) },
		"SetCRLs, after": func(t *testing.T, c *openssl.Ctx) error {
			return c.SetCRLs(append(revocationList(t, ca, 1), crl...))
		},
		"LoadVerifyLocations, file": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(file(t, "x.pem", cert), "")
		},
		"LoadVerifyLocations, after": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(file(t, "x.pem", after), "")
		},
		"LoadVerifyLocations, revocation list": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(file(t, "x.pem", crl), "")
		},
		"LoadVerifyLocations, folder": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations("", folder(t, "x.pem", cert))
		},
		"ParseSessionPEM": func(t *testing.T, c *openssl.Ctx) error {
			s, err := openssl.ParseSessionPEM(encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: []byte{0x30, 0}})))
			if err == nil {
				s.Close()
			}
			return err
		},

		"Certificate":           confFile("Certificate", leaf),
		"Certificate, chain":    confFile("Certificate", append(bytes.Clone(fixtures.serverCert), cert...)),
		"-cert":                 confFile("-cert", leaf),
		"PrivateKey":            confFile("PrivateKey", encrypted(t, fixtures.serverKey)),
		"-key":                  confFile("-key", encrypted(t, fixtures.serverKey)),
		"ServerInfoFile":        confFile("ServerInfoFile", info),
		"DHParameters":          confFile("DHParameters", dh),
		"-dhparam":              confFile("-dhparam", dh),
		"VerifyCAFile, after":   confFile("VerifyCAFile", after),
		"ClientCAFile, after":   confFile("ClientCAFile", after),
		"verifycafile, no case": confFile("verifycafile", cert),
		"VerifyCAPath, a list": func(t *testing.T, c *openssl.Ctx) error {
			return c.Conf("VerifyCAPath", t.TempDir()+":"+folder(t, "x.pem", cert))
		},
	}
	for _, cmd := range []string{"ChainCAFile", "VerifyCAFile", "RequestCAFile", "ClientCAFile", "-chainCAfile", "-verifyCAfile", "-requestCAFile"} {
		calls[cmd] = confFile(cmd, cert)
	}
	for _, cmd := range []string{"ChainCAPath", "VerifyCAPath", "RequestCAPath", "ClientCAPath", "-chainCApath", "-verifyCApath"} {
		calls[cmd] = confDir(cmd)
	}
	if isOpenSSL3() {
		for _, cmd := range []string{"ChainCAStore", "VerifyCAStore", "RequestCAStore", "ClientCAStore", "-chainCAstore", "-verifyCAstore", "-requestCAStore"} {
			calls[cmd] = confFile(cmd, cert)
			calls[cmd+", folder"] = confDir(cmd)
			calls[cmd+", URI"] = func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, "file:"+file(t, "x.pem", cert)) }
			calls[cmd+", URI with slashes"] = func(t *testing.T, c *openssl.Ctx) error {
				return c.Conf(cmd, "file://"+file(t, "x.pem", cert))
			}
		}
	}
	terminal := newTerminal(t)
	for name, call := range calls {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if !onTerminal(t, terminal) {
				return
			}
			client, server := newClient(t), newServer(t)
			switch err := call(t, server); {
			case err == nil:
				t.Error("an encrypted block is taken")
			case name != "ParseSessionPEM":
				sentence(t, err, "encrypted", "give it decrypted")
			}
			c, s := machines(t, client, server) // nothing has changed
			mustShake(t, c, s)
			goodbye(t, c, s)
		})
	}
}

// A private key in a file of certificates is not read, encrypted or not.
func TestEncryptedKeyBesideCertificates(t *testing.T) {
	ca := certs(t)
	key := encrypted(t, fixtures.clientKey)
	both, certificateFirst := append(bytes.Clone(key), ca.pem...), append(bytes.Clone(ca.pem), key...)
	for name, trust := range map[string]func(c *openssl.Ctx) error{
		"SetVerifyCAs":                func(c *openssl.Ctx) error { return c.SetVerifyCAs(both) },
		"LoadVerifyLocations, file":   func(c *openssl.Ctx) error { return c.LoadVerifyLocations(file(t, "x.pem", both), "") },
		"LoadVerifyLocations, folder": func(c *openssl.Ctx) error { return c.LoadVerifyLocations("", hashed(t, certificateFirst)) },
		"VerifyCAFile":                func(c *openssl.Ctx) error { return c.Conf("VerifyCAFile", file(t, "x.pem", both)) },
	} {
		t.Run(name, func(t *testing.T) {
			client := bareClient(t)
			must(t, trust(client))
			c, s := machines(t, client, newServer(t))
			mustShake(t, c, s)
			goodbye(t, c, s)
		})
	}
}

// An encrypted certificate that comes into a folder later is not found, and the
// handshake that looks for it asks nobody.
func TestNoPasswordPromptInHandshake(t *testing.T) {
	ca := certs(t)
	terminal := newTerminal(t)
	for name, trust := range map[string]func(c *openssl.Ctx, dir string) error{
		"LoadVerifyLocations": func(c *openssl.Ctx, dir string) error { return c.LoadVerifyLocations("", dir) },
		"VerifyCAPath":        func(c *openssl.Ctx, dir string) error { return c.Conf("VerifyCAPath", dir) },
		"VerifyCAStore": func(c *openssl.Ctx, dir string) error {
			if !isOpenSSL3() {
				return c.Conf("VerifyCAPath", dir)
			}
			return c.Conf("VerifyCAStore", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !onTerminal(t, terminal) {
				return
			}
			client, dir := bareClient(t), hashed(t, ca.pem)
			must(t, trust(client, dir))
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			must(t, err)
			for _, name := range names {
				must(t, os.WriteFile(name, encrypted(t, ca.pem), 0o600))
			}
			c, s := machines(t, client, newServer(t))
			if clientErr, _ := shake(t, c, s); clientErr == nil {
				t.Error("the server's certificate is trusted, by a CA that nobody can read")
			}
		})
	}
}
