//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// tenant is an issuing CA, and a leaf of its for both roles with its chain.
type tenant struct {
	ca         *tlstest.Authority
	chain, key []byte
}

// newTenants is two issuing CAs below one root, which their peers present, too.
func newTenants(t testing.TB) (root *tlstest.Authority, a, b tenant) {
	t.Helper()
	root = tlstest.NewAuthority(t, "root of all tenants", nil)
	for _, x := range []struct {
		name string
		to   *tenant
	}{{"tenant a", &a}, {"tenant b", &b}} {
		x.to.ca = tlstest.NewAuthority(t, x.name, root)
		leaf, key := x.to.ca.Leaf(t, "server.test", tlstest.ECKey(t), nil)
		x.to.chain, x.to.key = slices.Concat(leaf, x.to.ca.PEM, root.PEM), key
	}
	return root, a, b
}

// judgedAs connects a peer that presents p's certificate to a Ctx that verifies it, in
// one role, and returns what the verifying end says.
func judgedAs(t testing.TB, role string, version uint16, p tenant, trust func(c *openssl.Ctx)) error {
	t.Helper()
	client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
	tlstest.SetVersion(t, client, version)
	if role == "server" {
		must(t, client.UseCertificate(p.chain, p.key))
		trust(server)
	} else {
		must(t, server.SetVerify(openssl.VerifyNone))
		must(t, server.UseCertificate(p.chain, p.key))
		trust(client)
	}
	e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server})
	if role == "server" {
		return e.ServerErr
	}
	return e.ClientErr
}

// eachRole runs a test for a verifying server and a verifying client, in both versions.
func eachRole(t *testing.T, f func(t *testing.T, role string, version uint16)) {
	for _, v := range tlstest.Versions {
		for _, role := range []string{"server", "client"} {
			t.Run(v.Name+"/"+role, func(t *testing.T) { f(t, role, v.ID) })
		}
	}
}

// An issuing CA that is given is trusted, below a root that is not given; its sibling
// below the same root is not. Who sets flags decides instead, before or after.
func TestVerifyTrustsExactlyWhatIsGiven(t *testing.T) {
	_, a, b := newTenants(t)
	file := tlstest.File(t, "a.pem", a.ca.PEM)
	steps := map[string]func(c *openssl.Ctx) error{
		"SetVerifyCAs":              func(c *openssl.Ctx) error { return c.SetVerifyCAs(a.ca.PEM) },
		"SetClientCAs":              func(c *openssl.Ctx) error { return c.SetClientCAs(a.ca.PEM) },
		"LoadVerifyLocations":       func(c *openssl.Ctx) error { return c.LoadVerifyLocations(file, "") },
		"VerifyCAFile":              func(c *openssl.Ctx) error { return c.Conf("VerifyCAFile", file) },
		"SetVerifyFlags(0)":         func(c *openssl.Ctx) error { return c.SetVerifyFlags(0) },
		"SetVerifyFlags(x)":         func(c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyX509Strict) },
		"VerifyPartialChain":        func(c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyPartialChain) },
		"SetVerifyFlags(1 << 31)":   func(c *openssl.Ctx) error { return refusedFlag(c.SetVerifyFlags(1 << 31)) },
		"SetVerifyCAs, not in PEM":  func(c *openssl.Ctx) error { return refusedFlag(c.SetVerifyCAs([]byte("no PEM"))) },
		"SetVerifyCAs of the other": func(c *openssl.Ctx) error { return c.SetVerifyCAs(b.ca.PEM) },
	}
	for _, x := range []struct {
		steps  []string
		enters bool
	}{
		{[]string{"SetVerifyCAs"}, true},
		{[]string{"SetClientCAs"}, true},
		{[]string{"SetVerifyCAs of the other", "SetVerifyCAs"}, true},
		{[]string{"SetVerifyCAs", "SetVerifyCAs, not in PEM"}, true},
		{[]string{"SetVerifyCAs", "SetVerifyFlags(1 << 31)"}, true},
		{[]string{"SetVerifyCAs", "SetVerifyFlags(0)"}, false},
		{[]string{"SetVerifyFlags(0)", "SetVerifyCAs"}, false},
		{[]string{"SetVerifyFlags(x)", "SetClientCAs"}, false},
		{[]string{"SetVerifyCAs", "VerifyCAFile"}, false},
		{[]string{"VerifyPartialChain", "VerifyCAFile"}, true},
		{[]string{"VerifyCAFile", "VerifyPartialChain"}, true},
		{[]string{"VerifyCAFile", "SetVerifyCAs"}, true},
		{[]string{"SetVerifyFlags(0)", "VerifyPartialChain", "SetVerifyCAs"}, true},
	} {
		t.Run(fmt.Sprint(x.steps), func(t *testing.T) {
			eachRole(t, func(t *testing.T, role string, version uint16) {
				trust := func(c *openssl.Ctx) {
					for _, step := range x.steps {
						if err := steps[step](c); err != nil {
							t.Fatalf("%s: %v", step, err)
						}
					}
				}
				if err := judgedAs(t, role, version, a, trust); (err == nil) != x.enters {
					t.Errorf("tenant a: %v, want it to enter: %v", err, x.enters)
				}
				err := judgedAs(t, role, version, b, trust)
				if _, ok := tlstest.AsType[*openssl.VerifyError](err); !ok {
					t.Errorf("tenant b, a sibling below the same root: %v, want a VerifyError", err)
				}
			})
		})
	}
	t.Run("LoadVerifyLocations wants the root", func(t *testing.T) {
		for _, on := range []bool{false, true} {
			client, server := tlstest.BareClient(t), tlstest.BareServer(t)
			must(t, server.UseCertificate(a.chain, a.key))
			must(t, client.LoadVerifyLocations(file, ""))
			if on {
				must(t, client.SetVerifyFlags(openssl.VerifyPartialChain))
			}
			if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); (e.ClientErr == nil) != on {
				t.Errorf("partial chain %v: the client has %v", on, e.ClientErr)
			}
		}
	})
}

