//! Publishing: the one transaction in which an incoming transfer becomes a replica. After it the replica
//! is shown, counted and kept as promised; before it nothing of it is visible.

use model::checkpoint::{Checkpoint, CheckpointItem, ItemEvent, ItemState};
use model::grant::{Level, Mode};
use model::ids::{CheckpointItemId, GrantId, ProjectId};
use model::time::Timestamp;

use crate::checkpoints::insert_checkpoint;
use crate::deletion::order_one;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::grants::{replica_bytes, reserved_bytes};
use crate::items::{insert_item, lock_item};
use crate::jobs::{JobKind, NewJob, enqueue};
use crate::packs::end_operation_in;
use crate::region::require_unblocked;
use crate::replicas::{Replica, ReplicaState, insert_replica, replica_of_key};
use crate::transfers::{
    TransferKey, TransferRow, close_row, lock_open_transfer, require_bytes, require_grant,
};
use crate::value::values;

/// A replica whose completeness is proved and whose receipt is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReplica {
    /// The transfer that brought it.
    pub key: TransferKey,
    /// The attempt that asks for publication.
    pub attempt: u64,
    /// The project at the source, as the grant names it.
    pub source_project_id: ProjectId,
    /// Its checkpoint here; written with the first item of the source's checkpoint.
    pub checkpoint: Checkpoint,
    /// Its item: available, with its origin, domain and manifest.
    pub item: CheckpointItem,
    /// What this region may know of it.
    pub mode: Mode,
    /// What is proved of it.
    pub level: Level,
    /// Stored bytes, as the manifest says.
    pub stored_bytes: u64,
    /// The signed receipt.
    pub receipt: Vec<u8>,
    /// The head counter in the receipt; `HeadMoved` unless it is still the region's.
    pub head_counter: u64,
}

/// A published replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedReplica {
    /// Its item.
    pub item_id: CheckpointItemId,
    /// The receipt that counts: an earlier one when it was published before.
    pub receipt: Vec<u8>,
}

impl Catalog {
    /// Publishes a replica, all or nothing: transfer live and attempt current, grant open and bytes
    /// left, no head issued since the receipt was signed; then checkpoint, item, replica with its
    /// receipt, the end of the operation, and the job that opens every chunk. Asked again, it
    /// answers the receipt that was stored first.
    pub async fn publish_replica(
        &self,
        new: &NewReplica,
        now: Timestamp,
    ) -> Result<PublishedReplica, CatalogError> {
        let mut tx = self.write("publishing a replica").await?;
        require_unblocked(&mut tx).await?;
        // The region's row comes first: no head is issued between this check and the commit.
        let unmoved = tx
            .execute(
                "UPDATE region SET head_counter = head_counter WHERE head_counter = $1",
                values![new.head_counter],
            )
            .await?;
        if let Some(replica) = replica_of_key(&mut tx, &new.key).await? {
            return published_before(replica, new);
        }
        if unmoved == 0 {
            return Err(Conflict::HeadMoved.into());
        }
        let grant_id = grant_of_transfer(&mut tx, &new.key).await?;
        let grant = require_grant(&mut tx, grant_id, &new.key, &new.source_project_id, now).await?;
        let transfer = lock_open_transfer(&mut tx, &new.key, new.attempt).await?;
        let used = replica_bytes(&mut tx, grant_id).await?
            + reserved_bytes(&mut tx, grant_id).await?.saturating_sub(transfer.reserved_bytes);
        require_bytes(grant.bytes_max, used, new.stored_bytes)?;
        let replica = replica_to_insert(new, &transfer, now)?;

        insert_replica_checkpoint(&mut tx, &new.checkpoint).await?;
        if !insert_item(&mut tx, &new.item).await? {
            return Err(Conflict::IdTaken { what: "checkpoint item", id: new.item.id.to_string() }.into());
        }
        replace_older(&mut tx, &new.key, now).await?;
        close_row(&mut tx, &new.key, now).await?;
        let vault = end_operation_in(&mut tx, transfer.operation_id).await?;
        if new.item.domain != Some(vault.domain) || new.item.project_id != vault.project_id {
            return Err(Conflict::DomainBound.into());
        }
        insert_replica(&mut tx, &replica).await?;
        let job = NewJob { kind: JobKind::Verify, subject: new.item.id.bytes(), priority: 0 };
        enqueue(&mut tx, &job, now).await?;
        tx.commit().await?;
        Ok(PublishedReplica { item_id: replica.item_id, receipt: replica.receipt })
    }
}

