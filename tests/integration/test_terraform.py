"""The module of deploy/terraform: its own offline tests, and apply and destroy for real against local servers.

Proves: `terraform validate`, `fmt` and `test` pass offline; raising node_count starts and joins nodes, again changes nothing;
cut off with -9 in the middle and run again it reaches the same end; lowering it takes nodes out with their certificate and
stops them, with checked clients at work.
"""

import json
import os
import shutil
import signal
import subprocess
import unittest

from fleet import Standalone
from harness import (DROVER, Cluster, Folder, Load, Process, end_all, free_port, load_tool, log, wait_for)
from resp import Client

MODULE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "terraform"))
FILL = ["--keys", 60000, "--size", 100, "--mix", "all", "--seed", 9]


@unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
class Terraform(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.module = os.path.join(self.folder.path, "module")
        shutil.copytree(MODULE, self.module, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        with open(os.path.join(self.folder.path, "terraformrc"), "w") as file:
            file.write("disable_checkpoint = true\n")
        self.env = dict(os.environ, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1", TF_CLI_ARGS="-no-color",
                        TF_CLI_CONFIG_FILE=os.path.join(self.folder.path, "terraformrc"))
        self.terraform("init", "-input=false")

    def tearDown(self):
        self.end_servers()
        end_all()

    def end_servers(self):
        for name in ("r4", "r5"):
            try:
                with open(os.path.join(self.folder.path, name, "pid")) as file:
                    pid = int(file.read())
                with open("/proc/%d/cmdline" % pid, "rb") as file:
                    if b"redis-server" in file.read():
                        os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                pass

    def terraform(self, *args, succeeds=True):
        done = subprocess.run(["terraform", *args], cwd=self.module, env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400)
        self.assertEqual(done.returncode == 0, succeeds, done.stdout[-5000:])
        return done.stdout

    def test_offline(self):
        self.terraform("validate")
        self.terraform("fmt", "-check", "-recursive")
        text = self.terraform("test")
        self.assertIn("5 passed, 0 failed", text)

    def make_fleet(self):
        self.cluster = Cluster(self.folder).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet = Standalone(self.folder, self.cluster)
        self.fleet.wait_sees(3)
        hosts = {"r%d" % (i + 1): {"address": node.host, "port": node.port} for i, node in enumerate(self.cluster.nodes)}
        for name in ("r4", "r5"):
            hosts[name] = {"address": "127.0.0.1", "port": free_port()}
            self.folder.sub(name)
        self.ports = {name: host["port"] for name, host in hosts.items()}
        # The first three run already. What starts the others leaves them alone when they run.
        start = os.path.join(self.folder.path, "start.sh")
        with open(start, "w") as file:
            file.write("""#!/bin/sh
set -eu
for name in r4 r5; do
    port=$(cat %(folder)s/$name/port)
    [ "$port" = "$DROVER_PORT" ] || continue
    cd %(folder)s/$name
    [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null && exit 0
    exec redis-server --port "$port" --bind 127.0.0.1 --cluster-enabled yes --cluster-node-timeout 5000 --save '' \\
        --daemonize yes --pidfile %(folder)s/$name/pid --dir %(folder)s/$name --logfile log
done
""" % {"folder": self.folder.path})
        stop = os.path.join(self.folder.path, "stop.sh")
        with open(stop, "w") as file:
            file.write("""#!/bin/sh
set -eu
for name in r4 r5; do
    [ "$(cat %(folder)s/$name/port)" = "$DROVER_PORT" ] || continue
    [ -e %(folder)s/$name/pid ] || exit 0
    kill "$(cat %(folder)s/$name/pid)"
    while [ -e %(folder)s/$name/pid ]; do sleep 0.1; done
done
""" % {"folder": self.folder.path})
        for name in ("r4", "r5"):
            with open(os.path.join(self.folder.path, name, "port"), "w") as file:
                file.write(str(self.ports[name]))
        with open(os.path.join(self.module, "cluster.auto.tfvars.json"), "w") as file:
            json.dump({"hosts": hosts, "api": self.fleet.api, "drover": os.path.abspath(DROVER), "wait": "120s",
                       "start_command": "sh " + start, "stop_command": "sh " + stop}, file)

    def apply_args(self, count):
        # The file that drover writes.
        with open(os.path.join(self.module, "drover.auto.tfvars.json"), "w") as file:
            json.dump({"node_count": count}, file)
        return ["apply", "-auto-approve", "-input=false", "-parallelism=1"]

    def members(self):
        return len(self.cluster.nodes[0].view())

    def is_up(self, name):
        try:
            with Client("127.0.0.1", self.ports[name]) as client:
                return client.call("PING") == "PONG"
        except OSError:
            return False

    def test_count_up_cut_off_and_down(self):
        self.make_fleet()
        load = Load(self.folder, self.cluster, "--rate", "500", "--keys", "5000", "--size", "100", "--mix", "all").start()
        try:
            self.terraform(*self.apply_args(3))
            self.assertEqual(self.members(), 3)

            # Cut off while the fourth joins.
            cut = Process("terraform", ["terraform", *self.apply_args(5)], self.module, env=self.env).start()
            wait_for("the fourth to be met", lambda: self.members() >= 4, 120)
            os.killpg(cut.pid, signal.SIGKILL)
            cut.child.wait()
            self.terraform(*self.apply_args(5))
            self.assertEqual(self.members(), 5)
            self.cluster.check_at_rest()
            self.assertIn("No changes", self.terraform(*self.apply_args(5)))
            log("three to five, cut off once; again: no changes")

            self.terraform(*self.apply_args(3))
            self.assertEqual(self.members(), 3)
            self.assertFalse(self.is_up("r4") or self.is_up("r5"), "a node that left still runs")
            self.assertIn("No changes", self.terraform(*self.apply_args(3)))
            self.cluster.check_at_rest()
            log("back to three; again: no changes")
            code, _ = load.finish()
            self.assertEqual(code, 0, load.process.log_text()[-3000:])
            code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
            self.assertEqual(code, 0, text)
        except BaseException:
            self.fleet.dump_logs()
            raise


if __name__ == "__main__":
    unittest.main(warnings="ignore")
