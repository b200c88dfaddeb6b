//go:build cgo

package isolation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// passed fails the test unless both ends were content.
func (a *env) passed(o result) result {
	a.Helper()
	if o.clientErr != nil || o.serverErr != nil || !o.served {
		a.Fatalf("%v: client %v, server %v", o, o.clientErr, o.serverErr)
	}
	return o
}

// deferring accepts any certificate; f, if not nil, decides.
func deferring(f func(openssl.ConnectionState) error) setting {
	return func(t testing.TB, c *openssl.Ctx) {
		if f == nil {
			f = func(openssl.ConnectionState) error { return nil }
		}
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert|openssl.VerifyDefer))
		must(t, c.SetVerifyConnection(f))
	}
}

// selfSigned is issued by no CA.
func selfSigned(t testing.TB, name string) *identity {
	t.Helper()
	key := tlstest.ECKey(t)
	template := &x509.Certificate{
		SerialNumber: tlstest.NextSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), crypto.Signer(key))
	must(t, err)
	return &identity{name: name, cert: tlstest.CertPEM(der), key: tlstest.KeyPEM(t, key)}
}

// TestRemainingLife drives what is left of a session to 1, 0 and -1 seconds when
// it is made. No handshake fails of it, and with nothing left nothing is resumed.
func TestRemainingLife(t *testing.T) {
	eachMechanism(t, func(a *env) {
		host := a.host("a.test", deferring(nil))
		for _, left := range []int64{1, 0, -1, -100} {
			for try := 0; ; try++ {
				at := time.Now()
				member := member(a, fixtures.caA, "ending", func(c *x509.Certificate) { c.NotAfter = time.Unix(at.Unix()+left, 0) })
				o := a.passed(a.connect(host, client{name: "a.test", cert: member}))
				next := o
				if o.session != nil {
					next = a.passed(a.connect(host, client{name: "a.test", cert: member, session: o.session}))
				}
				// A second has turned on the way, and less was left; or it turned just
				// before, and the coarse clock of time(2) was still behind.
				turned := time.Now().Unix() != at.Unix() || at.Nanosecond() < int(20*time.Millisecond)
				if turned && try < 100 {
					continue
				}
				if left < 1 && next.server.DidResume {
					a.Errorf("resumed with %d seconds left", left)
				}
				if left == 1 && !a.m.stateful && !next.server.DidResume {
					a.Error("a ticket with a second left was not resumed")
				}
				break
			}
		}
	})
}

// TestMaxAuthAgeShowsInTheTicket: the ticket has the host's limit, not the listener's lifetime.
func TestMaxAuthAgeShowsInTheTicket(t *testing.T) {
	eachMechanism(t, func(a *env) {
		capped := a.host("a.test", func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(10*time.Second)) })
		open := a.host("b.test")
		listener := a.listener(map[string]*openssl.Ctx{"a.test": capped, "b.test": open})
		for name, most := range map[string]time.Duration{"a.test": 10 * time.Second, "b.test": 2 * time.Hour} {
			o := a.full(a.connect(listener, client{name: name}))
			a.resumed(a.connect(listener, client{name: name, session: o.session}))
			if a.m.version != tls.VersionTLS13 {
				continue // a session by id has no promise
			}
			for _, f := range tlstest.SessionFields(a, o.session) {
				if f.Class != 2 || f.Tag != tlstest.FieldLifetime {
					continue
				}
				var promised int64
				for _, b := range f.Bytes[2:] {
					promised = promised<<8 | int64(b)
				}
				if got := time.Duration(promised) * time.Second; got > most || got < most-2*time.Second {
					a.Errorf("%s: a promise of %v, want %v", name, got, most)
				}
			}
		}
	})
}

