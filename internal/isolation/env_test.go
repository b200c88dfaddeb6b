//go:build cgo

package isolation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// What the attacks share: hosts, clients that visit them, and wires between.

// mechanism is how a session is remembered.
type mechanism struct {
	name     string
	version  uint16
	stateful bool
}

var mechanisms = []mechanism{
	{"TLS1.2/ticket", tls.VersionTLS12, false},
	{"TLS1.2/id", tls.VersionTLS12, true},
	{"TLS1.3/ticket", tls.VersionTLS13, false},
	{"TLS1.3/stateful", tls.VersionTLS13, true},
}

// identity is a client's certificate and its key.
type identity struct {
	name      string
	cert, key []byte
}

func (id *identity) String() string {
	if id == nil {
		return "nobody"
	}
	return id.name
}

// fixtures is who plays in the attacks. Its certificates are made once.
var fixtures struct {
	once       sync.Once
	caA, caB   *tlstest.Authority
	cliA, cliB *identity
	key        crypto.Signer

	mu      sync.Mutex
	servers map[string]*identity
}

func makeFixtures(t testing.TB) {
	t.Helper()
	ca := tlstest.Certs(t)
	fixtures.once.Do(func() {
		fixtures.key = tlstest.ECKey(t)
		fixtures.caA, fixtures.caB = tlstest.NewAuthority(t, "CA A", nil), tlstest.NewAuthority(t, "CA B", nil)
		fixtures.cliA = member(t, fixtures.caA, "client A", nil)
		fixtures.cliB = member(t, fixtures.caB, "client B", nil)
		fixtures.servers = make(map[string]*identity)
		_ = ca
	})
}

func member(t testing.TB, ca *tlstest.Authority, name string, change func(*x509.Certificate)) *identity {
	t.Helper()
	id := &identity{name: name}
	id.cert, id.key = ca.Leaf(t, name, tlstest.ECKey(t), change)
	return id
}

// serverIdentity is a certificate for these names.
func serverIdentity(t testing.TB, names ...string) *identity {
	t.Helper()
	fixtures.mu.Lock()
	defer fixtures.mu.Unlock()
	all := ""
	for _, n := range names {
		all += n + " "
	}
	id := fixtures.servers[all]
	if id == nil {
		id = &identity{name: all}
		id.cert, id.key = tlstest.Certs(t).Leaf(t, names[0], fixtures.key, func(c *x509.Certificate) { c.DNSNames = names })
		fixtures.servers[all] = id
	}
	return id
}

// env is where one attack takes place.
type env struct {
	*testing.T
	label  string // of its policies: others that are equal are revoked with them
	m      mechanism
	wire   func(testing.TB) (near, far net.Conn)
	revoke string // what has been revoked before: listener, host or both

	key     openssl.TicketKey // of servers that share
	store   *memStore         // theirs, too
	sharers map[*openssl.Ctx]bool
	clients map[clientKind]*openssl.Ctx
}

type clientKind struct {
	cert   *identity
	verify bool
}

func newEnv(t *testing.T, m mechanism, wire func(testing.TB) (near, far net.Conn)) *env {
	makeFixtures(t)
	a := &env{T: t, label: fmt.Sprint(t.Name(), tlstest.NextSerial()), m: m, wire: wire, store: newMemStore(), sharers: make(map[*openssl.Ctx]bool), clients: make(map[clientKind]*openssl.Ctx)}
	a.key = tlstest.TicketKey(1)
	return a
}

// setting configures a host.
type setting func(t testing.TB, c *openssl.Ctx)

func asks(ca *tlstest.Authority) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetClientCAs(ca.PEM))
		must(t, c.SetVerify(openssl.VerifyPeer))
	}
}

func requires(ca *tlstest.Authority) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetClientCAs(ca.PEM))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
	}
}

// within says a context by hand.
func within(sidCtx string) setting {
	return func(t testing.TB, c *openssl.Ctx) { must(t, c.SetSessionIDContext([]byte(sidCtx))) }
}

// withPolicy derives a context, within the env's label.
func withPolicy(p openssl.SessionPolicy) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		p.Label = t.(*env).label + p.Label
		must(t, c.DeriveSessionIDContext(p))
	}
}

// server is a Ctx of the env's mechanism without certificate or context.
func (a *env) server(settings ...setting) *openssl.Ctx {
	a.Helper()
	c, err := openssl.NewServerCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	tlstest.SetVersion(a, c, a.m.version)
	if a.m.stateful {
		must(a, c.SetOptions(openssl.OptionNoTicket))
	}
	for _, s := range settings {
		s(a, c)
	}
	return c
}

