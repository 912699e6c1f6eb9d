//! The ledger in memory: the reference for tests, with the moves that the catalog makes on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LedgerError, LedgerPack, PackLedger, SealedPack};
use crate::ids::{ManifestDigest, OperationId, PackNumber, VaultId};
use crate::layout;

mod collector;

pub use collector::MemoryCollector;

/// A ledger that lives as long as its clones; it survives the vault above it, as a catalog does.
#[derive(Clone)]
pub struct MemoryLedger {
    state: Arc<Mutex<State>>,
}

struct State {
    vault: VaultId,
    next_number: u64,
    commit_seq: u64,
    operations: BTreeMap<OperationId, Option<ManifestDigest>>,
    /// Operations that are over, with the position at which they ended.
    ended: BTreeMap<OperationId, u64>,
    manifests: BTreeSet<ManifestDigest>,
    /// Manifests that were live and are not, and that the store may still hold.
    expired: BTreeSet<ManifestDigest>,
    reserved: BTreeMap<PackNumber, OperationId>,
    packs: BTreeMap<PackNumber, Pack>,
    pins: BTreeSet<(OperationId, PackNumber)>,
    /// Condemned packs that are gone from the store.
    deleted: BTreeSet<PackNumber>,
    /// Deleted packs whose last change came no later than this are forgotten.
    history_begins: u64,
    /// The newest run of the collector.
    collector: u64,
    is_unavailable: bool,
}

struct Pack {
    operation: OperationId,
    sealed: SealedPack,
    entry: LedgerPack,
}

impl Pack {
    /// One that was never sealed and never will be. Nobody followed it, so it has no position.
    fn condemned(operation: OperationId, sealed: SealedPack, vault: VaultId) -> Pack {
        let name = layout::pack_name(vault, sealed.number, sealed.incarnation);
        let entry = LedgerPack { number: sealed.number, name, bytes: 0, commit_seq: 0, is_live: false };
        Pack { operation, sealed, entry }
    }
}

impl MemoryLedger {
    /// An empty ledger of one vault.
    pub fn new(vault: VaultId) -> MemoryLedger {
        let state = State {
            vault,
            next_number: 1,
            commit_seq: 0,
            operations: BTreeMap::new(),
            ended: BTreeMap::new(),
            manifests: BTreeSet::new(),
            expired: BTreeSet::new(),
            reserved: BTreeMap::new(),
            packs: BTreeMap::new(),
            pins: BTreeSet::new(),
            deleted: BTreeSet::new(),
            history_begins: 0,
            collector: 0,
            is_unavailable: false,
        };
        MemoryLedger { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes: the manifest is live and the operation is over. Its packs and pins stay.
    pub fn publish(&self, operation: OperationId, manifest: ManifestDigest) {
        let mut state = self.lock();
        state.manifests.insert(manifest);
        state.end(operation);
    }

    /// The operation is over without a manifest.
    pub fn end(&self, operation: OperationId) {
        self.lock().end(operation);
    }

    /// The manifest is live no more.
    pub fn expire(&self, manifest: ManifestDigest) {
        let mut state = self.lock();
        if state.manifests.remove(&manifest) {
            state.expired.insert(manifest);
        }
    }

    /// Condemns a pack, whatever relies on it: for tests of what happens to those that come later.
    pub fn condemn(&self, number: PackNumber) {
        let mut state = self.lock();
        state.commit_seq += 1;
        let commit_seq = state.commit_seq;
        if let Some(pack) = state.packs.get_mut(&number) {
            pack.entry.is_live = false;
            pack.entry.commit_seq = commit_seq;
        }
    }

    /// Forgets the packs that are gone from the store, as a catalog does some time after.
    pub fn forget_deleted(&self) {
        let mut state = self.lock();
        state.history_begins = state.commit_seq;
        let deleted = std::mem::take(&mut state.deleted);
        state.packs.retain(|number, _| !deleted.contains(number));
    }

    /// Takes all calls down, or up again.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.lock().is_unavailable = is_unavailable;
    }

    /// Every pack, by number.
    pub fn packs(&self) -> Vec<LedgerPack> {
        self.lock().packs.values().map(|pack| pack.entry.clone()).collect()
    }

    /// The live manifests.
    pub fn manifests(&self) -> BTreeSet<ManifestDigest> {
        self.lock().manifests.clone()
    }

    /// The packs that an operation has pinned.
    pub fn pins_of(&self, operation: OperationId) -> Vec<PackNumber> {
        let pins = &self.lock().pins;
        pins.iter().filter(|(owner, _)| *owner == operation).map(|(_, number)| *number).collect()
    }
}

impl State {
    fn end(&mut self, operation: OperationId) {
        self.operations.remove(&operation);
        self.commit_seq += 1;
        let commit_seq = self.commit_seq;
        self.ended.entry(operation).or_insert(commit_seq);
    }

    fn require_answer(&self) -> Result<(), LedgerError> {
        match self.is_unavailable {
            true => Err(LedgerError::Unavailable("simulated fault".into())),
            false => Ok(()),
        }
    }

    fn require_open(&self, operation: OperationId) -> Result<(), LedgerError> {
        self.require_answer()?;
        match self.operations.contains_key(&operation) {
            true => Ok(()),
            false => Err(LedgerError::OperationClosed),
        }
    }
}

impl PackLedger for MemoryLedger {
    fn begin(&self, operation: OperationId, base: Option<ManifestDigest>) -> Result<(), LedgerError> {
        let mut state = self.lock();
        state.require_answer()?;
        if state.ended.contains_key(&operation) {
            return Err(LedgerError::OperationClosed);
        }
        if base.is_some_and(|base| !state.manifests.contains(&base)) {
            return Err(LedgerError::BaseNotLive);
        }
        state.operations.insert(operation, base);
        Ok(())
    }

