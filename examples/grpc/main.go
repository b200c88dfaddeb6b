// Command grpc shows gRPC over this library: a server and a client in one
// program, mutual TLS, and a session that is resumed within its context.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	health_v1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/grpccreds"
)

// describe says who is at the other end.
func describe(p *peer.Peer) string {
	state := p.AuthInfo.(grpccreds.AuthInfo).Conn.ConnectionState()
	return fmt.Sprintf("%s, resumed: %v, session id context: %q",
		state.PeerCertificates[0].Subject.CommonName, state.DidResume, state.SessionIDContext)
}

// serve answers health checks on l, and writes to out who asked.
func serve(l net.Listener, ctx *openssl.Ctx, out io.Writer) *grpc.Server {
	s := grpc.NewServer(grpc.Creds(grpccreds.New(ctx)), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			fmt.Fprintln(out, "server: called by", describe(p))
			return next(ctx, req)
		}))
	health_v1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	return s
}

// call makes a connection and one call over it.
func call(ctx context.Context, addr string, c *openssl.Ctx, out io.Writer) error {
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithAuthority("server.example"), grpc.WithTransportCredentials(grpccreds.New(c)))
	if err != nil {
		return err
	}
	defer cc.Close()
	var p peer.Peer
	if _, err := health_v1.NewHealthClient(cc).Check(ctx, &health_v1.HealthCheckRequest{}, grpc.Peer(&p)); err != nil {
		return err
	}
	fmt.Fprintln(out, "client: answered by", describe(&p))
	return nil
}

// run serves, and calls twice: the second call resumes the session of the first.
func run(ctx context.Context, out io.Writer) (err error) {
	server, serverErr := openssl.NewServerCtx()
	client, clientErr := openssl.NewClientCtx()
	if err := errors.Join(serverErr, clientErr); err != nil {
		return err
	}
	defer server.Close()
	defer client.Close()
	ca, caKey, caPEM, _ := certificate("example CA", nil, nil)
	_, _, serverCert, serverKey := certificate("server.example", ca, caKey)
	_, _, clientCert, clientKey := certificate("client.example", ca, caKey)
	l, listenErr := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(listenErr,
		server.UseCertificate(serverCert, serverKey), server.SetClientCAs(caPEM), server.SetALPN("h2"),
		server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert),
		server.SetSessionIDContext([]byte("grpc-example")),
		client.UseCertificate(clientCert, clientKey), client.SetVerifyCAs(caPEM), client.SetALPN("h2"),
		client.SetClientSessionCache(openssl.NewLRUClientSessionCache(64)),
	); err != nil {
		return err
	}
	defer serve(l, server, out).Stop()

	return errors.Join(call(ctx, l.Addr().String(), client, out), call(ctx, l.Addr().String(), client, out))
}

// certificate makes a CA, or a leaf under one. A program that has files calls UseCertificateFiles instead.
func certificate(name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (c *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c = &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	if ca == nil {
		ca, caKey = c, key
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, _ := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey) // what fails here UseCertificate notices
	keyDER, _ := x509.MarshalPKCS8PrivateKey(key)
	return c, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}
