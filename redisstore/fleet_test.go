package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/redisstore"
)

// secret is what the fleet's ticket keys are derived from.
var secret = []byte("a secret of thirty-two bytes or more")

// shares has two servers resume each other's sessions.
func shares(t *testing.T, o order) {
	t.Helper()
	one, other := start(t, o), start(t, o)
	c := newCaller(t, newClient(t))
	if c.mustCall(t, one.addr) {
		t.Fatal("the first connection was resumed")
	}
	for i, addr := range []string{other.addr, one.addr, one.addr, other.addr, other.addr} {
		// A session is put behind its handshake: this is the store's pace, not the client's.
		first := c.last
		c.last = nil
		eventually(t, fmt.Sprintf("connection %d is resumed by another process", i), func() bool {
			got, resumed, err := visit(t.Context(), c.client, addr, first)
			must(t, err)
			if resumed {
				c.keep(got)
			} else {
				got.Close()
			}
			return resumed
		})
		must(t, first.Close())
	}
	for _, s := range []*server{one, other} {
		if r := s.ask(t, "stats"); r.Failed != 0 || r.Stats.Store.Errors+r.Stats.Store.Timeouts+r.Stats.Store.Refused != 0 {
			t.Errorf("%d handshakes failed (%s), %+v", r.Failed, r.Why, r.Stats.Store)
		}
	}
}

// TestProcessesShareSessions has two processes share sessions over each engine.
func TestProcessesShareSessions(t *testing.T) {
	for _, x := range engines {
		t.Run(x.name, func(t *testing.T) {
			program(t, x.program, x.wanted)
			e := newEngine(t, x.program)
			for _, v := range versions {
				t.Run(v.name, func(t *testing.T) {
					shares(t, order{Version: v.id, SIDContext: "fleet", Redis: []string{e.addr()}})
				})
			}
		})
	}
	t.Run("Cluster", func(t *testing.T) {
		program(t, "redis-server", true)
		nodes := newCluster(t)
		addrs := []string{nodes[0].addr()} // the others are found by themselves
		for _, v := range versions {
			t.Run(v.name, func(t *testing.T) {
				o := order{Version: v.id, SIDContext: "fleet", Redis: addrs, Cluster: true}
				shares(t, o)
				s, c := start(t, o), newClient(t)
				for range 30 {
					newCaller(t, c).mustCall(t, s.addr)
				}
			})
		}
		for i, e := range nodes {
			if n, err := e.client.DBSize(t.Context()).Result(); err != nil || n == 0 {
				t.Errorf("node %d holds %d sessions (%v): the keys are not spread", i, n, err)
			}
		}
	})
}

// TestNotOneSessionCrosses has two services share one Redis and one secret for
// ticket keys, and nothing else.
func TestNotOneSessionCrosses(t *testing.T) {
	program(t, "redis-server", true)
	e := newEngine(t, "redis-server")
	const clients, each = 40, 10
	test := func(t *testing.T, v version, tickets bool) {
		must(t, e.client.FlushAll(t.Context()).Err())
		o := order{Version: v.id, Redis: []string{e.addr()}, Tickets: tickets, Secret: secret}
		o.SIDContext = "red"
		red := []*server{start(t, o), start(t, o)}
		o.SIDContext = "blue"
		blue := start(t, o)
		client := newClient(t)
		within, crossed := 0, 0
		for i := range clients {
			c := newCaller(t, client)
			c.mustCall(t, red[0].addr)
			if !tickets && i == 0 {
				e.holds(t, 1)
			}
			for k := range each {
				stranger, resumed, err := visit(t.Context(), client, blue.addr, c.last)
				must(t, err)
				must(t, stranger.Close())
				if resumed {
					crossed++
				}
				if c.mustCall(t, red[(k+1)%2].addr) {
					within++
				}
			}
		}
		t.Logf("%d of %d resumed within a context, %d of %d across", within, clients*each, crossed, clients*each)
		if crossed != 0 {
			t.Errorf("%d sessions have crossed", crossed)
		}
		if within*100 < clients*each*99 {
			t.Errorf("%d of %d were resumed within their context, want 99 %%", within, clients*each)
		}
		if r := blue.ask(t, "stats"); r.Stats.Store.Hits != 0 {
			t.Errorf("blue has found %d sessions", r.Stats.Store.Hits)
		}
	}
	for _, v := range versions {
		for _, tickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tickets %v", v.name, tickets), func(t *testing.T) { test(t, v, tickets) })
		}
	}
}

