"""Three zones on four hosts: scale to five shards and back to three, twice, with servers that drover starts and stops.

Proves, on real servers in namespace hosts, under checked clients: no failed request and no lost key; a second run of each
command changes nothing; and in every picture that a watcher takes meanwhile: all slots have an owner in every view, no
primary that had a replica in step is without one, no shard with replicas stands on one host or in one zone. At rest no host
and no zone has most of the primaries, and no replica is in its primary's zone.
"""

import collections
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

from fleet import Distributed
from harness import (AGENT, SLOTS, Cluster, Folder, Hosts, Load, Process, can_make_hosts, end_all, load_tool, log,
                     wait_for)
from resp import Client, RedisError

ZONES = ("zone-a", "zone-b", "zone-c", "zone-a")  # of host 0, 1, ...
FILL = ["--keys", 20000, "--size", 100, "--mix", "all", "--seed", 3]
# A key arrives with what is left of its time, counted from then: on a busy machine that is not exact.
VERIFY = [*FILL, "--ttl-tolerance-ms", 20000]  # 5 s for each time that a key moves
HAS_VALKEY = shutil.which("valkey-server") is not None


class ZonedFleet(Distributed):
    """Every agent names its zone and offers its host for servers."""

    def add_agent(self, index):
        host = self.hosts.address(index)
        nodes = [arg for node in self.cluster.live() if node.host == host for arg in ("--node", node.address)]
        urls = [arg for c in self.coordinators for arg in ("--coordinator", c.bus)]
        name = "agent%d" % index
        path = self.folder.sub(name)
        offer = ["--zone", ZONES[index], "--instance-dir", os.path.join(path, "servers"), "--instance-host", host,
                 "--instance-memory", "1gb", "--instance-supervisor", "none"]
        process = Process(name, [AGENT, "--id", name, "--state-dir", path, *urls, *nodes, *offer], path,
                          self.hosts.names[index])
        self.agents.append(process.start())
        return process

    def servers(self):
        """{folder: pid} of the servers that agents have started."""
        found = {}
        root = os.path.realpath(self.folder.path)
        for cwd in glob.glob("/proc/[0-9]*/cwd"):
            try:
                place = os.readlink(cwd)
                with open(os.path.join(os.path.dirname(cwd), "cmdline"), "rb") as file:
                    title = file.read()
            except OSError:
                continue
            if place.startswith(root) and "/servers/" in place and b"-server" in title.split(b" ")[0]:
                found[place] = int(cwd.split("/")[2])
        return found


def parse_view(text):
    """{node id: row} of a CLUSTER NODES text, with "myself" marked."""
    rows = {}
    for line in text.splitlines():
        fields = line.split()
        slots = 0
        for word in fields[8:]:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                slots += int(last or first) - int(first) + 1
        flags = fields[2].split(",")
        rows[fields[0]] = {"address": fields[1].split("@")[0], "is_primary": "master" in flags, "flags": flags,
                           "primary": fields[3], "slots": slots, "is_own": "myself" in flags}
    return rows


class Picture:
    """What every node says at about one time: {address: (own id, view, replicas in step by its own count)}."""

    def __init__(self, seen):
        self.seen = seen
        self.own = {node_id: (address, view) for address, (node_id, view, _) in seen.items()}
        self.in_step = {node_id: count for node_id, _, count in seen.values()}

    def shards(self):
        """{primary id with slots by its own word: [ids of those that say they replicate it]}."""
        shards = {}
        for node_id, view, _ in self.seen.values():
            if view[node_id]["is_primary"] and view[node_id]["slots"] > 0:
                shards.setdefault(node_id, [])
        for node_id, view, _ in self.seen.values():
            if view[node_id]["primary"] in shards:
                shards[view[node_id]["primary"]].append(node_id)
        return shards

    def host(self, node_id):
        return self.own[node_id][0].rsplit(":", 1)[0]


