// Package mux has a multiplexer, yamux, run over connections of this library: its
// goroutines read and write a fresh one at once, at both ends, without a
// handshake first.
package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/internal/selfsigned"
)

// session makes a connection and what yamux has on it. A Write that waits for the
// peer to speak is an error after a few seconds.
func session(conn net.Conn, end func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)) (*yamux.Session, error) {
	config := yamux.DefaultConfig()
	config.ConnectionWriteTimeout, config.LogOutput = 5*time.Second, io.Discard
	return end(conn, config)
}

// talk opens a stream of its own and echoes on the one that the other end opens.
func talk(s *yamux.Session, message []byte) error {
	echoed := make(chan error, 1)
	go func() {
		stream, err := s.AcceptStream()
		if err == nil {
			_, err = io.Copy(stream, stream)
			err = errors.Join(err, stream.Close())
		}
		echoed <- err
	}()
	stream, err := s.OpenStream()
	if err != nil {
		return err
	}
	if _, err := stream.Write(message); err != nil {
		return err
	}
	back := make([]byte, len(message))
	if _, err := io.ReadFull(stream, back); err != nil {
		return err
	}
	if !bytes.Equal(back, message) {
		return fmt.Errorf("%q came back as %q", message, back)
	}
	return errors.Join(stream.Close(), <-echoed)
}

func TestBothEndsAtOnce(t *testing.T) {
	cert, key, err := selfsigned.Certificate("server.example")
	if err != nil {
		t.Fatalf("Certificate: %v", err)
	}
	server, err := openssl.NewServerCtx()
	if err != nil {
		t.Fatalf("NewServerCtx: %v", err)
	}
	defer server.Close()
	client, err := openssl.NewClientCtx()
	if err != nil {
		t.Fatalf("NewClientCtx: %v", err)
	}
	defer client.Close()
	if err := errors.Join(server.UseCertificate(cert, key), client.SetVerifyCAs(cert)); err != nil {
		t.Fatalf("Join: %v", err)
	}
	l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()

	for i := range 50 {
		wire, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("Dial: %v", err)
		}
		near, err := openssl.Client(wire, client)
		if err != nil {
			t.Fatalf("Client: %v", err)
		}
		if err := near.SetServerName("server.example"); err != nil {
			t.Fatalf("SetServerName: %v", err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept: %v", err)
		}
		c, err := session(near, yamux.Client)
		if err != nil {
			t.Fatalf("session: %v", err)
		}
		s, err := session(far, yamux.Server)
		if err != nil {
			t.Fatalf("session: %v", err)
		}
		var clientErr, serverErr error
		var wg sync.WaitGroup
		wg.Go(func() { clientErr = talk(c, []byte("from the client")) })
		wg.Go(func() { serverErr = talk(s, []byte("from the server")) })
		wg.Wait()
		wg.Go(func() { s.Close() })
		c.Close()
		wg.Wait()
		if clientErr != nil || serverErr != nil {
			t.Fatalf("connection %d: client %v, server %v", i, clientErr, serverErr)
		}
	}
}
