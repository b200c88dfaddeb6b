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
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

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
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			must(t, server.Conf(command[0], command[1]))
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS12 {
				t.Fatalf("version %#x", got)
			}
			tlstest.Goodbye(t, c, s)
		})
	}
}

func TestConfCiphers(t *testing.T) {
	const suite = "TLS_CHACHA20_POLY1305_SHA256"
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	must(t, client.Conf("Ciphersuites", suite))
	must(t, client.Conf("SignatureAlgorithms", "ECDSA+SHA256"))
	c, s := tlstest.Machines(t, client, server)
	tlstest.MustShake(t, c, s)
	if got := s.ConnectionState().CipherName; got != suite {
		t.Fatalf("suite %s", got)
	}
	tlstest.Goodbye(t, c, s)
}

func TestConfOptions(t *testing.T) {
	server := tlstest.NewServer(t)
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
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			err := server.Conf(test.cmd, test.value)
			if err == nil {
				t.Fatal("taken")
			}
			if text := err.Error(); !strings.Contains(text, test.says) || !strings.HasPrefix(text, "openssl: SSL_CONF_cmd: ") || strings.Contains(text, "\n") {
				t.Errorf("it says %q, nothing of %q", text, test.says)
			}
			c, s := tlstest.Machines(t, client, server) // nothing has changed
			tlstest.MustShake(t, c, s)
			if got := c.ConnectionState().Version; got != tls.VersionTLS13 {
				t.Errorf("version %#x", got)
			}
			tlstest.Goodbye(t, c, s)
		})
	}
}

// Commands know their role.
func TestConfRole(t *testing.T) {
	if err := tlstest.NewClient(t).Conf("-serverpref", ""); err == nil {
		t.Error("a client took a server's command")
	}
	must(t, tlstest.NewServer(t).Conf("-serverpref", ""))
}

func TestConfCertificate(t *testing.T) {
	tlstest.Certs(t)
	server, err := openssl.NewServerCtx()
	must(t, err)
	defer server.Close()
	must(t, server.Conf("Certificate", tlstest.File(t, "cert.pem", tlstest.Fixtures.ServerCert)))
	must(t, server.Conf("PrivateKey", tlstest.File(t, "key.pem", tlstest.Fixtures.ServerKey)))
	tlstest.MustOffer(t, tlstest.NewClient(t), server, nil, openssl.ResumptionNotOffered)
}

func TestConfVerify(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetSessionIDContext([]byte("a")))
	must(t, server.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", tlstest.Certs(t).PEM)))
	must(t, server.Conf("ClientCAFile", tlstest.File(t, "names.pem", tlstest.Certs(t).PEM)))
	must(t, server.Conf("VerifyMode", "Require"))
	c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
	tlstest.MustShake(t, c, s)
	if got := len(s.ConnectionState().PeerCertificates); got != 1 {
		t.Fatalf("%d client certificates", got)
	}
	tlstest.Goodbye(t, c, s)
}

// An encrypted key is an error. A prompt would wait for a terminal that a server
// has not, and here for the test's end.
func TestConfEncryptedKey(t *testing.T) {
	tlstest.Certs(t)
	block, _ := pem.Decode(tlstest.Fixtures.ServerKey)
	//lint:ignore SA1019 it is what is to be refused
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", block.Bytes, []byte("password"), x509.PEMCipherAES256)
	must(t, err)
	server := tlstest.NewServer(t)
	must(t, server.Conf("Certificate", tlstest.File(t, "cert.pem", tlstest.Fixtures.ServerCert)))
	err = server.Conf("PrivateKey", tlstest.File(t, "key.pem", pem.EncodeToMemory(sealed)))
	if opensslErr := (*openssl.Error)(nil); !errors.As(err, &opensslErr) {
		t.Fatalf("an encrypted key: %v", err)
	}
}

