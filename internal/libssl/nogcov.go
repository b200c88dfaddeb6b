//go:build !gcov

package libssl

// DumpCoverage does nothing without the tag gcov.
func DumpCoverage() {}
