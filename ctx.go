//go:build cgo

package openssl

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// Ctx wraps an SSL_CTX: the configuration shared by the connections made from it.
// [NewServerCtx] and [NewClientCtx] make one for servers and for clients.
//
// A Ctx must be configured before it is used. It is frozen by the first connection
// that is made from it or switched to it, by [Listen], and when it is added to [Hosts];
// from then on setters return [ErrCtxInUse]. A setter that fails leaves the previous value in
// force. If memory runs out in the middle of a change, the Ctx refuses to make
// connections from then on.
//
// The caller must close a Ctx that it has made. Connections made from it are not
// affected and continue to work. All methods may be called from any goroutine.
type Ctx struct {
	h       libssl.Handle[libssl.CTX] // its lock guards what is neither atomic nor final once frozen
	server  bool
	library *library // nil for the default one

	// Set before c is frozen, and final then.
	sidCtx           sidContext
	sidCtxSet        bool     // a context was set, possibly the empty one
	trustSet         bool     // a setter has chosen which CAs to trust
	trustExact       bool     // CAs were given one by one
	addsTrust        bool     // beside the system's roots a client's store has something of its own
	confTrust        bool     // a command of Conf did: the next one adds to it
	confStore        bool     // and one of them named a store
	folders          [][]byte // digests of those of trust, which libssl looks into when it verifies
	crls             []byte
	confs            [][]byte // commands, each before its value or what the files hold that it names
	extended         []uint16 // the extensions of ServerInfoFile
	broken           string   // the setter that failed with a part of its change in place
	listenOnly       []string // the setters called that a switch leaves behind
	protocols        []string // for ALPN
	verify           VerifyMode
	verifyFlags      VerifyFlags
	verifyFlagsSet   bool
	psks             pskTable
	opaque           bool // certificates that crypto/x509 cannot read are accepted
	ocspRequest      bool // a client asks for an OCSP response
	verifyConnection func(ConnectionState) error
	checks           onOff
	maxAuthAge       time.Duration
	maxAuthAgeSet    bool
	hello            func(ctx context.Context, hello *ClientHello) (*Ctx, error)
	store            *storeClient
	modeBeforeStore  SessionCacheMode
	sessions         ClientSessionCache
	slots            *slots // of handshakes that may use a key in a token; nil without one

	// Settled when c is frozen.
	frozen       bool
	policy       []byte            // of a server: what hosts of one context must share
	base         baseContext       // of a derived context
	fingerprint  [sha256.Size]byte // of a client: what its sessions must not cross
	rootsMissing string            // of a client: why the system's roots are not all there

	// Changing after that.
	lastPeer   atomic.Pointer[peerCertificates] // whose certificates were parsed last
	closed     bool                             // by Close; the SSL_CTX may be freed later
	derived    *SessionPolicy                   // what sidCtx was derived from, nil if it was not
	generation uint64                           // of present
	present    sidContext                       // of a derived context: see presentLocked
	fleet      *fleetKeys                       // ticket keys that follow the clock
	routed     bool                             // connections are switched to it
	logsKeys   bool                             // its connections collect lines for a key log
	keyLog     io.Writer                        // guarded by keyLogs.mu

	resumptions [resumptionKinds]atomic.Int64
	refused     atomic.Int64
}

// sidContext is a session id context as a value: setting one allocates nothing.
type sidContext struct {
	b [libssl.MaxSIDCtx]byte
	n int
}

func newSIDContext(b []byte) (c sidContext) {
	c.n = copy(c.b[:], b)
	return c
}

func (c *sidContext) bytes() []byte { return c.b[:c.n] }

// NewServerCtx returns a new Ctx for servers. Its minimum version is TLS 1.2, or the
// minimum set in openssl.cnf if that is higher. Renegotiation is disabled. It does not
// request client certificates and trusts no CA until configured otherwise. The caller
// must close it.
//
// It is SSL_CTX_new with TLS_server_method.
func NewServerCtx() (*Ctx, error) { return newCtx(nil, true) }

