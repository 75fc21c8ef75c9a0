#!/usr/bin/env bash
# Installs what drover is built and tested with on Debian 12 (or newer). Safe to run again; needs root.
#   deploy/install-deps.sh build     libraries and compilers only
#   deploy/install-deps.sh run       build, and what the quickstart runs
#   deploy/install-deps.sh test      build, and the servers and tools of the tests (default)
set -euo pipefail

what=${1:-test}
export DEBIAN_FRONTEND=noninteractive

build=(cmake ninja-build gcc libc6-dev pkg-config libuv1-dev libnng-dev libprotobuf-c-dev protobuf-c-compiler
    protobuf-compiler libhiredis-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libsqlite3-dev
    libmicrohttpd-dev libssl-dev)
# What the quickstart needs to run a cluster.
run=(redis-server redis-tools python3)
test=(libcmocka-dev etcd-server etcd-client clang-14 libclang-rt-14-dev clang-tidy-14 clang-format-14 cppcheck iproute2
    procps curl openssl binutils git prometheus haproxy
    ansible-core openssh-server openssh-client systemd dbus polkitd)

packages=("${build[@]}")
[ "$what" = build ] || packages+=("${run[@]}")
[ "$what" = test ] && packages+=("${test[@]}")

# Servers must not start by themselves: every test starts its own on a free port.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d made=no status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
        made=yes
    fi
    apt-get install -q -y --no-install-recommends "$@" || status=$?
    [ "$made" = no ] || rm -f "$policy"
    return $status
}

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "install-deps: these packages are missing and need root to install: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -q
    install_quietly "${missing[@]}"
fi

# Valkey 8 comes from backports on Debian 12; the tests that need it are skipped, with a printed reason, without it.
if [ "$what" = test ] && ! command -v valkey-server >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    if [ "$codename" = bookworm ]; then
        uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
            awk -v c="$codename" '$2 == c && $3 == "main" && $1 ~ /\/debian\/?$/ {print $1; exit}')
        if [ -n "$uri" ]; then
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $codename-backports main" \
                > /etc/apt/sources.list.d/drover-backports.list
            apt-get update -q || true
            install_quietly -t "$codename-backports" valkey-server valkey-tools ||
                echo "install-deps: valkey is not to be had here; its tests will be skipped" >&2
        fi
    else
        install_quietly valkey-server valkey-tools ||
            echo "install-deps: valkey is not to be had here; its tests will be skipped" >&2
    fi
fi
