//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// file writes a file into the test's folder.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

// A command does what openssl.cnf's would, by either of its names.
func TestConf(t *testing.T) {
	for _, command := range [][2]string{
		{"MaxProtocol", "TLSv1.2"},
		{"maxprotocol", "TLSv1.2"}, // names of openssl.cnf have no case
		{"-max_protocol", "TLSv1.2"},
		{"-no_tls1_3", ""},
		{"Protocol", "-TLSv1.3"},
	} {
		t.Run(command[0], func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			must(t, server.Conf(command[0], command[1]))
			c, s := machines(t, client, server)
			mustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS12 {
				t.Fatalf("version %#x", got)
			}
			goodbye(t, c, s)
		})
	}
}

func TestConfCiphers(t *testing.T) {
	const suite = "TLS_CHACHA20_POLY1305_SHA256"
	client, server := newClient(t), newServer(t)
	must(t, client.Conf("Ciphersuites", suite))
	must(t, client.Conf("SignatureAlgorithms", "ECDSA+SHA256"))
	c, s := machines(t, client, server)
	mustShake(t, c, s)
	if got := s.ConnectionState().CipherName; got != suite {
		t.Fatalf("suite %s", got)
	}
	goodbye(t, c, s)
}

func TestConfOptions(t *testing.T) {
	server := newServer(t)
	must(t, server.Conf("Options", "-SessionTicket"))
	if server.Options()&openssl.OptionNoTicket == 0 {
		t.Fatalf("options %#x", server.Options())
	}
	must(t, server.Conf("-bugs", ""))
}

func TestConfRefused(t *testing.T) {
	for _, test := range []struct {
		name, cmd, value, says string
	}{
		{"unknown", "NoSuchThing", "x", "unknown"},
		{"unknown with a dash", "-no_such_thing", "x", "unknown"},
		{"a dash alone", "-", "x", "unknown"},
		{"openssl.cnf's name with a dash", "-MaxProtocol", "TLSv1.2", "unknown"},
		{"the command line's name without", "max_protocol", "TLSv1.2", "unknown"},
		{"empty", "", "x", "no command"},
		{"NUL in the command", "Max\x00Protocol", "TLSv1.2", "no command"},
		{"NUL in the value", "MaxProtocol", "TLSv1.2\x00", "no command"},
		{"no value", "MaxProtocol", "", "needs a value"},
		{"no value for a file", "Certificate", "", "needs a value"},
		{"bad value", "MaxProtocol", "TLSv9", "does not take"},
		{"bad list", "SignatureAlgorithms", "nonsense+SHA0", "does not take"},
		{"no such file", "Certificate", filepath.Join("no", "such", "file"), "does not take"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			err := server.Conf(test.cmd, test.value)
			if err == nil {
				t.Fatal("taken")
			}
			if text := err.Error(); !strings.Contains(text, test.says) || !strings.HasPrefix(text, "openssl: SSL_CONF_cmd: ") || strings.Contains(text, "\n") {
				t.Errorf("it says %q, nothing of %q", text, test.says)
			}
			c, s := machines(t, client, server) // nothing has changed
			mustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS13 {
				t.Errorf("version %#x", got)
			}
			goodbye(t, c, s)
		})
	}
}

// Commands know their role.
func TestConfRole(t *testing.T) {
	if err := newClient(t).Conf("-serverpref", ""); err == nil {
		t.Error("a client took a server's command")
	}
	must(t, newServer(t).Conf("-serverpref", ""))
}

func TestConfCertificate(t *testing.T) {
	certs(t)
	server, err := openssl.NewServerCtx()
	must(t, err)
	defer server.Close()
	must(t, server.Conf("Certificate", file(t, "cert.pem", fixtures.serverCert)))
	must(t, server.Conf("PrivateKey", file(t, "key.pem", fixtures.serverKey)))
	mustVisit(t, newClient(t), server, nil, openssl.ResumptionNotOffered)
}

func TestConfVerify(t *testing.T) {
	server := newServer(t)
	must(t, server.SetSessionIDContext([]byte("a")))
	must(t, server.Conf("VerifyCAFile", file(t, "ca.pem", certs(t).pem)))
	must(t, server.Conf("ClientCAFile", file(t, "names.pem", certs(t).pem)))
	must(t, server.Conf("VerifyMode", "Require"))
	c, s := machines(t, newClient(t), server)
	mustShake(t, c, s)
	if got := len(s.ConnectionState().PeerCertificates); got != 1 {
		t.Fatalf("%d client certificates", got)
	}
	goodbye(t, c, s)
}

