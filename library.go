//go:build cgo

package openssl

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/wire"
)

// Library is a library context of OpenSSL: the providers that one configuration file
// activates, and a property query for the algorithms that are used of them. A program may
// have several, for example one of a FIPS provider, beside the default one, which
// openssl.cnf configures. [NewLibrary] makes one.
//
// All that a Ctx of a Library does is done in it: certificates, keys and revocation lists
// are read and verified, tickets encrypted, and handshakes made with its algorithms. The
// TLS settings of openssl.cnf hold for it, too.
//
// Sessions do not leave their Library. It is part of derived session id contexts and of the
// keys of client session caches, with what its configuration holds and its properties; a
// [Session] is offered in the Library of the connection that made it; a connection stays in
// its Library, also with [Hosts] and [SSL.SetCtx]. A session that [ParseSession] has read
// can be offered in any: its DER does not tell where it was made.
//
// All methods may be called from any goroutine.
type Library struct {
	library *library
	closed  atomic.Bool
}

// NewLibrary returns a Library with the configuration of a file, in the format of
// openssl.cnf, and a property query, for example "fips=yes". Without a file, for an empty
// conf, the provider "default" is active; without a query, for empty properties, the
// algorithms of all active providers are used.
//
// The file must name its modules with a line "openssl_conf = section" before the first
// section. ssl_conf and engines are refused there: OpenSSL applies them to the whole process.
// NewLibrary fails if a provider cannot be loaded, and if no active provider has what TLS
// needs and the query asks for. OpenSSL 3.0 or later is needed; with 1.1.1 it returns an
// error.
//
// OpenSSL has no safe way to free a library context that several threads have used, and so
// it is kept, about 250 KiB, until the process ends. Libraries with equal configurations and
// properties share one: calling NewLibrary again, also after Close, does not cost another.
//
// It is OSSL_LIB_CTX_new and OSSL_LIB_CTX_load_config.
func NewLibrary(conf, properties string) (*Library, error) {
	if strings.IndexByte(conf, 0) >= 0 || strings.IndexByte(properties, 0) >= 0 {
		return nil, errors.New("openssl: NewLibrary: a NUL byte in the path or in the properties: leave it out")
	}
	p, sections, fault, fail := libssl.NewLibrary(conf, properties)
	if fail != nil {
		return nil, libraryError(conf, properties, fault, asError(fail))
	}
	var d wire.Writer
	d.Bytes([]byte(properties))
	d.Set(sections)
	l, fault, fail := libraries.load(p, sha256.Sum256(d.B))
	if fail != nil {
		return nil, libraryError(conf, properties, fault, asError(fail))
	}
	return &Library{library: l}, nil
}

// NewServerCtx is like the function [NewServerCtx], for a Ctx of l.
//
// It is SSL_CTX_new_ex with TLS_server_method.
func (l *Library) NewServerCtx() (*Ctx, error) { return l.newCtx(true) }

// NewClientCtx is like the function [NewClientCtx], for a Ctx of l.
//
// It is SSL_CTX_new_ex with TLS_client_method.
func (l *Library) NewClientCtx() (*Ctx, error) { return l.newCtx(false) }

func (l *Library) newCtx(server bool) (*Ctx, error) {
	switch {
	case l == nil || l.library == nil:
		return nil, errors.New("openssl: the Library is nil: make one with NewLibrary")
	case l.closed.Load():
		return nil, fmt.Errorf("openssl: the Library is closed, make another one with NewLibrary: %w", net.ErrClosed)
	}
	return newCtx(l.library, server)
}

// Close ends the use of l: it makes no further Ctx. Each Ctx that it has made continues to
// work, and so do their connections and sessions. Close may be called more than once.
//
// It frees nothing of OpenSSL's: see [NewLibrary].
func (l *Library) Close() error {
	if l == nil {
		return errors.New("openssl: the Library is nil: make one with NewLibrary")
	}
	l.closed.Store(true)
	return nil
}

// library is an OSSL_LIB_CTX, shared by all that ask for an equal one. A nil library is
// the default one.
type library struct {
	p   libssl.Library
	sum [sha256.Size]byte // of its configuration and properties
}

func (l *library) pointer() (p libssl.Library) {
	if l != nil {
		p = l.p
	}
	return p
}

func (l *library) digest() []byte {
	if l == nil {
		return nil
	}
	return l.sum[:]
}

// anyLibrary is that of a session which was parsed.
var anyLibrary = new(library)

var (
	errOtherLibrary = errors.New("openssl: SSL_set_SSL_CTX: this Ctx is of another Library, and a connection stays in its own: " +
		"make the Ctx of a listener and those that it switches to with one Library")
	errOtherLibrarySession = errors.New("openssl: SSL_set_session: the session was made in another Library: " +
		"leave it out, this connection gets one of its own")
)

// libraries is those of the process, by their digests.
var libraries libraryRegister

type libraryRegister struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]*library
}

// load returns the library with a digest: p, when that is loaded, if there is none yet.
// The lock is held meanwhile: before 3.2 libcrypto's list of modules has none.
func (r *libraryRegister) load(p libssl.Library, sum [sha256.Size]byte) (l *library, fault libssl.LibraryFault, fail *libssl.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.of[sum]; l != nil {
		p.Drop()
		return l, fault, nil
	}
	if fault, fail = p.Load(); fail != nil {
		return nil, fault, fail
	}
	if r.of == nil {
		r.of = make(map[[sha256.Size]byte]*library)
	}
	l = &library{p, sum}
	r.of[sum] = l
	return l, fault, nil
}

// libraryError tells what a library failed at, and what to do.
func libraryError(conf, properties string, fault libssl.LibraryFault, err error) error {
	switch fault.Part {
	case libssl.LibraryVersion:
		return fmt.Errorf("openssl: NewLibrary: OpenSSL 3.0 or later is needed, and this is %s, whose one library context openssl.cnf configures", Version().Linked)
	case libssl.LibraryConf:
		where := fmt.Sprintf("%q", conf)
		if fault.Line > 0 {
			where += fmt.Sprintf(" line %d", fault.Line)
		}
		return explain("NewLibrary: the configuration "+where+" cannot be read", err)
	case libssl.LibraryNoModules:
		return fmt.Errorf("openssl: NewLibrary: the configuration %q names no modules, and would change nothing: "+
			`begin it with "openssl_conf = init" and give it a section [init] with a line "providers = ..."`, conf)
	case libssl.LibraryGlobal:
		return fmt.Errorf("openssl: NewLibrary: the configuration %q has %s, which OpenSSL applies to the whole process: "+
			"take it out, and use Ctx.Conf for what is of TLS, a provider instead of an engine", conf, fault.Name)
	case libssl.LibraryLoad:
		return explain(fmt.Sprintf("NewLibrary: a module of the configuration %q has failed", conf), err)
	case libssl.LibraryProvider:
		return explain(fmt.Sprintf("NewLibrary: the configuration %q activates the provider %q, which cannot be loaded: install it in "+
			"the folder that \"openssl version -m\" prints, or give its path with \"module = ...\"", conf, fault.Name), err)
	case libssl.LibraryFetch:
		return explain(fmt.Sprintf("NewLibrary: no active provider has what TLS needs with the properties %q: activate one in the "+
			"configuration file (for FIPS: install the module, run openssl fipsinstall, activate fips and base)", properties), err)
	}
	return err
}
