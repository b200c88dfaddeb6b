package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A bulk connection takes that much in each turn. All of them together take a good part of
// what two processors can do, and not all of it: then only the queue would be measured.
const (
	bulkPiece = 64 << 10
	bulkTurn  = 50 * time.Millisecond
)

const least = 20 // times that make a percentile

// mixedClients is the clients of a mixed server: always crypto/tls.
type mixedClients struct {
	port  string
	start chan struct{} // closed when all are connected
	all   sync.WaitGroup
	conns []io.Closer

	mu      sync.Mutex
	times   []time.Duration
	settled time.Time // before, all of them begin at once: that is not counted
	until   time.Time
}

// underLoad is the 99th percentile of what a client of a mixed server waits for, while n
// connections take data and n more echo 100 bytes: of an echo, or of a new connection up to
// its first byte.
func underLoad(ctx context.Context, port, mode string, n int, long time.Duration) (got sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*long+10*time.Second)
	defer cancel()
	c := &mixedClients{port: port, start: make(chan struct{})}
	defer c.all.Wait()
	defer func() {
		for _, conn := range c.conns {
			conn.Close()
		}
	}()
	begin := sync.OnceFunc(func() { close(c.start) })
	defer begin()
	failed := make(chan error, n)
	for range n {
		if err := errors.Join(c.addBulk(ctx), c.addEcho(ctx, mode == "echo", failed)); err != nil {
			return got, err
		}
	}
	c.settled, c.until = time.Now().Add(long/4), time.Now().Add(long)
	begin()
	for mode == "accept" && !c.enough() {
		if err := c.visit(ctx); err != nil {
			return got, err
		}
	}
	for range n {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return got, err
	}
	slices.Sort(c.times)
	return sample{CPU: 1, Wall: c.times[len(c.times)*99/100].Nanoseconds(), Ops: int64(len(c.times))}, nil
}

func (c *mixedClients) dial(ctx context.Context) (*tls.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
	conn, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+c.port)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// addBulk adds a connection that is sent data.
func (c *mixedClients) addBulk(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.conns = append(c.conns, conn)
	c.all.Go(func() {
		if <-c.start; ctx.Err() != nil {
			return
		}
		turns := time.NewTicker(bulkTurn)
		defer turns.Stop()
		for _, err := conn.Write([]byte("b")); err == nil; <-turns.C {
			_, err = io.CopyN(io.Discard, conn, bulkPiece)
		}
	})
	return conn.NetConn().(*net.TCPConn).SetReadBuffer(bulkPiece) // the turn of the writer is short then
}

// addEcho adds a connection that echoes, first once and from the start on until there are
// times enough.
func (c *mixedClients) addEcho(ctx context.Context, counts bool, failed chan<- error) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.conns = append(c.conns, conn)
	p := make([]byte, 100)
	if err := echo(conn, p); err != nil {
		return err
	}
	c.all.Go(func() {
		var err error
		for <-c.start; err == nil && !c.enough(); {
			began := time.Now()
			if err = echo(conn, p); err == nil && counts {
				c.note(began)
			}
		}
		failed <- err
	})
	return nil
}

func echo(c *tls.Conn, p []byte) error {
	if _, err := c.Write(p); err != nil {
		return err
	}
	_, err := io.ReadFull(c, p)
	return err
}

// visit is a new connection up to its first byte.
func (c *mixedClients) visit(ctx context.Context) error {
	began := time.Now()
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = echo(conn, make([]byte, 1))
	c.note(began)
	return err
}

func (c *mixedClients) note(began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if began.After(c.settled) {
		c.times = append(c.times, time.Since(began))
	}
}

func (c *mixedClients) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().After(c.until) && len(c.times) >= least
}
