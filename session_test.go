//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/tls"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// mechanism is one of the two ways in which a server remembers.
type mechanism struct {
	name    string
	options openssl.Options
}

var mechanisms = []mechanism{
	{"ticket", 0},
	{"stateful", openssl.OptionNoTicket},
}

const (
	resumed = "resumed"
	full    = "full handshake"
	fatal   = "refused with 277"
)

// resumptionContext is what is set for two connections, and what becomes of the second.
type resumptionContext struct {
	name          string
	first, second []byte
	want          string
}

var resumptionContexts = func() []resumptionContext {
	ff := bytes.Repeat([]byte{0xff}, 32)
	return []resumptionContext{
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
}()

// TestResumption is the server's decision: one context, or another one, in every
// protocol and mechanism, over machines and over TCP, with the context set at
// each of the places that are in time.
func TestResumption(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: TestSpec tries the same rows, over memory")
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
		call func(t *testing.T, make func() *openssl.Ctx) func(sidCtx []byte) tlstest.Pair
	}{
		{"set on the connection", func(t *testing.T, make func() *openssl.Ctx) func([]byte) tlstest.Pair {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			return func(sidCtx []byte) tlstest.Pair {
				return tlstest.Pair{Server: server, AtServer: func(t testing.TB, s tlstest.SidSetter) { must(t, s.SetSessionIDContext(sidCtx)) }}
			}
		}},
		{"set when asked", func(t *testing.T, make func() *openssl.Ctx) func([]byte) tlstest.Pair {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			var now []byte
			must(t, server.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
				return nil, hello.SetSessionIDContext(now)
			}))
			return func(sidCtx []byte) tlstest.Pair {
				now = sidCtx
				return tlstest.Pair{Server: server, Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetSessionIDContext(sidCtx)) }}
			}
		}},
		{"of a Ctx gone on with", func(t *testing.T, make func() *openssl.Ctx) func([]byte) tlstest.Pair {
			server := make()
			must(t, server.SetSessionIDContext([]byte("listener")))
			var now *openssl.Ctx
			must(t, server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return now, nil }))
			return func(sidCtx []byte) tlstest.Pair {
				now = make()
				must(t, now.SetSessionIDContext(sidCtx))
				return tlstest.Pair{Server: server, Answer: func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(now)) }}
			}
		}},
	}
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, mechanism := range mechanisms {
			for _, mode := range modes {
				for _, level := range levels {
					x := resumption{version: v.ID, options: mechanism.options, mode: mode.mode, level: level.call}
					t.Run(strings.Join([]string{mechanism.name, mode.name, level.name}, "/"), x.inEachContext)
				}
			}
		}
	})
}

// resumption is a row of TestResumption.
type resumption struct {
	version uint16
	options openssl.Options
	mode    openssl.VerifyMode
	level   func(t *testing.T, make func() *openssl.Ctx) func(sidCtx []byte) tlstest.Pair
	over    func(t testing.TB, x tlstest.Pair) tlstest.Result
	resumptionContext
}

func (x resumption) inEachContext(t *testing.T) {
	for _, over := range tlstest.Transports {
		for _, c := range resumptionContexts {
			x.over, x.resumptionContext = over.Connect, c
			t.Run(over.Name+"/"+c.name, x.run)
		}
	}
}

func (x resumption) run(t *testing.T) {
	client := tlstest.NewClient(t)
	tlstest.SetVersion(t, client, x.version)
	connect := x.level(t, func() *openssl.Ctx {
		c := tlstest.NewServer(t)
		must(t, c.SetOptions(x.options))
		must(t, c.SetVerify(x.mode))
		must(t, c.SetClientCAs(tlstest.Certs(t).PEM))
		return c
	})
	withCertificates := x.mode != openssl.VerifyNone
	want := x.want
	if want == resumed && x.first == nil && withCertificates {
		// OpenSSL's own: a ticket is refused, and nothing goes into the cache.
		want = fatal
		if x.options != 0 {
			want = full
		}
	}

	one := connect(x.first)
	one.Client = client
	first := x.over(t, one)
	if first.ClientErr != nil || first.ServerErr != nil {
		t.Fatalf("handshake: client %v, server %v", first.ClientErr, first.ServerErr)
	}
	two := connect(x.second)
	two.Client, two.Offer = client, first.Session
	if two.Offer == nil && want != full {
		t.Fatal("no session to offer")
	}
	second := x.over(t, two)

	if want == fatal {
		if !errors.Is(second.ServerErr, openssl.ErrSessionIDContextUninitialized) || second.ClientErr == nil {
			t.Errorf("server %v, client %v, want %s", second.ServerErr, second.ClientErr, want)
		}
		return
	}
	if second.ClientErr != nil || second.ServerErr != nil {
		t.Fatalf("handshake: client %v, server %v", second.ClientErr, second.ServerErr)
	}
	for end, cs := range map[string]openssl.ConnectionState{"client": second.Client, "server": second.Server} {
		if cs.DidResume != (want == resumed) {
			t.Errorf("the %s says resumed: %v, want a %s", end, cs.DidResume, want)
		}
	}
	if first.Client.DidResume || first.Server.DidResume {
		t.Error("the first connection was resumed")
	}
	if got := first.Server.SessionIDContext; !bytes.Equal(got, x.first) {
		t.Errorf("the first session is within %q, want %q", got, x.first)
	}
	if got := second.Server.SessionIDContext; !bytes.Equal(got, x.second) {
		t.Errorf("the second session is within %q, want %q", got, x.second)
	}
	if n := len(second.Server.PeerCertificates); (n == 1) != withCertificates {
		t.Errorf("the server sees %d client certificates", n)
	}
}

