//go:build cgo

package openssl

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sidctx/openssl/internal/libssl"
)

// systemRoots is the store that client Ctxs share. It is kept if it was read as a whole;
// else the next Ctx reads again. A Ctx of a [Library] reads its own: what verifies with a
// certificate is of the library that has read it.
var systemRoots struct {
	mu        sync.Mutex
	file, dir string // that kept was made of
	kept      libssl.Roots
}

// useSystemRoots has a client's Ctx trust the system's roots, beside what is in its own
// store. It is called by freeze.
func (c *Ctx) useSystemRoots(p libssl.CTX) error {
	systemRoots.mu.Lock()
	defer systemRoots.mu.Unlock()
	c.rootsMissing = ""
	file, dir := libssl.RootPaths()
	roots := systemRoots.kept
	if c.library != nil || roots == (libssl.Roots{}) || systemRoots.file != file || systemRoots.dir != dir {
		var err error
		if roots, err = c.readSystemRoots(file, dir); err != nil {
			return err
		}
		if c.library == nil && c.rootsMissing == "" {
			systemRoots.kept.Free()
			systemRoots.file, systemRoots.dir, systemRoots.kept = file, dir, roots
		} else {
			defer roots.Free()
		}
	}
	if c.addsTrust || c.crls != nil {
		return asError(p.AddRoots(roots))
	}
	p.ShareRoots(roots)
	return nil
}

// readSystemRoots reads them, and sets c.rootsMissing. That some are missing is no error;
// that all are damaged is one.
func (c *Ctx) readSystemRoots(file, dir string) (libssl.Roots, error) {
	pem, missing := os.ReadFile(file)
	roots, read := libssl.NewRoots(c.library.pointer(), pem, dir)
	err := asError(read.Fail)
	switch {
	case roots == libssl.Roots{}:
		return roots, explain("the system's roots", err)
	case read.Damaged == 0 && missing != nil:
		c.rootsMissing = fmt.Sprintf("the system's roots: %v (install ca-certificates, or name another file with SSL_CERT_FILE)", missing)
	case read.Damaged > 0:
		c.rootsMissing = fmt.Sprintf("of the system's roots %d of %d blocks of %s cannot be read, the first is block %d", read.Damaged, read.Blocks, file, read.First)
		if read.Damaged == read.Blocks {
			roots.Free()
			return libssl.Roots{}, explain(c.rootsMissing, err)
		}
	}
	return roots, nil
}

// explainRoots adds to an error of an unknown issuer why the system's roots are not all
// there.
func (c *Ctx) explainRoots(err error) error {
	var v *VerifyError
	ok := errors.As(err, &v)
	if c.rootsMissing == "" || !ok || !libssl.UnknownIssuer(v.Code) {
		return err
	}
	return explain(c.rootsMissing, err)
}
