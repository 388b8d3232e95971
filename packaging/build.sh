#!/usr/bin/env bash
# Makes the packages of echod under target/packages: a deb by cargo-deb, an rpm by rpmbuild. Works from any directory.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
exec </dev/null

CARGO_DEB=3.8.0
OUTPUT=$PWD/target/packages
# Tools that cargo makes are made once, and for nobody else.
TOOLS=$PWD/target/tools
PATH=$TOOLS/bin:$PATH

usage() {
    cat <<'END'
usage: packaging/build.sh [OPTION ...]

Makes a deb and an rpm under target/packages, and prints their paths and sizes.

  --deb            the deb only
  --rpm            the rpm only
  --revision N     the revision of the package, which follows the version of echod; without it, 1
  --install-tools  first install what is missing: cargo-deb into target/tools, and as root on Debian also its packages
  --help           this
END
}

main() {
    local kinds=() revision=1 install=false kind
    while (($# > 0)); do
        case $1 in
            --deb | --rpm) kinds+=("${1#--}") ;;
            --revision) revision=${2:?--revision needs a number}; shift ;;
            --install-tools) install=true ;;
            --help) usage; exit ;;
            *) usage >&2; exit 64 ;;
        esac
        shift
    done
    ((${#kinds[@]} > 0)) || kinds=(deb rpm)
    if $install; then
        install_tools "${kinds[@]}"
    fi
    require_tools "${kinds[@]}"

    # One commit makes the same packages on every day, in every folder and for every user.
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
    export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/echod --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    umask 022
    mkdir -p "$OUTPUT"
    cargo build --locked --release
    name_libraries >"$OUTPUT/libraries.txt"
    local packages=()
    for kind in "${kinds[@]}"; do
        "make_$kind" "$revision"
        packages+=("$PACKAGE")
    done
    for kind in "${packages[@]}"; do
        printf '%s %s bytes\n' "$kind" "$(stat -c %s "$kind")"
    done
}

# The tools for a kind of package: its command, and how to get it.
tools() {
    case $1 in
        deb) echo "cargo-deb:cargo dpkg-shlibdeps:dpkg-dev" ;;
        rpm) echo "rpmbuild:rpm" ;;
    esac
}

require_tools() {
    local kind tool missing=false
    if ! command -v cargo >/dev/null; then
        echo "cannot build echod: cargo is missing; install Rust 1.90 or newer" >&2
        exit 69
    fi
    for kind; do
        for tool in $(tools "$kind"); do
            command -v "${tool%:*}" >/dev/null && continue
            missing=true
            case $tool in
                *:cargo) echo "cannot make the $kind: ${tool%:*} is missing; cargo install --locked ${tool%:*}" >&2 ;;
                *) echo "cannot make the $kind: ${tool%:*} is missing; apt-get install ${tool#*:}" >&2 ;;
            esac
        done
    done
    if $missing; then
        echo "packaging/build.sh --install-tools installs what is missing" >&2
        exit 69
    fi
}

install_tools() {
    local kind tool packages=()
    for kind; do
        for tool in $(tools "$kind"); do
            command -v "${tool%:*}" >/dev/null && continue
            case $tool in
                # Without optimisation: it is made much sooner than it takes to run once.
                *:cargo) cargo install --quiet --locked --debug --root "$TOOLS" --version "$CARGO_DEB" "${tool%:*}" ;;
                *) packages+=("${tool#*:}") ;;
            esac
        done
    done
    if ((${#packages[@]} > 0 && EUID == 0)) && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
}

# What is linked into the binary, and may be had under which licences.
name_libraries() {
    echo "echod is linked statically with these libraries, and with the standard library of Rust (MIT OR Apache-2.0):"
    echo
    cargo tree --locked --edges normal,no-proc-macro --prefix none --no-dedupe --format '{p}: {l}' |
        grep -v '^echod ' | LC_ALL=C sort -u
}

make_deb() {
    PACKAGE=$(cargo deb --quiet --locked --no-build --no-strip --deb-revision "$1" --output "$OUTPUT/")
}

make_rpm() {
    local work=$OUTPUT/rpmbuild
    rm -rf "$work"
    rpmbuild -bb --quiet packaging/echod.spec \
        --define "_topdir $work" \
        --define "_rpmdir $OUTPUT" \
        --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define "_buildhost localhost" \
        --define "use_source_date_epoch_as_buildtime 1" \
        --define "vendor The echod developers" \
        --define "packager The echod developers <developers@echod.invalid>" \
        --define "echod_source $PWD" \
        --define "echod_binary $(realpath "${CARGO_TARGET_DIR:-target}")/release/echod" \
        --define "echod_libraries $OUTPUT/libraries.txt" \
        --define "echod_revision $1"
    rm -rf "$work"
    PACKAGE=$OUTPUT/echod-$(sed -n 's/^Version: *//p' packaging/echod.spec)-$1.$(rpm --eval '%{_target_cpu}').rpm
}

main "$@"