    fn reserve(&self, operation: OperationId) -> Result<PackNumber, LedgerError> {
        let mut state = self.lock();
        state.require_open(operation)?;
        let number = PackNumber(state.next_number);
        state.next_number += 1;
        state.reserved.insert(number, operation);
        Ok(number)
    }

    fn seal(&self, operation: OperationId, sealed: &SealedPack) -> Result<u64, LedgerError> {
        let mut state = self.lock();
        state.require_open(operation)?;
        let number = sealed.number;
        let not_reserved = LedgerError::NotReserved { number };
        if let Some(pack) = state.packs.get(&number) {
            let is_same = pack.operation == operation && pack.sealed == *sealed;
            return if is_same { Ok(pack.entry.commit_seq) } else { Err(not_reserved) };
        }
        if state.reserved.get(&number) != Some(&operation) {
            return Err(not_reserved);
        }
        state.reserved.remove(&number);
        state.commit_seq += 1;
        let commit_seq = state.commit_seq;
        let name = layout::pack_name(state.vault, number, sealed.incarnation);
        let entry = LedgerPack { number, name, bytes: sealed.bytes, commit_seq, is_live: true };
        state.packs.insert(number, Pack { operation, sealed: sealed.clone(), entry });
        Ok(commit_seq)
    }

    fn pin(&self, operation: OperationId, packs: &[PackNumber]) -> Result<Vec<bool>, LedgerError> {
        let mut state = self.lock();
        state.require_open(operation)?;
        let pin = |number: &PackNumber| {
            let is_live = state.packs.get(number).is_some_and(|pack| pack.entry.is_live);
            if is_live {
                state.pins.insert((operation, *number));
            }
            is_live
        };
        Ok(packs.iter().map(pin).collect())
    }

    fn live_since(&self, commit_seq: u64, limit: u32) -> Result<Vec<LedgerPack>, LedgerError> {
        let state = self.lock();
        state.require_answer()?;
        let changed =
            state.packs.values().map(|pack| &pack.entry).filter(|entry| entry.commit_seq > commit_seq);
        let mut changed: Vec<LedgerPack> = changed.cloned().collect();
        changed.sort_by_key(|entry| entry.commit_seq);
        changed.truncate(limit as usize);
        Ok(changed)
    }

    fn history_begins(&self) -> Result<u64, LedgerError> {
        let state = self.lock();
        state.require_answer()?;
        Ok(state.history_begins)
    }

    fn packs_of(&self, operation: OperationId) -> Result<Vec<LedgerPack>, LedgerError> {
        let state = self.lock();
        state.require_answer()?;
        let own = state.packs.values().filter(|pack| pack.operation == operation && pack.entry.is_live);
        Ok(own.map(|pack| pack.entry.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    const ONE: OperationId = OperationId([1; 16]);
    const TWO: OperationId = OperationId([2; 16]);

    fn sealed(number: PackNumber) -> SealedPack {
        let incarnation = Incarnation([9; 16]);
        SealedPack { number, incarnation, bytes: 10, object_count: 1, footer_digest: [0; 32] }
    }

    fn ledger() -> MemoryLedger {
        let ledger = MemoryLedger::new(VaultId([5; 16]));
        ledger.begin(ONE, None).unwrap();
        ledger.begin(TWO, None).unwrap();
        ledger
    }

    #[test]
    fn numbers_are_never_given_twice_and_belong_to_their_operation() {
        let ledger = ledger();
        let first = ledger.reserve(ONE).unwrap();
        let second = ledger.reserve(TWO).unwrap();
        assert!(second > first);
        assert!(matches!(ledger.seal(TWO, &sealed(first)), Err(LedgerError::NotReserved { .. })));
        let position = ledger.seal(ONE, &sealed(first)).unwrap();
        assert_eq!(ledger.seal(ONE, &sealed(first)).unwrap(), position, "sealing twice is one sealing");
        let other = SealedPack { bytes: 11, ..sealed(first) };
        assert!(matches!(ledger.seal(ONE, &other), Err(LedgerError::NotReserved { .. })));
    }

    #[test]
    fn a_pin_succeeds_only_while_the_pack_is_live() {
        let ledger = ledger();
        let number = ledger.reserve(ONE).unwrap();
        assert_eq!(ledger.pin(TWO, &[number]).unwrap(), [false], "reserved is not live");
        ledger.seal(ONE, &sealed(number)).unwrap();
        assert_eq!(ledger.pin(TWO, &[number, PackNumber(99)]).unwrap(), [true, false]);
        ledger.condemn(number);
        assert_eq!(ledger.pin(ONE, &[number]).unwrap(), [false]);
        let changed = ledger.live_since(1, 10).unwrap();
        assert_eq!((changed.len(), changed[0].is_live, changed[0].commit_seq), (1, false, 2));
    }

    #[test]
    fn an_ended_operation_stays_closed_and_a_dead_base_is_refused() {
        let ledger = ledger();
        let manifest = ManifestDigest([7; 32]);
        assert!(matches!(ledger.begin(TWO, Some(manifest)), Err(LedgerError::BaseNotLive)));
        ledger.publish(ONE, manifest);
        ledger.begin(TWO, Some(manifest)).unwrap();
        assert!(matches!(ledger.begin(ONE, None), Err(LedgerError::OperationClosed)));
        assert!(matches!(ledger.reserve(ONE), Err(LedgerError::OperationClosed)));
        ledger.expire(manifest);
        assert!(matches!(ledger.begin(TWO, Some(manifest)), Err(LedgerError::BaseNotLive)));
    }
}
