//! One segment on its way into the vault: read → cut → id → known? → compress → seal → open again.
//!
//! Where the base has a leaf for the segment, its entries come first: those whose bytes did not change
//! are named again, and only what lies between them is cut (`base.rs`). What changed is what change
//! tracking says, or else what no longer has the check that the leaf lists. The leaf that comes out is
//! the one a cut of the whole segment would give.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::backup::base::{BaseLeaf, Count};
use crate::backup::source::Source;
use crate::backup::window::Window;
use crate::cut::{CutCursor, Cutter, Piece, is_zero};
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Epoch, Kind};
use crate::keys::{DomainKeys, KeyRing};
use crate::object::{Expected, Opener, Sealer};
use crate::operation::{Held, Operation};
use crate::packer::{Batch, BatchObject};
use crate::tree::LeafEntry;
use crate::walk::LeafFinder;

/// Sealed bytes gathered before they go to the packer.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a segment looked at together: half of what a core has for itself.
const WINDOW_BYTES: usize = 512 << 10;
/// Bytes read on at a time while a cut looks for the way back to the entries of the base.
const STEP_BYTES: usize = 64 << 10;

/// Takes a batch of sealed chunks and gives an empty one for the next.
pub(super) type Emit<'e> = &'e mut dyn FnMut(Batch) -> Result<Batch, VaultError>;

/// Turns segments into leaf entries and sealed chunks. One for each thread.
pub(super) struct SegmentWorker {
    operation: Arc<Operation>,
    keys: Arc<DomainKeys>,
    cutter: Cutter,
    sealer: Sealer,
    opener: Opener,
    window: Window,
    pieces: Vec<Piece>,
    batch: Batch,
    /// The leaves of the base, of the volume that came last.
    finder: Option<(usize, LeafFinder)>,
}

/// A segment to be dealt with.
#[derive(Clone, Copy)]
pub(super) struct SegmentJob<'s, 'a> {
    pub(super) source: &'s Source<'a>,
    /// The number of the source among all of the item, and of the segment in it.
    pub(super) source_index: usize,
    pub(super) segment_index: u64,
    /// Count what is kept as well, instead of only what comes and goes.
    pub(super) counts_all: bool,
}

/// A segment dealt with.
#[derive(Debug, Default)]
pub(super) struct SegmentDone {
    /// Its leaf in the base, when that is still true; the entries are then left out.
    pub(super) kept_leaf: Option<Address>,
    pub(super) entries: Vec<LeafEntry>,
    /// Chunks that the leaf names; the kept leaf too. Without `counts_all` what it names anew.
    pub(super) named: Count,
    /// Without `counts_all`: what the base leaf came to of which this one names nothing, and that leaf.
    pub(super) dropped: Count,
    /// Chunks that were sealed for it.
    pub(super) new_chunk_count: u64,
    pub(super) epochs: BTreeSet<Epoch>,
}

/// A segment under work.
struct Open<'s, 'a> {
    job: SegmentJob<'s, 'a>,
    /// Its place in the volume.
    start: u64,
    len: usize,
    done: SegmentDone,
    made: HashMap<DedupId, Held>,
}

impl SegmentWorker {
    pub(super) fn new(operation: &Arc<Operation>) -> Result<SegmentWorker, VaultError> {
        let keys = operation.core.keys();
        let cutter = Cutter::new(operation.core.cut, keys.secrets()?.cut_key())?;
        Ok(SegmentWorker {
            operation: operation.clone(),
            keys,
            cutter,
            sealer: Sealer::new()?,
            opener: Opener::new()?,
            window: Window::default(),
            pieces: Vec::new(),
            batch: Batch::default(),
            finder: None,
        })
    }

    /// Reads and cuts a segment and seals what the vault does not hold yet; `emit` takes the sealed
    /// chunks.
    pub(super) fn process(
        &mut self,
        job: SegmentJob<'_, '_>,
        emit: Emit<'_>,
    ) -> Result<SegmentDone, VaultError> {
        let (start, length) = job.source.extent(job.segment_index);
        let len = usize::try_from(length).expect("a segment has at most 32 MiB");
        let mut open = Open { job, start, len, done: SegmentDone::default(), made: HashMap::new() };
        match self.base_leaf(&job)? {
            Some(leaf) => self.process_since(&mut open, leaf, emit)?,
            None => {
                self.cut_from(&mut open, 0, None, emit)?;
            }
        }
        if !self.batch.objects.is_empty() {
            self.batch = emit(std::mem::take(&mut self.batch))?;
        }
        Ok(open.done)
    }

