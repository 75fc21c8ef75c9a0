#!/usr/bin/env python3
"""valkey_takes_slot.py - a fact of Valkey 8, shown on bare servers: keys are lost without drover.

usage: tests/optional/valkey_takes_slot.py [PAUSE_SECONDS] [ROUNDS]

A slot is handed to a node that begins to hold keys in it, and after the pause its former owner is told to import
it back (IMPORTING there, MIGRATING here), as somebody would who undoes a move. With no pause, valkey-server 8.0.1
takes the slot at once, with a new config epoch and without any SETSLOT NODE, and the source drops its keys. With
half a second it does not. Prints how often.
"""
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SERVER = "valkey-server"
KEYS = 10


def connect(port):
    limit = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


class Client:
    def __init__(self, port):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        line = self.file.readline().rstrip()
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        return int(line[1:]) if line[:1] == b":" else line.decode()


def free_port():
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55000:  # the bus takes 10000 more
            return port


def hand_over(nodes, ids, slot):
    nodes[1]("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    nodes[0]("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    for i in (1, 0, 2):
        nodes[i]("CLUSTER", "SETSLOT", slot, "NODE", ids[1])


def form(nodes, ports):
    for i, (first, last) in enumerate([(0, 5460), (5461, 10921), (10922, 16383)]):
        nodes[i]("CLUSTER", "ADDSLOTSRANGE", first, last)
        nodes[i]("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
    for port in ports[1:]:
        nodes[0]("CLUSTER", "MEET", "127.0.0.1", port)
    while any("cluster_state:ok" not in n("CLUSTER", "INFO") or "cluster_known_nodes:3" not in n("CLUSTER", "INFO")
              for n in nodes):
        time.sleep(0.1)
    time.sleep(3)


def main():
    if shutil.which(SERVER) is None:
        sys.exit("%s is not installed: it comes with deploy/install-deps.sh test" % SERVER)
    pause = float(sys.argv[1]) if len(sys.argv) > 1 else 0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    ports = [free_port() for _ in range(3)]
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        servers = [subprocess.Popen([SERVER, "--port", str(port), "--cluster-enabled", "yes", "--save", "", "--dir", folder,
                                     "--cluster-config-file", "nodes-%d.conf" % port, "--logfile", "%d.log" % port])
                   for port in ports]
        try:
            nodes = [Client(port) for port in ports]
            form(nodes, ports)
            ids = [node("CLUSTER", "MYID") for node in nodes]
            tags = [tag for tag in range(100 * rounds) if nodes[0]("CLUSTER", "KEYSLOT", tag) < 3000]
            for number, tag in enumerate(tags[:rounds]):
                slot = nodes[0]("CLUSTER", "KEYSLOT", tag)
                for other in range(3000 + 4 * number, 3004 + 4 * number):
                    hand_over(nodes, ids, other)
                hand_over(nodes, ids, slot)
                for key in range(KEYS):
                    nodes[1]("SET", "{%d}%d" % (tag, key), "value")
                time.sleep(pause)
                nodes[0]("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[1])
                nodes[1]("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[0])
                time.sleep(2)
                kept = sum(node("CLUSTER", "COUNTKEYSINSLOT", slot) for node in nodes)
                lost += kept != KEYS
                for node in nodes[:2]:
                    node("CLUSTER", "SETSLOT", slot, "STABLE")
            print("pause %.1f s: keys were lost in %d of %d slots" % (pause, lost, rounds))
        finally:
            for server in servers:
                server.kill()
                server.wait()


if __name__ == "__main__":
    main()
