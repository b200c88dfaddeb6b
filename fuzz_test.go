//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// bounded ends the process if what runs in between does not end: a fuzz run has no
// limit for one input.
func bounded(t testing.TB) (done func()) {
	leaks := leaksNothing(t)
	limit := time.AfterFunc(time.Minute, func() { panic("a fuzz input takes more than a minute") })
	return func() {
		t.Helper()
		limit.Stop()
		leaks()
	}
}

// FuzzNormalizeHost compares the canonical name with what it stands for, and looks it
// up as it is and as a client sends it.
func FuzzNormalizeHost(f *testing.F) {
	hosts, listener := openssl.NewHosts(), tlstest.NewServer(f)
	for _, pattern := range []string{"a.test", "*.b.test", "192.0.2.1", "2001:db8::1"} {
		c := tlstest.NewServer(f)
		must(f, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "FuzzNormalizeHost " + pattern}))
		must(f, hosts.Add(pattern, c))
	}
	must(f, listener.SetClientHelloFunc(hosts.Route))
	for _, name := range []string{"a.test", "A.Test.", "a.test:443", "x.b.test", "x.y.b.test", "192.0.2.1", "[2001:db8::1]:443",
		"::ffff:192.0.2.1", "fe80::1%eth0", "[::1]", "\u212a.test", "a..test", "a\x00.test", "xn--bcher-kva.test", "", ".", "*.b.test"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		defer bounded(t)()
		host, err := openssl.NormalizeHost(name)
		if err != nil {
			if host != "" || hosts.Lookup(name) != nil {
				t.Fatalf("%q is no host name (%v), and is %q, served by %v", name, err, host, hosts.Lookup(name))
			}
		} else {
			canonical(t, name, host)
			if again, err := openssl.NormalizeHost(host); again != host || err != nil {
				t.Fatalf("%q is %q, which is %q, %v", name, host, again, err)
			}
			if hosts.Lookup(name) != hosts.Lookup(host) || hosts.Lookup(name) != hosts.Lookup(strings.ToUpper(host)) {
				t.Fatalf("%q and its canonical form %q are served by different hosts", name, host)
			}
		}
		if len(name) > math.MaxUint16/2 {
			return
		}
		sent := append([]byte{0}, block([]byte(name))...)
		hello, err := helloAt(t, listener, helloWith(extension(0, block(sent)), extension(43, []byte{2, 3, 4})))
		switch {
		case err != nil && hello != nil:
			t.Fatalf("%q: a ClientHello and %v", name, err)
		case hello == nil: // refused
		case hello.ServerName != host:
			t.Fatalf("%q is %q in a ClientHello and %q to NormalizeHost", name, hello.ServerName, host)
		default:
			if c, _ := hosts.Route(context.Background(), hello); c != hosts.Lookup(name) {
				t.Fatalf("%q is routed to a host that Lookup does not find", name)
			}
		}
	})
}

// canonical fails if host is not the canonical form of name.
func canonical(t testing.TB, name, host string) {
	t.Helper()
	if host == "" || len(host) > 253 || strings.HasSuffix(host, ".") {
		t.Fatalf("%q is %q", name, host)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" || ip.Is4In6() || ip.String() != host {
			t.Fatalf("%q is %q, and not %q", name, host, ip)
		}
		return
	}
	for _, b := range []byte(host) {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", rune(b)) {
			t.Fatalf("%q is %q", name, host)
		}
	}
	if !strings.Contains(strings.ToLower(name), host) {
		t.Fatalf("%q is %q, which is no part of it", name, host)
	}
}

// extension is one of a ClientHello, block is bytes behind their length.
func extension(kind int, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(kind)), block(body)...)
}

func block(p []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
}

// helloWith is a ClientHello with these extensions and those without which libssl goes
// no further, in records.
func helloWith(extensions ...[]byte) []byte {
	return helloOf([]byte{0x13, 1, 0xc0, 0x2b}, extensions...)
}

func helloOf(suites []byte, extensions ...[]byte) (records []byte) {
	all := slices.Concat(extension(10, []byte{0, 2, 0, 23}), extension(13, []byte{0, 2, 4, 3}), extension(51, []byte{0, 0}),
		extension(45, []byte{1, 1}), slices.Concat(extensions...))
	hello := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0}, block(suites), []byte{1, 0}, block(all))
	message := append([]byte{1, byte(len(hello) >> 16), byte(len(hello) >> 8), byte(len(hello))}, hello...)
	for part := range slices.Chunk(message, 1<<14) {
		records = append(append(records, 22, 3, 1), block(part)...)
	}
	return records
}

