//! Deleted policies, and the adoption of what they left: another policy of the project takes over the
//! backups, with their checkpoints and replication records, in one transaction. Nothing is copied or
//! replicated again, because a record belongs to its item.

use model::ids::{CheckpointItemId, PolicyId, ProjectId};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::policies::{lock_policy, read_policy};
use crate::state_outbox::note_adoption;
use crate::value::{Row, values};

/// A policy that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedPolicy {
    /// Its id.
    pub id: PolicyId,
    /// The project that owned it.
    pub project_id: ProjectId,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// The policy that adopted its backups, if one did.
    pub adopted_by: Option<PolicyId>,
}

/// What an adoption moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Backups, those in quarantine included.
    pub item_count: u64,
    /// Replication records.
    pub record_count: u64,
}

impl Catalog {
    /// Gives a policy the backups of a deleted policy of the same project, and all that this one had adopted.
    /// A second time it moves nothing. `PolicyExists` while the old one is there, `PolicyAdopted` when
    /// another one was faster.
    pub async fn adopt_policy(
        &self,
        project: &ProjectId,
        policy: PolicyId,
        old: PolicyId,
        now: Timestamp,
    ) -> Result<Adopted, CatalogError> {
        let mut tx = self.write("adopting the backups of a policy").await?;
        let adopter = lock_policy(&mut tx, policy).await?.filter(|known| known.project_id == *project);
        adopter.ok_or_else(|| CatalogError::not_found("policy", policy))?;
        let Some(deleted) = lock_deleted(&mut tx, project, old).await? else {
            let there = read_policy(&mut tx, old).await?.filter(|known| known.project_id == *project);
            return Err(match there {
                Some(_) => Conflict::PolicyExists { policy: old }.into(),
                None => CatalogError::not_found("policy", old),
            });
        };
        match deleted.adopted_by {
            Some(adopter) if adopter == policy => return Ok(Adopted::default()),
            Some(adopter) => return Err(Conflict::PolicyAdopted { policy: old, adopter }.into()),
            None => {}
        }
        let adopted = move_backups(&mut tx, policy, old).await?;
        tx.execute("UPDATE deleted_policies SET adopted_by = $1 WHERE id = $2", values![policy, old]).await?;
        note_adoption(&mut tx, old, project, deleted.deleted_at, now).await?;
        tx.commit().await?;
        Ok(adopted)
    }

    /// The deleted policies of a project, by id.
    pub async fn deleted_policies(&self, project: &ProjectId) -> Result<Vec<DeletedPolicy>, CatalogError> {
        let mut tx = self.read("reading deleted policies").await?;
        let rows = tx
            .all(
                "SELECT id, project_id, deleted_at, adopted_by FROM deleted_policies \
                 WHERE project_id = $1 ORDER BY id",
                values![project],
            )
            .await?;
        rows.iter().map(deleted_of_row).collect()
    }
}

/// Inserts what is left of a deleted policy.
pub(crate) async fn insert_deleted(tx: &mut Tx, deleted: &DeletedPolicy) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO deleted_policies (id, project_id, deleted_at, adopted_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
        values![deleted.id, &deleted.project_id, deleted.deleted_at, deleted.adopted_by],
    )
    .await?;
    Ok(())
}

/// Who adopted the backups of a deleted policy, if it was deleted and somebody did.
pub(crate) async fn adopter_of(tx: &mut Tx, old: PolicyId) -> Result<Option<PolicyId>, CatalogError> {
    let row = tx.first("SELECT adopted_by FROM deleted_policies WHERE id = $1", values![old]).await?;
    row.map_or(Ok(None), |row| row.optional_id("adopted_by"))
}

/// Keeps the policies that made these items, deleted ones as well, from changing until the transaction
/// ends: none of the items is selected for replication or adopted meanwhile. One that was adopted before
/// we had its policy is looked up again.
pub(crate) async fn lock_policies_of(tx: &mut Tx, items: &[CheckpointItemId]) -> Result<(), CatalogError> {
    let mut locked: Vec<PolicyId> = Vec::new();
    loop {
        let mut made_by: Vec<PolicyId> = Vec::new();
        for item in items {
            let row = tx.first("SELECT policy_id FROM checkpoint_items WHERE id = $1", values![item]).await?;
            let policy: Option<PolicyId> = row.map_or(Ok(None), |row| row.optional_id("policy_id"))?;
            made_by.extend(policy);
        }
        made_by.sort();
        made_by.dedup();
        made_by.retain(|policy| !locked.contains(policy));
        if made_by.is_empty() {
            return Ok(());
        }
        for policy in made_by {
            tx.execute("UPDATE policies SET name = name WHERE id = $1", values![policy]).await?;
            tx.execute("UPDATE deleted_policies SET id = id WHERE id = $1", values![policy]).await?;
            locked.push(policy);
        }
    }
}

async fn lock_deleted(
    tx: &mut Tx,
    project: &ProjectId,
    id: PolicyId,
) -> Result<Option<DeletedPolicy>, CatalogError> {
    let row = tx
        .first(
            "UPDATE deleted_policies SET id = id WHERE id = $1 AND project_id = $2 \
             RETURNING id, project_id, deleted_at, adopted_by",
            values![id, project],
        )
        .await?;
    row.as_ref().map(deleted_of_row).transpose()
}

async fn move_backups(tx: &mut Tx, policy: PolicyId, old: PolicyId) -> Result<Adopted, CatalogError> {
    tx.execute(
        "UPDATE checkpoints SET policy_id = $1, plan_id = $1 WHERE policy_id = $2",
        values![policy, old],
    )
    .await?;
    let moving = "UPDATE checkpoint_items SET policy_id = $1 WHERE policy_id = $2";
    let item_count = tx.execute(moving, values![policy, old]).await?;
    let moving = "UPDATE replication_records SET policy_id = $1 WHERE policy_id = $2";
    let record_count = tx.execute(moving, values![policy, old]).await?;
    Ok(Adopted { item_count, record_count })
}

fn deleted_of_row(row: &Row) -> Result<DeletedPolicy, CatalogError> {
    Ok(DeletedPolicy {
        id: row.id("id")?,
        project_id: row.id("project_id")?,
        deleted_at: row.time("deleted_at")?,
        adopted_by: row.optional_id("adopted_by")?,
    })
}
