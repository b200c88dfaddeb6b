package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sidctx/openssl"
)

// serve is a multi-tenant demo server to point probe, curl or s_client at.
func serve(ctx context.Context, out, errOut io.Writer, args []string) error {
	flags := newFlags(errOut, "serve", "[-addr address] [-dir folder] [-host name[:cert]]... [-same-context] [-no-ticket]",
		"sidctx serve -addr 127.0.0.1:8443 -dir certs\nsidctx serve -host a.test -host b.test:cert -same-context  # for probe to find fault with",
		"ended by a signal", "the server could not start, or has failed", badUsage)
	var hosts repeated
	flags.Var(&hosts, "host", "the `name` of a virtual host; followed by \":cert\", the host requires a client certificate (default a.test and b.test:cert)")
	addr := flags.String("addr", "127.0.0.1:0", "the `address` to listen on")
	dir := flags.String("dir", "", "the `folder` to write certificates to: ca.crt, and NAME.crt and NAME.key for each host and for \"client\"; one that it makes gets a .gitignore (default a new one that is removed at the end)")
	same := flags.Bool("same-context", false, "give all hosts the same session id context, a mistake that probe finds")
	noTicket := flags.Bool("no-ticket", false, "resume from the server's cache instead of tickets")
	if done, err := parse(flags, errOut, args); done || err != nil {
		return err
	}
	if len(hosts) == 0 {
		hosts = repeated{"a.test", "b.test:cert"}
	}
	specs, err := parseHosts(hosts)
	if err != nil {
		fmt.Fprintln(errOut, err)
		return errUsage
	}
	if *dir == "" {
		made, err := os.MkdirTemp("", "sidctx-serve-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(made)
		*dir = made
	} else if err := makeDir(*dir); err != nil {
		return err
	}
	s := &site{dir: *dir, sameContext: *same, noTicket: *noTicket}
	defer s.close()
	listener, err := s.listen(*addr, specs)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on %s, certificates in %s\n", listener.Addr(), *dir)
	s.suggest(out, listener.Addr().String(), specs)
	return s.serve(ctx, listener)
}

// makeDir makes dir, if it is not there, with a .gitignore: private keys are not to be
// committed by mistake. In a folder that was there nothing is ignored.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700) // an error if it is no folder
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o600)
}

// hostSpec is a virtual host as -host names it.
type hostSpec struct {
	name string
	asks bool // for a client certificate
}

// parseHosts reads what -host was given. Names become names of files.
func parseHosts(args []string) (specs []hostSpec, err error) {
	taken := map[string]string{"ca": "the authority's", "client": "the client's"}
	for _, arg := range args {
		name, asks := strings.CutSuffix(arg, ":cert")
		normal, err := openssl.NormalizeHost(name)
		switch {
		case err != nil || normal != strings.ToLower(name):
			return nil, fmt.Errorf("sidctx serve: -host %q is not a name, nor name:cert", arg)
		case taken[normal] != "":
			return nil, fmt.Errorf("sidctx serve: -host %q: %s.crt is %s", arg, normal, taken[normal])
		}
		taken[normal] = "another host's"
		specs = append(specs, hostSpec{normal, asks})
	}
	return specs, nil
}

// site is the hosts of serve.
type site struct {
	dir                   string
	sameContext, noTicket bool
	ctxs                  []*openssl.Ctx
}

func (s *site) close() {
	for _, c := range s.ctxs {
		c.Close()
	}
}

func (s *site) newCtx() (*openssl.Ctx, error) {
	c, err := openssl.NewServerCtx()
	if err == nil {
		s.ctxs = append(s.ctxs, c)
	}
	return c, err
}

