//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// eachVersion runs a test with a client's and a server's Ctx for each version.
func eachVersion(t *testing.T, test func(t *testing.T, client, server *openssl.Ctx)) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			tlstest.SetVersion(t, server, v.ID)
			test(t, client, server)
		})
	}
}

// eachVersionInBubble is eachVersion on a clock that stands still while anybody
// can run. What Ctx's finalisation needs is made outside.
func eachVersionInBubble(t *testing.T, test func(t *testing.T, client, server *openssl.Ctx)) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		synctest.Test(t, func(t *testing.T) { test(t, client, server) })
	})
}

// pattern is n bytes none of which can be lost, doubled or moved unnoticed.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := 0; i+4 <= n; i += 4 {
		binary.BigEndian.PutUint32(p[i:], uint32(i)*2654435761)
	}
	return p
}

// firstDifference is for messages about megabytes.
func firstDifference(a, b []byte) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("byte %d of %d and %d differs", i, len(a), len(b))
		}
	}
	return fmt.Sprintf("%d and %d bytes, equal as far as they go", len(a), len(b))
}

// speak has the server say one byte, with which a TLS 1.3 client reads its
// tickets, too.
func speak(t testing.TB, c, s *openssl.Conn) {
	t.Helper()
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatalf("Write: %v", err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatalf("ReadFull: %v", err)
	}
}

// outcome is what a call came to, and when.
type outcome struct {
	n    int
	err  error
	took time.Duration
}

// start runs a call on a goroutine of its own.
func start(call func() (int, error)) <-chan outcome {
	done := make(chan outcome, 1)
	began := time.Now()
	go func() {
		n, err := call()
		done <- outcome{n, err, time.Since(began)}
	}()
	return done
}

func reading(c *openssl.Conn) func() (int, error) {
	return func() (int, error) { return c.Read(make([]byte, 1)) }
}

func writing(c *openssl.Conn, p []byte) func() (int, error) {
	return func() (int, error) { return c.Write(p) }
}

func shaking(c *openssl.Conn) func() (int, error) {
	return func() (int, error) { return 0, c.Handshake() }
}

// ---- Read and Write at once ----

// A Write is never mixed with another one, however many goroutines write and
// however many records it takes; and both directions are busy all the while.
func TestConnManyWriters(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		const writers, each, largest = 8, 12, 150_000
		c, s := tlstest.Conns(t, client, server)
		tlstest.MustHandshake(t, c, s)

		writeAs := func(c *openssl.Conn, id int) error {
			for k := range each {
				body := bytes.Repeat([]byte{byte(id)}, 1+(id*7919+k*31337)%largest)
				frame := binary.BigEndian.AppendUint32([]byte{byte(id), byte(k)}, uint32(len(body)))
				if _, err := c.Write(append(frame, body...)); err != nil {
					return err
				}
			}
			return nil
		}
		write := func(c *openssl.Conn) error {
			var wg sync.WaitGroup
			errs := make([]error, writers)
			for id := range writers {
				wg.Go(func() { errs[id] = writeAs(c, id) })
			}
			wg.Wait()
			return errors.Join(append(errs, c.CloseWrite())...)
		}
		read := func(c *openssl.Conn) error {
			var next [writers]byte
			for head := make([]byte, 6); ; {
				if _, err := io.ReadFull(c, head); err == io.EOF {
					break
				} else if err != nil {
					return err
				}
				body := make([]byte, binary.BigEndian.Uint32(head[2:]))
				if _, err := io.ReadFull(c, body); err != nil {
					return err
				}
				if id := head[0]; bytes.Count(body, []byte{id}) != len(body) || head[1] != next[id] {
					return fmt.Errorf("message %d of writer %d is mixed, or comes after %d others", head[1], id, next[id])
				}
				next[head[0]]++
			}
			if want := [writers]byte(bytes.Repeat([]byte{each}, writers)); next != want {
				return fmt.Errorf("messages of each writer: %v", next)
			}
			return nil
		}
		var cw, sw error
		var wg sync.WaitGroup
		wg.Go(func() { cw = write(c) })
		wg.Go(func() { sw = write(s) })
		cr, sr := tlstest.Both(func() error { return read(c) }, func() error { return read(s) })
		wg.Wait()
		must(t, errors.Join(cw, sw, cr, sr))
	})
}

// Every byte goes to one of the readers.
func TestConnManyReaders(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s := tlstest.Conns(t, client, server)
		tlstest.MustHandshake(t, c, s)
		sent := pattern(1 << 20)
		done := start(func() (int, error) {
			n, err := s.Write(sent)
			return n, errors.Join(err, s.CloseWrite())
		})

		var mu sync.Mutex
		var got, sum [256]int
		var wg sync.WaitGroup
		read := func() {
			var err error
			for p := make([]byte, 5000); err == nil; {
				var n int
				n, err = c.Read(p)
				mu.Lock()
				for _, b := range p[:n] {
					got[b]++
				}
				mu.Unlock()
			}
			if err != io.EOF {
				t.Errorf("Read: %v, want io.EOF", err)
			}
		}
		for range 8 {
			wg.Go(read)
		}
		wg.Wait()
		if w := <-done; w.err != nil {
			t.Fatalf("Write: %v", w.err)
		}
		for _, b := range sent {
			sum[b]++
		}
		if got != sum {
			t.Fatal("what the readers got together is not what was sent")
		}
	})
}

// The machine is not held while a Read waits for the wire.
func TestConnWritesBesideABlockedRead(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		tlstest.MustHandshake(t, c, s)
		for _, end := range []struct{ near, far *openssl.Conn }{{c, s}, {s, c}} {
			read := start(reading(end.near))
			synctest.Wait()
			if !end.near.ConnectionState().HandshakeComplete {
				t.Error("the state of a connection with a blocked Read")
			}
			sent := pattern(4 << 20)
			write := start(writing(end.near, sent))
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(end.far, got); err != nil {
				t.Fatalf("ReadFull: %v", err)
			}
			if !bytes.Equal(got, sent) {
				t.Fatal(firstDifference(got, sent))
			}
			if w := <-write; w.err != nil || w.n != len(sent) {
				t.Fatalf("Write: %d, %v", w.n, w.err)
			}
			synctest.Wait()
			select {
			case r := <-read:
				t.Fatalf("the Read has not waited: %d, %v", r.n, r.err)
			default:
			}
			if _, err := end.far.Write([]byte{7}); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if r := <-read; r.n != 1 || r.err != nil {
				t.Fatalf("Read: %d, %v", r.n, r.err)
			}
		}
	})
}

// knock is a wire that reports when it is read from for the first time: the
// handshake over it waits for the peer then.
type knock struct {
	net.Conn
	once sync.Once
	read chan struct{}
}

func newKnock(wire net.Conn) *knock { return &knock{Conn: wire, read: make(chan struct{})} }

func (k *knock) Read(p []byte) (int, error) {
	k.once.Do(func() { close(k.read) })
	return k.Conn.Read(p)
}

// Whichever end speaks first, and whichever of Read and Write comes first on a fresh
// connection and so shakes hands: neither waits for the other. A Read that kept
// the handshake's lock until it had data would wait for a peer that waits for us.
func TestConnSpeaksFirst(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it makes 1,024 connections")
	}
	until := time.Now().Add(time.Minute)
	for _, v := range tlstest.Versions {
		for _, w := range wires {
			for _, x := range []struct{ speaker, first string }{{"server", "Read"}, {"server", "Write"}, {"client", "Read"}, {"client", "Write"}} {
				if w.name == "unix" || t.Failed() { // then the time is up for the others, too
					continue
				}
				t.Run(v.Name+"/"+w.name+"/"+x.speaker+" speaks/"+x.first+" first", func(t *testing.T) {
					speakFirstAtOnce(t, v.ID, w.pair, x.speaker, x.first == "Read", until)
				})
			}
		}
	}
}

// speakFirstAtOnce makes 64 connections, 4 at a time.
func speakFirstAtOnce(t *testing.T, version uint16, pair func(t testing.TB) (near, far net.Conn), speaker string, readFirst bool, until time.Time) {
	tlstest.CheckLeaks(t)
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, version)
	tlstest.SetVersion(t, server, version)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 16 {
				near, far := pair(t)
				if err := speakFirst(client, server, near, far, speaker, readFirst, until); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// speakFirst is one connection on which one end greets and the other one answers
// what it has read. Each end has a goroutine that reads and one that writes; the
// speaker's second one begins when the first one shakes hands.
func speakFirst(client, server *openssl.Ctx, near, far net.Conn, speaker string, readFirst bool, until time.Time) error {
	greeting, answer := []byte("220 at your service"), []byte("EHLO")
	knocks := newKnock(near)
	if speaker == "server" {
		knocks = newKnock(far)
		far = knocks
	} else {
		near = knocks
	}
	c, err := openssl.Client(near, client)
	if err != nil {
		return err
	}
	s, err := openssl.Server(far, server)
	if err != nil {
		return err
	}
	defer closeBoth(c, s)
	for _, err := range []error{c.SetServerName("server.test"), c.SetDeadline(until), s.SetDeadline(until)} {
		if err != nil {
			return err
		}
	}
	speaks, listens := c, s
	if speaker == "server" {
		speaks, listens = s, c
	}

	var errs [4]error
	expect := func(err *error, c *openssl.Conn, what string, want []byte, then func()) func() {
		return func() {
			if then != nil {
				defer then()
			}
			got := make([]byte, len(want))
			if _, *err = io.ReadFull(c, got); *err != nil {
				*err = fmt.Errorf("reading the %s: %w", what, *err)
			} else if !bytes.Equal(got, want) {
				*err = fmt.Errorf("reading the %s: %q, want %q", what, got, want)
			}
		}
	}
	say := func(err *error, c *openssl.Conn, what string, p []byte, when <-chan struct{}) func() {
		return func() {
			if when != nil {
				<-when
			}
			if _, *err = c.Write(p); *err != nil {
				*err = fmt.Errorf("writing the %s: %w", what, *err)
			}
		}
	}
	greeted := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(expect(&errs[0], listens, "greeting", greeting, func() { close(greeted) }))
	wg.Go(say(&errs[1], listens, "answer", answer, greeted))
	one, two := expect(&errs[2], speaks, "answer", answer, nil), say(&errs[3], speaks, "greeting", greeting, nil)
	if !readFirst {
		one, two = two, one
	}
	wg.Go(one)
	<-knocks.read
	wg.Go(two)
	wg.Wait()
	return errors.Join(errs[:]...)
}

// ---- deadlines ----

func wantTimeout(t testing.TB, what string, err error) {
	t.Helper()
	var timeout net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%s past its deadline: %v", what, err)
	}
}

func TestConnReadIsUsableAfterItsDeadline(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, farWire := tlstest.WireConns(t, client, server, 64<<10)
		tlstest.MustHandshake(t, c, s)
		for _, end := range []struct{ near, far *openssl.Conn }{{c, s}, {s, c}} {
			must(t, end.near.SetReadDeadline(time.Now().Add(time.Minute)))
			r := <-start(reading(end.near))
			wantTimeout(t, "Read", r.err)
			if r.took != time.Minute {
				t.Errorf("the Read ended after %v", r.took)
			}

			// One that is set while Read waits counts, too.
			must(t, end.near.SetReadDeadline(time.Time{}))
			read := start(reading(end.near))
			synctest.Wait()
			must(t, end.near.SetReadDeadline(time.Now()))
			r = <-read
			wantTimeout(t, "Read", r.err)
			if r.took != 0 {
				t.Errorf("the Read ended after %v", r.took)
			}

			// It counts for what is at hand already, too.
			must(t, end.near.SetReadDeadline(time.Time{}))
			if _, err := end.far.Write([]byte("two")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			p := make([]byte, 3)
			if n, err := end.near.Read(p[:1]); n != 1 || err != nil {
				t.Fatalf("Read: n %v, err %v", n, err)
			}
			must(t, end.near.SetReadDeadline(time.Unix(0, 0)))
			n, err := end.near.Read(p[1:])
			wantTimeout(t, "Read", err)
			if n != 0 {
				t.Errorf("a Read past its deadline has read %d bytes", n)
			}
			must(t, end.near.SetReadDeadline(time.Time{}))
			if n, err = io.ReadFull(end.near, p[1:]); err != nil || string(p) != "two" {
				t.Errorf("%q, %v", p[:1+n], err)
			}

			// Writing is not affected; and then reading goes on.
			must(t, end.near.SetReadDeadline(time.Time{}))
			must(t, roundTripOver(end.near, end.far, pattern(100_000)))
		}
		if farWire.Reads.Load() == 0 {
			t.Error("nothing went over the wire")
		}
	})
}

// roundTripOver is a roundTrip with a peer that echoes as many bytes.
func roundTripOver(c, s *openssl.Conn, message []byte) error {
	return errors.Join(tlstest.Both(func() error { return tlstest.RoundTrip(c, message) }, func() error {
		_, err := io.CopyN(s, s, int64(len(message)))
		return err
	}))
}

