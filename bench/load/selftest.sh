#!/usr/bin/env bash
# selftest.sh — proves drover-load on real servers: that it finds nothing where nothing is wrong, also while slots
# move, and that it does find what is wrong. Uses free ports and a private directory; takes about a minute.
#
# Usage: DROVER_LOAD=path/to/drover-load bench/load/selftest.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/lib/cluster.sh
. "$here/../lib/cluster.sh"
load=${DROVER_LOAD:-drover-load}
command -v "$load" >/dev/null || { echo "drover-load not found: set DROVER_LOAD" >&2; exit 2; }

passed=0
failed=0
load_pid=
cleanup() {
    [ -z "$load_pid" ] || kill -KILL "$load_pid" 2>/dev/null || true
    cluster_end
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cluster_begin
out=$cluster_dir/out.json
log=$cluster_dir/out.log

# expect CODE WHAT COMMAND...: the command must end with that exit code.
expect() {
    local code=$1 what=$2 got=0
    shift 2
    "$@" >"$out" 2>"$log" || got=$?
    verdict "$what" "$code" "$got"
}

verdict() {
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
        echo "ok   $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1: expected $2, got $3"
        sed 's/^/     /' "$log" | tail -20
    fi
}

# member NAME: the first number after "NAME": in the last report.
member() {
    grep -o "\"$1\":[0-9]*" "$out" | head -1 | cut -d: -f2
}

above_zero() {
    verdict "$1" yes "$([ "$2" -gt 0 ] && echo yes || echo "no ($2)")"
}

# start_load OPTION...: a load in the background, on its way when this returns.
start_load() {
    rm -f "$cluster_dir/ready" "$cluster_dir/stop"
    "$load" run --seed-node "$seed" --until-file "$cluster_dir/stop" --ready-file "$cluster_dir/ready" "$@" \
        >"$out" 2>"$log" &
    load_pid=$!
    wait_until 30 "the load begins" test -e "$cluster_dir/ready"
}

# end_load CODE WHAT
end_load() {
    local got=0
    touch "$cluster_dir/stop"
    wait "$load_pid" || got=$?
    load_pid=
    verdict "$2" "$1" "$got"
}

# port_of_slot SLOT: the port of its owner, as the first server sees it.
port_of_slot() {
    rcli "${cluster_ports[0]}" CLUSTER NODES | awk -v slot="$1" '{
        for (i = 9; i <= NF; i++) {
            n = split($i, r, "-"); last = n > 1 ? r[2] : r[1]
            if ($i !~ /^\[/ && slot >= r[1] + 0 && slot <= last + 0) { sub(/@.*/, "", $2); sub(/.*:/, "", $2); print $2 }
        } }'
}

# on_key KEY COMMAND...: runs a command at the owner of a key.
on_key() {
    local port
    port=$(port_of_slot "$(rcli "${cluster_ports[0]}" CLUSTER KEYSLOT "$1")")
    shift
    rcli "$port" "$@" >/dev/null
}

reshard() {
    rcli "${cluster_ports[0]}" --cluster reshard "127.0.0.1:${cluster_ports[0]}" --cluster-from "$(node_id "$1")" \
        --cluster-to "$(node_id "$2")" --cluster-slots "$3" --cluster-yes >"$cluster_dir/reshard.log" 2>&1
}

usage_checks() {
    expect 2 "no command is a usage error" "$load"
    expect 2 "a missing seed node is a usage error" "$load" fill --keys 10
    expect 2 "a bad number is a usage error" "$load" fill --seed-node "$seed" --keys ten
    expect 2 "an unknown tolerance is a usage error" "$load" run --seed-node "$seed" --keys 10 --tolerate luck
    expect 0 "help" "$load" --help
    local free=20000
    until port_is_free "$free"; do free=$((free + 1)); done
    expect 3 "an unreachable seed is told apart" "$load" fill --seed-node "127.0.0.1:$free" --keys 10 \
        --connect-timeout-ms 300
}

# migrate_slot SOURCE TARGET SLOT: moves up to 100 keys; true once none is left. EVAL, since a shell cannot hold every
# key name.
migrate_slot() {
    rcli "$1" EVAL "for _, k in ipairs(redis.call('CLUSTER', 'GETKEYSINSLOT', ARGV[1], 100)) do
        if ARGV[3] == '' then redis.call('MIGRATE', '127.0.0.1', ARGV[2], k, 0, 5000)
        else redis.call('MIGRATE', '127.0.0.1', ARGV[2], k, 0, 5000, 'AUTH', ARGV[3]) end end" 0 "$3" "$2" \
        "${CLUSTER_AUTH:-}" >/dev/null
    [ "$(rcli "$1" CLUSTER COUNTKEYSINSLOT "$3")" = 0 ]
}

# hold_slot_open KEY: moves the key's slot to the next node, staying half a second at the point where its keys have
# moved and its owner has not changed, so that every client of them meets ASK.
hold_slot_open() {
    local slot source target port
    slot=$(rcli "${cluster_ports[0]}" CLUSTER KEYSLOT "$1")
    source=$(port_of_slot "$slot")
    target=${cluster_ports[0]}
    [ "$target" != "$source" ] || target=${cluster_ports[1]}
    rcli "$target" CLUSTER SETSLOT "$slot" IMPORTING "$(node_id "$source")" >/dev/null
    rcli "$source" CLUSTER SETSLOT "$slot" MIGRATING "$(node_id "$target")" >/dev/null
    wait_until 10 "slot $slot is empty at its source" migrate_slot "$source" "$target" "$slot"
    sleep 0.5
    for port in "$target" "$source" "${cluster_ports[@]}"; do
        rcli "$port" CLUSTER SETSLOT "$slot" NODE "$(node_id "$target")" >/dev/null
    done
}

data=(--keys 40000 --mix all --big-string 8000000 --slot-pile 42:3000)

moving_checks() {
    expect 0 "fill of every type" "$load" fill --seed-node "$seed" "${data[@]}"
    local sum=0 port
    for port in "${cluster_ports[@]}"; do
        sum=$((sum + $(rcli "$port" DBSIZE)))
    done
    verdict "no two names of the data set are the same" 43001 "$sum"
    expect 0 "fill with keys that expire" "$load" fill --seed-node "$seed" "${data[@]}" --expiring 500:600000
    expect 0 "verify of every type" "$load" verify --seed-node "$seed" "${data[@]}" --expiring 500:600000
    echo before >"$cluster_dir/phase"
    start_load --keys 5000 --rate 3000 --mix all --mark-file "$cluster_dir/phase"
    sleep 0.5
    echo during >"$cluster_dir/phase"
    reshard "${cluster_ports[0]}" "${cluster_ports[1]}" 600
    reshard "${cluster_ports[1]}" "${cluster_ports[2]}" 900
    echo after >"$cluster_dir/phase"
    sleep 0.5
    end_load 0 "a load with slots on the move sees nothing wrong"
    above_zero "it was redirected by MOVED" "$(member moved)"
    verdict "three phases are reported" 3 "$(grep -o '"name":' "$out" | wc -l)"
    expect 0 "verify after the move" "$load" verify --seed-node "$seed" "${data[@]}" --expiring 500:600000
    start_load --keys 32 --rate 2000 --mix all
    hold_slot_open load:1
    hold_slot_open load:2
    end_load 0 "a load with a slot held open sees nothing wrong"
    above_zero "it was redirected by ASK" "$(member ask)"
}

# damage WHAT COUNTS KEY COMMAND...: the command, run behind the back of verify, must be found and counted as "wrong
# lost ttl_errors"; filling again mends it.
damage() {
    local what=$1 counts=$2
    shift 2
    on_key "$@"
    expect 1 "verify finds $what" "$load" verify --seed-node "$seed" "${data[@]}"
    verdict "... and counts it" "$counts" "$(member wrong) $(member lost) $(member ttl_errors)"
    "$load" fill --seed-node "$seed" "${data[@]}" >/dev/null 2>&1
}

verify_can_fail() {
    data=(--keys 4000 --mix all)
    damage "a changed value" "1 0 0" key:0 SET key:0 x
    damage "a lost key" "0 1 0" key:0 DEL key:0
    damage "another type" "1 0 0" key:2 SET key:2 x
    damage "a lost list element" "1 0 0" key:3 RPOP key:3
    damage "a list element too many" "1 0 0" key:3 RPUSH key:3 x
    damage "a changed score" "1 0 0" key:5 ZADD key:5 77 x
    damage "a new expiry" "0 0 1" key:0 PEXPIRE key:0 900000
    damage "a lost expiry" "0 0 1" key:1 PERSIST key:1
    damage "a shifted expiry" "0 0 1" key:1 PEXPIREAT key:1 4102444806000
    expect 0 "verify is content again" "$load" verify --seed-node "$seed" "${data[@]}"
}

# run_damage WHAT MEMBER COMMAND...: the load of a few keys must find the damage done by the command meanwhile.
run_damage() {
    local what=$1 member=$2
    shift 2
    start_load --keys 32 --rate 2000 --mix all --get-ratio 0.8
    sleep 0.6
    "$@"
    sleep 0.3
    end_load 1 "run finds $what"
    above_zero "... as $member" "$(grep -o "\"$member\":[0-9]*" "$out" | cut -d: -f2 | sort -n | tail -1)"
}

