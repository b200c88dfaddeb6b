#!/bin/sh
# The whole test suite against every OpenSSL that the package supports.
#
#   matrix.sh [name...]    each in a Debian root of its own, one line a version
#   matrix.sh here <name>  on this machine, which is made ready first (a
#                          container of that Debian); the line comes last
#
# Roots are built once, under SIDCTX_ROOTS. Each run mounts what it needs in a
# mount namespace of its own: however it ends, nothing stays mounted, and two
# runs never see each other's mounts.
set -eu

# name          Debian suite, libssl's version
lines='
1.1.1 bullseye     1.1.1
3.0   bookworm     3.0.
3.5   trixie       3.5.
3.6   sid          3.6.
4.0   experimental 4.0.
'
mirrors='http://deb.debian.org/debian http://archive.debian.org/debian'
packages='gcc libc6-dev pkg-config make ca-certificates'

# say is for people; the lines of the matrix go to standard output.
say() { echo "matrix: $*" >&2; }
fail() { say "$*"; exit 1; }

# have reports whether all these commands are there.
have() {
	for command; do
		command -v "$command" >/dev/null || return 1
	done
}

suite_of() { echo "$lines" | awk -v n="$1" '$1 == n { print $2 }'; }
version_of() { echo "$lines" | awk -v n="$1" '$1 == n { print $3 }'; }

# extras_of is the packages of a suite that some of its tests need: a PKCS #11 token, a
# TPM, what OpenSSL gets at them with, and the FIPS provider.
extras_of() {
	case $1 in
	bullseye | bookworm) echo softhsm2 libengine-pkcs11-openssl ;;
	trixie) echo softhsm2 pkcs11-provider openssl-provider-fips swtpm tpm2-openssl tpm2-tools libtss2-tcti-swtpm0t64 ;;
	esac
}

# ---- inside a root, or a container ----

# prepare installs a compiler and libssl's headers, those of experimental if
# that is what the line is about. Without the right it prints what is missing.
prepare() {
	suite=$1
	extras=$(extras_of "$suite")
	if [ "$suite" != experimental ] && have gcc make pkg-config openssl && pkg-config --exists libssl &&
		{ [ -z "$extras" ] || dpkg -s $extras >/dev/null 2>&1; }; then
		return 0
	fi
	[ "$(id -u)" = 0 ] || fail "missing: $packages $extras libssl-dev of $suite; installing them takes root"
	chmod 1777 /tmp # where apt drops its rights, the archive's keys could not be read otherwise
	# An archive that is no longer updated keeps its date; its signature is checked.
	apt="apt-get -qq -y --no-install-recommends -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3"
	export DEBIAN_FRONTEND=noninteractive
	from=
	if [ "$suite" = experimental ]; then
		mirror=$(grep -rhoE 'https?://[^ ]*/debian/?' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)
		echo "deb ${mirror:-http://deb.debian.org/debian} experimental main" >/etc/apt/sources.list.d/experimental.list
		from='-t experimental'
	fi
	$apt update
	$apt install $packages
	$apt $from install libssl-dev openssl $extras
	apt-get clean
}

# here runs everything, and ends with the line of the matrix.
here() {
	name=$1
	want=$(version_of "$name")
	is=$(pkg-config --modversion libssl)
	text=$(openssl version | sed 's/ *(Library.*//')
	case $is in
	"$want"*) ;;
	*)
		echo "$name|NOT SERVED|$(suite_of "$name") now has $text"
		return 0
		;;
	esac
	out=$(mktemp)
	began=$(date +%s)
	result=PASS
	[ "$name" != 3.5 ] || export REQUIRE_FIPS=1 # prepare has installed it
	go test -v -count=1 -parallel 12 -timeout 30m ./... >"$out" 2>&1 || result=FAIL
	(cd internal/nettest && go test -v -count=1 -parallel 12 -timeout 30m ./...) >>"$out" 2>&1 || result=FAIL
	if [ "$name" = 1.1.1 ]; then # the old package compiles here only
		(cd internal/oldpeer && go test -v -count=1 -timeout 30m -tags oldopenssl ./...) >>"$out" 2>&1 || result=FAIL
	fi
	case $name in # the ports, whose peers these lines have
	3.0 | 3.5) (cd examples && go test -v -count=1 -timeout 30m ./switch/...) >>"$out" 2>&1 || result=FAIL ;;
	esac
	cat "$out"
	if [ -d cmd/sidctx ]; then
		go run ./cmd/sidctx matrix 2>&1 || result=FAIL
	fi
	passed=$(grep -c '^ *--- PASS: ' "$out" || true)
	skipped=$(grep -c '^ *--- SKIP: ' "$out" || true)
	failed=$(grep -c '^ *--- FAIL: ' "$out" || true)
	rm -f "$out"
	[ "$passed" -gt 0 ] || result=FAIL
	echo "$name|$result|$text|$passed passed, $failed failed, $skipped skipped|$(($(date +%s) - began)) s"
	[ "$result" = PASS ]
}

