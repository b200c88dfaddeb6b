//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// inheritance is a row of TestSessionIDContextInheritance: the Ctx that an SSL is made
// from, what is set on it afterwards, and the context that it then has.
type inheritance struct {
	name  string
	from  string
	steps []inheritanceStep
	want  string
}

type inheritanceStep struct {
	set string // a context to set on the SSL...
	ctx string // ...or the Ctx to go on with: "ctxA", "ctxB", "ctxC", "none", "nil"
}

// inheritancePlace is an end, and when the steps are taken.
type inheritancePlace struct {
	name   string
	client bool
	asked  bool
}

// Whatever is said in whatever order, one value comes out, and the session that
// the full handshake makes carries it. It is OpenSSL's table, with one rule of
// this package: libssl's own inheritance is never left to itself.
func TestSessionIDContextInheritance(t *testing.T) {
	type step = inheritanceStep
	set := func(v string) step { return step{set: v} }
	to := func(name string) step { return step{ctx: name} }
	long := strings.Repeat("x", 33)
	cases := []inheritance{
		{"nothing", "ctxA", nil, "ctxA"},
		{"nothing, from none", "none", nil, ""},
		{"to B", "ctxA", []step{to("ctxB")}, "ctxB"},
		{"own, to B", "ctxA", []step{set("own"), to("ctxB")}, "own"},
		{"to B, own", "ctxA", []step{to("ctxB"), set("own")}, "own"},
		{"A's value explicitly, to B", "ctxA", []step{set("ctxA"), to("ctxB")}, "ctxB"},
		{"empty, to B", "ctxA", []step{set(""), to("ctxB")}, ""},
		{"empty", "ctxA", []step{set("")}, ""},
		{"to B, back", "ctxA", []step{to("ctxB"), to("nil")}, "ctxA"},
		{"to B, to C", "ctxA", []step{to("ctxB"), to("ctxC")}, "ctxC"},
		{"to A itself", "ctxA", []step{to("ctxA")}, "ctxA"},
		{"own, to A itself", "ctxA", []step{set("own"), to("ctxA")}, "own"},
		{"from none to B", "none", []step{to("ctxB")}, "ctxB"},
		{"from B to none", "ctxB", []step{to("none")}, ""},
		{"from B to none, to C", "ctxB", []step{to("none"), to("ctxC")}, "ctxC"},
		{"own, to B, back", "ctxA", []step{set("own"), to("ctxB"), to("nil")}, "own"},
		{"to B, own, to C", "ctxA", []step{to("ctxB"), set("own"), to("ctxC")}, "own"},
		{"to B, B's value explicitly, to C", "ctxA", []step{to("ctxB"), set("ctxB"), to("ctxC")}, "ctxC"},
		{"to B, A's value explicitly, to C", "ctxA", []step{to("ctxB"), set("ctxA"), to("ctxC")}, "ctxA"},
		{"B's value before going there, to C", "ctxA", []step{set("ctxB"), to("ctxB"), to("ctxC")}, "ctxC"},
		{"own, own again", "ctxA", []step{set("own"), set("other")}, "other"},
		{"own, one too long", "ctxA", []step{set("own"), set(long)}, "own"},
		{"one too long, to B", "ctxA", []step{set(long), to("ctxB")}, "ctxB"},
	}
	for _, place := range []inheritancePlace{
		{"server, before", false, false},
		{"server, asked", false, true},
		{"client", true, false},
	} {
		for _, v := range tlstest.Versions {
			for _, x := range cases {
				t.Run(place.name+"/"+v.Name+"/"+x.name, func(t *testing.T) { x.run(t, place, v.ID) })
			}
		}
	}
}

func (x inheritance) run(t *testing.T, place inheritancePlace, version uint16) {
	ctxs := map[string]*openssl.Ctx{"nil": nil}
	for _, name := range []string{"ctxA", "ctxB", "ctxC", "none"} {
		make := tlstest.NewServer
		if place.client {
			make = tlstest.NewClient
		}
		c := make(t)
		must(t, c.SetMaxVersion(version))
		if name != "none" {
			must(t, c.SetSessionIDContext([]byte(name)))
		}
		if place.asked {
			must(t, c.SetClientHelloFunc(tlstest.Stay))
		}
		ctxs[name] = c
	}
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	if place.client {
		client = ctxs[x.from]
	} else {
		server = ctxs[x.from]
	}
	must(t, server.SetMaxVersion(version))
	c, s := tlstest.Machines(t, client, server)
	ours := s
	if place.client {
		ours = c
	}
	walk := func(ours *openssl.SSL) {
		for _, step := range x.steps {
			switch {
			case step.ctx != "":
				must(t, ours.SetCtx(ctxs[step.ctx]))
			case len(step.set) > 32:
				tooLong(t, ours.SetSessionIDContext([]byte(step.set)), "SSL_set_session_id_context", len(step.set))
			default:
				must(t, ours.SetSessionIDContext([]byte(step.set)))
			}
		}
		if got := ours.SessionIDContext(); string(got) != x.want {
			t.Errorf("the getter says %q, want %q", got, x.want)
		}
	}
	if !place.asked {
		walk(ours)
		walk = func(*openssl.SSL) {}
	}
	if clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, walk); clientErr != nil || serverErr != nil {
		t.Fatalf("ShakeAnswering: client %v, server %v", clientErr, serverErr)
	}
	if s.ConnectionState().Version != version {
		t.Fatalf("version %#04x, want %#04x", s.ConnectionState().Version, version)
	}
	if got := ours.ConnectionState().SessionIDContext; string(got) != x.want {
		t.Errorf("the session is within %q, want %q", got, x.want)
	}
}

