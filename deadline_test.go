//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
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

// ---- where a call waits, and what happens meanwhile ----

// What a call that waits comes to. "later" is when the caller's function returns,
// and "?" that it may just as well be done by then.
const (
	blocks    = "waits"
	returns   = "returns"
	timesOut  = "times out"
	isClosed  = "is closed"
	cancelled = "is cancelled"
	isCut     = "is cut"
	later     = "later "
	orDone    = "?"
)

// spot is where a call can wait.
type spot struct {
	name    string
	roles   string         // of those that can
	arrange func(x *scene) // sets the function that it waits in
	alive   bool           // the peer shakes hands before the call gets there
	behind  bool           // another call is in that function
	shaken  bool           // the handshake is done before the call begins
	lazy    bool           // the call does it
	state   *bool          // what ConnectionState().HandshakeComplete says; nil if either will do
	stall   time.Duration  // that a peer which does not read may cost Close
}

var (
	no, yes              = false, true
	incomplete, complete = &no, &yes

	driving = &spot{name: "driving the handshake, the peer silent", roles: "client server", state: incomplete}
	behind  = &spot{name: "behind a handshake in the caller's function", roles: "client server", state: incomplete,
		alive: true, behind: true, arrange: func(x *scene) {
			if x.role == "client" {
				inGet.arrange(x)
			} else {
				inHello.arrange(x)
			}
		}}
	established = &spot{name: "after the handshake", roles: "client server", state: complete, shaken: true}
	stalled     = &spot{name: "after the handshake, the peer does not read", roles: "client server", state: complete,
		shaken: true, stall: openssl.CloseBound}
	lazy        = &spot{name: "after a handshake of its own", roles: "client server", state: complete, lazy: true}
	lazyStalled = &spot{name: "after a handshake of its own, the peer does not read", roles: "client server", state: complete,
		lazy: true, stall: openssl.CloseBound}
	inHello = &spot{name: "in the ClientHello function", roles: "server", state: incomplete, alive: true,
		arrange: func(x *scene) {
			must(x, x.server.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) {
				x.pause()
				return nil, nil
			}))
		}}
	inStore = &spot{name: "in SessionStore.Get", roles: "server", state: incomplete, alive: true,
		arrange: func(x *scene) {
			x.offers = true
			must(x, x.server.SetSessionIDContext([]byte("store")))
			must(x, x.server.SetOptions(openssl.OptionNoTicket))
			must(x, x.server.SetSessionStore(&memStore{get: func(context.Context, []byte) ([]byte, error) {
				x.pause()
				return nil, openssl.ErrSessionNotFound
			}}))
			must(x, x.server.SetSessionStoreTimeout(time.Hour))
		}}
	inVerify = &spot{name: "in VerifyConnection", roles: "client server", state: incomplete, alive: true,
		arrange: func(x *scene) {
			must(x, x.own().SetVerifyConnection(func(openssl.ConnectionState) error {
				x.pause()
				return nil
			}))
		}}
	inKeyLog = &spot{name: "in the key log writer", roles: "client server", alive: true,
		arrange: func(x *scene) {
			must(x, x.own().SetKeyLogWriter(&funcWriter{func(p []byte) (int, error) {
				x.pause()
				return len(p), nil
			}}))
		}}
	inGet = &spot{name: "in ClientSessionCache.Get", roles: "client", state: incomplete, alive: true,
		arrange: func(x *scene) {
			must(x, x.client.SetClientSessionCache(&funcCache{get: func(string) (*openssl.Session, bool) {
				x.pause()
				return nil, false
			}}))
		}}
	inPut = &spot{name: "in ClientSessionCache.Put", roles: "client", state: complete, alive: true,
		arrange: func(x *scene) {
			must(x, x.client.SetClientSessionCache(&funcCache{put: func(_ string, sess *openssl.Session) {
				x.pause()
				sess.Close()
			}}))
		}}
)

// funcWriter is a writer that can be compared with others.
type funcWriter struct{ write func(p []byte) (int, error) }

func (w *funcWriter) Write(p []byte) (int, error) { return w.write(p) }

// funcCache is a cache of two functions; without them it keeps nothing.
type funcCache struct {
	get func(key string) (*openssl.Session, bool)
	put func(key string, sess *openssl.Session)
}