// refusedFlag turns the error that is wanted into nil.
func refusedFlag(err error) error {
	if err == nil {
		return errors.New("it is taken")
	}
	return nil
}

// Revocation lists reach the whole chain, or the leaf alone if that is asked for.
func TestVerifyFlagsAndCRLs(t *testing.T) {
	root, a, _ := newTenants(t)
	leaf := tlstest.ParseCert(t, a.chain)
	list := func(ca *tlstest.Authority, serials ...*big.Int) []byte {
		return tlstest.RevocationList(t, ca, 1, serials...)
	}
	for name, x := range map[string]struct {
		cas    []byte
		crls   []byte
		flags  openssl.VerifyFlags
		set    bool // flags are
		enters bool
	}{
		"all listed, none revoked":             {cas: root.PEM, crls: slices.Concat(list(root), list(a.ca)), enters: true},
		"the root's list is missing":           {cas: root.PEM, crls: list(a.ca)},
		"the issuing CA is revoked":            {cas: root.PEM, crls: slices.Concat(list(root, a.ca.Cert.SerialNumber), list(a.ca))},
		"leaf alone":                           {cas: root.PEM, crls: list(a.ca), flags: openssl.VerifyCRLCheck, set: true, enters: true},
		"leaf alone, revoked":                  {cas: root.PEM, crls: list(a.ca, leaf.SerialNumber), flags: openssl.VerifyCRLCheck, set: true},
		"other flags":                          {cas: root.PEM, crls: list(a.ca), flags: openssl.VerifyPartialChain, set: true},
		"no flags":                             {cas: root.PEM, crls: list(a.ca), set: true},
		"all, by the second flag alone":        {cas: root.PEM, crls: list(a.ca), flags: openssl.VerifyCRLCheckAll, set: true},
		"flags and no list":                    {cas: root.PEM, flags: openssl.VerifyCRLCheck, set: true},
		"the second flag and no list":          {cas: root.PEM, flags: openssl.VerifyCRLCheckAll, set: true},
		"an issuing CA alone":                  {cas: a.ca.PEM, crls: list(a.ca), enters: true},
		"an issuing CA alone, leaf revoked":    {cas: a.ca.PEM, crls: list(a.ca, leaf.SerialNumber)},
		"an issuing CA alone, without a list":  {cas: a.ca.PEM, crls: list(root)},
		"an issuing CA alone, itself revoked":  {cas: a.ca.PEM, crls: slices.Concat(list(root, a.ca.Cert.SerialNumber), list(a.ca))},
		"an issuing CA and its root":           {cas: slices.Concat(a.ca.PEM, root.PEM), crls: slices.Concat(list(root), list(a.ca)), enters: true},
		"an issuing CA and its root, revoked":  {cas: slices.Concat(a.ca.PEM, root.PEM), crls: slices.Concat(list(root, a.ca.Cert.SerialNumber), list(a.ca))},
		"the leaf itself":                      {cas: a.chain, crls: slices.Concat(list(root), list(a.ca)), enters: true},
		"the leaf itself, revoked":             {cas: a.chain, crls: slices.Concat(list(root), list(a.ca, leaf.SerialNumber))},
		"an issuing CA alone, without partial": {cas: a.ca.PEM, crls: list(a.ca), set: true},
	} {
		t.Run(name, func(t *testing.T) {
			eachRole(t, func(t *testing.T, role string, version uint16) {
				for _, late := range []bool{false, true} {
					err := judgedAs(t, role, version, a, func(c *openssl.Ctx) {
						if x.set && !late {
							must(t, c.SetVerifyFlags(x.flags))
						}
						if x.crls != nil {
							must(t, c.SetCRLs(x.crls))
						}
						must(t, c.SetVerifyCAs(x.cas))
						if x.set && late {
							must(t, c.SetVerifyFlags(x.flags))
						}
					})
					if _, ok := tlstest.AsType[*openssl.VerifyError](err); ok == x.enters {
						t.Errorf("flags late %v: %v, want it to enter: %v", late, err, x.enters)
					}
				}
			})
		})
	}
	t.Run("VerifyDefer hears of the chain all the same", func(t *testing.T) {
		client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
		must(t, client.UseCertificate(a.chain, a.key))
		must(t, server.SetVerifyFlags(openssl.VerifyPartialChain)) // of another CA
		must(t, server.SetCRLs(list(a.ca)))
		must(t, server.SetVerify(openssl.VerifyDefer))
		must(t, server.SetVerifyConnection(func(openssl.ConnectionState) error { return nil }))
		if e := tlstest.Connect(t, tlstest.Pair{Client: client, Server: server}); e.Server.VerifyError == nil {
			t.Error("a certificate of a CA that is not trusted has no VerifyError")
		}
	})
}

