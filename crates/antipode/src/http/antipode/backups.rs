//! Ordering a backup of a server together with what a change tracker knows: only what it names is read.
//! The inherited call (`protect`) has no words for it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::changes::{ServerChanges, VolumeChanges};
use control::checkpoints::ProtectOrder;
use model::ids::ResourceId;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::BackupRequest;
use crate::http::error::{OwnError, under};
use crate::http::openapi::refusals::WriteRefusals;
use crate::http::openapi::schema::Id;
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams};

/// `{"backup": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackupAnswer {
    backup: BackupBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct BackupBody {
    #[schema(value_type = Id)]
    checkpoint_id: String,
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
}

/// The order in the body of a backup.
fn read_backup(body: &Value, resource_id: ResourceId) -> Reading<ProtectOrder> {
    let backup = Object::wrapped(body, "backup")?;
    Ok(ProtectOrder {
        resource_id,
        name: backup.field("name").optional(|field| field.name())?,
        description: backup.field("description").optional(|field| field.description())?,
        incremental: true,
        tags: backup.field("tags").optional(Field::tags)?.unwrap_or_default(),
        excluded_volumes: Vec::new(),
        changes: backup.field("changes").optional(read_changes)?,
    })
}

fn read_changes(field: Field<'_>) -> Reading<ServerChanges> {
    let changes = field.object()?;
    let volumes = changes.field("volumes").list()?;
    Ok(ServerChanges {
        since: changes.field("since").id()?,
        volumes: volumes.into_iter().map(read_volume).collect::<Result<_, _>>()?,
    })
}

fn read_volume(field: Field<'_>) -> Reading<VolumeChanges> {
    let volume = field.object()?;
    let extents = volume.field("extents").list()?;
    Ok(VolumeChanges {
        volume_id: volume.field("id").id()?,
        extents: extents.into_iter().map(read_extent).collect::<Result<_, _>>()?,
    })
}

fn read_extent(field: Field<'_>) -> Reading<(u64, u64)> {
    let extent = field.object()?;
    let count = |name: &str| {
        let field = extent.field(name);
        u64::try_from(field.integer()?).map_err(|_| field.refused("must not be negative"))
    };
    Ok((count("offset")?, count("length")?))
}

/// Backs up one server now, reading only what a change tracker names
#[utoipa::path(
    post,
    path = "/servers/{server_id}/backups",
    operation_id = "backUpServer",
    tag = "backups",
    request_body = BackupRequest,
    responses(
        (status = 202, description = "The backup that was begun.", body = BackupAnswer, links(
            ("item" = (operation_id = "showItemProgress", parameters(("checkpoint_item_id" = "$response.body#/backup/checkpoint_item_id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<(StatusCode, Json<BackupAnswer>), OwnError> {
    let order = read_backup(&body, path.id("server_id")?)?;
    let begun = control.protect(&caller, order).await.map_err(under("backup"))?;
    let item = begun.items.first().map(|item| item.id.to_string());
    let backup = BackupBody {
        checkpoint_id: begun.checkpoint.id.to_string(),
        checkpoint_item_id: item.unwrap_or_default(),
    };
    Ok((StatusCode::ACCEPTED, Json(BackupAnswer { backup })))
}
