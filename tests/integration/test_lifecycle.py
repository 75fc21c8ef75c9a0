"""A node's life without a person: add, replicate, remove, scale, create, each under checked clients and run twice.

Proves, on real servers: a lone server becomes a member with its share of slots, or a replica in step; a member leaves so
that nobody knows it any more and it does not come back; the same command again changes nothing; no failed request, no lost
key, never fewer than the replicas that were there.
"""

import shutil
import subprocess
import sys
import unittest

from fleet import Standalone
from harness import SLOTS, Cluster, Folder, Load, end_all, load_tool, log, wait_for

KEYS = 30000
NOT_FOUND, REFUSED = 4, 7
HAS_VALKEY = shutil.which("valkey-server") is not None


def fill_args():
    return ["--keys", KEYS, "--size", 100, "--mix", "all", "--seed", 11]


def lone(cluster):
    """A server that no cluster knows; not among the cluster's nodes yet."""
    node = cluster.spawn()
    cluster.nodes.remove(node)
    return node


def view_ids(cluster):
    return {node.name: sorted(node.view()) for node in cluster.live()}


def check_gone(test, cluster, node_id):
    for name, ids in view_ids(cluster).items():
        test.assertNotIn(node_id, ids, "%s still knows the node" % name)


def replicas_of(cluster, primary):
    return [row for row in cluster.nodes[0].view().values() if row["primary"] == primary.id()]


def grow_and_leave(test, server):
    folder = Folder()
    cluster = Cluster(folder, server).create(3, 1)
    code, text = load_tool("fill", *cluster.seed_args(), *fill_args())
    test.assertEqual(code, 0, text)
    fleet = Standalone(folder, cluster)
    try:
        fleet.wait_sees(6)
        load = Load(folder, cluster, "--rate", "300", "--keys", "1500", "--size", "100", "--mix", "all").start()

        primary = lone(cluster)
        log(fleet.run("add", primary.address, "--yes").stdout.strip().splitlines()[-1])
        cluster.nodes.append(primary)
        cluster.check_at_rest()
        test.assertAlmostEqual(len(primary.view()[primary.id()]["slots"]), SLOTS / 4, delta=1)
        before = view_ids(cluster)
        fleet.run("add", primary.address, "--yes")  # again: nothing to do
        test.assertEqual(before, view_ids(cluster))

        replica = lone(cluster)
        log(fleet.run("add", replica.address, "--replica-of", primary.address, "--yes").stdout.strip().splitlines()[-1])
        cluster.nodes.append(replica)
        test.assertEqual(replica.info("replication")["master_link_status"], "up")
        test.assertEqual(len(replicas_of(cluster, primary)), 1)
        cluster.check_at_rest()

        leaving, leaving_id = primary, primary.id()
        log(fleet.run("remove", leaving.address, "--yes").stdout.strip().splitlines()[-1])
        cluster.nodes.remove(leaving)
        cluster.check_at_rest()
        check_gone(test, cluster, leaving_id)
        test.assertEqual(leaving.call("DBSIZE"), 0)
        test.assertEqual(len(leaving.view()), 1, "the node that left still knows others")
        # Its replica has found another primary, in step.
        test.assertEqual(replica.info("replication")["role"], "slave")
        wait_for("the replica to be in step", lambda: replica.info("replication")["master_link_status"] == "up")
        again = fleet.run("remove", leaving_id, "--yes", check=False)
        test.assertIn(again.returncode, (0, 4), again.stderr)

        # Switched on again, it stays alone.
        leaving.process.stop()
        leaving.restart()
        check_gone(test, cluster, leaving_id)

        removed_id = replica.id()
        log(fleet.run("remove", replica.address, "--yes").stdout.strip().splitlines()[-1])
        cluster.nodes.remove(replica)
        check_gone(test, cluster, removed_id)
        cluster.check_at_rest()

        code, unused = load.finish()
        log("%s clients: %s" % (server, load.process.log_text().strip().splitlines()[-1]))
        test.assertEqual(code, 0, load.process.log_text()[-3000:])
        code, text = load_tool("verify", *cluster.seed_args(), *fill_args())
        log(text.strip().splitlines()[-1])
        test.assertEqual(code, 0, text)
    except BaseException:
        fleet.dump_logs()
        raise
    finally:
        end_all()


