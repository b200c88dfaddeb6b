//go:build cgo

package openssl

// LiveHandles is how many C objects are held.
func LiveHandles() int64 { return liveHandles.Load() }

// CaughtHandles is how many a cleanup had to free: somebody forgot a Close.
func CaughtHandles() int64 { return caughtHandles.Load() }
