//! Content of the disk images: database-like pages, incompressible files, and the second generation of a disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::AnyError;
use crate::chance::Chance;
use crate::cutting::{BLOCK_BYTES, is_zero};

const MIB: u64 = 1 << 20;
const PAGE_BYTES: usize = 8192;

/// Writes pages as a row store writes them: a header that differs in every page, line pointers, free space in the
/// middle, rows of mixed text and numbers packed from the end.
pub(crate) fn write_database(file: &Path, mib: u64, seed: &str) -> Result<(), AnyError> {
    let mut chance = Chance::seeded(seed);
    let mut output = BufWriter::new(File::create(file)?);
    let mut row_number = 0;
    for page_number in 0..mib * MIB / PAGE_BYTES as u64 {
        output.write_all(&page(page_number, &mut row_number, &mut chance))?;
    }
    Ok(output.flush()?)
}

fn page(page_number: u64, row_number: &mut u64, chance: &mut Chance) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    let full_until = PAGE_BYTES * (5 + chance.below(30) as usize) / 100;
    page[0..8].copy_from_slice(&(page_number * 8192 + chance.below(8192)).to_le_bytes());
    page[8..10].copy_from_slice(&(chance.below(65536) as u16).to_le_bytes());
    let mut pointer = 24;
    let mut end = PAGE_BYTES;
    loop {
        let row = row(*row_number, chance);
        if end < row.len() + full_until.max(pointer + 4) {
            break;
        }
        end -= row.len();
        page[end..end + row.len()].copy_from_slice(&row);
        page[pointer..pointer + 2].copy_from_slice(&(end as u16).to_le_bytes());
        page[pointer + 2..pointer + 4].copy_from_slice(&(row.len() as u16).to_le_bytes());
        pointer += 4;
        *row_number += 1;
    }
    page
}

fn row(row_number: u64, chance: &mut Chance) -> Vec<u8> {
    const NAMES: [&str; 8] = ["anders", "bea", "chen", "dimitri", "esra", "farah", "goran", "hui"];
    const STATES: [&str; 4] = ["paid", "sent", "returned", "open"];
    let mut row = Vec::with_capacity(160);
    row.extend_from_slice(&(row_number as u32).to_le_bytes());
    row.extend_from_slice(&(1_700_000_000_000 + row_number * 731 + chance.below(700)).to_le_bytes());
    let name = NAMES[chance.below(8) as usize];
    let state = STATES[chance.below(4) as usize];
    let amount = chance.below(1_000_000);
    let mut token = [0; 12];
    chance.fill(&mut token);
    row.extend_from_slice(format!("{name}.{}@example.org|{state}|{amount}|", chance.below(9999)).as_bytes());
    row.extend_from_slice(&token);
    row.resize(row.len() + 8 + chance.below(40) as usize, b' ');
    row
}

/// Writes bytes that no codec makes smaller: media, archives, encrypted files.
pub(crate) fn write_noise(file: &Path, mib: u64) -> Result<(), AnyError> {
    let mut chance = Chance::seeded(&format!("noise {}", file.file_name().unwrap_or_default().display()));
    let mut output = BufWriter::new(File::create(file)?);
    let mut piece = vec![0; MIB as usize];
    for _ in 0..mib {
        chance.fill(&mut piece);
        output.write_all(&piece)?;
    }
    Ok(output.flush()?)
}

