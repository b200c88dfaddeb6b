//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// mechanisms are the two ways in which a server remembers.
var mechanisms = []struct {
	name    string
	options openssl.Options
}{
	{"ticket", 0},
	{"stateful", openssl.OptionNoTicket},
}

const (
	resumed = "resumed"
	full    = "full handshake"
	fatal   = "refused with 277"
)

// TestResumption is the server's decision: one context, or another one, in every
// protocol and mechanism, over machines and over TCP, with the context set at
// each of the places that are in time.
func TestResumption(t *testing.T) {
	ff := bytes.Repeat([]byte{0xff}, 32)
	contexts := []struct {
		name          string
		first, second []byte
		want          string
	}{
		{"A, A", []byte("A"), []byte("A"), resumed},
		{"A, B", []byte("A"), []byte("B"), full},
		{"A, none", []byte("A"), nil, full},
		{"none, A", nil, []byte("A"), full},
		{"none, none", nil, nil, resumed},
		{"a NUL b, a NUL b", []byte("a\x00b"), []byte("a\x00b"), resumed},
		{"a NUL b, a NUL c", []byte("a\x00b"), []byte("a\x00c"), full},
		{"a, a NUL", []byte("a"), []byte("a\x00"), full},
		{"a NUL, a", []byte("a\x00"), []byte("a"), full},
		{"NUL, none", []byte{0}, nil, full},
		{"none, NUL", nil, []byte{0}, full},
		{"32 0xFF, the same", ff, ff, resumed},
		{"32 0xFF, 31 0xFF", ff, ff[:31], full},
		{"32 bytes, the last differs", ff, append(bytes.Clone(ff[:31]), 0xfe), full},
		{"longer, then its beginning", []byte("tenant-12"), []byte("tenant-1"), full},
		{"case differs", []byte("tenant"), []byte("Tenant"), full},
	}
	modes := []struct {
		name string
		mode openssl.VerifyMode
	}{
		{"no client certificates", openssl.VerifyNone},
		{"client certificates", openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert},
	}
	// Each level has one listener, which holds the keys and the cache, and says the context elsewhere.
	levels := []struct {
		name string
		call func(t *testing.T, make func() *openssl.Ctx) func(sidCtx []byte) call
	}{
		{"set on the connection", func(t *testing.T, make func() *openssl.Ctx) func([]byte) call {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			return func(sidCtx []byte) call {
				return call{server: server, atServer: func(t testing.TB, s sidSetter) { must(t, s.SetSessionIDContext(sidCtx)) }}
			}
		}},
		{"set when asked", func(t *testing.T, make func() *openssl.Ctx) func([]byte) call {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			var now []byte
			must(t, server.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
				return nil, hello.SetSessionIDContext(now)
			}))
			return func(sidCtx []byte) call {
				now = sidCtx
				return call{server: server, answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetSessionIDContext(sidCtx)) }}
			}
		}},
		{"of a Ctx gone on with", func(t *testing.T, make func() *openssl.Ctx) func([]byte) call {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			var now *openssl.Ctx
			must(t, server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return now, nil }))
			return func(sidCtx []byte) call {
				now = make()
				must(t, now.SetSessionIDContext(sidCtx))
				return call{server: server, answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(now)) }}
			}
		}},
	}
	for _, v := range versions {
		for _, mechanism := range mechanisms {
			for _, mode := range modes {
				for _, level := range levels {
					t.Run(strings.Join([]string{v.name, mechanism.name, mode.name, level.name}, "/"), func(t *testing.T) {
						for _, over := range transports {
							for _, x := range contexts {
								t.Run(over.name+"/"+x.name, func(t *testing.T) {
									client := newClient(t)
									setVersion(t, client, v.id)
									connect := level.call(t, func() *openssl.Ctx {
										c := newServer(t)
										must(t, c.SetOptions(mechanism.options))
										must(t, c.SetVerify(mode.mode))
										must(t, c.SetClientCAs(certs(t).pem))
										return c
									})
									withCertificates := mode.mode != openssl.VerifyNone
									want := x.want
									if want == resumed && x.first == nil && withCertificates {
										// OpenSSL's own: a ticket is refused, and nothing goes into the cache.
										want = fatal
										if mechanism.options != 0 {
											want = full
										}
									}

									one := connect(x.first)
									one.client = client
									first := over.make(t, one)
									if first.clientErr != nil || first.serverErr != nil {
										t.Fatal(first.clientErr, first.serverErr)
									}
									two := connect(x.second)
									two.client, two.offer = client, first.session
									if two.offer == nil && want != full {
										t.Fatal("no session to offer")
									}
									second := over.make(t, two)

									if want == fatal {
										if !errors.Is(second.serverErr, openssl.ErrSessionIDContextUninitialized) || second.clientErr == nil {
											t.Errorf("server %v, client %v, want %s", second.serverErr, second.clientErr, want)
										}
										return
									}
									if second.clientErr != nil || second.serverErr != nil {
										t.Fatal(second.clientErr, second.serverErr)
									}
									for end, cs := range map[string]openssl.ConnectionState{"client": second.client, "server": second.server} {
										if cs.DidResume != (want == resumed) {
											t.Errorf("the %s says resumed: %v, want a %s", end, cs.DidResume, want)
										}
									}
									if first.client.DidResume || first.server.DidResume {
										t.Error("the first connection was resumed")
									}
									if got := first.server.SessionIDContext; !bytes.Equal(got, x.first) {
										t.Errorf("the first session is within %q, want %q", got, x.first)
									}
									if got := second.server.SessionIDContext; !bytes.Equal(got, x.second) {
										t.Errorf("the second session is within %q, want %q", got, x.second)
									}
									if n := len(second.server.PeerCertificates); (n == 1) != withCertificates {
										t.Errorf("the server sees %d client certificates", n)
									}
								})
							}
						}
					})
				}
			}
		}
	}
}

