// Package avaya has a client meet what an old device, such as an Avaya telephone, has to
// offer: TLS 1.0, and a certificate of 1024 bits of RSA that is signed with SHA-1.
package avaya

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// TestOldDevice has a Ctx with the security level 0 reach the device, and another one fail.
func TestOldDevice(t *testing.T) {
	key := peer.OpenSSL(t, "", "genrsa", "1024")
	keyFile := tlstest.File(t, "key.pem", key)
	cert := peer.OpenSSL(t, "", "req", "-x509", "-new", "-sha1", "-key", keyFile, "-subj", "/CN=device", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
	address := peer.Server(t, "-rev", "-tls1", "-cipher", "DEFAULT:@SECLEVEL=0", "-cert", tlstest.File(t, "cert.pem", cert), "-key", keyFile)

	visit := func(level string) (state openssl.ConnectionState, err error) {
		c := tlstest.BareClient(t)
		err = errors.Join(c.SetMinVersion(tls.VersionTLS10), c.SetCipherList("DEFAULT:@SECLEVEL="+level), c.SetVerifyCAs(cert))
		if err != nil {
			t.Fatalf("level %s: %v", level, err)
		}
		conn, err := openssl.Dial("tcp", address, c)
		if err != nil {
			return state, err
		}
		defer conn.Close()
		var line string
		if _, err = io.WriteString(conn, "abc\n"); err == nil {
			line, err = bufio.NewReader(conn).ReadString('\n')
		}
		if err == nil && line != "cba\n" {
			t.Errorf("abc comes back as %q", line)
		}
		return conn.ConnectionState(), err
	}
	if state, err := visit("0"); err != nil || state.Version != tls.VersionTLS10 {
		t.Errorf("level 0: %v in version %#x, want TLS 1.0", err, state.Version)
	}
	if state, err := visit("2"); err == nil {
		t.Errorf("level 2: a connection in version %#x, want none", state.Version)
	}
}
