//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// ticketKeys makes n keys.
func ticketKeys(n int) []openssl.TicketKey {
	keys := make([]openssl.TicketKey, n)
	for i := range keys {
		for _, part := range [][]byte{keys[i].Name[:], keys[i].AES[:], keys[i].HMAC[:]} {
			rand.Read(part) // never fails
		}
	}
	return keys
}

// forEachTicket runs a test for each protocol, with a server Ctx whose context is "a".
func forEachTicket(t *testing.T, test func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx)) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client := tlstest.NewClient(t)
			tlstest.SetVersion(t, client, v.ID)
			test(t, client, func() *openssl.Ctx {
				server := tlstest.NewServer(t)
				must(t, server.SetSessionIDContext([]byte("a")))
				return server
			})
		})
	}
}

// Keys make a fleet of two servers; the context still keeps them apart.
func TestTicketKeysShared(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(1)
		one, two, three := newCtx(), newCtx(), tlstest.NewServer(t)
		must(t, three.SetSessionIDContext([]byte("b")))
		for _, server := range []*openssl.Ctx{one, two, three} {
			must(t, server.SetTicketKeys(k...))
		}
		sess := tlstest.MustOffer(t, client, one, nil, openssl.ResumptionNotOffered)
		if got := tlstest.TicketOf(t, sess); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Fatalf("the ticket's key is %x, want %x", got[:16], k[0].Name)
		}
		sess = tlstest.MustOffer(t, client, two, sess, openssl.ResumptionResumed)
		tlstest.MustOffer(t, client, one, sess, openssl.ResumptionResumed)
		tlstest.MustOffer(t, client, three, sess, openssl.ResumptionContextMismatch)
	})
}

// A key's owner cannot forge with part of it: each part matters.
func TestTicketKeysParts(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k, others := ticketKeys(1)[0], ticketKeys(1)[0]
		server := newCtx()
		must(t, server.SetTicketKeys(k))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		for name, key := range map[string]openssl.TicketKey{
			"name": {Name: others.Name, AES: k.AES, HMAC: k.HMAC},
			"HMAC": {Name: k.Name, AES: k.AES, HMAC: others.HMAC},
			"AES":  {Name: k.Name, AES: others.AES, HMAC: k.HMAC},
		} {
			strange := newCtx()
			must(t, strange.SetTicketKeys(key))
			if _, got := tlstest.Offer(t, client, strange, sess); got == openssl.ResumptionResumed {
				t.Errorf("with another %s it was resumed", name)
			}
		}
	})
}

func TestTicketKeysRotation(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(3)
		server := newCtx()
		must(t, server.SetTicketKeys(k[0]))
		old := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)

		must(t, server.SetTicketKeys(k[1], k[0])) // on a frozen Ctx
		renewed := tlstest.MustOffer(t, client, server, old, openssl.ResumptionResumed)
		if got := tlstest.TicketOf(t, renewed); !bytes.Equal(got[:16], k[1].Name[:]) {
			t.Fatal("an old key's ticket was not renewed")
		}

		must(t, server.SetTicketKeys(k[2], k[1])) // the oldest is dropped
		tlstest.MustOffer(t, client, server, old, openssl.ResumptionUndecryptable)
		tlstest.MustOffer(t, client, server, renewed, openssl.ResumptionResumed)
	})
}

// A key that only opens does not seal, wherever it stands.
func TestTicketKeysFirstSeals(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(3)
		server := newCtx()
		for i := range k {
			must(t, server.SetTicketKeys(k[i], k[(i+1)%3], k[(i+2)%3]))
			sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			if got := tlstest.TicketOf(t, sess); !bytes.Equal(got[:16], k[i].Name[:]) {
				t.Fatalf("key %d was to seal", i)
			}
		}
	})
}

