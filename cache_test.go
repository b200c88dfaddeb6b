//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// keeps is how many sessions a cache of size n holds: OpenSSL 3.0 and later
// make room before they need it.
func keeps(n int) int64 {
	if openssl.Version().LinkedNumber >= 0x30000000 && n > 1 {
		return int64(n - 1)
	}
	return int64(n)
}

func TestSessionCacheSize(t *testing.T) {
	const made = 6
	for _, size := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, tls.VersionTLS12)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			must(t, server.SetSessionCacheSize(size))
			var all []*openssl.Session
			for range made {
				all = append(all, tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered))
			}
			stats := server.Stats()
			if want := keeps(size); stats.Number != want || stats.CacheFull != made-want {
				t.Fatalf("%d are kept and %d were put out, want %d and %d", stats.Number, stats.CacheFull, want, made-want)
			}
			found := 0
			for _, sess := range all {
				if _, got := tlstest.Offer(t, client, server, sess); got == openssl.ResumptionResumed {
					found++
				} else if got != openssl.ResumptionNotFound {
					t.Errorf("one that was put out: %v", got)
				}
			}
			// A visit that finds nothing puts its own session in, and another one out.
			if int64(found) > keeps(size) {
				t.Errorf("%d of a cache of %d were resumed", found, size)
			}
		})
	}
}

func TestSessionCacheUnbounded(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS12)
	must(t, server.SetOptions(openssl.OptionNoTicket))
	must(t, server.SetSessionCacheSize(3))
	must(t, server.SetSessionCacheSize(0))
	const made = 30
	for range made {
		tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	}
	if stats := server.Stats(); stats.Number != made || stats.CacheFull != 0 {
		t.Fatalf("%d are kept, %d were put out", stats.Number, stats.CacheFull)
	}
}

// The newest session is always resumed, and what was put out never is.
func TestSessionCacheOrder(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS12)
	must(t, server.SetOptions(openssl.OptionNoTicket))
	must(t, server.SetSessionCacheSize(2))
	first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	var last *openssl.Session
	for range 4 {
		last = tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	}
	tlstest.MustOffer(t, client, server, last, openssl.ResumptionResumed)
	tlstest.MustOffer(t, client, server, first, openssl.ResumptionNotFound)
}

func TestSessionCacheMode(t *testing.T) {
	type outcome struct {
		number int64
		second openssl.Resumption
	}
	kept := outcome{1, openssl.ResumptionResumed}
	type row struct {
		name     string
		mode     openssl.SessionCacheMode
		stateful outcome
	}
	test := func(t *testing.T, x row) {
		onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
			server := newCtx(t)
			must(t, server.SetSessionCacheMode(x.mode))
			if got := server.SessionCacheMode(); got != x.mode {
				t.Fatalf("the mode is %#x, want %#x", int(got), int(x.mode))
			}
			must(t, server.SetNumTickets(1))              // of TLS 1.3, so that one session is one session
			want := outcome{0, openssl.ResumptionResumed} // tickets need no cache
			if stateful {
				want = x.stateful
			}
			sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			if sess == nil {
				if want.second == openssl.ResumptionResumed {
					t.Fatal("the client got no session")
				}
				return // a server that would not know it again need not send one
			}
			if got := server.Stats().Number; got != want.number {
				t.Fatalf("%d in the cache, want %d", got, want.number)
			}
			tlstest.MustOffer(t, client, server, sess, want.second)
		})
	}
	for _, x := range []row{
		{"off", openssl.SessionCacheOff, outcome{0, openssl.ResumptionNotFound}},
		{"client", openssl.SessionCacheClient, outcome{0, openssl.ResumptionNotFound}},
		{"server", openssl.SessionCacheServer, kept},
		{"both", openssl.SessionCacheBoth, kept},
		{"no internal store", openssl.SessionCacheServer | openssl.SessionCacheNoInternalStore, outcome{0, openssl.ResumptionNotFound}},
		// It is there, and not looked up.
		{"no internal lookup", openssl.SessionCacheServer | openssl.SessionCacheNoInternalLookup, outcome{1, openssl.ResumptionContextMismatch}},
		{"no internal", openssl.SessionCacheServer | openssl.SessionCacheNoInternal, outcome{0, openssl.ResumptionNotFound}},
		{"update time", openssl.SessionCacheServer | openssl.SessionCacheUpdateTime, kept},
	} {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

func TestSessionCacheModeBad(t *testing.T) {
	server := tlstest.NewServer(t)
	for _, mode := range []openssl.SessionCacheMode{-1, 1 << 20, 4} {
		if err := server.SetSessionCacheMode(mode); err == nil {
			t.Errorf("%#x was taken", int(mode))
		}
	}
	if got := server.SessionCacheMode(); got != openssl.SessionCacheServer {
		t.Errorf("the mode is %#x", int(got))
	}
	must(t, server.Close())
	if got := server.SessionCacheMode(); got != openssl.SessionCacheOff {
		t.Errorf("the mode of a closed Ctx is %#x", int(got))
	}
}

// Expired sessions leave by themselves at every 255th handshake, unless the mode
// says otherwise.
func TestSessionCacheAutoClear(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits for libssl's clock")
	}
	t.Parallel()
	for _, test := range []struct {
		name string
		mode openssl.SessionCacheMode
		gone bool
	}{
		{"server", openssl.SessionCacheServer, true},
		{"no auto clear", openssl.SessionCacheServer | openssl.SessionCacheNoAutoClear, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, tls.VersionTLS12)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			must(t, server.SetSessionCacheMode(test.mode))
			must(t, server.SetSessionTimeout(time.Second))
			first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			awaitExpiry(t, first, time.Second)
			const more = 256
			for range more {
				tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			}
			if got := server.Stats().Number; (got < more+1) != test.gone {
				t.Fatalf("%d of %d are kept", got, more+1)
			}
		})
	}
}

func TestFlushSessions(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			must(t, server.SetSessionTimeout(time.Hour))
			must(t, server.SetNumTickets(1))
			tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			for _, step := range []struct {
				at   time.Time
				want int64
			}{
				{time.Now().Add(59 * time.Minute), 1},
				{time.Now().Add(61 * time.Minute), 0},
			} {
				must(t, server.FlushSessions(step.at))
				if got := server.Stats().Number; got != step.want {
					t.Fatalf("flushed at %v: %d are kept, want %d", step.at, got, step.want)
				}
			}
		})
	}
}

