package libssl

/*
#cgo noescape osl_drain
#cgo nocallback osl_drain
#cgo noescape osl_handshake
#cgo nocallback osl_handshake
#cgo noescape osl_shutdown
#cgo nocallback osl_shutdown
#cgo noescape osl_ssl_export
#cgo nocallback osl_ssl_export
#cgo noescape osl_ssl_new
#cgo nocallback osl_ssl_new
#cgo noescape osl_ssl_set_ctx
#cgo nocallback osl_ssl_set_ctx
#cgo noescape osl_ssl_state
#cgo nocallback osl_ssl_state
#cgo noescape osl_read_number
#cgo nocallback osl_read_number
#cgo noescape osl_write_number
#cgo nocallback osl_write_number
#include "ssl.h"

// cgo looks up whether a pointer to something with pointers is Go's, in each call. These
// are called for each record, and get a number.

static osl_call_result osl_read_number(uintptr_t t, unsigned char *p, size_t n, const unsigned char *in, size_t in_n, int eof) {
	return osl_read((osl_ssl *)t, p, n, in, in_n, eof);
}

static osl_call_result osl_write_number(uintptr_t t, const unsigned char *p, size_t n, unsigned char *out, size_t out_cap) {
	return osl_write((osl_ssl *)t, p, n, out, out_cap);
}
*/
import "C"

import (
	"encoding/binary"
	"unsafe"
)

// SSL is an SSL over memory.
type SSL struct{ p *C.osl_ssl }

// Pointer is the osl_ssl itself, for C of the package above.
func (s SSL) Pointer() unsafe.Pointer { return unsafe.Pointer(s.p) }

func (s SSL) number() C.uintptr_t { return C.uintptr_t(uintptr(unsafe.Pointer(s.p))) }

// Want is what a call came to.
type Want int8

const (
	Done            Want = C.OSL_DONE
	WantInput       Want = C.OSL_INPUT
	WantClientHello Want = C.OSL_HELLO
	CloseNotify     Want = C.OSL_CLOSE_NOTIFY // the peer has sent one
	EOF             Want = C.OSL_EOF          // the input has ended without one
	Failed          Want = C.OSL_FAILED
)

// Result is what a call has done. Counts of bytes hold whatever Want is.
type Result struct {
	N              int // plaintext read or written
	Used           int // ciphertext taken
	Out            int // ciphertext made, in the buffer that was lent
	Spilled        int // more of it, for Drain
	Want           Want
	Pending        bool  // plaintext waits in libssl
	Hellos         int32 // ClientHellos that were let through; 1 if a client has sent its own
	GotTicket      bool  // a session has arrived after the handshake
	NewSession     bool  // a client's connection has another session than before
	KeyLog         bool  // lines wait for KeyLog
	HasNewSessions bool  // sessions wait for NewSessions
	OfferInvalid   bool  // the session that a client offers cannot be resumed any more
	HasPeer        bool  // at a handshake's end: the peer has presented a certificate
	Resumption     int8
	Refusal        Refusal
	Resuming       bool // a server that resumes in TLS 1.2: what it has made is not sent yet
	TicketsHeld    bool // IssueTickets is to be called
	Fail           *Failure
}

func result(op string, r C.osl_call_result) Result {
	return Result{
		N: int(r.n), Used: int(r.used), Out: int(r.out), Spilled: int(r.spilled),
		Want:           Want(r.want),
		Pending:        bool(r.pending),
		Hellos:         int32(r.hellos),
		GotTicket:      bool(r.got_ticket),
		NewSession:     bool(r.new_session),
		KeyLog:         bool(r.keylog),
		HasNewSessions: bool(r.has_new_sessions),
		OfferInvalid:   bool(r.offer_invalid),
		HasPeer:        bool(r.has_peer),
		Resumption:     int8(r.resumption),
		Refusal:        Refusal(r.refused),
		Resuming:       bool(r.resuming),
		TicketsHeld:    bool(r.tickets_held),
		Fail:           failure(op, r.fail),
	}
}

// NewSSL makes an SSL with a session id context; asks suspends it at each ClientHello.
func NewSSL(c CTX, server, asks bool, sidCtx []byte) (SSL, *Failure) {
	made := C.osl_ssl_new(c.p, cBool(server), cBool(asks), bytesPtr(sidCtx), C.size_t(len(sidCtx)))
	return SSL{made.t}, failure("SSL_new", made.fail)
}

// Free frees it.
func (s SSL) Free() { C.osl_ssl_free(s.p) }

// End frees the SSL, and reports whether the session that a client offers cannot be
// resumed any more because of that. Free is still to be called.
func (s SSL) End() (offerInvalid bool) { return C.osl_ssl_end(s.p) != 0 }

