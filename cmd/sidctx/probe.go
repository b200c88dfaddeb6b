package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	engine "github.com/sidctx/openssl/probe"
)

// repeated is a flag that may be given more than once.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, ", ") }
func (r *repeated) Set(s string) error { *r = append(*r, s); return nil }

// errInconclusive reports that no session was seen to cross, and that this proves nothing.
var errInconclusive = errors.New("inconclusive")

// probe offers sessions of each virtual host of a server at the others. It fails
// if one of them is resumed there, and if that none was proves nothing.
func probe(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "probe", "host:port -host name -host name [-cert name=cert.pem,key.pem] [-default name] [-tls version] [-json] [-junit file] [-timeout 10s]",
		"sidctx probe www.example.com:443 -host www.example.com -host admin.example.com \\\n  -cert admin.example.com=client.crt,client.key",
		"no session has crossed, and sessions were resumed at the hosts that made them",
		"a session has crossed from one host to another", badUsage,
		"inconclusive: nothing was resumed, a host refused every visit or is unknown to the\n     server, a protocol version is not spoken, or the results could not be written",
		"no TLS server has answered")
	var hosts, certs repeated
	flags.Var(&hosts, "host", "the `name` of a virtual host; give two or more, all that must be kept apart")
	flags.Var(&certs, "cert", "a client certificate that a host accepts: `name=cert.pem,key.pem`")
	fallback := flags.String("default", "", "the `name` of the host, one of those given, that answers clients without a known name;\nneeded where several hosts present the same certificate")
	asJSON := flags.Bool("json", false, "print one JSON object")
	var versions tlsVersions
	flags.Var(&versions, "tls", "a protocol `version` that the server is meant to speak, 1.2 or 1.3; may be given twice (default both)")
	junitFile := flags.String("junit", "", "also write a JUnit report to this `file`, a test case for each offer")
	timeout := flags.Duration("timeout", 10*time.Second, "the limit for each connection")
	// The address stands first, where flag would stop reading.
	var addr string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		addr, args = args[0], args[1:]
	}
	if done, err := parse(flags, errOut, args); done || err != nil {
		return err
	}
	target, err := probeTarget(addr, hosts, certs, *fallback, *timeout)
	if err != nil {
		fmt.Fprintln(errOut, err)
		flags.Usage()
		return errUsage
	}
	target.Versions = versions
	var results *os.File
	if *junitFile != "" {
		if results, err = os.Create(*junitFile); err != nil {
			fmt.Fprintf(errOut, "sidctx probe: %v\n", err)
			return errUsage
		}
		defer results.Close()
	}
	report, err := engine.Run(ctx, target)
	if results != nil {
		if jerr := errors.Join(writeJUnit(results, target, report, err), results.Close()); jerr != nil {
			return fmt.Errorf("%w: %w", errInconclusive, jerr)
		}
	}
	if errors.Is(err, engine.ErrConnect) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", errInconclusive, err)
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = printProbe(out, report)
	}
	// A crossing is one although the report could not be printed.
	for _, why := range report.Inconclusive {
		fmt.Fprintf(errOut, "note: %s\n", why)
	}
	if crossings := report.Crossings(); len(crossings) > 0 {
		return errors.Join(fmt.Errorf("%d of %d offers crossed from one host to another", len(crossings), len(report.Rows)), err)
	}
	undecided := report.Undecided()
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errInconclusive, err)
	case len(undecided) > 0:
		return fmt.Errorf("%w: %d of %d offers are undecided: %s", errInconclusive, len(undecided), len(report.Rows), undecided[0].Why)
	case len(report.Inconclusive) > 0:
		return fmt.Errorf("%w: no session has crossed in %d offers, which proves nothing: see above", errInconclusive, len(report.Rows))
	}
	return nil
}

// tlsVersions is a flag that lists protocol versions.
type tlsVersions []uint16

func (v *tlsVersions) String() string { return "" }

func (v *tlsVersions) Set(s string) error {
	switch s {
	case "1.2":
		*v = append(*v, tls.VersionTLS12)
	case "1.3":
		*v = append(*v, tls.VersionTLS13)
	default:
		return errors.New("give 1.2 or 1.3")
	}
	return nil
}

func probeTarget(addr string, hosts, certs []string, fallback string, timeout time.Duration) (target engine.Target, err error) {
	if addr == "" {
		return target, errors.New("sidctx probe: no address: give host:port first")
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return target, fmt.Errorf("sidctx probe: %q is not host:port", addr)
	}
	if len(hosts) < 2 {
		return target, errors.New("sidctx probe: give -host for two names or more")
	}
	if timeout <= 0 {
		return target, fmt.Errorf("sidctx probe: -timeout %v is no time: give more than 0", timeout)
	}
	target.Addr, target.Timeout, target.Default = addr, timeout, fallback
	for _, name := range hosts {
		target.Hosts = append(target.Hosts, engine.Host{Name: name})
	}
	for _, c := range certs {
		name, files, ok := strings.Cut(c, "=")
		certFile, keyFile, two := strings.Cut(files, ",")
		if !ok || !two {
			return target, fmt.Errorf("sidctx probe: -cert %q is not name=cert.pem,key.pem", c)
		}
		var found bool
		for i := range target.Hosts {
			h := &target.Hosts[i]
			if h.Name != name {
				continue
			}
			found = true
			if h.CertPEM, err = os.ReadFile(certFile); err != nil {
				return target, fmt.Errorf("sidctx probe: %w", err)
			}
			if h.KeyPEM, err = os.ReadFile(keyFile); err != nil {
				return target, fmt.Errorf("sidctx probe: %w", err)
			}
		}
		if !found {
			return target, fmt.Errorf("sidctx probe: -cert for %q, which is no -host", name)
		}
	}
	return target, target.Check()
}

func printProbe(out io.Writer, report *engine.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "protocol\tmechanism\tsession of\toffered under\tname\toutcome\tverdict")
	for _, r := range report.Rows {
		verdict := "ok"
		switch {
		case r.Crossing:
			verdict = "CROSSING: " + r.Why
		case r.Undecided:
			verdict = "UNDECIDED: " + r.Why
		}
		from, to := cmp.Or(r.From, "-"), cmp.Or(r.To, "-")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Version, r.Mechanism, from, to, r.Kind, r.Outcome, verdict)
	}
	return w.Flush()
}