func named(names ...string) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		id := serverIdentity(t, names...)
		must(t, c.UseCertificate(id.cert, id.key))
	}
}

// host is a server for a name within a derived context; settings may say another.
func (a *env) host(name string, settings ...setting) *openssl.Ctx {
	a.Helper()
	return a.server(append([]setting{named(name), withPolicy(openssl.SessionPolicy{Label: "app"})}, settings...)...)
}

// sharing is a setting for servers of one fleet: keys or a store in common.
func (a *env) sharing() setting {
	return func(t testing.TB, c *openssl.Ctx) {
		must(t, c.SetNumTickets(1))
		if a.m.stateful {
			must(t, c.SetSessionStore(a.store))
			must(t, c.SetSessionStoreTimeout(time.Minute)) // a busy machine is no slow store
			a.sharers[c] = true
		} else {
			must(t, c.SetTicketKeys(a.key))
		}
	}
}

// listener routes by name; the empty name is for clients without a server name.
func (a *env) listener(hosts map[string]*openssl.Ctx, settings ...setting) *openssl.Ctx {
	a.Helper()
	return a.routing(func(hello *openssl.ClientHello) (*openssl.Ctx, error) {
		if c := hosts[hello.ServerName]; c != nil {
			return c, nil
		}
		return nil, tls.AlertError(112)
	}, settings...)
}

func (a *env) routing(route func(*openssl.ClientHello) (*openssl.Ctx, error), settings ...setting) *openssl.Ctx {
	a.Helper()
	c := a.server(append([]setting{withPolicy(openssl.SessionPolicy{Label: "listener"})}, settings...)...)
	must(a, c.SetNumTickets(1))
	must(a, c.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		return route(hello)
	}))
	return c
}

// ready freezes all and revokes where the env says so; nil is skipped. A
// context that was not derived has nothing to revoke.
func (a *env) ready(listener *openssl.Ctx, hosts ...*openssl.Ctx) {
	a.Helper()
	if a.revoke == "" {
		return
	}
	var all []*openssl.Ctx
	if listener != nil && a.revoke != "host" {
		all = append(all, listener)
	}
	if listener == nil || a.revoke != "listener" {
		all = append(all, hosts...)
	}
	for _, c := range all {
		s, err := openssl.NewSSL(c)
		must(a, err)
		must(a, s.Close())
		c.Revoke()
	}
}

// client is a Ctx for visits. Without verify it sends no server name.
func (a *env) client(cert *identity, verify bool) *openssl.Ctx {
	a.Helper()
	kind := clientKind{cert, verify}
	if c := a.clients[kind]; c != nil {
		return c
	}
	c, err := openssl.NewClientCtx()
	must(a, err)
	a.Cleanup(func() { c.Close() })
	tlstest.SetVersion(a, c, a.m.version)
	must(a, c.SetVerifyCAs(tlstest.Certs(a).PEM))
	if !verify {
		must(a, c.SetVerify(openssl.VerifyNone))
	}
	if cert != nil {
		must(a, c.UseCertificate(cert.cert, cert.key))
	}
	a.clients[kind] = c
	return c
}

// client is one connection of a client.
type client struct {
	name    string // the server name, sent and verified; empty for none
	cert    *identity
	session []byte // to offer, in DER
	client  *openssl.Ctx
	wrap    func(net.Conn) net.Conn    // of the client's wire
	look    func(server *openssl.Conn) // once the server's handshake is done
	prepare func(client *openssl.Conn) // before the client's
}

// result is what a visit came to.
type result struct {
	of                   client
	client, server       openssl.ConnectionState
	clientErr, serverErr error
	served               bool   // the client has been served
	session              []byte // the newest, in DER; nil for none
}

