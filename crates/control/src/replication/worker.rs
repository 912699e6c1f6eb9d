//! The replicator: moves each record forward, one durable step at a time, and may die anywhere.
//!
//! There is one road for the first try, the retry and the restart: open the transfer at the far end
//! (which answers `complete` with the receipt if the replica is there), then do what the record's
//! state says. Trouble that may pass leaves the record where it is, with a reason and a time.

use std::sync::Arc;

use catalog::{Job, RecordChange, StoredReplica, TransferProgress};
use model::checkpoint::{CheckpointItem, ItemState};
use model::grant::Mode;
use model::ids::{GrantId, ReplicationRecordId};
use model::replication::{RecordEvent, RecordState, ReplicationRecord};
use tracing::{info, warn};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::transfer::{Copied, CopyOrder, PeerError, Verification};
use vault::vault::Vault;

use super::circuits::UNREACHABLE;
use crate::error::Error;
use crate::leases::LeaseProgress;
use crate::page::found;
use crate::peers::Peer;
use crate::peers::far_end::FarEnd;
use crate::peers::messages::{OpenRequest, Refusal};
use crate::{Control, blocking};

/// Bases that one offer names, newest first.
const BASES_MAX: u32 = 8;
/// Connections of an accelerated transfer.
const CONNECTIONS_ACCELERATED: u32 = 4;

/// How often one claim copies again because the destination misses something.
const ROUNDS_MAX: u32 = 3;

