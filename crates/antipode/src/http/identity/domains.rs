//! The one domain there is, for clients that look it up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use model::identity::{DOMAIN_ID, DOMAIN_NAME};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ListLinks, SelfLink, absent};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError};
use crate::http::openapi::parameters::NameFilter;
use crate::http::openapi::refusals::IdentityReadRefusals;
use crate::http::request::{LoggedIn, PathParams, Query};

/// One domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainRow {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    enabled: bool,
    links: SelfLink,
}

/// `{"domain": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainAnswer {
    domain: DomainRow,
}

/// `{"domains": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainsAnswer {
    domains: Vec<DomainRow>,
    links: ListLinks,
}

fn row(site: &Site) -> DomainRow {
    let links = SelfLink::new(&site.api_url, format_args!("domains/{DOMAIN_ID}"));
    DomainRow { id: DOMAIN_ID, name: DOMAIN_NAME, description: "", enabled: true, links }
}

/// Lists the domains, of which there is one
#[utoipa::path(
    get,
    path = "/domains",
    operation_id = "listDomains",
    tag = "identity",
    params(NameFilter),
    responses(
        (status = 200, description = "The one domain.", body = DomainsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<DomainsAnswer>, IdentityError> {
    caller?;
    let is_wanted = query?.last("name").is_none_or(|name| name.eq_ignore_ascii_case(DOMAIN_NAME));
    let domains = if is_wanted { vec![row(&site)] } else { Vec::new() };
    Ok(Json(DomainsAnswer { domains, links: ListLinks::new(&site.api_url, "domains") }))
}

/// Shows the domain
#[utoipa::path(
    get,
    path = "/domains/{domain_id}",
    operation_id = "showDomain",
    tag = "identity",
    responses(
        (status = 200, description = "The domain.", body = DomainAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<DomainAnswer>, IdentityError> {
    caller?;
    match path.text("domain_id")? == DOMAIN_ID {
        true => Ok(Json(DomainAnswer { domain: row(&site) })),
        false => Err(absent().into()),
    }
}
