//go:build cgo

package openssl

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/sidctx/openssl/internal/libssl"
)

// certificatePartText is what a certificate and its key are refused for. Where nothing
// follows, libssl gives no reason.
var certificatePartText = map[libssl.CertificatePart]string{
	libssl.PartPair:                 "certificate and private key, which must belong together",
	libssl.PartCertificate:          "certificate",
	libssl.PartEncryptedCertificate: "the certificate is encrypted, give it decrypted",
	libssl.PartKey:                  "private key",
	libssl.PartUnsupportedKey:       "the private key is encrypted with an algorithm that OpenSSL does not offer here: encrypt it with \"openssl pkcs8 -topk8\", or load the legacy provider in openssl.cnf",
}

// UseCertificate adds a certificate to present to peers. certPEM holds the leaf
// followed by the rest of its chain, keyPEM the private key of the leaf, both in PEM;
// they are copied. It may be called once for each type of key, for example RSA and ECDSA;
// a second certificate for the same type replaces the first. Encrypted keys and
// certificates are refused: no password is ever asked for. On failure nothing has changed.
//
// It is SSL_CTX_use_cert_and_key.
func (c *Ctx) UseCertificate(certPEM, keyPEM []byte) error {
	return c.change(func(p libssl.CTX) error {
		part, fail := p.UseCertificate(certPEM, keyPEM)
		if part == libssl.PartEncryptedKey {
			return explain("the private key is encrypted, give it decrypted, or its passphrase to UseEncryptedCertificate", asError(fail))
		}
		return certificateError(part, fail)
	})
}

// UseCertificateFiles is like [Ctx.UseCertificate], but reads the certificates and the
// key from files.
func (c *Ctx) UseCertificateFiles(certFile, keyFile string) error {
	certPEM, err := readPEM("certificate", certFile)
	if err != nil {
		return err
	}
	keyPEM, err := readPEM("private key", keyFile)
	defer clear(keyPEM)
	if err != nil {
		return err
	}
	if err := c.UseCertificate(certPEM, keyPEM); err != nil {
		return fmt.Errorf("%w (files %s and %s)", err, certFile, keyFile)
	}
	return nil
}

func readPEM(what, name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		folder, _ := os.Getwd() // where a relative name was looked for
		return b, fmt.Errorf("openssl: %s: %w: give the path of a PEM file, absolute or from %s", what, err, folder)
	}
	return b, nil
}

// UseEncryptedCertificate is like [Ctx.UseCertificate] with a private key that passphrase
// encrypts, in any form that the linked OpenSSL can decrypt: PKCS #8 with PBES2 (PBKDF2 or
// scrypt) or PBES1, and the older form of RFC 1423. The passphrase may hold any bytes, and
// may be empty if the key was encrypted with an empty one. It is not kept.
//
// An error that a wrong passphrase may have led to, an empty one among them, wraps
// [x509.IncorrectPasswordError]: another one can be tried. A key that is not encrypted
// is refused. On failure nothing has changed.
//
// It is PEM_read_bio_PrivateKey with a pem_password_cb, and SSL_CTX_use_cert_and_key.
func (c *Ctx) UseEncryptedCertificate(certPEM, keyPEM, passphrase []byte) error {
	return c.change(func(p libssl.CTX) error {
		part, fail := p.UseEncryptedCertificate(certPEM, keyPEM, passphrase)
		switch part {
		case libssl.PartPlainKey:
			return errors.New("openssl: the private key is not encrypted: call UseCertificate")
		case libssl.PartLongSecret:
			return fmt.Errorf("openssl: a passphrase of %d bytes is longer than OpenSSL takes: use at most 1024", len(passphrase))
		case libssl.PartSecret:
			text := "the passphrase does not decrypt the private key"
			if len(passphrase) == 0 {
				text = "the passphrase is empty, and the private key was encrypted with another one"
			}
			return wrongSecret{explain(text, asError(fail))}
		}
		return certificateError(part, fail)
	})
}

// UseCertificateURI is like [Ctx.UseCertificate] with a private key that a URI names, for
// example one in a token, which it never leaves:
//
//	pkcs11:token=web;object=server;type=private    PKCS #11 (RFC 7512)
//	handle:0x81000001                              TPM 2.0, with tpm2-openssl
//	file:/etc/ssl/private/server.pem               a file
//
// From OpenSSL 3.0 on the provider that serves the scheme is asked for the key; it must be
// loaded in openssl.cnf, where pkcs11-provider is also given its module
// (pkcs11-module-path). Where no provider serves pkcs11:, and OpenSSL is older than 4.0,
// libp11's engine "pkcs11" is asked, which takes its module from MODULE_PATH in its section
// of openssl.cnf or from the environment variable PKCS11_MODULE_PATH. The engine is loaded
// by the first call and stays loaded until the process ends; it is no default for anything.
//
// pin is the token's PIN, or the passphrase of a file; it is not kept. It may be empty if
// none is needed, because the URI or openssl.cnf has it or the token is logged in: a token
// that one PIN has opened stays open for the process, and may take any other from then on.
// It is tried once, since tokens count mistakes. On failure nothing has changed.
//
// The token signs in the handshake. However slow it is, other handshakes go on: only those
// under c wait for it, of which at most max(4, 2*GOMAXPROCS) are in libssl at a time. A
// deadline or a context ends the wait of those that have not reached the token; a
// signature cannot be interrupted. A resumed session needs none.
//
// It is OSSL_STORE_open or ENGINE_load_private_key, and SSL_CTX_use_cert_and_key.
func (c *Ctx) UseCertificateURI(certPEM []byte, uri string, pin []byte) error {
	return c.change(func(p libssl.CTX) error {
		if uri == "" || strings.IndexByte(uri, 0) >= 0 {
			return errors.New("openssl: UseCertificateURI: that is no URI of a private key: give one such as pkcs11:token=web;object=server")
		}
		part, fail := p.UseCertificateURI(certPEM, uri, pin)
		if fail == nil {
			c.slots = newSlots()
			return nil
		}
		name := uri
		if i := strings.Index(uri, "pin-value="); i >= 0 {
			name = uri[:i] + "pin-value=..."
			for i := range fail.Stack {
				fail.Stack[i].Data = "" // it may quote the URI
			}
		}
		switch part {
		case libssl.PartEncryptedKey:
			return withoutReason("the private key needs a PIN or passphrase, and none was given: "+name, fail)
		case libssl.PartLongSecret:
			return fmt.Errorf("openssl: a PIN of %d bytes is longer than is taken: %s", len(pin), name)
		case libssl.PartSecret:
			return wrongSecret{withReason("with this PIN or passphrase there is no private key "+name, fail)}
		case libssl.PartKey:
			return withReason("there is no private key "+name, fail)
		case libssl.PartScheme:
			return noStore(name, fail)
		}
		return certificateError(part, fail)
	})
}

