# Every module of the repository is tested; a new one needs no line here.
MODULES := $(dir $(wildcard go.mod */go.mod */*/go.mod))
each = set -e; for m in $(MODULES); do (cd $$m && $(1)); done

# Many tests wait, for a clock of C's for one, and most processors would be idle.
# What runs is what is there now: the benchmark builds its peers as it runs.
flags = -count=1 -parallel 12

# A test that needs a program, nginx for one, fails without it: peers has seen to that.
export REQUIRE_PEERS = 1

.PHONY: demo test queuecheck race asan asan-driver tsan libssl cgocheck lint cover deps peers sanitizers matrix matrix-here fuzz mutants fleet nettest bench

# BREAK=1 gives both tenants one session id context: it must fail.
demo: deps
	@go run ./cmd/sidctx demo $(if $(BREAK),-break)

test: peers
	$(call each,go test $(flags) ./...)
	@$(MAKE) --no-print-directory queuecheck

# Every act aborts if it leaves residue in OpenSSL's error queue.
queuecheck: peers
	go test $(flags) -tags queuecheck ./...

race: peers
	$(call each,go test $(flags) -race ./...)

asan: peers asan-driver
	go test $(flags) -asan ./...

# The package's C alone, by many threads: about a minute, with UndefinedBehaviorSanitizer.
asan-driver: deps
	sh internal/sanitize/sanitize.sh address

# The same under ThreadSanitizer, which Go's race detector is not for C.
tsan: sanitizers
	sh internal/sanitize/sanitize.sh thread

# The libssl for that, kept outside of the repository; SAN=address for AddressSanitizer.
libssl: sanitizers
	@sh internal/sanitize/sanitize.sh libssl $(or $(SAN),thread)

cgocheck: peers
	GOEXPERIMENT=cgocheck2 go test $(flags) ./...

lint: deps
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "not gofmt's: $$unformatted" >&2; exit 1; }
	$(call each,go vet ./... && go vet -tags queuecheck ./...)
	set -e; staticcheck=$$(go tool -n -modfile=tools.mod staticcheck); $(call each,$$staticcheck ./...)

cover: peers
	$(call each,go test -coverprofile=cover.prof -coverpkg=./... ./... && go tool cover -func=cover.prof | tail -n 1)

# Installs what is missing, as root or through sudo, or says what is.
deps:
	@.ci/deps

# The same, and the programs that tests talk to: clients, servers, Redis.
peers:
	@.ci/deps peers

# The same, and what building libssl from its source needs.
sanitizers:
	@.ci/deps sanitizers

# The whole suite on OpenSSL 1.1.1, 3.0, 3.5, 3.6 and 4.0, in Debian roots; OPENSSL=3.5 for one.
matrix:
	sh internal/matrix/matrix.sh $(OPENSSL)

# One line of it on this machine, a container: OPENSSL=3.0.
matrix-here:
	sh internal/matrix/matrix.sh here $(OPENSSL)

# FUZZTIME for each fuzzer.
fuzz: deps
	@set -e; go list -f '{{$$p := .ImportPath}}{{range .XTestGoFiles}}{{$$.Dir}}/{{.}} {{$$p}}{{"\n"}}{{end}}' ./... | while read -r file package; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$$file" | cut -c6-); do \
			go test -tags queuecheck -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),60s) "$$package" || exit 1; \
		done; \
	done

# The library with one fault at a time: each must turn one of its attack rows red.
mutants: deps
	go run ./internal/mutants

# Several servers, one Redis, and a client that keeps coming back.
fleet: peers
	@cd examples && go run ./fleet

# net.Conn to the letter, a hundred times in a row.
nettest: deps
	go test -race -run TestNettest -count=100 -parallel 12 -timeout 60m .

# Side by side with plain C, crypto/tls and an older binding: about 6 minutes on a quiet machine.
bench: deps
	cd bench && go run . -json bench.json -plot bench.svg -table bench.md
