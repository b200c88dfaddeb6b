//go:build cgo

package openssl_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// certificateFiles is a host's certificate and key in files.
type certificateFiles struct {
	ca        *tlstest.Authority
	cert, key string
	label     string
}

func newCertificateFiles(t testing.TB) *certificateFiles {
	dir := t.TempDir()
	f := &certificateFiles{tlstest.Certs(t), filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), uniqueLabel(t)}
	f.renew(t)
	return f
}

// renew writes another certificate of the same name and issuer, and its key.
func (f *certificateFiles) renew(t testing.TB) {
	cert, key := f.ca.Leaf(t, "a.test", tlstest.ECKey(t), nil)
	must(t, os.WriteFile(f.cert, cert, 0o600))
	must(t, os.WriteFile(f.key, key, 0o600))
}

func (f *certificateFiles) newCtx() (*openssl.Ctx, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.UseCertificateFiles(f.cert, f.key), c.DeriveSessionIDContext(openssl.SessionPolicy{Label: f.label})); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (f *certificateFiles) reloader(t testing.TB, hosts *openssl.Hosts) *openssl.CertificateReloader {
	r, err := openssl.NewCertificateReloader(hosts, "a.test", f.newCtx, f.cert, f.key)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func reloads(t testing.TB, r *openssl.CertificateReloader, want bool) {
	t.Helper()
	if changed, err := r.Reload(); changed != want || err != nil {
		t.Fatalf("Reload: %v, %v, want %v", changed, err, want)
	}
}

// visitHost makes a connection to a.test and returns what the client has seen of it.
func visitHost(t testing.TB, addr string, client *openssl.Ctx) openssl.ConnectionState {
	t.Helper()
	d := openssl.Dialer{Ctx: client, ServerName: "a.test"}
	wire, err := d.DialContext(t.Context(), "tcp", addr)
	must(t, err)
	defer wire.Close()
	must(t, tlstest.RoundTrip(wire, []byte("ping")))
	return wire.(*openssl.Conn).ConnectionState()
}

func TestCertificateReloader(t *testing.T) {
	tlstest.EachVersion(t, func(t *testing.T, v tlstest.Version) {
		f, hosts := newCertificateFiles(t), new(openssl.Hosts)
		r := f.reloader(t, hosts)
		addr := listenAndEcho(t, frontOf(t, hosts))
		keeping := newCachingClient(t, v.ID, newWatchedCache(t, 1), nil)
		first := visitHost(t, addr, keeping).PeerCertificates[0]

		reloads(t, r, false)
		f.renew(t)
		reloads(t, r, true)
		reloads(t, r, false)

		if !visitHost(t, addr, keeping).DidResume {
			t.Error("a session of before the renewal is not resumed")
		}
		fresh := tlstest.NewClient(t)
		tlstest.SetVersion(t, fresh, v.ID)
		if visitHost(t, addr, fresh).PeerCertificates[0].Equal(first) {
			t.Error("the certificate of before the renewal is presented")
		}
	})
}

// What cannot be loaded leaves in force what was.
func TestCertificateReloaderFails(t *testing.T) {
	f, hosts := newCertificateFiles(t), new(openssl.Hosts)
	r := f.reloader(t, hosts)
	before := hosts.Lookup("a.test")
	key, err := os.ReadFile(f.key)
	must(t, err)
	f.renew(t)
	for what, change := range map[string]func(){
		"the key is not written yet": func() { must(t, os.WriteFile(f.key, key, 0o600)) },
		"the key is gone":            func() { must(t, os.Remove(f.key)) },
	} {
		change()
		if changed, err := r.Reload(); changed || err == nil {
			t.Errorf("%s: Reload: %v, %v", what, changed, err)
		} else {
			tlstest.Sentence(t, err, `"a.test"`)
		}
		if hosts.Lookup("a.test") != before {
			t.Errorf("%s: the Ctx in force was replaced", what)
		}
	}
	f.renew(t)
	reloads(t, r, true)
	if hosts.Lookup("a.test") == before {
		t.Error("the Ctx of before is in force")
	}
	if err := before.SetALPN("h2"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the Ctx that was replaced: %v, want a closed one", err)
	}
}

func TestNewCertificateReloaderFails(t *testing.T) {
	f, hosts := newCertificateFiles(t), new(openssl.Hosts)
	failing := errors.New("not today")
	for what, make := range map[string]func() (*openssl.CertificateReloader, error){
		"no Hosts": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(nil, "a.test", f.newCtx)
		},
		"no function": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(hosts, "a.test", nil)
		},
		"no Ctx": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(hosts, "a.test", func() (*openssl.Ctx, error) { return nil, nil })
		},
		"the function fails": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(hosts, "a.test", func() (*openssl.Ctx, error) { return nil, failing })
		},
		"no file": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(hosts, "a.test", f.newCtx, filepath.Join(t.TempDir(), "missing"))
		},
		"no name": func() (*openssl.CertificateReloader, error) {
			return openssl.NewCertificateReloader(hosts, "a b", f.newCtx)
		},
	} {
		r, err := make()
		if r != nil || err == nil {
			t.Errorf("%s: %v, %v", what, r, err)
			continue
		}
		tlstest.Sentence(t, err)
	}
	f.reloader(t, hosts) // nothing of the failures has stayed
	if _, err := openssl.NewCertificateReloader(hosts, "a.test", f.newCtx); err == nil {
		t.Error("a host is added twice")
	}
}

