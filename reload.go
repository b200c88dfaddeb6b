//go:build cgo

package openssl

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
)

// CertificateReloader keeps a host of [Hosts] at what its files hold: certificate and key
// that are renewed while the server runs. All methods may be called from any goroutine.
//
// Where the new certificate has the names and the issuer of the old one, a derived session
// id context stays the same and clients go on resuming their sessions: see
// [Ctx.DeriveSessionIDContext].
type CertificateReloader struct {
	hosts   *Hosts
	pattern string
	newCtx  func() (*Ctx, error)
	files   []string

	mu     sync.Mutex
	begun  int // reloads that have begun
	newest int // the one of them that c is of
	c      *Ctx
	sum    [sha256.Size]byte // of the files that c was made from
	closed bool
}

// NewCertificateReloader calls newCtx and adds the Ctx that it returns to hosts, under a
// pattern as [Hosts.Add] takes. newCtx makes a Ctx and configures it as a whole, for example
// with UseCertificateFiles, a new one each time; the reloader owns it. files are the files that
// newCtx reads; without any, each Reload makes a new Ctx. If NewCertificateReloader returns an
// error, hosts is as before.
//
// Clients that send no server name are routed to the default of hosts, which is not reloaded.
func NewCertificateReloader(hosts *Hosts, pattern string, newCtx func() (*Ctx, error), files ...string) (*CertificateReloader, error) {
	if hosts == nil || newCtx == nil {
		return nil, errors.New("openssl: NewCertificateReloader needs a Hosts and a function that makes a Ctx")
	}
	r := &CertificateReloader{hosts: hosts, pattern: pattern, newCtx: newCtx, files: files}
	sum, err := r.readFiles()
	if err != nil {
		return nil, err
	}
	c, err := r.makeCtx()
	if err != nil {
		return nil, err
	}
	if err := hosts.Add(pattern, c); err != nil {
		c.Close()
		return nil, err
	}
	r.c, r.sum = c, sum
	return r, nil
}

// Reload reads the files. If they hold what they held when the Ctx in force was made, it
// does nothing and returns false. Otherwise it calls newCtx and replaces the host's Ctx, as
// [Hosts.Replace] does, and returns true. If that fails, for instance because the certificate
// was written and its key was not yet, the Ctx in force remains, and the next Reload tries
// again. Call it at intervals, or when the program receives SIGHUP.
func (r *CertificateReloader) Reload() (changed bool, err error) {
	turn, known, err := r.begin()
	if err != nil {
		return false, err
	}
	sum, err := r.readFiles()
	if err != nil {
		return false, err
	}
	if sum == known && len(r.files) > 0 {
		return false, nil
	}
	c, err := r.makeCtx()
	if err != nil {
		return false, err
	}
	return r.replace(turn, c, sum)
}

func (r *CertificateReloader) begin() (turn int, known [sha256.Size]byte, err error) {
	if r == nil || r.hosts == nil {
		return 0, known, errors.New("openssl: the CertificateReloader was not made by NewCertificateReloader")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, known, errReloaderClosed
	}
	r.begun++
	return r.begun, r.sum, nil
}

// replace puts c into force, unless a Reload that began later has done so.
func (r *CertificateReloader) replace(turn int, c *Ctx, sum [sha256.Size]byte) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		err = errReloaderClosed
	case c == r.c:
		return false, fmt.Errorf("openssl: CertificateReloader: %q: the Ctx is in force already: make a new one each time", r.pattern)
	case turn > r.newest:
		err = r.hosts.Replace(r.pattern, c)
		changed = err == nil
	}
	if !changed {
		c.Close()
		return false, err
	}
	r.c.Close()
	r.c, r.sum, r.newest = c, sum, turn
	return true, nil
}

// Close removes the host, as [Hosts.Remove] does, and closes its Ctx. Connections that were
// made with it continue. Later calls of Reload return an error that wraps [net.ErrClosed].
// Close may be called more than once.
func (r *CertificateReloader) Close() error {
	if r == nil || r.hosts == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return errors.Join(r.hosts.Remove(r.pattern), r.c.Close())
}

// makeCtx calls newCtx with no lock held.
func (r *CertificateReloader) makeCtx() (*Ctx, error) {
	c, err := r.newCtx()
	if err == nil && c == nil {
		err = errNilCtx
	}
	if err != nil {
		return nil, explain(fmt.Sprintf("CertificateReloader: %q", r.pattern), err)
	}
	return c, nil
}

// readFiles is a hash of what the files hold.
func (r *CertificateReloader) readFiles() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, name := range r.files {
		b, err := os.ReadFile(name)
		if err != nil {
			return sum, explain(fmt.Sprintf("CertificateReloader: %q", r.pattern), err)
		}
		one := sha256.Sum256(b)
		clear(b) // it may be a private key
		h.Write(one[:])
	}
	h.Sum(sum[:0])
	return sum, nil
}

const errReloaderClosed = closedError("CertificateReloader")