// TestTicketKeysUnderLoad rotates keys while eight clients resume: three keys
// reach from one rotation to the next but one, so that not one handshake may
// fail and not one session may be lost.
func TestTicketKeysUnderLoad(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		const clients, rotations = 8, 12
		k := ticketKeys(rotations + 3)
		server := newCtx()
		must(t, server.SetTicketKeys(k[2], k[1], k[0]))

		var done [clients]chan struct{} // a handshake each
		for i := range done {
			done[i] = make(chan struct{})
		}
		stop := make(chan struct{})
		var working sync.WaitGroup
		for i := range done {
			working.Go(func() {
				var der []byte
				for {
					next, err := resumeOnce(client, server, der)
					if err != nil {
						t.Errorf("client %d: %v", i, err)
					}
					der = next
					select {
					case done[i] <- struct{}{}:
					case <-stop:
						return
					}
				}
			})
		}
		for i := range rotations {
			for _, one := range done { // everybody has come by since the last one
				<-one
			}
			n := i + 3
			must(t, server.SetTicketKeys(k[n], k[n-1], k[n-2]))
		}
		for _, one := range done {
			<-one
		}
		close(stop)
		working.Wait()
		got := server.Stats().Resumptions
		if got[openssl.ResumptionNotOffered] != clients || got[openssl.ResumptionResumed] < clients*rotations || len(got) != 2 {
			t.Fatalf("the server counts %v", got)
		}
	})
}

// resumeOnce is visit for goroutines of their own: it reports instead of ending
// the test, and sessions come and go in DER.
func resumeOnce(client, server *openssl.Ctx, der []byte) (next []byte, err error) {
	c, err := openssl.NewSSL(client)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := openssl.NewSSL(server)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := c.SetServerName("server.test"); err != nil {
		return nil, err
	}
	if der != nil {
		sess, err := openssl.ParseSession(der)
		if err != nil {
			return nil, err
		}
		defer sess.Close()
		if err := c.SetSession(sess); err != nil {
			return nil, err
		}
	}
	pass := func(from, to *openssl.SSL) {
		for p := make([]byte, 16<<10); from.Pending() > 0; {
			to.Feed(p[:from.Drain(p)])
		}
	}
	for range 4 {
		if _, err := c.Handshake(); err != nil {
			return nil, err
		}
		pass(c, s)
		if _, err := s.Handshake(); err != nil {
			return nil, err
		}
		pass(s, c)
	}
	if _, _, err := c.Read(make([]byte, 1)); err != nil {
		return nil, err
	}
	sess, err := c.Session()
	if err != nil {
		return nil, err
	}
	defer sess.Close()
	c.Shutdown()
	s.Shutdown()
	return sess.MarshalBinary()
}

func TestTicketKeysRefused(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(3)
		server := newCtx()
		must(t, server.SetTicketKeys(k[0]))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)

		with := func(change func(*openssl.TicketKey)) openssl.TicketKey {
			key := k[1]
			change(&key)
			return key
		}
		for name, keys := range map[string][]openssl.TicketKey{
			"none":           nil,
			"zeros":          {{}},
			"no name":        {with(func(k *openssl.TicketKey) { k.Name = [16]byte{} })},
			"no AES":         {with(func(k *openssl.TicketKey) { k.AES = [32]byte{} })},
			"no HMAC":        {with(func(k *openssl.TicketKey) { k.HMAC = [32]byte{} })},
			"zeros behind":   {k[1], {}},
			"twice":          {k[1], k[1]},
			"one name":       {k[1], {Name: k[1].Name, AES: k[2].AES, HMAC: k[2].HMAC}},
			"one AES":        {k[1], {Name: k[2].Name, AES: k[1].AES, HMAC: k[2].HMAC}},
			"one HMAC":       {k[1], {Name: k[2].Name, AES: k[2].AES, HMAC: k[1].HMAC}},
			"AES for HMAC":   {with(func(k *openssl.TicketKey) { k.HMAC = k.AES })},
			"crosswise":      {k[1], {Name: k[2].Name, AES: k[1].HMAC, HMAC: k[2].HMAC}},
			"third repeated": {k[1], k[2], k[1]},
		} {
			if err := server.SetTicketKeys(keys...); err == nil {
				t.Errorf("%s: taken", name)
			}
		}
		// The old ones stay.
		next := tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
		if got := tlstest.TicketOf(t, next); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Error("another key seals")
		}
	})
}

