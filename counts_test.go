//go:build cgo

package openssl_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// What is counted here is exact: these are tests, not benchmarks.

// instrumented says whether this test binary was built so that it allocates on
// its own behalf: -race has sync.Pool forget what it holds, and a sanitizer
// keeps books, too.
func instrumented() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if (s.Key == "-race" || s.Key == "-asan" || s.Key == "-msan") && s.Value == "true" {
			return true
		}
	}
	return false
}

// alone runs the calling test in a process of its own, where nobody else
// allocates, calls C or starts threads. In that process it returns true; in the
// first one it has beside, if not nil, talk to the other, over listeners on
// loopback that both have open.
func alone(t *testing.T, beside func(addr string) error) (l net.Listener, here bool) {
	t.Helper()
	const key = "OPENSSL_TEST_ALONE"
	if os.Getenv(key) == t.Name() {
		l, err := net.FileListener(os.NewFile(3, "listener"))
		must(t, err)
		t.Cleanup(func() { l.Close() })
		return l, true
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	must(t, err)
	defer file.Close()
	// Each part of a subtest's name is a pattern of its own.
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), key+"="+t.Name())
	cmd.ExtraFiles = []*os.File{file}
	var besideErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if beside != nil {
			besideErr = beside(listener.Addr().String())
		}
	}()
	out, err := cmd.CombinedOutput()
	listener.Close()
	if err != nil {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
	<-done
	if besideErr != nil {
		t.Fatal(besideErr)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("the process of its own has not run %s:\n%s", t.Name(), out)
	}
	if _, counted, ok := strings.Cut(string(out), "counted: "); ok {
		counted, _, _ = strings.Cut(counted, "\n")
		t.Log(counted)
	}
	return nil, false
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// noGC keeps the collector from emptying the pools while something is counted.
func noGC(t *testing.T) {
	old := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(old) })
}

var sizes = []int{64, 1 << 10, 16 << 10, 64 << 10}

// Read and Write allocate nothing; a Write of up to 64 KiB is one call into C
// and one Write of the wire.
func TestCountsReadWrite(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		if _, here := alone(t, nil); !here {
			return
		}
		// On one processor: each has a pool of its own to fill.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		noGC(t)
		const rounds = 100
		c, s, near, far := wireConns(t, client, server, 1<<20)
		mustHandshake(t, c, s)
		speak(t, c, s)
		for _, end := range []struct {
			from, to *openssl.Conn
			wire     *wire
		}{{c, s, near}, {s, c, far}} {
			for _, size := range sizes {
				p := make([]byte, size)
				send := func() {
					if n, err := end.from.Write(p); n != size || err != nil {
						t.Fatal(n, err)
					}
				}
				receive := func() {
					if _, err := io.ReadFull(end.to, p); err != nil {
						t.Fatal(err)
					}
				}
				send()
				receive()

				writes, calls := end.wire.writes.Load(), runtime.NumCgoCall()
				for range rounds / 10 {
					send()
				}
				if got := runtime.NumCgoCall() - calls; got != rounds/10 {
					t.Errorf("%d Writes of %d bytes are %d calls into C", rounds/10, size, got)
				}
				if got := end.wire.writes.Load() - writes; got != rounds/10 {
					t.Errorf("%d Writes of %d bytes are %d Writes of the wire", rounds/10, size, got)
				}
				for range rounds / 10 {
					receive()
				}

				if instrumented() {
					continue // the sanitizer's own mallocs cannot be told from ours
				}
				before := mallocs()
				for range rounds {
					send()
					receive()
				}
				if got := mallocs() - before; got != 0 {
					t.Errorf("%d Writes and Reads of %d bytes are %d mallocs", rounds, size, got)
				}
			}
		}
	})
}

// A Read of 16 KiB is little more than one call into C while there is more to
// read: the wire holds it all, so that the count is exact.
func TestCountsBusyRead(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		const size, total, most = 16 << 10, 8 << 20, 1.3
		c, s, _, _ := wireConns(t, client, server, 2*total)
		mustHandshake(t, c, s)
		speak(t, c, s)
		p := make([]byte, 64<<10)
		for range total / len(p) {
			if _, err := s.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		calls := runtime.NumCgoCall()
		for buf, n := make([]byte, size), 0; n < total; {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
		each := float64(runtime.NumCgoCall()-calls) / (total / size)
		t.Logf("%.3f calls into C for each 16 KiB read", each)
		if each > most {
			t.Errorf("reading is %.2f calls into C for each 16 KiB, want at most %.1f", each, most)
		}
	})
}

