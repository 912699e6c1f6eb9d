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
if [ -e "$directory" ] && [ ! -e "$directory/begun" ] && [ -n "$(ls -A "$directory")" ]; then
    echo "dataset: $directory holds something else; name a new or empty directory" >&2
    exit 2
fi
rm -rf "$directory"
mkdir -p "$directory"/{1,2,3,work}
touch "$directory/begun"
[ -x "${SWEEP:-}" ] || (cd "$repository" && cargo build --locked --quiet --release -p vault --example sweep)
sweep=${SWEEP:-$target/release/examples/sweep}

. "$repository/bench/disks.bash"

copy_files() { tar -C "$files_root" -c -T "$1" | tar -C "$2" -x; }

echo "dataset: system disk" >&2
tree=$directory/work/tree
mkdir -p "$tree/media" "$tree/log"
choose_files "$files_root" 1344 | cut -f 2 >"$directory/work/system.files"
copy_files "$directory/work/system.files" "$tree"
for number in 1 2; do "$sweep" noise "$tree/media/$number" 64; done
for number in 1 2 3 4 5; do "$sweep" log "$tree/log/system-$number.log" 32; done
make_file_system "$directory/1/system.raw" "$tree" 4096 -N 262144
rm -rf "$tree"

echo "dataset: data disk" >&2
mkdir -p "$tree/media" "$tree/log"
choose_files "$files_root" 512 | cut -f 2 >"$directory/work/data.files"
copy_files "$directory/work/data.files" "$tree"
for number in 3 4; do "$sweep" noise "$tree/media/$number" 32; done
"$sweep" log "$tree/log/data.log" 32
make_file_system "$directory/1/data.raw" "$tree" 1024 -N 262144
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
