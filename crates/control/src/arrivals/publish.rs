//! Publishing a replica: arrival into the store, receipt signed, one transaction, then the answer. Asked
//! again after any crash, the same receipt is the answer. Every chunk is opened afterwards, by a job
//! that the transaction enqueued.

use std::sync::PoisonError;

use catalog::{CatalogError, Conflict, Job, NewReplica};
use model::checkpoint::{Checkpoint, CheckpointItem, ItemState, Origin, VolumeBackup};
use model::grant::Level;
use model::ids::{CheckpointItemId, OperationId, VolumeBackupId, VolumeId};
use model::retention::LIMIT_MAX;
use model::text::{Description, Tag};
use model::time::Timestamp;
use tracing::{error, info};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{CheckpointId, GrantId, ItemId, ManifestDigest, ReplicaId};
use vault::keys::DomainKeys;
use vault::manifest::{Manifest, ManifestBody};
use vault::object::Opener;
use vault::receipt::Receipt;
use vault::restore::VerifyLevel;
use vault::state::{ArrivalRecord, StateRecord};
use vault::transfer::Walked;

use super::{Answer, Arrival, catalog_key, let_go, on_thread, refused};
use crate::Control;
use crate::error::Error;
use crate::leases::LeaseProgress;
use crate::page::found;
use crate::peers::Peer;
use crate::peers::messages::{PeerReply, Refusal, TransferKey};
use crate::peers::{replica_checkpoint_id, replica_id};
use crate::state::{document, vault_mode};

/// How often a receipt is signed again because a head was issued meanwhile.
const TRIES_MAX: u32 = 8;

impl Control {
    pub(super) async fn publish_arrival(&self, peer: &Peer, key: TransferKey) -> Answer {
        let arrival = match self.open_transfers().get(key, peer) {
            Ok(arrival) => arrival,
            // Delivered twice, or asked again because the answer was lost: told again.
            Err(refused) => return self.open_transfers().published(key, peer).ok_or(refused),
        };
        let walked = arrival.walked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(walked) = walked else {
            return Err((Refusal::NotOpen, "the transfer was not verified; verify it first".into()));
        };
        let described = arrival.clone();
        let contents = on_thread(move || contents_of(&described.manifest, &described.ingest.keys())).await?;
        let (checkpoint, item) = self.replica_rows(&arrival, &walked, contents);
        self.write_arrival(&arrival, &item, &walked).await?;
        crash_point!("arrival.state_stored");
        for _ in 0..TRIES_MAX {
            match self.publish_once(&arrival, &walked, &checkpoint, &item).await {
                Err(CatalogError::Conflict(Conflict::HeadMoved)) => {}
                Err(error) => return Err(refused(error)),
                Ok(receipt) => {
                    crash_point!("arrival.published");
                    let answer = PeerReply::Published { receipt, kept_bytes: walked.kept_stored_bytes };
                    self.open_transfers().note_published(key, peer, answer.clone());
                    let forgotten = self.open_transfers().forget(key.operation_id);
                    self.wakes().verifier.notify_one();
                    info!(region = %peer.name, item.id = %item.id, "published a replica");
                    let_go(forgotten.into_iter().chain([arrival])).await?;
                    return Ok(answer);
                }
            }
        }
        Err((Refusal::Unavailable, "heads are being issued; ask again".into()))
    }

    async fn publish_once(
        &self,
        arrival: &Arrival,
        walked: &Walked,
        checkpoint: &Checkpoint,
        item: &CheckpointItem,
    ) -> Result<Vec<u8>, CatalogError> {
        let region = self.catalog().region().await?;
        let head_counter = region.map_or(0, |region| region.head_counter);
        let receipt = self.receipt(arrival, walked, item, head_counter).sign(self.identity());
        let receipt = receipt.map_err(|error| CatalogError::Corrupt { what: error.to_string() })?;
        let new = NewReplica {
            key: catalog_key(&arrival.peer, &arrival.grant, &arrival.request),
            attempt: arrival.attempt,
            source_project_id: arrival.request.source_project_id.clone(),
            checkpoint: checkpoint.clone(),
            item: item.clone(),
            mode: arrival.grant.mode,
            level: Level::Stored,
            stored_bytes: walked.stored_bytes,
            receipt,
            head_counter,
        };
        Ok(self.catalog().publish_replica(&new, self.now()).await?.receipt)
    }

