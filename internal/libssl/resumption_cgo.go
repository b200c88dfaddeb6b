package libssl

/*
#include "resumption.h"
*/
import "C"

import (
	"time"
)

// SetChecks sets what is checked on a resumption that libssl does not check.
func (c CTX) SetChecks(on bool, maxAge time.Duration) {
	C.osl_ctx_set_checks(c.p, cBool(on), C.int64_t(maxAge/time.Second))
}

// Resumption is what became of a client's offer to resume a session.
const (
	NotOffered      = C.OSL_NOT_OFFERED
	Resumed         = C.OSL_RESUMED
	ContextMismatch = C.OSL_CONTEXT_MISMATCH
	NotFound        = C.OSL_NOT_FOUND
	Expired         = C.OSL_EXPIRED
	Undecryptable   = C.OSL_UNDECRYPTABLE
	Other           = C.OSL_OTHER
	PSK             = C.OSL_PSK
)

// Refusal is why a connection that libssl has accepted is refused.
type Refusal int

const (
	Accepted           Refusal = C.OSL_ACCEPTED
	NoCertificate      Refusal = C.OSL_NO_CERTIFICATE
	CertificateExpired Refusal = C.OSL_CERTIFICATE_EXPIRED
	NotVerified        Refusal = C.OSL_NOT_VERIFIED
	TooOld             Refusal = C.OSL_TOO_OLD
	PSKRemoved         Refusal = C.OSL_PSK_REMOVED
	NameNotVerified    Refusal = C.OSL_NAME_NOT_VERIFIED // on a client, and not about a resumption
)
