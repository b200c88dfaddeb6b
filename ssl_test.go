//go:build cgo

package openssl_test

import (
	"testing"

	"github.com/sidctx/openssl"
)

func TestSSLResumption(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newMutualServer(t, "tenant")
			setVersion(t, client, v.id)
			c, s := machines(t, client, server)
			mustShake(t, c, s)
			sess, err := c.Session()
			must(t, err)
			defer sess.Close()
			goodbye(t, c, s)

			c, s = machines(t, client, server)
			must(t, c.SetSession(sess))
			mustShake(t, c, s)
			if !c.ConnectionState().DidResume || !s.ConnectionState().DidResume {
				t.Fatalf("not resumed: %+v", s.ConnectionState())
			}
			if got := s.ConnectionState(); string(got.SessionIDContext) != "tenant" || len(got.PeerCertificates) != 1 {
				t.Fatalf("server's state: %+v", got)
			}
			goodbye(t, c, s)
		})
	}
}

func TestConnEcho(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newMutualServer(t, "tenant")
			setVersion(t, client, v.id)
			c, s := conns(t, client, server)
			clientErr, serverErr := both(func() error {
				defer c.Close()
				return roundTrip(c, make([]byte, 1<<20))
			}, func() error { return echo(s) })
			if clientErr != nil || serverErr != nil {
				t.Fatal(clientErr, serverErr)
			}
			_ = openssl.WantInput
		})
	}
}
