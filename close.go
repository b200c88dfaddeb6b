//go:build cgo

package openssl

import (
	"crypto/tls"
	"io"
	"os"
	"sync/atomic"
	"time"
)

const (
	// A wire that takes what is left at once needs much less than closeGrace, and on a
	// busy machine this goroutine may have to wait for longer before it has tried.
	closeGrace    = time.Millisecond
	closeAttempts = 3

	// Bounds of what goes on after Close has returned.
	lingerTimeout = 5 * time.Second
	lingerBytes   = 64 << 10
	maxLingering  = 256 // connections
)

// lingering is how many connections go on after Close.
var lingering atomic.Int32

// Close closes the connection, and does not wait for the peer. Blocked Reads and Writes
// return [net.ErrClosed] at once. Data that was encrypted is sent, followed by
// close_notify, so that the session can be resumed, as far as the underlying connection
// takes it within a few milliseconds. Then that is closed, and what it has not taken is
// lost. If its deadlines cannot be set, it is closed at once.
//
// To close a socket with unread bytes would destroy what was sent on its way to the peer.
// Where there may be such bytes, because a TLS 1.3 client has read neither data nor a
// session ticket or because this end has refused the connection, Close closes the writing
// side alone, if there is a CloseWrite method. A goroutine reads on and discards until the
// peer closes its end, for at most 5 seconds and 64 KiB, and closes the connection. At most
// 256 connections are closed in that way at the same time.
//
// Close does not wait for the caller's functions: a handshake that is in one of them
// returns [net.ErrClosed] when the function returns. Close may be called more than once.
//
// It is SSL_shutdown and SSL_free.
func (c *Conn) Close() error {
	if c.missing() {
		return errNilConn
	}
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return nil
	}
	c.closing.Store(true)
	if c.cancelHello != nil {
		c.cancelHello()
	}
	cut := c.wire.SetDeadline(time.Unix(1, 0)) != nil // else it wakes blocked calls, which see closing
	c.wakeLocked()
	c.mu.Unlock()

	shaken := c.handshakeDone.Load()
	last, linger := c.ssl.endForConn(shaken)
	if !cut && (shaken || linger) && c.sendLast(&last) == nil && linger {
		if half, ok := c.wire.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		if lingering.Add(1) <= maxLingering {
			go c.linger()
			return nil
		}
		lingering.Add(-1)
	}
	return c.wire.Close()
}

// linger reads what the peer has sent, and closes the wire.
func (c *Conn) linger() {
	defer lingering.Add(-1)
	defer c.wire.Close()
	until := time.Now().Add(lingerTimeout)
	if lockUntil(&c.reading, until) {
		defer c.reading.unlock()
		if c.wire.SetReadDeadline(until) == nil {
			io.CopyN(io.Discard, c.wire, lingerBytes)
		}
	}
}

// sendLast sends what was encrypted before, then last.
func (c *Conn) sendLast(last *buffer) (err error) {
	for range closeAttempts {
		if err = c.trySendLast(last, time.Now().Add(closeGrace)); !isTimeout(err) {
			break
		}
	}
	return err
}

func (c *Conn) trySendLast(last *buffer, until time.Time) error {
	if !lockUntil(&c.writing, until) {
		return os.ErrDeadlineExceeded
	}
	defer c.writing.unlock()
	if c.sendAtOnce(last) {
		return nil
	}
	if err := c.wire.SetWriteDeadline(until); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	c.unsent, *last = *last, buffer{}
	return c.flush()
}

// sendAtOnce sends last if nothing comes before it and a socket takes it without a wait: no
// deadline has to be set then, for which the runtime would wake a thread.
func (c *Conn) sendAtOnce(last *buffer) bool {
	if c.socket.raw == nil || !c.unsent.empty() || c.writeErr != nil || c.ssl.hasOutput.Load() || c.wire.SetWriteDeadline(time.Time{}) != nil {
		return false
	}
	c.socket.tryWrite(last)
	return last.empty()
}

// endForConn frees s. It returns what is still to be sent, which is nothing if there
// has been no handshake, and whether the input must be read to its end before the
// wire is closed. It keeps the session of a connection that has not failed.
func (s *SSL) endForConn(shaken bool) (last buffer, linger bool) {
	s.h.Mu.Lock()
	defer s.unlock()
	if s.h.ClosedLocked() {
		return buffer{}, false
	}
	if shaken && !s.closeNotifySent {
		s.shutdownLocked()
	}
	if s.phase == phaseDone && s.verified && s.fatal == nil && !s.closeNotifySent {
		s.h.P.KeepSession()
	}
	linger = s.phase == phaseRefused || shaken && s.client && !s.gotTicket && !s.gotPlaintext &&
		s.readErr == nil && !s.eof && s.h.P.Version() >= tls.VersionTLS13
	if shaken || linger {
		s.moveOutputLocked(&last)
		for more := (buffer{}); s.moveOutputLocked(&more); more.release() {
			last.append(more.bytes())
		}
	}
	s.forgetStoredLocked()
	s.closeLocked()
	return last, linger
}
