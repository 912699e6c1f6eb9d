//! Disks of the simulation: small sparse raw files, and what the harness knows of their contents.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use vault::restore::VolumeWriter;

use crate::dice::Dice;

const BLOCK_BYTES: usize = 4096;

/// What a disk holds, as a digest over its size and everything that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image(blake3::Hash);

impl Image {
    pub(crate) fn of(bytes: &[u8]) -> Image {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        for (index, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                hasher.update(&(index as u64).to_le_bytes()).update(block);
            }
        }
        Image(hasher.finalize())
    }
}

/// One disk. Its file changes by [`Disk::write`] and by restores only.
pub(crate) struct Disk {
    path: PathBuf,
    size_bytes: u64,
    image: Image,
}

impl Disk {
    /// A disk whose first part holds data and whose rest is a hole.
    pub(crate) fn create(path: &Path, size_bytes: u64, data_bytes: u64, dice: &mut Dice) -> Disk {
        let file = File::create_new(path).unwrap();
        file.set_len(size_bytes).unwrap();
        let mut data = vec![0; data_bytes as usize];
        dice.fill(&mut data);
        // A part that compresses and repeats.
        let half = data.len() / 2;
        for piece in data[half..].chunks_mut(BLOCK_BYTES).step_by(2) {
            piece.fill(b'a');
        }
        file.write_all_at(&data, 0).unwrap();
        let mut disk = Disk { path: path.to_owned(), size_bytes, image: Image::of(b"") };
        disk.look();
        disk
    }

    pub(crate) fn image(&self) -> Image {
        self.image
    }

    /// Changes a few runs of blocks, at any place.
    pub(crate) fn write(&mut self, dice: &mut Dice) {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        for _ in 0..=dice.below(3) {
            let offset = dice.below(self.size_bytes) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            let length = (1 + dice.below(8)) * BLOCK_BYTES as u64;
            let mut bytes = vec![0; length.min(self.size_bytes - offset) as usize];
            if dice.percent(80) {
                dice.fill(&mut bytes);
            }
            file.write_all_at(&bytes, offset).unwrap();
        }
        self.look();
    }

    /// Reads the file again: somebody may have restored to it.
    pub(crate) fn look(&mut self) {
        self.image = Image::of(&std::fs::read(&self.path).unwrap());
    }
}

/// A disk in memory to restore to, full of old data.
pub(crate) struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryDisk {
    pub(crate) fn new(size_bytes: u64) -> MemoryDisk {
        MemoryDisk { bytes: Mutex::new(vec![0xee; size_bytes as usize]) }
    }

    pub(crate) fn image(&self) -> Image {
        Image::of(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl VolumeWriter for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = offset as usize;
        disk[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut disk = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        disk[offset as usize..(offset + length) as usize].fill(0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The disks of a region's servers: server id to volume id to disk.
pub(crate) type Disks = BTreeMap<String, BTreeMap<String, Disk>>;
