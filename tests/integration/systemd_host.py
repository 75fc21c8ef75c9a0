"""A host whose first process is a real systemd: a container of namespaces over this machine's own files.

The files are an overlay on `/` whose upper half is in memory, so nothing needs to be fetched and nothing written lasts. The
units that this machine enables are hidden, and those that it does not need are masked: a journal, D-Bus and polkit are left.
The host has a network namespace of `Hosts`, and can be rebooted. With its first process all of it ends: mounts, processes;
the control groups are removed by remove().
"""

import os
import random
import shutil
import signal
import subprocess

from harness import BUILD, Process, _live, log, wait_for

SYSTEMD = "/lib/systemd/systemd"
# Wanted by targets of Debian's packages, and of use here. All others are masked.
UNITS_WANTED = ("dbus.service", "dbus.socket", "systemd-journald.service", "systemd-journald.socket",
                "systemd-journald-dev-log.socket")

# $1: folder of the host; $2: the build; $3: its name; $4: units wanted; $5: its control group. The overlay outlives a reboot.
# systemd has a group to itself, so that its parents' is not its affair.
MAKE = r"""
set -e
root=$1/root
mount -t cgroup2 cgroup2 "$1/groups"
mkdir "$1/groups/$5/systemd"
mount -t tmpfs -o mode=755,size=2g tmpfs "$1/upper"
mkdir "$1/upper/files" "$1/upper/work"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper/files,workdir=$1/upper/work" overlay "$root"
rm -rf "$root/etc/drover" "$root/var/lib/drover" "$root/var/log/journal"
rm -f "$root"/usr/bin/drover*
# What this machine runs whenever root logs in is not of the host.
rm -f "$root"/root/.bashrc "$root"/root/.profile "$root"/root/.bash_profile "$root"/root/.bash_login
DESTDIR=$root cmake --install "$2" --prefix /usr > /dev/null
echo "$3" > "$root/etc/hostname"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
: > "$root/etc/fstab"
cp -r "$1/etc/." "$root/etc/"
mkdir "$root/.outside"
mount -t tmpfs -o mode=755 tmpfs "$root/etc/systemd/system"
cp -r "$1/etc/systemd/system/." "$root/etc/systemd/system/"
for unit in "$root"/lib/systemd/system/*.target.wants/*; do
    case " $4 " in
    *" ${unit##*/} "*) ;;
    *) ln -sf /dev/null "$root/etc/systemd/system/${unit##*/}" ;;
    esac
done
mount -t tmpfs -o mode=755,ro tmpfs "$root/lib/systemd/system-generators"
while :; do
    code=0
    unshare --mount --uts --ipc --pid --fork --kill-child sh -c 'echo 0 > "$1/cgroup.procs"; shift
        exec unshare --cgroup sh "$@"' sh "$1/groups/$5/systemd" "$1/enter.sh" "$root" "$3" || code=$?
    [ "$code" = 129 ] || exit "$code" # SIGHUP is how the kernel says that it has rebooted
    echo rebooted >> "$1/reboots"
done
"""

# In namespaces of its own; what the kernel has but once for all is made read-only, as other containers do.
ENTER = r"""
set -e
root=$1
hostname "$2"
mount -t proc proc "$root/proc"
for path in sys sysrq-trigger; do
    [ -e "$root/proc/$path" ] || continue
    mount --bind "$root/proc/$path" "$root/proc/$path"
    mount -o remount,bind,ro "$root/proc/$path"
done
mount -t sysfs sysfs "$root/sys"
mount -o remount,bind,ro "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
    mknod -m 666 "$root/dev/${node% *}" c 1 "${node#* }"
done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cd "$root"
pivot_root . .outside
exec chroot . sh -c 'umount -l /.outside; cd /; exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=multi-user.target' < /dev/null
"""

# A cgroup of the host's own, seen through a mount that nobody else sees: wherever, and whether, this machine mounts them.
# $1: a folder to mount at; $2: name of the group; then the command that starts in it.
IN_GROUP = r"""
set -e
mount -t cgroup2 cgroup2 "$1"
mkdir -p "$1/$2"
echo $$ > "$1/$2/cgroup.procs"
umount "$1"
shift 2
exec "$@"
"""
# Ends who is left in the group, and removes it: only processes of ours can be in there.
END_GROUP = r"""
mount -t cgroup2 cgroup2 "$1"
[ -d "$1/$2" ] || exit 0
echo 1 > "$1/$2/cgroup.kill"
for turn in $(seq 100); do
    find "$1/$2" -depth -type d -exec rmdir {} + 2> /dev/null
    [ -d "$1/$2" ] || exit 0
    sleep 0.1
done
exit 1
"""
# Whether the kernel allows what is above.
TRY = r"""
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/g" "$1/u" "$1/w" "$1/r"
mount -t cgroup2 cgroup2 "$1/g"
mkdir "$1/g/$2"
rmdir "$1/g/$2"
mount -t overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" overlay "$1/r"
mount -t proc proc "$1/r/proc"
mount -t sysfs sysfs "$1/r/sys"
mknod "$1/r/dev/null-of-a-test" c 1 3
"""


