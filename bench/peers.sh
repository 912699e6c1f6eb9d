#!/usr/bin/env bash
# Prepares the programs that bench/compare.py measures Antipode against, and prints their versions.
#
#   bench/peers.sh DIRECTORY
#
# restic from Debian (the newest package of the unstable release that runs here, unpacked beside the others, else that
# of this release), rustic and bupstash by cargo, borg by pip (the newest 2.0 beta that builds here, else the newest
# stable). Looks first and installs only what is missing. What cannot be had is said, and left out of the comparison.
set -uo pipefail

directory=${1:?usage: bench/peers.sh DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
export CARGO_TARGET_DIR=$directory/cargo-target

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
has() { command -v "$1" >/dev/null 2>&1; }
missing() { echo "peers: $1 could not be installed here: $2"; }

packages=()
has restic || packages+=(restic)
for package in pkg-config libsodium-dev libssl-dev libacl1-dev liblz4-dev libxxhash-dev libzstd-dev; do
    dpkg -s "$package" >/dev/null 2>&1 || packages+=("$package")
done
if [ ${#packages[@]} != 0 ]; then
    as_root apt-get -qq update && as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "${packages[@]}" >/dev/null ||
        missing "${packages[*]}" "see apt-get"
fi

# A package of the unstable release, unpacked and not installed; apt works on lists of its own.
unstable() {
    local program=$1 work=$directory/unstable
    [ -x "$directory/bin/$program" ] && return
    mkdir -p "$work/lists/partial" "$directory/bin"
    local archive
    archive=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 2>/dev/null | sed -n 's/ Debian$//p' | head -n 1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$work/list"
    local options=(-qq -o "Dir::Etc::sourcelist=$work/list" -o "Dir::Etc::sourceparts=-" -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
    (cd "$work" && apt-get "${options[@]}" update && apt-get "${options[@]}" download "$program/sid" &&
        dpkg -x "$program"_*.deb unpacked) >"$work/log" 2>&1
    "$work/unpacked/usr/bin/$program" version >/dev/null 2>&1 && cp "$work/unpacked/usr/bin/$program" "$directory/bin/"
}
unstable restic

by_cargo() {
    local program=$1
    shift
    [ -x "$directory/bin/$program" ] && return
    nice cargo install --locked --quiet --root "$directory" "$@" >"$directory/$program.log" 2>&1 ||
        missing "$program" "see $directory/$program.log"
}
by_cargo rustic --no-default-features rustic-rs
by_cargo bupstash bupstash

if [ ! -x "$directory/borg/bin/borg" ]; then
    python3 -m venv "$directory/borg"
    pip="nice $directory/borg/bin/pip install --quiet"
    # Of the betas, b19 is the newest that builds against the OpenSSL of Debian 12.
    $pip --pre 'borgbackup>=2.0.0b1' >"$directory/borg-2.log" 2>&1 || $pip 'borgbackup==2.0.0b19' >>"$directory/borg-2.log" 2>&1 ||
        $pip 'borgbackup<2' >"$directory/borg-1.log" 2>&1 ||
        missing borg "see $directory/borg-1.log"
fi

if [ -x "$directory/bin/restic" ]; then "$directory/bin/restic" version; else has restic && restic version; fi
[ -x "$directory/bin/rustic" ] && "$directory/bin/rustic" --version
[ -x "$directory/bin/bupstash" ] && "$directory/bin/bupstash" --version
[ -x "$directory/borg/bin/borg" ] && "$directory/borg/bin/borg" --version
exit 0