// When a session id context may still be set.
func TestSessionIDContextTooLate(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSessionIDContext([]byte("c")))
		if _, err := s.Handshake(); err != nil { // nothing has arrived
			t.Fatalf("Handshake: %v", err)
		}
		must(t, s.SetSessionIDContext([]byte("s")))
		if _, err := c.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		late := func(when string, m *openssl.SSL) {
			t.Helper()
			for name, err := range map[string]error{
				"a good one": m.SetSessionIDContext([]byte("late")),
				"none":       m.SetSessionIDContext(nil),
				"a long one": m.SetSessionIDContext(sidBytes(33)),
				"SetCtx":     m.SetCtx(nil),
			} {
				if !errors.Is(err, openssl.ErrTooLate) {
					t.Errorf("%s, %s: %v, want ErrTooLate", when, name, err)
				}
			}
		}
		late("client, ClientHello sent", c)
		tlstest.Carry(t, c, s)
		if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
			t.Fatalf("Handshake: w %v, err %v", w, err)
		}
		must(t, s.SetSessionIDContext([]byte("asked")))
		if _, err := s.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		late("server, ClientHello answered", s)
		tlstest.MustShake(t, c, s)
		late("client, done", c)
		late("server, done", s)
		if got := s.ConnectionState().SessionIDContext; string(got) != "asked" {
			t.Errorf("server's session is within %q", got)
		}
		if got := c.ConnectionState().SessionIDContext; string(got) != "c" {
			t.Errorf("client's session is within %q", got)
		}
		if err := c.SetSession(nil); !errors.Is(err, openssl.ErrTooLate) {
			t.Errorf("SetSession: %v", err)
		}
	})
}

// What a switch takes over, each shown by a handshake.
func TestSetCtxTakes(t *testing.T) {
	ca := tlstest.Certs(t)
	stranger := tlstest.NewAuthority(t, "stranger", nil)
	noCert := func(t *testing.T) *openssl.Ctx {
		c := tlstest.BareClient(t)
		must(t, c.SetVerifyCAs(ca.PEM))
		return c
	}
	ok := func(t *testing.T, e tlstest.Result) {
		t.Helper()
		if e.ClientErr != nil || e.ServerErr != nil {
			t.Errorf("handshake: client %v, server %v", e.ClientErr, e.ServerErr)
		}
	}
	type row struct {
		name     string
		listener func(t *testing.T, c *openssl.Ctx)
		next     func(t *testing.T, c *openssl.Ctx)
		client   func(t *testing.T) *openssl.Ctx
		look     func(t *testing.T, e tlstest.Result)
	}
	cases := []row{
		{"the certificate", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.UseCertificate(ca.Leaf(t, "server.test", tlstest.ECKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "next" })))
		}, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if got := e.Client.PeerCertificates[0].Subject.CommonName; got != "next" {
				t.Errorf("the client saw %q", got)
			}
		}},
		{"the verify mode, stricter", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(t, c.SetClientCAs(ca.PEM))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, noCert, func(t *testing.T, e tlstest.Result) {
			tlstest.Sentence(t, e.ServerErr, "peer did not return a certificate")
		}},
		{"the verify mode, laxer", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(t, c.SetClientCAs(ca.PEM))
			must(t, c.SetSessionIDContext([]byte("listener")))
		}, nil, noCert, ok},
		{"the trust", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(ca.PEM))
			must(t, c.SetSessionIDContext([]byte("listener")))
		}, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(stranger.PEM))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, nil, func(t *testing.T, e tlstest.Result) {
			if _, ok := tlstest.AsType[*openssl.VerifyError](e.ServerErr); !ok {
				t.Errorf("server: %v, want a VerifyError", e.ServerErr)
			}
		}},
		{"the verify depth", func(t *testing.T, c *openssl.Ctx) {}, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(ca.PEM))
			must(t, c.SetVerifyDepth(0))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, func(t *testing.T) *openssl.Ctx {
			c := tlstest.NewClient(t)
			inter := tlstest.NewAuthority(t, "inter", ca)
			deep := tlstest.NewAuthority(t, "deep", inter)
			cert, key := deep.Leaf(t, "client.test", tlstest.ECKey(t), nil)
			must(t, c.UseCertificate(bytes.Join([][]byte{cert, deep.PEM, inter.PEM}, nil), key))
			return c
		}, func(t *testing.T, e tlstest.Result) {
			if _, ok := tlstest.AsType[*openssl.VerifyError](e.ServerErr); !ok {
				t.Errorf("server: %v, want a VerifyError", e.ServerErr)
			}
		}},
		{"the highest version", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMaxVersion(tls.VersionTLS12))
		}, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if e.Server.Version != tls.VersionTLS12 {
				t.Errorf("%#04x", e.Server.Version)
			}
		}},
		{"the lowest version", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMinVersion(tls.VersionTLS13))
		}, func(t *testing.T) *openssl.Ctx {
			c := tlstest.NewClient(t)
			tlstest.SetVersion(t, c, tls.VersionTLS12)
			return c
		}, func(t *testing.T, e tlstest.Result) { tlstest.Sentence(t, e.ServerErr, "unsupported protocol") }},
		{"an option set", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetOptions(openssl.OptionNoTLSv13))
		}, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if e.Server.Version != tls.VersionTLS12 {
				t.Errorf("%#04x", e.Server.Version)
			}
		}},
		{"an option not set", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetOptions(openssl.OptionNoTLSv13))
		}, nil, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if e.Server.Version != tls.VersionTLS13 {
				t.Errorf("%#04x", e.Server.Version)
			}
		}},
		{"the ciphers of TLS 1.2", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMaxVersion(tls.VersionTLS12))
			must(t, c.SetCipherList("ECDHE-ECDSA-CHACHA20-POLY1305"))
		}, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if e.Server.CipherName != "ECDHE-ECDSA-CHACHA20-POLY1305" {
				t.Error(e.Server.CipherName)
			}
		}},
		{"the ciphers of TLS 1.3", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetCipherSuites("TLS_CHACHA20_POLY1305_SHA256"))
		}, nil, func(t *testing.T, e tlstest.Result) {
			ok(t, e)
			if e.Server.CipherName != "TLS_CHACHA20_POLY1305_SHA256" {
				t.Error(e.Server.CipherName)
			}
		}},
		{"the application protocols", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetALPN("listener")) },
			func(t *testing.T, c *openssl.Ctx) { must(t, c.SetALPN("next")) },
			func(t *testing.T) *openssl.Ctx {
				c := tlstest.NewClient(t)
				must(t, c.SetALPN("listener", "next"))
				return c
			}, func(t *testing.T, e tlstest.Result) {
				ok(t, e)
				if e.Server.NegotiatedProtocol != "next" {
					t.Errorf("%q", e.Server.NegotiatedProtocol)
				}
			}},
	}
	test := func(t *testing.T, x row) {
		for _, when := range []string{"before", "asked"} {
			t.Run(when, func(t *testing.T) {
				listener, next := tlstest.NewServer(t), tlstest.NewServer(t)
				if x.listener != nil {
					x.listener(t, listener)
				}
				if x.next != nil {
					x.next(t, next)
				}
				x2 := tlstest.Pair{Client: nil, Server: listener}
				if x.client != nil {
					x2.Client = x.client(t)
				} else {
					x2.Client = tlstest.NewClient(t)
				}
				if when == "asked" {
					must(t, listener.SetClientHelloFunc(tlstest.Stay))
					x2.Answer = func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(next)) }
				} else {
					x2.AtServer = func(t testing.TB, s tlstest.SidSetter) { must(t, s.(*openssl.SSL).SetCtx(next)) }
				}
				x.look(t, tlstest.ConnectMachines(t, x2))
			})
		}
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