// Flags that are no names of this package are refused, and named.
func TestVerifyFlagsUnknown(t *testing.T) {
	c := tlstest.BareClient(t)
	tlstest.Sentence(t, c.SetVerifyFlags(0x2), "X509_VERIFY_PARAM_set_flags", "0x2") // X509_V_FLAG_USE_CHECK_TIME: there is no time
	tlstest.Sentence(t, c.SetHostFlags(1<<20), "X509_VERIFY_PARAM_set_hostflags", "0x100000")
	must(t, c.SetVerifyFlags(openssl.VerifySuiteB128|openssl.VerifySuiteB128Only|openssl.VerifySuiteB192))
}

// A chain is verified, and its name only sent: with any name, or with none.
func TestVerifyAnyName(t *testing.T) {
	stranger := tlstest.NewAuthority(t, "another CA", nil)
	for _, v := range tlstest.Versions {
		for _, x := range []struct {
			mode        openssl.VerifyMode
			set         string
			good, alien bool // whether a server of the test CA is accepted, and one of another
		}{
			{openssl.VerifyPeer | openssl.VerifyAnyName, "other.test", true, false},
			{openssl.VerifyPeer | openssl.VerifyAnyName, "192.0.2.1", true, false},
			{openssl.VerifyPeer | openssl.VerifyAnyName, "", true, false},
			{openssl.VerifyPeer, "other.test", false, false},
			{openssl.VerifyDefer, "", true, true},
			{openssl.VerifyDefer | openssl.VerifyAnyName, "other.test", true, true},
		} {
			t.Run(fmt.Sprintf("%s/%#x %q", v.Name, int(x.mode), x.set), func(t *testing.T) {
				for _, ca := range []*tlstest.Authority{tlstest.Certs(t), stranger} {
					client, server := tlstest.NewClient(t), tlstest.BareServer(t)
					tlstest.SetVersion(t, client, v.ID)
					must(t, server.UseCertificate(ca.Leaf(t, "server.test", tlstest.ECKey(t), nil)))
					must(t, client.SetVerify(x.mode))
					must(t, client.SetVerifyConnection(func(openssl.ConnectionState) error { return nil }))
					c, err := openssl.NewSSL(client)
					must(t, err)
					defer c.Close()
					s, err := openssl.NewSSL(server)
					must(t, err)
					defer s.Close()
					if x.set != "" {
						must(t, c.SetServerName(x.set))
					}
					clientErr, _ := tlstest.Shake(t, c, s)
					want := x.good
					if ca == stranger {
						want = x.alien
					}
					if (clientErr == nil) != want {
						t.Errorf("a server of %s: %v, want it accepted: %v", ca.Cert.Subject, clientErr, want)
					}
					if sent := s.ConnectionState().ServerName; clientErr == nil && net.ParseIP(x.set) == nil && sent != x.set {
						t.Errorf("the server was sent the name %q, want %q", sent, x.set)
					}
				}
			})
		}
	}
	t.Run("a switch", func(t *testing.T) {
		// What counts is the Ctx in force, not that in which the name was set.
		named, any := tlstest.NewClient(t), tlstest.NewClient(t)
		must(t, any.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName))
		for _, x := range []struct {
			from, to *openssl.Ctx
			accepted bool
		}{{named, any, true}, {any, named, false}} {
			c, s := tlstest.Machines(t, x.from, tlstest.NewServer(t))
			must(t, c.SetServerName("other.test"))
			must(t, c.SetCtx(x.to))
			if clientErr, _ := tlstest.Shake(t, c, s); (clientErr == nil) != x.accepted {
				t.Errorf("%v, want another name accepted: %v", clientErr, x.accepted)
			}
		}
	})
	t.Run("Conf cannot leave it without VerifyPeer", func(t *testing.T) {
		c := tlstest.NewClient(t)
		must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName))
		tlstest.Sentence(t, c.Conf("VerifyMode", "-Peer"), "SSL_CONF_cmd", "VerifyAnyName")
	})
	if openssl.VerifyAnyName == openssl.VerifyDefer || openssl.VerifyAnyName < 1<<16 {
		t.Errorf("VerifyAnyName is %#x, which is another mode's bit", int(openssl.VerifyAnyName))
	}
}

