"""The module of deploy/terraform: its own offline tests, and apply and destroy for real against local servers.

Proves: `terraform validate`, `fmt` and `test` pass offline, and cloud-init takes the rendered bootstrap; raising node_count
starts and joins nodes, again changes nothing; cut off with -9 in the middle and run again it reaches the same end; lowering it
takes nodes out with a signed certificate and stops them, cut off or not, with checked clients at work; without a certificate
that holds, the server runs on.
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

DEPLOY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy"))
LEAVE = os.path.join(DEPLOY, "leave.py")
TIMEOUT = 10  # exit code
FILL = ["--keys", 60000, "--size", 100, "--mix", "all", "--seed", 9]


@unittest.skipUnless(shutil.which("terraform"), "terraform is not installed")
class Terraform(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.module = os.path.join(self.folder.path, "deploy", "terraform")
        shutil.copytree(os.path.join(DEPLOY, "terraform"), self.module,
                        ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", ".drover-*", "*.tfvars*"))
        shutil.copy(LEAVE, os.path.join(self.folder.path, "deploy"))
        with open(os.path.join(self.folder.path, "terraformrc"), "w") as file:
            file.write("disable_checkpoint = true\n")
        self.env = dict(os.environ, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1", TF_CLI_ARGS="-no-color",
                        TF_CLI_CONFIG_FILE=os.path.join(self.folder.path, "terraformrc"))

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

    def terraform(self, *args, succeeds=True, module=None):
        done = subprocess.run(["terraform", *args], cwd=module or self.module, env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400)
        self.assertEqual(done.returncode == 0, succeeds, done.stdout[-5000:])
        return done.stdout

    def test_offline(self):
        bootstrap = os.path.join(self.module, "bootstrap")
        self.terraform("fmt", "-check", "-recursive")
        for module, runs in ((self.module, 8), (bootstrap, 5)):
            self.terraform("init", "-input=false", module=module)
            self.terraform("validate", module=module)
            self.assertIn("%d passed, 0 failed" % runs, self.terraform("test", module=module))
        self.check_cloud_init(bootstrap)

    def check_cloud_init(self, bootstrap):
        """The text that a host boots with is what cloud-init knows."""
        with open(os.path.join(bootstrap, "test.auto.tfvars.json"), "w") as file:
            json.dump({"hosts": {"r1": {"zone": "it's \"a\""}}, "cluster": "shop", "coordinators": ["tcp://10.0.0.2:7400"],
                       "maxmemory": "1gb", "server_settings": {"maxmemory-policy": "allkeys-lru"},
                       "install": ["dpkg -i /root/drover.deb"], "certificate_public_key": "a\nb\n"}, file)
        self.terraform("apply", "-auto-approve", "-input=false", module=bootstrap)
        data = json.loads(self.terraform("output", "-json", "user_data", module=bootstrap))["r1"]
        path = os.path.join(self.folder.path, "user-data")
        with open(path, "w") as file:
            file.write(data)
        if shutil.which("cloud-init") is None:
            log("cloud-init is not installed: its own check of the text is left out")
            return
        done = subprocess.run(["cloud-init", "schema", "--config-file", path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + data)

    def make_fleet(self):
        for name in ("signing", "other"):
            private = os.path.join(self.folder.path, name + ".pem")
            subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True,
                           stderr=subprocess.DEVNULL)
            subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", private[:-3] + "pub"], check=True)
        self.cluster = Cluster(self.folder).create(3)
        code, text = load_tool("fill", *self.cluster.seed_args(), *FILL)
        self.assertEqual(code, 0, text)
        self.fleet = Standalone(self.folder, self.cluster, [
            "--cluster", "shop", "--certificate-key-file", os.path.join(self.folder.path, "signing.pem")])
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
            json.dump({"hosts": hosts, "api": self.fleet.api, "drover": os.path.abspath(DROVER), "wait_s": 240,
                       "cluster": "shop", "certificate_public_key": os.path.join(self.folder.path, "signing.pub"),
                       "start_command": "sh " + start, "stop_command": "sh " + stop}, file)

    def apply_args(self, count, **variables):
        with open(os.path.join(self.module, "drover.auto.tfvars.json"), "w") as file:
            json.dump(dict({"node_count": count}, **variables), file)
        return ["apply", "-auto-approve", "-input=false", "-parallelism=1"]

    def members(self):
        return len(self.cluster.nodes[0].view())

    def is_up(self, name):
        try:
            with Client("127.0.0.1", self.ports[name]) as client:
                return client.call("PING") == "PONG"
        except OSError:
            return False

    def leave(self, node, *args, **facts):
        """The program that Terraform and Ansible ask, by itself; returns (exit code, text)."""
        options = dict({"drover": os.path.abspath(DROVER), "api": self.fleet.api, "limit": 120, "cluster": "shop",
                        "public_key": os.path.join(self.folder.path, "signing.pub")}, **facts)
        done = subprocess.run([LEAVE, node, *args, *["--%s=%s" % (key.replace("_", "-"), value)
                                                     for key, value in options.items()]],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        return done.returncode, done.stdout

    def cut_off(self, what, state, count, **variables):
        """Terraform is killed with -9, and all that it runs, when the state is reached."""
        cut = Process("terraform", ["terraform", *self.apply_args(count, **variables)], self.module, env=self.env).start()
        wait_for(what, state, 240)
        os.killpg(cut.pid, signal.SIGKILL)
        cut.child.wait()

    def count_up(self):
        self.terraform(*self.apply_args(3))
        self.assertEqual(self.members(), 3)
        self.cut_off("the fourth to be met", lambda: self.members() >= 4, 5)
        self.terraform(*self.apply_args(5))
        self.assertEqual(self.members(), 5)
        self.cluster.check_at_rest()
        self.assertIn("No changes", self.terraform(*self.apply_args(5)))
        log("three to five, cut off once; again: no changes")

    def count_down(self):
        r4, r5 = ("127.0.0.1:%d" % self.ports[name] for name in ("r4", "r5"))
        code, text = self.leave(r4, "--certificate-only", limit=2)
        self.assertEqual(code, TIMEOUT, text)
        self.assertIn("slots", text)
        # A key that nobody signs with: the nodes leave the cluster, and their servers are not stopped.
        other = {"certificate_public_key": os.path.join(self.folder.path, "other.pub")}
        self.terraform(*self.apply_args(5, **other))
        self.cut_off("the first to leave", lambda: self.members() <= 4, 3, **other)
        text = self.terraform(*self.apply_args(3, **other), succeeds=False)
        self.assertIn("not signed with the key", text)
        self.assertEqual(self.members(), 3)
        self.assertTrue(self.is_up("r4") and self.is_up("r5"), "stopped without a certificate that holds")
        # Who has left is remembered by id, for a coordinator that was started since.
        self.fleet.coordinators[0].process.kill()
        self.fleet.coordinators[0].start()
        self.fleet.leader()
        self.terraform(*self.apply_args(5))
        self.assertTrue(self.is_up("r4") and self.is_up("r5"))
        self.terraform(*self.apply_args(3))
        self.assertEqual(self.members(), 3)
        self.assertFalse(self.is_up("r4") or self.is_up("r5"), "a node that left still runs")
        self.assertIn("No changes", self.terraform(*self.apply_args(3)))
        self.cluster.check_at_rest()
        log("back to three, cut off once, stopped only by the right key; again: no changes")

    def test_count_up_cut_off_and_down(self):
        self.make_fleet()
        self.terraform("init", "-input=false")
        load = Load(self.folder, self.cluster, "--rate", "200", "--keys", "1000", "--size", "100", "--mix", "all").start()
        try:
            self.count_up()
            self.count_down()
            code, _ = load.finish()
            self.assertEqual(code, 0, load.process.log_text()[-3000:])
            code, text = load_tool("verify", *self.cluster.seed_args(), *FILL)
            self.assertEqual(code, 0, text)
        except BaseException:
            self.fleet.dump_logs()
            raise


if __name__ == "__main__":
    unittest.main(warnings="ignore")
