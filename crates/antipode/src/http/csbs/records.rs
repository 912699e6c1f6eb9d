//! Replication records on the wire (`csbs-v1-api.md` §3.5, §5.12).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::page::{PageOf, RecordFilter, RecordSort};
use model::ids::RegionName;
use model::replication::{RecordState, ReplicationRecord};
use serde::Serialize;
use utoipa::ToSchema;

use super::items::{is_fake_plan, read_ids, read_time};
use crate::http::Site;
use crate::http::error::ApiError;
use crate::http::openapi::parameters::{PageQuery, RecordFilters};
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ForeignId, Id, Moment, RecordStatus, RegionText};
use crate::http::page::{Links, read_page};
use crate::http::request::{InProject, PathParams, Query};

/// The words that the list can be sorted by.
const SORT_KEYS: [(&str, RecordSort); 4] = [
    ("created_at", RecordSort::CreatedAt),
    ("updated_at", RecordSort::UpdatedAt),
    ("status", RecordSort::State),
    ("id", RecordSort::Id),
];

/// One record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordBody {
    #[schema(value_type = Id)]
    pub(super) id: String,
    #[schema(value_type = RecordStatus)]
    pub(super) status: &'static str,
    /// The policy whose replication made it; null when one backup was replicated by itself.
    #[schema(value_type = Option<Id>)]
    pub(super) plan_id: Option<String>,
    /// When it was ordered.
    #[schema(value_type = Moment)]
    pub(super) created_at: String,
    #[schema(value_type = RegionText)]
    pub(super) source_region: String,
    #[schema(value_type = ForeignId)]
    pub(super) source_project_id: String,
    #[schema(value_type = Id)]
    pub(super) source_checkpoint_id: String,
    /// The backup.
    #[schema(value_type = Id)]
    pub(super) source_checkpoint_item_id: String,
    #[schema(value_type = RegionText)]
    pub(super) destination_region: String,
    #[schema(value_type = ForeignId)]
    pub(super) destination_project_id: String,
    /// Null until the replica is there.
    #[schema(value_type = Option<Id>)]
    pub(super) destination_checkpoint_id: Option<String>,
    /// The replica; null until it is there.
    #[schema(value_type = Option<Id>)]
    pub(super) destination_checkpoint_item_id: Option<String>,
    pub(super) extra_info: RecordExtraInfo,
}

/// How far a record is and what stopped it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordExtraInfo {
    /// Ordered by a schedule.
    pub(super) auto_trigger: bool,
    /// In percent; 100 only when the destination has signed for it.
    #[schema(maximum = 100)]
    pub(super) progress: u8,
    /// Empty unless it failed.
    pub(super) fail_code: String,
    /// Why it failed, or why it still waits.
    pub(super) fail_reason: String,
}

/// The answer of `GET /replication_records/{id}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordAnswer {
    replication_record: RecordBody,
}

/// The answer of `GET /replication_records`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordsAnswer {
    replication_records: Vec<RecordBody>,
    /// How many there are on all pages.
    count: u64,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    replication_records_links: Links,
}

impl RecordBody {
    /// A record of this region's making, which `here` names.
    pub(crate) fn new(record: &ReplicationRecord, here: &RegionName) -> RecordBody {
        RecordBody {
            id: record.id.to_string(),
            status: wire_status(record.state),
            plan_id: record.policy_id.map(|id| id.to_string()),
            created_at: record.created_at.wire(),
            source_region: here.to_string(),
            source_project_id: record.source_project_id.to_string(),
            source_checkpoint_id: record.checkpoint_id.to_string(),
            source_checkpoint_item_id: record.item_id.to_string(),
            destination_region: record.destination.region.to_string(),
            destination_project_id: record.destination.project_id.to_string(),
            destination_checkpoint_id: record.destination_checkpoint_id.map(|id| id.to_string()),
            destination_checkpoint_item_id: record.destination_item_id.map(|id| id.to_string()),
            extra_info: RecordExtraInfo::new(record),
        }
    }
}

impl RecordsAnswer {
    fn new(found: &PageOf<ReplicationRecord>, count: u64, here: &RegionName, links: Links) -> RecordsAnswer {
        let replication_records = found.rows.iter().map(|record| RecordBody::new(record, here)).collect();
        RecordsAnswer { replication_records, count, replication_records_links: links }
    }
}