func (c *funcCache) Get(key string) (*openssl.Session, bool) {
	if c.get == nil {
		return nil, false
	}
	return c.get(key)
}

func (c *funcCache) Put(key string, sess *openssl.Session) {
	switch {
	case c.put != nil:
		c.put(key, sess)
	case sess != nil:
		sess.Close()
	}
}

// transition is for each place and call what becomes of it: when its read
// deadline passes, or its write deadline; when another goroutine calls Close; when
// its context ends, if it has one; when the peer closes the wire. And what becomes
// of a Handshake, a Read and a Write that other goroutines begin meanwhile.
type transition struct {
	at                          *spot
	calls                       string
	read, write                 string
	close, cancel, gone         string
	handshaking, reads, writing string
}

var transitions = []transition{
	{driving, "Read", timesOut, blocks, isClosed, "", isCut, blocks, blocks, blocks},
	{driving, "Write", blocks, timesOut, isClosed, "", isCut, blocks, blocks, blocks},
	{driving, "Handshake HandshakeContext", timesOut, blocks, isClosed, cancelled, isCut, blocks, blocks, blocks},

	{behind, "Read", timesOut, blocks, isClosed, "", later + isCut, blocks, blocks, blocks},
	{behind, "Write", blocks, timesOut, isClosed, "", later + isCut, blocks, blocks, blocks},
	{behind, "Handshake HandshakeContext", blocks, blocks, isClosed, cancelled, later + isCut, blocks, blocks, blocks},

	{established, "Read", timesOut, blocks, isClosed, "", isCut, returns, blocks, returns},
	{stalled, "Write", blocks, timesOut, isClosed, "", isCut, returns, blocks, blocks},
	{lazy, "Read", timesOut, blocks, isClosed, "", isCut, returns, blocks, returns},
	{lazyStalled, "Write", blocks, timesOut, isClosed, "", isCut, returns, blocks, blocks},

	// Nothing cuts the caller's own function, but its result may come too late.
	{inHello, "Read", later + timesOut, later + returns, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inHello, "Write", later + returns, later + timesOut, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inHello, "HandshakeContext", later + timesOut, later + timesOut, later + isClosed, later + cancelled, later + isCut, blocks, blocks, blocks},
	{inStore, "Read", later + timesOut, later + returns, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inStore, "Write", later + returns, later + timesOut, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inStore, "HandshakeContext", later + timesOut, later + timesOut, later + isClosed, cancelled, later + isCut, blocks, blocks, blocks},
	{inVerify, "Read", later + timesOut, later + returns, later + isClosed, "", later + isCut + orDone, blocks, blocks, blocks},
	{inVerify, "Write", later + returns, later + timesOut, later + isClosed, "", later + isCut + orDone, blocks, blocks, blocks},
	{inVerify, "HandshakeContext", later + timesOut + orDone, later + timesOut + orDone, later + isClosed, later + cancelled, later + isCut + orDone, blocks, blocks, blocks},
	{inKeyLog, "Read", later + timesOut, later + returns, later + isClosed, "", later + isCut + orDone, blocks, blocks, blocks},
	{inKeyLog, "Write", later + returns, later + timesOut, later + isClosed, "", later + isCut + orDone, blocks, blocks, blocks},
	{inKeyLog, "HandshakeContext", later + timesOut + orDone, later + timesOut + orDone, later + isClosed, later + cancelled, later + isCut + orDone, blocks, blocks, blocks},
	{inGet, "Read", later + timesOut, later + returns, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inGet, "Write", later + returns, later + timesOut, later + isClosed, "", later + isCut, blocks, blocks, blocks},
	{inGet, "HandshakeContext", later + timesOut, later + timesOut, later + isClosed, later + cancelled, later + isCut, blocks, blocks, blocks},
	{inPut, "Read", later + timesOut + orDone, later + returns, later + isClosed + orDone, "", later + isCut + orDone, returns, returns, returns},
}

