//go:build cgo

package openssl_test

import (
	"bytes"
	"crypto/aes"
	"crypto/tls"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
)

// sessionsOfAllKinds is the DER of a session of each protocol and way back.
func sessionsOfAllKinds(t testing.TB) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, v := range versions {
		for _, way := range waysBack {
			client, server := newClient(t), newServer(t)
			setVersion(t, client, v.id)
			if way.stateful {
				must(t, server.SetOptions(openssl.OptionNoTicket))
			}
			der, err := mustVisit(t, client, server, nil, openssl.ResumptionNotOffered).MarshalBinary()
			must(t, err)
			all[v.name+"/"+way.name] = der
		}
	}
	return all
}

// refused fails the test if a session was made of der, in either form, and says
// whether the error is whole.
func refused(t testing.TB, what string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der})
	for form, parse := range map[string]func() (*openssl.Session, error){
		"DER": func() (*openssl.Session, error) { return openssl.ParseSession(der) },
		"PEM": func() (*openssl.Session, error) { return openssl.ParseSessionPEM(text) },
	} {
		sess, err := parse()
		if err == nil {
			t.Errorf("%s, %s: %d bytes were taken", what, form, len(der))
			sess.Close()
			continue
		}
		opensslErr := (*openssl.Error)(nil)
		if sess != nil || !errors.As(err, &opensslErr) || opensslErr.Op == "" || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s, %s: %v, %q", what, form, sess, err)
		}
	}
}

func TestParseSessionTruncated(t *testing.T) {
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for n := range len(der) {
				refused(t, "cut", der[:n:n])
			}
			refused(t, "nil", nil)
		})
	}
}

func TestParseSessionTrailing(t *testing.T) {
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			refused(t, "a zero behind", append(slices.Clone(der), 0))
			refused(t, "twice", append(slices.Clone(der), der...))
			refused(t, "a mebibyte behind", append(slices.Clone(der), make([]byte, 1<<20)...))
		})
	}
}

// Every bit of a session is flipped once. What is taken all the same is a
// session: it can be written, and read again.
func TestParseSessionCorrupt(t *testing.T) {
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			bad := slices.Clone(der)
			for bit := range 8 * len(der) {
				bad[bit/8] ^= 1 << (bit % 8)
				checkParsed(t, bad)
				bad[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
}

// checkParsed parses what may be a session and uses all that comes of it.
func checkParsed(t testing.TB, der []byte) {
	t.Helper()
	sess, err := openssl.ParseSession(der)
	if err != nil {
		if sess != nil {
			t.Fatalf("a session and an error: %v", err)
		}
		return
	}
	defer sess.Close()
	if len(sess.ID()) > 32 || len(sess.IDContext()) > 32 {
		t.Fatalf("an id of %d bytes, a context of %d", len(sess.ID()), len(sess.IDContext()))
	}
	sess.Time()
	sess.Timeout()
	sess.Version()
	sess.Resumable()
	again, err := sess.MarshalBinary()
	if err != nil {
		return // what cannot be written is an error, and nothing worse
	}
	back, err := openssl.ParseSession(again)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%x", err, again)
	}
	defer back.Close()
	if !bytes.Equal(back.ID(), sess.ID()) || !bytes.Equal(back.IDContext(), sess.IDContext()) || back.Version() != sess.Version() {
		t.Fatalf("another session came back:\n%x\n%x", der, again)
	}
}

// oversized takes a session's DER apart and puts a field of n bytes in it.
func oversized(t testing.TB, der []byte, field, n int) []byte {
	t.Helper()
	var fields []asn1.RawValue
	_, err := asn1.Unmarshal(der, &fields)
	must(t, err)
	fields[field] = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: make([]byte, n)}
	big, err := asn1.Marshal(fields)
	must(t, err)
	return big
}

func TestParseSessionOversized(t *testing.T) {
	const sessionID, masterKey = 3, 4 // of ssl_asn1.c's SSL_SESSION_ASN1
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{33, 256, 1 << 16, 1 << 20} {
				big := oversized(t, der, sessionID, n)
				// libssl cuts ids of some versions; what it takes has 32 bytes at most.
				checkParsed(t, big)
				checkParsed(t, oversized(t, der, masterKey, n))
			}
			refused(t, "zeros", make([]byte, 1<<20))
			refused(t, "a length of 2^31", []byte{0x30, 0x84, 0x80, 0, 0, 0, 2, 1, 1})
			refused(t, "a length of 2^64-1", []byte{0x30, 0x88, 255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 1})
			refused(t, "no length", []byte{0x30, 0x80, 0, 0})
		})
	}
}

// A session of another protocol, or of a later form of its DER, is not one of ours.
func TestParseSessionForeign(t *testing.T) {
	const form, protocol = 0, 1
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			for what, test := range map[string]struct {
				field  int
				number int64
			}{
				"form 0":   {form, 0},
				"form 2":   {form, 2},
				"form -1":  {form, -1},
				"SSLv2":    {protocol, 2},
				"TLS 9":    {protocol, 0x0909},
				"negative": {protocol, -1},
			} {
				var fields []asn1.RawValue
				_, err := asn1.Unmarshal(der, &fields)
				must(t, err)
				number, err := asn1.Marshal(test.number)
				must(t, err)
				fields[test.field] = asn1.RawValue{FullBytes: number}
				foreign, err := asn1.Marshal(fields)
				must(t, err)
				refused(t, what, foreign)
			}
		})
	}
}