// load is clients that call without end and resume what they can.
type load struct {
	addrs                  []string
	calls, resumed, failed atomic.Int64
	why                    atomic.Value
	cancel                 context.CancelFunc
	wg                     sync.WaitGroup
}

func newLoad(t *testing.T, clients int, addrs ...string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{addrs: addrs, cancel: cancel}
	client := newClient(t)
	for i := range clients {
		c := newCaller(t, client)
		l.wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				resumed, err := c.call(context.Background(), l.addrs[n%len(l.addrs)])
				l.calls.Add(1)
				switch {
				case err != nil:
					l.failed.Add(1)
					l.why.Store(err.Error())
				case resumed:
					l.resumed.Add(1)
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// passes waits for that many more calls and says how many of them were resumed, in percent.
func (l *load) passes(t *testing.T, calls int64) float64 {
	t.Helper()
	began, resumed := l.calls.Load(), l.resumed.Load()
	eventually(t, fmt.Sprintf("%d more calls have come through", calls), func() bool { return l.calls.Load() >= began+calls })
	return 100 * float64(l.resumed.Load()-resumed) / float64(l.calls.Load()-began)
}

// TestStoreTroublesUnderLoad does to a Redis what happens to one, while clients
// resume.
func TestStoreTroublesUnderLoad(t *testing.T) {
	program(t, "redis-server", true)
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			e := newEngine(t, "redis-server")
			o := order{Version: v.id, SIDContext: "fleet", Redis: []string{e.addr()}, Hurried: true}
			servers := []*server{start(t, o), start(t, o)}
			l := newLoad(t, 4, servers[0].addr, servers[1].addr)
			comesBack := func(after string) {
				t.Helper()
				began := time.Now()
				eventually(t, "resumption has come back after it was "+after, func() bool { return l.passes(t, 40) >= 90 })
				t.Logf("%s: resumption is back %v later", after, time.Since(began).Round(time.Millisecond))
			}
			goesAway := func(when string) {
				t.Helper()
				eventually(t, "nothing is resumed any more: the store is "+when, func() bool { return l.passes(t, 40) == 0 })
			}
			comesBack("started")

			e.kill()
			goesAway("killed")
			e.start(t)
			comesBack("killed and restarted")

			must(t, e.cmd.Process.Signal(syscall.SIGSTOP))
			goesAway("paused")
			must(t, e.cmd.Process.Signal(syscall.SIGCONT))
			comesBack("paused")

			must(t, e.client.FlushAll(t.Context()).Err())
			comesBack("flushed")

			// 64 KiB more than what is in use now, and 8 MiB to be kept.
			must(t, e.client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
			must(t, e.client.ConfigSet(t.Context(), "maxmemory", "4mb").Err())
			for i := range 128 {
				must(t, e.client.Set(t.Context(), fmt.Sprint("filling ", i), make([]byte, 64<<10), 0).Err())
			}
			evicted, err := e.client.InfoMap(t.Context(), "stats").Result()
			must(t, err)
			if n := evicted["Stats"]["evicted_keys"]; n == "0" || n == "" {
				t.Errorf("%q keys were evicted: the store was not full", n)
			}
			comesBack("filled")

			l.stop()
			if n := l.failed.Load(); n != 0 {
				t.Errorf("%d of %d handshakes failed: %v", n, l.calls.Load(), l.why.Load())
			}
			for _, s := range servers {
				r := s.ask(t, "stats")
				t.Logf("%d calls, %+v", l.calls.Load(), r.Stats.Store)
				if r.Failed != 0 {
					t.Errorf("%d handshakes failed: %s", r.Failed, r.Why)
				}
				if s := r.Stats.Store; s.Timeouts == 0 || s.Errors+s.Skipped == 0 || s.Refused != 0 {
					t.Errorf("a store that was killed and paused: %+v", s)
				}
			}
		})
	}
}

// TestSingleUse offers one session twice, to both servers.
func TestSingleUse(t *testing.T) {
	test := func(t *testing.T, x engineProgram) {
		program(t, x.program, x.wanted)
		e := newEngine(t, x.program)
		for _, v := range versions {
			for _, single := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%v", v.name, single), func(t *testing.T) { singleUse(t, e, v, single) })
			}
		}
	}
	for _, x := range engines {
		t.Run(x.name, func(t *testing.T) { test(t, x) })
	}
}

