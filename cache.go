//go:build cgo

package openssl

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"time"
)

// What may be remembered: the session cache of a server, which is libssl's, and
// that of a client, which is the program's.

// SetSessionCacheMode says which sessions libssl keeps in memory. A server
// keeps those that it may be asked for by id; tickets need no cache and are
// resumed with SessionCacheOff, too.
//
// It is SSL_CTX_set_session_cache_mode.
func (c *Ctx) SetSessionCacheMode(m SessionCacheMode) error {
	const known = SessionCacheBoth | SessionCacheNoAutoClear | SessionCacheNoInternal | SessionCacheUpdateTime
	if m&^known != 0 {
		return fmt.Errorf("openssl: SSL_CTX_set_session_cache_mode: %#x is no session cache mode", int(m))
	}
	return c.change(func(p ctxPtr) error {
		if c.store != nil && m&storeCacheMode != storeCacheMode {
			return errors.New("openssl: SSL_CTX_set_session_cache_mode: sessions are kept in a store alone: " +
				"give SessionCacheServer|SessionCacheNoInternal, or end the store with SetSessionStore(nil)")
		}
		p.setCacheMode(m)
		c.listenOnly = append(c.listenOnly, "SetSessionCacheMode")
		return nil
	})
}

// SessionCacheMode is the mode in force, SessionCacheOff if the Ctx is closed.
//
// It is SSL_CTX_get_session_cache_mode.
func (c *Ctx) SessionCacheMode() (m SessionCacheMode) {
	c.use(func(p ctxPtr) error {
		m = p.cacheMode()
		return nil
	})
	return m
}

// SetSessionCacheSize bounds the sessions that libssl keeps; its default is
// 20,480. OpenSSL 3.0 and later keep one less than n, except that 1 keeps 1. 0
// is OpenSSL's word for no bound.
//
// It is SSL_CTX_sess_set_cache_size.
func (c *Ctx) SetSessionCacheSize(n int) error {
	if n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("openssl: SSL_CTX_sess_set_cache_size: %d is no size of a cache", n)
	}
	return c.change(func(p ctxPtr) error {
		p.setCacheSize(n)
		c.listenOnly = append(c.listenOnly, "SetSessionCacheSize")
		return nil
	})
}

// SetSessionTimeout says how long a session that a server makes may be resumed,
// in whole seconds, from 1 to 2^31-1; the default is two hours.
//
// It is SSL_CTX_set_timeout.
func (c *Ctx) SetSessionTimeout(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 || d/time.Second > math.MaxInt32 {
		return fmt.Errorf("openssl: SSL_CTX_set_timeout: %v is not a number of seconds between 1 and 2^31-1", d)
	}
	return c.change(func(p ctxPtr) error {
		p.setTimeout(int64(d / time.Second))
		c.listenOnly = append(c.listenOnly, "SetSessionTimeout")
		return nil
	})
}

// SetNumTickets says how many session tickets a TLS 1.3 server sends after a
// full handshake, 0 to 255; the default is 2. A resumption sends one.
//
// It is SSL_CTX_set_num_tickets.
func (c *Ctx) SetNumTickets(n int) error {
	if n < 0 || n > 255 {
		return fmt.Errorf("openssl: SSL_CTX_set_num_tickets: %d is not between 0 and 255", n)
	}
	return c.change(func(p ctxPtr) error {
		c.listenOnly = append(c.listenOnly, "SetNumTickets")
		return p.setNumTickets(n)
	})
}

// FlushSessions takes out of the cache what has expired at t.
//
// It is SSL_CTX_flush_sessions.
func (c *Ctx) FlushSessions(t time.Time) error {
	at := t.Unix()
	if at <= 0 || at > math.MaxInt32 && math.MaxInt == math.MaxInt32 {
		// 0 would flush everything, whatever the time.
		return fmt.Errorf("openssl: SSL_CTX_flush_sessions: %v is before 1970 or after what libssl can say", t)
	}
	return c.use(func(p ctxPtr) error {
		p.flush(at)
		return nil
	})
}