func TestSetCtxRefuses(t *testing.T) {
	t.Run("a client's for a server", func(t *testing.T) {
		_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		tlstest.Sentence(t, s.SetCtx(tlstest.NewClient(t)), "SSL_set_SSL_CTX", "a server's Ctx cannot serve a client")
	})
	t.Run("a server's for a client", func(t *testing.T) {
		c, _ := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		tlstest.Sentence(t, c.SetCtx(tlstest.NewServer(t)), "SSL_set_SSL_CTX")
	})
	t.Run("a closed one", func(t *testing.T) {
		c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		closed := tlstest.NewServer(t)
		must(t, closed.Close())
		if err := s.SetCtx(closed); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetCtx: %v", err)
		}
		tlstest.MustShake(t, c, s)
	})
	t.Run("leaving a closed one", func(t *testing.T) {
		first, next := tlstest.NewServer(t), tlstest.NewServer(t)
		must(t, first.SetSessionIDContext([]byte("first")))
		must(t, next.SetSessionIDContext([]byte("next")))
		c, s := tlstest.Machines(t, tlstest.NewClient(t), first)
		must(t, first.Close())
		must(t, s.SetCtx(next))
		tlstest.MustShake(t, c, s)
		if got := s.ConnectionState().SessionIDContext; string(got) != "next" {
			t.Errorf("%q", got)
		}
	})
}

// A session of an open host does not open a host that requires certificates.
func TestSwitchedHostsAreApart(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, own := range []string{"", "own"} {
			t.Run("own context "+own, func(t *testing.T) {
				client := tlstest.BareClient(t)
				must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
				tlstest.SetVersion(t, client, v.ID)
				listener, open, closed := tlstest.NewServer(t), tlstest.NewServer(t), tlstest.NewMutualServer(t, "closed")
				must(t, listener.SetClientHelloFunc(tlstest.Stay))
				must(t, open.SetSessionIDContext([]byte("open")))
				x := tlstest.Pair{Client: client, Server: listener, Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(open)) }}
				if own != "" {
					x.AtServer = func(t testing.TB, s tlstest.SidSetter) { must(t, s.SetSessionIDContext([]byte(own+" open"))) }
				}
				first := tlstest.Connect(t, x)
				x.Offer, x.Answer, x.AtServer = first.Session, func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(closed)) }, nil
				second := tlstest.ConnectMachines(t, x)
				tlstest.Sentence(t, second.ServerErr, "peer did not return a certificate")
			})
		}
	})
}

// ---- the machine ----

// pump moves plaintext of from to the end of to, in pieces, and returns it.
func pump(t *testing.T, from, to *openssl.SSL, message []byte, drain, read int) []byte {
	t.Helper()
	var got []byte
	n, w, err := from.Write(message)
	if n != len(message) || w != openssl.WantNothing || err != nil {
		t.Fatalf("Write: n %v, w %v, err %v", n, w, err)
	}
	for p, q := make([]byte, drain), make([]byte, read); ; {
		k := from.Drain(p)
		if n, err := to.Feed(p[:k]); n != k || err != nil {
			t.Fatalf("Feed: n %v, err %v", n, err)
		}
		for {
			n, w, err := to.Read(q)
			must(t, err)
			got = append(got, q[:n]...)
			if w == openssl.WantInput {
				break
			}
		}
		if k == 0 && from.Pending() == 0 {
			return got
		}
	}
}

func TestMachineCarriesBytes(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client := tlstest.NewClient(t)
		tlstest.SetVersion(t, client, v.ID)
		c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
		tlstest.MustShake(t, c, s)
		for _, x := range []struct {
			name              string
			size, drain, read int
		}{
			{"nothing", 0, 1, 1},
			{"a byte", 1, 1, 1},
			{"a byte at a time", 3000, 1, 1},
			{"a record", 16384, 1 << 20, 1 << 20},
			{"a record and a byte", 16385, 1000, 1 << 20},
			{"much", 1 << 20, 1 << 20, 1 << 20},
			{"much into little", 1 << 20, 100_000, 7},
			{"much through a needle's eye", 200_000, 17, 65536},
		} {
			t.Run(x.name, func(t *testing.T) {
				message := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, x.size/7+1)[:x.size]
				if got := pump(t, c, s, message, x.drain, x.read); !bytes.Equal(got, message) {
					t.Errorf("%d bytes came to the server, not the same %d", len(got), len(message))
				}
				if got := pump(t, s, c, message, x.drain, x.read); !bytes.Equal(got, message) {
					t.Errorf("%d bytes came to the client, not the same %d", len(got), len(message))
				}
			})
		}
	})
}

