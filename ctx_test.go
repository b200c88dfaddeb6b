//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// sidTarget is one place to set a session id context, and the two ways to see
// what holds there.
type sidTarget struct {
	set       func([]byte) error
	get       func() []byte
	effective func(t *testing.T) []byte // of a session made afterwards
}

// sidTargets is every place that takes a session id context.
var sidTargets = []struct {
	name, op string
	make     func(t *testing.T) sidTarget
}{
	{"server Ctx", "SSL_CTX_set_session_id_context", func(t *testing.T) sidTarget {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		return sidTarget{server.SetSessionIDContext, server.SessionIDContext, func(t *testing.T) []byte {
			return tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Server.SessionIDContext
		}}
	}},
	{"client Ctx", "SSL_CTX_set_session_id_context", func(t *testing.T) sidTarget {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		return sidTarget{client.SetSessionIDContext, client.SessionIDContext, func(t *testing.T) []byte {
			return tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session.IDContext()
		}}
	}},
	{"server SSL", "SSL_set_session_id_context", func(t *testing.T) sidTarget {
		c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		return sidTarget{s.SetSessionIDContext, s.SessionIDContext, func(t *testing.T) []byte {
			tlstest.MustShake(t, c, s)
			return s.ConnectionState().SessionIDContext
		}}
	}},
	{"client SSL", "SSL_set_session_id_context", func(t *testing.T) sidTarget {
		c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		return sidTarget{c.SetSessionIDContext, c.SessionIDContext, func(t *testing.T) []byte {
			tlstest.MustShake(t, c, s)
			return tlstest.SessionOf(t, c).IDContext()
		}}
	}},
	{"ClientHello", "SSL_set_session_id_context", func(t *testing.T) sidTarget {
		server := tlstest.NewServer(t)
		must(t, server.SetClientHelloFunc(tlstest.Stay))
		c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
		if _, err := c.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		tlstest.Carry(t, c, s)
		if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
			t.Fatalf("Handshake: w %v, err %v", w, err)
		}
		hello, err := s.ClientHello()
		must(t, err)
		return sidTarget{hello.SetSessionIDContext, s.SessionIDContext, func(t *testing.T) []byte {
			tlstest.MustShake(t, c, s)
			return s.ConnectionState().SessionIDContext
		}}
	}},
	{"Conn", "SSL_set_session_id_context", func(t *testing.T) sidTarget {
		c, s := tlstest.Conns(t, tlstest.NewClient(t), tlstest.NewServer(t))
		return sidTarget{s.SetSessionIDContext, nil, func(t *testing.T) []byte {
			if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			return s.ConnectionState().SessionIDContext
		}}
	}},
	{"Session", "SSL_SESSION_set1_id_context", func(t *testing.T) sidTarget {
		sess := tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: tlstest.NewServer(t)}).Session
		return sidTarget{sess.SetIDContext, sess.IDContext, func(t *testing.T) []byte {
			der, err := sess.MarshalBinary()
			must(t, err)
			again, err := openssl.ParseSession(der)
			must(t, err)
			defer again.Close()
			return again.IDContext()
		}}
	}},
}

// sidBytes is n bytes, all different, NUL among them.
func sidBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func (x sidTarget) holds(t *testing.T, want []byte) {
	t.Helper()
	if x.get != nil {
		if got := x.get(); !bytes.Equal(got, want) {
			t.Errorf("the getter says %q, want %q", got, want)
		}
	}
	if got := x.effective(t); !bytes.Equal(got, want) {
		t.Errorf("a session made afterwards is within %q, want %q", got, want)
	}
}

func TestSetSessionIDContextAccepts(t *testing.T) {
	values := map[string][]byte{
		"nil": nil, "empty": {}, "NUL": {0}, "0xFF": {0xff}, "32 NULs": make([]byte, 32),
		"32 0xFF": bytes.Repeat([]byte{0xff}, 32), "a NUL b": []byte("a\x00b"),
	}
	for n := 1; n <= 32; n++ {
		values[fmt.Sprintf("%d bytes", n)] = sidBytes(n)
	}
	for _, target := range sidTargets {
		t.Run(target.name, func(t *testing.T) {
			for name, value := range values {
				t.Run(name, func(t *testing.T) {
					x := target.make(t)
					must(t, x.set([]byte("something before")))
					must(t, x.set(value))
					x.holds(t, value)
				})
			}
		})
	}
}

// mapped is n bytes that are promised only: libssl must never read them.
func mapped(t *testing.T, n int) []byte {
	t.Helper()
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		t.Fatalf("%d bytes of address space: %v", n, err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	return b
}

func TestSetSessionIDContextRefuses(t *testing.T) {
	for _, target := range sidTargets {
		t.Run(target.name, func(t *testing.T) {
			for _, n := range []int64{33, 64, 255, 65536, 1 << 32, 1<<32 + 5} {
				if n > math.MaxInt {
					continue // no slice of a 32-bit program is that long
				}
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					x := target.make(t)
					old := []byte("old\x00value")
					must(t, x.set(old))
					tooLong(t, x.set(mapped(t, int(n))), target.op, int(n))
					x.holds(t, old)
				})
			}
			t.Run("what was never set stays unset", func(t *testing.T) {
				x := target.make(t)
				tooLong(t, x.set(sidBytes(33)), target.op, 33)
				x.holds(t, nil)
			})
		})
	}
}

// tooLong looks at libssl's refusal of a context of n bytes, more than 32.
func tooLong(t testing.TB, err error, op string, n int) {
	t.Helper()
	if !errors.Is(err, openssl.ErrSessionIDContextTooLong) {
		t.Fatalf("%v is no ErrSessionIDContextTooLong", err)
	}
	if errors.Is(err, openssl.ErrSessionIDContextUninitialized) || errors.Is(err, openssl.ErrSessionContextMismatch) {
		t.Errorf("%v is another sentinel, too", err)
	}
	e, ok := tlstest.AsType[*openssl.Error](err)
	if !ok {
		t.Fatalf("%T is no *Error", err)
	}
	if want := "openssl: " + op + ": ssl session id context too long: it has " + fmt.Sprint(n) + " bytes: use at most 32 bytes, for example a SHA-256 hash of a longer one, or DeriveSessionIDContext"; err.Error() != want || e.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if e.Op != op || e.Code != 0 || len(e.Stack) != 1 {
		t.Fatalf("%+v", e)
	}
	entry := e.Stack[0]
	// 273 in the lowest 12 bits, whichever version packed it.
	if entry.Code&0xfff != 273 || entry.Library != "SSL routines" || entry.Function != op ||
		entry.Reason != "ssl session id context too long" || entry.Data != "" {
		t.Errorf("%+v", entry)
	}
	if !strings.HasSuffix(entry.File, ".c") || entry.Line <= 0 {
		t.Errorf("raised at %q:%d", entry.File, entry.Line)
	}
}

func TestSessionIDContextIsCopied(t *testing.T) {
	for _, target := range sidTargets {
		t.Run(target.name, func(t *testing.T) {
			x := target.make(t)
			value := []byte("tenant one")
			must(t, x.set(value))
			copy(value, "XXXXXXXXXX")
			if x.get != nil {
				copy(x.get(), "YYYYYYYYYY")
			}
			x.holds(t, []byte("tenant one"))
		})
	}
}

