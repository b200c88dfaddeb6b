//go:build cgo

package openssl

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// side is a Read or a Write, by the deadline that it has, and what it does with it.
type side int

const (
	neither side = iota
	reads
	writes
	answers // a Read that sends what it has made
)

// deadline is a moment, in nanoseconds since started on the monotonic clock, 0 for none.
type deadline struct{ at atomic.Int64 }

var started = time.Now()

func (d *deadline) set(t time.Time) {
	const never = 200 * 365 * 24 * time.Hour // about what a Duration holds
	now := time.Now()
	left := t.Sub(now) // by the monotonic clock, or where t has none by the wall's of this moment
	switch at := now.Sub(started) + max(left, -never); {
	case t.IsZero() || left > never:
		d.at.Store(0)
	case at == 0:
		d.at.Store(1)
	default:
		d.at.Store(int64(at))
	}
}

func (d *deadline) isSet() bool { return d.at.Load() != 0 }

// time is zero for none.
func (d *deadline) time() time.Time {
	at := d.at.Load()
	if at == 0 {
		return time.Time{}
	}
	now := time.Now()
	return now.Add(time.Duration(at) - now.Sub(started))
}

func (d *deadline) passed() bool {
	at := d.at.Load()
	return at != 0 && time.Since(started) >= time.Duration(at)
}

// SetDeadline sets the deadlines of Read and Write. After a deadline was exceeded the
// connection can be used again with a new one; no data is lost.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetDeadline, true, true)
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetReadDeadline, true, false)
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetWriteDeadline, false, true)
}

func (c *Conn) setDeadline(t time.Time, set func(net.Conn, time.Time) error, read, write bool) error {
	if c.missing() {
		return errNilConn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() {
		return net.ErrClosed // Close has set its own
	}
	if read {
		c.readUntil.set(t)
	}
	if write {
		c.writeUntil.set(t)
	}
	c.wakeLocked()
	defer c.wakeReader() // by now it may be able to send
	if c.driver != neither {
		return c.boundLocked()
	}
	return set(c.wire, t)
}

// wakeLocked has those that wait for one of c's locks look at their deadline again.
func (c *Conn) wakeLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// boundLocked sets the deadlines of the net.Conn to those that were set; in a handshake
// to that of the call which does it, in both directions: others wait for it with their own.
func (c *Conn) boundLocked() error {
	read, write := c.readUntil.time(), c.writeUntil.time()
	c.bounded = c.driver != neither
	switch c.driver {
	case reads:
		write = read
	case writes:
		read = write
	case answers: // a Write may wait for it
		write = earlier(write, read)
	}
	if err := c.wire.SetReadDeadline(read); err != nil {
		return err
	}
	return c.wire.SetWriteDeadline(write)
}

// earlier is the earlier of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// drive says that the call of that side begins to work in both directions of the
// wire, a Write that does the handshake for one, or with neither that it has ended.
func (c *Conn) drive(by side) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.driver = by
	if c.closing.Load() {
		return // Close has set the wire's deadlines
	}
	if c.bounded || by != neither && (c.readUntil.isSet() || c.writeUntil.isSet()) {
		c.boundLocked()
	}
}

// wait waits until got has something to say, or with the reason why it must not
// go on: ctx has ended, the deadline of that side has passed, c is closed.
func (c *Conn) wait(ctx context.Context, got <-chan struct{}, by side) error {
	for {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		var passed <-chan time.Time
		if until := c.deadline(by); until != nil {
			if err := c.checkOpen(until); err != nil {
				return err
			}
			if until.isSet() {
				passed = time.After(time.Until(until.time()))
			}
		} else if c.closing.Load() {
			return net.ErrClosed
		}
		select {
		case <-got:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-passed:
		case <-changed:
		}
	}
}

// deadline is the one of a side, nil for neither.
func (c *Conn) deadline(by side) *deadline {
	switch by {
	case reads:
		return &c.readUntil
	case writes:
		return &c.writeUntil
	}
	return nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// lock takes one of c's locks for a call of that side, unless there is a reason not to
// wait for it.
func (c *Conn) lock(ctx context.Context, l *tryMutex, by side) error {
	if l.tryLock() {
		return nil
	}
	turn := l.queue()
	if turn == nil {
		return nil
	}
	err := c.wait(ctx, turn, by)
	if err != nil {
		l.leave(turn)
	}
	return err
}
