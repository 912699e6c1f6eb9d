//! What the live packs hold, and how much of each pack lives. An address lives when it is marked, and counts
//! in the newest pack that holds it, where it is also read: a healed copy is newer than the damaged one. Every
//! other copy is waste.

use crate::collect::mark::Marks;
use crate::collect::{CollectError, CollectSnapshot, Phase, Run, ledger_failed};
use crate::error::VaultError;
use crate::ids::{Address, Kind, PackNumber};
use crate::layout::PackName;
use crate::sort::{Sorted, Sorter};

/// Packs that one question to the ledger returns.
const PACKS_AT_ONCE: u32 = 1000;

/// A pack as the first field of a record: number and incarnation, which order like the numbers.
pub(super) const PACK_KEY_BYTES: usize = 12;
/// Address, pack, offset, length.
pub(super) const NODE_PLACE_BYTES: usize = 32 + PACK_KEY_BYTES + 12;
/// Address, pack, length.
const OBJECT_BYTES: usize = 32 + PACK_KEY_BYTES + 4;
/// Pack, length in bytes, bytes of its objects, whether it is free.
const PACK_BYTES: usize = PACK_KEY_BYTES + 17;
const FREE_AT: usize = PACK_KEY_BYTES + 16;

pub(super) type PackKey = [u8; PACK_KEY_BYTES];

pub(super) fn key_of_pack(name: PackName) -> PackKey {
    let mut key = [0; PACK_KEY_BYTES];
    key[..8].copy_from_slice(&name.number.0.to_be_bytes());
    key[8..].copy_from_slice(&name.incarnation);
    key
}

/// The pack of a record that begins with it.
pub(super) fn pack_of_key(record: &[u8]) -> PackName {
    let (mut number, mut incarnation) = ([0; 8], [0; 4]);
    number.copy_from_slice(&record[..8]);
    incarnation.copy_from_slice(&record[8..PACK_KEY_BYTES]);
    PackName { number: PackNumber(u64::from_be_bytes(number)), incarnation }
}

/// A number in a record.
pub(super) fn number_at<const N: usize>(record: &[u8; N], from: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&record[from..from + 8]);
    u64::from_be_bytes(bytes)
}

/// What the footers of the packs that were live at the snapshot say.
pub(super) struct Listed {
    /// Those whose footer could be read, by number.
    packs: Sorted<PACK_BYTES>,
    /// Every object in them, by address and then pack.
    objects: Sorted<OBJECT_BYTES>,
    /// Where their nodes lie, in the same order.
    pub(super) nodes: Sorted<NODE_PLACE_BYTES>,
    /// Bytes of these nodes.
    pub(super) node_bytes: u64,
}

/// A pack, and what lives in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) pack: PackName,
    pub(super) bytes: u64,
    /// Bytes of all objects in it.
    pub(super) object_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) live_count: u64,
    pub(super) is_free: bool,
}

/// Every listed pack with its weight, by number.
pub(super) struct Weighed {
    weights: Sorted<WEIGHT_BYTES>,
    /// Bytes of packs in which nothing lives.
    pub(super) dead_bytes: u64,
}

/// A pack's record, live bytes, live objects.
const WEIGHT_BYTES: usize = PACK_BYTES + 16;

impl Weighed {
    pub(super) fn iter(&self) -> Result<impl Iterator<Item = Result<Weight, VaultError>>, VaultError> {
        let weight = |record: Result<[u8; WEIGHT_BYTES], VaultError>| {
            let record = record?;
            Ok(Weight {
                pack: pack_of_key(&record),
                bytes: number_at(&record, PACK_KEY_BYTES),
                object_bytes: number_at(&record, PACK_KEY_BYTES + 8),
                live_bytes: number_at(&record, PACK_BYTES),
                live_count: number_at(&record, PACK_BYTES + 8),
                is_free: record[FREE_AT] == 1,
            })
        };
        Ok(self.weights.iter()?.map(weight))
    }
}

