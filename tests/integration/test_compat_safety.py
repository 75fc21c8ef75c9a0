#!/usr/bin/env python3
"""`drover --cluster` while clients work: lists that grow, a client that blocks, a last slot, a thousand open slots."""

import os
import random
import subprocess
import sys
import threading
import unittest

import harness
from harness import Cluster, Folder, wait_for
from resp import Client, RedisError, key_slot

LISTS = 50000
PUSHES = 200000
WRITERS = 8


def cluster_tool(folder, *args, timeout=300):
    """drover --cluster with its private folder among ours."""
    run = folder.sub("run")
    os.chmod(run, 0o700)
    env = dict(os.environ, XDG_RUNTIME_DIR=run, TERM="dumb")
    env.pop("DROVER_API", None)
    return subprocess.run([harness.DROVER, "--cluster", *map(str, args)], stdin=subprocess.DEVNULL, env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)


class Pusher(threading.Thread):
    """Pushes 0, 1, 2 ... onto lists of its own, following MOVED and ASK; half of the lists by a script."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.number = number
        self.lists = ["list-%d" % i for i in range(number, LISTS, WRITERS)]
        self.expected = {}
        self.error = None
        self.clients = {}
        self.owner = {slot: cluster.by_id(i).port for slot, i in cluster.nodes[0].owner_map().items()}
        self.random = random.Random(number)

    def client(self, port):
        if port not in self.clients:
            self.clients[port] = Client("127.0.0.1", port, timeout=30)
        return self.clients[port]

    def command(self, name):
        value = str(self.expected.get(name, 0))
        if int(name[5:]) % 2:
            return ["EVAL", "return redis.call('RPUSH', KEYS[1], ARGV[1])", "1", name, value]
        return ["RPUSH", name, value]

    def push(self, name):
        slot = key_slot(name)
        port, asking = self.owner[slot], False
        for _ in range(2000):
            client = self.client(port)
            try:
                if asking:
                    client.call("ASKING")
                client.call(*self.command(name))
                self.expected[name] = self.expected.get(name, 0) + 1
                return
            except RedisError as error:
                words = str(error).split()
                asking = words[0] == "ASK"
                if words[0] in ("MOVED", "ASK"):
                    port = int(words[2].rsplit(":", 1)[1])
                    if words[0] == "MOVED":
                        self.owner[slot] = port
                elif words[0] != "TRYAGAIN":
                    raise
        raise AssertionError("%s finds no owner" % name)

    def run(self):
        try:
            for _ in range(PUSHES // WRITERS):
                self.push(self.random.choice(self.lists))
        except Exception as error:  # told by the test
            self.error = error
        for client in self.clients.values():
            client.close()


class Safety(unittest.TestCase):
    def check_lists(self, cluster, pushers):
        """Every list exact, at its primary and at the replicas of that."""
        owners = cluster.nodes[0].owner_map()
        for node in cluster.live():
            row = node.view()[node.id()]
            mine = node.id() if row["is_primary"] else row["primary"]
            wanted = [(name, count) for p in pushers for name, count in p.expected.items()
                      if owners[key_slot(name)] == mine]
            for first in range(0, len(wanted), 1000):
                part = wanted[first:first + 1000]
                with node.client() as client:
                    client.call("READONLY")
                    answers = client.pipeline([["LRANGE", n, 0, -1] for n, _ in part])
                for (name, count), got in zip(part, answers):
                    self.assertEqual(got, [b"%d" % i for i in range(count)], name)

    def check_replicas(self, cluster):
        for node in cluster.live():
            info = node.info("replication")
            if info["role"] == "slave":
                primary = next(n for n in cluster.live() if n.port == int(info["master_port"]))
                wait_for("replica to be in step", lambda n=node, p=primary: (
                    n.info("replication")["master_link_status"] == "up" and
                    n.info("replication")["slave_repl_offset"] == p.info("replication")["master_repl_offset"]))

    def test_reshard_under_pushes(self):
        folder = Folder()
        cluster = Cluster(folder, conf={"appendonly": "yes"}).create(3, 1)
        pushers = [Pusher(cluster, i) for i in range(WRITERS)]
        for pusher in pushers:
            pusher.start()
        wait_for("some lists", lambda: sum(len(p.expected) for p in pushers) > 1000, 60)
        target = cluster.nodes[1].id()
        done = cluster_tool(folder, "reshard", cluster.nodes[0].address, "--cluster-from", "all", "--cluster-to", target,
                            "--cluster-slots", 100, "--cluster-yes")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(any(p.is_alive() for p in pushers), "the pushes were over before the slots had moved")
        for pusher in pushers:
            pusher.join(300)
            self.assertIsNone(pusher.error)
        cluster.check_at_rest()
        self.assertEqual(sum(count for p in pushers for count in p.expected.values()), PUSHES)
        self.assertEqual(sum(row["slots"] and len(row["slots"]) for i, row in cluster.nodes[0].view().items()
                             if i == target), 5461 + 100)
        self.check_replicas(cluster)
        self.check_lists(cluster, pushers)
        for node in cluster.nodes:
            node.process.stop()
            node._client = None
        for node in cluster.nodes:
            node.restart()
        cluster.wait_ok()
        self.check_replicas(cluster)
        self.check_lists(cluster, pushers)

    def test_blocked_client_and_last_slot(self):
        folder = Folder()
        cluster = Cluster(folder).create(3)
        a, b = cluster.nodes[:2]
        slot = 0
        tag = next("%d" % i for i in range(1000000) if key_slot("%d" % i) == slot)
        blocked = a.client()
        blocked.send("BLPOP", "{%s}queue" % tag, 0)
        done = cluster_tool(folder, "reshard", a.address, "--cluster-from", a.id(), "--cluster-to", b.id(),
                            "--cluster-slots", 1, "--cluster-yes")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with self.assertRaises(RedisError) as caught:
            blocked.read()
        self.assertTrue(str(caught.exception).startswith("MOVED %d " % slot), caught.exception)
        blocked.close()
        # The last slot of a primary leaves too.
        done = cluster_tool(folder, "reshard", b.address, "--cluster-from", a.id(), "--cluster-to", b.id(),
                            "--cluster-slots", 5460, "--cluster-yes")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        cluster.check_at_rest()
        self.assertEqual(b.view()[a.id()]["slots"], set())
        self.assertEqual(cluster_tool(folder, "check", b.address).returncode, 0)

    def test_host_names(self):
        folder = Folder()
        cluster = Cluster(folder).create(3)
        name = "localhost:%d" % cluster.nodes[0].port
        self.assertEqual(cluster_tool(folder, "check", name).returncode, 0)
        done = cluster_tool(folder, "reshard", name, "--cluster-from", cluster.nodes[0].id(), "--cluster-to",
                            cluster.nodes[1].id(), "--cluster-slots", 5, "--cluster-yes", "-4")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        cluster.check_at_rest()

    def test_create_on_three_hosts(self):
        if not harness.can_make_hosts():
            self.skipTest("hosts as network namespaces need root and ip")
        folder = Folder()
        cluster = Cluster(folder, hosts=harness.Hosts(3))
        nodes = [cluster.spawn(i // 2) for i in range(6)]
        done = cluster_tool(folder, "create", *[node.address for node in nodes], "--cluster-replicas", 1, "--cluster-yes")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        foreseen = [line.split() for line in done.stdout.splitlines() if line.startswith("Adding replica ")]
        self.assertEqual(len(foreseen), 3)
        pairs = [(words[2], words[4]) for words in foreseen]
        rows = nodes[0].view()
        pairs += [(row["address"], rows[row["primary"]]["address"]) for row in rows.values() if row["primary"] != "-"]
        self.assertEqual(len(pairs), 6)
        for replica, primary in pairs:
            self.assertNotEqual(replica.split(":")[0], primary.split(":")[0], pairs)

    def test_a_thousand_open_slots(self):
        folder = Folder()
        cluster = Cluster(folder).create(10)
        owners = cluster.nodes[0].owner_map()
        clients = {node.id(): node.client() for node in cluster.nodes}
        keys = {}
        for i in range(40000):
            keys.setdefault(key_slot("key-%d" % i), []).append("key-%d" % i)
        for slot, names in keys.items():
            clients[owners[slot]].pipeline([["SET", name, name] for name in names])
        nodes = {node.id(): node for node in cluster.nodes}
        chosen = random.Random(7).sample(range(harness.SLOTS), 1000)
        for slot in chosen:
            source = nodes[owners[slot]]
            target = cluster.nodes[(cluster.nodes.index(source) + 1 + slot % 9) % 10]
            target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
            source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id())
            part = keys.get(slot, [])[: slot % 4]
            if part:
                source.call("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *part)
        self.assertEqual(cluster_tool(folder, "check", cluster.nodes[0].address).returncode, 1)
        done = cluster_tool(folder, "fix", cluster.nodes[0].address)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr)
        cluster.check_at_rest()
        owners = cluster.nodes[0].owner_map()
        for slot, names in keys.items():
            self.assertEqual(clients[owners[slot]].pipeline([["GET", name] for name in names]),
                             [name.encode() for name in names], slot)
        for client in clients.values():
            client.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
