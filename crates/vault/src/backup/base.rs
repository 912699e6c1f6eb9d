//! A segment as the base item has it: which of its entries still hold, and where they lie.
//!
//! What the base names is a root of the open operation, so an entry of it may be named again without a
//! pin. An entry is *dirty* when its bytes, or the bytes behind it that decided where it ends, changed:
//! dirty entries are cut anew, all others are what a cut of the whole segment would give.

use std::collections::HashMap;

use crate::backup::source::Source;
use crate::error::VaultError;
use crate::ids::{Address, Check, Kind};
use crate::object::is_stored_len_lawful;
use crate::tree::LeafEntry;
use crate::vault::Core;
use crate::walk::FoundLeaf;

/// Objects and their stored bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, stored_len: u32) {
        self.objects += 1;
        self.bytes += u64::from(stored_len);
    }

    pub(super) fn add_all(&mut self, other: Count) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// One entry of a base leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct BaseEntry {
    pub(super) entry: LeafEntry,
    /// Where it begins in the segment.
    pub(super) offset: u32,
    /// Its length as stored, once looked up: only then it is known to be in a live pack.
    pub(super) stored_len: Option<u32>,
    /// It has to be cut again.
    pub(super) is_dirty: bool,
}

impl BaseEntry {
    pub(super) fn end(&self) -> u32 {
        self.offset + self.entry.plain_len
    }
}

/// A leaf of the base.
pub(super) struct BaseLeaf {
    pub(super) address: Address,
    pub(super) stored_len: u32,
    pub(super) entries: Vec<BaseEntry>,
    by_check: HashMap<Check, usize>,
    is_looked_up: bool,
}

impl BaseLeaf {
    pub(super) fn new(found: FoundLeaf) -> BaseLeaf {
        let mut offset = 0;
        let entries = found.entries.into_iter().map(|entry| {
            let placed = BaseEntry { entry, offset, stored_len: None, is_dirty: false };
            offset += entry.plain_len;
            placed
        });
        let entries = entries.collect();
        BaseLeaf {
            address: found.address,
            stored_len: found.stored_len,
            entries,
            by_check: HashMap::new(),
            is_looked_up: false,
        }
    }

    /// Looks up where all chunks lie. An entry that is in no live pack is marked as changed: its bytes
    /// are then stored again.
    pub(super) fn look_up_all(&mut self, core: &Core) -> Result<(), VaultError> {
        let chunks: Vec<usize> =
            (0..self.entries.len()).filter(|&index| !self.entries[index].entry.is_hole()).collect();
        let addresses: Vec<Address> = chunks.iter().map(|&index| self.entries[index].entry.address).collect();
        for (index, place) in chunks.into_iter().zip(core.index.places(&addresses)?) {
            let place = place.filter(|place| {
                place.kind == Kind::Chunk && is_stored_len_lawful(Kind::Chunk, u64::from(place.stored_len))
            });
            self.entries[index].stored_len = place.map(|place| place.stored_len);
            self.entries[index].is_dirty = place.is_none();
        }
        self.is_looked_up = true;
        Ok(())
    }

    /// Marks what change tracking names; the segment begins at `start`.
    pub(super) fn mark_tracked(&mut self, source: &Source<'_>, start: u64) {
        for entry in &mut self.entries {
            entry.is_dirty =
                source.has_changed(start + u64::from(entry.offset), start + u64::from(entry.end()));
        }
    }

    /// Entries that end where they do because of what came next are dirty when that is.
    pub(super) fn spread_dirt(&mut self, block_bytes: u32) {
        let lookahead = crate::cut::HOLE_BLOCKS_MIN * block_bytes;
        let mut dirty_from = u32::MAX;
        for entry in self.entries.iter_mut().rev() {
            let is_own = entry.is_dirty;
            entry.is_dirty |= entry.end().saturating_add(lookahead) > dirty_from;
            if is_own {
                dirty_from = entry.offset;
            }
        }
    }