// scene is a connection one of whose calls waits.
type scene struct {
	*testing.T
	at             *spot
	role, call     string
	client, server *openssl.Ctx
	offers         bool                          // the client offers a session
	stateful       bool                          // the server keeps sessions in its cache
	verify         func(openssl.ConnectionState) // looks at what the end is shown

	end, peer *openssl.Conn
	far       *tlstest.Wire // the peer's
	ctx       context.Context
	cancel    context.CancelFunc

	inside  atomic.Bool   // the caller's function was called
	instead func()        // of waiting, what it does first
	release chan struct{} // closed: it returns
	free    sync.Once

	waiting <-chan outcome // the call
	first   <-chan outcome // the one that it is behind
	beside  []besides      // those that wait, too
	alive   <-chan outcome // the peer's conversation
}

type besides struct {
	call string
	done <-chan outcome
}

func (x *scene) own() *openssl.Ctx {
	if x.role == "client" {
		return x.client
	}
	return x.server
}

// pause is the caller's function.
func (x *scene) pause() {
	if !x.inside.Swap(true) && x.instead != nil {
		x.instead()
		return
	}
	<-x.release
}

func (x *scene) letGo() { x.free.Do(func() { close(x.release) }) }

var greeting, farewell = []byte("greeting"), pattern(1000)

// live has the peer greet, hear all that there is, and answer the farewell.
func (x *scene) live() {
	if x.alive != nil {
		return
	}
	x.alive = start(func() (int, error) {
		if err := x.peer.Handshake(); err != nil {
			return 0, err
		}
		if _, err := x.peer.Write(greeting); err != nil {
			return 0, err
		}
		got, err := io.ReadAll(x.peer)
		if err == nil && !bytes.HasSuffix(got, farewell) {
			err = fmt.Errorf("the peer has read %d bytes without the farewell", len(got))
		}
		if err != nil {
			return 0, err
		}
		_, err = x.peer.Write(farewell)
		return 0, errors.Join(err, x.peer.CloseWrite())
	})
}

// does is a call by its name.
func (x *scene) does(call string) func() (int, error) {
	switch call {
	case "Read":
		return reading(x.end)
	case "Write":
		if x.at.stall > 0 {
			return writing(x.end, make([]byte, 1<<20))
		}
		return writing(x.end, make([]byte, 1))
	case "Handshake":
		return shaking(x.end)
	}
	return func() (int, error) { return 0, x.end.HandshakeContext(x.ctx) }
}

// build makes the connection.
func (x *scene) build(v uint16, offer *openssl.Session) {
	x.client, x.server = tlstest.NewClient(x), tlstest.NewServer(x)
	tlstest.SetVersion(x, x.client, v)
	tlstest.SetVersion(x, x.server, v)
	x.release = make(chan struct{})
	if x.stateful {
		must(x, x.server.SetOptions(openssl.OptionNoTicket))
		must(x, x.server.SetNumTickets(1))
	}
	if x.verify != nil {
		must(x, x.own().SetVerifyConnection(func(cs openssl.ConnectionState) error {
			x.verify(cs)
			return nil
		}))
	}
	if x.at.arrange != nil {
		x.at.arrange(x)
	}
	c, s, near, far := tlstest.WireConns(x, x.client, x.server, 10_000)
	x.Cleanup(x.letGo)
	x.end, x.peer, x.far = c, s, far
	if x.role == "server" {
		x.end, x.peer, x.far = s, c, near
	}
	if x.offers {
		must(x, c.SetSession(tlstest.Reparse(x, offer)))
	}
	x.ctx, x.cancel = context.WithCancel(x.Context())
	x.Cleanup(x.cancel)
}

// enter brings the call to its place; before is done when it is about to begin.
func (x *scene) enter(v uint16, offer *openssl.Session, before func()) {
	x.build(v, offer)
	if x.at.shaken {
		tlstest.MustHandshake(x, x.end, x.peer)
		if x.role == "client" {
			speak(x, x.end, x.peer)
		} else {
			speak(x, x.peer, x.end)
		}
	}
	if x.at.alive {
		x.live()
	}
	if x.at.behind {
		x.first = start(shaking(x.end))
		synctest.Wait()
	}
	if before != nil {
		before()
	}
	x.waiting = start(x.does(x.call))
	if x.at.lazy {
		must(x, x.peer.Handshake())
	}
	synctest.Wait()
	x.stillWaits("at once")
	if x.at.arrange != nil && !x.inside.Load() {
		x.Fatalf("%s has not come to where it should wait", x.call)
	}
}