// A session of DTLS can be read, which libssl speaks, and is not offered in TLS.
func TestParseSessionDTLS(t *testing.T) {
	const protocol, dtls12 = 1, 0xfefd
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, server := newClient(t), newServer(t)
			setVersion(t, client, v.id)
			fields := fieldsOf(t, sessionDER(t, mustVisit(t, client, server, nil, openssl.ResumptionNotOffered)))
			number, err := asn1.Marshal(dtls12)
			must(t, err)
			fields[protocol] = asn1.RawValue{FullBytes: number}
			der, err := asn1.Marshal(fields)
			must(t, err)
			sess, err := openssl.ParseSession(der)
			must(t, err)
			defer sess.Close()
			if got := sess.Version(); got != dtls12 {
				t.Fatalf("version %#x", got)
			}
			c, s := machines(t, client, server)
			if err := c.SetSession(sess); err == nil {
				mustShake(t, c, s)
				if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotOffered {
					t.Fatalf("resumption: %v", got)
				}
				goodbye(t, c, s)
			}
		})
	}
}

func TestParseSessionPEM(t *testing.T) {
	ca := certs(t)
	for name, der := range sessionsOfAllKinds(t) {
		t.Run(name, func(t *testing.T) {
			good := pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der})
			// What stands around the block is nobody's, as in any PEM.
			around := slices.Concat([]byte("a session:\n"), ca.pem, good, []byte("and more\n"))
			for what, text := range map[string][]byte{"alone": good, "among other things": around} {
				sess, err := openssl.ParseSessionPEM(text)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				back, err := sess.MarshalBinary()
				must(t, err)
				must(t, sess.Close())
				if !bytes.Equal(back, der) {
					t.Errorf("%s: another session", what)
				}
			}
			for what, text := range map[string][]byte{
				"nothing":         nil,
				"text":            []byte("a session"),
				"DER":             der,
				"a certificate":   ca.pem,
				"another name":    pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION", Bytes: der}),
				"no end":          good[:len(good)-40],
				"no base64":       bytes.Replace(good, []byte("\nM"), []byte("\n*"), 1),
				"another's end":   bytes.Replace(good, []byte("-----END SSL"), []byte("-----END TLS"), 1),
				"an empty block":  pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS"}),
				"a password's":    sealedPEM(der),
				"a huge line":     []byte("-----BEGIN SSL SESSION PARAMETERS-----\n" + strings.Repeat("A", 1<<20)),
				"NUL in the name": bytes.Replace(good, []byte("SSL SESSION"), []byte("SSL\x00SESSION"), 1),
			} {
				if sess, err := openssl.ParseSessionPEM(text); err == nil {
					sess.Close()
					t.Errorf("%s: taken", what)
				}
			}
			for n := range good {
				sess, err := openssl.ParseSessionPEM(good[:n])
				if err != nil {
					continue
				}
				sess.Close()
				if n < len(good)-1 { // the last line's end may be missing
					t.Fatalf("cut at %d of %d: taken", n, len(good))
				}
			}
		})
	}
}

// sealedPEM claims to need a password, for which a terminal would be asked.
func sealedPEM(der []byte) []byte {
	sealed := slices.Clone(der)
	sealed = append(sealed, make([]byte, aes.BlockSize-len(sealed)%aes.BlockSize)...)
	return pem.EncodeToMemory(&pem.Block{
		Type:    "SSL SESSION PARAMETERS",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC," + hex.EncodeToString(make([]byte, 16))},
		Bytes:   sealed,
	})
}

// A server that is answered with rubbish by its store goes on without.
func TestAnswerSessionRubbish(t *testing.T) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			client, home, server := newClient(t), newStateful(t), newStateful(t)
			setVersion(t, client, v.id)
			must(t, server.SetSessionStore(noStore{}))
			sess := mustVisit(t, client, home, nil, openssl.ResumptionNotOffered)
			c, s := machines(t, client, server)
			must(t, c.SetSession(sess))
			if _, err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			carry(t, c, s)
			if w, err := s.Handshake(); w != openssl.WantClientHello || err != nil {
				t.Fatal(w, err)
			}
			der, err := sess.MarshalBinary()
			must(t, err)
			for _, rubbish := range [][]byte{nil, {}, {0}, der[:len(der)-1], append(slices.Clone(der), 0), make([]byte, 1<<20)} {
				if err := s.AnswerSession(rubbish); err == nil {
					t.Errorf("%d bytes of rubbish were taken", len(rubbish))
				}
			}
			mustShake(t, c, s)
			if got := s.ConnectionState().Resumption; got != openssl.ResumptionNotFound {
				t.Errorf("resumption: %v", got)
			}
			goodbye(t, c, s)
		})
	}
}

