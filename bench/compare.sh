#!/usr/bin/env bash
# compare.sh — drover against `redis-cli --cluster rebalance`, side by side on this machine, with clients watching.
#
# Every measurement starts a fresh cluster on free ports of this machine, fills it, lets an empty primary join, starts
# the checked open-loop load (drover-load) and has one mover give the new primary its share. What is compared, and how
# to read the table: bench/README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/lib/cluster.sh
. "$here/lib/cluster.sh"

usage() {
    cat <<'TEXT'
Usage: bench/compare.sh [--quick] [--scenes LIST] [--movers LIST] [--rounds N] [--keys N] [--size B] [--rate R]
                        [--bin DIR] [--out DIR]

  --quick        100,000 keys, shorter warm-up, one redis-cli setting
  --scenes LIST  of 2to3 (keys move, under load), empty (4,096 empty slots, no load) and
                 empty-load (the same beside a load on 64 keys); default: all three
  --movers LIST  of cli-N (redis-cli with pipeline N), drover, drover-soft, drover-fast, and
                 floor (bare MIGRATEs without any safety: what the machine allows);
                 default: cli-10,cli-100,drover
  --rounds N     measurements of each kind; the table shows medians (1)
  --keys N       keys of scene 2to3 (1000000)
  --size B       bytes of a value (100)
  --rate R       requests a second of the load (10000)
  --bin DIR      where drover, drover-coordinator and drover-load are; default: the search path
  --out DIR      keep the JSON report and the log of every measurement there

Environment: REDIS_SERVER and REDIS_CLI name other binaries.
Exit codes: 0 measured, 1 a client saw an error or a check failed, 2 usage or something is missing.
TEXT
}

scenes=2to3,empty,empty-load
movers=cli-10,cli-100,drover
rounds=1
keys=1000000
size=100
rate=10000
warm_up=3
bin_dir=
out_dir=

while [ $# -gt 0 ]; do
    case $1 in
    --quick) keys=100000 warm_up=1 movers=cli-100,drover ;;
    --scenes) scenes=$2; shift ;;
    --movers) movers=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --keys) keys=$2; shift ;;
    --size) size=$2; shift ;;
    --rate) rate=$2; shift ;;
    --bin) bin_dir=$2; shift ;;
    --out) out_dir=$2; shift ;;
    --help) usage; exit 0 ;;
    *) echo "compare.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done

# program NAME: its path, or nothing.
program() {
    if [ -n "$bin_dir" ]; then
        [ ! -x "$bin_dir/$1" ] || echo "$bin_dir/$1"
    else
        command -v "$1" || true
    fi
}

load=$(program drover-load)
[ -n "$load" ] || { echo "compare.sh: drover-load is not built; give --bin" >&2; exit 2; }
[ -z "$out_dir" ] || mkdir -p "$out_dir"

