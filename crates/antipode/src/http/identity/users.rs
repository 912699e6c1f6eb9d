//! Users: their administration by the operator, and what users do for themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::identity::UserUpdate;
use model::identity::{DOMAIN_ID, User};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::projects::{Nothing, ProjectsAnswer};
use super::requests::{PasswordRequest, UserChangeRequest, UserRequest};
use super::{ListLinks, SelfLink, check_domain_id, known_id, optional_text};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError, under};
use crate::http::openapi::parameters::IdentityFilters;
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id};
use crate::http::reader::{Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// One user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserBody {
    #[schema(value_type = Id)]
    id: String,
    name: String,
    /// Always `default`.
    domain_id: &'static str,
    description: String,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ForeignId, nullable = false, required = false)]
    default_project_id: Option<String>,
    /// Whether the user may log in.
    enabled: bool,
    password_expires_at: Option<String>,
    options: Nothing,
    links: SelfLink,
}

/// `{"user": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserAnswer {
    user: UserBody,
}

/// `{"users": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UsersAnswer {
    users: Vec<UserBody>,
    links: ListLinks,
}

impl UserBody {
    fn new(user: User, site: &Site) -> UserBody {
        UserBody {
            links: SelfLink::new(&site.api_url, format_args!("users/{}", user.id)),
            id: user.id.to_string(),
            name: user.name,
            domain_id: DOMAIN_ID,
            description: user.description,
            email: user.email,
            default_project_id: user.default_project.map(|id| id.to_string()),
            enabled: user.enabled,
            password_expires_at: None,
            options: Nothing {},
        }
    }
}

/// Lists all users, for the operator
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "listUsers",
    tag = "identity",
    params(IdentityFilters),
    responses(
        (status = 200, description = "All of them.", body = UsersAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<UsersAnswer>, IdentityError> {
    let (LoggedIn(caller), query) = (caller?, query?);
    let mut users = control.users(&caller, query.last("name")).await?;
    let enabled = query.boolean("enabled")?;
    let is_ours = query.last("domain_id").is_none_or(|id| id == DOMAIN_ID);
    users.retain(|user| is_ours && enabled.is_none_or(|enabled| enabled == user.enabled));
    let users = users.into_iter().map(|user| UserBody::new(user, &site)).collect();
    Ok(Json(UsersAnswer { users, links: ListLinks::new(&site.api_url, "users") }))
}

/// Shows a user
#[utoipa::path(
    get,
    path = "/users/{user_id}",
    operation_id = "showUser",
    tag = "identity",
    responses(
        (status = 200, description = "The user.", body = UserAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<UserAnswer>, IdentityError> {
    let user = control.user(&caller?.0, known_id(&path, "user_id")?).await?;
    Ok(Json(UserAnswer { user: UserBody::new(user, &site) }))
}

/// Makes a user, for the operator
#[utoipa::path(
    post,
    path = "/users",
    operation_id = "createUser",
    tag = "identity",
    request_body = UserRequest,
    responses(
        (status = 201, description = "The user.", body = UserAnswer),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    body: Result<Body, ApiError>,
) -> Result<(StatusCode, Json<UserAnswer>), IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let user = control.create_user(&caller, read_update(&body)?).await.map_err(under("user"))?;
    Ok((StatusCode::CREATED, Json(UserAnswer { user: UserBody::new(user, &site) })))
}

/// Changes a user, for the operator
///
/// Another password, and disabling, end the user's tokens.
#[utoipa::path(
    patch,
    path = "/users/{user_id}",
    operation_id = "updateUser",
    tag = "identity",
    request_body = UserChangeRequest,
    responses(
        (status = 200, description = "The user as it is now.", body = UserAnswer),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn update(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    body: Result<Body, ApiError>,
) -> Result<Json<UserAnswer>, IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let (id, update) = (known_id(&path, "user_id")?, read_update(&body)?);
    let user = control.update_user(&caller, id, update).await.map_err(under("user"))?;
    Ok(Json(UserAnswer { user: UserBody::new(user, &site) }))
}

/// Deletes a user, for the operator
#[utoipa::path(
    delete,
    path = "/users/{user_id}",
    operation_id = "deleteUser",
    tag = "identity",
    responses(
        (status = 204, description = "The user is gone."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    control.delete_user(&caller?.0, known_id(&path, "user_id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the caller's own password
///
/// All tokens of the caller end.
#[utoipa::path(
    post,
    path = "/users/{user_id}/password",
    operation_id = "changePassword",
    tag = "identity",
    request_body = PasswordRequest,
    responses(
        (status = 204, description = "It is changed."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn change_password(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    body: Result<Body, ApiError>,
) -> Result<StatusCode, IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let user = Object::wrapped(&body, "user")?;
    let old = user.field("original_password").text()?.to_owned();
    let new = user.field("password").text()?.to_owned();
    let id = known_id(&path, "user_id")?;
    control.change_own_password(&caller, id, old, new).await.map_err(under("user"))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the projects of a user
#[utoipa::path(
    get,
    path = "/users/{user_id}/projects",
    operation_id = "listProjectsOfUser",
    tag = "identity",
    params(IdentityFilters),
    responses(
        (status = 200, description = "All of them.", body = ProjectsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn projects(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    query: Result<Query, ApiError>,
) -> Result<Json<ProjectsAnswer>, IdentityError> {
    let projects = control.projects_of_user(&caller?.0, known_id(&path, "user_id")?).await?;
    Ok(Json(ProjectsAnswer::new(projects, &query?, &site)?))
}

fn read_update(body: &Value) -> Reading<UserUpdate> {
    let user = Object::wrapped(body, "user")?;
    check_domain_id(user.field("domain_id"))?;
    Ok(UserUpdate {
        name: optional_text(user.field("name"))?,
        description: optional_text(user.field("description"))?,
        email: optional_text(user.field("email"))?,
        default_project: user.field("default_project_id").optional(|field| field.id())?,
        enabled: user.field("enabled").optional(|field| field.boolean())?,
        password: optional_text(user.field("password"))?,
    })
}
