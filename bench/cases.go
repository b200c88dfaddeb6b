package main

import (
	"strconv"
	"time"
)

// The peers, by the names that tables and the JSON file use.
const (
	ours   = "sidctx/openssl"
	plainC = "C"
	goTLS  = "crypto/tls"
	libp2p = "libp2p"
)

var peers = []string{ours, plainC, goTLS, libp2p}

// target is what ours should reach against a peer.
type target struct {
	against         string
	target, stretch float64
}

// benchCase is one thing that every peer does. A case without targets is
// there for context.
type benchCase struct {
	id, name, unit string
	row            int // of the table of targets, 0 for context

	// What a worker is started with.
	kind, version, mode string
	size                int
	cert                string

	targets []target
	without map[string]string // peers that cannot, and why
	memory  bool              // bytes per connection rather than time, lower is better
	latency bool              // the 99th percentile of a time, lower is better
}

const (
	mem    = "mem"
	hs     = "hs"
	ends   = "ends"
	tcp    = "tcp"
	accept = "accept"
	idle   = "idle"
	setsid = "setsid"
	mixed  = "mixed"
	split  = "split" // of the account alone, as the next
	storm  = "storm"
)

var oneThread = map[string]string{plainC: "one thread serves one connection at a time"}

var noSID = map[string]string{goTLS: "it has no session id context"}

var cases = []benchCase{
	{id: "mem-16k", row: 1, name: "in memory, write + read 16 KiB", unit: "µs", kind: mem, version: "1.3", size: 16 << 10,
		targets: []target{{plainC, 0.80, 0.90}, {libp2p, 1.6, 2.0}}},
	{id: "mem-1k", row: 2, name: "in memory, write + read 1 KiB", unit: "µs", kind: mem, version: "1.3", size: 1 << 10,
		targets: []target{{libp2p, 2.7, 3.5}, {plainC, 0.80, 0.9}}},
	{id: "mem-64", row: 2, name: "in memory, write + read 64 B", unit: "µs", kind: mem, version: "1.3", size: 64,
		targets: []target{{libp2p, 3.3, 4.5}, {plainC, 0.75, 0.9}}},
	{id: "tcp-send-64k", row: 3, name: "TCP, send in 64 KiB writes", unit: "µs", kind: tcp, version: "1.3", mode: "send", size: 64 << 10,
		targets: []target{{plainC, 1.0, 1.15}, {goTLS, 1.0, 1.15}, {libp2p, 1.0, 1.15}}},
	{id: "tcp-send-16k", row: 4, name: "TCP, send in 16 KiB writes", unit: "µs", kind: tcp, version: "1.3", mode: "send", size: 16 << 10,
		targets: []target{{plainC, 0.85, 0.95}, {libp2p, 1.05, 1.2}}},
	{id: "tcp-recv-16k", row: 5, name: "TCP, receive in 16 KiB reads", unit: "µs", kind: tcp, version: "1.3", mode: "recv", size: 16 << 10,
		targets: []target{{plainC, 0.78, 0.95}, {libp2p, 1.4, 1.9}, {goTLS, 0.9, 1.1}}},
	{id: "hs-sid-12", row: 6, name: "resume by session id, TLS 1.2", unit: "µs", kind: hs, version: "1.2", mode: "sid",
		targets: []target{{libp2p, 1.3, 1.6}, {plainC, 0.90, 0.95}, {goTLS, 6, 8}}},
	{id: "hs-ticket-12", row: 7, name: "resume by ticket, TLS 1.2", unit: "µs", kind: hs, version: "1.2", mode: "ticket",
		targets: []target{{libp2p, 1.3, 1.6}}},
	{id: "hs-ticket-13", row: 7, name: "resume by ticket, TLS 1.3", unit: "µs", kind: hs, version: "1.3", mode: "ticket",
		targets: []target{{libp2p, 1.2, 1.4}, {plainC, 0.95, 1.0}}},
	{id: "hs-full-13", row: 8, name: "full handshake, TLS 1.3, ECDSA P-256", unit: "µs", kind: hs, version: "1.3", mode: "full",
		targets: []target{{libp2p, 1.12, 1.25}, {plainC, 0.92, 0.95}}},
	{id: "tcp-full-rsa", row: 9, name: "TCP, accept, full TLS 1.3, RSA-2048", unit: "µs", kind: accept, version: "1.3", mode: "full", cert: "rsa",
		targets: []target{{goTLS, 1.6, 1.9}, {plainC, 0.85, 0.95}}},
	{id: "tcp-full-ecdsa", row: 9, name: "TCP, accept, full TLS 1.3, ECDSA P-256", unit: "µs", kind: accept, version: "1.3", mode: "full",
		targets: []target{{plainC, 0.80, 0.9}, {goTLS, 1.0, 1.1}}},
	{id: "sid-fail", row: 10, name: "set a session id context that is too long", unit: "µs", kind: setsid, version: "1.3", size: 33,
		targets: []target{{libp2p, 3, 4}}, without: noSID},
	{id: "idle", row: 11, name: "idle connection, resident memory", unit: "KiB", kind: idle, version: "1.3", mode: "idle", memory: true,
		targets: []target{{plainC, 1.25, 1.1}}},

	{id: "mixed-echo", row: 12, name: "p99 of a 100-byte echo beside 100 bulk connections", unit: "µs", kind: mixed, version: "1.3", mode: "echo", latency: true,
		targets: []target{{goTLS, 1.3, 1.0}}, without: oneThread},
	{id: "mixed-accept", row: 12, name: "p99 of a new connection beside 100 bulk connections", unit: "µs", kind: mixed, version: "1.3", mode: "accept", latency: true,
		targets: []target{{goTLS, 1.3, 1.0}}, without: oneThread},

	{id: "idle-blocked", row: 11, name: "the same with a goroutine blocked in Read", unit: "KiB", kind: idle, version: "1.3", mode: "blocked", memory: true,
		targets: []target{{plainC, 1.25, 1.1}}},
	{id: "sid-ok", name: "set a session id context", unit: "µs", kind: setsid, version: "1.3", size: 32, without: noSID},
	{id: "ends-full-13", name: "full TLS 1.3, ECDSA, each peer at both ends", unit: "µs", kind: ends, version: "1.3", mode: "full"},
}

func (c *benchCase) args(certDir string) []string {
	mode, cert := c.mode, c.cert
	if mode == "" {
		mode = "-"
	}
	if cert == "" {
		cert = "ecdsa"
	}
	return []string{c.kind, c.version, mode, strconv.Itoa(c.size), certDir + "/" + cert}
}

// verb is the command for the far end, empty for a case in memory.
func (c *benchCase) verb() string {
	switch c.kind {
	case tcp:
		return c.mode
	case accept:
		return "full"
	case idle:
		return "hold"
	case storm:
		return "storm"
	}
	return ""
}

// scale is how long one round of one peer should take, and what the least is
// that makes sense.
type scale struct {
	rounds, memoryRounds int
	sample               time.Duration
	connections          int           // of the memory cases, and of each kind of the mixed ones
	mixed                time.Duration // how long those are looked at
}

var (
	fullScale  = scale{rounds: 11, memoryRounds: 5, sample: 250 * time.Millisecond, connections: 1000, mixed: 1500 * time.Millisecond}
	quickScale = scale{rounds: 1, memoryRounds: 1, sample: 2 * time.Millisecond, connections: 20, mixed: 20 * time.Millisecond}
)
