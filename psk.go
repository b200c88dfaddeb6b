//go:build cgo

package openssl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// pskTable is what a Ctx or an SSL knows of its PSKs: for each identity a digest of the
// key, which libssl's callbacks have.
type pskTable map[string]libssl.PSKPrint

// use notes a PSK. A client has one.
func (t *pskTable) use(client bool, identity string, print libssl.PSKPrint) {
	if *t == nil || client {
		*t = make(pskTable)
	}
	(*t)[identity] = print
}

// records is the table as what sessions must not cross.
func (t pskTable) records() (list [][]byte) {
	for identity, print := range t {
		var d wire.Writer
		d.Bytes([]byte(identity))
		d.Bytes(print[:])
		list = append(list, d.B)
	}
	return list
}

// checkPSK returns an error for what libssl would not take, or not on both ends.
func checkPSK(identity string, key []byte) error {
	const op = "openssl: UsePSK: "
	switch {
	case identity == "":
		return errors.New(op + "the identity is empty: give the name by which the peer knows the key")
	case strings.IndexByte(identity, 0) >= 0:
		return errors.New(op + "an identity with a NUL byte: TLS 1.2 of OpenSSL ends it there")
	case len(identity) > libssl.MaxPSKIdentity:
		return fmt.Errorf(op+"an identity of %d bytes: the linked OpenSSL takes at most %d", len(identity), libssl.MaxPSKIdentity)
	case len(key) == 0:
		return errors.New(op + "the key is empty: give the secret that both ends have, at least 16 random bytes")
	case len(key) > libssl.MaxPSK:
		return fmt.Errorf(op+"a key of %d bytes: the linked OpenSSL takes at most %d", len(key), libssl.MaxPSK)
	}
	return nil
}

// UsePSK sets a pre-shared key: both ends prove that they have it, and need no certificate.
// A server has any number of keys, one for each identity; for an identity that it has the
// key is replaced. A client has one key, and offers its identity in the clear; another call
// replaces both. identity has 1 to 256 bytes (128 with OpenSSL 1.1.1) and no NUL. key has
// up to 512 bytes (256); it should be random, of 16 bytes or more, for who records a
// handshake can try keys. It is copied once, and wiped when c is freed. On failure the keys
// that were set before remain in force, and nothing of the key is in the error.
//
// In TLS 1.3 a key is for the suites with SHA-256. A server that has the key of a client
// selects one of those, if the client has offered any. In TLS 1.2 it is for suites with PSK
// in their names, such as ECDHE-PSK-CHACHA20-POLY1305, which must be in the cipher list;
// those that begin with PSK have no forward secrecy. A server with a certificate prefers
// what its cipher list and the client's prefer: give a list of PSK suites alone to require
// a key. A client that keeps VerifyPeer still accepts a server without the key only if its
// certificate verifies.
//
// A client with a key is let in without a certificate, also where VerifyFailIfNoPeerCert is
// set: give hosts that require certificates a Ctx without keys. ConnectionState.PSKIdentity
// tells who it is. A server that requests client certificates besides needs a session id
// context.
//
// The key is no resumption, see [ResumptionPSK]; sessions made with it are resumed as
// others are. Identities and digests of the keys are part of a derived context, so that
// sessions end with their key. Where the context is set by hand, [Ctx.SetResumptionChecks],
// which is on by default for a server with keys, has a session end when its identity is
// removed; call [Ctx.Revoke] or change the context when a key is replaced. A session in
// libssl's cache (with [OptionNoTicket]) of another context makes a server decline the key
// that a TLS 1.3 client offers behind it.
//
// It is SSL_CTX_set_psk_server_callback and SSL_CTX_set_psk_find_session_callback on a
// server, SSL_CTX_set_psk_client_callback and SSL_CTX_set_psk_use_session_callback on a
// client.
func (c *Ctx) UsePSK(identity string, key []byte) error {
	return c.change(func(p libssl.CTX) error {
		if err := checkPSK(identity, key); err != nil {
			return err
		}
		print, fail := p.UsePSK(c.server, []byte(identity), key)
		if err := asError(fail); err != nil {
			return err
		}
		c.psks.use(!c.server, identity, print)
		return nil
	})
}

// UsePSK sets a pre-shared key for this connection alone, see [Ctx.UsePSK]. A server looks
// for an identity here first, then in its Ctx; a client uses the key set here in place of
// that of its Ctx. [SSL.SetCtx] to another Ctx removes the keys set here. A server may call
// it until the first ClientHello is answered, a client until its first Handshake; after that it
// returns [ErrTooLate].
//
// A derived context does not know these keys: set a context of their own on such a
// connection with [SSL.SetSessionIDContext], or disable resumption. The key is wiped when s
// is closed. On failure the keys that were set before remain in force.
//
// It is SSL_set_psk_server_callback on a server, SSL_set_psk_client_callback and
// SSL_set_psk_use_session_callback on a client.
func (s *SSL) UsePSK(identity string, key []byte) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	if s.tooLateLocked() || s.hellos > 0 {
		return ErrTooLate
	}
	if err := checkPSK(identity, key); err != nil {
		return err
	}
	print, fail := s.h.P.UsePSK([]byte(identity), key)
	if err := asError(fail); err != nil {
		return err
	}
	s.psks.use(s.client, identity, print)
	return nil
}

// UsePSK sets a pre-shared key for this connection alone. It must be called before the
// handshake. See [SSL.UsePSK].
//
// It is SSL_set_psk_server_callback on a server, SSL_set_psk_client_callback and
// SSL_set_psk_use_session_callback on a client.
func (c *Conn) UsePSK(identity string, key []byte) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.UsePSK(identity, key)
}

// PSKIdentities returns the identities of the pre-shared keys that a TLS 1.3 client offers,
// in its order. Tickets are among them, and nothing tells the two apart. A client proves that it has a
// key only later: choose a Ctx that has the key, and no more. A client of TLS 1.2 sends its
// identity later.
//
// It is the pre_shared_key extension of SSL_client_hello_get0_ext.
func (h *ClientHello) PSKIdentities() (identities [][]byte) {
	if h == nil {
		return nil
	}
	ext := wire.Reader{B: h.psk}
	for list := (wire.Reader{B: ext.Bytes(2)}); len(list.B) > 0; {
		identity := list.Bytes(2)
		list.Uint(4) // the age of a ticket
		if list.Bad {
			return nil // libssl refuses it
		}
		identities = append(identities, bytes.Clone(identity))
	}
	return identities
}
