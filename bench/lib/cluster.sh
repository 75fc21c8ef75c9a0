# cluster.sh — starts and stops throw-away Redis Clusters for the benchmarks and the load client's own test.
# Sourced by bash scripts, after `set -euo pipefail`. Source of the server settings: those of the published measurements.
#
# Every server runs in a directory below $cluster_dir, on ports found free, and is known to be ours: a server that
# answers under another process id than the one started is never talked to.
# shellcheck shell=bash

cluster_dir=
cluster_ports=()
declare -A cluster_pids=()

# cluster_begin: makes the private directory. Call cluster_end in a trap.
cluster_begin() {
    cluster_dir=$(mktemp -d "${TMPDIR:-/tmp}/drover-bench.XXXXXX")
}

# cluster_end: stops all servers of this script and removes their files.
cluster_end() {
    local port
    for port in "${!cluster_pids[@]}"; do
        cluster_kill "$port" TERM
    done
    [ -z "$cluster_dir" ] || rm -rf "$cluster_dir"
}

# cluster_kill PORT SIGNAL: signals our server on PORT; TERM and KILL wait for its end and forget it.
cluster_kill() {
    local pid=${cluster_pids[$1]}
    kill "-$2" "$pid" 2>/dev/null || true
    case $2 in
    TERM | KILL)
        wait "$pid" 2>/dev/null || true
        unset "cluster_pids[$1]"
        ;;
    esac
}

# rcli PORT WORD...: one command to our server on PORT.
rcli() {
    local port=$1
    shift
    "${REDIS_CLI:-redis-cli}" --no-auth-warning -h 127.0.0.1 -p "$port" ${CLUSTER_AUTH:+-a "$CLUSTER_AUTH"} "$@"
}

port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# wait_until SECONDS WHAT COMMAND...: repeats the command until it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "gave up waiting: $what" >&2
            return 1
        fi
        sleep 0.05
    done
}

server_is_ours() {
    local said
    said=$(rcli "$1" INFO server 2>/dev/null | tr -d '\r' | sed -n 's/^process_id://p')
    [ "$said" = "${cluster_pids[$1]}" ]
}

# server_start [OPTION...]: one more empty cluster-enabled server; its port is in $server_port and added to
# $cluster_ports. Bus port: port + 10000.
server_start() {
    local port try dir
    for try in $(seq 50); do
        port=$((20000 + RANDOM % 12000))
        if ! port_is_free "$port" || ! port_is_free $((port + 10000)); then
            continue
        fi
        # A port that served before is passed over: its server would come up with the cluster of then.
        dir=$cluster_dir/$port
        mkdir "$dir" 2>/dev/null || continue
        "${REDIS_SERVER:-redis-server}" --port "$port" --cluster-enabled yes --dir "$dir" --logfile "$dir/log" \
            --save "" --appendonly no --cluster-node-timeout "${CLUSTER_NODE_TIMEOUT:-15000}" \
            --repl-diskless-sync-delay 0 --daemonize no ${CLUSTER_AUTH:+--requirepass "$CLUSTER_AUTH"} \
            ${CLUSTER_AUTH:+--masterauth "$CLUSTER_AUTH"} "$@" >/dev/null 2>&1 &
        cluster_pids[$port]=$!
        if wait_until 10 "server on port $port" server_is_ours "$port" 2>/dev/null; then
            server_port=$port
            cluster_ports+=("$port")
            return 0
        fi
        cluster_kill "$port" KILL
    done
    echo "no server could be started (tried $try ports); see REDIS_SERVER" >&2
    return 1
}

# node_sees PORT COUNT: the node's own view has COUNT connected nodes and the cluster is ok.
node_sees() {
    local lines
    lines=$(rcli "$1" CLUSTER NODES 2>/dev/null | grep -c ' connected') || true
    [ "$lines" -eq "$2" ] && rcli "$1" CLUSTER INFO | grep -q 'cluster_state:ok'
}

# cluster_agrees COUNT: every server of ours sees COUNT nodes, and all hold the same map.
cluster_agrees() {
    local port maps=()
    for port in "${cluster_ports[@]}"; do
        node_sees "$port" "$1" || return 1
        maps+=("$(rcli "$port" CLUSTER NODES | awk '$3 !~ /slave/ { s = $1; for (i = 9; i <= NF; i++) s = s " " $i; print s }' | sort)")
    done
    [ "$(printf '%s\0' "${maps[@]}" | sort -zu | tr -cd '\0' | wc -c)" -eq 1 ]
}

# cluster_create COUNT: a cluster of COUNT new primaries with equal shares. Ports: $cluster_ports.
cluster_create() {
    local i first last
    cluster_ports=()
    for ((i = 0; i < $1; i++)); do
        server_start
    done
    for ((i = 0; i < $1; i++)); do
        first=$((i * 16384 / $1))
        last=$(((i + 1) * 16384 / $1 - 1))
        rcli "${cluster_ports[i]}" CLUSTER ADDSLOTSRANGE "$first" "$last" >/dev/null
        rcli "${cluster_ports[i]}" CLUSTER SET-CONFIG-EPOCH $((i + 1)) >/dev/null
    done
    wait_until 60 "the new cluster agrees" cluster_met "$1"
}

# cluster_met COUNT: as cluster_agrees; introduces everybody again every few seconds, since a handshake that is lost once
# (it has a time limit) is not repeated by the servers.
cluster_met() {
    local port
    if [ $((SECONDS % 5)) -eq 0 ] || [ "${cluster_met_for:-}" != "${cluster_ports[*]}" ]; then
        cluster_met_for=${cluster_ports[*]}
        for port in "${cluster_ports[@]:1}"; do
            rcli "$port" CLUSTER MEET 127.0.0.1 "${cluster_ports[0]}" >/dev/null
        done
    fi
    cluster_agrees "$1"
}

# cluster_join [OPTION...]: one more empty primary joins; its port is in $server_port.
cluster_join() {
    server_start "$@"
    wait_until 60 "the new node is known" cluster_met "${#cluster_ports[@]}"
}

# node_id PORT
node_id() {
    rcli "$1" CLUSTER MYID | tr -d '\r'
}
