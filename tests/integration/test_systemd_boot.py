"""The units of deploy/systemd and the systemd tasks of deploy/ansible, under a real systemd on a host of its own.

Proves: site.yml over ssh sets a host up with coordinator, agent and node as units, in their sandboxes; a second run changes
nothing; new settings and a new unit file restart the daemon that they are for, and nobody else. drover starts a server by
its unit; it outlives restart and kill of the agent, comes back when it is killed and after a reboot, and not when it ended in
order. A node that leaves is stopped by its unit and stays away, also after a reboot. The user of drover may do no more.
"""

import json
import os
import re
import shutil
import subprocess
import time
import types
import unittest

from fleet import Fleet
from harness import Cluster, Folder, Hosts, ansible_config, end_all, log, wait_for
from resp import Client
from systemd_host import SystemdHost, why_not

DEPLOY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy"))
INSTANCES = "/var/lib/drover/instances"
DAEMONS = ("drover-coordinator", "drover-agent")
MADE_PORT = 7000  # the first that the agent offers
ROLE_PORT = 6379
SSHD_CONF = """Port 22
HostKey /etc/drover-test/host_key
AuthorizedKeysFile /etc/drover-test/user
StrictModes no
PermitRootLogin yes
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
"""
SSHD_UNIT = """[Unit]
Description=the test comes in here
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/drover-test/sshd.conf
"""


def missing(folder):
    for program, package in (("ansible-playbook", "ansible-core"), ("/usr/sbin/sshd", "openssh-server"),
                             ("ssh", "openssh-client"), ("openssl", "openssl")):
        if shutil.which(program) is None:
            return "%s is not installed (deploy/install-deps.sh test does it)" % package
    return why_not(folder)


def read(path):
    with open(path) as file:
        return file.read()


