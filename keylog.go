//go:build cgo

package openssl

import (
	"io"
	"reflect"
	"slices"
	"sync"

	"github.com/sidctx/openssl/internal/libssl"
)

// SetKeyLogWriter makes every connection write its secrets to w, in the NSS key log format
// that Wireshark reads. Anyone who can read w can decrypt the connections: use it for
// debugging only. A nil w ends it. A connection that is switched to another Ctx writes to
// the writers of both.
//
// w receives whole lines, in one call at a time even if it is shared by several Ctx. It is
// called on the goroutine of one of the connections, without a lock held. While it
// blocks, that call blocks; lines of other connections are kept, and those beyond 1 MiB are
// dropped. Errors and panics of w are ignored.
//
// It is SSL_CTX_set_keylog_callback.
func (c *Ctx) SetKeyLogWriter(w io.Writer) error {
	return c.change(func(p libssl.CTX) error {
		p.SetKeyLog(w != nil)
		c.logsKeys = w != nil
		keyLogs.mu.Lock()
		defer keyLogs.mu.Unlock()
		c.keyLog = w
		return nil
	})
}

// maxKeyLogWaiting is how many bytes wait for a writer that is busy.
const maxKeyLogWaiting = 1 << 20

// keyLogs is what is to be written to key logs. One for all: a server's and a
// client's Ctx often share the file.
var keyLogs struct {
	mu   sync.Mutex // not held while a writer is called
	busy []*keyLogQueue
}

// keyLogQueue is what waits for a writer that is being called, or for others that
// must not be called at once with it.
type keyLogQueue struct {
	w       io.Writer
	waiting []keyLogLines
	bytes   int // of waiting
}

type keyLogLines struct {
	w     io.Writer
	lines []byte
}

// hasKeyLogWriter reports whether SetKeyLogWriter has set one.
func (c *Ctx) hasKeyLogWriter() bool {
	keyLogs.mu.Lock()
	defer keyLogs.mu.Unlock()
	return c.keyLog != nil
}

// writeKeyLog hands the lines of a connection to the writer of the Ctx that it was made
// from and to that of the Ctx in force, once if it is the same.
func writeKeyLog(lines []byte, first, c *Ctx) {
	keyLogs.mu.Lock()
	defer keyLogs.mu.Unlock()
	if first.keyLog != nil {
		queueKeyLogLocked(lines, first.keyLog)
	}
	if c.keyLog != nil && (first.keyLog == nil || !sameWriter(c.keyLog, first.keyLog)) {
		queueKeyLogLocked(lines, c.keyLog)
	}
}

// queueKeyLogLocked hands lines to a writer, or leaves them to the goroutine that is
// calling it. keyLogs.mu is held.
func queueKeyLogLocked(lines []byte, w io.Writer) {
	l := &keyLogs
	i := slices.IndexFunc(l.busy, func(q *keyLogQueue) bool { return sameWriter(q.w, w) })
	if i >= 0 {
		l.busy[i].add(keyLogLines{w, lines})
		return
	}
	q := &keyLogQueue{w: w}
	q.add(keyLogLines{w, lines})
	l.busy = append(l.busy, q)
	q.write()
}

func (q *keyLogQueue) add(k keyLogLines) {
	if q.bytes+len(k.lines) <= maxKeyLogWaiting {
		q.waiting = append(q.waiting, k)
		q.bytes += len(k.lines)
	}
}

// write calls the writer until nothing waits.
func (q *keyLogQueue) write() {
	defer func() {
		if len(q.waiting) > 0 { // the writer ends this goroutine, which others have left their lines to
			q.write()
			return
		}
		keyLogs.busy = slices.DeleteFunc(keyLogs.busy, func(b *keyLogQueue) bool { return b == q })
	}()
	for len(q.waiting) > 0 {
		next := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.bytes -= len(next.lines)
		callKeyLogWriter(next)
	}
}

// callKeyLogWriter calls a writer with keyLogs.mu released. A failure is no
// reason to fail a connection.
func callKeyLogWriter(k keyLogLines) {
	keyLogs.mu.Unlock()
	defer keyLogs.mu.Lock()
	recoverToError("SetKeyLogWriter", func() error {
		_, err := k.w.Write(k.lines)
		return err
	})
}

// sameWriter reports whether two writers must not be called at once. Those that
// cannot be compared are taken for the same if their types are.
func sameWriter(a, b io.Writer) bool {
	switch va, vb := reflect.ValueOf(a), reflect.ValueOf(b); {
	case va.Comparable() != vb.Comparable(): // a type of which some values can be compared
		return false
	case va.Comparable():
		return a == b
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b)
}
