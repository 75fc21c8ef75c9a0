"""kill -9 of every actor at the steps of join and of remove: the end is the same as if nobody had been killed.

Each story is a small cluster of its own with live checked clients. Its steps are operations; in each one a trap holds a
server at a chosen command, there somebody is killed, is started again, and the operation goes on by itself or the same
command is given again. Then every view must list the members and nobody else, slots are even, every key is there, and the
same command once more changes nothing. At the end a node that was removed is switched on again, in the worst case with the
disk that it had as a member, and must not come back; all is looked at again when every ban is over.

Stories run side by side, since a node that left is banned for 60 s. By hand: --all runs every combination,
--only NAME,NAME some of them, --width N so many side by side, --part I/N every Nth of what was chosen.
"""

import json
import os
import shutil
import sys
import threading
import time
import unittest

from fleet import Coordinator, Fleet
from harness import (AGENT, SLOTS, Cluster, Etcd, Folder, Load, Node, Process, end_all, free_port, load_tool, wait_for)
from traps import LIBRARY, Traps, holder_of

FILL = ["--keys", 3000, "--size", 100, "--mix", "all", "--seed", 7]
PATIENCE = 240  # s for one state, on a machine that is busy
AFTER_BAN = 65  # s; members refuse a forgotten node for 60
WATCHED = 12  # s that a node with an old disk has for coming back; it pings every member within 3
# How much later a key may expire for each time that it moves: four steps of a MIGRATE, connect, send, restore, answer, which
# may take a quarter of the node timeout (5 s) each before the call has failed. Seen on a machine with 50 waiting for two
# processors: 0.1 s.
LATE_MS_MAX = 5000
EXPIRIES = """local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    local at = redis.call('PEXPIRETIME', key)
    if at > 0 then found[#found + 1] = key; found[#found + 1] = at end
end
return found"""
NODE_ACTORS = ("subject", "bystander", "receiver")


class TrappedCluster(Cluster):
    """Servers whose commands can be trapped, and which lose nothing when they are killed."""

    def __init__(self, folder, server, traps):
        # Every write is in the file before its reply leaves; only a power cut could lose it.
        super().__init__(folder, server, conf={"appendonly": "yes", "appendfsync": "no"})
        self.traps = traps

    def spawn(self, host_index=None):
        node = Node(self.folder, "node%d" % self.spawned, self.server, conf=self.conf)
        self.spawned += 1
        node.process.env = self.traps.environment()
        self.nodes.append(node.start())
        return node

    def lone(self):
        node = self.spawn()
        self.nodes.remove(node)
        return node


class Alone(Fleet):
    """Standalone."""

    def __init__(self, folder, cluster, unused):
        nodes = [arg for node in cluster.live() for arg in ("--node", node.address)]
        store = "sqlite://%s/drover.db" % folder.sub("store")
        self.coordinators = [Coordinator(folder, "standalone", "inproc://drover", store, nodes).start()]
        self.agents = []
        self.leader()

    def workers(self):
        return [self.coordinators[0].process]


class Pair(Fleet):
    """Two coordinators and two agents on one machine; the etcd is shared with other stories."""

    def __init__(self, folder, cluster, etcd_url):
        self.coordinators = [
            Coordinator(folder, "coordinator%d" % i, "tcp://127.0.0.1:%d" % free_port(), etcd_url).start()
            for i in range(2)]
        urls = [arg for c in self.coordinators for arg in ("--coordinator", c.bus)]
        self.agents = []
        for i, served in enumerate((cluster.nodes[:1], cluster.nodes[1:])):
            name = "agent%d" % i
            path = folder.sub(name)
            nodes = [arg for node in served for arg in ("--node", node.address)]
            self.agents.append(Process(name, [AGENT, "--id", name, "--state-dir", path, "--no-discover", *urls, *nodes],
                                       path).start())
        self.leader()

    def workers(self):
        return self.agents