// Nothing is rounded, clamped or taken for a special value.
func TestSessionNumbersRefused(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS12)
	must(t, server.SetSessionTimeout(77*time.Second))
	must(t, server.SetSessionCacheSize(2))
	must(t, server.SetNumTickets(3))
	refused := map[string]error{
		"timeout 0":              server.SetSessionTimeout(0),
		"timeout -1 s":           server.SetSessionTimeout(-time.Second),
		"timeout 1 ns":           server.SetSessionTimeout(1),
		"timeout 999 ms":         server.SetSessionTimeout(999 * time.Millisecond),
		"timeout 1.5 s":          server.SetSessionTimeout(1500 * time.Millisecond),
		"timeout 2^31 s":         server.SetSessionTimeout((math.MaxInt32 + 1) * time.Second),
		"timeout of 292 years":   server.SetSessionTimeout(math.MaxInt64),
		"timeout of -292 years":  server.SetSessionTimeout(math.MinInt64),
		"size -1":                server.SetSessionCacheSize(-1),
		"tickets -1":             server.SetNumTickets(-1),
		"tickets 256":            server.SetNumTickets(256),
		"tickets, all of an int": server.SetNumTickets(math.MaxInt),
		"flush at nothing":       server.FlushSessions(time.Time{}),
		"flush at 0":             server.FlushSessions(time.Unix(0, 0)),
		"flush before 1970":      server.FlushSessions(time.Unix(-1, 0)),
	}
	if above := int64(math.MaxInt32) + 1; strconv.IntSize == 64 { // an int of 32 bits has no such value
		refused["size 2^31"] = server.SetSessionCacheSize(int(above))
		refused["size of an int"] = server.SetSessionCacheSize(math.MaxInt)
	}
	for name, err := range refused {
		if err == nil {
			t.Errorf("%s was taken", name)
		} else if errors.Is(err, openssl.ErrCtxInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, server.SetOptions(openssl.OptionNoTicket))
	for range 4 {
		tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	}
	if got := server.Stats().Number; got != keeps(2) {
		t.Errorf("a refused size has left %d sessions", got)
	}
	c, s := tlstest.Machines(t, client, server)
	tlstest.MustShake(t, c, s)
	sess, err := s.Session()
	must(t, err)
	defer sess.Close()
	if got := sess.Timeout(); got != 77*time.Second {
		t.Errorf("a refused timeout has left %v", got)
	}
	tlstest.Goodbye(t, c, s)
}

func TestSessionTimeout(t *testing.T) {
	for _, want := range []time.Duration{time.Second, 2 * time.Hour, math.MaxInt32 * time.Second} {
		t.Run(want.String(), func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			must(t, server.SetSessionTimeout(want))
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			sess, err := s.Session()
			must(t, err)
			defer sess.Close()
			if got := sess.Timeout(); got != want {
				t.Fatalf("a session lives %v, want %v", got, want)
			}
			tlstest.Goodbye(t, c, s)
		})
	}
}

// The cache's setters close with the first connection; flushing stays open.
func TestSessionCacheFrozen(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	for name, err := range map[string]error{
		"mode":         server.SetSessionCacheMode(openssl.SessionCacheOff),
		"size":         server.SetSessionCacheSize(1),
		"timeout":      server.SetSessionTimeout(time.Second),
		"tickets":      server.SetNumTickets(1),
		"client cache": client.SetClientSessionCache(nil),
	} {
		if !errors.Is(err, openssl.ErrCtxInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, server.FlushSessions(time.Now()))
}

// TestSessionCounters goes through all that libssl counts.
func TestSessionCounters(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits for libssl's clock")
	}
	t.Parallel()
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.SetOptions(openssl.OptionNoTicket))
			must(t, server.SetNumTickets(1))
			must(t, server.SetSessionTimeout(time.Second))
			must(t, server.SetSessionCacheSize(2))
			strict := tlstest.NewClient(t)
			tlstest.SetVersion(t, strict, v.ID)
			must(t, strict.SetVerifyCAs(tlstest.NewAuthority(t, "somebody else", nil).PEM))

			first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			tlstest.MustOffer(t, client, server, first, openssl.ResumptionResumed)
			c, s := tlstest.Machines(t, strict, server)
			if clientErr, _ := tlstest.Shake(t, c, s); clientErr == nil {
				t.Fatal("a server of nobody's was trusted")
			}
			second := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			awaitExpiry(t, second, time.Second)
			tlstest.MustOffer(t, client, server, tlstest.WithField(t, second, tlstest.FieldTime, time.Now().Unix()), openssl.ResumptionExpired)
			stranger := tlstest.MustOffer(t, client, newStateful(t), nil, openssl.ResumptionNotOffered)
			tlstest.MustOffer(t, client, server, stranger, openssl.ResumptionNotFound)

			got := server.Stats().SessionCounters
			want := openssl.SessionCounters{
				Accept: 6, AcceptGood: 5,
				Hits: 1, Misses: 1, Timeouts: 1,
				// How many were put out depends on what a version takes out
				// by itself; TestSessionCacheSize counts them.
				Number: got.Number, CacheFull: got.CacheFull,
			}
			if got != want {
				t.Errorf("server: %+v, want %+v", got, want)
			}
			if got.Number < 1 || got.Number > 2 || got.CacheFull < 1 {
				t.Errorf("a cache of 2: %d are kept, %d were put out", got.Number, got.CacheFull)
			}
			if got, want := client.Stats().SessionCounters, (openssl.SessionCounters{
				Connect: 6, ConnectGood: 6, Hits: 1,
				Misses: 2, // a client counts what was declined, for whatever reason
			}); got != want {
				t.Errorf("client: %+v, want %+v", got, want)
			}
			if got, want := strict.Stats().SessionCounters, (openssl.SessionCounters{Connect: 1}); got != want {
				t.Errorf("a client that failed: %+v, want %+v", got, want)
			}
		})
	}
}

