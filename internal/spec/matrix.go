package spec

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"sync"
	"time"

	"github.com/sidctx/openssl"
)

// Alerts, by IANA's numbers.
const (
	alertHandshakeFailure    tls.AlertError = 40
	alertInternalError       tls.AlertError = 80
	alertCertificateRequired tls.AlertError = 116
)

// alertOf is the alert in an error, 0 (close_notify, which is no error) for none.
func alertOf(err error) (alert tls.AlertError) {
	errors.As(err, &alert)
	return alert
}

// Result is a row and what the linked libssl made of it.
type Result struct {
	Row
	Outcome string `json:"outcome"`
	Want    string `json:"specification"`
}

// OK reports whether libssl does what the specification says.
func (r Result) OK() bool { return r.Outcome == r.Want }

// Runner runs rows against the linked libssl. Close it.
type Runner struct {
	ca                    []byte
	serverCert, serverKey []byte
	clients               map[clientKind]*openssl.Ctx
	version               uint64
}

type clientKind struct {
	protocol    string
	certificate bool
}

// NewRunner makes the certificates and the clients.
func NewRunner() (*Runner, error) {
	r := &Runner{clients: make(map[clientKind]*openssl.Ctx), version: openssl.Version().LinkedNumber}
	ca, err := newIssuer()
	if err != nil {
		return nil, err
	}
	r.ca = ca.pem
	if r.serverCert, r.serverKey, err = ca.leaf("server.test"); err != nil {
		return nil, err
	}
	clientCert, clientKey, err := ca.leaf("client.test")
	if err != nil {
		return nil, err
	}
	for _, protocol := range Protocols {
		for _, certificate := range []bool{true, false} {
			c, err := openssl.NewClientCtx()
			if err != nil {
				r.Close()
				return nil, err
			}
			r.clients[clientKind{protocol, certificate}] = c
			err = errors.Join(c.SetVerifyCAs(r.ca), SetProtocol(c, protocol))
			if certificate {
				err = errors.Join(err, c.UseCertificate(clientCert, clientKey))
			}
			if err != nil {
				r.Close()
				return nil, err
			}
		}
	}
	return r, nil
}

// Close frees the clients.
func (r *Runner) Close() {
	for _, c := range r.clients {
		c.Close()
	}
}

// SetProtocol leaves a Ctx one version.
func SetProtocol(c *openssl.Ctx, protocol string) error {
	v := map[string]uint16{"TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}[protocol]
	return errors.Join(c.SetMinVersion(v), c.SetMaxVersion(v))
}

// RunAll runs every row, several at once, and reports them in order. done, if
// not nil, hears how many are finished.
func (r *Runner) RunAll(ctx context.Context, rows []Row, done func(n int)) ([]Result, error) {
	results := make([]Result, len(rows))
	var (
		mu       sync.Mutex
		next, n  int
		firstErr error
		wg       sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if firstErr == nil {
			firstErr = ctx.Err()
		}
		i := next
		next++
		return i, i < len(rows) && firstErr == nil
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				result, err := r.Run(rows[i])
				mu.Lock()
				results[i] = result
				if err != nil && firstErr == nil {
					firstErr = fmt.Errorf("%v: %w", rows[i], err)
				}
				n++
				if done != nil {
					done(n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return results, firstErr
}

// Run is one experiment: the first connection under a listener with the row's
// first context, the second one under the same listener. If the verify mode
// changes, the second connection is switched to a Ctx of that mode; else it is
// given its context by itself. Both levels of the context are met that way.
func (r *Runner) Run(row Row) (result Result, err error) {
	result = Result{Row: row, Want: row.Expected(r.version)}
	client := r.clients[clientKind{row.Protocol, row.Certificate}]
	listener, err := r.server(row.Protocol, row.First, row.VerifyFirst)
	if err != nil {
		return result, err
	}
	defer listener.Close()
	site, err := NewSite(listener, row.Mechanism)
	if err != nil {
		return result, err
	}
	site.Forgets = row.First == "unset" && row.VerifyFirst != "none"
	first, err := site.First(client, Offer{})
	if err != nil {
		return result, err
	}
	defer first.Close()
	if first.ClientErr != nil || first.ServerErr != nil || first.Session == nil {
		return result, fmt.Errorf("the first connection: client: %v, server: %v", first.ClientErr, first.ServerErr)
	}

	offer := Offer{Session: first.Session}
	if row.Verify == row.VerifyFirst {
		offer.Server = func(s *openssl.SSL) error { return s.SetSessionIDContext(contextOf(row.Second)) }
	} else {
		other, err := r.server(row.Protocol, row.Second, row.Verify)
		if err != nil {
			return result, err
		}
		defer other.Close()
		if err := site.Join(other); err != nil {
			return result, err
		}
		offer.Server = func(s *openssl.SSL) error { return s.SetCtx(other) }
	}
	second, err := site.Connect(client, offer)
	if err != nil {
		return result, err
	}
	defer second.Close()
	result.Outcome = second.Outcome()
	return result, nil
}

func contextOf(name string) []byte {
	if name == "unset" {
		return nil
	}
	return []byte(name)
}

// VerifyModes are the columns' names.
var VerifyModes = map[string]openssl.VerifyMode{
	"none":     openssl.VerifyNone,
	"peer":     openssl.VerifyPeer,
	"required": openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert,
}

// server makes a listener with a context, be it the explicit word for none.
func (r *Runner) server(protocol, sidCtx, verify string) (*openssl.Ctx, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		c.UseCertificate(r.serverCert, r.serverKey),
		SetProtocol(c, protocol),
		c.SetClientCAs(r.ca),
		c.SetVerify(VerifyModes[verify]),
		c.SetSessionIDContext(contextOf(sidCtx)),
		Plain(c),
	)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ---- certificates, made for one run ----

type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
	n    int64
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &issuer{key: key}
	template := i.template("sidctx matrix CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	i.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	i.cert, err = x509.ParseCertificate(der)
	return i, err
}

func (i *issuer) template(name string) *x509.Certificate {
	i.n++
	return &x509.Certificate{
		SerialNumber: big.NewInt(i.n),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (i *issuer) leaf(name string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, i.template(name), i.cert, k.Public(), i.key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), nil
}
