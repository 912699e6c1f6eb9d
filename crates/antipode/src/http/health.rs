//! What load balancers and people ask first: are you alive, are you ready, who are you.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use serde::Serialize;
use utoipa::ToSchema;

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`; `restricted` when keys are missing; else what is wrong and what to do.
    status: String,
    /// The keys that are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<MissingKey>,
}

/// A key that this region should have and has not.
#[derive(Debug, Serialize, ToSchema)]
struct MissingKey {
    missing: &'static str,
    /// What does not work without it.
    stopped: &'static str,
}

/// Who answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    /// `antipode`.
    name: &'static str,
    version: &'static str,
    /// The name of this region.
    region: String,
}

impl Health {
    fn new(status: &str, keys: Vec<MissingKey>) -> Json<Health> {
        Json(Health { status: status.to_owned(), keys })
    }
}

/// Says that the process answers
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "isAlive",
    tag = "service",
    security(()),
    responses((status = 200, description = "It does.", body = Health))
)]
pub(super) async fn alive() -> Json<Health> {
    Health::new("ok", Vec::new())
}

/// Says whether the catalog answers and the store takes writes
///
/// A region that runs without some of its keys says which.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "isReady",
    tag = "service",
    security(()),
    responses(
        (status = 200, description = "Both do.", body = Health),
        (status = 503, description = "One of them does not.", body = Health)
    )
)]
pub(super) async fn ready(State(control): State<Control>) -> (StatusCode, Json<Health>) {
    if let Some(trouble) = control.store_trouble() {
        let status = format!("{trouble}: look at its disk, then start the region again");
        return (StatusCode::SERVICE_UNAVAILABLE, Health::new(&status, Vec::new()));
    }
    if let Err(error) = control.ask_catalog().await {
        tracing::warn!("not ready: {error}");
        return (StatusCode::SERVICE_UNAVAILABLE, Health::new("the catalog does not answer", Vec::new()));
    }
    (StatusCode::OK, readiness(&control))
}

fn readiness(control: &Control) -> Json<Health> {
    let missing = control.troubles();
    let missing: Vec<MissingKey> = missing
        .iter()
        .map(|trouble| MissingKey { missing: trouble.key.word(), stopped: trouble.key.stops() })
        .collect();
    Health::new(if missing.is_empty() { "ok" } else { "restricted" }, missing)
}

/// Says which version and which region answers
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "showVersion",
    tag = "service",
    security(()),
    responses((status = 200, description = "Who answers.", body = Version))
)]
pub(super) async fn version(State(control): State<Control>) -> Json<Version> {
    let region = control.region_name().as_str().to_owned();
    Json(Version { name: "antipode", version: env!("CARGO_PKG_VERSION"), region })
}
