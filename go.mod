module github.com/sidctx/openssl

go 1.26

// For oldpeer_test.go alone, behind the build tag oldopenssl: the package that
// this one replaces, as a peer. Nothing that imports this module builds it.
require (
	github.com/spacemonkeygo/openssl v0.0.0-20181017203307-c2dcc5cca94a
	github.com/spacemonkeygo/spacelog v0.0.0-20180420211403-2296661a0572 // indirect
	golang.org/x/sys v0.28.0 // indirect
)
