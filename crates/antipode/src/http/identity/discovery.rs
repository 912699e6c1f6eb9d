//! Version documents: of the service (Karbor's form) and of identity (Keystone's form).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Site;

/// `{"versions": […]}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceVersions {
    versions: [ServiceVersion; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct ServiceVersion {
    id: &'static str,
    status: &'static str,
    links: [SelfLink; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct SelfLink {
    rel: &'static str,
    #[schema(format = "uri")]
    href: String,
}

/// `{"versions": {"values": […]}}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdentityVersions {
    versions: IdentityVersionList,
}

#[derive(Debug, Serialize, ToSchema)]
struct IdentityVersionList {
    values: [IdentityVersion; 1],
}

/// `{"version": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdentityVersionAnswer {
    version: IdentityVersion,
}

#[derive(Debug, Serialize, ToSchema)]
struct IdentityVersion {
    id: &'static str,
    status: &'static str,
    updated: &'static str,
    links: [SelfLink; 1],
    #[serde(rename = "media-types")]
    media_types: [MediaType; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct MediaType {
    base: &'static str,
    #[serde(rename = "type")]
    media_type: &'static str,
}

impl ServiceVersions {
    fn of(site: &Site) -> ServiceVersions {
        let version = ServiceVersion { id: "v1.0", status: "CURRENT", links: SelfLink::to(site, "/v1/") };
        ServiceVersions { versions: [version] }
    }
}

impl SelfLink {
    fn to(site: &Site, path: &str) -> [SelfLink; 1] {
        [SelfLink { rel: "self", href: format!("{}{path}", site.api_url) }]
    }
}

impl IdentityVersion {
    fn at(site: &Site) -> IdentityVersion {
        let media_type = "application/vnd.openstack.identity-v3+json";
        IdentityVersion {
            id: "v3.14",
            status: "stable",
            updated: "2020-04-07T00:00:00Z",
            links: SelfLink::to(site, "/identity/v3/"),
            media_types: [MediaType { base: "application/json", media_type }],
        }
    }
}

/// Lists the versions of the service, in Karbor's form
///
/// Those of the identity service are not among them: openstacksdk would take the newest of all for the service's.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "listServiceVersions",
    tag = "service",
    security(()),
    responses((status = 300, description = "The versions there are.", body = ServiceVersions))
)]
pub(crate) async fn services(State(site): State<Arc<Site>>) -> (StatusCode, Json<ServiceVersions>) {
    (StatusCode::MULTIPLE_CHOICES, Json(ServiceVersions::of(&site)))
}

/// Shows the version of the service
///
/// The same document as at the root: there is nothing to choose from any more.
#[utoipa::path(
    get,
    path = "/v1",
    operation_id = "showServiceVersion",
    tag = "service",
    security(()),
    responses((status = 200, description = "The version.", body = ServiceVersions))
)]
pub(crate) async fn service(State(site): State<Arc<Site>>) -> Json<ServiceVersions> {
    Json(ServiceVersions::of(&site))
}

/// Lists the versions of the identity service, in Keystone's form
#[utoipa::path(
    get,
    path = "/identity",
    operation_id = "listIdentityVersions",
    tag = "service",
    security(()),
    responses((status = 300, description = "The one version there is.", body = IdentityVersions))
)]
pub(crate) async fn versions(State(site): State<Arc<Site>>) -> (StatusCode, Json<IdentityVersions>) {
    let versions = IdentityVersionList { values: [IdentityVersion::at(&site)] };
    (StatusCode::MULTIPLE_CHOICES, Json(IdentityVersions { versions }))
}

/// Shows the version of the identity service
#[utoipa::path(
    get,
    path = "/identity/v3",
    operation_id = "showIdentityVersion",
    tag = "service",
    security(()),
    responses((status = 200, description = "The version.", body = IdentityVersionAnswer))
)]
pub(crate) async fn version(State(site): State<Arc<Site>>) -> Json<IdentityVersionAnswer> {
    Json(IdentityVersionAnswer { version: IdentityVersion::at(&site) })
}
