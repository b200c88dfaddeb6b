//go:build cgo

package openssl_test

import (
	"bytes"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// systemRootsOf has the system's roots be a file of this content alone.
func systemRootsOf(t *testing.T, content []byte) (file string) {
	t.Helper()
	file = tlstest.File(t, "roots.pem", content)
	t.Setenv("SSL_CERT_FILE", file)
	t.Setenv("SSL_CERT_DIR", t.TempDir())
	return file
}

// serverOf is a server of server.test under a CA.
func serverOf(t testing.TB, ca *tlstest.Authority) *openssl.Ctx {
	t.Helper()
	server := tlstest.BareServer(t)
	must(t, server.UseCertificate(ca.Leaf(t, "server.test", tlstest.ECKey(t), nil)))
	return server
}

// trusted reports whether a client accepts a server of ca; it must know no other reason
// than the issuer.
func trusted(t testing.TB, client *openssl.Ctx, ca *tlstest.Authority) bool {
	t.Helper()
	e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: serverOf(t, ca)})
	if _, ok := tlstest.AsType[*openssl.VerifyError](e.ClientErr); !ok && e.ClientErr != nil {
		t.Fatalf("handshake: %v, want success or a VerifyError", e.ClientErr)
	}
	return e.ClientErr == nil
}

// wantTrusted fails unless a client accepts servers of ca, or refuses them.
func wantTrusted(t testing.TB, what string, client *openssl.Ctx, ca *tlstest.Authority, want bool) {
	t.Helper()
	if got := trusted(t, client, ca); got != want {
		t.Errorf("%s: a server of %s is trusted: %v, want %v", what, ca.Cert.Subject.CommonName, got, want)
	}
}

// A damaged certificate takes no other with it, and a handshake that fails for want of a
// root tells of it. When the file is whole again, so is the trust.
func TestSystemRootsDamaged(t *testing.T) {
	first, lost, last := tlstest.NewAuthority(t, "first", nil), tlstest.NewAuthority(t, "lost", nil), tlstest.NewAuthority(t, "last", nil)
	newline := bytes.IndexByte(lost.PEM, '\n') + 1
	for name, damaged := range map[string][]byte{
		"not base64":     slices.Concat(lost.PEM[:newline], []byte("%%%%"), lost.PEM[newline+4:]),
		"without an end": lost.PEM[:len(lost.PEM)/2],
		"half a line":    append(bytes.Clone(lost.PEM[:newline+7]), '\n'),
		"another DER":    tlstest.CertPEM([]byte("no certificate")),
		"DER cut short":  tlstest.CertPEM(lost.Cert.Raw[:len(lost.Cert.Raw)-9]),
	} {
		t.Run(name, func(t *testing.T) {
			file := systemRootsOf(t, slices.Concat([]byte("# roots\n"), first.PEM, damaged, last.PEM))
			client := tlstest.BareClient(t)
			wantTrusted(t, "before the damage", client, first, true)
			wantTrusted(t, "after the damage", client, last, true)
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: serverOf(t, lost)})
			tlstest.Sentence(t, e.ClientErr, "1 of 3 blocks of "+file, "the first is block 2", "certificate verify failed")
			if _, ok := tlstest.AsType[*openssl.Error](e.ClientErr); !ok {
				t.Errorf("%v is no *Error", e.ClientErr)
			}
			must(t, os.WriteFile(file, slices.Concat(first.PEM, lost.PEM), 0o600))
			wantTrusted(t, "whole again", tlstest.BareClient(t), lost, true)
		})
	}
	t.Run("all of them", func(t *testing.T) {
		file := systemRootsOf(t, lost.PEM[:len(lost.PEM)/2])
		_, err := openssl.NewSSL(tlstest.BareClient(t))
		tlstest.Sentence(t, err, "1 of 1 blocks of "+file)
	})
	t.Run("no file", func(t *testing.T) {
		file := systemRootsOf(t, nil)
		must(t, os.Remove(file))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: tlstest.BareClient(t), Server: serverOf(t, lost)})
		tlstest.Sentence(t, e.ClientErr, file, "SSL_CERT_FILE", "no such file")
	})
	t.Run("a folder beside no file", func(t *testing.T) {
		must(t, os.Remove(systemRootsOf(t, nil)))
		t.Setenv("SSL_CERT_DIR", string(os.PathListSeparator)+hashed(t, first.PEM)) // the first one is empty
		wantTrusted(t, "with a folder", tlstest.BareClient(t), first, true)
	})
	t.Run("a revocation list among them", func(t *testing.T) {
		cert, key := first.Leaf(t, "server.test", tlstest.ECKey(t), nil)
		systemRootsOf(t, slices.Concat(first.PEM, tlstest.RevocationList(t, first, 1, tlstest.ParseCert(t, cert).SerialNumber)))
		server := tlstest.BareServer(t)
		must(t, server.UseCertificate(cert, key))
		for _, f := range []openssl.VerifyFlags{0, openssl.VerifyCRLCheck} {
			client := tlstest.BareClient(t)
			must(t, client.SetVerifyFlags(f))
			if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); (e.ClientErr == nil) != (f == 0) {
				t.Errorf("flags %#x: %v", f, e.ClientErr)
			}
		}
	})
}

