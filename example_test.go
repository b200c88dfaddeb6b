//go:build cgo

package openssl_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

// Two tenants, each with clients of its own: a session that one has granted is
// resumed there and nowhere else. README.md shows what stands above the empty line.
func Example_tenants() {
	front, err := openssl.NewServerCtx()
	hosts := openssl.NewHosts()
	for _, tenant := range []string{"a.example", "b.example"} {
		ctx, failed := openssl.NewServerCtx()
		err = errors.Join(err, failed,
			ctx.UseCertificateFiles(tenant+".crt", tenant+".key"),
			ctx.LoadVerifyLocations(tenant+"-clients.crt", ""), // who signs the certificates of its clients
			ctx.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert),
			ctx.DeriveSessionIDContext(openssl.SessionPolicy{Label: tenant}), // a hash of all of this
			hosts.Add(tenant, ctx))
	}
	err = errors.Join(err, front.SetClientHelloFunc(hosts.Route)) // before resumption is decided

	serveTenants(front, err)
}

// serveTenants is what a program does with its Ctx.
var serveTenants = func(front *openssl.Ctx, err error) {
	if err != nil {
		log.Fatal(err)
	}
	l, err := openssl.Listen("tcp", ":8443", front)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, nil))
}

// A server that requires client certificates and resumes sessions within its
// own context alone. README.md shows it, too.
func Example() {
	ctx, err := openssl.NewServerCtx()
	if err != nil {
		log.Fatal(err)
	}
	err = errors.Join(
		ctx.UseCertificateFiles("server.crt", "server.key"),
		ctx.LoadVerifyLocations("clients-ca.crt", ""), // who signs the clients' certificates
		ctx.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert),
		ctx.SetSessionIDContext([]byte("payroll/1")), // where its sessions may be resumed
	)
	if err != nil {
		log.Fatal(err)
	}
	l, err := openssl.Listen("tcp", ":8443", ctx)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello, bearer of a certificate")
	})))
}

// TestREADME: the code that README.md shows is what is compiled here.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	must(t, err)
	source, err := os.ReadFile("example_test.go")
	must(t, err)
	var shown []string
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1) {
		shown = append(shown, string(block[1]))
	}
	var want []string
	for _, example := range []string{"Example_tenants", "Example"} {
		body := regexp.MustCompile(`(?s)\nfunc ` + example + `\(\) \{\n(.*?)\n(\n|\}\n)`).FindSubmatch(source)
		if body == nil {
			t.Fatalf("this file has no %s", example)
		}
		want = append(want, strings.ReplaceAll("\n"+string(body[1]), "\n\t", "\n")[1:]+"\n")
	}
	if !slices.Equal(shown, want) {
		t.Fatalf("README.md shows\n%s\ninstead of\n%s", strings.Join(shown, "---\n"), strings.Join(want, "---\n"))
	}
	if lines := strings.Count(want[0], "\n"); lines != 12 {
		t.Errorf("two tenants take %d lines, not the twelve that README.md speaks of", lines)
	}
}

// TestExampleTenants: the twelve lines of README.md do what it says of them.
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
	defer func(before func(*openssl.Ctx, error)) { serveTenants = before }(serveTenants)
	serveTenants = func(c *openssl.Ctx, err error) {
		must(t, err)
		front = c
	}
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
