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
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// Whatever is said in whatever order, one value comes out, and the session that
// the full handshake makes carries it. It is OpenSSL's table, with one rule of
// this package: libssl's own inheritance is never left to itself.
func TestSessionIDContextInheritance(t *testing.T) {
	type step struct {
		set string // a context to set on the SSL...
		ctx string // ...or the Ctx to go on with: "ctxA", "ctxB", "ctxC", "none", "nil"
	}
	set := func(v string) step { return step{set: v} }
	to := func(name string) step { return step{ctx: name} }
	long := strings.Repeat("x", 33)
	cases := []struct {
		name  string
		from  string
		steps []step
		want  string
	}{
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
	places := []struct {
		name   string
		client bool
		asked  bool
	}{
		{"server, before", false, false},
		{"server, asked", false, true},
		{"client", true, false},
	}
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			for _, v := range versions {
				t.Run(v.name, func(t *testing.T) {
					for _, x := range cases {
						t.Run(x.name, func(t *testing.T) {
							ctxs := map[string]*openssl.Ctx{"nil": nil}
							for _, name := range []string{"ctxA", "ctxB", "ctxC", "none"} {
								make := newServer
								if place.client {
									make = newClient
								}
								ctxs[name] = make(t)
								if name != "none" {
									must(t, ctxs[name].SetSessionIDContext([]byte(name)))
								}
								if place.asked {
									must(t, ctxs[name].SetClientHelloFunc(stay))
								}
							}
							client, server := newClient(t), newServer(t)
							if place.client {
								client = ctxs[x.from]
							} else {
								server = ctxs[x.from]
							}
							must(t, server.SetMaxVersion(v.id))
							for _, c := range ctxs {
								if c != nil && c != server {
									must(t, c.SetMaxVersion(v.id))
								}
							}
							c, s := machines(t, client, server)
							ours := s
							if place.client {
								ours = c
							}
							walk := func(ours *openssl.SSL) {
								for _, step := range x.steps {
									switch {
									case step.ctx != "":
										must(t, ours.SetCtx(ctxs[step.ctx]))
									case step.set == long:
										tooLong(t, ours.SetSessionIDContext([]byte(long)), "SSL_set_session_id_context")
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
							if clientErr, serverErr := shakeAnswering(t, c, s, walk); clientErr != nil || serverErr != nil {
								t.Fatal(clientErr, serverErr)
							}
							if s.ConnectionState().Version != v.id {
								t.Fatalf("%#04x", s.ConnectionState().Version)
							}
							if got := ours.ConnectionState().SessionIDContext; string(got) != x.want {
								t.Errorf("the session is within %q, want %q", got, x.want)
							}
						})
					}
				})
			}
		})
	}
}

// When a session id context may still be set.
func TestSessionIDContextTooLate(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			setVersion(t, client, v.id)
			must(t, server.SetClientHelloFunc(stay))
			c, s := machines(t, client, server)
			must(t, c.SetSessionIDContext([]byte("c")))
			if _, err := s.Handshake(); err != nil { // nothing has arrived
				t.Fatal(err)
			}
			must(t, s.SetSessionIDContext([]byte("s")))
			if _, err := c.Handshake(); err != nil {
				t.Fatal(err)
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
			carry(t, c, s)
			if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
				t.Fatal(w, err)
			}
			must(t, s.SetSessionIDContext([]byte("asked")))
			if _, err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			late("server, ClientHello answered", s)
			mustShake(t, c, s)
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
}

// What a switch takes over, each shown by a handshake.
func TestSetCtxTakes(t *testing.T) {
	ca := certs(t)
	stranger := newAuthority(t, "stranger", nil)
	noCert := func(t *testing.T) *openssl.Ctx {
		c := bareClient(t)
		must(t, c.SetVerifyCAs(ca.pem))
		return c
	}
	ok := func(t *testing.T, e ends) {
		t.Helper()
		if e.clientErr != nil || e.serverErr != nil {
			t.Error(e.clientErr, e.serverErr)
		}
	}
	cases := []struct {
		name     string
		listener func(t *testing.T, c *openssl.Ctx)
		next     func(t *testing.T, c *openssl.Ctx)
		client   func(t *testing.T) *openssl.Ctx
		look     func(t *testing.T, e ends)
	}{
		{"the certificate", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.UseCertificate(ca.leaf(t, "server.test", ecKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "next" })))
		}, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if got := e.client.PeerCertificates[0].Subject.CommonName; got != "next" {
				t.Errorf("the client saw %q", got)
			}
		}},
		{"the verify mode, stricter", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(t, c.SetClientCAs(ca.pem))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, noCert, func(t *testing.T, e ends) {
			sentence(t, e.serverErr, "peer did not return a certificate")
		}},
		{"the verify mode, laxer", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(t, c.SetClientCAs(ca.pem))
			must(t, c.SetSessionIDContext([]byte("listener")))
		}, nil, noCert, ok},
		{"the trust", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(ca.pem))
			must(t, c.SetSessionIDContext([]byte("listener")))
		}, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(stranger.pem))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, nil, func(t *testing.T, e ends) {
			if _, ok := errors.AsType[*openssl.VerifyError](e.serverErr); !ok {
				t.Errorf("server: %v, want a VerifyError", e.serverErr)
			}
		}},
		{"the verify depth", func(t *testing.T, c *openssl.Ctx) {}, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetClientCAs(ca.pem))
			must(t, c.SetVerifyDepth(0))
			must(t, c.SetSessionIDContext([]byte("next")))
		}, func(t *testing.T) *openssl.Ctx {
			c := newClient(t)
			inter := newAuthority(t, "inter", ca)
			deep := newAuthority(t, "deep", inter)
			cert, key := deep.leaf(t, "client.test", ecKey(t), nil)
			must(t, c.UseCertificate(bytes.Join([][]byte{cert, deep.pem, inter.pem}, nil), key))
			return c
		}, func(t *testing.T, e ends) {
			if _, ok := errors.AsType[*openssl.VerifyError](e.serverErr); !ok {
				t.Errorf("server: %v, want a VerifyError", e.serverErr)
			}
		}},
		{"the highest version", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMaxVersion(tls.VersionTLS12))
		}, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if e.server.Version != tls.VersionTLS12 {
				t.Errorf("%#04x", e.server.Version)
			}
		}},
		{"the lowest version", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMinVersion(tls.VersionTLS13))
		}, func(t *testing.T) *openssl.Ctx {
			c := newClient(t)
			setVersion(t, c, tls.VersionTLS12)
			return c
		}, func(t *testing.T, e ends) { sentence(t, e.serverErr, "unsupported protocol") }},
		{"an option set", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetOptions(openssl.OptionNoTLSv13))
		}, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if e.server.Version != tls.VersionTLS12 {
				t.Errorf("%#04x", e.server.Version)
			}
		}},
		{"an option not set", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetOptions(openssl.OptionNoTLSv13))
		}, nil, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if e.server.Version != tls.VersionTLS13 {
				t.Errorf("%#04x", e.server.Version)
			}
		}},
		{"the ciphers of TLS 1.2", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetMaxVersion(tls.VersionTLS12))
			must(t, c.SetCipherList("ECDHE-ECDSA-CHACHA20-POLY1305"))
		}, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if e.server.CipherName != "ECDHE-ECDSA-CHACHA20-POLY1305" {
				t.Error(e.server.CipherName)
			}
		}},
		{"the ciphers of TLS 1.3", nil, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetCipherSuites("TLS_CHACHA20_POLY1305_SHA256"))
		}, nil, func(t *testing.T, e ends) {
			ok(t, e)
			if e.server.CipherName != "TLS_CHACHA20_POLY1305_SHA256" {
				t.Error(e.server.CipherName)
			}
		}},
		{"the application protocols", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetALPN("listener")) },
			func(t *testing.T, c *openssl.Ctx) { must(t, c.SetALPN("next")) },
			func(t *testing.T) *openssl.Ctx {
				c := newClient(t)
				must(t, c.SetALPN("listener", "next"))
				return c
			}, func(t *testing.T, e ends) {
				ok(t, e)
				if e.server.NegotiatedProtocol != "next" {
					t.Errorf("%q", e.server.NegotiatedProtocol)
				}
			}},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			for _, when := range []string{"before", "asked"} {
				t.Run(when, func(t *testing.T) {
					listener, next := newServer(t), newServer(t)
					if x.listener != nil {
						x.listener(t, listener)
					}
					if x.next != nil {
						x.next(t, next)
					}
					x2 := call{client: nil, server: listener}
					if x.client != nil {
						x2.client = x.client(t)
					} else {
						x2.client = newClient(t)
					}
					if when == "asked" {
						must(t, listener.SetClientHelloFunc(stay))
						x2.answer = func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(next)) }
					} else {
						x2.atServer = func(t testing.TB, s sidSetter) { must(t, s.(*openssl.SSL).SetCtx(next)) }
					}
					x.look(t, overMemory(t, x2))
				})
			}
		})
	}
}

