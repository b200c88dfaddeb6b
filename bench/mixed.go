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

// underLoad is the 99th percentile of what a client of a mixed server waits for, while n
// connections take data and n more echo 100 bytes: of an echo, or
// of a new connection up to its first byte. The clients are crypto/tls, whoever serves.
func underLoad(ctx context.Context, port, mode string, n int, long time.Duration) (got sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*long+10*time.Second)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	var conns []io.Closer
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	open := func(first string) (*tls.Conn, error) {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
		c, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err != nil {
			return nil, err
		}
		if first != "" {
			_, err = c.Write([]byte(first))
		}
		return c.(*tls.Conn), err
	}
	echo := func(c *tls.Conn, p []byte) error {
		if _, err := c.Write(p); err != nil {
			return err
		}
		_, err := io.ReadFull(c, p)
		return err
	}
	var mu sync.Mutex
	var times []time.Duration
	var settled, until time.Time // before settled all of them begin at once
	note := func(began time.Time) {
		mu.Lock()
		defer mu.Unlock()
		if began.After(settled) {
			times = append(times, time.Since(began))
		}
	}
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().After(until) && len(times) >= least
	}
	message := func() []byte { return make([]byte, 100) }
	failed := make(chan error, 2*n+1)
	start := make(chan struct{})
	begin := sync.OnceFunc(func() { close(start) })
	defer begin()
	for range n {
		bulk, err := open("")
		if err != nil {
			return got, err
		}
		conns = append(conns, bulk)
		if err := bulk.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10); err != nil { // the turn of a writer is short then
			return got, err
		}
		all.Go(func() {
			if <-start; ctx.Err() == nil {
				bulk.Write([]byte("b"))
				turns := time.NewTicker(bulkTurn)
				defer turns.Stop()
				for err := error(nil); err == nil; <-turns.C {
					_, err = io.CopyN(io.Discard, bulk, bulkPiece)
				}
			}
		})
		quiet, err := open(string(message()))
		if err != nil {
			return got, err
		}
		conns = append(conns, quiet)
		all.Go(func() {
			p := message()
			if _, err := io.ReadFull(quiet, p); err != nil {
				failed <- err
				return
			}
			for <-start; !enough(); {
				began := time.Now()
				if err := echo(quiet, p); err != nil {
					failed <- err
					return
				}
				if mode == "echo" {
					note(began)
				}
			}
			failed <- nil
		})
	}
	settled, until = time.Now().Add(long/4), time.Now().Add(long)
	begin()
	for mode == "accept" && !enough() {
		began := time.Now()
		c, err := open("x")
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
			c.Close()
		}
		if err != nil {
			return got, err
		}
		note(began)
	}
	for range n {
		err = errors.Join(err, <-failed)
	}
	if err != nil {
		return got, err
	}
	slices.Sort(times)
	return sample{CPU: 1, Wall: times[len(times)*99/100].Nanoseconds(), Ops: int64(len(times))}, nil
}
