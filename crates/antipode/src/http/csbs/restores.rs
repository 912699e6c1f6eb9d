//! Ordering a restore (`csbs-v1-api.md` §5.7).

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::restores::RestoreOrder;
use model::policy::{PROVIDER_ID, RESOURCE_TYPE};
use model::restore::{Restore, RestoreState, RestoreVolume};
use serde::Serialize;
use serde_json::Value;

use crate::http::error::{ApiError, under};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, InProject, check_provider, check_resource_type};

/// The answer of `POST /restores`.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreAnswer {
    restore: RestoreBody,
}

/// A restore as inherited clients know it.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreBody {
    id: String,
    checkpoint_id: String,
    project_id: String,
    provider_id: &'static str,
    parameters: RestoreParameters,
    restore_target: Option<String>,
    status: &'static str,
    resources_status: BTreeMap<String, &'static str>,
    resources_reason: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct RestoreParameters {
    checkpoint_item_id: String,
    power_on: bool,
    targets: RestoreTargets,
}

#[derive(Debug, Serialize)]
struct RestoreTargets {
    server_id: String,
    volumes: Vec<RestoreVolumeBody>,
}

#[derive(Debug, Serialize)]
struct RestoreVolumeBody {
    backup_id: String,
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

/// The order in the body of `POST /restores`.
fn read_restore(body: &Value) -> Reading<RestoreOrder> {
    let restore = Object::wrapped(body, "restore")?;
    check_provider(&restore.field("provider_id"))?;
    let parameters = restore.field("parameters").object()?;
    let targets = parameters.field("targets").object()?;
    let server_id = targets.field("server_id");
    let resource_type = targets.field("resource_type");
    if resource_type.is_given() {
        check_resource_type(&resource_type, server_id.text()?)?;
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

/// `POST /restores`
pub(crate) async fn create(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Json<RestoreAnswer>, ApiError> {
    let order = read_restore(&body)?;
    let restore = control.restore(&caller, order).await.map_err(under("restore.parameters.targets"))?;
    Ok(Json(RestoreAnswer { restore: restore.into() }))
}
