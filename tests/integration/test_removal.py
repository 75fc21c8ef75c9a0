"""When a node may not go, and how its shard stays when it goes: every refusal changes nothing, on real servers.

Proves: neither `remove` nor `certificate` lets a node go that has slots, keys, replicas, that survivors have no room for, or
that a primary needs as its replica; with `--target` a replica takes over, no slot moves and clients notice nothing; an agent
with a removal key stops a server of its own only when the coordinator signed the order with the same key.
"""

import glob
import json
import os
import signal
import stat
import unittest

from fleet import Coordinator, Fleet, Standalone
from harness import (AGENT, COORDINATOR, SLOTS, Cluster, Folder, Hosts, Load, Process, can_make_hosts, end_all, free_port,
                     load_tool, log, run, wait_for)

CONFLICT, REFUSED, CONFIG = 6, 7, 3
FILL = ["--keys", 20000, "--size", 200, "--mix", "strings", "--seed", 3]


def with_keys_but_no_slot(cluster):
    """A member that owns nothing and still holds a key, as after a move that somebody broke off."""
    node = cluster.spawn()
    node.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    wait_for("the lone node to serve", lambda: node.call("SET", "left", "behind") == "OK")
    node.call("CLUSTER", "DELSLOTSRANGE", 0, SLOTS - 1)
    cluster.nodes[0].call("CLUSTER", "MEET", node.host, node.port)
    cluster.wait_known()
    return node


