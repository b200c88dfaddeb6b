//go:build cgo

package openssl_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sidctx/openssl"
)

// exampleServe accepts connections by c, and writes a greeting to each. stop ends it.
func exampleServe(c *openssl.Ctx) (addr string, stop func()) {
	l, err := openssl.Listen("tcp", "127.0.0.1:0", c)
	check(err)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, "hello\n")
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	return l.Addr().String(), func() { l.Close() }
}

// exampleVisit makes a connection for a.test and reads the greeting.
func exampleVisit(addr string, client *openssl.Ctx, offer *openssl.Session) (openssl.ConnectionState, *openssl.Session) {
	d := openssl.Dialer{Ctx: client, ServerName: "a.test", Session: offer}
	wire, err := d.DialContext(context.Background(), "tcp", addr)
	check(err)
	defer wire.Close()
	_, err = io.ReadFull(wire, make([]byte, len("hello\n")))
	check(err)
	conn := wire.(*openssl.Conn)
	session, err := conn.Session()
	check(err)
	return conn.ConnectionState(), session
}

// exampleServer is a server's Ctx for a.test, and a client's that trusts it.
func exampleServer() (server, client *openssl.Ctx) {
	issue, roots := exampleIssuer()
	server, err := openssl.NewServerCtx()
	check(err)
	check(server.UseCertificate(issue("a.test")))
	client, err = openssl.NewClientCtx()
	check(err)
	check(client.SetVerifyCAs(roots))
	return server, client
}

// A server for net/http and a client of it.
func ExampleListen() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	l, err := openssl.Listen("tcp", "127.0.0.1:0", server)
	check(err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })}
	go s.Serve(l)
	defer s.Close()

	dialer := &openssl.Dialer{Ctx: client, ServerName: "a.test"}
	transport := &http.Transport{DialTLSContext: dialer.DialContext}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + l.Addr().String())
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	fmt.Print(string(body))
	// Output: hello
}

// What a failed call returns: one line to print, a sentinel to compare with, and libssl's
// error queue.
func ExampleError() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	err := server.SetSessionIDContext(make([]byte, 40))
	fmt.Println(err)
	fmt.Println(errors.Is(err, openssl.ErrSessionIDContextTooLong))
	var e *openssl.Error
	if errors.As(err, &e) {
		fmt.Println(e.Op, len(e.Stack), e.Stack[0].Library)
	}
	// Output:
	// openssl: SSL_CTX_set_session_id_context: ssl session id context too long: it has 40 bytes: use at most 32 bytes, for example a SHA-256 hash of a longer one, or DeriveSessionIDContext
	// true
	// SSL_CTX_set_session_id_context 1 SSL routines
}

// watched notes the keys of a cache, so that the example can empty it.
type watched struct {
	openssl.ClientSessionCache
	keys map[string]bool
}

func (w watched) Put(key string, s *openssl.Session) {
	w.keys[key] = true
	w.ClientSessionCache.Put(key, s)
}

// A client that keeps its sessions.
func ExampleNewLRUClientSessionCache() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	cache := watched{openssl.NewLRUClientSessionCache(64), make(map[string]bool)}
	defer func() {
		for key := range cache.keys {
			cache.Put(key, nil)
		}
	}()
	check(client.SetClientSessionCache(cache))
	addr, stop := exampleServe(server)
	defer stop()
	for range 2 {
		state, session := exampleVisit(addr, client, nil)
		session.Close()
		fmt.Println("resumed:", state.DidResume)
	}
	// Output:
	// resumed: false
	// resumed: true
}