// A record that a deadline cuts in two is whole again afterwards.
func TestConnDeadlineWithinARecord(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		const capacity = 1000
		c, s, _, _ := tlstest.WireConns(t, client, server, capacity)
		tlstest.MustHandshake(t, c, s)
		speak(t, c, s)
		sent := pattern(16 << 10)
		write := start(writing(s, sent)) // one record, of which the wire holds 1000 bytes
		synctest.Wait()
		must(t, c.SetReadDeadline(time.Now()))
		if n, err := c.Read(make([]byte, 1)); n != 0 {
			t.Fatalf("%d bytes of a record that is not here", n)
		} else {
			wantTimeout(t, "Read", err)
		}
		got := make([]byte, len(sent))
		var n, cuts int
		for n < len(sent) {
			must(t, c.SetReadDeadline(time.Now().Add(time.Nanosecond)))
			k, err := c.Read(got[n:])
			if n += k; err != nil {
				wantTimeout(t, "Read", err)
				cuts++
			}
		}
		if !bytes.Equal(got, sent) {
			t.Fatal(firstDifference(got, sent))
		}
		if w := <-write; w.err != nil {
			t.Fatalf("Write: %v", w.err)
		}
	})
}

// n of a Write that a deadline has cut is what was sealed; of that nothing is
// lost, and it goes out before anything later.
func TestConnWriteDeadlineKeepsTheStream(t *testing.T) {
	const act = 64 << 10 // plaintext that is sealed at once
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 100_000)
		tlstest.MustHandshake(t, c, s)
		speak(t, c, s)
		for _, end := range []struct{ near, far *openssl.Conn }{{c, s}, {s, c}} {
			sent := pattern(1 << 20)

			// The deadline passes before anything is sealed.
			must(t, end.near.SetWriteDeadline(time.Unix(1, 0)))
			n, err := end.near.Write(sent)
			wantTimeout(t, "Write", err)
			if n != 0 {
				t.Fatalf("a Write past its deadline has sealed %d bytes", n)
			}

			// The peer stalls: one act fits into the wire, the second one does not.
			must(t, end.near.SetWriteDeadline(time.Now().Add(time.Minute)))
			w := <-start(writing(end.near, sent))
			wantTimeout(t, "Write", w.err)
			if w.n != 2*act || w.took != time.Minute {
				t.Fatalf("a Write to a stalled peer: n %d after %v", w.n, w.took)
			}

			// Past the deadline nothing is sealed behind what could not be sent.
			n, err = end.near.Write(sent[w.n:])
			wantTimeout(t, "Write", err)
			if n != 0 {
				t.Fatalf("a Write past its deadline has sealed %d bytes", n)
			}

			// A new deadline that passes while the old rest is still stuck: n is 0 again.
			must(t, end.near.SetWriteDeadline(time.Now().Add(time.Minute)))
			again := <-start(writing(end.near, sent[w.n:]))
			wantTimeout(t, "Write", again.err)
			if again.n != 0 {
				t.Fatalf("a Write behind a rest that cannot be sent has sealed %d bytes", again.n)
			}

			// The peer reads again.
			must(t, end.near.SetWriteDeadline(time.Time{}))
			rest := start(writing(end.near, sent[w.n:]))
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(end.far, got); err != nil {
				t.Fatalf("ReadFull: %v", err)
			}
			if !bytes.Equal(got, sent) {
				t.Fatal(firstDifference(got, sent))
			}
			if r := <-rest; r.err != nil || r.n != len(sent)-w.n {
				t.Fatalf("the rest: %d, %v", r.n, r.err)
			}
		}
	})
}

// The same over a socket: whatever the kernel took of it, every byte arrives once.
func TestConnWriteDeadlineOverTCP(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it waits until a socket's buffers are full")
	}
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s := tlstest.Conns(t, client, server)
		tlstest.MustHandshake(t, c, s)
		sent := pattern(16 << 20)
		n, cuts := 0, 0
		for cuts < 3 { // until the socket's buffers are full
			must(t, c.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
			k, err := c.Write(sent[n:])
			if n += k; err != nil {
				wantTimeout(t, "Write", err)
				cuts++
			} else {
				t.Fatalf("%d bytes went to a peer that does not read", n)
			}
		}
		must(t, c.SetWriteDeadline(time.Time{}))
		rest := start(func() (int, error) {
			k, err := c.Write(sent[n:])
			return k, errors.Join(err, c.CloseWrite())
		})
		got, err := io.ReadAll(s)
		must(t, err)
		if !bytes.Equal(got, sent) {
			t.Fatal(firstDifference(got, sent))
		}
		if r := <-rest; r.err != nil {
			t.Fatalf("Read: %v", r.err)
		}
	})
}

// A Write that waits behind another one keeps to its deadline, too, and the
// locks are such that a bubble's clock goes on.
func TestConnQueuedWritesKeepTheirDeadline(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
		tlstest.MustHandshake(t, c, s)
		must(t, c.SetDeadline(time.Now().Add(time.Hour)))
		var calls []<-chan outcome
		for range 3 {
			calls = append(calls, start(writing(c, make([]byte, 1<<20))), start(reading(c)))
		}
		for _, call := range calls {
			got := <-call
			wantTimeout(t, "a call", got.err)
			if got.took != time.Hour {
				t.Errorf("it ended after %v", got.took)
			}
		}
	})
}

// A Write that waits for the handshake of a Read goes on with it when that one's
// deadline has passed, which is not its own; and so does a Read for a Write.
func TestConnHandshakeIsTakenOver(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range []string{"client", "server"} {
			for _, first := range []string{"Read", "Write"} {
				end, peer, _, _ := tlstest.WireConns(t, client, server, 64<<10)
				if role == "server" {
					end, peer = peer, end
				}
				one, two := reading(end), writing(end, []byte{1})
				limit := end.SetReadDeadline
				if first == "Write" {
					one, two, limit = two, one, end.SetWriteDeadline
				}
				must(t, limit(time.Now().Add(time.Minute)))
				drives := start(one)
				synctest.Wait()
				takes := start(two)
				got := <-drives
				wantTimeout(t, role+"'s "+first, got.err)
				if got.took != time.Minute {
					t.Errorf("%s's %s has ended after %v", role, first, got.took)
				}
				<-time.After(time.Hour)
				select {
				case got := <-takes:
					t.Fatalf("%s's call behind a %s that drove the handshake: %d, %v", role, first, got.n, got.err)
				default:
				}

				answer := start(writing(peer, []byte{2}))
				if got := <-takes; got.n != 1 || got.err != nil {
					t.Errorf("%s's call behind a %s that drove the handshake: %d, %v", role, first, got.n, got.err)
				}
				if got := <-answer; got.err != nil {
					t.Errorf("the peer's Write: %v", got.err)
				}
			}
		}
	})
}

// The deadline of the call that shakes hands is the wire's in both directions for
// as long as the handshake takes, and no longer.
func TestConnHandshakesDeadlineEndsWithIt(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range []string{"client", "server"} {
			stays := func(what string, call <-chan outcome) {
				t.Helper()
				<-time.After(time.Hour)
				select {
				case got := <-call:
					t.Errorf("%s's %s: %d, %v after %v, want that it waits", role, what, got.n, got.err, got.took)
				default:
				}
			}
			end, peer, _, _ := tlstest.WireConns(t, client, server, 10_000)
			if role == "server" {
				end, peer = peer, end
			}
			must(t, end.SetWriteDeadline(time.Now().Add(time.Minute)))
			answer := start(reading(peer))
			if n, err := end.Write([]byte{1}); n != 1 || err != nil {
				t.Fatalf("%s's Write: %d, %v", role, n, err)
			}
			if got := <-answer; got.err != nil {
				t.Fatalf("the peer's Read: %v", got.err)
			}
			stays("Read after a Write that shook hands", start(reading(end)))

			end, peer, _, _ = tlstest.WireConns(t, client, server, 10_000)
			if role == "server" {
				end, peer = peer, end
			}
			must(t, end.SetReadDeadline(time.Now().Add(time.Minute)))
			answer = start(writing(peer, []byte{1}))
			if n, err := end.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("%s's Read: %d, %v", role, n, err)
			}
			if got := <-answer; got.err != nil {
				t.Fatalf("the peer's Write: %v", got.err)
			}
			stays("Write to a stalled peer after a Read that shook hands", start(writing(end, make([]byte, 1<<20))))
		}
	})
}

// ---- Close ----

// Whatever waits hears of Close at once, also where the peer has stalled.
func TestConnCloseUnblocks(t *testing.T) {
	closed := func(t *testing.T, what string, call <-chan outcome) {
		t.Helper()
		got := <-call
		if !errors.Is(got.err, net.ErrClosed) || got.took != 0 {
			t.Errorf("%s: %v after %v", what, got.err, got.took)
		}
	}
	roles := []string{"client", "server"}
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range roles {
			end, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
			tlstest.MustHandshake(t, end, s)
			if role == "server" {
				end = s
			}
			var calls []<-chan outcome
			for _, call := range []func() (int, error){
				reading(end), writing(end, make([]byte, 1<<20)),
				reading(end), writing(end, make([]byte, 1)), // behind the others
				func() (int, error) { return 0, end.CloseWrite() },
			} {
				calls = append(calls, start(call))
				synctest.Wait() // it waits
			}
			done := start(func() (int, error) { return 0, end.Close() })
			for i, what := range []string{"Read", "Write", "a second Read", "a second Write", "CloseWrite"} {
				closed(t, role+"'s "+what, calls[i])
			}
			if got := <-done; got.err != nil || got.took > openssl.CloseBound {
				t.Errorf("Close: %v after %v", got.err, got.took)
			}
		}
	})
	t.Run("Handshake", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			for _, role := range roles {
				end, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
				if role == "server" {
					end = s
				}
				// The other end says nothing.
				calls := map[string]<-chan outcome{
					"Handshake":        start(shaking(end)),
					"Read":             start(reading(end)),
					"Write":            start(writing(end, make([]byte, 1))),
					"HandshakeContext": start(func() (int, error) { return 0, end.HandshakeContext(t.Context()) }),
				}
				synctest.Wait()
				if got := <-start(func() (int, error) { return 0, end.Close() }); got.err != nil || got.took != 0 {
					t.Errorf("Close: %v after %v", got.err, got.took)
				}
				for what, call := range calls {
					closed(t, role+"'s "+what, call)
				}
			}
		})
	})
	t.Run("ClientHello function", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			var heard error
			must(t, server.SetClientHelloFunc(func(ctx context.Context, _ *openssl.ClientHello) (*openssl.Ctx, error) {
				<-ctx.Done()
				heard = ctx.Err()
				return nil, heard
			}))
			c, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
			handshake := start(shaking(c))
			serve := start(shaking(s))
			synctest.Wait()
			if got := <-start(func() (int, error) { return 0, s.Close() }); got.err != nil || got.took != 0 {
				t.Errorf("Close: %v after %v", got.err, got.took)
			}
			closed(t, "Handshake", serve)
			if heard != context.Canceled {
				t.Errorf("the function's context: %v", heard)
			}
			if got := <-handshake; got.err == nil {
				t.Error("the client has shaken hands with nobody")
			}
		})
	})
}

func TestConnAfterClose(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		tlstest.MustHandshake(t, c, s)
		closeBoth(c, s)
		fresh, other, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		closeBoth(fresh, other)
		for _, conn := range []*openssl.Conn{c, s, fresh, other} {
			p := make([]byte, 1)
			for what, call := range map[string]func() error{
				"Read":                func() error { _, err := conn.Read(p); return err },
				"Read of nothing":     func() error { _, err := conn.Read(nil); return err },
				"Write":               func() error { _, err := conn.Write(p); return err },
				"Write of nothing":    func() error { _, err := conn.Write(nil); return err },
				"Handshake":           conn.Handshake,
				"CloseWrite":          conn.CloseWrite,
				"SetDeadline":         func() error { return conn.SetDeadline(time.Time{}) },
				"SetReadDeadline":     func() error { return conn.SetReadDeadline(time.Time{}) },
				"SetWriteDeadline":    func() error { return conn.SetWriteDeadline(time.Time{}) },
				"Session":             func() error { _, err := conn.Session(); return err },
				"SetSessionIDContext": func() error { return conn.SetSessionIDContext(nil) },
				"SetServerName":       func() error { return conn.SetServerName("server.test") },
				"SetSession":          func() error { return conn.SetSession(nil) },
				"ExportKeyingMaterial": func() error {
					_, err := conn.ExportKeyingMaterial("label", nil, 32)
					return err
				},
			} {
				if err := call(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("%s after Close: %v", what, err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Errorf("a second Close: %v", err)
			}
			if got := conn.ConnectionState(); got.HandshakeComplete {
				t.Errorf("state after Close: %+v", got)
			}
			if conn.LocalAddr() == nil || conn.RemoteAddr() == nil || conn.NetConn() == nil {
				t.Error("a closed connection has forgotten its wire")
			}
		}
	})
}