// After a refusal the session is still good where it belongs.
func TestResumptionAfterMismatch(t *testing.T) {
	test := func(t *testing.T, v tlstest.Version, mechanism mechanism) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		must(t, server.SetOptions(mechanism.options))
		within := func(sidCtx string, offer *openssl.Session) tlstest.Result {
			return tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: offer, AtServer: func(t testing.TB, s tlstest.SidSetter) {
				must(t, s.SetSessionIDContext([]byte(sidCtx)))
			}})
		}
		sess := within("A", nil).Session
		if within("B", sess).Server.DidResume {
			t.Error("resumed in B")
		}
		if !within("A", sess).Server.DidResume {
			t.Error("not resumed in A after that")
		}
	}
	for _, v := range tlstest.Versions {
		for _, mechanism := range mechanisms {
			t.Run(v.Name+"/"+mechanism.name, func(t *testing.T) { test(t, v, mechanism) })
		}
	}
}

// A client's own context is compared before a byte is sent.
func TestClientContextMismatch(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		server := tlstest.NewServer(t)
		within := func(t *testing.T, sidCtx string) *openssl.Ctx {
			c := tlstest.NewClient(t)
			tlstest.SetVersion(t, c, v.ID)
			if sidCtx != "" {
				must(t, c.SetSessionIDContext([]byte(sidCtx)))
			}
			return c
		}
		mine := tlstest.Connect(t, tlstest.Pair{Client: within(t, "mine"), Server: server}).Session
		nobodys := tlstest.Connect(t, tlstest.Pair{Client: within(t, ""), Server: server}).Session
		if string(mine.IDContext()) != "mine" || len(nobodys.IDContext()) != 0 {
			t.Fatalf("%q, %q", mine.IDContext(), nobodys.IDContext())
		}
		mismatch := func(t *testing.T, c *openssl.SSL, err error, says ...string) {
			t.Helper()
			if !errors.Is(err, openssl.ErrSessionContextMismatch) {
				t.Errorf("%v, want ErrSessionContextMismatch", err)
			}
			tlstest.Sentence(t, err, says...)
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
				c, s := tlstest.Machines(t, within(t, x.sidCtx), server)
				mismatch(t, c, c.SetSession(x.offer), x.quoted)
				tlstest.MustShake(t, c, s) // nothing is offered
				if c.ConnectionState().DidResume {
					t.Error("resumed")
				}
			})
		}
		t.Run("SetSessionIDContext after SetSession", func(t *testing.T) {
			c, s := tlstest.Machines(t, within(t, "mine"), server)
			must(t, c.SetSession(mine))
			mismatch(t, c, c.SetSessionIDContext([]byte("other")), `"mine"`, `"other"`)
			tooLong(t, c.SetSessionIDContext(sidBytes(33)), "SSL_set_session_id_context", 33)
			must(t, c.SetSessionIDContext([]byte("mine")))
			if got := c.SessionIDContext(); string(got) != "mine" {
				t.Errorf("%q", got)
			}
			tlstest.MustShake(t, c, s)
			if !c.ConnectionState().DidResume {
				t.Error("not resumed")
			}
			tlstest.Goodbye(t, c, s)
		})
		t.Run("SetCtx after SetSession, at the first Handshake", func(t *testing.T) {
			c, _ := tlstest.Machines(t, within(t, "mine"), server)
			must(t, c.SetSession(mine))
			must(t, c.SetCtx(within(t, "other")))
			_, err := c.Handshake()
			mismatch(t, c, err, `"mine"`, `"other"`)
		})
		t.Run("the offer taken back", func(t *testing.T) {
			c, s := tlstest.Machines(t, within(t, "mine"), server)
			must(t, c.SetSession(mine))
			must(t, c.SetSession(nil))
			must(t, c.SetSessionIDContext([]byte("other")))
			tlstest.MustShake(t, c, s)
			if c.ConnectionState().DidResume {
				t.Error("resumed")
			}
			tlstest.Goodbye(t, c, s)
		})
		t.Run("another offered instead", func(t *testing.T) {
			c, s := tlstest.Machines(t, within(t, "mine"), server)
			must(t, c.SetSession(mine))
			mismatch(t, c, c.SetSession(nobodys))
			tlstest.MustShake(t, c, s) // the first offer stands
			if !c.ConnectionState().DidResume {
				t.Error("not resumed")
			}
			tlstest.Goodbye(t, c, s)
		})
		t.Run("moved with SetIDContext", func(t *testing.T) {
			moved := copyOf(t, mine)
			must(t, moved.SetIDContext([]byte("other")))
			c, s := tlstest.Machines(t, within(t, "other"), server)
			must(t, c.SetSession(moved))
			tlstest.MustShake(t, c, s)
			if !c.ConnectionState().DidResume {
				t.Error("not resumed")
			}
			tlstest.Goodbye(t, c, s)
		})
		t.Run("over TCP", func(t *testing.T) {
			c, _ := tlstest.Conns(t, within(t, "other"), server)
			if err := c.SetSession(mine); !errors.Is(err, openssl.ErrSessionContextMismatch) {
				t.Errorf("SetSession: %v", err)
			}
		})
	})
	t.Run("a server offers nothing", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session
		_, s := tlstest.Machines(t, client, server)
		tlstest.Sentence(t, s.SetSession(sess), "a server does not offer sessions")
		_, conn := tlstest.Conns(t, client, server)
		tlstest.Sentence(t, conn.SetSession(sess), "a server does not offer sessions")
	})
	t.Run("a closed session", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session
		must(t, sess.Close())
		c, _ := tlstest.Machines(t, client, server)
		tlstest.Sentence(t, c.SetSession(sess), "closed Session")
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
	test := func(t *testing.T, v tlstest.Version, mechanism mechanism) {
		client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, client, v.ID)
		must(t, client.SetSessionIDContext([]byte("mine")))
		must(t, server.SetOptions(mechanism.options))
		// The coarse clock of time(2) may lag behind by a tick, and so by a second here.
		before := time.Now().Add(-20 * time.Millisecond).Truncate(time.Second)
		sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session
		der, err := sess.MarshalBinary()
		must(t, err)
		again := copyOf(t, sess)
		for name, s := range map[string]*openssl.Session{"fresh": sess, "out and back": again} {
			if s.Version() != v.ID || !s.Resumable() || string(s.IDContext()) != "mine" {
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
		if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: again}); !e.Client.DidResume || !e.Server.DidResume {
			t.Error("not resumed")
		}
	}
	for _, v := range tlstest.Versions {
		for _, mechanism := range mechanisms {
			t.Run(v.Name+"/"+mechanism.name, func(t *testing.T) { test(t, v, mechanism) })
		}
	}
}

