package main

import "regexp"

// detector is a target of the Makefile that looks for faults.
type detector struct {
	target string         // with its parameters
	looks  string         // what it looks for
	figure *regexp.Regexp // finds its figure in its output; nil counts tests
	seeded string         // a fault that it was seen to find, real or made
}

// executions finds a fuzz target's name and the last number that it printed.
var executions = regexp.MustCompile(`(?ms)^(Fuzz\w+)$.*?execs: (\d+) [^\n]*\nPASS$`)

var detectors = []detector{
	{"test", "wrong answers, in every module", nil,
		"a session by id kept after its connection was cut (`TestPeerEnds`)"},
	{"matrix", "the same on every OpenSSL that is supported", regexp.MustCompile(`(?m)^(\d\S*) +(PASS|FAIL) .*?(\d+ passed, \d+ failed, \d+ skipped)`),
		"on 1.1.1: buffers freed under a record that is read from (`TestConnRecordBehindFinished`)"},
	{"lint", "style, suspicious code, warnings of C, known vulnerabilities", regexp.MustCompile(`(?m)^make lint: (.*)$`),
		"a size_t that an int takes"},
	{"race", "races of Go", nil,
		"a lock of `Hosts` left out (`make mutants`)"},
	{"asan", "memory errors of C", nil,
		"a session freed under an empty ticket"},
	{"asan-libssl", "the same inside libssl and libcrypto, built with AddressSanitizer", nil,
		"a length of ALPN protocols that is one too long: SSL_select_next_proto reads behind them"},
	{"valgrind", "values of C that were never set, and leaks, by memcheck", regexp.MustCompile(`sanitize: (all runs passed|failed.*)`),
		"`timeouts` of a connection never set; its SSL_SESSION not freed"},
	{"tsan", "races of C: from many threads, and between goroutines' calls", regexp.MustCompile(`sanitize: (all runs passed|Go's tests passed|failed.*)`),
		"SSL_CTX_get_mode, which writes to the shared SSL_CTX (by both)"},
	{"cgocheck", "pointers that C must not have, and calls that leave something in OpenSSL's error queue", nil,
		"a reason left in the error queue (`make mutants`)"},
	{"malloc", "each allocation failing once, and from then on: crashes, hangs, leaks, wrong successes", regexp.MustCompile(`malloc: (.*)`),
		"a failed SetServerName that leaves the old name (`make mutants`)"},
	{"leak", "blocks of libcrypto that handshakes of 21 kinds leave behind", regexp.MustCompile(`leak: (.*)`),
		"an SSL_SESSION_up_ref without a free: +960 blocks in 10 handshakes"},
	{"fuzz FUZZTIME=1000000x", "crashes, hangs and wrong answers on mangled input", executions,
		"NormalizeHost that takes a tilde; ParseSession that takes bytes behind a session"},
	{"fuzz FUZZ=FuzzMiddle FUZZTIME=200000x ASAN=1", "memory errors in handshakes that somebody in the middle mangles", executions,
		""},
	{"soak", "memory, descriptors, goroutines and handles that grow", regexp.MustCompile(`soak: (.*)`),
		"an SSL_SESSION_up_ref without a free: 7 to 9 MiB/min"},
	{"mutants", "tests that cannot fail: the library with one fault at a time", regexp.MustCompile(`killed (\d+ of \d+) seeded faults`),
		"eleven faults that nothing found: the tests that are for them were skipped"},
	{"cover", "code that no test reaches", regexp.MustCompile(`(Go statements of the library: .*|C lines of internal/libssl: .*)`),
		"no test of a default host that shares a context, nor of output that waits while more comes"},
	{"stress", "tests that need a quiet machine", regexp.MustCompile(`stress: (.*)`),
		"a count of allocations beside threads that the runtime starts (`TestCountsHandshake`)"},
	{"portable", "static, PIE, musl, 32 bits, arm64", regexp.MustCompile(`(?m)^(\S+ +(?:PASS|FAIL|not run).*)$`),
		"386: a timeout of a session that was negative (`TestSessionTimesOutOfRange`)"},
	{"nettest", "what net.Conn promises, a hundred times", regexp.MustCompile(`(?m)^(ok|FAIL)\s`),
		""},
}
