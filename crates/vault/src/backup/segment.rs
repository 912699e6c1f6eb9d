//! One segment on its way into the vault: cut → id → known? → compress → seal → open again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::cut::{Cutter, Piece};
use crate::error::VaultError;
use crate::ids::{DedupId, Epoch, Kind};
use crate::keys::{DomainKeys, KeyRing};
use crate::object::{Expected, Opener, Sealer};
use crate::operation::{Held, Operation};
use crate::packer::{Batch, BatchObject};
use crate::tree::LeafEntry;

/// Sealed bytes gathered before they go to the packer.
pub(super) const BATCH_BYTES: usize = 1 << 20;

/// Turns segments into leaf entries and sealed chunks. One for each thread.
pub(super) struct SegmentWorker {
    operation: Arc<Operation>,
    keys: Arc<DomainKeys>,
    cutter: Cutter,
    sealer: Sealer,
    opener: Opener,
    pieces: Vec<Piece>,
    opened: Vec<u8>,
}

/// A segment dealt with.
#[derive(Debug, Default)]
pub(super) struct SegmentDone {
    pub(super) entries: Vec<LeafEntry>,
    /// Chunks the entries name, and their stored bytes, each as often as it is named.
    pub(super) chunk_count: u64,
    pub(super) stored_bytes: u64,
    /// Chunks that were sealed for it.
    pub(super) new_chunk_count: u64,
    pub(super) epochs: BTreeSet<Epoch>,
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
            pieces: Vec::new(),
            opened: Vec::new(),
        })
    }

    /// Cuts a segment and seals what the vault does not hold yet; `emit` takes the sealed chunks.
    pub(super) fn process(
        &mut self,
        segment: &[u8],
        emit: &mut dyn FnMut(Batch) -> Result<(), VaultError>,
    ) -> Result<SegmentDone, VaultError> {
        let mut pieces = std::mem::take(&mut self.pieces);
        self.cutter.cut(segment, &mut pieces);
        let ids = self.ids(segment, &pieces)?;
        let known = self.operation.held_ids(&ids)?;
        let mut made: HashMap<DedupId, Held> = HashMap::new();
        let mut batch = Batch::default();
        let mut done = SegmentDone::default();
        let mut chunks = ids.iter().zip(known);
        for piece in &pieces {
            let Piece::Chunk { offset, length } = *piece else {
                done.entries.push(LeafEntry::hole(piece.length()));
                continue;
            };
            let (&id, known) = chunks.next().expect("every chunk got an id");
            let plaintext = &segment[offset as usize..][..length as usize];
            let held = match known.filter(|held| self.is_usable(held)).or_else(|| made.get(&id).copied()) {
                Some(held) => held,
                None => {
                    let held = self.seal(id, plaintext, &mut batch)?;
                    made.insert(id, held);
                    done.new_chunk_count += 1;
                    held
                }
            };
            done.entries.push(LeafEntry { plain_len: length, address: held.address, check: id.check() });
            done.chunk_count += 1;
            done.stored_bytes += u64::from(held.stored_len);
            done.epochs.insert(held.epoch);
            if batch.bytes.len() >= BATCH_BYTES {
                emit(std::mem::take(&mut batch))?;
            }
        }
        if !batch.objects.is_empty() {
            emit(batch)?;
        }
        self.pieces = pieces;
        Ok(done)
    }

    fn ids(&self, segment: &[u8], pieces: &[Piece]) -> Result<Vec<DedupId>, VaultError> {
        let secrets = self.keys.secrets()?;
        let chunks = pieces.iter().filter_map(|piece| match *piece {
            Piece::Chunk { offset, length } => Some(&segment[offset as usize..][..length as usize]),
            Piece::Hole { .. } => None,
        });
        Ok(chunks.map(|plaintext| secrets.dedup_id(plaintext)).collect())
    }

    /// A chunk under an epoch whose key is gone cannot be read again: it is sealed anew.
    fn is_usable(&self, held: &Held) -> bool {
        self.keys.object_keys(Kind::Chunk, self.keys.domain(), held.epoch).is_ok()
    }

    /// Seals a chunk behind the batch, opens it again and compares: what leaves memory can be restored.
    fn seal(&mut self, id: DedupId, plaintext: &[u8], batch: &mut Batch) -> Result<Held, VaultError> {
        let keys = self.keys.sealing_keys(Kind::Chunk)?;
        let start = batch.bytes.len();
        let sealed = self.sealer.seal_chunk(keys, plaintext, &mut batch.bytes)?;
        let address = sealed.address;
        let expected = Expected::chunk(address, plaintext.len() as u32, id.check());
        self.opener.open(self.keys.as_ref(), &expected, &batch.bytes[start..], &mut self.opened)?;
        if self.opened != plaintext {
            return Err(VaultError::Corrupt {
                address,
                why: "a chunk changed in memory while it was sealed",
            });
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
