#!/bin/sh
# Runs the whole suite twice at once, with busy processes beside it: a test that fails here
# needs a quiet machine, which is a fault of the test.
#
#   stress.sh [busy processes]
set -eu

cd "$(dirname "$0")/../.."
busy=${1:-16}
work=$(mktemp -d)
pids=
finish() {
	for pid in $pids; do
		kill "$pid" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# Built before, so that both runs begin at once.
for mod in $(ls go.mod */go.mod */*/go.mod); do
	(cd "$(dirname "$mod")" && go vet ./... && go test -count=1 -run '^$' ./... >/dev/null)
done
i=0
while [ $i -lt "$busy" ]; do
	while :; do :; done &
	pids="$pids $!"
	i=$((i + 1))
done

suite() {
	status=0
	for mod in $(ls go.mod */go.mod */*/go.mod); do
		(cd "$(dirname "$mod")" && go test -count=1 -parallel 12 -timeout 90m -v ./...) || status=1
	done
	return $status
}
suite >"$work/1" 2>&1 &
one=$!
suite >"$work/2" 2>&1 &
two=$!
pids="$pids $one $two"
status=0
wait $one || status=1
wait $two || status=1
for run in "$work/1" "$work/2"; do
	grep -nE -A 12 '^ *--- FAIL: |^panic: |^FAIL[[:space:]]' "$run" | head -n 200 || true
done
passed=$(cat "$work/1" "$work/2" | grep -c '^ *--- PASS: ' || true)
failed=$(cat "$work/1" "$work/2" | grep -c '^ *--- FAIL: ' || true)
echo "stress: two suites at once beside $busy busy processes: $passed tests passed, $failed failed"
exit $status