// After a refusal the session is still good where it belongs.
func TestResumptionAfterMismatch(t *testing.T) {
	for _, v := range versions {
		for _, mechanism := range mechanisms {
			t.Run(v.name+"/"+mechanism.name, func(t *testing.T) {
				client, server := newClient(t), newServer(t)
				setVersion(t, client, v.id)
				must(t, server.SetOptions(mechanism.options))
				within := func(sidCtx string, offer *openssl.Session) ends {
					return mustConnect(t, call{client: client, server: server, offer: offer, atServer: func(t testing.TB, s sidSetter) {
						must(t, s.SetSessionIDContext([]byte(sidCtx)))
					}})
				}
				sess := within("A", nil).session
				if within("B", sess).server.DidResume {
					t.Error("resumed in B")
				}
				if !within("A", sess).server.DidResume {
					t.Error("not resumed in A after that")
				}
			})
		}
	}
}

// A client's own context is compared before a byte is sent.
func TestClientContextMismatch(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			server := newServer(t)
			within := func(t *testing.T, sidCtx string) *openssl.Ctx {
				c := newClient(t)
				setVersion(t, c, v.id)
				if sidCtx != "" {
					must(t, c.SetSessionIDContext([]byte(sidCtx)))
				}
				return c
			}
			mine := mustConnect(t, call{client: within(t, "mine"), server: server}).session
			nobodys := mustConnect(t, call{client: within(t, ""), server: server}).session
			if string(mine.IDContext()) != "mine" || len(nobodys.IDContext()) != 0 {
				t.Fatalf("%q, %q", mine.IDContext(), nobodys.IDContext())
			}
			mismatch := func(t *testing.T, c *openssl.SSL, err error, says ...string) {
				t.Helper()
				if !errors.Is(err, openssl.ErrSessionContextMismatch) {
					t.Errorf("%v, want ErrSessionContextMismatch", err)
				}
				sentence(t, err, says...)
				if c.Pending() != 0 {
					t.Errorf("%d bytes are to be sent", c.Pending())
				}
			}
			for _, x := range []struct {
				name, sidCtx string
				offer        *openssl.Session
				quoted       string
			}{
				{"mine to others", "other", mine, `"mine"`},
				{"mine to none", "", mine, `""`},
				{"none to mine", "mine", nobodys, `"mine"`},
			} {
				t.Run("SetSession, "+x.name, func(t *testing.T) {
					c, s := machines(t, within(t, x.sidCtx), server)
					mismatch(t, c, c.SetSession(x.offer), x.quoted)
					mustShake(t, c, s) // nothing is offered
					if c.ConnectionState().DidResume {
						t.Error("resumed")
					}
				})
			}
			t.Run("SetSessionIDContext after SetSession", func(t *testing.T) {
				c, s := machines(t, within(t, "mine"), server)
				must(t, c.SetSession(mine))
				mismatch(t, c, c.SetSessionIDContext([]byte("other")), `"mine"`, `"other"`)
				tooLong(t, c.SetSessionIDContext(sidBytes(33)), "SSL_set_session_id_context")
				must(t, c.SetSessionIDContext([]byte("mine")))
				if got := c.SessionIDContext(); string(got) != "mine" {
					t.Errorf("%q", got)
				}
				mustShake(t, c, s)
				if !c.ConnectionState().DidResume {
					t.Error("not resumed")
				}
				goodbye(t, c, s)
			})
			t.Run("SetCtx after SetSession, at the first Handshake", func(t *testing.T) {
				c, _ := machines(t, within(t, "mine"), server)
				must(t, c.SetSession(mine))
				must(t, c.SetCtx(within(t, "other")))
				_, err := c.Handshake()
				mismatch(t, c, err, `"mine"`, `"other"`)
			})
			t.Run("the offer taken back", func(t *testing.T) {
				c, s := machines(t, within(t, "mine"), server)
				must(t, c.SetSession(mine))
				must(t, c.SetSession(nil))
				must(t, c.SetSessionIDContext([]byte("other")))
				mustShake(t, c, s)
				if c.ConnectionState().DidResume {
					t.Error("resumed")
				}
				goodbye(t, c, s)
			})
			t.Run("another offered instead", func(t *testing.T) {
				c, s := machines(t, within(t, "mine"), server)
				must(t, c.SetSession(mine))
				mismatch(t, c, c.SetSession(nobodys))
				mustShake(t, c, s) // the first offer stands
				if !c.ConnectionState().DidResume {
					t.Error("not resumed")
				}
				goodbye(t, c, s)
			})
			t.Run("moved with SetIDContext", func(t *testing.T) {
				moved := copyOf(t, mine)
				must(t, moved.SetIDContext([]byte("other")))
				c, s := machines(t, within(t, "other"), server)
				must(t, c.SetSession(moved))
				mustShake(t, c, s)
				if !c.ConnectionState().DidResume {
					t.Error("not resumed")
				}
				goodbye(t, c, s)
			})
			t.Run("over TCP", func(t *testing.T) {
				c, _ := conns(t, within(t, "other"), server)
				if err := c.SetSession(mine); !errors.Is(err, openssl.ErrSessionContextMismatch) {
					t.Error(err)
				}
			})
		})
	}
	t.Run("a server offers nothing", func(t *testing.T) {
		client, server := newClient(t), newServer(t)
		sess := mustConnect(t, call{client: client, server: server}).session
		_, s := machines(t, client, server)
		sentence(t, s.SetSession(sess), "a server does not offer sessions")
		_, conn := conns(t, client, server)
		sentence(t, conn.SetSession(sess), "a server does not offer sessions")
	})
	t.Run("a closed session", func(t *testing.T) {
		client, server := newClient(t), newServer(t)
		sess := mustConnect(t, call{client: client, server: server}).session
		must(t, sess.Close())
		c, _ := machines(t, client, server)
		sentence(t, c.SetSession(sess), "closed Session")
	})
}