class Step:
    """An operation, and who is killed when: 'before' or 'after' the nth command of that name at any server."""

    def __init__(self, operation, when=None, word=None, actor=None, nth=1):
        self.operation, self.when, self.word, self.actor, self.nth = operation, when, word, actor, nth

    def __str__(self):
        if self.actor is None:
            return self.operation
        which = "" if self.nth == 1 else " no. %d" % self.nth
        return "%s, %s killed %s %s%s" % (self.operation, self.actor, self.when, self.word, which)


class Story(threading.Thread):
    def __init__(self, name, steps, mode=Pair, server="redis-server", power="empty"):
        super().__init__(name=name)
        self.steps, self.mode, self.server, self.power = steps, mode, server, power
        self.fault = None
        self.etcd_url = None
        self.removed = []  # (node, its id as a member, its disk as a member)
        self.began = time.monotonic()

    def say(self, text):
        print("    %5.1f s %s: %s" % (time.monotonic() - self.began, self.name, text), flush=True)

    def run(self):
        self.began = time.monotonic()
        try:
            self.play()
        except BaseException as error:  # reported by the main thread
            self.say("FAILED: %s" % error)
            self.fault = error
        self.leave_stage()

    def leave_stage(self):
        """Its processes end with it, lest the later stories run beside those of all earlier ones; logs stay."""
        fleet = getattr(self, "fleet", None)
        cluster = getattr(self, "cluster", None)
        parts = [*fleet.agents, *(c.process for c in fleet.coordinators)] if fleet else []
        parts += [*cluster.nodes, *(node for node, _, _ in self.removed)] if cluster else []
        parts += [part for part in (getattr(self, "subject", None), getattr(getattr(self, "load", None), "process", None))
                  if part is not None]
        for part in parts:
            part.kill()

    # ---- the plot ----

    def play(self):
        self.set_up()
        for step in self.steps:
            self.take(step)
        if self.removed:
            self.switch_on()
        self.close()

    def set_up(self):
        self.folder = Folder()
        self.traps = Traps(self.folder.sub("traps"))
        self.cluster = TrappedCluster(self.folder, self.server, self.traps).create(3)
        self.first = list(self.cluster.nodes)
        for node in self.first:
            node.call("FUNCTION", "LOAD", "#!lua name=kept\nredis.register_function('f', function() return 1 end)")
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        assert code == 0, text
        self.expiries = self.read_expiries()
        self.fleet = self.mode(self.folder, self.cluster, self.etcd_url)
        self.fleet.wait_sees(3, PATIENCE)
        tolerated = ["--tolerate", "clusterdown,connection,timeout"] if any(
            step.actor in NODE_ACTORS for step in self.steps) else []
        self.load = Load(self.folder, self.cluster, "--rate", "100", "--keys", "1000", "--mix", "all", *tolerated)
        self.load.start()

    def close(self):
        code, _ = self.load.finish()
        words = self.load.process.log_text()
        assert code == 0, "clients: " + words[-1500:]
        self.say(words.strip().splitlines()[-1].strip())
        moves = sum(step.operation in ("add", "remove") for step in self.steps)
        code, text = load_tool("verify", *self.cluster.seed_args(), *FILL, "--ttl-tolerance-ms", moves * LATE_MS_MAX)
        assert code == 0, text
        self.check_expiries(moves * LATE_MS_MAX)

    def read_expiries(self):
        """{key: wall clock in ms}, as the servers have it: no clock of ours comes in."""
        found = {}
        for node in self.cluster.primaries():
            rows = node.call("EVAL", EXPIRIES, 0)
            found.update(zip(rows[::2], rows[1::2]))
        return found

    def check_expiries(self, late_ms_max):
        """MIGRATE carries the time that is left: each move adds what the call took, and nothing takes any away."""
        now = self.read_expiries()
        late = sorted(now[key] - at for key, at in self.expiries.items())
        self.say("%d keys expire %d to %d ms later than they did, most by %d" % (
            len(late), late[0], late[-1], late[len(late) // 2]))
        assert late[0] >= 0, "a key expires %d ms too early" % -late[0]
        assert late[-1] <= late_ms_max, "a key expires %d ms late" % late[-1]

    def take(self, step):
        command = self.prepare(step)
        if step.actor:
            self.dead = []
            leader = self.fleet.leader(PATIENCE)
            self.traps.set(step.when, step.word, step.nth, lambda event: self.kill(step, event, leader))
        started = self.fleet.run(*command, "--yes", "--detach", check=False)
        if step.actor:
            wait_for("%s: the trap to spring" % step, self.traps.has_sprung, PATIENCE, 0.02)
            self.revive()
        else:
            assert started.returncode == 0, started.stderr
        self.finish(step, command)
        self.check(step)
        before = self.views()
        self.fleet.run(*command, "--yes", timeout=PATIENCE)
        assert self.views() == before, "the same command again changed something"
        self.say("%s: as if nobody had been killed" % step)

    def prepare(self, step):
        """Names who joins or leaves, and what the members will be."""
        if step.operation in ("add", "add replica"):
            self.subject = self.cluster.lone()
            self.cluster.nodes.append(self.subject)
            if step.operation == "add":
                return ["add", self.subject.address]
            return ["add", self.subject.address, "--replica-of", self.cluster.nodes[-2].address]
        wanted = "slave" if step.operation == "remove replica" else "master"
        self.subject = [node for node in self.cluster.nodes
                        if node not in self.first and node.info("replication")["role"] == wanted][-1]
        self.cluster.nodes.remove(self.subject)
        disk = os.path.join(self.folder.path, self.subject.name + ".disk")
        shutil.copytree(self.subject.process.folder, disk)
        self.removed.append((self.subject, self.subject.id(), disk))
        return ["remove", self.subject.id()]

    def kill(self, step, event, leader):
        everyone = self.first + [node for node in self.cluster.nodes if node not in self.first] + [self.subject]
        victims = {
            "worker": lambda: [holder_of(event.port, self.fleet.workers())],
            "leader": lambda: [leader.process],
            "drover": lambda: [*self.fleet.agents, *(c.process for c in self.fleet.coordinators)],
            "subject": lambda: [self.subject],
            "bystander": lambda: [self.first[2]],
            "receiver": lambda: [next(node for node in everyone if node.process.pid == event.pid)],
        }[step.actor]()
        if None in victims:
            return False  # on a busy machine its connection may be closed by now: it waits 5 s for an answer
        for victim in victims:
            victim.kill()
        self.dead = victims
        return True

    def revive(self):
        for victim in self.dead:
            if isinstance(victim, Node):
                victim.restart()
            else:
                victim.start()

    def finish(self, step, command):
        """The operation goes on by itself; what ended in another way is asked for again."""
        self.fleet.leader(PATIENCE)

        def over():
            operations = self.fleet.json("ops", check=False)["operations"]
            return None if any(o["state"] not in ("done", "failed", "cancelled", "held") for o in operations) else [
                operations[0] if operations else {"state": "never begun", "id": "-"}]

        last = wait_for("%s: its operation to end" % step, over, PATIENCE, 0.5)[0]
        again = 0
        while last["state"] != "done":
            again += 1
            self.say("%s: %s (%s), the command again" % (step, last["state"], last.get("reason")))
            assert again <= 3, "asked for %d times" % again
            if last["state"] == "held":
                self.fleet.run("op", "cancel", last["id"], "--yes", check=False)
            done = wait_for("%s: a leader that takes the command" % step, lambda: self.ask_again(command), PATIENCE, 0.5)
            last = {"state": "done"} if done.returncode == 0 else {"state": "failed", "reason": done.stderr, "id": "-"}

    def ask_again(self, command):
        """None while there is nobody to ask: on a busy machine leases are lost, and journals and reports take their time."""
        done = self.fleet.run(*command, "--yes", check=False, timeout=PATIENCE)
        words = ("has just begun to lead", "one runs at a time", "no node is named")
        return None if done.returncode != 0 and any(word in done.stderr for word in words) else done

    # ---- what must hold ----

    def views(self):
        return {node.name: sorted(node.view()) for node in self.cluster.nodes}

    def problem(self):
        ids = sorted(node.id() for node in self.cluster.nodes)
        for node in self.cluster.nodes:
            rows = node.view()
            if sorted(rows) != ids:
                return "%s lists %s, the members are %s" % (node.name, sorted(rows), ids)
            for node_id, row in rows.items():
                if "myself" not in row["flags"] and (row["link"] != "connected" or "fail" in row["flags"]):
                    return "%s has no link to %s" % (node.name, node_id)
        return None

    def check(self, step):
        self.cluster.check_at_rest(PATIENCE)
        wait_for("%s: every view to list the members only" % step, lambda: self.problem() is None, PATIENCE, 0.3)
        rows = self.cluster.nodes[0].view()
        counts = sorted(len(row["slots"]) for row in rows.values() if row["is_primary"])
        share = SLOTS / len(counts)
        assert all(abs(count - share) <= 1 for count in counts), "slots are not even: %s" % counts
        followers = [node for node in self.cluster.nodes if not rows[node.id()]["is_primary"]]
        wanted = sum(1 if s.operation == "add replica" else -1 if s.operation == "remove replica" else 0
                     for s in self.steps[: self.steps.index(step) + 1])
        assert len(followers) == wanted, "%d replicas instead of %d" % (len(followers), wanted)
        for node in followers:
            wait_for("%s: %s in step" % (step, node.name),
                     lambda n=node: n.info("replication")["master_link_status"] == "up", PATIENCE)
        if step.operation.startswith("add"):
            assert b"kept" in self.subject.call("FUNCTION", "DUMP"), "function libraries did not come along"
        else:
            self.empty_by_hand(step)
            self.check_alone(self.subject)

    def empty_by_hand(self, step):
        """Killed between its reset and the emptying of its files, it reads them: refused, until a person does as it is told."""
        node = self.subject
        was_cut = (step.when, step.word) == ("after", "RESET") and step.actor in ("subject", "receiver")
        if not was_cut or not node.call("DBSIZE"):
            return
        assert len(node.view()) == 1, "it knows others: %s" % node.text("CLUSTER", "NODES")
        refused = self.fleet.run("add", node.address, "--yes", check=False, timeout=PATIENCE)
        assert refused.returncode != 0 and "FLUSHALL" in refused.stderr and "CLUSTER RESET HARD" in refused.stderr, refused
        assert node.call("DBSIZE") > 0, "its keys were deleted, which nobody has allowed"
        node.call("FLUSHALL")
        node.call("CLUSTER", "RESET", "HARD")
        self.say("refused: " + refused.stderr.strip().splitlines()[0])

    def check_alone(self, node):
        assert node.call("DBSIZE") == 0, "the removed node holds keys"
        assert len(node.view()) == 1, "the removed node knows others: %s" % node.text("CLUSTER", "NODES")

    def switch_on(self):
        for node, _, disk in self.removed:
            node.process.stop()
            if self.power == "old disk":
                shutil.rmtree(node.process.folder)
                shutil.copytree(disk, node.process.folder)
            node.restart()
        seen_until = time.monotonic() + (WATCHED if self.power == "old disk" else 0)
        ban_ends = max(self.traps.last_forget + AFTER_BAN, seen_until)
        wait_for("every ban to be over", lambda: time.monotonic() > ban_ends, PATIENCE, 0.5)
        problem = self.problem()
        assert problem is None, "after the ban: %s" % problem
        for node, _, _ in self.removed:
            if self.power == "empty":
                self.check_alone(node)
        self.say("removed nodes are on again (%s) and nobody knows them" % self.power)


class Death(Story):
    """A replica dies and is removed as dead by half: one member was told by hand. Then it comes back with its disk."""

    def __init__(self, name, server="redis-server"):
        super().__init__(name, [Step("add"), Step("add replica")], Pair, server)

    def play(self):
        self.set_up()
        for step in self.steps:
            self.take(step)
        ghost, ghost_id = self.subject, self.subject.id()
        ghost.kill()
        self.cluster.nodes.remove(ghost)
        wait_for("everybody to see it dead", lambda: all(
            "fail" in node.view()[ghost_id]["flags"] for node in self.cluster.nodes), PATIENCE, 0.3)
        self.first[0].call("CLUSTER", "FORGET", ghost_id)
        self.wait_doctor("node_missing")
        leader = self.fleet.leader(PATIENCE)
        heal = Step("repair", "before", "FORGET", "worker", 2)  # the first was ours
        self.traps.set("before", "FORGET", 1, lambda event: self.kill(heal, event, leader))
        self.fleet.run("repair", "--yes", "--detach")
        wait_for("the trap to spring", self.traps.has_sprung, PATIENCE, 0.02)
        self.revive()
        self.finish(heal, ["repair"])
        assert self.problem() is None, self.problem()
        self.say("forgotten by half, then by all")
        self.come_back(ghost)
        self.close()

    def doctor_codes(self):
        answer = self.fleet.run("doctor", "-o", "json", check=False)
        return [finding["code"] for finding in json.loads(answer.stdout)["findings"]]

    def wait_doctor(self, code):
        wait_for("the doctor to say " + code, lambda: code in self.doctor_codes(), PATIENCE, 0.3)

    def come_back(self, ghost):
        ghost.restart()
        # Found as an agent finds the servers of its host: here others run on it that are not ours.
        agent = self.fleet.agents[0]
        agent.stop()
        agent.argv += ["--node", ghost.address]
        agent.start()
        wait_for("it to follow the cluster again", lambda: len(ghost.view()) > 1 and
                 ghost.info("replication")["master_link_status"] == "up", PATIENCE, 0.3)
        self.wait_doctor("node_returned")
        assert self.problem() is None, self.problem()
        wait_for("operations not to wait because of it", lambda: self.fleet.json("status")["settled"], PATIENCE, 0.3)
        assert "node_returned" in self.doctor_codes()
        self.fleet.run("repair", "--yes", "--detach")
        wait_for("it to be alone and empty", lambda: len(ghost.view()) == 1 and ghost.call("DBSIZE") == 0, PATIENCE,
                 0.3)
        wait_for("the doctor to forget it", lambda: "node_returned" not in self.doctor_codes(), PATIENCE, 0.3)
        assert self.problem() is None, self.problem()
        self.say("came back with its disk, seen, and reset by repair")


class Creation(Story):
    """Six lone servers become three shards of two."""

    def set_up(self):
        self.folder = Folder()
        self.traps = Traps(self.folder.sub("traps"))
        self.cluster = TrappedCluster(self.folder, self.server, self.traps)
        self.first = [self.cluster.spawn() for _ in range(6)]
        self.fleet = self.mode(self.folder, self.cluster, self.etcd_url)
        wait_for("drover to see the servers", lambda: "no agent has reported" not in self.fleet.run(
            "create", "127.0.0.1:1", "--yes", check=False).stderr, PATIENCE, 0.5)

    def prepare(self, step):
        self.subject = self.first[1]
        return ["create", *[node.address for node in self.first], "--replicas", "1"]

    def check(self, step):
        self.cluster.check_at_rest(PATIENCE)
        wait_for("%s: every view to list the members only" % step, lambda: self.problem() is None, PATIENCE, 0.3)
        rows = self.first[0].view().values()
        owners = [node_id for node_id, row in self.first[0].view().items() if row["slots"]]
        assert sorted(len(row["slots"]) for row in rows if row["is_primary"]) == [5461, 5461, 5462]
        assert sorted(row["primary"] for row in rows if not row["is_primary"]) == sorted(owners)

    def close(self):
        pass


def default_stories():
    valkey = "valkey-server" if shutil.which("valkey-server") else "redis-server"
    return [
        Death("death"),
        Story("agent", [Step("add", "before", "MEET", "worker"), Step("remove", "after", "RESET", "worker")]),
        Story("leader", [Step("add", "after", "RESTORE", "leader"), Step("remove", "before", "FORGET", "leader")]),
        Story("everything", [Step("add", "before", "SETSLOT", "drover"),
                             Step("remove", "after", "FORGET", "drover", 2)], Alone, valkey),
        Story("subject", [Step("add", "after", "MEET", "subject"),
                          Step("remove", "before", "RESET", "subject")], Alone),
        Story("bystander", [Step("add", "after", "SETSLOT", "bystander", 9),
                            Step("remove", "before", "FORGET", "bystander")], Alone, power="old disk"),
        Story("replica", [Step("add"), Step("add replica", "after", "REPLICATE", "worker"),
                          Step("remove replica", "after", "FORGET", "worker", 2)], Pair, valkey),
        Creation("create", [Step("create", "before", "ADDSLOTS", "drover", 2)], Alone, valkey),
    ]


def all_stories():
    """Every actor at every step, before and after; servers, modes and disks take turns."""
    servers = ["redis-server"] + (["valkey-server"] if shutil.which("valkey-server") else [])
    actors = ["worker", "leader", "drover", "subject", "bystander", "receiver"]
    joins = [(when, word, actor) for word in ("MEET", "RESTORE", "SETSLOT", "MIGRATE") for when in ("before", "after")
             for actor in actors]
    leaves = [(when, word, actor, nth) for word, nth in
              (("SETSLOT", 1), ("MIGRATE", 1), ("RESET", 1), ("FORGET", 1), ("FORGET", 2), ("FORGET", 3))
              for when in ("before", "after") for actor in actors]
    stories = []
    for i, leave in enumerate(leaves):
        steps = [Step("add", *joins[i % len(joins)]), Step("remove", *leave)]
        stories.append(Story("all%d" % i, steps, (Pair, Alone)[i // 2 % 2], servers[i % len(servers)],
                             ("empty", "old disk")[i // 4 % 2]))
    for i, (when, actor) in enumerate((when, actor) for when in ("before", "after") for actor in actors):
        steps = [Step("add"), Step("add replica", when, "REPLICATE", actor),
                 Step("remove replica", when, "RESET", actor)]
        stories.append(Story("all-replica%d" % i, steps, (Pair, Alone)[i % 2], servers[i // 2 % len(servers)]))
    for i, (word, when, actor) in enumerate(
            (word, when, actor) for word in ("MEET", "EPOCH", "ADDSLOTS", "REPLICATE") for when in ("before", "after")
            for actor in ("worker", "leader", "drover", "receiver")):
        nth = 1 if word == "EPOCH" else 1 + i % 3  # Redis gives some of the others one by itself
        stories.append(Creation("all-create%d" % i, [Step("create", when, word, actor, nth)],
                                (Pair, Alone)[i % 2], servers[i // 2 % len(servers)]))
    return stories


def perform(stories, width):
    """Runs the stories, so many at once; returns those that failed."""
    if any(story.mode is Pair for story in stories):
        etcd = Etcd(Folder(), 1).start()
        for i, story in enumerate(stories):
            story.etcd_url = etcd.url("story%d" % i)
    waiting, running = list(stories), []
    while waiting or running:
        while waiting and len(running) < width:
            running.append(waiting.pop(0))
            running[-1].start()
        running[0].join(0.2)
        running = [story for story in running if story.is_alive()]
    failed = [story for story in stories if story.fault]
    print("    %d stories, %d failed: %s" % (len(stories), len(failed), [story.name for story in failed]))
    for story in failed:
        if hasattr(story, "fleet"):
            print("==== %s: %s" % (story.name, story.fault))
            story.fleet.dump_logs()
    return failed


@unittest.skipUnless(os.path.exists(LIBRARY), "the library that traps commands is not built")
class LifecycleKill(unittest.TestCase):
    def tearDown(self):
        end_all()

    def test_stories(self):
        failed = perform(default_stories(), 8)
        self.assertEqual({story.name: str(story.fault) for story in failed}, {})


def option(name, otherwise):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else otherwise


if __name__ == "__main__":
    named = option("--only", "")
    if "--all" in sys.argv or named:
        chosen = [s for s in default_stories() + all_stories() if not named or s.name in named.split(",")]
        part, parts = (int(number) for number in option("--part", "1/1").split("/"))
        try:
            sys.exit(1 if perform(chosen[part - 1::parts], int(option("--width", "8"))) else 0)
        finally:
            end_all()
    unittest.main(warnings="ignore")
