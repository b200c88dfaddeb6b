package mender

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

func at127(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }

// serve starts an s_server that answers with a page about the connection.
func serve(t *testing.T, ca *tlstest.Authority, change func(*x509.Certificate), args ...string) (url string) {
	t.Helper()
	cert, key := ca.Leaf(t, "server.test", tlstest.ECKey(t), change)
	return "https://" + peer.Server(t, append([]string{"-www", "-cert", tlstest.File(t, "cert.pem", cert), "-key", tlstest.File(t, "key.pem", key)}, args...)...)
}

// get is the page at a URL.
func get(t *testing.T, config Config, url string) (string, error) {
	t.Helper()
	c, err := NewClient(config)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.Timeout = peer.Patience
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(page), err
}

// TestTrust has servers of the system's roots and of ServerCertificate.
func TestTrust(t *testing.T) {
	system, own := tlstest.NewAuthority(t, "system", nil), tlstest.NewAuthority(t, "own", nil)
	t.Setenv("SSL_CERT_FILE", tlstest.File(t, "system.pem", system.PEM))
	both := Config{ServerCertificate: tlstest.File(t, "own.pem", own.PEM)}
	ofSystem, ofOwn := serve(t, system, at127), serve(t, own, at127)
	expired := serve(t, own, func(c *x509.Certificate) { at127(c); c.NotAfter = time.Now().Add(-time.Minute) })
	for _, x := range []struct {
		what, url string
		config    Config
		says      string // the advice, if it is refused
	}{
		{"the system's", ofSystem, both, ""},
		{"the server's own", ofOwn, both, ""},
		{"without the own one", ofOwn, Config{}, advice[20]},
		{"expired", expired, both, advice[10]},
		{"another name", serve(t, own, nil), both, "IP address mismatch"},
		{"nothing verified", expired, Config{SkipVerify: true}, ""},
	} {
		page, err := get(t, x.config, x.url)
		if x.says != "" {
			tlstest.Says(t, err, x.says)
		} else if err != nil || !strings.Contains(page, "s_server") {
			t.Errorf("%s: %v\n%s", x.what, err, page)
		}
	}
}

// TestProxy reaches the server through a proxy, by CONNECT. The proxy sees the address alone.
func TestProxy(t *testing.T) {
	ca := tlstest.NewAuthority(t, "own", nil)
	server := serve(t, ca, at127)
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " https://" + r.Host
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer far.Close()
		w.WriteHeader(http.StatusOK)
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer near.Close()
		go io.Copy(far, buffered)
		io.Copy(near, far)
	}))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	config := Config{ServerCertificate: tlstest.File(t, "own.pem", ca.PEM), Proxy: http.ProxyURL(address)}
	if page, err := get(t, config, server); err != nil || !strings.Contains(page, "s_server") {
		t.Fatalf("through the proxy: %v\n%s", err, page)
	}
	if got, want := <-asked, "CONNECT "+server; got != want {
		t.Errorf("the proxy was asked %q, want %q", got, want)
	}
}

const pin = "73517351"

// ways is how OpenSSL gets at a token: the folder in which it looks for a library, and
// openssl.cnf.
var ways = []struct{ name, debian, option, conf string }{
	{"provider", "pkcs11-provider", "-m", `openssl_conf = init
[init]
providers = providers
[providers]
default = base
pkcs11 = pkcs11
[base]
activate = 1
[pkcs11]
module = LIBRARY
pkcs11-module-path = MODULE
pkcs11-module-cache-keys = never
activate = 1
`},
	{"engine", "libengine-pkcs11-openssl", "-e", `openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
dynamic_path = LIBRARY
MODULE_PATH = MODULE
init = 0
`},
}