// Failing setters beside succeeding ones: no reason is lost on the way through
// goroutines and threads, and none lands on a success.
func TestSetSessionIDContextConcurrently(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it is more than a million calls")
	}
	const goroutines, rounds = 64, 10_000
	long := sidBytes(33)
	many := func(t *testing.T, set func([]byte) error, value []byte) {
		for range rounds {
			if err := set(value); err != nil {
				t.Errorf("a good context: %v", err)
				return
			}
			err := set(long)
			e, ok := tlstest.AsType[*openssl.Error](err)
			if !ok || len(e.Stack) != 1 || !errors.Is(err, openssl.ErrSessionIDContextTooLong) {
				t.Errorf("a context of 33 bytes: %v", err)
				return
			}
		}
	}
	run := func(t *testing.T, of func(i int) func([]byte) error) {
		var wg sync.WaitGroup
		for i := range goroutines {
			set, value := of(i), fmt.Appendf(nil, "goroutine %d", i)
			wg.Go(func() { many(t, set, value) })
		}
		wg.Wait()
	}
	t.Run("one Ctx", func(t *testing.T) {
		set := tlstest.NewServer(t).SetSessionIDContext
		run(t, func(int) func([]byte) error { return set })
	})
	t.Run("a Ctx each", func(t *testing.T) {
		run(t, func(int) func([]byte) error { return tlstest.NewServer(t).SetSessionIDContext })
	})
	t.Run("an SSL each", func(t *testing.T) {
		server := tlstest.NewServer(t)
		run(t, func(int) func([]byte) error {
			s, err := openssl.NewSSL(server)
			must(t, err)
			t.Cleanup(func() { s.Close() })
			return s.SetSessionIDContext
		})
	})
}

// sidSetters is both setters, for counts and times.
func sidSetters(t testing.TB) map[string]func([]byte) error {
	server := tlstest.NewServer(t)
	s, err := openssl.NewSSL(tlstest.NewServer(t))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return map[string]func([]byte) error{"Ctx": server.SetSessionIDContext, "SSL": s.SetSessionIDContext}
}

func TestSetSessionIDContextMallocs(t *testing.T) {
	good, long := sidBytes(32), sidBytes(33)
	for name, set := range sidSetters(t) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(1000, func() { must(t, set(good)) }); n != 0 {
				t.Errorf("a success costs %v mallocs, want 0", n)
			}
			if n := testing.AllocsPerRun(1000, func() {
				if set(long) == nil {
					t.Error("33 bytes were taken")
				}
			}); n > 8 {
				t.Errorf("a failure costs %v mallocs, want at most 8", n)
			}
		})
	}
}

func BenchmarkSetSessionIDContext(b *testing.B) {
	for name, set := range sidSetters(b) {
		for outcome, value := range map[string][]byte{"success": sidBytes(32), "failure": sidBytes(33)} {
			b.Run(name+"/"+outcome, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := set(value); (err == nil) != (outcome == "success") {
						b.Fatalf("set: %v", err)
					}
				}
			})
		}
	}
}

// ---- freezing ----

func TestCtxFreezes(t *testing.T) {
	ways := []struct {
		name   string
		freeze func(t *testing.T, c *openssl.Ctx)
	}{
		{"NewSSL", func(t *testing.T, c *openssl.Ctx) {
			s, err := openssl.NewSSL(c)
			must(t, err)
			must(t, s.Close())
		}},
		{"Server", func(t *testing.T, c *openssl.Ctx) {
			near, far := tlstest.TCPPair(t)
			conn, err := openssl.Server(far, c)
			must(t, err)
			must(t, conn.Close())
			must(t, near.Close())
		}},
		{"SetCtx", func(t *testing.T, c *openssl.Ctx) {
			_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			must(t, s.SetCtx(c))
		}},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c := tlstest.NewServer(t)
			must(t, c.SetSessionIDContext([]byte("old")))
			options := c.Options()
			way.freeze(t, c)
			called := 0
			callAll(t, c, callArgs, func(method string, err error) {
				if !strings.HasPrefix(method, "Set") && !strings.HasPrefix(method, "Use") &&
					!strings.HasPrefix(method, "Load") && !strings.HasPrefix(method, "Clear") &&
					!strings.HasPrefix(method, "Add") && method != "Raw" {
					return
				}
				called++
				if !errors.Is(err, openssl.ErrCtxInUse) {
					t.Errorf("%s: %v, want ErrCtxInUse", method, err)
				}
			}, "Close", "SetTicketKeys", "SetFleetTicketKeys", "SetOCSPResponse") // these rotate under load
			if called < 17 {
				t.Errorf("only %d setters were called", called)
			}
			if got := c.SessionIDContext(); string(got) != "old" || c.Options() != options {
				t.Errorf("something changed: %q, %#x", got, c.Options())
			}
		})
	}
	t.Run("not by a refusal", func(t *testing.T) {
		c := tlstest.NewServer(t)
		must(t, c.SetVerify(openssl.VerifyPeer))
		if _, err := openssl.NewSSL(c); !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
			t.Fatalf("NewSSL: %v", err)
		}
		must(t, c.SetSessionIDContext([]byte("now")))
		s, err := openssl.NewSSL(c)
		must(t, err)
		must(t, s.Close())
	})
	t.Run("the text says what to do", func(t *testing.T) {
		tlstest.Sentence(t, openssl.ErrCtxInUse, "configure it before its first connection")
	})
}

// ---- what a server still lacks ----