/// Why a record's step ended early.
pub(crate) enum Halt {
    /// It may pass: wait, with a reason.
    Later { code: &'static str, reason: String },
    /// It will not pass: the record fails.
    Never { code: &'static str, reason: String },
    /// It turned out to be unnecessary or impossible before it began.
    NotNeeded { code: &'static str, reason: String },
    /// The lease is gone or the process ends.
    Stopped,
    /// A fault of ours.
    Broken(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Broken(error)
    }
}

impl From<catalog::CatalogError> for Halt {
    fn from(error: catalog::CatalogError) -> Halt {
        Halt::Broken(error.into())
    }
}

impl Halt {
    /// What the destination refused. All but a fork may pass: grants are made, space is freed.
    fn refused(refusal: Refusal, why: String) -> Halt {
        let code = match refusal {
            Refusal::Fork => return Halt::Never { code: "fork", reason: why },
            Refusal::Gone => return Halt::Never { code: "deleted-there", reason: why },
            Refusal::NotPaired => "not-paired",
            Refusal::NoGrant => "no-grant",
            Refusal::Full => "destination-full",
            Refusal::WrongDomain => "wrong-domain",
            Refusal::WrongWrap => "wrong-wrap",
            Refusal::Malformed => "refused",
            Refusal::Overtaken | Refusal::NotOpen | Refusal::Unavailable | Refusal::InvitationRefused => {
                "peer-busy"
            }
        };
        Halt::Later { code, reason: format!("{why}; the replication goes on by itself when this is mended") }
    }
}

impl From<VaultError> for Halt {
    fn from(error: VaultError) -> Halt {
        if error.is_passing() {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return Halt::Later { code: "transfer", reason: format!("{error}{cause}") };
        }
        Halt::Never { code: "source-damaged", reason: format!("{error}; verify the item and back up again") }
    }
}

impl Control {
    /// Carries out one replication job.
    pub(crate) async fn replicate(&self, job: &Job) -> Result<(), Error> {
        let id = ReplicationRecordId::from_bytes(job.lease.subject);
        let found = found(self.catalog().record_by_id(id).await)?;
        let Some(record) = found.filter(|record| !record.state.is_final()) else {
            return Ok(self.catalog().finish_job(&job.lease, self.now()).await?);
        };
        let region = &record.destination.region;
        if self.is_held_back(job, region).await? {
            return Ok(());
        }
        let halt = match self.move_forward(job, &record).await {
            Ok(()) => return Ok(()),
            Err(halt) => halt,
        };
        match halt {
            Halt::Later { code: UNREACHABLE, reason } => {
                warn!(record.id = %id, reason, "a replication waits");
                self.note_silence(job, region, &reason).await
            }
            Halt::Later { code, reason } => {
                warn!(record.id = %id, code, reason, "a replication waits");
                self.try_later(job, code, &reason).await
            }
            Halt::Never { code, reason } => {
                warn!(record.id = %id, code, reason, "a replication failed");
                self.end_record(job, id, RecordEvent::GaveUp, code, reason).await
            }
            Halt::NotNeeded { code, reason } => {
                info!(record.id = %id, code, "a replication was skipped");
                self.end_record(job, id, RecordEvent::NotNeeded, code, reason).await
            }
            Halt::Stopped => Ok(()),
            Halt::Broken(error) => Err(error),
        }
    }

    async fn end_record(
        &self,
        job: &Job,
        id: ReplicationRecordId,
        event: RecordEvent,
        code: &str,
        reason: String,
    ) -> Result<(), Error> {
        let change = RecordChange { reason_code: code.into(), reason };
        self.catalog().move_record(&job.lease, id, event, &change, self.now()).await?;
        Ok(())
    }

    async fn step(
        &self,
        job: &Job,
        id: ReplicationRecordId,
        event: RecordEvent,
    ) -> Result<RecordState, Halt> {
        let change = RecordChange::default();
        Ok(self.catalog().move_record(&job.lease, id, event, &change, self.now()).await?)
    }

    async fn move_forward(&self, job: &Job, record: &ReplicationRecord) -> Result<(), Halt> {
        let item = self.readable_item(record).await?;
        let digest = item.manifest_digest.map(ManifestDigest).ok_or_else(|| Halt::Never {
            code: "no-manifest",
            reason: "the item has no manifest; back up again".into(),
        })?;
        let peer = self.peers().confirmed(&record.destination.region).ok_or_else(|| Halt::Later {
            code: "not-paired",
            reason: format!("region {} is not paired (any more)", record.destination.region),
        })?;
        if let Some(reason) = peer.expiry_at(self.now()) {
            return Err(Halt::Later { code: "card-expired", reason });
        }
        let vault = self.vault_of_project(&item.project_id).await?;
        let mut state = self.step(job, record.id, RecordEvent::Claimed).await?;
        crash_point!("replicate.claimed");
        let (grant_id, mode) = self.grant_of(record).await?;
        let order = self.copy_order(job, record, &item, (digest, mode), &vault, &peer).await?;
        let far_end = Arc::new(FarEnd::new(self, &peer, open_request(record, grant_id)));
        for _ in 0..ROUNDS_MAX {
            // Whatever the state says, the far end may have forgotten an open transfer; copying opens it
            // again and sends what is missing, which is nothing when nothing was lost.
            let copied = self.copy(job, record, &order, &vault, &far_end).await?;
            if let Some(receipt) = copied.receipt {
                return self.store_receipt(job, record, &peer, digest, receipt, None).await;
            }
            if state == RecordState::Copying {
                state = self.step(job, record.id, RecordEvent::ObjectsStored).await?;
                crash_point!("replicate.objects_stored");
            }
            state = self.verify(job, record, state, &far_end).await?;
            if state == RecordState::Publishing {
                let publish = |far_end: &FarEnd| vault::transfer::Peer::publish(far_end);
                let receipt = self.at_far_end(&far_end, publish).await?;
                let kept_bytes = far_end.kept_bytes();
                return self.store_receipt(job, record, &peer, digest, receipt, kept_bytes).await;
            }
        }
        let reason = "the destination goes on missing objects; it is tried again".into();
        Err(Halt::Later { code: "objects-missing", reason })
    }

    /// The item, as long as it can be read. One that is gone before its turn is skipped, and said so.
    async fn readable_item(&self, record: &ReplicationRecord) -> Result<CheckpointItem, Halt> {
        let item = found(self.catalog().item_by_id(record.item_id).await)?;
        let is_readable = |item: &CheckpointItem| {
            matches!(item.state, ItemState::Available | ItemState::WaitingRestore | ItemState::Restoring)
        };
        match item {
            Some(item) if is_readable(&item) => Ok(item),
            _ if record.state == RecordState::Waiting => Err(Halt::NotNeeded {
                code: "expired",
                reason: "expired, never replicated: the backup was gone before its turn".into(),
            }),
            _ => Err(Halt::Never { code: "source-gone", reason: "the backup is gone".into() }),
        }
    }

    /// The grant to travel under now: the one that is open, which may be newer than the order. With none
    /// known the record's own is shown, and the destination says what it thinks of it.
    async fn grant_of(&self, record: &ReplicationRecord) -> Result<(GrantId, Mode), Halt> {
        let (project, destination) = (&record.source_project_id, &record.destination);
        let mut grant = self.catalog().remote_grant(project, destination, self.now()).await?;
        if grant.as_ref().is_none_or(|grant| grant.id != record.grant_id) || record.reason_code == "no-grant"
        {
            self.refresh_grants(&destination.region).await;
            grant = self.catalog().remote_grant(project, destination, self.now()).await?;
        }
        Ok(grant.map_or((record.grant_id, Mode::Restorable), |grant| (grant.id, grant.mode)))
    }

    async fn copy_order(
        &self,
        job: &Job,
        record: &ReplicationRecord,
        item: &CheckpointItem,
        (digest, mode): (ManifestDigest, Mode),
        vault: &Vault,
        peer: &Peer,
    ) -> Result<CopyOrder, Halt> {
        let (fields, wraps) = self.papers_of(vault, digest, peer, mode).await?;
        let bases =
            self.catalog().replicated_manifests(&item.resource_id, &record.destination, BASES_MAX).await?;
        // What the item added here is what its difference to a base amounts to; without one, all of it goes.
        let planned_bytes = if bases.is_empty() { fields.stored_bytes } else { item.added_bytes };
        let planned = TransferProgress { planned_bytes, ..totals(record, 0, 0) };
        self.catalog().record_transfer_progress(&job.lease, record.id, &planned, self.now()).await?;
        Ok(CopyOrder {
            manifest: digest,
            attempt: job.lease.fence,
            bases: bases.into_iter().map(ManifestDigest).collect(),
            wraps,
            cards: vec![self.identity().card().bytes().to_vec()],
            connections: if record.enable_acceleration { CONNECTIONS_ACCELERATED } else { 1 },
        })
    }

    async fn copy(
        &self,
        job: &Job,
        record: &ReplicationRecord,
        order: &CopyOrder,
        vault: &Vault,
        far_end: &Arc<FarEnd>,
    ) -> Result<Copied, Halt> {
        let progress = LeaseProgress::new();
        far_end.watch(&progress);
        let at_start = self.catalog().record_by_id(record.id).await?;
        let before = at_start.clone();
        let note = async |progress: Arc<LeaseProgress>| {
            let totals = totals(&before, progress.moved_bytes(), 0);
            self.catalog().record_transfer_progress(&job.lease, record.id, &totals, self.now()).await
        };
        let (vault, order, far, counting) = (vault.clone(), order.clone(), far_end.clone(), progress.clone());
        let work = move || vault.copy_item(&order, far.as_ref(), counting.as_ref());
        let copied = self.under_lease(&job.lease, &progress, note, work).await?;
        // What was acknowledged before a failure was sent too.
        let totals = match &copied {
            Ok(copied) => totals(&at_start, copied.sent_bytes, copied.resent_bytes),
            Err(_) => totals(&at_start, progress.moved_bytes(), 0),
        };
        self.catalog().record_transfer_progress(&job.lease, record.id, &totals, self.now()).await?;
        crash_point!("replicate.copied");
        copied.map_err(|error| self.halt(error, far_end))
    }

    async fn verify(
        &self,
        job: &Job,
        record: &ReplicationRecord,
        state: RecordState,
        far_end: &Arc<FarEnd>,
    ) -> Result<RecordState, Halt> {
        let verification = self.at_far_end(far_end, vault::transfer::Peer::verify).await?;
        let event = match (verification, state) {
            (Verification::Complete, RecordState::Publishing) => return Ok(state),
            (Verification::Complete, _) => RecordEvent::TreeComplete,
            (Verification::Missing(_), _) => RecordEvent::ObjectsMissing,
        };
        let state = self.step(job, record.id, event).await?;
        crash_point!("replicate.verified");
        Ok(state)
    }

    /// One call of the far end, on a thread that may wait.
    async fn at_far_end<T, Call>(&self, far_end: &Arc<FarEnd>, call: Call) -> Result<T, Halt>
    where
        T: Send + 'static,
        Call: FnOnce(&FarEnd) -> Result<T, PeerError> + Send + 'static,
    {
        let far = far_end.clone();
        let called = blocking(move || call(&far)).await?;
        called
            .map_err(|cause| self.halt(VaultError::Peer { doing: "asking the destination", cause }, far_end))
    }

    /// Why a copy ended early: what the destination refused, or what this side could not do.
    fn halt(&self, error: VaultError, far_end: &FarEnd) -> Halt {
        if matches!(error, VaultError::Stopped) {
            return Halt::Stopped;
        }
        match far_end.take_refusal() {
            Some(refusal) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                Halt::refused(refusal, cause.unwrap_or_else(|| error.to_string()))
            }
            None if is_silent(&error) => Halt::Later {
                code: UNREACHABLE,
                reason: format!("region {} does not answer; it is tried again by itself", far_end.region()),
            },
            None => Halt::from(error),
        }
    }

    /// Checks the receipt against everything we know, then makes the record `done`. Until then the
    /// destination is ahead of us, which the next round mends; never the other way round.
    async fn store_receipt(
        &self,
        job: &Job,
        record: &ReplicationRecord,
        peer: &Peer,
        digest: ManifestDigest,
        receipt: Vec<u8>,
        kept_bytes: Option<u64>,
    ) -> Result<(), Halt> {
        crash_point!("replicate.receipt_received");
        let replica = self
            .check_receipt(record, peer, digest, &receipt)
            .map_err(|reason| Halt::Later { code: "receipt-refused", reason })?;
        let known = self.catalog().record_by_id(record.id).await?;
        let stored = StoredReplica {
            receipt,
            head_counter: replica.head_counter,
            destination_checkpoint_id: replica.checkpoint_id,
            destination_item_id: replica.item_id,
            level: replica.level,
            progress: TransferProgress {
                // Counted less than was kept: this process died before it could write down what it had sent.
                sent_bytes: known.sent_bytes.max(kept_bytes.unwrap_or(0)),
                // What was sent beyond what the destination kept was lost on the way and sent twice.
                resent_bytes: kept_bytes
                    .map_or(known.resent_bytes, |kept| known.sent_bytes.saturating_sub(kept)),
                ..totals(&known, 0, 0)
            },
        };
        self.catalog().finish_replication(&job.lease, record.id, &stored, self.now()).await?;
        crash_point!("replicate.done");
        info!(record.id = %record.id, item.id = %record.item_id, region = %peer.name, "replicated an item");
        Ok(())
    }
}

/// Whether the far end did not answer at all.
fn is_silent(error: &VaultError) -> bool {
    matches!(error, VaultError::Peer { cause: PeerError::Unavailable(_), .. })
}

/// The part of an offer that does not come from the vault.
fn open_request(record: &ReplicationRecord, grant_id: GrantId) -> OpenRequest {
    OpenRequest {
        record_id: record.id,
        attempt: 0,
        generation: record.generation,
        grant_id,
        source_project_id: record.source_project_id.clone(),
        destination_project_id: record.destination.project_id.clone(),
        source_checkpoint_id: record.checkpoint_id,
        source_item_id: record.item_id,
        manifest: Vec::new(),
        bases: Vec::new(),
        wraps: Vec::new(),
        card: Vec::new(),
        replica_name: record.replica_name.clone(),
        replica_description: record.replica_description.clone(),
        by_scheduler: record.by_scheduler,
        keep_days: record.keep_days,
    }
}

/// The totals of a record after this copy.
fn totals(before: &ReplicationRecord, sent_bytes: u64, resent_bytes: u64) -> TransferProgress {
    TransferProgress {
        sent_bytes: before.sent_bytes + sent_bytes,
        resent_bytes: before.resent_bytes + resent_bytes,
        skipped_bytes: before.skipped_bytes,
        planned_bytes: before.planned_bytes,
    }
}
