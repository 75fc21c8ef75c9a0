#!/usr/bin/env python3
"""Takes one node out of its cluster and proves that its server may be stopped; Ansible and Terraform both run this.

Empties the node and has it forgotten (`drover remove --keep-running`), waits for its removal certificate, and checks that with
nothing but openssl and the public key. Ends with 0 only when the server may be stopped; stopping it is the caller's part.
Safe to repeat, also after having been cut off anywhere. Prints "removed" when it changed something.

Exit codes: those of drover (docs/cli.md); 7 when the certificate does not hold.
"""

import argparse
import base64
import binascii
import json
import os
import subprocess
import sys
import tempfile
import time

NOT_FOUND, CONFLICT, REFUSED, UNAVAILABLE, TIMEOUT = 4, 6, 7, 9, 10
POLL_S = 2
START_S = 30  # that long a coordinator may take to hear of its nodes
AGE_MAX_S = 600  # clocks of two hosts may differ, and an old certificate may be of an earlier life


class Failed(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def drover(args, *words):
    command = [args.drover, *words] + (["--api", args.api] if args.api else [])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr.strip()


def member_at(args):
    """Id of the member at the node's address, or None."""
    code, out, told = drover(args, "nodes", "-o", "json")
    if code != 0:
        raise Failed(code, told)
    rows = json.loads(out)["nodes"]
    return next((row["id"] for row in rows if row["is_member"] and args.node in (row["address"], row["id"])), None)


def recall(args):
    """Whom an earlier run took out from here: a coordinator that was restarted knows it by its id alone."""
    try:
        with open(args.remember, encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, TypeError):
        return None


def remember(args, node_id):
    if args.remember and recall(args) != node_id:
        with open(args.remember + ".new", "w", encoding="ascii") as file:
            file.write(node_id + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(args.remember + ".new", args.remember)


def remove(args, name, deadline):
    """True when something changed. One operation runs at a time: another one, perhaps ours of a run cut off, is waited for;
    so is a coordinator that was just started and has heard of no node yet."""
    patience = min(deadline, time.monotonic() + START_S)
    while True:
        code, out, told = drover(args, "remove", name, "--keep-running", "--yes", "--wait")
        is_passing = (code == CONFLICT and time.monotonic() < deadline) or (
            code == UNAVAILABLE and time.monotonic() < patience)
        if not is_passing:
            break
        time.sleep(POLL_S)
    if code == NOT_FOUND:
        return False  # it has left before
    if code != 0:
        raise Failed(code, told or out.strip())
    return "nothing to do" not in out + told


def verify_signature(args, answer, payload):
    if answer.get("algorithm") != "ed25519" or not answer.get("signature"):
        raise Failed(REFUSED, "the certificate is not signed, and --public-key asks for it")
    try:
        signature = base64.b64decode(answer["signature"], validate=True)
    except (binascii.Error, ValueError):
        raise Failed(REFUSED, "the certificate's signature is no base64") from None
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("payload", payload.encode()), ("signature", signature)):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", args.public_key, "-rawin",
             "-in", os.path.join(folder, "payload"), "-sigfile", os.path.join(folder, "signature")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Failed(REFUSED, "the certificate is not signed with the key of %s: %s" % (
            args.public_key, " ".join(done.stdout.split())[:200]))


def check_certificate(args, name, text):
    """Raises unless the certificate says of this very node, and now, that nothing rests on it."""
    answer = json.loads(text)
    payload = answer.get("payload") or ""
    if args.public_key:
        verify_signature(args, answer, payload)
    facts = json.loads(payload)  # the signed text, not what stands beside it
    wrong = [key for key in ("slots", "keys", "replicas", "open_slots", "known_by") if facts.get(key) != 0]
    if facts.get("granted") is not True or wrong:
        raise Failed(REFUSED, "the certificate grants nothing: %s" % facts.get("reason"))
    if name not in (facts.get("node"), facts.get("address")):
        raise Failed(REFUSED, "the certificate is of node %s at %s, not of %s" % (
            facts.get("node"), facts.get("address"), name))
    if args.cluster and facts.get("cluster") != args.cluster:
        raise Failed(REFUSED, "the certificate is of cluster %s, not of %s" % (facts.get("cluster"), args.cluster))
    age_s = time.time() - facts.get("issued_wall_ms", 0) / 1000
    if abs(age_s) > AGE_MAX_S:
        raise Failed(REFUSED, "the certificate was issued %d s ago, %d s are allowed" % (age_s, AGE_MAX_S))


def leave(args):
    deadline = time.monotonic() + args.limit
    member = member_at(args)
    if member:
        remember(args, member)
    name = member or recall(args) or args.node
    changed = False if args.certificate_only else remove(args, name, deadline)
    left_s = max(1, int(deadline - time.monotonic()))
    code, out, told = drover(args, "certificate", name, "--wait", "--limit", "%ds" % left_s, "-o", "json")
    if code != 0:
        raise Failed(code, told or out.strip())
    check_certificate(args, name, out)
    # An id remembered from an earlier life says nothing of a member that has come to the address since.
    if member_at(args):
        raise Failed(CONFLICT, "%s is a member of the cluster again" % args.node)
    return changed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("node", help="host:port, or the node's whole id")
    parser.add_argument("--drover", default="drover", help="the drover command")
    parser.add_argument("--api", default="", help="addresses of the coordinators' API ($DROVER_API)")
    parser.add_argument("--limit", type=int, default=3600, help="seconds that all of it may take")
    parser.add_argument("--public-key", default="", help="PEM file; the certificate must be signed with its private half")
    parser.add_argument("--cluster", default="", help="the certificate must be of this cluster")
    parser.add_argument("--remember", help="file that keeps the node's id between two runs")
    parser.add_argument("--certificate-only", action="store_true", help="do not empty the node: only ask whether it may go")
    args = parser.parse_args()
    try:
        print("%s may be stopped%s" % (args.node, ": removed" if leave(args) else ""))
    except Failed as error:
        print("leave: %s" % error, file=sys.stderr)
        return error.code
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        print("leave: drover's answer is not understood: %s" % error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
