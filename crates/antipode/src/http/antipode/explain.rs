//! Why a backup is, or is not, in another region.

use axum::Json;
use axum::extract::State;
use control::Control;
use control::explain::ExplainedItem;
use model::evidence::Evidence;
use model::explain::{DestinationFacts, Explanation, Presence};
use model::ids::RegionName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::{ApiError, OwnError};
use crate::http::openapi::parameters::DestinationFilter;
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ExplainCodeWord, ForeignId, Id, LevelWord, Moment, RegionText};
use crate::http::request::{LoggedIn, PathParams, Query};

/// `{"explanation": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplanationAnswer {
    explanation: ExplanationBody,
}

/// A backup and every region that it is, was, or could be sent to.
#[derive(Debug, Serialize, ToSchema)]
struct ExplanationBody {
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    #[schema(value_type = ForeignId)]
    resource_id: String,
    resource_name: String,
    /// The moment of the answer.
    #[schema(value_type = Moment)]
    at: String,
    destinations: Vec<ExplainedDestination>,
}

/// One region.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedDestination {
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = Option<ForeignId>)]
    destination_project_id: Option<String>,
    /// `replicated`, `moving`, `waiting` (goes on by itself) or `missing` (does not).
    #[schema(pattern = "^(replicated|moving|waiting|missing)$")]
    state: &'static str,
    #[schema(value_type = ExplainCodeWord)]
    reason_code: &'static str,
    /// The code for a person.
    sentence: &'static str,
    /// What to do.
    next_step: &'static str,
    /// What the newest record says, with details; empty when it says nothing.
    reason: String,
    /// The newest record, if there is one.
    #[schema(value_type = Option<Id>)]
    replication_record_id: Option<String>,
    /// Not before this moment is it tried again; null unless it waits.
    #[schema(value_type = Option<Moment>)]
    try_at: Option<String>,
    /// What has to be sent, as far as is known.
    planned_bytes: u64,
    /// What was sent.
    sent_bytes: u64,
    /// The replica, once the region has signed for it.
    #[schema(value_type = Option<Id>)]
    replica_id: Option<String>,
    /// Whether there is a receipt.
    has_receipt: bool,
    /// What is proved of the replica: `stored`, `opened` or `drilled`; null when it is not there.
    #[schema(value_type = Option<LevelWord>)]
    level: Option<&'static str>,
    /// What says last that the replica is there: `receipt` or `head`; null when it is not.
    #[schema(pattern = "^(receipt|head)$")]
    evidence: Option<&'static str>,
    /// How old that is at most.
    #[schema(value_type = Option<Moment>)]
    evidence_at: Option<String>,
    /// Since when it is known that somebody there deleted the replica.
    #[schema(value_type = Option<Moment>)]
    gone_at: Option<String>,
}

impl From<ExplainedItem> for ExplanationAnswer {
    fn from(item: ExplainedItem) -> ExplanationAnswer {
        ExplanationAnswer {
            explanation: ExplanationBody {
                checkpoint_item_id: item.item_id.to_string(),
                resource_id: item.resource_id.to_string(),
                resource_name: item.resource_name,
                at: item.at.wire(),
                destinations: item.destinations.into_iter().map(ExplainedDestination::from).collect(),
            },
        }
    }
}

impl From<(DestinationFacts, Explanation)> for ExplainedDestination {
    fn from((facts, told): (DestinationFacts, Explanation)) -> ExplainedDestination {
        let record = facts.record.as_ref();
        let waiting = record.filter(|_| told.presence == Presence::Waiting);
        let replica = record.filter(|_| told.presence == Presence::Replicated);
        let evidence = told.evidence;
        ExplainedDestination {
            destination_region: facts.region.to_string(),
            destination_project_id: facts.project_id.as_ref().map(ToString::to_string),
            state: told.presence.word(),
            reason_code: told.code.word(),
            sentence: told.code.sentence(),
            next_step: told.code.next_step(),
            reason: record.map_or_else(String::new, |record| record.reason.clone()),
            replication_record_id: record.map(|record| record.id.to_string()),
            try_at: waiting.map(|record| record.try_at.wire()),
            planned_bytes: record.map_or(0, |record| record.planned_bytes),
            sent_bytes: record.map_or(0, |record| record.sent_bytes),
            replica_id: record.and_then(|record| record.replica_id).map(|id| id.to_string()),
            has_receipt: record.is_some_and(|record| record.receipt.is_some()),
            level: replica.and_then(|record| record.level).map(|level| level.word()),
            evidence: evidence.map(|evidence: Evidence| evidence.witness.word()),
            evidence_at: evidence.map(|evidence| evidence.at.wire()),
            gone_at: record.and_then(|record| record.gone_at).map(|moment| moment.wire()),
        }
    }
}

/// The region that a query asks for, if it does.
fn read_region(query: &Query) -> Result<Option<RegionName>, ApiError> {
    let name = "destination_region";
    query.last(name).map(|text| text.parse().map_err(|bad| ApiError::malformed(name, bad))).transpose()
}

/// Explains why a backup is, or is not, in another region
///
/// One state, one code of a closed list and one next step for each region that the backup's policy goes to, that has a
/// record of it, or whose grant would take it. Works for deleted backups too, until they are purged.
#[utoipa::path(
    get,
    path = "/checkpoint_items/{checkpoint_item_id}/explain",
    operation_id = "explainItem",
    tag = "replication",
    params(DestinationFilter),
    responses(
        (status = 200, description = "Each region by name.", body = ExplanationAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn explain(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    query: Query,
) -> Result<Json<ExplanationAnswer>, OwnError> {
    let asked = read_region(&query)?;
    let told = control.explain_item(&caller, path.id("checkpoint_item_id")?, asked.as_ref()).await?;
    Ok(Json(told.into()))
}
