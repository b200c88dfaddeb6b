//go:build cgo

package openssl_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestErrorText(t *testing.T) {
	entry := openssl.ErrorEntry{Reason: "first reason"}
	for _, x := range []struct {
		name string
		err  *openssl.Error
		want string
	}{
		{"no queue", &openssl.Error{Op: "SSL_x"}, "openssl: SSL_x: failed, and OpenSSL has given no reason"},
		{"one entry", &openssl.Error{Op: "SSL_x", Stack: []openssl.ErrorEntry{entry}}, "openssl: SSL_x: first reason"},
		{"the first of several", &openssl.Error{Op: "SSL_x", Stack: []openssl.ErrorEntry{entry, {Reason: "second"}}}, "openssl: SSL_x: first reason"},
		{"data", &openssl.Error{Op: "SSL_x", Stack: []openssl.ErrorEntry{{Reason: "no such file", Data: "a.pem"}}}, "openssl: SSL_x: no such file (a.pem)"},
		{"no text", &openssl.Error{Op: "SSL_x", Stack: []openssl.ErrorEntry{{Code: 0x0a000fff}}}, "openssl: SSL_x: error 0xa000fff"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := x.err.Error(); got != x.want {
				t.Errorf("%q, want %q", got, x.want)
			}
			if x.err.Unwrap() != nil || errors.Is(x.err, openssl.ErrSessionContextMismatch) {
				t.Error("it unwraps to something")
			}
		})
	}
}

// The exact line that a user meets first.
func TestErrorOneLine(t *testing.T) {
	err := tlstest.NewServer(t).SetSessionIDContext(make([]byte, 33))
	if want := "openssl: SSL_CTX_set_session_id_context: ssl session id context too long: it has 33 bytes: use at most 32 bytes, for example a SHA-256 hash of a longer one, or DeriveSessionIDContext"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	wrapped := fmt.Errorf("tenant 7: %w", err)
	e, ok := tlstest.AsType[*openssl.Error](wrapped)
	if !ok || e.Op != "SSL_CTX_set_session_id_context" || !errors.Is(wrapped, openssl.ErrSessionIDContextTooLong) {
		t.Errorf("%#v", wrapped)
	}
}