func TestSetCtxRefuses(t *testing.T) {
	t.Run("a client's for a server", func(t *testing.T) {
		_, s := machines(t, newClient(t), newServer(t))
		sentence(t, s.SetCtx(newClient(t)), "SSL_set_SSL_CTX", "a server's Ctx cannot serve a client")
	})
	t.Run("a server's for a client", func(t *testing.T) {
		c, _ := machines(t, newClient(t), newServer(t))
		sentence(t, c.SetCtx(newServer(t)), "SSL_set_SSL_CTX")
	})
	t.Run("a closed one", func(t *testing.T) {
		c, s := machines(t, newClient(t), newServer(t))
		closed := newServer(t)
		must(t, closed.Close())
		if err := s.SetCtx(closed); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		mustShake(t, c, s)
	})
	t.Run("leaving a closed one", func(t *testing.T) {
		first, next := newServer(t), newServer(t)
		must(t, first.SetSessionIDContext([]byte("first")))
		must(t, next.SetSessionIDContext([]byte("next")))
		c, s := machines(t, newClient(t), first)
		must(t, first.Close())
		must(t, s.SetCtx(next))
		mustShake(t, c, s)
		if got := s.ConnectionState().SessionIDContext; string(got) != "next" {
			t.Errorf("%q", got)
		}
	})
}

