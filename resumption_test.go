//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// waysBack are the ways in which a server finds a session again: in a ticket
// that the client brings, or in its own cache.
var waysBack = []struct {
	name     string
	stateful bool
}{{"ticket", false}, {"stateful", true}}

// onEachWay runs a test for each protocol and each way back. newCtx makes a
// server's Ctx for that way.
func onEachWay(t *testing.T, test func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(t testing.TB) *openssl.Ctx)) {
	for _, v := range tlstest.Versions {
		for _, way := range waysBack {
			t.Run(v.Name+"/"+way.name, func(t *testing.T) {
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.ID)
				test(t, v.ID, way.stateful, client, func(t testing.TB) *openssl.Ctx {
					server := tlstest.NewServer(t)
					if way.stateful {
						must(t, server.SetOptions(openssl.OptionNoTicket))
					}
					return server
				})
			})
		}
	}
}

func TestResumptionNotOffered(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		tlstest.MustOffer(t, client, newCtx(t), nil, openssl.ResumptionNotOffered)
	})
}

func TestResumptionResumed(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		server := newCtx(t)
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
	})
}

func TestResumptionContextMismatch(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		server := newCtx(t)
		must(t, server.SetSessionIDContext([]byte("a")))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)

		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSession(tlstest.Reparse(t, sess)))
		must(t, s.SetSessionIDContext([]byte("b")))
		tlstest.MustShake(t, c, s)
		if got := s.ConnectionState().Resumption; got != openssl.ResumptionContextMismatch {
			t.Fatalf("resumption: %v", got)
		}
		if got := c.ConnectionState().Resumption; got != openssl.ResumptionOther {
			t.Fatalf("the client cannot know why, and says %v", got)
		}
		tlstest.Goodbye(t, c, s)
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed) // a stranger's visit costs nothing
	})
}

// A server that cannot know the session says so by the way that it looked.
func TestResumptionUnknown(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		sess := tlstest.MustOffer(t, client, newCtx(t), nil, openssl.ResumptionNotOffered)
		want := openssl.ResumptionUndecryptable
		if stateful {
			want = openssl.ResumptionNotFound
		}
		tlstest.MustOffer(t, client, newCtx(t), sess, want)
	})
}

// A session that was invalidated or flushed is not found any more.
func TestResumptionFlushed(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			must(t, server.FlushSessions(time.Now().Add(3*time.Hour)))
			tlstest.MustOffer(t, client, server, sess, openssl.ResumptionNotFound)
		})
	}
}

// TestResumptionExpired waits for C's clock, and never asks at the boundary: up
// to there either answer is libssl's right. An expired session of another context
// is a mismatch: libssl looks at the context first.
func TestResumptionExpired(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits for libssl's clock")
	}
	t.Parallel()
	type expiring struct {
		name           string
		client, server *openssl.Ctx
		sess           *openssl.Session
	}
	var all []expiring
	for _, v := range tlstest.Versions {
		for _, way := range waysBack {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetSessionTimeout(time.Second))
			// What is cleared after 255 handshakes is not found, rather than expired.
			must(t, server.SetSessionCacheMode(openssl.SessionCacheServer|openssl.SessionCacheNoAutoClear))
			if way.stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			all = append(all, expiring{v.Name + "/" + way.name, client, server, sess})
		}
	}
	awaitExpiry(t, all[len(all)-1].sess, time.Second)
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			// A client holds to the lifetime itself, so this one's clock goes wrong.
			offer := tlstest.WithField(t, test.sess, tlstest.FieldTime, time.Now().Unix())
			c, s := tlstest.Machines(t, test.client, test.server)
			must(t, c.SetSession(tlstest.Reparse(t, offer)))
			must(t, s.SetSessionIDContext([]byte("elsewhere")))
			tlstest.MustShake(t, c, s)
			if got := s.ConnectionState().Resumption; got != openssl.ResumptionContextMismatch {
				t.Errorf("in another context: %v", got)
			}
			tlstest.Goodbye(t, c, s)

			tlstest.MustOffer(t, test.client, test.server, offer, openssl.ResumptionExpired)
			if n := test.server.Stats().Timeouts; n != 1 {
				t.Errorf("libssl counts %d timeouts", n)
			}
			if test.name == "TLS1.3/stateful" { // where an expired session stays, and can be offered again
				expireAmongStrangers(t, test.client, test.server, offer)
			}
		})
	}
}

