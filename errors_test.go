//go:build cgo

package openssl_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
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
	if want := "openssl: SSL_CTX_set_session_id_context: ssl session id context too long: use at most 32 bytes, for example a SHA-256 hash of a longer one, or DeriveSessionIDContext"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	wrapped := fmt.Errorf("tenant 7: %w", err)
	e, ok := errors.AsType[*openssl.Error](wrapped)
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
		}, []string{"call SetServerName, or SetVerify on the Ctx"}},
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
	e, ok := errors.AsType[*openssl.Error](tlstest.NewServer(t).SetSessionIDContext(make([]byte, 33)))
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
			verify, ok := errors.AsType[*openssl.VerifyError](e.ClientErr)
			if !ok || verify.Code != 20 || verify.Reason != "unable to get local issuer certificate" {
				t.Errorf("client: %#v", e.ClientErr)
			}
			tlstest.Sentence(t, verify, verify.Reason)
			if _, ok := errors.AsType[tls.AlertError](e.ClientErr); ok {
				t.Error("client: an alert that nobody sent")
			}
			if err, ok := errors.AsType[*openssl.Error](e.ClientErr); !ok || err.Op != "SSL_do_handshake" || err.Code != 1 || len(err.Stack) == 0 {
				t.Errorf("client: %+v", err)
			}
			// The other end's, as its alert.
			if alert, ok := errors.AsType[tls.AlertError](e.ServerErr); !ok || alert != 48 {
				t.Errorf("server: %v", e.ServerErr)
			}
			if _, ok := errors.AsType[*openssl.VerifyError](e.ServerErr); ok {
				t.Error("server: a verdict of its own")
			}
			tlstest.Sentence(t, e.ServerErr, "SSL_do_handshake", "unknown ca")
		})
	}
}