class Boot(unittest.TestCase):
    """Three plain nodes on hosts of their own are the cluster; host 0 runs systemd, and all of drover."""

    def setUp(self):
        self.folder = Folder()
        reason = missing(self.folder)
        if reason:
            end_all()
            print("    skipped: " + reason)
            self.skipTest(reason)
        self.make_keys()
        self.hosts = Hosts(4)
        self.box = SystemdHost(self.folder, self.hosts, 0, units={"drover-test-ssh.service": SSHD_UNIT}, files={
            "drover-test/sshd.conf": SSHD_CONF, "drover-test/host_key": read(self.key("host")),
            "drover-test/user": read(self.key("user.pub"))})
        others = types.SimpleNamespace(names=self.hosts.names[1:], address=lambda i: self.hosts.address(i + 1))
        self.cluster = Cluster(self.folder, hosts=others).create(3)
        self.fleet = Fleet()
        self.fleet.coordinators = [types.SimpleNamespace(api="http://%s:7411" % self.box.address)]
        self.settings = {"nodes": [node.address for node in self.cluster.nodes]}
        self.variables = {}

    def tearDown(self):
        end_all()

    def key(self, name):
        return os.path.join(self.folder.sub("keys"), name)

    def make_keys(self):
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key(name)], check=True)
        private = self.key("certificate.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", self.key("certificate.pub")], check=True)

    def inventory(self):
        here = {"hosts": {"box": {}}}
        path = os.path.join(self.folder.path, "inventory.json")
        with open(path, "w") as file:
            json.dump({"all": {"vars": {
                "ansible_user": "root", "ansible_host": self.box.address, "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_private_key_file": self.key("user"), "ansible_ssh_common_args":
                    "-o GSSAPIAuthentication=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
                "drover_cluster": "shop", "drover_maxmemory": "64mb", "drover_node_timeout_ms": 5000, "drover_wait_s": 600,
                "drover_certificate_key": self.key("certificate.pem"), "drover_instance_memory": "1gb",
                "drover_certificate_public_key": self.key("certificate.pub"), "drover_agent_settings": self.settings,
                **self.variables}, "children": {group: here for group in ("coordinators", "agents", "redis")}}}, file)
        return path

    def play(self, book, *args):
        """Runs a playbook over ssh; returns how many tasks changed something, and what it said."""
        env = dict(os.environ, ANSIBLE_HOST_KEY_CHECKING="False", ANSIBLE_NOCOLOR="1", LC_ALL="C.UTF-8",
                   ANSIBLE_LOCAL_TEMP=self.folder.sub("local"), ANSIBLE_PIPELINING="True", ANSIBLE_SSH_RETRIES="3",
                   ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=60s",
                   ANSIBLE_SSH_CONTROL_PATH_DIR=self.folder.sub("cp"), ANSIBLE_CONFIG=ansible_config(self.folder))
        env.pop("DROVER_API", None)
        begin = time.monotonic()
        done = subprocess.run(["ansible-playbook", "-i", self.inventory(), os.path.join(DEPLOY, "ansible", book), *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout[-8000:])
        if os.environ.get("DROVER_TEST_VERBOSE"):
            print(done.stdout)
        log("%s: %.0f s" % (book, time.monotonic() - begin))
        return sum(int(n) for n in re.findall(r"changed=(\d+)", done.stdout)), done.stdout

    @staticmethod
    def unit(port):
        return "drover-redis@%d" % port

    def node_id(self, port):
        with Client(self.box.address, port) as client:
            return client.call("CLUSTER", "MYID").decode()

    def slots_of(self, port):
        row = self.cluster.nodes[0].view().get(self.node_id(port))
        return len(row["slots"]) if row else 0

    def pids(self):
        return {name: self.box.pid_of(name) for name in (*DAEMONS, self.unit(ROLE_PORT))}

    def as_drover(self, *argv):
        return self.box.run("setpriv", "--reuid=drover", "--regid=drover", "--clear-groups", *argv, check=False)

    def check_sandbox(self, name):
        """What the kernel says of the unit's process: no right, no new ones, calls filtered, files read-only."""
        pid = self.box.wait_active(name)
        status = dict(line.split(":\t", 1) for line in self.box.run("cat", "/proc/%d/status" % pid).stdout.splitlines()
                      if ":\t" in line)
        uid = self.box.run("id", "-u", "drover").stdout.strip()
        self.assertEqual(set(status["Uid"].split()), {uid}, name)
        self.assertEqual([int(status[key], 16) for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb")], [0] * 4, name)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), name)
        mounts = [line.split() for line in self.box.run("cat", "/proc/%d/mountinfo" % pid).stdout.splitlines()]
        root = next(fields for fields in mounts if fields[4] == "/")
        self.assertIn("ro", root[5].split(","), name)

    def set_up(self):
        changed, text = self.play("site.yml")
        self.assertGreater(changed, 0)
        self.fleet.wait_sees(4, 180)
        for name in (*DAEMONS, self.unit(ROLE_PORT)):
            self.check_sandbox(name)
            self.assertEqual(self.box.show(name, "UnitFileState"), "enabled", name)
        self.assertGreater(self.slots_of(ROLE_PORT), 0, text[-3000:])
        log("coordinator, agent and a node are up as units, in their sandboxes")

    def run_again(self):
        before = self.pids()
        changed, text = self.play("site.yml")
        self.assertEqual(changed, 0, text)
        self.assertEqual(before, self.pids())
        log("second run: changed=0")

    def change_settings(self):
        """A new setting is for the agent, a new unit file for the coordinator; a node is not restarted for its unit."""
        before = self.pids()
        self.settings["log-level"] = "debug"
        units = os.path.join(self.folder.path, "units")
        shutil.copytree(os.path.join(DEPLOY, "systemd"), units)
        self.variables["drover_units"] = units
        for name in ("drover-coordinator.service", "drover-redis@.service"):
            with open(os.path.join(units, name), "a") as file:
                file.write("\n[Service]\nNice=1\n")
        changed, text = self.play("site.yml")
        self.assertEqual(changed, 4, text)  # settings, unit files, two restarts
        after = self.pids()
        self.assertEqual([name for name in before if before[name] != after[name]], list(DAEMONS))
        self.assertEqual(self.box.show("drover-coordinator", "Nice", "NeedDaemonReload"), ("1", "no"))
        log("new settings and a new unit: their daemons were restarted, the node was not")

    def provision(self):
        scale = ["scale", "--primaries", "5"]
        wait_for("a host that can start servers", lambda: "start a server" in self.fleet.run("plan", *scale, check=False).stdout,
                 90, 0.5)
        self.fleet.run(*scale, "--yes", timeout=600)
        unit = self.unit(MADE_PORT)
        self.check_sandbox(unit)
        self.assertIn(unit, self.box.run("cat", "/proc/%d/cgroup" % self.box.pid_of(unit)).stdout)
        self.assertGreater(self.slots_of(MADE_PORT), 0)
        log("drover has started a server by its unit")

    def kill_daemons(self):
        unit = self.unit(MADE_PORT)
        server, node_id = self.box.pid_of(unit), self.node_id(MADE_PORT)
        agent = self.box.pid_of("drover-agent")
        self.box.run("systemctl", "restart", "drover-agent")
        for turn in range(2):
            now = self.box.wait_active("drover-agent")
            self.assertNotIn(now, (agent, 0))
            self.assertEqual(self.box.pid_of(unit), server)
            if turn == 0:
                agent = now
                self.box.run("kill", "-KILL", agent)
                wait_for("the agent to be started anew",
                         lambda: self.box.show("drover-agent", "NRestarts") == "1", 90, 0.5)
        log("the server outlives its agent")
        self.box.run("kill", "-KILL", server)
        wait_for("the server to be started anew", lambda: self.box.show(unit, "NRestarts") == "1", 90, 0.5)
        server = self.box.wait_active(unit)
        self.box.run("kill", "-TERM", server)
        wait_for("the server to end", lambda: self.box.show(unit, "ActiveState") not in ("active", "deactivating"), 90, 0.2)
        self.assertEqual(self.box.show(unit, "ActiveState", "SubState", "Result"), ("inactive", "dead", "success"))
        self.box.run("systemctl", "start", unit)
        self.assertEqual(self.node_id(MADE_PORT), node_id)
        self.fleet.wait_sees(5, 180)
        log("a killed server comes back, one that ended in order does not")

    def check_rights(self):
        """polkit lets the user of drover start and stop servers of drover, and do nothing else."""
        done = self.as_drover("systemctl", "--no-ask-password", "start", self.unit(MADE_PORT))
        self.assertEqual(done.returncode, 0, done.stdout)
        for argv in (["stop", "drover-coordinator"], ["restart", self.unit(MADE_PORT)], ["stop", "dbus"],
                     ["enable", self.unit(MADE_PORT)], ["daemon-reload"]):
            done = self.as_drover("systemctl", "--no-ask-password", *argv)
            self.assertNotEqual(done.returncode, 0, argv)
        log("the user of drover may start and stop its servers, no more")

    def check_valkey(self):
        """The other unit, on a server that is nobody's."""
        if shutil.which("valkey-server") is None:
            log("skipped: valkey-server is not installed")
            return
        home, unit = INSTANCES + "/7050", "drover-valkey@7050"
        self.box.run("sh", "-c", "install -d -m 700 -o drover -g drover %s && printf 'port 7050\\nbind 127.0.0.1\\n' > %s/server.conf && "
                     "chown drover:drover %s/server.conf" % (home, home, home))
        self.box.run("systemctl", "start", unit)
        self.check_sandbox(unit)
        self.assertIn("valkey_version", self.box.run("valkey-cli", "-p", "7050", "INFO", "server").stdout)
        self.box.run("systemctl", "stop", unit)
        self.assertEqual(self.box.show(unit, "ActiveState", "Result"), ("inactive", "success"))
        self.box.run("rm", "-r", home)
        log("Valkey's unit starts and stops its server")

    def leave(self):
        """The role's node, whose unit is enabled, leaves by drover; then the role is told."""
        unit = self.unit(ROLE_PORT)
        operation = self.fleet.start("remove", "%s:%d" % (self.box.address, ROLE_PORT))
        self.check_rights()
        self.check_valkey()
        self.fleet.wait_operation(operation, timeout=600)
        self.assertEqual(self.box.show(unit, "ActiveState", "Result"), ("inactive", "success"))
        aside = self.box.run("ls", INSTANCES + "/aside").stdout.split()
        self.assertEqual([name.split(".")[0] for name in aside], [str(ROLE_PORT)])
        self.box.run("systemctl", "start", unit)
        self.assertEqual(self.box.show(unit, "ActiveState", "ConditionResult"), ("inactive", "no"))
        log("the node that left was stopped by its unit, and cannot be started by mistake")
        changed, text = self.play("remove.yml", "--limit", "box")
        self.assertEqual(changed, 1, text)
        self.assertEqual(self.box.show(unit, "UnitFileState"), "disabled")
        changed, text = self.play("remove.yml", "--limit", "box")
        self.assertEqual(changed, 0, text)
        log("the role disabled its unit; second run: changed=0")

    def reboot(self):
        self.box.reboot()
        for name in DAEMONS:
            self.box.wait_active(name)
        self.box.wait_active(self.unit(MADE_PORT))
        self.assertEqual(self.box.show(self.unit(ROLE_PORT), "ActiveState"), "inactive")
        self.fleet.wait_sees(4, 180)
        self.assertGreater(self.slots_of(MADE_PORT), 0)
        log("after a reboot daemons and drover's server are there, the node that left is not")

    def stop(self):
        for name in DAEMONS:
            self.box.run("systemctl", "stop", name)
            self.assertEqual(self.box.show(name, "ActiveState", "Result", "ExecMainStatus"), ("inactive", "success", "0"))
        self.assertEqual(self.box.show(self.unit(MADE_PORT), "ActiveState"), "active")
        self.assertEqual(self.box.run("systemctl", "--failed", "--plain", "--no-legend").stdout, "")
        log("the daemons stop in order")

    def stand_alone(self):
        """The coordinator's unit with an agent inside, which finds the server by itself."""
        text = "cluster: shop\napi: %s:7411\nstore: sqlite:///var/lib/drover/alone.db\n" % self.box.address
        self.box.run("sh", "-c", 'printf %s "$1" > /etc/drover/coordinator.yaml', "sh", text)
        self.box.run("systemctl", "start", "drover-coordinator")
        address = "%s:%d" % (self.box.address, MADE_PORT)
        wait_for("a coordinator alone to find the server", lambda: [
            row for row in json.loads(self.fleet.run("nodes", "-o", "json", check=False).stdout)["nodes"]
            if row["address"] == address and row["is_reachable"]], 90, 0.5)
        self.box.run("systemctl", "stop", "drover-coordinator")
        self.assertEqual(self.box.show("drover-coordinator", "ActiveState", "Result"), ("inactive", "success"))
        log("a coordinator alone works in its unit")

    def test_life(self):
        try:
            self.set_up()
            self.run_again()
            self.change_settings()
            self.provision()
            self.kill_daemons()
            self.leave()
            self.reboot()
            self.stop()
            self.stand_alone()
        except BaseException:
            self.box.dump_logs()
            raise


if __name__ == "__main__":
    unittest.main(warnings="ignore")
