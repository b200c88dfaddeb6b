//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// keyLog is a writer that notices two writes at once.
type keyLog struct {
	t       testing.TB
	writing atomic.Bool
	mu      sync.Mutex
	b       bytes.Buffer
}

func (k *keyLog) Write(p []byte) (int, error) {
	if !k.writing.CompareAndSwap(false, true) {
		k.t.Error("two writes at once")
	}
	defer k.writing.Store(false)
	if len(p) == 0 || p[len(p)-1] != '\n' {
		k.t.Errorf("a write that ends within a line: %q", p)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(p)
}

// lines is what was written, sorted.
func (k *keyLog) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(k.b.String(), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// keyLogLine is what Wireshark reads: a label, the client's random, a secret.
var keyLogLine = regexp.MustCompile(`^([A-Z0-9_]+) [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})$`)

func labels(t testing.TB, lines []string) (labels []string) {
	t.Helper()
	for _, line := range lines {
		m := keyLogLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("Wireshark cannot read %q", line)
		}
		labels = append(labels, m[1])
	}
	return labels
}

var keyLogLabels = map[uint16][]string{
	tls.VersionTLS12: {"CLIENT_RANDOM"},
	tls.VersionTLS13: {
		"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "EXPORTER_SECRET",
		"SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0",
	},
}

func TestKeyLog(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			near, far := &keyLog{t: t}, &keyLog{t: t}
			must(t, client.SetKeyLogWriter(near))
			must(t, server.SetKeyLogWriter(far))
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
			if got := labels(t, near.lines()); !slices.Equal(got, keyLogLabels[v.ID]) {
				t.Errorf("labels: %v, want %v", got, keyLogLabels[v.ID])
			}
			if !slices.Equal(near.lines(), far.lines()) {
				t.Errorf("the ends disagree:\n%v\n%v", near.lines(), far.lines())
			}
		})
	}
}

// crypto/tls, at the other end, writes the same lines.
func TestKeyLogOfCryptoTLS(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			ours, theirs := &keyLog{t: t}, &keyLog{t: t}
			must(t, server.SetKeyLogWriter(ours))
			config := cryptoTLSClient(t, v.ID)
			config.KeyLogWriter = theirs
			near, far := tlstest.TCPPair(t)
			c := tls.Client(near, config)
			s, err := openssl.Server(far, server)
			must(t, err)
			clientErr, serverErr := tlstest.Both(func() error {
				defer c.Close()
				return tlstest.RoundTrip(c, []byte("ping"))
			}, func() error {
				defer s.Close()
				return tlstest.Echo(s)
			})
			if clientErr != nil || serverErr != nil {
				t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			got := slices.DeleteFunc(ours.lines(), func(line string) bool {
				return strings.HasPrefix(line, "EXPORTER_SECRET ") // crypto/tls keeps it to itself
			})
			if want := theirs.lines(); !slices.Equal(got, want) {
				t.Fatalf("ours:\n%v\ntheirs:\n%v", got, want)
			}
		})
	}
}

// cryptoTLSClient is crypto/tls's client for server.test.
func cryptoTLSClient(t testing.TB, version uint16) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(tlstest.Certs(t).PEM)
	return &tls.Config{RootCAs: roots, ServerName: "server.test", MinVersion: version, MaxVersion: version}
}

func TestKeyLogManyAtOnce(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	log := &keyLog{t: t}
	must(t, client.SetKeyLogWriter(log))
	must(t, server.SetKeyLogWriter(log))
	const connections = 16
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			if _, err := resumeOnce(client, server, nil); err != nil {
				t.Errorf("resumeOnce: %v", err)
			}
		})
	}
	wg.Wait()
	mustBeTwice(t, log, tls.VersionTLS13, connections)
}

// mustBeTwice holds a log against what both ends of so many connections have to
// say: each line twice.
func mustBeTwice(t testing.TB, log *keyLog, version uint16, connections int) {
	t.Helper()
	lines := log.lines()
	labels(t, lines)
	if want := 2 * connections * len(keyLogLabels[version]); len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	if got := len(slices.Compact(lines)); got*2 != len(lines) {
		t.Errorf("%d of %d lines are distinct, want each twice", got, len(lines))
	}
}

