//! The part of a segment that is being looked at: small enough to stay in a core's own cache while it is
//! read, cut, named and sealed.

use crate::backup::source::Source;
use crate::cut::{CutWindow, Piece};
use crate::error::VaultError;
use crate::ids::DedupId;
use crate::keys::DomainSecrets;

/// A stretch of a segment, read into memory behind one spare byte, which the ids of chunks need.
#[derive(Default)]
pub(super) struct Window {
    /// The spare byte, then the stretch.
    bytes: Vec<u8>,
    /// Where the stretch begins in the segment, and how long it is.
    offset: usize,
    len: usize,
}

impl Window {
    /// Begins anew at an offset of the segment, with nothing read.
    pub(super) fn begin_at(&mut self, offset: usize) {
        (self.offset, self.len) = (offset, 0);
    }

    /// The first byte that is not in memory.
    pub(super) fn end(&self) -> usize {
        self.offset + self.len
    }

    /// Drops what lies before `keep_from` and reads on up to `end`. The segment begins at `start` of the
    /// volume.
    pub(super) fn read_on(
        &mut self,
        source: &Source<'_>,
        start: u64,
        keep_from: usize,
        end: usize,
    ) -> Result<(), VaultError> {
        let kept = self.end().saturating_sub(keep_from);
        let from = 1 + self.len - kept;
        if kept > 0 && from > 1 {
            self.bytes.copy_within(from..from + kept, 1);
        }
        (self.offset, self.len) = (keep_from, kept);
        let missing = end.saturating_sub(self.end());
        let wanted_len = 1 + kept + missing;
        if self.bytes.len() < wanted_len {
            self.bytes.resize(wanted_len, 0);
        }
        source.fill(start + self.end() as u64, &mut self.bytes[1 + kept..wanted_len])?;
        self.len += missing;
        Ok(())
    }

    /// What is in memory, for the cutter.
    pub(super) fn for_cut(&self, segment_len: usize) -> CutWindow<'_> {
        CutWindow { bytes: &self.bytes[1..1 + self.len], offset: self.offset, segment_len }
    }

    /// Bytes of the segment that are in memory.
    pub(super) fn slice(&self, offset: u32, length: u32) -> &[u8] {
        &self.bytes[1 + offset as usize - self.offset..][..length as usize]
    }

    /// The id of a chunk in memory.
    pub(super) fn id(&mut self, secrets: &DomainSecrets, offset: u32, length: u32) -> DedupId {
        let front = offset as usize - self.offset;
        secrets.dedup_id_framed(&mut self.bytes[front..=front + length as usize])
    }

    /// The ids and lengths of the chunks among these pieces, in order.
    pub(super) fn ids(&mut self, secrets: &DomainSecrets, pieces: &[Piece]) -> Vec<(DedupId, u32)> {
        let chunks = pieces.iter().filter_map(|piece| match *piece {
            Piece::Chunk { offset, length } => Some((offset, length)),
            Piece::Hole { .. } => None,
        });
        chunks.map(|(offset, length)| (self.id(secrets, offset, length), length)).collect()
    }
}
