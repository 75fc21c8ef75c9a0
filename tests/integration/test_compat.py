#!/usr/bin/env python3
"""`drover --cluster` beside the real redis-cli and valkey-cli: the same command lines end alike.

Reading commands and refusals run both on one cluster: output and exit code must be the same, byte for byte. Commands
that move slots run on twin clusters with the same nodes and keys: exit codes, the lines that scripts match, and who
owns which slot. Where the original misleads (docs/redis_cli.md) the case names both exit codes, and
`--cluster-compat strict` must give the original's.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

import harness
from compat_bench import Bench, count_keys, half_moved
from harness import Cluster, Process, wait_for
from resp import key_slot

BAD = "127.0.0.1:1"  # nobody listens there
NO_ID = "deadbeef" * 5


def fill(cluster, count=400):
    """The same keys in each twin; every key by its owner."""
    owners = {}
    for node in cluster.primaries():
        for slot in node.view()[node.id()]["slots"]:
            owners[slot] = node
    for i in range(count):
        key = "key-%d" % i
        owners[key_slot(key)].call("SET", key, "value-%d" % i)


def layout(cluster):
    """{slot: number of the node}"""
    numbers = {node.id(): i for i, node in enumerate(cluster.nodes) if node.process.is_running()}
    return {slot: numbers[owner] for slot, owner in cluster.nodes[0].owner_map().items()}


def counts(cluster):
    found = {}
    for node in layout(cluster).values():
        found[node] = found.get(node, 0) + 1
    return found


def plain(cluster, text):
    """Names of nodes instead of ids and addresses, so that twins can be compared."""
    for i, node in enumerate(cluster.nodes):
        if node.process.is_running():
            text = text.replace(node.id(), "ID%d" % i).replace(node.id()[:8], "ID%d" % i)
        # A port may be 16384, too.
        text = re.sub(r"\b%d\b(?! slots)" % node.port, "PORT%d" % i, text.replace(node.address, "NODE%d" % i))
    return sorted(text.splitlines())


def errors_of_the_command_line(bench, seed):
    bench.same("no argument", "check")
    bench.same("unknown sub-command", "bogus", seed)
    bench.same("unknown option", "check", seed, "--cluster-bogus")
    bench.same("option without its value", "reshard", seed, "--cluster-slots")
    bench.same("option that is none at the end", "info", seed, "-Z")
    bench.same("call without a command", "call", seed)
    bench.same("del-node without an id", "del-node", seed)
    bench.same("add-node without the cluster", "add-node", seed)
    bench.same("backup without a folder", "backup", seed)
    bench.same("set-timeout without a number", "set-timeout", seed)
    bench.same("import without an address", "import")
    bench.same("import without a source", "import", seed)
    bench.same("address that is none", "check", "nonsense")
    bench.same("address that is none, reshard", "reshard", "nonsense")
    bench.same("weights given twice", "rebalance", seed, "--cluster-weight", "a=1", "--cluster-weight", "b=1")
    bench.same("nobody at the seed", "check", BAD)
    bench.same("nobody at host and port", "info", "127.0.0.1", "1")
    bench.same("nobody at the seed, reshard", "reshard", BAD)
    bench.same("nobody at the seed, rebalance", "rebalance", BAD)
    bench.same("nobody at the seed, fix", "fix", BAD)
    bench.same("nobody at the seed, call", "call", BAD, "PING")
    bench.same("nobody at the seed, del-node", "del-node", BAD, NO_ID)
    bench.same("nobody at the seed, add-node", "add-node", seed, BAD)
    bench.same("time-out too short", "set-timeout", seed, "99")
    bench.same("time-out that is no number", "set-timeout", seed, "soon")


def reading(bench, cluster):
    seed = cluster.nodes[0].address
    host, port = seed.split(":")
    bench.same("check", "check", seed)
    bench.same("check of a replica", "check", cluster.nodes[3].address)
    bench.same("check with a bus port", "check", seed + "@%d" % (int(port) + 10000))
    bench.same("check, host and port", "check", host, port)
    bench.same("check for several owners", "check", seed, "--cluster-search-multiple-owners", timeout=90)
    bench.same("info", "info", seed)
    bench.same("info, host and port", "info", host, port)
    bench.same("options before --cluster", "info", seed, before=["--no-auth-warning", "--verbose"])
    bench.same("call", "call", seed, "DBSIZE")
    bench.same("call with arguments", "call", seed, "CONFIG", "GET", "maxmemory")
    bench.same("call, primaries only", "call", seed, "DBSIZE", "--cluster-only-masters")
    bench.same("call, replicas only", "call", seed, "DBSIZE", "--cluster-only-replicas")
    bench.same("call, nested answer", "call", seed, "CLUSTER", "SLOTS", "--cluster-only-replicas")
    bench.same("call, empty answer", "call", seed, "CONFIG", "GET", "no-such-setting")
    bench.same("set-timeout", "set-timeout", seed, "5000")
    bench.differs("call that every node refuses", 0, 1, "call", seed, "NOSUCHCOMMAND")
    bench.differs("call that some nodes refuse", 0, 1, "call", seed, "GET", "key-1")
    bench.differs("help", 1, 0, "help", same_out=False)
    with bench.case("call with a negative number"):
        ours = bench.drover("call", seed, "LRANGE", "{x}none", "0", "-1", "--cluster-only-replicas")
        bench.test.assertIn(">>> Calling LRANGE {x}none 0 -1", ours.out)
    with bench.case("backup"):
        folders = [bench.folder.sub("backup-theirs"), bench.folder.sub("backup-ours")]
        theirs, ours = (f("backup", seed, d) for f, d in zip((bench.original, bench.drover), folders))
        bench.test.assertEqual(theirs.code, ours.code, "%r\n%r" % (theirs, ours))
        bench.test.assertEqual(theirs.out.replace(folders[0], "D"), ours.out.replace(folders[1], "D"))
        bench.test.assertEqual(sorted(os.listdir(folders[0])), sorted(os.listdir(folders[1])))
        with open(folders[0] + "/nodes.json") as a, open(folders[1] + "/nodes.json") as b:
            bench.test.assertEqual(a.read(), b.read())
        for name in os.listdir(folders[1]):
            if name.endswith(".rdb"):
                check = subprocess.run([bench.server.replace("server", "check-rdb"), os.path.join(folders[1], name)],
                                       stdout=subprocess.PIPE, text=True)
                bench.test.assertEqual(check.returncode, 0, check.stdout)
    with bench.case("backup into a folder that is not there"):
        missing = os.path.join(bench.folder.path, "no", "folder")
        theirs, ours = bench.original("backup", seed, missing), bench.drover("backup", seed, missing)
        bench.test.assertEqual((theirs.code, theirs.out), (ours.code, ours.out))
        bench.test.assertIn("Error opening", ours.err)
    with bench.case("no colours in a file, whatever $TERM says"):
        done = subprocess.run([bench.link, "--cluster", "check", seed], stdout=subprocess.PIPE,
                              env=dict(bench.env, TERM="xterm-256color"))
        bench.test.assertNotIn(b"\x1b", done.stdout)
    with bench.case("drover --cluster without a link"):
        ours = bench.run(harness.DROVER, ["--cluster", "info", seed])
        bench.test.assertEqual(ours.code, 0)
    with bench.case("what is not --cluster goes to the real client"):
        theirs = bench.run(bench.real, ["-p", port, "ECHO", "--cluster"])
        ours = bench.run(bench.link, ["-p", port, "ECHO", "--cluster"])
        bench.test.assertEqual((theirs.code, theirs.out), (ours.code, ours.out))
        bench.test.assertEqual(ours.out.strip(), "--cluster")


def refusals(bench, cluster):
    seed = cluster.nodes[0].address
    ids = [node.id() for node in cluster.nodes]
    bench.same("reshard, plan refused", "reshard", seed, "--cluster-from", ids[0], "--cluster-to", ids[1],
               "--cluster-slots", 3, answers="no\n")
    bench.same("reshard from all, plan refused", "reshard", seed, "--cluster-from", "all", "--cluster-to", ids[1],
               "--cluster-slots", 1000, answers="no\n")
    bench.same("reshard from two, plan refused", "reshard", seed, "--cluster-from", ids[2] + "," + ids[0],
               "--cluster-to", ids[1], "--cluster-slots", 7, answers="no\n")
    bench.same("reshard to a node that is none", "reshard", seed, "--cluster-from", "all", "--cluster-to", NO_ID,
               "--cluster-slots", 3, "--cluster-yes")
    bench.same("reshard from a node that is none", "reshard", seed, "--cluster-from", NO_ID, "--cluster-to", ids[0],
               "--cluster-slots", 3, "--cluster-yes")
    bench.same("reshard to a replica", "reshard", seed, "--cluster-from", "all", "--cluster-to", ids[3],
               "--cluster-slots", 3, "--cluster-yes")
    bench.same("reshard from a replica", "reshard", seed, "--cluster-from", ids[4], "--cluster-to", ids[0],
               "--cluster-slots", 3, "--cluster-yes")
    bench.same("reshard from the target", "reshard", seed, "--cluster-from", ids[0], "--cluster-to", ids[0],
               "--cluster-slots", 3, env={"REDISCLI_CLUSTER_YES": "1"})
    bench.same("rebalance that is not needed", "rebalance", seed)
    bench.same("rebalance, wide threshold", "rebalance", seed, "--cluster-threshold", "50.5")
    bench.same("weight of a node that is none", "rebalance", seed, "--cluster-weight", "zzz=2")
    bench.same("rebalance, dry run", "rebalance", seed, "--cluster-simulate", "--cluster-weight", ids[0] + "=2",
               sorts=True)
    bench.same("del-node of a node that is none", "del-node", seed, NO_ID)
    bench.same("del-node of a node with slots", "del-node", seed, ids[1])
    bench.same("add-node of a member", "add-node", cluster.nodes[1].address, seed)
    bench.same("add-node of nobody", "add-node", BAD, seed)
    bench.same("create of members", "create", *[n.address for n in cluster.nodes[:3]])
    bench.same("create, nobody there", "create", BAD, BAD.replace(":1", ":2"), BAD.replace(":1", ":3"))
    bench.same("import from a member", "import", seed, "--cluster-from", cluster.nodes[1].address)
    bench.same("import from nobody", "import", seed, "--cluster-from", BAD, err_like="Could not connect to")
    with bench.case("reshard, end of the input at a question"):
        ours = bench.drover("reshard", seed, timeout=20)  # the original asks for ever
        bench.test.assertEqual(ours.code, 1)
    with bench.case("reshard, more slots than there are"):
        ours = bench.drover("reshard", seed, "--cluster-from", "all", "--cluster-to", ids[0], "--cluster-slots", 20000,
                            "--cluster-yes")  # the original moves all it finds
        bench.test.assertEqual(ours.code, 1)
    with bench.case("reshard, answers on stdin"):
        ours = bench.drover("reshard", seed, answers="0\nabc\n2\nnobody\n%s\nnobody\n%s\ndone\nno\n" % (ids[1], ids[0]))
        bench.test.assertEqual(ours.code, 1)
        bench.test.assertEqual(ours.out.count("How many slots do you want to move (from 1 to 16384)? "), 3)
        bench.test.assertEqual(ours.out.count("is not known or not a "), 2)
        bench.test.assertIn("    Moving slot 1 from %s\n" % ids[0], ours.out)


class Twins:
    """Two clusters with the same nodes, slots and keys: one for the original, one for drover."""

    def __init__(self, bench, name="twin"):
        self.bench = bench
        self.broken = None  # how the original left its cluster
        self.clusters = [Cluster(bench.folder_of("%s%d" % (name, i)), bench.server).create(3, 1) for i in range(2)]
        for cluster in self.clusters:
            fill(cluster)

    def both(self, name, make, answers="", compares="layout", code=0, lines=True):
        """make(cluster) gives the arguments."""
        if self.broken:
            return
        with self.bench.case(name):
            theirs = self.bench.original(*make(self.clusters[0]), answers=answers)
            try:
                self.clusters[0].check_at_rest()
            except AssertionError as error:
                self.clusters[0].dump_logs()
                self.broken = "%s: %s\n%r" % (name, error, theirs)
                return
            runs = [theirs, self.bench.drover(*make(self.clusters[1]), answers=answers)]
            try:
                self.clusters[1].check_at_rest()
            except AssertionError:
                self.clusters[1].dump_logs()
                raise
            self.bench.test.assertEqual([run.code for run in runs], [code, code], "%r\n%r" % tuple(runs))
            if lines:
                self.bench.test.assertEqual(plain(self.clusters[0], runs[0].out), plain(self.clusters[1], runs[1].out))
            self.compare(compares)

    def compare(self, how):
        a, b = self.clusters
        if how == "layout":
            self.bench.test.assertEqual(layout(a), layout(b))
        elif how == "counts":
            mine, other = counts(b), counts(a)
            self.bench.test.assertEqual(sorted(mine), sorted(other))
            for node in mine:
                self.bench.test.assertLessEqual(abs(mine[node] - other[node]), 1, "%s %s" % (other, mine))
        self.bench.test.assertEqual((count_keys(a), count_keys(b)), (400, 400))


def id_of(cluster, number):
    return cluster.nodes[number].id()


def seed(cluster):
    return cluster.nodes[0].address


def moving_little(bench, twins):
    twins.both("reshard from one", lambda c: ["reshard", seed(c), "--cluster-from", id_of(c, 0), "--cluster-to",
                                              id_of(c, 1), "--cluster-slots", 50, "--cluster-yes"])
    twins.both("reshard from all", lambda c: ["reshard", seed(c), "--cluster-from", "all", "--cluster-to", id_of(c, 2),
                                              "--cluster-slots", 100, "--cluster-yes"])


def moving(bench, twins):
    moving_little(bench, twins)
    twins.both("reshard with pipeline, time-out and replace", lambda c: [
        "reshard", seed(c), "--cluster-from", id_of(c, 2), "--cluster-to", id_of(c, 0), "--cluster-slots", 20,
        "--cluster-yes", "--cluster-pipeline", 50, "--cluster-timeout", 30000, "--cluster-replace"])
    twins.both("reshard after a yes on stdin", lambda c: [
        "reshard", seed(c), "--cluster-from", id_of(c, 1), "--cluster-to", id_of(c, 2), "--cluster-slots", 5],
        answers="yes\n")
    twins.both("rebalance by weight", lambda c: ["rebalance", seed(c), "--cluster-weight", id_of(c, 0)[:12] + "=1.1"],
               compares="counts", lines=False)
    twins.both("rebalance back", lambda c: ["rebalance", seed(c)], compares="counts", lines=False)
    for cluster in () if twins.broken else twins.clusters:
        cluster.add_empty()
    twins.both("rebalance leaves empty primaries alone", lambda c: ["rebalance", seed(c)], compares="counts")
    twins.both("rebalance onto an empty primary", lambda c: [
        "rebalance", seed(c), "--cluster-use-empty-masters", "--cluster-weight", id_of(c, 6) + "=0.1"],
        compares="counts", lines=False)
    twins.both("rebalance, weight 0 empties", lambda c: [
        "rebalance", seed(c), "--cluster-weight", id_of(c, 6) + "=0"], compares="counts", lines=False)


def with_twins(bench, twins, cases):
    """The twins that went through the cases. The original leaves nodes that disagree for good where gossip comes late,
    which machines under load have shown; there is nothing to compare with then, and new twins begin again."""
    cases(bench, twins)
    if twins.broken:
        print("    begun again: the original broke its own cluster: %s" % twins.broken, flush=True)
        twins = Twins(bench, "again")
        cases(bench, twins)
    bench.test.assertIsNone(twins.broken)
    return twins


def interruptions(bench, cluster):
    """Ctrl-C, kill -9, two at once, and a coordinator that is there already."""
    seed = cluster.nodes[0].address
    ids = [node.id() for node in cluster.nodes]
    keys = count_keys(cluster)
    line = ["--cluster", "reshard", seed, "--cluster-from", "all", "--cluster-to", ids[0], "--cluster-slots", "2500",
            "--cluster-yes"]

    def moving_now():
        return any(row["open"] for node in cluster.live() for row in node.view().values())

    with bench.case("Ctrl-C finishes the slots in hand"):
        process = Process("interrupted", [bench.link, *line], bench.folder.path, env=bench.env).start()
        wait_for("an open slot", moving_now, 30, 0.005)
        process.signal(signal.SIGINT)
        bench.test.assertEqual(process.child.wait(60), 1)
        cluster.check_at_rest()
    with bench.case("kill -9, the next run goes on"):
        process = Process("killed", [bench.link, *line], bench.folder.path, env=bench.env).start()
        wait_for("an open slot", moving_now, 30, 0.005)
        process.kill()
        ours = bench.drover("rebalance", seed)
        bench.test.assertEqual(ours.code, 0, ours)
        cluster.check_at_rest()
        bench.test.assertEqual(bench.drover("check", seed).code, 0)
    def marks():
        return sum(len(row["open"]) for node in cluster.live() for row in node.view().values())

    def kill_both(process):
        """The run and the coordinator that it started, as a power cut would."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % name) as file:
                    parent = int(file.read().rsplit(")", 1)[1].split()[1])
                if parent == process.pid:
                    os.kill(int(name), signal.SIGKILL)
            except OSError:
                pass  # gone meanwhile
        process.kill()

    def resumes(name, broken, *resuming, env=None, kill=Process.kill):
        """Killed when some slots are through and one is open: what comes next brings everything to its end."""
        with bench.case(name):
            before = marks()
            process = Process("killed-%d" % bench.count, [bench.link, "--cluster", *map(str, broken)], bench.folder.path,
                              env=bench.env).start()
            wait_for("its first change, or the end", lambda: not process.is_running() or marks() != before, 60, 0.005)
            if process.is_running():
                kill(process)
            ours = bench.drover(*resuming, env=env)
            bench.test.assertEqual(ours.code, 0, ours)
            cluster.check_at_rest()

    resumes("kill -9 of a rebalance, fix goes on", ["rebalance", seed, "--cluster-weight", ids[1] + "=3"], "fix", seed)
    elsewhere = bench.folder.sub("elsewhere")
    os.chmod(elsewhere, 0o700)
    resumes("kill -9 of a reshard, fix by another user", line[1:], "fix", seed, env={"XDG_RUNTIME_DIR": elsewhere},
            kill=kill_both)
    for slot in range(0, 200):
        owner = cluster.by_id(cluster.nodes[0].owner_map()[slot])
        other = next(node for node in cluster.primaries() if node is not owner)
        half_moved(cluster, owner, other, slot, [])
    resumes("kill -9 of a fix, reshard goes on", ["fix", seed], "reshard", seed, "--cluster-from", "all", "--cluster-to",
            ids[1], "--cluster-slots", 5, "--cluster-yes")
    with bench.case("Ctrl-C of a rebalance finishes the slots in hand"):
        process = Process("interrupted-2", [bench.link, "--cluster", "rebalance", seed, "--cluster-weight",
                                            ids[2] + "=3"], bench.folder.path, env=bench.env).start()
        wait_for("an open slot, or the end", lambda: not process.is_running() or moving_now(), 60, 0.005)
        process.signal(signal.SIGINT)
        bench.test.assertIn(process.child.wait(60), (0, 1))
        cluster.check_at_rest()
    with bench.case("two runs at once"):
        first = Process("first", [bench.link, *line], bench.folder.path, env=bench.env).start()
        wait_for("an open slot", moving_now, 30, 0.005)
        second = bench.drover("rebalance", seed)
        bench.test.assertEqual(first.child.wait(120), 0, first.log_text())
        if "Another run works on this cluster" in second.out:
            bench.test.assertEqual(second.code, 0, second)
        bench.test.assertIn(second.code, (0, 1), second)
        cluster.check_at_rest()
        bench.test.assertEqual(bench.drover("rebalance", seed).code, 0)
    with bench.case("two users at once: neither sees the other's lock"):
        first = Process("first-user", [bench.link, *line], bench.folder.path, env=bench.env).start()
        wait_for("an open slot, or the end", lambda: not first.is_running() or moving_now(), 60, 0.005)
        second = bench.drover("reshard", seed, "--cluster-from", "all", "--cluster-to", ids[1], "--cluster-slots", "300",
                              "--cluster-yes", env={"XDG_RUNTIME_DIR": elsewhere})
        bench.test.assertIn(second.code, (0, 1), second)
        bench.test.assertIn(first.child.wait(300), (0, 1), first.log_text())
        bench.test.assertEqual(bench.drover("fix", seed).code, 0)
        cluster.check_at_rest()
        bench.test.assertEqual(count_keys(cluster), keys)
    with bench.case("a coordinator that manages the cluster does the work"):
        api = "127.0.0.1:%d" % harness.free_port()
        coordinator = Process("coordinator", [
            harness.COORDINATOR, "--store", "sqlite://" + os.path.join(bench.folder.path, "own.db"), "--api", api,
            "--node", seed, "--report-interval", "500ms"], bench.folder.path).start()
        wait_for("the coordinator to settle", lambda: harness.drover_json("status", api=api, check=False)["settled"], 30)
        ours = bench.drover("reshard", seed, "--cluster-from", ids[0], "--cluster-to", ids[1], "--cluster-slots", 10,
                            "--cluster-yes", env={"DROVER_API": api})
        bench.test.assertEqual(ours.code, 0, ours)
        bench.test.assertIn(">>> The drover coordinator at http://%s manages this cluster" % api, ours.out)
        coordinator.stop()
    with bench.case("no key was lost, nothing was left behind"):
        cluster.check_at_rest()
        bench.test.assertEqual(count_keys(cluster), keys)
        left = [name for _, _, names in os.walk(bench.env["XDG_RUNTIME_DIR"]) for name in names if name != "lock"]
        bench.test.assertEqual(left, [])


