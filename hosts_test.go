//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

func TestNormalizeHost(t *testing.T) {
	for name, want := range map[string]string{
		"a.test":             "a.test",
		"A.Test":             "a.test",
		"a.test.":            "a.test",
		"a.test:443":         "a.test",
		"A.TEST.:8443":       "a.test",
		"xn--BCHER-kva.test": "xn--bcher-kva.test",
		"_service.a.test":    "_service.a.test",
		"192.0.2.1":          "192.0.2.1",
		"192.0.2.1:443":      "192.0.2.1",
		"[2001:db8::1]:443":  "2001:db8::1",
		"a.test:":            "a.test",

		"::1":                      "::1",
		"[::1]":                    "::1",
		"[::1]:443":                "::1",
		"[::1]:":                   "::1",
		"0:0:0:0:0:0:0:1":          "::1",
		"[0:0:0:0:0:0:0:1]":        "::1",
		"[0000:0:0::0001]:8443":    "::1",
		"::0.0.0.1":                "::1",
		"::1.":                     "::1",
		"2001:DB8::A":              "2001:db8::a",
		"[2001:DB8:0:0::A]:443":    "2001:db8::a",
		"fe80::1%eth0":             "fe80::1",
		"[fe80::1%eth0]:443":       "fe80::1",
		"::ffff:192.0.2.1":         "192.0.2.1",
		"[::FFFF:c000:201]:443":    "192.0.2.1",
		"0:0:0:0:0:ffff:192.0.2.1": "192.0.2.1",
	} {
		if got, err := openssl.NormalizeHost(name); err != nil || got != want {
			t.Errorf("%q is %q, %v", name, got, err)
		}
		if got, err := openssl.NormalizeHost(want); err != nil || got != want {
			t.Errorf("%q again is %q, %v", want, got, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "a..test", ".a.test", "a.test..", "a test", "a\x00.test", "b\u00fccher.test", "a/b", "*.test",
		strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "a",
		// What Unicode folds to ASCII, or takes apart into it, is no ASCII.
		"\u212aa.test", "\u0130.test", "\u017f.test", "\uff41.test", "a\u3002test",
		"https://a.test", "https://a.test/x", "a.test:https", "a.test:junk", "a.test:80/x", "a.test:-1", "[::1]:x", "192.0.2.1:x",
		"[a.test]", "[a.test]:443", "[192.0.2.1]", "[192.0.2.1]:443", "[::1", "::1]", "[::1]443", "[[::1]]:443", "[]", "[]:443", "[", "1::2::3",
	} {
		if got, err := openssl.NormalizeHost(name); err == nil {
			t.Errorf("%q is taken as %q", name, got)
		}
	}
}

// renewable makes one Ctx after the other of a host, of equal policy.
func renewable(t testing.TB, name string, derived bool) func() *openssl.Ctx {
	label := uniqueLabel(t)
	return func() *openssl.Ctx {
		c := newHostServer(t, name)
		if derived {
			must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: label}))
		}
		return c
	}
}

// The zero Hosts is a router without hosts.
func TestHostsZero(t *testing.T) {
	for what, pattern := range map[string]string{"name": "a.test", "wildcard": "*.test"} {
		var hosts openssl.Hosts
		if hosts.Lookup("a.test") != nil || hosts.Serves(nil, "a.test") {
			t.Errorf("%s: it serves a host", what)
		}
		if err := hosts.Remove(pattern); err == nil {
			t.Errorf("%s: a host is removed that was not added", what)
		}
		c := newHostServer(t, "a.test")
		if err := hosts.Replace(pattern, c); err == nil {
			t.Errorf("%s: a host is replaced that was not added", what)
		}
		must(t, hosts.Add(pattern, c))
		if hosts.Lookup("a.test") != c {
			t.Errorf("%s: the host that was added is not served", what)
		}
		must(t, hosts.Remove(pattern))
	}
}

