//! The worker's side of a backup: taking it up, numbering its manifest, progress, and its end. Every
//! write checks the lease in its own transaction.

use model::checkpoint::{CheckpointItem, Failure, ItemEvent};
use model::ids::{CheckpointItemId, VolumeBackupId};
use model::time::Timestamp;

use crate::engine::Catalog;
use crate::error::{CatalogError, Conflict};
use crate::items::{lock_item, read_item, store_item_state};
use crate::jobs::{JobKind, Lease, check_lease_on, end_job};
use crate::packs::{end_operation_if_open, end_operation_in};
use crate::value::values;

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemProgress {
    /// 0 to 100.
    pub percent: u8,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes of the disks in all.
    pub logical_bytes: u64,
}

/// Where a manifest's sequence number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceScope {
    /// The key domain.
    pub domain: [u8; 16],
    /// The present life of the catalog.
    pub incarnation: [u8; 16],
}

/// A backup whose packs and manifest are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// The signed manifest.
    pub manifest_digest: [u8; 32],
    /// The key domain.
    pub domain: [u8; 16],
    /// The sequence that the manifest carries.
    pub sequence: u64,
    /// Whether it was made on a base.
    pub incremental: bool,
    /// Bytes of the disks in all.
    pub logical_bytes: u64,
    /// Bytes that it added to the vault.
    pub added_bytes: u64,
    /// All bytes that its tree lists, new to the vault or not.
    pub stored_bytes: u64,
    /// The moment whose data it holds.
    pub protected_at: Timestamp,
    /// The sizes that the disks were found to have.
    pub volume_sizes: Vec<(VolumeBackupId, u64)>,
}

impl Catalog {
    /// Takes up a backup, for the first time or again, and reads its item.
    pub async fn start_backup(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        now: Timestamp,
    ) -> Result<CheckpointItem, CatalogError> {
        let mut tx = self.write("starting a backup").await?;
        check_lease_on(&mut tx, lease, JobKind::Backup, item.bytes()).await?;
        let state = lock_item(&mut tx, item).await?.state.on(ItemEvent::BackupClaimed)?;
        store_item_state(&mut tx, item, state, now).await?;
        let started = read_item(&mut tx, item).await?;
        let started = started.ok_or_else(|| CatalogError::not_found("checkpoint item", item))?;
        tx.commit().await?;
        Ok(started)
    }

    /// The next sequence for the manifest of a backup under way: larger than all given before for
    /// the same server in this scope. Every attempt takes a new one, so that no number is ever signed
    /// twice; gaps are lawful.
    pub async fn take_item_sequence(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        scope: &SequenceScope,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.write("numbering a manifest").await?;
        check_lease_on(&mut tx, lease, JobKind::Backup, item.bytes()).await?;
        let resource = lock_item(&mut tx, item).await?.resource_id;
        let row = tx
            .first(
                "INSERT INTO item_sequences (domain, incarnation, resource_id, last_sequence) \
                 VALUES ($1, $2, $3, 1) ON CONFLICT (domain, incarnation, resource_id) \
                 DO UPDATE SET last_sequence = item_sequences.last_sequence + 1 RETURNING last_sequence",
                values![scope.domain, scope.incarnation, &resource],
            )
            .await?;
        let row = row.ok_or_else(|| CatalogError::not_found("manifest sequence of server", &resource))?;
        let sequence = row.count("last_sequence")?;
        tx.execute("UPDATE checkpoint_items SET sequence = $1 WHERE id = $2", values![sequence, item])
            .await?;
        tx.commit().await?;
        Ok(sequence)
    }

    /// Notes how far a backup is.
    pub async fn record_item_progress(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        progress: &ItemProgress,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting the progress of a backup").await?;
        check_lease_on(&mut tx, lease, JobKind::Backup, item.bytes()).await?;
        tx.execute(
            "UPDATE checkpoint_items SET progress_percent = $1, progress_bytes = $2, logical_bytes = $3, \
             updated_at = $4 WHERE id = $5 AND state = 'protecting'",
            values![u32::from(progress.percent.min(100)), progress.bytes, progress.logical_bytes, now, item],
        )
        .await?;
        tx.commit().await
    }

    /// Makes a backup available: its manifest, the end of its operation at the vault's next
    /// `commit_seq`, and the end of its job, together.
    pub async fn finish_backup(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        stored: &StoredItem,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a backup").await?;
        check_lease_on(&mut tx, lease, JobKind::Backup, item.bytes()).await?;
        let locked = lock_item(&mut tx, item).await?;
        let state = locked.state.on(ItemEvent::BackupStored)?;
        let vault = end_operation_in(&mut tx, locked.operation_id).await?;
        if vault.domain != stored.domain || vault.project_id != locked.project_id {
            return Err(Conflict::DomainBound.into());
        }
        tx.execute(
            "UPDATE checkpoint_items SET state = $1, manifest_digest = $2, domain = $3, sequence = $4, \
             incremental = $5, logical_bytes = $6, added_bytes = $7, progress_bytes = $6, \
             progress_percent = 100, protected_at = $8, finished_at = $9, updated_at = $9, \
             failure_operation = NULL, failure_code = NULL, failure_reason = NULL, stored_bytes = $11 \
             WHERE id = $10",
            values![
                state.word(),
                stored.manifest_digest,
                stored.domain,
                stored.sequence,
                stored.incremental,
                stored.logical_bytes,
                stored.added_bytes,
                stored.protected_at,
                now,
                item,
                stored.stored_bytes
            ],
        )
        .await?;
        for (volume, size_bytes) in &stored.volume_sizes {
            tx.execute(
                "UPDATE volume_backups SET size_bytes = $1 WHERE id = $2 AND item_id = $3",
                values![*size_bytes, volume, item],
            )
            .await?;
        }
        end_job(&mut tx, JobKind::Backup, item.bytes(), now).await?;
        tx.commit().await
    }

    /// Notes that a backup cannot be made, and ends its operation and job.
    pub async fn fail_backup(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("failing a backup").await?;
        check_lease_on(&mut tx, lease, JobKind::Backup, item.bytes()).await?;
        let locked = lock_item(&mut tx, item).await?;
        let state = locked.state.on(ItemEvent::BackupFailed)?;
        tx.execute(
            "UPDATE checkpoint_items SET state = $1, failure_operation = $2, failure_code = $3, \
             failure_reason = $4, finished_at = $5, updated_at = $5 WHERE id = $6",
            values![state.word(), &failure.operation, &failure.code, &failure.reason, now, item],
        )
        .await?;
        end_operation_if_open(&mut tx, locked.operation_id).await?;
        end_job(&mut tx, JobKind::Backup, item.bytes(), now).await?;
        tx.commit().await
    }
}
