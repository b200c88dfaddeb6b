//go:build soak && cgo

// Package soak keeps servers busy for a long time and measures whether they grow.
package soak_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// TestSoak has clients of many kinds connect to servers whose keys, certificates,
// sessions and store change all the time, for as long as SOAK says. Memory must not
// grow: 0 is within the 95 % confidence interval of its slope, or above it, in one of at
// least three runs. What else is counted must be as before once everything is closed.
// SOAK_SVG names a file to draw.
func TestSoak(t *testing.T) {
	length := time.Minute
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	}
	goroutines := runtime.NumGoroutine()
	t.Run("before", once) // what Go and libcrypto open with the first connection stays open
	before := settled(sample{handles: libssl.LiveHandles(), descriptors: descriptors(t), goroutines: goroutines})
	// An interval of 95 % leaves 0 out in one of 40 runs in which nothing grows, and more
	// often in the first minutes. What grows does so in every run.
	runs := max(3, int(plateau/length))
	for run := 1; ; run++ {
		var samples []sample
		connections := int64(0)
		t.Run("load", func(t *testing.T) { connections, samples = load(t, length) })
		if t.Failed() {
			return
		}
		after := settled(before)
		low, high := slope(samples[len(samples)/3:])
		print(samples)
		if file := os.Getenv("SOAK_SVG"); file != "" {
			must(t, os.WriteFile(file, draw(samples), 0o644))
		}
		if after.descriptors != before.descriptors || after.goroutines != before.goroutines || after.handles != before.handles {
			stacks := make([]byte, 1<<16)
			t.Fatalf("after everything is closed there are %d descriptors, %d goroutines and %d handles; before there were %d, %d and %d\n%s",
				after.descriptors, after.goroutines, after.handles, before.descriptors, before.goroutines, before.handles,
				stacks[:runtime.Stack(stacks, true)])
		}
		figures := fmt.Sprintf("%v, %d connections, memory %.0f to %.0f KiB/min (95 %%)", length, connections, low, high)
		if low <= 0 {
			fmt.Printf("soak: %s, descriptors, goroutines and handles as before\n", figures)
			return
		}
		if run == runs {
			t.Fatalf("memory grows, in each of %d runs; the last: %s", run, figures)
		}
		fmt.Printf("soak: %s: once more\n", figures)
	}
}

// once is one connection.
func once(t *testing.T) {
	e := tlstest.ConnectTCP(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: tlstest.NewMutualServer(t, "a")})
	if e.ClientErr != nil || e.ServerErr != nil {
		t.Fatalf("client %v, server %v", e.ClientErr, e.ServerErr)
	}
}

// ---- load ----

// plateau is how long short runs are repeated: the allocator's memory has come to its peak
// by then.
const plateau = 5 * time.Minute

const (
	workers = 8 // clients that connect at the same time
	burst   = 8 // and more in the first quarter: the threads and the memory that a peak takes stay
)

// soak is a load.
type soak struct {
	testing.TB
	ctx         context.Context
	wg          sync.WaitGroup // of servers
	connections atomic.Int64
	revocations atomic.Int64
	refusals    atomic.Int64
}

// load is a load from its begin to its end, and what was sampled.
func load(t *testing.T, length time.Duration) (connections int64, samples []sample) {
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	x := &soak{TB: t, ctx: ctx}
	var listeners []net.Listener
	var addresses []string
	var parts sync.WaitGroup
	routed, hosts := x.routed(&parts)
	for _, c := range []*openssl.Ctx{routed, x.stored()} {
		l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
		must(t, err)
		listeners, addresses = append(listeners, l), append(addresses, l.Addr().String())
		x.wg.Go(func() { x.serve(l) })
	}
	closeAll := sync.OnceFunc(func() {
		for _, l := range listeners {
			l.Close()
		}
		x.wg.Wait()
		hosts.Lookup("server.test").Close()
	})
	defer closeAll()
	kinds := x.clients()
	peak, end := context.WithTimeout(ctx, length/4)
	defer end()
	for w := range workers + burst {
		until := ctx
		if w >= workers {
			until = peak
		}
		parts.Go(func() {
			for i := w; until.Err() == nil && !t.Failed(); i++ {
				x.connect(kinds[i%len(kinds)], addresses[i/len(kinds)%2], i)
			}
		})
	}
	began, interval := time.Now(), length/blocks/15 // a block has ten
	for tick := time.NewTicker(max(interval, 50*time.Millisecond)); ctx.Err() == nil && !t.Failed(); {
		select {
		case <-tick.C:
			samples = append(samples, take(t, time.Since(began), x.connections.Load()))
		case <-ctx.Done():
			tick.Stop()
		}
	}
	stop()
	parts.Wait()
	for _, k := range kinds {
		k.forget()
	}
	closeAll()
	return x.connections.Load(), samples
}

