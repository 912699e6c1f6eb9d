//! Reading a disk: where its data lies, and the bytes there.

use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error::DiskError;
use crate::open::{Medium, OpenDisk, size_of};

/// A failed read is repeated in pieces of this size to name the bytes that really cannot be read.
const PIECE_BYTES: usize = 4096;
/// Holes shorter than this are handed out as data: reading their zeros costs less than knowing about them.
const HOLE_BYTES_MIN: u64 = 64 * 1024;
/// However torn a file is, the list of its extents stays small (16 MiB); behind the last one the rest counts as data.
const EXTENTS_MAX: usize = 1 << 20;

/// A run of bytes that may hold something else than zeros. Never empty, inside the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataExtent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// A disk open for reading. May be shared: each read names its place.
#[derive(Debug)]
pub struct DiskReader {
    disk: OpenDisk,
}

impl DiskReader {
    pub(crate) fn new(disk: OpenDisk) -> DiskReader {
        DiskReader { disk }
    }

    /// The size when the disk was opened. A disk that grows later is read up to here.
    pub fn size_bytes(&self) -> u64 {
        self.disk.size_bytes
    }

    /// The extents that may hold data, ascending and apart from each other; everything between them reads as zeros. A
    /// block device, and a file on a file system that cannot tell, is one extent. Fails with [`DiskError::Shrank`]
    /// rather than show a lost end as a hole.
    pub fn data_extents(&self) -> Result<Vec<DataExtent>, DiskError> {
        let size_bytes = self.disk.size_bytes;
        let extents = match self.disk.medium {
            Medium::BlockDevice => whole(size_bytes),
            Medium::File => self.allocated_extents()?,
        };
        self.require_size()?;
        Ok(extents)
    }

    /// Fails with [`DiskError::Shrank`] if the disk is shorter now than when it was opened. A long reader asks once more
    /// at its end, because holes are never read and would not notice.
    pub fn require_size(&self) -> Result<(), DiskError> {
        let size_bytes = self.disk.size_bytes;
        let size_now_bytes =
            size_of(&self.disk.file).map_err(|errno| read_error(0, size_bytes, errno.into()))?;
        if size_now_bytes < size_bytes {
            return Err(DiskError::Shrank { size_bytes, size_now_bytes });
        }
        Ok(())
    }

    /// Fills the whole `buffer` with the bytes at `offset`. After an error the content of the buffer means nothing; a
    /// [`DiskError::Read`] names the first bytes that cannot be read, at most 4096 of them.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        require_inside(offset, buffer.len() as u64, self.disk.size_bytes)?;
        let read = |offset, piece: &mut [u8]| self.disk.file.read_at(piece, offset);
        match fill(&read, offset, buffer) {
            Ok(()) => Ok(()),
            Err(Unfilled::End { at }) => {
                Err(DiskError::Shrank { size_bytes: self.disk.size_bytes, size_now_bytes: at })
            }
            Err(Unfilled::Failed { offset, length, cause }) => Err(read_error(offset, length, cause)),
        }
    }

    fn allocated_extents(&self) -> Result<Vec<DataExtent>, DiskError> {
        let size_bytes = self.disk.size_bytes;
        let mut extents = Vec::new();
        let mut at = 0;
        while at < size_bytes {
            let Some(start) = self.seek(SeekFrom::Data(at))?.map(|found| found.max(at)) else { break };
            if start >= size_bytes {
                break;
            }
            let end = self.seek(SeekFrom::Hole(start))?.unwrap_or(size_bytes);
            // An answer that makes no sense is no reason to lose data: the rest is read.
            if end <= start || extents.len() == EXTENTS_MAX {
                append(&mut extents, start, size_bytes);
                break;
            }
            append(&mut extents, start, end.min(size_bytes));
            at = end;
        }
        Ok(extents)
    }

    /// The next data or hole, or nothing if there is none before the end. A file system that knows no holes says that
    /// everything is data.
    fn seek(&self, position: SeekFrom) -> Result<Option<u64>, DiskError> {
        let size_bytes = self.disk.size_bytes;
        match (rustix::fs::seek(&self.disk.file, position), position) {
            (Ok(found), _) => Ok(Some(found)),
            (Err(Errno::NXIO), _) => Ok(None),
            (Err(Errno::INVAL | Errno::OPNOTSUPP), SeekFrom::Data(at)) => Ok(Some(at)),
            (Err(Errno::INVAL | Errno::OPNOTSUPP), _) => Ok(Some(size_bytes)),
            (Err(errno), _) => Err(read_error(0, size_bytes, errno.into())),
        }
    }
}

