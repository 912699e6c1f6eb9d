//! Deletion and expiry of checkpoint items: the order, which settles what may go, and its end. An item
//! that is being copied to another region stays; one whose record only waits goes and its record is
//! skipped.

use model::checkpoint::ItemEvent;
use model::ids::{CheckpointId, CheckpointItemId, ProjectId, ReplicationRecordId};
use model::replication::{RecordEvent, RecordState};
use model::time::Timestamp;

use crate::adoption::lock_policies_of;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::{LockedItem, lock_item, store_item_state};
use crate::jobs::{JobKind, Lease, NewJob, check_lease_on, end_job, enqueue, lock_job};
use crate::records::{RecordChange, lock_record, store_record_state};
use crate::region::{require_unblocked, require_unfrozen};
use crate::replicas::ReplicaState;
use crate::state_outbox::{note_item_gone, note_item_ordered};
use crate::value::{Value, values};

impl Catalog {
    /// Orders the deletion of a checkpoint, or of some of its items: all of them or none. Answers the
    /// items, by id. `ItemBusy` or `ItemReplicating` names the first that forbids it.
    pub async fn order_delete(
        &self,
        project: &ProjectId,
        checkpoint: CheckpointId,
        items: Option<&[CheckpointItemId]>,
        now: Timestamp,
    ) -> Result<Vec<CheckpointItemId>, CatalogError> {
        let mut tx = self.write("ordering a deletion").await?;
        require_unblocked(&mut tx).await?;
        let present = items_present(&mut tx, project, checkpoint).await?;
        let ordered = match items {
            None => present,
            Some(wanted) => {
                let mut wanted = wanted.to_vec();
                wanted.sort();
                wanted.dedup();
                if let Some(missing) = wanted.iter().find(|item| !present.contains(item)) {
                    return Err(CatalogError::not_found("checkpoint item", missing));
                }
                wanted
            }
        };
        let waiting = lock_waiting_jobs(&mut tx, &ordered).await?;
        lock_policies_of(&mut tx, &ordered).await?;
        lock_checkpoint(&mut tx, checkpoint).await?;
        let mut locked = Vec::with_capacity(ordered.len());
        for item in &ordered {
            let found = lock_item(&mut tx, *item).await?;
            if found.state.on(ItemEvent::DeleteOrdered).is_err() {
                return Err(Conflict::ItemBusy { item: *item, state: found.state }.into());
            }
            locked.push((*item, found));
        }
        for (item, found) in &locked {
            let skip = RecordChange {
                reason_code: "item-deleted".to_owned(),
                reason: "the backup was deleted before its replication began".to_owned(),
            };
            if !skip_waiting_records(&mut tx, *item, &waiting, &skip, now).await? {
                return Err(Conflict::ItemReplicating { item: *item }.into());
            }
            order_one(&mut tx, *item, found, ReplicaState::Deleting, now).await?;
        }
        tx.commit().await?;
        Ok(ordered)
    }