func TestServerNotReady(t *testing.T) {
	doors := []struct {
		name string
		open func(t *testing.T, c *openssl.Ctx) error
	}{
		{"NewSSL", func(t *testing.T, c *openssl.Ctx) error {
			s, err := openssl.NewSSL(c)
			if err == nil {
				s.Close()
			}
			return err
		}},
		{"Server", func(t *testing.T, c *openssl.Ctx) error {
			near, far := tlstest.TCPPair(t)
			defer near.Close()
			defer far.Close()
			conn, err := openssl.Server(far, c)
			if err == nil {
				conn.Close()
			}
			return err
		}},
		{"Listen", func(t *testing.T, c *openssl.Ctx) error {
			l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
			if err == nil {
				l.Close()
			}
			return err
		}},
		{"SetCtx", func(t *testing.T, c *openssl.Ctx) error {
			_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			return s.SetCtx(c)
		}},
	}
	type row struct {
		name  string
		make  func(t testing.TB) *openssl.Ctx
		is    error // nil: any, or none where says is empty
		says  []string
		ready bool
	}
	cases := []row{
		{"no certificate, no ClientHello function", tlstest.BareServer, nil, []string{"UseCertificate", "SetClientHelloFunc"}, false},
		{"no certificate, a ClientHello function", func(t testing.TB) *openssl.Ctx {
			c := tlstest.BareServer(t)
			must(t, c.SetClientHelloFunc(tlstest.Stay))
			return c
		}, nil, nil, true},
		{"client certificates without a context", func(t testing.TB) *openssl.Ctx {
			c := tlstest.NewServer(t)
			must(t, c.SetVerify(openssl.VerifyPeer))
			return c
		}, openssl.ErrSessionIDContextUninitialized, []string{"SetSessionIDContext", "client certificates"}, false},
		{"required client certificates without a context", func(t testing.TB) *openssl.Ctx {
			c := tlstest.NewServer(t)
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
			must(t, c.SetOptions(openssl.OptionNoTicket)) // the cache is still there
			return c
		}, openssl.ErrSessionIDContextUninitialized, []string{"SetSessionIDContext"}, false},
		{"client certificates with none, explicitly", func(t testing.TB) *openssl.Ctx {
			c := tlstest.NewServer(t)
			must(t, c.SetVerify(openssl.VerifyPeer))
			must(t, c.SetSessionIDContext(nil))
			return c
		}, nil, nil, true},
		{"client certificates after a context was refused", func(t testing.TB) *openssl.Ctx {
			c := tlstest.NewServer(t)
			must(t, c.SetVerify(openssl.VerifyPeer))
			tooLong(t, c.SetSessionIDContext(sidBytes(33)), "SSL_CTX_set_session_id_context", 33)
			return c
		}, openssl.ErrSessionIDContextUninitialized, nil, false},
		{"client certificates and a context", func(t testing.TB) *openssl.Ctx { return tlstest.NewMutualServer(t, "tenant") }, nil, nil, true},
	}
	test := func(t *testing.T, x row) {
		for _, door := range doors {
			t.Run(door.name, func(t *testing.T) {
				err := door.open(t, x.make(t))
				if x.ready {
					must(t, err)
					return
				}
				tlstest.Sentence(t, err, x.says...)
				if x.is != nil && !errors.Is(err, x.is) {
					t.Errorf("%v is not %v", err, x.is)
				}
			})
		}
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

// "None", said explicitly, is OpenSSL's own behaviour: a session by ticket is
// refused on the second connection, and its reason arrives.
func TestExplicitlyNoContext(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, over := range tlstest.Transports {
			t.Run(over.Name, func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "")
				must(t, client.SetMaxVersion(v.ID))
				first := over.Connect(t, tlstest.Pair{Client: client, Server: server})
				if first.ClientErr != nil || first.ServerErr != nil {
					t.Fatalf("handshake: client %v, server %v", first.ClientErr, first.ServerErr)
				}
				second := over.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: first.Session})
				if !errors.Is(second.ServerErr, openssl.ErrSessionIDContextUninitialized) {
					t.Errorf("server: %v, want libssl's 277", second.ServerErr)
				}
				tlstest.Sentence(t, second.ServerErr, "SSL_do_handshake", "session id context uninitialized")
				if alert, _ := tlstest.AsType[tls.AlertError](second.ClientErr); alert != 80 {
					t.Errorf("client: %v, want internal_error", second.ClientErr)
				}
			})
		}
	})
}

// ---- trust ----

// hashed is a folder that holds a certificate under the name that c_rehash gives it.
func hashed(t *testing.T, pem []byte) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(file, pem, 0o600))
	out, err := exec.Command("openssl", "x509", "-noout", "-hash", "-in", file).Output()
	if err != nil {
		t.Fatalf("the openssl command, which hashes the name: %v", err)
	}
	must(t, os.Symlink(file, filepath.Join(dir, strings.TrimSpace(string(out))+".0")))
	return dir
}

func TestTrust(t *testing.T) {
	ca, stranger := tlstest.Certs(t), tlstest.NewAuthority(t, "stranger", nil)
	file := func(t *testing.T, content []byte) string {
		path := filepath.Join(t.TempDir(), "ca.pem")
		must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	for _, x := range []struct {
		name    string
		trust   func(t *testing.T, c *openssl.Ctx)
		trusted bool
	}{
		{"SetVerifyCAs", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetVerifyCAs(ca.PEM)) }, true},
		{"SetVerifyCAs, several", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(append(bytes.Clone(stranger.PEM), ca.PEM...)))
		}, true},
		{"SetVerifyCAs, the same twice", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(append(bytes.Clone(ca.PEM), ca.PEM...)))
		}, true},
		{"SetVerifyCAs, others", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetVerifyCAs(stranger.PEM)) }, false},
		{"SetVerifyCAs replaces", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(ca.PEM))
			must(t, c.SetVerifyCAs(stranger.PEM))
		}, false},
		{"SetVerifyCAs, failing, leaves the old", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(ca.PEM))
			for _, bad := range [][]byte{nil, {}, []byte("garbage"), tlstest.Fixtures.ServerKey, append(bytes.Clone(stranger.PEM), stranger.PEM[:99]...)} {
				tlstest.Sentence(t, c.SetVerifyCAs(bad), "CA certificates")
			}
		}, true},
		{"SetClientCAs", func(t *testing.T, c *openssl.Ctx) { must(t, c.SetClientCAs(ca.PEM)) }, true},
		{"LoadVerifyLocations, a file", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.LoadVerifyLocations(file(t, ca.PEM), ""))
		}, true},
		{"LoadVerifyLocations, a folder", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.LoadVerifyLocations("", hashed(t, ca.PEM)))
		}, true},
		{"LoadVerifyLocations, an empty folder", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.LoadVerifyLocations("", t.TempDir()))
		}, false},
		{"LoadVerifyLocations, others", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.LoadVerifyLocations(file(t, stranger.PEM), ""))
		}, false},
		{"LoadVerifyLocations adds", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(ca.PEM))
			must(t, c.LoadVerifyLocations(file(t, stranger.PEM), t.TempDir()))
		}, true},
		{"LoadVerifyLocations, failing, adds nothing", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(stranger.PEM))
			tlstest.Sentence(t, c.LoadVerifyLocations(file(t, append(bytes.Clone(ca.PEM), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)), ""), "CA certificates of")
		}, false},
		{"nobody", func(t *testing.T, c *openssl.Ctx) {}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Setenv("SSL_CERT_FILE", "")
			t.Setenv("SSL_CERT_DIR", t.TempDir())
			client := tlstest.BareClient(t)
			x.trust(t, client)
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: tlstest.NewServer(t)})
			if x.trusted {
				if e.ClientErr != nil || e.ServerErr != nil {
					t.Fatalf("handshake: client %v, server %v", e.ClientErr, e.ServerErr)
				}
				return
			}
			if _, ok := tlstest.AsType[*openssl.VerifyError](e.ClientErr); !ok {
				t.Errorf("client: %v, want a VerifyError", e.ClientErr)
			}
		})
	}
	t.Run("system roots", func(t *testing.T) {
		t.Setenv("SSL_CERT_FILE", file(t, ca.PEM))
		tlstest.Connect(t, tlstest.Pair{Client: tlstest.BareClient(t), Server: tlstest.NewServer(t)})
	})
	t.Run("no system roots once somebody else is trusted", func(t *testing.T) {
		t.Setenv("SSL_CERT_FILE", file(t, ca.PEM))
		client := tlstest.BareClient(t)
		must(t, client.SetVerifyCAs(stranger.PEM))
		if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: tlstest.NewServer(t)}); e.ClientErr == nil {
			t.Error("the system's root was trusted beside SetVerifyCAs")
		}
	})
	t.Run("a server trusts no system root", func(t *testing.T) {
		t.Setenv("SSL_CERT_FILE", file(t, ca.PEM))
		server := tlstest.NewServer(t)
		must(t, server.SetVerify(openssl.VerifyPeer))
		must(t, server.SetSessionIDContext([]byte("tenant")))
		if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server}); e.ServerErr == nil {
			t.Error("a client was let in by a system root")
		}
	})
}

