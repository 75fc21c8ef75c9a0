"""What the tests of provisioners and of drain hooks share: an agent that can be killed alone, and what an operation says."""

import json
import os
import sys
import unittest

from fleet import Coordinator, Fleet
from harness import AGENT, Folder, Process, end_all, free_port, wait_for

CONF = {"maxmemory": "128mb"}


class OneAgent(Fleet):
    """A coordinator and one agent as processes of their own, so that the agent can be killed alone."""

    def __init__(self, folder, cluster, agent_extra, extra=()):
        bus = "tcp://127.0.0.1:%d" % free_port()
        self.coordinators = [Coordinator(folder, "coordinator", bus, "sqlite://%s/drover.db" % folder.sub("store"),
                                         extra).start()]
        self.leader()
        nodes = [arg for node in cluster.live() for arg in ("--node", node.address)]
        path = folder.sub("agent")
        # What other tests run on this machine is none of its business.
        self.agents = [Process("agent", [AGENT, "--id", "agent", "--state-dir", path, "--coordinator", bus, "--zone", "z1",
                                         "--no-discover", *nodes, *agent_extra], path).start()]
        self.wait_sees(len(cluster.live()))


class Outside(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.fleet = None

    def tearDown(self):
        end_all()

    def guarded(self, steps):
        try:
            steps()
        except BaseException:
            if self.fleet is not None:
                self.fleet.dump_logs()
            raise

    def reasons(self, operation_id):
        """All that the operation says about itself and its batches."""
        return json.dumps(self.fleet.operation(operation_id))

    def wait_said(self, operation_id, words, timeout=60):
        wait_for("the operation to say %r" % words, lambda: words in self.reasons(operation_id), timeout, 0.2)

    def slot_counts(self):
        return sorted(len(row["slots"]) for row in self.cluster.nodes[0].view().values() if row["is_primary"])


def main_beside(*names):
    """Runs these tests of the calling file beside each other, each in a process of its own: they mostly wait. With words on the
    command line, as unittest.main()."""
    if any(not word.startswith("-") for word in sys.argv[1:]):
        unittest.main(warnings="ignore")
    folder = Folder()
    script = os.path.abspath(sys.argv[0])
    parts = [Process(name, [sys.executable, script, "-v", name], folder.path).start() for name in names]
    try:
        codes = [part.child.wait() for part in parts]
    finally:
        for part in parts:
            part.stop()  # told, not killed: they end what they started
            print(part.log_text(), flush=True)
        end_all()
    sys.exit(max(abs(code) for code in codes))
