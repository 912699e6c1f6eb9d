//! Policies: create, list, show, update, delete (`csbs-v1-api.md` §5.3).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use control::Control;
use control::page::{PageOf, PolicyFilter, PolicySort};
use model::policy::Policy;
use serde::Serialize;
use utoipa::ToSchema;

use super::Nothing;
use super::policy_body::{PolicyBody, read_new_policy, read_policy_change};
use super::requests::{PolicyChangeRequest, PolicyRequest};
use crate::http::Site;
use crate::http::error::{ApiError, under};
use crate::http::openapi::parameters::{PageQuery, PolicyFilters};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::page::{Links, read_page};
use crate::http::request::{Body, InProject, PathParams, Query};

/// The words that the list can be sorted by. Every policy has the same status.
const SORT_KEYS: [(&str, PolicySort); 5] = [
    ("created_at", PolicySort::CreatedAt),
    ("updated_at", PolicySort::UpdatedAt),
    ("name", PolicySort::Name),
    ("id", PolicySort::Id),
    ("status", PolicySort::Id),
];

/// The answer of every call that ends with one policy.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = super::examples::policy)]
pub(crate) struct PolicyAnswer<'a> {
    policy: PolicyBody<'a>,
}

/// The answer of `GET /policies`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoliciesAnswer<'a> {
    policies: Vec<PolicyBody<'a>>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    policies_links: Links,
}

impl PolicyAnswer<'_> {
    fn response(policy: &Policy) -> Response {
        Json(PolicyAnswer { policy: policy.into() }).into_response()
    }
}

impl PoliciesAnswer<'_> {
    fn response(found: &PageOf<Policy>, query: &Query, site: &Site) -> Response {
        let policies = found.rows.iter().map(PolicyBody::from).collect();
        let policies_links = Links::next(found, |policy| policy.id.to_string(), query, &site.api_url);
        Json(PoliciesAnswer { policies, policies_links }).into_response()
    }
}

/// Makes a policy
///
/// Names are unique in a project, and a server is in one policy at most.
#[utoipa::path(
    post,
    path = "/policies",
    operation_id = "createPolicy",
    tag = "policies",
    request_body = PolicyRequest,
    responses(
        (status = 200, description = "The policy as it was kept.", body = PolicyAnswer, links(
            ("show" = (operation_id = "showPolicy", parameters(("policy_id" = "$response.body#/policy/id")))),
            ("change" = (operation_id = "updatePolicy", parameters(("policy_id" = "$response.body#/policy/id")))),
            ("delete" = (operation_id = "deletePolicy", parameters(("policy_id" = "$response.body#/policy/id")))),
            ("list" = (operation_id = "listPolicies", parameters(("name" = "$response.body#/policy/name")))),
            ("backups" = (operation_id = "listItems", parameters(("policy_id" = "$response.body#/policy/id")))),
            ("records" = (operation_id = "listRecords", parameters(("policy_id" = "$response.body#/policy/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let new = read_new_policy(&body)?;
    let policy = control.create_policy(&caller, new).await.map_err(under("policy"))?;
    Ok(PolicyAnswer::response(&policy))
}

/// Lists policies
#[utoipa::path(
    get,
    path = "/policies",
    operation_id = "listPolicies",
    tag = "policies",
    params(PolicyFilters, PageQuery),
    responses(
        (status = 200, description = "A page of policies, the newest first.", body = PoliciesAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Response, ApiError> {
    let filter = PolicyFilter { name: query.last("name").map(str::to_owned) };
    let found = control.policies(&caller, &filter, &read_page(&query, &SORT_KEYS)?).await?;
    Ok(PoliciesAnswer::response(&found, &query, &site))
}

/// Shows a policy
#[utoipa::path(
    get,
    path = "/policies/{policy_id}",
    operation_id = "showPolicy",
    tag = "policies",
    responses(
        (status = 200, description = "The policy.", body = PolicyAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Response, ApiError> {
    let policy = control.policy(&caller, path.id("policy_id")?).await?;
    Ok(PolicyAnswer::response(&policy))
}

/// Changes a policy
///
/// What is left out stays as it is. `resources` is the whole new set. Scheduled operations are named by their ids, each of them;
/// those that are not named stay. A definition that is given replaces the old one.
#[utoipa::path(
    put,
    path = "/policies/{policy_id}",
    operation_id = "updatePolicy",
    tag = "policies",
    request_body = PolicyChangeRequest,
    responses(
        (status = 200, description = "The policy as it is now.", body = PolicyAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn update(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let (id, change) = (path.id("policy_id")?, read_policy_change(&body)?);
    let policy = control.update_policy(&caller, id, change).await.map_err(under("policy"))?;
    Ok(PolicyAnswer::response(&policy))
}

/// Deletes a policy; its backups stay
///
/// Also while it runs: the run and the replication of what it made finish. Another policy can adopt the backups.
#[utoipa::path(
    delete,
    path = "/policies/{policy_id}",
    operation_id = "deletePolicy",
    tag = "policies",
    responses(
        (status = 200, description = "It is gone.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<Nothing>, ApiError> {
    control.delete_policy(&caller, path.id("policy_id")?).await?;
    Ok(Json(Nothing {}))
}
