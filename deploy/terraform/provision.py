"""What provision.sh does, in the folder of a Terraform root module: one request of drover's, as JSON, on standard input.

Safe to repeat, also after kill -9 anywhere: a request is written down before Terraform runs, together with what was there
before it, so the same request finds the same server and a request that is given up leaves nothing. One at a time.
"""

import fcntl
import json
import os
import re
import subprocess
import sys

VARIABLES = "drover.auto.tfvars.json"
REQUESTS = ".drover-requests"


def say(**answer):
    print(json.dumps(answer), flush=True)


def read_json(path, otherwise):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return otherwise


def write_json(path, value):
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def terraform(*args, **environment):
    """Its words go to standard error, so that the last of them is the reason when it fails."""
    subprocess.run(["terraform", *args], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True,
                   env=dict(os.environ, TF_IN_AUTOMATION="1", TF_CLI_ARGS="-no-color", **environment))


def nodes():
    """{host name: address} of the nodes that Terraform has made."""
    done = subprocess.run(["terraform", "output", "-json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout).get("nodes", {}).get("value") or {}


def apply(variables, released=""):
    write_json(VARIABLES, dict(variables, membership="drover"))
    say(state="running", message="terraform apply for %d nodes" % variables["node_count"])
    # The agent that calls us has seen the removal certificate; by hand, node.sh asks for it.
    terraform("apply", "-auto-approve", "-input=false", "-parallelism=1", DROVER_RELEASED=released)


def present():
    """The variables as they are; without our file, the nodes that are there."""
    here = read_json(VARIABLES, None)
    return {"node_count": here["node_count"], "retired": here.get("retired", [])} if here else {
        "node_count": len(nodes()), "retired": []}


def path_of(request_id):
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}", request_id):
        raise ValueError("the request id %r is none" % request_id)
    return os.path.join(REQUESTS, request_id + ".json")


def one_more(variables):
    """The next host by name that has no node; when all have one or are retired, one that is retired."""
    if variables["retired"] and not has_room(variables):
        return {"node_count": variables["node_count"] + 1, "retired": sorted(variables["retired"])[1:]}
    return dict(variables, node_count=variables["node_count"] + 1)


def has_room(variables):
    """Whether a plan for one node more holds: the module refuses it when the hosts do not suffice."""
    done = subprocess.run(["terraform", "plan", "-input=false", "-lock=false", "-var", "node_count=%d" % (
        variables["node_count"] + 1)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def finish(path, note):
    """Runs Terraform for a request that is written down; returns its host."""
    apply(note["wanted"])
    made = sorted(set(nodes()) - set(note["nodes"]))
    if len(made) != 1:
        raise RuntimeError("terraform made %d nodes, not one: %s" % (len(made), " ".join(made)))
    write_json(path, dict(note, host=made[0]))
    return made[0]


def finish_others(path):
    """Requests that were cut off come first: what Terraform makes next must be ours."""
    for name in sorted(os.listdir(REQUESTS)):
        other = os.path.join(REQUESTS, name)
        note = read_json(other, None) if name.endswith(".json") and other != path else None
        if note and "host" not in note:
            finish(other, note)


def provision(request):
    path = path_of(request["request_id"])
    note = read_json(path, None)
    if note is None or ("host" in note and note["host"] not in nodes()):
        finish_others(path)
        before = present()
        note = {"before": before, "wanted": one_more(before), "nodes": sorted(nodes())}
        write_json(path, note)
    host = note.get("host") or finish(path, note)
    say(state="ready", address=nodes()[host])


def forget(host):
    for name in os.listdir(REQUESTS):
        path = os.path.join(REQUESTS, name)
        if name.endswith(".json") and (read_json(path, None) or {}).get("host") == host:
            os.unlink(path)


def take_back(host, address):
    here = present()
    if host not in here["retired"]:
        here = {"node_count": here["node_count"] - 1, "retired": sorted([*here["retired"], host])}
    apply(here, released=address)
    forget(host)
    say(state="done")


def release(request):
    if "address" in request:
        finish_others(None)
        host = next((host for host, address in nodes().items() if address == request["address"]), None)
        if host is None:
            say(state="unknown")
        else:
            take_back(host, request["address"])
        return
    path = path_of(request["request_id"])
    note = read_json(path, None)
    if note is None:
        say(state="unknown")
        return
    try:  # never told to anybody as ready: made whole first, so that it can be taken back by its name
        host = note.get("host") or finish(path, note)
    except subprocess.CalledProcessError:
        apply(note["before"])
        os.unlink(path)
        say(state="done")
        return
    address = nodes().get(host)
    if address is None:
        forget(host)
        say(state="done")
    else:
        take_back(host, address)


def main():
    request = json.load(sys.stdin)
    os.makedirs(REQUESTS, exist_ok=True)
    with open(os.path.join(REQUESTS, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(".terraform"):
            terraform("init", "-input=false")
        if request["action"] == "provision":
            provision(request)
        elif request["action"] == "release":
            release(request)
        else:
            say(state="unknown")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        say(state="failed", message="%s ended with exit code %d" % (" ".join(error.cmd[:2]), error.returncode), retry=True)
        sys.exit(1)
