#!/bin/sh
# Runs some tests of the root package under valgrind: blocks of C that nothing points at
# any more, and reads, writes and frees of what is none. make valgrind.
set -eu
cd "$(dirname "$0")/../.."

command -v valgrind >/dev/null || {
	echo "make: valgrind is missing. As root: apt-get install -y valgrind" >&2
	exit 1
}
tests='Session|SessionSetIDContextIsOnACopy|SessionNotFound|CloseAndTheSession|ParseSessionPEM|AnswerSessionRubbish'
tests="$tests|CutEndsTheSession|OfferedSessionIsInvalidatedWithItsClones|TicketKeysRotation|TicketTampered"
tests="$tests|UseCertificateReplaces|UseCertificateChain|OCSPResponse|PSK|ErrorText|Finished|ALPN"
tests="$tests|HostsServesAfterRenewal|SwitchedHostsAreApart"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
# valgrind does not read the debug information of DWARF 5 that Go writes.
GOEXPERIMENT=nodwarf5 go test -tags valgrind -c -o "$dir/tests" .
# valgrind has no RDTSCP, and takes the stack of a goroutine that a signal stops for
# another's. What is undefined in Go's memory it cannot tell.
# Memory that Go has collected and uses again it takes for a mistake.
export GOGC=off GODEBUG=cpu.rdtscp=off,asyncpreemptoff=1
if ! valgrind -q --undef-value-errors=no --suppressions=internal/sanitize/valgrind.supp --error-exitcode=9 \
	--leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
	"$dir/tests" -test.short -test.v -test.parallel 1 -test.run "^Test($tests)\$" >"$dir/out" 2>&1; then
	grep -v '^=== ' "$dir/out" >&2
	exit 1
fi
echo "valgrind: $(grep -c '^--- PASS' "$dir/out") tests, no errors and no blocks lost"
