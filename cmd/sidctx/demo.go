package main

import (
	"bufio"
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/sidctx/openssl"
)

// demo makes, for every row of its table, a server with two tenants, a.test and
// b.test, that require client certificates. A client visits one tenant, then
// offers the session that it was given to the same tenant or to the other one.
// What both ends report is compared with a table that was written by hand.
func demo(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "demo", "[-break]", "sidctx demo         # 32 rows, exit status 0\nsidctx demo -break  # the same with one context for both: exit status 1",
		"every attempt came out as expected", "an attempt did not, or could not be made", badUsage)
	broken := flags.Bool("break", false, "give both tenants one session id context: the demo must fail")
	if done, err := parse(flags, errOut, args); done || err != nil {
		return err
	}
	expected, err := parseExpected(expectedText)
	if err != nil {
		return err
	}
	version, err := opensslVersion(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sidctx-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	certs, err := newPKI(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{serverName("a"), serverName("b"), clientName} {
		if err := certs.leaf(name); err != nil {
			return err
		}
	}

	contexts := map[string]string{"a": "tenant a", "b": "tenant b"}
	if *broken {
		contexts["b"] = contexts["a"]
	}
	fmt.Fprintf(out, "Tenant a has the session id context %q, tenant b has %q.\n", contexts["a"], contexts["b"])
	fmt.Fprintf(out, "Both require client certificates. s_client is that of %s.\n\n", version)

	colour := paintFor(out)
	fmt.Fprintln(out, colour.in(bold, fmt.Sprintf(rowFormat,
		"protocol", "mechanism", "client", "context", "expected", "client says", "server says", "verdict")))
	var wrong []string
	for _, a := range attempts() {
		e := &experiment{attempt: a, certs: certs, contexts: contexts}
		got, err := e.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		verdict := colour.in(green, "ok")
		if why := differs(expected[a], got, err); why != "" {
			verdict = colour.in(red, "DIFFERS")
			wrong = append(wrong, fmt.Sprintf("  %s: %s", a, why))
		}
		fmt.Fprintf(out, rowFormat+"\n", a.protocol, a.mechanism, a.client, a.pair(),
			expected[a], got.client, got.server, verdict)
	}
	fmt.Fprintln(out)
	if len(wrong) > 0 {
		return fmt.Errorf("%d of %d rows differ from what must happen:\n%s",
			len(wrong), len(expected), strings.Join(wrong, "\n"))
	}
	fmt.Fprintf(out, "%d rows, all as expected: sessions are resumed within their context and nowhere else.\n", len(expected))
	return nil
}

// rowFormat: the columns hold their longest words.
const rowFormat = "%-8s  %-9s  %-8s  %-7s  %-8s  %-11s  %-11s  %s"

// attempt is one row: how, and with whom.
type attempt struct {
	protocol, mechanism, client string
	first, second               string // tenants
}

func (a attempt) pair() string { return a.first + " -> " + a.second }

func (a attempt) String() string {
	return strings.Join([]string{a.protocol, a.mechanism, a.client, a.pair()}, " ")
}

// attempts is every combination, in the order of the table.
func attempts() (all []attempt) {
	for _, protocol := range []string{"TLS1.2", "TLS1.3"} {
		for _, mechanism := range []string{ticket, stateful} {
			for _, client := range []string{"library", "s_client"} {
				for _, pair := range []string{"aa", "ab", "bb", "ba"} {
					all = append(all, attempt{protocol, mechanism, client, pair[:1], pair[1:]})
				}
			}
		}
	}
	return all
}

var protocols = map[string]uint16{"TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

const (
	ticket   = "ticket"   // the client holds the session, sealed by the server
	stateful = "stateful" // the server holds it, the client a name for it
)

// outcome is how one end of a second visit says that it went.
type outcome string

const (
	resumed outcome = "resumed"
	full    outcome = "full" // a full handshake
	failed  outcome = "failed"
)

func outcomeOf(didResume bool) outcome {
	if didResume {
		return resumed
	}
	return full
}

// reported is what both ends say of a second visit.
type reported struct{ client, server outcome }

// differs describes what is wrong with a row. It is empty if the row is as expected.
func differs(want outcome, got reported, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case got.client != want || got.server != want:
		return fmt.Sprintf("expected %s, the client says %s, the server says %s", want, got.client, got.server)
	}
	return ""
}

//go:embed testdata/demo.txt
var expectedText string

// parseExpected reads the table, which must name every attempt once.
func parseExpected(text string) (map[attempt]outcome, error) {
	const file = "testdata/demo.txt"
	known := map[attempt]bool{}
	for _, a := range attempts() {
		known[a] = true
	}
	expected := map[attempt]outcome{}
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 6 {
			return nil, fmt.Errorf("%s:%d: %d words where 6 belong", file, i+1, len(f))
		}
		a, o := attempt{f[0], f[1], f[2], f[3], f[4]}, outcome(f[5])
		_, twice := expected[a]
		switch {
		case !known[a]:
			return nil, fmt.Errorf("%s:%d: %s is no attempt of the demo", file, i+1, a)
		case twice:
			return nil, fmt.Errorf("%s:%d: %s stands there twice", file, i+1, a)
		case o != resumed && o != full:
			return nil, fmt.Errorf("%s:%d: %q is neither %q nor %q", file, i+1, o, resumed, full)
		}
		expected[a] = o
	}
	for _, a := range attempts() {
		if _, ok := expected[a]; !ok {
			return nil, fmt.Errorf("%s: %s is missing", file, a)
		}
	}
	return expected, nil
}

