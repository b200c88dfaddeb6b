//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// Resumption tells whether a connection resumed a session and, if not, why. One case
// cannot be distinguished: a session in libssl's cache that has the right context, but that
// the connection could not use (because of a TLS 1.3 cipher suite with another hash, or
// of the extended master secret on one side only), is reported as
// ResumptionContextMismatch.
//
// A TLS 1.2 client that takes tickets may send a session id that it has made up, to see
// whether its ticket is accepted (RFC 5077, section 3.4), as crypto/tls does. A server
// that issues tickets reports an unknown id of such a client as ResumptionNotOffered: had
// it been here, it would offer a ticket. Without tickets ([OptionNoTicket]) a made-up id
// cannot be told from one that was removed from the cache, and both are reported as
// ResumptionNotFound.
type Resumption int

const (
	ResumptionNotOffered      Resumption = libssl.NotOffered      // the client offered no session
	ResumptionResumed         Resumption = libssl.Resumed         // the session was resumed
	ResumptionContextMismatch Resumption = libssl.ContextMismatch // it was made under another session id context
	ResumptionNotFound        Resumption = libssl.NotFound        // it is not in the cache
	ResumptionExpired         Resumption = libssl.Expired         // it has expired
	ResumptionUndecryptable   Resumption = libssl.Undecryptable   // no key decrypts the ticket
	ResumptionOther           Resumption = libssl.Other           // it was declined, and libssl does not tell why
	ResumptionPSK             Resumption = libssl.PSK             // a PSK was used, see [Ctx.UsePSK]: in TLS 1.3 it is offered as sessions are, and none was resumed
)

// refusalText is why a resumption was refused.
var refusalText = map[libssl.Refusal]string{
	libssl.NoCertificate:      "its session holds no client certificate, and one is required",
	libssl.CertificateExpired: "the client's certificate has expired since",
	libssl.NotVerified:        "the client's certificate was not verified when the session was made",
	libssl.PSKRemoved:         "its session was made with a PSK that this server does not have",
	libssl.TooOld:             "its first authentication is older than SetMaxAuthAge allows",
}