    fn receipt(
        &self,
        arrival: &Arrival,
        walked: &Walked,
        item: &CheckpointItem,
        head_counter: u64,
    ) -> Receipt {
        let origin = item.origin.as_ref().expect("replica rows are made with their origin");
        Receipt {
            source_region: arrival.peer.card.region(),
            destination_region: self.identity().region(),
            incarnation: self.parts().incarnation,
            signing_key: self.identity().signing_key_id(),
            grant: GrantId(arrival.grant.id.bytes()),
            destination_project: arrival.grant.destination_project_id.to_string(),
            replica: ReplicaId(item.id.bytes()),
            generation: arrival.request.generation,
            manifest: walked.manifest,
            domain: walked.domain,
            mode: vault_mode(arrival.grant.mode),
            level: vault::receipt::Level::Stored,
            key_checks: Vec::new(),
            object_count: walked.object_count,
            stored_bytes: walked.stored_bytes,
            keep_until_ms: origin.keep_until.millis(),
            published_ms: self.now().millis(),
            head_counter,
        }
    }

    /// Writes the arrival into the store, so that the store alone can rebuild it. Before the receipt.
    async fn write_arrival(
        &self,
        arrival: &Arrival,
        item: &CheckpointItem,
        walked: &Walked,
    ) -> Result<(), (Refusal, String)> {
        let origin = item.origin.as_ref().expect("replica rows are made with their origin");
        let record = ArrivalRecord {
            replica: ReplicaId(item.id.bytes()),
            generation: arrival.request.generation,
            source_region: arrival.peer.card.region(),
            source_project: arrival.request.source_project_id.to_string(),
            destination_project: arrival.grant.destination_project_id.to_string(),
            grant: GrantId(arrival.grant.id.bytes()),
            manifest: walked.manifest,
            domain: walked.domain,
            mode: vault_mode(arrival.grant.mode),
            level: vault::receipt::Level::Stored,
            arrived_ms: origin.arrived_at.millis(),
            keep_until_ms: origin.keep_until.millis(),
            receipt: Vec::new(),
            document: document::of_arrival(item, walked.object_count, walked.stored_bytes),
        };
        self.write_state(StateRecord::Arrival(record))
            .await
            .map_err(|error| (Refusal::Unavailable, error.to_string()))
    }

    fn replica_rows(
        &self,
        arrival: &Arrival,
        walked: &Walked,
        contents: Contents,
    ) -> (Checkpoint, CheckpointItem) {
        let request = &arrival.request;
        let project = &arrival.grant.destination_project_id;
        let region = arrival.peer.card.region();
        let now = self.now();
        // A wish only lengthens, and never beyond what a policy can say.
        let wished = i64::from(request.keep_days.unwrap_or(0)).min(LIMIT_MAX);
        let keep_days = i64::from(arrival.grant.keep_days_min).max(wished);
        let checkpoint_id = replica_checkpoint_id(region, request.source_checkpoint_id, project);
        let origin = Origin {
            region: arrival.peer.name.clone(),
            project_id: request.source_project_id.clone(),
            checkpoint_id: request.source_checkpoint_id,
            checkpoint_item_id: request.source_item_id,
            replication_record_id: request.record_id,
            arrived_at: now,
            keep_until: now.plus_days(keep_days),
            generation: request.generation,
        };
        let checkpoint = Checkpoint {
            id: checkpoint_id,
            project_id: project.clone(),
            policy_id: None,
            plan_id: format!("fake_{checkpoint_id}"),
            plan_name: format!("replicas from {}", arrival.peer.name),
            auto_trigger: request.by_scheduler,
            created_at: now,
        };
        let name = request.replica_name.clone();
        let description = request.replica_description.as_deref().and_then(|text| Description::new(text).ok());
        let item = CheckpointItem {
            id: replica_id(region, request.source_item_id, project, request.generation),
            checkpoint_id,
            project_id: project.clone(),
            policy_id: None,
            resource_id: contents.resource_id,
            resource_name: contents.resource_name,
            name: name.unwrap_or_else(|| format!("rep_from_{}", request.source_item_id)),
            description,
            state: ItemState::Available,
            auto_trigger: request.by_scheduler,
            incremental: false,
            progress_percent: 100,
            progress_bytes: walked.new_stored_bytes,
            logical_bytes: contents.logical_bytes,
            added_bytes: walked.new_stored_bytes,
            manifest_digest: Some(walked.manifest.0),
            domain: Some(walked.domain.0),
            operation_id: OperationId::from_entropy(self.entropy_bytes()),
            sequence: arrival.manifest.fields().sequence,
            origin: Some(origin),
            created_at: now,
            updated_at: now,
            protected_at: Some(contents.protected_at),
            finished_at: Some(now),
            expired_at: None,
            failure: None,
            volumes: contents.volumes.into_iter().map(|volume| self.with_id(volume)).collect(),
            tags: contents.tags,
        };
        (checkpoint, item)
    }

