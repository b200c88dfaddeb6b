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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	health_v1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/sidctx/openssl"
)

// creds is gRPC's TransportCredentials over one Ctx, a server's or a client's.
type creds struct {
	ctx     *openssl.Ctx
	session *openssl.Session // what a client offers; nil for none
}

// authInfo is what either end knows of a connection. Interceptors that look for
// crypto/tls's state find it in State.
type authInfo struct {
	credentials.TLSInfo
	conn *openssl.Conn
}

func (c *creds) ServerHandshake(wire net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := openssl.Server(wire, c.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, wire.Close())
	}
	return handshake(context.Background(), conn) // gRPC has set a deadline on the wire
}

func (c *creds) ClientHandshake(ctx context.Context, authority string, wire net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := openssl.Client(wire, c.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, wire.Close())
	}
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	err = conn.SetServerName(authority)
	if err == nil && c.session != nil {
		err = conn.SetSession(c.session)
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return handshake(ctx, conn)
}

func handshake(ctx context.Context, conn *openssl.Conn) (net.Conn, credentials.AuthInfo, error) {
	err := conn.HandshakeContext(ctx)
	state := conn.ConnectionState()
	if err == nil && state.NegotiatedProtocol != "h2" {
		err = errors.New("gRPC is HTTP/2: have both Ctx offer h2, with SetALPN")
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	info := authInfo{credentials.TLSInfo{State: state.TLS()}, conn}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

func (c *creds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *creds) Clone() credentials.TransportCredentials {
	clone := *c
	return &clone
}

func (c *creds) OverrideServerName(string) error {
	return errors.New("name the server with grpc.WithAuthority")
}

// describe says who is at the other end.
func describe(p *peer.Peer) string {
	state := p.AuthInfo.(authInfo).conn.ConnectionState()
	return fmt.Sprintf("%s, resumed: %v, session id context: %q",
		state.PeerCertificates[0].Subject.CommonName, state.DidResume, state.SessionIDContext)
}

// serve answers health checks on l, and writes to out who asked.
func serve(l net.Listener, ctx *openssl.Ctx, out io.Writer) *grpc.Server {
	s := grpc.NewServer(grpc.Creds(&creds{ctx: ctx}), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			p, _ := peer.FromContext(ctx)
			fmt.Fprintln(out, "server: called by", describe(p))
			return next(ctx, req)
		}))
	health_v1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	return s
}

// call makes a connection and one call over it. It returns the session to offer
// on the next one, which TLS 1.3 has sent before the answer; the caller closes it.
func call(ctx context.Context, addr string, c *creds, out io.Writer) (*openssl.Session, error) {
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithAuthority("server.example"), grpc.WithTransportCredentials(c))
	if err != nil {
		return nil, err
	}
	defer cc.Close()
	var p peer.Peer
	if _, err := health_v1.NewHealthClient(cc).Check(ctx, &health_v1.HealthCheckRequest{}, grpc.Peer(&p)); err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "client: answered by", describe(&p))
	return p.AuthInfo.(authInfo).conn.Session()
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
	); err != nil {
		return err
	}
	defer serve(l, server, out).Stop()

	session, err := call(ctx, l.Addr().String(), &creds{ctx: client}, out)
	if err != nil {
		return err
	}
	defer session.Close()
	again, err := call(ctx, l.Addr().String(), &creds{client, session}, out)
	if err != nil {
		return err
	}
	return again.Close()
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
