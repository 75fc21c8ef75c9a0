"""drover's daemons around a cluster, standalone or distributed, with the same face for the scenarios."""

import json
import urllib.request

from harness import (AGENT, COORDINATOR, Etcd, Process, drover, drover_json, free_port, wait_for)

LEASE_TTL_S = 10


def get_json(url, timeout=5.0):
    with urllib.request.urlopen(url, timeout=timeout) as reply:
        return json.load(reply)


class Coordinator:
    def __init__(self, folder, name, bus, store, extra=(), api_host="127.0.0.1"):
        self.name = name
        self.api = "http://%s:%d" % (api_host, free_port())
        self.bus = bus
        path = folder.sub(name)
        self.process = Process(name, [COORDINATOR, "--bus", bus, "--store", store, "--api", self.api[7:],
                                      "--name", name, *extra], path)

    def start(self):
        self.process.start()
        return self

    def is_leading(self):
        try:
            return get_json(self.api + "/v1/status")["leading"]
        except OSError:
            return False


class Fleet:
    """What the scenarios share: wait until drover sees the cluster, start work, follow it."""

    coordinators = ()
    agents = ()

    @property
    def api(self):
        return ",".join(c.api for c in self.coordinators)

    def leader(self, timeout=60):
        return wait_for("a leading coordinator", lambda: next(
            (c for c in self.coordinators if c.process.is_running() and c.is_leading()), None), timeout)

    def wait_sees(self, node_count, timeout=60):
        """drover has fresh reports of this many reachable nodes and calls the cluster settled."""

        def seen():
            status = drover_json("status", api=self.api)
            return status["nodes_reachable"] == node_count and status["settled"]

        wait_for("drover to see %d nodes" % node_count, seen, timeout, 0.3)

    def run(self, *args, **options):
        return drover(*args, api=self.api, **options)

    def json(self, *args, **options):
        return drover_json(*args, api=self.api, **options)

    def operation(self, operation_id):
        return self.json("op", "show", operation_id)

    def wait_operation(self, operation_id, state="done", timeout=300):
        def there():
            operation = self.operation(operation_id)
            if operation["state"] != state and operation["state"] in ("done", "failed", "cancelled", "held"):
                raise AssertionError("operation ended %s: %s" % (operation["state"], operation.get("reason")))
            return operation if operation["state"] == state else None

        return wait_for("operation %s to be %s" % (operation_id, state), there, timeout, 0.2)

    def start(self, *args):
        """Starts an operation without following it; returns its id."""
        return self.json(*args, "--yes", "--detach")["operation"]["id"]

    def dump_logs(self):
        for part in [*self.coordinators, *self.agents]:
            process = getattr(part, "process", part)
            print("---- %s\n%s" % (process.name, process.log_text()[-6000:]))


class Standalone(Fleet):
    def __init__(self, folder, cluster, extra=()):
        nodes = [arg for node in cluster.live() for arg in ("--node", node.address)]
        store = "sqlite://%s/drover.db" % folder.sub("store")
        self.coordinators = [Coordinator(folder, "standalone", "inproc://drover", store, [*nodes, *extra]).start()]
        self.leader()


class Distributed(Fleet):
    """Three etcd members (or as many as said), two coordinators, one agent a host."""

    def __init__(self, folder, cluster, hosts=None, extra=(), agent_extra=(), members=3):
        self.folder, self.cluster, self.hosts = folder, cluster, hosts
        self.agent_extra = agent_extra
        self.etcd = Etcd(folder, members).start()
        listen = hosts.gateway if hosts else "127.0.0.1"
        self.coordinators = [
            Coordinator(folder, "coordinator%d" % i, "tcp://%s:%d" % (listen, free_port()), self.etcd.url(),
                        ["--lease-ttl", "%ds" % LEASE_TTL_S, *extra]).start() for i in range(2)]
        self.agents = []
        for i in range(len(hosts.names) if hosts else 1):
            self.add_agent(i)
        self.leader()

    def add_agent(self, index):
        host = self.hosts.address(index) if self.hosts else "127.0.0.1"
        nodes = [arg for node in self.cluster.live() if node.host == host for arg in ("--node", node.address)]
        urls = [arg for c in self.coordinators for arg in ("--coordinator", c.bus)]
        name = "agent%d" % index
        path = self.folder.sub(name)
        process = Process(name, [AGENT, "--id", name, "--state-dir", path, *urls, *nodes, *self.agent_extra], path,
                          self.hosts.names[index] if self.hosts else None)
        self.agents.append(process.start())
        return process
