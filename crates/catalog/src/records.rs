//! Replication records as rows: reading, listing, and the worker's moves. No state is assigned here
//! but the one that [`RecordState::on`] gives.

use model::grant::Level;
use model::ids::{CheckpointId, CheckpointItemId, PolicyId, ProjectId, RegionName, ReplicationRecordId};
use model::replication::{
    Destination, IllegalRecordMove, Pace, PaceEvent, RecordEvent, RecordState, ReplicationRecord,
};
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::jobs::{JobKind, Lease, check_lease_on, end_job, lock_job, reopen_job};
use crate::page::{List, Page, SortKey, Where, places};
use crate::value::{Row, Value, values};

/// Which records are wanted. Empty lists and missing values let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// With one of these ids.
    pub ids: Vec<ReplicationRecordId>,
    /// In one of these states.
    pub states: Vec<RecordState>,
    /// Of one of these items.
    pub item_ids: Vec<CheckpointItemId>,
    /// Of the items of one of these checkpoints.
    pub checkpoint_ids: Vec<CheckpointId>,
    /// Caused by one of these policies.
    pub policy_ids: Vec<PolicyId>,
    /// Going to one of these regions.
    pub destination_regions: Vec<RegionName>,
    /// Going to one of these projects.
    pub destination_project_ids: Vec<ProjectId>,
    /// Queued at this moment or later.
    pub start_time: Option<Timestamp>,
    /// Queued at this moment or earlier.
    pub end_time: Option<Timestamp>,
    /// Nothing at all is wanted.
    pub matches_nothing: bool,
}

/// What records can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordSort {
    /// When they were queued.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// The word of their state.
    State,
    /// Their id.
    Id,
}

impl SortKey for RecordSort {
    const DEFAULT: RecordSort = RecordSort::CreatedAt;

    fn expression(self) -> &'static str {
        match self {
            RecordSort::CreatedAt => "created_at",
            RecordSort::UpdatedAt => "updated_at",
            RecordSort::State => "state",
            RecordSort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, RecordSort::State | RecordSort::Id)
    }
}

/// What else changes with a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordChange {
    /// Why it moved, as a code; empty when all is well.
    pub reason_code: String,
    /// The same for a person, with the next step.
    pub reason: String,
}

/// How far a transfer is, in bytes since the record began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferProgress {
    /// Acknowledged by the destination.
    pub sent_bytes: u64,
    /// Sent before and again.
    pub resent_bytes: u64,
    /// Already there and not sent.
    pub skipped_bytes: u64,
    /// Expected to be sent in all, once known.
    pub planned_bytes: u64,
}

/// A replica that the destination has given a receipt for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReplica {
    /// The signed receipt, verified.
    pub receipt: Vec<u8>,
    /// The head counter in the receipt: later heads list the replica.
    pub head_counter: u64,
    /// The replica's checkpoint there.
    pub destination_checkpoint_id: CheckpointId,
    /// The replica there.
    pub destination_item_id: CheckpointItemId,
    /// What the receipt says is proved of it.
    pub level: Level,
    /// What was sent in the end.
    pub progress: TransferProgress,
}

macro_rules! record_columns {
    () => {
        "id, checkpoint_item_id, checkpoint_id, source_project_id, destination_region, \
         destination_project_id, policy_id, grant_id, state, is_current, auto_trigger, by_scheduler, \
         enable_acceleration, generation, replica_name, replica_description, keep_days, sent_bytes, \
         resent_bytes, skipped_bytes, planned_bytes, attempts, try_at, paused_at, reason_code, reason, destination_checkpoint_id, \
         destination_item_id, receipt, created_at, updated_at"
    };
}

const RECORDS: List =
    List { columns: record_columns!(), table: "replication_records", what: "replication record" };

/// How many items one statement asks about.
const IDS_A_STATEMENT: usize = 500;

impl Catalog {
    /// One record of a project.
    pub async fn record(
        &self,
        project: &ProjectId,
        id: ReplicationRecordId,
    ) -> Result<ReplicationRecord, CatalogError> {
        let record = self.record_by_id(id).await?;
        if record.source_project_id == *project {
            Ok(record)
        } else {
            Err(CatalogError::not_found("replication record", id))
        }
    }

