//go:build cgo && oldopenssl

package oldpeer_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
	old "github.com/spacemonkeygo/openssl"
)

// These tests speak with the package that this one replaces, and hold the two
// contexts side by side. It compiles with OpenSSL 1.1.1 and nothing later
// (FIPS_mode_set left in 3.0), hence the build tag.
//
// What it cannot do, and what stands for it here:
//
//   - A context for one connection: it calls SSL_CTX_set_session_id_context
//     alone. Here: SSL.SetSessionIDContext, Conn.SetSessionIDContext and
//     ClientHello.SetSessionIDContext.
//   - A session set on a client: DialSession lends libssl a pointer to a Go
//     pointer, and cgo's check panics on every call. Here: Conn.SetSession and
//     Dialer.Session. So its client never resumes in these tests.
//   - Tickets that its servers and ours open for each other: its keys hold one
//     IV for all tickets, and what stands in a ticket's own place is ignored. Here:
//     SetTicketKeys draws an IV for each ticket.

// oldVersions is what its NewCtxWithVersion knows: TLS 1.2 alone, and "any", which 1.1.1
// takes to 1.3.
var oldVersions = []struct {
	name   string
	method old.SSLVersion
	id     uint16
}{
	{"TLS1.2", old.TLSv1_2, tls.VersionTLS12},
	{"TLS1.3", old.AnyVersion, tls.VersionTLS13},
}

func newOldServer(t testing.TB, method old.SSLVersion) *old.Ctx {
	t.Helper()
	tlstest.Certs(t)
	c, err := old.NewCtxWithVersion(method)
	must(t, err)
	cert, err := old.LoadCertificateFromPEM(tlstest.Fixtures.ServerCert)
	must(t, err)
	must(t, c.UseCertificate(cert))
	key, err := old.LoadPrivateKeyFromPEM(tlstest.Fixtures.ServerKey)
	must(t, err)
	must(t, c.UsePrivateKey(key))
	return c
}

// oldOrNew is a connection of either package.
type oldOrNew interface {
	io.ReadWriteCloser
	Handshake() error
}

// sidServer makes a server's end on a wire, of either package, within a context
// that may change between connections.
type sidServer interface {
	set(sidCtx []byte) error
	serve(wire net.Conn) (conn oldOrNew, resumed func() bool, err error)
}

type oldServer struct{ ctx *old.Ctx }

func (o oldServer) set(sidCtx []byte) error { return o.ctx.SetSessionId(sidCtx) }