// TestRequiredCertificate: a session without a certificate, in a context that is
// the same by hand, is not enough where one is required.
func TestRequiredCertificate(t *testing.T) {
	eachMechanism(t, func(a *env) {
		optional := a.host("a.test", asks(fixtures.caA), within("same"), a.sharing())
		required := a.host("a.test", requires(fixtures.caA), within("same"), a.sharing())
		o := a.full(a.connect(optional, client{name: "a.test"}))
		a.resumed(a.connect(optional, client{name: "a.test", session: o.session})) // no certificate is required here
		if a.m.stateful {
			refused := a.refusedResumption(a.connect(required, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
			if !refused.server.DidResume && refused.server.Version == 0 {
				a.Error("the state of a refused connection cannot be read")
			}
			if n := required.Stats().ResumptionsRefused; n != 1 {
				a.Errorf("%d refusals counted", n)
			}
			return
		}
		a.refused(a.connect(required, client{name: "a.test", session: o.session}))
		a.full(a.connect(required, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
	})
}

// refusedResumption fails the test unless a re-check has ended the connection.
func (a *env) refusedResumption(o result) result {
	a.Helper()
	if !errors.Is(o.serverErr, openssl.ErrResumptionRefused) || o.served || o.server.HandshakeComplete {
		a.Fatalf("%v: resumed %v, served %v, server %v", o, o.server.DidResume, o.served, o.serverErr)
	}
	return o
}

// TestRefusedSessionIsForgotten: the client can come again with it, for a full handshake.
func TestRefusedSessionIsForgotten(t *testing.T) {
	eachMechanism(t, func(a *env) {
		if !a.m.stateful {
			return // a ticket is declined before it is resumed
		}
		routed := a.host("a.test", asks(fixtures.caA), within("same"))
		strict := a.host("a.test", requires(fixtures.caA), within("same"))
		next := routed
		listener := a.routing(func(*openssl.ClientHello) (*openssl.Ctx, error) { return next, nil })
		o := a.full(a.connect(listener, client{name: "a.test"}))
		next = strict
		a.refusedResumption(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		a.full(a.connect(listener, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
	})
}

// TestUnverifiedCertificate: what Go alone has accepted is not enough where
// OpenSSL decides.
func TestUnverifiedCertificate(t *testing.T) {
	eachMechanism(t, func(a *env) {
		deferred := a.host("a.test", deferring(nil), within("same"))
		strict := a.host("a.test", requires(fixtures.caA), within("same"))
		next := deferred
		listener := a.routing(func(*openssl.ClientHello) (*openssl.Ctx, error) { return next, nil })
		stranger := selfSigned(a, "stranger")
		o := a.full(a.connect(listener, client{name: "a.test", cert: stranger}))
		a.resumed(a.connect(listener, client{name: "a.test", cert: stranger, session: o.session}))
		next = strict
		a.refusedResumption(a.connect(listener, client{name: "a.test", cert: stranger, session: o.session}))
	})
}

// TestVerifyConnection runs on every connection, resumed or not, in both roles,
// and its error ends the connection with nothing left to resume.
func TestVerifyConnection(t *testing.T) {
	eachMechanism(t, func(a *env) {
		var runs, resumed atomic.Int64
		var verdict atomic.Pointer[error]
		look := func(cs openssl.ConnectionState) error {
			runs.Add(1)
			if cs.DidResume {
				resumed.Add(1)
			}
			if cs.Version != a.m.version || !cs.HandshakeComplete {
				a.Errorf("the state is %+v", cs)
			}
			if err := verdict.Load(); err != nil {
				return *err
			}
			return nil
		}
		watched := func(t testing.TB, c *openssl.Ctx) { must(t, c.SetVerifyConnection(look)) }
		host := a.host("a.test", watched, requires(fixtures.caA))
		o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
		a.resumed(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		if runs.Load() != 2 || resumed.Load() != 1 {
			a.Fatalf("%d runs, %d of them resumed", runs.Load(), resumed.Load())
		}
		no := errors.New("off the list")
		verdict.Store(&no)
		for _, session := range [][]byte{nil, o.session} {
			next := a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: session})
			if !errors.Is(next.serverErr, no) || next.served || next.session != nil && session == nil {
				a.Errorf("resuming %v: served %v, a session %v, server %v", session != nil, next.served, next.session != nil, next.serverErr)
			}
			if next.server.HandshakeComplete || len(next.server.PeerCertificates) != 1 {
				a.Errorf("the state is %+v", next.server)
			}
		}
		verdict.Store(nil)
		ctx := a.caching(a.sessionCache(), watched)
		runs.Store(0)
		plain := a.host("a.test")
		a.full(a.connect(plain, client{name: "a.test", client: ctx}))
		a.resumed(a.connect(plain, client{name: "a.test", client: ctx}))
		if runs.Load() != 2 {
			a.Errorf("on a client %d runs", runs.Load())
		}
		verdict.Store(&no)
		if next := a.connect(plain, client{name: "a.test", client: ctx}); !errors.Is(next.clientErr, no) {
			a.Errorf("the client's error is %v", next.clientErr)
		}
		panics := a.host("a.test", func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { panic("nil map") }))
		})
		if next := a.connect(panics, client{name: "a.test"}); next.serverErr == nil || next.served {
			a.Errorf("a panic lets in: %v", next.serverErr)
		}
	})
}

// TestNoTicketLeaks: what a refused handshake has made is not sent.
func TestNoTicketLeaks(t *testing.T) {
	eachMechanism(t, func(a *env) {
		no := errors.New("no")
		host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) {
			must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error { return no }))
		})
		c, err := openssl.NewSSL(a.client(nil, true))
		must(a, err)
		defer c.Close()
		s, err := openssl.NewSSL(host)
		must(a, err)
		defer s.Close()
		must(a, c.SetServerName("a.test"))
		_, serverErr := tlstest.Shake(a, c, s)
		if !errors.Is(serverErr, no) || s.Pending() != 0 {
			a.Errorf("%d bytes wait to be sent after %v", s.Pending(), serverErr)
		}
		if n, _, err := s.Write([]byte("more")); n != 0 || !errors.Is(err, no) || s.Pending() != 0 {
			a.Errorf("a refused machine writes %d: %v", n, err)
		}
		if n, _, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, no) {
			a.Errorf("a refused machine reads %d: %v", n, err)
		}
		if sess, err := s.Session(); err == nil {
			sess.Close()
			a.Error("a refused connection has a session")
		}
		if a.m.version == tls.VersionTLS13 || !a.m.stateful {
			if sess, err := c.Session(); err == nil {
				sess.Close()
				a.Error("the client has a session")
			}
		}
	})
}

