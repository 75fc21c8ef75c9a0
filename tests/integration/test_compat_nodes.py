#!/usr/bin/env python3
"""`drover --cluster` on nodes that come and on slots that are in disorder: create, add-node, import, fix. Beside the real
client where it does the same; else what it leaves behind is checked by the real one.
"""

import shutil
import sys
import unittest

import harness
from compat_bench import Bench, count_keys, half_moved
from harness import Cluster, wait_for
from resp import key_slot


def new_nodes(bench):
    """create, add-node, and import on nodes of their own."""
    test = bench.test
    cluster = Cluster(bench.folder_of("new"), bench.server)
    nodes = [cluster.spawn() for _ in range(7)]
    six = [node.address for node in nodes[:6]]
    bench.same("create of too few for three primaries", "create", *six[:4], "--cluster-replicas", 1)
    bench.differs("create, answered no", 0, 1, "create", *six, "--cluster-replicas", 1, answers="no\n", same_out=False)
    with bench.case("create with replicas"):
        ours = bench.drover("create", *six, "--cluster-replicas", 1, answers="yes\n")
        test.assertEqual(ours.code, 0, ours)
        for line in (">>> Performing hash slots allocation on 6 nodes...", "Master[0] -> Slots 0 - 5460",
                     "Master[1] -> Slots 5461 - 10922", "Master[2] -> Slots 10923 - 16383",
                     "Adding replica %s to %s" % (six[3], six[0]), ">>> Nodes configuration updated",
                     "Can I set the above configuration? (type 'yes' to accept): ",
                     ">>> Assign a different config epoch to each node", "[OK] All 16384 slots covered.",
                     ">>> Sending CLUSTER MEET messages to join the cluster"):
            test.assertIn(line, ours.out)
        test.assertEqual(bench.original("check", six[0]).code, 0)
        rows = nodes[0].view().values()
        test.assertEqual(sorted(len(row["slots"]) for row in rows), [0, 0, 0, 5461, 5461, 5462])
    library = "#!lua name=%s\nredis.register_function('%s', function() return 'here' end)"
    nodes[6].call("FUNCTION", "LOAD", library % ("stray", "stray"))
    bench.same("add-node with functions of its own", "add-node", nodes[6].address, six[0], sorts=True)
    nodes[6].call("FUNCTION", "FLUSH")
    for node in nodes[:3]:
        node.call("FUNCTION", "LOAD", library % ("ours", "ours"))
    with bench.case("add-node"):
        ours = bench.drover("add-node", nodes[6].address, six[0])
        test.assertEqual(ours.code, 0, ours)
        test.assertIn(">>> Send FUNCTION RESTORE to " + nodes[6].address, ours.out)
        test.assertIn(b"ours", nodes[6].call("FUNCTION", "LIST")[0])
        test.assertIn(">>> Adding node %s to cluster %s" % (nodes[6].address, six[0]), ours.out)
        test.assertIn("[OK] New node added correctly.", ours.out)
        test.assertEqual(nodes[0].view()[nodes[6].id()]["slots"], set())
        test.assertEqual(bench.original("check", six[0]).code, 0)
    with bench.case("add-node as a replica, primary chosen"):
        extra = cluster.spawn()
        ours = bench.drover("add-node", extra.address, six[0], "--cluster-slave")
        test.assertEqual(ours.code, 0, ours)
        test.assertIn("Automatically selected ", ours.out)
        test.assertIn(">>> Configure node as replica of %s." % nodes[6].address, ours.out)
        test.assertEqual(nodes[0].view()[extra.id()]["primary"], nodes[6].id())
    with bench.case("import"):
        source = harness.Node(bench.folder_of("import"), "source", bench.server, conf={"cluster-enabled": "no"}).start()
        for i in range(50):
            source.call("SET", "import-%d" % i, "v%d" % i)
        source.call("SET", b"with space\n", "odd")
        ours = bench.drover("import", six[0], "--cluster-from", source.address, "--cluster-copy")
        test.assertEqual(ours.code, 0, ours)
        test.assertIn("Migrating import-7 to ", ours.out)
        test.assertEqual(source.call("DBSIZE"), 51)
        test.assertEqual(sum(node.call("DBSIZE") for node in nodes[:3]), 51)
    with bench.case("import of keys that are there already"):
        ours = bench.drover("import", six[0], "--cluster-from", source.address)
        test.assertEqual(ours.code, 1, ours)
        test.assertIn("BUSYKEY", ours.out)
        test.assertEqual(source.call("DBSIZE"), 51)
        ours = bench.drover("import", six[0], "--cluster-from", source.address, "--cluster-replace")
        test.assertEqual((ours.code, source.call("DBSIZE")), (0, 0), ours)
    with bench.case("import from a source with a password"):
        source = harness.Node(bench.folder_of("import"), "closed", bench.server, conf={"cluster-enabled": "no"},
                              password="secret").start()
        source.call("SET", "import-closed", "v")
        line = ["import", six[0], "--cluster-from", source.address]
        test.assertEqual(bench.drover(*line).code, 1)
        test.assertEqual(bench.drover(*line, "--cluster-from-pass", "wrong").code, 1)
        ours = bench.drover(*line, "--cluster-from-user", "default", "--cluster-from-pass", "secret")
        test.assertEqual((ours.code, source.call("DBSIZE")), (0, 0), ours)


