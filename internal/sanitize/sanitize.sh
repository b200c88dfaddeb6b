#!/bin/sh
# The package's C under the sanitizers of C and valgrind, driven by driver.c.
#
#   sanitize.sh libssl <kind>   builds libssl with -fsanitize=<kind>, thread or
#                               address, or with musl-gcc for static programs (musl),
#                               unless that is done, and prints where it is
#   sanitize.sh thread          runs the driver under ThreadSanitizer, on that libssl,
#                               and then tests of Go
#   sanitize.sh address         and under AddressSanitizer and
#                               UndefinedBehaviorSanitizer, on the system's
#   sanitize.sh memcheck        and under valgrind's memcheck, on the system's
#
# ThreadSanitizer must see every access and every atomic: without it, libssl's
# reference counts would look like races. AddressSanitizer sees malloc and free of
# any library, memcheck every access, and what was never set, too.
#
# Builds are kept under SIDCTX_LIBSSL, one folder each.
set -eu

modes='empty-ticket flush full-cache shared mix'

say() { echo "sanitize: $*" >&2; }
fail() { say "$*"; exit 1; }

# have reports whether all these commands are there.
have() {
	for command; do
		command -v "$command" >/dev/null || return 1
	done
}

cc=${CC:-cc}

# compile makes the driver; the arguments are what to compile and link it with.
# The package's C is a part of it, compiled with the same flags.
compile() {
	$cc -std=gnu11 -O1 -g -fno-omit-frame-pointer -pthread \
		-Wall -Wextra -Werror -Wno-unused-function -Wno-error=deprecated-declarations \
		-I"$repo" -I"$repo/internal/libssl" "$here"/*.c "$repo"/internal/libssl/*.c -o "$driver" "$@"
}

# ---- libssl ----

# For thread: what the driver has no use for, where a version has a switch for it. The
# build is shorter by half. What is left out is not part of TLS as the package does it.
trim='aria async bf blake2 camellia cast cmp cms comp ct des dgram dsa dso dtls ec2m engine gost idea legacy
	md4 mdc2 ml-dsa module multiblock nextprotoneg ocb quic rc2 rc4 rfc3779 rmd160 scrypt seed siphash siv
	slh-dsa sm2 sm3 sm4 srp srtp ssl-trace ts ui-console whirlpool
	apps docs tests shared'

# A reference count goes down by a relaxed atomic, with a fence behind the last one:
# ThreadSanitizer knows no fences, and would take each free for a race. This release,
# with an acquire by the thread that frees, is equivalent. OPENSSL_DEV_NO_ATOMICS would do,
# too, but orders all threads that count the same object, and so hides races.
refcounts='s/(atomic_fetch_sub_explicit\((&?[\w>-]+), 1, )memory_order_(?:relaxed|release)(\) - 1;\s*if \(\*ret == 0\)\s*)'\
'atomic_thread_fence\(memory_order_acquire\)/$1memory_order_release$3(void)atomic_load_explicit($2, memory_order_acquire)/'

# What static programs cannot have, or the build need not make. The rest stays: the tests
# are of all that the package does. Without modules, the provider legacy is a part of libcrypto.
trim_static='afalgeng apps async docs dso dynamic-engine module shared tests'

# For address: shared libraries, as the system's are, without which no engine would find
# this libcrypto, but its own. They are found by the folder that the program names. What
# they load, the provider legacy for instance, and openssl.cnf are the system's.
trim_shared='apps docs tests'

# drop prints what a build leaves out.
drop() {
	case $1 in
	thread) echo "$trim" ;;
	address) echo "$trim_shared" ;;
	musl) echo "$trim_static" ;;
	esac
}

# flags prints what linking with a build takes, in a folder, beside its names.
flags() {
	case $1 in
	thread) echo "-ldl" ;;
	address) echo "-fsanitize=address -Wl,-rpath,$2" ;;
	esac
}

# recipe is all that a build depends on beside the version.
recipe() {
	case $1 in
	musl) echo $(drop "$1") "$1 $(musl-gcc -dumpmachine) $(musl-gcc -dumpversion)" ;;
	*) echo $(drop "$1") "$refcounts $(flags "$1" .) $1 $($cc -dumpmachine) $($cc -dumpversion)" ;;
	esac
}

# line is the line of releases that a version belongs to.
line() { echo "$1" | sed -E 's/^([0-9]+\.[0-9]+).*/\1./'; }

# cached prints where a build is, of the system's line of releases and this recipe.
cached() {
	found=
	for dir in "$cache/libssl-$(line "$system")"*"-$1"; do
		[ "$(cat "$dir/recipe" 2>/dev/null)" != "$(recipe "$1")" ] || found=$dir
	done
	[ -n "$found" ] && echo "$found"
}

# uris prints the machine's mirrors of an archive, as apt knows them.
uris() {
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
		sed -nE "s,^(deb|URIs:) .*(https?://[^ ]*/$1)/?( .*)?\$,\2,p" | head -n 1
}

# sources prints where apt finds the sources of this machine's system.
sources() {
	. /etc/os-release
	suite=${VERSION_CODENAME:-sid}
	mirror=$(uris "$ID")
	keys=/usr/share/keyrings/$ID-archive-keyring.gpg
	from="deb-src $([ ! -e "$keys" ] || echo "[signed-by=$keys]")"
	case $ID in
	debian)
		echo "$from ${mirror:-http://deb.debian.org/debian} $suite main"
		security=$(uris debian-security)
		[ "$suite" = sid ] || echo "$from ${security:-http://deb.debian.org/debian-security} $suite-security main"
		;;
	ubuntu)
		for s in "$suite" "$suite-updates" "$suite-security"; do
			echo "$from ${mirror:-http://archive.ubuntu.com/ubuntu} $s main"
		done
		;;
	*) fail "no sources are known for $ID" ;;
	esac
}

