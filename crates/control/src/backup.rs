//! The backup worker: one item, from its disks to its catalog row.
//!
//! Write order: chunks and nodes in packs, then the manifest, then the row that makes the item
//! available. Killed anywhere, the job is claimed again, the same item is read again at a new point in
//! time, and the packs that were synced are found through the index.

use std::path::Path;

use catalog::{ItemProgress, Job, Lease, SequenceScope, StoredItem};
use model::checkpoint::{Checkpoint, CheckpointItem, Failure, ItemState, VolumeBackup};
use model::ids::CheckpointItemId;
use model::server::{Server, Volume};
use model::time::Timestamp;
use tracing::{info, warn};
use vault::backup::{BackedUp, BackupOrder, Changed, VolumeReader, VolumeSpec};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{CheckpointId, ItemId, ManifestDigest, OperationId};
use vault::manifest::{DescribedVolume, Description, Tag};
use vault::vault::Vault;

use crate::error::Error;
use crate::leases::LeaseProgress;
use crate::page::found;
use crate::servers::disk_format;
use crate::state::document;
use crate::volumes::SourceVolume;
use crate::{Control, blocking};

impl Control {
    /// Carries out one backup job.
    pub(crate) async fn back_up(&self, job: &Job) -> Result<(), Error> {
        let lease = &job.lease;
        let item_id = CheckpointItemId::from_bytes(lease.subject);
        let Some(item) = found(self.catalog().item_by_id(item_id).await)? else {
            return Ok(self.catalog().finish_job(lease, self.now()).await?);
        };
        if item.state != ItemState::Protecting {
            return Ok(self.catalog().finish_job(lease, self.now()).await?);
        }
        let Some(server) = found(self.catalog().server(&item.project_id, &item.resource_id).await)? else {
            return self.fail_backup(lease, &item, "CSBS.6000", "the server is no longer registered").await;
        };
        let disks = match self.open_disks(&item, &server).await? {
            Ok(disks) => disks,
            Err(reason) => return self.fail_backup(lease, &item, "CSBS.9999", &reason).await,
        };
        let vault = self.vault_of_project(&item.project_id).await?;
        match self.read_and_store(lease, &item, &server, disks, &vault).await? {
            Ok(stored) => {
                crash_point!("backup.manifest_stored");
                self.catalog().finish_backup(lease, item.id, &stored, self.now()).await?;
                crash_point!("backup.item_available");
                info!(item.id = %item.id, logical_bytes = stored.logical_bytes,
                    added_bytes = stored.added_bytes, "backed up {}", item.resource_name);
                self.wakes().scheduler.notify_one();
                Ok(())
            }
            Err(VaultError::Stopped) => Ok(()),
            Err(error) if error.is_passing() => {
                let reason = format!("{error}; the backup goes on by itself when this is mended");
                warn!(item.id = %item.id, reason, "a backup waits");
                self.try_later(job, "store", &reason).await
            }
            Err(error) => self.fail_backup(lease, &item, "CSBS.9999", &describe(&error)).await,
        }
    }

    /// Opens every disk of the item. The inner error is for a person: it makes the item `error`.
    async fn open_disks(
        &self,
        item: &CheckpointItem,
        server: &Server,
    ) -> Result<Result<Vec<SourceVolume>, String>, Error> {
        let mut wanted: Vec<Volume> = Vec::with_capacity(item.volumes.len());
        for backup in &item.volumes {
            match server.volumes.iter().find(|volume| volume.id == backup.volume_id) {
                Some(volume) => wanted.push(volume.clone()),
                None => return Ok(Err(format!("volume {} is no longer registered", backup.volume_id))),
            }
        }
        let roots = self.roots();
        blocking(move || {
            let open = |volume: &Volume| {
                let opened = roots.open_reader(Path::new(&volume.path), disk_format(volume.format));
                opened.map(SourceVolume).map_err(|error| {
                    format!(
                        "volume {} cannot be opened: {error}; mend it and run the policy again",
                        volume.id
                    )
                })
            };
            wanted.iter().map(open).collect()
        })
        .await
    }

    async fn read_and_store(
        &self,
        lease: &Lease,
        item: &CheckpointItem,
        server: &Server,
        disks: Vec<SourceVolume>,
        vault: &Vault,
    ) -> Result<Result<StoredItem, VaultError>, Error> {
        let earlier = self.catalog().newest_available_item(&item.project_id, &item.resource_id).await?;
        let domain = vault.keys().domain().0;
        let scope = SequenceScope { domain, incarnation: self.parts().incarnation.0 };
        let sequence = self.catalog().take_item_sequence(lease, item.id, &scope).await?;
        let checkpoint = self.catalog().checkpoint(&item.project_id, item.checkpoint_id).await?;
        let order = backup_order(item, server, sequence, earlier.as_ref(), &checkpoint);
        let logical_bytes: u64 = disks.iter().map(|disk| disk.size_bytes()).sum();
        let specs = self.volume_specs(item).await?;
        let volume_sizes =
            item.volumes.iter().map(|volume| volume.id).zip(disks.iter().map(|disk| disk.size_bytes()));
        let volume_sizes = volume_sizes.collect();
        let progress = LeaseProgress::new();
        let note = async |progress: std::sync::Arc<LeaseProgress>| {
            let bytes = progress.logical_bytes();
            let percent = percent(bytes, logical_bytes);
            let step = ItemProgress { percent, bytes, logical_bytes };
            self.catalog().record_item_progress(lease, item.id, &step, self.now()).await
        };
        let (vault, counting) = (vault.clone(), progress.clone());
        let work = move || {
            let volumes: Vec<(VolumeSpec, &dyn VolumeReader)> =
                specs.into_iter().zip(disks.iter().map(|disk| disk as &dyn VolumeReader)).collect();
            vault.backup(&order, &volumes, counting.as_ref())
        };
        let done = self.under_lease(lease, &progress, note, work).await?;
        Ok(done.map(|backed_up| stored_item(&backed_up, domain, sequence, volume_sizes)))
    }

