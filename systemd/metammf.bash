# bash completion of metammf(1) and metammfd(8). All that it knows stands in --help: verbs, words that follow them,
# options, values ("--backbone=mf|sage"), and by the names of arguments (FILE, DIR, X.npy) where a file is expected.

_metammf_help() {
    ARGP_HELP_FMT=rmargin=5000 "$@" --help 2>/dev/null
}

# What an option is followed by, "" = nothing: -k of "  -k, --number=N".
_metammf_argument() { # HELP OPTION
    local name=${2#-}
    [[ $name =~ ^-?[a-z0-9-]+$ ]] || return
    sed -nE "s/^ +(-$name, --[a-z-]+|(-[a-z], )?-$name)=([^ ]+)( .*)?\$/\\3/p" <<<"$1"
}

_metammf_files() { # CURRENT PREFIX KIND
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "-$3" -P "$2" -- "$1")
}

_metammf_list() { # CURRENT PREFIX WORDS
    mapfile -t COMPREPLY < <(compgen -P "$2" -W "$3" -- "$1")
}

# By what an option's argument, or an operand, is called.
_metammf_value() { # CURRENT PREFIX ARGUMENT HELP
    case $3 in
        WORD) _metammf_list "$1" "$2" "$(sed -nE 's/^Reasons[^:]*: (.*)\.$/\1/p' <<<"$4" | tr -d ,)" ;;
        DIR | FOLDER) _metammf_files "$1" "$2" d ;;
        *FILE* | *DIR* | *FOLDER* | *MEDIA* | PATH | *.npy | *.safetensors | *.tsv | *.ndjson)
            _metammf_files "$1" "$2" f
            ;;
        *[!a-z\|]*) ;;
        *'|'*) _metammf_list "$1" "$2" "${3//|/ }" ;;
    esac
}

# What may follow a verb, a line each: "list", "show [ID]", "FILE.ndjson".
_metammf_usages() { # HELP
    sed -nE 's/^(Usage:|  or:) +[a-z-]+ [a-z]+ \[OPTION\.\.\.\] ?(.*)$/\2/p' <<<"$1"
}

_metammf_operand() { # CURRENT HELP FIRST-OPERAND
    local usage words="" kind="" first
    while read -r usage; do
        first=${usage%% *}
        if [[ $first =~ ^[a-z]+(\|[a-z]+)*$ ]]; then
            words+=" ${first//|/ }"
            [[ -n $3 && "|$first|" == *"|$3|"* ]] || continue
            usage=${usage#"$first"}
        fi
        kind+=" $usage"
    done < <(_metammf_usages "$2")
    if [[ -n $words && -z $3 ]]; then
        _metammf_list "$1" "" "$words"
    else
        case $kind in
            *FILE* | *MEDIA* | *.tsv*) _metammf_value "$1" "" FILE "" ;;
            *DIR*) _metammf_value "$1" "" DIR "" ;;
        esac
    fi
}

# COMP_WORDS, where "--name", "=" and "value" are three words, in `words`.
_metammf_join() {
    local word
    words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 1 && ${words[-1]} == --* && ($word == "=" || ${words[-1]} == *=) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
}

_metammf() {
    local words program=${COMP_WORDS[0]##*/} help verb="" operand="" option="" prefix="" current i
    COMPREPLY=()
    _metammf_join
    current=${words[-1]}
    help=$(_metammf_help "$program")
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        option=""
        case ${words[i]} in
            --*=*) ;;
            -*)
                [[ -z $(_metammf_argument "$help" "${words[i]}") ]] && continue
                option=${words[i]}
                i=$((i + 1))
                ;;
            *)
                if [[ $program == metammfd ]]; then
                    return
                elif [[ -n $verb ]]; then
                    operand=${operand:-${words[i]}}
                elif [[ ${words[i]} =~ ^[a-z]+$ ]]; then
                    verb=${words[i]}
                    help=$(_metammf_help metammf "$verb")
                else
                    return
                fi
                ;;
        esac
    done
    [[ $i -eq ${#words[@]} ]] || option="" # its argument is there already
    if [[ $current == --*=* ]]; then
        option=${current%%=*}
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=$option=
        current=${current#*=}
    fi
    if [[ -n $option ]]; then
        _metammf_value "$current" "$prefix" "$(_metammf_argument "$help" "$option")" "$help"
    elif [[ $current == -* ]]; then
        _metammf_list "$current" "" "$(sed -nE 's/^ +(-.,)? *(--[a-z-]+).*/\2/p' <<<"$help")"
    elif [[ -n $verb ]]; then
        _metammf_operand "$current" "$help" "$operand"
    elif [[ $program == metammf ]]; then
        _metammf_list "$current" "" "$(sed -n '/^Verbs:/,/^$/s/^  *\([a-z][a-z]*\)  *.*/\1/p' <<<"$help")"
    fi
}

complete -F _metammf metammf metammfd
