//go:build cgo

package openssl_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// file writes a file into the test's folder.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

// A command does what openssl.cnf's would, by either of its names.
func TestConf(t *testing.T) {
	for _, command := range [][2]string{
		{"MaxProtocol", "TLSv1.2"},
		{"maxprotocol", "TLSv1.2"}, // names of openssl.cnf have no case
		{"-max_protocol", "TLSv1.2"},
		{"-no_tls1_3", ""},
		{"Protocol", "-TLSv1.3"},
	} {
		t.Run(command[0], func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			must(t, server.Conf(command[0], command[1]))
			c, s := machines(t, client, server)
			mustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS12 {
				t.Fatalf("version %#x", got)
			}
			goodbye(t, c, s)
		})
	}
}

func TestConfCiphers(t *testing.T) {
	const suite = "TLS_CHACHA20_POLY1305_SHA256"
	client, server := newClient(t), newServer(t)
	must(t, client.Conf("Ciphersuites", suite))
	must(t, client.Conf("SignatureAlgorithms", "ECDSA+SHA256"))
	c, s := machines(t, client, server)
	mustShake(t, c, s)
	if got := s.ConnectionState().CipherName; got != suite {
		t.Fatalf("suite %s", got)
	}
	goodbye(t, c, s)
}

func TestConfOptions(t *testing.T) {
	server := newServer(t)
	must(t, server.Conf("Options", "-SessionTicket"))
	if server.Options()&openssl.OptionNoTicket == 0 {
		t.Fatalf("options %#x", server.Options())
	}
	must(t, server.Conf("-bugs", ""))
}

func TestConfRefused(t *testing.T) {
	for _, test := range []struct {
		name, cmd, value, says string
	}{
		{"unknown", "NoSuchThing", "x", "unknown"},
		{"unknown with a dash", "-no_such_thing", "x", "unknown"},
		{"a dash alone", "-", "x", "unknown"},
		{"openssl.cnf's name with a dash", "-MaxProtocol", "TLSv1.2", "unknown"},
		{"the command line's name without", "max_protocol", "TLSv1.2", "unknown"},
		{"empty", "", "x", "no command"},
		{"NUL in the command", "Max\x00Protocol", "TLSv1.2", "no command"},
		{"NUL in the value", "MaxProtocol", "TLSv1.2\x00", "no command"},
		{"no value", "MaxProtocol", "", "needs a value"},
		{"no value for a file", "Certificate", "", "needs a value"},
		{"bad value", "MaxProtocol", "TLSv9", "does not take"},
		{"bad list", "SignatureAlgorithms", "nonsense+SHA0", "does not take"},
		{"no such file", "Certificate", filepath.Join("no", "such", "file"), "does not take"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			err := server.Conf(test.cmd, test.value)
			if err == nil {
				t.Fatal("taken")
			}
			if text := err.Error(); !strings.Contains(text, test.says) || !strings.HasPrefix(text, "openssl: SSL_CONF_cmd: ") || strings.Contains(text, "\n") {
				t.Errorf("it says %q, nothing of %q", text, test.says)
			}
			c, s := machines(t, client, server) // nothing has changed
			mustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS13 {
				t.Errorf("version %#x", got)
			}
			goodbye(t, c, s)
		})
	}
}

// Commands know their role.
func TestConfRole(t *testing.T) {
	if err := newClient(t).Conf("-serverpref", ""); err == nil {
		t.Error("a client took a server's command")
	}
	must(t, newServer(t).Conf("-serverpref", ""))
}

func TestConfCertificate(t *testing.T) {
	certs(t)
	server, err := openssl.NewServerCtx()
	must(t, err)
	defer server.Close()
	must(t, server.Conf("Certificate", file(t, "cert.pem", fixtures.serverCert)))
	must(t, server.Conf("PrivateKey", file(t, "key.pem", fixtures.serverKey)))
	mustVisit(t, newClient(t), server, nil, openssl.ResumptionNotOffered)
}

func TestConfVerify(t *testing.T) {
	server := newServer(t)
	must(t, server.SetSessionIDContext([]byte("a")))
	must(t, server.Conf("VerifyCAFile", file(t, "ca.pem", certs(t).pem)))
	must(t, server.Conf("ClientCAFile", file(t, "names.pem", certs(t).pem)))
	must(t, server.Conf("VerifyMode", "Require"))
	c, s := machines(t, newClient(t), server)
	mustShake(t, c, s)
	if got := len(s.ConnectionState().PeerCertificates); got != 1 {
		t.Fatalf("%d client certificates", got)
	}
	goodbye(t, c, s)
}

// An encrypted key is an error. A prompt would wait for a terminal that a server
// has not, and here for the test's end.
func TestConfEncryptedKey(t *testing.T) {
	certs(t)
	block, _ := pem.Decode(fixtures.serverKey)
	//lint:ignore SA1019 it is what is to be refused
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", block.Bytes, []byte("password"), x509.PEMCipherAES256)
	must(t, err)
	server := newServer(t)
	must(t, server.Conf("Certificate", file(t, "cert.pem", fixtures.serverCert)))
	err = server.Conf("PrivateKey", file(t, "key.pem", pem.EncodeToMemory(sealed)))
	if opensslErr := (*openssl.Error)(nil); !errors.As(err, &opensslErr) {
		t.Fatalf("an encrypted key: %v", err)
	}
}

func TestConfFrozen(t *testing.T) {
	client, server := newClient(t), newServer(t)
	mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
	if err := server.Conf("MaxProtocol", "TLSv1.2"); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatal(err)
	}
}