load_pid=
drover_pid=
is_told=no # the table
cleanup() {
    local pid
    # What was measured before something broke is worth as much.
    [ "$is_told" = yes ] || [ ! -s "${cluster_dir:-}/results" ] || table
    for pid in $load_pid $drover_pid; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    cluster_end
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- movers -----------------------------------------------------------------------------------------------------------
# Each has NAME_ready (prints why not, if it cannot run), NAME_start (what runs before the clock starts), NAME_move (what
# is measured; ends when the rebalance is done) and NAME_stop. The argument of NAME_move is what follows the dash:
# redis-cli's pipeline, drover's speed.

cli_ready() {
    command -v "${REDIS_CLI:-redis-cli}" >/dev/null || echo "redis-cli not found"
}

cli_start() { :; }

cli_move() {
    local seed=127.0.0.1:${cluster_ports[0]}
    "${REDIS_CLI:-redis-cli}" --cluster rebalance "$seed" --cluster-use-empty-masters --cluster-threshold 0.1 \
        --cluster-timeout 60000 --cluster-pipeline "$1" >"$cluster_dir/mover.log" 2>&1
}

cli_stop() { :; }

# The whole product, standalone: the coordinator with its embedded agent and store, driven by the drover command.
drover_ready() {
    local name
    for name in drover-coordinator drover; do
        [ -n "$(program "$name")" ] || { echo "$name is not built"; return; }
    done
}

drover_start() {
    local port=20000 nodes=() node
    until port_is_free "$port"; do port=$((port + 1)); done
    for node in "${cluster_ports[@]}"; do
        nodes+=(--node "127.0.0.1:$node")
    done
    export DROVER_API=http://127.0.0.1:$port
    "$(program drover-coordinator)" --bus inproc://drover --store "sqlite://$cluster_dir/drover.db" \
        --api "127.0.0.1:$port" "${nodes[@]}" >"$cluster_dir/drover.log" 2>&1 &
    drover_pid=$!
    wait_until 30 "drover sees a settled cluster" drover_is_settled
}

drover_is_settled() {
    "$(program drover)" status -o json 2>/dev/null | grep -Eq '"settled": *true'
}

drover_move() {
    "$(program drover)" rebalance --yes --speed "${1:-balanced}" >"$cluster_dir/mover.log" 2>&1
}

drover_stop() {
    kill -TERM "$drover_pid" 2>/dev/null || true
    wait "$drover_pid" 2>/dev/null || true
    drover_pid=
}

# No mover: what MIGRATE costs on this machine when nothing else is done (bench/lib/floor.py).
floor_ready() {
    command -v python3 >/dev/null || echo "python3 not found"
}

floor_start() {
    python3 "$here/lib/floor.py" list "${cluster_ports[@]}" "$cluster_dir/floor.json"
}

floor_move() {
    python3 "$here/lib/floor.py" move "$cluster_dir/floor.json" >"$cluster_dir/mover.log" 2>&1
}

floor_stop() { :; }

# --- one measurement --------------------------------------------------------------------------------------------------

# load_begin LOAD_KEYS: the load in the background, its first phase over when this returns. In real time, so that it
# asks when it should and measures the servers, not its own wait for a processor.
load_begin() {
    rm -f "$cluster_dir/ready" "$cluster_dir/stop"
    echo before >"$cluster_dir/phase"
    local filled=()
    [ "$1" != "$keys" ] || filled=(--filled)
    "$load" run --seed-node "127.0.0.1:${cluster_ports[0]}" --keys "$1" --size "$size" --rate "$rate" "${filled[@]}" \
        --get-ratio 0.8 --connections-per-node 4 --realtime --mark-file "$cluster_dir/phase" \
        --ready-file "$cluster_dir/ready" --until-file "$cluster_dir/stop" --json "$cluster_dir/load.json" \
        2>"$cluster_dir/load.log" &
    load_pid=$!
    wait_until 60 "the load begins" test -e "$cluster_dir/ready"
    sleep "$warm_up"
}

load_end() {
    local code=0
    sleep 0.5
    touch "$cluster_dir/stop"
    wait "$load_pid" || code=$?
    load_pid=
    return $code
}

# load_number PHASE MEMBER: a number of the load's report.
load_number() {
    sed 's/{"name":/\n&/g' "$cluster_dir/load.json" | grep "^{\"name\":\"$1\"" | grep -o "\"$2\":[0-9.]*" | head -1 |
        cut -d: -f2
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

slots_of() {
    rcli "$1" CLUSTER NODES | awk '/myself/ { for (i = 9; i <= NF; i++) if ($i !~ /^\[/) {
        n = split($i, r, "-"); s += (n > 1 ? r[2] - r[1] : 0) + 1 } } END { print s + 0 }'
}

open_slots() {
    local port
    for port in "${cluster_ports[@]}"; do
        rcli "$port" CLUSTER NODES | grep -o '\[[0-9]*-[<>]-[0-9a-f]*\]' || true
    done | wc -l
}

# cpu_ms PID...: processor time the processes have used so far, all together.
cpu_ms() {
    local pid ticks=0 fields
    for pid in "$@"; do
        fields=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true)
        [ -z "$fields" ] || ticks=$((ticks + $(echo "$fields" | awk '{ print $12 + $13 }')))
    done
    echo $((ticks * 1000 / $(getconf CLK_TCK)))
}

