// Package probe asks a running TLS server whether its sessions cross from one
// virtual host to another. It connects as an ordinary client, takes a session at
// each host, and offers it under every other name: those of the other hosts, no
// name at all, an unknown name, and the same name in other letters. It also takes
// sessions under no name and under an unknown one, without a certificate, and
// offers them at each host. The server may be written in any language.
//
// It is what the command sidctx probe runs. In a test, use package sessiontest,
// which reports each crossing as a failure.
package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sidctx/openssl"
)

// Target describes a server and the hosts that it must keep apart.
type Target struct {
	Network string // empty means "tcp"
	Addr    string // host:port
	Hosts   []Host // two or more, each with a policy of its own

	// Default is the name of the host, one of Hosts, that answers clients that send no
	// server name or an unknown one. It is needed only where several hosts present the
	// same certificate, so that it cannot be seen which of them has answered: offers
	// that depend on it are undecided then. If none of Hosts answers, add a host under
	// any name that the server does not know, and give that.
	Default string

	// Greeting returns the bytes to send after the handshake, so that the server
	// answers: many TLS 1.3 servers send their tickets only then. If it is nil, an
	// HTTP request for the host is sent; the answer does not matter, except that
	// a status of 421 is noted.
	Greeting func(host string) []byte
	// Versions are the protocol versions that every host is meant to speak. Nil means
	// TLS 1.2 and 1.3. If a host does not speak one of them, the report is inconclusive.
	Versions []uint16
	// Timeout limits each connection. Zero means 10 seconds.
	Timeout time.Duration
}

// Host describes one virtual host.
type Host struct {
	Name string // the server name to ask for
	// CertPEM and KeyPEM hold a client certificate that the host accepts, with its
	// private key. Leave them nil if the host asks for none.
	CertPEM, KeyPEM []byte
}

// Row describes one offer of a session and its outcome.
type Row struct {
	Version   string `json:"version"`   // "TLS 1.2"
	Mechanism string `json:"mechanism"` // "ticket", "id", "psk"
	From      string `json:"from"`      // the name under which the session was made, "" for none
	To        string `json:"to"`        // the name under which it was offered, "" for none
	Kind      string `json:"kind"`      // "same", "other", "absent", "unknown", "odd"; "host" if From is no host's name
	Outcome   string `json:"outcome"`   // "resumed", "full", "refused: ...", "resumed, then 421"
	Crossing  bool   `json:"crossing"`
	Undecided bool   `json:"undecided,omitempty"` // whether it is a crossing cannot be seen from outside, or the server did not answer
	Why       string `json:"why,omitempty"`       // why it is a crossing, or undecided and what to give
}

// Report holds the results of one call of [Run].
type Report struct {
	Rows []Row `json:"rows"`
	// Resumes reports whether the server resumed at least one session at the host
	// that granted it. If it is false, the absence of crossings proves nothing.
	Resumes bool `json:"resumes"`
	// Refused lists the hosts that refused every connection, in every protocol
	// version, so that no session of theirs could be offered anywhere.
	Refused []Refusal `json:"refused,omitempty"`
	// Inconclusive lists why the absence of crossings proves nothing, a sentence each:
	// no session was resumed at home, a host refused every connection, does not speak
	// a protocol version of Target.Versions, or seems to be unknown to the server.
	// Rows that are undecided come in addition, see [Report.Undecided].
	Inconclusive []string `json:"inconclusive,omitempty"`
}

// ErrConnect is what the error of [Run] wraps if no TLS server answers at the address.
var ErrConnect = errors.New("no TLS server has answered")

// Refusal describes a host that refused every connection.
type Refusal struct {
	Host string `json:"host"`
	Why  string `json:"why"` // the reason of the last refusal
}

// String describes the refusal and what to do about it.
func (r Refusal) String() string {
	return fmt.Sprintf("host %q has refused every visit (%s): no session of it could be made; give a client certificate that it accepts, or the name as the server knows it", r.Host, r.Why)
}

// Crossings returns the rows in which a session was resumed by another host than
// the one that granted it.
func (r *Report) Crossings() []Row {
	return r.where(func(row Row) bool { return row.Crossing })
}

// Undecided returns the rows in which a session was resumed and it cannot be seen
// by which host (see [Target.Default]), and those in which the server could not be
// reached any more. A report with such rows proves nothing about them.
func (r *Report) Undecided() []Row {
	return r.where(func(row Row) bool { return row.Undecided })
}

