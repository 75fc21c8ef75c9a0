"""deploy/terraform/provision.sh, the ready-made program for --provision-exec, called as drover calls it.

Proves: it makes a server by the shipped module and says where; the same request gets the same server, also after kill -9 in the
middle; a certain server is taken back and the others stay; what is not its own is unknown to it; a request that is given up
leaves nothing; a server that cannot be made leaves nothing either. Real Terraform, real servers, no coordinator.
"""

import json
import os
import shutil
import signal
import subprocess
import unittest

from harness import Folder, Process, end_all, free_port, log, wait_for
from resp import Client

DEPLOY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy"))


@unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
class ProvisionTerraform(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.module = os.path.join(self.folder.path, "deploy", "terraform")
        shutil.copytree(os.path.join(DEPLOY, "terraform"), self.module,
                        ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", ".drover-*", "*.tfvars*"))
        shutil.copy(os.path.join(DEPLOY, "leave.py"), os.path.join(self.folder.path, "deploy"))
        self.ports = {"r%d" % i: free_port() for i in range(1, 7)}
        self.write("start.sh", """[ ! -e {0}/$DROVER_PORT.refuse ] || {{ echo 'the quota is used up' >&2; exit 1; }}
[ ! -e {0}/$DROVER_PORT.slow ] || {{ touch {0}/waits; while [ -e {0}/$DROVER_PORT.slow ]; do sleep 0.1; done; }}
redis-cli -p $DROVER_PORT ping > /dev/null 2>&1 || redis-server --port $DROVER_PORT --bind 127.0.0.1 --cluster-enabled yes \\
    --save '' --daemonize yes --pidfile {0}/$DROVER_PORT.pid --cluster-config-file $DROVER_PORT.conf --dir {0} --logfile log
""".format(self.folder.path))
        self.write("stop.sh", """kill $(cat {0}/$DROVER_PORT.pid)
while [ -e {0}/$DROVER_PORT.pid ]; do sleep 0.1; done
""".format(self.folder.path))
        with open(os.path.join(self.module, "cluster.auto.tfvars.json"), "w") as file:
            json.dump({"hosts": {name: {"address": "127.0.0.1", "port": port} for name, port in self.ports.items()},
                       "api": "http://127.0.0.1:1", "drover": "false", "membership": "drover",
                       "start_command": "sh %s/start.sh" % self.folder.path,
                       "stop_command": "sh %s/stop.sh" % self.folder.path}, file)
        self.write("terraformrc", "disable_checkpoint = true\n")
        with open(os.path.join(self.module, "provision.env"), "w") as file:
            file.write("CHECKPOINT_DISABLE=1\nTF_CLI_CONFIG_FILE=%s/terraformrc\n" % self.folder.path)
        self.program = os.path.join(self.module, "provision")
        os.symlink("provision.sh", self.program)
        self.env = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ") if key in os.environ}
        with open(os.path.join(self.module, "drover.auto.tfvars.json"), "w") as file:
            json.dump({"node_count": 3}, file)
        environment = dict(self.env, CHECKPOINT_DISABLE="1", TF_CLI_CONFIG_FILE=self.folder.path + "/terraformrc")
        for words in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
            subprocess.run(["terraform", *words], cwd=self.module, check=True, env=environment, stdout=subprocess.DEVNULL)

    def tearDown(self):
        for port in self.ports.values():
            try:
                with open(os.path.join(self.folder.path, "%d.pid" % port)) as file:
                    os.kill(int(file.read()), signal.SIGKILL)
            except (OSError, ValueError):
                pass
        end_all()

    def write(self, name, text):
        with open(os.path.join(self.folder.path, name), "w") as file:
            file.write(text)

    def touch(self, name, mark):
        self.write("%d.%s" % (self.ports[name], mark), "")

    def untouch(self, name, mark):
        os.unlink(os.path.join(self.folder.path, "%d.%s" % (self.ports[name], mark)))

    def call(self, action, request_id, **more):
        """The last answer."""
        request = dict({"version": 1, "action": action, "request_id": request_id, "cluster": "shop"}, **more)
        done = subprocess.run([self.program], input=json.dumps(request), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.env, timeout=300)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 1 if answers[-1]["state"] == "failed" else 0, done.stderr)
        return answers[-1]

    def address(self, name):
        return "127.0.0.1:%d" % self.ports[name]

    def up(self):
        found = set()
        for name, port in self.ports.items():
            try:
                with Client("127.0.0.1", port) as client:
                    client.call("PING")
                found.add(name)
            except OSError:
                pass
        return found

    def test_requests(self):
        first = {"r1", "r2", "r3"}
        self.assertEqual(self.up(), first)
        ready = {"state": "ready", "address": self.address("r4")}
        self.assertEqual(self.call("provision", "op-1-0"), ready)
        self.assertEqual(self.call("provision", "op-1-0"), ready)
        self.assertEqual(self.up(), first | {"r4"})

        # Cut off while the fifth is made; another request comes first, then the same again.
        self.touch("r5", "slow")
        cut = Process("provision", [self.program], self.module, env=self.env)
        cut.argv = ["sh", "-c", "echo '%s' | %s" % (json.dumps({"action": "provision", "request_id": "op-1-1"}), self.program)]
        cut.start()
        wait_for("the fifth to be made", lambda: os.path.exists(os.path.join(self.folder.path, "waits")))
        os.killpg(cut.pid, signal.SIGKILL)
        cut.child.wait()
        self.untouch("r5", "slow")
        self.assertEqual(self.call("provision", "op-1-2"), {"state": "ready", "address": self.address("r6")})
        self.assertEqual(self.call("provision", "op-1-1"), {"state": "ready", "address": self.address("r5")})
        self.assertEqual(self.up(), set(self.ports))
        log("the same request, the same server, also after kill -9")

        # The one in the middle goes, the others stay.
        self.assertEqual(self.call("release", "op-2-7", address="10.9.9.9:1"), {"state": "unknown"})
        self.assertEqual(self.call("release", "op-2-7", address=self.address("r4")), {"state": "done"})
        self.assertEqual(self.call("release", "op-2-7", address=self.address("r4")), {"state": "unknown"})
        self.assertEqual(self.up(), set(self.ports) - {"r4"})
        # Given up: by its id.
        self.assertEqual(self.call("release", "op-1-2"), {"state": "done"})
        self.assertEqual(self.call("release", "op-1-2"), {"state": "unknown"})
        self.assertEqual(self.up(), first | {"r5"})
        log("a certain server is taken back, the others stay")

        # All hosts that are not retired have a node: a retired one is used again. It cannot be made; nothing is left.
        self.touch("r4", "refuse")
        failed = self.call("provision", "op-3-0")
        self.assertEqual((failed["state"], failed["retry"]), ("failed", True))
        self.assertEqual(self.call("release", "op-3-0"), {"state": "done"})
        self.untouch("r4", "refuse")
        self.assertEqual(self.up(), first | {"r5"})
        self.assertEqual(self.call("provision", "op-3-1"), ready)
        self.assertEqual(self.up(), first | {"r4", "r5"})
        self.assertEqual(self.call("drain", "op-3-2", address=self.address("r4")), {"state": "unknown"})


if __name__ == "__main__":
    unittest.main(warnings="ignore")