// No Conn is no reason to panic or to wait for ever.
func TestConnNilAndZero(t *testing.T) {
	for _, conn := range []*openssl.Conn{nil, new(openssl.Conn)} {
		p := make([]byte, 1)
		for what, call := range map[string]func() error{
			"Read":                func() error { _, err := conn.Read(p); return err },
			"Write":               func() error { _, err := conn.Write(p); return err },
			"Handshake":           conn.Handshake,
			"CloseWrite":          conn.CloseWrite,
			"Close":               conn.Close,
			"SetDeadline":         func() error { return conn.SetDeadline(time.Time{}) },
			"SetReadDeadline":     func() error { return conn.SetReadDeadline(time.Time{}) },
			"SetWriteDeadline":    func() error { return conn.SetWriteDeadline(time.Time{}) },
			"Session":             func() error { _, err := conn.Session(); return err },
			"SetSession":          func() error { return conn.SetSession(nil) },
			"SetServerName":       func() error { return conn.SetServerName("server.test") },
			"SetSessionIDContext": func() error { return conn.SetSessionIDContext(nil) },
			"ExportKeyingMaterial": func() error {
				_, err := conn.ExportKeyingMaterial("label", nil, 32)
				return err
			},
		} {
			if err := call(); err == nil || !strings.HasPrefix(err.Error(), "openssl: ") {
				t.Errorf("%s of %v: %v", what, conn, err)
			}
		}
		if conn.ConnectionState().HandshakeComplete || conn.LocalAddr() != nil || conn.RemoteAddr() != nil || conn.NetConn() != nil {
			t.Errorf("%v says something of itself", conn)
		}
	}
}

// No peer costs Close more than a moment: not one that has stalled, nor one whose
// tickets were not read. What is still to be read is read behind it, within bounds.
func TestConnCloseIsBounded(t *testing.T) {
	const linger = 5 * time.Second
	closes := func(t *testing.T, what string, c *openssl.Conn, most time.Duration) {
		t.Helper()
		if got := <-start(func() (int, error) { return 0, c.Close() }); got.err != nil || got.took > most {
			t.Errorf("Close %s: %v after %v, want nil after %v at most", what, got.err, got.took, most)
		}
	}
	// isOpen looks at whether the near end still reads.
	isOpen := func(t *testing.T, what string, far *tlstest.Wire, want bool) {
		t.Helper()
		synctest.Wait()
		if _, err := far.Write([]byte{0}); (err == nil) != want {
			t.Errorf("%s: writing to the closed end: %v, want the wire to be open: %v", what, err, want)
		}
	}
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		// Encrypted bytes that are not read.
		for _, role := range []string{"client", "server"} {
			end, s, near, far := tlstest.WireConns(t, client, server, 10_000)
			tlstest.MustHandshake(t, end, s)
			if role == "server" {
				end, far = s, near
			}
			write := start(writing(end, make([]byte, 1<<20)))
			synctest.Wait()
			closes(t, "with a Write in flight", end, openssl.CloseBound)
			isOpen(t, "after a Write in flight", far, false)
			<-write
		}
	})
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		pair := func() (c, s *openssl.Conn, near, far *tlstest.Wire, unread bool) {
			c, s, near, far = tlstest.WireConns(t, client, server, 200_000)
			tlstest.MustHandshake(t, c, s)
			return c, s, near, far, c.ConnectionState().Version == tls.VersionTLS13
		}
		// A peer that does not end the connection.
		c, _, _, far, unread := pair()
		closes(t, "with unread tickets", c, 0)
		isOpen(t, "with unread tickets", far, unread)
		<-time.After(linger)
		isOpen(t, "with unread tickets, later", far, false)

		// The wire's half is closed behind close_notify: to a peer that knows no
		// close_notify the connection has ended, too, and it may end it.
		c, _, _, far, _ = pair()
		closes(t, "with unread tickets", c, 0)
		if _, err := io.ReadAll(far); err != nil {
			t.Errorf("ReadAll: %v", err)
		}
		far.Close()

		// One that goes on sending is heard for 64 KiB.
		c, s, near, far, unread := pair()
		if _, err := s.Write(make([]byte, 150_000)); err != nil {
			t.Fatalf("Write: %v", err)
		}
		closes(t, "with unread data", c, 0)
		isOpen(t, "with unread data", far, false)
		if left := near.Waiting(); unread && (left < 150_000-(64<<10) || left > 152_000-(64<<10)) {
			t.Errorf("Close has read on, and left %d bytes", left)
		}

		// Data that was read: the server's tickets are behind the client.
		c, s, _, far, _ = pair()
		if _, err := s.Write([]byte{1}); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatalf("Read: %v", err)
		}
		closes(t, "after data", c, 0)
		isOpen(t, "after data", far, false)

		// No more than 256 go on.
		var fars []*tlstest.Wire
		for range 300 {
			c, _, _, far, unread = pair()
			closes(t, "of many", c, 0)
			fars = append(fars, far)
		}
		synctest.Wait()
		open := 0
		for _, far := range fars {
			if _, err := far.Write([]byte{0}); err == nil {
				open++
			}
			far.Close()
		}
		if unread && open != 256 {
			t.Errorf("%d connections are read from after Close, want 256", open)
		}
	})
}

// noDeadlines is a wire that cannot be woken.
type noDeadlines struct{ net.Conn }

func (noDeadlines) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (noDeadlines) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (noDeadlines) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// A wire without deadlines is closed, which ends what waits for it.
func TestConnCloseWithoutDeadlines(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		near, far := tlstest.WirePair(10_000)
		c, s := tlstest.ConnsOver(t, client, server, noDeadlines{near}, far)
		tlstest.MustHandshake(t, c, s)
		read, write := start(reading(c)), start(writing(c, make([]byte, 1<<20)))
		synctest.Wait()
		if got := <-start(func() (int, error) { return 0, c.Close() }); got.err != nil || got.took != 0 {
			t.Errorf("Close: %v after %v, want nil at once", got.err, got.took)
		}
		for what, call := range map[string]<-chan outcome{"Read": read, "Write": write} {
			if got := <-call; !errors.Is(got.err, net.ErrClosed) || got.took != 0 {
				t.Errorf("%s: %v after %v, want net.ErrClosed at once", what, got.err, got.took)
			}
		}
	})
}

// Many clients that do not read cost the Close of all of them less than a second.
func TestConnCloseOfManyThatDoNotRead(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it makes 200 connections")
	}
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		var ends []*openssl.Conn
		var writes []<-chan outcome
		for range 100 {
			c, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
			tlstest.MustHandshake(t, c, s)
			ends, writes = append(ends, s), append(writes, start(writing(s, make([]byte, 1<<20))))
		}
		synctest.Wait()
		got := <-start(func() (int, error) {
			for _, end := range ends {
				end.Close()
			}
			return 0, nil
		})
		if got.took >= time.Second {
			t.Errorf("closing 100 connections took %v, want less than 1s", got.took)
		}
		for _, write := range writes {
			<-write
		}
	})
}

// oddWire does what net.Conn leaves open.
type oddWire struct {
	net.Conn
	stuck   atomic.Bool  // Read and Write do nothing, without an error
	reading atomic.Int64 // the size of the buffer of the last Read
	until   atomic.Value // the last deadline of Read
}

func (w *oddWire) Read(p []byte) (int, error) {
	if w.stuck.Load() {
		return 0, nil
	}
	w.reading.Store(int64(len(p)))
	return w.Conn.Read(p)
}

func (w *oddWire) Write(p []byte) (int, error) {
	if w.stuck.Load() {
		return 0, nil
	}
	return w.Conn.Write(p)
}

func (w *oddWire) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		w.until.Store(t)
	}
	return w.Conn.SetReadDeadline(t)
}

// A wire that does nothing and reports no error makes no call loop for ever.
func TestConnNoProgress(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		near, far := tlstest.WirePair(64 << 10)
		odd := &oddWire{Conn: near}
		c, s := tlstest.ConnsOver(t, client, server, odd, far)
		tlstest.MustHandshake(t, c, s)
		odd.stuck.Store(true)
		if _, err := c.Write([]byte{1}); err != io.ErrNoProgress {
			t.Errorf("Write: %v, want io.ErrNoProgress", err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.ErrNoProgress {
			t.Errorf("Read: %v, want io.ErrNoProgress", err)
		}
	})
}

// A Read that waits after a large transfer holds little memory.
func TestConnIdleReadIsSmall(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		near, far := tlstest.WirePair(200_000)
		odd := &oddWire{Conn: near}
		c, s := tlstest.ConnsOver(t, client, server, odd, far)
		tlstest.MustHandshake(t, c, s)
		sent := pattern(150_000)
		if _, err := s.Write(sent); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(sent))); err != nil {
			t.Fatalf("Read: %v", err)
		}
		read := start(reading(c))
		waits(t, "the Read", read)
		if got := odd.reading.Load(); got > 4096 {
			t.Errorf("the Read that waits has a buffer of %d bytes, want at most 4096", got)
		}
		c.Close()
		<-read
	})
}

// A small Write beside bulk writers comes when those that came before it are done.
func TestConnWritersTakeTurns(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
		tlstest.MustHandshake(t, c, s)
		var written atomic.Int64
		var ended atomic.Bool
		bulk := func() (n int, err error) {
			for p := make([]byte, 100_000); err == nil && !ended.Load(); written.Add(1) {
				_, err = c.Write(p)
			}
			return 0, err
		}
		var writers []<-chan outcome
		for range 2 {
			writers = append(writers, start(bulk))
			synctest.Wait()
		}
		small := start(func() (int, error) {
			_, err := c.Write([]byte("small"))
			defer ended.Store(true)
			return int(written.Load()), err
		})
		synctest.Wait()
		peer := start(func() (int, error) {
			n, err := io.Copy(io.Discard, s)
			return int(n), err
		})
		if got := <-small; got.err != nil || got.n > 2 {
			t.Errorf("a small Write: %v after %d others, want nil after the 2 that came before it", got.err, got.n)
		}
		for _, writer := range writers {
			if got := <-writer; got.err != nil {
				t.Errorf("a bulk writer: %v", got.err)
			}
		}
		must(t, c.Close())
		if got := <-peer; got.err != nil {
			t.Errorf("the peer: %v", got.err)
		}
	})
}

// A deadline is a moment on the monotonic clock, where it has a reading of that: the wall
// clock may be set. A Read that does the handshake hands its own to the wire.
func TestConnDeadlineIsMonotonic(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		near, far := tlstest.WirePair(10_000)
		odd := &oddWire{Conn: near}
		c, s := tlstest.ConnsOver(t, client, server, odd, far)
		until := time.Now().Add(time.Hour)
		for _, until := range []time.Time{until, until.Round(0)} {
			must(t, c.SetReadDeadline(until))
			read := start(reading(c))
			if err := s.Handshake(); err != nil {
				t.Fatalf("the server's handshake: %v", err)
			}
			if _, err := s.Write([]byte{1}); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if got := <-read; got.err != nil {
				t.Fatalf("Read: %v", got.err)
			}
			got, _ := odd.until.Load().(time.Time)
			if off := got.Sub(until).Abs(); off > time.Second || until.String() != until.Round(0).String() && !strings.Contains(got.String(), " m=") {
				t.Errorf("the wire's deadline: %v, want %v", got, until)
			}
		}
	})
}

// A ClientHello function that does not heed its context costs nothing either.
func TestConnCloseDoesNotWaitForTheHelloFunc(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		release := make(chan struct{})
		must(t, server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
			<-release
			return server, nil
		}))
		c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
		handshake, serve := start(shaking(c)), start(shaking(s))
		synctest.Wait()
		if got := <-start(func() (int, error) { return 0, s.Close() }); got.err != nil || got.took != 0 {
			t.Errorf("Close beside a ClientHello function that blocks: %v after %v, want nil at once", got.err, got.took)
		}
		close(release)
		if got := <-serve; !errors.Is(got.err, net.ErrClosed) {
			t.Errorf("the server's handshake: %v", got.err)
		}
		if got := <-handshake; got.err == nil {
			t.Error("the client has shaken hands with nobody")
		}
	})
}

