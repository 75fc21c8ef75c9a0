"""Drain hooks: real HAProxy processes, a program, and a webhook by HTTPS (docs/outside.md).

Proves: `drover remove` takes a node out of two HAProxy processes first, by Unix socket and by TCP; new connections go elsewhere,
one that is open may finish, and only then slots move; a proxy that does not answer is named and tried again; a webhook is asked
until it has drained; a removal that is cancelled lets clients in again, and so does a node that joins where another was drained.
"""

import json
import os
import shutil
import unittest

from fleet import Standalone
from harness import SLOTS, Cluster, Process, free_port, log, wait_for
from outside import CONF, MeshServer, Outside
from resp import Client


class Proxy:
    """One haproxy in front of the nodes, in TCP mode; its runtime API at a Unix socket and at a port."""

    def __init__(self, folder, name, nodes):
        self.folder = folder.sub(name)
        self.port, self.api_port = free_port(), free_port()
        self.socket = os.path.join(self.folder, "api")
        servers = "".join("    server s%d %s\n" % (i, node.address) for i, node in enumerate(nodes))
        conf = os.path.join(self.folder, "haproxy.cfg")
        with open(conf, "w") as file:
            file.write("""global
    stats socket %s mode 600 level admin
    stats socket ipv4@127.0.0.1:%d level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend clients
    bind 127.0.0.1:%d
    default_backend nodes
backend nodes
    balance roundrobin
%s""" % (self.socket, self.api_port, self.port, servers))
        self.process = Process(name, [shutil.which("haproxy"), "-db", "-f", conf], self.folder)

    def start(self):
        self.process.start()
        wait_for("haproxy to listen", lambda: os.path.exists(self.socket) and self.client().close() is None)
        return self

    def client(self):
        return Client("127.0.0.1", self.port)

    def client_of(self, node_id):
        """A connection through the proxy that ended up at this node."""
        for _ in range(100):
            client = self.client()
            if client.call("CLUSTER", "MYID").decode() == node_id:
                return client
            client.close()
        raise AssertionError("no connection reaches " + node_id)

    def targets(self, count):
        """Where so many new connections end up."""
        found = set()
        for _ in range(count):
            with self.client() as client:
                found.add(client.call("CLUSTER", "MYID").decode())
        return found


@unittest.skipUnless(shutil.which("haproxy"), "haproxy is not installed")
class Drain(Outside):
    def test_remove_behind_two_proxies(self):
        self.guarded(self.remove_behind_two_proxies)

    def make(self):
        self.cluster = Cluster(self.folder, conf=CONF).create(4)
        self.leaver = self.cluster.nodes[3]
        self.everybody = {node.id() for node in self.cluster.nodes}
        self.others = self.everybody - {self.leaver.id()}
        self.first = Proxy(self.folder, "proxy1", self.cluster.nodes).start()
        self.second = Proxy(self.folder, "proxy2", self.cluster.nodes)  # not running yet
        self.told = os.path.join(self.folder.path, "told")
        hook = os.path.join(self.folder.path, "hook")
        with open(hook, "w") as file:
            file.write("#!/bin/sh\ncat >> %s\necho '{\"state\": \"done\"}'\n" % self.told)
        os.chmod(hook, 0o755)
        self.mesh = MeshServer(self.folder.path, "a-secret-that-no-log-shows").start()
        self.addCleanup(self.mesh.stop)
        token = os.path.join(self.folder.path, "token")
        with open(token, "w") as file:
            file.write(self.mesh.token + "\n")
        os.chmod(token, 0o600)
        self.fleet = Standalone(self.folder, self.cluster, [
            "--drain-haproxy", "unix:" + self.first.socket, "--drain-haproxy", "127.0.0.1:%d" % self.second.api_port,
            "--drain-exec", hook, "--drain-webhook", self.mesh.url, "--webhook-token-file", token, "--webhook-ca",
            self.mesh.cert, "--drain-limit", "10m"])
        self.fleet.wait_sees(4)

    def hook_calls(self):
        with open(self.told) as file:
            return [json.loads(line) for line in file]

    def remove_behind_two_proxies(self):
        self.make()
        self.assertEqual(self.first.targets(8), self.everybody)
        held = self.first.client_of(self.leaver.id())

        operation = self.fleet.start("remove", self.leaver.address)
        self.wait_said(operation, "HAProxy 127.0.0.1:%d: connection refused" % self.second.api_port)
        log("a proxy that does not answer is named")
        self.second.start()
        wait_for("the second proxy to be told", lambda: self.second.targets(8) == self.others)
        self.assertEqual(self.first.targets(8), self.others)
        self.wait_said(operation, "2 streams are left")
        self.assertEqual(self.mesh.asked(), ["busy", "drain"])
        drain, status = self.mesh.calls[1], self.mesh.calls[-1]
        self.assertEqual((drain["address"], drain["node_id"], drain["role"], status["of"], status["request_id"]),
                         (self.leaver.address, self.leaver.id(), "primary", "drain", drain["request_id"]))
        self.fleet.run("op", "cancel", operation)
        self.fleet.wait_operation(operation, "cancelled")
        for proxy in (self.first, self.second):
            wait_for("clients to be let in again", lambda p=proxy: p.targets(8) == self.everybody)
        self.assertEqual([call["action"] for call in self.hook_calls()], ["drain", "undrain"])
        self.assertEqual(self.mesh.asked(), ["busy", "drain", "undrain"])
        log("cancelled: both let clients in again")

        operation = self.fleet.start("remove", self.leaver.address)
        self.wait_said(operation, "2 streams are left")
        self.mesh.has_drained = True
        self.wait_said(operation, "1 sessions are left")
        self.assertEqual((self.first.targets(8), self.second.targets(8)), (self.others, self.others))
        # Its client works on, and no slot has moved.
        self.assertEqual(held.call("PING"), "PONG")
        self.assertEqual(self.slot_counts(), [SLOTS // 4] * 4)
        log("no new connection; the one that is open works on")

        held.close()
        self.fleet.wait_operation(operation)
        self.assertEqual([len(node.view()) for node in self.cluster.nodes[:3]], [3] * 3)
        self.assertEqual(sum(self.slot_counts()), SLOTS)
        call = self.hook_calls()[-1]
        self.assertEqual((call["action"], call["address"], call["role"]), ("drain", self.leaver.address, "primary"))
        self.cluster.nodes.remove(self.leaver)
        self.cluster.check_at_rest()
        self.assertEqual((self.first.targets(8), self.second.targets(8)), (self.others, self.others))

        # It joins again, as another node at the same address.
        self.fleet.run("add", self.leaver.address, "--yes")
        self.cluster.nodes.append(self.leaver)
        newcomers = self.others | {self.leaver.id()}
        self.assertNotEqual(newcomers, self.everybody)
        self.assertEqual((self.first.targets(8), self.second.targets(8)), (newcomers, newcomers))
        call = self.hook_calls()[-1]
        self.assertEqual((call["action"], call["address"], call["node_id"]),
                         ("undrain", self.leaver.address, self.leaver.id()))
        self.assertEqual(self.mesh.asked()[-2:], ["drain", "undrain"])
        self.assertNotIn(self.mesh.token, self.fleet.coordinators[0].process.log_text())
        log("clients are let in to the node that joined at the drained address")
        self.cluster.check_at_rest()


if __name__ == "__main__":
    unittest.main(warnings="ignore")
