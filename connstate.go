//go:build cgo

package openssl

import (
	"crypto/tls"
	"crypto/x509"
)

// ConnectionState is what a connection has come to, by crypto/tls's names where
// the notion is the same.
type ConnectionState struct {
	Version            uint16 // [crypto/tls.VersionTLS13] for instance
	HandshakeComplete  bool
	DidResume          bool // libssl resumed a session. SSL_session_reused
	CipherSuite        uint16
	CipherName         string // OpenSSL's name of it
	NegotiatedProtocol string // by ALPN

	// ServerName is the one that the client asked for; after a resumption in TLS
	// 1.2 that of the first handshake, as OpenSSL has it. Decide by
	// ClientHello.ServerName. SSL_get_servername
	ServerName string

	// PeerCertificates is what the peer has shown, the leaf first, in both
	// roles. After a resumption it is what the first handshake saw: a ticket
	// remembers the leaf alone.
	PeerCertificates []*x509.Certificate

	// VerifyError is why the peer's certificate was not accepted, where the
	// verify mode let that pass. It is nil as well for a peer that has shown none.
	VerifyError error

	// SessionIDContext is the context that the connection's session was made within.
	SessionIDContext []byte

	// Resumption says why a session was, or was not, resumed. A server knows; a
	// client whose offer was declined only knows that (ResumptionOther).
	Resumption Resumption
}

// TLS is the state as crypto/tls shows it, for code that is written for that,
// http.Request.TLS for one. VerifiedChains and what libssl does not report
// stay empty.
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
