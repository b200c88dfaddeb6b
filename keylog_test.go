//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// keyLog is a writer that notices two writes at once.
type keyLog struct {
	t       testing.TB
	writing atomic.Bool
	mu      sync.Mutex
	b       bytes.Buffer
}

func (k *keyLog) Write(p []byte) (int, error) {
	if !k.writing.CompareAndSwap(false, true) {
		k.t.Error("two writes at once")
	}
	defer k.writing.Store(false)
	if len(p) == 0 || p[len(p)-1] != '\n' {
		k.t.Errorf("a write that ends within a line: %q", p)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(p)
}

// lines is what was written, sorted.
func (k *keyLog) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(k.b.String(), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// keyLogLine is what Wireshark reads: a label, the client's random, a secret.
var keyLogLine = regexp.MustCompile(`^([A-Z0-9_]+) [0-9a-f]{64} ([0-9a-f]{64}|[0-9a-f]{96})$`)

func labels(t testing.TB, lines []string) (labels []string) {
	t.Helper()
	for _, line := range lines {
		m := keyLogLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("Wireshark cannot read %q", line)
		}
		labels = append(labels, m[1])
	}
	return labels
}

var keyLogLabels = map[uint16][]string{
	tls.VersionTLS12: {"CLIENT_RANDOM"},
	tls.VersionTLS13: {
		"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "EXPORTER_SECRET",
		"SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0",
	},
}

func TestKeyLog(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			near, far := &keyLog{t: t}, &keyLog{t: t}
			must(t, client.SetKeyLogWriter(near))
			must(t, server.SetKeyLogWriter(far))
			c, s := tlstest.Machines(t, client, server)
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
			if got := labels(t, near.lines()); !slices.Equal(got, keyLogLabels[v.ID]) {
				t.Errorf("labels: %v, want %v", got, keyLogLabels[v.ID])
			}
			if !slices.Equal(near.lines(), far.lines()) {
				t.Errorf("the ends disagree:\n%v\n%v", near.lines(), far.lines())
			}
		})
	}
}

// crypto/tls, at the other end, writes the same lines.
func TestKeyLogOfCryptoTLS(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			server := tlstest.NewServer(t)
			ours, theirs := &keyLog{t: t}, &keyLog{t: t}
			must(t, server.SetKeyLogWriter(ours))
			config := cryptoTLSClient(t, v.ID)
			config.KeyLogWriter = theirs
			near, far := tlstest.TCPPair(t)
			c := tls.Client(near, config)
			s, err := openssl.Server(far, server)
			must(t, err)
			clientErr, serverErr := tlstest.Both(func() error {
				defer c.Close()
				return tlstest.RoundTrip(c, []byte("ping"))
			}, func() error {
				defer s.Close()
				return tlstest.Echo(s)
			})
			if clientErr != nil || serverErr != nil {
				t.Fatal(clientErr, serverErr)
			}
			got := slices.DeleteFunc(ours.lines(), func(line string) bool {
				return strings.HasPrefix(line, "EXPORTER_SECRET ") // crypto/tls keeps it to itself
			})
			if want := theirs.lines(); !slices.Equal(got, want) {
				t.Fatalf("ours:\n%v\ntheirs:\n%v", got, want)
			}
		})
	}
}

// cryptoTLSClient is crypto/tls's client for server.test.
func cryptoTLSClient(t testing.TB, version uint16) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(tlstest.Certs(t).PEM)
	return &tls.Config{RootCAs: roots, ServerName: "server.test", MinVersion: version, MaxVersion: version}
}

