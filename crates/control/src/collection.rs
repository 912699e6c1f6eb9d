//! The collection worker: one vault at a time, under a lease, ordered by the timer when a quarantine has ended
//! or a vault has changed, or by an operator. The vault does the work (`vault::collect`); here is the ledger
//! that it asks, over the catalog, and what people see of it. Killed anywhere, the next run begins anew.

use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Catalog, CatalogError, Collection, CollectionEnd, CollectionProgress, Conflict, Job, Lease};
use catalog::{Postponement, VaultRow};
use model::ids::{CheckpointItemId, OperationId};
use model::time::Timestamp;
use tokio::runtime::Handle;
use tracing::{error, info, warn};
use vault::collect::{
    CollectError, CollectLedger, CollectOrder, CollectPack, CollectProgress, CollectSettings,
    CollectSnapshot, Collected, CondemnedPack, Stage,
};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{Incarnation, ItemId, ManifestDigest, PackNumber, VaultId};
use vault::layout::PackName;
use vault::ledger::{LedgerError, SealedPack};
use vault::progress::Progress;
use vault::seams::Clock;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::Error;
use crate::leases::LeaseProgress;
use crate::ledger::sealed_row;

/// How long a collection that nothing but a person can mend waits before it looks again, in seconds.
const UNSAFE_WAIT_SECONDS: i64 = 3600;

/// How long deleted items can be had back, and when vaults are collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectionRules {
    /// How long a deleted or expired item is quarantined, in seconds.
    pub quarantine_seconds: i64,
    /// A vault is collected by itself at most this often, in seconds.
    pub every_seconds: i64,
    /// Limits of one run.
    pub limits: CollectSettings,
}

impl Default for CollectionRules {
    fn default() -> CollectionRules {
        CollectionRules {
            quarantine_seconds: 7 * 86_400,
            every_seconds: 86_400,
            limits: CollectSettings::default(),
        }
    }
}

/// A vault as an operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultView {
    /// The vault.
    pub vault: VaultRow,
    /// Its newest collection, if there was one.
    pub collection: Option<Collection>,
}

impl VaultView {
    /// Seconds until the phase of a collection under way is over, by its speed so far.
    pub fn seconds_left(&self) -> Option<u64> {
        let collection = self.collection.as_ref().filter(|collection| collection.phase != "done")?;
        let left = collection.total_bytes.checked_sub(collection.done_bytes)?;
        let taken = collection.updated_at.millis().saturating_sub(collection.phase_begun_at.millis());
        let seconds = u128::from(left) * u128::from(taken) / 1000;
        seconds.checked_div(u128::from(collection.done_bytes)).and_then(|seconds| u64::try_from(seconds).ok())
    }
}

impl Control {
    /// All vaults, for those who watch the region.
    pub async fn vault_views(&self, caller: &Caller) -> Result<Vec<VaultView>, Error> {
        caller.may_in_region(Action::Watch)?;
        let collections = self.catalog().collections().await?;
        let view = |vault: VaultRow| {
            let of_vault = |collection: &&Collection| collection.vault_id == vault.id;
            VaultView { collection: collections.iter().find(of_vault).cloned(), vault }
        };
        Ok(self.catalog().vaults().await?.into_iter().map(view).collect())
    }

    /// Orders the collection of a vault now, for the operator.
    pub async fn order_collection(&self, caller: &Caller, vault: VaultId) -> Result<(), Error> {
        caller.must_operate()?;
        self.catalog().order_collection(vault.0, self.now()).await?;
        self.wakes().collector.notify_one();
        Ok(())
    }

    /// Orders the collections that are due.
    pub(crate) async fn order_due_collections(&self) -> Result<(), Error> {
        let every_seconds = self.parts().collection.every_seconds;
        if self.catalog().order_due_collections(every_seconds, self.now()).await? > 0 {
            crash_point!("collection.ordered");
            self.wakes().collector.notify_one();
        }
        Ok(())
    }

