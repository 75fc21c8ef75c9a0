"""`drover doctor` names what is wrong and `drover repair` mends it, through the whole product on real servers.

Proves: slots that an owner or everybody forgot (CLUSTER DELSLOTS) come back to whoever has their keys; slots of a dead primary
without a replica go to others when a person says so, and the dead one does not win them back; a cluster whose reshard by
redis-cli was killed is adopted and mended, also over a restart; no key is lost but those of the dead.
"""

import json
import shutil
import signal
import subprocess
import unittest

from fleet import Coordinator, Fleet, Standalone
from harness import SLOTS, Cluster, Folder, Hosts, can_make_hosts, end_all, load_tool, log, run, wait_for
from resp import RedisError

REFUSED = 7
FILL = ["--keys", 20000, "--size", 100, "--mix", "all", "--seed", 21]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.fleet = None

    def tearDown(self):
        end_all()

    def guarded(self, steps):
        try:
            steps()
        except BaseException:
            if self.fleet is not None:
                self.fleet.dump_logs()
            raise

    def doctor(self):
        return json.loads(self.fleet.run("doctor", "-o", "json", check=False).stdout)

    def wait_finding(self, code, is_good=lambda finding: True):
        return wait_for("the doctor to find " + code, lambda: next(
            (f for f in self.doctor()["findings"] if f["code"] == code and is_good(f)), None), 60, 0.3)

    def wait_no_finding(self, *codes):
        wait_for("the doctor to find no " + ", ".join(codes), lambda: not [
            f for f in self.doctor()["findings"] if f["code"] in codes], 60, 0.3)

    def repair(self, *words):
        log(self.fleet.run("repair", *words, "--yes").stdout.strip().splitlines()[-1])

    def verify(self):
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)


class Slots(Case):
    SERVER = "redis-server"

    def setUp(self):
        super().setUp()
        self.cluster = Cluster(self.folder, self.SERVER).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet = Standalone(self.folder, self.cluster)
        self.fleet.wait_sees(3)

    def test_forgotten_slots(self):
        self.guarded(self.forgotten_slots)

    def forgotten_slots(self):
        first, second, third = self.cluster.nodes
        # The owner itself lets go; the others go on believing that it owns them.
        first.call("CLUSTER", "DELSLOTSRANGE", 100, 149)
        finding = self.wait_finding("slots_disputed")
        self.assertTrue(finding["is_repairable"])
        self.repair()
        self.cluster.check_at_rest()
        self.assertTrue(set(range(100, 150)) <= first.view()[first.id()]["slots"])
        # Everybody lets go: the keys are still where they were.
        holders = [(node, {slot for slot in slots if node.call("CLUSTER", "COUNTKEYSINSLOT", slot)})
                   for node, slots in ((first, range(200, 220)), (second, range(6000, 6020)))]
        self.assertTrue(all(held for _, held in holders))
        for node in self.cluster.nodes:
            node.call("CLUSTER", "DELSLOTSRANGE", 200, 219)
            node.call("CLUSTER", "DELSLOTSRANGE", 6000, 6019)
        finding = self.wait_finding("slots_uncovered")
        self.assertEqual((finding["slot_count"], finding["is_repairable"]), (40, True))
        self.repair()
        self.cluster.check_at_rest()
        for node, held in holders:
            self.assertTrue(held <= node.view()[node.id()]["slots"], node.name)
        self.verify()
        self.wait_no_finding("slots_disputed", "slots_uncovered", "node_down")
        before = self.cluster.slot_counts()
        self.repair()  # again: nothing to do
        self.assertEqual(before, self.cluster.slot_counts())
        self.dead_primary(third)

    def dead_primary(self, third):
        first, second = self.cluster.nodes[:2]
        gone = third.id()
        slots = set(third.view()[gone]["slots"])
        third.kill()
        self.wait_finding("slots_unreachable", lambda f: f["severity"] == "error")
        done = self.fleet.run("repair", "--yes", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stdout)
        self.assertIn("unreachable-ok", done.stdout + done.stderr)
        self.assertEqual(slots, set(first.view()[gone]["slots"]))
        self.repair("--unreachable-ok")
        self.cluster.wait_ok()
        for node in (first, second):
            rows = node.view()
            self.assertEqual(len(rows[first.id()]["slots"]) + len(rows[second.id()]["slots"]), SLOTS, node.name)
        new_owners = first.owner_map()
        key = "{%s}" % next(str(i) for i in range(10 ** 6) if int(first.call("CLUSTER", "KEYSLOT", str(i))) in slots)
        owner = self.cluster.by_id(new_owners[int(first.call("CLUSTER", "KEYSLOT", key))])
        owner.call("SET", key, "written since")
        # Switched on again it believes in its old slots, and is told better.
        third.restart()
        wait_for("the dead one to learn that it lost its slots", lambda: not third.view()[gone]["slots"], 60, 0.2)
        self.assertEqual(first.owner_map(), new_owners)
        self.assertEqual(owner.text("GET", key), "written since")
        self.cluster.check_at_rest()
        wait_for("its old keys to be gone", lambda: third.info("replication")["role"] == "slave" or
                 third.call("DBSIZE") == 0, 60, 0.2)
        log("the dead one came back as %s" % third.info("replication")["role"])