func (x *scene) stillWaits(when string) {
	x.Helper()
	select {
	case got := <-x.waiting:
		x.Fatalf("%s has returned %s: %d, %v after %v", x.call, when, got.n, got.err, got.took)
	default:
	}
}

// hasReturned is what the call has come to; it does not wait for it.
func (x *scene) hasReturned(what string, call <-chan outcome) outcome {
	x.Helper()
	synctest.Wait()
	select {
	case got := <-call:
		return got
	default:
		x.Fatalf("%s waits still", what)
		panic("not reached")
	}
}

// comesTo looks at what the call has come to, took after it began.
func (x *scene) comesTo(want string, took time.Duration) {
	x.Helper()
	want, afterwards := strings.CutPrefix(want, later)
	if afterwards {
		x.stillWaits("before the caller's function has")
		x.letGo()
	}
	if want == blocks {
		x.stillWaits("because of it")
		return
	}
	want, maybeDone := strings.CutSuffix(want, orDone)
	got := x.hasReturned(x.call, x.waiting)
	if got.err == nil && maybeDone {
		return
	}
	x.is(x.call, got.err, want)
	if !afterwards && got.took != took {
		x.Errorf("%s has returned after %v, want %v", x.call, got.took, took)
	}
}

// is holds an error against what is wanted.
func (x *scene) is(what string, err error, want string) {
	x.Helper()
	var timeout net.Error
	switch want {
	case returns:
		if err == nil {
			return
		}
	case timesOut:
		if errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &timeout) && timeout.Timeout() {
			return
		}
	case isClosed:
		if errors.Is(err, net.ErrClosed) {
			return
		}
	case cancelled:
		if err == context.Canceled {
			return
		}
	case isCut:
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) {
			return
		}
	}
	x.Errorf("%s: %v, want that it %s", what, err, want)
}

// goesOn takes every deadline away and has the peer speak: what waits is done
// then, and the whole stream is there.
func (x *scene) goesOn() {
	x.Helper()
	must(x, x.end.SetDeadline(time.Time{}))
	x.letGo()
	x.live()
	synctest.Wait()
	for _, b := range x.beside {
		x.is("a "+b.call+" beside", x.hasReturned("a "+b.call+" beside", b.done).err, returns)
	}
	if x.first != nil {
		x.is("the Handshake before", x.hasReturned("the Handshake before", x.first).err, returns)
	}
	select {
	case got := <-x.waiting:
		x.is(x.call, got.err, returns)
	default: // it is done already
	}
	if _, err := x.end.Write(farewell); err != nil {
		x.Fatalf("the farewell: %v", err)
	}
	must(x, x.end.CloseWrite())
	got, err := io.ReadAll(x.end)
	if err != nil || !bytes.HasSuffix(got, farewell) {
		x.Fatalf("the peer's answer: %d bytes, %v", len(got), err)
	}
	if got := <-x.alive; got.err != nil {
		x.Errorf("the peer: %v", got.err)
	}
}

// events are what happens to a call that waits. before is done when it is about to
// begin; took is how long after that a call returns that heeds it at once.
var events = []struct {
	name    string
	before  func(x *scene) error
	happens func(x *scene)
	took    time.Duration
}{
	{name: "the read deadline passes", took: time.Minute,
		before:  func(x *scene) error { return x.end.SetReadDeadline(time.Now().Add(time.Minute)) },
		happens: func(x *scene) { <-time.After(time.Hour / 2) }},
	{name: "a read deadline is set that has passed",
		happens: func(x *scene) { must(x, x.end.SetReadDeadline(time.Now())) }},
	{name: "the write deadline passes", took: time.Minute,
		before:  func(x *scene) error { return x.end.SetWriteDeadline(time.Now().Add(time.Minute)) },
		happens: func(x *scene) { <-time.After(time.Hour / 2) }},
	{name: "a write deadline is set that has passed",
		happens: func(x *scene) { must(x, x.end.SetWriteDeadline(time.Now())) }},
	{name: "Close"},
	{name: "the context ends", happens: func(x *scene) { x.cancel() }},
	{name: "the peer closes the wire", happens: func(x *scene) { x.far.Close() }},
	{name: "other calls"},
}

