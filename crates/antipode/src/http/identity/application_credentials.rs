//! Application credentials of a user.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::identity::NewApplicationCredential;
use model::identity::{ApplicationCredential, Role};
use model::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::ApplicationCredentialRequest;
use super::{ListLinks, SelfLink, known_id, optional_text};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError, under};
use crate::http::openapi::parameters::NameFilter;
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, Moment, RoleWord};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// One application credential.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApplicationCredentialBody)]
pub(crate) struct CredentialBody {
    #[schema(value_type = Id)]
    id: String,
    name: String,
    description: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    roles: Vec<RoleBody>,
    unrestricted: bool,
    #[schema(value_type = Option<Moment>)]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    links: SelfLink,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApplicationCredentialRoleBody)]
struct RoleBody {
    #[schema(value_type = RoleWord)]
    id: &'static str,
    #[schema(value_type = RoleWord)]
    name: &'static str,
    domain_id: Option<String>,
}

/// `{"application_credential": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApplicationCredentialAnswer)]
pub(crate) struct CredentialAnswer {
    application_credential: CredentialBody,
}

/// `{"application_credentials": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApplicationCredentialsAnswer)]
pub(crate) struct CredentialsAnswer {
    application_credentials: Vec<CredentialBody>,
    links: ListLinks,
}

impl CredentialBody {
    fn new(credential: ApplicationCredential, secret: Option<String>, site: &Site) -> CredentialBody {
        let role = |role: &Role| RoleBody { id: role.word(), name: role.word(), domain_id: None };
        let (user, id) = (credential.user_id, credential.id);
        CredentialBody {
            id: id.to_string(),
            name: credential.name,
            description: credential.description,
            project_id: credential.project_id.to_string(),
            roles: credential.roles.iter().map(role).collect(),
            unrestricted: credential.is_unrestricted,
            expires_at: credential.expires_at.map(Timestamp::wire),
            secret,
            links: SelfLink::new(&site.api_url, format_args!("users/{user}/application_credentials/{id}")),
        }
    }
}

/// Lists the application credentials of a user
#[utoipa::path(
    get,
    path = "/users/{user_id}/application_credentials",
    operation_id = "listAppCredentials",
    tag = "identity",
    params(NameFilter),
    responses(
        (status = 200, description = "All of them.", body = CredentialsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    query: Result<Query, ApiError>,
) -> Result<Json<CredentialsAnswer>, IdentityError> {
    let (LoggedIn(caller), query) = (caller?, query?);
    let user = known_id(&path, "user_id")?;
    let found = control.application_credentials(&caller, user, query.last("name")).await?;
    let bodies = found.into_iter().map(|one| CredentialBody::new(one, None, &site)).collect();
    let links = ListLinks::new(&site.api_url, format_args!("users/{user}/application_credentials"));
    Ok(Json(CredentialsAnswer { application_credentials: bodies, links }))
}

/// Shows an application credential
#[utoipa::path(
    get,
    path = "/users/{user_id}/application_credentials/{application_credential_id}",
    operation_id = "showAppCredential",
    tag = "identity",
    responses(
        (status = 200, description = "The credential.", body = CredentialAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<CredentialAnswer>, IdentityError> {
    let (user, id) = (known_id(&path, "user_id")?, known_id(&path, "application_credential_id")?);
    let found = control.application_credential(&caller?.0, user, id).await?;
    Ok(Json(CredentialAnswer { application_credential: CredentialBody::new(found, None, &site) }))
}

/// Makes an application credential of the caller
///
/// Its secret is shown this once.
#[utoipa::path(
    post,
    path = "/users/{user_id}/application_credentials",
    operation_id = "createAppCredential",
    tag = "identity",
    request_body = ApplicationCredentialRequest,
    responses(
        (status = 201, description = "The credential with its secret.", body = CredentialAnswer),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    body: Result<Body, ApiError>,
) -> Result<(StatusCode, Json<CredentialAnswer>), IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let (user, new) = (known_id(&path, "user_id")?, read_new(&body)?);
    let made = control.create_application_credential(&caller, user, new).await;
    let (credential, secret) = made.map_err(under("application_credential"))?;
    let body = CredentialBody::new(credential, Some(secret), &site);
    Ok((StatusCode::CREATED, Json(CredentialAnswer { application_credential: body })))
}

/// Deletes an application credential
#[utoipa::path(
    delete,
    path = "/users/{user_id}/application_credentials/{application_credential_id}",
    operation_id = "deleteAppCredential",
    tag = "identity",
    responses(
        (status = 204, description = "It is gone, and its tokens have ended."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let (user, id) = (known_id(&path, "user_id")?, known_id(&path, "application_credential_id")?);
    control.delete_application_credential(&caller?.0, user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read_new(body: &Value) -> Reading<NewApplicationCredential> {
    let credential = Object::wrapped(body, "application_credential")?;
    // Clients send an empty list where they mean none.
    let rules = credential.field("access_rules");
    if rules.clone().optional(Field::list)?.is_some_and(|rules| !rules.is_empty()) {
        return Err(rules.refused("access rules are not known here"));
    }
    let moment = |field: Field<'_>| {
        let wrong = "must be a time such as 2026-11-23T01:02:03";
        Timestamp::parse(field.text()?).ok_or_else(|| field.refused(wrong))
    };
    Ok(NewApplicationCredential {
        name: credential.field("name").text()?.to_owned(),
        description: optional_text(credential.field("description"))?.unwrap_or_default(),
        secret: optional_text(credential.field("secret"))?,
        roles: credential.field("roles").optional(read_roles)?.filter(|roles| !roles.is_empty()),
        expires_at: credential.field("expires_at").optional(moment)?,
        is_unrestricted: credential.field("unrestricted").optional(|field| field.boolean())?.unwrap_or(false),
    })
}

/// Roles by id or name, which are the same here. None at all means all that there are.
fn read_roles(field: Field<'_>) -> Reading<Vec<Role>> {
    let mut roles = Vec::new();
    for member in field.list()? {
        let named = member.object()?;
        let word = if named.field("id").is_given() { named.field("id") } else { named.field("name") };
        let role = Role::from_word(word.text()?).ok_or_else(|| word.refused("names no role"))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}
