"""Provisioners outside drover, a program and a webhook, both of them real (docs/outside.md).

Proves: `drover scale` gets a server from a program and from an HTTPS webhook, and gives it back with its certificate; agent and
coordinator killed with -9 in the middle, it is asked for again under the same id and there is one server only; a program that hangs is ended with
all it started and what it asked for is given back; cancelled while its agent is dead, what was made goes back once the agent lives
again; one that fails is quoted; a webhook with a wrong certificate is refused.
"""

import http.server
import json
import os
import shutil
import ssl
import threading

from harness import SLOTS, Cluster, free_port, log, wait_for
from outside import CONF, OneAgent, Outside, main_beside, self_signed
from provisioner import Provisioner

HERE = os.path.dirname(os.path.abspath(__file__))


class Provisioned(Outside):
    """Three primaries; a fourth is made by others."""

    SERVER = "redis-server"

    def make(self, *options, extra=()):
        self.cluster = Cluster(self.folder, self.SERVER, conf=CONF).create(3)
        self.provisioner = Provisioner(self.folder.sub("provisioner"), self.SERVER)
        with open(self.provisioner.path("ports"), "w") as file:
            file.write("%d %d" % (free_port(), free_port()))
        self.program = os.path.join(self.folder.path, "make-server")
        with open(self.program, "w") as file:
            file.write("#!/usr/bin/env python3\nimport sys\nsys.path.insert(0, %r)\nimport provisioner\nprovisioner.main(%r)\n"
                       % (HERE, self.provisioner.folder))
        os.chmod(self.program, 0o755)
        self.fleet = OneAgent(self.folder, self.cluster, [option.format(program=self.program) for option in options], extra)
        wait_for("a provisioner that is offered", lambda: "have a server made" in self.fleet.run(
            "plan", "scale", "--primaries", "4", check=False).stdout, 60, 0.5)

    def tearDown(self):
        if hasattr(self, "provisioner"):
            self.provisioner.end_servers()
        super().tearDown()

    def check_out(self):
        self.assertEqual(self.slot_counts(), [SLOTS // 4] * 4)
        self.assertEqual(len(self.provisioner.servers()), 1, self.provisioner.calls())
        self.assertEqual(len({call["request_id"] for call in self.provisioner.calls("provision")}), 1)

    def scale_in(self):
        """Removes the server that was made; it is given back, by its address, and ends."""
        address, = self.provisioner.servers().values()
        node_id = next(i for i, row in self.cluster.nodes[0].view().items() if row["address"] == address)
        self.fleet.run("remove", address, "--yes", timeout=400)
        self.assertEqual(self.provisioner.servers(), {})
        release = self.provisioner.calls("release")[-1]
        self.assertEqual((release["address"], release["node_id"]), (address, node_id))
        self.assertEqual([len(node.view()) for node in self.cluster.nodes], [3] * 3)
        self.cluster.check_at_rest()

    def end_of(self, operation_id):
        return wait_for("the operation to end", lambda: next(
            (o for o in [self.fleet.operation(operation_id)] if o["state"] in ("done", "failed", "held", "cancelled")), None),
            200, 0.3)


class Exec(Provisioned):
    def test_out_killed_and_in(self):
        self.guarded(self.out_killed_and_in)

    def out_killed_and_in(self):
        self.make("--provision-exec", "{program}")
        self.provisioner.set_mode("slow")
        operation = self.fleet.start("scale", "--primaries", "4")
        self.wait_said(operation, "50 % boots")
        agent, coordinator = self.fleet.agents[0], self.fleet.coordinators[0].process
        for turn, (part, end) in enumerate(((agent, agent.stop), (agent, agent.kill), (coordinator, coordinator.kill))):
            end()
            part.start()
            self.fleet.leader()
            wait_for("the agent to ask again", lambda n=turn + 2: len(self.provisioner.calls("provision")) >= n, 120)
            self.wait_said(operation, "50 % boots")
        self.provisioner.set_mode("")
        self.fleet.wait_operation(operation)
        self.check_out()
        self.assertEqual(self.provisioner.calls("release"), [], "an agent that ended gave back what was still wanted")
        call = self.provisioner.calls("provision")[0]
        self.assertEqual((call["version"], call["role"], call["zone"]), (1, "primary", "z1"), call)
        self.assertLessEqual(set(call["environment"]), {"PATH", "HOME", "LANG", "TZ", "LC_CTYPE", "PWD", "SHLVL", "_"})
        log("one server, asked for %d times under one id" % len(self.provisioner.calls("provision")))
        self.scale_in()

    def test_cancelled_while_away(self):
        self.guarded(self.cancelled_while_away)

    def cancelled_while_away(self):
        self.make("--provision-exec", "{program}")
        self.provisioner.set_mode("slow")
        operation = self.fleet.start("scale", "--primaries", "4")
        self.wait_said(operation, "50 % boots")
        request, = self.provisioner.servers()
        agent = self.fleet.agents[0]
        agent.kill()
        self.fleet.run("op", "cancel", operation, check=False)
        self.assertEqual(list(self.provisioner.servers()), [request])
        self.provisioner.set_mode("")
        agent.start()
        ended = self.end_of(operation)
        self.assertEqual((ended["state"], self.provisioner.servers()), ("cancelled", {}), ended)
        self.assertEqual({call["request_id"] for call in self.provisioner.calls("provision")}, {request})
        log("%s was asked for again after its agent was lost, and given back" % request)

    def test_hangs_and_fails(self):
        self.guarded(self.hangs_and_fails)

    def hangs_and_fails(self):
        self.make("--provision-exec", "{program}", "--provision-timeout", "4s")
        self.provisioner.set_mode("hang")
        ended = self.end_of(self.fleet.start("scale", "--primaries", "4"))
        self.assertIn("make-server is not ready after 4 s: waits for a machine", json.dumps(ended))
        self.assertEqual(ended["state"], "failed", ended)
        asked = self.provisioner.calls("provision")
        given_back = self.provisioner.calls("release")
        self.assertEqual({call["request_id"] for call in asked}, {call["request_id"] for call in given_back})
        self.assertNotIn("address", given_back[0])
        for call in asked:  # the program and the child it started, all in its process group
            self.assertEqual(self.group(call["pid"]), [], "something of a program that hung still runs")
        log("hung %d times, ended with its children, given back" % len(asked))

        self.provisioner.set_mode("fail")
        ended = self.end_of(self.fleet.start("scale", "--primaries", "4"))
        self.assertIn("make-server: ended with exit code 7: the quota is used up", json.dumps(ended))
        self.assertEqual((self.provisioner.servers(), self.slot_counts()), ({}, [5461, 5461, 5462]))

    @staticmethod
    def group(pgid):
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open("/proc/%s/stat" % name) as file:
                        fields = file.read().rpartition(")")[2].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields[2]) == pgid and fields[0] != "Z":
                    found.append(int(name))
        return found


class Hook(http.server.BaseHTTPRequestHandler):
    """The provisioner behind HTTPS: refuses whoever lacks the token, is busy at first, then works in the background."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer " + server.token:
            return self.answer(401, {"state": "failed", "message": "who are you?"})
        request = json.loads(body)
        server.provisioner.note(request)
        if request["action"] != "status":
            server.refusals += 1
            if server.refusals <= 2:
                return self.answer(503, None)
            server.results[request["request_id"]] = getattr(server.provisioner, request["action"])(request)
            return self.answer(202, {"state": "running", "message": "has begun"})
        return self.answer(200, server.results.get(request["request_id"], {"state": "unknown"}))

    def answer(self, status, value):
        data = b"busy" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *unused):
        pass


class HookServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Whoever does not trust the certificate hangs up; that is wanted."""


class Webhook(Provisioned):
    # What makes the server is another program; the one story shows it for both.
    SERVER = "valkey-server" if shutil.which("valkey-server") else "redis-server"
    TOKEN = "a-secret-that-no-log-shows"

    def serve(self):
        folder = self.folder.sub("tls")
        key, self.cert = self_signed(folder, "server")
        _, self.other_cert = self_signed(folder, "other")
        self.server = HookServer(("127.0.0.1", 0), Hook)
        self.server.refusals, self.server.results, self.server.token = 0, {}, self.TOKEN
        self.server.provisioner = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        return "https://127.0.0.1:%d/servers" % self.server.server_address[1]

    def secret(self, name, text):
        path = os.path.join(self.folder.path, name)
        with open(path, "w") as file:
            file.write(text + "\n")
        os.chmod(path, 0o600)
        return path

    def test_out_and_in(self):
        self.guarded(self.out_and_in)

    def out_and_in(self):
        # Orders to give a server back are signed, and the agent looks.
        signed = ["--removal-key-file", self.secret("removal-key", "of agents and coordinators")]
        common = ["--provision-webhook", self.serve(), "--webhook-token-file", self.secret("token", self.TOKEN)]
        self.make(*common, *signed, "--webhook-ca", self.other_cert, extra=signed)
        self.server.provisioner = self.provisioner
        ended = self.end_of(self.fleet.start("scale", "--primaries", "4"))
        self.assertIn("certificate", json.dumps(ended))
        self.assertEqual(self.provisioner.calls(), [], "a server with a wrong certificate was told something")
        log("wrong certificate: " + ended.get("reason", ""))

        agent = self.fleet.agents[0]
        agent.stop()
        agent.argv[agent.argv.index(self.other_cert)] = self.cert
        agent.start()
        self.fleet.wait_sees(3)
        self.fleet.run("scale", "--primaries", "4", "--yes", timeout=400)
        self.check_out()
        self.assertEqual(len(self.provisioner.calls("provision")), 3)  # twice it was busy
        self.assertEqual({call["of"] for call in self.provisioner.calls("status")}, {"provision"})
        log("got its server after two times 503")
        self.scale_in()
        self.assertNotIn(self.TOKEN, agent.log_text())


if __name__ == "__main__":
    main_beside("Exec.test_out_killed_and_in", "Exec.test_hangs_and_fails", "Exec.test_cancelled_while_away", "Webhook")
