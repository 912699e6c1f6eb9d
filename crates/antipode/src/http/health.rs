//! What load balancers and people ask first: are you alive, are you ready, who are you.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Control, Kind};
use serde_json::{Value, json};

/// A well-formed token that nobody has: to say so, the catalog must be read.
const NOBODYS_TOKEN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the catalog answers and the store takes writes. A region that runs without some of its keys
/// says which.
pub(super) async fn ready(State(control): State<Control>) -> (StatusCode, Json<Value>) {
    if let Some(trouble) = control.store_trouble() {
        let status = format!("{trouble}: look at its disk, then start the region again");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": status })));
    }
    match control.authenticate(NOBODYS_TOKEN).await {
        Err(error) if error.kind != Kind::Unauthenticated => {
            tracing::warn!("not ready: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "the catalog does not answer" })))
        }
        _ => (StatusCode::OK, Json(ready_body(&control))),
    }
}

fn ready_body(control: &Control) -> Value {
    let missing: Vec<Value> = control
        .troubles()
        .iter()
        .map(|trouble| json!({ "missing": trouble.key.word(), "stopped": trouble.key.stops() }))
        .collect();
    match missing.is_empty() {
        true => json!({ "status": "ok" }),
        false => json!({ "status": "restricted", "keys": missing }),
    }
}

/// `GET /version`
pub(super) async fn version(State(control): State<Control>) -> Json<Value> {
    let region = control.region_name().as_str();
    Json(json!({ "name": "antipode", "version": env!("CARGO_PKG_VERSION"), "region": region }))
}