// clientName is the common name of the client's certificate.
const clientName = "client"

func serverName(tenant string) string { return tenant + ".test" }

// experiment is an attempt with a server and a client of its own: rows share
// no ticket key and no session cache.
type experiment struct {
	attempt
	certs    *pki
	contexts map[string]string // of the tenants
}

// visitTimeout is far beyond what two handshakes on a loopback wire take.
const visitTimeout = 20 * time.Second

func (e *experiment) run(ctx context.Context) (reported, error) {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	got := reported{failed, failed}
	server, err := e.serve(ctx)
	if err != nil {
		return got, fmt.Errorf("server: %w", err)
	}
	defer server.close()
	client, err := e.newClient()
	if err != nil {
		return got, fmt.Errorf("client: %w", err)
	}
	defer client.close()
	for i, tenant := range []string{e.first, e.second} {
		mine, theirs, err := server.meet(ctx, client, tenant)
		if err == nil {
			err = e.check(tenant, i == 0, mine, theirs)
		}
		if err != nil {
			return reported{failed, failed}, fmt.Errorf("visit %d, to tenant %s: %w", i+1, tenant, err)
		}
		got = reported{outcomeOf(mine.resumed), outcomeOf(theirs.state.DidResume)}
	}
	return got, nil
}

// visit is what a client says of one connection.
type visit struct {
	resumed bool
	session []byte // in DER, what a later visit offers
}

// visitor is a client. Each visit offers what the one before it was given.
type visitor interface {
	visit(ctx context.Context, addr, serverName string) (visit, error)
	close()
}

func (e *experiment) newClient() (visitor, error) {
	if e.client == "s_client" {
		return newSClient(e.certs, protocols[e.protocol]), nil
	}
	return newLibraryClient(e.certs, protocols[e.protocol])
}

// check holds a visit against what the row says it is, so that no row can be
// right by accident: another protocol, another mechanism, a client unknown.
func (e *experiment) check(tenant string, first bool, mine visit, theirs met) error {
	state := theirs.state
	switch {
	case first && (mine.resumed || state.DidResume):
		return errors.New("a first visit was resumed")
	case state.Version != protocols[e.protocol]:
		return fmt.Errorf("the server speaks %s", tls.VersionName(state.Version))
	case theirs.asked != serverName(tenant):
		return fmt.Errorf("the server was asked for %q", theirs.asked)
	case string(state.SessionIDContext) != e.contexts[tenant]:
		return fmt.Errorf("the server's session is of context %q", state.SessionIDContext)
	case len(state.PeerCertificates) == 0 || state.PeerCertificates[0].Subject.CommonName != clientName:
		return errors.New("the server does not know the client")
	}
	if !first {
		return nil
	}
	mechanism, err := mechanismOf(mine.session)
	if err != nil {
		return fmt.Errorf("the client's session: %w", err)
	}
	if mechanism != e.mechanism {
		return fmt.Errorf("the client's session is %s", mechanism)
	}
	return nil
}

// mechanismOf tells a session that the client holds from one that it can only
// name: field 10 of OpenSSL's form is the ticket. A stateful one of TLS 1.3 is
// the session id, of 32 bytes; TLS 1.2 has none.
func mechanismOf(session []byte) (string, error) {
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(session, &seq); err != nil {
		return "", err
	}
	for rest := seq.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return "", err
		}
		if field.Class != asn1.ClassContextSpecific || field.Tag != 10 {
			continue
		}
		var sealed []byte
		if _, err := asn1.Unmarshal(field.Bytes, &sealed); err != nil {
			return "", err
		}
		if len(sealed) > 32 {
			return ticket, nil
		}
	}
	return stateful, nil
}

// tenants is a server for one client.
type tenants struct {
	listener net.Listener
	ctxs     []*openssl.Ctx
	asked    string // for the connection at hand
	met      chan met
	done     chan struct{} // the server has ended
}

// met is what the server says of one connection.
type met struct {
	asked string // the tenant's server name, as the ClientHello has it
	state openssl.ConnectionState
	err   error
}

// greeting is what the server says once a connection stands. In TLS 1.3 it
// follows the tickets, so that a client that has read it has them.
const greeting = "welcome to "

