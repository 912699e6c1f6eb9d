//! Where a policy goes, what it promises there, and what replicating it would come to now.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::destinations::PolicyDestination;
use control::forecast::Forecast;
use model::ids::{BadId, PolicyId};
use model::replication::Destination;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::DestinationRequest;
use crate::http::error::{ApiError, OwnError};
use crate::http::openapi::parameters::PlanDestination;
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, RegionText};
use crate::http::reader::{Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// The most item ids that a plan lists.
const LISTED_MAX: usize = 1000;

/// `{"destination": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DestinationAnswer {
    destination: DestinationBody,
}

/// `{"destinations": […]}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DestinationsAnswer {
    destinations: Vec<DestinationBody>,
}

/// A region that a policy goes to, or has a target for.
#[derive(Debug, Serialize, ToSchema)]
struct DestinationBody {
    #[schema(value_type = Id)]
    policy_id: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    /// The project there, if an operation of the policy goes there.
    #[schema(value_type = Option<ForeignId>)]
    destination_project_id: Option<String>,
    /// Whether it does so by a schedule that is switched on.
    is_scheduled: bool,
    /// How old the newest replica of a server may become there; null when nobody said so.
    rpo_seconds: Option<u32>,
}

/// `{"replication_plan": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanAnswer {
    replication_plan: PlanBody,
}

/// What the replicate call would do now.
#[derive(Debug, Serialize, ToSchema)]
struct PlanBody {
    #[schema(value_type = Id)]
    policy_id: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    /// How many backups it would order.
    item_count: u64,
    /// Them, the oldest first; at most 1000.
    #[schema(value_type = Vec<Id>)]
    checkpoint_items: Vec<String>,
    /// What would be moved, by the estimate that each record begins with.
    expected_bytes: u64,
    /// How long that would take at the speed of the last records to the region; null when none was measured.
    expected_seconds: Option<u64>,
    /// What it would leave out, and why.
    left_out: Vec<LeftOutBody>,
    /// What the replicas would count against the grant.
    charged_bytes: u64,
    /// What is left of the grant; null when it has no limit or that is not known here.
    grant_bytes_left: Option<u64>,
}

/// Backups that are left out for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct LeftOutBody {
    /// As in the header `X-Antipode-Left-Out`.
    reason_code: &'static str,
    item_count: u64,
}

impl DestinationBody {
    fn new(policy: PolicyId, destination: PolicyDestination) -> DestinationBody {
        let operation = destination.operation;
        DestinationBody {
            policy_id: policy.to_string(),
            destination_region: destination.region.to_string(),
            destination_project_id: operation.as_ref().map(|known| known.project_id.to_string()),
            is_scheduled: operation.is_some_and(|known| known.enabled),
            rpo_seconds: destination.rpo_seconds,
        }
    }
}

impl From<Forecast> for PlanAnswer {
    fn from(forecast: Forecast) -> PlanAnswer {
        let Forecast { order, selected, left_out, .. } = &forecast;
        let left_out = left_out
            .iter()
            .map(|(reason, count)| LeftOutBody { reason_code: reason.word(), item_count: *count });
        PlanAnswer {
            replication_plan: PlanBody {
                policy_id: order.policy_id.to_string(),
                destination_region: order.destination.region.to_string(),
                destination_project_id: order.destination.project_id.to_string(),
                item_count: selected.len() as u64,
                checkpoint_items: selected.iter().take(LISTED_MAX).map(ToString::to_string).collect(),
                expected_bytes: forecast.expected_bytes,
                expected_seconds: forecast.expected_seconds,
                left_out: left_out.collect(),
                charged_bytes: forecast.charged_bytes,
                grant_bytes_left: forecast.grant_bytes_left,
            },
        }
    }
}

/// The target in a body; null takes it away, and so does leaving it out.
fn read_target(body: &Value) -> Reading<Option<u32>> {
    let destination = Object::wrapped(body, "destination")?;
    destination.field("rpo_seconds").optional(|field| {
        u32::try_from(field.integer()?).map_err(|_| field.refused("must be null or a positive whole number"))
    })
}

/// The destination that a query names.
fn read_destination(query: &Query) -> Result<Destination, ApiError> {
    Ok(Destination {
        region: read_id(query, "destination_region")?,
        project_id: read_id(query, "destination_project_id")?,
    })
}

fn read_id<T: FromStr<Err = BadId>>(query: &Query, name: &str) -> Result<T, ApiError> {
    let text = query.last(name).ok_or_else(|| ApiError::malformed(name, "is missing"))?;
    text.parse().map_err(|bad| ApiError::malformed(name, bad))
}

/// Lists the regions that a policy goes to or has a target for
#[utoipa::path(
    get,
    path = "/policies/{policy_id}/destinations",
    operation_id = "listDestinations",
    tag = "policies",
    responses((status = 200, description = "All of them, by name.", body = DestinationsAnswer), ReadRefusals)
)]
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<DestinationsAnswer>, OwnError> {
    let id = path.id("policy_id")?;
    let known = control.policy_destinations(&caller, id).await?;
    let destinations = known.into_iter().map(|known| DestinationBody::new(id, known)).collect();
    Ok(Json(DestinationsAnswer { destinations }))
}

/// Shows what a policy does and promises for a region
#[utoipa::path(
    get,
    path = "/policies/{policy_id}/destinations/{region_name}",
    operation_id = "showDestination",
    tag = "policies",
    responses((status = 200, description = "The destination.", body = DestinationAnswer), ReadRefusals)
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<DestinationAnswer>, OwnError> {
    let id = path.id("policy_id")?;
    let known = control.policy_destination(&caller, id, path.id("region_name")?).await?;
    Ok(Json(DestinationAnswer { destination: DestinationBody::new(id, known) }))
}

/// Sets how old the newest replica of a server may become in a region
///
/// The recovery point objective that coverage judges by. Null takes it away.
#[utoipa::path(
    put,
    path = "/policies/{policy_id}/destinations/{region_name}",
    operation_id = "setDestination",
    tag = "policies",
    request_body = DestinationRequest,
    responses((status = 200, description = "The destination after the change.", body = DestinationAnswer), WriteRefusals)
)]
pub(crate) async fn set(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<DestinationAnswer>, OwnError> {
    let id = path.id("policy_id")?;
    let target = (path.id("region_name")?, read_target(&body)?);
    let known = control.set_policy_destination(&caller, id, target).await?;
    Ok(Json(DestinationAnswer { destination: DestinationBody::new(id, known) }))
}

/// Shows what replicating a policy would come to now
///
/// What the replicate call would order, how much that would move, and for how long. Nothing is changed.
#[utoipa::path(
    get,
    path = "/policies/{policy_id}/replication_plan",
    operation_id = "planReplication",
    tag = "replication",
    params(PlanDestination),
    responses((status = 200, description = "The plan.", body = PlanAnswer), ReadRefusals)
)]
pub(crate) async fn plan(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    query: Query,
) -> Result<Json<PlanAnswer>, OwnError> {
    let (policy, destination) = (path.id("policy_id")?, read_destination(&query)?);
    Ok(Json(control.plan_replication(&caller, policy, destination).await?.into()))
}
