//! One open operation of a vault: a backup or an arrival, and what it may rely on.
//!
//! An operation relies on an object only when it lies in a pack that the operation made, in a pack
//! that the ledger pinned for it, or in one of its packs that is not yet sealed. Everything else is
//! a miss, whatever the index says; the object is then stored again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Epoch, ManifestDigest, OperationId, PackNumber};
use crate::index::Place;
use crate::ledger::LedgerError;
use crate::vault::Core;

/// An object this operation may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) address: Address,
    pub(crate) stored_len: u32,
    pub(crate) epoch: Epoch,
}

/// Objects in packs of this operation that are not in the index yet. Bounded by the packs being
/// filled and sealed.
#[derive(Default)]
pub(crate) struct Pending {
    by_id: HashMap<DedupId, Held>,
    addresses: HashMap<Address, u32>,
}

pub(crate) struct Operation {
    pub(crate) core: Arc<Core>,
    pub(crate) id: OperationId,
    own: Mutex<HashSet<PackNumber>>,
    pins: Mutex<HashMap<PackNumber, bool>>,
    pending: Mutex<Pending>,
    /// Objects and bytes added to packs by this run.
    added_count: AtomicU64,
    added_bytes: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operation and the base that the ledger accepted for it.
pub(crate) struct Begun {
    pub(crate) operation: Arc<Operation>,
    pub(crate) base: Option<ManifestDigest>,
    /// True when an earlier run of the operation left packs.
    pub(crate) is_resumed: bool,
}

impl Operation {
    /// Opens the operation with the first of `bases` that is live, or with none; then brings the
    /// index up to date, so that packs which an earlier run sealed are found again.
    pub(crate) fn begin(
        core: &Arc<Core>,
        id: OperationId,
        bases: impl Iterator<Item = ManifestDigest>,
    ) -> Result<Begun, VaultError> {
        let base = begin_with_base(core, id, bases)?;
        crash_point!("operation.begin.after");
        let operation = Operation::resume(core, id)?;
        let is_resumed = !lock(&operation.own).is_empty();
        Ok(Begun { operation: Arc::new(operation), base, is_resumed })
    }

    /// Takes up an operation that is open: what it may rely on is what the ledger says, and nothing
    /// that was on its way into a pack.
    pub(crate) fn resume(core: &Arc<Core>, id: OperationId) -> Result<Operation, VaultError> {
        core.refresh_index()?;
        let earlier = core.ledger.packs_of(id).map_err(|error| error.while_doing("listing own packs"))?;
        Ok(Operation {
            core: core.clone(),
            id,
            own: Mutex::new(earlier.iter().map(|pack| pack.number).collect()),
            pins: Mutex::default(),
            pending: Mutex::default(),
            added_count: AtomicU64::new(0),
            added_bytes: AtomicU64::new(0),
        })
    }

    /// Bytes of objects added to packs by this run so far.
    pub(crate) fn added_bytes(&self) -> u64 {
        self.added_bytes.load(Ordering::Relaxed)
    }

    /// Objects added to packs by this run so far.
    pub(crate) fn added_count(&self) -> u64 {
        self.added_count.load(Ordering::Relaxed)
    }

    /// True for packs that this operation made.
    pub(crate) fn is_own(&self, number: PackNumber) -> bool {
        lock(&self.own).contains(&number)
    }

