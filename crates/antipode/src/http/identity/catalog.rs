//! The service catalogue: what a project can reach here, and the same as lists of regions, services and
//! endpoints. It follows from the configuration and cannot be changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::{Control, Error};
use model::ids::RegionName;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ListLinks, SelfLink, absent};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError};
use crate::http::openapi::parameters::{EndpointFilters, ServiceFilters};
use crate::http::openapi::refusals::IdentityReadRefusals;
use crate::http::request::{LoggedIn, PathParams, Query};

/// One service with its endpoint, as tokens show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceBody {
    id: &'static str,
    #[serde(rename = "type")]
    service_type: &'static str,
    name: &'static str,
    endpoints: [EndpointBody; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct EndpointBody {
    id: &'static str,
    interface: &'static str,
    region: String,
    region_id: String,
    url: String,
}

/// `{"catalog": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogAnswer {
    catalog: [ServiceBody; 3],
    links: ListLinks,
}

/// One region.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogRegionBody)]
pub(crate) struct RegionBody {
    id: String,
    description: &'static str,
    parent_region_id: Option<String>,
    links: SelfLink,
}

/// `{"region": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogRegionAnswer)]
pub(crate) struct RegionAnswer {
    region: RegionBody,
}

/// `{"regions": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CatalogRegionsAnswer)]
pub(crate) struct RegionsAnswer {
    regions: [RegionBody; 1],
    links: ListLinks,
}

/// One service of the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceRow {
    id: &'static str,
    #[serde(rename = "type")]
    service_type: &'static str,
    name: &'static str,
    description: &'static str,
    enabled: bool,
    links: SelfLink,
}

/// `{"service": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceAnswer {
    service: ServiceRow,
}

/// `{"services": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServicesAnswer {
    services: Vec<ServiceRow>,
    links: ListLinks,
}

/// One endpoint of the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointRow {
    id: &'static str,
    service_id: &'static str,
    interface: &'static str,
    region: String,
    region_id: String,
    url: String,
    enabled: bool,
    links: SelfLink,
}

/// `{"endpoint": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointAnswer {
    endpoint: EndpointRow,
}

/// `{"endpoints": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointsAnswer {
    endpoints: Vec<EndpointRow>,
    links: ListLinks,
}

/// What a project can reach here. Clients look for `data-protect`, interface `public`.
pub(crate) fn services_of(site: &Site, region: &RegionName, project_id: &str) -> [ServiceBody; 3] {
    let service = |id, service_type, name, path: String| ServiceBody {
        id,
        service_type,
        name,
        endpoints: [EndpointBody {
            id,
            interface: "public",
            region: region.to_string(),
            region_id: region.to_string(),
            url: format!("{}{path}", site.api_url),
        }],
    };
    [
        service("data-protect", "data-protect", "csbs", format!("/v1/{project_id}")),
        service("identity", "identity", "keystone", "/identity/v3".to_owned()),
        service("antipode", "antipode", "antipode", "/antipode/v1".to_owned()),
    ]
}

