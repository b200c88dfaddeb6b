// Bench compares this library with crypto/tls, with
// github.com/libp2p/go-openssl and with plain C on the same libssl, interleaved
// in one run: same certificates, ciphers and groups. Every peer of every case
// is a process of its own; what is compared is the CPU time, user and system,
// of that whole process, as the median of paired ratios.
//
// In memory, write + read: both ends are the peer's, on one goroutine over a
// buffered wire; C uses a BIO pair. This library is used as net.Conn there.
//
// Handshakes in memory: the client is this library's machine for every Go
// peer, and plain C for C; the cost is that of both ends. crypto/tls has no
// session id cache: its column there is a full handshake.
//
// TCP: the peer serves, the far end is one C program; only the server's cost
// counts. With taskset the server runs on CPU 0 and the client on CPU 1.
//
// Memory: resident bytes per connection that has carried one byte each way, in a
// fresh process, garbage returned to the system first, SSL_MODE_RELEASE_BUFFERS
// for all that have it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", fullScale.rounds, "rounds of every case; memory takes fewer")
	sample := flag.Duration("sample", fullScale.sample, "CPU time of one round of one peer")
	quick := flag.Bool("quick", false, "one tiny round: is everything there?")
	jsonFile := flag.String("json", "", "write every round to this file")
	plotFile := flag.String("plot", "", "draw the ratios with targets into this SVG file")
	tableFile := flag.String("table", "", "write the tables to this file, too")
	only := flag.String("run", "", "only the cases, or parts of the account, whose id matches this expression")
	profile := flag.String("profile", "", "leave CPU profiles of the Go peers in this folder; the figures suffer")
	accountFile := flag.String("account", "", "write what an operation of each peer is made of to this file, and nothing else")
	ops := flag.Int("ops", 2000, "connections of each account")
	list := flag.Bool("list", false, "list the cases")
	flag.Parse()
	if *list {
		for _, c := range cases {
			fmt.Printf("%-16s %s\n", c.id, c.name)
		}
		return
	}
	sc := fullScale
	if *quick {
		sc = quickScale
	} else {
		sc.rounds, sc.sample = *rounds, *sample
		sc.memoryRounds = min(sc.memoryRounds, sc.rounds)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := inLab(*only, func(l *lab, wanted *regexp.Regexp) error {
		if *accountFile != "" {
			return toFile(*accountFile, func(w io.Writer) error { return l.account(ctx, w, wanted, *ops) })
		}
		return bench(ctx, l, wanted, sc, *profile, *jsonFile, *plotFile, *tableFile)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// inLab builds the peers in a temporary folder for as long as f runs.
func inLab(only string, f func(l *lab, wanted *regexp.Regexp) error) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(os.Stderr, "building the peers")
	l, err := newLab(dir)
	if err != nil {
		return err
	}
	return f(l, wanted)
}

func bench(ctx context.Context, l *lab, wanted *regexp.Regexp, sc scale, profile, jsonFile, plotFile, tableFile string) error {
	if l.profile = profile; profile != "" {
		if err := os.MkdirAll(profile, 0o755); err != nil {
			return err
		}
	}
	r := &report{
		Go:         runtime.Version(),
		OpenSSL:    opensslVersion(),
		CPU:        cpuName(),
		Kernel:     said("uname", "-r"),
		Date:       time.Now().UTC().Format(time.RFC3339),
		GOMAXPROCS: 2,
		Pinned:     l.pin,
	}
	progress := func(string) {}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		progress = func(s string) { fmt.Fprintf(os.Stderr, "\r\x1b[K%s", s) }
	}
	before, start := load(), time.Now()
	for i := range cases {
		c := &cases[i]
		if !wanted.MatchString(c.id) {
			continue
		}
		rounds, err := l.measure(ctx, c, sc, progress)
		if err != nil {
			return err
		}
		one, err := newCaseReport(c, rounds)
		if err != nil {
			return err
		}
		r.Cases = append(r.Cases, one)
	}
	if len(r.Cases) == 0 {
		return fmt.Errorf("no case matches %q", wanted)
	}
	r.Load, r.Seconds = before+" before, "+load()+" after", time.Since(start).Seconds()
	progress("")
	fmt.Fprintf(os.Stderr, "%d cases in %.0f s\n", len(r.Cases), r.Seconds)
	r.tables(os.Stdout)
	if err := toFile(tableFile, func(w io.Writer) error { r.tables(w); return nil }); err != nil {
		return err
	}
	if err := toFile(jsonFile, func(w io.Writer) error { return json.NewEncoder(w).Encode(r) }); err != nil {
		return err
	}
	return toFile(plotFile, func(w io.Writer) error { r.plot(w); return nil })
}

func toFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// said is what a program prints, empty if it is not there.
func said(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(out))
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return fmt.Sprintf("%d × %s", runtime.NumCPU(), strings.TrimSpace(strings.TrimLeft(name, "\t :")))
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), runtime.GOARCH)
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// opensslVersion is what the command says, without the part about its library.
func opensslVersion() string {
	version, _, _ := strings.Cut(said("openssl", "version"), " (")
	return version
}