impl Run<'_> {
    /// Reads the footers of the packs that were live at the snapshot.
    pub(super) fn list_packs(&mut self, snapshot: &CollectSnapshot) -> Result<Listed, CollectError> {
        let (all, total_bytes) = self.live_packs(snapshot)?;
        let (mut packs, mut objects) = (Sorter::new(&self.spill), Sorter::new(&self.spill));
        let mut nodes = Sorter::new(&self.spill);
        let (mut node_bytes, mut done_bytes) = (0, 0);
        for record in all.iter()? {
            self.require_going()?;
            let mut record = record?;
            let (pack, bytes) = (pack_of_key(&record), number_at(&record, PACK_KEY_BYTES));
            let name = self.core.pack_store_name(pack);
            done_bytes += bytes;
            self.at(Phase::Listing, done_bytes, total_bytes);
            let footer = match self.core.read_footer(&name, bytes) {
                Ok(footer) => footer,
                Err(error @ (VaultError::BadFormat { .. } | VaultError::Corrupt { .. })) => {
                    tracing::error!(pack = %name, %error, "a live pack is damaged; collection leaves it alone");
                    self.collected.unreadable_pack_count += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let object_bytes: u64 = footer.entries.iter().map(|entry| u64::from(entry.stored_len)).sum();
            record[PACK_KEY_BYTES + 8..FREE_AT].copy_from_slice(&object_bytes.to_be_bytes());
            packs.push(record)?;
            for entry in &footer.entries {
                objects.push(object_record(entry.address, pack, entry.stored_len))?;
                if entry.kind == Kind::Node {
                    nodes.push(node_record(entry.address, pack, entry.offset, entry.stored_len))?;
                    node_bytes += u64::from(entry.stored_len);
                }
            }
        }
        Ok(Listed { packs: packs.finish()?, objects: objects.finish()?, nodes: nodes.finish()?, node_bytes })
    }

    /// The packs that were live at the snapshot, and their bytes.
    fn live_packs(&self, snapshot: &CollectSnapshot) -> Result<(Sorted<PACK_BYTES>, u64), CollectError> {
        let (mut packs, mut total_bytes, mut after) = (Sorter::new(&self.spill), 0, PackNumber(0));
        loop {
            let some = self.ledger.packs(snapshot.commit_seq, after, PACKS_AT_ONCE);
            let some = some.map_err(ledger_failed("listing packs"))?;
            let Some(last) = some.last() else { return Ok((packs.finish()?, total_bytes)) };
            if last.name.number <= after {
                return Err(VaultError::bad_format("ledger answer", "pack numbers do not rise").into());
            }
            after = last.name.number;
            for pack in &some {
                total_bytes += pack.bytes;
                let mut record = [0; PACK_BYTES];
                record[..PACK_KEY_BYTES].copy_from_slice(&key_of_pack(pack.name));
                record[PACK_KEY_BYTES..PACK_KEY_BYTES + 8].copy_from_slice(&pack.bytes.to_be_bytes());
                record[FREE_AT] = u8::from(pack.is_free);
                packs.push(record)?;
            }
        }
    }

    /// Counts what lives in each pack.
    pub(super) fn weigh(&mut self, listed: &Listed, marks: &Marks) -> Result<Weighed, CollectError> {
        let mut living = Sorter::<{ PACK_KEY_BYTES + 4 }>::new(&self.spill);
        let (mut count, mut bytes) = (0, 0);
        self.each_living(listed, marks, &mut |pack, length, _| {
            count += 1;
            bytes += u64::from(length);
            let mut record = [0; PACK_KEY_BYTES + 4];
            record[..PACK_KEY_BYTES].copy_from_slice(pack);
            record[PACK_KEY_BYTES..].copy_from_slice(&length.to_be_bytes());
            living.push(record)
        })?;
        (self.collected.live_object_count, self.collected.live_bytes) = (count, bytes);
        self.at(Phase::Weighing, bytes, bytes);
        let living = living.finish()?;
        let mut living = living.iter()?.peekable();
        let mut weights = Sorter::new(&self.spill);
        let mut dead_bytes = 0;
        for record in listed.packs.iter()? {
            let record = record?;
            let (mut live_bytes, mut live_count) = (0u64, 0u64);
            let is_here = |one: &Result<[u8; PACK_KEY_BYTES + 4], VaultError>| {
                one.as_ref().map_or(true, |one| one[..PACK_KEY_BYTES] == record[..PACK_KEY_BYTES])
            };
            while let Some(one) = living.next_if(is_here) {
                let [.., a, b, c, d] = one?;
                live_bytes += u64::from(u32::from_be_bytes([a, b, c, d]));
                live_count += 1;
            }
            if live_count == 0 {
                dead_bytes += number_at(&record, PACK_KEY_BYTES);
            }
            let mut weight = [0; WEIGHT_BYTES];
            weight[..PACK_BYTES].copy_from_slice(&record);
            weight[PACK_BYTES..PACK_BYTES + 8].copy_from_slice(&live_bytes.to_be_bytes());
            weight[PACK_BYTES + 8..].copy_from_slice(&live_count.to_be_bytes());
            weights.push(weight)?;
        }
        Ok(Weighed { weights: weights.finish()?, dead_bytes })
    }

    /// Calls `found` for every marked address with the newest pack that holds it, in the order of addresses.
    pub(super) fn each_living(
        &self,
        listed: &Listed,
        marks: &Marks,
        found: &mut dyn FnMut(&PackKey, u32, Address) -> Result<(), VaultError>,
    ) -> Result<(), CollectError> {
        let mut objects = listed.objects.iter()?;
        let mut next = objects.next().transpose()?;
        for address in marks.addresses.iter()? {
            let address = address?;
            while next.is_some_and(|object| object[..32] < address[..]) {
                next = objects.next().transpose()?;
            }
            let mut newest = None;
            while let Some(object) = next.filter(|object| object[..32] == address) {
                newest = Some(object);
                next = objects.next().transpose()?;
            }
            let Some(object) = newest else {
                let address = Address(address);
                return Err(CollectError::unsafe_because(format!(
                    "object {address}, which a backup needs, lies in no live pack that can be read"
                )));
            };
            let (mut pack, mut length) = ([0; PACK_KEY_BYTES], [0; 4]);
            pack.copy_from_slice(&object[32..32 + PACK_KEY_BYTES]);
            length.copy_from_slice(&object[32 + PACK_KEY_BYTES..]);
            found(&pack, u32::from_be_bytes(length), Address(address))?;
        }
        Ok(())
    }
}

fn object_record(address: Address, pack: PackName, stored_len: u32) -> [u8; OBJECT_BYTES] {
    let mut record = [0; OBJECT_BYTES];
    record[..32].copy_from_slice(&address.0);
    record[32..32 + PACK_KEY_BYTES].copy_from_slice(&key_of_pack(pack));
    record[32 + PACK_KEY_BYTES..].copy_from_slice(&stored_len.to_be_bytes());
    record
}

fn node_record(address: Address, pack: PackName, offset: u64, stored_len: u32) -> [u8; NODE_PLACE_BYTES] {
    let mut record = [0; NODE_PLACE_BYTES];
    record[..32].copy_from_slice(&address.0);
    record[32..32 + PACK_KEY_BYTES].copy_from_slice(&key_of_pack(pack));
    record[32 + PACK_KEY_BYTES..40 + PACK_KEY_BYTES].copy_from_slice(&offset.to_be_bytes());
    record[40 + PACK_KEY_BYTES..].copy_from_slice(&stored_len.to_be_bytes());
    record
}
