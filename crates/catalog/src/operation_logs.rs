//! Operation logs: a view over backups, deletions, restores and replication records. Only that somebody took one
//! off the list is written down; everything else is what those things say of themselves.

use model::ids::{CheckpointId, OperationLogId, PolicyId, ProjectId, RestoreId};
use model::operation_log::{OperationLog, OperationStatus, OperationType};
use model::time::Timestamp;

use crate::engine::Catalog;
use crate::error::CatalogError;
use crate::page::{List, Page, SortKey, Where};
use crate::value::{Row, values};

/// Which logs are wanted. Empty lists let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationLogFilter {
    /// About the items of one of these checkpoints.
    pub checkpoint_ids: Vec<CheckpointId>,
    /// Caused by one of these policies, or about its backups.
    pub policy_ids: Vec<PolicyId>,
    /// About one of these restores.
    pub restore_ids: Vec<RestoreId>,
    /// Of one of these statuses.
    pub statuses: Vec<OperationStatus>,
    /// Of one of these types.
    pub operation_types: Vec<OperationType>,
    /// Nothing at all is wanted.
    pub matches_nothing: bool,
}

/// What logs can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationLogSort {
    /// When the operation was ordered.
    StartedAt,
    /// Their id.
    Id,
}

impl SortKey for OperationLogSort {
    const DEFAULT: OperationLogSort = OperationLogSort::StartedAt;

    fn expression(self) -> &'static str {
        match self {
            OperationLogSort::StartedAt => "started_at",
            OperationLogSort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        self == OperationLogSort::Id
    }
}

macro_rules! log_columns {
    () => {
        "id, operation_type, status, item_id, checkpoint_id, policy_id, restore_id, destination_region, \
         auto_trigger, error_code, error_reason, started_at, ended_at"
    };
}

const LOGS: List = List { columns: log_columns!(), table: "operation_logs", what: "operation log" };

impl Catalog {
    /// The operation logs of a project.
    pub async fn operation_logs(
        &self,
        project: &ProjectId,
        filter: &OperationLogFilter,
        page: &Page<OperationLogSort>,
    ) -> Result<Vec<OperationLog>, CatalogError> {
        let mut tx = self.read("listing operation logs").await?;
        let mut terms = Where::of("project_id", project);
        terms.any_of("checkpoint_id", &filter.checkpoint_ids);
        terms.any_of("policy_id", &filter.policy_ids);
        terms.any_of("restore_id", &filter.restore_ids);
        terms.any_of("status", filter.statuses.iter().map(|status| status.word()));
        terms.any_of("operation_type", filter.operation_types.iter().map(|kind| kind.word()));
        if filter.matches_nothing {
            terms.term("1 = 0");
        }
        let rows = LOGS.page(&mut tx, terms, page).await?;
        rows.iter().map(log_of_row).collect()
    }

    /// One operation log of a project.
    pub async fn operation_log(
        &self,
        project: &ProjectId,
        id: OperationLogId,
    ) -> Result<OperationLog, CatalogError> {
        let mut tx = self.read("reading an operation log").await?;
        let row = tx
            .first(
                concat!("SELECT ", log_columns!(), " FROM operation_logs WHERE id = $1 AND project_id = $2"),
                values![id, project],
            )
            .await?;
        log_of_row(&row.ok_or_else(|| CatalogError::not_found("operation log", id))?)
    }

    /// Takes an operation log off the list. Nothing happens to what it is about.
    pub async fn hide_operation_log(
        &self,
        project: &ProjectId,
        id: OperationLogId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting an operation log").await?;
        tx.execute(
            "INSERT INTO hidden_operation_logs (id, project_id, hidden_at) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET hidden_at = excluded.hidden_at",
            values![id, project, now],
        )
        .await?;
        tx.commit().await
    }
}

fn log_of_row(row: &Row) -> Result<OperationLog, CatalogError> {
    Ok(OperationLog {
        id: row.id("id")?,
        operation_type: row.word("operation_type", OperationType::from_word)?,
        status: row.word("status", OperationStatus::from_word)?,
        item_id: row.id("item_id")?,
        checkpoint_id: row.id("checkpoint_id")?,
        policy_id: row.optional_id("policy_id")?,
        restore_id: row.optional_id("restore_id")?,
        destination_region: row.optional_id("destination_region")?,
        auto_trigger: row.flag("auto_trigger")?,
        error_code: row.text("error_code")?,
        error_reason: row.text("error_reason")?,
        started_at: row.time("started_at")?,
        ended_at: row.optional_time("ended_at")?,
    })
}