// routed is a server whose host is renewed and revoked, and its ticket keys rotated.
func (x *soak) routed(parts *sync.WaitGroup) (front *openssl.Ctx, hosts *openssl.Hosts) {
	ca := tlstest.Certs(x)
	renewed := func() *openssl.Ctx {
		c, err := openssl.NewServerCtx()
		must(x, err)
		must(x, c.UseCertificate(ca.Leaf(x, "server.test", tlstest.ECKey(x), nil)))
		must(x, c.SetClientCAs(ca.PEM))
		must(x, c.SetVerify(openssl.VerifyPeer))
		must(x, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "host"}))
		return c
	}
	hosts = openssl.NewHosts()
	host := renewed()
	must(x, hosts.Add("server.test", host))
	front = tlstest.NewMutualServer(x, "front")
	must(x, front.SetClientHelloFunc(hosts.Route))
	keys := []openssl.TicketKey{tlstest.TicketKey(1), tlstest.TicketKey(0)}
	must(x, front.SetTicketKeys(keys...))
	x.every(parts, 300*time.Millisecond, func(i int) {
		next := renewed()
		if err := hosts.Replace("server.test", next); err != nil {
			x.Errorf("Replace: %v", err)
			next.Close()
			return
		}
		host.Close()
		host = next
		if i%3 == 0 {
			x.revocations.Add(1)
			if _, err := host.Revoke(); err != nil {
				x.Errorf("Revoke: %v", err)
			}
		}
	})
	x.every(parts, 700*time.Millisecond, func(i int) {
		keys = []openssl.TicketKey{tlstest.TicketKey(byte(i)), keys[0]}
		if err := front.SetTicketKeys(keys...); err != nil {
			x.Errorf("SetTicketKeys: %v", err)
		}
	})
	return front, hosts
}

// every calls f again and again, until the load ends.
func (x *soak) every(parts *sync.WaitGroup, d time.Duration, f func(i int)) {
	parts.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for i := 2; ; i++ {
			select {
			case <-tick.C:
				f(i)
			case <-x.ctx.Done():
				return
			}
		}
	})
}

// stored is a server with a session store that has outages.
func (x *soak) stored() *openssl.Ctx {
	c := tlstest.NewServer(x)
	must(x, c.SetClientCAs(tlstest.Certs(x).PEM))
	must(x, c.SetVerify(openssl.VerifyPeer))
	must(x, c.SetSessionIDContext([]byte("stored")))
	must(x, c.SetOptions(openssl.OptionNoTicket))
	must(x, c.SetSessionStore(&store{began: time.Now(), sessions: map[string][]byte{}}))
	return c
}

// store fails for 2 of each 7 seconds.
type store struct {
	began    time.Time
	mu       sync.Mutex
	sessions map[string][]byte
}

var errOutage = fmt.Errorf("the store is not there")

func (s *store) fails() bool { return time.Since(s.began)%(7*time.Second) > 5*time.Second }

func (s *store) Get(_ context.Context, id []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails() {
		return nil, errOutage
	}
	if found := s.sessions[string(id)]; found != nil {
		return found, nil
	}
	return nil, openssl.ErrSessionNotFound
}

func (s *store) Put(_ context.Context, id, session []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails() {
		return errOutage
	}
	if len(s.sessions) >= 100 {
		for old := range s.sessions { // any one
			delete(s.sessions, old)
			break
		}
	}
	s.sessions[string(id)] = append([]byte(nil), session...)
	return nil
}

