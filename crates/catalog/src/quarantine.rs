//! Quarantine: deleted and expired items that can still be had back. Their rows and manifests stay until a
//! collection purges them, which it does some time after `purge_after`, never before.

use model::checkpoint::{CheckpointItem, ItemEvent, ItemState};
use model::ids::{CheckpointId, CheckpointItemId, ProjectId};
use model::time::Timestamp;

use crate::deletion::lock_checkpoint;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::{item_columns, whole_items};
use crate::page::PAGE_ROWS_MAX;
use crate::region::require_unblocked;
use crate::replicas::ReplicaState;
use crate::state_outbox::note_item_back;
use crate::value::values;

/// A deleted item that can be had back.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantinedItem {
    /// The item, as it was.
    pub item: CheckpointItem,
    /// When it was deleted or expired.
    pub deleted_at: Timestamp,
    /// Until when it can be had back for certain.
    pub purge_after: Timestamp,
}

impl Catalog {
    /// The deleted items of a project that can be had back, soonest end first; at most `limit`, behind the
    /// item `after`.
    pub async fn quarantined_items(
        &self,
        project: &ProjectId,
        after: Option<CheckpointItemId>,
        limit: u32,
    ) -> Result<Vec<QuarantinedItem>, CatalogError> {
        let mut tx = self.read("listing quarantined items").await?;
        let marker = match after {
            None => None,
            Some(after) => {
                let row = tx
                    .first(
                        "SELECT purge_after FROM checkpoint_items WHERE id = $1 AND project_id = $2 \
                         AND purge_after IS NOT NULL",
                        values![after, project],
                    )
                    .await?;
                let row = row.ok_or_else(|| CatalogError::not_found("checkpoint item", after))?;
                Some((row.time("purge_after")?, after))
            }
        };
        let (end, id) =
            marker.map_or((Timestamp::from_micros(0), String::new()), |(end, id)| (end, id.to_string()));
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    item_columns!(),
                    ", deleted_at, purge_after FROM checkpoint_items WHERE project_id = $1 \
                     AND state = 'deleted' AND purged_at IS NULL AND purge_after IS NOT NULL \
                     AND (purge_after > $2 OR (purge_after = $2 AND id > $3)) \
                     ORDER BY purge_after, id LIMIT $4"
                ),
                values![project, end, id, limit.min(PAGE_ROWS_MAX)],
            )
            .await?;
        let items = whole_items(&mut tx, &rows).await?;
        let mut quarantined = Vec::with_capacity(items.len());
        for (row, item) in rows.iter().zip(items) {
            let (deleted_at, purge_after) = (row.time("deleted_at")?, row.time("purge_after")?);
            quarantined.push(QuarantinedItem { item, deleted_at, purge_after });
        }
        Ok(quarantined)
    }

    /// Takes the deletion of an item back: it is available again (or in error, if it lacked something before),
    /// and retention leaves it to people from then on. `NotFound` once it is purged; `ReplicaReplaced` for a replica when another one of the same backup
    /// came meanwhile or is on its way.
    pub async fn undo_deletion(
        &self,
        project: &ProjectId,
        item: CheckpointItemId,
        now: Timestamp,
    ) -> Result<CheckpointItem, CatalogError> {
        let mut tx = self.write("undoing a deletion").await?;
        require_unblocked(&mut tx).await?;
        let missing = || CatalogError::not_found("quarantined checkpoint item", item);
        let row = tx
            .first(
                "SELECT checkpoint_id FROM checkpoint_items WHERE id = $1 AND project_id = $2",
                values![item, project],
            )
            .await?;
        let checkpoint: CheckpointId = row.ok_or_else(missing)?.id("checkpoint_id")?;
        lock_checkpoint(&mut tx, checkpoint).await?;
        let row = tx
            .first(
                "UPDATE checkpoint_items SET state = state WHERE id = $1 AND state = 'deleted' \
                 AND purged_at IS NULL AND purge_after IS NOT NULL RETURNING state, deleted_at, origin_region, failure_code",
                values![item],
            )
            .await?;
        let row = row.ok_or_else(missing)?;
        let mut state = row.word("state", ItemState::from_word)?.on(ItemEvent::DeletionUndone)?;
        if row.optional_text("failure_code")?.is_some() {
            state = state.on(ItemEvent::DamageFound)?;
        }
        let deleted_at = row.time("deleted_at")?;
        let is_replica = row.optional_text("origin_region")?.is_some();
        if is_replica {
            revive_replica(&mut tx, item).await?;
        }
        tx.execute(
            "UPDATE checkpoint_items SET state = $1, deleted_at = NULL, purge_after = NULL, \
             undeleted_at = $2, updated_at = $2 WHERE id = $3",
            values![state.word(), now, item],
        )
        .await?;
        tx.execute("UPDATE checkpoints SET deleted_at = NULL WHERE id = $1", values![checkpoint]).await?;
        note_item_back(&mut tx, item, is_replica, project, deleted_at, now).await?;
        let rows = tx
            .all(concat!("SELECT ", item_columns!(), " FROM checkpoint_items WHERE id = $1"), values![item])
            .await?;
        let back = whole_items(&mut tx, &rows).await?.pop().ok_or_else(missing)?;
        tx.commit().await?;
        Ok(back)
    }
}

/// The replica is live again, unless another one of the same backup is or will be.
async fn revive_replica(tx: &mut Tx, item: CheckpointItemId) -> Result<(), CatalogError> {
    let other = tx
        .first(
            "SELECT r.item_id AS id FROM replicas r JOIN replicas o ON o.source_region = r.source_region \
             AND o.source_item_id = r.source_item_id \
             AND o.destination_project_id = r.destination_project_id AND o.generation > r.generation \
             WHERE r.item_id = $1 LIMIT 1",
            values![item],
        )
        .await?;
    let coming = tx
        .first(
            "SELECT r.item_id AS id FROM replicas r JOIN transfers t ON t.source_region = r.source_region \
             AND t.source_item_id = r.source_item_id \
             AND t.destination_project_id = r.destination_project_id AND t.generation > r.generation \
             AND t.is_open = 1 WHERE r.item_id = $1 LIMIT 1",
            values![item],
        )
        .await?;
    if other.is_some() || coming.is_some() {
        return Err(Conflict::ReplicaReplaced.into());
    }
    tx.execute(
        "UPDATE replicas SET state = $1, ended_at = NULL WHERE item_id = $2",
        values![ReplicaState::Live.word(), item],
    )
    .await?;
    Ok(())
}