// Why a session was not resumed: the server's side of the connection tells. Two servers
// have the same ticket keys, and a context each.
func ExampleCtx_SetVerifyConnection() {
	issue, roots := exampleIssuer()
	client, err := openssl.NewClientCtx()
	check(err)
	defer client.Close()
	check(client.SetVerifyCAs(roots))
	var key openssl.TicketKey
	rand.Read(key.Name[:])
	rand.Read(key.AES[:])
	rand.Read(key.HMAC[:])

	var session *openssl.Session
	for _, name := range []string{"shop", "shop", "office"} {
		server, err := openssl.NewServerCtx()
		check(err)
		defer server.Close()
		check(server.UseCertificate(issue("a.test")))
		check(server.SetTicketKeys(key))
		check(server.SetSessionIDContext([]byte(name)))
		check(server.SetVerifyConnection(func(state openssl.ConnectionState) error {
			fmt.Printf("%s: %v\n", name, state.Resumption)
			return nil // an error ends the connection
		}))
		addr, stop := exampleServe(server)
		defer stop()
		_, next := exampleVisit(addr, client, session)
		session.Close()
		session = next
	}
	session.Close()
	// Output:
	// shop: not offered
	// shop: resumed
	// office: context mismatch
}

// All sessions of a policy end at once.
func ExampleCtx_Revoke() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	check(server.DeriveSessionIDContext(openssl.SessionPolicy{Label: "shop to be revoked"}))
	addr, stop := exampleServe(server)
	defer stop()
	_, session := exampleVisit(addr, client, nil)
	for _, when := range []string{"before", "after"} {
		if when == "after" {
			_, err := server.Revoke() // keep the number for the next start and for other machines
			check(err)
		}
		state, next := exampleVisit(addr, client, session)
		fmt.Println(when, "Revoke, resumed:", state.DidResume)
		session.Close()
		session = next
	}
	session.Close()
	// Output:
	// before Revoke, resumed: true
	// after Revoke, resumed: false
}

// A certificate that is renewed in its files.
func ExampleCertificateReloader() {
	issue, _ := exampleIssuer()
	dir, err := os.MkdirTemp("", "reload")
	check(err)
	defer os.RemoveAll(dir)
	certFile, keyFile := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	renew := func() {
		cert, key := issue("a.test")
		check(os.WriteFile(certFile, cert, 0o600))
		check(os.WriteFile(keyFile, key, 0o600))
	}
	renew()

	var hosts openssl.Hosts // its Route method goes to SetClientHelloFunc of the listener's Ctx
	reloader, err := openssl.NewCertificateReloader(&hosts, "a.test", func() (*openssl.Ctx, error) {
		c, err := openssl.NewServerCtx()
		if err != nil {
			return nil, err
		}
		err = errors.Join(c.UseCertificateFiles(certFile, keyFile), c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "shop"}))
		if err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}, certFile, keyFile)
	check(err)
	defer reloader.Close()
	for range 2 { // in a program: at each tick of a time.Ticker
		changed, err := reloader.Reload()
		fmt.Println(changed, err)
		renew()
	}
	// Output:
	// false <nil>
	// true <nil>
}

// exampleStore keeps sessions in memory; package redisstore does so in Redis.
type exampleStore struct {
	mu  sync.Mutex
	all map[string][]byte
	put chan bool
}

func (s *exampleStore) Put(_ context.Context, id, session []byte, _ time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[string(id)] = bytes.Clone(session)
	s.put <- true
	return nil
}

func (s *exampleStore) Get(_ context.Context, id []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session := s.all[string(id)]; session != nil {
		return session, nil
	}
	return nil, openssl.ErrSessionNotFound
}

func (s *exampleStore) Delete(_ context.Context, id []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, string(id))
	return nil
}

