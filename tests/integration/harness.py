"""Starts and stops the real parts of a scenario: servers, etcd, drover's daemons, load clients, hosts.

Every process runs in a private folder on free ports and is ended by its pid. Waiting is always for a state, with a
generous limit; no test sleeps for luck.
"""

import atexit
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from resp import Client, RedisError

BUILD = os.environ.get("DROVER_BUILD_DIR") or os.path.join(os.path.dirname(__file__), "..", "..", "build", "release")
COORDINATOR = os.path.join(BUILD, "drover-coordinator")
AGENT = os.path.join(BUILD, "drover-agent")
DROVER = os.path.join(BUILD, "drover")
LOAD = os.path.join(BUILD, "drover-load")
SLOTS = 16384

_live = []  # every process and host we made, ended at exit whatever happens


def log(text):
    print("    " + text, flush=True)


def wait_for(what, check, timeout=60.0, interval=0.05):
    """Waits until check() returns something true and returns that; fails naming 'what' and the last exception."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except (OSError, RedisError, ConnectionError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError("waited %.0f s for %s; last seen: %r" % (timeout, what, last))
        time.sleep(interval)


_ports_used = set()


def lease_port(port):
    """The port stays ours until this process ends, also while its server is down: tests/tools/port_lease.h."""
    folder = "/tmp/drover-test-ports-%d" % os.getuid()
    os.makedirs(folder, 0o700, exist_ok=True)
    lease = os.open(os.path.join(folder, str(port)), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        os.close(lease)
        return False



def free_port(span=1):
    """A TCP port that is free together with the 'span' - 1 ports after it and the cluster bus port (+10000)."""
    for _ in range(2000):
        port = random.randrange(11000, 22500)  # its bus port, too, lies below those that clients are given (32768)
        wanted = [port + i for i in range(span)] + [port + 10000]
        if _ports_used.intersection(wanted):
            continue
        try:
            for candidate in wanted:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("0.0.0.0", candidate))
        except OSError:
            continue
        if not all([lease_port(candidate) for candidate in wanted]):
            continue
        _ports_used.update(wanted)
        return port
    raise RuntimeError("no free port found")


class Process:
    """A child process with its output in a file."""

    def __init__(self, name, argv, folder, netns=None, env=None):
        self.name = name
        self.argv = (["ip", "netns", "exec", netns] if netns else []) + [str(a) for a in argv]
        self.folder = folder
        self.env = env
        self.log_path = os.path.join(folder, name + ".log")
        self.child = None

    def start(self):
        with open(self.log_path, "ab") as out:
            environment = dict(os.environ, **(self.env or {}))
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, env=environment,
                start_new_session=True)
        _live.append(self)
        return self

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """SIGKILL, as a power cut would."""
        if self.is_running():
            self.child.kill()
            self.child.wait()

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def stop(self, timeout=20.0):
        """SIGTERM and wait; returns the exit code."""
        if self.is_running():
            self.resume()
            self.child.terminate()
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("%s did not stop within %.0f s" % (self.name, timeout))
        return self.child.returncode if self.child else None

    def log_text(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()


def end_all():
    for item in reversed(_live):
        try:
            if isinstance(item, Process):
                if item.is_running():
                    item.child.send_signal(signal.SIGCONT)
                item.kill()
            else:
                item.remove()
        except OSError:
            pass
    _live.clear()


def say_cost():
    """What tests/CMakeLists.txt goes by when it says how many tests run side by side."""
    mine, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    log("processor time: %.0f s, and %.0f s of the test itself" % (others.ru_utime + others.ru_stime,
                                                                   mine.ru_utime + mine.ru_stime))


atexit.register(say_cost)  # the last that is registered is called first
atexit.register(end_all)
# A test runner that gives up on us sends SIGTERM: leave through atexit.
signal.signal(signal.SIGTERM, lambda *unused: sys.exit(143))


class Folder:
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="drover-test-")
        self.keep = bool(os.environ.get("DROVER_TEST_KEEP"))
        _live.append(self)

    def sub(self, name):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        return path

    def remove(self):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)


class Hosts:
    """Hosts as network namespaces on one bridge; needs root. Address of host i: 10.213.N.(10 + i), ours is .1."""

    def __init__(self, count):
        self.tag = "dv%x" % random.randrange(0x1000, 0xFFFF)
        self.net = self.free_net()
        self.names = []
        self.gateway = self.net + ".1"
        _live.append(self)
        run("ip", "link", "add", self.tag + "b", "type", "bridge")
        run("ip", "addr", "add", self.gateway + "/24", "dev", self.tag + "b")
        run("ip", "link", "set", self.tag + "b", "up")
        for i in range(count):
            self.add(i)

    @staticmethod
    def free_net():
        """A network that no interface has: tests run beside each other."""
        taken = subprocess.run(["ip", "-4", "-o", "addr"], check=True, stdout=subprocess.PIPE, text=True).stdout
        return random.choice([net for net in ("10.213.%d" % i for i in range(1, 250)) if net + "." not in taken])

    def add(self, i):
        name = "%sh%d" % (self.tag, i)
        outside, inside = "%sv%d" % (self.tag, i), "%sw%d" % (self.tag, i)
        run("ip", "netns", "add", name)
        self.names.append(name)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", name)
        run("ip", "link", "set", outside, "master", self.tag + "b", "up")
        run("ip", "-n", name, "addr", "add", self.address(i) + "/24", "dev", inside)
        run("ip", "-n", name, "link", "set", inside, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")

    def address(self, i):
        return "%s.%d" % (self.net, 10 + i)

    def remove(self):
        for i, name in enumerate(self.names):
            subprocess.run(["ip", "link", "del", "%sv%d" % (self.tag, i)], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", self.tag + "b"], check=False, stderr=subprocess.DEVNULL)


def can_make_hosts():
    return os.geteuid() == 0 and shutil.which("ip") is not None


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Node:
    """One redis-server or valkey-server in cluster mode."""

    def __init__(self, folder, name, server="redis-server", host="127.0.0.1", netns=None, port=None, conf=None,
                 password=None):
        self.host, self.port, self.name, self.password = host, port or free_port(), name, password
        path = folder.sub(name)
        options = {
            "port": self.port, "bind": host if netns else "127.0.0.1", "dir": path, "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf", "cluster-node-timeout": 5000, "appendonly": "no", "save": '""',
            "repl-diskless-sync-delay": 0, "protected-mode": "no", "daemonize": "no",
        }
        if password:
            options.update({"requirepass": password, "masterauth": password})
        options.update(conf or {})
        conf_path = os.path.join(path, "node.conf")
        with open(conf_path, "w") as file:
            for key, value in options.items():
                file.write("%s %s\n" % (key, value))
        self.process = Process(name, [shutil.which(server), conf_path], path, netns)
        self._client = None

    def start(self):
        self.process.start()
        wait_for(self.name + " to answer", lambda: self.call("PING") == "PONG", 30)
        return self

    def client(self):
        return Client(self.host, self.port, password=self.password)

    def call(self, *args):
        """One command on a kept connection; reconnects when the server was restarted."""
        try:
            if self._client is None:
                self._client = self.client()
            return self._client.call(*args)
        except (OSError, ConnectionError):
            self._client = None
            raise

    def text(self, *args):
        return self.call(*args).decode()

    @property
    def address(self):
        return "%s:%d" % (self.host, self.port)

    def id(self):
        return self.text("CLUSTER", "MYID")

    def view(self):
        """{node id: row} of this node's CLUSTER NODES."""
        rows = {}
        for line in self.text("CLUSTER", "NODES").splitlines():
            fields = line.split()
            slots, marks = set(), []
            for word in fields[8:]:
                if word.startswith("["):
                    marks.append(word)
                else:
                    first, _, last = word.partition("-")
                    slots.update(range(int(first), int(last or first) + 1))
            flags = fields[2].split(",")
            rows[fields[0]] = {
                "address": fields[1].split("@")[0], "flags": flags, "primary": fields[3], "epoch": int(fields[6]),
                "link": fields[7], "slots": slots, "open": marks, "is_primary": "master" in flags}
        return rows

    def owner_map(self):
        owners = {}
        for node_id, row in self.view().items():
            for slot in row["slots"]:
                owners[slot] = node_id
        return owners

    def info(self, section):
        rows = (line.split(":", 1) for line in self.text("INFO", section).splitlines() if ":" in line)
        return {key: value.strip() for key, value in rows}

    def kill(self):
        self.process.kill()
        self._client = None

    def restart(self):
        self.process.start()
        wait_for(self.name + " to answer again", lambda: self.call("PING") == "PONG", 30)


