//! Builds an index over made-up packs at one go, as a vault does that lost its own, then adds two million chunks
//! pack by pack, as backups do; prints what that costs: time, memory, disk, and the time of a look-up.
//!
//! `cargo run --release --example index_fill -- FOLDER MILLIONS [CACHE_MIB]`
//!
//! With 0 millions everything is added pack by pack, until it is stopped: how an index grows. Ids and addresses
//! follow from their number: the same command makes the same index.
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

/// Prints what the index of `chunks` costs now.
fn tell(index: &Index, folder: &Path, chunks: u64, what: &str, seconds: f64) {
    let look_up = |label: &str| {
        let ids: Vec<DedupId> =
            (0..LOOK_UPS).map(|number| DedupId(digest(label, number * 7_919_777 % chunks))).collect();
        let start = Instant::now();
        let found = ids.chunks(24).map(|ids| index.known(ids).unwrap().into_iter().flatten().count());
        let found: usize = found.sum();
        (start.elapsed().as_secs_f64() * 1e6 / LOOK_UPS as f64, found)
    };
    let ((hit, found), (miss, not_found)) = (look_up("id"), look_up("nothing"));
    let (peak, anonymous) = memory_mib();
    println!(
        "{} million chunks, {what}: {seconds:.1} s, memory {anonymous} MiB (peak {peak}), disk {} MiB, \
         {hit:.1} µs a hit ({found} of {LOOK_UPS}), {miss:.1} µs a miss ({not_found})",
        chunks / 1_000_000,
        folder_mib(folder),
    );
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
    let packs = millions * 1_000_000 / CHUNKS_A_PACK;
    let mut start = Instant::now();
    if packs > 0 {
        let mut build = index.begin_build().unwrap().expect("the folder holds no index");
        for number in 0..packs {
            build.add(&pack(number)).unwrap();
        }
        println!("{millions} million chunks sorted: {:.1} s", start.elapsed().as_secs_f64());
        build.finish(packs).unwrap();
        tell(&index, &folder, packs * CHUNKS_A_PACK, "built at one go", start.elapsed().as_secs_f64());
        start = Instant::now();
    }
    let more = if packs > 0 { packs + 2_000_000 / CHUNKS_A_PACK } else { u64::MAX };
    for number in packs..more {
        index.add(&pack(number)).unwrap();
        let chunks = (number + 1) * CHUNKS_A_PACK;
        if chunks / 1_000_000 > (chunks - CHUNKS_A_PACK) / 1_000_000 {
            tell(&index, &folder, chunks, "the last pack by pack", start.elapsed().as_secs_f64());
            start = Instant::now();
        }
    }
}
