//! The disks of the demo: real ext4 file systems that hold files of this machine, and a raw volume
//! with pages as a database writes them. Deterministic but for the machine's own files.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// File systems place data in blocks of this many bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// 2^20 bytes.
pub const MEBIBYTE: u64 = 1 << 20;

/// One server to make.
#[derive(Clone, Copy, Debug)]
pub struct ServerPlan {
    /// Its name.
    pub name: &'static str,
    /// Its disks; the first is the one it starts from.
    pub disks: &'static [DiskPlan],
}

/// One disk to make.
#[derive(Clone, Copy, Debug)]
pub struct DiskPlan {
    /// Its name; `.raw` is appended for the file.
    pub name: &'static str,
    /// Size of the disk.
    pub size_bytes: u64,
    /// What it holds.
    pub content: Content,
}

/// What a disk holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// Nothing: one hole.
    Empty,
    /// An ext4 file system with files of this machine.
    Ext4 {
        /// How many bytes of files.
        file_bytes: u64,
        /// How many files are passed over first, so that two disks differ.
        skip_files: usize,
    },
    /// Database-like pages of 8 KiB over the first bytes, the rest a hole.
    Pages {
        /// How many bytes of pages.
        written_bytes: u64,
    },
}

/// A deterministic stream of numbers (SplitMix64), so that each demo makes and changes the same blocks.
pub struct Numbers(u64);

impl Numbers {
    /// The stream of a seed.
    pub fn seeded(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a stream without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which counts as 1 when it is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Makes one disk; a disk that exists is left as it is.
pub fn make_disk(folder: &Path, plan: &DiskPlan) -> io::Result<PathBuf> {
    let path = folder.join(format!("{}.raw", plan.name));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!("{}.unfinished", plan.name));
    match plan.content {
        Content::Empty => File::create(&unfinished)?.set_len(plan.size_bytes)?,
        Content::Ext4 { file_bytes, skip_files } => {
            make_ext4(folder, &unfinished, plan.size_bytes, file_bytes, skip_files)?;
        }
        Content::Pages { written_bytes } => make_pages(&unfinished, plan.size_bytes, written_bytes)?,
    }
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

fn make_ext4(
    folder: &Path,
    image: &Path,
    size_bytes: u64,
    file_bytes: u64,
    skip_files: usize,
) -> io::Result<()> {
    let tree = folder.join("tree.unfinished");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::create_dir_all(&tree)?;
    let mut copied = 0;
    for (index, file) in machine_files(file_bytes, skip_files).iter().enumerate() {
        let to = tree.join(format!("{:02}", index % 64));
        fs::create_dir_all(&to)?;
        copied += fs::copy(file, to.join(format!("{index:06}")))?;
        if copied >= file_bytes {
            break;
        }
    }
    File::create(image)?.set_len(size_bytes)?;
    let made = Command::new("mke2fs")
        // Outside the path of ordinary users on many systems, although it needs no rights.
        .env("PATH", path_with_sbin())
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-E", "lazy_itable_init=1", "-d"])
        .arg(&tree)
        .arg(image)
        .output()?;
    fs::remove_dir_all(&tree)?;
    if made.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("mke2fs: {}", String::from_utf8_lossy(&made.stderr).trim())))
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Files of this machine, in name order: programs, libraries and documents. None is so large that it alone
/// could fill the disk.
fn machine_files(file_bytes: u64, skip_files: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut found = 0;
    let mut skipped = 0;
    let mut folders: Vec<PathBuf> = ["/usr/share", "/usr/lib", "/usr/bin"].map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(kind) = entry.metadata() else { continue };
            if kind.is_dir() && !entry.path().is_symlink() {
                folders.push(entry.path());
            } else if kind.is_file() && kind.len() <= file_bytes / 8 && File::open(entry.path()).is_ok() {
                skipped += 1;
                if skipped > skip_files {
                    found += kind.len();
                    files.push(entry.path());
                }
            }
            if found >= file_bytes {
                return files;
            }
        }
    }
    files
}

