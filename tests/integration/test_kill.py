"""kill -9 and SIGSTOP of drover's own parts in the middle of a move, distributed, under checked clients.

The plan must finish all the same: the standby leads within the lease TTL + 2 s; a leader that wakes after its lease is
over does nothing more; an agent killed in mid-slot and started again finishes the slot.
"""

import shutil
import time
import unittest

from fleet import LEASE_TTL_S, Distributed
from harness import Cluster, Folder, Hosts, Load, can_make_hosts, end_all, load_tool, log, wait_for

FILL = ["--keys", 150000, "--size", 100, "--mix", "all", "--seed", 3]


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Kill(unittest.TestCase):
    SERVER = "redis-server"

    def setUp(self):
        self.folder = Folder()
        self.hosts = Hosts(3)
        self.cluster = Cluster(self.folder, self.SERVER, hosts=self.hosts).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.added = self.cluster.add_empty(host_index=0)
        # Soft speed: the move lasts long enough to be interrupted for sure.
        self.fleet = Distributed(self.folder, self.cluster, self.hosts)
        self.fleet.wait_sees(4)
        self.load = Load(self.folder, self.cluster, "--rate", "1000", "--keys", "10000", "--size", "100",
                         "--mix", "all").start()

    def tearDown(self):
        end_all()

    def begin(self):
        self.operation = self.fleet.start("rebalance", "--speed", "soft")
        wait_for("some slots to have moved", lambda: self.fleet.operation(self.operation)["slots_moved"] >= 100, 60)

    def finish(self):
        self.fleet.wait_operation(self.operation)
        self.cluster.check_at_rest()
        self.assertEqual(sorted(self.cluster.slot_counts().values()), [4096] * 4)
        code, _ = self.load.finish()
        self.assertEqual(code, 0, self.load.process.log_text()[-3000:])
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)

    def guarded(self, steps):
        try:
            self.begin()
            steps()
            self.finish()
        except BaseException:
            self.fleet.dump_logs()
            raise

    def test_kill_leader(self):
        def steps():
            leader = self.fleet.leader()
            leader.process.kill()
            killed = time.monotonic()
            self.assertIsNot(self.fleet.leader(LEASE_TTL_S + 10), leader)
            took = time.monotonic() - killed
            log("standby leads after %.1f s" % took)
            self.assertLessEqual(took, LEASE_TTL_S + 2)

        self.guarded(steps)

    def test_pause_leader(self):
        def steps():
            leader = self.fleet.leader()
            leader.process.pause()
            standby = next(c for c in self.fleet.coordinators if c is not leader)
            wait_for("the standby to lead", standby.is_leading, LEASE_TTL_S + 10)
            leader.process.resume()
            wait_for("the old leader to step down", lambda: leader.process.is_running() and not leader.is_leading(), 20)
            self.assertTrue(standby.is_leading())

        self.guarded(steps)

    def test_kill_agent(self):
        def steps():
            for agent in self.fleet.agents:
                agent.kill()
                agent.start()

        self.guarded(steps)

    def test_kill_everything(self):
        def steps():
            parts = [*self.fleet.agents, *(c.process for c in self.fleet.coordinators)]
            for part in parts:
                part.kill()
            for part in parts:
                part.start()
            self.fleet.leader()

        self.guarded(steps)


@unittest.skipUnless(shutil.which("valkey-server"), "valkey-server is not installed")
class KillValkey(Kill):
    SERVER = "valkey-server"
    # The daemons are the same; one case shows that recovery reads Valkey's state too.
    test_kill_leader = None
    test_pause_leader = None
    test_kill_agent = None


if __name__ == "__main__":
    unittest.main(warnings="ignore")
