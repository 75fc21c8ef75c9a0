"""Bad input, bad configuration and missing rights: a clear error, its exit code, and a cluster that is untouched."""

import os
import socket
import subprocess
import unittest

from fleet import Standalone
from harness import AGENT, COORDINATOR, Cluster, Folder, Process, drover, end_all, free_port, wait_for

EXIT = {"invalid": 2, "config": 3, "not_found": 4, "conflict": 6, "refused": 7, "unavailable": 9, "auth": 11,
        "not_leader": 16, "version": 18}


def run_daemon(binary, *args, timeout=60):
    """For daemons that must refuse to start."""
    done = subprocess.run([binary, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout)
    return done.returncode, done.stdout


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.cluster = Cluster(cls.folder).create(3)
        cls.fleet = Standalone(cls.folder, cls.cluster)
        cls.fleet.wait_sees(3)
        cls.before = cls.cluster.nodes[0].owner_map()

    @classmethod
    def tearDownClass(cls):
        end_all()

    def tearDown(self):
        self.assertEqual(self.cluster.nodes[0].owner_map(), self.before)
        for node in self.cluster.nodes:
            self.assertFalse(any(row["open"] for row in node.view().values()))

    def refused(self, code, *args, says):
        done = self.fleet.run(*args, check=False)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, EXIT[code], text)
        for word in says:
            self.assertIn(word, text)

    def test_unknown_node(self):
        self.refused("not_found", "drain", "f" * 40, "--yes", says=["ffffffff"])
        self.refused("not_found", "drain", "127.0.0.1:1", "--yes", says=["127.0.0.1:1"])

    def test_reshard_too_many(self):
        target = self.cluster.nodes[0]
        self.refused("invalid", "reshard", "--slots", 20000, "--to", target.address, "--yes", says=["16384"])

    def test_overlapping_ranges(self):
        target = self.cluster.nodes[0].address
        self.refused("invalid", "reshard", "--slot-ranges", "5-10,8-12", "--to", target, "--yes", says=["overlap", "8"])

    def test_unknown_verb_and_option(self):
        self.refused("invalid", "rebalanse", says=["rebalanse", "rebalance"])
        self.refused("invalid", "rebalance", "--wieght", "1", says=["--wieght"])

    def test_no_terminal_and_no_yes(self):
        self.refused("invalid", "drain", self.cluster.nodes[0].address, says=["--yes"])

    def test_target_short_of_memory(self):
        target = self.cluster.nodes[0]
        source = self.cluster.nodes[1]
        used = int(target.info("memory")["used_memory"])
        client = source.client()
        self.addCleanup(client.close)
        first = min(s for s in source.view()[source.id()]["slots"])
        from resp import key_slot
        tag = next("t%d" % i for i in range(10**6) if key_slot("t%d" % i) == first)
        client.pipeline([("SET", "{%s}%d" % (tag, i), b"x" * 100000) for i in range(300)])
        target.call("CONFIG", "SET", "maxmemory", used + 5_000_000)
        try:
            wait_for("drover to see the limit", lambda: any(
                n["maxmemory_bytes"] == used + 5_000_000 for n in self.fleet.json("nodes")["nodes"]), 30)
            wait_for("drover to see the keys", lambda: any(
                n["address"] == source.address and n["used_memory_bytes"] > 30_000_000
                for n in self.fleet.json("nodes")["nodes"]), 30)
            self.refused("refused", "reshard", "--slots", 5000, "--from", source.address, "--to", target.address,
                         "--yes", says=["memory"])
        finally:
            target.call("CONFIG", "SET", "maxmemory", 0)
            client.pipeline([("DEL", "{%s}%d" % (tag, i)) for i in range(300)])

    def test_api_unreachable(self):
        done = drover("status", api="http://127.0.0.1:%d" % free_port(), check=False)
        self.assertEqual(done.returncode, EXIT["unavailable"], done.stderr)
        done = drover("why", api="http://127.0.0.1:%d" % free_port(), check=False)
        self.assertEqual(done.returncode, EXIT["unavailable"])
        self.assertEqual(len((done.stdout + done.stderr).strip().splitlines()), 1)

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            code, text = run_daemon(COORDINATOR, "--store", "sqlite://%s/x.db" % self.folder.sub("port"), "--api",
                                    "127.0.0.1:%d" % port, "--node", self.cluster.nodes[0].address)
        self.assertEqual(code, EXIT["config"], text)
        self.assertIn(str(port), text)
        self.assertIn("in use", text)

    def test_broken_yaml(self):
        path = os.path.join(self.folder.sub("yaml"), "drover.yaml")
        with open(path, "w") as file:
            file.write("api: 127.0.0.1:7411\nlease-ttl: soon\n")
        code, text = run_daemon(COORDINATOR, "--config", path, "--check-config")
        self.assertEqual(code, EXIT["config"], text)
        for word in (path + ":2", "lease-ttl", "soon"):
            self.assertIn(word, text)
        with open(path, "w") as file:
            file.write("api: [unclosed\n")
        code, text = run_daemon(COORDINATOR, "--config", path, "--check-config")
        self.assertEqual(code, EXIT["config"], text)
        self.assertIn(path, text)
        with open(path, "w") as file:
            file.write("leese-ttl: 10s\n")
        code, text = run_daemon(COORDINATOR, "--config", path, "--check-config")
        self.assertEqual(code, EXIT["config"], text)
        self.assertIn("lease-ttl", text)

    def test_bad_store_url(self):
        code, text = run_daemon(COORDINATOR, "--store", "mongodb://x", "--check-config")
        self.assertEqual(code, EXIT["config"], text)
        self.assertIn("mongodb", text)

    def test_unreachable_etcd(self):
        folder = self.folder.sub("etcd-away")
        port = free_port()
        process = Process("lonely", [COORDINATOR, "--bus", "tcp://127.0.0.1:%d" % free_port(), "--store",
                                     "etcd://127.0.0.1:%d/drover" % free_port(), "--api", "127.0.0.1:%d" % port],
                          folder).start()
        try:
            api = "http://127.0.0.1:%d" % port
            sentence = wait_for("a sentence about the store", lambda: (
                lambda t: t if "store" in t or "etcd" in t else None)(
                    drover("why", api=api, check=False).stdout.strip()), 30, 0.3)
            self.assertEqual(len(sentence.splitlines()), 1)
            done = drover("rebalance", "--yes", api=api, check=False)
            self.assertEqual(done.returncode, EXIT["not_leader"], done.stderr)
            self.assertIn("cannot reach the store", done.stderr)
        finally:
            process.stop()

    def test_wrong_password(self):
        folder = Folder()
        cluster = Cluster(folder, password="right").create(3)
        fleet = Standalone(folder, cluster, ["--redis-password", "wrong"])
        why = wait_for("drover to name the password", lambda: (
            lambda t: t if "password" in t.lower() or "auth" in t.lower() else None)(fleet.run("why").stdout), 30, 0.3)
        self.assertEqual(len(why.strip().splitlines()), 1)
        done = fleet.run("rebalance", "--yes", check=False)
        self.assertEqual(done.returncode, EXIT["auth"], done.stderr)
        self.assertIn("agent standalone reaches none of its 3 nodes", done.stderr)
        self.assertIn("give the agent the user and password of the cluster", done.stderr)
        fleet.coordinators[0].process.stop()

    def test_agent_without_coordinator_option(self):
        code, text = run_daemon(AGENT, "--state-dir", self.folder.sub("agent"))
        self.assertEqual(code, EXIT["config"], text)
        self.assertIn("--coordinator", text)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