func TestSessionNotFound(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	c, s := tlstest.Machines(t, client, server)
	for name, m := range map[string]*openssl.SSL{"client": c, "server": s} {
		if sess, err := m.Session(); sess != nil || !errors.Is(err, openssl.ErrSessionNotFound) {
			t.Errorf("%s before the handshake: %v", name, err)
		}
	}
	// TLS 1.3: the handshake is done, the tickets are not read.
	client = tlstest.NewClient(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	c, s = tlstest.Machines(t, client, server)
	for _, m := range []*openssl.SSL{c, s, c, s} {
		if _, err := m.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		if m == c {
			tlstest.Carry(t, c, s)
		} else if !s.ConnectionState().HandshakeComplete {
			tlstest.Carry(t, s, c)
		}
	}
	if _, err := c.Session(); !errors.Is(err, openssl.ErrSessionNotFound) {
		t.Errorf("before the first Read: %v", err)
	}
	tlstest.Carry(t, s, c)
	if _, _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatalf("Read: %v", err)
	}
	if tlstest.SessionOf(t, c) == nil {
		t.Error("none after the first Read")
	}
	tlstest.Sentence(t, openssl.ErrSessionNotFound, "after its first Read")
}

func TestSessionSetIDContextIsOnACopy(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, client.SetSessionIDContext([]byte("mine")))
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			sess, other := tlstest.SessionOf(t, c), tlstest.SessionOf(t, c)
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
			if got := tlstest.SessionOf(t, c).IDContext(); string(got) != "mine" {
				t.Errorf("a new Session of the connection is within %q", got)
			}
		})
	}
}