func TestLoadVerifyLocationsRefuses(t *testing.T) {
	tlstest.Certs(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("garbage"), 0o600))
	empty := filepath.Join(dir, "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	for _, x := range []struct {
		name, file, dir string
		says            string
	}{
		{"nothing", "", "", "neither a file nor a folder"},
		{"a missing file", filepath.Join(dir, "none"), "", filepath.Join(dir, "none")},
		{"a missing folder", "", filepath.Join(dir, "none"), "no such file"},
		{"a broken file", file, "", file},
		{"an empty file", empty, "", empty},
		{"a folder for a file", dir, "", dir},
		{"a file for a folder", "", file, "is not a folder"},
		{"NUL in the file", "a\x00b", "", "NUL"},
		{"NUL in the folder", "", "a\x00b", "NUL"},
	} {
		t.Run(x.name, func(t *testing.T) {
			tlstest.Sentence(t, tlstest.BareClient(t).LoadVerifyLocations(x.file, x.dir), x.says)
		})
	}
}

// The names of SetClientCAs reach the client.
func TestClientCANames(t *testing.T) {
	ca, second := tlstest.Certs(t), tlstest.NewAuthority(t, "second CA", nil)
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewMutualServer(t, "tenant")
			must(t, server.SetClientCAs(append(bytes.Clone(ca.PEM), second.PEM...)))
			tlstest.Sentence(t, server.SetClientCAs([]byte("garbage")), "CA certificates") // the old names stay
			var names [][]byte
			near, far := tlstest.TCPPair(t)
			s, err := openssl.Server(far, server)
			must(t, err)
			config := tlstest.GoClient(t)
			config.MaxVersion = v.ID
			config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				names = info.AcceptableCAs
				return tlstest.GoCertificate(t), nil
			}
			c := tls.Client(near, config)
			clientErr, serverErr := tlstest.Both(func() error {
				defer c.Close()
				return tlstest.RoundTrip(c, []byte("x"))
			}, func() error {
				return errors.Join(tlstest.Echo(s), s.Close())
			})
			if clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			if len(names) != 2 || !bytes.Equal(names[0], ca.Cert.RawSubject) || !bytes.Equal(names[1], second.Cert.RawSubject) {
				t.Errorf("%d names arrived", len(names))
			}
		})
	}
}

// ---- what a client verifies without being told to ----

func TestClientVerifies(t *testing.T) {
	ca := tlstest.Certs(t)
	at := func(ips ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.DNSNames = nil
			for _, ip := range ips {
				c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
			}
		}
	}
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	valid := func(from, until time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(until) }
	}
	type row struct {
		name   string
		change func(*x509.Certificate)
		ask    []string // names set, the last one counts
		says   string   // empty: accepted
	}
	test := func(t *testing.T, x row) {
		tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
			client, server := tlstest.NewClient(t), tlstest.BareServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.UseCertificate(ca.Leaf(t, "server.test", tlstest.ECKey(t), x.change)))
			c, s := tlstest.Machines(t, client, server)
			for _, name := range x.ask {
				must(t, c.SetServerName(name))
			}
			clientErr, serverErr := tlstest.Shake(t, c, s)
			if x.says == "" {
				if clientErr != nil || serverErr != nil {
					t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
				}
				return
			}
			verify, ok := tlstest.AsType[*openssl.VerifyError](clientErr)
			if !ok {
				t.Fatalf("client: %v, want a VerifyError", clientErr)
			}
			// Some versions say "unsuitable", some "unsupported certificate purpose".
			if !strings.Contains(strings.ToLower(verify.Reason), strings.ToLower(x.says)) {
				t.Errorf("%q, want %q", verify.Reason, x.says)
			}
			tlstest.Sentence(t, clientErr, "SSL_do_handshake: certificate verify failed", verify.Reason)
			if _, ok := tlstest.AsType[tls.AlertError](serverErr); !ok {
				t.Errorf("server: %v, want the client's alert", serverErr)
			}
			if c.ConnectionState().VerifyError == nil {
				t.Error("the state knows nothing of it")
			}
		})
	}
	for _, x := range []row{
		{"the name", nil, []string{"server.test"}, ""},
		{"another case", nil, []string{"SERVER.test"}, ""},
		{"a trailing dot", nil, []string{"server.test."}, ""},
		{"another name", nil, []string{"other.test"}, "hostname mismatch"},
		{"a name below", nil, []string{"a.server.test"}, "hostname mismatch"},
		{"a name above", nil, []string{"test"}, "hostname mismatch"},
		{"a wildcard", named("*.server.test"), []string{"a.server.test"}, ""},
		{"a wildcard is one label", named("*.server.test"), []string{"a.b.server.test"}, "hostname mismatch"},
		{"part of a label is no wildcard", named("a*.server.test"), []string{"ab.server.test"}, "hostname mismatch"},
		{"an IPv4 address", at("192.0.2.1"), []string{"192.0.2.1"}, ""},
		{"another IPv4 address", at("192.0.2.1"), []string{"192.0.2.2"}, "IP address mismatch"},
		{"an IPv6 address", at("2001:db8::1"), []string{"2001:db8::1"}, ""},
		{"an IPv6 address in brackets", at("2001:db8::1"), []string{"[2001:db8:0::1]"}, ""},
		{"an IPv6 address with a zone", at("fe80::1"), []string{"fe80::1%eth0"}, ""},
		{"an IPv4 address in IPv6", at("192.0.2.1"), []string{"::ffff:192.0.2.1"}, ""},
		{"an address is no name", named("192.0.2.1"), []string{"192.0.2.1"}, "IP address mismatch"},
		{"a name in place of another", nil, []string{"other.test", "server.test"}, ""},
		{"a name in place of an address", nil, []string{"192.0.2.1", "server.test"}, ""},
		{"an address in place of a name", at("192.0.2.1"), []string{"other.test", "192.0.2.1"}, ""},
		{"expired", valid(-2*time.Hour, -time.Hour), []string{"server.test"}, "certificate has expired"},
		{"not yet valid", valid(time.Hour, 2*time.Hour), []string{"server.test"}, "certificate is not yet valid"},
		{"for clients only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, []string{"server.test"}, "certificate purpose"},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
	t.Run("a self-signed server", func(t *testing.T) {
		server := tlstest.BareServer(t)
		self := tlstest.NewAuthority(t, "server.test", nil)
		must(t, server.UseCertificate(self.PEM, tlstest.KeyPEM(t, self.Key)))
		e := tlstest.ConnectMachines(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
		tlstest.Sentence(t, e.ClientErr, "self")
	})
	t.Run("no name", func(t *testing.T) {
		tlstest.CheckLeaks(t)
		c, err := openssl.NewSSL(tlstest.NewClient(t))
		must(t, err)
		defer c.Close()
		_, err = c.Handshake()
		tlstest.Sentence(t, err, "SetServerName", "VerifyNone")
		if c.Pending() != 0 {
			t.Error("something is to be sent all the same")
		}
		must(t, c.SetServerName("server.test")) // it is not too late
		if w, err := c.Handshake(); w != openssl.WantInput || err != nil || c.Pending() == 0 {
			t.Errorf("Handshake: w %v, err %v", w, err)
		}
	})
	t.Run("VerifyNone wants no name and takes anything", func(t *testing.T) {
		client := tlstest.BareClient(t)
		must(t, client.SetVerify(openssl.VerifyNone))
		c, err := openssl.NewSSL(client)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		s, err := openssl.NewSSL(tlstest.NewServer(t))
		must(t, err)
		t.Cleanup(func() { s.Close() })
		tlstest.MustShake(t, c, s)
		if _, ok := tlstest.AsType[*openssl.VerifyError](c.ConnectionState().VerifyError); !ok {
			t.Error("the state hides that the certificate is bad")
		}
	})
}

func TestSetServerNameRefuses(t *testing.T) {
	for name, bad := range map[string]string{
		"empty": "", "a dot": ".", "NUL": "server.test\x00.evil.test", "too long": strings.Repeat("a", 300),
		// OpenSSL would take it for "any name below".
		"a leading dot": ".server.test",
	} {
		t.Run(name, func(t *testing.T) {
			c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t)) // for server.test
			tlstest.Sentence(t, c.SetServerName(bad), "SSL_set_tlsext_host_name")
			tlstest.MustShake(t, c, s) // the old name holds
			if got := s.ConnectionState().ServerName; got != "server.test" {
				t.Errorf("the server was asked for %q", got)
			}
		})
	}
	t.Run("an address is not sent", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.BareServer(t)
		must(t, server.UseCertificate(tlstest.Certs(t).Leaf(t, "x", tlstest.ECKey(t), func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		})))
		c, s := tlstest.Machines(t, client, server) // for server.test, first
		must(t, c.SetServerName("127.0.0.1"))
		tlstest.MustShake(t, c, s)
		if got := s.ConnectionState().ServerName; got != "" {
			t.Errorf("the server was asked for %q", got)
		}
	})
	t.Run("after the first byte", func(t *testing.T) {
		c, _ := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
		if _, err := c.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		if err := c.SetServerName("other.test"); !errors.Is(err, openssl.ErrTooLate) {
			t.Errorf("SetServerName: %v", err)
		}
	})
}

