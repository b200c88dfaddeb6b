//go:build malloc && cgo

package malloc_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidctx/openssl"
	"github.com/sidctx/openssl/internal/libssl"
	"github.com/sidctx/openssl/internal/tlstest"
)

// mallocScenario is an act that runs out of memory.
type mallocScenario struct {
	name    string
	setup   func(x *attempt)            // runs once; every attempt starts with a copy of x
	prepare func(x *attempt)            // runs before each act
	act     func(x *attempt) error      // allocations fail in here
	refused bool                        // act returns an error with enough memory, too
	check   func(x *attempt, err error) // looks at what act, which returned err, has left

	// An honest peer may be refused afterwards, though act reported success.
	//
	// libcrypto takes a certificate whose public key it had no memory to decode:
	// x509_pubkey_ex_d2i_ex drops the error, and the key is missing from then on. So
	// it may with what it knows of a CA's extensions, which X509_check_purpose reads
	// once. No function reports it, and no client is admitted by it: it is counted and logged.
	failsClosed bool

	times int // each failure happens as often, 0 is once: reference counts may be wrong by one

	// A cold scenario is tried as the first thing that a process does with
	// libssl, so each attempt has its own process. One in stride allocations fails.
	cold   bool
	stride int
}

// failure says which allocations of an act fail: the nth, counted from 1, and if
// onward all later ones too. With nth 0 none does.
type failure struct {
	nth    int
	onward bool
}

func (f failure) String() string {
	if f.onward {
		return fmt.Sprintf("%d and onward", f.nth)
	}
	return fmt.Sprint(f.nth)
}

// TestMalloc runs each scenario many times. Each time one allocation of libcrypto,
// libssl or this package's C fails, or one and all later ones. The outcome must
// be a success or a Go error: no crash, no leak, and no success that left out
// what was asked for.
//
// Of the allocations with one call stack, as far as MallocStacks tells, the first
// and the last fail; and for every fourth call stack, once more, all allocations
// from the first on. With MALLOC_ALL=1 every single allocation fails, in both ways.
//
// Attempts run in child processes. The parent learns from a file which attempt a
// child has begun. If that crashes, another child goes on with the next one.
func TestMalloc(t *testing.T) {
	c := childProcess(t)
	var total atomic.Int64
	if c == nil {
		t.Cleanup(func() {
			if !t.Failed() {
				fmt.Printf("malloc: %d injections in %d scenarios, 0 failures\n", total.Load(), len(mallocScenarios()))
			}
		})
	}
	for _, s := range mallocScenarios() {
		t.Run(s.name, func(t *testing.T) {
			switch {
			case c == nil:
				t.Parallel()
				supervise(t, s, &total)
			case c.test == t.Name(): // the parent's pattern matches longer names, too
				c.run(t, s)
			}
		})
	}
}

// TestMallocCoversSetters fails if a setter of Ctx has no scenario.
func TestMallocCoversSetters(t *testing.T) {
	covered := make(map[string]bool)
	for _, s := range mallocScenarios() {
		method, _, _ := strings.Cut(strings.TrimPrefix(s.name, "Ctx."), "/")
		covered[method] = true
	}
	for _, s := range settersWithoutMalloc {
		covered[s.name] = true
	}
	ctx := reflect.TypeFor[*openssl.Ctx]()
	for i := range ctx.NumMethod() {
		m := ctx.Method(i)
		n := m.Type.NumOut()
		switch {
		case n == 0 || m.Type.Out(n-1) != reflect.TypeFor[error]():
		case m.Name == "Close", m.Name == "UseCertificateFiles", m.Name == "Raw": // the second is UseCertificate, the third the caller's
		case !covered[m.Name]:
			t.Errorf("%s has no scenario", m.Name)
		}
	}
}

// ---- the parent ----

const mostCrashes = 20 // of one scenario, which is given up then