func TestTicketKeysWrongPlace(t *testing.T) {
	if err := tlstest.NewClient(t).SetTicketKeys(ticketKeys(1)...); err == nil {
		t.Error("a client took ticket keys")
	}
	server := tlstest.NewServer(t)
	must(t, server.Close())
	if err := server.SetTicketKeys(ticketKeys(1)...); err == nil {
		t.Error("a closed Ctx took ticket keys")
	}
}

// The caller's keys are copied: what becomes of its memory is its business.
func TestTicketKeysCopied(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(2)
		server := newCtx()
		must(t, server.SetTicketKeys(k...))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		clear(k)
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
	})
}

// Connections that outlive their Ctx still have its keys.
func TestTicketKeysAfterClose(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		server := newCtx()
		must(t, server.SetTicketKeys(ticketKeys(1)...))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		c, s := tlstest.Machines(t, client, server)
		must(t, c.SetSession(sess))
		must(t, server.Close())
		tlstest.MustShake(t, c, s)
		if got := s.ConnectionState().Resumption; got != openssl.ResumptionResumed {
			t.Fatalf("resumption: %v", got)
		}
		tlstest.Goodbye(t, c, s)
	})
}

// Two servers that were given no keys share nothing, whatever their contexts.
func TestTicketKeysOwn(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		one, two := newCtx(), newCtx()
		sess := tlstest.MustOffer(t, client, one, nil, openssl.ResumptionNotOffered)
		tlstest.MustOffer(t, client, two, sess, openssl.ResumptionUndecryptable)
		tlstest.MustOffer(t, client, one, sess, openssl.ResumptionResumed)
	})
}

// A server's own key turns each day; the ones before open for as long as a
// session that they sealed may live.
func TestTicketKeysRotate(t *testing.T) {
	const day = 24 * time.Hour
	for _, timeout := range []time.Duration{time.Hour, 30 * time.Hour} {
		t.Run(timeout.String(), func(t *testing.T) {
			forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
				server := newCtx()
				must(t, server.SetSessionTimeout(timeout))
				name := func(sess *openssl.Session) string { return string(tlstest.TicketOf(t, sess)[:16]) }
				first := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)

				must(t, openssl.AgeTicketKeys(server, day-time.Minute))
				same := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(same) != name(first) {
					t.Fatal("the key turned within a day")
				}

				must(t, openssl.AgeTicketKeys(server, time.Minute))
				second := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(second) == name(first) {
					t.Fatal("the key did not turn after a day")
				}
				renewed := tlstest.MustOffer(t, client, server, first, openssl.ResumptionResumed)
				if name(renewed) != name(second) {
					t.Fatal("the old key's ticket was not renewed")
				}

				must(t, openssl.AgeTicketKeys(server, day))
				third := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(third) == name(second) {
					t.Fatal("the key did not turn again")
				}
				tlstest.MustOffer(t, client, server, second, openssl.ResumptionResumed)
				want := openssl.ResumptionUndecryptable // sealed two days ago, for an hour
				if timeout > day {
					want = openssl.ResumptionResumed
				}
				tlstest.MustOffer(t, client, server, first, want)
			})
		})
	}
}

// Keys that somebody has set turn when somebody turns them.
func TestTicketKeysSetStay(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(2)
		server := newCtx()
		must(t, server.SetTicketKeys(k...))
		must(t, openssl.AgeTicketKeys(server, 100*24*time.Hour))
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		if got := tlstest.TicketOf(t, sess); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Fatal("another key seals")
		}
	})
}

// Setting keys ends the server's own.
func TestTicketKeysReplaceOwn(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		server := newCtx()
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		must(t, server.SetTicketKeys(ticketKeys(1)...))
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionUndecryptable)
	})
}

