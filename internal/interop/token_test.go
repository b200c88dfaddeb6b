//go:build cgo

package interop_test

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// tokenPIN is the user's PIN of the test's tokens.
const tokenPIN = "73517351"

// softHSM is the PKCS #11 module.
func softHSM(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm", "/usr/lib/*/softhsm", "/usr/lib*/pkcs11", "/usr/local/lib/softhsm"} {
		if found, _ := filepath.Glob(filepath.Join(pattern, "libsofthsm2.so")); found != nil {
			return found[0]
		}
	}
	t.Fatal("softhsm2-util is here, and its libsofthsm2.so is in no folder where one is looked for")
	return ""
}

// openSSLFolder is where the linked OpenSSL looks for what it loads: ENGINESDIR or MODULESDIR.
func openSSLFolder(t *testing.T, option string) string {
	t.Helper()
	out, err := exec.Command(peer(t, "openssl"), "version", option).Output()
	if err != nil { // 1.1.1 has no modules
		return ""
	}
	_, folder, _ := strings.Cut(strings.TrimSpace(string(out)), ": ")
	return strings.Trim(folder, `"`)
}

// tokenWays is how OpenSSL gets at a token: what must be there, and openssl.cnf.
var tokenWays = []struct{ name, needs, option, conf string }{
	{"provider", "pkcs11-provider", "-m", `openssl_conf = init
[init]
providers = providers
[providers]
default = default_sect
pkcs11 = pkcs11_sect
[default_sect]
activate = 1
[pkcs11_sect]
module = LIBRARY
pkcs11-module-path = MODULE
pkcs11-module-cache-keys = never
activate = 1
`},
	{"engine", "libengine-pkcs11-openssl", "-e", `openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11_sect
[pkcs11_sect]
engine_id = pkcs11
dynamic_path = LIBRARY
MODULE_PATH = MODULE
init = 0
`},
}

// tokenFolder is the variable that tells a child process where the certificates are.
const tokenFolder = "TOKEN_FOLDER"

// TestToken has keys in a token of SoftHSM, by the provider or by the engine, whichever is
// installed. Each is tried in a process with a terminal, on which no PIN is asked for.
func TestToken(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it starts SoftHSM, which is not of this repository")
	}
	tlstest.NeedsLibraries(t)
	terminal, found := tlstest.NewTerminal(t), 0
	for _, way := range tokenWays {
		t.Run(way.name, func(t *testing.T) {
			if os.Getenv(tokenFolder) == "" {
				util := peer(t, "softhsm2-util")
				library := filepath.Join(openSSLFolder(t, way.option), "pkcs11.so")
				if _, err := os.Stat(library); err != nil {
					t.Skipf("OpenSSL has no %s for PKCS #11: %v (Debian: apt-get install %s)", way.name, err, way.needs)
				}
				found++
				newToken(t, util, strings.NewReplacer("LIBRARY", library, "MODULE", softHSM(t)).Replace(way.conf))
			}
			if tlstest.OnTerminal(t, terminal) {
				testToken(t, os.Getenv(tokenFolder))
			}
		})
	}
	if found == 0 && os.Getenv("REQUIRE_PEERS") == "1" && os.Getenv(tokenFolder) == "" {
		t.Error("OpenSSL has neither a provider nor an engine for PKCS #11, and REQUIRE_PEERS is set")
	}
}

