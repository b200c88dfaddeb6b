package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
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

// errInconclusive reports that no session has crossed, and that this proves nothing.
var errInconclusive = errors.New("inconclusive")

// errNoConnection reports that no connection could be made.
var errNoConnection = errors.New("no connection")

const probeStatuses = `exit status:
  0  no session has crossed, and sessions were resumed at home
  1  a session has crossed from one host to another
  2  usage error
  3  inconclusive: nothing was resumed, a host has refused every visit, a version is not spoken
  4  no connection could be made`

// probe offers sessions of each virtual host of a server at the others. It fails
// if one of them is resumed there, and if it cannot be known that none is.
func probe(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "probe", "host:port -host name -host name [-cert name=cert.pem,key.pem] [-default name] [-versions 1.2,1.3] [-json] [-junit file] [-timeout 10s]",
		"sidctx probe www.example.com:443 -host www.example.com -host admin.example.com \\\n  -cert admin.example.com=client.crt,client.key\n\n"+probeStatuses)
	var hosts, certs repeated
	flags.Var(&hosts, "host", "the `name` of a virtual host; give two or more, all that must be kept apart")
	flags.Var(&certs, "cert", "a client certificate that a host accepts: `name=cert.pem,key.pem`")
	fallback := flags.String("default", "", "the `name` of the host, one of those given, that answers clients without a known name;\nneeded where several hosts present the same certificate")
	asJSON := flags.Bool("json", false, "print one JSON object")
	junit := flags.String("junit", "", "write the offers as test cases, in JUnit's XML, to a `file`")
	versions := flags.String("versions", "1.2,1.3", "the protocol versions to try: a server must speak each of them")
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
	if err == nil {
		target.Versions, err = parseVersions(*versions)
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		flags.Usage()
		return errUsage
	}
	report, err := engine.Run(ctx, target)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, new(tls.AlertError)):
		return fmt.Errorf("%w: %w", errInconclusive, err) // the server refuses each host
	case err != nil:
		return fmt.Errorf("%w: %w", errNoConnection, err)
	}
	if *junit != "" {
		if err := writeJUnit(*junit, report); err != nil {
			return err
		}
	}
	if *asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = printProbe(out, report)
	}
	if err != nil {
		return err
	}
	if crossings := report.Crossings(); len(crossings) > 0 {
		return fmt.Errorf("%d of %d offers crossed from one host to another", len(crossings), len(report.Rows))
	}
	return inconclusive(report)
}

// inconclusive returns why a report without a crossing proves nothing, nil if it does.
func inconclusive(report *engine.Report) error {
	var why []string
	for _, refusal := range report.Refused {
		why = append(why, fmt.Sprintf("%v: -cert %s=cert.pem,key.pem", refusal, refusal.Host))
	}
	for _, host := range report.OtherName {
		why = append(why, fmt.Sprintf("the certificate that is presented for %q is not valid for it: is that a name of the server?", host))
	}
	if n := len(report.Undecided()); n > 0 {
		why = append(why, fmt.Sprintf("undecided are %d of %d offers: give -default name, the host that answers clients without a known name", n, len(report.Rows)))
	}
	if !report.Resumes {
		why = append(why, "the server has resumed no session at all, not even at home")
	}
	for _, version := range report.NotSpoken {
		why = append(why, fmt.Sprintf("the server does not speak %s: leave it out of -versions", version))
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errInconclusive, strings.Join(why, "; "))
}

// parseVersions reads the flag -versions.
func parseVersions(list string) (versions []uint16, err error) {
	known := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	for name := range strings.SplitSeq(list, ",") {
		version, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("sidctx probe: -versions %q: give 1.2, 1.3 or both", list)
		}
		versions = append(versions, version)
	}
	return versions, nil
}

// writeJUnit writes each offer as a test case: one that crossed has failed, one of which
// it cannot be seen where it was resumed was skipped.
func writeJUnit(file string, report *engine.Report) error {
	type message struct {
		Message string `xml:"message,attr"`
	}
	type testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure"`
		Skipped *message `xml:"skipped"`
	}
	type suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Errors   int        `xml:"errors,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	s := suite{Name: "sidctx probe", Failures: len(report.Crossings()), Skipped: len(report.Undecided())}
	for _, row := range report.Rows {
		c := testCase{Class: row.Version + " " + row.Mechanism, Name: fmt.Sprintf("session of %q offered under %q (%s)", row.From, row.To, row.Kind)}
		if row.Crossing {
			c.Failure = &message{row.String()}
		} else if row.Undecided {
			c.Skipped = &message{row.String()}
		}
		s.Cases = append(s.Cases, c)
	}
	if err := inconclusive(report); err != nil { // so that a reader of the file does not take it for a proof
		s.Errors++
		s.Cases = append(s.Cases, testCase{Class: "probe", Name: "conclusive", Failure: &message{err.Error()}})
	}
	s.Tests = len(s.Cases)
	b, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(b, '\n')...), 0o644)
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