func TestRevocationLists(t *testing.T) {
	eachMechanism(t, func(a *env) {
		good, bad := member(a, fixtures.caA, "good", nil), member(a, fixtures.caA, "bad", nil)
		serial := tlstest.ParseCert(a, bad.cert).SerialNumber
		lists := func(pems ...[]byte) setting {
			return func(t testing.TB, c *openssl.Ctx) {
				for _, p := range pems {
					must(t, c.SetCRLs(p))
				}
			}
		}
		says := func(o result, reason string) {
			a.Helper()
			var failed *openssl.VerifyError
			if !errors.As(o.serverErr, &failed) || failed.Reason != reason {
				a.Errorf("the server says %v", o.serverErr)
			}
		}
		listed := a.host("a.test", requires(fixtures.caA), lists(tlstest.RevocationList(a, fixtures.caA, 1, serial)))
		a.full(a.connect(listed, client{name: "a.test", cert: good}))
		says(a.refused(a.connect(listed, client{name: "a.test", cert: bad})), "certificate revoked")

		missing := a.host("a.test", requires(fixtures.caA), lists(tlstest.RevocationList(a, fixtures.caB, 1)))
		says(a.refused(a.connect(missing, client{name: "a.test", cert: good})), "unable to get certificate CRL")

		newer := a.host("a.test", lists(tlstest.RevocationList(a, fixtures.caA, 1), tlstest.RevocationList(a, fixtures.caA, 2, serial)), requires(fixtures.caA))
		says(a.refused(a.connect(newer, client{name: "a.test", cert: bad})), "certificate revoked")
		a.full(a.connect(newer, client{name: "a.test", cert: good}))

		// A host's lists count on a listener that has none.
		listener := a.listener(map[string]*openssl.Ctx{"a.test": listed})
		says(a.refused(a.connect(listener, client{name: "a.test", cert: bad})), "certificate revoked")
	})
	c := tlstest.NewServer(t)
	for _, broken := range [][]byte{nil, []byte("no list"), fixtures.caA.PEM} {
		if err := c.SetCRLs(broken); err == nil {
			t.Errorf("%d bytes are taken for a list", len(broken))
		}
	}
}