// TestToken has a device's key in a token of SoftHSM, by the provider or by the engine, and
// a server that requires its certificate. openssl.cnf is read once, so that each is tried in
// a process of its own.
func TestToken(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it starts SoftHSM, which is not of this repository")
	}
	util := peer.Program(t, "softhsm2-util", "softhsm2")
	found := 0
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			if os.Getenv("TOKEN_SERVER") != "" {
				visitWithToken(t)
				return
			}
			env := newToken(t, util, way.option, way.conf, "no "+way.name+" for PKCS #11 (Debian: apt-get install "+way.debian+")")
			found++
			tlstest.Again(t, env...)
		})
	}
	if found == 0 && os.Getenv("REQUIRE_PEERS") == "1" && os.Getenv("TOKEN_SERVER") == "" {
		t.Error("OpenSSL has neither a provider nor an engine for PKCS #11, and REQUIRE_PEERS is set")
	}
}

// newToken makes a token with the device's key, and a server. It returns the environment
// of the process that uses them.
func newToken(t *testing.T, util, option, conf, missing string) []string {
	t.Helper()
	_, folder, _ := strings.Cut(strings.TrimSpace(string(peer.OpenSSL(t, "", "version", option))), ": ")
	library := filepath.Join(strings.Trim(folder, `"`), "pkcs11.so")
	if _, err := os.Stat(library); err != nil {
		t.Skipf("OpenSSL has %s: %v", missing, err)
	}
	modules, err := filepath.Glob("/usr/lib/*/softhsm/libsofthsm2.so")
	if more, _ := filepath.Glob("/usr/lib*/*/libsofthsm2.so"); err == nil {
		modules = append(modules, more...)
	}
	if len(modules) == 0 {
		t.Fatal("softhsm2-util is here, and libsofthsm2.so is in no folder of /usr/lib")
	}
	ca := tlstest.NewAuthority(t, "own", nil)
	cert, key := ca.Leaf(t, "device", tlstest.ECKey(t), nil)
	caFile, tokens := tlstest.File(t, "ca.pem", ca.PEM), t.TempDir()
	softhsm := tlstest.File(t, "softhsm2.conf", []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\n"))
	t.Setenv("SOFTHSM2_CONF", softhsm)
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "device", "--pin", pin, "--so-pin", pin},
		{"--import", tlstest.File(t, "key.pem", key), "--token", "device", "--label", "https", "--id", "01", "--pin", pin},
	} {
		if out, err := exec.Command(util, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", util, args, err, out)
		}
	}
	return []string{
		"TOKEN_SERVER=" + serve(t, ca, at127, "-CAfile", caFile, "-Verify", "1", "-verify_return_error"),
		"TOKEN_CA=" + caFile, "TOKEN_CERT=" + tlstest.File(t, "device.pem", cert), "SOFTHSM2_CONF=" + softhsm,
		"OPENSSL_CONF=" + tlstest.File(t, "openssl.cnf", []byte(strings.NewReplacer("LIBRARY", library, "MODULE", modules[0]).Replace(conf))),
	}
}

// visitWithToken is what the process with the token does.
func visitWithToken(t *testing.T) {
	const key = "pkcs11:token=device;object=https;type=private"
	config := Config{ServerCertificate: os.Getenv("TOKEN_CA"), Certificate: os.Getenv("TOKEN_CERT"), Key: key}
	server := os.Getenv("TOKEN_SERVER")
	_, err := NewClient(config)
	tlstest.Says(t, err, "needs a PIN")
	config.PIN = "73510000"
	if _, err = NewClient(config); !errors.Is(err, x509.IncorrectPasswordError) || strings.Contains(err.Error(), config.PIN) {
		t.Errorf("a wrong PIN: %v, want x509.IncorrectPasswordError, without the PIN", err)
	}
	config.PIN = pin
	if page, err := get(t, config, server); err != nil || !strings.Contains(page, "CN=device") && !strings.Contains(page, "CN = device") {
		t.Errorf("with the key of the token: %v\n%s", err, page)
	}
	config.Key, config.PIN = key+"?pin-value="+pin, ""
	if _, err := get(t, config, server); err != nil {
		t.Errorf("with the PIN in the URI: %v", err)
	}
	if page, err := get(t, Config{ServerCertificate: config.ServerCertificate}, server); err == nil {
		t.Errorf("without a certificate the server answers\n%s", page)
	}
}
