//go:build cgo

package openssl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/sidctx/openssl/internal/libssl"
)

// ConnectionState describes a connection. Its fields have the names of those of
// [crypto/tls.ConnectionState] where they have the same meaning.
type ConnectionState struct {
	Version            uint16 // [crypto/tls.VersionTLS13] for instance
	HandshakeComplete  bool   // and accepted by the function of SetVerifyConnection, if there is one
	DidResume          bool   // whether a session was resumed: SSL_session_reused, but for a PSK
	CipherSuite        uint16
	CipherName         string // OpenSSL's name of it
	NegotiatedProtocol string // the protocol chosen with ALPN

	// Group is the group of the key exchange, 4588 for X25519MLKEM768 for instance, and
	// GroupName OpenSSL's name of it. After a resumption in TLS 1.2 they are those of the
	// first handshake. Group is 0 and GroupName empty without such a key exchange, Group
	// alone for a group that OpenSSL's own numbers do not tell. OpenSSL 1.1.1 knows neither
	// of finite fields nor on a TLS 1.2 server. They are SSL_get_negotiated_group and
	// SSL_get0_group_name.
	Group     tls.CurveID
	GroupName string

	// ServerName is the name that the client requested. After a resumption in TLS 1.2
	// it is the name from the first handshake, as in OpenSSL: use
	// ClientHello.ServerName for decisions. It is SSL_get_servername.
	ServerName string

	// PeerCertificates holds the certificates that the peer has presented, the leaf
	// first, on clients and servers. After a resumption they are those of the first
	// handshake, or only its leaf if the session was a ticket. Those of a CA that
	// crypto/x509 cannot read are left out. There are none if it cannot read the leaf,
	// which is possible with SetOpaqueCertificates and VerifyDefer only. Other connections
	// to the same peer may share them: they must not be modified.
	PeerCertificates []*x509.Certificate

	// PeerCertificatesDER holds all certificates that the peer has presented, in the
	// same order, as libssl has read them.
	// Its bytes must not be modified either.
	PeerCertificatesDER [][]byte

	// VerifiedChains holds the chain that libssl has verified, from the leaf to the
	// trusted CA: one chain, as libssl looks for no other. There is none if the peer has
	// presented no certificate or one that does not verify, if crypto/x509 cannot read
	// the whole chain, and on connections that resume a session. With VerifyAnyName the
	// name was not verified. It is SSL_get0_verified_chain.
	VerifiedChains [][]*x509.Certificate

	// OCSPResponse is the response that a server has sent to a client that asked with
	// SetOCSPRequest, in DER. It was not verified. It is SSL_get_tlsext_status_ocsp_resp.
	OCSPResponse []byte

	// VerifyError is libssl's verdict on the peer's certificate, a [*VerifyError], if
	// the verify mode accepts certificates that do not verify. It is one of several
	// reasons, the last that libssl has met: a function of SetVerifyConnection that
	// lets one reason pass lets all others pass with it. It is nil if the certificate
	// verified, and if the peer has presented none.
	VerifyError error

	// SessionIDContext is the context under which the connection's session was made.
	SessionIDContext []byte

	// PSKIdentity is the identity of the PSK that both ends have proved to have, in this
	// handshake or in that of the session which was resumed. It is empty before the handshake
	// is complete, and without a PSK. It is SSL_get_psk_identity.
	PSKIdentity string

	// Resumption tells why a session was or was not resumed. A client cannot know why
	// a server declined its session, and has ResumptionOther then.
	Resumption Resumption
}

// TLS returns the state as a [crypto/tls.ConnectionState], for code that needs one, for
// example http.Request.TLS. The fields that libssl does not report are empty. The method
// ExportKeyingMaterial of that value panics, since it has no connection: call
// [Conn.ExportKeyingMaterial] instead. TLSUnique is empty, too: see [Conn.Finished].
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
		VerifiedChains:             cs.VerifiedChains,
		OCSPResponse:               cs.OCSPResponse,
		CurveID:                    cs.Group,
	}
}

// readStateLocked reads the state.
func (s *SSL) readStateLocked() ConnectionState {
	peer := s.peer
	if peer == nil {
		peer, _ = s.readPeerLocked() // the end of the handshake does not pass over an error
	}
	st := s.h.P.State()
	cs := ConnectionState{
		Version:             st.Version,
		HandshakeComplete:   s.phase == phaseDone && s.verified,
		DidResume:           s.phase >= phaseDone && st.Reused && s.resumption != ResumptionPSK,
		CipherSuite:         st.Cipher,
		CipherName:          st.CipherName,
		Group:               tls.CurveID(st.Group),
		GroupName:           st.GroupName,
		NegotiatedProtocol:  st.ALPN,
		ServerName:          st.ServerName,
		PeerCertificates:    slices.Clone(peer.parsed),
		PeerCertificatesDER: slices.Clone(peer.der),
		SessionIDContext:    st.SIDCtx,
		Resumption:          s.resumption,
	}
	if s.phase >= phaseDone || s.resuming {
		cs.PSKIdentity = st.PSKIdentity
	}
	if st.VerifyResult != 0 {
		cs.VerifyError = newVerifyError(st.VerifyResult)
	}
	if len(peer.der) > 0 && !st.Reused && st.VerifyResult == 0 {
		cs.VerifiedChains = s.verifiedChainsLocked(peer)
	}
	if s.client && !st.Reused {
		cs.OCSPResponse, _ = s.h.P.OCSPResponse() // without memory there is none
	}
	return cs
}

