//! The API: every route is one line below, so this file is the table of contents. Handlers extract,
//! call one method of `control` and convert; [`error`] alone knows how a refusal looks. The router and the
//! document at `/openapi.json` are made from the same lines ([`openapi`]).

mod antipode;
mod csbs;
pub mod error;
mod health;
mod identity;
mod json;
pub mod listener;
mod openapi;
mod page;
mod reader;
mod request;
mod request_id;
mod signature;

use std::sync::Arc;

use axum::extract::FromRef;
use axum::{Router, middleware};
use control::Control;
use utoipa_axum::routes;
use vault::seams::Entropy;

use crate::http::antipode::{
    backups, coverage, credentials, destinations, explain, grants, limits, policies as own_policies,
    progress, quarantine, quotas, receipts, regions, servers, vaults, verbs,
};
use crate::http::csbs::{
    backup_tags, checkpoints, checks, items, operation_logs, policies, policy_tags, project, providers,
    records, replication, restores,
};
use crate::http::error::ApiError;
use crate::http::identity::{
    application_credentials, catalog, discovery, domains, projects, roles, tokens, users,
};
use crate::http::openapi::Routes;

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
    let api = Api { control, site };
    routes()
        .into_router()
        .fallback(async || ApiError::no_route())
        .method_not_allowed_fallback(async || ApiError::no_method())
        .with_state(api.clone())
        .layer(middleware::from_fn_with_state(api.clone(), identity::only_embedded))
        .layer(middleware::from_fn_with_state(api, signature::verify))
        .layer(names)
}

/// Every route there is, with its description.
fn routes() -> Routes {
    Routes::new()
        .at("/", routes!(discovery::services))
        .at_slashed("/v1", routes!(discovery::service))
        .under("/v1/{project_id}", csbs())
        .under("/antipode/v1", own())
        .under("/identity/v3", identity())
        .at_slashed("/identity", routes!(discovery::versions))
        .at_slashed("/identity/v3", routes!(discovery::version))
        .at("/openapi.json", routes!(openapi::show))
        .at("/healthz", routes!(health::alive))
        .at("/readyz", routes!(health::ready))
        .at("/version", routes!(health::version))
}

/// CSBS v1, after `/v1/{project_id}`.
fn csbs() -> Routes {
    Routes::new()
        .at("/policies", routes!(policies::list, policies::create))
        .at("/policies/{policy_id}", routes!(policies::show, policies::update, policies::delete))
        .at("/providers", routes!(providers::list))
        .at("/providers/{provider_id}", routes!(providers::show))
        .at("/providers/{provider_id}/resources/action", routes!(checks::check))
        .at("/providers/{provider_id}/resources/{resource_id}/action", routes!(checkpoints::protect))
        .at("/providers/{provider_id}/checkpoints", routes!(checkpoints::run_policy))
        .at("/providers/{provider_id}/checkpoints/replicate", routes!(replication::replicate))
        .at("/providers/{provider_id}/checkpoints/{checkpoint_id}", routes!(checkpoints::delete))
        .at(
            "/providers/{provider_id}/checkpoint_items/{checkpoint_item_id}/replicate",
            routes!(replication::replicate_item),
        )
        .at("/checkpoint_items", routes!(items::list))
        .at("/checkpoint_items/count", routes!(items::count))
        .at("/checkpoint_items/{checkpoint_item_id}", routes!(items::show))
        .at("/restores", routes!(restores::list, restores::create))
        .at("/restores/{restore_id}", routes!(restores::show))
        .at("/quotas", routes!(project::quotas))
        .at("/protect_config", routes!(project::protect_config))
        .at("/protection_capabilities", routes!(project::protection_capabilities))
        .at("/operation_logs", routes!(operation_logs::list))
        .at("/operation_logs/{operation_log_id}", routes!(operation_logs::show, operation_logs::delete))
        .at("/replication_capabilities", routes!(replication::capabilities))
        .at("/replication_records", routes!(records::list))
        .at("/replication_records/{replication_record_id}", routes!(records::show))
        .at("/csbs_backup/tags", routes!(backup_tags::of_project))
        .at("/csbs_backup/resource_instances/action", routes!(backup_tags::search))
        .at("/csbs_backup/{checkpoint_item_id}/tags", routes!(backup_tags::list, backup_tags::add))
        // A tag may have the key "action", and then its path is that of the batch.
        .at(
            "/csbs_backup/{checkpoint_item_id}/tags/action",
            routes!(backup_tags::change, backup_tags::remove_action),
        )
        .at("/csbs_backup/{checkpoint_item_id}/tags/{key}", routes!(backup_tags::remove))
        .at("/csbs_backup_policy/tags", routes!(policy_tags::of_project))
        .at("/csbs_backup_policy/resource_instances/action", routes!(policy_tags::search))
        .at("/csbs_backup_policy/{policy_id}/tags", routes!(policy_tags::list, policy_tags::add))
        .at(
            "/csbs_backup_policy/{policy_id}/tags/action",
            routes!(policy_tags::change, policy_tags::remove_action),
        )
        .at("/csbs_backup_policy/{policy_id}/tags/{key}", routes!(policy_tags::remove))
}

