//go:build cgo

package interop_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// peerPatience is far beyond what a client's few visits on a loopback wire take.
const peerPatience = 30 * time.Second

// peer is a program that was not written here, and that a test needs. With
// REQUIRE_PEERS=1 its absence is a failure.
func peer(t testing.TB, name string) (path string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: it starts " + name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("REQUIRE_PEERS") == "1" {
			t.Fatalf("%s is missing and REQUIRE_PEERS is set", name)
		}
		t.Skipf("%s is not on PATH: it is the peer of this test (Debian and Ubuntu: make deps)", name)
	}
	return path
}

// visits is a server of server.test and other.test, which both require client
// certificates, and what it has seen of each connection, in order.
type visits struct {
	host, port string
	listener   net.Listener
	done       chan struct{}

	mu   sync.Mutex
	seen []openssl.ConnectionState
	errs []error
}

func serveVisits(t *testing.T, version uint16) *visits {
	t.Helper()
	ca := tlstest.Certs(t)
	hosts := openssl.NewHosts()
	for _, name := range []string{"server.test", "other.test"} {
		c := tlstest.BareServer(t)
		must(t, c.UseCertificate(ca.Leaf(t, name, tlstest.ECKey(t), nil)))
		must(t, c.SetClientCAs(ca.PEM))
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "interop"}))
		tlstest.SetVersion(t, c, version)
		must(t, hosts.Add(name, c))
	}
	return serveHosts(t, hosts)
}

func serveHosts(t *testing.T, hosts *openssl.Hosts) *visits {
	t.Helper()
	front := tlstest.BareServer(t)
	must(t, front.SetClientHelloFunc(hosts.Route))
	l, err := openssl.Listen("tcp", "127.0.0.1:0", front)
	must(t, err)
	v := &visits{listener: l, done: make(chan struct{})}
	v.host, v.port, err = net.SplitHostPort(l.Addr().String())
	must(t, err)
	go v.run(t.Context())
	t.Cleanup(func() { v.end() })
	return v
}

func (v *visits) run(ctx context.Context) {
	defer close(v.done)
	for {
		conn, err := v.listener.Accept()
		if err != nil {
			return // it is closed
		}
		v.greet(ctx, conn.(*openssl.Conn))
	}
}

// greet answers one request of HTTP, if there is one.
func (v *visits) greet(ctx context.Context, conn *openssl.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(peerPatience))
	err := conn.HandshakeContext(ctx)
	v.mu.Lock()
	v.seen, v.errs = append(v.seen, conn.ConnectionState()), append(v.errs, err)
	v.mu.Unlock()
	for r := bufio.NewReader(conn); err == nil; {
		var line string
		if line, err = r.ReadString('\n'); strings.TrimSpace(line) == "" {
			break
		}
	}
	if err == nil {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nwelcome\n")
	}
}

// end stops the server and returns what it saw.
func (v *visits) end() ([]openssl.ConnectionState, []error) {
	v.listener.Close()
	<-v.done
	return v.seen, v.errs
}

// peerFiles is the certificates that peers are given.
type peerFiles struct{ dir, ca, cert, key string }

func writePeerFiles(t testing.TB) (f peerFiles) {
	t.Helper()
	ca := tlstest.Certs(t)
	f.dir = t.TempDir()
	write := func(name string, pem []byte) string {
		path := filepath.Join(f.dir, name)
		must(t, os.WriteFile(path, pem, 0o600))
		return path
	}
	f.ca, f.cert, f.key = write("ca.crt", ca.PEM), write("client.crt", tlstest.Fixtures.ClientCert), write("client.key", tlstest.Fixtures.ClientKey)
	return f
}

