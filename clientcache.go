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
	// Put stores s, which the cache then owns, in place of the session for key. A
	// nil s removes that session, because it has led to a failed handshake.
	Put(key string, s *Session)
}

// SetClientSessionCache makes clients offer sessions from cache, and put there the sessions
// that servers send. A nil cache removes it. A Ctx for servers returns an error.
//
// It is SSL_get1_session and SSL_set_session.
func (c *Ctx) SetClientSessionCache(cache ClientSessionCache) error {
	return c.change(func(libssl.CTX) error {
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

// NewLRUClientSessionCache returns a cache of the capacity most recently used sessions, or
// of 64 if capacity is not positive. Each is kept for 7 days at most. A TLS 1.3 session is
// returned only once, because an observer could link two connections that offer the same
// session.
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
	if !offerable(info, time.Now()) {
		l.remove(e).Close()
		return nil, false
	}
	if info.SingleUse() {
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

// cacheNewSession puts a session that has come into the cache. It calls the cache, and
// is called with no lock held.
func (c *Conn) cacheNewSession() {
	if !c.ssl.takeNewSession() {
		return
	}
	cache, key := c.ssl.sessionCache(c.wire.RemoteAddr())
	if cache == nil {
		return
	}
	if sess, err := c.ssl.Session(); err == nil {
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