/// Our own surface, after `/antipode/v1`.
fn own() -> Routes {
    Routes::new()
        .at("/servers", routes!(servers::list, servers::create))
        .at("/servers/{server_id}", routes!(servers::show, servers::delete))
        .at("/servers/{server_id}/backups", routes!(backups::create))
        .at("/grants", routes!(grants::list, grants::create))
        .at("/grants/{grant_id}", routes!(grants::revoke))
        .at("/credentials", routes!(credentials::list, credentials::create))
        .at("/credentials/{access_key_id}", routes!(credentials::show, credentials::delete))
        .at("/region", routes!(regions::show))
        .at("/region/unfreeze", routes!(regions::unfreeze))
        .at("/regions", routes!(regions::list))
        .at("/regions/invitations", routes!(regions::invite))
        .at("/regions/accept", routes!(regions::accept))
        .at("/regions/{region_name}/confirm", routes!(regions::confirm))
        .at("/checkpoint_items/{checkpoint_item_id}", routes!(progress::item))
        .at("/regions/{region_name}/limit", routes!(limits::set))
        .at("/checkpoint_items/{checkpoint_item_id}/explain", routes!(explain::explain))
        .at("/coverage", routes!(coverage::show))
        .at("/replication_records/{replication_record_id}", routes!(progress::record))
        .at("/replication_records/{replication_record_id}/receipt", routes!(receipts::show))
        .at("/replication_records/{replication_record_id}/pause", routes!(verbs::pause))
        .at("/replication_records/{replication_record_id}/resume", routes!(verbs::resume))
        .at("/replication_records/{replication_record_id}/cancel", routes!(verbs::cancel))
        .at("/replication_records/{replication_record_id}/retry", routes!(verbs::retry))
        .at("/policies/{policy_id}/adopt", routes!(own_policies::adopt))
        .at("/policies/{policy_id}/destinations", routes!(destinations::list))
        .at(
            "/policies/{policy_id}/destinations/{region_name}",
            routes!(destinations::show, destinations::set),
        )
        .at("/policies/{policy_id}/replication_plan", routes!(destinations::plan))
        .at(
            "/policies/{policy_id}/retention_preview",
            routes!(own_policies::preview_retention, own_policies::preview_other_retention),
        )
        .at("/quotas/{project_id}", routes!(quotas::show, quotas::set))
        .at("/quarantine", routes!(quarantine::list))
        .at("/quarantine/{checkpoint_item_id}/undelete", routes!(quarantine::undelete))
        .at("/vaults", routes!(vaults::list))
        .at("/vaults/{vault_id}/collect", routes!(vaults::collect))
        .at("/restores", routes!(progress::restores))
        .at("/restores/{restore_id}", routes!(progress::restore))
}

/// The Keystone v3 subset, after `/identity/v3`.
fn identity() -> Routes {
    Routes::new()
        .at("/auth/tokens", routes!(tokens::create, tokens::validate, tokens::revoke))
        .at("/auth/catalog", routes!(catalog::own))
        .at("/auth/projects", routes!(projects::mine))
        .at("/domains", routes!(domains::list))
        .at("/domains/{domain_id}", routes!(domains::show))
        .at("/regions", routes!(catalog::regions))
        .at("/regions/{region_name}", routes!(catalog::region))
        .at("/services", routes!(catalog::services))
        .at("/services/{service_id}", routes!(catalog::service))
        .at("/endpoints", routes!(catalog::endpoints))
        .at("/endpoints/{endpoint_id}", routes!(catalog::endpoint))
        .at("/projects", routes!(projects::list, projects::create))
        .at("/projects/{project_id}", routes!(projects::show, projects::update, projects::delete))
        .at("/users", routes!(users::list, users::create))
        .at("/users/{user_id}", routes!(users::show, users::update, users::delete))
        .at("/users/{user_id}/password", routes!(users::change_password))
        .at("/users/{user_id}/projects", routes!(users::projects))
        .at(
            "/users/{user_id}/application_credentials",
            routes!(application_credentials::list, application_credentials::create),
        )
        .at(
            "/users/{user_id}/application_credentials/{application_credential_id}",
            routes!(application_credentials::show, application_credentials::delete),
        )
        .at("/roles", routes!(roles::list))
        .at("/roles/{role}", routes!(roles::show))
        .at("/role_assignments", routes!(roles::assignments))
        .at("/projects/{project_id}/users/{user_id}/roles", routes!(roles::in_project))
        .at(
            "/projects/{project_id}/users/{user_id}/roles/{role}",
            routes!(roles::check, roles::assign, roles::unassign),
        )
        .at("/system/users/{user_id}/roles", routes!(roles::in_region))
        .at(
            "/system/users/{user_id}/roles/{role}",
            routes!(roles::check_in_region, roles::assign_in_region, roles::unassign_in_region),
        )
}
