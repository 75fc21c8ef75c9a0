#!/usr/bin/env python3
"""The dashboard as a browser gets it from a real coordinator: its files, and every field that it reads of the API."""

import re
import shutil
import subprocess
import unittest
import urllib.error
import urllib.request

from fleet import Standalone, get_json
from harness import Cluster, Folder, drover, end_all, log, wait_for


def get(url, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        return answer.headers, answer.read().decode()


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = Folder()
        cls.cluster = Cluster(folder).create(2, 1)
        cls.fleet = Standalone(folder, cls.cluster)
        cls.fleet.wait_sees(4)
        cls.api = cls.fleet.coordinators[0].api
        drover("reshard", "--slots", "3", "--from", cls.cluster.nodes[0].address, "--to",
               cls.cluster.nodes[1].address, "--yes", api=cls.api)
        cls.cluster.nodes[3].kill()  # for something to find
        wait_for("a finding", lambda: get_json(cls.api + "/v1/doctor")["findings"], 60)

    @classmethod
    def tearDownClass(cls):
        end_all()

    def test_files(self):
        headers, page = get(self.api + "/")
        self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])
        named = re.findall(r'(?:href|src)="([^"]+)"', page)
        self.assertEqual(sorted(named), ["dashboard.css", "dashboard.js"])
        for name in named:
            headers, text = get(self.api + "/" + name)
            self.assertTrue(headers["Content-Type"].startswith("text/"), headers["Content-Type"])
            self.assertNotIn("http://", text)
            self.assertNotIn("https://", text)
            head, nothing = get(self.api + "/" + name, "HEAD")
            self.assertEqual((head["Content-Length"], nothing), (str(len(text.encode())), ""))
        for path in ("/dashboard", "/web/index.html", "/../README.md", "/index.html/"):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                get(self.api + path)
            self.assertEqual(refused.exception.code, 404)
            refused.exception.close()

    def test_fields(self):
        """A field that the API no longer tells would show as nothing: nobody would notice."""
        _, script = get(self.api + "/dashboard.js")
        asked = set(re.findall(r'ask\("(v1/[^"]+)"\)', script))
        self.assertEqual(len(asked), 5)
        answers = {path: get_json(self.api + "/" + path) for path in asked}
        operation = answers["v1/operations?limit=20"]["operations"][0]
        told = {"status": answers["v1/status"], "slots": answers["v1/slots"], "doctor": answers["v1/doctor"],
                "range": answers["v1/slots"]["ranges"][0], "node": answers["v1/nodes"]["nodes"][0],
                "operation": operation, "progress": operation["progress"],
                "finding": answers["v1/doctor"]["findings"][0]}
        for name, answer in told.items():
            used = set(re.findall(r"\b%s\.([a-z_]+)" % name, script))
            self.assertTrue(used, name)
            self.assertLessEqual(used, set(answer), name)

    def test_in_a_browser(self):
        browser = shutil.which("chromium")
        if browser is None:
            self.skipTest("chromium is not installed: the page is not drawn")
        done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=6000",
                               "--dump-dom", self.api + "/"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              timeout=120)
        for node in self.cluster.nodes:
            self.assertIn(node.address, done.stdout)
        self.assertIn("reshard: done", done.stdout)
        self.assertEqual(done.stdout.count("<i title="), len(get_json(self.api + "/v1/slots")["ranges"]))
        log("drawn: %d characters" % len(done.stdout))


if __name__ == "__main__":
    unittest.main(warnings="ignore")
