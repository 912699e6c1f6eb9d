//! Writing past the page cache: from buffers and to places that are whole blocks, in long pieces.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::DiskError;
use crate::open::{OpenDisk, open_direct};
use crate::roots::Place;
use crate::writer::write_error;

/// Places, lengths and buffers are multiples of this: the largest logical block in use.
const BLOCK_BYTES: usize = 4096;
/// Shorter pieces are better gathered by the page cache.
const PIECE_BYTES_MIN: usize = 64 << 10;
/// Longer ones are written in pieces of this.
const PIECE_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Bytes on their way to a disk, with room to begin at a whole block.
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A second handle of a disk that is open for writing.
#[derive(Debug)]
pub(crate) struct Direct {
    file: File,
    /// The disk wants other alignments than ours.
    is_refused: AtomicBool,
}

impl Direct {
    /// Nothing where the file system has no such way.
    pub(crate) fn open(place: &Place<'_>, disk: &OpenDisk) -> Option<Direct> {
        Some(Direct { file: open_direct(place, disk)?, is_refused: AtomicBool::new(false) })
    }

    /// Writes whole blocks from the front of `bytes`, if there are enough, and answers how many bytes that were.
    /// The rest is for the page cache; it shares no block with them.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<usize, DiskError> {
        let whole = bytes.len() - bytes.len() % BLOCK_BYTES;
        let is_aligned = offset.is_multiple_of(BLOCK_BYTES as u64);
        if !is_aligned || whole < PIECE_BYTES_MIN || self.is_refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        PIECE.with_borrow_mut(|buffer| {
            let mut done = 0;
            while done < whole {
                let count = (whole - done).min(PIECE_BYTES_MAX);
                let written = self.write_piece(buffer, offset + done as u64, &bytes[done..done + count]);
                match written {
                    Ok(()) => done += count,
                    Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
                        self.is_refused.store(true, Ordering::Relaxed);
                        return Ok(done);
                    }
                    Err(cause) => return Err(write_error(offset + done as u64, count as u64, cause)),
                }
            }
            Ok(done)
        })
    }

    fn write_piece(&self, buffer: &mut Vec<u8>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        buffer.resize(PIECE_BYTES_MAX + BLOCK_BYTES, 0);
        let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
        let piece = &mut buffer[start..start + bytes.len()];
        piece.copy_from_slice(bytes);
        let mut done = 0;
        while done < piece.len() {
            match self.file.write_at(&piece[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}
