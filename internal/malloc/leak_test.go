//go:build malloc && cgo

package malloc_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// leakKind is a kind of handshake.
type leakKind struct {
	name  string
	only  uint16           // the version that has it, 0 for all
	pairs bool             // each run makes two handshakes, the second with the session of the first
	setup func(x *leakRun) // makes the server
	run   func(x *leakRun) // what it makes is closed when it returns
}

// leakRun is the attempt that a kind's handshakes are made with, each on a copy.
type leakRun struct {
	attempt
	version uint16
	i, n    int // the run is the ith of n
	length  int // of the conversation in bytes, about
}

// TestLeak counts the blocks that libcrypto and libssl hold before and after many
// handshakes of each kind: there must be as many, exactly. LEAK is how many handshakes
// are made in all; "make malloc" makes few.
func TestLeak(t *testing.T) {
	handshakes := 2000
	if text := os.Getenv("LEAK"); text != "" {
		var err error
		handshakes, err = strconv.Atoi(text)
		must(t, err)
	}
	if !libssl.MallocInstalled() {
		t.Fatal("libcrypto has allocated before its allocations could be counted")
	}
	// libcrypto has an error queue and random generators for each thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	base := attempt{TB: t}
	defer base.end()
	base.callers()
	fillErrorQueue(&base)

	kinds := len(leakKinds) * len(tlstest.Versions)
	for _, k := range leakKinds {
		if k.only != 0 {
			kinds -= len(tlstest.Versions) - 1
		}
	}
	left, made, drift := kinds, 0, int64(0)
	for _, v := range tlstest.Versions {
		for _, k := range leakKinds {
			if k.only == 0 || k.only == v.ID {
				n, blocks := countLeak(t, base, v, k, (handshakes-made)/left)
				made, drift, left = made+n, drift+blocks, left-1
			}
		}
	}
	if !t.Failed() {
		fmt.Printf("leak: %d handshakes of %d kinds, drift %d\n", made, kinds, drift)
	}
}

// countLeak makes n handshakes of a kind, one more if they come in pairs, and says how
// many and by how much they have changed the number of blocks.
func countLeak(t *testing.T, base attempt, v tlstest.Version, k leakKind, n int) (made int, drift int64) {
	// libcrypto keeps some things that it makes once, as what it knows of a certificate.
	const warmUp = 40
	name := v.Name + "/" + k.name
	x := leakRun{attempt: base, version: v.ID}
	x.cleanups = nil
	failed := false
	x.complain = func(text string) {
		failed = true
		t.Errorf("%s: %s", name, text)
	}
	defer x.end()
	x.whole(func() {
		x.honest.Ctx, x.nobody.Ctx = tlstest.NewClient(&x), x.clientOf(nil)
		tlstest.SetVersion(&x, x.honest.Ctx, v.ID)
		tlstest.SetVersion(&x, x.nobody.Ctx, v.ID)
		k.setup(&x)
	})
	each := func(n int) {
		for i := 0; i < n && !failed; i++ {
			one := x
			one.cleanups, one.i, one.n = nil, i, n
			one.whole(func() { k.run(&one) })
			one.end()
		}
	}
	runs := max(1, n)
	made = runs
	if k.pairs {
		runs = (n + 1) / 2
		made = 2 * runs
	}
	each(warmUp)
	before := libssl.LiveMallocs()
	each(runs)
	if drift = libssl.LiveMallocs() - before; drift != 0 && !failed {
		t.Errorf("%s: %d handshakes have changed the number of live blocks by %+d", name, made, drift)
	}
	return made, drift
}

