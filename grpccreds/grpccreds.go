// Package grpccreds has gRPC speak TLS by package openssl, at both ends.
//
//	c, err := openssl.NewServerCtx()
//	…
//	err = c.SetALPN("h2") // gRPC is HTTP/2
//	s := grpc.NewServer(grpc.Creds(grpccreds.New(c)))
//	l, err := net.Listen("tcp", ":8443") // not openssl.Listen: the credentials speak TLS
//	…
//	err = s.Serve(l)
//
// and a client
//
//	conn, err := grpc.NewClient("server.example:8443", grpc.WithTransportCredentials(grpccreds.New(c)))
//
// New cannot return an error: with a Ctx that cannot serve, clients see "unexpected EOF", and
// the server logs the reason with GRPC_GO_LOG_SEVERITY_LEVEL=info.
//
// A client with a cache of sessions, [openssl.Ctx.SetClientSessionCache], resumes them
// when gRPC connects again.
package grpccreds

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/sidctx/openssl"
)

// AuthInfo is what either end knows of a connection: the AuthInfo of a peer.Peer. What
// looks for a credentials.TLSInfo finds the state of the connection in its State.
type AuthInfo struct {
	credentials.TLSInfo

	// Conn is the connection, for its ConnectionState and its Ctx. Do not read from it,
	// write to it, close it or set its deadlines.
	Conn *openssl.Conn
}

// New returns credentials over c, which [openssl.NewServerCtx] has made for a grpc.Server, or
// [openssl.NewClientCtx] for a client. c remains the caller's and must have SetALPN("h2"),
// with [openssl.Hosts] each Ctx that is added. A client requests and verifies the name of
// the target, or that of grpc.WithAuthority.
//
// A client that was accepted under one host of an openssl.Hosts can name another one in
// :authority. Where hosts differ in policy, compare that with Hosts.Serves and
// AuthInfo.Conn in an interceptor.
func New(c *openssl.Ctx) credentials.TransportCredentials { return creds{c} }

type creds struct{ ctx *openssl.Ctx }

func (c creds) ServerHandshake(wire net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := openssl.Server(wire, c.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, wire.Close())
	}
	return handshake(context.Background(), conn) // gRPC has set a deadline on the wire
}

func (c creds) ClientHandshake(ctx context.Context, authority string, wire net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, err := openssl.Client(wire, c.ctx)
	if err != nil {
		return nil, nil, errors.Join(err, wire.Close())
	}
	if host, _, err := net.SplitHostPort(authority); err == nil {
		authority = host
	}
	if err := conn.SetServerName(authority); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return handshake(ctx, conn)
}

func handshake(ctx context.Context, conn *openssl.Conn) (net.Conn, credentials.AuthInfo, error) {
	err := conn.HandshakeContext(ctx)
	state := conn.ConnectionState()
	if err == nil && state.NegotiatedProtocol != "h2" {
		err = errors.New("openssl: grpccreds: gRPC is HTTP/2: call SetALPN(\"h2\") on the Ctx of both ends")
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	info := AuthInfo{credentials.TLSInfo{State: state.TLS()}, conn}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

func (c creds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c creds) Clone() credentials.TransportCredentials { return c }

func (c creds) OverrideServerName(string) error {
	return errors.New("openssl: grpccreds: name the server with grpc.WithAuthority")
}
