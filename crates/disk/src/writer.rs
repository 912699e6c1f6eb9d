//! Writing a disk: bytes, holes, and the sync that makes them last.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::direct::Direct;
use crate::error::DiskError;
use crate::format::SizeRule;
use crate::open::{Medium, OpenDisk, Purpose, open_existing, refused};
use crate::reader::require_inside;
use crate::roots::{Place, open_beneath};

/// Zeros are written in pieces of this size where no hole can be made.
const ZEROS_BYTES: usize = 1 << 20;
/// Block devices make holes only on whole logical blocks, of which this is the largest in use.
const DEVICE_BLOCK_BYTES: u64 = 4096;

/// A disk open for writing by this writer alone. May be shared: each write names its place.
#[derive(Debug)]
pub struct DiskWriter {
    disk: OpenDisk,
    /// The directory of a file that was created here: its entry has to become durable too.
    directory: Option<File>,
    direct: Option<Direct>,
    has_sync_failed: AtomicBool,
}

impl DiskWriter {
    pub(crate) fn open(place: &Place<'_>, size: SizeRule) -> Result<DiskWriter, DiskError> {
        if let SizeRule::Create(size_bytes) = size {
            return DiskWriter::create(place, size_bytes);
        }
        let mut disk = open_existing(place, Purpose::Write)?;
        lock(&disk.file, place)?;
        let wrong_size = |wanted_bytes| {
            Err(DiskError::WrongSize {
                path: place.path.to_owned(),
                size_bytes: disk.size_bytes,
                wanted_bytes,
            })
        };
        match (size, disk.medium) {
            (SizeRule::Exactly(wanted), _) if disk.size_bytes != wanted => wrong_size(wanted),
            (SizeRule::AtLeast(wanted), _) if disk.size_bytes < wanted => wrong_size(wanted),
            (SizeRule::Resize(wanted), Medium::BlockDevice) if disk.size_bytes < wanted => wrong_size(wanted),
            _ => Ok(()),
        }?;
        if let (SizeRule::Resize(wanted), Medium::File) = (size, disk.medium) {
            set_size(&disk.file, wanted, place)?;
            disk.size_bytes = wanted;
        }
        let direct = Direct::open(place, &disk);
        Ok(DiskWriter { disk, directory: None, direct, has_sync_failed: AtomicBool::new(false) })
    }

    fn create(place: &Place<'_>, size_bytes: u64) -> Result<DiskWriter, DiskError> {
        let directory = open_beneath(
            place.directory.as_fd(),
            ".".as_ref(),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
            place.path,
        )?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let owner_only = Mode::RUSR | Mode::WUSR;
        let file =
            File::from(open_beneath(place.directory.as_fd(), place.name, flags, owner_only, place.path)?);
        let sized = lock(&file, place).and_then(|()| set_size(&file, size_bytes, place));
        if let Err(error) = sized {
            // Leaves nothing behind; if even that fails, an empty file is all there is.
            let _ = rustix::fs::unlinkat(&place.directory, place.name, rustix::fs::AtFlags::empty());
            return Err(error);
        }
        let disk = OpenDisk { file, medium: Medium::File, size_bytes };
        let direct = Direct::open(place, &disk);
        Ok(DiskWriter {
            disk,
            directory: Some(File::from(directory)),
            direct,
            has_sync_failed: AtomicBool::new(false),
        })
    }

    /// The size of the disk, after whatever the size rule did to it.
    pub fn size_bytes(&self) -> u64 {
        self.disk.size_bytes
    }

    /// Writes all `bytes` at `offset`. They last only after [`DiskWriter::sync`]. What is long enough goes past the
    /// page cache where that is possible: a restored disk is not read soon, and would push out what is.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        require_inside(offset, bytes.len() as u64, self.disk.size_bytes)?;
        let mut done = match &self.direct {
            Some(direct) => direct.write(offset, bytes)?,
            None => 0,
        };
        while done < bytes.len() {
            let at = offset + done as u64;
            let left = (bytes.len() - done) as u64;
            match self.disk.file.write_at(&bytes[done..], at) {
                Ok(0) => return Err(write_error(at, left, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(write_error(at, left, cause)),
            }
        }
        Ok(())
    }

    /// Makes `length` bytes at `offset` read as zeros, giving their room back where the medium can. A discard is never
    /// taken for zeros: the calls used here promise zeros, and where none of them works zeros are written.
    pub fn punch_hole(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        require_inside(offset, length, self.disk.size_bytes)?;
        let end = offset + length;
        let (start, stop) = match self.disk.medium {
            Medium::File => (offset, end),
            Medium::BlockDevice => {
                let start = offset.next_multiple_of(DEVICE_BLOCK_BYTES).min(end);
                (start, (end - end % DEVICE_BLOCK_BYTES).max(start))
            }
        };
        self.write_zeros(offset, start - offset)?;
        if start < stop && !self.try_punching(start, stop - start)? {
            self.write_zeros(start, stop - start)?;
        }
        self.write_zeros(stop, end - stop)
    }

    /// Makes everything written so far durable, the name of a created file included. A failed sync is final for this
    /// writer: every later call fails too.
    pub fn sync(&self) -> Result<(), DiskError> {
        if self.has_sync_failed.load(Ordering::Acquire) {
            return Err(DiskError::Sync { cause: io::Error::other("an earlier sync of this writer failed") });
        }
        let directory = self.directory.as_ref().map_or(Ok(()), File::sync_all);
        let synced = self.disk.file.sync_all().and(directory);
        synced.map_err(|cause| {
            self.has_sync_failed.store(true, Ordering::Release);
            DiskError::Sync { cause }
        })
    }

    /// True if the kernel made the hole. On a block device both calls zero the blocks; the first also frees them, and is
    /// refused by devices that would not read zeros afterwards.
    fn try_punching(&self, offset: u64, length: u64) -> Result<bool, DiskError> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let ways: &[FallocateFlags] = match self.disk.medium {
            Medium::File => &[punch],
            Medium::BlockDevice => &[punch, FallocateFlags::ZERO_RANGE],
        };
        for way in ways {
            loop {
                match rustix::fs::fallocate(&self.disk.file, *way, offset, length) {
                    Ok(()) => return Ok(true),
                    Err(Errno::INTR) => {}
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => break,
                    Err(errno) => return Err(write_error(offset, length, errno.into())),
                }
            }
        }
        Ok(false)
    }

    fn write_zeros(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        if length == 0 {
            return Ok(());
        }
        let zeros = vec![0; length.min(ZEROS_BYTES as u64) as usize];
        let mut done = 0;
        while done < length {
            let count = (length - done).min(ZEROS_BYTES as u64);
            self.write_at(offset + done, &zeros[..count as usize])?;
            done += count;
        }
        Ok(())
    }
}

/// Two writers of one disk would mix two restores. Dropped with the file, also when the process is killed.
fn lock(file: &File, place: &Place<'_>) -> Result<(), DiskError> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| refused("lock", place.path, errno))
}

fn set_size(file: &File, size_bytes: u64, place: &Place<'_>) -> Result<(), DiskError> {
    rustix::fs::ftruncate(file, size_bytes).map_err(|errno| refused("set the size of", place.path, errno))
}

pub(crate) fn write_error(offset: u64, length: u64, cause: io::Error) -> DiskError {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DiskError::Full { offset, length, cause }
        }
        _ => DiskError::Write { offset, length, cause },
    }
}