# Repeated, since a write of the load may by chance come between the damage and the next read.
five_times() {
    local i
    for i in 1 2 3 4 5; do
        "$@"
        sleep 0.05
    done
}

put_back_old_value() {
    on_key load:2 COPY load:2 '{load:2}old' REPLACE
    sleep 0.5
    five_times on_key load:2 COPY '{load:2}old' load:2 REPLACE
    on_key load:2 DEL '{load:2}old'
}

run_can_fail() {
    run_damage "a deleted key" lost five_times on_key load:3 DEL load:3
    run_damage "an old value" backwards put_back_old_value
    run_damage "another key's value" corrupt five_times on_key load:4 SET load:4 "$(printf 'x%.0s' {1..100})"
    run_damage "a counter set back" wrong on_key load:0 SET load:0 0
    run_damage "a lost list element" lost on_key load:1 LPOP load:1
    start_load --keys 2000 --rate 50 --get-ratio 0
    on_key load:7 DEL load:7
    end_load 1 "run finds at its end what no read came by"
}

# A node that thinks it lost a slot answers CLUSTERDOWN until it has it back.
failures_are_seen() {
    local port
    port=$(port_of_slot 0)
    start_load --keys 1000 --rate 1000
    rcli "$port" CLUSTER DELSLOTS 0 >/dev/null
    sleep 0.3
    rcli "$port" CLUSTER ADDSLOTS 0 >/dev/null
    wait_until 20 "the cluster is up again" node_sees "$port" 3
    end_load 1 "CLUSTERDOWN is a client error"
    above_zero "... and is counted" "$(member clusterdown)"
    start_load --keys 1000 --rate 1000 --mix all --tolerate clusterdown
    rcli "$port" CLUSTER DELSLOTS 0 >/dev/null
    sleep 0.3
    rcli "$port" CLUSTER ADDSLOTS 0 >/dev/null
    wait_until 20 "the cluster is up again" node_sees "$port" 3
    end_load 0 "... unless it is tolerated"
    above_zero "... when it is repeated" "$(member retries)"
    start_load --keys 1000 --rate 1000 --mix all --timeout-ms 300
    cluster_kill "$port" STOP
    sleep 1
    cluster_kill "$port" CONT
    end_load 1 "a node that does not answer is a client error"
    above_zero "... and is counted" "$(member timeout)"
    start_load --keys 1000 --rate 1000 --mix all --timeout-ms 300 --tolerate connection
    cluster_kill "$port" STOP
    sleep 1
    cluster_kill "$port" CONT
    end_load 0 "... unless it is tolerated"
    start_load --keys 1000 --rate 1000 --mix all
    kill -TERM "$load_pid"
    end_load 0 "SIGTERM ends a load in good order"
}