// What is drained in parts, while more is written behind it, is what was written.
func TestMachineBacklog(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetNumTickets(200)) // more than fits where output goes first
	c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
	for range 2 {
		if _, err := c.Handshake(); err != nil {
			t.Fatalf("client: %v", err)
		}
		tlstest.Carry(t, c, s)
		if _, err := s.Handshake(); err != nil {
			t.Fatalf("server: %v", err)
		}
		if !s.ConnectionState().HandshakeComplete {
			tlstest.Carry(t, s, c)
		}
	}
	if n := s.Pending(); n < 40_000 {
		t.Fatalf("200 tickets are %d bytes", n)
	}
	var message, sent []byte
	p := make([]byte, 10_000)
	for i := range 100 {
		part := bytes.Repeat([]byte{byte(i)}, 9_000)
		if n, _, err := s.Write(part); n != len(part) || err != nil {
			t.Fatalf("Write: n %v, err %v", n, err)
		}
		message = append(message, part...)
		sent = append(sent, p[:s.Drain(p)]...)
	}
	for s.Pending() > 0 {
		sent = append(sent, p[:s.Drain(p)]...)
	}
	var got []byte
	for len(sent) > 0 {
		n, err := c.Feed(sent)
		must(t, err)
		sent = sent[n:]
		for w := openssl.WantNothing; w == openssl.WantNothing; {
			if n, w, err = c.Read(p); err != nil {
				t.Fatalf("Read: %v", err)
			}
			got = append(got, p[:n]...)
		}
	}
	if !bytes.Equal(got, message) {
		t.Errorf("%d bytes have come, not the same %d", len(got), len(message))
	}
}

// A Read of nothing takes nothing.
func TestMachineReadsNothing(t *testing.T) {
	c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
	tlstest.MustShake(t, c, s)
	if _, _, err := c.Write([]byte("word")); err != nil {
		t.Fatalf("Write: %v", err)
	}
	tlstest.Carry(t, c, s)
	if n, w, err := s.Read(nil); n != 0 || w != openssl.WantNothing || err != nil {
		t.Errorf("Read of nothing: n %v, w %v, err %v", n, w, err)
	}
	p := make([]byte, 10)
	if n, _, err := s.Read(p); string(p[:n]) != "word" || err != nil {
		t.Errorf("Read: n %v, err %v", n, err)
	}
}

func TestMachineEnds(t *testing.T) {
	p := make([]byte, 10)
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		pair := func(t *testing.T) (c, s *openssl.SSL) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			return tlstest.Machines(t, client, tlstest.NewServer(t))
		}
		twice := func(t *testing.T, m *openssl.SSL, want error) {
			t.Helper()
			for range 2 {
				if n, w, err := m.Read(p); n != 0 || w != openssl.WantNothing || err != want {
					t.Errorf("%d, %v, %v, want %v", n, w, err, want)
				}
			}
		}
		t.Run("with goodbye", func(t *testing.T) {
			c, s := pair(t)
			tlstest.MustShake(t, c, s)
			if _, _, err := c.Write([]byte("last words")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if w, err := c.Shutdown(); w != openssl.WantInput || err != nil {
				t.Fatalf("Shutdown: w %v, err %v", w, err)
			}
			tlstest.Carry(t, c, s)
			must(t, s.FeedEOF())
			if n, _, err := s.Read(p); string(p[:n]) != "last words" || err != nil {
				t.Errorf("Read: n %v, err %v", n, err)
			}
			twice(t, s, io.EOF)
			if _, _, err := c.Write(p); err == nil {
				t.Error("a write after close_notify")
			} else {
				tlstest.Sentence(t, err, "write after close_notify")
			}
			// The other direction is open.
			if _, _, err := s.Write([]byte("too")); err != nil {
				t.Errorf("Write: %v", err)
			}
			if w, err := s.Shutdown(); w != openssl.WantNothing || err != nil {
				t.Errorf("Shutdown: w %v, err %v", w, err)
			}
			tlstest.Carry(t, s, c)
			if n, _, err := c.Read(p); string(p[:n]) != "too" || err != nil {
				t.Errorf("Read: n %v, err %v", n, err)
			}
			twice(t, c, io.EOF)
			if w, err := c.Shutdown(); w != openssl.WantNothing || err != nil {
				t.Errorf("Shutdown: w %v, err %v", w, err)
			}
		})
		t.Run("without goodbye", func(t *testing.T) {
			c, s := pair(t)
			tlstest.MustShake(t, c, s)
			if _, _, err := c.Write([]byte("last words")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			tlstest.Carry(t, c, s)
			must(t, s.FeedEOF())
			must(t, s.FeedEOF())
			if n, _, err := s.Read(p); string(p[:n]) != "last words" || err != nil {
				t.Errorf("Read: n %v, err %v", n, err)
			}
			twice(t, s, io.ErrUnexpectedEOF)
			if n, err := s.Feed(p); n != 0 {
				t.Error("fed behind the end")
			} else {
				tlstest.Sentence(t, err, "Feed after FeedEOF")
			}
		})
		t.Run("inside a record", func(t *testing.T) {
			c, s := pair(t)
			tlstest.MustShake(t, c, s)
			if _, _, err := c.Write([]byte("last words")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if _, err := s.Feed(p[:c.Drain(p)]); err != nil {
				t.Fatalf("Feed: %v", err)
			}
			must(t, s.FeedEOF())
			twice(t, s, io.ErrUnexpectedEOF)
		})
		t.Run("before the first byte", func(t *testing.T) {
			c, s := pair(t)
			for name, m := range map[string]*openssl.SSL{"client": c, "server": s} {
				must(t, m.FeedEOF())
				for range 2 {
					if w, err := m.Handshake(); w != openssl.WantNothing || err != io.ErrUnexpectedEOF {
						t.Errorf("%s: %v, %v", name, w, err)
					}
				}
				twice(t, m, io.ErrUnexpectedEOF)
			}
		})
		t.Run("inside the handshake", func(t *testing.T) {
			c, s := pair(t)
			if _, err := c.Handshake(); err != nil {
				t.Fatalf("Handshake: %v", err)
			}
			tlstest.Carry(t, c, s)
			must(t, s.FeedEOF())
			// The first call answers the ClientHello, at the latest the second meets the end.
			_, err := s.Handshake()
			if err == nil {
				_, err = s.Handshake()
			}
			if err != io.ErrUnexpectedEOF {
				t.Errorf("Handshake: %v", err)
			}
			if _, _, err := s.Write(p); err != io.ErrUnexpectedEOF {
				t.Errorf("Write: %v", err)
			}
		})
	})
}

