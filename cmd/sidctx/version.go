package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/sidctx/openssl"
)

// version prints what the command was built from and which OpenSSL it uses.
func version(_ context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "version", "", "sidctx version", "printed", "the output could not be written", badUsage)
	if done, err := parse(flags, errOut, args); done || err != nil {
		return err
	}
	module := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		module = info.Main.Version
	}
	v := openssl.Version()
	fips := "off"
	if v.FIPS {
		fips = "on"
	}
	providers := strings.Join(v.Providers, ", ")
	if providers == "" {
		providers = "none"
	}
	_, err := fmt.Fprintf(out, "sidctx     %s, %s\nlinked     %s\ncompiled   %s\nproviders  %s\nFIPS       %s\n",
		module, runtime.Version(), v.Linked, v.Compiled, providers, fips)
	return err
}
