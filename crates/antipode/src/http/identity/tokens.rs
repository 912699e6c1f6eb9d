//! Tokens: log in, look at one, end one, and the service catalogue that comes with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use control::identity::{Login, LoginScope, LoginUser};
use control::{Control, Error, Kind, Reason};
use model::identity::{DOMAIN_ID, DOMAIN_NAME, Role, TokenScope};
use model::ids::RegionName;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::LogInRequest;
use super::{DOMAIN, DomainBody};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError};
use crate::http::openapi::parameters::SubjectToken;
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, RegionText, RoleWord};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, header};

const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

/// `{"token": …}`
#[derive(Debug, Serialize, ToSchema)]
struct TokenAnswer<'a> {
    token: TokenBody<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TokenBody<'a> {
    /// How the caller logged in.
    methods: [&'static str; 1],
    user: UserBody<'a>,
    /// Always empty.
    audit_ids: [String; 0],
    #[schema(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$")]
    issued_at: String,
    /// An hour later at most.
    #[schema(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$")]
    expires_at: String,
    /// What it is scoped to; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    project: Option<ScopeBody<'a>>,
    /// Always false; absent when it is not scoped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    is_domain: Option<bool>,
    /// What it may do there; absent when nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<RoleBody>,
    /// Absent when it is not scoped to a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    catalog: Option<[ServiceBody; 3]>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenUserBody)]
struct UserBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    name: &'a str,
    domain: DomainBody,
    /// Always null.
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
struct RoleBody {
    #[schema(value_type = RoleWord)]
    id: &'static str,
    #[schema(value_type = RoleWord)]
    name: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct ServiceBody {
    id: &'static str,
    /// What clients look for: `data-protect` is CSBS v1.
    #[serde(rename = "type")]
    service_type: &'static str,
    name: &'static str,
    endpoints: [EndpointBody; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct EndpointBody {
    id: &'static str,
    /// Always `public`.
    interface: &'static str,
    #[schema(value_type = RegionText)]
    region: String,
    #[schema(value_type = RegionText)]
    region_id: String,
    url: String,
}

/// `{"catalog": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CatalogAnswer {
    catalog: [ServiceBody; 3],
}

impl<'a> TokenBody<'a> {
    fn new(scope: &'a TokenScope, method: &'static str, region: &RegionName, site: &Site) -> TokenBody<'a> {
        let role = |role: &Role| RoleBody { id: role.word(), name: role.word() };
        let user = &scope.user;
        TokenBody {
            methods: [method],
            user: UserBody {
                id: user.id.to_string(),
                name: &user.name,
                domain: DOMAIN,
                password_expires_at: None,
            },
            audit_ids: [],
            issued_at: format!("{}Z", scope.issued_at.wire()),
            expires_at: format!("{}Z", scope.expires_at.wire()),
            project: scope.project.as_ref().map(|project| ScopeBody {
                id: project.id.as_str(),
                name: &project.name,
                domain: DOMAIN,
            }),
            is_domain: scope.project.as_ref().map(|_| false),
            roles: scope.roles.iter().map(role).collect(),
            catalog: scope.project.as_ref().map(|project| services(site, region, project.id.as_str())),
        }
    }
}

/// What a project can reach here. Clients look for `data-protect`, interface `public`.
fn services(site: &Site, region: &RegionName, project_id: &str) -> [ServiceBody; 3] {
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

/// How somebody logs in, from the body of `POST /auth/tokens`; and the word of the method.
fn read_login(body: &Value) -> Result<(Login, &'static str), IdentityError> {
    let auth = Object::wrapped(body, "auth")?;
    let scope = read_scope(auth.field("scope"))?;
    let identity = auth.field("identity").object()?;
    let methods = identity.field("methods");
    let words = methods.clone().list()?;
    match words.first().map(Field::text).transpose()? {
        Some("password") => {
            let user = identity.field("password").object()?.field("user").object()?;
            let password = user.field("password").text()?.to_owned();
            Ok((Login::Password { user: read_user(&user)?, password, scope }, "password"))
        }
        Some("token") => {
            let token = identity.field("token").object()?.field("id").text()?.to_owned();
            Ok((Login::Token { token, scope }, "token"))
        }
        _ => Err(methods.refused("must hold password or token").into()),
    }
}

fn read_user(user: &Object<'_>) -> Result<LoginUser, IdentityError> {
    let id = user.field("id");
    if id.is_given() {
        // A malformed user id is a wrong user, and all wrong log-ins look the same.
        let id = id.text()?.parse().map_err(|_| wrong_login())?;
        return Ok(LoginUser::Id(id));
    }
    check_domain(user.field("domain"))?;
    Ok(LoginUser::Name(user.field("name").text()?.to_owned()))
}

fn read_scope(field: Field<'_>) -> Result<LoginScope, IdentityError> {
    if !field.is_given() || field.value()?.as_str() == Some("unscoped") {
        return Ok(LoginScope::Unscoped);
    }
    let project = field.object()?.field("project").object()?;
    let id = project.field("id");
    if id.is_given() {
        let id = id.text()?.parse().map_err(|_| wrong_login())?;
        return Ok(LoginScope::ProjectId(id));
    }
    check_domain(project.field("domain"))?;
    Ok(LoginScope::ProjectName(project.field("name").text()?.to_owned()))
}

/// There is one domain; left out, it is meant.
fn check_domain(field: Field<'_>) -> Result<(), IdentityError> {
    let Some(domain) = field.optional(Field::object)? else { return Ok(()) };
    let text = |field: Field<'_>| -> Reading<Option<String>> {
        field.optional(|field| Ok(field.text()?.to_owned()))
    };
    let (id, name) = (text(domain.field("id"))?, text(domain.field("name"))?);
    let is_ours = id.is_none_or(|id| id.eq_ignore_ascii_case(DOMAIN_ID))
        && name.is_none_or(|name| name.eq_ignore_ascii_case(DOMAIN_NAME));
    if is_ours { Ok(()) } else { Err(wrong_login().into()) }
}

/// Logs in
///
/// By password, or by a token that is to have another scope. Every failed log-in looks the same.
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
    let (login, method) = read_login(&body?.0)?;
    let (token, scope) = control.log_in(login).await.map_err(as_wrong_login)?;
    let body = TokenBody::new(&scope, method, control.region_name(), &site);
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
    let (LoggedIn(caller), token) = (caller?, subject(&headers)?);
    let scope = control.token_scope(&caller, token).await?;
    let body = TokenBody::new(&scope, "password", control.region_name(), &site);
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

/// Shows what the token's project can reach, and where
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
pub(crate) async fn catalog(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<CatalogAnswer>, IdentityError> {
    let LoggedIn(caller) = caller?;
    let project = caller.project().ok_or_else(|| Error::forbidden("the token is not scoped to a project"))?;
    Ok(Json(CatalogAnswer { catalog: services(&site, control.region_name(), project.id.as_str()) }))
}

/// The one answer to every log-in that fails, whatever was wrong with it.
fn wrong_login() -> Error {
    let message = "the user, the password, the token or the project is wrong";
    Error::new(Kind::Unauthenticated, Reason::NotLoggedIn, message)
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
