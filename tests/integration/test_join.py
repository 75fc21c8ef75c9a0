"""What a node must be before drover lets it in, on real servers in namespace hosts: reachable from every host at the ports it
announces, of a version that can read the cluster's data, with the password and the rights of drover's user.

The same holds for servers that are to become a cluster: every host tries the ports of all before they meet.

Each refusal says what is wrong, with names, comes before anything was changed (no node's view differs, the newcomer still
knows nobody), and goes away with its cause: the same command then lets the node in.
"""

import json
import os
import shutil
import time
import unittest

from fleet import Distributed
from harness import SLOTS, Cluster, Folder, Hosts, Node, can_make_hosts, end_all, log, run, wait_for

EXIT_REFUSED, EXIT_AUTH, EXIT_VERSION = 7, 11, 18
HAS_VALKEY = shutil.which("valkey-server") is not None


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Join(unittest.TestCase):
    """Three primaries on hosts 0 to 2; newcomers come to host 3."""

    SERVER = "redis-server"

    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.hosts = Hosts(4)
        three = Hosts.__new__(Hosts)
        three.names, three.net = cls.hosts.names[:3], cls.hosts.net
        cls.cluster = Cluster(cls.folder, cls.SERVER, hosts=three).create(3)
        cls.fleet = Distributed(cls.folder, cls.cluster, cls.hosts, members=1)
        cls.count = 0
        try:
            cls.fleet.wait_sees(3)
        except BaseException:
            cls.fleet.dump_logs()
            end_all()
            raise

    @classmethod
    def tearDownClass(cls):
        end_all()

    def newcomer(self, server=None, conf=None, password=None):
        type(self).count += 1
        node = Node(self.folder, "new%d" % self.count, server or self.SERVER, self.hosts.address(3), self.hosts.names[3],
                    conf=conf, password=password)
        node.start()
        self.addCleanup(node.kill)
        return node

    def views(self):
        return [sorted(node.view()) for node in self.cluster.nodes]

    def refused(self, node, code, *words):
        """'add' ends with this code and these words, and nothing has changed anywhere."""
        views, own = self.views(), node.id()
        began = time.monotonic()
        done = self.fleet.run("add", node.address, "--no-slots", "--yes", check=False, timeout=300)
        log("%.1f s, exit %d: %s" % (time.monotonic() - began, done.returncode, done.stderr.strip().splitlines()[:1]))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(self.views(), views)
        self.assertEqual(list(node.view()), [own])
        return done

    def joins(self, node):
        """It is let in, every view shows it, and it leaves again in the fastest way there is for a test."""
        self.fleet.run("add", node.address, "--no-slots", "--yes", timeout=300)
        self.is_in(node)

    def is_in(self, node):
        own = node.id()
        for view in self.views():
            self.assertIn(own, view)
        node.call("CLUSTER", "RESET", "HARD")
        node.kill()
        for member in self.cluster.nodes:
            member.call("CLUSTER", "FORGET", own)
        self.fleet.wait_sees(3)

    def rule(self, host, *words):
        """A routing rule of a host, which is as good as a firewall; taken back by the function that is returned."""
        name = self.hosts.names[host]
        run("ip", "-n", name, "rule", "add", *words)
        taken = []

        def take():
            if not taken:
                taken.append(True)
                run("ip", "-n", name, "rule", "del", *words)

        self.addCleanup(take)
        return take

    def test_bus_port_closed_to_one_host(self):
        """Packets to host 1 vanish: its agent waits in vain, and its host is named."""
        node = self.newcomer()
        take = self.rule(3, "to", self.hosts.address(1), "ipproto", "tcp", "sport", str(node.port + 10000), "blackhole")
        self.refused(node, EXIT_REFUSED, self.hosts.address(1), "%s:%d" % (node.host, node.port + 10000), "bus port",
                     "is silent", "cluster-announce-")
        take()
        self.joins(node)

    def test_data_port_refused_to_one_host(self):
        node = self.newcomer()
        self.rule(2, "to", node.host, "ipproto", "tcp", "dport", str(node.port), "unreachable")
        self.refused(node, EXIT_REFUSED, self.hosts.address(2), node.address, "data port")

    def test_announces_an_address_that_is_not_its_own(self):
        node = self.newcomer(conf={"cluster-announce-ip": self.hosts.net + ".99"})
        self.refused(node, EXIT_REFUSED, self.hosts.net + ".99", "cluster-announce-")

    def test_bus_port_of_its_own_choice(self):
        """What it announces is what is tried, not the usual port."""
        node = self.newcomer(conf={"cluster-port": 19999})
        take = self.rule(0, "to", node.host, "ipproto", "tcp", "dport", "19999", "unreachable")
        self.refused(node, EXIT_REFUSED, self.hosts.address(0), "%s:19999" % node.host)
        take()
        self.joins(node)

    def test_wrong_password(self):
        node = self.newcomer(password="other")
        self.refused(node, EXIT_AUTH, node.address, "password")

    def test_rights_that_lack(self):
        node = self.newcomer()
        node.call("ACL", "SETUSER", "default", "-cluster|meet", "-migrate")
        self.refused(node, EXIT_AUTH, "user default", "cluster|meet", "migrate")
        # Who may not even ask: the commands are tried.
        node.call("ACL", "SETUSER", "default", "-acl")
        self.refused(node, EXIT_AUTH, "user", "cluster|meet", "migrate")

    def test_rights_enough_but_not_to_ask(self):
        node = self.newcomer()
        node.call("ACL", "SETUSER", "default", "-acl")
        self.joins(node)

    def test_loads_its_data(self):
        """It is waited for while it cannot be asked what it holds, and nobody is told of it meanwhile."""
        node = self.newcomer(conf={"loading-process-events-interval-bytes": 1024})
        node.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_for("the lone node to serve", lambda: node.call("SET", "{a}", "1", "PX", 1) == "OK")
        until = time.time() + 3
        node.call("EVAL", "for i = 1, 3000 do redis.call('SET', '{a}' .. i, string.rep('x', 100), 'PX', 3000) end", 0)
        node.call("SAVE")
        node.call("CLUSTER", "DELSLOTSRANGE", 0, SLOTS - 1)
        node.kill()
        wait_for("its keys to be over, so that it is empty once it has read them", lambda: time.time() > until + 1)
        with open(os.path.join(node.process.folder, "node.conf"), "a") as file:
            file.write("key-load-delay 50000\n")  # us: longer in all than anybody waits
        views = self.views()
        node.process.start()
        wait_for("it to load", lambda: node.info("persistence")["loading"] == "1", 60)
        operation = self.fleet.start("add", node.address, "--no-slots")
        wait_for("drover to wait for it", lambda: "loads its data" in json.dumps(self.fleet.operation(operation)), 60)
        self.assertEqual(self.views(), views)
        self.assertEqual(node.info("persistence")["loading"], "1")
        node.call("CONFIG", "SET", "key-load-delay", 0)
        self.fleet.wait_operation(operation)
        self.is_in(node)

    @unittest.skipUnless(HAS_VALKEY, "valkey-server is not installed")
    def test_version_that_cannot_read_the_data(self):
        """Redis 7.0 calls itself older than what Valkey 8 says it is; the other way round works."""
        node = self.newcomer("redis-server" if self.SERVER == "valkey-server" else "valkey-server")
        if self.SERVER == "valkey-server":
            self.refused(node, EXIT_VERSION, node.address, "older")
        else:
            self.joins(node)