// A Reload that began before another one does not put its Ctx in place of the newer one.
func TestCertificateReloaderOrder(t *testing.T) {
	f, hosts := newCertificateFiles(t), new(openssl.Hosts)
	slow, began, made := make(chan struct{}), make(chan struct{}), 0
	r, err := openssl.NewCertificateReloader(hosts, "a.test", func() (*openssl.Ctx, error) {
		c, err := f.newCtx()
		if made++; made == 2 {
			close(began)
			<-slow
		}
		return c, err
	})
	must(t, err)
	defer r.Close()
	done := make(chan bool)
	go func() {
		changed, err := r.Reload()
		done <- changed || err != nil
	}()
	<-began
	reloads(t, r, true)
	newer := hosts.Lookup("a.test")
	close(slow)
	if <-done || hosts.Lookup("a.test") != newer {
		t.Error("an older Ctx has taken the place of a newer one")
	}
}

func TestCertificateReloaderClose(t *testing.T) {
	f, hosts := newCertificateFiles(t), new(openssl.Hosts)
	r := f.reloader(t, hosts)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				if _, err := r.Reload(); err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("Reload beside Close: %v", err)
					}
					return
				}
			}
		})
	}
	must(t, r.Close())
	all.Wait()
	if hosts.Lookup("a.test") != nil {
		t.Error("the host is still served")
	}
	must(t, r.Close())
	must(t, hosts.Add("a.test", newHostServer(t, "a.test")))
}

// A function that returns the Ctx in force has not made a new one: the host keeps serving.
func TestCertificateReloaderSameCtx(t *testing.T) {
	hosts, c := openssl.NewHosts(), tlstest.NewServer(t)
	must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "same"}))
	r, err := openssl.NewCertificateReloader(hosts, "server.test", func() (*openssl.Ctx, error) { return c, nil })
	must(t, err)
	defer r.Close()
	changed, err := r.Reload()
	if changed {
		t.Error("Reload: changed")
	}
	tlstest.Sentence(t, err, `CertificateReloader: "server.test"`, "make a new one each time")
	if hosts.Lookup("server.test") != c {
		t.Error("the host is not served any more")
	}
	s, err := openssl.NewSSL(c)
	must(t, err)
	must(t, s.Close())
}

// A Close that comes while new files are read wins: what was read is closed.
func TestCertificateReloaderCloseWhileReading(t *testing.T) {
	f, hosts := newCertificateFiles(t), new(openssl.Hosts)
	var r *openssl.CertificateReloader
	var made *openssl.Ctx
	r, err := openssl.NewCertificateReloader(hosts, "a.test", func() (*openssl.Ctx, error) {
		if r != nil {
			must(t, r.Close())
		}
		c, err := f.newCtx()
		made = c
		return c, err
	})
	must(t, err)
	if changed, err := r.Reload(); changed || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Reload: changed %v, %v", changed, err)
	}
	if hosts.Lookup("a.test") != nil {
		t.Error("the host is still served")
	}
	if _, err := openssl.NewSSL(made); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the Ctx that came too late is not closed: %v", err)
	}
}

// A CertificateReloader that was made in another way reloads nothing and does not panic.
func TestCertificateReloaderZero(t *testing.T) {
	for _, r := range []*openssl.CertificateReloader{nil, {}} {
		_, err := r.Reload()
		tlstest.Sentence(t, err, "NewCertificateReloader")
		must(t, r.Close())
	}
}