def shape(cluster):
    """Slots of each primary that has some, and how many replicas it has, in the view of the first node."""
    rows = cluster.nodes[0].view()
    return sorted((len(row["slots"]), sum(1 for r in rows.values() if r["primary"] == node_id))
                  for node_id, row in rows.items() if row["slots"])


def scale_out_and_in(test, server):
    """3 shards of 2 to 5 and back, from spare servers, each time a second run that changes nothing."""
    folder = Folder()
    cluster = Cluster(folder, server).create(3, 1)
    first = cluster.live()
    spares = [lone(cluster) for _ in range(4)]
    code, text = load_tool("fill", *cluster.seed_args(), *fill_args())
    test.assertEqual(code, 0, text)
    fleet = Standalone(folder, cluster, [arg for node in spares for arg in ("--node", node.address)])
    try:
        fleet.wait_sees(10)
        load = Load(folder, cluster, "--rate", "300", "--keys", "1500", "--size", "100", "--mix", "all").start()
        for primaries in (5, 3):
            args = ["scale", "--primaries", primaries, "--replicas", 1, "--yes"]
            log(fleet.run(*args).stdout.strip().splitlines()[-1])
            everyone = first + spares
            members = set(max((n.view() for n in everyone), key=len))
            cluster.nodes = [node for node in everyone if node.id() in members]
            test.assertEqual(len(cluster.nodes), primaries * 2)
            cluster.check_at_rest()
            test.assertEqual(len(shape(cluster)), primaries)
            for slots, replicas in shape(cluster):
                test.assertAlmostEqual(slots, SLOTS / primaries, delta=1)
                test.assertEqual(replicas, 1)
            before = view_ids(cluster)
            test.assertIn("nothing to do", fleet.run(*args).stdout)
            test.assertEqual(view_ids(cluster), before)
        code, unused = load.finish()
        log("%s clients: %s" % (server, load.process.log_text().strip().splitlines()[-1]))
        test.assertEqual(code, 0, load.process.log_text()[-3000:])
        code, text = load_tool("verify", *cluster.seed_args(), *fill_args())
        test.assertEqual(code, 0, text)
    except BaseException:
        fleet.dump_logs()
        raise
    finally:
        end_all()


def create_a_cluster(test, server):
    folder = Folder()
    cluster = Cluster(folder, server)
    nodes = [cluster.spawn() for _ in range(6)]
    fleet = Standalone(folder, cluster)
    try:
        wait_for("drover to see the servers", lambda: "no agent has reported" not in fleet.run(
            "create", "127.0.0.1:1", "--yes", check=False).stderr)
        log(fleet.run("create", *[n.address for n in nodes], "--replicas", 1, "--yes").stdout.strip().splitlines()[-1])
        cluster.check_at_rest()
        rows = nodes[0].view().values()
        test.assertEqual(sorted(len(r["slots"]) for r in rows if r["is_primary"]), [5461, 5461, 5462])
        test.assertEqual(len([r for r in rows if not r["is_primary"]]), 3)
        fleet.wait_sees(6)
        test.assertEqual(fleet.run("doctor", check=False).returncode, 0, fleet.run("doctor", check=False).stdout)
        again = fleet.run("create", *[n.address for n in nodes], "--replicas", 1, "--yes", check=False)
        test.assertEqual(again.returncode, 0, again.stderr)  # it is as asked for
        cluster.check_at_rest()
        test.assertEqual(sorted(len(r["slots"]) for r in nodes[0].view().values() if r["is_primary"]),
                         [5461, 5461, 5462])
    except BaseException:
        fleet.dump_logs()
        raise
    finally:
        end_all()