// helloAt is what a server makes of a ClientHello; without an error and a ClientHello it
// is libssl that has refused.
func helloAt(t testing.TB, server *openssl.Ctx, records []byte) (*openssl.ClientHello, error) {
	t.Helper()
	s, err := openssl.NewSSL(server)
	must(t, err)
	defer s.Close()
	for len(records) > 0 {
		n, err := s.Feed(records)
		must(t, err)
		records = records[n:]
		w, err := s.Handshake()
		if err != nil {
			return nil, nil
		}
		if w == openssl.WantClientHello {
			s.OfferedSessionIDs()
			return s.ClientHello()
		}
	}
	return nil, nil
}

// FuzzClientHello has the bodies of extensions read by this package and by crypto/tls:
// where both take them, they are the same.
func FuzzClientHello(f *testing.F) {
	server := tlstest.NewServer(f)
	must(f, server.SetClientHelloFunc(tlstest.Stay))
	must(f, server.SetSessionStore(noStore{}))
	must(f, server.SetOptions(openssl.OptionNoTicket))
	name := block(append([]byte{0}, block([]byte("server.test"))...))
	alpn := block([]byte("\x02h2\x08http/1.1"))
	psk := slices.Concat(block(append(block(make([]byte, 32)), 0, 0, 0, 0)), block(append([]byte{32}, make([]byte, 32)...)))
	suites := []byte{0x13, 1, 0xc0, 0x2b}
	f.Add(byte(0xff), name, alpn, []byte{4, 3, 4, 3, 3}, psk, suites)
	f.Add(byte(7), name, alpn, []byte{2, 3, 4}, []byte{}, suites)
	f.Add(byte(3), []byte{0, 0}, []byte{0, 2, 0, 0}, []byte{}, []byte{}, suites)
	f.Add(byte(0xff), name[:7], alpn[:5], []byte{9, 3}, psk[:20], []byte{0})
	f.Add(byte(2), []byte{}, []byte("\x00\x03\x01a\x05"), []byte{}, []byte{}, []byte{0xc0, 0x2b, 0, 255, 0x56, 0})
	f.Fuzz(func(t *testing.T, present byte, name, alpn, versions, psk, suites []byte) {
		if len(name)+len(alpn)+len(versions)+len(psk)+len(suites) > 1<<15 {
			return
		}
		defer bounded(t)()
		var extensions [][]byte
		for i, e := range []struct {
			kind int
			body []byte
		}{{0, name}, {16, alpn}, {43, versions}, {41, psk}} { // pre_shared_key is the last
			if present>>i&1 != 0 {
				extensions = append(extensions, extension(e.kind, e.body))
			}
		}
		records := helloOf(suites, extensions...)
		hello, err := helloAt(t, server, records)
		if hello == nil {
			alert := tls.AlertError(0)
			if err != nil && !errors.As(err, &alert) {
				t.Fatalf("no alert: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("a ClientHello and %v", err)
		}
		other := otherReading(records)
		if other == nil { // crypto/tls refuses more
			return
		}
		if name := strings.ToLower(other.ServerName); name != hello.ServerName && !isAddress(hello.ServerName) {
			t.Fatalf("server name %q, crypto/tls reads %q", hello.ServerName, name)
		}
		if !slices.Equal(hello.ALPNProtocols, other.SupportedProtos) {
			t.Fatalf("ALPN %q, crypto/tls reads %q", hello.ALPNProtocols, other.SupportedProtos)
		}
		if !slices.Equal(hello.CipherSuites, other.CipherSuites) {
			t.Fatalf("suites %x, crypto/tls reads %x", hello.CipherSuites, other.CipherSuites)
		}
		if !slices.Equal(hello.SupportedVersions, other.SupportedVersions) {
			t.Fatalf("versions %x, crypto/tls reads %x", hello.SupportedVersions, other.SupportedVersions)
		}
	})
}

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}

// otherReading is a ClientHello as crypto/tls reads it, nil if it does not.
func otherReading(records []byte) (hello *tls.ClientHelloInfo) {
	near, far := tlstest.WirePair(len(records) + 1<<10)
	far.Write(records)
	far.Close()
	tls.Server(near, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = h
		return nil, errors.New("read")
	}}).Handshake()
	near.Close()
	return hello
}

// edited is p with some of its bytes replaced from a position on. It is cut off there if
// there is nothing to replace them with.
func edited(p []byte, at uint16, with []byte) []byte {
	i := int(at) % (len(p) + 1)
	if len(with) == 0 {
		return p[:i:i]
	}
	return slices.Concat(p[:i], with, p[min(i+len(with), len(p)):])
}