// listen makes the certificates, a Ctx for each host, and a listener that routes.
func (s *site) listen(addr string, specs []hostSpec) (net.Listener, error) {
	certs, err := newPKI(s.dir)
	if err != nil {
		return nil, err
	}
	if err := certs.leaf("client"); err != nil {
		return nil, err
	}
	byName := make(map[string]*openssl.Ctx)
	hosts := openssl.NewHosts()
	for _, spec := range specs {
		c, err := s.newHost(certs, spec.name, spec.asks)
		if err != nil {
			return nil, err
		}
		byName[spec.name] = c
		if s.sameContext {
			continue // Hosts would not have it
		}
		if err := hosts.Add(spec.name, c); err != nil {
			return nil, err
		}
	}
	front, err := s.newCtx()
	if err != nil {
		return nil, err
	}
	route := hosts.Route
	if s.sameContext {
		route = func(_ context.Context, hello *openssl.ClientHello) (*openssl.Ctx, error) {
			if c := byName[hello.ServerName]; c != nil {
				return c, nil
			}
			return nil, fmt.Errorf("no host is called %q", hello.ServerName)
		}
	}
	if err := front.SetClientHelloFunc(route); err != nil {
		return nil, err
	}
	if s.noTicket {
		if err := front.SetOptions(openssl.OptionNoTicket); err != nil {
			return nil, err
		}
	}
	return openssl.Listen("tcp", addr, front)
}

// suggest prints commands to talk to the hosts with.
func (s *site) suggest(out io.Writer, addr string, specs []hostSpec) {
	in := func(file string) string { return filepath.Join(s.dir, file) }
	probe := "sidctx probe " + addr
	for _, spec := range specs {
		probe += " -host " + spec.name
	}
	ip, port, _ := net.SplitHostPort(addr)
	for _, spec := range specs {
		curl := fmt.Sprintf("curl --resolve %s:%s:%s --cacert %s", spec.name, port, ip, in("ca.crt"))
		if spec.asks {
			curl += fmt.Sprintf(" --cert %s --key %s", in("client.crt"), in("client.key"))
			probe += fmt.Sprintf(" -cert %s=%s,%s", spec.name, in("client.crt"), in("client.key"))
		}
		fmt.Fprintf(out, "  %s https://%s:%s/\n", curl, spec.name, port)
	}
	fmt.Fprintf(out, "  %s\n", probe)
}

// newHost is one virtual host: a certificate, a policy, a context derived from both.
func (s *site) newHost(certs *pki, name string, asks bool) (*openssl.Ctx, error) {
	c, err := s.newCtx()
	if err != nil {
		return nil, err
	}
	if err := certs.leaf(name); err != nil {
		return nil, err
	}
	err = c.UseCertificateFiles(certs.certFile(name), certs.keyFile(name))
	if err == nil && asks {
		var ca []byte
		if ca, err = os.ReadFile(certs.certFile("ca")); err == nil {
			err = errors.Join(c.SetClientCAs(ca), c.SetVerify(openssl.VerifyPeer|openssl.VerifyFailIfNoPeerCert))
		}
	}
	if err == nil && s.noTicket {
		err = c.SetOptions(openssl.OptionNoTicket)
	}
	if err == nil && s.sameContext {
		// All that it takes: one name for all, and nothing else to tell sessions apart by.
		err = errors.Join(c.SetSessionIDContext([]byte("one for all")), c.SetResumptionChecks(false), c.SetMaxAuthAge(0))
	} else if err == nil {
		err = c.DeriveSessionIDContext(openssl.SessionPolicy{Label: "sidctx serve"})
	}
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return c, nil
}

// serve answers until ctx ends.
func (s *site) serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil // as asked
			}
			return err
		}
		conns.Go(func() { answer(ctx, conn.(*openssl.Conn)) })
	}
}

// answer speaks as much HTTP as curl needs.
func answer(ctx context.Context, conn *openssl.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := conn.HandshakeContext(ctx); err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request := bufio.NewReader(conn)
	for {
		line, err := request.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	state := conn.ConnectionState()
	who := "nobody"
	if len(state.PeerCertificates) > 0 {
		who = state.PeerCertificates[0].Subject.CommonName
	}
	body := fmt.Sprintf("host %s, client %s, %s, context %x\n", state.ServerName, who, state.Resumption, state.SessionIDContext)
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}
