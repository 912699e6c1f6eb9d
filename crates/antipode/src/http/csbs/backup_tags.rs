//! Tags of backups (`csbs-v1-api.md` §5.14, `csbs_backup`). What is done stands in `tags.rs`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use control::Control;
use control::tags::{TagFamily, Tagged};

use super::requests::{TagBatchRequest, TagGivenRequest, TagSearchRequest};
use super::tags::{self, ACTION, ProjectTagsAnswer, TaggedAnswer, TagsAnswer};
use crate::http::error::ApiError;
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::request::{Body, InProject, PathParams};

/// The backup that the path names.
fn tagged(path: &PathParams) -> Result<Tagged, ApiError> {
    Ok(Tagged::Item(path.id("checkpoint_item_id")?))
}

/// Tags a backup
///
/// A key that it has gets the new value. A backup carries at most ten tags.
#[utoipa::path(
    post,
    path = "/csbs_backup/{checkpoint_item_id}/tags",
    operation_id = "addBackupTag",
    tag = "backups",
    request_body = TagGivenRequest,
    responses((status = 204, description = "It carries the tag."), WriteRefusals)
)]
pub(crate) async fn add(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    tags::add(&control, &caller, tagged(&path)?, &body).await
}

/// Tags a backup several times, or takes several tags away
///
/// All of them or none. Keys to be given are unique. A tag to be taken away goes whatever its value, or only with the
/// value that is given; what is not there is gone already.
#[utoipa::path(
    post,
    path = "/csbs_backup/{checkpoint_item_id}/tags/action",
    operation_id = "changeBackupTags",
    tag = "backups",
    request_body = TagBatchRequest,
    responses((status = 204, description = "It is done."), WriteRefusals)
)]
pub(crate) async fn change(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    tags::change(&control, &caller, tagged(&path)?, &body).await
}

/// Takes a tag from a backup
#[utoipa::path(
    delete,
    path = "/csbs_backup/{checkpoint_item_id}/tags/{key}",
    operation_id = "removeBackupTag",
    tag = "backups",
    responses((status = 204, description = "The tag is gone."), WriteRefusals)
)]
pub(crate) async fn remove(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<StatusCode, ApiError> {
    tags::remove(&control, &caller, tagged(&path)?, path.text("key")?).await
}

/// Takes the tag with the key `action` from a backup
///
/// Its path is that of the batches as well.
#[utoipa::path(
    delete,
    path = "/csbs_backup/{checkpoint_item_id}/tags/action",
    operation_id = "removeBackupTagAction",
    tag = "backups",
    responses((status = 204, description = "The tag is gone."), WriteRefusals)
)]
pub(crate) async fn remove_action(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<StatusCode, ApiError> {
    tags::remove(&control, &caller, tagged(&path)?, ACTION).await
}

/// Lists the tags of a backup
#[utoipa::path(
    get,
    path = "/csbs_backup/{checkpoint_item_id}/tags",
    operation_id = "listBackupTags",
    tag = "backups",
    responses((status = 200, description = "Its tags, in the order in which it got them.", body = TagsAnswer), ReadRefusals)
)]
pub(crate) async fn list(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Response, ApiError> {
    tags::list(&control, &caller, tagged(&path)?).await
}

/// Lists the tags of all backups
#[utoipa::path(
    get,
    path = "/csbs_backup/tags",
    operation_id = "listProjectBackupTags",
    tag = "backups",
    responses((status = 200, description = "Every key and its values, in order.", body = ProjectTagsAnswer), ReadRefusals)
)]
pub(crate) async fn of_project(
    State(control): State<Control>,
    InProject(caller): InProject,
) -> Result<Json<ProjectTagsAnswer>, ApiError> {
    tags::of_project(&control, &caller, TagFamily::Items).await
}

/// Finds or counts backups by their tags
#[utoipa::path(
    post,
    path = "/csbs_backup/resource_instances/action",
    operation_id = "searchTaggedBackups",
    tag = "backups",
    request_body = TagSearchRequest,
    responses((status = 200, description = "What was found.", body = TaggedAnswer), ReadRefusals)
)]
pub(crate) async fn search(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Response, ApiError> {
    tags::search(&control, &caller, TagFamily::Items, &body).await
}
