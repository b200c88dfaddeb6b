//go:build cgo

package openssl_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// providers is a configuration that activates some and no others.
func providers(t testing.TB, names ...string) (path string) {
	t.Helper()
	text := "openssl_conf = init\n[init]\nproviders = list\n[list]\n"
	for _, name := range names {
		text += name + " = " + name + "_sect\n"
	}
	for _, name := range names {
		text += "[" + name + "_sect]\nactivate = 1\n"
	}
	return tlstest.File(t, "openssl.cnf", []byte(text))
}

// needLibraries skips a test where OpenSSL has one library context only.
func needLibraries(t testing.TB) {
	t.Helper()
	if !tlstest.IsOpenSSL3() {
		t.Skip("OpenSSL 1.1.1 has one library context: TestLibraryVersion")
	}
}

func newLibrary(t testing.TB, conf, properties string) *openssl.Library {
	t.Helper()
	l, err := openssl.NewLibrary(conf, properties)
	if err != nil {
		t.Fatalf("NewLibrary(%q, %q): %v", conf, properties, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// libraryServer is tlstest.NewMutualServer in a Library.
func libraryServer(t testing.TB, l *openssl.Library) *openssl.Ctx {
	t.Helper()
	tlstest.CheckLeaks(t)
	ca := tlstest.Certs(t)
	c, err := l.NewServerCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.UseCertificate(tlstest.Fixtures.ServerCert, tlstest.Fixtures.ServerKey))
	must(t, c.SetClientCAs(ca.PEM))
	must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, c.SetSessionIDContext([]byte("library")))
	return c
}

// libraryClient is tlstest.NewClient in a Library.
func libraryClient(t testing.TB, l *openssl.Library) *openssl.Ctx {
	t.Helper()
	tlstest.CheckLeaks(t)
	ca := tlstest.Certs(t)
	c, err := l.NewClientCtx()
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetVerifyCAs(ca.PEM))
	must(t, c.UseCertificate(tlstest.Fixtures.ClientCert, tlstest.Fixtures.ClientKey))
	return c
}

// resumesIn makes a session between a server and a client of a Library, and resumes it.
func resumesIn(t *testing.T, l *openssl.Library) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server, client := libraryServer(t, l), libraryClient(t, l)
		tlstest.SetVersion(t, client, v.ID)
		first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		tlstest.MustOffer(t, client, server, first, openssl.ResumptionResumed)
	})
}

// TestLibrary has connections in libraries of their own beside the default one.
func TestLibrary(t *testing.T) {
	needLibraries(t)
	for _, test := range []struct{ what, conf, properties string }{
		{"neither", "", ""},
		{"a property", "", "provider=default"},
		{"a file", providers(t, "default", "base"), ""},
		{"both", providers(t, "default", "base"), "?fips=yes"},
		{"one that is not activated", tlstest.File(t, "openssl.cnf", []byte("openssl_conf = init\n[init]\nproviders = list\n"+
			"[list]\ndefault = default_sect\nbase = base_sect\n[default_sect]\nactivate = 1\n[base_sect]\nactivate = 0\n")), ""},
	} {
		t.Run(test.what, func(t *testing.T) { resumesIn(t, newLibrary(t, test.conf, test.properties)) })
	}
}