func TestConfFrozen(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	if err := server.Conf("MaxProtocol", "TLSv1.2"); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatalf("Conf: %v", err)
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
		cert, _ := tlstest.Certs(t).Leaf(t, "elsewhere.test", tlstest.ECKey(t), nil)
		return tlstest.File(t, "cert.pem", append(cert, tlstest.Fixtures.ServerCert[:len(tlstest.Fixtures.ServerCert)/2]...))
	}},
	{"-cert, its chain broken", "-cert", func(t *testing.T) string {
		cert, _ := tlstest.Certs(t).Leaf(t, "elsewhere.test", tlstest.ECKey(t), nil)
		return tlstest.File(t, "cert.pem", append(cert, tlstest.Fixtures.ServerCert[:len(tlstest.Fixtures.ServerCert)/2]...))
	}},
	{"PrivateKey of another certificate", "PrivateKey", func(t *testing.T) string { return tlstest.File(t, "key.pem", tlstest.KeyPEM(t, tlstest.ECKey(t))) }},
	{"-key of another certificate", "-key", func(t *testing.T) string { return tlstest.File(t, "key.pem", tlstest.KeyPEM(t, tlstest.ECKey(t))) }},
	{"PrivateKey, garbage", "PrivateKey", func(t *testing.T) string { return tlstest.File(t, "key.pem", []byte("garbage")) }},
	{"VerifyCAFile, garbage", "VerifyCAFile", func(t *testing.T) string { return tlstest.File(t, "ca.pem", []byte("garbage")) }},
	{"ClientCAPath, none", "ClientCAPath", func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }},
	{"DHParameters, garbage", "DHParameters", func(t *testing.T) string { return tlstest.File(t, "dh.pem", []byte("garbage")) }},
	{"ServerInfoFile, an extension twice", "ServerInfoFile", func(t *testing.T) string {
		return tlstest.File(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff0)...))
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
		for _, version := range tlstest.Versions {
			t.Run(x.name+"/"+version.Name, func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				options, sidCtx := server.Options(), server.SessionIDContext()
				err := server.Conf(x.cmd, x.value(t))
				if err == nil {
					t.Fatal("the command is taken")
				}
				tlstest.Sentence(t, err, "SSL_CONF_cmd", x.cmd)
				if got := server.Options(); got != options {
					t.Errorf("the options are %#x, were %#x", got, options)
				}
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				if got := server.SessionIDContext(); !bytes.Equal(got, sidCtx) {
					t.Errorf("the derived context is %x, was %x", got, sidCtx)
				}
				tlstest.SetVersion(t, client, version.ID)
				c, s := tlstest.Machines(t, client, server)
				tlstest.MustShake(t, c, s)
				state := c.ConnectionState()
				if got := state.PeerCertificates[0].Subject.CommonName; got != "server.test" {
					t.Errorf("the server shows the certificate of %s", got)
				}
				if got := len(s.ConnectionState().PeerCertificates); got != 0 {
					t.Errorf("the client has been asked for a certificate, and gave %d", got)
				}
				if (tlstest.SessionOf(t, c) == nil) != (openssl.OptionNoTicket&options != 0) {
					t.Error("a session, or none, unlike before")
				}
				tlstest.Goodbye(t, c, s)
			})
		}
	}
}

