//go:build cgo

package openssl

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// SessionStore keeps a server's sessions outside the process. Its methods are
// called from many goroutines. A store may forget whatever it likes whenever it
// likes: a session that is not found costs a full handshake. What it returns is
// taken for genuine; see [SealStore] for one that cannot be trusted.
type SessionStore interface {
	// Put keeps session under id until it expires. The id is a hash of the
	// session id context and the session id, so that one context's lookup
	// never names another's session.
	Put(ctx context.Context, id, session []byte, expires time.Time) error
	// Get returns what was put under id, or ErrSessionNotFound.
	Get(ctx context.Context, id []byte) ([]byte, error)
	// Delete forgets id; one that is not there is no error.
	Delete(ctx context.Context, id []byte) error
}

// SetSessionStore has a server keep its sessions in store and nowhere else:
// libssl's own cache is off. The store is asked while the ClientHello is
// suspended, never from C. nil ends it.
//
// It is SSL_CTX_sess_set_new_cb and SSL_CTX_sess_set_get_cb with
// SSL_SESS_CACHE_NO_INTERNAL.
func (c *Ctx) SetSessionStore(store SessionStore) error {
	return c.change(func(p ctxPtr) error {
		if !c.server {
			return errors.New("openssl: a session store is for servers: this Ctx was made by NewClientCtx")
		}
		c.listenOnly = append(c.listenOnly, "SetSessionStore")
		p.useStore()
		c.store = store
		return nil
	})
}

// storeTimeout bounds what a store can add to a handshake.
const storeTimeout = 250 * time.Millisecond

// storeID names a session in a store.
func storeID(sidCtx, id []byte) []byte {
	h := sha256.New()
	h.Write([]byte{byte(len(sidCtx))})
	h.Write(sidCtx)
	h.Write(id)
	return h.Sum(nil)
}

// askStore looks for what the client wants to resume. Whatever goes wrong, the
// handshake goes on without.
func (c *Conn) askStore(ctx context.Context) {
	store := c.ssl.first.store
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, id := range c.ssl.OfferedSessionIDs() {
		if der, err := store.Get(ctx, storeID(c.ssl.SessionIDContext(), id)); err == nil {
			c.ssl.AnswerSession(der)
		}
	}
}

// storeMade puts the sessions of a handshake into the store.
func (c *Conn) storeMade() {
	store := c.ssl.first.store
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	for _, made := range c.ssl.takeMade() {
		store.Put(ctx, storeID(made.sidCtx, made.id), made.der, made.expires)
	}
}

func (s *SSL) takeMade() []madeSession {
	if s.lock() != nil {
		return nil
	}
	defer s.h.mu.Unlock()
	made, _ := s.h.p.madeSessions() // without memory for them they are not kept
	return made
}
