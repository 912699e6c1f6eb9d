//! The catalog as a vault sees it: which packs exist, who made them, and who relies on them.
//!
//! The ledger is the truth about liveness; the index is only a cache that follows it. It keeps four
//! promises, each by one transaction that also updates the vault's one row, so that sealing,
//! pinning, publishing and condemning are ordered among each other:
//! a number is reserved before anything is uploaded under it and never given out twice; a pack
//! becomes live at most once; a pin succeeds only while its pack is live; and a pack is condemned
//! only when no marked object, no pin and no open operation holds it.
//!
//! `control` implements it over the catalog; [`MemoryLedger`] is the reference for tests.

mod memory;

pub use memory::{MemoryCollector, MemoryLedger};

use crate::error::VaultError;
use crate::ids::{Incarnation, ManifestDigest, OperationId, PackNumber};

/// What a vault needs from the catalog. All calls are durable when they return.
pub trait PackLedger: Send + Sync {
    /// Opens `operation`, or opens it again: packs it made and pins it holds stay. When `base` is
    /// given, it is checked live in the same transaction and is a root until the operation ends; a
    /// later call with another base replaces the first.
    ///
    /// # Errors
    /// [`LedgerError::BaseNotLive`], and then the operation is as it was before.
    fn begin(&self, operation: OperationId, base: Option<ManifestDigest>) -> Result<(), LedgerError>;

    /// Gives a pack number that was never given before, to be sealed by this operation or never.
    fn reserve(&self, operation: OperationId) -> Result<PackNumber, LedgerError>;

    /// Makes a reserved pack live; the object store already holds it durably. Returns its position
    /// in the history of the vault. Sealing the same pack again returns the same position.
    fn seal(&self, operation: OperationId, sealed: &SealedPack) -> Result<u64, LedgerError>;

    /// Pins packs for the operation; tells for each whether it is live and now pinned.
    fn pin(&self, operation: OperationId, packs: &[PackNumber]) -> Result<Vec<bool>, LedgerError>;

    /// Packs whose last change (sealed or condemned) came after `commit_seq`, by that position, at
    /// most `limit` of them. Each pack appears once, as it is now.
    fn live_since(&self, commit_seq: u64, limit: u32) -> Result<Vec<LedgerPack>, LedgerError>;

    /// Packs that were deleted are forgotten some time after; [`PackLedger::live_since`] tells of every change
    /// after this position and of none that was forgotten. Who has followed less far compares all he knows.
    fn history_begins(&self) -> Result<u64, LedgerError> {
        Ok(0)
    }

    /// The live packs that this operation made, by number.
    fn packs_of(&self, operation: OperationId) -> Result<Vec<LedgerPack>, LedgerError>;
}

/// A pack that the object store holds whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPack {
    /// The reserved number.
    pub number: PackNumber,
    /// The life of the region that made it; part of its name.
    pub incarnation: Incarnation,
    /// Its length.
    pub bytes: u64,
    /// How many objects lie in it.
    pub object_count: u32,
    /// The digest of its footer.
    pub footer_digest: [u8; 32],
}

/// A pack as the ledger lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPack {
    /// Its number.
    pub number: PackNumber,
    /// Its name in the object store.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The position of its last change in the history of the vault.
    pub commit_seq: u64,
    /// False once it is condemned.
    pub is_live: bool,
}

/// A failed call of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The base manifest is expired, deleted or was never here: go on without it.
    #[error("the base manifest is not live")]
    BaseNotLive,
    /// The operation was ended, or another worker holds it now: this one must stop.
    #[error("the operation is closed")]
    OperationClosed,
    /// Not a pack that this operation reserved, or one sealed with other properties.
    #[error("pack {number} is not reserved by this operation")]
    NotReserved {
        /// The pack.
        number: PackNumber,
    },
    /// The catalog did not answer: try again.
    #[error("the catalog did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl LedgerError {
    /// The same trouble as the vault tells it.
    pub fn while_doing(self, doing: &'static str) -> VaultError {
        VaultError::Ledger { doing, cause: Box::new(self) }
    }
}
