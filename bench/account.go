package main

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

//go:embed account/count.c
var countSource []byte

// counted is what count.c counts, in its order.
var counted = []string{"malloc, calloc, realloc", "free", "bytes asked for", "CRYPTO_malloc", "read locks", "write locks",
	"mutexes", "EVP_…_fetch", "EVP_DigestInit_ex", "EVP_CipherInit_ex", "RAND_bytes_ex", "memcpy", "bytes of memcpy"}

// idleC is plain C with a second thread, which does nothing: from then on glibc's locks
// and allocator are those of a process with threads.
const idleC = "C, 2 threads"

var accountPeers = []string{ours, plainC, idleC, goTLS}

// accountCases is the cases of the account, by the ids of the bench.
var accountCases = []string{"hs-full-13", "hs-ticket-13", "hs-sid-12", "mem-64", "tcp-full-ecdsa", "tcp-full-rsa"}

// counts is what one operation of one peer costs, by the row of the table.
type counts map[string]float64

// account writes what an operation of each peer is made of: times and faults that the kernel
// counts, calls that count.c has seen, system calls that strace has seen, and the share of
// Go in a CPU profile. Each is a run of its own, since each slows what it looks at.
func (l *lab) account(ctx context.Context, w io.Writer, wanted *regexp.Regexp, ops int) error {
	if err := l.buildCounter(); err != nil {
		return err
	}
	fmt.Fprintf(w, "# An account of a handshake\n\nMade by `make account`, per operation: one connection, or for mem-64 one write and read. %s.\n", l.about())
	for _, id := range accountCases {
		if !wanted.MatchString(id) {
			continue
		}
		c := caseByID(id)
		all := map[string]counts{}
		for _, p := range accountPeers {
			fmt.Fprintf(os.Stderr, "%s, %s\n", id, p)
			b, err := l.count(ctx, c, p, ops)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", id, p, err)
			}
			all[p] = b
		}
		fmt.Fprintf(w, "\n## %s (%s)\n\n", c.name, c.id)
		writeCounts(w, all)
	}
	for _, part := range []struct {
		id    string
		write func() error
	}{
		{"growth", func() error { return l.writeGrowth(ctx, w, ops) }},
		{"contention", func() error { return l.writeContention(ctx, w, ops) }},
		{"scale", func() error { return l.writeScale(ctx, w, []int{max(ops/20, 1), max(ops/2, 1), 5 * ops}, ops) }},
	} {
		if wanted.MatchString(part.id) {
			if err := part.write(); err != nil {
				return fmt.Errorf("%s: %w", part.id, err)
			}
		}
	}
	return nil
}

func caseByID(id string) *benchCase {
	for i := range cases {
		if cases[i].id == id {
			return &cases[i]
		}
	}
	panic("no case " + id)
}

// about is where the account was taken.
func (l *lab) about() string {
	return fmt.Sprintf("%s, %s, Linux %s, load %s", opensslVersion(), cpuName(), said("uname", "-r"), load())
}

// rows is the lines of the account, in order. Those that a peer has not are empty.
var rows = append([]string{"CPU, user µs", "CPU, system µs", "elapsed µs", "page faults", "times scheduled", "voluntary switches", "involuntary switches", "threads",
	"system calls", "of them futex", "of them reads", "of them writes", "of them epoll", "of them nanosleep", "of them socket options", "Go, % of the profile"}, counted...)

func writeCounts(w io.Writer, all map[string]counts) {
	table := [][]string{append([]string{"per operation"}, accountPeers...)}
	for _, row := range rows {
		line, any := []string{row}, false
		for _, p := range accountPeers {
			v, has := all[p][row]
			any = any || has
			cell := "–"
			if has {
				cell = figure(v)
			}
			line = append(line, cell)
		}
		if any {
			table = append(table, line)
		}
	}
	markdown(w, table)
}

// count measures one operation of a case and a peer.
func (l *lab) count(ctx context.Context, c *benchCase, peer string, ops int) (counts, error) {
	b := counts{}
	return b, errors.Join(
		l.kernelCounts(ctx, b, c, peer, ops),
		l.libraryCalls(ctx, b, c, peer, ops/4),
		l.systemCalls(ctx, b, c, peer, ops/8),
		l.profileShare(ctx, b, c, peer, ops))
}

// between runs a peer, looks, runs n operations and looks again: what look adds is what
// they have cost.
func (l *lab) between(ctx context.Context, c *benchCase, peer string, n int, how launch, look func(p *process, sign float64) error) error {
	if c.kind == mem {
		n *= 100
	}
	return l.with(ctx, c, peer, how, func(s *stand) error {
		if _, err := s.run(peer, n/4+1); err != nil { // caches are warm then
			return err
		}
		if err := look(s.workers[peer], -1/float64(n)); err != nil {
			return err
		}
		if _, err := s.run(peer, n); err != nil {
			return err
		}
		return look(s.workers[peer], 1/float64(n))
	})
}