// supervise runs s's attempts in child processes and reports what they find.
func supervise(t *testing.T, s mallocScenario, total *atomic.Int64) {
	file, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	must(t, err)
	defer file.Close()
	var used time.Duration
	var now progress
	made, closed, crashes := 0, 0, 0
	for now.state != allMade {
		from := now.attempt
		out, cpu, err := startChild(t, file, from, false)
		used += cpu
		now = readProgress(t, file)
		switch {
		case now.state == setUp:
			t.Fatalf("%v before the first attempt:\n%s", err, out)
		case now.state == begun:
			crashes++
			// Once more, to see where the allocation fails.
			loud, _, again := startChild(t, file, now.attempt, true)
			if again != nil {
				t.Errorf("%v: %s", again, crash(loud))
			} else {
				t.Errorf("%v, but not when repeated alone: %s\nThis or an earlier attempt has damaged something:\n%s",
					err, crash(loud), crash(out))
			}
			if crashes == mostCrashes {
				t.Fatalf("%d crashes: the rest is not tried", crashes)
			}
			now.attempt++
		case err != nil:
			t.Errorf("%s", out)
		}
		made += now.attempt - from
		closed += now.closed
	}
	t.Logf("%d injections in %v", made, used)
	if closed > 0 {
		t.Logf("%d fail closed: an honest peer is refused afterwards", closed)
	}
	total.Add(int64(made))
}

// crash is what matters of a crashed child's output: how it begins, and the
// goroutine that makes the attempts.
func crash(out string) string {
	parts := strings.Split(out, "\n\n")
	text := parts[0]
	for _, part := range parts[1:] {
		if strings.Contains(part, "locked to thread") {
			text += "\n" + part
		}
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "runtime.") && !strings.HasPrefix(line, "testing.") && line != "PASS\n" {
			b.WriteString(line)
		}
	}
	return b.String()
}

// startChild runs the calling test in a process of its own, from one attempt on or
// that one only, and says how much processor time it took.
func startChild(t *testing.T, file *os.File, from int, only bool) (out string, used time.Duration, err error) {
	t.Helper()
	writeProgress(t, file, progress{attempt: from, state: setUp})
	cmd := exec.CommandContext(t.Context(), os.Args[0], tlstest.ThisTest(t)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %t %s", childEnv, from, only, t.Name()),
		"TMPDIR="+t.TempDir(), // one that crashes leaves its files behind
		"GOGC=400")
	cmd.ExtraFiles = []*os.File{file}
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil {
		used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return string(b), used, err
}

// progress is what a child leaves in a file for its parent.
type progress struct {
	attempt int
	closed  int // attempts of this child that have failed closed
	state   attemptState
}

type attemptState byte

const (
	setUp   attemptState = iota // the child prepares for its first attempt
	begun                       // attempt has begun
	made                        // all attempts of this child are made; attempt is for the next
	allMade                     // all attempts are made
)

func writeProgress(t testing.TB, file *os.File, p progress) {
	t.Helper()
	b := binary.BigEndian.AppendUint64(nil, uint64(p.attempt))
	b = append(binary.BigEndian.AppendUint64(b, uint64(p.closed)), byte(p.state))
	_, err := file.WriteAt(b, 0)
	must(t, err)
}

func readProgress(t testing.TB, file *os.File) progress {
	t.Helper()
	b := make([]byte, 17)
	_, err := file.ReadAt(b, 0)
	must(t, err)
	return progress{int(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:])), attemptState(b[16])}
}

// ---- the child ----

const childEnv = "OPENSSL_TEST_MALLOC"

// child is what the parent tells a child process.
type child struct {
	from int    // the first attempt to make
	only bool   // that one alone, and print where its allocation fails
	test string // whose attempts

	file     *os.File
	findings []*finding
	closed   int // attempts that have failed closed
}

// finding is a complaint, and the failures that led to it.
type finding struct {
	text, api string
	failures  []failure
	where     string // of the first
}

// childProcess is nil in the parent.
func childProcess(t *testing.T) *child {
	t.Helper()
	text := os.Getenv(childEnv)
	if text == "" {
		return nil
	}
	c := &child{file: os.NewFile(3, "progress")}
	_, err := fmt.Sscan(text, &c.from, &c.only, &c.test)
	must(t, err)
	return c
}