func TestMachineMeetsGarbage(t *testing.T) {
	t.Run("instead of a ClientHello", func(t *testing.T) {
		for name, garbage := range map[string][]byte{
			"HTTP":          []byte("GET / HTTP/1.1\r\nHost: server.test\r\n\r\n"),
			"zeros":         make([]byte, 100),
			"0xFF":          bytes.Repeat([]byte{0xff}, 100),
			"a huge record": append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 70000)...),
		} {
			t.Run(name, func(t *testing.T) {
				_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
				if _, err := s.Feed(garbage); err != nil {
					t.Fatalf("Feed: %v", err)
				}
				w, err := s.Handshake()
				if w != openssl.WantNothing {
					t.Error(w)
				}
				tlstest.Sentence(t, err, "SSL_do_handshake")
				if e, ok := tlstest.AsType[*openssl.Error](err); !ok || len(e.Stack) == 0 || e.Code == 0 {
					t.Errorf("%#v", err)
				}
				if _, again := s.Handshake(); !reflect.DeepEqual(again, err) {
					t.Errorf("the second time: %v, the first time %v", again, err)
				}
			})
		}
	})
	for _, v := range tlstest.Versions {
		t.Run("a record tampered with, "+v.Name, func(t *testing.T) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			c, s := tlstest.Machines(t, client, tlstest.NewServer(t))
			tlstest.MustShake(t, c, s)
			if _, _, err := c.Write([]byte("message")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			p := make([]byte, 1000)
			n := c.Drain(p)
			p[n-1] ^= 1
			if _, err := s.Feed(p[:n]); err != nil {
				t.Fatalf("Feed: %v", err)
			}
			_, _, err := s.Read(p)
			tlstest.Sentence(t, err, "SSL_read_ex", "bad")
			if _, _, werr := s.Write(p); !reflect.DeepEqual(werr, err) {
				t.Errorf("a write afterwards: %v", werr)
			}
			if w, serr := s.Shutdown(); w != openssl.WantNothing || !reflect.DeepEqual(serr, err) {
				t.Errorf("a goodbye afterwards: %v, %v", w, serr)
			}
			tlstest.Carry(t, s, c)
			_, _, err = c.Read(p)
			if alert, _ := tlstest.AsType[tls.AlertError](err); alert != 20 {
				t.Errorf("client: %v, want bad_record_mac", err)
			}
		})
	}
}

func TestMachineAsks(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		must(t, client.SetMaxVersion(v.ID))
		must(t, client.SetALPN("one", "two"))
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		c, s := tlstest.Machines(t, client, server)
		if _, err := s.ClientHello(); err == nil {
			t.Error("a ClientHello before it came")
		} else {
			tlstest.Sentence(t, err, "did not return WantClientHello")
		}
		tlstest.Sentence(t, s.Refuse(40), "did not return WantClientHello")
		asked := 0
		clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(s *openssl.SSL) {
			asked++
			for range 2 {
				hello, err := s.ClientHello()
				must(t, err)
				if hello.ServerName != "server.test" || !slices.Equal(hello.ALPNProtocols, []string{"one", "two"}) ||
					hello.SupportedVersions[0] != v.ID || len(hello.CipherSuites) == 0 || hello.Conn != nil {
					t.Errorf("%+v", hello)
				}
			}
		})
		if clientErr != nil || serverErr != nil || asked != 1 {
			t.Fatalf("ShakeAnswering: client %v, server %v, asked %v", clientErr, serverErr, asked)
		}
		if _, err := s.ClientHello(); err == nil {
			t.Error("a ClientHello after it was answered")
		}
	})
	t.Run("again after a HelloRetryRequest", func(t *testing.T) {
		client, server, next := tlstest.NewClient(t), tlstest.NewServer(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, tls.VersionTLS13)
		must(t, client.SetGroups("X25519:P-256"))
		must(t, server.SetGroups("P-256"))
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		must(t, next.SetSessionIDContext([]byte("next")))
		for _, to := range []*openssl.Ctx{nil, next} {
			c, s := tlstest.Machines(t, client, server)
			asked := 0
			clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(s *openssl.SSL) {
				if asked++; to != nil {
					must(t, s.SetCtx(to))
				}
				must(t, s.SetSessionIDContext([]byte{byte(asked)}))
			})
			if clientErr != nil || serverErr != nil || asked != 2 {
				t.Fatalf("ShakeAnswering: client %v, server %v, asked %v", clientErr, serverErr, asked)
			}
			if got := s.ConnectionState().SessionIDContext; !bytes.Equal(got, []byte{2}) {
				t.Errorf("the session is within %q", got)
			}
		}
	})
	t.Run("refusing", func(t *testing.T) {
		server := tlstest.NewServer(t)
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
		clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(s *openssl.SSL) { must(t, s.Refuse(112)) })
		if alert, _ := tlstest.AsType[tls.AlertError](clientErr); alert != 112 {
			t.Errorf("client: %v, want unrecognized_name", clientErr)
		}
		tlstest.Sentence(t, serverErr, "SSL_do_handshake")
	})
	t.Run("nobody", func(t *testing.T) {
		c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(*openssl.SSL) { t.Error("asked") })
		if clientErr != nil || serverErr != nil {
			t.Errorf("ShakeAnswering: client %v, server %v", clientErr, serverErr)
		}
	})
}

