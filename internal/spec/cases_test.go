//go:build cgo

package spec_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/spec"
	"github.com/sidctx/openssl/internal/spec/residue"
	"github.com/sidctx/openssl/internal/tlstest"
)

// ---- what can be set ----

func specLengthOfCtx(t *testing.T, c spec.Case) {
	server := tlstest.NewServer(t)
	for n := range 33 {
		value := bytes.Repeat([]byte{byte(n)}, n)
		must(t, server.SetSessionIDContext(value))
		if got := server.SessionIDContext(); !bytes.Equal(got, value) {
			t.Fatalf("%d bytes became %q", n, got)
		}
	}
	e := refusedTooLong(t, server.SetSessionIDContext(make([]byte, 33)))
	if e.Op != specWant(t, c, "function") || e.Code != 0 || e.Stack[0].Library != "SSL routines" {
		t.Fatalf("%+v", e)
	}
	if f := e.Stack[0].Function; f != "" && f != specWant(t, c, "function") {
		t.Fatalf("refused by %q", f)
	}
	if got := server.SessionIDContext(); !bytes.Equal(got, bytes.Repeat([]byte{32}, 32)) {
		t.Fatalf("after the refusal: %q", got)
	}
}

func specLengthOfConnection(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		m := specConnect(t, k.site(t, "A", "none"), k.client(t), spec.Offer{Server: func(s *openssl.SSL) error {
			must(t, s.SetSessionIDContext([]byte("own")))
			if e := refusedTooLong(t, s.SetSessionIDContext(make([]byte, 33))); e.Op != "SSL_set_session_id_context" {
				t.Errorf("refused by %s", e.Op)
			}
			return nil
		}}, "f")
		carries(t, m, "own")
	})
}

func specLengthOfSession(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		sess := firstSession(t, k.site(t, "A", "none"), k.client(t))
		must(t, sess.SetIDContext([]byte("mine")))
		if e := refusedTooLong(t, sess.SetIDContext(make([]byte, 33))); e.Op != "SSL_SESSION_set1_id_context" {
			t.Errorf("refused by %s", e.Op)
		}
		if got := sess.IDContext(); string(got) != "mine" {
			t.Fatalf("after the refusal: %q", got)
		}
	})
}

func specLengthsBeyondInt(t *testing.T, _ spec.Case) {
	lengths := []uint64{64, 255, 65536}
	if strconv.IntSize == 64 {
		lengths = append(lengths, 1<<32, 1<<32+5)
	}
	k := specKind{"TLS1.2", spec.Ticket}
	server := k.ctx(t, "A", "none")
	sess := firstSession(t, k.site(t, "A", "none"), k.client(t))
	must(t, sess.SetIDContext([]byte("A")))
	ssl, err := openssl.NewSSL(k.ctx(t, "A", "none"))
	must(t, err)
	defer ssl.Close()
	for _, n := range lengths {
		// Pages that are not touched cost nothing; what the Go heap hands out is cleared.
		value, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		must(t, err)
		refusedTooLong(t, server.SetSessionIDContext(value))
		refusedTooLong(t, ssl.SetSessionIDContext(value))
		refusedTooLong(t, sess.SetIDContext(value))
		must(t, syscall.Munmap(value))
	}
	for _, got := range [][]byte{server.SessionIDContext(), ssl.SessionIDContext(), sess.IDContext()} {
		if string(got) != "A" {
			t.Errorf("after the refusals: %q", got)
		}
	}
}

func specNilAndEmpty(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		for _, none := range [][]byte{nil, {}} {
			site := k.site(t, "A", "none")
			must(t, site.Ctx.SetSessionIDContext(none))
			carries(t, specConnect(t, site, k.client(t), spec.Offer{}, "f"), "unset")
			carries(t, specConnect(t, k.site(t, "A", "none"), k.client(t), spec.Offer{
				Server: func(s *openssl.SSL) error { return s.SetSessionIDContext(none) },
			}, "f"), "unset")
		}
	})
}

func specExactBytes(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		for _, pair := range []struct{ first, second, want string }{
			{"a\x00b", "a\x00b", "R-"}, {"a\x00b", "a\x00c", "f"}, {"a", "a\x00", "f"}, {"\xff\xfe", "\xff\xfe", "R-"},
		} {
			site, client := k.site(t, pair.first, "none"), k.client(t)
			specConnect(t, site, client, spec.Offer{Session: firstSession(t, site, client), Server: serverWithin(pair.second)}, pair.want)
		}
	})
}

func specCallersSlice(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		value := []byte("value")
		site := k.site(t, "A", "none")
		must(t, site.Ctx.SetSessionIDContext(value))
		copy(value, "other")
		carries(t, specConnect(t, site, k.client(t), spec.Offer{}, "f"), "value")
		site.Ctx.SessionIDContext()[0] = '!'
		carries(t, specConnect(t, site, k.client(t), spec.Offer{}, "f"), "value")
	})
}

func specForeignErrors(t *testing.T, _ spec.Case) {
	server := tlstest.NewServer(t)
	for range 200 { // a goroutine may change threads in between, and then meets nothing
		residue.Leave()
		must(t, server.SetSessionIDContext([]byte("fine")))
		residue.Leave()
		refusedTooLong(t, server.SetSessionIDContext(make([]byte, 33)))
	}
	stayed := 0
	for range 200 {
		must(t, server.SetSessionIDContext([]byte("fine")))
		if residue.Left() {
			stayed++
		}
	}
	if stayed > 0 {
		t.Errorf("%d of 200 successes left something in the queue", stayed)
	}
}

func specAfterAnError(t *testing.T, _ spec.Case) {
	server := tlstest.NewServer(t)
	for range 100 {
		refusedTooLong(t, server.SetSessionIDContext(make([]byte, 33)))
		must(t, server.SetCipherList("ECDHE+AESGCM"))
		must(t, server.SetSessionIDContext([]byte("fine")))
	}
}

