//go:build cgo

package openssl

import "github.com/sidctx/openssl/internal/libssl"

// Resumption says whether a connection resumed a session, and if not, why. There
// is one blind cell: a session in libssl's cache, of the right context, that the
// connection could not take up (a TLS 1.3 suite with another hash, TLS 1.2 with
// the extended master secret on one side only) reads ResumptionContextMismatch.
type Resumption int

const (
	ResumptionNotOffered      Resumption = libssl.NotOffered      // the client had nothing to resume
	ResumptionResumed         Resumption = libssl.Resumed         // it was resumed
	ResumptionContextMismatch Resumption = libssl.ContextMismatch // made within another session id context
	ResumptionNotFound        Resumption = libssl.NotFound        // not, or no longer, in the cache
	ResumptionExpired         Resumption = libssl.Expired         // past its timeout
	ResumptionUndecryptable   Resumption = libssl.Undecryptable   // a ticket that no key opens
	ResumptionOther           Resumption = libssl.Other           // declined for a reason that libssl does not tell
)

// refusalText is why a resumption was refused.
var refusalText = map[libssl.Refusal]string{
	libssl.NoCertificate:      "its session holds no client certificate, and one is required",
	libssl.CertificateExpired: "the client's certificate has expired since",
	libssl.NotVerified:        "the client's certificate was not verified when the session was made",
	libssl.TooOld:             "its first authentication is older than SetMaxAuthAge allows",
}