// pythonClient visits server.test twice and other.test once, each time with the
// session of the visit before, and prints whether it was resumed.
const pythonClient = `
import socket, ssl, sys

port, version, ca, cert, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version.replace(".", "_"))
context.load_verify_locations(ca)
context.load_cert_chain(cert, key)
session = None
for name in "server.test", "server.test", "other.test":
    with socket.create_connection(("127.0.0.1", int(port))) as wire:
        with context.wrap_socket(wire, server_hostname=name, session=session) as conn:
            conn.sendall(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n")
            while conn.recv(4096):
                pass
            print(str(conn.session_reused).lower())
            session = conn.session
`

// nodeClient does the same.
const nodeClient = `
const tls = require('tls'), fs = require('fs');
const [port, version, ca, cert, key] = process.argv.slice(2);
const read = (file) => fs.readFileSync(file);
function visit(servername, session) {
  return new Promise((done, failed) => {
    const conn = tls.connect({
      host: '127.0.0.1', port, servername, session,
      ca: read(ca), cert: read(cert), key: read(key), minVersion: version, maxVersion: version,
    }, () => {
      console.log(conn.isSessionReused());
      conn.write('GET / HTTP/1.1\r\nHost: ' + servername + '\r\n\r\n');
    });
    conn.on('session', (newest) => { session = newest; });
    conn.on('data', () => {});
    conn.on('close', () => done(session));
    conn.on('error', failed);
  });
}
(async () => {
  let session;
  for (const name of ['server.test', 'server.test', 'other.test']) session = await visit(name, session);
})();
`

// Clients that were not written here resume where they were, and nowhere else.
// The witness is the server.
func TestInteropClients(t *testing.T) {
	for _, tt := range []struct {
		name, program string
		args          func(t *testing.T, v *visits, f peerFiles, version string) []string
		resumed       []bool // what the server must see
		says          bool   // the client prints the same
		prudent       bool   // some versions offer no session to a host of another name
	}{
		{"curl", "curl", func(t *testing.T, v *visits, f peerFiles, version string) []string {
			// Two URLs, and connections that are not kept: the second one is resumed.
			url := "https://server.test:" + v.port + "/"
			number := strings.TrimPrefix(version, "TLSv")
			return []string{
				"--silent", "--show-error", "--fail", "--noproxy", "*", "--http1.1", "--header", "Connection: close",
				"--tlsv" + number, "--tls-max", number,
				"--resolve", "server.test:" + v.port + ":" + v.host, "--cacert", f.ca, "--cert", f.cert, "--key", f.key, url, url,
			}
		}, []bool{false, true}, false, false},
		{"gnutls-cli", "gnutls-cli", func(t *testing.T, v *visits, f peerFiles, version string) []string {
			return []string{
				"--resume", "--waitresumption", "--priority", "NORMAL:-VERS-ALL:+VERS-" + strings.Replace(version, "v", "", 1),
				"--x509cafile", f.ca, "--x509certfile", f.cert, "--x509keyfile", f.key,
				"--sni-hostname", "server.test", "--verify-hostname", "server.test", "--port", v.port, v.host,
			}
		}, []bool{false, true}, false, false},
		{"Node", "node", func(t *testing.T, v *visits, f peerFiles, version string) []string {
			script := filepath.Join(f.dir, "client.js")
			must(t, os.WriteFile(script, []byte(nodeClient), 0o600))
			return []string{script, v.port, version, f.ca, f.cert, f.key}
		}, []bool{false, true, false}, true, true},
		{"Python", "python3", func(t *testing.T, v *visits, f peerFiles, version string) []string {
			script := filepath.Join(f.dir, "client.py")
			must(t, os.WriteFile(script, []byte(pythonClient), 0o600))
			return []string{script, v.port, version, f.ca, f.cert, f.key}
		}, []bool{false, true, false}, true, false},
	} {
		for _, version := range tlstest.Versions {
			t.Run(tt.name+"/"+version.Name, func(t *testing.T) {
				program := peer(t, tt.program)
				v, f := serveVisits(t, version.ID), writePeerFiles(t)
				ctx, cancel := context.WithTimeout(t.Context(), peerPatience)
				defer cancel()

				cmd := exec.CommandContext(ctx, program, tt.args(t, v, f, strings.Replace(version.Name, "TLS", "TLSv", 1))...)
				cmd.WaitDelay = time.Second
				var complaints strings.Builder
				cmd.Stderr = &complaints
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("%s: %v\n%s%s", tt.program, err, out, complaints.String())
				}

				seen, errs := v.end()
				var resumed []bool
				for i, state := range seen {
					resumed = append(resumed, state.DidResume)
					switch {
					case errs[i] != nil:
						t.Errorf("visit %d: %v", i+1, errs[i])
					case state.Version != version.ID:
						t.Errorf("visit %d: version %#x", i+1, state.Version)
					case len(state.PeerCertificates) == 0 || state.PeerCertificates[0].Subject.CommonName != "client.test":
						t.Errorf("visit %d: the server does not know the client", i+1)
					case i == 2 && state.ServerName != "other.test":
						t.Errorf("visit %d: to %s", i+1, state.ServerName)
					case i == 2 && tt.prudent && state.Resumption == openssl.ResumptionNotOffered:
					case i == 2 && state.Resumption != openssl.ResumptionContextMismatch:
						t.Errorf("visit %d: %v", i+1, state.Resumption)
					}
				}
				if !slices.Equal(resumed, tt.resumed) {
					t.Errorf("the server says resumed: %v, not %v\n%s", resumed, tt.resumed, complaints.String())
				}
				if said := strings.Join(strings.Fields(string(out)), " "); tt.says && said != strings.Trim(fmt.Sprint(tt.resumed), "[]") {
					t.Errorf("the client says resumed: %s, not %v", said, tt.resumed)
				}
			})
		}
	}
}