func specUseAfterClose(t *testing.T, _ spec.Case) {
	k := specKind{"TLS1.3", spec.Ticket}
	site := k.site(t, "A", "none")
	sess := firstSession(t, site, k.client(t))
	ssl, err := openssl.NewSSL(site.Ctx)
	must(t, err)
	must(t, ssl.Close())
	must(t, sess.Close())
	must(t, site.Ctx.Close())
	_, newErr := openssl.NewSSL(site.Ctx)
	for what, err := range map[string]error{
		"Ctx.SetSessionIDContext": site.Ctx.SetSessionIDContext([]byte("B")),
		"NewSSL":                  newErr,
		"SSL.SetSessionIDContext": ssl.SetSessionIDContext([]byte("B")),
		"Session.SetIDContext":    sess.SetIDContext([]byte("B")),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	if len(site.Ctx.SessionIDContext())+len(ssl.SessionIDContext())+len(sess.IDContext()) != 0 {
		t.Error("a closed object has a context")
	}
}

func specThousandGoroutines(t *testing.T, _ spec.Case) {
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			server, err := openssl.NewServerCtx()
			if err != nil {
				t.Errorf("NewServerCtx: %v", err)
				return
			}
			defer server.Close()
			for range 5 {
				if err := server.SetSessionIDContext(make([]byte, 33)); !errors.Is(err, openssl.ErrSessionIDContextTooLong) {
					t.Errorf("33 bytes: %v", err)
				}
				if err := server.SetSessionIDContext([]byte("fine")); err != nil {
					t.Errorf("4 bytes: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// ---- inheritance ----

func specSetBefore(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		carries(t, specConnect(t, k.site(t, "A", "none"), k.client(t), spec.Offer{}, "f"), "A")
	})
}

func specSetAfter(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		site := k.site(t, "A", "none")
		m := specConnect(t, site, k.client(t), spec.Offer{Server: func(*openssl.SSL) error {
			if err := site.Ctx.SetSessionIDContext([]byte("late")); !errors.Is(err, openssl.ErrCtxInUse) {
				t.Errorf("a context after the first connection: %v", err)
			}
			return nil
		}}, "f")
		carries(t, m, "A")
	})
}

// inherits shows what a connection made from A carries after what is done to it.
func inherits(want string, do func(t *testing.T, k specKind, s *openssl.SSL, a, b *openssl.Ctx)) func(*testing.T, spec.Case) {
	return func(t *testing.T, _ spec.Case) {
		eachKind(t, notExternal, func(t *testing.T, k specKind) {
			site := k.site(t, "A", "none")
			b := k.joined(t, site, "B", "none")
			m := specConnect(t, site, k.client(t), spec.Offer{Server: func(s *openssl.SSL) error {
				do(t, k, s, site.Ctx, b)
				if got := s.SessionIDContext(); !bytes.Equal(got, specContext(want)) {
					t.Errorf("the library says %q, want %s", got, want)
				}
				return nil
			}}, "f")
			carries(t, m, want)
		})
	}
}

var (
	specOverride = inherits("own", func(t *testing.T, _ specKind, s *openssl.SSL, _, _ *openssl.Ctx) {
		must(t, s.SetSessionIDContext([]byte("own")))
	})
	specOverrideEqual = inherits("B", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) {
		must(t, s.SetSessionIDContext([]byte("A")))
		must(t, s.SetCtx(b))
	})
	specOverrideEmpty = inherits("unset", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) {
		must(t, s.SetSessionIDContext(nil))
		must(t, s.SetCtx(b))
	})
	specChangedThenSwitched = inherits("B", func(t *testing.T, _ specKind, s *openssl.SSL, a, b *openssl.Ctx) {
		if err := a.SetSessionIDContext([]byte("late")); !errors.Is(err, openssl.ErrCtxInUse) {
			t.Errorf("a context after the first connection: %v", err)
		}
		must(t, s.SetCtx(b))
	})
)

func specSwitch(t *testing.T, c spec.Case) {
	t.Run("inherited", func(t *testing.T) {
		inherits("B", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) { must(t, s.SetCtx(b)) })(t, c)
	})
	t.Run("own", func(t *testing.T) {
		inherits("own", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) {
			must(t, s.SetSessionIDContext([]byte("own")))
			must(t, s.SetCtx(b))
		})(t, c)
	})
	t.Run("own_after", func(t *testing.T) {
		inherits("own", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) {
			must(t, s.SetCtx(b))
			must(t, s.SetSessionIDContext([]byte("own")))
		})(t, c)
	})
}

func specSwitchesInARow(t *testing.T, c spec.Case) {
	t.Run("B_nil", func(t *testing.T) {
		inherits("A", func(t *testing.T, _ specKind, s *openssl.SSL, _, b *openssl.Ctx) {
			must(t, s.SetCtx(b))
			must(t, s.SetCtx(nil))
		})(t, c)
	})
	t.Run("B_C", func(t *testing.T) {
		inherits("C", func(t *testing.T, k specKind, s *openssl.SSL, _, b *openssl.Ctx) {
			must(t, s.SetCtx(b))
			must(t, s.SetCtx(k.ctx(t, "C", "none")))
		})(t, c)
	})
	t.Run("none", func(t *testing.T) {
		inherits("unset", func(t *testing.T, k specKind, s *openssl.SSL, _, _ *openssl.Ctx) {
			must(t, s.SetCtx(k.ctx(t, "unset", "none")))
		})(t, c)
	})
}

// ---- encodings ----

