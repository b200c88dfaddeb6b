//go:build cgo

package openssl

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// SessionCacheMode tells which sessions libssl keeps. The values are OpenSSL's bits and can
// be combined.
type SessionCacheMode int

const (
	SessionCacheOff              SessionCacheMode = libssl.SSL_SESS_CACHE_OFF
	SessionCacheClient           SessionCacheMode = libssl.SSL_SESS_CACHE_CLIENT
	SessionCacheServer           SessionCacheMode = libssl.SSL_SESS_CACHE_SERVER
	SessionCacheBoth             SessionCacheMode = libssl.SSL_SESS_CACHE_BOTH
	SessionCacheNoAutoClear      SessionCacheMode = libssl.SSL_SESS_CACHE_NO_AUTO_CLEAR
	SessionCacheNoInternalLookup SessionCacheMode = libssl.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP
	SessionCacheNoInternalStore  SessionCacheMode = libssl.SSL_SESS_CACHE_NO_INTERNAL_STORE
	SessionCacheNoInternal       SessionCacheMode = libssl.SSL_SESS_CACHE_NO_INTERNAL
	SessionCacheUpdateTime       SessionCacheMode = libssl.SSL_SESS_CACHE_UPDATE_TIME
)

// SetSessionCacheMode sets which sessions libssl keeps in memory. A server keeps those that
// clients resume by id. Tickets need no cache: they are resumed with SessionCacheOff, too.
// On failure the previous mode remains in force.
//
// It is SSL_CTX_set_session_cache_mode.
func (c *Ctx) SetSessionCacheMode(m SessionCacheMode) error {
	const known = SessionCacheBoth | SessionCacheNoAutoClear | SessionCacheNoInternal | SessionCacheUpdateTime
	if m&^known != 0 {
		return fmt.Errorf("openssl: SSL_CTX_set_session_cache_mode: %#x is no session cache mode", int(m))
	}
	return c.change(func(p libssl.CTX) error {
		if c.store != nil && m&storeCacheMode != storeCacheMode {
			return errors.New("openssl: SSL_CTX_set_session_cache_mode: sessions are kept in a store alone: " +
				"give SessionCacheServer|SessionCacheNoInternal, or end the store with SetSessionStore(nil)")
		}
		p.SetCacheMode(int(m))
		c.listenOnly = append(c.listenOnly, "SetSessionCacheMode")
		return nil
	})
}

// SessionCacheMode returns the mode in force. It returns SessionCacheOff if c is closed.
//
// It is SSL_CTX_get_session_cache_mode.
func (c *Ctx) SessionCacheMode() (m SessionCacheMode) {
	c.use(func(p libssl.CTX) error {
		m = SessionCacheMode(p.CacheMode())
		return nil
	})
	return m
}

// SetSessionCacheSize limits the number of sessions that libssl keeps. The default is
// 20,480. OpenSSL 3.0 and later keep one less than n, or 1 if n is 1. 0 means no limit.
//
// It is SSL_CTX_sess_set_cache_size.
func (c *Ctx) SetSessionCacheSize(n int) error {
	if n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("openssl: SSL_CTX_sess_set_cache_size: %d is no size of a cache", n)
	}
	return c.change(func(p libssl.CTX) error {
		p.SetCacheSize(n)
		c.listenOnly = append(c.listenOnly, "SetSessionCacheSize")
		return nil
	})
}

// SetSessionTimeout sets how long the sessions of a server may be resumed, in whole seconds
// from 1 to 2^31-1. The default is two hours. On failure the previous timeout remains in
// force.
//
// It is SSL_CTX_set_timeout.
func (c *Ctx) SetSessionTimeout(d time.Duration) error {
	if d < time.Second || d%time.Second != 0 || d/time.Second > math.MaxInt32 {
		return fmt.Errorf("openssl: SSL_CTX_set_timeout: %v is not a number of seconds between 1 and 2^31-1", d)
	}
	return c.change(func(p libssl.CTX) error {
		p.SetTimeout(int64(d / time.Second))
		c.listenOnly = append(c.listenOnly, "SetSessionTimeout")
		return nil
	})
}

// SetNumTickets sets how many session tickets a TLS 1.3 server sends after a full
// handshake, from 0 to 255. The default is 2. After a resumption it sends one.
//
// It is SSL_CTX_set_num_tickets.
func (c *Ctx) SetNumTickets(n int) error {
	if n < 0 || n > 255 {
		return fmt.Errorf("openssl: SSL_CTX_set_num_tickets: %d is not between 0 and 255", n)
	}
	return c.change(func(p libssl.CTX) error {
		c.listenOnly = append(c.listenOnly, "SetNumTickets")
		return asError(p.SetNumTickets(n))
	})
}

// FlushSessions removes from libssl's cache the sessions that have expired at t. It may be
// called on a Ctx in use.
//
// It is SSL_CTX_flush_sessions.
func (c *Ctx) FlushSessions(t time.Time) error {
	at := t.Unix()
	if at <= 0 || at > math.MaxInt32 && math.MaxInt == math.MaxInt32 {
		// 0 would flush everything, whatever the time.
		return fmt.Errorf("openssl: SSL_CTX_flush_sessions: %v is before 1970 or after what libssl can say", t)
	}
	return c.use(func(p libssl.CTX) error {
		p.Flush(at)
		return nil
	})
}

// SessionCounters holds libssl's own counters, SSL_CTX_sess_number to
// SSL_CTX_sess_cache_full. A session of another context counts neither as a hit nor as a
// miss. A Ctx that connections are switched to counts only accepts.
type SessionCounters struct {
	Number                     int64 // in the cache now
	Connect, ConnectGood       int64
	Accept, AcceptGood         int64
	Hits, CallbackHits, Misses int64
	Timeouts, CacheFull        int64
}

// Stats holds the counters of a Ctx.
type Stats struct {
	SessionCounters

	// Store holds the counters of the session store.
	Store StoreStats

	// ResumptionsRefused counts the resumptions that libssl accepted and this
	// package refused.
	ResumptionsRefused int64

	// Resumptions counts each complete handshake once, by its Resumption, on the Ctx
	// that the connection was made from.
	Resumptions map[Resumption]int64
}

const resumptionKinds = int(ResumptionPSK) + 1

// Stats returns the counters of c since it was made. They are zero if c is closed. It may
// be called on a Ctx in use.
//
// It is SSL_CTX_sess_number and its relatives.
func (c *Ctx) Stats() (stats Stats) {
	stats.Resumptions = make(map[Resumption]int64)
	c.use(func(p libssl.CTX) error {
		stats.SessionCounters = SessionCounters(p.Counters())
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

// String returns a description of r.
func (r Resumption) String() string {
	names := [resumptionKinds]string{"not offered", "resumed", "context mismatch", "not found", "expired", "undecryptable", "other", "PSK"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("Resumption(%d)", int(r))
	}
	return names[r]
}
