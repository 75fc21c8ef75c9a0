"""What the tests of provisioners and of drain hooks share: an agent that can be killed alone, and what an operation says."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
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


def self_signed(folder, name):
    """The paths of a key and of its certificate, for a server on this machine."""
    key, cert = os.path.join(folder, name + ".key"), os.path.join(folder, name + ".pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return key, cert


class Mesh(http.server.BaseHTTPRequestHandler):
    """A drain hook behind HTTPS, of a proxy that takes its time: busy at first, then it drains until it is told that it has."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        server = self.server
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != "Bearer " + server.token:
            return self.answer(401, {"state": "failed", "message": "who are you?"})
        if not server.calls:
            server.calls.append({"action": "busy"})
            return self.answer(503, {})
        server.calls.append(request)
        if request["action"] == "drain":
            return self.answer(202, {"state": "running", "message": "tells the mesh"})
        is_waiting = request["action"] == "status" and not server.has_drained
        return self.answer(200, {"state": "running", "message": "2 streams are left"} if is_waiting else {"state": "done"})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *unused):
        pass


class MeshServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, token):
        super().__init__(("127.0.0.1", 0), Mesh)
        self.token, self.calls, self.has_drained = token, [], False
        key, self.cert = self_signed(folder, "mesh")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = "https://127.0.0.1:%d/drain" % self.server_address[1]

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()

    def asked(self):
        """The actions so far, without the questions in between."""
        return [call["action"] for call in self.calls if call["action"] != "status"]


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