// ServerInfoFile registers extensions for good. A refused one has registered none,
// and one that would register an extension again changes nothing.
func TestConfServerInfo(t *testing.T) {
	server := tlstest.NewServer(t)
	if server.Conf("ServerInfoFile", tlstest.File(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff0)...))) == nil {
		t.Error("an extension twice in a file is taken")
	}
	must(t, server.Conf("ServerInfoFile", tlstest.File(t, "info.pem", append(serverInfo(0xfff0), serverInfo(0xfff1)...))))
	for _, extension := range []uint16{0xfff0, 0xfff1} {
		tlstest.Sentence(t, server.Conf("ServerInfoFile", tlstest.File(t, "info.pem", append(serverInfo(0xfff2), serverInfo(extension)...))), "ServerInfoFile")
	}
	must(t, server.Conf("ServerInfoFile", tlstest.File(t, "info.pem", serverInfo(0xfff2))))
	c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
	tlstest.MustShake(t, c, s)
	tlstest.Goodbye(t, c, s)
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
	server := tlstest.NewServer(t)
	tlstest.Sentence(t, server.Conf("VerifyCAFile", path), "VerifyCAFile", "not a regular file")
	tlstest.Sentence(t, server.LoadVerifyLocations(path, ""), "not a regular file")
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
			host := tlstest.NewServer(t)
			must(t, host.Conf(cmd, value))
			hosts := openssl.NewHosts()
			tlstest.Says(t, hosts.Add("server.test", host), called)

			other := tlstest.NewServer(t)
			must(t, other.Conf(cmd, value))
			_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			tlstest.Sentence(t, s.SetCtx(other), called)

			listener := tlstest.NewServer(t)
			must(t, listener.Conf(cmd, value))
			c, s := tlstest.Machines(t, tlstest.NewClient(t), listener)
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
		})
	}
}

// A command that is refused leaves a Ctx that can be switched to.
func TestConfListenOnlyRefused(t *testing.T) {
	for cmd, value := range map[string]string{"Groups": "nonsense", "NumTickets": "-1", "-named_curve": "nonsense"} {
		host := tlstest.NewServer(t)
		if host.Conf(cmd, value) == nil {
			t.Errorf("Conf(%q, %q) is taken", cmd, value)
		}
		must(t, openssl.NewHosts().Add("server.test", host))
	}
}

// Verify modes that request no certificate, although they define what happens
// without one, are refused by whichever way they come.
func TestVerifyModesThatAskNobody(t *testing.T) {
	for _, x := range []struct {
		mode  openssl.VerifyMode
		fault string
	}{
		{openssl.VerifyFailIfNoPeerCert, "VerifyFailIfNoPeerCert"},
		{openssl.VerifyClientOnce, "VerifyClientOnce"},
		{openssl.VerifyFailIfNoPeerCert | openssl.VerifyClientOnce, "VerifyFailIfNoPeerCert"},
		{libssl.SSL_VERIFY_POST_HANDSHAKE, "is no verify mode"},
		{openssl.VerifyPeer | libssl.SSL_VERIFY_POST_HANDSHAKE, "is no verify mode"},
		{openssl.VerifyAnyName, "VerifyAnyName"},
	} {
		for _, c := range []*openssl.Ctx{tlstest.NewServer(t), tlstest.NewClient(t)} {
			tlstest.Sentence(t, c.SetVerify(x.mode), "SSL_CTX_set_verify", x.fault)
		}
	}
	for _, mode := range []openssl.VerifyMode{
		openssl.VerifyNone, openssl.VerifyPeer, openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert, openssl.VerifyPeer | openssl.VerifyClientOnce,
		openssl.VerifyDefer, openssl.VerifyDefer | openssl.VerifyFailIfNoPeerCert, openssl.VerifyDefer | openssl.VerifyClientOnce,
	} {
		if err := tlstest.NewServer(t).SetVerify(mode); err != nil {
			t.Errorf("SetVerify(%#x): %v", int(mode), err)
		}
	}
	for value, fault := range map[string]string{
		"RequestPostHandshake": "SSL_VERIFY_POST_HANDSHAKE", "RequirePostHandshake": "SSL_VERIFY_POST_HANDSHAKE",
		"Require,RequestPostHandshake": "SSL_VERIFY_POST_HANDSHAKE",
		"Require,-Request":             "VerifyFailIfNoPeerCert", "Once,-Request": "VerifyClientOnce",
	} {
		t.Run("Conf "+value, func(t *testing.T) {
			server := tlstest.NewServer(t)
			tlstest.Sentence(t, server.Conf("VerifyMode", value), "SSL_CONF_cmd", "VerifyMode", value, fault)
			c, s := tlstest.Machines(t, tlstest.NewClient(t), server) // nothing has changed
			tlstest.MustShake(t, c, s)
			if got := len(s.ConnectionState().PeerCertificates); got != 0 {
				t.Errorf("%d client certificates", got)
			}
			tlstest.Goodbye(t, c, s)
		})
	}
	t.Run("Conf takes VerifyPeer from VerifyDefer", func(t *testing.T) {
		server := tlstest.NewServer(t)
		must(t, server.SetVerify(openssl.VerifyDefer))
		tlstest.Sentence(t, server.Conf("VerifyMode", "-Request"), "SSL_CONF_cmd", "VerifyDefer")
	})
}

