// Package worker is the half of the bench that a Go peer runs in a process of
// its own: it serves one case, as often as the bench asks over stdin, and says
// what that cost the process. The C peer, cbench.c, speaks the same protocol.
package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sidctx/openssl"
)

// Config is what a peer makes its contexts from. Ciphers and groups are the
// same for all: libssl reads them from OPENSSL_CONF, crypto/tls is given them.
type Config struct {
	CertFile, KeyFile string
	TLS13             bool // TLS 1.2 otherwise, nothing else
	NoTickets         bool
	ReleaseBuffers    bool
}

// Conn is a connection of a peer.
type Conn interface {
	net.Conn
	Handshake() error
}

// Maker makes connections from one context.
type Maker func(wire net.Conn) (Conn, error)

// Peer is a library under test.
type Peer struct {
	Server, Client func(Config) (Maker, error) // clients verify nothing: chains are not what is compared
	Cipher         func(Conn) string
	SetSID         func() (func(sidCtx []byte) error, error) // nil: it has none
}

// args are the bench's: KIND VERSION MODE SIZE CERT.
type args struct {
	kind, version, mode, cert string
	size                      int
}

// job is one case, ready to be run n times. It says how much memory n
// connections took, if that is what it measures.
type job func(n int) (cost, error)

type cost struct {
	cpu, wall time.Duration
	bytes     int64
}

// measured is the cost of one call.
func measured(f func() error) (c cost, err error) {
	from, start := processCPU(), time.Now()
	err = f()
	return cost{cpu: processCPU() - from, wall: time.Since(start)}, err
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Main serves the case that the command line names, until stdin ends.
func Main(p Peer) {
	if err := serve(p); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func serve(p Peer) error {
	if len(os.Args) != 6 {
		return errors.New("usage: KIND VERSION MODE SIZE CERT; the bench starts this program")
	}
	a := args{kind: os.Args[1], version: os.Args[2], mode: os.Args[3], cert: os.Args[5]}
	if _, err := fmt.Sscan(os.Args[4], &a.size); err != nil {
		return err
	}
	run, port, err := newJob(p, a)
	if err != nil {
		return err
	}
	if path := os.Getenv("BENCH_CPUPROFILE"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for name, begin := range map[string]func(){
		"mutex": func() { runtime.SetMutexProfileFraction(1) },
		"block": func() { runtime.SetBlockProfileRate(1) },
	} {
		if path := os.Getenv("BENCH_" + strings.ToUpper(name) + "PROFILE"); path != "" {
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			defer f.Close()
			begin()
			defer pprof.Lookup(name).WriteTo(f, 0)
		}
	}
	fmt.Println("ready", port)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var n int
		if _, err := fmt.Sscanf(in.Text(), "run %d", &n); err != nil || n < 1 {
			return fmt.Errorf("not a command: %q", in.Text())
		}
		c, err := run(n)
		if err != nil {
			return err
		}
		fmt.Println("ok", c.cpu.Nanoseconds(), c.wall.Nanoseconds(), n, c.bytes)
	}
	return nil
}

func newJob(p Peer, a args) (job, int, error) {
	if a.kind == "setsid" {
		run, err := setSID(p, a)
		return run, 0, err
	}
	cfg := Config{
		CertFile:       a.cert + ".pem",
		KeyFile:        a.cert + ".key",
		TLS13:          a.version == "1.3",
		NoTickets:      a.mode == "sid",
		ReleaseBuffers: a.kind == "idle",
	}
	server, err := p.Server(cfg)
	if err != nil {
		return nil, 0, err
	}
	var run job
	switch a.kind {
	case "mem":
		run, err = inMemory(p, cfg, server, a.size)
	case "hs":
		run, err = handshakes(p, cfg, server, a.mode)
	case "ends":
		run, err = bothEnds(p, cfg, server, 1)
	case "split":
		run, err = bothEnds(p, cfg, server, a.size)
	case "tcp", "accept", "storm", "idle", "mixed":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, 0, err
		}
		switch a.kind {
		case "tcp":
			run = stream(p, server, l, a)
		case "accept", "storm":
			run = accept(server, l)
		case "mixed":
			run = mixed(server, l)
		default:
			run = idle(server, l, a.mode == "blocked")
		}
		return run, l.Addr().(*net.TCPAddr).Port, nil
	default:
		err = fmt.Errorf("no case %q", a.kind)
	}
	return run, 0, err
}

func checkCipher(p Peer, c Conn) error {
	if name := p.Cipher(c); !strings.Contains(name, "AES128-GCM") && !strings.Contains(name, "AES_128_GCM") {
		return fmt.Errorf("negotiated %s, the bench compares AES-128-GCM", name)
	}
	return nil
}

// joined makes a connection between two ends and shakes hands.
func joined(client, server Maker) (c, s Conn, err error) {
	near, far := newWire()
	if c, err = client(near); err != nil {
		return nil, nil, err
	}
	if s, err = server(far); err != nil {
		return nil, nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- c.Handshake() }()
	return c, s, errors.Join(s.Handshake(), <-failed)
}

// inMemory writes at one end and reads at the other, on one goroutine.
func inMemory(p Peer, cfg Config, server Maker, size int) (job, error) {
	client, err := p.Client(cfg)
	if err != nil {
		return nil, err
	}
	c, s, err := joined(client, server)
	if err != nil {
		return nil, err
	}
	if err := checkCipher(p, c); err != nil {
		return nil, err
	}
	out, in := make([]byte, size), make([]byte, size)
	return func(n int) (cost, error) {
		return measured(func() error {
			for range n {
				if _, err := s.Write(out); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, in); err != nil {
					return err
				}
			}
			return nil
		})
	}, nil
}

