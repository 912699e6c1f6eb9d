#!/usr/bin/env bash
# Makes the data set of bench/README.md: two virtual disks of 4 GiB in three generations.
#
#   bench/dataset.sh DIRECTORY
#
# system.raw  ext4 with about 1.3 GiB of this machine's own files (from /usr), 128 MiB that no codec makes smaller and
#             160 MiB of logs; the rest zero
# data.raw    ext4 of 1 GiB with half a GiB of the same files, 32 MiB of logs and 64 MiB that no codec makes smaller;
#             behind it 640 MiB of database-like pages of 8 KiB, raw; the rest zero
#
# Generations 2 and 3 change 1.9 % of the non-zero blocks of 4 KiB of both disks in place (four of five changes in a
# twentieth of the disk), append 12 MiB of pages to the raw volume and trim 4 MiB of it. Beside each later generation
# lies what a dirty bitmap of 64 KiB would know (NAME.extents: offset and length a line).
# What comes from the machine are the files of /usr, chosen by name and size; all else follows from fixed seeds. The same
# files give the same bytes: DIRECTORY/digests says which. Needs mkfs.ext4 and debugfs, no root, 16 GiB of room at most.
set -euo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

directory=${1:?usage: bench/dataset.sh DIRECTORY}
repository=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
files_root=${DATASET_FILES:-/usr}
seed_version=1

[ "$(cat "$directory/complete" 2>/dev/null)" = "$seed_version" ] && exit 0
rm -rf "$directory"
mkdir -p "$directory"/{1,2,3,work}
[ -x "${SWEEP:-}" ] || (cd "$repository" && cargo build --locked --quiet --release -p vault --example sweep)
sweep=${SWEEP:-$target/release/examples/sweep}

# Groups of 64 neighbouring files, spread over the whole tree until the size is reached: directories stay together.
choose_files() {
    find "$files_root" -xdev -type f -readable -size -33554432c -printf '%s\t%P\n' 2>/dev/null | sort -t "$(printf '\t')" -k 2 |
        awk -F '\t' -v want="$(($1 << 20))" '
            { size[NR] = $1; name[NR] = $2; total += $1 }
            END {
                stride = int(total / want); if (stride < 1) stride = 1
                for (i = 1; i <= NR; i++) {
                    if (int((i - 1) / 64) % stride == 0 && sum < want) { sum += size[i]; print name[i] }
                }
            }'
}

# A fixed identity, hash seed and clock make the same file system on every run. The clock has to be set inode by inode.
make_file_system() {
    local image=$1 tree=$2 mib=$3 inodes free
    truncate -s "${mib}M" "$image"
    export E2FSPROGS_FAKE_TIME=1700000000
    mkfs.ext4 -q -F -N 262144 -U 6f1d2c1e-0000-4000-8000-000000000001 \
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

copy_files() { tar -C "$files_root" -c -T "$1" | tar -C "$2" -x; }

echo "dataset: system disk" >&2
tree=$directory/work/tree
mkdir -p "$tree/media" "$tree/log"
choose_files 1344 >"$directory/work/system.files"
copy_files "$directory/work/system.files" "$tree"
for number in 1 2; do "$sweep" noise "$tree/media/$number" 64; done
for number in 1 2 3 4 5; do "$sweep" log "$tree/log/system-$number.log" 32; done
make_file_system "$directory/1/system.raw" "$tree" 4096
rm -rf "$tree"

echo "dataset: data disk" >&2
mkdir -p "$tree/media" "$tree/log"
choose_files 512 >"$directory/work/data.files"
copy_files "$directory/work/data.files" "$tree"
for number in 3 4; do "$sweep" noise "$tree/media/$number" 32; done
"$sweep" log "$tree/log/data.log" 32
make_file_system "$directory/1/data.raw" "$tree" 1024
rm -rf "$tree"
truncate -s 4096M "$directory/1/data.raw"
"$sweep" database "$directory/work/pages" 640
dd if="$directory/work/pages" of="$directory/1/data.raw" bs=1M seek=1024 conv=notrunc,sparse status=none

append_mib=1664
trim_mib=1200
for generation in 2 3; do
    echo "dataset: generation $generation" >&2
    before=$((generation - 1))
    for disk in system data; do
        "$sweep" change "$directory/$before/$disk.raw" "$directory/$generation/$disk.raw" 19 "$disk $generation" >&2
    done
    "$sweep" database "$directory/work/pages" 12 "appended $generation"
    dd if="$directory/work/pages" of="$directory/$generation/data.raw" bs=1M seek=$append_mib conv=notrunc status=none
    fallocate --punch-hole --offset $((trim_mib << 20)) --length $((4 << 20)) "$directory/$generation/data.raw"
    append_mib=$((append_mib + 12))
    trim_mib=$((trim_mib + 100))
    for disk in system data; do
        "$sweep" extents "$directory/$before/$disk.raw" "$directory/$generation/$disk.raw" 65536 \
            >"$directory/$generation/$disk.extents"
    done
done
rm -rf "$directory/work"
(cd "$directory" && sha256sum ./*/*.raw >digests)
sync
echo $seed_version >"$directory/complete"