def why_not(folder):
    """Why no systemd can be booted here; None where it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for program, package in ((SYSTEMD, "systemd"), ("/usr/bin/dbus-daemon", "dbus"), ("/usr/lib/polkit-1/polkitd", "polkitd"),
                             ("unshare", "util-linux"), ("nsenter", "util-linux"), ("pivot_root", "util-linux"),
                             ("ip", "iproute2"), ("cmake", "cmake")):
        if shutil.which(program) is None:
            return "%s is not installed (deploy/install-deps.sh test does it)" % package
    done = subprocess.run(
        ["unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--net", "--fork", "--kill-child", "sh", "-c", TRY, "sh",
         folder.sub("try"), "drover-test-%x" % random.randrange(1 << 32)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "the kernel refuses namespaces, an overlay or cgroups: " + done.stdout.strip() if done.returncode else None


class SystemdHost:
    """Host 'index' of 'hosts', booted. 'units' are further unit files {name: text}, 'files' {path below /etc: text}."""

    def __init__(self, folder, hosts, index, units=None, files=None):
        self.name = "box%d" % index
        self.path = folder.sub(self.name)
        self.group = "drover-test-%x" % random.randrange(1 << 32)
        self.address = hosts.address(index)
        for sub in ("root", "upper", "groups", "etc/systemd/system/multi-user.target.wants"):
            os.makedirs(os.path.join(self.path, sub))
        for name, text in (units or {}).items():
            self.write("etc/systemd/system/" + name, text)
            os.symlink("../" + name, os.path.join(self.path, "etc/systemd/system/multi-user.target.wants", name))
        for name, text in (files or {}).items():
            self.write("etc/" + name, text)
        self.write("make.sh", MAKE)
        self.write("enter.sh", ENTER)
        self.first_pid = None
        _live.append(self)
        self.process = Process(self.name, [
            "unshare", "--mount", "--propagation", "private", "sh", "-c", IN_GROUP, "sh", os.path.join(self.path, "groups"),
            self.group, "ip", "netns", "exec", hosts.names[index], "unshare", "--mount", "--pid", "--fork", "--kill-child",
            "sh", os.path.join(self.path, "make.sh"), self.path, os.path.abspath(BUILD), self.name, " ".join(UNITS_WANTED),
            self.group], self.path).start()
        self.wait_booted()

    def write(self, name, text):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600 if "key" in name else 0o644)

    @staticmethod
    def children(pid):
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE, text=True)
        return [int(word) for word in done.stdout.split()]

    def init(self):
        """Pid, as this machine counts, of the host's systemd; None while it has none."""
        if not self.process.is_running():
            raise AssertionError("%s ended: %s" % (self.name, self.process.log_text()[-3000:]))
        if self.is_systemd(self.first_pid):
            return self.first_pid
        pids = [self.process.pid]
        while pids:
            pid = pids.pop()
            if self.is_systemd(pid):
                self.first_pid = pid
                return pid
            pids += self.children(pid)
        return None

    @staticmethod
    def is_systemd(pid):
        try:
            return os.readlink("/proc/%s/exe" % pid).endswith("/systemd")
        except OSError:
            return False

    def run(self, *argv, check=True, timeout=120):
        """Runs a command inside, as root; returns the completed process with all it said."""
        pid = self.init()
        if pid is None:
            raise ConnectionError("%s is not up" % self.name)
        done = subprocess.run(
            ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
             *[str(a) for a in argv]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError("%s: exit %d\n%s" % (" ".join(map(str, argv)), done.returncode, done.stdout))
        return done

    def show(self, unit, *names):
        """What systemd says of a unit: the values of the properties named, one alone as a string."""
        text = self.run("systemctl", "show", unit, *["--property=" + name for name in names]).stdout
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return values[names[0]] if len(names) == 1 else tuple(values[name] for name in names)

    def pid_of(self, unit):
        return int(self.show(unit, "MainPID"))

    def wait_active(self, unit, timeout=90):
        wait_for("%s to be active" % unit, lambda: self.show(unit, "ActiveState") == "active", timeout, 0.2)
        return self.pid_of(unit)

    def wait_booted(self):
        def is_up():
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state if state in ("running", "degraded") else None

        state = wait_for("systemd to have booted %s" % self.name, is_up, 120, 0.2)
        failed = self.run("systemctl", "--failed", "--plain", "--no-legend").stdout
        if state != "running":
            raise AssertionError("%s is %s: %s" % (self.name, state, failed))
        log("systemd has booted %s" % self.name)

    def reboots(self):
        try:
            with open(os.path.join(self.path, "reboots")) as file:
                return len(file.readlines())
        except OSError:
            return 0

    def reboot(self):
        """In good order: units are stopped, and those that are enabled start."""
        before = self.reboots()
        self.run("systemctl", "reboot", check=False)
        wait_for("%s to reboot" % self.name, lambda: self.reboots() > before, 180, 0.1)
        self.wait_booted()

    def dump_logs(self):
        print("---- %s\n%s" % (self.name, self.process.log_text()[-3000:]))
        try:
            print(self.run("journalctl", "--no-pager", "--lines=150", "--output=short-precise", check=False).stdout)
        except (OSError, AssertionError, subprocess.SubprocessError) as error:
            print("its journal is not to be had: %s" % error)

    def remove(self):
        self.process.kill()  # it takes all the others along
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", END_GROUP, "sh",
                               os.path.join(self.path, "groups"), self.group], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            print("    %s: its control groups are left behind: %s" % (self.name, done.stdout))