func (a *env) connect(server *openssl.Ctx, v client) (o result) {
	a.Helper()
	o.of = v
	near, far := a.wire(a)
	if v.wrap != nil {
		near = v.wrap(near)
	}
	if v.client == nil {
		v.client = a.client(v.cert, v.name != "")
	}
	s, err := openssl.Server(far, server)
	must(a, err)
	c, err := openssl.Client(near, v.client)
	must(a, err)
	limit := time.Now().Add(20 * time.Second)
	must(a, s.SetDeadline(limit))
	must(a, c.SetDeadline(limit))
	if v.name != "" {
		must(a, c.SetServerName(v.name))
	}
	if v.session != nil {
		sess, err := openssl.ParseSession(v.session)
		must(a, err)
		must(a, c.SetSession(sess))
		must(a, sess.Close())
	}
	if v.prepare != nil {
		v.prepare(c)
	}
	o.clientErr, o.serverErr = tlstest.Both(func() error {
		defer c.Close()
		defer func() { o.client = c.ConnectionState() }()
		if err := c.Handshake(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
		o.served = true
		if sess, err := c.Session(); err == nil {
			o.session, err = sess.MarshalBinary()
			sess.Close()
			return err
		}
		return nil
	}, func() error {
		defer s.Close()
		defer func() { o.server = s.ConnectionState() }()
		if err := s.Handshake(); err != nil {
			return err
		}
		if v.look != nil {
			v.look(s)
		}
		if _, err := s.Write([]byte{'!'}); err != nil {
			return err
		}
		io.Copy(io.Discard, s)
		return nil
	})
	if a.sharers[server] && a.m.stateful && o.serverErr == nil && len(o.session) > 0 {
		a.store.wait(a, storeKey(o.server.SessionIDContext, a.lookup(o.session)))
	}
	return o
}

// lookup is the id by which a server looks a client's session up: in TLS 1.3 the
// ticket itself.
func (a *env) lookup(session []byte) []byte {
	a.Helper()
	if a.m.version == tls.VersionTLS13 {
		return tlstest.TicketIn(a, session)
	}
	sess, err := openssl.ParseSession(session)
	must(a, err)
	defer sess.Close()
	return sess.ID()
}

func (o result) String() string {
	return "a visit of " + o.of.cert.String() + " to \"" + o.of.name + "\""
}

// resumed fails the test unless the visit resumed its session.
func (a *env) resumed(o result) result {
	a.Helper()
	if o.clientErr != nil || o.serverErr != nil || !o.client.DidResume || !o.server.DidResume || !o.served {
		a.Fatalf("%v was not resumed (%v): client %v, server %v", o, o.server.Resumption, o.clientErr, o.serverErr)
	}
	return o
}

// full fails the test unless the visit was an ordinary full handshake, with the
// host's own certificate and the client's, asked for again.
func (a *env) full(o result) result {
	a.Helper()
	switch {
	case o.clientErr != nil || o.serverErr != nil || !o.served:
		a.Fatalf("%v failed: client %v, server %v", o, o.clientErr, o.serverErr)
	case o.client.DidResume || o.server.DidResume:
		a.Fatalf("%v RESUMED", o)
	case o.of.session != nil && o.server.Resumption == openssl.ResumptionNotOffered:
		a.Fatalf("%v offered no session: the attack was none", o)
	}
	if peer := o.server.PeerCertificates; len(peer) > 0 && peer[0].Subject.CommonName != o.of.cert.name {
		a.Fatalf("%v is %s to the server", o, peer[0].Subject.CommonName)
	}
	return o
}

// refused fails the test unless the server refused the client.
func (a *env) refused(o result) result {
	a.Helper()
	if o.serverErr == nil || o.clientErr == nil || o.served || o.server.DidResume {
		a.Fatalf("%v got in (resumed: %v): client %v, server %v", o, o.server.DidResume, o.clientErr, o.serverErr)
	}
	return o
}

// endpoint is a server, a name there, and who may enter.
type endpoint struct {
	server *openssl.Ctx
	name   string
	cert   *identity
}

// assertIsolated makes a session at one endpoint and offers it at another: a client
// from the first is not admitted by it, where a certificate is required, and a
// client that may enter does so by a full handshake, although it offers the session.
func (a *env) assertIsolated(from, to endpoint, required bool) {
	a.Helper()
	first := a.full(a.connect(from.server, client{name: from.name, cert: from.cert}))
	session := first.session
	again := a.resumed(a.connect(from.server, client{name: from.name, cert: from.cert, session: session}))
	if again.session != nil {
		session = again.session
	}
	if required {
		a.refused(a.connect(to.server, client{name: to.name, cert: from.cert, session: session}))
	}
	next := a.full(a.connect(to.server, client{name: to.name, cert: to.cert, session: session}))
	if to.cert != nil && len(next.server.PeerCertificates) == 0 {
		a.Fatalf("%v: the server did not ask for a certificate", next)
	}
	if got, want := next.server.SessionIDContext, first.server.SessionIDContext; bytes.Equal(got, want) && len(got) > 0 {
		a.Fatalf("two places share the context %x", got)
	}
	// What the new handshake has made belongs to the second endpoint alone.
	a.resumed(a.connect(to.server, client{name: to.name, cert: to.cert, session: next.session}))
	a.resumed(a.connect(from.server, client{name: from.name, cert: from.cert, session: session}))
}

// ---- a store ----

// memStore is a SessionStore in memory whose contents can be read and changed.
type memStore struct {
	mu    sync.Mutex
	blobs map[string][]byte
	gets  [][]byte
	put   map[string]bool                                      // ever
	seen  chan struct{}                                        // closed at the next put
	get   func(ctx context.Context, id []byte) ([]byte, error) // instead, if not nil
}

func newMemStore() *memStore {
	return &memStore{blobs: make(map[string][]byte), put: make(map[string]bool), seen: make(chan struct{})}
}

func (s *memStore) Put(_ context.Context, id, session []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[string(id)] = bytes.Clone(session)
	s.put[string(id)] = true
	close(s.seen)
	s.seen = make(chan struct{})
	return nil
}

func (s *memStore) Get(ctx context.Context, id []byte) ([]byte, error) {
	s.mu.Lock()
	s.gets = append(s.gets, bytes.Clone(id))
	instead, blob := s.get, s.blobs[string(id)]
	s.mu.Unlock()
	if instead != nil {
		return instead(ctx, id)
	}
	if blob == nil {
		return nil, openssl.ErrSessionNotFound
	}
	return bytes.Clone(blob), nil
}

func (s *memStore) Delete(_ context.Context, id []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, string(id))
	return nil
}

