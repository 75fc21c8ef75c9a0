"""The whole coordinator process with 1,000 nodes stays under 32 MB: 50 agents that are only pretended (tests/tools/
pretend_fleet.c) speak to the real daemon over the real bus, while people look at the cluster and plan.
"""

import json
import os
import time
import unittest

from fleet import Coordinator, get_json
from harness import BUILD, Folder, Process, drover, end_all, free_port, log, wait_for
from test_idle_cost import cpu_s, rss_mb

RSS_MB_MAX = 32
CPU_PERCENT_MAX = 25  # with news every second; the build may be one without optimisation
WATCH_S = 30


def peak_mb(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


class ThousandNodes(unittest.TestCase):
    def tearDown(self):
        end_all()

    def test_memory(self):
        folder = Folder()
        bus = "tcp://127.0.0.1:%d" % free_port()
        coordinator = Coordinator(folder, "coordinator", bus, "sqlite://%s/drover.db" % folder.sub("store"),
                                  ["--report-interval", "500ms"]).start()
        wait_for("a leader", coordinator.is_leading)
        fleet = Process("fleet", [os.path.join(BUILD, "tests", "pretend_fleet"), bus], folder.sub("fleet"))
        fleet.start()
        pid = coordinator.process.pid
        wait_for("every agent to report", lambda: "ready" in fleet.log_text(), 30)
        wait_for("1,000 nodes", lambda: get_json(coordinator.api + "/v1/status")["nodes_reachable"] == 1000, 30)
        first, before, started = rss_mb(pid), cpu_s(pid), time.monotonic()
        # A measured interval with people at work, not a wait for luck.
        rounds = 0
        while time.monotonic() - started < WATCH_S:
            for args in (["status"], ["nodes"], ["slots"], ["agents"], ["why"]):
                done = drover(*args, "-o", "json", api=coordinator.api)
                self.assertTrue(json.loads(done.stdout))
            rounds += 1
            time.sleep(1)
        plan = wait_for("a plan", lambda: drover("plan", "rebalance", api=coordinator.api, check=False).returncode == 0, 20)
        self.assertTrue(plan)
        share = 100 * (cpu_s(pid) - before) / (time.monotonic() - started)
        log("coordinator, 1,000 nodes: %.1f MB RSS at first, %.1f MB after %d s, %.1f MB at most, %.1f %% of a "
            "core, five questions asked %d times" % (first, rss_mb(pid), WATCH_S, peak_mb(pid), share, rounds))
        self.assertLess(peak_mb(pid), RSS_MB_MAX)
        self.assertLess(share, CPU_PERCENT_MAX)
        self.assertEqual(fleet.stop(), 0)
        words = fleet.log_text().strip().splitlines()[-1].split()
        log(" ".join(words))
        self.assertGreater(int(words[1]), 50 * 24, "two dozen reports an agent")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
