"""deploy/leave.py, which Ansible and Terraform ask before they stop a server: every certificate that does not hold is refused.

A pretended drover answers; the certificates are signed for real by openssl. How it goes with a real cluster: test_terraform,
test_ansible.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

LEAVE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "leave.py"))
NODE, ADDRESS = "a" * 40, "10.0.0.4:6379"
NOT_FOUND, CONFLICT, REFUSED, TIMEOUT = 4, 6, 7, 10
# Answers by verb from files; a verb called again takes the next file, then the last again. Every call is noted.
PRETENDED = """#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >> calls
n=$(grep -c "^$1 " calls)
while [ ! -e "$1.$n" ] && [ "$n" -gt 1 ]; do n=$((n - 1)); done
[ -e "$1.$n.err" ] && cat "$1.$n.err" >&2
[ -e "$1.$n" ] && cat "$1.$n"
exit "$(cat "$1.$n.code" 2>/dev/null || echo 0)"
"""


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Leave(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="drover-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ("key", "other"):
            self.openssl("genpkey", "-algorithm", "ed25519", "-out", self.at(name))
            self.openssl("pkey", "-in", self.at(name), "-pubout", "-out", self.at(name + ".pub"))
        with open(self.at("drover"), "w") as file:
            file.write(PRETENDED)
        os.chmod(self.at("drover"), 0o755)
        self.say_nodes(is_member=True)
        self.say_nodes(is_member=False, call=2)
        self.say("remove", "op-2-3 is done\n")
        self.say_certificate()

    def at(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def say(self, verb, text, code=0, err="", call=1):
        for suffix, content in (("", text), (".code", str(code)), (".err", err)):
            with open(self.at("%s.%d%s" % (verb, call, suffix)), "w") as file:
                file.write(content)

    def say_nodes(self, is_member, call=1, node_id=NODE):
        rows = [{"id": "b" * 40, "address": "10.0.0.5:6379", "is_member": True},
                {"id": node_id, "address": ADDRESS, "is_member": is_member}]
        self.say("nodes", json.dumps({"nodes": rows}), call=call)

    def say_certificate(self, key="key", signed=None, **facts):
        payload = json.dumps(dict({
            "cluster": "shop", "node": NODE, "address": ADDRESS, "granted": True, "slots": 0, "keys": 0, "replicas": 0,
            "open_slots": 0, "known_by": 0, "asked": 3, "issued_wall_ms": int(time.time() * 1000), "reason": "it may"},
            **facts), sort_keys=True)
        with open(self.at("payload"), "w") as file:
            file.write(signed or payload)
        self.openssl("pkeyutl", "-sign", "-inkey", self.at(key), "-rawin", "-in", self.at("payload"), "-out", self.at("sig"))
        with open(self.at("sig"), "rb") as file:
            signature = base64.b64encode(file.read()).decode()
        self.answer = {"payload": payload, "algorithm": "ed25519", "signature": signature}
        self.say("certificate", json.dumps(self.answer))

    def run_leave(self, *args, key="key.pub"):
        with open(self.at("calls"), "w"):
            pass
        done = subprocess.run(
            [LEAVE, ADDRESS, "--drover", self.at("drover"), "--cluster", "shop", "--limit", "1",
             *(["--public-key", self.at(key)] if key else []), *args],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return done.returncode, done.stdout

    def refused(self, reason, *args, **options):
        code, text = self.run_leave(*args, **options)
        self.assertEqual(code, REFUSED, text)
        self.assertIn(reason, text)

    def test_holds(self):
        code, text = self.run_leave("--remember", self.at("id"))
        self.assertEqual(code, 0, text)
        self.assertIn("removed", text)
        with open(self.at("id")) as file:
            self.assertEqual(file.read().strip(), NODE)
        with open(self.at("calls")) as file:
            calls = file.read()
        self.assertIn("remove %s --keep-running --yes --wait" % NODE, calls)
        self.assertIn("certificate %s --wait --limit" % NODE, calls)

    def test_signature(self):
        self.say_certificate(key="other")
        self.refused("not signed with the key")
        self.say_certificate(signed='{"granted":true}')  # of another text
        self.refused("not signed with the key")
        self.say_certificate()
        self.refused("not signed with the key", key="missing.pub")
        for field, value in (("algorithm", "none"), ("signature", None), ("signature", "?")):
            self.say("certificate", json.dumps(dict(self.answer, **{field: value})))
            self.refused("sign")
        # Who has no key looks at the facts alone.
        self.say("certificate", json.dumps(dict(self.answer, algorithm="none", signature=None)))
        self.assertEqual(self.run_leave(key=None)[0], 0)

    def test_facts(self):
        for facts in ({"granted": False}, {"granted": "yes"}, {"slots": 1}, {"keys": 7}, {"keys": None}, {"replicas": 1},
                      {"open_slots": 2}, {"known_by": 1}):
            self.say_certificate(**facts)
            self.refused("grants nothing")
        self.say_certificate(node="c" * 40)
        self.refused("is of node")
        self.say_certificate(cluster="other")
        self.refused("of cluster other")
        for age_ms in (3600_000, -3600_000):
            self.say_certificate(issued_wall_ms=int(time.time() * 1000) - age_ms)
            self.refused("issued")

    def test_answers_that_are_none(self):
        for text in ("", "[]", "{}", '{"payload": "no JSON"}', '{"payload": 5}'):
            self.say("certificate", text)
            self.assertEqual(self.run_leave(key=None)[0], REFUSED, text)

    def test_what_drover_says_no_to(self):
        self.say("certificate", "", code=TIMEOUT, err="not within 1 s: it owns 5 slots")
        code, text = self.run_leave()
        self.assertEqual(code, TIMEOUT)
        self.assertIn("it owns 5 slots", text)
        self.say("remove", "", code=REFUSED, err="too small")
        self.assertEqual(self.run_leave()[0], REFUSED)
        self.say("remove", "", code=CONFLICT, err="another operation runs")  # until the limit
        self.assertEqual(self.run_leave()[0], CONFLICT)

    def test_left_before(self):
        """Cut off and run again: the id of the first run finds the certificate, and nothing counts as changed."""
        with open(self.at("id"), "w") as file:
            file.write(NODE)
        self.say_nodes(is_member=False)
        for code, text in ((0, "nothing to do\n"), (NOT_FOUND, "")):
            self.say("remove", text, code=code)
            done = self.run_leave("--remember", self.at("id"))
            self.assertEqual((done[0], "removed" in done[1]), (0, False), done[1])
        with open(self.at("calls")) as file:
            self.assertIn("certificate %s " % NODE, file.read())

    def test_another_life(self):
        """A member that came to the address since is not stopped by the certificate of the one before."""
        with open(self.at("id"), "w") as file:
            file.write(NODE)
        self.say_nodes(is_member=False)
        self.say_nodes(is_member=True, call=2, node_id="d" * 40)
        code, text = self.run_leave("--remember", self.at("id"))
        self.assertEqual(code, CONFLICT, text)
        self.assertIn("member of the cluster again", text)

    def test_certificate_only(self):
        self.say_nodes(is_member=False)
        self.assertEqual(self.run_leave("--certificate-only")[0], 0)
        with open(self.at("calls")) as file:
            self.assertNotIn("remove", file.read())


if __name__ == "__main__":
    unittest.main(warnings="ignore")