// TestVerifyDefer: Go decides on certificates that OpenSSL would not accept.
func TestVerifyDefer(t *testing.T) {
	eachMechanism(t, func(a *env) {
		pinned, stranger := selfSigned(a, "pinned"), selfSigned(a, "stranger")
		host := a.host("a.test", deferring(func(cs openssl.ConnectionState) error {
			if cs.VerifyError == nil {
				return errors.New("OpenSSL has found nothing wrong")
			}
			if name := cs.PeerCertificates[0].Subject.CommonName; name != "pinned" {
				return fmt.Errorf("%s is not pinned", name)
			}
			return nil
		}))
		o := a.full(a.connect(host, client{name: "a.test", cert: pinned}))
		if o.server.VerifyError == nil {
			a.Error("a self-signed certificate has no VerifyError")
		}
		a.resumed(a.connect(host, client{name: "a.test", cert: pinned, session: o.session}))
		if o := a.connect(host, client{name: "a.test", cert: stranger}); o.serverErr == nil || o.served {
			a.Error("a stranger is let in")
		}
		a.refused(a.connect(host, client{name: "a.test"})) // one is required all the same
		a.full(a.connect(host, client{name: "a.test", cert: pinned}))
	})
}

// TestChecksAreOffWhereNobodyIsAsked: an open server's sessions are OpenSSL's own.
func TestChecksAreOffWhereNobodyIsAsked(t *testing.T) {
	eachMechanism(t, func(a *env) {
		if !a.m.stateful {
			return // what a ticket holds cannot be seen
		}
		for _, c := range []struct {
			what   string
			host   *openssl.Ctx
			marked bool
		}{
			{"open", a.host("a.test", a.sharing()), false},
			{"asks", a.host("a.test", asks(fixtures.caA), a.sharing()), true},
			{"off", a.host("a.test", asks(fixtures.caA), unchecked, a.sharing()), false},
			{"checks alone", a.host("a.test", asks(fixtures.caA), a.sharing(), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(0)) }), true},
			{"age alone", a.host("a.test", a.sharing(), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(time.Hour)) }), true},
		} {
			o := a.full(a.connect(c.host, client{name: "a.test", cert: fixtures.cliA}))
			der := a.store.copy()[string(storeKey(o.server.SessionIDContext, a.lookup(o.session)))]
			marked := false
			for _, f := range tlstest.SessionFields(a, der) {
				marked = marked || f.Class == 2 && f.Tag == 18
			}
			if a.m.version == tls.VersionTLS13 && marked != c.marked {
				a.Errorf("%s: marked %v", c.what, marked)
			}
		}
	})
}

// unchecked leaves resumption to OpenSSL.
func unchecked(t testing.TB, c *openssl.Ctx) {
	must(t, c.SetResumptionChecks(false))
	must(t, c.SetMaxAuthAge(0))
}

// TestChecksOffIsOpenSSL: then a session without a certificate is resumed where
// one is required, if somebody gives both one context by hand.
func TestChecksOffIsOpenSSL(t *testing.T) {
	eachMechanism(t, func(a *env) {
		optional := a.host("a.test", asks(fixtures.caA), within("same"), unchecked, a.sharing())
		required := a.host("a.test", requires(fixtures.caA), within("same"), unchecked, a.sharing())
		o := a.full(a.connect(optional, client{name: "a.test"}))
		next := a.resumed(a.connect(required, client{name: "a.test", session: o.session}))
		if len(next.server.PeerCertificates) != 0 || next.server.VerifyError != nil {
			a.Errorf("the state is %+v", next.server)
		}
	})
}