// serve starts a server. Which tenant is meant is decided in the ClientHello:
// later than that the session has been taken up already.
func (e *experiment) serve(ctx context.Context) (t *tenants, err error) {
	t = &tenants{met: make(chan met, 1), done: make(chan struct{})}
	defer func() {
		if err != nil {
			t.closeCtxs()
		}
	}()
	front, err := t.newCtx(e.protocol, e.mechanism)
	if err != nil {
		return nil, err
	}
	hosts := map[string]*openssl.Ctx{}
	for tenant, sidCtx := range e.contexts {
		c, err := t.newCtx(e.protocol, e.mechanism)
		if err != nil {
			return nil, err
		}
		name := serverName(tenant)
		ca, err := os.ReadFile(e.certs.certFile("ca"))
		if err := errors.Join(err,
			c.UseCertificateFiles(e.certs.certFile(name), e.certs.keyFile(name)),
			c.SetClientCAs(ca),
			c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert),
			c.SetSessionIDContext([]byte(sidCtx)),
		); err != nil {
			return nil, err
		}
		hosts[name] = c
	}
	err = front.SetClientHelloFunc(func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
		t.asked = hello.ServerName
		if c := hosts[hello.ServerName]; c != nil {
			return c, nil
		}
		const unrecognizedName tls.AlertError = 112
		return nil, fmt.Errorf("no tenant is called %q: %w", hello.ServerName, unrecognizedName)
	})
	if err != nil {
		return nil, err
	}
	if t.listener, err = openssl.Listen("tcp", "127.0.0.1:0", front); err != nil {
		return nil, err
	}
	go t.run(ctx)
	return t, nil
}

func (t *tenants) newCtx(protocol, mechanism string) (*openssl.Ctx, error) {
	c, err := openssl.NewServerCtx()
	if err != nil {
		return nil, err
	}
	t.ctxs = append(t.ctxs, c)
	version := protocols[protocol]
	err = errors.Join(c.SetMinVersion(version), c.SetMaxVersion(version))
	if mechanism == stateful {
		err = errors.Join(err, c.SetOptions(openssl.OptionNoTicket))
	}
	return c, err
}

func (t *tenants) run(ctx context.Context) {
	defer close(t.done)
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return // it is closed
		}
		state, err := t.greet(ctx, conn.(*openssl.Conn))
		select {
		case t.met <- met{t.asked, state, err}:
		case <-ctx.Done():
			return
		}
	}
}

// greet serves one connection, until the client says goodbye.
func (t *tenants) greet(ctx context.Context, conn *openssl.Conn) (state openssl.ConnectionState, err error) {
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return state, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	state = conn.ConnectionState()
	if _, err := fmt.Fprintf(conn, "%s%s\n", greeting, t.asked); err != nil {
		return state, err
	}
	_, err = io.Copy(io.Discard, conn)
	return state, err
}

// meet has the client visit a tenant and gives what each end says of it.
func (t *tenants) meet(ctx context.Context, client visitor, tenant string) (mine visit, theirs met, err error) {
	mine, err = client.visit(ctx, t.listener.Addr().String(), serverName(tenant))
	if err != nil {
		t.listener.Close() // the server does not wait for another client
	}
	select {
	case theirs = <-t.met:
	case <-t.done:
		theirs.err = errors.New("it has accepted no connection")
	case <-ctx.Done():
		theirs.err = ctx.Err()
	}
	switch {
	case err != nil && theirs.err != nil:
		err = fmt.Errorf("client: %w; server: %w", err, theirs.err)
	case theirs.err != nil:
		err = fmt.Errorf("server: %w", theirs.err)
	case err != nil:
		err = fmt.Errorf("client: %w", err)
	}
	return mine, theirs, err
}

func (t *tenants) close() {
	t.listener.Close()
	t.closeCtxs() // connections go on
}

func (t *tenants) closeCtxs() {
	for _, c := range t.ctxs {
		c.Close()
	}
}

// libraryClient is this library's end.
type libraryClient struct {
	ctx  *openssl.Ctx
	sess *openssl.Session // nil before the first visit
}

func newLibraryClient(certs *pki, version uint16) (*libraryClient, error) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		c.LoadVerifyLocations(certs.certFile("ca"), ""),
		c.UseCertificateFiles(certs.certFile(clientName), certs.keyFile(clientName)),
		c.SetMinVersion(version),
		c.SetMaxVersion(version),
	); err != nil {
		c.Close()
		return nil, err
	}
	return &libraryClient{ctx: c}, nil
}

func (l *libraryClient) visit(ctx context.Context, addr, name string) (v visit, err error) {
	dialer := openssl.Dialer{Ctx: l.ctx, ServerName: name, Session: l.sess}
	wire, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return v, err
	}
	conn := wire.(*openssl.Conn)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return v, err
	}
	if !strings.HasPrefix(line, greeting) {
		return v, fmt.Errorf("the server has said %q", line)
	}
	v.resumed = conn.ConnectionState().DidResume
	sess, err := conn.Session()
	if err != nil {
		return v, err
	}
	l.forget()
	l.sess = sess
	v.session, err = sess.MarshalBinary()
	return v, err
}

func (l *libraryClient) forget() {
	if l.sess != nil {
		l.sess.Close()
	}
}

func (l *libraryClient) close() {
	l.forget()
	l.ctx.Close()
}