// ---- settings ----

func TestCtxSettingsRefused(t *testing.T) {
	many := make([]string, 400)
	for i := range many {
		many[i] = strings.Repeat("a", 200)
	}
	for _, x := range []struct {
		name string
		set  func(c *openssl.Ctx) error
		says string
	}{
		{"SetMinVersion 0", func(c *openssl.Ctx) error { return c.SetMinVersion(0) }, "0 is no protocol version"},
		{"SetMaxVersion 0", func(c *openssl.Ctx) error { return c.SetMaxVersion(0) }, "0 is no protocol version"},
		{"SetMinVersion unknown", func(c *openssl.Ctx) error { return c.SetMinVersion(0x0399) }, "0x0399"},
		{"SetMaxVersion unknown", func(c *openssl.Ctx) error { return c.SetMaxVersion(0xfefd) }, "0xfefd"},
		{"SetVerifyDepth -1", func(c *openssl.Ctx) error { return c.SetVerifyDepth(-1) }, "-1"},
		{"SetVerifyDepth huge", func(c *openssl.Ctx) error { return c.SetVerifyDepth(math.MaxInt) }, "between 0 and"},
		{"SetVerify unknown", func(c *openssl.Ctx) error { return c.SetVerify(0x100) }, "0x100"},
		{"SetVerify negative", func(c *openssl.Ctx) error { return c.SetVerify(-1) }, "no verify mode"},
		{"SetCipherList unknown", func(c *openssl.Ctx) error { return c.SetCipherList("nonsense") }, "no cipher match"},
		{"SetCipherList empty", func(c *openssl.Ctx) error { return c.SetCipherList("") }, "SSL_CTX_set_cipher_list"},
		{"SetCipherList NUL", func(c *openssl.Ctx) error { return c.SetCipherList("ALL\x00") }, "NUL"},
		{"SetCipherSuites unknown", func(c *openssl.Ctx) error { return c.SetCipherSuites("nonsense") }, "nonsense"},
		{"SetCipherSuites NUL", func(c *openssl.Ctx) error { return c.SetCipherSuites("a\x00") }, "NUL"},
		{"SetGroups unknown", func(c *openssl.Ctx) error { return c.SetGroups("nonsense") }, "nonsense"},
		{"SetGroups empty", func(c *openssl.Ctx) error { return c.SetGroups("") }, "SSL_CTX_set1_groups_list"},
		{"SetGroups NUL", func(c *openssl.Ctx) error { return c.SetGroups("P-256\x00") }, "NUL"},
		{"SetALPN empty name", func(c *openssl.Ctx) error { return c.SetALPN("h2", "") }, "1 to 255 bytes"},
		{"SetALPN long name", func(c *openssl.Ctx) error { return c.SetALPN(strings.Repeat("a", 256)) }, "1 to 255 bytes"},
		{"SetALPN many names", func(c *openssl.Ctx) error { return c.SetALPN(many...) }, "do not fit"},
		{"ClearOptions OptionNoRenegotiation", func(c *openssl.Ctx) error {
			return c.ClearOptions(openssl.OptionNoRenegotiation | openssl.OptionNoTicket)
		}, "renegotiation is not offered"},
	} {
		t.Run(x.name, func(t *testing.T) {
			tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.ID)
				must(t, client.SetALPN("proto"))
				plain, server := tlstest.NewServer(t), tlstest.NewServer(t)
				must(t, plain.SetALPN("proto"))
				must(t, server.SetALPN("proto"))
				before := tlstest.Connect(t, tlstest.Pair{Client: client, Server: plain})

				options := server.Options()
				tlstest.Sentence(t, x.set(server), x.says)
				if server.Options() != options {
					t.Error("the options changed")
				}
				after := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
				if a, b := before.Server, after.Server; a.Version != b.Version || a.CipherSuite != b.CipherSuite ||
					b.NegotiatedProtocol != "proto" {
					t.Errorf("something changed: %+v, was %+v", b, a)
				}
			})
		})
	}
	t.Run("a ClientHello function on a client", func(t *testing.T) {
		tlstest.Sentence(t, tlstest.NewClient(t).SetClientHelloFunc(tlstest.Stay), "for servers")
	})
}

func TestCtxSettings(t *testing.T) {
	type row struct {
		name   string
		v      uint16
		set    func(t *testing.T, c *openssl.Ctx)
		cipher string
	}
	test := func(t *testing.T, x row) {
		for _, side := range []string{"client", "server"} {
			t.Run(side, func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				if x.cipher != "" {
					tlstest.SetVersion(t, client, x.v)
				}
				x.set(t, map[string]*openssl.Ctx{"client": client, "server": server}[side])
				e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
				if e.Server.Version != x.v || x.cipher != "" && e.Server.CipherName != x.cipher {
					t.Errorf("%#04x with %s", e.Server.Version, e.Server.CipherName)
				}
			})
		}
	}
	for _, x := range []row{
		{"SetCipherList", tls.VersionTLS12, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetCipherList("ECDHE-ECDSA-CHACHA20-POLY1305"))
		}, "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"SetCipherSuites", tls.VersionTLS13, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetCipherSuites("TLS_CHACHA20_POLY1305_SHA256"))
		}, "TLS_CHACHA20_POLY1305_SHA256"},
		{"SetGroups", tls.VersionTLS13, func(t *testing.T, c *openssl.Ctx) { must(t, c.SetGroups("P-384")) }, ""},
		{"SetMinVersion", tls.VersionTLS13, func(t *testing.T, c *openssl.Ctx) { must(t, c.SetMinVersion(tls.VersionTLS13)) }, ""},
		{"SetMaxVersion", tls.VersionTLS12, func(t *testing.T, c *openssl.Ctx) { must(t, c.SetMaxVersion(tls.VersionTLS12)) }, ""},
		{"OptionNoTLSv13", tls.VersionTLS12, func(t *testing.T, c *openssl.Ctx) { must(t, c.SetOptions(openssl.OptionNoTLSv13)) }, ""},
		{"OptionNoTLSv13 and back", tls.VersionTLS13, func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetOptions(openssl.OptionNoTLSv13))
			must(t, c.ClearOptions(openssl.OptionNoTLSv13))
		}, ""},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

