//go:build cgo

package openssl_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// gcm is AES-256-GCM under a key.
func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return aead
}

// What is put is a version, a nonce, and the session under a key that belongs to the
// id alone: the key that was given seals nothing itself.
func TestSealStoreKeyOfEachID(t *testing.T) {
	const infoName = "github.com/sidctx/openssl sealed session 2"
	key := sha256.Sum256([]byte("seal"))
	inner := new(memStore)
	s, err := openssl.SealStore(inner, key)
	must(t, err)
	for _, id := range []string{"", "one id", "another id"} {
		must(t, s.Put(t.Context(), []byte(id), []byte("session"), time.Now().Add(time.Hour)))
		blob, err := inner.find([]byte(id))
		must(t, err)
		if len(blob) != 1+12+len("session")+16 || blob[0] != 2 {
			t.Fatalf("id %q: the store was given % x; want version 2, a nonce of 12 bytes, and 7 bytes sealed", id, blob)
		}
		info := string([]byte{0, 0, 0, 0, 0, 0, 0, byte(len(infoName))}) + infoName + string([]byte{0, 0, 0, 0, 0, 0, 0, byte(len(id))}) + id
		own, err := hkdf.Key(sha256.New, key[:], nil, info, 32)
		must(t, err)
		if got, err := gcm(t, own).Open(nil, blob[1:13], blob[13:], nil); string(got) != "session" || err != nil {
			t.Errorf("id %q: the id's own key opens %q, %v; want the session", id, got, err)
		}
	}
}

// What an earlier version has put is not found: a full handshake, and no failure of
// the store.
func TestSealStoreEarlierForm(t *testing.T) {
	key, id := sha256.Sum256([]byte("seal")), []byte("some id")
	blob := append([]byte{1}, make([]byte, 12)...)
	bound := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, byte(len(id))}, id...)
	blob = gcm(t, key[:]).Seal(blob, blob[1:], []byte("session"), bound)
	inner := new(memStore)
	must(t, inner.Put(t.Context(), id, blob, time.Now().Add(time.Hour)))
	s, err := openssl.SealStore(inner, key)
	must(t, err)
	if got, err := s.Get(context.Background(), id); !errors.Is(err, openssl.ErrSessionNotFound) {
		t.Errorf("a session in the form of version 1: %q, %v; want %v", got, err, openssl.ErrSessionNotFound)
	}
}

// No secret that seals or derives may be all zeros.
func TestZeroSecrets(t *testing.T) {
	zero := make([]byte, 64)
	keys := func(change func(k *openssl.TicketKey)) error {
		server := tlstest.NewServer(t)
		k := tlstest.TicketKey(1)
		change(&k)
		return server.SetTicketKeys(k)
	}
	for what, err := range map[string]error{
		"SealStore": func() error { _, err := openssl.SealStore(new(memStore), [32]byte{}); return err }(),
		"FleetTicketKeys": func() error {
			_, err := openssl.FleetTicketKeys(zero, nil, time.Hour, time.Hour, time.Now())
			return err
		}(),
		"SetFleetTicketKeys":       tlstest.NewServer(t).SetFleetTicketKeys(zero[:32], time.Hour),
		"SetTicketKeys, AES":       keys(func(k *openssl.TicketKey) { k.AES = [32]byte{} }),
		"SetTicketKeys, HMAC":      keys(func(k *openssl.TicketKey) { k.HMAC = [32]byte{} }),
		"SetTicketKeys, the name":  keys(func(k *openssl.TicketKey) { k.Name = [16]byte{} }),
		"SetTicketKeys, all of it": keys(func(k *openssl.TicketKey) { *k = openssl.TicketKey{} }),
	} {
		if err == nil {
			t.Errorf("%s: zeros were taken", what)
			continue
		}
		tlstest.Sentence(t, err, "all zeros")
	}
}