func specEncodings(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		sess := firstSession(t, k.site(t, "A", "none"), k.client(t))
		twin, err := sess.Clone()
		must(t, err)
		defer twin.Close()
		value := []byte("all\x00of\xffit, up to 32 bytes long 1")
		must(t, sess.SetIDContext(value))
		if !bytes.Equal(sess.IDContext(), value) || len(twin.IDContext()) != 0 {
			t.Fatalf("%q, and the other holder of the session sees %q", sess.IDContext(), twin.IDContext())
		}

		der, err := sess.MarshalBinary()
		must(t, err)
		if got := tlstest.ParseSession(t, der).IDContext(); !bytes.Equal(got, value) {
			t.Errorf("through DER: %q", got)
		}
		text, err := sess.MarshalPEM()
		must(t, err)
		again, err := openssl.ParseSessionPEM(text)
		must(t, err)
		defer again.Close()
		if got := again.IDContext(); !bytes.Equal(got, value) {
			t.Errorf("through PEM: %q", got)
		}

		tagged := false
		for _, f := range tlstest.SessionFields(t, der) {
			tagged = tagged || f.FullBytes[0] == 0xa4 && bytes.HasSuffix(f.Bytes, value)
		}
		if !tagged {
			t.Errorf("no field [4] with the context in %x", der)
		}
		if got := tlstest.ParseSession(t, tlstest.EditSession(t, der, tlstest.FieldContext, tlstest.Octets(t, []byte("other")))).IDContext(); string(got) != "other" {
			t.Errorf("field [4] rewritten: %q", got)
		}
		if got := tlstest.ParseSession(t, tlstest.EditSession(t, der, tlstest.FieldContext, nil)).IDContext(); len(got) != 0 {
			t.Errorf("without field [4]: %q", got)
		}
		if _, err := openssl.ParseSession(tlstest.EditSession(t, der, tlstest.FieldContext, tlstest.Octets(t, make([]byte, 33)))); err == nil {
			t.Error("33 bytes in field [4] were taken")
		}
	})
}

// The sessions of testdata were written by MarshalBinary of a
// server without client certificates, within the context "tenant a", on 1.1.1w
// and on 3.0.19. Their connections are long gone.
func specOtherVersions(t *testing.T, c spec.Case) {
	for _, writer := range []struct{ name, folder string }{{"1.1.1", "openssl-1.1.1"}, {"3.0", "openssl-3.0"}} {
		for _, protocol := range spec.Protocols {
			t.Run(writer.name+"/"+protocol, func(t *testing.T) {
				der, err := os.ReadFile("testdata/" + writer.folder + "-" + strings.ToLower(protocol) + ".der")
				must(t, err)
				sess, err := openssl.ParseSession(der)
				switch text := specWant(t, c, "DER of "+writer.name); {
				case text == "refused" && err == nil:
					sess.Close()
					t.Fatal("it was read")
				case text == "refused":
					return
				}
				must(t, err)
				defer sess.Close()
				if got := sess.IDContext(); string(got) != "tenant a" {
					t.Errorf("context %q", got)
				}
				if got := sess.Version(); got != (specKind{protocol: protocol}).version() {
					t.Errorf("version %#x", got)
				}
			})
		}
	}
}

// ---- what the server decides ----

// offeredAgain is two connections: the second one offers what the first one left.
func offeredAgain(t *testing.T, k specKind, firstSid, secondSid, before, after string) (m *spec.Meeting, site *spec.Site, stats [2]openssl.Stats) {
	t.Helper()
	site = k.site(t, firstSid, before)
	client := k.client(t)
	o := spec.Offer{Session: firstSession(t, site, client), Server: serverWithin(secondSid)}
	if before != after {
		o.Server = switchTo(k.joined(t, site, secondSid, after))
	}
	stats[0] = site.Ctx.Stats()
	m = specConnect(t, site, client, o, decided(t, k, firstSid, secondSid, before, after))
	stats[1] = site.Ctx.Stats()
	return m, site, stats
}

// specDecision runs a pair of contexts against the tables.
func specDecision(firstSid, secondSid string, columns ...string) func(*testing.T, spec.Case) {
	return func(t *testing.T, _ spec.Case) {
		eachKind(t, nil, func(t *testing.T, k specKind) {
			for _, column := range columns {
				before, after, changes := strings.Cut(column, ">")
				if !changes {
					after = before
				}
				offeredAgain(t, k, firstSid, secondSid, before, after)
			}
		})
	}
}

func specSameContext(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		m, _, stats := offeredAgain(t, k, "A", "A", "none", "none")
		if n := stats[1].Hits - stats[0].Hits; n != 1 {
			t.Errorf("hits grew by %d", n)
		}
		if m.Server.Resumption != openssl.ResumptionResumed {
			t.Errorf("the server says %v", m.Server.Resumption)
		}
	})
}

func specOtherContext(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		m, _, stats := offeredAgain(t, k, "A", "B", "none", "none")
		if stats[0].Hits != stats[1].Hits || stats[0].Misses != stats[1].Misses {
			t.Errorf("hits %d then %d, misses %d then %d", stats[0].Hits, stats[1].Hits, stats[0].Misses, stats[1].Misses)
		}
		if m.Server.Resumption != openssl.ResumptionContextMismatch {
			t.Errorf("the server says %v", m.Server.Resumption)
		}
		carries(t, m, "B")
	})
}

func specRefusalDoesNotInvalidate(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		site, client := k.site(t, "A", "none"), k.client(t)
		sess := firstSession(t, site, client)
		specConnect(t, site, client, spec.Offer{Session: sess, Server: serverWithin("B")}, "f")
		specConnect(t, site, client, spec.Offer{Session: sess}, "R-")
	})
}

func specCertificateComesBack(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		for _, verify := range []string{"peer", "required"} {
			site, client := k.site(t, "A", verify), k.client(t)
			m, err := site.First(client, spec.Offer{})
			specChecked(t, m, err, "f")
			leaf := m.Server.PeerCertificates[0]

			stranger := k.joined(t, site, "A", verify)
			must(t, stranger.SetClientCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
			again := specConnect(t, site, client, spec.Offer{Session: m.Session, Server: switchTo(stranger)}, "R+")
			if !again.Server.PeerCertificates[0].Equal(leaf) || again.Server.VerifyError != nil {
				t.Errorf("%v, verified: %v", again.Server.PeerCertificates[0].Subject, again.Server.VerifyError)
			}
		}
	})
}

