"""The units of deploy/systemd: systemd takes them, and they leave little to an attacker."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

UNITS = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "systemd")
# `systemd-analyze security`: 0 is closed, 10 is open. Servers need W^X off for modules and JIT-less scripting alike.
EXPOSURE_MAX = {"drover-agent.service": 2.5, "drover-coordinator.service": 2.5,
                "drover-redis@.service": 3.0, "drover-valkey@.service": 3.0, "drover-servers.service": 2.5}


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Units(unittest.TestCase):
    def setUp(self):
        """Copies whose programs exist here; nothing else is changed."""
        self.folder = tempfile.mkdtemp(prefix="drover-units-")
        for name in EXPOSURE_MAX:
            with open(os.path.join(UNITS, name)) as file:
                text = re.sub(r"^ExecStart=\S+", "ExecStart=" + shutil.which("true"), file.read(), flags=re.M)
            # An instance of the template, so that %i means something.
            with open(os.path.join(self.folder, name.replace("@.", "@7001.")), "w") as file:
                file.write(text)

    def tearDown(self):
        shutil.rmtree(self.folder)

    def analyze(self, *args):
        return subprocess.run(["systemd-analyze", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_every_unit_is_covered(self):
        self.assertEqual(sorted(EXPOSURE_MAX), sorted(n for n in os.listdir(UNITS) if n.endswith(".service")))

    def test_verify(self):
        for name in sorted(os.listdir(self.folder)):
            done = self.analyze("verify", "--man=no", "--recursive-errors=no", os.path.join(self.folder, name))
            said = [line for line in done.stdout.splitlines() if name in line]
            self.assertEqual((done.returncode, said), (0, []), done.stdout)

    def test_verify_notices(self):
        """The check itself can fail."""
        path = os.path.join(self.folder, "drover-agent.service")
        with open(path, "a") as file:
            file.write("[Service]\nKilMode=process\n")
        done = self.analyze("verify", "--man=no", "--recursive-errors=no", path)
        self.assertIn("KilMode", done.stdout)

    def test_exposure(self):
        for name, most in EXPOSURE_MAX.items():
            path = os.path.join(self.folder, name.replace("@.", "@7001."))
            done = self.analyze("security", "--offline=true", "--no-pager", path)
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
            self.assertIsNotNone(found, done.stdout)
            print("    %s: %s" % (name, found.group(1)))
            self.assertLessEqual(float(found.group(1)), most, done.stdout)

    def test_polkit_rule(self):
        """The rule names the verbs and units, no more. Run by node where there is one."""
        path = os.path.join(UNITS, "50-drover.rules")
        if shutil.which("node") is None:
            self.skipTest("node is not installed: the rule is not run")
        script = """
        var polkit = {Result: {YES: "yes", NOT_HANDLED: "not handled"}, addRule: function (f) { this.rule = f; }};
        %s
        function ask(user, unit, verb) {
            return polkit.rule({id: "org.freedesktop.systemd1.manage-units",
                                lookup: function (k) { return {unit: unit, verb: verb}[k]; }}, {user: user});
        }
        console.log([ask("drover", "drover-redis@7001.service", "start"),
                     ask("drover", "drover-valkey@7001.service", "stop"),
                     ask("drover", "drover-redis@7001.service", "mask"),
                     ask("drover", "ssh.service", "stop"),
                     ask("drover", "x-drover-redis@1.service", "stop"),
                     ask("nobody", "drover-redis@7001.service", "stop")].join());
        """ % open(path).read()
        done = subprocess.run(["node", "-e", script], stdout=subprocess.PIPE, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "yes,yes" + ",not handled" * 4)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
