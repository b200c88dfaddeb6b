// Package xrpl is internal/peermanagement/peertls of LeJamon/go-xrpl, which has a shim of
// its own in C. Two nodes of the XRP Ledger present certificates that no CA has issued,
// and then prove who they are: each signs a value made of both Finished messages, so that
// a node in the middle has nothing to pass on.
//
// It replaces SSL_CTX_set_min_proto_version, SSL_CTX_set_cipher_list, SSL_CTX_set_tmp_dh,
// SSL_CTX_use_certificate, SSL_CTX_use_PrivateKey, SSL_CTX_set_verify, the pair of BIOs,
// SSL_get_finished and SSL_get_peer_finished.
package xrpl

import (
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"

	"github.com/sidctx/openssl"
)

// Node has the two contexts of a node.
type Node struct {
	Key            ed25519.PrivateKey
	client, server *openssl.Ctx
}

// New makes a node. dhPEM is the group of DHE for clients that have no other.
func New(certPEM, keyPEM, dhPEM []byte, key ed25519.PrivateKey) (n *Node, err error) {
	n = &Node{Key: key}
	var serverErr error
	n.client, err = openssl.NewClientCtx()
	n.server, serverErr = openssl.NewServerCtx()
	if err = errors.Join(err, serverErr); err == nil {
		err = n.server.SetDHParameters(dhPEM)
	}
	for _, c := range []*openssl.Ctx{n.client, n.server} {
		if err == nil { // RFC 5929 tells what the Finished messages of TLS 1.2 are good for
			err = errors.Join(c.SetMaxVersion(tls.VersionTLS12), c.SetCipherList("ALL:!LOW:!EXP:!MD5:!aNULL:@STRENGTH"),
				c.UseCertificate(certPEM, keyPEM), c.SetVerify(openssl.VerifyNone), c.SetOptions(openssl.OptionNoTicket),
				c.SetSessionCacheMode(openssl.SessionCacheOff))
		}
	}
	if err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Close releases the contexts. Connections go on.
func (n *Node) Close() { n.client.Close(); n.server.Close() }

// Client is the end of a wire that has dialed, Server the one that was dialed.
func (n *Node) Client(wire net.Conn) (*openssl.Conn, error) { return openssl.Client(wire, n.client) }
func (n *Node) Server(wire net.Conn) (*openssl.Conn, error) { return openssl.Server(wire, n.server) }

// Prove signs a connection, whose handshake is complete.
func (n *Node) Prove(c *openssl.Conn) ([]byte, error) {
	value, err := SharedValue(c)
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(n.Key, value), nil
}

// Proves verifies what the other node has signed.
func Proves(c *openssl.Conn, public ed25519.PublicKey, signature []byte) error {
	value, err := SharedValue(c)
	if err == nil && !ed25519.Verify(public, value, signature) {
		err = errors.New("xrpl: the signature is of another connection or node")
	}
	return err
}

// SharedValue is the first half of SHA-512 of the two messages' hashes, XORed: both ends
// have the same. Finished refuses a connection without extended master secret.
func SharedValue(c *openssl.Conn) ([]byte, error) {
	local, peer, err := c.Finished()
	if err != nil {
		return nil, err
	}
	a, b := sha512.Sum512(local), sha512.Sum512(peer)
	if subtle.XORBytes(a[:], a[:], b[:]); a == [64]byte{} {
		return nil, errors.New("xrpl: both Finished messages are the same")
	}
	value := sha512.Sum512(a[:])
	return value[:32], nil
}
