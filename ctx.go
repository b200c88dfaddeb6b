//go:build cgo

package openssl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Ctx is the recipe that connections are made from: an SSL_CTX. It is open to
// change until the first connection is made from it, or switched to it, and
// frozen from then on: a later setter returns [ErrCtxInUse]. A setter that
// fails leaves the old value in force; if it cannot, for want of memory in the
// middle of a change, the Ctx makes no connections any more. All methods may be
// called from any goroutine. Whoever makes a Ctx closes it; connections that were made from it
// go on.
type Ctx struct {
	h      handle[ctxPtr] // its lock guards the rest, too
	server bool

	frozen    bool
	sidCtx    sidContext
	sidCtxSet bool // somebody said a context, be it the empty one
	trustSet  bool // somebody said whom to trust
	confTrust bool // a command of Conf did: the next one adds to it
	confStore bool // and one of them named a store
	crls      []byte
	locations []string // of trust that libssl looks up when it verifies
	confs     []string // commands and values, and what the files hold that they name
	extended  []uint16 // the extensions of ServerInfoFile
	broken    string   // the setter that failed with a part of its change in place
	alpn      []byte

	derived    *SessionPolicy // what sidCtx was derived from, nil if it was not
	present    sidContext     // sidCtx, or what Revoke has made of it
	fleet      *fleetKeys     // ticket keys that follow the clock
	policy     []byte         // of a frozen server: what hosts of one context must share
	routed     bool           // connections are switched to it
	listenOnly []string       // the setters called that a switch leaves behind

	verify           VerifyMode
	verifyConnection func(ConnectionState) error
	checks           onOff
	maxAuthAge       time.Duration
	maxAuthAgeSet    bool
	hello            func(ctx context.Context, hello *ClientHello) (*Ctx, error)

	store           *storeClient
	modeBeforeStore SessionCacheMode
	sessions        ClientSessionCache
	fingerprint     fingerprint // of what a client's sessions must not cross

	resumptions [resumptionKinds]atomic.Int64
	refused     atomic.Int64

	keyLog io.Writer // guarded by keyLogs.mu
}

// sidContext is a session id context as a value: setting one allocates nothing.
type sidContext struct {
	b [maxSIDCtx]byte
	n int
}

func newSIDContext(b []byte) (c sidContext) {
	c.n = copy(c.b[:], b)
	return c
}

func (c *sidContext) bytes() []byte { return c.b[:c.n] }

// NewServerCtx makes a Ctx for servers. TLS 1.2 is its lowest version, or what
// openssl.cnf sets if that is higher; renegotiation is off; no client
// certificate is asked for. It trusts nobody until told whom to trust.
//
// It is SSL_CTX_new with TLS_server_method.
func NewServerCtx() (*Ctx, error) { return newCtx(true) }

// NewClientCtx makes a Ctx for clients. It verifies the server's chain and name
// against the system's roots, unless [Ctx.SetVerifyCAs], [Ctx.SetClientCAs],
// [Ctx.LoadVerifyLocations], [Ctx.SetVerify] or [Ctx.Conf] say otherwise. TLS 1.2 is its
// lowest version, or what openssl.cnf sets if that is higher.
//
// It is SSL_CTX_new with TLS_client_method.
func NewClientCtx() (*Ctx, error) { return newCtx(false) }

func newCtx(server bool) (*Ctx, error) {
	p, err := newCtxPtr(server)
	if err != nil {
		return nil, err
	}
	c := &Ctx{server: server}
	c.h.own(p)
	return c, nil
}

// Close frees the Ctx at once and is harmless twice. Every later call on it is
// an error; connections that were made from it go on.
//
// It is SSL_CTX_free.
func (c *Ctx) Close() error {
	if c == nil {
		return errNilCtx
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.close()
	return nil
}

// lock is the door of every method; the caller unlocks c.h.mu after a nil error.
func (c *Ctx) lock() error {
	if c == nil {
		return errNilCtx
	}
	c.h.mu.Lock()
	if c.h.closed() {
		c.h.mu.Unlock()
		return errCtxClosed
	}
	return nil
}

// use runs one act on the SSL_CTX.
func (c *Ctx) use(act func(p ctxPtr) error) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.h.mu.Unlock()
	return act(c.h.p)
}

// change runs one act that needs a Ctx which is still open to change.
func (c *Ctx) change(act func(p ctxPtr) error) error {
	return c.use(func(p ctxPtr) error {
		if c.frozen {
			return ErrCtxInUse
		}
		return act(p)
	})
}