fn whole(size_bytes: u64) -> Vec<DataExtent> {
    if size_bytes == 0 { Vec::new() } else { vec![DataExtent { offset: 0, length: size_bytes }] }
}

/// Adds the run from `start` to `end`, joined to the last one if the hole between them is short.
fn append(extents: &mut Vec<DataExtent>, start: u64, end: u64) {
    match extents.last_mut() {
        Some(last) if start - (last.offset + last.length) < HOLE_BYTES_MIN => last.length = end - last.offset,
        _ => extents.push(DataExtent { offset: start, length: end - start }),
    }
}

pub(crate) fn require_inside(offset: u64, length: u64, size_bytes: u64) -> Result<(), DiskError> {
    match offset.checked_add(length) {
        Some(end) if end <= size_bytes => Ok(()),
        _ => Err(DiskError::OutOfBounds { offset, length, size_bytes }),
    }
}

fn read_error(offset: u64, length: u64, cause: io::Error) -> DiskError {
    DiskError::Read { offset, length, cause }
}

enum Unfilled {
    End { at: u64 },
    Failed { offset: u64, length: u64, cause: io::Error },
}

/// Reads until the buffer is full. The bytes of a read that failed are read again piece by piece: either all of them
/// come after all, or the first bad piece is known.
fn fill(
    read: &dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Unfilled> {
    let mut done = 0;
    let mut is_failing = false;
    while done < buffer.len() {
        let at = offset + done as u64;
        let to_piece_end = PIECE_BYTES - (at % PIECE_BYTES as u64) as usize;
        let left = buffer.len() - done;
        let length = if is_failing { left.min(to_piece_end) } else { left };
        match read(at, &mut buffer[done..done + length]) {
            Ok(0) => return Err(Unfilled::End { at }),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if !is_failing => is_failing = true,
            Err(cause) => return Err(Unfilled::Failed { offset: at, length: length as u64, cause }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of `i % 251` bytes, one of whose pieces cannot be read.
    fn read_with_bad_piece(bad: u64) -> impl Fn(u64, &mut [u8]) -> io::Result<usize> {
        move |offset, buffer| {
            let end = offset + buffer.len() as u64;
            if offset < bad + PIECE_BYTES as u64 && end > bad {
                return Err(io::Error::from_raw_os_error(5));
            }
            for (index, byte) in buffer.iter_mut().enumerate() {
                *byte = ((offset + index as u64) % 251) as u8;
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_bad_piece_is_named_exactly() {
        let read = read_with_bad_piece(5 * 4096);
        let mut buffer = vec![0; 1 << 20];
        let Err(Unfilled::Failed { offset, length, cause }) = fill(&read, 100, &mut buffer) else {
            panic!("the bad piece was read");
        };
        assert_eq!((offset, length, cause.raw_os_error()), (5 * 4096, 4096, Some(5)));
    }

    #[test]
    fn bytes_beside_a_bad_piece_are_read() {
        let read = read_with_bad_piece(5 * 4096);
        let mut buffer = vec![0; 5 * 4096];
        assert!(fill(&read, 0, &mut buffer).is_ok());
        assert!(fill(&read, 6 * 4096, &mut buffer).is_ok());
        assert_eq!(buffer[7], ((6 * 4096 + 7) % 251) as u8);
    }

    #[test]
    fn short_and_interrupted_reads_are_continued() {
        let calls = std::cell::Cell::new(0);
        let read = |offset: u64, buffer: &mut [u8]| {
            calls.set(calls.get() + 1);
            if calls.get() % 3 == 0 {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            buffer[0] = offset as u8;
            Ok(1)
        };
        let mut buffer = vec![0; 200];
        assert!(fill(&read, 10, &mut buffer).is_ok());
        assert!(buffer.iter().enumerate().all(|(index, byte)| *byte as usize == 10 + index));
    }

    #[test]
    fn an_end_inside_the_buffer_is_told() {
        let read =
            |offset: u64, buffer: &mut [u8]| Ok(buffer.len().min(50u64.saturating_sub(offset) as usize));
        let mut buffer = vec![0; 100];
        assert!(matches!(fill(&read, 0, &mut buffer), Err(Unfilled::End { at: 50 })));
    }

    #[test]
    fn short_holes_are_read_and_long_ones_kept() {
        let mut extents = Vec::new();
        append(&mut extents, 0, 4096);
        append(&mut extents, 8192, 12288);
        append(&mut extents, 12288 + HOLE_BYTES_MIN, 200_000);
        assert_eq!(
            extents,
            [DataExtent { offset: 0, length: 12288 }, DataExtent { offset: 77824, length: 200_000 - 77824 }]
        );
    }
}