var leakKinds = []leakKind{
	{
		name: "good", setup: func(x *leakRun) { x.open() },
		run: func(x *leakRun) { x.meets(tlstest.Pair{Client: x.honest.Ctx, Server: x.server}, false) },
	},
	{
		name: "refused, no client certificate", setup: func(x *leakRun) { x.open() },
		run: func(x *leakRun) { x.refuses(x.server, x.nobody) },
	},
	{
		name: "refused, no shared version",
		setup: func(x *leakRun) {
			x.open()
			tlstest.SetVersion(x, x.server, tls.VersionTLS12+tls.VersionTLS13-x.version)
		},
		run: func(x *leakRun) { x.refuses(x.server, x.honest) },
	},
	{
		name: "cut at each byte",
		setup: func(x *leakRun) {
			x.open()
			const more = 1 << 20
			x.length = more - x.cutAt(more)
		},
		run: func(x *leakRun) { x.cutAt(x.i * x.length / x.n) },
	},
	resumedKind("ticket"),
	resumedKind("id"),
	resumedKind("store"),
	{
		name: "routed",
		setup: func(x *leakRun) {
			host := tlstest.NewMutualServer(x, "a")
			x.open()
			must(x, x.server.SetClientHelloFunc(tlstest.Stay))
			x.hosts = openssl.NewHosts()
			must(x, x.hosts.Add("server.test", host))
		},
		run: func(x *leakRun) {
			x.meets(tlstest.Pair{Client: x.honest.Ctx, Server: x.server, Answer: func(t testing.TB, s *openssl.SSL) {
				hello, err := s.ClientHello()
				must(t, err)
				host, err := x.hosts.Route(context.Background(), hello)
				must(t, err)
				must(t, s.SetCtx(host))
			}}, false)
		},
	},
	{
		name: "renewed", // a Ctx of its own for each handshake
		setup: func(x *leakRun) {
			x.open()
			must(x, x.server.SetClientHelloFunc(tlstest.Stay))
			x.hosts = openssl.NewHosts()
			x.other = tlstest.NewMutualServer(x, "a")
			must(x, x.hosts.Add("server.test", x.other))
		},
		run: func(x *leakRun) {
			renewed := tlstest.NewMutualServer(x, "a")
			must(x, x.hosts.Replace("server.test", renewed))
			x.meets(tlstest.Pair{Client: x.honest.Ctx, Server: x.server, Answer: func(t testing.TB, s *openssl.SSL) {
				must(t, s.SetCtx(renewed))
			}}, false)
			must(x, x.hosts.Replace("server.test", x.other))
		},
	},
	{
		name: "revoked", pairs: true,
		setup: func(x *leakRun) {
			x.open()
			must(x, x.derive())
		},
		run: func(x *leakRun) {
			first := tlstest.Connect(x, tlstest.Pair{Client: x.honest.Ctx, Server: x.server})
			must(x, x.revoke())
			x.meets(tlstest.Pair{Client: x.honest.Ctx, Server: x.server, Offer: first.Session}, false)
		},
	},
	{
		name: "HelloRetryRequest", only: tls.VersionTLS13,
		setup: func(x *leakRun) {
			x.open()
			must(x, x.server.SetGroups("P-256"))
			must(x, x.honest.SetGroups("X25519:P-256"))
		},
		run: func(x *leakRun) { x.meets(tlstest.Pair{Client: x.honest.Ctx, Server: x.server}, false) },
	},
}

// resumedKind is a session that is made and then resumed, by a client without the
// certificate.
func resumedKind(how string) leakKind {
	return leakKind{
		name: "resumed by " + how, pairs: true,
		setup: func(x *leakRun) {
			x.keys = ticketKeys(1)
			x.openFor(how)
		},
		run: func(x *leakRun) {
			x.remember(how, mallocResumption{})
			offer := tlstest.ParseSession(x, x.offer)
			x.meets(tlstest.Pair{Client: x.nobody.Ctx, Server: x.server, Offer: offer, Answer: func(t testing.TB, s *openssl.SSL) {
				must(t, s.AnswerSession(x.der))
			}}, true)
			must(x, x.server.FlushSessions(endOfTime))
		},
	}
}

// meets complains unless the two connect, and resume or do not as is wanted.
func (x *leakRun) meets(p tlstest.Pair, resumes bool) {
	if e := tlstest.Connect(x, p); e.Server.DidResume != resumes {
		x.Fatalf("resumed %v: %v", e.Server.DidResume, e.Server.Resumption)
	}
}

// cutAt is a handshake whose wire is cut behind so many bytes, of both directions
// together. It returns how many more bytes the wire would have carried.
func (x *leakRun) cutAt(bytes int) (left int) {
	c, s := tlstest.Machines(x, x.honest.Ctx, x.server)
	left = bytes
	tlstest.ShakeAnswering(x, cutMachine{c, &left}, cutMachine{s, &left}, nil)
	return left
}

// cutMachine gets no bytes any more once none are left.
type cutMachine struct {
	*openssl.SSL
	left *int
}

func (m cutMachine) Feed(p []byte) (int, error) {
	if *m.left == 0 {
		return len(p), m.SSL.FeedEOF()
	}
	n := min(len(p), *m.left)
	*m.left -= n
	return m.SSL.Feed(p[:n])
}
