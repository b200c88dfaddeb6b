// github.com/libp2p/go-openssl as a peer of the bench: the last fork of
// github.com/spacemonkeygo/openssl that builds on OpenSSL 3. It has a program of
// its own because its init loads OpenSSL's engines for the whole process.
package main

import (
	"errors"
	"net"

	old "github.com/libp2p/go-openssl"
	"github.com/sidctx/openssl/bench/worker"
)

func main() {
	worker.Main(worker.Peer{
		Server: server,
		Client: client,
		Cipher: func(c worker.Conn) string {
			name, err := c.(*old.Conn).CurrentCipher()
			if err != nil {
				return err.Error()
			}
			return name
		},
		SetSID: func() (func([]byte) error, error) {
			c, err := old.NewCtx()
			if err != nil {
				return nil, err
			}
			return c.SetSessionId, nil
		},
	})
}

func prepare(c *old.Ctx, cfg worker.Config) error {
	v := old.Version(0x0303)
	if cfg.TLS13 {
		v = 0x0304
	}
	if !c.SetMinProtoVersion(v) || !c.SetMaxProtoVersion(v) {
		return errors.New("protocol version refused")
	}
	if cfg.ReleaseBuffers {
		c.SetMode(old.ReleaseBuffers)
	}
	return nil
}

func server(cfg worker.Config) (worker.Maker, error) {
	c, err := old.NewCtxFromFiles(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(prepare(c, cfg), c.SetSessionId([]byte("bench"))); err != nil {
		return nil, err
	}
	if cfg.NoTickets {
		c.SetOptions(old.NoTicket)
	}
	return func(wire net.Conn) (worker.Conn, error) { return old.Server(wire, c) }, nil
}

func client(cfg worker.Config) (worker.Maker, error) {
	c, err := old.NewCtx()
	if err != nil {
		return nil, err
	}
	return func(wire net.Conn) (worker.Conn, error) { return old.Client(wire, c) }, prepare(c, cfg)
}