    /// One record of any project, for workers.
    pub async fn record_by_id(&self, id: ReplicationRecordId) -> Result<ReplicationRecord, CatalogError> {
        let mut tx = self.read("reading a replication record").await?;
        let row = tx
            .first(
                concat!("SELECT ", record_columns!(), " FROM replication_records WHERE id = $1"),
                values![id],
            )
            .await?;
        record_of_row(&row.ok_or_else(|| CatalogError::not_found("replication record", id))?)
    }

    /// The records of a project.
    pub async fn records(
        &self,
        project: &ProjectId,
        filter: &RecordFilter,
        page: &Page<RecordSort>,
    ) -> Result<Vec<ReplicationRecord>, CatalogError> {
        let mut tx = self.read("listing replication records").await?;
        let rows = RECORDS.page(&mut tx, terms_of(project, filter), page).await?;
        rows.iter().map(record_of_row).collect()
    }

    /// How many records of a project the filter lets through.
    pub async fn count_records(
        &self,
        project: &ProjectId,
        filter: &RecordFilter,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.read("counting replication records").await?;
        RECORDS.count(&mut tx, terms_of(project, filter)).await
    }

    /// All records of these items, oldest first.
    pub async fn records_of_items(
        &self,
        items: &[CheckpointItemId],
    ) -> Result<Vec<ReplicationRecord>, CatalogError> {
        let mut tx = self.read("reading the replication records of items").await?;
        let mut records = Vec::new();
        for some in items.chunks(IDS_A_STATEMENT) {
            let sql = format!(
                "SELECT {} FROM replication_records WHERE checkpoint_item_id IN ({})",
                record_columns!(),
                places(1, some.len())
            );
            let ids = some.iter().map(Value::from).collect();
            // Safe: made of our own words and places; every value is bound.
            for row in tx.all(AssertSqlSafe(sql), ids).await? {
                records.push(record_of_row(&row)?);
            }
        }
        records.sort_by_key(|record| (record.created_at, record.id));
        Ok(records)
    }

    /// Moves a record by an event and answers its new state. A final one ends the job. Receipts come
    /// in by [`Catalog::finish_replication`] only, losses by [`Catalog::mark_lost`].
    pub async fn move_record(
        &self,
        lease: &Lease,
        id: ReplicationRecordId,
        event: RecordEvent,
        change: &RecordChange,
        now: Timestamp,
    ) -> Result<RecordState, CatalogError> {
        let mut tx = self.write("moving a replication record").await?;
        check_lease_on(&mut tx, lease, JobKind::Replicate, id.bytes()).await?;
        let before = lock_record(&mut tx, id).await?;
        if matches!(event, RecordEvent::ReceiptStored | RecordEvent::MissingFromHead) {
            return Err(IllegalRecordMove { state: before, event }.into());
        }
        let state = before.on(event)?;
        store_record_state(&mut tx, id, state, change, now).await?;
        if event == RecordEvent::Claimed {
            tx.execute(
                "UPDATE replication_records SET attempts = attempts + 1, begun_at = $1 WHERE id = $2",
                values![now, id],
            )
            .await?;
        }
        if state.is_final() {
            end_job(&mut tx, JobKind::Replicate, id.bytes(), now).await?;
        }
        tx.commit().await?;
        Ok(state)
    }

    /// Notes how far a transfer is.
    pub async fn record_transfer_progress(
        &self,
        lease: &Lease,
        id: ReplicationRecordId,
        progress: &TransferProgress,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting the progress of a transfer").await?;
        check_lease_on(&mut tx, lease, JobKind::Replicate, id.bytes()).await?;
        store_progress(&mut tx, id, progress, now).await?;
        tx.commit().await
    }

