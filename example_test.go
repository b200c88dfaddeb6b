//go:build cgo

package openssl_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"testing"

	"github.com/sidctx/openssl"
)

// Two tenants, each with clients of its own: a session that one has granted is
// resumed there and nowhere else.
func Example_tenants() {
	hosts := openssl.NewHosts()
	for _, name := range []string{"a.example", "b.example"} {
		tenant, err := openssl.NewServerCtx()
		check(err)
		check(tenant.UseCertificateFiles(name+".crt", name+".key"))
		check(tenant.LoadVerifyLocations(name+"-clients.crt", "")) // the CA of its clients
		check(tenant.SetVerify(openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert))
		check(tenant.DeriveSessionIDContext(openssl.SessionPolicy{Label: name})) // a hash of all of this
		check(hosts.Add(name, tenant))
	}
	front, err := openssl.NewServerCtx()
	check(err)
	check(front.SetClientHelloFunc(hosts.Route)) // called before resumption is decided
	serveTenants(front)
}

// serveTenants accepts connections.
var serveTenants = func(front *openssl.Ctx) {
	l, err := openssl.Listen("tcp", ":8443", front)
	check(err)
	log.Fatal(http.Serve(l, nil))
}

// A server that requires client certificates and resumes sessions within its
// own context alone.
func Example() {
	c, err := openssl.NewServerCtx()
	check(err)
	check(c.UseCertificateFiles("server.crt", "server.key"))
	check(c.LoadVerifyLocations("clients-ca.crt", "")) // the CA of the clients' certificates
	check(c.SetVerify(openssl.VerifyPeer | openssl.VerifyFailIfNoPeerCert))
	check(c.SetSessionIDContext([]byte("payroll/1"))) // where its sessions may be resumed
	l, err := openssl.Listen("tcp", ":8443", c)
	check(err)
	log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	})))
}

// TestExampleTenants: a session is resumed by its tenant and not by the other one.
func TestExampleTenants(t *testing.T) {
	t.Chdir(t.TempDir())
	accounted(t)
	clients := map[string]*authority{}
	for _, name := range []string{"a.example", "b.example"} {
		clients[name] = newAuthority(t, "clients of "+name, nil)
		cert, key := certs(t).leaf(t, name, ecKey(t), nil)
		must(t, os.WriteFile(name+".crt", cert, 0o600))
		must(t, os.WriteFile(name+".key", key, 0o600))
		must(t, os.WriteFile(name+"-clients.crt", clients[name].pem, 0o600))
	}
	var front *openssl.Ctx
	defer func(before func(*openssl.Ctx)) { serveTenants = before }(serveTenants)
	serveTenants = func(c *openssl.Ctx) { front = c }
	Example_tenants()
	defer front.Close()

	tenants := map[*openssl.Ctx]bool{} // as connections were routed to them
	defer func() {
		for c := range tenants {
			c.Close()
		}
	}()
	visit := func(t *testing.T, client *openssl.Ctx, tenant string, offer *openssl.Session) (state openssl.ConnectionState, session *openssl.Session, err error) {
		c, s := conns(t, client, front)
		must(t, c.SetServerName(tenant))
		if offer != nil {
			must(t, c.SetSession(offer))
		}
		clientErr, serverErr := both(func() error {
			err := roundTrip(c, []byte("hello"))
			if err == nil {
				session = keep(t, c)
			}
			c.Close()
			return err
		}, func() error {
			defer s.Close()
			err := s.Handshake()
			state = s.ConnectionState()
			tenants[s.Ctx()] = true
			if err == nil {
				err = echo(s)
			}
			return err
		})
		return state, session, errors.Join(clientErr, serverErr)
	}
	for _, version := range versions {
		t.Run(version.name, func(t *testing.T) {
			client := bareClient(t)
			must(t, client.SetVerifyCAs(certs(t).pem))
			must(t, client.UseCertificate(clients["a.example"].leaf(t, "client.test", ecKey(t), nil)))
			setVersion(t, client, version.id)
			state, session, err := visit(t, client, "a.example", nil)
			if err != nil || state.DidResume {
				t.Fatalf("the first visit: resumed %v, %v", state.DidResume, err)
			}
			if state, _, err = visit(t, client, "a.example", session); err != nil || !state.DidResume {
				t.Errorf("again: resumed %v, %v", state.DidResume, err)
			}
			if state, _, err = visit(t, client, "b.example", session); err == nil || state.DidResume {
				t.Errorf("the other tenant: resumed %v, %v", state.DidResume, err)
			}
		})
	}
}
