// Package redisstore keeps TLS sessions in Redis or Valkey, for servers that
// share them. It is an [openssl.SessionStore] over any client of
// github.com/redis/go-redis/v9: single, Sentinel or Cluster.
//
//	engine := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.internal:6379"},
//		ContextTimeoutEnabled: true, // else go-redis waits by its own timeouts
//	})
//	store, err := openssl.SealStore(redisstore.New(engine, redisstore.Options{}), key)
//	…
//	err = c.SetSessionIDContext([]byte("shop")) // keeps its sessions apart from those of other services
//	err = c.SetOptions(openssl.OptionNoTicket)  // otherwise clients get tickets
//	err = c.SetSessionStore(store)
//
// An engine that cannot be reached is no error of a connection, which makes a full handshake:
// ping it when the program starts, and watch [openssl.Stats].Store.
//
// Anyone who can read the engine can resume the sessions in it, and anyone who can write
// to it decides what is resumed. Wrap the store in [openssl.SealStore] unless the engine
// and the network to it are trusted like the servers.
//
// # The way of a session
//
//	client                    server A                    Redis, Valkey
//	  │ ClientHello ─────────────►│                             │
//	  │ ◄──── full handshake ────►│                             │
//	  │ ◄──────────── session id ─│ SET hash session EX left ──►│  behind the handshake, from a
//	  │                           │                             │  bounded queue
//	  │                       server B, of the same context     │
//	  │ ClientHello, session id ─►│                             │
//	  │                           ║ GET hash ──────────────────►│  while the ClientHello is
//	  │                           ║ ◄────────────────── session │  suspended; 250 ms at most
//	  │ ◄─── short handshake ────►│                             │
//	  │ ◄────────── TLS 1.3: new ─│ SET hash session EX left ──►│
//	  │                       server C, of another context      │
//	  │ ClientHello, session id ─►│                             │
//	  │                           ║ GET another hash ──────────►│  the hash is of context and id
//	  │                           ║ ◄────────────────── nothing │
//	  │ ◄──── full handshake ────►│                             │
//
// Connections do not depend on the engine: without an answer, or with a wrong one, the
// handshake is a full one. After several failures in a row the engine is not called for
// a second.
//
// # Sizing
//
// With f full and r resumed handshakes a second, a lifetime of t seconds
// ([openssl.Ctx.SetSessionTimeout]), n session tickets after a full handshake
// ([openssl.Ctx.SetNumTickets], 2) and b bytes a session:
//
//	            TLS 1.2      TLS 1.3
//	lookups/s   r            r            and one for each client that offers what is gone
//	puts/s      f            n·f + r
//	sessions    f·t          (n·f + r)·t
//	memory      sessions · b
//
// b is what the engine needs (MEMORY USAGE): 264 bytes for a session of 150, the size of
// one without a client certificate and without a seal. A certificate adds its own
// length, a seal 29 bytes. In TLS 1.3 every resumption brings a session of its
// own, which is why there n = 1 and a short lifetime save most.
//
// A lookup is one round trip to the engine. Over loopback, with client, server and
// Redis 7.0 on two cores that had other work, a resumed handshake took
//
//	            libssl's cache        this store            added
//	            p50       p99         p50       p99         p50      p99
//	TLS 1.2     279 µs    0.8 ms      413 µs    1.6 ms      134 µs   0.8 ms
//	TLS 1.3     594 µs    1.2 ms      715 µs    3.0 ms      121 µs   1.8 ms
//
// which BenchmarkResumption measures anew. Over a network its round trip comes on
// top, once for each resumed handshake.
package redisstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sidctx/openssl"
)

// Options configure a store. The zero value is ready to use.
type Options struct {
	// Prefix is put before every key. Empty means "tls:session:".
	Prefix string
	// SingleUse removes a session when it is looked up, so that it is resumed at most
	// once, by one of the servers. A TLS 1.2 client that offers the same session again
	// gets a full handshake.
	SingleUse bool
}

const defaultPrefix = "tls:session:"

type store struct {
	client redis.UniversalClient
	Options
}

// New returns a store that uses client, which remains the caller's to close. Sessions are
// removed by the engine when they expire. Every call passes its context on; go-redis obeys
// the deadline of it throughout only if its option ContextTimeoutEnabled is set. Without
// that, an engine that does not answer keeps a lookup, but no handshake, waiting for
// go-redis's own timeouts and retries. The methods of the store may be called from any
// goroutine.
func New(client redis.UniversalClient, o Options) openssl.SessionStore {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	return &store{client, o}
}

func (s *store) key(id []byte) string {
	return s.Prefix + base64.RawURLEncoding.EncodeToString(id)
}

// Put is SET with EX.
func (s *store) Put(ctx context.Context, id, session []byte, expires time.Time) error {
	ttl := time.Until(expires).Truncate(time.Second)
	if ttl <= 0 {
		return nil // it is over already
	}
	if err := s.client.Set(ctx, s.key(id), session, ttl).Err(); err != nil {
		return fmt.Errorf("redisstore: SET: %w", err)
	}
	return nil
}

// Get is GET, or GETDEL for single use.
func (s *store) Get(ctx context.Context, id []byte) ([]byte, error) {
	get := s.client.Get
	if s.SingleUse {
		get = s.client.GetDel
	}
	session, err := get(ctx, s.key(id)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, openssl.ErrSessionNotFound
	case err != nil:
		return nil, fmt.Errorf("redisstore: GET: %w", err)
	}
	return session, nil
}

// Delete is DEL.
func (s *store) Delete(ctx context.Context, id []byte) error {
	if err := s.client.Del(ctx, s.key(id)).Err(); err != nil {
		return fmt.Errorf("redisstore: DEL: %w", err)
	}
	return nil
}
