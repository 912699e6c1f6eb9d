//! Policies: which servers, when, how long kept. A policy is read and written whole; its schedule
//! lives in `schedule.rs`, its way out of the rows in `policies/rows.rs`.

mod rows;

use model::ids::{PolicyId, ProjectId, ResourceId};
use model::policy::{OperationDefinition, Policy, ScheduledOperation};
use model::time::Timestamp;

use crate::adoption::{DeletedPolicy, insert_deleted};
use crate::destinations::delete_destinations;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::page::{List, Page, SortKey, Where};
use crate::servers::policy_of_server_row;
use crate::state_outbox::{StateSubject, note_change, note_deletion};
use crate::tags::{Tagged, insert_tags};
use crate::value::{Row, values};

pub(crate) use rows::{description_of, whole_policies};

/// What policies can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySort {
    /// When they were made.
    CreatedAt,
    /// When they were last changed.
    UpdatedAt,
    /// Their name.
    Name,
    /// Their id.
    Id,
}

impl SortKey for PolicySort {
    const DEFAULT: PolicySort = PolicySort::CreatedAt;

    fn expression(self) -> &'static str {
        match self {
            PolicySort::CreatedAt => "created_at",
            PolicySort::UpdatedAt => "updated_at",
            PolicySort::Name => "name",
            PolicySort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, PolicySort::Name | PolicySort::Id)
    }
}

/// Which policies are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFilter {
    /// The one of this name only.
    pub name: Option<String>,
}

pub(crate) const POLICIES: List = List {
    columns: "id, project_id, name, description, parameters, created_at, updated_at",
    table: "policies",
    what: "policy",
};

impl Catalog {
    /// Makes a policy. `NameTaken` in its project, `ServerInPolicy`, `IdTaken`, or `TooManyPolicies` when
    /// the project has as many as it may.
    pub async fn create_policy(
        &self,
        policy: &Policy,
        policies_max: Option<u32>,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a policy").await?;
        if let Some(policies_max) = policies_max {
            require_room(&mut tx, &policy.project_id, policies_max).await?;
        }
        insert_policy(&mut tx, policy).await?;
        note_change(&mut tx, StateSubject::Policy, policy.id, &policy.project_id, policy.updated_at).await?;
        tx.commit().await
    }

    /// One policy of a project.
    pub async fn policy(&self, project: &ProjectId, id: PolicyId) -> Result<Policy, CatalogError> {
        let mut tx = self.read("reading a policy").await?;
        let policy = read_policy(&mut tx, id).await?;
        let policy = policy.filter(|policy| policy.project_id == *project);
        policy.ok_or_else(|| CatalogError::not_found("policy", id))
    }

    /// The policies of a project.
    pub async fn policies(
        &self,
        project: &ProjectId,
        filter: &PolicyFilter,
        page: &Page<PolicySort>,
    ) -> Result<Vec<Policy>, CatalogError> {
        let mut tx = self.read("listing policies").await?;
        let mut terms = Where::of("project_id", project);
        if let Some(name) = &filter.name {
            terms.compare("name =", name);
        }
        let rows = POLICIES.page(&mut tx, terms, page).await?;
        whole_policies(&mut tx, &rows).await
    }

    /// Replaces a policy, if nobody changed it since the caller read it (`PolicyChanged`). Operations
    /// whose trigger stays keep their next run. Answers the moment of change that was stored, which
    /// is later than the seen one even when clocks stand still.
    pub async fn update_policy(
        &self,
        policy: &Policy,
        seen_updated_at: Timestamp,
    ) -> Result<Timestamp, CatalogError> {
        let mut tx = self.write("changing a policy").await?;
        let before = lock_policy(&mut tx, policy.id).await?;
        let before = before.filter(|before| before.project_id == policy.project_id);
        let before = before.ok_or_else(|| CatalogError::not_found("policy", policy.id))?;
        if before.updated_at != seen_updated_at {
            return Err(Conflict::PolicyChanged.into());
        }
        let same_name = tx
            .first(
                "SELECT id FROM policies WHERE project_id = $1 AND name = $2 AND id <> $3",
                values![&policy.project_id, policy.name.as_str(), policy.id],
            )
            .await?;
        if same_name.is_some() {
            return Err(name_taken(policy).into());
        }
        let updated_at = policy.updated_at.max(seen_updated_at.plus_micros(1));
        tx.execute(
            "UPDATE policies SET name = $1, description = $2, parameters = $3, updated_at = $4 WHERE id = $5",
            values![
                policy.name.as_str(),
                policy.description.as_str(),
                &policy.parameters,
                updated_at,
                policy.id
            ],
        )
        .await?;
        let next_runs = next_runs(&mut tx, policy.id).await?;
        delete_parts(&mut tx, policy.id).await?;
        insert_parts(&mut tx, policy).await?;
        for (position, operation) in policy.operations.iter().enumerate() {
            let old = before.operations.iter().find(|old| old.id == operation.id);
            let is_kept =
                old.is_some_and(|old| old.trigger == operation.trigger && old.enabled == operation.enabled);
            let next_run = next_runs.iter().find(|(id, _)| is_kept && *id == operation.id.to_string());
            let next_run = next_run.and_then(|(_, moment)| *moment);
            insert_operation(&mut tx, policy.id, position, operation, next_run).await?;
        }
        note_change(&mut tx, StateSubject::Policy, policy.id, &policy.project_id, updated_at).await?;
        tx.commit().await?;
        Ok(updated_at)
    }

