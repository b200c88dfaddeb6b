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