func TestParseSessionRefuses(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client := tlstest.NewClient(t)
		tlstest.SetVersion(t, client, v.ID)
		der, err := tlstest.Connect(t, tlstest.Pair{Client: client, Server: tlstest.NewMutualServer(t, "tenant")}).Session.MarshalBinary()
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
		refuse("its PEM", tlstest.CertPEM(der))
		_, err = openssl.ParseSession(append(bytes.Clone(der), 0))
		tlstest.Sentence(t, err, "not one session", "d2i_SSL_SESSION")
		if _, ok := tlstest.AsType[*openssl.Error](err); !ok {
			t.Errorf("%T", err)
		}
		// No single flipped bit may crash; many are still sessions.
		for i := range der {
			flipped := bytes.Clone(der)
			flipped[i] ^= 0x80
			if sess, err := openssl.ParseSession(flipped); err == nil {
				if _, err := sess.MarshalBinary(); err != nil && !strings.HasPrefix(err.Error(), "openssl: ") {
					t.Errorf("MarshalBinary: %v", err)
				}
				sess.Close()
			}
		}
	})
}

// A context of 33 bytes cannot be smuggled in by DER.
func TestParseSessionLongContext(t *testing.T) {
	client := tlstest.NewClient(t)
	must(t, client.SetSessionIDContext(bytes.Repeat([]byte{'x'}, 32)))
	der, err := tlstest.Connect(t, tlstest.Pair{Client: client, Server: tlstest.NewServer(t)}).Session.MarshalBinary()
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
	tlstest.Sentence(t, err, "not one session")
}

// ---- what an end does to the session ----

func TestCloseAndTheSession(t *testing.T) {
	test := func(t *testing.T, v tlstest.Version, mechanism mechanism) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		must(t, server.SetOptions(mechanism.options))
		resumes := func(t *testing.T, sess *openssl.Session) bool {
			return tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: sess}).Server.DidResume
		}
		connect := func(t *testing.T) (c, s *openssl.SSL, sess *openssl.Session) {
			c, s = tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			return c, s, tlstest.SessionOf(t, c)
		}
		bye := func(m *openssl.SSL) {
			if _, err := m.Shutdown(); err != nil {
				t.Fatalf("Shutdown: %v", err)
			}
		}
		t.Run("both say goodbye", func(t *testing.T) {
			c, s, sess := connect(t)
			tlstest.Goodbye(t, c, s)
			if !sess.Resumable() || !resumes(t, sess) {
				t.Error("invalidated")
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
				t.Error("what was written down before is invalidated, too")
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
			e := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server})
			if e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("handshake: client %v, server %v", e.ClientErr, e.ServerErr)
			}
			if !e.Session.Resumable() || !resumes(t, e.Session) {
				t.Error("invalidated")
			}
		})
		t.Run("Conns, the server first", func(t *testing.T) {
			c, s := tlstest.Conns(t, client, server)
			clientErr, serverErr := tlstest.Both(func() error {
				err := c.Handshake()
				if _, rerr := c.Read(make([]byte, 1)); rerr == nil {
					t.Error("read something")
				}
				return err
			}, func() error { return errors.Join(s.Handshake(), s.Close()) })
			if clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			sess := tlstest.SessionOf(t, c)
			must(t, c.Close())
			if sess == nil || !sess.Resumable() || !resumes(t, sess) {
				t.Error("invalidated")
			}
		})
		t.Run("a failed connection invalidates", func(t *testing.T) {
			c, s, sess := connect(t)
			if _, err := c.Feed([]byte{23, 3, 3, 0, 40}); err != nil {
				t.Fatalf("Feed: %v", err)
			}
			if _, err := c.Feed(make([]byte, 40)); err != nil {
				t.Fatalf("Feed: %v", err)
			}
			if _, _, err := c.Read(make([]byte, 10)); err == nil {
				t.Fatal("40 zeros were read")
			}
			if sess.Resumable() {
				t.Error("still resumable")
			}
			must(t, s.Close())
		})
	}
	for _, v := range tlstest.Versions {
		for _, mechanism := range mechanisms {
			t.Run(v.Name+"/"+mechanism.name, func(t *testing.T) { test(t, v, mechanism) })
		}
	}
}