func singleUse(t *testing.T, e *engine, v version, single bool) {
	must(t, e.client.FlushAll(t.Context()).Err())
	o := order{Version: v.id, SIDContext: "fleet", Redis: []string{e.addr()}, SingleUse: single}
	servers := []*server{start(t, o), start(t, o)}
	c := newCaller(t, newClient(t))
	c.mustCall(t, servers[0].addr)
	e.holds(t, map[string]int64{"TLS1.2": 1, "TLS1.3": 2}[v.name])
	resumed := 0
	const offers = 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range offers {
		wg.Go(func() {
			got, again, err := visit(t.Context(), c.client, servers[i%2].addr, c.last)
			if err != nil {
				t.Errorf("visit: %v", err)
				return
			}
			got.Close()
			mu.Lock()
			defer mu.Unlock()
			if again {
				resumed++
			}
		})
	}
	wg.Wait()
	want := offers
	if single {
		want = 1
	}
	if resumed != want {
		t.Errorf("one session was resumed %d times of %d, want %d", resumed, offers, want)
	}
}

// fleet is servers behind a balancer that takes one out before it is stopped.
type fleet struct {
	order order
	mu    []sync.RWMutex
	at    []*server
}

func newFleet(t *testing.T, n int, o order) *fleet {
	f := &fleet{order: o, mu: make([]sync.RWMutex, n)}
	for range n {
		f.at = append(f.at, start(t, o))
	}
	return f
}

// call goes to the first server from n on that is not being restarted.
func (f *fleet) call(ctx context.Context, c *caller, n int) (resumed bool, err error) {
	for ; ; n++ {
		i := n % len(f.at)
		if f.mu[i].TryRLock() {
			defer f.mu[i].RUnlock()
			return c.call(ctx, f.at[i].addr)
		}
	}
}

func (f *fleet) restart(t *testing.T, i int) {
	f.mu[i].Lock()
	defer f.mu[i].Unlock()
	if r := f.at[i].ask(t, "stats"); r.Failed != 0 {
		t.Errorf("server %d: %d handshakes failed: %s", i, r.Failed, r.Why)
	}
	f.at[i].stop(t)
	f.at[i] = start(t, f.order)
}

// TestRollingRestart restarts four servers one after the other under load.
func TestRollingRestart(t *testing.T) {
	program(t, "redis-server", true)
	e := newEngine(t, "redis-server")
	type row struct {
		name  string
		order order
	}
	test := func(t *testing.T, x row, v version) {
		o := x.order
		o.Version = v.id
		f, client := newFleet(t, 4, o), newClient(t)
		var calls, resumed, failed atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		for i := range 3 {
			c := newCaller(t, client)
			wg.Go(func() { callUntil(ctx, t, f, c, i, &calls, &resumed, &failed) })
		}
		passes := func() {
			began := calls.Load()
			eventually(t, "the load goes on", func() bool { return calls.Load() > began+50 })
		}
		passes()
		for i := range f.at {
			f.restart(t, i)
			passes()
		}
		cancel()
		wg.Wait()
		rate := 100 * float64(resumed.Load()) / float64(calls.Load())
		t.Logf("%d calls, %.1f %% resumed", calls.Load(), rate)
		if rate <= 95 || failed.Load() != 0 {
			t.Errorf("%.1f %% of %d calls resumed over a rolling restart, want more than 95; %d failed", rate, calls.Load(), failed.Load())
		}
	}
	for _, x := range []row{
		{"store only", order{SIDContext: "fleet", Redis: []string{e.addr()}}},
		{"tickets only", order{SIDContext: "fleet", Tickets: true, Secret: secret}},
	} {
		for _, v := range versions {
			t.Run(x.name+"/"+v.name, func(t *testing.T) { test(t, x, v) })
		}
	}
}

// callUntil calls the fleet until ctx ends, from its nth server on.
func callUntil(ctx context.Context, t *testing.T, f *fleet, c *caller, n int, calls, resumed, failed *atomic.Int64) {
	for ; ctx.Err() == nil; n++ {
		again, err := f.call(context.Background(), c, n)
		calls.Add(1)
		switch {
		case err != nil:
			failed.Add(1)
			t.Errorf("a client's visit: %v", err)
		case again:
			resumed.Add(1)
		}
		<-time.After(5 * time.Millisecond) // no client returns before its session is stored
	}
}