# in_apt runs apt-get with lists and a cache of its own, in a folder: the machine's
# are left as they are.
in_apt() {
	into=$1
	shift
	apt-get -qq -o Dir::Etc::sourcelist="$into/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::Lists="$into/lists" -o Dir::Cache="$into/cache" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@"
}

# download gets OpenSSL's tarball into a folder. apt has checked what it is: its
# hash is in the list of sources, whose hash is in the archive's signed Release.
download() {
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial" &&
		in_apt "$1" update &&
		(cd "$1" && in_apt "$1" source --download-only --tar-only openssl)
}

# configure_sanitizer and configure_musl configure the source in a folder; the other
# arguments are options for it.
configure_sanitizer() (
	cd "$1" && san=$2 && shift 2 &&
		perl -0pi -e "$refcounts" include/internal/refcount.h &&
		grep -q 'atomic_load_explicit.*memory_order_acquire' include/internal/refcount.h &&
		if [ "$san" = address ]; then
			set -- --prefix=/usr --libdir="$(pkg-config --variable=libdir libcrypto)" --openssldir=/usr/lib/ssl "$@"
		else
			set -- --prefix=/nonexistent --openssldir=/nonexistent "$@"
		fi &&
		CC=$cc ./config "$@" -fsanitize="$san" -O1 -g1 -fno-omit-frame-pointer
)

# The kernel's headers are not among musl's. The folder for certificates and
# openssl.cnf is the system's.
configure_musl() (
	cd "$1" && shift && mkdir kernel &&
		for dir in linux asm asm-generic; do
			real=/usr/include/$(musl-gcc -dumpmachine)/$dir
			[ -d "$real" ] || real=/usr/include/$dir
			ln -s "$real" "kernel/$dir" || exit 1
		done &&
		CC=musl-gcc ./config --prefix=/nonexistent --openssldir=/usr/lib/ssl "$@" -idirafter "$PWD/kernel"
)

# pc prints what pkg-config is to know of a library, its version, folder, requirement and
# flags.
pc() {
	printf 'Name: %s\nDescription: %s\nVersion: %s\nCflags: -I%s/include\nLibs: -L%s -l%s %s\nRequires: %s\n' \
		"$1" "$1" "$2" "$3" "$3" "${1#lib}" "$5" "$4"
}

# build makes libssl; it appears under its name when it is whole.
build() {
	have apt-get perl make || fail "missing: apt-get, perl or make"
	part=$cache/part-$1
	log=$cache/build-$1.log
	rm -rf "$part"
	mkdir -p "$part"
	say "building libssl for $1 under $cache, a few minutes"
	sources >"$part/sources.list"
	download "$part" >"$log" 2>&1 || fail "apt-get could not get OpenSSL's source, see $log"
	tarball=$(ls "$part"/openssl_*.orig.tar.?z)
	version=$(basename "$tarball" | sed -E 's/^openssl_(.*)\.orig\.tar\..*/\1/')
	[ "$(line "$version")" = "$(line "$system")" ] ||
		fail "apt-get has the source of OpenSSL $version, the headers are of $system"
	mkdir "$part/src"
	tar -xf "$tarball" -C "$part/src" --strip-components=1
	options=
	known=$(sed -n '/^my @disablables = (/,/);/p' "$part/src/Configure")
	for o in $(drop "$1"); do
		case $known in
		*"\"$o\""*) options="$options no-$o" ;;
		esac
	done
	case $1 in
	musl) configure_musl "$part/src" $options ;;
	*) configure_sanitizer "$part/src" "$1" $options ;;
	esac >>"$log" 2>&1 && make -C "$part/src" -j"$(nproc)" build_libs >>"$log" 2>&1 ||
		fail "libssl could not be built, see $log"
	dir=$cache/libssl-$version-$1
	rm -rf "$dir" "$part/whole"
	mkdir "$part/whole"
	mv "$part/src/include" "$part/whole"
	case $1 in
	address) mv "$part"/src/libssl.so* "$part"/src/libcrypto.so* "$part/whole" ;;
	*) mv "$part/src/libssl.a" "$part/src/libcrypto.a" "$part/whole" ;;
	esac
	recipe "$1" >"$part/whole/recipe"
	pc libcrypto "$version" "$dir" '' "$(flags "$1" "$dir")" >"$part/whole/libcrypto.pc"
	pc libssl "$version" "$dir" libcrypto "$(flags "$1" "$dir")" >"$part/whole/libssl.pc"
	mv "$part/whole" "$dir"
	rm -rf "$part" "$log"
}

