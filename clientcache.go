//go:build cgo

package openssl

import (
	"container/list"
	"errors"
	"sync"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// ClientSessionCache keeps the sessions of clients. A key stands for the host, the port,
// the CAs that the Ctx trusts and the certificate that it presents: connections with
// different keys must not share sessions. The methods may be called from many goroutines at
// once.
type ClientSessionCache interface {
	// Get returns the session for key, which the caller then owns and closes. To
	// keep it as well, return a Clone.
	Get(key string) (*Session, bool)
	// Put stores s, which the cache then owns, for key. A TLS 1.3 server sends several
	// sessions, and each is put. A nil s removes what is stored for key, because it has
	// led to a failed handshake.
	Put(key string, s *Session)
}

// SetClientSessionCache makes clients offer sessions from cache, and put there the sessions
// that servers send. A nil cache removes it. A Ctx for servers returns an error.
//
// It is SSL_CTX_sess_set_new_cb, SSL_get1_session and SSL_set_session.
func (c *Ctx) SetClientSessionCache(cache ClientSessionCache) error {
	return c.change(func(p libssl.CTX) error {
		if c.server {
			return errors.New("openssl: a client session cache is for clients: this Ctx was made by NewServerCtx")
		}
		p.KeepTickets(cache != nil)
		c.sessions = cache
		return nil
	})
}

// maxClientLifetime is RFC 8446's bound for what a server may promise; not
// every libssl holds a client to it.
const maxClientLifetime = 7 * 24 * time.Hour

// maxTickets is how many TLS 1.3 sessions are kept for a key: as many as libssl's servers
// send after a full handshake.
const maxTickets = 2

// NewLRUClientSessionCache returns a cache of the sessions for the capacity most recently
// used keys, or for 64 if capacity is not positive. Each session is kept for 7 days at most.
// A TLS 1.3 session is returned only once, because an observer could link two connections
// that offer the same session; of these the cache keeps the newest two for each key, so that
// two connections that are made at once resume. Of TLS 1.2 it keeps the newest session.
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
	key       string
	sessions  []*Session // one at least, the newest last
	singleUse bool
}

func (l *lruCache) Put(key string, s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	singleUse := s != nil && s.info().SingleUse()
	e, ok := l.byKey[key]
	if ok && !(singleUse && e.Value.(*lruEntry).singleUse) {
		l.removeLocked(e)
		ok = false
	}
	switch {
	case s == nil:
	case ok:
		entry := e.Value.(*lruEntry)
		if len(entry.sessions) == maxTickets {
			entry.sessions[0].Close()
			entry.sessions = entry.sessions[1:]
		}
		entry.sessions = append(entry.sessions, s)
		l.order.MoveToFront(e)
	default:
		l.byKey[key] = l.order.PushFront(&lruEntry{key, []*Session{s}, singleUse})
		if l.order.Len() > l.capacity {
			l.removeLocked(l.order.Back())
		}
	}
}

func (l *lruCache) Get(key string) (*Session, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		return nil, false
	}
	l.order.MoveToFront(e)
	entry := e.Value.(*lruEntry)
	for n := len(entry.sessions) - 1; n >= 0; n-- {
		s := entry.sessions[n]
		usable := offerable(s.info(), time.Now())
		if usable && !entry.singleUse {
			clone, err := s.Clone()
			return clone, err == nil
		}
		if entry.sessions = entry.sessions[:n]; n == 0 {
			l.removeLocked(e)
		}
		if usable {
			return s, true
		}
		s.Close()
	}
	return nil, false
}

// removeLocked takes out a key and closes its sessions.
func (l *lruCache) removeLocked(e *list.Element) {
	entry := l.order.Remove(e).(*lruEntry)
	delete(l.byKey, entry.key)
	for _, s := range entry.sessions {
		s.Close()
	}
}

// offerable reports whether offering the session can lead anywhere. Its time may be
// any number that stood in DER.
func offerable(i libssl.SessionInfo, now time.Time) bool {
	made := i.Time.Unix()
	return i.Resumable && made >= 0 && now.Unix()-made < int64(min(i.Timeout, maxClientLifetime)/time.Second)
}

// offerCachedSession has a client that was given no session offer one of the cache's.
func (c *Conn) offerCachedSession() {
	if !c.ssl.mayOffer() {
		return
	}
	cache, key := c.ssl.sessionCache(c.wire.RemoteAddr())
	if cache == nil {
		return
	}
	var sess *Session
	recoverToError("ClientSessionCache.Get", func() error { // a panic finds nothing
		sess, _ = cache.Get(key)
		return nil
	})
	if sess == nil {
		return
	}
	defer sess.Close()
	if offerable(sess.info(), time.Now()) {
		c.ssl.offerCached(c.wire.RemoteAddr(), key, sess) // one that cannot be offered costs a full handshake
	}
}

// cacheNewSessions puts the sessions that have come into the cache. It calls the cache,
// and is called with no lock held.
func (c *Conn) cacheNewSessions() {
	fresh := c.ssl.takeSessions()
	if len(fresh) == 0 {
		return
	}
	defer func() { // those that are left, where Put has ended the goroutine
		for _, sess := range fresh {
			sess.Close()
		}
	}()
	cache, key := c.ssl.sessionCache(c.wire.RemoteAddr())
	for cache != nil && len(fresh) > 0 {
		sess := fresh[0]
		fresh = fresh[1:]
		putSession(cache, key, sess)
	}
}

// dropCachedSession takes out what has led to a failed handshake. It is called with no
// lock held.
func (c *Conn) dropCachedSession() {
	if cache, key := c.ssl.sessionCache(c.wire.RemoteAddr()); cache != nil && c.ssl.hasOffered() {
		putSession(cache, key, nil)
	}
}

// putSession calls Put. If that does not return, the session is lost.
func putSession(cache ClientSessionCache, key string, sess *Session) {
	taken := false
	defer func() {
		if !taken && sess != nil {
			sess.Close()
		}
	}()
	recoverToError("ClientSessionCache.Put", func() error {
		cache.Put(key, sess)
		taken = true
		return nil
	})
}
