//! The destination side: take objects in, prove that an item is complete.
//!
//! An ingest can only add. It takes chunks and nodes of its own key domain, sealed under epochs that
//! the manifest lists, whose address it recomputes from the very buffer that goes into the pack. A
//! chunk counts as present when the operation may rely on it; a node only when this operation
//! received it, because an index that knows a node knows nothing of what lies below it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::VaultError;
use crate::ids::{Address, DomainId, Kind, ManifestDigest, OperationId};
use crate::keys::DomainKeys;
use crate::manifest::Manifest;
use crate::object::{Header, address_of};
use crate::operation::{Begun, Operation};
use crate::packer::{Batch, BatchObject};
use crate::progress::Progress;
use crate::receipt::{Level, Mode};
use crate::transfer::completeness::{self, Completeness};
use crate::transfer::intake::Intake;
use crate::transfer::wire;
use crate::transfer::{ASKED_COUNT_MAX, Acknowledged, Asked};
use crate::vault::Vault;

/// What arrives, and under which conditions.
#[derive(Clone, Debug)]
pub struct IngestOrder {
    /// The operation under which packs are made; the same for every attempt at this item.
    pub operation: OperationId,
    /// The signed manifest.
    pub manifest: Vec<u8>,
    /// Offered bases, best first; the first that is live here is used.
    pub bases: Vec<ManifestDigest>,
    /// Stored bytes that all attempts together may add; more is refused as full.
    pub bytes_max: u64,
}

/// One arrival under way. Calls may come from many threads; dropping it forgets what is not synced.
///
/// After a failure of the store or the ledger it forgets the same, and goes on by itself from what is
/// durable: the source then hears that objects are missing, and sends them again.
pub struct Ingest {
    vault: Vault,
    operation: OperationId,
    keys: Arc<DomainKeys>,
    manifest: Manifest,
    base: Option<ManifestDigest>,
    is_resumed: bool,
    bytes_max: u64,
    /// None after a failure, until the next call.
    intake: Mutex<Option<Arc<Intake>>>,
}

/// An item proved complete: all of it is durable, and the manifest is stored.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The manifest's name.
    pub manifest: ManifestDigest,
    /// The key domain.
    pub domain: DomainId,
    /// What this vault can do with it.
    pub mode: Mode,
    /// How far it was checked.
    pub level: Level,
    /// Objects and stored bytes that the signed manifest states.
    pub object_count: u64,
    /// As above.
    pub stored_bytes: u64,
    /// Objects that this run added.
    pub new_object_count: u64,
    /// Their stored bytes.
    pub new_stored_bytes: u64,
    /// Stored bytes of the objects that all runs of the operation added and that are still here.
    pub kept_stored_bytes: u64,
}

/// The answer of [`Ingest::verify`].
#[derive(Clone, Debug)]
pub enum IngestVerified {
    /// The item may be published.
    Complete(Walked),
    /// Some of what is missing, never empty.
    Missing(Vec<Asked>),
}

impl Ingest {
    /// Begins or resumes an arrival.
    ///
    /// # Errors
    /// `BadFormat` or `Refused` when the manifest is not signed by a believed region or is of another
    /// domain; `Ledger` when the operation is closed.
    pub fn open(vault: &Vault, order: &IngestOrder) -> Result<Ingest, VaultError> {
        let manifest = vault.check_manifest(&order.manifest)?;
        // A base that cannot be read here cannot be walked against.
        let bases = order.bases.iter().copied().filter(|base| vault.trees(*base).is_ok());
        let Begun { operation, base, is_resumed } = Operation::begin(&vault.core, order.operation, bases)?;
        let intake = Intake::begin(operation)?;
        Ok(Ingest {
            vault: vault.clone(),
            keys: vault.keys(),
            operation: order.operation,
            manifest,
            base,
            is_resumed,
            bytes_max: order.bytes_max,
            intake: Mutex::new(Some(Arc::new(intake))),
        })
    }

    /// The intake under way, or a new one over what is durable.
    fn intake(&self) -> Result<Arc<Intake>, VaultError> {
        let mut intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(intake) = &*intake {
            return Ok(intake.clone());
        }
        let operation = Operation::resume(&self.vault.core, self.operation)?;
        let begun = Arc::new(Intake::begin(Arc::new(operation))?);
        *intake = Some(begun.clone());
        Ok(begun)
    }

    /// Lets go of an intake whose packer failed: what it was about to pack is lost.
    fn unless_broken<T>(
        &self,
        intake: &Arc<Intake>,
        outcome: Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        if outcome.is_err() {
            let mut current = self.intake.lock().unwrap_or_else(PoisonError::into_inner);
            current.take_if(|current| Arc::ptr_eq(current, intake));
        }
        outcome
    }

    /// The base to walk against.
    pub fn base(&self) -> Option<ManifestDigest> {
        self.base
    }

    /// True when an earlier attempt left packs.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// The keys that the arrival is checked with.
    pub fn keys(&self) -> Arc<DomainKeys> {
        self.keys.clone()
    }