// TestLibraryAlone has a default library context without any algorithm: what works in a
// Library of that process uses nothing of it.
func TestLibraryAlone(t *testing.T) {
	needLibraries(t)
	if !tlstest.Again(t, "OPENSSL_CONF="+providers(t, "base")) {
		return
	}
	if c, err := openssl.NewServerCtx(); err == nil {
		c.Close()
		t.Fatal("NewServerCtx succeeds without an algorithm in the default library context")
	}
	l := newLibrary(t, providers(t, "default"), "")
	resumesIn(t, l)

	ca, revoked := tlstest.Certs(t), tlstest.NextSerial()
	caFile := tlstest.File(t, "ca.pem", ca.PEM)
	server, client := libraryServer(t, l), libraryClient(t, l)
	for what, err := range map[string]error{
		"SetCRLs":             server.SetCRLs(tlstest.RevocationList(t, ca, 1, revoked)),
		"LoadVerifyLocations": server.LoadVerifyLocations(caFile, ""),
		"SetCipherList":       server.SetCipherList("ECDHE-ECDSA-AES256-GCM-SHA384"),
		"SetCipherSuites":     server.SetCipherSuites("TLS_AES_256_GCM_SHA384"),
		"SetGroups":           server.SetGroups("P-384:P-256"),
		"Conf Groups":         server.Conf("Groups", "P-384"),
		"Conf VerifyCAFile":   client.Conf("VerifyCAFile", caFile),
		"Conf VerifyCAStore":  client.Conf("VerifyCAStore", caFile),
		"Conf Certificate":    client.Conf("Certificate", tlstest.File(t, "cert.pem", tlstest.Fixtures.ClientCert)),
		"Conf PrivateKey":     client.Conf("PrivateKey", tlstest.File(t, "key.pem", tlstest.Fixtures.ClientKey)),
		"DeriveSessionID":     server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "library"}),
	} {
		if err != nil {
			t.Errorf("%s in a Library: %v", what, err)
		}
	}
	first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	tlstest.MustOffer(t, client, server, first, openssl.ResumptionResumed)
}

// TestLibraryErrors has configurations and properties that cannot be used.
func TestLibraryErrors(t *testing.T) {
	needLibraries(t)
	file := func(text string) string { return tlstest.File(t, "openssl.cnf", []byte(text)) }
	for _, test := range []struct {
		what, conf, properties string
		want                   []string
	}{
		{"no file", "/no/such/file", "", []string{`"/no/such/file"`, "cannot be read", "No such file"}},
		{"a syntax error", file("openssl_conf = init\n[init\n"), "", []string{"line 2", "missing close square bracket"}},
		{"an empty file", file("# nothing\n"), "", []string{"names no modules", "openssl_conf = init"}},
		{"a missing section", file("openssl_conf = init\n"), "", []string{"names no modules"}},
		{"TLS settings", file("openssl_conf = init\n[init]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nMinProtocol = TLSv1.3\n"), "",
			[]string{"has ssl_conf", "whole process", "Ctx.Conf"}},
		{"engines", file("openssl_conf = init\n[init]\nengines.1 = e\n[e]\n"), "", []string{"has engines.1", "a provider instead"}},
		{"an unknown module", file("openssl_conf = init\n[init]\nsomething = s\n[s]\na = b\n"), "", []string{"has failed", "something"}},
		{"an unknown provider", providers(t, "default", "nosuchprovider"), "", []string{"cannot be loaded", `"nosuchprovider"`, "openssl version -m"}},
		{"no provider", providers(t, "nosuchprovider"), "", []string{"cannot be loaded", "nosuchprovider"}},
		{"a provider by another name", file("openssl_conf = init\n[init]\nproviders.1 = list\n[list]\n1.default = d\nx = x_sect\n[d]\nactivate = 1\n" +
			"[x_sect]\nidentity = other\nactivate = yes\n"), "", []string{"cannot be loaded", `"other"`}},
		{"no algorithm", providers(t, "base"), "", []string{"no active provider", "activate one", "unsupported"}},
		{"FIPS without its provider", providers(t, "default"), "fips=yes", []string{`"fips=yes"`, "openssl fipsinstall"}},
		{"no query", "", "fips=", []string{`"fips="`, "no active provider"}},
		{"a NUL byte", "", "fips=yes\x00", []string{"NUL byte"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			l, err := openssl.NewLibrary(test.conf, test.properties)
			tlstest.Sentence(t, err, test.want...)
			if l != nil {
				t.Errorf("NewLibrary returns a Library, too: %v", err)
			}
		})
	}
	tlstest.SetVersion(t, tlstest.BareClient(t), tls.VersionTLS12) // the file with TLS settings has changed nothing
}

// TestLibraryVersion has an OpenSSL with one library context.
func TestLibraryVersion(t *testing.T) {
	if tlstest.IsOpenSSL3() {
		t.Skip("this OpenSSL has libraries: TestLibrary")
	}
	l, err := openssl.NewLibrary("", "")
	tlstest.Sentence(t, err, "NewLibrary", "OpenSSL 3.0 or later is needed", "openssl.cnf")
	if l != nil {
		t.Errorf("NewLibrary on %s returns a Library", openssl.Version().Linked)
	}
}

