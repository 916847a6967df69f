#!/bin/bash
# systemd/metammf.bash as bash calls it: what is offered after the words of a command line. All verbs and options
# of the help are tried, also those to come.
# usage: test_completion.sh BIN COMPLETION
set -u
export LC_ALL=C
bin=$(realpath "$1") file=$(realpath "$2")
PATH=$bin:$PATH
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
mkdir list media_dir
touch model.safetensors items.npy e.ndjson
. "$file"
n_passed=0 n_failed=0

# What is offered for the words; the last is the one that is being written.
offer() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _metammf
    printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ' | sed 's/^ *//; s/ *$//'
}

# expect "LIST" WORD...
expect() {
    local wanted=$1 got
    shift
    got=$(offer "$@")
    if [ "$got" = "$wanted" ]; then
        n_passed=$((n_passed + 1))
    else
        n_failed=$((n_failed + 1))
        echo "$*: offered \"$got\", expected \"$wanted\""
    fi
}

all_files="e.ndjson items.npy list media_dir model.safetensors"

# ---- words, values and files ----------------------------------------------------------------------
expect "model" metammf mo
expect "export import list pin promote rollback show unpin" metammf model ""
expect "list" metammf model l # although there is a folder of that name
expect "" metammf model promote ""
expect "$all_files" metammf model import ""
expect "$all_files" metammf model export ""
expect "" metammf model list ""
expect "list purge retry show" metammf dlq ""
expect "retry" metammf --store x.db dlq re
expect "retry" metammf --store=x.db --json dlq re
expect "" metammf dlq show ""
expect "interactions items" metammf import ""
expect "$all_files" metammf import interactions ""
expect "" metammf import items ""
expect "embeddings" metammf export ""
expect "explain" metammf event ""
expect "e.ndjson" metammf event explain e
expect "e.ndjson" metammf ingest e
expect "" metammf get ""
expect "" metammf status ""
expect "lightgcn mf sage" metammf train --backbone ""
expect "sage" metammf train --backbone = s
expect "cp dense none static" metammf train --fusion ""
expect "knn none" metammf train --item-graph ""
expect "" metammf train --epochs ""
expect "--warm" metammf train --backbone mf --w
expect "--warm" metammf train --epochs -5 --w
expect "media_no_frames media_not_file" metammf dlq list --reason media_no
expect "worker_cpu worker_crash" metammf dlq --reason = worker_c
expect "interactions videos" metammf event --role ""
expect "comma semicolon tab" metammf import --separator ""
expect "" metammf import items --encoder ""
expect "items.npy" metammf import items --visual i
expect "list media_dir" metammf ingest --media-root ""
expect "$all_files" metammf --config ""
expect "$all_files" metammf dlq -c ""
expect "" metammf similar -k ""
expect "" metammf nonsense ""
expect "--changed --check-config" metammfd --ch
expect "$all_files" metammfd --config ""
expect "$all_files" metammfd -c ""
expect "" metammfd ""
expect "" metammf '$(touch hurt)' --
expect "" metammf dlq --reason '$(touch hurt)'
expect "list purge retry show" metammf dlq '--x$(touch hurt)' ""
[ ! -e hurt ] || { echo "what was written was run"; n_failed=$((n_failed + 1)); }
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
expect "--fusion=cp" metammf train --fusion=c

# ---- everything that the help has -----------------------------------------------------------------
verbs=$(metammf --help | sed -n '/^Verbs:/,/^$/s/^  *\([a-z][a-z]*\)  *.*/\1/p')
[ "$(wc -w <<<"$verbs")" -ge 20 ] || { echo "only $(wc -w <<<"$verbs") verbs"; n_failed=$((n_failed + 1)); }
expect "$(sort <<<"$verbs" | tr '\n' ' ' | sed 's/ $//')" metammf ""
for verb in $verbs; do
    options=$(metammf "$verb" --usage | tr ' []' '\n' | sed -nE 's/^(--[a-z-]+).*/\1/p' | sort -u | tr '\n' ' ')
    expect "$(tr ' ' '\n' <<<"$options --help --usage --version" | sed '/^$/d' | sort -u | tr '\n' ' ' |
        sed 's/ $//')" metammf "$verb" --
done

# ---- each is completed by the file of its own name ------------------------------------------------
for program in metammf metammfd; do
    if bash --norc -c '. "$1" && complete -p "$2"' - "$file" "$program" >/dev/null; then
        n_passed=$((n_passed + 1))
    else
        n_failed=$((n_failed + 1))
    fi
done
echo "$n_passed passed, $n_failed failed"
[ "$n_failed" -eq 0 ]
