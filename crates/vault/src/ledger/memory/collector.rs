//! The collector's calls on a ledger in memory: the reference for what the catalog does.

use std::collections::BTreeSet;
use std::sync::MutexGuard;

use super::{MemoryLedger, Pack, State};
use crate::collect::{CollectLedger, CollectPack, CollectSnapshot, CondemnedPack};
use crate::ids::{Incarnation, ItemId, ManifestDigest, OperationId, PackNumber};
use crate::layout::PackName;
use crate::ledger::{LedgerError, PackLedger, SealedPack};

/// One run of a collector. A newer one fences it off.
pub struct MemoryCollector {
    ledger: MemoryLedger,
    incarnation: Incarnation,
    run: u64,
}

impl MemoryCollector {
    /// Takes the lease from whoever had it. Packs that were never sealed are taken to be of `incarnation`.
    pub fn claim(ledger: &MemoryLedger, incarnation: Incarnation) -> MemoryCollector {
        let mut state = ledger.lock();
        state.collector += 1;
        let run = state.collector;
        drop(state);
        MemoryCollector { ledger: ledger.clone(), incarnation, run }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, LedgerError> {
        let state = self.ledger.lock();
        state.require_answer()?;
        if state.collector == self.run { Ok(state) } else { Err(LedgerError::OperationClosed) }
    }

    fn operation(run: u64) -> OperationId {
        let mut id = [0xcc; 16];
        id[..8].copy_from_slice(&run.to_be_bytes());
        OperationId(id)
    }
}

impl State {
    fn ended_by(&self, operation: OperationId, snapshot: u64) -> bool {
        self.ended.get(&operation).is_some_and(|ended| *ended <= snapshot)
    }

    /// No pin that counts, and its maker ended before the snapshot.
    fn is_free(&self, pack: &Pack, snapshot: u64) -> bool {
        let is_pinned = |(operation, number): &(OperationId, PackNumber)| {
            *number == pack.entry.number && !self.ended_by(*operation, snapshot)
        };
        self.ended_by(pack.operation, snapshot) && !self.pins.iter().any(is_pinned)
    }
}

impl CollectLedger for MemoryCollector {
    fn condemn_manifests(&self, limit: u32) -> Result<Vec<ManifestDigest>, LedgerError> {
        let state = self.state()?;
        let bases: BTreeSet<ManifestDigest> = state.operations.values().flatten().copied().collect();
        let gone = state.expired.iter().filter(|manifest| !bases.contains(manifest));
        Ok(gone.take(limit as usize).copied().collect())
    }

    fn condemn_strays(
        &self,
        manifests: &[(ManifestDigest, ItemId)],
    ) -> Result<Vec<ManifestDigest>, LedgerError> {
        let mut state = self.state()?;
        // This ledger knows no items: tests name operations after them.
        let is_over = |(digest, item): &&(ManifestDigest, ItemId)| {
            state.ended.contains_key(&OperationId(item.0)) && !state.manifests.contains(digest)
        };
        let strays: Vec<ManifestDigest> =
            manifests.iter().filter(is_over).map(|(digest, _)| *digest).collect();
        state.expired.extend(&strays);
        Ok(strays)
    }

    fn note_manifests_deleted(&self, manifests: &[ManifestDigest]) -> Result<(), LedgerError> {
        let mut state = self.state()?;
        state.expired.retain(|manifest| !manifests.contains(manifest));
        Ok(())
    }

    fn snapshot(&self) -> Result<CollectSnapshot, LedgerError> {
        let mut state = self.state()?;
        for run in 1..self.run {
            let earlier = MemoryCollector::operation(run);
            if state.operations.contains_key(&earlier) {
                state.end(earlier);
            }
        }
        let bases = state.operations.values().flatten().copied();
        let roots: BTreeSet<ManifestDigest> = state.manifests.iter().copied().chain(bases).collect();
        let snapshot = CollectSnapshot { commit_seq: state.commit_seq, roots: roots.into_iter().collect() };
        state.operations.insert(MemoryCollector::operation(self.run), None);
        Ok(snapshot)
    }