// attempts is how an act's allocations fail, one after the other.
func attempts(stacks []uint64) (all []failure) {
	every := os.Getenv("MALLOC_ALL") != ""
	last := make(map[uint64]int)
	for i, stack := range stacks {
		last[stack] = i
	}
	seen := make(map[uint64]bool)
	for i, stack := range stacks {
		first := !seen[stack]
		seen[stack] = true
		if every || first || i == last[stack] {
			all = append(all, failure{nth: i + 1})
		}
		if every || first && len(seen)%4 == 1 {
			all = append(all, failure{nth: i + 1, onward: true})
		}
	}
	return all
}

func (c *child) run(t *testing.T, s mallocScenario) {
	// Allocations fail in one thread alone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !libssl.MallocInstalled() {
		t.Fatal("libcrypto has allocated before it was given another allocator")
	}
	base := &attempt{TB: t}
	defer base.end()
	if s.cold {
		c.runCold(t, s, base)
		return
	}
	for _, e := range mallocExemptions {
		libssl.ExemptMalloc(e.file, e.function) // older versions may not have it
	}
	base.callers()
	if s.setup != nil {
		s.setup(base)
	}
	fillErrorQueue(base)
	// libcrypto makes some things once and keeps them.
	for range 3 {
		c.try(s, base, failure{})
	}
	all := attempts(libssl.MallocStacks())
	for i := c.from; i < len(all); i++ {
		writeProgress(t, c.file, progress{i, c.closed, begun})
		live := libssl.LiveMallocs()
		for range max(1, s.times) {
			c.try(s, base, all[i])
		}
		if libssl.LiveMallocs() != live {
			c.seekLeak(s, base, all[i])
		}
		if c.only {
			break
		}
	}
	c.report(t)
	if !c.only {
		writeProgress(t, c.file, progress{len(all), c.closed, allMade})
	}
}

// runCold makes one attempt.
func (c *child) runCold(t *testing.T, s mallocScenario, base *attempt) {
	f := failure{nth: 1 + c.from/2*s.stride, onward: c.from%2 == 1}
	writeProgress(t, c.file, progress{c.from, 0, begun})
	failed := c.try(s, base, f)
	c.report(t)
	if failed > 0 {
		writeProgress(t, c.file, progress{c.from + 1, c.closed, made})
	} else {
		writeProgress(t, c.file, progress{c.from, c.closed, allMade})
	}
}

// fillErrorQueue has this thread's error queue allocate what it keeps.
func fillErrorQueue(t testing.TB) {
	c := tlstest.BareClient(t)
	for range 64 {
		if c.Conf("MinProtocol", "no version of the protocol, whatever the configuration may say") == nil {
			t.Fatal("there is no such version")
		}
	}
}

// try makes one attempt and says how many allocations failed.
func (c *child) try(s mallocScenario, base *attempt, f failure) (failed int) {
	x := *base
	x.cleanups = nil
	returned := ""
	x.complain = func(text string) {
		where := ""
		if failed > 0 {
			where = libssl.MallocWhere()
		}
		c.note(f, text+returned, where)
	}
	watchdog := time.AfterFunc(20*time.Second, func() {
		stacks := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "allocation %v: it hangs\n%s", f, stacks[:runtime.Stack(stacks, true)])
		os.Exit(3)
	})
	defer watchdog.Stop()
	x.whole(func() {
		if s.prepare != nil {
			s.prepare(&x)
		}
		if c.only && f.nth > 0 {
			fmt.Fprintf(os.Stderr, "allocation %v fails:\n", f)
		}
		err := func() error {
			libssl.ArmMalloc(f.nth, f.onward, c.only)
			defer func() { failed = libssl.DisarmMalloc() }()
			return s.act(&x)
		}()
		switch {
		case failed > 0 && err != nil:
			returned = ", after an error"
		case failed > 0:
			returned = ", and there is no error"
			x.mayBeClosed = s.failsClosed
		}
		if f.nth == 0 && (err != nil) != s.refused {
			x.Fatalf("%v is returned", err)
		}
		s.check(&x, err)
	})
	x.whole(x.end)
	if x.closed {
		c.closed++
	}
	return failed
}

