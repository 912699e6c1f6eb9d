//! What a collection needs from the catalog. Every call is one transaction that first proves that the run
//! still holds its lease; an overtaken run hears [`LedgerError::OperationClosed`].

use crate::ids::{ItemId, ManifestDigest, PackNumber};
use crate::layout::PackName;
use crate::ledger::{LedgerError, SealedPack};

/// The roots of a vault at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectSnapshot {
    /// The position in the vault's history.
    pub commit_seq: u64,
    /// The manifests of items that may still be wanted, and the bases of open operations.
    pub roots: Vec<ManifestDigest>,
}

/// A pack that was live at the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectPack {
    /// Its name.
    pub name: PackName,
    /// Its length.
    pub bytes: u64,
    /// Whether it could be condemned now if nothing in it lived: no pin that counts, and its maker ended
    /// before the snapshot.
    pub is_free: bool,
}

/// A pack that may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CondemnedPack {
    /// Its name.
    pub name: PackName,
    /// Its length; 0 for one that was never sealed.
    pub bytes: u64,
}

/// The catalog as a collector sees it.
pub trait CollectLedger: Send + Sync {
    /// Purges items whose quarantine has ended, and answers the manifests that may now be deleted: condemned
    /// now or before, at most `limit`. None of them is a root, now or later.
    fn condemn_manifests(&self, limit: u32) -> Result<Vec<ManifestDigest>, LedgerError>;

    /// Condemns those of these manifests that no item has and none will: the backup of their item has ended, or
    /// their transfer, without them. Answers them. The second of each pair is the item in the manifest's body.
    fn condemn_strays(
        &self,
        manifests: &[(ManifestDigest, ItemId)],
    ) -> Result<Vec<ManifestDigest>, LedgerError>;

    /// Notes that these manifests are gone from the store.
    fn note_manifests_deleted(&self, manifests: &[ManifestDigest]) -> Result<(), LedgerError>;

    /// The roots and the moment. Also opens the run's own operation, under which packs are rewritten, and ends
    /// that of a run before.
    fn snapshot(&self) -> Result<CollectSnapshot, LedgerError>;

    /// The packs behind `after` that were live at the snapshot, by number, at most `limit`.
    fn packs(&self, snapshot: u64, after: PackNumber, limit: u32) -> Result<Vec<CollectPack>, LedgerError>;

    /// Condemns those of these packs that are live, sealed no later than the snapshot, made by an operation
    /// that ended before it, and without a pin of any other operation. Answers them. The caller says that
    /// nothing in them is marked, or that all that is marked lies in a newer live pack.
    fn condemn(&self, snapshot: u64, packs: &[PackNumber]) -> Result<Vec<PackNumber>, LedgerError>;

    /// Condemns packs that were reserved by operations that ended before the snapshot and never sealed.
    /// Answers how many, at most `limit`.
    fn condemn_unsealed(&self, snapshot: u64, limit: u32) -> Result<u64, LedgerError>;

    /// Condemned packs that the store may still hold, at most `limit`, by number.
    fn condemned(&self, limit: u32) -> Result<Vec<CondemnedPack>, LedgerError>;

    /// Notes that these packs are gone from the store.
    fn note_deleted(&self, packs: &[PackNumber]) -> Result<(), LedgerError>;

    /// Which of these numbers the ledger knows as reserved, live or condemned, in the order asked; and the
    /// last number that was ever given, read after the caller saw the numbers.
    fn known(&self, packs: &[PackNumber]) -> Result<(Vec<bool>, PackNumber), LedgerError>;

    /// Drops the pins of operations that ended no later than the snapshot. Answers how many.
    fn release_pins(&self, snapshot: u64) -> Result<u64, LedgerError>;

    /// A number for a pack of the run's own operation.
    fn reserve(&self) -> Result<PackNumber, LedgerError>;

    /// Makes a pack of the run's own operation live.
    fn seal(&self, sealed: &SealedPack) -> Result<u64, LedgerError>;
}
