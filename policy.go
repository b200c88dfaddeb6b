//go:build cgo

package openssl

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
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
	// revocation hold after a restart and on other machines.
	Generation uint64
	// Extra holds anything else that sessions must not cross, for example a tenant or
	// the version of the rules that the function of SetVerifyConnection applies.
	Extra [][]byte
}

// DeriveSessionIDContext sets the session id context to a hash of the server's policy: p,
// the names and issuer of each certificate (so that a renewed certificate keeps its
// sessions), verify mode and depth, every trusted CA and revocation list, the names of CAs
// that are sent, ALPN, the versions, the security level, and the commands passed to Conf.
// A folder of CAs is represented by its name only. The context has 32 bytes and is equal on
// all machines with equal configuration. Settings made later are included: the hash is
// computed again when c freezes. On failure the previous context remains in force.
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

// derive sets the context of a policy.
func (c *Ctx) derive(ptr libssl.CTX, p *SessionPolicy, parts *wire.Writer) error {
	sidCtx := p.sidContext(parts)
	if err := setCtxSIDContext(ptr, sidCtx.bytes()); err != nil {
		return err
	}
	c.sidCtx, c.present, c.sidCtxSet, c.derived = sidCtx, sidCtx, true, p
	return nil
}

// Revoke ends all sessions of a derived context at once: connections made from now on
// belong to the next generation of the context, so that no session made before is resumed,
// whether it is a ticket, in libssl's cache or in a store. It may be called at any time,
// also on a Ctx in use. It returns an error if the context is not derived.
//
// Revoke has an effect in this process only. Store the generation that it returns, and set
// SessionPolicy.Generation to it after a restart and on other machines. Contexts that are
// set on single connections are not affected.
//
// It is SSL_set_session_id_context, for every connection.
func (c *Ctx) Revoke() (generation uint64, err error) {
	err = c.use(func(ptr libssl.CTX) error {
		if c.derived == nil {
			return errors.New("openssl: Revoke needs a derived context: call DeriveSessionIDContext instead of SetSessionIDContext")
		}
		next := *c.derived
		next.Generation++
		if next.Generation == 0 {
			return errors.New("openssl: Revoke: there is no generation after the last")
		}
		// Of a frozen Ctx the parts are settled: libssl adds to its store what it
		// looks up in a folder, while handshakes run.
		parts := &wire.Writer{B: c.policy}
		if !c.frozen {
			if parts, err = c.policyParts(ptr, ptr.Settings()); err != nil {
				return err
			}
		}
		c.derived, c.present = &next, next.sidContext(parts)
		generation = next.Generation
		return nil
	})
	return generation, err
}

// policyVersion changes with the way contexts are derived.
const policyVersion = "github.com/sidctx/openssl session id context 1"

func (p *SessionPolicy) sidContext(parts *wire.Writer) sidContext {
	var d wire.Writer
	d.Bytes([]byte(policyVersion))
	d.Bytes([]byte(p.Label))
	d.Uint(p.Generation)
	d.List(p.Extra)
	d.Bytes(parts.B)
	sum := sha256.Sum256(d.B)
	return newSIDContext(sum[:])
}

// policyParts is what c itself holds that sessions must not cross.
func (c *Ctx) policyParts(ptr libssl.CTX, facts libssl.Settings) (*wire.Writer, error) {
	id, fail := ptr.Identity()
	if fail != nil {
		return nil, fmt.Errorf("openssl: reading the settings of a Ctx: %w", asError(fail))
	}
	var servers [][]byte
	for _, der := range id.Leaves {
		servers = append(servers, serverIdentity(der))
	}
	var locations [][]byte
	for _, l := range c.locations {
		locations = append(locations, []byte(l))
	}
	var d wire.Writer
	d.Set(servers)
	d.Uint(uint64(facts.Verify))
	d.Uint(uint64(c.verify & VerifyDefer))
	d.Uint(uint64(int64(facts.Depth)))
	d.Set(id.CAs)
	d.Set(id.CRLs)
	d.Set(id.CANames)
	d.List(locations)
	var confs [][]byte
	for _, part := range c.confs {
		confs = append(confs, []byte(part))
	}
	d.List(confs)
	d.Uint(uint64(int64(facts.SecurityLevel)))
	d.Bytes(c.alpn)
	d.Uint(uint64(int64(facts.MinVersion)))
	d.Uint(uint64(int64(facts.MaxVersion)))
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
	}
	asks := VerifyMode(facts.Verify)&VerifyPeer != 0
	maxAge := c.maxAuthAge
	if asks && !c.maxAuthAgeSet {
		maxAge = defaultMaxAuthAge
	}
	ptr.SetChecks(c.checks.or(asks), maxAge)
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
// requests client certificates, and no limit on others.
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
// it has not expired, and that it was verified. A ticket that fails the check leads to a
// full handshake; what can be seen only after the handshake fails it with
// [ErrResumptionRefused]. The default is true on a server that requests client
// certificates.
func (c *Ctx) SetResumptionChecks(on bool) error {
	return c.change(func(libssl.CTX) error {
		c.checks = onOff{true, on}
		return nil
	})
}

// SetVerifyConnection registers a function that is called once for each connection,
// resumed or not, when its handshake is complete and before data is read or written. If f
// returns an error, the connection fails and the handshake returns the error;
// ConnectionState remains readable. f runs on the goroutine that performs the handshake and
// must not use the connection. With [VerifyDefer] f alone decides which certificates are
// accepted. A nil f removes the function.
func (c *Ctx) SetVerifyConnection(f func(ConnectionState) error) error {
	return c.change(func(libssl.CTX) error {
		c.verifyConnection = f
		return nil
	})
}
