// Package libssl is the C of this module and its Go half: one type for each of
// libssl's, one call into C for each method. What can fail returns a [*Failure],
// which package openssl makes an Error of. Nothing here takes a lock: the owner of
// a pointer holds one around every call.
package libssl

/*
#cgo pkg-config: libssl libcrypto
#cgo CFLAGS: -Wall -Wextra
#include "error.h"
#include <openssl/x509_vfy.h>
*/
import "C"

import (
	"bytes"
	"math"
	"sync"
	"time"
	"unsafe"
)

// Failure is a copy of OpenSSL's error queue, made in the call that failed.
type Failure struct {
	Op     string // the libssl function
	Code   int    // SSL_get_error's result, 0 for calls that have none
	Verify int    // X509_V_ERR_... if the peer's certificate is why, else 0
	Stack  []FailureEntry
}

// FailureEntry is one entry of the queue.
type FailureEntry struct {
	Code                            uint64
	Library, Function, Reason, File string
	Line                            int
	Data                            string
}

// Reason codes of the headers, which are what errors are compared by.
const (
	ERR_LIB_SYS                                         = C.ERR_LIB_SYS
	ERR_LIB_SSL                                         = C.ERR_LIB_SSL
	SSL_R_SSL_SESSION_ID_CONTEXT_TOO_LONG               = C.SSL_R_SSL_SESSION_ID_CONTEXT_TOO_LONG
	SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED              = C.SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED
	SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT = C.SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT
	SSL_R_CERTIFICATE_VERIFY_FAILED                     = C.SSL_R_CERTIFICATE_VERIFY_FAILED
	SSL_R_HTTP_REQUEST                                  = C.SSL_R_HTTP_REQUEST
	SSL_AD_REASON_OFFSET                                = C.SSL_AD_REASON_OFFSET
)

// TakeFailure is the failure that an osl_fail holds, which it frees; nil for NULL.
// It is for the package above, whose C has types of its own.
func TakeFailure(op string, f unsafe.Pointer) *Failure { return failure(op, (*C.osl_fail)(f)) }

func failure(op string, f *C.osl_fail) *Failure {
	if f == nil {
		return nil
	}
	defer C.osl_fail_free(f)
	text := unsafe.Slice((*byte)(unsafe.Pointer(f.text)), int(f.len))
	r := &Failure{Op: op, Code: int(f.code), Verify: int(f.verify), Stack: make([]FailureEntry, int(f.n))}
	for i := range r.Stack {
		function, rest, _ := bytes.Cut(text, nul)
		file, rest, _ := bytes.Cut(rest, nul)
		data, rest, _ := bytes.Cut(rest, nul)
		text = rest
		r.Stack[i] = entry(uint64(f.codes[i]), int(f.lines[i]), function, file)
		r.Stack[i].Data = string(data)
	}
	return r
}

// place is where libssl raises an error.
type place struct {
	code uint64
	line int
}

// entries has what was made of an error before, without its data: there are as many as
// lines that raise one.
var entries struct {
	sync.RWMutex
	at map[place]FailureEntry
}

const maxEntries = 4096

func entry(code uint64, line int, function, file []byte) FailureEntry {
	entries.RLock()
	e, has := entries.at[place{code, line}]
	entries.RUnlock()
	if has && e.Function == string(function) && e.File == string(file) {
		return e
	}
	e = FailureEntry{
		Code:     code,
		Library:  C.GoString(C.osl_code_library(C.ulong(code))),
		Function: string(function),
		Reason:   C.GoString(C.osl_code_text(C.ulong(code))),
		File:     string(file),
		Line:     line,
	}
	entries.Lock()
	defer entries.Unlock()
	if entries.at == nil || len(entries.at) >= maxEntries {
		entries.at = map[place]FailureEntry{}
	}
	entries.at[place{code, line}] = e
	return e
}

var nul = []byte{0}

// SplitCode is ERR_GET_LIB and ERR_GET_REASON.
func SplitCode(code uint64) (lib, reason int) {
	return int(C.osl_code_lib(C.ulong(code))), int(C.osl_code_reason(C.ulong(code)))
}

// VerifyText is X509_verify_cert_error_string.
func VerifyText(code int) string {
	return C.GoString(C.X509_verify_cert_error_string(C.long(code)))
}

// UnknownIssuer reports whether no trusted CA has issued the certificate that a
// verification was about.
func UnknownIssuer(code int) bool {
	switch code {
	case C.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, C.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, C.X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
		C.X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, C.X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		return true
	}
	return false
}

// OtherName reports whether the certificate is not for the server that was asked for.
func OtherName(code int) bool {
	return code == C.X509_V_ERR_HOSTNAME_MISMATCH || code == C.X509_V_ERR_IP_ADDRESS_MISMATCH
}

// takeBytes copies what a call has allocated and frees it.
func takeBytes(op string, b C.osl_bytes) ([]byte, *Failure) {
	if b.fail != nil {
		return nil, failure(op, b.fail)
	}
	if b.p == nil {
		return nil, nil
	}
	defer C.osl_bytes_free(b.p, b.n)
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(b.p)), int(b.n))...), nil
}

// bytesPtr is b for the length of one call.
func bytesPtr(b []byte) *C.uchar { return (*C.uchar)(unsafe.SliceData(b)) }

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// optionalString is a C string, NULL for an empty one. The caller frees it.
func optionalString(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}

// seconds is n seconds, or as many as a Duration holds: n may be anything that
// stood in a session's DER.
func seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(n, -most), most)) * time.Second
}
