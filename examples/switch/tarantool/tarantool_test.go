package tarantool

import (
	"bufio"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// loopback makes the files of a certificate for 127.0.0.1.
func loopback(t *testing.T, ca *tlstest.Authority) (cert, key, caFile string) {
	t.Helper()
	certPEM, keyPEM := ca.Leaf(t, "localhost", tlstest.RSAKey(), func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	return tlstest.File(t, "cert.pem", certPEM), tlstest.File(t, "key.pem", keyPEM), tlstest.File(t, "ca.pem", ca.PEM)
}

// encrypt has openssl encrypt a key.
func encrypt(t *testing.T, key, password string, how ...string) string {
	t.Helper()
	args := append([]string{"pkcs8", "-topk8", "-in", key, "-passout", "pass:" + password}, how...)
	return tlstest.File(t, "encrypted.pem", peer.OpenSSL(t, "", args...))
}

// visit dials a server that sends lines back from end to start, and returns the suite.
func visit(t *testing.T, address string, o Opts) (suite string, err error) {
	t.Helper()
	conn, err := New().DialTLS(t.Context(), "tcp", address, o)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "abc\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || line != "cba\n" {
		t.Fatalf("abc comes back as %q: %v", line, err)
	}
	return conn.(*openssl.Conn).ConnectionState().CipherName, nil
}

// TestDial visits an s_server that requires a certificate, with DHE, and with the key in
// each form that openssl writes.
func TestDial(t *testing.T) {
	const suite = "DHE-RSA-AES256-GCM-SHA384"
	ca := tlstest.NewAuthority(t, "test CA", nil)
	cert, key, caFile := loopback(t, ca)
	address := peer.Server(t, "-rev", "-cert", cert, "-key", key, "-CAfile", caFile, "-Verify", "1", "-verify_return_error", "-cipher", "DHE:ECDHE")
	passwords := tlstest.File(t, "passwords", []byte("first\n  second \nthird\n"))

	for name, o := range map[string]Opts{
		"plain":                  {KeyFile: key},
		"PBES2":                  {KeyFile: encrypt(t, key, "second", "-v2", "aes-256-cbc"), Password: "second"},
		"scrypt":                 {KeyFile: encrypt(t, key, "second", "-scrypt"), Password: "second"},
		"file of passwords":      {KeyFile: encrypt(t, key, "second", "-v2", "aes-128-cbc"), PasswordFile: passwords},
		"password before a file": {KeyFile: encrypt(t, key, "zeroth", "-v2", "aes-128-cbc"), Password: "zeroth", PasswordFile: passwords},
		"the last of a file":     {KeyFile: encrypt(t, key, "third", "-v2", "aes-128-cbc"), PasswordFile: passwords},
	} {
		o.CertFile, o.CaFile, o.Ciphers = cert, caFile, suite
		if got, err := visit(t, address, o); err != nil || got != suite {
			t.Errorf("%s: %v with %q, want %s", name, err, got, suite)
		}
	}

	o := Opts{CertFile: cert, CaFile: caFile, KeyFile: encrypt(t, key, "fourth", "-v2", "aes-128-cbc"), PasswordFile: passwords}
	if _, err := visit(t, address, o); !errors.Is(err, x509.IncorrectPasswordError) {
		t.Errorf("none of the passwords: %v, want x509.IncorrectPasswordError", err)
	}
	o.PasswordFile = filepath.Join(t.TempDir(), "none")
	if _, err := visit(t, address, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file of passwords: %v, want os.ErrNotExist", err)
	}
	if _, err := visit(t, address, Opts{CertFile: cert, KeyFile: key, Ciphers: suite}); err != nil {
		t.Errorf("without a CA nothing is verified: %v", err)
	}
	other := tlstest.File(t, "other.pem", tlstest.NewAuthority(t, "another CA", nil).PEM)
	var verify *openssl.VerifyError
	if _, err := visit(t, address, Opts{CertFile: cert, KeyFile: key, CaFile: other}); !errors.As(err, &verify) {
		t.Errorf("another CA: %v, want a VerifyError", err)
	}
}

// TestListen has s_client visit the listener, with a suite of DHE.
func TestListen(t *testing.T) {
	ca := tlstest.NewAuthority(t, "test CA", nil)
	cert, key, caFile := loopback(t, ca)
	l, err := Listen("tcp", "127.0.0.1:0", Opts{CertFile: cert, CaFile: caFile, KeyFile: encrypt(t, key, "secret", "-v2", "aes-256-cbc"), Password: "secret"})
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	greeted := make(chan error, 2)
	go func() {
		for range 2 {
			conn, err := l.Accept()
			if err == nil {
				_, err = io.WriteString(conn, "greetings\n")
				conn.Close()
			}
			greeted <- err
		}
	}()
	const suite = "DHE-RSA-AES128-GCM-SHA256"
	said, err := peer.Client(t, l.Addr().String(), "-CAfile", caFile, "-cert", cert, "-key", key, "-cipher", suite)
	if served := <-greeted; err != nil || served != nil {
		t.Errorf("with a certificate: client %v, server %v\n%s", err, served, said)
	}
	tlstest.Says(t, errors.New(said), "greetings", "Cipher is "+suite)
	said, err = peer.Client(t, l.Addr().String(), "-CAfile", caFile)
	if served := <-greeted; err == nil || served == nil {
		t.Errorf("without a certificate: client %v, server %v\n%s", err, served, said)
	}
}
