//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// trusts says whose client certificates a server accepts, by their CAs.
func trusts(t testing.TB, server *openssl.Ctx, cas map[string]*authority) (accepted string) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		ca := cas[name]
		if ca == nil {
			continue
		}
		client := bareClient(t)
		must(t, client.SetVerifyCAs(certs(t).pem))
		must(t, client.UseCertificate(ca.leaf(t, "client of "+name, ecKey(t), nil)))
		c, s := machines(t, client, server)
		_, serverErr := shake(t, c, s)
		must(t, c.Close())
		must(t, s.Close())
		if serverErr == nil {
			accepted += name
		}
	}
	return accepted
}

// requiring is a server that requires a client certificate and trusts nobody yet.
func requiring(t testing.TB) *openssl.Ctx {
	t.Helper()
	server := newServer(t)
	must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, server.SetSessionIDContext([]byte("one store")))
	return server
}

// confCA has a server trust a CA by a command, whatever kind of value it takes.
func confCA(t *testing.T, c *openssl.Ctx, cmd string, ca *authority) {
	t.Helper()
	value := file(t, "ca.pem", ca.pem)
	if strings.HasSuffix(strings.ToLower(cmd), "path") {
		value = hashed(t, ca.pem)
	}
	must(t, c.Conf(cmd, value))
}

// verifyCACommands is the commands that name CAs, in each spelling.
func verifyCACommands() []string {
	commands := []string{"VerifyCAFile", "verifycafile", "VerifyCAPath", "-verifyCAfile", "-verifyCApath"}
	if isOpenSSL3() {
		commands = append(commands, "VerifyCAStore", "-verifyCAstore")
	}
	return commands
}

// There is one store of CAs: who is named last counts, by a setter or by a command.
func TestOneStore(t *testing.T) {
	cas := map[string]*authority{"a": newAuthority(t, "a", nil), "b": newAuthority(t, "b", nil), "c": newAuthority(t, "c", nil)}
	type step = func(t *testing.T, c *openssl.Ctx, cmd string)
	conf := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, cmd string) { confCA(t, c, cmd, cas[name]) }
	}
	verifyCAs := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) { must(t, c.SetVerifyCAs(cas[name].pem)) }
	}
	clientCAs := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) { must(t, c.SetClientCAs(cas[name].pem)) }
	}
	loadFile := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) {
			must(t, c.LoadVerifyLocations(file(t, "ca.pem", cas[name].pem), ""))
		}
	}
	loadDir := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) {
			must(t, c.LoadVerifyLocations("", hashed(t, cas[name].pem)))
		}
	}
	broken := func(t *testing.T, c *openssl.Ctx, cmd string) {
		if strings.HasSuffix(strings.ToLower(cmd), "file") {
			if c.Conf(cmd, file(t, "ca.pem", []byte("garbage"))) == nil {
				t.Error("a file without a certificate is taken")
			}
		}
	}
	for _, x := range []struct {
		name     string
		steps    []step
		accepted string
	}{
		{"Conf", []step{conf("a")}, "a"},
		{"Conf, SetVerifyCAs", []step{conf("a"), verifyCAs("b")}, "b"},
		{"Conf, SetClientCAs", []step{conf("a"), clientCAs("b")}, "b"},
		{"Conf, LoadVerifyLocations of a file", []step{conf("a"), loadFile("b")}, "ab"},
		{"Conf, LoadVerifyLocations of a folder", []step{conf("a"), loadDir("b")}, "ab"},
		{"SetVerifyCAs, Conf", []step{verifyCAs("a"), conf("b")}, "b"},
		{"SetClientCAs, Conf", []step{clientCAs("a"), conf("b")}, "b"},
		{"LoadVerifyLocations, Conf", []step{loadFile("a"), loadDir("c"), conf("b")}, "b"},
		{"Conf, Conf", []step{conf("a"), conf("b")}, "ab"},
		{"SetVerifyCAs, Conf, Conf", []step{verifyCAs("a"), conf("b"), conf("c")}, "bc"},
		{"Conf, SetVerifyCAs, Conf", []step{conf("a"), verifyCAs("b"), conf("c")}, "c"},
		{"Conf, SetVerifyCAs, Conf, LoadVerifyLocations", []step{conf("a"), verifyCAs("b"), conf("c"), loadFile("a")}, "ac"},
		{"SetVerifyCAs, a command that is refused", []step{verifyCAs("a"), broken}, "a"},
		{"Conf, a command that is refused", []step{conf("a"), broken}, "a"},
	} {
		for _, cmd := range verifyCACommands() {
			t.Run(x.name+" "+cmd, func(t *testing.T) {
				server := requiring(t)
				for _, step := range x.steps {
					step(t, server, cmd)
				}
				if got := trusts(t, server, cas); got != x.accepted {
					t.Errorf("clients of %q are accepted, want those of %q", got, x.accepted)
				}
			})
		}
	}
}

