//! Tokens: log in, look at one, end one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::{Control, Error, Kind};
use model::identity::{Proof, Role, TokenScope};
use model::ids::RegionName;
use serde::Serialize;
use utoipa::ToSchema;

use super::catalog::{ServiceBody, services_of};
use super::login::{read_login, wrong_login};
use super::requests::LogInRequest;
use super::{DOMAIN, DomainBody};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError};
use crate::http::openapi::parameters::SubjectToken;
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, RoleWord};
use crate::http::request::{Body, LoggedIn, header};

const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

/// `{"token": …}`
#[derive(Debug, Serialize, ToSchema)]
struct TokenAnswer<'a> {
    token: TokenBody<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenBody<'a> {
    methods: Vec<&'static str>,
    user: UserBody<'a>,
    audit_ids: [String; 0],
    #[schema(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$")]
    issued_at: String,
    /// An hour later at most.
    #[schema(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$")]
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    project: Option<ScopeBody<'a>>,
    /// Always false; absent when it is not scoped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    is_domain: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<RoleBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    catalog: Option<[ServiceBody; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    application_credential: Option<CredentialBody<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenUserBody)]
struct UserBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    name: &'a str,
    domain: DomainBody,
    password_expires_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ScopeBody<'a> {
    #[schema(value_type = ForeignId)]
    id: &'a str,
    name: &'a str,
    domain: DomainBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenRoleBody)]
struct RoleBody {
    #[schema(value_type = RoleWord)]
    id: &'static str,
    #[schema(value_type = RoleWord)]
    name: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenCredentialBody)]
struct CredentialBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    name: &'a str,
    restricted: bool,
}

impl<'a> TokenBody<'a> {
    fn new(scope: &'a TokenScope, region: &RegionName, site: &Site) -> TokenBody<'a> {
        let role = |role: &Role| RoleBody { id: role.word(), name: role.word() };
        let (user, project) = (&scope.user, scope.project.as_ref());
        TokenBody {
            methods: methods_of(&scope.proof),
            user: UserBody {
                id: user.id.to_string(),
                name: &user.name,
                domain: DOMAIN,
                password_expires_at: None,
            },
            audit_ids: [],
            issued_at: format!("{}Z", scope.issued_at.wire()),
            expires_at: format!("{}Z", scope.expires_at.wire()),
            project: project.map(|project| ScopeBody {
                id: project.id.as_str(),
                name: &project.name,
                domain: DOMAIN,
            }),
            is_domain: project.map(|_| false),
            roles: scope.roles.iter().map(role).collect(),
            catalog: project.map(|project| services_of(site, region, project.id.as_str())),
            application_credential: credential_of(&scope.proof),
        }
    }
}

fn methods_of(proof: &Proof) -> Vec<&'static str> {
    let (first, by_token) = match proof {
        Proof::Password { by_token } => ("password", *by_token),
        Proof::ApplicationCredential { by_token, .. } => ("application_credential", *by_token),
        Proof::Signature { .. } | Proof::Elsewhere => return Vec::new(),
    };
    if by_token { vec![first, "token"] } else { vec![first] }
}

fn credential_of(proof: &Proof) -> Option<CredentialBody<'_>> {
    match proof {
        Proof::ApplicationCredential { id, name, is_unrestricted, .. } => {
            Some(CredentialBody { id: id.to_string(), name, restricted: !is_unrestricted })
        }
        _ => None,
    }
}

/// Logs in
///
/// By password, by a token that is to have another scope, or by an application credential. Every failed log-in
/// looks the same.
#[utoipa::path(
    post,
    path = "/auth/tokens",
    operation_id = "logIn",
    tag = "identity",
    security(()),
    request_body = LogInRequest,
    responses(
        (status = 201, description = "The token stands in `X-Subject-Token`; the body says what it is good for and where.", body = TokenAnswer, headers(("X-Subject-Token" = String, description = "The token: 64 hex digits."))),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    body: Result<Body, ApiError>,
) -> Result<Response, IdentityError> {
    let login = read_login(&body?.0)?;
    let (token, scope) = control.log_in(login).await.map_err(as_wrong_login)?;
    let body = TokenBody::new(&scope, control.region_name(), &site);
    Ok((StatusCode::CREATED, with_token(&token), Json(TokenAnswer { token: body })).into_response())
}

/// Shows what a token is good for
#[utoipa::path(
    get,
    path = "/auth/tokens",
    operation_id = "showToken",
    tag = "identity",
    params(SubjectToken),
    responses(
        (status = 200, description = "The token.", body = TokenAnswer, headers(("X-Subject-Token" = String, description = "The token: 64 hex digits."))),
        IdentityReadRefusals
    )
)]
pub(crate) async fn validate(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    headers: HeaderMap,
) -> Result<Response, IdentityError> {
    let LoggedIn(caller) = caller?;
    let token = subject(&headers)?;
    let scope = control.token_scope(&caller, token).await?;
    let body = TokenBody::new(&scope, control.region_name(), &site);
    Ok((with_token(token), Json(TokenAnswer { token: body })).into_response())
}

/// Ends a token
#[utoipa::path(
    delete,
    path = "/auth/tokens",
    operation_id = "revokeToken",
    tag = "identity",
    params(SubjectToken),
    responses(
        (status = 204, description = "It is revoked."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn revoke(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    headers: HeaderMap,
) -> Result<StatusCode, IdentityError> {
    let LoggedIn(caller) = caller?;
    control.revoke_token(&caller, subject(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn as_wrong_login(error: Error) -> Error {
    if error.kind == Kind::Unauthenticated { wrong_login() } else { error }
}

fn subject(headers: &HeaderMap) -> Result<&str, ApiError> {
    header(headers, SUBJECT_TOKEN.as_str())
        .ok_or_else(|| ApiError::malformed("X-Subject-Token", "is missing"))
}

fn with_token(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(token).ok();
    value.map(|value| (SUBJECT_TOKEN, value)).into_iter().collect()
}