class Cluster:
    """Primaries with replicas; nodes[0..primaries) are the primaries, then replicas in turn."""

    def __init__(self, folder, server="redis-server", conf=None, hosts=None, password=None):
        self.folder, self.server, self.conf, self.hosts = folder, server, conf, hosts
        self.password = password
        self.nodes = []
        self.spawned = 0  # names are not used twice, also when a node has left

    def spawn(self, host_index=None):
        number = self.spawned
        self.spawned += 1
        where = {}
        if self.hosts:
            index = host_index if host_index is not None else number % len(self.hosts.names)
            where = {"host": self.hosts.address(index), "netns": self.hosts.names[index]}
        node = Node(self.folder, "node%d" % number, self.server, conf=self.conf, password=self.password, **where)
        self.nodes.append(node.start())
        return node

    def create(self, primaries, replicas=0):
        first = len(self.nodes)
        count = len(self.hosts.names) if self.hosts else 1
        group = [self.spawn(i % count) for i in range(primaries)]
        # A replica sits on the host after its primary's.
        followers = [self.spawn((i + 1 + r) % count) for r in range(replicas) for i in range(primaries)]
        for i, node in enumerate(group):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            low, high = SLOTS * i // primaries, SLOTS * (i + 1) // primaries - 1
            node.call("CLUSTER", "ADDSLOTSRANGE", low, high)
        for node in self.nodes[first + 1 :]:
            group[0].call("CLUSTER", "MEET", node.host, node.port)
        self.wait_known()
        for i, node in enumerate(followers):
            node.call("CLUSTER", "REPLICATE", group[i % primaries].id())
        self.wait_ok()
        for node in followers:
            wait_for(node.name + " to be in sync", lambda n=node: n.info("replication")["master_link_status"] == "up")
        self.wait_replicas(followers)
        return self

    def add_empty(self, replica_of=None, host_index=None):
        """A new node that every node knows and is connected to; a replica of 'replica_of' when given."""
        node = self.spawn(host_index)
        self.nodes[0].call("CLUSTER", "MEET", node.host, node.port)
        self.wait_known()
        if replica_of is not None:
            node.call("CLUSTER", "REPLICATE", replica_of.id())
            wait_for("replica in sync", lambda: node.info("replication").get("master_link_status") == "up")
            self.wait_replicas([node])
        self.wait_ok()
        return node

    def live(self):
        return [node for node in self.nodes if node.process.is_running()]

    def wait_known(self):
        ids = {node.id() for node in self.live()}

        def everyone_knows():
            for node in self.live():
                rows = node.view()
                for node_id in ids:
                    row = rows.get(node_id)
                    if row is None or "handshake" in row["flags"]:
                        return False
                    if "myself" not in row["flags"] and row["link"] != "connected":
                        return False
            return True

        wait_for("every node to know every other", everyone_knows, 60)

    def wait_replicas(self, followers):
        ids = {node.id() for node in followers}
        wait_for("every view to show the replicas", lambda: all(
            "slave" in node.view()[i]["flags"] for node in self.live() for i in ids))

    def wait_ok(self, timeout=60):
        wait_for("cluster_state:ok in every view", lambda: all(
            "cluster_state:ok" in node.text("CLUSTER", "INFO") for node in self.live()), timeout)

    def primaries(self):
        return [node for node in self.live() if node.info("replication")["role"] == "master"]

    def by_id(self, node_id):
        return next(node for node in self.live() if node.id() == node_id)

    def slot_counts(self):
        rows = self.nodes[0].view()
        return {node.name: len(rows[node.id()]["slots"]) for node in self.live() if node.id() in rows}

    def first_difference(self, maps):
        slot = next(s for s in range(SLOTS) if len({m.get(s) for m in maps}) > 1)
        words = ["slot %d of %d" % (slot, sum(len({m.get(s) for m in maps}) > 1 for s in range(SLOTS)))]
        for node in self.live():
            view = node.view()
            owner = next((i for i, row in view.items() if slot in row["slots"]), "nobody")
            rows = ["%s epoch %s %s" % (i[:8], row["epoch"], "/".join(sorted(row["flags"]))) for i, row in view.items()]
            words.append("%s says %s of %s" % (node.name, owner[:8], ", ".join(rows)))
        return "\n  ".join(words)

    def check_at_rest(self, timeout=60):
        """Every slot has one owner, all views agree, nothing is open, config epochs are unique (invariants 1, 4, 5, 11)."""

        def problem():
            maps = []
            epochs = {}
            for node in self.live():
                owners = node.owner_map()
                if len(owners) != SLOTS:
                    return "%s sees %d slots" % (node.name, len(owners))
                maps.append(owners)
                for node_id, row in node.view().items():
                    if row["open"]:
                        return "%s has open slots %s" % (node.name, row["open"][:3])
                    if "myself" in row["flags"] and row["is_primary"]:
                        epochs.setdefault(row["epoch"], []).append(node.name)
            if any(m != maps[0] for m in maps):
                return "views differ: " + self.first_difference(maps)
            shared = {e: names for e, names in epochs.items() if len(names) > 1}
            if shared:
                return "config epochs collide: %s" % shared
            return None

        last = []

        def settled():
            last[:] = [problem()]
            return last[0] is None

        try:
            wait_for("a settled cluster", settled, timeout, 0.2)
        except AssertionError:
            raise AssertionError("cluster is not settled after %d s: %s" % (timeout, last[0]))

    def seed_args(self):
        return [arg for node in self.live()[:3] for arg in ("--seed-node", node.address)]

    def dump_logs(self):
        for node in self.nodes:
            print("---- %s\n%s" % (node.name, node.process.log_text()[-3000:]))