// CipherList is in order, with the suites of TLS 1.3 in front.
func TestCipherList(t *testing.T) {
	c := tlstest.NewServer(t)
	must(t, c.SetCipherList("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"))
	must(t, c.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
	want := []string{"TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"}
	if got := c.CipherList(); !slices.Equal(got, want) {
		t.Errorf("the list is %q, want %q", got, want)
	}
	must(t, c.Close())
	if got := c.CipherList(); got != nil {
		t.Errorf("the list of a closed Ctx is %q, want none", got)
	}
}

func TestALPN(t *testing.T) {
	type row struct {
		name           string
		client, server []string
		want           string
		refused        bool
	}
	test := func(t *testing.T, x row) {
		tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetALPN("to be replaced"))
			must(t, client.SetALPN("to be replaced"))
			must(t, client.SetALPN(x.client...))
			must(t, server.SetALPN(x.server...))
			e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
			if x.refused {
				tlstest.Sentence(t, e.ServerErr, "SSL_do_handshake", "no application protocol")
				if alert, _ := tlstest.AsType[tls.AlertError](e.ClientErr); alert != 120 {
					t.Errorf("client: %v, want no_application_protocol", e.ClientErr)
				}
				return
			}
			if e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("handshake: client %v, server %v", e.ClientErr, e.ServerErr)
			}
			if e.Client.NegotiatedProtocol != x.want || e.Server.NegotiatedProtocol != x.want {
				t.Errorf("%q and %q, want %q", e.Client.NegotiatedProtocol, e.Server.NegotiatedProtocol, x.want)
			}
		})
	}
	for _, x := range []row{
		{"the server's order", []string{"a", "b"}, []string{"b", "a"}, "b", false},
		{"one in common", []string{"x", "a"}, []string{"b", "a"}, "a", false},
		{"nothing in common", []string{"x"}, []string{"a"}, "", true},
		{"a prefix is another name", []string{"h2c"}, []string{"h2"}, "", true},
		{"only the client", []string{"a"}, nil, "", false},
		{"only the server", nil, []string{"a"}, "", false},
		{"a name of 255 bytes", []string{strings.Repeat("n", 255)}, []string{strings.Repeat("n", 255)}, strings.Repeat("n", 255), false},
		{"bytes of any value", []string{"a\x00\xff"}, []string{"a\x00\xff"}, "a\x00\xff", false},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

// TLS 1.2 is the floor, against a peer that would go lower.
func TestVersionFloor(t *testing.T) {
	old := func(t *testing.T, c *openssl.Ctx) { // as far down as libssl goes
		must(t, c.SetMinVersion(tls.VersionTLS10))
		must(t, c.SetMaxVersion(tls.VersionTLS11))
		must(t, c.SetCipherList("ALL:@SECLEVEL=0"))
	}
	t.Run("server", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		must(t, server.SetCipherList("ALL:@SECLEVEL=0"))
		old(t, client)
		if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); e.ServerErr == nil {
			t.Errorf("a server took %#04x", e.Server.Version)
		} else {
			tlstest.Sentence(t, e.ServerErr, "unsupported protocol")
		}
	})
	t.Run("client", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		must(t, client.SetCipherList("ALL:@SECLEVEL=0"))
		old(t, server)
		if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); e.ClientErr == nil {
			t.Errorf("a client took %#04x", e.Client.Version)
		}
	})
	type row struct {
		name, floor string
		min         uint16
	}
	test := func(t *testing.T, x row) {
		cnf := filepath.Join(t.TempDir(), "openssl.cnf")
		must(t, os.WriteFile(cnf, fmt.Appendf(nil,
			"openssl_conf = conf\n[conf]\nssl_conf = ssl\n[ssl]\nsystem_default = defaults\n"+
				"[defaults]\nMinProtocol = %s\nCipherString = ALL:@SECLEVEL=0\n", x.floor), 0o600))
		if !tlstest.Again(t, "OPENSSL_CONF="+cnf) {
			return
		}
		for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
			for _, side := range []string{"client", "server"} {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				ours, peer := client, server
				if side == "server" {
					ours, peer = server, client
				}
				_ = ours // it keeps its defaults
				tlstest.SetVersion(t, peer, v)
				e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
				if taken := e.ClientErr == nil && e.ServerErr == nil; taken != (v >= x.min) {
					t.Errorf("a %s with its defaults and %#04x: %v, %v", side, v, e.ClientErr, e.ServerErr)
				}
			}
		}
	}
	for _, x := range []row{
		{"openssl.cnf asks for more", "TLSv1.3", tls.VersionTLS13},
		{"openssl.cnf asks for less", "TLSv1", tls.VersionTLS12},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

func TestRenegotiationIsOff(t *testing.T) {
	for name, c := range map[string]*openssl.Ctx{"server": tlstest.NewServer(t), "client": tlstest.NewClient(t)} {
		if c.Options()&openssl.OptionNoRenegotiation == 0 {
			t.Errorf("a %s Ctx would renegotiate", name)
		}
	}
}

// Connections outlive their Ctx.
func TestCtxClosedUnderConnection(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	c, s := tlstest.Machines(t, client, server)
	must(t, client.Close())
	must(t, server.Close())
	tlstest.MustShake(t, c, s)
	if _, err := openssl.NewSSL(server); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection from a closed Ctx: %v", err)
	}
}

// trusts says whose client certificates a server accepts, by their CAs.
func trusts(t testing.TB, server *openssl.Ctx, cas map[string]*tlstest.Authority) (accepted string) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		ca := cas[name]
		if ca == nil {
			continue
		}
		client := tlstest.BareClient(t)
		must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
		must(t, client.UseCertificate(ca.Leaf(t, "client of "+name, tlstest.ECKey(t), nil)))
		c, s := tlstest.Machines(t, client, server)
		_, serverErr := tlstest.Shake(t, c, s)
		must(t, c.Close())
		must(t, s.Close())
		if serverErr == nil {
			accepted += name
		}
	}
	return accepted
}

// requiring is a server that requires a client certificate and trusts no CA yet.
func requiring(t testing.TB) *openssl.Ctx {
	t.Helper()
	server := tlstest.NewServer(t)
	must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	must(t, server.SetSessionIDContext([]byte("one store")))
	return server
}

// confCA has a server trust a CA by a command, whatever kind of value it takes.
func confCA(t *testing.T, c *openssl.Ctx, cmd string, ca *tlstest.Authority) {
	t.Helper()
	value := tlstest.File(t, "ca.pem", ca.PEM)
	if strings.HasSuffix(strings.ToLower(cmd), "path") {
		value = hashed(t, ca.PEM)
	}
	must(t, c.Conf(cmd, value))
}

// verifyCACommands is the commands that name CAs, in each spelling.
func verifyCACommands() []string {
	commands := []string{"VerifyCAFile", "verifycafile", "VerifyCAPath", "-verifyCAfile", "-verifyCApath"}
	if tlstest.IsOpenSSL3() {
		commands = append(commands, "VerifyCAStore", "-verifyCAstore")
	}
	return commands
}