// TestLibraryClose closes a Library while all that was made in it is in use.
func TestLibraryClose(t *testing.T) {
	needLibraries(t)
	l := newLibrary(t, providers(t, "default"), "provider=default")
	server, client := libraryServer(t, l), libraryClient(t, l)
	c, s := tlstest.Machines(t, client, server)
	must(t, l.Close())
	must(t, l.Close())
	tlstest.MustShake(t, c, s)
	sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	must(t, server.Close())
	must(t, client.Close())
	if len(sess.ID()) == 0 || c.ConnectionState().PeerCertificates == nil {
		t.Error("after Close of its Library a session has no id, or a connection no peer")
	}
	for what, err := range map[string]error{
		"closed": func() error { _, err := l.NewServerCtx(); return err }(),
		"client": func() error { _, err := l.NewClientCtx(); return err }(),
	} {
		if tlstest.Sentence(t, err, "closed", "NewLibrary"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a new Ctx of a closed Library (%s): %v, want net.ErrClosed", what, err)
		}
	}
	var none *openssl.Library
	_, err := none.NewServerCtx()
	tlstest.Sentence(t, err, "nil", "NewLibrary")
	tlstest.Sentence(t, none.Close(), "nil", "NewLibrary")
	_, err = new(openssl.Library).NewClientCtx()
	tlstest.Sentence(t, err, "nil", "NewLibrary")
}

// TestLibraryThreads ends threads that have used a Library after its Close: libcrypto then
// clears what it keeps for each of them.
func TestLibraryThreads(t *testing.T) {
	needLibraries(t)
	if !tlstest.Again(t) {
		return // a crash is that process's
	}
	l := newLibrary(t, providers(t, "default"), "provider=default")
	var used, closed [4]chan bool
	var ended [4]chan bool
	for i := range used {
		used[i], closed[i], ended[i] = make(chan bool), make(chan bool), make(chan bool)
		server, client := libraryServer(t, l), libraryClient(t, l)
		go func() {
			defer close(ended[i])
			runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
			tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
			must(t, server.Close())
			must(t, client.Close())
			close(used[i])
			<-closed[i]
		}()
	}
	for i := range used {
		<-used[i]
	}
	must(t, l.Close())
	for i := range used {
		close(closed[i])
		<-ended[i]
	}
	resumesIn(t, newLibrary(t, providers(t, "default"), "provider=default")) // the same, again
}

// TestLibraryInTheContext compares what sessions must not cross of a Ctx in several libraries.
func TestLibraryInTheContext(t *testing.T) {
	needLibraries(t)
	derived := func(l *openssl.Library) string {
		c := libraryServer(t, l)
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "library"}))
		return string(c.SessionIDContext())
	}
	key := func(l *openssl.Library) string { return cacheKeyOf(t, libraryClient(t, l)) }
	file := providers(t, "default")
	included := tlstest.File(t, "more.cnf", []byte("[default_sect]\nactivate = 1\nmore = 1\n"))
	including := tlstest.File(t, "openssl.cnf",
		[]byte("openssl_conf = init\n.include "+included+"\n[init]\nproviders = list\n[list]\ndefault = default_sect\n"))
	first := newLibrary(t, file, "provider=default")
	again := newLibrary(t, providers(t, "default"), "provider=default")
	if derived(first) != derived(again) || key(first) != key(again) {
		t.Error("the same configuration in another file leads to another context or key")
	}
	for what, l := range map[string]*openssl.Library{
		"no file":              newLibrary(t, "", "provider=default"),
		"no properties":        newLibrary(t, file, ""),
		"another property":     newLibrary(t, file, "?provider=default"),
		"one more provider":    newLibrary(t, providers(t, "default", "base"), "provider=default"),
		"another order":        newLibrary(t, providers(t, "base", "default"), "provider=default"),
		"what a file includes": newLibrary(t, including, "provider=default"),
	} {
		if derived(first) == derived(l) {
			t.Errorf("%s: the same derived context", what)
		}
		if key(first) == key(l) {
			t.Errorf("%s: the same key of a client's session cache", what)
		}
	}
	server := tlstest.NewMutualServer(t, "library")
	must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "library"}))
	if string(server.SessionIDContext()) == derived(newLibrary(t, "", "")) {
		t.Error("the default library: the same derived context")
	}
}

