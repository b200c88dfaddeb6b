//go:build cgo

package interop_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

const pskHex = "000102030405060708090a0b0c0d0e0f"

func pskKey(t testing.TB) []byte {
	t.Helper()
	key, err := hex.DecodeString(pskHex)
	must(t, err)
	return key
}

// pskPeer is a program that has the PSK of alice.
type pskPeer struct {
	name, binary   string
	client, server func(t *testing.T, version uint16, port string) []string // its arguments
}

func pskPeers(t *testing.T) []pskPeer {
	password := tlstest.File(t, "psk.txt", []byte("alice:"+pskHex+"\n"))
	s12 := map[uint16]string{0x303: "-tls1_2", 0x304: "-tls1_3"}
	g := map[uint16]string{
		0x303: "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+PSK", // with ECDHE-PSK gnutls-cli 3.7.9 crashes, against s_server too
		0x304: "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK:+DHE-PSK:+PSK",
	}
	return []pskPeer{
		{"OpenSSL", "openssl", func(_ *testing.T, v uint16, port string) []string {
			return []string{"s_client", "-connect", "127.0.0.1:" + port, s12[v], "-psk_identity", "alice", "-psk", pskHex, "-quiet", "-verify_return_error"}
		}, func(_ *testing.T, v uint16, port string) []string {
			return []string{"s_server", "-accept", "127.0.0.1:" + port, s12[v], "-nocert", "-psk_identity", "alice", "-psk", pskHex, "-rev", "-quiet"}
		}},
		{"GnuTLS", "gnutls-", func(_ *testing.T, v uint16, port string) []string {
			return []string{"cli", "-p", port, "127.0.0.1", "--pskusername", "alice", "--pskkey", pskHex, "--priority", g[v]}
		}, func(_ *testing.T, v uint16, port string) []string {
			return []string{"serv", "-p", port, "--echo", "--pskpasswd", password, "--priority", g[v] + ":+ECDHE-PSK"}
		}},
	}
}

// command is the program, or a skip. GnuTLS has one for each end.
func (p pskPeer) command(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	if strings.HasSuffix(p.binary, "-") {
		return exec.CommandContext(t.Context(), peer(t, p.binary+args[0]), args[1:]...)
	}
	return exec.CommandContext(t.Context(), peer(t, p.binary), args...)
}

// TestPSKClients has clients that were not written here visit a server without a certificate.
func TestPSKClients(t *testing.T) {
	for _, p := range pskPeers(t) {
		t.Run(p.name, func(t *testing.T) {
			tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
				server := tlstest.BareServer(t)
				tlstest.SetVersion(t, server, v.ID)
				must(t, server.UsePSK("alice", pskKey(t)))
				must(t, server.UsePSK("bob", []byte("another key")))
				l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
				must(t, err)
				defer l.Close()
				_, port, err := net.SplitHostPort(l.Addr().String())
				must(t, err)
				cmd := p.command(t, p.client(t, v.ID, port))
				var said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &said, &said
				stdin, err := cmd.StdinPipe() // open: at its end the client leaves
				must(t, err)
				must(t, cmd.Start())
				conn, err := l.Accept()
				must(t, err)
				defer conn.Close()
				must(t, conn.SetDeadline(time.Now().Add(peerPatience)))
				_, err = io.WriteString(conn, "welcome\n")
				state := conn.(*openssl.Conn).ConnectionState()
				if err == nil {
					_, err = io.WriteString(stdin, "hello\n")
				}
				got := make([]byte, 6)
				if err == nil {
					_, err = io.ReadFull(conn, got)
				}
				stdin.Close()
				conn.Close()
				cmd.Wait() // it may mind how it ends
				if err != nil || string(got) != "hello\n" || state.PSKIdentity != "alice" || state.DidResume {
					t.Errorf("%q as %q with %s, resumed %v: %v\n%s", got, state.PSKIdentity, state.CipherName, state.DidResume, err, said.String())
				}
			})
		})
	}
}

// TestPSKServers visits servers that were not written here, twice, with the session of the
// visit before.
func TestPSKServers(t *testing.T) {
	for _, p := range pskPeers(t) {
		t.Run(p.name, func(t *testing.T) {
			tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
				_, port, err := net.SplitHostPort(freeAddress(t))
				must(t, err)
				cmd := p.command(t, p.server(t, v.ID, port))
				var said bytes.Buffer
				cmd.Stdout, cmd.Stderr = &said, &said
				must(t, cmd.Start())
				defer func() { cmd.Process.Kill(); cmd.Wait() }()
				client := tlstest.BareClient(t)
				must(t, client.SetVerifyCAs(tlstest.Certs(t).PEM))
				tlstest.SetVersion(t, client, v.ID)
				must(t, client.UsePSK("alice", pskKey(t)))
				visit := func(key string, offer *openssl.Session) (state openssl.ConnectionState, sess *openssl.Session, err error) {
					c, err := openssl.Client(reach(t, "127.0.0.1:"+port), client)
					must(t, err)
					defer c.Close()
					must(t, c.SetServerName("server.test"))
					must(t, c.SetDeadline(time.Now().Add(peerPatience)))
					if key != "" {
						must(t, c.UsePSK("alice", []byte(key)))
					}
					if offer != nil {
						must(t, c.SetSession(offer))
					}
					if _, err = io.WriteString(c, "hello\n"); err == nil {
						_, err = io.ReadFull(c, make([]byte, 6))
					}
					return c.ConnectionState(), tlstest.SessionOf(t, c), err
				}
				state, sess, err := visit("", nil)
				if err != nil || state.PSKIdentity != "alice" || state.DidResume || len(state.PeerCertificates) != 0 {
					t.Fatalf("a visit as %q with %s, resumed %v: %v\n%s", state.PSKIdentity, state.CipherName, state.DidResume, err, said.String())
				}
				if sess != nil {
					if state, _, err = visit("", sess); err != nil || state.PSKIdentity != "alice" {
						t.Errorf("a second visit as %q, resumed %v: %v", state.PSKIdentity, state.DidResume, err)
					}
				}
				if state, _, err = visit("another key", nil); err == nil {
					t.Errorf("another key is accepted, as %q", state.PSKIdentity)
				}
			})
		})
	}
}

// freeAddress is where no server listens: s_server of every version takes a port, and tells
// none that it was given.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// reach connects to a server that is starting.
func reach(t *testing.T, address string) net.Conn {
	t.Helper()
	var err error
	for end := time.Now().Add(peerPatience); time.Now().Before(end); {
		var conn net.Conn
		if conn, err = net.Dial("tcp", address); err == nil {
			return conn
		}
	}
	t.Fatal(fmt.Errorf("no server at %s: %w", address, err))
	return nil
}