    fn packs(&self, snapshot: u64, after: PackNumber, limit: u32) -> Result<Vec<CollectPack>, LedgerError> {
        let state = self.state()?;
        let live = state.packs.values().filter(|pack| {
            pack.entry.is_live && pack.entry.commit_seq <= snapshot && pack.entry.number > after
        });
        let listed = live.take(limit as usize).map(|pack| CollectPack {
            name: PackName::new(pack.entry.number, pack.sealed.incarnation),
            bytes: pack.entry.bytes,
            is_free: state.is_free(pack, snapshot),
        });
        Ok(listed.collect())
    }

    fn condemn(&self, snapshot: u64, packs: &[PackNumber]) -> Result<Vec<PackNumber>, LedgerError> {
        let mut state = self.state()?;
        let mut condemned = Vec::new();
        for number in packs {
            let Some(pack) = state.packs.get(number) else { continue };
            let is_old = pack.entry.is_live && pack.entry.commit_seq <= snapshot;
            if !is_old || !state.is_free(pack, snapshot) {
                continue;
            }
            state.commit_seq += 1;
            let commit_seq = state.commit_seq;
            if let Some(pack) = state.packs.get_mut(number) {
                pack.entry.is_live = false;
                pack.entry.commit_seq = commit_seq;
            }
            condemned.push(*number);
        }
        Ok(condemned)
    }

    fn condemn_unsealed(&self, snapshot: u64, limit: u32) -> Result<u64, LedgerError> {
        let mut state = self.state()?;
        let left = state.reserved.iter().filter(|(_, operation)| state.ended_by(**operation, snapshot));
        let left: Vec<(PackNumber, OperationId)> =
            left.take(limit as usize).map(|(number, operation)| (*number, *operation)).collect();
        for (number, operation) in &left {
            state.reserved.remove(number);
            let sealed = SealedPack {
                number: *number,
                incarnation: self.incarnation,
                bytes: 0,
                object_count: 0,
                footer_digest: [0; 32],
            };
            let pack = Pack::condemned(*operation, sealed, state.vault);
            state.packs.insert(*number, pack);
        }
        Ok(left.len() as u64)
    }

    fn condemned(&self, limit: u32) -> Result<Vec<CondemnedPack>, LedgerError> {
        let state = self.state()?;
        let is_left = |pack: &&Pack| !pack.entry.is_live && !state.deleted.contains(&pack.entry.number);
        let left = state.packs.values().filter(is_left).take(limit as usize);
        let name = |pack: &Pack| PackName::new(pack.entry.number, pack.sealed.incarnation);
        Ok(left.map(|pack| CondemnedPack { name: name(pack), bytes: pack.entry.bytes }).collect())
    }

    fn note_deleted(&self, packs: &[PackNumber]) -> Result<(), LedgerError> {
        self.state()?.deleted.extend(packs);
        Ok(())
    }

    fn known(&self, packs: &[PackNumber]) -> Result<(Vec<bool>, PackNumber), LedgerError> {
        let state = self.state()?;
        let is_known = |number: &PackNumber| {
            let is_listed = state.packs.contains_key(number) || state.reserved.contains_key(number);
            is_listed && !state.deleted.contains(number)
        };
        Ok((packs.iter().map(is_known).collect(), PackNumber(state.next_number - 1)))
    }

    fn release_pins(&self, snapshot: u64) -> Result<u64, LedgerError> {
        let mut state = self.state()?;
        let (released, kept) = std::mem::take(&mut state.pins)
            .into_iter()
            .partition(|(operation, _)| state.ended_by(*operation, snapshot));
        let released: BTreeSet<(OperationId, PackNumber)> = released;
        state.pins = kept;
        Ok(released.len() as u64)
    }

    fn reserve(&self) -> Result<PackNumber, LedgerError> {
        drop(self.state()?);
        self.ledger.reserve(MemoryCollector::operation(self.run))
    }

    fn seal(&self, sealed: &SealedPack) -> Result<u64, LedgerError> {
        drop(self.state()?);
        self.ledger.seal(MemoryCollector::operation(self.run), sealed)
    }
}