// Every call, wherever it waits, hears at once of what concerns it and of nothing
// else; and where that is not the end, the connection goes on as if nothing had been.
func TestConnTransitions(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it tries each event in each state of each call")
	}
	for _, v := range tlstest.Versions {
		offer := offerForStore(t, v.ID)
		for _, row := range transitions {
			for _, call := range strings.Fields(row.calls) {
				for _, role := range strings.Fields(row.at.roles) {
					row.eachEvent(t, v, offer, call, role)
				}
			}
		}
	}
}

func (row transition) eachEvent(t *testing.T, v tlstest.Version, offer *openssl.Session, call, role string) {
	for i, event := range events {
		want := []string{row.read, row.read, row.write, row.write, row.close, row.cancel, row.gone, ""}[i]
		if event.name == "the context ends" && call != "HandshakeContext" {
			continue
		}
		name := fmt.Sprintf("%s/%s %s, %s: %s", v.Name, role, call, row.at.name, event.name)
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			tlstest.CheckLeaks(t)
			bubble(t, func(t *testing.T) {
				x := &scene{T: t, at: row.at, role: role, call: call}
				x.enter(v.ID, offer, func() {
					if event.before != nil {
						must(t, event.before(x))
					}
				})
				switch event.name {
				case "Close":
					x.closes(want)
				case "other calls":
					x.others(row.handshaking, row.reads, row.writing)
					x.goesOn()
				default:
					event.happens(x)
					synctest.Wait()
					x.comesTo(want, event.took)
					x.afterwards(event.name)
				}
			})
		})
	}
}

// afterwards looks at what is left of the connection.
func (x *scene) afterwards(event string) {
	switch {
	case event == "the context ends" && !x.at.behind:
		x.is("a later Handshake", x.end.Handshake(), cancelled)
		x.is("a later Read", readErr(x.end), cancelled)
	case event == "the peer closes the wire":
		if x.first != nil {
			x.is("the Handshake before", x.hasReturned("the Handshake before", x.first).err, isCut)
		}
		_, err := io.ReadAll(x.end)
		x.is("a later Read", err, isCut)
	default:
		x.goesOn()
	}
}

// closes has another goroutine call Close, which returns at once.
func (x *scene) closes(want string) {
	done := start(func() (int, error) { return 0, x.end.Close() })
	synctest.Wait()
	if x.at.stall == 0 {
		x.is("Close", x.hasReturned("Close", done).err, returns)
		x.comesTo(want, 0)
	} else {
		x.comesTo(want, 0)
		if got := <-done; got.err != nil || got.took > x.at.stall {
			x.Errorf("Close: %v after %v, want nil after %v at most", got.err, got.took, x.at.stall)
		}
	}
	x.letGo()
	if x.first != nil {
		x.is("the Handshake before", x.hasReturned("the Handshake before", x.first).err, isClosed)
	}
	x.is("a later Read", readErr(x.end), isClosed)
}

// others has other goroutines call what they can.
func (x *scene) others(handshake, read, write string) {
	for _, call := range []struct{ name, want string }{{"Handshake", handshake}, {"Read", read}, {"Write", write}} {
		done := start(x.does(call.name))
		synctest.Wait()
		select {
		case got := <-done:
			if call.want == blocks {
				x.Fatalf("a %s beside has returned: %d, %v", call.name, got.n, got.err)
			}
			x.is("a "+call.name+" beside", got.err, call.want)
		default:
			if call.want != blocks {
				x.Fatalf("a %s beside waits", call.name)
			}
			x.beside = append(x.beside, besides{call.name, done})
		}
	}
	for _, act := range []struct {
		name  string
		act   func() error
		among []error
	}{
		{"SetDeadline", func() error { return x.end.SetDeadline(time.Now().Add(time.Hour)) }, nil},
		{"SetReadDeadline", func() error { return x.end.SetReadDeadline(time.Time{}) }, nil},
		{"SetWriteDeadline", func() error { return x.end.SetWriteDeadline(time.Time{}) }, nil},
		{"ConnectionState", func() error {
			if got := x.end.ConnectionState().HandshakeComplete; x.at.state != nil && got != *x.at.state {
				return fmt.Errorf("HandshakeComplete is %v", got)
			}
			return nil
		}, nil},
		{"Session", func() error {
			sess, err := x.end.Session()
			if err == nil {
				err = sess.Close()
			}
			return err
		}, []error{openssl.ErrSessionNotFound}},
		{"SetSessionIDContext", func() error { return x.end.SetSessionIDContext([]byte("another")) },
			[]error{openssl.ErrTooLate, openssl.ErrSessionContextMismatch}},
		{"SetServerName", func() error {
			if x.role == "server" {
				return nil // it has none to ask for
			}
			return x.end.SetServerName("server.test")
		}, []error{openssl.ErrTooLate}},
	} {
		got := x.hasReturned(act.name, start(func() (int, error) { return 0, act.act() }))
		if got.err != nil && !slices.ContainsFunc(act.among, func(err error) bool { return errors.Is(got.err, err) }) {
			x.Errorf("%s beside: %v, want nil or one of %v", act.name, got.err, act.among)
		}
	}
}

