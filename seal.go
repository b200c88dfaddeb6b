//go:build cgo

package openssl

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/sidctx/openssl/internal/wire"
)

// SealStore returns a store that encrypts sessions with AES-256-GCM before it puts them
// into inner, for stores that others can read or write. Each session has a key of its own,
// derived from its id with HKDF-SHA256, so that the number of sessions has no bound that a
// random nonce would set. The first of keys encrypts; all keys decrypt. To rotate keys, put
// the new one first and keep the old ones for as long as sessions live. At least one key is
// needed; keys that are zero or repeated are refused. Sessions that an earlier version of
// this package has put in another form are not found.
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
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// sealedStore puts a version, a random nonce and the sealed session.
type sealedStore struct {
	inner SessionStore
	keys  [][32]byte
}

// sealVersion changes with the form of what is put.
const sealVersion = 2

const sealNonce = 12

// sealKeyInfo changes with the way keys are derived, as sealVersion does.
const sealKeyInfo = "github.com/sidctx/openssl sealed session 2"

// sealer seals and opens the sessions of one id: under the key of another id a session
// does not open.
func sealer(key [32]byte, id []byte) (cipher.AEAD, error) {
	var info wire.Writer
	info.Bytes([]byte(sealKeyInfo))
	info.Bytes(id)
	own, err := hkdf.Key(sha256.New, key[:], nil, string(info.B), len(key))
	if err != nil {
		return nil, fmt.Errorf("openssl: SealStore: %w", err)
	}
	defer clear(own)
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, fmt.Errorf("openssl: SealStore: %w", err)
	}
	return cipher.NewGCM(block)
}

func (s *sealedStore) Put(ctx context.Context, id, session []byte, expires time.Time) error {
	aead, err := sealer(s.keys[0], id)
	if err != nil {
		return err
	}
	blob := make([]byte, 1+sealNonce, 1+sealNonce+len(session)+aead.Overhead())
	blob[0] = sealVersion
	rand.Read(blob[1:])
	return s.inner.Put(ctx, id, aead.Seal(blob, blob[1:], session, nil), expires)
}

func (s *sealedStore) Get(ctx context.Context, id []byte) ([]byte, error) {
	blob, err := s.inner.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(blob) < 1+sealNonce || blob[0] != sealVersion {
		return nil, errSealBroken
	}
	for _, key := range s.keys {
		aead, err := sealer(key, id)
		if err != nil {
			return nil, err
		}
		if session, err := aead.Open(nil, blob[1:1+sealNonce], blob[1+sealNonce:], nil); err == nil {
			return session, nil
		}
	}
	return nil, errSealBroken
}

func (s *sealedStore) Delete(ctx context.Context, id []byte) error { return s.inner.Delete(ctx, id) }