func specCertificatesNeedContext(t *testing.T, c spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		for _, verify := range []string{"peer", "required"} {
			_, site, stats := offeredAgain(t, k, "unset", "unset", verify, verify)
			switch k.mechanism {
			case spec.Stateful:
				specCount(t, c, "misses", stats[1].Misses-stats[0].Misses)
			case spec.External:
				if n := len(site.Store.Sessions()); n != 0 {
					t.Errorf("the store was given %d sessions", n)
				}
			}
			if stats[1].Number != 0 {
				t.Errorf("%d sessions in the cache", stats[1].Number)
			}
		}
	})
	t.Run("unsaid", func(t *testing.T) {
		server := tlstest.NewServer(t)
		must(t, server.SetVerify(openssl.VerifyPeer))
		if _, err := openssl.NewSSL(server); !errors.Is(err, openssl.ErrSessionIDContextUninitialized) {
			t.Errorf("a Ctx that was never given a context: %v", err)
		}
	})
}

func specWeakerVerify(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		m, site, _ := offeredAgain(t, k, "A", "A", "none", "required")
		if len(m.Server.PeerCertificates) != 0 || m.Server.VerifyError != nil {
			t.Errorf("%d certificates, verified: %v", len(m.Server.PeerCertificates), m.Server.VerifyError)
		}
		strict, client := k.joined(t, site, "for required", "required"), k.bareClient(t)
		specConnect(t, site, client, spec.Offer{Session: firstSession(t, site, client), Server: switchTo(strict)}, "N")
	})
}

// specPostHandshake: the library refuses the mode, and leaves the old one in force.
// What libssl does with it is for the C program.
func specPostHandshake(t *testing.T, _ spec.Case) {
	eachKind(t, isTLS13, func(t *testing.T, k specKind) {
		site, client := k.site(t, "A", "required"), k.client(t)
		if err := site.Ctx.SetVerify(openssl.VerifyPeer | libssl.SSL_VERIFY_POST_HANDSHAKE); err == nil {
			t.Error("verify peer, post handshake, is taken")
		}
		specConnect(t, site, client, spec.Offer{Session: firstSession(t, site, client)}, "R+")
	})
}

func specAfterTheFatalOne(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		site, client := k.site(t, "unset", "none"), k.client(t)
		must(t, site.Ctx.SetNumTickets(1))
		sess := firstSession(t, site, client)
		before := site.Ctx.Stats().Number
		specConnect(t, site, client, spec.Offer{Session: sess, Server: switchTo(k.joined(t, site, "unset", "peer"))}, "X")
		left := before
		if isTLS13(k) && k.mechanism == spec.Stateful {
			left--
		}
		if (before == 1) != (k.mechanism == spec.Stateful) || site.Ctx.Stats().Number != left {
			t.Errorf("%d sessions in the cache before and %d after", before, site.Ctx.Stats().Number)
		}
		if sess.Resumable() {
			t.Error("the client's session is not invalidated")
		}
		specConnect(t, site, client, spec.Offer{Session: sess}, "f")
	})
}

func specEveryDoor(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		texts := make(map[string]bool)
		for _, door := range []func(c *openssl.Conn) error{
			(*openssl.Conn).Handshake,
			func(c *openssl.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
			func(c *openssl.Conn) error { _, err := c.Write([]byte{0}); return err },
		} {
			site, client := k.site(t, "unset", "peer"), k.client(t)
			sess := firstSession(t, site, client)
			c, s := tlstest.Conns(t, client, site.Ctx)
			must(t, c.SetSession(sess))
			clientErr, serverErr := tlstest.Both(c.Handshake, func() error { return door(s) })
			e, ok := tlstest.AsType[*openssl.Error](serverErr)
			if !ok || !errors.Is(serverErr, openssl.ErrSessionIDContextUninitialized) {
				t.Fatalf("the server says %v", serverErr)
			}
			if alert, ok := tlstest.AsType[tls.AlertError](clientErr); !ok || alert != 80 {
				t.Errorf("the client says %v", clientErr)
			}
			const sslErrorSSL = 1
			if e.Code != sslErrorSSL || e.Op != "SSL_do_handshake" {
				t.Errorf("%s, code %d", e.Op, e.Code)
			}
			texts[serverErr.Error()] = true
		}
		if len(texts) != 1 {
			t.Errorf("three doors, %d errors: %v", len(texts), texts)
		}
	})
}

// ---- the client ----

func specClientSame(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		for _, own := range []string{"X", "unset"} {
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, client.SetSessionIDContext(specContext(own)))
			sess := firstSession(t, site, client)
			if !bytes.Equal(sess.IDContext(), specContext(own)) {
				t.Errorf("a client within %s made a session within %q", own, sess.IDContext())
			}
			specConnect(t, site, client, spec.Offer{Session: sess}, "R-")
		}
	})
}

var clientMoves = []struct{ first, second string }{{"X", "Y"}, {"unset", "Y"}, {"X", "unset"}}

func clientWithin(sidCtx string) func(*openssl.SSL) error {
	return func(s *openssl.SSL) error { return s.SetSessionIDContext(specContext(sidCtx)) }
}

// refusedOffer is a client within second that tries to offer a session of first.
func refusedOffer(t *testing.T, site *spec.Site, client *openssl.Ctx, second, server string, sess *openssl.Session) {
	t.Helper()
	m := specConnect(t, site, client, spec.Offer{
		Client: func(s *openssl.SSL) error {
			must(t, s.SetSessionIDContext(specContext(second)))
			if err := s.SetSession(sess); !errors.Is(err, openssl.ErrSessionContextMismatch) {
				t.Errorf("the session was taken: %v", err)
			}
			if s.Pending() != 0 {
				t.Error("something was sent already")
			}
			return nil
		},
		Server: serverWithin(server),
	}, "f")
	if got := m.Session.IDContext(); !bytes.Equal(got, specContext(second)) {
		t.Errorf("the new session is within %q, want %s", got, second)
	}
	if !sess.Resumable() {
		t.Error("the session that was not offered is invalidated")
	}
}