    /// Stores the destination's receipt: the record is done, its job ends. What coverage asks of the replica is
    /// written beside it.
    pub async fn finish_replication(
        &self,
        lease: &Lease,
        id: ReplicationRecordId,
        stored: &StoredReplica,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a replication").await?;
        check_lease_on(&mut tx, lease, JobKind::Replicate, id.bytes()).await?;
        let state = lock_record(&mut tx, id).await?.on(RecordEvent::ReceiptStored)?;
        // The receipt comes first: the engine refuses a record that is done without one.
        tx.execute(
            "UPDATE replication_records SET receipt = $1, receipt_head_counter = $2, \
             destination_checkpoint_id = $3, destination_item_id = $4, replica_level = $5, resource_id = \
             (SELECT i.resource_id FROM checkpoint_items i WHERE i.id = checkpoint_item_id), protected_at = \
             (SELECT i.protected_at FROM checkpoint_items i WHERE i.id = checkpoint_item_id) WHERE id = $6",
            values![
                stored.receipt.as_slice(),
                stored.head_counter,
                stored.destination_checkpoint_id,
                stored.destination_item_id,
                stored.level.word(),
                id
            ],
        )
        .await?;
        store_record_state(&mut tx, id, state, &RecordChange::default(), now).await?;
        store_progress(&mut tx, id, &stored.progress, now).await?;
        end_job(&mut tx, JobKind::Replicate, id.bytes(), now).await?;
        tx.commit().await
    }

    /// Takes an open record back; whoever works on it is fenced.
    pub async fn cancel_replication(
        &self,
        project: &ProjectId,
        id: ReplicationRecordId,
        change: &RecordChange,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("cancelling a replication").await?;
        let state = lock_own_record(&mut tx, project, id).await?.0.on(RecordEvent::Cancelled)?;
        store_record_state(&mut tx, id, state, change, now).await?;
        end_job(&mut tx, JobKind::Replicate, id.bytes(), now).await?;
        tx.commit().await
    }

    /// Stops an open record for a while: no worker takes it up, and whoever works on it is fenced. One that is
    /// paused already stays as it is.
    pub async fn pause_replication(
        &self,
        project: &ProjectId,
        id: ReplicationRecordId,
        change: &RecordChange,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("pausing a replication").await?;
        let (state, before) = lock_own_record(&mut tx, project, id).await?;
        let pace = before.on(PaceEvent::Paused, state)?;
        if pace != before {
            store_pace(&mut tx, id, pace, change, now).await?;
            end_job(&mut tx, JobKind::Replicate, id.bytes(), now).await?;
        }
        tx.commit().await
    }

    /// Lets a paused record go on, now and at its old place. One that is not paused stays as it is.
    pub async fn resume_replication(
        &self,
        project: &ProjectId,
        id: ReplicationRecordId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("resuming a replication").await?;
        let (state, before) = lock_own_record(&mut tx, project, id).await?;
        let pace = before.on(PaceEvent::Resumed, state)?;
        if pace != before {
            store_pace(&mut tx, id, pace, &RecordChange::default(), now).await?;
            reopen_job(&mut tx, JobKind::Replicate, id.bytes(), now).await?;
        }
        tx.commit().await
    }
}

/// Locks a record of a project, its job first, and answers how it stands.
async fn lock_own_record(
    tx: &mut Tx,
    project: &ProjectId,
    id: ReplicationRecordId,
) -> Result<(RecordState, Pace), CatalogError> {
    lock_job(tx, JobKind::Replicate, id.bytes()).await?;
    let row = tx
        .first(
            "UPDATE replication_records SET state = state WHERE id = $1 AND source_project_id = $2 \
             RETURNING state, paused_at",
            values![id, project],
        )
        .await?;
    let row = row.ok_or_else(|| CatalogError::not_found("replication record", id))?;
    let paused_at = row.optional_time("paused_at")?;
    let pace = if paused_at.is_some() { Pace::Paused } else { Pace::Going };
    Ok((row.word("state", RecordState::from_word)?, pace))
}

/// Writes the pace that its own function gave.
async fn store_pace(
    tx: &mut Tx,
    id: ReplicationRecordId,
    pace: Pace,
    change: &RecordChange,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let paused_at = (pace == Pace::Paused).then_some(now);
    tx.execute(
        "UPDATE replication_records SET paused_at = $1, reason_code = $2, reason = $3, try_at = $4, \
         updated_at = $4 WHERE id = $5",
        values![paused_at, &change.reason_code, &change.reason, now, id],
    )
    .await?;
    Ok(())
}

