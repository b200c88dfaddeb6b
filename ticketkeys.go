//go:build cgo

package openssl

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// TicketKey is a key for session tickets, which are encrypted with AES-256-CBC and
// authenticated with HMAC-SHA256. A ticket carries the name of its key. Machines that
// share tickets share keys. The holder of a key can decrypt every session that was
// encrypted with it.
type TicketKey struct {
	Name      [16]byte // not secret, sent with every ticket
	AES, HMAC [32]byte
}

// SetTicketKeys sets the keys for session tickets. The first key encrypts, all keys
// decrypt, and a ticket decrypted by another key than the first is renewed. It may be
// called at any time, also on a Ctx in use, to rotate keys: put the new key first and keep
// the old ones for as long as sessions live. The keys are copied; the copies are erased when
// c is closed and its last connection is gone. Keys that are zero, and two keys with the
// same name, are refused. On failure the previous keys remain in force.
//
// A server Ctx on which no keys are set makes its own, and a new one every day.
//
// It is SSL_CTX_set_tlsext_ticket_key_evp_cb.
func (c *Ctx) SetTicketKeys(keys ...TicketKey) error {
	if len(keys) == 0 {
		return errors.New("openssl: ticket keys: give at least one")
	}
	seen := make(map[[16]byte]bool)
	material := make(map[[32]byte]bool)
	for i, k := range keys {
		switch {
		case k.AES == [32]byte{} || k.HMAC == [32]byte{} || k.Name == [16]byte{}:
			return fmt.Errorf("openssl: ticket keys: key %d has a part that is all zeros", i)
		case seen[k.Name]:
			return fmt.Errorf("openssl: ticket keys: key %d has the name of one before it", i)
		case material[k.AES] || material[k.HMAC] || k.AES == k.HMAC:
			return fmt.Errorf("openssl: ticket keys: key %d repeats a secret", i)
		}
		seen[k.Name], material[k.AES], material[k.HMAC] = true, true, true
	}
	return c.use(func(p libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: ticket keys are for servers: this Ctx was made by NewClientCtx")
		}
		if c.routed {
			return errors.New("openssl: ticket keys are the listener's: connections are switched to this Ctx")
		}
		if err := setTicketKeys(p, keys); err != nil {
			return err
		}
		c.listenOnly = append(c.listenOnly, "SetTicketKeys")
		c.fleet = nil
		return nil
	})
}

func setTicketKeys(p libssl.CTX, keys []TicketKey) error {
	flat := make([]byte, 0, len(keys)*libssl.TicketKeySize)
	for i := range keys {
		flat = append(flat, keys[i].Name[:]...)
		flat = append(flat, keys[i].AES[:]...)
		flat = append(flat, keys[i].HMAC[:]...)
	}
	defer clear(flat)
	return asError(p.SetTicketKeys(flat))
}

// fleetKeyInfo changes with the way keys are derived.
const fleetKeyInfo = "github.com/sidctx/openssl ticket key 1"

// FleetTicketKeys derives ticket keys from a secret that several machines share, so that
// they use the same keys without communication. There is a key for each slot of time and
// each session id context: a ticket of another context cannot be decrypted.
//
// The first key is that of the time at. The other keys decrypt tickets from machines whose
// clock is slow or fast, and tickets up to lifetime old. secret needs at least 32 bytes of
// entropy; one that is all zeros is refused. slot is a whole number of seconds, at least a minute; lifetime is at most 1000
// slots.
func FleetTicketKeys(secret, sidCtx []byte, slot, lifetime time.Duration, at time.Time) ([]TicketKey, error) {
	const op = "openssl: ticket keys of a fleet"
	switch {
	case len(secret) < 32:
		return nil, fmt.Errorf(op+": a secret of %d bytes can be guessed: 32 are needed", len(secret))
	case !slices.ContainsFunc(secret, func(b byte) bool { return b != 0 }):
		return nil, errors.New(op + ": the secret is all zeros: read 32 random bytes or more")
	case slot < time.Minute || slot%time.Second != 0:
		return nil, fmt.Errorf(op+": a slot of %v is not a number of seconds, at least a minute", slot)
	case lifetime < 0 || lifetime/slot > 1000:
		return nil, fmt.Errorf(op+": a lifetime of %v is not between 0 and 1000 slots of %v", lifetime, slot)
	}
	now := at.Unix() / int64(slot/time.Second)
	if now < 1 {
		return nil, fmt.Errorf(op+": %v is before their time", at)
	}
	slots := []int64{now, now + 1}
	for past := now - 1; past >= now-max(1, int64((lifetime+slot-1)/slot)); past-- {
		slots = append(slots, past)
	}
	keys := make([]TicketKey, len(slots))
	for i, s := range slots {
		var info wire.Writer
		info.Bytes([]byte(fleetKeyInfo))
		info.Bytes(sidCtx)
		info.Uint(uint64(slot / time.Second))
		info.Uint(uint64(s))
		material, err := hkdf.Key(sha256.New, secret, nil, string(info.B), 80)
		if err != nil {
			return nil, fmt.Errorf(op+": %w", err)
		}
		copy(keys[i].Name[:], material)
		copy(keys[i].AES[:], material[16:])
		copy(keys[i].HMAC[:], material[48:])
		clear(material)
	}
	return keys, nil
}

// fleetKeys holds the arguments of SetFleetTicketKeys and what was made from them.
type fleetKeys struct {
	secret []byte
	slot   time.Duration

	// What the keys in force were made for.
	sidCtx sidContext
	frozen bool      // of a frozen Ctx: its context and its timeout were final
	until  time.Time // and the time before
}

// SetFleetTicketKeys makes c use the keys that [FleetTicketKeys] derives for its session
// id context, with the lifetime of its sessions ([Ctx.SetSessionTimeout]), and rotate them
// as time passes. It follows later changes of the context. Keys are rotated when a
// connection is made, also on a Ctx in use. secret is copied. On failure the previous keys
// remain in force.
//
// It is SSL_CTX_set_tlsext_ticket_key_evp_cb.
func (c *Ctx) SetFleetTicketKeys(secret []byte, slot time.Duration) error {
	return c.use(func(p libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: ticket keys are for servers: this Ctx was made by NewClientCtx")
		}
		if c.routed {
			return errors.New("openssl: ticket keys are the listener's: connections are switched to this Ctx")
		}
		was := c.fleet
		c.fleet = &fleetKeys{secret: bytes.Clone(secret), slot: slot}
		if err := c.rotateFleetKeys(p, time.Now()); err != nil {
			c.fleet = was
			return err
		}
		c.listenOnly = append(c.listenOnly, "SetFleetTicketKeys")
		return nil
	})
}

// rotateFleetKeys makes the keys of now and of the present context, if those in
// force are for others. It is called by use.
func (c *Ctx) rotateFleetKeys(p libssl.CTX, now time.Time) error {
	f, present := c.fleet, c.presentLocked()
	if f == nil || now.Before(f.until) && f.sidCtx == present && f.frozen == c.frozen {
		return nil
	}
	keys, err := FleetTicketKeys(f.secret, present.bytes(), f.slot, p.Timeout(), now)
	if err != nil {
		return err
	}
	defer clear(keys)
	seconds := int64(f.slot / time.Second)
	if err := setTicketKeys(p, keys); err != nil {
		return err
	}
	f.sidCtx, f.frozen, f.until = present, c.frozen, time.Unix((now.Unix()/seconds+1)*seconds, 0)
	return nil
}