class Removal(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()

    def tearDown(self):
        end_all()

    def picture(self):
        """What a refusal must leave as it is: who knows whom, who owns what, who replicates whom."""
        return {node.name: {i: (row["primary"], len(row["slots"])) for i, row in node.view().items()}
                for node in self.cluster.live()}

    def refused(self, part, *words):
        before = self.picture()
        done = self.fleet.run(*words, "--yes", check=False)
        self.assertEqual(done.returncode, REFUSED, "%s: %s%s" % (words, done.stdout, done.stderr))
        self.assertIn(part, done.stdout + done.stderr)
        self.assertEqual(before, self.picture(), words)

    def no_certificate(self, node, part):
        done = self.fleet.run("certificate", node.address, check=False)
        self.assertEqual(done.returncode, CONFLICT, done.stdout)
        self.assertIn(part, done.stderr)

    def members_seen(self, count):
        wait_for("drover to see %d members, settled" % count, lambda: (
            self.fleet.json("status")["settled"] and
            sum(n["is_member"] for n in self.fleet.json("nodes")["nodes"]) == count), 60, 0.3)

    def test_refusals_and_hand_over(self):
        self.cluster = Cluster(self.folder).create(3, 1)
        first, second, third, heir = self.cluster.nodes[:4]
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet = Standalone(self.folder, self.cluster)
        try:
            self.members_seen(6)
            self.check_slots_and_barrier(first, heir)
            self.check_room(first, second, third)
            self.check_keys_and_replicas(first)
            self.check_hand_over(first, heir)
        except BaseException:
            self.fleet.dump_logs()
            raise

    def check_slots_and_barrier(self, first, heir):
        self.no_certificate(first, "it owns 5461 slots")
        self.refused("answers", "remove", first.address, "--dead")
        self.refused("would keep 0 online replicas", "remove", heir.address)
        self.no_certificate(heir, "5 of 5 live nodes still know it")
        self.refused("would keep 0 online replicas", "remove", first.address, "--target", heir.address)
        self.refused("is no replica of", "remove", first.address, "--target", self.cluster.nodes[4].address)

    def check_room(self, first, second, third):
        for node in (first, second):
            used = int(node.info("memory")["used_memory"])
            node.call("CONFIG", "SET", "maxmemory", int(used * 1.1))
        wait_for("drover to see the limit", lambda: any(
            f["code"] == "memory" for f in json.loads(self.fleet.run("doctor", "-o", "json", check=False).stdout)[
                "findings"]), 60, 0.3)
        self.refused("room", "remove", third.address)
        for node in (first, second):
            node.call("CONFIG", "SET", "maxmemory", 0)

    def check_keys_and_replicas(self, first):
        node = with_keys_but_no_slot(self.cluster)
        self.members_seen(7)
        self.refused("keys", "remove", node.address)
        self.no_certificate(node, "6 of 6 live nodes still know it")
        self.assertEqual(node.call("DBSIZE"), 1)
        node.call("FLUSHALL")
        # It gets a replica and dies: who replicates it must find another primary first.
        follower = self.cluster.add_empty(replica_of=node)
        self.members_seen(8)
        node.kill()
        wait_for("drover to see that", lambda: next(
            n for n in self.fleet.json("nodes")["nodes"] if n["address"] == node.address)["state"] == "failed", 60, 0.3)
        self.refused("is still the primary of", "remove", node.address, "--dead")
        self.no_certificate(node, "1 nodes are its replicas")
        self.fleet.run("replicate", follower.address, "--of", first.address, "--yes")

    def check_hand_over(self, first, heir):
        """Two replicas now: one takes over, the other follows it, and the old primary leaves."""
        load = Load(self.folder, self.cluster, "--rate", "300", "--keys", "1500", "--size", "100").start()
        slots = first.view()[first.id()]["slots"]
        gone = first.id()
        log(self.fleet.run("remove", first.address, "--target", heir.address, "--yes").stdout.strip().splitlines()[-1])
        self.cluster.nodes.remove(first)
        self.assertEqual(heir.view()[heir.id()]["slots"], slots)
        for node in self.cluster.live():
            self.assertNotIn(gone, node.view(), node.name)
        facts = self.fleet.json("certificate", gone)["certificate"]
        self.assertTrue(facts["granted"])
        code, unused = load.finish()
        self.assertEqual(code, 0, load.process.log_text()[-3000:])
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet.run("remove", gone, "--yes")  # again: nothing to do


def key_file(folder, key):
    path = os.path.join(folder.path, key.replace(" ", "-"))
    if not os.path.exists(path):
        with open(path, "w") as file:
            file.write(key + "\n")
        os.chmod(path, stat.S_IRUSR)
    return path


def servers_under(folder):
    """{folder: pid} of the servers that the agent started."""
    root = os.path.join(os.path.realpath(folder.path), "agent", "servers")
    found = {}
    for cwd in glob.glob("/proc/[0-9]*/cwd"):
        try:
            place = os.readlink(cwd)
        except OSError:
            continue
        if place.startswith(root):
            found[place] = int(cwd.split("/")[2])
    return found


class Keyed(Fleet):
    """One coordinator, one agent that starts servers, each with a removal key of its own."""

    def __init__(self, folder, cluster, hosts):
        self.folder = folder
        self.bus = "tcp://%s:%d" % (hosts.gateway, free_port())
        self.start_coordinator("another key")
        path = folder.sub("agent")
        nodes = [arg for node in cluster.live() for arg in ("--node", node.address)]
        offer = ["--instance-dir", os.path.join(path, "servers"), "--instance-host", hosts.address(0),
                 "--instance-memory", "1gb", "--instance-supervisor", "none", "--no-discover"]
        self.agents = [Process("agent", [AGENT, "--id", "agent", "--state-dir", path, "--coordinator", self.bus, *nodes,
                                         *offer, "--removal-key-file", key_file(folder, "the key")], path,
                               hosts.names[0]).start()]

    def start_coordinator(self, key):
        store = "sqlite://%s/drover.db" % self.folder.sub("store")
        self.coordinators = [Coordinator(self.folder, "keyed", self.bus, store,
                                         ["--removal-key-file", key_file(self.folder, key)]).start()]
        self.leader()

    def servers(self):
        return servers_under(self.folder)


class SignedStop(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()

    def tearDown(self):
        for pid in servers_under(self.folder).values():
            os.kill(pid, signal.SIGKILL)
        end_all()

    @unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
    def test_stop_needs_the_same_key(self):
        hosts = Hosts(1)
        self.cluster = Cluster(self.folder, hosts=hosts, conf={"maxmemory": "256mb"}).create(3)
        self.fleet = fleet = Keyed(self.folder, self.cluster, hosts)
        try:
            wait_for("the host to offer servers", lambda: "start a server" in fleet.run(
                "plan", "scale", "--primaries", "4", check=False).stdout, 60, 0.5)
            fleet.run("scale", "--primaries", "4", "--yes")
            server = fleet.servers()
            self.assertEqual(len(server), 1)
            mine = {node.address for node in self.cluster.nodes}
            rows = self.cluster.nodes[0].view()
            ours = next(i for i, row in rows.items() if row["address"] not in mine)
            done = fleet.run("remove", ours, "--yes", check=False)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn("not signed by the key", done.stdout + done.stderr)
            self.assertEqual(fleet.servers(), server, "stopped, though the order was not signed with the key")
            self.assertNotIn(ours, self.cluster.nodes[0].view())
            log("left, but not stopped: %s" % done.stderr.strip().splitlines()[0])
            fleet.coordinators[0].process.stop()
            fleet.start_coordinator("the key")
            held = next((o["id"] for o in fleet.json("ops")["operations"] if o["state"] == "held"), None)
            if held is not None:
                fleet.run("op", "resume", held)
                fleet.wait_operation(held)
            else:
                fleet.run("remove", ours, "--yes")
            wait_for("the server to be stopped", lambda: not fleet.servers(), 60)
        except BaseException:
            fleet.dump_logs()
            raise

    def test_key_file_that_others_can_read(self):
        path = key_file(self.folder, "open key")
        os.chmod(path, 0o644)
        process = Process("check", [COORDINATOR, "--check-config", "--removal-key-file", path],
                          self.folder.path).start()
        process.child.wait(60)
        self.assertEqual(process.child.returncode, CONFIG, process.log_text())
        self.assertIn("removal-key-file", process.log_text())
        run("chmod", "600", path)
        process = Process("check2", [COORDINATOR, "--check-config", "--removal-key-file", path, "--store",
                                     "sqlite://%s/x.db" % self.folder.path], self.folder.path).start()
        process.child.wait(60)
        self.assertEqual(process.child.returncode, 0, process.log_text())
        self.assertNotIn("open key", process.log_text())


if __name__ == "__main__":
    unittest.main(warnings="ignore")