// TestServerNameAcknowledged looks with s_client at the server_name extension of the
// server: it is there where a name that was added has led to a full handshake.
func TestServerNameAcknowledged(t *testing.T) {
	program := peer(t, "openssl")
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := serveNamed(t, v.ID)
			session := filepath.Join(t.TempDir(), "session")
			visit := func(name string, options ...string) string {
				cmd := exec.CommandContext(t.Context(), program, append([]string{
					"s_client", "-connect", net.JoinHostPort(server.host, server.port), "-servername", name, "-tlsextdebug", "-ign_eof",
				}, options...)...)
				cmd.Stdin = strings.NewReader("GET / HTTP/1.1\r\n\r\n")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("s_client -servername %s: %v\n%s", name, err, out)
				}
				return string(out)
			}
			for _, x := range []struct {
				what, output          string
				resumed, acknowledged bool
			}{
				{"a name that was added", visit("server.test", "-sess_out", session), false, true},
				{"its session", visit("server.test", "-sess_in", session), true, false},
				{"a name that only the default serves", visit("other.test"), false, false},
			} {
				if got := strings.Contains(x.output, "Reused, TLS"); got != x.resumed {
					t.Errorf("%s: resumed %v, want %v\n%s", x.what, got, x.resumed, x.output)
				}
				if got := strings.Contains(x.output, `TLS server extension "server name"`); got != x.acknowledged {
					t.Errorf("%s: acknowledged %v, want %v\n%s", x.what, got, x.acknowledged, x.output)
				}
			}
		})
	}
}

// serveNamed is a server of server.test, with a default for other names.
func serveNamed(t *testing.T, version uint16) *visits {
	t.Helper()
	hosts := openssl.NewHosts()
	for _, add := range []func(c *openssl.Ctx) error{
		func(c *openssl.Ctx) error { return hosts.Add("server.test", c) },
		hosts.SetDefault,
	} {
		c := tlstest.NewServer(t)
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "interop"}))
		tlstest.SetVersion(t, c, version)
		must(t, add(c))
	}
	return serveHosts(t, hosts)
}