// What was sealed when Close came goes out before close_notify.
func TestConnCloseSendsWhatWasSealed(t *testing.T) {
	eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s, _, _ := tlstest.WireConns(t, client, server, 10_000)
		tlstest.MustHandshake(t, c, s)
		speak(t, c, s)
		sent := pattern(1 << 20)
		write := start(writing(c, sent))
		synctest.Wait()
		done := start(func() (int, error) { return 0, c.Close() })
		w := <-write
		if w.n == 0 || !errors.Is(w.err, net.ErrClosed) {
			t.Fatalf("the Write: %d, %v", w.n, w.err)
		}
		got, err := io.ReadAll(s)
		must(t, err)
		if !bytes.Equal(got, sent[:w.n]) {
			t.Fatal(firstDifference(got, sent[:w.n]))
		}
		if got := <-done; got.err != nil || got.took != 0 {
			t.Fatalf("Close: %v after %v", got.err, got.took)
		}
	})
}

// ---- the ends of a stream ----

func TestConnCloseWrite(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range []string{"client", "server"} {
			near, far := tlstest.Conns(t, client, server)
			if err := near.CloseWrite(); err == nil {
				t.Error("CloseWrite before the handshake")
			}
			tlstest.MustHandshake(t, near, far)
			if role == "server" {
				near, far = far, near
			}
			if _, err := near.Write([]byte("question")); err != nil {
				t.Fatalf("Write: %v", err)
			}
			must(t, near.CloseWrite())
			must(t, near.CloseWrite())
			if _, err := near.Write([]byte("more")); err == nil || !strings.HasPrefix(err.Error(), "openssl: ") {
				t.Errorf("%s: Write after CloseWrite: %v", role, err)
			}
			got, err := io.ReadAll(far)
			if err != nil || string(got) != "question" {
				t.Fatalf("%s: the peer reads %q, %v", role, got, err)
			}
			if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%s: a Read behind the end: %d, %v", role, n, err)
			}
			answer := pattern(300_000)
			write := start(func() (int, error) {
				n, err := far.Write(answer)
				return n, errors.Join(err, far.CloseWrite())
			})
			got, err = io.ReadAll(near)
			if err != nil || !bytes.Equal(got, answer) {
				t.Fatalf("%s: the other half: %v, %s", role, err, firstDifference(got, answer))
			}
			if w := <-write; w.err != nil {
				t.Fatalf("Write: %v", w.err)
			}
		}
	})
}

// Only close_notify is io.EOF.
func TestConnCutWire(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range []string{"client", "server"} {
			for what, cut := range map[string]func(near *openssl.Conn, wire *tlstest.Wire){
				"between records": func(near *openssl.Conn, wire *tlstest.Wire) {},
				"within a header": func(near *openssl.Conn, wire *tlstest.Wire) { wire.Write([]byte{23, 3}) },
				"within a record": func(near *openssl.Conn, wire *tlstest.Wire) { wire.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3}) },
			} {
				near, far, nearWire, farWire := tlstest.WireConns(t, client, server, 64<<10)
				tlstest.MustHandshake(t, near, far)
				if role == "server" {
					near, far, nearWire = far, near, farWire
				}
				if _, err := near.Write([]byte("data")); err != nil {
					t.Fatalf("Write: %v", err)
				}
				cut(near, nearWire)
				nearWire.CloseWrite()
				got, err := io.ReadAll(far)
				if string(got) != "data" || err != io.ErrUnexpectedEOF {
					t.Errorf("a %s's wire cut %s: %q, %v", role, what, got, err)
				}
				if _, err := far.Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
					t.Errorf("and a Read behind it: %v", err)
				}
				// The other direction goes on, to the end.
				if _, err := far.Write([]byte("answer")); err != nil {
					t.Errorf("a Write to a %s whose wire was cut %s: %v, want nil", role, what, err)
				}
				must(t, far.Close())
				if got, err := io.ReadAll(near); string(got) != "answer" || err != nil {
					t.Errorf("a %s whose wire was cut %s reads %q, %v, want the answer", role, what, got, err)
				}
			}
		}
		// Within the handshake.
		c, s, near, _ := tlstest.WireConns(t, client, server, 64<<10)
		near.Write([]byte{22, 3, 1})
		near.CloseWrite()
		if err := s.Handshake(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a handshake on a wire that is cut: %v", err)
		}
		if err := s.Handshake(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("and again: %v", err)
		}
		c.Close()
	})
}

// A client's Close never destroys what it has sent, though it has not read the
// tickets that the server has sent it. Over TCP, because it is a socket with
// unread bytes whose close resets the connection.
func TestConnCloseWithUnreadTickets(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		for range 50 {
			c, s := tlstest.Conns(t, client, server)
			tlstest.MustHandshake(t, c, s)
			sent := pattern(100_000)
			send := start(func() (int, error) {
				n, err := c.Write(sent)
				return n, errors.Join(err, c.Close())
			})
			// The tickets are there, and so is what the client's Close does.
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(s, got[:1]); err != nil {
				t.Fatalf("ReadFull: %v", err)
			}
			rest, err := io.ReadAll(s)
			must(t, err)
			if got = append(got[:1], rest...); !bytes.Equal(got, sent) {
				t.Fatal(firstDifference(got, sent))
			}
			s.Close()
			if w := <-send; w.err != nil {
				t.Fatalf("Write: %v", w.err)
			}
		}
	})
}

// Writing to a peer that has reset the connection is an error, never a signal.
func TestConnWriteAfterReset(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		for _, role := range []string{"client", "server"} {
			near, far := tlstest.Conns(t, client, server)
			tlstest.MustHandshake(t, near, far)
			speak(t, near, far)
			if role == "server" {
				near, far = far, near
			}
			raw := far.NetConn().(*net.TCPConn)
			must(t, raw.SetLinger(0))
			must(t, raw.Close())
			if _, err := io.ReadAll(near); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: Read after a reset: %v", role, err)
			}
			for range 3 {
				if _, err := near.Write(make([]byte, 100_000)); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: Write after a reset: %v", role, err)
				}
			}
			if err := near.Close(); err != nil {
				t.Errorf("%s: Close after a reset: %v", role, err)
			}
		}
	})
}

// ---- alerts and verdicts ----

func TestConnPeersAlert(t *testing.T) {
	t.Run("in the handshake", func(t *testing.T) {
		eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
			must(t, client.SetVerifyCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
			c, s := tlstest.Conns(t, client, server)
			clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
			if v, ok := tlstest.AsType[*openssl.VerifyError](clientErr); !ok {
				t.Errorf("client: %v, %v", clientErr, v)
			}
			if alert, ok := tlstest.AsType[tls.AlertError](serverErr); !ok || alert != 48 {
				t.Errorf("server: %v", serverErr)
			}
			for what, err := range map[string]error{"Handshake": s.Handshake(), "Read": readErr(s), "Write": writeErr(s)} {
				if !reflect.DeepEqual(err, serverErr) {
					t.Errorf("server's %s afterwards: %v, want %v", what, err, serverErr)
				}
			}
		})
	})
	t.Run("after it", func(t *testing.T) {
		// A TLS 1.3 server looks at the client's certificate when the client is through.
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, tls.VersionTLS13)
		must(t, server.SetClientCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
		must(t, server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		must(t, server.SetSessionIDContext([]byte("tenant")))
		c, s := tlstest.Conns(t, client, server)
		clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
		if _, ok := tlstest.AsType[*openssl.VerifyError](serverErr); clientErr != nil || !ok {
			t.Fatalf("client %v, server %v", clientErr, serverErr)
		}
		for range 2 {
			_, err := c.Read(make([]byte, 1))
			if alert, ok := tlstest.AsType[tls.AlertError](err); !ok || alert != 48 || errors.Is(err, io.EOF) {
				t.Errorf("client: %v", err)
			}
		}
	})
}

// libssl's error comes before the transport's: an alert that cannot be sent does
// not hide why there was one.
func TestConnVerdictOutranksTheWire(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		must(t, client.SetVerifyCAs(tlstest.NewAuthority(t, "another CA", nil).PEM))
		near, far := tlstest.WirePair(64 << 10)
		// The client's first flight goes out, and nothing after it.
		once := &brokenAfter{Conn: near, left: 1}
		c, s := tlstest.ConnsOver(t, client, server, once, far)
		handshake := start(shaking(c))
		serve := start(shaking(s))
		got := <-handshake
		if _, ok := tlstest.AsType[*openssl.VerifyError](got.err); !ok {
			t.Errorf("client: %v", got.err)
		}
		c.Close()
		if got := <-serve; got.err == nil {
			t.Error("the server has shaken hands with a client that refused it")
		}
	})
	t.Run("ClientHello function", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		refusal := errors.New("not today")
		must(t, server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
			return nil, refusal
		}))
		c, s, _, far := tlstest.WireConns(t, client, server, 64<<10)
		far.Refuse.Store(true)
		handshake := start(shaking(c))
		if err := s.Handshake(); !errors.Is(err, refusal) {
			t.Errorf("server: %v", err)
		}
		far.CloseWrite()
		if got := <-handshake; got.err == nil {
			t.Error("the client has shaken hands with a server that refused it")
		}
	})
}

// brokenAfter lets left Writes through.
type brokenAfter struct {
	net.Conn
	left int
}

func (b *brokenAfter) Write(p []byte) (int, error) {
	if b.left == 0 {
		return 0, syscall.EPIPE
	}
	b.left--
	return b.Conn.Write(p)
}

// A client that sends its request and leaves is served, although its tickets
// cannot be sent any more.
func TestConnTicketsNobodyWants(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	near, far := tlstest.WirePair(64 << 10)
	s, err := openssl.Server(far, server)
	must(t, err)
	defer s.Close()
	serve := start(shaking(s))

	// The client by hand: its Finished and its data arrive together.
	c, _ := tlstest.Machines(t, client, server)
	p := make([]byte, 64<<10)
	for {
		w, err := c.Handshake()
		must(t, err)
		if w == openssl.WantNothing {
			break
		}
		near.Write(p[:c.Drain(p)])
		n, err := near.Read(p)
		must(t, err)
		if _, err := c.Feed(p[:n]); err != nil {
			t.Fatalf("Feed: %v", err)
		}
	}
	if _, _, err := c.Write([]byte("and away")); err != nil {
		t.Fatalf("Write: %v", err)
	}
	far.Refuse.Store(true)
	near.Write(p[:c.Drain(p)])

	if got := <-serve; got.err != nil {
		t.Fatalf("the server's handshake: %v", got.err)
	}
	got := make([]byte, 8)
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "and away" {
		t.Fatalf("the server reads %q, %v", got, err)
	}
	if _, err := s.Write([]byte{1}); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the server's Write: %v", err)
	}
}

// ---- the handshake ----

func TestConnHandshakeContext(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			for _, role := range []string{"client", "server"} {
				end, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
				if role == "server" {
					end = s
				}
				// The other end says nothing.
				ctx, cancel := context.WithCancel(t.Context())
				handshake := start(func() (int, error) { return 0, end.HandshakeContext(ctx) })
				synctest.Wait()
				behind := start(reading(end))
				synctest.Wait()
				cancel()
				for _, call := range []<-chan outcome{handshake, behind} {
					if got := <-call; got.err != context.Canceled || got.took != 0 {
						t.Errorf("%s: %v after %v", role, got.err, got.took)
					}
				}
				if err := end.Handshake(); err != context.Canceled { // final
					t.Errorf("%s, again: %v", role, err)
				}
			}
		})
	})
	t.Run("out of time", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			for _, role := range []string{"client", "server"} {
				end, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
				if role == "server" {
					end = s
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				got := <-start(func() (int, error) { return 0, end.HandshakeContext(ctx) })
				if got.err != context.DeadlineExceeded || got.took != time.Minute {
					t.Errorf("%s: %v after %v", role, got.err, got.took)
				}
			}
		})
	})
	t.Run("waiting for another one", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
			first := start(shaking(c))
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			second := start(func() (int, error) { return 0, c.HandshakeContext(ctx) })
			synctest.Wait()
			cancel()
			if got := <-second; got.err != context.Canceled || got.took != 0 {
				t.Errorf("the second: %v after %v", got.err, got.took)
			}
			must(t, s.Handshake()) // the first one is not harmed
			if got := <-first; got.err != nil {
				t.Errorf("the first: %v", got.err)
			}
		})
	})
	t.Run("in the ClientHello function", func(t *testing.T) {
		eachVersionInBubble(t, func(t *testing.T, client, server *openssl.Ctx) {
			must(t, server.SetClientHelloFunc(func(ctx context.Context, _ *openssl.ClientHello) (*openssl.Ctx, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}))
			c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
			handshake := start(shaking(c))
			ctx, cancel := context.WithCancel(t.Context())
			serve := start(func() (int, error) { return 0, s.HandshakeContext(ctx) })
			synctest.Wait()
			cancel()
			if got := <-serve; got.err != context.Canceled || got.took != 0 {
				t.Errorf("server: %v after %v", got.err, got.took)
			}
			if got := <-handshake; got.err == nil {
				t.Error("the client has shaken hands with nobody")
			}
		})
	})
	t.Run("over before it began", func(t *testing.T) {
		c, s, near, _ := tlstest.WireConns(t, tlstest.NewClient(t), tlstest.NewServer(t), 64<<10)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.HandshakeContext(ctx); err != context.Canceled {
			t.Errorf("%v", err)
		}
		if near.Writes.Load() != 0 {
			t.Error("a cancelled handshake has said something")
		}
		tlstest.MustHandshake(t, c, s) // nothing has happened
		must(t, c.HandshakeContext(t.Context()))
	})
}

