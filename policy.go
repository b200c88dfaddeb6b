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

// SessionPolicy is what a derived session id context says beyond what its Ctx
// holds.
type SessionPolicy struct {
	// Label names the service: sessions of two labels never meet.
	Label string
	// Generation is what [Ctx.Revoke] has returned last, 0 for the first time:
	// it carries a revocation over restarts, and to other machines.
	Generation uint64
	// Extra is anything else that must not be crossed: a tenant, the version of
	// the rules by which SetVerifyConnection's function decides.
	Extra [][]byte
}

// DeriveSessionIDContext has the session id context be a hash of everything
// that a session must not cross: p, the names and issuer of each certificate (so
// that a renewed one keeps its sessions), verify mode and depth, every CA and
// revocation list, the names of CAs that are sent, ALPN, the versions, the security
// level and what Conf was told. Of a folder of CAs it knows the name only. It is
// 32 bytes, equal on every machine that is configured alike. What c is told
// afterwards is hashed, too: the context is settled when c freezes.
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

// Revoke ends all outstanding sessions of a derived context at once, by id and
// by ticket, in libssl's cache and in a store: connections from now on belong to
// the next generation of it. It holds for this process; persist the generation
// that it returns and give it to SessionPolicy.Generation, here after a restart
// and on other machines. A context that a caller sets on a connection is not
// touched. It may be called at any time.
//
// It is SSL_set_session_id_context, for every connection.
func (c *Ctx) Revoke() (generation uint64, err error) {
	err = c.use(func(ptr libssl.CTX) error {
		if c.derived == nil {
			return errors.New("openssl: Revoke needs a context that was derived, see DeriveSessionIDContext")
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

// serverIdentity is who a certificate says it is, and who says so: a renewed
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

// settlePolicy fixes, when a server Ctx freezes, what depends on everything that
// it was told.
func (c *Ctx) settlePolicy(ptr libssl.CTX, facts libssl.Settings) error {
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

// onOff is a switch that nobody may have touched.
type onOff struct{ set, on bool }

func (o onOff) or(otherwise bool) bool {
	if o.set {
		return o.on
	}
	return otherwise
}

// SetMaxAuthAge bounds, in whole seconds, how old the first authentication of a
// resumed session may be, through any chain of renewed tickets; 0 is no bound.
// An older one costs an honest client a full handshake. The default is 24 hours
// for a server that asks for client certificates, no bound for others.
//
// It is SSL_CTX_set_session_ticket_cb and SSL_SESSION_set_timeout.
func (c *Ctx) SetMaxAuthAge(d time.Duration) error {
	if d < 0 || d%time.Second != 0 {
		return fmt.Errorf("openssl: SetMaxAuthAge: %v is not a number of seconds", d)
	}
	return c.change(func(libssl.CTX) error {
		c.maxAuthAge, c.maxAuthAgeSet = d, true
		return nil
	})
}

// SetResumptionChecks says whether a resumed session is held against what libssl
// does not look at again: that there is a certificate where the verify mode
// requires one, that it has not expired since, that it was verified. Tickets
// that fail cost a full handshake; what can only be seen afterwards is
// [ErrResumptionRefused]. The default is true for a server that asks for client
// certificates.
func (c *Ctx) SetResumptionChecks(on bool) error {
	return c.change(func(libssl.CTX) error {
		c.checks = onOff{true, on}
		return nil
	})
}

// SetVerifyConnection has f look at every connection when its handshake is
// done, resumed or not, before a byte of it is read or written. An error ends
// the connection and is what the handshake returns; the state can still be
// read. f runs on the goroutine that does the handshake and may not use the
// connection. With [VerifyDefer] it is f alone who decides on certificates.
func (c *Ctx) SetVerifyConnection(f func(ConnectionState) error) error {
	return c.change(func(libssl.CTX) error {
		c.verifyConnection = f
		return nil
	})
}
