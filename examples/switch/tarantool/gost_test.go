package tarantool

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

const gostConf = `openssl_conf = init
[init]
engines = engines
[engines]
gost = gost_sect
[gost_sect]
engine_id = gost
dynamic_path = LIBRARY
default_algorithms = ALL
[req]
distinguished_name = name
[name]
`

// TestGOST has both ends speak GOST with OpenSSL's tools. The engine is in openssl.cnf,
// which is read once: it takes a process of its own.
func TestGOST(t *testing.T) {
	_, folder, _ := strings.Cut(strings.TrimSpace(string(peer.OpenSSL(t, "", "version", "-e"))), ": ")
	library := filepath.Join(strings.Trim(folder, `"`), "gost.so")
	if _, err := os.Stat(library); err != nil {
		t.Skipf("OpenSSL has no engine for GOST: %v (Debian 12: apt-get install libengine-gost-openssl)", err)
	}
	conf := tlstest.File(t, "openssl.cnf", []byte(strings.Replace(gostConf, "LIBRARY", library, 1)))
	if !tlstest.Again(t, "OPENSSL_CONF="+conf) {
		return
	}
	const suite = "GOST2012-MAGMA-MAGMAOMAC"
	key := tlstest.File(t, "key.pem", peer.OpenSSL(t, "", "genpkey", "-algorithm", "gost2012_256", "-pkeyopt", "paramset:TCA"))
	cert := tlstest.File(t, "cert.pem", peer.OpenSSL(t, "", "req", "-x509", "-new", "-key", key, "-subj", "/CN=localhost",
		"-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"))
	o := Opts{CertFile: cert, KeyFile: key, CaFile: cert, Ciphers: suite}

	address := peer.Server(t, "-rev", "-tls1_2", "-cert", cert, "-key", key, "-CAfile", cert, "-Verify", "1", "-verify_return_error", "-cipher", suite)
	if got, err := visit(t, address, o); err != nil || got != suite {
		t.Errorf("as a client: %v with %q, want %s", err, got, suite)
	}
	l, err := Listen("tcp", "127.0.0.1:0", o)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	greeted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.WriteString(conn, "greetings\n")
			conn.Close()
		}
		greeted <- err
	}()
	said, err := peer.Client(t, l.Addr().String(), "-tls1_2", "-CAfile", cert, "-cert", cert, "-key", key, "-cipher", suite)
	if served := <-greeted; err != nil || served != nil || !strings.Contains(said, "greetings") {
		t.Errorf("as a server: client %v, server %v\n%s", err, served, said)
	}
}
