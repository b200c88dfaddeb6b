module github.com/sidctx/openssl/bench

go 1.26.0

require (
	github.com/libp2p/go-openssl v0.1.0
	github.com/sidctx/openssl v0.1.0
)

require (
	github.com/mattn/go-pointer v0.0.1 // indirect
	github.com/spacemonkeygo/spacelog v0.0.0-20180420211403-2296661a0572 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
