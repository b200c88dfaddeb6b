// The package that github.com/sidctx/openssl replaces, as a peer of its tests. A
// module of its own: nobody who uses the library fetches it.
module github.com/sidctx/openssl/internal/oldpeer

go 1.26.0

require (
	github.com/sidctx/openssl v0.1.0
	github.com/spacemonkeygo/openssl v0.0.0-20181017203307-c2dcc5cca94a
)

require (
	github.com/spacemonkeygo/spacelog v0.0.0-20180420211403-2296661a0572 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
