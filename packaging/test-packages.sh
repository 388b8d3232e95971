#!/usr/bin/env bash
# What the packages do to a machine, from the first installation until nothing is left. Each runs in a throw-away copy of this
# machine: an overlay over its root that only this process sees, without network and without an init system. As root; otherwise it
# says so and is skipped. With ECHOD_STRICT in the environment what would be skipped has failed.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
exec </dev/null
. packaging/tests/common.sh

main() {
    local reason
    if reason=$(cannot_run); then
        skip "$reason; nothing is said about what the packages do when they are installed"
        exit 0
    fi
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    cp packaging/tests/*.sh "$WORK"

    step "two revisions of each package"
    packaging/build.sh --revision 2 | tail -n 2
    packaging/build.sh | tail -n 2
    cp target/packages/echod[_-]*-[12][_.]* "$WORK"
    another_default

    step "the binary"
    needs_debian_12

    step "the life of the deb"
    aside bash "$WORK/deb.sh" || FAILED+=("the deb")

    step "the life of the rpm"
    if command -v rpm >/dev/null; then
        aside bash "$WORK/rpm.sh" || FAILED+=("the rpm")
    else
        skip "rpm is not installed; apt-get install rpm"
    fi

    step "what the container is made of"
    container

    if ((${#FAILED[@]} > 0)); then
        printf 'failed: %s\n' "${FAILED[@]}"
        exit 1
    fi
    step "all that was checked is well"
}

skip() {
    echo "skipped: $1"
    [ -z "${ECHOD_STRICT:-}" ] || exit 1
}

# Why this machine cannot do it, if it cannot.
cannot_run() {
    if ((EUID != 0)); then
        echo "not root"
    elif ! command -v dpkg >/dev/null; then
        echo "this is no Debian"
    elif ! aside true >/dev/null 2>&1; then
        echo "no overlay over / in a namespace of its own (unshare, overlayfs)"
    else
        return 1
    fi
}

# A third revision of the deb, whose configuration is another one by default.
another_default() {
    local first=("$WORK"/echod_*-1_*.deb) tree=$WORK/tree
    dpkg-deb --raw-extract "${first[0]}" "$tree"
    sed -i 's/^\(Version: .*-\)1$/\13/' "$tree/DEBIAN/control"
    echo "# Another default." >>"$tree/etc/echod/echod.toml"
    dpkg-deb --root-owner-group --build "$tree" "${first[0]/-1_/-3_}" >/dev/null
    rm -rf "$tree"
}

# Debian 12 has glibc 2.36, and what is linked to an older one runs there as well.
needs_debian_12() {
    local binary=${CARGO_TARGET_DIR:-target}/release/echod highest libraries
    highest=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    libraries=$(objdump -p "$binary" | sed -n 's/^ *NEEDED *//p' | grep -v '^ld-linux' | sort | xargs)
    check "it needs $highest, and 2.36 would do" \
        equal "$(printf '%s\nGLIBC_2.36\n' "$highest" | sort -V | tail -n 1)" GLIBC_2.36
    # libm is a part of glibc; the client has the axes of its pictures from it.
    check "it needs no libraries but $libraries" equal "$libraries" "libc.so.6 libgcc_s.so.1 libm.so.6"
}

container() {
    local target
    target=$(uname -m)-unknown-linux-musl
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
        skip "no static binary for the container can be made; rustup target add $target"
        return
    fi
    # Without what makes it small and fast, neither of which is tried here: it is made much sooner.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo build --quiet --locked --release --target "$target"
    cp "${CARGO_TARGET_DIR:-target}/$target/release/echod" packaging/container.toml packaging/Containerfile "$WORK"
    aside bash "$WORK/container.sh" || FAILED+=("the container")

    step "the image, by an engine"
    if command -v podman >/dev/null && command -v crun >/dev/null; then
        aside bash "$WORK/image.sh" || FAILED+=("the image")
    else
        skip "podman or crun is not installed, so only the parts of the image were run; apt-get install podman crun"
    fi
}

# Runs a command in the copy. $WORK is there under its own name.
aside() {
    timeout --kill-after=10 300 unshare --mount --propagation private --pid --fork --kill-child --net --ipc --uts \
        bash packaging/tests/aside.sh "${WORK:-/}" "$@"
}

FAILED=()
main "$@"