/// Pages of 8 KiB as a database leaves them: a header with numbers, rows of text, free space.
fn make_pages(path: &Path, size_bytes: u64, written_bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(size_bytes)?;
    let mut numbers = Numbers::seeded(7);
    let mut page = vec![0u8; 8192];
    for number in 0..written_bytes / 8192 {
        fill_page(&mut page, number, &mut numbers);
        file.write_all_at(&page, number * 8192)?;
    }
    file.sync_all()
}

fn fill_page(page: &mut [u8], number: u64, numbers: &mut Numbers) {
    page.fill(0);
    page[..8].copy_from_slice(&number.to_le_bytes());
    page[8..16].copy_from_slice(&numbers.next().to_le_bytes());
    let mut at = 64;
    let used = 4096 + numbers.below(3800) as usize;
    while at < used {
        let row = format!(
            "{:016x}|customer-{:06}|{:>9}.{:02}|shipped by lorry {}|",
            numbers.next(),
            numbers.below(400_000),
            numbers.below(1_000_000),
            numbers.below(100),
            numbers.below(90)
        );
        let end = (at + row.len()).min(page.len());
        page[at..end].copy_from_slice(&row.as_bytes()[..end - at]);
        at = end;
    }
}

/// What [`change_blocks`] did.
pub struct Changed {
    /// Blocks that were overwritten.
    pub block_count: u64,
    /// Extents of 1 MiB that a backup with fixed pieces would have to store again.
    pub mebibytes: Vec<u64>,
}

/// Overwrites a part of a disk's non-zero blocks in place, skewed as a database does it: most changes
/// fall into a few places.
pub fn change_blocks(path: &Path, per_mille: u64, seed: u64) -> io::Result<Changed> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let blocks = written_blocks(&file)?;
    let mut numbers = Numbers::seeded(seed);
    let wanted = (blocks.len() as u64 * per_mille / 1000).max(1);
    let mut chosen = std::collections::BTreeSet::new();
    while (chosen.len() as u64) < wanted {
        let length = blocks.len() as u64;
        let is_hot = numbers.below(10) < 7;
        let position = if is_hot { numbers.below(length / 10) } else { numbers.below(length) };
        chosen.insert(blocks[position as usize]);
    }
    let mut block = vec![0u8; BLOCK_BYTES as usize];
    for offset in &chosen {
        file.read_exact_at(&mut block, *offset)?;
        for piece in block.chunks_mut(512).step_by(2) {
            piece[..8].copy_from_slice(&numbers.next().to_le_bytes());
        }
        file.write_all_at(&block, *offset)?;
    }
    file.sync_all()?;
    let mut mebibytes: Vec<u64> = chosen.iter().map(|offset| offset / MEBIBYTE).collect();
    mebibytes.dedup();
    Ok(Changed { block_count: chosen.len() as u64, mebibytes })
}

/// Offsets of the blocks that hold anything but zeros.
fn written_blocks(file: &File) -> io::Result<Vec<u64>> {
    let length = file.metadata()?.len();
    let mut offsets = Vec::new();
    let mut buffer = vec![0u8; MEBIBYTE as usize];
    let mut at = 0;
    while at < length {
        let count = (length - at).min(MEBIBYTE) as usize;
        file.read_exact_at(&mut buffer[..count], at)?;
        for (index, block) in buffer[..count].chunks_exact(BLOCK_BYTES as usize).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                offsets.push(at + index as u64 * BLOCK_BYTES);
            }
        }
        at += count as u64;
    }
    Ok(offsets)
}

/// Whether two disks hold the same bytes; the larger must be zero behind the smaller.
pub fn first_difference(left: &Path, right: &Path) -> io::Result<Option<u64>> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    let length = left.metadata()?.len().max(right.metadata()?.len());
    let (mut a, mut b) = (vec![0u8; MEBIBYTE as usize], vec![0u8; MEBIBYTE as usize]);
    let mut at = 0;
    while at < length {
        read_or_zero(&left, &mut a, at)?;
        read_or_zero(&right, &mut b, at)?;
        if a != b {
            let place = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(0);
            return Ok(Some(at + place as u64));
        }
        at += MEBIBYTE;
    }
    Ok(None)
}

fn read_or_zero(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    buffer.fill(0);
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(())
}
