//go:build cgo

package isolation_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// TestRevoke ends what is outstanding, in every mechanism and with a store, and
// what is made afterwards lives.
func TestRevoke(t *testing.T) {
	for _, with := range []string{"its own", "the host's", "both", "a store"} {
		t.Run(with, func(t *testing.T) {
			eachMechanism(t, func(a *env) { revokeEnds(a, with) })
		})
	}
}

func revokeEnds(a *env, with string) {
	host := a.host("a.test", requires(fixtures.caA))
	listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
	switch with {
	case "its own":
		listener = a.host("a.test", requires(fixtures.caA))
		host = listener
	case "a store":
		listener = a.host("a.test", requires(fixtures.caA), a.sharing())
		host = listener
	}
	stale := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA})).session
	a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: stale}))
	before := string(host.SessionIDContext())
	for want := range uint64(2) {
		generation, err := host.Revoke()
		must(a, err)
		if generation != want+1 {
			a.Errorf("generation %d", generation)
		}
		if with == "both" {
			_, err := listener.Revoke()
			must(a, err)
		}
	}
	if string(host.SessionIDContext()) == before {
		a.Error("the context is the old one")
	}
	for range 3 {
		a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: stale}))
	}
	a.refused(a.connect(listener, client{name: "a.test", session: stale}))
	fresh := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA})).session
	a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: fresh}))
}

// TestRevokeOfTheListenerAlone does not touch a host's sessions.
func TestRevokeOfTheListenerAlone(t *testing.T) {
	eachMechanism(t, func(a *env) {
		host := a.host("a.test", requires(fixtures.caA))
		listener := a.listener(map[string]*openssl.Ctx{"a.test": host})
		session := a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA})).session
		_, err := listener.Revoke()
		must(a, err)
		a.resumed(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: session}))
	})
}

// TestRevokeIsCarriedOver: a Ctx of an equal policy is of the same context, whether
// it was given the generation, was made before Revoke or is made after it.
func TestRevokeIsCarriedOver(t *testing.T) {
	eachMechanism(t, func(a *env) {
		one := a.host("a.test", requires(fixtures.caA), a.sharing())
		before := a.host("a.test", requires(fixtures.caA), a.sharing())
		a.full(a.connect(before, client{name: "a.test", cert: fixtures.cliA}))
		stale := a.full(a.connect(one, client{name: "a.test", cert: fixtures.cliA})).session
		generation, err := one.Revoke()
		must(a, err)
		session := a.full(a.connect(one, client{name: "a.test", cert: fixtures.cliA})).session
		given := a.host("a.test", requires(fixtures.caA), a.sharing(),
			withPolicy(openssl.SessionPolicy{Label: "app", Generation: generation}))
		renewed := a.host("a.test", requires(fixtures.caA), a.sharing())
		for _, c := range []*openssl.Ctx{before, given, renewed} {
			a.full(a.connect(c, client{name: "a.test", cert: fixtures.cliA, session: stale}))
			a.resumed(a.connect(c, client{name: "a.test", cert: fixtures.cliA, session: session}))
		}
	})
}

// TestRevokeReachesWaitingConnections: a connection that was accepted before and
// says hello afterwards resumes nothing.
func TestRevokeReachesWaitingConnections(t *testing.T) {
	eachMechanism(t, func(a *env) {
		host := a.host("a.test", requires(fixtures.caA))
		session := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA})).session
		near, far := a.wire(a)
		s, err := openssl.Server(far, host)
		must(a, err)
		c, err := openssl.Client(near, a.client(fixtures.cliA, true))
		must(a, err)
		defer c.Close()
		defer s.Close() // first, or a client that has read no ticket waits for it
		must(a, s.SetDeadline(time.Now().Add(10*time.Second)))
		must(a, c.SetServerName("a.test"))
		sess, err := openssl.ParseSession(session)
		must(a, err)
		must(a, c.SetSession(sess))
		must(a, sess.Close())
		_, err = host.Revoke()
		must(a, err)
		clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake)
		if clientErr != nil || serverErr != nil || s.ConnectionState().DidResume {
			a.Fatalf("resumed %v: client %v, server %v", s.ConnectionState().DidResume, clientErr, serverErr)
		}
		if got := s.ConnectionState().SessionIDContext; string(got) != string(host.SessionIDContext()) {
			a.Errorf("the session is of %x", got)
		}
	})
}

// TestRevokeLeavesAnOwnContext: one that was set on a connection is the caller's.
func TestRevokeLeavesAnOwnContext(t *testing.T) {
	eachMechanism(t, func(a *env) {
		host := a.host("a.test")
		session := []byte(nil)
		for range 2 {
			near, far := a.wire(a)
			s, err := openssl.Server(far, host)
			must(a, err)
			must(a, s.SetSessionIDContext([]byte("own")))
			c, err := openssl.Client(near, a.client(nil, true))
			must(a, err)
			must(a, c.SetServerName("a.test"))
			if session != nil {
				sess, err := openssl.ParseSession(session)
				must(a, err)
				must(a, c.SetSession(sess))
				must(a, sess.Close())
			}
			clientErr, serverErr := tlstest.Both(func() error {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					return err
				}
				if c.ConnectionState().DidResume != (session != nil) {
					return errors.New("Revoke has touched a context of a connection")
				}
				sess, err := c.Session()
				if err != nil {
					return err
				}
				defer sess.Close()
				session, err = sess.MarshalBinary()
				return err
			}, func() error {
				defer s.Close()
				if _, err := s.Write([]byte{1}); err != nil {
					return err
				}
				_, err := io.Copy(io.Discard, s)
				return err
			})
			if clientErr != nil || serverErr != nil {
				a.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
			}
			_, err = host.Revoke()
			must(a, err)
		}
	})
}

// TestRevokeAtAnyTime calls it while connections are made, with trust that
// libssl looks up in a folder.
func TestRevokeAtAnyTime(t *testing.T) {
	a := anEnv(t)
	host := a.host("a.test", asks(fixtures.caA), func(t testing.TB, c *openssl.Ctx) {
		must(t, c.LoadVerifyLocations("", t.TempDir()))
	})
	a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if _, err := host.Revoke(); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for range 20 {
		a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	}
	close(stop)
	must(t, <-done)
}
