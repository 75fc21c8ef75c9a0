"""The roles of deploy/ansible with Valkey: site.yml makes a cluster over ssh, a second run changes nothing.

What joins and leaves is the same for both servers and shown in test_ansible.
"""

import shutil
import unittest

import test_ansible
from harness import log


@unittest.skipUnless(shutil.which("valkey-server"), "valkey-server is not installed")
class AnsibleValkey(test_ansible.Ansible):
    FLAVOR = "valkey"
    HOST_COUNT = 4
    test_life = None

    def test_cluster(self):
        self.make_cluster()
        self.check_unchanged("site.yml", 3)
        log("three nodes; second run: changed=0")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