    /// The manifest of the item.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Tells which of these objects to send.
    ///
    /// # Errors
    /// `Refused` for too many, or kinds that do not travel.
    pub fn want(&self, asked: &[Asked]) -> Result<Vec<bool>, VaultError> {
        let travels = |asked: &Asked| matches!(asked.kind, Kind::Chunk | Kind::Node);
        if asked.len() > ASKED_COUNT_MAX || !asked.iter().all(travels) {
            return Err(VaultError::refused("too many questions, or about kinds that do not travel"));
        }
        let is_chunk = |asked: &&Asked| asked.kind == Kind::Chunk;
        let chunks: Vec<Address> = asked.iter().filter(is_chunk).map(|asked| asked.address).collect();
        let intake = self.intake()?;
        let mut held = intake.operation.held_addresses(&chunks)?.into_iter();
        let is_missing = |asked: &Asked| match asked.kind {
            Kind::Chunk => held.next().flatten().is_none(),
            _ => !intake.has_node(asked.address, asked.level),
        };
        Ok(asked.iter().map(is_missing).collect())
    }

    /// Takes a batch in. All of it is checked before any of it is taken. An answer means received,
    /// not yet durable: that is what [`Ingest::verify`] sees to.
    ///
    /// # Errors
    /// `BadFormat` or `Refused` for what is not lawful here; `Full` beyond the bytes granted.
    pub fn receive(&self, batch: &[u8]) -> Result<Acknowledged, VaultError> {
        let frames = wire::decode_batch(batch)?;
        let addresses: Vec<Address> = frames.iter().map(|frame| frame.asked.address).collect();
        let intake = self.intake()?;
        let held = intake.operation.held_addresses(&addresses)?;
        let mut taken = Batch::default();
        let mut seen = HashSet::new();
        let mut acknowledged = Acknowledged::default();
        for (frame, held) in frames.iter().zip(held) {
            let stored_len = frame.stored.len() as u32;
            let start = taken.bytes.len();
            taken.bytes.extend_from_slice(frame.stored);
            self.check(frame.asked, &taken.bytes[start..])?;
            if held.is_some() || !seen.insert(frame.asked.address) {
                taken.bytes.truncate(start);
                acknowledged.duplicate_count += 1;
                acknowledged.duplicate_bytes += u64::from(stored_len);
                continue;
            }
            let Asked { kind, address, .. } = frame.asked;
            taken.objects.push(BatchObject { kind, address, stored_len, id: None });
            acknowledged.stored_count += 1;
            acknowledged.stored_bytes += u64::from(stored_len);
        }
        intake.spend(acknowledged.stored_bytes, self.bytes_max)?;
        self.unless_broken(&intake, intake.add(&taken))?;
        // Last: a node counts as received only once it is on its way into a pack.
        intake.note_nodes(frames.iter().map(|frame| frame.asked));
        Ok(acknowledged)
    }

    /// Checks an object as it lies in the buffer that goes into the pack.
    fn check(&self, asked: Asked, stored: &[u8]) -> Result<(), VaultError> {
        if address_of(stored) != asked.address {
            return Err(VaultError::refused(format!(
                "the bytes sent as {} have another address",
                asked.address
            )));
        }
        let header = Header::parse(stored)?;
        if header.kind != asked.kind || header.level != asked.level {
            return Err(VaultError::refused("an object of another kind or level than it was sent as"));
        }
        if header.domain != self.keys.domain() {
            return Err(VaultError::refused("an object of another key domain"));
        }
        if self.manifest.fields().epochs.binary_search(&header.epoch).is_err() {
            return Err(VaultError::refused("an object of an epoch that the manifest does not list"));
        }
        Ok(())
    }

    /// Syncs everything, walks what is new of the item, and proves that nothing is missing; opens one
    /// chunk of each pack that arrived, where data keys are held; then stores the manifest. Publishing
    /// (record, receipt) is the caller's.
    ///
    /// # Errors
    /// `KeyMissing` when an epoch of the manifest has no wrap here; `Corrupt` or `BadFormat` when what
    /// arrived is not a lawful item, which sending again will not change.
    pub fn verify(&self, progress: &dyn Progress) -> Result<IngestVerified, VaultError> {
        for &epoch in &self.manifest.fields().epochs {
            self.keys.epoch_keys(epoch)?;
        }
        let intake = self.intake()?;
        self.unless_broken(&intake, intake.flush())?;
        let base = match self.base.map(|base| self.vault.trees(base)) {
            // Without its base the item has to be here whole; what lay below the base is asked for.
            None | Some(Err(VaultError::ManifestMissing { .. })) => Vec::new(),
            Some(trees) => trees?,
        };
        let item = completeness::Item { vault: &self.vault, manifest: &self.manifest, base: &base };
        match completeness::check(&item, &intake.operation, &intake.nodes(), progress)? {
            Completeness::Proved => {}
            Completeness::Missing { objects, unproved } => {
                // Nodes above a gap are asked for again, so that the source walks down to it.
                intake.forget_nodes(&unproved);
                return Ok(IngestVerified::Missing(objects));
            }
        }
        self.vault.store_manifest(&self.manifest)?;
        let fields = self.manifest.fields();
        Ok(IngestVerified::Complete(Walked {
            manifest: self.manifest.digest(),
            domain: fields.domain,
            mode: if self.keys.is_restorable() { Mode::Restorable } else { Mode::Sealed },
            level: Level::Stored,
            object_count: fields.object_count,
            stored_bytes: fields.stored_bytes,
            new_object_count: intake.operation.added_count(),
            new_stored_bytes: intake.operation.added_bytes(),
            kept_stored_bytes: intake.earlier_bytes + intake.operation.added_bytes(),
        }))
    }
}
