package zabbix

import (
	"bufio"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

const (
	identity = "PSK 001"
	key      = "000102030405060708090a0b0c0d0e0f"
	wrongKey = "ffffffffffffffffffffffffffffffff"
)

// site is a CA, and what it has issued.
type site struct {
	config        Config
	revoked, good [2]string // certificate and key
}

func newSite(t *testing.T) site {
	t.Helper()
	ca := tlstest.NewAuthority(t, "Zabbix CA", nil)
	leaf := func(name string) ([2]string, *x509.Certificate) {
		cert, key := ca.Leaf(t, name, tlstest.RSAKey(), nil)
		return [2]string{tlstest.File(t, name+".pem", cert), tlstest.File(t, name+".key", key)}, tlstest.ParseCert(t, cert)
	}
	own, _ := leaf("agent")
	good, _ := leaf("server")
	revoked, cert := leaf("revoked")
	psk, err := hex.DecodeString(key)
	if err != nil {
		t.Fatalf("the key: %v", err)
	}
	return site{Config{
		CAFile: tlstest.File(t, "ca.pem", ca.PEM), CRLFile: tlstest.File(t, "crl.pem", tlstest.RevocationList(t, ca, 1, cert.SerialNumber)),
		CertFile: own[0], KeyFile: own[1], PSKIdentity: identity, PSK: psk,
	}, revoked, good}
}

func newAgent(t *testing.T, config Config) *Agent {
	t.Helper()
	a, err := New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(a.Close)
	return a
}

// met is what an agent has seen of a connection.
type met struct {
	state openssl.ConnectionState
	err   error
}

// serve has an agent read the first bytes of each connection, then speak TLS and send a
// line.
func serve(t *testing.T, a *Agent) (address string, seen <-chan met) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	all := make(chan met, 1)
	go func() {
		for wire, err := l.Accept(); err == nil; wire, err = l.Accept() {
			all <- greet(a, wire)
		}
	}()
	return l.Addr().String(), all
}

func greet(a *Agent, wire net.Conn) met {
	wire.SetDeadline(time.Now().Add(peer.Patience))
	ahead := make([]byte, 5) // "ZBXD\x01", or a record's header
	if _, err := io.ReadFull(wire, ahead); err != nil || ahead[0] != 22 {
		wire.Close()
		return met{err: errors.Join(errors.New("it does not begin with a handshake"), err)}
	}
	conn, err := a.Accept(wire, ahead)
	if err != nil {
		wire.Close()
		return met{err: err}
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "greetings\n")
	return met{conn.ConnectionState(), err}
}

// visit makes a connection to a server that sends lines back from end to start.
func visit(t *testing.T, address, name string, connect func(net.Conn, string) (*openssl.Conn, error)) (openssl.ConnectionState, error) {
	t.Helper()
	wire, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	conn, err := connect(wire, name)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(peer.Patience))
	var line string
	if _, err = io.WriteString(conn, "abc\n"); err == nil {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	if err == nil && line != "cba\n" {
		t.Errorf("abc comes back as %q", line)
	}
	return conn.ConnectionState(), err
}

var flag = map[string]string{"TLS1.2": "-tls1_2", "TLS1.3": "-tls1_3"}

// TestAgentServer has one agent visited by s_client with a PSK and with certificates.
func TestAgentServer(t *testing.T) {
	s := newSite(t)
	s.config.ServerCertIssuer, s.config.ServerCertSubject = "CN=Zabbix CA", "CN=server"
	address, seen := serve(t, newAgent(t, s.config))
	stranger, strangerKey := tlstest.NewAuthority(t, "another CA", nil).Leaf(t, "server", tlstest.RSAKey(), nil)
	with := func(files [2]string) []string { return []string{"-cert", files[0], "-key", files[1]} }
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		for _, x := range []struct {
			what string
			args []string
			psk  string // the identity, if the client is let in
			cert bool   // or by a certificate
		}{
			{"PSK", []string{"-psk_identity", identity, "-psk", key}, identity, false},
			{"wrong key", []string{"-psk_identity", identity, "-psk", wrongKey}, "", false},
			{"wrong identity", []string{"-psk_identity", "PSK 002", "-psk", key}, "", false},
			{"certificate", with(s.good), "", true},
			{"revoked", with(s.revoked), "", false},
			{"subject", with([2]string{s.config.CertFile, s.config.KeyFile}), "", false},
			{"issuer", with([2]string{tlstest.File(t, "cert.pem", stranger), tlstest.File(t, "key.pem", strangerKey)}), "", false},
			{"nothing", nil, "", false},
		} {
			args := append([]string{"-CAfile", s.config.CAFile, flag[v.Name]}, x.args...)
			if len(x.args) > 0 && x.args[0] == "-psk_identity" && v.ID == 0x303 {
				args = append(args, "-cipher", "PSK")
			}
			said, _ := peer.Client(t, address, args...)
			got := <-seen
			letIn := x.psk != "" || x.cert
			if (got.err == nil) != letIn || strings.Contains(said, "greetings") != letIn {
				t.Errorf("%s: the agent says %v, want it let in %v; s_client says\n%s", x.what, got.err, letIn, said)
			}
			if letIn && (got.state.PSKIdentity != x.psk || (len(got.state.PeerCertificates) > 0) != x.cert || v.ID != got.state.Version) {
				t.Errorf("%s: PSK %q and %d certificates in version %#x", x.what, got.state.PSKIdentity, len(got.state.PeerCertificates), got.state.Version)
			}
		}
	})
}

