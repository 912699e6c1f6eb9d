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

# Groups of 64 neighbouring files, spread over the whole tree until the size is reached: directories stay together.
choose_files() {
    find "$files_root" -xdev -type f -readable -size -33554432c -printf '%s\t%P\n' 2>/dev/null | sort -t "$(printf '\t')" -k 2 |
        awk -F '\t' -v want="$((files_mib << 20))" '
            { size[NR] = $1; name[NR] = $2; total += $1 }
            END {
                stride = int(total / want); if (stride < 1) stride = 1
                for (i = 1; i <= NR; i++) {
                    group = int((i - 1) / 64)
                    if (group % stride == 0 && sum < want) { sum += size[i]; print int(group / stride) % 2 "\t" name[i] }
                }
            }'
}

# A fixed identity, hash seed and clock make the same file system on every run. The clock has to be set inode by inode.
make_disk() {
    local image=$1 tree=$2 mib=$3 inodes free
    rm -f "$image"
    truncate -s "${mib}M" "$image"
    export E2FSPROGS_FAKE_TIME=1700000000
    mkfs.ext4 -q -F -U 6f1d2c1e-0000-4000-8000-000000000001 \
        -E hash_seed=6f1d2c1e-0000-4000-8000-000000000002,lazy_itable_init=0,root_owner=0:0 -d "$tree" "$image"
    inodes=$(debugfs -R 'show_super_stats -h' "$image" 2>/dev/null | awk -F ': *' '$1 == "Inode count" { print $2 }')
    free=$(debugfs -R 'show_super_stats -h' "$image" 2>/dev/null | awk -F ': *' '$1 == "Free inodes" { print $2 }')
    awk -v last=$((inodes - free)) 'BEGIN {
        split("atime ctime mtime crtime", times)
        for (inode = 11; inode <= last; inode++) for (i in times) {
            print "set_inode_field <" inode "> " times[i] " @1700000000"
            print "set_inode_field <" inode "> " times[i] "_extra 0"
        }
        for (i in times) print "set_inode_field <2> " times[i] " @1700000000\nset_inode_field <2> " times[i] "_extra 0"
    }' | debugfs -w -f /dev/stdin "$image" >/dev/null 2>&1
}

echo "choosing about $files_mib MiB of files under $files_root" >&2
choose_files >"$directory/files"
rm -rf "$directory/tree-1" "$directory/tree-2"
mkdir -p "$directory/tree-1" "$directory/tree-2/database" "$directory/tree-2/media"
cut -f 2 "$directory/files" | tar -C "$files_root" -c -T - | tar -C "$directory/tree-1" -x
awk -F '\t' '$1 == 0 { print $2 }' "$directory/files" | tar -C "$files_root" -c -T - | tar -C "$directory/tree-2" -x
for number in 1 2 3 4; do sweep noise "$directory/tree-2/media/$number" $((files_mib / 16)); done
sweep database "$directory/tree-2/database/table" $((files_mib / 2))

echo "making the disks" >&2
make_disk "$directory/disk-1.raw" "$directory/tree-1" $((files_mib * 2))
make_disk "$directory/disk-2.raw" "$directory/tree-2" $((files_mib * 3))
for number in 1 2; do sweep change "$directory/disk-$number.raw" "$directory/disk-$number-second.raw" 19; done
rm -rf "$directory/tree-1" "$directory/tree-2"

echo "measuring" >&2
sweep measure "$directory/disk-1.raw" "$directory/disk-2.raw" -- "$directory/disk-1-second.raw" "$directory/disk-2-second.raw"
