//go:build cgo

package openssl

import (
	"errors"
	"fmt"
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
		c.listenOnly = append(c.listenOnly, "SetTicketKeys")
		return p.setTicketKeys(keys)
	})
}
