//go:build cgo

package openssl

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// SessionStore keeps the sessions of a server outside of the process. Its methods are
// called from many goroutines at once. A store may forget any session at any time: a
// session that is not found leads to a full handshake. What Get returns is trusted; see
// [SealStore] for stores that cannot be.
type SessionStore interface {
	// Put stores session under id until it expires. The id is a hash of the session
	// id context and the session id, so that a lookup under one context never finds
	// a session of another.
	Put(ctx context.Context, id, session []byte, expires time.Time) error
	// Get returns the session stored under id, or ErrSessionNotFound.
	Get(ctx context.Context, id []byte) ([]byte, error)
	// Delete removes the session stored under id. It is no error if there is none.
	Delete(ctx context.Context, id []byte) error
}

// SetSessionStore makes a server keep its sessions in store and nowhere else; libssl's own
// cache is disabled. Clients that take tickets get tickets, and store is not used for them:
// call SetOptions(OptionNoTicket) as well, with [Hosts] on each Ctx that is added. store is called while the ClientHello is suspended, outside of C, and
// a handshake waits for it at most 250 ms. New sessions reach it through a bounded queue
// that no handshake waits for. After five lookups in a row, or five other calls, that have
// failed, the store is not called for a second, and again after each further failure until
// such a call succeeds. A failure leads to full handshakes and never to an error of a
// connection. A nil store
// removes the store and restores the session cache mode.
//
// Sessions are deleted after a fatal alert or an unclean end of their connection, not when
// they expire and not when the Ctx is closed.
//
// It is SSL_CTX_sess_set_new_cb and SSL_CTX_sess_set_get_cb with
// SSL_SESS_CACHE_NO_INTERNAL.
func (c *Ctx) SetSessionStore(store SessionStore) error {
	return c.change(func(p libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: a session store is for servers: this Ctx was made by NewClientCtx")
		}
		if store == nil {
			if c.store != nil {
				p.UseStore(false, int(c.modeBeforeStore))
				c.store = nil
			}
			return nil
		}
		if c.store == nil {
			c.modeBeforeStore = SessionCacheMode(p.CacheMode())
		}
		c.listenOnly = append(c.listenOnly, "SetSessionStore")
		p.UseStore(true, int(storeCacheMode))
		c.store = &storeClient{store: store, timeout: storeTimeout}
		return nil
	})
}

// storeCacheMode is the least that a Ctx with a store needs.
const storeCacheMode = SessionCacheServer | SessionCacheNoInternal

// SetSessionStoreTimeout limits how long a handshake waits for the store. The default is
// 250 ms. It returns an error if no store is set.
func (c *Ctx) SetSessionStoreTimeout(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("openssl: SetSessionStoreTimeout: %v is no time to wait", d)
	}
	return c.change(func(libssl.CTX) error {
		if c.store == nil {
			return errors.New("openssl: SetSessionStoreTimeout: there is no store, call SetSessionStore first")
		}
		c.store.timeout = d
		return nil
	})
}

// StoreStats counts what a session store has done for a [Ctx].
type StoreStats struct {
	Hits, Misses int64 // lookups that found a session, or none
	Errors       int64 // calls that failed or panicked
	Timeouts     int64 // calls that took too long
	Refused      int64 // answers that were no session, or did not open
	Skipped      int64 // lookups that were not made because the store had failed several times in a row
	Dropped      int64 // sessions that were not put: the queue was full or the store had failed likewise
}

const (
	storeTimeout   = 250 * time.Millisecond
	storeFailures  = 5           // calls of one kind that fail in a row, before
	storeRest      = time.Second // the store is left alone
	storeShards    = 64          // calls to put and delete at once; those of one id keep their order
	storeQueue     = 64          // that wait, for each shard
	storeAbandoned = 256         // lookups beyond their time that have not come back
)

// storeClient keeps a store's troubles away from handshakes.
type storeClient struct {
	store   SessionStore
	timeout time.Duration

	restUntil atomic.Int64 // in Unix nanoseconds
	abandoned atomic.Int64

	// Failures in a row. A store may answer lookups and take no sessions, or the other
	// way round: the success of one kind says nothing about the other.
	getsFailed, putsFailed atomic.Int64

	shards [storeShards]storeShard

	hits, misses, errors, timeouts, refused, skipped, dropped atomic.Int64
}

// storeShard is calls that wait for the store, in order. Its goroutine lives as
// long as there are any.
type storeShard struct {
	mu      sync.Mutex
	waiting []storeCall
	working bool
}

// storeCall puts a session, or deletes one if session is nil.
type storeCall struct {
	id, session []byte
	expires     time.Time
}

func (s *storeClient) stats() StoreStats {
	return StoreStats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Errors: s.errors.Load(), Timeouts: s.timeouts.Load(),
		Refused: s.refused.Load(), Skipped: s.skipped.Load(), Dropped: s.dropped.Load(),
	}
}