// copyOf is another Session with the same content.
func copyOf(t *testing.T, s *openssl.Session) *openssl.Session {
	t.Helper()
	der, err := s.MarshalBinary()
	must(t, err)
	c, err := openssl.ParseSession(der)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// ---- Session as a value ----

func TestSession(t *testing.T) {
	for _, v := range versions {
		for _, mechanism := range mechanisms {
			t.Run(v.name+"/"+mechanism.name, func(t *testing.T) {
				client, server := newClient(t), newMutualServer(t, "tenant")
				setVersion(t, client, v.id)
				must(t, client.SetSessionIDContext([]byte("mine")))
				must(t, server.SetOptions(mechanism.options))
				before := time.Now().Truncate(time.Second)
				sess := mustConnect(t, call{client: client, server: server}).session
				der, err := sess.MarshalBinary()
				must(t, err)
				again := copyOf(t, sess)
				for name, s := range map[string]*openssl.Session{"fresh": sess, "out and back": again} {
					if s.Version() != v.id || !s.Resumable() || string(s.IDContext()) != "mine" {
						t.Errorf("%s: %#04x, %v, %q", name, s.Version(), s.Resumable(), s.IDContext())
					}
					if at := s.Time(); at.Before(before) || at.After(time.Now()) {
						t.Errorf("%s: made at %v", name, at)
					}
					if d := s.Timeout(); d != 2*time.Hour && d != 304*time.Second && d != 5*time.Minute {
						t.Errorf("%s: for %v", name, d)
					}
					if n := len(s.ID()); n == 0 || n > 32 {
						t.Errorf("%s: an id of %d bytes", name, n)
					}
				}
				if !bytes.Equal(sess.ID(), again.ID()) || !sess.Time().Equal(again.Time()) || sess.Timeout() != again.Timeout() {
					t.Error("out and back it is another session")
				}
				der2, err := again.MarshalBinary()
				must(t, err)
				if !bytes.Equal(der, der2) {
					t.Error("out, back and out again it is other bytes")
				}
				// What was written down resumes, also after the original is gone.
				must(t, sess.Close())
				if e := mustConnect(t, call{client: client, server: server, offer: again}); !e.client.DidResume || !e.server.DidResume {
					t.Error("not resumed")
				}
			})
		}
	}
}

func TestSessionNotFound(t *testing.T) {
	client, server := newClient(t), newServer(t)
	c, s := machines(t, client, server)
	for name, m := range map[string]*openssl.SSL{"client": c, "server": s} {
		if sess, err := m.Session(); sess != nil || !errors.Is(err, openssl.ErrSessionNotFound) {
			t.Errorf("%s before the handshake: %v", name, err)
		}
	}
	// TLS 1.3: the handshake is done, the tickets are not read.
	client = newClient(t)
	setVersion(t, client, tls.VersionTLS13)
	c, s = machines(t, client, server)
	for _, m := range []*openssl.SSL{c, s, c, s} {
		if _, err := m.Handshake(); err != nil {
			t.Fatal(err)
		}
		if m == c {
			carry(t, c, s)
		} else if !s.ConnectionState().HandshakeComplete {
			carry(t, s, c)
		}
	}
	if _, err := c.Session(); !errors.Is(err, openssl.ErrSessionNotFound) {
		t.Errorf("before the first Read: %v", err)
	}
	carry(t, s, c)
	if _, _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if keep(t, c) == nil {
		t.Error("none after the first Read")
	}
	sentence(t, openssl.ErrSessionNotFound, "after its first Read")
}

func TestSessionSetIDContextIsOnACopy(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			setVersion(t, client, v.id)
			must(t, client.SetSessionIDContext([]byte("mine")))
			c, s := machines(t, client, server)
			mustShake(t, c, s)
			sess, other := keep(t, c), keep(t, c)
			id := sess.ID()
			must(t, sess.SetIDContext([]byte("moved")))
			if string(sess.IDContext()) != "moved" || !bytes.Equal(sess.ID(), id) || !sess.Resumable() {
				t.Errorf("%q, %x", sess.IDContext(), sess.ID())
			}
			if got := c.ConnectionState().SessionIDContext; string(got) != "mine" {
				t.Errorf("the connection's session moved to %q", got)
			}
			if got := other.IDContext(); string(got) != "mine" {
				t.Errorf("the other Session moved to %q", got)
			}
			if got := keep(t, c).IDContext(); string(got) != "mine" {
				t.Errorf("a new Session of the connection is within %q", got)
			}
		})
	}
}