// frontOf is a listener's Ctx that routes by hosts.
func frontOf(t testing.TB, hosts *openssl.Hosts) *openssl.Ctx {
	front := tlstest.BareServer(t)
	must(t, front.SetClientHelloFunc(hosts.Route))
	return front
}

// TestHostsReplaceUnderLoad renews the Ctx of a host 500 times while clients come, and
// closes each that was replaced at once.
func TestHostsReplaceUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: it renews a host 500 times in each version, under load")
	}
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			const clients, renewals = 8, 500
			renewed := renewable(t, "a.test", true)
			hosts := openssl.NewHosts()
			current := renewed()
			must(t, hosts.Add("a.test", current))
			addr := listenAndEcho(t, frontOf(t, hosts))
			client := newCachingClient(t, v.ID, newWatchedCache(t, clients), nil)
			done := make(chan struct{})
			var visits, resumed atomic.Int64
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						d := openssl.Dialer{Ctx: client, ServerName: "a.test"}
						conn, err := d.DialContext(t.Context(), "tcp", addr)
						if err != nil {
							t.Errorf("visit %d is refused: %v", visits.Load(), err)
							return
						}
						if err := tlstest.RoundTrip(conn, []byte("ping")); err != nil {
							t.Errorf("visit %d: %v", visits.Load(), err)
						}
						if conn.(*openssl.Conn).ConnectionState().DidResume {
							resumed.Add(1)
						}
						conn.Close()
						visits.Add(1)
					}
				})
			}
			for range renewals {
				next := renewed()
				must(t, hosts.Replace("a.test", next))
				must(t, current.Close())
				current = next
			}
			close(done)
			wg.Wait()
			if resumed.Load() == 0 || resumed.Load() == visits.Load() {
				t.Errorf("%d of %d visits were resumed", resumed.Load(), visits.Load())
			}
		})
	}
}

// TestHostsHandsOutAClosedCtx closes a Ctx between the moment at which a ClientHello
// function has chosen it and the switch.
func TestHostsHandsOutAClosedCtx(t *testing.T) {
	for _, v := range tlstest.Versions {
		t.Run(v.Name, func(t *testing.T) {
			tlstest.CheckLeaks(t)
			client, front, host := tlstest.NewClient(t), tlstest.BareServer(t), tlstest.NewServer(t)
			tlstest.SetVersion(t, client, v.ID)
			hosts := openssl.NewHosts()
			must(t, hosts.Add("server.test", host))
			must(t, front.SetClientHelloFunc(func(ctx context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
				c, err := hosts.Route(ctx, hello)
				return c, errors.Join(err, hosts.Remove("server.test"), c.Close())
			}))
			c, s := tlstest.Conns(t, client, front)
			if e := tlstest.Converse(t, c, s); e.ClientErr != nil || e.ServerErr != nil {
				t.Fatalf("a Ctx that was closed after it was chosen: client %v, server %v", e.ClientErr, e.ServerErr)
			}
			if err := host.SetALPN("h2"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a setter of the closed Ctx: %v, want net.ErrClosed", err)
			}
			if _, err := openssl.NewSSL(host); !errors.Is(err, net.ErrClosed) {
				t.Errorf("NewSSL of the closed Ctx: %v, want net.ErrClosed", err)
			}
		})
	}
}

// TestHostsServesAfterRenewal keeps a connection over the renewal of its host.
func TestHostsServesAfterRenewal(t *testing.T) {
	for _, derived := range []bool{true, false} {
		t.Run(fmt.Sprint("derived ", derived), func(t *testing.T) {
			renewed := renewable(t, "server.test", derived)
			hosts, old := openssl.NewHosts(), renewed()
			must(t, hosts.Add("server.test", old))
			other := newHostServer(t, "other.test")
			must(t, other.SetSessionIDContext([]byte("other")))
			must(t, hosts.Add("other.test", other))
			c, s := tlstest.Conns(t, tlstest.NewClient(t), frontOf(t, hosts))
			tlstest.MustHandshake(t, c, s)
			must(t, hosts.Replace("server.test", renewed()))
			must(t, old.Close())
			if !hosts.Serves(s, "server.test") {
				t.Error("a connection of before the renewal is misdirected")
			}
			if hosts.Serves(s, "other.test") {
				t.Error("a connection of before the renewal is served as another host")
			}
			must(t, hosts.Remove("server.test"))
			if hosts.Serves(s, "server.test") {
				t.Error("a host that was removed is served")
			}
		})
	}
}

