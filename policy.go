//go:build cgo

package openssl

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// SessionPolicy holds the parts of a derived session id context that are not taken from
// the Ctx.
type SessionPolicy struct {
	// Label names the service. Sessions of one label are never resumed under another.
	Label string
	// Generation is the number that [Ctx.Revoke] returned last, or 0. It makes a
	// revocation hold after a restart and on other machines. A lower number than the
	// highest that this process knows of an equal policy has no effect.
	Generation uint64
	// Extra holds anything else that sessions must not cross, for example a tenant or
	// the version of the rules that the function of SetVerifyConnection applies.
	Extra [][]byte
}

// DeriveSessionIDContext sets the session id context to a hash of the server's policy: p,
// the names and issuer of each certificate (so that a renewed certificate keeps its
// sessions), verify mode, flags and depth, every trusted CA and revocation list, the names
// of CAs that are sent, cipher list and suites, ALPN, the versions, the security level, the
// [Library], the identities and digests of PSKs, and the commands passed to Conf. Files and
// folders are represented by what they hold when
// the setter is called. The context has 32 bytes and is equal on all machines with equal
// configuration and the same version of OpenSSL. Settings made later are included: the
// hash is computed again when c freezes. On failure the previous context remains in force.
//
// It is SSL_CTX_set_session_id_context.
func (c *Ctx) DeriveSessionIDContext(p SessionPolicy) error {
	p.Extra = slices.Clone(p.Extra)
	for i := range p.Extra {
		p.Extra[i] = bytes.Clone(p.Extra[i])
	}
	return c.change(func(ptr libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: a session id context is derived for servers: this Ctx was made by NewClientCtx")
		}
		parts, err := c.policyParts(ptr, ptr.Settings())
		if err != nil {
			return err
		}
		return c.derive(ptr, &p, parts)
	})
}

// derive sets the context of a policy, at the highest generation that is known.
func (c *Ctx) derive(ptr libssl.CTX, p *SessionPolicy, parts *wire.Writer) error {
	base := p.base(parts)
	generation := max(p.Generation, generations.known(base))
	sidCtx := base.context(generation)
	if err := setCtxSIDContext(ptr, sidCtx.bytes()); err != nil {
		return err
	}
	c.sidCtx, c.sidCtxSet = sidCtx, true
	c.derived, c.base, c.generation, c.present = p, base, generation, sidCtx
	return nil
}

// Revoke ends all sessions of a derived context at once: no handshake that ends after it
// resumes a session made before it, whether that is a ticket, in libssl's cache or in a
// store. A connection whose client has its session accepted already, but has not finished
// its handshake, fails with [ErrResumptionRefused]; others get a full handshake. Revoke may
// be called at any time, also on a Ctx in use. It returns an error if the context is not
// derived.
//
// Revoke holds for the policy: for each Ctx of this process, now and later, whose context is
// derived from equal settings. Store the generation that it returns, and set
// SessionPolicy.Generation to it after a restart and on other machines. Contexts that are
// set on single connections are not affected.
//
// It is SSL_set_session_id_context, for every connection.
func (c *Ctx) Revoke() (generation uint64, err error) {
	err = c.use(func(ptr libssl.CTX) error {
		if c.derived == nil {
			return errors.New("openssl: Revoke needs a derived context: call DeriveSessionIDContext instead of SetSessionIDContext")
		}
		// Of a frozen Ctx the base is settled: libssl adds to its store what it looks
		// up in a folder, while handshakes run.
		if !c.frozen {
			parts, err := c.policyParts(ptr, ptr.Settings())
			if err != nil {
				return err
			}
			c.base = c.derived.base(parts)
		}
		next := *c.derived
		if next.Generation, err = generations.next(c.base, next.Generation); err != nil {
			return err
		}
		c.derived, generation = &next, next.Generation
		return nil
	})
	return generation, err
}

// presentLocked returns the context that connections made now get. It holds for a closed
// Ctx, too. c.h.Mu is held.
func (c *Ctx) presentLocked() sidContext {
	if c.derived == nil {
		return c.sidCtx
	}
	if g := max(c.derived.Generation, generations.known(c.base)); g != c.generation {
		c.generation, c.present = g, c.base.context(g)
	}
	return c.present
}

// presentSIDContext is presentLocked.
func (c *Ctx) presentSIDContext() sidContext {
	c.h.Mu.Lock()
	defer c.h.Mu.Unlock()
	return c.presentLocked()
}