// There is one store of CAs: who is named last counts, by a setter or by a command.
func TestOneStore(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it tries each pair of ways to name CAs")
	}
	cas := map[string]*tlstest.Authority{"a": tlstest.NewAuthority(t, "a", nil), "b": tlstest.NewAuthority(t, "b", nil), "c": tlstest.NewAuthority(t, "c", nil)}
	type step = func(t *testing.T, c *openssl.Ctx, cmd string)
	conf := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, cmd string) { confCA(t, c, cmd, cas[name]) }
	}
	verifyCAs := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) { must(t, c.SetVerifyCAs(cas[name].PEM)) }
	}
	clientCAs := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) { must(t, c.SetClientCAs(cas[name].PEM)) }
	}
	loadFile := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) {
			must(t, c.LoadVerifyLocations(tlstest.File(t, "ca.pem", cas[name].PEM), ""))
		}
	}
	loadDir := func(name string) step {
		return func(t *testing.T, c *openssl.Ctx, _ string) {
			must(t, c.LoadVerifyLocations("", hashed(t, cas[name].PEM)))
		}
	}
	broken := func(t *testing.T, c *openssl.Ctx, cmd string) {
		if strings.HasSuffix(strings.ToLower(cmd), "file") {
			if c.Conf(cmd, tlstest.File(t, "ca.pem", []byte("garbage"))) == nil {
				t.Error("a file without a certificate is taken")
			}
		}
	}
	for _, x := range []struct {
		name     string
		steps    []step
		accepted string
	}{
		{"Conf", []step{conf("a")}, "a"},
		{"Conf, SetVerifyCAs", []step{conf("a"), verifyCAs("b")}, "b"},
		{"Conf, SetClientCAs", []step{conf("a"), clientCAs("b")}, "b"},
		{"Conf, LoadVerifyLocations of a file", []step{conf("a"), loadFile("b")}, "ab"},
		{"Conf, LoadVerifyLocations of a folder", []step{conf("a"), loadDir("b")}, "ab"},
		{"SetVerifyCAs, Conf", []step{verifyCAs("a"), conf("b")}, "b"},
		{"SetClientCAs, Conf", []step{clientCAs("a"), conf("b")}, "b"},
		{"LoadVerifyLocations, Conf", []step{loadFile("a"), loadDir("c"), conf("b")}, "b"},
		{"Conf, Conf", []step{conf("a"), conf("b")}, "ab"},
		{"SetVerifyCAs, Conf, Conf", []step{verifyCAs("a"), conf("b"), conf("c")}, "bc"},
		{"Conf, SetVerifyCAs, Conf", []step{conf("a"), verifyCAs("b"), conf("c")}, "c"},
		{"Conf, SetVerifyCAs, Conf, LoadVerifyLocations", []step{conf("a"), verifyCAs("b"), conf("c"), loadFile("a")}, "ac"},
		{"SetVerifyCAs, a command that is refused", []step{verifyCAs("a"), broken}, "a"},
		{"Conf, a command that is refused", []step{conf("a"), broken}, "a"},
	} {
		for _, cmd := range verifyCACommands() {
			t.Run(x.name+" "+cmd, func(t *testing.T) {
				server := requiring(t)
				for _, step := range x.steps {
					step(t, server, cmd)
				}
				if got := trusts(t, server, cas); got != x.accepted {
					t.Errorf("clients of %q are accepted, want those of %q", got, x.accepted)
				}
			})
		}
	}
}

// Revocation lists count with every CA, whichever was named first.
func TestOneStoreAndCRLs(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it tries each pair of ways to name CAs")
	}
	revoked, other := tlstest.NewAuthority(t, "a", nil), tlstest.NewAuthority(t, "b", nil)
	cert, key := revoked.Leaf(t, "revoked.test", tlstest.ECKey(t), nil)
	lists := append(tlstest.RevocationList(t, revoked, 1, tlstest.ParseCert(t, cert).SerialNumber), tlstest.RevocationList(t, other, 1)...)
	for _, cmd := range verifyCACommands() {
		for name, configure := range map[string]func(t *testing.T, c *openssl.Ctx){
			"SetCRLs, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, revoked)
			},
			"Conf, SetCRLs": func(t *testing.T, c *openssl.Ctx) {
				confCA(t, c, cmd, revoked)
				must(t, c.SetCRLs(lists))
			},
			"SetCRLs, Conf, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, other)
				confCA(t, c, cmd, revoked)
			},
			"SetVerifyCAs, SetCRLs, Conf": func(t *testing.T, c *openssl.Ctx) {
				must(t, c.SetVerifyCAs(other.PEM))
				must(t, c.SetCRLs(lists))
				confCA(t, c, cmd, revoked)
			},
		} {
			t.Run(name+" "+cmd, func(t *testing.T) {
				server := requiring(t)
				configure(t, server)
				if got := trusts(t, server, map[string]*tlstest.Authority{"a": revoked}); got != "a" {
					t.Errorf("clients of %q are accepted, want those of %q", got, "a")
				}
				client := tlstest.BareClient(t)
				must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
				must(t, client.UseCertificate(cert, key))
				c, s := tlstest.Machines(t, client, server)
				if _, err := tlstest.Shake(t, c, s); err == nil {
					t.Error("a revoked certificate is accepted")
				}
			})
		}
	}
}

// openssl.cnf names no CAs for every SSL_CTX: libssl leaves such commands out
// there. So the setters' are the only ones.
func TestOpensslCnfNamesNoCAs(t *testing.T) {
	for name, trust := range map[string]func(c *openssl.Ctx, ca *tlstest.Authority) error{
		"SetVerifyCAs": func(c *openssl.Ctx, ca *tlstest.Authority) error { return c.SetVerifyCAs(ca.PEM) },
		"SetClientCAs": func(c *openssl.Ctx, ca *tlstest.Authority) error { return c.SetClientCAs(ca.PEM) },
		"LoadVerifyLocations": func(c *openssl.Ctx, ca *tlstest.Authority) error {
			return c.LoadVerifyLocations(tlstest.File(t, "ca.pem", ca.PEM), "")
		},
		"Conf": func(c *openssl.Ctx, ca *tlstest.Authority) error {
			return c.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", ca.PEM))
		},
	} {
		t.Run(name, func(t *testing.T) {
			// The child's CAs are others: this one goes with the environment.
			const shared = "OPENSSL_TEST_CA_OF_CNF"
			if os.Getenv(shared) == "" {
				a := tlstest.NewAuthority(t, "a", nil)
				cert, key := a.Leaf(t, "client of a", tlstest.ECKey(t), nil)
				t.Setenv(shared, tlstest.File(t, "a.pem", bytes.Join([][]byte{a.PEM, cert, key}, nil)))
			}
			if !underConf(t, "VerifyCAFile = "+os.Getenv(shared)) {
				return
			}
			server, b := requiring(t), tlstest.NewAuthority(t, "b", nil)
			must(t, trust(server, b))
			if got := trusts(t, server, map[string]*tlstest.Authority{"b": b}); got != "b" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "b")
			}
			content, err := os.ReadFile(os.Getenv(shared))
			must(t, err)
			_, leaf, _ := bytes.Cut(content, []byte("-----END CERTIFICATE-----\n"))
			client := tlstest.BareClient(t)
			must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
			must(t, client.UseCertificate(leaf, leaf))
			c, s := tlstest.Machines(t, client, server)
			if _, err := tlstest.Shake(t, c, s); err == nil {
				t.Error("a client of the CA in openssl.cnf is accepted")
			}
		})
	}
}