# mover_cpu_ms: of the mover: the daemon, and the programs this shell has run and waited for.
mover_cpu_ms() {
    local children
    children=$(sed 's/.*) //' "/proc/$$/stat" | awk '{ print $14 + $15 }')
    echo $((children * 1000 / $(getconf CLK_TCK) + $(cpu_ms ${drover_pid:-})))
}

# complain WHAT: notes that this measurement is not to be trusted.
complain() {
    echo "compare.sh: $scene $mover: $1" >&2
    bad=$((bad + 1))
}

# check_result: the new node has its share, all agree, nothing is open, and every key is there.
check_result() {
    local primaries=${#cluster_ports[@]} got
    local share=$((16384 / primaries))
    got=$(slots_of "$server_port")
    if [ "$got" -lt $((share - 1)) ] || [ "$got" -gt $((share + 1)) ]; then
        complain "the new node has $got slots instead of $share"
    fi
    wait_until 10 "all nodes agree" cluster_agrees "$primaries" || complain "the nodes do not agree"
    [ "$(open_slots)" -eq 0 ] || complain "slots are still open"
    if [ "$scene" = 2to3 ] && ! "$load" verify --seed-node "127.0.0.1:${cluster_ports[0]}" --keys "$keys" \
        --size "$size" --allow-updated >"$cluster_dir/verify.json" 2>"$cluster_dir/verify.log"; then
        complain "keys are lost or wrong: $(tail -1 "$cluster_dir/verify.log")"
    fi
}

# measure SCENE MOVER: appends one line of results to $cluster_dir/results:
# scene mover ms slots keys p50 p99 p999 max before_p99 errors wrong cpu_servers cpu_mover cpu_load (latencies in us, "-"
# without load; processor time in ms, of all servers with what the load asks of them)
measure() {
    scene=$1 mover=$2
    local kind=${mover%%-*} setting before after primaries=3 watched=0 code=0
    [ "$scene" != 2to3 ] || { primaries=2 watched=$keys; }
    [ "$scene" != empty-load ] || watched=64
    setting=${mover#"$kind"}
    cluster_create "$primaries"
    if [ "$scene" = 2to3 ]; then
        "$load" fill --seed-node "127.0.0.1:${cluster_ports[0]}" --keys "$keys" --size "$size" >/dev/null 2>&1
    fi
    # shellcheck disable=SC2119
    cluster_join
    "${kind}_start"
    [ "$watched" -eq 0 ] || load_begin "$watched"
    [ "$watched" -eq 0 ] || echo during >"$cluster_dir/phase"
    local servers mover_before load_ms
    load_ms=$(cpu_ms ${load_pid:-})
    servers=$(cpu_ms "${cluster_pids[@]}")
    mover_before=$(mover_cpu_ms)
    before=$(now_ms)
    "${kind}_move" "${setting#-}" || { complain "the mover failed: $(tail -1 "$cluster_dir/mover.log")"; }
    after=$(now_ms)
    servers=$(($(cpu_ms "${cluster_pids[@]}") - servers))
    mover_before=$(($(mover_cpu_ms) - mover_before))
    load_ms=$(($(cpu_ms ${load_pid:-}) - load_ms))
    [ "$watched" -eq 0 ] || echo after >"$cluster_dir/phase"
    local numbers="- - - - - 0 0"
    if [ "$watched" -gt 0 ]; then
        load_end || code=$?
        [ "$code" -eq 0 ] || complain "the load saw errors: $(grep -E 'errors|wrong|read back' "$cluster_dir/load.log" | tr -s ' \n' ' ')"
        numbers="$(load_number during p50) $(load_number during p99) $(load_number during p999) $(load_number during max)"
        numbers+=" $(load_number before p99) $(load_number during client_errors) $(grep -o '"wrong":[0-9]*' "$cluster_dir/load.json" | head -1 | cut -d: -f2)"
        [ -z "$out_dir" ] || cp "$cluster_dir/load.json" "$out_dir/$scene-$mover-$round.json"
    fi
    check_result
    echo "$scene $mover $((after - before)) $(slots_of "$server_port") $(rcli "$server_port" DBSIZE) $numbers $servers $mover_before $load_ms" \
        >>"$cluster_dir/results"
    "${kind}_stop"
    [ -z "$out_dir" ] || [ ! -s "$cluster_dir/drover.log" ] || mv "$cluster_dir/drover.log" "$out_dir/$scene-$mover-$round.log"
    local port
    for port in "${cluster_ports[@]}"; do
        cluster_kill "$port" KILL
    done
}

# --- the table --------------------------------------------------------------------------------------------------------

# table: medians of each scene and mover. The ratio is the time of the fastest redis-cli setting of the scene, divided
# by the time of the mover.
table() {
    sort -s -k1,2 "$cluster_dir/results" | awk -v scenes="$scenes" -v movers="$movers" '
        function median(list,   a, n, i, j, t) {
            n = split(list, a, " ")
            for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
            low = a[1]; high = a[n]
            if (low == "-") return low
            return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
        }
        function ms(us) { return us == "-" ? "-" : sprintf("%.2f", us / 1000) }
        { id = $1 " " $2; seen[id] = 1; errors[id] += $11; wrong[id] += $12
          for (i = 3; i <= 15; i++) list[id, i] = list[id, i] " " $i }
        END {
            printf "%-11s %-11s %9s %15s %8s %8s %8s %8s | %8s %7s %7s %7s %7s | %7s %6s %5s | %6s %5s | %s\n", "scene", "mover", "time s",
                "min-max", "slots", "slots/s", "keys", "keys/s", "p99 idle", "p50", "p99", "p99.9", "max", "servers", "mover", "load", "errors", "wrong", "ratio"
            ns = split(scenes, s, ","); nm = split(movers, m, ",")
            for (i = 1; i <= ns; i++) {
                best = 0
                for (k = 1; k <= nm; k++) {
                    id = s[i] " " m[k]
                    if (!(id in seen) || m[k] !~ /^cli-/) continue
                    t = median(list[id, 3])
                    if (best == 0 || t < best) best = t
                }
                for (k = 1; k <= nm; k++) {
                    id = s[i] " " m[k]
                    if (!(id in seen)) continue
                    slots = median(list[id, 4]); keys = median(list[id, 5])
                    t = median(list[id, 3]); span = sprintf("%.2f-%.2f", low / 1000, high / 1000)
                    printf "%-11s %-11s %9.2f %15s %8d %8.0f %8d %8.0f | %8s %7s %7s %7s %7s | %7.1f %6.1f %5.1f | %6d %5d | %s\n", s[i], m[k],
                        t / 1000, span, slots, slots * 1000 / t, keys, keys * 1000 / t, ms(median(list[id, 10])),
                        ms(median(list[id, 6])), ms(median(list[id, 7])), ms(median(list[id, 8])), ms(median(list[id, 9])),
                        median(list[id, 13]) / 1000, median(list[id, 14]) / 1000, median(list[id, 15]) / 1000,
                        errors[id], wrong[id], best ? sprintf("%.2f", best / t) : "-"
                }
            }
        }'
}

bad=0
cluster_begin
touch "$cluster_dir/results"
echo "$("${REDIS_SERVER:-redis-server}" --version | cut -d' ' -f1-3), $(nproc) cores, $keys keys of $size bytes in 2to3, load $rate/s, $rounds round(s)"
for mover in ${movers//,/ }; do
    reason=$("${mover%%-*}_ready")
    if [ -n "$reason" ]; then
        echo "skipped: $mover ($reason)"
        movers=$(echo ",$movers," | sed "s/,$mover,/,/; s/^,//; s/,$//")
    fi
done
for ((round = 1; round <= rounds; round++)); do
    for scene in ${scenes//,/ }; do
        for mover in ${movers//,/ }; do
            measure "$scene" "$mover"
        done
    done
done
table
is_told=yes
[ "$bad" -eq 0 ] || { echo "$bad check(s) failed, see above" >&2; exit 1; }
