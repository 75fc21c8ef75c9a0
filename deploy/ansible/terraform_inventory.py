#!/usr/bin/env python3
"""Hosts of deploy/terraform as an inventory script: ansible-playbook -i variables.yml -i terraform_inventory.py site.yml

Reads the output ansible_inventory of the Terraform state in $DROVER_TERRAFORM_DIR (where you run terraform; default ".").
Only nodes and their hosts are there: coordinators and variables stand in an inventory of your own beside it. In a root module of
your own, pass the output on: output "ansible_inventory" { value = module.cluster.ansible_inventory }.
"""

import json
import os
import subprocess
import sys


def main():
    folder = os.environ.get("DROVER_TERRAFORM_DIR", ".")
    done = subprocess.run(["terraform", "-chdir=" + folder, "output", "-no-color", "-json", "ansible_inventory"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print("terraform_inventory: %s" % done.stderr.strip(), file=sys.stderr)
        return 1
    groups = json.loads(done.stdout)["all"]["children"]
    answer = {"_meta": {"hostvars": {}}}
    for name, group in groups.items():
        answer[name] = {"hosts": sorted(group["hosts"])}
        for host, variables in group["hosts"].items():
            # No zone is said by saying nothing, so that a variable of the inventory beside it may.
            known = {key: value for key, value in variables.items() if value != ""}
            if "drover_host" in known:
                known["ansible_host"] = known["drover_host"]
            answer["_meta"]["hostvars"].setdefault(host, {}).update(known)
    print(json.dumps(answer, indent=2, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
