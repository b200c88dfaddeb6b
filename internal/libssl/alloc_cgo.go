//go:build malloc

package libssl

/*
#cgo CFLAGS: -DOSL_MALLOC -Dcalloc=osl_malloc_calloc -Drealloc=osl_malloc_realloc
#include <stdlib.h>
#include "alloc.h"
*/
import "C"

import "unsafe"

// Built with -tags malloc, allocations of libcrypto, libssl and this package's C
// fail when a test asks for it. What is said of allocations holds for those of the
// calling thread.

// MallocInstalled reports whether libcrypto has taken the allocator that can fail.
func MallocInstalled() bool { return C.osl_malloc_installed() != 0 }

// ArmMalloc has the nth allocation from now on fail, counted from 1, and all
// behind it too if onward. loud prints where, for the case that the process does
// not outlive it. With nth 0 none fails: MallocStacks tells what was allocated.
func ArmMalloc(nth int, onward, loud bool) {
	C.osl_malloc_arm(C.uint64_t(nth), cBool(onward), cBool(loud))
}

// DisarmMalloc ends ArmMalloc and returns how many allocations failed.
func DisarmMalloc() int { return int(C.osl_malloc_disarm()) }

// ExemptMalloc has the allocations of one source file of OpenSSL's, by the end of
// its name, never fail while an exported function runs. It reports whether there is
// such a function.
func ExemptMalloc(file, function string) bool {
	name := C.CString(function)
	defer C.free(unsafe.Pointer(name))
	return C.osl_malloc_exempt(C.CString(file), name) != 0 // which keeps the file
}

// WithoutMalloc calls f, whose allocations do not fail and do not count.
func WithoutMalloc(f func()) {
	armed := C.osl_malloc_pause()
	defer C.osl_malloc_resume(armed)
	f()
}

// MallocStacks is the call stack of each allocation since ArmMalloc(0, ...), as a
// hash: the innermost and the outermost frames.
func MallocStacks() []uint64 {
	var n C.size_t
	p := C.osl_malloc_stacks(&n)
	return append([]uint64(nil), unsafe.Slice((*uint64)(unsafe.Pointer(p)), int(n))...)
}

// MallocWhere is where the first allocation failed: OpenSSL's file and line, then
// the functions of libcrypto and libssl, innermost first, on one line.
func MallocWhere() string {
	var text [8192]C.char
	C.osl_malloc_where(&text[0], C.size_t(len(text)))
	return C.GoString(&text[0])
}

// LiveMallocs is how many blocks libcrypto and libssl hold, for all threads.
func LiveMallocs() int64 { return int64(C.osl_malloc_live()) }
