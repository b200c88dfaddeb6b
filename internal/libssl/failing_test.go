//go:build cgo && linux && !asan

package libssl_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// failingLibrary stands before libssl and libcrypto: of the function that FAIL
// names, the call with the number in FAIL_AT fails, as without memory.
const failingLibrary = `
#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/provider.h>
#endif

#if OPENSSL_VERSION_NUMBER >= 0x40000000L
typedef const X509 CERT;
#else
typedef X509 CERT;
#endif

/* Only calls of the test's own program count, not those among the libraries. */
static int fails(const char *name, int what, void *caller) {
	const char *which = getenv("FAIL"), *at = getenv("FAIL_AT");
	static int calls;
	char full[128];
	Dl_info from;

	snprintf(full, sizeof full, what < 0 ? "%s" : "%s %d", name, what);
	return which && at && strcmp(which, full) == 0 && dladdr(caller, &from) && !strstr(from.dli_fname, ".so") &&
	       __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == atoi(at);
}

#define FAILS(type, name, what, params, args) \
	type name params { \
		static type (*real) params; \
		if (!real) \
			*(void **)&real = dlsym(RTLD_NEXT, #name); \
		return fails(#name, what, __builtin_return_address(0)) ? (type)0 : real args; \
	}

FAILS(int, SSL_CTX_set_cipher_list, -1, (SSL_CTX *c, const char *s), (c, s))
FAILS(int, SSL_CTX_set_ciphersuites, -1, (SSL_CTX *c, const char *s), (c, s))
FAILS(int, SSL_CTX_load_verify_locations, -1, (SSL_CTX *c, const char *file, const char *dir), (c, file, dir))
FAILS(long, SSL_CTX_ctrl, cmd, (SSL_CTX *c, int cmd, long n, void *p), (c, cmd, n, p))
FAILS(int, SSL_CTX_set_ex_data, idx, (SSL_CTX *c, int idx, void *p), (c, idx, p))
FAILS(int, SSL_CONF_cmd, -1, (SSL_CONF_CTX *c, const char *cmd, const char *value), (c, cmd, value))
FAILS(int, SSL_CONF_CTX_finish, -1, (SSL_CONF_CTX *c), (c))
FAILS(SSL_CONF_CTX *, SSL_CONF_CTX_new, -1, (void), ())
FAILS(SSL *, SSL_new, -1, (SSL_CTX *c), (c))
FAILS(X509_STORE *, X509_STORE_new, -1, (void), ())
FAILS(int, X509_STORE_add_crl, -1, (X509_STORE *s, X509_CRL *x), (s, x))
FAILS(int, X509_STORE_add_cert, -1, (X509_STORE *s, CERT *x), (s, x))
FAILS(int, X509_VERIFY_PARAM_set_flags, -1, (X509_VERIFY_PARAM *p, unsigned long flags), (p, flags))

/* -1 is its failure. */
int CRYPTO_get_ex_new_index(int class, long n, void *p, CRYPTO_EX_new *make, CRYPTO_EX_dup *dup, CRYPTO_EX_free *end) {
	static int (*real)(int, long, void *, CRYPTO_EX_new *, CRYPTO_EX_dup *, CRYPTO_EX_free *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "CRYPTO_get_ex_new_index");
	return fails("CRYPTO_get_ex_new_index", class, __builtin_return_address(0)) ? -1 : real(class, n, p, make, dup, end);
}

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
/* It fails at the end, time and again. */
int OSSL_PROVIDER_do_all(OSSL_LIB_CTX *c, int (*each)(OSSL_PROVIDER *, void *), void *p) {
	static int (*real)(OSSL_LIB_CTX *, int (*)(OSSL_PROVIDER *, void *), void *);
	const char *which = getenv("FAIL");
	int i, fail = which && strcmp(which, "OSSL_PROVIDER_do_all") == 0;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "OSSL_PROVIDER_do_all");
	for (i = 0; fail && i < 1000; i++)
		real(c, each, p);
	return fail ? 0 : real(c, each, p);
}
#endif
`

// failing runs this one test once more in a process of its own, where one call of
// one function of libssl or libcrypto fails. Over there child is true.
func failing(t *testing.T, library, function string, at int) (child bool) {
	t.Helper()
	return tlstest.Again(t, "OPENSSL_CONF=/dev/null", "LD_PRELOAD="+library, "FAIL="+function, "FAIL_AT="+strconv.Itoa(at))
}

