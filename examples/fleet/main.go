// Fleet runs TLS servers, each a process of its own, that share their sessions in
// one Redis, and clients that go from server to server and resume.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/examples/internal/selfsigned"
	"github.com/sidctx/openssl/redisstore"
)

// timedStore counts the lookups of a store and the microseconds that they take.
type timedStore struct {
	openssl.SessionStore
	lookups, took atomic.Int64
}

func (s *timedStore) Get(ctx context.Context, id []byte) ([]byte, error) {
	defer func(began time.Time) { s.lookups.Add(1); s.took.Add(time.Since(began).Microseconds()) }(time.Now())
	return s.SessionStore.Get(ctx, id)
}

// serve says where it listens, then four times a second what its store has done.
func serve() {
	engine := redis.NewClient(&redis.Options{Addr: os.Getenv("FLEET_REDIS"), ContextTimeoutEnabled: true})
	store := &timedStore{SessionStore: redisstore.New(engine, redisstore.Options{})}
	c := must(openssl.NewServerCtx())
	check(c.UseCertificate([]byte(os.Getenv("FLEET_CERT")), []byte(os.Getenv("FLEET_KEY"))))
	check(c.SetSessionIDContext([]byte("fleet"))) // keeps it apart from other fleets on this Redis
	check(c.SetOptions(openssl.OptionNoTicket))   // sessions are in the store, not with the client
	check(c.SetSessionStore(store))
	l := must(openssl.Listen("tcp", "127.0.0.1:0", c))
	fmt.Println(l.Addr())
	go func() {
		for {
			conn := must(l.Accept())
			go func() { io.Copy(conn, conn); conn.Close() }()
		}
	}()
	for range time.Tick(time.Second / 4) {
		must(fmt.Println(store.lookups.Swap(0), store.took.Swap(0)))
	}
}

func main() {
	if os.Getenv("FLEET_KEY") != "" { // this is a process that run has started
		serve()
	}
	servers, clients := flag.Int("servers", 3, "how many processes"), flag.Int("clients", 4, "how many at once")
	length := flag.Duration("for", 10*time.Second, "how long")
	engine := flag.String("redis", "", "address of a Redis or Valkey; empty: a redis-server is started")
	flag.Parse()
	defer end()
	if *engine == "" {
		l := must(net.Listen("tcp", "127.0.0.1:0")) // a port that is free
		*engine = l.Addr().String()
		check(l.Close())
		run(io.Discard, "redis-server", "--bind", "127.0.0.1", "--port", strings.TrimPrefix(*engine, "127.0.0.1:"), "--save", "")
	}
	cert, key, err := selfsigned.Certificate("fleet.test")
	check(errors.Join(err, os.Setenv("FLEET_REDIS", *engine), os.Setenv("FLEET_CERT", string(cert)), os.Setenv("FLEET_KEY", string(key))))
	var calls, resumed, lookups, took atomic.Int64
	addrs := make([]string, *servers)
	for i := range addrs {
		out, in := io.Pipe()
		run(in, os.Args[0])
		must(fmt.Fscanln(out, &addrs[i]))
		go func() {
			for n, us := int64(0), int64(0); ; lookups.Add(n) {
				must(fmt.Fscanln(out, &n, &us))
				took.Add(us)
			}
		}()
	}
	c := must(openssl.NewClientCtx())
	check(c.SetVerifyCAs(cert))
	began := time.Now()
	var wg sync.WaitGroup
	for i := range *clients {
		wg.Go(func() { // to another server each time, with the session that the last one gave
			dialer := openssl.Dialer{Ctx: c, ServerName: "fleet.test"}
			for ; time.Since(began) < *length; i++ {
				conn := must(dialer.DialContext(context.Background(), "tcp", addrs[i%len(addrs)])).(*openssl.Conn)
				if calls.Add(1); conn.ConnectionState().DidResume {
					resumed.Add(1)
				}
				must(conn.Write([]byte("hello")))
				must(io.ReadFull(conn, make([]byte, 5)))
				dialer.Session.Close()
				dialer.Session = must(conn.Session())
				check(conn.Close())
			}
		})
	}
	line := func(was [4]int64, d time.Duration) (now [4]int64) {
		now = [4]int64{calls.Load(), resumed.Load(), lookups.Load(), took.Load()}
		fmt.Printf("\r%6.0f handshakes/s  %5.1f %% resumed  store %6d µs ", float64(now[0]-was[0])/d.Seconds(),
			100*float64(now[1]-was[1])/float64(max(now[0]-was[0], 1)), (now[3]-was[3])/max(now[2]-was[2], 1))
		return now
	}
	if must(os.Stdout.Stat()).Mode()&os.ModeCharDevice != 0 { // a terminal
		go func() {
			for was := [4]int64{}; ; was = line(was, time.Second/2) {
				<-time.After(time.Second / 2)
			}
		}()
	}
	wg.Wait()
	sum := line([4]int64{}, time.Since(began))
	fmt.Printf("\n%d servers, %d clients: %d handshakes, %d resumed, %d lookups\n", *servers, *clients, sum[0], sum[1], sum[2])
}

// run starts a process, which end ends.
func run(out io.Writer, program string, args ...string) {
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	check(cmd.Start())
	running = append(running, cmd.Process)
}

var running []*os.Process

func end() {
	for _, p := range running {
		p.Kill()
	}
}
func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		end()
		log.Fatal(err)
	}
}