// Sessions of a client that has verified no name are not offered by one that verifies
// it, nor those that came by other flags.
func TestVerifySettingsAreInTheCacheKey(t *testing.T) {
	addr := listenAndEcho(t, newHostServer(t, "server.test"))
	cache := newWatchedCache(t, 16)
	for what, change := range map[string]func(c *openssl.Ctx){
		"nothing":             func(c *openssl.Ctx) {},
		"VerifyAnyName":       func(c *openssl.Ctx) { must(t, c.SetVerify(openssl.VerifyPeer|openssl.VerifyAnyName)) },
		"flags":               func(c *openssl.Ctx) { must(t, c.SetVerifyFlags(0)) },
		"host flags":          func(c *openssl.Ctx) { must(t, c.SetHostFlags(0)) },
		"other host flags":    func(c *openssl.Ctx) { must(t, c.SetHostFlags(openssl.HostNoWildcards)) },
		"opaque certificates": func(c *openssl.Ctx) { must(t, c.SetOpaqueCertificates(true)) },
	} {
		if reach(t, newCachingClient(t, tls.VersionTLS12, cache, change), addr, "server.test", false) {
			t.Errorf("%s: a session of a client with other settings is resumed", what)
		}
		if !reach(t, newCachingClient(t, tls.VersionTLS12, cache, change), addr, "server.test", false) {
			t.Errorf("%s: a session of a client with equal settings is not resumed", what)
		}
	}
}

