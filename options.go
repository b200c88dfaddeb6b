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
	VerifyClientOnce       VerifyMode = libssl.SSL_VERIFY_CLIENT_ONCE // always so: certificates are requested in the handshake alone

	// VerifyDefer requests a certificate, accepts any, and leaves the decision to
	// the function set with SetVerifyConnection. It is meant for pinned and
	// self-signed certificates. It is not one of OpenSSL's bits.
	VerifyDefer VerifyMode = 1 << 16

	// VerifyAnyName, with VerifyPeer, has libssl verify the server's chain, but not
	// its name, which is only sent, or none if none was set: every server with a
	// certificate of a trusted CA is accepted. It is not one of OpenSSL's bits.
	VerifyAnyName VerifyMode = 1 << 17
)

// VerifyFlags are OpenSSL's X509_V_FLAG bits, and can be combined.
type VerifyFlags uint32

const (
	VerifyCRLCheck           VerifyFlags = libssl.X509_V_FLAG_CRL_CHECK     // look for the leaf in a revocation list
	VerifyCRLCheckAll        VerifyFlags = libssl.X509_V_FLAG_CRL_CHECK_ALL // and for the CAs; it includes VerifyCRLCheck
	VerifyIgnoreCritical     VerifyFlags = libssl.X509_V_FLAG_IGNORE_CRITICAL
	VerifyX509Strict         VerifyFlags = libssl.X509_V_FLAG_X509_STRICT
	VerifyAllowProxyCerts    VerifyFlags = libssl.X509_V_FLAG_ALLOW_PROXY_CERTS
	VerifyPolicyCheck        VerifyFlags = libssl.X509_V_FLAG_POLICY_CHECK
	VerifyExplicitPolicy     VerifyFlags = libssl.X509_V_FLAG_EXPLICIT_POLICY
	VerifyInhibitAny         VerifyFlags = libssl.X509_V_FLAG_INHIBIT_ANY
	VerifyInhibitMap         VerifyFlags = libssl.X509_V_FLAG_INHIBIT_MAP
	VerifyExtendedCRLSupport VerifyFlags = libssl.X509_V_FLAG_EXTENDED_CRL_SUPPORT
	VerifyUseDeltas          VerifyFlags = libssl.X509_V_FLAG_USE_DELTAS
	VerifyCheckSSSignature   VerifyFlags = libssl.X509_V_FLAG_CHECK_SS_SIGNATURE
	VerifyTrustedFirst       VerifyFlags = libssl.X509_V_FLAG_TRUSTED_FIRST // always so, by OpenSSL's own defaults
	VerifySuiteB128Only      VerifyFlags = libssl.X509_V_FLAG_SUITEB_128_LOS_ONLY
	VerifySuiteB192          VerifyFlags = libssl.X509_V_FLAG_SUITEB_192_LOS
	VerifySuiteB128          VerifyFlags = libssl.X509_V_FLAG_SUITEB_128_LOS
	VerifyPartialChain       VerifyFlags = libssl.X509_V_FLAG_PARTIAL_CHAIN // trust a CA also without the root above it
	VerifyNoAltChains        VerifyFlags = libssl.X509_V_FLAG_NO_ALT_CHAINS
	VerifyNoCheckTime        VerifyFlags = libssl.X509_V_FLAG_NO_CHECK_TIME
)

const knownVerifyFlags = VerifyCRLCheck | VerifyCRLCheckAll | VerifyIgnoreCritical | VerifyX509Strict |
	VerifyAllowProxyCerts | VerifyPolicyCheck | VerifyExplicitPolicy | VerifyInhibitAny | VerifyInhibitMap |
	VerifyExtendedCRLSupport | VerifyUseDeltas | VerifyCheckSSSignature | VerifyTrustedFirst | VerifySuiteB128 |
	VerifyPartialChain | VerifyNoAltChains | VerifyNoCheckTime

// HostFlags are OpenSSL's X509_CHECK_FLAG bits, which tell how a server's name is looked
// for in its certificate, and can be combined.
type HostFlags uint32

const (
	HostAlwaysCheckSubject  HostFlags = libssl.X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT
	HostNoWildcards         HostFlags = libssl.X509_CHECK_FLAG_NO_WILDCARDS
	HostNoPartialWildcards  HostFlags = libssl.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
	HostMultiLabelWildcards HostFlags = libssl.X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS
	HostNeverCheckSubject   HostFlags = libssl.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
)

const knownHostFlags = HostAlwaysCheckSubject | HostNoWildcards | HostNoPartialWildcards | HostMultiLabelWildcards |
	HostNeverCheckSubject

// Options are OpenSSL's SSL_OP bits. A bit that the linked version does not know is 0.
type Options uint64

const (
	OptionNoTicket               Options = libssl.SSL_OP_NO_TICKET
	OptionNoRenegotiation        Options = libssl.SSL_OP_NO_RENEGOTIATION
	OptionCipherServerPreference Options = libssl.SSL_OP_CIPHER_SERVER_PREFERENCE
	OptionPrioritizeChaCha       Options = libssl.SSL_OP_PRIORITIZE_CHACHA
	OptionNoTLSv12               Options = libssl.SSL_OP_NO_TLSv1_2
	OptionNoTLSv13               Options = libssl.SSL_OP_NO_TLSv1_3
	OptionNoCompression          Options = libssl.SSL_OP_NO_COMPRESSION
	OptionNoEncryptThenMAC       Options = libssl.SSL_OP_NO_ENCRYPT_THEN_MAC
	OptionNoExtendedMasterSecret Options = libssl.SSL_OP_NO_EXTENDED_MASTER_SECRET
	OptionAllowNoDHEKeyExchange  Options = libssl.SSL_OP_ALLOW_NO_DHE_KEX
	OptionEnableMiddleboxCompat  Options = libssl.SSL_OP_ENABLE_MIDDLEBOX_COMPAT
	OptionIgnoreUnexpectedEOF    Options = libssl.SSL_OP_IGNORE_UNEXPECTED_EOF
	OptionLegacyServerConnect    Options = libssl.SSL_OP_LEGACY_SERVER_CONNECT
)