// An encrypted key is an error. A prompt would wait for a terminal that a server
// has not, and here for the test's end.
func TestConfEncryptedKey(t *testing.T) {
	certs(t)
	block, _ := pem.Decode(fixtures.serverKey)
	//lint:ignore SA1019 it is what is to be refused
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", block.Bytes, []byte("password"), x509.PEMCipherAES256)
	must(t, err)
	server := newServer(t)
	must(t, server.Conf("Certificate", file(t, "cert.pem", fixtures.serverCert)))
	err = server.Conf("PrivateKey", file(t, "key.pem", pem.EncodeToMemory(sealed)))
	if opensslErr := (*openssl.Error)(nil); !errors.As(err, &opensslErr) {
		t.Fatalf("an encrypted key: %v", err)
	}
}

func TestConfFrozen(t *testing.T) {
	client, server := newClient(t), newServer(t)
	mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
	if err := server.Conf("MaxProtocol", "TLSv1.2"); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatal(err)
	}
}

// refusedConf is commands that libssl applies in part before it refuses them, and
// values for them made from what a test has.
var refusedConf = []struct {
	name, cmd string
	value     func(t *testing.T) string
}{
	{"Options", "Options", text("-SessionTicket,ServerPreference,Nonsense")},
	{"Options, bad first", "Options", text("Nonsense,-SessionTicket")},
	{"Protocol", "Protocol", text("-TLSv1.3,Nonsense")},
	{"VerifyMode", "VerifyMode", text("Require,Nonsense")},
	{"CipherString, none known", "CipherString", text("NONSENSE")},
	{"CipherString, with a level", "CipherString", text("@SECLEVEL=5:NONSENSE")},
	{"-cipher, none known", "-cipher", text("NONSENSE")},
	{"Ciphersuites", "Ciphersuites", text("TLS_AES_128_GCM_SHA256,NONSENSE:x")},
	{"SignatureAlgorithms", "SignatureAlgorithms", text("ECDSA+SHA256:x+y+z")},
	{"Certificate, its chain broken", "Certificate", func(t *testing.T) string {
		cert, _ := certs(t).leaf(t, "elsewhere.test", ecKey(t), nil)
		return file(t, "cert.pem", append(cert, fixtures.serverCert[:len(fixtures.serverCert)/2]...))
	}},
	{"-cert, its chain broken", "-cert", func(t *testing.T) string {
		cert, _ := certs(t).leaf(t, "elsewhere.test", ecKey(t), nil)
		return file(t, "cert.pem", append(cert, fixtures.serverCert[:len(fixtures.serverCert)/2]...))
	}},
	{"PrivateKey of another certificate", "PrivateKey", func(t *testing.T) string { return file(t, "key.pem", keyPEM(t, ecKey(t))) }},
	{"-key of another certificate", "-key", func(t *testing.T) string { return file(t, "key.pem", keyPEM(t, ecKey(t))) }},
	{"PrivateKey, garbage", "PrivateKey", func(t *testing.T) string { return file(t, "key.pem", []byte("garbage")) }},
	{"VerifyCAFile, garbage", "VerifyCAFile", func(t *testing.T) string { return file(t, "ca.pem", []byte("garbage")) }},
	{"ClientCAPath, none", "ClientCAPath", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }},
	{"DHParameters, garbage", "DHParameters", func(t *testing.T) string { return file(t, "dh.pem", []byte("garbage")) }},
	{"ServerInfoFile, an extension twice", "ServerInfoFile", func(t *testing.T) string {
		return file(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff0)...))
	}},
}

func text(s string) func(*testing.T) string { return func(*testing.T) string { return s } }

// serverInfo is an extension of a server in the form that ServerInfoFile takes.
func serverInfo(extension uint16) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "SERVERINFO FOR a test", Bytes: []byte{byte(extension >> 8), byte(extension), 0, 1, 'x'}})
}

