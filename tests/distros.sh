#!/bin/bash
# Builds and tests the tree on another distribution, in a chroot, and compares the features that it
# makes of the same clips with those of the machine's own build. Needs root, debootstrap and what
# ./test.sh needs, of which the preset release is built. Ends with a table and "N passed, N failed".
#
# usage: tests/distros.sh [--root DIR] [--keyring FILE] [-j N] [--no-tests] bookworm|trixie|noble
#   --root DIR      where the chroots are kept (default build/distros); one is made when it is absent
#   --keyring FILE  of noble's archive, where debootstrap does not know it; the chroot of trixie has one
#   -j N            how many compile and test at a time (default: the number of processors)
#   --no-tests      only builds and compares
# MMF_SHARED_DATA has the folders videos and videos2 (default ../shared/data).
#
# Everything is mounted in a mount namespace of its own, which ends with the script however it ends.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. .ci/lib.sh

die() {
    echo "tests/distros.sh: $*" >&2
    exit 1
}

roots=$PWD/build/distros keyring="" jobs=$(nproc) with_tests=1 name=""
while [ $# -gt 0 ]; do
    case $1 in
    --root) roots=$(realpath -m "$2") && shift ;;
    --keyring) keyring=$(realpath "$2") && shift ;;
    -j) jobs=$2 && shift ;;
    --no-tests) with_tests=0 ;;
    bookworm | trixie | noble) name=$1 ;;
    *) die "no such option or distribution: $1; see the head of the file" ;;
    esac
    shift
done
[ -n "$name" ] || die "which: bookworm, trixie or noble"
[ "$(id -u)" -eq 0 ] || die "a chroot needs root"
command -v debootstrap >/dev/null || die "apt-get install debootstrap"
shared=$(realpath "${MMF_SHARED_DATA:-../shared/data}")

# The whole script again, in namespaces of its own: no mount, process or port outlives or disturbs.
if [ -z "${MMF_DISTROS_INSIDE:-}" ]; then
    MMF_DISTROS_INSIDE=1 exec unshare --mount --propagation private --pid --fork --kill-child \
        bash "$0" --root "$roots" ${keyring:+--keyring "$keyring"} -j "$jobs" \
        $([ $with_tests -eq 1 ] || echo --no-tests) "$name"
fi

root=$roots/$name out=$roots/out/$name
mkdir -p "$root" "$out"
exec 3>"$out/log"
passed=0 failed=0

check() { # TEXT: the outcome of the command before
    if [ $? -eq 0 ]; then
        passed=$((passed + 1)) && echo "ok      $1"
    else
        failed=$((failed + 1)) && echo "FAILED  $1"
    fi
}

inside() { # COMMAND of a shell in the tree, without any network but loopback
    unshare --net bash -c 'ip link set lo up && exec "$@"' - \
        chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        MMF_SHARED_DATA=/src/shared/data bash -c "cd /src/metammfd && $1"
}

make_chroot() {
    local components=main script=() extra=""
    [ -e "$root/.made" ] && return 0
    echo "Making the chroot of $name (log: $out/log) …"
    if [ "$name" = noble ]; then
        components=main,universe
        [ -e /usr/share/debootstrap/scripts/noble ] || script=("" gutsy) # what the others link to
        for file in /usr/share/keyrings "$roots/trixie/usr/share/keyrings"; do
            [ -n "$keyring" ] || keyring=$(ls "$file/ubuntu-archive-keyring.gpg" 2>/dev/null)
        done
        [ -n "$keyring" ] || die "noble's packages cannot be verified: --keyring FILE, or trixie first"
    fi
    debootstrap --variant=minbase --components=$components ${keyring:+--keyring="$keyring"} \
        "$name" "$root" "${script[@]}" >&3 2>&1 || return 1
    touch "$root/.made"
}

install_inside() {
    local packages
    packages=$(awk '$1 == "build" || $1 == "test" { print $2 }' .ci/packages | sort -u)
    [ "$name" = trixie ] && packages+=" ubuntu-keyring"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    [ "$packages" = "$(cat "$root/.packages" 2>/dev/null)" ] && return 0
    echo "Installing its packages …"
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C bash -c "apt-get update -q &&
        apt-get install -q -y --no-install-recommends $(tr '\n' ' ' <<<"$packages")" >&3 2>&1 ||
        return 1
    echo "$packages" >"$root/.packages"
}