// TestLibraryIsNotLeft has connections, hosts and sessions that would leave their Library.
func TestLibraryIsNotLeft(t *testing.T) {
	needLibraries(t)
	l, other := newLibrary(t, "", "provider=default"), newLibrary(t, "", "?provider=default")
	own, foreign, plain := libraryServer(t, l), libraryServer(t, other), tlstest.NewMutualServer(t, "library")

	for _, x := range []struct {
		what     string
		from, to *openssl.Ctx
	}{{"another Library", own, foreign}, {"the default one", own, plain}, {"from the default one", plain, own}} {
		s, err := openssl.NewSSL(x.from)
		must(t, err)
		tlstest.Sentence(t, s.SetCtx(x.to), "SSL_set_SSL_CTX", "another Library", "one Library")
		must(t, s.Close())

		hosts := openssl.NewHosts()
		must(t, hosts.Add("a.test", x.from))
		tlstest.Sentence(t, hosts.Add("b.test", x.to), `Hosts.Add: "b.test"`, "another Library")
	}
	s, err := openssl.NewSSL(own)
	must(t, err)
	defer s.Close()
	must(t, s.SetCtx(libraryServer(t, l)))

	sess := tlstest.Connect(t, tlstest.Pair{Client: libraryClient(t, l), Server: own}).Session
	clone, err := sess.Clone()
	must(t, err)
	defer clone.Close()
	for what, client := range map[string]*openssl.Ctx{"another": libraryClient(t, other), "the default one": tlstest.NewClient(t)} {
		c, err := openssl.NewSSL(client)
		must(t, err)
		for _, offer := range []*openssl.Session{sess, clone} {
			tlstest.Sentence(t, c.SetSession(offer), "SSL_set_session", "made in another Library")
		}
		if err := c.SetSession(tlstest.Reparse(t, sess)); err != nil {
			t.Errorf("a session that was parsed, in %s: %v", what, err)
		}
		must(t, c.Close())
	}
}

// fipsConf activates the FIPS provider of this system and no other with cryptography. The
// module checks itself when openssl fipsinstall runs, and again when it is loaded.
func fipsConf(t testing.TB) string {
	t.Helper()
	needLibraries(t)
	out, err := exec.Command("openssl", "version", "-m").Output()
	_, folder, _ := strings.Cut(string(out), `"`)
	folder, _, _ = strings.Cut(folder, `"`)
	module := filepath.Join(folder, "fips.so")
	if _, statErr := os.Stat(module); err != nil || statErr != nil {
		if os.Getenv("REQUIRE_FIPS") != "" {
			t.Fatalf("there is no FIPS provider, install openssl-provider-fips: openssl version -m: %q %v, %v", out, err, statErr)
		}
		t.Skipf("there is no FIPS provider on this system (%s): Debian has none for its OpenSSL", module)
	}
	installed := filepath.Join(t.TempDir(), "fipsmodule.cnf")
	if out, err := exec.Command("openssl", "fipsinstall", "-module", module, "-out", installed).CombinedOutput(); err != nil {
		t.Fatalf("openssl fipsinstall: %v\n%s", err, out)
	}
	return tlstest.File(t, "openssl.cnf", fmt.Appendf(nil,
		"openssl_conf = init\n.include %s\n[init]\nproviders = list\n[list]\nfips = fips_sect\nbase = base_sect\n[base_sect]\nactivate = 1\n", installed))
}

// TestLibraryFIPS has a FIPS Library beside the default one.
func TestLibraryFIPS(t *testing.T) {
	l := newLibrary(t, fipsConf(t), "fips=yes")
	resumesIn(t, l)
	const notFIPS = "TLS_CHACHA20_POLY1305_SHA256"
	client := tlstest.NewClient(t)
	must(t, client.SetCipherSuites(notFIPS))
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: libraryServer(t, l)}); e.ServerErr == nil {
		t.Errorf("a FIPS Library speaks %s: client %v, server %v, want no shared cipher", notFIPS, e.ClientErr, e.ServerErr)
	}
	tlstest.MustOffer(t, client, tlstest.NewMutualServer(t, "library"), nil, openssl.ResumptionNotOffered)
	if openssl.Version().FIPS {
		t.Error("a FIPS Library has changed the default one")
	}
}
