package openssl

/*
#include "ssl.h" // internal/libssl

// The caller's function is called as this package's own are.

static osl_fail *osl_ctx_raw(SSL_CTX *c, void *f, void *arg) {
	osl_enter();
	if (((int (*)(SSL_CTX *, void *))f)(c, arg) != 1)
		return osl_take(0);
	osl_sweep();
	return NULL;
}

static osl_fail *osl_ssl_raw(osl_ssl *t, void *f, void *arg) {
	osl_enter();
	if (((int (*)(SSL *, void *))f)(t->ssl, arg) != 1)
		return osl_take(0);
	osl_sweep();
	return NULL;
}
*/
import "C"

import (
	"errors"
	"unsafe"

	"github.com/sidctx/openssl/internal/libssl"
)

// Raw calls a C function of the caller's with the SSL_CTX of c, for what has no method
// here. f is an int (*)(SSL_CTX *, void *) that returns 1 for success and is not static, so
// that cgo finds its address. It is given arg, which may point to Go memory for the length of
// the call. Before the call the error queue
// is emptied; after another result than 1 it becomes the Stack of an [*Error] whose Op is op,
// the libssl function that f is about. What f has changed by then stays.
//
//	err := c.Raw("SSL_CTX_add_custom_ext", unsafe.Pointer(C.add_extension), nil)
//
// Like a setter it is refused on a Ctx in use. f runs with c locked: it must not call Go,
// nor keep c's SSL_CTX without a reference. It must leave alone what this package uses: the
// application data, the modes, and the callbacks for sessions, tickets, the ClientHello, the
// server name, ALPN, OCSP, passwords and verification. What has a method here is set with that:
// no context derived with [Ctx.DeriveSessionIDContext] and no key of a client's session cache
// knows what f did. If sessions must not cross it, name it in SessionPolicy.Extra, on a
// client in a context of its own.
func (c *Ctx) Raw(op string, f, arg unsafe.Pointer) error {
	return c.change(func(p libssl.CTX) error {
		if f == nil {
			return errNilRaw
		}
		c.addsTrust = true // it may have
		return asError(libssl.TakeFailure(op, unsafe.Pointer(C.osl_ctx_raw((*C.SSL_CTX)(p.Pointer()), f, arg))))
	})
}

// Raw calls a C function of the caller's with the SSL of s, as [Ctx.Raw] does with an
// SSL_CTX: f is an int (*)(SSL *, void *). It may be called at any time, and must not read,
// write, shake hands or shut down, which the methods of s do. On a Conn, f runs between two
// of its calls.
func (s *SSL) Raw(op string, f, arg unsafe.Pointer) error {
	if err := s.lock(); err != nil {
		return err
	}
	defer s.unlock()
	if f == nil {
		return errNilRaw
	}
	return asError(libssl.TakeFailure(op, unsafe.Pointer(C.osl_ssl_raw((*C.osl_ssl)(s.h.P.Pointer()), f, arg))))
}

// Raw calls a C function of the caller's with the SSL of c. See [SSL.Raw].
func (c *Conn) Raw(op string, f, arg unsafe.Pointer) error {
	if c.missing() {
		return errNilConn
	}
	return c.ssl.Raw(op, f, arg)
}

var errNilRaw = errors.New("openssl: Raw: the function is nil: pass unsafe.Pointer(C.f) of an int f(SSL_CTX *, void *), or f(SSL *, void *)")