// verifiedChainsLocked is the chain that libssl has verified, if crypto/x509 can read it.
func (s *SSL) verifiedChainsLocked(peer *peerCertificates) [][]*x509.Certificate {
	ders, _ := s.h.P.VerifiedChain() // without memory there is none
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		if k := slices.IndexFunc(peer.parsed, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, der) }); k >= 0 {
			chain[i] = peer.parsed[k]
		} else if cert, err := x509.ParseCertificate(der); err == nil {
			chain[i] = cert
		} else {
			return nil
		}
	}
	if len(chain) == 0 {
		return nil
	}
	return [][]*x509.Certificate{chain}
}

// Finished returns the Finished messages that this end and the peer have sent. In TLS 1.2
// the first of the handshake is the channel binding tls-unique of RFC 5929: the client's,
// or the server's if a session was resumed. Without the extended master secret a peer in
// the middle can make two connections with equal messages, and Finished returns an error.
// TLS 1.3 has no tls-unique: the channel binding of RFC 9266, tls-exporter, is
// ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32), in both versions. The
// handshake must be complete.
//
// It is SSL_get_finished and SSL_get_peer_finished.
func (s *SSL) Finished() (local, peer []byte, err error) {
	if err := s.lock(); err != nil {
		return nil, nil, err
	}
	defer s.unlock()
	if s.phase < phaseDone {
		return nil, nil, errors.New("openssl: SSL_get_finished: the handshake is not done")
	}
	local, peer, unique := s.h.P.Finished()
	if !unique {
		return nil, nil, errors.New("openssl: SSL_get_finished: without extended master secret another connection can have the same Finished messages: " +
			"the peer must support RFC 7627, or TLS 1.3")
	}
	return local, peer, nil
}

// peerCertificates are the certificates that a peer has presented.
type peerCertificates struct {
	der        [][]byte
	parsed     []*x509.Certificate // those that crypto/x509 can read, if it can read the leaf
	unreadable error               // why it cannot
}

var noPeer peerCertificates

// readPeerLocked reads them, and keeps those of a finished handshake.
func (s *SSL) readPeerLocked() (*peerCertificates, error) {
	var peer peerCertificates
	var fail *libssl.Failure
	fresh := false
	if peer.der, fail = s.h.P.PeerCertificates(); fail != nil {
		return &peer, asError(fail)
	}
	// The same peer comes again and again, or a session of it: it is parsed once.
	if last := s.ctx.lastPeer.Load(); last != nil && slices.EqualFunc(last.der, peer.der, bytes.Equal) {
		peer.parsed, peer.unreadable = slices.Clone(last.parsed), last.unreadable
	} else {
		peer.parse()
		fresh = true
	}
	if s.phase >= phaseDone {
		s.peer = &peer
		if fresh {
			s.ctx.lastPeer.Store(peer.clone())
		}
	}
	return &peer, nil
}

// clone has slices of its own: a caller may replace what is in those of a ConnectionState.
func (p *peerCertificates) clone() *peerCertificates {
	return &peerCertificates{slices.Clone(p.der), slices.Clone(p.parsed), p.unreadable}
}

func (p *peerCertificates) parse() {
	for i, der := range p.der {
		cert, err := x509.ParseCertificate(der)
		if err == nil {
			p.parsed = append(p.parsed, cert)
		} else if i == 0 {
			p.unreadable = err
			break
		}
	}
}

// checkPeerLocked returns an error for a peer that libssl has accepted and Go cannot see:
// crypto/x509 cannot read its certificate, or there was no memory for it.
func (s *SSL) checkPeerLocked(hasPeer bool) error {
	if !hasPeer {
		s.peer = &noPeer
		return nil
	}
	peer, err := s.readPeerLocked()
	if err != nil || peer.unreadable == nil || s.ctx.opaque || s.ctx.verify&VerifyDefer != 0 {
		return err
	}
	return fmt.Errorf("openssl: libssl has accepted a certificate that crypto/x509 cannot read "+
		"(SetOpaqueCertificates goes on with it): %w: %w", peer.unreadable, alertUnsupportedCertificate)
}