// A derived context depends on them, too.
func TestVerifySettingsAreInTheContext(t *testing.T) {
	tlstest.CheckLeaks(t)
	seen := make(map[string]string)
	for what, change := range map[string]func(c *openssl.Ctx) error{
		"nothing":  func(c *openssl.Ctx) error { return nil },
		"no flags": func(c *openssl.Ctx) error { return c.SetVerifyFlags(0) },
		"strict":   func(c *openssl.Ctx) error { return c.SetVerifyFlags(openssl.VerifyX509Strict) },
		"strict, partial": func(c *openssl.Ctx) error {
			return c.SetVerifyFlags(openssl.VerifyX509Strict | openssl.VerifyPartialChain)
		},
		"host flags":          func(c *openssl.Ctx) error { return c.SetHostFlags(0) },
		"opaque certificates": func(c *openssl.Ctx) error { return c.SetOpaqueCertificates(true) },
		"any name":            func(c *openssl.Ctx) error { return c.SetVerify(openssl.VerifyPeer | openssl.VerifyAnyName) },
	} {
		server := tlstest.NewServer(t)
		must(t, server.SetClientCAs(tlstest.Certs(t).PEM))
		must(t, server.SetVerify(openssl.VerifyPeer))
		must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "app"}))
		must(t, change(server))
		sidCtx := effective(t, server)
		if other := seen[sidCtx]; other != "" {
			t.Errorf("%s and %s lead to the same context", what, other)
		}
		seen[sidCtx] = what
	}
}

// The common name is a host name, and wildcards match, only where the flags say so. A
// client that is switched to another Ctx has the flags of that one.
func TestSetHostFlags(t *testing.T) {
	ca := tlstest.Certs(t)
	const byDefault = openssl.HostNoPartialWildcards | openssl.HostNeverCheckSubject
	for _, x := range []struct {
		name      string
		dns       []string
		flags     openssl.HostFlags
		byDefault bool // accepted by default
		accepted  bool // accepted with flags
	}{
		{"common name", nil, openssl.HostNoPartialWildcards, false, true},
		{"the default, set", nil, byDefault, false, false},
		{"common name beside others", []string{"other.test"}, openssl.HostAlwaysCheckSubject, false, true},
		{"wildcard", []string{"*.server.test"}, openssl.HostNoWildcards, true, false},
		{"partial wildcard", []string{"w*.server.test"}, openssl.HostNeverCheckSubject, false, true},
		{"name", []string{"www.server.test"}, 0, true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			for _, v := range tlstest.Versions {
				server := tlstest.BareServer(t)
				tlstest.SetVersion(t, server, v.ID)
				must(t, server.UseCertificate(ca.Leaf(t, "www.server.test", tlstest.ECKey(t), func(c *x509.Certificate) { c.DNSNames = x.dns })))
				plain, flagged := tlstest.NewClient(t), tlstest.NewClient(t)
				must(t, flagged.SetHostFlags(x.flags))
				for _, y := range []struct {
					from, to *openssl.Ctx
					accepted bool
				}{{plain, nil, x.byDefault}, {flagged, nil, x.accepted}, {plain, flagged, x.accepted}, {flagged, plain, x.byDefault}} {
					c, s := tlstest.Machines(t, y.from, server)
					must(t, c.SetServerName("www.server.test"))
					must(t, c.SetCtx(y.to))
					if clientErr, _ := tlstest.Shake(t, c, s); (clientErr == nil) != y.accepted {
						t.Errorf("%s: the flags are set on the first Ctx %v, on that of a switch %v: %v, want it accepted: %v",
							v.Name, y.from == flagged, y.to == flagged, clientErr, y.accepted)
					}
				}
			}
		})
	}
}

// Names of CAs that fit into no CertificateRequest are refused by the setter; those that
// just fit are sent.
func TestClientCANamesThatDoNotFit(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it makes a CA for each of some hundred names")
	}
	var all [][]byte
	size := 2 + len(tlstest.Certs(t).Cert.RawSubject)
	for i := 0; ; i++ {
		ca := tlstest.NewAuthority(t, fmt.Sprintf("issuing CA %04d of a company with a name of quite some letters", i), nil)
		all = append(all, ca.PEM)
		if size += 2 + len(ca.Cert.RawSubject); size > libssl.MaxCANames {
			break
		}
	}
	all = append(all, tlstest.Certs(t).PEM)
	tooMany, most := bytes.Join(all, nil), bytes.Join(all[1:], nil)
	for _, v := range tlstest.Versions {
		server := tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, server, v.ID)
		tlstest.Sentence(t, server.SetClientCAs(tooMany), "SSL_CTX_set_client_CA_list", fmt.Sprint(size), "SetVerifyCAs")
		tlstest.Sentence(t, server.Conf("ClientCAFile", tlstest.File(t, "all.pem", tooMany)), "SSL_CONF_cmd", fmt.Sprint(size), "SetVerifyCAs")
		tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server}) // nothing has changed

		server = tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, server, v.ID)
		must(t, server.SetVerifyCAs(tooMany)) // the way out
		must(t, server.SetClientCAs(most))
		tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})

		server = tlstest.NewMutualServer(t, "tenant")
		tlstest.SetVersion(t, server, v.ID)
		must(t, server.Conf("ClientCAFile", tlstest.File(t, "most.pem", most)))
		tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
	}
}

