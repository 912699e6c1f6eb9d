//! Policies: create, list, show, update, delete (`csbs-v1-api.md` §5.3).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use control::Control;
use control::page::{PageOf, PolicyFilter, PolicySort};
use model::policy::Policy;
use serde::Serialize;

use super::Nothing;
use super::policy_body::{PolicyBody, read_new_policy, read_policy_change};
use crate::http::Site;
use crate::http::error::{ApiError, under};
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
#[derive(Debug, Serialize)]
pub(crate) struct PolicyAnswer<'a> {
    policy: PolicyBody<'a>,
}

/// The answer of `GET /policies`.
#[derive(Debug, Serialize)]
pub(crate) struct PoliciesAnswer<'a> {
    policies: Vec<PolicyBody<'a>>,
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

/// `POST /policies`
pub(crate) async fn create(
    State(control): State<Control>,
    InProject(caller): InProject,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let new = read_new_policy(&body)?;
    let policy = control.create_policy(&caller, new).await.map_err(under("policy"))?;
    Ok(PolicyAnswer::response(&policy))
}

/// `GET /policies`
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

/// `GET /policies/{policy_id}`
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Response, ApiError> {
    let policy = control.policy(&caller, path.id("policy_id")?).await?;
    Ok(PolicyAnswer::response(&policy))
}

/// `PUT /policies/{policy_id}`
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

/// `DELETE /policies/{policy_id}`: its backups stay
pub(crate) async fn delete(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<Nothing>, ApiError> {
    control.delete_policy(&caller, path.id("policy_id")?).await?;
    Ok(Json(Nothing {}))
}
