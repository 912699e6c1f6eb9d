//! Reading items back: to a volume, or only to see that it can be done.
//!
//! The tree is walked in the order of the disk; the chunks of each leaf are fetched in long reads,
//! opened in parallel and written where they belong. Holes are punched, never written. Every byte
//! was authenticated, and checked against its leaf, before it is written; the first failure ends the
//! restore with an error, and nobody is told that the volume is good.

mod leaves;
mod syncer;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::VaultError;
use crate::ids::ManifestDigest;
use crate::progress::{Progress, Step};
use crate::vault::Vault;
use crate::walk::Tree;
use leaves::{LeafJob, LeafReader, Part, each_leaf};
use syncer::with_syncer;

/// A disk to restore to. Calls come from many threads, for extents that do not overlap.
pub trait VolumeWriter: Send + Sync {
    /// Its size.
    fn size_bytes(&self) -> u64;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes an extent read as zeros, without taking space where that is possible.
    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes everything written before the call durable. Also called while other threads write; once
    /// it has failed, every later call fails too.
    fn sync(&self) -> io::Result<()>;
}

/// A volume restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of the volume.
    pub logical_bytes: u64,
    /// Bytes written; the rest are holes.
    pub written_bytes: u64,
}

/// How far [`Vault::verify_item`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyLevel {
    /// Every object is there and has its address. Needs structure keys only.
    Stored,
    /// Every chunk opens and is the one its leaf lists. Needs data keys.
    Opened,
}

/// An item verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Bytes of its volumes.
    pub logical_bytes: u64,
    /// Chunks read, as often as leaves name them.
    pub chunk_count: u64,
    /// Stored bytes of these chunks.
    pub stored_bytes: u64,
}

impl Vault {
    /// Restores one volume of an item to `writer`, and syncs it.
    ///
    /// # Errors
    /// `Refused` when the item has no such volume or the writer is too small; `Missing` and `Corrupt`
    /// name the object at fault; `DestinationWrite` the extent.
    pub fn restore_volume(
        &self,
        manifest: ManifestDigest,
        volume_id: &str,
        writer: &dyn VolumeWriter,
        progress: &dyn Progress,
    ) -> Result<Restored, VaultError> {
        let tree = self.volume_tree(manifest, volume_id)?;
        let logical_bytes = tree.shape.size_bytes();
        if writer.size_bytes() < logical_bytes {
            return Err(VaultError::refused("the volume to restore to is smaller than the one backed up"));
        }
        let written_bytes = AtomicU64::new(0);
        let sync = || writer.sync().map_err(|cause| write_failed(0, logical_bytes, cause));
        with_syncer(self.core.settings.threads > 1, &sync, |syncer| {
            let write = |reader: &mut LeafReader, job: &LeafJob| {
                let stored_bytes = reader.open_parts(job, &mut |part| match part {
                    Part::Data { offset, bytes } => {
                        written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        let failed = |cause| write_failed(offset, bytes.len() as u64, cause);
                        writer.write_at(offset, bytes).map_err(failed)?;
                        syncer.note_written(bytes.len() as u64);
                        Ok(())
                    }
                    Part::Hole { offset, length } => punch(writer, offset, length),
                })?;
                progress.add(Step { logical_bytes: job.length, moved_bytes: stored_bytes });
                Ok(())
            };
            // One writes to the disk while another opens chunks.
            let threads = match self.core.settings.threads as usize {
                0 | 1 => 1,
                several => 2 * several,
            };
            each_leaf(&self.core, &tree, progress, threads, &write)
        })?;
        sync()?;
        Ok(Restored { logical_bytes, written_bytes: written_bytes.into_inner() })
    }

    /// Reads everything an item needs and checks it, to the given level.
    ///
    /// # Errors
    /// `Missing` and `Corrupt` name the first object at fault; `KeyMissing` when `Opened` is asked of
    /// a vault without data keys.
    pub fn verify_item(
        &self,
        manifest: ManifestDigest,
        level: VerifyLevel,
        progress: &dyn Progress,
    ) -> Result<Verified, VaultError> {
        let mut verified = Verified::default();
        for (_, tree) in self.trees(manifest)? {
            let volume = self.verify_tree(&tree, level, progress)?;
            verified.logical_bytes += volume.logical_bytes;
            verified.chunk_count += volume.chunk_count;
            verified.stored_bytes += volume.stored_bytes;
        }
        Ok(verified)
    }

    fn verify_tree(
        &self,
        tree: &Tree,
        level: VerifyLevel,
        progress: &dyn Progress,
    ) -> Result<Verified, VaultError> {
        let (chunk_count, stored_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let check = |reader: &mut LeafReader, job: &LeafJob| {
            let bytes = match level {
                VerifyLevel::Stored => reader.check_addresses(job)?,
                VerifyLevel::Opened => reader.open_parts(job, &mut |_| Ok(()))?,
            };
            let chunks = job.entries.iter().filter(|entry| !entry.is_hole()).count() as u64;
            chunk_count.fetch_add(chunks, Ordering::Relaxed);
            stored_bytes.fetch_add(bytes, Ordering::Relaxed);
            progress.add(Step { logical_bytes: job.length, moved_bytes: bytes });
            Ok(())
        };
        each_leaf(&self.core, tree, progress, self.core.settings.threads as usize, &check)?;
        Ok(Verified {
            logical_bytes: tree.shape.size_bytes(),
            chunk_count: chunk_count.into_inner(),
            stored_bytes: stored_bytes.into_inner(),
        })
    }

    fn volume_tree(&self, manifest: ManifestDigest, volume_id: &str) -> Result<Tree, VaultError> {
        let trees = self.trees(manifest)?;
        let found = trees.into_iter().find(|(id, _)| id == volume_id).map(|(_, tree)| tree);
        found.ok_or_else(|| VaultError::refused(format!("the item has no volume {volume_id}")))
    }
}

fn write_failed(offset: u64, length: u64, cause: io::Error) -> VaultError {
    VaultError::DestinationWrite { offset, length, cause }
}

fn punch(writer: &dyn VolumeWriter, offset: u64, length: u64) -> Result<(), VaultError> {
    writer.punch_hole(offset, length).map_err(|cause| write_failed(offset, length, cause))
}