# ---- outside ----

# served reports whether a mirror still has a suite, and prints which. A mirror that
# says no is an answer (1), one that says nothing is none (2).
served() {
	answer=2
	for mirror in $mirrors; do
		code=0
		wget -q -T 30 -t 3 -O /dev/null "$mirror/dists/$1/Release" || code=$?
		case $code in
		0) echo "$mirror"; return 0 ;;
		8) answer=1 ;; # the server's own no
		esac
	done
	return $answer
}

# in_root runs a command in a root. The repository is mounted read-only: a test
# writes nowhere but to its own folder. The build cache stays in the root, since
# Go's does not know that headers differ.
in_root() {
	into=$1
	shift
	mkdir -p "$into/src" "$into/usr/local/go" "$into/go/mod" "$into/var/cache/go-build"
	grep -qs localhost "$into/etc/hosts" || echo '127.0.0.1 localhost' >>"$into/etc/hosts"
	unshare --mount --propagation private --pid --fork --kill-child sh -euc '
		root=$1 src=$2 goroot=$3 modcache=$4
		shift 4
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		for pair in "$src:/src" "$goroot:/usr/local/go" "$modcache:/go/mod"; do
			mount --bind "${pair%%:*}" "$root${pair#*:}"
			mount -o remount,bind,ro "$root${pair#*:}"
		done
		exec chroot "$root" /usr/bin/env -i HOME=/root TMPDIR=/tmp LANG=C.UTF-8 \
			PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			GOROOT=/usr/local/go GOTOOLCHAIN=local GOPROXY=off GOFLAGS=-buildvcs=false \
			GOMODCACHE=/go/mod GOCACHE=/var/cache/go-build \
			${http_proxy:+http_proxy="$http_proxy"} \
			sh -euc "cd /src; exec \"\$@\"" sh "$@"
	' sh "$into" "$repo" "$goroot" "$modcache" "$@"
}

# whole reports whether a root is there, with all that the tests have come to need.
whole() { [ -d "$1" ] && [ "$(cat "$1/.extras" 2>/dev/null)" = "$(extras_of "$2")" ]; }

# build makes a root, or makes it whole; it appears under its name when it is.
build() {
	name=$1 root=$2
	suite=$(suite_of "$name")
	if [ -d "$root" ]; then
		in_root "$root" sh internal/matrix/matrix.sh prepare "$suite"
		extras_of "$suite" >"$root/.extras"
		return 0
	fi
	base=$suite
	[ "$suite" != experimental ] || base=sid # experimental is no whole archive
	for s in $base $suite; do
		mirror=$(served "$s") || {
			[ $? -eq 2 ] || { echo "$name|NOT SERVED|no mirror has Debian $s any more"; return 0; }
			echo "no answer from: $mirrors"
			return 1
		}
	done
	rm -rf --one-file-system "$root.part"
	unshare --mount --propagation private debootstrap --variant=minbase "$base" "$root.part" "$mirror"
	in_root "$root.part" sh internal/matrix/matrix.sh prepare "$suite"
	extras_of "$suite" >"$root.part/.extras"
	mv "$root.part" "$root"
}

