"""What a person does with an operation, standalone on real servers: a saved plan, pause and resume, cancel, approval,
and a plan that is refused because the cluster has changed since."""

import json
import os
import unittest

from fleet import Standalone
from harness import Cluster, Folder, end_all, load_tool, wait_for

FILL = ["--keys", 60000, "--size", 100, "--mix", "all", "--seed", 5]
EXIT_CONFLICT = 6


class Operations(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.cluster = Cluster(self.folder).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.added = self.cluster.add_empty()
        self.fleet = Standalone(self.folder, self.cluster)
        self.fleet.wait_sees(4)

    def tearDown(self):
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
        if code != 0:
            self.fleet.dump_logs()
        end_all()
        self.assertEqual(code, 0, text)

    def open_slots(self):
        return [mark for node in self.cluster.live() for row in node.view().values() for mark in row["open"]]

    def moved(self, operation):
        return self.fleet.operation(operation)["slots_moved"]

    def begin(self):
        operation = self.fleet.start("rebalance", "--speed", "soft")
        wait_for("some slots to have moved", lambda: self.moved(operation) >= 50)
        return operation

    def test_saved_plan_and_changed_cluster(self):
        path = os.path.join(self.folder.path, "plan.json")
        self.fleet.run("plan", "rebalance", "--out", path)
        with open(path) as file:
            plan = json.load(file)
        self.assertEqual(sum(self.cluster.slot_counts().values()), 16384)
        self.assertEqual(self.cluster.slot_counts()[self.added.name], 0, "a dry run moves nothing")
        self.assertIn("topology_digest", json.dumps(plan))
        self.fleet.run("apply", path, "--yes")
        self.cluster.check_at_rest()
        self.assertEqual(sorted(self.cluster.slot_counts().values()), [4096] * 4)
        # The cluster is another one now: the same plan must be refused, and nothing may move.
        refused = self.fleet.run("apply", path, "--yes", check=False)
        self.assertEqual(refused.returncode, EXIT_CONFLICT, refused.stdout + refused.stderr)
        self.assertEqual(sorted(self.cluster.slot_counts().values()), [4096] * 4)

    def test_rebalance_twice_changes_nothing(self):
        self.fleet.run("rebalance", "--yes")
        self.cluster.check_at_rest()
        before = self.cluster.nodes[0].owner_map()
        again = self.fleet.run("rebalance", "--yes", check=False)
        self.assertEqual(again.returncode, 0, again.stdout + again.stderr)
        self.assertEqual(self.cluster.nodes[0].owner_map(), before)

    def test_pause_and_resume(self):
        operation = self.begin()
        self.fleet.run("op", "pause", operation)
        self.fleet.wait_operation(operation, "paused")
        self.assertEqual(self.open_slots(), [])
        self.cluster.check_at_rest()
        paused_at = self.cluster.slot_counts()[self.added.name]
        self.assertTrue(0 < paused_at < 4096, paused_at)
        self.fleet.run("op", "resume", operation)
        self.fleet.wait_operation(operation)
        self.cluster.check_at_rest()
        self.assertEqual(self.cluster.slot_counts()[self.added.name], 4096)

    def test_cancel(self):
        operation = self.begin()
        self.fleet.run("op", "cancel", operation)
        self.fleet.wait_operation(operation, "cancelled")
        self.assertEqual(self.open_slots(), [])
        self.cluster.check_at_rest()
        self.assertTrue(0 < self.cluster.slot_counts()[self.added.name] < 4096)

    def test_kill_standalone(self):
        operation = self.begin()
        process = self.fleet.coordinators[0].process
        process.kill()
        process.start()
        self.fleet.leader()
        self.fleet.wait_operation(operation)
        self.cluster.check_at_rest()
        self.assertEqual(self.cluster.slot_counts()[self.added.name], 4096)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