func TestKeyLogEnded(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	log := &keyLog{t: t}
	must(t, server.SetKeyLogWriter(log))
	must(t, server.SetKeyLogWriter(nil))
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	if got := log.b.Len(); got != 0 {
		t.Fatalf("%d bytes of secrets", got)
	}
	if err := server.SetKeyLogWriter(log); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatalf("on a Ctx in use: %v", err)
	}
}

// A log that is full is no reason to fail a connection.
func TestKeyLogBroken(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	r, w := io.Pipe()
	must(t, r.Close())
	must(t, server.SetKeyLogWriter(w))
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
}

// pausingLog is a keyLog that waits in its first Write.
type pausingLog struct {
	keyLog
	first   sync.Once
	inside  chan struct{} // closed: it is called
	release chan struct{}
	free    sync.Once
}

// newPausingLog waits no longer than the test.
func newPausingLog(t testing.TB) *pausingLog {
	p := &pausingLog{keyLog: keyLog{t: t}, inside: make(chan struct{}), release: make(chan struct{})}
	t.Cleanup(p.letGo)
	return p
}

func (p *pausingLog) letGo() { p.free.Do(func() { close(p.release) }) }

func (p *pausingLog) Write(b []byte) (int, error) {
	p.first.Do(func() {
		close(p.inside)
		<-p.release
	})
	return p.keyLog.Write(b)
}

// A writer that is stuck with one connection, and that a client's Ctx and a
// server's share, holds up no other one. Nothing of them is lost.
func TestKeyLogBlocks(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		version := uint16(tls.VersionTLS12)
		if strings.HasSuffix(t.Name(), "TLS1.3") {
			version = tls.VersionTLS13
		}
		log := newPausingLog(t)
		must(t, client.SetKeyLogWriter(log))
		must(t, server.SetKeyLogWriter(log))
		c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		handshake, serve := start(shaking(c)), start(shaking(s))
		synctest.Wait()
		<-log.inside

		const others = 5
		for i := range others {
			began := time.Now()
			c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
			if err := roundTripOver(c, s, []byte("ping")); err != nil || time.Since(began) != 0 {
				t.Errorf("connection %d beside: %v after %v", i, err, time.Since(began))
			}
			closeBoth(c, s)
		}
		ours := &keyLog{t: t}
		elsewhere := tlstest.NewServer(t)
		must(t, elsewhere.SetKeyLogWriter(ours))
		plain := tlstest.NewClient(t)
		tlstest.SetVersion(t, plain, version)
		tlstest.MustOffer(t, plain, elsewhere, nil, openssl.ResumptionNotOffered)
		if got := labels(t, ours.lines()); !slices.Equal(got, keyLogLabels[version]) {
			t.Errorf("another writer beside has got %v, want %v", got, keyLogLabels[version])
		}

		log.letGo()
		for _, call := range []<-chan outcome{handshake, serve} {
			if got := <-call; got.err != nil {
				t.Errorf("the connection that was stuck: %v", got.err)
			}
		}
		mustBeTwice(t, &log.keyLog, version, 1+others)
	})
}

// Close does not wait for a writer.
func TestKeyLogBlocksBesideClose(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		log := newPausingLog(t)
		must(t, client.SetKeyLogWriter(log))
		must(t, server.SetKeyLogWriter(log))
		c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		calls := []<-chan outcome{start(shaking(c)), start(shaking(s))}
		synctest.Wait()
		<-log.inside
		for _, end := range []*openssl.Conn{c, s} {
			if got := <-start(func() (int, error) { return 0, end.Close() }); got.err != nil || got.took != 0 {
				t.Errorf("Close beside a writer that blocks: %v after %v", got.err, got.took)
			}
		}
		log.letGo()
		for _, call := range calls {
			if got := <-call; got.err == nil {
				t.Error("a handshake has succeeded on a connection that was closed before")
			}
		}
	})
}

