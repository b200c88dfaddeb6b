package libssl

/*
#cgo noescape osl_ctx_set_ticket_keys
#cgo nocallback osl_ctx_set_ticket_keys
#include "tickets.h"
*/
import "C"

// TicketKeySize is how many bytes a key has: its name, an AES key, an HMAC key.
const TicketKeySize = 16 + 32 + 32

// SetTicketKeys replaces the keys: the first encrypts, all of them decrypt.
func (c CTX) SetTicketKeys(keys []byte) *Failure {
	return failure("SSL_CTX_set_tlsext_ticket_key_cb",
		C.osl_ctx_set_ticket_keys(c.p, bytesPtr(keys), C.size_t(len(keys)/TicketKeySize)))
}

// AgeTicketKeys makes the keys older, for tests: C's clock cannot be set.
func (c CTX) AgeTicketKeys(seconds int64) { C.osl_ctx_age_ticket_keys(c.p, C.int64_t(seconds)) }