    fn with_id(&self, volume: VolumeBackup) -> VolumeBackup {
        VolumeBackup { id: VolumeBackupId::from_entropy(self.entropy_bytes()), ..volume }
    }

    /// Carries out one verification job: opens every chunk of a replica that arrived and raises its level.
    pub(crate) async fn verify_replica(&self, job: &Job) -> Result<(), Error> {
        let lease = &job.lease;
        let item_id = CheckpointItemId::from_bytes(lease.subject);
        let item = found(self.catalog().item_by_id(item_id).await)?;
        let Some((item, digest, domain)) =
            item.and_then(|item| Some((item.clone(), item.manifest_digest?, item.domain?)))
        else {
            return Ok(self.catalog().finish_job(lease, self.now()).await?);
        };
        let vault = self.vault_of_domain(domain, &item.project_id).await?;
        let (level, proved) = if vault.keys().is_restorable() {
            (VerifyLevel::Opened, Level::Opened)
        } else {
            (VerifyLevel::Stored, Level::Stored)
        };
        let progress = LeaseProgress::new();
        let counting = progress.clone();
        let work = move || vault.verify_item(ManifestDigest(digest), level, counting.as_ref());
        match self.under_lease(lease, &progress, async |_| Ok(()), work).await? {
            Ok(_) => {
                self.catalog().finish_verification(lease, item_id, proved, self.now()).await?;
                crash_point!("verify.level_raised");
                Ok(())
            }
            Err(VaultError::Stopped) => Ok(()),
            Err(failure) => {
                error!(item.id = %item_id, %failure, "a replica could not be opened");
                self.try_later(job, "damaged", &failure.to_string()).await
            }
        }
    }
}

/// What the manifest says of an item, as far as this region may read it.
pub(crate) struct Contents {
    pub(crate) resource_id: model::ids::ResourceId,
    pub(crate) resource_name: String,
    pub(crate) logical_bytes: u64,
    pub(crate) protected_at: Timestamp,
    pub(crate) read_until: Timestamp,
    /// Without ids of their own.
    pub(crate) volumes: Vec<VolumeBackup>,
    pub(crate) tags: Vec<Tag>,
    /// At the region that made it.
    pub(crate) item: ItemId,
    pub(crate) checkpoint: CheckpointId,
    pub(crate) project_id: String,
    /// Empty where the description is sealed, like what follows.
    pub(crate) checkpoint_name: String,
    pub(crate) policy_id: Option<String>,
    pub(crate) document: String,
}

/// Opens what a region may read of a manifest.
pub(crate) fn contents_of(manifest: &Manifest, keys: &DomainKeys) -> Result<Contents, VaultError> {
    let mut opener = Opener::new()?;
    let body: ManifestBody = manifest.body(keys, &mut opener)?;
    let bad_id = |_| VaultError::bad_format("manifest body", "an id that is not one");
    let description = if keys.is_restorable() {
        manifest.description(keys, &mut opener)?
    } else {
        vault::manifest::Description::default()
    };
    let mut volumes = Vec::with_capacity(body.volumes.len());
    for volume in &body.volumes {
        let described = description.volumes.iter().find(|described| described.volume_id == volume.volume_id);
        let volume_id: VolumeId = volume.volume_id.parse().map_err(bad_id)?;
        volumes.push(VolumeBackup {
            id: VolumeBackupId::from_bytes([0; 16]),
            volume_name: described.map_or_else(|| volume_id.to_string(), |described| described.name.clone()),
            volume_id,
            size_bytes: volume.shape.size_bytes(),
            bootable: described.is_some_and(|described| described.is_bootable),
        });
    }
    let tags = description.tags.iter().filter_map(|tag| Tag::new(&tag.key, &tag.value).ok());
    Ok(Contents {
        resource_id: body.resource_id.parse().map_err(bad_id)?,
        resource_name: if description.resource_name.is_empty() {
            body.resource_id.clone()
        } else {
            description.resource_name.clone()
        },
        logical_bytes: body.logical_bytes(),
        protected_at: Timestamp::from_millis(body.started_ms),
        read_until: Timestamp::from_millis(body.ended_ms),
        volumes,
        tags: tags.collect(),
        item: body.item,
        checkpoint: body.checkpoint,
        project_id: body.project_id,
        checkpoint_name: description.checkpoint_name,
        policy_id: description.policy.map(|policy| policy.key),
        document: description.document,
    })
}