func (r *Report) where(holds func(Row) bool) (rows []Row) {
	for _, row := range r.Rows {
		if holds(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

// String describes the row in one sentence.
func (r Row) String() string {
	name := func(name string) string {
		if name == "" {
			return "no server name"
		}
		return strconv.Quote(name)
	}
	s := fmt.Sprintf("%s %s: a session of %s offered under %s: %s", r.Version, r.Mechanism, name(r.From), name(r.To), r.Outcome)
	if r.Why != "" {
		s += ": " + r.Why
	}
	return s
}

// way is a protocol and a means of resuming in it.
type way struct {
	version   uint16
	mechanism string
	options   openssl.Options
}

var ways = []way{
	{tls.VersionTLS12, "ticket", 0},
	{tls.VersionTLS12, "id", openssl.OptionNoTicket},
	{tls.VersionTLS13, "psk", 0}, // whether it is a ticket or an id is for the server to know
}

// Run offers sessions of each host of target at the others and reports what came
// of each offer. It returns an error if target is incomplete, if ctx ends, or, an
// [ErrConnect], if no TLS server answers at the address; what the server does with a
// session is no error but a [Row]. A protocol version that the server does not speak
// has no rows.
// Run may be called from several goroutines at once.
func Run(ctx context.Context, target Target) (*Report, error) {
	if target.Network == "" {
		target.Network = "tcp"
	}
	if target.Timeout == 0 {
		target.Timeout = 10 * time.Second
	}
	if target.Greeting == nil {
		target.Greeting = func(host string) []byte {
			return []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		}
	}
	if err := target.Check(); err != nil {
		return nil, err
	}
	p := &run{Target: target, report: &Report{Rows: []Row{}}, in: make(map[string]bool), out: make(map[door]visited), leaves: make(map[door][]byte)}
	for _, w := range ways {
		if target.Versions != nil && !slices.Contains(target.Versions, w.version) {
			continue
		}
		if err := p.try(ctx, w); err != nil {
			return nil, err
		}
	}
	if err := p.conclude(ctx); err != nil {
		return nil, err
	}
	return p.report, nil
}

// Check reports what is missing in t or contradicts itself, and returns nil if t
// can be used. It makes no connection. [Run] calls it first.
func (t Target) Check() error {
	if t.Addr == "" {
		return errors.New("probe: no address: give host:port")
	}
	if t.Timeout < 0 {
		return fmt.Errorf("probe: a timeout of %v: give 0 for 10 s, or more than that", t.Timeout)
	}
	if t.Versions != nil && len(t.Versions) == 0 {
		return errors.New("probe: no protocol version: give TLS 1.2, TLS 1.3, or nil for both")
	}
	for _, v := range t.Versions {
		if !slices.ContainsFunc(ways, func(w way) bool { return w.version == v }) {
			return fmt.Errorf("probe: %s cannot be probed: give TLS 1.2, TLS 1.3, or nil for both", tls.VersionName(v))
		}
	}
	if len(t.Hosts) < 2 {
		return errors.New("probe: fewer than two hosts: give the names that must be kept apart")
	}
	seen := make(map[string]bool)
	for _, h := range t.Hosts {
		name, err := openssl.NormalizeHost(h.Name)
		switch {
		case net.ParseIP(h.Name) != nil:
			return fmt.Errorf("probe: host %q: addresses are never sent as server names: give a name", h.Name)
		case strings.Contains(h.Name, ":"):
			return fmt.Errorf("probe: host %q: a port is no part of a name: give it in the address", h.Name)
		case err != nil:
			return fmt.Errorf("probe: host %q: give a name as clients ask for it: %w", h.Name, err)
		case seen[name]:
			return fmt.Errorf("probe: host %q is named twice: give each once", h.Name)
		}
		seen[name] = true
		if err := h.checkCertificate(); err != nil {
			return fmt.Errorf("probe: host %q: give a certificate and its key in PEM: %w", h.Name, err)
		}
	}
	if t.Default != "" && !seen[normal(t.Default)] {
		return fmt.Errorf("probe: the default host %q is none of the hosts: give the name of one of them", t.Default)
	}
	return nil
}

// normal is a name to compare with another.
func normal(name string) string {
	normal, _ := openssl.NormalizeHost(name)
	return normal
}

func (h *Host) checkCertificate() error {
	if h.CertPEM == nil && h.KeyPEM == nil {
		return nil
	}
	c, err := openssl.NewClientCtx()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.UseCertificate(h.CertPEM, h.KeyPEM)
}

// run is one call of Run.
type run struct {
	Target
	report *Report
	in     map[string]bool  // hosts that have let us in
	out    map[door]visited // how hosts have refused, the last time
	leaves map[door][]byte  // the certificates of hosts
}

// door is a host in one way of resuming.
type door struct {
	w    way
	name string
}

// unknown is a name that no server has (RFC 6761).
const unknown = "nobody.invalid"

// offer is a name to offer a session under.
type offer struct{ kind, name string }

func (p *run) offers(home Host) []offer {
	if home.Name == "" || home.Name == unknown {
		var offers []offer
		for _, h := range p.Hosts {
			offers = append(offers, offer{"host", h.Name})
		}
		return offers
	}
	offers := []offer{{"same", home.Name}}
	for _, h := range p.Hosts {
		if h.Name != home.Name {
			offers = append(offers, offer{"other", h.Name})
		}
	}
	offers = append(offers, offer{"absent", ""}, offer{"unknown", "nobody." + home.Name})
	for _, odd := range []string{strings.ToUpper(home.Name), strings.ToLower(home.Name)} {
		if odd != home.Name {
			offers = append(offers, offer{"odd", odd})
		}
	}
	return offers
}

// try probes one way of resuming.
func (p *run) try(ctx context.Context, w way) error {
	for _, home := range append(slices.Clone(p.Hosts), Host{}, Host{Name: unknown}) {
		for _, o := range p.offers(home) {
			first := p.visit(ctx, w, home.Name, &home, nil)
			if err := ctx.Err(); err != nil {
				first.session.Close()
				return err
			}
			if first.err != nil {
				first.session.Close()
				p.out[door{w, home.Name}] = first
				break // the host does not speak this version, or refuses us
			}
			p.leaves[door{w, home.Name}] = first.leaf
			if o.kind != "host" {
				p.in[home.Name] = true
			}
			if first.session == nil || w.mechanism == "ticket" && !hasTicket(first.session) {
				first.session.Close()
				break // no session of this kind, nothing to cross
			}
			row, err := p.offer(ctx, w, home, o, first)
			first.session.Close()
			if err != nil {
				return err
			}
			p.report.Rows = append(p.report.Rows, row)
			p.report.Resumes = p.report.Resumes || o.kind == "same" && row.Outcome == "resumed"
		}
	}
	return ctx.Err()
}

// hasTicket tells a session with a ticket from one that the server keeps: it is
// field 10 of OpenSSL's form.
func hasTicket(s *openssl.Session) bool {
	der, err := s.MarshalBinary()
	var fields asn1.RawValue
	if err == nil {
		_, err = asn1.Unmarshal(der, &fields)
	}
	for rest := fields.Bytes; err == nil && len(rest) > 0; {
		var field asn1.RawValue
		rest, err = asn1.Unmarshal(rest, &field)
		if err == nil && field.Class == asn1.ClassContextSpecific && field.Tag == 10 {
			return true
		}
	}
	return false
}

// offer comes back with the session and without a certificate, as a client would
// that has stolen a session but not the key.
func (p *run) offer(ctx context.Context, w way, home Host, o offer, first visited) (Row, error) {
	second := p.visit(ctx, w, o.name, nil, first.session)
	second.session.Close()
	row := Row{
		Version: tls.VersionName(w.version), Mechanism: w.mechanism,
		From: home.Name, To: o.name, Kind: o.kind, Outcome: second.outcome(),
	}
	if errors.As(second.err, new(unreachable)) {
		row.Undecided, row.Why = true, notAnswered
	} else if second.err == nil && second.resumed && !second.misdirected() {
		p.judge(ctx, w, home, first, &row)
	}
	return row, ctx.Err()
}

// judge says whether a session that was resumed is at home there: where does that name
// lead without a session?
func (p *run) judge(ctx context.Context, w way, home Host, first visited, row *Row) {
	var lost bool
	fresh := func(name string, as *Host) visited {
		v := p.visit(ctx, w, name, as, nil)
		v.session.Close()
		if errors.As(v.err, new(unreachable)) {
			lost = true
		}
		return v
	}
	defer func() {
		if lost { // what looks like a refusal may be none
			row.Crossing, row.Undecided, row.Why = false, true, notAnswered
		}
	}()
	crosses := func(why string) { row.Crossing, row.Why = true, why }
	switch row.Kind {
	case "other":
		if fresh(row.To, nil).err != nil {
			crosses("that host refuses a client without a certificate, and has been entered by one")
		} else {
			crosses("that is another host")
		}
	case "host":
		there := fresh(row.To, nil)
		switch {
		case there.err != nil:
			crosses("that host refuses a client without a certificate, and has been entered by one")
		case !bytes.Equal(there.leaf, first.leaf):
			crosses("that host has another certificate")
		default:
			p.judgeDefault(ctx, w, row.To, first.leaf, row)
		}
	case "odd", "absent", "unknown":
		// A spelling that means home leads there as who has made the session.
		there := fresh(row.To, &home)
		switch {
		case there.err != nil:
			crosses("without a session that name is refused")
		case !bytes.Equal(there.leaf, first.leaf):
			crosses("without a session that name leads to another certificate")
		case row.Kind == "odd": // names are the same whatever their letters
		case home.CertPEM != nil && (fresh(row.To, nil).err == nil) != (fresh(home.Name, nil).err == nil):
			crosses("without a session and a certificate one of the two lets clients in and the other refuses them")
		default:
			p.judgeDefault(ctx, w, home.Name, first.leaf, row)
		}
	}
}

// judgeDefault judges a session that has gone from a host to the default or back, where
// both present the same certificate.
func (p *run) judgeDefault(ctx context.Context, w way, host string, leaf []byte, row *Row) {
	if p.Default != "" {
		if normal(p.Default) != normal(host) {
			row.Crossing, row.Why = true, fmt.Sprintf("the default is %q, which is another host", p.Default)
		}
		return
	}
	var sharing []string
	for _, h := range p.Hosts {
		at := door{w, h.Name}
		if p.leaves[at] == nil {
			v := p.visit(ctx, w, h.Name, &h, nil)
			v.session.Close()
			p.leaves[at] = v.leaf
		}
		if bytes.Equal(p.leaves[at], leaf) {
			sharing = append(sharing, strconv.Quote(h.Name))
		}
	}
	if len(sharing) > 1 {
		row.Undecided, row.Why = true, fmt.Sprintf("hosts %s present one certificate, so that it cannot be seen which of them is the default: "+
			"give the name of the one that is (Default, -default name)", strings.Join(sharing, " and "))
	}
}

// visited is what one connection came to.
type visited struct {
	resumed bool
	session *openssl.Session // nil without one
	leaf    []byte
	answer  string // of HTTP: its status line
	err     error
}

const notAnswered = "the server has not answered"

// unreachable is the error of a visit that the server did not answer: no connection, or
// no answer in time. That proves nothing, unlike a refusal.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// misdirected is whether HTTP has refused what TLS has not: the server knows
// that the connection is another host's.
func (v visited) misdirected() bool {
	status, ok := strings.CutPrefix(v.answer, "HTTP/1.1 421")
	return ok && (status == "" || status[0] == ' ')
}

func (v visited) outcome() string {
	switch {
	case v.err != nil:
		var alert tls.AlertError
		if errors.As(v.err, &alert) {
			return "refused: " + strings.TrimPrefix(alert.Error(), "tls: ")
		}
		return "refused: " + v.err.Error()
	case v.resumed && v.misdirected():
		return "resumed, then 421"
	case v.resumed:
		return "resumed"
	}
	return "full"
}

// visit connects under a name, says the greeting, and reads until it has a session.
func (p *run) visit(ctx context.Context, w way, name string, as *Host, offered *openssl.Session) (v visited) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	client, err := openssl.NewClientCtx()
	if err != nil {
		return visited{err: err}
	}
	defer client.Close()
	if v.err = p.configure(client, w, as); v.err != nil {
		return v
	}
	wire, err := (&net.Dialer{}).DialContext(ctx, p.Network, p.Addr)
	if err != nil {
		return visited{err: unreachable{err}}
	}
	conn, err := openssl.Client(wire, client)
	if err != nil {
		wire.Close()
		return visited{err: err}
	}
	defer conn.Close()
	if name != "" {
		v.err = conn.SetServerName(name)
	}
	if v.err == nil && offered != nil {
		v.err = conn.SetSession(offered)
	}
	if v.err == nil {
		v.err = conn.HandshakeContext(ctx)
	}
	if v.err != nil {
		if ctx.Err() != nil {
			v.err = unreachable{v.err}
		}
		return v
	}
	state := conn.ConnectionState()
	v.resumed = state.DidResume
	if len(state.PeerCertificates) > 0 {
		v.leaf = state.PeerCertificates[0].Raw
	}
	v.answer, v.err = p.converse(ctx, conn, name)
	if s, err := conn.Session(); err == nil {
		v.session = s
	}
	return v
}

func (p *run) configure(client *openssl.Ctx, w way, as *Host) error {
	// Whom the server is does not matter here: only what it resumes.
	err := errors.Join(
		client.SetVerify(openssl.VerifyNone),
		client.SetMinVersion(w.version),
		client.SetMaxVersion(w.version),
		client.SetOptions(w.options),
	)
	if err == nil && as != nil && as.CertPEM != nil {
		err = client.UseCertificate(as.CertPEM, as.KeyPEM)
	}
	return err
}

// converse has the server say something: only then does a TLS 1.3 client learn
// whether it was refused, and get its tickets. That the server ends the
// connection is fine. The answer is the first line of what it has said.
func (p *run) converse(ctx context.Context, conn *openssl.Conn, name string) (answer string, err error) {
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if name == "" {
		name = p.Hosts[0].Name
	}
	if _, err := conn.Write(p.Greeting(name)); err != nil {
		return "", refusal(err)
	}
	b := make([]byte, 512)
	n, err := conn.Read(b)
	answer, _, _ = strings.Cut(string(b[:n]), "\r\n")
	return answer, refusal(err)
}

// refusal is an alert; a wire that ends in another way has not refused us.
func refusal(err error) error {
	if errors.As(err, new(tls.AlertError)) {
		return err
	}
	return nil
}