// offerForStore is a session that a server with a store is asked for.
func offerForStore(t *testing.T, v uint16) *openssl.Session {
	t.Helper()
	e := overWire(t, tlstest.Pair{Client: clientOf(t, v), Server: storeServer(t, v, new(memStore))})
	if e.ClientErr != nil || e.ServerErr != nil || e.Session == nil {
		t.Fatalf("a session for a store: client %v, server %v", e.ClientErr, e.ServerErr)
	}
	return e.Session
}

// A caller's function that ends its goroutine leaves no lock behind: other calls go
// on with the handshake. But no call goes on past a ClientHello function that has
// not answered.
func TestConnGoexit(t *testing.T) {
	for _, v := range tlstest.Versions {
		offer := offerForStore(t, v.ID)
		for _, at := range []*spot{inHello, inStore, inVerify, inKeyLog, inGet, inPut} {
			for _, role := range strings.Fields(at.roles) {
				t.Run(strings.ReplaceAll(v.Name+"/"+role+" "+at.name, " ", "_"), func(t *testing.T) {
					tlstest.CheckLeaks(t)
					bubble(t, goexiting(at, role, v.ID, offer))
				})
			}
		}
	}
}

// goexiting is a call whose function ends its goroutine, the first time.
func goexiting(at *spot, role string, version uint16, offer *openssl.Session) func(*testing.T) {
	return func(t *testing.T) {
		x := &scene{T: t, at: at, role: role, instead: runtime.Goexit}
		x.build(version, offer)
		x.letGo() // a second time it does its work
		x.live()
		over := make(chan struct{})
		go func() {
			defer close(over)
			x.end.Read(make([]byte, 1))
		}()
		<-over
		if !x.inside.Load() {
			x.Fatal("the function was not called")
		}
		if x.at != inHello {
			x.goesOn()
			return
		}
		for what, call := range map[string]func() (int, error){
			"Handshake": shaking(x.end), "Read": reading(x.end), "Write": writing(x.end, []byte{1}),
		} {
			if got := x.hasReturned(what, start(call)); got.err == nil {
				x.Errorf("%s has gone past a ClientHello function that never answered: %d, %v", what, got.n, got.err)
			}
		}
		if x.end.ConnectionState().HandshakeComplete {
			x.Error("the handshake is complete without the ClientHello function's answer")
		}
	}
}

// The function of SetVerifyConnection sees the connection's state, also where Close
// comes at the same moment: here out of the key log writer, right before it.
func TestVerifyConnectionBesideClose(t *testing.T) {
	test := func(t *testing.T, v tlstest.Version, role string) {
		tlstest.CheckLeaks(t)
		bubble(t, func(t *testing.T) {
			x := &scene{T: t, at: inKeyLog, role: role}
			x.instead = func() { must(t, x.end.Close()) }
			x.verify = func(cs openssl.ConnectionState) {
				if cs.Version != v.ID || !cs.HandshakeComplete || role == "client" && len(cs.PeerCertificates) == 0 {
					t.Errorf("it is shown version %#x, complete %v, %d certificates", cs.Version, cs.HandshakeComplete, len(cs.PeerCertificates))
				}
			}
			x.build(v.ID, nil)
			x.live()
			if err := x.end.Handshake(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Handshake: %v, want net.ErrClosed", err)
			}
		})
	}
	for _, v := range tlstest.Versions {
		for _, role := range []string{"client", "server"} {
			t.Run(v.Name+"/"+role, func(t *testing.T) { test(t, v, role) })
		}
	}
}