func TestParseSessionRefuses(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client := newClient(t)
			setVersion(t, client, v.id)
			der, err := mustConnect(t, call{client: client, server: newMutualServer(t, "tenant")}).session.MarshalBinary()
			must(t, err)
			refuse := func(name string, der []byte) {
				t.Helper()
				sess, err := openssl.ParseSession(der)
				if err == nil {
					sess.Close()
					t.Errorf("%s: taken", name)
					return
				}
				if !strings.HasPrefix(err.Error(), "openssl: ") || strings.Contains(err.Error(), "\n") || sess != nil {
					t.Errorf("%s: %v, %v", name, sess, err)
				}
			}
			for n := range der {
				refuse("truncated", der[:n])
			}
			refuse("nil", nil)
			refuse("garbage", []byte("garbage"))
			refuse("one byte behind it", append(bytes.Clone(der), 0))
			refuse("twice", append(bytes.Clone(der), der...))
			refuse("its PEM", certPEM(der))
			_, err = openssl.ParseSession(append(bytes.Clone(der), 0))
			sentence(t, err, "not one session", "d2i_SSL_SESSION")
			if _, ok := errors.AsType[*openssl.Error](err); !ok {
				t.Errorf("%T", err)
			}
			// No single flipped bit may crash; many are still sessions.
			for i := range der {
				flipped := bytes.Clone(der)
				flipped[i] ^= 0x80
				if sess, err := openssl.ParseSession(flipped); err == nil {
					if _, err := sess.MarshalBinary(); err != nil && !strings.HasPrefix(err.Error(), "openssl: ") {
						t.Error(err)
					}
					sess.Close()
				}
			}
		})
	}
}