// expireAmongStrangers offers an expired session from some goroutines and unknown
// ones from others: each gets its own reason, although libssl counts timeouts
// for all of them together.
func expireAmongStrangers(t testing.TB, client, server *openssl.Ctx, expired *openssl.Session) {
	t.Helper()
	before := server.Stats().Resumptions
	stranger := tlstest.MustOffer(t, client, newStateful(t), nil, openssl.ResumptionNotOffered)
	const goroutines, rounds = 4, 100
	var wg sync.WaitGroup
	expired = tlstest.WithField(t, expired, tlstest.FieldLifetime, 3600)
	for _, offer := range []*openssl.Session{expired, stranger} {
		der, err := offer.MarshalBinary()
		must(t, err)
		for range goroutines {
			wg.Go(func() {
				for range rounds {
					if _, err := resumeOnce(client, server, der); err != nil {
						t.Errorf("resumeOnce: %v", err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	after := server.Stats().Resumptions
	for _, reason := range []openssl.Resumption{openssl.ResumptionExpired, openssl.ResumptionNotFound} {
		if got := after[reason] - before[reason]; got != goroutines*rounds {
			t.Errorf("%v was told %d times, want %d: %v, before %v", reason, got, goroutines*rounds, after, before)
		}
	}
}

// awaitExpiry polls the clock until a session is past its lifetime, and past the
// boundary. A client knows its own Ctx's lifetime, not the server's.
func awaitExpiry(t testing.TB, sess *openssl.Session, lifetime time.Duration) {
	t.Helper()
	gone := sess.Time().Add(lifetime + 2100*time.Millisecond) // a server's second may begin after the client's
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for time.Now().Before(gone) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not expired after 10 s: made at %v, for %v", sess.Time(), lifetime)
		}
	}
}

// A suite with another hash cannot take a TLS 1.3 session up, which is no reason
// that libssl tells. In a cache it is the blind cell: the session is there and
// was not resumed, which looks like another context.
func TestResumptionOther(t *testing.T) {
	for _, way := range waysBack {
		t.Run(way.name, func(t *testing.T) {
			const narrow, wide = "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
			server := tlstest.NewServer(t)
			must(t, server.SetOptions(openssl.OptionCipherServerPreference))
			must(t, server.SetCipherSuites(wide))
			if way.stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			clients := make(map[string]*openssl.Ctx)
			for _, suites := range []string{narrow, wide} {
				clients[suites] = tlstest.NewClient(t)
				tlstest.SetVersion(t, clients[suites], tls.VersionTLS13)
				must(t, clients[suites].SetCipherSuites(suites))
			}
			sess := tlstest.MustOffer(t, clients[narrow], server, nil, openssl.ResumptionNotOffered)
			want := openssl.ResumptionOther
			if way.stateful {
				want = openssl.ResumptionContextMismatch
			}
			tlstest.MustOffer(t, clients[wide], server, sess, want)
		})
	}
}

// TestResumptionCounted: each finished handshake counts once, at the server's
// Ctx and at the client's, also with a HelloRetryRequest.
func TestResumptionCounted(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		server := newCtx(t)
		if version == tls.VersionTLS13 {
			must(t, client.SetGroups("P-256:P-384"))
			must(t, server.SetGroups("P-384")) // asks for another key share
		}
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)

		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSession(tlstest.Reparse(t, sess)))
		must(t, s.SetSessionIDContext([]byte("b")))
		tlstest.MustShake(t, c, s)
		tlstest.Goodbye(t, c, s)

		want := map[openssl.Resumption]int64{
			openssl.ResumptionNotOffered:      1,
			openssl.ResumptionResumed:         2,
			openssl.ResumptionContextMismatch: 1,
		}
		if got := server.Stats().Resumptions; !maps.Equal(got, want) {
			t.Fatalf("server: %v, want %v", got, want)
		}
		want = map[openssl.Resumption]int64{
			openssl.ResumptionNotOffered: 1,
			openssl.ResumptionResumed:    2,
			openssl.ResumptionOther:      1,
		}
		if got := client.Stats().Resumptions; !maps.Equal(got, want) {
			t.Fatalf("client: %v, want %v", got, want)
		}
	})
}

// A handshake that fails has come to nothing that could be counted.
func TestResumptionFailedHandshake(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, client.SetVerifyCAs(tlstest.NewAuthority(t, "somebody else", nil).PEM))
			c, s := tlstest.Machines(t, client, server)
			if clientErr, _ := tlstest.Shake(t, c, s); clientErr == nil {
				t.Fatal("a server of nobody's was trusted")
			}
			for name, ctx := range map[string]*openssl.Ctx{"client": client, "server": server} {
				if got := ctx.Stats().Resumptions; len(got) != 0 {
					t.Errorf("%s: %v", name, got)
				}
			}
		})
	}
}