    /// The leaf that the base has there. One that cannot be read is no base: everything is then cut.
    fn base_leaf(&mut self, job: &SegmentJob<'_, '_>) -> Result<Option<BaseLeaf>, VaultError> {
        let Some(tree) = job.source.base else { return Ok(None) };
        if self.finder.as_ref().is_none_or(|(source_index, _)| *source_index != job.source_index) {
            self.finder = Some((job.source_index, LeafFinder::new(&self.operation.core, tree)?));
        }
        let Some((_, finder)) = &mut self.finder else { return Ok(None) };
        match finder.leaf(job.segment_index) {
            Ok(found) if found.address.is_zero() => Ok(None),
            Ok(found) => Ok(Some(BaseLeaf::new(found))),
            // Without counting all, nothing would be known of what goes.
            Err(VaultError::Missing { .. } | VaultError::Corrupt { .. }) if job.counts_all => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn process_since(
        &mut self,
        open: &mut Open<'_, '_>,
        mut leaf: BaseLeaf,
        emit: Emit<'_>,
    ) -> Result<(), VaultError> {
        if open.job.counts_all {
            leaf.look_up_all(&self.operation.core)?;
        }
        if open.job.source.is_tracked() {
            leaf.mark_tracked(open.job.source, open.start);
        } else {
            self.mark_changed(open, &mut leaf)?;
        }
        leaf.spread_dirt(self.operation.core.cut.block_bytes);
        let mut index = 0;
        while let Some(entry) = leaf.entries.get(index).copied() {
            if entry.is_dirty {
                let met = self.cut_from(open, index, Some(&mut leaf), emit)?;
                // Entries that hold are gone too where the new cut ran over them.
                leaf.entries[index..met].iter_mut().for_each(|gone| gone.is_dirty = true);
                index = met;
                continue;
            }
            open.done.entries.push(entry.entry);
            if open.job.counts_all && !entry.entry.is_hole() {
                open.done.named.add(leaf.stored_len(&self.operation.core, index)?);
            }
            index += 1;
        }
        self.count_base(open, &mut leaf)
    }

    /// Keeps the leaf as a whole when nothing in it is new; else counts what goes.
    fn count_base(&self, open: &mut Open<'_, '_>, leaf: &mut BaseLeaf) -> Result<(), VaultError> {
        let (core, done) = (&self.operation.core, &mut open.done);
        let is_same = done.entries.len() == leaf.entries.len()
            && done.entries.iter().zip(&leaf.entries).all(|(new, old)| *new == old.entry);
        if is_same {
            done.kept_leaf = Some(leaf.address);
            done.entries.clear();
            match open.job.counts_all {
                true => done.named.add(leaf.stored_len),
                false => done.named = Count::default(),
            }
            return Ok(());
        }
        if open.job.counts_all {
            return Ok(());
        }
        for index in 0..leaf.entries.len() {
            if leaf.entries[index].is_dirty && !leaf.entries[index].entry.is_hole() {
                done.dropped.add(leaf.stored_len(core, index)?);
            }
        }
        done.dropped.add(leaf.stored_len);
        Ok(())
    }

    /// Reads the segment along the entries of the leaf and marks those that are not true any more.
    fn mark_changed(&mut self, open: &Open<'_, '_>, leaf: &mut BaseLeaf) -> Result<(), VaultError> {
        let secrets = self.keys.secrets()?;
        self.window.begin_at(0);
        for entry in &mut leaf.entries {
            let (offset, end) = (entry.offset as usize, entry.end() as usize);
            if entry.entry.is_hole() {
                let mut at = offset;
                while at < end && !entry.is_dirty && !open.is_hole(at, end) {
                    let next = end.min(at + WINDOW_BYTES);
                    if next > self.window.end() {
                        self.window.read_on(open.job.source, open.start, at, next)?;
                    }
                    entry.is_dirty = !is_zero(self.window.slice(at as u32, (next - at) as u32));
                    at = next;
                }
                continue;
            }
            if entry.is_dirty {
                continue;
            }
            if end > self.window.end() {
                let ahead = end.max(open.len.min(offset + WINDOW_BYTES));
                self.window.read_on(open.job.source, open.start, offset, ahead)?;
            }
            let id = self.window.id(secrets, entry.offset, entry.entry.plain_len);
            entry.is_dirty = id.check() != entry.entry.check;
        }
        Ok(())
    }

    /// Cuts the segment from its start, or from an entry of the base leaf on, until the cut meets an
    /// entry that holds. Returns the index of that entry, or of the end.
    fn cut_from(
        &mut self,
        open: &mut Open<'_, '_>,
        first: usize,
        mut leaf: Option<&mut BaseLeaf>,
        emit: Emit<'_>,
    ) -> Result<usize, VaultError> {
        let (from, mut wanted_end) = match &leaf {
            None => (0, open.len),
            Some(leaf) => (leaf.entries[first].offset as usize, leaf.dirt_end(first) as usize),
        };
        wanted_end += self.cutter.lookahead_bytes();
        let mut cursor = CutCursor::at(from);
        self.window.begin_at(from);
        while cursor.piece_start() < open.len {
            let keep_from = cursor.needed_from();
            let room_end = keep_from + WINDOW_BYTES.max(2 * self.operation.core.cut.chunk_bytes_max as usize);
            let end = wanted_end.max(self.window.end() + STEP_BYTES).min(room_end).min(open.len);
            self.window.read_on(open.job.source, open.start, keep_from, end)?;
            let mut pieces = std::mem::take(&mut self.pieces);
            pieces.clear();
            self.cutter.advance(&self.window.for_cut(open.len), &mut cursor, &mut pieces);
            let met = leaf.as_ref().and_then(|leaf| meet(&mut pieces, leaf));
            let taken = self.take_pieces(open, &pieces, leaf.as_deref_mut(), emit);
            self.pieces = pieces;
            taken?;
            if let Some(index) = met {
                return Ok(index);
            }
        }
        Ok(leaf.map_or(0, |leaf| leaf.entries.len()))
    }

    /// Names pieces that lie in the window: what is known as it is known, everything else sealed.
    fn take_pieces(
        &mut self,
        open: &mut Open<'_, '_>,
        pieces: &[Piece],
        mut leaf: Option<&mut BaseLeaf>,
        emit: Emit<'_>,
    ) -> Result<(), VaultError> {
        let core = self.operation.core.clone();
        let chunks = self.window.ids(self.keys.secrets()?, pieces);
        // The base first: what it names needs neither a look-up nor a pin.
        let in_base = |(id, length): &(DedupId, u32)| leaf.as_mut()?.chunk_with(id.check(), *length);
        let in_base: Vec<Option<usize>> = chunks.iter().map(in_base).collect();
        let others = chunks.iter().zip(&in_base).filter(|(_, found)| found.is_none());
        let others: Vec<DedupId> = others.map(|((id, _), _)| *id).collect();
        let mut known = self.operation.held_ids(&others)?.into_iter();
        let mut chunks = chunks.into_iter().zip(in_base);
        for piece in pieces {
            let Piece::Chunk { offset, length } = *piece else {
                open.done.entries.push(LeafEntry::hole(piece.length()));
                continue;
            };
            let ((id, _), in_base) = chunks.next().expect("every chunk got an id");
            if let (Some(leaf), Some(index)) = (leaf.as_deref_mut(), in_base) {
                open.done.entries.push(leaf.entries[index].entry);
                open.done.named.add(leaf.stored_len(&core, index)?);
                continue;
            }
            let known = known.next().flatten().filter(|held| is_usable(&self.keys, held.epoch));
            let held = match known.or_else(|| open.made.get(&id).copied()) {
                Some(held) => held,
                None => {
                    let held = self.seal(id, offset, length)?;
                    open.made.insert(id, held);
                    open.done.new_chunk_count += 1;
                    held
                }
            };
            let entry = LeafEntry { plain_len: length, address: held.address, check: id.check() };
            open.done.entries.push(entry);
            open.done.named.add(held.stored_len);
            open.done.epochs.insert(held.epoch);
            if self.batch.bytes.len() >= BATCH_BYTES {
                self.batch = emit(std::mem::take(&mut self.batch))?;
            }
        }
        Ok(())
    }

    /// Seals a chunk of the window behind the batch and opens it again: what leaves memory can be restored.
    fn seal(&mut self, id: DedupId, offset: u32, length: u32) -> Result<Held, VaultError> {
        let keys = self.keys.sealing_keys(Kind::Chunk)?;
        let batch = &mut self.batch;
        let start = batch.bytes.len();
        let sealed = self.sealer.seal_chunk(keys, self.window.slice(offset, length), &mut batch.bytes)?;
        let address = sealed.address;
        if self.operation.core.settings.opens_before_storing {
            let expected = Expected::chunk(address, length, id.check());
            let opened = self.opener.open_to_id(self.keys.as_ref(), &expected, &batch.bytes[start..])?;
            if opened != Some(id) {
                let why = "a chunk changed in memory while it was sealed";
                return Err(VaultError::Corrupt { address, why });
            }
        }
        let held = Held { address, stored_len: sealed.stored_len, epoch: keys.epoch() };
        batch.objects.push(BatchObject {
            kind: Kind::Chunk,
            address,
            stored_len: sealed.stored_len,
            id: Some(id),
        });
        self.operation.note_sealed(id, held);
        Ok(held)
    }
}

impl Open<'_, '_> {
    fn is_hole(&self, from: usize, end: usize) -> bool {
        self.job.source.is_hole(self.start + from as u64, self.start + end as u64)
    }
}

/// True when chunks of this epoch may be named again: one whose key is gone is sealed anew.
pub(super) fn is_usable(keys: &DomainKeys, epoch: Epoch) -> bool {
    !keys.is_retired(epoch) && keys.object_keys(Kind::Chunk, keys.domain(), epoch).is_ok()
}

/// Finds where the pieces meet an entry of the leaf that holds, and drops the pieces behind that place.
fn meet(pieces: &mut Vec<Piece>, leaf: &BaseLeaf) -> Option<usize> {
    for count in 1..=pieces.len() {
        let (Piece::Chunk { offset, length } | Piece::Hole { offset, length }) = pieces[count - 1];
        if let Some(index) = leaf.clean_entry_at(offset + length) {
            pieces.truncate(count);
            return Some(index);
        }
    }
    None
}