// storeID names a session in a store.
func storeID(sidCtx, id []byte) []byte {
	h := sha256.New()
	h.Write([]byte{byte(len(sidCtx))})
	h.Write(sidCtx)
	h.Write(id)
	return h.Sum(nil)
}

func (s *storeClient) resting() bool { return time.Now().UnixNano() < s.restUntil.Load() }

// failed counts a failure of the store, and leaves it alone for a while if there were
// several in a row.
func (s *storeClient) failed(inARow *atomic.Int64, err error) {
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		s.timeouts.Add(1)
	} else {
		s.errors.Add(1)
	}
	if inARow.Add(1) >= storeFailures {
		s.restUntil.Store(time.Now().Add(storeRest).UnixNano())
	}
}

// get asks the store and comes back when limited ends, also if the store does
// not. A lookup goes on by itself from then on; too many of them, and the store
// is not asked.
func (s *storeClient) get(ctx, limited context.Context, id []byte) (session []byte, ok bool) {
	if s.resting() || s.abandoned.Load() >= storeAbandoned {
		s.skipped.Add(1)
		return nil, false
	}
	type answer struct {
		session []byte
		err     error
	}
	answers := make(chan answer, 1)
	var parted atomic.Bool // one of the two is done with the other
	go func() {
		a := answer{err: errStoreGone} // if Get ends this goroutine
		defer func() {
			answers <- a
			if parted.Swap(true) {
				s.abandoned.Add(-1)
			}
		}()
		a.err = recoverToError("SessionStore.Get", func() (err error) {
			a.session, err = s.store.Get(limited, id)
			return err
		})
	}()
	var a answer
	select {
	case a = <-answers:
	case <-limited.Done():
		a.err = limited.Err()
		if !parted.Swap(true) {
			s.abandoned.Add(1)
		}
	}
	switch {
	case a.err == nil:
	case errors.Is(a.err, errSealBroken):
		s.refused.Add(1)
	case errors.Is(a.err, ErrSessionNotFound):
		s.misses.Add(1)
	case ctx.Err() == nil:
		s.failed(&s.getsFailed, a.err)
		return nil, false
	default: // it is the handshake that was given up
		return nil, false
	}
	s.getsFailed.Store(0)
	return a.session, a.err == nil
}

// later has a call made when the store has time; the oldest that waits is
// dropped for it if too many do.
func (s *storeClient) later(call storeCall) {
	shard := &s.shards[int(call.id[0])%storeShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if len(shard.waiting) == storeQueue {
		shard.waiting = shard.waiting[1:]
		s.dropped.Add(1)
	}
	shard.waiting = append(shard.waiting, call)
	if !shard.working {
		shard.working = true
		go s.work(shard)
	}
}

// work makes the calls that wait and ends.
func (s *storeClient) work(shard *storeShard) {
	idle := false
	defer func() {
		if !idle { // the store has ended this goroutine
			s.failed(&s.putsFailed, errStoreGone)
			go s.work(shard)
		}
	}()
	for {
		shard.mu.Lock()
		if len(shard.waiting) == 0 {
			shard.waiting, shard.working = nil, false
			idle = true
			shard.mu.Unlock()
			return
		}
		call := shard.waiting[0]
		shard.waiting = shard.waiting[1:]
		shard.mu.Unlock()
		if s.resting() {
			s.dropped.Add(1)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		err := recoverToError("SessionStore", func() error {
			if call.session == nil {
				return s.store.Delete(ctx, call.id)
			}
			return s.store.Put(ctx, call.id, call.session, call.expires)
		})
		cancel()
		if err != nil {
			s.failed(&s.putsFailed, err)
		} else {
			s.putsFailed.Store(0)
		}
	}
}

// askStore looks for the session that the client offers, once per handshake and
// within one timeout. Whatever goes wrong, the handshake goes on without.
func (c *Conn) askStore(ctx context.Context) {
	store := c.ssl.store()
	if store == nil || c.storeAsked {
		return
	}
	c.storeAsked = true
	ids := c.ssl.OfferedSessionIDs()
	if len(ids) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, store.timeout)
	defer cancel()
	sidCtx := c.ssl.SessionIDContext()
	for _, id := range ids {
		if limited.Err() != nil { // the store would be blamed twice
			return
		}
		session, ok := store.get(ctx, limited, storeID(sidCtx, id))
		switch {
		case !ok:
		case c.ssl.answerStored(session, id) != nil:
			store.refused.Add(1)
		default:
			store.hits.Add(1)
		}
	}
}

// storeNewSessions puts the sessions of a handshake into the store.
func (c *Conn) storeNewSessions() {
	store := c.ssl.store()
	if store == nil {
		return
	}
	for _, made := range c.ssl.takeNewSessions() {
		store.later(storeCall{storeID(made.SIDCtx, made.ID), made.DER, made.Expires})
	}
}
