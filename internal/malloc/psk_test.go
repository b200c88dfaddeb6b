//go:build malloc && cgo

package malloc_test

import (
	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// pskCallers makes x.server and x.client of one version, without PSKs, and the clients
// x.before and x.after, each with a key of its own for one identity.
func (x *attempt) pskCallers(v uint16) {
	x.server = tlstest.BareServer(x)
	tlstest.SetVersion(x, x.server, v)
	x.before, x.after = x.pskCaller("old key"), x.pskCaller("new key")
}

func (x *attempt) pskCaller(key string) caller {
	c := tlstest.BareClient(x)
	must(x, c.SetVerifyCAs(tlstest.Certs(x).PEM))
	must(x, c.UsePSK("alice", []byte(key)))
	return caller{"a client with the " + key, c}
}

func pskScenarios(version string, v uint16) []mallocScenario {
	handshake := func(name string, resume bool) mallocScenario {
		return mallocScenario{
			name: "handshake/" + version + "/" + name,
			setup: func(x *attempt) {
				x.pskCallers(v)
				must(x, x.server.UsePSK("alice", []byte("old key")))
			},
			prepare: func(x *attempt) {
				var sess *openssl.Session
				if resume {
					sess = tlstest.Connect(x, tlstest.Pair{Client: x.before.Ctx, Server: x.server}).Session
				}
				x.c, x.s = tlstest.Machines(x, x.before.Ctx, x.server)
				if resume {
					must(x, x.c.SetSession(sess))
				}
			},
			act: func(x *attempt) error { return x.shake(bothSides, 0, nil) },
			check: func(x *attempt, err error) {
				client, server := x.c.ConnectionState(), x.s.ConnectionState()
				for _, state := range []openssl.ConnectionState{client, server} {
					if state.HandshakeComplete && state.PSKIdentity != "alice" || err == nil && !state.HandshakeComplete {
						x.Errorf("complete %v as %q, after %v", state.HandshakeComplete, state.PSKIdentity, err)
					}
				}
			},
		}
	}
	return []mallocScenario{
		{
			name: "Ctx.UsePSK/" + version + "/server",
			prepare: func(x *attempt) {
				x.pskCallers(v)
				must(x, x.server.UsePSK("alice", []byte("old key")))
				must(x, x.server.UsePSK("bob", []byte("another")))
			},
			act:   func(x *attempt) error { return x.server.UsePSK("alice", []byte("new key")) },
			check: func(x *attempt, err error) { x.replaces(x.server, err, x.before, x.after) },
		},
		{
			name: "Ctx.UsePSK/" + version + "/another identity",
			prepare: func(x *attempt) {
				x.pskCallers(v)
				must(x, x.server.UsePSK("bob", []byte("another")))
			},
			act: func(x *attempt) error { return x.server.UsePSK("alice", []byte("old key")) },
			check: func(x *attempt, err error) {
				if err == nil {
					x.admits(x.server, x.before)
				} else {
					x.refuses(x.server, x.before)
				}
			},
		},
		{
			name: "Ctx.UsePSK/" + version + "/client",
			prepare: func(x *attempt) {
				x.pskCallers(v)
				must(x, x.server.UsePSK("alice", []byte("old key")))
			},
			act: func(x *attempt) error { return x.before.UsePSK("alice", []byte("new key")) },
			check: func(x *attempt, err error) {
				if err == nil {
					x.refuses(x.server, x.before)
				} else {
					x.admits(x.server, x.before)
				}
			},
		},
		handshake("PSK", false),
		handshake("PSK resumed", true),
	}
}
