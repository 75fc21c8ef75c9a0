"""Distributed mode as it is meant to run: tls+tcp:// with certificates on both sides, hosts by name, agents that show a
credential. Whoever shows a wrong one, or trusts another authority, or speaks no TLS, is told so and changes nothing.
"""

import os
import subprocess
import unittest

from fleet import Coordinator, Fleet
from harness import (AGENT, COORDINATOR, Cluster, Etcd, Folder, Process, drover_json, end_all, free_port, load_tool,
                     log, wait_for)

KEYS = 20000
EXIT_CONFIG, EXIT_AUTH = 3, 11


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def make_authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".pem",
            "-days", "2", "-subj", "/CN=" + name)


def make_certificate(folder, name, authority, host):
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj",
            "/CN=" + host)
    with open(os.path.join(folder, name + ".ext"), "w") as file:
        file.write("subjectAltName=DNS:%s\n" % host)
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", authority + ".pem", "-CAkey", authority + ".key",
            "-CAcreateserial", "-out", name + ".pem", "-days", "2", "-extfile", name + ".ext")


class TlsFleet(Fleet):
    """Three etcd members, two coordinators, all known as "localhost"; the certificates name only that."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster = folder, cluster
        self.pki = folder.sub("pki")
        for authority in ("ca", "other-ca"):
            make_authority(self.pki, authority)
        make_certificate(self.pki, "coordinator", "ca", "localhost")
        make_certificate(self.pki, "elsewhere", "ca", "elsewhere.invalid")
        make_certificate(self.pki, "agent", "ca", "agent")
        make_certificate(self.pki, "stranger", "other-ca", "agent")
        self.write("credential", "open sesame\n")
        self.write("wrong-credential", "open barley\n")
        etcd = Etcd(folder).start()
        store = etcd.url().replace("127.0.0.1", "localhost")
        self.coordinators = [Coordinator(folder, "coordinator%d" % i, "tls+tcp://localhost:%d" % free_port(), store, [
            "--lease-ttl", "5s", "--bus-ca", self.file("ca.pem"), "--bus-cert", self.file("coordinator.pem"),
            "--bus-key", self.file("coordinator.key"), "--credential-file", self.file("credential")]).start()
            for i in range(2)]
        for coordinator in self.coordinators:
            coordinator.api = coordinator.api.replace("127.0.0.1", "localhost")
        self.agents = []
        self.leader()

    def file(self, name):
        return os.path.join(self.pki, name)

    def write(self, name, text):
        with open(self.file(name), "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)

    def agent(self, name, nodes=(), ca="ca", cert="agent", credential="credential", urls=None):
        """Starts one; None for 'ca', 'cert' or 'credential' leaves the setting out."""
        path = self.folder.sub(name)
        args = ["--id", name, "--state-dir", path, "--no-discover"]
        for url in urls or [c.bus for c in self.coordinators]:
            args += ["--coordinator", url]
        for node in nodes:
            args += ["--node", "localhost:%d" % node.port]
        if ca:
            args += ["--bus-ca", self.file(ca + ".pem")]
        if cert:
            args += ["--bus-cert", self.file(cert + ".pem"), "--bus-key", self.file(cert + ".key")]
        if credential:
            args += ["--credential-file", self.file(credential)]
        process = Process(name, [AGENT, *args], path).start()
        self.agents.append(process)
        return process


class DistributedTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.cluster = Cluster(cls.folder).create(3)
        cls.fleet = TlsFleet(cls.folder, cls.cluster)
        # Two agents share the nodes, so a move crosses from one agent's node to the other's.
        cls.fleet.agent("left", cls.cluster.nodes[:2])
        cls.fleet.agent("right", cls.cluster.nodes[2:])
        try:
            cls.fleet.wait_sees(3)
        except BaseException:
            cls.fleet.dump_logs()
            end_all()
            raise

    @classmethod
    def tearDownClass(cls):
        end_all()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors) if result else 0
        done = super().run(result)
        if result and len(result.failures) + len(result.errors) > before:
            self.fleet.dump_logs()
        return done

    def agent_names(self):
        return {agent["id"] for agent in drover_json("agents", api=self.fleet.api)["agents"]}

    def turned_away(self, agent, *words):
        """The agent's own log says why, drover knows no such agent, and the cluster is as it was."""
        owners = self.cluster.nodes[0].owner_map()
        try:
            wait_for("%s to say why" % agent.name, lambda: all(word in agent.log_text() for word in words), 30)
        except AssertionError:
            raise AssertionError("%s said:\n%s" % (agent.name, agent.log_text()))
        self.assertNotIn(agent.name, self.agent_names())
        self.assertEqual(self.cluster.nodes[0].owner_map(), owners)
        for node in self.cluster.nodes:
            self.assertFalse(any(row["open"] for row in node.view().values()))

    def refused(self, agent):
        """Ends by itself with the exit code for a login, and the leader's log names it."""
        self.turned_away(agent, "credential")
        self.assertEqual(agent.child.wait(30), EXIT_AUTH, agent.log_text())
        lines = [line for c in self.fleet.coordinators for line in c.process.log_text().splitlines()
                 if "agent.refused" in line and agent.name in line]
        self.assertTrue(lines)
        self.assertIn("auth", lines[0])
        for c in self.fleet.coordinators:
            self.assertNotIn("open barley", c.process.log_text())
        self.assertNotIn("open barley", agent.log_text())

    def never_connected(self, agent, *why):
        self.turned_away(agent, "session.lost", "not connected", *why)
        self.assertTrue(agent.is_running())
        self.assertEqual(agent.stop(), 0)

    def test_1_rebalance_and_takeover(self):
        fleet, cluster = self.fleet, self.cluster
        fill = ["--keys", KEYS, "--size", 100, "--mix", "all", "--seed", 7]
        code, text = load_tool("fill", *cluster.seed_args(), *fill)
        self.assertEqual(code, 0, text)
        added = cluster.add_empty()
        fleet.agent("added", [added])
        fleet.wait_sees(4)
        log(fleet.run("rebalance", "--yes").stdout.strip().splitlines()[-1])
        cluster.check_at_rest()
        self.assertEqual(cluster.slot_counts()[added.name], 4096)
        leader = fleet.leader()
        leader.process.kill()
        other = next(c for c in fleet.coordinators if c is not leader)
        wait_for("the standby to lead", other.is_leading, 30)
        fleet.wait_sees(4)
        leader.start()
        log(fleet.run("drain", "localhost:%d" % added.port, "--yes").stdout.strip().splitlines()[-1])
        cluster.check_at_rest()
        self.assertEqual(cluster.slot_counts()[added.name], 0)
        code, text = load_tool("verify", *cluster.seed_args(), *fill)
        self.assertEqual(code, 0, text)

    def test_wrong_credential(self):
        self.refused(self.fleet.agent("liar", self.cluster.nodes[:1], credential="wrong-credential"))

    def test_no_credential(self):
        self.refused(self.fleet.agent("silent", self.cluster.nodes[:1], credential=None))

    def test_agent_trusts_another_authority(self):
        self.never_connected(self.fleet.agent("astray", self.cluster.nodes[:1], ca="other-ca"), "does not trust")

    def test_certificate_of_another_authority(self):
        self.never_connected(self.fleet.agent("stranger", self.cluster.nodes[:1], cert="stranger"), "does not trust")

    def test_no_certificate(self):
        self.never_connected(self.fleet.agent("bare", self.cluster.nodes[:1], cert=None), "wants a certificate")

    def test_no_tls(self):
        urls = [c.bus.replace("tls+tcp", "tcp") for c in self.fleet.coordinators]
        self.never_connected(self.fleet.agent("plain", self.cluster.nodes[:1], ca=None, cert=None, urls=urls),
                             "one side speaks TLS")

    def test_coordinator_of_another_name(self):
        """A certificate of the right authority for another host: the agent does not talk to it."""
        url = "tls+tcp://localhost:%d" % free_port()
        fleet = self.fleet
        Coordinator(self.folder, "elsewhere", url, "sqlite://%s/x.db" % self.folder.sub("elsewhere-store"), [
            "--bus-cert", fleet.file("elsewhere.pem"), "--bus-key", fleet.file("elsewhere.key")]).start()
        self.never_connected(fleet.agent("careful", self.cluster.nodes[:1], urls=[url]), "names another host")

    def test_settings_that_cannot_work(self):
        fleet = self.fleet
        url = fleet.coordinators[0].bus
        store = "sqlite://%s/x.db" % self.folder.sub("unused")
        for words, argv in [
                (["CA"], [AGENT, "--coordinator", url, "--state-dir", self.folder.sub("no-ca")]),
                (["certificate"], [COORDINATOR, "--bus", "tls+tcp://localhost:%d" % free_port(), "--store", store,
                                   "--api", "127.0.0.1:%d" % free_port()]),
                (["does not belong", "agent.key"], [
                    COORDINATOR, "--bus", "tls+tcp://localhost:%d" % free_port(), "--store", store, "--api",
                    "127.0.0.1:%d" % free_port(), "--bus-cert", fleet.file("coordinator.pem"), "--bus-key",
                    fleet.file("agent.key")]),
                (["nowhere.pem"], [AGENT, "--coordinator", url, "--state-dir", self.folder.sub("no-file"), "--bus-ca",
                                   fleet.file("nowhere.pem")])]:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=30)
            self.assertEqual(done.returncode, EXIT_CONFIG, done.stdout)
            for word in words:
                self.assertIn(word, done.stdout)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