// A writer that is stuck costs those of other writers no line, however many lines
// wait for it.
func TestKeyLogBlocksAlone(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	stuck, ours := newPausingLog(t), &keyLog{t: t}
	must(t, client.SetKeyLogWriter(stuck))
	must(t, server.SetKeyLogWriter(stuck))
	elsewhere := tlstest.NewServer(t)
	must(t, elsewhere.SetKeyLogWriter(ours))
	done := make(chan error, 1)
	go func() {
		_, err := resumeOnce(client, server, nil)
		done <- err
	}()
	<-stuck.inside

	const bound, line = 1 << 20, len("EXPORTER_SECRET ") + 64 + 1 + 64 + 1 // and longer ones
	var der []byte
	for range bound/(2*len(keyLogLabels[tls.VersionTLS13])*line) + 1 {
		next, err := resumeOnce(client, server, der)
		must(t, err)
		if der == nil {
			der = next
		}
	}
	tlstest.MustOffer(t, tlstest.NewClient(t), elsewhere, nil, openssl.ResumptionNotOffered)
	if got := labels(t, ours.lines()); !slices.Equal(got, keyLogLabels[tls.VersionTLS13]) {
		t.Errorf("another writer has got %v, want %v", got, keyLogLabels[tls.VersionTLS13])
	}

	stuck.letGo()
	must(t, <-done)
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	if got := stuck.b.Len(); got < bound/2 || got > bound+4<<10 {
		t.Errorf("%d bytes have waited for the writer that was stuck, want 1 MiB and what it was stuck with", got)
	}
}

// A writer that panics, or ends the goroutine that it is called on, costs what it
// was given and nothing else.
func TestKeyLogPanics(t *testing.T) {
	for name, trouble := range map[string]func(){
		"panic":  func() { panic("the disk is full") },
		"Goexit": runtime.Goexit,
	} {
		for _, v := range tlstest.Versions {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				client, server := tlstest.NewClient(t), tlstest.NewServer(t)
				tlstest.SetVersion(t, client, v.ID)
				log := &keyLog{t: t}
				inside, release, first := make(chan struct{}), make(chan struct{}), true
				writer := &funcWriter{func(p []byte) (int, error) {
					if first {
						first = false
						close(inside)
						<-release
						trouble()
					}
					return log.Write(p)
				}}
				must(t, client.SetKeyLogWriter(writer))
				must(t, server.SetKeyLogWriter(writer))
				over := make(chan struct{})
				go func() {
					defer close(over)
					resumeOnce(client, server, nil)
				}()
				<-inside
				if _, err := resumeOnce(client, server, nil); err != nil { // its lines wait
					t.Errorf("resumeOnce: %v", err)
				}
				close(release)
				<-over
				if _, err := resumeOnce(client, server, nil); err != nil {
					t.Errorf("resumeOnce: %v", err)
				}
				seen := map[string]int{}
				for _, line := range log.lines() {
					seen[line]++
				}
				twice := 0
				for _, n := range seen {
					if n == 2 {
						twice++
					}
				}
				if want := 2 * len(keyLogLabels[v.ID]); twice < want {
					t.Errorf("%d lines came from both ends, want the %d of the connections that went well", twice, want)
				}
			})
		}
	}
}

// bareLog is a writer that cannot be compared.
type bareLog struct {
	log *keyLog
	_   []byte
}

func (b bareLog) Write(p []byte) (int, error) { return b.log.Write(p) }

// Writers that cannot be compared are writers, too, and never called two at once.
func TestKeyLogUncomparable(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		shared, own := &keyLog{t: t}, &keyLog{t: t}
		must(t, client.SetKeyLogWriter(bareLog{log: shared}))
		must(t, server.SetKeyLogWriter(bareLog{log: shared}))
		elsewhere := tlstest.NewServer(t)
		must(t, elsewhere.SetKeyLogWriter(bareLog{log: own}))
		plain := tlstest.NewClient(t)
		tlstest.SetVersion(t, plain, v.ID)
		const connections = 8
		var wg sync.WaitGroup
		for range connections {
			wg.Go(func() {
				if _, err := resumeOnce(client, server, nil); err != nil {
					t.Errorf("resumeOnce: %v", err)
				}
			})
			wg.Go(func() {
				if _, err := resumeOnce(plain, elsewhere, nil); err != nil {
					t.Errorf("resumeOnce: %v", err)
				}
			})
		}
		wg.Wait()
		mustBeTwice(t, shared, v.ID, connections)
		if got, want := len(own.lines()), connections*len(keyLogLabels[v.ID]); got != want {
			t.Errorf("%d lines of the other writer, want %d", got, want)
		}
	})
}

// anyLog is a writer that can be compared if what is beside its log can be.
type anyLog struct {
	log    *keyLog
	beside any
}

