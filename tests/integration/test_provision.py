"""Servers that drover starts and stops by itself on the hosts of its agents: scale out and in, nobody's hand between.

Proves, on real servers in namespace hosts: `drover scale` lets an agent start a server on a host with room, the server joins
and gets its share; scale in empties it, everybody forgets it, and only then its agent stops it and puts its folder aside;
the folder of one that died is put aside, too, once it was removed as dead; agents and coordinators killed with -9 in between change nothing of that; checked clients see no error and no lost key.
"""

import glob
import os
import shutil
import signal
import unittest

from fleet import Distributed
from harness import (AGENT, SLOTS, Cluster, Folder, Hosts, Load, Process, can_make_hosts, end_all, load_tool, log,
                     wait_for)

FILL = ["--keys", 30000, "--size", 100, "--mix", "all", "--seed", 5]


class ProvisioningFleet(Distributed):
    """Every agent offers its host: a folder for servers, a zone, 1 GiB."""

    def add_agent(self, index):
        host = self.hosts.address(index)
        nodes = [arg for node in self.cluster.live() if node.host == host for arg in ("--node", node.address)]
        urls = [arg for c in self.coordinators for arg in ("--coordinator", c.bus)]
        name = "agent%d" % index
        path = self.folder.sub(name)
        offer = ["--instance-dir", os.path.join(path, "servers"), "--instance-host", host, "--zone", "z%d" % index,
                 "--instance-memory", "1gb", "--instance-supervisor", "none"]
        process = Process(name, [AGENT, "--id", name, "--state-dir", path, *urls, *nodes, *offer, *self.agent_extra],
                          path, self.hosts.names[index])
        self.agents.append(process.start())
        return process

    def servers(self):
        """{folder: pid} of the servers in the agents' folders."""
        found = {}
        root = os.path.realpath(self.folder.path)
        for cwd in glob.glob("/proc/[0-9]*/cwd"):
            try:
                place = os.readlink(cwd)
                with open(os.path.join(os.path.dirname(cwd), "cmdline"), "rb") as file:
                    title = file.read()
            except OSError:
                continue
            if place.startswith(root) and "/servers/" in place and b"-server" in title.split(b" ")[0]:
                found[place] = int(cwd.split("/")[2])
        return found


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Provision(unittest.TestCase):
    SERVER = "redis-server"
    DIES_IN = 1  # the turn in which our server dies before it is removed

    def setUp(self):
        self.folder = Folder()
        self.hosts = Hosts(3)
        self.cluster = Cluster(self.folder, self.SERVER, hosts=self.hosts, conf={"maxmemory": "256mb"}).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet = ProvisioningFleet(self.folder, self.cluster, self.hosts)
        self.fleet.wait_sees(3)

    def tearDown(self):
        for pid in self.fleet.servers().values():
            os.kill(pid, signal.SIGKILL)
        end_all()

    def slot_counts(self):
        return sorted(len(row["slots"]) for row in self.cluster.nodes[0].view().values() if row["is_primary"])

    def check_clients(self, load):
        code, _ = load.finish()
        self.assertEqual(code, 0, load.process.log_text()[-3000:])
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)

    def start_load(self):
        return Load(self.folder, self.cluster, "--rate", "200", "--keys", "1000", "--size", "100", "--mix",
                    "all").start()

    def wait_hosts_offer(self):
        """The plan of a scale-out names a start once the agents have told what they offer."""
        wait_for("a host that can start servers", lambda: "start a server" in self.fleet.run(
            "plan", "scale", "--primaries", "4", check=False).stdout, 30, 0.5)

    def guarded(self, steps):
        try:
            self.wait_hosts_offer()
            load = self.start_load()
            steps()
            self.check_clients(load)
        except BaseException:
            self.fleet.dump_logs()
            raise

    def test_out_and_in_twice(self):
        def steps():
            for turn in range(2):
                self.fleet.run("scale", "--primaries", "4", "--yes", timeout=300)
                self.assertEqual(self.slot_counts(), [SLOTS // 4] * 4)
                servers = self.fleet.servers()
                self.assertEqual(len(servers), 1)
                self.fleet.run("scale", "--primaries", "4", "--yes", timeout=300)  # again: nothing to do
                self.assertEqual(servers, self.fleet.servers())
                mine = {node.address for node in self.cluster.nodes}
                ours = next(row["address"] for row in self.cluster.nodes[0].view().values() if row["address"] not in mine)
                log("out %d: %s in %s" % (turn, ours, list(servers)[0].split("/")[-3]))
                if turn == self.DIES_IN:
                    self.dies_and_is_removed(ours, servers)
                else:
                    self.fleet.run("remove", ours, "--yes", timeout=300)
                self.assertEqual(self.fleet.servers(), {}, "the server that left still runs")
                self.assertFalse(os.path.exists(list(servers)[0]), "its folder is where the next one looks")
                self.assertEqual([len(node.view()) for node in self.cluster.nodes], [3] * 3)
                aside = glob.glob(os.path.join(self.folder.path, "agent*", "servers", "aside", "*", "server.conf"))
                self.assertEqual(len(aside), turn + 1, aside)
            self.cluster.check_at_rest()

        self.guarded(steps)

    def dies_and_is_removed(self, ours, servers):
        """Without a slot, so that nothing is lost with it; while it lives it is not taken for dead."""
        self.fleet.run("drain", ours, "--yes", timeout=300)
        refused = self.fleet.run("remove", ours, "--dead", "--yes", check=False)
        self.assertIn("answers", refused.stderr)
        self.assertEqual(self.fleet.servers(), servers)
        os.kill(list(servers.values())[0], signal.SIGKILL)
        wait_for("everybody to see it dead", lambda: all(
            "fail" in row["flags"] for node in self.cluster.nodes for row in node.view().values()
            if row["address"] == ours), 60, 0.3)
        wait_for("drover to see it, too", lambda: next(
            n for n in self.fleet.json("nodes")["nodes"] if n["address"] == ours)["state"] == "failed", 60, 0.3)
        self.fleet.run("remove", ours, "--dead", "--yes", timeout=300)

    def test_actors_killed(self):
        def steps():
            operation = self.fleet.start("scale", "--primaries", "4")
            wait_for("a server to be started", self.fleet.servers, 60)
            servers = self.fleet.servers()
            for part in [*self.fleet.agents, *(c.process for c in self.fleet.coordinators)]:
                part.kill()
                part.start()
            self.fleet.leader()
            self.fleet.wait_operation(operation)
            self.assertEqual(self.slot_counts(), [SLOTS // 4] * 4)
            self.assertEqual(servers, self.fleet.servers(), "the server was started twice, or ended with its agent")

        self.guarded(steps)


@unittest.skipUnless(shutil.which("valkey-server"), "valkey-server is not installed")
class ProvisionValkey(Provision):
    SERVER = "valkey-server"
    DIES_IN = None
    # What differs is the program; one story shows it.
    test_actors_killed = None


if __name__ == "__main__":
    unittest.main(warnings="ignore")
