// Package diode is the TLS layer of diodechain/diode_client on diodechain/openssl. Its
// nodes present certificates that they have issued themselves, with the key of a wallet on
// secp256k1, which crypto/x509 does not know; the key is who they are.
//
// It replaces NewCtxWithVersion(TLSv1_2), GenerateECKey, NewCertificate, UseCertificate,
// UsePrivateKey, SetEllipticCurve, SetSupportedEllipticCurves, SetVerify with a callback,
// SetSessionCacheMode, SetSessionId, Client and Server, GetSession and SetSession, and
// PeerCertificate().PublicKey(). One Ctx served both roles there.
package diode

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"

	"github.com/sidctx/openssl"
)

// selfSigned is X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT.
const selfSigned = 18

// Node has the contexts of a node.
type Node struct{ client, server *openssl.Ctx }

// New makes a node of its certificate and key, in PEM.
func New(certPEM, keyPEM []byte) (*Node, error) {
	client, clientErr := openssl.NewClientCtx()
	server, serverErr := openssl.NewServerCtx()
	n := &Node{client, server}
	err := errors.Join(clientErr, serverErr)
	for _, c := range []*openssl.Ctx{client, server} {
		if err == nil {
			err = errors.Join(c.SetMaxVersion(tls.VersionTLS12), c.SetGroups("secp256k1"), c.UseCertificate(certPEM, keyPEM),
				c.SetVerify(openssl.VerifyDefer|openssl.VerifyFailIfNoPeerCert), c.SetVerifyConnection(verify),
				c.SetSessionIDContext([]byte("diode_e2e")), c.SetSessionCacheMode(openssl.SessionCacheBoth))
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

// Client and Server are the two ends of a wire, which a relay may carry.
func (n *Node) Client(wire net.Conn) (*openssl.Conn, error) { return openssl.Client(wire, n.client) }
func (n *Node) Server(wire net.Conn) (*openssl.Conn, error) { return openssl.Server(wire, n.server) }

// verify lets self-signed certificates pass. They prove nothing but that the peer has the
// key: compare DeviceKey with whom you meant to reach.
func verify(cs openssl.ConnectionState) error {
	if failed, ok := errors.AsType[*openssl.VerifyError](cs.VerifyError); !ok || failed.Code != selfSigned {
		return fmt.Errorf("diode: a certificate that is not self-signed: %w", cs.VerifyError)
	}
	_, err := DeviceKey(cs)
	return err
}

// DeviceKey is the peer's public key, a point on secp256k1. The last 20 bytes of the
// Keccak-256 of what follows its first byte are the device's address.
func DeviceKey(cs openssl.ConnectionState) ([]byte, error) {
	var cert struct {
		Body struct {
			Version                   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial                    *big.Int
			Algorithm                 pkix.AlgorithmIdentifier
			Issuer, Validity, Subject asn1.RawValue
			Key                       struct {
				Algorithm struct{ Algorithm, Curve asn1.ObjectIdentifier }
				Point     asn1.BitString
			}
		}
	}
	if len(cs.PeerCertificatesDER) == 0 {
		return nil, errors.New("diode: the peer has no certificate")
	}
	if _, err := asn1.Unmarshal(cs.PeerCertificatesDER[0], &cert); err != nil {
		return nil, fmt.Errorf("diode: the peer's certificate: %w", err)
	}
	if key := cert.Body.Key; !key.Algorithm.Curve.Equal(asn1.ObjectIdentifier{1, 3, 132, 0, 10}) || len(key.Point.Bytes) != 65 {
		return nil, fmt.Errorf("diode: the peer's key is on %v, not secp256k1", key.Algorithm.Curve)
	}
	return cert.Body.Key.Point.Bytes, nil
}
