#!/usr/bin/env bash
# Watch drover grow a live cluster from three to four primaries and back, on this machine, in a folder of its own.
#
#   deploy/quickstart.sh [--keep] [--keys N] [--server redis|valkey] [--folder DIR] [--rate N]
#
#   --keep         leave the cluster and drover running at the end, and say what to try next
#   --keys N       keys of all types to load first (200000)
#   --server NAME  redis or valkey (redis)
#   --folder DIR   where everything goes (a new folder in the system's place for temporary files)
#   --rate N       requests a second of the live clients (2000)
#
# Installs what is missing when run as root on Debian 12 or newer. Ends what it started unless --keep is given.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
keep=no
keys=200000
server=redis
folder=
rate=2000
while [ $# -gt 0 ]; do
    case "$1" in
    --keep) keep=yes ;;
    --keys | --server | --folder | --rate)
        [ $# -ge 2 ] || { echo "quickstart: $1 needs a value" >&2; exit 2; }
        declare "${1#--}=$2"
        shift
        ;;
    -h | --help)
        sed -n '2,12s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *)
        echo "quickstart: unknown option $1; see --help" >&2
        exit 2
        ;;
    esac
    shift
done
[[ "$keys" =~ ^[0-9]+$ && "$rate" =~ ^[0-9]+$ ]] || { echo "quickstart: --keys and --rate take numbers" >&2; exit 2; }
case "$server" in
redis | valkey) ;;
*) echo "quickstart: --server is redis or valkey, not $server" >&2; exit 2 ;;
esac

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }
fail() {
    echo "quickstart: $*" >&2
    exit 1
}

say "1. Installing what is missing and building"
deploy/install-deps.sh run > /dev/null 2>"${TMPDIR:-/tmp}/drover-quickstart-install.$$" ||
    { cat "${TMPDIR:-/tmp}/drover-quickstart-install.$$" >&2; fail "could not install what is needed"; }
rm -f "${TMPDIR:-/tmp}/drover-quickstart-install.$$"
command -v "$server-server" > /dev/null || fail "$server-server is not installed; install it or use --server redis"
build=$root/build/quickstart
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDROVER_TESTS=OFF > /dev/null
cmake --build "$build" --target drover drover-coordinator drover-load | tail -1

[ -n "$folder" ] || folder=$(mktemp -d "${TMPDIR:-/tmp}/drover-quickstart-XXXXXX")
mkdir -p "$folder"
pids=()
cleanup() {
    local status=$?
    if [ "$keep" = yes ] && [ $status = 0 ]; then
        return
    fi
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[$i]}" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ $status = 0 ]; then
        rm -rf "$folder"
    else
        echo "quickstart: failed; logs are in $folder" >&2
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() { # one with its cluster bus port free too
    python3 - <<'PY'
import random, socket
while True:
    port = random.randrange(20000, 30000)
    try:
        for p in (port, port + 10000):
            with socket.socket() as s:
                s.bind(("127.0.0.1", p))
        print(port)
        break
    except OSError:
        pass
PY
}
cli() { "$server-cli" "$@" 2>/dev/null; }
start_node() { # prints nothing; sets port
    port=$(free_port)
    mkdir -p "$folder/node-$port"
    "$server-server" --port "$port" --bind 127.0.0.1 --dir "$folder/node-$port" --cluster-enabled yes \
        --cluster-node-timeout 5000 --appendonly no --save "" --repl-diskless-sync-delay 0 \
        > "$folder/node-$port/log" 2>&1 &
    pids+=($!)
    for _ in $(seq 200); do
        [ "$(cli -p "$port" ping)" = PONG ] && return
        sleep 0.05
    done
    fail "$server-server on port $port did not start: see $folder/node-$port/log"
}
wait_until() { # description, command...
    local what=$1
    shift
    for _ in $(seq 600); do
        "$@" > /dev/null 2>&1 && return
        sleep 0.1
    done
    fail "waited a minute for $what"
}

say "2. Starting three primaries with a replica each ($server), in $folder"
ports=()
for _ in 1 2 3 4 5 6; do
    start_node
    ports+=("$port")
done
cli --cluster create $(printf '127.0.0.1:%s ' "${ports[@]}") --cluster-replicas 1 --cluster-yes > "$folder/create.log" ||
    fail "the cluster could not be created: see $folder/create.log"
