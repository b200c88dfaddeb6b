//go:build cgo

package tlstest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidctx/openssl/internal/libssl"
)

// Main is a package's TestMain: it fails a run whose tests left a C object behind,
// or had a cleanup free it.
func Main(m *testing.M) {
	code := m.Run()
	// The other end of an Example's connection may still be closing.
	for end := time.Now().Add(5 * time.Second); libssl.LiveHandles() != 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if os.Getenv(Forgets) != "" { // TestForgottenClose, in a process of its own
		libssl.DumpCoverage()
		os.Exit(code)
	}
	if live, caught := libssl.LiveHandles(), libssl.CaughtHandles(); code == 0 && (live != 0 || caught != 0) {
		fmt.Fprintf(os.Stderr, "after all tests %d C objects are alive and %d were left to a cleanup\n", live, caught)
		code = 1
	}
	libssl.DumpCoverage()
	os.Exit(code)
}

// Forgets, in the environment, is for a test that leaves objects to the cleanup.
const Forgets = "OPENSSL_TEST_FORGETS"

// accounts is which tests hold C objects at the moment.
var accounts struct {
	sync.Mutex
	open map[string]*account
}

type account struct {
	keeps        bool // sessions, for subtests
	live, caught int64
	shared       bool // another test ran at the same time: only TestMain can tell
}

// CheckLeaks fails the test if it leaves a C object behind, or one to a cleanup.
// Every fixture that makes one calls it first.
func CheckLeaks(t testing.TB) {
	t.Helper()
	name := t.Name()
	accounts.Lock()
	defer accounts.Unlock()
	if accounts.open[name] != nil {
		return
	}
	if accounts.open == nil {
		accounts.open = map[string]*account{}
	}
	mine := &account{live: libssl.LiveHandles(), caught: libssl.CaughtHandles()}
	for other, a := range accounts.open {
		switch {
		case !strings.HasPrefix(name, other+"/"):
			a.shared, mine.shared = true, true
		case a.keeps:
			mine.shared = true
		}
	}
	accounts.open[name] = mine
	t.Cleanup(func() {
		accounts.Lock()
		shared := mine.shared
		accounts.Unlock()
		// The other end of a connection may still be closing.
		for end := time.Now().Add(5 * time.Second); !shared && libssl.LiveHandles() > mine.live && time.Now().Before(end); {
			runtime.Gosched()
		}
		accounts.Lock()
		defer accounts.Unlock()
		delete(accounts.open, name)
		live, caught := libssl.LiveHandles()-mine.live, libssl.CaughtHandles()-mine.caught
		if !mine.shared && !t.Failed() && (live > 0 || caught != 0) {
			t.Errorf("%d C objects are alive and %d were left to a cleanup", live, caught)
		}
	})
}

// HoldSessions says that a test's fixture holds sessions for its subtests, whose own
// accounts then say nothing.
func HoldSessions(t testing.TB) {
	t.Helper()
	CheckLeaks(t)
	accounts.Lock()
	defer accounts.Unlock()
	accounts.open[t.Name()].keeps = true
}