// Handshake goes on with the handshake; decides keeps a server's TLS 1.3 tickets back.
func (s SSL) Handshake(in []byte, eof, decides bool, out []byte) Result {
	return result("SSL_do_handshake",
		C.osl_handshake(s.p, bytesPtr(in), C.size_t(len(in)), cBool(eof), cBool(decides), bytesPtr(out), C.size_t(len(out))))
}

// Read decrypts into p from as many records as are in the input.
func (s SSL) Read(p, in []byte, eof bool) Result {
	return result("SSL_read_ex",
		C.osl_read_number(s.number(), bytesPtr(p), C.size_t(len(p)), bytesPtr(in), C.size_t(len(in)), cBool(eof)))
}

// Write encrypts all of p.
func (s SSL) Write(p, out []byte) Result {
	return result("SSL_write_ex",
		C.osl_write_number(s.number(), bytesPtr(p), C.size_t(len(p)), bytesPtr(out), C.size_t(len(out))))
}

// Shutdown sends close_notify, and after that reads on for the peer's.
func (s SSL) Shutdown(in []byte, eof bool, out []byte) Result {
	return result("SSL_shutdown",
		C.osl_shutdown(s.p, bytesPtr(in), C.size_t(len(in)), cBool(eof), bytesPtr(out), C.size_t(len(out))))
}

// Drain takes ciphertext that had no room in what was lent.
func (s SSL) Drain(p []byte) int {
	return int(C.osl_drain(s.p, bytesPtr(p), C.size_t(len(p))))
}

// Version is the protocol version.
func (s SSL) Version() uint16 { return uint16(C.osl_ssl_version(s.p)) }

// KeepSession has the session stay resumable when s is freed.
func (s SSL) KeepSession() { C.osl_keep_session(s.p) }

// SetCtx switches to c, or with a zero c back to the SSL_CTX that s was made from.
func (s SSL) SetCtx(c CTX, sidCtx []byte) *Failure {
	return failure("SSL_set_SSL_CTX", C.osl_ssl_set_ctx(s.p, c.p, bytesPtr(sidCtx), C.size_t(len(sidCtx))))
}

// SetServerName sets the name to ask for and to verify, or the address.
func (s SSL) SetServerName(name string, isIP bool) *Failure {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	return failure("SSL_set_tlsext_host_name", C.osl_ssl_set_name(s.p, cName, cBool(isIP)))
}

// KeyLog takes the lines that have been collected.
func (s SSL) KeyLog() ([]byte, *Failure) {
	return takeBytes("SSL_CTX_set_keylog_callback", C.osl_ssl_keylog(s.p))
}

// State is what can be read of a connection.
type State struct {
	Version, Cipher  uint16
	Group            uint16 // 0 for none
	CipherName       string
	GroupName        string
	Reused           bool
	ALPN, ServerName string
	SIDCtx           []byte
	VerifyResult     int
	PSKIdentity      string
}

// State reads it.
func (s SSL) State() State {
	var st C.osl_state
	C.osl_ssl_state(s.p, &st)
	return State{
		Version: uint16(st.version), Cipher: uint16(st.cipher),
		Group:        uint16(st.group),
		CipherName:   C.GoString(&st.cipher_name[0]),
		GroupName:    C.GoString(&st.group_name[0]),
		Reused:       st.reused != 0,
		ALPN:         string(unsafe.Slice((*byte)(unsafe.Pointer(&st.alpn[0])), int(st.alpn_n))),
		ServerName:   C.GoStringN(&st.server_name[0], C.int(st.server_name_n)),
		SIDCtx:       C.GoBytes(unsafe.Pointer(&st.sidctx[0]), C.int(st.sidctx_n)),
		VerifyResult: int(st.verify_result),
		PSKIdentity:  C.GoString(&st.psk_identity[0]),
	}
}

// PeerCertificates is each certificate's DER, the leaf first.
func (s SSL) PeerCertificates() ([][]byte, *Failure) {
	b, fail := takeBytes("SSL_get_peer_cert_chain", C.osl_ssl_peer_certs(s.p))
	return splitCertificates(b), fail
}

func splitCertificates(b []byte) (ders [][]byte) {
	for len(b) > 0 {
		n := 4 + binary.BigEndian.Uint32(b)
		ders, b = append(ders, b[4:n:n]), b[n:]
	}
	return ders
}

// ExportKeyingMaterial tells a nil context from an empty one, as TLS 1.2 does.
func (s SSL) ExportKeyingMaterial(p []byte, label string, context []byte) *Failure {
	cLabel := C.CString(label)
	defer C.free(unsafe.Pointer(cLabel))
	return failure("SSL_export_keying_material",
		C.osl_ssl_export(s.p, bytesPtr(p), C.size_t(len(p)), cLabel, C.size_t(len(label)),
			bytesPtr(context), C.size_t(len(context)), cBool(context != nil)))
}