// A context of 33 bytes cannot be smuggled in by DER.
func TestParseSessionLongContext(t *testing.T) {
	client := newClient(t)
	must(t, client.SetSessionIDContext(bytes.Repeat([]byte{'x'}, 32)))
	der, err := mustConnect(t, call{client: client, server: newServer(t)}).session.MarshalBinary()
	must(t, err)
	// [4] EXPLICIT OCTET STRING of 32: one more byte, and three lengths of one more.
	field := append([]byte{0xa4, 34, 0x04, 32}, bytes.Repeat([]byte{'x'}, 32)...)
	at := bytes.Index(der, field)
	if at < 0 || der[0] != 0x30 || der[1] != 0x82 {
		t.Fatalf("DER of another kind: %x", der)
	}
	long := bytes.Clone(der[:at])
	long = append(long, 0xa4, 35, 0x04, 33)
	long = append(long, bytes.Repeat([]byte{'x'}, 33)...)
	long = append(long, der[at+len(field):]...)
	size := len(long) - 4
	long[2], long[3] = byte(size>>8), byte(size)
	sess, err := openssl.ParseSession(long)
	if err == nil {
		sess.Close()
		t.Fatal("taken")
	}
	// libssl says nothing here; the failure is one all the same.
	sentence(t, err, "not one session")
}

// ---- what an end does to the session ----