func specClientOther(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		for _, move := range clientMoves {
			site, client := k.site(t, "A", "none"), k.client(t)
			m := specConnect(t, site, client, spec.Offer{Client: clientWithin(move.first)}, "f")
			refusedOffer(t, site, client, move.second, "A", m.Session)

			specConnect(t, site, client, spec.Offer{Client: func(s *openssl.SSL) error {
				must(t, s.SetSessionIDContext(specContext(move.first)))
				must(t, s.SetSession(m.Session))
				if err := s.SetSessionIDContext(specContext(move.second)); !errors.Is(err, openssl.ErrSessionContextMismatch) {
					t.Errorf("a context after the session: %v", err)
				}
				return nil
			}}, "R-")
		}
	})
}

func specClientOtherDeclined(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		for _, move := range clientMoves {
			site, client := k.site(t, "A", "none"), k.client(t)
			m := specConnect(t, site, client, spec.Offer{Client: clientWithin(move.first)}, "f")
			refusedOffer(t, site, client, move.second, "B", m.Session)
		}
	})
}

func specClientsVerifyNothing(t *testing.T, c spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		itself := &tlstest.Authority{Key: tlstest.ECKey(t), Cert: &x509.Certificate{Subject: pkix.Name{CommonName: "server.test"}}}
		server, err := openssl.NewServerCtx()
		must(t, err)
		defer server.Close()
		must(t, server.UseCertificate(itself.Leaf(t, "server.test", itself.Key, nil)))
		tlstest.SetVersion(t, server, k.version())
		site, err := spec.NewSite(server, k.mechanism)
		must(t, err)

		sess := firstSession(t, site, k.bareClient(t))
		strict := k.client(t)
		m := specConnect(t, site, strict, spec.Offer{Session: sess, Name: "other.test"}, "R-")
		e, ok := tlstest.AsType[*openssl.VerifyError](m.Client.VerifyError)
		if !ok {
			t.Fatalf("verify result: %v", m.Client.VerifyError)
		}
		specCount(t, c, "verify result", int64(e.Code))

		m, err = site.Connect(strict, spec.Offer{Name: "other.test", Client: func(s *openssl.SSL) error {
			must(t, s.SetSessionIDContext([]byte("hash of a policy")))
			if err := s.SetSession(sess); !errors.Is(err, openssl.ErrSessionContextMismatch) {
				t.Errorf("the session of another policy: %v", err)
			}
			return nil
		}})
		must(t, err)
		defer m.Close()
		if _, ok := tlstest.AsType[*openssl.VerifyError](m.ClientErr); !ok {
			t.Errorf("without the session the client says %v", m.ClientErr)
		}
	})
}

// ---- the ClientHello ----

// helloAsker makes a server one that is asked; f is set before each connection.
type helloAsker struct {
	f func(*openssl.ClientHello) (*openssl.Ctx, error)
}

func (a *helloAsker) on(t testing.TB, c *openssl.Ctx) *helloAsker {
	t.Helper()
	must(t, c.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		if a.f == nil {
			return nil, nil
		}
		return a.f(hello)
	}))
	return a
}

func specInTheHello(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		for _, way := range []string{"SetSessionIDContext", "Ctx"} {
			site, client := k.site(t, "A", "none"), k.client(t)
			b := k.joined(t, site, "B", "none")
			asked := new(helloAsker).on(t, site.Ctx)
			a := specDial(t, site, client, spec.Offer{}, "f")
			carries(t, a, "A")
			asked.f = func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
				if way == "Ctx" {
					return b, nil
				}
				return nil, hello.SetSessionIDContext([]byte("B"))
			}
			m := specDial(t, site, client, spec.Offer{Session: a.Session}, "f")
			carries(t, m, "B")
			carries(t, specDial(t, site, client, spec.Offer{Session: m.Session}, "R-"), "B")
		}
	})
}

func specTooLateToSwitch(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		server, other := k.ctx(t, "A", "none"), k.ctx(t, "B", "none")
		c, s := tlstest.Machines(t, k.client(t), server)
		if _, err := c.Handshake(); err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		tlstest.Carry(t, c, s)
		if w, err := s.Handshake(); err != nil || w != openssl.WantInput {
			t.Fatalf("Handshake: w %v, err %v", w, err)
		}
		if err := s.SetCtx(other); !errors.Is(err, openssl.ErrTooLate) {
			t.Errorf("SetCtx after the ClientHello: %v", err)
		}
		if err := s.SetSessionIDContext([]byte("B")); !errors.Is(err, openssl.ErrTooLate) {
			t.Errorf("SetSessionIDContext after the ClientHello: %v", err)
		}
		tlstest.MustShake(t, c, s)
		tlstest.Goodbye(t, c, s)
	})
}

// askTwice has a client guess a group that the server does not take.
func askTwice(t testing.TB, client, server *openssl.Ctx) {
	t.Helper()
	must(t, client.SetGroups("X25519:P-256"))
	must(t, server.SetGroups("P-256"))
}

func specSuspendedOnce(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		site, client := k.site(t, "A", "none"), k.client(t)
		new(helloAsker).on(t, site.Ctx)
		if m := specConnect(t, site, client, spec.Offer{}, "f"); m.Hellos != 1 {
			t.Errorf("suspended %d times", m.Hellos)
		}
		if !isTLS13(k) {
			return
		}
		site, client = k.site(t, "A", "none"), k.client(t)
		askTwice(t, client, site.Ctx)
		new(helloAsker).on(t, site.Ctx)
		if m := specConnect(t, site, client, spec.Offer{}, "f"); m.Hellos != 2 {
			t.Errorf("with a HelloRetryRequest suspended %d times", m.Hellos)
		}
	})
}

