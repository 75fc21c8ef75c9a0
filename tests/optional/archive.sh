# archive.sh: a small Debian of another suite in a folder, from the archive that apt here is set up for.
# Sourced by the scripts of this folder; needs root and debootstrap, and the functions say and die of its caller.

archive_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The address of the archive. Taken from apt's own settings, so that a mirror is used where one is set up.
archive_uri() {
    apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "main" && $1 ~ /\/debian\/?$/ {print $1; exit}'
}

# archive_suite SUITE ROOT: makes ROOT a minimal SUITE; does nothing when it is one already.
archive_suite() {
    local suite=$1 root=$2 uri script=
    [ ! -e "$root/.drover-$suite" ] || return 0
    uri=$(archive_uri)
    [ -n "$uri" ] || die "no Debian archive among apt's sources"
    # A debootstrap older than the suite has no script of that name; sid's fits every newer one.
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/sid
    say "$suite of $uri into $root"
    mkdir -p "$root"
    debootstrap --variant=minbase --keyring="$archive_keyring" \
        "$suite" "$root" "$uri" ${script:+"$script"} > "$root/debootstrap.log" 2>&1 ||
        { tail -5 "$root/debootstrap.log" >&2; die "debootstrap of $suite failed"; }
    # Proxies that apt needs here are needed there too, and no server may start by itself.
    apt-config dump Acquire | grep -i proxy > "$root/etc/apt/apt.conf.d/00drover" || true
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    touch "$root/.drover-$suite"
}
