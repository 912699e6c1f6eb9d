//! Schedules: when which operation runs next, and that every slot runs once.

use model::ids::{PolicyId, ScheduledOperationId};
use model::policy::Policy;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::policies::read_policy;
use crate::value::{Row, values};

/// Stored for "this schedule has no further run".
const NEVER: i64 = i64::MAX;

/// The most operations one answer lists.
pub const OPERATIONS_MAX: u32 = 1000;

/// A scheduled operation that wants attention, with its policy as of the same moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedOperation {
    /// The operation, one of the policy's.
    pub operation_id: ScheduledOperationId,
    /// Its policy.
    pub policy: Policy,
    /// When it is due; nothing when that was not computed yet.
    pub next_run_at: Option<Timestamp>,
}

/// One moment at which an operation is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The operation.
    pub operation: ScheduledOperationId,
    /// The moment.
    pub at: Timestamp,
}

impl Catalog {
    /// Notes when an operation runs next, or that it never does. Nothing happens, and the answer is
    /// false, when the policy was changed since `seen_updated_at`: its schedule may be another now.
    pub async fn set_next_run(
        &self,
        operation: ScheduledOperationId,
        seen_updated_at: Timestamp,
        next_run_at: Option<Timestamp>,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.write("planning the next run").await?;
        let next_run = next_run_at.map_or(NEVER, Timestamp::micros);
        let touched = tx
            .execute(
                "UPDATE scheduled_operations SET next_run_at = $1 WHERE id = $2 AND policy_id IN \
                 (SELECT id FROM policies WHERE updated_at = $3)",
                values![next_run, operation, seen_updated_at],
            )
            .await?;
        tx.commit().await?;
        Ok(touched == 1)
    }

    /// Enabled operations whose moment has come, earliest first; at most `limit` and at most
    /// [`OPERATIONS_MAX`].
    pub async fn due_operations(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlannedOperation>, CatalogError> {
        let mut tx = self.read("looking for due operations").await?;
        let rows = tx
            .all(
                "SELECT id, policy_id, next_run_at FROM scheduled_operations \
                 WHERE enabled = 1 AND next_run_at <= $1 ORDER BY next_run_at, id LIMIT $2",
                values![now, limit.min(OPERATIONS_MAX)],
            )
            .await?;
        planned(&mut tx, &rows).await
    }

    /// Enabled operations whose next run was not computed yet: new or changed ones.
    pub async fn unplanned_operations(&self, limit: u32) -> Result<Vec<PlannedOperation>, CatalogError> {
        let mut tx = self.read("looking for operations without a plan").await?;
        let rows = tx
            .all(
                "SELECT id, policy_id, next_run_at FROM scheduled_operations \
                 WHERE enabled = 1 AND next_run_at IS NULL ORDER BY id LIMIT $1",
                values![limit.min(OPERATIONS_MAX)],
            )
            .await?;
        planned(&mut tx, &rows).await
    }

    /// When the next enabled operation is due, if any ever is.
    pub async fn next_operation_at(&self) -> Result<Option<Timestamp>, CatalogError> {
        let mut tx = self.read("looking for the next operation").await?;
        let row = tx
            .first(
                "SELECT MIN(next_run_at) AS next_at FROM scheduled_operations \
                 WHERE enabled = 1 AND next_run_at < $1",
                values![NEVER],
            )
            .await?;
        row.map_or(Ok(None), |row| row.optional_time("next_at"))
    }

    /// Claims a slot in which nothing will run: true for exactly one caller, ever. A run claims its slot in
    /// the transaction that begins it.
    pub async fn claim_slot(&self, slot: &Slot, now: Timestamp) -> Result<bool, CatalogError> {
        let mut tx = self.write("claiming a slot").await?;
        let is_ours = match take_slot(&mut tx, slot, now).await {
            Ok(()) => true,
            Err(CatalogError::Conflict(Conflict::SlotTaken)) => false,
            Err(error) => return Err(error),
        };
        tx.commit().await?;
        Ok(is_ours)
    }

    /// The newest slot of an operation that was claimed: runs after it may have been missed.
    pub async fn last_slot(
        &self,
        operation: ScheduledOperationId,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let mut tx = self.read("reading the last slot").await?;
        let row = tx
            .first(
                "SELECT MAX(slot) AS last_slot FROM schedule_slots WHERE operation_id = $1",
                values![operation],
            )
            .await?;
        row.map_or(Ok(None), |row| row.optional_time("last_slot"))
    }
}

/// Claims a slot for the run that this transaction begins; `SlotTaken` for all callers but one, ever.
pub(crate) async fn take_slot(tx: &mut Tx, slot: &Slot, now: Timestamp) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO schedule_slots (operation_id, slot, claimed_at) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            values![slot.operation, slot.at, now],
        )
        .await?;
    if inserted == 0 { Err(Conflict::SlotTaken.into()) } else { Ok(()) }
}

async fn planned(tx: &mut Tx, rows: &[Row]) -> Result<Vec<PlannedOperation>, CatalogError> {
    let mut operations = Vec::with_capacity(rows.len());
    for row in rows {
        let id: PolicyId = row.id("policy_id")?;
        // The row refers to its policy, and both are read at one moment.
        let policy = read_policy(tx, id).await?.ok_or_else(|| row.corrupt("policy_id"))?;
        operations.push(PlannedOperation {
            operation_id: row.id("id")?,
            policy,
            next_run_at: row.optional_time("next_run_at")?,
        });
    }
    Ok(operations)
}