// TestAgentClient has an agent visit s_server with a PSK and with certificates.
func TestAgentClient(t *testing.T) {
	s := newSite(t)
	agent := newAgent(t, s.config)
	psk := func(key string) []string { return []string{"-nocert", "-psk_identity", identity, "-psk", key} }
	with := func(files [2]string) []string {
		return []string{"-cert", files[0], "-key", files[1], "-CAfile", s.config.CAFile, "-Verify", "1", "-verify_return_error"}
	}
	foreign := s.config
	foreign.ServerCertSubject = "CN=another"
	other := newAgent(t, foreign)
	t.Setenv("SSL_CERT_FILE", s.config.CAFile) // that a server's certificate verifies is not enough
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		good := peer.Server(t, append(with(s.good), "-rev", flag[v.Name])...)
		for _, x := range []struct {
			what, address string
			connect       func(net.Conn, string) (*openssl.Conn, error)
			good          bool
		}{
			{"PSK", peer.Server(t, append(psk(key), "-rev", flag[v.Name])...), agent.ConnectPSK, true},
			{"wrong key", peer.Server(t, append(psk(wrongKey), "-rev", flag[v.Name])...), agent.ConnectPSK, false},
			{"a certificate instead", peer.Server(t, "-cert", s.good[0], "-key", s.good[1], "-rev", flag[v.Name]), agent.ConnectPSK, false},
			{"certificate", good, agent.ConnectCert, true},
			{"revoked", peer.Server(t, append(with(s.revoked), "-rev", flag[v.Name])...), agent.ConnectCert, false},
			{"subject", good, other.ConnectCert, false},
		} {
			state, err := visit(t, x.address, "another.name", x.connect)
			if (err == nil) != x.good || err == nil && state.Version != v.ID {
				t.Errorf("%s: %v in version %#x, want success %v", x.what, err, state.Version, x.good)
			}
		}
	})
}

// TestAgents has two agents meet: the name is sent and the context is Zabbix's.
func TestAgents(t *testing.T) {
	config := newSite(t).config
	agent := newAgent(t, config)
	address, seen := serve(t, agent)
	for what, connect := range map[string]func(net.Conn, string) (*openssl.Conn, error){"PSK": agent.ConnectPSK, "certificates": agent.ConnectCert} {
		for _, name := range []string{"proxy.example", ""} {
			wire, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatalf("Dial: %v", err)
			}
			conn, err := connect(wire, name)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			conn.Close()
			got := <-seen
			if err != nil || got.err != nil || line != "greetings\n" {
				t.Errorf("%s: %q; client %v, server %v", what, line, err, got.err)
			}
			if got.state.ServerName != name || string(got.state.SessionIDContext) != "Zbx" {
				t.Errorf("%s: the name %q in the context %q, want %q in Zbx", what, got.state.ServerName, got.state.SessionIDContext, name)
			}
		}
	}
	if said, _ := peer.Client(t, address, "-CAfile", config.CAFile); (<-seen).err == nil {
		t.Errorf("a client without a PSK and without a certificate is let in:\n%s", said)
	}
	for _, suite := range []string{"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-PSK-AES128-CBC-SHA256", "TLS_AES_128_GCM_SHA256"} {
		if !slices.Contains(agent.Suites(), suite) {
			t.Errorf("the agent logs no %s: %q", suite, agent.Suites())
		}
	}
}

// TestOneKind has agents with a PSK alone, and with a certificate alone.
func TestOneKind(t *testing.T) {
	s := newSite(t)
	withPSK := []string{"-psk_identity", identity, "-psk", key}
	withCert := []string{"-cert", s.good[0], "-key", s.good[1]}
	for what, x := range map[string]struct {
		config      Config
		takes, none []string
	}{
		"PSK":         {Config{PSKIdentity: identity, PSK: s.config.PSK}, withPSK, withCert},
		"certificate": {Config{CAFile: s.config.CAFile, CertFile: s.config.CertFile, KeyFile: s.config.KeyFile}, withCert, withPSK},
	} {
		address, seen := serve(t, newAgent(t, x.config))
		for _, args := range [][]string{x.takes, x.none} {
			said, _ := peer.Client(t, address, append([]string{"-CAfile", s.config.CAFile}, args...)...)
			if got, want := <-seen, args[0] == x.takes[0]; (got.err == nil) != want {
				t.Errorf("%s alone: with %s the agent says %v, want it let in %v\n%s", what, args[0], got.err, want, said)
			}
		}
	}
}
