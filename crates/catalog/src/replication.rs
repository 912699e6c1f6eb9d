//! Replication: making an order durable. The constraint `one_current_replication` settles every race:
//! whatever calls run side by side, each item gets one record for a region, and the union of their
//! answers lists it once. What becomes of a record afterwards is in `records.rs`.

use std::collections::BTreeMap;

use model::checkpoint::ItemState;
use model::ids::{
    CheckpointId, CheckpointItemId, GrantId, PolicyId, ProjectId, RegionName, ReplicationRecordId, ResourceId,
};
use model::replication::{
    Destination, ITEMS_AN_ORDER_MAX, Ledger, LedgerEntry, RecordState, ReplicationPlan, Standing,
};
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::lock_item;
use crate::jobs::{JobKind, NewJob, Subject, enqueue, enqueue_fresh};
use crate::page::{pair_places, places};
use crate::policies::lock_policy;
use crate::records::lock_record;
use crate::region::require_unblocked;
use crate::schedule::{Slot, take_slot};
use crate::value::{Row, Value, values};

/// What a planned replication needs besides its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecords {
    /// One fresh id for each selected item of the plan, in its order.
    pub record_ids: Vec<ReplicationRecordId>,
    /// The grant they travel under.
    pub grant_id: GrantId,
    /// Whether our own scheduler ordered it.
    pub by_scheduler: bool,
    /// Days for which the replicas are to be kept at least, if the policy says so.
    pub keep_days: Option<u32>,
    /// The slot of the schedule that this run claims, if it is one of the scheduler's.
    pub slot: Option<Slot>,
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
    /// Days for which the replica is to be kept at least, if the item's policy says so.
    pub keep_days: Option<u32>,
}

/// An order to do once more what a record was about that ended without a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOrder {
    /// The record that ended.
    pub ended_id: ReplicationRecordId,
    /// A fresh id for the new one.
    pub record_id: ReplicationRecordId,
    /// The grant it travels under.
    pub grant_id: GrantId,
}

/// How many records one statement writes. SQLite looks a value up by its number in a list, so that a statement with many
/// values costs more than several with few.
const RECORDS_A_STATEMENT: usize = 50;

/// The first incarnation of a replica.
const FIRST_GENERATION: u32 = 1;

impl Catalog {
    /// What the catalog knows about the items of a policy, for one destination region: the input of
    /// [`model::replication::plan`]. Oldest first; deleted items are left out. Items whose record settles
    /// them are counted and not listed.
    pub async fn replication_ledger(
        &self,
        policy: PolicyId,
        region: &RegionName,
    ) -> Result<Ledger, CatalogError> {
        let mut tx = self.read("reading the replication ledger").await?;
        let oldest = tx
            .all(
                "SELECT i.id AS id, i.created_at AS created_at, i.state AS state, \
                 i.origin_region AS origin_region, NULL AS record_state FROM checkpoint_items i \
                 WHERE i.policy_id = $1 AND i.state <> 'deleted' AND i.state = 'available' \
                 AND i.origin_region IS NULL AND NOT EXISTS (SELECT 1 FROM replication_records r \
                 WHERE r.checkpoint_item_id = i.id AND r.destination_region = $2 AND r.is_current = 1) \
                 ORDER BY i.created_at, i.id LIMIT $3",
                values![policy, region, ITEMS_AN_ORDER_MAX],
            )
            .await?;
        let counts = tx
            .all(
                "SELECT i.state AS state, i.origin_region AS origin_region, r.state AS record_state, \
                 COUNT(*) AS item_count FROM checkpoint_items i LEFT JOIN replication_records r \
                 ON r.checkpoint_item_id = i.id AND r.destination_region = $2 AND r.is_current = 1 \
                 WHERE i.policy_id = $1 AND i.state <> 'deleted' GROUP BY i.state, i.origin_region, r.state",
                values![policy, region],
            )
            .await?;
        Ok(Ledger {
            oldest: oldest.iter().map(ledger_entry_of_row).collect::<Result<_, _>>()?,
            counts: counts
                .iter()
                .map(|row| Ok((standing_of_row(row)?, row.count("item_count")?)))
                .collect::<Result<_, CatalogError>>()?,
        })
    }

    /// Writes one record and one job for each selected item that is still available and has no
    /// current record for the region. Answers what was really written, oldest first. The newest item
    /// of each server gets the highest priority. `SlotTaken` when its slot has had a run.
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
        if let Some(slot) = &new.slot {
            take_slot(&mut tx, slot, now).await?;
        }

