//go:build cgo

package openssl

import (
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// AgeTicketKeys moves the birth of c's ticket keys back: C's clock cannot be turned.
func AgeTicketKeys(c *Ctx, d time.Duration) error {
	return c.use(func(p libssl.CTX) error {
		p.AgeTicketKeys(int64(d / time.Second))
		return nil
	})
}

// MaxHeld and LargeBuffer are what bounds the ciphertext that a Conn keeps.
const (
	MaxHeld     = maxHeld
	LargeBuffer = largeBuffer
)

// HandshakeSlots is how many handshakes libssl may work on at the same moment.
func HandshakeSlots() int { return int(inHandshake.made.Load()) }

// CloseBound is what a peer that has stalled can cost Close.
const CloseBound = closeAttempts * closeGrace

// Unsent is how many sealed bytes c keeps: those on their way to the wire, and
// those that wait in the SSL, in Go and in C. No other goroutine may use c.
func Unsent(c *Conn) (going, waiting int) {
	return c.unsent.w - c.unsent.r, c.ssl.unsent()
}

// SpoilFleetKeys has every connection of c fail that is made until mend is called.
func SpoilFleetKeys(c *Ctx) (mend func()) {
	was := c.fleet
	set := func(f *fleetKeys) { c.use(func(libssl.CTX) error { c.fleet = f; return nil }) }
	set(new(fleetKeys))
	return func() { set(was) }
}