func (o oldServer) serve(wire net.Conn) (oldOrNew, func() bool, error) {
	conn, err := old.Server(wire, o.ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.SessionReused, nil
}

// newOneServer changes its context as a frozen Ctx allows it: on the connection.
type newOneServer struct {
	ctx    *openssl.Ctx
	sidCtx *[]byte
}

func (n newOneServer) set(sidCtx []byte) error {
	*n.sidCtx = sidCtx
	return nil
}

func (n newOneServer) serve(wire net.Conn) (oldOrNew, func() bool, error) {
	conn, err := openssl.Server(wire, n.ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetSessionIDContext(*n.sidCtx); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, func() bool { return conn.ConnectionState().DidResume }, nil
}

// meet is one connection of our client with a server of either package, with a
// message there and back. It returns the client's session and whether both ends
// say that theirs was resumed.
func meet(t testing.TB, client *openssl.Ctx, server sidServer, offer *openssl.Session) (next *openssl.Session, resumed bool) {
	t.Helper()
	near, far := tlstest.TCPPair(t)
	c, err := openssl.Client(near, client)
	must(t, err)
	defer c.Close()
	must(t, c.SetServerName("server.test"))
	if offer != nil {
		must(t, c.SetSession(tlstest.Reparse(t, offer)))
	}
	s, serverResumed, err := server.serve(far)
	must(t, err)
	var clientResumed, theirs bool
	clientErr, serverErr := tlstest.Both(func() error {
		defer c.Close()
		if err := tlstest.RoundTrip(c, bytes.Repeat([]byte("ping"), 10000)); err != nil {
			return err
		}
		clientResumed = c.ConnectionState().DidResume
		var err error
		next, err = c.Session()
		return err
	}, func() error {
		defer s.Close()
		err := tlstest.Echo(s)
		theirs = serverResumed()
		return err
	})
	if clientErr != nil || serverErr != nil {
		t.Fatalf("client %v, server %v", clientErr, serverErr)
	}
	t.Cleanup(func() { next.Close() })
	if theirs != clientResumed {
		t.Fatalf("resumed: the client says %v, the server %v", clientResumed, theirs)
	}
	return next, clientResumed
}

// What a context decides does not depend on which of the two has set it.
func TestOldPeerContexts(t *testing.T) {
	long := strings.Repeat("x", 32)
	for _, v := range oldVersions {
		for _, test := range []struct {
			first, second string
			want          bool
		}{
			{"a", "a", true},
			{"a", "b", false},
			{"a", "a\x00", false},
			{long, long, true},
			{long, long[:31], false},
			{"", "", true},
			{"", "a", false},
			{"a", "", false},
		} {
			t.Run(fmt.Sprintf("%s/%q to %q", v.name, test.first, test.second), func(t *testing.T) {
				client := tlstest.NewClient(t)
				tlstest.SetVersion(t, client, v.id)
				for name, server := range map[string]sidServer{
					"old": oldServer{newOldServer(t, v.method)},
					"new": newOneServer{tlstest.NewServer(t), new([]byte)},
				} {
					must(t, server.set([]byte(test.first)))
					sess, resumed := meet(t, client, server, nil)
					if resumed {
						t.Errorf("%s: resumed nothing", name)
					}
					must(t, server.set([]byte(test.second)))
					if _, got := meet(t, client, server, sess); got != test.want {
						t.Errorf("%s: resumed %v, want %v", name, got, test.want)
					}
				}
			})
		}
	}
}

// Its client with our server: it verifies, speaks and says goodbye.
func TestOldPeerClient(t *testing.T) {
	for _, v := range oldVersions {
		t.Run(v.name, func(t *testing.T) {
			oldCtx, err := old.NewCtxWithVersion(v.method)
			must(t, err)
			ca, err := old.LoadCertificateFromPEM(tlstest.Certs(t).PEM)
			must(t, err)
			must(t, oldCtx.GetCertificateStore().AddCertificate(ca))
			oldCtx.SetVerifyMode(old.VerifyPeer)
			cert, err := old.LoadCertificateFromPEM(tlstest.Fixtures.ClientCert)
			must(t, err)
			must(t, oldCtx.UseCertificate(cert))
			key, err := old.LoadPrivateKeyFromPEM(tlstest.Fixtures.ClientKey)
			must(t, err)
			must(t, oldCtx.UsePrivateKey(key))

			near, far := tlstest.TCPPair(t)
			c, err := old.Client(near, oldCtx)
			must(t, err)
			must(t, c.SetTlsExtHostName("server.test"))
			s, err := openssl.Server(far, tlstest.NewMutualServer(t, "tenant"))
			must(t, err)
			clientErr, serverErr := tlstest.Both(func() error {
				defer c.Close()
				if err := tlstest.RoundTrip(c, bytes.Repeat([]byte("ping"), 10000)); err != nil {
					return err
				}
				return c.VerifyHostname("server.test")
			}, func() error {
				err := tlstest.Echo(s)
				if cs := s.ConnectionState(); cs.Version != v.id || cs.ServerName != "server.test" || len(cs.PeerCertificates) == 0 ||
					cs.PeerCertificates[0].Subject.CommonName != "client.test" {
					err = fmt.Errorf("the server's state: %+v", cs)
				}
				s.Close()
				return err
			})
			if clientErr != nil || serverErr != nil {
				t.Fatalf("client %v, server %v", clientErr, serverErr)
			}
		})
	}
}

// 33 bytes are the same refusal from both, and ours has it in pieces.
func TestOldPeerTooLong(t *testing.T) {
	sidCtx := make([]byte, 33)
	oldErr := newOldServer(t, old.AnyVersion).SetSessionId(sidCtx)
	newErr := tlstest.NewServer(t).SetSessionIDContext(sidCtx)
	var e *openssl.Error
	if oldErr == nil || !errors.As(newErr, &e) || len(e.Stack) != 1 || !errors.Is(newErr, openssl.ErrSessionIDContextTooLong) {
		t.Fatalf("old %v, new %v", oldErr, newErr)
	}
	// It keeps the texts of a code, not the code.
	entry := e.Stack[0]
	if want := fmt.Sprintf("SSL errors: %s:%s:%s", entry.Library, entry.Function, entry.Reason); oldErr.Error() != want {
		t.Fatalf("old %q, new %q", oldErr, want)
	}
}