        let pairs: Vec<_> = plan.selected.iter().copied().zip(new.record_ids.iter().copied()).collect();
        let mut begun = Vec::with_capacity(pairs.len());
        for some in pairs.chunks(RECORDS_A_STATEMENT) {
            begun.extend(insert_records(&mut tx, plan, new, some, now).await?);
        }
        for some in priorities(&begun).chunks(RECORDS_A_STATEMENT) {
            enqueue_fresh(&mut tx, JobKind::Replicate, some, now).await?;
        }
        tx.commit().await?;
        begun.sort_by_key(|record| (record.created_at, record.item_id));
        Ok(begun.into_iter().map(|record| (record.item_id, record.record_id)).collect())
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
            keep_days: order.keep_days,
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

    /// Writes a new record and its job for the item of one that ended without a replica; what was ordered then
    /// is ordered again. `NotRetried` for any other record; `ItemReplicating` or `AlreadyReplicated` when the
    /// item has a current one meanwhile; `ItemBusy` or not found when it cannot be read any more.
    pub async fn retry_replication(
        &self,
        project: &ProjectId,
        order: &RetryOrder,
        now: Timestamp,
    ) -> Result<ReplicationRecordId, CatalogError> {
        let ended = self.record(project, order.ended_id).await?;
        let mut tx = self.write("retrying a replication").await?;
        require_unblocked(&mut tx).await?;
        let item = lock_item(&mut tx, ended.item_id).await?;
        let state = lock_record(&mut tx, ended.id).await?;
        if !state.may_be_retried() {
            return Err(Conflict::NotRetried { state }.into());
        }
        let region = &ended.destination.region;
        require_no_current_record(&mut tx, ended.item_id, region).await?;
        if item.state != ItemState::Available {
            return Err(Conflict::ItemBusy { item: ended.item_id, state: item.state }.into());
        }
        let record = NewRecord {
            id: order.record_id,
            item_id: ended.item_id,
            source_project_id: project,
            destination: &ended.destination,
            policy_id: ended.policy_id,
            grant_id: order.grant_id,
            auto_trigger: ended.auto_trigger,
            by_scheduler: ended.by_scheduler,
            enable_acceleration: ended.enable_acceleration,
            generation: last_generation(&mut tx, ended.item_id, region).await?,
            replica_name: ended.replica_name.as_deref(),
            replica_description: ended.replica_description.as_deref(),
            keep_days: ended.keep_days,
        };
        if !insert_record(&mut tx, &record, item.checkpoint_id, now).await? {
            return Err(Conflict::ItemReplicating { item: ended.item_id }.into());
        }
        let job = NewJob { kind: JobKind::Replicate, subject: order.record_id.bytes(), priority: 0 };
        enqueue(&mut tx, &job, now).await?;
        tx.commit().await?;
        Ok(order.record_id)
    }
}

/// A record of one item, ordered by hand.
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
    keep_days: Option<u32>,
}

/// A record that was really written, with what orders it among the others.
struct BegunRecord {
    item_id: CheckpointItemId,
    record_id: ReplicationRecordId,
    resource_id: ResourceId,
    created_at: Timestamp,
}

/// Inserts a waiting record for each pair whose item is still one to replicate (available, made here by
/// that policy) and has no current record for the region; answers those. The caller holds the lock of the
/// policy, and so does whoever deletes its items.
async fn insert_records(
    tx: &mut Tx,
    plan: &ReplicationPlan,
    new: &NewRecords,
    pairs: &[(CheckpointItemId, ReplicationRecordId)],
    now: Timestamp,
) -> Result<Vec<BegunRecord>, CatalogError> {
    let order = &plan.order;
    let mut values = values![
        &order.destination.region,
        &order.destination.project_id,
        new.grant_id,
        order.auto_trigger,
        new.by_scheduler,
        order.enable_acceleration,
        now,
        order.policy_id,
        &order.source_project_id,
        new.keep_days
    ];
    let rows = pair_places(values.len() + 1, pairs.len());
    for (item, record) in pairs {
        values.extend(values![record, item]);
    }
    // CROSS JOIN keeps SQLite from walking all items of the policy for each picked one.
    let sql = format!(
        "WITH picked (record_id, item_id) AS (VALUES {rows}) \
         INSERT INTO replication_records (id, checkpoint_item_id, checkpoint_id, source_project_id, \
         destination_region, destination_project_id, policy_id, grant_id, state, is_current, \
         auto_trigger, by_scheduler, enable_acceleration, keep_days, generation, sent_bytes, resent_bytes, \
         skipped_bytes, planned_bytes, attempts, try_at, reason_code, reason, created_at, updated_at) \
         SELECT p.record_id, i.id, i.checkpoint_id, i.project_id, $1, $2, i.policy_id, $3, 'waiting', 1, \
         $4, $5, $6, $10, COALESCE((SELECT MAX(r.generation) FROM replication_records r \
         WHERE r.checkpoint_item_id = i.id AND r.destination_region = $1), {FIRST_GENERATION}), \
         0, 0, 0, 0, 0, $7, '', '', $7, $7 FROM picked p CROSS JOIN checkpoint_items i \
         WHERE i.id = p.item_id AND i.policy_id = $8 AND i.project_id = $9 AND i.state = 'available' \
         AND i.origin_region IS NULL \
         ON CONFLICT (checkpoint_item_id, destination_region) WHERE is_current = 1 DO NOTHING \
         RETURNING id, checkpoint_item_id"
    );
    // Safe: made of our own words and places; every value is bound.
    let inserted = tx.all(AssertSqlSafe(sql), values).await?;
    let mut records = BTreeMap::new();
    for row in &inserted {
        records.insert(row.id::<CheckpointItemId>("checkpoint_item_id")?, row.id("id")?);
    }
    begun_records(tx, &records).await
}

