package xrpl

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

func newNode(t *testing.T) *Node {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatalf("GenerateKey: %v", err)
	}
	cert, certKey := tlstest.NewAuthority(t, "node", nil).Leaf(t, "node", tlstest.RSAKey(), nil)
	n, err := New(cert, certKey, []byte(tlstest.FFDHE2048), key)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(n.Close)
	return n
}

// between is a connection of two nodes in memory.
func between(t *testing.T, a, b *Node) (c, s *openssl.Conn) {
	t.Helper()
	near, far := net.Pipe()
	c, err := a.Client(near)
	if err != nil {
		t.Fatalf("Client: %v", err)
	}
	t.Cleanup(func() { near.Close(); c.Close() })
	if s, err = b.Server(far); err != nil {
		t.Fatalf("Server: %v", err)
	}
	t.Cleanup(func() { far.Close(); s.Close() })
	if clientErr, serverErr := tlstest.Both(c.Handshake, s.Handshake); clientErr != nil || serverErr != nil {
		t.Fatalf("handshake: client %v, server %v", clientErr, serverErr)
	}
	return c, s
}

// TestProof has both nodes sign one connection; no signature holds for another.
func TestProof(t *testing.T) {
	a, b := newNode(t), newNode(t)
	c, s := between(t, a, b)
	local, remote, err := c.Finished()
	local2, remote2, err2 := s.Finished()
	if err != nil || err2 != nil || len(local) != 12 || !bytes.Equal(local, remote2) || !bytes.Equal(remote, local2) || bytes.Equal(local, remote) {
		t.Fatalf("the client has sent %x and received %x (%v), the server %x and %x (%v)", local, remote, err, local2, remote2, err2)
	}
	proofA, errA := a.Prove(c)
	proofB, errB := b.Prove(s)
	if errA != nil || errB != nil {
		t.Fatalf("Prove: %v and %v", errA, errB)
	}
	if err := Proves(s, a.Key.Public().(ed25519.PublicKey), proofA); err != nil {
		t.Errorf("what the client has signed: %v", err)
	}
	if err := Proves(c, b.Key.Public().(ed25519.PublicKey), proofB); err != nil {
		t.Errorf("what the server has signed: %v", err)
	}
	_, other := between(t, a, b)
	for what, err := range map[string]error{
		"another connection": Proves(other, a.Key.Public().(ed25519.PublicKey), proofA),
		"another node":       Proves(s, b.Key.Public().(ed25519.PublicKey), proofA),
	} {
		if err == nil {
			t.Errorf("a signature holds for %s", what)
		}
	}
}

var finished = regexp.MustCompile(`Finished\n +14 00 00 0c((?: [0-9a-f]{2}){12})`)

// TestFinishedOfOpenSSL compares the messages with those that s_client prints, over DHE.
func TestFinishedOfOpenSSL(t *testing.T) {
	n := newNode(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	type seen struct {
		local, peer []byte
		err         error
	}
	done := make(chan seen, 1)
	go func() {
		var got seen
		defer func() { done <- got }()
		wire, err := l.Accept()
		if got.err = err; err != nil {
			return
		}
		conn, err := n.Server(wire)
		if got.err = err; err != nil {
			wire.Close()
			return
		}
		defer conn.Close()
		if got.err = conn.Handshake(); got.err == nil {
			got.local, got.peer, got.err = conn.Finished()
		}
	}()
	// nothing verifies the node's certificate
	out := peer.OpenSSL(t, "", "s_client", "-connect", l.Addr().String(), "-ign_eof", "-msg", "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256")
	got := <-done
	if got.err != nil {
		t.Fatalf("the node: %v\n%s", got.err, out)
	}
	all := finished.FindAllStringSubmatch(string(out), -1)
	if len(all) != 2 {
		t.Fatalf("s_client prints %d Finished messages, want 2:\n%s", len(all), out)
	}
	for i, want := range [][]byte{got.peer, got.local} {
		if printed := strings.ReplaceAll(all[i][1], " ", ""); printed != hex.EncodeToString(want) {
			t.Errorf("Finished message %d: %x, and s_client prints %s", i, want, printed)
		}
	}
}
