package interop_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// serveUntilTheyLeave answers requests of HTTP until the client ends the connection. It
// returns what the last Read of each connection has come to, and whether it was resumed.
func serveUntilTheyLeave(t *testing.T, c *openssl.Ctx) (port string, left func() (ends []error, resumed int)) {
	t.Helper()
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	must(t, err)
	var ends []error
	resumed, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			conn.SetDeadline(time.Now().Add(peerPatience))
			r := bufio.NewReader(conn)
			for err == nil {
				var line string
				if line, err = r.ReadString('\n'); err == nil && strings.TrimSpace(line) == "" {
					_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nwelcome\n")
				}
			}
			ends = append(ends, err)
			if conn.(*openssl.Conn).ConnectionState().DidResume {
				resumed++
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port, func() ([]error, int) {
		l.Close()
		<-done
		return ends, resumed
	}
}

// leavingPython visits four times and ends each connection with the call that it is given.
const leavingPython = `
import socket, ssl, sys

port, ca, end = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.load_verify_locations(ca)
session = None
for _ in range(4):
    conn = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port))), server_hostname="server.test", session=session)
    conn.sendall(b"GET / HTTP/1.1\r\nHost: server.test\r\n\r\n")
    while not conn.recv(4096).endswith(b"welcome\n"):
        pass
    session = conn.session
    if end == "unwrap":
        conn = conn.unwrap()
    conn.close()
`

// leavingNode does the same, with end or destroy.
const leavingNode = `
const tls = require('tls'), fs = require('fs');
const [port, ca, end] = process.argv.slice(2);
function visit(session) {
  return new Promise((done, failed) => {
    const conn = tls.connect({
      host: '127.0.0.1', port, servername: 'server.test', session, ca: fs.readFileSync(ca), maxVersion: 'TLSv1.2',
    }, () => {
      session = conn.getSession();
      conn.write('GET / HTTP/1.1\r\nHost: server.test\r\n\r\n');
    });
    conn.on('data', (data) => { if (String(data).endsWith('welcome\n')) conn[end](); });
    conn.on('close', () => done(session));
    conn.on('error', failed);
  });
}
(async () => {
  let session;
  for (let i = 0; i < 4; i++) session = await visit(session);
})();
`

// How clients end a connection, and what that does to sessions that are resumed by id:
// docs/TROUBLESHOOTING.md has these rows.
func TestPeerEnds(t *testing.T) {
	script := func(name, text string) func(t *testing.T, f peerFiles, port, end string) []string {
		return func(t *testing.T, f peerFiles, port, end string) []string {
			path := filepath.Join(f.dir, name)
			must(t, os.WriteFile(path, []byte(text), 0o600))
			return []string{path, port, f.ca, end}
		}
	}
	curl := func(t *testing.T, f peerFiles, port, _ string) []string {
		url := "https://server.test:" + port + "/"
		return []string{"--silent", "--show-error", "--fail", "--noproxy", "*", "--http1.1", "--header", "Connection: close", "--tls-max", "1.2",
			"--resolve", "server.test:" + port + ":127.0.0.1", "--cacert", f.ca, url, url, url, url}
	}
	for _, tt := range []struct {
		name, program, end string
		args               func(t *testing.T, f peerFiles, port, end string) []string
		says               bool // close_notify
	}{
		{"curl", "curl", "", curl, true},
		{"Python, unwrap", "python3", "unwrap", script("client.py", leavingPython), true},
		{"Python, close", "python3", "close", script("client.py", leavingPython), false},
		{"Node, end", "node", "end", script("client.js", leavingNode), true},
		{"Node, destroy", "node", "destroy", script("client.js", leavingNode), false},
	} {
		for _, ignore := range []bool{false, true} {
			name := tt.name
			if ignore {
				name += "/OptionIgnoreUnexpectedEOF"
			}
			t.Run(name, func(t *testing.T) {
				if ignore && openssl.OptionIgnoreUnexpectedEOF == 0 {
					t.Skip("OpenSSL 1.1.1 has no SSL_OP_IGNORE_UNEXPECTED_EOF")
				}
				program, f := peer(t, tt.program), writePeerFiles(t)
				c := tlstest.NewServer(t)
				must(t, c.SetOptions(openssl.OptionNoTicket))
				if ignore {
					must(t, c.SetOptions(openssl.OptionIgnoreUnexpectedEOF))
				}
				port, left := serveUntilTheyLeave(t, c)
				ctx, cancel := context.WithTimeout(t.Context(), peerPatience)
				defer cancel()
				if out, err := exec.CommandContext(ctx, program, tt.args(t, f, port, tt.end)...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", tt.program, err, out)
				}
				ends, resumed := left()
				want := io.EOF
				if !tt.says && !ignore {
					want = io.ErrUnexpectedEOF
				}
				if len(ends) != 4 {
					t.Errorf("%d connections, want 4", len(ends))
				}
				for i, err := range ends {
					if !errors.Is(err, want) {
						t.Errorf("connection %d ends with %v, want %v", i+1, err, want)
					}
				}
				wantResumed := 3
				if want == io.ErrUnexpectedEOF && tlstest.IsOpenSSL3() {
					wantResumed = 0
				}
				if resumed != wantResumed {
					t.Errorf("%d of 3 offers were resumed, want %d", resumed, wantResumed)
				}
			})
		}
	}
}
