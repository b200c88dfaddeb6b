// Package nettest holds tests alone: golang.org/x/net/nettest on connections of
// package openssl.
package nettest