// No two tickets have one IV.
func TestTicketIVs(t *testing.T) {
	seen := make(map[string]bool)
	add := func(sess *openssl.Session) {
		t.Helper()
		iv := string(tlstest.TicketOf(t, sess)[16:32])
		if seen[iv] || iv == string(make([]byte, 16)) {
			t.Fatalf("the IV %x was used before, or is zeros", iv)
		}
		seen[iv] = true
	}
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	must(t, server.SetTicketKeys(ticketKeys(1)...))
	must(t, server.SetNumTickets(200))
	for _, sess := range tickets(t, client, server, nil) {
		add(sess)
	}
	old := tlstest.NewClient(t)
	tlstest.SetVersion(t, old, tls.VersionTLS12)
	for range 50 {
		add(tlstest.MustOffer(t, old, server, nil, openssl.ResumptionNotOffered))
	}
	if len(seen) != 250 {
		t.Fatalf("%d tickets", len(seen))
	}
}

// A ticket that was tampered with, in any byte, is one that no key opens, and
// costs a full handshake.
func TestTicketTampered(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		server := newCtx()
		sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
		der, err := sess.MarshalBinary()
		must(t, err)
		ticket := tlstest.TicketOf(t, sess)
		at := bytes.Index(der, ticket)
		for i := 0; i < len(ticket); i += 7 {
			bad := slices.Clone(der)
			bad[at+i] ^= 1
			tampered, err := openssl.ParseSession(bad)
			must(t, err)
			_, got := tlstest.Offer(t, client, server, tampered)
			must(t, tampered.Close())
			if got != openssl.ResumptionUndecryptable {
				t.Fatalf("byte %d of %d: %v", i, len(ticket), got)
			}
		}
		tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
	})
}

// secret is what a fleet of tests shares.
var secret = bytes.Repeat([]byte("fleet "), 8)

// noon is a moment in the middle of a slot.
var noon = time.Unix(1_000_000*600+300, 0)

const slot = 10 * time.Minute

// machineOf is one server of a fleet whose clock says at.
func machineOf(t *testing.T, version uint16, sidCtx string, at time.Time) *openssl.Ctx {
	t.Helper()
	server := tlstest.NewServer(t)
	tlstest.SetVersion(t, server, version)
	must(t, server.SetSessionIDContext([]byte(sidCtx)))
	must(t, server.SetTicketKeys(fleetKeysAt(t, sidCtx, at)...))
	return server
}

func fleetKeysAt(t *testing.T, sidCtx string, at time.Time) []openssl.TicketKey {
	t.Helper()
	keys, err := openssl.FleetTicketKeys(secret, []byte(sidCtx), slot, 2*slot, at)
	must(t, err)
	return keys
}

// TestFleetTicketKeysAgree has one machine seal and another one open, whose
// clock says something else.
func TestFleetTicketKeysAgree(t *testing.T) {
	for _, x := range []struct {
		name   string
		behind time.Duration // of the one that opens, negative: ahead
		opens  bool
	}{
		{"the same moment", 0, true},
		{"another moment of the slot", -4 * time.Minute, true},
		{"the slot after", -slot, true},
		{"the slot before", slot, true},
		{"the last slot of its lifetime", -2 * slot, true},
		{"forgotten", -3 * slot, false},
		{"a clock two slots slow", 2 * slot, false},
	} {
		for _, v := range tlstest.Versions {
			t.Run(x.name+"/"+v.Name, func(t *testing.T) {
				seals := machineOf(t, v.ID, "fleet", noon)
				opens := machineOf(t, v.ID, "fleet", noon.Add(-x.behind))
				client := tlstest.NewClient(t)
				made := tlstest.Connect(t, tlstest.Pair{Client: client, Server: seals})
				e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: opens, Offer: made.Session})
				want := openssl.ResumptionResumed
				if !x.opens {
					want = openssl.ResumptionUndecryptable
				}
				if e.Server.Resumption != want || e.Server.DidResume != x.opens || e.Client.DidResume != x.opens {
					t.Errorf("%v (server %v, client %v), want %v", e.Server.Resumption, e.Server.DidResume, e.Client.DidResume, want)
				}
			})
		}
	}
}

