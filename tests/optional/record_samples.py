#!/usr/bin/env python3
"""Records what a server version answers, as samples for the parsers (tests/unit/model/samples).

    tests/optional/record_samples.py NAME SERVER [FOLDER]

SERVER is the path of a redis-server or valkey-server (newer_servers.sh unpacks some), NAME the first part of the file
names, for instance redis-8.6. Starts three primaries with a replica each, opens two slots, and writes the answers of
CLUSTER NODES, CLUSTER INFO and INFO, and nodes.conf. Paths and the kernel's name are taken out of INFO; the rest is
literal. tests/unit/model/test_server_versions.c holds the list of names.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import harness  # noqa: E402


def record(name, server, target):
    def save(what, text):
        with open(os.path.join(target, "%s-%s.txt" % (name, what)), "w", newline="") as file:
            file.write(text)

    def info(node):
        text = node.text("INFO", "everything")
        text = re.sub(r"(?m)^(executable|config_file):.*/", r"\1:/srv/", text)
        return re.sub(r"(?m)^os:(\S+) .* (\S+)\r$", r"os:\1 \2\r", text)

    folder = harness.Folder()
    try:
        cluster = harness.Cluster(folder, server=server)
        cluster.create(3, replicas=1)
        source, target_node, replica = cluster.nodes[0], cluster.nodes[1], cluster.nodes[3]
        source.call("CONFIG", "SET", "cluster-announce-hostname", "node-1.example.org")
        harness.wait_for("the host name to spread", lambda: all(
            "node-1.example.org" in node.text("CLUSTER", "NODES") for node in cluster.nodes), 30)
        for i in range(100):
            key = "key:%d" % i
            cluster.by_id(cluster.nodes[0].owner_map()[source.call("CLUSTER", "KEYSLOT", key)]).call(
                "SET", key, "x" * 100, *(["EX", 3600] if i % 4 == 0 else []))
        # The replica repeats its offset every second; its line in INFO is of use once it is online.
        harness.wait_for("the replica to be online", lambda: "state=online" in source.text("INFO", "replication"), 60)
        harness.wait_for("the link of the replica", lambda: "master_link_status:up" in
                         replica.text("INFO", "replication"), 60)
        for i, node in enumerate((source, replica)):
            save(("nodes", "nodes-replica")[i], node.text("CLUSTER", "NODES"))
            save(("info", "info-replica")[i], info(node))
        save("cluster-info", source.text("CLUSTER", "INFO"))
        with open(os.path.join(source.process.folder, "nodes.conf")) as file:
            save("nodes-conf", file.read())
        for slot in (42, 77):
            target_node.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
            source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target_node.id())
        save("open-source", source.text("CLUSTER", "NODES"))
        save("open-target", target_node.text("CLUSTER", "NODES"))
    finally:
        harness.end_all()
        folder.remove()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    samples = os.path.join(HERE, "..", "unit", "model", "samples")
    record(sys.argv[1], os.path.abspath(sys.argv[2]), sys.argv[3] if len(sys.argv) == 4 else samples)