fn published_before(replica: Replica, new: &NewReplica) -> Result<PublishedReplica, CatalogError> {
    if Some(replica.manifest_digest) != new.item.manifest_digest {
        return Err(Conflict::Fork.into());
    }
    if replica.state.is_ending() {
        return Err(Conflict::ReplicaGone.into());
    }
    Ok(PublishedReplica { item_id: replica.item_id, receipt: replica.receipt })
}

fn replica_to_insert(
    new: &NewReplica,
    transfer: &TransferRow,
    now: Timestamp,
) -> Result<Replica, CatalogError> {
    let item = &new.item;
    if item.state != ItemState::Available {
        return Err(Conflict::ItemBusy { item: item.id, state: item.state }.into());
    }
    if item.manifest_digest != Some(transfer.manifest_digest) {
        return Err(Conflict::Fork.into());
    }
    let origin = item.origin.as_ref().filter(|origin| {
        origin.region == new.key.source_region
            && origin.checkpoint_item_id == new.key.source_item_id
            && origin.project_id == new.source_project_id
            && origin.generation == new.key.generation
            && item.project_id == new.key.destination_project_id
            && item.checkpoint_id == new.checkpoint.id
    });
    let origin = origin.ok_or(Conflict::TransferNotOpen)?;
    Ok(Replica {
        item_id: item.id,
        source_region: new.key.source_region.clone(),
        source_item_id: new.key.source_item_id,
        destination_project_id: new.key.destination_project_id.clone(),
        generation: new.key.generation,
        manifest_digest: transfer.manifest_digest,
        vault_id: transfer.vault_id,
        grant_id: transfer.grant_id,
        mode: new.mode,
        level: new.level,
        state: ReplicaState::Live,
        stored_bytes: new.stored_bytes,
        keep_until: origin.keep_until,
        receipt: new.receipt.clone(),
        published_at: now,
        ended_at: None,
    })
}

/// A replica that was deleted, ordered again by its source, and had back here meanwhile makes way for the new
/// one: there is one live replica of a backup. Both have the same manifest.
async fn replace_older(tx: &mut Tx, key: &TransferKey, now: Timestamp) -> Result<(), CatalogError> {
    let older = tx
        .all(
            "SELECT item_id FROM replicas WHERE source_region = $1 AND source_item_id = $2 \
             AND destination_project_id = $3 AND generation < $4 AND state = 'live' ORDER BY item_id",
            key.values(),
        )
        .await?;
    for row in &older {
        let item: CheckpointItemId = row.id("item_id")?;
        let found = lock_item(tx, item).await?;
        if found.state.on(ItemEvent::DeleteOrdered).is_err() {
            return Err(Conflict::ItemBusy { item, state: found.state }.into());
        }
        order_one(tx, item, &found, ReplicaState::Deleting, now).await?;
    }
    Ok(())
}

async fn grant_of_transfer(tx: &mut Tx, key: &TransferKey) -> Result<GrantId, CatalogError> {
    let row = tx
        .first(
            "SELECT grant_id FROM transfers WHERE source_region = $1 AND source_item_id = $2 \
             AND destination_project_id = $3 AND generation = $4",
            key.values(),
        )
        .await?;
    row.ok_or(Conflict::TransferNotOpen)?.id("grant_id")
}

/// Writes the checkpoint of a replica unless an earlier item brought it, or revives it if all its
/// earlier items were deleted.
pub(crate) async fn insert_replica_checkpoint(
    tx: &mut Tx,
    checkpoint: &Checkpoint,
) -> Result<(), CatalogError> {
    let row = tx
        .first(
            "UPDATE checkpoints SET deleted_at = NULL WHERE id = $1 RETURNING project_id",
            values![checkpoint.id],
        )
        .await?;
    match row {
        None => insert_checkpoint(tx, checkpoint).await,
        Some(row) if row.text("project_id")? == checkpoint.project_id.as_str() => Ok(()),
        Some(_) => Err(Conflict::IdTaken { what: "checkpoint", id: checkpoint.id.to_string() }.into()),
    }
}
