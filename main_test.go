//go:build cgo

package openssl_test

import (
	"context"
	"crypto/tls"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestMain(m *testing.M) { tlstest.Main(m) }

// callArgs is what callAll passes where a plausible value of the type is not enough.
var callArgs = map[string][]any{
	"UseCertificateFiles": {"go.mod", "go.mod"},
	"LoadVerifyLocations": {"", "."},
	"SetSessionTimeout":   {time.Minute},
	"SetMaxAuthAge":       {time.Minute},
	"FlushSessions":       {time.Unix(1<<30, 0)},
	"SetTicketKeys":       {openssl.TicketKey{Name: [16]byte{1}, AES: [32]byte{2}, HMAC: [32]byte{3}}},
	"SetFleetTicketKeys":  {make([]byte, 32), time.Hour},
}

// callAll calls every method of v, those of later days, too, and has check look
// at what comes back from each that returns an error. A panic fails the test.
func callAll(t *testing.T, v any, args map[string][]any, check func(method string, err error), skip ...string) {
	t.Helper()
	value := reflect.ValueOf(v)
	for i := range value.NumMethod() {
		name := value.Type().Method(i).Name
		if slices.Contains(skip, name) {
			continue
		}
		method := value.Method(i)
		var in []reflect.Value
		for k := range method.Type().NumIn() {
			if given := args[name]; given != nil {
				in = append(in, reflect.ValueOf(given[k]))
			} else {
				in = append(in, plausible(method.Type().In(k), method.Type().IsVariadic() && k == method.Type().NumIn()-1))
			}
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s panics: %v", name, r)
				}
			}()
			out := method.Call(in)
			if n := len(out); n > 0 && method.Type().Out(n-1) == reflect.TypeFor[error]() {
				err, _ := out[n-1].Interface().(error)
				check(name, err)
			}
		}()
	}
}

// plausible is an argument that most methods accept.
func plausible(of reflect.Type, variadic bool) reflect.Value {
	if variadic {
		of = of.Elem()
	}
	switch {
	case of == reflect.TypeFor[context.Context]():
		return reflect.ValueOf(context.Background())
	case of == reflect.TypeFor[[]byte]():
		return reflect.ValueOf([]byte("x"))
	case of.Kind() == reflect.String:
		return reflect.ValueOf("x").Convert(of)
	case of.Kind() == reflect.Uint16:
		return reflect.ValueOf(uint16(tls.VersionTLS12)).Convert(of)
	case of.ConvertibleTo(reflect.TypeFor[int]()):
		return reflect.ValueOf(1).Convert(of)
	}
	return reflect.Zero(of)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