func newStateful(t testing.TB) *openssl.Ctx {
	t.Helper()
	server := tlstest.NewServer(t)
	must(t, server.SetOptions(openssl.OptionNoTicket))
	return server
}

// A mismatch of contexts is neither a hit nor a miss.
func TestSessionCountersMismatch(t *testing.T) {
	onEachWay(t, func(t *testing.T, version uint16, stateful bool, client *openssl.Ctx, newCtx func(testing.TB) *openssl.Ctx) {
		server := newCtx(t)
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSession(tlstest.Reparse(t, sess)))
		must(t, s.SetSessionIDContext([]byte("b")))
		tlstest.MustShake(t, c, s)
		tlstest.Goodbye(t, c, s)
		if got := server.Stats(); got.Hits != 0 || got.Misses != 0 || got.AcceptGood != 2 {
			t.Fatalf("%+v", got.SessionCounters)
		}
	})
}

// An external store's answer is libssl's callback hit.
func TestSessionCountersCallback(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			home, server := newStateful(t), newStateful(t)
			must(t, server.SetSessionStore(noStore{}))
			c, s := tlstest.Machines(t, client, home)
			tlstest.MustShake(t, c, s)
			offer, err := c.Session()
			must(t, err)
			defer offer.Close()
			kept, err := s.Session()
			must(t, err)
			defer kept.Close()
			tlstest.Goodbye(t, c, s)

			der, err := kept.MarshalBinary()
			must(t, err)
			c, s = tlstest.Machines(t, client, server)
			must(t, c.SetSession(offer))
			if w, err := c.Handshake(); w != openssl.WantInput || err != nil {
				t.Fatalf("Handshake: w %v, err %v", w, err)
			}
			tlstest.Carry(t, c, s)
			if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
				t.Fatalf("Handshake: w %v, err %v", w, err)
			}
			for range 6 { // more often than a ClientHello may have ids
				must(t, s.AnswerSession(der))
			}
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
			if got, want := server.Stats().SessionCounters, (openssl.SessionCounters{
				Accept: 1, AcceptGood: 1, Hits: 1, CallbackHits: 1,
			}); got != want {
				t.Fatalf("%+v, want %+v", got, want)
			}
		})
	}
}

// noStore has nothing: a machine's caller answers for it.
type noStore struct{}

func (noStore) Put(context.Context, []byte, []byte, time.Time) error { return nil }
func (noStore) Get(context.Context, []byte) ([]byte, error)          { return nil, openssl.ErrSessionNotFound }
func (noStore) Delete(context.Context, []byte) error                 { return nil }

func TestStatsClosed(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	must(t, server.Close())
	if got := server.Stats(); got.SessionCounters != (openssl.SessionCounters{}) || got.Resumptions == nil || len(got.Resumptions) != 0 {
		t.Fatalf("%+v", got)
	}
}

// Tickets never enter the cache: a callback of ours that made libssl keep them
// would let every client fill the server's memory.
func TestTicketsStayOutside(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			var sess *openssl.Session
			want := openssl.ResumptionNotOffered
			for i := range 10 {
				if i == 5 { // five full handshakes, five resumptions
					want = openssl.ResumptionResumed
				} else if i < 5 {
					sess = nil
				}
				sess = tlstest.MustOffer(t, client, server, sess, want)
			}
			if got := server.Stats(); got.Number != 0 || got.CacheFull != 0 {
				t.Fatalf("%d sessions in the cache, %d put out of it", got.Number, got.CacheFull)
			}
		})
	}
}

// ---- tickets ----

// tickets shakes hands and returns the sessions that the client gets, one for
// each record that brings one.
func tickets(t testing.TB, client, server *openssl.Ctx, offer *openssl.Session) (got []*openssl.Session) {
	t.Helper()
	c, s := tlstest.Machines(t, client, server)
	if offer != nil {
		must(t, c.SetSession(tlstest.Reparse(t, offer)))
	}
	for done := false; !done; {
		_, err := c.Handshake()
		must(t, err)
		tlstest.Carry(t, c, s)
		w, err := s.Handshake()
		must(t, err)
		if done = w == openssl.WantNothing; !done {
			tlstest.Carry(t, s, c)
		}
	}
	// The server is done; what it has left is handed over record by record.
	var wire []byte
	for p := make([]byte, 64<<10); s.Pending() > 0; {
		wire = append(wire, p[:s.Drain(p)]...)
	}
	var last []byte
	if offer != nil {
		last = offer.ID()
	}
	for len(wire) > 0 {
		n := 5 + int(wire[3])<<8 + int(wire[4])
		_, err := c.Feed(wire[:n])
		must(t, err)
		wire = wire[n:]
		_, _, err = c.Read(make([]byte, 1)) // which shakes hands first
		must(t, err)
		sess, err := c.Session()
		if errors.Is(err, openssl.ErrSessionNotFound) {
			continue
		}
		must(t, err)
		t.Cleanup(func() { sess.Close() })
		if !bytes.Equal(sess.ID(), last) {
			got, last = append(got, sess), sess.ID()
		}
	}
	tlstest.Goodbye(t, c, s)
	return got
}

func TestSetNumTickets(t *testing.T) {
	for _, way := range waysBack {
		for _, n := range []int{0, 1, 2, 4, 255} {
			t.Run(fmt.Sprintf("%s/%d", way.name, n), func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				tlstest.SetVersion(t, client, tls.VersionTLS13)
				if way.stateful {
					must(t, server.SetOptions(openssl.OptionNoTicket))
				}
				must(t, server.SetNumTickets(n))
				got := tickets(t, client, server, nil)
				ids := make(map[string]bool)
				for _, sess := range got {
					ids[string(sess.ID())] = true
				}
				if len(got) != n || len(ids) != n {
					t.Fatalf("%d sessions, %d of them distinct, want %d", len(got), len(ids), n)
				}
			})
		}
	}
}

func TestNumTicketsDefault(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	if got := tickets(t, client, server, nil); len(got) != 2 {
		t.Fatalf("%d sessions", len(got))
	}
}