// NewClientCtx returns a new Ctx for clients. It verifies the server's certificate
// chain and name against the system's roots, unless changed with [Ctx.SetVerifyCAs],
// [Ctx.SetClientCAs], [Ctx.LoadVerifyLocations], [Ctx.SetVerify] or [Ctx.Conf]; with
// [Ctx.AddVerifyCAs] against others beside them. Its minimum version is TLS 1.2, or the
// minimum set in openssl.cnf if that is higher. The caller must close it.
//
// The system's roots are the certificates in the file and the folder that SSL_CERT_FILE and
// SSL_CERT_DIR name, or in those of OpenSSL. The file is read when the first Ctx that
// trusts them makes a connection; the Ctxs that follow share what was read, until one of
// the variables changes. Of a file with damaged certificates the others are trusted, it is
// read again for each Ctx, and a handshake that fails for an unknown issuer tells of it. If
// all are damaged no connection is made.
//
// It is SSL_CTX_new with TLS_client_method.
func NewClientCtx() (*Ctx, error) { return newCtx(nil, false) }

func newCtx(l *library, server bool) (*Ctx, error) {
	p, fail := libssl.NewCTX(l.pointer(), server)
	if err := asError(fail); err != nil {
		return nil, err
	}
	c := &Ctx{server: server, library: l}
	c.h.Own(p)
	return c, nil
}

// Close releases the Ctx. Later calls of its methods return an error that wraps
// [net.ErrClosed]; connections made from it or switched to it continue to work. Close may
// be called more than once.
//
// Close may be called at any time, also while the function of SetClientHelloFunc, [Hosts]
// among them, returns c to a connection: the SSL_CTX is freed when the calls of such
// functions have ended that were running at the time of Close.
//
// It is SSL_CTX_free.
func (c *Ctx) Close() error {
	if c == nil {
		return errNilCtx
	}
	c.h.Mu.Lock()
	was := c.closed
	c.closed = true
	c.h.Mu.Unlock()
	if !was && !helloCalls.defers(c) {
		c.free()
	}
	return nil
}

// free frees the SSL_CTX of a closed Ctx.
func (c *Ctx) free() {
	c.h.Mu.Lock()
	defer c.h.Mu.Unlock()
	c.h.CloseLocked()
}

// lock locks c.h.Mu, or returns an error if c is nil or closed. The caller unlocks it
// after a nil error.
func (c *Ctx) lock() error {
	if c == nil {
		return errNilCtx
	}
	c.h.Mu.Lock()
	if c.closed || c.h.ClosedLocked() { // or it was never made
		c.h.Mu.Unlock()
		return errCtxClosed
	}
	return nil
}

// use calls f with the SSL_CTX, under the lock.
func (c *Ctx) use(f func(p libssl.CTX) error) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.h.Mu.Unlock()
	return f(c.h.P)
}

// useUntilFreed is use for a Ctx that may have been closed while a ClientHello function
// was about to return it.
func (c *Ctx) useUntilFreed(act func(p libssl.CTX) error) error {
	if c == nil {
		return errNilCtx
	}
	c.h.Mu.Lock()
	defer c.h.Mu.Unlock()
	if c.h.ClosedLocked() {
		return errCtxClosed
	}
	return act(c.h.P)
}

// change is use for a Ctx that must not be frozen.
func (c *Ctx) change(f func(p libssl.CTX) error) error {
	return c.use(func(p libssl.CTX) error {
		if c.frozen {
			return ErrCtxInUse
		}
		return f(p)
	})
}

// took records the outcome of a setter that changes the SSL_CTX in more than one
// step. If it failed in between, the Ctx makes no connections any more.
func (c *Ctx) took(setter string, r libssl.Changed) error {
	if r.Half {
		c.broken = setter
	}
	return asError(r.Fail)
}

