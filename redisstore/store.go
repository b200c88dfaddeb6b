// Package redisstore keeps TLS sessions in Redis or Valkey, for servers that
// share them. It is an [openssl.SessionStore] over any client of go-redis:
// single, Sentinel or Cluster.
//
// What it keeps can be resumed by whoever reads it. Put [openssl.SealStore]
// around it unless the engine and the way to it are trusted as the servers are.
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

// Options say how sessions are kept. The zero value is useful.
type Options struct {
	// Prefix stands before every key; empty for "tls:session:".
	Prefix string
	// SingleUse takes a session out when it is looked up, so that it is resumed
	// once at most, by one server of all. A client of TLS 1.2 that comes again
	// with the same session then pays a full handshake.
	SingleUse bool
}

const defaultPrefix = "tls:session:"

type store struct {
	client redis.UniversalClient
	Options
}

// New is a store over client, which stays the caller's to close. Sessions go by
// themselves when they expire. Every call obeys its context; go-redis adds its
// own timeouts and retries, see its options.
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