// newFailingLibrary is made once, by the parent.
func newFailingLibrary(t *testing.T) string {
	t.Helper()
	if os.Getenv("FAIL") != "" {
		return ""
	}
	return tlstest.Compile(t, "failing.so", failingLibrary, "-shared", "-fPIC", "-ldl")
}

// A setter that fails with a part of its change in place leaves a Ctx that makes no
// connections: its state is unknown. One that fails before has changed
// nothing.
func TestFailedHalfWay(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it compiles a library and starts a process for each call that fails")
	}
	ca := tlstest.Certs(t)
	library := newFailingLibrary(t)
	type setter = func(t *testing.T, c *openssl.Ctx) error
	conf := func(cmd, value string) setter {
		return func(t *testing.T, c *openssl.Ctx) error { return c.Conf(cmd, value) }
	}
	const groups = "SSL_CTX_ctrl 92" // SSL_CTRL_SET_GROUPS_LIST
	for _, x := range []struct {
		setter   string // that the error of the Ctx names
		function string
		before   int // the last call that fails before something has changed
		half     int // the first one after, 0 for none
		call     setter
	}{
		{"SetCipherList", "SSL_CTX_set_cipher_list", 1, 2, func(t *testing.T, c *openssl.Ctx) error { return c.SetCipherList("ECDHE+AESGCM") }},
		{"SetCipherSuites", "SSL_CTX_set_ciphersuites", 1, 2, func(t *testing.T, c *openssl.Ctx) error { return c.SetCipherSuites("TLS_AES_128_GCM_SHA256") }},
		{"SetGroups", groups, 1, 2, func(t *testing.T, c *openssl.Ctx) error { return c.SetGroups("P-256") }},
		{"SetCRLs", "X509_STORE_add_crl", 1, 2, func(t *testing.T, c *openssl.Ctx) error { return c.SetCRLs(tlstest.RevocationList(t, ca, 1)) }},
		{"SetCRLs", "X509_STORE_add_crl", 2, 4, func(t *testing.T, c *openssl.Ctx) error {
			return c.SetCRLs(append(tlstest.RevocationList(t, ca, 1), tlstest.RevocationList(t, tlstest.NewAuthority(t, "b", nil), 1)...))
		}},
		{"SetCRLs", "X509_VERIFY_PARAM_set_flags", 0, 1, func(t *testing.T, c *openssl.Ctx) error { return c.SetCRLs(tlstest.RevocationList(t, ca, 1)) }},
		{"SetVerifyFlags", "X509_VERIFY_PARAM_set_flags", 0, 1, func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyPartialChain) }},
		{"SetClientCAs", "X509_VERIFY_PARAM_set_flags", 0, 1, func(t *testing.T, c *openssl.Ctx) error { return c.SetClientCAs(ca.PEM) }},
		{`Conf("VerifyCAFile")`, "X509_VERIFY_PARAM_set_flags", 0, 1, func(t *testing.T, c *openssl.Ctx) error {
			return c.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", ca.PEM))
		}},
		{"LoadVerifyLocations", "SSL_CTX_load_verify_locations", 0, 1, func(t *testing.T, c *openssl.Ctx) error {
			return c.LoadVerifyLocations(tlstest.File(t, "ca.pem", ca.PEM), "")
		}},
		{"SetVerifyCAs", "X509_STORE_add_cert", 1, 0, func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(ca.PEM) }},
		{"SetVerifyCAs", "X509_STORE_new", 1, 0, func(t *testing.T, c *openssl.Ctx) error { return c.SetVerifyCAs(ca.PEM) }},

		{`Conf("MaxProtocol")`, "SSL_CONF_CTX_new", 3, 4, conf("MaxProtocol", "TLSv1.3")},
		{`Conf("MaxProtocol")`, "SSL_CONF_cmd", 2, 3, conf("MaxProtocol", "TLSv1.3")},
		{`Conf("MaxProtocol")`, "SSL_CONF_CTX_finish", 2, 3, conf("MaxProtocol", "TLSv1.3")},
		{`Conf("-cipher")`, "SSL_CONF_cmd", 2, 3, conf("-cipher", "ECDHE+AESGCM")},
		{`Conf("Options")`, "SSL_new", 1, 0, conf("Options", "ServerPreference")},
		{`Conf("Options")`, "X509_STORE_new", 2, 0, conf("Options", "ServerPreference")},
		{`Conf("VerifyCAFile")`, "SSL_CONF_cmd", 3, 0, func(t *testing.T, c *openssl.Ctx) error { // replaces what is trusted
			return c.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", ca.PEM))
		}},
		{`Conf("VerifyCAFile")`, "SSL_CONF_cmd", 5, 6, func(t *testing.T, c *openssl.Ctx) error { // the second one adds
			if err := c.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", ca.PEM)); err != nil {
				return nil
			}
			return c.Conf("VerifyCAFile", tlstest.File(t, "ca.pem", tlstest.NewAuthority(t, "b", nil).PEM))
		}},
	} {
		for at, half := range map[int]bool{x.before: false, x.half: true} {
			if at == 0 {
				continue
			}
			name := strings.Join([]string{x.setter, x.function, strconv.Itoa(at)}, ", ")
			t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
				if !failing(t, library, x.function, at) {
					return
				}
				server := tlstest.NewServer(t)
				err := x.call(t, server)
				if err == nil {
					t.Fatalf("%s has failed, and the setter has not", x.function)
				}
				if half {
					refuses(t, server, x.setter)
					return
				}
				c, s := tlstest.Machines(t, tlstest.NewClient(t), server)
				tlstest.MustShake(t, c, s)
				tlstest.Goodbye(t, c, s)
			})
		}
	}
}