@unittest.skipUnless(HAS_VALKEY, "valkey-server is not installed")
class JoinValkey(Join):
    SERVER = "valkey-server"
    # What differs between the servers is shown by the others.
    test_data_port_refused_to_one_host = None
    test_announces_an_address_that_is_not_its_own = None
    test_bus_port_of_its_own_choice = None
    test_wrong_password = None


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Create(unittest.TestCase):
    def tearDown(self):
        end_all()

    def test_bus_port_closed_between_two_hosts(self):
        folder, hosts = Folder(), Hosts(3)
        cluster = Cluster(folder, "redis-server", hosts=hosts)
        nodes = [cluster.spawn() for _ in range(3)]
        fleet = Distributed(folder, cluster, hosts, members=1)
        command = ["create", *[node.address for node in nodes], "--replicas", 0, "--yes"]
        rule = ["to", nodes[2].host, "ipproto", "tcp", "dport", str(nodes[2].port + 10000), "unreachable"]
        try:
            wait_for("drover to see the servers", lambda: "no agent has reported" not in fleet.run(
                "create", "127.0.0.1:1", "--yes", check=False).stderr, 60)
            run("ip", "-n", hosts.names[0], "rule", "add", *rule)
            refused = fleet.run(*command, check=False, timeout=300)
            self.assertEqual(refused.returncode, EXIT_REFUSED, refused.stdout + refused.stderr)
            for word in (hosts.address(0), "%s:%d" % (nodes[2].host, nodes[2].port + 10000), "bus port"):
                self.assertIn(word, refused.stderr)
            self.assertEqual([len(node.view()) for node in nodes], [1, 1, 1], "somebody was met")
            log(refused.stderr.strip().splitlines()[0])
            run("ip", "-n", hosts.names[0], "rule", "del", *rule)
            began = time.monotonic()
            fleet.run(*command, timeout=300)
            log("a cluster of three in %.1f s once it was open" % (time.monotonic() - began))
            cluster.check_at_rest()
        except BaseException:
            fleet.dump_logs()
            raise


if __name__ == "__main__":
    unittest.main(warnings="ignore")