// Each of a server's tickets resumes, and a resumption brings one more.
func TestTicketsOfAResumption(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	must(t, server.SetNumTickets(4))
	for i, sess := range tickets(t, client, server, nil) {
		if got := len(tickets(t, client, server, sess)); got != 1 {
			t.Errorf("ticket %d: resuming it brought %d", i, got)
		}
	}
	if got := server.Stats().Resumptions[openssl.ResumptionResumed]; got != 4 {
		t.Errorf("%d of 4 tickets resumed", got)
	}
}

// ---- a client's cache ----

// watchedCache is an LRU cache that notes what is asked of it and is emptied
// with the test.
type watchedCache struct {
	openssl.ClientSessionCache
	mu         sync.Mutex
	keys       []string // in the order of the first Put
	hits, puts int
	drops      int
}

func newWatchedCache(t testing.TB, capacity int) *watchedCache {
	tlstest.HoldSessions(t)
	w := &watchedCache{ClientSessionCache: openssl.NewLRUClientSessionCache(capacity)}
	t.Cleanup(func() {
		for _, key := range w.keys {
			w.ClientSessionCache.Put(key, nil)
		}
	})
	return w
}

func (w *watchedCache) Get(key string) (*openssl.Session, bool) {
	sess, ok := w.ClientSessionCache.Get(key)
	w.mu.Lock()
	defer w.mu.Unlock()
	if ok {
		w.hits++
	}
	return sess, ok
}

func (w *watchedCache) Put(key string, s *openssl.Session) {
	w.mu.Lock()
	if s == nil {
		w.drops++
	} else {
		w.puts++
		if !slices.Contains(w.keys, key) {
			w.keys = append(w.keys, key)
		}
	}
	w.mu.Unlock()
	w.ClientSessionCache.Put(key, s)
}

// listenAndEcho serves echoing connections until the test ends, and returns the address.
func listenAndEcho(t testing.TB, server *openssl.Ctx) string {
	t.Helper()
	l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				tlstest.Echo(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// reach is one connection over TCP: a message there and back, unless the client
// is a silent one, which reads nothing. It reports whether the client resumed.
func reach(t testing.TB, client *openssl.Ctx, addr, name string, silent bool) bool {
	t.Helper()
	d := openssl.Dialer{Ctx: client, ServerName: name}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	defer conn.Close()
	if !silent {
		must(t, tlstest.RoundTrip(conn, []byte("ping")))
	}
	return conn.(*openssl.Conn).ConnectionState().DidResume
}

// newCachingClient is a client Ctx with a cache; change, if not nil, edits it.
func newCachingClient(t testing.TB, version uint16, cache openssl.ClientSessionCache, change func(*openssl.Ctx)) *openssl.Ctx {
	t.Helper()
	client := tlstest.NewClient(t)
	tlstest.SetVersion(t, client, version)
	must(t, client.SetClientSessionCache(cache))
	if change != nil {
		change(client)
	}
	return client
}

// newHostServer is a server Ctx whose certificate is good for several names and
// for 127.0.0.1.
func newHostServer(t testing.TB, names ...string) *openssl.Ctx {
	t.Helper()
	cert, key := tlstest.Certs(t).Leaf(t, names[0], tlstest.ECKey(t), func(c *x509.Certificate) {
		c.DNSNames = names
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	server := tlstest.NewServer(t)
	must(t, server.UseCertificate(cert, key))
	return server
}

func TestClientSessionCache(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			cache := newWatchedCache(t, 8)
			server := tlstest.NewServer(t)
			addr := listenAndEcho(t, server)
			client := newCachingClient(t, v.ID, cache, nil)
			for i, want := range []bool{false, true, true, true} {
				if got := reach(t, client, addr, "server.test", false); got != want {
					t.Fatalf("call %d: resumed %v", i, got)
				}
			}
			if got := server.Stats().Resumptions; got[openssl.ResumptionNotOffered] != 1 || got[openssl.ResumptionResumed] != 3 {
				t.Fatalf("the server counts %v", got)
			}
			if len(cache.keys) != 1 {
				t.Fatalf("%d keys for one server", len(cache.keys))
			}
		})
	}
}

// A TLS 1.3 session is offered once: a client that resumes it and goes without
// reading a new one has none left. A TLS 1.2 session serves again.
func TestClientSessionCacheOnce(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			must(t, server.SetNumTickets(1))
			addr := listenAndEcho(t, server)
			client := newCachingClient(t, v.ID, newWatchedCache(t, 8), nil)
			reach(t, client, addr, "server.test", false)
			if !reach(t, client, addr, "server.test", true) {
				t.Fatal("the first session was not resumed")
			}
			again := v.ID == tls.VersionTLS12
			if got := reach(t, client, addr, "server.test", true); got != again {
				t.Fatalf("offered again: %v, want %v", got, again)
			}
		})
	}
}

// A TLS 1.3 server sends two sessions after a full handshake, in one record or two: two
// connections that are made before either has brought another one resume.
func TestClientSessionCacheBothTickets(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, tickets := range []int{1, 2, 3, 20} {
			server := tlstest.NewServer(t)
			must(t, server.SetNumTickets(tickets))
			addr := listenAndEcho(t, server)
			client := newCachingClient(t, v.ID, newWatchedCache(t, 8), nil)
			reach(t, client, addr, "server.test", false)
			want := 3
			if v.ID == tls.VersionTLS13 {
				want = min(tickets, 2)
			}
			got := 0
			for range 3 {
				if reach(t, client, addr, "server.test", true) {
					got++
				}
			}
			if got != want {
				t.Errorf("%d tickets: %d of 3 connections resumed, want %d", tickets, got, want)
			}
		}
	})
}

// Of the sessions that come together with what breaks the connection, libssl takes back
// the last one: it is not put into the cache.
func TestClientSessionCacheBeforeABrokenRecord(t *testing.T) {
	given := 0
	cache := &funcCache{put: func(_ string, sess *openssl.Session) {
		given++
		sess.Close()
	}}
	client, server := newCachingClient(t, tls.VersionTLS13, cache, nil), tlstest.NewServer(t)
	must(t, server.SetNumTickets(3))
	c, s, _, far := tlstest.WireConns(t, client, server, 64<<10)
	tlstest.MustHandshake(t, c, s)
	_, err := far.Write(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...))
	must(t, err)
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a broken record: %d bytes, %v", n, err)
	}
	if given != 2 {
		t.Errorf("the cache was given %d sessions of 3, want 2", given)
	}
}

