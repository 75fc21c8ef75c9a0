#!/usr/bin/env python3
"""floor.py — how fast this machine can move the keys at all: the floor that a mover is measured against.

    floor.py list PORT PORT... NEW FILE      which slots and keys go to the new primary; not timed
    floor.py move FILE                       moves them: timed

It lists every key beforehand, opens all slots in one pipeline, sends one MIGRATE for the keys of each slot (a call takes
keys of one slot only), sources beside each other, one call in flight at each, and gives all slots away in one pipeline.
Nothing is checked, journalled, paced or finished after a fault: it is no mover, and whatever a mover does safely it does
beside this. Nobody may write new keys meanwhile."""
import json
import socket
import sys
import threading


def command(*words):
    parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Link:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def read(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise SystemExit("floor.py: " + rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest

    def pipeline(self, commands):
        """In parts, so that neither side waits for the other to read."""
        answers = []
        for i in range(0, len(commands), 500):
            part = commands[i:i + 500]
            self.socket.sendall(b"".join(part))
            answers += [self.read() for _ in part]
        return answers

    def __call__(self, *words):
        return self.pipeline([command(*words)])[0]


def owned(link):
    for line in link("CLUSTER", "NODES").decode().splitlines():
        fields = line.split()
        if "myself" in fields[2]:
            slots = []
            for text in fields[8:]:
                first, _, last = text.partition("-")
                slots += range(int(first), int(last or first) + 1)
            return fields[0], slots


def list_keys(sources, target, path):
    target_id, _ = owned(Link(target))
    plan = {"target": target, "target_id": target_id, "sources": []}
    for port in sources:
        link = Link(port)
        own_id, slots = owned(link)
        going = slots[:len(slots) // (len(sources) + 1)]
        keys = link.pipeline([command("CLUSTER", "GETKEYSINSLOT", slot, 1000000) for slot in going])
        plan["sources"].append({"port": port, "id": own_id, "slots": [
            [slot, [key.decode("latin-1") for key in found]] for slot, found in zip(going, keys)]})
    with open(path, "w") as file:
        json.dump(plan, file)


def migrate(source, target, calls):
    link = Link(source["port"])
    for call in calls:
        link.socket.sendall(call)
        link.read()


def move(path):
    with open(path) as file:
        plan = json.load(file)
    target, target_id = plan["target"], plan["target_id"]
    every = [(source, slot) for source in plan["sources"] for slot, _ in source["slots"]]
    new = Link(target)
    new.pipeline([command("CLUSTER", "SETSLOT", slot, "IMPORTING", source["id"]) for source, slot in every])
    threads = []
    for source in plan["sources"]:
        Link(source["port"]).pipeline(
            [command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id) for slot, _ in source["slots"]])
        calls = [command("MIGRATE", "127.0.0.1", target, "", 0, 60000, "KEYS", *[k.encode("latin-1") for k in keys])
                 for _, keys in source["slots"] if keys]
        threads.append(threading.Thread(target=migrate, args=(source, target, calls)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    new.pipeline([command("CLUSTER", "SETSLOT", slot, "NODE", target_id) for _, slot in every])
    for source in plan["sources"]:
        Link(source["port"]).pipeline(
            [command("CLUSTER", "SETSLOT", slot, "NODE", target_id) for slot, _ in source["slots"]])


if sys.argv[1:2] == ["list"] and len(sys.argv) > 4:
    list_keys([int(port) for port in sys.argv[2:-2]], int(sys.argv[-2]), sys.argv[-1])
elif sys.argv[1:2] == ["move"] and len(sys.argv) == 3:
    move(sys.argv[2])
else:
    sys.exit(__doc__)