// took notes how a setter ended that changes the SSL_CTX in more than one step.
// One that failed in between leaves a Ctx that makes no connections.
func (c *Ctx) took(setter string, r changed) error {
	if r.half {
		c.broken = setter
	}
	return r.err
}

// SetSessionIDContext names the context within which sessions of this server
// are made and may be resumed: a session of another context costs a full
// handshake. At most 32 bytes of any value, copied; none, or nil, is the
// explicit word for "no context", which OpenSSL lets resume only where no
// client certificate is asked for. A server that asks for client certificates
// must say one. On failure, [ErrSessionIDContextTooLong] for instance, the old
// context stays in force.
//
// It is SSL_CTX_set_session_id_context.
func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.h.mu.Unlock()
	if c.frozen {
		return ErrCtxInUse
	}
	if err := c.h.p.setSessionIDContext(sidCtx); err != nil {
		return err
	}
	c.sidCtx, c.sidCtxSet, c.derived = newSIDContext(sidCtx), true, nil
	c.present = c.sidCtx
	return nil
}

// SessionIDContext is a copy of the context that new connections get: what was
// last set, or what [Ctx.Revoke] has made of it. It is empty if nothing was set
// or if the Ctx is closed. libssl itself has no getter.
func (c *Ctx) SessionIDContext() (sidCtx []byte) {
	c.use(func(ctxPtr) error {
		sidCtx = append(sidCtx, c.present.bytes()...)
		return nil
	})
	return sidCtx
}

// certificatePart is what a certificate could not be used for.
type certificatePart int

const (
	partPair certificatePart = iota
	partCertificate
	partEncryptedCertificate
	partKey
	partEncryptedKey
)

var certificatePartText = [...]string{
	partPair:                 "certificate and private key",
	partCertificate:          "certificate",
	partEncryptedCertificate: "the certificate is encrypted, give it decrypted",
	partKey:                  "private key",
	partEncryptedKey:         "the private key is encrypted, give it decrypted",
}

// UseCertificate shows a certificate to the peer: the leaf, the rest of its
// chain behind it, and the leaf's private key, all in PEM and copied. Call it
// once for each type of key, RSA and ECDSA for instance; for a type that is
// there already it replaces the certificate. Encrypted keys and certificates are
// refused; nobody is asked for a password. On failure nothing has changed.
//
// It is SSL_CTX_use_cert_and_key.
func (c *Ctx) UseCertificate(certPEM, keyPEM []byte) error {
	return c.change(func(p ctxPtr) error {
		part, err := p.useCertificate(certPEM, keyPEM)
		if err != nil {
			return explain(certificatePartText[part], err)
		}
		c.fingerprint.add("certificate", string(certPEM))
		return nil
	})
}