func TestConnectionState(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
			tlstest.SetVersion(t, client, v.ID)
			must(t, client.SetALPN("proto"))
			must(t, server.SetALPN("proto"))
			c, s := tlstest.Machines(t, client, server)
			for name, m := range map[string]*openssl.SSL{"client": c, "server": s} {
				if cs := m.ConnectionState(); cs.HandshakeComplete || cs.DidResume || len(cs.PeerCertificates) != 0 {
					t.Errorf("%s before: %+v", name, cs)
				}
			}
			tlstest.MustShake(t, c, s)
			for name, x := range map[string]struct {
				m    *openssl.SSL
				peer string
				sid  string
			}{"client": {c, "server.test", ""}, "server": {s, "client.test", "tenant"}} {
				cs := x.m.ConnectionState()
				if cs.Version != v.ID || !cs.HandshakeComplete || cs.DidResume || cs.NegotiatedProtocol != "proto" ||
					cs.ServerName != "server.test" || len(cs.PeerCertificates) != 1 || cs.VerifyError != nil ||
					string(cs.SessionIDContext) != x.sid || cs.CipherSuite == 0 || cs.CipherName == "" {
					t.Errorf("%s: %+v", name, cs)
				}
				if got := cs.PeerCertificates[0].DNSNames; !slices.Equal(got, []string{x.peer}) {
					t.Errorf("%s saw %v", name, got)
				}
				std := cs.TLS()
				if std.Version != v.ID || !std.HandshakeComplete || std.NegotiatedProtocol != "proto" || std.ServerName != "server.test" ||
					std.CipherSuite != cs.CipherSuite || len(std.PeerCertificates) != 1 {
					t.Errorf("%s for crypto/tls: %+v", name, std)
				}
			}
		})
	}
}

func TestWantString(t *testing.T) {
	for w, want := range map[openssl.Want]string{
		openssl.WantNothing: "nothing", openssl.WantInput: "input",
		openssl.WantClientHello: "an answer to the ClientHello", 99: "Want(99)",
	} {
		if w.String() != want {
			t.Errorf("%q, want %q", w, want)
		}
	}
}

// ---- misuse ----

// Every method of a closed or nil value is an error, and none a crash.
func TestUseAfterClose(t *testing.T) {
	closable := []struct {
		name string
		make func(t *testing.T) io.Closer
		none any
	}{
		{"server Ctx", func(t *testing.T) io.Closer { return tlstest.NewServer(t) }, (*openssl.Ctx)(nil)},
		{"client Ctx", func(t *testing.T) io.Closer { return tlstest.NewClient(t) }, (*openssl.Ctx)(nil)},
		{"server SSL", func(t *testing.T) io.Closer {
			_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return s
		}, (*openssl.SSL)(nil)},
		{"client SSL", func(t *testing.T) io.Closer {
			c, _ := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return c
		}, (*openssl.SSL)(nil)},
		{"SSL, done", func(t *testing.T) io.Closer {
			c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			tlstest.MustShake(t, c, s)
			return s
		}, (*openssl.SSL)(nil)},
		{"server Conn", func(t *testing.T) io.Closer {
			_, s := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return s
		}, (*openssl.Conn)(nil)},
		{"client Conn", func(t *testing.T) io.Closer {
			c, _ := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return c
		}, (*openssl.Conn)(nil)},
		{"Conn, done", func(t *testing.T) io.Closer {
			c, s := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
			if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			return s
		}, (*openssl.Conn)(nil)},
		{"Session", func(t *testing.T) io.Closer {
			return tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: tlstest.NewServer(t)}).Session
		}, (*openssl.Session)(nil)},
	}
	for _, x := range closable {
		t.Run(x.name+" closed", func(t *testing.T) {
			v := x.make(t)
			must(t, v.Close())
			must(t, v.Close())
			callAll(t, v, callArgs, func(method string, err error) {
				// CloseWrite of a Conn that never shook hands has an older reason.
				if !errors.Is(err, net.ErrClosed) && (method != "CloseWrite" || err == nil) {
					t.Errorf("%s: %v, want net.ErrClosed", method, err)
				}
			}, "Close")
			must(t, v.Close())
		})
		t.Run(x.name+" nil", func(t *testing.T) {
			callAll(t, x.none, callArgs, func(method string, err error) {
				if err == nil {
					t.Errorf("%s: no error", method)
					return
				}
				tlstest.Sentence(t, err, "nil")
			}, "NetConn", "LocalAddr", "RemoteAddr")
		})
	}
	for name, zero := range map[string]any{
		"Ctx": new(openssl.Ctx), "SSL": new(openssl.SSL), "Conn": new(openssl.Conn), "Session": new(openssl.Session),
	} {
		t.Run("zero "+name, func(t *testing.T) {
			callAll(t, zero, callArgs, func(method string, err error) {
				if err == nil && method != "Close" {
					t.Errorf("%s: no error", method)
				}
			}, "NetConn", "LocalAddr", "RemoteAddr")
		})
	}
	t.Run("a ClientHello that nobody asked with", func(t *testing.T) {
		for _, hello := range []*openssl.ClientHello{nil, {}} {
			tlstest.Sentence(t, hello.SetSessionIDContext([]byte("x")))
		}
	})
	t.Run("a ClientHello that was answered", func(t *testing.T) {
		server := tlstest.NewServer(t)
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
		var hello *openssl.ClientHello
		if clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(s *openssl.SSL) { hello, _ = s.ClientHello() }); clientErr != nil || serverErr != nil {
			t.Fatalf("ShakeAnswering: client %v, server %v", clientErr, serverErr)
		}
		if err := hello.SetSessionIDContext([]byte("x")); !errors.Is(err, openssl.ErrTooLate) {
			t.Errorf("SetSessionIDContext: %v", err)
		}
		must(t, s.Close())
		if err := hello.SetSessionIDContext([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetSessionIDContext: %v", err)
		}
	})
}