// slowStore answers when no call waits any more, brokenStore never, and rubbish
// with what is no session.
type (
	slowStore   struct{ *spec.Store }
	brokenStore struct{ *spec.Store }
	rubbish     struct{ *spec.Store }
)

func (slowStore) Get(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (brokenStore) Get(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("the store is on fire")
}

func (rubbish) Get(context.Context, []byte) ([]byte, error) { return []byte("no session"), nil }

func specAsynchronousLookup(t *testing.T, _ spec.Case) {
	external := func(k specKind) bool { return !notExternal(k) }
	eachKind(t, external, func(t *testing.T, k specKind) {
		site, client := k.site(t, "A", "none"), k.client(t)
		sess := firstSession(t, site, client)
		specConnect(t, site, client, spec.Offer{Session: sess, Server: serverWithin("B")}, "f")
		specConnect(t, site, client, spec.Offer{Session: sess, Hello: func(s *openssl.SSL) error {
			if s.AnswerSession([]byte("no session")) == nil {
				t.Error("rubbish was taken")
			}
			return nil
		}}, "R-")
		specDial(t, site, client, spec.Offer{Session: sess}, "R-")

		for name, store := range map[string]openssl.SessionStore{
			"slow": slowStore{site.Store}, "broken": brokenStore{site.Store}, "rubbish": rubbish{site.Store},
		} {
			c := k.ctx(t, "A", "none")
			other, err := spec.NewSite(c, k.mechanism)
			must(t, err)
			must(t, c.SetSessionStore(store))
			if name != "slow" {
				must(t, c.SetSessionStoreTimeout(time.Minute)) // a busy machine is no slow store
			}
			t.Run(name, func(t *testing.T) { specDial(t, other, client, spec.Offer{Session: sess}, "f") })
		}
		if !isTLS13(k) {
			return
		}
		site, client = k.site(t, "A", "none"), k.client(t)
		askTwice(t, client, site.Ctx)
		m := specConnect(t, site, client, spec.Offer{Session: firstSession(t, site, client)}, "R-")
		if m.Hellos != 2 {
			t.Errorf("with a HelloRetryRequest the store is asked %d times", m.Hellos)
		}
	})
}

// ---- virtual hosts ----

// specVhosts is a default host and two that the ClientHello chooses.
type specVhosts struct {
	*spec.Site
	open, mtls *openssl.Ctx
}

func newSpecHosts(t *testing.T, k specKind, openSid, mtlsSid string) *specVhosts {
	t.Helper()
	h := &specVhosts{Site: k.site(t, "default", "none")}
	h.open, h.mtls = k.joined(t, h.Site, openSid, "none"), k.joined(t, h.Site, mtlsSid, "required")
	must(t, h.Ctx.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		switch hello.ServerName {
		case "open.test":
			return h.open, nil
		case "mtls.test":
			return h.mtls, nil
		}
		return nil, nil
	}))
	return h
}

// identified is a client with a certificate that does not verify servers.
func (k specKind) identified(t testing.TB) *openssl.Ctx {
	t.Helper()
	c := k.bareClient(t)
	tlstest.Certs(t)
	must(t, c.UseCertificate(tlstest.Fixtures.ClientCert, tlstest.Fixtures.ClientKey))
	return c
}

func specHosts(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		h, nobody, somebody := newSpecHosts(t, k, "open", "mtls"), k.bareClient(t), k.identified(t)
		open := specDial(t, h.Site, nobody, spec.Offer{Name: "open.test"}, "f")
		specDial(t, h.Site, nobody, spec.Offer{Name: "mtls.test", Session: open.Session}, "N")

		open = specDial(t, h.Site, nobody, spec.Offer{Name: "open.test"}, "f")
		specDial(t, h.Site, nobody, spec.Offer{Name: "open.test", Session: open.Session}, "R-")

		mtls := specDial(t, h.Site, somebody, spec.Offer{Name: "mtls.test"}, "f")
		m := specDial(t, h.Site, somebody, spec.Offer{Name: "mtls.test", Session: mtls.Session}, "R+")
		specDial(t, h.Site, somebody, spec.Offer{Name: "open.test", Session: m.Session}, "f")
	})
}

func specHostsOneContext(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		h, nobody := newSpecHosts(t, k, "one", "one"), k.bareClient(t)
		open := specDial(t, h.Site, nobody, spec.Offer{Name: "open.test"}, "f")
		m := specDial(t, h.Site, nobody, spec.Offer{Name: "mtls.test", Session: open.Session}, "R-")
		if len(m.Server.PeerCertificates) != 0 || m.Server.VerifyError != nil {
			t.Errorf("%d certificates, verified: %v", len(m.Server.PeerCertificates), m.Server.VerifyError)
		}
	})
}

func specHostsNoName(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		h, nobody := newSpecHosts(t, k, "open", "mtls"), k.bareClient(t)
		for _, name := range []string{"-", "unknown.test"} {
			m := specDial(t, h.Site, nobody, spec.Offer{Name: name}, "f")
			carries(t, m, "default")
			specDial(t, h.Site, nobody, spec.Offer{Name: "mtls.test", Session: m.Session}, "N")
		}
	})
}

func specVerifyModeOfHost(t *testing.T, _ spec.Case) {
	eachKind(t, nil, func(t *testing.T, k specKind) {
		site := k.site(t, "default", "none")
		mtls := k.joined(t, site, "mtls", "required")
		specConnect(t, site, k.bareClient(t), spec.Offer{Server: switchTo(mtls)}, "N")
		m := specConnect(t, site, k.identified(t), spec.Offer{Server: switchTo(mtls)}, "f")
		if len(m.Server.PeerCertificates) == 0 {
			t.Error("no certificate was asked for")
		}
	})
}

// ---- keys, caches, lifetimes ----

func specTicketKey(n byte) (k openssl.TicketKey) {
	k.Name[0], k.AES[0], k.HMAC[0] = n, n, n+100
	return k
}

