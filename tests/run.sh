#!/usr/bin/env bash
# Builds drover and runs every test: format, rules of the house, unit, contract, simulation and integration tests.
#   tests/run.sh            all of it (installs what is missing when run as root)
#   tests/run.sh --quick    one compiler, no sanitizers, no integration tests
# Prints the test runner's closing lines; exits 0 only if everything passed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
quick=no
[ "${1:-}" != --quick ] || quick=yes
jobs=$(nproc)
started=$(date +%s)
step() {
    echo
    echo "== $* ($(($(date +%s) - started)) s)"
}
die() {
    echo "run: $*" >&2
    exit 1
}

step "dependencies"
deploy/install-deps.sh test || die "dependencies could not be installed"

step "format"
mapfile -t sources < <(git ls-files '*.c' '*.h')
clang-format-14 --dry-run -Werror "${sources[@]}" 2>&1 | head -20
[ "${PIPESTATUS[0]}" = 0 ] || die "format differs: run clang-format-14 -i on the files named"

step "build with gcc (release)"
cmake --preset release > /dev/null || die "configure failed"
cmake --build --preset release -j "$jobs" || die "build failed"

failed=()
# stage NAME COMMAND...: goes on after a failure, so that one run shows all there is; the end names what failed.
stage() {
    local name=$1
    shift
    step "$name"
    "$@" || failed+=("$name")
}
# Yields to tests that run beside it.
build() {
    local preset=$1
    cmake --preset "$preset" > /dev/null && nice -n 15 cmake --build --preset "$preset" -j "$jobs"
}

if [ "$quick" = yes ]; then
    stage "tests" ctest --preset release -L 'arch|unit|contract' -LE alone -j "$((3 * jobs))"
else
    # These wait more than they work: another compiler works meanwhile. What they print comes when they are done.
    log=$(mktemp)
    ctest --preset release -L 'arch|unit|contract|sim|integration' -LE alone -j "$((3 * jobs))" > "$log" 2>&1 &
    beside=$!
    # Cut off, it leaves nothing running.
    trap 'kill "$beside" 2> /dev/null; wait "$beside"; rm -f "$log"' EXIT

    stage "build with clang, ASan and UBSan" build clang
    stage "clang-tidy and cppcheck" nice -n 15 tests/tools/analyse.sh build/clang
    stage "unit and contract tests under ASan and UBSan" ctest --preset clang -L 'unit|contract' -LE alone -j "$((3 * jobs))"

    if compgen -G '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' > /dev/null; then
        # Libraries of their own: what the fuzzer has to see makes the tests three times as slow.
        stage "build of the fuzz targets" build fuzz
        stage "fuzz targets, 5 s each" tests/fuzz/run.sh build/fuzz 5
    else
        echo "skipped: fuzz targets: libFuzzer (libclang-rt-14-dev) is not installed"
    fi

    stage "tests that ran meanwhile" wait "$beside"
    cat "$log"
    trap 'rm -f "$log"' EXIT
    stage "tests that run alone" ctest --preset release -L alone
fi

step "finished"
for name in "${failed[@]}"; do
    echo "FAILED: $name"
done
[ ${#failed[@]} = 0 ] || exit 1
echo "all stages passed"