// refuses looks for a Ctx that makes no connections, whatever is asked of it.
func refuses(t *testing.T, c *openssl.Ctx, parts ...string) {
	t.Helper()
	parts = append(parts, "makes no connections")
	ssl, err := openssl.NewSSL(c)
	if err == nil {
		ssl.Close()
	}
	tlstest.Says(t, err, parts...)
	tlstest.Says(t, openssl.NewHosts().Add("server.test", c), parts...)
	_, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
	tlstest.Says(t, s.SetCtx(c), parts...)
	must(t, c.SetALPN("h2")) // does not make it good
	ssl, err = openssl.NewSSL(c)
	if err == nil {
		ssl.Close()
	}
	tlstest.Says(t, err, parts...)
}

// A Ctx is made whole or not at all, and the next one is.
func TestFailedNewCtx(t *testing.T) {
	library := newFailingLibrary(t)
	for _, function := range []string{
		"CRYPTO_get_ex_new_index 1", // CRYPTO_EX_INDEX_SSL_CTX: of the index that is made once
		"SSL_CTX_set_ex_data 0",     // SSL_CTX_set_app_data
		"SSL_CTX_set_ex_data 1",     // of that index
		"SSL_CTX_ctrl 123",          // SSL_CTRL_SET_MIN_PROTO_VERSION
	} {
		t.Run(strings.ReplaceAll(function, " ", "_"), func(t *testing.T) {
			if !failing(t, library, function, 1) {
				return
			}
			if c, err := openssl.NewServerCtx(); err == nil {
				c.Close()
				t.Fatalf("%s has failed, and NewServerCtx has not", function)
			}
			c, s := tlstest.Machines(t, tlstest.NewClient(t), tlstest.NewServer(t))
			tlstest.MustShake(t, c, s)
			tlstest.Goodbye(t, c, s)
		})
	}
}

// The names of providers are freed when not all of them can be read.
func TestFailedProviders(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it compiles a library")
	}
	if !tlstest.IsOpenSSL3() {
		t.Skip("there are no providers before 3.0")
	}
	if !failing(t, newFailingLibrary(t), "OSSL_PROVIDER_do_all", 1) {
		return
	}
	resident := func() int {
		status, err := os.ReadFile("/proc/self/statm")
		must(t, err)
		pages, err := strconv.Atoi(strings.Fields(string(status))[1])
		must(t, err)
		return pages * os.Getpagesize()
	}
	for range 100 {
		if got := openssl.Version().Providers; len(got) != 0 {
			t.Fatalf("%d names of providers, although they could not be read", len(got))
		}
	}
	before := resident()
	for range 4000 {
		openssl.Version()
	}
	if grown := resident() - before; grown > 16<<20 {
		t.Errorf("%d bytes more after 4000 failures", grown)
	}
}
