//go:build cgo

package openssl

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/sidctx/openssl/internal/wire"
)

// SealStore returns a store that encrypts sessions with AES-256-GCM before it puts them
// into inner, for stores that others can read or write. The first key encrypts; all keys
// decrypt. To rotate keys, put the new one first and keep the old ones for as long as
// sessions live. At least one key is needed; keys that are zero or repeated are refused.
//
// A session decrypts only under the id that it was put under, which also stands for its
// session id context. Anything else that inner returns becomes [ErrSessionNotFound], and
// leads to a full handshake: inner can lose sessions or return older ones of the same id,
// but it cannot make or change any.
func SealStore(inner SessionStore, keys ...[32]byte) (SessionStore, error) {
	if inner == nil {
		return nil, errors.New("openssl: SealStore: there is no store to seal")
	}
	if len(keys) == 0 {
		return nil, errors.New("openssl: SealStore: give at least one key")
	}
	s := &sealedStore{inner: inner}
	seen := make(map[[32]byte]bool)
	for i, key := range keys {
		switch {
		case key == [32]byte{}:
			return nil, fmt.Errorf("openssl: SealStore: key %d is all zeros", i)
		case seen[key]:
			return nil, fmt.Errorf("openssl: SealStore: key %d repeats one before it", i)
		}
		seen[key] = true
		block, err := aes.NewCipher(key[:])
		if err != nil {
			return nil, fmt.Errorf("openssl: SealStore: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("openssl: SealStore: %w", err)
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// sealedStore puts a version, a random nonce and the sealed session.
type sealedStore struct {
	inner SessionStore
	keys  []cipher.AEAD
}

// sealVersion changes with the form of what is put.
const sealVersion = 1

// sealedUnder is what a sealed session is bound to.
func sealedUnder(id []byte) []byte {
	w := wire.Writer{B: []byte{sealVersion}}
	w.Bytes(id)
	return w.B
}

func (s *sealedStore) Put(ctx context.Context, id, session []byte, expires time.Time) error {
	aead := s.keys[0]
	blob := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(session)+aead.Overhead())
	blob[0] = sealVersion
	rand.Read(blob[1:])
	return s.inner.Put(ctx, id, aead.Seal(blob, blob[1:], session, sealedUnder(id)), expires)
}

func (s *sealedStore) Get(ctx context.Context, id []byte) ([]byte, error) {
	blob, err := s.inner.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	nonce := s.keys[0].NonceSize()
	if len(blob) < 1+nonce || blob[0] != sealVersion {
		return nil, errSealBroken
	}
	for _, aead := range s.keys {
		if session, err := aead.Open(nil, blob[1:1+nonce], blob[1+nonce:], sealedUnder(id)); err == nil {
			return session, nil
		}
	}
	return nil, errSealBroken
}

func (s *sealedStore) Delete(ctx context.Context, id []byte) error { return s.inner.Delete(ctx, id) }
