#!/bin/bash
# Installs what is missing (Debian 12), builds the release preset, runs every test.
# usage: ./test.sh [ctest's arguments], e.g. ./test.sh -L unit
set -uo pipefail
cd "$(dirname "$0")" || exit 1
. .ci/lib.sh

broken() {
    echo "VERDICT: NOT good: $1"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

install_packages build test || broken "packages are missing"
build_preset release -DMMF_TESTS=ON || broken "it does not build"
# Tests wait for brokers and deadlines more than they compute.
test_preset release -j "$(($(nproc) + 2))" "$@"
