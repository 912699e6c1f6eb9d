//! Tags of policies (`csbs-v1-api.md` §5.14, `csbs_backup_policy`). What is done stands in `tags.rs`.

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

/// The policy that the path names.
fn tagged(path: &PathParams) -> Result<Tagged, ApiError> {
    Ok(Tagged::Policy(path.id("policy_id")?))
}

/// Tags a policy
///
/// A key that it has gets the new value. A policy carries at most ten tags.
#[utoipa::path(
    post,
    path = "/csbs_backup_policy/{policy_id}/tags",
    operation_id = "addPolicyTag",
    tag = "policies",
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

/// Tags a policy several times, or takes several tags away
///
/// All of them or none. Keys to be given are unique. A tag to be taken away goes whatever its value, or only with the
/// value that is given; what is not there is gone already.
#[utoipa::path(
    post,
    path = "/csbs_backup_policy/{policy_id}/tags/action",
    operation_id = "changePolicyTags",
    tag = "policies",
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

/// Takes a tag from a policy
#[utoipa::path(
    delete,
    path = "/csbs_backup_policy/{policy_id}/tags/{key}",
    operation_id = "removePolicyTag",
    tag = "policies",
    responses((status = 204, description = "The tag is gone."), WriteRefusals)
)]
pub(crate) async fn remove(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<StatusCode, ApiError> {
    tags::remove(&control, &caller, tagged(&path)?, path.text("key")?).await
}

/// Takes the tag with the key `action` from a policy
///
/// Its path is that of the batches as well.
#[utoipa::path(
    delete,
    path = "/csbs_backup_policy/{policy_id}/tags/action",
    operation_id = "removePolicyTagAction",
    tag = "policies",
    responses((status = 204, description = "The tag is gone."), WriteRefusals)
)]
pub(crate) async fn remove_action(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<StatusCode, ApiError> {
    tags::remove(&control, &caller, tagged(&path)?, ACTION).await
}

/// Lists the tags of a policy
#[utoipa::path(
    get,
    path = "/csbs_backup_policy/{policy_id}/tags",
    operation_id = "listPolicyTags",
    tag = "policies",
    responses((status = 200, description = "Its tags, in the order in which it got them.", body = TagsAnswer), ReadRefusals)
)]
pub(crate) async fn list(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Response, ApiError> {
    tags::list(&control, &caller, tagged(&path)?).await
}

/// Lists the tags of all policies
#[utoipa::path(
    get,
    path = "/csbs_backup_policy/tags",
    operation_id = "listProjectPolicyTags",
    tag = "policies",
    responses((status = 200, description = "Every key and its values, in order.", body = ProjectTagsAnswer), ReadRefusals)
)]
pub(crate) async fn of_project(
    State(control): State<Control>,
    InProject(caller): InProject,
) -> Result<Json<ProjectTagsAnswer>, ApiError> {
    tags::of_project(&control, &caller, TagFamily::Policies).await
}

/// Finds or counts policies by their tags
#[utoipa::path(
    post,
    path = "/csbs_backup_policy/resource_instances/action",
    operation_id = "searchTaggedPolicies",
    tag = "policies",
    request_body = TagSearchRequest,
    responses((status = 200, description = "What was found.", body = TaggedAnswer), ReadRefusals)
)]
pub(crate) async fn search(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Response, ApiError> {
    tags::search(&control, &caller, TagFamily::Policies, &body).await
}