    /// Carries out one collection.
    pub(crate) async fn collect_vault(&self, job: &Job) -> Result<(), Error> {
        let lease = job.lease;
        let Some(row) = self.catalog().vault(lease.subject).await? else {
            return Ok(self.catalog().finish_job(&lease, self.now()).await?);
        };
        let vault = self.open_vault(row).await?;
        let parts = self.parts();
        let ledger = CatalogCollector {
            catalog: self.catalog().clone(),
            lease,
            operation: OperationId::from_entropy(self.entropy_bytes()),
            incarnation: parts.incarnation,
            clock: parts.clock.clone(),
            runtime: Handle::current(),
        };
        let order = CollectOrder {
            spill_folder: parts.index_dir.join(format!("{}.collect", vault.id())),
            settings: parts.collection.limits,
        };
        let progress = Arc::new(Watched { lease: LeaseProgress::new(), stage: Mutex::default() });
        let note = async |_: Arc<LeaseProgress>| {
            let stage = progress.stage();
            let noted = CollectionProgress {
                phase: stage.phase.word(),
                done_bytes: stage.done_bytes,
                total_bytes: stage.total_bytes,
            };
            self.catalog().record_collection_progress(&lease, lease.subject, &noted, self.now()).await
        };
        let watched = progress.clone();
        let work = move || vault.collect(&order, &ledger, watched.as_ref());
        let done = self.under_lease(&lease, &progress.lease, note, work).await?;
        self.end_collection(job, done).await
    }

    async fn end_collection(&self, job: &Job, done: Result<Collected, CollectError>) -> Result<(), Error> {
        let lease = &job.lease;
        match done {
            Ok(collected) => {
                let end = CollectionEnd {
                    live_bytes: collected.live_bytes,
                    deleted_pack_count: collected.deleted_pack_count,
                    deleted_bytes: collected.deleted_bytes,
                    rewritten_bytes: collected.rewritten_bytes,
                    reason: collected.rewriting_waits,
                };
                self.catalog().finish_collection(lease, lease.subject, &end, self.now()).await?;
                crash_point!("collection.finished");
                info!(vault.id = %VaultId(lease.subject), live_bytes = end.live_bytes,
                    deleted_bytes = end.deleted_bytes, rewritten_bytes = end.rewritten_bytes, "collected a vault");
                Ok(())
            }
            Err(CollectError::Vault(VaultError::Stopped)) => Ok(()),
            Err(CollectError::Vault(failure)) if failure.is_passing() => {
                let reason = format!("{failure}; the collection begins anew by itself when this is mended");
                warn!(vault.id = %VaultId(lease.subject), reason, "a collection waits");
                self.try_later(job, "store", &reason).await
            }
            Err(failure) => {
                error!(vault.id = %VaultId(lease.subject), %failure, "a vault cannot be collected");
                let reason = failure.to_string();
                let try_at = self.now().plus_seconds(UNSAFE_WAIT_SECONDS);
                let postponement = Postponement { try_at, reason_code: "damaged", reason: &reason };
                match self.catalog().postpone_job(lease, &postponement, self.now()).await {
                    Err(CatalogError::Fenced) => Ok(()),
                    other => Ok(other?),
                }
            }
        }
    }
}

/// What a run tells of itself, and how it learns that its lease is gone.
struct Watched {
    lease: Arc<LeaseProgress>,
    stage: Mutex<Stage>,
}

impl Watched {
    fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CollectProgress for Watched {
    fn at(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn is_stopped(&self) -> bool {
        Progress::is_stopped(self.lease.as_ref())
    }
}

/// [`CollectLedger`] over the catalog, under one lease. Its subject is the vault.
struct CatalogCollector {
    catalog: Catalog,
    lease: Lease,
    /// Under which this run rewrites.
    operation: OperationId,
    incarnation: Incarnation,
    clock: Arc<dyn Clock>,
    runtime: Handle,
}

impl CatalogCollector {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_ms())
    }

    fn ask<T>(&self, asked: impl Future<Output = Result<T, CatalogError>>) -> Result<T, LedgerError> {
        self.runtime.block_on(asked).map_err(|error| match error {
            CatalogError::Fenced | CatalogError::Conflict(Conflict::OperationNotOpen) => {
                LedgerError::OperationClosed
            }
            CatalogError::Conflict(Conflict::PackNotReserved { number }) => {
                LedgerError::NotReserved { number: PackNumber(number) }
            }
            other => LedgerError::Unavailable(Box::new(other)),
        })
    }
}

fn numbers(packs: &[PackNumber]) -> Vec<u64> {
    packs.iter().map(|pack| pack.0).collect()
}

impl CollectLedger for CatalogCollector {
    fn condemn_manifests(&self, limit: u32) -> Result<Vec<ManifestDigest>, LedgerError> {
        let vault = self.lease.subject;
        let gone = self.ask(self.catalog.condemn_manifests(&self.lease, vault, limit, self.now()))?;
        Ok(gone.into_iter().map(ManifestDigest).collect())
    }