// libssl looks into the first of several stores only. What a later one holds is
// loaded when it is named, or the command is refused.
func TestSeveralStores(t *testing.T) {
	if !tlstest.IsOpenSSL3() {
		t.Skip("there are no stores before 3.0")
	}
	cas := map[string]*tlstest.Authority{"a": tlstest.NewAuthority(t, "a", nil), "b": tlstest.NewAuthority(t, "b", nil)}
	for name, first := range map[string]string{"file": tlstest.File(t, "ca.pem", cas["a"].PEM), "folder": hashed(t, cas["a"].PEM)} {
		t.Run(name+", then a file", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			must(t, server.Conf("VerifyCAStore", tlstest.File(t, "ca.pem", cas["b"].PEM)))
			if got := trusts(t, server, cas); got != "ab" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "ab")
			}
		})
		t.Run(name+", then a folder", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			tlstest.Sentence(t, server.Conf("VerifyCAStore", hashed(t, cas["b"].PEM)), "SSL_CONF_cmd", "one store only")
			if got := trusts(t, server, cas); got != "a" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "a")
			}
		})
		t.Run(name+", SetVerifyCAs, then a folder", func(t *testing.T) {
			server := requiring(t)
			must(t, server.Conf("VerifyCAStore", first))
			must(t, server.SetVerifyCAs(cas["a"].PEM))
			must(t, server.Conf("VerifyCAStore", hashed(t, cas["b"].PEM)))
			if got := trusts(t, server, cas); got != "b" {
				t.Errorf("clients of %q are accepted, want those of %q", got, "b")
			}
		})
	}
}

// A client that a command has told whom to trust does not trust the system's roots.
func TestConfTrustInsteadOfSystemRoots(t *testing.T) {
	const name = "SSL_CERT_FILE"
	for _, cmd := range verifyCACommands() {
		t.Run(cmd, func(t *testing.T) {
			if !tlstest.Again(t, name+"="+tlstest.File(t, "root.pem", tlstest.Certs(t).PEM)) {
				return
			}
			root := tlstest.NewAuthority(t, "root", nil)
			cert, key := root.Leaf(t, "server.test", tlstest.ECKey(t), nil)
			must(t, os.WriteFile(os.Getenv(name), root.PEM, 0o600))
			server := tlstest.BareServer(t)
			must(t, server.UseCertificate(cert, key))
			for _, x := range []struct {
				configure func(c *openssl.Ctx)
				accepted  bool
			}{
				{func(c *openssl.Ctx) {}, true},
				{func(c *openssl.Ctx) { confCA(t, c, cmd, tlstest.Certs(t)) }, false},
			} {
				client := tlstest.BareClient(t)
				x.configure(client)
				c, s := tlstest.Machines(t, client, server)
				if err, _ := tlstest.Shake(t, c, s); (err == nil) != x.accepted {
					t.Errorf("a server of a system root: %v, want it accepted: %v", err, x.accepted)
				}
			}
		})
	}
}

// The names of CAs that a server sends are those that were set last.
func TestOneListOfNames(t *testing.T) {
	a, b := tlstest.NewAuthority(t, "a", nil), tlstest.NewAuthority(t, "b", nil)
	set := func(t *testing.T, c *openssl.Ctx, ca *tlstest.Authority) { must(t, c.SetClientCAs(ca.PEM)) }
	commands := []string{"ClientCAFile", "RequestCAFile", "ClientCAPath", "RequestCAPath", "-requestCAFile"}
	if tlstest.IsOpenSSL3() {
		commands = append(commands, "ClientCAStore", "RequestCAStore", "-requestCAStore")
	}
	for _, cmd := range commands {
		conf := func(t *testing.T, c *openssl.Ctx, ca *tlstest.Authority) { confCA(t, c, cmd, ca) }
		for name, steps := range map[string][2]func(t *testing.T, c *openssl.Ctx, ca *tlstest.Authority){
			"Conf, SetClientCAs": {conf, set}, "SetClientCAs, Conf": {set, conf}, "Conf, Conf": {conf, conf},
		} {
			t.Run(name+" "+cmd, func(t *testing.T) {
				server := tlstest.NewServer(t)
				must(t, server.SetVerify(openssl.VerifyPeer))
				must(t, server.SetSessionIDContext([]byte("names")))
				steps[0](t, server, a)
				steps[1](t, server, b)
				if got := namesSent(t, server); len(got) != 1 || !bytes.Equal(got[0], b.Cert.RawSubject) {
					t.Errorf("%q are sent, want the name of b alone", got)
				}
			})
		}
	}
}

// namesSent is the names of CAs in a server's CertificateRequest.
func namesSent(t testing.TB, server *openssl.Ctx) (names [][]byte) {
	t.Helper()
	near, far := tlstest.TCPPair(t)
	defer near.Close()
	s, err := openssl.Server(far, server)
	must(t, err)
	defer s.Close()
	config := tlstest.GoClient(t)
	config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		names = r.AcceptableCAs
		return &tls.Certificate{}, nil
	}
	clientErr, serverErr := tlstest.Both(tls.Client(near, config).Handshake, s.Handshake)
	if clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
	return names
}

// A derived context is another one where commands name other CAs, whatever their
// spelling, and the same where the same are named.
func TestDerivedContextKnowsConfTrust(t *testing.T) {
	a, b := tlstest.NewAuthority(t, "a", nil), tlstest.NewAuthority(t, "b", nil)
	commands := verifyCACommands()
	commands = append(commands, "ClientCAFile", "-requestCAFile", "ChainCAFile")
	if tlstest.IsOpenSSL3() {
		commands = append(commands, "ClientCAStore")
	}
	for _, cmd := range commands {
		t.Run(cmd, func(t *testing.T) {
			path := tlstest.File(t, "ca.pem", nil)
			derived := func(content []byte) string {
				must(t, os.WriteFile(path, content, 0o600))
				server, value := requiring(t), path
				if strings.HasSuffix(strings.ToLower(cmd), "path") {
					value = filepath.Dir(path)
				}
				must(t, server.Conf(cmd, value))
				must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "l"}))
				return fmt.Sprintf("%x", server.SessionIDContext())
			}
			one, other, same := derived(a.PEM), derived(b.PEM), derived(a.PEM)
			if one != same {
				t.Errorf("%s and %s, of the same CA", one, same)
			}
			isPath := strings.HasSuffix(strings.ToLower(cmd), "path") // libssl reads it later
			if one == other && !isPath {
				t.Errorf("%s, of both CAs", one)
			}
		})
	}
}

// A command that this libssl does not know stays unknown.
func TestStoresBefore3(t *testing.T) {
	if tlstest.IsOpenSSL3() {
		t.Skip("there are stores from 3.0 on")
	}
	server := requiring(t)
	for _, cmd := range []string{"VerifyCAStore", "-verifyCAstore", "ChainCAStore", "ClientCAStore", "RequestCAStore"} {
		tlstest.Sentence(t, server.Conf(cmd, tlstest.File(t, "ca.pem", tlstest.Certs(t).PEM)), "SSL_CONF_cmd", cmd, "unknown")
	}
}
