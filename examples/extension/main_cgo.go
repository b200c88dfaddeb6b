// Extension has both ends of a connection send a TLS extension of their own: the version of
// the protocol that they are going to speak. The library has no method for that. Raw calls
// SSL_CTX_add_custom_ext from a few lines of C.
package main

/*
#cgo pkg-config: libssl
#include <stdint.h>
#include <openssl/ssl.h>

static int add(SSL *ssl, unsigned type, unsigned context, const unsigned char **out, size_t *n, X509 *x, size_t i, int *alert, void *version) {
	static const unsigned char versions[] = {0, 1, 2, 3};
	*out = &versions[(uintptr_t)version & 3];
	*n = 1;
	return 1;
}

static int parse(SSL *ssl, unsigned type, unsigned context, const unsigned char *in, size_t n, X509 *x, size_t i, int *alert, void *version) {
	*alert = SSL_AD_ILLEGAL_PARAMETER;
	return n == 1 && in[0] == (uintptr_t)version;
}

// speak is not static: Go takes its address.
int speak(SSL_CTX *c, void *arg) {
	void *version = (void *)(uintptr_t)*(uint8_t *)arg; // arg is Go's, and lent for this call
	return SSL_CTX_add_custom_ext(c, 65280, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS, add, NULL, version, parse, version);
}
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"unsafe"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/internal/selfsigned"
)

// speaks has the connections of c agree on a version. It is called before the first one.
func speaks(c *openssl.Ctx, version uint8) error {
	return c.Raw("SSL_CTX_add_custom_ext", unsafe.Pointer(C.speak), unsafe.Pointer(&version))
}

// run connects a client and a server that speak these versions.
func run(ofClient, ofServer uint8) error {
	cert, key, err := selfsigned.Certificate("server.example")
	if err != nil {
		return err
	}
	server, err := openssl.NewServerCtx()
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := openssl.NewClientCtx()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := errors.Join(server.UseCertificate(cert, key), speaks(server, ofServer), client.SetVerifyCAs(cert), speaks(client, ofClient)); err != nil {
		return err
	}
	l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() { served <- serve(l) }()
	d := openssl.Dialer{Ctx: client, ServerName: "server.example"}
	conn, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
	if err == nil {
		err = conn.Close()
	}
	return errors.Join(err, <-served)
}

func serve(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.(*openssl.Conn).Handshake()
}

func main() {
	if err := run(2, 2); err != nil {
		log.Fatal(err)
	}
	fmt.Println("both speak version 2")
	fmt.Println("versions 1 and 2:", run(1, 2))
}