// Deadlines may cut a handshake wherever they like: it goes on.
func TestConnHandshakeGoesOnAfterADeadline(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		near, far := tlstest.WirePair(64 << 10)
		nearCut, farCut := &cutWire{Conn: near}, &cutWire{Conn: far}
		c, s := tlstest.ConnsOver(t, client, server, nearCut, farCut)
		again := func(c *openssl.Conn) error {
			for {
				if err := c.Handshake(); !errors.Is(err, os.ErrDeadlineExceeded) {
					return err
				}
			}
		}
		must(t, errors.Join(tlstest.Both(func() error { return again(c) }, func() error { return again(s) })))
		if nearCut.cuts < 10 || farCut.cuts < 10 {
			t.Errorf("the handshake was cut %d and %d times", nearCut.cuts, farCut.cuts)
		}
		nearCut.off, farCut.off = true, true
		must(t, roundTripOver(c, s, pattern(100_000)))
	})
}

// cutWire lets 100 bytes through, and then a deadline passes.
type cutWire struct {
	net.Conn
	cuts int
	odd  bool
	off  bool
}

func (w *cutWire) Read(p []byte) (int, error) {
	if w.off {
		return w.Conn.Read(p)
	}
	if w.odd = !w.odd; w.odd {
		w.cuts++
		return 0, os.ErrDeadlineExceeded
	}
	return w.Conn.Read(p[:min(len(p), 100)])
}

func (w *cutWire) Write(p []byte) (int, error) {
	if w.off || len(p) <= 100 {
		return w.Conn.Write(p)
	}
	w.cuts++
	n, _ := w.Conn.Write(p[:100])
	return n, os.ErrDeadlineExceeded
}

// A deadline that has passed before the first byte, and one in a Read or Write
// that shakes hands.
func TestConnLazyHandshakeGoesOnAfterADeadline(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, server *openssl.Ctx) {
		c, s := tlstest.Conns(t, client, server)
		must(t, c.SetDeadline(time.Unix(1, 0)))
		wantTimeout(t, "Handshake", c.Handshake())
		if n, err := c.Write([]byte("early")); n != 0 {
			t.Errorf("%d bytes written before the handshake", n)
		} else {
			wantTimeout(t, "Write", err)
		}
		_, err := c.Read(make([]byte, 1))
		wantTimeout(t, "Read", err)
		must(t, c.SetDeadline(time.Time{}))
		must(t, roundTripOver(c, s, pattern(1000)))
	})
}

// ---- KeyUpdate ----

// handmade is the peer's end of a connection, record by record: neither crypto/tls
// nor this package can be made to send a KeyUpdate, or to ask for a renegotiation
// without end. crypto/tls shakes hands and logs the secrets, from there on it is
// done by hand.
type handmade struct {
	wire    *tlstest.Wire
	from    io.Reader
	in, out traffic
	joined  bool // a record of the application's keys has been seen
}

// traffic is one direction's keys, of AES-128-GCM and SHA-256.
type traffic struct {
	secret []byte // of the next keys; TLS 1.2 has none
	iv     []byte // in TLS 1.2 the first four bytes of every nonce
	aead   cipher.AEAD
	seq    uint64
}

const (
	recordChangeCipherSpec = 20

	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23

	keyUpdate = 24
)

var (
	keyUpdateRequested    = []byte{keyUpdate, 0, 0, 1, 1}
	keyUpdateNotRequested = []byte{keyUpdate, 0, 0, 1, 0}

	alertCloseNotify     = []byte{1, 0}
	alertNoRenegotiation = []byte{1, 100}
)

func (k *traffic) setKey(key []byte) {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
}

// use takes the keys of TLS 1.3 out of a traffic secret.
func (k *traffic) use(secret []byte) {
	expand := func(label string, n int) []byte {
		label = "tls13 " + label
		info := append([]byte{0, byte(n), byte(len(label))}, label...)
		out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
		if err != nil {
			panic(err)
		}
		return out
	}
	k.setKey(expand("key", 16))
	k.iv, k.seq, k.secret = expand("iv", 12), 0, expand("traffic upd", 32)
}

// useMaster takes the keys of TLS 1.2 out of a master secret, for what the client
// sends and for what the server sends.
func useMaster(master, clientRandom, serverRandom []byte, client, server *traffic) {
	sum := func(p []byte) []byte {
		mac := hmac.New(sha256.New, master)
		mac.Write(p)
		return mac.Sum(nil)
	}
	seed := slices.Concat([]byte("key expansion"), serverRandom, clientRandom)
	var block []byte
	for a := sum(seed); len(block) < 40; a = sum(a) {
		block = append(block, sum(slices.Concat(a, seed))...)
	}
	client.setKey(block[:16])
	server.setKey(block[16:32])
	client.iv, server.iv = block[32:36], block[36:40]
	client.seq, server.seq = 1, 1 // each has sealed its Finished
}

// update goes on to the next keys.
func (k *traffic) update() { k.use(k.secret) }

func (k *traffic) nonce() []byte {
	nonce := bytes.Clone(k.iv)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^k.seq)
	return nonce
}

// authenticated is what TLS 1.2 seals beside n bytes.
func (k *traffic) authenticated(kind byte, n int) []byte {
	return binary.BigEndian.AppendUint16(append(binary.BigEndian.AppendUint64(nil, k.seq), kind, 3, 3), uint16(n))
}

// seal makes one record.
func (k *traffic) seal(kind byte, body []byte) (record []byte) {
	if k.secret == nil {
		number := binary.BigEndian.AppendUint64(nil, k.seq)
		head := binary.BigEndian.AppendUint16([]byte{kind, 3, 3}, uint16(len(number)+len(body)+k.aead.Overhead()))
		record = k.aead.Seal(append(head, number...), slices.Concat(k.iv, number), body, k.authenticated(kind, len(body)))
	} else {
		head := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(body)+1+k.aead.Overhead()))
		record = k.aead.Seal(bytes.Clone(head), k.nonce(), append(bytes.Clone(body), kind), head)
	}
	k.seq++
	return record
}

// open is the opposite.
func (k *traffic) open(head, sealed []byte) (kind byte, body []byte, err error) {
	if k.secret == nil {
		n := len(sealed) - 8 - k.aead.Overhead()
		if n < 0 {
			return 0, nil, errors.New("a record without a nonce and a tag")
		}
		kind = head[0]
		body, err = k.aead.Open(nil, slices.Concat(k.iv, sealed[:8]), sealed[8:], k.authenticated(kind, n))
	} else if body, err = k.aead.Open(nil, k.nonce(), sealed, head); err == nil {
		kind, body = body[len(body)-1], body[:len(body)-1]
	}
	if err == nil {
		k.seq++
	}
	return kind, body, err
}

// send seals one record.
func (h *handmade) send(kind byte, body []byte) error {
	_, err := h.wire.Write(h.out.seal(kind, body))
	return err
}

// receive opens one record.
func (h *handmade) receive() (kind byte, body []byte, err error) {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(h.from, head); err != nil {
			return 0, nil, err
		}
		record := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(h.from, record); err != nil {
			return 0, nil, err
		}
		kind, body, err := h.in.open(head, record)
		if err != nil && !h.joined {
			continue // of the handshake, which is behind us
		}
		if err != nil {
			return 0, nil, fmt.Errorf("record %d: %w", h.in.seq, err)
		}
		h.joined = true
		return kind, body, nil
	}
}

// receiveAll opens records until n bytes of data are there, or close_notify. It
// follows KeyUpdates, and counts them and the alerts that refuse a renegotiation.
func (h *handmade) receiveAll(n int) (data []byte, answers int, err error) {
	for len(data) < n {
		kind, body, err := h.receive()
		switch {
		case err != nil:
			return data, answers, err
		case kind == recordData:
			data = append(data, body...)
		case kind == recordHandshake && bytes.Equal(body, keyUpdateNotRequested):
			h.in.update()
			answers++
		case kind == recordAlert && bytes.Equal(body, alertNoRenegotiation):
			answers++
		case kind == recordAlert && bytes.Equal(body, alertCloseNotify):
			return data, answers, nil
		case kind != recordHandshake || body[0] == keyUpdate:
			return data, answers, fmt.Errorf("record of type %d: %x", kind, body)
		} // else a ticket
	}
	return data, answers, nil
}

// recorder keeps what went over a wire.
type recorder struct {
	net.Conn
	read, written bytes.Buffer
	change        func(p []byte) []byte // of what is written, if not nil
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read.Write(p[:n])
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written.Write(p)
	if r.change == nil {
		return r.Conn.Write(p)
	}
	_, err := r.Conn.Write(r.change(p))
	return len(p), err
}

// newHandmade is the peer, at the far end of a wire, of an end in the role given.
// Both have shaken hands.
func newHandmade(t testing.TB, role string, version uint16, far *tlstest.Wire, handshake func() error) *handmade {
	t.Helper()
	return newHandmadeBehind(t, role, version, far, handshake, nil)
}

// newHandmadeBehind is newHandmade, whose Finished of TLS 1.2 has more behind it in the same
// record, if that is not nil.
func newHandmadeBehind(t testing.TB, role string, version uint16, far *tlstest.Wire, handshake func() error, behind []byte) *handmade {
	t.Helper()
	record := &recorder{Conn: far}
	var keys bytes.Buffer
	config := &tls.Config{
		MinVersion: version, MaxVersion: version, ServerName: "server.test",
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, // TLS 1.3 chooses by itself
		KeyLogWriter: &keys, SessionTicketsDisabled: true,
		Time: func() time.Time { return tlstest.Certs(t).Cert.NotBefore.Add(time.Hour) }, // a bubble's clock stands in the year 2000
	}
	var peer *tls.Conn
	hello := &record.read // the server's is the first record from there
	if role == "server" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(tlstest.Certs(t).Cert)
		peer = tls.Client(record, config)
	} else {
		config.Certificates = tlstest.GoServer(t).Certificates
		peer = tls.Server(record, config)
		hello = &record.written
	}
	h := &handmade{wire: far, from: io.MultiReader(&record.read, far)}
	client, server := &h.out, &h.in
	if role == "client" {
		client, server = server, client
	}
	if behind != nil {
		record.change = func(p []byte) []byte {
			finished, before := p, []byte(nil)
			for len(finished) > 0 && finished[0] != recordChangeCipherSpec {
				n := 5 + int(binary.BigEndian.Uint16(finished[3:]))
				before, finished = append(before, finished[:n]...), finished[n:]
			}
			if len(finished) == 0 {
				return p
			}
			h.useKeys(t, keys.String(), hello.Bytes(), client, server)
			h.out.seq = 0
			before, finished = append(before, finished[:6]...), finished[6:]
			kind, body, err := h.out.open(finished[:5], finished[5:])
			must(t, err)
			h.out.seq = 0
			return append(before, h.out.seal(kind, append(body, behind...))...)
		}
	}
	must(t, errors.Join(tlstest.Both(handshake, peer.Handshake)))
	h.useKeys(t, keys.String(), hello.Bytes(), client, server)
	return h
}

// useKeys takes the keys out of a key log and the ServerHello's record.
func (h *handmade) useKeys(t testing.TB, log string, hello []byte, client, server *traffic) {
	t.Helper()
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		random, err := hex.DecodeString(fields[1])
		must(t, err)
		secret, err := hex.DecodeString(fields[2])
		must(t, err)
		switch fields[0] {
		case "CLIENT_RANDOM":
			useMaster(secret, random, hello[11:43], client, server)
		case "CLIENT_TRAFFIC_SECRET_0":
			client.use(secret)
		case "SERVER_TRAFFIC_SECRET_0":
			server.use(secret)
		}
	}
}

