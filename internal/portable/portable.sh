#!/bin/sh
# The tests of the root module on other platforms, as far as this machine runs them.
#
#   portable.sh [name...]   one line a platform: PASS, FAIL, or why it is not run;
#                           PACKAGES=./httpx for those only, which QEMU makes slow
#   portable.sh sidctx      builds cmd/sidctx as a static program, prints where it is
#
# static, pie and musl are built on this machine. The others are cross-compiled in a Debian
# root, which is built once, under SIDCTX_ROOTS, and run there: by the kernel if it can,
# else under QEMU. QEMU is registered in a user namespace, the machine's settings are not touched.
set -eu

platforms='static pie musl 386 arm64' # and arm, where 386 is not run
suite=bookworm mirror=http://deb.debian.org/debian

# GOARCH, GNU name, folder of libraries, Debian's name, QEMU's name, dynamic linker, e_machine
targets='
386   i686-linux-gnu      i386-linux-gnu      i386  i386    ld-linux.so.2         01 03
arm   arm-linux-gnueabihf arm-linux-gnueabihf armhf arm     ld-linux-armhf.so.3   01 28
arm64 aarch64-linux-gnu   aarch64-linux-gnu   arm64 aarch64 ld-linux-aarch64.so.1 02 b7
'
packages='gcc libc6-dev pkg-config make ca-certificates openssl'
# From the suite's backports: under QEMU 7.2 a thread of 386 has come to the data of another
# one, and Go programs ended with "bad g in signal handler" or "morestack on g0".
backports='qemu-user'

# say is for people; the lines of the platforms go to standard output.
say() { echo "portable: $*" >&2; }
fail() { say "$*"; exit 1; }

# have reports whether all these commands are there.
have() {
	for command; do
		command -v "$command" >/dev/null || return 1
	done
}

# line prints the line of a platform.
line() {
	printf '%-7s %-5s %s\n' "$1" "$2" "$3"
	[ "$2" != FAIL ]
}

not_run() {
	printf '%-7s not run: %s\n' "$1" "$2"
	unrun="$unrun $1"
}

# run runs the tests by a command, a prefix of go test, and prints the platform's line.
run() {
	name=$1 log=$logs/$1.log result=PASS
	shift
	began=$(date +%s)
	"$@" -v -count=1 -parallel 12 -timeout 60m ${PACKAGES:-./...} >"$log" 2>&1 || result=FAIL
	passed=$(grep -c '^ *--- PASS: ' "$log" || true)
	skipped=$(grep -c '^ *--- SKIP: ' "$log" || true)
	failed=$(grep -c '^ *--- FAIL: ' "$log" || true)
	[ "$passed" -gt 0 ] || result=FAIL
	counts="$passed passed, $failed failed, $skipped skipped  $(($(date +%s) - began)) s"
	if [ $result = FAIL ]; then
		counts="$counts  see $log"
		compiler= # what it says follows such a line, as does each warning of the linker
		! grep -q '^FAIL.*\[build failed\]' "$log" || compiler='|^# '
		grep -nE -A 12 "^ *--- FAIL: |^panic: |^FAIL[[:space:]]$compiler" "$log" | head -n 200 >&2 || true
	fi
	line "$name" $result "$counts"
}

# ---- on this machine ----

# statically runs a go command, of which the first words are given, to link statically.
# Names of hosts and users are looked up by Go: the C library's functions for it load libraries.
statically() {
	go=$1 verb=$2
	shift 2
	"$go" "$verb" -tags netgo,osusergo -ldflags '-linkmode external -extldflags -static' "$@"
}

# with_musl runs a command that finds musl-gcc and a libssl for it.
with_musl() {
	dir=$(sh internal/sanitize/sanitize.sh libssl musl) || fail "there is no libssl for musl"
	CC=musl-gcc PKG_CONFIG_LIBDIR=$dir "$@"
}

static() {
	if [ ! -e "$(pkg-config --variable=libdir libcrypto)/libcrypto.a" ]; then
		not_run static "there is no libcrypto.a"
		return 0
	fi
	run static statically go test
}

pie() { run pie go test -buildmode=pie; }

musl() {
	if ! have musl-gcc perl make apt-get; then
		not_run musl "missing: musl-gcc, perl, make or apt-get (apt-get install musl-tools perl make)"
		return 0
	fi
	run musl with_musl statically go test
}

# sidctx builds the command as a static program, which .gitignore knows.
sidctx() {
	how=
	! have musl-gcc perl || how=with_musl
	$how statically go build -o sidctx ./cmd/sidctx
	./sidctx version >&2
	echo "$repo/sidctx"
}

# ---- in a root ----

field() { echo "$targets" | awk -v n="$1" -v i="$2" '$1 == n { print $i }'; }

# in_root runs a command in the root, with all that matrix.sh mounts there.
in_root() { sh internal/matrix/matrix.sh in_root "$root" "$@"; }

