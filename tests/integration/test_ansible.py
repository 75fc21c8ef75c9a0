"""The roles of deploy/ansible, run for real over ssh against hosts that are network namespaces.

Proves: site.yml makes a cluster, a second run changes nothing, a new host joins by it; remove.yml takes a node out with
its certificate, refuses without one, and a second run changes nothing.
"""

import json
import os
import re
import shutil
import subprocess
import unittest

from harness import BUILD, Folder, Hosts, Process, can_make_hosts, end_all, log, wait_for
from resp import Client

PLAYBOOKS = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "ansible"))
SSHD = "/usr/sbin/sshd"


def missing():
    """Why this cannot run here; installs what is missing where that is possible."""
    if not can_make_hosts():
        return "network namespaces need root and iproute2"
    for program, package in (("ansible-playbook", "ansible-core"), (SSHD, "openssh-server"),
                             ("start-stop-daemon", "dpkg")):
        if shutil.which(program) is None and shutil.which("apt-get"):
            subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
        if shutil.which(program) is None:
            return "%s is not installed and cannot be installed here" % package
    return None


class Ansible(unittest.TestCase):
    def setUp(self):
        reason = missing()
        if reason:
            print("    skipped: " + reason)
            self.skipTest(reason)
        self.folder = Folder()
        self.hosts = Hosts(5)
        self.make_keys()
        self.sshds = [self.start_sshd(i) for i in range(5)]

    def tearDown(self):
        if hasattr(self, "folder"):
            self.end_daemons()
            self.end_sessions()
        end_all()

    def end_sessions(self):
        """Kept connections of ansible: the children of our sshds, which would outlive them."""
        ours = {process.pid for process in self.sshds}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % name) as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent in ours:
                    os.kill(int(name), 9)
            except OSError:
                pass

    def end_daemons(self):
        """Ends what the playbooks started: processes of our folder, by their pid."""
        for root, _, files in os.walk(self.folder.path):
            for name in files:
                if name.endswith(".pid"):
                    with open(os.path.join(root, name)) as file:
                        pid = file.read().strip()
                    try:
                        with open("/proc/%s/cmdline" % pid, "rb") as file:
                            is_ours = self.folder.path.encode() in file.read() or os.readlink(
                                "/proc/%s/cwd" % pid).startswith(os.path.realpath(self.folder.path))
                        if is_ours:
                            os.kill(int(pid), 9)
                    except OSError:
                        pass

    def make_keys(self):
        self.keys = self.folder.sub("ssh")
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.keys, name)], check=True)
        os.makedirs("/run/sshd", exist_ok=True)

    def start_sshd(self, i):
        conf = os.path.join(self.keys, "sshd%d.conf" % i)
        with open(conf, "w") as file:
            file.write("Port 22\nListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\n"
                       "PermitRootLogin yes\nUsePAM no\nUseDNS no\nPidFile none\nSubsystem sftp internal-sftp\n" %
                       (self.hosts.address(i), self.keys, self.keys))
        return Process("sshd%d" % i, [SSHD, "-D", "-e", "-f", conf], self.folder.path, self.hosts.names[i]).start()

    def inventory(self, node_count):
        def host(i, extra=None):
            path = self.folder.sub("host%d" % i)
            return dict({"ansible_host": self.hosts.address(i), "drover_conf_dir": path + "/etc",
                         "drover_state_dir": path + "/state"}, **(extra or {}))

        data = {"all": {
            "vars": {
                "ansible_user": "root", "ansible_ssh_private_key_file": self.keys + "/user",
                "ansible_python_interpreter": shutil.which("python3"),
                "ansible_ssh_common_args": "-o GSSAPIAuthentication=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
                "drover_bin": os.path.abspath(BUILD), "drover_user": "root", "drover_group": "root",
                "drover_init": "none", "drover_maxmemory": "64mb", "drover_node_timeout_ms": 2000,
                "drover_wait_s": 240},
            "children": {
                "coordinators": {"hosts": {"control": host(0)}},
                "agents": {"hosts": {"redis-%d" % i: host(i, {"drover_zone": "z%d" % i})
                                     for i in range(1, node_count + 1)}},
                "redis": {"hosts": {"redis-%d" % i: {} for i in range(1, node_count + 1)}}}}}
        path = os.path.join(self.folder.path, "inventory.json")
        with open(path, "w") as file:
            json.dump(data, file)
        return path

    def play(self, book, node_count, *args, succeeds=True):
        """Runs a playbook; returns how many tasks changed something, over all hosts."""
        env = dict(os.environ, ANSIBLE_HOST_KEY_CHECKING="False", ANSIBLE_NOCOLOR="1", LC_ALL="C.UTF-8",
                   ANSIBLE_LOCAL_TEMP=self.folder.sub("local"), ANSIBLE_PIPELINING="True", ANSIBLE_SSH_RETRIES="3",
                   ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=10s",
                   ANSIBLE_SSH_CONTROL_PATH_DIR=self.folder.sub("cp"))
        env.pop("DROVER_API", None)
        done = subprocess.run(["ansible-playbook", "-i", self.inventory(node_count), os.path.join(PLAYBOOKS, book), *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=600)
        self.assertEqual(done.returncode == 0, succeeds, done.stdout[-6000:])
        return sum(int(n) for n in re.findall(r"changed=(\d+)", done.stdout)), done.stdout

    def nodes(self, i):
        """What the node of host i knows: lines of its CLUSTER NODES."""
        with Client(self.hosts.address(i), 6379) as client:
            return client.call("CLUSTER", "NODES").decode().splitlines()

    def test_life(self):
        changed, _ = self.play("site.yml", 3)
        self.assertGreater(changed, 0)
        self.assertEqual([len(self.nodes(i)) for i in (1, 2, 3)], [3] * 3)
        changed, text = self.play("site.yml", 3)
        self.assertEqual(changed, 0, text)
        log("three nodes; second run: changed=0")

        _, text = self.play("site.yml", 4)  # a new host joins by it
        self.assertEqual([len(self.nodes(i)) for i in (1, 2, 3, 4)], [4] * 4, text[-5000:])
        wait_for("slots at the new node", lambda: len(next(
            row for row in self.nodes(4) if "myself" in row).split()) > 8, 30)
        changed, text = self.play("site.yml", 4)
        self.assertEqual(changed, 0, text)
        log("the fourth joined; second run: changed=0")

        _, text = self.play("remove.yml", 4, succeeds=False)
        self.assertIn("--limit", text)
        self.assertEqual(len(self.nodes(4)), 4)

        self.play("remove.yml", 4, "--limit", "redis-4")
        self.assertEqual([len(self.nodes(i)) for i in (1, 2, 3)], [3] * 3)
        self.assertRaises(OSError, self.nodes, 4)
        log("the fourth left and was stopped")
        changed, text = self.play("remove.yml", 4, "--limit", "redis-4")
        self.assertEqual(changed, 0, text)

    def test_no_certificate_no_stop(self):
        self.play("site.yml", 3)
        # The step behind the removal, by itself: the node still has its slots.
        book = os.path.join(self.folder.path, "only_certificate.yml")
        with open(os.path.join(PLAYBOOKS, "roles", "redis", "tasks", "leave.yml")) as file:
            tasks = file.read()
        first = tasks.index("# The only key to the next step")
        shutil.copytree(os.path.join(PLAYBOOKS, "roles"), os.path.join(self.folder.path, "roles"))
        with open(os.path.join(self.folder.path, "roles", "redis", "tasks", "rest.yml"), "w") as file:
            file.write(tasks[first:])
        with open(book, "w") as file:
            file.write("- hosts: redis\n  tasks:\n    - ansible.builtin.include_role: {name: redis, tasks_from: rest}\n")
        self.play(book, 3, "--limit", "redis-3", "-e", "drover_wait_s=5", succeeds=False)
        self.assertEqual(len(self.nodes(3)), 3, "a node that owns slots was stopped")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