// connTo is a connection in the role given over a wire, closed with the test.
func connTo(t testing.TB, role string, ctx *openssl.Ctx, near net.Conn) *openssl.Conn {
	t.Helper()
	var conn *openssl.Conn
	var err error
	if role == "server" {
		conn, err = openssl.Server(near, ctx)
	} else if conn, err = openssl.Client(near, ctx); err == nil {
		err = conn.SetServerName("server.test")
	}
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// withHandmade is a connection in the role given whose peer is handmade, over a
// wire that holds capacity bytes. Both have shaken hands.
func withHandmade(t testing.TB, role string, ctx *openssl.Ctx, capacity int) (*openssl.Conn, *handmade) {
	t.Helper()
	near, far := tlstest.WirePair(capacity)
	conn := connTo(t, role, ctx, near)
	t.Cleanup(func() { far.Close() })
	return conn, newHandmade(t, role, tls.VersionTLS13, far, conn.Handshake)
}

// eachRoleWithHandmade runs a test in a bubble for each role.
func eachRoleWithHandmade(t *testing.T, capacity int, test func(t *testing.T, conn *openssl.Conn, peer *handmade)) {
	for _, role := range []string{"client", "server"} {
		t.Run(role, func(t *testing.T) {
			ctx := tlstest.NewClient(t)
			if role == "server" {
				ctx = tlstest.NewServer(t)
			}
			tlstest.SetVersion(t, ctx, tls.VersionTLS13)
			must(t, ctx.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
			synctest.Test(t, func(t *testing.T) {
				conn, peer := withHandmade(t, role, ctx, capacity)
				test(t, conn, peer)
			})
		})
	}
}

// A Read that waits answers a KeyUpdate by itself: no other call would, where the
// application has nothing to send.
func TestConnKeyUpdate(t *testing.T) {
	eachRoleWithHandmade(t, 64<<10, func(t *testing.T, conn *openssl.Conn, peer *handmade) {
		read := start(reading(conn))
		for round := range 3 {
			synctest.Wait()
			must(t, peer.send(recordHandshake, keyUpdateRequested))
			peer.out.update()
			for {
				kind, body, err := peer.receive()
				must(t, err)
				if bytes.Equal(body, keyUpdateNotRequested) && kind == recordHandshake {
					break
				}
				if round > 0 || kind != recordHandshake || body[0] == keyUpdate { // a ticket is fine
					t.Fatalf("the answer: record of type %d, %x", kind, body)
				}
			}
			peer.in.update()
		}
		must(t, peer.send(recordData, []byte{7}))
		if r := <-read; r.n != 1 || r.err != nil {
			t.Fatalf("Read: %d, %v", r.n, r.err)
		}
		sent := pattern(40_000)
		if _, err := conn.Write(sent); err != nil {
			t.Fatalf("Write: %v", err)
		}
		got, updates, err := peer.receiveAll(len(sent))
		if err != nil || updates != 0 || !bytes.Equal(got, sent) {
			t.Fatalf("%v, %d updates, %s", err, updates, firstDifference(got, sent))
		}
	})
}

// What stands behind Finished in the same record is read after the handshake, out of the
// buffer that the record is in: until then it must not be freed. Freed memory is overwritten.
func TestConnRecordBehindFinished(t *testing.T) {
	if !tlstest.Again(t, "MALLOC_PERTURB_=165") {
		return
	}
	for role, behind := range map[string][]byte{"server": {1, 0, 0, 0}, "client": {0, 0, 0, 0}} { // ClientHello, HelloRequest
		t.Run(role, func(t *testing.T) {
			ctx := tlstest.NewClient(t)
			if role == "server" {
				ctx = tlstest.NewServer(t)
			}
			tlstest.SetVersion(t, ctx, tls.VersionTLS12)
			near, far := tlstest.WirePair(64 << 10)
			conn := connTo(t, role, ctx, near)
			t.Cleanup(func() { far.Close() })
			peer := newHandmadeBehind(t, role, tls.VersionTLS12, far, conn.Handshake, behind)
			must(t, peer.send(recordData, []byte{7}))
			if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("Read: %d, %v", n, err)
			}
			sent := pattern(20_000)
			if _, err := conn.Write(sent); err != nil {
				t.Fatalf("Write: %v", err)
			}
			got, answers, err := peer.receiveAll(len(sent))
			if err != nil || answers != 1 || !bytes.Equal(got, sent) {
				t.Errorf("%v, %d alerts of no_renegotiation, want 1, %s", err, answers, firstDifference(got, sent))
			}
		})
	}
}

// The answer does not keep Read waiting when a Write is stuck: that one sends it.
func TestConnKeyUpdateBesideAStuckWrite(t *testing.T) {
	eachRoleWithHandmade(t, 10_000, func(t *testing.T, conn *openssl.Conn, peer *handmade) {
		sent := pattern(1 << 20)
		write := start(writing(conn, sent))
		synctest.Wait()
		must(t, peer.send(recordHandshake, keyUpdateRequested))
		peer.out.update()
		must(t, peer.send(recordData, []byte{7}))
		if r := <-start(reading(conn)); r.n != 1 || r.err != nil || r.took != 0 {
			t.Fatalf("Read: %d, %v after %v", r.n, r.err, r.took)
		}
		got, updates, err := peer.receiveAll(len(sent))
		if err != nil || updates != 1 || !bytes.Equal(got, sent) {
			t.Fatalf("%v, %d updates, %s", err, updates, firstDifference(got, sent))
		}
		if w := <-write; w.err != nil {
			t.Fatalf("Write: %v", w.err)
		}
	})
}

// One that comes behind the last Write's seal goes out when that Write is done.
func TestConnKeyUpdateBehindTheLastWrite(t *testing.T) {
	eachRoleWithHandmade(t, 10_000, func(t *testing.T, conn *openssl.Conn, peer *handmade) {
		sent := pattern(30_000) // one act, three times what the wire holds
		write := start(writing(conn, sent))
		synctest.Wait()
		must(t, peer.send(recordHandshake, keyUpdateRequested))
		peer.out.update()
		read := start(reading(conn))
		synctest.Wait()
		got, _, err := peer.receiveAll(len(sent))
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%v, %s", err, firstDifference(got, sent))
		}
		kind, body, err := peer.receive()
		if err != nil || kind != recordHandshake || !bytes.Equal(body, keyUpdateNotRequested) {
			t.Fatalf("the answer: record of type %d, %x, %v", kind, body, err)
		}
		if w := <-write; w.err != nil {
			t.Fatalf("Write: %v", w.err)
		}
		must(t, peer.send(recordData, []byte{7}))
		if r := <-read; r.n != 1 || r.err != nil {
			t.Fatalf("Read: %d, %v", r.n, r.err)
		}
	})
}

// A fatal alert behind data comes behind the data.
func TestConnAlertBehindData(t *testing.T) {
	eachRoleWithHandmade(t, 64<<10, func(t *testing.T, conn *openssl.Conn, peer *handmade) {
		must(t, peer.send(recordData, []byte("data")))
		must(t, peer.send(recordAlert, []byte{2, 80}))
		got, err := io.ReadAll(conn)
		if alert, ok := tlstest.AsType[tls.AlertError](err); string(got) != "data" || !ok || alert != 80 {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := conn.Write([]byte{1}); err == nil {
			t.Error("a Write after the peer's fatal alert")
		}
	})
}

// ---- answers that are not read ----

// flood is something that a peer can send without end, and that an end must
// answer each time. KeyUpdates are none: TestConnUselessRecordsEnd.
type flood struct {
	name, role   string // the role of the end that is flooded
	version      uint16
	body         []byte // of a handshake record
	size, answer int    // of a record with it, and of the answer's
}

// AES-128-GCM adds 5 bytes of header and 16 of tag, TLS 1.2 a nonce of 8, TLS 1.3
// a byte for the type. An alert has 2 bytes.
var floods = []flood{
	{"ClientHello", "server", tls.VersionTLS12, []byte{1, 0, 0, 0}, 4 + 29, 2 + 29},
	{"HelloRequest", "client", tls.VersionTLS12, []byte{0, 0, 0, 0}, 4 + 29, 2 + 29},
}

// send sends up to n of them, and says how many the wire has taken.
func (f flood) send(peer *handmade, n int) (sent int, err error) {
	for ; sent < n && err == nil; sent++ {
		if err = peer.send(recordHandshake, f.body); err != nil {
			break
		}
	}
	return sent, err
}

// firstBeyond is the least number of answers that are more than maxHeld bytes, in bytes.
func (f flood) firstBeyond() int { return (openssl.MaxHeld/f.answer + 1) * f.answer }

// sips gives n bytes for each Read.
type sips struct {
	net.Conn
	n int
}

func (s sips) Read(p []byte) (int, error) { return s.Conn.Read(p[:min(len(p), s.n)]) }

// flooded is a connection that is being flooded by a peer that reads nothing. What
// comes behind the flood is data, and then nothing.
type flooded struct {
	flood
	conn    *openssl.Conn
	peer    *handmade
	records int
	floods  <-chan outcome // how many records the wire has taken
	data    []byte         // behind them

	sent  []byte         // by a Write that is stuck, nil for none
	write <-chan outcome // it
}

// extent is how much a wire holds and gives at once, and a number of records that
// is more than all of that, maxHeld and one buffer hold together.
type extent struct{ capacity, sip, records int }

// startFlood returns when nothing can go on without a Read, or without the peer
// reading.
func startFlood(t *testing.T, kind flood, ctx *openssl.Ctx, x extent, stuck bool) *flooded {
	t.Helper()
	near, far := tlstest.WirePair(x.capacity)
	f := &flooded{flood: kind, records: x.records, data: pattern(10_000)}
	f.conn = connTo(t, kind.role, ctx, sips{near, x.sip})
	t.Cleanup(func() { far.Close() })
	f.peer = newHandmade(t, kind.role, kind.version, far, f.conn.Handshake)
	if stuck {
		f.sent = pattern(200_000)
		f.write = start(writing(f.conn, f.sent))
	}
	f.floods = start(func() (int, error) {
		n, err := kind.send(f.peer, f.records)
		if err == nil {
			err = f.peer.send(recordData, f.data)
		}
		return n, err
	})
	synctest.Wait()
	return f
}

// eachFlood runs a test in a bubble for each kind, beside a Write that is stuck
// and without one. There is one answer for each Read of the wire.
func eachFlood(t *testing.T, test func(t *testing.T, f *flooded)) {
	for _, kind := range floods {
		eachFloodOver(t, kind, extent{10_000, kind.size, 1600}, test)
	}
}

func eachFloodOver(t *testing.T, kind flood, x extent, test func(t *testing.T, f *flooded)) {
	for _, beside := range []string{"beside a Write", "alone"} {
		t.Run(kind.name+"/"+beside, func(t *testing.T) {
			ctx := floodCtx(t, kind)
			synctest.Test(t, func(t *testing.T) {
				test(t, startFlood(t, kind, ctx, x, beside != "alone"))
			})
		})
	}
}

func floodCtx(t *testing.T, kind flood) *openssl.Ctx {
	t.Helper()
	ctx := tlstest.NewClient(t)
	if kind.role == "server" {
		ctx = tlstest.NewServer(t)
	}
	must(t, ctx.SetCipherSuites("TLS_AES_128_GCM_SHA256"))
	return ctx
}

// readingAll reads what comes behind the flood.
func (f *flooded) readingAll() (int, error) {
	got := make([]byte, len(f.data))
	n, err := io.ReadFull(f.conn, got)
	if err == nil && !bytes.Equal(got, f.data) {
		err = errors.New(firstDifference(got, f.data))
	}
	return n, err
}

// waits fails the test if a call has ended.
func waits(t *testing.T, what string, call <-chan outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-call:
		t.Fatalf("%s has not waited: %d, %v", what, got.n, got.err)
	default:
	}
}

// isBounded looks at what the connection keeps, when everybody waits: no more than
// maxHeld, and what one buffer of ciphertext is answered with, which is no longer
// than that; and behind a Write one buffer of ciphertext on its way to the wire.
func (f *flooded) isBounded(t *testing.T) {
	t.Helper()
	going, waiting := openssl.Unsent(f.conn)
	if going > openssl.LargeBuffer || waiting > openssl.MaxHeld+openssl.LargeBuffer {
		t.Errorf("%d bytes are on their way to the wire and %d wait, want no more than %d and %d",
			going, waiting, openssl.LargeBuffer, openssl.MaxHeld+openssl.LargeBuffer)
	}
}

// goesOn has the peer read: what read, a call of readingAll, waits for must come,
// and everything arrives intact in both directions.
func (f *flooded) goesOn(t *testing.T, read <-chan outcome) {
	t.Helper()
	reply := pattern(10_000)
	want := slices.Concat(f.sent, reply)
	var got []byte
	var answers int
	peer := start(func() (_ int, err error) {
		got, answers, err = f.peer.receiveAll(len(want))
		return len(got), err
	})
	if r := <-read; r.err != nil {
		t.Fatalf("Read behind the flood: %d, %v", r.n, r.err)
	}
	if w := <-start(writing(f.conn, reply)); w.err != nil {
		t.Fatalf("Write behind the flood: %d, %v", w.n, w.err)
	}
	if r := <-peer; r.err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the peer: %v, %s", r.err, firstDifference(got, want))
	}
	if s := <-f.floods; s.n != f.records || s.err != nil {
		t.Fatalf("the flood: %d records, %v", s.n, s.err)
	}
	if answers != f.records {
		t.Errorf("%d answers to %d records", answers, f.records)
	}
	if going, waiting := openssl.Unsent(f.conn); going != 0 || waiting != 0 {
		t.Errorf("%d and %d bytes were not sent", going, waiting)
	}
}

