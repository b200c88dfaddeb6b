// The Go project's suite for net.Conn, as a test of this library's. A module of its
// own: nobody who uses the library fetches golang.org/x/net.
module github.com/sidctx/openssl/internal/nettest

go 1.26.0

require (
	github.com/sidctx/openssl v0.1.0
	golang.org/x/net v0.62.0
)
