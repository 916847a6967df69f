#!/bin/bash
# Installs what is missing (Debian 12), builds the release preset, runs the demo: offline, without
# a broker, on clips that it makes itself.
# usage: ./demo.sh [arguments of metammf demo]
set -uo pipefail
cd "$(dirname "$0")" || exit 1
. .ci/lib.sh

install_packages build demo || {
    echo "VERDICT: the demo did not run: packages are missing."
    exit 69
}
build_preset release -DMMF_TESTS=OFF || {
    echo "VERDICT: the demo did not run: it does not build."
    exit 70
}
build/release/bin/metammf demo "$@"
status=$?
if [ $status -eq 0 ]; then
    echo "VERDICT: the demo went through."
else
    echo "VERDICT: the demo failed (exit status $status)."
fi
exit $status