func TestCloseAndTheSession(t *testing.T) {
	for _, v := range versions {
		for _, mechanism := range mechanisms {
			t.Run(v.name+"/"+mechanism.name, func(t *testing.T) {
				client, server := newClient(t), newServer(t)
				setVersion(t, client, v.id)
				must(t, server.SetOptions(mechanism.options))
				resumes := func(t *testing.T, sess *openssl.Session) bool {
					return mustConnect(t, call{client: client, server: server, offer: sess}).server.DidResume
				}
				connect := func(t *testing.T) (c, s *openssl.SSL, sess *openssl.Session) {
					c, s = machines(t, client, server)
					mustShake(t, c, s)
					return c, s, keep(t, c)
				}
				bye := func(m *openssl.SSL) {
					if _, err := m.Shutdown(); err != nil {
						t.Fatal(err)
					}
				}
				t.Run("both say goodbye", func(t *testing.T) {
					c, s, sess := connect(t)
					goodbye(t, c, s)
					if !sess.Resumable() || !resumes(t, sess) {
						t.Error("spoilt")
					}
				})
				t.Run("the client does not", func(t *testing.T) {
					c, s, sess := connect(t)
					bye(s)
					must(t, s.Close())
					saved := copyOf(t, sess)
					must(t, c.Close())
					if sess.Resumable() || resumes(t, sess) {
						t.Error("a client that leaves without goodbye can still resume")
					}
					// OpenSSL does not write the mark down.
					if !saved.Resumable() || !resumes(t, saved) {
						t.Error("what was written down before is spoilt, too")
					}
				})
				t.Run("the server does not", func(t *testing.T) {
					c, s, sess := connect(t)
					bye(c)
					must(t, c.Close())
					must(t, s.Close())
					// A ticket is with the client; a cache forgets.
					if got, want := resumes(t, sess), mechanism.options == 0; got != want {
						t.Errorf("resumes: %v, want %v", got, want)
					}
				})
				t.Run("a Conn always does", func(t *testing.T) {
					e := overTCP(t, call{client: client, server: server})
					if e.clientErr != nil || e.serverErr != nil {
						t.Fatal(e.clientErr, e.serverErr)
					}
					if !e.session.Resumable() || !resumes(t, e.session) {
						t.Error("spoilt")
					}
				})
				t.Run("Conns, the server first", func(t *testing.T) {
					c, s := conns(t, client, server)
					clientErr, serverErr := both(func() error {
						err := c.Handshake()
						if _, rerr := c.Read(make([]byte, 1)); rerr == nil {
							t.Error("read something")
						}
						return err
					}, func() error { return errors.Join(s.Handshake(), s.Close()) })
					if clientErr != nil || serverErr != nil {
						t.Fatal(clientErr, serverErr)
					}
					sess := keep(t, c)
					must(t, c.Close())
					if sess == nil || !sess.Resumable() || !resumes(t, sess) {
						t.Error("spoilt")
					}
				})
				t.Run("a failed connection spoils", func(t *testing.T) {
					c, s, sess := connect(t)
					if _, err := c.Feed([]byte{23, 3, 3, 0, 40}); err != nil {
						t.Fatal(err)
					}
					if _, err := c.Feed(make([]byte, 40)); err != nil {
						t.Fatal(err)
					}
					if _, _, err := c.Read(make([]byte, 10)); err == nil {
						t.Fatal("40 zeros were read")
					}
					if sess.Resumable() {
						t.Error("still resumable")
					}
					must(t, s.Close())
				})
			})
		}
	}
}

// The version of a session is not negotiable: another one means a full handshake.
func TestSessionOfAnotherVersion(t *testing.T) {
	server := newServer(t)
	for i, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, other := newClient(t), newClient(t)
			setVersion(t, client, v.id)
			setVersion(t, other, versions[1-i].id)
			sess := mustConnect(t, call{client: client, server: server}).session
			e := mustConnect(t, call{client: other, server: server, offer: sess})
			if e.client.DidResume || e.server.DidResume || e.server.Version != versions[1-i].id {
				t.Errorf("%+v", e.server)
			}
		})
	}
}

// derOf is the DER of the session that a machine's connection has.
func derOf(t *testing.T, m *openssl.SSL) []byte {
	t.Helper()
	sess, err := m.Session()
	must(t, err)
	defer sess.Close()
	der, err := sess.MarshalBinary()
	must(t, err)
	return der
}