func (s *store) Delete(_ context.Context, id []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, string(id))
	return nil
}

// serve echoes, on each connection until its end.
func (x *soak) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // it is closed
		}
		x.wg.Go(func() {
			conn.SetDeadline(time.Now().Add(time.Minute))
			io.Copy(conn, conn)
			conn.Close()
		})
	}
}

// kind is a client, with a session cache of its own.
type kind struct {
	name   string
	client func(wire net.Conn) (net.Conn, error)
	forget func()
}

func (x *soak) clients() (all []kind) {
	for _, v := range tlstest.Versions {
		for _, certificate := range []bool{true, false} {
			name := fmt.Sprintf("%s, certificate %v", v.Name, certificate)
			ours := tlstest.BareClient(x)
			must(x, ours.SetVerifyCAs(tlstest.Certs(x).PEM))
			if certificate {
				must(x, ours.UseCertificate(tlstest.Fixtures.ClientCert, tlstest.Fixtures.ClientKey))
			}
			tlstest.SetVersion(x, ours, v.ID)
			cache := &cache{ClientSessionCache: openssl.NewLRUClientSessionCache(16)}
			must(x, ours.SetClientSessionCache(cache))
			all = append(all, kind{name, func(wire net.Conn) (net.Conn, error) {
				c, err := openssl.Client(wire, ours)
				if err == nil {
					err = c.SetServerName("server.test")
				}
				return c, err
			}, cache.forget})

			theirs := tlstest.GoClient(x)
			if certificate {
				theirs.Certificates = []tls.Certificate{*tlstest.GoCertificate(x)}
			}
			theirs.MinVersion, theirs.MaxVersion = v.ID, v.ID
			theirs.ClientSessionCache = tls.NewLRUClientSessionCache(16)
			all = append(all, kind{"crypto/tls, " + name, func(wire net.Conn) (net.Conn, error) {
				return tls.Client(wire, theirs), nil
			}, func() {}})
		}
	}
	return all
}

// cache knows its keys, to be emptied.
type cache struct {
	openssl.ClientSessionCache
	keys sync.Map
}

func (c *cache) Put(key string, s *openssl.Session) {
	c.keys.Store(key, true)
	c.ClientSessionCache.Put(key, s)
}

func (c *cache) forget() {
	for key := range c.keys.Range {
		c.ClientSessionCache.Put(key.(string), nil)
	}
}

// connect is the ith connection. One in seven ends early, in one of several ways.
func (x *soak) connect(k kind, address string, i int) {
	wire, err := net.Dial("tcp", address)
	if err != nil {
		x.Errorf("Dial: %v", err)
		return
	}
	defer wire.Close()
	wire.SetDeadline(time.Now().Add(time.Minute))
	x.connections.Add(1)
	abrupt := i % 28
	if abrupt == 7 { // within the ClientHello, or what goes for one
		wire.Write([]byte{22, 3, 1, 1, 0, 1, 0})
		return
	}
	c, err := k.client(wire)
	if err != nil {
		x.Errorf("%s: %v", k.name, err)
		return
	}
	defer c.Close()
	if abrupt == 14 { // within the handshake
		go wire.Close()
		c.Write([]byte("too late, or not"))
		return
	}
	message := make([]byte, 1+i*997%20_000)
	rand.Read(message)
	if err := tlstest.RoundTrip(c, message); err != nil {
		// A session that is revoked while it is being resumed ends with one of two alerts.
		text := strings.ToLower(err.Error())
		if (strings.Contains(text, "bad certificate") || strings.Contains(text, "bad record mac")) &&
			x.refusals.Add(1) <= (workers+burst)*x.revocations.Load() {
			return
		}
		x.Errorf("%s to %s: %v", k.name, address, err)
		return
	}
	switch abrupt {
	case 21: // with a reset
		wire.(*net.TCPConn).SetLinger(0)
		wire.Close()
	case 0: // without close_notify
		wire.Close()
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
