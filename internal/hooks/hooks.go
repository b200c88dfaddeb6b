// Package hooks lets package httpx watch the connections of package openssl and read what
// its Hosts offer.
package hooks

import "net"

// Conn holds what an openssl.Conn calls, on the goroutine of the caller and with no lock
// held.
type Conn struct {
	// HandshakeFailed is called whenever a handshake has failed; plainHTTP is whether
	// the client has sent an HTTP request instead of a ClientHello.
	HandshakeFailed func(err error, plainHTTP bool)
	// Read is called with what each Read after the handshake has come to. An error that
	// it returns is returned in place of that.
	Read func(p []byte, err error) error
}

// Watch has conn, which is an openssl.Conn that was not used yet, call h. Package openssl
// sets it.
var Watch func(conn net.Conn, h *Conn)

// ALPN returns the protocols that each host of an *openssl.Hosts offers, by its pattern; ""
// is the default. Package openssl sets it.
var ALPN func(hosts any) map[string][]string
