//go:build cgo

package tlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl"
)

// Authority is a CA made for one test run.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	PEM  []byte
}

var serials struct {
	sync.Mutex
	n int64
}

// NextSerial is a serial number that no other certificate has.
func NextSerial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.n++
	return big.NewInt(serials.n)
}

// ECKey is a new key on P-256.
func ECKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// RSAKey is made once: it takes longer than most tests.
var RSAKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// FFDHE2048 is the Diffie-Hellman group of RFC 7919, as "openssl genpkey -genparam" writes it.
const FFDHE2048 = `-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
`

// KeyPEM is a private key as PKCS #8 in PEM.
func KeyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// CertPEM is a certificate in PEM.
func CertPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// NewAuthority makes a CA; under another one it is an intermediate.
func NewAuthority(t testing.TB, name string, under *Authority) *Authority {
	t.Helper()
	a := &Authority{Key: ECKey(t)}
	template := &x509.Certificate{
		SerialNumber:          NextSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	parent, signer := template, a.Key
	if under != nil {
		parent, signer = under.Cert, under.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, a.Key.Public(), signer)
	must(t, err)
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("ParseCertificate: %v", err)
	}
	a.PEM = CertPEM(der)
	return a
}

// Leaf is a certificate for name, good for both roles, and its key, in PEM.
// change, if not nil, edits the template first.
func (a *Authority) Leaf(t testing.TB, name string, key crypto.Signer, change func(*x509.Certificate)) (certificate, private []byte) {
	t.Helper()
	return a.Certify(t, name, key.Public(), change), KeyPEM(t, key)
}

// Certify is Leaf for a key whose private half is elsewhere.
func (a *Authority) Certify(t testing.TB, name string, key crypto.PublicKey, change func(*x509.Certificate)) (certificate []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: NextSerial(),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key, a.Key)
	must(t, err)
	return CertPEM(der)
}

// Fixtures are what most tests use, once Certs has made them: a CA, and server.test
// and client.test, its leaves.
var Fixtures struct {
	once                  sync.Once
	ca                    *Authority
	ServerCert, ServerKey []byte
	ClientCert, ClientKey []byte
}

// Certs is the CA of Fixtures, which it makes first if need be.
func Certs(t testing.TB) *Authority {
	t.Helper()
	f := &Fixtures
	f.once.Do(func() {
		f.ca = NewAuthority(t, "test CA", nil)
		f.ServerCert, f.ServerKey = f.ca.Leaf(t, "server.test", ECKey(t), nil)
		f.ClientCert, f.ClientKey = f.ca.Leaf(t, "client.test", ECKey(t), nil)
	})
	return f.ca
}

// TicketKey is the key that belongs to a seed.
func TicketKey(seed byte) (k openssl.TicketKey) {
	sum := sha256.Sum256([]byte{seed, 'n'})
	copy(k.Name[:], sum[:])
	k.AES, k.HMAC = sha256.Sum256([]byte{seed, 'a'}), sha256.Sum256([]byte{seed, 'h'})
	return k
}

// ParseCert is the first certificate in PEM.
func ParseCert(t testing.TB, p []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return cert
}

// RevocationList is a CA's, in PEM.
func RevocationList(t testing.TB, ca *Authority, number int64, serials ...*big.Int) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Hour + time.Duration(number)*time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// File writes a file into the test's folder.
func File(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, content, 0o600))
	return path
}
