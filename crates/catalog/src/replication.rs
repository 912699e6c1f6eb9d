//! Replication: making an order durable. The constraint `one_current_replication` settles every race:
//! whatever calls run side by side, each item gets one record for a region, and the union of their
//! answers lists it once. What becomes of a record afterwards is in `records.rs`.

use std::collections::BTreeMap;

use model::checkpoint::ItemState;
use model::ids::{
    CheckpointId, CheckpointItemId, GrantId, PolicyId, ProjectId, RegionName, ReplicationRecordId, ResourceId,
};
use model::replication::{Destination, LedgerEntry, RecordState, ReplicationPlan};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::lock_item;
use crate::jobs::{JobKind, NewJob, enqueue};
use crate::policies::lock_policy;
use crate::region::require_unblocked;
use crate::value::{Row, values};

/// What a planned replication needs besides its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecords {
    /// One fresh id for each selected item of the plan, in its order.
    pub record_ids: Vec<ReplicationRecordId>,
    /// The grant they travel under.
    pub grant_id: GrantId,
    /// Whether our own scheduler ordered it.
    pub by_scheduler: bool,
}

/// An order to replicate one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemReplicationOrder {
    /// The caller's project, which owns the item.
    pub source_project_id: ProjectId,
    /// The item.
    pub item_id: CheckpointItemId,
    /// Where to.
    pub destination: Destination,
    /// The grant it travels under.
    pub grant_id: GrantId,
    /// A fresh id for its record.
    pub record_id: ReplicationRecordId,
    /// Whether the caller calls itself automatic.
    pub auto_trigger: bool,
    /// More streams; never other content.
    pub enable_acceleration: bool,
    /// Name wished for the replica, if any.
    pub replica_name: Option<String>,
    /// Description wished for the replica, if any.
    pub replica_description: Option<String>,
}

/// The first incarnation of a replica.
const FIRST_GENERATION: u32 = 1;

impl Catalog {
    /// What the catalog knows about the items of a policy, for one destination region: the input of
    /// [`model::replication::plan`]. Oldest first; deleted items are left out.
    pub async fn replication_ledger(
        &self,
        policy: PolicyId,
        region: &RegionName,
    ) -> Result<Vec<LedgerEntry>, CatalogError> {
        let mut tx = self.read("reading the replication ledger").await?;
        let rows = tx
            .all(
                "SELECT i.id AS id, i.state AS state, i.origin_region AS origin_region, \
                 i.created_at AS created_at, r.state AS record_state FROM checkpoint_items i \
                 LEFT JOIN replication_records r ON r.checkpoint_item_id = i.id \
                 AND r.destination_region = $2 AND r.is_current = 1 \
                 WHERE i.policy_id = $1 AND i.state <> 'deleted' ORDER BY i.created_at, i.id",
                values![policy, region],
            )
            .await?;
        rows.iter().map(ledger_of_row).collect()
    }

    /// Writes one record and one job for each selected item that is still available and has no
    /// current record for the region. Answers what was really written, oldest first. The newest item
    /// of each server gets the highest priority.
    pub async fn begin_replication(
        &self,
        plan: &ReplicationPlan,
        new: &NewRecords,
        now: Timestamp,
    ) -> Result<Vec<(CheckpointItemId, ReplicationRecordId)>, CatalogError> {
        assert_eq!(plan.selected.len(), new.record_ids.len(), "one record id for each selected item");
        let mut tx = self.write("beginning a replication").await?;
        require_unblocked(&mut tx).await?;
        let order = &plan.order;
        let policy = lock_policy(&mut tx, order.policy_id).await?;
        let policy = policy.filter(|policy| policy.project_id == order.source_project_id);
        policy.ok_or_else(|| CatalogError::not_found("policy", order.policy_id))?;

        let mut pairs: Vec<_> = plan.selected.iter().zip(&new.record_ids).collect();
        pairs.sort();
        let mut begun = Vec::new();
        for (item, record) in pairs {
            let record = NewRecord {
                id: *record,
                item_id: *item,
                source_project_id: &order.source_project_id,
                destination: &order.destination,
                policy_id: Some(order.policy_id),
                grant_id: new.grant_id,
                auto_trigger: order.auto_trigger,
                by_scheduler: new.by_scheduler,
                enable_acceleration: order.enable_acceleration,
                generation: last_generation(&mut tx, *item, &order.destination.region).await?,
                replica_name: None,
                replica_description: None,
            };
            if let Some(item) = lock_available(&mut tx, &record).await?
                && insert_record(&mut tx, &record, item.checkpoint_id, now).await?
            {
                begun.push((item, record.id));
            }
        }
        for (record, priority) in priorities(&begun) {
            let job = NewJob { kind: JobKind::Replicate, subject: record.bytes(), priority };
            enqueue(&mut tx, &job, now).await?;
        }
        tx.commit().await?;
        begun.sort_by_key(|(item, _)| (item.created_at, item.id));
        Ok(begun.into_iter().map(|(item, record)| (item.id, record)).collect())
    }