// What comes to an SSL whose Ctx has a cache is freed with it.
func TestClientSessionCacheOfAnSSL(t *testing.T) {
	cache := &funcCache{put: func(_ string, sess *openssl.Session) {
		t.Error("an SSL has put a session into the cache")
		sess.Close()
	}}
	client, server := newCachingClient(t, tls.VersionTLS13, cache, nil), tlstest.NewServer(t)
	live := libssl.LiveHandles()
	e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
	if e.ClientErr != nil || e.ServerErr != nil || e.Session == nil {
		t.Fatalf("client %v, server %v, session %v", e.ClientErr, e.ServerErr, e.Session)
	}
	e.Session.Close()
	if got := libssl.LiveHandles(); got != live {
		t.Errorf("%d handles are left", got-live)
	}
}

// A program's cache is given each session that comes, and none where it was removed.
func TestClientSessionCacheIsGivenEach(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetNumTickets(3))
	addr := listenAndEcho(t, server)
	ids := make(map[string]bool)
	cache := &funcCache{put: func(_ string, sess *openssl.Session) {
		ids[string(sess.ID())] = true
		sess.Close()
	}}
	client := newCachingClient(t, tls.VersionTLS13, cache, nil)
	reach(t, client, addr, "server.test", false)
	if len(ids) != 3 {
		t.Errorf("the cache was given %d sessions, want 3", len(ids))
	}
	client = newCachingClient(t, tls.VersionTLS13, cache, func(c *openssl.Ctx) { must(t, c.SetClientSessionCache(nil)) })
	reach(t, client, addr, "server.test", false)
	if len(ids) != 3 {
		t.Errorf("a cache that was removed was given %d sessions", len(ids)-3)
	}
}

// A session for one partner is never offered to another, nor by somebody else.
func TestClientSessionCacheKeys(t *testing.T) {
	other := tlstest.NewAuthority(t, "another CA", nil)
	otherCert, otherKey := tlstest.Certs(t).Leaf(t, "other.client.test", tlstest.ECKey(t), nil)
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		cache := newWatchedCache(t, 32)
		server := newHostServer(t, "a.test", "b.test")
		here, there := listenAndEcho(t, server), listenAndEcho(t, server)
		client := newCachingClient(t, v.ID, cache, nil)
		reach(t, client, here, "a.test", false)
		for _, test := range []struct {
			name         string
			addr, server string
			change       func(*openssl.Ctx)
		}{
			{"another host", here, "b.test", nil},
			{"its address", here, "127.0.0.1", nil},
			{"another port", there, "a.test", nil},
			{"more trust", here, "a.test", func(c *openssl.Ctx) {
				must(t, c.SetVerifyCAs(append(slices.Clone(tlstest.Certs(t).PEM), other.PEM...)))
			}},
			{"other verification", here, "a.test", func(c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyNone)) }},
			{"another depth", here, "a.test", func(c *openssl.Ctx) { must(t, c.SetVerifyDepth(5)) }},
			{"another identity", here, "a.test", func(c *openssl.Ctx) { must(t, c.UseCertificate(otherCert, otherKey)) }},
			{"another context", here, "a.test", func(c *openssl.Ctx) { must(t, c.SetSessionIDContext([]byte("x"))) }},
		} {
			t.Run(test.name, func(t *testing.T) {
				next := newCachingClient(t, v.ID, cache, test.change)
				before := server.Stats().Resumptions
				if reach(t, next, test.addr, test.server, false) {
					t.Error("it was resumed")
				}
				after := server.Stats().Resumptions
				if got := after[openssl.ResumptionNotOffered] - before[openssl.ResumptionNotOffered]; got != 1 {
					t.Errorf("the server counts %v, before %v", after, before)
				}
			})
		}
		if !reach(t, client, here, "a.test", false) {
			t.Error("the session was lost on the way")
		}
		// Who is the same shares the cache.
		if !reach(t, newCachingClient(t, v.ID, cache, nil), here, "A.TEST.", false) {
			t.Error("the same client, made twice, is somebody else, or a name is another in capitals")
		}
	})
}

// A connection of its own context does not take the Ctx's sessions, which
// libssl would refuse in the middle of a handshake.
func TestClientSessionCacheConnContext(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			cache := newWatchedCache(t, 8)
			server := tlstest.NewServer(t)
			addr := listenAndEcho(t, server)
			client := newCachingClient(t, v.ID, cache, nil)
			reach(t, client, addr, "server.test", false)
			wire, err := net.Dial("tcp", addr)
			must(t, err)
			conn, err := openssl.Client(wire, client)
			must(t, err)
			defer conn.Close()
			must(t, conn.SetServerName("server.test"))
			must(t, conn.SetSessionIDContext([]byte("own")))
			must(t, tlstest.RoundTrip(conn, []byte("ping")))
			if conn.ConnectionState().DidResume || len(cache.keys) != 2 {
				t.Fatalf("resumed %v, keys %v", conn.ConnectionState().DidResume, cache.keys)
			}
		})
	}
}

// A session that has led to a failed handshake is not tried again.
func TestClientSessionCacheFailed(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		cache := newWatchedCache(t, 8)
		server := tlstest.NewServer(t)
		client := newCachingClient(t, v.ID, cache, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		serve := func(broken bool) error {
			wire, err := l.Accept()
			if err != nil {
				return err
			}
			if broken {
				defer wire.Close()
				if _, err := io.ReadFull(wire, make([]byte, 5)); err != nil {
					return err
				}
				_, err = wire.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // fatal handshake_failure
				io.Copy(io.Discard, wire)
				return err
			}
			conn, err := openssl.Server(wire, server)
			if err != nil {
				return err
			}
			defer conn.Close()
			return tlstest.Echo(conn)
		}
		dial := func(broken bool) error {
			clientErr, serverErr := tlstest.Both(func() error {
				d := openssl.Dialer{Ctx: client, ServerName: "server.test"}
				conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
				if err != nil {
					return err
				}
				defer conn.Close()
				return tlstest.RoundTrip(conn, []byte("ping"))
			}, func() error { return serve(broken) })
			must(t, serverErr)
			return clientErr
		}
		must(t, dial(false))
		must(t, dial(false))
		var alert tls.AlertError
		if err := dial(true); !errors.As(err, &alert) || alert != 40 {
			t.Fatalf("a broken server: %v", err)
		}
		if cache.hits != 2 || cache.drops != 1 {
			t.Fatalf("%d sessions were taken from the cache, %d dropped", cache.hits, cache.drops)
		}
		must(t, dial(false))
		if got := server.Stats().Resumptions; got[openssl.ResumptionNotOffered] != 2 || got[openssl.ResumptionResumed] != 1 {
			t.Fatalf("the server counts %v", got)
		}
	})
}