// The version of a session is not negotiable: another one means a full handshake.
func TestSessionOfAnotherVersion(t *testing.T) {
	server := tlstest.NewServer(t)
	for i, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, other := tlstest.NewClient(t), tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			tlstest.SetVersion(t, other, tlstest.Versions[1-i].ID)
			sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session
			e := tlstest.Connect(t, tlstest.Pair{Client: other, Server: server, Offer: sess})
			if e.Client.DidResume || e.Server.DidResume || e.Server.Version != tlstest.Versions[1-i].ID {
				t.Errorf("%+v", e.Server)
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
	server, byID, asking := tlstest.NewMutualServer(t, "payroll"), tlstest.NewClient(t), tlstest.NewClient(t)
	for _, c := range []*openssl.Ctx{server, byID, asking} {
		tlstest.SetVersion(t, c, tls.VersionTLS12)
	}
	must(t, byID.SetOptions(openssl.OptionNoTicket))
	c, s := tlstest.Machines(t, byID, server)
	tlstest.MustShake(t, c, s)
	cached, sess := derOf(t, s), tlstest.SessionOf(t, c)
	tlstest.Goodbye(t, c, s)

	c, s = tlstest.Machines(t, asking, server)
	must(t, c.SetSession(sess))
	tlstest.MustShake(t, c, s)
	if got := s.ConnectionState().Resumption; got != openssl.ResumptionResumed {
		t.Fatalf("an id with an empty ticket extension: %v, want %v", got, openssl.ResumptionResumed)
	}
	if got := derOf(t, s); !bytes.Equal(got, cached) {
		t.Errorf("the cached session was changed for a ticket:\n got %x\nwant %x", got, cached)
	}
	withTicket := tlstest.SessionOf(t, c)
	tlstest.Goodbye(t, c, s)
	if tlstest.TicketOf(t, withTicket) == nil {
		t.Fatal("the client has got no ticket")
	}
	tlstest.MustOffer(t, asking, server, withTicket, openssl.ResumptionResumed)
	tlstest.MustOffer(t, byID, server, sess, openssl.ResumptionResumed)
}

// The same from many connections at once, beside a cache that is flushed: what
// changed a session that others see would free it twice.
func TestCachedSessionFromManyConnections(t *testing.T) {
	server, byID, asking := tlstest.NewMutualServer(t, "payroll"), tlstest.NewClient(t), tlstest.NewClient(t)
	must(t, server.SetMaxAuthAge(time.Hour))
	for _, c := range []*openssl.Ctx{server, byID, asking} {
		tlstest.SetVersion(t, c, tls.VersionTLS12)
	}
	must(t, byID.SetOptions(openssl.OptionNoTicket))
	sess := tlstest.MustOffer(t, byID, server, nil, openssl.ResumptionNotOffered)
	var wg sync.WaitGroup
	for _, client := range []*openssl.Ctx{asking, byID, asking, byID} {
		own := copyOf(t, sess)
		wg.Go(func() {
			for range 100 {
				c, err := openssl.NewSSL(client)
				if err != nil {
					t.Errorf("NewSSL: %v", err)
					return
				}
				s, err := openssl.NewSSL(server)
				if err != nil {
					t.Errorf("NewSSL: %v", err)
					return
				}
				err = errors.Join(c.SetServerName("server.test"), c.SetSession(own))
				clientErr, serverErr := tlstest.Shake(t, c, s)
				if err != nil || clientErr != nil || serverErr != nil || !s.ConnectionState().DidResume {
					t.Errorf("resumption: %v, client %v, server %v, resumed %v", err, clientErr, serverErr, s.ConnectionState().DidResume)
				}
				tlstest.Goodbye(t, c, s)
				if err := server.FlushSessions(time.Now()); err != nil {
					t.Errorf("FlushSessions: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// A connection offers a copy of a Session. What it does to the copy's resumability
// is known of the Session and of its clones, as if it were one.
func TestOfferedSessionIsInvalidatedWithItsClones(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		clone, err := sess.Clone()
		must(t, err)
		defer clone.Close()
		moved, err := sess.Clone()
		must(t, err)
		defer moved.Close()
		must(t, moved.SetIDContext([]byte("elsewhere"))) // no clone any more

		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSession(sess))
		for range 4 { // without reading a TLS 1.3 ticket, which would take the session's place
			c.Handshake()
			tlstest.Carry(t, c, s)
			if w, err := s.Handshake(); err != nil || w == openssl.WantNothing {
				break
			}
			tlstest.Carry(t, s, c)
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
		c, s = tlstest.Machines(t, client, server)
		must(t, c.SetSession(clone))
		tlstest.MustShake(t, c, s)
		if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotOffered {
			t.Errorf("an invalidated session is offered: %v", got)
		}
	})
}

// One Session may be offered by many connections at the same time.
func TestOneSessionOfferedAtOnce(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		before, err := sess.MarshalBinary()
		must(t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					c, err := openssl.NewSSL(client)
					if err != nil {
						t.Errorf("NewSSL: %v", err)
						return
					}
					s, err := openssl.NewSSL(server)
					if err != nil {
						t.Errorf("NewSSL: %v", err)
						return
					}
					err = errors.Join(c.SetServerName("server.test"), c.SetSession(sess))
					clientErr, serverErr := tlstest.Shake(t, c, s)
					if err != nil || clientErr != nil || serverErr != nil || !s.ConnectionState().DidResume {
						t.Errorf("resumption: %v, client %v, server %v, resumed %v", err, clientErr, serverErr, s.ConnectionState().DidResume)
					}
					tlstest.Goodbye(t, c, s)
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

// libssl writes to a connection's session until the handshake is done: it is not
// returned before.
func TestSessionBeforeTheHandshakeIsDone(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		must(t, server.SetOptions(openssl.OptionNoTicket)) // the server's session has an id from the first flight on
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		for _, offer := range []*openssl.Session{nil, sess} {
			c, s := tlstest.Machines(t, client, server)
			if offer != nil {
				must(t, c.SetSession(offer))
			}
			for range 10 {
				cw, cerr := c.Handshake()
				tlstest.Carry(t, c, s)
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
				tlstest.Carry(t, s, c)
				if cw == openssl.WantNothing && sw == openssl.WantNothing {
					break
				}
			}
			must(t, tlstest.SessionOf(t, s).Close())
		}
	})
}

// A session's DER may hold any numbers. Those that no Duration or Time can hold
// neither wrap around nor make a session young.
func TestSessionTimesOutOfRange(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		const most = 1<<63 - 1
		for _, x := range []int64{0, 1, 1 << 31, 1 << 33, most / 1_000_000_000, most/1_000_000_000 + 1, 1 << 62, most} {
			if timeout := tlstest.WithField(t, sess, tlstest.FieldTimeout, x).Timeout(); timeout < 0 {
				t.Errorf("a timeout of %d seconds is %v", x, timeout)
			}
			cache := openssl.NewLRUClientSessionCache(1)
			old := tlstest.WithField(t, tlstest.WithField(t, sess, tlstest.FieldTime, 1), tlstest.FieldTimeout, x)
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

// sessionsOfAllKinds is the DER of a session of each protocol and way back.
func sessionsOfAllKinds(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, v := range tlstest.Versions {
		for _, way := range waysBack {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			if way.stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			der, err := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered).MarshalBinary()
			must(t, err)
			all[v.Name+"/"+way.name] = der
		}
	}
	return all
}

// refused fails the test if a session was made of der, in either form, and says
// whether the error is whole.
func refused(t testing.TB, what string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der})
	for form, parse := range map[string]func() (*openssl.Session, error){
		"DER": func() (*openssl.Session, error) { return openssl.ParseSession(der) },
		"PEM": func() (*openssl.Session, error) { return openssl.ParseSessionPEM(text) },
	} {
		sess, err := parse()
		if err == nil {
			t.Errorf("%s, %s: %d bytes were taken", what, form, len(der))
			sess.Close()
			continue
		}
		opensslErr := (*openssl.Error)(nil)
		if sess != nil || !errors.As(err, &opensslErr) || opensslErr.Op == "" || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s, %s: %v, %q", what, form, sess, err)
		}
	}
}

func TestParseSessionTruncated(t *testing.T) {
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for n := range len(der) {
				refused(t, "cut", der[:n:n])
			}
			refused(t, "nil", nil)
		})
	}
}

func TestParseSessionTrailing(t *testing.T) {
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			refused(t, "a zero behind", append(slices.Clone(der), 0))
			refused(t, "twice", append(slices.Clone(der), der...))
			refused(t, "a mebibyte behind", append(slices.Clone(der), make([]byte, 1<<20)...))
		})
	}
}

