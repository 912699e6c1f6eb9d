//! Operation logs in Karbor's form (`csbs-v1-api.md` §8): what was done to the backups of a project.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::page::{OperationLogFilter, OperationLogSort};
use model::operation_log::{OperationLog, OperationStatus, OperationType};
use model::policy::PROVIDER_ID;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Nothing;
use super::items::{is_fake_plan, read_ids};
use crate::http::Site;
use crate::http::error::ApiError;
use crate::http::openapi::parameters::{OperationLogFilters, PageQuery};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{Id, Moment, OperationStatusWord, OperationTypeWord, ProviderId};
use crate::http::page::{Links, read_page};
use crate::http::request::{InProject, PathParams, Query};

/// The words that the list can be sorted by; the second is what every other list calls it.
const SORT_KEYS: [(&str, OperationLogSort); 3] = [
    ("started_at", OperationLogSort::StartedAt),
    ("created_at", OperationLogSort::StartedAt),
    ("id", OperationLogSort::Id),
];

/// One log.
#[derive(Debug, Serialize, ToSchema)]
struct OperationLogBody {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = OperationTypeWord)]
    operation_type: &'static str,
    #[schema(value_type = OperationStatusWord)]
    status: &'static str,
    #[schema(value_type = Id)]
    checkpoint_id: String,
    /// The policy that caused it or made the backup; null for a restore and for a backup made directly.
    #[schema(value_type = Option<Id>)]
    plan_id: Option<String>,
    #[schema(value_type = ProviderId)]
    provider_id: &'static str,
    #[schema(value_type = Option<Id>)]
    restore_id: Option<String>,
    /// No operation knows which schedule began it.
    scheduled_operation_id: Option<String>,
    #[schema(value_type = Moment)]
    started_at: String,
    /// Null while it goes on.
    #[schema(value_type = Option<Moment>)]
    ended_at: Option<String>,
    /// Null when all is well, else code and reason.
    error_info: Option<String>,
    /// Text that holds JSON, as on a checkpoint.
    extra_info: String,
}

/// The answer of `GET /operation_logs/{operation_log_id}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationLogAnswer {
    operation_log: OperationLogBody,
}

/// The answer of `GET /operation_logs`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationLogsAnswer {
    operation_logs: Vec<OperationLogBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    operation_logs_links: Links,
}

impl From<OperationLog> for OperationLogBody {
    fn from(log: OperationLog) -> OperationLogBody {
        let mut extra_info = json!({
            "checkpoint_item_id": log.item_id.to_string(),
            "created_by": if log.auto_trigger { "operation-engine" } else { "manual" },
        });
        if let Some(region) = &log.destination_region {
            extra_info["destination_region"] = json!(region.as_str());
        }
        let error_info = match (log.error_code.is_empty(), log.error_reason.is_empty()) {
            (true, true) => None,
            (true, false) => Some(log.error_reason),
            (false, _) => Some(format!("{}: {}", log.error_code, log.error_reason)),
        };
        OperationLogBody {
            id: log.id.to_string(),
            operation_type: log.operation_type.word(),
            status: log.status.word(),
            checkpoint_id: log.checkpoint_id.to_string(),
            plan_id: log.policy_id.map(|id| id.to_string()),
            provider_id: PROVIDER_ID,
            restore_id: log.restore_id.map(|id| id.to_string()),
            scheduled_operation_id: None,
            started_at: log.started_at.wire(),
            ended_at: log.ended_at.map(|moment| moment.wire()),
            error_info,
            extra_info: extra_info.to_string(),
        }
    }
}

/// The filter that a query asks for.
fn read_filter(query: &Query) -> Result<OperationLogFilter, ApiError> {
    let plans = || query.all("plan_id").chain(query.all("policy_id"));
    let policy_ids = read_ids(plans().filter(|id| !is_fake_plan(id)), "plan_id")?;
    Ok(OperationLogFilter {
        checkpoint_ids: read_ids(query.all("checkpoint_id"), "checkpoint_id")?,
        matches_nothing: policy_ids.is_empty() && plans().next().is_some(),
        policy_ids,
        restore_ids: read_ids(query.all("restore_id"), "restore_id")?,
        statuses: read_words(query, "status", OperationStatus::from_word)?,
        operation_types: read_words(query, "operation_type", OperationType::from_word)?,
    })
}

fn read_words<T>(query: &Query, name: &str, from_word: fn(&str) -> Option<T>) -> Result<Vec<T>, ApiError> {
    let unknown = || ApiError::malformed(name, "is not one that an operation log can have");
    query.all(name).map(|word| from_word(word).ok_or_else(unknown)).collect()
}

/// Lists what was done in the project, in Karbor's form
#[utoipa::path(
    get,
    path = "/operation_logs",
    operation_id = "listOperationLogs",
    tag = "project",
    params(OperationLogFilters, PageQuery),
    responses(
        (status = 200, description = "A page of logs, the newest first.", body = OperationLogsAnswer, links(
            ("show" = (operation_id = "showOperationLog", parameters(("operation_log_id" = "$response.body#/operation_logs/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Json<OperationLogsAnswer>, ApiError> {
    let (filter, page) = (read_filter(&query)?, read_page(&query, &SORT_KEYS)?);
    let found = control.operation_logs(&caller, &filter, &page).await?;
    let operation_logs_links = Links::next(&found, |log| log.id.to_string(), &query, &site.api_url);
    let operation_logs = found.rows.into_iter().map(OperationLogBody::from).collect();
    Ok(Json(OperationLogsAnswer { operation_logs, operation_logs_links }))
}

/// Shows an operation log
#[utoipa::path(
    get,
    path = "/operation_logs/{operation_log_id}",
    operation_id = "showOperationLog",
    tag = "project",
    responses(
        (status = 200, description = "The log.", body = OperationLogAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<OperationLogAnswer>, ApiError> {
    let log = control.operation_log(&caller, path.id("operation_log_id")?).await?;
    Ok(Json(OperationLogAnswer { operation_log: log.into() }))
}

/// Takes the log of an operation that has ended off the list
#[utoipa::path(
    delete,
    path = "/operation_logs/{operation_log_id}",
    operation_id = "deleteOperationLog",
    tag = "project",
    responses(
        (status = 200, description = "It is listed no more; what it is about stays as it is.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<Nothing>, ApiError> {
    control.delete_operation_log(&caller, path.id("operation_log_id")?).await?;
    Ok(Json(Nothing {}))
}