// SessionCounters are libssl's own, SSL_CTX_sess_number to
// SSL_CTX_sess_cache_full. A mismatch of contexts counts neither as a hit nor as
// a miss. After a switch to another Ctx only accepts are counted there.
type SessionCounters struct {
	Number                                   int64 // in the cache now
	Connect, ConnectGood, ConnectRenegotiate int64
	Accept, AcceptGood, AcceptRenegotiate    int64
	Hits, CallbackHits, Misses               int64
	Timeouts, CacheFull                      int64
}

// Stats is what a Ctx has counted.
type Stats struct {
	SessionCounters

	// Store is what the session store has done.
	Store StoreStats

	// ResumptionsRefused counts those that libssl made and this package refused.
	ResumptionsRefused int64

	// Resumptions counts each finished handshake once, by its Resumption, at
	// the Ctx that the connection was made from.
	Resumptions map[Resumption]int64
}

const resumptionKinds = int(ResumptionOther) + 1

// Stats is what c has counted since it was made, zero if it is closed.
//
// It is SSL_CTX_sess_number and its kin.
func (c *Ctx) Stats() (stats Stats) {
	stats.Resumptions = make(map[Resumption]int64)
	c.use(func(p ctxPtr) error {
		stats.SessionCounters = p.counters()
		if c.store != nil {
			stats.Store = c.store.stats()
		}
		stats.ResumptionsRefused = c.refused.Load()
		for kind := range c.resumptions {
			if n := c.resumptions[kind].Load(); n != 0 {
				stats.Resumptions[Resumption(kind)] = n
			}
		}
		return nil
	})
	return stats
}

// String names the resumption's outcome.
func (r Resumption) String() string {
	names := [resumptionKinds]string{"not offered", "resumed", "context mismatch", "not found", "expired", "undecryptable", "other"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("Resumption(%d)", int(r))
	}
	return names[r]
}

// ---- clients ----

// ClientSessionCache remembers a client's sessions. The key tells connections
// apart that must not share them: host, port, whom the Ctx trusts and who it
// says it is. Both methods are called from any goroutine.
type ClientSessionCache interface {
	// Get hands a session out; the connection that asked for it closes it. To
	// keep it as well, hand out a Clone.
	Get(key string) (*Session, bool)
	// Put takes a session over, in the place of what has the same key. A nil
	// session takes that out: it has led to a failed handshake.
	Put(key string, s *Session)
}

// SetClientSessionCache has a client offer sessions from cache and put there
// what servers send. nil ends it.
//
// It is SSL_get1_session and SSL_set_session.
func (c *Ctx) SetClientSessionCache(cache ClientSessionCache) error {
	return c.change(func(ctxPtr) error {
		if c.server {
			return errors.New("openssl: a client session cache is for clients: this Ctx was made by NewServerCtx")
		}
		c.sessions = cache
		return nil
	})
}

// maxClientLifetime is RFC 8446's bound for what a server may promise; not
// every libssl holds a client to it.
const maxClientLifetime = 7 * 24 * time.Hour

// NewLRUClientSessionCache keeps the capacity most recently used sessions, 64
// if capacity is not positive, each for 7 days at most. A TLS 1.3 session is
// handed out once: offering it twice would let an observer link the
// connections.
func NewLRUClientSessionCache(capacity int) ClientSessionCache {
	if capacity <= 0 {
		capacity = 64
	}
	return &lruCache{capacity: capacity, byKey: make(map[string]*list.Element), order: list.New()}
}

type lruCache struct {
	mu       sync.Mutex
	capacity int
	byKey    map[string]*list.Element
	order    *list.List // of *lruEntry, the most recently used first
}

type lruEntry struct {
	key     string
	session *Session
}

func (l *lruCache) Put(key string, s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		l.remove(e).Close()
	}
	if s == nil {
		return
	}
	l.byKey[key] = l.order.PushFront(&lruEntry{key, s})
	if l.order.Len() > l.capacity {
		l.remove(l.order.Back()).Close()
	}
}

