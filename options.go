//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// VerifyMode tells whether a peer is asked for a certificate, and what happens if it
// presents none or one that does not verify. The values are OpenSSL's bits and can be
// combined.
type VerifyMode int

const (
	VerifyNone             VerifyMode = libssl.SSL_VERIFY_NONE
	VerifyPeer             VerifyMode = libssl.SSL_VERIFY_PEER
	VerifyFailIfNoPeerCert VerifyMode = libssl.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	VerifyClientOnce       VerifyMode = libssl.SSL_VERIFY_CLIENT_ONCE

	// VerifyPostHandshake would let a server request a certificate after the
	// handshake. This package does not offer that: SetVerify refuses the bit.
	VerifyPostHandshake VerifyMode = libssl.SSL_VERIFY_POST_HANDSHAKE

	// VerifyDefer requests a certificate, accepts any, and leaves the decision to
	// the function set with SetVerifyConnection. It is meant for pinned and
	// self-signed certificates. It is not one of OpenSSL's bits.
	VerifyDefer VerifyMode = 1 << 16
)

// Options are OpenSSL's SSL_OP bits. A bit that the linked version does not know is 0.
type Options uint64

const (
	OptionNoTicket                           Options = libssl.SSL_OP_NO_TICKET
	OptionNoRenegotiation                    Options = libssl.SSL_OP_NO_RENEGOTIATION
	OptionCipherServerPreference             Options = libssl.SSL_OP_CIPHER_SERVER_PREFERENCE
	OptionPrioritizeChaCha                   Options = libssl.SSL_OP_PRIORITIZE_CHACHA
	OptionNoTLSv12                           Options = libssl.SSL_OP_NO_TLSv1_2
	OptionNoTLSv13                           Options = libssl.SSL_OP_NO_TLSv1_3
	OptionNoCompression                      Options = libssl.SSL_OP_NO_COMPRESSION
	OptionNoEncryptThenMAC                   Options = libssl.SSL_OP_NO_ENCRYPT_THEN_MAC
	OptionNoExtendedMasterSecret             Options = libssl.SSL_OP_NO_EXTENDED_MASTER_SECRET
	OptionAllowNoDHEKeyExchange              Options = libssl.SSL_OP_ALLOW_NO_DHE_KEX
	OptionNoAntiReplay                       Options = libssl.SSL_OP_NO_ANTI_REPLAY
	OptionEnableMiddleboxCompat              Options = libssl.SSL_OP_ENABLE_MIDDLEBOX_COMPAT
	OptionIgnoreUnexpectedEOF                Options = libssl.SSL_OP_IGNORE_UNEXPECTED_EOF
	OptionLegacyServerConnect                Options = libssl.SSL_OP_LEGACY_SERVER_CONNECT
	OptionNoSessionResumptionOnRenegotiation Options = libssl.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION
)
