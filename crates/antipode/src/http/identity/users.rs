//! Users and their roles, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use model::identity::{DOMAIN_ID, Role, User};
use serde::Serialize;

use crate::http::error::{ApiError, IdentityError, under};
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn, PathParams};

/// One user.
#[derive(Debug, Serialize)]
pub(crate) struct UserBody {
    id: String,
    name: String,
    domain_id: &'static str,
    enabled: bool,
    password_expires_at: Option<String>,
}

/// `{"user": …}`
#[derive(Debug, Serialize)]
pub(crate) struct UserAnswer {
    user: UserBody,
}

/// `{"users": …}`
#[derive(Debug, Serialize)]
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

/// `GET /identity/v3/users`
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<UsersAnswer>, IdentityError> {
    let users = control.users(&caller?.0).await?;
    Ok(Json(UsersAnswer { users: users.into_iter().map(UserBody::from).collect() }))
}

/// `POST /identity/v3/users`
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

/// `PUT /identity/v3/projects/{project_id}/users/{user_id}/roles/{role}`
pub(crate) async fn assign(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let project = path.id("project_id")?;
    control.assign_role(&caller?.0, path.id("user_id")?, Some(&project), role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /identity/v3/system/users/{user_id}/roles/{role}`: roles in the region itself
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
