// crypto/tls as a peer of the bench.
package main

import (
	"crypto/tls"
	"net"

	"github.com/sidctx/openssl/bench/worker"
)

func main() {
	worker.Main(worker.Peer{
		Server: server,
		Client: client,
		Cipher: func(c worker.Conn) string { return tls.CipherSuiteName(c.(*tls.Conn).ConnectionState().CipherSuite) },
	})
}

func config(cfg worker.Config) *tls.Config {
	v := uint16(tls.VersionTLS12)
	if cfg.TLS13 {
		v = tls.VersionTLS13
	}
	return &tls.Config{
		MinVersion:             v,
		MaxVersion:             v,
		SessionTicketsDisabled: cfg.NoTickets,
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		},
	}
}

func server(cfg worker.Config) (worker.Maker, error) {
	c := config(cfg)
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	c.Certificates = []tls.Certificate{cert}
	return func(wire net.Conn) (worker.Conn, error) { return tls.Server(wire, c), nil }, err
}

func client(cfg worker.Config) (worker.Maker, error) {
	c := config(cfg)
	c.InsecureSkipVerify = true
	return func(wire net.Conn) (worker.Conn, error) { return tls.Client(wire, c), nil }, nil
}