// Revocation lists count with every CA, whichever was named first.
func TestOneStoreAndCRLs(t *testing.T) {
	revoked, other := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	cert, key := revoked.leaf(t, "revoked.test", ecKey(t), nil)
	lists := append(revocationList(t, revoked, 1, parsePEM(t, cert).SerialNumber), revocationList(t, other, 1)...)
	for _, cmd := range verifyCACommands() {
		for name, configure := range map[string]func(t *testing.T, c *openssl.Ctx){
			"SetCRLs, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, revoked)
			},
			"Conf, SetCRLs": func(t *testing.T, c *openssl.Ctx) {
				confCA(t, c, cmd, revoked)
				must(t, c.SetCRLs(lists))
			},
			"SetCRLs, Conf, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, other)
				confCA(t, c, cmd, revoked)
			},
			"SetVerifyCAs, SetCRLs, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetVerifyCAs(other.pem))
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, revoked)
			},
		} {
			t.Run(name+" "+cmd, func(t *testing.T) {
				server := requiring(t)
				configure(t, server)
				if got := trusts(t, server, map[string]*authority{"a": revoked}); got != "a" {
					t.Errorf("clients of %q are accepted, want those of %q", got, "a")
				}
				client := bareClient(t)
				must(t, client.SetVerifyCAs(certs(t).pem))
				must(t, client.UseCertificate(cert, key))
				c, s := machines(t, client, server)
				if _, err := shake(t, c, s); err == nil {
					t.Error("a revoked certificate is accepted")
				}
			})
		}
	}
}

// openssl.cnf names no CAs for every SSL_CTX: libssl leaves such commands out
// there. So the setters' are the only ones.
func TestOpensslCnfNamesNoCAs(t *testing.T) {
	for name, trust := range map[string]func(c *openssl.Ctx, ca *authority) error{
		"SetVerifyCAs": func(c *openssl.Ctx, ca *authority) error { return c.SetVerifyCAs(ca.pem) },
		"SetClientCAs": func(c *openssl.Ctx, ca *authority) error { return c.SetClientCAs(ca.pem) },
		"LoadVerifyLocations": func(c *openssl.Ctx, ca *authority) error {
			return c.LoadVerifyLocations(file(t, "ca.pem", ca.pem), "")
		},
		"Conf": func(c *openssl.Ctx, ca *authority) error { return c.Conf("VerifyCAFile", file(t, "ca.pem", ca.pem)) },
	} {
		t.Run(name, func(t *testing.T) {
			// The child's CAs are others: this one goes with the environment.
			const shared = "OPENSSL_TEST_CA_OF_CNF"
			if os.Getenv(shared) == "" {
				a := newAuthority(t, "a", nil)
				cert, key := a.leaf(t, "client of a", ecKey(t), nil)
				t.Setenv(shared, file(t, "a.pem", bytes.Join([][]byte{a.pem, cert, key}, nil)))
			}
			if !underConf(t, "VerifyCAFile = "+os.Getenv(shared)) {
				return
			}
			server, b := requiring(t), newAuthority(t, "b", nil)
			must(t, trust(server, b))
			if got := trusts(t, server, map[string]*authority{"b": b}); got != "b" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "b")
			}
			content, err := os.ReadFile(os.Getenv(shared))
			must(t, err)
			_, leaf, _ := bytes.Cut(content, []byte("-----END CERTIFICATE-----\n"))
			client := bareClient(t)
			must(t, client.SetVerifyCAs(certs(t).pem))
			must(t, client.UseCertificate(leaf, leaf))
			c, s := machines(t, client, server)
			if _, err := shake(t, c, s); err == nil {
				t.Error("a client of the CA in openssl.cnf is accepted")
			}
		})
	}
}

// libssl looks into the first of several stores only. What a later one holds is
// loaded when it is named, or the command is refused.
func TestSeveralStores(t *testing.T) {
	if !isOpenSSL3() {
		t.Skip("there are no stores before 3.0")
	}
	cas := map[string]*authority{"a": newAuthority(t, "a", nil), "b": newAuthority(t, "b", nil)}
	for name, first := range map[string]string{"file": file(t, "ca.pem", cas["a"].pem), "folder": hashed(t, cas["a"].pem)} {
		t.Run(name+", then a file", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			must(t, server.Conf("VerifyCAStore", file(t, "ca.pem", cas["b"].pem)))
			if got := trusts(t, server, cas); got != "ab" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "ab")
			}
		})
		t.Run(name+", then a folder", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			sentence(t, server.Conf("VerifyCAStore", hashed(t, cas["b"].pem)), "SSL_CONF_cmd", "one store only")
			if got := trusts(t, server, cas); got != "a" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "a")
			}
		})
		t.Run(name+", SetVerifyCAs, then a folder", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			must(t, server.SetVerifyCAs(cas["a"].pem))
			must(t, server.Conf("VerifyCAStore", hashed(t, cas["b"].pem)))
			if got := trusts(t, server, cas); got != "b" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "b")
			}
		})
	}
}