func TestHostsReplaceRefuses(t *testing.T) {
	hosts := openssl.NewHosts()
	within := func(name string) *openssl.Ctx {
		c := newHostServer(t, name)
		must(t, c.SetSessionIDContext([]byte("by hand")))
		return c
	}
	must(t, hosts.Add("a.test", within("a.test")))
	must(t, hosts.Add("*.w.test", newHostServer(t, "*.w.test")))
	for _, x := range []struct {
		what string
		err  error
		says string
	}{
		{"Add, again", hosts.Add("a.test", newHostServer(t, "a.test")), "call Replace"},
		{"Replace of what was not added", hosts.Replace("b.test", newHostServer(t, "b.test")), "call Add"},
		{"Replace of a wildcard's name", hosts.Replace("w.test", newHostServer(t, "w.test")), "call Add"},
		{"Replace with nil", hosts.Replace("a.test", nil), "Ctx"},
		{"Replace with a client's Ctx", hosts.Replace("a.test", tlstest.NewClient(t)), "NewServerCtx"},
		{"Replace by another policy within the same context", hosts.Replace("a.test", within("b.test")), "DeriveSessionIDContext"},
		{"Remove of what was not added", hosts.Remove("b.test"), "was not added"},
		{"Remove of no pattern", hosts.Remove(""), "host name"},
	} {
		if x.err == nil || !strings.Contains(x.err.Error(), x.says) {
			t.Errorf("%s: %v, want an error with %q", x.what, x.err, x.says)
		}
	}
	must(t, hosts.Replace("A.test.", within("a.test")))
	must(t, hosts.Remove("*.w.test"))
	if hosts.Lookup("x.w.test") != nil {
		t.Error("a wildcard that was removed is served")
	}
}

// TestSwitchKeepsTheListenersFunctions: the functions and the key log of the listener's Ctx
// count after a switch, beside those of the host's.
func TestSwitchKeepsTheListenersFunctions(t *testing.T) {
	no := errors.New("no")
	for _, v := range tlstest.Versions {
		for _, refuses := range []string{"", "listener", "host"} {
			t.Run(fmt.Sprintf("%s/refused by %q", v.Name, refuses), func(t *testing.T) {
				client, front, host := tlstest.NewClient(t), tlstest.BareServer(t), tlstest.NewServer(t)
				tlstest.SetVersion(t, client, v.ID)
				var asked []string
				logs := map[string]*bytes.Buffer{"listener": new(bytes.Buffer), "host": new(bytes.Buffer)}
				for who, c := range map[string]*openssl.Ctx{"listener": front, "host": host} {
					must(t, c.SetKeyLogWriter(logs[who]))
					must(t, c.SetVerifyConnection(func(openssl.ConnectionState) error {
						asked = append(asked, who)
						if who == refuses {
							return no
						}
						return nil
					}))
				}
				must(t, front.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return host, nil }))
				c, s := tlstest.Conns(t, client, front)
				_, err := tlstest.Both(func() error {
					defer c.Close()
					return tlstest.RoundTrip(c, []byte("ping"))
				}, func() error {
					defer s.Close()
					return tlstest.Echo(s)
				})
				want := []string{"listener", "host"}
				if refuses == "listener" {
					want = want[:1]
				}
				if !slices.Equal(asked, want) || errors.Is(err, no) != (refuses != "") {
					t.Errorf("asked %v, want %v; the server's error is %v", asked, want, err)
				}
				if logs["listener"].Len() == 0 || !bytes.Equal(logs["listener"].Bytes(), logs["host"].Bytes()) {
					t.Errorf("the listener's key log has %d bytes, the host's %d", logs["listener"].Len(), logs["host"].Len())
				}
			})
		}
	}
}

