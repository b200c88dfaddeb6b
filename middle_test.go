//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// middle is what stands between two machines. It does to each record, of either
// direction, what the next four bytes of its script say: what, at which byte (two), how.
// What the script does not reach passes.
type middle struct {
	script  []byte
	changed bool // something else than one whole record after the other has gone on
}

// direction is one of the two ways through the middle.
type direction struct {
	from, to *openssl.SSL
	sent     []byte   // what is not a whole record yet
	held     []byte   // a record that waits until the next one has passed
	past     [][]byte // the records so far
	ended    bool
}

// carry moves what there is and reports whether it was anything.
func (m *middle) carry(t testing.TB, d *direction) (moved bool) {
	t.Helper()
	p := make([]byte, 32<<10)
	for d.from.Pending() > 0 {
		d.sent = append(d.sent, p[:d.from.Drain(p)]...)
		moved = true
	}
	for len(d.sent) >= 5 {
		n := 5 + int(d.sent[3])<<8 + int(d.sent[4])
		if len(d.sent) < n {
			break
		}
		record := slices.Clone(d.sent[:n])
		d.sent = d.sent[n:]
		d.past = append(d.past, record)
		held := d.held
		d.held = nil
		m.tamper(t, d, slices.Clone(record))
		if held != nil {
			d.pass(t, held)
		}
	}
	return moved
}

func (m *middle) tamper(t testing.TB, d *direction, record []byte) {
	t.Helper()
	if len(m.script) < 4 {
		d.pass(t, record)
		return
	}
	what, at, how := m.script[0], int(m.script[1])<<8|int(m.script[2]), m.script[3]
	m.script = m.script[4:]
	i := at % len(record)
	if what%13 != 0 && what%13 != 10 {
		m.changed = true
	}
	switch what % 13 {
	case 0:
		d.pass(t, record)
	case 1: // a bit is flipped
		record[i] ^= 1 << (how % 8)
		d.pass(t, record)
	case 2: // dropped
	case 3: // doubled
		d.pass(t, record)
		d.pass(t, record)
	case 4: // comes after the next one
		d.held = record
	case 5: // cut off
		d.pass(t, record[:i])
	case 6: // a byte is lost
		d.pass(t, slices.Delete(record, i, i+1))
	case 7: // a byte more
		d.pass(t, slices.Insert(record, i, how))
	case 8: // goes back to where it came from
		d.from.Feed(record) // an error where its input has ended
	case 9: // an earlier one once more
		d.pass(t, record)
		d.pass(t, d.past[at%len(d.past)])
	case 10: // in two parts
		d.pass(t, record[:i])
		d.pass(t, record[i:])
	case 11: // a byte is another
		record[i] = how
		d.pass(t, record)
	case 12: // the last one
		d.pass(t, record)
		must(t, d.to.FeedEOF())
		d.ended = true
	}
}

func (d *direction) pass(t testing.TB, p []byte) {
	t.Helper()
	if d.ended {
		return
	}
	for len(p) > 0 {
		n, err := d.to.Feed(p)
		must(t, err)
		if p = p[n:]; len(p) > 0 && n == 0 {
			t.Fatalf("%d bytes are not taken", len(p))
		}
	}
}

// end is one end of a connection, which sends a message and reads.
type end struct {
	ssl     *openssl.SSL
	answer  func() // to a ClientHello
	message []byte
	done    bool
	wrote   bool
	got     []byte
	err     error
	state   openssl.ConnectionState // when the handshake was done
}

