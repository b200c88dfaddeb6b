package libssl

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Handle owns one C object: the only place that holds its pointer and the only one
// that frees it. The zero Handle is closed.
type Handle[P interface {
	comparable
	Free()
}] struct {
	Mu      sync.Mutex // one call at a time; never held across a wait. Its Unlock keeps the owner alive.
	P       P          // zero once closed
	cleanup runtime.Cleanup
}

var (
	live   atomic.Int64 // made and not yet freed
	caught atomic.Int64 // freed by a cleanup, because Close was not called
)

// LiveHandles is how many C objects are held, CaughtHandles how many were freed by
// the garbage collector because their owner was not closed.
func LiveHandles() int64   { return live.Load() }
func CaughtHandles() int64 { return caught.Load() }

// Own takes p over. It is called before anything else can know h.
func (h *Handle[P]) Own(p P) {
	live.Add(1)
	h.P = p
	h.cleanup = runtime.AddCleanup(h, func(p P) {
		caught.Add(1)
		live.Add(-1)
		p.Free()
	}, p)
}

// ClosedLocked reports whether h owns nothing.
func (h *Handle[P]) ClosedLocked() bool {
	var zero P
	return h.P == zero
}

// CloseLocked frees at once. A second call does nothing.
func (h *Handle[P]) CloseLocked() {
	if h.ClosedLocked() {
		return
	}
	h.cleanup.Stop()
	p := h.P
	var zero P
	h.P = zero
	p.Free()
	live.Add(-1)
}
