//go:build cgo

package openssl

import (
	"crypto/tls"
	"crypto/x509"
)

// ConnectionState describes a connection. Its fields have the names of those of
// [crypto/tls.ConnectionState] where they have the same meaning.
type ConnectionState struct {
	Version            uint16 // [crypto/tls.VersionTLS13] for instance
	HandshakeComplete  bool
	DidResume          bool // whether a session was resumed: SSL_session_reused
	CipherSuite        uint16
	CipherName         string // OpenSSL's name of it
	NegotiatedProtocol string // the protocol chosen with ALPN

	// ServerName is the name that the client requested. After a resumption in TLS 1.2
	// it is the name from the first handshake, as in OpenSSL: use
	// ClientHello.ServerName for decisions. It is SSL_get_servername.
	ServerName string

	// PeerCertificates holds the certificates that the peer has presented, the leaf
	// first, on clients and servers. After a resumption they are those of the first
	// handshake, or only its leaf if the session was a ticket.
	PeerCertificates []*x509.Certificate

	// VerifyError is the reason why the peer's certificate did not verify, if the
	// verify mode accepts that. It is nil if the peer has presented none.
	VerifyError error

	// SessionIDContext is the context under which the connection's session was made.
	SessionIDContext []byte

	// Resumption tells why a session was or was not resumed. A client cannot know why
	// a server declined its session, and has ResumptionOther then.
	Resumption Resumption
}

// TLS returns the state as a [crypto/tls.ConnectionState], for code that needs one, for
// example http.Request.TLS. VerifiedChains and the fields that libssl does not report are
// empty.
func (cs ConnectionState) TLS() tls.ConnectionState {
	return tls.ConnectionState{
		Version:            cs.Version,
		HandshakeComplete:  cs.HandshakeComplete,
		DidResume:          cs.DidResume,
		CipherSuite:        cs.CipherSuite,
		NegotiatedProtocol: cs.NegotiatedProtocol,
		//lint:ignore SA1019 always true, says crypto/tls; code that is older than that asks
		NegotiatedProtocolIsMutual: true,
		ServerName:                 cs.ServerName,
		PeerCertificates:           cs.PeerCertificates,
	}
}