// SetSessionIDContext sets the session id context of the connections made from c. A
// server resumes a session only if the session was created under the same context; a
// client with any other session gets a full handshake. sidCtx has at most 32 bytes of
// any value and is copied. An empty or nil sidCtx selects the empty context explicitly;
// OpenSSL then resumes sessions only where no client certificate is requested. A server
// that requests client certificates and may resume sessions must have a context.
//
// On failure, for example [ErrSessionIDContextTooLong], the previous context remains in
// force. After success it replaces a context set with [Ctx.DeriveSessionIDContext].
//
// It is SSL_CTX_set_session_id_context.
func (c *Ctx) SetSessionIDContext(sidCtx []byte) error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.h.Mu.Unlock()
	if c.frozen {
		return ErrCtxInUse
	}
	if err := setCtxSIDContext(c.h.P, sidCtx); err != nil {
		return err
	}
	c.sidCtx, c.sidCtxSet, c.derived = newSIDContext(sidCtx), true, nil
	return nil
}

// SessionIDContext returns a copy of the context that new connections get: the one set
// last, as changed by [Ctx.Revoke]. It returns nil if none was set or if c is closed.
// libssl has no getter for it.
func (c *Ctx) SessionIDContext() (sidCtx []byte) {
	c.use(func(libssl.CTX) error {
		present := c.presentLocked()
		sidCtx = append(sidCtx, present.bytes()...)
		return nil
	})
	return sidCtx
}

// SetMinVersion sets the lowest protocol version, for example [crypto/tls.VersionTLS12].
// The default is TLS 1.2, or the minimum set in openssl.cnf if that is higher. On failure
// the previous version remains in force.
//
// It is SSL_CTX_set_min_proto_version.
func (c *Ctx) SetMinVersion(v uint16) error { return c.setVersion(v, libssl.CTX.SetMinVersion) }

// SetMaxVersion sets the highest protocol version. The default is the highest version
// that libssl supports and openssl.cnf allows. On failure the previous version remains in
// force.
//
// It is SSL_CTX_set_max_proto_version.
func (c *Ctx) SetMaxVersion(v uint16) error { return c.setVersion(v, libssl.CTX.SetMaxVersion) }

func (c *Ctx) setVersion(v uint16, set func(libssl.CTX, uint16) *libssl.Failure) error {
	if v == 0 { // libssl would take it for "any"
		return errors.New("openssl: 0 is no protocol version")
	}
	return c.change(func(p libssl.CTX) error {
		if err := asError(set(p, v)); err != nil { // libssl gives no reason
			return fmt.Errorf("openssl: %s: %#04x is no protocol version that the linked OpenSSL supports", err.(*Error).Op, v)
		}
		return nil
	})
}

// SetCipherList sets the cipher suites of TLS 1.2 and earlier, in OpenSSL's notation. On
// failure the previous list remains in force.
//
// It is SSL_CTX_set_cipher_list.
func (c *Ctx) SetCipherList(list string) error {
	return c.setList("SetCipherList", list, libssl.CTX.SetCipherList)
}

// CipherList returns OpenSSL's names of the cipher suites that c allows, in order of
// preference, those of TLS 1.3 first, for logs for example. It returns nil if c is closed.
//
// It is SSL_CTX_get_ciphers.
func (c *Ctx) CipherList() (names []string) {
	c.use(func(p libssl.CTX) error {
		names = p.CipherNames()
		return nil
	})
	return names
}

// SetCipherSuites sets the cipher suites of TLS 1.3, as names separated by colons. On
// failure the previous list remains in force.
//
// It is SSL_CTX_set_ciphersuites.
func (c *Ctx) SetCipherSuites(list string) error {
	return c.setList("SetCipherSuites", list, libssl.CTX.SetCipherSuites)
}

// SetGroups sets the groups for key exchange in order of preference, as names separated
// by colons. Connections that are switched to another Ctx keep the groups of the first
// one. On failure the previous list remains in force.
//
// It is SSL_CTX_set1_groups_list.
func (c *Ctx) SetGroups(list string) error {
	if list == "" { // 3.5 and later would take it for "any"
		return errors.New("openssl: SSL_CTX_set1_groups_list: no group is named")
	}
	return c.setList("SetGroups", list, func(p libssl.CTX, list string) libssl.Changed {
		r := p.SetGroups(list)
		if r.Fail == nil {
			c.listenOnly = append(c.listenOnly, "SetGroups")
		}
		return r
	})
}