// TestFleetTicketKeysOfTheSlot looks at the keys themselves.
func TestFleetTicketKeysOfTheSlot(t *testing.T) {
	first := fleetKeysAt(t, "fleet", noon)[0]
	begin := noon.Truncate(slot)
	for _, x := range []struct {
		name string
		at   time.Time
		same bool
	}{
		{"its first second", begin, true},
		{"its last second", begin.Add(slot - time.Second), true},
		{"one second later", begin.Add(slot), false},
		{"one second earlier", begin.Add(-time.Second), false},
	} {
		if got := fleetKeysAt(t, "fleet", x.at)[0]; (got == first) != x.same {
			t.Errorf("%s: the key that seals is the slot's: %v, want %v", x.name, got == first, x.same)
		}
	}
	seen := map[[16]byte]string{}
	secrets := map[[32]byte]string{}
	for _, sidCtx := range []string{"fleet", "flee", "fleet\x00", ""} {
		for i, k := range fleetKeysAt(t, sidCtx, noon) {
			who := fmt.Sprintf("key %d of %q", i, sidCtx)
			if other := seen[k.Name]; other != "" {
				t.Errorf("%s has the name of %s", who, other)
			}
			for _, s := range [][32]byte{k.AES, k.HMAC} {
				if other := secrets[s]; other != "" {
					t.Errorf("%s has a secret of %s", who, other)
				}
				secrets[s] = who
			}
			seen[k.Name] = who
		}
	}
	for _, lifetime := range []time.Duration{0, time.Second, slot} {
		keys, err := openssl.FleetTicketKeys(secret, []byte("fleet"), slot, lifetime, noon)
		must(t, err)
		if len(keys) != 3 || keys[2] != fleetKeysAt(t, "fleet", noon.Add(-slot))[0] {
			t.Errorf("for a lifetime of %v there are %d keys, want one for now, one for a fast and one for a slow clock", lifetime, len(keys))
		}
	}
}

func TestFleetTicketKeysOfAnotherContext(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			red, blue := machineOf(t, v.ID, "red", noon), machineOf(t, v.ID, "blue", noon)
			client := tlstest.NewClient(t)
			made := tlstest.Connect(t, tlstest.Pair{Client: client, Server: red})
			if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: blue, Offer: made.Session}); e.Server.Resumption != openssl.ResumptionUndecryptable {
				t.Errorf("blue and a ticket of red: %v, want undecryptable", e.Server.Resumption)
			}
		})
	}
}

func TestFleetTicketKeysRefuse(t *testing.T) {
	sidCtx := []byte("fleet")
	for _, x := range []struct {
		name           string
		secret         []byte
		slot, lifetime time.Duration
		at             time.Time
		says           string
	}{
		{"no secret", nil, slot, slot, noon, "32"},
		{"a short secret", secret[:31], slot, slot, noon, "31 bytes"},
		{"no slot", secret, 0, slot, noon, "0s"},
		{"a negative slot", secret, -slot, slot, noon, "-10m"},
		{"a slot too short", secret, 59 * time.Second, slot, noon, "59s"},
		{"half seconds", secret, slot + time.Second/2, slot, noon, "10m0.5s"},
		{"a negative lifetime", secret, slot, -1, noon, "lifetime"},
		{"too many keys", secret, time.Minute, 1002 * time.Minute, noon, "1000"},
		{"before 1970", secret, slot, slot, time.Unix(-1, 0), "before"},
	} {
		t.Run(x.name, func(t *testing.T) {
			keys, err := openssl.FleetTicketKeys(x.secret, sidCtx, x.slot, x.lifetime, x.at)
			tlstest.Sentence(t, err, x.says)
			if keys != nil {
				t.Error("there are keys beside the error")
			}
		})
	}
	server, client := tlstest.NewServer(t), tlstest.NewClient(t)
	tlstest.Sentence(t, client.SetFleetTicketKeys(secret, slot), "NewClientCtx")
	tlstest.Sentence(t, server.SetFleetTicketKeys(secret[:8], slot), "8 bytes")
	must(t, server.SetFleetTicketKeys(secret, slot))
	tlstest.Sentence(t, server.SetFleetTicketKeys(secret, time.Second), "1s")
	tlstest.Sentence(t, server.SetTicketKeys(), "one")
	e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
	must(t, server.SetFleetTicketKeys(secret, slot)) // of a Ctx in use
	if again := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: e.Session}); !again.Server.DidResume {
		t.Errorf("the keys that were refused have replaced those in force: %v", again.Server.Resumption)
	}
}

