//! How far things are, in bytes: what the inherited bodies have no room for and a progress line needs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::checkpoints::ItemView;
use model::replication::ReplicationRecord;
use model::restore::Restore;
use serde::Serialize;
use utoipa::ToSchema;
use vault::ids::to_hex;

use crate::http::Site;
use crate::http::csbs::restores::{RestoreBody, SORT_KEYS};
use crate::http::error::OwnError;
use crate::http::openapi::parameters::{PageQuery, RestoreOrder};
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ForeignId, Id, ItemStatus, Moment, RegionText};
use crate::http::page::{Links, read_page};
use crate::http::request::{LoggedIn, PathParams, Query};

/// One item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemProgress {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = Id)]
    checkpoint_id: String,
    resource_name: String,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
    /// How far the reading is.
    progress_bytes: u64,
    /// The size of its disks.
    logical_bytes: u64,
    /// What it added to the vault.
    added_bytes: u64,
    /// Empty when all is well.
    fail_reason: String,
    /// What the disks agreed on when they were read: nothing, as long as neither a snapshot nor an agent holds
    /// a server still.
    consistency: &'static str,
}

/// `{"checkpoint_item": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemProgressAnswer {
    checkpoint_item: ItemProgress,
}

/// One replication record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordProgress {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    /// `waiting`, `copying`, `verifying`, `publishing`, `done`, `failed`, `skipped`, `cancelled` or `lost`.
    #[schema(pattern = "^(waiting|copying|verifying|publishing|done|failed|skipped|cancelled|lost)$")]
    state: &'static str,
    /// What has to be sent, as far as is known.
    planned_bytes: u64,
    /// What was sent.
    sent_bytes: u64,
    /// Of that, for the second time.
    resent_bytes: u64,
    /// What the destination had already.
    skipped_bytes: u64,
    /// How often it was begun.
    attempts: u32,
    /// Not before this moment is it tried again.
    #[schema(value_type = Moment)]
    try_at: String,
    /// Since when it is paused, if it is: nothing is sent until it is resumed.
    #[schema(value_type = Option<Moment>)]
    paused_at: Option<String>,
    /// Empty unless something stopped it.
    reason_code: String,
    /// Why it waits or failed.
    reason: String,
    /// Whether the destination has signed for it.
    has_receipt: bool,
    /// The destination's signed receipt, as hex, for whoever wants to check it.
    receipt: Option<String>,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = Moment)]
    updated_at: String,
}

/// `{"replication_record": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordProgressAnswer {
    replication_record: RecordProgress,
}

/// One restore: the inherited body, and bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreProgress {
    total_bytes: u64,
    done_bytes: u64,
    /// Why it failed; empty otherwise.
    reason: String,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = Moment)]
    updated_at: String,
    #[serde(flatten)]
    restore: RestoreBody,
}

/// `{"restore": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreProgressAnswer {
    restore: RestoreProgress,
}

/// `{"restores": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoresAnswer {
    restores: Vec<RestoreProgress>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    restores_links: Links,
}

impl From<ItemView> for ItemProgress {
    fn from(ItemView { item, .. }: ItemView) -> ItemProgress {
        ItemProgress {
            id: item.id.to_string(),
            checkpoint_id: item.checkpoint_id.to_string(),
            resource_name: item.resource_name,
            status: item.state.word(),
            progress_bytes: item.progress_bytes,
            logical_bytes: item.logical_bytes,
            added_bytes: item.added_bytes,
            fail_reason: item.failure.map_or_else(String::new, |failure| failure.reason),
            consistency: "none",
        }
    }
}