    /// The disks of an item, with what is known of their changes. A list is used for one try only.
    async fn volume_specs(&self, item: &CheckpointItem) -> Result<Vec<VolumeSpec>, Error> {
        let changes = self.changes().take(item.id);
        let since = match &changes {
            Some(changes) => found(self.catalog().item(&item.project_id, changes.since).await)?,
            None => None,
        };
        let since = since.filter(|since| since.resource_id == item.resource_id);
        let since = since.and_then(|since| since.manifest_digest).map(ManifestDigest);
        let changed = |volume: &VolumeBackup| {
            let mut tracked = changes.iter().flat_map(|changes| &changes.volumes);
            let tracked = tracked.find(|tracked| tracked.volume_id == volume.volume_id)?;
            Some(Changed { since: since?, extents: tracked.extents.clone() })
        };
        let spec = |volume: &VolumeBackup| VolumeSpec {
            volume_id: volume.volume_id.to_string(),
            changed: changed(volume),
        };
        Ok(item.volumes.iter().map(spec).collect())
    }

    async fn fail_backup(
        &self,
        lease: &Lease,
        item: &CheckpointItem,
        code: &str,
        reason: &str,
    ) -> Result<(), Error> {
        warn!(item.id = %item.id, reason, "a backup failed");
        let failure = Failure { operation: "backup".into(), code: code.into(), reason: reason.into() };
        Ok(self.catalog().fail_backup(lease, item.id, &failure, self.now()).await?)
    }
}

fn backup_order(
    item: &CheckpointItem,
    server: &Server,
    sequence: u64,
    earlier: Option<&CheckpointItem>,
    checkpoint: &Checkpoint,
) -> BackupOrder {
    let previous = earlier.and_then(|earlier| earlier.manifest_digest).map(ManifestDigest);
    let described = |volume: &model::server::Volume| DescribedVolume {
        volume_id: volume.id.to_string(),
        name: volume.name.clone(),
        format: volume.format.word().to_owned(),
        is_bootable: volume.bootable,
    };
    let tags = item.tags.iter().map(|tag| Tag { key: tag.key.clone(), value: tag.value.clone() });
    BackupOrder {
        operation: OperationId(item.operation_id.bytes()),
        // Without a base everything is cut and looked up afresh; what is stored already stays stored once.
        bases: previous.filter(|_| item.incremental).into_iter().collect(),
        item: ItemId(item.id.bytes()),
        checkpoint: CheckpointId(item.checkpoint_id.bytes()),
        resource_id: item.resource_id.to_string(),
        project_id: item.project_id.to_string(),
        sequence,
        previous: previous.unwrap_or(ManifestDigest::ZERO),
        description: Description {
            resource_name: server.name.clone(),
            checkpoint_name: item.name.clone(),
            policy: item.policy_id.map(|id| Tag { key: id.to_string(), value: String::new() }),
            tags: tags.collect(),
            volumes: server.volumes.iter().map(described).collect(),
            document: document::of_item(item, checkpoint),
            ..Description::default()
        },
    }
}

fn stored_item(
    backed_up: &BackedUp,
    domain: [u8; 16],
    sequence: u64,
    volume_sizes: Vec<(model::ids::VolumeBackupId, u64)>,
) -> StoredItem {
    StoredItem {
        manifest_digest: backed_up.manifest.digest().0,
        domain,
        sequence,
        incremental: backed_up.base.is_some(),
        logical_bytes: backed_up.logical_bytes,
        added_bytes: backed_up.new_stored_bytes,
        stored_bytes: backed_up.stored_bytes,
        // The moment that the manifest signs, so that item and replica show the same one.
        protected_at: Timestamp::from_millis(backed_up.started_ms),
        volume_sizes,
    }
}

/// How much of a whole is done, 0 to 100; an empty whole is done.
pub(crate) fn percent(done: u64, whole: u64) -> u8 {
    let percent = (u128::from(done) * 100).checked_div(u128::from(whole)).unwrap_or(100).min(100);
    u8::try_from(percent).expect("cut to 100 above")
}

/// The cause belongs to the sentence: which extent of which volume could not be read.
fn describe(error: &VaultError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}; mend it and run the policy again"),
        None => error.to_string(),
    }
}