class Watcher(threading.Thread):
    """Takes a picture of all nodes about twice a second and keeps what is wrong in it."""

    def __init__(self, cluster, zone_of):
        super().__init__(daemon=True)
        self.zone_of = zone_of
        self.addresses = {node.address for node in cluster.nodes}
        self.clients = {}
        self.were_whole = set()  # addresses whose view has had all slots
        self.had_replica = set()  # primaries that have had a replica in step
        self.problems = []
        self.suspected = {}
        self.pictures = 0
        self.ending = threading.Event()

    def look(self, address):
        client = self.clients.get(address)
        try:
            if client is None:
                host, port = address.rsplit(":", 1)
                client = self.clients[address] = Client(host, int(port), timeout=5)
            view, info = client.pipeline([("CLUSTER", "NODES"), ("INFO", "replication")])
        except OSError:
            self.clients.pop(address, None)
            return None
        if isinstance(view, RedisError) or isinstance(info, RedisError):
            return None
        rows = parse_view(view.decode())
        own = next(node_id for node_id, row in rows.items() if row["is_own"])
        return own, rows, info.decode().count("state=online")

    def take(self):
        seen, left = {}, set(self.addresses)
        while left:
            address = left.pop()
            answer = self.look(address)
            if answer is not None:
                seen[address] = answer
                found = {row["address"] for row in answer[1].values()
                         if "noaddr" not in row["flags"] and not row["address"].startswith(":")}
                left |= found - self.addresses
                self.addresses |= found
        return Picture(seen)

    def wrong_in(self, picture):
        """{what, for comparing: in words}."""
        wrong = {}
        for address, (node_id, view, _) in picture.seen.items():
            slots = sum(row["slots"] for row in view.values())
            if slots == SLOTS:
                self.were_whole.add(address)
            elif len(view) == 1:
                self.were_whole.discard(address)  # it has left
            elif address in self.were_whole:
                wrong["slots", address] = "%s sees owners of only %d slots" % (address, slots)
        shards = picture.shards()
        for primary, replicas in shards.items():
            if picture.in_step[primary] > 0:
                self.had_replica.add(primary)
            elif primary in self.had_replica:
                wrong["barrier", primary] = "%s lost its last replica" % picture.own[primary][0]
            else:
                wrong["bare", primary] = "%s has slots and never had a replica in step" % picture.own[primary][0]
            # Redis itself makes a primary that lost its last slot, and its replicas, replicas of whoever got it: such
            # a one may stand anywhere until it leaves, but it is never the only one.
            host = picture.host(primary)
            for what, place_of in (("host", lambda h: h), ("zone", self.zone_of.get)):
                if replicas and all(place_of(picture.host(r)) == place_of(host) for r in replicas):
                    wrong[what, primary] = "%s and all its replicas stand in one %s: %s" % (
                        picture.own[primary][0], what, [picture.own[r][0] for r in replicas])
        self.had_replica &= set(shards)
        return wrong

    def run(self):
        while not self.ending.is_set():
            wrong = self.wrong_in(self.take())
            # A picture is not taken in one instant: what the next one does not show was none.
            for what in set(wrong) & set(self.suspected):
                self.problems.append(wrong[what])
            self.suspected = {} if set(wrong) & set(self.suspected) else wrong
            self.pictures += 1
            self.ending.wait(0.05 if self.suspected else 0.5)

    def finish(self):
        self.ending.set()
        self.join(60)
        return self.problems