impl RecordExtraInfo {
    /// A waiting record tells why it waits but carries no code: to clients a code means the end.
    fn new(record: &ReplicationRecord) -> RecordExtraInfo {
        let is_failed = wire_status(record.state) == "fail";
        RecordExtraInfo {
            auto_trigger: record.auto_trigger,
            progress: progress_percent(record),
            fail_code: if is_failed { failure_code(record) } else { String::new() },
            fail_reason: if record.state == RecordState::Done {
                String::new()
            } else {
                record.reason.clone()
            },
        }
    }
}

fn failure_code(record: &ReplicationRecord) -> String {
    match (record.reason_code.is_empty(), record.state) {
        (false, _) => record.reason_code.clone(),
        (true, RecordState::Cancelled) => "cancelled".to_owned(),
        (true, RecordState::Lost) => "lost".to_owned(),
        (true, _) => "CSBS.9999".to_owned(),
    }
}

/// The wire word of a state (`csbs-v1-api.md` §4).
fn wire_status(state: RecordState) -> &'static str {
    match state {
        RecordState::Waiting => "waiting_replicate",
        RecordState::Copying | RecordState::Verifying | RecordState::Publishing => "replicating",
        RecordState::Done => "success",
        RecordState::Skipped => "skip",
        RecordState::Failed | RecordState::Cancelled | RecordState::Lost => "fail",
    }
}

/// The states that a wire word means; nothing for a word that is none.
fn states_of_wire(word: &str) -> impl Iterator<Item = RecordState> {
    RecordState::ALL.into_iter().filter(move |state| wire_status(*state) == word)
}

/// 100 only when it is done: the last bytes are not the end, the receipt is.
fn progress_percent(record: &ReplicationRecord) -> u8 {
    if record.state == RecordState::Done {
        return 100;
    }
    let sent = u128::from(record.sent_bytes) * 100;
    let percent = sent.checked_div(u128::from(record.planned_bytes)).unwrap_or(0).min(99);
    u8::try_from(percent).expect("at most 99")
}

/// The filter that a query asks for.
fn read_filter(query: &Query) -> Result<RecordFilter, ApiError> {
    let plans = || query.all("plan_id").chain(query.all("policy_id"));
    let policy_ids = read_ids(plans().filter(|id| !is_fake_plan(id)), "policy_id")?;
    Ok(RecordFilter {
        ids: read_ids(query.all("id"), "id")?,
        states: read_states(query)?,
        item_ids: read_ids(query.all("source_checkpoint_item_id"), "source_checkpoint_item_id")?,
        checkpoint_ids: read_ids(query.all("source_checkpoint_id"), "source_checkpoint_id")?,
        matches_nothing: policy_ids.is_empty() && plans().next().is_some(),
        policy_ids,
        destination_regions: read_ids(query.all("destination_region"), "destination_region")?,
        destination_project_ids: read_ids(query.all("destination_project_id"), "destination_project_id")?,
        start_time: read_time(query, "start_time")?,
        end_time: read_time(query, "end_time")?,
    })
}

fn read_states(query: &Query) -> Result<Vec<RecordState>, ApiError> {
    let mut states = Vec::new();
    for word in query.all("status") {
        let before = states.len();
        states.extend(states_of_wire(word));
        if states.len() == before {
            return Err(ApiError::malformed("status", "is not a status of a replication record"));
        }
    }
    Ok(states)
}

/// Lists replication records
#[utoipa::path(
    get,
    path = "/replication_records",
    operation_id = "listRecords",
    tag = "replication",
    params(RecordFilters, PageQuery),
    responses(
        (status = 200, description = "A page of records, the newest first.", body = RecordsAnswer, links(
            ("show" = (operation_id = "showRecord", parameters(("replication_record_id" = "$response.body#/replication_records/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Json<RecordsAnswer>, ApiError> {
    let (filter, page) = (read_filter(&query)?, read_page(&query, &SORT_KEYS)?);
    let found = control.records(&caller, &filter, &page).await?;
    let count = control.count_records(&caller, &filter).await?;
    let links = Links::next(&found, |record| record.id.to_string(), &query, &site.api_url);
    Ok(Json(RecordsAnswer::new(&found, count, control.region_name(), links)))
}

/// Shows a replication record
#[utoipa::path(
    get,
    path = "/replication_records/{replication_record_id}",
    operation_id = "showRecord",
    tag = "replication",
    responses(
        (status = 200, description = "The record.", body = RecordAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<RecordAnswer>, ApiError> {
    let record = control.record(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(RecordAnswer { replication_record: RecordBody::new(&record, control.region_name()) }))
}
