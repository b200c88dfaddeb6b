//go:build cgo

package openssl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/sidctx/openssl/internal/libssl"
)

// Error is an error of libssl or libcrypto, with the whole error queue that the failed
// call left. It unwraps to the [tls.AlertError] that the peer has sent, to the
// [VerifyError] of the peer's certificate, or to the [syscall.Errno] of a failed system
// call, if that was the cause. Each Error is a value of its own, and the caller's.
type Error struct {
	Op    string       // the libssl function, "SSL_CTX_set_session_id_context"
	Code  int          // the result of SSL_get_error, 0 for calls without one
	Stack []ErrorEntry // OpenSSL's error queue, oldest entry first; may be empty

	verify    int
	sidCtxLen int // the length of the session id context that was refused
}

// ErrorEntry is one entry of OpenSSL's error queue.
type ErrorEntry struct {
	Code     uint64 // as encoded by the linked version
	Library  string // "SSL routines"
	Function string // may be empty
	Reason   string // the text changes between versions; compare with [errors.Is]
	File     string // in OpenSSL's source
	Line     int
	Data     string // additional information, for example a file name
}

// asError makes an error of a failure, nil of none.
func asError(f *libssl.Failure) error {
	if f == nil {
		return nil
	}
	e := &Error{Op: f.Op, Code: f.Code, verify: f.Verify}
	if len(f.Stack) > 0 {
		e.Stack = make([]ErrorEntry, len(f.Stack))
	}
	for i, entry := range f.Stack {
		e.Stack[i] = ErrorEntry(entry)
	}
	return e
}

// asSIDContextError is asError for a session id context of n bytes.
func asSIDContextError(f *libssl.Failure, n int) error {
	err := asError(f)
	if e, ok := err.(*Error); ok {
		e.sidCtxLen = n
	}
	return err
}

// Error returns one line: the failed call and the first reason of libssl in the queue, or
// the first of libcrypto if there is none, the failure of a system call that led to it,
// and what to do about it if the package knows. Stack has the other reasons.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("openssl: ")
	b.WriteString(e.Op)
	b.WriteString(": ")
	if len(e.Stack) == 0 {
		b.WriteString("failed, and OpenSSL has given no reason")
		return b.String()
	}
	first, system := e.Stack[0], e.systemError()
	for _, entry := range e.Stack {
		if lib, _ := libssl.SplitCode(entry.Code); lib == libssl.ERR_LIB_SSL {
			first = entry
			break
		}
	}
	if first.Reason != "" {
		b.WriteString(first.Reason)
	} else {
		fmt.Fprintf(&b, "error %#x", first.Code)
	}
	if v, ok := e.verifyError(); ok {
		b.WriteString(": ")
		b.WriteString(v.Reason)
	} else if first.Data != "" {
		b.WriteString(" (")
		b.WriteString(first.Data)
		b.WriteString(")")
	}
	if system != 0 && !strings.EqualFold(first.Reason, system.Error()) {
		b.WriteString(": ")
		b.WriteString(system.Error())
	}
	if next := e.advice(); next != "" {
		b.WriteString(": ")
		b.WriteString(next)
	}
	return b.String()
}

// advice is what to do about the commonest mistakes, empty for other errors.
func (e *Error) advice() string {
	if e.has(libssl.SSL_R_SSL_SESSION_ID_CONTEXT_TOO_LONG) {
		return fmt.Sprintf("it has %d bytes: use at most 32 bytes, for example a SHA-256 hash of a longer one, or DeriveSessionIDContext", e.sidCtxLen)
	}
	v, _ := e.verifyError()
	switch {
	case v == nil:
	case libssl.UnknownIssuer(v.Code):
		return "trust its CA with AddVerifyCAs, SetVerifyCAs or LoadVerifyLocations (a server also with SetClientCAs)"
	case libssl.OtherName(v.Code):
		return "give the name in the certificate to SetServerName or Dialer.ServerName"
	}
	return ""
}

// again is an error that was returned before, as a value of the caller's own. Errors of
// the caller's functions remain theirs.
func again(err error) error {
	switch e := err.(type) {
	case *Error:
		fresh := *e
		fresh.Stack = slices.Clone(e.Stack)
		return &fresh
	case *explained:
		return &explained{e.what, again(e.err)}
	}
	return err
}

// explained is an error with what it concerns in front: still one line, and
// "openssl: " only once.
type explained struct {
	what string
	err  error
}

func explain(what string, err error) error { return &explained{what, err} }

func (e *explained) Error() string {
	return "openssl: " + e.what + ": " + strings.TrimPrefix(e.err.Error(), "openssl: ")
}

func (e *explained) Unwrap() error { return e.err }

// Is reports whether the queue holds the reason code of target, if target is one of this
// package's sentinels.
func (e *Error) Is(target error) bool {
	t, ok := target.(*reasonError)
	return ok && e.has(t.reason)
}

// systemError is the error of the system call that failed, 0 for none.
func (e *Error) systemError() syscall.Errno {
	for _, entry := range e.Stack {
		if lib, reason := libssl.SplitCode(entry.Code); lib == libssl.ERR_LIB_SYS {
			return syscall.Errno(reason)
		}
	}
	return 0
}