// A session of an open host does not open a host that requires certificates.
func TestSwitchedHostsAreApart(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			for _, own := range []string{"", "own"} {
				t.Run("own context "+own, func(t *testing.T) {
					client := bareClient(t)
					must(t, client.SetVerifyCAs(certs(t).pem))
					setVersion(t, client, v.id)
					listener, open, closed := newServer(t), newServer(t), newMutualServer(t, "closed")
					must(t, listener.SetClientHelloFunc(stay))
					must(t, open.SetSessionIDContext([]byte("open")))
					x := call{client: client, server: listener, answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(open)) }}
					if own != "" {
						x.atServer = func(t testing.TB, s sidSetter) { must(t, s.SetSessionIDContext([]byte(own+" open"))) }
					}
					first := mustConnect(t, x)
					x.offer, x.answer, x.atServer = first.session, func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(closed)) }, nil
					second := overMemory(t, x)
					sentence(t, second.serverErr, "peer did not return a certificate")
				})
			}
		})
	}
}

// ---- the machine ----

// pump moves plaintext of from to the end of to, in pieces, and returns it.
func pump(t *testing.T, from, to *openssl.SSL, message []byte, drain, read int) []byte {
	t.Helper()
	var got []byte
	n, w, err := from.Write(message)
	if n != len(message) || w != openssl.WantNothing || err != nil {
		t.Fatal(n, w, err)
	}
	for p, q := make([]byte, drain), make([]byte, read); ; {
		k := from.Drain(p)
		if n, err := to.Feed(p[:k]); n != k || err != nil {
			t.Fatal(n, err)
		}
		for {
			n, w, err := to.Read(q)
			if err != nil {
				t.Fatal(err)
			}
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
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client := newClient(t)
			setVersion(t, client, v.id)
			c, s := machines(t, client, newServer(t))
			mustShake(t, c, s)
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
}

func TestMachineEnds(t *testing.T) {
	p := make([]byte, 10)
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			pair := func(t *testing.T) (c, s *openssl.SSL) {
				client := newClient(t)
				setVersion(t, client, v.id)
				return machines(t, client, newServer(t))
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
				mustShake(t, c, s)
				if _, _, err := c.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				if w, err := c.Shutdown(); w != openssl.WantInput || err != nil {
					t.Fatal(w, err)
				}
				carry(t, c, s)
				must(t, s.FeedEOF())
				if n, _, err := s.Read(p); string(p[:n]) != "last words" || err != nil {
					t.Error(n, err)
				}
				twice(t, s, io.EOF)
				if _, _, err := c.Write(p); err == nil {
					t.Error("a write after close_notify")
				} else {
					sentence(t, err, "write after close_notify")
				}
				// The other direction is open.
				if _, _, err := s.Write([]byte("too")); err != nil {
					t.Error(err)
				}
				if w, err := s.Shutdown(); w != openssl.WantNothing || err != nil {
					t.Error(w, err)
				}
				carry(t, s, c)
				if n, _, err := c.Read(p); string(p[:n]) != "too" || err != nil {
					t.Error(n, err)
				}
				twice(t, c, io.EOF)
				if w, err := c.Shutdown(); w != openssl.WantNothing || err != nil {
					t.Error(w, err)
				}
			})
			t.Run("without goodbye", func(t *testing.T) {
				c, s := pair(t)
				mustShake(t, c, s)
				if _, _, err := c.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				carry(t, c, s)
				must(t, s.FeedEOF())
				must(t, s.FeedEOF())
				if n, _, err := s.Read(p); string(p[:n]) != "last words" || err != nil {
					t.Error(n, err)
				}
				twice(t, s, io.ErrUnexpectedEOF)
				if n, err := s.Feed(p); n != 0 {
					t.Error("fed behind the end")
				} else {
					sentence(t, err, "Feed after FeedEOF")
				}
			})
			t.Run("inside a record", func(t *testing.T) {
				c, s := pair(t)
				mustShake(t, c, s)
				if _, _, err := c.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Feed(p[:c.Drain(p)]); err != nil {
					t.Fatal(err)
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
					t.Fatal(err)
				}
				carry(t, c, s)
				must(t, s.FeedEOF())
				// The first call answers the ClientHello, at the latest the second meets the end.
				_, err := s.Handshake()
				if err == nil {
					_, err = s.Handshake()
				}
				if err != io.ErrUnexpectedEOF {
					t.Error(err)
				}
				if _, _, err := s.Write(p); err != io.ErrUnexpectedEOF {
					t.Error(err)
				}
			})
		})
	}
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
				_, s := machines(t, newClient(t), newServer(t))
				if _, err := s.Feed(garbage); err != nil {
					t.Fatal(err)
				}
				w, err := s.Handshake()
				if w != openssl.WantNothing {
					t.Error(w)
				}
				sentence(t, err, "SSL_do_handshake")
				if e, ok := errors.AsType[*openssl.Error](err); !ok || len(e.Stack) == 0 || e.Code == 0 {
					t.Errorf("%#v", err)
				}
				if _, again := s.Handshake(); again != err {
					t.Errorf("the second time: %v, the first time %v", again, err)
				}
			})
		}
	})
	for _, v := range versions {
		t.Run("a record tampered with, "+v.name, func(t *testing.T) {
			client := newClient(t)
			setVersion(t, client, v.id)
			c, s := machines(t, client, newServer(t))
			mustShake(t, c, s)
			if _, _, err := c.Write([]byte("message")); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 1000)
			n := c.Drain(p)
			p[n-1] ^= 1
			if _, err := s.Feed(p[:n]); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Read(p)
			sentence(t, err, "SSL_read_ex", "bad")
			if _, _, werr := s.Write(p); werr != err {
				t.Errorf("a write afterwards: %v", werr)
			}
			if w, serr := s.Shutdown(); w != openssl.WantNothing || serr != err {
				t.Errorf("a goodbye afterwards: %v, %v", w, serr)
			}
			carry(t, s, c)
			_, _, err = c.Read(p)
			if alert, _ := errors.AsType[tls.AlertError](err); alert != 20 {
				t.Errorf("client: %v, want bad_record_mac", err)
			}
		})
	}
}