func (l *lruCache) Get(key string) (*Session, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		return nil, false
	}
	s := e.Value.(*lruEntry).session
	info := s.info()
	if !info.offerable(time.Now()) {
		l.remove(e).Close()
		return nil, false
	}
	if info.singleUse() {
		return l.remove(e), true
	}
	l.order.MoveToFront(e)
	clone, err := s.Clone()
	return clone, err == nil
}

func (l *lruCache) remove(e *list.Element) *Session {
	entry := l.order.Remove(e).(*lruEntry)
	delete(l.byKey, entry.key)
	return entry.session
}

// offerable says whether offering the session can lead anywhere. Its time may be
// any number that stood in DER.
func (i sessionInfo) offerable(now time.Time) bool {
	made := i.time.Unix()
	return i.resumable && made >= 0 && now.Unix()-made < int64(min(i.timeout, maxClientLifetime)/time.Second)
}

// fingerprint is a running hash of what has been configured, in order.
type fingerprint [sha256.Size]byte

func (f *fingerprint) add(parts ...string) {
	h := sha256.New()
	h.Write(f[:])
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Sum(f[:0])
}

// cachedUnder is where a client's connection looks for a session and keeps one:
// the cache, nil without one, and a key that tells its connections apart from those to
// somebody else, or of somebody else.
func (c *Conn) cachedUnder() (cache ClientSessionCache, key string) {
	s := c.ssl
	if s.lock() != nil {
		return nil, ""
	}
	defer s.unlock()
	if s.ctx.sessions == nil {
		return nil, ""
	}
	host, port, err := net.SplitHostPort(c.wire.RemoteAddr().String())
	if err != nil {
		host = c.wire.RemoteAddr().String()
	}
	if s.name != "" {
		host = strings.ToLower(s.name)
	}
	who := s.ctx.fingerprint
	who.add("session id context", string(s.sidCtx.bytes()))
	return s.ctx.sessions, net.JoinHostPort(host, port) + " " + hex.EncodeToString(who[:])
}

// offerCached has a client that was given no session offer one of the cache's.
func (c *Conn) offerCached() {
	if !c.ssl.mayOffer() {
		return
	}
	cache, key := c.cachedUnder()
	if cache == nil {
		return
	}
	var sess *Session
	contained("ClientSessionCache.Get", func() error { // a panic finds nothing
		sess, _ = cache.Get(key)
		return nil
	})
	if sess == nil {
		return
	}
	defer sess.Close()
	if sess.info().offerable(time.Now()) {
		c.ssl.SetSession(sess) // one that cannot be offered costs a full handshake
	}
}

// keepFresh puts a session that has come into the cache. It calls the cache, and
// is called with no lock held.
func (c *Conn) keepFresh() {
	if !c.ssl.takeFresh() {
		return
	}
	cache, key := c.cachedUnder()
	if cache == nil {
		return
	}
	if sess, err := c.ssl.Session(); err == nil {
		putCached(cache, key, sess)
	}
}

// dropCached takes out what has led to a failed handshake. It is called with no
// lock held.
func (c *Conn) dropCached() {
	if cache, key := c.cachedUnder(); cache != nil && c.ssl.hasOffered() {
		putCached(cache, key, nil)
	}
}

// putCached calls Put, whose panic costs the session.
func putCached(cache ClientSessionCache, key string, sess *Session) {
	err := contained("ClientSessionCache.Put", func() error {
		cache.Put(key, sess)
		return nil
	})
	if err != nil && sess != nil {
		sess.Close()
	}
}

// mayOffer says whether a client has a cache and can still offer a session of it.
func (s *SSL) mayOffer() bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.ctx.sessions != nil && s.offered == nil && !s.decided
}

func (s *SSL) hasOffered() bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
	return s.offered != nil
}

// takeFresh says whether a session has come that is to be put into the cache.
func (s *SSL) takeFresh() bool {
	if s.lock() != nil {
		return false
	}
	defer s.unlock()
	fresh := s.fresh && s.ctx.sessions != nil
	s.fresh = false
	return fresh
}