// helloAnswer is what c is to a ClientHello that chooses it. It holds for a closed Ctx, too.
func (c *Ctx) helloAnswer() helloAnswer {
	c.h.Mu.Lock()
	defer c.h.Mu.Unlock()
	if c.derived != nil {
		return helloAnswer{string(c.policy), string(c.base[:])}
	}
	return helloAnswer{string(c.policy), string(c.sidCtx.bytes())}
}

// policyVersion changes with the way contexts are derived.
const policyVersion = "github.com/sidctx/openssl session id context 2"

// baseContext is the digest of a policy without its generation.
type baseContext [sha256.Size]byte

func (p *SessionPolicy) base(parts *wire.Writer) baseContext {
	var d wire.Writer
	d.Bytes([]byte(policyVersion))
	d.Bytes([]byte(p.Label))
	d.List(p.Extra)
	d.Bytes(parts.B)
	return sha256.Sum256(d.B)
}

// context is the session id context of one generation.
func (b baseContext) context(generation uint64) sidContext {
	var d wire.Writer
	d.Bytes(b[:])
	d.Uint(generation)
	sum := sha256.Sum256(d.B)
	return newSIDContext(sum[:])
}

// generations is the highest generation of each policy that this process knows. A policy
// of which none but 0 is known is not in it.
var generations generationRegister

type generationRegister struct {
	mu sync.RWMutex
	of map[baseContext]uint64
}

func (r *generationRegister) known(b baseContext) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.of[b]
}

// raise makes a generation known.
func (r *generationRegister) raise(b baseContext, generation uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raiseLocked(b, generation)
}

func (r *generationRegister) raiseLocked(b baseContext, generation uint64) {
	if r.of == nil {
		r.of = make(map[baseContext]uint64)
	}
	if generation > r.of[b] {
		r.of[b] = generation
	}
}

// next makes known, and returns, the generation after the highest that is known and own.
func (r *generationRegister) next(b baseContext, own uint64) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	generation := max(own, r.of[b]) + 1
	if generation == 0 {
		return 0, errors.New("openssl: Revoke: there is no generation after the last")
	}
	r.raiseLocked(b, generation)
	return generation, nil
}

// policyParts is what c itself holds that sessions must not cross, on a server as on a
// client: what is configured, and what files hold, never where they are.
func (c *Ctx) policyParts(ptr libssl.CTX, facts libssl.Settings) (*wire.Writer, error) {
	id, fail := ptr.Identity()
	if fail != nil {
		return nil, explain("reading the settings of a Ctx", asError(fail))
	}
	own := id.Leaves // of a client: a renewed certificate is another one
	if c.server {
		own = nil
		for _, der := range id.Leaves {
			own = append(own, serverIdentity(der))
		}
	}
	var d wire.Writer
	d.Set(own)
	d.Uint(uint64(facts.Verify))
	d.Uint(uint64(c.verify & (VerifyDefer | VerifyAnyName)))
	d.Bytes([]byte(fmt.Sprint(facts.VerifyFlags, facts.HostFlags, c.opaque)))
	d.Uint(uint64(int64(facts.Depth)))
	d.Set(id.CAs)
	d.Set(id.CRLs)
	d.Set(id.CANames)
	d.Set(c.folders)
	d.List(c.confs)
	d.Bytes(id.Ciphers)
	d.Uint(uint64(int64(facts.SecurityLevel)))
	d.Bytes(protocolNames(c.protocols))
	d.Uint(uint64(int64(facts.MinVersion)))
	d.Uint(uint64(int64(facts.MaxVersion)))
	d.Bytes(c.library.digest())
	if c.psks != nil { // so that others keep their contexts
		d.Set(c.psks.records())
	}
	return &d, nil
}

// serverIdentity is the subject of a certificate and its issuer: a renewed
// one is the same.
func serverIdentity(der []byte) []byte {
	var d wire.Writer
	cert, err := x509.ParseCertificate(der)
	if err != nil { // libssl reads more than crypto/x509: then no other is the same
		d.Bytes(der)
		return d.B
	}
	var names [][]byte
	for _, n := range cert.DNSNames {
		names = append(names, []byte("DNS "+n))
	}
	for _, ip := range cert.IPAddresses {
		names = append(names, []byte("IP "+ip.String()))
	}
	for _, e := range cert.EmailAddresses {
		names = append(names, []byte("email "+e))
	}
	for _, u := range cert.URIs {
		names = append(names, []byte("URI "+u.String()))
	}
	d.Set(names)
	d.Bytes(cert.RawSubject)
	d.Bytes(cert.RawIssuer)
	return d.B
}