// kernelCounts is what /proc has of the process and its threads.
func (l *lab) kernelCounts(ctx context.Context, b counts, c *benchCase, peer string, ops int) error {
	start := time.Now()
	return l.between(ctx, c, peer, ops, launch{}, func(p *process, sign float64) error {
		b["elapsed µs"] += sign * float64(time.Since(start).Microseconds())
		dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
		stat, err := os.ReadFile(dir + "stat")
		if err != nil {
			return err
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		field := strings.Fields(after) // from the third on
		const tick = 1e6 / 100
		b["CPU, user µs"] += sign * tick * number(field[11])
		b["CPU, system µs"] += sign * tick * number(field[12])
		b["page faults"] += sign * number(field[7])
		b["threads"] = number(field[17])
		tasks, err := filepath.Glob(dir + "task/*")
		for _, task := range tasks {
			status, _ := os.ReadFile(task + "/status")
			for line := range strings.Lines(string(status)) {
				if n, found := strings.CutPrefix(line, "voluntary_ctxt_switches:"); found {
					b["voluntary switches"] += sign * number(n)
				} else if n, found := strings.CutPrefix(line, "nonvoluntary_ctxt_switches:"); found {
					b["involuntary switches"] += sign * number(n)
				}
			}
			if times, _ := os.ReadFile(task + "/schedstat"); len(times) > 0 {
				b["times scheduled"] += sign * number(strings.Fields(string(times))[2])
			}
		}
		return err
	})
}

func number(s string) float64 {
	v, _ := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return v
}

// buildCounter compiles count.c.
func (l *lab) buildCounter() error {
	source := l.file("count.c")
	if err := os.WriteFile(source, countSource, 0o600); err != nil {
		return err
	}
	return output(exec.Command("cc", "-O2", "-shared", "-fPIC", "-fno-builtin", "-o", l.file("count.so"), source, "-ldl"), "count.c")
}

// libraryCalls is what count.c sees.
func (l *lab) libraryCalls(ctx context.Context, b counts, c *benchCase, peer string, ops int) error {
	file := l.file("counters")
	if err := os.WriteFile(file, make([]byte, 8*len(counted)), 0o600); err != nil {
		return err
	}
	how := launch{env: []string{"LD_PRELOAD=" + l.file("count.so"), "ACCOUNT_FILE=" + file}}
	return l.between(ctx, c, peer, ops, how, func(_ *process, sign float64) error {
		now, err := os.ReadFile(file)
		if err != nil || len(now) != 8*len(counted) {
			return fmt.Errorf("the counters: %d bytes, %w", len(now), err)
		}
		for i, name := range counted {
			b[name] += sign * float64(binary.NativeEndian.Uint64(now[8*i:]))
		}
		return nil
	})
}

// systemCalls is what strace sees: the difference between two runs of which one is longer.
func (l *lab) systemCalls(ctx context.Context, b counts, c *benchCase, peer string, ops int) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil // the lines stay empty
	}
	for _, part := range []struct {
		ops  int
		sign float64
	}{{ops, -1}, {3 * ops, 1}} {
		file := l.file("strace")
		how := launch{wrap: []string{"strace", "-f", "-c", "-qq", "-o", file}}
		if err := l.between(ctx, c, peer, part.ops, how, func(*process, float64) error { return nil }); err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		per := part.sign / (2 * float64(ops) * 1.25)
		if c.kind == mem {
			per /= 100
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 5 || f[len(f)-1] == "total" || f[0] == "%" || strings.HasPrefix(f[0], "-") {
				continue
			}
			name, n := f[len(f)-1], number(f[3])*per
			b["system calls"] += n
			if row := systemCallRow[name]; row != "" {
				b[row] += n
			}
		}
	}
	return nil
}

var systemCallRow = map[string]string{
	"futex": "of them futex", "nanosleep": "of them nanosleep", "clock_nanosleep": "of them nanosleep", "setsockopt": "of them socket options", "getsockopt": "of them socket options",
	"read": "of them reads", "recvfrom": "of them reads", "recvmsg": "of them reads", "readv": "of them reads",
	"write": "of them writes", "sendto": "of them writes", "sendmsg": "of them writes", "writev": "of them writes",
	"epoll_wait": "of them epoll", "epoll_pwait": "of them epoll", "epoll_ctl": "of them epoll",
}

// profileShare is the share of a CPU profile that is neither C nor the kernel's work for it.
func (l *lab) profileShare(ctx context.Context, b counts, c *benchCase, peer string, ops int) error {
	if peer == plainC || peer == idleC {
		return nil
	}
	file := l.file("cpu.pprof")
	err := l.between(ctx, c, peer, ops, launch{env: []string{"BENCH_CPUPROFILE=" + file}}, func(*process, float64) error { return nil })
	if err != nil {
		return err
	}
	for line := range strings.Lines(said("go", "tool", "pprof", "-top", "-nodecount=1000", file)) {
		f := strings.Fields(line)
		if len(f) == 6 && f[5] == "runtime.cgocall" {
			b["Go, % of the profile"] = 100 - number(strings.TrimSuffix(f[1], "%"))
		}
	}
	return nil
}
