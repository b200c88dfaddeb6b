package spec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sidctx/openssl"
)

// The mechanisms by which a server remembers a session.
const (
	Ticket   = "ticket"   // the client carries it, sealed
	Stateful = "stateful" // libssl's own cache: by session id in TLS 1.2, by a 32-byte ticket in TLS 1.3
	External = "external" // a SessionStore, libssl's cache being off
)

// Site is a server Ctx with one mechanism, and what it remembers.
type Site struct {
	Ctx       *openssl.Ctx
	Mechanism string
	Store     *Store // nil unless the mechanism is External

	// Forgets says that libssl is expected to keep no session: the server asks
	// for certificates and has no context.
	Forgets bool
}

// NewSite gives a server Ctx a mechanism.
func NewSite(c *openssl.Ctx, mechanism string) (*Site, error) {
	s := &Site{Ctx: c, Mechanism: mechanism}
	if err := s.Join(c); err != nil {
		return nil, err
	}
	if mechanism == External {
		s.Store = NewStore()
		return s, c.SetSessionStore(s.Store)
	}
	return s, nil
}

// Plain leaves the decision to libssl: lifetime caps and the checks after a
// resumption are off.
func Plain(c *openssl.Ctx) error {
	return errors.Join(c.SetMaxAuthAge(0), c.SetResumptionChecks(false))
}

// Join prepares another server Ctx to be switched to from this site.
func (s *Site) Join(c *openssl.Ctx) error {
	if s.Mechanism == Ticket {
		return nil
	}
	return c.SetOptions(openssl.OptionNoTicket)
}

// Store is a SessionStore in memory. What is put there comes when it comes: no
// handshake waits for it. So the function that looks for a session waits for a while.
type Store struct {
	mu       sync.Mutex
	ids      [][]byte
	sessions [][]byte
	asked    int
	changed  chan struct{} // closed by the next Put
}

// NewStore is an empty store.
func NewStore() *Store { return &Store{changed: make(chan struct{})} }

// How long to wait for a session that should come, and for one that should not.
const (
	patience = 5 * time.Second
	grace    = 50 * time.Millisecond
)

// Put keeps a session.
func (s *Store) Put(_ context.Context, id, session []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, bytes.Clone(id))
	s.sessions = append(s.sessions, bytes.Clone(session))
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Get finds a session. One that is not there may be on its way.
func (s *Store) Get(ctx context.Context, id []byte) ([]byte, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	session := s.find(2*grace, func(stored, _ []byte) bool { return bytes.Equal(stored, id) })
	if session == nil {
		return nil, openssl.ErrSessionNotFound
	}
	return session, ctx.Err()
}