/// Writes log lines as a server writes them: rising times, few sentences, numbers that differ in every line.
pub(crate) fn write_log(file: &Path, mib: u64) -> Result<(), AnyError> {
    const UNITS: [&str; 6] = ["sshd", "nginx", "kernel", "postgres", "cron", "app"];
    const SENTENCES: [&str; 5] = [
        "connection accepted from 10.0.",
        "request served in microseconds: ",
        "statement took longer than the limit: ",
        "retrying after a temporary failure, attempt ",
        "cache refreshed, entries kept: ",
    ];
    let mut chance = Chance::seeded(&format!("log {}", file.file_name().unwrap_or_default().display()));
    let mut output = BufWriter::new(File::create(file)?);
    let (mut written, mut milliseconds) = (0, 1_700_000_000_000u64);
    while written < mib * MIB {
        milliseconds += chance.below(900);
        let unit = UNITS[chance.below(6) as usize];
        let sentence = SENTENCES[chance.below(5) as usize];
        let (number, id) = (chance.below(100_000), chance.below(u64::MAX));
        let line =
            format!("{milliseconds} host1 {unit}[{}]: {sentence}{number} id={id:016x}\n", number % 977);
        output.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    output.flush()?;
    Ok(output.get_ref().set_len(mib * MIB)?)
}

/// Writes what a tracker of changes would know: the extents (offset, length) in which two disks differ, in pieces of
/// `granularity` bytes, one a line.
pub(crate) fn write_extents(before: &Path, after: &Path, granularity: usize) -> Result<(), AnyError> {
    let (before, after) = (File::open(before)?, File::open(after)?);
    let size_bytes = after.metadata()?.len();
    let (mut old, mut new) = (vec![0; granularity], vec![0; granularity]);
    let mut extents: Vec<(u64, u64)> = Vec::new();
    for offset in (0..size_bytes).step_by(granularity) {
        let length = granularity.min((size_bytes - offset) as usize);
        before.read_exact_at(&mut old[..length], offset)?;
        after.read_exact_at(&mut new[..length], offset)?;
        if old[..length] == new[..length] {
            continue;
        }
        match extents.last_mut() {
            Some((start, so_far)) if *start + *so_far == offset => *so_far += length as u64,
            _ => extents.push((offset, length as u64)),
        }
    }
    let mut output = BufWriter::new(std::io::stdout().lock());
    for (offset, length) in extents {
        writeln!(output, "{offset} {length}")?;
    }
    Ok(output.flush()?)
}

/// Copies a disk (its holes stay holes) and changes `per_mille` of its non-zero blocks in place: four of five changed
/// blocks lie in a twentieth of the areas of 1 MiB, in runs of 1 to 16 blocks; the rest lies anywhere, in runs of 1 to
/// 4. A quarter of a changed block becomes new text.
pub(crate) fn change_blocks(
    source: &Path,
    destination: &Path,
    per_mille: u64,
    seed: &str,
) -> Result<(), AnyError> {
    let status =
        std::process::Command::new("cp").arg("--sparse=always").args([source, destination]).status()?;
    if !status.success() {
        return Err("the copy of the disk failed".into());
    }
    let disk = File::options().read(true).write(true).open(destination)?;
    let occupied = occupied_blocks(&disk)?;
    let mut chance = Chance::seeded(&format!("change {per_mille} {}{seed}", occupied.len()));
    let chosen = choose_blocks(&occupied, occupied.len() as u64 * per_mille / 1000, &mut chance);
    for block in &chosen {
        let offset = block * BLOCK_BYTES as u64;
        let text: String = (0..32).map(|_| format!("{:032x}", u128::from(chance.below(u64::MAX)))).collect();
        let within = chance.below(4) * 1024;
        disk.write_all_at(text.as_bytes(), offset + within)?;
    }
    println!("{}: {} of {} blocks changed", destination.display(), chosen.len(), occupied.len());
    Ok(())
}

fn occupied_blocks(disk: &File) -> Result<Vec<u64>, AnyError> {
    let mut occupied = Vec::new();
    let mut piece = vec![0; MIB as usize];
    for area in 0..disk.metadata()?.len() / MIB {
        disk.read_exact_at(&mut piece, area * MIB)?;
        let blocks = piece.chunks(BLOCK_BYTES).enumerate().filter(|(_, block)| !is_zero(block));
        occupied.extend(blocks.map(|(index, _)| area * (MIB / BLOCK_BYTES as u64) + index as u64));
    }
    Ok(occupied)
}

fn choose_blocks(occupied: &[u64], wanted: u64, chance: &mut Chance) -> BTreeSet<u64> {
    let area_of = |block: u64| block / (MIB / BLOCK_BYTES as u64);
    let mut areas: Vec<u64> = occupied.iter().map(|block| area_of(*block)).collect();
    areas.dedup();
    chance.shuffle(&mut areas);
    let hot_areas: BTreeSet<u64> = areas.iter().take(areas.len() / 20 + 1).copied().collect();
    let hot: Vec<u64> =
        occupied.iter().copied().filter(|block| hot_areas.contains(&area_of(*block))).collect();
    let mut chosen = BTreeSet::new();
    while (chosen.len() as u64) < wanted * 4 / 5 {
        add_run(&hot, 16, chance, &mut chosen);
    }
    while (chosen.len() as u64) < wanted {
        add_run(occupied, 4, chance, &mut chosen);
    }
    chosen
}

fn add_run(blocks: &[u64], run_max: u64, chance: &mut Chance, chosen: &mut BTreeSet<u64>) {
    let start = chance.below(blocks.len() as u64) as usize;
    let length = 1 + chance.below(run_max) as usize;
    chosen.extend(blocks.iter().skip(start).take(length));
}
