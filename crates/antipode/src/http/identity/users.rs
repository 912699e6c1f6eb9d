//! Users and their roles, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use model::identity::{DOMAIN_ID, Role, User};
use serde::Serialize;
use utoipa::ToSchema;

use super::requests::UserRequest;
use crate::http::error::{ApiError, IdentityError, under};
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::Id;
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn, PathParams};

/// One user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserBody {
    #[schema(value_type = Id)]
    id: String,
    name: String,
    /// Always `default`.
    domain_id: &'static str,
    /// Whether the user may log in.
    enabled: bool,
    /// Always null.
    password_expires_at: Option<String>,
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
}

impl From<User> for UserBody {
    fn from(user: User) -> UserBody {
        UserBody {
            id: user.id.to_string(),
            name: user.name,
            domain_id: DOMAIN_ID,
            enabled: user.enabled,
            password_expires_at: None,
        }
    }
}

/// Lists all users, for the operator
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "listUsers",
    tag = "identity",
    responses(
        (status = 200, description = "All of them.", body = UsersAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<UsersAnswer>, IdentityError> {
    let users = control.users(&caller?.0).await?;
    Ok(Json(UsersAnswer { users: users.into_iter().map(UserBody::from).collect() }))
}

/// Makes a user, for the operator
#[utoipa::path(
    post,
    path = "/users",
    operation_id = "createUser",
    tag = "identity",
    request_body = UserRequest,
    responses(
        (status = 201, description = "The user.", body = UserAnswer, links(
            ("assign" = (operation_id = "assignRole", parameters(("user_id" = "$response.body#/user/id")))),
            ("assign_in_region" = (operation_id = "assignRegionRole", parameters(("user_id" = "$response.body#/user/id"))))
        )),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    body: Result<Body, ApiError>,
) -> Result<(StatusCode, Json<UserAnswer>), IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let new = Object::wrapped(&body, "user")?;
    let password = new.field("password").text()?.to_owned();
    let user =
        control.create_user(&caller, new.field("name").text()?, password).await.map_err(under("user"))?;
    Ok((StatusCode::CREATED, Json(UserAnswer { user: user.into() })))
}

/// Gives a user a role in a project
#[utoipa::path(
    put,
    path = "/projects/{project_id}/users/{user_id}/roles/{role}",
    operation_id = "assignRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn assign(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let project = path.id("project_id")?;
    control.assign_role(&caller?.0, path.id("user_id")?, Some(&project), role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a user a role in the region itself
#[utoipa::path(
    put,
    path = "/system/users/{user_id}/roles/{role}",
    operation_id = "assignRegionRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn assign_in_region(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    control.assign_role(&caller?.0, path.id("user_id")?, None, role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn role(path: &PathParams) -> Result<Role, ApiError> {
    let known = Role::from_word(path.text("role")?);
    known.ok_or_else(|| ApiError::malformed("role", "must be reader, member, admin or operator"))
}
