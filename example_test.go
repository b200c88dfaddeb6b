//go:build cgo

package openssl_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
)

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

// TestREADME: the server that README.md shows is the one that is compiled here.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	must(t, err)
	source, err := os.ReadFile("example_test.go")
	must(t, err)
	shown := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	body := regexp.MustCompile(`(?s)\nfunc Example\(\) \{\n(.*?)\n\}\n`).FindSubmatch(source)
	if shown == nil || body == nil {
		t.Fatal("README.md has no Go code, or this file no Example")
	}
	want := strings.ReplaceAll("\n"+string(body[1]), "\n\t", "\n")[1:] + "\n"
	if string(shown[1]) != want {
		t.Fatalf("README.md shows\n%s\ninstead of\n%s", shown[1], want)
	}
}