// A session whose connection was closed before the function of SetVerifyConnection
// had its say is not resumed.
func TestVerifyConnectionUndecided(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			tlstest.CheckLeaks(t)
			bubble(t, func(t *testing.T) {
				x := &scene{T: t, at: inVerify, role: "server", call: "Handshake", stateful: true}
				x.enter(v.ID, nil, nil)
				x.closes(later + isClosed)
				if got := x.server.Stats().Number; got != 0 {
					t.Errorf("%d sessions are in the cache, want none", got)
				}
			})
		})
	}
}

// Whatever calls there are at once, with whatever deadlines, none waits for ever,
// none returns the error of another, and no deadline of a call that is over stays
// behind. The clock stands still while anybody can run: what is late has waited.
func TestConnAtRandom(t *testing.T) {
	const rounds, calls = 40, 6
	test := func(t *testing.T, v tlstest.Version, closes bool) {
		for range rounds {
			tlstest.CheckLeaks(t)
			bubble(t, func(t *testing.T) {
				client, server := clientOf(t, v.ID), tlstest.NewServer(t)
				c, s, _, _ := tlstest.WireConns(t, client, server, 3000)
				var wg sync.WaitGroup
				for _, end := range []*openssl.Conn{c, s} {
					atRandom(t, &wg, end, calls, closes)
				}
				wg.Wait()
				if closes {
					return
				}
				must(t, errors.Join(c.SetDeadline(time.Time{}), s.SetDeadline(time.Time{})))
				began := time.Now()
				clientErr, serverErr := tlstest.Both(func() error { return lastWords(c) }, func() error { return lastWords(s) })
				if took := time.Since(began); clientErr != nil || serverErr != nil || took != 0 {
					t.Errorf("a conversation afterwards: client %v, server %v after %v", clientErr, serverErr, took)
				}
			})
		}
	}
	for _, v := range tlstest.Versions {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/closes %v", v.Name, closes), func(t *testing.T) { test(t, v, closes) })
		}
	}
}

// atRandom has goroutines make so many calls each, at random moments; in the end
// what still waits is cut, or closed.
func atRandom(t *testing.T, wg *sync.WaitGroup, c *openssl.Conn, calls int, closes bool) {
	pause := func() { <-time.After(time.Duration(rand.IntN(5)) * time.Millisecond) }
	often := func(what string, call func() error) {
		wg.Go(func() {
			for range calls {
				pause()
				if err := call(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !closes {
					t.Errorf("%s: %v, want nil or os.ErrDeadlineExceeded", what, err)
				}
			}
		})
	}
	for range 2 {
		often("Read", func() error { _, err := c.Read(make([]byte, 1+rand.IntN(2000))); return err })
		often("Write", func() error { _, err := c.Write(make([]byte, 1+rand.IntN(4000))); return err })
	}
	often("Handshake", c.Handshake)
	wg.Go(func() {
		set := []func(time.Time) error{c.SetDeadline, c.SetReadDeadline, c.SetWriteDeadline}
		for range 5 * calls {
			pause()
			at := time.Time{}
			if rand.IntN(4) > 0 {
				at = time.Now().Add(time.Duration(rand.IntN(6)-1) * time.Millisecond)
			}
			set[rand.IntN(len(set))](at)
		}
		if closes {
			c.Close()
			return
		}
		c.SetDeadline(time.Now().Add(time.Second))
	})
}

// lastWords says farewell and hears the peer's.
func lastWords(c *openssl.Conn) error {
	said := start(func() (int, error) {
		_, err := c.Write(farewell)
		return 0, errors.Join(err, c.CloseWrite())
	})
	got, err := io.ReadAll(c)
	if err == nil && !bytes.HasSuffix(got, farewell) {
		err = fmt.Errorf("%d bytes without the farewell", len(got))
	}
	return errors.Join(err, (<-said).err)
}