// TestRequiredWithoutAsking: VerifyFailIfNoPeerCert alone asks for nothing, in a
// resumption neither. So it is refused, and a server that requests nothing resumes
// sessions without a certificate.
func TestRequiredWithoutAsking(t *testing.T) {
	eachMechanism(t, func(a *env) {
		host := a.host("a.test", func(t testing.TB, c *openssl.Ctx) {
			if c.SetVerify(openssl.VerifyFailIfNoPeerCert) == nil {
				t.Error("a mode that requires a certificate, and asks for none, is taken")
			}
			must(t, c.SetResumptionChecks(true))
		})
		o := a.full(a.connect(host, client{name: "a.test"}))
		a.resumed(a.connect(host, client{name: "a.test", session: o.session}))
	})
}

func TestMaxAuthAgeRefuses(t *testing.T) {
	c := tlstest.NewServer(t)
	for _, d := range []time.Duration{-time.Second, time.Millisecond, time.Second + 1} {
		if err := c.SetMaxAuthAge(d); err == nil {
			t.Errorf("%v is taken", d)
		}
	}
}

// TestMaxAuthAgeOfSessionsByID: libssl itself declines at the limit, so that the
// client gets a full handshake rather than an error.
func TestMaxAuthAgeOfSessionsByID(t *testing.T) {
	for _, m := range mechanisms {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprint(m.name, "/stored ", stored), func(t *testing.T) {
				t.Parallel()
				declinesAtTheLimit(newEnv(t, m, memoryWire), stored)
			})
		}
	}
}

func declinesAtTheLimit(a *env, stored bool) {
	settings := []setting{requires(fixtures.caA), func(t testing.TB, c *openssl.Ctx) { must(t, c.SetMaxAuthAge(2*time.Second)) }}
	if stored {
		settings = append(settings, a.sharing())
	}
	host := a.host("a.test", settings...)
	o := a.full(a.connect(host, client{name: "a.test", cert: fixtures.cliA}))
	authenticated := time.Now() // or before
	if a.m.version == tls.VersionTLS13 {
		o.session = tlstest.EditSession(a, o.session, tlstest.FieldLifetime, tlstest.Integer(a, 7200))
	}
	a.until(10*time.Second, "the limit", func() bool {
		age := time.Since(authenticated) // at the visit's beginning
		next := a.passed(a.connect(host, client{name: "a.test", cert: fixtures.cliA, session: o.session}))
		if next.server.DidResume && age > 3*time.Second {
			a.Fatalf("resumed after %v", age)
		}
		return !next.server.DidResume
	})
}