impl From<ReplicationRecord> for RecordProgress {
    fn from(record: ReplicationRecord) -> RecordProgress {
        RecordProgress {
            id: record.id.to_string(),
            checkpoint_item_id: record.item_id.to_string(),
            destination_region: record.destination.region.to_string(),
            destination_project_id: record.destination.project_id.to_string(),
            state: record.state.word(),
            planned_bytes: record.planned_bytes,
            sent_bytes: record.sent_bytes,
            resent_bytes: record.resent_bytes,
            skipped_bytes: record.skipped_bytes,
            attempts: record.attempts,
            try_at: record.try_at.wire(),
            paused_at: record.paused_at.map(|at| at.wire()),
            reason_code: record.reason_code,
            reason: record.reason,
            has_receipt: record.receipt.is_some(),
            receipt: record.receipt.as_deref().map(to_hex),
            created_at: record.created_at.wire(),
            updated_at: record.updated_at.wire(),
        }
    }
}

impl From<ReplicationRecord> for RecordProgressAnswer {
    fn from(record: ReplicationRecord) -> RecordProgressAnswer {
        RecordProgressAnswer { replication_record: record.into() }
    }
}

impl From<Restore> for RestoreProgress {
    fn from(restore: Restore) -> RestoreProgress {
        RestoreProgress {
            total_bytes: restore.total_bytes,
            done_bytes: restore.done_bytes,
            reason: restore.reason.clone(),
            created_at: restore.created_at.wire(),
            updated_at: restore.updated_at.wire(),
            restore: restore.into(),
        }
    }
}

/// Shows how far a backup is, in bytes
#[utoipa::path(
    get,
    path = "/checkpoint_items/{checkpoint_item_id}",
    operation_id = "showItemProgress",
    tag = "backups",
    responses(
        (status = 200, description = "The backup's progress.", body = ItemProgressAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn item(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<ItemProgressAnswer>, OwnError> {
    let view = control.item(&caller, path.id("checkpoint_item_id")?).await?;
    Ok(Json(ItemProgressAnswer { checkpoint_item: view.into() }))
}

/// Shows how far a replication is, in bytes, and its receipt
#[utoipa::path(
    get,
    path = "/replication_records/{replication_record_id}",
    operation_id = "showRecordProgress",
    tag = "replication",
    responses(
        (status = 200, description = "The replication's progress.", body = RecordProgressAnswer, links(
            ("pause" = (operation_id = "pauseRecord", parameters(("replication_record_id" = "$response.body#/replication_record/id")))),
            ("resume" = (operation_id = "resumeRecord", parameters(("replication_record_id" = "$response.body#/replication_record/id")))),
            ("cancel" = (operation_id = "cancelRecord", parameters(("replication_record_id" = "$response.body#/replication_record/id")))),
            ("retry" = (operation_id = "retryRecord", parameters(("replication_record_id" = "$response.body#/replication_record/id")))),
            ("receipt" = (operation_id = "showReceipt", parameters(("replication_record_id" = "$response.body#/replication_record/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn record(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<RecordProgressAnswer>, OwnError> {
    let record = control.record(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(RecordProgressAnswer::from(record)))
}

/// Shows a restore and how far it is
#[utoipa::path(
    get,
    path = "/restores/{restore_id}",
    operation_id = "showRestore",
    tag = "restores",
    responses(
        (status = 200, description = "The restore.", body = RestoreProgressAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn restore(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<RestoreProgressAnswer>, OwnError> {
    let restore = control.restore_by_id(&caller, path.id("restore_id")?).await?;
    Ok(Json(RestoreProgressAnswer { restore: restore.into() }))
}

/// Lists restores
#[utoipa::path(
    get,
    path = "/restores",
    operation_id = "listRestores",
    tag = "restores",
    params(RestoreOrder, PageQuery),
    responses(
        (status = 200, description = "A page of restores, the newest first.", body = RestoresAnswer, links(
            ("show" = (operation_id = "showRestore", parameters(("restore_id" = "$response.body#/restores/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn restores(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    query: Query,
) -> Result<Json<RestoresAnswer>, OwnError> {
    let found = control.restores(&caller, &read_page(&query, &SORT_KEYS)?).await?;
    let restores_links = Links::next(&found, |restore| restore.id.to_string(), &query, &site.api_url);
    let restores = found.rows.into_iter().map(RestoreProgress::from).collect();
    Ok(Json(RestoresAnswer { restores, restores_links }))
}
