# Every module of the repository is tested; a new one needs no line here.
MODULES := $(dir $(wildcard go.mod */go.mod */*/go.mod))
each = set -e; for m in $(MODULES); do (cd $$m && $(1)); done

# tests runs a command in each of some modules, also behind one that has failed.
tests = failed=; for m in $(1); do (cd $$m && $(2)) || failed="$$failed $$m"; done; \
	[ -z "$$failed" ] || { echo "make: failed in:$$failed" >&2; exit 1; }

# Many tests wait, for a clock of C's for instance, and most processors would be
# idle. Results are never taken from Go's cache: tests run programs of the system.
# SHORT=1 leaves out what waits for clocks, starts programs or compiles, in every target;
# test leaves out the modules that no program fetches as well.
flags = -count=1 -parallel 12$(if $(filter-out 0,$(SHORT)), -short)

# go.work, which has the modules built with each other, does not go with -mod=mod.
export GOFLAGS := $(filter-out -mod=mod,$(GOFLAGS))

# Commands, documents and lists have no C of their own: checks of C leave them out.
ofC = $$(go list ./... | grep -vE '/(cmd/.*|internal/(cover|doctest|evidence|modules|mutants))$$')

# With REQUIRE_PEERS=1 a test fails if it needs a program that is not there, nginx
# for instance. "make race REQUIRE_PEERS=" skips such tests.
export REQUIRE_PEERS = 1

# demo, test and deps install packages. All other targets only check, and name
# what is missing.
needs = @.ci/deps check $(1)
peers = $(if $(filter-out 0,$(REQUIRE_PEERS)),peers,build)

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(MAKEFILE_LIST))

help: ## print this list
	@echo "usage: make TARGET"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- these install what is missing, as root or with sudo ----

demo: ## resume sessions within and across two tenants: seconds; BREAK=1 must fail
	@.ci/deps demo
	@go run ./cmd/sidctx demo $(if $(filter-out 0,$(BREAK)),-break)

test: ## run every test of every module: 3 to 10 minutes on two processors; SHORT=1 for the quick ones, a minute once they are built
	@.ci/deps peers
	@echo "make test: the first line takes a minute or more"
	$(call tests,$(if $(filter-out 0,$(SHORT)),./ grpccreds/ redisstore/,$(MODULES)),go test $(flags) ./...)

deps: ## install what the build, the demo and the tests need
	@.ci/deps peers
	@.ci/deps sanitizers

# ---- these only check ----

check:
	$(call needs,build)

check-peers:
	$(call needs,$(peers))

check-sanitizers:
	$(call needs,sanitizers)

# Every call into C aborts the process if it leaves something in OpenSSL's error queue.
queuecheck: check-peers ## run the tests with checks of OpenSSL's error queue and of shared sessions
	go test $(flags) -tags queuecheck ./...

race: check-peers ## run the tests under Go's race detector
	$(call tests,$(filter-out bench/,$(MODULES)),go test $(flags) -race ./...)

asan: check-peers asan-driver ## run the tests under AddressSanitizer, and the C alone
	go test $(flags) -asan $(ofC)

asan-driver: check ## run the C alone from many threads, with UndefinedBehaviorSanitizer: a minute
	sh internal/sanitize/sanitize.sh address

valgrind: check-sanitizers ## the C alone under memcheck, which sees values that were never set: 2 minutes
	sh internal/sanitize/sanitize.sh memcheck

# Reads and writes inside libssl are checked only where it is built for that.
asan-libssl: check-peers check-sanitizers ## run the tests under AddressSanitizer, with a libssl that is built for it once
	dir=$$(sh internal/sanitize/sanitize.sh libssl address) && PKG_CONFIG_PATH=$$dir go test $(flags) -timeout 30m -asan $(ofC)

# Go's race detector does not see C.
tsan: check-sanitizers ## the C alone under ThreadSanitizer, and tests of Go, with a libssl that is built for it once
	sh internal/sanitize/sanitize.sh thread

libssl: check-sanitizers ## build that libssl outside of the repository; SAN=address for asan-libssl
	@sh internal/sanitize/sanitize.sh libssl $(or $(SAN),thread)

# Once for each call stack that allocates; with ALL=1 once for each single
# allocation, which takes an hour.
malloc: check ## run out of memory in every scenario, 30000 times: a minute on a quiet machine
	@cd internal/malloc && MALLOC_ALL=$(ALL) go test -count=1 -timeout $(if $(ALL),6h,10m) -tags malloc -run '^TestMalloc'

# It is exact: one block too many after all handshakes of a kind is a failure.
leak: check ## count libcrypto's blocks before and after 100000 handshakes, about 6 minutes; LEAK=5000 for fewer
	@cd internal/malloc && LEAK=$(or $(LEAK),100000) go test -count=1 -timeout 2h -tags malloc -run '^TestLeak$$'

# glibc keeps one arena, and nothing for each thread: what it keeps for later hides what grows.
soak: check ## load servers for SOAK, 10m if it is not given, and see that memory does not grow; SOAK_SVG=file draws it
	@cd internal/soak && GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0 \
		SOAK=$(or $(SOAK),10m) SOAK_SVG=$(abspath $(SOAK_SVG)) go test -count=1 -timeout 0 -tags soak

cgocheck: check-peers ## run the tests with Go's full checks of pointers passed to C, and those of queuecheck
	GOEXPERIMENT=cgocheck2 go test $(flags) -tags queuecheck $(ofC)

# C is compiled with optimisation: some warnings need it. govulncheck ends with 3 where it
# has found something, and with 1 where it could not look.
lint: check ## gofmt, go vet, staticcheck, govulncheck, warnings of the C compiler, clang-format if it is installed
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "make lint: not formatted: $$unformatted (make format)" >&2; exit 1; }
	$(call each,go vet ./...)
	go vet -tags queuecheck . ./internal/libssl
	go vet -tags malloc ./internal/libssl ./internal/malloc
	go vet -tags soak ./internal/soak
	set -e; staticcheck=$$(GOWORK=off go tool -n -modfile=tools.mod staticcheck); $(call each,$$staticcheck ./...)
	set -e; govulncheck=$$(GOWORK=off go tool -n -modfile=tools.mod govulncheck); for m in . redisstore grpccreds; do \
		if out=$$(cd $$m && $$govulncheck ./... 2>&1); then continue; elif [ $$? = 3 ]; then echo "$$out" >&2; exit 1; fi; \
		echo "make lint: govulncheck could not look: $$(echo "$$out" | tail -n 1)"; break; done
	set -e; for f in internal/libssl/*.c; do for tag in "" -DOSL_QUEUECHECK -DOSL_MALLOC; do \
		$$(go env CC) -O2 -Wall -Wextra -Wshadow -Wconversion -Werror $$tag $$($${PKG_CONFIG:-pkg-config} --cflags libssl libcrypto) -c -o /dev/null $$f; done; done
	@if command -v clang-format >/dev/null; then clang-format --dry-run -Werror internal/libssl/*.[ch] *_cgo.h; \
	else echo "make lint: C formatting was not checked: clang-format is not installed (apt-get install clang-format)"; fi

format: ## gofmt, and clang-format if it is installed
	gofmt -w .
	@if command -v clang-format >/dev/null; then clang-format -i internal/libssl/*.[ch] *_cgo.h; \
	else echo "make format: C was not formatted: clang-format is not installed (apt-get install clang-format)"; fi

# The C half is counted by gcov, which comes with gcc.
cover: check-peers ## report how much of the Go and the C is covered by tests, with bounds and docs/COVERAGE.md
	go run ./internal/cover

matrix: ## run every test on OpenSSL 1.1.1, 3.0, 3.5, 3.6 and 4.0, in Debian roots (root); OPENSSL=3.5 for one
	sh internal/matrix/matrix.sh $(OPENSSL)

# One line of the matrix on this machine, a container that the target makes ready.
matrix-here: ## the same for one version in this container, which it changes: OPENSSL=3.0
	sh internal/matrix/matrix.sh here $(OPENSSL)

portable: check ## run the tests static, as PIE, with musl, on 32 bits and arm64 as far as this machine can (root); PLATFORM=arm64 for one
	sh internal/portable/portable.sh $(PLATFORM)

static: check ## build a static sidctx command, with musl if musl-gcc is installed
	@sh internal/portable/portable.sh sidctx

# FUZZTIME is a number of executions, as 1000000x, or a time, at whose end Go's fuzzing may
# report "context deadline exceeded" (golang/go#75804, until Go 1.27); FUZZ is one target's name.
# With ASAN=1 both C and Go run under AddressSanitizer. The tests of a folder are built once.
asanflag = $(if $(filter-out 0,$(ASAN)),-asan)
fuzz: check ## run each fuzz target for FUZZTIME, 60s if it is not given; FUZZ=FuzzMiddle for one, ASAN=1
	@set -e; export ASAN_OPTIONS=detect_leaks=0; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; trap 'exit 1' HUP INT TERM; \
	for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		(cd $$dir && go test -c -fuzz=. $(asanflag) -tags queuecheck -o $$work/fuzz.test . && \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' *_test.go | cut -c6- | grep -xE '$(or $(FUZZ),.*)'); do \
			echo "$$f"; $$work/fuzz.test -test.run '^$$' -test.fuzz "^$$f\$$" -test.fuzztime $(or $(FUZZTIME),60s) \
				-test.fuzzminimizetime 10x -test.fuzzcachedir "$$(go env GOCACHE)/fuzz/sidctx$(asanflag)"; done); done

evidence: ## run every detector, for hours, and write EVIDENCE.md; ONLY=regexp for some, the others' rows stay
	go run ./internal/evidence -only '$(ONLY)'

stress: check-peers ## run the whole suite twice at once, beside 16 busy processes: half an hour
	sh internal/stress/stress.sh

mutants: check ## build the library with one fault at a time: each must make an attack test fail
	go run ./internal/mutants

fleet: check-peers ## run several servers, one Redis and a client that keeps coming back
	@cd examples && go run ./fleet

nettest: check ## run x/net/nettest a hundred times under the race detector
	cd internal/nettest && go test -race -run TestNettest -count=100 -parallel 12 -timeout 60m ./...

bench: check ## compare with plain C, crypto/tls and libp2p: 6 minutes on a quiet machine; writes bench/
	cd bench && go run . -json bench.json -plot bench.svg -table bench.md

account: check ## what a handshake is made of, beside C and crypto/tls: 6 minutes on a quiet machine; writes bench/ACCOUNT.md
	cd bench && go run . -account ACCOUNT.md
