//go:build cgo

package openssl

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// TicketKey seals session tickets: AES-256-CBC with HMAC-SHA256, found by its
// name. The machines of a fleet share keys; what a key's owner can read is every
// session that it sealed.
type TicketKey struct {
	Name      [16]byte // not secret, sent with every ticket
	AES, HMAC [32]byte
}

// SetTicketKeys sets the keys for session tickets: the first seals, all of them
// open, and a ticket that an older one opened is renewed. Unlike every other
// setter it is allowed at any time, for rotation: put the new key first and
// keep the old ones for as long as sessions live. The keys are copied, and wiped
// when the last connection of a closed Ctx is gone. Keys of zeros, and two of
// one name, are refused; then the old ones stay.
//
// A server Ctx that is never given keys makes its own, a new one each day.
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
	return c.use(func(p ctxPtr) error {
		if !c.server {
			return errors.New("openssl: ticket keys are for servers: this Ctx was made by NewClientCtx")
		}
		if c.routed {
			return errors.New("openssl: ticket keys are the listener's: connections are switched to this Ctx")
		}
		if err := p.setTicketKeys(keys); err != nil {
			return err
		}
		c.listenOnly = append(c.listenOnly, "SetTicketKeys")
		c.fleet = nil
		return nil
	})
}

// fleetKeyInfo changes with the way keys are derived.
const fleetKeyInfo = "github.com/sidctx/openssl ticket key 1"

// FleetTicketKeys derives ticket keys from a secret that the machines of a
// fleet share, so that they agree without talking to each other: one key for
// each slot of time and each session id context, so that a ticket of another
// context does not even decrypt. The first seals at the given time; the others
// open what machines with a slow or a fast clock have sealed, and what was
// sealed up to lifetime ago. The secret has 32 bytes or more of entropy. slot is
// whole seconds, at least a minute; a key for each slot of lifetime must not be
// too many.
func FleetTicketKeys(secret, sidCtx []byte, slot, lifetime time.Duration, at time.Time) ([]TicketKey, error) {
	const op = "openssl: ticket keys of a fleet"
	switch {
	case len(secret) < 32:
		return nil, fmt.Errorf(op+": a secret of %d bytes can be guessed: 32 are needed", len(secret))
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
		var info digest
		info.part([]byte(fleetKeyInfo))
		info.part(sidCtx)
		info.number(uint64(slot / time.Second))
		info.number(uint64(s))
		material, err := hkdf.Key(sha256.New, secret, nil, string(info.b), 80)
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

// fleetKeys is what SetFleetTicketKeys was told.
type fleetKeys struct {
	secret []byte
	slot   time.Duration

	// What the keys in force were made for.
	sidCtx  sidContext
	settled bool      // of a frozen Ctx: its context and its timeout were final
	until   time.Time // and the time before
}

// SetFleetTicketKeys has c use [FleetTicketKeys] of its session id context,
// whenever that is set, and move on by itself from slot to slot, for as long as sessions
// live ([Ctx.SetSessionTimeout]). Rotation happens when a connection is made,
// also on a Ctx that is in use. The secret is copied.
//
// It is SSL_CTX_set_tlsext_ticket_key_evp_cb.
func (c *Ctx) SetFleetTicketKeys(secret []byte, slot time.Duration) error {
	return c.use(func(p ctxPtr) error {
		if !c.server {
			return errors.New("openssl: ticket keys are for servers: this Ctx was made by NewClientCtx")
		}
		if c.routed {
			return errors.New("openssl: ticket keys are the listener's: connections are switched to this Ctx")
		}
		was := c.fleet
		c.fleet = &fleetKeys{secret: bytes.Clone(secret), slot: slot}
		if err := c.turnFleetKeys(p, time.Now()); err != nil {
			c.fleet = was
			return err
		}
		c.listenOnly = append(c.listenOnly, "SetFleetTicketKeys")
		return nil
	})
}

// turnFleetKeys makes the keys of now and of the present context, if those in
// force are for others. It is called by use.
func (c *Ctx) turnFleetKeys(p ctxPtr, now time.Time) error {
	f := c.fleet
	if f == nil || now.Before(f.until) && f.sidCtx == c.present && f.settled == c.frozen {
		return nil
	}
	keys, err := FleetTicketKeys(f.secret, c.present.bytes(), f.slot, p.timeout(), now)
	if err != nil {
		return err
	}
	defer clear(keys)
	seconds := int64(f.slot / time.Second)
	if err := p.setTicketKeys(keys); err != nil {
		return err
	}
	f.sidCtx, f.settled, f.until = c.present, c.frozen, time.Unix((now.Unix()/seconds+1)*seconds, 0)
	return nil
}