// The file is read once for all clients, and again where another one is named.
func TestSystemRootsReadOnce(t *testing.T) {
	a, b := tlstest.NewAuthority(t, "a", nil), tlstest.NewAuthority(t, "b", nil)
	file := systemRootsOf(t, a.PEM)
	wantTrusted(t, "the first client", tlstest.BareClient(t), a, true)
	must(t, os.WriteFile(file, b.PEM, 0o600))
	client := tlstest.BareClient(t)
	wantTrusted(t, "with another file of that name", client, a, true)
	wantTrusted(t, "with another file of that name", client, b, false)
	t.Setenv("SSL_CERT_FILE", tlstest.File(t, "others.pem", b.PEM))
	client = tlstest.BareClient(t)
	wantTrusted(t, "with a file of another name", client, a, false)
	wantTrusted(t, "with a file of another name", client, b, true)
}

// Clients share the system's roots; what one of them trusts or revokes beside them is its
// own.
func TestSystemRootsAreShared(t *testing.T) {
	root, own := tlstest.NewAuthority(t, "root", nil), tlstest.NewAuthority(t, "own", nil)
	systemRootsOf(t, root.PEM)
	cert, key := root.Leaf(t, "server.test", tlstest.ECKey(t), nil)
	revoked := tlstest.BareServer(t)
	must(t, revoked.UseCertificate(cert, key))
	list := tlstest.RevocationList(t, root, 1, tlstest.ParseCert(t, cert).SerialNumber)
	accepts := func(client *openssl.Ctx) bool {
		return tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: revoked}).ClientErr == nil
	}
	check := func(when string) {
		plain := tlstest.BareClient(t)
		wantTrusted(t, when, plain, root, true)
		wantTrusted(t, when, plain, own, false)
		must(t, plain.Close())
		flagged := tlstest.BareClient(t)
		must(t, flagged.SetVerifyFlags(openssl.VerifyCRLCheck))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: flagged, Server: revoked})
		tlstest.Says(t, e.ClientErr, "unable to get certificate CRL")
	}
	check("before")
	adds, revokes := tlstest.BareClient(t), tlstest.BareClient(t)
	must(t, adds.AddVerifyCAs(own.PEM))
	must(t, revokes.SetCRLs(list))
	wantTrusted(t, "AddVerifyCAs", adds, own, true)
	wantTrusted(t, "AddVerifyCAs", adds, root, true)
	if accepts(revokes) {
		t.Error("a client with a revocation list accepts the revoked server")
	}
	if !accepts(adds) {
		t.Error("a client without revocation lists refuses the revoked server")
	}
	check("after")
}

func TestSystemRootsConcurrently(t *testing.T) {
	root, other := tlstest.NewAuthority(t, "root", nil), tlstest.NewAuthority(t, "other", nil)
	systemRootsOf(t, nil)
	t.Setenv("SSL_CERT_DIR", hashed(t, root.PEM)) // libcrypto adds to the store that is shared
	var wg sync.WaitGroup
	for i := range 12 {
		client := tlstest.BareClient(t)
		if i%3 == 0 {
			must(t, client.AddVerifyCAs(other.PEM))
		}
		wg.Go(func() { wantTrusted(t, "at the same time", client, root, true) })
	}
	wg.Wait()
}
