# bash completion of metammf(1) and metammfd(8)

_metammf_verbs() {
    metammf --help 2>/dev/null | sed -n '/^Verbs:/,/^$/s/^  *\([a-z][a-z]*\)  *.*/\1/p'
}

# The words that may follow a verb, or an option: "dlq [OPTION...] list|show", "or: model pin [ID]",
# "--backbone=mf|sage".
_metammf_words() {
    metammf $1 --help 2>/dev/null | sed -nE \
        "s/^(Usage:|  or:) +metammf $1 \\[OPTION\\.\\.\\.\\] ([a-z|]+)( .*)?\$/\\2/p" | tr '|' '\n'
}

_metammf_choices() {
    metammf $1 --help 2>/dev/null | sed -nE "s/^ .*$2=([a-z]+(\\|[a-z]+)+)( .*)?\$/\\1/p" | tr '|' '\n'
}

_metammf() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb="" i
    case $previous in
        --config | -c | --store | --out | --model | --features | --media-root | --from)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --config | -c | --store) i=$((i + 1)) ;;
            -*) ;;
            *)
                verb=${COMP_WORDS[i]}
                break
                ;;
        esac
    done
    if [[ $current == -* ]]; then
        local options
        options=$(metammf $verb --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u)
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ -z $verb ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_metammf_verbs)" -- "$current")
    elif [[ $previous == --* && -n $(_metammf_choices "$verb" "$previous") ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_metammf_choices "$verb" "$previous")" -- "$current")
    elif [[ $previous == "$verb" && -n $(_metammf_words "$verb") ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_metammf_words "$verb")" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}

_metammfd() {
    local current=${COMP_WORDS[COMP_CWORD]}
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(
            compgen -W "--config --check-config --print-config --changed --help --version" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}

complete -o filenames -F _metammf metammf
complete -o filenames -F _metammfd metammfd
