#!/usr/bin/env bash
# Builds the committed tree on Debian 13 (gcc 14, hiredis 1.2, nng 1.10, libmicrohttpd 1.0, libuv 1.50) in a folder of
# its own and runs the tests that need no other server there. Not part of tests/run.sh: it downloads a small Debian.
#   tests/optional/debian13.sh [--keep] [--dir DIR] [--suite trixie] [--jobs N]
#     --keep       leave the folder, and use it again when --dir names it
#     --dir DIR    where to put it (default: a new folder under /var/tmp, some 1.5 GB)
#     --suite S    another suite of the archive that apt is set up for, e.g. sid
# Needs root and debootstrap. Mounts live in a namespace of their own, so nothing stays mounted when it ends.
set -euo pipefail

keep=no root= suite=trixie jobs=$(nproc)
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=yes ;;
        --dir) root=${2:?--dir needs a folder} && shift ;;
        --suite) suite=${2:?--suite needs a name} && shift ;;
        --jobs) jobs=${2:?--jobs needs a number} && shift ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
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

# A shell line in the chroot; /proc is mounted in a namespace that ends with the line.
inside() {
    unshare --mount --propagation private sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/bash -euo pipefail -c "$2"' sh "$root" "$1"
}

archive_suite "$suite" "$root"
say "source of $(git -C "$repo" rev-parse --short HEAD)"
rm -rf -- "$root/src"
mkdir -p "$root/src"
git -C "$repo" archive HEAD | tar -x -C "$root/src"

say "packages of deploy/install-deps.sh build, and cmocka"
inside 'cd /src && deploy/install-deps.sh build &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends libcmocka-dev binutils' \
    > "$root/packages.log" 2>&1 || { tail -20 "$root/packages.log" >&2; die "packages could not be installed"; }
inside 'dpkg-query -W -f "\${Package} \${Version}\n" gcc libuv1-dev libnng-dev libhiredis-dev libmicrohttpd-dev \
    libprotobuf-c-dev libcurl4-openssl-dev libsqlite3-dev libssl-dev'

say "build with warnings as errors"
inside "cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDROVER_WERROR=ON > /configure.log &&
    ninja -C /build -k 0 -j $jobs" > "$root/build.log" 2>&1 ||
    { grep -E 'error|warning|FAILED' "$root/build.log" | head -60 >&2; die "it does not build (build.log)"; }

# Tests that start a Redis server or etcd skip themselves here: neither is installed.
say "unit and contract tests"
inside "ctest --test-dir /build -L 'unit|contract|arch' -j $jobs --output-on-failure" | tail -40
say "ok"
