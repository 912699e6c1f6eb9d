//! Restores: order one (`csbs-v1-api.md` §5.7), and look at them in Karbor's form (§8).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::page::RestoreSort;
use control::restores::RestoreOrder;
use model::policy::{PROVIDER_ID, RESOURCE_TYPE};
use model::restore::{Restore, RestoreState, RestoreVolume};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::RestoreRequest;
use crate::http::Site;
use crate::http::error::{ApiError, under};
use crate::http::openapi::parameters::{PageQuery, RestoreOrder as RestoreOrderQuery};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, ProviderId};
use crate::http::page::{Links, read_page};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, InProject, PathParams, Query, check_provider, check_target_type};

/// The words that restores can be sorted by.
pub(crate) const SORT_KEYS: [(&str, RestoreSort); 2] =
    [("created_at", RestoreSort::CreatedAt), ("id", RestoreSort::Id)];

/// The answer of `POST /restores` and `GET /restores/{restore_id}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreAnswer {
    restore: RestoreBody,
}

/// A restore as inherited clients know it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreBody {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = Id)]
    checkpoint_id: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    #[schema(value_type = ProviderId)]
    provider_id: &'static str,
    parameters: RestoreParameters,
    /// As it was given.
    restore_target: Option<String>,
    /// `in_progress`, `success` or `fail`.
    #[schema(pattern = "^(in_progress|success|fail)$")]
    status: &'static str,
    /// Under `OS::Nova::Server#` and the id of the server: `restoring`, `available` or `error`.
    #[schema(value_type = BTreeMap<String, String>)]
    resources_status: BTreeMap<String, &'static str>,
    /// Under the same key, why it failed.
    resources_reason: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RestoreParameters {
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    /// As it was given; servers are started by whoever runs them.
    power_on: bool,
    targets: RestoreTargets,
}

#[derive(Debug, Serialize, ToSchema)]
struct RestoreTargets {
    #[schema(value_type = ForeignId)]
    server_id: String,
    volumes: Vec<RestoreVolumeBody>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RestoreVolumeBody {
    /// One of the backup's disks.
    #[schema(value_type = Id)]
    backup_id: String,
    /// The volume it is written to.
    #[schema(value_type = ForeignId)]
    volume_id: String,
}

impl From<Restore> for RestoreBody {
    fn from(restore: Restore) -> RestoreBody {
        let resource = format!("{RESOURCE_TYPE}#{}", restore.target_server_id);
        let resource_status = match restore.state {
            RestoreState::InProgress => "restoring",
            RestoreState::Success => "available",
            RestoreState::Fail => "error",
        };
        let reasons = (!restore.reason.is_empty()).then(|| (resource.clone(), restore.reason.clone()));
        let volume = |volume: &RestoreVolume| RestoreVolumeBody {
            backup_id: volume.backup_id.to_string(),
            volume_id: volume.volume_id.to_string(),
        };
        RestoreBody {
            id: restore.id.to_string(),
            checkpoint_id: restore.checkpoint_id.to_string(),
            project_id: restore.project_id.to_string(),
            provider_id: PROVIDER_ID,
            parameters: RestoreParameters {
                checkpoint_item_id: restore.item_id.to_string(),
                power_on: restore.power_on,
                targets: RestoreTargets {
                    server_id: restore.target_server_id.to_string(),
                    volumes: restore.volumes.iter().map(volume).collect(),
                },
            },
            restore_target: restore.restore_target,
            status: restore.state.word(),
            resources_status: BTreeMap::from([(resource, resource_status)]),
            resources_reason: reasons.into_iter().collect(),
        }
    }
}

/// The answer of `GET /restores`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreListAnswer {
    restores: Vec<RestoreBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    restores_links: Links,
}

/// The order in the body of `POST /restores`.
fn read_restore(body: &Value) -> Reading<RestoreOrder> {
    let restore = Object::wrapped(body, "restore")?;
    check_provider(&restore.field("provider_id"))?;
    let parameters = restore.field("parameters").object()?;
    let targets = parameters.field("targets").object()?;
    let server_id = targets.field("server_id");
    let resource_type = targets.field("resource_type");
    if resource_type.is_given() {
        check_target_type(&resource_type, server_id.text()?)?;
    }
    let volumes = targets.field("volumes").list()?;
    Ok(RestoreOrder {
        checkpoint_id: restore.field("checkpoint_id").id()?,
        item_id: parameters.field("checkpoint_item_id").id()?,
        target_server_id: server_id.id()?,
        volumes: volumes.into_iter().map(read_volume).collect::<Result<_, _>>()?,
        power_on: parameters.field("power_on").boolean()?,
        restore_target: restore
            .field("restore_target")
            .optional(|field| field.text_up_to(255))?
            .map(str::to_owned),
    })
}

fn read_volume(field: Field<'_>) -> Reading<RestoreVolume> {
    let volume = field.object()?;
    Ok(RestoreVolume {
        backup_id: volume.field("backup_id").id()?,
        volume_id: volume.field("volume_id").id()?,
    })
}

/// Restores a backup onto the volumes of a server
///
/// Every volume of the backup needs a target that is large enough. What is on the targets is lost. The answer comes at once; watch
/// `GET /antipode/v1/restores/{restore_id}`.
#[utoipa::path(
    post,
    path = "/restores",
    operation_id = "restoreItem",
    tag = "restores",
    request_body = RestoreRequest,
    responses(
        (status = 200, description = "The restore that was begun.", body = RestoreAnswer, links(
            ("progress" = (operation_id = "showRestoreV1", parameters(("restore_id" = "$response.body#/restore/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Json<RestoreAnswer>, ApiError> {
    let order = read_restore(&body)?;
    let restore = control.restore(&caller, order).await.map_err(under("restore.parameters.targets"))?;
    Ok(Json(RestoreAnswer { restore: restore.into() }))
}

/// Lists restores, in Karbor's form
#[utoipa::path(
    get,
    path = "/restores",
    operation_id = "listRestoresV1",
    tag = "restores",
    params(RestoreOrderQuery, PageQuery),
    responses(
        (status = 200, description = "A page of restores, the newest first.", body = RestoreListAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Json<RestoreListAnswer>, ApiError> {
    let found = control.restores(&caller, &read_page(&query, &SORT_KEYS)?).await?;
    let restores_links = Links::next(&found, |restore| restore.id.to_string(), &query, &site.api_url);
    let restores = found.rows.into_iter().map(RestoreBody::from).collect();
    Ok(Json(RestoreListAnswer { restores, restores_links }))
}

/// Shows a restore, in Karbor's form
#[utoipa::path(
    get,
    path = "/restores/{restore_id}",
    operation_id = "showRestoreV1",
    tag = "restores",
    responses(
        (status = 200, description = "The restore.", body = RestoreAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<RestoreAnswer>, ApiError> {
    let restore = control.restore_by_id(&caller, path.id("restore_id")?).await?;
    Ok(Json(RestoreAnswer { restore: restore.into() }))
}