    /// Writes the record and job of one item ordered by hand. `AlreadyReplicated` or
    /// `ItemReplicating` when it has a current record for the region; but when the destination has
    /// deleted its replica, the old record makes way and the generation grows.
    pub async fn begin_item_replication(
        &self,
        order: &ItemReplicationOrder,
        now: Timestamp,
    ) -> Result<ReplicationRecordId, CatalogError> {
        let mut tx = self.write("beginning the replication of an item").await?;
        require_unblocked(&mut tx).await?;
        let item = lock_item(&mut tx, order.item_id).await?;
        if item.project_id != order.source_project_id {
            return Err(CatalogError::not_found("checkpoint item", order.item_id));
        }
        if item.is_replica {
            return Err(Conflict::IsReplica { item: order.item_id }.into());
        }
        let region = &order.destination.region;
        let mut generation = last_generation(&mut tx, order.item_id, region).await?;
        if clear_gone_record(&mut tx, order.item_id, region, now).await? {
            generation += 1;
        }
        if item.state != ItemState::Available {
            return Err(Conflict::ItemBusy { item: order.item_id, state: item.state }.into());
        }
        let record = NewRecord {
            id: order.record_id,
            item_id: order.item_id,
            source_project_id: &order.source_project_id,
            destination: &order.destination,
            policy_id: None,
            grant_id: order.grant_id,
            auto_trigger: order.auto_trigger,
            by_scheduler: false,
            enable_acceleration: order.enable_acceleration,
            generation,
            replica_name: order.replica_name.as_deref(),
            replica_description: order.replica_description.as_deref(),
        };
        if !insert_record(&mut tx, &record, item.checkpoint_id, now).await? {
            let id = order.record_id.to_string();
            return Err(Conflict::IdTaken { what: "replication record", id }.into());
        }
        let job = NewJob { kind: JobKind::Replicate, subject: order.record_id.bytes(), priority: 0 };
        enqueue(&mut tx, &job, now).await?;
        tx.commit().await?;
        Ok(order.record_id)
    }
}

struct NewRecord<'a> {
    id: ReplicationRecordId,
    item_id: CheckpointItemId,
    source_project_id: &'a ProjectId,
    destination: &'a Destination,
    policy_id: Option<PolicyId>,
    grant_id: GrantId,
    auto_trigger: bool,
    by_scheduler: bool,
    enable_acceleration: bool,
    generation: u32,
    replica_name: Option<&'a str>,
    replica_description: Option<&'a str>,
}

struct AvailableItem {
    id: CheckpointItemId,
    checkpoint_id: CheckpointId,
    resource_id: ResourceId,
    created_at: Timestamp,
}

/// Locks the item of a record if it is still one to replicate: available, made here by that policy.
async fn lock_available(tx: &mut Tx, record: &NewRecord<'_>) -> Result<Option<AvailableItem>, CatalogError> {
    let row = tx
        .first(
            "UPDATE checkpoint_items SET state = state WHERE id = $1 AND project_id = $2 AND policy_id = $3 \
             AND state = 'available' AND origin_region IS NULL \
             RETURNING id, checkpoint_id, resource_id, created_at",
            values![record.item_id, record.source_project_id, record.policy_id],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(AvailableItem {
        id: row.id("id")?,
        checkpoint_id: row.id("checkpoint_id")?,
        resource_id: row.id("resource_id")?,
        created_at: row.time("created_at")?,
    }))
}