    /// Deletes a policy. Its checkpoints stay, also those of a run that is going on, which finishes as if
    /// nothing had happened, and so do its open replication records. What is left of the policy is its id.
    pub async fn delete_policy(
        &self,
        project: &ProjectId,
        id: PolicyId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting a policy").await?;
        let policy = lock_policy(&mut tx, id).await?.filter(|policy| policy.project_id == *project);
        policy.ok_or_else(|| CatalogError::not_found("policy", id))?;
        delete_parts(&mut tx, id).await?;
        delete_destinations(&mut tx, id).await?;
        tx.execute("DELETE FROM policies WHERE id = $1", values![id]).await?;
        let project_id = project.clone();
        insert_deleted(&mut tx, &DeletedPolicy { id, project_id, deleted_at: now, adopted_by: None }).await?;
        note_deletion(&mut tx, StateSubject::Policy, id, project, now).await?;
        tx.commit().await
    }

    /// The policy that a server is in, if any.
    pub async fn policy_of_server(
        &self,
        project: &ProjectId,
        server: &ResourceId,
    ) -> Result<Option<Policy>, CatalogError> {
        let mut tx = self.read("reading the policy of a server").await?;
        let Some(id) = policy_of_server_row(&mut tx, server).await? else { return Ok(None) };
        Ok(read_policy(&mut tx, id).await?.filter(|policy| policy.project_id == *project))
    }

    /// Every policy of the region, for workers.
    pub async fn all_policies(&self) -> Result<Vec<Policy>, CatalogError> {
        let mut tx = self.read("listing policies").await?;
        let rows = tx
            .all(
                "SELECT id, project_id, name, description, parameters, created_at, updated_at \
                 FROM policies ORDER BY created_at, id",
                values![],
            )
            .await?;
        whole_policies(&mut tx, &rows).await
    }
}

/// Inserts a policy with everything it is made of.
pub(crate) async fn insert_policy(tx: &mut Tx, policy: &Policy) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO policies (id, project_id, name, description, parameters, created_at, \
             updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            values![
                policy.id,
                &policy.project_id,
                policy.name.as_str(),
                policy.description.as_str(),
                &policy.parameters,
                policy.created_at,
                policy.updated_at
            ],
        )
        .await?;
    if inserted == 0 {
        let same = tx.first("SELECT id FROM policies WHERE id = $1", values![policy.id]).await?;
        return Err(match same {
            Some(_) => Conflict::IdTaken { what: "policy", id: policy.id.to_string() },
            None => name_taken(policy),
        }
        .into());
    }
    insert_parts(tx, policy).await?;
    for (position, operation) in policy.operations.iter().enumerate() {
        insert_operation(tx, policy.id, position, operation, None).await?;
    }
    Ok(())
}

/// Refuses one policy more than a project may have. Locking the project makes two calls see each other.
async fn require_room(tx: &mut Tx, project: &ProjectId, policies_max: u32) -> Result<(), CatalogError> {
    tx.execute("UPDATE projects SET name = name WHERE id = $1", values![project]).await?;
    let counting = "SELECT COUNT(*) AS policy_count FROM policies WHERE project_id = $1";
    let row = tx.first(counting, values![project]).await?;
    match row.map_or(Ok(0), |row| row.count("policy_count"))? {
        count if count < u64::from(policies_max) => Ok(()),
        _ => Err(Conflict::TooManyPolicies { policies_max }.into()),
    }
}

/// Whether a run of the policy is going, and if so whether the scheduler started it.
pub(crate) async fn running_of(tx: &mut Tx, policy: PolicyId) -> Result<Option<bool>, CatalogError> {
    let row = tx
        .first(
            "SELECT auto_trigger FROM checkpoint_items WHERE policy_id = $1 \
             AND state IN ('waiting_protect', 'protecting') ORDER BY auto_trigger LIMIT 1",
            values![policy],
        )
        .await?;
    row.map(|row| row.flag("auto_trigger")).transpose()
}