// The mistakes of the first hour: each error tells what to do next. Those of a build are
// in internal/libssl.
func TestMistakes(t *testing.T) {
	ca := tlstest.Certs(t)
	path := func(name string, content []byte) string { return tlstest.File(t, name, content) }
	cert, key := path("server.crt", tlstest.Fixtures.ServerCert), path("server.key", tlstest.Fixtures.ServerKey)
	otherKey := path("client.key", tlstest.Fixtures.ClientKey)
	folder, err := os.Getwd()
	must(t, err)
	handshake := func(client *openssl.Ctx, name string) error {
		c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
		must(t, c.SetServerName(name))
		clientErr, _ := tlstest.Shake(t, c, s)
		return clientErr
	}
	for _, x := range []struct {
		mistake string
		make    func() error
		says    []string
	}{
		{"a wrong path", func() error {
			return tlstest.BareServer(t).UseCertificateFiles("nowhere.crt", key)
		}, []string{"certificate", "open nowhere.crt", "give the path of a PEM file", "from " + folder}},
		{"a wrong path of the key", func() error {
			return tlstest.BareServer(t).UseCertificateFiles(cert, "nowhere.key")
		}, []string{"private key", "open nowhere.key", "give the path of a PEM file", "from " + folder}},
		{"the key of another certificate", func() error {
			return tlstest.BareServer(t).UseCertificateFiles(cert, otherKey)
		}, []string{"certificate and private key, which must belong together", cert, otherKey}},
		{"no context", func() error {
			c := tlstest.NewServer(t)
			must(t, c.SetClientCAs(ca.PEM))
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			_, err := openssl.Listen("tcp", "127.0.0.1:0", c)
			return err
		}, []string{"set a context with DeriveSessionIDContext or SetSessionIDContext"}},
		{"40 bytes", func() error {
			return tlstest.NewServer(t).SetSessionIDContext(make([]byte, 40))
		}, []string{"at most 32 bytes", "SHA-256", "DeriveSessionIDContext"}},
		{"40 bytes for a connection", func() error {
			_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return s.SetSessionIDContext(make([]byte, 40))
		}, []string{"at most 32 bytes", "SHA-256", "DeriveSessionIDContext"}},
		{"a client's Ctx for Listen", func() error {
			_, err := openssl.Listen("tcp", "127.0.0.1:0", tlstest.NewClient(t))
			return err
		}, []string{"a server needs a Ctx made by NewServerCtx"}},
		{"changed after use", func() error {
			c := tlstest.NewServer(t)
			tlstest.Machines(t, tlstest.NewClient(t), c)
			return c.SetSessionIDContext([]byte("late"))
		}, []string{"configure it before its first connection, or make another Ctx"}},
		{"no server name", func() error {
			c, err := openssl.NewSSL(tlstest.NewClient(t))
			must(t, err)
			defer c.Close()
			_, err = c.Handshake()
			return err
		}, []string{"call SetServerName, or SetVerify"}},
		{"another CA", func() error {
			c := tlstest.BareClient(t)
			must(t, c.SetVerifyCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
			return handshake(c, "server.test")
		}, []string{"certificate verify failed", "SetVerifyCAs or LoadVerifyLocations"}},
		{"another name", func() error {
			return handshake(tlstest.NewClient(t), "other.test")
		}, []string{"certificate verify failed", "SetServerName or Dialer.ServerName"}},
		{"another address", func() error {
			return handshake(tlstest.NewClient(t), "192.0.2.1")
		}, []string{"certificate verify failed", "SetServerName or Dialer.ServerName"}},
	} {
		t.Run(x.mistake, func(t *testing.T) { tlstest.Sentence(t, x.make(), x.says...) })
	}
}

// libssl's reasons, met where they arise, are the sentinels; and no other.
func TestSentinels(t *testing.T) {
	sentinels := map[string]error{
		"ErrSessionIDContextTooLong":       openssl.ErrSessionIDContextTooLong,
		"ErrSessionIDContextUninitialized": openssl.ErrSessionIDContextUninitialized,
		"ErrSessionContextMismatch":        openssl.ErrSessionContextMismatch,
		"ErrCtxInUse":                      openssl.ErrCtxInUse,
		"ErrTooLate":                       openssl.ErrTooLate,
		"ErrSessionNotFound":               openssl.ErrSessionNotFound,
	}
	for name, a := range sentinels {
		tlstest.Sentence(t, a)
		for other, b := range sentinels {
			if errors.Is(a, b) != (name == other) {
				t.Errorf("%s is %s: %v", name, other, errors.Is(a, b))
			}
		}
	}
	// 3.x packs a library above 23 bits of reason; every version agrees on 20 and the reasons.
	code := func(reason uint64) *openssl.Error {
		return &openssl.Error{Op: "x", Stack: []openssl.ErrorEntry{{Code: 1}, {Code: packed(t)&^0xfff | reason}}}
	}
	for reason, want := range map[uint64]string{
		273: "ErrSessionIDContextTooLong", 277: "ErrSessionIDContextUninitialized", 272: "ErrSessionContextMismatch", 100: "",
	} {
		for name, sentinel := range sentinels {
			if errors.Is(code(reason), sentinel) != (name == want) {
				t.Errorf("reason %d is %s: %v", reason, name, name != want)
			}
		}
	}
}

// packed is a code of libssl as the linked version packs it.
func packed(t *testing.T) uint64 {
	t.Helper()
	e, ok := tlstest.AsType[*openssl.Error](tlstest.NewServer(t).SetSessionIDContext(make([]byte, 33)))
	if !ok {
		t.Fatal("33 bytes were taken")
	}
	return e.Stack[0].Code
}

func TestErrorUnwraps(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.BareServer(t)
			must(t, server.UseCertificate(tlstest.NewAuthority(t, "stranger", nil).Leaf(t, "server.test", tlstest.ECKey(t), nil)))
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})

			// This end's verification of the peer.
			verify, ok := tlstest.AsType[*openssl.VerifyError](e.ClientErr)
			if !ok || verify.Code != 20 || verify.Reason != "unable to get local issuer certificate" {
				t.Errorf("client: %#v", e.ClientErr)
			}
			tlstest.Sentence(t, verify, verify.Reason)
			if _, ok := tlstest.AsType[tls.AlertError](e.ClientErr); ok {
				t.Error("client: an alert that nobody sent")
			}
			if err, ok := tlstest.AsType[*openssl.Error](e.ClientErr); !ok || err.Op != "SSL_do_handshake" || err.Code != 1 || len(err.Stack) == 0 {
				t.Errorf("client: %+v", err)
			}
			// The other end's, as its alert.
			if alert, ok := tlstest.AsType[tls.AlertError](e.ServerErr); !ok || alert != 48 {
				t.Errorf("server: %v", e.ServerErr)
			}
			if _, ok := tlstest.AsType[*openssl.VerifyError](e.ServerErr); ok {
				t.Error("server: a verdict of its own")
			}
			tlstest.Sentence(t, e.ServerErr, "SSL_do_handshake", "unknown ca")
		})
	}
}

