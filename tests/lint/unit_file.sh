#!/bin/bash
# The generated unit against systemd-analyze: verify is clean, exposure at most 1.5.
# usage: unit_file.sh GENERATED_UNIT
set -euo pipefail

if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: systemd-analyze is not installed"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The executables need not be installed where the unit will find them.
sed -E 's,^ExecStart=[^ ]+,ExecStart=/bin/true,' "$1" >"$folder/metammfd.service"

faults=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$folder/metammfd.service" 2>&1 |
    grep -F metammfd || true)
if [ -n "$faults" ]; then
    echo "systemd-analyze verify:"
    echo "$faults"
    exit 1
fi
systemd-analyze security --offline=yes --threshold=15 "$folder/metammfd.service" \
    >"$folder/report" || {
    cat "$folder/report"
    exit 1
}
tail -n 1 "$folder/report"