/// Reads a policy and keeps every other writer from changing it until the transaction ends.
pub(crate) async fn lock_policy(tx: &mut Tx, id: PolicyId) -> Result<Option<Policy>, CatalogError> {
    tx.execute("UPDATE policies SET name = name WHERE id = $1", values![id]).await?;
    read_policy(tx, id).await
}

/// A policy of any project.
pub(crate) async fn read_policy(tx: &mut Tx, id: PolicyId) -> Result<Option<Policy>, CatalogError> {
    let row = tx
        .first(
            "SELECT id, project_id, name, description, parameters, created_at, updated_at \
             FROM policies WHERE id = $1",
            values![id],
        )
        .await?;
    let rows: Vec<Row> = row.into_iter().collect();
    Ok(whole_policies(tx, &rows).await?.pop())
}

fn name_taken(policy: &Policy) -> Conflict {
    Conflict::NameTaken { what: "policy", name: policy.name.to_string() }
}

/// The stored next runs, by the text of the operation's id.
async fn next_runs(tx: &mut Tx, policy: PolicyId) -> Result<Vec<(String, Option<i64>)>, CatalogError> {
    let rows = tx
        .all("SELECT id, next_run_at FROM scheduled_operations WHERE policy_id = $1", values![policy])
        .await?;
    rows.iter().map(|row| Ok((row.text("id")?, row.optional_integer("next_run_at")?))).collect()
}

async fn delete_parts(tx: &mut Tx, policy: PolicyId) -> Result<(), CatalogError> {
    for statement in [
        "DELETE FROM policy_resources WHERE policy_id = $1",
        "DELETE FROM policy_excluded_volumes WHERE policy_id = $1",
        "DELETE FROM policy_tags WHERE policy_id = $1",
        "DELETE FROM scheduled_operations WHERE policy_id = $1",
    ] {
        tx.execute(statement, values![policy]).await?;
    }
    Ok(())
}

/// Inserts resources and tags.
async fn insert_parts(tx: &mut Tx, policy: &Policy) -> Result<(), CatalogError> {
    for (position, resource) in policy.resources.iter().enumerate() {
        let inserted = tx
            .execute(
                "INSERT INTO policy_resources (resource_id, policy_id, position, name, extra_info) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                values![&resource.id, policy.id, position, &resource.name, &resource.extra_info],
            )
            .await?;
        if inserted == 0 {
            let owner = policy_of_server_row(tx, &resource.id).await?;
            return Err(Conflict::ServerInPolicy {
                server: resource.id.clone(),
                policy: owner.unwrap_or(policy.id),
            }
            .into());
        }
        for (position, volume) in resource.excluded_volumes.iter().enumerate() {
            tx.execute(
                "INSERT INTO policy_excluded_volumes (policy_id, resource_id, position, volume_id) \
                 VALUES ($1, $2, $3, $4)",
                values![policy.id, &resource.id, position, volume],
            )
            .await?;
        }
    }
    insert_tags(tx, &Tagged::Policy(policy.id), &policy.project_id, &policy.tags).await
}

async fn insert_operation(
    tx: &mut Tx,
    policy: PolicyId,
    position: usize,
    operation: &ScheduledOperation,
    next_run_at: Option<i64>,
) -> Result<(), CatalogError> {
    let keep = operation.definition.retention().fields();
    let (region, project, is_accelerated) = match &operation.definition {
        OperationDefinition::Backup { .. } => (None, None, false),
        OperationDefinition::Replication {
            destination_region,
            destination_project_id,
            enable_acceleration,
            ..
        } => (Some(destination_region), Some(destination_project_id), *enable_acceleration),
    };
    let inserted = tx
        .execute(
            "INSERT INTO scheduled_operations (id, policy_id, position, name, description, enabled, \
             operation_type, keep_permanent, keep_max_backups, keep_duration_days, keep_day_backups, \
             keep_week_backups, keep_month_backups, keep_year_backups, keep_timezone, destination_region, \
             destination_project_id, enable_acceleration, trigger_id, trigger_pattern, \
             trigger_start_time, next_run_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
             $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) ON CONFLICT DO NOTHING",
            values![
                operation.id,
                policy,
                position,
                &operation.name,
                operation.description.as_str(),
                operation.enabled,
                operation.definition.operation_type(),
                keep.permanent,
                keep.max_backups,
                keep.duration_days,
                keep.day_backups,
                keep.week_backups,
                keep.month_backups,
                keep.year_backups,
                &keep.timezone,
                region,
                project,
                is_accelerated,
                operation.trigger.id,
                operation.trigger.pattern.as_str(),
                operation.trigger.start_time,
                next_run_at
            ],
        )
        .await?;
    if inserted == 0 {
        let id = operation.id.to_string();
        return Err(Conflict::IdTaken { what: "scheduled operation", id }.into());
    }
    Ok(())
}
