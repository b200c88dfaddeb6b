//go:build cgo

package tlstest

import (
	"errors"
	"testing"

	"github.com/sidctx/openssl"
)

// Result is what both ends of one connection came to.
type Result struct {
	Client, Server       openssl.ConnectionState
	ClientErr, ServerErr error
	Session              *openssl.Session // the client's, nil if it got none; closed with the test
}

// Pair is one connection: who, what the client offers, and what is said to
// either end before the handshake or when the server is asked.
type Pair struct {
	Client, Server *openssl.Ctx
	Offer          *openssl.Session
	AtServer       func(t testing.TB, s SidSetter)
	Answer         func(t testing.TB, s *openssl.SSL) // machines only; Conn has SetClientHelloFunc
}

// SidSetter is an SSL or a Conn.
type SidSetter interface{ SetSessionIDContext([]byte) error }

// Transports make one connection from end to end; the session lives on.
var Transports = []struct {
	Name    string
	Connect func(t testing.TB, x Pair) Result
}{
	{"machines", ConnectMachines},
	{"TCP", ConnectTCP},
}

// ConnectMachines connects two machines.
func ConnectMachines(t testing.TB, x Pair) (e Result) {
	t.Helper()
	c, s := Machines(t, x.Client, x.Server)
	if x.Offer != nil {
		must(t, c.SetSession(x.Offer))
	}
	if x.AtServer != nil {
		x.AtServer(t, s)
	}
	var answer func(s *openssl.SSL)
	if x.Answer != nil {
		answer = func(s *openssl.SSL) { x.Answer(t, s) }
	}
	e.ClientErr, e.ServerErr = ShakeAnswering(t, c, s, answer)
	e.Client, e.Server = c.ConnectionState(), s.ConnectionState()
	if e.ClientErr == nil && e.ServerErr == nil {
		e.Session = SessionOf(t, c)
		Goodbye(t, c, s)
	}
	must(t, c.Close())
	must(t, s.Close())
	return e
}

// ConnectTCP connects two Conns over loopback, with a message there and back.
func ConnectTCP(t testing.TB, x Pair) (e Result) {
	t.Helper()
	c, s := Conns(t, x.Client, x.Server)
	if x.Offer != nil {
		must(t, c.SetSession(x.Offer))
	}
	if x.AtServer != nil {
		x.AtServer(t, s)
	}
	return Converse(t, c, s)
}

// Converse is a conversation that the client begins and ends, as each end sees it.
func Converse(t testing.TB, c, s *openssl.Conn) (e Result) {
	t.Helper()
	e.ClientErr, e.ServerErr = Both(func() error {
		err := RoundTrip(c, []byte("hello"))
		e.Client = c.ConnectionState()
		if err == nil {
			e.Session = SessionOf(t, c)
		}
		return errors.Join(err, c.Close())
	}, func() error {
		err := s.Handshake()
		e.Server = s.ConnectionState()
		if err == nil {
			err = Echo(s)
		}
		return errors.Join(err, s.Close())
	})
	return e
}

// SessionOf is the newest session of an end, closed with the test, nil if there is none.
func SessionOf(t testing.TB, from interface {
	Session() (*openssl.Session, error)
}) *openssl.Session {
	t.Helper()
	sess, err := from.Session()
	if errors.Is(err, openssl.ErrSessionNotFound) {
		return nil
	}
	if err != nil {
		t.Errorf("Session: %v", err)
		return nil
	}
	t.Cleanup(func() { sess.Close() })
	return sess
}

// Connect connects two machines, which must succeed, and returns what became of the
// session.
func Connect(t testing.TB, x Pair) Result {
	t.Helper()
	e := ConnectMachines(t, x)
	if e.ClientErr != nil || e.ServerErr != nil {
		t.Fatalf("handshake: client %v, server %v", e.ClientErr, e.ServerErr)
	}
	return e
}

// Reparse is a copy of a session by way of its DER, closed with the test: what a
// connection does to it does not touch the first one.
func Reparse(t testing.TB, sess *openssl.Session) *openssl.Session {
	t.Helper()
	return ParseSession(t, SessionDER(t, sess))
}

// Offer is a Connect that offers a copy of sess, unless that is nil. It returns what
// the client can resume next, nil for nothing, and what the server made of the offer.
func Offer(t testing.TB, client, server *openssl.Ctx, sess *openssl.Session) (*openssl.Session, openssl.Resumption) {
	t.Helper()
	x := Pair{Client: client, Server: server}
	if sess != nil {
		x.Offer = Reparse(t, sess)
	}
	e := Connect(t, x)
	if resumed := e.Server.Resumption == openssl.ResumptionResumed; resumed != e.Server.DidResume || resumed != e.Client.DidResume {
		t.Fatalf("resumption is %v, DidResume %v on the server and %v on the client",
			e.Server.Resumption, e.Server.DidResume, e.Client.DidResume)
	}
	return e.Session, e.Server.Resumption
}

// MustOffer is an Offer of which the server makes what the test wants.
func MustOffer(t testing.TB, client, server *openssl.Ctx, sess *openssl.Session, want openssl.Resumption) *openssl.Session {
	t.Helper()
	next, got := Offer(t, client, server, sess)
	if got != want {
		t.Fatalf("resumption: %v, want %v", got, want)
	}
	return next
}