// A TLS 1.2 ticket that a resumption renews takes the old one's place.
func TestClientSessionCacheRenewed(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			k := ticketKeys(3)
			must(t, server.SetTicketKeys(k[0]))
			addr := listenAndEcho(t, server)
			client := newCachingClient(t, v.ID, newWatchedCache(t, 8), nil)
			reach(t, client, addr, "server.test", false)
			for i := 1; i < len(k); i++ {
				must(t, server.SetTicketKeys(k[i], k[i-1])) // the one before is gone
				if !reach(t, client, addr, "server.test", false) {
					t.Fatalf("key %d: not resumed", i)
				}
			}
		})
	}
}

// A server that sends tickets without end fills nothing.
func TestClientSessionCacheFlood(t *testing.T) {
	server := tlstest.NewServer(t)
	must(t, server.SetNumTickets(255))
	addr := listenAndEcho(t, server)
	cache := newWatchedCache(t, 4)
	client := newCachingClient(t, tls.VersionTLS13, cache, nil)
	d := openssl.Dialer{Ctx: client, ServerName: "server.test"}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	must(t, tlstest.RoundTrip(conn, []byte("ping")))
	must(t, conn.Close())
	if !reach(t, client, addr, "server.test", false) {
		t.Error("not resumed")
	}
	if len(cache.keys) != 1 {
		t.Fatalf("%d keys", len(cache.keys))
	}
	held := 0
	for sess, ok := cache.Get(cache.keys[0]); ok; sess, ok = cache.Get(cache.keys[0]) {
		held++
		must(t, sess.Close())
	}
	if held != 2 {
		t.Errorf("%d sessions are held for one server, want 2", held)
	}
}

// A session is offered only to the server whose key it was kept under, also if the
// connection's server changes between the lookup and the offer.
func TestClientSessionCacheRenamed(t *testing.T) {
	const before, after = "server.test", "other.test"
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t) // it is server.test only
			sess := sessionOf(t, v.ID, server)
			var c *openssl.Conn
			cache := &funcCache{get: func(string) (*openssl.Session, bool) {
				must(t, c.SetServerName(after))
				dup, err := sess.Clone()
				return dup, err == nil
			}}
			var s *openssl.Conn
			c, s = tlstest.Conns(t, newCachingClient(t, v.ID, cache, nil), server)
			clientErr, _ := tlstest.Both(c.Handshake, s.Handshake)
			if _, refused := tlstest.AsType[*openssl.VerifyError](clientErr); !refused || c.ConnectionState().DidResume {
				t.Errorf("a session of %s, offered to %s: %v, resumed %v, want that the server's certificate is refused",
					before, after, clientErr, c.ConnectionState().DidResume)
			}
		})
	}
}

// Other goroutines may say whom a connection calls, and within which context, while
// it looks for a session: for the race detector.
func TestClientSessionCacheBesideSetters(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		cache := newWatchedCache(t, 64)
		server := newHostServer(t, "server.test", "a.test", "b.test")
		client := newCachingClient(t, v.ID, cache, nil)
		for i := range 50 {
			c, s := tlstest.Conns(t, client, server)
			stop := make(chan struct{})
			var setting sync.WaitGroup
			setting.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
						c.SetServerName([]string{"a.test", "b.test"}[k%2])
						c.SetSessionIDContext([]byte{byte(k % 2)})
					}
				}
			})
			clientErr, serverErr := tlstest.Both(func() error {
				err := c.Handshake()
				if err == nil {
					err = tlstest.RoundTrip(c, []byte("ping"))
				}
				close(stop)
				return errors.Join(err, c.Close())
			}, func() error { return errors.Join(tlstest.Echo(s), s.Close()) })
			setting.Wait()
			if clientErr != nil || serverErr != nil {
				t.Fatalf("connection %d: client %v, server %v", i, clientErr, serverErr)
			}
		}
	})
}

// What a cache does wrong costs a full handshake, or the session, and no more.
func TestClientSessionCachePanics(t *testing.T) {
	for name, cache := range map[string]*funcCache{
		"Get": {get: func(string) (*openssl.Session, bool) { panic("at the disco") }},
		"Put": {put: func(string, *openssl.Session) { panic(nilMap()) }},
		"both": {
			get: func(string) (*openssl.Session, bool) { return nil, nilMap() == nil },
			put: func(string, *openssl.Session) { panic(nilMap()) },
		},
	} {
		for _, v := range tlstest.Versions {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				addr := listenAndEcho(t, tlstest.NewServer(t))
				client := newCachingClient(t, v.ID, cache, nil)
				for range 2 {
					if reach(t, client, addr, "server.test", false) {
						t.Error("a call was resumed")
					}
				}
			})
		}
	}
}

// A cache that is stuck with one connection holds up no other one.
func TestClientSessionCacheBlocks(t *testing.T) {
	test := func(t *testing.T, stuck string) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			release := make(chan struct{})
			calls := 0
			block := func(method string) {
				if method != stuck {
					return
				}
				if calls++; calls == 1 {
					<-release
				}
			}
			must(t, client.SetClientSessionCache(&funcCache{
				get: func(string) (*openssl.Session, bool) {
					block("Get")
					return nil, false
				},
				put: func(_ string, sess *openssl.Session) {
					block("Put")
					sess.Close()
				},
			}))
			c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
			first := start(func() (int, error) { return 1, tlstest.RoundTrip(c, []byte("ping")) })
			serve := start(func() (int, error) { return 0, tlstest.Echo(s) })
			synctest.Wait()
			if calls != 1 {
				t.Fatalf("%s was called %d times, want once", stuck, calls)
			}
			for i := range 3 {
				began := time.Now()
				other, far, _, _ := tlstest.WireConns(t, client, server, 64<<10)
				if err := roundTripOver(other, far, []byte("ping")); err != nil || time.Since(began) != 0 {
					t.Errorf("connection %d beside: %v after %v", i, err, time.Since(began))
				}
				closeBoth(other, far)
			}
			close(release)
			if got := <-first; got.err != nil {
				t.Errorf("the one that was stuck: %v", got.err)
			}
			closeBoth(c, s)
			<-serve
		})
	}
	for _, stuck := range []string{"Get", "Put"} {
		t.Run(stuck, func(t *testing.T) { test(t, stuck) })
	}
}