# libssl prints where the library is, after it has been built if need be.
libssl() {
	case $1 in
	thread | address) ;;
	musl) have musl-gcc || fail "missing: musl-gcc (musl-tools)" ;;
	*) fail "libssl is built for thread, address or musl" ;;
	esac
	cached "$1" && return 0
	have flock || fail "missing: flock (util-linux)"
	mkdir -p "$cache"
	case $(cd "$cache" && pwd -P)/ in
	"$repo"/*) fail "SIDCTX_LIBSSL is inside the repository" ;;
	esac
	exec 9>"$cache/lock"
	flock 9
	cached "$1" >/dev/null || build "$1"
	exec 9>&-
	cached "$1"
}

# ---- runs ----

# drive runs every mode, each in a process of its own: one that crashes does not
# hide the others. There are 17 runs; the first argument says how long each is.
drive() {
	length=$1 bad=
	shift
	for mode in $modes; do
		"$@" "$driver" $length "$mode" || bad="$bad $mode"
	done
	[ -z "$bad" ] || fail "failed:$bad"
	say "all runs passed"
}

# Go tests that make calls into C from many threads: of shared contexts and sessions,
# of ticket keys that rotate, of caches that are flushed, of Revoke, of stores and caps.
at_once='TestTicketKeysUnderLoad|TestFleetTicketKeysRotateUnderLoad|TestCachedSessionFromManyConnections|TestOneSessionOfferedAtOnce
	|TestOCSPResponseConcurrently|TestStoreServesMany|TestKeyLogManyAtOnce|TestSystemRootsConcurrently
	|TestRevokeAtAnyTime|TestRevokeReachesWaitingConnections'

# thread_tests runs them. With -fsanitize=thread in its flags, which runtime/cgo needs as
# well, cgo tells ThreadSanitizer that a call into C comes after all that have returned
# before it began: what Go orders by its locks is no race, and races are seen of calls that
# overlap. The first one ends the process: Go's exit leaves exitcode alone. Without -o
# go test would strip the names that the suppressions need.
thread_tests() {
	cd "$repo"
	PKG_CONFIG_PATH=$dir CGO_CFLAGS='-O2 -g -fsanitize=thread' CGO_LDFLAGS=-fsanitize=thread \
		TSAN_OPTIONS="$TSAN_OPTIONS halt_on_error=1" \
		go test -count=1 -o "$work/" -exec "$start" -run "^($(echo $at_once | tr -d ' '))\$" . ./internal/isolation ||
		fail "failed: tests of Go"
	say "Go's tests passed"
}

thread() {
	dir=$(libssl thread)
	compile -fsanitize=thread -I"$dir/include" "$dir/libssl.a" "$dir/libcrypto.a" -ldl
	export TSAN_OPTIONS="suppressions='$here/tsan.supp' exitcode=66 history_size=7 ${TSAN_OPTIONS:-}"
	# ThreadSanitizer does not start where addresses are too random (with
	# vm.mmap_rnd_bits above 28); not every container may turn that off.
	start=env
	if setarch -R true 2>/dev/null; then
		start='setarch -R'
	fi
	drive '-s 4' $start
	thread_tests
}

address() {
	compile -fsanitize=address,undefined -fno-sanitize-recover=undefined $(pkg-config --cflags --libs libssl libcrypto)
	drive '-s 3' env
}

# memcheck runs the threads one at a time, 20 times slower and more: the number of
# handshakes is what ends a run, or few would be made on a busy machine.
memcheck() {
	have valgrind || fail "missing: valgrind (make deps)"
	compile $(pkg-config --cflags --libs libssl libcrypto)
	drive '-n 100 -s 60' valgrind -q --error-exitcode=66 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
		--fair-sched=yes
}

repo=$(cd "$(dirname "$0")/../.." && pwd -P)
here=$repo/internal/sanitize
cache=${SIDCTX_LIBSSL:-${XDG_CACHE_HOME:-$HOME/.cache}/sidctx}
case ${1:-} in
libssl)
	[ $# -eq 2 ] || fail "libssl needs what it is for: thread, address or musl"
	system=$(pkg-config --modversion libssl)
	libssl "$2"
	;;
thread | address | memcheck)
	system=$(pkg-config --modversion libssl)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' HUP INT TERM
	driver=$work/driver
	"$1"
	;;
*) fail "what to do: libssl, thread, address or memcheck" ;;
esac
