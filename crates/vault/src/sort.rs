//! Sorting more records than memory holds: buffers are sorted and written out as runs, runs are merged
//! when they are read. A sorted list can be read many times.
//!
//! Records have a fixed length and are ordered by their bytes; fields are big-endian, so that this is the
//! order of the fields. Memory is counted by a [`Meter`], so that a test can prove the bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::VaultError;

/// So many runs of one tier become one run of the next.
const FAN_IN: usize = 32;
/// Bytes read ahead of each run.
const READ_AHEAD_BYTES: usize = 32 << 10;
/// Bytes of runs that stay in memory when the disk of the spill folder is full.
const MEMORY_RUNS_BYTES_MAX: u64 = 256 << 20;

/// Bytes of records and read-ahead that are in memory, now and at most.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    now: AtomicU64,
    most: AtomicU64,
}

impl Meter {
    fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    fn sub(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

/// Counts bytes for as long as it lives.
struct Counted {
    meter: Arc<Meter>,
    bytes: u64,
}

impl Counted {
    fn new(meter: &Arc<Meter>, bytes: u64) -> Counted {
        meter.add(bytes);
        Counted { meter: meter.clone(), bytes }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.sub(self.bytes);
    }
}

/// Where runs are written: a private folder that is made when the first run needs it. Dropping it removes
/// the folder.
pub(crate) struct Spill {
    folder: PathBuf,
    buffer_bytes: usize,
    next_run: AtomicU64,
    memory_runs_bytes: AtomicU64,
    spilled_bytes: AtomicU64,
    meter: Arc<Meter>,
    #[cfg(test)]
    is_full: std::sync::atomic::AtomicBool,
}

impl Spill {
    /// A spill folder at `folder`; what an earlier run left there is removed.
    pub(crate) fn new(folder: &Path, buffer_bytes: usize) -> Result<Arc<Spill>, VaultError> {
        remove(folder)
            .map_err(|cause| VaultError::Unavailable { doing: "emptying the spill folder", cause })?;
        Ok(Arc::new(Spill {
            folder: folder.to_path_buf(),
            buffer_bytes,
            next_run: AtomicU64::new(0),
            memory_runs_bytes: AtomicU64::new(0),
            spilled_bytes: AtomicU64::new(0),
            meter: Arc::default(),
            #[cfg(test)]
            is_full: Default::default(),
        }))
    }

    /// The most bytes that were in memory at once.
    pub(crate) fn memory_bytes_most(&self) -> u64 {
        self.meter.most()
    }

    /// Bytes written to spill files so far.
    pub(crate) fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes.load(Ordering::Relaxed)
    }

    /// Writes records to a new file.
    fn write<const N: usize>(
        &self,
        records: impl Iterator<Item = Result<[u8; N], VaultError>>,
    ) -> Result<File, SpillError> {
        #[cfg(test)]
        if self.is_full.load(Ordering::Relaxed) {
            return Err(SpillError::Io(io::ErrorKind::StorageFull.into()));
        }
        let number = self.next_run.fetch_add(1, Ordering::Relaxed);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(SpillError::Io)?;
        let path = self.folder.join(format!("{number:08}.run"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(SpillError::Io)?;
        // Open files are all that is needed: a name would only outlive us.
        fs::remove_file(&path).map_err(SpillError::Io)?;
        let mut writer = io::BufWriter::with_capacity(READ_AHEAD_BYTES, &file);
        for record in records {
            writer.write_all(&record.map_err(SpillError::Vault)?).map_err(SpillError::Io)?;
            self.spilled_bytes.fetch_add(N as u64, Ordering::Relaxed);
        }
        writer.flush().map_err(SpillError::Io)?;
        drop(writer);
        Ok(file)
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Runs have no names; an empty folder that stays is removed by the next run.
        let _ = remove(&self.folder);
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

enum SpillError {
    Io(io::Error),
    Vault(VaultError),
}

fn spill_failed(error: SpillError) -> VaultError {
    let doing = "sorting in the spill folder";
    match error {
        SpillError::Vault(error) => error,
        SpillError::Io(cause) if is_full(&cause) => VaultError::Full { doing },
        SpillError::Io(cause) => VaultError::Unavailable { doing, cause },
    }
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

enum Run<const N: usize> {
    Memory { records: Vec<[u8; N]>, _counted: Counted },
    File(File),
}

/// Takes records in any order.
pub(crate) struct Sorter<const N: usize> {
    spill: Arc<Spill>,
    buffer: Vec<[u8; N]>,
    counted: Counted,
    /// By tier: how often their records were merged.
    tiers: Vec<Vec<Run<N>>>,
    is_unique: bool,
}

impl<const N: usize> Sorter<N> {
    /// Keeps every record.
    pub(crate) fn new(spill: &Arc<Spill>) -> Sorter<N> {
        let counted = Counted::new(&spill.meter, 0);
        Sorter { spill: spill.clone(), buffer: Vec::new(), counted, tiers: Vec::new(), is_unique: false }
    }

    /// Keeps one of equal records.
    pub(crate) fn unique(spill: &Arc<Spill>) -> Sorter<N> {
        Sorter { is_unique: true, ..Sorter::new(spill) }
    }

    pub(crate) fn push(&mut self, record: [u8; N]) -> Result<(), VaultError> {
        if self.buffer.len() == self.buffer.capacity() {
            self.grow()?;
        }
        self.buffer.push(record);
        Ok(())
    }

    /// Makes room for one more record, by a larger buffer while it may grow, else by writing a run.
    fn grow(&mut self) -> Result<(), VaultError> {
        let most = (self.spill.buffer_bytes / N).max(16);
        if self.buffer.capacity() >= most {
            self.sort_buffer();
            // Equal records may have made enough room.
            if self.buffer.len() > most / 2 {
                self.spill_buffer()?;
            }
            return Ok(());
        }
        let capacity = (self.buffer.capacity() * 2).clamp(16, most);
        self.buffer.reserve_exact(capacity - self.buffer.len());
        self.counted = Counted::new(&self.spill.meter, (self.buffer.capacity() * N) as u64);
        Ok(())
    }

    fn sort_buffer(&mut self) {
        self.buffer.sort_unstable();
        if self.is_unique {
            self.buffer.dedup();
        }
    }

    fn spill_buffer(&mut self) -> Result<(), VaultError> {
        let written = self.spill.write(self.buffer.iter().map(|record| Ok(*record)));
        match written {
            Ok(file) => self.add_run(0, Run::File(file)),
            Err(SpillError::Io(cause)) if is_full(&cause) => {
                let run = self.run_in_memory(cause)?;
                self.add_run(0, run);
            }
            Err(error) => return Err(spill_failed(error)),
        }
        self.buffer.clear();
        self.merge_full_tiers()
    }

    /// The buffer as a run, while the disk has no room for it.
    fn run_in_memory(&self, cause: io::Error) -> Result<Run<N>, VaultError> {
        let bytes = (self.buffer.len() * N) as u64;
        let held = self.spill.memory_runs_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > MEMORY_RUNS_BYTES_MAX {
            return Err(spill_failed(SpillError::Io(cause)));
        }
        let _counted = Counted::new(&self.spill.meter, bytes);
        Ok(Run::Memory { records: self.buffer.clone(), _counted })
    }

    fn add_run(&mut self, tier: usize, run: Run<N>) {
        if self.tiers.len() <= tier {
            self.tiers.resize_with(tier + 1, Vec::new);
        }
        self.tiers[tier].push(run);
    }

    fn merge_full_tiers(&mut self) -> Result<(), VaultError> {
        let mut tier = 0;
        while self.tiers.get(tier).is_some_and(|runs| runs.len() >= FAN_IN) {
            let merged = Merge::over(&self.tiers[tier], &self.spill.meter, self.is_unique)?;
            match self.spill.write(merged) {
                Ok(file) => {
                    self.tiers[tier].clear();
                    self.add_run(tier + 1, Run::File(file));
                }
                // More runs than wanted are slower to read and nothing worse.
                Err(SpillError::Io(cause)) if is_full(&cause) => return Ok(()),
                Err(error) => return Err(spill_failed(error)),
            }
            tier += 1;
        }
        Ok(())
    }

    /// All records, in order.
    pub(crate) fn finish(mut self) -> Result<Sorted<N>, VaultError> {
        self.sort_buffer();
        if self.tiers.is_empty() {
            let records = std::mem::take(&mut self.buffer);
            let counted = Counted::new(&self.spill.meter, (records.capacity() * N) as u64);
            self.add_run(0, Run::Memory { records, _counted: counted });
        } else if !self.buffer.is_empty() {
            self.spill_buffer()?;
        }
        let (tiers, meter) = (std::mem::take(&mut self.tiers), self.spill.meter.clone());
        let runs = tiers.into_iter().flatten().collect();
        Ok(Sorted { runs, meter, is_unique: self.is_unique, _spill: self.spill })
    }
}

/// Records in order, to be read as often as wanted.
pub(crate) struct Sorted<const N: usize> {
    runs: Vec<Run<N>>,
    meter: Arc<Meter>,
    is_unique: bool,
    _spill: Arc<Spill>,
}

impl<const N: usize> Sorted<N> {
    pub(crate) fn iter(&self) -> Result<Merge<'_, N>, VaultError> {
        Merge::over(&self.runs, &self.meter, self.is_unique)
    }
}

/// The records of some runs, in order.
pub(crate) struct Merge<'a, const N: usize> {
    sources: Vec<Source<'a, N>>,
    next: BinaryHeap<Reverse<([u8; N], usize)>>,
    last: Option<[u8; N]>,
    is_unique: bool,
    _counted: Counted,
}

enum Source<'a, const N: usize> {
    Memory(std::slice::Iter<'a, [u8; N]>),
    File(BufReader<At<'a>>),
}

/// Reads a file from its start without moving a position that others share.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl<const N: usize> Source<'_, N> {
    fn next(&mut self) -> Result<Option<[u8; N]>, VaultError> {
        match self {
            Source::Memory(records) => Ok(records.next().copied()),
            Source::File(reader) => read_record(reader).map_err(|error| spill_failed(SpillError::Io(error))),
        }
    }
}

fn read_record<const N: usize>(reader: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut record = [0; N];
    let mut filled = 0;
    while filled < N {
        match reader.read(&mut record[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(record))
}

impl<'a, const N: usize> Merge<'a, N> {
    fn over(runs: &'a [Run<N>], meter: &Arc<Meter>, is_unique: bool) -> Result<Merge<'a, N>, VaultError> {
        let files = runs.iter().filter(|run| matches!(run, Run::File(_))).count();
        let counted = Counted::new(meter, (files * READ_AHEAD_BYTES) as u64);
        let source = |run: &'a Run<N>| match run {
            Run::Memory { records, .. } => Source::Memory(records.iter()),
            Run::File(file) => {
                Source::File(BufReader::with_capacity(READ_AHEAD_BYTES, At { file, offset: 0 }))
            }
        };
        let mut merge = Merge {
            sources: runs.iter().map(source).collect(),
            next: BinaryHeap::new(),
            last: None,
            is_unique,
            _counted: counted,
        };
        for index in 0..merge.sources.len() {
            merge.take_from(index)?;
        }
        Ok(merge)
    }

    fn take_from(&mut self, index: usize) -> Result<(), VaultError> {
        if let Some(record) = self.sources[index].next()? {
            self.next.push(Reverse((record, index)));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<[u8; N]>, VaultError> {
        while let Some(Reverse((record, index))) = self.next.pop() {
            self.take_from(index)?;
            if !self.is_unique || self.last != Some(record) {
                self.last = Some(record);
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl<const N: usize> Iterator for Merge<'_, N> {
    type Item = Result<[u8; N], VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::{Entropy, SeededEntropy};

    fn records(seed: u64, count: usize, distinct: u16) -> Vec<[u8; 10]> {
        let entropy = SeededEntropy::new(seed);
        let mut records = vec![[0; 10]; count];
        for record in &mut records {
            let mut value = [0; 2];
            entropy.fill(&mut value);
            record[4..6].copy_from_slice(&(u16::from_le_bytes(value) % distinct).to_be_bytes());
        }
        records
    }

    fn sorted(spill: &Arc<Spill>, records: &[[u8; 10]], is_unique: bool) -> Sorted<10> {
        let mut sorter = if is_unique { Sorter::unique(spill) } else { Sorter::new(spill) };
        for record in records {
            sorter.push(*record).unwrap();
        }
        sorter.finish().unwrap()
    }

    #[test]
    fn any_number_of_records_comes_back_in_order_and_more_than_once() {
        for seed in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let spill = Spill::new(&folder.path().join("spill"), 400).unwrap();
            let given = records(seed, 1 + seed as usize * 211, 300);
            for is_unique in [false, true] {
                let mut wanted = given.clone();
                wanted.sort_unstable();
                if is_unique {
                    wanted.dedup();
                }
                let sorted = sorted(&spill, &given, is_unique);
                for _ in 0..2 {
                    let got: Vec<_> = sorted.iter().unwrap().map(Result::unwrap).collect();
                    assert!(got == wanted, "seed {seed}, unique {is_unique}");
                }
            }
            assert_eq!(spill.meter.now.load(Ordering::Relaxed), 0, "seed {seed}: memory is given back");
        }
    }

    #[test]
    fn memory_stays_within_the_buffer_and_the_read_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(&folder.path().join("spill"), 4 << 10).unwrap();
        let sorted = sorted(&spill, &records(1, 200_000, u16::MAX), false);
        assert_eq!(sorted.iter().unwrap().count(), 200_000);
        let bound = (4 << 10) + (FAN_IN * READ_AHEAD_BYTES) as u64;
        assert!(spill.memory_bytes_most() <= bound, "{} of {bound}", spill.memory_bytes_most());
        assert!(spill.spilled_bytes() >= 2_000_000);
    }

    #[test]
    fn the_spill_folder_is_private_and_is_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("00000000.run"), b"left by a run that was killed").unwrap();
        let spill = Spill::new(&path, 400).unwrap();
        assert!(!path.exists(), "what was left is removed before anything is written");
        let list = sorted(&spill, &records(1, 1000, 300), false);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop((list, spill));
        assert!(!path.exists());
    }

    #[test]
    fn a_full_disk_keeps_runs_in_memory_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(&folder.path().join("spill"), 400).unwrap();
        let given = records(3, 5000, 1000);
        let mut sorter: Sorter<10> = Sorter::new(&spill);
        for (index, record) in given.iter().enumerate() {
            spill.is_full.store(index > 2000, Ordering::Relaxed);
            sorter.push(*record).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        let got: Vec<_> = sorted.iter().unwrap().map(Result::unwrap).collect();
        let mut wanted = given.clone();
        wanted.sort_unstable();
        assert!(got == wanted);
        spill.memory_runs_bytes.store(MEMORY_RUNS_BYTES_MAX, Ordering::Relaxed);
        let mut sorter: Sorter<10> = Sorter::new(&spill);
        let refused = given.iter().find_map(|record| sorter.push(*record).err());
        assert!(matches!(refused, Some(VaultError::Full { .. })), "{refused:?}");
    }
}