class Refusals(unittest.TestCase):
    """Joins and removals that must not happen: the code and the sentence, and nothing is changed. What was seen in time is refused
    by the coordinator, the rest by the agent that is to join it, in its own words."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.cluster = Cluster(cls.folder).create(3, 0)
        cls.fleet = Standalone(cls.folder, cls.cluster)
        cls.fleet.wait_sees(3)

    @classmethod
    def tearDownClass(cls):
        end_all()

    def refused(self, code, pattern, *args):
        before = view_ids(self.cluster)
        done = self.fleet.run(*args, "--yes", check=False, timeout=150)
        said = [line for line in done.stderr.splitlines() if line.startswith("drover: ")]
        log("%s: exit %d: %s" % (" ".join(args), done.returncode, said))
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(len(said), 1, done.stderr)
        self.assertRegex(said[0], pattern)
        wait_for("everything to be as before", lambda: view_ids(self.cluster) == before, 90)
        self.cluster.check_at_rest()
        return done

    def test_add_a_node_that_holds_keys(self):
        node = lone(self.cluster)
        node.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_for("its slots to serve", lambda: node.call("SET", "precious", "1") == "OK")
        self.refused(REFUSED, "%s (is used: it has keys; empty it first|owns 16384 slots already)" % node.address,
                     "add", node.address)
        self.assertEqual(node.call("GET", "precious"), b"1")

    def test_add_a_node_that_owns_a_slot(self):
        node = lone(self.cluster)
        node.call("CLUSTER", "ADDSLOTS", 7)
        self.refused(REFUSED, "%s (is used: it has slots; empty it first|owns 1 slots already)" % node.address,
                     "add", node.address)
        self.assertEqual([len(row["slots"]) for row in node.view().values()], [1])

    def test_add_a_node_that_is_not_there(self):
        self.refused(REFUSED, "reach 127.0.0.1:1 from 127.0.0.1: data port 127.0.0.1:1 (refuses|is silent): open the firewall",
                     "add", "127.0.0.1:1")

    def test_add_a_server_without_cluster_mode(self):
        node = lone(Cluster(self.folder, conf={"cluster-enabled": "no"}))
        self.refused(REFUSED, "%s.* it runs without cluster mode: set cluster-enabled yes, restart" % node.address,
                     "add", node.address)

    def test_remove_dead_of_a_living_node(self):
        node = self.cluster.nodes[0]
        self.refused(REFUSED, r"%s \(%.8s\) answers; remove it without saying that it is dead" % (node.address, node.id()),
                     "remove", node.address, "--dead")

    def test_remove_what_nobody_knows(self):
        self.refused(NOT_FOUND, 'no node is named "127.0.0.1:9"', "remove", "127.0.0.1:9")


class Lifecycle(unittest.TestCase):
    """Redis and Valkey at once, each in a process of its own: most of the time a ban of 60 s is waited out."""

    def on_both(self, scenario):
        servers = ["redis-server"] + (["valkey-server"] if HAS_VALKEY else [])
        if not HAS_VALKEY:
            log("valkey-server is not installed: only redis-server is tested")
        runs = [subprocess.Popen([sys.executable, __file__, scenario, server]) for server in servers]
        self.assertEqual([run.wait(600) for run in runs], [0] * len(servers))

    def test_add_and_remove(self):
        self.on_both("add-and-remove")

    def test_scale(self):
        self.on_both("scale")

    def test_create(self):
        create_a_cluster(self, "redis-server")


if __name__ == "__main__":
    scenarios = {"add-and-remove": grow_and_leave, "scale": scale_out_and_in}
    if sys.argv[1:] and sys.argv[1] in scenarios:
        scenarios[sys.argv[1]](unittest.TestCase(), sys.argv[2])
        sys.exit(0)
    unittest.main(warnings="ignore")
