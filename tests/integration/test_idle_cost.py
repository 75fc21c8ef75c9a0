"""What drover costs when nothing happens: an agent with four local nodes under 10 MB RSS and 1 % of a core."""

import os
import time
import unittest

from fleet import Distributed
from harness import Cluster, Folder, end_all, log

WATCH_S = 20


def rss_mb(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class IdleCost(unittest.TestCase):
    def tearDown(self):
        end_all()

    def test_agent(self):
        folder = Folder()
        cluster = Cluster(folder).create(4)
        fleet = Distributed(folder, cluster)
        fleet.wait_sees(4)
        pid = fleet.agents[0].pid
        before, started = cpu_s(pid), time.monotonic()
        # A measured interval, not a wait for luck: the cost is CPU time over wall time.
        time.sleep(WATCH_S)
        share = 100 * (cpu_s(pid) - before) / (time.monotonic() - started)
        log("agent: %.1f MB RSS, %.2f %% of a core" % (rss_mb(pid), share))
        self.assertLess(rss_mb(pid), 10)
        self.assertLess(share, 1.0)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