func TestKeyLogManyAtOnce(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	tlstest.SetVersion(t, client, tls.VersionTLS13)
	log := &keyLog{t: t}
	must(t, client.SetKeyLogWriter(log))
	must(t, server.SetKeyLogWriter(log))
	const connections = 16
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			if _, err := resumeOnce(client, server, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	lines := log.lines()
	labels(t, lines)
	if want := 2 * connections * len(keyLogLabels[tls.VersionTLS13]); len(lines) != want {
		t.Errorf("%d lines, want %d", len(lines), want)
	}
	// Each is there twice, by either end.
	if got := len(slices.Compact(lines)); got*2 != len(lines) {
		t.Errorf("%d of %d lines are distinct", got, len(lines))
	}
}

func TestKeyLogEnded(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	log := &keyLog{t: t}
	must(t, server.SetKeyLogWriter(log))
	must(t, server.SetKeyLogWriter(nil))
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
	if got := log.b.Len(); got != 0 {
		t.Fatalf("%d bytes of secrets", got)
	}
	if err := server.SetKeyLogWriter(log); !errors.Is(err, openssl.ErrCtxInUse) {
		t.Fatalf("on a Ctx in use: %v", err)
	}
}

// A log that is full is no reason to fail a connection.
func TestKeyLogBroken(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	r, w := io.Pipe()
	must(t, r.Close())
	must(t, server.SetKeyLogWriter(w))
	tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
}

// ---- keying material ----

func TestExportKeyingMaterial(t *testing.T) {
	const label = "EXPORTER-test"
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			client, server := tlstest.NewClient(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			sess := tlstest.MustOffer(t, client, server, nil, openssl.ResumptionNotOffered)
			for name, offer := range map[string]*openssl.Session{"full": nil, "resumed": sess} {
				t.Run(name, func(t *testing.T) {
					c, s := tlstest.Machines(t, client, server)
					if offer != nil {
						must(t, c.SetSession(tlstest.Reparse(t, offer)))
					}
					if _, err := c.ExportKeyingMaterial(label, nil, 32); err == nil {
						t.Error("there is no material before the handshake")
					}
					tlstest.MustShake(t, c, s)
					seen := make(map[string]string)
					for name, ask := range map[string]func(*openssl.SSL) ([]byte, error){
						"nil":           func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 32) },
						"empty":         func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, []byte{}, 32) },
						"context":       func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, []byte("x"), 32) },
						"another label": func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label+"2", nil, 32) },
						"one byte":      func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 1) },
						"4 KiB":         func(s *openssl.SSL) ([]byte, error) { return s.ExportKeyingMaterial(label, nil, 4096) },
					} {
						near, err := ask(c)
						must(t, err)
						far, err := ask(s)
						must(t, err)
						if !bytes.Equal(near, far) || len(near) == 0 {
							t.Errorf("%s: %x and %x", name, near, far)
						}
						seen[name] = string(near)
					}
					if same, want := seen["nil"] == seen["empty"], v.ID == tls.VersionTLS13; same != want {
						t.Errorf("nil and empty are the same: %v, want %v", same, want)
					}
					if seen["nil"] == seen["context"] || seen["nil"] == seen["another label"] {
						t.Error("label and context do not count")
					}
					tlstest.Goodbye(t, c, s)
				})
			}
		})
	}
}

func TestExportKeyingMaterialBad(t *testing.T) {
	client, server := tlstest.NewClient(t), tlstest.NewServer(t)
	c, s := tlstest.Machines(t, client, server)
	tlstest.MustShake(t, c, s)
	for _, length := range []int{0, -1, 1<<16 + 1, 1 << 32} {
		if p, err := c.ExportKeyingMaterial("EXPORTER-test", nil, length); err == nil {
			t.Errorf("a length of %d gave %d bytes", length, len(p))
		}
	}
	if _, err := c.ExportKeyingMaterial("a\x00b", nil, 32); err == nil {
		t.Error("a label with a NUL was cut")
	}
	tlstest.Goodbye(t, c, s)
	if _, err := c.ExportKeyingMaterial("EXPORTER-test", nil, 32); err == nil {
		t.Error("a closed machine has material")
	}
}

func TestExportKeyingMaterialOfCryptoTLS(t *testing.T) {
	for _, v := range tlstest.Versions {
		for _, context := range [][]byte{nil, {}, []byte("x")} {
			t.Run(fmt.Sprintf("%s/%q,%v", v.Name, context, context == nil), func(t *testing.T) {
				near, far := tlstest.TCPPair(t)
				c := tls.Client(near, cryptoTLSClient(t, v.ID))
				s, err := openssl.Server(far, tlstest.NewServer(t))
				must(t, err)
				clientErr, serverErr := tlstest.Both(func() error {
					defer c.Close()
					return tlstest.RoundTrip(c, []byte("ping"))
				}, func() error { return tlstest.Echo(s) })
				if clientErr != nil || serverErr != nil {
					t.Fatal(clientErr, serverErr)
				}
				state := c.ConnectionState()
				want, err := state.ExportKeyingMaterial("EXPORTER-test", context, 48)
				must(t, err)
				got, err := s.ExportKeyingMaterial("EXPORTER-test", context, 48)
				must(t, err)
				if !bytes.Equal(got, want) {
					t.Fatalf("%x, crypto/tls has %x", got, want)
				}
				must(t, s.Close())
			})
		}
	}
}
