//go:build cgo

package interop_test

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// serveCtx is a server of any name with one Ctx.
func serveCtx(t *testing.T, c *openssl.Ctx) *visits {
	t.Helper()
	hosts := openssl.NewHosts()
	must(t, hosts.SetDefault(c))
	return serveHosts(t, hosts)
}

// sClient is what "openssl s_client" prints of a connection to v.
func sClient(t *testing.T, v *visits, options ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), peer(t, "openssl"), append([]string{
		"s_client", "-connect", net.JoinHostPort(v.host, v.port), "-servername", "server.test", "-ign_eof",
	}, options...)...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\n\r\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("s_client %q: %v\n%s", options, err, out)
	}
	return string(out)
}

// ocspResponse is what "openssl ocsp" answers about a certificate of the test CA.
func ocspResponse(t *testing.T, cert []byte) (der []byte, file string) {
	t.Helper()
	ca := tlstest.Certs(t)
	serial := fmt.Sprintf("%X", tlstest.ParseCert(t, cert).SerialNumber)
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	write := func(name, content string) string { return tlstest.File(t, name, []byte(content)) }
	caFile := write("ca.pem", string(ca.PEM))
	file = filepath.Join(t.TempDir(), "response.der")
	cmd := exec.CommandContext(t.Context(), peer(t, "openssl"), "ocsp",
		"-index", write("index.txt", "V\t491231235959Z\t\t"+serial+"\tunknown\t/CN=server.test\n"),
		"-CA", caFile, "-rsigner", caFile, "-rkey", write("ca.key", string(tlstest.KeyPEM(t, ca.Key))),
		"-issuer", caFile, "-cert", write("server.pem", string(cert)), "-ndays", "1", "-respout", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl ocsp: %v\n%s", err, out)
	}
	der, err := os.ReadFile(file)
	must(t, err)
	return der, file
}

// OpenSSL's client is sent the response that was set, and understands it.
func TestInteropOCSPServer(t *testing.T) {
	const sent = "OCSP Response Status: successful"
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			tlstest.SetVersion(t, server, v.ID)
			visits := serveCtx(t, server)
			if out := sClient(t, visits, "-status"); strings.Contains(out, sent) {
				t.Errorf("before a response is set: %q\n%s", sent, out)
			}
			der, _ := ocspResponse(t, tlstest.Fixtures.ServerCert)
			must(t, server.SetOCSPResponse(der))
			if out := sClient(t, visits, "-status"); !strings.Contains(out, sent) || !strings.Contains(out, "Cert Status: good") {
				t.Errorf("with a response: no %q\n%s", sent, out)
			}
			if out := sClient(t, visits); strings.Contains(out, sent) {
				t.Errorf("to a client that does not ask: %q\n%s", sent, out)
			}
		})
	}
}

// sServer is "openssl s_server" of server.test for one connection, and its address.
func sServer(t *testing.T, options ...string) (addr string) {
	t.Helper()
	tlstest.Certs(t)
	cmd := exec.CommandContext(t.Context(), peer(t, "openssl"), append([]string{
		"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-www",
		"-cert", tlstest.File(t, "server.pem", tlstest.Fixtures.ServerCert), "-key", tlstest.File(t, "server.key", tlstest.Fixtures.ServerKey),
	}, options...)...)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if rest, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			return rest
		}
	}
	t.Fatalf("s_server %q ends without an address:\n%s", options, said.String())
	return ""
}

// A client that asks has the response of OpenSSL's server, byte by byte.
func TestInteropOCSPClient(t *testing.T) {
	der, file := ocspResponse(t, func() []byte { tlstest.Certs(t); return tlstest.Fixtures.ServerCert }())
	for _, v := range tlstest.Versions {
		for _, asks := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", v.Name, asks), func(t *testing.T) {
				addr := sServer(t, "-status_file", file)
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.ID)
				must(t, client.SetOCSPRequest(asks))
				d := openssl.Dialer{Ctx: client, ServerName: "server.test"}
				wire, err := d.DialContext(t.Context(), "tcp", addr)
				must(t, err)
				defer wire.Close()
				got := wire.(*openssl.Conn).ConnectionState().OCSPResponse
				want := ""
				if asks {
					want = string(der)
				}
				if string(got) != want {
					t.Errorf("a response of %d bytes, want %d", len(got), len(want))
				}
			})
		}
	}
}

// OpenSSL's client sees the parameters that were set, or those that libssl chooses, as
// strong as an RSA key of 3072 bits.
func TestInteropDHParameters(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	must(t, err)
	cert, keyPEM := tlstest.Certs(t).Leaf(t, "server.test", key, nil)
	params := func(c *openssl.Ctx) { must(t, c.SetDHParameters([]byte(tlstest.FFDHE2048))) }
	auto := func(c *openssl.Ctx) { must(t, c.SetDHAuto(true)) }
	for _, x := range []struct {
		name string
		set  func(c *openssl.Ctx)
		want string
	}{
		{"SetDHParameters", params, "DH, 2048 bits"},
		{"SetDHAuto", auto, "DH, 3072 bits"},
		{"both", func(c *openssl.Ctx) { params(c); auto(c) }, "DH, 3072 bits"},
		{"SetDHAuto switched off", func(c *openssl.Ctx) { params(c); auto(c); must(t, c.SetDHAuto(false)) }, "DH, 2048 bits"},
	} {
		t.Run(x.name, func(t *testing.T) {
			server := tlstest.BareServer(t)
			must(t, server.UseCertificate(cert, keyPEM))
			tlstest.SetVersion(t, server, tls.VersionTLS12)
			x.set(server)
			want := x.want
			if openssl.Version().LinkedNumber >= 0x40000000 {
				want = "DH, 2048 bits" // the client's first group of RFC 7919, before all of these
			}
			if out := sClient(t, serveCtx(t, server), "-cipher", "DHE-RSA-AES128-GCM-SHA256"); !strings.Contains(out, want) {
				t.Errorf("s_client does not print %q:\n%s", want, out)
			}
		})
	}
}

// OpenSSL's client and a server without a certificate agree on an anonymous suite.
func TestInteropAnonymous(t *testing.T) {
	for _, suite := range []string{"ADH-AES128-SHA256", "AECDH-AES256-SHA"} {
		server := tlstest.BareServer(t)
		must(t, server.SetCipherList(suite+":@SECLEVEL=0"))
		must(t, server.SetMaxVersion(tls.VersionTLS12))
		must(t, server.SetDHAuto(true))
		out := sClient(t, serveCtx(t, server), "-cipher", suite+":@SECLEVEL=0")
		if !strings.Contains(out, "no peer certificate available") || !strings.Contains(out, suite) {
			t.Errorf("s_client does not print %s and no certificate:\n%s", suite, out)
		}
	}
}