func specSharedKeys(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		one, two, three, client := k.site(t, "A", "none"), k.site(t, "A", "none"), k.site(t, "B", "none"), k.client(t)
		for _, site := range []*spec.Site{one, two, three} {
			must(t, site.Ctx.SetTicketKeys(specTicketKey(1)))
		}
		sess := firstSession(t, one, client)
		specConnect(t, three, client, spec.Offer{Session: sess}, "f")
		specConnect(t, two, client, spec.Offer{Session: sess}, "R-")
	})
}

func specClosing(t *testing.T, _ spec.Case) {
	eachKind(t, notExternal, func(t *testing.T, k specKind) {
		for _, kill := range []bool{false, true} {
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, site.Ctx.SetNumTickets(1))
			m := specConnect(t, site, client, spec.Offer{Kill: kill}, "f")
			kept := int64(0)
			if k.mechanism == spec.Stateful && !kill {
				kept = 1
			}
			if got := site.Ctx.Stats().Number; got != kept {
				t.Errorf("killed %v: %d sessions in the cache, want %d", kill, got, kept)
			}
			if m.Session.Resumable() == kill {
				t.Errorf("killed %v: the client's session is resumable: %v", kill, m.Session.Resumable())
			}
		}
		site, client := k.site(t, "A", "none"), k.client(t)
		m := specDial(t, site, client, spec.Offer{}, "f")
		specDial(t, site, client, spec.Offer{Session: m.Session}, "R-")
	})
}

// recordsFed counts the records in what a machine has made, and feeds them to another.
func recordsFed(t testing.TB, from, to *openssl.SSL) (n int) {
	t.Helper()
	wire := make([]byte, from.Pending())
	wire = wire[:from.Drain(wire)]
	_, err := to.Feed(wire)
	must(t, err)
	for ; len(wire) > 0; n++ {
		wire = wire[5+int(wire[3])<<8+int(wire[4]):]
	}
	return n
}

func specTickets13(t *testing.T, c spec.Case) {
	eachKind(t, func(k specKind) bool { return isTLS13(k) && notExternal(k) }, func(t *testing.T, k specKind) {
		for _, tickets := range []int{0, 1, 2, 4} {
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, site.Ctx.SetNumTickets(tickets))
			sess := ticketsOf(t, site, client, nil, tickets)
			if tickets == 0 {
				continue
			}
			ticketsOf(t, site, client, sess, 1)
		}
	})
	t.Run("TLS1.3/none_after_resumption", func(t *testing.T) {
		// Two servers share their keys; the second one sends no tickets.
		k := specKind{"TLS1.3", spec.Ticket}
		one, two, client := k.site(t, "A", "none"), k.site(t, "A", "none"), k.client(t)
		must(t, one.Ctx.SetTicketKeys(specTicketKey(1)))
		must(t, two.Ctx.SetTicketKeys(specTicketKey(1)))
		must(t, two.Ctx.SetNumTickets(0))
		n, err := strconv.Atoi(specWant(t, c, "after a resumption, of 0"))
		must(t, err)
		ticketsOf(t, two, client, firstSession(t, one, client), n)
	})
	t.Run("TLS1.3/client_cache", func(t *testing.T) {
		for mode, second := range map[openssl.SessionCacheMode]string{openssl.SessionCacheOff: "R-", openssl.SessionCacheClient: "f"} {
			k := specKind{"TLS1.3", spec.Ticket}
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, client.SetSessionCacheMode(mode))
			sess := firstSession(t, site, client)
			specConnect(t, site, client, spec.Offer{Session: sess}, "R-")
			specConnect(t, site, client, spec.Offer{Session: sess}, second)
		}
	})
}

// ticketsOf does a handshake by hand and counts the tickets behind it.
func ticketsOf(t *testing.T, site *spec.Site, client *openssl.Ctx, offer *openssl.Session, want int) *openssl.Session {
	t.Helper()
	c, s := tlstest.Machines(t, client, site.Ctx)
	if offer != nil {
		must(t, c.SetSession(offer))
	}
	step := func(m *openssl.SSL, want openssl.Want) {
		t.Helper()
		if w, err := m.Handshake(); err != nil || w != want {
			t.Fatalf("%v, %v, want %v", w, err, want)
		}
	}
	step(c, openssl.WantInput)
	recordsFed(t, c, s)
	step(s, openssl.WantInput)
	recordsFed(t, s, c)
	step(c, openssl.WantNothing)
	recordsFed(t, c, s)
	if offer == nil {
		if _, err := c.Session(); !errors.Is(err, openssl.ErrSessionNotFound) {
			t.Errorf("before the first Read: %v", err)
		}
	}
	step(s, openssl.WantNothing)
	if got := recordsFed(t, s, c); got != want {
		t.Errorf("%d tickets, want %d", got, want)
	}
	if c.ConnectionState().DidResume != (offer != nil) {
		t.Errorf("resumed: %v", c.ConnectionState().DidResume)
	}
	if _, w, err := c.Read(make([]byte, 1)); err != nil || w != openssl.WantInput {
		t.Fatalf("Read: w %v, err %v", w, err)
	}
	sess, err := c.Session()
	if want == 0 && offer == nil {
		if !errors.Is(err, openssl.ErrSessionNotFound) {
			t.Errorf("without tickets: %v", err)
		}
	} else {
		must(t, err)
		t.Cleanup(func() { sess.Close() })
	}
	tlstest.Goodbye(t, c, s)
	return sess
}

