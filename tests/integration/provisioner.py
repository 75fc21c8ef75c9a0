"""A provisioner that makes real servers on this machine: what the tests of docs/outside.md call as a program and as a webhook.

Idempotent by request id, also when two calls for the same id run side by side. Everything it did is in calls.jsonl of its
folder; the file 'mode' makes it misbehave.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time


class Provisioner:
    def __init__(self, folder, server="redis-server"):
        self.folder, self.server = folder, server
        os.makedirs(folder, exist_ok=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    @contextlib.contextmanager
    def lock(self):
        with open(self.path("lock"), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # ---- what the test looks at and sets ----

    def set_mode(self, mode):
        with open(self.path("mode.new"), "w") as file:
            file.write(mode)
        os.rename(self.path("mode.new"), self.path("mode"))

    def mode(self):
        try:
            with open(self.path("mode")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def calls(self, action=None):
        try:
            with open(self.path("calls.jsonl")) as file:
                calls = [json.loads(line) for line in file]
        except FileNotFoundError:
            return []
        return [call for call in calls if action in (None, call["action"])]

    def servers(self):
        """{request id: address} of the servers that run."""
        found = {}
        for name in os.listdir(self.folder):
            if name.startswith("server-"):
                with contextlib.suppress(FileNotFoundError, ValueError):
                    with open(self.path(name, "made.json")) as file:
                        made = json.load(file)
                    if self.is_server(made["pid"], made["address"]):
                        found[name[len("server-"):]] = made["address"]
        return found

    @staticmethod
    def is_server(pid, address):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                title = file.read()
            return b"-server" in title and address.rpartition(":")[2].encode() in title
        except FileNotFoundError:
            return False

    def end_servers(self):
        for request_id in self.servers():
            self.end(request_id)

    # ---- the contract ----

    def note(self, request):
        with self.lock(), open(self.path("calls.jsonl"), "a") as file:
            file.write(json.dumps(request) + "\n")

    def provision(self, request):
        request_id = request["request_id"]
        with self.lock():
            address = self.servers().get(request_id)
            if address is None:
                address = self.start(request_id, request)
            return {"state": "ready", "address": address}

    def start(self, request_id, request):
        folder = self.path("server-" + request_id)
        os.makedirs(folder, exist_ok=True)
        with open(self.path("ports")) as file:
            ports = [int(port) for port in file.read().split()]
        used = {int(address.rpartition(":")[2]) for address in self.servers().values()}
        port = next(port for port in ports if port not in used)
        argv = [self.server, "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-node-timeout",
                "5000", "--save", "", "--dir", folder, "--logfile", "log", "--maxmemory", str(request.get("maxmemory", 0))]
        with open(os.devnull, "r+") as null:
            child = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)
        address = "127.0.0.1:%d" % port
        with open(os.path.join(folder, "made.new"), "w") as file:
            json.dump({"pid": child.pid, "address": address}, file)
        os.rename(os.path.join(folder, "made.new"), os.path.join(folder, "made.json"))
        return address

    def release(self, request):
        """By its address, else by the id it was asked for."""
        with self.lock():
            for request_id, address in self.servers().items():
                wanted = request["address"] == address if "address" in request else request["request_id"] == request_id
                if wanted:
                    self.end(request_id)
                    return {"state": "done"}
        return {"state": "unknown"}

    def end(self, request_id):
        with open(self.path("server-" + request_id, "made.json")) as file:
            made = json.load(file)
        os.kill(made["pid"], signal.SIGTERM)
        while self.is_server(made["pid"], made["address"]):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(made["pid"], os.WNOHANG)
            time.sleep(0.05)
        os.rename(self.path("server-" + request_id), self.path("gone-%s-%d" % (request_id, time.time_ns())))


def say(answer):
    print(json.dumps(answer), flush=True)


def main(folder):
    provisioner = Provisioner(folder)
    request = json.load(sys.stdin)
    provisioner.note(dict(request, environment=sorted(os.environ), pid=os.getpid()))
    mode = provisioner.mode()
    if request["action"] == "release":
        say(provisioner.release(request))
        return
    print("some talk that is no JSON")
    if mode == "fail":
        say({"state": "running", "message": "asks for a machine"})
        print("the quota is used up", file=sys.stderr)
        sys.exit(7)
    if mode == "hang":
        subprocess.Popen(["sleep", "1000"])
        say({"state": "running", "message": "waits for a machine"})
        time.sleep(1000)
    answer = provisioner.provision(request)
    if mode == "slow":  # until it is told to go on
        while provisioner.mode() == "slow":
            say({"state": "running", "message": "boots", "percent": 50})
            time.sleep(0.2)
    say(answer)
