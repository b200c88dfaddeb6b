//go:build cgo

package openssl

import "sync/atomic"

// slot is a lock that may be held across a wait and whose waiters can give up. It is a
// channel of one with a fast path: an uncontended channel costs more than encrypting a
// small record.
type slot struct {
	state atomic.Int32  // free, held, or held while somebody may be waiting
	wake  chan struct{} // one token: somebody who waits should try again
}

const (
	slotFree = iota
	slotHeld
	slotWaitedFor
)

func (l *slot) tryLock() bool { return l.state.CompareAndSwap(slotFree, slotHeld) }

func (l *slot) lock() { lockUnless[struct{}](l, nil) }

// tryWait is tryLock for one that waits: the holder will send a token to wake when
// it unlocks. Who took a token must call tryWait again, and not tryLock: there may be
// others that wait, and only a lock taken by tryWait wakes them in turn.
func (l *slot) tryWait() bool { return l.state.Swap(slotWaitedFor) == slotFree }

// lockUnless takes the lock, or gives up when stop has something to say.
func lockUnless[T any](l *slot, stop <-chan T) bool {
	if l.tryLock() {
		return true
	}
	for !l.tryWait() {
		select {
		case <-l.wake:
		case <-stop:
			return false
		}
	}
	return true
}

func (l *slot) unlock() {
	if l.state.Swap(slotFree) == slotWaitedFor {
		select {
		case l.wake <- struct{}{}:
		default: // there is a token already
		}
	}
}