// newToken makes a token with a key for each certificate that it writes into a folder.
func newToken(t *testing.T, util, conf string) {
	t.Helper()
	ca, dir := tlstest.NewAuthority(t, "test CA", nil), t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatalf("writing what the token's process reads: %v", err)
		}
		return path
	}
	must(t, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	t.Setenv("ASAN_OPTIONS", "detect_leaks=0") // libp11 leaks some bytes
	t.Setenv("SOFTHSM2_CONF", write("softhsm2.conf", []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nobjectstore.backend = file\n")))
	run := func(args ...string) {
		if out, err := exec.Command(util, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", util, args, err, out)
		}
	}
	run("--init-token", "--free", "--label", "test", "--pin", tokenPIN, "--so-pin", tokenPIN)
	for i, x := range []struct {
		object, name string
		key          crypto.Signer
	}{{"ec", "server.test", tlstest.ECKey(t)}, {"rsa", "server.test", tlstest.RSAKey()}, {"client", "client.test", tlstest.ECKey(t)}} {
		cert, key := ca.Leaf(t, x.name, x.key, nil)
		write(x.object, cert)
		run("--import", write("key.pem", key), "--token", "test", "--label", x.object, "--id", fmt.Sprintf("%02d", i+1), "--pin", tokenPIN)
	}
	write("ca", ca.PEM)
	t.Setenv(tokenFolder, dir)
	t.Setenv("OPENSSL_CONF", write("openssl.cnf", []byte(conf)))
}

// testToken uses the keys of a token that no PIN has opened yet.
func testToken(t *testing.T, dir string) {
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		return content
	}
	use := func(c *openssl.Ctx, object, query, pin string) error {
		return c.UseCertificateURI(read(object), "pkcs11:token=test;object="+object+";type=private"+query, []byte(pin))
	}
	server, client := tlstest.BareServer(t), tlstest.BareClient(t)

	err := use(server, "ec", "", "")
	tlstest.Sentence(t, err, "needs a PIN or passphrase, and none was given", "object=ec")
	for _, err := range []error{use(server, "ec", "", "wrong7351"), use(server, "ec", "", strings.Repeat("7351", 100))} {
		tlstest.Sentence(t, err, "PIN", "object=ec")
		secretIsOut(t, err)
	}
	if err = use(server, "ec", "", "wrong7351"); !errors.Is(err, x509.IncorrectPasswordError) {
		t.Errorf("a wrong PIN: %v, want x509.IncorrectPasswordError", err)
	}
	err = use(server, "ec", "?pin-value=wrong7351", "")
	tlstest.Sentence(t, err, "private key", "object=ec", "pin-value=...")
	secretIsOut(t, err)

	must(t, use(server, "ec", "", tokenPIN))
	must(t, use(server, "rsa", "", "")) // the token is open
	must(t, use(client, "client", "?pin-value="+tokenPIN, ""))
	tlstest.Sentence(t, server.UseCertificateURI(read("ec"), "pkcs11:token=test;object=nothing;type=private", []byte(tokenPIN)), "there is no private key")
	tlstest.Sentence(t, server.UseCertificateURI(read("ec"), "pkcs11:token=test;object=rsa;type=private", nil), "certificate and private key")

	must(t, client.SetVerifyCAs(read("ca")))
	must(t, server.SetClientCAs(read("ca")))
	must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, server.SetSessionIDContext([]byte("token")))
	shakeAtOnce(t, client, server, 16)
	for _, v := range tlstest.Versions {
		for want, list := range map[x509.PublicKeyAlgorithm]string{x509.ECDSA: "ECDSA+SHA256", x509.RSA: "RSA-PSS+SHA256:RSA+SHA256"} {
			other := tlstest.BareClient(t)
			tlstest.SetVersion(t, other, v.ID)
			must(t, other.SetVerifyCAs(read("ca")))
			must(t, use(other, "client", "", ""))
			must(t, other.Conf("SignatureAlgorithms", list))
			must(t, other.Conf("ClientSignatureAlgorithms", "ECDSA+SHA256"))
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: other, Server: server})
			if e.ClientErr != nil || e.ServerErr != nil {
				t.Errorf("%s, %s: client %v, server %v", v.Name, want, e.ClientErr, e.ServerErr)
			} else if got := e.Client.PeerCertificates[0].PublicKeyAlgorithm; got != want || len(e.Server.PeerCertificates) != 1 {
				t.Errorf("%s: a certificate of %s, want %s; %d of the client", v.Name, got, want, len(e.Server.PeerCertificates))
			}
		}
	}
}

// shakeAtOnce has n connections shake hands at the same time.
func shakeAtOnce(t *testing.T, client, server *openssl.Ctx, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		c, s := tlstest.Conns(t, client, server)
		wg.Go(func() {
			if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
				t.Errorf("handshake %d: client %v, server %v", i, clientErr, serverErr)
			}
		})
	}
	wg.Wait()
}

// secretIsOut fails if an error holds a part of a PIN, in its text or in what libcrypto quotes.
func secretIsOut(t *testing.T, err error) {
	t.Helper()
	var stack []openssl.ErrorEntry
	if e, ok := tlstest.AsType[*openssl.Error](err); ok {
		stack = e.Stack
	}
	if text := fmt.Sprintf("%v %+v", err, stack); strings.Contains(text, "7351") {
		t.Errorf("a PIN is in %s", text)
	}
}