func TestMachineAsks(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			must(t, client.SetMaxVersion(v.id))
			must(t, client.SetALPN("one", "two"))
			must(t, server.SetClientHelloFunc(stay))
			c, s := machines(t, client, server)
			if _, err := s.ClientHello(); err == nil {
				t.Error("a ClientHello before it came")
			} else {
				sentence(t, err, "did not return WantClientHello")
			}
			sentence(t, s.Refuse(40), "did not return WantClientHello")
			asked := 0
			clientErr, serverErr := shakeAnswering(t, c, s, func(s *openssl.SSL) {
				asked++
				for range 2 {
					hello, err := s.ClientHello()
					must(t, err)
					if hello.ServerName != "server.test" || !slices.Equal(hello.ALPNProtocols, []string{"one", "two"}) ||
						hello.SupportedVersions[0] != v.id || len(hello.CipherSuites) == 0 || hello.Conn != nil {
						t.Errorf("%+v", hello)
					}
				}
			})
			if clientErr != nil || serverErr != nil || asked != 1 {
				t.Fatal(clientErr, serverErr, asked)
			}
			if _, err := s.ClientHello(); err == nil {
				t.Error("a ClientHello after it was answered")
			}
		})
	}
	t.Run("again after a HelloRetryRequest", func(t *testing.T) {
		client, server, next := newClient(t), newServer(t), newServer(t)
		setVersion(t, client, tls.VersionTLS13)
		must(t, client.SetGroups("X25519:P-256"))
		must(t, server.SetGroups("P-256"))
		must(t, server.SetClientHelloFunc(stay))
		must(t, next.SetSessionIDContext([]byte("next")))
		for _, to := range []*openssl.Ctx{nil, next} {
			c, s := machines(t, client, server)
			asked := 0
			clientErr, serverErr := shakeAnswering(t, c, s, func(s *openssl.SSL) {
				if asked++; to != nil {
					must(t, s.SetCtx(to))
				}
				must(t, s.SetSessionIDContext([]byte{byte(asked)}))
			})
			if clientErr != nil || serverErr != nil || asked != 2 {
				t.Fatal(clientErr, serverErr, asked)
			}
			if got := s.ConnectionState().SessionIDContext; !bytes.Equal(got, []byte{2}) {
				t.Errorf("the session is within %q", got)
			}
		}
	})
	t.Run("refusing", func(t *testing.T) {
		server := newServer(t)
		must(t, server.SetClientHelloFunc(stay))
		c, s := machines(t, newClient(t), server)
		clientErr, serverErr := shakeAnswering(t, c, s, func(s *openssl.SSL) { must(t, s.Refuse(112)) })
		if alert, _ := errors.AsType[tls.AlertError](clientErr); alert != 112 {
			t.Errorf("client: %v, want unrecognized_name", clientErr)
		}
		sentence(t, serverErr, "SSL_do_handshake")
	})
	t.Run("nobody", func(t *testing.T) {
		c, s := machines(t, newClient(t), newServer(t))
		clientErr, serverErr := shakeAnswering(t, c, s, func(*openssl.SSL) { t.Error("asked") })
		if clientErr != nil || serverErr != nil {
			t.Error(clientErr, serverErr)
		}
	})
}

