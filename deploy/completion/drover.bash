# Completion of the drover command for bash: source it, or put it into /usr/share/bash-completion/completions/drover.
# Verbs and options come from `drover` itself, nodes and operations from the API (at most a second).
_drover_verbs() { drover help 2>/dev/null | awk '/^usage/ {on = 1; next} /^Common/ {exit} on && /^  [a-z]/ {print}'; }
_drover_words() { # first words, or second words after $1
    _drover_verbs | awk -v first="$1" '
        first == "" {print $1}
        first != "" && $1 == first && $2 ~ /^[a-z]+$/ && $2 !~ /^(ID|NODE|FILE|REPLICA)$/ {print $2}' | sort -u
}
_drover_options() { drover "$@" --help 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u; }
_drover_nodes() { drover nodes -o json --timeout 1s 2>/dev/null | sed -nE 's/^ *"address": "([^"]+)".*/\1/p'; }
_drover_operations() { drover ops -o json --timeout 1s 2>/dev/null | sed -nE 's/^ *"id": "(op-[^"]+)".*/\1/p'; }

_drover() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local first=${COMP_WORDS[1]} second=${COMP_WORDS[2]} words=
    case "$previous" in
    -o | --output) words="text wide json" ;;
    --speed) words="soft balanced fast" ;;
    --from | --to | -t | --of | --replica-of) words=$(_drover_nodes) ;;
    -f) [ "$first" = reshard ] || [ "$second" = reshard ] && words=$(_drover_nodes) ;;
    --state | -s) words="planned running pausing paused cancelling done cancelled failed held" ;;
    --out | --ca | apply)
        COMPREPLY=($(compgen -f -- "$current"))
        return
        ;;
    esac
    if [ -z "$words" ]; then
        if [ "$COMP_CWORD" = 1 ]; then
            words=$(_drover_words "")
        elif [[ "$current" == -* ]]; then
            case "$first" in
            plan | op) words=$(_drover_options "$first" "$second") ;;
            *) words=$(_drover_options "$first") ;;
            esac
        elif [ "$COMP_CWORD" = 2 ] && [[ "$first" == plan || "$first" == op ]]; then
            words=$(_drover_words "$first")
        elif [ "$first" = op ]; then
            words=$(_drover_operations)
        elif [[ " drain remove replicate failover certificate " == *" $first "* ]] ||
            [[ "$first" == plan && ("$second" == drain || "$second" == remove) ]]; then
            words=$(_drover_nodes)
        elif [ "$first" = help ]; then
            words="$(_drover_words "") exit-codes"
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    # Addresses hold colons, at which bash splits words.
    declare -F __ltrim_colon_completions > /dev/null && __ltrim_colon_completions "$current"
}
complete -F _drover drover