// A command that is refused changes nothing, not even what stands before the part
// that is to blame.
func TestConfRefusedChangesNothing(t *testing.T) {
	for _, x := range refusedConf {
		for _, version := range versions {
			t.Run(x.name+"/"+version.name, func(t *testing.T) {
				client, server := newClient(t), newServer(t)
				must(t, server.SetClientCAs(certs(t).pem))
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				options, sidCtx := server.Options(), server.SessionIDContext()
				err := server.Conf(x.cmd, x.value(t))
				if err == nil {
					t.Fatal("the command is taken")
				}
				sentence(t, err, "SSL_CONF_cmd", x.cmd)
				if got := server.Options(); got != options {
					t.Errorf("the options are %#x, were %#x", got, options)
				}
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				if got := server.SessionIDContext(); !bytes.Equal(got, sidCtx) {
					t.Errorf("the derived context is %x, was %x", got, sidCtx)
				}
				setVersion(t, client, version.id)
				c, s := machines(t, client, server)
				mustShake(t, c, s)
				state := c.ConnectionState()
				if got := state.PeerCertificates[0].Subject.CommonName; got != "server.test" {
					t.Errorf("the server shows the certificate of %s", got)
				}
				if got := len(s.ConnectionState().PeerCertificates); got != 0 {
					t.Errorf("the client has been asked for a certificate, and gave %d", got)
				}
				if (keep(t, c) == nil) != (openssl.OptionNoTicket&options != 0) {
					t.Error("a session, or none, unlike before")
				}
				goodbye(t, c, s)
			})
		}
	}
}

// ServerInfoFile registers extensions for good. A refused one has registered none,
// and one that would register an extension again changes nothing.
func TestConfServerInfo(t *testing.T) {
	server := newServer(t)
	if server.Conf("ServerInfoFile", file(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff0)...))) == nil {
		t.Error("an extension twice in a file is taken")
	}
	must(t, server.Conf("ServerInfoFile", file(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff1)...))))
	for _, extension := range []uint16{0xfff0, 0xfff1} {
		sentence(t, server.Conf("ServerInfoFile", file(t, "info.pem", append(serverInfo(0xfff2), serverInfo(extension)...))), "ServerInfoFile")
	}
	must(t, server.Conf("ServerInfoFile", file(t, "info.pem", serverInfo(0xfff2))))
	c, s := machines(t, newClient(t), server)
	mustShake(t, c, s)
	goodbye(t, c, s)
}

// What a command reads is read more than once: a pipe has nothing for the second
// reader.
func TestConfOfAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	must(t, w.Close())
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	server := newServer(t)
	sentence(t, server.Conf("VerifyCAFile", path), "VerifyCAFile", "not a regular file")
	sentence(t, server.LoadVerifyLocations(path, ""), "not a regular file")
}