// noStore is what to do about a URI that nothing serves.
func noStore(uri string, fail *libssl.Failure) error {
	scheme, _, _ := strings.Cut(uri, ":")
	if strings.EqualFold(scheme, "pkcs11") {
		return withReason("nothing serves pkcs11: here: install pkcs11-provider and load it in openssl.cnf (OpenSSL 3.0 and later), "+
			"or install libp11's engine pkcs11 (before 4.0)", fail)
	}
	return withoutReason(fmt.Sprintf("nothing serves %s: here: load a provider that does in openssl.cnf (OpenSSL 3.0 and later)", scheme), fail)
}

// withReason is an error with libssl's reason behind the text, if there is one.
func withReason(text string, fail *libssl.Failure) error {
	if len(fail.Stack) == 0 {
		return withoutReason(text, fail)
	}
	return explain(text, asError(fail))
}

// withoutReason is an error that wraps libssl's, whose reason would mislead.
func withoutReason(text string, fail *libssl.Failure) error {
	return fmt.Errorf("openssl: %s%.0w", text, asError(fail))
}

func certificateError(part libssl.CertificatePart, fail *libssl.Failure) error {
	if fail == nil {
		return nil
	}
	return explain(certificatePartText[part], asError(fail))
}

// wrongSecret is an error that another passphrase or PIN may avoid.
type wrongSecret struct{ error }

func (e wrongSecret) Unwrap() error        { return e.error }
func (e wrongSecret) Is(target error) bool { return target == x509.IncorrectPasswordError }

// ---- who may use a key at the same moment ----

// slots bounds the handshakes that libssl works on at the same moment: each takes one
// out, and puts it back. There are max(4, 2*GOMAXPROCS) of them, also after that has changed.
type slots struct {
	free chan struct{}
	made atomic.Int64
}

func newSlots() *slots { return &slots{free: make(chan struct{}, 1<<20)} } // of no size: it takes no memory

func slotsWanted() int64 { return int64(max(4, 2*runtime.GOMAXPROCS(0))) }

// grow makes those that are missing; it comes before each wait for one.
func (s *slots) grow() {
	for n, want := s.made.Load(), slotsWanted(); n < want; n = s.made.Load() {
		if s.made.CompareAndSwap(n, n+1) {
			s.free <- struct{}{}
		}
	}
}

func (s *slots) take() {
	s.grow()
	<-s.free
}

// putBack gives a slot back, or up, where there are too many now.
func (s *slots) putBack() {
	if s == nil {
		return
	}
	for n, want := s.made.Load(), slotsWanted(); n > want; n = s.made.Load() {
		if s.made.CompareAndSwap(n, n-1) {
			return
		}
	}
	s.free <- struct{}{}
}

// inHandshake is for all handshakes but those that may use a key of UseCertificateURI:
// they never wait for anything but a processor. Without a bound each of those that the
// system has taken its processor from keeps a thread, and a storm of connections makes
// hundreds.
var inHandshake = newSlots()

// slotsLocked is where the next step of the handshake takes its slot. What comes before a
// client has a ClientHello to answer with, or a server the answer to one, signs nothing.
func (s *SSL) slotsLocked() *slots {
	suspends := s.first.hello != nil || s.first.store != nil
	if s.ctx.slots == nil || s.phase == phaseNew && (s.client || suspends) {
		return inHandshake
	}
	return s.ctx.slots
}

// tokenSlots is slotsLocked if the next step must wait for a token's, else nil.
func (s *SSL) tokenSlots() *slots {
	if s.lock() != nil {
		return nil
	}
	defer s.unlock()
	if own := s.slotsLocked(); own != inHandshake && s.phase < phaseDone && s.readErr == nil && !s.needsInputLocked() {
		return own
	}
	return nil
}

// takeSlot waits for a token, without the lock of the SSL, and within the bounds of the
// call that does the handshake. The step gives the slot back.
func (c *Conn) takeSlot(ctx context.Context, by side) (*slots, error) {
	own := c.ssl.tokenSlots()
	if own == nil {
		return nil, nil
	}
	if by == neither {
		by = reads
	}
	own.grow()
	return own, c.wait(ctx, own.free, by)
}
