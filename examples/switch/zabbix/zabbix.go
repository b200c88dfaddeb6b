// Package zabbix is src/go/pkg/tls of Zabbix agent 2, which has a binding of its own to
// libssl. An agent takes connections with a certificate and with a pre-shared key at the
// same time, and makes them in one way or the other.
//
// It replaces SSL_CTX_load_verify_locations, X509_load_crl_file with CRL_CHECK_ALL,
// SSL_CTX_use_certificate_chain_file, SSL_CTX_use_PrivateKey_file, SSL_CTX_set_verify,
// SSL_CTX_set_options, SSL_CTX_set_session_cache_mode, SSL_CTX_set1_groups_list,
// SSL_CTX_set_ciphersuites, SSL_CTX_set_cipher_list, SSL_set_session_id_context,
// SSL_set_psk_client_callback, SSL_set_psk_server_callback, SSL_set_tlsext_host_name,
// SSL_get_verify_result, SSL_get_ciphers, X509_NAME_print_ex, and the bytes that are
// pushed into a BIO.
package zabbix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/sidctx/openssl"
)

// Config has the TLS settings of zabbix_agent2.conf.
type Config struct {
	CAFile, CRLFile, CertFile, KeyFile string
	ServerCertIssuer                   string // as RFC 2253 writes it, empty for any
	ServerCertSubject                  string
	PSKIdentity                        string
	PSK                                []byte
}

// Agent has what connections are made of: Server takes both kinds.
type Agent struct{ server, withCert, withPSK *openssl.Ctx }

const (
	certSuites = "EECDH+aRSA+AES128:EECDH+aECDSA+AES128:RSA+aRSA+AES128"
	pskSuites  = "kECDHEPSK+AES128:kPSK+AES128"
)

// New makes an agent. Without a CAFile it takes no certificates, without a PSKIdentity no
// pre-shared key.
func New(config Config) (*Agent, error) {
	server, err1 := openssl.NewServerCtx()
	withCert, err2 := openssl.NewClientCtx()
	withPSK, err3 := openssl.NewClientCtx()
	a := &Agent{server, withCert, withPSK}
	err := errors.Join(err1, err2, err3)
	if err == nil {
		err = errors.Join(
			server.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert), // of those without the PSK
			server.SetSessionIDContext([]byte("Zbx")),
			server.SetOptions(openssl.OptionCipherServerPreference),
			withCert.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName), // the name is for SNI
			withPSK.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName),
			config.common(server, certSuites+":"+pskSuites), config.common(withCert, certSuites), config.common(withPSK, pskSuites))
	}
	for _, c := range []*openssl.Ctx{server, withCert} {
		if err == nil && config.CAFile != "" {
			err = errors.Join(c.LoadVerifyLocations(config.CAFile, ""), c.UseCertificateFiles(config.CertFile, config.KeyFile), config.useCRLs(c))
		}
	}
	for _, c := range []*openssl.Ctx{server, withPSK} {
		if err == nil && config.PSKIdentity != "" {
			err = c.UsePSK(config.PSKIdentity, config.PSK)
		}
	}
	if err == nil { // a server with a certificate of the system's roots is not the one with the key
		err = withPSK.SetVerifyConnection(func(cs openssl.ConnectionState) error {
			if cs.PSKIdentity == "" {
				return errors.New("zabbix: the server has not used the PSK")
			}
			return nil
		})
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

func (config Config) common(c *openssl.Ctx, suites string) error {
	return errors.Join(c.SetCipherList(suites), c.SetCipherSuites("TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"),
		c.SetGroups("P-256"), c.SetOptions(openssl.OptionNoTicket), c.SetSessionCacheMode(openssl.SessionCacheOff),
		c.SetVerifyConnection(config.verify))
}

func (config Config) useCRLs(c *openssl.Ctx) error {
	if config.CRLFile == "" {
		return nil
	}
	pem, err := os.ReadFile(config.CRLFile)
	if err != nil {
		return err
	}
	return c.SetCRLs(pem) // VerifyCRLCheckAll is its default
}

// verify compares the names in a certificate that libssl has verified.
func (config Config) verify(cs openssl.ConnectionState) error {
	if cs.PSKIdentity != "" || config.ServerCertIssuer == "" && config.ServerCertSubject == "" {
		return nil
	}
	peer := cs.PeerCertificates[0]
	for _, x := range []struct{ what, got, want string }{
		{"issuer", peer.Issuer.String(), config.ServerCertIssuer}, {"subject", peer.Subject.String(), config.ServerCertSubject},
	} {
		if x.want != "" && x.got != x.want {
			return fmt.Errorf("zabbix: the %s of the peer's certificate is %q, want %q", x.what, x.got, x.want)
		}
	}
	return nil
}

// Close releases what New has made. Connections go on.
func (a *Agent) Close() { a.server.Close(); a.withCert.Close(); a.withPSK.Close() }

// ConnectCert and ConnectPSK are TLSConnect=cert and psk. The name is only sent, and may be
// empty.
func (a *Agent) ConnectCert(wire net.Conn, name string) (*openssl.Conn, error) {
	return connect(wire, a.withCert, name)
}

func (a *Agent) ConnectPSK(wire net.Conn, name string) (*openssl.Conn, error) {
	return connect(wire, a.withPSK, name)
}

func connect(wire net.Conn, c *openssl.Ctx, name string) (*openssl.Conn, error) {
	conn, err := openssl.Client(wire, c)
	if err != nil || name == "" {
		return conn, err
	}
	return conn, conn.SetServerName(name)
}

// Suites is what the agent logs.
func (a *Agent) Suites() []string { return a.server.CipherList() }

// Accept is the server's end. ahead is what the agent has read to see whether it is TLS.
func (a *Agent) Accept(wire net.Conn, ahead []byte) (*openssl.Conn, error) {
	return openssl.Server(prefixed{wire, io.MultiReader(bytes.NewReader(ahead), wire)}, a.server)
}

// prefixed is a wire with bytes in front.
type prefixed struct {
	net.Conn
	r io.Reader
}

func (p prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }
