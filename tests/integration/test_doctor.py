"""A cluster that nobody told drover of: adopted at run time, examined, and one of its nodes taken out with a certificate.

Faults are planted on real servers; the doctor must name each, and be quiet when they are gone.
"""

import base64
import json
import os
import subprocess
import unittest

from fleet import Coordinator, Fleet
from harness import Cluster, Folder, end_all, free_port, wait_for

HEALTHY, NOT_FOUND, SICK, REFUSED, TIMEOUT = 0, 4, 6, 7, 10


class Lone(Fleet):
    """A standalone coordinator that knows no node."""

    def __init__(self, folder):
        self.key = os.path.join(folder.path, "certificate.pem")
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key], check=True,
                       stderr=subprocess.DEVNULL)
        store = "sqlite://%s/drover.db" % folder.sub("store")
        self.coordinators = [Coordinator(folder, "lone", "inproc://drover", store,
                                         ["--no-discover", "--certificate-key-file", self.key,
                                          "--cluster", "shop"]).start()]
        self.leader()

    def findings(self):
        done = self.run("doctor", "-o", "json", check=False)
        answer = json.loads(done.stdout)
        assert (done.returncode == HEALTHY) == answer["healthy"], done
        return answer

    def wait_code(self, code):
        def found():
            return next((f for f in self.findings()["findings"] if f["code"] == code), None)

        return wait_for("the doctor to find " + code, found, 60, 0.3)

    def wait_healthy(self):
        wait_for("the doctor to be content", lambda: self.findings()["healthy"], 60, 0.3)


class Doctor(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.cluster = Cluster(self.folder).create(3, 1)
        self.fleet = Lone(self.folder)

    def tearDown(self):
        for node in self.cluster.nodes:
            if node._client is not None:
                node._client.close()
        end_all()
        self.folder.remove()

    def adopt(self):
        self.fleet.run("adopt", self.cluster.nodes[0].address)

        def is_known():
            status = self.fleet.json("status")
            seen = self.fleet.json("nodes")
            members = [n for n in seen["nodes"] if n["is_member"]]
            return len(members) == 6 and seen["views_missing"] == 0 and status["settled"]

        wait_for("the adopted cluster to be known and settled", is_known, 60, 0.3)

    def test_adopt(self):
        self.assertEqual(self.fleet.json("nodes")["nodes"], [])
        self.assertEqual(self.fleet.run("doctor", check=False).returncode, SICK)  # nothing can be said
        # A node that runs alone is no cluster; one that does not run is none either.
        lone = self.cluster.spawn()
        done = self.fleet.run("adopt", lone.address, check=False)
        self.assertEqual(done.returncode, NOT_FOUND, done.stderr)
        self.assertIn("in no cluster", done.stderr)
        done = self.fleet.run("adopt", "127.0.0.1:%d" % free_port(), check=False)
        self.assertEqual(done.returncode, TIMEOUT, done.stderr)
        self.adopt()
        self.fleet.wait_healthy()

    def test_faults(self):
        first, second, third = self.cluster.nodes[:3]
        self.adopt()
        self.fleet.wait_healthy()
        # Somebody else's half moved slot.
        first.call("CLUSTER", "SETSLOT", 5, "MIGRATING", second.id())
        finding = self.fleet.wait_code("slots_open")
        self.assertEqual((finding["slots"], finding["is_ours"], finding["is_repairable"]), ("5", False, True))
        self.assertEqual([n["id"] for n in finding["nodes"]], [first.id(), second.id()])
        wait_for("its age to grow", lambda: self.fleet.wait_code("slots_open")["for_ms"] > 1000, 30, 0.3)
        first.call("CLUSTER", "SETSLOT", 5, "STABLE")
        # A slot that its owner gave away to nobody: views differ.
        third.call("CLUSTER", "DELSLOTS", 16383)
        finding = self.fleet.wait_code("slots_disputed")
        self.assertEqual(finding["severity"], "error")
        self.assertIn("%s (%s) says nobody" % (third.address, third.id()[:8]), finding["text"])
        third.call("CLUSTER", "ADDSLOTS", 16383)
        # A node that another has forgotten.
        second.call("CLUSTER", "FORGET", self.cluster.nodes[3].id())
        finding = self.fleet.wait_code("node_missing")
        self.assertIn("%s (%s) says no" % (second.address, second.id()[:8]), finding["text"])
        second.call("CLUSTER", "MEET", "127.0.0.1", self.cluster.nodes[3].port)
        # A dead replica leaves its primary alone.
        self.cluster.nodes[4]._client.close()
        self.cluster.nodes[4].kill()
        finding = self.fleet.wait_code("replicas_few")
        self.assertEqual(finding["nodes"][0]["id"], second.id())
        self.fleet.wait_code("node_failed")
        self.assertIn("not healthy", self.fleet.run("doctor", check=False).stdout)

    def check_signature(self, answer):
        public = os.path.join(self.folder.path, "public.pem")
        payload = os.path.join(self.folder.path, "payload")
        signature = os.path.join(self.folder.path, "signature")
        subprocess.run(["openssl", "pkey", "-in", self.fleet.key, "-pubout", "-out", public], check=True)
        with open(signature, "wb") as file:
            file.write(base64.b64decode(answer["signature"]))

        def verify(text):
            with open(payload, "w") as file:
                file.write(text)
            return subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", payload,
                                   "-sigfile", signature], stdout=subprocess.DEVNULL).returncode == 0

        self.assertTrue(verify(answer["payload"]))
        self.assertFalse(verify(answer["payload"].replace("shop", "mall")))
        self.assertEqual(json.loads(answer["payload"]), answer["certificate"])

    def test_certificate(self):
        self.adopt()
        node = self.cluster.nodes[4]
        gone = node.id()
        done = self.fleet.run("certificate", node.address, check=False)
        self.assertEqual(done.returncode, SICK)
        self.assertIn("may not be switched off", done.stderr)
        # The only replica of a primary stays: the barrier says no.
        done = self.fleet.run("remove", node.address, "--yes", check=False)
        self.assertEqual(done.returncode, REFUSED, done.stdout + done.stderr)
        self.assertIn("replica", done.stderr)
        extra = self.cluster.spawn()
        self.fleet.run("add", extra.address, "--replica-of", self.cluster.nodes[1].address, "--yes")
        self.fleet.run("remove", node.address, "--yes")
        answer = self.fleet.json("certificate", gone, "--wait", "--limit", "60s")
        facts = answer["certificate"]
        self.assertTrue(facts["granted"])
        self.assertEqual((facts["node"], facts["slots"], facts["known_by"]), (gone, 0, 0))
        self.assertEqual(facts["cluster"], "shop")
        self.check_signature(answer)
        # The address that it left from names it too; removing it again is nothing to do.
        self.assertEqual(self.fleet.json("certificate", node.address)["certificate"]["node"], gone)
        before = len(self.fleet.json("ops")["operations"])
        self.fleet.run("remove", gone, "--yes")
        self.assertEqual(len(self.fleet.json("ops")["operations"]), before)


if __name__ == "__main__":
    unittest.main()
