//go:build cgo

package openssl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Error is a refusal by libssl or libcrypto, with the whole error queue that
// the failing call left. It unwraps to the [tls.AlertError] that the peer sent,
// or to the [VerifyError] that its certificate earned, if one of them is why. The
// same refusal may be the same Error again: read it, do not change it.
type Error struct {
	Op    string       // the libssl function, "SSL_CTX_set_session_id_context"
	Code  int          // SSL_get_error's answer, 0 for calls that have none
	Stack []ErrorEntry // the drained queue, oldest first; may be empty

	verify int
}

// ErrorEntry is one entry of OpenSSL's error queue.
type ErrorEntry struct {
	Code     uint64 // packed as the linked version packs it
	Library  string // "SSL routines"
	Function string // empty where libssl does not say
	Reason   string // the text changes between versions; compare with [errors.Is]
	File     string // of OpenSSL's source
	Line     int
	Data     string // what libssl adds, a file's name for one
}

// Error is one line: the call and libssl's first reason, else the first at all;
// libcrypto's stand before it where a cipher or a file was to blame. The rest is
// in Stack.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("openssl: ")
	b.WriteString(e.Op)
	b.WriteString(": ")
	if len(e.Stack) == 0 {
		b.WriteString("refused without a reason")
		return b.String()
	}
	first := e.Stack[0]
	for _, entry := range e.Stack {
		if lib, _ := splitCode(entry.Code); lib == libSSL {
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
	return b.String()
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

// Is compares with the package's sentinels by reason code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*reasonError)
	return ok && e.has(t.reason)
}

// Unwrap is the peer's alert or the failed verification, nil for other reasons.
func (e *Error) Unwrap() error {
	if v, ok := e.verifyError(); ok {
		return v
	}
	for _, entry := range e.Stack {
		lib, reason := splitCode(entry.Code)
		if lib == libSSL && reason >= reasonAlertOffset && reason <= reasonAlertLast {
			return tls.AlertError(reason - reasonAlertOffset)
		}
	}
	return nil
}

func (e *Error) has(reason int) bool {
	for _, entry := range e.Stack {
		if l, r := splitCode(entry.Code); l == libSSL && r == reason {
			return true
		}
	}
	return false
}

func (e *Error) verifyError() (*VerifyError, bool) {
	if e.verify == 0 || !e.has(reasonCertificateVerifyFailed) {
		return nil, false
	}
	return newVerifyError(e.verify), true
}

// VerifyError says why a peer's certificate was not accepted.
type VerifyError struct {
	Code   int    // X509_V_ERR_..., as the linked version numbers it
	Reason string // "certificate has expired"
}

// Error gives the reason.
func (e *VerifyError) Error() string { return "openssl: certificate verify failed: " + e.Reason }

func newVerifyError(code int) *VerifyError {
	return &VerifyError{Code: code, Reason: verifyText(code)}
}

// reasonError is a sentinel for one of libssl's reason codes.
type reasonError struct {
	reason int
	text   string
}

func (e *reasonError) Error() string { return "openssl: " + e.text }

// Sentinels for [errors.Is]. An [Error] is one of the first three when its
// queue holds the reason code, whatever the text.
var (
	// ErrSessionIDContextTooLong: more than 32 bytes.
	ErrSessionIDContextTooLong error = &reasonError{reasonSIDCtxTooLong, "session id context too long"}
	// ErrSessionIDContextUninitialized: sessions with client certificates need a context.
	ErrSessionIDContextUninitialized error = &reasonError{reasonSIDCtxUninitialized, "session id context uninitialized"}
	// ErrSessionContextMismatch: the session was made within another context.
	ErrSessionContextMismatch error = &reasonError{reasonSessionContextMismatch, "session of a different session id context"}

	// ErrCtxInUse: a Ctx is frozen from its first connection on.
	ErrCtxInUse = errors.New("openssl: the Ctx is in use: configure it before its first connection is made")
	// ErrTooLate: what was to be set has been decided already.
	ErrTooLate = errors.New("openssl: too late: this is settled once the ClientHello has been sent or answered")
	// ErrResumptionRefused: libssl has resumed a session that this package does
	// not accept. The connection is over; the client can come again without it.
	ErrResumptionRefused = errors.New("openssl: resumption refused")
	// ErrSessionNotFound: there is no resumable session (yet).
	ErrSessionNotFound = errors.New("openssl: no resumable session (a TLS 1.3 client has one after its first Read)")
)

// What is wrong before libssl is asked.
var (
	errCtxClosed     = fmt.Errorf("openssl: use of a closed Ctx: %w", net.ErrClosed)
	errSSLClosed     = fmt.Errorf("openssl: use of a closed SSL: %w", net.ErrClosed)
	errSessionClosed = fmt.Errorf("openssl: use of a closed Session: %w", net.ErrClosed)

	errNilCtx     = errors.New("openssl: the Ctx is nil: make one with NewServerCtx or NewClientCtx")
	errNilSSL     = errors.New("openssl: the SSL is nil: make one with NewSSL")
	errNilConn    = errors.New("openssl: the Conn is nil: make one with Client, Server or Dial")
	errNilSession = errors.New("openssl: the Session is nil: take one from Conn.Session or ParseSession")
	errNilWire    = errors.New("openssl: the wire is nil: a Conn needs a net.Conn to speak over")

	errNameNotVerified = errors.New("openssl: SSL_get0_peername: libssl has verified the server's chain and not its name: out of memory?")

	errAnswerOtherID = errors.New("openssl: the session's id is not the one that was asked for")
	errAnswerBadTime = errors.New("openssl: a session with a negative time or timeout, or made in the future, is not resumed")

	errSealBroken  = fmt.Errorf("openssl: a stored session does not open: %w", ErrSessionNotFound)
	errNilContext  = errors.New("openssl: the context is nil: pass context.Background()")
	errNilListener = errors.New("openssl: NewListener was given no listener")
	errNoHello     = errors.New("openssl: this ClientHello came from no connection")

	errShutdown = errors.New("openssl: write after close_notify")
)