// OpenSSL's own form of a certificate counts as much as the other, and with what it says
// about what the CA is trusted for.
func TestTrustedCertificateBlocks(t *testing.T) {
	block := func(aux ...byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(bytes.Clone(tlstest.Certs(t).Cert.Raw), aux...)})
	}
	// CertAux: SEQUENCE { reject [0] { serverAuth, clientAuth } }
	oid := func(last byte) []byte { return []byte{6, 8, 0x2b, 6, 1, 5, 5, 7, 3, last} }
	rejects := block(append([]byte{0x30, 22, 0xa0, 20}, slices.Concat(oid(1), oid(2))...)...)
	other := tlstest.NewAuthority(t, "another CA", nil).PEM
	for _, x := range []struct {
		name   string
		pem    []byte
		enters bool
	}{
		{"alone", block(), true},
		{"last", slices.Concat(other, block()), true},
		{"first", slices.Concat(block(), other), true},
		{"rejected for TLS", rejects, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			for what, set := range map[string]func(c *openssl.Ctx) error{
				"SetVerifyCAs":        func(c *openssl.Ctx) error { return c.SetVerifyCAs(x.pem) },
				"SetClientCAs":        func(c *openssl.Ctx) error { return c.SetClientCAs(x.pem) },
				"LoadVerifyLocations": func(c *openssl.Ctx) error { return c.LoadVerifyLocations(tlstest.File(t, "ca.pem", x.pem), "") },
			} {
				client := tlstest.BareClient(t)
				must(t, set(client))
				e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: tlstest.NewServer(t)})
				if (e.ClientErr == nil) != x.enters {
					t.Errorf("%s: %v, want the server accepted: %v", what, e.ClientErr, x.enters)
				}
			}
		})
	}
	t.Run("of a server", func(t *testing.T) {
		cert, _ := pem.Decode(tlstest.Fixtures.ServerCert)
		server := tlstest.BareServer(t)
		must(t, server.UseCertificate(pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: cert.Bytes}), tlstest.Fixtures.ServerKey))
		tlstest.Connect(t, tlstest.Pair{Client: tlstest.NewClient(t), Server: server})
	})
	t.Run("in a derived context", func(t *testing.T) {
		tlstest.CheckLeaks(t)
		context := func(pem []byte) string {
			server := tlstest.NewServer(t)
			must(t, server.SetVerifyCAs(pem))
			must(t, server.DeriveSessionIDContext(openssl.SessionPolicy{}))
			return effective(t, server)
		}
		if context(block()) == context(rejects) {
			t.Error("what a CA is trusted for is not in the context")
		}
		if context(block()) != context(tlstest.Certs(t).PEM) {
			t.Error("the form of a block is in the context")
		}
	})
}

