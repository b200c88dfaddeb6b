package mongo

import (
	"bufio"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// visit dials a server that sends lines back from end to start.
func visit(t *testing.T, address string, o Options) (openssl.ConnectionState, error) {
	t.Helper()
	d, err := o.Dialer()
	if err != nil {
		return openssl.ConnectionState{}, err
	}
	defer d.Ctx.Close()
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return openssl.ConnectionState{}, err
	}
	defer conn.Close()
	var line string
	if _, err = io.WriteString(conn, "abc\n"); err == nil {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	if err == nil && line != "cba\n" {
		t.Errorf("abc comes back as %q", line)
	}
	return conn.(*openssl.Conn).ConnectionState(), err
}

func at127(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }

// TestOptions visits two s_servers that require a certificate, of a CA below the root: one
// with the address in its certificate, one without.
func TestOptions(t *testing.T) {
	root := tlstest.NewAuthority(t, "root", nil)
	ca := tlstest.NewAuthority(t, "issuer", root)
	serve := func(change func(*x509.Certificate)) (string, *x509.Certificate) {
		cert, key := ca.Leaf(t, "server.test", tlstest.ECKey(t), change)
		return peer.Server(t, "-rev", "-cert", tlstest.File(t, "cert.pem", cert), "-key", tlstest.File(t, "key.pem", key), "-cert_chain", tlstest.File(t, "chain.pem", ca.PEM),
			"-CAfile", tlstest.File(t, "ca.pem", root.PEM), "-Verify", "2", "-verify_return_error"), tlstest.ParseCert(t, cert)
	}
	named, leaf := serve(at127)
	unnamed, _ := serve(nil)

	cert, key := ca.Leaf(t, "client.test", tlstest.ECKey(t), nil)
	encrypted := peer.OpenSSL(t, string(key), "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:secret")
	// key and chain in one file
	plainFile := tlstest.File(t, "combined.pem", slices.Concat(key, cert, ca.PEM))
	otherOrder := tlstest.File(t, "otherorder.pem", slices.Concat(cert, ca.PEM, key))
	encryptedFile := tlstest.File(t, "encrypted.pem", slices.Concat(cert, ca.PEM, encrypted))
	caFile := tlstest.File(t, "root.pem", root.PEM)
	strangers := tlstest.File(t, "other.pem", tlstest.NewAuthority(t, "another CA", nil).PEM)
	// the root has no list
	empty := tlstest.File(t, "empty.crl", tlstest.RevocationList(t, ca, 1))
	revoked := tlstest.File(t, "revoked.crl", tlstest.RevocationList(t, ca, 2, leaf.SerialNumber))

	const ok, unknownIssuer, isRevoked, otherAddress, fails = 0, 20, 23, 64, -1
	for _, x := range []struct {
		what, address string
		o             Options
		want          int // the code of a VerifyError
	}{
		{"key first", named, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile}, ok},
		{"key last", named, Options{SSLPEMKeyFile: otherOrder, SSLCAFile: caFile}, ok},
		{"encrypted", named, Options{SSLPEMKeyFile: encryptedFile, SSLPEMKeyPassword: "secret", SSLCAFile: caFile}, ok},
		{"no certificate", named, Options{SSLCAFile: caFile}, fails},
		{"leaf-only CRL", named, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile, SSLCRLFile: empty}, ok},
		{"revoked", named, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile, SSLCRLFile: revoked}, isRevoked},
		{"another name", unnamed, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile}, otherAddress},
		{"allowInvalidHostnames", unnamed, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile, SSLAllowInvalidHost: true}, ok},
		{"allowInvalidHostnames, revoked", named, Options{SSLPEMKeyFile: plainFile, SSLCAFile: caFile, SSLCRLFile: revoked, SSLAllowInvalidHost: true}, isRevoked},
		{"allowInvalidHostnames, another CA", unnamed, Options{SSLPEMKeyFile: plainFile, SSLCAFile: strangers, SSLAllowInvalidHost: true}, unknownIssuer},
		{"allowInvalidCertificates", unnamed, Options{SSLPEMKeyFile: plainFile, SSLCAFile: strangers, SSLAllowInvalidCert: true}, ok},
	} {
		_, err := visit(t, x.address, x.o)
		code := ok
		if verify, is := errors.AsType[*openssl.VerifyError](err); is {
			code = verify.Code
		} else if err != nil {
			code = fails
		}
		if code != x.want {
			t.Errorf("%s: %v (%d), want %d", x.what, err, code, x.want)
		}
	}
	for _, password := range []string{"", "wrong"} {
		o := Options{SSLPEMKeyFile: encryptedFile, SSLPEMKeyPassword: password, SSLCAFile: caFile}
		if _, err := visit(t, named, o); !errors.Is(err, x509.IncorrectPasswordError) {
			t.Errorf("the password %q: %v, want x509.IncorrectPasswordError", password, err)
		}
	}
}

// TestSystemRoots has no CA file.
func TestSystemRoots(t *testing.T) {
	root := tlstest.NewAuthority(t, "root", nil)
	cert, key := root.Leaf(t, "server.test", tlstest.ECKey(t), at127)
	address := peer.Server(t, "-rev", "-cert", tlstest.File(t, "cert.pem", cert), "-key", tlstest.File(t, "key.pem", key))
	var verify *openssl.VerifyError
	if _, err := visit(t, address, Options{}); !errors.As(err, &verify) {
		t.Errorf("a CA that is not of the system: %v, want a VerifyError", err)
	}
	t.Setenv("SSL_CERT_FILE", tlstest.File(t, "roots.pem", root.PEM))
	if state, err := visit(t, address, Options{}); err != nil || len(state.VerifiedChains) != 1 {
		t.Errorf("a CA of the system: %v, with %d chains", err, len(state.VerifiedChains))
	}
}
