package worker

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void bench_trim(void) { malloc_trim(0); }
#else
static void bench_trim(void) {}
#endif
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// resident is the process's resident memory in bytes, once Go's heap and C's
// have given back what they do not use. The C peer trims, too.
func resident() (int64, error) {
	runtime.GC() // finalizers of one collection free for the next
	runtime.GC()
	debug.FreeOSMemory()
	C.bench_trim()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0, err
	}
	return pages * int64(os.Getpagesize()), nil
}