// A server accepts and shakes hands with few allocations and few calls into C.
// The client is another process; the server's counts are this one's.
func TestCountsHandshake(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			const rounds, warm = 100, 10
			client, server := newClient(t), newServer(t)
			setVersion(t, client, v.id)
			setVersion(t, server, v.id)
			inner, here := alone(t, func(addr string) error {
				must(t, client.SetVerify(openssl.VerifyNone)) // the other process has its own CA
				for range warm + rounds {
					c, err := openssl.Dial("tcp", addr, client)
					if err != nil {
						return err
					}
					if err := errors.Join(roundTrip(c, []byte("ping")), c.Close()); err != nil {
						return err
					}
				}
				return nil
			})
			if !here {
				return
			}
			noGC(t)
			l := openssl.NewListener(inner, server)
			var allocated, calls, whole uint64
			p := make([]byte, 4)
			for i := range warm + rounds {
				before, beforeCalls := mallocs(), runtime.NumCgoCall()
				wire, err := l.Accept()
				must(t, err)
				conn := wire.(*openssl.Conn)
				must(t, conn.Handshake())
				shaken, shakenCalls := mallocs(), runtime.NumCgoCall()
				if _, err := io.ReadFull(conn, p); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write(p); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(p); err != io.EOF {
					t.Fatal(err)
				}
				must(t, conn.Close())
				if i >= warm {
					allocated += shaken - before
					calls += uint64(shakenCalls - beforeCalls)
					whole += mallocs() - before
				}
			}
			per := func(n uint64) float64 { return float64(n) / rounds }
			t.Logf("counted: %.2f mallocs and %.2f calls into C for each connection that is accepted and shaken hands with; %.2f mallocs until it is closed",
				per(allocated), per(calls), per(whole))
			if got := per(allocated); got > 16 && !instrumented() {
				t.Errorf("%.2f mallocs for each accepted connection, want at most 16", got)
			}
			if got := per(calls); got > 12 {
				t.Errorf("%.2f calls into C for each handshake, want at most 12", got)
			}
		})
	}
}

// A reader that waits holds no thread, and a connection no goroutine.
func TestCountsThreads(t *testing.T) {
	const readers, most = 1000, 10
	client, server := newClient(t), newServer(t)
	inner, here := alone(t, func(addr string) error {
		must(t, client.SetVerify(openssl.VerifyNone))
		var all []*openssl.Conn
		for range readers {
			c, err := openssl.Dial("tcp", addr, client)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
		for _, c := range all {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				return err
			}
			c.Close()
		}
		return nil
	})
	if !here {
		return
	}
	l := openssl.NewListener(inner, server)
	idle := runtime.NumGoroutine()
	var all []*openssl.Conn
	for range readers {
		wire, err := l.Accept()
		must(t, err)
		conn := wire.(*openssl.Conn)
		must(t, conn.Handshake())
		all = append(all, conn)
	}
	if got := runtime.NumGoroutine(); got != idle {
		t.Errorf("%d goroutines for %d connections", got-idle, readers)
	}
	var reads []<-chan outcome
	for _, conn := range all {
		reads = append(reads, start(reading(conn)))
	}
	waitUntilBlocked(t, readers)
	got := threads(t)
	t.Logf("counted: %d threads with %d readers blocked", got, readers)
	if got > most {
		t.Errorf("%d threads with %d readers blocked, want at most %d", got, readers, most)
	}
	for i, conn := range all {
		must(t, conn.Close())
		if r := <-reads[i]; !errors.Is(r.err, net.ErrClosed) {
			t.Fatal(r.err)
		}
	}
}

// waitUntilBlocked waits until n goroutines wait for the network.
func waitUntilBlocked(t *testing.T, n int) {
	t.Helper()
	buf := make([]byte, 4<<20)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
		stacks := string(buf[:runtime.Stack(buf, true)])
		if strings.Count(stacks, "[IO wait]:\ninternal/poll.runtime_pollWait") >= n {
			return
		}
	}
	t.Fatalf("there are not %d readers", n)
}

// threads is how many the process has.
func threads(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, after, _ := strings.Cut(string(status), "\nThreads:")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	return n
}