func (c *Ctx) setList(setter, list string, set func(libssl.CTX, string) libssl.Changed) error {
	if strings.IndexByte(list, 0) >= 0 {
		return errors.New("openssl: a list with a NUL byte")
	}
	return c.change(func(p libssl.CTX) error {
		if err := c.took(setter, set(p, list)); err != nil {
			what := strconv.Quote(list)
			var e *Error
			if errors.As(err, &e) && len(e.Stack) == 0 { // as for groups in 1.1.1
				what += " has a name that this version of OpenSSL does not know"
			}
			return explain(what, err)
		}
		return nil
	})
}

// SetALPN sets the application protocols: those that a client offers, or those that a
// server supports, in order of preference. A server refuses a client that offers protocols
// and shares none with it, with the alert no_application_protocol. Without arguments
// SetALPN disables ALPN. On failure the previous protocols remain in force.
//
// After a switch to another Ctx the protocols of that one are used: with [Hosts], call
// SetALPN on each Ctx that is added, or its clients speak HTTP/1.1.
//
// ALPN only chooses the protocol; the program must speak it. A plain [net/http.Server]
// answers a client that was promised "h2" with HTTP/1.1, which the client cannot read:
// offer "h2" where package httpx serves, and "http/1.1" alone elsewhere. The same holds for
// a [net/http.Transport] whose DialTLSContext is a [Dialer]'s: for "h2" use that of httpx.
//
// It is SSL_CTX_set_alpn_protos on a client, SSL_CTX_set_alpn_select_cb on a server.
func (c *Ctx) SetALPN(protocols ...string) error {
	for _, name := range protocols {
		if len(name) < 1 || len(name) > 255 {
			return fmt.Errorf("openssl: ALPN protocol %q: a name has 1 to 255 bytes", name)
		}
	}
	wire := protocolNames(protocols)
	if len(wire) > 1<<16-1 {
		return fmt.Errorf("openssl: ALPN: %d bytes of names do not fit into a ClientHello", len(wire))
	}
	return c.change(func(p libssl.CTX) error {
		if err := asError(p.SetALPN(c.server, wire)); err != nil {
			return err
		}
		c.protocols = slices.Clone(protocols)
		return nil
	})
}

// protocolNames returns names as a ClientHello has them.
func protocolNames(names []string) (wire []byte) {
	for _, name := range names {
		wire = append(append(wire, byte(len(name))), name...)
	}
	return wire
}

// SetOptions adds options to those in force.
//
// It is SSL_CTX_set_options.
func (c *Ctx) SetOptions(o Options) error {
	return c.change(func(p libssl.CTX) error {
		p.SetOptions(uint64(o), 0)
		return nil
	})
}

// ClearOptions removes options. [OptionNoRenegotiation] cannot be removed: TLS over
// memory does not renegotiate.
//
// It is SSL_CTX_clear_options.
func (c *Ctx) ClearOptions(o Options) error {
	if o&OptionNoRenegotiation != 0 {
		return errRenegotiation
	}
	return c.change(func(p libssl.CTX) error {
		p.SetOptions(0, uint64(o))
		return nil
	})
}

var errRenegotiation = errors.New("openssl: renegotiation is not offered: OptionNoRenegotiation stays set")

// Options returns the options in force. It returns 0 if c is closed.
//
// It is SSL_CTX_get_options.
func (c *Ctx) Options() (o Options) {
	c.use(func(p libssl.CTX) error {
		o = Options(p.SetOptions(0, 0))
		return nil
	})
	return o
}

// SetClientHelloFunc sets a function that chooses, for each connection that a server
// accepts, the Ctx and the session id context. It is called while the ClientHello is
// suspended, the last moment before OpenSSL decides about resumption.
//
// f runs on the goroutine that performs the handshake, outside of C. It returns another
// server Ctx to continue with, or nil to keep the present one. If it returns an error, the
// connection is refused with the [crypto/tls.AlertError] that
// [errors.As] finds in it, or with internal_error. Its context ends when the context of
// the handshake ends and when the connection is closed. After a HelloRetryRequest f is
// called again, and must give the same answer.
//
// A nil f removes the function. [Conn] calls f; a bare [SSL] returns [WantClientHello]
// instead.
//
// It is SSL_CTX_set_client_hello_cb with SSL_CLIENT_HELLO_RETRY.
func (c *Ctx) SetClientHelloFunc(f func(ctx context.Context, hello *ClientHello) (*Ctx, error)) error {
	return c.change(func(libssl.CTX) error {
		if !c.server {
			return errors.New("openssl: a ClientHello function is for servers: this Ctx was made by NewClientCtx")
		}
		c.hello = f
		return nil
	})
}

