//! What is done with damage. Nothing is deleted and nothing is overwritten: what is sound of a damaged
//! pack is copied into a new one, then the ledger takes the damaged pack out of use. From there on the
//! index answers none of its bad objects, so a later backup stores them again; and an item that lacks
//! something gets it from any vault that holds the same address, because an address is a digest and
//! whoever answers cannot lie. Killed anywhere, each step is done again with the same end.

mod source;

pub use source::StoreSource;

use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{Address, Kind, OperationId, PackNumber};
use crate::layout::PackName;
use crate::ledger::{LedgerError, SealedPack};
use crate::manifest::Manifest;
use crate::object::{Header, address_of};
use crate::operation::Operation;
use crate::pack::{PackEntry, ReadFooter};
use crate::packer::{Batch, BatchObject, Packer};
use crate::progress::Progress;
use crate::store::StoreError;
use crate::vault::Vault;

/// Bytes of objects held while they are copied or fetched.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The catalog's side of quarantine. Durable when it returns.
pub trait DamageLedger: Send + Sync {
    /// Takes a live pack out of use without condemning it: nobody may rely on it, nobody deletes it. A
    /// second time changes nothing.
    fn quarantine(&self, pack: PackNumber) -> Result<(), LedgerError>;
}

/// Somebody who may hold the same objects: a second vault of the same domain, or a region.
pub trait ObjectSource: Send + Sync {
    /// The stored bytes of an object, or nothing when it is not held, or not sound, there.
    ///
    /// # Errors
    /// When the source does not answer.
    fn object(&self, kind: Kind, address: Address) -> Result<Option<Vec<u8>>, VaultError>;
}