// A host without a key log of its own writes to the listener's.
func TestSwitchWritesTheListenersKeyLog(t *testing.T) {
	front, host := tlstest.BareServer(t), tlstest.NewServer(t)
	var log bytes.Buffer
	must(t, front.SetKeyLogWriter(&log))
	must(t, front.SetClientHelloFunc(func(context.Context, *openssl.ClientHello) (*openssl.Ctx, error) { return host, nil }))
	c, s := tlstest.Conns(t, tlstest.NewClient(t), front)
	if e := tlstest.Converse(t, c, s); e.ClientErr != nil || e.ServerErr != nil {
		t.Fatalf("client %v, server %v", e.ClientErr, e.ServerErr)
	}
	if log.Len() == 0 {
		t.Error("the listener's key log is empty")
	}
}

// However an address is spelled, it is one host: for Add, Lookup and Serves.
func TestHostsAddressSpellings(t *testing.T) {
	newHost := func(label string) *openssl.Ctx {
		c := tlstest.NewServer(t)
		must(t, c.DeriveSessionIDContext(openssl.SessionPolicy{Label: label}))
		return c
	}
	address, fallback := newHost("address"), newHost("default")
	hosts := openssl.NewHosts()
	must(t, hosts.Add("[2001:DB8:0::1]:443", address))
	must(t, hosts.SetDefault(fallback))
	_, s := tlstest.Conns(t, tlstest.NewClient(t), address)
	for _, name := range []string{"2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:8443", "2001:db8:0:0:0:0:0:1", "[2001:0DB8::0001]"} {
		if hosts.Lookup(name) != address {
			t.Errorf("Lookup(%q) is not the host that was added as [2001:DB8:0::1]:443", name)
		}
		if !hosts.Serves(s, name) {
			t.Errorf("Serves(%q) is false over a connection to that host", name)
		}
		if err := hosts.Add(name, address); err == nil {
			t.Errorf("Add(%q): taken, though the address has been added", name)
		}
	}
	for _, name := range []string{"2001:db8::2", "[2001:db8::2]:443"} {
		if hosts.Lookup(name) != fallback || hosts.Serves(s, name) {
			t.Errorf("%q is taken for [2001:DB8:0::1]:443", name)
		}
	}
}

// The default is a host like any other: no policy shares its context.
func TestHostsDefaultSharesNoContext(t *testing.T) {
	within := func(context string, verify openssl.VerifyMode) *openssl.Ctx {
		c := tlstest.NewServer(t)
		must(t, c.SetSessionIDContext([]byte(context)))
		must(t, c.SetVerifyCAs(tlstest.Certs(t).PEM))
		must(t, c.SetVerify(verify))
		return c
	}
	hosts := openssl.NewHosts()
	must(t, hosts.SetDefault(within("one", openssl.VerifyNone)))
	strict := within("one", openssl.VerifyPeer)
	tlstest.Sentence(t, hosts.Add("a.test", strict), "shares its session id context", "DeriveSessionIDContext")
	must(t, hosts.Add("a.test", within("two", openssl.VerifyPeer)))
	tlstest.Sentence(t, hosts.SetDefault(within("two", openssl.VerifyNone)), "shares its session id context")
}

// A letter that Unicode folds to one of ASCII makes another name.
func TestHostsFoldASCIIOnly(t *testing.T) {
	host := tlstest.NewServer(t)
	must(t, host.DeriveSessionIDContext(openssl.SessionPolicy{Label: "host"}))
	hosts := openssl.NewHosts()
	must(t, hosts.Add("k.test", host))
	if hosts.Lookup("K.test") != host {
		t.Error("K.test is not k.test")
	}
	if hosts.Lookup("\u212a.test") != nil {
		t.Error("a Kelvin sign leads to k.test")
	}
}