/// Inserts a waiting record unless the item has a current one for the region; tells whether it did.
async fn insert_record(
    tx: &mut Tx,
    record: &NewRecord<'_>,
    checkpoint: CheckpointId,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO replication_records (id, checkpoint_item_id, checkpoint_id, source_project_id, \
             destination_region, destination_project_id, policy_id, grant_id, state, is_current, \
             auto_trigger, by_scheduler, enable_acceleration, generation, replica_name, \
             replica_description, sent_bytes, resent_bytes, skipped_bytes, planned_bytes, attempts, \
             try_at, reason_code, reason, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
             'waiting', 1, $9, $10, $11, $12, $13, $14, 0, 0, 0, 0, 0, $15, '', '', $15, $15) \
             ON CONFLICT (checkpoint_item_id, destination_region) WHERE is_current = 1 DO NOTHING",
            values![
                record.id,
                record.item_id,
                checkpoint,
                record.source_project_id,
                &record.destination.region,
                &record.destination.project_id,
                record.policy_id,
                record.grant_id,
                record.auto_trigger,
                record.by_scheduler,
                record.enable_acceleration,
                record.generation,
                record.replica_name,
                record.replica_description,
                now
            ],
        )
        .await?;
    Ok(inserted == 1)
}

async fn last_generation(
    tx: &mut Tx,
    item: CheckpointItemId,
    region: &RegionName,
) -> Result<u32, CatalogError> {
    let row = tx
        .first(
            "SELECT COALESCE(MAX(generation), $3) AS last_generation FROM replication_records \
             WHERE checkpoint_item_id = $1 AND destination_region = $2",
            values![item, region, FIRST_GENERATION],
        )
        .await?;
    row.map_or(Ok(FIRST_GENERATION), |row| row.small("last_generation"))
}

/// Makes way for a manual order. True when a done record was cleared because its replica is gone.
async fn clear_gone_record(
    tx: &mut Tx,
    item: CheckpointItemId,
    region: &RegionName,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let row = tx
        .first(
            "UPDATE replication_records SET state = state WHERE checkpoint_item_id = $1 \
             AND destination_region = $2 AND is_current = 1 RETURNING id, state, replica_gone_at",
            values![item, region],
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    if row.word("state", RecordState::from_word)? != RecordState::Done {
        return Err(Conflict::ItemReplicating { item }.into());
    }
    if row.optional_time("replica_gone_at")?.is_none() {
        return Err(Conflict::AlreadyReplicated { item }.into());
    }
    let id: ReplicationRecordId = row.id("id")?;
    tx.execute(
        "UPDATE replication_records SET is_current = 0, updated_at = $1 WHERE id = $2",
        values![now, id],
    )
    .await?;
    Ok(true)
}

/// Priority 0 for the newest item of each server, -1 for the one before it, and so on.
fn priorities(begun: &[(AvailableItem, ReplicationRecordId)]) -> Vec<(ReplicationRecordId, i64)> {
    let mut newest_first: Vec<_> = begun.iter().collect();
    newest_first.sort_by_key(|(item, _)| std::cmp::Reverse((item.created_at, item.id)));
    let mut ranks: BTreeMap<&ResourceId, i64> = BTreeMap::new();
    let mut priorities = Vec::with_capacity(begun.len());
    for (item, record) in newest_first {
        let rank = ranks.entry(&item.resource_id).or_insert(0);
        priorities.push((*record, -*rank));
        *rank += 1;
    }
    priorities
}

fn ledger_of_row(row: &Row) -> Result<LedgerEntry, CatalogError> {
    let record_state = match row.optional_text("record_state")? {
        None => None,
        Some(_) => Some(row.word("record_state", RecordState::from_word)?),
    };
    Ok(LedgerEntry {
        item_id: row.id("id")?,
        state: row.word("state", ItemState::from_word)?,
        is_replica: row.optional_text("origin_region")?.is_some(),
        created_at: row.time("created_at")?,
        current_record: record_state,
    })
}