// freeze marks c as in use, or returns why it cannot be used yet. It is called by
// use.
func (c *Ctx) freeze(p libssl.CTX) error {
	if c.frozen {
		return nil
	}
	facts := p.Settings()
	if err := c.ready(facts); err != nil {
		return err
	}
	switch {
	case c.server:
		if err := c.freezePolicy(p, facts); err != nil {
			return err
		}
	case c.sessions != nil:
		if err := c.freezeFingerprint(p, facts); err != nil {
			return err
		}
	}
	if !c.server && VerifyMode(facts.Verify)&VerifyPeer != 0 && !c.trustSet {
		if err := c.useSystemRoots(p); err != nil {
			return err
		}
	}
	c.frozen = true
	if err := c.rotateFleetKeys(p, time.Now()); err != nil { // for a context and a lifetime that are final now
		c.frozen = false
		return err
	}
	return nil
}

// ready returns an error if c lacks something that a connection needs.
func (c *Ctx) ready(facts libssl.Settings) error {
	mayResume := Options(facts.Options)&OptionNoTicket == 0 || facts.ServerCache
	switch {
	case c.broken != "":
		return fmt.Errorf("openssl: %s failed with a part of its change in place: this Ctx makes no connections, make another one", c.broken)
	case c.verifyFault(VerifyMode(facts.Verify)) != "":
		return errors.New("openssl: the verify mode that openssl.cnf or Conf has set: " + c.verifyFault(VerifyMode(facts.Verify)))
	case Options(facts.Options)&OptionNoRenegotiation == 0:
		return errRenegotiation
	case c.verify&VerifyDefer != 0 && c.verifyConnection == nil:
		return errors.New("openssl: VerifyDefer leaves the decision to SetVerifyConnection, and no function is set")
	case !c.server:
		return nil
	case c.lacksCertificate(facts) && c.hello == nil && c.psks == nil:
		return errors.New("openssl: this server Ctx has neither a certificate (UseCertificate), a PSK (UsePSK) " +
			"nor a ClientHello function (SetClientHelloFunc): call one of them first, " +
			"or allow nothing but anonymous suites with SetCipherList and SetMaxVersion(tls.VersionTLS12)")
	case VerifyMode(facts.Verify)&VerifyPeer != 0 && (mayResume || c.psks != nil) && !c.sidCtxSet:
		return explain("this server Ctx asks for client certificates and may resume sessions, or has PSKs: "+
			"set a context with DeriveSessionIDContext or SetSessionIDContext", ErrSessionIDContextUninitialized)
	}
	return nil
}

// lacksCertificate reports whether a server has no certificate and may choose a suite that
// needs one: other than the anonymous ones, which TLS 1.3 has not.
func (c *Ctx) lacksCertificate(facts libssl.Settings) bool {
	before13 := facts.MaxVersion != 0 && facts.MaxVersion <= tls.VersionTLS12 || Options(facts.Options)&OptionNoTLSv13 != 0
	return !facts.HasCertificate && !(facts.Anonymous && before13)
}

// checkRoutable refuses a Ctx with settings that a switch would leave behind. It
// is called by use.
func (c *Ctx) checkRoutable() error {
	if len(c.listenOnly) > 0 {
		return fmt.Errorf("openssl: %s has been called on a Ctx that connections are switched to: "+
			"libssl uses this setting of the listener's Ctx only, call it there", c.listenOnly[0])
	}
	c.routed = true
	return nil
}

// configuredSIDContext holds for a closed Ctx, too: a connection may leave one.
func (c *Ctx) configuredSIDContext() sidContext {
	c.h.Mu.Lock()
	defer c.h.Mu.Unlock()
	return c.sidCtx
}