// AddVerifyCAs adds to what is trusted, whatever that is, and each CA for itself.
func TestAddVerifyCAs(t *testing.T) {
	root, own, other := tlstest.NewAuthority(t, "root", nil), tlstest.NewAuthority(t, "own", nil), tlstest.NewAuthority(t, "other", nil)
	below := tlstest.NewAuthority(t, "below a root that is not given", tlstest.NewAuthority(t, "absent", nil))
	systemRootsOf(t, root.PEM)
	for _, x := range []struct {
		name    string
		trust   func(t *testing.T, c *openssl.Ctx)
		trusts  []*tlstest.Authority
		refuses []*tlstest.Authority
	}{
		{"beside the system's roots", func(t *testing.T, c *openssl.Ctx) { must(t, c.AddVerifyCAs(own.PEM)) },
			[]*tlstest.Authority{root, own}, []*tlstest.Authority{other, below}},
		{"twice", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.AddVerifyCAs(own.PEM))
			must(t, c.AddVerifyCAs(slices.Concat(other.PEM, own.PEM)))
		}, []*tlstest.Authority{root, own, other}, nil},
		{"one below a root", func(t *testing.T, c *openssl.Ctx) { must(t, c.AddVerifyCAs(below.PEM)) },
			[]*tlstest.Authority{root, below}, []*tlstest.Authority{own}},
		{"after SetVerifyCAs", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.SetVerifyCAs(other.PEM))
			must(t, c.AddVerifyCAs(own.PEM))
		}, []*tlstest.Authority{own, other}, []*tlstest.Authority{root}},
		{"before SetVerifyCAs", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.AddVerifyCAs(own.PEM))
			must(t, c.SetVerifyCAs(other.PEM))
		}, []*tlstest.Authority{other}, []*tlstest.Authority{root, own}},
		{"after a command", func(t *testing.T, c *openssl.Ctx) {
			confCA(t, c, "VerifyCAFile", other)
			must(t, c.AddVerifyCAs(own.PEM))
		}, []*tlstest.Authority{own, other}, []*tlstest.Authority{root}},
		{"failing", func(t *testing.T, c *openssl.Ctx) {
			must(t, c.AddVerifyCAs(own.PEM))
			for _, bad := range [][]byte{nil, []byte("garbage"), slices.Concat(other.PEM, other.PEM[:99])} {
				tlstest.Sentence(t, c.AddVerifyCAs(bad), "CA certificates")
			}
		}, []*tlstest.Authority{root, own}, []*tlstest.Authority{other}},
	} {
		t.Run(x.name, func(t *testing.T) {
			client := tlstest.BareClient(t)
			x.trust(t, client)
			for _, ca := range x.trusts {
				wantTrusted(t, x.name, client, ca, true)
			}
			for _, ca := range x.refuses {
				wantTrusted(t, x.name, client, ca, false)
			}
		})
	}
	t.Run("a server has no system's roots", func(t *testing.T) {
		for ca, want := range map[*tlstest.Authority]bool{own: true, other: true, root: false} {
			server := tlstest.NewMutualServer(t, "tenant")
			must(t, server.SetVerifyCAs(other.PEM))
			must(t, server.AddVerifyCAs(own.PEM))
			client := tlstest.NewClient(t)
			must(t, client.UseCertificate(ca.Leaf(t, "client.test", tlstest.ECKey(t), nil)))
			if e := tlstest.ConnectMachines(t, tlstest.Pair{Client: client, Server: server}); (e.ServerErr == nil) != want {
				t.Errorf("a client of %s: %v, want it accepted: %v", ca.Cert.Subject.CommonName, e.ServerErr, want)
			}
		}
	})
}

// A chain that is larger than the limit of the Ctx in force is refused, in both roles, and
// the same chain is accepted below it.
func TestSetMaxCertList(t *testing.T) {
	const small, enough = 200, 10000
	eachRole(t, func(t *testing.T, role string, version uint16) {
		connect := func(limit, ofListener int) error {
			client, server := tlstest.NewClient(t), tlstest.NewMutualServer(t, "tenant")
			tlstest.SetVersion(t, client, version)
			must(t, client.UseCertificate(tlstest.Fixtures.ClientCert, tlstest.Fixtures.ClientKey))
			x := tlstest.Pair{Client: client, Server: server}
			if role == "client" {
				must(t, client.SetMaxCertList(limit))
				return tlstest.ConnectMachines(t, x).ClientErr
			}
			must(t, server.SetMaxCertList(limit))
			if ofListener != 0 {
				x.Server = tlstest.BareServer(t)
				must(t, x.Server.SetMaxCertList(ofListener))
				must(t, x.Server.SetClientHelloFunc(tlstest.Stay))
				x.Answer = func(t testing.TB, s *openssl.SSL) { must(t, s.SetCtx(server)) }
			}
			return tlstest.ConnectMachines(t, x).ServerErr
		}
		must(t, connect(enough, 0))
		tlstest.Sentence(t, connect(small, 0), "excessive message size")
		if role == "server" {
			must(t, connect(enough, small))
			tlstest.Sentence(t, connect(small, enough), "excessive message size")
		}
	})
	for _, bad := range []int{-1, 0, 1 << 24} {
		tlstest.Sentence(t, tlstest.NewServer(t).SetMaxCertList(bad), "SSL_CTX_set_max_cert_list", "between 1 and")
	}
}