// TestSetFleetTicketKeysRotate lets a day pass for two servers that have been
// told the secret and nothing else.
func TestSetFleetTicketKeysRotate(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it makes hundreds of handshakes")
	}
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		bubble(t, func(t *testing.T) {
			machine := func() *openssl.Ctx {
				server := tlstest.NewServer(t)
				tlstest.SetVersion(t, server, v.ID)
				must(t, server.SetSessionIDContext([]byte("fleet")))
				must(t, server.SetSessionTimeout(2*slot))
				must(t, server.SetFleetTicketKeys(secret, slot))
				return server
			}
			one, client := machine(), tlstest.NewClient(t)
			old := tlstest.Connect(t, tlstest.Pair{Client: client, Server: one})
			fresh := old
			for i := range 144 {
				<-time.After(slot)
				other := machine() // it comes to the fleet just now
				e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: other, Offer: sameSession(t, fresh.Session)})
				if !e.Server.DidResume {
					t.Fatalf("slot %d: not resumed by a new machine: %v", i, e.Server.Resumption)
				}
				fresh = tlstest.Connect(t, tlstest.Pair{Client: client, Server: one, Offer: sameSession(t, e.Session)})
				if !fresh.Server.DidResume {
					t.Fatalf("slot %d: not resumed by the old machine: %v", i, fresh.Server.Resumption)
				}
				must(t, other.Close())
			}
			if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: one, Offer: old.Session}); e.Server.Resumption != openssl.ResumptionUndecryptable {
				t.Errorf("a ticket of yesterday: %v, want undecryptable: its key is forgotten", e.Server.Resumption)
			}
		})
	})
}

// TestSetFleetTicketKeysFollowTheContext changes a derived context under keys
// that are derived from it.
func TestSetFleetTicketKeysFollowTheContext(t *testing.T) {
	server, client := tlstest.NewServer(t), tlstest.NewClient(t)
	label := uniqueLabel(t)
	must(t, server.SetFleetTicketKeys(secret, slot))
	must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: label}))
	before := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})
	generation, err := server.Revoke()
	must(t, err)
	if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: before.Session}); e.Server.Resumption != openssl.ResumptionUndecryptable {
		t.Errorf("a ticket of before Revoke: %v, want undecryptable", e.Server.Resumption)
	}
	after := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server})

	other := tlstest.NewServer(t) // a machine that is given the generation
	must(t, other.DeriveSessionIDContext(openssl.SessionPolicy{Label: label, Generation: generation}))
	must(t, other.SetFleetTicketKeys(secret, slot))
	if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: other, Offer: after.Session}); !e.Server.DidResume {
		t.Errorf("a ticket of after Revoke, on another machine: %v", e.Server.Resumption)
	}
}

