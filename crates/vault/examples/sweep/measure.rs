//! Runs every way over two generations of the disks and prints the table of rfd 0002.
//!
//! Stored bytes count what a vault keeps: zstd level 1 or raw, 89 bytes of sealing a chunk, leaves of 52 bytes an entry
//! plus 89 a node; equal chunks and equal leaves once. Speed is processor time of one thread for finding zero blocks,
//! cutting and naming chunks, so that neighbours on the machine do not count; the median of three.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::AnyError;
use crate::cutting::{BLOCK_BYTES, Cut, CutHash, IdOver, Way, cut_segment, is_zero};

const SEALING_BYTES: u64 = 89;
const LEAF_ENTRY_BYTES: u64 = 52;
/// Raw bytes a chunk costs in the local index: address → pack, offset, length (32 + 20) and dedup id → address (64).
const INDEX_ENTRY_BYTES: u64 = 116;
const MIB: f64 = 1_048_576.0;
const TIB: f64 = MIB * MIB;
const SPEED_SAMPLE_BYTES: usize = 256 << 20;

#[derive(Default, Clone, Copy)]
struct Totals {
    chunk_count: u64,
    plain_bytes: u64,
    stored_bytes: u64,
    leaf_bytes: u64,
}

struct Store {
    chunks: HashSet<[u8; 16]>,
    leaves: HashSet<[u8; 32]>,
    totals: Totals,
}

pub(crate) fn run(generation_1: &[PathBuf], generation_2: &[PathBuf]) -> Result<(), AnyError> {
    let sample = speed_sample(generation_1)?;
    print_speeds(&sample)?;
    println!(
        "| cut | segment MiB | cut hash | stored MiB | of it leaves | second adds | of it leaves | mean chunk KiB | index MiB per TiB | projected to 100 TiB: chunks, index |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for way in ways() {
        let mut store = Store { chunks: HashSet::new(), leaves: HashSet::new(), totals: Totals::default() };
        add_disks(generation_1, &way, &mut store)?;
        let first = store.totals;
        add_disks(generation_2, &way, &mut store)?;
        print_row(&way, first, store.totals);
    }
    Ok(())
}

fn ways() -> Vec<Way> {
    let fixed = |kib: usize| Way {
        cut: Cut::Fixed { blocks: kib / 4 },
        segment_bytes: 16 << 20,
        cut_hash: CutHash::Block,
        id_over: IdOver::Chunk,
    };
    let mut ways = vec![fixed(32), fixed(64), fixed(1024)];
    let sizes = [
        (2, 4, 64),
        (2, 8, 128),
        (3, 4, 128),
        (3, 8, 128),
        (3, 8, 256),
        (3, 16, 128),
        (3, 16, 256),
        (3, 24, 256),
        (4, 16, 256),
        (4, 16, 512),
        (4, 32, 512),
        (5, 32, 512),
        (5, 32, 1024),
        (5, 64, 1024),
    ];
    for cut_hash in [CutHash::Block, CutHash::Sample] {
        ways.extend(sizes.map(|(bits, kib_min, kib_max)| content(bits, kib_min, kib_max, 16, cut_hash)));
    }
    for segment_mib in [4, 8, 32] {
        ways.push(content(3, 8, 256, segment_mib, CutHash::Block));
        ways.push(content(3, 16, 256, segment_mib, CutHash::Block));
        ways.push(content(4, 16, 512, segment_mib, CutHash::Block));
    }
    ways
}

fn content(bits: u32, kib_min: usize, kib_max: usize, segment_mib: usize, cut_hash: CutHash) -> Way {
    Way {
        cut: Cut::Content { bits, blocks_min: kib_min / 4, blocks_max: kib_max / 4 },
        segment_bytes: segment_mib << 20,
        cut_hash,
        id_over: IdOver::Chunk,
    }
}

fn add_disks(disks: &[PathBuf], way: &Way, store: &mut Store) -> Result<(), AnyError> {
    let mut codec = zstd::bulk::Compressor::new(1)?;
    let mut segment = vec![0; way.segment_bytes];
    for path in disks {
        let disk = File::open(path)?;
        let size = disk.metadata()?.len();
        let mut offset = 0;
        while offset < size {
            let length = (size - offset).min(way.segment_bytes as u64) as usize;
            disk.read_exact_at(&mut segment[..length], offset)?;
            add_segment(&segment[..length], way, store, &mut codec)?;
            offset += length as u64;
        }
    }
    Ok(())
}

fn add_segment(
    segment: &[u8],
    way: &Way,
    store: &mut Store,
    codec: &mut zstd::bulk::Compressor<'_>,
) -> Result<(), AnyError> {
    let pieces = cut_segment(segment, way);
    let mut leaf = blake3::Hasher::new();
    let mut is_empty = true;
    for piece in &pieces {
        leaf.update(&(piece.end - piece.start).to_le_bytes());
        leaf.update(&piece.id.unwrap_or_default());
        let Some(id) = piece.id else { continue };
        is_empty = false;
        let mut short = [0; 16];
        short.copy_from_slice(&id[..16]);
        if store.chunks.insert(short) {
            let bytes = &segment[piece.start * BLOCK_BYTES..(piece.end * BLOCK_BYTES).min(segment.len())];
            let packed = codec.compress(bytes)?.len().min(bytes.len()) as u64;
            store.totals.chunk_count += 1;
            store.totals.plain_bytes += bytes.len() as u64;
            store.totals.stored_bytes += packed + SEALING_BYTES;
        }
    }
    if !is_empty && store.leaves.insert(*leaf.finalize().as_bytes()) {
        let bytes = pieces.len() as u64 * LEAF_ENTRY_BYTES + SEALING_BYTES;
        store.totals.leaf_bytes += bytes;
        store.totals.stored_bytes += bytes;
    }
    Ok(())
}

