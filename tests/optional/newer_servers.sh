#!/usr/bin/env bash
# Unpacks servers newer than this Debian's into a folder, so that tests and benchmarks can run them beside the
# installed one: Redis 8.0 and 8.6, Valkey 8.1 and 9.1, or what the suites named below hold by now.
#   tests/optional/newer_servers.sh DIR [redis80|valkey81|valkey9|redis8 ...]     default: all
# Prints a line "NAME VERSION PATH" for each; PATH goes where a test takes a server, for instance
#   Cluster(folder, server=PATH) of tests/integration/harness.py.
# Nothing is installed: packages come from the archive that apt is set up for, with their own libc, and the programs
# are changed to load that one (patchelf). They are common programs otherwise, on the host's files and ports.
# Needs apt, patchelf and some 250 MB; no root.
set -euo pipefail

# name, program, package that holds it, suites (the last one is preferred)
servers='redis80  redis-server  redis-tools  trixie
valkey81 valkey-server valkey-tools trixie
valkey9  valkey-server valkey-tools forky
redis8   redis-server  redis-tools  sid,experimental'

say() {
    echo "newer_servers: $*" >&2
}
die() {
    say "$@"
    exit 1
}

[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
. "$(cd "$(dirname "$0")" && pwd)/archive.sh"
command -v patchelf > /dev/null || die "needs patchelf: apt-get install patchelf"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
wanted=${*:-redis80 valkey81 valkey9 redis8}

# fetch NAME PACKAGE SUITES: PACKAGE and all it needs, libc included, unpacked into DIR/NAME.
fetch() {
    local home=$dir/$1 package=$2 suites=$3 uri arch suite
    uri=$(archive_uri)
    [ -n "$uri" ] || die "no Debian archive among apt's sources"
    arch=$(dpkg --print-architecture)
    rm -rf -- "$home"
    mkdir -p "$home/apt/lists/partial" "$home/apt/debs/partial" "$home/apt/empty"
    : > "$home/apt/status"
    : > "$home/apt/sources.list"
    for suite in ${suites//,/ }; do
        echo "deb [arch=$arch signed-by=$archive_keyring] $uri $suite main" >> "$home/apt/sources.list"
    done
    # An empty list of installed packages makes apt fetch the libraries too. Mirrors may lag behind the date until
    # which a list is valid; its signature is still checked.
    local apt=(apt-get -q -y -o "Dir::State=$home/apt" -o "Dir::State::lists=$home/apt/lists"
        -o "Dir::State::status=$home/apt/status" -o "Dir::Cache=$home/apt" -o "Dir::Cache::archives=$home/apt/debs"
        -o "Dir::Etc::sourcelist=$home/apt/sources.list" -o "Dir::Etc::sourceparts=$home/apt/empty"
        -o "Dir::Etc::preferencesparts=$home/apt/empty" -o Dir::Etc::preferences=/dev/null
        -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Default-Release= -o APT::Sandbox::User=
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Debug::NoLocking=true)
    "${apt[@]}" update > "$home/apt/log" 2>&1 || { tail -3 "$home/apt/log" >&2; die "no lists of $suites"; }
    "${apt[@]}" install --download-only --no-install-recommends -t "${suites##*,}" "$package" \
        >> "$home/apt/log" 2>&1 || { tail -5 "$home/apt/log" >&2; die "$package of $suites is not to be had"; }
    local deb
    for deb in "$home"/apt/debs/*.deb; do
        dpkg-deb -x "$deb" "$home/root"
    done
    rm -rf -- "$home/apt"
}

# own_libraries NAME PROGRAM: DIR/NAME/bin/PROGRAM runs with the libraries of DIR/NAME/root.
own_libraries() {
    local home=$dir/$1 program=$2 root=$dir/$1/root from loader libraries
    # The server's package only holds a link; the program itself goes by the name of the checker.
    from=$root/usr/bin/${program%-server}-check-rdb
    [ -f "$from" ] || die "$1 has no $from"
    loader=$(find "$root/usr/lib" "$root/lib" "$root/lib64" -name 'ld-linux*.so.*' 2> /dev/null | head -1)
    libraries=$(find "$root/usr/lib" "$root/lib" -name 'lib*.so*' -path '*-linux-gnu*' -printf '%h\n' 2> /dev/null |
        grep -E -- '-linux-gnu[^/]*$' | sort -u | paste -sd: -)
    [ -n "$loader" ] && [ -n "$libraries" ] || die "$1 came without its libc"
    mkdir -p "$home/bin"
    cp -- "$from" "$home/bin/$program"
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$home/bin/$program"
}

status=0
for name in $wanted; do
    row=$(awk -v name="$name" '$1 == name' <<< "$servers")
    [ -n "$row" ] || die "no server is called $name: redis80, valkey81, valkey9 or redis8"
    read -r _ program package suites <<< "$row"
    path=$dir/$name/bin/$program
    if [ ! -x "$path" ]; then
        say "$name: $package of $suites"
        (fetch "$name" "$package" "$suites" && own_libraries "$name" "$program") || { status=1; continue; }
    fi
    version=$("$path" --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p') || { say "$name does not run"; status=1; continue; }
    echo "$name ${version:-unknown} $path"
done
exit $status
