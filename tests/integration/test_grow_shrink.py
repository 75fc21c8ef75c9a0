"""The main job, once for each way to run and each server: 3 to 5 to 3 primaries with replicas under checked clients.

Proves, on real servers: no lost key, no value gone backwards, no client error but redirects, TTLs kept, 16,384 slots in
every view, nothing left open. 300,000 keys of all types, every byte value in key names.
"""

import os
import shutil
import unittest

from fleet import Distributed, Standalone
from harness import Cluster, Folder, Hosts, Load, can_make_hosts, end_all, load_tool, log

KEYS = int(os.environ.get("DROVER_TEST_KEYS", "300000"))


def fill_args():
    return ["--keys", KEYS, "--size", 100, "--mix", "all", "--seed", 7]


def grow_and_shrink(test, server, distributed):
    folder = Folder()
    hosts = Hosts(3) if distributed else None
    cluster = Cluster(folder, server, hosts=hosts).create(3, 1)
    code, text = load_tool("fill", *cluster.seed_args(), *fill_args())
    test.assertEqual(code, 0, text)
    added = [cluster.add_empty(host_index=i) for i in range(2)]
    for i, node in enumerate(added):
        cluster.add_empty(replica_of=node, host_index=i + 1)
    fleet = Distributed(folder, cluster, hosts) if distributed else Standalone(folder, cluster)
    try:
        fleet.wait_sees(10)
        load = Load(folder, cluster, "--rate", "2000", "--keys", "20000", "--size", "100", "--mix", "all").start()
        log(fleet.run("rebalance", "--yes").stdout.strip().splitlines()[-1])
        cluster.check_at_rest()
        counts = cluster.slot_counts()
        owners = [count for count in counts.values() if count]
        test.assertEqual(len(owners), 5, counts)
        test.assertLessEqual(max(owners) - min(owners), 1, counts)
        for node in added:
            log(fleet.run("drain", node.address, "--yes").stdout.strip().splitlines()[-1])
            cluster.check_at_rest()
            test.assertEqual(cluster.slot_counts()[node.name], 0)
        owners = [count for count in cluster.slot_counts().values() if count]
        test.assertEqual(len(owners), 3)
        code, report = load.finish()
        log("clients: %s" % load.process.log_text().strip().splitlines()[-1])
        test.assertEqual(code, 0, load.process.log_text()[-3000:])
        code, text = load_tool("verify", *cluster.seed_args(), *fill_args())
        log(text.strip().splitlines()[-1])
        test.assertEqual(code, 0, text)
    except BaseException:
        fleet.dump_logs()
        raise
    finally:
        end_all()


class GrowShrink(unittest.TestCase):
    def test_standalone_redis(self):
        grow_and_shrink(self, "redis-server", distributed=False)

    @unittest.skipUnless(shutil.which("valkey-server"), "valkey-server is not installed")
    def test_standalone_valkey(self):
        grow_and_shrink(self, "valkey-server", distributed=False)

    @unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
    def test_distributed_redis(self):
        grow_and_shrink(self, "redis-server", distributed=True)

    @unittest.skipUnless(can_make_hosts() and shutil.which("valkey-server"), "needs root, iproute2 and valkey-server")
    def test_distributed_valkey(self):
        grow_and_shrink(self, "valkey-server", distributed=True)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
