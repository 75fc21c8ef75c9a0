"""Reads what the quickstart's programs wrote and prints the closing summary. Exit 1 when a check did not pass."""

import json
import sys


def load(folder, name):
    with open("%s/%s" % (folder, name)) as file:
        return json.load(file)


def main(folder):
    operations = [o for o in load(folder, "ops.json")["operations"] if o["state"] == "done"]
    operations.sort(key=lambda o: o["created_wall_ms"])
    for operation in operations:
        seconds = max(operation["ended_wall_ms"] - operation["started_wall_ms"], 1) / 1000
        print("  %-10s %6d slots  %8d keys  %7.1f s  %8d keys per second" % (
            operation["kind"], operation["slots_moved"], operation["keys_moved"], seconds,
            operation["keys_moved"] / seconds))
    run, verify = load(folder, "load.json"), load(folder, "verify.json")
    print()
    print("  %-10s %10s %10s %10s   (ms, from the intended send time)" % ("clients", "p50", "p99", "max"))
    for phase in run["phases"]:
        latency = phase["latency_us"]
        print("  %-10s %10.2f %10.2f %10.2f" % (
            phase["name"], latency["p50"] / 1000, latency["p99"] / 1000, latency["max"] / 1000))
    lost = run["read_back"]["lost"] + run["findings"]["lost"] + verify["lost"]
    wrong = run["wrong"] + verify["wrong"]
    print()
    print("  requests sent   %10d" % run["requests"])
    print("  client errors   %10d" % run["client_errors"])
    print("  wrong values    %10d" % wrong)
    print("  lost keys       %10d   of %d" % (lost, verify["keys"] + run["read_back"]["keys"]))
    good = run["ok"] and verify["ok"] and lost + wrong + run["client_errors"] == 0 and len(operations) == 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