// TestRevokeHoldsForTheFleet carries one server's new generation to all of them.
func TestRevokeHoldsForTheFleet(t *testing.T) {
	program(t, "redis-server", true)
	e := newEngine(t, "redis-server")
	test := func(t *testing.T, v version, tickets bool) {
		must(t, e.client.FlushAll(t.Context()).Err())
		o := order{Version: v.id, Generation: 7, Redis: []string{e.addr()}, Tickets: tickets, Secret: secret}
		f, client := newFleet(t, 4, o), newClient(t)
		var callers []*caller
		for i := range 8 {
			c := newCaller(t, client)
			c.mustCall(t, f.at[i%4].addr)
			callers = append(callers, c)
		}
		if !tickets {
			e.holds(t, 8)
		}
		for i, c := range callers {
			if !c.mustCall(t, f.at[(i+1)%4].addr) {
				t.Errorf("caller %d was not resumed before the revocation", i)
			}
		}
		f.order.Generation = f.at[0].ask(t, "revoke").Generation
		if f.order.Generation != 8 {
			t.Fatalf("generation %d comes after 7", f.order.Generation)
		}
		for i := 1; i < 4; i++ {
			f.restart(t, i)
		}
		for i, c := range callers {
			for k, s := range f.at {
				got, resumed, err := visit(t.Context(), client, s.addr, c.last)
				must(t, err)
				must(t, got.Close())
				if resumed {
					t.Errorf("caller %d: server %d has resumed a revoked session", i, k)
				}
			}
		}
		for i, c := range callers {
			c.mustCall(t, f.at[i%4].addr)
			eventually(t, "a session of after the revocation is resumed by another server", func() bool {
				got, resumed, err := visit(t.Context(), client, f.at[(i+1)%4].addr, c.last)
				must(t, err)
				must(t, got.Close())
				return resumed
			})
		}
	}
	for _, v := range versions {
		for _, tickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tickets %v", v.name, tickets), func(t *testing.T) { test(t, v, tickets) })
		}
	}
}

// TestStore is the store by itself.
func TestStore(t *testing.T) {
	for _, x := range engines {
		t.Run(x.name, func(t *testing.T) {
			program(t, x.program, x.wanted)
			e := newEngine(t, x.program)
			ctx := t.Context()
			store := redisstore.New(e.client, redisstore.Options{})
			id, session := []byte{0, 1, 2, 0xff}, []byte("a session\x00\xff")

			if _, err := store.Get(ctx, id); !errors.Is(err, openssl.ErrSessionNotFound) {
				t.Errorf("Get of nothing: %v, want ErrSessionNotFound", err)
			}
			must(t, store.Delete(ctx, id))
			must(t, store.Put(ctx, id, session, time.Now().Add(time.Hour+time.Second/2)))
			if got, err := store.Get(ctx, id); err != nil || string(got) != string(session) {
				t.Errorf("Get: %q, %v", got, err)
			}
			keys, err := e.client.Keys(ctx, "*").Result()
			must(t, err)
			if len(keys) != 1 || keys[0] != "tls:session:AAEC_w" {
				t.Errorf("the keys are %q", keys)
			}
			if ttl, err := e.client.TTL(ctx, keys[0]).Result(); err != nil || ttl > time.Hour || ttl < time.Hour-10*time.Second {
				t.Errorf("it lives %v (%v), want an hour and never longer", ttl, err)
			}
			must(t, store.Delete(ctx, id))
			if n := e.client.DBSize(ctx).Val(); n != 0 {
				t.Errorf("%d keys after Delete", n)
			}
			must(t, store.Put(ctx, id, session, time.Now()))
			must(t, store.Put(ctx, id, session, time.Unix(0, 0)))
			if n := e.client.DBSize(ctx).Val(); n != 0 {
				t.Errorf("%d sessions were put that are over", n)
			}

			mine := redisstore.New(e.client, redisstore.Options{Prefix: "mine ", SingleUse: true})
			must(t, mine.Put(ctx, id, session, time.Now().Add(time.Hour)))
			if n := e.client.Exists(ctx, "mine AAEC_w").Val(); n != 1 {
				t.Error("the prefix was not used")
			}
			if _, err := store.Get(ctx, id); !errors.Is(err, openssl.ErrSessionNotFound) {
				t.Errorf("a session of another prefix: %v", err)
			}
			if got, err := mine.Get(ctx, id); err != nil || string(got) != string(session) {
				t.Errorf("the first Get: %q, %v", got, err)
			}
			if _, err := mine.Get(ctx, id); !errors.Is(err, openssl.ErrSessionNotFound) {
				t.Errorf("the second Get: %v, want ErrSessionNotFound", err)
			}

			// An engine that has stopped costs what the context says.
			must(t, e.cmd.Process.Signal(syscall.SIGSTOP))
			defer e.cmd.Process.Signal(syscall.SIGCONT)
			for name, call := range map[string]func(context.Context) error{
				"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, id); return err },
				"Put":    func(ctx context.Context) error { return store.Put(ctx, id, session, time.Now().Add(time.Hour)) },
				"Delete": func(ctx context.Context) error { return store.Delete(ctx, id) },
			} {
				limited, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				began := time.Now()
				err := call(limited)
				cancel()
				if took := time.Since(began); err == nil || errors.Is(err, openssl.ErrSessionNotFound) || took > 2*time.Second {
					t.Errorf("%s of a paused engine: %v after %v", name, err, took)
				}
			}
		})
	}
}