// FuzzStore has a store return a session that was changed: as it is, under a seal, and
// the session of another id under the seal.
func FuzzStore(f *testing.F) {
	type version struct {
		client, plain, sealed *openssl.Ctx
		offer                 []byte // the client's session
		kept, blob, stranger  []byte // as the stores have it; the last one is of another id
	}
	var answer []byte
	get := func(context.Context, []byte) ([]byte, error) { return bytes.Clone(answer), nil }
	var versions []version
	for _, v := range tlstest.Versions {
		x := version{client: clientOf(f, v.ID)}
		inner, sealedInner := new(memStore), new(memStore)
		sealed, err := openssl.SealStore(sealedInner, [32]byte{1})
		must(f, err)
		x.plain, x.sealed = storeServer(f, v.ID, inner), storeServer(f, v.ID, sealed)
		for _, server := range []*openssl.Ctx{x.plain, x.sealed} {
			must(f, server.SetSessionTimeout(24*time.Hour))
			must(f, server.SetSessionStoreTimeout(10*time.Second))
			must(f, server.SetNumTickets(1))
		}
		e := overWire(f, tlstest.Pair{Client: x.client, Server: x.plain})
		x.offer = tlstest.SessionDER(f, e.Session)
		x.kept = onlyOne(f, inner)
		// The same session, as the other server would have put it.
		must(f, sealed.Put(context.Background(), keyOf(inner), x.kept, time.Now().Add(time.Hour)))
		x.blob = onlyOne(f, sealedInner)
		must(f, sealed.Put(context.Background(), []byte("another"), x.kept, time.Now().Add(time.Hour)))
		x.stranger = sealedInner.kept["another"]
		inner.does(get)
		sealedInner.does(get)
		versions = append(versions, x)
	}
	for kind := range byte(6) {
		f.Add(kind, uint16(math.MaxUint16), []byte(nil), false)
		f.Add(kind, uint16(20), []byte{0x30, 0x82, 1}, true)
		f.Add(kind, uint16(100), []byte(nil), true)
	}
	f.Fuzz(func(t *testing.T, kind byte, at uint16, with []byte, change bool) {
		defer bounded(t)()
		x := versions[kind%2]
		server, genuine := x.plain, x.kept
		switch kind / 2 % 3 {
		case 1:
			server, genuine = x.sealed, x.blob
		case 2:
			server, genuine = x.sealed, x.stranger
		}
		answer = genuine
		if change {
			answer = edited(genuine, at, with)
		}
		offer, err := openssl.ParseSession(x.offer)
		must(t, err)
		defer offer.Close()
		e := overWire(t, tlstest.Pair{Client: x.client, Server: server, Offer: offer})
		resumed := e.Server.HandshakeComplete && e.Server.DidResume
		same := bytes.Equal(answer, genuine)
		switch {
		case server == x.plain && same, bytes.Equal(answer, x.blob) && server == x.sealed:
			if !resumed || e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("the genuine answer: resumed %v, client %v, server %v", resumed, e.ClientErr, e.ServerErr)
			}
		case server == x.sealed:
			if resumed || e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("a forged answer: resumed %v, client %v, server %v; want a full handshake", resumed, e.ClientErr, e.ServerErr)
			}
		case resumed && e.ServerErr == nil:
			sess, err := openssl.ParseSession(answer)
			if err != nil {
				t.Fatalf("resumed what is no session: %v", err)
			}
			defer sess.Close()
			if string(sess.IDContext()) != "store" {
				t.Fatalf("resumed a session of the context %q", sess.IDContext())
			}
		}
		if e.Session != nil {
			e.Session.Close()
		}
	})
}

// onlyOne waits for the one session that a store is going to have.
func onlyOne(t testing.TB, store *memStore) []byte {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); store.size() == 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("no session has come to the store")
		}
	}
	p, err := store.find(keyOf(store))
	must(t, err)
	return p
}

func keyOf(store *memStore) []byte {
	store.mu.Lock()
	defer store.mu.Unlock()
	for id := range store.kept {
		return []byte(id)
	}
	return nil
}