func TestSealStore(t *testing.T) {
	inner := newMemStore()
	one, two := [32]byte{1}, [32]byte{2}
	for what, keys := range map[string][][32]byte{
		"no key": nil, "zeros": {{}}, "zeros behind": {one, {}}, "twice": {one, two, one},
	} {
		if _, err := openssl.SealStore(inner, keys...); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := openssl.SealStore(nil, one); err == nil {
		t.Error("no store: taken")
	}
	ctx, id := context.Background(), []byte("some id")
	old, err := openssl.SealStore(inner, one)
	must(t, err)
	now, err := openssl.SealStore(inner, two, one)
	must(t, err)
	later, err := openssl.SealStore(inner, two)
	must(t, err)
	opens := func(s openssl.SessionStore, want string) {
		t.Helper()
		got, err := s.Get(ctx, id)
		if want == "" && !errors.Is(err, openssl.ErrSessionNotFound) || want != "" && (err != nil || string(got) != want) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	must(t, old.Put(ctx, id, []byte("session"), time.Now().Add(time.Hour)))
	opens(old, "session")
	opens(now, "session") // the old key opens still
	opens(later, "")
	first := inner.copy()[string(id)]
	must(t, now.Put(ctx, id, []byte("session"), time.Now().Add(time.Hour)))
	opens(later, "session") // the new key seals
	opens(old, "")
	must(t, now.Put(ctx, id, []byte("session"), time.Now().Add(time.Hour)))
	if string(first) == string(inner.copy()[string(id)]) {
		t.Error("two seals look alike")
	}
	must(t, now.Delete(ctx, id))
	opens(now, "")
	// An id is a whole: none is another's beginning.
	must(t, old.Put(ctx, []byte("ab"), []byte("session"), time.Now()))
	inner.mu.Lock()
	inner.blobs["a"] = inner.blobs["ab"]
	inner.mu.Unlock()
	if _, err := old.Get(ctx, []byte("a")); !errors.Is(err, openssl.ErrSessionNotFound) {
		t.Error("a blob opens under another id")
	}
	down := errors.New("down")
	inner.get = func(context.Context, []byte) ([]byte, error) { return nil, down }
	if _, err := now.Get(ctx, id); !errors.Is(err, down) || errors.Is(err, openssl.ErrSessionNotFound) {
		t.Errorf("the store's own error is %v", err)
	}
}

// With SessionCacheUpdateTime libssl gives a session that it puts into its cache a
// new time. What the answer to a lookup has brought must not become young by that.
func TestUpdateTimeDoesNotHideAge(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, maker, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "payroll"), tlstest.NewMutualServer(t, "payroll")
			for _, c := range []*openssl.Ctx{client, maker, server} {
				tlstest.SetVersion(t, c, v.ID)
			}
			for _, c := range []*openssl.Ctx{maker, server} {
				must(t, c.SetOptions(openssl.OptionNoTicket))
			}
			must(t, maker.SetMaxAuthAge(0)) // nothing in the session says when its owner was authenticated
			must(t, maker.SetResumptionChecks(false))
			must(t, server.SetMaxAuthAge(10*time.Minute))
			must(t, server.SetSessionCacheMode(openssl.SessionCacheServer|openssl.SessionCacheUpdateTime))
			must(t, server.SetClientHelloFunc(tlstest.Stay)) // so that the machine asks

			c, s := tlstest.Machines(t, client, maker)
			tlstest.MustShake(t, c, s)
			offer, kept := tlstest.SessionOf(t, c), tlstest.SessionOf(t, s)
			tlstest.Goodbye(t, c, s)
			old, err := tlstest.WithField(t, kept, tlstest.FieldTime, time.Now().Add(-time.Hour).Unix()).MarshalBinary()
			must(t, err)
			for range 2 { // it is not in libssl's cache, either
				c, s = tlstest.Machines(t, client, server)
				must(t, c.SetSession(tlstest.Reparse(t, offer)))
				clientErr, serverErr := tlstest.ShakeAnswering(t, c, s, func(s *openssl.SSL) { must(t, s.AnswerSession(old)) })
				if got := s.ConnectionState().Resumption; clientErr != nil || serverErr != nil || got != openssl.ResumptionExpired {
					t.Errorf("a session of an hour ago, where 10 minutes are allowed: %v, client %v, server %v; want a full handshake and %v",
						got, clientErr, serverErr, openssl.ResumptionExpired)
				}
			}
		})
	}
}

// A TLS 1.2 ticket that is renewed keeps the time of the first handshake, and a
// limit counts from there: the new ticket lives as long as the old one had left.
func TestRenewedTicketUnderACap(t *testing.T) {
	t.Parallel()
	const limit = 8 * time.Second
	client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "payroll")
	tlstest.SetVersion(t, client, tls.VersionTLS12)
	must(t, server.SetMaxAuthAge(limit))
	must(t, server.SetTicketKeys(tlstest.TicketKey(1)))
	began := time.Now()
	sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	<-time.After(limit * 5 / 8)                                               // more than half of it: counted from now, nothing would be left
	must(t, server.SetTicketKeys(tlstest.TicketKey(2), tlstest.TicketKey(1))) // the old one opens, and is renewed
	renewed := tlstest.MustOffer(t, client, server, sess, openssl.ResumptionResumed)
	if bytes.Equal(tlstest.TicketOf(t, renewed), tlstest.TicketOf(t, sess)) {
		t.Fatal("the ticket was not renewed")
	}
	_, got := tlstest.Offer(t, client, server, renewed)
	if got != openssl.ResumptionResumed && time.Since(began) < limit-time.Second {
		t.Errorf("a renewed ticket, %v after the first handshake with a limit of %v: %v, want %v",
			time.Since(began), limit, got, openssl.ResumptionResumed)
	}
}