class Etcd:
    """A cluster of etcd members on this machine."""

    def __init__(self, folder, members=3):
        self.members = []
        ports = [(free_port(), free_port()) for _ in range(members)]
        peers = ",".join("m%d=http://127.0.0.1:%d" % (i, peer) for i, (_, peer) in enumerate(ports))
        self.endpoints = ["127.0.0.1:%d" % client for client, _ in ports]
        for i, (client, peer) in enumerate(ports):
            path = folder.sub("etcd%d" % i)
            self.members.append(Process("etcd%d" % i, [
                shutil.which("etcd"), "--name", "m%d" % i, "--data-dir", os.path.join(path, "data"),
                "--listen-client-urls", "http://127.0.0.1:%d" % client,
                "--advertise-client-urls", "http://127.0.0.1:%d" % client,
                "--listen-peer-urls", "http://127.0.0.1:%d" % peer,
                "--initial-advertise-peer-urls", "http://127.0.0.1:%d" % peer,
                "--initial-cluster", peers, "--unsafe-no-fsync"], path))

    def start(self):
        for member in self.members:
            member.start()
        wait_for("etcd to have a leader", self._healthy, 60, 0.2)
        return self

    def _healthy(self):
        import urllib.request

        for endpoint in self.endpoints:
            with urllib.request.urlopen("http://%s/health" % endpoint, timeout=2) as reply:
                if b"true" not in reply.read():
                    return False
        return True

    def url(self, prefix="drover"):
        return "etcd://%s/%s" % (",".join(self.endpoints), prefix)


