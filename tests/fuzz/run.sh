#!/usr/bin/env bash
# Runs every fuzz target for some seconds, from the seeds of the tests.
#   tests/fuzz/run.sh BUILD_DIR [SECONDS]     BUILD_DIR of preset "fuzz"; 5 seconds each
# Exits 1 when one finds something; what it found is kept in the folder that is printed.
# Inputs that once broke something live in tests/fuzz/crashes/<target>/ and are run first.
set -u
build_dir=${1:?usage: run.sh BUILD_DIR [SECONDS]}
seconds=${2:-5}
tests=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d -t drover-fuzz-XXXXXX)
programs=0

# seeds TARGET FOLDER: fills the folder.
seeds() {
    local target=$1 folder=$2 file kinds
    mkdir -p "$folder"
    case $target in
    nodes_text | info_text) cp "$tests"/unit/model/samples/*.txt "$folder" ;;
    message | record)
        kinds='hello|welcome|refusal|report|instructions'
        for file in "$tests"/golden/wire/*.hex; do
            if [[ ${file##*/} =~ ^($kinds)- ]]; then
                [ "$target" = message ] || continue
            else
                [ "$target" = record ] || continue
            fi
            # The dump's hex digits, as bytes.
            printf '%b' "$(tr -d ' \n' < "$file" | sed 's/../\\x&/g')" > "$folder/${file##*/}"
        done
        ;;
    esac
    [ ! -d "$tests/fuzz/seeds/$target" ] || cp "$tests/fuzz/seeds/$target"/* "$folder"
    [ ! -d "$tests/fuzz/crashes/$target" ] || cp "$tests/fuzz/crashes/$target"/* "$folder"
}

# fuzz PROGRAM: runs one, says what came of it.
fuzz() {
    local program=$1 target=${1##*/fuzz_}
    seeds "$target" "$work/$target"
    mkdir -p "$work/found/$target"
    if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$work/found/$target/" "$work/$target" > "$work/$target.log" 2>&1; then
        echo "fuzz: $target: $(awk '/number_of_executed_units/ {print $2}' "$work/$target.log") runs in $seconds s, \
$(awk '/cov:/ {for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1)} END {print c}' "$work/$target.log") edges"
    else
        touch "$work/$target.failed"
        echo "fuzz: $target FAILED; input in $work/found/$target, log in $work/$target.log"
        grep -vE '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse|RELOAD|INITED|DONE)' "$work/$target.log" | tail -30
    fi
}

for program in "$build_dir"/tests/fuzz/fuzz_*; do
    [ -f "$program" ] && [ -x "$program" ] || continue
    programs=$((programs + 1))
    # As many at once as there are processors.
    [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
    fuzz "$program" &
done
wait
failures=$(find "$work" -maxdepth 1 -name '*.failed' | wc -l)
if [ "$programs" = 0 ]; then
    echo "fuzz: no programs in $build_dir/tests/fuzz: nothing was run"
    exit 1
fi
if [ "$failures" -gt 0 ]; then
    echo "fuzz: $failures target(s) failed"
    exit 1
fi
rm -rf "$work"
echo "fuzz: $programs targets, nothing found"
