//go:build cgo

package openssl_test

import (
	"errors"
	"net"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/spec/residue"
	"github.com/sidctx/openssl/internal/tlstest"
)

// Raw calls a function as the package calls libssl: with an empty queue, which becomes an
// *Error unless the function returns 1.
func TestRaw(t *testing.T) {
	server := tlstest.NewServer(t)
	c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
	conn, _ := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
	for name, raw := range map[string]func(op string, answer int32) error{
		"Ctx": func(op string, answer int32) error {
			return server.Raw(op, residue.CtxRaw, residue.Answer(answer))
		},
		"SSL": func(op string, answer int32) error { return s.Raw(op, residue.SSLRaw, residue.Answer(answer)) },
		"Conn": func(op string, answer int32) error {
			return conn.Raw(op, residue.SSLRaw, residue.Answer(answer))
		},
	} {
		for answer, ok := range map[int32]bool{1: true, 0: false, -1: false, 2: false} {
			residue.Leave()
			err := raw("SSL_act", answer)
			if residue.Left() {
				t.Errorf("%s: %d left something in the queue", name, answer)
			}
			if ok {
				must(t, err)
				continue
			}
			tlstest.Sentence(t, err, "openssl: SSL_act: ")
			if e, is := tlstest.AsType[*openssl.Error](err); !is || e.Op != "SSL_act" || len(e.Stack) != 1 || e.Code != 0 {
				t.Errorf("%s: %d is the error %#v, want one entry of the queue", name, answer, err)
			}
		}
	}
	tlstest.Sentence(t, server.Raw("SSL_act", residue.CtxSilent, residue.Answer(0)), "OpenSSL has given no reason")
	must(t, server.Raw("SSL_act", residue.CtxSilent, nil))
	for _, err := range []error{server.Raw("SSL_act", nil, nil), s.Raw("SSL_act", nil, nil), conn.Raw("SSL_act", nil, nil)} {
		tlstest.Sentence(t, err, "the function is nil")
	}
	tlstest.MustShake(t, c, s)
	must(t, s.Raw("SSL_act", residue.SSLRaw, nil))
	must(t, s.Close())
	if err := s.Raw("SSL_act", residue.SSLRaw, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed SSL: %v, want net.ErrClosed", err)
	}
}

// A function of Raw is not called on a Ctx in use.
func TestRawOfFrozenCtx(t *testing.T) {
	server := tlstest.NewServer(t)
	s, err := openssl.NewSSL(server)
	must(t, err)
	must(t, s.Close())
	if err := server.Raw("SSL_act", residue.CtxRaw, residue.Answer(0)); err != openssl.ErrCtxInUse {
		t.Errorf("%v, want ErrCtxInUse", err)
	}
	must(t, server.Close())
	if err := server.Raw("SSL_act", residue.CtxRaw, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed Ctx: %v, want net.ErrClosed", err)
	}
}

// What Raw adds to a client's store stays there, beside the system's roots, which are
// trusted as before.
func TestRawKeepsTheStore(t *testing.T) {
	own, root := tlstest.NewAuthority(t, "own", nil), tlstest.NewAuthority(t, "root", nil)
	systemRootsOf(t, root.PEM)
	client := tlstest.BareClient(t)
	arg, free := residue.Certificate(own.Cert.Raw)
	defer free()
	must(t, client.Raw("X509_STORE_add_cert", residue.AddCertificate, arg))
	wantTrusted(t, "Raw", client, own, true)
	wantTrusted(t, "Raw", client, root, true)
	wantTrusted(t, "another client", tlstest.BareClient(t), own, false)
}