// BenchmarkResumption is one client that resumes over loopback, at a server with a
// store and at one with libssl's own cache by turns, so that whatever else the
// machine does falls on both: the difference is what the store adds.
func BenchmarkResumption(b *testing.B) {
	program(b, "redis-server", true)
	test := func(b *testing.B, v version) {
		e := newEngine(b, "redis-server")
		orders := [2]order{
			{Version: v.id, SIDContext: "fleet", Cache: true},
			{Version: v.id, SIDContext: "fleet", Redis: []string{e.addr()}},
		}
		client := newClient(b)
		var servers [2]*server
		var callers [2]*caller
		for i, o := range orders {
			servers[i], callers[i] = start(b, o), newCaller(b, client)
			callers[i].mustCall(b, servers[i].addr)
		}
		e.holds(b, 1)
		var took [2][]time.Duration // of resumed handshakes
		calls := 0
		for b.Loop() {
			calls++
			for i := range servers {
				if d, resumed := timed(b, callers[i], servers[i].addr); resumed {
					took[i] = append(took[i], d)
				}
			}
		}
		at := func(i, percent int) float64 {
			slices.Sort(took[i])
			return float64(took[i][(len(took[i])-1)*percent/100].Microseconds())
		}
		b.ReportMetric(at(0, 50), "cache-p50-µs")
		b.ReportMetric(at(0, 99), "cache-p99-µs")
		b.ReportMetric(at(1, 50), "store-p50-µs")
		b.ReportMetric(at(1, 99), "store-p99-µs")
		b.ReportMetric(100*float64(len(took[1]))/float64(calls), "%resumed")
		keys, err := e.client.Keys(b.Context(), "*").Result()
		must(b, err)
		used, err := e.client.MemoryUsage(b.Context(), keys[0]).Result()
		must(b, err)
		length, err := e.client.StrLen(b.Context(), keys[0]).Result()
		must(b, err)
		b.ReportMetric(float64(length), "session-bytes")
		b.ReportMetric(float64(used), "engine-bytes")
	}
	for _, v := range versions {
		b.Run(v.name, func(b *testing.B) { test(b, v) })
	}
}

// timed is how long a call takes from its handshake to the echo of its word.
func timed(b *testing.B, c *caller, addr string) (took time.Duration, resumed bool) {
	wire, err := net.Dial("tcp", addr)
	must(b, err)
	conn, err := openssl.Client(wire, c.client)
	must(b, err)
	defer conn.Close()
	must(b, conn.SetServerName("server.test"))
	must(b, conn.SetSession(c.last))
	began := time.Now()
	must(b, conn.Handshake())
	_, err = conn.Write([]byte("hello"))
	must(b, err)
	_, err = io.ReadFull(conn, make([]byte, 5))
	must(b, err)
	took = time.Since(began)
	got, err := conn.Session()
	must(b, err)
	c.keep(got)
	return took, conn.ConnectionState().DidResume
}
