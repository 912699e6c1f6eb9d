# What the scripts that make disks share; they source this.

# Chooses about MIB of files under ROOT, in groups of 64 neighbours that are spread over the whole tree: directories stay
# together. Prints the parity of the group, a tab and the name.
choose_files() {
    local root=$1 mib=$2
    find "$root" -xdev -type f -readable -size -33554432c -printf '%s\t%P\n' 2>/dev/null | sort -t "$(printf '\t')" -k 2 |
        awk -F '\t' -v want="$((mib << 20))" '
            { size[NR] = $1; name[NR] = $2; total += $1 }
            END {
                stride = int(total / want); if (stride < 1) stride = 1
                for (i = 1; i <= NR; i++) {
                    group = int((i - 1) / 64)
                    if (group % stride == 0 && sum < want) { sum += size[i]; print int(group / stride) % 2 "\t" name[i] }
                }
            }'
}

# Makes an ext4 of MIB in IMAGE with the files of TREE; more arguments go to mkfs. A fixed identity, hash seed and clock
# make the same file system on every run. The clock has to be set inode by inode.
make_file_system() {
    local image=$1 tree=$2 mib=$3 inodes free
    shift 3
    rm -f "$image"
    truncate -s "${mib}M" "$image"
    export E2FSPROGS_FAKE_TIME=1700000000
    mkfs.ext4 -q -F "$@" -U 6f1d2c1e-0000-4000-8000-000000000001 \
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
