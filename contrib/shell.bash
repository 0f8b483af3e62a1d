# What the scripts of this folder share: where the repository is, messages, root rights, and the build.
# Sourced, never run. It keeps no state but the variables named in capitals below.

set -euo pipefail

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
readonly REPOSITORY

# Messages for people go to stderr, so that stdout stays a script's result.
say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    if [[ $# -gt 1 ]]; then printf 'hint: %s\n' "${@:2}" >&2; fi
    exit 1
}

# A command that fails without a word of its own must not end a script silently.
trap 'trap - ERR; [[ $BASH_SUBSHELL -gt 0 ]] || say "error: ${0##*/} stopped at line $LINENO: $BASH_COMMAND"' ERR
set -o errtrace

# Runs a command with root rights: as it is when we have them, else through sudo.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    else
        command -v sudo >/dev/null || fail "root rights are needed for: $*" "run this as root, or install sudo"
        sudo "$@"
    fi
}

# The script's own comment is its manual: the lines from the second to the first that is no comment.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# Debian does not package Swift; the toolchain is the one thing that has to be there already.
find_swift() {
    local folder
    if ! command -v swift >/dev/null; then
        for folder in /opt/swift/usr/bin /usr/local/swift/usr/bin "${HOME:-/root}/.local/share/swiftly/bin"; do
            if [[ -x $folder/swift ]]; then
                PATH=$folder:$PATH
                break
            fi
        done
    fi
    command -v swift >/dev/null ||
        fail "no Swift toolchain found (swift is not in PATH)" \
            "install Swift 6.2 or later: https://www.swift.org/install/linux/"
    local version
    version=$(swift --version 2>/dev/null | sed -n '/Swift version/{s/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p;q}')
    printf '6.2\n%s\n' "$version" | sort -C -V ||
        fail "Swift ${version:-of unknown version} is too old, 6.2 or later is needed" \
            "install it: https://www.swift.org/install/linux/"
}

# How the tests and the program that they run are built: optimized, as what is shipped is, for compilers' bugs and races show there;
# and a third of the time of the whole run is saved. With these flags wherever they are built, else everything is built again.
# shellcheck disable=SC2034
readonly TEST_BUILD=(-Xswiftc -O)

# Builds the release and sets HOLDFAST to the program. A caller that has one already names it in
# HOLDFAST_BINARY, and nothing is built.
build_release() {
    if [[ -n ${HOLDFAST_BINARY:-} ]]; then
        [[ -x $HOLDFAST_BINARY ]] || fail "HOLDFAST_BINARY is not a program: $HOLDFAST_BINARY"
        HOLDFAST=$(realpath "$HOLDFAST_BINARY")
        return
    fi
    find_swift
    # The Swift libraries are linked in, so that the program runs where no toolchain is.
    local build=(swift build --package-path "$REPOSITORY" -c release --product holdfast --static-swift-stdlib)
    # The build writes on stdout; a script's stdout is its result.
    "${build[@]}" </dev/null >&2 || fail "the release build failed"
    HOLDFAST=$("${build[@]}" --show-bin-path </dev/null)/holdfast
    [[ -x $HOLDFAST ]] || fail "the build left no program at $HOLDFAST"
}

# The kernel's side of a mount; better said before a long build than after it.
require_fuse() {
    if [[ ! -c /dev/fuse ]]; then as_root modprobe fuse 2>/dev/null || true; fi
    [[ -c /dev/fuse ]] ||
        fail "/dev/fuse is missing, so nothing can be mounted" \
            "in a container: docker run --privileged …, or --device /dev/fuse --cap-add SYS_ADMIN"
}

# Loop devices that the kernel offers may lack their node in a container.
require_loop() {
    local device
    device=$(as_root losetup --find 2>/dev/null) ||
        fail "no loop device is free, so no partition can be mounted" "in a container: docker run --privileged …"
    [[ -b $device ]] || as_root mknod "$device" b 7 "${device#/dev/loop}"
}

# Wall clock in seconds with a fraction, and the arithmetic that bash lacks.
now() { printf '%s\n' "${EPOCHREALTIME/,/.}"; }
calculate() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

# 1234567890 -> 1.15 GiB
readable_size() {
    awk -v n="$1" 'BEGIN {
        split("bytes KiB MiB GiB TiB", unit); i = 1
        while (n >= 1024 && i < 5) { n /= 1024; i++ }
        printf (i == 1 ? "%d %s" : "%.2f %s"), n, unit[i] }'
}