// TestSetFleetTicketKeysAnyOrder says the same to two machines in another order.
func TestSetFleetTicketKeysAnyOrder(t *testing.T) {
	keys := func(c *openssl.Ctx) { must(t, c.SetFleetTicketKeys(secret, slot)) }
	context := func(c *openssl.Ctx) {
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "fleet"}))
	}
	rest := func(c *openssl.Ctx) { // the derived context depends on it
		must(t, c.SetALPN("h2"))
		must(t, c.SetSessionTimeout(time.Hour))
	}
	orders := [][]func(*openssl.Ctx){{rest, context, keys}, {keys, context, rest}, {context, keys, rest}}
	client := tlstest.NewClient(t)
	for i, order := range orders {
		one, other := tlstest.NewServer(t), tlstest.NewServer(t)
		for k := range order {
			orders[0][k](one)
			order[k](other)
		}
		made := tlstest.Connect(t, tlstest.Pair{Client: client, Server: one})
		if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: other, Offer: made.Session}); !e.Server.DidResume {
			t.Errorf("order %d: not resumed: %v", i, e.Server.Resumption)
		}
	}
}

// Ticket keys are the listener's: a host that is in use takes none.
func TestSetFleetTicketKeysOfAHost(t *testing.T) {
	hosts, host := openssl.NewHosts(), tlstest.NewServer(t)
	must(t, host.DeriveSessionIDContext(openssl.SessionPolicy{Label: "fleet"}))
	must(t, hosts.Add("a.test", host))
	tlstest.Sentence(t, host.SetFleetTicketKeys(secret, slot), "ticket keys are the listener's")
	tlstest.Sentence(t, host.SetTicketKeys(tlstest.TicketKey(1)), "ticket keys are the listener's")
}

// TestSetFleetTicketKeysForALaterLifetime says after the keys how long sessions live.
func TestSetFleetTicketKeysForALaterLifetime(t *testing.T) {
	server, client := tlstest.NewServer(t), tlstest.NewClient(t)
	must(t, server.SetSessionIDContext([]byte("fleet")))
	must(t, server.SetFleetTicketKeys(secret, slot))
	must(t, server.SetSessionTimeout(24*slot))
	old := machineOf(t, tlstest.Versions[1].ID, "fleet", time.Now().Add(-20*slot))
	made := tlstest.Connect(t, tlstest.Pair{Client: client, Server: old})
	if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server, Offer: made.Session}); !e.Server.DidResume {
		t.Errorf("a ticket of 20 slots ago, for a lifetime of 24: %v", e.Server.Resumption)
	}
}

// TestFleetTicketKeysRotateUnderLoad moves a live Ctx from slot to slot while
// clients resume as fast as they can.
func TestFleetTicketKeysRotateUnderLoad(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		const clients, each = 4, 60
		server := machineOf(t, v.ID, "fleet", noon)
		client := tlstest.NewClient(t)
		var wg sync.WaitGroup
		stop, turned := make(chan struct{}), 0
		errs := make(chan error, clients)
		resumed := make(chan int, clients)
		for range clients {
			wg.Go(func() {
				var offer *openssl.Session
				n := 0
				for range each {
					e := tlstest.ConnectTCP(t, tlstest.Pair{Client: client, Server: server, Offer: offer})
					if err := errors.Join(e.ClientErr, e.ServerErr); err != nil {
						errs <- err
						return
					}
					if e.Server.DidResume {
						n++
					}
					offer = e.Session
				}
				resumed <- n
			})
		}
		var rotator sync.WaitGroup
		rotator.Go(func() {
			for at := noon; ; at = at.Add(slot) {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond): // a client's ticket is never more than two slots old by much
				}
				if err := server.SetTicketKeys(fleetKeysAt(t, "fleet", at)...); err != nil {
					t.Errorf("rotation: %v", err)
					return
				}
				turned++
			}
		})
		wg.Wait()
		close(stop)
		rotator.Wait()
		close(errs)
		close(resumed)
		for err := range errs {
			t.Errorf("a handshake failed: %v", err)
		}
		sum := 0
		for n := range resumed {
			sum += n
		}
		if turned < 5 {
			t.Errorf("the keys have turned %d times only", turned)
		}
		if sum == 0 {
			t.Error("not one handshake was resumed")
		}
		t.Logf("%d rotations, %d of %d handshakes resumed", turned, sum, clients*each)
	})
}