// step goes on until there is nothing to do without more input.
func (e *end) step(t testing.TB) {
	t.Helper()
	p := make([]byte, 64)
	for range 50 {
		if e.err != nil {
			return
		}
		var w openssl.Want
		var n int
		switch {
		case !e.done:
			if w, e.err = e.ssl.Handshake(); w == openssl.WantNothing && e.err == nil {
				e.done, e.state = true, e.ssl.ConnectionState()
			}
		case !e.wrote:
			_, w, e.err = e.ssl.Write(e.message)
			e.wrote = true
		default:
			n, w, e.err = e.ssl.Read(p)
			e.got = append(e.got, p[:n]...)
		}
		switch w {
		case openssl.WantInput:
			return
		case openssl.WantClientHello:
			e.answer()
		}
	}
	if e.err == nil {
		t.Fatal("an end goes on and on")
	}
}

// middleWorld is two hosts behind one listener, with and without tickets, and clients.
type middleWorld struct {
	listeners [2]*openssl.Ctx // with tickets, without
	hosts     [2]*openssl.Hosts
	clients   [2][3]*openssl.Ctx // of TLS 1.2, of 1.3, of both; the second ones cause a HelloRetryRequest
	offers    [2][2][]byte       // the client's session of a.test by listener and version
	kept      [2][]byte          // and the server's, which a store would have, by version
}

func newMiddleWorld(t testing.TB) *middleWorld {
	t.Helper()
	w := new(middleWorld)
	store := new(memStore)
	for i := range w.listeners {
		w.hosts[i] = openssl.NewHosts()
		for _, name := range []string{"a.test", "c.test"} {
			host := tlstest.NewServer(t)
			must(t, host.DeriveSessionIDContext(openssl.SessionPolicy{Label: "middle " + name}))
			if i == 1 {
				must(t, host.SetOptions(openssl.OptionNoTicket))
			}
			must(t, w.hosts[i].Add(name, host))
		}
		l := tlstest.NewServer(t)
		must(t, l.SetClientHelloFunc(w.hosts[i].Route))
		must(t, l.SetGroups("P-256"))
		must(t, l.SetNumTickets(1))
		must(t, l.SetSessionTimeout(24*time.Hour))
		if i == 1 {
			must(t, l.SetOptions(openssl.OptionNoTicket))
			must(t, l.SetSessionStore(store))
		}
		w.listeners[i] = l
	}
	for i := range w.clients {
		for k := range w.clients[i] {
			c := tlstest.NewClient(t)
			must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName))
			must(t, c.SetGroups([]string{"P-256", "X25519:P-256"}[i]))
			if k < 2 {
				tlstest.SetVersion(t, c, tlstest.Versions[k].ID)
			}
			w.clients[i][k] = c
		}
	}
	for i, l := range w.listeners {
		for k, v := range tlstest.Versions {
			store.mu.Lock()
			store.kept = nil
			store.mu.Unlock()
			c, s := storeConns(t, tlstest.Pair{Client: w.clients[0][k], Server: l})
			must(t, c.SetServerName("a.test"))
			e := tlstest.Converse(t, c, s)
			if e.ClientErr != nil || e.ServerErr != nil || e.Session == nil {
				t.Fatalf("%s: client %v, server %v", v.Name, e.ClientErr, e.ServerErr)
			}
			// Longer than any run.
			w.offers[i][k] = tlstest.EditSession(t, tlstest.SessionDER(t, e.Session), tlstest.FieldTimeout, tlstest.Integer(t, 86400))
			if i == 1 {
				w.kept[k] = onlyOne(t, store)
			}
		}
	}
	return w
}

// FuzzMiddle changes what goes over the wire during a handshake and a message each way.
// The bits of kind choose the client's versions (2), a server without tickets, the name
// asked for and whether a session of a.test is offered (2), and a HelloRetryRequest.
func FuzzMiddle(f *testing.F) {
	w := newMiddleWorld(f)
	for kind := range byte(64) {
		f.Add(kind, []byte(nil))
		f.Add(kind, bytes.Repeat([]byte{10, 0, 7, 0}, 20))
	}
	for what := range byte(13) {
		for record := range 6 {
			script := append(make([]byte, 4*record), what, 0, 20, 1)
			f.Add(byte(record*11)&63, script)
			f.Add(byte(record*11+1)&63, script)
			f.Add(byte(0x0b), script)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		defer bounded(t)()
		w.connect(t, kind, script)
	})
}