func specRenewedTicket(t *testing.T, c spec.Case) {
	k := specKind{"TLS1.2", spec.Ticket}
	for name, mode := range map[string]openssl.SessionCacheMode{"client cache off": openssl.SessionCacheOff, "client cache on": openssl.SessionCacheClient} {
		site, client := k.site(t, "A", "none"), k.client(t)
		must(t, client.SetSessionCacheMode(mode))
		must(t, site.Ctx.SetTicketKeys(specTicketKey(1)))
		old := firstSession(t, site, client)
		must(t, site.Ctx.SetTicketKeys(specTicketKey(2), specTicketKey(1)))
		m := specConnect(t, site, client, spec.Offer{Session: old}, "R-")
		before, err := old.MarshalBinary()
		must(t, err)
		after, err := m.Session.MarshalBinary()
		must(t, err)
		if bytes.Equal(before, after) {
			t.Errorf("%s: the session has not been renewed", name)
		}
		state := "resumable"
		if !old.Resumable() {
			state = "invalidated"
		}
		if text := specWant(t, c, "the old session, "+name); state != text {
			t.Errorf("%s: the old session is %s, want %s", name, state, text)
		}
		must(t, site.Ctx.SetTicketKeys(specTicketKey(2)))
		specConnect(t, site, client, spec.Offer{Session: m.Session}, "R-")
	}
}

func specCapacity(t *testing.T, c spec.Case) {
	eachKind(t, func(k specKind) bool { return k.mechanism == spec.Stateful }, func(t *testing.T, k specKind) {
		for _, size := range []int{0, 1, 3} {
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, site.Ctx.SetNumTickets(1))
			must(t, site.Ctx.SetSessionCacheSize(size))
			for range 5 {
				firstSession(t, site, client)
			}
			stats := site.Ctx.Stats()
			specCount(t, c, "kept of "+strconv.Itoa(size), stats.Number)
			if size == 3 {
				specCount(t, c, "pushed out of 3", stats.CacheFull)
			}
		}
	})
}

func specExpiry(t *testing.T, c spec.Case) {
	type aging struct {
		specKind
		site   *spec.Site
		client *openssl.Ctx
		sess   *openssl.Session
	}
	var all []aging
	for _, protocol := range spec.Protocols {
		for _, mechanism := range []string{spec.Ticket, spec.Stateful} {
			k := specKind{protocol, mechanism}
			site, client := k.site(t, "A", "none"), k.client(t)
			must(t, site.Ctx.SetSessionTimeout(time.Second))
			all = append(all, aging{k, site, client, firstSession(t, site, client)})
		}
	}
	// Not at the boundary second: versions differ there. A TLS 1.3 client takes
	// a second off the age, in whole seconds, before it looks.
	until := time.Now().Add(3100 * time.Millisecond)
	for tick := time.NewTicker(20 * time.Millisecond); time.Now().Before(until); {
		<-tick.C
	}
	for _, a := range all {
		t.Run(a.String(), func(t *testing.T) {
			before := a.site.Ctx.Stats().Timeouts
			m := specConnect(t, a.site, a.client, spec.Offer{Session: a.sess}, "f")
			specCount(t, c, a.protocol+"/timeouts", a.site.Ctx.Stats().Timeouts-before)
			reason := openssl.ResumptionExpired
			if isTLS13(a.specKind) {
				reason = openssl.ResumptionNotOffered
			}
			if m.Server.Resumption != reason {
				t.Errorf("the server says %v, want %v", m.Server.Resumption, reason)
			}
		})
	}
}

func specCacheOff(t *testing.T, _ spec.Case) {
	eachProtocol(t, func(t *testing.T, k specKind) {
		site, client := k.site(t, "A", "none"), k.client(t)
		must(t, site.Ctx.SetSessionCacheMode(openssl.SessionCacheOff))
		specConnect(t, site, client, spec.Offer{Session: firstSession(t, site, client)}, "R-")

		site = k.site(t, "A", "none")
		must(t, site.Ctx.SetSessionCacheMode(openssl.SessionCacheOff))
		must(t, site.Ctx.SetOptions(openssl.OptionNoTicket))
		must(t, site.Ctx.SetNumTickets(0))
		if m := specConnect(t, site, client, spec.Offer{}, "f"); m.Session != nil {
			t.Error("the client has a session")
		}
	})
}

func specVersionCrossings(t *testing.T, _ spec.Case) {
	for _, mechanism := range []string{spec.Ticket, spec.Stateful} {
		for _, second := range []string{"A", "B"} {
			t.Run(mechanism+"/"+second, func(t *testing.T) {
				old, recent := specKind{"TLS1.2", mechanism}, specKind{"TLS1.3", mechanism}
				server := tlstest.NewServer(t)
				must(t, server.SetSessionIDContext([]byte("A")))
				site, err := spec.NewSite(server, mechanism)
				must(t, err)
				sess12, sess13 := firstSession(t, site, old.client(t)), firstSession(t, site, recent.client(t))
				for _, crossing := range []struct {
					client  *openssl.Ctx
					session *openssl.Session
					version uint16
				}{
					{recent.client(t), sess12, tls.VersionTLS13},
					{old.client(t), sess13, tls.VersionTLS12},
					{tlstest.NewClient(t), sess12, tls.VersionTLS13},
				} {
					m := specConnect(t, site, crossing.client, spec.Offer{Session: crossing.session, Server: serverWithin(second)}, "f")
					if m.Server.Version != crossing.version {
						t.Errorf("version %#x, want %#x", m.Server.Version, crossing.version)
					}
				}
			})
		}
	}
}

func specUndecryptable(t *testing.T, _ spec.Case) {
	k := specKind{"TLS1.2", spec.Ticket}
	site, client := k.site(t, "A", "none"), k.client(t)
	sess := firstSession(t, site, client)
	other := k.site(t, "A", "none") // with keys of its own
	store := spec.NewStore()
	must(t, other.Ctx.SetSessionStore(store))
	must(t, other.Ctx.SetSessionStoreTimeout(time.Minute))
	m := specDial(t, other, client, spec.Offer{Session: sess}, "f")
	if m.Server.Resumption != openssl.ResumptionUndecryptable || store.Asked() != 0 {
		t.Errorf("the server says %v, and has asked its store %d times", m.Server.Resumption, store.Asked())
	}
}
