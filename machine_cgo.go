package openssl

/*
#cgo noescape osl_ssl_new
#cgo nocallback osl_ssl_new
#cgo noescape osl_handshake
#cgo nocallback osl_handshake
#cgo noescape osl_read
#cgo nocallback osl_read
#cgo noescape osl_write
#cgo nocallback osl_write
#cgo noescape osl_shutdown
#cgo nocallback osl_shutdown
#cgo noescape osl_drain
#cgo nocallback osl_drain
#cgo noescape osl_ssl_set_ctx
#cgo nocallback osl_ssl_set_ctx
#cgo noescape osl_ssl_state
#cgo nocallback osl_ssl_state
#cgo noescape osl_ssl_export
#cgo nocallback osl_ssl_export
#include "machine_cgo.h"
*/
import "C"

import (
	"encoding/binary"
	"unsafe"
)

// sslPtr is the C half of a machine. Its owner holds a lock around every act.
type sslPtr struct{ p *C.osl_ssl }

// want is what an act of the machine came to.
type want int

const (
	wantNothing want = C.OSL_DONE
	wantInput   want = C.OSL_INPUT
	wantHello   want = C.OSL_HELLO
	saidGoodbye want = C.OSL_GOODBYE
	wireCut     want = C.OSL_CUT
	actFailed   want = C.OSL_FAILED
)

// turn is the outcome of one act: counts of bytes, what is wanted next, and why
// it failed.
type turn struct {
	n, used, out, spilled      int
	want                       want
	pending, decided, ticketed bool
	fresh, keylog, made        bool
	spoilt                     bool // the session that a client offers cannot be resumed any more
	resumption                 Resumption
	refused                    int
	err                        error
}

func takeTurn(op string, r C.osl_turn) turn {
	return turn{
		n: int(r.n), used: int(r.used), out: int(r.out), spilled: int(r.spilled),
		want:    want(r.want),
		pending: r.pending != 0, decided: r.decided != 0, ticketed: r.ticketed != 0,
		fresh: r.fresh != 0, keylog: r.keylog != 0, made: r.made != 0, spoilt: r.spoilt != 0, resumption: Resumption(r.resumption), refused: int(r.refused),
		err: takeError(op, r.fail),
	}
}

func newSSLPtr(c ctxPtr, server, asks bool, sidCtx []byte) (sslPtr, error) {
	made := C.osl_ssl_new(c.p, cBool(server), cBool(asks), lend(sidCtx), C.size_t(len(sidCtx)))
	return sslPtr{made.t}, takeError("SSL_new", made.fail)
}

func (s sslPtr) free() { C.osl_ssl_free(s.p) }

// end frees the SSL, but for what Go holds of it, and says whether that has
// spoilt the session that a client offers.
func (s sslPtr) end() (spoilt bool) { return C.osl_ssl_end(s.p) != 0 }

func (s sslPtr) handshake(in []byte, eof bool, out []byte) turn {
	return takeTurn("SSL_do_handshake",
		C.osl_handshake(s.p, lend(in), C.size_t(len(in)), cBool(eof), lend(out), C.size_t(len(out))))
}

func (s sslPtr) read(p, in []byte, eof bool) turn {
	return takeTurn("SSL_read_ex",
		C.osl_read(s.p, lend(p), C.size_t(len(p)), lend(in), C.size_t(len(in)), cBool(eof)))
}

func (s sslPtr) write(p, out []byte) turn {
	return takeTurn("SSL_write_ex",
		C.osl_write(s.p, lend(p), C.size_t(len(p)), lend(out), C.size_t(len(out))))
}

func (s sslPtr) shutdown(in []byte, eof bool, out []byte) turn {
	return takeTurn("SSL_shutdown",
		C.osl_shutdown(s.p, lend(in), C.size_t(len(in)), cBool(eof), lend(out), C.size_t(len(out))))
}

func (s sslPtr) drain(p []byte) int {
	return int(C.osl_drain(s.p, lend(p), C.size_t(len(p))))
}

func (s sslPtr) version() uint16 { return uint16(C.osl_ssl_version(s.p)) }

func (s sslPtr) keepSession() { C.osl_keep_session(s.p) }