# stop_servers: ends the cluster at hand, so that the next test can have its own.
stop_servers() {
    local port
    for port in "${cluster_ports[@]}"; do
        [ -z "${cluster_pids[$port]:-}" ] || cluster_kill "$port" KILL
    done
}

announces() {
    rcli "${cluster_ports[0]}" CLUSTER SLOTS | grep -qxF "$1"
}

# announce NAME VALUE...: sets announced addresses on every server.
announce() {
    local port
    for port in "${cluster_ports[@]}"; do
        rcli "$port" CONFIG SET "$@" >/dev/null
    done
}

# A password, an ACL user, and slots that move between nodes known by IPv6, by name, or only by their port.
addresses_and_credentials() {
    local slot user=(--user joe --password 'x y') local_data=(--keys 2000 --mix all) port
    CLUSTER_AUTH=secret
    cluster_create 3
    for port in "${cluster_ports[@]}"; do
        rcli "$port" ACL SETUSER joe on '>x y' '~*' +@all >/dev/null
    done
    seed=127.0.0.1:${cluster_ports[0]}
    expect 3 "no password is told" "$load" fill --seed-node "$seed" "${local_data[@]}"
    expect 3 "a wrong password is told" "$load" fill --seed-node "$seed" "${local_data[@]}" --password wrong
    verdict "... with the reason" 1 "$(grep -c WRONGPASS "$log")"
    expect 0 "fill with a password" "$load" fill --seed-node "$seed" "${local_data[@]}" --password secret
    if grep -q ' lo$' /proc/net/if_inet6 2>/dev/null; then
        announce cluster-announce-ip ::1
        wait_until 20 "IPv6 is announced" announces ::1
        expect 0 "verify over IPv6 as a user" "$load" verify --seed-node "[::1]:${cluster_ports[0]}" \
            "${local_data[@]}" "${user[@]}"
        start_load --keys 32 --rate 2000 "${user[@]}"
        hold_slot_open load:1
        end_load 0 "a load meets ASK and MOVED with IPv6 addresses"
        above_zero "... and followed" "$(member ask)"
    else
        echo "skipped: IPv6: this machine has no ::1"
    fi
    announce cluster-announce-hostname localhost cluster-preferred-endpoint-type hostname
    wait_until 20 "the name is announced" announces localhost
    start_load --keys 32 --rate 2000 "${user[@]}"
    hold_slot_open load:2
    end_load 0 "a load meets ASK and MOVED with host names"
    above_zero "... and followed" "$(member ask)"
    announce cluster-preferred-endpoint-type unknown-endpoint
    start_load --keys 32 --rate 2000 "${user[@]}"
    hold_slot_open load:3
    end_load 0 "a load meets ASK and MOVED without an address"
    above_zero "... and followed" "$(member ask)"
    stop_servers
    CLUSTER_AUTH=
}

