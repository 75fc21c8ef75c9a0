#!/usr/bin/env python3
"""`drover --cluster` by every way in, beside the real client: TLS, passwords and users, names, IPv6, bus ports of
one's own. What one of the two may read the other may too; and what drover may read it may also change: create,
add-node, reshard, rebalance, del-node.
"""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
import unittest

import harness
from compat_bench import Bench
from harness import Cluster, Process, free_port, wait_for

PASSWORD = "p@ss w:rd/1"


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def make_certificates(folder):
    """An authority, and a certificate that names no host at all, as the servers' own test script makes them."""
    for name in ("ca", "other"):
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out",
                name + ".pem", "-days", "2", "-subj", "/CN=" + name)
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "node.key", "-out", "node.csr", "-subj",
            "/CN=some name")
    openssl(folder, "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "node.pem", "-days", "2")
    os.mkdir(os.path.join(folder, "authorities"))
    shutil.copy(os.path.join(folder, "ca.pem"), os.path.join(folder, "authorities"))
    openssl(folder, "rehash", "authorities")


def on_terminal(argv, question, answer, env):
    """Runs it with a terminal of its own and answers one question there. (exit code, what the terminal showed)"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, env)
    shown, answered, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                part = b""
            if not part:
                break
            shown += part
        if not answered and question in shown:
            os.write(terminal, answer)
            answered = True
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, shown.decode()


def each(client, options, *args):
    return [client, *options, "--cluster", *map(str, args)]


class Access(unittest.TestCase):
    def bench(self, server="redis-server", client="redis-cli"):
        if not shutil.which(server) or not shutil.which(client):
            self.skipTest("%s or %s is not installed" % (server, client))
        return Bench(self, server, client)

    def alike(self, bench, name, options, seed, code, env=None):
        """Both get in, or neither; who gets in sees the same."""
        if bench.client == "redis-cli" and {"-4", "-6"} & set(options):  # 7.0 does not know them
            return self.works(bench, name, options, "check", seed)
        with bench.case(name):
            runs = [bench.run(program, [*options, "--cluster", "check", seed], env=env)
                    for program in (bench.real, bench.link)]
            self.assertEqual(runs[0].code, runs[1].code, runs)
            self.assertEqual(code, runs[0].code, runs)
            if runs[0].code == 0:
                self.assertEqual(runs[0].out, runs[1].out)
                self.assertEqual(runs[0].err, runs[1].err)
            else:
                self.assertNotEqual(runs[1].err + runs[1].out, "")

    def works(self, bench, name, options, *args, answers="", says=(), env=None):
        with bench.case(name):
            run = bench.run(bench.link, [*options, "--cluster", *args], answers=answers, env=env)
            self.assertEqual(run.code, 0, run)
            for text in says:
                self.assertIn(text, run.out)
            return run

    def tls(self, server, client):
        bench = self.bench(server, client)
        pki = bench.folder.sub("pki")
        make_certificates(pki)

        def file(name):
            return os.path.join(pki, name)

        cluster = Cluster(bench.folder_of("tls"), server)
        nodes, seeds = [], []
        for _ in range(4):
            port = free_port()
            cluster.conf = {
                "tls-port": port, "tls-cert-file": file("node.pem"), "tls-key-file": file("node.key"),
                "tls-ca-cert-file": file("ca.pem"), "tls-cluster": "yes", "tls-replication": "yes",
                "requirepass": '"%s"' % PASSWORD, "masterauth": '"%s"' % PASSWORD,
                "user": 'ann on ">%s" ~* &* +@all' % PASSWORD}
            cluster.password = PASSWORD
            nodes.append(cluster.spawn())
            seeds.append("127.0.0.1:%d" % port)
        pair = ["--cert", file("node.pem"), "--key", file("node.key")]
        trust = ["--tls", "--cacert", file("ca.pem"), *pair]
        login = ["-a", PASSWORD, "--no-auth-warning"]
        first = seeds[0]

        self.works(bench, "create over TLS with a password", trust + login, "create", *seeds[:3], "--cluster-yes",
                   says=["[OK] All 16384 slots covered."])
        for node in nodes[:3]:
            for i in range(300):
                try:
                    node.call("SET", "key-%d" % i, "x" * 100)
                except harness.RedisError:
                    pass  # another's slot
        self.alike(bench, "authority and certificate", trust + login, first, 0)
        self.alike(bench, "a folder of authorities", ["--tls", "--cacertdir", file("authorities"), *pair, *login], first, 0)
        self.alike(bench, "nothing is checked", ["--tls", "--insecure", *pair, *login], first, 0)
        self.alike(bench, "a name of one's own", [*trust, "--sni", "redis.example", *login], first, 0)
        self.alike(bench, "ciphers", [*trust, "--tls-ciphers", "ECDHE+AESGCM", *login], first, 0)
        self.alike(bench, "ciphers nobody knows", [*trust, "--tls-ciphers", "none-such", *login], first, 1)
        self.alike(bench, "cipher suites", [*trust, "--tls-ciphersuites", "TLS_AES_256_GCM_SHA384", *login], first, 0)
        self.alike(bench, "cipher suites nobody knows", [*trust, "--tls-ciphersuites", "none-such", *login], first, 1)
        self.alike(bench, "an authority that did not sign it", ["--tls", "--cacert", file("other.pem"), *pair, *login], first, 1)
        self.alike(bench, "no authority", ["--tls", *pair, *login], first, 1)
        self.alike(bench, "no certificate of ours", ["--tls", "--cacert", file("ca.pem"), *login], first, 1)
        self.alike(bench, "an authority that is no file", ["--tls", "--cacert", file("none"), *pair, *login], first, 1)
        self.alike(bench, "no TLS to a TLS port", login, first, 1)
        self.alike(bench, "password by environment", trust, first, 0, env={"REDISCLI_AUTH": PASSWORD})
        self.alike(bench, "password on the line, with the warning", [*trust, "-a", PASSWORD], first, 0)
        self.alike(bench, "wrong password", [*trust, "-a", "wrong", "--no-auth-warning"], first, 1)
        self.alike(bench, "no password", trust, first, 1)
        self.alike(bench, "user and password", [*trust, "--user", "ann", "--pass", PASSWORD, "--no-auth-warning"], first, 0)
        self.alike(bench, "unknown user", [*trust, "--user", "eve", *login], first, 1)
        uri = "rediss://ann:p%40ss%20w%3Ard%2F1@127.0.0.1/0"
        certificates = ["--cacert", file("ca.pem"), *pair]
        self.alike(bench, "address with user, password and TLS", ["-u", uri, "--no-auth-warning", *certificates], first, 0)
        self.alike(bench, "address of another kind", ["-u", "http://127.0.0.1", *certificates], first, 1)
        with bench.case("password asked for on a terminal"):
            for program in (bench.real, bench.link):
                code, shown = on_terminal(each(program, [*trust, "--askpass"], "info", first),
                                          b"Please input password: ", PASSWORD.encode() + b"\n", bench.env)
                self.assertEqual(code, 0, shown)
                self.assertIn("[OK] ", shown)
            self.assertNotIn(PASSWORD, shown)  # of the last, which is ours

        ids = [node.id() for node in nodes]
        self.works(bench, "add-node by name, user by address", ["-u", uri, *certificates, "--no-auth-warning"], "add-node",
                   seeds[3].replace("127.0.0.1", "localhost"), first.replace("127.0.0.1", "localhost"), says=["[OK] New node added correctly."])
        self.works(bench, "reshard, --insecure and --sni", ["--tls", "--insecure", "--sni", "redis.example", "--tls-ciphers", "ECDHE+AESGCM",
                           "--tls-ciphersuites", "TLS_AES_256_GCM_SHA384", *pair, *login],
                   "reshard", first, "--cluster-from", ids[0], "--cluster-to", ids[3], "--cluster-slots", 20,
                   "--cluster-yes", says=["Moving slot 19 from %s to %s: " % (first, seeds[3])])
        self.works(bench, "reshard, user by environment's password", [*trust, "--user", "ann"],
                   "reshard", first, "--cluster-from", ids[3], "--cluster-to", ids[0], "--cluster-slots", 20,
                   "--cluster-yes", env={"REDISCLI_AUTH": PASSWORD})
        self.alike(bench, "all is well afterwards", trust + login, first, 0)
        self.assertEqual(sum(node.call("DBSIZE") for node in nodes[:3]), 300)

        def gone():
            self.assertEqual(set(nodes[0].view()), set(ids[:3]))
            self.assertEqual(len(nodes[3].view()), 1)
            self.alike(bench, "all is well without the node", trust + login, first, 0)
            bench.tell()

        return self.leaves(bench, "del-node", trust + login, first, ids[3], gone,
                           [">>> Sending CLUSTER FORGET messages to the cluster...",
                            ">>> Sending CLUSTER RESET SOFT to the deleted node."])

    def leaves(self, bench, name, options, seed, node_id, gone, says):
        """A del-node takes a minute: it runs beside the rest. Returns what waits for it and looks."""
        process = Process(name.replace(" ", "-"), [bench.link, *options, "--cluster", "del-node", seed, node_id],
                          bench.folder.path, env=bench.env).start()

        def finish():
            with bench.case(name):
                self.assertEqual(process.child.wait(180), 0, process.log_text())
                for text in says:
                    self.assertIn(text, process.log_text())
                gone()

        return finish

    def names(self, server, client):
        """Nodes on ::1 that announce names, with bus ports of their own."""
        bench = self.bench(server, client)
        cluster = Cluster(bench.folder_of("names"), server)
        busses = []
        for i in range(6):
            bus = free_port()
            conf = {"bind": "::1 127.0.0.1", "cluster-port": bus, "cluster-announce-hostname": "node%d.example" % i}
            cluster.nodes.append(harness.Node(cluster.folder, "node%d" % i, server, host="::1", conf=conf).start())
            busses.append(bus)
        nodes = cluster.nodes
        seeds = ["::1:%d" % node.port for node in nodes]
        by_name = ["localhost:%d" % node.port for node in nodes]
        with bench.case("too few primaries, answered no"):
            run = bench.run(bench.link, ["--cluster", "create", *seeds[:2]], answers="no\n")
            self.assertEqual(run.code, 1, run)
            asks = "requires at least 3 primary nodes for automatic failover" in run.out
            self.assertEqual(asks, client == "valkey-cli", run)
            self.assertEqual(len(nodes[0].view()), 1)
        if client == "valkey-cli":
            self.works(bench, "one primary, answered yes", [], "create", seeds[5], answers="yes\nyes\n",
                       says=["Primary[0] -> Slots 0 - 16383", "[OK] All 16384 slots covered."])
            self.assertEqual(len(nodes[5].view()), 1)
        self.works(bench, "create with bus ports of their own", [], "create", *seeds[:3], "--cluster-yes",
                   says=["[OK] All 16384 slots covered."])
        cluster.nodes = nodes[:3]
        cluster.check_at_rest()
        self.alike(bench, "nodes that announce names", [], seeds[0], 0)
        self.alike(bench, "IPv6", ["-6"], seeds[0], 0)
        self.alike(bench, "IPv4 to nodes on IPv6", ["-4"], seeds[0], 0)
        self.alike(bench, "a seed by name", [], by_name[0], 0)
        self.alike(bench, "a seed by name, its friends on IPv6, -4", ["-4"], by_name[0], 0)
        self.alike(bench, "a seed by name, -6", ["-6"], by_name[0], 0)
        if client == "valkey-cli":
            with bench.case("valkey-cli's own name for the password"):  # these nodes want none and say so
                env = {"VALKEYCLI_AUTH": "secret"}
                self.assertEqual(bench.run(bench.link, ["--cluster", "info", seeds[0]], env=env).code, 1)
        ids = [node.id() for node in nodes]
        self.works(bench, "add-node on IPv6", ["-6"], "add-node", seeds[3], seeds[0],
                   says=["[OK] New node added correctly."])
        self.works(bench, "add-node, the bus port named", [], "add-node", "%s@%d" % (seeds[4], busses[4]), seeds[0],
                   "--cluster-slave", says=["Automatically selected ", "[OK] New node added correctly."])
        self.works(bench, "reshard from a seed by name", [], "reshard", by_name[0], "--cluster-from", ids[0],
                   "--cluster-to", ids[3], "--cluster-slots", 5, "--cluster-yes")
        cluster.nodes = nodes[:5]
        cluster.check_at_rest()
        self.alike(bench, "all see the same", [], seeds[1], 0)
        with bench.case("the last slot moved away"):
            run = self.works(bench, "reshard of all that it has", ["-6"], "reshard", seeds[0], "--cluster-from", ids[3],
                             "--cluster-to", ids[0], "--cluster-slots", 5, "--cluster-yes")
            self.assertEqual(run.code, 0)
            cluster.check_at_rest()
        nodes[4].kill()
        cluster.nodes = nodes[:4]

        def gone():
            for node in nodes[:4]:
                self.assertEqual(set(node.view()), set(ids[:4]))
            self.alike(bench, "all is well without the dead", [], seeds[0], 0)
            bench.tell()

        wait_for("the dead to be known as such", lambda: "fail" in nodes[0].view()[ids[4]]["flags"], 60)
        return self.leaves(bench, "del-node of a dead node", [], seeds[0], ids[4], gone,
                           [">>> Sending CLUSTER FORGET messages to the cluster..."])

    def test_access(self):
        finish = [self.tls("redis-server", "redis-cli")]
        if shutil.which("valkey-server") and shutil.which("valkey-cli"):
            finish.append(self.names("valkey-server", "valkey-cli"))
        else:
            finish.append(self.names("redis-server", "redis-cli"))
        for wait in finish:
            wait()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[1:])