// UseCertificateFiles is [Ctx.UseCertificate] with what the files hold.
func (c *Ctx) UseCertificateFiles(certFile, keyFile string) error {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return fmt.Errorf("openssl: certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	defer clear(keyPEM)
	if err != nil {
		return fmt.Errorf("openssl: private key: %w", err)
	}
	if err := c.UseCertificate(certPEM, keyPEM); err != nil {
		return fmt.Errorf("%w (files %s and %s)", err, certFile, keyFile)
	}
	return nil
}

// SetVerify says whether the peer is asked for a certificate and what happens
// without a good one. A server that asks and may resume needs a session id
// context, see [Ctx.SetSessionIDContext]. Modes that ask nobody for a certificate
// although they say what happens without one are refused: VerifyFailIfNoPeerCert
// and VerifyClientOnce without VerifyPeer, which VerifyDefer implies, and
// VerifyPostHandshake. On failure the old mode stays in force.
//
// It is SSL_CTX_set_verify.
func (c *Ctx) SetVerify(mode VerifyMode) error {
	const known = VerifyPeer | VerifyFailIfNoPeerCert | VerifyClientOnce | VerifyPostHandshake | VerifyDefer
	if mode&^known != 0 {
		return fmt.Errorf("openssl: SSL_CTX_set_verify: %#x is no verify mode", int(mode))
	}
	if fault := mode.fault(); fault != "" {
		return errors.New("openssl: SSL_CTX_set_verify: " + fault)
	}
	return c.change(func(p ctxPtr) error {
		p.setVerify(mode)
		c.verify = mode
		c.fingerprint.add("verify mode", strconv.Itoa(int(mode)))
		return nil
	})
}

// fault says why a mode asks nobody for a certificate although it speaks of one,
// and is empty for other modes.
func (m VerifyMode) fault() string {
	switch {
	case m&VerifyPostHandshake != 0:
		return "VerifyPostHandshake asks for no certificate in the handshake, and nothing asks after it"
	case m&(VerifyPeer|VerifyDefer) != 0:
		return ""
	case m&VerifyFailIfNoPeerCert != 0:
		return "VerifyFailIfNoPeerCert asks nobody for a certificate without VerifyPeer"
	case m&VerifyClientOnce != 0:
		return "VerifyClientOnce asks nobody for a certificate without VerifyPeer"
	}
	return ""
}

// verifyFault is fault for the mode that libssl has, which does not know VerifyDefer.
func (c *Ctx) verifyFault(mode VerifyMode) string {
	if c.verify&VerifyDefer != 0 && mode&VerifyPeer == 0 {
		return "VerifyDefer asks nobody for a certificate without VerifyPeer"
	}
	return mode.fault()
}

// SetVerifyDepth bounds the number of intermediate certificates in the peer's
// chain; OpenSSL's default is 100.
//
// It is SSL_CTX_set_verify_depth.
func (c *Ctx) SetVerifyDepth(depth int) error {
	if depth < 0 || depth > maxVerifyDepth {
		return fmt.Errorf("openssl: SSL_CTX_set_verify_depth: a depth of %d is not between 0 and %d", depth, maxVerifyDepth)
	}
	return c.change(func(p ctxPtr) error {
		p.setVerifyDepth(depth)
		c.fingerprint.add("verify depth", strconv.Itoa(depth))
		return nil
	})
}

const maxVerifyDepth = 1 << 15 // far beyond any chain, and an int everywhere

// SetVerifyCAs trusts the certificates in pem, and them alone, instead of the
// system's roots or what was trusted before, by another setter or by a command
// of [Ctx.Conf]. Encrypted blocks are refused. On failure nothing has changed.
//
// It is SSL_CTX_set_cert_store.
func (c *Ctx) SetVerifyCAs(pem []byte) error { return c.setTrust("SetVerifyCAs", pem, false) }

// SetClientCAs trusts the certificates in pem, and them alone, for client
// certificates, and sends their names in the CertificateRequest. They take the
// place of what was trusted, and sent, before. Encrypted blocks are refused. On
// failure nothing has changed.
//
// It is SSL_CTX_set_cert_store and SSL_CTX_set_client_CA_list.
func (c *Ctx) SetClientCAs(pem []byte) error { return c.setTrust("SetClientCAs", pem, true) }

func (c *Ctx) setTrust(setter string, pem []byte, names bool) error {
	return c.change(func(p ctxPtr) error {
		r := p.setTrust(pem, names, c.crls)
		if err := c.took(setter, r); err != nil {
			if r.encrypted {
				return explain("a CA certificate is encrypted, give it decrypted", err)
			}
			return explain("CA certificates", err)
		}
		c.trustSet, c.confTrust, c.confStore, c.locations = true, false, false, nil
		c.fingerprint.add("trust", string(pem))
		return nil
	})
}

// SetCRLs adds revocation lists, in PEM, and has every certificate of a peer's
// chain looked up in them: one whose issuer has no list here, or an expired
// one, is not accepted. A newer list of the same issuer prevails. They stay when
// another setter changes who is trusted. Encrypted blocks are refused. On failure
// nothing has changed, or the Ctx makes no connections any more.
//
// It is X509_STORE_add_crl with X509_V_FLAG_CRL_CHECK_ALL.
func (c *Ctx) SetCRLs(pem []byte) error {
	return c.change(func(p ctxPtr) error {
		r := p.setCRLs(pem)
		if err := c.took("SetCRLs", r); err != nil {
			if r.encrypted {
				return explain("a revocation list is encrypted, give it decrypted", err)
			}
			return explain("revocation lists", err)
		}
		c.crls = append(append(c.crls, pem...), '\n')
		c.fingerprint.add("CRLs", string(pem))
		return nil
	})
}

// LoadVerifyLocations adds to what is trusted the certificates of a PEM file,
// of a folder with names hashed by c_rehash, or both; either may be empty. On a
// client Ctx the system's roots are then no longer trusted by themselves. Files
// with encrypted blocks are refused; of a folder, those that are in it now. On
// failure nothing has changed, or the Ctx makes no connections any more.
//
// It is SSL_CTX_load_verify_locations.
func (c *Ctx) LoadVerifyLocations(file, dir string) error {
	const op = "openssl: SSL_CTX_load_verify_locations"
	switch {
	case file == "" && dir == "":
		return errors.New(op + ": neither a file nor a folder is named")
	case strings.IndexByte(file+dir, 0) >= 0:
		return errors.New(op + ": a path with a NUL byte")
	case dir != "":
		// libssl looks into the folder only when it verifies.
		if info, err := os.Stat(dir); err != nil {
			return fmt.Errorf(op+": %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf(op+": %s is not a folder", dir)
		}
	}
	err := decryptedFile(file)
	if err == nil {
		err = decryptedDir(dir)
	}
	if err != nil {
		return explain("SSL_CTX_load_verify_locations", err)
	}
	return c.change(func(p ctxPtr) error {
		if err := c.took("LoadVerifyLocations", p.loadVerify(file, dir)); err != nil {
			return explain("CA certificates of "+strings.TrimSpace(file+" "+dir), err)
		}
		c.trustSet = true
		c.locations = append(c.locations, file, dir)
		c.fingerprint.add("trust also", file, dir)
		return nil
	})
}

// SetMinVersion sets the lowest version, [crypto/tls.VersionTLS12] for
// instance. The default is the higher of TLS 1.2 and what openssl.cnf sets.
//
// It is SSL_CTX_set_min_proto_version.
func (c *Ctx) SetMinVersion(v uint16) error { return c.setVersion(v, ctxPtr.setMinVersion) }

// SetMaxVersion sets the highest version; the default is the highest that
// libssl knows or openssl.cnf allows.
//
// It is SSL_CTX_set_max_proto_version.
func (c *Ctx) SetMaxVersion(v uint16) error { return c.setVersion(v, ctxPtr.setMaxVersion) }

func (c *Ctx) setVersion(v uint16, set func(ctxPtr, uint16) error) error {
	if v == 0 { // libssl would take it for "any"
		return errors.New("openssl: 0 is no protocol version")
	}
	return c.change(func(p ctxPtr) error {
		if err := set(p, v); err != nil {
			return explain(fmt.Sprintf("protocol version %#04x", v), err)
		}
		return nil
	})
}

// SetCipherList sets the cipher suites of TLS 1.2, in OpenSSL's notation.
//
// It is SSL_CTX_set_cipher_list.
func (c *Ctx) SetCipherList(list string) error {
	return c.setList("SetCipherList", list, ctxPtr.setCipherList)
}

// SetCipherSuites sets the cipher suites of TLS 1.3, names separated by colons.
//
// It is SSL_CTX_set_ciphersuites.
func (c *Ctx) SetCipherSuites(list string) error {
	return c.setList("SetCipherSuites", list, ctxPtr.setCipherSuites)
}

// SetGroups sets the groups for key exchange in order of preference, names
// separated by colons.
//
// Connections that are switched to another Ctx keep the groups of the first.
//
// It is SSL_CTX_set1_groups_list.
func (c *Ctx) SetGroups(list string) error {
	if list == "" { // 3.5 and later would take it for "any"
		return errors.New("openssl: SSL_CTX_set1_groups_list: no group is named")
	}
	return c.setList("SetGroups", list, func(p ctxPtr, list string) changed {
		r := p.setGroups(list)
		if r.err == nil {
			c.listenOnly = append(c.listenOnly, "SetGroups")
		}
		return r
	})
}

func (c *Ctx) setList(setter, list string, set func(ctxPtr, string) changed) error {
	if strings.IndexByte(list, 0) >= 0 {
		return errors.New("openssl: a list with a NUL byte")
	}
	return c.change(func(p ctxPtr) error {
		if err := c.took(setter, set(p, list)); err != nil {
			return explain(strconv.Quote(list), err)
		}
		return nil
	})
}

// SetALPN sets the application protocols: those that a client offers, or those
// that a server chooses from, in its order; a client that offers protocols and
// shares none is refused with no_application_protocol. No protocol at all
// switches ALPN off.
//
// It is SSL_CTX_set_alpn_protos on a client, SSL_CTX_set_alpn_select_cb on a server.
func (c *Ctx) SetALPN(protocols ...string) error {
	var wire []byte
	for _, name := range protocols {
		if len(name) < 1 || len(name) > 255 {
			return fmt.Errorf("openssl: ALPN protocol %q: a name has 1 to 255 bytes", name)
		}
		wire = append(append(wire, byte(len(name))), name...)
	}
	if len(wire) > 1<<16-1 {
		return fmt.Errorf("openssl: ALPN: %d bytes of names do not fit into a ClientHello", len(wire))
	}
	return c.change(func(p ctxPtr) error {
		if err := p.setALPN(c.server, wire); err != nil {
			return err
		}
		c.alpn = wire
		c.fingerprint.add("ALPN", string(wire))
		return nil
	})
}

// SetOptions adds options.
//
// It is SSL_CTX_set_options.
func (c *Ctx) SetOptions(o Options) error {
	return c.change(func(p ctxPtr) error {
		p.setOptions(o, 0)
		return nil
	})
}

// ClearOptions takes options away. [OptionNoRenegotiation] stays: a machine
// over memory does not renegotiate.
//
// It is SSL_CTX_clear_options.
func (c *Ctx) ClearOptions(o Options) error {
	if o&OptionNoRenegotiation != 0 {
		return errRenegotiation
	}
	return c.change(func(p ctxPtr) error {
		p.setOptions(0, o)
		return nil
	})
}

var errRenegotiation = errors.New("openssl: renegotiation is not offered: OptionNoRenegotiation stays set")

// Options are the options in force, 0 if the Ctx is closed.
//
// It is SSL_CTX_get_options.
func (c *Ctx) Options() (o Options) {
	c.use(func(p ctxPtr) error {
		o = p.setOptions(0, 0)
		return nil
	})
	return o
}

// SetClientHelloFunc has f choose, for each connection that a server accepts,
// the Ctx and the session id context, while the ClientHello is suspended: the
// last moment that is in time for both. f runs on the goroutine that does the
// handshake, outside C. It returns another server Ctx to go on with, or nil to
// stay; an error refuses the connection, with the alert that [errors.As] finds
// in it as a [crypto/tls.AlertError], else with internal_error. ctx ends with the
// handshake's context and with Close. A HelloRetryRequest asks f again.
//
// [Conn] calls f; a bare [SSL] returns WantClientHello instead.
//
// It is SSL_CTX_set_client_hello_cb with SSL_CLIENT_HELLO_RETRY.
func (c *Ctx) SetClientHelloFunc(f func(ctx context.Context, hello *ClientHello) (*Ctx, error)) error {
	return c.change(func(ctxPtr) error {
		if !c.server {
			return errors.New("openssl: a ClientHello function is for servers: this Ctx was made by NewClientCtx")
		}
		c.hello = f
		return nil
	})
}

// freeze ends the time for changes, or says why c cannot be used yet. It is
// called by use.
func (c *Ctx) freeze(p ctxPtr) error {
	if c.frozen {
		return nil
	}
	facts := p.facts()
	if err := c.ready(facts); err != nil {
		return err
	}
	if c.server {
		if err := c.settlePolicy(p, facts); err != nil {
			return err
		}
	}
	if !c.server && facts.verify&VerifyPeer != 0 && !c.trustSet {
		if err := p.systemRoots(); err != nil {
			return err
		}
	}
	c.frozen = true
	return nil
}

// ready says what a Ctx still lacks.
func (c *Ctx) ready(facts ctxFacts) error {
	mayResume := facts.options&OptionNoTicket == 0 || facts.serverCache
	switch {
	case c.broken != "":
		return fmt.Errorf("openssl: %s failed with a part of its change in place: this Ctx makes no connections, make another one", c.broken)
	case c.verifyFault(facts.verify) != "":
		return errors.New("openssl: the verify mode that openssl.cnf or Conf has set: " + c.verifyFault(facts.verify))
	case facts.options&OptionNoRenegotiation == 0:
		return errRenegotiation
	case c.verify&VerifyDefer != 0 && c.verifyConnection == nil:
		return errors.New("openssl: VerifyDefer leaves the decision to SetVerifyConnection, and no function is set")
	case !c.server:
		return nil
	case !facts.hasCertificate && c.hello == nil:
		return errors.New("openssl: this server Ctx has neither a certificate (UseCertificate) " +
			"nor a ClientHello function (SetClientHelloFunc)")
	case facts.verify&VerifyPeer != 0 && mayResume && !c.sidCtxSet:
		return explain("this server Ctx asks for client certificates and may resume sessions: "+
			"say within which context, with DeriveSessionIDContext or SetSessionIDContext", ErrSessionIDContextUninitialized)
	}
	return nil
}
