//go:build cgo

package interop_test

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

const (
	tpmConf = `openssl_conf = init
[init]
providers = providers
[providers]
default = provider
tpm2 = provider
[provider]
activate = 1
`
	tpmHandle = "handle:0x81000001"
	tpmMade   = `set -e
tpm2_createprimary -Q -C o -g sha256 -G ecc -c primary
tpm2_create -Q -C primary -G ecc256 -u public -r private -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'
tpm2_flushcontext -t || true
tpm2_load -Q -C primary -u public -r private -c key
tpm2_evictcontrol -Q -C o -c key 0x81000001
tpm2_flushcontext -t || true
tpm2_readpublic -Q -c 0x81000001 -f pem -o key.pem
tpm2_flushcontext -t || true
`
)

// TestTPM has the server's key in a TPM 2.0, that of swtpm, by the provider tpm2-openssl.
func TestTPM(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it starts a TPM, which is not of this repository")
	}
	tlstest.NeedsLibraries(t)
	if os.Getenv(tokenFolder) == "" {
		if openssl.Version().LinkedNumber < 0x30500000 {
			t.Skip("tpm2-openssl 1.1.1, which Debian has beside OpenSSL 3.0, gives a key that libssl's handshake cannot sign with")
		}
		folder := openSSLFolder(t, "-m")
		for name, missing := range map[string]error{
			"tpm2-openssl": second(os.Stat(filepath.Join(folder, "tpm2.so"))),
			"swtpm":        second(exec.LookPath("swtpm")),
			"tpm2-tools":   second(exec.LookPath("tpm2_create")),
		} {
			if missing != nil {
				t.Skipf("there is no TPM to try: %v (Debian: apt-get install %s)", missing, name)
			}
		}
		newTPM(t)
	}
	if tlstest.Again(t) {
		testTPM(t, os.Getenv(tokenFolder))
	}
}

func second[T any](_ T, err error) error { return err }

// newTPM starts a TPM with a key and writes the key's certificate into a folder.
func newTPM(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	must(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	at := "swtpm:host=127.0.0.1,port=" + strconv.Itoa(startTPM(t, filepath.Join(dir, "state")))
	t.Setenv("TPM2TOOLS_TCTI", at)
	t.Setenv("TPM2OPENSSL_TCTI", at)
	tools := exec.Command("sh", "-c", tpmMade)
	tools.Dir = dir
	if out, err := tools.CombinedOutput(); err != nil {
		t.Fatalf("making a key in the TPM: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(t, err)
	ca := tlstest.NewAuthority(t, "test CA", nil)
	write("ca", ca.PEM)
	write("leaf", ca.Certify(t, "server.test", key, nil))
	t.Setenv(tokenFolder, dir)
	t.Setenv("OPENSSL_CONF", write("openssl.cnf", []byte(tpmConf)))
}

// startTPM starts a TPM and returns its port. Its clients look for the channel of control at
// the next one, which it inherits; its own it must open itself, and may find it taken.
func startTPM(t *testing.T, state string) (port int) {
	t.Helper()
	for range 100 {
		commands, err := net.Listen("tcp4", "127.0.0.1:0")
		must(t, err)
		port = commands.Addr().(*net.TCPAddr).Port
		control, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port+1))
		commands.Close()
		if err != nil {
			continue
		}
		inherited, err := control.(*net.TCPListener).File()
		must(t, err)
		must(t, syscall.SetNonblock(int(inherited.Fd()), false)) // swtpm waits in accept
		tpm := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--flags", "not-need-init,startup-clear",
			"--server", "type=tcp,port="+strconv.Itoa(port), "--ctrl", "type=tcp,fd=3")
		tpm.ExtraFiles = []*os.File{inherited}
		must(t, tpm.Start())
		control.Close()
		inherited.Close()
		t.Cleanup(func() {
			tpm.Process.Kill()
			tpm.Wait()
		})
		if answersTPM(port + 1) {
			return port
		}
	}
	t.Fatal("no two ports beside each other are free")
	return 0
}

// answersTPM reports whether a TPM runs: it has answered CMD_GET_CAPABILITY, its first command.
func answersTPM(port int) bool {
	c, err := net.Dial("tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	defer c.Close()
	var answer [4]byte
	c.Write([]byte{0, 0, 0, 1})
	_, err = io.ReadFull(c, answer[:])
	return err == nil
}

func testTPM(t *testing.T, dir string) {
	leaf, err := os.ReadFile(filepath.Join(dir, "leaf"))
	must(t, err)
	ca, err := os.ReadFile(filepath.Join(dir, "ca"))
	must(t, err)
	server, client := tlstest.BareServer(t), tlstest.BareClient(t)
	tlstest.Sentence(t, server.UseCertificateURI(leaf, "handle:0x81000777", nil), "there is no private key", "handle:0x81000777")
	must(t, server.UseCertificateURI(leaf, tpmHandle, nil))
	must(t, server.SetSessionIDContext([]byte("tpm")))
	must(t, client.SetVerifyCAs(ca))
	shakeAtOnce(t, client, server, 8)
	for _, v := range tlstest.Versions {
		other := tlstest.BareClient(t)
		tlstest.SetVersion(t, other, v.ID)
		must(t, other.SetVerifyCAs(ca))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: other, Server: server})
		if e.ClientErr != nil || e.ServerErr != nil || !strings.Contains(e.Client.PeerCertificates[0].Subject.String(), "server.test") {
			t.Errorf("%s: client %v, server %v", v.Name, e.ClientErr, e.ServerErr)
		}
	}
}