/// Keeps everybody else from moving a record until the transaction ends, and answers its state.
pub(crate) async fn lock_record(tx: &mut Tx, id: ReplicationRecordId) -> Result<RecordState, CatalogError> {
    let row = tx
        .first("UPDATE replication_records SET state = state WHERE id = $1 RETURNING state", values![id])
        .await?;
    let row = row.ok_or_else(|| CatalogError::not_found("replication record", id))?;
    row.word("state", RecordState::from_word)
}

/// Writes the state that the record's own function gave. The end of a record ends its pause.
pub(crate) async fn store_record_state(
    tx: &mut Tx,
    id: ReplicationRecordId,
    state: RecordState,
    change: &RecordChange,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE replication_records SET state = $1, is_current = $2, reason_code = $3, reason = $4, \
         updated_at = $5, paused_at = CASE WHEN $7 = 1 THEN NULL ELSE paused_at END WHERE id = $6",
        values![
            state.word(),
            state.is_current(),
            &change.reason_code,
            &change.reason,
            now,
            id,
            state.is_final()
        ],
    )
    .await?;
    Ok(())
}

async fn store_progress(
    tx: &mut Tx,
    id: ReplicationRecordId,
    progress: &TransferProgress,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE replication_records SET sent_bytes = $1, resent_bytes = $2, skipped_bytes = $3, \
         planned_bytes = $4, updated_at = $5 WHERE id = $6",
        values![
            progress.sent_bytes,
            progress.resent_bytes,
            progress.skipped_bytes,
            progress.planned_bytes,
            now,
            id
        ],
    )
    .await?;
    Ok(())
}

fn terms_of(project: &ProjectId, filter: &RecordFilter) -> Where {
    let mut terms = Where::of("source_project_id", project);
    terms.any_of("id", &filter.ids);
    terms.any_of("state", filter.states.iter().map(|state| state.word()));
    terms.any_of("checkpoint_item_id", &filter.item_ids);
    terms.any_of("checkpoint_id", &filter.checkpoint_ids);
    terms.any_of("policy_id", &filter.policy_ids);
    terms.any_of("destination_region", &filter.destination_regions);
    terms.any_of("destination_project_id", &filter.destination_project_ids);
    if let Some(moment) = filter.start_time {
        terms.compare("created_at >=", moment);
    }
    if let Some(moment) = filter.end_time {
        terms.compare("created_at <=", moment);
    }
    if filter.matches_nothing {
        terms.term("1 = 0");
    }
    terms
}

fn record_of_row(row: &Row) -> Result<ReplicationRecord, CatalogError> {
    Ok(ReplicationRecord {
        id: row.id("id")?,
        item_id: row.id("checkpoint_item_id")?,
        checkpoint_id: row.id("checkpoint_id")?,
        source_project_id: row.id("source_project_id")?,
        destination: Destination {
            region: row.id("destination_region")?,
            project_id: row.id("destination_project_id")?,
        },
        policy_id: row.optional_id("policy_id")?,
        grant_id: row.id("grant_id")?,
        state: row.word("state", RecordState::from_word)?,
        is_current: row.flag("is_current")?,
        auto_trigger: row.flag("auto_trigger")?,
        by_scheduler: row.flag("by_scheduler")?,
        enable_acceleration: row.flag("enable_acceleration")?,
        generation: row.small("generation")?,
        replica_name: row.optional_text("replica_name")?,
        replica_description: row.optional_text("replica_description")?,
        keep_days: row.optional_small("keep_days")?,
        sent_bytes: row.count("sent_bytes")?,
        resent_bytes: row.count("resent_bytes")?,
        skipped_bytes: row.count("skipped_bytes")?,
        planned_bytes: row.count("planned_bytes")?,
        attempts: row.small("attempts")?,
        try_at: row.time("try_at")?,
        paused_at: row.optional_time("paused_at")?,
        reason_code: row.text("reason_code")?,
        reason: row.text("reason")?,
        destination_checkpoint_id: row.optional_id("destination_checkpoint_id")?,
        destination_item_id: row.optional_id("destination_item_id")?,
        receipt: row.optional_blob("receipt")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
