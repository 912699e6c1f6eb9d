#!/usr/bin/env bash
# Repeats the measurement of docs/rfd/0002-cut-and-hashing.md.
#
#   bench/sweep.sh DIRECTORY [MIB]
#
# Makes two disks of this machine's own files in DIRECTORY (about 4.5 times MIB of space; MIB is the size of the files on
# the first disk, 700 unless told), a second generation of both, and prints the tables. The same files give the same
# images. Needs mkfs.ext4, no root. SWEEP names a built binary of the example, else cargo builds it.
set -euo pipefail
export LC_ALL=C

directory=${1:?usage: bench/sweep.sh DIRECTORY [MIB]}
files_mib=${2:-700}
files_root=${SWEEP_FILES:-/usr}
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$directory"

sweep() {
    if [ -n "${SWEEP:-}" ]; then "$SWEEP" "$@"; else
        (cd "$repository" && cargo run --quiet -p vault --example sweep -- "$@")
    fi
}

. "$repository/bench/disks.bash"

echo "choosing about $files_mib MiB of files under $files_root" >&2
choose_files "$files_root" "$files_mib" >"$directory/files"
rm -rf "$directory/tree-1" "$directory/tree-2"
mkdir -p "$directory/tree-1" "$directory/tree-2/database" "$directory/tree-2/media"
cut -f 2 "$directory/files" | tar -C "$files_root" -c -T - | tar -C "$directory/tree-1" -x
awk -F '\t' '$1 == 0 { print $2 }' "$directory/files" | tar -C "$files_root" -c -T - | tar -C "$directory/tree-2" -x
for number in 1 2 3 4; do sweep noise "$directory/tree-2/media/$number" $((files_mib / 16)); done
sweep database "$directory/tree-2/database/table" $((files_mib / 2))

echo "making the disks" >&2
make_file_system "$directory/disk-1.raw" "$directory/tree-1" $((files_mib * 2))
make_file_system "$directory/disk-2.raw" "$directory/tree-2" $((files_mib * 3))
for number in 1 2; do sweep change "$directory/disk-$number.raw" "$directory/disk-$number-second.raw" 19; done
rm -rf "$directory/tree-1" "$directory/tree-2"

echo "measuring" >&2
sweep measure "$directory/disk-1.raw" "$directory/disk-2.raw" -- "$directory/disk-1-second.raw" "$directory/disk-2-second.raw"
