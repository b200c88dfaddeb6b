//go:build cgo

package openssl

import "time"

// LiveHandles is how many C objects are held.
func LiveHandles() int64 { return liveHandles.Load() }

// CaughtHandles is how many a cleanup had to free: somebody forgot a Close.
func CaughtHandles() int64 { return caughtHandles.Load() }

// AgeTicketKeys moves the birth of c's ticket keys back: C's clock cannot be turned.
func AgeTicketKeys(c *Ctx, d time.Duration) error {
	return c.use(func(p ctxPtr) error {
		p.ageTicketKeys(int64(d / time.Second))
		return nil
	})
}

// MaxHeld and LargeBuffer are what bounds the ciphertext that a Conn keeps.
const (
	MaxHeld     = maxHeld
	LargeBuffer = largeBuffer
)

// Unsent is how many sealed bytes c keeps: those on their way to the wire, and
// those that wait in the machine, in Go and in C. Nobody may be at work on c.
func Unsent(c *Conn) (going, waiting int) {
	return c.unsent.w - c.unsent.r, c.ssl.unsent()
}