// handshakes makes connections with a client that is the same for every Go
// peer, this library's machine; mode is full, ticket or sid.
func handshakes(p Peer, cfg Config, server Maker, mode string) (job, error) {
	v := uint16(0x0303)
	if cfg.TLS13 {
		v++
	}
	ctx, err := newClientCtx(v)
	if err != nil {
		return nil, err
	}
	var kept *openssl.Session
	connect := func(look bool) error {
		c, err := openssl.NewSSL(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		if kept != nil {
			if err := c.SetSession(kept); err != nil {
				return err
			}
		}
		wire := newCaller(c)
		s, err := server(wire)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Handshake(); err != nil {
			return err
		}
		got, err := wire.finish(cfg.TLS13)
		if err != nil {
			return err
		}
		if look {
			if err := checkCipher(p, s); err != nil {
				return err
			}
			st := c.ConnectionState()
			if st.Version != v || st.DidResume != (kept != nil) {
				return fmt.Errorf("version %#x, resumed %v: not what the case is about", st.Version, st.DidResume)
			}
		}
		// TLS 1.3 tickets are used once; a TLS 1.2 session is kept. crypto/tls
		// has no session ids: there it stays a full handshake.
		if mode != "full" && !cfg.TLS13 && kept == nil {
			if got, err = c.Session(); err != nil && !errors.Is(err, openssl.ErrSessionNotFound) {
				return err
			}
		}
		if mode == "full" {
			got.Close()
		} else if got != nil {
			if kept != nil {
				kept.Close()
			}
			kept = got
		}
		_, err = c.Shutdown()
		return err
	}
	return func(n int) (cost, error) {
		return measured(func() error {
			for i := range n {
				if err := connect(i == 0 || i == n-1); err != nil {
					return err
				}
			}
			return nil
		})
	}, nil
}

func newClientCtx(version uint16) (*openssl.Ctx, error) {
	c, err := openssl.NewClientCtx()
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.SetVerify(openssl.VerifyNone), c.SetMinVersion(version), c.SetMaxVersion(version))
}

// bothEnds makes connections with the peer at both ends, and has the client
// read one byte, and the tickets before it. Several goroutines share the contexts.
func bothEnds(p Peer, cfg Config, server Maker, goroutines int) (job, error) {
	client, err := p.Client(cfg)
	if err != nil {
		return nil, err
	}
	connect := func() error {
		near, far := newWire()
		c, err := client(near)
		if err != nil {
			return err
		}
		s, err := server(far)
		if err != nil {
			return err
		}
		heard := make(chan error, 1)
		go func() {
			err := c.Handshake()
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 1))
			}
			heard <- err
		}()
		err = s.Handshake()
		if err == nil {
			_, err = s.Write([]byte{'x'})
		}
		if err = errors.Join(err, <-heard); err != nil {
			return err
		}
		s.Close()
		c.Close()
		return nil
	}
	return func(n int) (cost, error) {
		return measured(func() error {
			var all sync.WaitGroup
			failed := make(chan error, goroutines)
			for range goroutines {
				all.Go(func() {
					for range (n + goroutines - 1) / goroutines {
						if err := connect(); err != nil {
							failed <- err
							return
						}
					}
				})
			}
			all.Wait()
			close(failed)
			return <-failed
		})
	}, nil
}

