#!/usr/bin/env bash
# Runs clang-tidy-14 (common, the agent, the coordinator's core; without the slow clang-analyzer checks) and cppcheck
# (all four folders of the product). Usage: analyse.sh BUILD_DIR, that of preset "clang", built.
# ctl and coordinator/shell are left out of clang-tidy: some of their functions take more than 6 parameters.
set -u
build_dir=${1:?usage: analyse.sh BUILD_DIR}
cd "$(dirname "$0")/../.." || exit 2
jobs=$(nproc)
status=0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%s\0' common/*/*.c agent/*/*.c agent/*.c coordinator/core/*.c |
    xargs -0 -P "$jobs" -n 4 clang-tidy-14 --quiet -p "$build_dir" --checks='-clang-analyzer-*' > "$log" 2>&1 || status=1
grep -E '(error|warning):' "$log" | sort -u
[ "$status" = 0 ] || echo "analyse: clang-tidy found something"

# NULL ends a list of texts: on POSIX it is a pointer.
cppcheck -j "$jobs" --quiet --enable=warning,portability,performance --inline-suppr --suppress=varFuncNullUB \
    --library=tests/tools/cppcheck.cfg --error-exitcode=1 -I. common agent coordinator ctl || {
    echo "analyse: cppcheck found something"
    status=1
}
exit $status
