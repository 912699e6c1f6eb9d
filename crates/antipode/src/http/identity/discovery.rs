//! Version documents: of the service (Karbor's form) and of identity (Keystone's form).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::http::Site;

/// `GET /`
pub(crate) async fn services(State(site): State<Arc<Site>>) -> (StatusCode, Json<Value>) {
    let link = json!({ "rel": "self", "href": format!("{}/v1/", site.api_url) });
    let versions = json!([{ "id": "v1.0", "status": "CURRENT", "links": [link] }]);
    (StatusCode::MULTIPLE_CHOICES, Json(json!({ "versions": versions })))
}

/// `GET /identity/`
pub(crate) async fn versions(State(site): State<Arc<Site>>) -> (StatusCode, Json<Value>) {
    let body = json!({ "versions": { "values": [identity_version(&site)] } });
    (StatusCode::MULTIPLE_CHOICES, Json(body))
}

/// `GET /identity/v3`
pub(crate) async fn version(State(site): State<Arc<Site>>) -> Json<Value> {
    Json(json!({ "version": identity_version(&site) }))
}

fn identity_version(site: &Site) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{}/identity/v3/", site.api_url) }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}
