package diode

import (
	"bytes"
	"net"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/switch/internal/peer"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// newKey is a key on a curve, and its point. openssl makes both.
func newKey(t *testing.T, curve string) (key, point []byte) {
	t.Helper()
	key = peer.OpenSSL(t, "", "ecparam", "-name", curve, "-genkey", "-noout")
	point = peer.OpenSSL(t, string(key), "ec", "-pubout", "-outform", "DER", "-conv_form", "uncompressed")
	return key, point[len(point)-65:]
}

func newNode(t *testing.T, cert, key []byte) *Node {
	t.Helper()
	n, err := New(cert, key)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(n.Close)
	return n
}

// selfIssued is a node with a key on a curve, and the key's point.
func selfIssued(t *testing.T, curve string) (*Node, []byte) {
	t.Helper()
	key, point := newKey(t, curve)
	cert := peer.OpenSSL(t, "", "req", "-new", "-x509", "-key", tlstest.File(t, "key.pem", key), "-subj", "/CN=device", "-days", "2")
	return newNode(t, cert, key), point
}

// issued is a node whose certificate is a CA's.
func issued(t *testing.T) *Node {
	t.Helper()
	ca := tlstest.NewAuthority(t, "CA", nil)
	key, _ := newKey(t, "secp256k1")
	request := peer.OpenSSL(t, "", "req", "-new", "-key", tlstest.File(t, "key.pem", key), "-subj", "/CN=device")
	cert := peer.OpenSSL(t, string(request), "x509", "-req", "-CA", tlstest.File(t, "ca.pem", ca.PEM),
		"-CAkey", tlstest.File(t, "cakey.pem", tlstest.KeyPEM(t, ca.Key)), "-set_serial", "2", "-days", "2")
	return newNode(t, cert, key)
}

// meet connects two nodes over net.Pipe, and offers a session.
func meet(t *testing.T, a, b *Node, offer *openssl.Session) (client, server openssl.ConnectionState, sess *openssl.Session, clientErr, serverErr error) {
	t.Helper()
	near, far := net.Pipe()
	c, err := a.Client(near)
	if err != nil {
		t.Fatalf("Client: %v", err)
	}
	s, err := b.Server(far)
	if err != nil {
		t.Fatalf("Server: %v", err)
	}
	if offer != nil {
		if err := c.SetSession(offer); err != nil {
			t.Fatalf("SetSession: %v", err)
		}
	}
	clientErr, serverErr = tlstest.Both(func() error {
		err := c.Handshake()
		if err == nil {
			err = tlstest.RoundTrip(c, []byte("through a relay"))
		}
		client, sess = c.ConnectionState(), tlstest.SessionOf(t, c)
		c.Close()
		return err
	}, func() error {
		err := tlstest.Echo(s)
		server = s.ConnectionState()
		s.Close()
		return err
	})
	return
}

// TestDevices has two devices know each other by their keys, in the first connection and
// in one that resumes it.
func TestDevices(t *testing.T) {
	a, keyA := selfIssued(t, "secp256k1")
	b, keyB := selfIssued(t, "secp256k1")
	var sess *openssl.Session
	for _, resumed := range []bool{false, true} {
		client, server, next, clientErr, serverErr := meet(t, a, b, sess)
		if clientErr != nil || serverErr != nil {
			t.Fatalf("resumed %v: client %v, server %v", resumed, clientErr, serverErr)
		}
		ofServer, errB := DeviceKey(client)
		ofClient, errA := DeviceKey(server)
		if errA != nil || errB != nil || !bytes.Equal(ofServer, keyB) || !bytes.Equal(ofClient, keyA) {
			t.Errorf("resumed %v: the server is %x (%v), want %x; the client %x (%v), want %x", resumed, ofServer, errB, keyB, ofClient, errA, keyA)
		}
		if client.DidResume != resumed || server.DidResume != resumed || string(server.SessionIDContext) != "diode_e2e" {
			t.Errorf("resumed %v and %v in the context %q, want %v in diode_e2e", client.DidResume, server.DidResume, server.SessionIDContext, resumed)
		}
		if len(client.PeerCertificates) != 0 {
			t.Error("crypto/x509 knows secp256k1: PeerCertificatesDER is needed no longer")
		}
		sess = next
	}
}

// TestStrangers has a node meet certificates that somebody has issued, and another curve.
func TestStrangers(t *testing.T) {
	a, _ := selfIssued(t, "secp256k1")
	other, _ := selfIssued(t, "prime256v1")
	for what, stranger := range map[string]*Node{"of a CA": issued(t), "on another curve": other} {
		_, _, _, clientErr, _ := meet(t, a, stranger, nil)
		_, _, _, _, serverErr := meet(t, stranger, a, nil)
		if clientErr == nil || serverErr == nil {
			t.Errorf("a certificate %s: the client says %v, the server %v", what, clientErr, serverErr)
		}
	}
}
