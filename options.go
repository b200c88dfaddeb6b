//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// VerifyMode says whether the peer is asked for a certificate, and what happens
// without a good one. The values are OpenSSL's bits and may be combined.
type VerifyMode int

const (
	VerifyNone             VerifyMode = libssl.SSL_VERIFY_NONE
	VerifyPeer             VerifyMode = libssl.SSL_VERIFY_PEER
	VerifyFailIfNoPeerCert VerifyMode = libssl.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	VerifyClientOnce       VerifyMode = libssl.SSL_VERIFY_CLIENT_ONCE

	// VerifyPostHandshake would have libssl ask after the handshake, when it is
	// told to, and nothing here tells it: SetVerify refuses it.
	VerifyPostHandshake VerifyMode = libssl.SSL_VERIFY_POST_HANDSHAKE

	// VerifyDefer asks for a certificate, accepts any, and leaves it to the
	// function of SetVerifyConnection to decide: for pinned and self-signed
	// ones. It is this package's, beyond OpenSSL's bits.
	VerifyDefer VerifyMode = 1 << 16
)

// Options are OpenSSL's SSL_OP bits, 64 of them. One that the linked version
// does not know is 0.
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
