//go:build cgo

package openssl

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// What may be remembered: the session cache of a server, which is libssl's, and
// that of a client, which is the program's.

// SessionCacheMode says which sessions libssl keeps. The values are OpenSSL's
// bits and may be combined.
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

// SessionCacheMode is the mode in force, SessionCacheOff if the Ctx is closed.
//
// It is SSL_CTX_get_session_cache_mode.
func (c *Ctx) SessionCacheMode() (m SessionCacheMode) {
	c.use(func(p libssl.CTX) error {
		m = SessionCacheMode(p.CacheMode())
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
	return c.change(func(p libssl.CTX) error {
		p.SetCacheSize(n)
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
	return c.change(func(p libssl.CTX) error {
		p.SetTimeout(int64(d / time.Second))
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
	return c.change(func(p libssl.CTX) error {
		c.listenOnly = append(c.listenOnly, "SetNumTickets")
		return asError(p.SetNumTickets(n))
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
	return c.use(func(p libssl.CTX) error {
		p.Flush(at)
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

// String names the resumption's outcome.
func (r Resumption) String() string {
	names := [resumptionKinds]string{"not offered", "resumed", "context mismatch", "not found", "expired", "undecryptable", "other"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("Resumption(%d)", int(r))
	}
	return names[r]
}