// ---- fuzzing ----

// leaksNothing fails if what runs in between leaves a C object behind.
func leaksNothing(t testing.TB) (done func()) {
	before := libssl.LiveHandles()
	return func() {
		t.Helper()
		if after := libssl.LiveHandles(); after != before {
			t.Fatalf("%d C objects are left", after-before)
		}
	}
}

// FuzzParseSession reads bytes as a session, in DER and in PEM.
func FuzzParseSession(f *testing.F) {
	for _, der := range sessionsOfAllKinds(f) {
		f.Add(der)
		f.Add(der[:len(der)/2])
		f.Add(pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der}))
		f.Add(sealedPEM(der))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer leaksNothing(t)()
		checkParsed(t, b)
		if sess, err := openssl.ParseSessionPEM(b); err == nil {
			der, err := sess.MarshalBinary()
			sess.Close()
			if err == nil {
				checkParsed(t, der)
			}
		}
	})
}

// flights is what a client sends in a handshake and a message, in two parts: the
// first flight and the rest.
func flights(t testing.TB, client, server *openssl.Ctx, offer *openssl.Session) (first, rest []byte) {
	t.Helper()
	c, s := machines(t, client, server)
	if offer != nil {
		must(t, c.SetSession(reparse(t, offer)))
	}
	send := func() (sent []byte) {
		p := make([]byte, 64<<10)
		for c.Pending() > 0 {
			sent = append(sent, p[:c.Drain(p)]...)
		}
		_, err := s.Feed(sent)
		must(t, err)
		return sent
	}
	for {
		w, err := c.Handshake()
		must(t, err)
		if first == nil {
			first = send()
		} else {
			rest = append(rest, send()...)
		}
		if _, err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		carry(t, s, c)
		if w == openssl.WantNothing {
			break
		}
	}
	_, _, err := c.Write([]byte("ping"))
	must(t, err)
	rest = append(rest, send()...)
	goodbye(t, c, s)
	return first, rest
}

// FuzzFeed feeds bytes to a server's machine, in two parts, with whatever it
// asks answered: by a plain server, by one that is asked about the ClientHello
// and has a store, and by one that requires certificates.
func FuzzFeed(f *testing.F) {
	plain, asking, mutual := newServer(f), newServer(f), newMutualServer(f, "a")
	must(f, plain.SetOptions(openssl.OptionNoTicket))
	must(f, asking.SetOptions(openssl.OptionNoTicket))
	must(f, asking.SetSessionStore(noStore{}))
	must(f, asking.SetALPN("h2", "http/1.1"))
	servers := []*openssl.Ctx{plain, asking, mutual}
	for _, v := range versions {
		client := newClient(f)
		setVersion(f, client, v.id)
		must(f, client.SetALPN("http/1.1"))
		for _, server := range []*openssl.Ctx{plain, mutual} {
			sess := mustVisit(f, client, server, nil, openssl.ResumptionNotOffered)
			der, err := sess.MarshalBinary()
			must(f, err)
			for _, offer := range []*openssl.Session{nil, sess} {
				first, rest := flights(f, client, server, offer)
				f.Add(first, rest, der)
				f.Add(first[:len(first)/2], first[len(first)/2:], []byte(nil))
			}
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte(nil), []byte(nil))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, first, rest, stored []byte) {
		for _, server := range servers {
			feed(t, server, first, rest, stored)
		}
	})
}

func feed(t testing.TB, server *openssl.Ctx, first, rest, stored []byte) {
	t.Helper()
	defer leaksNothing(t)()
	s, err := openssl.NewSSL(server)
	must(t, err)
	defer s.Close()
	p := make([]byte, 4096)
	step := func() (failed bool) {
		for range 8 {
			_, w, err := s.Read(p)
			for s.Pending() > 0 {
				s.Drain(p)
			}
			if err != nil {
				if n, w, again := s.Read(p); n != 0 || w != openssl.WantNothing || again == nil {
					t.Fatalf("after %v a Read gives %d, %v, %v", err, n, w, again)
				}
				return true
			}
			switch w {
			case openssl.WantInput:
				return false
			case openssl.WantClientHello:
				if hello, err := s.ClientHello(); err != nil {
					alert := tls.AlertError(80)
					errors.As(err, &alert)
					must(t, s.Refuse(alert))
				} else if hello == nil {
					t.Fatal("no ClientHello and no error")
				}
				if ids := s.OfferedSessionIDs(); len(ids) > 4 {
					t.Fatalf("%d ids", len(ids))
				}
				s.AnswerSession(stored)
			}
		}
		return false
	}
	for _, part := range [][]byte{first, rest} {
		_, err := s.Feed(part)
		must(t, err)
		if step() {
			break
		}
	}
	must(t, s.FeedEOF())
	step()
	state := s.ConnectionState()
	if state.HandshakeComplete && state.Version < tls.VersionTLS12 {
		t.Fatalf("a handshake of version %#x", state.Version)
	}
	s.Shutdown()
}
