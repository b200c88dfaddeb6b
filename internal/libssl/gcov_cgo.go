//go:build gcov

package libssl

/*
extern void __gcov_dump(void);
*/
import "C"

// DumpCoverage writes which C lines have run: Go's os.Exit calls no exit handler of C.
func DumpCoverage() { C.__gcov_dump() }
