# Sourced by ./demo.sh, ./test.sh and .ci/run, from the root of the tree.

# The packages of the named groups of .ci/packages that are not installed, one a line.
missing_packages() {
    local group package
    for group in "$@"; do
        awk -v group="$group" '$1 == group { print $2 }' .ci/packages
    done | sort -u | while read -r package; do
        dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
            echo "$package"
    done
}

# Installs what the named groups need, saying what. Returns 1 when it cannot.
install_packages() {
    local missing as_root=()
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian: assuming that what .ci/packages lists is installed."
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    if [ ${#missing[@]} -eq 0 ]; then
        echo "Packages: nothing is missing."
        return 0
    fi
    echo "Packages missing, installing: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Neither root nor sudo; as root: apt-get install ${missing[*]}"
            return 1
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# Prometheus' promtool into build/tools, out of Debian's package: installing that would start a server here.
fetch_promtool() {
    local folder status=0
    if command -v promtool >/dev/null || [ -x build/tools/promtool ]; then
        echo "promtool: is there."
        return 0
    fi
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb .) &&
        mkdir -p build/tools && cp "$folder/usr/bin/promtool" build/tools/ || status=1
    rm -rf "$folder"
    return "$status"
}

# build_preset NAME [cmake's arguments]: configures and builds build/NAME, quietly when all is well.
build_preset() {
    local log="build/$1.log" start=$SECONDS
    mkdir -p build
    echo "Building the preset $1 (log: $log) …"
    if ! { cmake --preset "$@" && cmake --build --preset "$1" -j "$(nproc)"; } >"$log" 2>&1; then
        grep -E 'error|Error|FAILED' "$log" | head -n 20
        tail -n 20 "$log"
        echo "Building the preset $1 failed."
        return 1
    fi
    echo "Built in $((SECONDS - start)) s."
}

# in_memory COMMAND...: with its temporary files in memory where there is room, because the disk's sync
# is waited for more than anything else is done; ./test.sh has them on the disk.
in_memory() {
    local free_kb status=0
    free_kb=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)
    if [ "${free_kb:-0}" -lt 4000000 ]; then
        "$@"
        return
    fi
    TMPDIR=$(mktemp -d /dev/shm/mmf-tests-XXXXXX) || return 1
    export TMPDIR
    chmod 1777 "$TMPDIR"
    "$@" || status=$?
    rm -rf "$TMPDIR"
    unset TMPDIR
    return "$status"
}

# test_preset NAME [ctest's arguments]: runs the tests of build/NAME; .ci/summary.py tells the
# outcome, its last line being "N passed, N failed, N skipped".
test_preset() {
    local name=$1 report
    shift
    report="$PWD/build/$name.junit.xml"
    rm -f "$report"
    ctest --test-dir "build/$name" --output-junit "$report" -j 2 --no-tests=error \
        --test-output-size-passed 1000000 --test-output-size-failed 1000000 "$@"
    python3 -B .ci/summary.py "$report"
}
