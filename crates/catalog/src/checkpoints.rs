//! Checkpoints: beginning a run. The run, its items and the work they need become durable together.

use model::checkpoint::{Checkpoint, CheckpointItem, CheckpointState, ItemState};
use model::ids::{CheckpointId, ProjectId};

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::{insert_item, item_columns, whole_items};
use crate::jobs::{JobKind, NewJob, enqueue};
use crate::policies::{lock_policy, running_of};
use crate::quotas::require_quota;
use crate::region::require_unblocked;
use crate::schedule::{Slot, take_slot};
use crate::value::{Row, values};

/// Whether a run of a policy shares the policy with other runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSharing {
    /// Refused while an item of another run of the policy is still being made.
    Exclusive,
    /// Goes ahead whatever else runs.
    Shared,
}

impl Catalog {
    /// Writes a checkpoint, its items and one backup job an item. `PolicyRunning` for an exclusive
    /// run beside another; `NotFound` when the policy was deleted meanwhile; `ProjectOverQuota`.
    pub async fn begin_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        items: &[CheckpointItem],
        sharing: RunSharing,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("beginning a checkpoint").await?;
        begin_checkpoint_in(&mut tx, checkpoint, items, sharing).await?;
        tx.commit().await
    }

    /// The same for a run of the scheduler, which is exclusive: the slot is claimed if and only if the run
    /// begins. `SlotTaken` when it has had one.
    pub async fn begin_scheduled_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        items: &[CheckpointItem],
        slot: &Slot,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("beginning a scheduled checkpoint").await?;
        begin_checkpoint_in(&mut tx, checkpoint, items, RunSharing::Exclusive).await?;
        take_slot(&mut tx, slot, checkpoint.created_at).await?;
        tx.commit().await
    }

    /// One checkpoint of a project. Gone with its last item.
    pub async fn checkpoint(
        &self,
        project: &ProjectId,
        id: CheckpointId,
    ) -> Result<Checkpoint, CatalogError> {
        let mut tx = self.read("reading a checkpoint").await?;
        read_checkpoint(&mut tx, project, id).await
    }

    /// What a checkpoint is, taken over its items.
    pub async fn checkpoint_state(
        &self,
        project: &ProjectId,
        id: CheckpointId,
    ) -> Result<CheckpointState, CatalogError> {
        let mut tx = self.read("reading the state of a checkpoint").await?;
        read_checkpoint(&mut tx, project, id).await?;
        let rows = tx
            .all(
                "SELECT state FROM checkpoint_items WHERE checkpoint_id = $1 AND state <> 'deleted'",
                values![id],
            )
            .await?;
        let states: Result<Vec<_>, _> =
            rows.iter().map(|row| row.word("state", ItemState::from_word)).collect();
        Ok(CheckpointState::over(&states?))
    }

    /// The items of a checkpoint, oldest first, without the deleted ones.
    pub async fn items_of_checkpoint(
        &self,
        project: &ProjectId,
        id: CheckpointId,
    ) -> Result<Vec<CheckpointItem>, CatalogError> {
        let mut tx = self.read("reading the items of a checkpoint").await?;
        read_checkpoint(&mut tx, project, id).await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    item_columns!(),
                    " FROM checkpoint_items WHERE checkpoint_id = $1 AND state <> 'deleted' \
                     ORDER BY created_at, id"
                ),
                values![id],
            )
            .await?;
        whole_items(&mut tx, &rows).await
    }
}

/// Writes a checkpoint, its items and their jobs.
async fn begin_checkpoint_in(
    tx: &mut Tx,
    checkpoint: &Checkpoint,
    items: &[CheckpointItem],
    sharing: RunSharing,
) -> Result<(), CatalogError> {
    require_unblocked(tx).await?;
    if let Some(policy) = checkpoint.policy_id {
        // Locking the policy makes two runs see each other, and a deletion see this run.
        let known = lock_policy(tx, policy).await?;
        let known = known.filter(|known| known.project_id == checkpoint.project_id);
        known.ok_or_else(|| CatalogError::not_found("policy", policy))?;
        if sharing == RunSharing::Exclusive
            && let Some(auto_trigger) = running_of(tx, policy).await?
        {
            return Err(Conflict::PolicyRunning { auto_trigger }.into());
        }
    }
    require_quota(tx, &checkpoint.project_id, items.len() as u64).await?;
    insert_checkpoint(tx, checkpoint).await?;
    for item in items {
        if !matches!(item.state, ItemState::WaitingProtect | ItemState::Protecting) {
            return Err(Conflict::ItemBusy { item: item.id, state: item.state }.into());
        }
        if !insert_item(tx, item).await? {
            return Err(Conflict::IdTaken { what: "checkpoint item", id: item.id.to_string() }.into());
        }
        let job = NewJob { kind: JobKind::Backup, subject: item.id.bytes(), priority: 0 };
        enqueue(tx, &job, checkpoint.created_at).await?;
    }
    Ok(())
}

/// Inserts a checkpoint's own row.
pub(crate) async fn insert_checkpoint(tx: &mut Tx, checkpoint: &Checkpoint) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO checkpoints (id, project_id, policy_id, plan_id, plan_name, auto_trigger, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            values![
                checkpoint.id,
                &checkpoint.project_id,
                checkpoint.policy_id,
                &checkpoint.plan_id,
                &checkpoint.plan_name,
                checkpoint.auto_trigger,
                checkpoint.created_at
            ],
        )
        .await?;
    if inserted == 0 {
        return Err(Conflict::IdTaken { what: "checkpoint", id: checkpoint.id.to_string() }.into());
    }
    Ok(())
}

pub(crate) async fn read_checkpoint(
    tx: &mut Tx,
    project: &ProjectId,
    id: CheckpointId,
) -> Result<Checkpoint, CatalogError> {
    let row = tx
        .first(
            "SELECT id, project_id, policy_id, plan_id, plan_name, auto_trigger, created_at \
             FROM checkpoints WHERE id = $1 AND project_id = $2 AND deleted_at IS NULL",
            values![id, project],
        )
        .await?;
    checkpoint_of_row(&row.ok_or_else(|| CatalogError::not_found("checkpoint", id))?)
}

fn checkpoint_of_row(row: &Row) -> Result<Checkpoint, CatalogError> {
    Ok(Checkpoint {
        id: row.id("id")?,
        project_id: row.id("project_id")?,
        policy_id: row.optional_id("policy_id")?,
        plan_id: row.text("plan_id")?,
        plan_name: row.text("plan_name")?,
        auto_trigger: row.flag("auto_trigger")?,
        created_at: row.time("created_at")?,
    })
}
