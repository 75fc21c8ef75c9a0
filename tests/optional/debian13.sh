#!/usr/bin/env bash
# Builds the committed tree on Debian 13 (gcc 14, hiredis 1.2, nng 1.10, libmicrohttpd 1.0, libuv 1.50, SQLite 3.46)
# in a folder of its own and runs the unit and contract tests there. Not part of tests/run.sh: it fetches a small
# Debian first.
#   tests/optional/debian13.sh [--keep] [--dir DIR] [--suite trixie] [--jobs N]
#     --keep       leave the folder, and use it again when --dir names it
#     --dir DIR    where to put it (default: a new folder under /var/tmp, some 1.5 GB)
#     --suite S    another suite of the archive that apt is set up for, e.g. sid
# Needs root and debootstrap. Mounts and processes live in namespaces of their own: nothing of them stays when it ends.
set -euo pipefail

keep=no root= suite=trixie jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=yes ;;
        --dir) root=${2:?--dir needs a folder} && shift ;;
        --suite) suite=${2:?--suite needs a name} && shift ;;
        --jobs) jobs=${2:?--jobs needs a number} && shift ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done

say() {
    echo "debian13: $*"
}
die() {
    echo "debian13: $*" >&2
    exit 1
}

repo=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || die "needs root: it makes a chroot"
command -v debootstrap > /dev/null || die "needs debootstrap: apt-get install debootstrap"
. "$repo/tests/optional/archive.sh"
[ -n "$root" ] || root=$(mktemp -d /var/tmp/drover-debian13.XXXXXX)

clean_up() {
    if [ "$keep" = yes ]; then
        say "kept in $root"
    else
        rm -rf --one-file-system -- "$root"
    fi
}
trap clean_up EXIT

# A shell line in the chroot. Mounts end with it, and so do processes that it left behind.
inside() {
    unshare --mount --pid --fork --kill-child --propagation private sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/bash -euo pipefail -c "$2"' sh "$root" "$1" < /dev/null
}

archive_suite "$suite" "$root"
say "source of $(git -C "$repo" rev-parse --short HEAD)"
rm -rf -- "$root/src"
mkdir -p "$root/src"
git -C "$repo" archive HEAD | tar -x -C "$root/src"

say "packages of deploy/install-deps.sh build, and what the tests start"
inside 'cd /src && deploy/install-deps.sh build &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends libcmocka-dev redis-server etcd-server \
        curl openssl ca-certificates iproute2 procps' \
    > "$root/packages.log" 2>&1 || { tail -20 "$root/packages.log" >&2; die "packages could not be installed"; }
inside 'dpkg-query -W -f "\${Package} \${Version}\n" gcc libuv1-dev libnng-dev libhiredis-dev libmicrohttpd-dev \
    libprotobuf-c-dev libcurl4-openssl-dev libsqlite3-dev libssl-dev'

# A fresh tree has none, and some tests go by name.
[ -s "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"

say "build with warnings as errors"
inside "cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDROVER_WERROR=ON > /configure.log &&
    ninja -C /build -k 0 -j $jobs" > "$root/build.log" 2>&1 ||
    { grep -E 'error|warning|FAILED' "$root/build.log" | head -60 >&2; die "it does not build (build.log)"; }

say "unit and contract tests, with the Redis and etcd of $suite"
inside "ctest --test-dir /build -L 'unit|contract' -j $jobs --timeout 120 --output-on-failure" > "$root/test.log" 2>&1 ||
    { tail -60 "$root/test.log" >&2; die "tests failed (test.log)"; }
grep 'tests passed' "$root/test.log"
say "ok"