// ---- the LRU by itself ----

// cachedSession is what a client can resume.
func cachedSession(t testing.TB, version uint16) *openssl.Session {
	t.Helper()
	return sessionOf(t, version, tlstest.NewServer(t))
}

// sessionOf is what a client can resume at a server.
func sessionOf(t testing.TB, version uint16, server *openssl.Ctx) *openssl.Session {
	t.Helper()
	client := tlstest.NewClient(t)
	tlstest.SetVersion(t, client, version)
	return tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
}

// put gives a copy of sess to a cache, which takes it over.
func put(t testing.TB, cache openssl.ClientSessionCache, key string, sess *openssl.Session) {
	t.Helper()
	dup, err := sess.Clone()
	must(t, err)
	cache.Put(key, dup)
}

// take asks a cache and closes what it gets.
func take(cache openssl.ClientSessionCache, key string) bool {
	sess, ok := cache.Get(key)
	if ok {
		sess.Close()
	}
	return ok
}

func TestLRUOnce(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			cache := newWatchedCache(t, 4)
			put(t, cache, "k", cachedSession(t, v.ID))
			if take(cache, "other") {
				t.Fatal("a key that was never put")
			}
			if !take(cache, "k") {
				t.Fatal("not there")
			}
			if got, want := take(cache, "k"), v.ID == tls.VersionTLS12; got != want {
				t.Fatalf("handed out again: %v, want %v", got, want)
			}
		})
	}
}

// Of TLS 1.3 the newest two of a key are kept; a session of another version takes the
// place of all.
func TestLRUTwo(t *testing.T) {
	var sessions []*openssl.Session
	for range 3 {
		sessions = append(sessions, cachedSession(t, tls.VersionTLS13))
	}
	older := cachedSession(t, tls.VersionTLS12)
	cache := newWatchedCache(t, 4)
	fill := func() {
		for _, sess := range sessions {
			put(t, cache, "k", sess)
		}
	}
	fill()
	for _, want := range []*openssl.Session{sessions[2], sessions[1]} {
		sess, ok := cache.Get("k")
		if !ok || !bytes.Equal(sess.ID(), want.ID()) {
			t.Fatal("another session than the newest")
		}
		sess.Close()
	}
	if take(cache, "k") {
		t.Error("a third session of the key is kept")
	}
	fill()
	put(t, cache, "k", older)
	if sess, ok := cache.Get("k"); !ok || !bytes.Equal(sess.ID(), older.ID()) {
		t.Error("TLS 1.2: another session than the newest")
	} else {
		sess.Close()
	}
	fill()
	for _, want := range []bool{true, true, false} {
		if take(cache, "k") != want {
			t.Error("after TLS 1.2: not two sessions of TLS 1.3")
		}
	}
	fill()
	cache.Put("k", nil)
	if take(cache, "k") {
		t.Error("a session is kept after Put(nil)")
	}
}

func TestLRUBounded(t *testing.T) {
	sess := cachedSession(t, tls.VersionTLS12)
	cache := newWatchedCache(t, 3)
	before := libssl.LiveHandles()
	for _, key := range []string{"a", "b", "c"} {
		put(t, cache, key, sess)
	}
	take(cache, "a") // used: now b is the oldest
	put(t, cache, "d", sess)
	put(t, cache, "d", sess)
	if got := libssl.LiveHandles() - before; got != 3 {
		t.Errorf("%d sessions are held, want 3", got)
	}
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if got := take(cache, key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	for _, key := range []string{"a", "c", "d", "never there"} {
		cache.Put(key, nil)
	}
	if got := libssl.LiveHandles() - before; got != 0 {
		t.Errorf("%d sessions are held by an empty cache", got)
	}
}

func TestLRUDefaultCapacity(t *testing.T) {
	sess := cachedSession(t, tls.VersionTLS12)
	for _, capacity := range []int{0, -1} {
		cache := newWatchedCache(t, capacity)
		for i := range 70 {
			put(t, cache, fmt.Sprint(i), sess)
		}
		kept := 0
		for i := range 70 {
			if take(cache, fmt.Sprint(i)) {
				kept++
			}
		}
		if kept != 64 {
			t.Errorf("capacity %d keeps %d", capacity, kept)
		}
	}
}

// Whatever a server promises, a session is kept for 7 days at most, and for no
// longer than was promised.
func TestLRULifetime(t *testing.T) {
	const day = 24 * time.Hour
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			sess := cachedSession(t, v.ID)
			for _, test := range []struct {
				timeout, age time.Duration
				want         bool
			}{
				{30 * day, 0, true},
				{30 * day, 7*day - time.Minute, true},
				{30 * day, 7*day + time.Minute, false},
				{time.Hour, 59 * time.Minute, true},
				{time.Hour, 61 * time.Minute, false},
			} {
				cache := newWatchedCache(t, 1)
				old := tlstest.WithField(t, sess, tlstest.FieldTimeout, int64(test.timeout/time.Second))
				old = tlstest.WithField(t, old, tlstest.FieldTime, time.Now().Add(-test.age).Unix())
				put(t, cache, "k", old)
				if got := take(cache, "k"); got != test.want {
					t.Errorf("a session for %v, %v old: %v", test.timeout, test.age, got)
				}
			}
		})
	}
}