@unittest.skipUnless(shutil.which("valkey-server"), "valkey-server is not installed")
class SlotsValkey(Slots):
    SERVER = "valkey-server"


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Gossip(Case):
    """A bus link that is down is named with both ends; members that do not know each other are introduced unasked."""

    def test_links_and_strangers(self):
        self.guarded(self.links_and_strangers)

    def links_and_strangers(self):
        hosts = Hosts(3)
        self.cluster = Cluster(self.folder, hosts=hosts).create(3)
        first, second, third = self.cluster.nodes
        self.fleet = Standalone(self.folder, self.cluster, ["--auto-meet"])
        self.fleet.wait_sees(3)
        # Both are in reach of drover and of the third, but not of each other.
        run("ip", "-n", hosts.names[0], "route", "add", "blackhole", hosts.address(1) + "/32")
        finding = self.wait_finding("link_down")
        self.assertIn("has no bus link to", finding["text"])
        self.assertEqual({n["id"] for n in finding["nodes"]}, {first.id(), second.id()})
        self.assertIsNotNone(finding["since"])
        self.assertIn("link_down", self.fleet.run("doctor", check=False).stdout)
        run("ip", "-n", hosts.names[0], "route", "del", "blackhole", hosts.address(1) + "/32")
        self.wait_no_finding("link_down", "node_suspected", "node_missing")
        self.assertEqual(self.fleet.json("ops")["operations"], [])
        # Forgotten by one, who refuses to hear of it from the others for 60 s.
        second.call("CLUSTER", "FORGET", third.id())
        finding = self.wait_finding("node_missing")
        self.assertIn("%s (%s) says no" % (second.address, second.id()[:8]), finding["text"])
        done = wait_for("drover to introduce it", lambda: next(
            (o for o in self.fleet.json("ops")["operations"] if o["state"] == "done"), None), 90, 0.5)
        self.assertEqual((done["kind"], done["requested_by"]), ("repair", "auto-meet"))
        self.cluster.wait_known()
        self.wait_no_finding("node_missing")
        self.cluster.check_at_rest()


class Lone(Fleet):
    """A standalone coordinator that is told of no node."""

    def __init__(self, folder):
        self.folder = folder
        self.start_again()

    def start_again(self):
        store = "sqlite://%s/drover.db" % self.folder.sub("store")
        self.coordinators = [Coordinator(self.folder, "lone", "inproc://drover", store, ["--no-discover"]).start()]
        self.leader()


@unittest.skipUnless(shutil.which("redis-cli"), "redis-cli is not installed")
class KilledReshard(Case):
    """Somebody's redis-cli died in the middle of a reshard: adopt, restart, repair."""

    def test_adopt_and_repair(self):
        self.guarded(self.adopt_and_repair)

    def adopt_and_repair(self):
        self.cluster = Cluster(self.folder).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        first, second = self.cluster.nodes[:2]
        self.kill_reshard(first, second)
        self.fleet = Lone(self.folder)
        self.fleet.run("adopt", first.address)
        self.wait_finding("slots_open")
        # The adoption outlives the coordinator.
        self.fleet.coordinators[0].process.kill()
        self.fleet.start_again()
        finding = self.wait_finding("slots_open")
        self.assertFalse(finding["is_ours"])
        self.assertIn("repair", self.fleet.run("repair", "--dry-run").stdout)
        self.assertTrue(self.open_slots())
        self.repair()
        self.cluster.check_at_rest()
        self.verify()
        self.wait_no_finding("slots_open", "stale_marks", "slots_disputed")

    def open_slots(self):
        return [mark for node in self.cluster.nodes for mark in node.view()[node.id()]["open"]]

    def kill_reshard(self, first, second):
        for attempt in range(20):
            child = subprocess.Popen(
                ["redis-cli", "--cluster", "reshard", first.address, "--cluster-from", first.id(), "--cluster-to",
                 second.id(), "--cluster-slots", "500", "--cluster-yes", "--cluster-pipeline", "1"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_for("redis-cli to have a slot open, or to end", lambda: self.open_slots() or
                         child.poll() is not None, 60, 0)
            finally:
                child.send_signal(signal.SIGKILL)
                child.wait()
            if self.open_slots():
                return
        # It is quicker than we look: leave a slot open in the way that it does.
        slot = min(first.view()[first.id()]["slots"])
        second.call("CLUSTER", "SETSLOT", slot, "IMPORTING", first.id())
        first.call("CLUSTER", "SETSLOT", slot, "MIGRATING", second.id())
        keys = first.call("CLUSTER", "GETKEYSINSLOT", slot, 3)
        if keys:
            try:
                first.call("MIGRATE", second.host, second.port, "", 0, 5000, "KEYS", *keys)
            except RedisError as error:
                log("MIGRATE: %s" % error)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
