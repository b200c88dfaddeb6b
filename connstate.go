//go:build cgo

package openssl

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// ConnectionState describes a connection. Its fields have the names of those of
// [crypto/tls.ConnectionState] where they have the same meaning.
type ConnectionState struct {
	Version            uint16 // [crypto/tls.VersionTLS13] for instance
	HandshakeComplete  bool   // and accepted by the function of SetVerifyConnection, if there is one
	DidResume          bool   // whether a session was resumed: SSL_session_reused
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

// readStateLocked reads the state; with an error, which is in it, too, it is not
// complete, for want of memory for one.
func (s *SSL) readStateLocked() (ConnectionState, error) {
	st := s.h.P.State()
	cs := ConnectionState{
		Version:            st.Version,
		HandshakeComplete:  s.phase == phaseDone && s.verified,
		DidResume:          s.phase >= phaseDone && st.Reused,
		CipherSuite:        st.Cipher,
		CipherName:         st.CipherName,
		NegotiatedProtocol: st.ALPN,
		ServerName:         st.ServerName,
		SessionIDContext:   st.SIDCtx,
		Resumption:         s.resumption,
	}
	ders, fail := s.h.P.PeerCertificates()
	err := asError(fail)
	for _, der := range ders {
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(der); err != nil {
			err = fmt.Errorf("openssl: libssl has taken a certificate that crypto/x509 cannot read: %w", err)
			break
		}
		cs.PeerCertificates = append(cs.PeerCertificates, cert)
	}
	cs.VerifyError = err
	if st.VerifyResult != 0 {
		cs.VerifyError = newVerifyError(st.VerifyResult)
	}
	return cs, asError(fail)
}