// Every bit of a session is flipped once. What is taken all the same is a
// session: it can be written, and read again.
func TestParseSessionCorrupt(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it flips each bit of each kind of session")
	}
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			bad := slices.Clone(der)
			for bit := range 8 * len(der) {
				bad[bit/8] ^= 1 << (bit % 8)
				checkParsed(t, bad)
				bad[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

// checkParsed parses what may be a session and uses all that comes of it.
func checkParsed(t testing.TB, der []byte) {
	t.Helper()
	sess, err := openssl.ParseSession(der)
	if err != nil {
		if sess != nil {
			t.Fatalf("a session and an error: %v", err)
		}
		return
	}
	defer sess.Close()
	if len(sess.ID()) > 32 || len(sess.IDContext()) > 32 {
		t.Fatalf("an id of %d bytes, a context of %d", len(sess.ID()), len(sess.IDContext()))
	}
	sess.Time()
	sess.Timeout()
	sess.Version()
	sess.Resumable()
	again, err := sess.MarshalBinary()
	if err != nil {
		return // what cannot be written is an error, and nothing worse
	}
	back, err := openssl.ParseSession(again)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%x", err, again)
	}
	defer back.Close()
	if !bytes.Equal(back.ID(), sess.ID()) || !bytes.Equal(back.IDContext(), sess.IDContext()) || back.Version() != sess.Version() {
		t.Fatalf("another session came back:\n%x\n%x", der, again)
	}
}

// oversized takes a session's DER apart and puts a field of n bytes in it.
func oversized(t testing.TB, der []byte, field, n int) []byte {
	t.Helper()
	var fields []asn1.RawValue
	_, err := asn1.Unmarshal(der, &fields)
	must(t, err)
	fields[field] = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: make([]byte, n)}
	big, err := asn1.Marshal(fields)
	must(t, err)
	return big
}