/// Shows what the caller's project can reach, and where
#[utoipa::path(
    get,
    path = "/auth/catalog",
    operation_id = "showCatalog",
    tag = "identity",
    responses(
        (status = 200, description = "The catalogue.", body = CatalogAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn own(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<CatalogAnswer>, IdentityError> {
    let LoggedIn(caller) = caller?;
    let project = caller.project().ok_or_else(|| Error::forbidden("the token is not scoped to a project"))?;
    let catalog = services_of(&site, control.region_name(), project.id.as_str());
    Ok(Json(CatalogAnswer { catalog, links: ListLinks::new(&site.api_url, "auth/catalog") }))
}

/// Lists the regions
#[utoipa::path(
    get,
    path = "/regions",
    operation_id = "listCatalogRegions",
    tag = "identity",
    responses(
        (status = 200, description = "The one region.", body = RegionsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn regions(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<RegionsAnswer>, IdentityError> {
    caller?;
    let regions = [region_body(&site, control.region_name())];
    Ok(Json(RegionsAnswer { regions, links: ListLinks::new(&site.api_url, "regions") }))
}

/// Shows a region
#[utoipa::path(
    get,
    path = "/regions/{region_name}",
    operation_id = "showCatalogRegion",
    tag = "identity",
    responses(
        (status = 200, description = "The region.", body = RegionAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn region(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<RegionAnswer>, IdentityError> {
    caller?;
    match path.text("region_name")? == control.region_name().as_str() {
        true => Ok(Json(RegionAnswer { region: region_body(&site, control.region_name()) })),
        false => Err(absent().into()),
    }
}

/// Lists the services of the catalogue
#[utoipa::path(
    get,
    path = "/services",
    operation_id = "listServices",
    tag = "identity",
    params(ServiceFilters),
    responses(
        (status = 200, description = "All of them.", body = ServicesAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn services(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<ServicesAnswer>, IdentityError> {
    caller?;
    let query = query?;
    let mut services = service_rows(&site, control.region_name());
    services.retain(|row| query.last("name").is_none_or(|name| name == row.name));
    services.retain(|row| query.last("type").is_none_or(|wanted| wanted == row.service_type));
    Ok(Json(ServicesAnswer { services, links: ListLinks::new(&site.api_url, "services") }))
}

/// Shows a service of the catalogue
#[utoipa::path(
    get,
    path = "/services/{service_id}",
    operation_id = "showService",
    tag = "identity",
    responses(
        (status = 200, description = "The service.", body = ServiceAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn service(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<ServiceAnswer>, IdentityError> {
    caller?;
    let id = path.text("service_id")?;
    let found = service_rows(&site, control.region_name()).into_iter().find(|row| row.id == id);
    Ok(Json(ServiceAnswer { service: found.ok_or_else(absent)? }))
}

/// Lists the endpoints of the catalogue
#[utoipa::path(
    get,
    path = "/endpoints",
    operation_id = "listEndpoints",
    tag = "identity",
    params(EndpointFilters),
    responses(
        (status = 200, description = "All of them.", body = EndpointsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn endpoints(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<EndpointsAnswer>, IdentityError> {
    caller?;
    let query = query?;
    let mut endpoints = endpoint_rows(&site, control.region_name());
    endpoints.retain(|row| query.last("service_id").is_none_or(|id| id == row.service_id));
    endpoints.retain(|row| query.last("interface").is_none_or(|wanted| wanted == row.interface));
    endpoints.retain(|row| query.last("region_id").is_none_or(|region| region == row.region));
    Ok(Json(EndpointsAnswer { endpoints, links: ListLinks::new(&site.api_url, "endpoints") }))
}

/// Shows an endpoint of the catalogue
#[utoipa::path(
    get,
    path = "/endpoints/{endpoint_id}",
    operation_id = "showEndpoint",
    tag = "identity",
    responses(
        (status = 200, description = "The endpoint.", body = EndpointAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn endpoint(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<EndpointAnswer>, IdentityError> {
    caller?;
    let id = path.text("endpoint_id")?;
    let found = endpoint_rows(&site, control.region_name()).into_iter().find(|row| row.id == id);
    Ok(Json(EndpointAnswer { endpoint: found.ok_or_else(absent)? }))
}

fn region_body(site: &Site, region: &RegionName) -> RegionBody {
    let links = SelfLink::new(&site.api_url, format_args!("regions/{region}"));
    RegionBody { id: region.to_string(), description: "", parent_region_id: None, links }
}

fn service_rows(site: &Site, region: &RegionName) -> Vec<ServiceRow> {
    let row = |service: ServiceBody| ServiceRow {
        id: service.id,
        service_type: service.service_type,
        name: service.name,
        description: "",
        enabled: true,
        links: SelfLink::new(&site.api_url, format_args!("services/{}", service.id)),
    };
    services_of(site, region, "").into_iter().map(row).collect()
}

fn endpoint_rows(site: &Site, region: &RegionName) -> Vec<EndpointRow> {
    let row = |service: ServiceBody| {
        let [endpoint] = service.endpoints;
        EndpointRow {
            id: endpoint.id,
            service_id: service.id,
            interface: endpoint.interface,
            region: endpoint.region,
            region_id: endpoint.region_id,
            url: endpoint.url,
            enabled: true,
            links: SelfLink::new(&site.api_url, format_args!("endpoints/{}", endpoint.id)),
        }
    };
    services_of(site, region, "%(project_id)s").into_iter().map(row).collect()
}