everyone_ok() {
    local p
    for p in "${ports[@]}"; do
        cli -p "$p" cluster info | grep -q cluster_state:ok || return 1
        [ "$(cli -p "$p" cluster nodes | grep -c connected)" = "${#ports[@]}" ] || return 1
        cli -p "$p" cluster nodes | grep -q handshake && return 1
    done
    return 0
}
wait_until "the cluster to agree" everyone_ok
# drover reaches this many nodes and finds nothing wrong
settled() { "$build/drover" status -o json | python3 -c "
import json, sys
s = json.load(sys.stdin)
sys.exit(not (s['settled'] and s['nodes_reachable'] == $1))"; }
seed=127.0.0.1:${ports[0]}

say "3. Loading $keys keys of all types"
fill=(--seed-node "$seed" --keys "$keys" --size 100 --mix all --seed 1)
"$build/drover-load" fill "${fill[@]}" --json "$folder/fill.json" > "$folder/fill.log" || fail "see $folder/fill.log"
echo "   done"

say "4. Starting drover (standalone: coordinator and agent in one process)"
api=127.0.0.1:$(free_port)
nodes=()
for p in "${ports[@]}"; do nodes+=(--node "127.0.0.1:$p"); done
"$build/drover-coordinator" --bus inproc://drover --store "sqlite://$folder/drover.db" --api "$api" "${nodes[@]}" \
    > "$folder/drover.log" 2>&1 &
pids+=($!)
export DROVER_API=http://$api
wait_until "drover to know the cluster" settled "${#ports[@]}"
"$build/drover" status

say "5. Starting live clients: $rate requests a second, every answer checked"
echo before > "$folder/phase"
"$build/drover-load" run --seed-node "$seed" --rate "$rate" --keys 20000 --size 100 --mix all --prefix live: \
    --mark-file "$folder/phase" --ready-file "$folder/load.ready" --until-file "$folder/load.stop" \
    --json "$folder/load.json" > "$folder/load.log" 2>&1 &
load_pid=$!
pids+=("$load_pid")
wait_until "the clients to start" test -e "$folder/load.ready"
sleep 5 # a baseline for the percentiles: five seconds of the undisturbed cluster

say "6. Adding a fourth primary"
start_node
fourth=$port
ports+=("$fourth")
cli -p "${ports[0]}" cluster meet 127.0.0.1 "$fourth" > /dev/null
wait_until "the new node to be known everywhere" everyone_ok
wait_until "drover to see it" settled "${#ports[@]}"
echo "   127.0.0.1:$fourth has joined and holds no slot yet"

say "7. Moving its share of the slots onto it"
echo during > "$folder/phase"
"$build/drover" rebalance --yes
say "8. Draining it again"
"$build/drover" drain "127.0.0.1:$fourth" --yes
echo after > "$folder/phase"
sleep 2 # two seconds of the quiet cluster again, for the percentiles

say "9. Checking every key"
touch "$folder/load.stop"
load_status=0
wait "$load_pid" || load_status=$?
running=() # without the clients, which have ended
for pid in "${pids[@]}"; do [ "$pid" = "$load_pid" ] || running+=("$pid"); done
pids=("${running[@]}")
verify_status=0
"$build/drover-load" verify "${fill[@]}" --json "$folder/verify.json" > "$folder/verify.log" 2>&1 || verify_status=$?
"$build/drover" ops -o json > "$folder/ops.json"

say "Summary"
python3 "$root/deploy/quickstart_summary.py" "$folder" || fail "the checks did not pass: see $folder"
[ $load_status = 0 ] && [ $verify_status = 0 ] || fail "the checks did not pass: see $folder"

if [ "$keep" = yes ]; then
    cat <<TEXT

Still running (processes: ${pids[*]}), in $folder. Try:
  export DROVER_API=$DROVER_API PATH=$build:\$PATH
  drover status          drover nodes          drover slots         drover watch
  drover plan reshard --slots 100 --to 127.0.0.1:$fourth
  drover rebalance       then, in another terminal, kill -9 the drover-coordinator and start it again:
    drover-coordinator --bus inproc://drover --store sqlite://$folder/drover.db --api $api ${nodes[*]}
  drover why             one sentence: what it does, or why it waits
  http://$api/   the same in a browser
Stop it all with:  kill ${pids[*]}; rm -rf $folder
TEXT
fi
