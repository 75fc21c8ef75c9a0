#!/bin/sh
# node.sh join|leave — one node's way in or out, for main.tf. Safe to repeat, also after having been cut off anywhere.
# A leave ends well only with a removal certificate that holds: ../leave.py.
set -eu

here=$(dirname "$0")
CONFLICT=6

# True when the node has slots or is a replica. Alone it is a member of nothing yet, whatever it thinks of itself.
has_place() {
    "$DROVER" nodes -o json | python3 -c '
import json, sys
for node in json.load(sys.stdin)["nodes"]:
    if node["address"] == sys.argv[1] and node["is_member"]:
        if node["slot_count"] > 0 or node["role"] == "replica":
            sys.exit(0)
sys.exit(1)' "$DROVER_NODE"
}

# True when an operation is under way: perhaps the join that was cut off here, which goes on there.
is_busy() {
    "$DROVER" ops --state running -o json | python3 -c '
import json, sys
sys.exit(0 if json.load(sys.stdin)["operations"] else 1)'
}

# Waits for its turn: one operation runs at a time.
join() {
    end=$(($(date +%s) + DROVER_WAIT_S))
    while is_busy && [ "$(date +%s)" -lt "$end" ]; do sleep 2; done
    ! has_place || return 0
    while :; do
        status=0
        "$DROVER" add "$DROVER_NODE" --yes --wait || status=$?
        [ "$status" = "$CONFLICT" ] && [ "$(date +%s)" -lt "$end" ] || return "$status"
        sleep 2
    done
}

case "${1:-}" in
join)
    sh -c "$START_COMMAND"
    [ "$DROVER_MEMBERSHIP" = drover ] || join
    ;;
leave)
    [ "$DROVER_MEMBERSHIP" = drover ] && only=--certificate-only || only=
    # Released by drover's agent (provision.sh), which has seen the certificate, or whose server never joined: nobody else
    # sets this.
    if [ "${DROVER_RELEASED:-}" != "$DROVER_NODE" ]; then
        # shellcheck disable=SC2086 # no word when it is empty
        "$here/../leave.py" "$DROVER_NODE" --drover "$DROVER" --limit "$DROVER_WAIT_S" --public-key "$DROVER_PUBLIC_KEY" \
            --cluster "$DROVER_CLUSTER" --remember "$DROVER_REMEMBER" $only
    fi
    sh -c "$STOP_COMMAND"
    rm -f "$DROVER_REMEMBER"
    ;;
*)
    echo "usage: node.sh join|leave" >&2
    exit 2
    ;;
esac