    /// Finds out which of these packs the operation may rely on: pins those it does not know yet.
    pub(crate) fn may_rely_on(&self, packs: impl Iterator<Item = PackNumber>) -> Result<(), VaultError> {
        let unknown: HashSet<PackNumber> = {
            let (own, pins) = (lock(&self.own), lock(&self.pins));
            packs.filter(|number| !own.contains(number) && !pins.contains_key(number)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let mut unknown: Vec<PackNumber> = unknown.into_iter().collect();
        unknown.sort();
        let pinned =
            self.core.ledger.pin(self.id, &unknown).map_err(|error| error.while_doing("pinning packs"))?;
        crash_point!("operation.pin.after");
        let mut pins = lock(&self.pins);
        for (index, number) in unknown.into_iter().enumerate() {
            // Not live now is not live ever: the answer keeps. A missing answer is a no.
            pins.insert(number, pinned.get(index).copied().unwrap_or(false));
        }
        Ok(())
    }

    fn relies_on(&self, number: PackNumber) -> bool {
        lock(&self.own).contains(&number) || lock(&self.pins).get(&number).copied().unwrap_or(false)
    }

    /// Which of these plaintexts the vault holds for this operation, in the order asked.
    pub(crate) fn held_ids(&self, ids: &[DedupId]) -> Result<Vec<Option<Held>>, VaultError> {
        let mut held: Vec<Option<Held>> = {
            let pending = lock(&self.pending);
            ids.iter().map(|id| pending.by_id.get(id).copied()).collect()
        };
        let missed: Vec<usize> = (0..ids.len()).filter(|&index| held[index].is_none()).collect();
        let missed_ids: Vec<DedupId> = missed.iter().map(|&index| ids[index]).collect();
        // What a retired epoch sealed may be known to others: new items do not rely on it.
        let keys = self.core.keys();
        let mut known = self.core.index.known(&missed_ids)?;
        for known in &mut known {
            known.take_if(|known| keys.is_retired(known.epoch));
        }
        self.may_rely_on(known.iter().flatten().map(|known| known.pack))?;
        for (index, known) in missed.into_iter().zip(known) {
            let Some(known) = known.filter(|known| self.relies_on(known.pack)) else { continue };
            let (address, stored_len, epoch) = (known.address, known.stored_len, known.epoch);
            held[index] = Some(Held { address, stored_len, epoch });
        }
        Ok(held)
    }

    /// Which of these objects the vault holds for this operation, with their stored lengths.
    pub(crate) fn held_addresses(&self, addresses: &[Address]) -> Result<Vec<Option<u32>>, VaultError> {
        let mut held: Vec<Option<u32>> = {
            let pending = lock(&self.pending);
            addresses.iter().map(|address| pending.addresses.get(address).copied()).collect()
        };
        let missed: Vec<usize> = (0..held.len()).filter(|&index| held[index].is_none()).collect();
        let missed_addresses: Vec<Address> = missed.iter().map(|&index| addresses[index]).collect();
        let places = self.core.index.places(&missed_addresses)?;
        let mut found: Vec<(usize, Place)> = Vec::new();
        found.extend(missed.into_iter().zip(places).filter_map(|(index, place)| Some((index, place?))));
        self.may_rely_on(found.iter().map(|(_, place)| place.pack))?;
        for (index, place) in found {
            if self.relies_on(place.pack) {
                held[index] = Some(place.stored_len);
            }
        }
        Ok(held)
    }

    /// Notes a sealed plaintext, so that the next one like it is not sealed again.
    pub(crate) fn note_sealed(&self, id: DedupId, held: Held) {
        lock(&self.pending).by_id.insert(id, held);
    }

    /// Claims the right to append an object to a pack; false when it lies in an open one already.
    pub(crate) fn claim(&self, address: Address, stored_len: u32) -> bool {
        let is_new = lock(&self.pending).addresses.insert(address, stored_len).is_none();
        if is_new {
            self.added_count.fetch_add(1, Ordering::Relaxed);
            self.added_bytes.fetch_add(u64::from(stored_len), Ordering::Relaxed);
        }
        is_new
    }

    /// The pack is live: it counts as own from here on.
    pub(crate) fn note_own(&self, number: PackNumber) {
        lock(&self.own).insert(number);
    }

    /// The index knows these objects now.
    pub(crate) fn forget_pending(&self, objects: impl Iterator<Item = (Address, Option<DedupId>)>) {
        let mut pending = lock(&self.pending);
        for (address, id) in objects {
            pending.addresses.remove(&address);
            if let Some(id) = id {
                pending.by_id.remove(&id);
            }
        }
    }
}

fn begin_with_base(
    core: &Core,
    id: OperationId,
    bases: impl Iterator<Item = ManifestDigest>,
) -> Result<Option<ManifestDigest>, VaultError> {
    let doing = "opening an operation";
    for base in bases {
        match core.ledger.begin(id, Some(base)) {
            Ok(()) => return Ok(Some(base)),
            Err(LedgerError::BaseNotLive) => continue,
            Err(error) => return Err(error.while_doing(doing)),
        }
    }
    core.ledger.begin(id, None).map_err(|error| error.while_doing(doing))?;
    Ok(None)
}
