#!/usr/bin/env bash
# Checks the rules of the house that a compiler does not: who includes whom, what the cores link, how long files and
# functions are, and banned functions. Usage: layers.sh SOURCE_DIR BUILD_DIR
set -u
source_dir=$1
build_dir=$2
cd "$source_dir" || exit 2
failures=0
fail() {
    echo "layers: $*"
    failures=$((failures + 1))
}

# --- who includes whom (docs/design.md, section 2) -------------------------------------------------------------------
# rule FOLDER ALLOWED-OWN-HEADERS-REGEX: every include "..." of a file in FOLDER must match.
rule() {
    local folder=$1 allowed=$2 file include
    for file in "$folder"/*.c "$folder"/*.h; do
        [ -e "$file" ] || continue
        [ "${file##*/}" = main.c ] && continue
        while read -r include; do
            [[ "$include" =~ ^($allowed)$ ]] || fail "$file includes \"$include\", which its layer may not know"
        done < <(sed -nE 's/^#include "([^"]+)".*/\1/p' "$file")
    done
}
rule common/base 'common/base/[a-z0-9_]+\.h'
rule common/model 'common/(base|model)/[a-z0-9_]+\.h'
rule common/wire '(common/(base|model|wire)/[a-z0-9_]+\.h|(drover|record)\.pb-c\.h)'
rule common/io 'common/(base|model|io)/[a-z0-9_]+\.h'
rule coordinator/core '(common/(base|model)|coordinator/core)/[a-z0-9_]+\.h'
rule agent/core '(common/(base|model)|agent/core)/[a-z0-9_]+\.h'
rule coordinator/shell '(common/(base|model|wire|io)|coordinator/(core|shell))/[a-z0-9_]+\.h'
rule agent/shell '(common/(base|model|wire|io)|agent/(core|shell))/[a-z0-9_]+\.h'
rule ctl '(common/(base|model)|ctl)/[a-z0-9_]+\.h'
# The drop-in for redis-cli reads nodes itself, without a coordinator.
rule ctl/compat '(common/(base|model|io)|ctl|ctl/compat)/[a-z0-9_]+\.h'
rule tests/sim '(common/(base|model|wire)|agent/core|coordinator/core|tests/sim)/[a-z0-9_]+\.h'

# --- system headers that a pure layer may include --------------------------------------------------------------------
pure='ctype|errno|float|inttypes|limits|math|stdarg|stdbool|stddef|stdint|stdio|stdlib|string|strings'
for folder in common/base common/model coordinator/core agent/core; do
    for file in "$folder"/*.c "$folder"/*.h; do
        [ -e "$file" ] || continue
        while read -r include; do
            [[ "$include" =~ ^($pure)\.h$ ]] || fail "$file includes <$include>: cores have no clock, file, socket or library"
        done < <(sed -nE 's/^#include <([^>]+)>.*/\1/p' "$file")
    done
done

# --- what the archives of the pure layers ask the linker for ---------------------------------------------------------
libc='mem(cpy|move|set|cmp|chr|mem)|str(len|cmp|ncmp|chr|rchr|str|casecmp|ncasecmp|cspn|spn|nlen|pbrk|tol|toll|tod|toul|toull|tok_r)'
libc+='|__isoc2?[0-9]*_?strto[a-z]+|malloc|calloc|realloc|free|abort|qsort|bsearch|v?snprintf|v?fprintf|fflush|stderr|fputs|fwrite'
libc+='|__errno_location|__ctype_b_loc|__ctype_tolower_loc|__ctype_toupper_loc|tolower|toupper|isalnum|isdigit|isspace|isxdigit|isprint'
libc+='|__stack_chk_fail|__[a-z]+_chk|log2?|exp2?|pow|sqrt|floor|ceil|lround|llround|fabs|round|__(asan|ubsan|tsan|gcov|sanitizer)_.*|_GLOBAL_OFFSET_TABLE_'
libc+='|__llvm_.*|__start_.*|__stop_.*|__sanitizer.*|__tsan.*|__popcountdi2'
pure_symbols() {
    local archive
    for archive in "$@"; do
        nm --defined-only -g "$archive" 2>/dev/null | awk 'NF == 3 {print $3}'
    done | sort -u
}
archives=()
for name in drover_base drover_model drover_coordinator_core drover_agent_core; do
    [ -e "$build_dir/lib$name.a" ] && archives+=("$build_dir/lib$name.a")
done
if [ ${#archives[@]} -gt 0 ]; then
    defined=$(mktemp)
    pure_symbols "${archives[@]}" > "$defined"
    for archive in "${archives[@]}"; do
        while read -r symbol; do
            grep -qxF "$symbol" "$defined" || [[ "$symbol" =~ ^($libc)$ ]] ||
                fail "${archive##*/} needs $symbol: not a pure function"
        done < <(nm -u "$archive" 2>/dev/null | awk '$1 == "U" {print $2}' | sort -u)
    done
    rm -f "$defined"
else
    fail "no archives in $build_dir: nothing was checked"
fi

# --- sizes -----------------------------------------------------------------------------------------------------------
while read -r file; do
    lines=$(wc -l < "$file")
    limit=700
    [ "$lines" -le $limit ] || fail "$file has $lines lines, over $limit: split it by noun"
    awk -v file="$file" '
        /^\{/ { start = NR }
        /^\}/ { if (start && NR - start - 1 > 70) { printf "layers: %s:%d: function of %d lines, over 70\n", file, start, NR - start - 1; bad = 1 } start = 0 }
        END { exit bad }' "$file" || failures=$((failures + 1))
done < <(git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null || find . -name '*.[ch]' -not -path './build*')

# --- banned ----------------------------------------------------------------------------------------------------------
banned='(^|[^a-zA-Z0-9_])(strcpy|strcat|sprintf|strncpy|strtok|atoi|gets|localtime|gmtime|rand|usleep|system|popen|alloca)\('
while IFS= read -r hit; do
    [ -z "$hit" ] || fail "banned function: $hit"
done < <(grep -nE "$banned" -r agent common coordinator ctl --include=*.c | grep -vE '^[^:]+:[0-9]+: *(\*|//|/\*)' | head -20)
while IFS= read -r hit; do
    [ -z "$hit" ] || fail "open work in a comment: $hit"
done < <(grep -nE '(TODO|FIXME|XXX)' -r agent common coordinator ctl --include=*.[ch] | head -20)

if [ "$failures" -gt 0 ]; then
    echo "layers: $failures rule(s) broken"
    exit 1
fi
echo "layers: the house is in order"
