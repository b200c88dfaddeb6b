//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
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
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client := newClient(t)
			setVersion(t, client, v.id)
			test(t, client, func() *openssl.Ctx {
				server := newServer(t)
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
		one, two, three := newCtx(), newCtx(), newServer(t)
		must(t, three.SetSessionIDContext([]byte("b")))
		for _, server := range []*openssl.Ctx{one, two, three} {
			must(t, server.SetTicketKeys(k...))
		}
		sess := mustVisit(t, client, one, nil, openssl.ResumptionNotOffered)
		if got := ticketOf(t, sess); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Fatalf("the ticket's key is %x, want %x", got[:16], k[0].Name)
		}
		sess = mustVisit(t, client, two, sess, openssl.ResumptionResumed)
		mustVisit(t, client, one, sess, openssl.ResumptionResumed)
		mustVisit(t, client, three, sess, openssl.ResumptionContextMismatch)
	})
}

// A key's owner cannot forge with part of it: each part has its say.
func TestTicketKeysParts(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k, others := ticketKeys(1)[0], ticketKeys(1)[0]
		server := newCtx()
		must(t, server.SetTicketKeys(k))
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		for name, key := range map[string]openssl.TicketKey{
			"name": {Name: others.Name, AES: k.AES, HMAC: k.HMAC},
			"HMAC": {Name: k.Name, AES: k.AES, HMAC: others.HMAC},
			"AES":  {Name: k.Name, AES: others.AES, HMAC: k.HMAC},
		} {
			strange := newCtx()
			must(t, strange.SetTicketKeys(key))
			if _, got := visit(t, client, strange, sess); got == openssl.ResumptionResumed {
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
		old := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)

		must(t, server.SetTicketKeys(k[1], k[0])) // on a frozen Ctx
		renewed := mustVisit(t, client, server, old, openssl.ResumptionResumed)
		if got := ticketOf(t, renewed); !bytes.Equal(got[:16], k[1].Name[:]) {
			t.Fatal("an old key's ticket was not renewed")
		}

		must(t, server.SetTicketKeys(k[2], k[1])) // the oldest is dropped
		mustVisit(t, client, server, old, openssl.ResumptionUndecryptable)
		mustVisit(t, client, server, renewed, openssl.ResumptionResumed)
	})
}

// A key that only opens does not seal, wherever it stands.
func TestTicketKeysFirstSeals(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		k := ticketKeys(3)
		server := newCtx()
		for i := range k {
			must(t, server.SetTicketKeys(k[i], k[(i+1)%3], k[(i+2)%3]))
			sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
			if got := ticketOf(t, sess); !bytes.Equal(got[:16], k[i].Name[:]) {
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
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)

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
		next := mustVisit(t, client, server, sess, openssl.ResumptionResumed)
		if got := ticketOf(t, next); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Error("another key seals")
		}
	})
}

func TestTicketKeysWrongPlace(t *testing.T) {
	if err := newClient(t).SetTicketKeys(ticketKeys(1)...); err == nil {
		t.Error("a client took ticket keys")
	}
	server := newServer(t)
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
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		clear(k)
		mustVisit(t, client, server, sess, openssl.ResumptionResumed)
	})
}

// Connections that outlive their Ctx still have its keys.
func TestTicketKeysAfterClose(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		server := newCtx()
		must(t, server.SetTicketKeys(ticketKeys(1)...))
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		c, s := machines(t, client, server)
		must(t, c.SetSession(sess))
		must(t, server.Close())
		mustShake(t, c, s)
		if got := s.ConnectionState().Resumption; got != openssl.ResumptionResumed {
			t.Fatalf("resumption: %v", got)
		}
		goodbye(t, c, s)
	})
}

// Two servers that were given no keys share nothing, whatever their contexts.
func TestTicketKeysOwn(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		one, two := newCtx(), newCtx()
		sess := mustVisit(t, client, one, nil, openssl.ResumptionNotOffered)
		mustVisit(t, client, two, sess, openssl.ResumptionUndecryptable)
		mustVisit(t, client, one, sess, openssl.ResumptionResumed)
	})
}

// A server's own key turns each day; the ones before open for as long as a
// session that they sealed may live.
func TestTicketKeysTurn(t *testing.T) {
	const day = 24 * time.Hour
	for _, timeout := range []time.Duration{time.Hour, 30 * time.Hour} {
		t.Run(timeout.String(), func(t *testing.T) {
			forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
				server := newCtx()
				must(t, server.SetSessionTimeout(timeout))
				name := func(sess *openssl.Session) string { return string(ticketOf(t, sess)[:16]) }
				first := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)

				must(t, openssl.AgeTicketKeys(server, day-time.Minute))
				same := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(same) != name(first) {
					t.Fatal("the key turned within a day")
				}

				must(t, openssl.AgeTicketKeys(server, time.Minute))
				second := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(second) == name(first) {
					t.Fatal("the key did not turn after a day")
				}
				renewed := mustVisit(t, client, server, first, openssl.ResumptionResumed)
				if name(renewed) != name(second) {
					t.Fatal("the old key's ticket was not renewed")
				}

				must(t, openssl.AgeTicketKeys(server, day))
				third := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
				if name(third) == name(second) {
					t.Fatal("the key did not turn again")
				}
				mustVisit(t, client, server, second, openssl.ResumptionResumed)
				want := openssl.ResumptionUndecryptable // sealed two days ago, for an hour
				if timeout > day {
					want = openssl.ResumptionResumed
				}
				mustVisit(t, client, server, first, want)
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
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		if got := ticketOf(t, sess); !bytes.Equal(got[:16], k[0].Name[:]) {
			t.Fatal("another key seals")
		}
	})
}

// Setting keys ends the server's own.
func TestTicketKeysReplaceOwn(t *testing.T) {
	forEachTicket(t, func(t *testing.T, client *openssl.Ctx, newCtx func() *openssl.Ctx) {
		server := newCtx()
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		must(t, server.SetTicketKeys(ticketKeys(1)...))
		mustVisit(t, client, server, sess, openssl.ResumptionUndecryptable)
	})
}

// No two tickets have one IV.
func TestTicketIVs(t *testing.T) {
	seen := make(map[string]bool)
	add := func(sess *openssl.Session) {
		t.Helper()
		iv := string(ticketOf(t, sess)[16:32])
		if seen[iv] || iv == string(make([]byte, 16)) {
			t.Fatalf("the IV %x was used before, or is zeros", iv)
		}
		seen[iv] = true
	}
	client, server := newClient(t), newServer(t)
	setVersion(t, client, tls.VersionTLS13)
	must(t, server.SetTicketKeys(ticketKeys(1)...))
	must(t, server.SetNumTickets(200))
	for _, sess := range tickets(t, client, server, nil) {
		add(sess)
	}
	old := newClient(t)
	setVersion(t, old, tls.VersionTLS12)
	for range 50 {
		add(mustVisit(t, old, server, nil, openssl.ResumptionNotOffered))
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
		sess := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)
		der, err := sess.MarshalBinary()
		must(t, err)
		ticket := ticketOf(t, sess)
		at := bytes.Index(der, ticket)
		for i := 0; i < len(ticket); i += 7 {
			bad := slices.Clone(der)
			bad[at+i] ^= 1
			tampered, err := openssl.ParseSession(bad)
			must(t, err)
			_, got := visit(t, client, server, tampered)
			must(t, tampered.Close())
			if got != openssl.ResumptionUndecryptable {
				t.Fatalf("byte %d of %d: %v", i, len(ticket), got)
			}
		}
		mustVisit(t, client, server, sess, openssl.ResumptionResumed)
	})
}