    /// The entry that begins at `offset`, if it holds.
    pub(super) fn clean_entry_at(&self, offset: u32) -> Option<usize> {
        let found = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        (!self.entries[found].is_dirty).then_some(found)
    }

    /// Where the run of dirty entries that begins with this one ends.
    pub(super) fn dirt_end(&self, first: usize) -> u32 {
        let run = self.entries[first..].iter().take_while(|entry| entry.is_dirty);
        run.last().map_or(0, BaseEntry::end)
    }

    /// The chunk with this check and length, if the base segment has it anywhere.
    pub(super) fn chunk_with(&mut self, check: Check, plain_len: u32) -> Option<usize> {
        if self.by_check.is_empty() {
            let chunks = self.entries.iter().enumerate().filter(|(_, entry)| !entry.entry.is_hole());
            self.by_check = chunks.map(|(index, entry)| (entry.entry.check, index)).collect();
        }
        let found = *self.by_check.get(&check)?;
        let BaseEntry { entry, stored_len, .. } = self.entries[found];
        let is_held = !self.is_looked_up || stored_len.is_some();
        (is_held && entry.plain_len == plain_len).then_some(found)
    }

    /// The stored length of a chunk of the base; looked up unless it is known.
    pub(super) fn stored_len(&mut self, core: &Core, index: usize) -> Result<u32, VaultError> {
        if let Some(stored_len) = self.entries[index].stored_len {
            return Ok(stored_len);
        }
        let place = core.locate(Kind::Chunk, &[self.entries[index].entry.address])?[0];
        self.entries[index].stored_len = Some(place.stored_len);
        Ok(place.stored_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(lengths: &[u32], dirty: &[usize]) -> BaseLeaf {
        let entry = |(index, length): (usize, &u32)| LeafEntry {
            plain_len: *length,
            address: Address([index as u8 + 1; 32]),
            check: Check([index as u8; 16]),
        };
        let entries = lengths.iter().enumerate().map(entry).collect();
        let mut leaf = BaseLeaf::new(FoundLeaf { address: Address([9; 32]), entries, stored_len: 100 });
        dirty.iter().for_each(|&index| leaf.entries[index].is_dirty = true);
        leaf.spread_dirt(4096);
        leaf
    }

    fn dirty(leaf: &BaseLeaf) -> Vec<usize> {
        (0..leaf.entries.len()).filter(|&index| leaf.entries[index].is_dirty).collect()
    }

    #[test]
    fn what_decided_on_changed_bytes_is_dirty_too() {
        let kib = |lengths: &[u32]| lengths.iter().map(|length| length << 10).collect::<Vec<_>>();
        assert_eq!(dirty(&leaf(&kib(&[64, 64, 64, 64]), &[2])), [1, 2]);
        assert_eq!(dirty(&leaf(&kib(&[64, 16, 12, 64]), &[3])), [0, 1, 2, 3]);
        assert_eq!(dirty(&leaf(&kib(&[64, 16, 16, 64]), &[3])), [1, 2, 3]);
        assert_eq!(dirty(&leaf(&kib(&[64, 64]), &[0])), [0]);
        assert!(dirty(&leaf(&kib(&[64, 64]), &[])).is_empty());
    }

    #[test]
    fn clean_entries_are_found_by_their_start_and_chunks_by_check_and_length() {
        let mut leaf = leaf(&[65536, 65536, 65536, 65536], &[2]);
        assert_eq!((leaf.clean_entry_at(0), leaf.clean_entry_at(65536)), (Some(0), None));
        assert_eq!((leaf.clean_entry_at(3 * 65536), leaf.clean_entry_at(1)), (Some(3), None));
        assert_eq!(leaf.dirt_end(1), 3 * 65536);
        assert_eq!(leaf.chunk_with(Check([2; 16]), 65536), Some(2));
        assert_eq!(leaf.chunk_with(Check([2; 16]), 65535), None);
        assert_eq!(leaf.chunk_with(Check([7; 16]), 65536), None);
    }
}