// Unwrap returns the peer's alert, the failed verification or the error of a system call,
// and nil for other causes.
func (e *Error) Unwrap() error {
	if v, ok := e.verifyError(); ok {
		return v
	}
	for _, entry := range e.Stack {
		lib, reason := libssl.SplitCode(entry.Code)
		if lib == libssl.ERR_LIB_SSL && reason >= libssl.SSL_AD_REASON_OFFSET && reason <= libssl.SSL_AD_REASON_OFFSET+255 {
			return tls.AlertError(reason - libssl.SSL_AD_REASON_OFFSET)
		}
	}
	if errno := e.systemError(); errno != 0 {
		return errno
	}
	return nil
}

func (e *Error) has(reason int) bool {
	for _, entry := range e.Stack {
		if l, r := libssl.SplitCode(entry.Code); l == libssl.ERR_LIB_SSL && r == reason {
			return true
		}
	}
	return false
}

func (e *Error) verifyError() (*VerifyError, bool) {
	if e.verify == 0 || !e.has(libssl.SSL_R_CERTIFICATE_VERIFY_FAILED) {
		return nil, false
	}
	return newVerifyError(e.verify), true
}

// VerifyError tells why a peer's certificate was not accepted.
type VerifyError struct {
	Code   int    // X509_V_ERR_..., as the linked version numbers it
	Reason string // "certificate has expired"
}

// Error returns the reason.
func (e *VerifyError) Error() string { return "openssl: certificate verify failed: " + e.Reason }

func newVerifyError(code int) *VerifyError {
	return &VerifyError{Code: code, Reason: libssl.VerifyText(code)}
}

// reasonError is a sentinel for one of libssl's reason codes.
type reasonError struct {
	reason int
	text   string
}

func (e *reasonError) Error() string { return "openssl: " + e.text }

// Sentinel errors, for [errors.Is]. The first three match an [Error] whose queue holds
// the reason code of that name; the text differs between versions.
var (
	// ErrSessionIDContextTooLong means that a session id context has more than 32 bytes.
	ErrSessionIDContextTooLong error = &reasonError{libssl.SSL_R_SSL_SESSION_ID_CONTEXT_TOO_LONG, "session id context too long"}
	// ErrSessionIDContextUninitialized means that a server that requests client
	// certificates has no session id context.
	ErrSessionIDContextUninitialized error = &reasonError{libssl.SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED, "session id context uninitialized"}
	// ErrSessionContextMismatch means that a session was made under another session
	// id context.
	ErrSessionContextMismatch error = &reasonError{libssl.SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT, "session of a different session id context"}

	// ErrCtxInUse means that a Ctx has been used for a connection, or added to Hosts,
	// and cannot be changed any more.
	ErrCtxInUse = errors.New("openssl: the Ctx is in use: configure it before its first connection, or make another Ctx")
	// ErrTooLate means that a setting of a connection cannot be changed any more.
	ErrTooLate = errors.New("openssl: too late: call this before the ClientHello is sent (client) or answered (server)")
	// ErrResumptionRefused means that libssl has resumed a session that this package
	// does not accept. The connection has failed, with the alert bad_certificate, or
	// bad_record_mac where a TLS 1.2 session became unacceptable after the server had
	// resumed it; the client can connect again without the session.
	ErrResumptionRefused = errors.New("openssl: resumption refused")
	// ErrSessionNotFound means that there is no resumable session, or not yet.
	ErrSessionNotFound = errors.New("openssl: no resumable session (a TLS 1.3 client has one after its first Read)")
)

// closedError is the use of an object that was closed, whose name it is. It wraps
// net.ErrClosed without the text of that, which speaks of a network connection.
type closedError string

func (e closedError) Error() string { return "openssl: use of a closed " + string(e) }
func (closedError) Unwrap() error   { return net.ErrClosed }

// Errors that are found before libssl is called.
var (
	errCtxClosed     = closedError("Ctx")
	errSSLClosed     = closedError("SSL")
	errSessionClosed = closedError("Session")

	errNilCtx     = errors.New("openssl: the Ctx is nil: make one with NewServerCtx or NewClientCtx")
	errNilSSL     = errors.New("openssl: the SSL is nil: make one with NewSSL")
	errNilConn    = errors.New("openssl: the Conn is nil: make one with Client, Server or Dial")
	errNilSession = errors.New("openssl: the Session is nil: take one from Conn.Session or ParseSession")
	errNilWire    = errors.New("openssl: the net.Conn is nil: a Conn needs one to send and receive")

	errNameNotVerified = errors.New("openssl: SSL_get0_peername: libssl has verified the server's chain but not its name: out of memory?")

	errAnonymous = errors.New("openssl: the server has chosen an anonymous suite and presents no certificate: accept that with SetVerify(VerifyNone), or leave such suites out of SetCipherList")

	errAnswerOtherID = errors.New("openssl: the session's id is not the one that was asked for")
	errAnswerBadTime = errors.New("openssl: a session with a negative time or timeout, or made in the future, is not resumed")

	errStoreGone   = errors.New("openssl: the session store has ended the goroutine that it was called on")
	errSealBroken  = fmt.Errorf("openssl: a stored session does not decrypt: %w", ErrSessionNotFound)
	errNilContext  = errors.New("openssl: the context is nil: pass context.Background()")
	errNilListener = errors.New("openssl: NewListener was given no listener: pass one of net.Listen")
	errNoHello     = errors.New("openssl: this ClientHello belongs to no connection")

	errNoAnswer = errors.New("openssl: the ClientHello function has not returned")
	errShutdown = errors.New("openssl: write after close_notify")
)
