//! The Keystone v3 subset that CSBS clients log in with, and what the operator needs to make projects
//! and users. Bodies follow Keystone's, errors too.

pub(crate) mod discovery;
pub(crate) mod projects;
mod requests;
pub(crate) mod tokens;
pub(crate) mod users;

use serde::Serialize;
use utoipa::ToSchema;

/// The one domain, as bodies show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainBody {
    id: &'static str,
    name: &'static str,
}

pub(crate) const DOMAIN: DomainBody =
    DomainBody { id: model::identity::DOMAIN_ID, name: model::identity::DOMAIN_NAME };
