//! Reading stored objects: places from the index, extents of packs that lie close together in one
//! read, and one second look after the index has caught up with the ledger.

use std::ops::Range;
use std::sync::Arc;

use crate::error::VaultError;
use crate::ids::{Address, Kind, PackNumber};
use crate::index::Place;
use crate::object::is_stored_len_lawful;
use crate::store::StoreError;
use crate::vault::Core;

/// Bytes between two objects that are read along rather than skipped.
pub(crate) const GAP_BYTES_MAX: u64 = 32 << 10;
/// Longest single read.
pub(crate) const RUN_BYTES_MAX: u64 = 4 << 20;
/// How often objects are looked for whose pack was taken away between finding and reading them.
const FETCH_TRIES: u32 = 3;

/// An object as stored, inside the read that brought it.
#[derive(Clone, Debug)]
pub(crate) struct StoredObject {
    run: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl StoredObject {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.run[self.range.clone()]
    }
}

impl Core {
    /// The places of these objects; an object that the index does not know is looked up once more
    /// after the index has followed the ledger.
    ///
    /// # Errors
    /// [`VaultError::Missing`] for the first that is in no live pack, or in one under another kind.
    pub(crate) fn locate(&self, kind: Kind, addresses: &[Address]) -> Result<Vec<Place>, VaultError> {
        let mut places = self.index.places(addresses)?;
        if places.iter().any(Option::is_none) {
            // Also when there was nothing left to follow: another thread may have done so since.
            self.refresh_index()?;
            places = self.index.places(addresses)?;
        }
        let required = addresses.iter().zip(places).map(|(&address, place)| {
            let place = place.filter(|place| {
                place.kind == kind && is_stored_len_lawful(kind, u64::from(place.stored_len))
            });
            place.ok_or(VaultError::Missing { address })
        });
        required.collect()
    }

    /// The stored bytes of these objects, in the order asked. Their addresses are not checked here:
    /// whoever opens or sends them does. Holds about as many bytes as the objects have together.
    ///
    /// A pack that is gone may have been rewritten: the index follows the ledger, and they are read again.
    pub(crate) fn fetch(&self, kind: Kind, addresses: &[Address]) -> Result<Vec<StoredObject>, VaultError> {
        self.fetch_from(&self.locate(kind, addresses)?, addresses)
    }

    /// As [`Core::fetch`], for objects of one kind whose places were looked up before.
    pub(crate) fn fetch_from(
        &self,
        places: &[Place],
        addresses: &[Address],
    ) -> Result<Vec<StoredObject>, VaultError> {
        let mut done = self.fetch_once(places, addresses);
        let Some(kind) = places.first().map(|place| place.kind) else { return done };
        for _ in 1..FETCH_TRIES {
            if !matches!(done, Err(VaultError::Missing { .. })) {
                break;
            }
            self.refresh_index()?;
            done = self.fetch_once(&self.locate(kind, addresses)?, addresses);
        }
        done
    }

    fn fetch_once(&self, places: &[Place], addresses: &[Address]) -> Result<Vec<StoredObject>, VaultError> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&index| places[index]);
        let mut found: Vec<Option<StoredObject>> = vec![None; places.len()];
        let mut start = 0;
        while start < order.len() {
            let (end, run) = run_from(places, &order[start..]);
            let members = &order[start..start + end];
            let bytes = self.read_run(&run, addresses[members[0]])?;
            for &member in members {
                let from = (places[member].offset - run.offset) as usize;
                let range = from..from + places[member].stored_len as usize;
                found[member] = Some(StoredObject { run: bytes.clone(), range });
            }
            start += end;
        }
        Ok(found.into_iter().map(|object| object.expect("every index belongs to one run")).collect())
    }

    fn read_run(&self, run: &Run, first: Address) -> Result<Arc<Vec<u8>>, VaultError> {
        let name = self.index.pack_name(run.pack)?.ok_or(VaultError::Missing { address: first })?;
        match self.store.get_range(&name, run.offset, run.length) {
            Ok(bytes) => Ok(Arc::new(bytes)),
            Err(StoreError::NotFound { .. }) => Err(VaultError::Missing { address: first }),
            Err(StoreError::TooShort { .. }) => {
                Err(VaultError::Corrupt { address: first, why: "its pack is too short" })
            }
            Err(error) => Err(error.while_doing("reading a pack")),
        }
    }
}

struct Run {
    pack: PackNumber,
    offset: u64,
    length: u64,
}

/// How many of `order` (sorted by place) one read takes, and that read.
fn run_from(places: &[Place], order: &[usize]) -> (usize, Run) {
    let first = places[order[0]];
    let mut end = first.offset.saturating_add(u64::from(first.stored_len));
    let mut count = 1;
    for &index in &order[1..] {
        let place = places[index];
        let place_end = place.offset.saturating_add(u64::from(place.stored_len));
        let is_near = place.pack == first.pack && place.offset <= end.saturating_add(GAP_BYTES_MAX);
        if !is_near || place_end.saturating_sub(first.offset) > RUN_BYTES_MAX {
            break;
        }
        end = end.max(place_end);
        count += 1;
    }
    (count, Run { pack: first.pack, offset: first.offset, length: end - first.offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pack: u64, offset: u64, stored_len: u32) -> Place {
        Place { pack: PackNumber(pack), offset, stored_len, kind: Kind::Chunk }
    }

    #[test]
    fn a_run_takes_near_objects_of_one_pack_and_stays_bounded() {
        let check = |places: &[Place], expected: (usize, u64, u64)| {
            let order: Vec<usize> = (0..places.len()).collect();
            let (count, run) = run_from(places, &order);
            assert_eq!((count, run.offset, run.length), expected, "{places:?}");
        };
        check(&[place(1, 10, 5)], (1, 10, 5));
        check(&[place(1, 10, 5), place(1, 15, 5), place(2, 20, 5)], (2, 10, 10));
        check(&[place(1, 10, 5), place(1, 10, 5)], (2, 10, 5));
        check(
            &[place(1, 0, 10), place(1, 10 + GAP_BYTES_MAX, 5), place(1, 200_000, 5)],
            (2, 0, 15 + GAP_BYTES_MAX),
        );
        check(&[place(1, 0, 3 << 20), place(1, 3 << 20, 2 << 20)], (1, 0, 3 << 20));
        check(&[place(1, 0, 5 << 20), place(1, 5 << 20, 5)], (1, 0, 5 << 20));
    }
}