class Scenario:
    def __init__(self, test, server):
        self.test, self.server = test, server
        self.folder = Folder()
        self.hosts = Hosts(len(ZONES))
        self.zone_of = {self.hosts.address(i): zone for i, zone in enumerate(ZONES)}
        self.cluster = Cluster(self.folder, server, hosts=self.hosts, conf={
            "maxmemory": "128mb", "cluster-node-timeout": 15000}).create(3, 1)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        test.assertEqual(code, 0, text)
        self.fleet = ZonedFleet(self.folder, self.cluster, self.hosts, members=1)
        self.watcher = Watcher(self.cluster, self.zone_of)

    def end(self):
        for pid in self.fleet.servers().values():
            os.kill(pid, signal.SIGKILL)
        end_all()

    def members(self):
        """A picture in which all members are of one mind."""
        def agreed():
            picture = self.watcher_free.take()
            views = {}
            for node_id, view, _ in picture.seen.values():
                if len(view) > 1:
                    views[node_id] = sorted(view)
            ids = next(iter(views.values()))
            return picture if all(v == ids for v in views.values()) and sorted(views) == ids else None

        return wait_for("one view of who is a member", agreed, 60, 0.3)

    def check_places(self, primaries):
        """At rest: the shape that was asked for, on hosts and in zones as safe as they can be."""
        test, picture = self.test, self.members()
        shards = picture.shards()
        test.assertEqual(len(shards), primaries)
        test.assertEqual([len(replicas) for replicas in shards.values()], [1] * primaries)
        test.assertEqual({picture.in_step[primary] for primary in shards}, {1})
        by_host, by_zone = collections.Counter(), collections.Counter()
        for primary, (replica,) in shards.items():
            test.assertAlmostEqual(picture.own[primary][1][primary]["slots"], SLOTS / primaries, delta=1)
            host, other = picture.host(primary), picture.host(replica)
            by_host[host] += 1
            by_zone[self.zone_of[host]] += 1
            test.assertNotEqual(self.zone_of[host], self.zone_of[other],
                                "%s and its replica %s are in one zone" % (host, other))
        for place, count in (by_host + by_zone).items():
            test.assertLessEqual(2 * count, primaries, "%s has most of the primaries: %s" % (place, by_zone))
        return picture

    def verify(self, member):
        code, text = load_tool("verify", "--seed-node", member, *VERIFY)
        self.test.assertEqual(code, 0, "%s\n%s" % (text, "\n".join(self.failovers())))

    def failovers(self):
        """What servers have said of elections, in all their logs: none is wanted here."""
        return self.said("Failover election won", "as failing (quorum reached)")

    def said(self, *sentences):
        """Lines of all servers' logs that have one of the sentences."""
        said = []
        for path in glob.glob(os.path.join(self.folder.path, "**", "*.log"), recursive=True):
            with open(path, errors="replace") as file:
                said += ["%s: %s" % (os.path.relpath(path, self.folder.path), line.strip()) for line in file
                         if any(sentence in line for sentence in sentences)]
        return said

    def scale(self, primaries):
        args = ["scale", "--primaries", primaries, "--replicas", 1, "--yes"]
        began = time.monotonic()
        log(self.fleet.run(*args).stdout.strip().splitlines()[-1])
        picture = self.check_places(primaries)
        servers = self.fleet.servers()
        mine = {node.address for node in self.cluster.nodes}
        started = [address for address, _ in picture.own.values() if address not in mine]
        members = [address for node_id, (address, view) in picture.own.items() if len(view) > 1]
        self.test.assertEqual(len([a for a in started if a in members]), len(servers),
                              "servers that left still run: %s" % list(servers))
        log("%s: %d primaries in %.0f s; zones and servers as wanted" % (self.server, primaries,
                                                                         time.monotonic() - began))
        self.verify(members[0])
        before = {node_id: sorted(view) for node_id, view, _ in picture.seen.values()}
        self.test.assertIn("nothing to do", self.fleet.run(*args).stdout)
        after = {node_id: sorted(view) for node_id, view, _ in self.members().seen.values()}
        self.test.assertEqual(before, after)
        self.test.assertEqual(servers, self.fleet.servers())

    def wait_hosts_offer(self):
        wait_for("hosts that can start servers", lambda: "start a server" in self.fleet.run(
            "plan", "scale", "--primaries", "5", "--replicas", 1, check=False).stdout, 60, 0.5)

    def run(self):
        test, cluster = self.test, self.cluster
        self.fleet.wait_sees(6)
        self.wait_hosts_offer()
        self.verify(cluster.nodes[0].address)
        self.watcher_free = Watcher(cluster, self.zone_of)  # not started: takes pictures for us
        # Every key is asked for every five seconds or so: who leaves redirects for 50 s before it is reset.
        load = Load(self.folder, cluster, "--rate", "300", "--keys", "1500", "--size", "100", "--mix", "all").start()
        self.watcher.start()
        for primaries in (5, 3, 5, 3):
            self.scale(primaries)
        problems = self.watcher.finish()
        test.assertEqual(sorted(set(problems)), [])
        # A server gives a replica away by itself, to any place, when it sees a primary with slots that has none.
        test.assertEqual(self.said("Migrating to orphaned master", "Migrating to orphaned primary"), [])
        test.assertGreater(self.watcher.pictures, 100)
        code, _ = load.finish()
        log("%s clients: %s" % (self.server, load.process.log_text().strip().splitlines()[-1]))
        test.assertEqual(code, 0, load.process.log_text()[-3000:])


def run_scenario(test, server):
    scenario = Scenario(test, server)
    try:
        scenario.run()
    except BaseException:
        for problem in sorted(set(scenario.watcher.problems))[:20]:
            print("watcher: %s" % problem)
        print("\n".join(scenario.said("Migrating to orphaned")))
        scenario.fleet.dump_logs()
        raise
    finally:
        scenario.end()


@unittest.skipUnless(can_make_hosts(), "network namespaces need root and iproute2")
class Zones(unittest.TestCase):
    def test_scale_in_three_zones(self):
        """Redis and Valkey at once, each in a process of its own: most of the time a ban of 60 s is waited out."""
        servers = ["redis-server"] + (["valkey-server"] if HAS_VALKEY else [])
        if not HAS_VALKEY:
            log("valkey-server is not installed: only redis-server is tested")
        runs = [subprocess.Popen([sys.executable, __file__, "scale", server]) for server in servers]
        self.assertEqual([run.wait(1200) for run in runs], [0] * len(servers))


if __name__ == "__main__":
    if sys.argv[1:2] == ["scale"]:
        run_scenario(unittest.TestCase(), sys.argv[2])
        sys.exit(0)
    unittest.main(warnings="ignore")
