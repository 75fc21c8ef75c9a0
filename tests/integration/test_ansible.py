"""The roles of deploy/ansible, run for real over ssh against hosts that are network namespaces.

Proves: site.yml makes a cluster with its coordinator over a TLS etcd (Valkey: test_ansible_valkey); a new host that Terraform's
output names joins by it and serves slots; a second run changes nothing; a node leaves only with a removal certificate that the
host's own key verifies, its server is stopped then and its host is free; running that again changes nothing.
"""

import json
import os
import re
import shutil
import subprocess
import time
import unittest

from harness import BUILD, SLOTS, Folder, Hosts, Process, ansible_config, can_make_hosts, end_all, log, wait_for
from resp import Client

DEPLOY = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy"))
PLAYBOOKS = os.path.join(DEPLOY, "ansible")
SSHD = "/usr/sbin/sshd"
PORT = 6379


def missing():
    """Why this cannot run here."""
    if not can_make_hosts():
        return "network namespaces need root and iproute2"
    for program, package in (("ansible-playbook", "ansible-core"), (SSHD, "openssh-server"), ("ssh", "openssh-client"),
                             ("etcd", "etcd-server"), ("start-stop-daemon", "dpkg")):
        if shutil.which(program) is None:
            return "%s is not installed (deploy/install-deps.sh test does it)" % package
    return None


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Ansible(unittest.TestCase):
    """Host 0 has etcd and the coordinator, the others a node and its agent each."""

    FLAVOR = "redis"
    HOST_COUNT = 5

    def setUp(self):
        reason = missing()
        if reason:
            print("    skipped: " + reason)
            self.skipTest(reason)
        self.folder = Folder()
        self.hosts = Hosts(self.HOST_COUNT)
        self.make_keys()
        self.sshds = [self.start_sshd(i) for i in range(self.HOST_COUNT)]
        self.start_etcd()

    def tearDown(self):
        end_all()  # with its sshd a host's processes end

    def make_keys(self):
        self.keys = self.folder.sub("keys")
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key(name)], check=True)
        os.makedirs("/run/sshd", exist_ok=True)
        for name in ("certificate", "other"):
            openssl("genpkey", "-algorithm", "ed25519", "-out", self.key(name + ".pem"))
            openssl("pkey", "-in", self.key(name + ".pem"), "-pubout", "-out", self.key(name + ".pub"))
        openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout",
                self.key("ca.key"), "-out", self.key("ca.pem"))
        with open(self.key("san"), "w") as file:
            file.write("subjectAltName=IP:%s\n" % self.hosts.address(0))
        for name in ("server", "client"):
            openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name,
                    "-keyout", self.key(name + ".key"), "-out", self.key(name + ".csr"))
            openssl("x509", "-req", "-in", self.key(name + ".csr"), "-CA", self.key("ca.pem"), "-CAkey", self.key("ca.key"),
                    "-CAcreateserial", "-days", "2", "-extfile", self.key("san"), "-out", self.key(name + ".pem"))

    def key(self, name):
        return os.path.join(self.keys, name)

    def start_etcd(self):
        """One member in host 0 that lets nobody in without a certificate of our authority."""
        url = "https://%s:2379" % self.hosts.address(0)
        Process("etcd", [
            "etcd", "--name", "m0", "--data-dir", self.folder.sub("etcd"), "--listen-client-urls", url,
            "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync",
            "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "m0=http://127.0.0.1:2380",
            "--cert-file", self.key("server.pem"), "--key-file", self.key("server.key"), "--client-cert-auth",
            "--trusted-ca-file", self.key("ca.pem")], self.folder.path, self.hosts.names[0]).start()

    def start_sshd(self, i):
        conf = os.path.join(self.keys, "sshd%d.conf" % i)
        with open(conf, "w") as file:
            file.write("Port 22\nListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/user.pub\nStrictModes no\n"
                       "PermitRootLogin yes\nUsePAM no\nUseDNS no\nPidFile none\nSubsystem sftp internal-sftp\n" %
                       (self.hosts.address(i), self.keys, self.keys))
        # A host sees its own processes only, and they all end with its first one. What this machine runs whenever root
        # logs in is not of the host.
        bare = 'for file in ~root/.bashrc ~root/.profile ~root/.bash_profile ~root/.bash_login; do ' \
               '[ ! -e $file ] || mount --bind /dev/null $file; done; exec "$@"'
        return Process("sshd%d" % i, ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", bare, "sh",
                                      SSHD, "-D", "-e", "-f", conf], self.folder.path, self.hosts.names[i]).start()

    def host(self, i):
        return {"ansible_host": self.hosts.address(i), "drover_host": self.hosts.address(i)}

    def inventory(self, node_count):
        """An inventory file; without a node count it leaves the nodes to Terraform's output."""
        root = self.folder.path + "/{{ inventory_hostname }}/"
        data = {"all": {
            "vars": {
                "ansible_user": "root", "ansible_ssh_private_key_file": self.key("user"),
                "ansible_host": "{{ drover_host }}", "ansible_python_interpreter": shutil.which("python3"),
                "ansible_ssh_common_args":
                    "-o GSSAPIAuthentication=no -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
                "drover_conf_dir": root + "etc", "drover_state_dir": root + "state", "drover_cluster": "shop",
                "drover_bin": os.path.abspath(BUILD), "drover_user": "root", "drover_group": "root", "drover_init": "none",
                "drover_flavor": self.FLAVOR, "drover_maxmemory": "64mb", "drover_node_timeout_ms": 5000,
                "drover_wait_s": 300, "drover_certificate_key": self.key("certificate.pem"),
                "drover_certificate_public_key": self.key("certificate.pub"),
                "drover_etcd_endpoints": [self.hosts.address(0) + ":2379"], "drover_etcd_ca": self.key("ca.pem"),
                "drover_etcd_cert": self.key("client.pem"), "drover_etcd_key": self.key("client.key")},
            "children": {"coordinators": {"hosts": {"control": {"drover_host": self.hosts.address(0)}}}}}}
        if node_count:
            nodes = ["redis-%d" % i for i in range(1, node_count + 1)]
            data["all"]["children"].update({
                "agents": {"hosts": {name: {"drover_host": self.hosts.address(i + 1), "drover_zone": "z%d" % i}
                                     for i, name in enumerate(nodes)}},
                "redis": {"hosts": {name: {} for name in nodes}}})
        for name in ("control", *["redis-%d" % i for i in range(1, self.HOST_COUNT)]):
            self.folder.sub(name)
        path = os.path.join(self.folder.path, "inventory.json")
        with open(path, "w") as file:
            json.dump(data, file)
        return ["-i", path] + ([] if node_count else ["-i", os.path.join(PLAYBOOKS, "terraform_inventory.py")])

    def terraform(self, node_count):
        """Terraform knows of the nodes, drover joins them; its output is the inventory."""
        module = self.folder.sub("terraform")
        shutil.copytree(os.path.join(DEPLOY, "terraform"), module, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", ".drover-*", "*.tfvars*"))
        with open(os.path.join(module, "test.auto.tfvars.json"), "w") as file:
            json.dump({"node_count": node_count, "membership": "drover", "api": "http://127.0.0.1:1", "hosts": {
                "redis-%d" % i: {"address": self.hosts.address(i), "zone": "z%d" % (i - 1)}
                for i in range(1, node_count + 1)}}, file)
        env = dict(os.environ, CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1")
        for args in (["init", "-input=false"], ["apply", "-auto-approve", "-input=false"]):
            done = subprocess.run(["terraform", *args], cwd=module, env=env, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout[-3000:])
        return module

    def play(self, book, node_count, *args, succeeds=True):
        """Runs a playbook; returns how many tasks changed something, over all hosts, and what it said."""
        env = dict(os.environ, ANSIBLE_HOST_KEY_CHECKING="False", ANSIBLE_NOCOLOR="1", LC_ALL="C.UTF-8",
                   ANSIBLE_LOCAL_TEMP=self.folder.sub("local"), ANSIBLE_PIPELINING="True", ANSIBLE_SSH_RETRIES="3",
                   ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=120s", ANSIBLE_FORKS="5",
                   ANSIBLE_CONFIG=ansible_config(self.folder),
                   ANSIBLE_SSH_CONTROL_PATH_DIR=self.folder.sub("cp"),
                   DROVER_TERRAFORM_DIR=os.path.join(self.folder.path, "terraform"))
        env.pop("DROVER_API", None)
        begin = time.monotonic()
        done = subprocess.run(["ansible-playbook", *self.inventory(node_count), os.path.join(PLAYBOOKS, book), *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=900)
        self.assertEqual(done.returncode == 0, succeeds, done.stdout[-8000:])
        if os.environ.get("DROVER_TEST_VERBOSE"):
            print(done.stdout)
        log("%s %s: %.0f s" % (book, " ".join(args), time.monotonic() - begin))
        return sum(int(n) for n in re.findall(r"changed=(\d+)", done.stdout)), done.stdout

    def call(self, i, *args):
        with Client(self.hosts.address(i), PORT) as client:
            return client.call(*args).decode()

    def known_to(self, *numbers):
        """How many nodes the node of each host knows."""
        return [len(self.call(i, "CLUSTER", "NODES").splitlines()) for i in numbers]

    def has_slots(self, i):
        return len(next(row for row in self.call(i, "CLUSTER", "NODES").splitlines() if "myself" in row).split()) > 8

    def servers_in(self, i):
        """Pids of servers in a host."""
        pids = subprocess.run(["ip", "netns", "pids", self.hosts.names[i]], check=True, stdout=subprocess.PIPE,
                              text=True).stdout.split()
        found = []
        for pid in pids:
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    if b"-server" in file.read().split(b"\0")[0]:
                        found.append(pid)
            except OSError:
                pass
        return found

    def check_unchanged(self, book, node_count, *args):
        changed, text = self.play(book, node_count, *args)
        self.assertEqual(changed, 0, text)

    def make_cluster(self):
        changed, text = self.play("site.yml", 3)
        self.assertGreater(changed, 0)
        self.assertEqual(self.known_to(1, 2, 3), [3] * 3, text[-3000:])
        self.assertIn(self.FLAVOR, self.call(1, "INFO", "server"))

    def check_etcd(self):
        """Plans are in etcd, under the prefix of the cluster, and nowhere else."""
        self.assertFalse(os.path.exists(os.path.join(self.folder.path, "control", "state", "drover.db")))
        if shutil.which("etcdctl"):
            done = subprocess.run(
                ["etcdctl", "--endpoints", self.hosts.address(0) + ":2379", "--cacert", self.key("ca.pem"), "--cert",
                 self.key("client.pem"), "--key", self.key("client.key"), "get", "--prefix", "--keys-only", ""],
                env=dict(os.environ, ETCDCTL_API="3"), stdout=subprocess.PIPE, text=True, check=True)
            self.assertTrue(done.stdout.split())
            self.assertTrue(all(key.startswith("/drover/shop/") for key in done.stdout.split()), done.stdout)

    def join_fourth(self):
        """A new host, by Terraform's output where there is Terraform."""
        count = 4
        if shutil.which("terraform"):
            self.terraform(4)
            count = 0
        else:
            log("terraform is not installed: the inventory is ours")
        _, text = self.play("site.yml", count)
        self.assertEqual(self.known_to(1, 2, 3, 4), [4] * 4, text[-3000:])
        self.assertTrue(self.has_slots(4), text[-3000:])
        self.check_unchanged("site.yml", count)
        log("the fourth joined; second run: changed=0")

    def refuse_to_leave(self):
        _, text = self.play("remove.yml", 4, succeeds=False)
        self.assertIn("--limit", text)
        _, text = self.play("remove.yml", 4, "--limit", "redis-4", "-e", "drover_wait_s=1", "-e", "{drover_remove: false}",
                            succeeds=False)
        self.assertIn("slots", text)
        self.assertEqual(self.known_to(1, 4), [4, 4])
        self.assertTrue(self.has_slots(4))
        log("no certificate, no stop")

    def leave(self):
        # The host trusts another key: the node is emptied, and its server runs on.
        trusted = os.path.join(self.folder.path, "redis-4", "etc", "certificate.pub")
        shutil.copy(self.key("other.pub"), trusted)
        _, text = self.play("remove.yml", 4, "--limit", "redis-4", succeeds=False)
        self.assertIn("not signed with the key", text)
        self.assertEqual(self.known_to(1, 2, 3, 4), [3, 3, 3, 1])
        self.assertEqual(len(self.servers_in(4)), 1)
        # With the right one the rest of it is done.
        shutil.copy(self.key("certificate.pub"), trusted)
        changed, text = self.play("remove.yml", 4, "--limit", "redis-4")
        self.assertEqual(changed, 1, text)
        self.assertRaises(OSError, self.call, 4, "PING")
        self.assertEqual(self.servers_in(4), [])
        self.assertEqual(self.known_to(1, 2, 3), [3] * 3)
        log("the fourth left, and its server was stopped once its certificate held")
        self.check_unchanged("remove.yml", 4, "--limit", "redis-4")

    def test_life(self):
        self.make_cluster()
        self.check_etcd()
        self.join_fourth()
        self.refuse_to_leave()
        self.leave()
        slots = re.search(r"cluster_slots_ok:(\d+)", self.call(1, "CLUSTER", "INFO"))
        self.assertEqual(int(slots.group(1)), SLOTS)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