// freezeFingerprint fixes, when a client Ctx with a session cache freezes, what its
// sessions must not cross. It is called before the system's roots are loaded.
func (c *Ctx) freezeFingerprint(ptr libssl.CTX, facts libssl.Settings) error {
	parts, err := c.policyParts(ptr, facts)
	if err != nil {
		return err
	}
	parts.Bytes([]byte(fmt.Sprint("trust ", c.trustSet, c.ocspRequest))) // else it is the system's roots
	c.fingerprint = sha256.Sum256(parts.B)
	return nil
}

// freezePolicy fixes, when a server Ctx freezes, what depends on all of its settings.
func (c *Ctx) freezePolicy(ptr libssl.CTX, facts libssl.Settings) error {
	parts, err := c.policyParts(ptr, facts)
	if err != nil {
		return err
	}
	c.policy = parts.B
	if c.derived != nil {
		if err := c.derive(ptr, c.derived, parts); err != nil {
			return err
		}
		generations.raise(c.base, c.generation)
	}
	authenticates := VerifyMode(facts.Verify)&VerifyPeer != 0 || c.psks != nil
	maxAge := c.maxAuthAge
	if authenticates && !c.maxAuthAgeSet {
		maxAge = defaultMaxAuthAge
	}
	ptr.SetChecks(c.checks.or(authenticates), maxAge)
	return nil
}

const defaultMaxAuthAge = 24 * time.Hour

// onOff is a boolean setting that may be unset.
type onOff struct{ set, on bool }

func (o onOff) or(otherwise bool) bool {
	if o.set {
		return o.on
	}
	return otherwise
}

// SetMaxAuthAge limits the time, in whole seconds, since the full handshake that a resumed
// session goes back to, through any number of renewed tickets. 0 means no limit. A client
// with an older session gets a full handshake. The default is 24 hours on a server that
// requests client certificates or has PSKs, and no limit on others.
//
// It is SSL_CTX_set_session_ticket_cb and SSL_SESSION_set_timeout.
func (c *Ctx) SetMaxAuthAge(d time.Duration) error {
	if d < 0 || d%time.Second != 0 {
		return fmt.Errorf("openssl: SetMaxAuthAge: %v is not a whole number of seconds", d)
	}
	return c.change(func(libssl.CTX) error {
		c.maxAuthAge, c.maxAuthAgeSet = d, true
		return nil
	})
}

// SetResumptionChecks sets whether resumed sessions are checked for what libssl does not
// check again: that there is a client certificate where the verify mode requires one, that
// it has not expired, and that it was verified; of a session made with a PSK, that the server
// still has its identity. A ticket that fails the check leads to a
// full handshake; what can be seen only after the handshake fails it with
// [ErrResumptionRefused]. The default is true on a server that requests client
// certificates or has PSKs.
func (c *Ctx) SetResumptionChecks(on bool) error {
	return c.change(func(libssl.CTX) error {
		c.checks = onOff{true, on}
		return nil
	})
}

// SetVerifyConnection registers a function that is called once for each connection,
// resumed or not, when its handshake is complete and before data is read or written; on a
// server that resumes a TLS 1.2 session, when its side of the handshake is and was not
// sent. If f returns an error, the connection fails and the handshake returns the error;
// ConnectionState remains readable. Of a connection that is switched to another Ctx the
// functions of both are called, first that of the listener's. f runs on the goroutine that
// performs the handshake and must not use the connection. With [VerifyDefer] f alone
// decides which certificates are accepted. A nil f removes the function.
//
// The peer is sent the [crypto/tls.AlertError] that the error wraps, or bad_certificate,
// and nothing else that it has not received by then: no ticket, and no certificate of a
// TLS 1.3 client. The alert of a TLS 1.3 client is not encrypted. Servers of OpenSSL read
// it; others, as crypto/tls, fail at once without having read it. So do the clients of a
// TLS 1.3 server on OpenSSL 1.1.1.
func (c *Ctx) SetVerifyConnection(f func(ConnectionState) error) error {
	return c.change(func(libssl.CTX) error {
		c.verifyConnection = f
		return nil
	})
}