// seekLeak repeats a failure that has changed how many blocks are held: what is
// kept for good is kept once.
func (c *child) seekLeak(s mallocScenario, base *attempt, f failure) {
	const rounds = 6
	quiet := &child{}
	quiet.try(s, base, f)
	held, grew := libssl.LiveMallocs(), 0
	for range rounds {
		quiet.try(s, base, f)
		if live := libssl.LiveMallocs(); live > held {
			held = live
			grew++
		}
	}
	if grew == rounds {
		c.note(f, "memory leaks", libssl.MallocWhere())
	}
}

// note records a complaint. Those of the same text differ by the function
// of libssl or libcrypto that ran out of memory.
func (c *child) note(f failure, text, where string) {
	api := where[strings.LastIndex(where, "< ")+1:]
	for _, old := range c.findings {
		if old.text == text && old.api == api {
			old.failures = append(old.failures, f)
			return
		}
	}
	c.findings = append(c.findings, &finding{text, api, []failure{f}, where})
}

func (c *child) report(t *testing.T) {
	t.Helper()
	for _, f := range c.findings {
		more := ""
		if n := len(f.failures) - 1; n > 0 {
			more = fmt.Sprintf(" (and in %d more attempts, the last %v)", n, f.failures[n])
		}
		what := fmt.Sprintf("allocation %v fails", f.failures[0])
		if f.failures[0].nth == 0 {
			what = "nothing fails"
		}
		t.Errorf("%s: %s%s\n%s", what, f.text, more, f.where)
	}
}

// ---- an attempt ----

// attempt is one run of a scenario, and what its parts hand on to each other.
// Helpers of other tests take it for a test: what they register with Cleanup is
// done when the attempt ends, and what they complain about is a finding.
type attempt struct {
	testing.TB
	cleanups []func()
	complain func(text string)

	mayBeClosed, closed bool   // an honest peer may be, has been refused
	label               string // of derived contexts

	// Clients of server.test that trust the test CA.
	honest   caller // with a certificate of the test CA
	nobody   caller // without one
	stranger caller // with one of CA A
	revoked  caller // with one of the test CA that crls revokes
	crls     []byte // of the test CA and CA A

	caA, caB   *tlstest.Authority
	cliA, cliB *identity // their clients

	// What scenarios work with.
	client, server, other *openssl.Ctx
	library               *openssl.Library
	who, before, after    caller
	identity              *identity
	keys                  []openssl.TicketKey
	hosts                 *openssl.Hosts
	c, s                  *openssl.SSL
	state                 openssl.ConnectionState
	session, parsed       *openssl.Session
	offer, der, pem, got  []byte
	want, path            string
}

// caller is a client, by name.
type caller struct {
	name string
	*openssl.Ctx
}

type abandoned struct{} // what Fatal panics with

func (x *attempt) Cleanup(f func()) { x.cleanups = append(x.cleanups, f) }

func (x *attempt) Errorf(format string, args ...any) {
	if x.complain == nil {
		x.TB.Errorf(format, args...)
		return
	}
	x.complain(fmt.Sprintf(format, args...))
}

func (x *attempt) Fatalf(format string, args ...any) {
	if x.complain == nil {
		x.TB.Fatalf(format, args...)
	}
	x.Errorf(format, args...)
	panic(abandoned{})
}

func (x *attempt) Error(args ...any) { x.Errorf("%s", fmt.Sprint(args...)) }
func (x *attempt) Fatal(args ...any) { x.Fatalf("%s", fmt.Sprint(args...)) }

// whole runs f until its end or a Fatal.
func (x *attempt) whole(f func()) {
	defer func() {
		if r := recover(); r != nil && r != (any)(abandoned{}) {
			panic(r)
		}
	}()
	f()
}

// end runs what was registered, the last first.
func (x *attempt) end() {
	for _, f := range slices.Backward(x.cleanups) {
		f()
	}
	x.cleanups = nil
}