impl ObjectSource for Vault {
    fn object(&self, kind: Kind, address: Address) -> Result<Option<Vec<u8>>, VaultError> {
        match self.core.fetch(kind, &[address]) {
            Ok(found) => Ok(found.first().map(|object| object.bytes().to_vec())),
            Err(VaultError::Missing { .. } | VaultError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What became of a damaged pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Sound objects that were copied into new packs.
    pub copied_count: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Objects that are gone from this vault, unless it held them twice. Unknown when the pack's own
    /// list is gone: then nothing was copied and this is empty.
    pub lost: Vec<Address>,
}

/// What became of an item that lacked something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Objects that were brought.
    pub brought_count: u64,
    /// Their bytes.
    pub brought_bytes: u64,
    /// Objects that no source holds, as far as the walk came; 0 when the item is whole.
    pub absent_count: u64,
    /// The first of them.
    pub first_absent: Option<Address>,
}

impl Vault {
    /// Copies what is sound of a damaged pack, then has it taken out of use. `operation` must be the
    /// caller's own and is ended by the caller.
    ///
    /// # Errors
    /// `Full` when there is no room for the copy: the pack is then as it was. `Unavailable`, `Ledger`.
    pub fn quarantine_pack(
        &self,
        pack: &SealedPack,
        operation: OperationId,
        ledger: &dyn DamageLedger,
    ) -> Result<Quarantined, VaultError> {
        let begun = Operation::begin(&self.core, operation, std::iter::empty())?;
        let mut quarantined = Quarantined::default();
        if let Ok(footer) = self.core.sound_footer(pack)? {
            let mut packer = Packer::inline(begun.operation);
            self.copy_sound(pack, &footer, &mut packer, &mut quarantined)?;
            packer.flush()?;
        }
        crash_point!("heal.copied");
        ledger.quarantine(pack.number).map_err(|error| error.while_doing("taking a pack out of use"))?;
        crash_point!("heal.quarantined");
        self.core.refresh_index()?;
        tracing::error!(pack = %pack.number, copied_count = quarantined.copied_count,
            lost_count = quarantined.lost.len(), "a damaged pack was taken out of use");
        Ok(quarantined)
    }

    /// Brings everything that an item lacks from the first source that holds it. `operation` as above.
    ///
    /// # Errors
    /// As for [`Vault::look_for_objects`]; `Full`; what a source reports when it does not answer.
    pub fn heal_item(
        &self,
        manifest: &Manifest,
        operation: OperationId,
        sources: &[&dyn ObjectSource],
        progress: &dyn Progress,
    ) -> Result<Healed, VaultError> {
        let mut healed = Healed::default();
        let operation = Operation::begin(&self.core, operation, std::iter::empty())?.operation;
        loop {
            let absent = self.look_for_objects(manifest, None, progress)?;
            let mut packer = Packer::inline(operation.clone());
            let before = healed.brought_count;
            for (kind, address) in &absent.listed {
                if progress.is_stopped() {
                    return Err(VaultError::Stopped);
                }
                if let Some(stored) = self.search_sources(*kind, *address, sources)? {
                    healed.brought_count += 1;
                    healed.brought_bytes += stored.len() as u64;
                    packer.add(&batch_of(*kind, *address, stored))?;
                }
            }
            packer.flush()?;
            crash_point!("heal.brought");
            // A node that was brought shows what is missing below it.
            if absent.is_nothing() || healed.brought_count == before {
                healed.absent_count = absent.object_count;
                healed.first_absent = absent.first;
                return Ok(healed);
            }
        }
    }

    /// Bytes with this address, of this domain and kind, from anybody.
    fn search_sources(
        &self,
        kind: Kind,
        address: Address,
        sources: &[&dyn ObjectSource],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        for source in sources {
            let Some(stored) = source.object(kind, address)? else { continue };
            let is_ours = Header::parse(&stored)
                .is_ok_and(|header| header.kind == kind && header.domain == self.core.keys().domain());
            if is_ours && address_of(&stored) == address {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    fn copy_sound(
        &self,
        pack: &SealedPack,
        footer: &ReadFooter,
        packer: &mut Packer,
        quarantined: &mut Quarantined,
    ) -> Result<(), VaultError> {
        let name = self.core.pack_store_name(PackName::new(pack.number, pack.incarnation));
        let is_current = self.core.epoch_of(&name, footer).is_ok_and(|epoch| {
            // Ids say under which epoch their chunks are: those of an older one are found again by reading.
            epoch == self.core.keys().current_epoch()
        });
        let ids = if is_current { self.core.ids_of(pack, footer)? } else { None };
        let mut ids = ids.into_iter().flatten();
        let mut batch = Batch::default();
        for entry in &footer.entries {
            let id = if entry.kind == Kind::Chunk { ids.next() } else { None };
            let Some(stored) = self.sound_bytes(&name, entry)? else {
                quarantined.lost.push(entry.address);
                continue;
            };
            quarantined.copied_count += 1;
            quarantined.copied_bytes += stored.len() as u64;
            batch.bytes.extend_from_slice(&stored);
            let (kind, address, stored_len) = (entry.kind, entry.address, entry.stored_len);
            batch.objects.push(BatchObject { kind, address, stored_len, id });
            if batch.bytes.len() >= BATCH_BYTES_MAX {
                packer.add(&std::mem::take(&mut batch))?;
            }
        }
        packer.add(&batch)
    }

    /// The bytes of an object, if they still have its address.
    fn sound_bytes(&self, name: &str, entry: &PackEntry) -> Result<Option<Vec<u8>>, VaultError> {
        match self.core.store.get_range(name, entry.offset, u64::from(entry.stored_len)) {
            Ok(stored) => Ok(Some(stored).filter(|stored| address_of(stored) == entry.address)),
            Err(StoreError::TooShort { .. } | StoreError::NotFound { .. }) => Ok(None),
            Err(StoreError::Unavailable { .. }) if self.core.store.size(name).is_ok() => Ok(None),
            Err(error) => Err(error.while_doing("copying what is sound of a pack")),
        }
    }
}

fn batch_of(kind: Kind, address: Address, stored: Vec<u8>) -> Batch {
    let object = BatchObject { kind, address, stored_len: stored.len() as u32, id: None };
    Batch { bytes: stored, objects: vec![object] }
}
