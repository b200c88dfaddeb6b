//go:build cgo

package openssl

import (
	"sync/atomic"
	"time"
)

// tryMutex is a mutex that may be held across a wait, and whose lock can be given
// up on. Uncontended it is much cheaper than a channel with one element.
type tryMutex struct {
	state atomic.Int32  // free, held, or held while others may be waiting
	wake  chan struct{} // one token: one that waits should try again
}

const (
	lockFree = iota
	lockHeld
	lockWaitedFor
)

func (l *tryMutex) tryLock() bool { return l.state.CompareAndSwap(lockFree, lockHeld) }

func (l *tryMutex) lock() { lockUnless[struct{}](l, nil) }

// tryWait is tryLock for one that waits: the holder will send a token to wake when
// it unlocks. After taking a token tryWait must be called again, not tryLock: there
// may be others that wait, and only a lock taken by tryWait wakes them in turn.
func (l *tryMutex) tryWait() bool { return l.state.Swap(lockWaitedFor) == lockFree }

// lockUnless takes the lock, or gives up when stop delivers or is closed.
func lockUnless[T any](l *tryMutex, stop <-chan T) bool {
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

func (l *tryMutex) unlock() {
	if l.state.Swap(lockFree) == lockWaitedFor {
		select {
		case l.wake <- struct{}{}:
		default: // there is a token already
		}
	}
}

// lockUntil takes a lock, or gives up at a time.
func lockUntil(l *tryMutex, until time.Time) bool {
	if l.tryLock() {
		return true
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	return lockUnless(l, timer.C)
}