func (s *memStore) copy() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	blobs := make(map[string][]byte)
	for id, blob := range s.blobs {
		blobs[id] = bytes.Clone(blob)
	}
	return blobs
}

// wait returns when a session has been put under id, which may be after the
// handshake that made it.
func (s *memStore) wait(t testing.TB, id []byte) {
	t.Helper()
	limit := time.After(time.Minute) // the machine may be busy
	for {
		s.mu.Lock()
		there, seen := s.put[string(id)], s.seen
		s.mu.Unlock()
		if there {
			return
		}
		select {
		case <-seen:
		case <-limit:
			t.Fatal("a session never reached the store")
		}
	}
}

// storeKey is the id that a store is given, by SessionStore's documentation.
func storeKey(sidCtx, id []byte) []byte {
	h := sha256.New()
	h.Write([]byte{byte(len(sidCtx))})
	h.Write(sidCtx)
	h.Write(id)
	return h.Sum(nil)
}

// ---- wires ----

func tcpWire(t testing.TB) (near, far net.Conn) { return tlstest.TCPPair(t) }

// memoryWire is two ends of a wire with room for all that one end says.
func memoryWire(testing.TB) (near, far net.Conn) { return tlstest.WirePair(128 << 10) }

// endpointWire says where it leads: every TCP server here has a port of its own.
type endpointWire struct {
	net.Conn
	addr string
}

func (w endpointWire) RemoteAddr() net.Addr { return endpointAddr(w.addr) }

type endpointAddr string

func (endpointAddr) Network() string  { return "tcp" }
func (a endpointAddr) String() string { return string(a) }

func sameEndpoint(w net.Conn) net.Conn { return endpointWire{w, "192.0.2.1:443"} }

// splitWire sends the first flight in records, or in segments, of one byte each.
type splitWire struct {
	net.Conn
	records bool
	sent    bool
}