// A peer that floods and reads nothing makes this end keep a little, and is then
// held back. If it reads everything goes on.
func TestConnFlood(t *testing.T) {
	look := func(t *testing.T, f *flooded) (waiting int) {
		read := start(f.readingAll)
		waits(t, "the Read", read)
		waits(t, "the flood", f.floods)
		f.isBounded(t)
		_, waiting = openssl.Unsent(f.conn)
		f.goesOn(t, read)
		if f.write != nil {
			if w := <-f.write; w.n != len(f.sent) || w.err != nil {
				t.Errorf("the Write: %d, %v", w.n, w.err)
			}
		}
		return waiting
	}
	t.Run("in sips", func(t *testing.T) {
		eachFlood(t, func(t *testing.T, f *flooded) {
			want := f.firstBeyond()
			if f.write == nil {
				want = 0 // the Read is stuck in sending the first one that the wire has no room for
			}
			if waiting := look(t, f); waiting != want {
				t.Errorf("%d bytes waited, want %d", waiting, want)
			}
		})
	})
	// The wire gives as much at once as a Read ever takes.
	t.Run("in gulps", func(t *testing.T) {
		for _, kind := range floods {
			eachFloodOver(t, kind, extent{openssl.LargeBuffer, openssl.LargeBuffer, 8000}, func(t *testing.T, f *flooded) {
				t.Logf("%d bytes waited", look(t, f))
			})
		}
	})
}

// The flood gets as little into this server as into crypto/tls's, but for what
// this one keeps of the answers, and one buffer.
func TestConnFloodTakesNoMoreThanFromCryptoTLS(t *testing.T) {
	const capacity, records = 100_000, 8000
	for _, kind := range floods {
		if kind.role != "server" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			took := func(near, far *tlstest.Wire, conn interface {
				net.Conn
				Handshake() error
			}) int {
				peer := newHandmade(t, "server", kind.version, far, conn.Handshake)
				var wg sync.WaitGroup
				defer wg.Wait()
				defer conn.Close()
				defer far.Close() // at first: nothing is left for Close to wait for
				wg.Go(func() { conn.Write(make([]byte, 10*capacity)) })
				for far.Waiting() < capacity { // until the Write is stuck
					runtime.Gosched()
				}
				wg.Go(func() { conn.Read(make([]byte, 1)) })
				// The flood is over when the wire has taken nothing for a while. There is no
				// bubble here: crypto/tls waits for mutexes.
				sent := 0
				for err := error(nil); err == nil && sent < records; {
					must(t, far.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
					var n int
					n, err = kind.send(peer, 1)
					sent += n
				}
				return sent*kind.size - min(sent*kind.size, near.Waiting())
			}

			near, far := tlstest.WirePair(capacity)
			config := tlstest.GoServer(t)
			config.SessionTicketsDisabled = true
			theirs := took(near, far, tls.Server(near, config))

			near, far = tlstest.WirePair(capacity)
			ours := took(near, far, connTo(t, "server", floodCtx(t, kind), near))

			t.Logf("of a flood of %d bytes crypto/tls's server took %d, this one %d", records*kind.size, theirs, ours)
			if bound := theirs + kind.firstBeyond()/kind.answer*kind.size + openssl.LargeBuffer; ours > bound {
				t.Errorf("this server took %d bytes, crypto/tls's %d: want no more than %d", ours, theirs, bound)
			}
		})
	}
}

// A Read that waits for the peer to read keeps to its deadline, can be called
// again, and then goes on where it was.
func TestConnFloodedReadKeepsItsDeadline(t *testing.T) {
	eachFlood(t, func(t *testing.T, f *flooded) {
		for range 2 {
			must(t, f.conn.SetReadDeadline(time.Now().Add(time.Minute)))
			r := <-start(reading(f.conn))
			wantTimeout(t, "Read", r.err)
			if r.took != time.Minute {
				t.Errorf("the Read ended after %v", r.took)
			}
		}

		// Where no Write is there each of them takes a little more, up to the bound.
		for range 2 * openssl.MaxHeld / f.answer {
			must(t, f.conn.SetReadDeadline(time.Now().Add(time.Nanosecond)))
			if _, err := f.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Read: %v", err)
			}
		}
		f.isBounded(t)
		if _, waiting := openssl.Unsent(f.conn); waiting != f.firstBeyond() {
			t.Errorf("%d bytes wait, want %d", waiting, f.firstBeyond())
		}

		// One that is set while Read waits counts, too.
		must(t, f.conn.SetReadDeadline(time.Time{}))
		read := start(reading(f.conn))
		waits(t, "the Read", read)
		must(t, f.conn.SetReadDeadline(time.Now()))
		r := <-read
		wantTimeout(t, "Read", r.err)
		if r.took != 0 {
			t.Errorf("the Read ended after %v", r.took)
		}

		// It has nothing to say of a Write.
		if f.write != nil {
			waits(t, "the Write", f.write)
		}
		must(t, f.conn.SetReadDeadline(time.Time{}))
		f.goesOn(t, start(f.readingAll))
	})
}

// Close ends a call that waits at once; Close itself waits for the peer up to its bound.
func TestConnFloodedReadHearsOfClose(t *testing.T) {
	eachFlood(t, func(t *testing.T, f *flooded) {
		read := start(reading(f.conn))
		waits(t, "the Read", read)
		if f.write == nil {
			f.write = start(writing(f.conn, []byte{1}))
		}
		waits(t, "the Write", f.write)
		done := start(func() (int, error) { return 0, f.conn.Close() })
		for what, call := range map[string]<-chan outcome{"Read": read, "Write": f.write} {
			if got := <-call; !errors.Is(got.err, net.ErrClosed) || got.took != 0 {
				t.Errorf("%s: %v after %v", what, got.err, got.took)
			}
		}
		if got := <-done; got.err != nil || got.took > openssl.CloseBound {
			t.Errorf("Close: %v after %v, want nil after %v at most", got.err, got.took, openssl.CloseBound)
		}
		f.peer.wire.Close()
		if got := <-f.floods; got.err == nil {
			t.Error("the flood has ended well")
		}
	})
}

// So it is where the Read waits for another deadline for writing.
func TestConnFloodedReadPastTheWriteDeadlineHearsOfClose(t *testing.T) {
	eachFlood(t, func(t *testing.T, f *flooded) {
		must(t, f.conn.SetWriteDeadline(time.Now()))
		read := start(reading(f.conn))
		waits(t, "the Read", read)
		done := start(func() (int, error) { return 0, f.conn.Close() })
		if got := <-read; !errors.Is(got.err, net.ErrClosed) || got.took != 0 {
			t.Errorf("Read: %v after %v", got.err, got.took)
		}
		<-done
		f.peer.wire.Close()
		<-f.floods
	})
}

// Where the wire takes nothing any more Read says so, instead of keeping what
// cannot be sent.
func TestConnFloodedReadHearsOfABrokenWire(t *testing.T) {
	test := func(t *testing.T, when string) {
		eachFlood(t, func(t *testing.T, f *flooded) {
			var read <-chan outcome
			if when != "before the Read" {
				read = start(reading(f.conn))
				waits(t, "the Read", read)
			}
			f.peer.wire.CloseRead()
			if read == nil {
				read = start(reading(f.conn))
			}
			if got := <-read; got.n != 0 || !errors.Is(got.err, syscall.EPIPE) {
				t.Errorf("the Read: %d, %v", got.n, got.err)
			}
			if f.write == nil {
				f.write = start(writing(f.conn, []byte{1}))
			}
			if got := <-f.write; !errors.Is(got.err, syscall.EPIPE) {
				t.Errorf("the Write: %v", got.err)
			}
			for range 3 {
				if n, err := f.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.EPIPE) {
					t.Errorf("a Read after it: %d, %v", n, err)
				}
			}
			waits(t, "the flood", f.floods)
			f.isBounded(t)
			if _, waiting := openssl.Unsent(f.conn); waiting != f.firstBeyond() {
				t.Errorf("%d bytes wait, want %d", waiting, f.firstBeyond())
			}
		})
	}
	for _, when := range []string{"before the Read", "while it waits"} {
		t.Run(when, func(t *testing.T) { test(t, when) })
	}
}

// Writers that leave each other no pause leave the Read room as soon as the peer
// reads.
func TestConnFloodedReadIsNotStarved(t *testing.T) {
	const most = 64 << 20 // bytes that are written before the Read has come to its end
	eachFlood(t, func(t *testing.T, f *flooded) {
		if f.write == nil {
			return
		}
		read := start(f.readingAll)
		waits(t, "the Read", read)
		var enough atomic.Bool
		var writers []<-chan outcome
		for range 2 {
			writers = append(writers, start(func() (n int, err error) {
				for p := make([]byte, 100_000); err == nil && !enough.Load() && n < most; {
					var k int
					k, err = f.conn.Write(p)
					n += k
				}
				return n, err
			}))
		}
		peer := start(func() (int, error) {
			data, _, err := f.peer.receiveAll(2*most + len(f.sent))
			return len(data), err
		})
		if r := <-read; r.err != nil {
			t.Errorf("the Read: %d, %v", r.n, r.err)
		}
		enough.Store(true)
		written := len(f.sent)
		for _, writer := range writers {
			w := <-writer
			if written += w.n; w.err != nil || w.n >= most {
				t.Errorf("a writer: %v, after %d bytes", w.err, w.n)
			}
		}
		must(t, f.conn.CloseWrite())
		if r := <-peer; r.n != written || r.err != nil {
			t.Errorf("the peer has read %d of %d bytes, %v", r.n, written, r.err)
		}
	})
}

// KeyUpdates and empty records end the connection, as they do in crypto/tls, if no data
// comes between them.
func TestConnUselessRecordsEnd(t *testing.T) {
	for _, kind := range []struct {
		name, why string
		some      int // that are no harm
		send      func(peer *handmade) error
	}{
		{"KeyUpdate", "too many key updates", 16, func(peer *handmade) error {
			defer peer.out.update()
			return peer.send(recordHandshake, keyUpdateRequested)
		}},
		{"KeyUpdate without an answer", "too many key updates", 16, func(peer *handmade) error {
			defer peer.out.update()
			return peer.send(recordHandshake, keyUpdateNotRequested)
		}},
		{"empty record", "record too small", 16, func(peer *handmade) error { return peer.send(recordData, nil) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			eachRoleWithHandmade(t, 64<<10, func(t *testing.T, conn *openssl.Conn, peer *handmade) {
				for range 3 {
					for range kind.some {
						must(t, kind.send(peer))
					}
					must(t, peer.send(recordData, []byte{7}))
					if r := <-start(reading(conn)); r.n != 1 || r.err != nil {
						t.Fatalf("Read behind %d of them: %d, %v", kind.some, r.n, r.err)
					}
				}
				for range 100 {
					must(t, kind.send(peer))
				}
				for range 2 {
					_, err := conn.Read(make([]byte, 1))
					tlstest.Sentence(t, err, kind.why)
				}
				for {
					what, body, err := peer.receive()
					if err != nil {
						t.Fatalf("the alert: %v", err)
					}
					if what == recordAlert {
						if !bytes.Equal(body, []byte{2, 10}) {
							t.Errorf("the alert: %x, want unexpected_message", body)
						}
						break
					}
					if bytes.Equal(body, keyUpdateNotRequested) {
						peer.in.update()
					}
				}
			})
		})
	}
}

// Warnings are not answered, and libssl has enough of them soon.
func TestConnWarningsEnd(t *testing.T) {
	for _, kind := range floods {
		t.Run(kind.role, func(t *testing.T) {
			ctx := floodCtx(t, kind)
			synctest.Test(t, func(t *testing.T) {
				near, far := tlstest.WirePair(10_000)
				conn := connTo(t, kind.role, ctx, near)
				t.Cleanup(func() { far.Close() })
				peer := newHandmade(t, kind.role, kind.version, far, conn.Handshake)
				for range 100 {
					must(t, peer.send(recordAlert, []byte{1, 90})) // user_canceled
				}
				_, err := conn.Read(make([]byte, 1))
				tlstest.Sentence(t, err, "too many warn alerts")
				if kind, body, err := peer.receive(); err != nil || kind != recordAlert || body[0] != 2 {
					t.Errorf("the answer: record of type %d, %x, %v", kind, body, err)
				}
			})
		})
	}
}

// ---- the doors ----

