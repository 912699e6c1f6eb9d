//! Fills an index with made-up packs and prints what that costs: memory, disk, and the time of a look-up.
//!
//! `cargo run --release --example index_fill -- FOLDER MILLIONS [CACHE_MIB]`
//!
//! Prints a line for every million chunks, so that growth can be read off and carried on. Ids and
//! addresses follow from their number: the same command makes the same index.
#![expect(clippy::disallowed_methods, reason = "this measures real time")]
#![expect(clippy::unwrap_used, reason = "an example may stop at the first surprise")]

use std::path::Path;
use std::time::Instant;

use vault::ids::{Address, DedupId, DomainId, Epoch, Incarnation, Kind, PackNumber, VaultId};
use vault::index::{Index, IndexIdentity, IndexSettings, IndexedObject, IndexedPack};

const CHUNKS_A_PACK: u64 = 1_700;
const STORED_LEN: u32 = 19_000;
const LOOK_UPS: u64 = 20_000;

fn digest(label: &str, number: u64) -> [u8; 32] {
    blake3::derive_key(label, &number.to_le_bytes())
}

fn pack(number: u64) -> IndexedPack {
    let object = |place: u64| {
        let chunk = number * CHUNKS_A_PACK + place;
        IndexedObject {
            address: Address(digest("address", chunk)),
            kind: Kind::Chunk,
            offset: place * u64::from(STORED_LEN),
            stored_len: STORED_LEN,
            id: Some(DedupId(digest("id", chunk))),
        }
    };
    IndexedPack {
        number: PackNumber(number),
        name: format!("vaults/00/packs/{number:016x}-00000001.pack"),
        epoch: Epoch(1),
        objects: (0..CHUNKS_A_PACK).map(object).collect(),
    }
}

/// Memory of this process in MiB: now, and without pages that the system can drop at will.
fn memory_mib() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    (field("VmHWM:"), field("RssAnon:"))
}

fn folder_mib(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => folder_mib(&entry.path()) << 20,
        false => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    bytes.sum::<u64>() >> 20
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: index_fill FOLDER MILLIONS [CACHE_MIB]";
    let folder = std::path::PathBuf::from(arguments.next().expect(usage));
    let millions: u64 = arguments.next().expect(usage).parse().unwrap();
    let mut settings = IndexSettings::default();
    if let Some(mib) = arguments.next() {
        settings.cache_bytes = mib.parse::<u64>().unwrap() << 20;
    }
    let identity = IndexIdentity {
        vault: VaultId([1; 16]),
        domain: DomainId([1; 16]),
        incarnation: Incarnation([1; 16]),
    };
    let index = Index::open(&folder, &identity, &settings).unwrap();
    let mut start = Instant::now();
    for number in 0..millions * 1_000_000 / CHUNKS_A_PACK {
        index.add(&pack(number)).unwrap();
        let chunks = (number + 1) * CHUNKS_A_PACK;
        if chunks / 1_000_000 == (chunks - CHUNKS_A_PACK) / 1_000_000 {
            continue;
        }
        let fill_seconds = start.elapsed().as_secs_f64();
        let look_up = |label: &str, count: u64, spread: u64| {
            let ids: Vec<DedupId> =
                (0..count).map(|number| DedupId(digest(label, number * spread % chunks))).collect();
            let start = Instant::now();
            let found = ids.chunks(24).map(|ids| index.known(ids).unwrap().into_iter().flatten().count());
            let found: usize = found.sum();
            (start.elapsed().as_secs_f64() * 1e6 / count as f64, found)
        };
        let (hit, found) = look_up("id", LOOK_UPS, 7_919);
        let (miss, not_found) = look_up("nothing", LOOK_UPS, 7_919);
        let (peak, anonymous) = memory_mib();
        println!(
            "{} million chunks: {fill_seconds:.1} s, memory {anonymous} MiB (peak {peak}), disk {} MiB, \
             {hit:.1} µs a hit ({found} of {LOOK_UPS}), {miss:.1} µs a miss ({not_found})",
            chunks / 1_000_000,
            folder_mib(&folder),
        );
        start = Instant::now();
    }
}