/// What the answer and the priorities need to know of the items of these records.
async fn begun_records(
    tx: &mut Tx,
    records: &BTreeMap<CheckpointItemId, ReplicationRecordId>,
) -> Result<Vec<BegunRecord>, CatalogError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id, resource_id, created_at FROM checkpoint_items WHERE id IN ({})",
        places(1, records.len())
    );
    let ids = records.keys().map(Value::from).collect();
    // Safe: made of our own words and places; every value is bound.
    let rows = tx.all(AssertSqlSafe(sql), ids).await?;
    let mut begun = Vec::with_capacity(rows.len());
    for row in &rows {
        let item_id: CheckpointItemId = row.id("id")?;
        begun.push(BegunRecord {
            item_id,
            record_id: *records.get(&item_id).ok_or_else(|| row.corrupt("id"))?,
            resource_id: row.id("resource_id")?,
            created_at: row.time("created_at")?,
        });
    }
    Ok(begun)
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
             destination_region, destination_project_id, grant_id, state, is_current, auto_trigger, \
             by_scheduler, enable_acceleration, generation, replica_name, replica_description, \
             sent_bytes, resent_bytes, skipped_bytes, planned_bytes, attempts, try_at, reason_code, \
             reason, keep_days, policy_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, \
             'waiting', 1, $8, $15, $9, $10, $11, $12, 0, 0, 0, 0, 0, $13, '', '', $14, $16, $13, $13) \
             ON CONFLICT (checkpoint_item_id, destination_region) WHERE is_current = 1 DO NOTHING",
            values![
                record.id,
                record.item_id,
                checkpoint,
                record.source_project_id,
                &record.destination.region,
                &record.destination.project_id,
                record.grant_id,
                record.auto_trigger,
                record.enable_acceleration,
                record.generation,
                record.replica_name,
                record.replica_description,
                now,
                record.keep_days,
                record.by_scheduler,
                record.policy_id
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

/// Proves that an item has no current record for a region.
async fn require_no_current_record(
    tx: &mut Tx,
    item: CheckpointItemId,
    region: &RegionName,
) -> Result<(), CatalogError> {
    let row = tx
        .first(
            "SELECT state FROM replication_records WHERE checkpoint_item_id = $1 \
             AND destination_region = $2 AND is_current = 1",
            values![item, region],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    match row.word("state", RecordState::from_word)? {
        RecordState::Done => Err(Conflict::AlreadyReplicated { item }.into()),
        _ => Err(Conflict::ItemReplicating { item }.into()),
    }
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
fn priorities(begun: &[BegunRecord]) -> Vec<(Subject, i64)> {
    let mut newest_first: Vec<_> = begun.iter().collect();
    newest_first.sort_by_key(|record| std::cmp::Reverse((record.created_at, record.item_id)));
    let mut ranks: BTreeMap<&ResourceId, i64> = BTreeMap::new();
    let mut priorities = Vec::with_capacity(begun.len());
    for record in newest_first {
        let rank = ranks.entry(&record.resource_id).or_insert(0);
        priorities.push((record.record_id.bytes(), -*rank));
        *rank += 1;
    }
    priorities
}

fn ledger_entry_of_row(row: &Row) -> Result<LedgerEntry, CatalogError> {
    Ok(LedgerEntry {
        item_id: row.id("id")?,
        created_at: row.time("created_at")?,
        standing: standing_of_row(row)?,
    })
}

fn standing_of_row(row: &Row) -> Result<Standing, CatalogError> {
    let current_record = match row.optional_text("record_state")? {
        None => None,
        Some(_) => Some(row.word("record_state", RecordState::from_word)?),
    };
    Ok(Standing {
        state: row.word("state", ItemState::from_word)?,
        is_replica: row.optional_text("origin_region")?.is_some(),
        current_record,
    })
}
