// Package mender is the TLS layer of the Mender client 3.x (client/client.go) on
// mendersoftware/openssl: HTTPS with a device's key, which may be in a token, and with the
// system's roots beside a certificate of the server's own.
//
// It replaces NewCtx, GetDefaultCertificateDirectory and LoadVerifyLocations, SplitPEM,
// LoadCertificateFromPEM, LoadPrivateKeyFromPEM, EngineById("pkcs11") and
// EngineLoadPrivateKey, Dial and DialUpgrade, InsecureSkipHostVerification, and
// VerifyResult.
package mender

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/httpx"
)

// Config is the part of mender.conf that is about HTTPS.
type Config struct {
	ServerCertificate string // trusted beside the system's roots
	Certificate       string // the device's
	Key               string // a file, or a URI as pkcs11:token=...;object=...
	PIN               string // if it is not in the URI
	SkipVerify        bool
	Proxy             func(*http.Request) (*url.URL, error) // nil means http.ProxyFromEnvironment
}

// Client is an HTTP client, and the Ctx of its connections.
type Client struct {
	http.Client
	c *openssl.Ctx
}

// NewClient makes a Client. Close it.
func NewClient(config Config) (*Client, error) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		return nil, err
	}
	if err := config.apply(c); err != nil {
		c.Close()
		return nil, err
	}
	// A http.Transport would ask crypto/tls behind a proxy, whatever its DialTLSContext is.
	t := httpx.NewTransport(&openssl.Dialer{Ctx: c})
	if t.HTTP.Proxy = config.Proxy; config.Proxy == nil {
		t.HTTP.Proxy = http.ProxyFromEnvironment
	}
	return &Client{http.Client{Transport: advising{t}}, c}, nil
}

func (config Config) apply(c *openssl.Ctx) error {
	var err error
	if config.SkipVerify {
		err = c.SetVerify(openssl.VerifyNone)
	}
	if config.ServerCertificate != "" {
		pem, readErr := os.ReadFile(config.ServerCertificate)
		if err = errors.Join(err, readErr); err == nil {
			err = c.AddVerifyCAs(pem)
		}
	}
	switch {
	case err != nil || config.Certificate == "":
		return err
	case !strings.HasPrefix(config.Key, "pkcs11:"):
		return c.UseCertificateFiles(config.Certificate, config.Key)
	}
	cert, err := os.ReadFile(config.Certificate)
	if err != nil {
		return err
	}
	return c.UseCertificateURI(cert, config.Key, []byte(config.PIN))
}

// Close closes idle connections and releases the Ctx.
func (c *Client) Close() error {
	c.CloseIdleConnections()
	return c.c.Close()
}

// advice is for the codes that the client explains, by X509_V_ERR_...
var advice = map[int]string{
	10: "the certificate has expired: check the device's clock",
	18: "the certificate is self-signed: name it as ServerCertificate",
	20: "its issuer is unknown: name it as ServerCertificate",
	66: "its key is too small for the security level of openssl.cnf",
}

// advising adds advice to errors.
type advising struct{ *httpx.Transport }

func (t advising) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if failed, ok := errors.AsType[*openssl.VerifyError](err); ok && advice[failed.Code] != "" {
		return nil, fmt.Errorf("%w (%s)", err, advice[failed.Code])
	}
	return resp, err
}