// setCtx switches to c, or with a zero c back to the SSL_CTX that s was made from.
func (s sslPtr) setCtx(c ctxPtr, sidCtx []byte) error {
	return takeError("SSL_set_SSL_CTX", C.osl_ssl_set_ctx(s.p, c.p, lend(sidCtx), C.size_t(len(sidCtx))))
}

func (s sslPtr) setServerName(name string, isIP bool) error {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	return takeError("SSL_set_tlsext_host_name", C.osl_ssl_set_name(s.p, cName, cBool(isIP)))
}

func (s sslPtr) refuse(alert uint8) { C.osl_ssl_refuse(s.p, C.int(alert)) }

// spoilSession has the session of a connection forgotten.
func (s sslPtr) spoilSession() { C.osl_ssl_spoil(s.p) }

func (s sslPtr) hello() ([]byte, error) {
	return takeBytes("SSL_client_hello_get0_ext", C.osl_ssl_hello(s.p))
}

// keyLog takes the lines that have been collected.
func (s sslPtr) keyLog() ([]byte, error) {
	return takeBytes("SSL_CTX_set_keylog_callback", C.osl_ssl_keylog(s.p))
}

// Resumption says whether a connection resumed a session, and if not, why. There
// is one blind cell: a session in libssl's cache, of the right context, that the
// connection could not take up (a TLS 1.3 suite with another hash, TLS 1.2 with
// the extended master secret on one side only) reads ResumptionContextMismatch.
type Resumption int

const (
	ResumptionNotOffered      Resumption = C.OSL_NOT_OFFERED      // the client had nothing to resume
	ResumptionResumed         Resumption = C.OSL_RESUMED          // it was resumed
	ResumptionContextMismatch Resumption = C.OSL_CONTEXT_MISMATCH // made within another session id context
	ResumptionNotFound        Resumption = C.OSL_NOT_FOUND        // not, or no longer, in the cache
	ResumptionExpired         Resumption = C.OSL_EXPIRED          // past its timeout
	ResumptionUndecryptable   Resumption = C.OSL_UNDECRYPTABLE    // a ticket that no key opens
	ResumptionOther           Resumption = C.OSL_OTHER            // declined for a reason that libssl does not tell
)

// sslState is what a connection has come to.
type sslState struct {
	version, cipher  uint16
	cipherName       string
	done, reused     bool
	alpn, serverName string
	sidCtx           []byte
	verifyResult     int
}

func (s sslPtr) state() sslState {
	var st C.osl_state
	C.osl_ssl_state(s.p, &st)
	return sslState{
		version: uint16(st.version), cipher: uint16(st.cipher),
		cipherName: C.GoString(&st.cipher_name[0]),
		done:       st.done != 0, reused: st.reused != 0,
		alpn:         string(unsafe.Slice((*byte)(unsafe.Pointer(&st.alpn[0])), int(st.alpn_n))),
		serverName:   C.GoStringN(&st.server_name[0], C.int(st.server_name_n)),
		sidCtx:       C.GoBytes(unsafe.Pointer(&st.sidctx[0]), C.int(st.sidctx_n)),
		verifyResult: int(st.verify_result),
	}
}

// peerCertificates is each certificate's DER, the leaf first.
func (s sslPtr) peerCertificates() ([][]byte, error) {
	b, err := takeBytes("SSL_get_peer_cert_chain", C.osl_ssl_peer_certs(s.p))
	var ders [][]byte
	for len(b) > 0 {
		n := 4 + binary.BigEndian.Uint32(b)
		ders, b = append(ders, b[4:n:n]), b[n:]
	}
	return ders, err
}

// exportKeyingMaterial tells a nil context from an empty one, as TLS 1.2 does.
func (s sslPtr) exportKeyingMaterial(p []byte, label string, context []byte) error {
	cLabel := C.CString(label)
	defer C.free(unsafe.Pointer(cLabel))
	return takeError("SSL_export_keying_material",
		C.osl_ssl_export(s.p, lend(p), C.size_t(len(p)), cLabel, C.size_t(len(label)),
			lend(context), C.size_t(len(context)), cBool(context != nil)))
}