// FuzzTicketData has a client offer tickets that hold any application data and, if with
// is not empty, any other bytes of a session. Times are relative to now.
func FuzzTicketData(f *testing.F) {
	const maxAge = time.Hour
	type version struct {
		client, server *openssl.Ctx
		offer, inside  []byte // the client's session, and the server's
	}
	key := tlstest.TicketKey(1)
	var versions []version
	for _, v := range tlstest.Versions {
		x := version{client: clientOf(f, v.ID), server: tlstest.NewServer(f)}
		must(f, x.server.SetSessionIDContext([]byte("tickets")))
		must(f, x.server.SetMaxAuthAge(maxAge))
		must(f, x.server.SetTicketKeys(key))
		must(f, x.server.SetSessionTimeout(24*time.Hour))
		first := tlstest.MustOffer(f, x.client, x.server, nil, openssl.ResumptionNotOffered)
		// Its clock is the test's, so that a long run does not come to its end.
		x.offer = tlstest.EditSession(f, tlstest.SessionDER(f, first), tlstest.FieldTimeout, tlstest.Integer(f, 86400))
		x.inside = tlstest.WithContext(f, x.offer, []byte("tickets"))
		versions = append(versions, x)
	}
	for _, tls13 := range []bool{false, true} {
		for _, times := range [][2]int64{{0, 3600}, {-3599, 1}, {-3601, 100}, {3600, 7200}, {0, -5}, {math.MaxInt64, math.MaxInt64}, {math.MinInt64, 100}} {
			f.Add(tls13, times[0], times[1], []byte(nil), uint16(0), []byte(nil))
		}
		f.Add(tls13, int64(0), int64(0), []byte{1}, uint16(0), []byte(nil))
		f.Add(tls13, int64(0), int64(0), []byte("sidctx\x00\x01 and more than that"), uint16(0), []byte(nil))
		f.Add(tls13, int64(0), int64(3600), []byte(nil), uint16(90), []byte{0xff})
	}
	f.Fuzz(func(t *testing.T, tls13 bool, authenticated, ends int64, data []byte, at uint16, with []byte) {
		if len(data)+len(with) > 8<<10 {
			return // libssl takes tickets of 64 KiB
		}
		defer bounded(t)()
		x := versions[0]
		if tls13 {
			x = versions[1]
		}
		now := time.Now().Unix()
		authenticated, ends = authenticated+now, ends+now // around, if they have to be
		if len(data) == 0 {
			data = append(data, "sidctx\x00\x01"...)
			data = binary.NativeEndian.AppendUint64(data, uint64(authenticated))
			data = binary.NativeEndian.AppendUint64(data, uint64(ends))
		}
		inside := tlstest.InsertField(t, x.inside, tlstest.FieldData, tlstest.Octets(t, data))
		if len(with) > 0 {
			inside = edited(inside, at, with)
		}
		offer, err := openssl.ParseSession(tlstest.WithTicket(t, x.offer, tlstest.ForgeTicket(t, key, inside)))
		must(t, err)
		defer offer.Close()
		client, err := openssl.NewSSL(x.client)
		must(t, err)
		defer client.Close()
		server, err := openssl.NewSSL(x.server)
		must(t, err)
		defer server.Close()
		must(t, client.SetServerName("server.test"))
		must(t, client.SetSession(offer))
		clientErr, serverErr := tlstest.Shake(t, client, server)
		resumed := server.ConnectionState().DidResume && serverErr == nil
		if len(with) > 0 {
			sess, err := openssl.ParseSession(inside)
			if err == nil {
				defer sess.Close()
			}
			if resumed && (err != nil || string(sess.IDContext()) != "tickets") {
				t.Fatalf("resumed what is no session of its context: %v", err)
			}
			return
		}
		want, sure := livesUntil(data, now, int64(maxAge/time.Second))
		if clientErr != nil || serverErr != nil || sure && resumed != want {
			t.Fatalf("data %q: resumed %v, want %v; client %v, server %v", data, resumed, want, clientErr, serverErr)
		}
	})
}

// livesUntil reports whether a ticket with this data is resumed. It is not sure where a
// few seconds decide.
func livesUntil(data []byte, now, maxAge int64) (resumed, sure bool) {
	if len(data) != 24 || string(data[:8]) != "sidctx\x00\x01" {
		return false, true
	}
	authenticated, ends := int64(binary.NativeEndian.Uint64(data[8:])), int64(binary.NativeEndian.Uint64(data[16:]))
	far := func(a, b int64) bool { // on whichever side
		if a > b {
			a, b = b, a
		}
		return uint64(b)-uint64(a) > 10
	}
	resumed = authenticated <= now+60 && ends > now && authenticated > now-maxAge
	return resumed, far(authenticated, now+60) && far(ends, now) && far(authenticated, now-maxAge)
}