// What failed in the system is in the error: a file that is not there, for one.
func TestErrorOfAMissingFile(t *testing.T) {
	c := tlstest.BareServer(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for what, err := range map[string]error{
		"UseCertificateFiles":           c.UseCertificateFiles(missing, missing),
		"LoadVerifyLocations, a file":   c.LoadVerifyLocations(missing, ""),
		"LoadVerifyLocations, a folder": c.LoadVerifyLocations("", missing),
		"Certificate":                   c.Conf("Certificate", missing),
		"PrivateKey":                    c.Conf("PrivateKey", missing),
		"VerifyCAFile":                  c.Conf("VerifyCAFile", missing),
	} {
		tlstest.Sentence(t, err)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(strings.ToLower(err.Error()), "no such file") {
			t.Errorf("%s: %v, want an error that wraps fs.ErrNotExist", what, err)
		}
	}
}

// The prefix stands once, whatever is wrapped, and a reason that is known is given.
func TestErrorPrefixStandsOnce(t *testing.T) {
	hosts := new(openssl.Hosts)
	server := tlstest.NewServer(t)
	_, session := openssl.ParseSessionPEM([]byte("none"))
	for what, err := range map[string]error{
		"Hosts.Add of nothing":      hosts.Add("a.test", nil),
		"Hosts.Add of a bare Ctx":   hosts.Add("a.test", tlstest.BareServer(t)),
		"Hosts.Add of no name":      hosts.Add("a b", server),
		"Hosts.SetDefault":          hosts.SetDefault(nil),
		"ParseSessionPEM":           session,
		"SetMinVersion":             server.SetMinVersion(7),
		"UseCertificate of nothing": server.UseCertificate(nil, nil),
	} {
		tlstest.Sentence(t, err)
		if err != nil && strings.Contains(err.Error(), "no reason") {
			t.Errorf("%s: %v, want the reason", what, err)
		}
	}
}

// An error that is returned again is a value of its own.
func TestErrorsAreFresh(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	must(t, client.SetVerifyCAs(tlstest.NewAuthority(t, "stranger", nil).PEM))
	c, s := tlstest.Conns(t, client, server)
	tlstest.Both(c.Handshake, s.Handshake)
	for what, call := range map[string]func() error{
		"Handshake": c.Handshake, "Read": func() error { return readErr(c) }, "Write": func() error { return writeErr(c) },
	} {
		text := call().Error()
		e, ok := tlstest.AsType[*openssl.Error](call())
		if !ok {
			t.Errorf("%s: %v, want an *Error", what, call())
			continue
		}
		e.Op = "changed"
		clear(e.Stack)
		if got := call().Error(); got != text {
			t.Errorf("%s after the caller changed its error: %s, want %s", what, got, text)
		}
	}
}

// What fails before the first byte can be put right.
func TestErrorBeforeTheFirstByte(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	near, far := tlstest.WirePair(64 << 10)
	c, err := openssl.Client(near, client)
	must(t, err)
	defer c.Close()
	s, err := openssl.Server(far, server)
	must(t, err)
	defer s.Close()
	for range 2 {
		tlstest.Sentence(t, c.Handshake(), "SetServerName")
	}
	must(t, c.SetServerName("server.test"))
	tlstest.MustHandshake(t, c, s)
}

// panicky is a panic of a caller's function, with a name to look for.
func panicky() { panic("at the disco") }

// A panic of a caller's function is an error that tells where it came from.
func TestErrorOfAPanic(t *testing.T) {
	for name, set := range map[string]func(c *openssl.Ctx) error{
		"SetVerifyConnection": func(c *openssl.Ctx) error {
			return c.SetVerifyConnection(func(openssl.ConnectionState) error { panicky(); return nil })
		},
		"SetClientHelloFunc": func(c *openssl.Ctx) error {
			return c.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { panicky(); return nil, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			must(t, set(server))
			c, s := tlstest.Conns(t, tlstest.NewClient(t), server)
			_, err := tlstest.Both(func() error { return readErr(c) }, s.Handshake)
			tlstest.Sentence(t, err, name, "at the disco", "openssl_test.panicky", "errors_test.go:")
		})
	}
}