// A TLS 1.2 client may offer the id of a session in the server's cache and ask for
// a ticket as well. libssl makes one of the session that other connections resume
// at the same moment: it must stay as it is, and the ticket must be good.
func TestTicketOfACachedSession(t *testing.T) {
	server, byID, asking := newMutualServer(t, "payroll"), newClient(t), newClient(t)
	for _, c := range []*openssl.Ctx{server, byID, asking} {
		setVersion(t, c, tls.VersionTLS12)
	}
	must(t, byID.SetOptions(openssl.OptionNoTicket))
	c, s := machines(t, byID, server)
	mustShake(t, c, s)
	cached, sess := derOf(t, s), keep(t, c)
	goodbye(t, c, s)

	c, s = machines(t, asking, server)
	must(t, c.SetSession(sess))
	mustShake(t, c, s)
	if got := s.ConnectionState().Resumption; got != openssl.ResumptionResumed {
		t.Fatalf("an id with an empty ticket extension: %v, want %v", got, openssl.ResumptionResumed)
	}
	if got := derOf(t, s); !bytes.Equal(got, cached) {
		t.Errorf("the cached session was changed for a ticket:\n got %x\nwant %x", got, cached)
	}
	withTicket := keep(t, c)
	goodbye(t, c, s)
	if ticketOf(t, withTicket) == nil {
		t.Fatal("the client has got no ticket")
	}
	mustVisit(t, asking, server, withTicket, openssl.ResumptionResumed)
	mustVisit(t, byID, server, sess, openssl.ResumptionResumed)
}

// The same from many connections at once, beside a cache that is flushed: what
// changed a session that others see would free it twice.
func TestCachedSessionFromManyConnections(t *testing.T) {
	server, byID, asking := newMutualServer(t, "payroll"), newClient(t), newClient(t)
	must(t, server.SetMaxAuthAge(time.Hour))
	for _, c := range []*openssl.Ctx{server, byID, asking} {
		setVersion(t, c, tls.VersionTLS12)
	}
	must(t, byID.SetOptions(openssl.OptionNoTicket))
	sess := mustVisit(t, byID, server, nil, openssl.ResumptionNotOffered)
	var wg sync.WaitGroup
	for _, client := range []*openssl.Ctx{asking, byID, asking, byID} {
		own := copyOf(t, sess)
		wg.Go(func() {
			for range 100 {
				c, err := openssl.NewSSL(client)
				if err != nil {
					t.Error(err)
					return
				}
				s, err := openssl.NewSSL(server)
				if err != nil {
					t.Error(err)
					return
				}
				err = errors.Join(c.SetServerName("server.test"), c.SetSession(own))
				clientErr, serverErr := shake(t, c, s)
				if err != nil || clientErr != nil || serverErr != nil || !s.ConnectionState().DidResume {
					t.Errorf("resumption: %v, client %v, server %v, resumed %v", err, clientErr, serverErr, s.ConnectionState().DidResume)
				}
				goodbye(t, c, s)
				if err := server.FlushSessions(time.Now()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// A connection offers a copy of a Session. What it does to the copy's resumability
// is known of the Session and of its clones, as if it were one.
func TestOfferedSessionIsSpoiltWithItsClones(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		clone, err := sess.Clone()
		must(t, err)
		defer clone.Close()
		moved, err := sess.Clone()
		must(t, err)
		defer moved.Close()
		must(t, moved.SetIDContext([]byte("elsewhere"))) // no clone any more

		c, s := machines(t, client, server)
		must(t, c.SetSession(sess))
		for range 4 { // without reading a TLS 1.3 ticket, which would take the session's place
			c.Handshake()
			carry(t, c, s)
			if w, err := s.Handshake(); err != nil || w == openssl.WantNothing {
				break
			}
			carry(t, s, c)
		}
		if w, err := c.Handshake(); w != openssl.WantNothing || err != nil || !c.ConnectionState().DidResume {
			t.Fatalf("the client's handshake: %v, %v, resumed %v", w, err, c.ConnectionState().DidResume)
		}
		must(t, c.Close()) // without Shutdown
		for name, want := range map[*openssl.Session]bool{sess: false, clone: false, moved: true} {
			if got := name.Resumable(); got != want {
				t.Errorf("after a connection that ended without close_notify: Resumable is %v, want %v (the session %v, its clone %v, its copy in another context %v)",
					got, want, name == sess, name == clone, name == moved)
			}
		}
		c, s = machines(t, client, server)
		must(t, c.SetSession(clone))
		mustShake(t, c, s)
		if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotOffered {
			t.Errorf("a spoilt session is offered: %v", got)
		}
	})
}

// One Session may be offered by many connections at the same time.
func TestOneSessionOfferedAtOnce(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		before, err := sess.MarshalBinary()
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					c, err := openssl.NewSSL(client)
					if err != nil {
						t.Error(err)
						return
					}
					s, err := openssl.NewSSL(server)
					if err != nil {
						t.Error(err)
						return
					}
					err = errors.Join(c.SetServerName("server.test"), c.SetSession(sess))
					clientErr, serverErr := shake(t, c, s)
					if err != nil || clientErr != nil || serverErr != nil || !s.ConnectionState().DidResume {
						t.Errorf("resumption: %v, client %v, server %v, resumed %v", err, clientErr, serverErr, s.ConnectionState().DidResume)
					}
					goodbye(t, c, s)
				}
			})
		}
		wg.Wait()
		after, err := sess.MarshalBinary()
		must(t, err)
		if !bytes.Equal(before, after) {
			t.Errorf("connections that offered a session have changed it:\n got %x\nwant %x", after, before)
		}
	})
}