mount_all() {
    mkdir -p "$root/src/metammfd" "$root/src/shared/data" "$root/src/made"
    mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
        mount --rbind /sys "$root/sys" && mount -t tmpfs tmpfs "$root/run" &&
        mount --bind "$shared" "$root/src/shared/data" &&
        mount -o remount,bind,ro "$root/src/shared/data" &&
        mount --bind "$roots/made" "$root/src/made" && mount -o remount,bind,ro "$root/src/made"
}

copy_tree() {
    rm -rf "$root/src/metammfd" && mkdir "$root/src/metammfd" &&
        git ls-files -z --cached --others --exclude-standard |
        tar c --null --ignore-failed-read -T - 2>&3 | tar x -C "$root/src/metammfd"
}

build() {
    echo "Building …"
    inside "cmake --preset release && ninja -C build/release -j $jobs" >"$out/build.log" 2>&1
}

no_warnings() {
    ! grep 'warning:' "$out/build.log"
}

# What fails is tried again alone: the machine may be busy.
run_tests() {
    local counts
    echo "Testing …"
    inside "ctest --test-dir build/release -LE broker -j $jobs --output-junit /src/all.xml --no-tests=error \
        --test-output-size-passed 1000000 --test-output-size-failed 1000000" >"$out/tests.log" 2>&1
    inside "python3 -B .ci/summary.py /src/all.xml" >"$out/tests.txt"
    counts=$(tail -n 1 "$out/tests.txt")
    grep -E '^(skipped|failed) ' "$out/tests.txt"
    if [ "$(cut -d' ' -f3 <<<"$counts")" != 0 ]; then
        echo "Trying the failed ones again, one by one …"
        inside "ctest --test-dir build/release --rerun-failed -j 1 --output-on-failure \
            --output-junit /src/again.xml" >"$out/again.log" 2>&1
        inside "python3 -B .ci/summary.py /src/again.xml" >"$out/again.txt"
        tests="$(cut -d' ' -f1 <<<"$counts") + $(tail -n 1 "$out/again.txt")"
        passed=$((passed + $(cut -d' ' -f1 <<<"$counts") + $(tail -n 1 "$out/again.txt" | cut -d' ' -f1)))
        failed=$((failed + $(tail -n 1 "$out/again.txt" | cut -d' ' -f3)))
        grep -E '^failed ' "$out/again.txt"
    else
        tests=$counts
        passed=$((passed + $(cut -d' ' -f1 <<<"$counts")))
    fi
    echo "Tests: $tests"
}

# Features of each folder, by the machine's own build and by the chroot's; compare.py prints the table.
compare() {
    local folder counts here there
    for folder in videos videos2 made; do
        here=$shared/$folder there=/src/shared/data/$folder
        [ $folder = made ] && here=$roots/made there=/src/made
        [ -d "$here" ] || continue
        build/release/bin/metammf extract "$here" >"$out/$folder.own" 2>&3
        inside "build/release/bin/metammf extract $there" >"$out/$folder.ndjson" 2>&3
        python3 -B tests/distros/compare.py "$here" "$out/$folder.own" "$there" \
            "$out/$folder.ndjson" >"$out/$folder.txt"
        cat "$out/$folder.txt"
        counts=$(tail -n 1 "$out/$folder.txt")
        passed=$((passed + $(cut -d' ' -f1 <<<"$counts")))
        failed=$((failed + $(cut -d' ' -f3 <<<"$counts")))
    done
}

versions() { # of a root's libraries and compiler
    chroot "$1" dpkg-query -W -f='${Package} ${Version}\n' gcc libc6 libavcodec-dev librdkafka-dev \
        libmicrohttpd-dev libsystemd-dev libcmocka-dev libsqlite3-dev 2>&3 |
        sed -E 's/-dev / /; s/ ([0-9]+:)?([0-9.]+).*/ \2/' | paste -sd, | sed 's/,/, /g'
}

build_preset release || die "the machine's own build failed"
tests/distros/clips.sh "$roots/made" || die "no clips"
make_chroot
check "chroot" && [ $failed -eq 0 ] && install_inside
check "packages" && [ $failed -eq 0 ] && mount_all && copy_tree && build
check "builds"
[ $failed -eq 0 ] || { tail -n 20 "$out/build.log" "$out/log" 2>/dev/null; echo "$passed passed, $failed failed"; exit 1; }
no_warnings
check "without warnings"
tests="not run"
[ $with_tests -eq 1 ] && run_tests
echo
echo "own: $(versions /)"
echo "$name: $(versions "$root")"
echo "tests without a broker: $tests"
compare
echo
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