fn print_row(way: &Way, first: Totals, both: Totals) {
    let cut = match way.cut {
        Cut::Fixed { blocks } => format!("fixed {}", blocks * 4),
        Cut::Content { bits, blocks_min, blocks_max } => {
            format!("average {} ({}–{})", 4 << bits, blocks_min * 4, blocks_max * 4)
        }
    };
    let hash = match (way.cut, way.cut_hash) {
        (Cut::Fixed { .. }, _) => "–",
        (_, CutHash::Block) => "block",
        (_, CutHash::Sample) => "sample",
    };
    let mean = first.plain_bytes as f64 / first.chunk_count as f64;
    let per_tib = TIB / mean;
    println!(
        "| {cut} | {} | {hash} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.2} × 10⁹, {:.0} GiB |",
        way.segment_bytes >> 20,
        first.stored_bytes as f64 / MIB,
        first.leaf_bytes as f64 / MIB,
        (both.stored_bytes - first.stored_bytes) as f64 / MIB,
        (both.leaf_bytes - first.leaf_bytes) as f64 / MIB,
        mean / 1024.0,
        per_tib * INDEX_ENTRY_BYTES as f64 / MIB,
        per_tib * 100.0 / 1e9,
        per_tib * 100.0 * INDEX_ENTRY_BYTES as f64 / MIB / 1024.0,
    );
}

/// Non-zero areas of 1 MiB of all disks in turn, so that no way is measured on holes.
fn speed_sample(disks: &[PathBuf]) -> Result<Vec<u8>, AnyError> {
    let mut sample = Vec::with_capacity(SPEED_SAMPLE_BYTES);
    let mut area = vec![0; 1 << 20];
    for path in disks {
        let disk = File::open(path)?;
        let share = sample.len() + SPEED_SAMPLE_BYTES / disks.len();
        let mut offset = 0;
        while sample.len() < share && disk.read_exact_at(&mut area, offset).is_ok() {
            if !is_zero(&area) {
                sample.extend_from_slice(&area);
            }
            // Seven of eight areas are left out, to see all kinds of files.
            offset += 8 << 20;
        }
    }
    Ok(sample)
}

fn print_speeds(sample: &[u8]) -> Result<(), AnyError> {
    println!(
        "| cut hash | id over | average 32 (8–256) MiB/s | average 32 (16–256) MiB/s | average 64 (16–512) MiB/s |"
    );
    println!("|---|---|---|---|---|");
    for (cut_hash, cut_name) in [(CutHash::Block, "block"), (CutHash::Sample, "sample")] {
        for (id_over, id_name) in [(IdOver::Chunk, "chunk"), (IdOver::BlockDigests, "block digests")] {
            let mut cells = Vec::new();
            for (bits, kib_min, kib_max) in [(3, 8, 256), (3, 16, 256), (4, 16, 512)] {
                let way = Way { id_over, ..content(bits, kib_min, kib_max, 16, cut_hash) };
                cells.push(format!("{:.0}", cutting_speed(sample, &way)?));
            }
            println!("| {cut_name} | {id_name} | {} |", cells.join(" | "));
        }
    }
    println!("\n| by itself, chunks of 44 KiB | MiB/s |\n|---|---|");
    for (id_over, name) in [(IdOver::Chunk, "chunk"), (IdOver::BlockDigests, "block digests")] {
        println!("| naming a chunk again, over {name} | {:.0} |", naming_speed(sample, id_over)?);
    }
    println!("| zstd level 1 | {:.0} |\n", codec_speed(sample)?);
    Ok(())
}

fn cutting_speed(sample: &[u8], way: &Way) -> Result<f64, AnyError> {
    median_speed(sample.len(), || {
        let pieces = sample.chunks(way.segment_bytes).map(|segment| cut_segment(segment, way).len());
        std::hint::black_box(pieces.sum::<usize>());
        Ok(())
    })
}

/// What a chunk costs that is hashed once more: after it was opened for the check before it leaves memory, at restore.
fn naming_speed(sample: &[u8], id_over: IdOver) -> Result<f64, AnyError> {
    let cut = Cut::Fixed { blocks: 11 };
    let way = Way { cut, segment_bytes: sample.len(), cut_hash: CutHash::Sample, id_over };
    cutting_speed(sample, &way)
}

fn codec_speed(sample: &[u8]) -> Result<f64, AnyError> {
    let mut codec = zstd::bulk::Compressor::new(1)?;
    median_speed(sample.len(), || {
        for chunk in sample.chunks(44 << 10) {
            std::hint::black_box(codec.compress(chunk)?.len());
        }
        Ok(())
    })
}

fn median_speed(bytes: usize, mut work: impl FnMut() -> Result<(), AnyError>) -> Result<f64, AnyError> {
    let mut speeds = [0.0; 3];
    for speed in &mut speeds {
        let before = thread_nanoseconds()?;
        work()?;
        *speed = bytes as f64 / MIB / ((thread_nanoseconds()? - before) as f64 / 1e9);
    }
    speeds.sort_by(f64::total_cmp);
    Ok(speeds[1])
}

/// Processor time of this thread, from the kernel's scheduler statistics.
fn thread_nanoseconds() -> Result<u64, AnyError> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(line.split_whitespace().next().ok_or("the scheduler statistics are empty")?.parse()?)
}