def tag_of(slot, tags={}):
    """A hash tag whose keys lie in the slot."""
    number = len(tags)
    while slot not in tags:
        tags.setdefault(key_slot("%d" % number), "%d" % number)
        number += 1
    return tags[slot]


def mending(bench):
    test = bench.test
    cluster = Cluster(bench.folder_of("mend"), bench.server).create(3, 1)
    a, b, c = cluster.nodes[:3]
    for slot in (10, 11, 12, 13):
        for i in range(20):
            a.call("SET", "{%s}%d" % (tag_of(slot), i), "v%d" % i)

    def keys(slot, count):
        return ["{%s}%d" % (tag_of(slot), i) for i in range(count)]

    def mends(name, *options, answers=""):
        with bench.case(name):
            test.assertEqual(bench.drover("check", a.address).code, 1)
            ours = bench.drover("fix", b.address, *options, answers=answers)
            test.assertEqual(ours.code, 0, ours)
            cluster.check_at_rest()
            test.assertEqual(bench.original("check", a.address).code, 0)
            test.assertEqual(count_keys(cluster), 80)
            return ours

    half_moved(cluster, a, b, 10, keys(10, 7))
    ours = mends("fix, half moved, both marks")
    test.assertIn(">>> Fixing open slot 10", ours.out)
    half_moved(cluster, a, b, 11, keys(11, 7), marks="importing")
    mends("fix, keys at a node that imports, no mark at the owner")
    half_moved(cluster, a, c, 12, [], marks="migrating")
    mends("fix, a mark without keys")
    half_moved(cluster, a, c, 13, keys(13, 20))
    half_moved(cluster, a, b, 20, [], marks="importing")
    mends("fix, all keys moved, and an empty mark elsewhere")
    both = "{%s}0" % tag_of(11)
    half_moved(cluster, a, b, 11, [])
    for words in (("ASKING",), ("SET", both, "another")):
        b.call(*words)
    move = ["reshard", a.address, "--cluster-from", a.id(), "--cluster-to", b.id(), "--cluster-slots", 1, "--cluster-yes"]
    with bench.case("reshard, a key with two values is nobody's to decide"):
        ours = bench.drover(*move)
        test.assertEqual(ours.code, 1, ours)
        test.assertIn("[ERR] ", ours.out)
        test.assertIn("*** Please fix your cluster problems before resharding", ours.err)
        test.assertEqual(a.call("GET", both), b"v0")
        b.call("ASKING")
        test.assertEqual(b.call("GET", both), b"another")
    with bench.case("reshard, a key with two values and --cluster-replace"):
        ours = bench.drover(*move, "--cluster-replace")
        test.assertEqual(ours.code, 0, ours)
        cluster.check_at_rest()
        test.assertEqual(cluster.by_id(a.owner_map()[11]).call("GET", both), b"v0")
        test.assertEqual(count_keys(cluster), 80)
    for node in cluster.nodes:
        node.call("CLUSTER", "DELSLOTS", 5000, 5001)
    with bench.case("fix, slots that nobody has, answered no"):
        ours = bench.drover("fix", a.address, answers="no\n", env={"REDISCLI_CLUSTER_YES": "1"})
        test.assertEqual(ours.code, 1)
        test.assertIn("Fix these slots by covering with a random node? (type 'yes' to accept): ", ours.out)
        test.assertIn("[5000-5001]", ours.out)
    ours = mends("fix, slots that nobody has, answered yes", answers="yes\n")
    test.assertIn(">>> Covering slot 5000 with ", ours.out)
    half_moved(cluster, c, a, 16000, [])
    with bench.case("rebalance finishes open slots first"):
        ours = bench.drover("rebalance", a.address)
        test.assertEqual(ours.code, 0, ours)
        cluster.check_at_rest()
    lost = [cluster.nodes[2], cluster.nodes[5]]
    test.assertEqual(cluster.nodes[0].view()[lost[1].id()]["primary"], lost[0].id())
    lost_id = lost[0].id()
    for node in lost:
        node.kill()
    wait_for("the lost shard to be known as such", lambda: "fail" in a.view()[lost_id]["flags"], 60)
    with bench.case("fix, a shard that is gone, not asked for"):
        runs = [tool("fix", a.address) for tool in (bench.original, bench.drover)]
        test.assertEqual([run.code for run in runs], [1, 1], runs)
        test.assertIn("--cluster-fix-with-unreachable-masters", runs[1].out)
    with bench.case("fix, a shard that is gone"):
        ours = bench.drover("fix", a.address, "--cluster-fix-with-unreachable-masters", answers="yes\n" * 3)
        test.assertEqual(ours.code, 0, ours)
        cluster.check_at_rest()
        test.assertEqual(bench.original("check", a.address).code, 0)


class Nodes(unittest.TestCase):
    def bench(self):
        if not shutil.which("redis-cli"):
            self.skipTest("redis-cli is not installed")
        return Bench(self, "redis-server", "redis-cli")

    def test_new_nodes(self):
        bench = self.bench()
        new_nodes(bench)
        bench.tell()

    def test_fix(self):
        bench = self.bench()
        mending(bench)
        bench.tell()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