func (w *splitWire) Write(p []byte) (int, error) {
	if w.sent {
		return w.Conn.Write(p)
	}
	w.sent = true
	out := p
	if w.records {
		out = nil
		for _, b := range p[5:] { // one record: a ClientHello
			out = append(out, p[0], p[1], p[2], 0, 1, b)
		}
	}
	step := 1
	if w.records {
		step = 6
	}
	for i := 0; i < len(out); i += step {
		if _, err := w.Conn.Write(out[i : i+step]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// ---- ClientHellos ----

// rawHello is a ClientHello in parts.
type rawHello struct {
	head []byte // version and random
	body [3][]byte
	exts []rawExt
}

type rawExt struct {
	kind uint16
	body []byte
}

// parseRawHello takes a record with one ClientHello apart.
func parseRawHello(t testing.TB, record []byte) (h rawHello) {
	t.Helper()
	p := record[5+4:]
	h.head, p = p[:34], p[34:]
	take := func(size int) []byte {
		n := 0
		for _, b := range p[:size] {
			n = n<<8 | int(b)
		}
		b := p[size : size+n]
		p = p[size+n:]
		return b
	}
	h.body[0], h.body[1], h.body[2] = take(1), take(2), take(1)
	p = take(2)
	for len(p) > 0 {
		kind := binary.BigEndian.Uint16(p)
		p = p[2:]
		h.exts = append(h.exts, rawExt{kind, take(2)})
	}
	return h
}

// record puts it together again.
func (h rawHello) record() []byte {
	sized := func(b []byte, size int) []byte {
		n := make([]byte, 8)
		binary.BigEndian.PutUint64(n, uint64(len(b)))
		return append(n[8-size:], b...)
	}
	var exts []byte
	for _, e := range h.exts {
		exts = append(binary.BigEndian.AppendUint16(exts, e.kind), sized(e.body, 2)...)
	}
	p := bytes.Clone(h.head)
	p = append(p, sized(h.body[0], 1)...)
	p = append(p, sized(h.body[1], 2)...)
	p = append(p, sized(h.body[2], 1)...)
	p = append(p, sized(exts, 2)...)
	message := append([]byte{1}, sized(p, 3)...)
	var records []byte
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		records = append(records, 22, 3, 1)
		records = append(records, sized(message[:n], 2)...)
		message = message[n:]
	}
	return records
}

// with has an extension's body replaced, or added behind the server name; nil
// takes it out.
func (h rawHello) with(kind uint16, body []byte) rawHello {
	var exts []rawExt
	done := body == nil
	for _, e := range h.exts {
		if e.kind == kind {
			if done {
				continue
			}
			e.body, done = body, true
		}
		exts = append(exts, e)
	}
	if !done {
		exts = append([]rawExt{{kind, body}}, exts...) // a pre-shared key stays last
	}
	h.exts = exts
	return h
}

// sniList is the body of a server_name extension.
func sniList(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, 0, byte(len(n)>>8), byte(len(n)))
		list = append(list, n...)
	}
	return append([]byte{byte(len(list) >> 8), byte(len(list))}, list...)
}

// hello is what a client would say first, offering the session if there is one.
func (a *env) hello(name string, session []byte) rawHello {
	a.Helper()
	c, err := openssl.NewSSL(a.client(nil, name != ""))
	must(a, err)
	defer c.Close()
	if name != "" {
		must(a, c.SetServerName(name))
	}
	if session != nil {
		sess, err := openssl.ParseSession(session)
		must(a, err)
		defer sess.Close()
		must(a, c.SetSession(sess))
	}
	if _, err := c.Handshake(); err != nil {
		a.Fatalf("Handshake: %v", err)
	}
	p := make([]byte, 1<<16)
	return parseRawHello(a, p[:c.Drain(p)])
}

// say sends bytes to a server and returns its error and the first record that
// comes back.
func (a *env) say(server *openssl.Ctx, p []byte) (answer []byte, serverErr error) {
	a.Helper()
	near, far := a.wire(a)
	s, err := openssl.Server(far, server)
	must(a, err)
	must(a, s.SetDeadline(time.Now().Add(10*time.Second)))
	must(a, near.SetDeadline(time.Now().Add(10*time.Second)))
	_, serverErr = tlstest.Both(func() error {
		defer near.Close()
		if _, err := near.Write(p); err != nil {
			return err
		}
		head := make([]byte, 5)
		if _, err := io.ReadFull(near, head); err != nil {
			return err
		}
		answer = make([]byte, binary.BigEndian.Uint16(head[3:]))
		_, err := io.ReadFull(near, answer)
		answer = append(head, answer...)
		return err
	}, func() error {
		defer s.Close()
		return s.Handshake()
	})
	return answer, serverErr
}

// alertOf is the alert in a record.
func alertOf(record []byte) (alert tls.AlertError, ok bool) {
	if len(record) != 7 || record[0] != 21 || record[5] != 2 {
		return 0, false
	}
	return tls.AlertError(record[6]), true
}

// until looks again and again until it sees, or fails the test.
func (a *env) until(within time.Duration, what string, look func() bool) {
	a.Helper()
	limit, tick := time.After(within), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-tick.C:
		case <-limit:
			a.Fatalf("%s: not within %v", what, within)
		}
	}
}