def dead_replica(bench, cluster):
    seed = cluster.nodes[0].address
    cluster.nodes[-1].kill()
    with bench.case("check with a dead node that the cluster lists"):
        theirs, ours = bench.original("check", seed), bench.drover("check", seed)
        strict = bench.drover("check", seed, "--cluster-compat", "strict")
        bench.test.assertEqual((theirs.code, ours.code, strict.code), (0, 1, 0), "%r\n%r" % (theirs, ours))
        bench.test.assertEqual((theirs.out, theirs.err), (strict.out, strict.err))
        bench.test.assertIn("is known to the cluster but cannot be reached", ours.out)


class Compat(unittest.TestCase):
    def bench(self, server, client):
        if not shutil.which(server) or not shutil.which(client):
            self.skipTest("%s or %s is not installed" % (server, client))
        return Bench(self, server, client)

    def test_redis(self):
        bench = self.bench("redis-server", "redis-cli")
        twins = Twins(bench)
        errors_of_the_command_line(bench, twins.clusters[0].nodes[0].address)
        reading(bench, twins.clusters[0])
        refusals(bench, twins.clusters[0])
        twins = with_twins(bench, twins, moving)
        interruptions(bench, twins.clusters[1])
        dead_replica(bench, twins.clusters[1])
        bench.tell()
        self.assertGreaterEqual(bench.count, 60)

    def test_valkey(self):
        bench = self.bench("valkey-server", "valkey-cli")
        twins = Twins(bench)
        errors_of_the_command_line(bench, twins.clusters[0].nodes[0].address)
        reading(bench, twins.clusters[0])
        refusals(bench, twins.clusters[0])
        seed = twins.clusters[0].nodes[0].address
        bench.same("alias --cluster-only-primaries", "call", seed, "PING", "--cluster-only-primaries")
        bench.same("alias --cluster-use-empty-primaries", "rebalance", seed, "--cluster-use-empty-primaries")
        with_twins(bench, twins, moving_little)
        bench.tell()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
