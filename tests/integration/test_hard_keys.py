"""Slots that are hard to move, standalone: far more keys than a batch, 50,000 in one slot, a 64 MB key, keys that expire
on the way, FLUSHALL on the way."""

import unittest

from fleet import Standalone
from harness import Cluster, Folder, end_all, load_tool, log, wait_for
from resp import key_slot


def tag_for(slots):
    """A hash tag whose slot is in 'slots'."""
    return next("t%d" % i for i in range(10**6) if key_slot("t%d" % i) in slots)


class HardKeys(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.cluster = Cluster(self.folder).create(2)
        self.cluster.add_empty()
        self.fleet = Standalone(self.folder, self.cluster)
        self.fleet.wait_sees(3)
        self.source, _, self.target = self.cluster.nodes
        self.slots = self.source.view()[self.source.id()]["slots"]

    def tearDown(self):
        end_all()

    def pipeline(self, commands, step=5000):
        client = self.source.client()
        for i in range(0, len(commands), step):
            for reply in client.pipeline(commands[i : i + step]):
                self.assertFalse(isinstance(reply, Exception), reply)
        client.close()

    def drain_source(self, *args):
        try:
            return self.fleet.run("drain", self.source.address, "--yes", *args)
        except BaseException:
            self.fleet.dump_logs()
            raise

    def keys_of(self, slot):
        self.cluster.check_at_rest()
        owner = self.cluster.nodes[0].owner_map()[slot]
        node = self.cluster.by_id(owner)
        self.assertIsNot(node, self.source)
        return node, node.call("CLUSTER", "COUNTKEYSINSLOT", slot)

    def test_slot_of_50000_keys(self):
        tag = tag_for(self.slots)
        self.pipeline([("SET", "{%s}%d" % (tag, i), "v%d" % i) for i in range(50000)])
        self.drain_source()
        node, count = self.keys_of(key_slot(tag))
        self.assertEqual(count, 50000)
        self.assertEqual(node.call("GET", "{%s}49999" % tag), b"v49999")

    def test_key_of_64_mb(self):
        tag = tag_for(self.slots)
        value = bytes(range(256)) * (64 * 4096)
        self.source.call("SET", "{%s}big" % tag, value)
        for i in range(300):
            self.source.call("SET", "{%s}small%d" % (tag, i), "x")
        self.drain_source()
        node, count = self.keys_of(key_slot(tag))
        self.assertEqual(count, 301)
        self.assertEqual(node.call("GET", "{%s}big" % tag), value)

    def test_keys_expire_on_the_way(self):
        tag = tag_for(self.slots)
        self.pipeline([("SET", "{%s}%d" % (tag, i), "v", "PX", 1 + i % 3000) for i in range(40000)])
        self.pipeline([("SET", "{%s}stays%d" % (tag, i), "v", "EX", 3600) for i in range(500)])
        self.drain_source("--speed", "soft")
        node, _ = self.keys_of(key_slot(tag))
        wait_for("the short-lived keys to expire", lambda: self.expired(node, tag), 30)
        ttl = node.call("PTTL", "{%s}stays0" % tag)
        self.assertTrue(3500_000 < ttl <= 3600_000, ttl)

    @staticmethod
    def expired(node, tag):
        # Reading a key is what makes Redis drop it; count what really is left.
        return all(node.call("EXISTS", "{%s}%d" % (tag, i)) == 0 for i in range(0, 40000, 997)) and all(
            node.call("EXISTS", "{%s}stays%d" % (tag, i)) == 1 for i in range(500))

    def test_flushall_on_the_way(self):
        code, text = load_tool("fill", *self.cluster.seed_args(), "--keys", 200000, "--size", 100, "--mix", "strings")
        self.assertEqual(code, 0, text)
        operation = self.fleet.start("drain", self.source.address, "--speed", "soft")
        wait_for("some slots to have moved", lambda: self.fleet.operation(operation)["slots_moved"] > 50, 60)
        for node in self.cluster.nodes:
            if node.info("replication")["role"] == "master":
                node.call("FLUSHALL")
        done = self.fleet.wait_operation(operation)
        log("%d slots, %d keys moved" % (done["slots_moved"], done["keys_moved"]))
        self.cluster.check_at_rest()
        self.assertEqual(self.cluster.slot_counts()[self.source.name], 0)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
