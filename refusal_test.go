//go:build cgo

package openssl_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// A refusal is heard at once, by the alert that it names, whichever end refuses and
// however the session came about.
func TestRefusalIsHeard(t *testing.T) {
	sessions := []string{"none", "ticket", "by id"}
	for _, v := range tlstest.Versions {
		for _, role := range []string{"server", "client"} {
			for _, session := range sessions {
				for want, refusal := range map[tls.AlertError]error{
					42: errors.New("no"),
					48: fmt.Errorf("no: %w", tls.AlertError(48)),
				} {
					t.Run(fmt.Sprintf("%s/%s/%s/%d", v.Name, role, session, want), func(t *testing.T) {
						client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "refused")
						tlstest.SetVersion(t, client, v.ID)
						if session == "by id" {
							must(t, server.SetOptions(openssl.OptionNoTicket))
						}
						var refuses error
						own := server
						if role == "client" {
							own = client
						}
						must(t, own.SetVerifyConnection(func(cs openssl.ConnectionState) error {
							if len(cs.PeerCertificates) == 0 || cs.DidResume != (cs.Resumption == openssl.ResumptionResumed) {
								t.Errorf("the function was shown %+v", cs)
							}
							return refuses
						}))
						x := tlstest.Pair{Client: client, Server: server}
						if session != "none" {
							x.Offer = tlstest.Connect(t, x).Session
						}
						refuses = refusal
						synctest.Test(t, func(t *testing.T) {
							c, s, _, _ := tlstest.WireConns(t, client, server, 64<<10)
							if x.Offer != nil {
								must(t, c.SetSession(x.Offer))
							}
							meet := func(conn *openssl.Conn) <-chan outcome {
								return start(func() (int, error) {
									defer conn.Close()
									n, err := conn.Read(make([]byte, 1))
									if sess := tlstest.SessionOf(t, conn); sess != nil && sess.Resumable() {
										t.Error("a refused session can be resumed")
									}
									return n, err
								})
							}
							refuser, peer := meet(c), meet(s)
							if role == "server" {
								refuser, peer = peer, refuser
							}
							if got := <-refuser; !errors.Is(got.err, refuses) {
								t.Errorf("the refusing end: %v, want %v", got.err, refuses)
							}
							got := <-peer
							if v.ID == tls.VersionTLS13 && role == "server" && !tlstest.IsOpenSSL3() {
								// 1.1.1 has encrypted tickets before the alert, which are not sent.
								if got.err == nil || got.took != 0 {
									t.Errorf("the peer: %v after %v, want an error at once", got.err, got.took)
								}
								return
							}
							if alert, ok := tlstest.AsType[tls.AlertError](got.err); !ok || alert != want || got.took != 0 {
								t.Errorf("the peer: %v after %v, want the alert %v at once", got.err, got.took, want)
							}
						})
					})
				}
			}
		}
	}
}

// crypto/tls hears it as well. Its TLS 1.3 server reads no plaintext alert behind its
// Finished: its handshake fails at once all the same.
func TestRefusalIsHeardByCryptoTLS(t *testing.T) {
	for _, v := range tlstest.Versions {
		for _, role := range []string{"server", "client"} {
			t.Run(v.Name+"/"+role, func(t *testing.T) {
				near, far := tlstest.WirePair(64 << 10)
				must(t, far.SetDeadline(time.Now().Add(time.Minute)))
				ctx := tlstest.NewClient(t)
				peer := tls.Server(far, tlstest.GoServer(t))
				if role == "server" {
					ctx = tlstest.NewServer(t)
					peer = tls.Client(far, tlstest.GoClient(t))
				}
				tlstest.SetVersion(t, ctx, v.ID)
				must(t, ctx.SetVerifyConnection(func(openssl.ConnectionState) error { return errors.New("no") }))
				conn := connTo(t, role, ctx, near)
				_, err := tlstest.Both(conn.Handshake, func() error {
					defer peer.Close()
					_, err := peer.Read(make([]byte, 1))
					return err
				})
				want := "remote error: tls: bad certificate"
				if v.ID == tls.VersionTLS13 && (role == "client" || !tlstest.IsOpenSSL3()) {
					want = "local error: tls: bad record MAC"
				}
				if err == nil || err.Error() != want {
					t.Errorf("the peer: %v, want %s", err, want)
				}
			})
		}
	}
}

// A connection that a Revoke overtakes is refused when the client's Finished comes. In
// TLS 1.2 libssl cannot be brought to send the alert that is meant then.
func TestLateRefusalIsHeard(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "")
			tlstest.SetVersion(t, client, v.ID)
			must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "late " + v.Name}))
			c, s := tlstest.Machines(t, client, server)
			must(t, c.SetSession(tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session))
			for range 2 { // until the client has made its Finished
				c.Handshake()
				if tlstest.Carry(t, c, s); c.ConnectionState().HandshakeComplete {
					break
				}
				s.Handshake()
				tlstest.Carry(t, s, c)
			}
			_, err := server.Revoke()
			must(t, err)
			if _, err := s.Handshake(); !errors.Is(err, openssl.ErrResumptionRefused) {
				t.Fatalf("the server: %v, want ErrResumptionRefused", err)
			}
			tlstest.Carry(t, s, c)
			want := tls.AlertError(42)
			if v.ID == tls.VersionTLS12 {
				want = 20
			}
			_, _, err = c.Read(make([]byte, 1))
			if v.ID == tls.VersionTLS13 && !tlstest.IsOpenSSL3() {
				tlstest.Says(t, err, "bad record mac")
				return
			}
			if alert, _ := tlstest.AsType[tls.AlertError](err); alert != want {
				t.Errorf("the client: %v, want the alert %v", err, want)
			}
		})
	}
}

// A connection that could have been refused gets as many tickets as any other.
func TestTicketsOfADecidedConnection(t *testing.T) {
	client := tlstest.NewClient(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	for _, n := range []int{0, 1, 2, 5} {
		var servers [2]*openssl.Ctx
		for i := range servers {
			servers[i] = tlstest.NewServer(t)
			must(t, servers[i].SetNumTickets(n))
		}
		must(t, servers[1].SetVerifyConnection(func(openssl.ConnectionState) error { return nil }))
		for _, resumed := range []bool{false, true} {
			var got [2]int
			for i, server := range servers {
				c, s := tlstest.Machines(t, client, server)
				if sess := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}).Session; resumed && n > 0 {
					must(t, c.SetSession(sess))
				}
				for done := false; !done; done = s.ConnectionState().HandshakeComplete {
					tlstest.Carry(t, s, c)
					c.Handshake()
					tlstest.Carry(t, c, s)
					_, err := s.Handshake()
					must(t, err)
				}
				out := make([]byte, 64<<10)
				for out = out[:s.Drain(out)]; len(out) > 5; got[i]++ {
					out = out[5+int(out[3])<<8+int(out[4]):]
				}
			}
			want := n
			if resumed && n > 0 {
				want = 1
			}
			if got != [2]int{want, want} {
				t.Errorf("%d tickets, resumed %v: %d records, and %d after the function, want %d", n, resumed, got[0], got[1], want)
			}
		}
	}
}