// underConf runs this one test once more in a process of its own whose openssl.cnf
// holds these commands for every SSL_CTX. Over there child is true.
func underConf(t *testing.T, commands ...string) (child bool) {
	t.Helper()
	cnf := "openssl_conf = main\n[main]\nssl_conf = ssl\n[ssl]\nsystem_default = all\n[all]\n" + strings.Join(commands, "\n") + "\n"
	return tlstest.Again(t, "OPENSSL_CONF="+tlstest.File(t, "openssl.cnf", []byte(cnf)))
}

// A verify mode that openssl.cnf has set is looked at when the Ctx freezes, unless
// a setter has changed it before.
func TestVerifyModeOfOpensslCnf(t *testing.T) {
	for value, fault := range map[string]string{
		"RequestPostHandshake": "SSL_VERIFY_POST_HANDSHAKE", "RequirePostHandshake": "SSL_VERIFY_POST_HANDSHAKE", "Require,-Request": "VerifyFailIfNoPeerCert",
	} {
		t.Run(value, func(t *testing.T) {
			if !underConf(t, "VerifyMode = "+value) {
				return
			}
			server := tlstest.NewServer(t)
			must(t, server.SetSessionIDContext(nil))
			s, err := openssl.NewSSL(server)
			tlstest.Sentence(t, err, "openssl.cnf", fault)
			if err == nil {
				s.Close()
			}
			tlstest.Says(t, openssl.NewHosts().Add("server.test", server), "openssl.cnf", fault)
			must(t, server.Conf("MaxProtocol", "TLSv1.2")) // is not to blame
			must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
			must(t, server.SetVerify(openssl.VerifyPeer))
			c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
		})
	}
}

// encrypted is the first block of pemText with its content encrypted.
func encrypted(t testing.TB, pemText []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(pemText)
	kind := block.Type
	if kind == "PRIVATE KEY" {
		kind = "EC PRIVATE KEY" // PKCS #8 has an encryption of its own
	}
	//lint:ignore SA1019 it is what is to be refused
	sealed, err := x509.EncryptPEMBlock(rand.Reader, kind, block.Bytes, []byte("password"), x509.PEMCipherAES256)
	must(t, err)
	return pem.EncodeToMemory(sealed)
}

// folder is a folder with one file.
func folder(t testing.TB, name string, content []byte) string {
	t.Helper()
	return filepath.Dir(tlstest.File(t, name, content))
}