func TestParseSessionOversized(t *testing.T) {
	const sessionID, masterKey = 3, 4 // of ssl_asn1.c's SSL_SESSION_ASN1
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{33, 256, 1 << 16, 1 << 20} {
				big := oversized(t, der, sessionID, n)
				// libssl cuts ids of some versions; what it takes has 32 bytes at most.
				checkParsed(t, big)
				checkParsed(t, oversized(t, der, masterKey, n))
			}
			refused(t, "zeros", make([]byte, 1<<20))
			refused(t, "a length of 2^31", []byte{0x30, 0x84, 0x80, 0, 0, 0, 2, 1, 1})
			refused(t, "a length of 2^64-1", []byte{0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 1})
			refused(t, "no length", []byte{0x30, 0x80, 0, 0})
		})
	}
}

// A session of another protocol, or of a later form of its DER, is not one of ours.
func TestParseSessionForeign(t *testing.T) {
	const form, protocol = 0, 1
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for what, test := range map[string]struct {
				field  int
				number int64
			}{
				"form 0":   {form, 0},
				"form 2":   {form, 2},
				"form -1":  {form, -1},
				"SSLv2":    {protocol, 2},
				"TLS 9":    {protocol, 0x0909},
				"negative": {protocol, -1},
			} {
				var fields []asn1.RawValue
				_, err := asn1.Unmarshal(der, &fields)
				must(t, err)
				number, err := asn1.Marshal(test.number)
				must(t, err)
				fields[test.field] = asn1.RawValue{FullBytes: number}
				foreign, err := asn1.Marshal(fields)
				must(t, err)
				refused(t, what, foreign)
			}
		})
	}
}

// A session of DTLS can be read, which libssl speaks, and is not offered in TLS.
func TestParseSessionDTLS(t *testing.T) {
	const protocol, dtls12 = 1, 0xfefd
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			fields := tlstest.SessionFields(t, tlstest.SessionDER(t, tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)))
			number, err := asn1.Marshal(dtls12)
			must(t, err)
			fields[protocol] = asn1.RawValue{FullBytes: number}
			der, err := asn1.Marshal(fields)
			must(t, err)
			sess, err := openssl.ParseSession(der)
			must(t, err)
			defer sess.Close()
			if got := sess.Version(); got != dtls12 {
				t.Fatalf("version %#x", got)
			}
			c, s := tlstest.Machines(t, client, server)
			if err := c.SetSession(sess); err == nil {
				tlstest.MustShake(t, c, s)
				if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotOffered {
					t.Fatalf("resumption: %v", got)
				}
				tlstest.Goodbye(t, c, s)
			}
		})
	}
}

func TestParseSessionPEM(t *testing.T) {
	ca := tlstest.Certs(t)
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			good := pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der})
			// What stands around the block is ignored, as in any PEM.
			around := slices.Concat([]byte("a session:\n"), ca.PEM, good, []byte("and more\n"))
			for what, text := range map[string][]byte{"alone": good, "among other things": around} {
				sess, err := openssl.ParseSessionPEM(text)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				back, err := sess.MarshalBinary()
				must(t, err)
				must(t, sess.Close())
				if !bytes.Equal(back, der) {
					t.Errorf("%s: another session", what)
				}
			}
			for what, text := range map[string][]byte{
				"nothing":         nil,
				"text":            []byte("a session"),
				"DER":             der,
				"a certificate":   ca.PEM,
				"another name":    pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION", Bytes: der}),
				"no end":          good[:len(good)-40],
				"no base64":       bytes.Replace(good, []byte("\nM"), []byte("\n*"), 1),
				"another's end":   bytes.Replace(good, []byte("-----END SSL"), []byte("-----END TLS"), 1),
				"an empty block":  pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS"}),
				"a password's":    sealedPEM(der),
				"a huge line":     []byte("-----BEGIN SSL SESSION PARAMETERS-----\n" + strings.Repeat("A", 1<<20)),
				"NUL in the name": bytes.Replace(good, []byte("SSL SESSION"), []byte("SSL\x00SESSION"), 1),
			} {
				if sess, err := openssl.ParseSessionPEM(text); err == nil {
					sess.Close()
					t.Errorf("%s: taken", what)
				}
			}
			for n := range good {
				sess, err := openssl.ParseSessionPEM(good[:n])
				if err != nil {
					continue
				}
				sess.Close()
				if n < len(good)-1 { // the last line's end may be missing
					t.Fatalf("cut at %d of %d: taken", n, len(good))
				}
			}
		})
	}
}