func TestConnectionState(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newMutualServer(t, "tenant")
			setVersion(t, client, v.id)
			must(t, client.SetALPN("proto"))
			must(t, server.SetALPN("proto"))
			c, s := machines(t, client, server)
			for name, m := range map[string]*openssl.SSL{"client": c, "server": s} {
				if cs := m.ConnectionState(); cs.HandshakeComplete || cs.DidResume || len(cs.PeerCertificates) != 0 {
					t.Errorf("%s before: %+v", name, cs)
				}
			}
			mustShake(t, c, s)
			for name, x := range map[string]struct {
				m    *openssl.SSL
				peer string
				sid  string
			}{"client": {c, "server.test", ""}, "server": {s, "client.test", "tenant"}} {
				cs := x.m.ConnectionState()
				if cs.Version != v.id || !cs.HandshakeComplete || cs.DidResume || cs.NegotiatedProtocol != "proto" ||
					cs.ServerName != "server.test" || len(cs.PeerCertificates) != 1 || cs.VerifyError != nil ||
					string(cs.SessionIDContext) != x.sid || cs.CipherSuite == 0 || cs.CipherName == "" {
					t.Errorf("%s: %+v", name, cs)
				}
				if got := cs.PeerCertificates[0].DNSNames; !slices.Equal(got, []string{x.peer}) {
					t.Errorf("%s saw %v", name, got)
				}
				std := cs.TLS()
				if std.Version != v.id || !std.HandshakeComplete || std.NegotiatedProtocol != "proto" || std.ServerName != "server.test" ||
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
		{"server Ctx", func(t *testing.T) io.Closer { return newServer(t) }, (*openssl.Ctx)(nil)},
		{"client Ctx", func(t *testing.T) io.Closer { return newClient(t) }, (*openssl.Ctx)(nil)},
		{"server SSL", func(t *testing.T) io.Closer { _, s := machines(t, newClient(t), newServer(t)); return s }, (*openssl.SSL)(nil)},
		{"client SSL", func(t *testing.T) io.Closer { c, _ := machines(t, newClient(t), newServer(t)); return c }, (*openssl.SSL)(nil)},
		{"SSL, done", func(t *testing.T) io.Closer {
			c, s := machines(t, newClient(t), newServer(t))
			mustShake(t, c, s)
			return s
		}, (*openssl.SSL)(nil)},
		{"server Conn", func(t *testing.T) io.Closer { _, s := conns(t, newClient(t), newServer(t)); return s }, (*openssl.Conn)(nil)},
		{"client Conn", func(t *testing.T) io.Closer { c, _ := conns(t, newClient(t), newServer(t)); return c }, (*openssl.Conn)(nil)},
		{"Conn, done", func(t *testing.T) io.Closer {
			c, s := conns(t, newClient(t), newServer(t))
			if clientErr, serverErr := both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
				t.Fatal(clientErr, serverErr)
			}
			return s
		}, (*openssl.Conn)(nil)},
		{"Session", func(t *testing.T) io.Closer {
			return mustConnect(t, call{client: newClient(t), server: newServer(t)}).session
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
				sentence(t, err, "nil")
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
			sentence(t, hello.SetSessionIDContext([]byte("x")))
		}
	})
	t.Run("a ClientHello that was answered", func(t *testing.T) {
		server := newServer(t)
		must(t, server.SetClientHelloFunc(stay))
		c, s := machines(t, newClient(t), server)
		var hello *openssl.ClientHello
		if clientErr, serverErr := shakeAnswering(t, c, s, func(s *openssl.SSL) { hello, _ = s.ClientHello() }); clientErr != nil || serverErr != nil {
			t.Fatal(clientErr, serverErr)
		}
		if err := hello.SetSessionIDContext([]byte("x")); !errors.Is(err, openssl.ErrTooLate) {
			t.Error(err)
		}
		must(t, s.Close())
		if err := hello.SetSessionIDContext([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestNilArguments(t *testing.T) {
	near, far := tcpPair(t)
	defer near.Close()
	defer far.Close()
	client, server := newClient(t), newServer(t)
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
			c, _ := conns(t, client, server)
			var none context.Context
			return c.HandshakeContext(none)
		}, "the context is nil"},
		{"Feed after Close", func() error {
			c, _ := machines(t, client, server)
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
			sentence(t, x.do(), x.says)
		})
	}
	if openssl.NewListener(nil, server).Addr() != nil {
		t.Error("no listener has an address")
	}
}

// A client's SetCtx brings what the new Ctx offers by ALPN, and takes away what it does not.
func TestSetCtxBringsALPN(t *testing.T) {
	server := newServer(t)
	must(t, server.SetALPN("one", "two"))
	one, two, none := newClient(t), newClient(t), newClient(t)
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
			c, s := machines(t, x.from, server)
			must(t, c.SetCtx(x.to))
			mustShake(t, c, s)
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
			t.Fatal(err)
		}
		step()
	}
}

