//! The core call and its neighbours: replicate a policy, replicate one item, and where replicas may go
//! (`csbs-v1-api.md` §5.9–5.11).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use control::Control;
use control::replication::{ItemReplicationOrder, Replication};
use model::ids::{CheckpointItemId, ProjectId, RegionName, ReplicationRecordId};
use model::policy::PROVIDER_ID;
use model::replication::{Destination, LeftOut, ReplicationOrder};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::{ItemReplicationRequest, ReplicationRequest};
use crate::http::error::{ApiError, under};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, ProviderId, RegionText};
use crate::http::reader::{Object, Reading};
use crate::http::request::{Body, InProject, PathParams, Provider};

/// How many items a replication left out and why, such as `not-available=2, in-flight=1`. Absent when
/// none was. `order-full` counts those that asking again selects.
const LEFT_OUT: HeaderName = HeaderName::from_static("x-antipode-left-out");

/// The answer of the core call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = super::examples::replication)]
pub(super) struct ReplicationAnswer {
    replication: ReplicationBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReplicationBody {
    #[schema(value_type = ForeignId)]
    project_id: String,
    #[schema(value_type = ProviderId)]
    provider_id: &'static str,
    #[schema(value_type = Id)]
    policy_id: String,
    #[schema(value_type = RegionText)]
    source_region: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    /// The backups that were taken, each with the record of its copying, the oldest first.
    checkpoint_items: Vec<SelectedItem>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SelectedItem {
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    #[schema(value_type = Id)]
    replication_record_id: String,
}

/// The answer of the single call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemReplicationAnswer {
    replication: ItemReplicationBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ItemReplicationBody {
    #[schema(value_type = ForeignId)]
    project_id: String,
    #[schema(value_type = ProviderId)]
    provider_id: &'static str,
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    #[schema(value_type = RegionText)]
    source_region: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    #[schema(value_type = Id)]
    replication_record_id: String,
}

/// The answer of `GET /replication_capabilities`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CapabilitiesAnswer {
    /// One: this region.
    regions: [RegionCapability; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct RegionCapability {
    #[schema(value_type = RegionText)]
    name: String,
    /// The regions that this one is paired with.
    #[schema(value_type = Vec<RegionText>)]
    replication_destinations: Vec<String>,
}

impl From<&Replication> for ReplicationAnswer {
    fn from(begun: &Replication) -> ReplicationAnswer {
        let order = &begun.order;
        let selected = |(item, record): &(CheckpointItemId, ReplicationRecordId)| SelectedItem {
            checkpoint_item_id: item.to_string(),
            replication_record_id: record.to_string(),
        };
        ReplicationAnswer {
            replication: ReplicationBody {
                project_id: order.source_project_id.to_string(),
                provider_id: PROVIDER_ID,
                policy_id: order.policy_id.to_string(),
                source_region: begun.source_region.to_string(),
                destination_region: order.destination.region.to_string(),
                destination_project_id: order.destination.project_id.to_string(),
                checkpoint_items: begun.selected.iter().map(selected).collect(),
            },
        }
    }
}

impl ItemReplicationAnswer {
    fn new(
        project_id: ProjectId,
        order: ItemReplicationOrder,
        (record_id, source_region): (ReplicationRecordId, RegionName),
    ) -> ItemReplicationAnswer {
        ItemReplicationAnswer {
            replication: ItemReplicationBody {
                project_id: project_id.to_string(),
                provider_id: PROVIDER_ID,
                checkpoint_item_id: order.item_id.to_string(),
                source_region: source_region.to_string(),
                destination_region: order.destination.region.to_string(),
                destination_project_id: order.destination.project_id.to_string(),
                replication_record_id: record_id.to_string(),
            },
        }
    }
}

/// The replication with what was left out in a header, so that the body stays what clients know.
pub(crate) struct Replicated(Replication);

impl IntoResponse for Replicated {
    fn into_response(self) -> Response {
        let mut response = Json(ReplicationAnswer::from(&self.0)).into_response();
        if let Some(value) = left_out(&self.0.left_out) {
            response.headers_mut().insert(LEFT_OUT, value);
        }
        response
    }
}

pub(super) fn left_out(counts: &BTreeMap<LeftOut, u64>) -> Option<HeaderValue> {
    let parts: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{}={count}", reason.word())).collect();
    (!parts.is_empty()).then(|| parts.join(", ").try_into().expect("the words are plain ASCII"))
}

/// The order in the body of `POST /providers/{provider_id}/checkpoints/replicate`.
fn read_replicate(body: &Value, source_project_id: ProjectId) -> Reading<ReplicationOrder> {
    let replication = Object::wrapped(body, "replication")?;
    Ok(ReplicationOrder {
        source_project_id,
        policy_id: replication.field("policy_id").id()?,
        destination: read_destination(&replication)?,
        auto_trigger: read_flag(&replication, "auto_trigger")?,
        enable_acceleration: read_flag(&replication, "enable_acceleration")?,
    })
}

/// The order in the body of `POST …/checkpoint_items/{checkpoint_item_id}/replicate`.
fn read_replicate_item(body: &Value, item_id: CheckpointItemId) -> Reading<ItemReplicationOrder> {
    let replication = Object::wrapped(body, "replication")?;
    Ok(ItemReplicationOrder {
        item_id,
        destination: read_destination(&replication)?,
        enable_acceleration: read_flag(&replication, "enable_acceleration")?,
        name: replication.field("name").optional(|field| field.name())?,
        description: replication.field("description").optional(|field| field.description())?,
    })
}

fn read_destination(replication: &Object<'_>) -> Reading<Destination> {
    Ok(Destination {
        region: replication.field("destination_region").id::<RegionName>()?,
        project_id: replication.field("destination_project_id").id()?,
    })
}

fn read_flag(replication: &Object<'_>, name: &str) -> Reading<bool> {
    Ok(replication.field(name).optional(|field| field.boolean())?.unwrap_or(false))
}

/// Shows where replicas may go
#[utoipa::path(
    get,
    path = "/replication_capabilities",
    operation_id = "showCapabilities",
    tag = "replication",
    responses(
        (status = 200, description = "This region and its destinations.", body = CapabilitiesAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn capabilities(
    State(control): State<Control>,
    InProject(caller): InProject,
) -> Result<Json<CapabilitiesAnswer>, ApiError> {
    let (name, destinations) = control.replication_destinations(&caller)?;
    let replication_destinations = destinations.iter().map(RegionName::to_string).collect();
    let regions = [RegionCapability { name: name.to_string(), replication_destinations }];
    Ok(Json(CapabilitiesAnswer { regions }))
}

/// Replicates every backup of a policy that is not in the destination region yet
///
/// Takes the backups that are available, were made here and have no replica there, nor one on its way. Asking again answers what
/// is new, so the list is empty once all are taken. The copying goes on after the answer: watch the records.
#[utoipa::path(
    post,
    path = "/providers/{provider_id}/checkpoints/replicate",
    operation_id = "replicatePolicy",
    tag = "replication",
    request_body = ReplicationRequest,
    responses(
        (
            status = 200,
            description = "A record for each backup taken, the oldest first.",
            body = ReplicationAnswer,
            headers(("X-Antipode-Left-Out" = String, description = "How many backups were left out and why, such as `not-available=2, in-flight=1`. Absent when none was.")),
            links(("records" = (operation_id = "showRecord", parameters(("replication_record_id" = "$response.body#/replication/checkpoint_items/0/replication_record_id")))))
        ),
        WriteRefusals
    )
)]
pub(crate) async fn replicate(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    path: PathParams,
    Body(body): Body,
) -> Result<Replicated, ApiError> {
    let order = read_replicate(&body, path.id("project_id")?)?;
    let begun = control.replicate_policy(&caller, order).await.map_err(under("replication"))?;
    Ok(Replicated(begun))
}

/// Replicates one backup
#[utoipa::path(
    post,
    path = "/providers/{provider_id}/checkpoint_items/{checkpoint_item_id}/replicate",
    operation_id = "replicateItem",
    tag = "replication",
    request_body = ItemReplicationRequest,
    responses(
        (status = 200, description = "The record of the copying.", body = ItemReplicationAnswer, links(
            ("record" = (operation_id = "showRecord", parameters(("replication_record_id" = "$response.body#/replication/replication_record_id")))),
            ("progress" = (operation_id = "showRecordProgress", parameters(("replication_record_id" = "$response.body#/replication/replication_record_id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn replicate_item(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<ItemReplicationAnswer>, ApiError> {
    let order = read_replicate_item(&body, path.id("checkpoint_item_id")?)?;
    let begun = control.replicate_item(&caller, order.clone()).await.map_err(under("replication"))?;
    Ok(Json(ItemReplicationAnswer::new(path.id("project_id")?, order, begun)))
}