// A client that a command has told whom to trust does not trust the system's roots.
func TestConfTrustInsteadOfSystemRoots(t *testing.T) {
	const name = "SSL_CERT_FILE"
	for _, cmd := range verifyCACommands() {
		t.Run(cmd, func(t *testing.T) {
			if !again(t, name+"="+file(t, "root.pem", certs(t).pem)) {
				return
			}
			root := newAuthority(t, "root", nil)
			cert, key := root.leaf(t, "server.test", ecKey(t), nil)
			must(t, os.WriteFile(os.Getenv(name), root.pem, 0o600))
			server := bareServer(t)
			must(t, server.UseCertificate(cert, key))
			for _, x := range []struct {
				configure func(c *openssl.Ctx)
				accepted  bool
			}{
				{func(c *openssl.Ctx) {}, true},
				{func(c *openssl.Ctx) { confCA(t, c, cmd, certs(t)) }, false},
			} {
				client := bareClient(t)
				x.configure(client)
				c, s := machines(t, client, server)
				if err, _ := shake(t, c, s); (err == nil) != x.accepted {
					t.Errorf("a server of a system root: %v, want it accepted: %v", err, x.accepted)
				}
			}
		})
	}
}

// The names of CAs that a server sends are those that were set last.
func TestOneListOfNames(t *testing.T) {
	a, b := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	set := func(t *testing.T, c *openssl.Ctx, ca *authority) { must(t, c.SetClientCAs(ca.pem)) }
	commands := []string{"ClientCAFile", "RequestCAFile", "ClientCAPath", "RequestCAPath", "-requestCAFile"}
	if isOpenSSL3() {
		commands = append(commands, "ClientCAStore", "RequestCAStore", "-requestCAStore")
	}
	for _, cmd := range commands {
		conf := func(t *testing.T, c *openssl.Ctx, ca *authority) { confCA(t, c, cmd, ca) }
		for name, steps := range map[string][2]func(t *testing.T, c *openssl.Ctx, ca *authority){
			"Conf, SetClientCAs": {conf, set}, "SetClientCAs, Conf": {set, conf}, "Conf, Conf": {conf, conf},
		} {
			t.Run(name+" "+cmd, func(t *testing.T) {
				server := newServer(t)
				must(t, server.SetVerify(openssl.VerifyPeer))
				must(t, server.SetSessionIDContext([]byte("names")))
				steps[0](t, server, a)
				steps[1](t, server, b)
				if got := namesSent(t, server); len(got) != 1 || !bytes.Equal(got[0], b.cert.RawSubject) {
					t.Errorf("%q are sent, want the name of b alone", got)
				}
			})
		}
	}
}

// namesSent is the names of CAs in a server's CertificateRequest.
func namesSent(t testing.TB, server *openssl.Ctx) (names [][]byte) {
	t.Helper()
	near, far := tcpPair(t)
	defer near.Close()
	s, err := openssl.Server(far, server)
	must(t, err)
	defer s.Close()
	config := goClient(t)
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		names = r.AcceptableCAs
		return &tls.Certificate{}, nil
	}
	clientErr, serverErr := both(tls.Client(near, config).Handshake, s.Handshake)
	if clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
	return names
}

// A derived context is another one where commands name other CAs, whatever their
// spelling, and the same where the same are named.
func TestDerivedContextKnowsConfTrust(t *testing.T) {
	a, b := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	commands := verifyCACommands()
	commands = append(commands, "ClientCAFile", "-requestCAFile", "ChainCAFile")
	if isOpenSSL3() {
		commands = append(commands, "ClientCAStore")
	}
	for _, cmd := range commands {
		t.Run(cmd, func(t *testing.T) {
			path := file(t, "ca.pem", nil)
			derived := func(content []byte) string {
				must(t, os.WriteFile(path, content, 0o600))
				server, value := requiring(t), path
				if strings.HasSuffix(strings.ToLower(cmd), "path") {
					value = filepath.Dir(path)
				}
				must(t, server.Conf(cmd, value))
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				return fmt.Sprintf("%x", server.SessionIDContext())
			}
			one, other, same := derived(a.pem), derived(b.pem), derived(a.pem)
			if one != same {
				t.Errorf("%s and %s, of the same CA", one, same)
			}
			isPath := strings.HasSuffix(strings.ToLower(cmd), "path") // libssl reads it later
			if one == other && !isPath {
				t.Errorf("%s, of both CAs", one)
			}
		})
	}
}

// A command that this libssl does not know stays unknown.
func TestStoresBefore3(t *testing.T) {
	if isOpenSSL3() {
		t.Skip("there are stores from 3.0 on")
	}
	server := requiring(t)
	for _, cmd := range []string{"VerifyCAStore", "-verifyCAstore", "ChainCAStore", "ClientCAStore", "RequestCAStore"} {
		sentence(t, server.Conf(cmd, file(t, "ca.pem", certs(t).pem)), "SSL_CONF_cmd", cmd, "unknown")
	}
}
