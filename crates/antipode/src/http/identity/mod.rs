//! The Keystone v3 subset that clients log in with, and what operators need to administer projects, users
//! and roles. Bodies follow Keystone's, errors too; `docs/identity.md` says what is there and what is not.

pub(crate) mod application_credentials;
pub(crate) mod catalog;
pub(crate) mod discovery;
pub(crate) mod domains;
mod login;
pub(crate) mod projects;
mod requests;
pub(crate) mod roles;
pub(crate) mod tokens;
pub(crate) mod users;

use std::str::FromStr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use control::{Control, Error, Reason};
use model::ids::BadId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::reader::{Field, Reading};
use crate::http::request::PathParams;

/// Where a Keystone elsewhere says who callers are, nothing is at the addresses of the embedded one.
pub(super) async fn only_embedded(State(control): State<Control>, request: Request, next: Next) -> Response {
    let rest = request.uri().path().strip_prefix("/identity");
    let is_ours = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_ours && control.has_identity_elsewhere() {
        return ApiError::no_route().into_response();
    }
    next.run(request).await
}

/// The one domain, as bodies show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainBody {
    id: &'static str,
    name: &'static str,
}

pub(crate) const DOMAIN: DomainBody =
    DomainBody { id: model::identity::DOMAIN_ID, name: model::identity::DOMAIN_NAME };

/// Where one thing lies.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentitySelfLink)]
pub(crate) struct SelfLink {
    #[serde(rename = "self")]
    href: String,
}

/// Where a list lies; it is always whole.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentityListLinks)]
pub(crate) struct ListLinks {
    #[serde(rename = "self")]
    href: String,
    previous: Option<String>,
    next: Option<String>,
}

impl SelfLink {
    fn new(api_url: &str, path: impl std::fmt::Display) -> SelfLink {
        SelfLink { href: format!("{api_url}/identity/v3/{path}") }
    }
}

impl ListLinks {
    fn new(api_url: &str, path: impl std::fmt::Display) -> ListLinks {
        ListLinks { href: format!("{api_url}/identity/v3/{path}"), previous: None, next: None }
    }
}

/// The id in a path. One that cannot be names nothing: clients ask by name first and go on after a 404.
fn known_id<T: FromStr<Err = BadId>>(path: &PathParams, name: &str) -> Result<T, ApiError> {
    path.text(name)?.parse().map_err(|_| absent().into())
}

/// The answer where nothing is.
fn absent() -> Error {
    Error::not_found(Reason::NotFound, "there is nothing of this id")
}

/// A text if one is there.
fn optional_text(field: Field<'_>) -> Reading<Option<String>> {
    field.optional(|field| Ok(field.text()?.to_owned()))
}

/// Refuses a body that wants another domain than the one there is.
fn check_domain_id(field: Field<'_>) -> Reading<()> {
    match field.clone().optional(|field| field.text())? {
        Some(id) if !id.eq_ignore_ascii_case(model::identity::DOMAIN_ID) => {
            Err(field.refused("there is one domain only, default"))
        }
        _ => Ok(()),
    }
}
