package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

var scalePeers = []string{ours, plainC, goTLS}

// writeGrowth is how many handshakes a second each peer makes with one thread, two and so on.
func (l *lab) writeGrowth(ctx context.Context, w io.Writer, ops int) error {
	fmt.Fprintf(w, "\n## Handshakes a second on several processors\n\nFull TLS 1.3, ECDSA, each peer at both ends, in memory; GOMAXPROCS and goroutines, or threads of C, as many as the column says.\n\n")
	head := []string{"peer"}
	for k := 1; k <= runtime.NumCPU(); k++ {
		head = append(head, fmt.Sprint(k))
	}
	table := [][]string{append(head, "growth")}
	for _, p := range scalePeers {
		line, first, last := []string{p}, 0.0, 0.0
		for k := 1; k <= runtime.NumCPU(); k++ {
			fmt.Fprintf(os.Stderr, "growth, %s, %d\n", p, k)
			c := &benchCase{id: "split", kind: split, version: "1.3", mode: "full", size: k}
			var rates []float64
			err := l.with(ctx, c, p, launch{env: []string{fmt.Sprintf("GOMAXPROCS=%d", k)}}, func(s *stand) error {
				for range 5 {
					got, err := s.run(p, ops)
					if err != nil {
						return err
					}
					rates = append(rates, float64(got.Ops)/time.Duration(got.Wall).Seconds())
				}
				return nil
			})
			if err != nil {
				return err
			}
			last = quantile(rates, 0.5)
			if k == 1 {
				first = last
			}
			line = append(line, fmt.Sprintf("%.0f", last))
		}
		table = append(table, append(line, fmt.Sprintf("%.2f", last/first)))
	}
	markdown(w, table)
	return nil
}

// with starts a case's peer and its client for as long as f runs.
func (l *lab) with(ctx context.Context, c *benchCase, peer string, how launch, f func(s *stand) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &stand{lab: l, c: c, workers: map[string]*process{}}
	if c.verb() != "" {
		if s.client, err = l.start(ctx, launch{cpu: 1}, "cbench", "client"); err != nil {
			return err
		}
		defer s.client.stop()
	}
	if s.workers[peer], err = l.startPeer(ctx, c, peer, how); err != nil {
		return err
	}
	if err := f(s); err != nil {
		return err
	}
	return s.workers[peer].stop()
}

// writeScale is what many idle connections take, and many handshakes at once.
func (l *lab) writeScale(ctx context.Context, w io.Writer, counts []int, storms int) error {
	fmt.Fprintf(w, "\n## Many connections\n\nResident KiB for each connection with a goroutine blocked in Read (C: idle), then all of the process at %d. "+
		"%d handshakes at once: elapsed, and the most threads and resident memory meanwhile.\n\n", counts[len(counts)-1], storms)
	head := []string{"peer"}
	for _, n := range counts {
		head = append(head, fmt.Sprintf("KiB at %d", n))
	}
	table := [][]string{append(head, "descriptors", "threads", fmt.Sprintf("%d at once, ms", storms), "threads", "MiB")}
	for _, p := range scalePeers {
		line := []string{p}
		var idleMost most
		for _, n := range counts {
			fmt.Fprintf(os.Stderr, "scale, %s, %d\n", p, n)
			c := &benchCase{id: "scale", kind: idle, version: "1.3", mode: "blocked", memory: true}
			got, m, err := l.watched(ctx, c, p, n)
			if err != nil {
				return err
			}
			line, idleMost = append(line, figure(got.perOp(c))), m
		}
		got, m, err := l.watched(ctx, &benchCase{id: "storm", kind: storm, version: "1.3", mode: "full"}, p, storms)
		if err != nil {
			return err
		}
		line = append(line, fmt.Sprint(idleMost.descriptors), fmt.Sprint(idleMost.threads),
			figure(float64(got.Wall)/1e6), fmt.Sprint(m.threads), figure(float64(m.resident)/1024))
		table = append(table, line)
	}
	markdown(w, table)
	return nil
}

// watched is a run of a peer in a fresh process, and what that has had at most.
func (l *lab) watched(ctx context.Context, c *benchCase, peer string, n int) (got sample, m most, err error) {
	err = l.with(ctx, c, peer, launch{}, func(s *stand) (err error) {
		if _, err = s.run(peer, 20); err != nil {
			return err
		}
		stop := watch(s.workers[peer])
		got, err = s.run(peer, n)
		m = stop()
		return err
	})
	return got, m, err
}

// most is what a process has had at one moment.
type most struct{ threads, descriptors, resident int }

// watch looks at a process again and again until it is stopped.
func watch(p *process) (stop func() most) {
	var m most
	end, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
		status, _ := os.ReadFile(dir + "status")
		for line := range strings.Lines(string(status)) {
			if n, found := strings.CutPrefix(line, "Threads:"); found {
				m.threads = max(m.threads, int(number(n)))
			} else if n, found := strings.CutPrefix(line, "VmHWM:"); found {
				m.resident = int(number(strings.TrimSuffix(strings.TrimSpace(n), " kB")))
			}
		}
		fds, _ := filepath.Glob(dir + "fd/*")
		m.descriptors = max(m.descriptors, len(fds))
	}
	go func() {
		defer close(ended)
		each := time.NewTicker(100 * time.Millisecond)
		defer each.Stop()
		for {
			look()
			select {
			case <-end:
				return
			case <-each.C:
			}
		}
	}()
	return func() most {
		close(end)
		<-ended
		return m
	}
}

// writeContention is where goroutines of ours have waited for each other's locks, in a
// mutex profile of handshakes on all processors.
func (l *lab) writeContention(ctx context.Context, w io.Writer, ops int) error {
	c := &benchCase{id: "split", kind: split, version: "1.3", mode: "full", size: 2 * runtime.NumCPU()}
	var text []string
	for _, kind := range []string{"mutex", "block"} {
		file := l.file(kind + ".pprof")
		err := l.with(ctx, c, ours, launch{env: []string{"BENCH_" + strings.ToUpper(kind) + "PROFILE=" + file}}, func(s *stand) error {
			_, err := s.run(ours, ops)
			return err
		})
		if err != nil {
			return err
		}
		top := said("go", "tool", "pprof", "-top", "-cum", "-nodecount=12", "-show=sidctx|sync|chan", file)
		text = append(text, kind+" profile, time waited:\n"+top)
	}
	if len(text) == 0 {
		return errors.New("no profile")
	}
	fmt.Fprintf(w, "\n## Waiting for each other\n\nThis library with %d goroutines that shake hands.\n\n```text\n%s\n```\n", c.size, strings.Join(text, "\n\n"))
	return nil
}