func TestNilArguments(t *testing.T) {
	near, far := tlstest.TCPPair(t)
	defer near.Close()
	defer far.Close()
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	for _, x := range []struct {
		name string
		do   func() error
		says string
	}{
		{"NewSSL without a Ctx", func() error { _, err := openssl.NewSSL(nil); return err }, "the Ctx is nil"},
		{"Client without a Ctx", func() error { _, err := openssl.Client(near, nil); return err }, "the Ctx is nil"},
		{"Server without a Ctx", func() error { _, err := openssl.Server(far, nil); return err }, "the Ctx is nil"},
		{"Client without a wire", func() error { _, err := openssl.Client(nil, client); return err }, "the net.Conn is nil"},
		{"Server without a wire", func() error { _, err := openssl.Server(nil, server); return err }, "the net.Conn is nil"},
		{"nothing at all", func() error { _, err := openssl.Server(nil, nil); return err }, "nil"},
		{"Listen without a Ctx", func() error { _, err := openssl.Listen("tcp", "127.0.0.1:0", nil); return err }, "the Ctx is nil"},
		{"NewListener without a listener", func() error { _, err := openssl.NewListener(nil, server).Accept(); return err }, "no listener"},
		{"closing a NewListener without a listener", func() error { return openssl.NewListener(nil, server).Close() }, "no listener"},
		{"Dial without a Ctx", func() error { _, err := openssl.Dial("tcp", "192.0.2.1:443", nil); return err }, "the Ctx is nil"},
		{"a nil Dialer", func() error {
			_, err := (*openssl.Dialer)(nil).DialContext(t.Context(), "tcp", "192.0.2.1:443")
			return err
		}, "nil Dialer"},
		{"HandshakeContext without a context", func() error {
			c, _ := tlstest.Conns(t, client, server)
			var none context.Context
			return c.HandshakeContext(none)
		}, "the context is nil"},
		{"Feed after Close", func() error {
			c, _ := tlstest.Machines(t, client, server)
			must(t, c.Close())
			_, err := c.Feed([]byte("x"))
			return err
		}, "closed SSL"},
	} {
		t.Run(x.name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("panics: %v", r)
				}
			}()
			tlstest.Sentence(t, x.do(), x.says)
		})
	}
	if openssl.NewListener(nil, server).Addr() != nil {
		t.Error("no listener has an address")
	}
}

// A client's SetCtx brings what the new Ctx offers by ALPN, and takes away what it does not.
func TestSetCtxBringsALPN(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetALPN("one", "two"))
	one, two, none := tlstest.NewClient(t), tlstest.NewClient(t), tlstest.NewClient(t)
	must(t, one.SetALPN("one"))
	must(t, two.SetALPN("two"))
	for _, x := range []struct {
		name     string
		from, to *openssl.Ctx
		want     string
	}{
		{"one to two", one, two, "two"},
		{"one to none", one, none, ""},
		{"none to two", none, two, "two"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, s := tlstest.Machines(t, x.from, server)
			must(t, c.SetCtx(x.to))
			tlstest.MustShake(t, c, s)
			if got := s.ConnectionState().NegotiatedProtocol; got != x.want {
				t.Errorf("protocol %q, want %q", got, x.want)
			}
		})
	}
}

// carryByteByByte is carry, with a step of to after each byte.
func carryByteByByte(t *testing.T, from, to *openssl.SSL, step func()) {
	t.Helper()
	p := make([]byte, 1)
	for from.Drain(p) == 1 {
		if _, err := to.Feed(p); err != nil {
			t.Fatalf("Feed: %v", err)
		}
		step()
	}
}

// A handshake that arrives byte by byte asks for input at each byte. Whatever was
// left in OpenSSL's error queue on the way would make libssl report a failure then.
func TestHandshakeByteByByte(t *testing.T) {
	stranger := tlstest.NewAuthority(t, "unknown CA", nil)
	strangerCert, strangerKey := stranger.Leaf(t, "stranger.test", tlstest.ECKey(t), nil)
	// The signature is by the CA that the server knows, and one bit of it is wrong.
	leaf, leafKey := tlstest.Certs(t).Leaf(t, "client.test", tlstest.ECKey(t), nil)
	block, _ := pem.Decode(leaf)
	block.Bytes[len(block.Bytes)-1] ^= 1
	damaged := pem.EncodeToMemory(block)
	accept := func(openssl.ConnectionState) error { return nil }
	type row struct {
		name  string
		setup func(t *testing.T, client, server *openssl.Ctx)
	}
	kinds := []row{
		{"plain", func(*testing.T, *openssl.Ctx, *openssl.Ctx) {}},
		{"stateful", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.SetOptions(openssl.OptionNoTicket))
		}},
		{"client certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
			must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		}},
		{"deferred, unknown client certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.UseCertificate(strangerCert, strangerKey))
			must(t, server.SetVerify(openssl.VerifyDefer))
			must(t, server.SetVerifyConnection(accept))
		}},
		{"deferred, client certificate with a damaged signature", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.UseCertificate(damaged, leafKey))
			must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
			must(t, server.SetVerify(openssl.VerifyDefer))
			must(t, server.SetVerifyConnection(accept))
		}},
		{"deferred, unknown server certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.UseCertificate(strangerCert, strangerKey))
			must(t, client.SetVerify(openssl.VerifyDefer))
			must(t, client.SetVerifyConnection(accept))
		}},
		{"not verified, unknown server certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.UseCertificate(strangerCert, strangerKey))
			must(t, client.SetVerify(openssl.VerifyNone))
		}},
		{"HelloRetryRequest", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.SetGroups("X25519:P-384:P-256"))
			must(t, server.SetGroups("P-384:P-256"))
		}},
	}
	test := func(t *testing.T, v tlstest.Version, k row) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		must(t, server.SetSessionIDContext([]byte("payroll")))
		k.setup(t, client, server)
		var sess *openssl.Session
		for _, what := range []string{"full", "resumed", "resumed with a ticket of a key that is gone"} {
			if what != "full" && what != "resumed" {
				must(t, server.SetTicketKeys(tlstest.TicketKey(1)))
			}
			c, s := tlstest.Machines(t, client, server)
			if sess != nil {
				must(t, c.SetSession(sess))
			}
			var cw, sw openssl.Want = openssl.WantInput, openssl.WantInput
			var cerr, serr error
			clientStep := func() {
				if cw != openssl.WantNothing && cerr == nil {
					cw, cerr = c.Handshake()
				} else if cerr == nil {
					_, _, cerr = c.Read(make([]byte, 1))
				}
			}
			serverStep := func() {
				if sw != openssl.WantNothing && serr == nil {
					sw, serr = s.Handshake()
				}
			}
			clientStep()
			for range 6 {
				carryByteByByte(t, c, s, serverStep)
				carryByteByByte(t, s, c, clientStep)
			}
			if cerr != nil || serr != nil || cw != openssl.WantNothing || sw != openssl.WantNothing {
				t.Fatalf("%s: client %v (wants %v), server %v (wants %v)", what, cerr, cw, serr, sw)
			}
			sess = tlstest.SessionOf(t, c)
			tlstest.Goodbye(t, c, s)
		}
	}
	for _, v := range tlstest.Versions {
		for _, k := range kinds {
			t.Run(v.Name+"/"+k.name, func(t *testing.T) { test(t, v, k) })
		}
	}
}

