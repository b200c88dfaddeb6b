//go:build cgo

package openssl

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tryMutex is a mutex that may be held across a wait, whose lock can be given up
// on, and that those who wait get in the order in which they have come: beside a
// writer that leaves no pause a small write is next. Uncontended it is much cheaper
// than a channel with one element.
type tryMutex struct {
	state atomic.Int32 // free, held, or held while others may be waiting

	mu      sync.Mutex // guards waiting, and the state while others may be waiting
	waiting []chan struct{}
}

const (
	lockFree = iota
	lockHeld
	lockWaitedFor
)

func (l *tryMutex) tryLock() bool { return l.state.CompareAndSwap(lockFree, lockHeld) }

// queue takes the lock and returns nil, or returns a channel that delivers when the
// lock is the caller's. One that does not wait for that must call leave.
func (l *tryMutex) queue() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Swap(lockWaitedFor) == lockFree {
		return nil
	}
	turn := make(chan struct{}, 1)
	l.waiting = append(l.waiting, turn)
	return turn
}

// leave gives up on the lock.
func (l *tryMutex) leave(turn <-chan struct{}) {
	l.mu.Lock()
	i := slices.IndexFunc(l.waiting, func(c chan struct{}) bool { return c == turn })
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 { // it was the caller's already
		l.unlock()
	}
}

func (l *tryMutex) unlock() {
	if l.state.CompareAndSwap(lockHeld, lockFree) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.state.Store(lockFree)
		return
	}
	l.waiting[0] <- struct{}{}
	l.waiting = slices.Delete(l.waiting, 0, 1)
}

func (l *tryMutex) lock() {
	if l.tryLock() {
		return
	}
	if turn := l.queue(); turn != nil {
		<-turn
	}
}

// lockUntil takes a lock, or gives up at a time.
func lockUntil(l *tryMutex, until time.Time) bool {
	if l.tryLock() {
		return true
	}
	turn := l.queue()
	if turn == nil {
		return true
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-turn:
		return true
	case <-timer.C:
		l.leave(turn)
		return false
	}
}