# one builds the root of a line if need be and runs the line in it; the last
# line that it prints is the matrix's.
one() {
	name=$1
	root=$roots/$(suite_of "$name")
	exec 9>"$root.lock"
	if ! whole "$root" "$(suite_of "$name")"; then
		say "building the root for $name under $root" 2>&3
		flock 9
		whole "$root" "$(suite_of "$name")" || build "$name" "$root"
	fi
	[ -d "$root" ] || return 0 # not served
	flock -s 9
	in_root "$root" sh internal/matrix/matrix.sh run "$name"
}

# report runs a line and makes it one: PASS, FAIL, or NOT SERVED, which fails nothing.
report() {
	name=$1 status=0
	log=$roots/$name.$$.log
	sh internal/matrix/matrix.sh one "$name" 3>&2 >"$log" 2>&1 || status=1
	line=$(tail -n 1 "$log")
	case $line in
	"$name|PASS|"* | "$name|FAIL|"*) ;;
	"$name|NOT SERVED|"*) unserved=$((unserved + 1)) ;;
	*) line="$name|FAIL|neither built nor run" status=1 ;;
	esac
	if [ $status -eq 0 ]; then
		rm -f "$log"
	else
		line="$line|see $log"
		# What failed, and what it said: the log may be on a machine that is gone.
		grep -nE -A 12 '^ *--- FAIL: |^panic: |^FAIL[[:space:]]' "$log" | head -n 200 >&2 || true
	fi
	echo "$line" | awk -F'|' '{ printf "%-6s %-10s %-28s", $1, $2, $3; for (i = 4; i <= NF; i++) printf "  %s", $i; print "" }'
	return $status
}

matrix() {
	have go || fail "missing: the Go toolchain, which the roots borrow"
	have unshare flock || fail "missing: unshare and flock (util-linux)"
	roots=${SIDCTX_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/sidctx-roots}
	goroot=$(go env GOROOT)
	modcache=$(go env GOMODCACHE)
	for module in nettest oldpeer; do # the roots see the module cache, and no network
		(cd internal/$module && go mod download)
	done
	if [ "$(id -u)" != 0 ]; then
		sudo -n true 2>/dev/null || fail "missing: the right to chroot; run it as root, or let sudo work without a password"
		exec sudo -n env PATH="$PATH" HOME="$HOME" SIDCTX_ROOTS="$roots" GOMODCACHE="$modcache" sh "$0" "$@"
	fi
	if ! have debootstrap wget || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
		have apt-get || fail "missing: debootstrap, wget and Debian's archive keyring"
		say "installing debootstrap"
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install debootstrap wget debian-archive-keyring >/dev/null ||
			fail "missing: debootstrap, wget and debian-archive-keyring; installing them failed"
	fi
	mkdir -p "$roots" "$modcache"
	say "each version takes 5 to 15 minutes on two processors, and 0.9 GB for its root under $roots, which stays ($(df -Ph "$roots" | awk 'NR == 2 { print $4 }') are free)"
	case $(cd "$roots" && pwd -P)/ in
	"$repo"/*) fail "SIDCTX_ROOTS is inside the repository: the roots would be part of what they test" ;;
	esac
	[ $# -gt 0 ] || set -- $(echo "$lines" | awk 'NF { print $1 }')
	for name; do
		[ -n "$(suite_of "$name")" ] || fail "there is no line $name, only: $(echo "$lines" | awk 'NF { printf "%s ", $1 }')"
	done
	export roots goroot modcache
	failures=0 unserved=0
	for name; do
		report "$name" || failures=$((failures + 1))
	done
	[ $unserved -lt $# ] || fail "not one version is served any more"
	[ $failures -eq 0 ] || fail "$failures of $# failed"
}

repo=$(cd "$(dirname "$0")/../.." && pwd -P)
cd "$repo"
case ${1:-} in
here)
	[ $# -eq 2 ] && [ -n "$(suite_of "$2")" ] || fail "here needs the name of a line"
	export GOFLAGS=-buildvcs=false
	prepare "$(suite_of "$2")"
	here "$2"
	;;
one | prepare | in_root) "$@" ;; # parts of a run
run) here "$2" ;;
*) matrix "$@" ;;
esac