// flights is what a client sends in a handshake and a message, in two parts: the
// first flight and the rest.
func flights(t testing.TB, client, server *openssl.Ctx, offer *openssl.Session) (first, rest []byte) {
	t.Helper()
	c, s := tlstest.Machines(t, client, server)
	if offer != nil {
		must(t, c.SetSession(tlstest.Reparse(t, offer)))
	}
	send := func() (sent []byte) {
		p := make([]byte, 64<<10)
		for c.Pending() > 0 {
			sent = append(sent, p[:c.Drain(p)]...)
		}
		_, err := s.Feed(sent)
		must(t, err)
		return sent
	}
	for {
		w, err := c.Handshake()
		must(t, err)
		if first == nil {
			first = send()
		} else {
			rest = append(rest, send()...)
		}
		if _, err := s.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		tlstest.Carry(t, s, c)
		if w == openssl.WantNothing {
			break
		}
	}
	_, _, err := c.Write([]byte("ping"))
	must(t, err)
	rest = append(rest, send()...)
	tlstest.Goodbye(t, c, s)
	return first, rest
}

// FuzzFeed feeds bytes to a server's machine, in two parts, with whatever it
// asks answered: by a plain server, by one that is asked about the ClientHello
// and has a store, and by one that requires certificates.
func FuzzFeed(f *testing.F) {
	plain, asking, mutual := tlstest.NewServer(f), tlstest.NewServer(f), tlstest.NewMutualServer(f, "a")
	must(f, plain.SetOptions(openssl.OptionNoTicket))
	must(f, asking.SetOptions(openssl.OptionNoTicket))
	must(f, asking.SetSessionStore(noStore{}))
	must(f, asking.SetALPN("h2", "http/1.1"))
	servers := []*openssl.Ctx{plain, asking, mutual}
	for _, v := range tlstest.Versions {
		client := tlstest.NewClient(f)
		tlstest.SetVersion(f, client, v.ID)
		must(f, client.SetALPN("http/1.1"))
		for _, server := range []*openssl.Ctx{plain, mutual} {
			sess := tlstest.MustOffer(f, client, server, nil, openssl.ResumptionNotOffered)
			der, err := sess.MarshalBinary()
			must(f, err)
			for _, offer := range []*openssl.Session{nil, sess} {
				first, rest := flights(f, client, server, offer)
				f.Add(first, rest, der)
				f.Add(first[:len(first)/2], first[len(first)/2:], []byte(nil))
			}
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte(nil), []byte(nil))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, first, rest, stored []byte) {
		for _, server := range servers {
			feed(t, server, first, rest, stored)
		}
	})
}

func feed(t testing.TB, server *openssl.Ctx, first, rest, stored []byte) {
	t.Helper()
	defer leaksNothing(t)()
	s, err := openssl.NewSSL(server)
	must(t, err)
	defer s.Close()
	p := make([]byte, 4096)
	step := func() (failed bool) {
		for range 8 {
			_, w, err := s.Read(p)
			for s.Pending() > 0 {
				s.Drain(p)
			}
			if err != nil {
				if n, w, again := s.Read(p); n != 0 || w != openssl.WantNothing || again == nil {
					t.Fatalf("after %v a Read gives %d, %v, %v", err, n, w, again)
				}
				return true
			}
			switch w {
			case openssl.WantInput:
				return false
			case openssl.WantClientHello:
				if hello, err := s.ClientHello(); err != nil {
					alert := tls.AlertError(80)
					errors.As(err, &alert)
					must(t, s.Refuse(alert))
				} else if hello == nil {
					t.Fatal("no ClientHello and no error")
				}
				if ids := s.OfferedSessionIDs(); len(ids) > 4 {
					t.Fatalf("%d ids", len(ids))
				}
				s.AnswerSession(stored)
			}
		}
		return false
	}
	for _, part := range [][]byte{first, rest} {
		_, err := s.Feed(part)
		must(t, err)
		if step() {
			break
		}
	}
	must(t, s.FeedEOF())
	step()
	state := s.ConnectionState()
	if state.HandshakeComplete && state.Version < tls.VersionTLS12 {
		t.Fatalf("a handshake of version %#x", state.Version)
	}
	s.Shutdown()
}