// says fails unless there is an error with each of the parts in its text.
func says(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// What a switch to another Ctx leaves behind is refused where Ctxs are switched
// to, set by a command as by its setter.
func TestConfListenOnly(t *testing.T) {
	for cmd, value := range map[string]string{
		"Groups": "P-256", "Curves": "P-256", "ECDHParameters": "P-256", "NumTickets": "1", "RecordPadding": "64",
		"groups": "P-256", "numtickets": "1",
		"-groups": "P-256", "-curves": "P-256", "-named_curve": "P-256", "-num_tickets": "1", "-record_padding": "64",
	} {
		t.Run(cmd, func(t *testing.T) {
			called := fmt.Sprintf("Conf(%q)", cmd)
			host := newServer(t)
			must(t, host.Conf(cmd, value))
			hosts := openssl.NewHosts()
			says(t, hosts.Add("server.test", host), called)

			other := newServer(t)
			must(t, other.Conf(cmd, value))
			_, s := machines(t, newClient(t), newServer(t))
			sentence(t, s.SetCtx(other), called)

			listener := newServer(t)
			must(t, listener.Conf(cmd, value))
			c, s := machines(t, newClient(t), listener)
			mustShake(t, c, s)
			goodbye(t, c, s)
		})
	}
}

// A command that is refused leaves a Ctx that can be switched to.
func TestConfListenOnlyRefused(t *testing.T) {
	for cmd, value := range map[string]string{"Groups": "nonsense", "NumTickets": "-1", "-named_curve": "nonsense"} {
		host := newServer(t)
		if host.Conf(cmd, value) == nil {
			t.Errorf("Conf(%q, %q) is taken", cmd, value)
		}
		must(t, openssl.NewHosts().Add("server.test", host))
	}
}

// Verify modes that ask nobody for a certificate, although they say what happens
// without one, are refused by whichever way they come.
func TestVerifyModesThatAskNobody(t *testing.T) {
	for _, x := range []struct {
		mode  openssl.VerifyMode
		fault string
	}{
		{openssl.VerifyFailIfNoPeerCert, "VerifyFailIfNoPeerCert"},
		{openssl.VerifyClientOnce, "VerifyClientOnce"},
		{openssl.VerifyFailIfNoPeerCert | openssl.VerifyClientOnce, "VerifyFailIfNoPeerCert"},
		{openssl.VerifyPostHandshake, "VerifyPostHandshake"},
		{openssl.VerifyPeer | openssl.VerifyPostHandshake, "VerifyPostHandshake"},
		{openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert | openssl.VerifyPostHandshake, "VerifyPostHandshake"},
		{openssl.VerifyDefer | openssl.VerifyPostHandshake, "VerifyPostHandshake"},
	} {
		for _, c := range []*openssl.Ctx{newServer(t), newClient(t)} {
			sentence(t, c.SetVerify(x.mode), "SSL_CTX_set_verify", x.fault)
		}
	}
	for _, mode := range []openssl.VerifyMode{
		openssl.VerifyNone, openssl.VerifyPeer, openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert, openssl.VerifyPeer | openssl.VerifyClientOnce,
		openssl.VerifyDefer, openssl.VerifyDefer | openssl.VerifyFailIfNoPeerCert, openssl.VerifyDefer | openssl.VerifyClientOnce,
	} {
		if err := newServer(t).SetVerify(mode); err != nil {
			t.Errorf("SetVerify(%#x): %v", int(mode), err)
		}
	}
	for value, fault := range map[string]string{
		"RequestPostHandshake": "VerifyPostHandshake", "RequirePostHandshake": "VerifyPostHandshake",
		"Require,RequestPostHandshake": "VerifyPostHandshake",
		"Require,-Request":             "VerifyFailIfNoPeerCert", "Once,-Request": "VerifyClientOnce",
	} {
		t.Run("Conf "+value, func(t *testing.T) {
			server := newServer(t)
			sentence(t, server.Conf("VerifyMode", value), "SSL_CONF_cmd", "VerifyMode", value, fault)
			c, s := machines(t, newClient(t), server) // nothing has changed
			mustShake(t, c, s)
			if got := len(s.ConnectionState().PeerCertificates); got != 0 {
				t.Errorf("%d client certificates", got)
			}
			goodbye(t, c, s)
		})
	}
	t.Run("Conf takes VerifyPeer from VerifyDefer", func(t *testing.T) {
		server := newServer(t)
		must(t, server.SetVerify(openssl.VerifyDefer))
		sentence(t, server.Conf("VerifyMode", "-Request"), "SSL_CONF_cmd", "VerifyDefer")
	})
}

// underConf runs this one test once more in a process of its own whose openssl.cnf
// holds these commands for every SSL_CTX. Over there child is true.
func underConf(t *testing.T, commands ...string) (child bool) {
	t.Helper()
	cnf := "openssl_conf = main\n[main]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n[all]\n" + strings.Join(commands, "\n") + "\n"
	return again(t, "OPENSSL_CONF="+file(t, "openssl.cnf", []byte(cnf)))
}

// A verify mode that openssl.cnf has set is looked at when the Ctx freezes, unless
// a setter has changed it before.
func TestVerifyModeOfOpensslCnf(t *testing.T) {
	for value, fault := range map[string]string{
		"RequestPostHandshake": "VerifyPostHandshake", "RequirePostHandshake": "VerifyPostHandshake", "Require,-Request": "VerifyFailIfNoPeerCert",
	} {
		t.Run(value, func(t *testing.T) {
			if !underConf(t, "VerifyMode = "+value) {
				return
			}
			server := newServer(t)
			must(t, server.SetSessionIDContext(nil))
			s, err := openssl.NewSSL(server)
			sentence(t, err, "openssl.cnf", fault)
			if err == nil {
				s.Close()
			}
			says(t, openssl.NewHosts().Add("server.test", server), "openssl.cnf", fault)
			must(t, server.Conf("MaxProtocol", "TLSv1.2")) // is not to blame
			must(t, server.SetClientCAs(certs(t).pem))
			must(t, server.SetVerify(openssl.VerifyPeer))
			c, s := machines(t, newClient(t), server)
			mustShake(t, c, s)
			goodbye(t, c, s)
		})
	}
}