// A handshake that arrives byte by byte asks for input at each byte. Whatever was
// left in OpenSSL's error queue on the way would make libssl report a failure then.
func TestHandshakeByteByByte(t *testing.T) {
	stranger := newAuthority(t, "unknown CA", nil)
	strangerCert, strangerKey := stranger.leaf(t, "stranger.test", ecKey(t), nil)
	// The signature is by the CA that the server knows, and one bit of it is wrong.
	leaf, leafKey := certs(t).leaf(t, "client.test", ecKey(t), nil)
	block, _ := pem.Decode(leaf)
	block.Bytes[len(block.Bytes)-1] ^= 1
	damaged := pem.EncodeToMemory(block)
	accept := func(openssl.ConnectionState) error { return nil }
	kinds := []struct {
		name  string
		setup func(t *testing.T, client, server *openssl.Ctx)
	}{
		{"plain", func(*testing.T, *openssl.Ctx, *openssl.Ctx) {}},
		{"stateful", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.SetOptions(openssl.OptionNoTicket))
		}},
		{"client certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.SetClientCAs(certs(t).pem))
			must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		}},
		{"deferred, unknown client certificate", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.UseCertificate(strangerCert, strangerKey))
			must(t, server.SetVerify(openssl.VerifyDefer))
			must(t, server.SetVerifyConnection(accept))
		}},
		{"deferred, client certificate with a damaged signature", func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.UseCertificate(damaged, leafKey))
			must(t, server.SetClientCAs(certs(t).pem))
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
	for _, v := range versions {
		for _, k := range kinds {
			t.Run(v.name+"/"+k.name, func(t *testing.T) {
				client, server := newClient(t), newServer(t)
				setVersion(t, client, v.id)
				must(t, server.SetSessionIDContext([]byte("payroll")))
				k.setup(t, client, server)
				var sess *openssl.Session
				for _, what := range []string{"full", "resumed", "resumed with a ticket of a key that is gone"} {
					if what != "full" && what != "resumed" {
						must(t, server.SetTicketKeys(ticketKey(1)))
					}
					c, s := machines(t, client, server)
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
					sess = keep(t, c)
					goodbye(t, c, s)
				}
			})
		}
	}
}