    /// Orders the expiry of items that retention chose. Those that are busy, being copied, or
    /// promised for longer stay; the answer names the others. A record that still waited becomes
    /// skipped as expired, never replicated. `Frozen` after a rebuild, until that is lifted.
    pub async fn order_expiry(
        &self,
        items: &[CheckpointItemId],
        now: Timestamp,
    ) -> Result<Vec<CheckpointItemId>, CatalogError> {
        let mut tx = self.write("ordering an expiry").await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        let mut sorted = items.to_vec();
        sorted.sort();
        sorted.dedup();
        let waiting = lock_waiting_jobs(&mut tx, &sorted).await?;
        lock_policies_of(&mut tx, &sorted).await?;
        let mut ordered = Vec::new();
        for item in sorted {
            let found = match lock_item(&mut tx, item).await {
                Ok(found) => found,
                Err(CatalogError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            let is_promised = found.keep_until.is_some_and(|end| now < end);
            if is_promised || found.state.on(ItemEvent::DeleteOrdered).is_err() {
                continue;
            }
            let skip = RecordChange {
                reason_code: "expired".to_owned(),
                reason: "expired, never replicated; keep backups longer or replicate more often".to_owned(),
            };
            if !skip_waiting_records(&mut tx, item, &waiting, &skip, now).await? {
                continue;
            }
            order_one(&mut tx, item, &found, ReplicaState::Expiring, now).await?;
            ordered.push(item);
        }
        tx.commit().await?;
        Ok(ordered)
    }

    /// Ends a deletion: the item is no longer found, its checkpoint goes with its last item, and a
    /// replica leaves a tombstone for the heads. An item with a manifest is quarantined until
    /// `purge_after`: its manifest stays a root, and the deletion can be undone.
    pub async fn finish_delete(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        purge_after: Timestamp,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a deletion").await?;
        check_lease_on(&mut tx, lease, JobKind::Delete, item.bytes()).await?;
        let row = tx.first("SELECT checkpoint_id FROM checkpoint_items WHERE id = $1", values![item]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found("checkpoint item", item))?;
        let checkpoint: CheckpointId = row.id("checkpoint_id")?;
        lock_checkpoint(&mut tx, checkpoint).await?;
        let state = lock_item(&mut tx, item).await?.state.on(ItemEvent::DeleteDone)?;
        store_item_state(&mut tx, item, state, now).await?;
        let quarantined = tx
            .execute(
                "UPDATE checkpoint_items SET deleted_at = $1, purge_after = $2 \
                 WHERE id = $3 AND manifest_digest IS NOT NULL",
                values![now, purge_after, item],
            )
            .await?;
        let purge_after = if quarantined == 1 { purge_after } else { now };
        if quarantined == 0 {
            // It never held anything.
            tx.execute(
                "UPDATE checkpoint_items SET deleted_at = $1, purge_after = $1, purged_at = $1 WHERE id = $2",
                values![now, item],
            )
            .await?;
            empty_item(&mut tx, item).await?;
        }
        tx.execute(
            "UPDATE checkpoints SET deleted_at = $1 WHERE id = $2 AND NOT EXISTS \
             (SELECT 1 FROM checkpoint_items WHERE checkpoint_id = $2 AND state <> 'deleted')",
            values![now, checkpoint],
        )
        .await?;
        tx.execute(
            "UPDATE replicas SET ended_at = $1, state = CASE WHEN state = 'expiring' THEN 'expired' \
             ELSE 'deleted' END WHERE item_id = $2",
            values![now, item],
        )
        .await?;
        note_item_gone(&mut tx, item, purge_after, now).await?;
        end_job(&mut tx, JobKind::Delete, item.bytes(), now).await?;
        tx.commit().await
    }
}

/// Drops what a deleted item no longer needs.
pub(crate) async fn empty_item(tx: &mut Tx, item: CheckpointItemId) -> Result<(), CatalogError> {
    tx.execute("DELETE FROM volume_backups WHERE item_id = $1", values![item]).await?;
    tx.execute("DELETE FROM item_tags WHERE item_id = $1", values![item]).await?;
    Ok(())
}

/// The items of a project's checkpoint that are not deleted, by id.
async fn items_present(
    tx: &mut Tx,
    project: &ProjectId,
    checkpoint: CheckpointId,
) -> Result<Vec<CheckpointItemId>, CatalogError> {
    crate::checkpoints::read_checkpoint(tx, project, checkpoint).await?;
    let rows = tx
        .all(
            "SELECT id FROM checkpoint_items WHERE checkpoint_id = $1 AND state <> 'deleted' ORDER BY id",
            values![checkpoint],
        )
        .await?;
    rows.iter().map(|row| row.id("id")).collect()
}

/// Keeps other transactions from adding to or ending a checkpoint.
pub(crate) async fn lock_checkpoint(tx: &mut Tx, checkpoint: CheckpointId) -> Result<(), CatalogError> {
    tx.execute("UPDATE checkpoints SET plan_id = plan_id WHERE id = $1", values![checkpoint]).await?;
    Ok(())
}

/// Locks the jobs of the records of these items that only wait, before anything else is locked, and
/// answers those records. A worker that claims one meanwhile waits and is fenced.
async fn lock_waiting_jobs(
    tx: &mut Tx,
    items: &[CheckpointItemId],
) -> Result<Vec<ReplicationRecordId>, CatalogError> {
    let mut waiting: Vec<ReplicationRecordId> = Vec::new();
    for item in items {
        let rows = tx
            .all(
                "SELECT id FROM replication_records WHERE checkpoint_item_id = $1 AND state = 'waiting'",
                values![item],
            )
            .await?;
        for row in &rows {
            waiting.push(row.id("id")?);
        }
    }
    waiting.sort();
    for record in &waiting {
        lock_job(tx, JobKind::Replicate, record.bytes()).await?;
    }
    Ok(waiting)
}

/// Skips the waiting records of an item and ends their jobs. False when a record is further than
/// waiting and the item has to stay.
async fn skip_waiting_records(
    tx: &mut Tx,
    item: CheckpointItemId,
    locked: &[ReplicationRecordId],
    change: &RecordChange,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let rows = tx
        .all(
            "SELECT id FROM replication_records WHERE checkpoint_item_id = $1 AND is_current = 1 \
             AND state <> 'done' ORDER BY id",
            values![item],
        )
        .await?;
    let mut skipped = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: ReplicationRecordId = row.id("id")?;
        let state = lock_record(tx, id).await?;
        let is_waiting = state == RecordState::Waiting && locked.contains(&id);
        if !is_waiting && !state.is_final() {
            return Ok(false);
        }
        if is_waiting {
            skipped.push((id, state.on(RecordEvent::NotNeeded)?));
        }
    }
    for (id, state) in skipped {
        store_record_state(tx, id, state, change, now).await?;
        end_job(tx, JobKind::Replicate, id.bytes(), now).await?;
    }
    Ok(true)
}

/// Orders the end of one locked item that is not being copied.
pub(crate) async fn order_one(
    tx: &mut Tx,
    item: CheckpointItemId,
    found: &LockedItem,
    replica_state: ReplicaState,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let state = found.state.on(ItemEvent::DeleteOrdered)?;
    store_item_state(tx, item, state, now).await?;
    if found.is_replica {
        tx.execute(
            "UPDATE replicas SET state = $1 WHERE item_id = $2",
            vec![Value::from(replica_state.word()), Value::from(item)],
        )
        .await?;
    }
    let is_expiry = replica_state == ReplicaState::Expiring;
    note_item_ordered(tx, item, found.is_replica, &found.project_id, is_expiry, now).await?;
    let job = NewJob { kind: JobKind::Delete, subject: item.bytes(), priority: 0 };
    enqueue(tx, &job, now).await
}
