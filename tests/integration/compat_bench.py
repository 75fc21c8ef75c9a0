"""The bench of the side-by-side tests: links that are drover, the real client, the same line given to both."""

import os
import shutil
import subprocess
import time

import harness
from harness import Folder


class Run:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return "exit %s\n--- out\n%s\n--- err\n%s" % (self.code, self.out, self.err)


def strip(text):
    """Without the colours that the original writes into files too."""
    parts = text.split("\x1b[")
    return parts[0] + "".join(p.split("m", 1)[1] if "m" in p else p for p in parts[1:])


class Bench:
    """One server kind: links that are drover, the real client, and the count of cases."""

    def __init__(self, test, server, client):
        self.test, self.server, self.client = test, server, client
        self.folder = Folder()
        links = self.folder.sub("links")
        self.link = os.path.join(links, client)
        os.symlink(os.path.abspath(harness.DROVER), self.link)
        self.real = shutil.which(client)
        self.env = dict(os.environ, TERM="dumb", XDG_RUNTIME_DIR=self.folder.sub("run"))
        os.chmod(self.env["XDG_RUNTIME_DIR"], 0o700)
        for name in ("DROVER_API", "REDISCLI_AUTH", "REDISCLI_CLUSTER_YES", "VALKEYCLI_AUTH"):
            self.env.pop(name, None)
        self.count = 0
        self.started = time.monotonic()

    def run(self, program, args, answers="", timeout=120, env=None):
        try:
            done = subprocess.run([program, *map(str, args)], input=answers, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=timeout, env=dict(self.env, **(env or {})))
        except subprocess.TimeoutExpired:
            return Run("timeout", "", "")
        return Run(done.returncode, strip(done.stdout), strip(done.stderr))

    def original(self, *args, **options):
        return self.run(self.real, ["--cluster", *args], **options)

    def drover(self, *args, **options):
        return self.run(self.link, ["--cluster", *args], **options)

    def case(self, name):
        self.count += 1
        print("    case %3d %5.1f s  %s: %s" % (self.count, time.monotonic() - self.started, self.client, name),
              flush=True)
        return self.test.subTest(case=name)

    def same(self, name, *args, sorts=False, err_like=None, before=None, env=None, answers="", timeout=20):
        """Both say the same. 'sorts': the order of lines is the servers'. 'before': options before --cluster."""
        with self.case(name):
            line = [*(before or []), "--cluster", *args]
            theirs = self.run(self.real, line, env=env, answers=answers, timeout=timeout)
            ours = self.run(self.link, line, env=env, answers=answers, timeout=timeout)
            self.test.assertEqual(theirs.code, ours.code, "%r\n%r" % (theirs, ours))
            arrange = (lambda text: sorted(text.splitlines())) if sorts else (lambda text: text)
            self.test.assertEqual(arrange(theirs.out), arrange(ours.out))
            if err_like is None:
                self.test.assertEqual(theirs.err, ours.err)
            else:
                self.test.assertIn(err_like, ours.err)

    def differs(self, name, theirs_code, ours_code, *args, answers="", same_out=True):
        """The original misleads: ours is right, and strict gives the original's exit code."""
        with self.case(name):
            theirs = self.original(*args, answers=answers)
            ours = self.drover(*args, answers=answers)
            strict = self.drover(*args, "--cluster-compat", "strict", answers=answers)
            self.test.assertEqual((theirs.code, ours.code, strict.code), (theirs_code, ours_code, theirs_code),
                                  "%r\n%r\n%r" % (theirs, ours, strict))
            if same_out:
                self.test.assertEqual(theirs.out, ours.out)
                self.test.assertEqual(theirs.out, strict.out)

    def folder_of(self, name):
        sub = Folder.__new__(Folder)
        sub.path = self.folder.sub("cluster-%s" % name)
        return sub

    def tell(self):
        print("    %d cases beside %s" % (self.count, self.client), flush=True)


def count_keys(cluster):
    return sum(node.call("DBSIZE") for node in cluster.primaries())


def half_moved(cluster, source, target, slot, keys, marks="both"):
    """Leaves a slot as a mover that died would: some of its keys at the target, marks on one side or both."""
    if marks in ("both", "migrating"):
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id())
    if marks in ("both", "importing") or keys:
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
    if keys:
        source.call("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)
    if marks == "migrating" and keys:
        target.call("CLUSTER", "SETSLOT", slot, "STABLE")