// sealedPEM claims to need a password, for which a terminal would be asked.
func sealedPEM(der []byte) []byte {
	sealed := slices.Clone(der)
	sealed = append(sealed, make([]byte, aes.BlockSize-len(sealed)%aes.BlockSize)...)
	return pem.EncodeToMemory(&pem.Block{
		Type:    "SSL SESSION PARAMETERS",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC," + hex.EncodeToString(make([]byte, 16))},
		Bytes:   sealed,
	})
}

// A server that is answered with rubbish by its store goes on without.
func TestAnswerSessionRubbish(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, home, server := tlstest.NewClient(t), newStateful(t), newStateful(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetSessionStore(noStore{}))
			sess := tlstest.MustOffer(t, client, home, nil, openssl.ResumptionNotOffered)
			c, s := tlstest.Machines(t, client, server)
			must(t, c.SetSession(sess))
			if _, err := c.Handshake(); err != nil {
				t.Fatalf("Handshake: %v", err)
			}
			tlstest.Carry(t, c, s)
			if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
				t.Fatalf("Handshake: w %v, err %v", w, err)
			}
			der, err := sess.MarshalBinary()
			must(t, err)
			for _, rubbish := range [][]byte{nil, {}, {0}, der[:len(der)-1], append(slices.Clone(der), 0), make([]byte, 1<<20)} {
				if err := s.AnswerSession(rubbish); err == nil {
					t.Errorf("%d bytes of rubbish were taken", len(rubbish))
				}
			}
			tlstest.MustShake(t, c, s)
			if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotFound {
				t.Errorf("resumption: %v", got)
			}
			tlstest.Goodbye(t, c, s)
		})
	}
}

// A session by id is not resumed after a connection of it has ended without close_notify, as
// with libssl from 3.0 on, unless such an end is taken for one.
func TestCutEndsTheSession(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, ignore := range []bool{false, true} {
			if ignore && openssl.OptionIgnoreUnexpectedEOF == 0 {
				continue // 1.1.1
			}
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			end := io.ErrUnexpectedEOF
			if ignore {
				must(t, server.SetOptions(openssl.OptionIgnoreUnexpectedEOF))
				end = io.EOF
			}
			c, s := tlstest.Conns(t, client, server)
			tlstest.MustHandshake(t, c, s)
			speak(t, c, s)
			sess, err := c.Session()
			must(t, err)
			defer sess.Close()
			must(t, c.NetConn().Close())
			if _, err := s.Read(make([]byte, 1)); err != end {
				t.Fatalf("Read: %v, want %v", err, end)
			}
			must(t, s.Close())
			want := openssl.ResumptionResumed
			if !ignore && tlstest.IsOpenSSL3() {
				want = openssl.ResumptionNotFound
			}
			tlstest.MustOffer(t, client, server, sess, want)
		}
	})
}

// ---- fuzzing ----

// leaksNothing fails if what runs in between leaves a C object behind.
func leaksNothing(t testing.TB) (done func()) {
	before := libssl.LiveHandles()
	return func() {
		t.Helper()
		if after := libssl.LiveHandles(); after != before {
			t.Fatalf("%d C objects are left", after-before)
		}
	}
}

// FuzzParseSession reads bytes as a session, in DER and in PEM.
func FuzzParseSession(f *testing.F) {
	for _, der := range sessionsOfAllKinds(f) {
		f.Add(der)
		f.Add(der[:len(der)/2])
		f.Add(pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der}))
		f.Add(sealedPEM(der))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer leaksNothing(t)()
		checkParsed(t, b)
		if sess, err := openssl.ParseSession(b); err == nil {
			sess.Close()
			if sess, err := openssl.ParseSession(append(slices.Clone(b), 0)); err == nil {
				sess.Close()
				t.Fatalf("a byte behind a session is taken for a part of it:\n%x", b)
			}
		}
		if sess, err := openssl.ParseSessionPEM(b); err == nil {
			der, err := sess.MarshalBinary()
			sess.Close()
			if err == nil {
				checkParsed(t, der)
			}
		}
	})
}