func (w *middleWorld) connect(t testing.TB, kind byte, script []byte) {
	t.Helper()
	version, stateful, name := min(int(kind&3), 2), int(kind>>2&1), "a.test"
	offers, foreign := kind&8 != 0, kind&16 != 0
	if foreign {
		name = "c.test"
	}
	cl, err := openssl.NewSSL(w.clients[kind>>5&1][version])
	must(t, err)
	defer cl.Close()
	sv, err := openssl.NewSSL(w.listeners[stateful])
	must(t, err)
	defer sv.Close()
	must(t, cl.SetServerName(name))
	v := min(version, 1)
	if offers {
		offer, err := openssl.ParseSession(w.offers[stateful][v])
		must(t, err)
		defer offer.Close()
		must(t, cl.SetSession(offer))
	}
	client := &end{ssl: cl, message: []byte("a message of the client")}
	server := &end{ssl: sv, message: []byte("and one of the server, which is a little longer")}
	server.answer = func() {
		var next *openssl.Ctx
		hello, err := sv.ClientHello()
		if err == nil {
			next, err = w.hosts[stateful].Route(context.Background(), hello)
		}
		if err == nil {
			err = sv.SetCtx(next)
		}
		if err != nil {
			alert := tls.AlertError(80)
			errors.As(err, &alert)
			must(t, sv.Refuse(alert))
			return
		}
		if stateful == 1 && len(sv.OfferedSessionIDs()) > 0 {
			sv.AnswerSession(w.kept[v]) // another id is an error of no consequence
		}
	}
	m := &middle{script: script}
	there, back := &direction{from: cl, to: sv}, &direction{from: sv, to: cl}
	for range 100 {
		client.step(t)
		moved := m.carry(t, there)
		server.step(t)
		if !m.carry(t, back) && !moved {
			break
		}
	}
	must(t, cl.FeedEOF())
	must(t, sv.FeedEOF())
	client.step(t)
	server.step(t)
	for who, e := range map[string]*end{"client": client, "server": server} {
		if e.err == nil {
			t.Fatalf("the %s waits for input after its end", who)
		}
		if n, _, again := e.ssl.Read(make([]byte, 1)); n != 0 || again == nil {
			t.Fatalf("after %v the %s reads %d bytes, %v", e.err, who, n, again)
		}
		if e.done && e.state.DidResume && (!offers || foreign) {
			t.Fatalf("the %s has resumed a session at %s: offered %v, of a.test", who, name, offers)
		}
		if sess, err := e.ssl.Session(); err == nil {
			sess.Close()
		}
	}
	if !bytes.HasPrefix(server.message, client.got) || !bytes.HasPrefix(client.message, server.got) {
		t.Fatalf("what was read was not sent: %q and %q", client.got, server.got)
	}
	if client.done && server.done {
		a, b := client.state, server.state
		if a.DidResume != b.DidResume || a.Version != b.Version || a.CipherSuite != b.CipherSuite {
			t.Fatalf("the ends do not agree:\n%+v\n%+v", a, b)
		}
		if version == 2 && a.Version != tls.VersionTLS13 {
			t.Fatalf("both speak TLS 1.3 and have ended at %#x", a.Version)
		}
		if b.SessionIDContext == nil || sv.ConnectionState().DidResume != b.DidResume {
			t.Fatalf("the server's state: %+v", b)
		}
	}
	if !m.changed {
		whole := client.done && server.done && bytes.Equal(client.got, server.message) && bytes.Equal(server.got, client.message)
		if !whole || client.state.DidResume != (offers && !foreign) {
			t.Fatalf("nothing was changed: client %v, server %v, resumed %v", client.err, server.err, client.state.DidResume)
		}
	}
}