    fn condemn_strays(
        &self,
        manifests: &[(ManifestDigest, ItemId)],
    ) -> Result<Vec<ManifestDigest>, LedgerError> {
        let pair =
            |(digest, item): &(ManifestDigest, ItemId)| (digest.0, CheckpointItemId::from_bytes(item.0));
        let pairs: Vec<([u8; 32], CheckpointItemId)> = manifests.iter().map(pair).collect();
        let vault = self.lease.subject;
        let condemned = self.ask(self.catalog.condemn_stray_manifests(&self.lease, vault, &pairs))?;
        Ok(condemned.into_iter().map(ManifestDigest).collect())
    }

    fn note_manifests_deleted(&self, manifests: &[ManifestDigest]) -> Result<(), LedgerError> {
        let digests: Vec<[u8; 32]> = manifests.iter().map(|digest| digest.0).collect();
        let vault = self.lease.subject;
        self.ask(self.catalog.note_manifests_deleted(&self.lease, vault, &digests, self.now()))
    }

    fn snapshot(&self) -> Result<CollectSnapshot, LedgerError> {
        let vault = self.lease.subject;
        let begun =
            self.ask(self.catalog.begin_collection(&self.lease, vault, self.operation, self.now()))?;
        let roots = begun.roots.into_iter().map(ManifestDigest).collect();
        Ok(CollectSnapshot { commit_seq: begun.commit_seq, roots })
    }

    fn packs(&self, snapshot: u64, after: PackNumber, limit: u32) -> Result<Vec<CollectPack>, LedgerError> {
        let packs = self.ask(self.catalog.collectable_packs(self.lease.subject, snapshot, after.0, limit))?;
        let pack = |pack: catalog::CollectablePack| CollectPack {
            name: PackName::new(PackNumber(pack.number), Incarnation(pack.incarnation)),
            bytes: pack.bytes,
            is_free: pack.is_free,
        };
        Ok(packs.into_iter().map(pack).collect())
    }

    fn condemn(&self, snapshot: u64, packs: &[PackNumber]) -> Result<Vec<PackNumber>, LedgerError> {
        let vault = self.lease.subject;
        let condemned =
            self.ask(self.catalog.condemn_packs(&self.lease, vault, &numbers(packs), snapshot))?;
        Ok(condemned.into_iter().map(PackNumber).collect())
    }

    fn condemn_unsealed(&self, snapshot: u64, limit: u32) -> Result<u64, LedgerError> {
        let vault = self.lease.subject;
        self.ask(self.catalog.condemn_unsealed_packs(&self.lease, vault, snapshot, limit))
    }

    fn condemned(&self, limit: u32) -> Result<Vec<CondemnedPack>, LedgerError> {
        let doomed = self.ask(self.catalog.condemned_packs(self.lease.subject, limit))?;
        let pack = |pack: catalog::DoomedPack| {
            let incarnation = pack.incarnation.map_or(self.incarnation, Incarnation);
            let name = PackName::new(PackNumber(pack.number), incarnation);
            CondemnedPack { name, bytes: pack.bytes }
        };
        Ok(doomed.into_iter().map(pack).collect())
    }

    fn note_deleted(&self, packs: &[PackNumber]) -> Result<(), LedgerError> {
        let vault = self.lease.subject;
        self.ask(self.catalog.note_packs_deleted(&self.lease, vault, &numbers(packs)))
    }

    fn known(&self, packs: &[PackNumber]) -> Result<(Vec<bool>, PackNumber), LedgerError> {
        let (known, last) = self.ask(self.catalog.known_packs(self.lease.subject, &numbers(packs)))?;
        Ok((known, PackNumber(last)))
    }

    fn release_pins(&self, snapshot: u64) -> Result<u64, LedgerError> {
        self.ask(self.catalog.release_pins(&self.lease, self.lease.subject, snapshot))
    }

    fn reserve(&self) -> Result<PackNumber, LedgerError> {
        self.ask(self.catalog.reserve_pack(self.operation)).map(PackNumber)
    }

    fn seal(&self, sealed: &SealedPack) -> Result<u64, LedgerError> {
        self.ask(self.catalog.seal_pack(self.operation, &sealed_row(sealed)))
    }
}
