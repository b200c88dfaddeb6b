module github.com/sidctx/openssl

go 1.26.0

// For tests only: nettest, the Go project's suite for net.Conn. No package that
// a user can import needs it.
require golang.org/x/net v0.62.0

// For oldpeer_test.go alone, behind the build tag oldopenssl: the package that
// this one replaces, as a peer. Nothing that imports this module builds it.
require (
	github.com/spacemonkeygo/openssl v0.0.0-20181017203307-c2dcc5cca94a
	github.com/spacemonkeygo/spacelog v0.0.0-20180420211403-2296661a0572 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