def drover(*args, api=None, check=True, timeout=600, env=None):
    """Runs the drover command; returns the completed process with text output."""
    environment = dict(os.environ, NO_COLOR="1", **(env or {}))
    if api:
        environment["DROVER_API"] = api
    done = subprocess.run([DROVER, *[str(a) for a in args]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout, env=environment)
    if check and done.returncode != 0:
        raise AssertionError("drover %s: exit %d\n%s%s" % (" ".join(map(str, args)), done.returncode, done.stdout,
                                                           done.stderr))
    return done


def drover_json(*args, api=None, **options):
    return json.loads(drover(*args, "-o", "json", api=api, **options).stdout)


class Load:
    """drover-load in the background: checked clients."""

    def __init__(self, folder, cluster, *args):
        self.json_path = os.path.join(folder.path, "load-%d.json" % random.randrange(1 << 30))
        self.process = Process("load", [LOAD, "run", *cluster.seed_args(), "--json", self.json_path, *args],
                               folder.path)

    def start(self):
        self.process.start()
        return self

    def finish(self):
        """Stops the clients, lets them read everything back; returns (exit code, report)."""
        self.process.signal(signal.SIGTERM)
        try:
            self.process.child.wait(120)
        except subprocess.TimeoutExpired:
            raise AssertionError("load client did not end: %s" % self.process.log_text()[-2000:])
        report = {}
        if os.path.exists(self.json_path):
            with open(self.json_path) as file:
                report = json.load(file)
        return self.process.child.returncode, report


def ansible_config(folder):
    """Ansible looks for answers a thousand times a second unless told otherwise."""
    path = os.path.join(folder.path, "ansible.cfg")
    with open(path, "w") as file:
        file.write("[defaults]\ninternal_poll_interval = 0.05\n")
    return path


def load_tool(*args, timeout=600):
    done = subprocess.run([LOAD, *[str(a) for a in args]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout)
    return done.returncode, done.stdout