// A block that is encrypted is refused by every setter that reads PEM, with a word
// on what to do, and its password is not asked for: a prompt would wait for a
// terminal for ever.
func TestNoPasswordPrompt(t *testing.T) {
	ca := tlstest.Certs(t)
	other := tlstest.NewAuthority(t, "other CA", nil)
	cert, crl := encrypted(t, ca.PEM), encrypted(t, tlstest.RevocationList(t, ca, 1))
	leaf := encrypted(t, tlstest.Fixtures.ServerCert)
	after := bytes.Join([][]byte{other.PEM, cert}, nil)
	dh := encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS", Bytes: []byte{0x30, 0}}))
	info := encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "SERVERINFO FOR a test", Bytes: []byte{0xff, 0xf0, 0, 0}}))
	confFile := func(cmd string, content []byte) func(t *testing.T, c *openssl.Ctx) error {
		return func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, tlstest.File(t, "x.pem", content)) }
	}
	confDir := func(cmd string) func(t *testing.T, c *openssl.Ctx) error {
		return func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, folder(t, "x.pem", cert)) }
	}
	calls := map[string]func(t *testing.T, c *openssl.Ctx) error{
		"UseCertificate, certificate": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(leaf, tlstest.Fixtures.ServerKey)
		},
		"UseCertificate, chain": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(append(bytes.Clone(tlstest.Fixtures.ServerCert), cert...), tlstest.Fixtures.ServerKey)
		},
		"UseCertificate, key": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificate(tlstest.Fixtures.ServerCert, encrypted(t, tlstest.Fixtures.ServerKey))
		},
		"UseCertificateFiles, certificate": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificateFiles(tlstest.File(t, "cert.pem", leaf), tlstest.File(t, "key.pem", tlstest.Fixtures.ServerKey))
		},
		"UseCertificateFiles, key": func(t *testing.T, c *openssl.Ctx) error {
			return c.UseCertificateFiles(tlstest.File(t, "cert.pem", tlstest.Fixtures.ServerCert), tlstest.File(t, "key.pem", encrypted(t, tlstest.Fixtures.ServerKey)))
		},
		"SetVerifyCAs":        func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(cert) },
		"SetVerifyCAs, after": func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(after) },
		"SetClientCAs":        func(t *testing.T, c *openssl.Ctx) error { return c.SetClientCAs(cert) },
		"SetClientCAs, after": func(t *testing.T, c *openssl.Ctx) error { return c.SetClientCAs(after) },
		"SetCRLs":             func(t *testing.T, c *openssl.Ctx) error { return c.SetCRLs(crl) },
		"SetCRLs, after": func(t *testing.T, c *openssl.Ctx) error {
			return c.SetCRLs(append(tlstest.RevocationList(t, ca, 1), crl...))
		},
		"LoadVerifyLocations, file": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(tlstest.File(t, "x.pem", cert), "")
		},
		"LoadVerifyLocations, after": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(tlstest.File(t, "x.pem", after), "")
		},
		"LoadVerifyLocations, revocation list": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(tlstest.File(t, "x.pem", crl), "")
		},
		"LoadVerifyLocations, folder": func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations("", folder(t, "x.pem", cert))
		},
		"ParseSessionPEM": func(t *testing.T, c *openssl.Ctx) error {
			s, err := openssl.ParseSessionPEM(encrypted(t, pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: []byte{0x30, 0}})))
			if err == nil {
				s.Close()
			}
			return err
		},

		"Certificate":           confFile("Certificate", leaf),
		"Certificate, chain":    confFile("Certificate", append(bytes.Clone(tlstest.Fixtures.ServerCert), cert...)),
		"-cert":                 confFile("-cert", leaf),
		"PrivateKey":            confFile("PrivateKey", encrypted(t, tlstest.Fixtures.ServerKey)),
		"-key":                  confFile("-key", encrypted(t, tlstest.Fixtures.ServerKey)),
		"ServerInfoFile":        confFile("ServerInfoFile", info),
		"DHParameters":          confFile("DHParameters", dh),
		"-dhparam":              confFile("-dhparam", dh),
		"VerifyCAFile, after":   confFile("VerifyCAFile", after),
		"ClientCAFile, after":   confFile("ClientCAFile", after),
		"verifycafile, no case": confFile("verifycafile", cert),
		"VerifyCAPath, a list": func(t *testing.T, c *openssl.Ctx) error {
			return c.Conf("VerifyCAPath", t.TempDir()+":"+folder(t, "x.pem", cert))
		},
	}
	for _, cmd := range []string{"ChainCAFile", "VerifyCAFile", "RequestCAFile", "ClientCAFile", "-chainCAfile", "-verifyCAfile", "-requestCAFile"} {
		calls[cmd] = confFile(cmd, cert)
	}
	for _, cmd := range []string{"ChainCAPath", "VerifyCAPath", "RequestCAPath", "ClientCAPath", "-chainCApath", "-verifyCApath"} {
		calls[cmd] = confDir(cmd)
	}
	if tlstest.IsOpenSSL3() {
		for _, cmd := range []string{"ChainCAStore", "VerifyCAStore", "RequestCAStore", "ClientCAStore", "-chainCAstore", "-verifyCAstore", "-requestCAStore"} {
			calls[cmd] = confFile(cmd, cert)
			calls[cmd+", folder"] = confDir(cmd)
			calls[cmd+", URI"] = func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, "file:"+tlstest.File(t, "x.pem", cert)) }
			calls[cmd+", URI with slashes"] = func(t *testing.T, c *openssl.Ctx) error {
				return c.Conf(cmd, "file://"+tlstest.File(t, "x.pem", cert))
			}
		}
	}
	terminal := tlstest.NewTerminal(t)
	for name, call := range calls {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if !tlstest.OnTerminal(t, terminal) {
				return
			}
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			switch err := call(t, server); {
			case err == nil:
				t.Error("an encrypted block is taken")
			case name != "ParseSessionPEM":
				tlstest.Sentence(t, err, "encrypted", "give it decrypted")
			}
			c, s := tlstest.Machines(t, client, server) // nothing has changed
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
		})
	}
}