// Accept does not wait for a client that says nothing; what it returns is a
// *Conn. Dial verifies the host that it was given and returns shaken hands.
func TestDoors(t *testing.T) {
	eachVersion(t, func(t *testing.T, client, _ *openssl.Ctx) {
		server, err := openssl.NewServerCtx()
		must(t, err)
		defer server.Close()
		must(t, server.UseCertificate(tlstest.Certs(t).Leaf(t, "server.test", tlstest.ECKey(t), func(x *x509.Certificate) {
			x.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		})))
		l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
		must(t, err)
		defer l.Close()

		silent, err := net.Dial("tcp", l.Addr().String())
		must(t, err)
		defer silent.Close()
		first, err := l.Accept()
		must(t, err)
		must(t, first.Close())

		serve := func() error {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			err = conn.(*openssl.Conn).Handshake()
			return errors.Join(err, conn.Close())
		}
		clientErr, serverErr := tlstest.Both(func() error {
			c, err := openssl.Dial("tcp", l.Addr().String(), client)
			if err != nil {
				return err
			}
			if !c.ConnectionState().HandshakeComplete {
				t.Error("Dial has not shaken hands")
			}
			return c.Close()
		}, serve)
		if clientErr != nil || serverErr != nil {
			t.Errorf("Dial to an address: client %v, server %v", clientErr, serverErr)
		}
		for name, good := range map[string]bool{"server.test": true, "another.test": false} {
			clientErr, serverErr = tlstest.Both(func() error {
				c, err := (&openssl.Dialer{Ctx: client, ServerName: name}).DialContext(t.Context(), "tcp", l.Addr().String())
				if err != nil {
					if c != nil {
						t.Errorf("an error and a connection: %v", c)
					}
					return err
				}
				return c.(*openssl.Conn).Close()
			}, serve)
			if _, refused := tlstest.AsType[*openssl.VerifyError](clientErr); refused == good || (serverErr == nil) != good {
				t.Errorf("Dial to %s: client %v, server %v", name, clientErr, serverErr)
			}
		}
	})
}

func TestDoorsOfTheWrongRole(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	near, far := tlstest.WirePair(1000)
	var nobody *openssl.Ctx
	for what, open := range map[string]func() error{
		"Client with a server's Ctx": func() error { _, err := openssl.Client(near, server); return err },
		"Client without a Ctx":       func() error { _, err := openssl.Client(near, nobody); return err },
		"Client without a wire":      func() error { _, err := openssl.Client(nil, client); return err },
		"Server with a client's Ctx": func() error { _, err := openssl.Server(far, client); return err },
		"Server without a Ctx":       func() error { _, err := openssl.Server(far, nobody); return err },
		"Server without a wire":      func() error { _, err := openssl.Server(nil, server); return err },
		"Listen with a client's Ctx": func() error { _, err := openssl.Listen("tcp", "127.0.0.1:0", client); return err },
		"Listen without a Ctx":       func() error { _, err := openssl.Listen("tcp", "127.0.0.1:0", nil); return err },
		"NewListener of no listener": func() error { _, err := openssl.NewListener(nil, server).Accept(); return err },
		"Dialer without a Ctx":       func() error { _, err := dialSilent(t, &openssl.Dialer{}); return err },
		"Dialer without a context": func() error {
			var none context.Context
			_, err := (&openssl.Dialer{Ctx: client}).DialContext(none, "tcp", far.LocalAddr().String())
			return err
		},
		"Dialer with a server's Ctx": func() error { _, err := dialSilent(t, &openssl.Dialer{Ctx: server}); return err },
	} {
		if err := open(); err == nil || !strings.HasPrefix(err.Error(), "openssl: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The wires are the caller's still.
	if _, err := near.Write([]byte{1}); err != nil {
		t.Errorf("Write: %v", err)
	}
}

// dialSilent dials a server that says nothing, and sees that the wire is closed
// where that fails.
func dialSilent(t *testing.T, d *openssl.Dialer) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		return c, nil
	}
	// Connections are accepted in the order in which they were made.
	last, dialErr := net.Dial("tcp", l.Addr().String())
	must(t, dialErr)
	defer last.Close()
	far, acceptErr := l.Accept()
	must(t, acceptErr)
	defer far.Close()
	if far.RemoteAddr().String() == last.LocalAddr().String() {
		return nil, err // nothing was dialled, or time was up before
	}
	if _, readErr := io.Copy(io.Discard, far); readErr != nil && !errors.Is(readErr, syscall.ECONNRESET) {
		t.Errorf("the wire of a failed dial: %v", readErr)
	}
	return nil, err
}

// The net.Dialer's time is the handshake's, too.
func TestDialerTimeout(t *testing.T) {
	client := tlstest.NewClient(t)
	const patience = 50 * time.Millisecond
	for what, set := range map[string]func(*net.Dialer){
		"Timeout":  func(d *net.Dialer) { d.Timeout = patience },
		"Deadline": func(d *net.Dialer) { d.Deadline = time.Now().Add(patience) },
	} {
		d := new(net.Dialer)
		set(d)
		_, err := dialSilent(t, &openssl.Dialer{Ctx: client, ServerName: "server.test", NetDialer: d})
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is counted here is exact: these are tests, not benchmarks.

// instrumented reports whether this test binary was built so that it allocates on
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

// alone runs the calling test in a process of its own, where nothing else
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
	cmd := exec.CommandContext(t.Context(), os.Args[0], append(tlstest.ThisTest(t), "-test.v")...)
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
	must(t, besideErr)
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

// leastMallocs is what f allocates at least in one of three runs: the runtime
// allocates, too, where it starts a thread, and it starts one where it has not
// come to a processor for a while. What f itself allocates is in each run.
func leastMallocs(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		before := mallocs()
		f()
		least = min(least, mallocs()-before)
	}
	return least
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
		c, s, near, far := tlstest.WireConns(t, client, server, 1<<20)
		tlstest.MustHandshake(t, c, s)
		speak(t, c, s)
		for _, end := range []struct {
			from, to *openssl.Conn
			wire     *tlstest.Wire
		}{{c, s, near}, {s, c, far}} {
			for _, size := range sizes {
				p := make([]byte, size)
				send := func() {
					if n, err := end.from.Write(p); n != size || err != nil {
						t.Fatalf("Write: n %v, err %v", n, err)
					}
				}
				receive := func() {
					if _, err := io.ReadFull(end.to, p); err != nil {
						t.Fatalf("ReadFull: %v", err)
					}
				}
				send()
				receive()

				writes, calls := end.wire.Writes.Load(), runtime.NumCgoCall()
				for range rounds / 10 {
					send()
				}
				if got := runtime.NumCgoCall() - calls; got != rounds/10 {
					t.Errorf("%d Writes of %d bytes are %d calls into C", rounds/10, size, got)
				}
				if got := end.wire.Writes.Load() - writes; got != rounds/10 {
					t.Errorf("%d Writes of %d bytes are %d Writes of the wire", rounds/10, size, got)
				}
				for range rounds / 10 {
					receive()
				}

				if instrumented() {
					continue // the sanitizer's own mallocs are counted with ours
				}
				got := leastMallocs(func() {
					for range rounds {
						send()
						receive()
					}
				})
				if got != 0 {
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
		c, s, _, _ := tlstest.WireConns(t, client, server, 2*total)
		tlstest.MustHandshake(t, c, s)
		speak(t, c, s)
		p := make([]byte, 64<<10)
		for range total / len(p) {
			if _, err := s.Write(p); err != nil {
				t.Fatalf("Write: %v", err)
			}
		}
		calls := runtime.NumCgoCall()
		for buf, n := make([]byte, size), 0; n < total; {
			k, err := c.Read(buf)
			must(t, err)
			n += k
		}
		each := float64(runtime.NumCgoCall()-calls) / (total / size)
		t.Logf("%.3f calls into C for each 16 KiB read", each)
		if each > most {
			t.Errorf("reading is %.2f calls into C for each 16 KiB, want at most %.1f", each, most)
		}
	})
}

// A refused setter is a call into C and one that frees its reason: what is said of it is
// known from the first time.
func TestCountsRefusal(t *testing.T) {
	if _, here := alone(t, nil); !here {
		return
	}
	const rounds = 100
	c, long := tlstest.BareServer(t), make([]byte, 33)
	refuse := func() {
		if c.SetSessionIDContext(long) == nil {
			t.Fatal("33 bytes are taken")
		}
	}
	refuse()
	calls := runtime.NumCgoCall()
	for range rounds {
		refuse()
	}
	if each := float64(runtime.NumCgoCall()-calls) / rounds; each != 2 {
		t.Errorf("%v calls into C for each refusal, want 2", each)
	}
}

// What a server's Write brings to the end of the handshake goes out with the data: tickets
// and data are one Write of the wire.
func TestCountsFirstWrite(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		want := map[uint16]int64{tls.VersionTLS13: 2, tls.VersionTLS12: 3}[v.ID] // ServerHello, (Finished,) data
		c, s, _, far := tlstest.WireConns(t, client, server, 1<<20)
		clientErr, serverErr := tlstest.Both(func() error {
			_, err := io.ReadFull(c, make([]byte, 4))
			return err
		}, func() error {
			_, err := s.Write([]byte("ping"))
			return err
		})
		if clientErr != nil || serverErr != nil {
			t.Fatalf("client %v, server %v", clientErr, serverErr)
		}
		if got := far.Writes.Load(); got != want {
			t.Errorf("%d Writes of the wire up to the data, want %d", got, want)
		}
		sess, err := c.Session()
		if err != nil {
			t.Errorf("the ticket has not come with the data: %v", err)
		}
		sess.Close()
	})
}

// Handshakes are bounded by the GOMAXPROCS of their moment.
func TestHandshakeSlotsFollowGOMAXPROCS(t *testing.T) {
	if _, here := alone(t, nil); !here {
		return
	}
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, procs := range []int{8, 1, 3} {
		runtime.GOMAXPROCS(procs)
		want := max(4, 2*procs)
		for range 20 { // each gives one up where there are too many
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
		}
		if got := openssl.HandshakeSlots(); got != want {
			t.Errorf("GOMAXPROCS %d: %d handshakes may run at once, want %d", procs, got, want)
		}
	}
}

// A server accepts and shakes hands with few allocations and few calls into C.
// The client is another process; the server's counts are this one's.
func TestCountsHandshake(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		const rounds, warm = 101, 10
		client, server := tlstest.NewClient(t), tlstest.NewServer(t)
		tlstest.SetVersion(t, client, v.ID)
		tlstest.SetVersion(t, server, v.ID)
		inner, here := alone(t, func(addr string) error {
			must(t, client.SetVerify(openssl.VerifyNone)) // the other process has its own CA
			for range warm + rounds {
				c, err := openssl.Dial("tcp", addr, client)
				if err != nil {
					return err
				}
				if err := errors.Join(tlstest.RoundTrip(c, []byte("ping")), c.Close()); err != nil {
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
		var allocated, calls, whole []uint64
		p := make([]byte, 4)
		for i := range warm + rounds {
			before, beforeCalls := mallocs(), runtime.NumCgoCall()
			wire, err := l.Accept()
			must(t, err)
			conn := wire.(*openssl.Conn)
			must(t, conn.Handshake())
			connected, connectedCalls := mallocs(), runtime.NumCgoCall()
			if _, err := io.ReadFull(conn, p); err != nil {
				t.Fatalf("ReadFull: %v", err)
			}
			if _, err := conn.Write(p); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if _, err := conn.Read(p); err != io.EOF {
				t.Fatalf("Read: %v", err)
			}
			must(t, conn.Close())
			if i >= warm {
				allocated = append(allocated, connected-before)
				calls = append(calls, uint64(connectedCalls-beforeCalls))
				whole = append(whole, mallocs()-before)
			}
		}
		// The runtime allocates, too, where it starts a thread: the median connection has none of that.
		median := func(n []uint64) uint64 { slices.Sort(n); return n[len(n)/2] }
		t.Logf("counted: %d mallocs and %d calls into C for each connection that is accepted and shaken hands with; %d mallocs until it is closed",
			median(allocated), median(calls), median(whole))
		if got := median(allocated); got > 16 && !instrumented() {
			t.Errorf("%d mallocs for each accepted connection, want at most 16", got)
		}
		if got := median(calls); got > 12 {
			t.Errorf("%d calls into C for each handshake, want at most 12", got)
		}
	})
}

// A reader that waits holds no thread, and a connection no goroutine.
func TestCountsThreads(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it is 1,000 readers in a process of their own")
	}
	const readers, most = 1000, 10
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
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
			t.Fatalf("Read: %v, want net.ErrClosed", r.err)
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

// wires are the kinds of net.Conn that connections are tested over.
type transport struct {
	name string
	pair func(t testing.TB) (near, far net.Conn)
}

var wires = []transport{
	{"tcp", tlstest.TCPPair},
	{"unix", unixPair},
	{"memory", func(testing.TB) (near, far net.Conn) { return tlstest.WirePair(64 << 10) }},
}

// unixPair is two ends of a connection over a Unix socket.
func unixPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer l.Close()
	if near, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatalf("Dial: %v", err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return near, far
}

// closeBoth closes both ends at once: neither has to wait for the other.
func closeBoth(c, s *openssl.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { c.Close() })
	wg.Go(func() { s.Close() })
	wg.Wait()
}