func (a anyLog) Write(p []byte) (int, error) { return a.log.Write(p) }

// Of one type some writers can be compared, and some cannot.
func TestKeyLogSomeUncomparable(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	ours, theirs := &keyLog{t: t}, &keyLog{t: t}
	must(t, client.SetKeyLogWriter(anyLog{ours, 1}))
	must(t, server.SetKeyLogWriter(anyLog{theirs, []byte{1}}))
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	for _, log := range []*keyLog{ours, theirs} {
		if got := labels(t, log.lines()); !slices.Equal(got, keyLogLabels[tls.VersionTLS13]) {
			t.Errorf("a writer has got %v, want %v", got, keyLogLabels[tls.VersionTLS13])
		}
	}
}

// ---- keying material ----

func TestExportKeyingMaterial(t *testing.T) {
	const label = "EXPORTER-test"
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		for name, offer := range map[string]*openssl.Session{"full": nil, "resumed": sess} {
			t.Run(name, func(t *testing.T) {
				c, s := tlstest.Machines(t, client, server)
				if offer != nil {
					must(t, c.SetSession(tlstest.Reparse(t, offer)))
				}
				if _, err := c.ExportKeyingMaterial(label, nil, 32); err == nil {
					t.Error("there is no material before the handshake")
				}
				tlstest.MustShake(t, c, s)
				seen := make(map[string]string)
				for name, ask := range map[string]func(*openssl.SSL) ([]byte, error){
					"nil":           func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 32) },
					"empty":         func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, []byte{}, 32) },
					"context":       func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, []byte("x"), 32) },
					"another label": func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label+"2", nil, 32) },
					"one byte":      func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 1) },
					"4 KiB":         func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 4096) },
				} {
					near, err := ask(c)
					must(t, err)
					far, err := ask(s)
					must(t, err)
					if !bytes.Equal(near, far) || len(near) == 0 {
						t.Errorf("%s: %x and %x", name, near, far)
					}
					seen[name] = string(near)
				}
				if same, want := seen["nil"] == seen["empty"], v.ID == tls.VersionTLS13; same != want {
					t.Errorf("nil and empty are the same: %v, want %v", same, want)
				}
				if seen["nil"] == seen["context"] || seen["nil"] == seen["another label"] {
					t.Error("label and context do not count")
				}
				tlstest.Goodbye(t, c, s)
			})
		}
	})
}

func TestExportKeyingMaterialBad(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	c, s := tlstest.Machines(t, client, server)
	tlstest.MustShake(t, c, s)
	for _, length := range []int64{0, -1, 1<<16 + 1, 1 << 32} { // the last is 0 in a 32-bit program
		if p, err := c.ExportKeyingMaterial("EXPORTER-test", nil, int(length)); err == nil {
			t.Errorf("a length of %d gave %d bytes", length, len(p))
		}
	}
	if _, err := c.ExportKeyingMaterial("a\x00b", nil, 32); err == nil {
		t.Error("a label with a NUL was cut")
	}
	tlstest.Goodbye(t, c, s)
	if _, err := c.ExportKeyingMaterial("EXPORTER-test", nil, 32); err == nil {
		t.Error("a closed machine has material")
	}
}

func TestExportKeyingMaterialOfCryptoTLS(t *testing.T) {
	for _, v := range tlstest.Versions {
		for _, context := range [][]byte{nil, {}, []byte("x")} {
			t.Run(fmt.Sprintf("%s/%q,%v", v.Name, context, context == nil), func(t *testing.T) {
				near, far := tlstest.TCPPair(t)
				c := tls.Client(near, cryptoTLSClient(t, v.ID))
				s, err := openssl.Server(far, tlstest.NewServer(t))
				must(t, err)
				clientErr, serverErr := tlstest.Both(func() error {
					defer c.Close()
					return tlstest.RoundTrip(c, []byte("ping"))
				}, func() error { return tlstest.Echo(s) })
				if clientErr != nil || serverErr != nil {
					t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
				}
				state := c.ConnectionState()
				want, err := state.ExportKeyingMaterial("EXPORTER-test", context, 48)
				must(t, err)
				got, err := s.ExportKeyingMaterial("EXPORTER-test", context, 48)
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Fatalf("%x, crypto/tls has %x", got, want)
				}
				must(t, s.Close())
			})
		}
	}
}