// A private key in a file of certificates is not read, encrypted or not.
func TestEncryptedKeyBesideCertificates(t *testing.T) {
	ca := tlstest.Certs(t)
	key := encrypted(t, tlstest.Fixtures.ClientKey)
	both, certificateFirst := append(bytes.Clone(key), ca.PEM...), append(bytes.Clone(ca.PEM), key...)
	for name, trust := range map[string]func(c *openssl.Ctx) error{
		"SetVerifyCAs":                func(c *openssl.Ctx) error { return c.SetVerifyCAs(both) },
		"LoadVerifyLocations, file":   func(c *openssl.Ctx) error { return c.LoadVerifyLocations(tlstest.File(t, "x.pem", both), "") },
		"LoadVerifyLocations, folder": func(c *openssl.Ctx) error { return c.LoadVerifyLocations("", hashed(t, certificateFirst)) },
		"VerifyCAFile":                func(c *openssl.Ctx) error { return c.Conf("VerifyCAFile", tlstest.File(t, "x.pem", both)) },
	} {
		t.Run(name, func(t *testing.T) {
			client := tlstest.BareClient(t)
			must(t, trust(client))
			c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
		})
	}
}

// An encrypted certificate that comes into a folder later is not found, and the
// handshake that looks for it asks for no password.
func TestNoPasswordPromptInHandshake(t *testing.T) {
	ca := tlstest.Certs(t)
	terminal := tlstest.NewTerminal(t)
	for name, trust := range map[string]func(c *openssl.Ctx, dir string) error{
		"LoadVerifyLocations": func(c *openssl.Ctx, dir string) error { return c.LoadVerifyLocations("", dir) },
		"VerifyCAPath":        func(c *openssl.Ctx, dir string) error { return c.Conf("VerifyCAPath", dir) },
		"VerifyCAStore": func(c *openssl.Ctx, dir string) error {
			if !tlstest.IsOpenSSL3() {
				return c.Conf("VerifyCAPath", dir)
			}
			return c.Conf("VerifyCAStore", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !tlstest.OnTerminal(t, terminal) {
				return
			}
			client, dir := tlstest.BareClient(t), hashed(t, ca.PEM)
			must(t, trust(client, dir))
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			must(t, err)
			for _, name := range names {
				must(t, os.WriteFile(name, encrypted(t, ca.PEM), 0o600))
			}
			c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
			if clientErr, _ := tlstest.Shake(t, c, s); clientErr == nil {
				t.Error("the server's certificate is trusted, by a CA that nobody can read")
			}
		})
	}
}