// A cache that does not look at lifetimes itself gets none past a Conn.
func TestClientSessionCacheStale(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			addr := listenAndEcho(t, server)
			fresh := cachedSession(t, v.ID)
			stale := &oneSession{sess: tlstest.WithField(t, tlstest.WithField(t, fresh, tlstest.FieldTimeout, 30*24*3600), tlstest.FieldTime, time.Now().Add(-8*24*time.Hour).Unix())}
			client := newCachingClient(t, v.ID, stale, nil)
			if reach(t, client, addr, "server.test", false) {
				t.Fatal("resumed")
			}
			if got := server.Stats().Resumptions; got[openssl.ResumptionNotOffered] != 1 || stale.asked != 1 {
				t.Fatalf("the server counts %v, the cache was asked %d times", got, stale.asked)
			}
		})
	}
}

// oneSession is a careless cache: it always hands the same session out.
type oneSession struct {
	sess  *openssl.Session
	asked int
}

func (o *oneSession) Get(string) (*openssl.Session, bool) {
	o.asked++
	sess, err := o.sess.Clone()
	return sess, err == nil
}

func (o *oneSession) Put(_ string, s *openssl.Session) { s.Close() }

// A cache may say yes and give nothing, or something closed.
func TestClientSessionCacheMisbehaves(t *testing.T) {
	closed := cachedSession(t, tls.VersionTLS12)
	must(t, closed.Close())
	for name, sess := range map[string]*openssl.Session{"nil": nil, "closed": closed} {
		t.Run(name, func(t *testing.T) {
			addr := listenAndEcho(t, tlstest.NewServer(t))
			client := newCachingClient(t, tls.VersionTLS12, badCache{sess}, nil)
			if reach(t, client, addr, "server.test", false) {
				t.Fatal("resumed")
			}
		})
	}
}

type badCache struct{ sess *openssl.Session }

func (b badCache) Get(string) (*openssl.Session, bool) { return b.sess, true }
func (b badCache) Put(_ string, s *openssl.Session)    { s.Close() }

func TestClientSessionCacheOnServer(t *testing.T) {
	if err := tlstest.NewServer(t).SetClientSessionCache(openssl.NewLRUClientSessionCache(1)); err == nil {
		t.Fatal("a server took a client's cache")
	}
}

// anyKeyCache returns one session for every key.
type anyKeyCache struct{ session *openssl.Session }

func (a anyKeyCache) Get(string) (*openssl.Session, bool) {
	s, err := a.session.Clone()
	return s, err == nil
}

func (anyKeyCache) Put(_ string, s *openssl.Session) { s.Close() }

// TestClientCacheLooksAtTheCertificate has a cache that hands out sessions whose
// certificate has expired, or is of another server: they are not offered.
func TestClientCacheLooksAtTheCertificate(t *testing.T) {
	const peerField = 3 // of the SSL_SESSION in DER: the peer's certificate
	ended := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	for _, v := range tlstest.Versions {
		server := newHostServer(t, "a.test", "b.test")
		addr := listenAndEcho(t, server)
		made := tlstest.NewClient(t)
		tlstest.SetVersion(t, made, v.ID)
		d := openssl.Dialer{Ctx: made, ServerName: "a.test"}
		conn, err := d.DialContext(t.Context(), "tcp", addr)
		must(t, err)
		must(t, tlstest.RoundTrip(conn, []byte("ping")))
		der := tlstest.SessionDER(t, tlstest.SessionOf(t, conn.(*openssl.Conn)))
		must(t, conn.Close())
		of := func(name string, change func(*x509.Certificate)) []byte {
			cert, _ := tlstest.Certs(t).Leaf(t, name, tlstest.ECKey(t), change)
			return tlstest.EditSession(t, der, peerField, tlstest.ParseCert(t, cert).Raw)
		}
		for _, x := range []struct {
			what   string
			der    []byte
			verify openssl.VerifyMode
			name   string
			want   bool
		}{
			{"its own", der, openssl.VerifyPeer, "a.test", true},
			{"another name of it", der, openssl.VerifyPeer, "b.test", true},
			{"an address of it", der, openssl.VerifyPeer, "127.0.0.1", true},
			{"an expired one", of("a.test", ended), openssl.VerifyPeer, "a.test", false},
			{"another server's", of("c.test", nil), openssl.VerifyPeer, "a.test", false},
			{"another server's, for an address", of("c.test", nil), openssl.VerifyPeer, "127.0.0.1", false},
			{"another server's, of any name", of("c.test", nil), openssl.VerifyPeer | openssl.VerifyAnyName, "a.test", true},
			{"an expired one, of any name", of("a.test", ended), openssl.VerifyPeer | openssl.VerifyAnyName, "a.test", false},
			{"an expired one, not verified", of("a.test", ended), openssl.VerifyNone, "a.test", true},
		} {
			t.Run(v.Name+"/"+x.what, func(t *testing.T) {
				cache := anyKeyCache{tlstest.ParseSession(t, x.der)}
				client := newCachingClient(t, v.ID, cache, func(c *openssl.Ctx) { must(t, c.SetVerify(x.verify)) })
				if got := reach(t, client, addr, x.name, false); got != x.want {
					t.Errorf("a session with %s certificate: resumed %v, want %v", x.what, got, x.want)
				}
			})
		}
	}
}

// unknownPeer is a wire that does not know its peer's address.
type unknownPeer struct{ net.Conn }

func (unknownPeer) RemoteAddr() net.Addr { return nil }

func TestClientCacheUnknownPeer(t *testing.T) {
	for _, name := range []string{"server.test", ""} {
		t.Run(fmt.Sprintf("name %q", name), func(t *testing.T) {
			cache := newWatchedCache(t, 1)
			server := tlstest.NewServer(t)
			client := newCachingClient(t, tls.VersionTLS12, cache, func(c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyNone)) })
			for _, want := range []bool{false, name != ""} { // without either, servers cannot be told apart
				near, far := tlstest.TCPPair(t)
				c, err := openssl.Client(unknownPeer{near}, client)
				must(t, err)
				s, err := openssl.Server(far, server)
				must(t, err)
				if name != "" {
					must(t, c.SetServerName(name))
				}
				e := tlstest.Converse(t, c, s)
				if e.ClientErr != nil || e.ServerErr != nil || e.Client.DidResume != want {
					t.Errorf("resumed %v, want %v: client %v, server %v", e.Client.DidResume, want, e.ClientErr, e.ServerErr)
				}
			}
		})
	}
}
