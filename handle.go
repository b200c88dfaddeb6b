//go:build cgo

package openssl

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// handle owns one C object: the only place that holds its pointer and the only
// one that frees it. The zero handle is closed.
type handle[P interface {
	comparable
	free()
}] struct {
	mu      sync.Mutex // one act at a time; never held across a wait. Its Unlock keeps the owner alive.
	p       P          // zero once closed
	cleanup runtime.Cleanup
}

var (
	liveHandles   atomic.Int64 // made and not yet freed
	caughtHandles atomic.Int64 // freed by a cleanup: somebody forgot to Close
)

// own takes p over. It is the owner's first act: nobody else knows h yet.
func (h *handle[P]) own(p P) {
	liveHandles.Add(1)
	h.p = p
	// The net, not the plan: tests count what falls in it.
	h.cleanup = runtime.AddCleanup(h, func(p P) {
		caughtHandles.Add(1)
		liveHandles.Add(-1)
		p.free()
	}, p)
}

// closed is asked with mu held.
func (h *handle[P]) closed() bool {
	var zero P
	return h.p == zero
}

// close frees at once, with mu held. A second close finds nothing to do.
func (h *handle[P]) close() {
	if h.closed() {
		return
	}
	h.cleanup.Stop()
	p := h.p
	var zero P
	h.p = zero
	p.free()
	liveHandles.Add(-1)
}