# install is run in a root: the compilers and libraries of all targets.
install() {
	export DEBIAN_FRONTEND=noninteractive
	wanted=$packages
	for name in $(echo "$targets" | awk 'NF { print $1 }'); do
		arch=$(field "$name" 4)
		dpkg --add-architecture "$arch"
		wanted="$wanted gcc-$(field "$name" 2) libc6-dev:$arch libssl-dev:$arch"
	done
	chmod 1777 /tmp # where apt drops its rights, the archive's keys could not be read otherwise
	echo "deb $mirror $suite-backports main" >/etc/apt/sources.list.d/backports.list
	apt-get -qq update
	apt-get -qq -y --no-install-recommends install $wanted
	apt-get -qq -y --no-install-recommends -t $suite-backports install $backports
	apt-get clean
	recipe >/.recipe
}

# recipe is all that is in a root.
recipe() { echo "$suite" $packages $backports $targets; }

whole() { [ "$(cat "$root/.recipe" 2>/dev/null)" = "$(recipe)" ]; }

# build makes the root, or makes it whole. Its lock is kept: it is not changed while
# programs run in it.
build() {
	exec 9>"$root.lock"
	flock -s 9
	! whole || return 0
	flock 9
	say "building a root under $root, a few minutes"
	if [ ! -d "$root" ]; then
		rm -rf --one-file-system "$root.part"
		unshare --mount --propagation private debootstrap --variant=minbase $suite "$root.part" $mirror >"$root.log" 2>&1 ||
			fail "the root could not be built, see $root.log"
		mv "$root.part" "$root"
	fi
	whole || in_root sh internal/portable/portable.sh install >>"$root.log" 2>&1 || fail "the root could not be built, see $root.log"
	flock -s 9
}

# emulated runs a command in a user namespace in which the kernel hands the programs of a
# target to QEMU. With go test -exec qemu the test programs alone would run: what they start,
# the C programs of internal/spec for instance, would end with "exec format error".
emulated() {
	name=$1
	shift
	unshare --user --map-root-user --mount --propagation private sh -euc '
		mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
		printf %s ":target:M::\\x7fELF\\x$1\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\x$2\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$3:F" >/proc/sys/fs/binfmt_misc/register
		shift 3
		exec "$@"
	' sh "$(field "$name" 7)" "$(field "$name" 8)" "$root/usr/bin/qemu-$(field "$name" 5)" "$@"
}

# foreign runs the tests of a target in the root.
foreign() {
	name=$1 how= emulated=
	if [ "$(go env GOHOSTARCH)" = "$name" ]; then
		not_run "$name" "this machine is one, see make test"
		return 0
	fi
	if [ "$(id -u)" != 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			not_run "$name" "its Debian root takes the right to chroot"
			return 0
		fi
		sudo -n env PATH="$PATH" HOME="$HOME" SIDCTX_ROOTS="$roots" GOMODCACHE="$modcache" PACKAGES="${PACKAGES:-}" sh "$0" "$name"
		return
	fi
	if ! have debootstrap unshare flock; then
		not_run "$name" "missing: debootstrap, unshare or flock (apt-get install debootstrap)"
		return 0
	fi
	build
	loader=$root/lib/$(field "$name" 6)
	if ! "$loader" --version >/dev/null 2>&1; then
		how="emulated $name" emulated=EMULATED=1 # see tlstest.NeedsSpeed
		if ! $how "$loader" --version >/dev/null 2>&1; then
			not_run "$name" "the kernel runs no such programs, and lets QEMU be registered in no namespace (Linux 6.7 does)"
			return 0
		fi
	fi
	run "$name" $how sh internal/matrix/matrix.sh in_root "$root" env $emulated CGO_ENABLED=1 GOARCH="$name" CC="$(field "$name" 2)-gcc" \
		PKG_CONFIG_LIBDIR="/usr/lib/$(field "$name" 3)/pkgconfig" go test
}

portable() {
	have go pkg-config || fail "missing: go or pkg-config (make deps)"
	roots=${SIDCTX_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/sidctx-roots}
	root=$roots/portable
	goroot=$(go env GOROOT)
	modcache=$(go env GOMODCACHE)
	logs=$(mktemp -d)
	mkdir -p "$roots" "$modcache"
	case $(cd "$roots" && pwd -P)/ in
	"$repo"/*) fail "SIDCTX_ROOTS is inside the repository: the root would be part of what it tests" ;;
	esac
	export goroot modcache
	[ $# -gt 0 ] || set -- $platforms
	failures=0 unrun=
	for name; do
		case $name in
		static | pie | musl) "$name" || failures=$((failures + 1)) ;;
		386 | arm | arm64) foreign "$name" || failures=$((failures + 1)) ;;
		*) fail "there is no platform $name, only: $platforms arm" ;;
		esac
	done
	case " $unrun / $* " in # another one of 32 bits
	*" arm "*) ;;
	*" 386 "*" / "*) foreign arm || failures=$((failures + 1)) ;;
	esac
	[ $failures -gt 0 ] || rm -rf "$logs"
	[ $failures -eq 0 ] || fail "$failures of $# failed"
}

repo=$(cd "$(dirname "$0")/../.." && pwd -P)
cd "$repo"
case ${1:-} in
sidctx | install) "$1" ;;
*) portable "$@" ;;
esac
