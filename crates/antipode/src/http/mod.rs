//! The API: every route is one line below, so this file is the table of contents. Handlers extract,
//! call one method of `control` and convert; [`error`] alone knows how a refusal looks.

mod antipode;
mod csbs;
pub mod error;
mod health;
mod identity;
pub mod listener;
mod page;
mod reader;
mod request;
mod request_id;

use std::sync::Arc;

use axum::extract::FromRef;
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use control::Control;
use vault::seams::Entropy;

use crate::http::antipode::{backups, grants, progress, quarantine, regions, servers, vaults};
use crate::http::csbs::{checkpoints, items, policies, records, replication, restores};
use crate::http::error::ApiError;
use crate::http::identity::{discovery, projects, tokens, users};

/// What the API must know that `control` does not.
pub struct Site {
    /// How clients reach us, without a trailing slash. Stands in the catalogue and in links.
    pub api_url: String,
    /// What a request may cost.
    pub limits: Limits,
    /// Names requests.
    pub entropy: Arc<dyn Entropy>,
}

/// What the body of a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body.
    pub body_bytes_max: u64,
    /// How long a client may take to send it.
    pub body_timeout_seconds: u64,
}

/// What handlers can ask for with `State`.
#[derive(Clone)]
struct Api {
    control: Control,
    site: Arc<Site>,
}

impl FromRef<Api> for Control {
    fn from_ref(api: &Api) -> Control {
        api.control.clone()
    }
}

impl FromRef<Api> for Arc<Site> {
    fn from_ref(api: &Api) -> Arc<Site> {
        api.site.clone()
    }
}

impl FromRef<Api> for Limits {
    fn from_ref(api: &Api) -> Limits {
        api.site.limits
    }
}

/// The whole API over one region.
pub fn router(control: Control, site: Site) -> Router {
    let site = Arc::new(site);
    let names = middleware::from_fn_with_state(site.clone(), request_id::name_request);
    Router::new()
        .route("/", get(discovery::services))
        .nest("/v1/{project_id}", csbs())
        .nest("/antipode/v1", own())
        .nest("/identity", identity())
        .route("/identity/", get(discovery::versions))
        .route("/identity/v3/", get(discovery::version))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/version", get(health::version))
        .fallback(async || ApiError::no_route())
        .method_not_allowed_fallback(async || ApiError::no_method())
        .with_state(Api { control, site })
        .layer(names)
}

/// CSBS v1, after `/v1/{project_id}`.
fn csbs() -> Router<Api> {
    Router::new()
        .route("/policies", get(policies::list).post(policies::create))
        .route("/policies/{policy_id}", get(policies::show).put(policies::update).delete(policies::delete))
        .route("/providers/{provider_id}/resources/{resource_id}/action", post(checkpoints::protect))
        .route("/providers/{provider_id}/checkpoints", post(checkpoints::run_policy))
        .route("/providers/{provider_id}/checkpoints/replicate", post(replication::replicate))
        .route("/providers/{provider_id}/checkpoints/{checkpoint_id}", delete(checkpoints::delete))
        .route(
            "/providers/{provider_id}/checkpoint_items/{checkpoint_item_id}/replicate",
            post(replication::replicate_item),
        )
        .route("/checkpoint_items", get(items::list))
        .route("/checkpoint_items/count", get(items::count))
        .route("/checkpoint_items/{checkpoint_item_id}", get(items::show))
        .route("/restores", post(restores::create))
        .route("/replication_capabilities", get(replication::capabilities))
        .route("/replication_records", get(records::list))
        .route("/replication_records/{replication_record_id}", get(records::show))
}

/// Our own surface, after `/antipode/v1`.
fn own() -> Router<Api> {
    Router::new()
        .route("/servers", get(servers::list).post(servers::create))
        .route("/servers/{server_id}", get(servers::show).delete(servers::delete))
        .route("/servers/{server_id}/backups", post(backups::create))
        .route("/grants", get(grants::list).post(grants::create))
        .route("/grants/{grant_id}", delete(grants::revoke))
        .route("/region", get(regions::show))
        .route("/region/unfreeze", post(regions::unfreeze))
        .route("/regions", get(regions::list))
        .route("/regions/invitations", post(regions::invite))
        .route("/regions/accept", post(regions::accept))
        .route("/regions/{region_name}/confirm", post(regions::confirm))
        .route("/projects", get(projects::list).post(projects::create))
        .route("/checkpoint_items/{checkpoint_item_id}", get(progress::item))
        .route("/replication_records/{replication_record_id}", get(progress::record))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{checkpoint_item_id}/undelete", post(quarantine::undelete))
        .route("/vaults", get(vaults::list))
        .route("/vaults/{vault_id}/collect", post(vaults::collect))
        .route("/restores", get(progress::restores))
        .route("/restores/{restore_id}", get(progress::restore))
}

/// The Keystone v3 subset, after `/identity`.
fn identity() -> Router<Api> {
    Router::new()
        .route("/", get(discovery::versions))
        .route("/v3", get(discovery::version))
        .route("/v3/auth/tokens", post(tokens::create).get(tokens::validate).delete(tokens::revoke))
        .route("/v3/auth/catalog", get(tokens::catalog))
        .route("/v3/auth/projects", get(projects::mine))
        .route("/v3/projects", get(projects::list).post(projects::create))
        .route("/v3/users", get(users::list).post(users::create))
        .route("/v3/projects/{project_id}/users/{user_id}/roles/{role}", put(users::assign))
        .route("/v3/system/users/{user_id}/roles/{role}", put(users::assign_in_region))
}