// libssl writes to a connection's session until the handshake is done: nobody gets
// it before.
func TestSessionBeforeTheHandshakeIsDone(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		must(t, server.SetOptions(openssl.OptionNoTicket)) // the server's session has an id from the first flight on
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		for _, offer := range []*openssl.Session{nil, sess} {
			c, s := machines(t, client, server)
			if offer != nil {
				must(t, c.SetSession(offer))
			}
			for range 10 {
				cw, cerr := c.Handshake()
				carry(t, c, s)
				sw, serr := s.Handshake()
				must(t, errors.Join(cerr, serr))
				if cw == openssl.WantInput {
					if _, err := c.Session(); !errors.Is(err, openssl.ErrSessionNotFound) {
						t.Errorf("the client's Session during the handshake: %v, want ErrSessionNotFound", err)
					}
				}
				if sw == openssl.WantInput {
					if _, err := s.Session(); !errors.Is(err, openssl.ErrSessionNotFound) {
						t.Errorf("the server's Session during the handshake: %v, want ErrSessionNotFound", err)
					}
				}
				carry(t, s, c)
				if cw == openssl.WantNothing && sw == openssl.WantNothing {
					break
				}
			}
			must(t, keep(t, s).Close())
		}
	})
}

// A session's DER may hold any numbers. Those that no Duration or Time can hold
// neither wrap around nor make a session young.
func TestSessionTimesOutOfRange(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		const most = 1<<63 - 1
		for _, x := range []int64{0, 1, 1 << 31, 1 << 33, most / 1_000_000_000, most/1_000_000_000 + 1, 1 << 62, most} {
			if timeout := withField(t, sess, fieldTimeout, x).Timeout(); timeout < 0 {
				t.Errorf("a timeout of %d seconds is %v", x, timeout)
			}
			cache := openssl.NewLRUClientSessionCache(1)
			old := withField(t, withField(t, sess, fieldTime, 1), fieldTimeout, x)
			clone, err := old.Clone()
			must(t, err)
			cache.Put("key", clone)
			if got, ok := cache.Get("key"); ok {
				got.Close()
				t.Errorf("a session of 1970 with a timeout of %d seconds is handed out", x)
			}
		}
	})
}
