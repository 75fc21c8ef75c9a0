#!/bin/sh
# node.sh join|leave — one node's way in or out, for main.tf. Safe to repeat, also after having been cut off anywhere.
set -eu

members() { "$DROVER" nodes -o json; }

# True when the node is a member already.
is_member() {
    members | python3 -c '
import json, sys
print(any(n["address"] == sys.argv[1] and n["is_member"] for n in json.load(sys.stdin)["nodes"]))' "$DROVER_NODE" |
        grep -q True
}

# One operation runs at a time, and one that was cut off here goes on there: exit code 6 is waited out.
patiently() {
    tries=1800
    while :; do
        status=0
        "$DROVER" "$@" || status=$?
        tries=$((tries - 1))
        [ "$status" = 6 ] && [ "$tries" -gt 0 ] || return "$status"
        sleep 2
    done
}

case "${1:-}" in
join)
    sh -c "$START_COMMAND"
    is_member || patiently add "$DROVER_NODE" --yes --wait
    ;;
leave)
    status=0
    patiently remove "$DROVER_NODE" --keep-running --yes --wait || status=$?
    # 4: no such node; it has left before.
    [ "$status" = 0 ] || [ "$status" = 4 ] || exit "$status"
    # The only key to the next step.
    "$DROVER" certificate "$DROVER_NODE" --wait --limit "$DROVER_WAIT"
    sh -c "$STOP_COMMAND"
    ;;
*)
    echo "usage: node.sh join|leave" >&2
    exit 2
    ;;
esac
