#!/usr/bin/env bash
# Makes a Debian 12 machine with git, a Rust toolchain and Python able to build, test or demonstrate Antipode.
#
#   tools/prepare.sh build|demo|test
#
# Looks first and installs only what is missing, so a second run changes nothing. When it may not install (not root, no
# passwordless sudo) it prints the one command that an administrator has to run, and ends non-zero.
# The Python packages of tools/requirements*.txt go to virtual environments in the target folder, outside git.
set -euo pipefail

purpose=${1:?usage: tools/prepare.sh build|demo|test}
repository=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
PATH=$PATH:/usr/sbin:/sbin

say() { echo "prepare: $*"; }
die() { echo "prepare: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

has_postgresql_server() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

may_install() { has apt-get && { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }; }

is_updated=no
install_packages() {
    may_install || die "missing packages; an administrator must run: apt-get install --no-install-recommends $*"
    say "installing $*"
    if [ $is_updated = no ]; then
        as_root apt-get -qq update
        is_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}

# PostgreSQL's programs without a running server: the package would otherwise start a cluster of the system's own,
# on the default port, for good.
install_postgresql() {
    [ -e /etc/postgresql-common/createcluster.conf ] || install_packages postgresql-common
    local settings=/etc/postgresql-common/createcluster.conf
    if ! grep -Eq '^ *create_main_cluster *= *false' "$settings"; then
        echo 'create_main_cluster = false' | as_root tee -a "$settings" >/dev/null
    fi
    install_packages postgresql
}

prepare_toolchain() {
    has cargo || die "cargo is missing: install a Rust toolchain first"
    local missing=()
    has cc || missing+=(gcc libc6-dev)
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt || die "cargo fmt is missing"
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy || die "cargo clippy is missing"
}

prepare_programs() {
    local missing=()
    has mkfs.ext4 && has debugfs || missing+=(e2fsprogs)
    if [ "$purpose" = test ]; then
        has qemu-img && has qemu-nbd || missing+=(qemu-utils)
        has mkfs.xfs || missing+=(xfsprogs)
    fi
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
    if [ "$purpose" = test ] && ! has_postgresql_server; then install_postgresql; fi
}

# prepare_python NAME REQUIREMENTS: an environment of that name in the target folder.
prepare_python() {
    local environment=$target/$1 requirements=$repository/tools/$2 stamp
    stamp=$({ python3 --version; cat "$requirements"; } | cksum)
    if [ -x "$environment/bin/python" ] && [ "$(cat "$environment/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "making the Python environment of tools/$2"
    rm -rf "$environment"
    mkdir -p "$target"
    if ! python3 -m venv "$environment" >/dev/null 2>&1; then
        install_packages python3-venv
        rm -rf "$environment"
        python3 -m venv "$environment"
    fi
    "$environment/bin/python" -m pip install --quiet --requirement "$requirements"
    echo "$stamp" >"$environment/stamp"
}

has python3 || die "python3 is missing"
case $purpose in
build) prepare_toolchain ;;
demo | test)
    prepare_toolchain
    prepare_programs
    prepare_python python requirements.txt
    if [ "$purpose" = test ]; then prepare_python keystone requirements-keystone.txt; fi
    ;;
*) die "unknown purpose $purpose: build, demo or test" ;;
esac
say "ready to $purpose"