replica_is_synced() {
    rcli "$1" INFO replication | grep -q 'master_link_status:up'
}

# A primary dies for good; its replica takes over. Lost writes are possible then (replication is asynchronous), so only
# the load's own behaviour is judged.
failover() {
    local victim replica
    CLUSTER_NODE_TIMEOUT=1000
    cluster_create 3
    victim=${cluster_ports[1]}
    # shellcheck disable=SC2119
    cluster_join
    replica=$server_port
    rcli "$replica" CLUSTER REPLICATE "$(node_id "$victim")" >/dev/null
    wait_until 30 "the replica is in sync" replica_is_synced "$replica"
    seed=127.0.0.1:$victim
    start_load --seed-node "127.0.0.1:${cluster_ports[0]}" --keys 1000 --rate 1000 --mix all --timeout-ms 500 \
        --tolerate connection,clusterdown
    sleep 0.3
    cluster_kill "$victim" KILL
    wait_until 30 "the replica is promoted" eval "rcli $replica ROLE | grep -q master"
    sleep 1
    touch "$cluster_dir/stop"
    wait "$load_pid" || true
    load_pid=
    verdict "a failover is sat out" "0 0 0" "$(member client_errors) $(member gave_up) $(member unread)"
    above_zero "... although the primary was missed" "$(member connection)"
    stop_servers
}

cluster_create 3
seed=127.0.0.1:${cluster_ports[0]}
usage_checks
moving_checks
verify_can_fail
run_can_fail
failures_are_seen
stop_servers
addresses_and_credentials
failover
echo "selftest: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