func setSID(p Peer, a args) (job, error) {
	if p.SetSID == nil {
		return nil, errors.New("this peer has no session id context")
	}
	set, err := p.SetSID()
	if err != nil {
		return nil, err
	}
	sidCtx := make([]byte, a.size)
	fails := a.size > 32
	return func(n int) (cost, error) {
		return measured(func() error {
			for range n {
				if err := set(sidCtx); (err != nil) != fails {
					return fmt.Errorf("a context of %d bytes: %v", len(sidCtx), err)
				}
			}
			return nil
		})
	}, nil
}

func acceptOne(server Maker, l net.Listener) (Conn, error) {
	wire, err := l.Accept()
	if err != nil {
		return nil, err
	}
	s, err := server(wire)
	if err != nil {
		wire.Close()
		return nil, err
	}
	return s, s.Handshake()
}

// stream sends or receives n pieces on one connection; the clock runs from
// the end of the handshake until the client has everything.
func stream(p Peer, server Maker, l net.Listener, a args) job {
	buf := make([]byte, a.size)
	return func(n int) (cost, error) {
		s, err := acceptOne(server, l)
		if err != nil {
			return cost{}, err
		}
		defer s.Close()
		if err := checkCipher(p, s); err != nil {
			return cost{}, err
		}
		if a.mode == "recv" {
			return measured(func() error {
				if _, err := s.Write(buf[:1]); err != nil {
					return err
				}
				for left := n * a.size; left > 0; {
					k, err := s.Read(buf)
					if err != nil {
						return err
					}
					left -= k
				}
				return nil
			})
		}
		if _, err := io.ReadFull(s, buf[:1]); err != nil {
			return cost{}, err
		}
		return measured(func() error {
			for range n {
				if _, err := s.Write(buf); err != nil {
					return err
				}
			}
			_, err := io.ReadFull(s, buf[:1])
			return err
		})
	}
}

// accept serves n connections as servers do, each on a goroutine: a handshake,
// one byte, a goodbye.
func accept(server Maker, l net.Listener) job {
	return func(n int) (cost, error) {
		return measured(func() error {
			var wg sync.WaitGroup
			failed := make(chan error, n)
			for range n {
				wire, err := l.Accept()
				if err != nil {
					return err
				}
				wg.Go(func() {
					s, err := server(wire)
					if err != nil {
						failed <- err
						return
					}
					if _, err := s.Write([]byte{'x'}); err != nil {
						failed <- err
					}
					s.Close()
				})
			}
			wg.Wait()
			select {
			case err := <-failed:
				return err
			default:
				return nil
			}
		})
	}
}

// idle holds n connections that have each carried a byte both ways.
func idle(server Maker, l net.Listener, blocked bool) job {
	return func(n int) (c cost, err error) {
		held := make([]Conn, n)
		before, err := resident()
		if err != nil {
			return c, err
		}
		ctx, failed := context.WithCancelCause(context.Background())
		var wg, readers sync.WaitGroup
		c, err = measured(func() error {
			for i := range n {
				wire, err := l.Accept()
				if err != nil {
					return err
				}
				wg.Go(func() {
					s, err := server(wire)
					if err == nil {
						held[i] = s
						b := make([]byte, 1)
						if _, err = io.ReadFull(s, b); err == nil {
							_, err = s.Write(b)
						}
					}
					if err != nil {
						failed(err)
					} else if blocked {
						readers.Go(func() { s.Read(make([]byte, 1)) })
					}
				})
			}
			wg.Wait()
			return context.Cause(ctx)
		})
		if err != nil {
			return c, err
		}
		if blocked {
			time.Sleep(200 * time.Millisecond) // until they are
		}
		after, err := resident()
		c.bytes = after - before
		for _, s := range held {
			s.Close()
		}
		readers.Wait()
		return c, err
	}
}

// mixed serves what comes: a connection whose first byte is b is sent data without end,
// others get back what they send. A run only starts it.
func mixed(server Maker, l net.Listener) job {
	var once sync.Once
	serve := func(wire net.Conn) {
		s, err := server(wire)
		if err != nil {
			wire.Close()
			return
		}
		defer s.Close()
		buf := make([]byte, 16<<10)
		n, err := s.Read(buf)
		for bulk := n > 0 && buf[0] == 'b'; err == nil; {
			if bulk {
				_, err = s.Write(buf)
			} else if _, err = s.Write(buf[:n]); err == nil {
				n, err = s.Read(buf)
			}
		}
	}
	return func(int) (cost, error) {
		once.Do(func() {
			go func() {
				for {
					wire, err := l.Accept()
					if err != nil {
						return
					}
					go serve(wire)
				}
			}()
		})
		return cost{cpu: 1, wall: 1}, nil
	}
}
