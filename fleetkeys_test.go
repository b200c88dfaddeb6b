//go:build cgo

package openssl_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// secret is what a fleet of tests shares.
var secret = bytes.Repeat([]byte("fleet "), 8)

// noon is a moment in the middle of a slot.
var noon = time.Unix(1_000_000*600+300, 0)

const slot = 10 * time.Minute

// machineOf is one server of a fleet whose clock says at.
func machineOf(t *testing.T, version uint16, sidCtx string, at time.Time) *openssl.Ctx {
	t.Helper()
	server := newServer(t)
	setVersion(t, server, version)
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
		for _, v := range versions {
			t.Run(x.name+"/"+v.name, func(t *testing.T) {
				seals := machineOf(t, v.id, "fleet", noon)
				opens := machineOf(t, v.id, "fleet", noon.Add(-x.behind))
				client := newClient(t)
				made := mustConnect(t, call{client: client, server: seals})
				e := mustConnect(t, call{client: client, server: opens, offer: made.session})
				want := openssl.ResumptionResumed
				if !x.opens {
					want = openssl.ResumptionUndecryptable
				}
				if e.server.Resumption != want || e.server.DidResume != x.opens || e.client.DidResume != x.opens {
					t.Errorf("%v (server %v, client %v), want %v", e.server.Resumption, e.server.DidResume, e.client.DidResume, want)
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
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			red, blue := machineOf(t, v.id, "red", noon), machineOf(t, v.id, "blue", noon)
			client := newClient(t)
			made := mustConnect(t, call{client: client, server: red})
			if e := mustConnect(t, call{client: client, server: blue, offer: made.session}); e.server.Resumption != openssl.ResumptionUndecryptable {
				t.Errorf("blue and a ticket of red: %v, want undecryptable", e.server.Resumption)
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
			sentence(t, err, x.says)
			if keys != nil {
				t.Error("there are keys beside the error")
			}
		})
	}
	server, client := newServer(t), newClient(t)
	sentence(t, client.SetFleetTicketKeys(secret, slot), "NewClientCtx")
	sentence(t, server.SetFleetTicketKeys(secret[:8], slot), "8 bytes")
	must(t, server.SetFleetTicketKeys(secret, slot))
	sentence(t, server.SetFleetTicketKeys(secret, time.Second), "1s")
	sentence(t, server.SetTicketKeys(), "one")
	e := mustConnect(t, call{client: client, server: server})
	must(t, server.SetFleetTicketKeys(secret, slot)) // of a Ctx in use
	if again := mustConnect(t, call{client: client, server: server, offer: e.session}); !again.server.DidResume {
		t.Errorf("the keys that were refused have replaced those in force: %v", again.server.Resumption)
	}
}

// TestSetFleetTicketKeysTurns lets a day pass for two servers that have been
// told the secret and nothing else.
func TestSetFleetTicketKeysTurns(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				machine := func() *openssl.Ctx {
					server := newServer(t)
					setVersion(t, server, v.id)
					must(t, server.SetSessionIDContext([]byte("fleet")))
					must(t, server.SetSessionTimeout(2*slot))
					must(t, server.SetFleetTicketKeys(secret, slot))
					return server
				}
				one, client := machine(), newClient(t)
				old := mustConnect(t, call{client: client, server: one})
				fresh := old
				for i := range 144 {
					<-time.After(slot)
					other := machine() // it comes to the fleet just now
					e := mustConnect(t, call{client: client, server: other, offer: sameSession(t, fresh.session)})
					if !e.server.DidResume {
						t.Fatalf("slot %d: not resumed by a new machine: %v", i, e.server.Resumption)
					}
					fresh = mustConnect(t, call{client: client, server: one, offer: sameSession(t, e.session)})
					if !fresh.server.DidResume {
						t.Fatalf("slot %d: not resumed by the old machine: %v", i, fresh.server.Resumption)
					}
					must(t, other.Close())
				}
				if e := mustConnect(t, call{client: client, server: one, offer: old.session}); e.server.Resumption != openssl.ResumptionUndecryptable {
					t.Errorf("a ticket of yesterday: %v, want undecryptable: its key is forgotten", e.server.Resumption)
				}
			})
		})
	}
}

// TestSetFleetTicketKeysFollowTheContext changes a derived context under keys
// that are derived from it.
func TestSetFleetTicketKeysFollowTheContext(t *testing.T) {
	server, client := newServer(t), newClient(t)
	must(t, server.SetFleetTicketKeys(secret, slot))
	must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "fleet"}))
	before := mustConnect(t, call{client: client, server: server})
	generation, err := server.Revoke()
	must(t, err)
	if e := mustConnect(t, call{client: client, server: server, offer: before.session}); e.server.Resumption != openssl.ResumptionUndecryptable {
		t.Errorf("a ticket of before Revoke: %v, want undecryptable", e.server.Resumption)
	}
	after := mustConnect(t, call{client: client, server: server})

	other := newServer(t) // a machine that is told the generation
	must(t, other.DeriveSessionIDContext(openssl.SessionPolicy{Label: "fleet", Generation: generation}))
	must(t, other.SetFleetTicketKeys(secret, slot))
	if e := mustConnect(t, call{client: client, server: other, offer: after.session}); !e.server.DidResume {
		t.Errorf("a ticket of after Revoke, on another machine: %v", e.server.Resumption)
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
	client := newClient(t)
	for i, order := range orders {
		one, other := newServer(t), newServer(t)
		for k := range order {
			orders[0][k](one)
			order[k](other)
		}
		made := mustConnect(t, call{client: client, server: one})
		if e := mustConnect(t, call{client: client, server: other, offer: made.session}); !e.server.DidResume {
			t.Errorf("order %d: not resumed: %v", i, e.server.Resumption)
		}
	}
}

// TestSetFleetTicketKeysForALaterLifetime says after the keys how long sessions live.
func TestSetFleetTicketKeysForALaterLifetime(t *testing.T) {
	server, client := newServer(t), newClient(t)
	must(t, server.SetSessionIDContext([]byte("fleet")))
	must(t, server.SetFleetTicketKeys(secret, slot))
	must(t, server.SetSessionTimeout(24*slot))
	old := machineOf(t, versions[1].id, "fleet", time.Now().Add(-20*slot))
	made := mustConnect(t, call{client: client, server: old})
	if e := mustConnect(t, call{client: client, server: server, offer: made.session}); !e.server.DidResume {
		t.Errorf("a ticket of 20 slots ago, for a lifetime of 24: %v", e.server.Resumption)
	}
}

// TestFleetTicketKeysRotateUnderLoad moves a live Ctx from slot to slot while
// clients resume as fast as they can.
func TestFleetTicketKeysRotateUnderLoad(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			const clients, each = 4, 60
			server := machineOf(t, v.id, "fleet", noon)
			client := newClient(t)
			var wg sync.WaitGroup
			stop, turned := make(chan struct{}), 0
			errs := make(chan error, clients)
			resumed := make(chan int, clients)
			for range clients {
				wg.Go(func() {
					var offer *openssl.Session
					n := 0
					for range each {
						e := overTCP(t, call{client: client, server: server, offer: offer})
						if err := errors.Join(e.clientErr, e.serverErr); err != nil {
							errs <- err
							return
						}
						if e.server.DidResume {
							n++
						}
						offer = e.session
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
}
