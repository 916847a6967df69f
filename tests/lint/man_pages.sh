#!/bin/sh
# The manual pages: groff and man-db have no warning, mandoc nothing above a matter of style.
# usage: man_pages.sh FOLDER
set -eu
status=0
command -v groff >/dev/null || { echo "skipped: groff is not installed"; exit 77; }

say() { # what PROGRAM said of PAGE
    [ -z "$3" ] || { printf '%s: %s:\n%s\n' "$2" "$1" "$3"; status=1; }
}

for page in "$1"/*.[158]; do
    say groff "$page" "$(groff -mandoc -ww -t -Tutf8 "$page" 2>&1 >/dev/null || true)"
    ! LC_ALL=C grep -n '[^ -~	]' "$page" || { echo "$page: not ASCII"; status=1; }
    if command -v man >/dev/null; then
        say man "$page" "$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null || true)"
    fi
    if command -v mandoc >/dev/null; then # the pages have no date: it would be that of the last build
        say mandoc "$page" "$(mandoc -Tlint -W warning "$page" | grep -v 'missing date, using ""' || true)"
    else
        echo "mandoc is not installed: not asked"
    fi
done
exit $status