func TestResumptionString(t *testing.T) {
	seen := make(map[string]bool)
	for r := openssl.ResumptionNotOffered; r <= openssl.ResumptionPSK; r++ {
		seen[r.String()] = true
	}
	if len(seen) != int(openssl.ResumptionPSK)+1 || seen[""] {
		t.Fatalf("names: %v", seen)
	}
	for _, r := range []openssl.Resumption{-1, openssl.ResumptionPSK + 1} {
		if got, want := r.String(), fmt.Sprintf("Resumption(%d)", int(r)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A session of one form is worth nothing to a server that keeps the other.
func TestResumptionOtherForm(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			tickets, cache := tlstest.NewServer(t), tlstest.NewServer(t)
			must(t, cache.SetOptions(openssl.OptionNoTicket))
			ticket := tlstest.MustOffer(t, client, tickets, nil, openssl.ResumptionNotOffered)
			stateful := tlstest.MustOffer(t, client, cache, nil, openssl.ResumptionNotOffered)
			if got := tlstest.TicketOf(t, ticket); len(got) <= 32 {
				t.Fatalf("a ticket of %d bytes", len(got))
			}
			want := map[uint16][2]openssl.Resumption{
				// A TLS 1.2 client makes an id up for its ticket, and any is made up to a server of tickets.
				tls.VersionTLS12: {openssl.ResumptionNotFound, openssl.ResumptionNotOffered},
				// A ticket is no id of 32 bytes, and those are not a ticket.
				tls.VersionTLS13: {openssl.ResumptionOther, openssl.ResumptionUndecryptable},
			}[v.ID]
			tlstest.MustOffer(t, client, cache, ticket, want[0])
			tlstest.MustOffer(t, client, tickets, stateful, want[1])
		})
	}
}

// PEM and DER are the same session.
func TestResumptionFromPEM(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		server := newCtx(t)
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		text, err := sess.MarshalPEM()
		must(t, err)
		back, err := openssl.ParseSessionPEM(text)
		must(t, err)
		defer back.Close()
		der, err := sess.MarshalBinary()
		must(t, err)
		if got, err := back.MarshalBinary(); err != nil || !bytes.Equal(got, der) {
			t.Fatalf("PEM made another session of it: %v", err)
		}
		tlstest.MustOffer(t, client, server, back, openssl.ResumptionResumed)
	})
}

// TestResumptionMadeUpID has crypto/tls visit, which sends a session id with its first
// ClientHello.
func TestResumptionMadeUpID(t *testing.T) {
	for _, tickets := range []bool{true, false} {
		t.Run(fmt.Sprint("tickets ", tickets), func(t *testing.T) {
			server := tlstest.NewServer(t)
			want := openssl.ResumptionNotOffered
			if !tickets {
				must(t, server.SetOptions(openssl.OptionNoTicket))
				want = openssl.ResumptionNotFound // it may have been there once
			}
			config := tlstest.GoClient(t)
			config.MaxVersion = tls.VersionTLS12
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // without one it takes no tickets
			near, far := tlstest.TCPPair(t)
			c := tls.Client(near, config)
			defer c.Close()
			s, err := openssl.Server(far, server)
			must(t, err)
			defer s.Close()
			clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
			if clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			if got := s.ConnectionState().Resumption; got != want {
				t.Errorf("a crypto/tls client that was never here: %v, want %v", got, want)
			}
			if got := server.Stats().Resumptions[want]; got != 1 {
				t.Errorf("Stats counts %d of %v, want 1", got, want)
			}
		})
	}
}