// Servers that share their sessions in a store, encrypted.
func ExampleSealStore() {
	issue, roots := exampleIssuer()
	var key [32]byte
	rand.Read(key[:]) // the same on all servers
	engine := &exampleStore{all: make(map[string][]byte), put: make(chan bool, 10)}
	store, err := openssl.SealStore(engine, key)
	check(err)
	client, err := openssl.NewClientCtx()
	check(err)
	defer client.Close()
	check(client.SetVerifyCAs(roots))

	var session *openssl.Session
	for _, name := range []string{"first", "second"} {
		server, err := openssl.NewServerCtx()
		check(err)
		defer server.Close()
		check(server.UseCertificate(issue("a.test")))
		check(server.SetSessionIDContext([]byte("shop")))
		check(server.SetOptions(openssl.OptionNoTicket)) // otherwise clients get tickets
		check(server.SetNumTickets(1))
		check(server.SetSessionStore(store))
		addr, stop := exampleServe(server)
		defer stop()
		state, next := exampleVisit(addr, client, session)
		fmt.Println(name, "server, resumed:", state.DidResume)
		session.Close()
		session = next
		<-engine.put // it is put behind the handshake
	}
	session.Close()
	// Output:
	// first server, resumed: false
	// second server, resumed: true
}

// Servers that share their tickets by one secret.
func ExampleCtx_SetFleetTicketKeys() {
	issue, roots := exampleIssuer()
	secret := make([]byte, 32)
	rand.Read(secret) // the same on all servers
	client, err := openssl.NewClientCtx()
	check(err)
	defer client.Close()
	check(client.SetVerifyCAs(roots))

	var session *openssl.Session
	for _, name := range []string{"first", "second"} {
		server, err := openssl.NewServerCtx()
		check(err)
		defer server.Close()
		check(server.UseCertificate(issue("a.test")))
		check(server.SetSessionIDContext([]byte("shop")))
		check(server.SetFleetTicketKeys(secret, 12*time.Hour))
		addr, stop := exampleServe(server)
		defer stop()
		state, next := exampleVisit(addr, client, session)
		fmt.Println(name, "server, resumed:", state.DidResume)
		session.Close()
		session = next
	}
	session.Close()
	// Output:
	// first server, resumed: false
	// second server, resumed: true
}

// A server whose certificate is pinned, whatever its CA.
func ExampleVerifyMode() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	addr, stop := exampleServe(server)
	defer stop()
	first, session := exampleVisit(addr, client, nil)
	session.Close()
	pin := sha256.Sum256(first.PeerCertificates[0].Raw)

	pinned, err := openssl.NewClientCtx()
	check(err)
	defer pinned.Close()
	check(pinned.SetVerify(openssl.VerifyDefer))
	check(pinned.SetVerifyConnection(func(state openssl.ConnectionState) error {
		if len(state.PeerCertificates) == 0 || sha256.Sum256(state.PeerCertificates[0].Raw) != pin {
			return errors.New("another certificate than the one that is pinned")
		}
		return nil
	}))
	state, session := exampleVisit(addr, pinned, nil)
	session.Close()
	fmt.Println(state.PeerCertificates[0].Subject.CommonName)
	// Output: a.test
}

// TLS over a transport that is not a net.Conn: ciphertext is carried between both ends.
func ExampleSSL() {
	server, client := exampleServer()
	defer server.Close()
	defer client.Close()
	c, err := openssl.NewSSL(client)
	check(err)
	defer c.Close()
	check(c.SetServerName("a.test"))
	s, err := openssl.NewSSL(server)
	check(err)
	defer s.Close()
	carry := func(from, to *openssl.SSL) {
		for p := make([]byte, 4096); ; {
			n := from.Drain(p)
			if n == 0 {
				return
			}
			for rest := p[:n]; len(rest) > 0; {
				n, err := to.Feed(rest)
				check(err)
				rest = rest[n:]
			}
		}
	}
	for both := openssl.WantInput; both == openssl.WantInput; {
		want, err := c.Handshake()
		check(err)
		carry(c, s)
		both, err = s.Handshake()
		check(err)
		carry(s, c)
		if want == openssl.WantNothing {
			both = want
		}
	}
	_, _, err = s.Write([]byte("hello"))
	check(err)
	carry(s, c)
	p := make([]byte, 16)
	n, _, err := c.Read(p)
	check(err)
	fmt.Println(string(p[:n]))
	// Output: hello
}
