//go:build soak && cgo

package soak_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// sample is what the process holds at one moment.
type sample struct {
	at                               time.Duration
	connections                      int64 // so far
	memory, goMemory                 int   // resident, and Go's part of it, in KiB
	descriptors, goroutines, threads int
	handles                          int64
}

func take(t testing.TB, at time.Duration, connections int64) sample {
	debug.FreeOSMemory() // or the collector's rhythm is most of what is seen
	s := sample{at: at, connections: connections, goroutines: runtime.NumGoroutine(), handles: libssl.LiveHandles()}
	s.descriptors = descriptors(t)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	s.goMemory = int(stats.Sys-stats.HeapReleased) >> 10
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &s.memory)
		fmt.Sscanf(line, "Threads: %d", &s.threads)
	}
	return s
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list) - 1 // without that of the list
}

// settled waits, for what ends by itself, until what is held is not more than want.
func settled(want sample) (s sample) {
	for end := time.Now().Add(10 * time.Second); ; {
		list, _ := os.ReadDir("/proc/self/fd")
		s = sample{descriptors: len(list) - 1, goroutines: runtime.NumGoroutine(), handles: libssl.LiveHandles()}
		if s == want || time.Now().After(end) {
			return s
		}
		runtime.Gosched()
	}
}

const blocks = 20 // of samples, the means of which are almost independent

// slope is the 95 % confidence interval of how memory changes, in KiB per minute: the
// regression line through means of blocks. Where those still follow each other, the
// interval is wider by what their correlation takes from their number.
func slope(samples []sample) (low, high float64) {
	var x, y [blocks]float64
	for b := range blocks {
		part := samples[b*len(samples)/blocks : (b+1)*len(samples)/blocks]
		for _, s := range part {
			x[b] += s.at.Minutes() / float64(len(part))
			y[b] += float64(s.memory) / float64(len(part))
		}
	}
	mean := func(v [blocks]float64) (m float64) {
		for _, f := range v {
			m += f / blocks
		}
		return m
	}
	mx, my := mean(x), mean(y)
	var sxx, sxy, sse, lagged float64
	for b := range blocks {
		sxx += (x[b] - mx) * (x[b] - mx)
		sxy += (x[b] - mx) * (y[b] - my)
	}
	m, last := sxy/sxx, 0.0
	for b := range blocks {
		r := y[b] - my - m*(x[b]-mx)
		sse += r * r
		lagged += r * last
		last = r
	}
	correlation := 0.0
	if sse > 0 {
		correlation = min(max(lagged/sse, 0), 0.9)
	}
	const t18 = 2.101 // Student's t for blocks-2 degrees of freedom
	half := t18 * math.Sqrt(sse/(blocks-2)/sxx*(1+correlation)/(1-correlation))
	return m - half, m + half
}

// print writes a table with some twenty of the samples.
func print(samples []sample) {
	fmt.Printf("%10s %12s %11s %11s %12s %11s %8s %8s\n", "time", "connections", "memory KiB", "Go's KiB", "descriptors", "goroutines", "threads", "handles")
	for b := range blocks {
		s := samples[(b+1)*len(samples)/blocks-1]
		fmt.Printf("%10v %12d %11d %11d %12d %11d %8d %8d\n", s.at.Round(100*time.Millisecond), s.connections, s.memory, s.goMemory,
			s.descriptors, s.goroutines, s.threads, s.handles)
	}
}

// draw is resident memory over time as SVG.
func draw(samples []sample) []byte {
	const width, height, margin = 720.0, 300.0, 60.0
	end, top := samples[len(samples)-1].at, 0
	for _, s := range samples {
		top = max(top, s.memory)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %v %v" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%v" y="20">resident memory, 0 to %d KiB, over %v and %d connections</text>`+"\n",
		margin, top, end.Round(time.Second), samples[len(samples)-1].connections)
	fmt.Fprintf(&b, `<path fill="none" stroke="#888" d="M%v 30V%vH%v"/>`+"\n", margin, height-margin/2, width-10)
	b.WriteString(`<polyline fill="none" stroke="#06c" points="`)
	for _, s := range samples {
		fmt.Fprintf(&b, "%.1f,%.1f ", margin+(width-10-margin)*float64(s.at)/float64(end),
			height-margin/2-(height-margin/2-30)*float64(s.memory)/float64(top))
	}
	b.WriteString("\"/>\n</svg>\n")
	return b.Bytes()
}
