module github.com/sidctx/openssl

go 1.26.0

// For tests only: nettest, the Go project's suite for net.Conn. No package that
// a user can import needs it.
require golang.org/x/net v0.62.0