// find waits for a session that matches by what it was put under, or by itself.
func (s *Store) find(wait time.Duration, matches func(id, session []byte) bool) []byte {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for seen, late := 0, false; ; {
		s.mu.Lock()
		for ; seen < len(s.ids); seen++ {
			if matches(s.ids[seen], s.sessions[seen]) {
				defer s.mu.Unlock()
				return s.sessions[seen]
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if late {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			late = true
		}
	}
}

// Delete does nothing: no test needs it.
func (s *Store) Delete(context.Context, []byte) error { return nil }

// Sessions is every session that was put, in DER.
func (s *Store) Sessions() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[:len(s.sessions):len(s.sessions)]
}

// Asked is how often somebody asked for a session.
func (s *Store) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Offer is what one connection does differently.
type Offer struct {
	Session *openssl.Session // that the client offers
	Client  func(*openssl.SSL) error
	Server  func(*openssl.SSL) error // before the handshake
	Hello   func(*openssl.SSL) error // while the ClientHello is suspended
	SIDCtx  func(*openssl.Conn) error
	Name    string // to call; server.test if it is empty, no name if it is "-"
	Kill    bool   // both ends close without close_notify
}

// Meeting is what one connection came to. The caller closes it.
type Meeting struct {
	Client, Server       openssl.ConnectionState
	ClientErr, ServerErr error
	Session              *openssl.Session // the client's newest, nil for none
	Hellos               int              // how often the ClientHello was suspended
}

// Close closes the session.
func (m *Meeting) Close() {
	if m.Session != nil {
		m.Session.Close()
	}
}

// Outcome says in the letters of decisions.txt what both ends report of a
// connection that offered a session.
func (m *Meeting) Outcome() string {
	switch c, s := m.Client.DidResume, m.Server.DidResume; {
	case m.ClientErr != nil || m.ServerErr != nil:
		return m.failure()
	case c && s && len(m.Server.PeerCertificates) > 0:
		return "R+"
	case c && s:
		return "R-"
	case !c && !s:
		return "f"
	}
	return fmt.Sprintf("the client says resumed: %v, the server: %v", m.Client.DidResume, m.Server.DidResume)
}

func (m *Meeting) failure() string {
	alert := alertOf(m.ClientErr)
	switch {
	case errors.Is(m.ServerErr, openssl.ErrSessionIDContextUninitialized) && alert == alertInternalError:
		return "X"
	case m.ServerErr != nil && strings.Contains(m.ServerErr.Error(), "peer did not return a certificate") &&
		(alert == alertHandshakeFailure || alert == alertCertificateRequired):
		return "N"
	}
	return fmt.Sprintf("the client says: %v; the server: %v", m.ClientErr, m.ServerErr)
}

// Connect is one connection between a client and the site, over memory.
// What fails in the handshake is in the Meeting; err is for what should not fail.
func (s *Site) Connect(client *openssl.Ctx, o Offer) (m *Meeting, err error) {
	c, err := openssl.NewSSL(client)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	server, err := openssl.NewSSL(s.Ctx)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	if err := errors.Join(o.callName(c), call(o.Client, c), call(o.Server, server)); err != nil {
		return nil, err
	}
	if o.Session != nil {
		if err := c.SetSession(o.Session); err != nil {
			return nil, err
		}
	}
	m = &Meeting{}
	m.ClientErr, m.ServerErr, err = Shake(c, server, func() error {
		m.Hellos++
		return errors.Join(call(o.Hello, server), s.answer(server))
	})
	if err != nil {
		return nil, err
	}
	m.Client, m.Server = c.ConnectionState(), server.ConnectionState()
	if m.ClientErr != nil || m.ServerErr != nil {
		return m, nil
	}
	if m.Session, err = c.Session(); err != nil && !errors.Is(err, openssl.ErrSessionNotFound) {
		return nil, err
	}
	if o.Kill {
		return m, nil
	}
	_, clientErr := c.Shutdown()
	_, serverErr := server.Shutdown()
	return m, errors.Join(clientErr, serverErr)
}

func (o Offer) callName(c interface{ SetServerName(string) error }) error {
	switch o.Name {
	case "-":
		return nil
	case "":
		return c.SetServerName("server.test")
	}
	return c.SetServerName(o.Name)
}

func call(f func(*openssl.SSL) error, s *openssl.SSL) error {
	if f == nil {
		return nil
	}
	return f(s)
}

// answer gives libssl the session that the client offers, if the store was ever
// given it, whatever its context: what to make of it is libssl's decision.
func (s *Site) answer(server *openssl.SSL) error {
	if s.Store == nil {
		return nil
	}
	wait := patience
	if s.Forgets {
		wait = grace
	}
	for _, id := range server.OfferedSessionIDs() {
		der := s.Store.find(wait, func(_, session []byte) bool {
			stored, err := openssl.ParseSession(session)
			if err != nil {
				return false
			}
			defer stored.Close()
			return bytes.Equal(stored.ID(), id)
		})
		if der == nil {
			continue
		}
		if err := server.AnswerSession(der); err != nil {
			return err
		}
	}
	return nil
}

// Shake does a handshake between two machines and has the client read the
// tickets. It returns each end's error, and what went wrong in between.
func Shake(c, s *openssl.SSL, hello func() error) (clientErr, serverErr, err error) {
	cw, sw := openssl.WantInput, openssl.WantInput
	over := func(w openssl.Want, err error) bool { return w == openssl.WantNothing || err != nil }
	for range 30 {
		if !over(cw, clientErr) {
			cw, clientErr = c.Handshake()
		}
		if _, err := carry(c, s); err != nil {
			return nil, nil, err
		}
		if !over(sw, serverErr) {
			if sw, serverErr = s.Handshake(); sw == openssl.WantClientHello && serverErr == nil {
				if err := hello(); err != nil {
					return nil, nil, err
				}
			}
		}
		moved, err := carry(s, c)
		if err != nil {
			return nil, nil, err
		}
		if over(cw, clientErr) && over(sw, serverErr) && !moved {
			return clientErr, serverErr, nil
		}
		if cw == openssl.WantNothing && clientErr == nil && moved {
			_, _, clientErr = c.Read(make([]byte, 1))
		}
	}
	return nil, nil, errors.New("spec: the handshake does not end")
}

func carry(from, to *openssl.SSL) (moved bool, err error) {
	for p := make([]byte, 16<<10); from.Pending() > 0; moved = true {
		if _, err := to.Feed(p[:from.Drain(p)]); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// First is a connection that offers nothing. With an external store it goes
// over TCP, since it is a Conn that fills the store.
func (s *Site) First(client *openssl.Ctx, o Offer) (*Meeting, error) {
	if s.Mechanism != External {
		return s.Connect(client, o)
	}
	return s.Dial(client, o)
}

// Dial is Connect over TCP, with a Conn on either end. Of the offer it knows
// Session, Name and SIDCtx.
func (s *Site) Dial(client *openssl.Ctx, o Offer) (m *Meeting, err error) {
	near, far, err := tcpPair()
	if err != nil {
		return nil, err
	}
	c, err := openssl.Client(near, client)
	if err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	defer c.Close()
	server, err := openssl.Server(far, s.Ctx)
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	defer server.Close()
	if err := o.callName(c); err != nil {
		return nil, err
	}
	if o.SIDCtx != nil {
		if err := o.SIDCtx(server); err != nil {
			return nil, err
		}
	}
	if o.Session != nil {
		if err := c.SetSession(o.Session); err != nil {
			return nil, err
		}
	}
	m = &Meeting{}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		if m.ServerErr = server.Handshake(); m.ServerErr != nil {
			return
		}
		m.Server = server.ConnectionState()
		if _, m.ServerErr = server.Write([]byte{0}); m.ServerErr == nil {
			server.Read(make([]byte, 1)) // the client's goodbye
		}
	})
	if m.ClientErr = c.Handshake(); m.ClientErr == nil {
		_, m.ClientErr = c.Read(make([]byte, 1)) // the tickets stand before it
	}
	m.Client = c.ConnectionState()
	if m.ClientErr == nil {
		if m.Session, err = c.Session(); errors.Is(err, openssl.ErrSessionNotFound) {
			err = nil
		}
	}
	c.Close()
	wg.Wait()
	return m, err
}

func tcpPair() (near, far net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = l.Accept(); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}
